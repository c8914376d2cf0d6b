// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What must hold of everything that comes out of the engine, whatever went in.
 */
#include "tests/fuzz/packet_world.h"

#include <stddef.h>

uint32_t flatten(const struct frame *f, uint8_t *out)
{
	uint32_t at = f->header_len;

	REQUIRE(f->header_len <= FRAME_HEADER_MAX && f->nseg <= FRAME_SEG_MAX);
	memcpy(out, f->header, f->header_len);
	for (unsigned int i = 0; i < f->nseg; i++) {
		REQUIRE(f->seg[i].len > 0 && f->seg[i].local != NULL);
		REQUIRE(at + f->seg[i].len <= DATAGRAM_ROOM);
		memcpy(out + at, f->seg[i].local, f->seg[i].len);
		at += f->seg[i].len;
	}
	REQUIRE(at == f->len);
	return at;
}

static unsigned int width_of(uint8_t family)
{
	return family == 4 ? 4 : 16;
}

static const uint8_t *src_of(const uint8_t *ip, uint8_t family)
{
	return ip + (family == 4 ? 12 : 8);
}

static const uint8_t *dst_of(const uint8_t *ip, uint8_t family)
{
	return ip + (family == 4 ? 16 : 24);
}

static bool is_addr(const uint8_t *p, uint8_t family, const char *text)
{
	uint8_t a[16];

	addr_of(a, family, text);
	return memcmp(p, a, width_of(family)) == 0;
}

static bool is_behind_us(const uint8_t *p, uint8_t family)
{
	for (int i = 1; i < PORTS; i++) {
		const struct port_state *s = &w.port[i];

		if (s->present && (family == 4 ? s->has4 : s->has6) &&
		    memcmp(p, family == 4 ? s->ip4 : s->ip6, width_of(family)) == 0)
			return true;
	}
	return w.connected && is_addr(p, family, address_text[family == 6][A_STOPPED]);
}

static uint32_t l4_header(const uint8_t *ip, const struct layout *l)
{
	if (l->proto == P_TCP)
		return (ip[l->l4 + 12] >> 4) * 4u;
	return l->sum_at || l->proto == P_UDP ? 8 : 0;
}

/* A virtual DNS server is another address behind us, and back */
static bool same_or_dns(const uint8_t *a, const uint8_t *b, uint8_t family, const struct layout *l,
			const uint8_t *ip, unsigned int port)
{
	if (memcmp(a, b, width_of(family)) == 0)
		return true;
	if (!w.dns_mapped || family != 4)
		return false;
	if (l->error)
		return true; /* the quoted packet's */
	return (l->proto == P_TCP || l->proto == P_UDP) && get16(ip + l->port_at[port]) == 53 &&
	       is_addr(a, 4, address_text[0][A_DNS_VIRTUAL]) &&
	       is_addr(b, 4, address_text[0][A_DNS_REAL]);
}

/* --- datagrams ------------------------------------------------------------------------ */

/* The pattern of put_payload(): each byte says how far it is from the start. */
static void check_pattern(const uint8_t *p, uint32_t len)
{
	for (uint32_t i = 1; i < len; i++)
		REQUIRE((uint8_t)(p[i] - i * 7 - (i >> 8)) == p[0]);
}

static void check_partial(const struct frame *f, const uint8_t *ip, const struct layout *l)
{
	uint32_t sum = pseudo_header_sum(ip, l->family, l->proto, l->len - l->l4);

	REQUIRE(f->csum_start == ETH + l->l4 && f->csum_offset == l->sum_at - l->l4);
	REQUIRE(get16(ip + l->sum_at) % 0xffff == sum_of(NULL, 0, sum) % 0xffff);
}

/* P4: the IP checksum always, the upper layer's if it was */
static void check_sums(const struct frame *f, const uint8_t *ip, const struct layout *l)
{
	bool ip_ok, ok = sums_right(ip, l, &ip_ok);

	REQUIRE(ip_ok);
	if (l->family == 6 && l->proto == P_UDP && !l->fragment && f->csum != CSUM_PARTIAL)
		REQUIRE(get16(ip + l->sum_at) != 0);
	if (!w.sum_known)
		return;
	if (f->csum == CSUM_PARTIAL && l->sum_at)
		check_partial(f, ip, l);
	else
		REQUIRE(ok);
}

/* P11: what leaves fits, or the receiver was told how to cut it */
static void check_size(const struct frame *f, const uint8_t *ip, const struct layout *l)
{
	uint32_t len = l->len;

	if (f->gso && l->l4 + l4_header(ip, l) + f->gso_size < len)
		len = l->l4 + l4_header(ip, l) + f->gso_size;
	REQUIRE(len <= w.port[f->out_port].mtu);
}

static void check_macs(const struct frame *f, const uint8_t *b)
{
	if (f->out_port == UPLINK) {
		REQUIRE(memcmp(b + 6, macs[UPLINK], 6) == 0);
		return;
	}
	REQUIRE(memcmp(b, macs[f->out_port], 6) == 0);
	REQUIRE(memcmp(b + 6, backend_mac, 6) == 0);
}

/* --- forwarded as they came ------------------------------------------------------------- */

static void check_outbound(const uint8_t *in, const uint8_t *out, const struct layout *l)
{
	const struct port_state *s = &w.port[w.f.in_port], *up = &w.port[UPLINK];
	unsigned int n = width_of(l->family);

	REQUIRE(l->family == 4 ? s->has4 && up->has4 : s->has6 && up->has6);
	REQUIRE(memcmp(src_of(in, l->family), l->family == 4 ? s->visible : s->ip6, n) == 0);
	REQUIRE(memcmp(src_of(out, l->family), l->family == 4 ? up->ip4 : up->ip6, n) == 0);
	REQUIRE(!is_behind_us(dst_of(out, l->family), l->family)); /* Q3, Q10 */
	REQUIRE(same_or_dns(dst_of(in, l->family), dst_of(out, l->family), l->family, l, out, 1));
}

static void check_inbound(const uint8_t *in, const uint8_t *out, const struct layout *l)
{
	const struct port_state *s = &w.port[w.f.out_port], *up = &w.port[UPLINK];
	unsigned int n = width_of(l->family);

	REQUIRE(l->family == 4 ? s->has4 && up->has4 : s->has6 && up->has6);
	REQUIRE(memcmp(dst_of(in, l->family), l->family == 4 ? up->ip4 : up->ip6, n) == 0);
	REQUIRE(memcmp(dst_of(out, l->family), l->family == 4 ? s->visible : s->ip6, n) == 0);
	REQUIRE(!is_behind_us(src_of(in, l->family), l->family)); /* Q10 */
	REQUIRE(same_or_dns(src_of(out, l->family), src_of(in, l->family), l->family, l, out, 0));
}

/* What a flow's next packets need to know */
static void remember(const uint8_t *in, const struct layout *li, const uint8_t *out,
		     const struct layout *l)
{
	struct memory *m = &w.flow[w.flows % FLOWS];
	unsigned int n = l->len < QUOTE ? l->len : QUOTE, dir = w.f.in_port == UPLINK;

	if (l->error || !l->port_at[0])
		return;
	for (unsigned int i = 0; i < FLOWS; i++) {
		struct memory *o = &w.flow[i];
		const uint8_t *remote = dir ? src_of(in, l->family) : dst_of(out, l->family);

		if (o->used && o->family == l->family && o->proto == l->proto &&
		    o->nat == (dir ? get16(in + li->port_at[1]) : get16(out + l->port_at[0])) &&
		    memcmp(o->real, remote, width_of(l->family)) == 0) {
			memcpy(o->last[dir], out, n);
			o->last_len[dir] = (uint16_t)n;
			return;
		}
	}
	if (dir)
		return;
	w.flows++;
	memset(m, 0, offsetof(struct memory, last));
	m->used = true;
	m->port = (uint8_t)w.f.in_port;
	m->family = l->family;
	m->proto = l->proto;
	memcpy(m->local, src_of(in, l->family), width_of(l->family));
	memcpy(m->remote, dst_of(in, l->family), width_of(l->family));
	memcpy(m->real, dst_of(out, l->family), width_of(l->family));
	m->nat = get16(out + l->port_at[0]);
	m->sport = get16(in + li->port_at[0]);
	m->dport = get16(out + l->l4 + (l->proto == P_TCP || l->proto == P_UDP ? 2 : 6));
	memcpy(m->last[0], out, n);
	m->last_len[0] = (uint16_t)n;
	m->last_len[1] = 0;
}

static void check_forward(void)
{
	const uint8_t *in = w.in + ETH, *out = w.out + ETH;
	struct layout li = parse(in, w.in_len - ETH), lo = parse(out, w.out_len - ETH);
	uint32_t head;

	REQUIRE(w.f.in_port < PORTS && w.f.out_port < PORTS);
	REQUIRE(w.port[w.f.in_port].present && w.port[w.f.out_port].link);
	REQUIRE(li.ok && lo.ok && li.family == lo.family && li.proto == lo.proto);
	REQUIRE(lo.len == w.out_len - ETH); /* P2: padding is cut */
	REQUIRE(!lo.fragment && !lo.frag_at);
	REQUIRE(li.ttl > 1 && lo.ttl == li.ttl - 1);
	check_macs(&w.f, w.out);
	check_sums(&w.f, out, &lo);
	check_size(&w.f, out, &lo);
	/* Q3, Q4: one side is the uplink, and flows start on the other */
	REQUIRE((w.f.in_port == UPLINK) != (w.f.out_port == UPLINK));
	if (w.f.in_port == UPLINK)
		check_inbound(in, out, &lo);
	else
		check_outbound(in, out, &lo);
	head = l4_header(out, &lo);
	REQUIRE(li.len - li.l4 == lo.len - lo.l4 && lo.l4 + head <= lo.len);
	if (!lo.error)
		REQUIRE(memcmp(in + li.l4 + head, out + lo.l4 + head, lo.len - lo.l4 - head) == 0);
	remember(in, &li, out, &lo);
}

/* --- answers ---------------------------------------------------------------------------- */

/* ... as the client knows us */
static bool is_from_gateway(const uint8_t *ip, const struct layout *l, unsigned int port)
{
	const char *gateway = w.port[port].fake && l->family == 4
				  ? "192.168.7.1"
				  : address_text[l->family == 6][A_OUR];

	return is_addr(src_of(ip, l->family), l->family, gateway);
}

/* ... or by our address on the uplink */
static bool is_from_us(const uint8_t *ip, const struct layout *l, unsigned int port)
{
	const struct port_state *up = &w.port[UPLINK];

	return is_from_gateway(ip, l, port) ||
	       memcmp(src_of(ip, l->family), l->family == 4 ? up->ip4 : up->ip6,
		      width_of(l->family)) == 0;
}

/* I8: an own error quotes what the client sent, from the address it knows us by */
static void check_error_reply(const uint8_t *out, const struct layout *lo)
{
	const uint8_t *in = w.in + ETH;
	struct layout li = parse(in, w.in_len - ETH);
	uint32_t quoted = lo->len - lo->l4 - 8;

	REQUIRE(li.ok && quoted <= li.len);
	/* a partial checksum may have been completed; the header of an atomic fragment
	 * has been taken off (F8) */
	for (uint32_t i = 0; i < quoted && !li.frag_at; i++)
		REQUIRE(out[lo->l4 + 8 + i] == in[i] ||
			(w.in_partial && li.sum_at && i - li.sum_at < 2));
	REQUIRE(lo->len <= (lo->family == 4 ? 576 : 1280));
	REQUIRE(!li.later); /* I9 */
	REQUIRE(!li.error); /* I5 */
	REQUIRE(memcmp(dst_of(out, lo->family), src_of(in, lo->family), width_of(lo->family)) == 0);
	if (w.f.in_port == UPLINK)
		REQUIRE(is_from_us(out, lo, UPLINK));
	else
		REQUIRE(is_from_gateway(out, lo, w.f.in_port));
}

static void check_reply(void)
{
	const uint8_t *out = w.out + ETH;
	uint16_t type = get16(w.out + 12);
	struct layout lo;
	bool ip_ok, ok;

	REQUIRE(w.f.in_port < PORTS && w.f.in_port == w.f.out_port);
	if (type == 0x0806) {
		REQUIRE(w.out_len == 42);
		return;
	}
	REQUIRE(type == 0x0800 || type == 0x86dd);
	lo = parse(out, w.out_len - ETH);
	REQUIRE(lo.ok && lo.len == w.out_len - ETH);
	REQUIRE(lo.proto == (lo.family == 4 ? P_ICMP : P_ICMP6));
	ok = sums_right(out, &lo, &ip_ok);
	REQUIRE(ip_ok);
	if (lo.error) {
		REQUIRE(ok && w.f.csum != CSUM_PARTIAL);
		/* to the outside only what the path of a flow needs (P6, I4) */
		if (w.f.in_port == UPLINK)
			REQUIRE(w.f.reason == DROP_TTL || w.f.reason == DROP_TOO_BIG);
		check_error_reply(out, &lo);
	} else if (w.f.csum != CSUM_PARTIAL) {
		REQUIRE(ok || !w.sum_known);
	}
}

void check_verdict(void)
{
	REQUIRE(w.f.verdict <= FRAME_REPLY && w.f.reason < DROP_REASON_MAX);
	if (w.f.verdict == FRAME_DROP)
		return;
	w.out_len = flatten(&w.f, w.out);
	if (w.f.verdict == FRAME_FORWARD) {
		REQUIRE(w.f.reason == DROP_NONE);
		check_forward();
	} else {
		w.answers += w.f.reason == DROP_NONE;
		check_reply();
	}
}

/* --- what the engine sends of its own ------------------------------------------------------ */

/* A datagram on its way out in pieces, in order. */
static struct {
	bool open;
	uint16_t port;
	uint8_t family;
	uint32_t id, head, have;
	uint8_t b[DATAGRAM_ROOM + 64];
} whole;

static void check_datagram(const struct frame *f, const uint8_t *ip, uint32_t len)
{
	struct layout l = parse(ip, len);
	bool ip_ok, ok;
	uint32_t head;

	REQUIRE(l.ok && l.len == len && !l.fragment);
	ok = sums_right(ip, &l, &ip_ok);
	REQUIRE(ip_ok && (ok || !w.sum_known));
	/* what goes back to a port that has just gone down gets lost there */
	REQUIRE(w.port[f->out_port].link || is_from_us(ip, &l, f->out_port));
	if (f->out_port != UPLINK && !l.error && is_from_us(ip, &l, f->out_port))
		w.answers++; /* an echo request that came in pieces */
	if (!w.pattern || l.error || l.proto == P_ICMP6)
		return;
	head = l4_header(ip, &l);
	REQUIRE(l.l4 + head <= l.len);
	check_pattern(ip + l.l4 + head, l.len - l.l4 - head);
	if (f->out_port == UPLINK) {
		REQUIRE(!is_behind_us(dst_of(ip, l.family), l.family));
		REQUIRE(!is_behind_us(src_of(ip, l.family), l.family));
	} else {
		REQUIRE(!is_behind_us(src_of(ip, l.family), l.family)); /* F17, Q3 */
	}
}

static void open_whole(const struct frame *f, const struct layout *l)
{
	REQUIRE(!whole.open);
	whole.open = true;
	whole.port = f->out_port;
	whole.family = l->family;
	whole.id = l->id;
	whole.have = 0;
	whole.head = l->family == 4 ? l->l4 : l->frag_at;
	memcpy(whole.b, w.out + ETH, whole.head);
	if (l->family == 6)
		whole.b[6] = w.out[ETH + l->frag_at];
}

static void check_fragment(const struct frame *f, const struct layout *l)
{
	uint32_t at = l->family == 4 ? l->l4 : l->frag_at + 8u, data = l->len - at;
	uint8_t *ip = whole.b;

	if (l->offset == 0)
		open_whole(f, l);
	REQUIRE(whole.open && whole.port == f->out_port && whole.id == l->id);
	REQUIRE(whole.family == l->family && whole.have == l->offset);
	REQUIRE(!l->more || data % 8 == 0); /* F16 */
	REQUIRE(data > 0 && whole.head + whole.have + data <= 65535 + 40);
	memcpy(ip + whole.head + whole.have, w.out + ETH + at, data);
	whole.have += data;
	if (l->more)
		return;
	whole.open = false;
	if (whole.family == 4) {
		put16(ip + 2, whole.head + whole.have);
		put16(ip + 6, 0);
		put16(ip + 10, 0);
		put16(ip + 10, (uint16_t)~sum_of(ip, whole.head, 0));
	} else {
		put16(ip + 4, whole.head - 40 + whole.have);
	}
	check_datagram(f, ip, whole.head + whole.have);
}

void check_taken(const struct frame *f)
{
	uint16_t type;
	struct layout l;
	bool ip_ok;

	w.out_len = flatten(f, w.out);
	type = get16(w.out + 12);
	REQUIRE(f->verdict == FRAME_FORWARD && f->reason == DROP_NONE && f->in_port == PORT_NONE);
	REQUIRE(f->out_port < PORTS && w.port[f->out_port].present);
	if (type == 0x0806) {
		REQUIRE(w.out_len == 42);
		return;
	}
	REQUIRE(type == 0x0800 || type == 0x86dd);
	check_macs(f, w.out);
	l = parse(w.out + ETH, w.out_len - ETH);
	REQUIRE(l.ok && l.len == w.out_len - ETH && l.len <= w.port[f->out_port].mtu);
	(void)sums_right(w.out + ETH, &l, &ip_ok);
	REQUIRE(ip_ok && f->gso == GSO_NONE);
	if (l.fragment)
		check_fragment(f, &l);
	else if (f->csum != CSUM_PARTIAL)
		check_datagram(f, w.out + ETH, l.len);
}

void check_drained(void)
{
	REQUIRE(!whole.open);
}

void check_counts(void)
{
	const struct engine_stats *st = engine_stats(w.e);
	uint64_t sum = st->forwarded + w.answers;

	for (int i = 0; i < DROP_REASON_MAX; i++)
		sum += st->drops[i];
	REQUIRE(sum == w.frames_in + st->assembled); /* D8 */
	REQUIRE(st->emitted == w.taken && st->replied >= w.answers);
	REQUIRE(st->flows_active <= st->flow_max);
}
