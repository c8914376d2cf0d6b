/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules of a ruleset that name a host, for whoever learns addresses of that
 * host otherwise than by asking for them.
 */
#ifndef RULES_NAMED_H
#define RULES_NAMED_H

#include "rules/rules.h"

/** A rule with a dsthost, without the host's addresses. */
struct named_rule {
	uint64_t name;	    /* the caller's number for it */
	uint32_t rule;	    /* index, as policy_match() gives it */
	uint16_t low, high; /* of port or ICMP type */
	uint8_t protos;
	uint8_t action; /* enum rule_verdict */
};

/**
 * ruleset_named() - list the rules that a further address of their host could match
 * @number:	the caller's number for a name
 * @out:	owned by the caller (free()); in order of their rules; NULL when there
 *		is none
 *
 * Return: 0 or -ENOMEM.
 */
int ruleset_named(const struct ruleset *rs, uint64_t (*number)(void *arg, const char *name),
		  void *arg, struct named_rule **out, size_t *count);

/** named_rule_matches() - whether it matches a packet to an address of its host */
bool named_rule_matches(const struct named_rule *r, uint8_t family, const struct rule_packet *pkt);

#endif
