// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The model: flows, their ports and times, and what translation does to a packet
 * (2.1, 2.3, 2.4, 2.5, N*, U*, P4, P10, P11).
 */
#include "tests/model/model.h"

#include <string.h>

#define SOURCE_FLOWS_MAX 32768u
#define LAZY_MS		 2000u

static uint8_t icmp_of(uint8_t family)
{
	return family == 4 ? 1 : 58;
}

static bool has_ports(uint8_t family, uint8_t proto)
{
	return proto == 6 || proto == 17 || proto == icmp_of(family);
}

/* The flow that a client's packet belongs to, by what the client knows. */
int m_flow_out(const struct model *m, const struct m_packet *p, uint8_t proto,
	       const struct addr *dst, uint16_t sport, uint16_t dport)
{
	for (size_t i = 0; i < m->flow_count; i++) {
		const struct m_flow *f = &m->flow[i];

		if (!f->dead && f->iface == p->port && f->proto == proto && f->cport == sport &&
		    f->rport == dport && addr_equal(&f->asked, dst))
			return (int)i;
	}
	return -1;
}

/* The flow that a packet from the uplink belongs to. */
int m_flow_in(const struct model *m, uint8_t proto, const struct addr *remote, uint16_t rport,
	      uint16_t nat)
{
	for (size_t i = 0; i < m->flow_count; i++) {
		const struct m_flow *f = &m->flow[i];

		if (!f->dead && f->proto == proto && f->nat == nat && f->rport == rport &&
		    addr_equal(&f->remote, remote))
			return (int)i;
	}
	return -1;
}

static uint64_t timeout_ms(const struct model *m, const struct m_flow *f)
{
	return (uint64_t)m->timeout_s[f->timer] * 1000;
}

static struct m_mapping *mapping_of(struct model *m, const struct m_flow *f)
{
	for (size_t i = 0; i < m->mapping_count; i++) {
		struct m_mapping *e = &m->mapping[i];

		if (e->iface == f->iface && e->proto == f->proto && e->cport == f->cport &&
		    e->family == f->client.family)
			return e;
	}
	return NULL;
}

/* @any: also by flows that have timed out, or are denied, and may still be there */
static bool mapping_used(struct model *m, const struct m_mapping *e, bool any)
{
	for (size_t i = 0; i < m->flow_count; i++) {
		const struct m_flow *f = &m->flow[i];

		if (f->nat == e->nat && mapping_of(m, f) == e &&
		    (any || (!f->dead && !m_is_doomed(m, f))))
			return true;
	}
	return false;
}

/* A mapping stays for 300 s after its last flow, which has timed out or is gone. */
static void mapping_idle(struct model *m, const struct m_flow *last)
{
	struct m_mapping *e = mapping_of(m, last);

	if (!e || last->nat != e->nat)
		return;
	/* when a denied flow has ended is known no better than that */
	if (!e->idle_since && !mapping_used(m, e, false))
		e->idle_since = last->seen + (last->dead ? timeout_ms(m, last) : 0);
	if (!mapping_used(m, e, true))
		e->idle_late = m->now;
}

void m_flow_delete(struct model *m, size_t index)
{
	struct m_flow gone = m->flow[index];

	m->flow[index] = m->flow[--m->flow_count];
	mapping_idle(m, &gone);
}

void m_mapping_note(struct model *m, const struct m_flow *f)
{
	const struct m_source *s = m_source_of(m, &f->client);
	struct m_mapping *e = mapping_of(m, f);

	if ((f->proto != 6 && f->proto != 17) || !s || !s->options.eim)
		return;
	if (e && e->nat == f->nat) {
		e->idle_since = e->idle_late = 0;
		return;
	}
	if (e && e->fading) { /* gone, then, and here is the next one */
		*e = m->mapping[--m->mapping_count];
		e = NULL;
	}
	if (e || m->mapping_count == M_MAPPINGS)
		return;
	m->mapping[m->mapping_count++] = (struct m_mapping){
		.family = f->client.family, .proto = f->proto, .client = f->client,
		.iface = f->iface, .cport = f->cport, .nat = f->nat };
}

/* 2.4 */
void m_flow_timer(struct m_flow *f)
{
	static const uint8_t tcp[] = {
		[M_TCP_SYN] = TIMER_TCP_OPENING,   [M_TCP_OPENING] = TIMER_TCP_OPENING,
		[M_TCP_OPEN] = TIMER_TCP_OPEN,	   [M_TCP_FIN_OUT] = TIMER_TCP_HALF,
		[M_TCP_FIN_IN] = TIMER_TCP_HALF,   [M_TCP_CLOSING] = TIMER_TCP_CLOSING,
	};

	if (f->proto == 6)
		f->timer = tcp[f->state];
	else if (f->proto == 17 && f->rport == 53)
		f->timer = f->state == M_REPLIED ? TIMER_DNS_REPLIED : TIMER_DNS_UNREPLIED;
	else if (f->proto == 17)
		f->timer = f->state == M_REPLIED ? TIMER_UDP_REPLIED : TIMER_UDP_UNREPLIED;
	else if (f->proto == icmp_of(f->client.family))
		f->timer = TIMER_ICMP;
	else
		f->timer = TIMER_OTHER;
}

/* D2: 0 is the first to go, 1 the second, 2 never goes */
int m_rank(const struct m_flow *f)
{
	switch (f->state) {
	case M_UNREPLIED:
	case M_TCP_SYN:
	case M_TCP_OPENING:
		return 0;
	case M_TCP_CLOSING:
		return 1;
	default:
		return 2;
	}
}

/*
 * Lazy lists: a flow that was used since it was put into its list is looked at
 * again one timeout later. Until then its entry may be there, but is good for
 * nothing.
 */
void m_flow_expire(struct model *m)
{
	for (size_t i = m->flow_count; i-- > 0;) {
		struct m_flow *f = &m->flow[i];
		uint64_t timeout = timeout_ms(m, f);

		if (!f->dead && m->now >= f->seen + timeout) {
			f->dead = true;
			mapping_idle(m, f);
		}
		if (m->now >= f->seen + 2 * timeout + LAZY_MS)
			m_flow_delete(m, i);
	}
	for (size_t i = 0; i < m->flow_count; i++)
		if (m->mapping_count && m_is_doomed(m, &m->flow[i]))
			mapping_idle(m, &m->flow[i]);
	for (size_t i = m->mapping_count; i-- > 0;) {
		struct m_mapping *e = &m->mapping[i];
		uint64_t timeout = (uint64_t)m->timeout_s[TIMER_MAPPING] * 1000;

		e->fading = e->idle_since && m->now >= e->idle_since + timeout;
		if (e->idle_late && m->now >= e->idle_late + 2 * timeout + LAZY_MS)
			m->mapping[i] = m->mapping[--m->mapping_count];
	}
}

static const struct engine_dns *dns_of(const struct model *m, const struct addr *dst,
				       uint8_t proto, uint16_t dport)
{
	if (dport != 53 || (proto != 6 && proto != 17))
		return NULL;
	for (size_t i = 0; i < m->dns_count; i++)
		if (addr_equal(&m->dns[i].virt, dst))
			return &m->dns[i];
	return NULL;
}

/* 2.5: the ORIGINAL tuple under the rules and the DNS map of now */
bool m_is_doomed(struct model *m, const struct m_flow *f)
{
	struct m_source *s = m_source_of(m, &f->client);
	const struct engine_dns *dns = dns_of(m, &f->asked, f->proto, f->rport);
	struct m_packet first = { .proto = f->proto, .dport = f->rport };

	if (f->proto == icmp_of(f->client.family)) {
		first.type = f->client.family == 4 ? 8 : 128;
		first.dport = 0;
	}
	if (!s || !addr_equal(dns ? &dns->real : &f->asked, &f->remote))
		return true;
	return f->epoch != s->epoch &&
	       m_policy_verdict(m, s->policy, f->client.family, &first, &f->asked) != RULE_ACCEPT;
}

bool m_flow_epoch(struct model *m, int index)
{
	struct m_flow *f = &m->flow[index];

	if (m_is_doomed(m, f)) {
		m_flow_delete(m, (size_t)index);
		return false;
	}
	f->epoch = m_source_of(m, &f->client)->epoch;
	return true;
}

/* --- ports (2.1, N*) -------------------------------------------------------------- */

/* @dead: also by a flow that has timed out, or is denied now, but may still be there */
static bool port_taken(struct model *m, const struct m_flow *f, uint16_t port, bool anywhere,
		       bool dead)
{
	for (size_t i = 0; i < m->flow_count; i++) {
		const struct m_flow *o = &m->flow[i];

		if (o->proto == f->proto && o->nat == port &&
		    o->client.family == f->client.family &&
		    (dead || (!o->dead && !m_is_doomed(m, o))) &&
		    (anywhere || (o->rport == f->rport && addr_equal(&o->remote, &f->remote))))
			return true;
	}
	return false;
}

static bool port_owned(const struct model *m, const struct m_flow *f, uint16_t port, bool fading)
{
	for (size_t i = 0; i < m->mapping_count; i++) {
		const struct m_mapping *e = &m->mapping[i];

		if ((fading || !e->fading) && e->family == f->client.family &&
		    e->proto == f->proto && e->nat == port &&
		    (e->iface != f->iface || e->cport != f->cport))
			return true;
	}
	return false;
}

bool m_port_legal(struct model *m, const struct m_flow *f, uint16_t port)
{
	const struct m_source *s = m_source_of(m, &f->client);
	bool ports = f->proto == 6 || f->proto == 17, eim = s && s->options.eim && ports;
	const struct m_mapping *e = ports ? mapping_of(m, f) : NULL;
	bool free = f->cport && !port_taken(m, f, f->cport, false, true) &&
		    !port_owned(m, f, f->cport, true);

	if (!has_ports(f->client.family, f->proto))
		return true;
	if (port == 0 || port_taken(m, f, port, false, false) || port_owned(m, f, port, false)) {
		if (port == 0 && f->cport == 0 && !ports)
			return true; /* an identifier may well be 0 */
		m_why(m, "port %u was taken", port);
		return false;
	}
	if (eim && e && !e->fading && !port_taken(m, f, e->nat, false, true)) {
		if (port != e->nat)
			m_why(m, "port %u, but %u is mapped to %u", port, f->cport, e->nat);
		return port == e->nat; /* U4 */
	}
	if (port == f->cport)
		return true;
	/* somebody may have it towards another remote, and want to go on with it */
	if (eim && port_taken(m, f, f->cport, true, true))
		free = false;
	if (free && !e) {
		m_why(m, "port %u, but %u was free (N9)", port, f->cport);
		return false;
	}
	if (port < 1024 && ports) {
		m_why(m, "port %u is below 1024 (N1)", port);
		return false;
	}
	return true;
}

/* The port that the engine has chosen, from what it sent. */
uint16_t m_port_seen(const struct model *m, const struct m_packet *p)
{
	const struct m_seen *s = m->seen;
	const struct m_frame *f = &s->out;
	uint32_t at = p->l4;

	if (p->assembled || s->verdict != FRAME_FORWARD) {
		if (s->taken_count == 0)
			return 0;
		f = &s->taken[0];
		if (p->family == 6 && f->len > p->next_at && f->b[p->next_at] == 44)
			at += 8;
	}
	if (p->proto == icmp_of(p->family))
		at += 4;
	return f->len >= at + 2 ? m_get16(f->b + at) : 0;
}

/* --- rewriting ---------------------------------------------------------------------- */

/* The largest segment that fits both ways. */
static uint32_t clamp_to(const struct model *m, const struct m_flow *f)
{
	uint32_t mtu = m->iface[f->iface].is.mtu;

	if (m->iface[0].is.mtu < mtu)
		mtu = m->iface[0].is.mtu;
	return mtu - (f->client.family == 4 ? 40 : 60);
}

static void clamp_mss(uint8_t *tcp, uint32_t len, uint32_t most)
{
	uint32_t i = 20, end = (uint32_t)(tcp[12] >> 4) * 4;

	if (!(tcp[13] & 2) || end > len)
		return;
	while (i < end && tcp[i] != 0) {
		if (tcp[i] == 1) {
			i++;
			continue;
		}
		if (i + 1 >= end || tcp[i + 1] < 2 || i + tcp[i + 1] > end)
			return;
		if (tcp[i] == 2 && tcp[i + 1] == 4) {
			if (m_get16(tcp + i + 2) > most)
				m_put16(tcp + i + 2, most);
			return;
		}
		i += tcp[i + 1];
	}
}

/* Keep what was wrong about a checksum as wrong as it was; a right one stays right. */
static void carry_sum(struct m_alt *alt, const struct m_packet *p, uint8_t *b, bool complete)
{
	uint32_t at = m_sum_at(p->family, p->proto), len = p->len - p->l4;
	bool partial = p->csum == CSUM_PARTIAL;
	uint16_t was, right, now, field = m_get16(p->b + p->l4 + at);

	if (!at || len < at + 2)
		return;
	alt->sum[alt->sum_count++] = p->l4 + at;
	if (p->proto == 136 && field == 0)
		return; /* RFC 3828: there is none such; left alone */
	if (p->proto == 17 && !partial && field == 0 && p->family == 4)
		return; /* none at all */
	if (p->proto == 17)
		alt->udp_sum = p->l4 + at;
	was = m_l4_sum(p->b + 14, p->proto, p->b + p->l4, len, at, partial);
	right = m_l4_sum(b + 14, p->proto, b + p->l4, len, at, partial && !complete);
	now = right;
	if (field % 0xffff != was % 0xffff)
		now = m_fold((uint32_t)right + field + (uint16_t)~was);
	if (p->proto == 17 && now == 0)
		now = 0xffff;
	m_put16(b + p->l4 + at, now);
}

static void addresses(const struct model *m, const struct m_packet *p, const struct m_flow *f,
		      enum m_dir dir, uint8_t *b)
{
	const struct m_iface *up = &m->iface[0], *client = &m->iface[f->iface];
	static const uint8_t backend[6] = { 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct addr our = m_address(up, p->family), wire = m_wire_address(client, p->family);
	uint8_t *ip = b + 14;
	uint32_t src = p->family == 4 ? 12 : 8, dst = p->family == 4 ? 16 : 24;
	uint8_t family = p->family;

	if (dir == M_OUT) {
		memcpy(b, up->gateway_mac[family == 6], 6);
		memcpy(b + 6, up->is.mac, 6);
		m_put_addr(ip + src, &our);
		m_put_addr(ip + dst, &f->remote);
	} else {
		memcpy(b, client->is.mac, 6);
		memcpy(b + 6, backend, 6);
		m_put_addr(ip + dst, &wire);
		if (!p->is_error || addr_equal(&p->src, &f->remote))
			m_put_addr(ip + src, &f->asked);
	}
	ip[family == 4 ? 8 : 7]--;
}

/* P11; @ip_len: as it leaves. True when it does. */
static bool fits(const struct m_packet *p, struct m_alt *alt, uint32_t mtu)
{
	uint32_t len = alt->f.len - 14, head;

	if (p->assembled) {
		alt->max = p->largest < mtu ? p->largest : mtu;
		alt->frag_at = p->data_at;
		alt->frag_next_at = p->next_at;
		alt->frag_id = p->id;
		return p->family == 4 ? !p->df || len <= mtu : p->largest <= mtu;
	}
	if (len <= mtu)
		return true;
	if (p->gso) {
		head = p->l4 - 14 + (uint32_t)(p->b[p->l4 + 12] >> 4) * 4;
		if (head + p->gso_size <= mtu)
			return true;
		if (p->df)
			return false;
		alt->f.gso_size = (uint16_t)(mtu - head);
		return true;
	}
	alt->max = mtu;
	return !p->df;
}

/* What follows from the size of what would leave; the alternative becomes an error. */
static void too_big(struct model *m, const struct m_packet *p, uint32_t mtu)
{
	m->alt_count--;
	m_refuse(m, p, p->family == 4 ? 3 : 2, (p->family == 4 ? 4 : 0) | (int)mtu << 8,
		 M_R(TOO_BIG));
}

static void ports(const struct m_packet *p, const struct m_flow *f, enum m_dir dir, uint8_t *l4)
{
	uint16_t local = dir == M_OUT ? f->nat : f->cport;

	if (p->is_error)
		return;
	if (p->proto == icmp_of(p->family))
		m_put16(l4 + 4, local);
	else if (p->proto == 6 || p->proto == 17)
		m_put16(l4 + (dir == M_OUT ? 0 : 2), local);
}

void m_translate(struct model *m, const struct m_packet *p, const struct m_flow *f,
		 enum m_dir dir)
{
	struct m_alt *alt = m_alt_add(m, M_FORWARD, M_R(NONE));
	uint16_t to = dir == M_OUT ? 0 : f->iface;
	uint32_t mtu = m->iface[to].is.mtu;
	uint8_t *b = alt->f.b;
	bool room;

	memcpy(b, p->b, p->len);
	alt->f.len = p->len;
	alt->f.port = to;
	alt->f.csum = p->csum;
	alt->f.gso = p->gso;
	alt->f.gso_size = p->gso_size;
	alt->effect = true;
	addresses(m, p, f, dir, b);
	ports(p, f, dir, b + p->l4);
	if (p->is_error)
		return; /* the rest is done by who knows the inside */
	if (p->proto == 6 && !m->no_mss_clamp)
		clamp_mss(b + p->l4, p->len - p->l4, clamp_to(m, f));
	room = fits(p, alt, mtu);
	carry_sum(alt, p, b, alt->max != 0);
	if (p->family == 4) {
		uint32_t ihl = p->l4 - 14;

		m_put16(b + 24, 0);
		m_put16(b + 24, (uint16_t)~m_sum(b + 14, ihl, 0));
	}
	if (p->csum == CSUM_PARTIAL) {
		alt->f.csum_start = (uint16_t)p->l4;
		alt->f.csum_offset = (uint16_t)m_sum_at(p->family, p->proto);
	}
	if (!room)
		too_big(m, p, mtu);
}

/* --- new flows ------------------------------------------------------------------------ */

/* What is too big may be told so before it is found to have nowhere to go. */
static void size_first(struct model *m, const struct m_packet *p)
{
	uint32_t mtu = m->iface[0].is.mtu;

	if (p->len - 14 > mtu && p->df && !p->gso)
		m_refuse(m, p, p->family == 4 ? 3 : 2, (p->family == 4 ? 4 : 0) | (int)mtu << 8,
			 M_R(TOO_BIG));
}

/* Of this source, the oldest opening flow, or else the oldest closing one; or -1. */
static int victim(const struct model *m, const struct m_source *s)
{
	int best = -1;

	for (size_t i = 0; i < m->flow_count; i++) {
		const struct m_flow *f = &m->flow[i], *o = &m->flow[best < 0 ? 0 : best];

		if (!addr_equal(&f->client, &s->addr) || m_rank(f) == 2)
			continue;
		if (best < 0 || m_rank(f) < m_rank(o) ||
		    (m_rank(f) == m_rank(o) && f->order < o->order))
			best = (int)i;
	}
	return best;
}

static uint32_t attached_sources(const struct model *m)
{
	struct addr seen[2 * M_IFACES];
	uint32_t n = 0;

	for (size_t i = 1; i < M_IFACES; i++) {
		for (uint8_t family = 4; family <= 6; family += 2) {
			struct addr a = m_address(&m->iface[i], family);
			uint32_t k = 0;

			while (k < n && !addr_equal(&seen[k], &a))
				k++;
			if (m->iface[i].used && a.family && k == n)
				seen[n++] = a;
		}
	}
	return n;
}

/*
 * A source may have as many flows as are free for others, or what its quota says.
 * A few are kept for each that is there.
 */
static bool over_share(const struct model *m, const struct m_source *s)
{
	uint32_t own = 0, there = attached_sources(m), reserve = m->flow_max / 64;

	if (there && m->flow_max / 8 / there < reserve)
		reserve = m->flow_max / 8 / there;
	for (size_t i = 0; i < m->flow_count; i++)
		own += addr_equal(&m->flow[i].client, &s->addr);
	if (own >= (s->options.max_flows ? s->options.max_flows : SOURCE_FLOWS_MAX))
		return true;
	if (own < reserve)
		return m->flow_count >= m->flow_max;
	return own + reserve * there >= m->flow_max - m->flow_count;
}

/* N4, D2, T14: room for one more of this source, perhaps in place of one of its own. */
static bool make_room(struct model *m, const struct m_packet *p, const struct m_source *s)
{
	if (!over_share(m, s))
		return true;
	m->evict = victim(m, s);
	if (m->evict >= 0)
		return true;
	m_refuse(m, p, p->family == 4 ? 3 : 1, p->family == 4 ? 13 : 1, M_R(FLOW_LIMIT));
	size_first(m, p);
	return false;
}

static bool makes_flow(const struct m_packet *p, uint64_t *reasons)
{
	*reasons = M_R(TCP_NO_FLOW);
	if (p->proto == 6)
		return (p->flags & 0x17) == 2; /* T3 */
	*reasons = M_R(ICMP_NO_FLOW) | M_R(ICMP_TYPE);
	if (p->proto == icmp_of(p->family))
		return p->is_query;
	return true;
}

/* Its tuple. U11: without ports a flow is its addresses. */
static struct m_flow flow_of(const struct model *m, const struct m_packet *p,
			     const struct m_source *s)
{
	const struct engine_dns *dns = dns_of(m, &p->dst, p->proto, p->dport);
	struct m_flow f = { .proto = p->proto, .iface = p->port, .client = s->addr,
			    .asked = p->dst, .remote = dns ? dns->real : p->dst,
			    .cport = p->sport, .rport = p->dport, .epoch = s->epoch };

	f.seen = m->now;
	f.state = M_UNREPLIED;
	m_flow_timer(&f);
	return f;
}

/* Nothing stands in the way but ports. */
static void open_flow(struct model *m, struct m_packet *p, struct m_flow *f,
		      const struct m_source *s)
{
	bool by_address = !has_ports(p->family, p->proto);

	if (by_address && port_taken(m, f, 0, false, true)) {
		/* U11: refused like a port that cannot be had (2.2) */
		m_refuse(m, p, p->family == 4 ? 3 : 1, p->family == 4 ? 13 : 1, M_R(PROTOCOL));
		size_first(m, p);
		if (port_taken(m, f, 0, false, false))
			return;
	}
	if (!make_room(m, p, s))
		return;
	if (p->proto == 6)
		m_tcp_new(f, p);
	f->nat = by_address ? 0 : m_port_seen(m, p);
	m->after = *f;
	m->pending = (int)m->flow_count;
	m_translate(m, p, f, M_OUT);
	if (m->alt[m->alt_count - 1].kind == M_FORWARD &&
	    (m->seen->verdict == FRAME_FORWARD || m->seen->taken_count) &&
	    !m_port_legal(m, f, f->nat))
		m->alt_count--;
}

/* The first packet of what may become a flow: rules, uplink, room, port. */
void m_new_flow(struct model *m, struct m_packet *p)
{
	struct addr src = m_address(&m->iface[p->port], p->family);
	struct m_source *s = m_source_of(m, &src);
	enum rule_verdict v;
	struct m_flow f;
	uint64_t reasons;
	bool makes = makes_flow(p, &reasons);

	v = m_policy_verdict(m, s ? s->policy : NULL, p->family, p, &p->dst);
	if (!makes && v != RULE_REJECT)
		m_drop(m, reasons);
	if (v == RULE_DROP) {
		m_drop(m, M_R(NO_POLICY));
		return;
	}
	if (v == RULE_REJECT) {
		m_refuse(m, p, p->family == 4 ? 3 : 1, p->family == 4 ? 13 : 1, M_R(REJECTED));
		if (!makes && p->proto != 6)
			m_drop(m, reasons);
		return;
	}
	if (!m_uplink(m, p->family)) {
		m_refuse(m, p, p->family == 4 ? 3 : 1, p->family == 4 ? 1 : 0, M_R(NO_UPLINK));
		return;
	}
	if (!makes)
		return;
	f = flow_of(m, p, s);
	if (m_is_none(&f.remote)) {
		m_refuse(m, p, p->family == 4 ? 3 : 1, p->family == 4 ? 1 : 0, M_R(DNS_SERVER));
		m->alt[m->alt_count - 1].silent_too = true;
		size_first(m, p);
		return;
	}
	if (p->ttl <= 1) {
		m_refuse(m, p, p->family == 4 ? 11 : 3, 0, M_R(TTL));
		return;
	}
	open_flow(m, p, &f, s);
}
