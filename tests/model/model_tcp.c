// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The model: TCP as a firewall in the middle sees it (T*), after G. van Rooij,
 * "Real Stateful TCP Packet Filtering in IP Filter".
 *
 * Each side has sent up to `end`, may send up to `max_end`, and has offered at
 * most `max_win`. With S the sender of a segment and R the other side it is good if
 *
 *	  I  seq <= S.max_end
 *	 II  seq + len >= S.end - R.max_win
 *	III  ack <= R.end
 *	 IV  ack >= R.end - max(S.max_win, 66000)
 *
 * A segment that takes no sequence space is held to III and IV only, and teaches
 * nothing unless I and II hold as well.
 */
#include "tests/model/model.h"

#include <string.h>

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define ACK 0x10

#define ACK_WINDOW 66000u

/* T16: a before b, around the wrap */
static bool before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

static uint32_t max32(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* The window scale option (RFC 7323) of a SYN. */
static void read_scale(struct m_side *s, const struct m_packet *p)
{
	const uint8_t *o = p->b + p->l4 + 20, *end = p->b + p->len - p->data;

	s->wscale = false;
	s->scale = 0;
	while (o < end && *o != 0) {
		if (*o == 1) {
			o++;
			continue;
		}
		if (o + 1 >= end || o[1] < 2 || o + o[1] > end)
			return;
		if (o[0] == 3 && o[1] == 3) {
			s->wscale = true;
			s->scale = o[2] > 14 ? 14 : o[2];
		}
		o += o[1];
	}
}

static void first_of(struct m_side *s, const struct m_packet *p)
{
	*s = (struct m_side){ .known = true };
	s->start = p->seq;
	s->end = p->seq + p->data + 1;
	s->max_end = s->end;
	s->max_win = max32(p->win, 1);
	read_scale(s, p);
}

/* T4: scaling is in use when both offered it; a window counts in its units. */
static void settle_scale(struct m_side *a, struct m_side *b)
{
	if (!a->wscale || !b->wscale)
		a->scale = b->scale = 0;
	a->max_win = ((a->max_win - 1) >> a->scale << a->scale) + (1u << a->scale);
	b->max_win = ((b->max_win - 1) >> b->scale << b->scale) + (1u << b->scale);
}

void m_tcp_new(struct m_flow *f, const struct m_packet *p)
{
	memset(f->side, 0, sizeof(f->side));
	f->state = M_TCP_SYN;
	f->reset = false;
	first_of(&f->side[M_OUT], p);
	m_flow_timer(f);
}

/* What a good segment teaches about both sides. */
static void learn(struct m_flow *f, enum m_dir dir, const struct m_packet *p)
{
	struct m_side *s = &f->side[dir], *r = &f->side[!dir];
	uint32_t end = p->seq + p->data + !!(p->flags & SYN) + !!(p->flags & FIN);
	uint32_t win = p->win, allowed;

	if (!(p->flags & SYN))
		win <<= s->scale;
	s->max_win = max32(s->max_win, win);
	if (before(s->end, end))
		s->end = end;
	if (!(p->flags & ACK))
		return;
	if (!s->acked || before(s->ack, p->ack))
		s->ack = p->ack;
	s->acked = true;
	allowed = p->ack + max32(win, 1);
	if (before(r->max_end, allowed))
		r->max_end = allowed;
}

static bool rst_at(const struct m_flow *f, enum m_dir dir, uint32_t seq)
{
	return seq == f->side[dir].end || (f->side[!dir].acked && seq == f->side[!dir].ack);
}

/* T7 */
static enum m_tcp reset(struct m_flow *f, enum m_dir dir, const struct m_packet *p)
{
	struct m_side *s = &f->side[dir], *r = &f->side[!dir];

	if (f->state == M_TCP_CLOSING && (!s->known || !r->known))
		return M_TCP_EITHER; /* of a connection that never was */
	if (!s->known) { /* the server, about a SYN */
		/* RFC 9293 3.10.7.3: its acknowledgment must be acceptable */
		if (!(p->flags & ACK) || !before(r->start, p->ack) || before(r->end, p->ack))
			return M_TCP_DROP;
	} else {
		if (!rst_at(f, dir, p->seq)) {
			if (!r->known)
				return M_TCP_EITHER;
			if (before(s->max_end, p->seq) ||
			    before(p->seq + p->data, s->end - r->max_win))
				return M_TCP_DROP;
			/* below what is acknowledged RFC 5961 has no window */
			if (before(p->seq, r->acked ? r->ack : s->end))
				return M_TCP_EITHER;
			return M_TCP_KEEP;
		}
	}
	f->state = M_TCP_CLOSING;
	f->reset = true;
	return M_TCP_PASS;
}

/* A SYN without ACK in a flow that is there. */
static enum m_tcp syn(struct m_flow *f, enum m_dir dir, const struct m_packet *p,
		      uint64_t *reasons)
{
	struct m_side *s = &f->side[dir], *r = &f->side[!dir];

	if (f->state == M_TCP_SYN && dir == M_IN) {
		first_of(s, p); /* T2 */
		s->max_end = p->seq + 1 + r->max_win;
		if (before(s->max_end, s->end))
			s->max_end = s->end;
		r->max_end = r->end + s->max_win;
		settle_scale(s, r);
		f->state = M_TCP_OPENING;
		return M_TCP_PASS;
	}
	if (f->state == M_TCP_CLOSING && dir == M_IN) {
		*reasons = M_R(INBOUND); /* T17 */
		return M_TCP_DROP;
	}
	if (f->state == M_TCP_CLOSING && (f->reset || before(f->side[M_OUT].end, p->seq))) {
		m_tcp_new(f, p); /* T11 */
		return M_TCP_PASS;
	}
	if (f->state == M_TCP_SYN && p->seq != s->start) {
		m_tcp_new(f, p); /* the client has thought of another */
		return M_TCP_PASS;
	}
	return M_TCP_KEEP; /* T8 */
}

/* SYN-ACK: once it is news, the second half of T2 and repetitions are not (T9). */
static enum m_tcp syn_ack(struct m_flow *f, enum m_dir dir, const struct m_packet *p)
{
	struct m_side *s = &f->side[dir], *r = &f->side[!dir];

	if (f->state == M_TCP_SYN) {
		if (dir == M_OUT)
			return M_TCP_EITHER; /* no stack does */
		if (!before(r->start, p->ack) || before(r->end, p->ack))
			return M_TCP_KEEP; /* T9: it answers something else */
		first_of(s, p);
		s->max_end = p->seq + 1 + r->max_win;
		if (before(s->max_end, s->end))
			s->max_end = s->end;
		s->ack = p->ack;
		s->acked = true;
		r->max_end = p->ack + s->max_win;
		if (before(r->max_end, r->end))
			r->max_end = r->end;
		settle_scale(s, r);
		f->state = M_TCP_OPENING;
		return M_TCP_PASS;
	}
	return p->seq == s->start ? M_TCP_KEEP : M_TCP_EITHER;
}

static void finish(struct m_flow *f, enum m_dir dir)
{
	switch (f->state) {
	case M_TCP_OPENING:
	case M_TCP_OPEN:
		f->state = dir == M_OUT ? M_TCP_FIN_OUT : M_TCP_FIN_IN;
		break;
	case M_TCP_FIN_OUT:
		if (dir == M_IN)
			f->state = M_TCP_CLOSING;
		break;
	case M_TCP_FIN_IN:
		if (dir == M_OUT)
			f->state = M_TCP_CLOSING;
		break;
	}
}

enum m_tcp m_tcp_step(struct m_flow *f, enum m_dir dir, const struct m_packet *p,
		      uint64_t *reasons)
{
	struct m_side *s = &f->side[dir], *r = &f->side[!dir];
	uint32_t space = p->data + !!(p->flags & FIN);
	bool inside, acks;
	enum m_tcp out;

	*reasons = M_R(TCP_WINDOW);
	if (p->flags & RST) {
		out = reset(f, dir, p);
		m_flow_timer(f);
		return out;
	}
	if ((p->flags & (SYN | ACK)) == SYN) {
		out = syn(f, dir, p, reasons);
		m_flow_timer(f);
		return out;
	}
	if (p->flags & SYN) {
		out = syn_ack(f, dir, p);
		m_flow_timer(f);
		return out;
	}
	if (!s->known || !r->known) /* T8: a challenge by who remembers another connection */
		return dir == M_IN && f->state == M_TCP_SYN && !space ? M_TCP_KEEP : M_TCP_EITHER;
	inside = !before(s->max_end, p->seq) &&
		 !before(p->seq + space, s->end - r->max_win);
	acks = !(p->flags & ACK) || (!before(r->end, p->ack) &&
				     !before(p->ack, r->end - max32(s->max_win, ACK_WINDOW)));
	if (!acks || (!inside && space))
		return M_TCP_DROP; /* T6 */
	if (!inside)
		return M_TCP_KEEP;
	/* T1: the handshake ends when the client has acknowledged the server's SYN */
	if (dir == M_OUT && !s->acked && !before(r->start, p->ack))
		return space ? M_TCP_DROP : M_TCP_KEEP;
	learn(f, dir, p);
	if (f->state == M_TCP_OPENING && dir == M_OUT)
		f->state = M_TCP_OPEN;
	if (p->flags & FIN)
		finish(f, dir);
	m_flow_timer(f);
	return M_TCP_PASS;
}
