// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The model: datagrams in pieces (F*). One plain buffer for each, a map with a mark
 * for each byte that is there, and a list of the pieces as they came.
 */
#include "tests/model/model.h"

#include <stdlib.h>
#include <string.h>

#define TIMEOUT4_MS 30000u
#define TIMEOUT6_MS 60000u

static struct m_datagram *find(struct model *m, const struct m_packet *p)
{
	for (size_t i = 0; i < M_IFACES * M_DATAGRAMS; i++) {
		struct m_datagram *d = &m->datagram[i];

		if (d->used && d->iface == p->port && d->id == p->id &&
		    addr_equal(&d->src, &p->src) && addr_equal(&d->dst, &p->dst) &&
		    (p->family == 6 || d->proto == p->proto))
			return d; /* F17 */
	}
	return NULL;
}

static struct m_datagram *fresh(struct model *m, const struct m_packet *p)
{
	struct m_datagram *d = NULL, *oldest = NULL;
	uint8_t *data, *map;

	for (size_t i = 0; i < M_DATAGRAMS; i++) {
		struct m_datagram *e = &m->datagram[p->port * M_DATAGRAMS + i];

		if (!e->used)
			d = e;
		else if (!oldest || e->order < oldest->order)
			oldest = e;
	}
	if (!d)
		d = oldest; /* F10 */
	data = d->data ? d->data : malloc(65536);
	map = d->map ? d->map : malloc(65536);
	if (!data || !map)
		abort();
	*d = (struct m_datagram){ .used = true, .iface = p->port, .src = p->src, .dst = p->dst,
				  .id = p->id, .proto = p->proto, .born = m->now,
				  .order = ++m->order, .data = data, .map = map };
	memset(map, 0, 65536);
	m->datagram_due = 0;
	return d;
}

/* F5, F6, F7, F9, F16: what is wrong with one piece by itself */
static bool bad_piece(const struct m_packet *p, uint32_t len)
{
	uint32_t least = p->proto == 6 ? 20 : 8, pos = p->data_at;
	bool icmp = p->proto == (p->family == 4 ? 1 : 58), doubt = false;
	uint8_t next = p->proto;

	if (p->more && len % 8)
		return true;
	if (len == 0 || p->off + len > 65535)
		return true;
	if (p->family == 4 && p->proto == 6 && p->off == 8)
		return true;
	if (p->off)
		return false;
	if (p->family == 6) {
		if (next == 0 || m_chain(p, &next, &pos, &doubt) != 0 || next == 44)
			return true;
		least = next == 6 ? 20 : 8;
		icmp = next == 58;
	} else {
		next = p->proto;
	}
	if (next == 6 && p->len >= pos + 20 && p->len - pos < (uint32_t)(p->b[pos + 12] >> 4) * 4)
		return true;
	if (next != 6 && next != 17 && !icmp)
		return false;
	return p->len - pos < least;
}

/* F2, F3, F4: 0 new bytes, 1 an exact duplicate, -1 an overlap */
static int relation(const struct m_datagram *d, const struct m_packet *p, uint32_t len)
{
	for (size_t i = 0; i < d->count; i++)
		if (d->piece[i].off == p->off && d->piece[i].len == len &&
		    d->piece[i].last == !p->more &&
		    memcmp(d->data + p->off, p->b + p->data_at, len) == 0)
			return 1;
	for (uint32_t i = 0; i < len; i++)
		if (d->map[p->off + i])
			return -1;
	if (d->total && (p->off + len > d->total || !p->more))
		return -1; /* beyond the end, or a second end */
	for (size_t i = 0; i < d->count; i++)
		if (!p->more && d->piece[i].off >= p->off + len)
			return -1;
	return 0;
}

static void put(struct m_datagram *d, const struct m_packet *p, uint32_t len)
{
	uint32_t ip_len = p->len - 14;

	d->ce |= ((p->family == 4 ? p->b[15] : p->b[15] >> 4) & 3) == 3;
	memcpy(d->data + p->off, p->b + p->data_at, len);
	memset(d->map + p->off, 1, len);
	d->piece[d->count++] = (struct m_piece){ p->off, len, !p->more };
	d->have += len;
	if (!p->more)
		d->total = p->off + len;
	if (ip_len > d->largest)
		d->largest = ip_len;
	if (p->off == 0) {
		d->has_first = true;
		d->first_copy = p->header_len < p->len ? p->header_len : p->len;
		memcpy(d->first, p->in->b, d->first_copy);
		d->first_len = p->len;
		d->l3_len = p->family == 4 ? p->l4 : p->data_at - 8;
		d->next = p->family == 6 ? p->b[p->data_at - 8] : 0;
		d->next_at = p->next_at;
	}
}

/* The whole, as if it had come in one piece; F12. */
static bool together(struct model *m, struct m_datagram *d, const struct m_packet *p,
		     struct m_packet *w)
{
	uint8_t *b = m->whole;
	uint32_t len = d->l3_len + d->total;

	if (len - 14 > 65535)
		return false;
	*w = (struct m_packet){ .in = p->in, .port = p->port, .from_client = p->from_client,
				.assembled = true, .largest = d->largest, .b = b, .len = len,
				.family = p->family, .header_len = len };
	memcpy(b, d->first, d->l3_len);
	memcpy(b + d->l3_len, d->data, d->total);
	/* RFC 3168 5.3: one mark is a mark of the whole, where it may have any */
	if (d->ce && (b[15] & (p->family == 4 ? 0x03 : 0x30)))
		b[15] |= p->family == 4 ? 0x03 : 0x30;
	if (p->family == 4) {
		m_put16(b + 16, len - 14);
		b[20] &= 0x40;
		b[21] = 0;
		m_put16(b + 24, 0);
		m_put16(b + 24, (uint16_t)~m_sum(b + 14, d->l3_len - 14, 0));
	} else {
		m_put16(b + 18, len - 54);
		b[d->next_at] = d->next;
	}
	if (m_parse_ip(m, w) != 0)
		return false;
	w->quote = d->first + 14;
	w->quote_len = d->first_copy - 14;
	w->data_at = d->l3_len;
	w->next_at = d->next_at;
	w->id = p->id;
	return true;
}

/* F8: the header goes, and it is a packet like others. */
static bool atomic(struct model *m, struct m_packet *p, struct m_packet *w)
{
	uint8_t *b = m->whole;
	uint32_t at = p->data_at - 8;

	if (p->b[at] == 0) { /* P7: hop-by-hop options come first or never */
		m_drop(m, M_R(EXT_HEADER));
		return false;
	}
	*w = *p;
	w->b = b;
	w->len = p->len - 8;
	memcpy(b, p->b, at);
	memcpy(b + at, p->b + p->data_at, p->len - p->data_at);
	b[p->next_at] = p->b[at];
	m_put16(b + 18, w->len - 54);
	w->fragment = w->atomic = false;
	w->was_atomic = true;
	if (m_parse_ip(m, w) != 0 || w->fragment) {
		m_drop(m, M_ANY);
		return false;
	}
	return true;
}

bool m_fragment(struct model *m, struct m_packet *p, struct m_packet *whole)
{
	uint32_t len = p->len - p->data_at;
	struct m_datagram *d;
	int rel;

	if (p->atomic)
		return atomic(m, p, whole);
	if (bad_piece(p, len)) {
		m_drop(m, M_R(FRAGMENT) | M_R(L4_HEADER) | M_R(EXT_HEADER));
		return false;
	}
	d = find(m, p);
	if (!d)
		d = fresh(m, p);
	if (d->poisoned) {
		m_drop(m, M_R(FRAGMENT));
		return false;
	}
	rel = relation(d, p, len);
	if (rel > 0) {
		m_drop(m, M_R(NONE) | M_R(FRAGMENT));
		return false;
	}
	if (rel < 0 || d->count == M_PIECES) {
		d->poisoned = true;
		m_drop(m, M_R(FRAGMENT));
		return false;
	}
	put(d, p, len);
	m_drop(m, M_R(NONE));
	if (!d->total || d->have < d->total)
		return false;
	d->used = false;
	m->alt_count = 0;
	if (!together(m, d, p, whole)) {
		m_drop(m, M_ANY);
		return false;
	}
	return true;
}

void m_datagrams_forget(struct model *m, uint16_t iface)
{
	for (size_t i = 0; i < M_IFACES * M_DATAGRAMS; i++)
		if (m->datagram[i].iface == iface)
			m->datagram[i].used = m->datagram[i].timed_out = false;
}

static uint64_t due(const struct m_datagram *d)
{
	return d->born + (d->src.family == 4 ? TIMEOUT4_MS : TIMEOUT6_MS);
}

void m_datagrams_expire(struct model *m)
{
	if (m->now < m->datagram_due)
		return;
	m->datagram_due = UINT64_MAX;
	for (size_t i = 0; i < M_IFACES * M_DATAGRAMS; i++) {
		struct m_datagram *d = &m->datagram[i];

		if (!d->used)
			continue;
		if (m->now >= due(d)) {
			d->used = false;
			d->timed_out = d->has_first && !d->poisoned;
			m->datagrams_timed_out += d->timed_out;
		} else if (due(d) < m->datagram_due) {
			m->datagram_due = due(d);
		}
	}
}

/*
 * F11: an error about a datagram that has just timed out and whose first fragment
 * was seen. Those that are forgotten stay in their places until these are needed.
 */
bool m_datagram_timeout_frame(struct model *m, const struct m_frame *f)
{
	for (size_t i = 0; i < M_IFACES * M_DATAGRAMS; i++) {
		struct m_datagram *d = &m->datagram[i];
		struct m_packet p = { .port = d->iface, .from_client = d->iface != 0,
				      .family = d->src.family, .src = d->src, .b = d->first,
				      .quote = d->first + 14, .quote_len = d->first_copy - 14 };
		bool same;

		if (!d->timed_out)
			continue;
		m->alt_count = 0;
		m_alt_add(m, M_ERROR, 0);
		m_build_error(m, &m->alt[0], &p, d->src.family == 4 ? 11 : 3, 1, 0);
		m->alt[0].any_quote = true;
		same = m_same_error(m, &m->alt[0], f);
		if (same) {
			d->timed_out = false;
			m->iface[d->iface].tokens -= 1;
			m->tokens -= 1;
			m->why[0] = 0;
			return true;
		}
	}
	return false;
}

bool model_overdue(struct model *m)
{
	bool overdue = false;

	if (!m->datagrams_timed_out)
		return false;
	m->datagrams_timed_out = 0;
	for (size_t i = 0; i < M_IFACES * M_DATAGRAMS; i++) {
		struct m_datagram *d = &m->datagram[i];
		const struct m_iface *f = &m->iface[d->iface];

		/* to the uplink it may be silent, and so it may near the rate's end */
		overdue |= d->timed_out && d->iface && f->tokens >= 10 &&
			   m->tokens >= 10 && f->up;
		d->timed_out = false;
	}
	return overdue;
}
