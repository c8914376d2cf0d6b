/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * c-ares sends the question and matches the reply to it (id, question, server,
 * TCP after truncation); what the reply says is read here, because three things
 * matter to a firewall that a stub resolver need not care about: an answer
 * whose CNAMEs lead nowhere is no "resolves to nothing" (that would open what a
 * drop rule closes), addresses under other names than the one asked for do not
 * count, and everything has a bound.
 *
 * A name on the wire is expanded into at most 255 bytes. Compression pointers
 * have to lead backwards, each further than the one before, so a loop of them
 * ends at once (RFC 1035 4.1.4). The chain of CNAMEs is walked by looking through
 * the answer section once for each link: 16 times at most, in a message that is
 * bounded by TCP's 64 KiB.
 *
 * References: RFC 1035 (format), 2181 5.2 and 8 (TTLs), 2308 (empty answers).
 */
#include "firewall/name_answer.h"

#include <assert.h>
#include <string.h>

#define HEADER_LEN 12
#define WIRE_MAX   255
#define LABEL_MAX  63

enum { TYPE_A = 1, TYPE_NS = 2, TYPE_CNAME = 5, TYPE_SOA = 6, TYPE_AAAA = 28 };
enum { CLASS_IN = 1 };

/* A name as on the wire, uncompressed, in lower case. */
struct wire {
	uint8_t bytes[WIRE_MAX];
	size_t len;
};

struct reader {
	const uint8_t *msg;
	size_t len, at;
};

struct record {
	struct wire owner;
	uint16_t type, class;
	uint32_t ttl_s;
	size_t data, data_len;
};

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

static bool read16(struct reader *r, uint16_t *out)
{
	if (r->len - r->at < 2)
		return false;
	*out = (uint16_t)(r->msg[r->at] << 8 | r->msg[r->at + 1]);
	r->at += 2;
	return true;
}

static bool read32(struct reader *r, uint32_t *out)
{
	uint16_t high, low;

	if (!read16(r, &high) || !read16(r, &low))
		return false;
	*out = (uint32_t)high << 16 | low;
	return true;
}

/* One label, of @n bytes behind its length at @at. */
static bool add_label(struct wire *w, const struct reader *r, size_t at, size_t n)
{
	/* the end of the name needs a byte, too */
	if (n > LABEL_MAX || r->len - at - 1 < n || w->len + n + 2 > WIRE_MAX)
		return false;
	w->bytes[w->len++] = (uint8_t)n;
	for (size_t i = 0; i < n; i++)
		w->bytes[w->len++] = lower(r->msg[at + 1 + i]);
	return true;
}

/* The name at r->at, which moves behind it. */
static bool read_name(struct reader *r, struct wire *w)
{
	size_t at = r->at, floor;
	bool jumped = false;

	w->len = 0;
	floor = at;
	while (at < r->len) {
		uint8_t n = r->msg[at];

		if (n == 0) {
			w->bytes[w->len++] = 0;
			if (!jumped)
				r->at = at + 1;
			return true;
		}
		if ((n & 0xc0) == 0xc0) {
			size_t to;

			if (r->len - at < 2)
				return false;
			to = (size_t)(n & 0x3f) << 8 | r->msg[at + 1];
			if (to >= floor)
				return false;
			if (!jumped)
				r->at = at + 2;
			jumped = true;
			at = floor = to;
			continue;
		}
		if (!add_label(w, r, at, n))
			return false;
		at += 1 + n;
	}
	return false;
}

static bool read_record(struct reader *r, struct record *rec)
{
	uint16_t len;

	if (!read_name(r, &rec->owner) || !read16(r, &rec->type) || !read16(r, &rec->class) ||
	    !read32(r, &rec->ttl_s) || !read16(r, &len) || r->len - r->at < len)
		return false;
	if (rec->ttl_s > INT32_MAX)
		rec->ttl_s = 0; /* RFC 2181 8 */
	rec->data = r->at;
	rec->data_len = len;
	r->at += len;
	return true;
}

static bool wire_equal(const struct wire *a, const struct wire *b)
{
	return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

static bool wire_of_text(const char *name, struct wire *w)
{
	size_t len = strlen(name), start = 0;

	w->len = 0;
	if (len > 0 && name[len - 1] == '.')
		len--;
	if (len == 0 || len > DNS_NAME_TEXT_MAX)
		return false;
	for (size_t i = 0; i <= len; i++) {
		if (i < len && name[i] != '.')
			continue;
		if (i == start || i - start > LABEL_MAX)
			return false;
		w->bytes[w->len++] = (uint8_t)(i - start);
		while (start < i)
			w->bytes[w->len++] = lower((uint8_t)name[start++]);
		start = i + 1;
	}
	w->bytes[w->len++] = 0;
	return true;
}

bool dns_name_is_possible(const char *name)
{
	struct wire w;

	static_assert(DNS_NAME_TEXT_MAX + 2 == WIRE_MAX, "first length and end");
	return wire_of_text(name, &w);
}

/* --- the answer --------------------------------------------------------------- */

/* A message that is taken apart: where its sections begin. */
struct message {
	struct reader answer; /* at the first record */
	uint16_t answers, authorities;
	uint16_t type;
	struct wire name; /* asked for; then what its CNAMEs lead to */
};

/* Return: DNS_ADDRESSES when there is something to read. */
static enum dns_outcome read_head(struct message *m, const uint8_t *msg, size_t len)
{
	struct reader r = {.msg = msg, .len = len};
	uint16_t id, flags, questions, additional, type, class;
	struct wire name;

	if (!read16(&r, &id) || !read16(&r, &flags) || !read16(&r, &questions) ||
	    !read16(&r, &m->answers) || !read16(&r, &m->authorities) || !read16(&r, &additional))
		return DNS_BAD_ANSWER;
	/* a response to a query, whole */
	if ((flags & 0x8000) == 0 || (flags & 0x7800) != 0 || (flags & 0x0200) != 0 ||
	    questions != 1)
		return DNS_BAD_ANSWER;
	if (!read_name(&r, &name) || !read16(&r, &type) || !read16(&r, &class) ||
	    !wire_equal(&name, &m->name) || type != m->type || class != CLASS_IN)
		return DNS_BAD_ANSWER;
	m->answer = r;
	switch (flags & 0xf) {
	case 0: return DNS_ADDRESSES;
	case 3: return DNS_NOT_FOUND;
	default: return DNS_SERVER_FAILURE;
	}
}

static void lessen(uint32_t *ttl_s, uint32_t other)
{
	if (other < *ttl_s)
		*ttl_s = other;
}

/* Follow one CNAME of m->name. Return: 1, 0 when there is none, -1 when broken. */
static int follow(struct message *m, uint32_t *ttl_s)
{
	struct reader r = m->answer;
	struct record rec;

	for (unsigned int i = 0; i < m->answers; i++) {
		struct reader target;

		if (!read_record(&r, &rec))
			return -1;
		if (rec.type != TYPE_CNAME || rec.class != CLASS_IN ||
		    !wire_equal(&rec.owner, &m->name))
			continue;
		target = r;
		target.at = rec.data;
		if (!read_name(&target, &m->name) || target.at != rec.data + rec.data_len)
			return -1;
		lessen(ttl_s, rec.ttl_s);
		return 1;
	}
	return 0;
}

static bool has(const struct name_answer *out, const struct addr *addr)
{
	for (size_t i = 0; i < out->count; i++)
		if (addr_equal(&out->addrs[i], addr))
			return true;
	return false;
}

/* The addresses of m->name. Leaves *end behind the section. */
static bool collect(const struct message *m, struct name_answer *out, struct reader *end)
{
	size_t size = m->type == TYPE_A ? 4 : 16;
	struct record rec;

	*end = m->answer;
	for (unsigned int i = 0; i < m->answers; i++) {
		struct addr addr = {.family = m->type == TYPE_A ? 4 : 6};

		if (!read_record(end, &rec))
			return false;
		if (rec.type != m->type || rec.class != CLASS_IN ||
		    !wire_equal(&rec.owner, &m->name))
			continue;
		if (rec.data_len != size)
			return false;
		memcpy(addr.bytes, end->msg + rec.data, size);
		lessen(&out->ttl_s, rec.ttl_s);
		if (has(out, &addr))
			continue;
		if (out->count == NAME_SET_MAX)
			out->more = true;
		else
			out->addrs[out->count++] = addr;
	}
	return true;
}

/*
 * An answer without addresses: how long it holds is the lesser of the SOA's own
 * TTL and its last field (RFC 2308 5). Servers that refer to others have not
 * answered (2.2).
 */
static enum dns_outcome empty(const struct message *m, struct reader r, uint32_t *ttl_s)
{
	bool referral = false;
	struct record rec;

	for (unsigned int i = 0; i < m->authorities && read_record(&r, &rec); i++) {
		struct reader last = r;

		if (rec.type == TYPE_NS)
			referral = true;
		if (rec.type != TYPE_SOA || rec.data_len < 22)
			continue;
		last.at = rec.data + rec.data_len - 4;
		lessen(ttl_s, rec.ttl_s);
		if (read32(&last, &rec.ttl_s))
			lessen(ttl_s, rec.ttl_s);
		return DNS_ADDRESSES;
	}
	*ttl_s = 0;
	return referral ? DNS_SERVER_FAILURE : DNS_ADDRESSES;
}

void name_answer_parse(struct name_answer *out, const uint8_t *msg, size_t len, const char *name,
		      uint8_t family)
{
	struct message m = {.type = family == 4 ? TYPE_A : TYPE_AAAA};
	struct reader end;
	int links = 0, step;

	memset(out, 0, sizeof(*out));
	out->outcome = DNS_BAD_ANSWER;
	if (!wire_of_text(name, &m.name))
		return;
	out->outcome = read_head(&m, msg, len);
	if (out->outcome != DNS_ADDRESSES)
		return;
	out->ttl_s = INT32_MAX;
	while ((step = follow(&m, &out->ttl_s)) > 0 && links < DNS_CHAIN_MAX)
		links++;
	/* records, but none that has to do with the question: that is no "nothing" */
	if (step != 0 || !collect(&m, out, &end) ||
	    (out->count == 0 && links == 0 && m.answers > 0)) {
		memset(out, 0, sizeof(*out));
		out->outcome = DNS_BAD_ANSWER;
		return;
	}
	if (out->count == 0)
		out->outcome = empty(&m, end, &out->ttl_s);
	if (out->outcome != DNS_ADDRESSES)
		out->ttl_s = 0;
}

const char *dns_outcome_text(enum dns_outcome outcome)
{
	static const char *const texts[] = {
		[DNS_ADDRESSES] = "answered",
		[DNS_NOT_FOUND] = "no such name",
		[DNS_SERVER_FAILURE] = "the server failed",
		[DNS_TIMEOUT] = "no answer",
		[DNS_BAD_ANSWER] = "a broken answer",
	};

	static_assert(sizeof(texts) / sizeof(texts[0]) == DNS_OUTCOMES, "one text an outcome");
	return outcome < DNS_OUTCOMES ? texts[outcome] : "?";
}
