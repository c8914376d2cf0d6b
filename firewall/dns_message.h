/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DNS messages as a bystander reads them: what was asked, and which addresses an
 * answer gives to exactly that (RFC 1035). Pure, bounded, and of no effect on the
 * packets that carry them.
 */
#ifndef FIREWALL_DNS_MESSAGE_H
#define FIREWALL_DNS_MESSAGE_H

#include "firewall/dns_wire.h"
#include "rules/addr.h"

#define DNS_NAME_MAX	(DNS_NAME_TEXT_MAX + 1) /* with NUL */
#define DNS_MESSAGE_MAX 4096			/* longer ones are not read */
#define DNS_ADDRS_MAX	64			/* of one answer */

/** A question for addresses: its name in lower case, without the last dot. */
struct dns_question {
	uint16_t id;
	uint16_t type; /* A or AAAA */
	char name[DNS_NAME_MAX];
};

struct dns_answer {
	size_t count;
	struct addr addr[DNS_ADDRS_MAX];
	uint32_t ttl; /* seconds; the smallest on the way from name to address */
};

/**
 * dns_query_parse() - read a query for the addresses of one name
 *
 * Return: false for anything else: a response, other classes or types, no or
 * several questions, names with characters that no dsthost has.
 */
bool dns_query_parse(const uint8_t *msg, size_t len, struct dns_question *q);

/** dns_response_question() - what a response says was asked; false: unreadable */
bool dns_response_question(const uint8_t *msg, size_t len, struct dns_question *q);

/**
 * dns_answer_parse() - read the response to a question
 *
 * CNAMEs are followed, from the name that was asked and at most DNS_CHAIN_MAX of them;
 * records that do not belong to that chain are passed over.
 *
 * Return: false when it answers something else, is truncated, an error, or
 * malformed. An answer without an address is true, with count 0.
 */
bool dns_answer_parse(const uint8_t *msg, size_t len, const struct dns_question *q,
		      struct dns_answer *a);

#endif
