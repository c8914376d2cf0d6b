/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Addresses that a client has just been told for a name in its rules. Theory of
 * operation at the head of learn.c. Pure; time is a parameter.
 */
#ifndef FIREWALL_LEARN_H
#define FIREWALL_LEARN_H

#include "firewall/packet.h"
#include "firewall/siphash.h"
#include "rules/named.h"

#define LEARN_SOURCES 512	/* as many as the engine has */
#define LEARN_ADDRS 4096	/* of all sources */
#define LEARN_SOURCE_ADDRS 256	/* of one */
#define LEARN_QUERIES 16	/* of one source that wait for their answer */
#define LEARN_QUERY_MS 10000
#define LEARN_TTL_MIN_S 600	/* a floor: flows outlive the TTLs of CDNs */
#define LEARN_TTL_MAX_S 86400

struct learn;

int learn_new(struct learn **out, const uint8_t key[16]);
void learn_free(struct learn **l);

/** learn_name() - the number of a name (fits ruleset_named()) */
uint64_t learn_name(void *l, const char *name);

/**
 * learn_rules() - which names a source is interested in
 * @rules:	from ruleset_named(); taken over; NULL: none
 *
 * Addresses of names that it no longer has are forgotten.
 */
void learn_rules(struct learn *l, uint16_t source, uint8_t family, struct named_rule *rules,
		 size_t count);

/**
 * learn_wildcards() - of these names, subdomains count too
 * @names:	separated by spaces, a last dot of each is nothing; NULL: none
 *
 * Return: 0 or -ENOMEM (then there are none).
 */
int learn_wildcards(struct learn *l, uint16_t source, const char *names);

/** learn_forget() - everything about a source */
void learn_forget(struct learn *l, uint16_t source);

/**
 * learn_query() - a query passes on its way to a DNS server
 * @flow:	the flow it belongs to: an answer in another one does not count
 */
void learn_query(struct learn *l, uint16_t source, uint32_t flow, const uint8_t *msg, size_t len,
		 uint64_t now_ms);

/** learn_answer() - an answer passes on its way to the client */
void learn_answer(struct learn *l, uint16_t source, uint32_t flow, const uint8_t *msg, size_t len,
		  uint64_t now_ms);

/**
 * learn_match() - the first rule that matches because of what was learned
 *
 * Return: false: none; else its index in *rule and its verdict.
 */
bool learn_match(const struct learn *l, uint16_t source, const struct rule_packet *pkt,
		 uint64_t now_ms, uint32_t *rule, enum rule_verdict *verdict);

/** learn_each() - what is known for a source now */
void learn_each(const struct learn *l, uint16_t source, uint64_t now_ms,
		void (*fn)(void *arg, uint64_t name, const struct ipkey *addr, uint64_t left_ms),
		void *arg);

/** learn_check() - abort unless all invariants hold; for tests */
void learn_check(const struct learn *l);

#endif
