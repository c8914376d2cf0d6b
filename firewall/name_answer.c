/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * c-ares sends the question and matches the reply to it (id, question, server,
 * TCP after truncation); what the reply says is read here, because two things
 * matter to a firewall that a stub resolver need not care about: an answer
 * whose CNAMEs lead nowhere is no "resolves to nothing" (that would open what a
 * drop rule closes), and addresses under other names than the one asked for do not
 * count. dns_wire.c takes the message apart, within its bounds.
 *
 * Reference: RFC 2308 (empty answers).
 */
#include "firewall/name_answer.h"

#include <assert.h>
#include <string.h>

bool dns_name_is_possible(const char *name)
{
	struct dns_name wire;

	return dns_name_of_text(&wire, name);
}

/* A message that is taken apart. */
struct message {
	struct dns_section answers;
	uint16_t authorities, type;
	struct dns_name name; /* asked for; then what its CNAMEs lead to */
};

/* Return: DNS_ADDRESSES when there is something to read. */
static enum dns_outcome read_head(struct message *m, const uint8_t *msg, size_t len)
{
	struct dns_reader r = {.msg = msg, .len = len};
	struct dns_head head;
	struct dns_name name;
	uint16_t type;

	/* a response to the query, whole */
	if (!dns_read_head(&r, &head) || !head.response || head.opcode != 0 || head.truncated ||
	    head.questions != 1 || !dns_read_question(&r, &name, &type) ||
	    !dns_name_equal(&name, &m->name) || type != m->type)
		return DNS_BAD_ANSWER;
	m->answers = (struct dns_section){r, head.answers};
	m->authorities = head.authorities;
	switch (head.rcode) {
	case 0: return DNS_ADDRESSES;
	case DNS_RCODE_NXDOMAIN: return DNS_NOT_FOUND;
	default: return DNS_SERVER_FAILURE;
	}
}

static void lessen(uint32_t *ttl_s, uint32_t other)
{
	if (other < *ttl_s)
		*ttl_s = other;
}

/* The addresses of m->name. Leaves *end behind the section. */
static bool collect(const struct message *m, struct name_answer *out, struct dns_reader *end)
{
	struct dns_section s = m->answers;
	struct dns_record rec;
	int found;

	while ((found = dns_next_of(&s, &m->name, m->type, &rec)) > 0) {
		struct addr addr = {.family = m->type == DNS_TYPE_A ? 4 : 6};

		if (rec.data_len != addr_len(&addr))
			return false;
		memcpy(addr.bytes, s.r.msg + rec.data, rec.data_len);
		lessen(&out->ttl_s, rec.ttl_s);
		if (addr_among(out->addrs, out->count, &addr))
			continue;
		if (out->count == NAME_SET_MAX)
			out->more = true;
		else
			out->addrs[out->count++] = addr;
	}
	*end = s.r;
	return found == 0;
}

/*
 * An answer without addresses: how long it holds is the lesser of the SOA's own
 * TTL and its last field (RFC 2308 5). Servers that refer to others have not
 * answered (2.2).
 */
static enum dns_outcome empty(const struct message *m, struct dns_reader r, uint32_t *ttl_s)
{
	bool referral = false;
	struct dns_record rec;

	for (unsigned int i = 0; i < m->authorities && dns_read_record(&r, &rec); i++) {
		struct dns_reader last = r;

		if (rec.type == DNS_TYPE_NS)
			referral = true;
		if (rec.type != DNS_TYPE_SOA || rec.data_len < 22)
			continue;
		last.at = rec.data + rec.data_len - 4;
		lessen(ttl_s, rec.ttl_s);
		if (dns_read32(&last, &rec.ttl_s))
			lessen(ttl_s, rec.ttl_s);
		return DNS_ADDRESSES;
	}
	*ttl_s = 0;
	return referral ? DNS_SERVER_FAILURE : DNS_ADDRESSES;
}

void name_answer_parse(struct name_answer *out, const uint8_t *msg, size_t len, const char *name,
		      uint8_t family)
{
	struct message m = {.type = family == 4 ? DNS_TYPE_A : DNS_TYPE_AAAA};
	struct dns_reader end;
	int links;

	memset(out, 0, sizeof(*out));
	out->outcome = DNS_BAD_ANSWER;
	if (!dns_name_of_text(&m.name, name))
		return;
	out->outcome = read_head(&m, msg, len);
	if (out->outcome != DNS_ADDRESSES)
		return;
	out->ttl_s = INT32_MAX;
	links = dns_follow(&m.answers, &m.name, &out->ttl_s);
	/* records, but none that has to do with the question: that is no "nothing" */
	if (links < 0 || !collect(&m, out, &end) ||
	    (out->count == 0 && links == 0 && m.answers.left > 0)) {
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
