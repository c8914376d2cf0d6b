/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From the text that dom0 commits to a verdict.
 *
 *   pairs (key, value) --ruleset_parse()--> struct ruleset   what was written
 *   ruleset + names + DNS servers --policy_compile()--> struct policy
 *   policy + first packet of a flow --policy_match()--> verdict and rule
 *
 * A ruleset is one source's committed subtree of one address family; a policy
 * is that ruleset under the names as they resolve now. Both are immutable once
 * built, so a reload builds aside and swaps one pointer. Everything here is
 * pure: no I/O, no clock, no globals, bounded memory, no recursion on input.
 *
 * Grammar and semantics: Qubes firewall rules as they stand in QubesDB
 * (doc/rules.md).
 */
#ifndef RULES_RULES_H
#define RULES_RULES_H

#include "rules/addr.h"

#define RULE_MAX	10000 /* rules in one ruleset; beyond: the source is blocked */
#define RULE_KEY_MAX	64    /* "policy", "malformed", "none" or digits, with NUL */
#define RULE_NAME_MAX	3071  /* longest dsthost that a QubesDB value could hold */
#define RULE_TEXT_MAX	3071  /* longest value of one key */

enum rule_verdict {
	RULE_ACCEPT,
	RULE_REJECT, /* drop in the grammar: ICMP administratively prohibited */
	RULE_DROP,   /* silent: the source has no committed policy */
};

/** One key of a source's subtree, relative to it ("policy", "0003"). */
struct rule_pair {
	const char *key;   /* NUL terminated */
	const char *value; /* any bytes, not NUL terminated */
	size_t value_len;
};

/** Where and why a subtree is malformed. */
struct rule_error {
	char key[64];   /* escaped; the offending key */
	char text[192]; /* names option and value: dstports: "90-80" is reversed */
};

struct ruleset;
struct policy;

/**
 * ruleset_parse() - parse one source's committed subtree, strictly
 * @out:	the ruleset, owned by the caller (ruleset_free())
 * @family:	4 or 6: the family of the source's address
 * @pairs:	keys in any order; nothing of them is kept by reference
 * @n:		number of pairs
 * @err:	filled on -EBADMSG with the first problem; may be NULL
 *
 * Return: 0; -EBADMSG when any part is malformed (the source must be blocked);
 * -E2BIG (also in @err) with more than RULE_MAX rules; -ENOMEM.
 */
int ruleset_parse(struct ruleset **out, uint8_t family,
		  const struct rule_pair *pairs, size_t n,
		  struct rule_error *err);

/**
 * ruleset_check() - report every problem of a subtree
 * @report:	called once for each problem, in key order
 *
 * Return: number of problems.
 */
size_t ruleset_check(uint8_t family, const struct rule_pair *pairs, size_t n,
		     void (*report)(void *arg, const struct rule_error *err),
		     void *arg);

void ruleset_free(struct ruleset **rs);

/** ruleset_equal() - same rules, keys, actions and policy (no epoch bump) */
bool ruleset_equal(const struct ruleset *a, const struct ruleset *b);

size_t ruleset_count(const struct ruleset *rs);

/**
 * ruleset_value() - the text of a rule, as it was committed
 * @index:	of a rule, or RULE_INDEX_POLICY: that of the policy
 *
 * Return: NULL for anything else.
 */
const char *ruleset_value(const struct ruleset *rs, uint32_t index);

/** ruleset_host() - the dsthost of a rule, or NULL */
const char *ruleset_host(const struct ruleset *rs, uint32_t index);

/**
 * ruleset_names() - call @fn once for every distinct dsthost
 */
void ruleset_names(const struct ruleset *rs,
		   void (*fn)(void *arg, const char *name), void *arg);

/** What a name resolves to now. */
enum name_state {
	NAME_UNRESOLVED, /* accept matches nothing, drop matches everything */
	NAME_RESOLVED,   /* perhaps to no address of this family */
	NAME_PARTIAL,    /* has more than these addresses: drop matches everything */
};

/** The surroundings a ruleset is compiled in; all pointers stay the caller's. */
struct policy_env {
	const struct addr *dns; /* DNS servers, either family, any number */
	size_t dns_count;
	/*
	 * lookup() - addresses of a name; *addrs stays valid until compile
	 * returns; entries of the other family are ignored. May be NULL: no
	 * name resolves.
	 */
	enum name_state (*lookup)(void *arg, const char *name,
				  const struct addr **addrs, size_t *count);
	void *lookup_arg;
};

/**
 * policy_compile() - resolve names and DNS servers, build the matcher
 * @out:	owned by the caller (policy_free()); keeps nothing of @rs
 *
 * Return: 0 or -ENOMEM.
 */
int policy_compile(struct policy **out, const struct ruleset *rs,
		   const struct policy_env *env);

/**
 * policy_malformed() - the policy of a source whose subtree does not parse
 *
 * Rejects everything; its deciding rule is "malformed".
 */
int policy_malformed(struct policy **out);

void policy_free(struct policy **p);

/** policy_equal() - same verdict for every packet, rule by rule */
bool policy_equal(const struct policy *a, const struct policy *b);

/** The first packet of a flow, as rules see it. */
struct rule_packet {
	const uint8_t *dst; /* 4 or 16 bytes, network order, by the family */
	uint8_t proto;      /* IP protocol number; 1 or 58 for ICMP, by family */
	uint8_t icmp_type;  /* for ICMP */
	uint16_t dport;     /* host order; for TCP and UDP */
};

#define RULE_INDEX_POLICY	UINT32_MAX	 /* no rule matched */
#define RULE_INDEX_MALFORMED	(UINT32_MAX - 1) /* the whole source is blocked */
#define RULE_INDEX_NONE		(UINT32_MAX - 2) /* no committed policy */

/**
 * policy_match() - the verdict for the first packet of a flow
 * @p:		NULL means no committed policy: RULE_DROP, RULE_INDEX_NONE
 * @pkt:	of the family the ruleset was parsed for
 * @index:	the deciding rule (0 = first of the list) or RULE_INDEX_*
 *
 * Return: the verdict. Never allocates.
 */
enum rule_verdict policy_match(const struct policy *p,
			       const struct rule_packet *pkt, uint32_t *index);

/**
 * policy_key() - name of a deciding rule: "0003", "policy", "malformed", "none"
 */
const char *policy_key(const struct policy *p, uint32_t index,
		       char buf[RULE_KEY_MAX]);

/** policy_rule_count() - rules in the policy; indices run below it */
size_t policy_rule_count(const struct policy *p);

/** policy_memory() - bytes the policy occupies */
size_t policy_memory(const struct policy *p);

/** policy_print() - the compiled policy as text, one rule a line, for -n */
void policy_print(const struct policy *p,
		  void (*line)(void *arg, const char *text), void *arg);

const char *rule_verdict_name(enum rule_verdict v);

#endif
