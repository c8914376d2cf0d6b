/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the daemon and the resolver's helper say to each other.
 *
 * Each message is one packet of a SOCK_SEQPACKET pair and has a fixed size; both
 * sides check every field of what they receive before they use any of it. The
 * helper reads what hosts on the Internet wrote: to the daemon it is a peer like
 * any other, and the worst it can do is to give wrong addresses for names.
 */
#ifndef FIREWALL_NAME_MSG_H
#define FIREWALL_NAME_MSG_H

#include "firewall/name_answer.h"

#define NAME_SERVERS_MAX   4
#define NAME_IN_FLIGHT_MAX 32 /* questions that the helper has at a time */

/** To the helper. */
enum name_request_type {
	NAME_SERVERS = 1, /* from now on ask these; what was asked is void */
	NAME_ASK,
};

struct name_request {
	uint32_t type;
	uint32_t id;	    /* ASK: not 0; the reply has the same */
	uint32_t family;    /* ASK: 4 or 6 */
	uint32_t count;	    /* SERVERS */
	uint8_t servers[NAME_SERVERS_MAX][4]; /* IPv4; unused ones are zero */
	char name[256];	    /* ASK: lower case, NUL terminated, zero filled */
};

/** From the helper. */
enum name_reply_type {
	NAME_HELLO = 1, /* a helper begins; it knows of nothing that was asked before */
	NAME_REPLY,
	NAME_DIED,   /* the one before has ended: detail is its wait status */
	NAME_FAILED, /* it cannot begin: stage and detail, an errno */
};

/** What NAME_FAILED came from. */
enum name_stage {
	NAME_STAGE_NONE, NAME_STAGE_LIMITS, NAME_STAGE_USER, NAME_STAGE_FILTER, NAME_STAGE_ARES,
	NAME_STAGE_FORK, NAME_STAGES,
};

struct name_reply {
	uint32_t type;
	uint32_t id;	  /* REPLY */
	uint32_t family;  /* REPLY: 4 or 6 */
	uint32_t outcome; /* REPLY: enum dns_outcome */
	uint32_t ttl_s;	  /* REPLY, with DNS_ADDRESSES */
	uint32_t count;	  /* REPLY, with DNS_ADDRESSES */
	uint32_t more;	  /* REPLY: 0 or 1 */
	uint32_t stage;	  /* FAILED */
	int32_t detail;	  /* DIED, FAILED */
	uint8_t addrs[NAME_SET_MAX][16]; /* IPv4: the first four bytes; else zero */
};

/** name_servers_request() - @count is at most NAME_SERVERS_MAX; IPv4 only */
void name_servers_request(struct name_request *out, const struct addr *servers, size_t count);

/** name_ask_request() - @name is possible (dns_name_is_possible()) */
void name_ask_request(struct name_request *out, uint32_t id, uint8_t family, const char *name);

/** name_request_check() - whether @len bytes at @bytes are a request; copies it */
bool name_request_check(struct name_request *out, const void *bytes, size_t len);

/** name_reply_make() - a NAME_REPLY */
void name_reply_make(struct name_reply *out, uint32_t id, uint8_t family,
		     const struct name_answer *answer);

/** name_reply_check() - whether @len bytes at @bytes are a reply; copies it */
bool name_reply_check(struct name_reply *out, const void *bytes, size_t len);

/** name_reply_answer() - the content of a NAME_REPLY that was checked */
void name_reply_answer(struct name_answer *out, const struct name_reply *reply);

const char *name_stage_text(enum name_stage stage);

#endif
