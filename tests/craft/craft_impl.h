/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside tests/craft/: words of a line, and bytes. */
#ifndef TESTS_CRAFT_CRAFT_IMPL_H
#define TESTS_CRAFT_CRAFT_IMPL_H

#include "tests/craft/craft.h"

#define WORDS_MAX 96
#define QUOTE_DEPTH 3 /* an error about an error about a packet */

enum { P_HBH = 0, P_ICMP = 1, P_TCP = 6, P_UDP = 17, P_RT = 43, P_FRAG = 44, P_AH = 51,
       P_ICMP6 = 58, P_NONE = 59, P_DOPT = 60 };

struct word {
	const char *key, *val; /* into the line; key may be a constant */
	size_t key_len, val_len;
	bool bare; /* a key without a value */
	bool used;
	char sep; /* '=', '(' or 0: how the value is written */
};

struct words {
	size_t n;
	struct word w[WORDS_MAX];
	char *err; /* CRAFT_ERR bytes; the first complaint stays */
};

/** Addresses of the second word. */
struct pair {
	uint8_t family; /* 4, 6 */
	uint8_t src[16], dst[16];
	bool ports;
	uint16_t sport, dport;
};

__attribute__((format(printf, 2, 3))) int words_fail(struct words *ws, const char *format, ...);
int words_split(struct words *ws, const char *text, size_t len);
struct word *words_find(struct words *ws, const char *key);
bool word_is(const struct word *w, const char *key);
/* Each of these marks the word as used; without it @value stays. */
bool words_flag(struct words *ws, const char *key);
int words_number(struct words *ws, const char *key, uint64_t max, uint64_t *value);
int words_mac(struct words *ws, const char *key, uint8_t mac[6]);
int words_unused(struct words *ws);

int text_number(struct words *ws, const char *p, size_t len, uint64_t max, uint64_t *value);
int text_hex(struct words *ws, const char *p, size_t len, uint8_t *out, size_t max, size_t *n);
int text_addr(struct words *ws, const char *p, size_t len, uint8_t *family, uint8_t out[16]);
int text_pair(struct words *ws, const struct word *w, struct pair *pair);
size_t text_until(const char *p, size_t len, char stop); /* length up to @stop, or len */

static inline void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static inline uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static inline uint8_t pattern_byte(size_t i, unsigned int fill)
{
	return (uint8_t)(i * 7 + 3 + fill);
}

/** pseudo_sum() - of the pseudo-header of RFC 9293 or RFC 8200 8.1 */
uint16_t pseudo_sum(uint8_t family, const uint8_t *src, const uint8_t *dst, uint8_t proto,
		    size_t len);

/* --- building ---------------------------------------------------------------------- */

#define ROOM (65535 + 64)
#define L4_HEAD_MAX 512 /* headers and options that are written over zeros */

/* What stands between IP header and upper layer. */
struct chain {
	uint8_t first;	 /* next header of the IPv6 header */
	size_t fixed;	 /* bytes in front of the fragment header */
	size_t len;	 /* all of them, without the fragment header */
	bool fragmented; /* there is a fragment header */
	uint8_t frag_next;   /* of the fragment header */
	uint8_t b[1024];
};

struct builder {
	struct words ws;
	struct pair pair;
	uint8_t proto;
	size_t l4_len, csum_at; /* csum_at 0: none */
	size_t quoted;
	int depth;
	bool partial;
	struct chain chain;
	uint8_t l4[ROOM];
};

struct builder *builder_new(char *err, int depth);
int l4_room(struct builder *b, size_t n);
int add_payload(struct builder *b);
/* Kind, addresses, everything behind the IP headers; its checksum is zero yet. */
int build_l4(struct builder *b);
/* The bytes after the Ethernet header; 0: the text is wrong, and @b->ws.err says how. */
size_t build_l3(uint8_t *out, const char *text, size_t len, struct builder *b);

/** Names for ICMP types: of both families. */
struct icmp_name {
	const char *name;
	uint8_t type4, code4, type6, code6;
};
extern const struct icmp_name icmp_names[];

extern const char tcp_flag_letters[9]; /* in the order in which they are written */
extern const uint8_t tcp_flag_bits[8];

#endif
