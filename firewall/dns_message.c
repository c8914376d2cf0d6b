// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Names in messages may point to other names. A pointer is only followed to a place
 * before the one it stands at, and what is read from there on must come before it as
 * well, so every jump goes back and the reading ends; the text is bounded besides.
 *
 * Records may stand in any order. The chain of CNAMEs is found by going over the
 * records again for each of its links; both numbers are bounded, so the work is.
 */
#include "firewall/dns_message.h"

#include <string.h>

#define HEADER_LEN 12
#define RECORDS_MAX 128 /* looked at in one answer */
#define CHAIN_MAX 8
#define CLASS_IN 1

#define FLAG_RESPONSE 0x8000
#define FLAG_OPCODE 0x7800
#define FLAG_TRUNCATED 0x0200
#define FLAG_RCODE 0x000f

struct reader {
	const uint8_t *msg;
	size_t len, at;
};

struct record {
	char name[DNS_NAME_MAX];
	uint16_t type, class;
	uint32_t ttl;
	size_t data; /* offset of the data */
	uint16_t data_len;
};

static bool get16(struct reader *r, uint16_t *v)
{
	if (r->len - r->at < 2)
		return false;
	*v = (uint16_t)(r->msg[r->at] << 8 | r->msg[r->at + 1]);
	r->at += 2;
	return true;
}

static bool get32(struct reader *r, uint32_t *v)
{
	uint16_t high, low;

	if (!get16(r, &high) || !get16(r, &low))
		return false;
	*v = (uint32_t)high << 16 | low;
	return true;
}

/* The characters of a dsthost, folded; 0 for any other. */
static char name_char(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return (char)(c | 0x20);
	if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')
		return (char)c;
	return 0;
}

/* One label's text behind @used characters; the new number, or 0: too long, strange. */
static size_t add_label(char name[DNS_NAME_MAX], size_t used, const uint8_t *label, size_t len)
{
	if (used + (used > 0) + len >= DNS_NAME_MAX)
		return 0;
	if (used > 0)
		name[used++] = '.';
	for (size_t i = 0; i < len; i++) {
		char c = name_char(label[i]);

		if (c == 0)
			return 0;
		name[used++] = c;
	}
	return used;
}

/*
 * Read the name at the reader's place, which goes behind it. A name that is well
 * formed but no rule could name is "".
 */
static bool get_name(struct reader *r, char name[DNS_NAME_MAX])
{
	size_t at = r->at, bound = r->len, used = 0;
	bool jumped = false, strange = false;

	for (;;) {
		uint8_t n;

		if (at >= bound)
			return false;
		n = r->msg[at];
		if ((n & 0xc0) == 0xc0) {
			size_t to;

			if (bound - at < 2)
				return false;
			to = (size_t)(n & 0x3f) << 8 | r->msg[at + 1];
			if (!jumped)
				r->at = at + 2;
			/* back, and what is read there ends before this pointer */
			if (to >= at)
				return false;
			bound = at;
			at = to;
			jumped = true;
			continue;
		}
		if (n & 0xc0)
			return false;
		if (n == 0)
			break;
		if (bound - at - 1 < n)
			return false;
		if (!strange) {
			used = add_label(name, used, r->msg + at + 1, n);
			strange = used == 0;
		}
		at += 1 + (size_t)n;
	}
	if (!jumped)
		r->at = at + 1;
	name[strange ? 0 : used] = '\0';
	return true;
}

static bool get_header(struct reader *r, uint16_t *id, uint16_t *flags, uint16_t counts[4])
{
	if (!get16(r, id) || !get16(r, flags))
		return false;
	for (int i = 0; i < 4; i++)
		if (!get16(r, &counts[i]))
			return false;
	return true;
}

/* The one question of a message: for addresses, of class IN. */
static bool get_question(struct reader *r, struct dns_question *q)
{
	uint16_t class;

	return get_name(r, q->name) && q->name[0] != '\0' && get16(r, &q->type) &&
	       get16(r, &class) && class == CLASS_IN &&
	       (q->type == DNS_TYPE_A || q->type == DNS_TYPE_AAAA);
}

bool dns_query_parse(const uint8_t *msg, size_t len, struct dns_question *q)
{
	struct reader r = { msg, len, 0 };
	uint16_t flags, counts[4];

	return get_header(&r, &q->id, &flags, counts) &&
	       !(flags & (FLAG_RESPONSE | FLAG_OPCODE)) && counts[0] == 1 && counts[1] == 0 &&
	       get_question(&r, q);
}

bool dns_response_question(const uint8_t *msg, size_t len, struct dns_question *q)
{
	struct reader r = { msg, len, 0 };
	uint16_t flags, counts[4];

	return get_header(&r, &q->id, &flags, counts) && (flags & FLAG_RESPONSE) &&
	       counts[0] == 1 && get_question(&r, q);
}

static bool get_record(struct reader *r, struct record *rr)
{
	if (!get_name(r, rr->name) || !get16(r, &rr->type) || !get16(r, &rr->class) ||
	    !get32(r, &rr->ttl) || !get16(r, &rr->data_len) || r->len - r->at < rr->data_len)
		return false;
	rr->data = r->at;
	r->at += rr->data_len;
	if (rr->ttl > INT32_MAX)
		rr->ttl = 0; /* RFC 2181 8 */
	return true;
}

/* The target of a CNAME of @name among the records; false: it has none. */
static bool next_link(struct reader r, uint16_t records, const char *name,
		      char target[DNS_NAME_MAX], uint32_t *ttl)
{
	struct record rr;

	for (uint16_t i = 0; i < records && get_record(&r, &rr); i++) {
		struct reader data = { r.msg, rr.data + rr.data_len, rr.data };

		if (rr.type != DNS_TYPE_CNAME || rr.class != CLASS_IN || strcmp(rr.name, name) != 0)
			continue;
		if (!get_name(&data, target) || target[0] == '\0')
			return false;
		*ttl = rr.ttl;
		return true;
	}
	return false;
}

/* The addresses of @name; false: a record was malformed. */
static bool get_addresses(struct reader r, uint16_t records, const char *name, uint16_t type,
			  struct dns_answer *a)
{
	uint8_t size = type == DNS_TYPE_A ? 4 : 16;
	struct record rr;

	for (uint16_t i = 0; i < records; i++) {
		if (!get_record(&r, &rr))
			return false;
		if (rr.type != type || rr.class != CLASS_IN || strcmp(rr.name, name) != 0)
			continue;
		if (rr.data_len != size)
			return false;
		if (a->count == DNS_ADDRS_MAX)
			continue;
		a->addr[a->count] = (struct addr){ .family = type == DNS_TYPE_A ? 4 : 6 };
		memcpy(a->addr[a->count++].bytes, r.msg + rr.data, size);
		if (rr.ttl < a->ttl)
			a->ttl = rr.ttl;
	}
	return true;
}

bool dns_answer_parse(const uint8_t *msg, size_t len, const struct dns_question *q,
		      struct dns_answer *a)
{
	struct reader r = { msg, len, 0 };
	struct dns_question asked;
	char name[DNS_NAME_MAX], target[DNS_NAME_MAX];
	uint16_t flags, counts[4];
	uint32_t ttl;

	a->count = 0;
	a->ttl = UINT32_MAX;
	if (!get_header(&r, &asked.id, &flags, counts) || !(flags & FLAG_RESPONSE) ||
	    (flags & (FLAG_OPCODE | FLAG_TRUNCATED | FLAG_RCODE)) || asked.id != q->id ||
	    counts[0] != 1 || !get_question(&r, &asked) || asked.type != q->type ||
	    strcmp(asked.name, q->name) != 0)
		return false;
	if (counts[1] > RECORDS_MAX)
		counts[1] = RECORDS_MAX;
	memcpy(name, q->name, sizeof(name));
	for (int link = 0; next_link(r, counts[1], name, target, &ttl); link++) {
		if (link == CHAIN_MAX)
			return false; /* a loop ends here, too */
		if (ttl < a->ttl)
			a->ttl = ttl;
		memcpy(name, target, sizeof(name));
	}
	return get_addresses(r, counts[1], name, q->type, a);
}
