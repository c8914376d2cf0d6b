// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * DNS messages on their way through, for sources that learn from them (learn.c).
 *
 * Qubes has DNS servers over IPv4 only, but the addresses they give are of both
 * families: what is asked over a client's IPv4 address is learned by the source of
 * the address that the answer is for.
 */
#include "firewall/dns_message.h"
#include "firewall/engine_impl.h"

#include <errno.h>
#include <stdlib.h>

/* Only who is configured as a server is believed. */
static bool is_server(const struct engine *e, const struct flow *flow)
{
	for (size_t i = 0; i < e->dns_count; i++) {
		struct ipkey real = ipkey_of(&e->dns[i].real);

		if (flow->family == 4 && ipkey_equal(&real, &flow->remote))
			return true;
	}
	return false;
}

/* The message in a UDP packet; 0: none that we read. */
static size_t read_message(const struct engine *e, const struct work *w, uint8_t *msg)
{
	size_t at = (size_t)w->p.l4 + UDP_LEN, len = w->p.l4_len - (size_t)UDP_LEN;

	if (len == 0 || len > DNS_MESSAGE_MAX)
		return 0;
	if (w->datagram != FRAG_NONE)
		return frag_read(&e->frags, &e->frags.datagrams[w->datagram], UDP_LEN, msg, len);
	return frame_read(w->f, at, msg, len) ? len : 0;
}

void engine_see_dns(struct engine *e, const struct work *w, const struct flow *flow)
{
	const struct iface *client = &e->ifaces[flow->iface];
	uint32_t index = (uint32_t)(flow - e->table.flows);
	uint8_t msg[DNS_MESSAGE_MAX];
	size_t len;

	if (!is_server(e, flow) || (len = read_message(e, w, msg)) == 0)
		return;
	for (enum fam fam = V4; fam <= V6; fam++) {
		uint16_t source = client->source[fam];

		if (source == SOURCE_NONE || !e->sources[source].options.learn)
			continue;
		if (w->dir == FLOW_OUT)
			learn_query(e->learn, source, index, msg, len, e->clock);
		else
			learn_answer(e->learn, source, index, msg, len, e->clock);
	}
}

void engine_learn_end(struct engine *e, struct source *source)
{
	if (!source->options.learn)
		return;
	source->options.learn = false;
	e->learners--;
	learn_forget(e->learn, (uint16_t)(source - e->sources));
}

enum rule_verdict engine_match(const struct engine *e, const struct source *source,
			       const struct rule_packet *pkt, uint32_t *index)
{
	enum rule_verdict verdict = policy_match(source->policy, pkt, index), other;
	uint32_t rule;

	if (!source->options.learn || !source->policy || *index == RULE_INDEX_MALFORMED ||
	    !learn_match(e->learn, (uint16_t)(source - e->sources), pkt, e->clock, &rule, &other) ||
	    rule >= *index || rule >= policy_rule_count(source->policy))
		return verdict;
	*index = rule;
	return other;
}

/* --- from outside ------------------------------------------------------------------- */

static uint16_t find(const struct engine *e, const struct addr *addr)
{
	for (uint16_t i = 0; i < ENGINE_SOURCE_MAX; i++)
		if (e->sources[i].used && e->sources[i].options.learn &&
		    addr_equal(&e->sources[i].addr, addr))
			return i;
	return SOURCE_NONE;
}

int engine_learn_rules(struct engine *e, const struct addr *addr, const struct ruleset *rs,
		       const char *wildcards)
{
	uint16_t source = find(e, addr);
	struct named_rule *rules = NULL;
	size_t count = 0;

	if (source == SOURCE_NONE)
		return -ENOENT;
	if (rs && ruleset_named(rs, learn_name, e->learn, &rules, &count))
		return -ENOMEM;
	learn_rules(e->learn, source, addr->family, rules, count);
	return learn_wildcards(e->learn, source, wildcards);
}

struct learned_arg {
	uint64_t name;
	uint8_t family;
	void (*fn)(void *arg, const struct addr *learned, uint64_t left_ms);
	void *arg;
};

static void each_learned(void *arg, uint64_t name, const struct ipkey *key, uint64_t left_ms)
{
	const struct learned_arg *a = arg;
	struct addr addr = addr_of(a->family, key);

	if (name != a->name)
		return;
	a->fn(a->arg, &addr, left_ms);
}

void engine_learned(const struct engine *e, const struct addr *addr, const char *name,
		    void (*fn)(void *arg, const struct addr *learned, uint64_t left_ms), void *arg)
{
	uint16_t source = find(e, addr);
	struct learned_arg a = { .family = addr->family, .fn = fn, .arg = arg };

	if (source == SOURCE_NONE)
		return;
	a.name = learn_name(e->learn, name);
	learn_each(e->learn, source, e->clock, each_learned, &a);
}
