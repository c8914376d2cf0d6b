// SPDX-License-Identifier: GPL-2.0-or-later
#include "firewall/nat.h"

#include <errno.h>

uint32_t nat_port_holder(const struct flow_table *t, struct flow *flow, uint16_t port)
{
	struct flow_key key;
	uint32_t holder;

	flow->nat_port = port;
	holder = flow_lookup_in(t, flow);
	if (holder != FLOW_NONE || t->mappings == 0 || !proto_has_ports(flow->proto))
		return holder;
	key = flow_key_make(FLOW_IN, flow->family, flow->proto, FLOW_ZONE_UPLINK,
			    (struct ipkey){ { 0, 0 } }, 0, port);
	return flow_lookup(t, &key, flow_hash(t, &key), FLOW_NONE);
}

int nat_choose_port(struct rng *rng, struct flow *flow, bool (*free)(void *arg, uint16_t port),
		    void *arg)
{
	bool is_port = proto_has_ports(flow->proto);
	/* N7: every identifier is good, zero included */
	uint32_t min = is_port ? NAT_PORT_MIN : 0;

	if ((flow->client_port != 0 || !is_port) && free(arg, flow->client_port))
		return 0; /* N9 */
	if (!is_port && !proto_is_icmp(flow->family, flow->proto))
		return -EADDRINUSE; /* U11 */
	for (int i = 0; i < NAT_PROBES; i++) {
		uint16_t port = (uint16_t)(min + rng_below(rng, 65536 - min));

		if (free(arg, port))
			return 0;
	}
	return -EADDRINUSE;
}

/* What a checksum moves by when one address takes the place of another. */
static uint64_t diff_addr(const struct ipkey *from, const struct ipkey *to)
{
	struct ipkey old = { { ~from->w[0], ~from->w[1] } };

	/* the unused half of an IPv4 key turns into minus zero */
	return csum_bytes(&old, sizeof(old), csum_bytes(to, sizeof(*to), 0));
}

void nat_set_deltas(struct flow *flow, const struct ipkey *client, const struct ipkey *nat)
{
	uint64_t addr = diff_addr(client, nat);
	uint64_t port = csum_diff16(raw_be16(flow->client_port), raw_be16(flow->nat_port));

	if (flow->flags & FLOW_DNAT)
		addr += csum_diff32(flow->orig_dst, ipkey_raw4(&flow->remote));
	flow->ip_delta = csum_fold(addr);
	/* ICMP over IPv4 has no pseudo-header */
	flow->l4_delta = csum_fold(flow->proto == PROTO_ICMP ? port : addr + port);
}
