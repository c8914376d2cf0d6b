// SPDX-License-Identifier: GPL-2.0-or-later
/* The engine's invariants, each once, for tests and fuzzers. */
#include "firewall/engine_impl.h"
#include "firewall/tcp.h"

static void check_source_flow(const struct engine *e, uint16_t source, uint32_t index)
{
	const struct flow *flow = &e->table.flows[index];
	const struct iface *iface = &e->ifaces[flow->iface];

	assert(flow->source == source && flow->iface < ENGINE_IFACE_MAX);
	assert(iface->conf.kind == IFACE_CLIENT || iface->conf.kind == IFACE_SELF);
	assert(iface->source == source && iface->ip4 == e->sources[source].raw4);
	/* Q3: never to a client or to ourselves */
	assert(source_of4(e, ipkey_raw4(&flow->remote)) == SOURCE_NONE);
	assert(ipkey_raw4(&flow->remote) != e->nat4);
	if (flow->proto == IPPROTO4_TCP) {
		assert(flow->state >= FLOW_TCP_SYN);
		assert(flow->timer == tcp_timer((enum flow_state)flow->state));
		assert(flow->rank == tcp_rank((enum flow_state)flow->state));
	} else {
		assert(flow->state == FLOW_UNREPLIED || flow->state == FLOW_REPLIED);
		assert(flow->rank == (flow->state == FLOW_REPLIED ? RANK_OPEN : RANK_OPENING));
	}
	assert(flow->epoch <= e->sources[source].epoch);
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
		ifaces += e->ifaces[i].source == index;
	assert(ifaces == source->ifaces);
	assert(source->known || source->ifaces > 0);
	assert(!source->raw4 || source_of4(e, source->raw4) == index);
	assert(source->policy == source->policy_owned);
	return flows;
}

int engine_check(const struct engine *e)
{
	uint32_t flows = 0;

	flow_check(&e->table);
	for (uint16_t i = 0; i < ENGINE_SOURCE_MAX; i++)
		if (e->sources[i].used)
			flows += check_source(e, i);
	assert(flows == e->table.active && flows == e->stats.flows_active);
	/* the rest ended with its interface, source or address */
	assert(e->stats.flows_created >= flows + e->stats.flows_expired + e->stats.flows_denied);
	assert(e->uplink == PORT_NONE || e->ifaces[e->uplink].conf.kind == IFACE_UPLINK);
	return 0;
}
