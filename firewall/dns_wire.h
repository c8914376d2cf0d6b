/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * DNS messages as bytes (RFC 1035): names, records, the way from a name to its
 * addresses. What it means is its users' business: dns_message.c for messages that
 * pass, name_answer.c for the resolver's helper. Pure and bounded.
 */
#ifndef FIREWALL_DNS_WIRE_H
#define FIREWALL_DNS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_NAME_TEXT_MAX 253 /* RFC 1035 2.3.4, as text without the last dot */
#define DNS_NAME_WIRE_MAX 255
#define DNS_LABEL_MAX	  63
#define DNS_JUMPS_MAX	  32 /* compression pointers in one name */
#define DNS_CHAIN_MAX	  16 /* CNAMEs from a name to its addresses */

enum dns_type {
	DNS_TYPE_A = 1,
	DNS_TYPE_NS = 2,
	DNS_TYPE_CNAME = 5,
	DNS_TYPE_SOA = 6,
	DNS_TYPE_AAAA = 28,
};

enum { DNS_RCODE_NXDOMAIN = 3 };

/** A name as on the wire, uncompressed, in lower case. */
struct dns_name {
	uint8_t bytes[DNS_NAME_WIRE_MAX];
	size_t len;
};

/** A place in a message; it never leaves it. */
struct dns_reader {
	const uint8_t *msg;
	size_t len, at;
};

struct dns_head {
	uint16_t id;
	uint16_t questions, answers, authorities;
	bool response, truncated;
	uint8_t opcode, rcode;
};

struct dns_record {
	struct dns_name owner;
	uint16_t type, class;
	uint32_t ttl_s;
	size_t data, data_len; /* in the message */
};

/** Records that are still to be read. */
struct dns_section {
	struct dns_reader r;
	unsigned int left;
};

bool dns_read32(struct dns_reader *r, uint32_t *out);

/** dns_read_head() - the fixed header; the reader is at the question then */
bool dns_read_head(struct dns_reader *r, struct dns_head *head);

/** dns_read_question() - one question of class IN */
bool dns_read_question(struct dns_reader *r, struct dns_name *name, uint16_t *type);

/** dns_read_record() - any record; a TTL with the top bit is 0 (RFC 2181 8) */
bool dns_read_record(struct dns_reader *r, struct dns_record *rec);

/**
 * dns_next_of() - the next record of class IN with this owner and type
 *
 * Return: 1; 0 when there is none; -1 when the section is broken before one.
 */
int dns_next_of(struct dns_section *s, const struct dns_name *owner, enum dns_type type,
		struct dns_record *rec);

/**
 * dns_follow() - go where the CNAMEs of a name lead
 * @answers:	not changed; records may stand in any order
 * @name:	in: asked for; out: what has no CNAME any more
 * @ttl_s:	lessened to the least TTL on the way
 *
 * Return: the number of CNAMEs, -1: broken, or more than DNS_CHAIN_MAX (a loop, too).
 */
int dns_follow(const struct dns_section *answers, struct dns_name *name, uint32_t *ttl_s);

bool dns_name_equal(const struct dns_name *a, const struct dns_name *b);

/**
 * dns_name_of_text() - one dot may end it
 *
 * Return: false for what DNS cannot hold: empty labels, labels over 63 and names over
 * 253 characters.
 */
bool dns_name_of_text(struct dns_name *out, const char *text);

/**
 * dns_name_to_text() - in lower case, without the last dot
 *
 * Return: false for the root and for names that have a character which no dsthost has.
 */
bool dns_name_to_text(char out[DNS_NAME_TEXT_MAX + 1], const struct dns_name *name);

#endif
