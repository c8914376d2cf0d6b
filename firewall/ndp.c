// SPDX-License-Identifier: GPL-2.0-or-later
#include "firewall/ndp.h"
#include "firewall/csum.h"

#define ND_LEN 24 /* without options */
#define ND_TARGET 8
#define ND_OPTIONS 24
#define ND_HOPS 255 /* RFC 4861 7.1: nobody forwarded it */

#define NA_ROUTER 0x80
#define NA_SOLICITED 0x40
#define NA_OVERRIDE 0x20

#define OPT_SOURCE_MAC 1
#define OPT_TARGET_MAC 2

const uint8_t ndp_all_nodes_mac[6] = { 0x33, 0x33, 0, 0, 0, 1 };

struct ipkey ndp_all_nodes(void)
{
	static const uint8_t bytes[16] = { 0xff, 0x02, [15] = 1 };

	return ipkey6(bytes);
}

static uint64_t nd_pseudo(const struct packet *p)
{
	uint64_t sum = (uint64_t)raw_be16(PROTO_ICMP6) + raw_be16(p->l4_len);

	return csum_bytes(&p->dst, sizeof(p->dst), csum_bytes(&p->src, sizeof(p->src), sum));
}

/* Options with lengths that fit; the link-layer address among them. */
static bool nd_options(const uint8_t *opt, size_t len, struct ndp *n)
{
	uint8_t want = n->solicit ? OPT_SOURCE_MAC : OPT_TARGET_MAC;

	for (size_t i = 0; i < len;) {
		if (i + 8 > len || opt[i + 1] == 0 || opt[i + 1] * 8u > len - i)
			return false;
		if (opt[i] == want && opt[i + 1] == 1) {
			memcpy(n->mac, opt + i + 2, 6);
			n->has_mac = true;
		}
		i += opt[i + 1] * 8u;
	}
	return true;
}

bool ndp_parse(const struct frame *f, const struct packet *p, struct ndp *n)
{
	const uint8_t *icmp = f->header + p->l4;

	memset(n, 0, sizeof(*n));
	if (p->ttl != ND_HOPS || p->l4_len < ND_LEN || (size_t)p->l4 + p->l4_len > f->header_len ||
	    icmp[1] != 0)
		return false;
	if (p->icmp_type != ICMP6_NEIGHBOUR_SOLICIT && p->icmp_type != ICMP6_NEIGHBOUR_ADVERT)
		return false;
	if (f->csum != CSUM_PARTIAL &&
	    csum_fold(csum_bytes(icmp, p->l4_len, nd_pseudo(p))) != 0xffff)
		return false;
	n->solicit = p->icmp_type == ICMP6_NEIGHBOUR_SOLICIT;
	n->solicited = !n->solicit && (icmp[4] & NA_SOLICITED);
	n->target = ipkey6(icmp + ND_TARGET);
	if (icmp[ND_TARGET] == 0xff)
		return false; /* a group has no MAC of its own */
	return nd_options(icmp + ND_OPTIONS, p->l4_len - (size_t)ND_OPTIONS, n);
}

/* The Ethernet and IPv6 headers around an ND message, and its checksum. */
static void nd_finish(struct frame *f, const struct ipkey *src, const struct ipkey *dst,
		      const uint8_t eth_src[6], const uint8_t eth_dst[6])
{
	struct packet p = { .src = *src, .dst = *dst, .l4_len = NDP_LEN };
	uint8_t *h = f->header, *icmp = h + IP6_OFF + IP6_LEN;

	memcpy(h + ETH_DST, eth_dst, 6);
	memcpy(h + ETH_SRC, eth_src, 6);
	put_be16(h + ETH_TYPE, ETHERTYPE_IP6);
	memset(h + IP6_OFF, 0, IP6_LEN);
	h[IP6_OFF] = 0x60;
	put_be16(h + IP6_PLEN, NDP_LEN);
	h[IP6_NEXT] = PROTO_ICMP6;
	h[IP6_HOPS] = ND_HOPS;
	memcpy(h + IP6_SRC, src->w, 16);
	memcpy(h + IP6_DST, dst->w, 16);
	put_raw16(icmp + ICMP_CSUM,
		  (uint16_t)~csum_fold(csum_bytes(icmp, NDP_LEN, nd_pseudo(&p))));
	f->header_len = NDP_FRAME_LEN;
	f->len = NDP_FRAME_LEN;
	f->nseg = 0;
	f->csum = CSUM_NONE;
	f->csum_start = 0;
	f->csum_offset = 0;
	f->gso = GSO_NONE;
	f->gso_size = 0;
}

static void nd_body(struct frame *f, uint8_t type, uint8_t flags, const struct ipkey *target,
		    uint8_t option, const uint8_t mac[6])
{
	uint8_t *icmp = f->header + IP6_OFF + IP6_LEN;

	memset(icmp, 0, NDP_LEN);
	icmp[0] = type;
	icmp[4] = flags;
	memcpy(icmp + ND_TARGET, target->w, 16);
	icmp[ND_OPTIONS] = option;
	icmp[ND_OPTIONS + 1] = 1;
	memcpy(icmp + ND_OPTIONS + 2, mac, 6);
}

void ndp_advertise(struct frame *f, const struct ipkey *target, const struct ipkey *dst,
		   const uint8_t mac[6], bool router, const uint8_t eth_dst[6])
{
	struct ipkey all = ndp_all_nodes(), src = *target, to = *dst;
	uint8_t flags = NA_OVERRIDE, from[6], eth[6];

	if (router)
		flags |= NA_ROUTER;
	if (!ipkey_equal(&to, &all))
		flags |= NA_SOLICITED;
	memcpy(from, mac, 6); /* the caller's may lie in the frame */
	memcpy(eth, eth_dst, 6);
	nd_body(f, ICMP6_NEIGHBOUR_ADVERT, flags, &src, OPT_TARGET_MAC, from);
	nd_finish(f, &src, &to, from, eth);
}

void ndp_solicit(struct frame *f, const struct ipkey *target, const struct ipkey *src,
		 const uint8_t mac[6])
{
	static const uint8_t prefix[13] = { 0xff, 0x02, [11] = 0x01, [12] = 0xff };
	const uint8_t *t = (const uint8_t *)target->w;
	uint8_t group[16], eth[6] = { 0x33, 0x33, 0xff, t[13], t[14], t[15] };
	struct ipkey dst;

	memcpy(group, prefix, sizeof(prefix)); /* RFC 4291 2.7.1 */
	memcpy(group + 13, t + 13, 3);
	dst = ipkey6(group);
	nd_body(f, ICMP6_NEIGHBOUR_SOLICIT, 0, target, OPT_SOURCE_MAC, mac);
	nd_finish(f, src, &dst, mac, eth);
}

bool ndp_is_solicited_mac(const uint8_t mac[6], const struct ipkey *addr)
{
	const uint8_t *a = (const uint8_t *)addr->w;

	return mac[0] == 0x33 && mac[1] == 0x33 && mac[2] == 0xff && mac[3] == a[13] &&
	       mac[4] == a[14] && mac[5] == a[15];
}
