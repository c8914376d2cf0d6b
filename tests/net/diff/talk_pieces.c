// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Datagrams in pieces (F1-F17, U10): in both directions, in any order, with
 * overlaps, duplicates and holes.
 */
#include "tests/net/diff/diff.h"

static struct conv c;

static bool open_tcp(struct rng *r, uint32_t *seq, uint32_t *ack)
{
	struct pk k = conv_out(&c);

	*seq = (uint32_t)rng_next(r);
	*ack = (uint32_t)rng_next(r);
	k.flags = F_SYN;
	k.window = 65535;
	k.seq = *seq;
	if (!step(&c, &k) || !c.passed)
		return false;
	k = conv_in(&c);
	k.flags = F_SYN | F_ACK;
	k.window = 65535;
	k.seq = (*ack)++;
	k.ack = ++*seq;
	if (!step(&c, &k) || !c.passed)
		return false;
	k = conv_out(&c);
	k.flags = F_ACK;
	k.seq = *seq;
	k.ack = *ack;
	return step(&c, &k) && c.passed;
}

static uint32_t some_cut(struct rng *r)
{
	static const uint32_t cuts[] = {8, 16, 24, 64, 256, 512, 1000, 1480};

	return cuts[rng_below(r, 8)];
}

void talk_pieces(struct rng *r, uint8_t family, uint8_t client)
{
	static const uint8_t protos[] = {P_UDP, P_TCP, P_ICMP};
	uint32_t seq = 0, ack = 0;
	unsigned int n = 1 + rng_below(r, 3);

	conv_start(&c, r, "pieces", family, client, protos[rng_below(r, 3)]);
	if (c.proto == P_TCP && !open_tcp(r, &seq, &ack)) {
		conv_end(&c);
		return;
	}
	for (unsigned int i = 0; i < n; i++) {
		bool in = i > 0 && rng_one_in(r, 2);
		enum pieces how = (enum pieces)rng_below(r, PIECES_KINDS);
		uint32_t cut = some_cut(r), most;
		struct pk k = in ? conv_in(&c) : conv_out(&c);

		if (cut + 60 > config.mtu)
			cut = config.mtu - 60u;
		most = cut * 20 < 6000 ? cut * 20 : 6000;
		if (cut > 900 && c.proto != P_TCP && rng_one_in(r, 4)) /* as long as they get */
			most = cut * 40 < 62000 ? cut * 40 : 62000;
		k.flags = F_ACK;
		k.window = 65535;
		k.seq = in ? ack : seq;
		k.ack = in ? seq : ack;
		k.len = (uint16_t)(20 + rng_below(r, most - 20));
		if (k.len + 60u > config.mtu)
			k.traits |= T_BIG;
		if (family == 4 && rng_one_in(r, 8))
			k.frag = 0x4000;
		if (family == 6 && rng_one_in(r, 4)) { /* F9: in the part that is cut up */
			pk_ext(&k, 60, 16);
			k.traits |= cut < 16 + 20 ? T_TINY : 0;
		}
		if (rng_one_in(r, 12)) {
			k.ttl = 1;
			k.traits |= T_TTL;
		}
		if (!step_pieces(&c, &k, cut, how) || c.answered)
			break;
		if (c.proto == P_TCP && how != INCOMPLETE && how != OVERLAPPING) {
			if (in)
				ack += k.len;
			else
				seq += k.len;
		}
	}
	conv_end(&c);
}
