// SPDX-License-Identifier: GPL-2.0-or-later
#include "firewall/mapping.h"

static uint16_t *use_of(struct port_use *use, const struct flow *flow)
{
	return &use->count[flow->family == 6][flow->proto == PROTO_UDP][flow->nat_port];
}

void port_use_add(struct port_use *use, const struct flow *flow)
{
	uint16_t *count = use_of(use, flow);

	if (proto_has_ports(flow->proto) && *count != UINT16_MAX)
		++*count;
}

void port_use_del(struct port_use *use, const struct flow *flow)
{
	uint16_t *count = use_of(use, flow);

	if (proto_has_ports(flow->proto) && *count != UINT16_MAX)
		--*count;
}

struct flow_key mapping_key(const struct flow *flow)
{
	return flow_key_make(FLOW_OUT, flow->family, flow->proto, flow->iface,
			     (struct ipkey){ { 0, 0 } }, 0, flow->client_port);
}

void mapping_init(struct flow *map, const struct flow *flow)
{
	*map = (struct flow){
		.client_port = flow->client_port,
		.iface = flow->iface,
		.proto = flow->proto,
		.family = flow->family,
		.source = flow->source,
		.epoch = flow->epoch,
		.state = FLOW_MAPPING,
		.timer = TIMER_MAPPING,
		.rank = RANK_OPENING,
	};
}

struct choice {
	const struct flow_table *table;
	const struct port_use *use;
	struct flow *map;
};

static bool exclusive(void *arg, uint16_t port)
{
	struct choice *c = arg;

	c->map->nat_port = port;
	return c->use->count[c->map->family == 6][c->map->proto == PROTO_UDP][port] == 0 &&
	       flow_lookup_in(c->table, c->map) == FLOW_NONE;
}

int mapping_choose_port(const struct flow_table *t, const struct port_use *use, struct rng *rng,
			struct flow *map)
{
	struct choice c = { t, use, map };

	return nat_choose_port(rng, map, exclusive, &c);
}
