/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The oracle of the rules: one rule after the other, first match decides (R1).
 *
 * It knows struct rule, the surroundings and doc/rules.md, nothing of a
 * compiled policy. Slow and obvious; the matcher must answer the same.
 */
#ifndef TESTS_UNIT_RULES_NAIVE_H
#define TESTS_UNIT_RULES_NAIVE_H

#include "rules/ruleset.h"

#include <stdlib.h>
#include <string.h>

/* What a name resolves to, asked once. */
struct naive_name {
	const struct addr *addrs;
	size_t count;
	enum name_state state;
};

struct naive {
	const struct ruleset *rs;
	const struct policy_env *env;
	struct naive_name *name; /* of each name of the ruleset */
};

/* Could a DNS hold it? Labels of 1 to 63, 253 in all without the last dot. */
static inline bool naive_possible(const char *name)
{
	size_t len = strlen(name);
	const char *dot;

	if (len > 0 && name[len - 1] == '.')
		len--;
	if (len == 0 || len > 253)
		return false;
	for (const char *end = name + len; name <= end; name = dot + 1) {
		dot = memchr(name, '.', (size_t)(end - name));
		if (dot == NULL)
			dot = end;
		if (dot == name || dot - name > 63)
			return false;
	}
	return true;
}

/* Return: false without memory. */
static inline bool naive_init(struct naive *n, const struct ruleset *rs,
			      const struct policy_env *env)
{
	*n = (struct naive){rs, env, calloc(rs->name_count + 1, sizeof(*n->name))};
	if (n->name == NULL)
		return false;
	for (size_t i = 0; i < rs->name_count && env->lookup != NULL; i++) {
		const char *text = rs->text + rs->name[i];
		struct naive_name *name = &n->name[i];

		if (naive_possible(text))
			name->state = env->lookup(env->lookup_arg, text, &name->addrs,
						  &name->count);
	}
	return true;
}

static inline void naive_clear(struct naive *n)
{
	free(n->name);
	n->name = NULL;
}

static inline bool naive_among(const struct addr *addrs, size_t count, uint8_t family,
			       const uint8_t *dst)
{
	for (size_t i = 0; i < count; i++)
		if (addrs[i].family == family &&
		    memcmp(addrs[i].bytes, dst, family == 4 ? 4 : 16) == 0)
			return true;
	return false;
}

static inline bool naive_inside(const struct rule *rule, const uint8_t *dst)
{
	unsigned int whole = rule->prefix_len / 8, rest = rule->prefix_len % 8;

	if (memcmp(rule->net, dst, whole) != 0)
		return false;
	return rest == 0 || (rule->net[whole] ^ dst[whole]) >> (8 - rest) == 0;
}

static inline bool naive_rule(const struct naive *n, const struct rule *rule,
			      const struct rule_packet *pkt)
{
	uint8_t family = n->rs->family;
	bool tcp = pkt->proto == 6, udp = pkt->proto == 17;
	bool icmp = pkt->proto == (family == 4 ? 1 : 58);
	unsigned int class = tcp ? CLASS_TCP : udp ? CLASS_UDP : icmp ? CLASS_ICMP : CLASS_OTHER;
	unsigned int number = tcp || udp ? pkt->dport : icmp ? pkt->icmp_type : 0;

	if (!(rule->protos & class) || number < rule->low || number > rule->high)
		return false;
	if (rule->dns && !((tcp || udp) && pkt->dport == 53 &&
			   naive_among(n->env->dns, n->env->dns_count, family, pkt->dst)))
		return false;
	if (rule->dst == DST_PREFIX)
		return naive_inside(rule, pkt->dst);
	if (rule->dst == DST_NAME) {
		const struct naive_name *name = &n->name[rule->name];

		/* what is not known is refused */
		if (rule->action == RULE_ACCEPT && name->state == NAME_UNRESOLVED)
			return false;
		if (rule->action != RULE_ACCEPT && name->state != NAME_RESOLVED)
			return true;
		return naive_among(name->addrs, name->count, family, pkt->dst);
	}
	return true;
}

static inline enum rule_verdict naive_match(const struct naive *n, const struct rule_packet *pkt,
					    uint32_t *index)
{
	for (size_t i = 0; i < n->rs->rule_count; i++) {
		if (!naive_rule(n, &n->rs->rule[i], pkt))
			continue;
		*index = (uint32_t)i;
		return (enum rule_verdict)n->rs->rule[i].action;
	}
	*index = RULE_INDEX_POLICY;
	return (enum rule_verdict)n->rs->policy;
}

#endif
