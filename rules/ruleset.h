/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside rules/: what a parsed rule and a parsed subtree look like.
 *
 * Parsing already brings every rule into the form in which it will be matched:
 * a set of protocol classes, one range (destination port or ICMP type) and a
 * destination. Only what depends on the surroundings stays open until
 * policy_compile(): the addresses of a name and of the DNS servers.
 */
#ifndef RULES_RULESET_H
#define RULES_RULESET_H

#include "rules/rules.h"

/* Protocol classes: every packet is in exactly one. An empty set never matches. */
enum {
	CLASS_TCP = 1,
	CLASS_UDP = 2,
	CLASS_ICMP = 4, /* the family's own: protocol 1 or 58 */
	CLASS_OTHER = 8,
	CLASS_ALL = 15,
};

#define DNS_PORT  53
#define RANGE_ALL 65535 /* of ports, and more than enough for ICMP types */

enum rule_dst { DST_ANY, DST_PREFIX, DST_NAME };

struct rule {
	uint8_t action; /* enum rule_verdict: accept or reject */
	uint8_t dst;	/* enum rule_dst */
	uint8_t prefix_len;
	uint8_t protos;	    /* CLASS_* */
	bool dns;	    /* only to the DNS servers */
	uint16_t low, high; /* port or ICMP type, both ends included */
	uint8_t net[16];    /* DST_PREFIX: host bits cleared; IPv4: first four */
	uint32_t key, value; /* offsets in ruleset.text */
	uint32_t name;	     /* DST_NAME: index in ruleset.name */
};

struct ruleset {
	uint8_t family;
	uint8_t policy; /* enum rule_verdict */
	size_t rule_count, name_count, text_len;
	struct rule *rule; /* in the order in which they are tried */
	uint32_t *name;	   /* distinct names: offsets in text, sorted */
	char *text;	   /* keys, values and names, each with its NUL */
};

/** Where problems go; counts them. */
struct rule_sink {
	void (*report)(void *arg, const struct rule_error *err);
	void *arg;
	const char *key; /* the one being read */
	size_t key_len;
	size_t count;
};

/** rule_problem() - report one problem of sink->key */
__attribute__((format(printf, 2, 3))) void rule_problem(struct rule_sink *sink, const char *format,
							...);

/**
 * rule_name_is_possible() - whether DNS can hold a dsthost
 *
 * Not with an empty label, a label over 63 or over 253 in all: such a name does not
 * resolve, and nobody is asked.
 */
bool rule_name_is_possible(const char *name);

/** A dsthost inside the value that was parsed. */
struct rule_name {
	const char *text;
	size_t len;
};

/**
 * rule_parse() - parse the value of one rule key
 * @sink:	receives every problem; @rule is valid when none was added
 * @rule:	filled but for key, value and name
 * @name:	the dsthost, pointing into @value, when rule->dst is DST_NAME
 */
void rule_parse(struct rule_sink *sink, uint8_t family, const char *value, size_t len,
		struct rule *rule, struct rule_name *name);

#endif
