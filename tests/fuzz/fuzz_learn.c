// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Learning from DNS: histories of queries, answers, changes of rules and time, for two
 * sources with the same rules.
 *
 * Beyond memory errors and learn_check(): an address matches only while a source still
 * has a rule with a name, only for the source whose flow carried an answer, and not
 * beyond the ceiling of the TTL; what is kept stays within its bounds.
 */
#include "firewall/dns_message.h"
#include "firewall/learn.h"
#include "tests/fuzz/input.h"
#include "tests/unit/dns_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOURCES 2

static const char *const names[] = {"www.example.com", "cdn.test",    "a.b.c.example.com",
				    "x.test",	       "example.com", "test"};
#define NAMES (sizeof(names) / sizeof(names[0]))

static const char *const wildcards[] = {
    NULL, "", "example.com", "test  example.com", "c.example.com", " "};
#define WILDCARDS (sizeof(wildcards) / sizeof(wildcards[0]))

struct world {
	struct learn *l;
	uint64_t now;
	bool has_rules[SOURCES], answered[SOURCES];
	uint8_t family[SOURCES];
};

/* Rules with some of the names; the source's family is @family. */
static void set_rules(struct world *w, uint16_t source, unsigned int which, uint8_t family)
{
	struct named_rule *rules = calloc(NAMES, sizeof(*rules));
	size_t n = 0;

	REQUIRE(rules);
	for (size_t i = 0; i < NAMES; i++)
		if (which >> i & 1)
			rules[n++] = (struct named_rule){.name = learn_name(w->l, names[i]),
							 .rule = (uint32_t)i,
							 .high = 65535,
							 .protos = 255,
							 .action = RULE_ACCEPT};
	if (n == 0) {
		free(rules);
		rules = NULL;
	}
	if (family != w->family[source]) {
		/* an address is of one family for ever */
		learn_forget(w->l, source);
		w->answered[source] = false;
		w->family[source] = family;
	}
	learn_rules(w->l, source, family, rules, n);
	w->has_rules[source] = n > 0;
}

/* A query for one of the names, and when asked for an answer, records of any kind. */
static void make_message(struct input *in, bool response, uint8_t family)
{
	unsigned int records = response ? next(in) % 16 : 0, id = next(in) % 4;
	unsigned int type = family == 6 ? DNS_TYPE_AAAA : DNS_TYPE_A;

	put_head(id, response ? 0x8180 : 0x0100, 1, records, 0);
	put_question(names[next(in) % NAMES], type);
	while (records-- > 0) {
		bool cname = next(in) % 4 == 0;
		const char *owner = next(in) % 2 ? "@12" : names[next(in) % NAMES];
		uint32_t ttl = (uint32_t)next(in) << 16;
		unsigned int size = family == 6 ? 16 : 4;

		ttl |= (uint32_t)next(in) << 8;
		if (cname) {
			put_cname(owner, ttl, names[next(in) % NAMES]);
			continue;
		}
		put_record(owner, type, ttl, size);
		while (size-- > 0)
			put8(next(in));
	}
}

static void message(struct world *w, struct input *in, bool response)
{
	uint16_t source = next(in) % SOURCES;
	uint32_t flow = source * 4u + next(in) % 4;
	uint8_t raw = next(in);

	make_message(in, response, w->family[source]);
	if (raw & 1)
		msg[next(in) % len] ^= next(in);
	if (raw & 2)
		len = next(in) % (len + 1);
	if (response) {
		learn_answer(w->l, source, flow, msg, len, w->now);
		w->answered[source] = true;
	} else {
		learn_query(w->l, source, flow, msg, len, w->now);
	}
}

struct seen {
	const struct world *w;
	uint16_t source;
	size_t count;
};

static void on_learned(void *arg, uint64_t name, const struct ipkey *addr, uint64_t left_ms)
{
	struct seen *seen = arg;
	struct rule_packet pkt = {.dst = (const uint8_t *)addr->w, .proto = 17, .dport = 53};
	enum rule_verdict verdict;
	uint32_t rule;

	(void)name;
	seen->count++;
	REQUIRE(left_ms > 0 && left_ms <= LEARN_TTL_MAX_S * 1000ull);
	REQUIRE(learn_match(seen->w->l, seen->source, &pkt, seen->w->now, &rule, &verdict));
	REQUIRE(rule < NAMES && verdict == RULE_ACCEPT);
}

static void check(const struct world *w)
{
	size_t all = 0;

	learn_check(w->l);
	for (uint16_t source = 0; source < SOURCES; source++) {
		struct seen seen = {w, source, 0};

		learn_each(w->l, source, w->now, on_learned, &seen);
		REQUIRE(seen.count <= LEARN_SOURCE_ADDRS);
		REQUIRE(seen.count == 0 || (w->has_rules[source] && w->answered[source]));
		all += seen.count;
	}
	REQUIRE(all <= LEARN_ADDRS);
}

static void step(struct world *w, struct input *in)
{
	uint16_t source;

	switch (next(in) % 8) {
	case 0:
	case 1:
		message(w, in, false);
		break;
	case 2:
	case 3:
	case 4:
		message(w, in, true);
		break;
	case 5:
		source = next(in) % SOURCES;
		set_rules(w, source, next(in), next(in) & 1 ? 6 : 4);
		break;
	case 6:
		source = next(in) % SOURCES;
		REQUIRE(learn_wildcards(w->l, source, wildcards[next(in) % WILDCARDS]) == 0);
		if (next(in) < 8) {
			learn_forget(w->l, source);
			w->has_rules[source] = w->answered[source] = false;
		}
		break;
	case 7:
		w->now += 1000ull * next(in) * next(in);
		break;
	}
	check(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t key[16] = {1};
	struct world w = {.now = 1, .family = {4, 4}};
	struct input in = {data, size};

	REQUIRE(learn_new(&w.l, key) == 0);
	for (uint16_t source = 0; source < SOURCES; source++)
		set_rules(&w, source, 255, 4);
	while (in.n)
		step(&w, &in);
	learn_free(&w.l);
	return 0;
}
