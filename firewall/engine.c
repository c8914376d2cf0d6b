// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The engine's packet path.
 *
 * A batch goes through three passes, so that the misses of one packet overlap
 * the work on the others: parse, hash and prefetch the bucket; find the flow's
 * place and prefetch it; decide. Only the last pass changes anything that
 * another packet of the batch could see, and it goes in order.
 *
 * Order of the checks: packets.md 1. Whatever can be answered with an error is
 * checked before the packet is rewritten, since an error quotes it as it came
 * (I8); and before the flow's state moves, since a packet that goes no further
 * did not happen for the flow.
 */
#include "firewall/engine_impl.h"
#include "firewall/tcp.h"

#include <errno.h>
#include <stdlib.h>

/* --- outcomes --------------------------------------------------------------- */

void engine_drop(struct engine *e, struct work *w, enum drop_reason reason)
{
	w->kind = WORK_DONE;
	w->f->verdict = FRAME_DROP;
	w->f->reason = (uint8_t)reason;
	e->stats.drops[reason]++; /* D8 */
}

void engine_reply(struct engine *e, struct work *w, enum drop_reason reason)
{
	struct frame *f = w->f;

	w->kind = WORK_DONE;
	f->verdict = FRAME_REPLY;
	f->reason = (uint8_t)reason;
	f->out_port = f->in_port;
	if (reason != DROP_NONE)
		e->stats.drops[reason]++;
	e->stats.replied++;
}

void engine_reply_ether(struct work *w)
{
	uint8_t *h = w->f->header;

	if (w->in->conf.kind == IFACE_UPLINK) {
		/* the machine that sent it, whatever we think of the gateway */
		memcpy(h + ETH_DST, h + ETH_SRC, 6);
		memcpy(h + ETH_SRC, w->in->conf.mac, 6);
	} else {
		memcpy(h + ETH_DST, w->in->conf.mac, 6);
		memcpy(h + ETH_SRC, arp_backend_mac, 6);
	}
}

static void forward(struct engine *e, struct work *w, struct flow *flow, struct iface *out)
{
	struct source *source = &e->sources[flow->source];

	w->kind = WORK_DONE;
	if (UNLIKELY(w->split)) {
		if (!engine_split(e, w, out))
			return;
	} else {
		w->f->verdict = FRAME_FORWARD;
		w->f->reason = DROP_NONE;
		w->f->out_port = iface_id(e, out);
	}
	flow->packets[w->dir]++;
	flow->bytes[w->dir] += w->p.ip_len;
	source->packets[w->dir]++;
	source->bytes[w->dir] += w->p.ip_len;
	e->stats.forwarded++;
}

bool engine_has_uplink(const struct engine *e, enum fam fam)
{
	const struct iface *up;

	if (e->uplink == PORT_NONE)
		return false;
	up = &e->ifaces[e->uplink];
	/* an address without a gateway is what a qube has whose net qube has no IPv6 */
	if (fam == V6 && ipkey_none(&up->gateway[V6]))
		return false;
	return up->link && !ipkey_none(&up->addr[fam]);
}

struct iface *engine_uplink(struct engine *e, enum fam fam)
{
	return engine_has_uplink(e, fam) ? &e->ifaces[e->uplink] : NULL;
}

static void ether_out(struct frame *f, const struct iface *out, enum fam fam)
{
	memcpy(f->header + ETH_DST, out->gateway_at[fam].mac, 6);
	memcpy(f->header + ETH_SRC, out->conf.mac, 6);
}

static void ether_in(struct frame *f, const struct iface *client)
{
	memcpy(f->header + ETH_DST, client->conf.mac, 6);
	memcpy(f->header + ETH_SRC, arp_backend_mac, 6);
}

/* 2.3: the segments that come back must fit the narrower of the two links. */
static void clamp_mss(const struct engine *e, struct work *w, const struct iface *a,
		      const struct iface *b)
{
	uint32_t mtu = a->mtu < b->mtu ? a->mtu : b->mtu;
	uint32_t headers = (w->p.family == 6 ? IP6_LEN : IP4_LEN) + TCP_LEN;

	if (e->mss_clamp && mtu > headers)
		tcp_clamp_mss(w->f, &w->p, (uint16_t)(mtu - headers));
}

static inline bool is_syn(const struct packet *p)
{
	return p->proto == PROTO_TCP && (p->tcp_flags & TCP_SYN);
}

/* DNS that somebody may learn from. */
static inline bool is_dns(const struct engine *e, const struct flow *flow)
{
	return e->learners > 0 && flow->proto == PROTO_UDP && flow->remote_port == PORT_DNS;
}

void engine_forward_out(struct engine *e, struct work *w, struct flow *flow, struct iface *out)
{
	enum fam fam = packet_fam(&w->p);

	if (UNLIKELY(is_syn(&w->p)))
		clamp_mss(e, w, w->in, out);
	if (UNLIKELY(is_dns(e, flow)))
		engine_see_dns(e, w, flow);
	nat_rewrite(w->f, &w->p, flow, FLOW_OUT, &e->nat[fam]);
	ether_out(w->f, out, fam);
	forward(e, w, flow, out);
}

static void forward_in(struct engine *e, struct work *w, struct flow *flow, struct iface *out)
{
	if (UNLIKELY(is_syn(&w->p)))
		clamp_mss(e, w, w->in, out);
	if (UNLIKELY(is_dns(e, flow)))
		engine_see_dns(e, w, flow);
	nat_rewrite(w->f, &w->p, flow, FLOW_IN, &out->addr[packet_fam(&w->p)]);
	ether_in(w->f, out);
	forward(e, w, flow, out);
}

/* --- the path ------------------------------------------------------------------ */

enum fit { FIT_WHOLE, FIT_SPLIT, FIT_TOO_BIG };

/*
 * P11; RFC 791, RFC 1191, RFC 8201. What came in fragments leaves in fragments no
 * larger than they were, so IPv6 that came so fits if the largest of them did; IPv4
 * with DF has to fit as a whole (F15).
 */
static enum fit fits(const struct engine *e, const struct work *w, const struct iface *out)
{
	uint32_t size = w->p.ip_len;

	if (size <= out->mtu)
		return FIT_WHOLE;
	if (w->datagram != FRAG_NONE && w->p.family == 6)
		return e->frags.datagrams[w->datagram].largest <= out->mtu ? FIT_WHOLE
									   : FIT_TOO_BIG;
	if (w->p.df)
		return FIT_TOO_BIG;
	return w->datagram != FRAG_NONE ? FIT_WHOLE : FIT_SPLIT;
}

/* P11 for GSO: what counts are the segments. */
static bool gso_fits(struct work *w, const struct iface *out)
{
	uint32_t headers = (uint32_t)(w->p.l4 - ETH_LEN) + w->p.tcp_len;

	if (headers + w->f->gso_size <= out->mtu)
		return true;
	/* nobody has cut it yet, so smaller pieces do the work of fragments */
	if (w->p.df || headers + 8 > out->mtu)
		return false;
	w->f->gso_size = (uint16_t)(out->mtu - headers);
	return true;
}

/* P6, P11; RFC 1812 5.3.1. */
bool engine_path_ok(struct engine *e, struct work *w, const struct iface *out)
{
	enum fit fit = FIT_WHOLE;

	if (UNLIKELY(w->p.ttl <= 1)) {
		engine_refuse(e, w, DROP_TTL, ICMP_ERR_TTL, 0);
		return false;
	}
	if (w->p.ip_len <= out->mtu)
		return true;
	if (w->f->gso == GSO_NONE)
		fit = fits(e, w, out);
	else if (!gso_fits(w, out))
		fit = FIT_TOO_BIG;
	if (fit == FIT_TOO_BIG) {
		engine_refuse(e, w, DROP_TOO_BIG, ICMP_ERR_TOO_BIG, out->mtu);
		return false;
	}
	w->split = fit == FIT_SPLIT;
	return true;
}

/* --- pass 3: decide ----------------------------------------------------------- */

/* A current flow's state after this packet; false when it was dropped. */
static bool track(struct engine *e, struct work *w, struct flow *flow, uint32_t index)
{
	struct flow_owner *owner = &e->sources[flow->source].owner;
	enum flow_state next;

	if (w->p.proto == PROTO_TCP) {
		enum drop_reason reason =
			tcp_track(flow, &w->p, w->f->header + w->p.l4, w->dir, &next);

		if (UNLIKELY(reason != DROP_NONE)) {
			engine_drop(e, w, reason);
			return false;
		}
		if (UNLIKELY(next != flow->state))
			flow_set_state(&e->table, index, owner, next, tcp_timer(next),
				       tcp_rank(next), e->now);
		return true;
	}
	if (UNLIKELY(w->dir == FLOW_IN && flow->state == FLOW_UNREPLIED)) {
		enum flow_timer timer = (enum flow_timer)flow->timer;

		if (timer == TIMER_UDP_UNREPLIED)
			timer = TIMER_UDP_REPLIED;
		else if (timer == TIMER_DNS_UNREPLIED)
			timer = TIMER_DNS_REPLIED;
		flow_set_state(&e->table, index, owner, FLOW_REPLIED, timer, RANK_OPEN, e->now);
		flow->last_seen = e->now; /* whoever refreshes it: it begins anew */
	}
	return true;
}

/*
 * The path comes after the state (packets.md 1), and what does not fit the path must
 * not move the state: where there is something to complain about, try on a copy.
 */
static bool path_ok(struct engine *e, struct work *w, const struct flow *flow,
		    const struct iface *out)
{
	struct flow copy;
	enum flow_state next;
	enum drop_reason reason;

	if (w->p.ttl > 1 && w->p.ip_len <= out->mtu)
		return true;
	if (w->p.proto == PROTO_TCP) {
		copy = *flow;
		reason = tcp_track(&copy, &w->p, w->f->header + w->p.l4, w->dir, &next);
		if (reason != DROP_NONE) {
			engine_drop(e, w, reason);
			return false;
		}
	}
	return engine_path_ok(e, w, out);
}

/* Where the packets of a flow go this way; NULL: the packet was dropped. */
static struct iface *flow_out_iface(struct engine *e, struct work *w, const struct flow *flow)
{
	struct iface *out;

	if (w->dir == FLOW_OUT) {
		out = engine_uplink(e, packet_fam(&w->p));
		if (UNLIKELY(!out))
			engine_refuse(e, w, DROP_NO_UPLINK, ICMP_ERR_UNREACHABLE, 0);
		return out;
	}
	out = &e->ifaces[flow->iface]; /* Q12 */
	if (UNLIKELY(!out->link)) {
		engine_drop(e, w, DROP_NO_IFACE);
		return NULL;
	}
	return out;
}

/* The flow of a packet, if it has one that may still be used (2.4, 2.5). */
static uint32_t current_flow(struct engine *e, const struct work *w)
{
	uint32_t index = flow_lookup(&e->table, &w->key, w->hash, w->hint);
	struct flow *flow;

	if (index == FLOW_NONE)
		return FLOW_NONE;
	flow = &e->table.flows[index];
	if (UNLIKELY(flow_timed_out(&e->table, flow, e->now) && !e->hold)) {
		engine_flow_end(e, index);
		e->stats.flows_expired++;
		return FLOW_NONE;
	}
	if (UNLIKELY(flow->epoch != e->sources[flow->source].epoch) &&
	    !engine_judge_again(e, flow)) {
		engine_flow_end(e, index);
		e->stats.flows_denied++;
		return FLOW_NONE;
	}
	return index;
}

static void decide_flow(struct engine *e, struct work *w)
{
	uint32_t index = current_flow(e, w);
	struct iface *out;
	struct flow *flow;

	if (UNLIKELY(index == FLOW_NONE)) {
		if (w->dir == FLOW_OUT)
			engine_judge_first(e, w);
		else
			engine_drop(e, w, DROP_INBOUND); /* Q4, T17, U3 */
		return;
	}
	flow = &e->table.flows[index];
	out = flow_out_iface(e, w, flow);
	if (UNLIKELY(!out) || UNLIKELY(!path_ok(e, w, flow, out)) ||
	    UNLIKELY(!track(e, w, flow, index)))
		return;
	if (w->dir == FLOW_OUT) {
		flow->last_seen = e->now; /* U2 */
		engine_forward_out(e, w, flow, out);
		return;
	}
	if (e->inbound_refresh || w->p.proto != PROTO_UDP)
		flow->last_seen = e->now; /* U2: both ways, unless the owner says otherwise */
	forward_in(e, w, flow, out);
}

/* I2, I11: an error about a flow travels with it; I10: the flow takes no notice. */
static void decide_error(struct engine *e, struct work *w)
{
	enum fam fam = packet_fam(&w->p);
	uint32_t index = current_flow(e, w);
	struct iface *out, *client;
	struct flow *flow;
	enum fit fit;

	/* I3: what it quotes went the other way than it goes itself */
	if (index == FLOW_NONE ||
	    (w->inner.proto == PROTO_TCP &&
	     !tcp_quoted_ok(&e->table.flows[index], w->dir == FLOW_IN ? FLOW_OUT : FLOW_IN,
			    w->inner.seq))) {
		engine_drop(e, w, DROP_ICMP_NO_FLOW);
		return;
	}
	if (w->p.ttl <= 1) {
		engine_drop(e, w, DROP_TTL); /* I5, I9: no error about an error */
		return;
	}
	flow = &e->table.flows[index];
	client = &e->ifaces[flow->iface];
	out = w->dir == FLOW_OUT ? engine_uplink(e, fam) : client;
	if (!out || !out->link) {
		engine_drop(e, w, out ? DROP_NO_IFACE : DROP_NO_UPLINK);
		return;
	}
	fit = fits(e, w, out);
	if (fit == FIT_TOO_BIG) {
		engine_drop(e, w, DROP_TOO_BIG); /* I5 */
		return;
	}
	w->split = fit == FIT_SPLIT;
	icmp_translate(w->f, &w->p, &w->inner, flow, w->dir, &client->addr[fam], &e->nat[fam]);
	if (w->dir == FLOW_OUT)
		ether_out(w->f, out, fam);
	else
		ether_in(w->f, out);
	forward(e, w, flow, out);
}

void engine_decide(struct engine *e, struct work *w)
{
	switch (w->kind) {
	case WORK_FLOW:
		decide_flow(e, w);
		break;
	case WORK_ERROR:
		decide_error(e, w);
		break;
	case WORK_FRAGMENT:
		engine_fragment(e, w);
		break;
	case WORK_DONE:
		break;
	}
}

/* --- batches ------------------------------------------------------------------ */

/*
 * D5: time only goes forward, and a suspend does not end all flows at once: they
 * get a second in which to show that they are alive. Two pauses in a row are no
 * suspend but a caller that seldom calls, and must not hold flows for ever.
 */
void engine_advance(struct engine *e, struct engine_time now)
{
	uint64_t step = now.ms > e->last_ms && e->started ? now.ms - e->last_ms : 0;
	bool jump = step > CLOCK_JUMP_MS;

	e->started = true;
	/* beyond the longest timeout nothing changes, and flows keep 32 bits */
	if (step > CLOCK_STEP_MAX_MS)
		step = CLOCK_STEP_MAX_MS;
	e->last_ms = now.ms;
	e->clock += step;
	if (jump && !e->jumped)
		e->hold_until = e->clock + CLOCK_HOLD_MS;
	e->jumped = step ? jump : e->jumped;
	e->now = (uint32_t)e->clock;
	e->hold = e->clock < e->hold_until;
}

static void process_batch(struct engine *e, struct frame **frames, size_t n)
{
	struct work *work = e->work;

	for (size_t i = 0; i < n; i++) {
		__builtin_prefetch(frames[i], 1);
		__builtin_prefetch(frames[i]->header, 1);
	}
	for (size_t i = 0; i < n; i++) {
		work[i].f = frames[i];
		engine_parse(e, &work[i]);
	}
	for (size_t i = 0; i < n; i++)
		if (work[i].kind == WORK_FLOW || work[i].kind == WORK_ERROR)
			work[i].hint = flow_hint(&e->table, work[i].hash);
	for (size_t i = 0; i < n; i++)
		engine_decide(e, &work[i]);
	e->stats.flows_active = e->table.active;
}

void engine_process(struct engine *e, struct frame **frames, size_t n, struct engine_time now)
{
	engine_advance(e, now);
	while (n > 0) {
		size_t batch = n < ENGINE_BATCH ? n : ENGINE_BATCH;

		process_batch(e, frames, batch);
		frames += batch;
		n -= batch;
	}
}

const struct engine_stats *engine_stats(const struct engine *e)
{
	return &e->stats;
}
