// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Other people's errors about a flow (RFC 5508 4, RFC 4884, RFC 5927).
 *
 * An error quotes the packet that caused it, as that packet looked where the error
 * was made: from outside it quotes our translation, from a client what we sent it.
 * So the quote is translated against the way the error goes: an error that goes in
 * quotes a packet that went out, whose source turns from ours into the client's.
 * All checksums follow by difference: the quoted IP header's, the quoted upper
 * layer's if the quote reaches that far, and the error's own, which covers them.
 */
#include "firewall/csum.h"
#include "firewall/icmp.h"

static enum drop_reason inner_ports(const struct frame *f, uint8_t family, struct icmp_inner *in)
{
	const uint8_t *l4 = f->header + in->l4;
	size_t have = (size_t)f->header_len - in->l4, csum;

	/* RFC 792: at least eight bytes, where there were as many */
	if (have < 8 && (proto_has_ports(in->proto) || proto_is_icmp(family, in->proto)))
		return DROP_L4_HEADER; /* P1 */
	switch (in->proto) {
	case PROTO_TCP:
		csum = TCP_CSUM;
		in->seq = get_be32(l4 + 4);
		break;
	case PROTO_UDP:
		csum = UDP_CSUM;
		break;
	case PROTO_UDPLITE:
	case PROTO_DCCP:
		in->csum = have < 8 ? 0 : (uint16_t)(in->l4 + UDP_CSUM);
		return DROP_NONE;
	case PROTO_ICMP:
	case PROTO_ICMP6:
		if (!proto_is_icmp(family, in->proto))
			return DROP_NONE; /* U11: a stranger in this family */
		/* I5, RFC 1122 3.2.2: only a query can be the cause */
		in->icmp_type = l4[0];
		if (!icmp_is_echo(family, l4[0]) && !icmp_is_echo_reply(family, l4[0]))
			return DROP_ICMP_TYPE;
		in->sport = get_be16(l4 + ICMP_ID);
		in->csum = (uint16_t)(in->l4 + ICMP_CSUM);
		return DROP_NONE;
	default:
		return DROP_NONE; /* U11 */
	}
	in->sport = get_be16(l4);
	in->dport = get_be16(l4 + 2);
	/* I2: with eight bytes of TCP there is no checksum to correct */
	in->csum = csum + 2 <= have ? (uint16_t)(in->l4 + csum) : 0;
	return DROP_NONE;
}

static enum drop_reason inner_ip4(const struct frame *f, size_t at, struct icmp_inner *in)
{
	const uint8_t *ip = f->header + at;
	size_t ihl;

	if (at + IP4_LEN > f->header_len)
		return DROP_L4_HEADER; /* P1 */
	ihl = (size_t)(ip[0] & 15) * 4;
	if (ip[0] >> 4 != 4 || ihl < IP4_LEN)
		return DROP_L4_HEADER;
	if (get_be16(ip + 6) & IP4_FRAG_MASK)
		return DROP_ICMP_NO_FLOW; /* no ports in there */
	if (at + ihl > f->header_len)
		return DROP_L4_HEADER;
	in->l4 = (uint16_t)(at + ihl);
	in->proto = ip[9];
	in->src = ipkey4(get_raw32(ip + 12));
	in->dst = ipkey4(get_raw32(ip + 16));
	return DROP_NONE;
}

static enum drop_reason inner_ip6(const struct frame *f, size_t at, struct icmp_inner *in)
{
	const uint8_t *ip = f->header + at;
	struct ip6_chain c;

	if (at + IP6_LEN > f->header_len || ip[0] >> 4 != 6 ||
	    ip6_walk(f->header, at, f->header_len, false, &c) != DROP_NONE)
		return DROP_L4_HEADER; /* P1 */
	if (c.later)
		return DROP_ICMP_NO_FLOW; /* no ports in there */
	in->l4 = (uint16_t)c.at;
	in->proto = c.proto;
	in->src = ipkey6(ip + 8);
	in->dst = ipkey6(ip + 24);
	return DROP_NONE;
}

enum drop_reason icmp_inner_parse(const struct frame *f, const struct packet *p,
				  struct icmp_inner *in)
{
	size_t at = (size_t)p->l4 + ICMP_LEN;
	enum drop_reason reason;

	memset(in, 0, sizeof(*in));
	reason = p->family == 6 ? inner_ip6(f, at, in) : inner_ip4(f, at, in);
	if (reason != DROP_NONE)
		return reason;
	in->ip = (uint16_t)at;
	/* no packet goes from or to nobody, but mappings are found by that */
	if (ipkey_none(&in->src) || ipkey_none(&in->dst))
		return DROP_ICMP_NO_FLOW;
	return inner_ports(f, p->family, in);
}

/* --- translation ------------------------------------------------------------------- */

/* Store bytes, an even number at an even place; add the change to a delta. */
static void change(uint8_t *at, const void *new, size_t len, uint64_t *delta)
{
	uint64_t minus = csum_fold(csum_bytes(at, len, 0));

	*delta += (uint16_t)~minus + csum_bytes(new, len, 0);
	memcpy(at, new, len);
}

static void change16(uint8_t *at, uint16_t new, uint64_t *delta)
{
	change(at, &new, 2, delta);
}

/* An address inside; @addrs: what the quoted upper layer's checksum sees of it. */
static void change_addr(uint8_t *ip, uint8_t family, bool src, const struct ipkey *to,
			uint64_t *addrs)
{
	size_t at = family == 6 ? (src ? 8 : 24) : (src ? 12 : 16);

	change(ip + at, to->w, family == 6 ? 16 : 4, addrs);
}

static void inner_translate(struct frame *f, const struct icmp_inner *in, const struct flow *flow,
			    enum flow_dir dir, const struct ipkey *client,
			    const struct ipkey *nat, uint64_t *delta)
{
	uint8_t *ip = f->header + in->ip, *l4 = f->header + in->l4;
	/* our side is the source of what an error from outside quotes */
	bool is_src = dir == FLOW_IN;
	uint16_t port = is_src ? flow->client_port : flow->nat_port;
	uint16_t l4_delta = is_src ? (uint16_t)~flow->l4_delta : flow->l4_delta;
	struct ipkey far = dir == FLOW_IN ? ipkey4(flow->orig_dst) : flow->remote;
	uint64_t addrs = 0;

	change_addr(ip, flow->family, is_src, is_src ? client : nat, &addrs);
	if (flow->flags & FLOW_DNAT)
		change_addr(ip, flow->family, !is_src, &far, &addrs);
	*delta += csum_fold(addrs);
	if (flow->family == 4)
		change16(ip + 10, csum_update(get_raw16(ip + 10), csum_fold(addrs)), delta);
	if (proto_has_ports(in->proto))
		change16(l4 + (is_src ? 0 : 2), raw_be16(port), delta);
	else if (proto_is_icmp(flow->family, in->proto))
		change16(l4 + ICMP_ID, raw_be16(port), delta);
	if (in->csum) {
		uint8_t *at = f->header + in->csum;
		uint16_t csum = get_raw16(at);

		csum = in->proto == PROTO_TCP || in->proto == PROTO_ICMP6
			       ? csum_update(csum, l4_delta)
		       : in->proto == PROTO_ICMP ? csum_update_icmp(csum, l4_delta)
						 : csum_update_udp(csum, l4_delta);
		change16(at, csum, delta);
	}
}

void icmp_translate(struct frame *f, const struct packet *p, const struct icmp_inner *in,
		    const struct flow *flow, enum flow_dir dir, const struct ipkey *client,
		    const struct ipkey *nat)
{
	uint8_t *h = f->header;
	const struct ipkey *near = dir == FLOW_OUT ? nat : client;
	bool far = (flow->flags & FLOW_DNAT) != 0;
	struct ipkey far_to = dir == FLOW_IN ? ipkey4(flow->orig_dst) : flow->remote;
	uint64_t inner = 0, outer = 0;
	uint16_t ttl, csum;

	inner_translate(f, in, flow, dir, client, nat, &inner);
	change_addr(h + ETH_LEN, p->family, dir == FLOW_OUT, near, &outer);
	/* the other end itself is known by another address; a router is not */
	if (far && (dir == FLOW_OUT || ipkey_equal(&p->src, &flow->remote)))
		change_addr(h + ETH_LEN, p->family, dir == FLOW_IN, &far_to, &outer);
	csum = get_raw16(h + p->csum);
	if (p->family == 6) {
		csum = f->csum == CSUM_PARTIAL
			       ? csum_update_partial(csum, csum_fold(outer))
			       : csum_update(csum, csum_fold(inner + csum_fold(outer)));
		h[IP6_HOPS]--;
	} else {
		if (f->csum != CSUM_PARTIAL)
			csum = csum_update(csum, csum_fold(inner));
		ttl = get_raw16(h + IP4_TTL);
		h[IP4_TTL]--;
		outer = csum_fold(outer) + (uint64_t)csum_diff16(ttl, get_raw16(h + IP4_TTL));
		put_raw16(h + IP4_CSUM, csum_update(get_raw16(h + IP4_CSUM), csum_fold(outer)));
	}
	put_raw16(h + p->csum, csum);
}
