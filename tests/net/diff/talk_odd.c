// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Single packets that no honest sender makes: wrong lengths, options, flags, types
 * (P1-P13, T3, T12, I5, I6). Each may be followed by an ordinary packet of the same
 * flow, which shows whether the odd one left something behind.
 */
#include "tests/net/diff/diff.h"

static struct conv c;

static void poke(struct pk *k, uint16_t at, uint8_t value)
{
	for (int i = 0; i < 4; i++)
		if (k->poke[i].at == 0) {
			k->poke[i].at = (uint16_t)(at + 1);
			k->poke[i].value = value;
			return;
		}
}

static void odd_options(struct rng *r, struct pk *k)
{
	static const uint8_t options[][12] = {
	    {7, 7, 4, 0, 0, 0, 0, 0},	  /* record route */
	    {131, 7, 4, 192, 0, 2, 1, 0}, /* loose source route */
	    {137, 7, 4, 192, 0, 2, 1, 0}, /* strict */
	    {68, 8, 5, 0, 0, 0, 0, 0},	  /* timestamp */
	    {148, 4, 0, 0, 1, 1, 1, 1},	  /* router alert */
	    {1, 1, 1, 1, 1, 1, 1, 0},	  /* nothing */
	    {130, 11, 0, 0, 0, 0, 0, 0},  /* security: beyond the header */
	    {7, 1, 4, 0, 0, 0, 0, 0},	  /* shorter than an option is */
	    {222, 4, 1, 2, 0, 0, 0, 0},	  /* unknown */
	};

	memcpy(k->ip_opt, options[rng_below(r, 9)], 8);
	k->ip_opt_len = 8;
	k->traits |= T_OPTIONS;
}

static void odd_length(struct rng *r, struct pk *k)
{
	k->len = 40;
	k->traits |= T_LENGTH;
	if (k->family == 4) {
		switch (rng_below(r, 5)) {
		case 0:
			poke(k, 0, 0x44);
			break; /* IHL 4 */
		case 1:
			poke(k, 0, 0x4f);
			break; /* IHL 15: options out of the payload */
		case 2:
			poke(k, 0, 0x65);
			break; /* version */
		case 3:
			poke(k, 2, 0x06);
			break; /* longer than the frame */
		default:       /* shorter than its header */
			poke(k, 2, 0);
			poke(k, 3, 19);
			break;
		}
		return;
	}
	switch (rng_below(r, 3)) {
	case 0:
		poke(k, 0, 0x40);
		break;
	case 1:
		poke(k, 4, 0x06);
		break;
	default:
		poke(k, 4, 0);
		poke(k, 5, 3);
		break;
	}
}

/* P12; @head: of the IP header */
static void odd_l4_length(struct rng *r, struct pk *k, uint16_t head)
{
	static const uint8_t lens[] = {0, 7, 8, 20, 60, 200};

	k->len = 40;
	k->traits |= T_LENGTH;
	if (k->proto == P_UDP)
		poke(k, (uint16_t)(head + 5), lens[rng_below(r, 6)]);
	else if (k->proto == P_TCP)
		poke(k, (uint16_t)(head + 12), rng_one_in(r, 2) ? 0x40 : 0xf0);
}

static void odd_icmp(struct rng *r, struct pk *k)
{
	static const uint8_t types4[] = {0, 4, 5, 9, 10, 13, 14, 15, 17, 18, 30, 40, 255};
	static const uint8_t types6[] = {0, 129, 130, 131, 132, 133, 134, 135, 137, 139, 143, 200};

	k->proto = k->family == 4 ? P_ICMP : P_ICMP6;
	k->type = k->family == 4 ? types4[rng_below(r, 13)] : types6[rng_below(r, 12)];
	if (rng_one_in(r, 6)) {
		k->type = k->family == 4 ? 8 : 128;
		k->code = 1;
	}
	k->len = 48;
	k->traits |= T_ICMP_OTHER;
}

static void odd_flags(struct rng *r, struct pk *k)
{
	static const uint8_t flags[] = {0,
					F_ACK,
					F_SYN | F_ACK,
					F_RST,
					F_FIN,
					F_FIN | F_ACK,
					F_SYN | F_FIN,
					F_SYN | F_RST,
					F_RST | F_ACK,
					F_PSH,
					F_SYN | F_PSH,
					F_SYN | F_URG,
					0x3f,
					F_SYN | 0xc0};

	k->proto = P_TCP;
	k->flags = flags[rng_below(r, sizeof(flags))];
	k->seq = (uint32_t)rng_next(r);
	k->traits |= T_ODD_FLAGS;
}

static void odd_ether(struct rng *r, struct pk *k)
{
	static const uint16_t types[] = {0x8100, 0x88a8, 0x86dd, 0x0800, 0x0040, 0x88cc, 0x8864};

	if (rng_one_in(r, 3)) {
		k->bad_mac = true;
		k->traits |= T_MAC;
		return;
	}
	k->ethertype = types[rng_below(r, 7)];
	if (k->ethertype == (k->family == 4 ? 0x0800 : 0x86dd))
		k->ethertype = 0x8100;
	k->traits |= T_LENGTH;
}

static void make_odd(struct rng *r, struct pk *k)
{
	switch (rng_below(r, 10)) {
	case 0:
		k->bad_ip_sum = k->family == 4;
		k->traits |= k->family == 4 ? T_LENGTH : 0;
		break;
	case 1:
		if (k->family == 4) {
			odd_options(r, k);
			break;
		}
		/* fall through */
	case 2:
		odd_length(r, k);
		break;
	case 3:
		odd_l4_length(r, k, k->family == 4 ? 20 : 40);
		break;
	case 4:
	case 5:
		odd_icmp(r, k);
		break;
	case 6:
	case 7:
		odd_flags(r, k);
		break;
	case 8:
		odd_ether(r, k);
		break;
	default:
		k->ttl = (uint8_t)rng_below(r, 2);
		k->traits |= T_TTL;
		break;
	}
}

void talk_odd(struct rng *r, uint8_t family, uint8_t client)
{
	static const uint8_t protos[] = {P_UDP, P_TCP, P_ICMP};
	struct pk k;

	conv_start(&c, r, "odd", family, client, protos[rng_below(r, 3)]);
	if (rng_one_in(r, 3)) { /* within a flow */
		k = conv_out(&c);
		k.flags = F_SYN;
		k.seq = 1;
		if (!step(&c, &k) || !c.passed) {
			conv_end(&c);
			return;
		}
	}
	k = rng_one_in(r, 3) ? conv_in(&c) : conv_out(&c);
	k.flags = k.at == UPLINK ? F_SYN | F_ACK : F_SYN;
	k.seq = k.at == UPLINK ? 7000 : 1;
	k.ack = k.at == UPLINK ? 2 : 0;
	if (c.proto == P_TCP && c.at_uplink_len[KERNEL])
		k.traits |= T_SYN_SENT;
	if (k.at == UPLINK && c.at_uplink_len[KERNEL] == 0)
		k.traits |= T_UNSOLICITED;
	make_odd(r, &k);
	if (step(&c, &k) && !c.answered) {
		k = conv_out(&c);
		k.flags = F_SYN;
		k.seq = 1;
		(void)step(&c, &k);
	}
	conv_end(&c);
}
