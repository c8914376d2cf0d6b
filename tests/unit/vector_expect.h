/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Expectations: the lines `expect ...` of a vector against what came out.
 */
#ifndef TESTS_UNIT_VECTOR_EXPECT_H
#define TESTS_UNIT_VECTOR_EXPECT_H

#include "tests/unit/vector_run.h"

#define QUOTE_MIN4 28  /* RFC 792 */
#define ERROR_MAX4 576	/* RFC 1812 4.3.2.3 */
#define ERROR_MAX6 1280 /* RFC 4443 2.4 c */

static struct craft want;

static struct output *next_output(void)
{
	if (r.next < r.outs)
		return &r.out[r.next++];
	if (r.is_packet && r.verdict == FRAME_DROP)
		fail("nothing came out: dropped as %s", drop_name(r.reason));
	else
		fail("nothing came out");
	return NULL;
}

static void show(const char *what, const struct craft *c)
{
	static char text[CRAFT_TEXT];

	printf("  %s %s\n", what, craft_print(c, text, CRAFT_SHOW_MACS));
}

static void show_difference(const struct craft *got, const struct craft *wanted)
{
	size_t i = 0;

	show("got ", got);
	show("want", wanted);
	while (i < got->len && i < wanted->len && got->b[i] == wanted->b[i])
		i++;
	printf("  lengths %zu and %zu, the first difference at %zu", got->len, wanted->len, i);
	if (i < got->len && i < wanted->len)
		printf(": 0x%02x for 0x%02x", got->b[i], wanted->b[i]);
	printf("; checksum at %d+%d and %d+%d\n", got->csum_start, got->csum_offset,
	       wanted->csum_start, wanted->csum_offset);
}

/* The line of the packet that must have come out for the one that went in. */
static bool forwarded_line(const char *text, char *out)
{
	static char over[CRAFT_TEXT + 128];
	unsigned int ttl = 64;
	char value[24];

	if (craft_get(r.text, "ttl", value, sizeof(value)))
		ttl = (unsigned int)strtoul(value, NULL, 0);
	snprintf(over, sizeof(over), "%s", text);
	for (size_t i = 0; i < 3; i++) {
		static const char *const keys[3] = { "smac", "dmac", "ttl" };
		size_t n = strlen(over);

		if (craft_get(text, keys[i], value, sizeof(value)))
			continue;
		if (i < 2)
			snprintf(over + n, 32, " !%s", keys[i]);
		else
			snprintf(over + n, 32, " ttl=%u", ttl - 1);
	}
	if (craft_merge(out, r.text, over) == 0)
		return true;
	fail("cannot merge: %s", text);
	return false;
}

static void expect_forwarded(int port, const char *text)
{
	static char bound[CRAFT_TEXT], line[CRAFT_TEXT], actual[CRAFT_TEXT];
	struct craft_link link = world_link_to(&r.w, port);
	struct output *o = next_output();
	char err[CRAFT_ERR];

	if (!o)
		return;
	if (o->port != port || o->reply) {
		fail("%s to %s", o->reply ? "an answer" : "a packet", r.w.port[o->port].name);
		show("got ", o->c);
		return;
	}
	craft_print(o->c, actual, 0);
	if (!expand(text, bound))
		return;
	if (strchr(bound, '$') && !vars_bind(bound, actual)) {
		fail("does not fit: %s", bound);
		show("got ", o->c);
		return;
	}
	if (!expand(text, bound) || !forwarded_line(bound, line))
		return;
	if (craft_build(&want, line, &link, err) != 0)
		fail("%s", err);
	else if (!craft_equal(o->c, &want)) {
		fail("not what had to come out");
		show_difference(o->c, &want);
	}
}

/* The IP packet that an error quotes, against what was sent. */
static bool quote_ok(const struct craft *c, const char *label)
{
	const uint8_t *ip = c->b + CRAFT_ETH;
	size_t head = ip[0] >> 4 == 4 ? (ip[0] & 15u) * 4 : 40, n, least;
	const struct sent *s = &r.last;

	for (size_t i = 0; i < r.labels && label[0]; i++)
		if (strcmp(r.label[i].label, label) == 0)
			s = &r.label[i];
	if (label[0] && s == &r.last)
		return false;
	if (c->len < CRAFT_ETH + head + 8)
		return false;
	n = c->len - CRAFT_ETH - head - 8;
	if (n > s->len || memcmp(ip + head + 8, s->b, n) != 0 ||
	    c->len - CRAFT_ETH > (head == 40 ? ERROR_MAX6 : ERROR_MAX4))
		return false;
	/* IPv6 (RFC 4443 2.4 c): as much as there is in private memory, whose bytes are
	 * all that a checksum can cover; IPv4: the header and eight bytes */
	least = head == 40 ? FRAME_HEADER_COPY - CRAFT_ETH : (s->b[0] & 15u) * 4 + QUOTE_MIN4 - 20;
	return n >= (least < s->len ? least : s->len);
}

/* Each word of @text is in @actual too; both as craft_print() writes them. */
static bool words_there(const char *text, const char *canonical, const char *actual)
{
	static char a[CRAFT_TEXT], b[CRAFT_TEXT];

	for (const char *w = text; *w; w += strspn(w, " \t")) {
		size_t len = strcspn(w, " \t"), n = strcspn(w, "=( \t");
		const char *key = w == text ? "kind" : NULL;
		char name[16];
		bool there;

		snprintf(name, sizeof(name), "%.*s", (int)(n < 15 ? n : 15),
			 w[0] == '!' ? w + 1 : w);
		if (w[0] == '!')
			name[n - 1] = '\0';
		else if (memchr(w, '>', len) && n == len)
			key = "addr";
		else if (!key && n == len && !craft_get(canonical, name, b, sizeof(b)))
			key = craft_get(canonical, "type", b, sizeof(b))    ? "type"
			      : craft_get(canonical, "flags", b, sizeof(b)) ? "flags"
									    : "op";
		key = key ? key : name;
		there = craft_get(actual, key, a, sizeof(a));
		w += len;
		if (text[w - text - len] == '!') {
			if (there)
				return false;
			continue;
		}
		if (!craft_get(canonical, key, b, sizeof(b)))
			continue; /* as if it had not been said: a default */
		if (!there || strcmp(a, b) != 0)
			return false;
	}
	return true;
}

/* What the engine sent on its own: the words that are given, and right checksums. */
static void expect_own(const struct output *o, const char *text)
{
	static char line[CRAFT_TEXT], actual[CRAFT_TEXT], canonical[CRAFT_TEXT];
	static char build[CRAFT_TEXT];
	char err[CRAFT_ERR], label[16] = "", value[32];
	char *quote;
	bool right;

	craft_print(o->c, actual, CRAFT_SHOW_MACS);
	if (!expand(text, line))
		return;
	if (strchr(line, '$') && (!vars_bind(line, actual) || !expand(text, line))) {
		fail("does not fit: %s", line);
		return;
	}
	quote = strstr(line, " quote(=");
	if (quote) {
		size_t n = strcspn(quote + 8, ")");

		snprintf(label, sizeof(label), "%.*s", (int)n, quote + 8);
		memmove(quote, quote + 9 + n, strlen(quote + 9 + n) + 1);
		if (!quote_ok(o->c, label)) {
			fail("does not quote what was sent");
			show("got ", o->c);
		}
	}
	if (craft_merge(build, line, line) != 0 || craft_build(&want, build, NULL, err) != 0) {
		fail("%s", err);
		return;
	}
	craft_print(&want, canonical, CRAFT_SHOW_MACS);
	right = !craft_get(actual, "ipcsum", value, sizeof(value)) &&
		!craft_get(actual, "pad", value, sizeof(value)) &&
		!craft_get(actual, "cut", value, sizeof(value)) &&
		(!craft_get(actual, "csum", value, sizeof(value)) || !strcmp(value, "zero"));
	if (right && words_there(line, canonical, actual))
		return;
	fail(right ? "not what had to be sent" : "a wrong length or checksum");
	printf("  got  %s\n  want %s\n", actual, line);
}

static void expect_reply(const char *text)
{
	struct output *o = next_output();

	if (!o)
		return;
	if (o->port != r.port || (!o->reply && !o->taken)) {
		fail("a packet to %s, not an answer", r.w.port[o->port].name);
		show("got ", o->c);
		return;
	}
	expect_own(o, text);
}

static void expect_sent(const char *text)
{
	size_t n = strcspn(text, ">");
	int port = world_port_id(&r.w, text, n);
	struct output *o = next_output();

	if (!o)
		return;
	if (port < 0 || o->port != port || !o->taken) {
		fail("a packet to %s", r.w.port[o->port].name);
		show("got ", o->c);
		return;
	}
	text += n + 1;
	expect_own(o, text + strspn(text, " "));
}

static void expect_dropped(const char *name)
{
	bool known = false;

	for (int i = 0; i < DROP_REASON_MAX; i++)
		known |= strcmp(drop_name((enum drop_reason)i), name) == 0;
	if (!known)
		fail("no such reason: %s", name);
	else if (r.verdict != FRAME_DROP)
		fail("not dropped as %s but verdict %d", name, r.verdict);
	else if (strcmp(drop_name(r.reason), name) != 0)
		fail("dropped as %s, not as %s", drop_name(r.reason), name);
}

static void expect_log(const char *text)
{
	char from[ADDR_STRLEN], to[ADDR_STRLEN], key[RULE_KEY_MAX], line[256], expanded[CRAFT_TEXT];
	struct engine_source_info info = { .policy = NULL };
	struct engine_log l;
	size_t n;

	if (!engine_log_take(r.w.e, &l)) {
		fail("nothing was logged");
		return;
	}
	engine_source_info(r.w.e, &l.src, &info);
	addr_format(&l.src, from);
	addr_format(&l.dst, to);
	n = (size_t)snprintf(line, sizeof(line), "%s>%s dport=%u proto=%u reason=%s suppressed=%u ",
			     from, to, l.dport, l.proto, drop_name(l.reason), l.suppressed);
	if (l.reason == DROP_REJECTED)
		n += (size_t)snprintf(line + n, sizeof(line) - n, "rule=%s ",
				      policy_key(info.policy, l.rule, key));
	if (l.proto == 1 || l.proto == 58)
		snprintf(line + n, sizeof(line) - n, "type=%u ", l.icmp_type);
	if (world_names_in(&r.w, text, expanded, sizeof(expanded), false) != 0)
		return;
	for (const char *w = expanded; *w; w += strspn(w, " ")) {
		size_t len = strcspn(w, " ");
		char word[80];

		snprintf(word, sizeof(word), "%.*s ", (int)len, w);
		if (!strstr(line, word)) {
			fail("logged: %s", line);
			return;
		}
		w += len;
	}
}

static void expect_number(const char *what, const char *rest)
{
	const struct engine_stats *s = engine_stats(r.w.e);
	char who[64] = "", rule[32] = "", count[32] = "";
	unsigned long long got = 0, wanted;
	struct addr addr;

	if (strcmp(what, "flows") == 0) {
		snprintf(count, sizeof(count), "%.31s", rest);
		got = s->flows_active;
	} else if (strcmp(what, "count") == 0) {
		if (sscanf(rest, "%31s %31s", rule, count) != 2)
			fail("count REASON N");
		for (int i = 0; i < DROP_REASON_MAX; i++)
			if (strcmp(drop_name((enum drop_reason)i), rule) == 0)
				got = s->drops[i];
	} else if (strcmp(what, "frames") == 0) {
		snprintf(count, sizeof(count), "%.31s", rest);
		got = r.outs - r.next;
		r.next = r.outs;
	} else {
		uint32_t index;

		if (sscanf(rest, "%63s %31s %31s", who, rule, count) != 3 ||
		    world_addr(&r.w, who, &addr) != 0)
			fail("hits WHO RULE N");
		index = strcmp(rule, "policy") == 0	 ? RULE_INDEX_POLICY
			: strcmp(rule, "malformed") == 0 ? RULE_INDEX_MALFORMED
			: strcmp(rule, "none") == 0	 ? RULE_INDEX_NONE
							 : (uint32_t)strtoul(rule, NULL, 10);
		got = engine_source_hits(r.w.e, &addr, index);
	}
	wanted = strtoull(count, NULL, 10);
	if (got != wanted)
		fail("%s: %llu, not %llu", what, got, wanted);
}

static void expect_replies(const char *rest)
{
	unsigned long long low, high;

	if (sscanf(rest, "%llu..%llu", &low, &high) != 2)
		fail("replies LOW..HIGH");
	else if (r.replies < low || r.replies > high)
		fail("%llu replies", (unsigned long long)r.replies);
	r.replies = 0;
}

/* Expectations about the packet itself; false: no such word. */
static bool expect_verdict(const char *word, const char *rest)
{
	if (strcmp(word, "drop") == 0) {
		expect_dropped(rest);
	} else if (strcmp(word, "dropped") == 0) {
		if (r.verdict != FRAME_DROP || r.reason == DROP_NONE)
			fail("verdict %d, %s", r.verdict, drop_name(r.reason));
	} else if (strcmp(word, "reason") == 0) {
		if (strcmp(rest, drop_name(r.reason)) != 0)
			fail("reason %s, not %s", drop_name(r.reason), rest);
	} else if (strcmp(word, "nothing") == 0) {
		if (r.is_packet)
			expect_dropped("none");
	} else if (strcmp(word, "silent") == 0) {
		if (r.verdict != FRAME_DROP)
			fail("verdict %d", r.verdict);
	} else if (strcmp(word, "any") == 0) {
		r.any = true;
	} else {
		return false;
	}
	return true;
}

static void expect(const char *text)
{
	size_t n = strcspn(text, " \t");
	const char *rest = text + n + strspn(text + n, " \t");
	char word[24];
	int port;

	snprintf(word, sizeof(word), "%.*s", (int)(n < 23 ? n : 23), text);
	port = n && text[n - 1] == '>' ? world_port_id(&r.w, text, n - 1) : -1;
	r.expected = true;
	if (port >= 0)
		expect_forwarded(port, rest);
	else if (strcmp(word, "reply") == 0)
		expect_reply(rest);
	else if (strcmp(word, "sent") == 0)
		expect_sent(rest);
	else if (strcmp(word, "log") == 0)
		expect_log(rest);
	else if (strcmp(word, "replies") == 0)
		expect_replies(rest);
	else if (!strcmp(word, "flows") || !strcmp(word, "count") || !strcmp(word, "hits") ||
		 !strcmp(word, "frames"))
		expect_number(word, rest);
	else if (strcmp(word, "nolog") == 0) {
		struct engine_log l;

		if (engine_log_take(r.w.e, &l))
			fail("something was logged");
	} else if (!expect_verdict(word, rest))
		fail("expect what? %s", text);
}

/* Everything that came out was expected. */
static void step_end(void)
{
	if (r.is_packet && !r.expected)
		fail("nothing is expected of the packet");
	if (!r.any && r.next < r.outs) {
		fail("more came out, to %s", r.w.port[r.out[r.next].port].name);
		show("got ", r.out[r.next].c);
	}
	outputs_clear();
	r.is_packet = false;
	r.expected = r.any = false;
}

#endif
