/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Neighbour discovery (RFC 4861): answers for clients, our own address on the
 * uplink, and finding the gateway's MAC. Nothing is ever learned from a client.
 */
#ifndef FIREWALL_NDP_H
#define FIREWALL_NDP_H

#include "firewall/packet.h"

#define NDP_LEN 32 /* solicitation or advertisement, with one link-layer address */
#define NDP_FRAME_LEN (ETH_LEN + IP6_LEN + NDP_LEN)

/** ndp_is_link() - an ICMPv6 type that never leaves its link (I7, Q8) */
static inline bool ndp_is_link(uint8_t type)
{
	return (type >= ICMP6_MLD_FIRST && type <= ICMP6_REDIRECT) || type == ICMP6_MLD2_REPORT;
}

/** A neighbour solicitation or advertisement. */
struct ndp {
	struct ipkey target;
	uint8_t mac[6];
	bool solicit;	/* else advertisement */
	bool has_mac;	/* of the sender (solicit) or the target (advertisement) */
	bool solicited; /* of an advertisement: it answers somebody */
};

/**
 * ndp_parse() - read a solicitation or advertisement
 * @p:	an unfragmented ICMPv6 packet
 *
 * Return: false unless it is one and valid: hop limit, code, checksum, options
 * (RFC 4861 7.1). The checksum may be left to the receiver (CSUM_PARTIAL).
 */
bool ndp_parse(const struct frame *f, const struct packet *p, struct ndp *n);

/**
 * ndp_advertise() - make the frame "target is at mac"
 * @dst:	whom to tell; all nodes for an announcement
 * @router:	we forward packets for others
 * @eth_dst:	Ethernet destination
 *
 * The source is the target itself.
 */
void ndp_advertise(struct frame *f, const struct ipkey *target, const struct ipkey *dst,
		   const uint8_t mac[6], bool router, const uint8_t eth_dst[6]);

/** ndp_solicit() - make the frame "who has target", from @src at @mac */
void ndp_solicit(struct frame *f, const struct ipkey *target, const struct ipkey *src,
		 const uint8_t mac[6]);

/** ndp_all_nodes(), ndp_all_nodes_mac - ff02::1 */
struct ipkey ndp_all_nodes(void);
extern const uint8_t ndp_all_nodes_mac[6];

/** ndp_is_solicited_mac() - the Ethernet group in which @addr listens (RFC 2464 7) */
bool ndp_is_solicited_mac(const uint8_t mac[6], const struct ipkey *addr);

#endif
