// SPDX-License-Identifier: GPL-2.0-or-later
/* From a step to the bytes of a frame. */
#include "tests/model/wire.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t backend[6] = { 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff };

static const char *const remote4[] = {
	"192.0.2.80", "192.0.2.53", "203.0.113.9", "198.51.100.7", "10.139.1.1", "10.139.1.2",
	"10.137.0.99", NULL /* gateway */, "10.137.0.2", "10.137.0.6", "10.137.0.5",
	"224.0.0.251", "255.255.255.255", "127.0.0.1", "0.0.0.0" };
static const char *const remote6[] = {
	"2001:db8::80", "2001:db8::53", "2001:db8:1::9", "2001:db8:0:1::7", "2001:db8::1:1",
	"2001:db8::1:2", "fd09:24ef:4179::a89:99", NULL, "fd09:24ef:4179::a89:2",
	"fd09:24ef:4179::a89:6", "fd09:24ef:4179::a89:5", "ff02::fb", "ff05::1", "::1", "::" };

/* As the client knows it. */
struct addr wire_remote(const struct model *m, const struct talk *t)
{
	const char *text = t->family == 4 ? remote4[t->remote % 15] : remote6[t->remote % 15];

	return text ? wire_addr(text) : m_gateway(&m->iface[t->client], t->family);
}

/* As the uplink knows it. */
static struct addr real_remote(const struct model *m, const struct talk *t)
{
	struct addr a = wire_remote(m, t);

	for (size_t i = 0; i < m->dns_count; i++)
		if (t->dport == 53 && addr_equal(&m->dns[i].virt, &a) && m->dns[i].real.family)
			return m->dns[i].real;
	return a;
}

/* Our port for the conversation; without a flow, the client's own. */
static uint16_t nat_port(const struct model *m, const struct talk *t)
{
	struct m_packet p = { .port = t->client };
	struct addr a = wire_remote(m, t);
	bool icmp = t->proto == (t->family == 4 ? 1 : 58);
	int i = m_flow_out(m, &p, t->proto, &a, t->sport, icmp ? 0 : t->dport);

	return i < 0 ? t->sport : m->flow[i].nat;
}

/* --- packets -------------------------------------------------------------------------- */

/* How one packet looks at one side of the firewall. */
struct view {
	struct addr src, dst;
	uint16_t sport, dport;
};

static struct view view_of(const struct model *m, const struct talk *t, enum m_dir flow_dir,
			   bool at_client)
{
	const struct m_iface *c = &m->iface[t->client];
	struct engine_iface fallback;
	struct addr local, remote = at_client ? wire_remote(m, t) : real_remote(m, t);
	uint16_t lport = at_client ? t->sport : nat_port(m, t);
	struct view v;

	local = at_client ? m_wire_address(c, t->family) : m_address(&m->iface[0], t->family);
	if (!local.family) { /* it has none: take the one it would have */
		wire_iface(at_client ? t->client : 0, 0, &fallback);
		local = t->family == 4 ? fallback.ip4 : fallback.ip6;
		if (!local.family)
			local = wire_addr("fd09:24ef:4179::a89:7");
	}
	if (!remote.family)
		remote = t->family == 4 ? wire_addr("10.137.0.2")
					: wire_addr("fd09:24ef:4179::a89:2");
	v.src = flow_dir == M_OUT ? local : remote;
	v.dst = flow_dir == M_OUT ? remote : local;
	v.sport = flow_dir == M_OUT ? lport : t->dport;
	v.dport = flow_dir == M_OUT ? t->dport : lport;
	if (t->proto == (t->family == 4 ? 1 : 58))
		v.sport = lport;
	return v;
}

static uint32_t put_tcp(const struct spec *p, uint8_t *l4)
{
	uint32_t n = 20;

	m_put32(l4 + 4, p->seq);
	m_put32(l4 + 8, p->ack);
	l4[13] = p->flags;
	m_put16(l4 + 14, p->win);
	for (unsigned int i = 0; i < p->odd; i++)
		l4[n++] = 1;
	if (p->mss) {
		memcpy(l4 + n, "\x02\x04", 2);
		m_put16(l4 + n + 2, p->mss);
		n += 4;
	}
	if (p->wscale != 0xff) {
		memcpy(l4 + n, "\x03\x03", 2);
		l4[n + 2] = p->wscale;
		n += 3;
	}
	while (n % 4)
		l4[n++] = 0;
	l4[12] = (uint8_t)(n / 4 << 4);
	return n;
}

/* Headers and payload of the upper layer, without checksum. */
static uint32_t put_l4(const struct spec *p, const struct view *v, enum m_dir flow_dir, uint8_t *l4)
{
	uint8_t proto = p->talk.proto;
	bool icmp = proto == (p->talk.family == 4 ? 1 : 58);
	uint32_t head = 0;

	memset(l4, 0, 60);
	if (proto == 6 || proto == 17) {
		m_put16(l4, v->sport);
		m_put16(l4 + 2, v->dport);
		head = 8;
		if (proto == 6)
			head = put_tcp(p, l4);
		else
			m_put16(l4 + 4, 8u + p->len);
	} else if (icmp) {
		l4[0] = p->talk.family == 4 ? (flow_dir == M_OUT ? 8 : 0)
					    : (flow_dir == M_OUT ? 128 : 129);
		if (p->type != 0xff)
			l4[0] = p->type;
		l4[1] = p->code;
		m_put16(l4 + 4, v->sport);
		m_put16(l4 + 6, p->icmp_seq);
		head = 8;
	}
	for (uint32_t i = 0; i < p->len; i++)
		l4[head + i] = (uint8_t)(i * 7 + (p->seq ^ p->id) + (i >> 8) * 13);
	return head + p->len;
}

/* Chains that must not pass; returns their length, 0 when it is none of those. */
static uint32_t put_bad_chain(uint8_t kind, uint8_t *at, uint8_t *next)
{
	uint8_t last = *next;
	uint32_t n;

	switch (kind) {
	case 9: /* hop-by-hop, second */
		*next = 60;
		memset(at, 0, 16);
		at[8] = last;
		return 16;
	case 10: /* nine of them */
		*next = 60;
		memset(at, 0, 80);
		for (n = 0; n < 80; n += 8)
			at[n] = n == 72 ? last : 60;
		return 80;
	case 11: /* one that is longer than the copy */
		*next = 60;
		memset(at, 0, 256);
		at[0] = last;
		at[1] = 31;
		return 256;
	case 12: /* jumbo payload */
		*next = 0;
		memset(at, 0, 8);
		at[0] = last;
		at[2] = 0xc2;
		at[3] = 4;
		return 8;
	default:
		return 0;
	}
}

/* P7 */
static uint32_t put_chain(uint8_t kind, uint8_t *at, uint8_t *next)
{
	/* types, then what is special about the routing header: segments left, type 0 */
	static const uint8_t chain[][5] = { { 0 },	     { 60 },	     { 43 },
					    { 60, 43, 60 },  { 43, 0, 0, 0, 1 },
					    { 43, 0, 0, 0, 2 }, { 60, 60, 60 }, { 59 } };
	uint8_t last = *next;
	uint32_t n = 0;

	if (kind == 8) { /* hop-by-hop, first */
		*next = 0;
		memset(at, 0, 8);
		at[0] = last;
		at[2] = 1;
		at[3] = 4;
		return 8;
	}
	if (kind > 8)
		return put_bad_chain(kind, at, next);
	*next = chain[kind][0];
	for (unsigned int i = 0; i < 3 && chain[kind][i]; i++) {
		memset(at + n, 0, 8);
		at[n] = i < 2 && chain[kind][i + 1] ? chain[kind][i + 1] : last;
		if (chain[kind][i] == 43) {
			at[n + 2] = chain[kind][4] == 2 ? 0 : 4;
			at[n + 3] = chain[kind][4] == 1;
		}
		n += 8;
	}
	return n;
}

/* IP options (P5) or extension headers; *next: the type of the first one. */
static uint32_t put_extra(const struct spec *p, uint8_t *at, uint8_t *next)
{
	static const uint8_t v4[][12] = { { 0 },      { 1, 1, 1, 1 }, { 7, 7, 4 }, { 131, 3, 4 },
					  { 148, 4 }, { 68, 12 },     { 1, 9 } };
	static const uint8_t v4_len[] = { 0, 4, 8, 4, 4, 12, 4 };

	if (p->hdr == 0)
		return 0;
	if (p->talk.family == 6)
		return put_chain(p->hdr, at, next);
	if (p->hdr >= sizeof(v4_len))
		return 0;
	memcpy(at, v4[p->hdr], v4_len[p->hdr]);
	return v4_len[p->hdr];
}

static void put_sums(const struct spec *p, uint8_t *ip, uint32_t l4, uint32_t len, uint8_t proto,
		     bool inner)
{
	uint32_t at = m_sum_at(p->talk.family, proto);
	bool partial = p->csum == CSUM_PARTIAL && !inner;

	if (at && len >= at + 2) {
		uint16_t sum;

		m_put16(ip + l4 + at, 0);
		sum = m_l4_sum(ip, proto, ip + l4, len, at, partial);
		if (proto == 17 && sum == 0)
			sum = 0xffff;
		if (proto == 17 && p->no_csum && !partial)
			sum = 0;
		else if (p->bad_csum)
			sum ^= 0x0100;
		m_put16(ip + l4 + at, sum);
	}
	if (p->talk.family == 4) {
		uint32_t ihl = (ip[0] & 15u) * 4;

		m_put16(ip + 10, 0);
		if (ihl >= 20)
			m_put16(ip + 10, (uint16_t)~m_sum(ip, ihl, 0));
	}
}

/* An IP header and what is in front of the upper layer; returns its length. */
static uint32_t put_ip(const struct spec *p, const struct view *v, uint8_t proto, uint32_t l4_len,
		       const uint8_t *l4, uint8_t *ip, bool plain)
{
	struct spec q = *p;
	uint32_t n;
	uint8_t next = proto;

	if (plain)
		q.hdr = 0;
	if (p->talk.family == 4) {
		memset(ip, 0, 20);
		n = 20 + put_extra(&q, ip + 20, &next);
		ip[0] = (uint8_t)(0x40 | n / 4);
		ip[1] = p->tos;
		m_put16(ip + 2, n + l4_len);
		m_put16(ip + 4, p->id);
		m_put16(ip + 6, p->df ? 0x4000 : 0);
		ip[8] = p->ttl;
		ip[9] = proto;
		m_put_addr(ip + 12, &v->src);
		m_put_addr(ip + 16, &v->dst);
	} else {
		memset(ip, 0, 40);
		n = 40 + put_extra(&q, ip + 40, &next);
		m_put32(ip, 0x60000000u | (uint32_t)p->tos << 20 | p->id);
		m_put16(ip + 4, n - 40 + l4_len);
		ip[6] = next;
		ip[7] = p->ttl;
		m_put_addr(ip + 8, &v->src);
		m_put_addr(ip + 24, &v->dst);
	}
	memmove(ip + n, l4, l4_len);
	return n;
}

static void mutate(const struct spec *p, uint8_t *ip, uint32_t l4, uint32_t len)
{
	for (unsigned int i = 0; i < p->mutations; i++) {
		const struct mutation *u = &p->mutation[i];
		uint32_t at = u->at;

		if (u->where == MUT_ETHER)
			continue;
		if (u->where == MUT_L4)
			at += l4;
		if (u->where == MUT_INNER)
			at += l4 + 8;
		if (at < len)
			ip[at] ^= u->flip;
	}
}

/* Cut one piece out of the packet; returns its length. */
static uint32_t cut_piece(const struct spec *p, uint8_t *ip, uint32_t l4, uint32_t len,
			  uint8_t proto)
{
	uint32_t n = p->piece_len, from = l4 + p->off;
	uint8_t frag[8] = { proto };

	if (from > len)
		from = len;
	if (n > len - from)
		n = len - from;
	if (p->tweak && n)
		ip[from + n / 2] ^= 0x55;
	if (p->talk.family == 4) {
		memmove(ip + l4, ip + from, n);
		m_put16(ip + 2, l4 + n);
		m_put16(ip + 4, p->frag_id & 0xffff);
		m_put16(ip + 6, (p->df ? 0x4000u : 0) | (p->more ? 0x2000u : 0) | p->off / 8u);
		m_put16(ip + 10, 0);
		m_put16(ip + 10, (uint16_t)~m_sum(ip, l4, 0));
		return l4 + n;
	}
	m_put16(frag + 2, (p->off & 0xfff8u) | p->more);
	m_put32(frag + 4, p->frag_id);
	memmove(ip + l4 + 8, ip + from, n);
	memcpy(ip + l4, frag, 8);
	if (l4 == 40)
		ip[6] = 44;
	else /* the last header in front names it */
		for (uint32_t at = 40; at < l4; at += 8 + 8u * ip[at + 1])
			if (at + 8 + 8u * ip[at + 1] >= l4)
				ip[at] = 44;
	m_put16(ip + 4, l4 - 40 + 8 + n);
	return l4 + 8 + n;
}

/* Payload that makes the checksum zero behind the firewall: then it is 0xffff (P4). */
static void aim_at_zero(const struct model *m, const struct spec *p, uint8_t *l4, uint32_t len)
{
	struct view there = view_of(m, &p->talk, (enum m_dir)p->dir, p->dir != M_OUT);
	uint8_t ip[40] = { p->talk.family == 4 ? 0x45 : 0x60 };
	uint16_t ports[2] = { m_get16(l4), m_get16(l4 + 2) };

	m_put_addr(ip + (p->talk.family == 4 ? 12 : 8), &there.src);
	m_put_addr(ip + (p->talk.family == 4 ? 16 : 24), &there.dst);
	m_put16(l4, there.sport);
	m_put16(l4 + 2, there.dport);
	m_put16(l4 + 8, 0);
	m_put16(l4 + 8, m_l4_sum(ip, 17, l4, len, 6, false));
	m_put16(l4, ports[0]);
	m_put16(l4 + 2, ports[1]);
}

static uint32_t put_packet(const struct model *m, const struct spec *p, uint8_t *ip)
{
	static uint8_t l4[M_BYTES];
	enum m_dir flow_dir = p->error ? (enum m_dir)!p->dir : (enum m_dir)p->dir;
	bool at_client = p->dir == M_OUT;
	struct view v = view_of(m, &p->talk, flow_dir, at_client);
	uint8_t proto = p->talk.proto;
	uint32_t len, head;

	if (p->wrong == 1)
		v.src.bytes[v.src.family == 4 ? 3 : 15] ^= 0x30;
	len = put_l4(p, &v, flow_dir, l4);
	if (p->zero && proto == 17 && len >= 10 && !p->error)
		aim_at_zero(m, p, l4, len);
	if (p->error) {
		struct view outer = { .src = v.dst, .dst = v.src };
		struct talk router = p->talk;

		head = put_ip(p, &v, proto, len, l4, ip, true);
		put_sums(p, ip, head, len, proto, true);
		len += head;
		if (len > p->quote)
			len = p->quote;
		memmove(l4 + 8, ip, len);
		memset(l4, 0, 8);
		l4[0] = p->error_type;
		l4[1] = p->error_code;
		m_put32(l4 + 4, p->info);
		len += 8;
		router.remote = p->router;
		if (p->router != 0xff && p->dir == M_IN)
			outer.src = wire_remote(m, &router);
		if (p->router != 0xff && p->dir == M_OUT)
			outer.dst = wire_remote(m, &router);
		v = outer;
		proto = p->talk.family == 4 ? 1 : 58;
	}
	head = put_ip(p, &v, proto, len, l4, ip, false);
	if (p->refix)
		mutate(p, ip, head, head + len);
	put_sums(p, ip, head, len, proto, false);
	if (!p->refix)
		mutate(p, ip, head, head + len);
	len += head;
	if (p->piece)
		len = cut_piece(p, ip, head, len, proto);
	return len;
}

static uint32_t put_arp(const struct model *m, const struct spec *p, const struct engine_iface *i,
			uint8_t *b)
{
	struct addr target = wire_remote(m, &p->talk);
	struct addr own = i->visible4.family ? i->visible4 : i->ip4;

	if (p->dir == M_IN) {
		target = i->ip4;
		own = i->gateway4;
	}
	if (p->wrong == 1)
		own.bytes[3] ^= 0x30;
	memcpy(b, "\x00\x01\x08\x00\x06\x04\x00\x01", 8);
	memcpy(b + 8, i->mac, 6);
	if (p->dir == M_IN)
		memcpy(b + 8, "\x02\x77\x00\x00\x00\x01", 6);
	m_put_addr(b + 14, &own);
	memset(b + 18, 0, 6);
	m_put_addr(b + 24, &target);
	return 28;
}

static uint32_t put_ndp(const struct model *m, const struct spec *p, const struct engine_iface *i,
			uint8_t *ip)
{
	struct talk t = p->talk;
	struct addr target, own = i->ip6;

	t.family = 6;
	target = p->dir == M_IN ? i->ip6 : wire_remote(m, &t);
	if (p->dir == M_IN)
		own = i->gateway6;
	if (p->wrong == 1)
		own.bytes[15] ^= 0x30;
	memset(ip, 0, 72);
	ip[0] = 0x60;
	m_put16(ip + 4, 32);
	ip[6] = 58;
	ip[7] = p->ttl == 1 ? 254 : 255;
	memcpy(ip + 8, own.bytes, 16);
	memcpy(ip + 24, "\xff\x02\0\0\0\0\0\0\0\0\0\x01\xff", 13);
	memcpy(ip + 37, target.bytes + 13, 3);
	ip[40] = 135;
	memcpy(ip + 48, target.bytes, 16);
	ip[64] = 1;
	ip[65] = 1;
	memcpy(ip + 66, i->mac, 6);
	if (p->dir == M_IN)
		memcpy(ip + 66, "\x02\x77\x00\x00\x00\x01", 6);
	m_put16(ip + 42, m_l4_sum(ip, 58, ip + 40, 32, 2, false));
	if (p->bad_csum)
		ip[42] ^= 1;
	return 72;
}

/* The gateway's answer to our question. */
static uint32_t put_answer(const struct step *s, const struct engine_iface *i, uint8_t *b)
{
	static const uint8_t mac[6] = { 2, 0x77, 0, 0, 0, 2 };
	struct addr gw = s->a == 6 ? i->gateway6 : i->gateway4;

	memcpy(b, i->mac, 6);
	memcpy(b + 6, mac, 6);
	if (s->b == 1)
		gw.bytes[3] ^= 1;
	if (s->a == 4) {
		m_put16(b + 12, 0x0806);
		memcpy(b + 14, "\x00\x01\x08\x00\x06\x04\x00\x02", 8);
		memcpy(b + 22, mac, 6);
		memcpy(b + 28, gw.bytes, 4);
		memcpy(b + 32, i->mac, 6);
		memcpy(b + 38, i->ip4.bytes, 4);
		if (s->b == 2)
			b[25] ^= 1;
		return 42;
	}
	m_put16(b + 12, 0x86dd);
	memset(b + 14, 0, 72);
	b[14] = 0x60;
	m_put16(b + 18, 32);
	b[20] = 58;
	b[21] = 255;
	memcpy(b + 22, gw.bytes, 16);
	memcpy(b + 38, i->ip6.bytes, 16);
	b[54] = 136;
	b[58] = 0x60;
	memcpy(b + 62, gw.bytes, 16);
	b[78] = 2;
	b[79] = 1;
	memcpy(b + 80, mac, 6);
	m_put16(b + 56, m_l4_sum(b + 14, 58, b + 54, 32, 2, false));
	if (s->b == 2)
		b[56] ^= 1;
	return 86;
}

static void ether(const struct spec *p, const struct engine_iface *i, uint16_t type, uint8_t *b)
{
	memcpy(b, p->dir == M_OUT ? backend : i->mac, 6);
	memcpy(b + 6, i->mac, 6);
	if (p->dir == M_IN)
		memcpy(b + 6, "\x02\x77\x00\x00\x00\x01", 6);
	m_put16(b + 12, type);
	if (p->wrong == 2)
		b[4] ^= 2;
	if (p->wrong == 3 && p->dir == M_OUT)
		b[11] ^= 0x10;
	for (unsigned int k = 0; k < p->mutations; k++)
		if (p->mutation[k].where == MUT_ETHER)
			b[p->mutation[k].at % 14] ^= p->mutation[k].flip;
}

void wire_build(const struct model *m, const struct step *s, struct m_frame *out, uint8_t *b)
{
	const struct spec *p = &s->p;
	uint16_t port = s->kind == STEP_NEIGHBOUR || p->dir == M_IN ? 0 : p->talk.client;
	struct engine_iface i = m->iface[port].is;
	uint16_t type = p->talk.family == 4 ? 0x0800 : 0x86dd;
	uint32_t len;

	if (!m->iface[port].used)
		wire_iface(port, 0, &i);
	*out = (struct m_frame){ .port = port, .b = b };
	if (s->kind == STEP_NEIGHBOUR) {
		out->len = put_answer(s, &i, b);
		out->header_len = (uint16_t)out->len;
		return;
	}
	if (p->l2 == 1) {
		len = put_arp(m, p, &i, b + 14);
		type = 0x0806;
	} else if (p->l2 == 2) {
		len = put_ndp(m, p, &i, b + 14);
		type = 0x86dd;
	} else {
		len = put_packet(m, p, b + 14);
		out->csum = p->csum;
		if (p->gso) {
			out->gso = p->talk.family == 4 ? GSO_TCPV4 : GSO_TCPV6;
			out->gso_size = p->gso;
		}
	}
	ether(p, &i, type, b);
	len += 14;
	memset(b + len, 0xee, p->pad);
	len += p->pad;
	if (p->cut && p->cut < len)
		len = p->cut;
	out->len = len;
	out->copy_failed = p->failed;
	out->header_len = (uint16_t)(len < FRAME_HEADER_COPY ? len : FRAME_HEADER_COPY);
}
