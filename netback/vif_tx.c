// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guest's receive ring: descriptors in, bytes into the guest's own pages.
 *
 * The guest posts buffers (one page each); a packet takes one for each piece of
 * up to 4096 bytes and one for each extra, and its responses sit at the very
 * indices of the requests they use: netfront finds its page by the index.
 *
 * Layout. Headers always come from the private copy in the frame. They start
 * slot 0; each further segment is put behind the one before it when it fits
 * there whole, else at the start of a new slot. So a segment is one copy op, and a
 * packet that came in 18 slots of a guest leaves in at most as many. When that
 * takes more than 18 slots (a sender that scatters its packets over small pieces)
 * or a segment is larger than a page (local memory), pieces are packed densely
 * instead: each slot is filled to 4096 bytes, which is the least that is possible,
 * at the price of ops that are cut at slot borders.
 *
 * Headers and a first segment that is in local memory (the uplink's) are gathered
 * in a private page: a copy of our own is cheaper than an op.
 *
 *	64 KiB GSO frame of a Linux guest	18 slots + 1 extra, 19 ops
 *	1500 bytes from a guest, from the uplink	1 slot, 2 ops, 1 op
 *
 * vif_tx() computes what is needed first and starts no packet without it. It
 * writes the responses at once, but they are published only by vif_tx_flush(),
 * when the copies have run; a packet whose copy failed keeps its slots and gets
 * status -1 in all of them, at which netfront drops it and posts the pages again.
 */
#include "netback/vif.h"

#include "netback/copy.h"
#include "netback/xen.h"

#include <string.h>

/* Data slots that any frontend takes (XEN_NETIF_NR_SLOTS_MIN). */
#define TX_SLOTS_MAX 18

/* The slot that is being filled. */
struct fill {
	struct vif *v;
	struct copy_batch *batch;
	struct frame *frame;
	uint32_t idx;	/* ring index of the open slot */
	uint32_t gref;	/* of its page */
	uint16_t used;	/* bytes in it */
	uint16_t flags; /* of the first slot; others have none of their own */
	bool first, gso;
};

void vif_tx_begin(struct vif *v)
{
	v->nsent = 0;
	v->rx_need = 0;
}

/* Slots when each segment stays whole; more than TX_SLOTS_MAX: do not. */
static uint32_t whole_slots(const struct frame *f)
{
	uint32_t slots = 1, used = f->header_len;

	for (uint8_t i = 0; i < f->nseg; i++) {
		if (f->seg[i].len > XEN_PAGE)
			return UINT32_MAX;
		if (used + f->seg[i].len > XEN_PAGE) {
			slots++;
			used = 0;
		}
		used += f->seg[i].len;
	}
	return slots;
}

static uint32_t dense_slots(const struct frame *f)
{
	return (f->len + XEN_PAGE - 1) / XEN_PAGE;
}

/* Whether the frame is what its pieces say: a wrong sum would overrun slots that
 * were not reserved. Ours to get right, so it is checked, not assumed. */
static bool is_consistent(const struct frame *f)
{
	uint32_t sum = f->header_len;

	if (f->header_len == 0 || f->header_len > FRAME_HEADER_MAX || f->nseg > FRAME_SEG_MAX ||
	    f->len > FRAME_LEN_MAX)
		return false;
	for (uint8_t i = 0; i < f->nseg; i++) {
		if (f->seg[i].len > FRAME_LEN_MAX)
			return false;
		sum += f->seg[i].len;
	}
	return sum == f->len;
}

/* The guest's features against what the frame needs. The software that would
 * convert is not here: what a peer cannot take is dropped and counted. */
static bool peer_takes(const struct vif *v, const struct frame *f)
{
	bool v6 = f->header_len >= 14 && f->header[12] == 0x86 && f->header[13] == 0xdd;

	if (f->gso == GSO_TCPV4 && !v->features.gso4)
		return false;
	if (f->gso == GSO_TCPV6 && !v->features.gso6)
		return false;
	if (f->csum == CSUM_PARTIAL && !(v6 ? v->features.csum6 : v->features.csum4))
		return false;
	return v->features.sg || (f->gso == GSO_NONE && f->len <= XEN_PAGE);
}

static uint16_t first_flags(const struct frame *f)
{
	uint16_t flags = f->gso != GSO_NONE ? RING_EXTRA_INFO : 0;

	/* data_validated always goes with csum_blank: without it some receivers
	 * compute the checksum of each GSO frame */
	if (f->gso != GSO_NONE || f->csum == CSUM_PARTIAL)
		flags |= RING_RX_CSUM_BLANK | RING_RX_DATA_VALIDATED;
	else if (f->csum == CSUM_VALID)
		flags |= RING_RX_DATA_VALIDATED;
	return flags;
}

/* --- filling slots ----------------------------------------------------------------- */
static uint32_t take_request(struct vif *v, uint32_t *gref)
{
	uint32_t idx = v->rx.req_cons++;
	struct ring_rx_req req;

	/* hp_155_double_fetch: by value, before the response goes there */
	ring_back_get(&v->rx, idx, &req, sizeof(req));
	v->rx_id[idx & (RING_SLOTS - 1)] = req.id;
	*gref = req.gref;
	return idx;
}

static void put_response(struct vif *v, uint32_t idx, uint16_t flags, int16_t status)
{
	struct ring_rx_rsp rsp = {
		.id = v->rx_id[idx & (RING_SLOTS - 1)], .flags = flags, .status = status};

	ring_back_put(&v->rx, idx, &rsp, sizeof(rsp));
}

static void put_gso_extra(struct vif *v, const struct frame *f)
{
	struct ring_extra e = {.type = RING_EXTRA_GSO,
			       .gso_size = f->gso_size,
			       .gso_type = f->gso == GSO_TCPV4 ? RING_GSO_TCPV4 : RING_GSO_TCPV6};
	uint32_t unused, idx = take_request(v, &unused); /* its page: posted again */

	ring_back_put(&v->rx, idx, &e, sizeof(e));
}

static void slot_close(struct fill *s, bool more)
{
	put_response(s->v, s->idx, s->flags | (more ? RING_MORE_DATA : 0), (int16_t)s->used);
	if (s->first && s->gso)
		put_gso_extra(s->v, s->frame); /* directly behind the first response */
	s->first = false;
	s->flags = 0;
}

static void slot_open(struct fill *s)
{
	s->idx = take_request(s->v, &s->gref);
	s->used = 0;
}

static void fill_copy(struct fill *s, const struct frame_seg *seg, uint32_t at, uint16_t n)
{
	struct frame *f = s->frame;
	uint16_t domid = s->v->port.domid;

	if (seg->local)
		copy_to_grant(s->batch, (const uint8_t *)seg->local + at, domid, s->gref, s->used,
			      n, &f->copy_failed);
	else
		copy_grant_to_grant(s->batch, f->domid, seg->gref, (uint16_t)(seg->off + at),
				    domid, s->gref, s->used, n, &f->copy_failed);
	s->used = (uint16_t)(s->used + n);
}

static void fill_segment(struct fill *s, const struct frame_seg *seg, bool whole)
{
	uint32_t at = 0;

	if (whole && s->used + seg->len > XEN_PAGE) {
		slot_close(s, true);
		slot_open(s);
	}
	while (at < seg->len) {
		uint32_t n = seg->len - at;

		if (s->used == XEN_PAGE) {
			slot_close(s, true);
			slot_open(s);
		}
		if (n > (uint32_t)XEN_PAGE - s->used)
			n = (uint32_t)XEN_PAGE - s->used;
		fill_copy(s, seg, at, (uint16_t)n);
		at += n;
	}
}

/* The start of slot 0. Return: index of the first segment that is not in it. */
static uint8_t fill_head(struct fill *s)
{
	struct frame *f = s->frame;
	const struct frame_seg *seg = &f->seg[0];
	const uint8_t *from = f->header;
	uint8_t *stage = NULL;

	s->used = f->header_len;
	if (f->nseg && seg->local && f->header_len + seg->len <= XEN_PAGE)
		stage = copy_batch_stage(s->batch);
	if (stage) {
		memcpy(stage, f->header, f->header_len);
		memcpy(stage + f->header_len, seg->local, seg->len);
		s->used = (uint16_t)(s->used + seg->len);
		from = stage;
	}
	copy_to_grant(s->batch, from, s->v->port.domid, s->gref, 0, s->used, &f->copy_failed);
	return stage ? 1 : 0;
}

static void fill_frame(struct vif *v, struct frame *f, struct copy_batch *batch, bool whole)
{
	struct fill s = {.v = v,
			 .batch = batch,
			 .frame = f,
			 .flags = first_flags(f),
			 .first = true,
			 .gso = f->gso != GSO_NONE};

	slot_open(&s);
	for (uint8_t i = fill_head(&s); i < f->nseg; i++)
		fill_segment(&s, &f->seg[i], whole);
	slot_close(&s, false);
}

/* --- the port's operations ------------------------------------------------------------ */
int vif_tx(struct port *port, struct frame *frame, struct copy_batch *batch)
{
	struct vif *v = vif_of(port);
	uint32_t whole, need, avail, idx;

	if (!v->connected || v->broken)
		return -ENETDOWN;
	if (!is_consistent(frame) || !peer_takes(v, frame)) {
		port->stats.tx_dropped++;
		return -EOPNOTSUPP;
	}
	if (ring_back_avail(&v->rx, &avail)) {
		vif_violation(v, "protocol: impossible producer index of the receive ring");
		return -ENETDOWN;
	}
	whole = whole_slots(frame);
	need = whole <= TX_SLOTS_MAX ? whole : dense_slots(frame);
	need += frame->gso != GSO_NONE;
	if (avail < need || v->nsent == RING_SLOTS) {
		v->rx_need = need;
		return -EAGAIN;
	}
	v->rx_need = 0;
	idx = v->rx.req_cons;
	fill_frame(v, frame, batch, whole <= TX_SLOTS_MAX);
	/* what was reserved is what was used, or an index would point nowhere */
	assert(v->rx.req_cons - idx == need);
	v->sent[v->nsent++] =
		(struct vif_sent){.frame = frame, .idx = idx, .slots = (uint16_t)need};
	return 0;
}

/* hp_361_partial_batch: this packet only; the slots keep their chain of flags, so
 * that netfront stays in step and takes all of its pages back. */
static void fail_packet(struct vif *v, const struct vif_sent *p)
{
	bool gso = p->frame->gso != GSO_NONE;
	uint16_t slots = p->slots;

	for (uint16_t i = 0; i < slots; i++) {
		uint16_t flags = i + 1 < slots ? RING_MORE_DATA : 0;

		if (gso && i == 1)
			continue; /* the extra stays what it is */
		if (gso && i == 0) {
			flags = slots > 2 ? RING_MORE_DATA : 0;
			flags |= RING_EXTRA_INFO;
		}
		put_response(v, p->idx + i, flags, RING_STATUS_ERROR);
	}
}

void vif_tx_flush(struct port *port)
{
	struct vif *v = vif_of(port);
	struct port_stats *s = &port->stats;

	if (!v->connected || v->broken || v->nsent == 0)
		return;
	for (uint32_t i = 0; i < v->nsent; i++) {
		const struct frame *f = v->sent[i].frame;

		if (f->copy_failed) {
			fail_packet(v, &v->sent[i]);
			s->tx_dropped++;
			continue;
		}
		s->tx_frames++;
		s->tx_bytes += f->len;
		s->tx_gso += f->gso != GSO_NONE;
		s->tx_partial += f->csum == CSUM_PARTIAL;
	}
	v->nsent = 0;
	vif_notify(v, v->evtchn_rx, ring_back_push(&v->rx, v->rx.req_cons));
}
