/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A case that runs: its variables, what was sent, what came out of the engine.
 */
#ifndef TESTS_UNIT_VECTOR_RUN_H
#define TESTS_UNIT_VECTOR_RUN_H

#include "tests/unit/check.h"
#include "tests/unit/vector_world.h"

#define OUTPUTS 160
#define VARS 32
#define LABELS 8
#define PAGE 4096

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
static struct craft scratch;
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
		claimed += ip[0] >> 4 == 4 ? (size_t)ip[2] << 8 | ip[3]
					   : (size_t)ip[4] << 8 | ip[5];
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

#endif
