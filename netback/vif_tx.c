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
 * in private memory: a copy of our own is cheaper than an op.
 *
 * A frontend may lack what the frame needs. GSO frames are cut (convert.c): each
 * packet gets slots of its own. A checksum that the frontend would not complete is
 * completed here: the packet is put together in private memory, summed between
 * the two stages of the batch (copy.c), and copied to the guest from there. A
 * packet of several pieces for a guest that takes one slot a packet
 * (feature-sg) fits one, or is dropped. All packets of a frame go in one turn or
 * none does: until there is room for all of them the frame waits as any other.
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
#include "netback/flat.h"
#include "netback/xen.h"

#include <string.h>

/* Data slots that any frontend takes (XEN_NETIF_NR_SLOTS_MIN). */
#define TX_SLOTS_MAX 18

/* The slot that is being filled. */
struct fill {
	struct vif *v;
	struct copy_batch *batch;
	const struct frame *frame;
	bool *failed;	/* of the frame that it is, or is a part of */
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

/* X4.3; @summed: its checksum is completed on the way. */
static uint16_t first_flags(const struct frame *f, bool summed)
{
	uint16_t flags = f->gso != GSO_NONE ? RING_EXTRA_INFO : 0;

	/* data_validated always goes with csum_blank: without it some receivers
	 * compute the checksum of each GSO frame */
	if (f->csum == CSUM_PARTIAL && !summed)
		flags |= RING_RX_CSUM_BLANK | RING_RX_DATA_VALIDATED;
	else if (f->csum == CSUM_VALID || summed)
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

/* X3.1, X3.2; the offset is 0: X3.4 */
static void put_response(struct vif *v, uint32_t idx, uint16_t flags, int16_t status)
{
	struct ring_rx_rsp rsp = {
		.id = v->rx_id[idx & (RING_SLOTS - 1)], .flags = flags, .status = status};

	ring_back_put(&v->rx, idx, &rsp, sizeof(rsp));
}

/* X3.3 */
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
	uint16_t domid = s->v->port.domid;

	if (seg->local)
		copy_to_grant(s->batch, (const uint8_t *)seg->local + at, domid, s->gref, s->used,
			      n, s->failed);
	else
		copy_grant_to_grant(s->batch, s->frame->domid, seg->gref,
				    (uint16_t)(seg->off + at), domid, s->gref, s->used, n,
				    s->failed);
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

/* Staging memory for this, now: what is queued so far runs if it has to. */
static uint8_t *stage(struct fill *s, size_t len)
{
	uint8_t *mem = copy_batch_stage(s->batch, len);

	if (!mem) {
		copy_batch_run(s->batch);
		mem = copy_batch_stage(s->batch, len);
		assert(mem);
	}
	return mem;
}

/* The start of slot 0. @keeps: the frame's header[] stays until the batch runs.
 * Return: index of the first segment that is not in it. */
static uint8_t fill_head(struct fill *s, bool keeps)
{
	const struct frame *f = s->frame;
	const struct frame_seg *seg = &f->seg[0];
	const uint8_t *from = f->header;
	uint8_t *mem = NULL;
	bool both;

	s->used = f->header_len;
	if (f->nseg && seg->local && f->header_len + seg->len <= XEN_PAGE)
		mem = copy_batch_stage(s->batch, f->header_len + seg->len);
	both = mem != NULL;
	if (both) {
		memcpy(mem + f->header_len, seg->local, seg->len);
		s->used = (uint16_t)(s->used + seg->len);
	} else if (!keeps) {
		mem = stage(s, f->header_len);
	}
	if (mem) {
		memcpy(mem, f->header, f->header_len);
		from = mem;
	}
	copy_to_grant(s->batch, from, s->v->port.domid, s->gref, 0, s->used, s->failed);
	return both ? 1 : 0;
}

/* The whole packet by way of private memory, where its checksum is completed. */
static void fill_summed(struct fill *s)
{
	const struct frame *f = s->frame;
	struct frame_seg all = {.local = stage(s, f->len), .len = f->len};

	frame_flatten(f, s->failed, s->batch, all.local);
	copy_sum(s->batch, all.local, f->len, f->csum_start, f->csum_offset, s->failed);
	fill_segment(s, &all, false);
}

/*
 * One packet: @f is @origin, or a part of it that exists only now.
 * @whole: segments are kept whole
 */
static void fill_packet(struct vif *v, struct frame *origin, const struct frame *f, bool sum,
			bool whole, struct copy_batch *batch)
{
	uint32_t idx = v->rx.req_cons;
	struct fill s = {.v = v,
			 .batch = batch,
			 .frame = f,
			 .failed = &origin->copy_failed,
			 .flags = first_flags(f, sum),
			 .first = true,
			 .gso = f->gso != GSO_NONE};

	slot_open(&s);
	if (sum) {
		fill_summed(&s);
	} else {
		for (uint8_t i = fill_head(&s, f == origin); i < f->nseg; i++)
			fill_segment(&s, &f->seg[i], whole);
	}
	slot_close(&s, false);
	v->sent[v->nsent++] = (struct vif_sent){.frame = origin,
						.idx = idx,
						.len = f->len,
						.slots = (uint16_t)(v->rx.req_cons - idx),
						.gso = s.gso,
						.partial = f->csum == CSUM_PARTIAL && !sum};
}

/* --- the port's operations ------------------------------------------------------------ */
/* What is done with a frame, decided before any of it. */
struct tx_plan {
	struct convert_need need;
	struct convert_cut cut;
	uint32_t slots;
	bool whole;
};

/* X3.5, X4.5. Return: 0, or -errno: this frontend can never take it. */
static int plan_frame(const struct vif *v, const struct frame *f, struct tx_plan *p)
{
	uint32_t longest = f->len;
	int ret;

	/* ours to get right, so it is checked, not assumed: a wrong sum would
	 * overrun slots that were not reserved */
	if (frame_check(f) || f->header_len == 0)
		return -EINVAL;
	ret = convert_needed(f, &v->features, FRAME_LEN_MAX, &p->need);
	if (!ret && p->need.cut)
		ret = convert_begin(&p->cut, f);
	if (ret)
		return ret;
	p->whole = false;
	if (p->need.cut) {
		longest = convert_len(&p->cut, 0);
		p->slots = convert_slots(&p->cut, XEN_PAGE);
	} else if (p->need.sum) {
		p->slots = dense_slots(f);
	} else {
		p->slots = whole_slots(f);
		p->whole = p->slots <= TX_SLOTS_MAX;
		if (!p->whole)
			p->slots = dense_slots(f);
		p->slots += f->gso != GSO_NONE;
	}
	if (!v->features.sg && longest > XEN_PAGE)
		return -EOPNOTSUPP;
	/* a ring has no room for it, whatever the guest posts */
	return p->slots <= RING_SLOTS ? 0 : -EMSGSIZE;
}

int vif_tx(struct port *port, struct frame *frame, struct copy_batch *batch)
{
	struct vif *v = vif_of(port);
	struct tx_plan plan;
	uint32_t avail, idx;
	int ret;

	if (!v->connected || v->broken)
		return -ENETDOWN;
	ret = plan_frame(v, frame, &plan);
	if (ret) {
		port->stats.tx_dropped++;
		return ret;
	}
	if (ring_back_avail(&v->rx, &avail)) {
		vif_violation(v, "protocol: impossible producer index of the receive ring");
		return -ENETDOWN;
	}
	/* a packet takes a slot at least: as many fit sent[] as slots */
	if (avail < plan.slots || v->nsent + plan.slots > RING_SLOTS) {
		v->rx_need = plan.slots; /* X3.6 */
		return -EAGAIN;
	}
	v->rx_need = 0;
	idx = v->rx.req_cons;
	if (plan.need.cut) {
		struct frame part;

		while (plan.cut.next < plan.cut.count) {
			convert_next(&plan.cut, &part);
			fill_packet(v, frame, &part, plan.need.sum, false, batch);
		}
	} else {
		fill_packet(v, frame, frame, plan.need.sum, plan.whole, batch);
	}
	/* what was reserved is what was used, or an index would point nowhere */
	assert(v->rx.req_cons - idx == plan.slots);
	return 0;
}

/* hp_361_partial_batch: this packet only; the slots keep their chain of flags, so
 * that netfront stays in step and takes all of its pages back. */
static void fail_packet(struct vif *v, const struct vif_sent *p)
{
	uint16_t slots = p->slots;
	bool gso = p->gso;

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
		const struct vif_sent *p = &v->sent[i];

		if (p->frame->copy_failed) {
			fail_packet(v, p);
			s->tx_dropped++;
			continue;
		}
		port_count_tx(port, p->len, p->gso, p->partial);
	}
	v->nsent = 0;
	vif_notify(v, v->evtchn_rx, ring_back_push(&v->rx, v->rx.req_cons));
}
