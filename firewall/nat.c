// SPDX-License-Identifier: GPL-2.0-or-later
#include "firewall/nat.h"

#include <errno.h>

static bool port_free(const struct flow_table *t, struct flow *flow, uint16_t port)
{
	struct flow_key key;

	flow->nat_port = port;
	key = flow_key_of(flow, FLOW_IN);
	return flow_lookup(t, &key, flow_hash(t, &key), FLOW_NONE) == FLOW_NONE;
}

int nat_choose_port(const struct flow_table *t, struct rng *rng, struct flow *flow)
{
	/* N7: every identifier is good, zero included */
	bool is_port = flow->proto == IPPROTO4_TCP || flow->proto == IPPROTO4_UDP;
	uint32_t min = is_port ? NAT_PORT_MIN : 0;

	if ((flow->client_port != 0 || !is_port) && port_free(t, flow, flow->client_port))
		return 0; /* N9 */
	for (int i = 0; i < NAT_PROBES; i++) {
		uint16_t port = (uint16_t)(min + rng_below(rng, 65536 - min));

		if (port_free(t, flow, port))
			return 0;
	}
	return -EADDRINUSE;
}

void nat_set_deltas(struct flow *flow, uint32_t client_raw4, uint32_t nat_raw4)
{
	uint64_t addr = csum_diff32(client_raw4, nat_raw4);
	uint64_t port = csum_diff16(raw_be16(flow->client_port), raw_be16(flow->nat_port));

	flow->ip_delta = csum_fold(addr);
	/* ICMP has no pseudo-header */
	flow->l4_delta = csum_fold(flow->proto == IPPROTO4_ICMP ? port : addr + port);
}
