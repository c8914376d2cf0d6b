// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * First packets: the rules, the limits, a new flow; and our own answers.
 *
 * Room. A source may have as many flows as are free for the others: with
 * F flows in the table and n greedy sources each ends up with F/(n+1), and as
 * much stays free for the next one to come. Beyond its share a source gets room
 * from itself: its oldest opening flow goes, then its oldest closing one, and
 * when it has neither the packet is refused. No source ever loses a flow to
 * another one (D2, D4, N4, T14).
 */
#include "firewall/engine_impl.h"
#include "firewall/tcp.h"

/* --- answers ------------------------------------------------------------------ */

bool limit_take(struct limit *limit, uint64_t clock, uint32_t rate)
{
	uint64_t full = (uint64_t)rate * 1000;
	uint64_t step = clock - limit->at;
	uint64_t milli = step > 1000 ? full : limit->milli + step * rate;

	limit->at = clock;
	if (milli > full)
		milli = full;
	limit->milli = (uint32_t)milli;
	if (limit->milli < 1000)
		return false;
	limit->milli -= 1000;
	return true;
}

/* I8, RFC 1812 4.3.2.8 */
static bool may_send_error(struct engine *e, struct work *w)
{
	return limit_take(&w->in->errors, e->clock, ERROR_RATE_IFACE) &&
	       limit_take(&e->errors, e->clock, ERROR_RATE_ALL);
}

void engine_refuse(struct engine *e, struct work *w, enum drop_reason reason, uint8_t type,
		   uint8_t code, uint16_t info)
{
	/* I8: the address under which the sender knows us */
	uint32_t src = w->in->conf.kind == IFACE_UPLINK ? w->in->ip4
		       : w->in->gateway4		? w->in->gateway4
							: e->nat4;

	/* I9: errors, fragments and multicasts never come here; a reset must not
	 * be answered with anything */
	if (src == 0 || (w->p.tcp_flags & TCP_RST) || !may_send_error(e, w)) {
		engine_drop(e, w, reason);
		return;
	}
	icmp_error_build(w->f, src, ipkey_raw4(&w->p.src), type, code, info);
	engine_reply_ether(w);
	engine_reply(e, w, reason);
}

/* Q5: a client talks to the firewall itself. */
void engine_to_firewall(struct engine *e, struct work *w)
{
	if (w->p.proto == IPPROTO4_ICMP) {
		if (w->p.icmp_type != ICMP_ECHO) {
			engine_drop(e, w, DROP_TO_FIREWALL);
			return;
		}
		icmp_echo_build(w->f, &w->p);
		engine_reply_ether(w);
		engine_reply(e, w, DROP_NONE);
		return;
	}
	if (w->p.proto == IPPROTO4_UDP && w->p.dport == 68) {
		engine_drop(e, w, DROP_TO_FIREWALL);
		return;
	}
	engine_refuse(e, w, DROP_TO_FIREWALL, ICMP_UNREACH, ICMP_UNREACH_HOST_PROHIBITED, 0);
}

/* --- rules -------------------------------------------------------------------- */

static void count_hit(struct source *source, enum rule_verdict verdict, uint32_t index)
{
	uint32_t special = RULE_INDEX_POLICY - index;

	source->verdicts[verdict]++;
	if (index < source->hit_count)
		source->hits[index]++;
	else if (special < 3)
		source->special_hits[special]++;
}

/* 2.5: the flow's first packet, as its client sent it, under the rules of now. */
bool engine_judge_again(struct engine *e, struct flow *flow)
{
	const struct source *source = &e->sources[flow->source];
	bool dnat = (flow->flags & FLOW_DNAT) != 0;
	struct rule_packet pkt = {
		.dst = dnat ? (const uint8_t *)&flow->orig_dst : (const uint8_t *)&flow->remote,
		.proto = flow->proto,
		.icmp_type = flow->proto == IPPROTO4_ICMP ? ICMP_ECHO : 0,
		.dport = flow->remote_port,
	};
	uint32_t index;

	if (policy_match(source->policy, &pkt, &index) != RULE_ACCEPT)
		return false;
	flow->epoch = source->epoch;
	return true;
}

void engine_flow_end(struct engine *e, uint32_t index)
{
	struct source *source = &e->sources[e->table.flows[index].source];

	flow_remove(&e->table, index, &source->owner);
	source->flows--;
	e->stats.flows_active = e->table.active;
}

/* --- new flows ---------------------------------------------------------------- */

static void expire_some(struct engine *e)
{
	unsigned int cursor = 0, budget = EXPIRE_SPOT;
	uint32_t index;

	while (!e->hold && (index = flow_expired_next(&e->table, e->now, &cursor, &budget)) !=
			   FLOW_NONE) {
		engine_flow_end(e, index);
		e->stats.flows_expired++;
	}
}

static bool over_share(const struct engine *e, const struct source *source)
{
	return source->flows >= e->table.flow_max - e->table.active;
}

/* D2, N4, T14: room for one more flow of this source. */
static bool make_room(struct engine *e, struct source *source)
{
	uint32_t victim;

	if (!over_share(e, source))
		return true;
	expire_some(e);
	if (!over_share(e, source))
		return true;
	victim = source->owner.ranks[RANK_OPENING].head;
	if (victim == FLOW_NONE)
		victim = source->owner.ranks[RANK_CLOSING].head;
	if (victim == FLOW_NONE)
		return false;
	engine_flow_end(e, victim);
	e->stats.flows_expired++;
	return true;
}

static void first_state(const struct work *w, struct flow *flow)
{
	flow->state = FLOW_UNREPLIED;
	flow->rank = RANK_OPENING;
	switch (w->p.proto) {
	case IPPROTO4_TCP:
		flow->state = FLOW_TCP_SYN;
		flow->timer = TIMER_TCP_OPENING;
		break;
	case IPPROTO4_UDP:
		flow->timer = w->p.dport == 53 ? TIMER_DNS_UNREPLIED : TIMER_UDP_UNREPLIED;
		break;
	default:
		flow->timer = TIMER_ICMP;
		break;
	}
}

/* Make the flow of a packet that the rules accept, or refuse the packet. */
static struct flow *new_flow(struct engine *e, struct work *w)
{
	struct source *source = &e->sources[w->in->source];
	struct flow flow = {
		.remote = w->p.dst,
		.client_port = w->p.sport,
		.remote_port = w->p.dport,
		.iface = (uint16_t)(w->in - e->ifaces),
		.proto = w->p.proto,
		.family = w->p.family,
		.source = w->in->source,
		.epoch = source->epoch,
	};
	uint32_t index = FLOW_NONE;

	first_state(w, &flow);
	if (!make_room(e, source)) {
		engine_refuse(e, w, DROP_FLOW_LIMIT, ICMP_UNREACH, ICMP_UNREACH_ADMIN, 0);
		return NULL;
	}
	if (nat_choose_port(&e->table, &e->rng, &flow)) {
		engine_refuse(e, w, DROP_NO_PORT, ICMP_UNREACH, ICMP_UNREACH_ADMIN, 0);
		return NULL;
	}
	nat_set_deltas(&flow, w->in->ip4, e->nat4);
	index = flow_insert(&e->table, &flow, &source->owner, e->now);
	if (index == FLOW_NONE) {
		engine_refuse(e, w, DROP_FLOW_LIMIT, ICMP_UNREACH, ICMP_UNREACH_ADMIN, 0);
		return NULL;
	}
	source->flows++;
	e->stats.flows_created++;
	return &e->table.flows[index];
}

static void admit(struct engine *e, struct work *w)
{
	struct iface *out = engine_uplink(e);
	struct flow *flow;

	if (!out) {
		/* Q13: the rules had their say, the path is missing */
		engine_refuse(e, w, DROP_NO_UPLINK, ICMP_UNREACH, ICMP_UNREACH_HOST, 0);
		return;
	}
	if (!engine_path_ok(e, w, out))
		return;
	flow = new_flow(e, w);
	if (flow)
		engine_forward_out(e, w, flow, out);
}

static bool tracked(uint8_t proto)
{
	return proto == IPPROTO4_TCP || proto == IPPROTO4_UDP || proto == IPPROTO4_ICMP;
}

void engine_judge_first(struct engine *e, struct work *w)
{
	struct source *source = &e->sources[w->in->source];
	struct rule_packet pkt = {
		.dst = w->f->header + IP4_DST,
		.proto = w->p.proto,
		.icmp_type = w->p.icmp_type,
		.dport = w->p.dport,
	};
	uint32_t index;
	enum rule_verdict verdict = policy_match(source->policy, &pkt, &index);

	/*
	 * T3: a segment in the middle of nothing is not a first packet. Where the
	 * rules refuse its destination the client is told; that is how it learns
	 * that a connection has been forbidden (R6).
	 */
	if (verdict == RULE_ACCEPT && w->p.proto == IPPROTO4_TCP && !tcp_may_open(w->p.tcp_flags)) {
		engine_drop(e, w, DROP_TCP_NO_FLOW);
		return;
	}
	count_hit(source, verdict, index);
	switch (verdict) {
	case RULE_ACCEPT:
		if (tracked(w->p.proto))
			admit(e, w);
		else
			engine_drop(e, w, DROP_PROTOCOL);
		break;
	case RULE_REJECT:
		engine_refuse(e, w, DROP_REJECTED, ICMP_UNREACH, ICMP_UNREACH_ADMIN, 0);
		break;
	default:
		engine_drop(e, w, DROP_NO_POLICY); /* Q9 */
		break;
	}
}
