// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Bytes to text. Whatever is not as a correct packet would have it is said; what
 * cannot be read as the protocol it claims to be becomes IP or RAW with its bytes.
 */
#include "tests/craft/craft_impl.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEX_MAX 2048

struct printer {
	char *text;
	size_t len;
	bool partial; /* of the outermost packet */
	int depth;
	bool claim; /* of a cut packet: say what its header claims */
	size_t csum_start, csum_at; /* where its checksum is */
};

/* One IP packet: what its headers say and where things are. */
struct view {
	const uint8_t *ip;
	size_t len;   /* bytes there are, from the IP header on */
	size_t total; /* bytes its header claims */
	size_t head;  /* up to the upper layer, or the fragment's bytes */
	uint8_t family, proto;
	const uint8_t *src, *dst;
	bool fragment, more, first; /* first: what follows starts with a header */
	uint32_t off, id;
	bool cut; /* bytes are missing at the end */
};

__attribute__((format(printf, 2, 3))) static void say(struct printer *p, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(p->text + p->len, CRAFT_TEXT - p->len, format, ap);
	va_end(ap);
	if (n < 0)
		return;
	p->len += (size_t)n;
	if (p->len >= CRAFT_TEXT)
		p->len = CRAFT_TEXT - 1;
}

static void say_hex(struct printer *p, const uint8_t *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		say(p, "%02x", b[i]);
}

static void say_mac(struct printer *p, const char *key, const uint8_t *m)
{
	say(p, " %s=%02x:%02x:%02x:%02x:%02x:%02x", key, m[0], m[1], m[2], m[3], m[4], m[5]);
}

static void say_addr(struct printer *p, uint8_t family, const uint8_t *a)
{
	char buf[INET6_ADDRSTRLEN] = "?";

	inet_ntop(family == 6 ? AF_INET6 : AF_INET, a, buf, sizeof(buf));
	say(p, family == 6 ? "[%s]" : "%s", buf);
}

static void say_pair(struct printer *p, const char *kind, const struct view *v,
		     const uint8_t *ports)
{
	say(p, "%s ", kind);
	say_addr(p, v->family, v->src);
	if (ports)
		say(p, ":%u", get16(ports));
	say(p, ">");
	say_addr(p, v->family, v->dst);
	if (ports)
		say(p, ":%u", get16(ports + 2));
}

static uint32_t blob_crc(const uint8_t *b, size_t n)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < n; i++) {
		crc ^= b[i];
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}

/* @full: bytes the packet claims to have; more than @n when it was cut. */
static void say_payload(struct printer *p, const uint8_t *b, size_t n, size_t full)
{
	unsigned int fill = n ? (uint8_t)(b[0] - 3) : 0;
	size_t i = 0;

	while (i < n && b[i] == pattern_byte(i, fill))
		i++;
	/* one or two bytes look like any pattern */
	if (i == n && (n > 4 || fill == 0)) {
		if (full)
			say(p, " len=%zu", full);
		if (fill)
			say(p, " fill=%u", fill);
		return;
	}
	p->claim = n < full;
	if (n <= HEX_MAX) {
		say(p, " hex=");
		say_hex(p, b, n);
	} else {
		say(p, " blob=%zu/%08x", n, blob_crc(b, n));
	}
}

/* --- upper layers --------------------------------------------------------------------- */

/* What the checksum of @n bytes at @l4 should be; partial ones are sums. */
static uint16_t right_csum(const struct view *v, const uint8_t *l4, size_t n, size_t at,
			   bool partial)
{
	uint16_t pseudo = 0, field = get16(l4 + at);
	uint32_t sum;

	if (v->family == 6 || at != 2)
		pseudo = pseudo_sum(v->family, v->src, v->dst, v->proto, n);
	if (partial)
		return pseudo;
	/* without the field itself */
	sum = craft_sum(l4, n, pseudo);
	sum = craft_sum(NULL, 0, sum + (uint16_t)~field);
	sum = (uint16_t)~sum;
	return at == 6 && sum == 0 ? 0xffff : (uint16_t)sum;
}

static void say_csum(struct printer *p, const struct view *v, size_t at)
{
	const uint8_t *l4 = v->ip + v->head;
	size_t n = v->total - v->head;
	bool partial = p->depth == 0 && p->partial;
	uint16_t field, right;

	if (v->len < v->head + at + 2)
		return;
	if (p->depth == 0) {
		p->csum_start = CRAFT_ETH + v->head;
		p->csum_at = at;
	}
	field = get16(l4 + at);
	if (v->cut || v->fragment) {
		say(p, " csum=0x%04x", field); /* nobody can tell */
		return;
	}
	if (at == 6 && field == 0 && !partial) {
		say(p, " csum=zero");
		return;
	}
	right = right_csum(v, l4, n, at, partial);
	/* 0 and 0xffff are the same number in one's complement */
	if (field % 0xffff == right % 0xffff && !(at == 6 && field == 0 && !partial))
		return;
	say(p, field % 0xffff == (right + 1u) % 0xffff ? " csum=bad" : " csum=0x%04x", field);
}

static bool say_sack(struct printer *p, const uint8_t *o)
{
	if (o[1] < 10 || (o[1] - 2) % 8)
		return false;
	say(p, " sack=");
	for (size_t i = 2; i < o[1]; i += 8)
		say(p, "%s%u-%u", i > 2 ? "," : "", get32(o + i), get32(o + i + 4));
	return true;
}

/* One option that fits; how long it is. */
static size_t say_tcp_option(struct printer *p, const uint8_t *o)
{
	if (o[0] == 2 && o[1] == 4)
		say(p, " mss=%u", get16(o + 2));
	else if (o[0] == 3 && o[1] == 3)
		say(p, " wscale=%u", o[2]);
	else if (o[0] == 4 && o[1] == 2)
		say(p, " sackok");
	else if (o[0] == 8 && o[1] == 10)
		say(p, " ts=%u/%u", get32(o + 2), get32(o + 6));
	else if (o[0] != 5 || !say_sack(p, o)) {
		say(p, " opt=%u", o[0]);
		if (o[1] > 2)
			say(p, "/");
		say_hex(p, o + 2, (size_t)o[1] - 2);
	}
	return o[1];
}

static void say_tcp_options(struct printer *p, const uint8_t *o, size_t n)
{
	size_t at = 0, end = n;

	/* zeros up to the next multiple of four are how a list is filled up */
	while (end > 0 && n - end < 3 && o[end - 1] == 0)
		end--;
	while (at < n) {
		if (o[at] == 0 && at >= end)
			return;
		if (o[at] == 1) {
			say(p, " nop");
			at++;
		} else if (o[at] != 0 && at + 1 < n && o[at + 1] >= 2 && at + o[at + 1] <= n) {
			at += say_tcp_option(p, o + at);
		} else if (o[at] == 0) {
			say(p, " eol");
			at++;
		} else {
			say(p, " rawopt=");
			say_hex(p, o + at, n - at);
			return;
		}
		/* an option may have eaten a zero that was taken for filling */
		if (at > end)
			end = at;
	}
}

static void say_tcp(struct printer *p, const struct view *v)
{
	const uint8_t *h = v->ip + v->head;
	size_t n = v->len - v->head, full = v->total - v->head, doff = 20;

	say_pair(p, "TCP", v, h);
	if (n < 20) {
		say(p, " - seq=%u", get32(h + 4));
		if (full > 20)
			say(p, " len=%zu", full - 20);
		return;
	}
	say(p, h[13] ? " " : " -");
	for (int i = 0; i < 8; i++)
		if (h[13] & tcp_flag_bits[i])
			say(p, "%c", tcp_flag_letters[i]);
	say(p, " seq=%u", get32(h + 4));
	if (get32(h + 8) || h[13] & 0x10)
		say(p, " ack=%u", get32(h + 8));
	say(p, " win=%u", get16(h + 14));
	if (get16(h + 18))
		say(p, " urg=%u", get16(h + 18));
	if (h[12] & 15)
		say(p, " res=%u", h[12] & 15u);
	doff = (size_t)(h[12] >> 4) * 4;
	if (doff < 20 || doff > n) {
		say(p, " doff=%zu", doff / 4);
		doff = 20;
	}
	say_tcp_options(p, h + 20, doff - 20);
	say_csum(p, v, 16);
	if (full > doff)
		say_payload(p, h + doff, n - doff, full - doff);
}

static void say_udp(struct printer *p, const struct view *v)
{
	const uint8_t *h = v->ip + v->head;
	size_t n = v->len - v->head, full = v->total - v->head;

	say_pair(p, "UDP", v, h);
	if (v->cut || get16(h + 4) != full)
		say(p, " ulen=%u", get16(h + 4));
	say_csum(p, v, 6);
	if (full > 8)
		say_payload(p, h + 8, n - 8, full - 8);
}

static void say_ip(struct printer *p, const uint8_t *ip, size_t len, uint8_t family);

/* An error's inside, if it looks like an IP packet. */
static bool say_quote(struct printer *p, const struct view *v, const uint8_t *b, size_t n)
{
	size_t whole;

	if (p->depth + 1 >= QUOTE_DEPTH || v->cut || n < 28 || b[0] >> 4 != v->family)
		return false;
	if (v->family == 4 && (b[0] & 15) < 5)
		return false;
	if (v->family == 6 && n < 48)
		return false;
	whole = v->family == 4 ? get16(b + 2) : 40u + get16(b + 4);
	if (whole < (v->family == 4 ? (b[0] & 15u) * 4 : 40u))
		return false;
	say(p, " quote(");
	p->depth++;
	say_ip(p, b, whole < n ? whole : n, v->family);
	p->depth--;
	say(p, ")");
	if (whole < n)
		say_payload(p, b + whole, n - whole, n - whole);
	return true;
}

static bool icmp_is_error(const struct view *v, uint8_t type)
{
	if (v->family == 6)
		return type < 128;
	return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

static void say_icmp_word(struct printer *p, const struct view *v, const uint8_t *h)
{
	bool v6 = v->family == 6;
	uint32_t word = get32(h + 4);

	if (v6 ? h[0] == 128 || h[0] == 129 : h[0] == 8 || h[0] == 0)
		say(p, " id=%u seq=%u", word >> 16, word & 0xffff);
	else if (v6 ? h[0] == 2 : h[0] == 3 && h[1] == 4 && word <= 0xffff)
		say(p, " mtu=%u", word);
	else if (v6 ? h[0] == 4 : h[0] == 12 && (word & 0xffffff) == 0)
		say(p, " ptr=%u", v6 ? word : word >> 24);
	else if (word)
		say(p, " word=0x%08x", word);
}

static void say_icmp(struct printer *p, const struct view *v)
{
	const uint8_t *h = v->ip + v->head;
	size_t n = v->len - v->head, full = v->total - v->head;

	say_pair(p, "ICMP", v, NULL);
	say(p, " %u/%u", h[0], h[1]);
	say_icmp_word(p, v, h);
	say_csum(p, v, 2);
	if (!icmp_is_error(v, h[0]) || v->fragment || !say_quote(p, v, h + 8, n - 8))
		say_payload(p, h + 8, n - 8, full - 8);
}

/* Neighbour discovery in its usual form; false: show it as ICMP. */
static bool say_nd(struct printer *p, const struct view *v)
{
	const uint8_t *h = v->ip + v->head;
	size_t n = v->len - v->head;
	bool ns = h[0] == 135;

	if (v->family != 6 || v->cut || v->fragment || n < 24 || h[1] || v->proto != P_ICMP6)
		return false;
	if (ns ? h[0] != 135 || get32(h + 4) : h[0] != 136 || get32(h + 4) & 0x1fffffff)
		return false;
	say_pair(p, ns ? "NS" : "NA", v, NULL);
	say(p, " target=");
	say_addr(p, 6, h + 8);
	if (!ns && h[4])
		say(p, " nd=%s%s%s", h[4] & 0x80 ? "R" : "", h[4] & 0x40 ? "S" : "",
		    h[4] & 0x20 ? "O" : "");
	say_csum(p, v, 2);
	if (n == 32 && h[24] == (ns ? 1 : 2) && h[25] == 1) {
		say_mac(p, ns ? "slla" : "tlla", h + 26);
	} else if (n > 24) {
		say(p, " ndopt=");
		say_hex(p, h + 24, n - 24);
	}
	return true;
}

/* Kind, addresses and everything of the upper layer but the payload's place. */
static void say_l4(struct printer *p, const struct view *v)
{
	size_t n = v->len - v->head, full = v->total - v->head;
	bool icmp = v->proto == (v->family == 6 ? P_ICMP6 : P_ICMP);
	const uint8_t *h = v->ip + v->head;

	/* of a TCP header that was cut, the 8 bytes that errors quote are shown */
	if (v->first && v->proto == P_TCP && full >= 20 &&
	    (n == 8 || (n >= 20 && n >= (h[12] >> 4) * 4u))) {
		say_tcp(p, v);
	} else if (v->first && v->proto == P_UDP && n >= 8) {
		say_udp(p, v);
	} else if (v->first && icmp && n >= 8) {
		if (!say_nd(p, v))
			say_icmp(p, v);
	} else {
		say_pair(p, "IP", v, NULL);
		say(p, " proto=%u", v->proto);
		say_payload(p, v->ip + v->head, n, v->total - v->head);
	}
}

/* --- IP ----------------------------------------------------------------------------------- */

static bool view_ip4(struct view *v, const uint8_t *ip, size_t len)
{
	uint32_t frag;

	if (len < 20 || ip[0] >> 4 != 4)
		return false;
	v->head = (size_t)(ip[0] & 15) * 4;
	v->total = get16(ip + 2);
	if (v->head < 20 || v->head > len || v->total < v->head)
		return false;
	frag = get16(ip + 6);
	v->proto = ip[9];
	v->src = ip + 12;
	v->dst = ip + 16;
	v->more = frag & 0x2000;
	v->off = (frag & 0x1fff) * 8;
	v->id = get16(ip + 4);
	v->fragment = v->more || v->off;
	v->first = v->off == 0;
	return true;
}

static void say_ip4_rest(struct printer *p, const struct view *v)
{
	const uint8_t *ip = v->ip;
	uint32_t frag = get16(ip + 6);
	uint8_t h[60];
	uint16_t right;

	say(p, " ttl=%u", ip[8]);
	if (ip[1])
		say(p, " tos=0x%02x", ip[1]);
	if (v->id)
		say(p, " ipid=%u", v->id);
	if (frag & 0x8000)
		say(p, " rf");
	if (frag & 0x4000)
		say(p, " df");
	if ((ip[0] & 15) > 5) {
		say(p, " ipopt=");
		say_hex(p, ip + 20, (ip[0] & 15u) * 4 - 20);
	}
	memcpy(h, ip, (ip[0] & 15u) * 4);
	put16(h + 10, 0);
	right = (uint16_t)~craft_sum(h, (ip[0] & 15u) * 4, 0);
	if (right % 0xffff != get16(ip + 10) % 0xffff) {
		if ((right + 1u) % 0xffff == get16(ip + 10) % 0xffff)
			say(p, " ipcsum=bad");
		else
			say(p, " ipcsum=0x%04x", get16(ip + 10));
	}
}

struct ext {
	uint8_t num;
	size_t at, len;
};

/* The extension headers one after the other. Return: how many, -1: it breaks off. */
static int walk(struct view *v, struct ext *ext, int max)
{
	uint8_t next = v->ip[6];
	size_t at = 40;
	int n = 0;

	while (next == P_HBH || next == P_DOPT || next == P_RT || next == P_FRAG || next == P_AH) {
		size_t len = 8;

		if (n == max || at + 8 > v->len)
			return -1;
		if (next == P_AH)
			len = ((size_t)v->ip[at + 1] + 2) * 4;
		else if (next != P_FRAG)
			len = ((size_t)v->ip[at + 1] + 1) * 8;
		if (at + len > v->len || len < 8 || (next == P_AH && len < 12))
			return -1;
		ext[n++] = (struct ext){ next, at, len };
		at += len;
		if (next == P_FRAG) {
			uint16_t field = get16(v->ip + at - 6);

			if (v->fragment || field & 6 || v->ip[at - 7])
				return -1; /* a second one, or with reserved bits */
			v->off = field & 0xfff8;
			v->more = field & 1;
			v->id = get32(v->ip + at - 4);
			v->fragment = true;
			v->first = v->off == 0;
		}
		next = v->ip[at - len];
		if (v->fragment && !v->first)
			break;
	}
	v->proto = next;
	v->head = at;
	return n;
}

static void say_ext(struct printer *p, const uint8_t *ip, const struct ext *ext, int n)
{
	for (int i = 0; i < n; i++) {
		const uint8_t *e = ip + ext[i].at;
		size_t len = ext[i].len, from = ext[i].num == P_RT ? 4 : 2;

		switch (ext[i].num) {
		case P_FRAG:
			say(p, " frag");
			continue;
		case P_RT:
			say(p, " rt=%u/%u", e[2], e[3]);
			if (len == 8 && get32(e + 4) == 0)
				continue;
			say(p, "/");
			break;
		default:
			say(p, ext[i].num == P_HBH ? " hbh" : ext[i].num == P_AH ? " ah" : " dopt");
			while (len > from && e[len - 1] == 0)
				len--;
			/* filled up again to the length it had, or all of it */
			if (ext[i].len != (ext[i].num == P_AH ? 12 : 8))
				len = ext[i].len;
			if (len == from)
				continue;
			say(p, "=");
			break;
		}
		say_hex(p, e + from, len - from);
	}
}

static bool view_ip6(struct view *v, const uint8_t *ip, size_t len, struct ext *ext, int *n)
{
	if (len < 40 || ip[0] >> 4 != 6)
		return false;
	v->total = 40u + get16(ip + 4);
	v->src = ip + 8;
	v->dst = ip + 24;
	v->first = true;
	v->len = len < v->total ? len : v->total;
	*n = walk(v, ext, 12);
	return *n >= 0;
}

static void say_ip6_rest(struct printer *p, const struct view *v)
{
	uint32_t word = get32(v->ip);

	say(p, " ttl=%u", v->ip[7]);
	if (word >> 20 & 0xff)
		say(p, " tos=0x%02x", word >> 20 & 0xff);
	if (word & 0xfffff)
		say(p, " flow=0x%05x", word & 0xfffff);
	if (v->id)
		say(p, " ipid=%u", v->id);
}


static void say_pad(struct printer *p, const uint8_t *b, size_t n)
{
	size_t i = 0;

	while (i < n && b[i] == 0)
		i++;
	if (i == n) {
		say(p, " pad=%zu", n);
		return;
	}
	say(p, " padhex=");
	say_hex(p, b, n);
}

static void say_ip(struct printer *p, const uint8_t *ip, size_t len, uint8_t family)
{
	struct view v = { .ip = ip, .len = len, .family = family };
	struct ext ext[12];
	size_t there;
	int n = 0;

	p->claim = false;
	if (!(family == 6 ? view_ip6(&v, ip, len, ext, &n) : view_ip4(&v, ip, len))) {
		say(p, "RAW");
		if (p->depth == 0)
			say(p, " ether=0x%04x", family == 6 ? 0x86dd : 0x0800);
		if (len)
			say_payload(p, ip, len, len);
		return;
	}
	there = len;
	v.cut = there < v.total;
	v.len = v.cut ? there : v.total;
	say_l4(p, &v);
	if (family == 6)
		say_ip6_rest(p, &v);
	else
		say_ip4_rest(p, &v);
	if (family == 6)
		say_ext(p, ip, ext, n);
	if (v.off)
		say(p, " off=%u", v.off);
	if (v.more)
		say(p, " mf");
	if (v.cut && p->claim)
		say(p, family == 6 ? " plen=%zu" : " tot=%zu", v.total - (family == 6 ? 40 : 0));
	else if (v.cut)
		say(p, " cut=%zu", p->depth ? there : there + CRAFT_ETH);
	else if (there > v.total)
		say_pad(p, ip + v.total, there - v.total);
}

/* --- the frame ---------------------------------------------------------------------------- */

static bool say_arp(struct printer *p, const uint8_t *a, size_t len)
{
	struct view v = { .family = 4, .src = a + 14, .dst = a + 24 };
	unsigned int op;

	if (len < 28)
		return false;
	op = get16(a + 6);
	say_pair(p, op == 2 ? "ARP reply" : "ARP request", &v, NULL);
	say_mac(p, "sender", a + 8);
	say_mac(p, "target", a + 18);
	if (op != 1 && op != 2)
		say(p, " opcode=%u", op);
	if (get16(a) != 1)
		say(p, " hw=%u", get16(a));
	if (get16(a + 2) != 0x0800)
		say(p, " pr=0x%04x", get16(a + 2));
	if (a[4] != 6)
		say(p, " hln=%u", a[4]);
	if (a[5] != 4)
		say(p, " pln=%u", a[5]);
	if (len > 28)
		say_pad(p, a + 28, len - 28);
	return true;
}

static void say_metadata(struct printer *p, const struct craft *c)
{
	if (c->csum == CSUM_VALID)
		say(p, " valid");
	if (c->csum == CSUM_PARTIAL && c->csum_start == 0)
		say(p, " partial");
	else if (c->csum == CSUM_PARTIAL)
		say(p, c->csum_start == p->csum_start && c->csum_offset == p->csum_at
			       ? " partial=set"
			       : " partial=wrong");
	if (c->gso && c->csum == CSUM_NONE)
		say(p, " complete");
	if (c->gso)
		say(p, " gso%s=%u", c->gso == GSO_TCPV6 ? "6" : "4", c->gso_size);
	if (c->copy_failed)
		say(p, " copyfailed");
}

const char *craft_print(const struct craft *c, char *text, unsigned int show)
{
	struct printer p = { .text = text, .partial = c->csum == CSUM_PARTIAL };
	uint16_t type;

	text[0] = '\0';
	if (c->len < CRAFT_ETH) {
		say(&p, "RAW cut=%zu", c->len);
		return text;
	}
	type = get16(c->b + 12);
	if (type == 0x0800 || type == 0x86dd) {
		say_ip(&p, c->b + CRAFT_ETH, c->len - CRAFT_ETH, type == 0x0800 ? 4 : 6);
	} else if (type != 0x0806 || !say_arp(&p, c->b + CRAFT_ETH, c->len - CRAFT_ETH)) {
		say(&p, "RAW ether=0x%04x", type);
		if (c->len > CRAFT_ETH)
			say_payload(&p, c->b + CRAFT_ETH, c->len - CRAFT_ETH, c->len - CRAFT_ETH);
	}
	say_metadata(&p, c);
	if (show & CRAFT_SHOW_MACS) {
		say_mac(&p, "smac", c->b + 6);
		say_mac(&p, "dmac", c->b);
	}
	return text;
}
