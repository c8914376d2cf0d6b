/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A question to the running daemon. The verdict is that of the policy in force, by the
 * engine's own matcher; names and learned addresses are what that was made with.
 */
#include "firewall/daemon.h"
#include "firewall/explain.h"

#include <string.h>

struct live {
	const struct daemon *d;
	const struct addr *source;
	struct source_view view;
	bool known;
};

static void find_source(void *arg, const struct source_view *v)
{
	struct live *l = arg;

	if (!addr_equal(&v->addr, l->source))
		return;
	l->view = *v;
	l->known = true;
}

static enum name_state lookup(void *arg, const char *name, const struct addr **addrs,
			      size_t *count)
{
	const struct live *l = arg;

	return resolver_lookup(l->d->resolver, l->source, name, addrs, count);
}

static void learned(void *arg, const char *name,
		    void (*fn)(void *arg, const struct addr *addr, uint64_t left_ms), void *fn_arg)
{
	const struct live *l = arg;

	engine_learned(l->d->engine, l->source, name, fn, fn_arg);
}

/* Our own kernel's rules are not in QubesDB. */
static bool is_own(const struct daemon *d, const struct addr *addr)
{
	for (unsigned int i = 0; i < ENGINE_IFACE_MAX; i++) {
		const struct attachment *at = &d->attachments[i];

		if (at->port != NULL && at->port->role == PORT_ROLE_SELF &&
		    addr_equal(&at->ip4, addr))
			return true;
	}
	return false;
}

/* What the rules do not say: whether there is such a client, and the way out. */
static void add_path(json_t *answer, const struct engine_first *first, const struct addr *dst)
{
	char buf[ADDR_STRLEN];

	json_object_set_new(answer, "attached", json_boolean(first->attached));
	if (first->learned)
		json_object_set_new(answer, "learned", json_true());
	if (first->stopped != DROP_NONE)
		json_object_set_new(answer, "stopped", json_string(drop_name(first->stopped)));
	if (first->from.family != 0)
		json_object_set_new(answer, "from", json_string(addr_format(&first->from, buf)));
	if (first->to.family != 0 && !addr_equal(&first->to, dst))
		json_object_set_new(answer, "to", json_string(addr_format(&first->to, buf)));
}

static json_t *answer(const struct daemon *d, const struct question *q)
{
	struct live l = {.d = d, .source = &q->src};
	struct policy_env env = {
		.dns = d->dns, .dns_count = d->env.dns_count, .lookup = lookup, .lookup_arg = &l};
	struct rule_packet pkt = question_packet(q);
	struct engine_source_info info = {.policy = NULL};
	struct engine_first first;
	char source[ADDR_STRLEN];
	struct explain x = {.question = q, .env = &env, .arg = &l};
	json_t *j;

	sources_each(d->sources, find_source, &l);
	(void)engine_source_info(d->engine, &q->src, &info);
	engine_explain(d->engine, &q->src, &pkt, &first);
	x.verdict = first.verdict;
	x.rule = first.rule;
	x.policy = info.policy;
	if (!is_own(d, &q->src))
		x.source = addr_format(&q->src, source);
	if (l.known) {
		x.rules = l.view.ruleset;
		x.err = l.view.err;
		x.pending = l.view.stale;
		x.learned = l.view.options.learn ? learned : NULL;
	}
	j = explain_json(&x);
	add_path(j, &first, &q->dst);
	return j;
}

json_t *explain_live(const struct daemon *d, char *text)
{
	char err[QUESTION_ERROR_MAX];
	struct question q;

	if (question_parse(&q, text, err) != 0)
		return json_pack("{s:s}", "error", err);
	return answer(d, &q);
}
