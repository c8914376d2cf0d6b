// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reading packets: where their parts are, and what to say about them.
 */
#include "tests/net/diff/packet.h"

#include <arpa/inet.h>
#include <stdio.h>

/* Walk the extension headers up to ESP or AH; false: the chain is not all there. */
static bool walk(const uint8_t *ip, uint32_t have, struct layout *l)
{
	uint8_t next = ip[6];
	uint32_t at = 40;

	for (int i = 0; i < 12; i++) {
		if (next != 0 && next != 43 && next != 44 && next != 60)
			break;
		if (at + 8 > have)
			return false;
		if (next == 44) {
			l->frag_at = (uint16_t)at;
			l->offset = get16(ip + at + 2) & 0xfff8u;
			l->more = ip[at + 3] & 1;
			l->fragment = l->offset || l->more;
			l->later = l->offset != 0;
			l->id = get32(ip + at + 4);
		}
		if (next == 44) {
			next = ip[at];
			at += 8;
		} else {
			next = ip[at];
			at += ((uint32_t)ip[at + 1] + 1) * 8;
		}
		if (l->later)
			break;
	}
	l->proto = next;
	l->l4 = (uint16_t)at;
	return at <= have;
}

static bool parse_ip(const uint8_t *ip, uint32_t have, struct layout *l)
{
	if (have >= 20 && ip[0] >> 4 == 4) {
		l->family = 4;
		l->l4 = (uint16_t)((ip[0] & 15) * 4);
		l->len = get16(ip + 2);
		l->proto = ip[9];
		l->ttl = ip[8];
		l->more = get16(ip + 6) & 0x2000;
		l->offset = (get16(ip + 6) & 0x1fffu) * 8;
		l->fragment = l->more || l->offset;
		l->later = l->offset != 0;
		l->id = get16(ip + 4);
		return l->l4 >= 20 && l->l4 <= have && l->len >= l->l4;
	}
	if (have >= 40 && ip[0] >> 4 == 6) {
		l->family = 6;
		l->len = 40u + get16(ip + 4);
		l->ttl = ip[7];
		return walk(ip, have, l);
	}
	return false;
}

static bool is_error(const struct layout *l, uint8_t type)
{
	if (l->proto == P_ICMP6)
		return l->family == 6 && type < 128;
	return l->family == 4 && (type == 3 || type == 4 || type == 5 || type == 11 || type == 12);
}

struct layout parse(const uint8_t *ip, uint32_t have)
{
	struct layout l = {0};

	if (!parse_ip(ip, have, &l))
		return l;
	l.ok = true;
	if (l.later || (uint32_t)l.l4 + 8 > have)
		return l;
	if (l.proto == P_TCP || l.proto == P_UDP) {
		l.port_at[0] = l.l4;
		l.port_at[1] = (uint16_t)(l.l4 + 2);
		l.sum_at = (uint16_t)(l.l4 + (l.proto == P_TCP ? 16 : 6));
		if ((uint32_t)l.sum_at + 2 > have)
			l.sum_at = 0;
	} else if ((l.family == 4 && l.proto == P_ICMP) || (l.family == 6 && l.proto == P_ICMP6)) {
		l.sum_at = (uint16_t)(l.l4 + 2);
		l.error = is_error(&l, ip[l.l4]);
		if (!l.error)
			l.port_at[0] = l.port_at[1] = (uint16_t)(l.l4 + 4);
	}
	return l;
}

bool sums_right(const uint8_t *ip, const struct layout *l, bool *ip_ok)
{
	uint32_t len = l->len - l->l4, sum = 0;

	*ip_ok = l->family == 6 || sum_of(ip, (ip[0] & 15u) * 4, 0) == 0xffff;
	if (!l->sum_at || l->fragment)
		return true;
	if (l->proto == P_UDP && get16(ip + l->sum_at) == 0)
		return true;
	if (l->proto != P_ICMP)
		sum = pseudo_header_sum(ip, l->family, l->proto, len);
	return sum_of(ip + l->l4, len, sum) == 0xffff;
}

/* --- words ---------------------------------------------------------------------- */

static void put_tcp(const uint8_t *l4, uint32_t len, char *out, size_t room)
{
	static const char names[] = "FSRPAUEC";
	char flags[9];
	size_t n = 0;

	for (int i = 0; i < 8; i++)
		if (l4[13] >> i & 1)
			flags[n++] = names[i];
	flags[n] = '\0';
	snprintf(out, room, "TCP %u>%u [%s] seq=%u ack=%u win=%u data=%d", get16(l4), get16(l4 + 2),
		 flags, get32(l4 + 4), get32(l4 + 8), get16(l4 + 14), (int)len - (l4[12] >> 4) * 4);
}

static void put_l4(const uint8_t *ip, uint32_t have, const struct layout *l, char *out, size_t room,
		   int depth);

/* the chain of IPv6 headers, by numbers */
static void put_chain(const uint8_t *ip, const struct layout *l, char *out, size_t room)
{
	uint32_t at = 40;
	uint8_t next = ip[6];
	size_t n = 0;

	out[0] = '\0';
	while (l->family == 6 && at < l->l4 && n + 8 < room) {
		uint32_t len = next == 44 ? 8 : ((uint32_t)ip[at + 1] + 1) * 8;

		n += (size_t)snprintf(out + n, room - n, "%s%u", n ? "," : " headers=", next);
		next = ip[at];
		at += len;
	}
}

static void put_ip(const uint8_t *ip, uint32_t have, char *out, size_t room, int depth)
{
	struct layout l = parse(ip, have);
	char src[INET6_ADDRSTRLEN] = "?", dst[INET6_ADDRSTRLEN] = "?", frag[64] = "", rest[700],
	     chain[64];
	int af = l.family == 4 ? AF_INET : AF_INET6;

	if (!l.ok) {
		snprintf(out, room, "unreadable IP, %u bytes", have);
		return;
	}
	inet_ntop(af, ip + (l.family == 4 ? 12 : 8), src, sizeof(src));
	inet_ntop(af, ip + (l.family == 4 ? 16 : 24), dst, sizeof(dst));
	if (l.fragment)
		snprintf(frag, sizeof(frag), " frag=%u%s", l.offset, l.more ? "+" : "");
	put_l4(ip, have, &l, rest, sizeof(rest), depth);
	put_chain(ip, &l, chain, sizeof(chain));
	snprintf(out, room, "%s > %s ttl=%u len=%u id=%u%s%s%s%s tos=%u %s", src, dst, l.ttl, l.len,
		 l.id, chain, l.family == 4 && (ip[6] & 0x40) ? " DF" : "",
		 l.family == 4 && l.l4 > 20 ? " options" : "", frag,
		 l.family == 4 ? ip[1] : get16(ip) >> 4 & 0xffu, rest);
}

static void put_l4(const uint8_t *ip, uint32_t have, const struct layout *l, char *out, size_t room,
		   int depth)
{
	const uint8_t *l4 = ip + l->l4;
	char inner[500] = "";
	int n;

	if (l->later || (uint32_t)l->l4 + 8 > have) {
		snprintf(out, room, "proto %u", l->proto);
	} else if (l->proto == P_TCP && (uint32_t)l->l4 + 20 <= have) {
		put_tcp(l4, l->len - l->l4, out, room);
	} else if (l->proto == P_TCP || l->proto == P_UDP) {
		snprintf(out, room, "%s %u>%u sum=%04x", l->proto == P_TCP ? "TCP" : "UDP",
			 get16(l4), get16(l4 + 2), l->sum_at ? get16(ip + l->sum_at) : 0);
	} else if (l->sum_at) {
		n = snprintf(out, room, "ICMP %u/%u id=%u seq=%u", l4[0], l4[1], get16(l4 + 4),
			     get16(l4 + 6));
		if (l->error && depth < 2 && n > 0 && (size_t)n < room) {
			put_ip(l4 + 8, have - l->l4 - 8, inner, sizeof(inner), depth + 1);
			snprintf(out + n, room - (size_t)n, " {%s}", inner);
		}
	} else {
		snprintf(out, room, "proto %u", l->proto);
	}
}

void describe(const uint8_t *frame, uint32_t len, char *out, size_t room)
{
	char ip[900];

	if (len < ETH + 20 || (get16(frame + 12) != 0x0800 && get16(frame + 12) != 0x86dd)) {
		snprintf(out, room, "ethertype %04x, %u bytes", len < ETH ? 0 : get16(frame + 12),
			 len);
		return;
	}
	put_ip(frame + ETH, len - ETH, ip, sizeof(ip), 0);
	snprintf(out, room, "%s", ip);
}

void hex_dump(const uint8_t *b, uint32_t len)
{
	for (uint32_t i = 0; i < len && i < 192; i++)
		printf("%s%02x", i % 16 == 0 ? (i ? "\n#       " : "#       ") : " ", b[i]);
	printf("%s\n", len > 192 ? " ..." : "");
}
