// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * UDP and echo: requests and answers, answers of others, errors about them, and
 * two clients who chose the same port.
 */
#include "tests/net/diff/diff.h"

static uint16_t some_len(struct rng *r)
{
	static const uint16_t lens[] = {0, 1, 7, 40, 41, 512, 1200, 1400};

	return lens[rng_below(r, 8)];
}

static void vary(struct conv *c, struct pk *k)
{
	k->len = some_len(c->rng);
	if (k->len + 48u > config.mtu)
		k->traits |= T_BIG;
	if (rng_one_in(c->rng, 8))
		k->tos = (uint8_t)(rng_next(c->rng) & 0xff);
	if (rng_one_in(c->rng, 3))
		k->frag = 0x4000;
	if (rng_one_in(c->rng, 12)) {
		k->bad_sum = true;
		k->traits |= T_BAD_SUM;
	}
	if (k->proto == P_UDP && !k->bad_sum && rng_one_in(c->rng, 8)) {
		k->no_sum = true;
		k->traits |= k->family == 6 ? T_ZERO_SUM6 : 0;
	}
}

/* Somebody else, or another port of the same: U3 */
static struct pk stranger(struct conv *c)
{
	struct pk k = conv_in(c);

	k.len = 20;
	k.traits = T_UNSOLICITED;
	if (c->proto != P_UDP || rng_one_in(c->rng, 2))
		k.src[c->family == 4 ? 3 : 15] ^= 3;
	else
		k.sport ^= 9;
	return k;
}

static struct pk error(struct conv *c, bool from_client)
{
	static const uint8_t what4[][2] = {{3, 3}, {3, 1}, {3, 4}, {11, 0}, {3, 10}, {12, 0}};
	static const uint8_t what6[][2] = {{1, 4}, {1, 0}, {2, 0}, {3, 0}, {1, 1}, {4, 1}};
	const uint8_t *w =
	    c->family == 4 ? what4[rng_below(c->rng, 6)] : what6[rng_below(c->rng, 6)];
	static uint8_t quoted[SIDES][FRAME_ROOM];
	struct pk k = conv_error(c, from_client, w[0], w[1], 1280);
	unsigned int head = c->family == 4 ? 20 : 40;
	uint32_t how = rng_below(c->rng, 8);

	if (k.len > head + 8 && rng_one_in(c->rng, 3))
		k.len = (uint16_t)(head + 8);
	if (how == 0 && !from_client) /* a router on the way */
		addr_of(k.src, c->family, c->family == 4 ? "198.51.100.99" : "2001:db8:9::9");
	if (how < 1 || how > 3 || k.len < head + 8)
		return k;
	k.traits |= T_QUOTE_BAD;
	for (int s = 0; s < SIDES; s++) {
		memcpy(quoted[s], k.data[s], k.len);
		k.data[s] = quoted[s];
		if (how == 1 && c->proto != P_UDP) /* another identifier: no such flow */
			quoted[s][head + 5] ^= 5;
		else if (how == 1) /* another remote port */
			quoted[s][head + (from_client ? 1 : 3)] ^= 5;
		else if (how == 2) /* another remote address */
			quoted[s][head - (from_client ? head == 20 ? 5 : 17 : 1)] ^= 5;
	}
	if (how == 3) /* shorter than it has to be */
		k.len = (uint16_t)(head + rng_below(c->rng, 8));
	return k;
}

static struct pk next(struct conv *c)
{
	struct pk k;

	switch (rng_below(c->rng, 12)) {
	case 0:
		return stranger(c);
	case 1:
	case 2:
		if (c->at_uplink_len[KERNEL])
			return error(c, false);
		break;
	case 3:
		if (c->at_client_len[KERNEL])
			return error(c, true);
		break;
	default:
		break;
	}
	k = rng_one_in(c->rng, 2) ? conv_out(c) : conv_in(c);
	vary(c, &k);
	return k;
}

static void talk(struct conv *c)
{
	unsigned int steps = 2 + rng_below(c->rng, 8);
	struct pk k = conv_out(c);

	vary(c, &k);
	while (step(c, &k) && !c->answered && steps-- > 0)
		k = next(c);
	conv_end(c);
}

void talk_udp(struct rng *r, uint8_t family, uint8_t client)
{
	static struct conv c;

	conv_start(&c, r, "UDP", family, client, P_UDP);
	talk(&c);
}

void talk_echo(struct rng *r, uint8_t family, uint8_t client)
{
	static struct conv c;

	conv_start(&c, r, "echo", family, client, P_ICMP);
	c.dport = (uint16_t)rng_below(r, 100); /* its sequence number */
	talk(&c);
}

/* U5, N9, I1: the second one gets another port; both get their own answers */
void talk_collide(struct rng *r, uint8_t family)
{
	static struct conv c[2];
	static const uint8_t protos[] = {P_UDP, P_TCP, P_ICMP};
	uint8_t proto = protos[rng_below(r, 3)];
	struct pk k;

	for (int i = 0; i < 2; i++) {
		conv_start(&c[i], r, "collision", family, (uint8_t)(1 + i), proto);
		if (i == 1) {
			memcpy(c[1].remote, c[0].remote, 16);
			memcpy(c[1].real, c[0].remote, 16);
			c[1].dport = c[0].dport;
			c[1].sport = c[1].nat[KERNEL] = c[1].nat[RINGFENCE] = c[0].sport;
		}
		k = conv_out(&c[i]);
		k.flags = F_SYN;
		k.seq = 1000;
		if (!step(&c[i], &k) || !c[i].passed) {
			conv_end(&c[i]);
			return;
		}
	}
	for (int n = 0; n < 4; n++) {
		struct conv *which = &c[n & 1];

		k = n < 2 ? conv_in(which) : conv_out(which);
		k.flags = n < 2 ? F_SYN | F_ACK : F_ACK;
		k.seq = n < 2 ? 5000 : 1001;
		k.ack = n < 2 ? 1001 : 5001;
		k.len = n < 2 ? 0 : 11;
		if (!step(which, &k))
			break;
	}
	conv_end(&c[0]);
	conv_end(&c[1]);
}
