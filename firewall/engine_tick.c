// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the engine does on its own: flows that time out, idle flows under a
 * new policy, our address and the gateway's MAC on the uplink.
 *
 * The gateway is asked for by ARP or neighbour discovery when the link comes up and
 * each second until it answers, then once a minute. Until the first answer, and for
 * a gateway that never answers, frames go to the MAC that Qubes backends have.
 */
#include "firewall/engine_impl.h"

/*
 * G7: a bounded number of looks, however many flows are due. Each class of timeouts is
 * the first one in its turn, so that none waits for another that is always due (D5).
 */
static void expire(struct engine *e)
{
	unsigned int cursor = e->expire_first, budget = EXPIRE_BUDGET;
	uint32_t index;

	if (e->hold)
		return;
	e->expire_first = (e->expire_first + 1) % FLOW_TIMERS;
	for (int lap = 0; lap < 2; lap++, cursor = 0) {
		while ((index = flow_expired_next(&e->table, e->now, &cursor, &budget)) !=
		       FLOW_NONE) {
			engine_flow_end(e, index);
			e->stats.flows_expired++;
		}
	}
}

/* 2.5: flows without packets are judged again too, a few at a time. */
static void sweep(struct engine *e)
{
	uint32_t n = e->sweep_left < SWEEP_BUDGET ? e->sweep_left : SWEEP_BUDGET;

	e->sweep_left -= n;
	for (; n > 0; n--) {
		uint32_t index = e->sweep_at;
		struct flow *flow = &e->table.flows[index];

		e->sweep_at = index + 1 < e->table.flow_max ? index + 1 : 0;
		if (index >= e->table.fresh || flow->state == FLOW_FREE ||
		    flow->epoch == e->sources[flow->source].epoch || engine_judge_again(e, flow))
			continue;
		engine_flow_end(e, index);
		e->stats.flows_denied++;
	}
}

/* --- the uplink's neighbour ------------------------------------------------------------ */

static void send_arp(struct frame *out, const struct iface *up, const struct ipkey *target)
{
	static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct arp arp = { .request = true, .sender = ipkey_raw4(&up->addr[V4]),
			   .target = ipkey_raw4(target) };

	memcpy(arp.sender_mac, up->conf.mac, 6);
	arp_build(out, &arp, broadcast);
}

static bool take_neighbour(struct engine *e, struct frame *out, enum fam fam)
{
	struct iface *up = engine_uplink(e, fam);
	struct neighbour *n;
	struct ipkey all;

	if (!up)
		return false;
	n = &up->gateway_at[fam];
	if (n->announce) {
		n->announce = false;
		engine_take_begin(out, iface_id(e, up));
		all = ndp_all_nodes();
		if (fam == V4)
			send_arp(out, up, &up->addr[V4]);
		else
			ndp_advertise(out, &up->addr[V6], &all, up->conf.mac, true,
				      ndp_all_nodes_mac);
		return true;
	}
	if (ipkey_none(&up->gateway[fam]) || e->clock < n->at)
		return false;
	n->asked = true;
	n->at = e->clock + NEIGHBOUR_RETRY_MS;
	engine_take_begin(out, iface_id(e, up));
	if (fam == V4)
		send_arp(out, up, &up->gateway[V4]);
	else
		ndp_solicit(out, &up->gateway[V6], &up->addr[V6], up->conf.mac);
	return true;
}

bool engine_take(struct engine *e, struct frame *out)
{
	if (take_neighbour(e, out, V4) || take_neighbour(e, out, V6)) {
		e->stats.emitted++;
		return true;
	}
	return engine_take_fragment(e, out);
}

void engine_tick(struct engine *e, struct engine_time now)
{
	engine_advance(e, now);
	expire(e);
	sweep(e);
	if (!e->hold)
		engine_expire_fragments(e);
}
