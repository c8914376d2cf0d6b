/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the packet fuzzer believes about the world around the engine, to judge it by:
 *
 *	fuzz_packet.c	 the input as a program: packets, answers, pieces, changes
 *	packet_world.c	 interfaces, frames in and out, what was seen of each flow
 *	packet_check.c	 what must hold of everything that comes out
 *
 *	port 0		uplink: 10.137.0.4, fd09:..:4
 *	port 1, 2	clients with both families
 *	port 3		a client with a fake address and without IPv6
 *
 * Payload is a pattern of its position, so that wherever a byte turns up it can be
 * said whether it stands where it stood, and whether two datagrams got mixed.
 */
#ifndef TESTS_FUZZ_PACKET_WORLD_H
#define TESTS_FUZZ_PACKET_WORLD_H

#include "firewall/engine.h"
#include "tests/net/diff/packet.h"

#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(cond)                                                                              \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                 \
			world_explain();                                                           \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

#define FLOWS 8	  /* remembered, to be answered */
#define QUOTE 600 /* bytes of a packet kept for errors about it */

struct port_state {
	bool present, link;
	bool has4, has6, fake;
	uint8_t ip4[16], ip6[16], visible[16];
	uint16_t mtu;
};

/** A flow that a packet passed on: as the client has it, and as the uplink sees it. */
struct memory {
	bool used;
	uint8_t port, family, proto;
	uint8_t local[16], remote[16], real[16]; /* real: behind a virtual DNS server */
	uint16_t sport, dport, nat;
	uint32_t next[2];	/* TCP: of the client, of the remote */
	uint8_t last[2][QUOTE]; /* IP: as it left to the uplink, as it came to the client */
	uint16_t last_len[2];
};

struct world {
	struct engine *e;
	uint64_t ms;
	struct port_state port[PORTS];
	struct memory flow[FLOWS];
	unsigned int flows;		    /* remembered so far */
	uint64_t frames_in, taken, answers; /* what engine_stats must agree with */
	bool dns_mapped, connected;
	struct frame f;
	uint32_t in_len, out_len;
	bool sum_known;	 /* the checksum that went in is right, or partial as it should be */
	bool pattern;	 /* the payload is the pattern */
	bool in_partial; /* the checksum that went in is partial, or is taken for it */
	uint8_t in[DATAGRAM_ROOM + 64], tail[DATAGRAM_ROOM + 64], out[DATAGRAM_ROOM + 64];
};

extern struct world w;

/* addresses by number, so that a byte of the input can choose; [family == 6] */
#define ADDRESSES 12
extern const char *const address_text[2][ADDRESSES];
enum {
	A_OUR,
	A_C1,
	A_C2,
	A_C3,
	A_WEB,
	A_WEB2,
	A_DNS_VIRTUAL,
	A_DNS_REAL,
	A_GATEWAY,
	A_STOPPED,
	A_VISIBLE,
	A_OTHER
};

void world_start(uint8_t seed);
void world_end(void);
void world_explain(void);
/* the port as it is at the start; @variant: another address or MTU */
void world_port(unsigned int port, unsigned int variant);
void world_remove(unsigned int port);
void world_link(unsigned int port, bool up);
void world_connected(bool known);
/* 0: nothing, 1..3: some rules; of client @port, of one family */
void world_policy(unsigned int port, uint8_t family, unsigned int which, bool accept);
struct addr world_addr(uint8_t family, const char *text);

/* Make the frame in w.in that of @port, in @len bytes, its headers private. */
void world_frame(unsigned int port, uint32_t len);
/* Let the engine judge w.f and check what it did; drains engine_take(), too. */
void world_run(void);
void world_tick(void);
void world_wait(uint64_t ms);

/* --- packet_check.c ------------------------------------------------------------ */

void check_verdict(void);
void check_taken(const struct frame *f);
void check_counts(void);
/* all fragments of a datagram came, or none */
void check_drained(void);
/* the bytes of a frame in one piece */
uint32_t flatten(const struct frame *f, uint8_t *out);

#endif
