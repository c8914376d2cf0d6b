// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What has to be equal of two packets whose NAT ports differ.
 *
 * The port is replaced by the client's own and each checksum that covers it is
 * changed by the difference (RFC 1624), so that a wrong checksum stays wrong by
 * as much. Whether a checksum is right is found out before, by adding up.
 */
#include "tests/net/diff/diff.h"

/* RFC 1624, eqn. 3: a field that @sum covers changes */
static void fix_sum(uint8_t *sum, uint16_t old, uint16_t new)
{
	uint32_t s = (uint16_t)~get16(sum);

	s += (uint16_t)~old;
	s += new;
	s = (s & 0xffff) + (s >> 16);
	s = (s & 0xffff) + (s >> 16);
	put16(sum, (uint16_t)~s);
}

/* 0 and 0xffff are the same number, but for UDP 0 means none */
static void same_zero(uint8_t *sum, bool udp)
{
	if (!udp && get16(sum) == 0xffff)
		put16(sum, 0);
	else if (udp && get16(sum) == 0)
		put16(sum, 0xffff);
}

/* Our address: the source of what we forward, the destination inside what we quote. */
static bool is_ours(const uint8_t *ip, uint8_t family, bool destination)
{
	uint8_t ours[16];

	addr_of(ours, family, family == 4 ? ip4_text[0] : ip6_text[0]);
	if (family == 4)
		return memcmp(ip + (destination ? 16 : 12), ours, 4) == 0;
	return memcmp(ip + (destination ? 24 : 8), ours, 16) == 0;
}

/*
 * Where the NAT port stands in a frame to the uplink: the source port, or in an
 * error the destination port of the quoted packet. 0: nowhere.
 */
static uint32_t nat_place(const uint8_t *ip, const struct layout *l, struct layout *inner)
{
	uint32_t at = l->l4 + 8u;

	*inner = (struct layout){0};
	if (!l->ok || l->fragment || !is_ours(ip, l->family, false))
		return 0;
	if (!l->error)
		return l->port_at[0];
	*inner = parse(ip + at, l->len - at);
	if (!inner->ok || !inner->port_at[1] || !is_ours(ip + at, l->family, true))
		return 0;
	return at + inner->port_at[1];
}

static bool is_whole(const struct bytes *f, struct layout *l)
{
	uint16_t type = f->len < ETH ? 0 : get16(f->b + 12);

	if (type != 0x0800 && type != 0x86dd)
		return false;
	*l = parse(f->b + ETH, f->len - ETH);
	return l->ok && l->len <= f->len - ETH;
}

bool nat_port_of(const struct bytes *f, uint16_t *port)
{
	struct layout l, inner;
	uint32_t at;

	if (f->port != UPLINK || !is_whole(f, &l) || l.error)
		return false;
	at = nat_place(f->b + ETH, &l, &inner);
	if (at)
		*port = get16(f->b + ETH + at);
	return at != 0;
}

void canonical(struct canon *out, const struct bytes *f, uint16_t nat, uint16_t port)
{
	struct layout l, inner;
	uint8_t *ip = out->b + ETH, *inner_sum;
	uint32_t at;
	uint16_t old;

	out->len = f->len;
	memcpy(out->b, f->b, f->len);
	out->ip_sum_ok = out->sum_ok = true;
	if (!is_whole(f, &l))
		return;
	out->sum_ok = sums_right(ip, &l, &out->ip_sum_ok);
	at = f->port == UPLINK && nat != port ? nat_place(ip, &l, &inner) : 0;
	if (at && get16(ip + at) == nat) {
		put16(ip + at, port);
		if (l.sum_at && (l.proto != P_UDP || get16(ip + l.sum_at)))
			fix_sum(ip + l.sum_at, nat, port);
		/* and the quoted packet's own, which the error's covers, too */
		if (l.error && inner.sum_at) {
			inner_sum = ip + l.l4 + 8 + inner.sum_at;
			old = get16(inner_sum);
			if (inner.proto != P_UDP || old) {
				fix_sum(inner_sum, nat, port);
				same_zero(inner_sum, inner.proto == P_UDP);
				fix_sum(ip + l.sum_at, old, get16(inner_sum));
			}
		}
	}
	if (l.error && l.len > l.l4 + 8u) { /* an outer checksum does not see the difference */
		at = l.l4 + 8u;
		inner = parse(ip + at, l.len - at);
		if (inner.ok && inner.sum_at && inner.proto != P_UDP)
			same_zero(ip + at + inner.sum_at, false);
	}
	if (l.family == 4)
		same_zero(ip + 10, false);
	if (l.sum_at && !l.fragment && (l.proto != P_UDP || get16(ip + l.sum_at)))
		same_zero(ip + l.sum_at, l.proto == P_UDP);
}

/* --- fragments -------------------------------------------------------------------- */

static bool same_datagram(const struct bytes *a, const struct layout *la, const struct bytes *b,
			  const struct layout *lb)
{
	if (a->port != b->port || la->family != lb->family || la->id != lb->id)
		return false;
	return la->family == 4 ? memcmp(a->b + ETH + 12, b->b + ETH + 12, 8) == 0
			       : memcmp(a->b + ETH + 8, b->b + ETH + 8, 32) == 0;
}

static bool fragment_of(const struct bytes *f, struct layout *l)
{
	return is_whole(f, l) && (l->fragment || l->frag_at);
}

/* The next header field that leads to the header at @at. */
static uint8_t *before(uint8_t *ip, uint32_t at)
{
	uint8_t *next = ip + 6;
	uint32_t i = 40;

	while (i < at) {
		next = ip + i;
		i += ((uint32_t)ip[i + 1] + 1) * 8;
	}
	return next;
}

/* Put the datagram of fragment @i together in @room; 0: it is not complete. */
static uint32_t gather(const struct outputs *o, unsigned int i, bool *mine, uint8_t *room)
{
	uint32_t head, end = 0, have = 0;
	struct layout li, l;

	(void)fragment_of(&o->f[i], &li);
	head = li.family == 4 ? li.l4 : li.frag_at;
	memcpy(room, o->f[i].b, ETH + head);
	for (unsigned int k = 0; k < o->n; k++) {
		uint32_t data, at;

		mine[k] = fragment_of(&o->f[k], &l) && same_datagram(&o->f[i], &li, &o->f[k], &l);
		if (!mine[k])
			continue;
		at = l.family == 4 ? l.l4 : l.frag_at + 8u;
		data = l.len - at;
		if (head + l.offset + data > 65535)
			return 0;
		memcpy(room + ETH + head + l.offset, o->f[k].b + ETH + at, data);
		have += data;
		if (!l.more)
			end = l.offset + data;
		if (!l.later && l.family == 6) /* next header: the first one's */
			*before(room + ETH, l.frag_at) = o->f[k].b[ETH + l.frag_at];
	}
	if (end == 0 || have != end)
		return 0;
	if (li.family == 4) {
		put16(room + ETH + 2, head + end);
		put16(room + ETH + 6, get16(room + ETH + 6) & 0xc000);
		put16(room + ETH + 10, 0);
		put16(room + ETH + 10, (uint16_t)~sum_of(room + ETH, head, 0));
	} else {
		put16(room + ETH + 4, head - 40 + end);
	}
	return ETH + head + end;
}

void reassemble(struct outputs *o, uint8_t *room, size_t room_len)
{
	struct layout l;

	for (unsigned int i = 0; i < o->n; i++) {
		bool mine[OUT_MAX];
		unsigned int kept = 0;
		uint32_t len;

		if (!fragment_of(&o->f[i], &l) || room_len < DATAGRAM_ROOM)
			continue;
		len = gather(o, i, mine, room);
		if (len == 0)
			continue;
		o->f[i] = (struct bytes){o->f[i].port, len, room};
		room += DATAGRAM_ROOM;
		room_len -= DATAGRAM_ROOM;
		for (unsigned int k = 0; k < o->n; k++)
			if (k == i || !mine[k])
				o->f[kept++] = o->f[k];
		o->n = kept;
	}
}
