// SPDX-License-Identifier: GPL-2.0-or-later
/* Both ends of a TCP connection, and what strays from it. */
#include "tests/model/generate.h"

static uint32_t some_isn(struct source *g)
{
	uint32_t r = (uint32_t)(g->state >> 20) * 2654435761u;

	draw(g, 2);
	return one_in(g, 3) ? 0u - draw(g, 100000) : r; /* T16 */
}

static uint16_t some_window(struct source *g)
{
	switch (draw(g, 8)) {
	case 0:
		return (uint16_t)draw(g, 3);
	case 1:
		return 65535;
	default:
		return (uint16_t)(500 + draw(g, 60000));
	}
}

/* A segment as it should be: acknowledges everything. */
static struct spec *segment(struct source *g, struct conversation *c, uint8_t dir, uint8_t flags)
{
	struct end *s = &c->end[dir], *r = &c->end[!dir];
	struct spec *p = generate_packet(g, c, dir);
	uint32_t right;

	p->flags = flags;
	p->seq = s->next;
	p->ack = flags & ACK ? r->next : 0;
	p->win = some_window(g);
	if (flags & ACK) {
		right = r->next + ((uint32_t)p->win << (flags & SYN ? 0 : s->scale));
		if ((int32_t)(right - r->limit) > 0)
			r->limit = right;
	}
	return p;
}

static void options(struct source *g, struct conversation *c, uint8_t dir, struct spec *p)
{
	struct end *s = &c->end[dir];

	p->odd = (uint8_t)draw(g, 4);
	if (!one_in(g, 4))
		p->mss = (uint16_t)(one_in(g, 3) ? draw(g, 65536) : 1200 + draw(g, 300));
	s->mss = p->mss;
	s->odd = p->odd;
	s->win = p->win;
	s->wscale = one_in(g, 2);
	s->scale = s->wscale ? (uint8_t)draw(g, 16) : 0;
	p->wscale = s->wscale ? s->scale : 0xff;
	if (s->scale > 14)
		s->scale = 14;
}

/* The same once more, and the last time without options. */
static void again(struct source *g, const struct conversation *c, uint8_t dir, struct spec *p)
{
	const struct end *s = &c->end[dir];

	p->seq = s->isn;
	p->win = s->win;
	if (s->wscale || !one_in(g, 4)) {
		p->odd = s->odd;
		p->mss = s->mss;
		p->wscale = s->wscale ? s->scale : 0xff;
	}
}

static void tcp_open(struct source *g, struct conversation *c)
{
	struct spec *p;
	uint32_t old = c->end[M_OUT].next;

	if (c->phase == 4) { /* T11: above, at, or below the old one */
		c->end[M_OUT] = (struct end){ 0 };
		c->end[M_OUT].isn = old + draw(g, 5) * 1000 - 1000;
	} else {
		c->end[M_OUT] = (struct end){ .isn = some_isn(g) };
	}
	c->end[M_IN] = (struct end){ 0 };
	c->end[M_OUT].next = c->end[M_OUT].isn;
	p = segment(g, c, M_OUT, SYN | (one_in(g, 5) ? 0xc0 : 0));
	options(g, c, M_OUT, p);
	if (one_in(g, 12))
		p->len = (uint16_t)(1 + draw(g, 500)); /* T15 */
	c->end[M_OUT].next += 1 + p->len;
	c->phase = 1;
}

static void tcp_answer(struct source *g, struct conversation *c)
{
	struct end *s = &c->end[M_IN];
	struct spec *p;

	switch (draw(g, 14)) {
	case 0: /* refused */
		p = segment(g, c, M_IN, RST | ACK);
		p->seq = 0;
		c->phase = one_in(g, 2) ? 4 : 1;
		p->ack += c->phase == 4 ? 0 : 1 + draw(g, 3) * 100000;
		return;
	case 1: /* the same again */
		again(g, c, M_OUT, segment(g, c, M_OUT, SYN));
		return;
	case 2: /* T2 */
		s->isn = s->next = some_isn(g);
		p = segment(g, c, M_IN, SYN);
		options(g, c, M_IN, p);
		s->next++;
		again(g, c, M_OUT, segment(g, c, M_OUT, SYN | ACK));
		c->phase = 2;
		break;
	case 3: /* the answer to something else */
		p = segment(g, c, M_IN, SYN | ACK);
		p->ack += 5000;
		p->seq = some_isn(g);
		return;
	case 4: /* a server that remembers */
		p = segment(g, c, M_IN, ACK);
		p->ack -= 77777;
		p->seq = some_isn(g);
		return;
	default:
		s->isn = s->next = some_isn(g);
		p = segment(g, c, M_IN, SYN | ACK);
		options(g, c, M_IN, p);
		if (one_in(g, 12))
			p->len = (uint16_t)draw(g, 100);
		s->next += 1 + p->len;
		c->phase = 2;
	}
	if (!c->end[0].wscale || !c->end[1].wscale)
		c->end[0].scale = c->end[1].scale = 0;
}

static void tcp_data(struct source *g, struct conversation *c, uint8_t dir)
{
	struct end *s = &c->end[dir];
	uint32_t len = 1 + draw(g, 1460), room = s->limit - s->next;
	struct spec *p;

	if (one_in(g, 10))
		len = 2000 + draw(g, 20000);
	if ((int32_t)room <= 0 || s->fin) {
		segment(g, c, dir, ACK);
		return;
	}
	if (len > room)
		len = room;
	p = segment(g, c, dir, ACK | (one_in(g, 2) ? PSH : 0));
	p->len = (uint16_t)len;
	if (len > 1460) {
		p->gso = (uint16_t)(1200 + draw(g, 300));
		p->csum = CSUM_PARTIAL;
		p->bad_csum = false;
		p->hdr = 0;
	}
	s->next += len;
}

/* Nearly right, and wrong. */
static void tcp_odd(struct source *g, struct conversation *c, uint8_t dir)
{
	static const uint8_t bad[] = { 0, SYN | FIN, SYN | RST, FIN, FIN | 0x20 | PSH, 0x3f,
				       RST | FIN, PSH, 0x20 };
	struct end *s = &c->end[dir], *r = &c->end[!dir];
	struct spec *p = segment(g, c, dir, ACK);

	p->len = (uint16_t)draw(g, 3);
	switch (draw(g, 12)) {
	case 0: /* T6 */
		p->seq = s->limit + 1 + draw(g, 3) * 100000;
		p->len = 10;
		break;
	case 1:
		p->seq -= 70000 + draw(g, 0x7ffe0000);
		p->len = 10;
		break;
	case 2:
		p->ack = r->next + 1 + draw(g, 2) * 1000000;
		break;
	case 3:
		p->ack -= 66000 + draw(g, 3) * 2000000;
		break;
	case 4: /* T5 */
		p->seq--;
		break;
	case 5:
		p->seq -= draw(g, 3000);
		p->len = (uint16_t)(1 + draw(g, 1400));
		break;
	case 6: /* T8 */
		p->flags = SYN;
		p->ack = 0;
		p->seq = some_isn(g);
		break;
	case 7: /* T9 */
		p->flags = SYN | ACK;
		p->seq = one_in(g, 2) ? s->isn : s->isn - draw(g, 100000);
		break;
	case 8:
		p->flags = bad[draw(g, sizeof(bad))];
		break;
	case 9:
		p->win = 0;
		break;
	case 10:
		p->flags = FIN | ACK;
		p->seq = s->limit + 100;
		break;
	default: /* lost on the way out: a hole */
		s->next += draw(g, 2000);
	}
}

static void tcp_reset(struct source *g, struct conversation *c, uint8_t dir)
{
	struct end *s = &c->end[dir];
	struct spec *p = segment(g, c, dir, one_in(g, 2) ? RST : RST | ACK);

	switch (draw(g, 6)) { /* T7 */
	case 0:
	case 1:
		c->phase = 4;
		break;
	case 2:
		p->seq += 1 + draw(g, 100);
		break;
	case 3:
		p->seq -= 1 + draw(g, 100);
		break;
	case 4:
		p->seq = s->limit + 2 + draw(g, 1000000);
		break;
	default:
		p->seq -= 0x40000000;
	}
}

void generate_tcp(struct source *g, struct conversation *c)
{
	uint8_t dir = (uint8_t)draw(g, 2);
	struct spec *p;

	if (c->phase == 0) {
		if (one_in(g, 10))
			segment(g, c, dir, one_in(g, 2) ? ACK : (uint8_t)draw(g, 64));
		else
			tcp_open(g, c);
		return;
	}
	if (c->phase == 1) {
		tcp_answer(g, c);
		return;
	}
	if (c->phase == 2) {
		if (one_in(g, 8)) {
			again(g, c, M_IN, segment(g, c, M_IN, SYN | ACK));
			return;
		}
		segment(g, c, M_OUT, ACK);
		c->phase = 3;
		return;
	}
	switch (draw(g, c->phase == 4 ? 10 : 24)) {
	case 0:
	case 1:
		if (c->phase == 4)
			tcp_open(g, c);
		else
			segment(g, c, dir, ACK);
		break;
	case 2:
	case 3:
	case 4:
		tcp_odd(g, c, dir);
		break;
	case 5:
		tcp_reset(g, c, dir);
		break;
	case 6:
	case 7: /* T10 */
		p = segment(g, c, dir, FIN | ACK);
		if (!c->end[dir].fin)
			c->end[dir].next++;
		else
			p->seq--;
		c->end[dir].fin = true;
		if (c->end[!dir].fin)
			c->phase = 4;
		break;
	default:
		tcp_data(g, c, dir);
	}
}
