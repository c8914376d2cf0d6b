/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A small network around the engine, for its tests, fuzzer and benchmark:
 *
 *	port 0		uplink: we are 10.137.0.2, the gateway is 10.137.0.1
 *	port 1, 2, 3	clients 10.137.0.5, .6, .7; they know us as 10.137.0.2
 *
 * Packets are described (struct pk), built byte by byte and read back (struct
 * seen) with code of its own: nothing here uses the code under test, so that a
 * checksum that is wrong twice does not look right.
 */
#ifndef TESTS_UNIT_LAB_H
#define TESTS_UNIT_LAB_H

#include "firewall/engine.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAB_TAIL 70000
#define UP 0
#define OUR "10.137.0.2"
#define GW "10.137.0.1"
#define C1 "10.137.0.5"
#define C2 "10.137.0.6"
#define C3 "10.137.0.7"
#define WEB "192.0.2.80"
#define DNS "192.0.2.53"

#define T_FIN 0x01
#define T_SYN 0x02
#define T_RST 0x04
#define T_PSH 0x08
#define T_ACK 0x10

static const uint8_t lab_mac[4][6] = {
	{ 0x00, 0x16, 0x3e, 0x5e, 0x6c, 0x00 },
	{ 0x00, 0x16, 0x3e, 0x5e, 0x6c, 0x01 },
	{ 0x00, 0x16, 0x3e, 0x5e, 0x6c, 0x02 },
	{ 0x00, 0x16, 0x3e, 0x5e, 0x6c, 0x03 },
};
static const uint8_t lab_backend[6] = { 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff };
static const uint8_t lab_gw_mac[6] = { 0x02, 0x77, 0, 0, 0, 0x01 };
static const char *const lab_ip[4] = { OUR, C1, C2, C3 };

struct tframe {
	struct frame f;
	uint8_t tail[LAB_TAIL];
	uint8_t flat[LAB_TAIL]; /* as built, before the engine saw it */
	size_t flat_len;
};

struct pk {
	uint16_t port;
	const char *src, *dst;
	uint8_t proto;
	uint16_t sp, dp; /* ICMP echo: sp is the identifier */
	uint8_t flags;
	uint32_t seq, ack;
	uint8_t type, code; /* ICMP */
	const void *data;
	size_t len;	/* of data; data NULL: a pattern */
	uint8_t ttl;	/* 0: 64 */
	uint8_t tos;
	uint16_t id, frag; /* frag: the whole field */
	uint16_t gso;	/* segment size; implies partial */
	bool partial;	/* checksum left to the last hop */
	bool no_csum;	/* UDP without one */
	size_t options; /* bytes of NOP options in the IP header */
};

struct seen {
	int verdict, reason, port;
	char src[16], dst[16];
	uint8_t proto, ttl, tos, flags, type, code;
	uint16_t sp, dp, id, frag, info; /* info: last two bytes of the ICMP header */
	uint32_t seq;
	bool ip_ok, l4_ok;
	size_t len, l4, payload; /* of the frame; offsets */
	uint8_t b[LAB_TAIL];
};

static inline uint32_t lab_sum(const uint8_t *p, size_t n, uint32_t sum)
{
	for (size_t i = 0; i < n; i++) {
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

static inline void lab_put16(uint8_t *p, unsigned int v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline uint16_t lab_get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline void lab_addr(uint8_t *p, const char *text)
{
	if (inet_pton(AF_INET, text, p) != 1)
		abort();
}

static inline uint32_t lab_pseudo(const uint8_t *ip, size_t l4_len)
{
	return lab_sum(ip + 12, 8, (uint32_t)(ip[9] + l4_len));
}

/* Headers and payload of the upper layer; returns its length. */
static inline size_t lab_l4(uint8_t *l4, const struct pk *k, size_t *csum_at)
{
	size_t head = k->proto == 6 ? 20 : k->proto == 17 || k->proto == 1 ? 8 : 0;

	for (size_t i = 0; i < k->len; i++)
		l4[head + i] = k->data ? ((const uint8_t *)k->data)[i] : (uint8_t)(i * 7 + 3);
	memset(l4, 0, head);
	*csum_at = 0;
	if (k->proto == 6) {
		lab_put16(l4, k->sp);
		lab_put16(l4 + 2, k->dp);
		lab_put16(l4 + 4, k->seq >> 16);
		lab_put16(l4 + 6, k->seq);
		lab_put16(l4 + 8, k->ack >> 16);
		lab_put16(l4 + 10, k->ack);
		l4[12] = 5 << 4;
		l4[13] = k->flags;
		lab_put16(l4 + 14, 65535);
		*csum_at = 16;
	} else if (k->proto == 17) {
		lab_put16(l4, k->sp);
		lab_put16(l4 + 2, k->dp);
		lab_put16(l4 + 4, (unsigned int)(8 + k->len));
		*csum_at = 6;
	} else if (k->proto == 1) {
		l4[0] = k->type;
		l4[1] = k->code;
		lab_put16(l4 + 4, k->sp);
		lab_put16(l4 + 6, k->dp);
		*csum_at = 2;
	}
	return head + k->len;
}

/* An IP packet with all checksums; returns its length. */
static inline size_t lab_ip4(uint8_t *ip, const struct pk *k)
{
	size_t ihl = 20 + k->options, csum_at, l4_len;
	uint32_t sum;

	memset(ip, 0, 20);
	memset(ip + 20, 1, k->options);
	l4_len = lab_l4(ip + ihl, k, &csum_at);
	ip[0] = (uint8_t)(0x40 | ihl / 4);
	ip[1] = k->tos;
	lab_put16(ip + 2, (unsigned int)(ihl + l4_len));
	lab_put16(ip + 4, k->id);
	lab_put16(ip + 6, k->frag);
	ip[8] = k->ttl ? k->ttl : 64;
	ip[9] = k->proto;
	lab_addr(ip + 12, k->src);
	lab_addr(ip + 16, k->dst);
	lab_put16(ip + 10, ~lab_sum(ip, ihl, 0));
	if (csum_at && !k->no_csum) {
		sum = k->proto == 1 ? 0 : lab_pseudo(ip, l4_len);
		if (!k->partial && !k->gso) {
			sum = ~lab_sum(ip + ihl, l4_len, sum) & 0xffff;
			if (k->proto == 17 && sum == 0)
				sum = 0xffff;
		}
		lab_put16(ip + ihl + csum_at, sum);
	}
	return ihl + l4_len;
}

/* Give a flat frame to a port: headers private, the rest in two segments. */
static inline void lab_frame(struct tframe *t, uint16_t port, size_t len)
{
	size_t head = len > FRAME_HEADER_COPY ? FRAME_HEADER_COPY : len;
	size_t rest = len - head, first = rest / 2;

	memset(&t->f, 0, sizeof(t->f));
	memcpy(t->f.header, t->flat, head);
	memcpy(t->tail, t->flat + head, rest);
	t->flat_len = len;
	t->f.header_len = (uint16_t)head;
	t->f.len = (uint32_t)len;
	t->f.in_port = port;
	if (first) {
		t->f.seg[t->f.nseg].local = t->tail;
		t->f.seg[t->f.nseg++].len = (uint32_t)first;
	}
	if (rest) {
		t->f.seg[t->f.nseg].local = t->tail + first;
		t->f.seg[t->f.nseg++].len = (uint32_t)(rest - first);
	}
	t->f.verdict = 0xee; /* the engine must set it */
}

static inline void lab_ether(struct tframe *t, uint16_t port, uint16_t type)
{
	memcpy(t->flat, port == UP ? lab_mac[0] : lab_backend, 6);
	memcpy(t->flat + 6, port == UP ? lab_gw_mac : lab_mac[port & 3], 6);
	lab_put16(t->flat + 12, type);
}

static inline void lab_build(struct tframe *t, const struct pk *k)
{
	size_t len;

	lab_ether(t, k->port, 0x0800);
	len = 14 + lab_ip4(t->flat + 14, k);
	lab_frame(t, k->port, len);
	if (k->partial || k->gso)
		t->f.csum = CSUM_PARTIAL;
	if (k->gso) {
		t->f.gso = GSO_TCPV4;
		t->f.gso_size = k->gso;
	}
}

/* Read a frame back, with every checksum judged. */
static inline void lab_read(const struct frame *f, struct seen *s)
{
	const uint8_t *ip = s->b + 14, *l4;
	size_t pos = f->header_len, ihl, total, csum_at, l4_len;
	uint32_t sum;

	memset(s, 0, offsetof(struct seen, b));
	s->verdict = f->verdict;
	s->reason = f->reason;
	s->port = f->out_port;
	memcpy(s->b, f->header, f->header_len);
	for (unsigned int i = 0; i < f->nseg; i++) {
		memcpy(s->b + pos, f->seg[i].local, f->seg[i].len);
		pos += f->seg[i].len;
	}
	s->len = pos;
	if (pos < 34 || lab_get16(s->b + 12) != 0x0800)
		return;
	ihl = (size_t)(ip[0] & 15) * 4;
	total = lab_get16(ip + 2);
	if (ihl < 20 || total < ihl || 14 + total > pos)
		return;
	inet_ntop(AF_INET, ip + 12, s->src, sizeof(s->src));
	inet_ntop(AF_INET, ip + 16, s->dst, sizeof(s->dst));
	s->tos = ip[1];
	s->id = lab_get16(ip + 4);
	s->frag = lab_get16(ip + 6);
	s->ttl = ip[8];
	s->proto = ip[9];
	s->ip_ok = 14 + total == pos && pos == f->len && lab_sum(ip, ihl, 0) == 0xffff;
	s->l4 = 14 + ihl;
	l4 = s->b + s->l4;
	l4_len = total - ihl;
	csum_at = s->proto == 6 ? 16 : s->proto == 17 ? 6 : 2;
	if (s->proto == 6 || s->proto == 17) {
		s->sp = lab_get16(l4);
		s->dp = lab_get16(l4 + 2);
		s->flags = s->proto == 6 ? l4[13] : 0;
		s->seq = (uint32_t)lab_get16(l4 + 4) << 16 | lab_get16(l4 + 6);
		s->payload = s->l4 + (s->proto == 6 ? (size_t)(l4[12] >> 4) * 4 : 8);
	} else {
		s->type = l4[0];
		s->code = l4[1];
		s->sp = lab_get16(l4 + 4);
		s->info = lab_get16(l4 + 6);
		s->payload = s->l4 + 8;
	}
	sum = s->proto == 1 ? 0 : lab_pseudo(ip, l4_len);
	if (f->csum == CSUM_PARTIAL)
		s->l4_ok = f->csum_start == s->l4 && f->csum_offset == csum_at &&
			   lab_get16(l4 + csum_at) % 0xffff == sum % 0xffff;
	else if (s->proto == 17 && lab_get16(l4 + 6) == 0)
		s->l4_ok = true;
	else
		s->l4_ok = lab_sum(l4, l4_len, sum) == 0xffff;
}

struct lab {
	struct engine *e;
	uint64_t ms;
	struct tframe in, out;
	struct seen seen;
};

static inline struct addr lab_to_addr(const char *text)
{
	struct addr a = { 0 };

	if (text && addr_parse(text, strlen(text), &a) != 0)
		abort();
	return a;
}

/* A policy from rules ("action=accept proto=tcp", ...) ended by NULL. */
static inline struct policy *lab_policy(const char *last, const char *const *rules)
{
	struct rule_pair pairs[33] = { { "policy", last, strlen(last) } };
	char keys[32][8];
	size_t n = 1;
	struct rule_error err = { { 0 }, { 0 } };
	struct ruleset *rs;
	struct policy *p;
	struct policy_env env = { 0 };

	for (; rules && rules[n - 1] && n < 33; n++) {
		snprintf(keys[n - 1], sizeof(keys[0]), "%04u", (unsigned int)(n - 1) % 10000);
		pairs[n] = (struct rule_pair){ keys[n - 1], rules[n - 1], strlen(rules[n - 1]) };
	}
	if (ruleset_parse(&rs, 4, pairs, n, &err) != 0) {
		printf("rules: %s: %s\n", err.key, err.text);
		abort();
	}
	if (policy_compile(&p, rs, &env) != 0)
		abort();
	ruleset_free(&rs);
	return p;
}

static inline void lab_rules(struct lab *l, const char *ip, const char *last,
			     const char *const *rules)
{
	struct addr a = lab_to_addr(ip);

	if (engine_source_set(l->e, &a, lab_policy(last, rules), ENGINE_RULES) != 0)
		abort();
}

static inline void lab_client(struct lab *l, uint16_t port, const char *ip)
{
	struct engine_iface i = { .kind = IFACE_CLIENT, .mtu = 1500 };

	memcpy(i.mac, lab_mac[port & 3], 6);
	i.ip4 = lab_to_addr(ip);
	i.gateway4 = lab_to_addr(OUR);
	if (engine_iface_set(l->e, port, &i) != 0)
		abort();
	engine_iface_link(l->e, port, true);
}

static inline void lab_uplink(struct lab *l, const char *ip, uint16_t mtu)
{
	struct engine_iface i = { .kind = IFACE_UPLINK, .mtu = mtu };

	memcpy(i.mac, lab_mac[0], 6);
	i.ip4 = lab_to_addr(ip);
	i.gateway4 = lab_to_addr(GW);
	if (engine_iface_set(l->e, UP, &i) != 0)
		abort();
	engine_iface_link(l->e, UP, true);
}

static inline void lab_init(struct lab *l, uint32_t flow_max, uint8_t seed)
{
	struct engine_config c = { .flow_max = flow_max };

	memset(c.hash_key, seed, sizeof(c.hash_key));
	memset(c.rng_seed, seed, sizeof(c.rng_seed));
	l->ms = 1000000;
	if (engine_new(&l->e, &c) != 0)
		abort();
	lab_uplink(l, OUR, 1500);
	for (uint16_t p = 1; p <= 3; p++)
		lab_client(l, p, lab_ip[p]);
}

/* Process what is in l->in and read what comes out. */
static inline const struct seen *lab_run(struct lab *l)
{
	struct frame *f = &l->in.f;

	engine_process(l->e, &f, 1, (struct engine_time){ l->ms });
	lab_read(f, &l->seen);
	return &l->seen;
}

static inline const struct seen *lab_send(struct lab *l, struct pk k)
{
	lab_build(&l->in, &k);
	return lab_run(l);
}

#ifdef TESTS_UNIT_CHECK_H
/* The packet went to a port with these addresses and with good checksums. */
static inline void lab_forwarded(const char *file, int line, const struct seen *s,
				 const char *src, const char *dst, int port)
{
	char text[160];

	if (s->verdict == FRAME_FORWARD && s->ip_ok && s->l4_ok && s->port == port &&
	    strcmp(s->src, src) == 0 && strcmp(s->dst, dst) == 0)
		return;
	snprintf(text, sizeof(text), "verdict %d (%s), port %d, %s > %s, checksums %d %d",
		 s->verdict, drop_name((enum drop_reason)s->reason), s->port, s->src, s->dst,
		 s->ip_ok, s->l4_ok);
	test_fail(file, line, text);
}

static inline void lab_dropped(const char *file, int line, const struct seen *s,
			       enum drop_reason reason)
{
	char text[160];

	if (s->verdict == FRAME_DROP && s->reason == (int)reason)
		return;
	snprintf(text, sizeof(text), "verdict %d (%s), not dropped as %s", s->verdict,
		 drop_name((enum drop_reason)s->reason), drop_name(reason));
	test_fail(file, line, text);
}
#endif

/* Let time pass the way the loop does. Frames the engine sends are discarded. */
static inline void lab_wait(struct lab *l, uint64_t ms)
{
	while (ms > 0) {
		uint64_t step = ms > 1000 ? 1000 : ms;

		l->ms += step;
		ms -= step;
		engine_tick(l->e, (struct engine_time){ l->ms });
		while (engine_take(l->e, &l->out.f))
			engine_done(l->e, &l->out.f);
	}
}

#endif
