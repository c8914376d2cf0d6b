/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random rule sets of any size in several kinds, and packets that hit their
 * edges: for the matcher's test and its benchmark.
 *
 * A world is drawn from a seed alone. Its rules are written as text and parsed,
 * so only rules that dom0 could have written are met. Host names are "n" and
 * a number, which says what they resolve to.
 */
#ifndef TESTS_UNIT_RULES_RANDOM_H
#define TESTS_UNIT_RULES_RANDOM_H

#include "rules/ruleset.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORLD_DNS	  4  /* two of each family */
#define WORLD_NAME_ADDRS  64 /* of the world's family, and one of the other */
#define WORLD_VALUE_SIZE  160
#define WORLD_NAMES_SHARE 4 /* rules for each name in WORLD_NAMES_SHARED */

enum world_kind {
	WORLD_USUAL,	    /* hosts and nets, well-known ports, names, DNS: as users write */
	WORLD_NESTED,	    /* prefixes in prefixes, random port ranges */
	WORLD_RANGES,	    /* overlapping port ranges, to anywhere and to few hosts */
	WORLD_NAMES,	    /* names of 64 addresses out of few, so that all overlap */
	WORLD_NAMES_SHARED, /* names of 64 addresses out of many, some rules for each */
	WORLD_CROSS,	    /* half prefixes with one port, half port ranges to anywhere */
	WORLD_MIXED,	    /* a bit of everything in a tiny universe */
	WORLD_KINDS,
};

static const char *const world_kind_name[] = {
    [WORLD_USUAL] = "usual",	   [WORLD_NESTED] = "nested",
    [WORLD_RANGES] = "ranges",	   [WORLD_NAMES] = "names",
    [WORLD_NAMES_SHARED] = "shared", [WORLD_CROSS] = "cross",
    [WORLD_MIXED] = "mixed",
};

static_assert(sizeof(world_kind_name) / sizeof(world_kind_name[0]) == WORLD_KINDS, "a name each");

struct world {
	uint64_t state; /* of the generator */
	uint8_t family;
	enum world_kind kind;
	size_t rules, names;
	struct addr dns[WORLD_DNS];
	struct addr *addrs; /* WORLD_NAME_ADDRS + 1 of each name */
	struct policy_env env;
	struct ruleset *rs;
};

static inline uint32_t world_draw(struct world *w, uint32_t n)
{
	w->state = w->state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(((w->state >> 32) * n) >> 32);
}

static inline size_t world_addr_len(const struct world *w)
{
	return w->family == 4 ? 4 : 16;
}

/* One of @n addresses: the same number is the same address. */
static inline void world_address(const struct world *w, uint32_t number, uint8_t family,
				 uint8_t out[16])
{
	uint64_t mixed = (number + 1) * UINT64_C(0x9e3779b97f4a7c15);

	memset(out, 0, 16);
	if (family == 4) {
		out[0] = (uint8_t)(1 + (mixed >> 60)); /* crowded */
		memcpy(out + 1, &mixed, 3);
		return;
	}
	if (w->kind == WORLD_USUAL) {
		/* Some providers, many sites, a server or two in each. */
		out[0] = (uint8_t)(0x20 + (mixed >> 61) * 2);
		out[1] = (uint8_t)(mixed >> 56);
		out[3] = (uint8_t)((mixed >> 52) & 0xf);
		memcpy(out + 4, &mixed, 4);
		out[15] = (uint8_t)(1 + number % 4);
		return;
	}
	out[0] = 0x20;
	out[1] = 1;
	out[7] = (uint8_t)(mixed >> 62); /* few /64s, many hosts in them */
	out[8] = (uint8_t)number;
	memcpy(out + (w->kind == WORLD_NESTED ? 2 : 9), &mixed, 6);
}

static inline enum name_state world_lookup(void *arg, const char *name, const struct addr **addrs,
					   size_t *count)
{
	const struct world *w = arg;
	size_t i = strtoul(name + 1, NULL, 10);

	assert(i < w->names);
	*addrs = w->addrs + i * (WORLD_NAME_ADDRS + 1);
	*count = WORLD_NAME_ADDRS + 1;
	if (w->kind == WORLD_MIXED || w->kind == WORLD_USUAL)
		*count = i % 7; /* none, one, or some; the first is of the other family */
	if (w->kind == WORLD_NAMES)
		return NAME_RESOLVED;
	return i % 11 == 10 ? NAME_UNRESOLVED : i % 11 == 9 ? NAME_PARTIAL : NAME_RESOLVED;
}

static inline void world_name_addrs(struct world *w, size_t name)
{
	struct addr *a = w->addrs + name * (WORLD_NAME_ADDRS + 1);
	uint32_t universe = w->kind == WORLD_NAMES_SHARED ? 1000000
			    : w->kind == WORLD_MIXED	  ? 16
							  : 512;

	a[0].family = w->family == 4 ? 6 : 4;
	world_address(w, (uint32_t)name, a[0].family, a[0].bytes);
	for (size_t i = 1; i <= WORLD_NAME_ADDRS; i++) {
		a[i].family = w->family;
		world_address(w, world_draw(w, universe), w->family, a[i].bytes);
	}
}

/* --- rules -------------------------------------------------------------------- */

static inline void world_add(char *value, const char *text)
{
	size_t len = strlen(value);

	snprintf(value + len, WORLD_VALUE_SIZE - len, " %s", text);
}

static inline void world_add_prefix(struct world *w, char *value, uint32_t number,
				    unsigned int len)
{
	struct addr addr = {.family = w->family};
	char text[ADDR_STRLEN], word[ADDR_STRLEN + 16];

	world_address(w, number, w->family, addr.bytes);
	snprintf(word, sizeof(word), "dst%u=%s/%u", w->family, addr_format(&addr, text), len);
	world_add(value, word);
}

static inline void world_add_name(struct world *w, char *value)
{
	char word[32];

	snprintf(word, sizeof(word), "dsthost=n%u", world_draw(w, (uint32_t)w->names));
	world_add(value, word);
}

static inline void world_add_ports(struct world *w, char *value, uint32_t low, uint32_t width)
{
	uint32_t high = low + world_draw(w, width);
	char word[32];

	snprintf(word, sizeof(word), "dstports=%u-%u", low, high > 65535 ? 65535 : high);
	world_add(value, word);
}

static inline void world_add_proto(struct world *w, char *value)
{
	static const char *const proto[] = {"proto=tcp", "proto=udp"};
	uint32_t pick = world_draw(w, 3);

	if (pick < 2)
		world_add(value, proto[pick]);
}

static inline void world_usual(struct world *w, char *value)
{
	static const uint16_t port[] = {443, 80, 22, 25, 53, 123, 143, 587, 853, 993, 5222, 8080};
	static const uint8_t len[2][4] = {{24, 24, 20, 16}, {64, 56, 48, 32}};
	uint32_t what = world_draw(w, 20), full = w->family == 4 ? 32 : 128;

	if (what < 11)
		world_add_prefix(w, value, world_draw(w, 100000), full);
	else if (what < 14)
		world_add_prefix(w, value, world_draw(w, 100000),
				 len[w->family == 6][world_draw(w, 4)]);
	else if (what < 18)
		world_add_name(w, value);
	else if (what == 18 && world_draw(w, 10) == 0)
		world_add(value, "specialtarget=dns");
	if (what == 19 && world_draw(w, 2)) {
		world_add(value, "proto=icmp");
		if (world_draw(w, 2))
			world_add(value, w->family == 4 ? "icmptype=8" : "icmptype=128");
		return;
	}
	if (what == 19 || world_draw(w, 10) < 8) {
		world_add(value, world_draw(w, 5) ? "proto=tcp" : "proto=udp");
		world_add_ports(w, value, port[world_draw(w, 12)], world_draw(w, 8) ? 1 : 100);
	}
}

static inline void world_mixed(struct world *w, char *value)
{
	uint32_t what = world_draw(w, 4);

	if (what == 0)
		world_add_prefix(w, value, world_draw(w, 16),
				 world_draw(w, w->family == 4 ? 33 : 129));
	else if (what == 1)
		world_add_name(w, value);
	else if (what == 2 && world_draw(w, 2))
		world_add_prefix(w, value, world_draw(w, 16), w->family == 4 ? 32 : 128);
	switch (world_draw(w, 8)) {
	case 0:
		world_add(value, "proto=icmp");
		if (world_draw(w, 2))
			world_add(value, world_draw(w, 2) ? "icmptype=8" : "icmptype=255");
		break;
	case 1:
		world_add(value, "specialtarget=dns");
		world_add_proto(w, value);
		break;
	case 2:
		world_add_proto(w, value);
		break;
	default:
		world_add_proto(w, value);
		world_add_ports(w, value, world_draw(w, 4) ? world_draw(w, 64) : 65500, 64);
	}
}

static inline void world_rule(struct world *w, size_t i, char *value)
{
	unsigned int bits = w->family == 4 ? 32 : 128;

	snprintf(value, WORLD_VALUE_SIZE, "action=%s",
		 world_draw(w, w->kind == WORLD_USUAL ? 10 : 2) ? "accept" : "drop");
	switch (w->kind) {
	case WORLD_USUAL:
		world_usual(w, value);
		return;
	case WORLD_MIXED:
		world_mixed(w, value);
		return;
	case WORLD_NESTED:
		/* Half of the rules around one address: as deep as it gets. */
		world_add_prefix(w, value, world_draw(w, 2) ? 0 : world_draw(w, 1000000),
				 world_draw(w, bits + 1));
		break;
	case WORLD_RANGES:
		if (world_draw(w, 2))
			world_add_prefix(w, value, world_draw(w, 4), bits);
		break;
	case WORLD_NAMES:
	case WORLD_NAMES_SHARED:
		world_add_name(w, value);
		break;
	case WORLD_CROSS:
	case WORLD_KINDS:
		if (i % 2 == 0)
			world_add_prefix(w, value, world_draw(w, 1000000), bits * 3 / 4);
		break;
	}
	world_add_proto(w, value);
	world_add_ports(w, value, world_draw(w, 65536), w->kind == WORLD_NESTED ? 4096 : 256);
}

/* The world's subtree, parsed; world_clear() in the end. */
static inline void world_init(struct world *w, uint64_t seed, enum world_kind kind, uint8_t family,
			      size_t rules)
{
	char(*value)[WORLD_VALUE_SIZE] = calloc(rules + 1, sizeof(*value));
	char(*key)[8] = calloc(rules + 1, sizeof(*key));
	struct rule_pair *pair = calloc(rules + 1, sizeof(*pair));
	struct rule_error err = {"", ""};

	*w = (struct world){.state = seed, .family = family, .kind = kind, .rules = rules};
	w->names = kind == WORLD_MIXED		? 23
		   : kind == WORLD_NAMES_SHARED ? rules / WORLD_NAMES_SHARE + 1
						: rules + 1;
	w->addrs = calloc(w->names * (WORLD_NAME_ADDRS + 1), sizeof(*w->addrs));
	assert(value != NULL && key != NULL && pair != NULL && w->addrs != NULL);
	for (size_t i = 0; i < w->names; i++)
		world_name_addrs(w, i);
	for (unsigned int i = 0; i < WORLD_DNS; i++) {
		w->dns[i].family = i % 2 ? 6 : 4;
		world_address(w, i, w->dns[i].family, w->dns[i].bytes);
	}
	w->env = (struct policy_env){
	    .dns = w->dns, .dns_count = WORLD_DNS, .lookup = world_lookup, .lookup_arg = w};
	for (size_t i = 0; i < rules; i++) {
		snprintf(key[i], sizeof(key[i]), "%04u", (unsigned int)i);
		world_rule(w, i, value[i]);
		pair[i] = (struct rule_pair){key[i], value[i], strlen(value[i])};
	}
	pair[rules] = world_draw(w, 2) ? (struct rule_pair){"policy", "accept", 6}
				       : (struct rule_pair){"policy", "drop", 4};
	if (ruleset_parse(&w->rs, family, pair, rules + 1, &err) != 0) {
		printf("  %s: %s\n", err.key, err.text);
		abort();
	}
	free(value);
	free(key);
	free(pair);
}

static inline void world_clear(struct world *w)
{
	free(w->addrs);
	w->addrs = NULL;
	ruleset_free(&w->rs);
}

/* --- packets ------------------------------------------------------------------ */

/* The next address up or down, around the end. */
static inline void world_step(uint8_t *addr, size_t len, bool up)
{
	while (len-- > 0) {
		addr[len] = (uint8_t)(up ? addr[len] + 1 : addr[len] - 1);
		if (addr[len] != (up ? 0 : 0xff))
			return;
	}
}

/* Inside a prefix: all host bits clear, all set, or random; now and then beside it. */
static inline void world_aim_prefix(struct world *w, const struct rule *rule, uint8_t dst[16])
{
	uint32_t how = world_draw(w, 5);
	size_t len = world_addr_len(w);

	memcpy(dst, rule->net, 16);
	for (unsigned int bit = rule->prefix_len; how != 0 && bit < 8 * len; bit++)
		if (how == 1 || how == 3 || (how == 2 && world_draw(w, 2)))
			dst[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	if (how == 3)
		world_step(dst, len, true); /* the first behind it */
	if (how == 4)
		world_step(dst, len, false); /* the last before it */
}

static inline void world_aim_dst(struct world *w, const struct rule *rule, uint8_t dst[16])
{
	const struct addr *addrs;
	size_t count;

	if (rule->dns) {
		memcpy(dst, w->dns[2 * world_draw(w, 2) + (w->family == 6)].bytes, 16);
	} else if (rule->dst == DST_PREFIX) {
		world_aim_prefix(w, rule, dst);
		return;
	} else if (rule->dst == DST_NAME) {
		world_lookup(w, w->rs->text + w->rs->name[rule->name], &addrs, &count);
		memcpy(dst, addrs[world_draw(w, (uint32_t)count)].bytes, count > 0 ? 16 : 0);
	}
	if (world_draw(w, 8) == 0)
		world_step(dst, world_addr_len(w), world_draw(w, 2));
}

/* A packet at the edges of one rule's destination and often another's ports. */
static inline void world_packet(struct world *w, struct rule_packet *pkt, uint8_t dst[16])
{
	static const uint8_t protos[] = {1, 6, 17, 47, 58, 6, 17, 6};
	const struct rule *rule;

	*pkt = (struct rule_packet){.dst = dst, .proto = protos[world_draw(w, 8)]};
	pkt->icmp_type = (uint8_t)world_draw(w, 256);
	pkt->dport = (uint16_t)world_draw(w, 65536);
	world_address(w, world_draw(w, 100000), w->family, dst);
	if (w->rs->rule_count == 0)
		return;
	rule = &w->rs->rule[world_draw(w, (uint32_t)w->rs->rule_count)];
	if (world_draw(w, 16))
		world_aim_dst(w, rule, dst);
	if (world_draw(w, 4) == 0)
		rule = &w->rs->rule[world_draw(w, (uint32_t)w->rs->rule_count)];
	pkt->dport = (uint16_t)(world_draw(w, 2) ? rule->low : rule->high);
	if (world_draw(w, 2))
		pkt->dport = (uint16_t)(pkt->dport + world_draw(w, 3) - 1);
	if (world_draw(w, 2))
		pkt->icmp_type = (uint8_t)pkt->dport;
	if ((rule->protos == CLASS_TCP || rule->protos == CLASS_UDP) && world_draw(w, 8))
		pkt->proto = rule->protos == CLASS_TCP ? 6 : 17;
}

#endif
