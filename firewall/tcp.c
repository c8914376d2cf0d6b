// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * TCP as seen from the middle (RFC 9293, RFC 5961, RFC 7323; the windows as in
 * G. van Rooij, "Real Stateful TCP Packet Filtering in IP Filter").
 *
 * States. One table: state x direction x event -> state. Only a SYN makes a flow
 * (T3). A SYN from outside to a connection that has ended would open a new one
 * from outside, and is dropped (T17).
 *
 * Windows. Of each side S we keep, from what we have seen pass:
 *
 *	end	 the highest sequence number that S has sent, plus one
 *	ack	 the highest acknowledgment that S has sent
 *	max_win	 the largest window that S has advertised
 *	max_end	 the highest number that S may send: the other side's highest
 *		 acknowledgment plus the window that came with it
 *
 * Two stacks that talk to each other keep to these, R being S's peer:
 *
 *	I	seq <= S.max_end		not beyond R's window
 *	II	end >= S.end - R.max_win	not older than R's window was ever wide
 *	III	ack <= R.end			nothing acknowledged that R never sent
 *	IV	ack >= R.end - MAX(S.max_win, 66000)
 *
 * Data that breaks one of them is dropped (T6). A segment without data that keeps
 * to III and IV passes whatever its sequence number is, since challenge ACKs and
 * answers to half-open connections look like that; but it moves nothing. What
 * gets lost behind us makes our picture run ahead of the receiver's, never behind
 * it, so a retransmission is always inside.
 *
 * A RST ends the flow only when the receiver will certainly believe it: at
 * exactly the next number that it expects (RFC 5961 3.2), which is either all that
 * S has sent or what R has acknowledged. In the window but inexact, it is
 * forwarded, the receiver answers with a challenge ACK, and if the RST was meant
 * the sender repeats it with the number from there (T7).
 *
 * A SYN in a connection that is up changes nothing either: the challenge ACK
 * passes, and what follows from it (T8, T9).
 */
#include "firewall/tcp.h"
#include "firewall/csum.h"

/* --- states ---------------------------------------------------------------------- */

enum tcp_event { EV_SYN, EV_SYNACK, EV_ACK, EV_FIN, EV_RST, TCP_EVENTS };

#define FIRST FLOW_TCP_SYN
#define STATES (FLOW_TCP_CLOSING - FLOW_TCP_SYN + 1)
#define DROP FLOW_FREE
#define SYN FLOW_TCP_SYN
#define OPENING FLOW_TCP_OPENING
#define OPEN FLOW_TCP_OPEN
#define FIN_OUT FLOW_TCP_FIN_OUT
#define FIN_IN FLOW_TCP_FIN_IN
#define CLOSING FLOW_TCP_CLOSING

static const uint8_t table[STATES][2][TCP_EVENTS] = {
	/* The client's SYN has passed: its repetitions, and the answer. A FIN
	 * or ACK from outside now is an old duplicate or a challenge ACK. */
	[FLOW_TCP_SYN - FIRST] = {
		/*		SYN	SYN+ACK	ACK	FIN	RST */
		[FLOW_OUT] = { SYN, SYN, SYN, SYN, CLOSING },
		[FLOW_IN] = { OPENING, OPENING, SYN, SYN, CLOSING }, /* T1, T2 */
	},
	/* Both have sent SYN: repetitions, the last ACK of the handshake. */
	[FLOW_TCP_OPENING - FIRST] = {
		[FLOW_OUT] = { OPENING, OPENING, OPEN, FIN_OUT, CLOSING },
		[FLOW_IN] = { OPENING, OPENING, OPENING, FIN_IN, CLOSING }, /* T9 */
	},
	/* Established: everything; a SYN asks for a challenge ACK (T8). */
	[FLOW_TCP_OPEN - FIRST] = {
		[FLOW_OUT] = { OPEN, OPEN, OPEN, FIN_OUT, CLOSING },
		[FLOW_IN] = { OPEN, OPEN, OPEN, FIN_IN, CLOSING },
	},
	/* Half closed: the other side goes on as long as it likes (T10). */
	[FLOW_TCP_FIN_OUT - FIRST] = {
		[FLOW_OUT] = { FIN_OUT, FIN_OUT, FIN_OUT, FIN_OUT, CLOSING },
		[FLOW_IN] = { FIN_OUT, FIN_OUT, FIN_OUT, CLOSING, CLOSING },
	},
	[FLOW_TCP_FIN_IN - FIRST] = {
		[FLOW_OUT] = { FIN_IN, FIN_IN, FIN_IN, CLOSING, CLOSING },
		[FLOW_IN] = { FIN_IN, FIN_IN, FIN_IN, FIN_IN, CLOSING },
	},
	/* Last ACKs and repetitions; a new connection by the client (T11). */
	[FLOW_TCP_CLOSING - FIRST] = {
		[FLOW_OUT] = { SYN, CLOSING, CLOSING, CLOSING, CLOSING },
		[FLOW_IN] = { DROP, CLOSING, CLOSING, CLOSING, CLOSING },
	},
};

static enum tcp_event event_of(uint8_t flags)
{
	if (flags & TCP_RST)
		return EV_RST;
	if (flags & TCP_SYN)
		return flags & TCP_ACK ? EV_SYNACK : EV_SYN;
	if (flags & TCP_FIN)
		return EV_FIN;
	return EV_ACK;
}

/* --- options -------------------------------------------------------------------- */

#define OPT_EOL 0
#define OPT_NOP 1
#define OPT_MSS 2
#define OPT_SCALE 3
#define SCALE_MAX 14 /* RFC 7323 2.3 */

/* Offset in the header of the first option of this kind and size; 0: none. */
static size_t find_option(const uint8_t *tcp, size_t tcp_len, uint8_t kind, uint8_t size)
{
	size_t at = TCP_LEN;

	while (at < tcp_len && tcp[at] != OPT_EOL) {
		if (tcp[at] == OPT_NOP) {
			at++;
			continue;
		}
		if (at + 1 >= tcp_len || tcp[at + 1] < 2 || tcp[at + 1] > tcp_len - at)
			return 0;
		if (tcp[at] == kind && tcp[at + 1] == size)
			return at;
		at += tcp[at + 1];
	}
	return 0;
}

void tcp_clamp_mss(struct frame *f, const struct packet *p, uint16_t mss)
{
	uint8_t *tcp = f->header + p->l4;
	size_t at = find_option(tcp, p->tcp_len, OPT_MSS, 4);
	uint16_t old, delta;

	if (at == 0 || (old = get_be16(tcp + at + 2)) <= mss)
		return;
	put_be16(tcp + at + 2, mss);
	if (f->csum == CSUM_PARTIAL)
		return;
	delta = csum_fold(csum_diff16(raw_be16(old), raw_be16(mss)));
	if (at & 1) /* the option's bytes are in the halves of two words */
		delta = (uint16_t)(delta << 8 | delta >> 8);
	put_raw16(f->header + p->csum, csum_update(get_raw16(f->header + p->csum), delta));
}

/* --- windows -------------------------------------------------------------------- */

#define ACK_WINDOW_MIN 66000u /* IV: what van Rooij found peers to need */

static inline bool seq_after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0; /* T16 */
}

static inline uint32_t scaled(const struct flow_window *w)
{
	return (uint32_t)w->max_win << w->scale;
}

/* What a SYN tells about its sender; its window is never scaled. */
static void window_begin(struct flow_window *w, const struct packet *p, const uint8_t *tcp)
{
	size_t at = find_option(tcp, p->tcp_len, OPT_SCALE, 3);

	*w = (struct flow_window){ .flags = WINDOW_SEEN };
	w->end = p->seq + 1 + (uint32_t)(p->l4_len - p->tcp_len); /* T15 */
	w->max_end = w->end;
	w->ack = p->seq + 1; /* where it began, until there is more to say */
	w->max_win = p->window ? p->window : 1;
	if (at) {
		w->flags |= WINDOW_SCALE;
		w->scale = tcp[at + 2] < SCALE_MAX ? tcp[at + 2] : SCALE_MAX;
	}
}

/* Both have sent their SYN: scaling is in use only when both offered it (T4). */
static void settle_scale(struct flow_window *a, struct flow_window *b)
{
	bool both = (a->flags & b->flags & WINDOW_SCALE) != 0;
	struct flow_window *sides[2] = { a, b };

	for (int i = 0; i < 2; i++) {
		struct flow_window *w = sides[i];

		if (!both)
			w->scale = 0;
		/* from now on max_win counts in units of the scale */
		w->max_win = (uint16_t)((w->max_win + (1u << w->scale) - 1) >> w->scale);
	}
}

void tcp_begin(struct flow *flow, const struct packet *p, const uint8_t *tcp)
{
	memset(flow->window, 0, sizeof(flow->window));
	window_begin(&flow->window[FLOW_OUT], p, tcp);
}

/* The other side's SYN, with or without ACK, in answer to the client's (T1, T2). */
static void window_answer(struct flow *flow, const struct packet *p, const uint8_t *tcp)
{
	struct flow_window *out = &flow->window[FLOW_OUT], *in = &flow->window[FLOW_IN];

	window_begin(in, p, tcp);
	out->ack = p->seq + 1; /* what it has to acknowledge first */
	in->max_end = p->seq + 1 + out->max_win;
	if (seq_after(in->end, in->max_end))
		in->max_end = in->end;
	out->max_end = out->end + p->window;
	if (p->tcp_flags & TCP_ACK) {
		in->ack = p->ack;
		in->flags |= WINDOW_ACK;
		out->end = p->ack; /* data with the SYN that was not taken comes again */
		out->max_end = p->ack + p->window;
	}
	if (p->window == 0)
		out->max_end++; /* T5: a probe */
	settle_scale(out, in);
}

/* The client repeats its SYN, perhaps with fewer options, or tries another one. */
static void syn_again(struct flow *flow, const struct packet *p, const uint8_t *tcp)
{
	struct flow_window first = flow->window[FLOW_OUT], *out = &flow->window[FLOW_OUT];

	tcp_begin(flow, p, tcp);
	if (out->ack != first.ack)
		return;
	/* whichever of them is answered: what any of them offered may be in use */
	if (!(out->flags & WINDOW_SCALE)) {
		out->flags |= first.flags & WINDOW_SCALE;
		out->scale = first.scale;
	}
	if (seq_after(first.end, out->end))
		out->end = out->max_end = first.end;
	if (first.max_win > out->max_win)
		out->max_win = first.max_win;
}

/*
 * Only the client's SYN is known. Its peer may still have a connection of before:
 * its challenge ACK passes, and so does the RST with which the client answers that,
 * at the number that the challenge asked for (T8, RFC 9293 3.5.1); neither is about
 * this connection. Return: whether the flow changes state.
 */
static bool in_syn_state(struct flow *flow, const struct packet *p, const uint8_t *tcp,
			 enum flow_dir dir, uint32_t len, enum drop_reason *reason)
{
	struct flow_window *out = &flow->window[FLOW_OUT], *in = &flow->window[FLOW_IN];
	uint8_t flags = p->tcp_flags;
	bool acks_syn = (flags & TCP_ACK) && !seq_after(p->ack, out->end) &&
			!seq_after(out->ack, p->ack);

	if (dir == FLOW_OUT && tcp_may_open(flags)) {
		syn_again(flow, p, tcp);
		return true;
	}
	if (dir == FLOW_OUT && (flags & TCP_RST) && p->seq == out->end) {
		out->flags |= WINDOW_RESET;
		return true;
	}
	if (dir == FLOW_OUT) {
		if (!(flags & TCP_RST) || !(in->flags & WINDOW_ACK) || p->seq != in->ack)
			*reason = DROP_TCP_WINDOW;
		return false;
	}
	if (flags & TCP_RST) {
		/* RFC 9293 3.10.7.3: it must acknowledge the SYN */
		if (acks_syn)
			in->flags |= WINDOW_RESET;
		else
			*reason = DROP_TCP_WINDOW;
		return acks_syn;
	}
	if ((flags & TCP_SYN) && (!(flags & TCP_ACK) || acks_syn)) {
		window_answer(flow, p, tcp);
		return true;
	}
	if (len > 0 && !(flags & TCP_SYN)) {
		*reason = DROP_TCP_WINDOW; /* T6: nothing asked for data yet */
		return false;
	}
	in->ack = p->ack; /* a challenge, or an old SYN-ACK (T9) */
	in->flags |= WINDOW_ACK;
	return false;
}

/* I and II */
static inline bool seq_ok(const struct flow_window *s, const struct flow_window *r, uint32_t seq,
			  uint32_t end)
{
	return !seq_after(seq, s->max_end) && !seq_after(s->end - scaled(r), end);
}

/* III and IV */
static inline bool ack_ok(const struct flow_window *s, const struct flow_window *r, uint32_t ack)
{
	uint32_t back = scaled(s) > ACK_WINDOW_MIN ? scaled(s) : ACK_WINDOW_MIN;

	return !seq_after(ack, r->end) && !seq_after(r->end - back, ack);
}

static void window_move(struct flow_window *s, struct flow_window *r, const struct packet *p,
			uint32_t end)
{
	uint32_t max_end;

	if (p->window > s->max_win)
		s->max_win = p->window;
	if (seq_after(end, s->end))
		s->end = end;
	if (!(p->tcp_flags & TCP_ACK))
		return;
	if (!(s->flags & WINDOW_ACK) || seq_after(p->ack, s->ack)) {
		s->ack = p->ack;
		s->flags |= WINDOW_ACK;
	}
	max_end = p->ack + ((uint32_t)p->window << s->scale);
	if (p->window == 0)
		max_end++; /* T5: a zero-window probe */
	if (seq_after(max_end, r->max_end))
		r->max_end = max_end;
}

/* T7. Return: whether the RST is effective. */
static bool reset(struct flow_window *s, const struct flow_window *r, const struct packet *p,
		  enum drop_reason *reason)
{
	bool acked = (r->flags & WINDOW_ACK) != 0;

	if (p->seq == s->end || (acked && p->seq == r->ack)) {
		s->flags |= WINDOW_RESET;
		return true;
	}
	/* before what R has acknowledged, it is before R's window for certain */
	if (!seq_ok(s, r, p->seq, p->seq) || (acked && seq_after(r->ack, p->seq)))
		*reason = DROP_TCP_WINDOW;
	return false;
}

/* T11, RFC 9293 3.6.1: a new connection by the client, after the old one. */
static bool reopens(struct flow *flow, const struct packet *p, const uint8_t *tcp)
{
	const struct flow_window *w = flow->window;

	if (!((w[0].flags | w[1].flags) & WINDOW_RESET) && !seq_after(p->seq, w[FLOW_OUT].end))
		return false;
	tcp_begin(flow, p, tcp);
	return true;
}

/* T1: the client has still to acknowledge the other side's SYN, and this does not. */
static inline bool before_syn(const struct flow_window *s, const struct packet *p,
			      enum flow_dir dir)
{
	return dir == FLOW_OUT && !(s->flags & WINDOW_ACK) && seq_after(s->ack, p->ack);
}

enum drop_reason tcp_track(struct flow *flow, const struct packet *p, const uint8_t *tcp,
			   enum flow_dir dir, enum flow_state *next)
{
	struct flow_window *s = &flow->window[dir], *r = &flow->window[!dir];
	enum flow_state state = (enum flow_state)flow->state;
	enum tcp_event event = event_of(p->tcp_flags);
	uint32_t len = (uint32_t)(p->l4_len - p->tcp_len) + (event == EV_FIN);
	enum drop_reason reason = DROP_NONE;
	bool moves = true;

	assert(state >= FIRST && state <= FLOW_TCP_CLOSING);
	*next = (enum flow_state)table[state - FIRST][dir][event];
	if (*next == FLOW_FREE)
		return DROP_INBOUND; /* T17 */
	if (state == FLOW_TCP_SYN)
		moves = in_syn_state(flow, p, tcp, dir, len, &reason);
	else if (event == EV_RST)
		moves = reset(s, r, p, &reason);
	else if (event == EV_SYN || event == EV_SYNACK)
		moves = *next == FLOW_TCP_SYN && reopens(flow, p, tcp); /* T8, T9 */
	else if ((p->tcp_flags & TCP_ACK) && !ack_ok(s, r, p->ack))
		reason = DROP_TCP_WINDOW; /* T6 */
	else if (seq_ok(s, r, p->seq, p->seq + len) && !before_syn(s, p, dir))
		window_move(s, r, p, p->seq + len);
	else if (len > 0)
		reason = DROP_TCP_WINDOW; /* T6 */
	else
		moves = false;
	if (!moves || reason != DROP_NONE)
		*next = state;
	return reason;
}

bool tcp_quoted_ok(const struct flow *flow, enum flow_dir dir, uint32_t seq)
{
	const struct flow_window *s = &flow->window[dir], *r = &flow->window[!dir];
	uint32_t back = scaled(r) > ACK_WINDOW_MIN ? scaled(r) : ACK_WINDOW_MIN;

	if (!(s->flags & WINDOW_SEEN))
		return false;
	return !seq_after(seq, s->end) && !seq_after(s->end - back, seq);
}

/* --- timers ------------------------------------------------------------------------ */

enum flow_timer tcp_timer(enum flow_state state)
{
	switch (state) {
	case FLOW_TCP_OPEN:
		return TIMER_TCP_OPEN;
	case FLOW_TCP_FIN_OUT:
	case FLOW_TCP_FIN_IN:
		return TIMER_TCP_HALF;
	case FLOW_TCP_CLOSING:
		return TIMER_TCP_CLOSING;
	default:
		return TIMER_TCP_OPENING;
	}
}

enum flow_rank tcp_rank(enum flow_state state)
{
	switch (state) {
	case FLOW_TCP_OPEN:
	case FLOW_TCP_FIN_OUT:
	case FLOW_TCP_FIN_IN:
		return RANK_OPEN;
	case FLOW_TCP_CLOSING:
		return RANK_CLOSING;
	default:
		return RANK_OPENING;
	}
}
