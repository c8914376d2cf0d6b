// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a bystander makes of a message that dns_wire.c takes apart. Only names that a
 * rule could have count, and of a long answer only the first records: it is read on
 * the way of a packet.
 */
#include "firewall/dns_message.h"

#include <string.h>

#define RECORDS_MAX 128 /* looked at in one answer */

/* A name and how it was written: a rule's text. */
static bool get_question(struct dns_reader *r, const struct dns_head *head, struct dns_question *q)
{
	struct dns_name name;

	q->id = head->id;
	return head->questions == 1 && head->opcode == 0 &&
	       dns_read_question(r, &name, &q->type) &&
	       (q->type == DNS_TYPE_A || q->type == DNS_TYPE_AAAA) &&
	       dns_name_to_text(q->name, &name);
}

bool dns_query_parse(const uint8_t *msg, size_t len, struct dns_question *q)
{
	struct dns_reader r = { msg, len, 0 };
	struct dns_head head;

	return dns_read_head(&r, &head) && !head.response && head.answers == 0 &&
	       get_question(&r, &head, q);
}

bool dns_response_question(const uint8_t *msg, size_t len, struct dns_question *q)
{
	struct dns_reader r = { msg, len, 0 };
	struct dns_head head;

	return dns_read_head(&r, &head) && head.response && get_question(&r, &head, q);
}

/* The addresses of @name; false: a record was malformed. */
static bool get_addresses(struct dns_section *s, const struct dns_name *name, uint16_t type,
			  struct dns_answer *a)
{
	const uint8_t family = type == DNS_TYPE_A ? 4 : 6;
	struct dns_record rec;
	int found;

	while ((found = dns_next_of(s, name, type, &rec)) > 0) {
		struct addr addr = { .family = family };

		if (rec.data_len != addr_len(&addr))
			return false;
		if (a->count == DNS_ADDRS_MAX)
			continue;
		memcpy(addr.bytes, s->r.msg + rec.data, rec.data_len);
		a->addr[a->count++] = addr;
		if (rec.ttl_s < a->ttl)
			a->ttl = rec.ttl_s;
	}
	return found == 0;
}

bool dns_answer_parse(const uint8_t *msg, size_t len, const struct dns_question *q,
		      struct dns_answer *a)
{
	struct dns_section answers = { { msg, len, 0 }, 0 };
	struct dns_question asked;
	struct dns_head head;
	struct dns_name name;

	a->count = 0;
	a->ttl = UINT32_MAX;
	if (!dns_read_head(&answers.r, &head) || !head.response || head.truncated ||
	    head.rcode != 0 || head.id != q->id || !get_question(&answers.r, &head, &asked) ||
	    asked.type != q->type || strcmp(asked.name, q->name) != 0 ||
	    !dns_name_of_text(&name, asked.name))
		return false;
	answers.left = head.answers < RECORDS_MAX ? head.answers : RECORDS_MAX;
	return dns_follow(&answers, &name, &a->ttl) >= 0 &&
	       get_addresses(&answers, &name, q->type, a);
}
