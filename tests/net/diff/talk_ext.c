// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * IPv6 extension headers (P7, F8, F9, F12), and protocols that have no ports (U11).
 */
#include "tests/net/diff/diff.h"

#include <stdio.h>

static struct conv c;

/* What a router has to look at, unlike padding of any length: an unknown option. */
static void hop_by_hop(struct rng *r, struct pk *k)
{
	struct ext *e = &k->ext[k->exts];

	pk_ext(k, 0, (uint8_t)(8 + 8 * rng_below(r, 3)));
	e->b[2] = 0x1e;
	if (k->exts > 1)
		k->traits |= T_EXT_BAD; /* only comes first */
}

static void one_header(struct rng *r, struct pk *k, bool opaque)
{
	switch (rng_below(r, opaque ? 8 : 7)) {
	case 0:
		hop_by_hop(r, k);
		break;
	case 1:
	case 2:
		pk_ext(k, 60, (uint8_t)(8 + 8 * rng_below(r, 3)));
		break;
	case 3: /* routing type 0: RFC 5095 */
		pk_ext(k, 43, 24);
		k->ext[k->exts - 1].b[3] = (uint8_t)rng_below(r, 2);
		k->traits |= T_EXT_BAD;
		break;
	case 4: /* another type; segments left or not */
		pk_ext(k, 43, 24);
		k->ext[k->exts - 1].b[2] = 4;
		k->ext[k->exts - 1].b[3] = (uint8_t)rng_below(r, 2);
		k->traits |= k->ext[k->exts - 1].b[3] ? T_EXT_BAD : 0;
		break;
	case 5: /* F8: an atomic fragment */
		for (unsigned int i = 0; i < k->exts; i++)
			if (k->ext[i].type == 44)
				k->traits |= T_EXT_BAD; /* twice */
		pk_ext(k, 44, 8);
		k->ext[k->exts - 1].b[1] = 0;
		k->ext[k->exts - 1].b[7] = (uint8_t)(1 + rng_below(r, 200));
		break;
	case 7: /* AH: nothing behind it is looked at */
		pk_ext(k, 51, 16);
		k->traits |= T_EXT_OTHER;
		break;
	default: /* jumbo payload */
		pk_ext(k, 0, 8);
		k->ext[k->exts - 1].b[2] = 0xc2;
		k->ext[k->exts - 1].b[3] = 4;
		k->traits |= T_EXT_BAD;
		break;
	}
}

static void headers(struct rng *r, struct pk *k, bool opaque)
{
	unsigned int n = rng_one_in(r, 6) ? 9 : 1 + rng_below(r, 3);

	if (n == 9) { /* more than the walk follows */
		while (k->exts < n)
			pk_ext(k, 60, 8);
		k->traits |= T_EXT_BAD;
	} else {
		while (k->exts < n && !(k->traits & T_EXT_OTHER))
			one_header(r, k, opaque);
	}
	if (opaque && rng_one_in(r, 6)) {
		static const uint8_t ends[] = {59, 50, 132, 253};

		k->proto = ends[rng_below(r, 4)];
		k->len = 33;
		k->traits |= k->proto == 59 ? T_EXT_BAD : T_PROTO;
		k->traits |= k->proto == 132 ? T_PORTED : 0;
	}
}

/* What has no ports is a flow by addresses, one at a time (U11): its own remote. */
static void lone_remote(void)
{
	static unsigned int n;
	char text[64];

	n++;
	if (c.family == 4)
		snprintf(text, sizeof(text), "198.18.%u.%u", n >> 8, n & 0xff);
	else
		snprintf(text, sizeof(text), "2001:db8:7::%x", n);
	conv_remote(&c, text);
}

void talk_ext(struct rng *r, uint8_t client)
{
	static const uint8_t protos[] = {P_UDP, P_TCP, P_ICMP};
	bool opaque = rng_one_in(r, 2);
	struct pk k;

	conv_start(&c, r, "extension headers", 6, client, protos[rng_below(r, 3)]);
	if (opaque)
		lone_remote();
	k = conv_out(&c);
	k.flags = F_SYN;
	k.seq = 1;
	k.len = c.proto == P_TCP ? 0 : 33;
	if (!rng_one_in(r, 4)) {
		headers(r, &k, opaque);
		if (!step(&c, &k) || c.answered) {
			conv_end(&c);
			return;
		}
		c.sport = c.nat[KERNEL] = c.nat[RINGFENCE] = (uint16_t)(c.sport + 1);
		k = conv_out(&c);
		k.flags = F_SYN;
		k.seq = 1;
	}
	if (c.over)
		return;
	if (step(&c, &k) && c.passed) {
		k = conv_in(&c);
		k.flags = F_SYN | F_ACK;
		k.seq = 100;
		k.ack = 2;
		k.len = c.proto == P_TCP ? 0 : 20;
		headers(r, &k, false);
		(void)step(&c, &k);
	}
	conv_end(&c);
}

void talk_protocol(struct rng *r, uint8_t family, uint8_t client)
{
	static const uint8_t protos[] = {47, 50, 132, 2, 136, 89, 33, 253, 4, 41};
	static const uint8_t gre[120] = {0, 0, 8, 0, 0x45};
	uint8_t proto = protos[rng_below(r, 10)];
	struct pk k;

	conv_start(&c, r, "protocol", family, client, proto);
	lone_remote();
	for (int i = 0; i < 4; i++) {
		k = i & 1 ? conv_in(&c) : conv_out(&c);
		k.len = (uint16_t)(20 + rng_below(r, 100));
		k.traits |= T_PROTO;
		if (proto == 47)
			for (int s = 0; s < SIDES; s++)
				k.data[s] = gre;
		if (proto == 132 || proto == 136 || proto == 33)
			k.traits |= T_PORTED;
		if (!step(&c, &k) || c.answered)
			break;
	}
	conv_end(&c);
}
