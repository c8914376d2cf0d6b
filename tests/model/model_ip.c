// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The model: bytes of IPv4, IPv6 and what they carry (P*).
 *
 * Every check of the catalogue is made and the reasons of all that fail are
 * returned: which of two faults of one packet is counted is not laid down, except
 * where the order of processing (packets.md 1) has them in different steps.
 */
#include "tests/model/model.h"

#include <string.h>

uint16_t m_get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

uint32_t m_get32(const uint8_t *p)
{
	return (uint32_t)m_get16(p) << 16 | m_get16(p + 2);
}

void m_put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

void m_put32(uint8_t *p, uint32_t v)
{
	m_put16(p, v >> 16);
	m_put16(p + 2, v);
}

uint16_t m_fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

uint32_t m_sum(const uint8_t *p, size_t n, uint32_t sum)
{
	size_t i;

	for (i = 0; i + 1 < n; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	if (i < n)
		sum += (uint32_t)p[i] << 8;
	return m_fold(sum);
}

uint32_t m_pseudo(const uint8_t *ip, uint8_t proto, uint32_t l4_len)
{
	uint32_t sum = proto + (l4_len & 0xffff) + (l4_len >> 16);

	if (ip[0] >> 4 == 4)
		return proto == 1 ? 0 : m_sum(ip + 12, 8, sum);
	return m_sum(ip + 8, 32, sum);
}

uint32_t m_sum_at(uint8_t family, uint8_t proto)
{
	if (proto == 6)
		return 16;
	/* UDP-Lite and DCCP have a pseudo-header as well */
	if (proto == 17 || proto == 136 || proto == 33)
		return 6;
	if (proto == (family == 4 ? 1 : 58))
		return 2;
	return 0;
}

uint16_t m_l4_sum(const uint8_t *ip, uint8_t proto, const uint8_t *l4, uint32_t len, uint32_t at,
		  bool partial)
{
	uint32_t sum = m_pseudo(ip, proto, len);

	if (partial)
		return m_fold(sum);
	sum = m_sum(l4, at, sum); /* at is even */
	sum = m_sum(l4 + at + 2, len - at - 2, sum);
	return (uint16_t)~m_fold(sum);
}

struct addr m_addr_at(const uint8_t *p, uint8_t family)
{
	struct addr a = { .family = family };

	memcpy(a.bytes, p, family == 4 ? 4 : 16);
	return a;
}

void m_put_addr(uint8_t *p, const struct addr *a)
{
	memcpy(p, a->bytes, a->family == 4 ? 4 : 16);
}

bool m_is_multicast(const struct addr *a)
{
	if (a->family == 6)
		return a->bytes[0] == 0xff;
	return a->bytes[0] >> 4 == 14 || m_get32(a->bytes) == 0xffffffff;
}

static bool is_loopback_or_any(const struct addr *a)
{
	static const uint8_t zero[15];

	if (a->family == 4)
		return a->bytes[0] == 0 || a->bytes[0] == 127;
	return memcmp(a->bytes, zero, 15) == 0 && a->bytes[15] <= 1;
}

/* P6, P9 */
uint64_t m_martian(const struct m_packet *p)
{
	uint64_t reasons = 0;

	if (m_is_multicast(&p->src) || is_loopback_or_any(&p->src) ||
	    is_loopback_or_any(&p->dst) || addr_equal(&p->src, &p->dst))
		reasons |= M_R(MARTIAN);
	if (p->family == 4 && p->src.bytes[0] >= 240)
		reasons |= M_R(MARTIAN);
	if (m_is_multicast(&p->dst))
		reasons |= M_R(MULTICAST);
	return reasons;
}

/* P5: whether the options of an IPv4 header let it pass */
static bool options_pass(const struct model *m, const uint8_t *o, uint32_t n)
{
	uint32_t i = 0;

	while (i < n && o[i] != 0) {
		uint32_t len = 1;

		if (o[i] != 1) {
			if (i + 1 >= n || o[i + 1] < 2 || i + o[i + 1] > n)
				return false;
			if (o[i] == 131 || o[i] == 137 || !m->pass_ip_options)
				return false;
			len = o[i + 1];
		}
		i += len;
	}
	return true;
}

static uint64_t parse4(const struct model *m, struct m_packet *p)
{
	const uint8_t *ip = p->b + 14;
	uint32_t have = p->len - 14, ihl, total, frag;

	if (have < 20)
		return M_R(IP_HEADER);
	ihl = (ip[0] & 15u) * 4;
	total = m_get16(ip + 2);
	if (ip[0] >> 4 != 4 || ihl < 20 || total < ihl || total > have || ihl > have)
		return M_R(IP_HEADER) | M_R(IP_CHECKSUM); /* one is often both */
	if (m_sum(ip, ihl, 0) != 0xffff)
		return M_R(IP_CHECKSUM);
	p->len = 14 + total;
	p->src = m_addr_at(ip + 12, 4);
	p->dst = m_addr_at(ip + 16, 4);
	p->proto = ip[9];
	p->ttl = ip[8];
	p->l4 = 14 + ihl;
	frag = m_get16(ip + 6);
	p->df = frag & 0x4000;
	p->more = frag & 0x2000;
	p->off = (frag & 0x1fff) * 8;
	p->id = m_get16(ip + 4);
	p->fragment = p->more || p->off;
	p->data_at = p->l4;
	return options_pass(m, ip + 20, ihl - 20) ? 0 : M_R(IP_OPTIONS);
}

/*
 * P7. Stops at a fragment header, or at what is not an extension header.
 * @doubt: the bounds of the walk are not laid down to the byte
 */
int m_chain(const struct m_packet *p, uint8_t *next, uint32_t *pos, bool *doubt)
{
	unsigned int count = 0;
	bool first = true;

	while (*next == 0 || *next == 43 || *next == 60 || *next == 44 || *next == 59) {
		uint32_t len;

		if (*next == 59 || (*next == 0 && !first))
			return -1;
		if (*pos + 8 > p->len)
			return -1;
		if (*next == 44)
			return 0;
		if (++count >= 8)
			*doubt = true;
		len = 8 + 8u * p->b[*pos + 1];
		if (*pos + len > p->len || count > 8)
			return -1;
		if (*pos + len + 20 > p->header_len)
			*doubt = true;
		if (*pos + len > p->header_len)
			return -1;
		if (*next == 43 && (p->b[*pos + 2] == 0 || p->b[*pos + 3] != 0))
			return -1;
		if (*next == 0 && p->b[*pos + 2] == 0xc2)
			return -1; /* jumbo payload */
		*next = p->b[*pos];
		*pos += len;
		first = false;
	}
	return 0;
}

static uint64_t parse6(struct m_packet *p)
{
	const uint8_t *ip = p->b + 14;
	uint32_t have = p->len - 14, payload, pos = 54;
	uint8_t next;
	bool doubt = false;

	if (have < 40)
		return M_R(IP_HEADER) | M_R(IPV6);
	payload = m_get16(ip + 4);
	if (ip[0] >> 4 != 6 || 40 + payload > have)
		return M_R(IP_HEADER);
	p->len = 54 + payload;
	p->src = m_addr_at(ip + 8, 6);
	p->dst = m_addr_at(ip + 24, 6);
	p->ttl = ip[7];
	p->df = true; /* as far as routers are concerned */
	next = ip[6];
	p->next_at = 20;
	if (m_chain(p, &next, &pos, &doubt) != 0)
		return M_R(EXT_HEADER) | M_R(IP_HEADER);
	p->l4 = pos;
	p->proto = next;
	if (next == 44) {
		uint32_t field = m_get16(p->b + pos + 2);

		p->fragment = true;
		p->off = field & 0xfff8;
		p->more = field & 1;
		p->atomic = !p->off && !p->more;
		p->id = m_get32(p->b + pos + 4);
		p->data_at = pos + 8;
		p->proto = p->b[pos];
		for (uint32_t at = 54, prev = 20; at < pos; at += 8 + 8u * p->b[at + 1]) {
			prev = at;
			p->next_at = prev;
		}
	}
	return 0;
}

uint64_t m_parse_ip(const struct model *m, struct m_packet *p)
{
	p->fragment = p->atomic = false;
	return p->family == 4 ? parse4(m, p) : parse6(p);
}

static uint64_t parse_tcp(struct m_packet *p, const uint8_t *l4, uint32_t len)
{
	uint32_t doff;

	if (len < 20)
		return M_R(L4_HEADER);
	doff = (uint32_t)(l4[12] >> 4) * 4;
	if (doff < 20 || doff > len)
		return M_R(L4_HEADER); /* P12 */
	p->flags = l4[13];
	p->seq = m_get32(l4 + 4);
	p->ack = m_get32(l4 + 8);
	p->win = m_get16(l4 + 14);
	p->data = len - doff;
	/* T12 */
	switch (p->flags & 0x3f) {
	case 0:
		return M_R(TCP_FLAGS);
	default:
		if ((p->flags & 2) && (p->flags & 5))
			return M_R(TCP_FLAGS);
		if ((p->flags & 1) && !(p->flags & 0x10))
			return M_R(TCP_FLAGS);
	}
	/* what no stack sends, but T12 does not name */
	p->strange_flags = ((p->flags & 4) && (p->flags & 1)) || !(p->flags & 0x16);
	return 0;
}

static uint64_t parse_icmp(struct m_packet *p, const uint8_t *l4, uint32_t len)
{
	if (len < 8)
		return M_R(L4_HEADER);
	p->type = l4[0];
	p->code = l4[1];
	if (p->family == 4) {
		p->is_error = p->type == 3 || p->type == 11 || p->type == 12;
		p->is_query = p->type == 8;
		p->is_reply = p->type == 0;
	} else {
		p->is_error = p->type >= 1 && p->type <= 4;
		p->is_query = p->type == 128;
		p->is_reply = p->type == 129;
	}
	if (p->is_query || p->is_reply)
		p->sport = m_get16(l4 + 4);
	return 0;
}

uint64_t m_parse_l4(struct m_packet *p)
{
	const uint8_t *l4 = p->b + p->l4;
	uint32_t len = p->len - p->l4, udp;

	p->sport = p->dport = 0;
	p->is_error = p->is_query = p->is_reply = false;
	p->strange_flags = p->strange_l4 = false;
	if (p->gso != GSO_NONE &&
	    (p->proto != 6 || p->gso_size == 0 || (p->gso == GSO_TCPV4) != (p->family == 4)))
		return M_R(GSO) | M_R(L4_HEADER);
	if (p->proto == (p->family == 4 ? 1 : 58))
		return parse_icmp(p, l4, len);
	if ((p->proto == 136 && len < 8) || (p->proto == 33 && len < 12)) /* nothing is laid down */
		p->strange_l4 = true;
	if (p->proto != 6 && p->proto != 17)
		return 0;
	if (len < 8)
		return M_R(L4_HEADER);
	p->sport = m_get16(l4);
	p->dport = m_get16(l4 + 2);
	if (p->proto == 6)
		return parse_tcp(p, l4, len);
	udp = m_get16(l4 + 4);
	if (udp < 8 || udp > len)
		return M_R(L4_HEADER);
	/* RFC 8200 8.1 */
	if (p->family == 6 && m_get16(l4 + 6) == 0 && p->csum != CSUM_PARTIAL)
		return M_R(UDP_CHECKSUM);
	return 0;
}
