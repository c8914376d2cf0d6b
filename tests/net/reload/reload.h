/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commits under load: dom0's part, the client's and the uplink's in one process.
 *
 *	          QubesDB's socket
 *	driver ---------------------> qubesdb-server ---> ringfenced
 *	  |                                                |     |
 *	  +-- packet socket on c1 -------------------------+     |
 *	  +-- packet socket on up0 ------------------------------+
 *
 *	main.c		options
 *	dom0.c		updates as dom0 writes them, the handled counter
 *	probe.c		frames into c1 and up0, what comes out of them
 *	storm.c		which policy has judged each packet
 *	latency.c	from the commit to the first packet under it
 *
 * The daemon takes the frames of one device in the order in which they came, and so
 * does everything behind it. So whatever was sent before a packet that came out, and
 * did not come out, was refused: no need to wait.
 */
#ifndef TESTS_NET_RELOAD_H
#define TESTS_NET_RELOAD_H

#include "tests/net/diff/packet.h"

/* 203.0.113.N or 2001:db8:dead::N, behind the uplink; its kernel has no way there */
#define TARGET4 "203.0.113.%u"
#define TARGET6 "2001:db8:dead::%x"

struct config {
	const char *prefix, *socket; /* of the namespaces; QubesDB's */
	uint8_t family;
};
extern struct config config;

uint64_t now_us(void);

/* --- dom0.c ------------------------------------------------------------------- */

void dom0_open(void);
/* a descriptor to poll; what it has is worked off by dom0_read() */
int dom0_fd(void);
void dom0_read(void);
/* one message of an update; nothing is waited for */
void dom0_rm(void); /* the subtree */
void dom0_write(const char *key, const char *value);
void dom0_commit(void); /* the base key */
/* how many requests are not answered yet; commits that were said to be in force */
unsigned int dom0_pending(void);
unsigned int dom0_handled(void);
/* when the last of them was heard of */
uint64_t dom0_handled_us(void);

/* --- probe.c ------------------------------------------------------------------ */

struct probe {
	uint8_t proto;	       /* P_ICMP: an echo of either family */
	uint16_t sport, dport; /* of an echo, sport is the identifier */
	uint8_t target;	       /* the N of its address */
	uint32_t id;	       /* comes out again */
};

void probe_open(void);
/* from the client */
void probe_send(const struct probe *p);
/* from that target to port @nat of ours */
void probe_reply(const struct probe *p, uint16_t nat);
/*
 * Wait @us at most for anything, and take it: @at_uplink for what came there, to a
 * target, with the source port or identifier that it has there; @at_client for what
 * the client got from one.
 */
void probe_turn(uint64_t us, void (*at_uplink)(uint32_t id, uint16_t nat),
		void (*at_client)(uint32_t id));

/* --- storm.c, latency.c --------------------------------------------------------- */

void storm(unsigned int commits);
void latency(unsigned int rules, unsigned int times);

#endif
