/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ICMP and ICMPv6: our own errors and answers, and other people's errors about a
 * flow.
 */
#ifndef FIREWALL_ICMP_H
#define FIREWALL_ICMP_H

#include "firewall/flow.h"

#define ICMP_UNREACH_HOST 1
#define ICMP_UNREACH_FRAG_NEEDED 4
#define ICMP_UNREACH_HOST_PROHIBITED 10
#define ICMP_UNREACH_ADMIN 13
#define ICMP_TIME_TRANSIT 0
#define ICMP_TIME_REASSEMBLY 1

#define ICMP6_UNREACH_NO_ROUTE 0
#define ICMP6_UNREACH_ADMIN 1

/** Errors that we send; icmp_error_build() knows their numbers by family. */
enum icmp_error {
	ICMP_ERR_ADMIN,		  /* 3/13, 1/1: rules or quotas forbid it */
	ICMP_ERR_HOST_PROHIBITED, /* 3/10, 1/1: the firewall itself */
	ICMP_ERR_UNREACHABLE,	  /* 3/1, 1/0: no uplink */
	ICMP_ERR_TOO_BIG,	  /* 3/4, 2/0, with the MTU */
	ICMP_ERR_TTL,		  /* 11/0, 3/0 */
	ICMP_ERR_REASSEMBLY,	  /* 11/1, 3/1 */
	ICMP_ERRS
};

/** What an ICMP error quotes. */
struct icmp_inner {
	struct ipkey src, dst;
	uint32_t seq;	     /* of a quoted TCP segment */
	uint16_t ip;	     /* offset of the quoted IP header in header[] */
	uint16_t l4;	     /* of the quoted upper layer */
	uint16_t csum;	     /* of its checksum; 0 when the quote ends before it */
	uint16_t sport, dport; /* host order; echo: identifier, 0 */
	uint8_t proto;
	uint8_t icmp_type;   /* of a quoted echo */
};

/** icmp_is_error() - a type that travels with a flow (I2); others do not (I6, I7) */
static inline bool icmp_is_error(uint8_t family, uint8_t type)
{
	if (family == 6)
		return type >= ICMP6_UNREACH && type <= ICMP6_PARAM;
	return type == ICMP_UNREACH || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAM;
}

/**
 * icmp_error_build() - turn a frame into an ICMP error about itself
 * @f:		as it was received (I8); becomes a reply without segments
 * @src, @dst:	of the error
 * @mtu:	for ICMP_ERR_TOO_BIG
 *
 * Swaps nothing in the Ethernet header; the caller sets it.
 */
void icmp_error_build(struct frame *f, uint8_t family, const struct ipkey *src,
		      const struct ipkey *dst, enum icmp_error error, uint16_t mtu);

/** icmp_echo_build() - turn an echo request into its reply, payload kept (Q5) */
void icmp_echo_build(struct frame *f, const struct packet *p);

/**
 * icmp_inner_parse() - read what an error quotes
 *
 * Return: DROP_NONE or why it cannot belong to a flow (I3, I5).
 */
enum drop_reason icmp_inner_parse(const struct frame *f, const struct packet *p,
				  struct icmp_inner *in);

/** icmp_checksum_ok() - false when the error's checksum is seen to be wrong */
bool icmp_checksum_ok(const struct frame *f, const struct packet *p);

/**
 * icmp_translate() - translate an error about a flow, inside and outside (I2)
 * @dir:	the way the error goes
 * @client:	the client's address in its own packets
 * @nat:	ours
 */
void icmp_translate(struct frame *f, const struct packet *p, const struct icmp_inner *in,
		    const struct flow *flow, enum flow_dir dir, const struct ipkey *client,
		    const struct ipkey *nat);

#endif
