// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * First packets: the rules, the limits, a new flow; and our own answers.
 *
 * Room. A source may have as many flows as are free for the others, and half of the
 * ports at most: of F flows the first greedy source gets F/2, the next one F/4, and
 * so on. They do not get the last of them: each attached source is sure of a small
 * number (set_reserve()), which those that have more leave free. Beyond its share
 * a source gets room from itself: its oldest opening flow goes, then its oldest
 * closing one, and when it has neither the packet is refused. No source ever loses a
 * flow to another one (D2, D4, N4, T14); so what greedy ones hold comes back by
 * timeouts only.
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

/* RFC 1812 4.3.2.8 */
bool engine_may_send_error(struct engine *e, struct iface *in)
{
	return limit_take(&in->errors, e->clock, ERROR_RATE_IFACE) &&
	       limit_take(&e->errors, e->clock, ERROR_RATE_ALL);
}

struct ipkey engine_known_as(const struct engine *e, const struct iface *in, enum fam fam)
{
	if (in->conf.kind == IFACE_UPLINK)
		return in->addr[fam];
	return ipkey_none(&in->gateway[fam]) ? e->nat[fam] : in->gateway[fam];
}

static void refuse(struct engine *e, struct work *w, enum drop_reason reason,
		   enum icmp_error error, uint32_t mtu)
{
	struct ipkey src = engine_known_as(e, w->in, packet_fam(&w->p)), dst = w->p.src;

	/* I9: errors, fragments and multicasts never come here; a reset must not
	 * be answered with anything */
	if (ipkey_none(&src) || (w->p.tcp_flags & TCP_RST) || !engine_may_send_error(e, w->in)) {
		engine_drop(e, w, reason);
		return;
	}
	if (UNLIKELY(w->p.atomic_at))
		packet_restore_atomic(w->f, &w->p); /* I8: as the client sent it */
	icmp_error_build(w->f, w->p.family, &src, &dst, error, (uint16_t)mtu);
	engine_reply_ether(w);
	engine_reply(e, w, reason);
}

void engine_refuse(struct engine *e, struct work *w, enum drop_reason reason,
		   enum icmp_error error, uint32_t mtu)
{
	/* what is wrong with the path is the sender's to know, not the log's */
	if (reason != DROP_TTL && reason != DROP_TOO_BIG)
		engine_log_packet(e, w, reason, RULE_INDEX_NONE);
	refuse(e, w, reason, error, mtu);
}

/* Q5: a client talks to the firewall itself. */
void engine_to_firewall(struct engine *e, struct work *w)
{
	if (packet_is_icmp(&w->p)) {
		if (!icmp_is_echo(w->p.family, w->p.icmp_type)) {
			engine_drop(e, w, DROP_TO_FIREWALL);
			return;
		}
		icmp_echo_build(w->f, &w->p);
		engine_reply_ether(w);
		engine_reply(e, w, DROP_NONE);
		return;
	}
	if (w->p.proto == PROTO_UDP && w->p.dport == 68) {
		engine_drop(e, w, DROP_TO_FIREWALL);
		return;
	}
	engine_refuse(e, w, DROP_TO_FIREWALL, ICMP_ERR_HOST_PROHIBITED, 0);
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
	struct ipkey dst = flow->remote, real;
	struct rule_packet pkt = {
		.proto = flow->proto,
		.dport = flow->remote_port,
	};
	uint32_t index;

	if (flow->state == FLOW_MAPPING) {
		flow->epoch = source->epoch; /* it allows nothing by itself */
		return true;
	}
	if (flow->flags & FLOW_DNAT)
		dst = ipkey4(flow->orig_dst);
	/* a virtual server that stands for another one by now */
	if (flow->family == 4 && proto_has_ports(flow->proto) && flow->remote_port == PORT_DNS) {
		if (!engine_dns_real(e, &dst, &real))
			real = dst;
		if (!ipkey_equal(&real, &flow->remote))
			return false;
	}
	pkt.dst = (const uint8_t *)dst.w;
	if (proto_is_icmp(flow->family, flow->proto))
		pkt.icmp_type = flow->family == 6 ? ICMP6_ECHO : ICMP_ECHO;
	if (engine_match(e, source, &pkt, &index) != RULE_ACCEPT)
		return false;
	flow->epoch = source->epoch;
	return true;
}

static void mapping_unref(struct engine *e, uint32_t index)
{
	struct flow *map = &e->table.flows[index];

	assert(map->state == FLOW_MAPPING && map->mapping > 0);
	map->mapping--;
	map->last_seen = e->now; /* 2.4: it stays for a while after its last flow */
	if (map->mapping == 0)
		flow_set_state(&e->table, index, &e->sources[map->source].owner, FLOW_MAPPING,
			       TIMER_MAPPING, RANK_CLOSING, e->now);
}

void engine_flow_end(struct engine *e, uint32_t index)
{
	const struct flow *flow = &e->table.flows[index];
	struct source *source = &e->sources[flow->source];

	if (e->port_use)
		port_use_del(e->port_use, flow);
	if (flow->state != FLOW_MAPPING && flow->mapping != FLOW_NONE)
		mapping_unref(e, flow->mapping);
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
	uint32_t quota = source->options.max_flows ? source->options.max_flows : SOURCE_FLOWS;
	uint32_t free = e->table.flow_max - e->table.active;

	if (source->flows >= quota)
		return true;
	if (source->flows < e->reserve)
		return free == 0;
	return source->flows + e->reserve * e->attached >= free;
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
	if (w->p.proto == PROTO_TCP) {
		flow->state = FLOW_TCP_SYN;
		flow->timer = TIMER_TCP_OPENING;
		tcp_begin(flow, &w->p, w->f->header + w->p.l4);
	} else if (w->p.proto == PROTO_UDP) {
		flow->timer = w->p.dport == PORT_DNS ? TIMER_DNS_UNREPLIED : TIMER_UDP_UNREPLIED;
	} else {
		flow->timer = packet_is_icmp(&w->p) ? TIMER_ICMP : TIMER_OTHER;
	}
}

struct port_choice {
	struct engine *e;
	struct flow *flow;
};

/* Whether the flow may have this port. Who holds it longer than it lasts, loses it. */
static bool port_free(void *arg, uint16_t port)
{
	const struct port_choice *c = arg;
	struct engine *e = c->e;
	uint32_t holder;

	while ((holder = nat_port_holder(&e->table, c->flow, port)) != FLOW_NONE) {
		if (e->hold || !flow_is_over(&e->table, holder, e->now))
			return false;
		engine_flow_end(e, holder);
		e->stats.flows_expired++;
	}
	return true;
}

/* N10: the mapping of a client's port gets one more flow. */
static enum drop_reason mapping_ref(struct engine *e, struct source *source, struct flow *flow)
{
	struct flow_key key = mapping_key(flow);
	uint32_t index = flow_lookup(&e->table, &key, flow_hash(&e->table, &key), FLOW_NONE);
	struct flow map, *m;

	if (index == FLOW_NONE) {
		mapping_init(&map, flow);
		if (mapping_choose_port(&e->table, e->port_use, &e->rng, &map))
			return DROP_NO_PORT;
		if (!make_room(e, source))
			return DROP_FLOW_LIMIT;
		index = flow_insert(&e->table, &map, &source->owner, e->now);
		if (index == FLOW_NONE)
			return DROP_FLOW_LIMIT;
		source->flows++;
		e->stats.flows_created++;
		port_use_add(e->port_use, &map);
	}
	m = &e->table.flows[index];
	m->mapping++;
	m->last_seen = e->now;
	flow_set_state(&e->table, index, &source->owner, FLOW_MAPPING, TIMER_MAPPING, RANK_OPEN,
		       e->now);
	flow->mapping = index;
	flow->nat_port = m->nat_port;
	/* the port is this client's, but somebody may have had this remote before */
	return flow_lookup_in(&e->table, flow) == FLOW_NONE ? DROP_NONE : DROP_NO_PORT;
}

/* Set our port. Return: DROP_NONE, or why there is none (N3, U11). */
static enum drop_reason choose_port(struct engine *e, struct source *source, struct flow *flow)
{
	struct port_choice choice = { e, flow };

	if (source->options.eim && proto_has_ports(flow->proto))
		return mapping_ref(e, source, flow);
	if (nat_choose_port(&e->rng, flow, port_free, &choice) == 0)
		return DROP_NONE;
	return proto_has_ports(flow->proto) || proto_is_icmp(flow->family, flow->proto)
		       ? DROP_NO_PORT
		       : DROP_PROTOCOL;
}

/* The server that a packet to a virtual one is for; false: the packet is dropped. */
static bool translate_dns(struct engine *e, struct work *w, struct flow *flow)
{
	enum drop_reason reason;
	struct ipkey real;

	if (w->p.family != 4 || !proto_has_ports(w->p.proto) || w->p.dport != PORT_DNS ||
	    !engine_dns_real(e, &w->p.dst, &real))
		return true;
	reason = engine_dns_check(e, &real);
	if (reason == DROP_DNS_SERVER)
		engine_log_packet(e, w, reason, RULE_INDEX_NONE);
	if (reason != DROP_NONE) {
		engine_drop(e, w, reason);
		return false;
	}
	flow->remote = real;
	flow->orig_dst = ipkey_raw4(&w->p.dst);
	flow->flags |= FLOW_DNAT;
	return true;
}

/* A port, room, an entry. Return: DROP_NONE, or what there is too little of. */
static enum drop_reason insert_flow(struct engine *e, struct work *w, struct source *source,
				    struct flow *flow, uint32_t *index)
{
	enum fam fam = packet_fam(&w->p);
	enum drop_reason reason = choose_port(e, source, flow);

	if (reason != DROP_NONE)
		return reason;
	/* room last: nothing is given up for a flow that cannot be */
	if (!make_room(e, source))
		return DROP_FLOW_LIMIT;
	nat_set_deltas(flow, &w->in->addr[fam], &e->nat[fam]);
	*index = flow_insert(&e->table, flow, &source->owner, e->now);
	return *index == FLOW_NONE ? DROP_FLOW_LIMIT : DROP_NONE;
}

/* The packet is accepted: its flow, and on its way. */
static void admit(struct engine *e, struct work *w)
{
	struct source *source = source_of(e, w);
	struct iface *out = engine_uplink(e, packet_fam(&w->p));
	struct flow flow = {
		.remote = w->p.dst,
		.client_port = w->p.sport,
		.remote_port = w->p.dport,
		.iface = iface_id(e, w->in),
		.proto = w->p.proto,
		.family = w->p.family,
		.source = w->in->source[packet_fam(&w->p)],
		.epoch = source->epoch,
		.mapping = FLOW_NONE,
	};
	enum drop_reason reason;
	uint32_t index;

	if (!out) {
		/* Q13: the rules had their say, the path is missing */
		engine_refuse(e, w, DROP_NO_UPLINK, ICMP_ERR_UNREACHABLE, 0);
		return;
	}
	/* a packet that goes no further leaves no flow behind */
	if (!translate_dns(e, w, &flow) || !engine_path_ok(e, w, out))
		return;
	first_state(w, &flow);
	reason = insert_flow(e, w, source, &flow, &index);
	if (reason != DROP_NONE) {
		if (flow.mapping != FLOW_NONE)
			mapping_unref(e, flow.mapping);
		engine_refuse(e, w, reason, ICMP_ERR_ADMIN, 0);
		return;
	}
	if (e->port_use)
		port_use_add(e->port_use, &flow);
	source->flows++;
	e->stats.flows_created++;
	engine_forward_out(e, w, &e->table.flows[index], out);
}

void engine_judge_first(struct engine *e, struct work *w)
{
	struct source *source = source_of(e, w);
	struct rule_packet pkt = {
		.dst = (const uint8_t *)w->p.dst.w,
		.proto = w->p.proto,
		.icmp_type = w->p.icmp_type,
		.dport = w->p.dport,
	};
	uint32_t index;
	enum rule_verdict verdict = engine_match(e, source, &pkt, &index);

	/*
	 * T3: a segment in the middle of nothing is not a first packet. Where the
	 * rules refuse its destination the client is told; that is how it learns
	 * that a connection has been forbidden (R6).
	 */
	if (verdict == RULE_ACCEPT && w->p.proto == PROTO_TCP && !tcp_may_open(w->p.tcp_flags)) {
		engine_drop(e, w, DROP_TCP_NO_FLOW);
		return;
	}
	count_hit(source, verdict, index);
	switch (verdict) {
	case RULE_ACCEPT:
		admit(e, w);
		break;
	case RULE_REJECT:
		engine_log_packet(e, w, DROP_REJECTED, index);
		refuse(e, w, DROP_REJECTED, ICMP_ERR_ADMIN, 0);
		break;
	default:
		engine_log_packet(e, w, DROP_NO_POLICY, index);
		engine_drop(e, w, DROP_NO_POLICY); /* Q9 */
		break;
	}
}
