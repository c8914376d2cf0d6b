// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pass 1 of the packet path: from bytes to a tuple.
 *
 * Everything that needs no flow ends here: frames that are not for us, ARP and
 * neighbour discovery, spoofed sources, packets to the firewall itself or from one
 * client to another. What is left gets the key of its flow, or is a fragment.
 *
 * Order: packets.md 1. Both families go the same way, but for discovery, which in
 * IPv6 is IP itself and has to be served before its addresses are judged.
 */
#include "firewall/engine_impl.h"

/* --- ARP ---------------------------------------------------------------------- */

static void arp_from_client(struct engine *e, struct work *w)
{
	const struct iface *in = w->in;
	uint32_t own = ipkey_raw4(&in->addr[V4]);
	struct arp arp;

	/* Q6: the sender must be the vif's client; nothing about its own address
	 * is answered, which also covers announcements and probes */
	if (in->conf.kind == IFACE_SELF || own == 0 || !arp_parse(w->f, &arp) || !arp.request ||
	    arp.sender != own || memcmp(arp.sender_mac, in->conf.mac, 6) != 0 ||
	    arp.target == own) {
		engine_drop(e, w, DROP_ARP);
		return;
	}
	arp_answer(w->f, &arp, arp_backend_mac);
	engine_reply(e, w, DROP_NONE);
}

/* The answer to our question: once, and only about the gateway. */
static void neighbour_found(struct engine *e, struct work *w, struct neighbour *n,
			    const uint8_t mac[6])
{
	memcpy(n->mac, mac, 6);
	n->asked = false;
	n->at = e->clock + NEIGHBOUR_REFRESH_MS;
	engine_drop(e, w, DROP_NONE); /* consumed */
}

static void arp_from_uplink(struct engine *e, struct work *w)
{
	struct iface *in = w->in;
	uint32_t own = ipkey_raw4(&in->addr[V4]);
	const uint8_t *eth_src = w->f->header + ETH_SRC;
	struct arp arp;

	if (own == 0 || !arp_parse(w->f, &arp) || arp.target != own || arp.sender == own ||
	    (arp.sender_mac[0] & 1) || memcmp(arp.sender_mac, eth_src, 6) != 0) {
		engine_drop(e, w, DROP_ARP);
		return;
	}
	if (arp.request) {
		arp_answer(w->f, &arp, in->conf.mac);
		engine_reply(e, w, DROP_NONE);
		return;
	}
	if (!in->gateway_at[V4].asked || arp.sender != ipkey_raw4(&in->gateway[V4]) ||
	    memcmp(arp.target_mac, in->conf.mac, 6) != 0) {
		engine_drop(e, w, DROP_ARP);
		return;
	}
	neighbour_found(e, w, &in->gateway_at[V4], arp.sender_mac);
}

/* --- neighbour discovery --------------------------------------------------------- */

/* Q6, RFC 4861 7.2.4: proxy answers, as for ARP. */
static void ndp_from_client(struct engine *e, struct work *w)
{
	const struct iface *in = w->in;
	struct ndp n;

	if (!ndp_parse(w->f, &w->p, &n) || !n.solicit || ipkey_equal(&n.target, &in->addr[V6]) ||
	    (n.has_mac && memcmp(n.mac, in->conf.mac, 6) != 0)) {
		engine_drop(e, w, DROP_NDP); /* Q8: RS, RA, redirect, MLD are here, too */
		return;
	}
	ndp_advertise(w->f, &n.target, &w->p.src, arp_backend_mac, true, in->conf.mac);
	engine_reply(e, w, DROP_NONE);
}

static void ndp_from_uplink(struct engine *e, struct work *w)
{
	struct iface *in = w->in;
	uint8_t eth_src[6];
	struct ndp n;

	memcpy(eth_src, w->f->header + ETH_SRC, 6);
	if (ipkey_none(&in->addr[V6]) || !ndp_parse(w->f, &w->p, &n) || (eth_src[0] & 1) ||
	    (n.has_mac && memcmp(n.mac, eth_src, 6) != 0) ||
	    ipkey_equal(&w->p.src, &in->addr[V6])) {
		engine_drop(e, w, DROP_NDP);
		return;
	}
	if (n.solicit) {
		/* from :: it would be a probe for our address by somebody else */
		if (!ipkey_equal(&n.target, &in->addr[V6]) || ipkey_none(&w->p.src)) {
			engine_drop(e, w, DROP_NDP);
			return;
		}
		ndp_advertise(w->f, &n.target, &w->p.src, in->conf.mac, true, eth_src);
		engine_reply(e, w, DROP_NONE);
		return;
	}
	if (!in->gateway_at[V6].asked || !n.has_mac ||
	    !ipkey_equal(&n.target, &in->gateway[V6])) {
		engine_drop(e, w, DROP_NDP);
		return;
	}
	neighbour_found(e, w, &in->gateway_at[V6], n.mac);
}

/* A whole ICMPv6 packet that is the link's own business (I7). */
static bool is_discovery(const struct work *w)
{
	return w->p.family == 6 && w->p.proto == PROTO_ICMP6 && !w->p.fragment &&
	       w->p.l4 < w->f->header_len && ndp_is_link(w->f->header[w->p.l4]);
}

/* --- keys ------------------------------------------------------------------------- */

static void want_flow(struct engine *e, struct work *w, enum work_kind kind, struct flow_key key)
{
	w->kind = kind;
	w->key = key;
	w->hash = flow_hash(&e->table, &w->key);
	flow_prefetch_bucket(&e->table, w->hash);
}

static struct flow_key key_out(const struct engine *e, const struct work *w, uint8_t proto,
			       struct ipkey remote, uint16_t remote_port, uint16_t client_port)
{
	return flow_key_make(FLOW_OUT, w->p.family, proto, iface_id(e, w->in), remote,
			     remote_port, client_port);
}

static struct flow_key key_in(const struct work *w, uint8_t proto, struct ipkey remote,
			      uint16_t remote_port, uint16_t our_port)
{
	return flow_key_make(FLOW_IN, w->p.family, proto, FLOW_ZONE_UPLINK, remote, remote_port,
			     our_port);
}

/* What both ways of an error have in common. */
static enum drop_reason parse_error(struct work *w)
{
	enum drop_reason reason = icmp_inner_parse(w->f, &w->p, &w->inner);

	if (reason == DROP_NONE && !icmp_checksum_ok(w->f, &w->p))
		reason = DROP_ICMP_CHECKSUM;
	return reason;
}

static void icmp_from_client(struct engine *e, struct work *w)
{
	uint8_t family = w->p.family;
	const struct icmp_inner *in = &w->inner;
	enum drop_reason reason;

	if (icmp_is_echo(family, w->p.icmp_type)) {
		want_flow(e, w, WORK_FLOW, key_out(e, w, w->p.proto, w->p.dst, 0, w->p.sport));
		return;
	}
	if (!icmp_is_error(family, w->p.icmp_type)) {
		/* I6; an echo reply has no flow: nothing can ping a client */
		engine_drop(e, w, icmp_is_echo_reply(family, w->p.icmp_type) ? DROP_ICMP_NO_FLOW
									     : DROP_ICMP_TYPE);
		return;
	}
	reason = parse_error(w);
	/* I3: about a packet that we sent this client, told to whom it came from */
	if (reason == DROP_NONE &&
	    (!ipkey_equal(&in->dst, &w->in->addr[packet_fam(&w->p)]) ||
	     !ipkey_equal(&in->src, &w->p.dst) ||
	     (proto_is_icmp(family, in->proto) && !icmp_is_echo_reply(family, in->icmp_type))))
		reason = DROP_ICMP_NO_FLOW;
	if (reason != DROP_NONE) {
		engine_drop(e, w, reason);
		return;
	}
	/* an echo has one identifier, and it is on the client's side */
	if (proto_is_icmp(family, in->proto))
		want_flow(e, w, WORK_ERROR, key_out(e, w, in->proto, in->src, 0, in->sport));
	else
		want_flow(e, w, WORK_ERROR,
			  key_out(e, w, in->proto, in->src, in->sport, in->dport));
}

static void icmp_from_uplink(struct engine *e, struct work *w)
{
	uint8_t family = w->p.family;
	const struct icmp_inner *in = &w->inner;
	enum drop_reason reason;

	if (icmp_is_echo_reply(family, w->p.icmp_type)) {
		want_flow(e, w, WORK_FLOW, key_in(w, w->p.proto, w->p.src, 0, w->p.sport));
		return;
	}
	if (!icmp_is_error(family, w->p.icmp_type)) {
		/* Q4: pings from outside; I6 */
		engine_drop(e, w,
			    icmp_is_echo(family, w->p.icmp_type) ? DROP_INBOUND : DROP_ICMP_TYPE);
		return;
	}
	reason = parse_error(w);
	/* I3: about a packet that we sent (hp_5598_icmp_inner: inside and outside) */
	if (reason == DROP_NONE &&
	    (!ipkey_equal(&in->src, &w->in->addr[packet_fam(&w->p)]) ||
	     (proto_is_icmp(family, in->proto) && !icmp_is_echo(family, in->icmp_type))))
		reason = DROP_ICMP_NO_FLOW;
	if (reason != DROP_NONE) {
		engine_drop(e, w, reason);
		return;
	}
	want_flow(e, w, WORK_ERROR, key_in(w, in->proto, in->dst, in->dport, in->sport));
}

/* --- IP ---------------------------------------------------------------------------- */

static void to_drop(struct engine *e, struct work *w, enum drop_reason reason)
{
	if (reason == DROP_SPOOFED || reason == DROP_INTER_CLIENT)
		engine_log_packet(e, w, reason, RULE_INDEX_NONE);
	engine_drop(e, w, reason);
}

/* A client's whole packet, whose source is right. */
static void whole_from_client(struct engine *e, struct work *w)
{
	enum drop_reason reason = packet_parse_l4(w->f, &w->p);

	if (UNLIKELY(reason != DROP_NONE)) {
		engine_drop(e, w, reason);
		return;
	}
	reason = check_destination(e, w->in, w->p.family, &w->p.dst);
	if (UNLIKELY(reason == DROP_TO_FIREWALL)) {
		engine_to_firewall(e, w);
		return;
	}
	if (UNLIKELY(reason != DROP_NONE)) {
		to_drop(e, w, reason);
		return;
	}
	if (packet_is_icmp(&w->p))
		icmp_from_client(e, w);
	else
		want_flow(e, w, WORK_FLOW,
			  key_out(e, w, w->p.proto, w->p.dst, w->p.dport, w->p.sport));
}

static void whole_from_uplink(struct engine *e, struct work *w)
{
	enum drop_reason reason = packet_parse_l4(w->f, &w->p);

	if (UNLIKELY(reason != DROP_NONE)) {
		engine_drop(e, w, reason);
		return;
	}
	if (packet_is_icmp(&w->p))
		icmp_from_uplink(e, w);
	else
		want_flow(e, w, WORK_FLOW,
			  key_in(w, w->p.proto, w->p.src, w->p.sport, w->p.dport));
}

static void fragment(struct engine *e, struct work *w)
{
	/* nobody has reason to leave these to us; the parts would not be right */
	if (w->f->csum == CSUM_PARTIAL || w->f->gso != GSO_NONE) {
		engine_drop(e, w, DROP_FRAGMENT);
		return;
	}
	/* F5, F9: the first one says everything that rules ask for */
	if (w->p.frag_off == 0) {
		enum drop_reason reason = packet_parse_l4(w->f, &w->p);

		if (reason != DROP_NONE) {
			engine_drop(e, w, reason == DROP_L4_HEADER ? DROP_FRAGMENT : reason);
			return;
		}
	}
	w->kind = WORK_FRAGMENT;
}

static enum drop_reason check_client(const struct work *w)
{
	/* P9: what is not discovery has no business in a link-layer group */
	if (UNLIKELY(w->f->header[ETH_DST] & 1))
		return DROP_MULTICAST;
	/* Q1, P14: before anything is answered, and for fragments too */
	if (UNLIKELY(!ipkey_equal(&w->p.src, &w->in->addr[packet_fam(&w->p)])))
		return DROP_SPOOFED;
	return DROP_NONE;
}

static enum drop_reason check_uplink(const struct engine *e, const struct work *w)
{
	if (UNLIKELY(w->f->header[ETH_DST] & 1))
		return DROP_MULTICAST;
	if (UNLIKELY(is_link_local(w->p.family, &w->p.src)))
		return DROP_MARTIAN;
	/* Q10: our clients are not out there */
	if (UNLIKELY(is_behind(e, w->p.family, &w->p.src)))
		return DROP_UPLINK_SPOOFED; /* hp_q056_connected_ips */
	/* Q4: and nothing but our own address is here */
	if (UNLIKELY(!ipkey_equal(&w->p.dst, &w->in->addr[packet_fam(&w->p)]) ||
		     iface_id(e, w->in) != e->uplink))
		return DROP_INBOUND;
	return DROP_NONE;
}

void engine_parse_ip(struct engine *e, struct work *w)
{
	bool ip6 = packet_ethertype(w->f) == ETHERTYPE_IP6;
	enum drop_reason reason;

	if (ip6)
		reason = packet_parse_ip6(w->f, &w->p);
	else
		reason = packet_parse_ip4(w->f, &w->p, e->pass_ip_options);
	if (UNLIKELY(reason != DROP_NONE)) {
		engine_drop(e, w, reason);
		return;
	}
	if (ip6 && UNLIKELY(is_discovery(w))) {
		/* RFC 6980: what came in fragments, or as one, is no discovery */
		if (w->datagram != FRAG_NONE || w->p.atomic_at ||
		    packet_parse_l4(w->f, &w->p) != DROP_NONE)
			engine_drop(e, w, DROP_NDP);
		else if (w->dir == FLOW_IN)
			ndp_from_uplink(e, w);
		else if (!ipkey_equal(&w->p.src, &w->in->addr[V6]))
			engine_drop(e, w, DROP_SPOOFED); /* Q1, P14; too common for the log */
		else
			ndp_from_client(e, w);
		return;
	}
	if (ip6)
		reason = packet_check_ip6(&w->p);
	if (reason == DROP_NONE)
		reason = w->dir == FLOW_OUT ? check_client(w) : check_uplink(e, w);
	if (UNLIKELY(reason != DROP_NONE))
		to_drop(e, w, reason);
	else if (UNLIKELY(w->p.fragment))
		fragment(e, w);
	else if (w->dir == FLOW_OUT)
		whole_from_client(e, w);
	else
		whole_from_uplink(e, w);
}

/* --- Ethernet ------------------------------------------------------------------------ */

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
	if (UNLIKELY(type != ETHERTYPE_IP4 && type != ETHERTYPE_IP6 && type != ETHERTYPE_ARP))
		return DROP_ETHERTYPE; /* P8 */
	/* Q1: all of IPv6 is off where it is not set up */
	if (type == ETHERTYPE_IP6 &&
	    (ipkey_none(&w->in->addr[V6]) || (client && ipkey_none(&w->in->gateway[V6]))))
		return DROP_IPV6;
	if (memcmp(h + ETH_DST, client ? arp_backend_mac : w->in->conf.mac, 6) == 0)
		return DROP_NONE;
	if (type == ETHERTYPE_ARP && mac_broadcast(h + ETH_DST))
		return DROP_NONE;
	/* RFC 2464 7: questions for a neighbour; anything else is dropped later */
	if (type == ETHERTYPE_IP6 && h[ETH_DST] == 0x33 && h[ETH_DST + 1] == 0x33)
		return DROP_NONE;
	/* P9, RFC 1122 3.3.6: unicast IP in a link-layer broadcast counts too */
	return h[ETH_DST] & 1 ? DROP_MULTICAST : DROP_DEST_MAC;
}

void engine_parse(struct engine *e, struct work *w)
{
	struct frame *f = w->f;
	enum drop_reason reason;
	uint16_t type;

	w->datagram = FRAG_NONE;
	w->split = false;
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
	w->dir = w->in->conf.kind == IFACE_UPLINK ? FLOW_IN : FLOW_OUT;
	if (type != ETHERTYPE_ARP)
		engine_parse_ip(e, w);
	else if (w->dir == FLOW_IN)
		arp_from_uplink(e, w);
	else
		arp_from_client(e, w);
}
