/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ARP (RFC 826): proxy answers for clients, our own address on the uplink, and
 * finding the gateway's MAC. Nothing is ever learned from a client (Q6).
 */
#ifndef FIREWALL_ARP_H
#define FIREWALL_ARP_H

#include "firewall/packet.h"

#define ARP_FRAME_LEN (ETH_LEN + 28)

/** An ARP packet's fields; addresses as they lie in packets. */
struct arp {
	bool request; /* else reply */
	uint8_t sender_mac[6], target_mac[6];
	uint32_t sender, target;
};

/** The MAC of our side of a vif, and of a gateway that did not answer. */
extern const uint8_t arp_backend_mac[6];

/** arp_parse() - Return: whether it is a well-formed Ethernet/IPv4 ARP packet */
bool arp_parse(const struct frame *f, struct arp *arp);

/**
 * arp_build() - make the frame an ARP packet
 * @eth_dst:	Ethernet destination
 */
void arp_build(struct frame *f, const struct arp *arp, const uint8_t eth_dst[6]);

/**
 * arp_answer() - turn a request into the answer "@mac has it"
 */
void arp_answer(struct frame *f, const struct arp *request, const uint8_t mac[6]);

#endif
