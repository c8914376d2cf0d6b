/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a DNS answer says about one name: pure, for the resolver's helper.
 */
#ifndef FIREWALL_NAME_ANSWER_H
#define FIREWALL_NAME_ANSWER_H

#include "firewall/dns_wire.h"
#include "rules/addr.h"

#define NAME_SET_MAX 64 /* of one answer; what is beyond is left out */

/** How a question ended. */
enum dns_outcome {
	DNS_ADDRESSES,	    /* an authentic answer, perhaps without any address */
	DNS_NOT_FOUND,	    /* NXDOMAIN */
	DNS_SERVER_FAILURE, /* SERVFAIL, REFUSED and the like; a referral */
	DNS_TIMEOUT,	    /* nobody answered */
	DNS_BAD_ANSWER,	    /* broken, or its CNAMEs lead nowhere */
	DNS_OUTCOMES,
};

struct name_answer {
	enum dns_outcome outcome;
	uint32_t ttl_s; /* the least of chain and addresses; or of the emptiness */
	bool more;	/* there were more than NAME_SET_MAX addresses */
	size_t count;
	struct addr addrs[NAME_SET_MAX];
};

/** dns_name_is_possible() - whether DNS can hold the name (dns_name_of_text()) */
bool dns_name_is_possible(const char *name);

/**
 * name_answer_parse() - read a whole DNS message
 * @name:	the name that was asked for, as text
 * @family:	4: the question was for A, 6: for AAAA
 *
 * Records of other names than the question's and those its CNAMEs lead to are
 * ignored. Never reads beyond @len, needs no memory but @out.
 */
void name_answer_parse(struct name_answer *out, const uint8_t *msg, size_t len, const char *name,
		      uint8_t family);

/** dns_outcome_text() - "no such name" and the like, for log and status */
const char *dns_outcome_text(enum dns_outcome outcome);

#endif
