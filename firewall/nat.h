/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Masquerade: which port a flow gets on the uplink, and rewriting its packets.
 *
 * Mapping is endpoint dependent: a port is taken only against the same remote
 * address and port, so the inner key of the flow table is the whole book-keeping
 * of ports, and there is nothing to leak (packets.md 2.1).
 */
#ifndef FIREWALL_NAT_H
#define FIREWALL_NAT_H

#include "firewall/csum.h"
#include "firewall/flow.h"
#include "firewall/rng.h"

#define NAT_PROBES 128	   /* N3: random tries before giving up */
#define NAT_PORT_MIN 1024u /* N1: of random ports */

/**
 * nat_choose_port() - set flow->nat_port
 * @flow:	with its tuple; not in the table yet
 *
 * The client's own port if it is free (N9), else a random one (N1, RFC 6056).
 * Return: 0, or -EADDRINUSE when NAT_PROBES tries found none (N3).
 */
int nat_choose_port(const struct flow_table *t, struct rng *rng, struct flow *flow);

/** nat_set_deltas() - compute the checksum deltas of a flow whose ports are set */
void nat_set_deltas(struct flow *flow, uint32_t client_raw4, uint32_t nat_raw4);

/**
 * nat_rewrite4() - translate a packet of the flow, decrement its TTL
 * @addr:	the new source (out) or destination (in)
 */
static inline void nat_rewrite4(struct frame *f, const struct packet *p, const struct flow *flow,
				enum flow_dir dir, uint32_t addr)
{
	uint8_t *h = f->header;
	uint16_t mirror = dir == FLOW_OUT ? 0 : 0xffff; /* the opposite delta */
	uint16_t ip_delta = flow->ip_delta ^ mirror;
	uint16_t l4_delta = flow->l4_delta ^ mirror;
	uint16_t port = dir == FLOW_OUT ? flow->nat_port : flow->client_port;
	uint16_t ttl_old = get_raw16(h + IP4_TTL), csum;

	put_raw32(h + (dir == FLOW_OUT ? IP4_SRC : IP4_DST), addr);
	h[IP4_TTL]--; /* 2.3; the caller has checked that it is above one */
	put_raw16(h + IP4_CSUM,
		  csum_update(get_raw16(h + IP4_CSUM),
			      csum_fold((uint64_t)ip_delta +
					csum_diff16(ttl_old, get_raw16(h + IP4_TTL)))));

	csum = get_raw16(h + p->csum);
	switch (p->proto) {
	case IPPROTO4_TCP:
		put_be16(h + p->l4 + (dir == FLOW_OUT ? 0 : 2), port);
		/* P4: the sum of a partial checksum has the addresses only */
		csum = f->csum == CSUM_PARTIAL ? csum_update_partial(csum, ip_delta)
					       : csum_update(csum, l4_delta);
		break;
	case IPPROTO4_UDP:
		put_be16(h + p->l4 + (dir == FLOW_OUT ? 0 : 2), port);
		csum = f->csum == CSUM_PARTIAL ? csum_update_partial(csum, ip_delta)
					       : csum_update_udp(csum, l4_delta);
		break;
	default: /* ICMP echo; no pseudo-header, so nothing in a partial one */
		put_be16(h + p->l4 + ICMP_ID, port);
		if (f->csum != CSUM_PARTIAL)
			csum = csum_update_icmp(csum, l4_delta);
		break;
	}
	put_raw16(h + p->csum, csum);
}

#endif
