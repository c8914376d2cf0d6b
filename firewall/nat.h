/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Masquerade: which port a flow gets on the uplink, and rewriting its packets.
 *
 * Mapping is endpoint dependent: a port is taken only against the same remote
 * address and port, so the inner key of the flow table is the whole book-keeping
 * of ports, and there is nothing to leak (packets.md 2.1). The flows of a source
 * with endpoint-independent mapping share the port of a mapping (mapping.h).
 */
#ifndef FIREWALL_NAT_H
#define FIREWALL_NAT_H

#include "firewall/csum.h"
#include "firewall/flow.h"
#include "firewall/rng.h"

#define NAT_PROBES 128	   /* N3: random tries before giving up */
#define NAT_PORT_MIN 1024u /* N1: of random ports */

/**
 * nat_port_holder() - who is in the way of a flow with this port
 * @flow:	with its tuple; not in the table yet; nat_port is set to @port
 *
 * Return: the flow to the same remote address and port that has it (N9), the mapping
 * of anybody that has it (N10), or FLOW_NONE: it is free.
 */
uint32_t nat_port_holder(const struct flow_table *t, struct flow *flow, uint16_t port);

/**
 * nat_choose_port() - set flow->nat_port
 * @flow:	with its tuple; not in the table yet
 * @free:	whether flow->nat_port may be this one
 *
 * The client's own port if it is free (N9), else a random one (N1, RFC 6056). A
 * protocol without ports has only one choice (U11).
 *
 * Return: 0, or -EADDRINUSE when NAT_PROBES tries found none (N3).
 */
int nat_choose_port(struct rng *rng, struct flow *flow, bool (*free)(void *arg, uint16_t port),
		    void *arg);

/**
 * nat_set_deltas() - compute the checksum deltas of a flow whose ports are set
 * @client:	the source address in the client's packets
 * @nat:	ours
 */
void nat_set_deltas(struct flow *flow, const struct ipkey *client, const struct ipkey *nat);

/* Write the addresses and decrement the TTL; the IPv4 header's checksum follows. */
static inline void nat_rewrite_ip(uint8_t *h, const struct flow *flow, enum flow_dir dir,
				  const struct ipkey *addr, uint16_t delta)
{
	bool dnat = (flow->flags & FLOW_DNAT) != 0;
	uint16_t ttl_old;

	if (flow->family == 6) {
		memcpy(h + (dir == FLOW_OUT ? IP6_SRC : IP6_DST), addr->w, 16);
		h[IP6_HOPS]--;
		return;
	}
	ttl_old = get_raw16(h + IP4_TTL);
	put_raw32(h + (dir == FLOW_OUT ? IP4_SRC : IP4_DST), ipkey_raw4(addr));
	if (__builtin_expect(dnat, 0)) {
		if (dir == FLOW_OUT)
			put_raw32(h + IP4_DST, ipkey_raw4(&flow->remote));
		else
			put_raw32(h + IP4_SRC, flow->orig_dst);
	}
	h[IP4_TTL]--; /* 2.3; the caller has checked that it is above one */
	put_raw16(h + IP4_CSUM,
		  csum_update(get_raw16(h + IP4_CSUM),
			      csum_fold((uint64_t)delta +
					csum_diff16(ttl_old, get_raw16(h + IP4_TTL)))));
}

/**
 * nat_rewrite() - translate a packet of the flow, decrement its TTL
 * @addr:	the new source (out) or destination (in)
 */
static inline void nat_rewrite(struct frame *f, const struct packet *p, const struct flow *flow,
			       enum flow_dir dir, const struct ipkey *addr)
{
	uint8_t *h = f->header;
	uint16_t mirror = dir == FLOW_OUT ? 0 : 0xffff; /* the opposite delta */
	uint16_t ip_delta = flow->ip_delta ^ mirror;
	uint16_t l4_delta = flow->l4_delta ^ mirror;
	uint16_t port = dir == FLOW_OUT ? flow->nat_port : flow->client_port;
	bool partial = f->csum == CSUM_PARTIAL;
	uint16_t csum;

	nat_rewrite_ip(h, flow, dir, addr, ip_delta);
	if (p->csum == 0)
		return;
	csum = get_raw16(h + p->csum);
	/* P4: the sum of a partial checksum has the addresses only */
	switch (p->proto) {
	case PROTO_TCP:
		put_be16(h + p->l4 + (dir == FLOW_OUT ? 0 : 2), port);
		csum = partial ? csum_update_partial(csum, ip_delta) : csum_update(csum, l4_delta);
		break;
	case PROTO_UDP:
		put_be16(h + p->l4 + (dir == FLOW_OUT ? 0 : 2), port);
		csum = partial ? csum_update_partial(csum, ip_delta)
			       : csum_update_udp(csum, l4_delta);
		break;
	case PROTO_ICMP: /* no pseudo-header, so nothing in a partial one */
		put_be16(h + p->l4 + ICMP_ID, port);
		if (!partial)
			csum = csum_update_icmp(csum, l4_delta);
		break;
	case PROTO_ICMP6:
		put_be16(h + p->l4 + ICMP_ID, port);
		csum = partial ? csum_update_partial(csum, ip_delta) : csum_update(csum, l4_delta);
		break;
	default: /* U11: addresses only */
		csum = partial ? csum_update_partial(csum, ip_delta)
			       : csum_update_udp(csum, ip_delta);
		break;
	}
	put_raw16(h + p->csum, csum);
}

#endif
