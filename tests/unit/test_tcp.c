// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * TCP tracking alone: segments are described as a receiver would judge them, the
 * table says what the middle must do with each. Every history runs at several
 * initial sequence numbers, some of which wrap in the middle of it (T16).
 */
#include "firewall/csum.h"
#include "firewall/tcp.h"
#include "tests/unit/check.h"

#include <stdlib.h>

#define S TCP_SYN
#define A TCP_ACK
#define F TCP_FIN
#define R TCP_RST
#define P TCP_PSH

#define OUT FLOW_OUT
#define IN  FLOW_IN

/* The client's and the server's initial sequence numbers. */
static uint32_t isn[2];
static struct flow flow;
static enum flow_state state;
static uint8_t tcp_header[60];
static size_t options_len;

/* Sequence numbers count from each side's SYN: 1 is the first byte of data. */
struct seg {
	enum flow_dir dir;
	uint8_t flags;
	int64_t seq, ack;
	uint32_t len;
	uint32_t window; /* 0: none; see W() */
	enum drop_reason want;
	enum flow_state state; /* after it; FLOW_FREE: not looked at */
};

static struct packet packet_of(const struct seg *s)
{
	struct packet p = {.proto = PROTO_TCP,
			   .family = 4,
			   .tcp_flags = s->flags,
			   .tcp_len = (uint8_t)(TCP_LEN + options_len),
			   .window = (uint16_t)s->window};

	p.seq = isn[s->dir] + (uint32_t)s->seq;
	p.ack = s->flags & A ? isn[!s->dir] + (uint32_t)s->ack : 0;
	p.l4_len = (uint16_t)(p.tcp_len + s->len);
	return p;
}

static void options(const void *bytes, size_t len)
{
	memcpy(tcp_header + TCP_LEN, bytes, len);
	options_len = len;
}

/* The SYN makes the flow, as the engine does it. */
static void begin(int64_t seq, uint32_t len, uint32_t window)
{
	struct seg syn = {OUT, S, seq, 0, len, window, DROP_NONE, FLOW_TCP_SYN};
	struct packet p = packet_of(&syn);

	memset(&flow, 0, sizeof(flow));
	flow.state = FLOW_TCP_SYN;
	tcp_begin(&flow, &p, tcp_header);
	state = FLOW_TCP_SYN;
}

static enum drop_reason track(const struct seg *s)
{
	struct packet p = packet_of(s);
	struct flow before = flow;
	enum flow_state next;
	enum drop_reason reason;

	flow.state = (uint8_t)state;
	before.state = flow.state;
	reason = tcp_track(&flow, &p, tcp_header, s->dir, &next);
	if (reason != DROP_NONE) {
		CHECK(memcmp(&before, &flow, sizeof(flow)) == 0); /* nothing has changed */
	} else {
		state = next;
	}
	options_len = 0;
	return reason;
}

static void seg_at(int line, struct seg s)
{
	enum drop_reason got = track(&s);
	char text[120];

	if (got == s.want && (s.state == FLOW_FREE || s.state == state))
		return;
	snprintf(text, sizeof(text), "isn %08x: %s instead of %s, state %d instead of %d",
		 isn[s.dir], drop_name(got), drop_name(s.want), state, s.state);
	test_fail(__FILE__, line, text);
}

#define SEG(...) seg_at(__LINE__, (struct seg){__VA_ARGS__})
#define PASS	 DROP_NONE
#define SENT	 DROP_NONE, FLOW_FREE
#define LATE	 DROP_TCP_WINDOW, FLOW_FREE

static const uint8_t scale_7[] = {3, 3, 7, 1};

/* SYN, SYN+ACK, ACK, with these windows; @c, @s: scale options or NULL. */
static void handshake(const uint8_t *c, const uint8_t *s, uint32_t client_win, uint32_t server_win)
{
	options_len = 0;
	if (c)
		options(c, 4);
	begin(0, 0, client_win);
	options_len = 0;
	if (s)
		options(s, 4);
	SEG(IN, S | A, 0, 1, 0, server_win, PASS, FLOW_TCP_OPENING);
	SEG(OUT, A, 1, 1, 0, c && s ? client_win >> 7 : client_win, PASS, FLOW_TCP_OPEN);
}

/* --- T1, T2, T9: opening ------------------------------------------------------------ */

static void opening(void)
{
	handshake(NULL, NULL, 1000, 2000);
	CHECK_INT(flow.window[OUT].end, isn[OUT] + 1);
	CHECK_INT(flow.window[IN].end, isn[IN] + 1);

	/* retransmissions at each step (T5, T9) */
	begin(0, 0, 1000);
	SEG(OUT, S, 0, 0, 0, 1000, PASS, FLOW_TCP_SYN);
	SEG(IN, S | A, 0, 1, 0, 2000, PASS, FLOW_TCP_OPENING);
	SEG(IN, S | A, 0, 1, 0, 2000, PASS, FLOW_TCP_OPENING);
	SEG(OUT, S, 0, 0, 0, 1000, PASS, FLOW_TCP_OPENING);
	SEG(OUT, A, 1, 1, 0, 1000, PASS, FLOW_TCP_OPEN);
	SEG(IN, S | A, 0, 1, 0, 2000, PASS, FLOW_TCP_OPEN);
	SEG(OUT, A, 1, 1, 500, 1000, PASS, FLOW_TCP_OPEN);

	/* the client tries again with another number: that one counts */
	begin(-5000, 0, 1000);
	SEG(OUT, S, 0, 0, 0, 1000, PASS, FLOW_TCP_SYN);
	SEG(IN, S | A, 0, -4999, 0, 2000, PASS, FLOW_TCP_SYN); /* T9: the old one's answer */
	SEG(IN, S | A, 0, 1, 0, 2000, PASS, FLOW_TCP_OPENING);
	SEG(OUT, A, 1, 1, 0, 1000, PASS, FLOW_TCP_OPEN);

	/* the same SYN without the option: the server may answer either */
	options(scale_7, 4);
	begin(0, 0, 64000);
	SEG(OUT, S, 0, 0, 0, 1000, PASS, FLOW_TCP_SYN);
	options(scale_7, 4);
	SEG(IN, S | A, 0, 1, 0, 2000, PASS, FLOW_TCP_OPENING);
	CHECK_INT(flow.window[OUT].scale, 7);
	SEG(OUT, A, 1, 1, 0, 500, PASS, FLOW_TCP_OPEN);
	SEG(IN, A, 64001, 1, 1, 2000, SENT);
	/* the same without the data (RFC 7413 4.1.3): they may have arrived */
	begin(0, 300, 1000);
	SEG(OUT, S, 0, 0, 0, 1000, PASS, FLOW_TCP_SYN);
	SEG(IN, S | A, 0, 301, 0, 2000, PASS, FLOW_TCP_OPENING);

	/* a SYN+ACK that acknowledges what was never sent */
	begin(0, 0, 1000);
	SEG(IN, S | A, 77, 2, 0, 2000, PASS, FLOW_TCP_SYN);
	SEG(IN, A, 77, 1, 0, 2000, PASS, FLOW_TCP_SYN); /* T8: a challenge ACK */
	SEG(IN, S | A, 0, 1, 0, 2000, PASS, FLOW_TCP_OPENING);
	SEG(OUT, A, 1, 1, 10, 1000, PASS, FLOW_TCP_OPEN);
}

static void simultaneous(void)
{
	begin(0, 0, 1000);
	SEG(IN, S, 0, 0, 0, 2000, PASS, FLOW_TCP_OPENING);
	SEG(OUT, S | A, 0, 1, 0, 1000, PASS, FLOW_TCP_OPENING);
	SEG(IN, S | A, 0, 1, 0, 2000, PASS, FLOW_TCP_OPENING);
	SEG(OUT, A, 1, 1, 0, 1000, PASS, FLOW_TCP_OPEN);
	SEG(OUT, A, 1, 1, 2000, 1000, PASS, FLOW_TCP_OPEN);
	SEG(IN, A, 1, 2001, 1000, 2000, PASS, FLOW_TCP_OPEN);
}

/* T15, RFC 7413: data in the SYN, acknowledged or not. */
static void fast_open(void)
{
	begin(0, 300, 1000);
	SEG(IN, S | A, 0, 301, 500, 2000, PASS, FLOW_TCP_OPENING);
	SEG(OUT, A, 301, 501, 0, 1000, PASS, FLOW_TCP_OPEN);
	SEG(IN, A, 501, 301, 1000, 2000, PASS, FLOW_TCP_OPEN);
	SEG(OUT, A, 301, 1501, 2000, 1000, PASS, FLOW_TCP_OPEN);

	begin(0, 300, 1000);
	SEG(IN, S | A, 0, 1, 0, 2000, PASS, FLOW_TCP_OPENING); /* not accepted */
	SEG(OUT, A, 1, 1, 300, 1000, PASS, FLOW_TCP_OPEN);     /* so it is sent again */
	SEG(IN, A, 1, 301, 1000, 2000, PASS, FLOW_TCP_OPEN);

	/* without the cookie: the server begins before the handshake is over */
	begin(0, 0, 1000);
	SEG(IN, S | A, 0, 1, 0, 2000, PASS, FLOW_TCP_OPENING);
	SEG(IN, A, 1, 1, 1000, 2000, PASS, FLOW_TCP_OPENING);
	SEG(OUT, A, 1, 1001, 0, 1000, PASS, FLOW_TCP_OPEN);

	/* more data than the other side's window: it has been sent all the same */
	begin(0, 1400, 1000);
	SEG(IN, S | A, 0, 1401, 0, 100, PASS, FLOW_TCP_OPENING);
	SEG(OUT, A, 1401, 1, 100, 1000, PASS, FLOW_TCP_OPEN);
	begin(0, 0, 100);
	SEG(IN, S | A, 0, 1, 1400, 2000, PASS, FLOW_TCP_OPENING);
	SEG(OUT, A, 1, 1401, 100, 1000, PASS, FLOW_TCP_OPEN);
}

/* --- T4, T5, T6: windows -------------------------------------------------------------- */

static void windows(void)
{
	handshake(NULL, NULL, 1000, 2000);
	SEG(OUT, A, 1, 1, 2000, 1000, PASS, FLOW_TCP_OPEN); /* the whole window */
	SEG(OUT, A, 2002, 1, 1, 1000, LATE);		    /* I: beyond it */
	SEG(OUT, A, 2001, 1, 1, 1000, PASS, FLOW_TCP_OPEN); /* T5: a probe */
	SEG(IN, A, 1, 2002, 1000, 2000, PASS, FLOW_TCP_OPEN);
	SEG(IN, A, 1002, 2002, 1, 2000, LATE);
	SEG(OUT, A, 1, 1001, 1000, 1000, PASS, FLOW_TCP_OPEN); /* T5: retransmission */
	SEG(OUT, A, 1, 1001, 1, 1000, PASS, FLOW_TCP_OPEN);    /* of one byte (T5) */
	SEG(OUT, A, 2001, 1001, 0, 1000, PASS, FLOW_TCP_OPEN); /* keep-alive: seq-1 */
	SEG(OUT, A, 2001, 1001, 1, 1000, PASS, FLOW_TCP_OPEN); /* with a byte */
	SEG(IN, A, 1000, 2002, 0, 2000, PASS, FLOW_TCP_OPEN);
	SEG(OUT, A, -100000, 1001, 100, 1000, LATE); /* II: long gone */
	SEG(OUT, A, 2002, 5001, 10, 1000, LATE);     /* III: never sent */
	SEG(OUT, A, 2002, 1002, 0, 1000, LATE);
	SEG(OUT, A, 2002, -80000, 10, 1000, LATE); /* IV */
	SEG(OUT, A, 2002, -60000, 10, 1000, PASS, FLOW_TCP_OPEN);
	SEG(OUT, A | P, 2012, 1001, 10, 1000, PASS, FLOW_TCP_OPEN);
	/* no data, wrong place: an answer to a half-open connection; it moves nothing */
	SEG(OUT, A, 500000, 1001, 0, 60000, PASS, FLOW_TCP_OPEN);
	SEG(IN, A, 2002, 2022, 1, 2000, LATE);
	SEG(IN, A, 1001, 2022, 1000, 2000, PASS, FLOW_TCP_OPEN);
}

static void zero_window(void)
{
	handshake(NULL, NULL, 1000, 2000);
	SEG(OUT, A, 1, 1, 2000, 1000, SENT);
	SEG(IN, A, 1, 2001, 0, 0, PASS, FLOW_TCP_OPEN);	    /* closed */
	SEG(OUT, A, 2001, 1, 1, 1000, PASS, FLOW_TCP_OPEN); /* T5: the probe */
	SEG(IN, A, 1, 2001, 0, 0, PASS, FLOW_TCP_OPEN);
	SEG(OUT, A, 2003, 1, 100, 1000, LATE);
	SEG(IN, A, 1, 2001, 0, 4000, PASS, FLOW_TCP_OPEN); /* open again */
	SEG(OUT, A, 2001, 1, 4000, 1000, PASS, FLOW_TCP_OPEN);

	/* closed from the beginning */
	begin(0, 0, 0);
	SEG(IN, S | A, 0, 1, 0, 0, PASS, FLOW_TCP_OPENING);
	SEG(OUT, A, 1, 1, 0, 0, PASS, FLOW_TCP_OPEN);
	SEG(OUT, A, 1, 1, 1, 0, PASS, FLOW_TCP_OPEN);
	SEG(IN, A, 1, 1, 1, 0, PASS, FLOW_TCP_OPEN);
	SEG(IN, A, 1, 1, 0, 5000, PASS, FLOW_TCP_OPEN);
	SEG(OUT, A, 1, 1, 5000, 0, PASS, FLOW_TCP_OPEN);
}

static void scaling(void)
{
	/* both: 500 << 7 */
	handshake(scale_7, scale_7, 64000, 64000);
	SEG(IN, A, 1, 1, 0, 500, SENT);
	SEG(OUT, A, 64001, 1, 1, 500, PASS, FLOW_TCP_OPEN);
	SEG(IN, A, 1, 64002, 0, 5000, SENT);
	SEG(OUT, A, 64002 + 639999, 1, 1, 500, PASS, FLOW_TCP_OPEN);
	SEG(OUT, A, 64002 + 640002, 1, 1, 500, LATE);
	SEG(IN, A, 64001, 64002, 1, 500, PASS, FLOW_TCP_OPEN);
	SEG(IN, A, 64003, 64002, 1, 500, LATE);
	/* the server does not scale: then nobody does (T4) */
	handshake(scale_7, NULL, 64000, 2000);
	SEG(OUT, A, 2001, 1, 1, 1000, SENT);
	SEG(OUT, A, 2003, 1, 1, 1000, LATE);
	/* the client does not */
	handshake(NULL, scale_7, 1000, 2000);
	SEG(IN, A, 1001, 1, 1, 1000, SENT);
	SEG(IN, A, 1003, 1, 1, 1000, LATE);
	/* a scale beyond 14 counts as 14 (RFC 7323 2.3) */
	options((uint8_t[]){3, 3, 200, 0}, 4);
	begin(0, 0, 65535);
	options((uint8_t[]){1, 3, 3, 255}, 4);
	SEG(IN, S | A, 0, 1, 0, 65535, PASS, FLOW_TCP_OPENING);
	CHECK_INT(flow.window[OUT].scale, 14);
	CHECK_INT(flow.window[IN].scale, 14);
	SEG(OUT, A, 1, 1, 0, 65535, PASS, FLOW_TCP_OPEN);
	SEG(IN, A, 65535LL << 14, 1, 1, 1, SENT);
	SEG(IN, A, (65535LL << 14) + 10, 1, 1, 1, LATE);
	/* options that make no sense hide what is behind them */
	options((uint8_t[]){5, 0, 3, 3}, 4);
	begin(0, 0, 1000);
	CHECK_INT(flow.window[OUT].flags, WINDOW_SEEN);
	options((uint8_t[]){0, 3, 3, 7}, 4);
	begin(0, 0, 1000);
	CHECK_INT(flow.window[OUT].flags, WINDOW_SEEN);
	options((uint8_t[]){1, 1, 3, 4}, 4);
	begin(0, 0, 1000);
	CHECK_INT(flow.window[OUT].flags, WINDOW_SEEN);
	options((uint8_t[]){1, 1, 1, 3}, 4);
	begin(0, 0, 1000);
	CHECK_INT(flow.window[OUT].flags, WINDOW_SEEN);
}

/* A megabyte each way in window-sized steps, with a loss now and then. */
static void stream(void)
{
	int64_t sent[2] = {1, 1};

	handshake(scale_7, scale_7, 60000, 60000);
	for (int i = 0; i < 400; i++) {
		enum flow_dir d = i % 3 ? OUT : IN;

		SEG(d, A, sent[d], sent[!d], 1460, 500, PASS, FLOW_TCP_OPEN);
		if (i % 7 == 0) /* repeated, although it was acknowledged */
			SEG(d, A, sent[d], sent[!d], 1460, 500, PASS, FLOW_TCP_OPEN);
		sent[d] += 1460;
		SEG(!d, A, sent[!d], sent[d], 0, 500, PASS, FLOW_TCP_OPEN);
	}
	/* it wraps once or not, but it has moved all the way */
	CHECK_INT(flow.window[OUT].end, isn[OUT] + (uint32_t)sent[OUT]);
	SEG(OUT, A, sent[OUT] + 500 * 128 + 1, sent[IN], 1, 500, LATE);
	SEG(OUT, A, sent[OUT] - 500 * 128 - 70000, sent[IN], 1, 500, LATE);
}

/* --- T7, T8: resets and SYNs from nowhere ------------------------------------------------ */

static void resets(void)
{
	static const struct {
		enum flow_dir dir;
		uint8_t flags;
		int64_t seq;
		enum drop_reason want;
		enum flow_state state;
	} table[] = {
	    {IN, R, 501, PASS, FLOW_TCP_CLOSING}, /* exact */
	    {IN, R | A, 501, PASS, FLOW_TCP_CLOSING},
	    {IN, R, 502, PASS, FLOW_TCP_OPEN}, /* in the window */
	    {IN, R, 1500, PASS, FLOW_TCP_OPEN},
	    {IN, R, 1501, PASS, FLOW_TCP_OPEN},
	    {IN, R, 1502, DROP_TCP_WINDOW, FLOW_TCP_OPEN}, /* beyond it */
	    {IN, R, -100000, DROP_TCP_WINDOW, FLOW_TCP_OPEN},
	    {IN, R, 0x7fffffff, DROP_TCP_WINDOW, FLOW_TCP_OPEN},
	    {OUT, R, 301, PASS, FLOW_TCP_CLOSING},
	    /* what the server has acknowledged is what it expects next */
	    {OUT, R, 201, PASS, FLOW_TCP_CLOSING},
	    {OUT, R, 250, PASS, FLOW_TCP_OPEN},
	    {OUT, R, 200, DROP_TCP_WINDOW, FLOW_TCP_OPEN}, /* before its window */
	    {OUT, R, 2202, DROP_TCP_WINDOW, FLOW_TCP_OPEN},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		handshake(NULL, NULL, 1000, 2000);
		SEG(OUT, A, 1, 1, 200, 1000, SENT);
		SEG(IN, A, 1, 201, 500, 2000, SENT);
		SEG(OUT, A, 201, 501, 100, 1000, SENT);
		SEG(table[i].dir, table[i].flags, table[i].seq, table[i].dir == IN ? 301 : 501, 0,
		    0, table[i].want, table[i].state);
	}
	/* RFC 5961 3.2: the challenge ACK, and the reset again with its number */
	handshake(NULL, NULL, 1000, 2000);
	SEG(IN, R, 700, 0, 0, 0, PASS, FLOW_TCP_OPEN);
	SEG(OUT, A, 1, 1, 0, 1000, PASS, FLOW_TCP_OPEN);
	SEG(IN, R, 1, 0, 0, 0, PASS, FLOW_TCP_CLOSING);

	/* refused: it must acknowledge the SYN (RFC 9293 3.10.7.3) */
	begin(0, 0, 1000);
	SEG(IN, R, 0, 0, 0, 0, LATE);
	SEG(IN, R | A, 0, 2, 0, 0, LATE);
	SEG(IN, R | A, 0, 0, 0, 0, LATE);
	SEG(IN, R | A, 0, 1, 0, 0, PASS, FLOW_TCP_CLOSING);
	/* the client gives up; or only answers a challenge ACK about an older one */
	begin(0, 0, 1000);
	SEG(OUT, R, 5000, 0, 0, 0, LATE);
	SEG(IN, A, 700, 5000, 0, 2000, PASS, FLOW_TCP_SYN);
	SEG(OUT, R, 5001, 0, 0, 0, LATE);
	SEG(OUT, R, 5000, 0, 0, 0, PASS, FLOW_TCP_SYN);
	SEG(OUT, R, 1, 0, 0, 0, PASS, FLOW_TCP_CLOSING);
	SEG(OUT, S, -9000, 0, 0, 1000, PASS, FLOW_TCP_SYN); /* T11: as after any reset */
	/* nothing but that before the handshake */
	begin(0, 0, 1000);
	SEG(OUT, A, 1, 1, 0, 1000, LATE);
	SEG(OUT, A, 1, 1, 10, 1000, LATE);
	SEG(OUT, F | A, 1, 1, 0, 1000, LATE);
	SEG(IN, A, 1, 1, 10, 2000, LATE);
	/* half way through the handshake */
	begin(0, 0, 1000);
	SEG(IN, S | A, 0, 1, 0, 2000, PASS, FLOW_TCP_OPENING);
	SEG(OUT, R, 1, 0, 0, 0, PASS, FLOW_TCP_CLOSING);
}

static void syn_in_open(void)
{
	handshake(NULL, NULL, 1000, 2000);
	for (int i = 0; i < 2; i++) {
		enum flow_dir d = i ? IN : OUT;

		SEG(d, S, 900000, 0, 0, 60000, PASS, FLOW_TCP_OPEN);
		SEG(!d, A, 1, 1, 0, 1000, PASS, FLOW_TCP_OPEN); /* the challenge ACK */
		SEG(d, S | A, 900000, 1, 0, 60000, PASS, FLOW_TCP_OPEN);
	}
	/* nothing of it was believed */
	SEG(OUT, A, 2002, 1, 1, 1000, LATE);
	SEG(OUT, A, 1, 1, 2000, 1000, PASS, FLOW_TCP_OPEN);
}

/* --- T10, T11: the end --------------------------------------------------------------------- */

static void closing(void)
{
	/* client first, data goes on from the other side */
	handshake(NULL, NULL, 1000, 2000);
	SEG(OUT, F | A, 1, 1, 100, 1000, PASS, FLOW_TCP_FIN_OUT);
	SEG(IN, A, 1, 102, 500, 2000, PASS, FLOW_TCP_FIN_OUT);
	SEG(OUT, A, 102, 501, 0, 1000, PASS, FLOW_TCP_FIN_OUT);
	SEG(OUT, F | A, 1, 501, 100, 1000, PASS, FLOW_TCP_FIN_OUT); /* again */
	SEG(IN, A, 501, 103, 500, 2000, LATE); /* a FIN is one number, not two */
	SEG(IN, F | A, 501, 102, 0, 2000, PASS, FLOW_TCP_CLOSING);
	SEG(OUT, A, 102, 502, 0, 1000, PASS, FLOW_TCP_CLOSING);
	SEG(IN, F | A, 501, 102, 0, 2000, PASS, FLOW_TCP_CLOSING);
	SEG(IN, S, 7000, 0, 0, 2000, DROP_INBOUND, FLOW_TCP_CLOSING); /* T17 */
	SEG(IN, S | A, 7000, 102, 0, 2000, PASS, FLOW_TCP_CLOSING);

	/* server first */
	handshake(NULL, NULL, 1000, 2000);
	SEG(IN, F | A, 1, 1, 0, 2000, PASS, FLOW_TCP_FIN_IN);
	SEG(OUT, A, 1, 2, 1500, 1000, PASS, FLOW_TCP_FIN_IN);
	SEG(OUT, S, 1, 0, 0, 1000, PASS, FLOW_TCP_FIN_IN); /* T8 */
	SEG(OUT, F | A, 1501, 2, 0, 1000, PASS, FLOW_TCP_CLOSING);

	/* both at once */
	handshake(NULL, NULL, 1000, 2000);
	SEG(OUT, F | A, 1, 1, 0, 1000, PASS, FLOW_TCP_FIN_OUT);
	SEG(IN, F | A, 1, 1, 0, 2000, PASS, FLOW_TCP_CLOSING);
	SEG(OUT, A, 2, 2, 0, 1000, PASS, FLOW_TCP_CLOSING);

	/* a FIN out of the window ends nothing */
	handshake(NULL, NULL, 1000, 2000);
	SEG(IN, F | A, 3000, 1, 0, 2000, DROP_TCP_WINDOW, FLOW_TCP_OPEN);
	SEG(OUT, F | A, 1, 9, 0, 1000, DROP_TCP_WINDOW, FLOW_TCP_OPEN);
	/* in the handshake, but not before it */
	begin(0, 0, 1000);
	SEG(IN, F | A, 0, 1, 0, 2000, DROP_TCP_WINDOW, FLOW_TCP_SYN);
	SEG(IN, S | A, 0, 1, 0, 2000, PASS, FLOW_TCP_OPENING);
	SEG(IN, F | A, 1, 1, 0, 2000, PASS, FLOW_TCP_FIN_IN);
	SEG(OUT, A, 1, 2, 0, 1000, PASS, FLOW_TCP_FIN_IN);
}

static void reopening(void)
{
	handshake(NULL, NULL, 1000, 2000);
	SEG(OUT, F | A, 1, 1, 0, 1000, PASS, FLOW_TCP_FIN_OUT);
	SEG(IN, F | A, 1, 2, 0, 2000, PASS, FLOW_TCP_CLOSING);
	SEG(OUT, A, 2, 2, 0, 1000, PASS, FLOW_TCP_CLOSING);
	SEG(OUT, S, 0, 0, 0, 1000, PASS, FLOW_TCP_CLOSING); /* the old one's */
	SEG(OUT, S, 2, 0, 0, 1000, PASS, FLOW_TCP_CLOSING); /* not higher */
	SEG(OUT, S, 3, 0, 0, 1000, PASS, FLOW_TCP_SYN);
	SEG(IN, S | A, 90000, 4, 0, 2000, PASS, FLOW_TCP_OPENING);
	SEG(OUT, A, 4, 90001, 0, 1000, PASS, FLOW_TCP_OPEN);
	SEG(IN, A, 90001, 4, 1000, 2000, PASS, FLOW_TCP_OPEN);
	SEG(IN, A, 2, 4, 100, 2000, LATE); /* the old connection is forgotten */

	/* after a reset any number will do */
	handshake(NULL, NULL, 1000, 2000);
	SEG(IN, R, 1, 0, 0, 0, PASS, FLOW_TCP_CLOSING);
	SEG(OUT, S, -70000, 0, 0, 1000, PASS, FLOW_TCP_SYN);
	SEG(IN, S | A, 5, -69999, 0, 2000, PASS, FLOW_TCP_OPENING);
}

/* --- I3 ----------------------------------------------------------------------------------- */

static bool quoted(enum flow_dir dir, int64_t seq)
{
	return tcp_quoted_ok(&flow, dir, isn[dir] + (uint32_t)seq);
}

static void quotes(void)
{
	begin(0, 0, 1000);
	CHECK(quoted(OUT, 0)); /* the SYN itself met no host */
	CHECK(!quoted(OUT, 2));
	CHECK(!quoted(OUT, -70000));
	CHECK(!quoted(IN, 0)); /* nobody has answered */
	handshake(NULL, NULL, 1000, 2000);
	SEG(OUT, A, 1, 1, 1500, 1000, SENT);
	SEG(IN, A, 1, 1501, 700, 2000, SENT);
	CHECK(quoted(OUT, 1));
	CHECK(quoted(OUT, 1501));
	CHECK(!quoted(OUT, 1502));
	CHECK(quoted(IN, 701));
	CHECK(!quoted(IN, 702));
	CHECK(quoted(IN, -65000)); /* as old as a window may be */
	CHECK(!quoted(IN, -66000));
	handshake(scale_7, scale_7, 60000, 60000);
	SEG(OUT, A, 1, 1, 0, 5000, SENT);
	CHECK(quoted(IN, 1 - 639999));
	CHECK(!quoted(IN, 1 - 640001));
}

/* --- the MSS option ------------------------------------------------------------------------- */

static uint16_t sum_of(const uint8_t *p, size_t n)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void clamp(const char *name, const uint8_t opts[8], uint16_t old, uint16_t mss,
		  uint16_t want)
{
	test_case(name);
	for (int partial = 0; partial < 2; partial++) {
		struct frame f = {.header_len = 62, .csum = partial ? CSUM_PARTIAL : CSUM_NONE};
		struct packet p = {.l4 = 34, .tcp_len = 28, .csum = 34 + TCP_CSUM};
		uint8_t *tcp = f.header + 34, before[28];
		size_t at = 0;

		for (size_t i = 0; i < 20; i++)
			tcp[i] = (uint8_t)(i * 37);
		memcpy(tcp + 20, opts, 8);
		for (size_t i = 20; i < 26; i++) /* the first one */
			if (at == 0 && old && tcp[i] == 2 && tcp[i + 1] == 4)
				at = i + 2;
		if (at)
			put_be16(tcp + at, old);
		put_be16(tcp + TCP_CSUM, 0);
		put_be16(tcp + TCP_CSUM, (uint16_t)~sum_of(tcp, 28));
		memcpy(before, tcp, 28);
		tcp_clamp_mss(&f, &p, mss);
		if (at)
			CHECK_INT(get_be16(tcp + at), want);
		if (want == old)
			CHECK(memcmp(before, tcp, 28) == 0);
		if (partial)
			CHECK_INT(get_be16(tcp + TCP_CSUM), get_be16(before + TCP_CSUM));
		else
			CHECK_INT(sum_of(tcp, 28), 0xffff);
	}
}

static void test_clamp(void)
{
	clamp("T15_mss_at_an_even_offset", (uint8_t[]){2, 4, 0, 0, 1, 1, 4, 2}, 1460, 1260, 1260);
	clamp("T15_mss_at_an_odd_offset", (uint8_t[]){1, 2, 4, 0, 0, 1, 4, 2}, 1460, 1260, 1260);
	clamp("T15_mss_last", (uint8_t[]){1, 1, 4, 2, 2, 4, 0, 0}, 9000, 1460, 1460);
	clamp("T15_mss_behind_a_timestamp_that_is_not", (uint8_t[]){1, 8, 3, 1, 2, 4, 0, 0}, 1460,
	      536, 536);
	clamp("T15_mss_is_never_raised", (uint8_t[]){2, 4, 0, 0, 1, 1, 4, 2}, 1000, 1260, 1000);
	clamp("T15_mss_equal", (uint8_t[]){2, 4, 0, 0, 0, 0, 0, 0}, 1260, 1260, 1260);
	clamp("T15_mss_65535", (uint8_t[]){1, 2, 4, 0, 0, 0, 0, 0}, 65535, 1, 1);
	clamp("T15_no_mss", (uint8_t[]){1, 1, 4, 2, 1, 1, 1, 0}, 0, 1260, 0);
	clamp("T15_mss_behind_the_end", (uint8_t[]){1, 0, 2, 4, 0, 0, 0, 0}, 1460, 1260, 1460);
	clamp("T15_option_without_length", (uint8_t[]){8, 0, 2, 4, 0, 0, 0, 0}, 1460, 1260, 1460);
	clamp("T15_option_of_length_1", (uint8_t[]){8, 1, 2, 4, 0, 0, 0, 0}, 1460, 1260, 1460);
	clamp("T15_option_too_long", (uint8_t[]){8, 9, 2, 4, 0, 0, 0, 0}, 1460, 1260, 1460);
	clamp("T15_mss_of_length_3", (uint8_t[]){2, 3, 9, 1, 1, 1, 1, 1}, 0, 1, 0);
	clamp("T15_mss_cut_off", (uint8_t[]){1, 1, 1, 1, 1, 2, 4, 255}, 0, 1, 0);
	clamp("T15_kind_cut_off", (uint8_t[]){1, 1, 1, 1, 1, 1, 1, 2}, 0, 1, 0);
}

/* --- the table of states -----------------------------------------------------------------------
 */

static void test_classes(void)
{
	static const struct {
		enum flow_state state;
		enum flow_timer timer;
		enum flow_rank rank;
	} table[] = {
	    {FLOW_TCP_SYN, TIMER_TCP_OPENING, RANK_OPENING},
	    {FLOW_TCP_OPENING, TIMER_TCP_OPENING, RANK_OPENING},
	    {FLOW_TCP_OPEN, TIMER_TCP_OPEN, RANK_OPEN},
	    {FLOW_TCP_FIN_OUT, TIMER_TCP_HALF, RANK_OPEN},
	    {FLOW_TCP_FIN_IN, TIMER_TCP_HALF, RANK_OPEN},
	    {FLOW_TCP_CLOSING, TIMER_TCP_CLOSING, RANK_CLOSING},
	};

	test_case("T13_timer_and_rank_of_each_state");
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		CHECK_INT(tcp_timer(table[i].state), table[i].timer);
		CHECK_INT(tcp_rank(table[i].state), table[i].rank);
	}
	test_case("T3_what_may_open");
	for (unsigned int flags = 0; flags < 64; flags++)
		CHECK_INT(tcp_may_open((uint8_t)flags), (flags & (S | A | R | F)) == S);
}

int main(void)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} tests[] = {
	    {"T1_T9_T16_opening", opening},
	    {"T2_T16_simultaneous_open", simultaneous},
	    {"T15_T16_fast_open", fast_open},
	    {"T5_T6_T16_windows", windows},
	    {"T5_T16_zero_window", zero_window},
	    {"T4_T16_scaling", scaling},
	    {"T5_T16_stream", stream},
	    {"T7_T16_resets", resets},
	    {"T8_T16_syn_in_established", syn_in_open},
	    {"T10_T16_closing", closing},
	    {"T11_T16_reopening", reopening},
	    {"I3_T16_quotes", quotes},
	};
	static const uint32_t numbers[] = {1000,       0,	   0xffffffff, 0xfffffffe,
					   0xfffffff0, 0xfffff000, 0xfffe0000, 0x7fffffff,
					   0x80000000, 0x7fff0000};

	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		test_case(tests[i].name);
		for (size_t a = 0; a < sizeof(numbers) / sizeof(numbers[0]); a++)
			for (size_t b = 0; b < sizeof(numbers) / sizeof(numbers[0]); b++) {
				isn[OUT] = numbers[a];
				isn[IN] = numbers[b];
				tests[i].run();
			}
	}
	test_clamp();
	test_classes();
	return test_end();
}
