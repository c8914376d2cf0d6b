// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Random histories. The generator plays both ends of a dozen conversations as if
 * every packet arrived, and strays from that in every way the catalogue names:
 * numbers out of the window, resets that are nearly right, pieces that overlap,
 * errors about packets that were never sent, rules and interfaces that come and go.
 * It knows nothing of the model or the engine, only the seed.
 */
#include "tests/model/generate.h"

#include <stdlib.h>
#include <string.h>

uint32_t draw(struct source *g, uint32_t n)
{
	g->state ^= g->state << 13;
	g->state ^= g->state >> 7;
	g->state ^= g->state << 17;
	return n ? (uint32_t)((g->state >> 16) % n) : 0;
}

bool one_in(struct source *g, uint32_t n)
{
	return draw(g, n) == 0;
}

static struct step *add(struct source *g, uint8_t kind)
{
	struct step *s = &g->h->step[g->h->count++];

	memset(s, 0, sizeof(*s));
	s->kind = kind;
	return s;
}

/* --- one packet of a conversation --------------------------------------------------- */

static void pick_sums(struct source *g, struct spec *p)
{
	uint32_t r = draw(g, 20);

	p->csum = r < 10 ? CSUM_NONE : r < 14 ? CSUM_VALID : CSUM_PARTIAL;
	if (r == 0)
		p->bad_csum = true;
	/* what has a checksum that a sender knows how to leave to others */
	if (p->csum == CSUM_PARTIAL && p->talk.proto != 6 && p->talk.proto != 17 &&
	    p->talk.proto != (p->talk.family == 4 ? 1 : 58))
		p->csum = CSUM_NONE;
}

struct spec *generate_packet(struct source *g, const struct conversation *c, uint8_t dir)
{
	struct step *s = add(g, STEP_PACKET);

	s->p = c->base;
	s->p.dir = dir;
	s->p.ttl = one_in(g, 40) ? (uint8_t)draw(g, 3) : (uint8_t)(2 + draw(g, 254));
	s->p.tos = one_in(g, 3) ? (uint8_t)draw(g, 256) : 0;
	s->p.id = (uint16_t)draw(g, 65536);
	s->p.df = !one_in(g, 3);
	s->p.wscale = 0xff;
	s->p.type = 0xff;
	s->p.router = 0xff;
	if (one_in(g, 30))
		s->p.hdr = (uint8_t)(1 + draw(g, 12));
	if (one_in(g, 20))
		s->p.pad = (uint8_t)(1 + draw(g, 20));
	pick_sums(g, &s->p);
	return &s->p;
}

static void new_talk(struct source *g, struct conversation *c)
{
	static const uint16_t ports[] = { 53, 80, 443, 4000, 68, 53 };
	static const uint8_t other[] = { 47, 50, 132, 136, 51 };
	struct talk *t = &c->base.talk;

	memset(c, 0, sizeof(*c));
	t->client = (uint8_t)(1 + draw(g, g->twin ? 5 : 4));
	t->family = one_in(g, 3) && t->client != 3 && t->client != 4 ? 6 : 4;
	if (one_in(g, 60))
		t->family = 6;
	t->remote = (uint8_t)draw(g, 6);
	if (one_in(g, 12))
		t->remote = (uint8_t)draw(g, 15);
	t->sport = one_in(g, 3) ? (uint16_t)draw(g, 65536) : (uint16_t)(1000 + draw(g, 3));
	t->dport = ports[draw(g, 6)];
	switch (draw(g, 10)) {
	case 0:
		t->proto = t->family == 4 ? 1 : 58;
		t->dport = 0;
		break;
	case 1:
		t->proto = other[draw(g, 5)];
		t->sport = t->dport = 0;
		break;
	case 2:
	case 3:
	case 4:
		t->proto = 17;
		break;
	default:
		t->proto = 6;
	}
}

/* --- the rest ---------------------------------------------------------------------------- */

static void plain_step(struct source *g, struct conversation *c)
{
	uint8_t dir = one_in(g, 3) ? M_IN : M_OUT;
	struct spec *p = generate_packet(g, c, dir);

	p->len = (uint16_t)draw(g, one_in(g, 12) ? 3000 : 200);
	p->icmp_seq = (uint16_t)draw(g, 65536);
	p->no_csum = one_in(g, 10);
	if (one_in(g, 200)) { /* P13: only TCP comes in bigger pieces */
		p->gso = 1000;
		p->csum = CSUM_PARTIAL;
	}
	p->zero = one_in(g, 10) && !p->no_csum && !p->bad_csum;
	if (p->talk.proto == 1 || p->talk.proto == 58) {
		static const uint8_t types[] = { 4, 5, 9, 10, 13, 15, 17, 40, 0, 8, 130, 143, 200 };

		if (one_in(g, 12))
			p->type = types[draw(g, sizeof(types))];
	}
}

static void error_step(struct source *g, struct conversation *c)
{
	static const uint8_t t4[] = { 3, 3, 3, 11, 12, 4, 5, 3 };
	static const uint8_t t6[] = { 1, 2, 3, 4, 1, 2, 137, 100 };
	uint8_t dir = one_in(g, 3) ? M_OUT : M_IN;
	struct spec *p = generate_packet(g, c, dir);
	uint32_t i = draw(g, 8);

	p->error = true;
	p->error_type = p->talk.family == 4 ? t4[i] : t6[i];
	p->error_code = p->talk.family == 4 && i < 3 ? (uint8_t)draw(g, 16) : 0;
	p->info = draw(g, 2) ? 1300 + draw(g, 200) : 0;
	if (p->csum == CSUM_PARTIAL)
		p->csum = CSUM_NONE;
	p->bad_csum = one_in(g, 30) && p->csum == CSUM_NONE;
	p->flags = ACK;
	p->seq = c->end[!dir].next - draw(g, 3) * 10;
	p->ack = c->end[dir].next;
	if (one_in(g, 8))
		p->seq += 0x30000000;
	p->len = (uint16_t)draw(g, 200);
	p->no_csum = one_in(g, 6);
	p->quote = one_in(g, 2) ? (p->talk.family == 4 ? 28 : 48) : (uint16_t)(20 + draw(g, 300));
	if (dir == M_IN && one_in(g, 2))
		p->router = (uint8_t)draw(g, 4);
	if (dir == M_OUT && one_in(g, 10))
		p->router = (uint8_t)draw(g, 4);
	if (one_in(g, 8)) { /* a forged inside */
		p->mutations = 1;
		p->refix = true;
		p->mutation[0] = (struct mutation){ MUT_INNER, (uint8_t)(1 << draw(g, 8)),
						    (uint16_t)draw(g, 28) };
	}
}

/* F1: any order, half of the time */
static void shuffle(struct source *g, uint32_t *off, uint32_t *len, uint32_t n)
{
	for (uint32_t i = 0; i + 1 < n && !one_in(g, 2); i++) {
		uint32_t k = i + draw(g, n - i), o = off[i], l = len[i];

		off[i] = off[k];
		len[i] = len[k];
		off[k] = o;
		len[k] = l;
	}
}

enum trouble { MISSING = 1, TWICE, OVERLAP, ODD_LENGTH, TINY, TOO_FAR, TROUBLES = 16 };

/* The piece in the middle is not as it should be; most datagrams have none such. */
static void spoil(struct source *g, struct step *s, enum trouble trouble)
{
	struct spec *p = &s->p;

	if (trouble == TWICE) { /* F2 */
		s = add(g, STEP_PACKET);
		s->p = *p;
		s->p.tweak = one_in(g, 2);
	}
	if (trouble == OVERLAP && p->off) /* F3, F4 */
		p->off -= 8;
	if (trouble == ODD_LENGTH && p->more)
		p->piece_len -= 1; /* F16 */
	if (trouble == TINY)
		p->piece_len = 4; /* F5 */
	if (trouble == TOO_FAR) /* F7 */
		p->off = 65528;
}

/* What is cut into pieces of so many bytes. */
static uint32_t datagram(struct source *g, struct conversation *c, struct spec *p)
{
	uint32_t size = 8 * (3 + draw(g, 60));

	*p = *generate_packet(g, c, (uint8_t)draw(g, 2));
	g->h->count--;
	if (p->talk.proto == 6)
		p->talk.proto = 17;
	p->csum = CSUM_NONE;
	p->hdr = p->talk.family == 6 && one_in(g, 4) ? 1 : 0;
	p->pad = 0;
	p->len = (uint16_t)(size + draw(g, 2000));
	if (one_in(g, 60))
		p->len = (uint16_t)(10000 + draw(g, 55000));
	if (p->len > 2000)
		size = 8 * (175 + draw(g, 5)) + 8 * draw(g, 20) * 50;
	p->df = one_in(g, 4);
	p->piece = true;
	p->frag_id = ++g->unique;
	return size;
}

/* The client's interface goes, and comes with the same address. */
static void replug(struct source *g, uint8_t client)
{
	add(g, STEP_DETACH)->a = client;
	add(g, STEP_ATTACH)->a = client;
	add(g, STEP_LINK)->a = client;
	g->h->step[g->h->count - 1].b = 1;
}

/* A datagram in pieces, in some order, with something wrong every now and then. */
static void pieces(struct source *g, struct conversation *c)
{
	uint32_t total, n = 0, off[PIECES], len[PIECES], size;
	enum trouble trouble = (enum trouble)draw(g, TROUBLES);
	struct spec whole;
	struct step *s;

	size = datagram(g, c, &whole);
	total = whole.len;
	if (whole.talk.proto == 17 || whole.talk.proto == 1 || whole.talk.proto == 58)
		total += 8;
	for (uint32_t at = 0; at < total && n < PIECES; at += size, n++) {
		off[n] = at;
		len[n] = total - at < size ? total - at : size;
	}
	shuffle(g, off, len, n);
	for (uint32_t i = trouble == MISSING; i < n && g->h->count + 8 < g->most; i++) {
		s = add(g, STEP_PACKET);
		s->p = whole;
		s->p.off = (uint16_t)off[i];
		s->p.piece_len = (uint16_t)len[i];
		s->p.more = off[i] + len[i] < total;
		if (i == n / 2)
			spoil(g, s, trouble);
		if (one_in(g, 20)) {
			s = add(g, STEP_WAIT);
			s->ms = draw(g, g->few ? 1000 : 40000);
		} else if (one_in(g, 200) && !g->few) {
			replug(g, whole.talk.client); /* Q7 */
		}
	}
}

static void mutant(struct source *g, struct conversation *c)
{
	/* what a flip of it means is laid down */
	static const uint16_t ip4[] = { 0, 2, 3, 8, 9, 10, 12, 13, 15, 16, 19 };
	static const uint16_t ip6[] = { 0, 4, 5, 6, 7, 8, 23, 24, 39 };
	static const uint16_t l4[] = { 0, 1, 2, 3, 4, 5, 12, 13 };
	struct spec *p;

	plain_step(g, c);
	p = &g->h->step[g->h->count - 1].p;
	p->flags = p->dir == M_OUT ? SYN : ACK;
	p->refix = !one_in(g, 4);
	p->mutations = 1;
	p->csum = CSUM_NONE;
	p->gso = 0;
	p->mutation[0].flip = (uint8_t)(1 << draw(g, 8));
	switch (draw(g, 7)) {
	case 0:
	case 1:
		p->mutation[0].where = MUT_IP;
		p->mutation[0].at = p->talk.family == 4 ? ip4[draw(g, 11)] : ip6[draw(g, 9)];
		break;
	case 2:
	case 3:
		p->mutation[0].where = MUT_L4;
		p->mutation[0].at = l4[draw(g, p->talk.proto == 6 ? 8 : 6)];
		break;
	case 4:
		p->mutation[0].where = MUT_ETHER;
		p->mutation[0].at = (uint16_t)draw(g, 14);
		break;
	case 5:
		p->mutations = 0;
		p->cut = (uint16_t)draw(g, 80);
		break;
	default:
		p->mutations = 0;
		p->wrong = (uint8_t)(1 + draw(g, 3));
	}
	p->failed = one_in(g, 40);
}

static void neighbours(struct source *g, struct conversation *c)
{
	struct spec *p;
	struct step *s;

	if (one_in(g, 2)) {
		p = generate_packet(g, c, (uint8_t)draw(g, 2));
		p->l2 = (uint8_t)(1 + draw(g, 2));
		p->talk.remote = (uint8_t)draw(g, 15);
		p->wrong = one_in(g, 4) ? (uint8_t)(1 + draw(g, 3)) : 0;
		p->bad_csum = one_in(g, 8);
		p->csum = CSUM_NONE;
		p->cut = one_in(g, 8) ? (uint16_t)draw(g, 90) : 0;
		return;
	}
	s = add(g, STEP_NEIGHBOUR);
	s->a = one_in(g, 2) ? 4 : 6;
	s->b = one_in(g, 4) ? (uint8_t)(1 + draw(g, 2)) : 0;
}

static void wait_step(struct source *g)
{
	struct step *s = add(g, STEP_WAIT);

	if (g->few) {
		s->ms = draw(g, 1000);
		return;
	}
	switch (draw(g, 20)) {
	case 5:
		if (one_in(g, 4))
			s->kind = STEP_JUMP;
		s->ms = 20000 + draw(g, 8 * 3600 * 1000);
		if (s->kind == STEP_WAIT)
			s->ms %= 500;
		break;
	case 0:
		s->ms = 60000 + draw(g, 240000);
		break;
	case 1:
	case 2:
		s->ms = 5000 + draw(g, 55000);
		break;
	case 3:
		s->ms = 240000 + draw(g, 60000);
		break;
	case 4:
		s->ms = one_in(g, 20) ? 86400000 : one_in(g, 3) ? 901000 : 1000;
		break;
	default:
		s->ms = draw(g, one_in(g, 2) ? 30 : 3000);
	}
}

static void world_step(struct source *g)
{
	struct step *s = add(g, STEP_POLICY);

	s->a = (uint8_t)draw(g, WIRE_SOURCES);
	s->b = one_in(g, 2) ? (uint8_t)draw(g, 2) : (uint8_t)draw(g, WIRE_POLICIES);
	if (g->few) { /* N4 */
		s->kind = STEP_OPTIONS;
		s->b = 0;
		s->ms = one_in(g, 3) ? 1 + draw(g, 20) : 0;
		return;
	}
	switch (draw(g, 16)) {
	case 0:
		s->kind = STEP_FORGET;
		break;
	case 8:
	case 9:
		s->c = 1; /* the same once more (R5) */
		break;
	case 1:
		s->kind = STEP_OPTIONS;
		s->b = (uint8_t)draw(g, 2);
		break;
	case 2:
	case 3: /* Q7 */
		s->kind = STEP_DETACH;
		s->a = (uint8_t)draw(g, g->twin ? 6 : 5);
		break;
	case 4:
		s->kind = STEP_ATTACH;
		s->a = (uint8_t)draw(g, g->twin ? 6 : 5);
		s->b = (uint8_t)draw(g, 4);
		if (s->a != 0 && one_in(g, 4))
			s->b |= 4; /* Q7: it has another address now */
		if (s->a == 0)
			s->b |= (uint8_t)((one_in(g, 3) ? 4 : 0) | (one_in(g, 6) ? 8 : 0) |
					  (one_in(g, 4) ? 16 : 0));
		break;
	case 5:
		s->kind = STEP_LINK;
		s->a = (uint8_t)draw(g, 5);
		s->b = one_in(g, 3) ? 0 : 1;
		break;
	case 6:
		s->kind = STEP_DNS;
		s->a = (uint8_t)(draw(g, 10) ? 1 + draw(g, 250) : 0);
		s->b = (uint8_t)(draw(g, 10) ? 1 + draw(g, 250) : 0);
		break;
	case 7:
		s->kind = STEP_CONNECTED;
		break;
	default:
		break;
	}
}

/* Back to a network in which packets pass. */
static void repair(struct source *g)
{
	for (uint8_t i = 0; i < (g->twin ? 6 : 5); i++) {
		struct step *s = add(g, STEP_ATTACH);

		s->a = i;
		s->b = (uint8_t)draw(g, 4);
		if (i == 0)
			s->b = one_in(g, 3) ? (uint8_t)draw(g, 3) : 0;
		s = add(g, STEP_LINK);
		s->a = i;
		s->b = 1;
	}
	for (uint8_t i = 0; i < WIRE_SOURCES; i++) {
		struct step *s = add(g, STEP_POLICY);

		s->a = i;
		s->b = one_in(g, 4) && !g->few ? (uint8_t)draw(g, WIRE_POLICIES) : 0;
	}
}

static void configure(struct source *g)
{
	struct engine_config *c = &g->h->config;

	memset(c, 0, sizeof(*c));
	c->flow_max = 1024;
	memset(c->hash_key, (int)draw(g, 256), sizeof(c->hash_key));
	memset(c->rng_seed, (int)draw(g, 256), sizeof(c->rng_seed));
	c->pass_ip_options = one_in(g, 3);
	c->no_mss_clamp = one_in(g, 5);
	c->no_inbound_refresh = one_in(g, 5);
	if (g->few) {
		c->flow_max = 64;
		for (int i = 0; i < FLOW_TIMERS; i++)
			c->timeout_s[i] = 86400;
		return;
	}
	if (one_in(g, 2))
		c->timeout_s[TIMER_TCP_OPEN] = 600 + draw(g, 600);
	if (one_in(g, 2))
		c->timeout_s[TIMER_UDP_REPLIED] = 130;
}

void generate(struct history *h, uint64_t seed, size_t steps)
{
	static struct source g;

	memset(&g, 0, sizeof(g));
	g.state = seed * 0x9e3779b97f4a7c15ull + 0x1234567;
	if (!g.state)
		g.state = 1;
	g.h = h;
	for (int i = 0; i < 8; i++)
		draw(&g, 2);
	g.most = (uint32_t)steps;
	h->seed = seed;
	h->count = 0;
	g.twin = one_in(&g, 4);
	g.few = one_in(&g, 10);
	configure(&g);
	repair(&g);
	for (size_t i = 0; i < CONVERSATIONS; i++)
		new_talk(&g, &g.talk[i]);
	while (h->count + 64 < steps) {
		struct conversation *c = &g.talk[draw(&g, CONVERSATIONS)];
		uint32_t r = draw(&g, 1000);

		if (one_in(&g, g.few ? 4 : 60))
			new_talk(&g, c);
		if (r < 20)
			pieces(&g, c);
		else if (r < 60)
			error_step(&g, c);
		else if (r < 90)
			mutant(&g, c);
		else if (r < 100)
			neighbours(&g, c);
		else if (r < 150)
			wait_step(&g);
		else if (r < 156)
			world_step(&g);
		else if (r < 158 && !g.few)
			repair(&g);
		else if (c->base.talk.proto == 6)
			generate_tcp(&g, c);
		else
			plain_step(&g, c);
	}
}
