// SPDX-License-Identifier: GPL-2.0-or-later
/* The engine's invariants, each once, for tests and fuzzers. */
#include "firewall/engine_impl.h"
#include "firewall/tcp.h"

static void check_mapping(const struct engine *e, const struct flow *map)
{
	uint32_t refs = 0;

	assert(map->rank == (map->mapping > 0 ? RANK_OPEN : RANK_CLOSING));
	assert(map->timer == TIMER_MAPPING && e->port_use);
	for (uint32_t i = 0; i < e->table.fresh; i++) {
		const struct flow *flow = &e->table.flows[i];

		if (flow->state == FLOW_FREE || flow->state == FLOW_MAPPING ||
		    flow->mapping == FLOW_NONE || &e->table.flows[flow->mapping] != map)
			continue;
		refs++;
		assert(flow->nat_port == map->nat_port && flow->source == map->source);
		assert(flow->client_port == map->client_port && flow->iface == map->iface);
	}
	assert(refs == map->mapping);
}

static void check_source_flow(const struct engine *e, uint16_t source, uint32_t index)
{
	const struct flow *flow = &e->table.flows[index];
	const struct iface *iface = &e->ifaces[flow->iface];
	enum fam fam = flow->family == 6 ? V6 : V4;

	assert(flow->source == source && flow->iface < ENGINE_IFACE_MAX);
	assert(iface->conf.kind == IFACE_CLIENT || iface->conf.kind == IFACE_SELF);
	assert(iface->source[fam] == source && e->sources[source].family == flow->family);
	assert(flow->epoch <= e->sources[source].epoch);
	if (flow->state == FLOW_MAPPING) {
		check_mapping(e, flow);
		return;
	}
	/* Q3: never to a client or to ourselves */
	assert(!is_behind(e, flow->family, &flow->remote));
	assert(!ipkey_equal(&flow->remote, &e->nat[fam]));
	if (flow->proto == PROTO_TCP) {
		assert(flow->state >= FLOW_TCP_SYN);
		assert(flow->timer == tcp_timer((enum flow_state)flow->state));
		assert(flow->rank == tcp_rank((enum flow_state)flow->state));
		assert(flow->window[FLOW_OUT].flags & WINDOW_SEEN);
	} else {
		assert(flow->state == FLOW_UNREPLIED || flow->state == FLOW_REPLIED);
		assert(flow->rank == (flow->state == FLOW_REPLIED ? RANK_OPEN : RANK_OPENING));
	}
}

/* Every owner's counters are what its datagrams have. */
static void check_fragments(const struct engine *e)
{
	for (unsigned int i = 0; i < ENGINE_IFACE_MAX; i++) {
		const struct frag_owner *owner = &e->ifaces[i].frags;
		unsigned int datagrams = 0, blocks = 0;

		for (uint16_t k = 0; k < e->frags.fresh_datagram; k++) {
			const struct datagram *d = &e->frags.datagrams[k];

			if (d->state == DATAGRAM_FREE || d->owner != owner)
				continue;
			datagrams++;
			for (uint16_t b = d->blocks; b != FRAG_NONE; b = e->frags.blocks[b].next)
				blocks++;
		}
		assert(datagrams == owner->datagrams && blocks == owner->blocks);
		assert(datagrams <= FRAG_OWNER_DATAGRAMS && blocks <= FRAG_OWNER_BLOCKS);
	}
}

static uint32_t check_source(const struct engine *e, uint16_t index)
{
	const struct source *source = &e->sources[index];
	uint32_t flows = 0, ifaces = 0;

	for (unsigned int r = 0; r < FLOW_RANKS; r++) {
		const struct flow_list *list = &source->owner.ranks[r];
		uint32_t prev = FLOW_NONE, n = 0;

		for (uint32_t i = list->head; i != FLOW_NONE;
		     i = e->table.flows[i].link[LIST_RANK].next) {
			assert(e->table.flows[i].rank == r);
			assert(e->table.flows[i].link[LIST_RANK].prev == prev);
			check_source_flow(e, index, i);
			prev = i;
			n++;
			assert(n <= e->table.active);
		}
		assert(list->tail == prev && list->count == n);
		flows += n;
	}
	assert(flows == source->flows);
	for (unsigned int i = 0; i < ENGINE_IFACE_MAX; i++)
		ifaces += e->ifaces[i].source[V4] == index || e->ifaces[i].source[V6] == index;
	assert(ifaces == source->ifaces);
	assert(source->known || source->ifaces > 0);
	assert(is_behind(e, source->family, &source->key));
	assert(source->policy == source->policy_owned);
	return flows;
}

int engine_check(const struct engine *e)
{
	uint32_t flows = 0;

	flow_check(&e->table);
	frag_check(&e->frags);
	check_fragments(e);
	if (e->learn)
		learn_check(e->learn);
	for (uint16_t i = 0; i < ENGINE_SOURCE_MAX; i++)
		if (e->sources[i].used)
			flows += check_source(e, i);
	assert(flows == e->table.active && flows == e->stats.flows_active);
	/* the rest ended with its interface, source or address */
	assert(e->stats.flows_created >= flows + e->stats.flows_expired + e->stats.flows_denied);
	assert(e->uplink == PORT_NONE || e->ifaces[e->uplink].conf.kind == IFACE_UPLINK);
	return 0;
}
