/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside the generator of histories. */
#ifndef TESTS_MODEL_GENERATE_H
#define TESTS_MODEL_GENERATE_H

#include "tests/model/wire.h"

#define CONVERSATIONS 14
#define PIECES	      40
#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define PSH 0x08
#define ACK 0x10

/* One simulated end. */
struct end {
	uint32_t isn, next, limit; /* limit: the other side's window ends here */
	uint8_t scale;
	bool wscale, fin;
	uint16_t mss, win;
	uint8_t odd;
};

struct conversation {
	struct spec base;
	int phase; /* 0 nothing, 1 SYN, 2 SYN-ACK, 3 open, 4 over */
	struct end end[2];
	uint32_t frag_id;
};

struct source {
	uint64_t state;
	struct history *h;
	struct conversation talk[CONVERSATIONS];
	uint32_t unique, most; /* most: steps */
	bool twin;
	bool few; /* a small table (D2): nothing times out, every source is allowed all */
};

/** draw() - a number below @n; 0 when @n is 0 */
uint32_t draw(struct source *g, uint32_t n);
bool one_in(struct source *g, uint32_t n);
/** generate_packet() - a new step: a packet of the conversation, as it should be */
struct spec *generate_packet(struct source *g, const struct conversation *c, uint8_t dir);
/** generate_tcp() - what happens next in a TCP conversation */
void generate_tcp(struct source *g, struct conversation *c);

#endif
