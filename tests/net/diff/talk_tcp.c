// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * TCP connections: handshakes of all kinds, then a random walk over what two ends,
 * an attacker beside them and the routers between them can send (T1-T17, I2-I4).
 */
#include "tests/net/diff/diff.h"

enum end { CLIENT, SERVER };

struct tcp {
	struct conv c;
	uint32_t isn[2], nxt[2]; /* next sequence number to be sent */
	uint32_t acked[2];	 /* what the other end has acknowledged */
	uint16_t window;
	int scale; /* below 0: no option */
	bool fin[2];
	uint32_t traits; /* of all segments from now on */
};

static struct tcp t;

static struct pk segment(enum end from, uint8_t flags, uint32_t seq, uint16_t len)
{
	struct pk k = from == CLIENT ? conv_out(&t.c) : conv_in(&t.c);

	k.flags = flags;
	k.seq = seq;
	k.ack = flags & F_ACK ? t.nxt[!from] : 0;
	k.len = len;
	k.window = t.window;
	k.traits = t.traits;
	if (rng_one_in(t.c.rng, 8))
		k.tos = (uint8_t)(rng_next(t.c.rng) & 0xff);
	if (rng_one_in(t.c.rng, 3))
		k.frag = 0x4000;
	return k;
}

/* Errors are about packets that the connection knows (I3). */
static void forget_last(void)
{
	for (int s = 0; s < SIDES; s++)
		t.c.at_uplink_len[s] = t.c.at_client_len[s] = 0;
}

static void add_option(struct pk *k, const uint8_t *b, uint8_t len)
{
	memcpy(k->tcp_opt + k->tcp_opt_len, b, len);
	k->tcp_opt_len = (uint8_t)(k->tcp_opt_len + len);
}

/* SYN and SYN-ACK have their options */
static void syn_options(struct pk *k, bool large)
{
	uint8_t mss[4] = {2, 4, 0x05, 0xb4}, scale[4] = {3, 3, (uint8_t)t.scale, 1};
	static const uint8_t sack[4] = {4, 2, 1, 1};

	if (t.c.family == 6)
		put16(mss + 2, 1440);
	if (large) {
		put16(mss + 2, 8960);
		k->traits |= T_MSS;
	} else if (config.mtu < 1500) {
		k->traits |= T_MSS;
	}
	add_option(k, mss, 4);
	add_option(k, sack, 4);
	if (t.scale >= 0)
		add_option(k, scale, 4);
}

/* Send it; true: it went through, and the conversation goes on. */
static bool say(struct pk *k)
{
	return step(&t.c, k) && t.c.passed;
}

/* The receiver acknowledges in time: nobody sends beyond what the other has opened. */
static bool make_room(enum end from, uint16_t len)
{
	struct pk k;

	if (t.nxt[from] + len - t.acked[from] <= 3000)
		return true;
	k = segment(!from, F_ACK, t.nxt[!from], 0);
	t.acked[from] = t.nxt[from];
	return say(&k);
}

static bool data(enum end from, uint16_t len)
{
	struct pk k;

	if (!make_room(from, len))
		return false;
	k = segment(from, F_ACK | (len ? F_PSH : 0), t.nxt[from], len);
	t.acked[!from] = t.nxt[!from];
	if (!say(&k))
		return false;
	t.nxt[from] += len;
	return true;
}

/* --- handshakes --------------------------------------------------------------------- */

static bool syn(enum end from, uint16_t payload)
{
	struct pk k = segment(from, F_SYN, t.isn[from], payload);

	syn_options(&k, rng_one_in(t.c.rng, 10));
	if (!say(&k))
		return false;
	if (k.traits & T_MSS)
		forget_last(); /* it may have been changed on one side */
	t.nxt[from] = t.isn[from] + 1 + payload;
	t.acked[from] = t.nxt[from];
	return true;
}

static bool syn_ack(enum end from)
{
	struct pk k = segment(from, F_SYN | F_ACK, t.isn[from], 0);

	syn_options(&k, false);
	if (!say(&k))
		return false;
	if (k.traits & T_MSS)
		forget_last();
	t.nxt[from] = t.acked[from] = t.isn[from] + 1;
	return true;
}

static bool handshake(void)
{
	struct pk k;

	if (!syn(CLIENT, rng_one_in(t.c.rng, 20) ? 30 : 0))
		return false;
	switch (rng_below(t.c.rng, 12)) {
	case 0: /* sent again */
		k = segment(CLIENT, F_SYN, t.isn[CLIENT], 0);
		syn_options(&k, false);
		k.traits |= T_SYN_SENT;
		if (!say(&k))
			return false;
		break;
	case 1: /* simultaneous open, T2 */
		t.traits |= T_SIMULTANEOUS;
		k = segment(SERVER, F_SYN, t.isn[SERVER], 0);
		syn_options(&k, false);
		k.traits |= T_SYN_SENT;
		if (!say(&k))
			return false;
		t.nxt[SERVER] = t.acked[SERVER] = t.isn[SERVER] + 1;
		k = segment(CLIENT, F_SYN | F_ACK, t.isn[CLIENT], 0);
		syn_options(&k, false);
		k.traits |= T_SYN_SENT;
		if (!say(&k))
			return false;
		break;
	case 2: /* refused, properly or not */
		k = segment(SERVER, rng_one_in(t.c.rng, 3) ? F_RST : F_RST | F_ACK, 0, 0);
		k.seq = k.flags & F_ACK ? 0 : t.isn[SERVER];
		k.traits |= T_SYN_SENT;
		(void)say(&k);
		return false;
	case 3: /* an answer that acknowledges another SYN */
		k = segment(SERVER, F_SYN | F_ACK, t.isn[SERVER], 0);
		k.ack += rng_one_in(t.c.rng, 2) ? 70000 : 0xfffff000u;
		k.traits |= T_SYN_SENT | T_BAD_ACK;
		(void)say(&k); /* T9; it has set the kernel's windows, so that is all */
		return false;
	case 4: /* data before the answer, T3 */
		k = segment(CLIENT, F_ACK, t.nxt[CLIENT], 10);
		k.traits |= T_SYN_SENT;
		(void)say(&k);
		return false;
	default:
		break;
	}
	if (!syn_ack(SERVER))
		return false;
	if (rng_one_in(t.c.rng, 12) && !syn_ack(SERVER)) /* T9 */
		return false;
	return data(CLIENT, 0);
}

/* --- the walk ------------------------------------------------------------------------- */

static enum end either(void)
{
	return rng_one_in(t.c.rng, 2) ? CLIENT : SERVER;
}

static bool closing(void)
{
	return t.fin[CLIENT] || t.fin[SERVER];
}

static bool event_retransmit(enum end from)
{
	uint32_t back = rng_below(t.c.rng, 400);
	struct pk k;

	if (t.nxt[from] - t.isn[from] - 1 < back)
		back = t.nxt[from] - t.isn[from] - 1;
	k = segment(from, F_ACK, t.nxt[from] - back, (uint16_t)back);
	return say(&k);
}

static bool event_gap(enum end from) /* a segment got lost before this one */
{
	uint16_t gap = (uint16_t)(1 + rng_below(t.c.rng, 1000)), len = 100;
	struct pk k;

	if (!make_room(from, gap + len))
		return false;
	k = segment(from, F_ACK, t.nxt[from] + gap, len);
	if (!say(&k))
		return false;
	t.nxt[from] += gap + len;
	return true;
}

static bool event_outside(enum end from) /* T6 */
{
	/* outside any window: they reach to 0x3fffc000 (RFC 7323) */
	static const uint32_t by[] = {0x40000000, 0x80000001, 0xc0000000, 0x50000000, 0xa0000000};
	struct pk k = segment(from, F_ACK, t.nxt[from] + by[rng_below(t.c.rng, 5)],
			      rng_one_in(t.c.rng, 4) ? 0 : (uint16_t)rng_below(t.c.rng, 100));

	k.traits |= T_OUT_OF_WINDOW;
	if (!step(&t.c, &k))
		return false;
	forget_last();
	/* what has no data may have moved the kernel's windows all the same */
	return k.len > 0 || !t.c.passed;
}

static bool event_keep_alive(enum end from) /* T5 */
{
	struct pk k = segment(from, F_ACK, t.nxt[from] - 1, (uint16_t)rng_below(t.c.rng, 2));

	return say(&k);
}

static bool event_bad_ack(enum end from)
{
	struct pk k = segment(from, F_ACK, t.nxt[from], 0);

	k.ack += 100000 + rng_below(t.c.rng, 1u << 30);
	k.traits |= T_BAD_ACK;
	return say(&k) || !t.c.over;
}

static bool event_old_ack(enum end from)
{
	struct pk k = segment(from, F_ACK, t.nxt[from], 0);

	k.ack = t.isn[!from] + 1;
	return say(&k);
}

/* T7: exact ends it, anything else must not */
static bool event_reset(enum end from)
{
	struct pk k = segment(from, rng_one_in(t.c.rng, 2) ? F_RST : F_RST | F_ACK, t.nxt[from], 0);
	uint32_t how = rng_below(t.c.rng, 4);

	if (how == 0) {
		k.seq += 1 + rng_below(t.c.rng, 2000);
		k.traits |= T_RST_INEXACT;
	} else if (how == 1) {
		k.seq += 0x50000000;
		k.traits |= T_RST_INEXACT | T_OUT_OF_WINDOW;
	} else if (how == 2 && t.nxt[from] != t.isn[from] + 1) {
		k.seq -= 1;
		k.traits |= T_RST_INEXACT;
	}
	if (!step(&t.c, &k) || t.c.over)
		return false;
	forget_last();
	if (!(k.traits & T_RST_INEXACT)) { /* what follows belongs to nobody */
		k = segment(!from, F_ACK, t.nxt[!from], 5);
		k.traits |= T_AFTER_CLOSE;
		(void)step(&t.c, &k);
		return false;
	}
	return true;
}

static bool event_fin(enum end from) /* T10 */
{
	struct pk k =
	    segment(from, F_FIN | F_ACK, t.nxt[from], (uint16_t)(rng_one_in(t.c.rng, 4) ? 20 : 0));

	if (t.fin[from])
		return true;
	if (!say(&k))
		return false;
	t.nxt[from] += k.len + 1u;
	t.fin[from] = true;
	return data(!from, 0);
}

static bool event_syn(enum end from) /* T8, T9 */
{
	struct pk k =
	    segment(from, rng_one_in(t.c.rng, 3) ? F_SYN | F_ACK : F_SYN,
		    rng_one_in(t.c.rng, 2) ? t.isn[from] : (uint32_t)rng_next(t.c.rng), 0);

	syn_options(&k, false);
	k.traits |= T_SYN_LATER;
	if (t.fin[CLIENT] && t.fin[SERVER])
		k.traits |= T_AFTER_CLOSE; /* the kernel may take it for a new connection */
	if (!step(&t.c, &k) || (k.traits & T_AFTER_CLOSE))
		return false;
	forget_last();
	/* the challenge ACK of the other end */
	k = segment(!from, F_ACK, t.nxt[!from], 0);
	k.traits |= T_SYN_LATER;
	/* while it closes, the kernel is not sure what it has seen */
	return step(&t.c, &k) && !closing();
}

static bool event_flags(enum end from) /* T12 */
{
	static const uint8_t odd[] = {0,
				      F_FIN,
				      F_SYN | F_FIN,
				      F_SYN | F_RST,
				      F_PSH,
				      F_FIN | F_PSH | F_URG,
				      F_RST | F_FIN,
				      0x3f,
				      F_URG,
				      F_SYN | F_FIN | F_RST | F_ACK,
				      F_RST | F_PSH,
				      F_SYN | F_PSH};
	struct pk k = segment(from, odd[rng_below(t.c.rng, sizeof(odd))], t.nxt[from], 0);

	k.traits |= T_ODD_FLAGS;
	if ((k.flags & (F_SYN | F_RST | F_FIN)) == F_SYN)
		k.traits |= T_SYN_LATER;
	if (!step(&t.c, &k))
		return false;
	forget_last();
	/* a RST with further flags is one all the same; the kernel may take a SYN now
	 * for a new connection */
	return (k.flags & (F_SYN | F_RST | F_FIN)) != F_RST &&
	       !((k.flags & F_SYN) && t.fin[CLIENT] && t.fin[SERVER]);
}

static bool event_urgent(enum end from) /* P10: what nobody looks at */
{
	struct pk k = segment(from, F_ACK | F_PSH | F_URG | 0xc0, t.nxt[from], 10);

	if (!say(&k))
		return false;
	t.nxt[from] += 10;
	return true;
}

static bool event_bad_sum(enum end from)
{
	struct pk k = segment(from, F_ACK, t.nxt[from], 12);

	k.bad_sum = true;
	k.traits |= T_BAD_SUM;
	return step(&t.c, &k);
}

static bool event_big(void) /* P11 */
{
	struct pk k;

	if (!make_room(CLIENT, 1440))
		return false;
	k = segment(CLIENT, F_ACK, t.nxt[CLIENT], 1440);
	k.traits |= config.mtu < 1500 ? T_BIG : 0;
	if (!step(&t.c, &k))
		return false;
	if (t.c.passed)
		t.nxt[CLIENT] += 1440;
	return true;
}

/* I2, I3: about the last packet that the sender of the error can have seen */
static bool event_error(bool from_client)
{
	static const uint8_t what4[][2] = {{3, 1},  {3, 3},  {3, 4}, {11, 0},
					   {12, 0}, {3, 13}, {4, 0}};
	static const uint8_t what6[][2] = {{1, 0}, {1, 4}, {2, 0}, {3, 0}, {4, 1}, {1, 1}, {2, 0}};
	const uint8_t *w =
	    t.c.family == 4 ? what4[rng_below(t.c.rng, 7)] : what6[rng_below(t.c.rng, 7)];
	static uint8_t quoted[SIDES][FRAME_ROOM];
	struct pk k = conv_error(&t.c, from_client, w[0], w[1], 1200);
	unsigned int l4 = t.c.family == 4 ? 20 : 40;

	if (k.len == 0)
		return true;
	if (rng_one_in(t.c.rng, 3) && k.len > l4 + 8)
		k.len = (uint16_t)(l4 + 8); /* what RFC 792 asks for */
	if (t.c.family == 4 && w[0] == 4)
		k.traits |= T_ICMP_OTHER;
	if (rng_one_in(t.c.rng, 4)) { /* I3: another sequence number */
		for (int s = 0; s < SIDES; s++) {
			memcpy(quoted[s], k.data[s], k.len);
			quoted[s][l4 + 4] ^= 0x40;
			k.data[s] = quoted[s];
		}
		k.traits |= T_QUOTE_BAD;
	}
	return step(&t.c, &k);
}

static bool event_reopen(void) /* T11 */
{
	struct pk k;

	if (!t.fin[CLIENT] || !t.fin[SERVER])
		return true;
	t.isn[CLIENT] = t.nxt[CLIENT] + 100000;
	k = segment(CLIENT, F_SYN, t.isn[CLIENT], 0);
	syn_options(&k, false);
	k.traits |= T_AFTER_CLOSE;
	if (!say(&k))
		return false;
	t.fin[CLIENT] = t.fin[SERVER] = false;
	t.nxt[CLIENT] = t.acked[CLIENT] = t.isn[CLIENT] + 1;
	t.isn[SERVER] = (uint32_t)rng_next(t.c.rng);
	return syn_ack(SERVER) && data(CLIENT, 0);
}

static bool event(void)
{
	enum end from = either();

	if (closing() && t.fin[from] && !rng_one_in(t.c.rng, 3))
		from = !from; /* only the other one has something to say */
	switch (rng_below(t.c.rng, 40)) {
	case 0:
		return event_retransmit(from);
	case 1:
		return t.fin[from] || event_gap(from);
	case 2:
	case 3:
		return event_outside(from);
	case 4:
		return t.fin[from] || event_keep_alive(from);
	case 5:
		return event_bad_ack(from);
	case 6:
		return event_old_ack(from);
	case 7:
	case 8:
		return event_reset(from);
	case 9:
	case 10:
	case 11:
		return event_fin(from);
	case 12:
		return event_syn(from);
	case 13:
		return event_flags(from);
	case 14:
		return t.fin[from] || event_urgent(from);
	case 15:
		return event_bad_sum(from);
	case 16:
	case 17:
		return event_error(false);
	case 18:
		return event_error(true);
	case 19:
		return t.fin[CLIENT] || event_big();
	case 20:
	case 21:
		return event_reopen();
	default:
		if (t.fin[from])
			return data(from, 0);
		return data(from,
			    (uint16_t)rng_below(t.c.rng, rng_one_in(t.c.rng, 5) ? 1200 : 200));
	}
}

void talk_tcp(struct rng *r, uint8_t family, uint8_t client)
{
	static const int scales[] = {-1, 0, 2, 7, 14};
	unsigned int steps = 4 + rng_below(r, 25);

	memset(&t, 0, sizeof(t));
	conv_start(&t.c, r, "TCP", family, client, P_TCP);
	for (int i = 0; i < 2; i++) {
		t.isn[i] = (uint32_t)rng_next(r);
		if (rng_one_in(r, 6)) /* T16 */
			t.isn[i] = 0xffffffffu - rng_below(r, 300);
		t.nxt[i] = t.isn[i];
	}
	t.scale = scales[rng_below(r, 5)];
	t.window = rng_one_in(r, 4) ? 65535 : 4096;
	if (handshake())
		while (steps-- > 0 && event())
			;
	conv_end(&t.c);
}
