/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The text of one rule.
 *
 *   rule = option *( SP option )      SP is exactly one space
 *   option = name "=" value           neither empty, value without "="
 *
 * One table names the options; each has a function that reads its value. Order
 * is free (stock accepts any), duplicates are not. Reading goes on behind a
 * problem so that `ringfence check` can show all of them; what the options mean
 * together is judged at the end, and only over options that were read without
 * a problem, so one mistake gives one message.
 *
 * Strictness is a security property here: a rule that two programs read in two
 * ways is a hole. Numbers have one spelling, except for the prefix length,
 * which dom0 passes on as the user typed it ("/024").
 *
 * Reference: Qubes firewall rules in QubesDB, doc/rules.md; R3, R4.
 */
#include "rules/ruleset.h"
#include "rules/text.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SHOW 64 /* bytes of a foreign word in a message, escaped */

enum option {
	OPT_ACTION,
	OPT_DST4,
	OPT_DST6,
	OPT_DSTHOST,
	OPT_PROTO,
	OPT_SPECIALTARGET,
	OPT_DSTPORTS,
	OPT_ICMPTYPE,
	OPT_COUNT
};

#define BIT(opt)    (1u << (opt))
#define DST_OPTIONS (BIT(OPT_DST4) | BIT(OPT_DST6) | BIT(OPT_DSTHOST))

struct reader {
	struct rule_sink *sink;
	uint8_t family;
	unsigned int seen; /* options that occurred */
	unsigned int good; /* options that were also read without a problem */
	bool unread;	   /* an option could not even be told by its name */
	struct rule *rule;
	struct rule_name *name;
};

struct word {
	const char *text;
	size_t len;
};

void rule_problem(struct rule_sink *sink, const char *format, ...)
{
	struct rule_error err;
	va_list ap;

	sink->count++;
	text_escape(err.key, sizeof(err.key), sink->key, sink->key_len);
	va_start(ap, format);
	vsnprintf(err.text, sizeof(err.text), format, ap);
	va_end(ap);
	sink->report(sink->arg, &err);
}

static bool word_is(const struct word *w, const char *text)
{
	return w->len == strlen(text) && memcmp(w->text, text, w->len) == 0;
}

static const char *show(char buf[SHOW], const struct word *w)
{
	return text_escape(buf, SHOW, w->text, w->len);
}

/* Decimal digits that fill the word and stay below or at max; -1 otherwise. */
static long number(const struct word *w, size_t digits_max, bool leading_zeros, long max)
{
	long value = 0;

	if (w->len == 0 || w->len > digits_max)
		return -1;
	if (!leading_zeros && w->len > 1 && w->text[0] == '0')
		return -1;
	for (size_t i = 0; i < w->len; i++) {
		if (w->text[i] < '0' || w->text[i] > '9')
			return -1;
		value = value * 10 + (w->text[i] - '0');
	}
	return value <= max ? value : -1;
}

/* --- the options -------------------------------------------------------------- */

static bool read_action(struct reader *r, const struct word *value)
{
	char buf[SHOW];

	if (word_is(value, "accept"))
		r->rule->action = RULE_ACCEPT;
	else if (word_is(value, "drop"))
		r->rule->action = RULE_REJECT;
	else {
		rule_problem(r->sink, "action: \"%s\" is neither accept nor drop",
			     show(buf, value));
		return false;
	}
	return true;
}

/* Keep the first len bits of the address, clear the host bits. */
static void set_prefix(struct rule *rule, const struct addr *addr, unsigned int len)
{
	memset(rule->net, 0, sizeof(rule->net));
	memcpy(rule->net, addr->bytes, len / 8);
	if (len % 8 != 0)
		rule->net[len / 8] = (uint8_t)(addr->bytes[len / 8] & (0xff00u >> (len % 8)));
	rule->prefix_len = (uint8_t)len;
	rule->dst = len == 0 ? DST_ANY : DST_PREFIX;
}

static bool read_dst(struct reader *r, const struct word *value, const char *option, uint8_t family)
{
	const char *slash = memchr(value->text, '/', value->len);
	struct word host = *value;
	long bits = family == 4 ? 32 : 128, len = bits;
	struct addr addr;
	char buf[SHOW];

	if (r->family != family) {
		rule_problem(r->sink, "%s: \"%s\" in the rules of an IPv%u source", option,
			     show(buf, value), r->family);
		return false;
	}
	if (slash != NULL) {
		struct word tail;

		host.len = (size_t)(slash - value->text);
		tail = (struct word){slash + 1, value->len - host.len - 1};
		len = number(&tail, 3, true, bits);
	}
	if (addr_parse(host.text, host.len, &addr) != 0 || addr.family != family) {
		rule_problem(r->sink, "%s: \"%s\" is not an IPv%u address", option,
			     show(buf, value), family);
		return false;
	}
	if (len < 0) {
		rule_problem(r->sink, "%s: \"%s\" has no prefix length of 0 to %ld", option,
			     show(buf, value), bits);
		return false;
	}
	set_prefix(r->rule, &addr, (unsigned int)len);
	return true;
}

static bool read_dst4(struct reader *r, const struct word *value)
{
	return read_dst(r, value, "dst4", 4);
}

static bool read_dst6(struct reader *r, const struct word *value)
{
	return read_dst(r, value, "dst6", 6);
}

/* dom0 validates neither length nor labels: only the characters count here. */
static bool read_dsthost(struct reader *r, const struct word *value)
{
	char buf[SHOW];

	for (size_t i = 0; i < value->len; i++) {
		char c = value->text[i];

		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
		    c == '_')
			continue;
		rule_problem(r->sink, "dsthost: \"%s\" has a character other than a-z 0-9 - . _",
			     show(buf, value));
		return false;
	}
	r->rule->dst = DST_NAME;
	r->name->text = value->text;
	r->name->len = value->len;
	return true;
}

static bool read_proto(struct reader *r, const struct word *value)
{
	char buf[SHOW];

	if (word_is(value, "tcp"))
		r->rule->protos = CLASS_TCP;
	else if (word_is(value, "udp"))
		r->rule->protos = CLASS_UDP;
	else if (word_is(value, "icmp"))
		r->rule->protos = CLASS_ICMP;
	else {
		rule_problem(r->sink, "proto: \"%s\" is not tcp, udp or icmp", show(buf, value));
		return false;
	}
	return true;
}

static bool read_specialtarget(struct reader *r, const struct word *value)
{
	char buf[SHOW];

	if (!word_is(value, "dns")) {
		rule_problem(r->sink, "specialtarget: \"%s\" is not dns", show(buf, value));
		return false;
	}
	r->rule->dns = true;
	return true;
}

static bool read_dstports(struct reader *r, const struct word *value)
{
	const char *dash = memchr(value->text, '-', value->len);
	struct word first = *value, last = *value;
	long low, high;
	char buf[SHOW];

	if (dash != NULL) {
		first.len = (size_t)(dash - value->text);
		last.text = dash + 1;
		last.len = value->len - first.len - 1;
	}
	low = number(&first, 5, false, RANGE_ALL);
	high = number(&last, 5, false, RANGE_ALL);
	if (low < 0 || high < 0) {
		rule_problem(r->sink, "dstports: \"%s\" is not a port or N-M of 0 to 65535",
			     show(buf, value));
		return false;
	}
	if (low > high) {
		rule_problem(r->sink, "dstports: \"%s\" is reversed", show(buf, value));
		return false;
	}
	r->rule->low = (uint16_t)low;
	r->rule->high = (uint16_t)high;
	return true;
}

static bool read_icmptype(struct reader *r, const struct word *value)
{
	long type = number(value, 3, false, 255);
	char buf[SHOW];

	if (type < 0) {
		rule_problem(r->sink, "icmptype: \"%s\" is not a number of 0 to 255",
			     show(buf, value));
		return false;
	}
	/* dstports may not occur together with it: the range is free. */
	r->rule->low = r->rule->high = (uint16_t)type;
	return true;
}

static const struct {
	const char *name;
	bool (*read)(struct reader *r, const struct word *value);
} options[] = {
    [OPT_ACTION] = {"action", read_action},
    [OPT_DST4] = {"dst4", read_dst4},
    [OPT_DST6] = {"dst6", read_dst6},
    [OPT_DSTHOST] = {"dsthost", read_dsthost},
    [OPT_PROTO] = {"proto", read_proto},
    [OPT_SPECIALTARGET] = {"specialtarget", read_specialtarget},
    [OPT_DSTPORTS] = {"dstports", read_dstports},
    [OPT_ICMPTYPE] = {"icmptype", read_icmptype},
};
static_assert(sizeof(options) / sizeof(options[0]) == OPT_COUNT, "a reader for every option");

/* In the published specification or in dom0's own files, never in QubesDB (R3). */
static const char *const never_valid[] = {"expire", "comment", "dpi"};

/* --- one option, all options -------------------------------------------------- */

static void unknown_option(struct reader *r, const struct word *name)
{
	char buf[SHOW];

	for (size_t i = 0; i < sizeof(never_valid) / sizeof(never_valid[0]); i++) {
		if (word_is(name, never_valid[i])) {
			rule_problem(r->sink, "%s: never valid in QubesDB", never_valid[i]);
			return;
		}
	}
	rule_problem(r->sink, "\"%s\" is not a known option", show(buf, name));
}

static void read_option(struct reader *r, const struct word *w)
{
	const char *equals = memchr(w->text, '=', w->len);
	struct word name = *w, value;
	char buf[SHOW];
	unsigned int opt;

	if (equals == NULL) {
		rule_problem(r->sink, "\"%s\" is not option=value", show(buf, w));
		return;
	}
	name.len = (size_t)(equals - w->text);
	value = (struct word){equals + 1, w->len - name.len - 1};
	for (opt = 0; opt < OPT_COUNT && !word_is(&name, options[opt].name); opt++)
		;
	if (opt == OPT_COUNT) {
		unknown_option(r, &name);
		return;
	}
	if (r->seen & BIT(opt)) {
		r->good &= ~BIT(opt);
		rule_problem(r->sink, "%s: given twice", options[opt].name);
		return;
	}
	if ((BIT(opt) & DST_OPTIONS) && (r->seen & DST_OPTIONS)) {
		r->seen |= BIT(opt);
		rule_problem(r->sink, "%s: a second destination", options[opt].name);
		return;
	}
	r->seen |= BIT(opt);
	if (value.len == 0)
		rule_problem(r->sink, "%s: has no value", options[opt].name);
	else if (memchr(value.text, '=', value.len) != NULL)
		rule_problem(r->sink, "%s: \"%s\" has a second \"=\"", options[opt].name,
			     show(buf, &value));
	else if (options[opt].read(r, &value))
		r->good |= BIT(opt);
}

/* What the options mean together. */
static void judge(struct reader *r)
{
	struct rule *rule = r->rule;
	bool ports = r->good & BIT(OPT_DSTPORTS);
	bool proto = r->good & BIT(OPT_PROTO);
	bool icmp = proto && rule->protos == CLASS_ICMP;

	if (!(r->seen & BIT(OPT_ACTION)) && !r->unread)
		rule_problem(r->sink, "action: missing");
	if (ports && icmp)
		rule_problem(r->sink, "dstports: with proto=icmp");
	if (rule->dns && icmp)
		rule_problem(r->sink, "specialtarget: dns with proto=icmp");
	if ((r->good & BIT(OPT_ICMPTYPE)) && !(r->seen & BIT(OPT_PROTO)) && !r->unread)
		rule_problem(r->sink, "icmptype: without proto=icmp");
	else if ((r->good & BIT(OPT_ICMPTYPE)) && proto && !icmp)
		rule_problem(r->sink, "icmptype: with proto=%s",
			     rule->protos == CLASS_TCP ? "tcp" : "udp");
	/* Ports without a protocol mean TCP and UDP, as stock reads them. */
	if (ports)
		rule->protos &= CLASS_TCP | CLASS_UDP;
	if (rule->dns) {
		rule->protos &= CLASS_TCP | CLASS_UDP;
		/* Ports other than exactly 53 contradict the target: never matches. */
		if (ports && (rule->low != DNS_PORT || rule->high != DNS_PORT))
			rule->protos = 0;
		rule->low = rule->high = DNS_PORT;
	}
}

/* An empty word: a space that separates nothing. */
static void stray_space(struct rule_sink *sink, size_t at, size_t len)
{
	if (at == 0)
		rule_problem(sink, "leading space");
	else if (at == len)
		rule_problem(sink, "trailing space");
	else
		rule_problem(sink, "two spaces at offset %zu", at - 1);
}

/* Bytes that no option may contain. */
static bool check_bytes(struct rule_sink *sink, const struct word *w, size_t at)
{
	for (size_t i = 0; i < w->len; i++) {
		unsigned char c = (unsigned char)w->text[i];

		if (c < 0x20 || c > 0x7e) {
			rule_problem(sink, "byte \\x%02x at offset %zu", c, at + i);
			return false;
		}
	}
	return true;
}

void rule_parse(struct rule_sink *sink, uint8_t family, const char *value, size_t len,
		struct rule *rule, struct rule_name *name)
{
	struct reader r = {.sink = sink, .family = family, .rule = rule, .name = name};
	size_t at = 0;

	*rule = (struct rule){.dst = DST_ANY, .protos = CLASS_ALL, .high = RANGE_ALL};
	if (len == 0 || len > RULE_TEXT_MAX) {
		if (len == 0)
			rule_problem(sink, "empty rule");
		else
			rule_problem(sink, "longer than %d bytes", RULE_TEXT_MAX);
		return;
	}
	while (at <= len) {
		const char *space = memchr(value + at, ' ', len - at);
		size_t end = space != NULL ? (size_t)(space - value) : len;
		struct word w = {value + at, end - at};

		if (w.len == 0)
			stray_space(sink, at, len);
		else if (check_bytes(sink, &w, at))
			read_option(&r, &w);
		else
			r.unread = true;
		at = end + 1;
	}
	judge(&r);
}
