// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Fragments and the engine: a datagram that is whole goes through the packet path
 * as one packet, and what comes out of it leaves through engine_take() in pieces.
 *
 *	fragment -> frag_add() -> whole -> engine_parse_ip(), engine_decide()
 *	  -> forward:	rewritten headers go back to the bytes they came from
 *	  -> answer:	an error is a frame of its own, an echo reply a datagram
 *	  -> drop:	forgotten
 *
 * The frame that stands for a datagram while it is judged (engine.whole) has its
 * first bytes in header[], like any other, and no others: nothing in the packet
 * path reads a payload.
 */
#include "firewall/csum.h"
#include "firewall/engine_impl.h"

/* --- in ---------------------------------------------------------------------------- */

static void begin_frame(struct frame *f, uint16_t in_port)
{
	f->in_port = in_port;
	f->nseg = 0;
	f->csum = CSUM_NONE;
	f->csum_start = 0;
	f->csum_offset = 0;
	f->gso = GSO_NONE;
	f->gso_size = 0;
	f->copy_failed = false;
	f->verdict = FRAME_DROP;
	f->reason = DROP_NONE;
	f->out_port = PORT_NONE;
	f->in_generation = 0;
	f->cookie = UINT32_MAX;
	f->cookie_slots = 0;
	f->cookie_extras = 0;
	f->next = NULL;
	f->queued_us = 0;
}

/*
 * Turn the first fragment's headers into those of the whole (F12: they are its). What
 * a router on the way had to say about congestion it may have said in any of them
 * (RFC 3168 5.3).
 */
static void whole_headers(struct datagram *d)
{
	uint8_t *h = d->head;
	uint8_t *ecn = h + (d->key.family == 6 ? IP6_OFF + 1 : IP4_TOS);
	uint8_t ce = d->key.family == 6 ? ECN_CE << 4 : ECN_CE;

	if (d->ce && (*ecn & ce) != ECN_NONE)
		*ecn |= ce;
	if (d->key.family == 6) {
		h[d->next_at] = h[d->frag_at];
		d->head_len = d->frag_at; /* the fragment header ends it */
		put_be16(h + IP6_PLEN, (uint16_t)(d->head_len - IP6_OFF - IP6_LEN + d->total));
		return;
	}
	put_be16(h + IP4_TOTAL, (uint16_t)(d->head_len - IP4_OFF + d->total));
	put_be16(h + IP4_FRAG, d->df ? IP4_DF : 0);
	put_raw16(h + IP4_CSUM, 0);
	put_raw16(h + IP4_CSUM,
		  (uint16_t)~csum_fold(csum_bytes(h + IP4_OFF, (size_t)d->head_len - IP4_OFF, 0)));
}

/* A frame with the first @len bytes of a datagram's data, in header[] if they fit. */
static void make_frame(struct engine *e, uint16_t index, uint16_t in_port, size_t len)
{
	struct datagram *d = &e->frags.datagrams[index];
	struct frame *f = &e->whole;
	size_t n = FRAME_HEADER_COPY > d->head_len ? FRAME_HEADER_COPY - (size_t)d->head_len : 0;

	begin_frame(f, in_port);
	memcpy(f->header, d->head, d->head_len);
	n = frag_read(&e->frags, d, 0, f->header + d->head_len, n < len ? n : len);
	f->header_len = (uint16_t)(d->head_len + n);
	f->len = (uint32_t)(d->head_len + len);
	if (f->len > f->header_len) {
		f->seg[0] = (struct frame_seg){ .len = f->len - f->header_len };
		f->nseg = 1;
	}
}

/* What is left of the frame after the packet path is sent from the datagram. */
static void whole_send(struct engine *e, uint16_t index)
{
	struct datagram *d = &e->frags.datagrams[index];
	const struct frame *f = &e->whole;

	d->out_port = f->out_port;
	if (f->verdict == FRAME_REPLY && f->reason != DROP_NONE) {
		frag_answer(&e->frags, index, f);
	} else {
		memcpy(d->head, f->header, d->head_len);
		frag_write(&e->frags, d, 0, f->header + d->head_len,
			   (size_t)f->header_len - d->head_len);
	}
	d->limit = (uint16_t)e->ifaces[f->out_port].mtu;
	if (d->largest < d->limit)
		d->limit = d->largest;
	frag_send(&e->frags, index);
}

static void judge_whole(struct engine *e, struct iface *in, enum flow_dir dir, uint16_t index)
{
	struct work w = { .f = &e->whole, .in = in, .dir = dir, .hint = FLOW_NONE,
			  .datagram = index };

	e->stats.assembled++;
	whole_headers(&e->frags.datagrams[index]);
	make_frame(e, index, iface_id(e, in), e->frags.datagrams[index].total);
	engine_parse_ip(e, &w);
	engine_decide(e, &w);
	if (e->whole.verdict == FRAME_DROP)
		frag_drop(&e->frags, index);
	else
		whole_send(e, index);
}

static void count_given_up(struct engine *e, unsigned int n, enum drop_reason reason)
{
	e->stats.assembled += n;
	e->stats.drops[reason] += n;
}

void engine_fragment(struct engine *e, struct work *w)
{
	const struct packet *p = &w->p;
	struct frag_key key = {
		.src = p->src,
		.dst = p->dst,
		.id = p->frag_id,
		.iface = iface_id(e, w->in), /* F17 */
		.family = p->family,
		.proto = p->family == 4 ? p->proto : 0,
	};
	struct frag_result r = frag_add(&e->frags, &key, &w->in->frags, w->f, p, e->clock);

	count_given_up(e, r.given_up, DROP_FRAGMENT_LIMIT); /* F10 */
	engine_drop(e, w, r.reason);
	if (r.complete != FRAG_NONE)
		judge_whole(e, w->in, w->dir, r.complete);
}

/* --- time ---------------------------------------------------------------------------- */

/* I5, I9: what may be answered, seen from its first fragment. */
static bool may_answer(const struct engine *e, const struct datagram *d)
{
	const struct iface *in = &e->ifaces[d->key.iface];

	/* nothing of ours goes out to the uplink unasked */
	return d->has_first && !d->no_answer && in->conf.kind != IFACE_UPLINK && in->link;
}

/* F11; RFC 792, RFC 8200 4.5: the sender learns that a part was missing. */
static bool answer_timeout(struct engine *e, uint16_t index)
{
	struct datagram *d = &e->frags.datagrams[index];
	struct iface *in = &e->ifaces[d->key.iface];
	enum fam fam = d->key.family == 6 ? V6 : V4;
	struct ipkey src = engine_known_as(e, in, fam), dst = d->key.src;
	struct work w = { .f = &e->whole, .in = in };

	if (ipkey_none(&src) || !may_answer(e, d) || !engine_may_send_error(e, in))
		return false;
	/* the first fragment as it came: head[] is still its */
	make_frame(e, index, d->key.iface, frag_first_len(&e->frags, d));
	icmp_error_build(&e->whole, d->key.family, &src, &dst, ICMP_ERR_REASSEMBLY, 0);
	engine_reply_ether(&w);
	e->stats.replied++;
	d->out_port = d->key.iface;
	frag_answer(&e->frags, index, &e->whole);
	frag_send(&e->frags, index);
	return true;
}

void engine_expire_fragments(struct engine *e)
{
	uint16_t index;

	for (unsigned int i = 0; i < EXPIRE_FRAGS; i++) {
		index = frag_expired(&e->frags, e->clock);
		if (index == FRAG_NONE)
			return;
		/* of a bad one every piece was counted when it came */
		if (e->frags.datagrams[index].state == DATAGRAM_WAITING)
			count_given_up(e, 1, DROP_FRAGMENT_TIMEOUT);
		if (!answer_timeout(e, index))
			frag_drop(&e->frags, index);
	}
}

/* --- out ------------------------------------------------------------------------------ */

/* P4: the last chance to make a checksum that the sender left to the last hop. */
static void complete_checksum(struct engine *e, const struct datagram *d, const struct work *w)
{
	size_t at = (size_t)w->p.csum - w->p.l4;
	uint16_t csum = (uint16_t)~csum_fold(frag_sum(&e->frags, d, 0));

	if (csum == 0 && w->p.proto == PROTO_UDP)
		csum = 0xffff; /* RFC 768 */
	frag_write(&e->frags, d, at, &csum, sizeof(csum));
}

bool engine_split(struct engine *e, struct work *w, const struct iface *out)
{
	uint16_t index = frag_take(&e->frags, &w->in->frags, w->f, w->p.l4);
	struct datagram *d;

	if (index == FRAG_NONE) {
		engine_drop(e, w, DROP_FRAGMENT_LIMIT);
		return false;
	}
	d = &e->frags.datagrams[index];
	d->key.family = w->p.family;
	d->key.iface = iface_id(e, w->in);
	memcpy(d->head, w->f->header, w->p.l4);
	d->head_len = w->p.l4;
	d->out_port = iface_id(e, out);
	d->limit = (uint16_t)out->mtu;
	if (w->f->csum == CSUM_PARTIAL)
		complete_checksum(e, d, w);
	frag_send(&e->frags, index);
	w->f->verdict = FRAME_DROP; /* its bytes were taken */
	w->f->reason = DROP_NONE;
	return true;
}

void engine_take_begin(struct frame *out, uint16_t port)
{
	begin_frame(out, PORT_NONE);
	out->verdict = FRAME_FORWARD;
	out->out_port = port;
}

/* RFC 791 3.1: options without the copy bit are in the first fragment only; no-ops
 * in their place keep the header's length. */
static void hide_options(uint8_t *h, size_t len)
{
	for (size_t i = IP4_OFF + IP4_LEN; i < len && h[i] != 0;) {
		size_t n = h[i] == 1 ? 1 : h[i + 1]; /* checked when it came in */

		if (!(h[i] & 0x80))
			memset(h + i, 1, n);
		i += n;
	}
}

static void head4(struct frame *out, const struct datagram *d, uint32_t n, bool more)
{
	uint8_t *h = out->header;
	uint16_t field = (uint16_t)(d->sent / 8 | (more ? IP4_MF : 0) | (d->df ? IP4_DF : 0));

	if (d->sent > 0)
		hide_options(h, d->head_len);
	put_be16(h + IP4_TOTAL, (uint16_t)(d->head_len - IP4_OFF + n));
	put_be16(h + IP4_FRAG, field);
	put_raw16(h + IP4_CSUM, 0);
	put_raw16(h + IP4_CSUM,
		  (uint16_t)~csum_fold(csum_bytes(h + IP4_OFF, (size_t)d->head_len - IP4_OFF, 0)));
}

static void head6(struct frame *out, const struct datagram *d, uint32_t n, bool more)
{
	uint8_t *h = out->header, *frag = h + d->head_len;

	memset(frag, 0, IP6_FRAG_LEN);
	frag[0] = h[d->next_at];
	h[d->next_at] = PROTO_FRAGMENT;
	put_be16(frag + 2, (uint16_t)(d->sent | more));
	put_be16(frag + 4, (uint16_t)(d->key.id >> 16));
	put_be16(frag + 6, (uint16_t)d->key.id);
	out->header_len = (uint16_t)(out->header_len + IP6_FRAG_LEN);
	put_be16(h + IP6_PLEN, (uint16_t)(out->header_len - IP6_OFF - IP6_LEN + n));
}

bool engine_take_fragment(struct engine *e, struct frame *out)
{
	uint16_t index = frag_sending(&e->frags);
	struct datagram *d;
	uint32_t left, n, room, head;

	if (index == FRAG_NONE)
		return false;
	d = &e->frags.datagrams[index];
	engine_take_begin(out, d->out_port);
	memcpy(out->header, d->head, d->head_len);
	out->header_len = d->head_len;
	out->cookie = index;
	head = d->head_len - (uint32_t)ETH_LEN;
	left = d->total - d->sent;
	n = frag_segs(&e->frags, d, d->sent, left, out);
	if (left > 0 && (n < left || d->sent > 0 || head + left > d->limit)) {
		if (d->key.family == 6)
			head += IP6_FRAG_LEN;
		room = (d->limit - head) & ~7u;
		n = frag_segs(&e->frags, d, d->sent, left < room ? left : room, out);
		if (d->key.family == 6)
			head6(out, d, n, n < left);
		else
			head4(out, d, n, n < left);
	}
	out->len = out->header_len + n;
	d->sent = (uint16_t)(d->sent + n);
	d->refs++;
	e->stats.emitted++;
	if (d->sent == d->total)
		frag_finish(&e->frags);
	return true;
}

void engine_done(struct engine *e, const struct frame *f)
{
	if (f->cookie != UINT32_MAX)
		frag_unref(&e->frags, (uint16_t)f->cookie);
}

/* --- what is needed ------------------------------------------------------------------ */

/* DNS over UDP and IPv4, whose servers are all that Qubes knows. */
static bool maybe_dns(const struct frame *f)
{
	size_t l4 = IP4_OFF + (size_t)(f->header[IP4_OFF] & 15) * 4;

	return f->header[IP4_PROTO] == PROTO_UDP && l4 + UDP_LEN <= f->header_len &&
	       (get_be16(f->header + l4) == PORT_DNS || get_be16(f->header + l4 + 2) == PORT_DNS);
}

bool engine_needs_payload(const struct engine *e, const struct frame *f)
{
	struct ip6_chain c;
	uint16_t type, frag;

	if (f->header_len < ETH_LEN + IP4_LEN || f->nseg == 0)
		return false;
	type = packet_ethertype(f);
	if (type == ETHERTYPE_IP6)
		return f->header_len >= IP6_OFF + IP6_LEN &&
		       ip6_walk(f->header, IP6_OFF, f->header_len, false, &c) == DROP_NONE &&
		       c.frag_at != 0;
	if (type != ETHERTYPE_IP4)
		return false;
	if (e->learners > 0 && maybe_dns(f))
		return true;
	frag = get_be16(f->header + IP4_FRAG);
	return (frag & (IP4_MF | IP4_FRAG_MASK)) ||
	       (!(frag & IP4_DF) && f->gso == GSO_NONE && f->len - ETH_LEN > e->mtu_min);
}
