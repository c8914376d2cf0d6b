/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The lab in IPv6, and datagrams in pieces, for both families. As in lab.h,
 * nothing here uses the code under test.
 */
#ifndef TESTS_UNIT_LAB6_H
#define TESTS_UNIT_LAB6_H

#include "tests/unit/lab.h"

#define OUR6 "2001:db8:1::2"
#define GW6 "2001:db8:1::1"
#define C16 "fd09:24ef:4179::a89:5"
#define C26 "fd09:24ef:4179::a89:6"
#define BE6 "fe80::fcff:ffff:feff:ffff" /* we, as clients know us */
#define WEB6 "2001:db8:2::80"

/* One upper layer's packet, with its checksum; returns its length. */
struct l4 {
	uint8_t proto;
	const char *src, *dst;
	uint16_t sp, dp;
	uint8_t flags, type, code; /* TCP; ICMPv6 */
	uint32_t seq, ack;
	uint16_t window; /* 0: 65535 */
	size_t len;	 /* of the data, a pattern */
	uint8_t fill;	 /* of the pattern */
};

static inline void lab6_addr(uint8_t *p, const char *text)
{
	if (inet_pton(AF_INET6, text, p) != 1)
		abort();
}

static inline uint32_t lab6_pseudo(const char *src, const char *dst, uint8_t proto, size_t len)
{
	uint8_t b[32];

	lab6_addr(b, src);
	lab6_addr(b + 16, dst);
	return lab_sum(b, 32, (uint32_t)(proto + len));
}

static inline size_t lab6_l4(uint8_t *l4, const struct l4 *k)
{
	size_t head = k->proto == 6 ? 20 : k->proto == 17 || k->proto == 58 ? 8 : 0;
	size_t len = head + k->len, at = k->proto == 6 ? 16 : k->proto == 17 ? 6 : 2;
	uint32_t sum;

	memset(l4, 0, head);
	for (size_t i = 0; i < k->len; i++)
		l4[head + i] = (uint8_t)(i * 7 + 3 + k->fill);
	if (head == 0)
		return len;
	lab_put16(l4, k->sp);
	lab_put16(l4 + 2, k->dp);
	if (k->proto == 6) {
		lab_put16(l4 + 4, k->seq >> 16);
		lab_put16(l4 + 6, k->seq);
		lab_put16(l4 + 8, k->ack >> 16);
		lab_put16(l4 + 10, k->ack);
		l4[12] = 5 << 4;
		l4[13] = k->flags;
		lab_put16(l4 + 14, k->window ? k->window : 65535);
	} else if (k->proto == 17) {
		lab_put16(l4 + 4, (unsigned int)len);
	} else {
		l4[0] = k->type;
		l4[1] = k->code;
		lab_put16(l4 + 2, 0);
		lab_put16(l4 + 4, k->sp);
		lab_put16(l4 + 6, k->dp);
	}
	sum = ~lab_sum(l4, len, lab6_pseudo(k->src, k->dst, k->proto, len)) & 0xffff;
	lab_put16(l4 + at, sum == 0 && k->proto == 17 ? 0xffff : sum);
	return len;
}

/* A frame with an IPv6 packet: what follows the header is the caller's. */
static inline void lab6_raw(struct tframe *t, uint16_t port, const char *src, const char *dst,
			    uint8_t next, const void *payload, size_t len)
{
	uint8_t *ip = t->flat + 14;

	lab_ether(t, port, 0x86dd);
	memset(ip, 0, 40);
	ip[0] = 0x60;
	lab_put16(ip + 4, (unsigned int)len);
	ip[6] = next;
	ip[7] = 64;
	lab6_addr(ip + 8, src);
	lab6_addr(ip + 24, dst);
	memcpy(ip + 40, payload, len);
	lab_frame(t, port, 54 + len);
}

static inline void lab6_build(struct tframe *t, uint16_t port, const struct l4 *k)
{
	uint8_t l4[LAB_TAIL - 100];
	size_t len = lab6_l4(l4, k);

	lab6_raw(t, port, k->src, k->dst, k->proto, l4, len);
}

/* A part of a datagram that lies at @whole: [off, off + len). */
struct part {
	uint16_t port;
	const char *src, *dst;
	uint8_t proto;
	uint32_t id;
	size_t off, len;
	bool more;
};

static inline void lab6_part(struct tframe *t, const struct part *p, const uint8_t *whole)
{
	uint8_t b[LAB_TAIL - 100] = { p->proto };

	lab_put16(b + 2, (unsigned int)p->off | p->more);
	lab_put16(b + 4, p->id >> 16);
	lab_put16(b + 6, p->id);
	memcpy(b + 8, whole + p->off, p->len);
	lab6_raw(t, p->port, p->src, p->dst, 44, b, 8 + p->len);
}

static inline void lab4_part(struct tframe *t, const struct part *p, const uint8_t *whole)
{
	uint8_t *ip = t->flat + 14;

	lab_ether(t, p->port, 0x0800);
	memset(ip, 0, 20);
	ip[0] = 0x45;
	lab_put16(ip + 2, (unsigned int)(20 + p->len));
	lab_put16(ip + 4, p->id);
	lab_put16(ip + 6, (unsigned int)(p->off / 8) | (p->more ? 0x2000 : 0));
	ip[8] = 64;
	ip[9] = p->proto;
	lab_addr(ip + 12, p->src);
	lab_addr(ip + 16, p->dst);
	lab_put16(ip + 10, ~lab_sum(ip, 20, 0));
	memcpy(ip + 20, whole + p->off, p->len);
	lab_frame(t, p->port, 34 + p->len);
}

/* A UDP datagram over IPv4 without IP header, to be cut into parts. */
static inline size_t lab4_udp(uint8_t *b, const struct l4 *k)
{
	struct pk pk = { .src = k->src, .dst = k->dst, .proto = 17, .sp = k->sp, .dp = k->dp };
	uint8_t data[LAB_TAIL - 100], ip[LAB_TAIL];
	size_t len;

	for (size_t i = 0; i < k->len; i++)
		data[i] = (uint8_t)(i * 7 + 3 + k->fill);
	pk.data = data;
	pk.len = k->len;
	len = lab_ip4(ip, &pk) - 20;
	memcpy(b, ip + 20, len);
	return len;
}

/* Both families at the uplink and at clients 1 and 2. */
static inline void lab6_ifaces(struct lab *l, uint16_t mtu)
{
	struct engine_iface i = { .kind = IFACE_UPLINK, .mtu = mtu };

	memcpy(i.mac, lab_mac[0], 6);
	i.ip4 = lab_to_addr(OUR);
	i.gateway4 = lab_to_addr(GW);
	i.ip6 = lab_to_addr(OUR6);
	i.gateway6 = lab_to_addr(GW6);
	if (engine_iface_set(l->e, UP, &i) != 0)
		abort();
	for (uint16_t p = 1; p <= 2; p++) {
		i = (struct engine_iface){ .kind = IFACE_CLIENT, .mtu = mtu };
		memcpy(i.mac, lab_mac[p], 6);
		i.ip4 = lab_to_addr(lab_ip[p]);
		i.gateway4 = lab_to_addr(OUR);
		i.ip6 = lab_to_addr(p == 1 ? C16 : C26);
		i.gateway6 = lab_to_addr(BE6);
		if (engine_iface_set(l->e, p, &i) != 0)
			abort();
	}
}

/* A policy of IPv6 rules; lab_rules() is for IPv4. */
static inline void lab6_accept(struct lab *l, const char *ip)
{
	struct rule_pair pair = { "policy", "accept", 6 };
	struct addr a = lab_to_addr(ip);
	struct policy_env env = { 0 };
	struct ruleset *rs;
	struct policy *p;

	if (ruleset_parse(&rs, 6, &pair, 1, NULL) != 0 || policy_compile(&p, rs, &env) != 0 ||
	    engine_source_set(l->e, &a, p, ENGINE_RULES) != 0)
		abort();
	ruleset_free(&rs);
}

/* The bytes of a frame in a row. */
static inline size_t lab_flat(const struct frame *f, uint8_t *b)
{
	size_t n = f->header_len;

	memcpy(b, f->header, n);
	for (unsigned int i = 0; i < f->nseg; i++) {
		memcpy(b + n, f->seg[i].local, f->seg[i].len);
		n += f->seg[i].len;
	}
	return n;
}

#endif
