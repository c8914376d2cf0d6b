// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The model: what was expected against what was seen, byte by byte.
 *
 * Two things are open. A checksum that may be written as 0 or as 0xffff (ones'
 * complement has two zeros) is compared as a number; and where a datagram is cut
 * is the engine's choice, so fragments are judged one by one and then put together
 * again. An error may quote less when the catalogue does not say how much.
 */
#include "tests/model/model.h"

#include <string.h>

static bool sums_equal(const struct m_alt *want, const struct m_frame *got, uint32_t at)
{
	uint16_t w = m_get16(want->f.b + at), g = m_get16(got->b + at);

	if (w == g)
		return true;
	if (want->udp_sum == at && (w == 0 || g == 0))
		return false;
	return w % 0xffff == g % 0xffff;
}

static bool bytes_equal(struct model *m, const struct m_alt *want, const struct m_frame *got)
{
	for (uint32_t i = 0; i < got->len; i++) {
		bool sum = false;

		if (want->f.b[i] == got->b[i])
			continue;
		for (size_t k = 0; k < want->sum_count; k++)
			sum |= (i & ~1u) == (want->sum[k] & ~1u) &&
			       sums_equal(want, got, want->sum[k]);
		if (!sum) {
			m_why(m, "byte %u is %02x, not %02x (%s)", i, got->b[i], want->f.b[i],
			      i < 14	? "Ethernet"
			      : i < 34	? "IP header"
			      : i < 200 ? "headers"
					: "payload");
			return false;
		}
	}
	return true;
}

bool m_same_frame(struct model *m, const struct m_alt *want, const struct m_frame *got)
{
	const struct m_frame *f = &want->f;

	if (f->port != got->port) {
		m_why(m, "to port %u, not %u", got->port, f->port);
		return false;
	}
	if (f->csum != got->csum || (f->csum == CSUM_PARTIAL &&
				     (f->csum_start != got->csum_start ||
				      f->csum_offset != got->csum_offset))) {
		m_why(m, "checksum state %u (%u+%u), not %u (%u+%u)", got->csum, got->csum_start,
		      got->csum_offset, f->csum, f->csum_start, f->csum_offset);
		return false;
	}
	if (f->gso != got->gso || (f->gso && f->gso_size != got->gso_size)) {
		m_why(m, "GSO %u of %u, not %u of %u", got->gso, got->gso_size, f->gso,
		      f->gso_size);
		return false;
	}
	if (f->len != got->len) {
		m_why(m, "%u bytes, not %u", got->len, f->len);
		return false;
	}
	return bytes_equal(m, want, got);
}

/* One fragment: where its data starts and goes; false: not a good one. */
static bool fragment_of(const struct m_alt *want, const struct m_frame *got, uint32_t *data_at,
			uint32_t *off, bool *more)
{
	const uint8_t *w = want->f.b, *g = got->b;
	bool is4 = w[14] >> 4 == 4;
	uint32_t head = is4 ? 14u + (w[14] & 15) * 4 : want->frag_at, field;
	uint32_t len = got->len;

	*data_at = is4 ? head : head + 8;
	if (len <= *data_at || got->port != want->f.port || got->csum == CSUM_PARTIAL || got->gso)
		return false;
	for (uint32_t i = 0; i < head; i++) {
		/* options that are not copied (RFC 791) become nothing */
		bool blank = is4 && i >= 34 && g[i] == 1 && (m_get16(g + 20) & 0x1fff);
		bool open = is4 ? i == 16 || i == 17 || i == 20 || i == 21 || i == 24 || i == 25
				: i == 18 || i == 19 || i == want->frag_next_at;

		if (!open && !blank && w[i] != g[i])
			return false;
	}
	if (is4) {
		field = m_get16(g + 20);
		*off = (field & 0x1fff) * 8;
		*more = field & 0x2000;
		if ((field & 0xc000) != (m_get16(w + 20) & 0xc000u) ||
		    m_get16(g + 16) != len - 14 || m_sum(g + 14, head - 14, 0) != 0xffff)
			return false;
	} else {
		field = m_get16(g + head + 2);
		*off = field & 0xfff8;
		*more = field & 1;
		if (g[want->frag_next_at] != 44 || g[head] != w[want->frag_next_at] ||
		    g[head + 1] != 0 || (field & 6) || m_get32(g + head + 4) != want->frag_id ||
		    m_get16(g + 18) != len - 54)
			return false;
	}
	return len - 14 <= want->max && (!*more || (len - *data_at) % 8 == 0);
}

bool m_same_fragments(struct model *m, const struct m_alt *want, const struct m_frame *got,
		      size_t n)
{
	static uint8_t together[M_BYTES];
	bool is4 = want->f.b[14] >> 4 == 4;
	uint32_t head = is4 ? 14u + (want->f.b[14] & 15) * 4 : want->frag_at, at = head;
	struct m_frame whole = want->f;
	bool more = true;

	memcpy(together, want->f.b, head);
	for (size_t i = 0; i < n; i++) {
		uint32_t data_at, off;

		if (!fragment_of(want, &got[i], &data_at, &off, &more)) {
			m_why(m, "fragment %zu of %zu (%u bytes, at most %u) is not a good one", i,
			      n, got[i].len, want->max + 14);
			return false;
		}
		if (off != at - head || (more == (i + 1 == n))) {
			m_why(m, "fragment %zu of %zu starts at %u, not %u, more: %d", i, n, off,
			      at - head, more);
			return false;
		}
		memcpy(together + at, got[i].b + data_at, got[i].len - data_at);
		at += got[i].len - data_at;
	}
	if (n == 0 || at != want->f.len) {
		m_why(m, "%zu fragments with %u bytes, not %u", n, at, want->f.len);
		return false;
	}
	whole.b = together;
	return bytes_equal(m, want, &whole);
}

/* An error of the firewall: what it says exactly, and how much it quotes. */
bool m_same_error(struct model *m, const struct m_alt *want, const struct m_frame *got)
{
	const uint8_t *w = want->f.b, *g = got->b;
	bool is4 = w[14] >> 4 == 4;
	uint32_t head = is4 ? 34 : 54, quote = head + 8, least = quote + (is4 ? 28 : 48);
	uint8_t proto = is4 ? 1 : 58;

	if (got->port != want->f.port || got->csum != CSUM_NONE || got->gso != GSO_NONE) {
		m_why(m, "error to port %u, checksum state %u", got->port, got->csum);
		return false;
	}
	if (least > want->f.len)
		least = want->f.len;
	if (got->len > want->f.len || got->len < (want->any_quote ? least : want->f.len)) {
		m_why(m, "error of %u bytes, not %u", got->len, want->f.len);
		return false;
	}
	for (uint32_t i = 0; i < got->len; i++) {
		bool sum = i == head + 2 || i == head + 3 || (is4 && (i == 24 || i == 25));
		bool length = is4 ? i == 16 || i == 17 : i == 18 || i == 19;

		if (w[i] != g[i] && !sum && !length) {
			m_why(m, "byte %u of the error is %02x, not %02x", i, g[i], w[i]);
			return false;
		}
	}
	if ((is4 && (m_sum(g + 14, 20, 0) != 0xffff || m_get16(g + 16) != got->len - 14)) ||
	    (!is4 && m_get16(g + 18) != got->len - 54) ||
	    m_sum(g + head, got->len - head, m_pseudo(g + 14, proto, got->len - head)) != 0xffff) {
		m_why(m, "length or checksum of the error");
		return false;
	}
	return true;
}

/* I8: IPv4 TTL 64, TOS 0xc0, DF, ID 0; IPv6 hop limit 64 */
void m_build_error(struct model *m, struct m_alt *alt, const struct m_packet *p, int type,
		   int code, uint32_t info)
{
	const struct m_iface *i = &m->iface[p->port];
	struct addr from, to = p->src;
	uint8_t *b = alt->f.b, *ip = b + 14, *icmp;
	uint32_t head = p->family == 4 ? 20 : 40, quote = p->quote_len;

	from = p->from_client ? m_gateway(i, p->family) : m_address(i, p->family);
	if (p->from_client)
		to = m_wire_address(i, p->family);
	if (quote > FRAME_HEADER_MAX - 14 - head - 8)
		quote = FRAME_HEADER_MAX - 14 - head - 8;
	memcpy(b, p->b + 6, 6);
	memcpy(b + 6, p->b, 6);
	m_put16(b + 12, p->family == 4 ? 0x0800 : 0x86dd);
	memset(ip, 0, head + 8);
	icmp = ip + head;
	if (p->family == 4) {
		ip[0] = 0x45;
		ip[1] = 0xc0;
		m_put16(ip + 2, 28 + quote);
		ip[6] = 0x40;
		ip[8] = 64;
		ip[9] = 1;
		m_put_addr(ip + 12, &from);
		m_put_addr(ip + 16, &to);
		m_put16(ip + 10, (uint16_t)~m_sum(ip, 20, 0));
	} else {
		ip[0] = 0x60;
		m_put16(ip + 4, 8 + quote);
		ip[6] = 58;
		ip[7] = 64;
		m_put_addr(ip + 8, &from);
		m_put_addr(ip + 24, &to);
	}
	icmp[0] = (uint8_t)type;
	icmp[1] = (uint8_t)code;
	m_put32(icmp + 4, info);
	memcpy(icmp + 8, p->quote, quote);
	m_put16(icmp + 2, m_l4_sum(ip, p->family == 4 ? 1 : 58, icmp, 8 + quote, 2, false));
	alt->f.port = p->port;
	alt->f.csum = CSUM_NONE;
	alt->f.gso = GSO_NONE;
	alt->f.len = 14 + head + 8 + quote;
}
