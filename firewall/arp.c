// SPDX-License-Identifier: GPL-2.0-or-later
#include "firewall/arp.h"

#define ARP_OFF ETH_LEN
#define ARP_OP (ARP_OFF + 6)
#define ARP_SHA (ARP_OFF + 8)
#define ARP_SPA (ARP_OFF + 14)
#define ARP_THA (ARP_OFF + 18)
#define ARP_TPA (ARP_OFF + 24)

const uint8_t arp_backend_mac[6] = { 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff };

/* Ethernet, IPv4, address lengths 6 and 4 */
static const uint8_t arp_types[6] = { 0x00, 0x01, 0x08, 0x00, 6, 4 };

bool arp_parse(const struct frame *f, struct arp *arp)
{
	const uint8_t *h = f->header;
	uint16_t op;

	if (f->header_len < ARP_FRAME_LEN)
		return false; /* P1 */
	op = get_be16(h + ARP_OP);
	if (memcmp(h + ARP_OFF, arp_types, sizeof(arp_types)) != 0 || (op != 1 && op != 2))
		return false;
	arp->request = op == 1;
	memcpy(arp->sender_mac, h + ARP_SHA, 6);
	memcpy(arp->target_mac, h + ARP_THA, 6);
	arp->sender = get_raw32(h + ARP_SPA);
	arp->target = get_raw32(h + ARP_TPA);
	return true;
}

void arp_build(struct frame *f, const struct arp *arp, const uint8_t eth_dst[6])
{
	uint8_t *h = f->header;

	memcpy(h + ETH_DST, eth_dst, 6);
	memcpy(h + ETH_SRC, arp->sender_mac, 6);
	put_be16(h + ETH_TYPE, ETHERTYPE_ARP);
	memcpy(h + ARP_OFF, arp_types, sizeof(arp_types));
	put_be16(h + ARP_OP, arp->request ? 1 : 2);
	memcpy(h + ARP_SHA, arp->sender_mac, 6);
	put_raw32(h + ARP_SPA, arp->sender);
	memcpy(h + ARP_THA, arp->target_mac, 6);
	put_raw32(h + ARP_TPA, arp->target);
	f->header_len = ARP_FRAME_LEN;
	f->len = ARP_FRAME_LEN;
	f->nseg = 0;
	f->csum = CSUM_NONE;
	f->csum_start = 0;
	f->csum_offset = 0;
	f->gso = GSO_NONE;
	f->gso_size = 0;
}

void arp_answer(struct frame *f, const struct arp *request, const uint8_t mac[6])
{
	struct arp answer = { .request = false,
			      .sender = request->target,
			      .target = request->sender };

	memcpy(answer.sender_mac, mac, 6);
	memcpy(answer.target_mac, request->sender_mac, 6);
	arp_build(f, &answer, request->sender_mac);
}
