// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Runs tests/vectors: histories of packets and what has to come of them. The
 * language of the files is in tests/vectors/README.md, that of the packets in
 * tests/craft/craft.h.
 *
 * A packet that was forwarded is compared byte by byte with one that is built
 * from the line it was sent by and what the expectation says is different: so
 * nothing else may have changed, and every checksum is one that was computed
 * from scratch. Payload that the engine has no business with is not even
 * there while it decides.
 *
 *	test_vectors [-v] [FILE... [-c CASE]]
 */
#include "tests/unit/check.h"
#include "tests/unit/vector_world.h"

#include <glob.h>

#define OUTPUTS 160
#define VARS 32
#define LABELS 8
#define PAGE 4096
#define QUOTE_MIN4 28  /* RFC 792 */
#define ERROR_MAX4 576	/* RFC 1812 4.3.2.3 */
#define ERROR_MAX6 1280 /* RFC 4443 2.4 c */

struct output {
	int port;
	bool taken, reply;
	struct craft *c;
};

/* What was sent, for quotes: an IP packet as it was on the wire. */
struct sent {
	char label[16];
	size_t len;
	uint8_t b[CRAFT_MAX];
};

static struct run {
	struct world w;
	const char *file;
	int line;
	char var[VARS][2][24];
	size_t vars;
	struct sent last, label[LABELS];
	size_t labels;
	char text[CRAFT_TEXT]; /* the last packet's line */
	int port, verdict;
	enum drop_reason reason;
	uint64_t fed, replies, plain;
	struct output out[OUTPUTS];
	size_t outs, next;
	bool is_packet, expected, any, neighbours;
} r;

static bool verbose;
static struct craft scratch, want;
static struct tframe {
	struct frame f;
	uint8_t tail[CRAFT_MAX + PAGE];
} in;

__attribute__((format(printf, 1, 2))) static void fail(const char *format, ...)
{
	char text[600];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	test_fail(r.file, r.line, text);
}

/* --- variables -------------------------------------------------------------------- */

static const char *var_get(const char *name, size_t len)
{
	for (size_t i = 0; i < r.vars; i++)
		if (strlen(r.var[i][0]) == len && memcmp(r.var[i][0], name, len) == 0)
			return r.var[i][1];
	return NULL;
}

static void var_set(const char *name, size_t len, const char *value, size_t value_len)
{
	size_t i = 0;

	while (i < r.vars && !(strlen(r.var[i][0]) == len && !memcmp(r.var[i][0], name, len)))
		i++;
	if (i == VARS || len > 20 || value_len > 20) {
		fail("too many variables");
		return;
	}
	snprintf(r.var[i][0], sizeof(r.var[i][0]), "%.*s", (int)len, name);
	snprintf(r.var[i][1], sizeof(r.var[i][1]), "%.*s", (int)value_len, value);
	if (i == r.vars)
		r.vars++;
}

static size_t var_len(const char *at)
{
	size_t n = 1;

	while (isalnum((unsigned char)at[n]) || at[n] == '_')
		n++;
	return n;
}

/* Put values for the variables that have one. */
static bool vars_in(const char *in_text, char *out)
{
	size_t n = 0;

	while (*in_text && n + 64 < CRAFT_TEXT) {
		size_t len = *in_text == '$' ? var_len(in_text) : 1;
		const char *value = len > 1 ? var_get(in_text + 1, len - 1) : NULL;

		if (value)
			n += (size_t)snprintf(out + n, CRAFT_TEXT - n, "%s", value);
		else
			n += (size_t)snprintf(out + n, CRAFT_TEXT - n, "%.*s", (int)len, in_text);
		in_text += len;
	}
	out[n] = '\0';
	return *in_text == '\0';
}

/* Give values to the variables of one word, as the packet that came has them. */
static bool var_bind(const char *pattern, size_t len, const char *actual)
{
	size_t at = 0;

	while (at < len) {
		size_t digits = 0, name;

		if (pattern[at] != '$') {
			if (pattern[at++] != *actual++)
				return false;
			continue;
		}
		name = var_len(pattern + at);
		while (isdigit((unsigned char)actual[digits]))
			digits++;
		if (digits == 0)
			return false;
		var_set(pattern + at + 1, name - 1, actual, digits);
		actual += digits;
		at += name;
	}
	return true;
}

static bool vars_bind(const char *text, const char *actual)
{
	char key[16], value[CRAFT_ERR];

	for (const char *w = text; *w;) {
		size_t len = strcspn(w, " \t"), skip = strcspn(w, "=");

		if (memchr(w, '$', len)) {
			if (skip >= len)
				skip = 0;
			snprintf(key, sizeof(key), "%.*s", skip ? (int)skip : 4, skip ? w : "addr");
			skip += skip ? 1 : 0;
			if (!craft_get(actual, key, value, sizeof(value)) ||
			    !var_bind(w + skip, len - skip, value))
				return false;
		}
		w += len;
		w += strspn(w, " \t");
	}
	return true;
}

/* A packet's text with addresses for names and values for variables. */
static bool expand(const char *text, char *out)
{
	static char names[CRAFT_TEXT];

	if (world_names_in(&r.w, text, names, sizeof(names), true) != 0 || !vars_in(names, out)) {
		fail("too long: %.60s", text);
		return false;
	}
	return true;
}

/* --- the engine ---------------------------------------------------------------------- */

static void outputs_clear(void)
{
	for (size_t i = 0; i < r.outs; i++)
		free(r.out[i].c);
	r.outs = r.next = 0;
}

static void output_add(int port, const struct frame *f, bool taken, bool reply)
{
	struct output *o = &r.out[r.outs];
	static char text[CRAFT_TEXT];

	craft_unframe(&scratch, f);
	if (taken && !r.neighbours && r.w.port[port].conf.kind == IFACE_UPLINK) {
		craft_print(&scratch, text, 0);
		if (strncmp(text, "ARP", 3) == 0 || strncmp(text, "NS ", 3) == 0 ||
		    strncmp(text, "NA ", 3) == 0)
			return; /* the engine's own business */
	}
	if (r.outs == OUTPUTS) {
		fail("more than %d frames", OUTPUTS);
		return;
	}
	*o = (struct output){ .port = port, .taken = taken, .reply = reply };
	o->c = malloc(sizeof(*o->c));
	if (!o->c)
		abort();
	memcpy(o->c, &scratch, offsetof(struct craft, b) + scratch.len);
	r.outs++;
	r.replies += reply || (taken && port == r.port);
	if (verbose)
		printf("%s:%d:   %s> %s\n", r.file, r.line, r.w.port[port].name,
		       craft_print(&scratch, text, CRAFT_SHOW_MACS));
}

static void take_all(void)
{
	struct frame f;

	for (int i = 0; i < 100000; i++) {
		memset(&f, 0x5a, sizeof(f));
		if (!engine_take(r.w.e, &f))
			return;
		if (f.in_port != PORT_NONE || f.out_port >= WORLD_PORTS)
			fail("a frame from port %d to %d", f.in_port, f.out_port);
		else
			output_add(f.out_port, &f, true, false);
		engine_done(r.w.e, &f);
	}
	fail("frames without end");
}

/* Every packet is counted once, and all invariants hold. */
static void check_engine(void)
{
	const struct engine_stats *s = engine_stats(r.w.e);
	uint64_t sum = s->forwarded + r.plain, unseen = s->assembled ? s->replied - r.plain : 0;

	for (int i = 0; i < DROP_REASON_MAX; i++)
		sum += s->drops[i];
	/* an answer to a datagram put together may have a reason, or none */
	if (sum > r.fed + s->assembled || sum + unseen < r.fed + s->assembled)
		fail("%llu packets and %llu assembled, but %llu counted",
		     (unsigned long long)r.fed, (unsigned long long)s->assembled,
		     (unsigned long long)sum);
	engine_check(r.w.e);
}

static void advance(uint64_t to_ms, bool jump)
{
	while (r.w.ms < to_ms) {
		uint64_t step = to_ms - r.w.ms > 1000 && !jump ? 1000 : to_ms - r.w.ms;

		r.w.ms += step;
		engine_tick(r.w.e, (struct engine_time){ r.w.ms });
		take_all();
	}
}

/* Hide the payload the way a ring does: pages that only a grant copy can read. */
static void hide(struct frame *f)
{
	size_t rest = scratch.len - f->header_len;

	f->nseg = 0;
	for (size_t at = 0; at < rest; at += PAGE) {
		struct frame_seg *seg = &f->seg[f->nseg++];
		size_t n = rest - at < PAGE ? rest - at : PAGE;

		*seg = (struct frame_seg){ .gref = f->nseg, .len = (uint32_t)n };
	}
}

static void unhide(struct frame *f)
{
	for (unsigned int i = 0; i < f->nseg; i++)
		if (!f->seg[i].local)
			f->seg[i].local = in.tail + (f->seg[i].gref - 1) * PAGE + f->seg[i].off;
}

static void keep_sent(const char *label)
{
	struct sent *s = label[0] && r.labels < LABELS ? &r.label[r.labels++] : &r.last;
	size_t total = scratch.len > CRAFT_ETH + 6 ? scratch.len - CRAFT_ETH : 0;
	const uint8_t *ip = scratch.b + CRAFT_ETH;
	size_t claimed = total ? (ip[0] >> 4 == 4 ? 0u : 40u) : 0;

	if (total)
		claimed += ip[0] >> 4 == 4 ? (size_t)ip[2] << 8 | ip[3] : (size_t)ip[4] << 8 | ip[5];
	r.last.len = total < claimed ? total : claimed;
	memcpy(r.last.b, ip, r.last.len);
	if (s != &r.last)
		memcpy(s, &r.last, sizeof(*s));
	snprintf(s->label, sizeof(s->label), "%s", label);
}

static void send_packet(int port, const char *text, const char *label)
{
	struct craft_link link = world_link_from(&r.w, port);
	struct frame *f = &in.f;
	char err[CRAFT_ERR];

	outputs_clear();
	r.port = port;
	r.is_packet = true;
	r.expected = r.any = false;
	if (!expand(text, r.text))
		return;
	if (craft_build(&scratch, r.text, &link, err) != 0) {
		fail("%s", err);
		r.any = r.expected = true;
		return;
	}
	keep_sent(label);
	craft_frame(&scratch, f, (uint16_t)port, in.tail);
	if (!engine_needs_payload(r.w.e, f))
		hide(f);
	engine_process(r.w.e, &f, 1, (struct engine_time){ r.w.ms });
	r.fed++;
	r.plain += f->verdict == FRAME_REPLY && f->reason == DROP_NONE;
	unhide(f);
	r.verdict = f->verdict;
	r.reason = (enum drop_reason)f->reason;
	if (verbose)
		printf("%s:%d: %s> %s\n   verdict %d %s\n", r.file, r.line, r.w.port[port].name,
		       r.text, r.verdict, drop_name(r.reason));
	if (f->verdict == FRAME_FORWARD && f->out_port < WORLD_PORTS)
		output_add(f->out_port, f, false, false);
	else if (f->verdict == FRAME_REPLY)
		output_add(port, f, false, true);
	else if (f->verdict != FRAME_DROP)
		fail("verdict %d, port %d", f->verdict, f->out_port);
	take_all();
	check_engine();
}

/* --- expectations ---------------------------------------------------------------------- */

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

		snprintf(name, sizeof(name), "%.*s", (int)(n < 15 ? n : 15), w[0] == '!' ? w + 1 : w);
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

/* --- files --------------------------------------------------------------------------------- */

struct lines {
	char **text;
	int *number;
	size_t n;
};

/* Split into lines; comments and blanks go, a backslash joins with the next. */
static void lines_split(struct lines *l, char *data)
{
	size_t room = 16;
	int number = 0;
	bool join = false;

	for (const char *p = data; *p; p++)
		room += *p == '\n';
	l->text = calloc(room, sizeof(*l->text));
	l->number = calloc(room, sizeof(*l->number));
	if (!l->text || !l->number)
		abort();
	for (char *line = data, *next; line && *line; line = next) {
		size_t len = strcspn(line, "\n"), end;
		char *hash;

		next = line[len] ? line + len + 1 : NULL;
		line[len] = '\0';
		number++;
		hash = strchr(line, '#');
		while (hash && hash > line && hash[-1] != ' ' && hash[-1] != '\t')
			hash = strchr(hash + 1, '#');
		if (hash)
			*hash = '\0';
		line += strspn(line, " \t");
		for (end = strlen(line); end && isspace((unsigned char)line[end - 1]); end--)
			line[end - 1] = '\0';
		if (join) {
			char *before = l->text[l->n - 1];
			char *both = malloc(strlen(before) + strlen(line) + 2);

			if (!both)
				abort();
			snprintf(both, strlen(before) + strlen(line) + 2, "%s %s", before, line);
			free(before);
			l->text[l->n - 1] = both;
		} else if (*line) {
			l->text[l->n] = strdup(line);
			l->number[l->n++] = number;
		}
		if (!join && !*line)
			continue;
		end = strlen(l->text[l->n - 1]);
		join = end && l->text[l->n - 1][end - 1] == '\\';
		if (join)
			l->text[l->n - 1][end - 1] = '\0';
	}
}

static bool lines_read(struct lines *l, const char *name)
{
	FILE *f = fopen(name, "r");
	char *data = NULL;
	long size;
	size_t n;

	memset(l, 0, sizeof(*l));
	if (!f)
		return false;
	fseek(f, 0, SEEK_END);
	size = ftell(f);
	rewind(f);
	if (size > 0 && size < 1 << 20)
		data = calloc(1, (size_t)size + 1);
	n = data ? fread(data, 1, (size_t)size, f) : 0;
	fclose(f);
	if (n == 0) {
		free(data);
		return false;
	}
	lines_split(l, data);
	free(data);
	return true;
}

static void lines_free(struct lines *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->text[i]);
	free(l->text);
	free(l->number);
}

/* --- cases --------------------------------------------------------------------------------- */

/* [@LABEL] PORT> PACKET; false: it is something else. */
static bool packet_line(const char *line)
{
	char label[16] = "";
	size_t n;
	int port;

	if (line[0] == '@') {
		n = strcspn(line, " ");
		snprintf(label, sizeof(label), "%.*s", (int)n - 1, line + 1);
		line += n + strspn(line + n, " ");
	}
	n = strcspn(line, "> ");
	if (line[n] != '>' || (port = world_port_id(&r.w, line, n)) < 0)
		return false;
	line += n + 1;
	if (world_start(&r.w) != 0)
		fail("%s", r.w.error);
	else
		send_packet(port, line + strspn(line, " "), label);
	return true;
}

/* t=SECONDS [more of the line] */
static const char *time_line(const char *line)
{
	char *end;
	double t;

	if (strncmp(line, "t=", 2) != 0)
		return line;
	t = strtod(line + 2, &end);
	if (world_start(&r.w) != 0)
		fail("%s", r.w.error);
	if (1000000 + (uint64_t)(t * 1000 + 0.5) < r.w.ms)
		fail("time does not go back");
	advance(1000000 + (uint64_t)(t * 1000 + 0.5), false);
	check_engine();
	while (*end == ' ')
		end++;
	return end;
}

/* repeat A..B[/STEP] PACKET, and the expectations behind it, for each $i. Lines used. */
static size_t repeat(const struct lines *l, size_t at, size_t end)
{
	unsigned int from, to, step = 1;
	int skip = 0;
	size_t n = 1;

	while (at + n < end && strncmp(l->text[at + n], "expect ", 7) == 0)
		n++;
	if ((sscanf(l->text[at], "repeat %u..%u/%u %n", &from, &to, &step, &skip) != 3 || !skip) &&
	    (sscanf(l->text[at], "repeat %u..%u %n", &from, &to, &skip) != 2 || !skip)) {
		fail("repeat FROM..TO PACKET");
		return n;
	}
	for (unsigned int i = from; i <= to && !test_state.bad; i += step) {
		char value[16];

		snprintf(value, sizeof(value), "%u", i);
		var_set("i", 1, value, strlen(value));
		r.line = l->number[at];
		if (!packet_line(l->text[at] + skip))
			fail("not a packet");
		for (size_t k = 1; k < n; k++) {
			r.line = l->number[at + k];
			expect(l->text[at + k] + 7);
		}
		step_end();
	}
	return n;
}

static void other_line(const char *line)
{
	char *copy = strdup(line);
	int err;

	if (!copy)
		abort();
	if (strcmp(line, "neighbours") == 0) {
		r.neighbours = true;
	} else if (strncmp(line, "jump ", 5) == 0) {
		if (world_start(&r.w) == 0)
			advance(r.w.ms + strtoull(line + 5, NULL, 10) * 1000, true);
	} else {
		err = world_line(&r.w, copy);
		if (err > 0)
			fail("what is this? %s", line);
		else if (err < 0)
			fail("%s", r.w.error);
		if (r.w.e)
			take_all(); /* say that we are there, and whom we look for */
	}
	free(copy);
}

static void run_lines(const struct lines *l, size_t from, size_t to, int depth);

/* The line behind the end of a macro that begins at @at. */
static size_t macro_end(const struct lines *l, size_t at)
{
	while (at < l->n && strcmp(l->text[at], "end") != 0)
		at++;
	return at < l->n ? at + 1 : l->n;
}

/* do NAME: the lines of macro NAME, which stands in front of all cases */
static void run_macro(const struct lines *l, const char *name, int depth)
{
	if (depth > 3) {
		fail("do, too deep");
		return;
	}
	for (size_t i = 0; i < l->n && strncmp(l->text[i], "case ", 5) != 0; i++)
		if (strncmp(l->text[i], "macro ", 6) == 0 && strcmp(l->text[i] + 6, name) == 0) {
			run_lines(l, i + 1, macro_end(l, i) - 1, depth + 1);
			return;
		}
	fail("no macro %s", name);
}

static void run_lines(const struct lines *l, size_t from, size_t to, int depth)
{
	for (size_t i = from; i < to && !test_state.bad;) {
		const char *line = l->text[i];

		r.line = l->number[i];
		if (strncmp(line, "expect ", 7) == 0) {
			expect(line + 7);
			i++;
			continue;
		}
		step_end();
		if (strncmp(line, "macro ", 6) == 0) {
			i = macro_end(l, i);
			continue;
		}
		if (strncmp(line, "do ", 3) == 0) {
			run_macro(l, line + 3, depth);
			i++;
			continue;
		}
		if (strncmp(line, "repeat ", 7) == 0) {
			i += repeat(l, i, to);
			continue;
		}
		line = time_line(line);
		if (*line && r.outs) {
			r.line = l->number[i];
			step_end(); /* what came while time passed, nobody expects */
		}
		if (*line && !packet_line(line))
			other_line(line);
		i++;
	}
	if (!test_state.bad)
		step_end();
}

static void run_case(const struct lines *l, size_t header, size_t from, size_t to, int family)
{
	r.vars = r.labels = 0;
	r.fed = r.replies = r.plain = 0;
	r.is_packet = r.neighbours = false;
	world_init(&r.w, family);
	run_lines(l, 0, header, 0);
	run_lines(l, from, to, 0);
	outputs_clear();
	if (r.w.e)
		engine_free(&r.w.e);
}

/* case NAME [4|6]: for both families when none is named */
static void run_file(const char *file, const char *only)
{
	struct lines l;
	size_t header = 0;

	r.file = file;
	if (!lines_read(&l, file)) {
		test_case(file);
		fail("cannot be read");
		return;
	}
	while (header < l.n && strncmp(l.text[header], "case ", 5) != 0)
		header++;
	if (header == l.n) {
		test_case(file);
		fail("no case in it");
	}
	for (size_t i = header, end; i < l.n; i = end) {
		char name[64] = "", title[80], which[4] = "";
		int n = sscanf(l.text[i], "case %63s %3s", name, which);

		for (end = i + 1; end < l.n && strncmp(l.text[end], "case ", 5) != 0; end++)
			;
		for (int family = 4; family <= 6; family += 2) {
			if ((n == 2 && which[0] != '0' + family) || (only && !strstr(name, only)))
				continue;
			snprintf(title, sizeof(title), "%s_v%d", name, family);
			test_case(title);
			r.line = l.number[i];
			run_case(&l, header, i + 1, end, family);
		}
	}
	lines_free(&l);
}

int main(int argc, char **argv)
{
	const char *only = NULL;
	glob_t files;
	int named = 0;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-v") == 0)
			verbose = true;
		else if (strcmp(argv[i], "-c") == 0 && i + 1 < argc)
			only = argv[++i];
		else
			named++;
	}
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-c") == 0)
			i++;
		else if (argv[i][0] != '-')
			run_file(argv[i], only);
	}
	if (named == 0) {
		if (glob("tests/vectors/*.vec", 0, NULL, &files) != 0) {
			test_case("vectors");
			r.file = "tests/vectors";
			fail("no vectors found; run in the top directory");
			return test_end();
		}
		for (size_t i = 0; i < files.gl_pathc; i++)
			run_file(files.gl_pathv[i], only);
		globfree(&files);
	}
	return test_end();
}
