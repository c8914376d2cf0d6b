// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the engine does on its own: flows that time out, idle flows under a
 * new policy, our address and the gateway's MAC on the uplink.
 *
 * The gateway is asked for by ARP when the link comes up and each second until
 * it answers, then once a minute. Until the first answer, and for a gateway
 * that never answers, frames go to the MAC that Qubes backends have.
 */
#include "firewall/engine_impl.h"

/* G7: a bounded number of looks, however many flows are due. */
static void expire(struct engine *e)
{
	unsigned int cursor = 0, budget = EXPIRE_BUDGET;
	uint32_t index;

	if (e->hold)
		return;
	while ((index = flow_expired_next(&e->table, e->now, &cursor, &budget)) != FLOW_NONE) {
		engine_flow_end(e, index);
		e->stats.flows_expired++;
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

static void send_arp(struct engine *e, struct frame *out, struct iface *up, uint32_t target,
		     const uint8_t eth_dst[6])
{
	struct arp arp = { .request = true, .sender = up->ip4, .target = target };

	memcpy(arp.sender_mac, up->conf.mac, 6);
	arp_build(out, &arp, eth_dst);
	out->in_port = PORT_NONE;
	out->verdict = FRAME_FORWARD;
	out->reason = DROP_NONE;
	out->out_port = (uint16_t)(up - e->ifaces);
	out->copy_failed = false;
}

static bool uplink_arp(struct engine *e, struct frame *out)
{
	static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct iface *up = engine_uplink(e);

	if (!up)
		return false;
	if (up->announce) {
		up->announce = false;
		send_arp(e, out, up, up->ip4, broadcast);
		return true;
	}
	if (up->gateway4 == 0 || e->clock < up->arp_at)
		return false;
	up->arp_asked = true;
	up->arp_at = e->clock + ARP_RETRY_MS;
	send_arp(e, out, up, up->gateway4, broadcast);
	return true;
}

bool engine_tick(struct engine *e, struct frame *out, struct engine_time now)
{
	engine_advance(e, now);
	if (uplink_arp(e, out))
		return true;
	expire(e);
	sweep(e);
	return false;
}
