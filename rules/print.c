/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A compiled policy as text: what is in force, not what was written.
 */
#include "rules/policy.h"
#include "rules/ruleset.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINE_MAX_ 1024
#define SHOW_MAX  16 /* addresses of a set in one line */

static_assert(SHOW_MAX * (ADDR_STRLEN + 1) + 256 < LINE_MAX_, "a line fits");

struct line {
	char text[LINE_MAX_];
	size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(line->text + line->len, sizeof(line->text) - line->len, format, ap);
	va_end(ap);
	assert(n >= 0 && (size_t)n < sizeof(line->text) - line->len);
	line->len += (size_t)n;
}

static const char *action_name(uint8_t action)
{
	/* The grammar's words: a reject is a drop there. */
	return action == RULE_ACCEPT ? "accept" : "drop";
}

static void add_address(struct line *line, const struct policy *p, const struct words *w)
{
	struct addr addr = {.family = p->family};
	char buf[ADDR_STRLEN];

	memcpy(addr.bytes, w->w, addr_len(&addr));
	add(line, " %s", addr_format(&addr, buf));
}

static void add_destination(struct line *line, const struct policy *p, const struct matcher *m)
{
	if (m->flags & MATCH_SET) {
		add(line, " to");
		for (uint32_t i = 0; i < m->count && i < SHOW_MAX; i++)
			add_address(line, p, &p->pool[m->first + i]);
		if (m->count > SHOW_MAX)
			add(line, " and %u more", (unsigned int)(m->count - SHOW_MAX));
	} else if (m->prefix_len != 0) {
		add(line, " to");
		add_address(line, p, &m->net);
		add(line, "/%u", m->prefix_len);
	}
}

static void add_protocol(struct line *line, const struct matcher *m)
{
	if (m->protos != CLASS_ALL)
		add(line, " proto%s%s%s", m->protos & CLASS_TCP ? " tcp" : "",
		    m->protos & CLASS_UDP ? " udp" : "", m->protos & CLASS_ICMP ? " icmp" : "");
	if (m->low == 0 && m->high == RANGE_ALL)
		return;
	if (m->protos == CLASS_ICMP)
		add(line, " type %u", m->low);
	else
		add(line, " ports %u-%u", m->low, m->high);
}

void policy_print(const struct policy *p, void (*line)(void *arg, const char *text), void *arg)
{
	if (p == NULL || p->malformed) {
		line(arg,
		     p == NULL ? "none: drop everything silently" : "malformed: drop everything");
		return;
	}
	for (size_t i = 0; i < p->rule_count; i++) {
		const struct matcher *m = &p->rule[i];
		struct line out = {.len = 0};

		add(&out, "%s %s", p->keys + m->key, action_name(m->action));
		if (m->protos == 0) {
			add(&out, " never");
		} else {
			add_destination(&out, p, m);
			add_protocol(&out, m);
		}
		if (m->flags & MATCH_UNRESOLVED)
			add(&out, " (its name does not resolve)");
		if (m->flags & MATCH_PARTIAL)
			add(&out, " (its name has too many addresses)");
		line(arg, out.text);
	}
	line(arg, p->action == RULE_ACCEPT ? "policy accept" : "policy drop");
}

const char *policy_key(const struct policy *p, uint32_t index, char buf[RULE_KEY_MAX])
{
	const char *key = "none";

	if (index == RULE_INDEX_POLICY)
		key = "policy";
	else if (index == RULE_INDEX_MALFORMED)
		key = "malformed";
	else if (p != NULL && index < p->rule_count)
		key = p->keys + p->rule[index].key;
	snprintf(buf, RULE_KEY_MAX, "%s", key);
	return buf;
}

const char *rule_verdict_name(enum rule_verdict v)
{
	static const char *const names[] = {
	    [RULE_ACCEPT] = "accept",
	    [RULE_REJECT] = "reject",
	    [RULE_DROP] = "drop",
	};
	static_assert(sizeof(names) / sizeof(names[0]) == RULE_DROP + 1, "a name each");

	return (unsigned int)v <= RULE_DROP ? names[v] : "?";
}
