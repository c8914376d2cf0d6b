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

	flow->packets[w->dir]++;
	flow->bytes[w->dir] += w->p.ip_len;
	source->packets[w->dir]++;
	source->bytes[w->dir] += w->p.ip_len;
	w->kind = WORK_DONE;
	w->f->verdict = FRAME_FORWARD;
	w->f->reason = DROP_NONE;
	w->f->out_port = (uint16_t)(out - e->ifaces);
	e->stats.forwarded++;
}

struct iface *engine_uplink(struct engine *e)
{
	struct iface *up;

	if (e->uplink == PORT_NONE)
		return NULL;
	up = &e->ifaces[e->uplink];
	return up->link && up->ip4 ? up : NULL;
}

static void ether_out(struct frame *f, const struct iface *out)
{
	memcpy(f->header + ETH_DST, out->gateway_mac, 6);
	memcpy(f->header + ETH_SRC, out->conf.mac, 6);
}

static void ether_in(struct frame *f, const struct iface *client)
{
	memcpy(f->header + ETH_DST, client->conf.mac, 6);
	memcpy(f->header + ETH_SRC, arp_backend_mac, 6);
}

void engine_forward_out(struct engine *e, struct work *w, struct flow *flow, struct iface *out)
{
	nat_rewrite4(w->f, &w->p, flow, FLOW_OUT, e->nat4);
	ether_out(w->f, out);
	forward(e, w, flow, out);
}

/* P6, P11; RFC 1812 5.3.1, RFC 1191. */
bool engine_path_ok(struct engine *e, struct work *w, const struct iface *out)
{
	uint32_t size = w->p.ip_len;

	if (UNLIKELY(w->p.ttl <= 1)) {
		engine_refuse(e, w, DROP_TTL, ICMP_TIME_EXCEEDED, 0, 0);
		return false;
	}
	if (size <= out->mtu)
		return true;
	if (w->f->gso != GSO_NONE) {
		/* what the segments will be: headers and payload of one */
		size = (uint32_t)(w->p.l4 - IP4_OFF) +
		       (uint32_t)(w->f->header[w->p.l4 + 12] >> 4) * 4 + w->f->gso_size;
		if (size <= out->mtu)
			return true;
	}
	if (w->p.df)
		engine_refuse(e, w, DROP_TOO_BIG, ICMP_UNREACH, ICMP_UNREACH_FRAG_NEEDED,
			      (uint16_t)out->mtu);
	else
		engine_drop(e, w, DROP_TOO_BIG);
	return false;
}

/* --- pass 1: parse ------------------------------------------------------------ */

static void arp_from_client(struct engine *e, struct work *w)
{
	const struct iface *in = w->in;
	struct arp arp;

	/* Q6: the sender must be the vif's client; nothing about its own address
	 * is answered, which also covers announcements and probes */
	if (in->conf.kind == IFACE_SELF || in->ip4 == 0 || !arp_parse(w->f, &arp) ||
	    !arp.request || arp.sender != in->ip4 ||
	    memcmp(arp.sender_mac, in->conf.mac, 6) != 0 || arp.target == in->ip4) {
		engine_drop(e, w, DROP_ARP);
		return;
	}
	arp_answer(w->f, &arp, arp_backend_mac);
	engine_reply(e, w, DROP_NONE);
}

static void arp_from_uplink(struct engine *e, struct work *w)
{
	struct iface *in = w->in;
	const uint8_t *eth_src = w->f->header + ETH_SRC;
	struct arp arp;

	if (in->ip4 == 0 || !arp_parse(w->f, &arp) || arp.target != in->ip4 ||
	    arp.sender == in->ip4 || (arp.sender_mac[0] & 1) ||
	    memcmp(arp.sender_mac, eth_src, 6) != 0) {
		engine_drop(e, w, DROP_ARP);
		return;
	}
	if (arp.request) {
		arp_answer(w->f, &arp, in->conf.mac);
		engine_reply(e, w, DROP_NONE);
		return;
	}
	/* only the answer to a question, once, and only about the gateway */
	if (!in->arp_asked || arp.sender != in->gateway4 ||
	    memcmp(arp.target_mac, in->conf.mac, 6) != 0) {
		engine_drop(e, w, DROP_ARP);
		return;
	}
	memcpy(in->gateway_mac, arp.sender_mac, 6);
	in->arp_asked = false;
	in->arp_at = e->clock + ARP_REFRESH_MS;
	engine_drop(e, w, DROP_NONE); /* consumed */
}

static void want_flow(struct engine *e, struct work *w, enum work_kind kind, struct flow_key key)
{
	w->kind = kind;
	w->key = key;
	w->hash = flow_hash(&e->table, &w->key);
	flow_prefetch_bucket(&e->table, w->hash);
}

static void icmp_from_client(struct engine *e, struct work *w, uint16_t zone)
{
	enum drop_reason reason;

	if (w->p.icmp_type == ICMP_ECHO) {
		want_flow(e, w, WORK_FLOW,
			  flow_key_make(FLOW_OUT, 4, w->p.proto, zone, w->p.dst, 0, w->p.sport));
		return;
	}
	if (!icmp_is_error(w->p.icmp_type)) {
		/* I6; an echo reply has no flow: nothing can ping a client */
		engine_drop(e, w, w->p.icmp_type == ICMP_ECHO_REPLY ? DROP_ICMP_NO_FLOW
								    : DROP_ICMP_TYPE);
		return;
	}
	reason = icmp_inner_parse(w->f, &w->p, &w->inner);
	if (reason == DROP_NONE && !icmp_checksum_ok(w->f, &w->p))
		reason = DROP_ICMP_CHECKSUM;
	/* I3: about a packet that we sent this client, told to whom it came from */
	if (reason == DROP_NONE &&
	    (w->inner.dst != w->in->ip4 || w->inner.src != ipkey_raw4(&w->p.dst) ||
	     (w->inner.proto == IPPROTO4_ICMP && w->inner.icmp_type != ICMP_ECHO_REPLY)))
		reason = DROP_ICMP_NO_FLOW;
	if (reason != DROP_NONE) {
		engine_drop(e, w, reason);
		return;
	}
	/* an echo has one identifier, and it is on the client's side */
	if (w->inner.proto == IPPROTO4_ICMP)
		w->key = flow_key_make(FLOW_OUT, 4, w->inner.proto, zone, ipkey4(w->inner.src), 0,
				       w->inner.sport);
	else
		w->key = flow_key_make(FLOW_OUT, 4, w->inner.proto, zone, ipkey4(w->inner.src),
				       w->inner.sport, w->inner.dport);
	want_flow(e, w, WORK_ERROR, w->key);
}

static void icmp_from_uplink(struct engine *e, struct work *w)
{
	enum drop_reason reason;

	if (w->p.icmp_type == ICMP_ECHO_REPLY) {
		want_flow(e, w, WORK_FLOW,
			  flow_key_make(FLOW_IN, 4, w->p.proto, FLOW_ZONE_UPLINK, w->p.src, 0,
					w->p.sport));
		return;
	}
	if (!icmp_is_error(w->p.icmp_type)) {
		/* Q4: pings from outside; I6 */
		engine_drop(e, w, w->p.icmp_type == ICMP_ECHO ? DROP_INBOUND : DROP_ICMP_TYPE);
		return;
	}
	reason = icmp_inner_parse(w->f, &w->p, &w->inner);
	if (reason == DROP_NONE && !icmp_checksum_ok(w->f, &w->p))
		reason = DROP_ICMP_CHECKSUM;
	/* I3: about a packet that we sent */
	if (reason == DROP_NONE &&
	    (w->inner.src != w->in->ip4 ||
	     (w->inner.proto == IPPROTO4_ICMP && w->inner.icmp_type != ICMP_ECHO)))
		reason = DROP_ICMP_NO_FLOW;
	if (reason != DROP_NONE) {
		engine_drop(e, w, reason);
		return;
	}
	want_flow(e, w, WORK_ERROR,
		  flow_key_make(FLOW_IN, 4, w->inner.proto, FLOW_ZONE_UPLINK,
				ipkey4(w->inner.dst), w->inner.dport, w->inner.sport));
}

static void ip4_from_client(struct engine *e, struct work *w)
{
	uint16_t zone = (uint16_t)(w->in - e->ifaces);
	enum drop_reason reason = packet_parse_ip4(w->f, &w->p);
	uint32_t dst;

	if (UNLIKELY(reason != DROP_NONE && reason != DROP_FRAGMENT)) {
		engine_drop(e, w, reason);
		return;
	}
	/* Q1, P14: before anything is answered, and for fragments too */
	if (UNLIKELY(ipkey_raw4(&w->p.src) != w->in->ip4)) {
		engine_drop(e, w, DROP_SPOOFED);
		return;
	}
	if (reason == DROP_NONE)
		reason = packet_parse_l4(w->f, &w->p);
	if (UNLIKELY(reason != DROP_NONE)) {
		engine_drop(e, w, reason);
		return;
	}
	dst = ipkey_raw4(&w->p.dst);
	if (UNLIKELY(dst == w->in->gateway4 || dst == e->nat4)) {
		engine_to_firewall(e, w); /* Q5, Q3: also by our outer address */
		return;
	}
	if (UNLIKELY(source_of4(e, dst) != SOURCE_NONE)) {
		/* Q3; Q10: a client that is not running is not outside either */
		engine_drop(e, w, DROP_INTER_CLIENT);
		return;
	}
	if (w->p.proto == IPPROTO4_ICMP)
		icmp_from_client(e, w, zone);
	else
		want_flow(e, w, WORK_FLOW,
			  flow_key_make(FLOW_OUT, 4, w->p.proto, zone, w->p.dst, w->p.dport,
					w->p.sport));
}

static void ip4_from_uplink(struct engine *e, struct work *w)
{
	enum drop_reason reason = packet_parse_ip4(w->f, &w->p);

	if (UNLIKELY(reason != DROP_NONE && reason != DROP_FRAGMENT)) {
		engine_drop(e, w, reason);
		return;
	}
	/* Q10: our clients are not out there */
	if (UNLIKELY(source_of4(e, ipkey_raw4(&w->p.src)) != SOURCE_NONE)) {
		engine_drop(e, w, DROP_UPLINK_SPOOFED);
		return;
	}
	/* Q4: and nothing but our own address is here */
	if (UNLIKELY(ipkey_raw4(&w->p.dst) != w->in->ip4 ||
		     w->in != &e->ifaces[e->uplink])) {
		engine_drop(e, w, DROP_INBOUND);
		return;
	}
	if (reason == DROP_NONE)
		reason = packet_parse_l4(w->f, &w->p);
	if (UNLIKELY(reason != DROP_NONE)) {
		engine_drop(e, w, reason);
		return;
	}
	if (w->p.proto == IPPROTO4_ICMP)
		icmp_from_uplink(e, w);
	else
		want_flow(e, w, WORK_FLOW,
			  flow_key_make(FLOW_IN, 4, w->p.proto, FLOW_ZONE_UPLINK, w->p.src,
					w->p.sport, w->p.dport));
}

static bool mac_broadcast(const uint8_t *mac)
{
	static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

	return memcmp(mac, all, 6) == 0;
}

/* P8, Q2, and which Ethernet destinations are meant for us. */
static enum drop_reason check_ether(const struct work *w, uint16_t type)
{
	const uint8_t *h = w->f->header;
	bool client = w->in->conf.kind != IFACE_UPLINK;

	if (client && UNLIKELY(memcmp(h + ETH_SRC, w->in->conf.mac, 6) != 0))
		return DROP_SOURCE_MAC; /* Q2 */
	if (type != ETHERTYPE_IP4 && type != ETHERTYPE_ARP)
		return type == ETHERTYPE_IP6 ? DROP_IPV6 : DROP_ETHERTYPE; /* P8 */
	if (memcmp(h + ETH_DST, client ? arp_backend_mac : w->in->conf.mac, 6) == 0)
		return DROP_NONE;
	if (type == ETHERTYPE_ARP && mac_broadcast(h + ETH_DST))
		return DROP_NONE;
	/* P9, RFC 1122 3.3.6: unicast IP in a link-layer broadcast counts too */
	return h[ETH_DST] & 1 ? DROP_MULTICAST : DROP_DEST_MAC;
}

static void parse(struct engine *e, struct work *w)
{
	struct frame *f = w->f;
	enum drop_reason reason;
	uint16_t type;

	if (UNLIKELY(f->in_port >= ENGINE_IFACE_MAX ||
		     e->ifaces[f->in_port].conf.kind == IFACE_NONE)) {
		engine_drop(e, w, DROP_NO_IFACE);
		return;
	}
	w->in = &e->ifaces[f->in_port];
	if (UNLIKELY(f->copy_failed)) {
		engine_drop(e, w, DROP_COPY_FAILED);
		return;
	}
	if (UNLIKELY(f->header_len < ETH_LEN || f->header_len > FRAME_HEADER_MAX ||
		     f->len < f->header_len || f->len > FRAME_LEN_MAX)) {
		engine_drop(e, w, DROP_SHORT_FRAME);
		return;
	}
	type = packet_ethertype(f);
	reason = check_ether(w, type);
	if (UNLIKELY(reason != DROP_NONE)) {
		engine_drop(e, w, reason);
		return;
	}
	if (w->in->conf.kind == IFACE_UPLINK) {
		w->dir = FLOW_IN;
		if (UNLIKELY(type == ETHERTYPE_ARP))
			arp_from_uplink(e, w);
		else
			ip4_from_uplink(e, w);
	} else {
		w->dir = FLOW_OUT;
		if (UNLIKELY(type == ETHERTYPE_ARP))
			arp_from_client(e, w);
		else
			ip4_from_client(e, w);
	}
}

/* --- pass 3: decide ----------------------------------------------------------- */

/* A current flow's state after this packet; false when it was dropped. */
static bool track(struct engine *e, struct work *w, struct flow *flow, uint32_t index)
{
	enum flow_state next = (enum flow_state)flow->state;

	if (w->p.proto == IPPROTO4_TCP) {
		/* the common case does not even call */
		if (next == FLOW_TCP_OPEN && !(w->p.tcp_flags & (TCP_SYN | TCP_FIN | TCP_RST)))
			return true;
		next = tcp_next(next, w->dir, w->p.tcp_flags);
		if (next == FLOW_FREE) {
			engine_drop(e, w, DROP_INBOUND); /* T17 */
			return false;
		}
		if (next != flow->state)
			flow_set_state(&e->table, index, &e->sources[flow->source].owner, next,
				       tcp_timer(next), tcp_rank(next), e->now);
		return true;
	}
	if (UNLIKELY(w->dir == FLOW_IN && next == FLOW_UNREPLIED)) {
		enum flow_timer timer = (enum flow_timer)flow->timer;

		if (timer == TIMER_UDP_UNREPLIED)
			timer = TIMER_UDP_REPLIED;
		else if (timer == TIMER_DNS_UNREPLIED)
			timer = TIMER_DNS_REPLIED;
		flow_set_state(&e->table, index, &e->sources[flow->source].owner, FLOW_REPLIED,
			       timer, RANK_OPEN, e->now);
	}
	return true;
}

/* Where the packets of a flow go this way; NULL: the packet was dropped. */
static struct iface *flow_out_iface(struct engine *e, struct work *w, const struct flow *flow)
{
	struct iface *out;

	if (w->dir == FLOW_OUT) {
		out = engine_uplink(e);
		if (UNLIKELY(!out))
			engine_refuse(e, w, DROP_NO_UPLINK, ICMP_UNREACH, ICMP_UNREACH_HOST, 0);
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
	if (UNLIKELY(flow_timed_out(flow, e->now) && !e->hold)) {
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
	if (UNLIKELY(!out) || UNLIKELY(!engine_path_ok(e, w, out)) ||
	    UNLIKELY(!track(e, w, flow, index)))
		return;
	flow->last_seen = e->now; /* U2: both ways */
	if (w->dir == FLOW_OUT) {
		engine_forward_out(e, w, flow, out);
		return;
	}
	nat_rewrite4(w->f, &w->p, flow, FLOW_IN, out->ip4);
	ether_in(w->f, out);
	forward(e, w, flow, out);
}

/* I2, I11: an error about a flow travels with it; I10: the flow takes no notice. */
static void decide_error(struct engine *e, struct work *w)
{
	uint32_t index = current_flow(e, w);
	struct iface *out, *client;
	struct flow *flow;

	if (index == FLOW_NONE) {
		engine_drop(e, w, DROP_ICMP_NO_FLOW);
		return;
	}
	if (w->p.ttl <= 1) {
		engine_drop(e, w, DROP_TTL); /* I5, I9: no error about an error */
		return;
	}
	flow = &e->table.flows[index];
	client = &e->ifaces[flow->iface];
	out = w->dir == FLOW_OUT ? engine_uplink(e) : client;
	if (!out || !out->link || w->p.ip_len > out->mtu) {
		engine_drop(e, w, !out	       ? DROP_NO_UPLINK
				  : !out->link ? DROP_NO_IFACE
					       : DROP_TOO_BIG);
		return;
	}
	if (w->dir == FLOW_OUT) {
		icmp_translate(w->f, &w->p, &w->inner, flow, FLOW_OUT, client->ip4, e->nat4);
		ether_out(w->f, out);
	} else {
		icmp_translate(w->f, &w->p, &w->inner, flow, FLOW_IN, e->nat4, client->ip4);
		ether_in(w->f, out);
	}
	forward(e, w, flow, out);
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
		parse(e, &work[i]);
	}
	for (size_t i = 0; i < n; i++)
		if (work[i].kind != WORK_DONE)
			work[i].hint = flow_hint(&e->table, work[i].hash);
	for (size_t i = 0; i < n; i++) {
		if (work[i].kind == WORK_FLOW)
			decide_flow(e, &work[i]);
		else if (work[i].kind == WORK_ERROR)
			decide_error(e, &work[i]);
	}
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
