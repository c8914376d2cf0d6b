/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A name on the wire is expanded into at most 255 bytes. A compression pointer has to
 * lead to before the place where the reading began or the last pointer led to, so a
 * loop of them ends at once (RFC 1035 4.1.4). That alone would leave room for 8000
 * pointers in a row, in each of 4000 records; so there may be 32 of them in a name.
 * Writers use one, which leads to the rest of a name.
 *
 * The chain of CNAMEs is walked by going over the answer section once for each link.
 * Sections end with the message (64 KiB by TCP, 5500 records), links and the cost of a
 * name are bounded: so is the work.
 *
 * References: RFC 1035 (format), 2181 5.2 and 8 (TTLs).
 */
#include "firewall/dns_wire.h"

#include <assert.h>
#include <string.h>

#define CLASS_IN 1

#define FLAG_RESPONSE  0x8000
#define FLAG_TRUNCATED 0x0200

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

static bool read16(struct dns_reader *r, uint16_t *out)
{
	if (r->len - r->at < 2)
		return false;
	*out = (uint16_t)(r->msg[r->at] << 8 | r->msg[r->at + 1]);
	r->at += 2;
	return true;
}

bool dns_read32(struct dns_reader *r, uint32_t *out)
{
	uint16_t high, low;

	if (!read16(r, &high) || !read16(r, &low))
		return false;
	*out = (uint32_t)high << 16 | low;
	return true;
}

/* --- names ---------------------------------------------------------------------- */

/* One label, of @n bytes behind its length at @at. */
static bool add_label(struct dns_name *name, const struct dns_reader *r, size_t at, size_t n)
{
	/* the end of the name needs a byte, too */
	if (n > DNS_LABEL_MAX || r->len - at - 1 < n || name->len + n + 2 > DNS_NAME_WIRE_MAX)
		return false;
	name->bytes[name->len++] = (uint8_t)n;
	for (size_t i = 0; i < n; i++)
		name->bytes[name->len++] = lower(r->msg[at + 1 + i]);
	return true;
}

/* The name at r->at, which moves behind it. */
static bool read_name(struct dns_reader *r, struct dns_name *name)
{
	size_t at = r->at, floor = r->at;
	unsigned int jumps = 0;

	name->len = 0;
	while (at < r->len) {
		uint8_t n = r->msg[at];
		size_t to;

		if ((n & 0xc0) != 0xc0) {
			if (n != 0 && !add_label(name, r, at, n))
				return false;
			at += 1 + (size_t)n;
			if (n != 0)
				continue;
			name->bytes[name->len++] = 0;
			if (jumps == 0)
				r->at = at;
			return true;
		}
		if (r->len - at < 2 || jumps == DNS_JUMPS_MAX)
			return false;
		to = (size_t)(n & 0x3f) << 8 | r->msg[at + 1];
		if (to >= floor)
			return false;
		if (jumps++ == 0)
			r->at = at + 2;
		at = floor = to;
	}
	return false;
}

bool dns_name_equal(const struct dns_name *a, const struct dns_name *b)
{
	return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

bool dns_name_of_text(struct dns_name *out, const char *text)
{
	size_t len = strlen(text), start = 0;

	static_assert(DNS_NAME_TEXT_MAX + 2 == DNS_NAME_WIRE_MAX, "first length and end");
	out->len = 0;
	if (len > 0 && text[len - 1] == '.')
		len--;
	if (len == 0 || len > DNS_NAME_TEXT_MAX)
		return false;
	for (size_t i = 0; i <= len; i++) {
		if (i < len && text[i] != '.')
			continue;
		if (i == start || i - start > DNS_LABEL_MAX)
			return false;
		out->bytes[out->len++] = (uint8_t)(i - start);
		while (start < i)
			out->bytes[out->len++] = lower((uint8_t)text[start++]);
		start = i + 1;
	}
	out->bytes[out->len++] = 0;
	return true;
}

static bool is_host_char(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool dns_name_to_text(char out[DNS_NAME_TEXT_MAX + 1], const struct dns_name *name)
{
	size_t used = 0;

	for (size_t at = 0; name->bytes[at] != 0;) {
		size_t n = name->bytes[at++];

		if (used > 0)
			out[used++] = '.';
		for (; n > 0; n--) {
			if (!is_host_char(name->bytes[at]))
				return false;
			out[used++] = (char)name->bytes[at++];
		}
	}
	out[used] = '\0';
	return used > 0;
}

/* --- messages ------------------------------------------------------------------- */

bool dns_read_head(struct dns_reader *r, struct dns_head *head)
{
	uint16_t flags, additional;

	if (!read16(r, &head->id) || !read16(r, &flags) || !read16(r, &head->questions) ||
	    !read16(r, &head->answers) || !read16(r, &head->authorities) ||
	    !read16(r, &additional))
		return false;
	head->response = flags & FLAG_RESPONSE;
	head->truncated = flags & FLAG_TRUNCATED;
	head->opcode = flags >> 11 & 0xf;
	head->rcode = flags & 0xf;
	return true;
}

bool dns_read_question(struct dns_reader *r, struct dns_name *name, uint16_t *type)
{
	uint16_t class;

	return read_name(r, name) && read16(r, type) && read16(r, &class) && class == CLASS_IN;
}

bool dns_read_record(struct dns_reader *r, struct dns_record *rec)
{
	uint16_t len;

	if (!read_name(r, &rec->owner) || !read16(r, &rec->type) || !read16(r, &rec->class) ||
	    !dns_read32(r, &rec->ttl_s) || !read16(r, &len) || r->len - r->at < len)
		return false;
	if (rec->ttl_s > INT32_MAX)
		rec->ttl_s = 0;
	rec->data = r->at;
	rec->data_len = len;
	r->at += len;
	return true;
}

int dns_next_of(struct dns_section *s, const struct dns_name *owner, enum dns_type type,
		struct dns_record *rec)
{
	while (s->left > 0) {
		s->left--;
		if (!dns_read_record(&s->r, rec))
			return -1;
		if (rec->type == type && rec->class == CLASS_IN &&
		    dns_name_equal(&rec->owner, owner))
			return 1;
	}
	return 0;
}

int dns_follow(const struct dns_section *answers, struct dns_name *name, uint32_t *ttl_s)
{
	for (int links = 0;; links++) {
		struct dns_section s = *answers;
		struct dns_record rec;
		struct dns_reader target;
		int found = dns_next_of(&s, name, DNS_TYPE_CNAME, &rec);

		if (found == 0)
			return links;
		if (found < 0 || links == DNS_CHAIN_MAX)
			return -1;
		target = s.r;
		target.at = rec.data;
		if (!read_name(&target, name) || target.at != rec.data + rec.data_len)
			return -1;
		if (rec.ttl_s < *ttl_s)
			*ttl_s = rec.ttl_s;
	}
}
