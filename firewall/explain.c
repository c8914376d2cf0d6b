/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The answer names the rule, its key and its text, and what the names of the rules that
 * were looked at stand for. With a trace, each rule before the one that decided says
 * why it did not match (rules/why.h): that is found out from the rules as they were
 * written, while the verdict comes from the compiled policy. Where the two disagree,
 * the trace says so: between the answer of a name and the policy that has it there are
 * some milliseconds.
 */
#include "firewall/explain.h"

#include "rules/why.h"

#include <string.h>

/* Text that came from outside may be no UTF-8: then its place is empty. */
static json_t *text(const char *s)
{
	json_t *j = json_string(s);

	return j != NULL ? j : json_string("");
}

static json_t *json_address(const struct addr *addr)
{
	char buf[ADDR_STRLEN];

	return json_string(addr_format(addr, buf));
}

static json_t *json_packet(const struct question *q)
{
	json_t *packet = json_object();

	json_object_set_new(packet, "proto", json_string(q->proto));
	json_object_set_new(packet, "dst", json_address(&q->dst));
	if (q->number == QUESTION_PORT)
		json_object_set_new(packet, "port", json_integer(q->pkt.dport));
	if (q->number == QUESTION_TYPE)
		json_object_set_new(packet, "type", json_integer(q->pkt.icmp_type));
	return packet;
}

static json_t *json_path(const struct explain *x, const char *key)
{
	return json_sprintf("/qubes-firewall/%s/%s", x->source, key);
}

/* How many rules were looked at: those up to the one that decided. */
static uint32_t rules_tried(const struct explain *x)
{
	uint32_t count = x->rules != NULL ? (uint32_t)ruleset_count(x->rules) : 0;

	return x->rule < count ? x->rule + 1 : x->rule == RULE_INDEX_POLICY ? count : 0;
}

/* --- names ---------------------------------------------------------------------- */

static enum name_state look_up(const struct explain *x, const char *name, const struct addr **addrs,
			       size_t *count)
{
	*addrs = NULL;
	*count = 0;
	if (x->env->lookup == NULL)
		return NAME_UNRESOLVED;
	return x->env->lookup(x->env->lookup_arg, name, addrs, count);
}

struct unresolved {
	const struct explain *x;
	json_t *list;
};

static void add_unresolved(void *arg, const char *name)
{
	struct unresolved *u = arg;
	const struct addr *addrs;
	size_t count;

	if (look_up(u->x, name, &addrs, &count) == NAME_UNRESOLVED)
		json_array_append_new(u->list, json_string(name));
}

static void add_learned(void *arg, const struct addr *addr, uint64_t left_ms)
{
	json_t *learned = arg;
	char buf[ADDR_STRLEN];

	json_object_set_new(learned, addr_format(addr, buf),
			    json_integer((json_int_t)(left_ms / 1000)));
}

static json_t *json_name(const struct explain *x, const char *name)
{
	json_t *j = json_object(), *list = json_array(), *learned = json_object();
	const struct addr *addrs;
	size_t count;
	enum name_state state = look_up(x, name, &addrs, &count);

	for (size_t i = 0; i < count; i++)
		json_array_append_new(list, json_address(&addrs[i]));
	if (x->learned != NULL)
		x->learned(x->arg, name, add_learned, learned);
	json_object_set_new(j, "state", json_string(state != NAME_UNRESOLVED ? "resolved"
									    : "unresolved"));
	json_object_set_new(j, "addresses", list);
	if (state == NAME_PARTIAL)
		json_object_set_new(j, "more", json_true());
	if (json_object_size(learned) > 0)
		json_object_set(j, "learned", learned);
	json_decref(learned);
	return j;
}

/* Of the rules that were looked at: what decided, and what might have. */
static void add_names(json_t *answer, const struct explain *x)
{
	struct unresolved u = {x, json_array()};
	json_t *names = json_object();
	uint32_t tried = rules_tried(x);

	for (uint32_t i = 0; i < tried; i++) {
		const char *name = ruleset_host(x->rules, i);

		if (name != NULL && json_object_get(names, name) == NULL)
			json_object_set_new(names, name, json_name(x, name));
	}
	if (x->rules != NULL)
		ruleset_names(x->rules, add_unresolved, &u);
	if (json_array_size(u.list) > 0)
		json_object_set(answer, "unresolved", u.list);
	if (json_object_size(names) > 0)
		json_object_set(answer, "names", names);
	json_decref(u.list);
	json_decref(names);
}

/* --- the trace -------------------------------------------------------------------- */

struct count {
	const uint8_t *dst;
	size_t n;
	bool found;
};

static void count_learned(void *arg, const struct addr *addr, uint64_t left_ms)
{
	struct count *c = arg;

	(void)left_ms;
	c->n++;
	c->found |= memcmp(addr->bytes, c->dst, addr_len(addr)) == 0;
}

static size_t further(void *arg, const char *name, const uint8_t *dst, bool *found)
{
	const struct explain *x = arg;
	struct count c = {.dst = dst};

	x->learned(x->arg, name, count_learned, &c);
	*found = c.found;
	return c.n;
}

static json_t *json_trace(struct explain *x)
{
	struct why w = {.rules = x->rules,
			.env = x->env,
			.further = x->learned != NULL ? further : NULL,
			.arg = x};
	struct rule_packet pkt = question_packet(x->question);
	uint32_t tried = rules_tried(x);
	json_t *trace = json_array();
	char key[RULE_KEY_MAX], why[WHY_MAX];

	for (uint32_t i = 0; i < tried; i++) {
		bool matches = !why_not(&w, i, &pkt, why);
		const char *hint = x->pending ? "not in force yet" : "the policy differs: a fault";

		policy_key(x->policy, i, key);
		if (matches != (i == x->rule))
			json_array_append_new(trace,
					      json_sprintf("%s: %s (%s)", key,
							   matches ? "matches" : why, hint));
		else if (!matches)
			json_array_append_new(trace, json_sprintf("%s: %s", key, why));
	}
	return trace;
}

/* --- the answer ------------------------------------------------------------------- */

static void add_error(json_t *answer, const struct explain *x)
{
	json_t *error = json_object();

	if (x->source != NULL)
		json_object_set_new(error, "path", json_path(x, x->err->key));
	json_object_set_new(error, "problem", text(x->err->text));
	json_object_set_new(answer, "error", error);
}

json_t *explain_json(const struct explain *x)
{
	const char *value = x->rules != NULL ? ruleset_value(x->rules, x->rule) : NULL;
	struct explain copy = *x;
	json_t *answer = json_object();
	char key[RULE_KEY_MAX];

	json_object_set_new(answer, "verdict", json_string(rule_verdict_name(x->verdict)));
	json_object_set_new(answer, "rule", json_string(policy_key(x->policy, x->rule, key)));
	if (value != NULL && x->source != NULL)
		json_object_set_new(answer, "key", json_path(x, key));
	if (value != NULL)
		json_object_set_new(answer, "text", text(value));
	json_object_set_new(answer, "source", json_address(&x->question->src));
	json_object_set_new(answer, "packet", json_packet(x->question));
	if (x->err != NULL)
		add_error(answer, x);
	add_names(answer, x);
	if (x->pending)
		json_object_set_new(answer, "pending", json_true());
	if (x->question->trace)
		json_object_set_new(answer, "trace", json_trace(&copy));
	return answer;
}
