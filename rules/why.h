/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Why a rule does not match, in words.
 *
 * One rule at a time, from the rules as they were written and the surroundings as
 * they are now; it knows nothing of a compiled policy and so is a second opinion
 * on it.
 */
#ifndef RULES_WHY_H
#define RULES_WHY_H

#include "rules/rules.h"

#define WHY_MAX 320 /* of a reason, with its NUL */

struct why {
	const struct ruleset *rules;
	const struct policy_env *env;
	/*
	 * further() - how many addresses a name has besides (those that a client was
	 * told), and whether @dst is one of them; may be NULL: none
	 */
	size_t (*further)(void *arg, const char *name, const uint8_t *dst, bool *found);
	void *arg;
};

/**
 * why_not() - the first reason why a rule does not match a packet
 * @rule:	below ruleset_count()
 * @buf:	receives one line: the option as it was written, and what the packet has
 *
 * Return: false when it does match; @buf is empty then.
 */
bool why_not(const struct why *w, uint32_t rule, const struct rule_packet *pkt,
	     char buf[WHY_MAX]);

#endif
