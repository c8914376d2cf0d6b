// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Packets from and to where they must not be (Q1-Q12, P6, P9, P14, T17): forged
 * sources, the firewall itself, other clients, addresses that mean something.
 */
#include "tests/net/diff/diff.h"

static struct conv c;

static const char *const special4[] = {
	"0.0.0.0",	 "0.1.2.3",	   "127.0.0.1",	  "224.0.0.1",
	"239.1.2.3",	 "255.255.255.255", "240.0.0.1",  "169.254.1.1",
	"10.137.255.255", "192.0.2.255",   "192.168.1.1", "100.64.0.1",
};
static const char *const special6[] = {
	"::",	  "::1",	 "ff02::1",	     "ff05::2",		 "fe80::1",
	"fec0::1",	  "fd00::1",	 "::ffff:192.0.2.1", "2002:c000:201::1", "ff0e::101",
	"64:ff9b::1", "::192.0.2.1",
};

static const char *special(struct rng *r, uint8_t family)
{
	return family == 4 ? special4[rng_below(r, 12)] : special6[rng_below(r, 12)];
}

static const char *client_text(uint8_t family, unsigned int n)
{
	return family == 4 ? ip4_text[n] : ip6_text[n];
}

static void ordinary(struct pk *k, struct rng *r)
{
	k->len = (uint16_t)rng_below(r, 60);
	k->flags = F_SYN;
	if (k->proto == P_TCP)
		k->len = 0;
}

/* Q1, P6, P14: a source that is not the client's */
static void spoof(struct rng *r, struct pk *k, uint8_t family)
{
	static const char *const others4[] = {"10.137.0.8", "192.0.2.10", GATEWAY4, STOPPED4};
	static const char *const others6[] = {"fd09:24ef:4179::a89:8", "2001:db8::10", GATEWAY6,
					      STOPPED6};

	k->traits |= T_SPOOFED;
	switch (rng_below(r, 4)) {
	case 0:
		addr_of(k->src, family, special(r, family));
		break;
	case 1:
		addr_of(k->src, family, client_text(family, c.client == 1 ? 2 : 1));
		break;
	case 2:
		addr_of(k->src, family, client_text(family, 0));
		break;
	default:
		addr_of(k->src, family, (family == 4 ? others4 : others6)[rng_below(r, 4)]);
		break;
	}
}

static void to_firewall(struct rng *r, struct pk *k, uint8_t family)
{
	static const uint8_t protos[] = {P_UDP, P_TCP, P_ICMP, P_ICMP, 47, P_UDP};
	static const uint8_t types4[] = {8, 0, 13, 3, 5}, types6[] = {128, 129, 133, 134, 137};

	addr_of(k->dst, family, client_text(family, 0));
	k->proto = protos[rng_below(r, 6)];
	if (k->proto == P_ICMP) {
		k->proto = family == 4 ? P_ICMP : P_ICMP6;
		k->type = rng_one_in(r, 2) ? (family == 4 ? types4 : types6)[rng_below(r, 5)]
			  : family == 4	   ? 8
					   : 128;
		k->len = 40;
		if (k->type != (family == 4 ? 8 : 128))
			k->traits |= T_ICMP_OTHER;
	} else if (k->proto == 47) {
		k->len = 20;
	} else if (rng_one_in(r, 3)) {
		k->dport = 68;
	} else if (rng_one_in(r, 3)) {
		k->dport = 53;
	}
	k->traits |= T_TO_FIREWALL;
}

static void from_client(struct rng *r, uint8_t family)
{
	struct pk k = conv_out(&c);

	ordinary(&k, r);
	switch (rng_below(r, 8)) {
	case 0:
	case 1:
		spoof(r, &k, family);
		break;
	case 2:
	case 3:
		to_firewall(r, &k, family);
		break;
	case 4:
		addr_of(k.dst, family, client_text(family, c.client == 1 ? 2 : 1));
		k.traits |= T_INTER_CLIENT;
		break;
	case 5:
		addr_of(k.dst, family, family == 4 ? STOPPED4 : STOPPED6);
		k.traits |= T_INTER_CLIENT;
		break;
	case 6:
		addr_of(k.dst, family,
			family == 6 && rng_one_in(r, 4) ? "ff02::1" : special(r, family));
		k.traits |= T_MARTIAN;
		break;
	default: /* land */
		memcpy(k.dst, k.src, 16);
		k.traits |= T_MARTIAN;
		break;
	}
	(void)step(&c, &k);
}

static void from_uplink(struct rng *r, uint8_t family)
{
	struct pk k = conv_in(&c);

	ordinary(&k, r);
	k.to_nat = false;
	k.dport = (uint16_t)rng_below(r, 60000);
	k.traits |= T_UNSOLICITED;
	switch (rng_below(r, 8)) {
	case 0:
		break; /* to our address */
	case 1:	       /* Q4: straight to a client */
		addr_of(k.dst, family, client_text(family, c.client));
		k.traits |= T_INTER_CLIENT;
		break;
	case 2: /* Q10: from one */
		addr_of(k.src, family, client_text(family, 1 + rng_below(r, 3)));
		k.traits |= T_SPOOFED;
		break;
	case 3:
		addr_of(k.src, family, family == 4 ? STOPPED4 : STOPPED6);
		k.traits |= T_SPOOFED;
		break;
	case 4: /* from ourselves */
		memcpy(k.src, k.dst, 16);
		k.traits |= T_SPOOFED | T_MARTIAN;
		break;
	case 5:
		addr_of(k.src, family, special(r, family));
		k.traits |= T_MARTIAN;
		break;
	case 6:
		addr_of(k.dst, family, special(r, family));
		k.traits |= T_MARTIAN;
		break;
	default: /* an answer, or request, that nobody asked for */
		k.proto = family == 4 ? P_ICMP : P_ICMP6;
		k.type = family == 4 ? (rng_one_in(r, 2) ? 0 : 8) : rng_one_in(r, 2) ? 128 : 129;
		break;
	}
	(void)step(&c, &k);
}

void talk_place(struct rng *r, uint8_t family, uint8_t client)
{
	static const uint8_t protos[] = {P_UDP, P_TCP, P_ICMP};

	conv_start(&c, r, "place", family, client, protos[rng_below(r, 3)]);
	if (rng_one_in(r, 3)) {
		from_uplink(r, family);
	} else if (family == 6 && rng_one_in(r, 8)) {
		struct pk k; /* Q1: a client without IPv6 */

		c.client = 3;
		addr_of(c.local, 6, ip6_text[3]);
		k = conv_out(&c);
		ordinary(&k, r);
		k.traits |= T_SPOOFED;
		(void)step(&c, &k);
	} else {
		from_client(r, family);
	}
	conv_end(&c);
}
