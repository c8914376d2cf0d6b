/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside rules/: the compiled policy.
 *
 * A list of fixed-size matchers in the order of the rules. A packet is reduced
 * to a protocol class (one bit), one number (port or ICMP type) and the
 * destination as two 64-bit words; a matcher is a set of classes, a range, and
 * either a masked prefix or a sorted slice of the address pool. So a rule costs
 * two compares, two masks and no branch that depends on its kind, except for
 * sets.
 *
 * Few rules are tried one after the other. For more there is an index besides
 * (index.c), which gives the same answer; it is made from the matchers alone.
 *
 * The form is canonical: two rules that match the same packets for the same
 * reason are equal field by field (policy_equal()). A rule that can never match
 * has no protocol class and no other content; a set of one address is a full
 * prefix; an empty set never matches.
 *
 * Only rules/ looks inside.
 */
#ifndef RULES_POLICY_H
#define RULES_POLICY_H

#include "rules/rules.h"

/* An address as two words; IPv4 is the first four bytes of the first. */
struct words {
	uint64_t w[2];
};

enum {
	MATCH_SET = 1,	      /* destination is in pool[first..first + count) */
	/* for the reader only */
	MATCH_UNRESOLVED = 2, /* its name does not resolve */
	MATCH_PARTIAL = 4,    /* not all addresses of its name are known */
};

struct matcher {
	struct words net, mask; /* not for MATCH_SET */
	uint32_t first, count;	/* MATCH_SET: in the pool, sorted as bytes */
	uint16_t low, high;	/* port or ICMP type */
	uint8_t protos;		/* CLASS_* of rules/ruleset.h */
	uint8_t action;		/* enum rule_verdict */
	uint8_t flags;		/* MATCH_* */
	uint8_t prefix_len;
	uint32_t key; /* offset in keys */
};

struct index;

struct policy {
	uint8_t family;
	uint8_t action; /* when no rule matches */
	bool malformed; /* no rules; rejects everything */
	size_t rule_count, pool_count, keys_len;
	struct matcher *rule;
	struct words *pool;
	char *keys;
	struct index *index; /* NULL: scan */
};

/** words_of() - an address of the family as words */
struct words words_of(const uint8_t *bytes, uint8_t family);

/**
 * packet_class() - what a rule compares of a packet
 * @number:	its port or ICMP type; 0 where it has none
 *
 * Return: the protocol class, one of CLASS_* of rules/ruleset.h.
 */
uint8_t packet_class(const struct rule_packet *pkt, uint8_t family, uint16_t *number);

#endif
