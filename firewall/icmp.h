/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ICMP: our own errors and answers, and other people's errors about a flow.
 */
#ifndef FIREWALL_ICMP_H
#define FIREWALL_ICMP_H

#include "firewall/flow.h"

#define ICMP_UNREACH_HOST 1
#define ICMP_UNREACH_FRAG_NEEDED 4
#define ICMP_UNREACH_HOST_PROHIBITED 10
#define ICMP_UNREACH_ADMIN 13

/** What an ICMP error quotes. */
struct icmp_inner {
	uint16_t ip;	     /* offset of the quoted IP header in header[] */
	uint16_t l4;	     /* of the quoted upper layer */
	uint16_t csum;	     /* of its checksum; 0 when the quote ends before it */
	uint32_t src, dst;   /* as they lie in the packet */
	uint16_t sport, dport; /* host order; echo: identifier, 0 */
	uint8_t proto;
	uint8_t icmp_type;   /* of a quoted echo */
};

/** icmp_is_error() - a type that travels with a flow (I2); others do not (I6) */
static inline bool icmp_is_error(uint8_t type)
{
	return type == ICMP_UNREACH || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAM;
}

/**
 * icmp_error_build() - turn a frame into an ICMP error about itself
 * @f:		as it was received (I8); becomes a reply without segments
 * @src, @dst:	of the error, as they lie in packets
 * @info:	last two bytes of the ICMP header: MTU for 3/4
 *
 * Swaps nothing in the Ethernet header; the caller sets it.
 */
void icmp_error_build(struct frame *f, uint32_t src, uint32_t dst, uint8_t type, uint8_t code,
		      uint16_t info);

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
 * @from:	our side's address inside as it is; @to: as it will be
 */
void icmp_translate(struct frame *f, const struct packet *p, const struct icmp_inner *in,
		    const struct flow *flow, enum flow_dir dir, uint32_t from, uint32_t to);

#endif
