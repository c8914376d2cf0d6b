/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Histories for the model: a step says everything about itself.
 *
 * A packet is described by the conversation it belongs to and by absolute numbers;
 * only two things are looked up when it is built, in the model: the NAT port of its
 * flow and the real address of a DNS server. So any steps can be taken out of a
 * history and what is left still means something, which is what shrinking needs.
 */
#ifndef TESTS_MODEL_WIRE_H
#define TESTS_MODEL_WIRE_H

#include "tests/model/model.h"

#include <stdio.h>

#define WIRE_MUTATIONS 2
#define WIRE_POLICIES  12
#define WIRE_SOURCES   6
#define WIRE_IFACES    M_IFACES

enum step_kind {
	STEP_PACKET,
	STEP_WAIT,	/* ms */
	STEP_JUMP,	/* ms, in one go: the machine slept (D5) */
	STEP_POLICY,	/* source a, policy b, c: without a new epoch */
	STEP_FORGET,	/* source a */
	STEP_OPTIONS,	/* source a, EIM b, at most ms flows */
	STEP_DETACH,	/* interface a */
	STEP_ATTACH,	/* interface a, variant b */
	STEP_LINK,	/* interface a, b: up */
	STEP_DNS,	/* real addresses a, b; 0: none */
	STEP_CONNECTED, /* set a */
	STEP_NEIGHBOUR, /* the uplink's gateway answers; a: family, b: what is wrong */
	STEP_KINDS
};

enum wire_where { MUT_ETHER, MUT_IP, MUT_L4, MUT_INNER };

struct mutation {
	uint8_t where, flip;
	uint16_t at;
};

/* Who talks to whom: client port, remote (an index), L4. */
struct talk {
	uint8_t client, family, proto, remote;
	uint16_t sport, dport; /* ICMP: sport is the identifier */
};

struct spec {
	struct talk talk;
	uint8_t dir; /* M_OUT or M_IN */
	uint8_t flags, ttl, tos, csum, hdr; /* hdr: IP options or extension headers */
	bool df, no_csum, bad_csum;
	bool zero; /* UDP: the checksum comes out as zero */
	uint32_t seq, ack;
	uint16_t win, mss, id, icmp_seq;
	uint8_t wscale, odd; /* wscale 0xff: no option; odd: NOPs before the options */
	uint8_t type, code;  /* ICMP; 0xff: the echo of the direction */
	uint16_t len;	     /* payload */
	uint16_t gso;
	/* an error about such a packet, sent the other way */
	bool error;
	uint8_t error_type, error_code, router; /* router 0xff: the packet's receiver */
	uint16_t quote;
	uint32_t info;
	/* a piece of it; off in bytes */
	bool piece, more, tweak;
	uint16_t off, piece_len;
	uint32_t frag_id;
	/* what is odd about it */
	uint8_t mutations;
	struct mutation mutation[WIRE_MUTATIONS];
	bool refix;    /* checksums are made after the mutations */
	uint16_t cut;  /* the frame is cut off here */
	uint8_t pad;   /* bytes behind the IP packet */
	bool failed;   /* copy_failed */
	uint8_t wrong; /* 1: source of another, 2: destination MAC, 3: source MAC */
	uint8_t l2;    /* 1: ARP for talk.remote, 2: neighbour solicitation for it */
};

struct step {
	uint8_t kind, a, b, c;
	uint32_t ms;
	struct spec p;
};

struct history {
	uint64_t seed;
	struct engine_config config;
	size_t count;
	struct step *step;
};

/* wire_world.c */
struct addr wire_addr(const char *text);
void wire_iface(uint16_t id, uint8_t variant, struct engine_iface *out);
struct addr wire_source(size_t id);
const struct m_policy *wire_policy(size_t index, uint8_t family);
struct policy *wire_compile(const struct m_policy *p, uint8_t family);
void wire_dns(const struct step *s, struct engine_dns out[ENGINE_DNS_MAX]);
size_t wire_connected(const struct step *s, struct addr *out);
extern const struct addr wire_rule_dns[2];

/* wire.c */
struct addr wire_remote(const struct model *m, const struct talk *t);
/** wire_build() - the frame of a step; @b: M_BYTES */
void wire_build(const struct model *m, const struct step *s, struct m_frame *out, uint8_t *b);

/* generate.c */
void generate(struct history *h, uint64_t seed, size_t steps);

/* print.c */
void print_frame(FILE *to, const struct m_frame *f);
void print_step(FILE *to, const struct step *s);

#endif
