// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The model: errors about flows (I2 to I11), the firewall's own address (Q5), ARP
 * and neighbour discovery (Q6, section 7).
 */
#include "tests/model/model.h"

#include <string.h>

static const uint8_t backend[6] = { 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff };
static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

/* The packet inside an error; offsets are in the frame. */
struct inner {
	uint8_t family, proto, type;
	struct addr src, dst;
	uint32_t ip, l4, len; /* len: of what is there of L4 */
	uint16_t sport, dport;
	uint32_t seq;
	bool bad_sum, fragment;
};

/* 0, or why it cannot be understood */
static uint64_t read_inner(struct m_packet *p, struct inner *in)
{
	uint32_t ip = p->l4 + 8, have = p->len > ip ? p->len - ip : 0, pos;
	uint32_t head = p->family == 4 ? 20 : 40;
	bool doubt = false;

	memset(in, 0, sizeof(*in));
	in->ip = ip;
	if (have < head)
		return M_R(L4_HEADER);
	if (p->b[ip] >> 4 != p->family)
		return M_ANY;
	if (p->family == 4) {
		pos = ip + (p->b[ip] & 15u) * 4;
		if ((p->b[ip] & 15) < 5)
			return M_ANY;
		in->proto = p->b[ip + 9];
		in->src = m_addr_at(p->b + ip + 12, 4);
		in->dst = m_addr_at(p->b + ip + 16, 4);
		if (pos <= p->len)
			in->bad_sum = m_sum(p->b + ip, pos - ip, 0) != 0xffff;
		in->fragment = m_get16(p->b + ip + 6) & 0x1fff;
	} else {
		pos = ip + 40;
		in->proto = p->b[ip + 6];
		in->src = m_addr_at(p->b + ip + 8, 6);
		in->dst = m_addr_at(p->b + ip + 24, 6);
		if (m_chain(p, &in->proto, &pos, &doubt) != 0)
			return M_ANY;
		if (in->proto == 44 && (m_get16(p->b + pos + 2) & 0xfff8))
			in->fragment = true;
		else if (in->proto == 44) {
			in->proto = p->b[pos];
			pos += 8;
		}
	}
	in->l4 = pos;
	if (in->fragment)
		return M_R(ICMP_NO_FLOW);
	/* RFC 792: eight bytes, that is ports, of what has ports */
	if (pos > p->len || (p->len < pos + 8 && (in->proto == 6 || in->proto == 17 ||
						  in->proto == p->proto)))
		return M_R(L4_HEADER);
	in->len = p->len - pos;
	if (in->proto == (p->family == 4 ? 1 : 58)) {
		in->type = p->b[pos];
		in->sport = m_get16(p->b + pos + 4);
	} else if (in->proto == 6 || in->proto == 17) {
		in->sport = m_get16(p->b + pos);
		in->dport = m_get16(p->b + pos + 2);
		in->seq = m_get32(p->b + pos + 4);
	}
	return 0;
}

static bool before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

/* I3: 1 the sequence number fits the flow, 0 it cannot, -1 open */
static int sequence_fits(const struct m_flow *f, enum m_dir quoted, uint32_t seq)
{
	const struct m_side *s = &f->side[quoted], *r = &f->side[!quoted];
	uint32_t window = r->max_win > 66000 ? r->max_win : 66000;

	if (f->proto != 6)
		return 1;
	if (!s->known)
		return -1;
	if (before(s->end, seq))
		return before(s->end + window, seq) ? 0 : -1;
	if (window < 1u << 29 && before(seq, s->end - 2 * window))
		return 0;
	if (before(seq, s->end - r->max_win) && before(seq, s->start))
		return -1;
	return before(seq, s->end - r->max_win) ? -1 : 1;
}

/* What changes in a checksum when one number takes another's place. */
static void adjust(uint8_t *field, uint32_t was, uint32_t is)
{
	uint16_t sum = (uint16_t)~m_get16(field);

	m_put16(field, (uint16_t)~m_fold((uint32_t)sum + (uint16_t)~m_fold(was) + m_fold(is)));
}

/* I2: addresses and port of the quoted packet, which goes the way @quoted */
static void rewrite_inner(const struct model *m, struct m_alt *a, const struct m_packet *p,
			  const struct inner *in, const struct m_flow *f, enum m_dir quoted)
{
	uint8_t *ip = a->f.b + in->ip, *l4 = a->f.b + in->l4, family = p->family;
	struct addr our = m_address(&m->iface[0], family), local, remote;
	bool to_client = quoted == M_OUT, icmp = in->proto == (family == 4 ? 1 : 58);
	uint32_t at = m_sum_at(family, in->proto), was, is;
	uint16_t port = to_client ? f->cport : f->nat;

	local = to_client ? m_wire_address(&m->iface[f->iface], family) : our;
	remote = to_client ? f->asked : f->remote;
	was = m_sum(ip + (family == 4 ? 12 : 8), family == 4 ? 8 : 32, 0);
	m_put_addr(ip + (family == 4 ? 12 : 8), quoted == M_OUT ? &local : &remote);
	m_put_addr(ip + (family == 4 ? 16 : 24), quoted == M_OUT ? &remote : &local);
	is = m_sum(ip + (family == 4 ? 12 : 8), family == 4 ? 8 : 32, 0);
	if (family == 4) {
		adjust(ip + 10, was, is);
		a->sum[a->sum_count++] = in->ip + 10;
	}
	if (icmp && family == 4)
		was = is = 0; /* no pseudo-header */
	if (icmp || in->proto == 6 || in->proto == 17) {
		uint8_t *field = l4 + (icmp ? 4 : quoted == M_OUT ? 0 : 2);

		was = m_fold(was + m_get16(field));
		m_put16(field, port);
		is = m_fold(is + port);
	}
	if (!at || in->len < at + 2 ||
	    ((in->proto == 17 || in->proto == 136) && m_get16(l4 + at) == 0))
		return;
	adjust(l4 + at, was, is);
	if (in->proto == 17 && m_get16(l4 + at) == 0)
		m_put16(l4 + at, 0xffff);
	a->sum[a->sum_count++] = in->l4 + at;
	if (in->proto == 17)
		a->udp_sum = in->l4 + at;
}

static void finish_error(struct m_alt *a, const struct m_packet *p)
{
	uint32_t len = p->len - p->l4;
	bool partial = p->csum == CSUM_PARTIAL;
	uint16_t was, is, field = m_get16(p->b + p->l4 + 2);
	uint8_t *icmp = a->f.b + p->l4;

	was = m_l4_sum(p->b + 14, p->proto, p->b + p->l4, len, 2, partial);
	is = m_l4_sum(a->f.b + 14, p->proto, icmp, len, 2, partial);
	if (was % 0xffff != field % 0xffff)
		is = m_fold((uint32_t)is + field + (uint16_t)~was);
	m_put16(icmp + 2, is);
	a->sum[a->sum_count++] = p->l4 + 2;
	if (p->family == 4) {
		m_put16(a->f.b + 24, 0);
		m_put16(a->f.b + 24, (uint16_t)~m_sum(a->f.b + 14, p->l4 - 14, 0));
	}
	if (partial) {
		a->f.csum_start = (uint16_t)p->l4;
		a->f.csum_offset = 2;
	}
}

static bool sum_is_wrong(const struct m_packet *p)
{
	uint32_t len = p->len - p->l4;

	if (p->csum == CSUM_PARTIAL)
		return false;
	return m_sum(p->b + p->l4, len, m_pseudo(p->b + 14, p->proto, len)) != 0xffff;
}

/* The flow it is about, or -1. */
static int flow_of_error(struct model *m, const struct m_packet *p, const struct inner *in)
{
	bool icmp = in->proto == (p->family == 4 ? 1 : 58);
	struct addr our = m_address(&m->iface[0], p->family);
	struct addr wire = m_wire_address(&m->iface[p->port], p->family);

	if (!p->from_client) { /* what we sent out comes back quoted */
		if (!addr_equal(&in->src, &our))
			return -1;
		return m_flow_in(m, in->proto, &in->dst, icmp ? 0 : in->dport, in->sport);
	}
	/* I3: to the sender of what it quotes, by whom that was sent to */
	if (!addr_equal(&in->dst, &wire) || !addr_equal(&in->src, &p->dst))
		return -1;
	return m_flow_out(m, p, in->proto, &in->src, icmp ? in->sport : in->dport,
			  icmp ? 0 : in->sport);
}

/* I5 */
static bool inner_is_error(const struct m_packet *p, const struct inner *in)
{
	if (in->proto != (p->family == 4 ? 1 : 58))
		return false;
	if (p->family == 6)
		return in->type < 128;
	return in->type != 0 && in->type != 8;
}

/* The type of an echo that goes this way. */
static uint8_t request_or_reply(uint8_t family, enum m_dir dir)
{
	if (family == 4)
		return dir == M_OUT ? 8 : 0;
	return dir == M_OUT ? 128 : 129;
}

static void pass_error(struct model *m, struct m_packet *p, const struct inner *in, int index)
{
	enum m_dir dir = p->from_client ? M_OUT : M_IN;
	struct m_flow *f = &m->flow[index];
	struct m_alt *a;

	if (dir == M_OUT && !m_uplink(m, p->family)) {
		m_drop(m, M_R(NO_UPLINK) | (p->ttl <= 1 ? M_R(TTL) : 0)); /* silent both */
		return;
	}
	if (dir == M_IN && !m->iface[f->iface].up) {
		m_drop(m, M_R(NO_IFACE) | (p->ttl <= 1 ? M_R(TTL) : 0));
		return;
	}
	if (p->ttl <= 1) {
		m_drop(m, M_R(TTL));
		return;
	}
	m_translate(m, p, f, dir);
	a = &m->alt[m->alt_count - 1];
	a->effect = false; /* I10 */
	rewrite_inner(m, a, p, in, f, !dir);
	finish_error(a, p);
	if (p->assembled) {
		a->max = p->largest;
		a->frag_at = p->data_at;
		a->frag_next_at = p->next_at;
		a->frag_id = p->id;
	}
}

void m_icmp_error(struct model *m, struct m_packet *p)
{
	bool whole = p->len <= p->header_len || p->assembled;
	enum m_dir quoted = p->from_client ? M_IN : M_OUT;
	struct inner in;
	uint64_t faults = read_inner(p, &in);
	int index, fits;

	/* only what was copied can be added up */
	if (sum_is_wrong(p))
		faults |= M_R(ICMP_CHECKSUM);
	if (faults && (faults != M_R(ICMP_CHECKSUM) || whole)) {
		/* TTL 1 of what is not passed on anyway: silent as well */
		m_drop(m, faults | M_R(ICMP_NO_FLOW) | M_R(ICMP_TYPE) | M_R(TTL));
		return;
	}
	if (inner_is_error(p, &in)) {
		m_drop(m, M_R(ICMP_TYPE) | M_R(ICMP_NO_FLOW));
		return;
	}
	if (in.proto == p->proto && in.type != request_or_reply(p->family, quoted)) {
		m_drop(m, M_R(ICMP_NO_FLOW)); /* nobody sent that */
		return;
	}
	index = flow_of_error(m, p, &in);
	if (index < 0 || !m_flow_epoch(m, index)) {
		m_drop(m, M_R(ICMP_NO_FLOW));
		return;
	}
	fits = sequence_fits(&m->flow[index], quoted, in.seq);
	if (fits <= 0 || in.bad_sum)
		m_drop(m, in.bad_sum ? M_ANY : M_R(ICMP_NO_FLOW));
	if (fits != 0)
		pass_error(m, p, &in, index);
}

/* --- the firewall's own address --------------------------------------------------------- */

static void answer_echo(struct model *m, const struct m_packet *p)
{
	struct m_alt *a = m_alt_add(m, M_ANSWER, M_R(NONE));
	uint8_t *b = a->f.b, *ip = b + 14, *icmp = b + p->l4;
	bool is4 = p->family == 4, partial = p->csum == CSUM_PARTIAL;
	uint32_t len = p->len - p->l4;
	uint16_t was, field = m_get16(p->b + p->l4 + 2), is;

	memcpy(b, p->b, p->len);
	memcpy(b, p->b + 6, 6);
	memcpy(b + 6, p->b, 6);
	m_put_addr(ip + (is4 ? 12 : 8), &p->dst);
	m_put_addr(ip + (is4 ? 16 : 24), &p->src);
	ip[is4 ? 8 : 7] = 64;
	icmp[0] = is4 ? 0 : 129;
	was = m_l4_sum(p->b + 14, p->proto, p->b + p->l4, len, 2, partial);
	is = m_l4_sum(ip, p->proto, icmp, len, 2, partial);
	if (was % 0xffff != field % 0xffff)
		is = m_fold((uint32_t)is + field + (uint16_t)~was);
	m_put16(icmp + 2, is);
	a->sum[a->sum_count++] = p->l4 + 2;
	if (is4) {
		m_put16(b + 24, 0);
		m_put16(b + 24, (uint16_t)~m_sum(ip, p->l4 - 14, 0));
	}
	a->f.port = p->port;
	a->f.len = p->len;
	a->f.csum = p->csum;
	a->f.gso = GSO_NONE;
	if (partial) {
		a->f.csum_start = (uint16_t)p->l4;
		a->f.csum_offset = 2;
	}
	if (p->assembled) {
		a->max = p->largest;
		a->frag_at = p->data_at;
		a->frag_next_at = p->next_at;
		a->frag_id = p->id;
	}
}

/* Q5, 2.2 */
void m_own_address(struct model *m, struct m_packet *p)
{
	bool icmp = p->proto == (p->family == 4 ? 1 : 58);

	if (icmp && p->is_query && p->len >= p->l4 + 8) {
		answer_echo(m, p);
		if (sum_is_wrong(p))
			m_drop(m, M_R(ICMP_CHECKSUM));
		return;
	}
	if (icmp && p->family == 6)
		m_refuse(m, p, 1, 1, M_R(TO_FIREWALL)); /* or silence: open */
	if (icmp || (p->proto == 17 && p->dport == 68)) {
		m_drop(m, M_R(TO_FIREWALL) | (icmp ? M_R(ICMP_TYPE) | M_R(NDP) : 0));
		return;
	}
	m_refuse(m, p, p->family == 4 ? 3 : 1, p->family == 4 ? 10 : 1, M_R(TO_FIREWALL));
}

/* --- ARP (Q6) ------------------------------------------------------------------------------ */

static void answer_arp(struct model *m, const struct m_frame *in, const uint8_t *mac)
{
	struct m_alt *a = m_alt_add(m, M_ANSWER, M_R(NONE));
	uint8_t *b = a->f.b;

	memcpy(b, in->b + 6, 6);
	memcpy(b + 6, mac, 6);
	memcpy(b + 12, in->b + 12, 8);
	m_put16(b + 20, 2);
	memcpy(b + 22, mac, 6);
	memcpy(b + 28, in->b + 38, 4);
	memcpy(b + 32, in->b + 22, 6);
	memcpy(b + 38, in->b + 28, 4);
	a->f.port = in->port;
	a->f.len = 42;
}

bool m_arp(struct model *m, const struct m_frame *in)
{
	static const uint8_t head[6] = { 0, 1, 8, 0, 6, 4 };
	struct m_iface *i = &m->iface[in->port];
	struct addr wire = m_wire_address(i, 4), sender, target;
	bool client = in->port != 0;
	uint16_t op;

	if (in->len < 42 || memcmp(in->b + 14, head, 6) != 0 || m_is_none(&wire) ||
	    memcmp(in->b + 22, in->b + 6, 6) != 0 || ((in->b[0] & 1) &&
	    memcmp(in->b, broadcast, 6) != 0)) {
		m_drop(m, M_R(ARP) | M_R(MULTICAST));
		return true;
	}
	op = m_get16(in->b + 20);
	sender = m_addr_at(in->b + 28, 4);
	target = m_addr_at(in->b + 38, 4);
	if (client) {
		if (op == 1 && addr_equal(&sender, &wire) && !addr_equal(&target, &wire))
			answer_arp(m, in, backend);
		else
			m_drop(m, M_R(ARP));
		return true;
	}
	if (op == 1 && addr_equal(&target, &wire) && !addr_equal(&sender, &wire)) {
		answer_arp(m, in, i->is.mac);
		return true;
	}
	if (op == 2 && i->asked[0] && addr_equal(&sender, &i->is.gateway4) &&
	    addr_equal(&target, &wire) && memcmp(in->b, i->is.mac, 6) == 0) {
		i->asked[0] = false;
		memcpy(i->gateway_mac[0], in->b + 6, 6);
		m_drop(m, M_R(NONE));
		return true;
	}
	m_drop(m, M_R(ARP));
	return true;
}

/* --- neighbour discovery ---------------------------------------------------------------------- */

/* The link-layer address option of a type; false: the options are broken. */
static bool nd_option(const struct m_packet *p, uint32_t at, uint8_t type, const uint8_t **mac)
{
	*mac = NULL;
	while (at < p->len) {
		uint32_t len = at + 2 <= p->len ? p->b[at + 1] * 8u : 0;

		if (len == 0 || at + len > p->len)
			return false;
		if (p->b[at] == type && len == 8)
			*mac = p->b + at + 2;
		at += len;
	}
	return true;
}

static bool is_zero(const uint8_t *b)
{
	static const uint8_t zero[16];

	return memcmp(b, zero, 16) == 0;
}

static void answer_ndp(struct model *m, const struct m_packet *p, const uint8_t *mac)
{
	struct m_alt *a = m_alt_add(m, M_ANSWER, M_R(NONE));
	uint8_t *b = a->f.b, *ip = b + 14, *icmp = b + 54;

	memset(b, 0, 86);
	memcpy(b, p->b + 6, 6);
	memcpy(b + 6, mac, 6);
	m_put16(b + 12, 0x86dd);
	ip[0] = 0x60;
	m_put16(ip + 4, 32);
	ip[6] = 58;
	ip[7] = 255;
	memcpy(ip + 8, p->b + p->l4 + 8, 16);
	m_put_addr(ip + 24, &p->src);
	icmp[0] = 136;
	/* router, override: the engine's choice; solicited, always */
	icmp[4] = 0x40;
	if (m->seen->verdict == FRAME_REPLY && m->seen->out.len == 86)
		icmp[4] |= m->seen->out.b[58] & 0xa0;
	memcpy(icmp + 8, p->b + p->l4 + 8, 16);
	icmp[24] = 2;
	icmp[25] = 1;
	memcpy(icmp + 26, mac, 6);
	m_put16(icmp + 2, m_l4_sum(ip, 58, icmp, 32, 2, false));
	a->f.port = p->port;
	a->f.len = 86;
}

/* RFC 4861 7.1.1; the reasons of what is not answered are not laid down */
bool m_ndp(struct model *m, struct m_packet *p)
{
	struct m_iface *i = &m->iface[p->port];
	struct addr own = m_wire_address(i, 6), target;
	const uint8_t *mac, *icmp = p->b + p->l4;
	bool client = p->from_client, good;

	if (p->proto != 58 || p->fragment || p->len < p->l4 + 1 || icmp[0] < 133 || icmp[0] > 137)
		return false;
	good = p->len >= p->l4 + 24 && p->ttl == 255 && icmp[1] == 0 && p->l4 == 54 &&
	       !sum_is_wrong(p) && icmp[8] != 0xff &&
	       nd_option(p, p->l4 + 24, icmp[0] == 135 ? 1 : 2, &mac) && p->csum != CSUM_PARTIAL;
	if (good && icmp[0] == 135) {
		target = m_addr_at(icmp + 8, 6);
		good = mac && memcmp(mac, p->b + 6, 6) == 0 && !is_zero(p->src.bytes);
		if (client)
			good = good && addr_equal(&p->src, &own) && !addr_equal(&target, &own);
		else
			good = good && addr_equal(&target, &own) && !addr_equal(&p->src, &own) &&
			       !m_is_downstream(m, &p->src);
		if (good) {
			answer_ndp(m, p, client ? backend : i->is.mac);
			return true;
		}
	}
	if (good && icmp[0] == 136 && !client && i->asked[1] && mac) {
		target = m_addr_at(icmp + 8, 6);
		if (addr_equal(&target, &i->is.gateway6) && addr_equal(&p->dst, &own) &&
		    addr_equal(&p->src, &target) && memcmp(mac, p->b + 6, 6) == 0) {
			i->asked[1] = false;
			memcpy(i->gateway_mac[1], mac, 6);
			m_drop(m, M_R(NONE));
			return true;
		}
	}
	m_drop(m, M_R(NDP) | M_R(SPOOFED));
	return true;
}

/* What a tick may send by itself: questions about the uplink's neighbours. */
bool model_tick_frame(struct model *m, const struct m_frame *f)
{
	struct m_iface *up = &m->iface[0];
	struct addr our = m_address(up, 4), our6 = m_address(up, 6);
	const uint8_t *b = f->b;
	uint16_t type = f->len >= 42 ? m_get16(b + 12) : 0;

	m->why[0] = 0;
	if (type == 0x0806 && f->port == 0 && up->used && up->up && f->len == 42 &&
	    m_get16(b + 20) == 1 && memcmp(b, broadcast, 6) == 0 &&
	    memcmp(b + 6, up->is.mac, 6) == 0 && memcmp(b + 22, up->is.mac, 6) == 0 &&
	    memcmp(b + 28, our.bytes, 4) == 0) {
		if (memcmp(b + 38, our.bytes, 4) == 0)
			return true; /* section 9: gratuitous */
		if (memcmp(b + 38, up->is.gateway4.bytes, 4) == 0) {
			up->asked[0] = true;
			return true;
		}
	}
	if (type == 0x86dd && f->port == 0 && up->used && up->up && f->len >= 78 && b[20] == 58 &&
	    b[21] == 255 && m_sum(b + 54, f->len - 54, m_pseudo(b + 14, 58, f->len - 54)) ==
	    0xffff && memcmp(b + 6, up->is.mac, 6) == 0) {
		if (b[54] == 136 && memcmp(b + 62, our6.bytes, 16) == 0)
			return true; /* section 9: unsolicited */
		if (b[54] == 135 && memcmp(b + 62, up->is.gateway6.bytes, 16) == 0) {
			up->asked[1] = true;
			return true;
		}
	}
	if (m_datagram_timeout_frame(m, f))
		return true;
	if (!m->why[0])
		m_why(m, "nothing of the kind was expected");
	return false;
}
