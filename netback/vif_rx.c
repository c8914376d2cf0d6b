// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guest's transmit ring: requests in, descriptors out, responses back.
 *
 * A packet is a chain of slots: the first request (its size is that of the whole
 * packet), extras when it says so, then further requests. read_chain() copies a
 * whole chain out of the ring and judges it before anything is done with it; it
 * ends in one of three ways:
 *
 *	CHAIN_OK	a frame; its slots are answered after vif_complete()
 *	CHAIN_ERROR	no packet for us: all its slots are answered ERROR at once
 *	CHAIN_KILL	no driver does this: the vif is closed, the ring not read
 *			again
 *
 * Every slot that was taken gets exactly one response, with the id that was read
 * once and validated by nobody but its owner. Frames are completed in any order,
 * but answered in the ring's: pend[] keeps the answer of each slot until all
 * before it have theirs. So the index that we published says which requests are
 * done, and a successor of ours that finds the rings as we left them (kill -9)
 * goes on with exactly the others. netfront gives a device up for an answer that
 * comes twice. A frame that waits holds up the answers behind it, which are the
 * same client's, for at most as long as frames may wait.
 *
 * Only the headers are fetched here: up to FRAME_HEADER_COPY bytes, gathered over
 * as many slots as they are spread over (hp_423_tiny_header_slots). The rest is
 * left where it is and described by the frame's segments.
 */
#include "netback/vif.h"

#include "netback/copy.h"
#include "netback/flat.h"
#include "netback/xen.h"

/* 64 frames a port and turn come from the caller's n (hostile-peers.md, 16). */

enum chain_end { CHAIN_OK, CHAIN_ERROR, CHAIN_KILL };

struct chain {
	struct ring_tx_req req[1 + RING_CHAIN_FATAL];
	uint32_t n;	 /* data requests */
	uint32_t extras;
	uint8_t gso_type; /* 0: none */
	uint16_t gso_size;
	uint32_t total;	 /* bytes of the packet */
	const char *why; /* of CHAIN_KILL */
};

static_assert(FRAME_SEG_MAX >= 1 + RING_CHAIN_MAX, "a segment for each data slot (hp_432)");

void vif_rx_begin(struct vif *v)
{
	memset(v->pend, 0, sizeof(v->pend));
}

static enum chain_end kill_for(struct chain *c, const char *why)
{
	c->why = why;
	return CHAIN_KILL;
}

/*
 * X2.6, X4.1: the extras between the first request and the others. Types that we never
 * offered (multicast filter, hash, XDP) carry nothing that we would use; those
 * that turn the request into something else than a packet are errors.
 */
static enum chain_end read_extras(struct vif *v, struct chain *c, uint32_t avail)
{
	enum chain_end end = CHAIN_OK;
	struct ring_extra e;

	do {
		if (c->n + c->extras >= avail)
			return kill_for(c, "protocol: a promised extra is missing");
		/* hp_155_double_fetch: one copy, nothing else is looked at */
		ring_back_get(&v->tx, v->tx.req_cons + c->n + c->extras, &e, sizeof(e));
		c->extras++;
		switch (e.type) {
		case RING_EXTRA_GSO:
			if (e.gso_type != RING_GSO_TCPV4 && e.gso_type != RING_GSO_TCPV6)
				return kill_for(c, "protocol: unknown GSO type");
			if (e.gso_size == 0)
				return kill_for(c, "protocol: GSO size 0");
			c->gso_type = e.gso_type;
			c->gso_size = e.gso_size;
			break;
		case RING_EXTRA_MCAST_ADD:
		case RING_EXTRA_MCAST_DEL:
			end = CHAIN_ERROR; /* a dummy request: no packet */
			break;
		case RING_EXTRA_HASH:
		case RING_EXTRA_XDP:
			break; /* hp_270_ctrl_ring_not_offered: ignored */
		default:
			return kill_for(c, "protocol: unknown extra");
		}
	} while (e.flags & RING_EXTRA_MORE);
	return end;
}

/* X2.2: the first request's size is the total, so its own share is what the others
 * leave. X2.12, hp_448_zero_fragment: a size of 0 is legal in any of them. */
static enum chain_end check_sizes(struct chain *c, enum chain_end end)
{
	uint32_t rest = c->req[0].size;

	c->total = rest;
	for (uint32_t i = 1; i < c->n; i++) {
		uint32_t size = c->req[i].size;

		if ((uint32_t)c->req[i].offset + size > XEN_PAGE) /* X2.7 */
			return kill_for(c, "protocol: a fragment crosses its page");
		/* X2.10: a frame of 64 KiB and more wraps the field: not malice */
		if (size > rest)
			end = CHAIN_ERROR;
		rest -= size <= rest ? size : rest;
	}
	if (end != CHAIN_OK)
		return end;
	c->req[0].size = (uint16_t)rest;
	if ((uint32_t)c->req[0].offset + rest > XEN_PAGE)
		return kill_for(c, "protocol: a fragment crosses its page");
	return c->total < 14 ? CHAIN_ERROR : CHAIN_OK; /* X2.11 */
}

/* X2.1: the first request, its extras, the other requests. X2.3: what flags say of
 * checksums and extras counts in the first one only. */
static enum chain_end read_chain(struct vif *v, struct chain *c, uint32_t avail)
{
	enum chain_end end = CHAIN_OK, ret;
	bool more;

	c->n = 1;
	c->extras = 0;
	c->gso_type = 0;
	ring_back_get(&v->tx, v->tx.req_cons, &c->req[0], sizeof(c->req[0]));
	if (c->req[0].flags & RING_EXTRA_INFO) {
		end = read_extras(v, c, avail);
		if (end == CHAIN_KILL)
			return end;
	}
	more = c->req[0].flags & RING_MORE_DATA;
	while (more) {
		struct ring_tx_req *r = &c->req[c->n];

		if (c->n + c->extras >= avail) /* X2.5 */
			return kill_for(c, "protocol: half a packet was published");
		if (c->n > RING_CHAIN_FATAL) /* X2.9 */
			return kill_for(c, "protocol: a packet of too many slots");
		ring_back_get(&v->tx, v->tx.req_cons + c->n + c->extras, r, sizeof(*r));
		c->n++;
		more = r->flags & RING_MORE_DATA;
	}
	ret = check_sizes(c, end);
	if (ret == CHAIN_KILL)
		return ret;
	return c->n > 1 + RING_CHAIN_MAX ? CHAIN_ERROR : ret; /* X2.8 */
}

/* --- responses ------------------------------------------------------------------ */
static struct vif_pend *pend_at(struct vif *v, uint32_t idx)
{
	return &v->pend[idx & (RING_SLOTS - 1)];
}

/* X2.3, X2.14: note what the slots of a chain are: data, extras, the other data. No slot is in
 * use: a request that was not answered keeps its place, and a ring has 256. */
static void pend_chain(struct vif *v, const struct chain *c)
{
	uint32_t idx = v->tx.req_cons;

	*pend_at(v, idx++) = (struct vif_pend){.id = c->req[0].id};
	for (uint32_t i = 0; i < c->extras; i++)
		*pend_at(v, idx++) = (struct vif_pend){.extra = true};
	for (uint32_t i = 1; i < c->n; i++)
		*pend_at(v, idx++) = (struct vif_pend){.id = c->req[i].id};
}

static void pend_done(struct vif *v, uint32_t idx, uint32_t slots, int16_t status)
{
	for (; slots > 0; slots--, idx++) {
		struct vif_pend *p = pend_at(v, idx);

		p->status = p->extra ? RING_STATUS_NULL : status;
		p->done = true;
	}
}

/**
 * vif_complete() - all slots of a frame can be answered (X2.13, X2.14)
 *
 * A frame of an earlier connection is void: its slots are gone with the ring
 * (hp_350_connect_churn).
 */
void vif_complete(struct port *port, struct frame *frame, bool ok)
{
	struct vif *v = vif_of(port);

	if (!v->connected || frame->in_generation != port->generation ||
	    frame->cookie >= RING_SLOTS)
		return;
	if (!ok)
		port->stats.rx_errors++;
	pend_done(v, frame->cookie, (uint32_t)frame->cookie_slots + frame->cookie_extras,
		  ok ? RING_STATUS_OKAY : RING_STATUS_ERROR);
	frame->cookie = UINT32_MAX; /* a second call does nothing */
}

void vif_rx_flush(struct port *port)
{
	struct vif *v = vif_of(port);
	uint32_t idx = v->tx.rsp_prod;

	if (!v->connected || v->broken)
		return;
	for (; idx != v->tx.req_cons && pend_at(v, idx)->done; idx++) {
		const struct vif_pend *p = pend_at(v, idx);
		/* hp_216_no_leak_in_slots: all of the response is written */
		struct ring_tx_rsp rsp = {.id = p->id, .status = p->status};

		ring_back_put(&v->tx, idx, &rsp, sizeof(rsp));
	}
	if (idx != v->tx.rsp_prod)
		vif_notify(v, v->evtchn_tx, ring_back_push(&v->tx, idx)); /* X2.15 */
}

/* --- frames --------------------------------------------------------------------- */
static void frame_of_chain(struct vif *v, struct frame *f, const struct chain *c)
{
	frame_begin(f, &v->port);
	f->len = c->total;
	if (c->req[0].flags & RING_TX_CSUM_BLANK)
		f->csum = CSUM_PARTIAL;
	else if (c->req[0].flags & RING_TX_DATA_VALIDATED)
		f->csum = CSUM_VALID;
	if (c->gso_type) { /* X4.2: the parser makes it partial if it is not */
		f->gso = c->gso_type == RING_GSO_TCPV4 ? GSO_TCPV4 : GSO_TCPV6;
		f->gso_size = c->gso_size;
	}
}

/*
 * Header bytes by copy, the rest as segments. hp_423_tiny_header_slots,
 * hp_432_gather_bound: at most one copy a slot, and a segment for each slot's
 * remainder, so the bounds are those of the chain. Bytes are fetched once: the
 * part of a slot that was copied is not in any segment.
 */
static void frame_gather(struct frame *f, const struct chain *c, struct copy_batch *batch)
{
	uint32_t want = c->total <= FRAME_HEADER_MAX ? c->total : FRAME_HEADER_COPY;

	for (uint32_t i = 0; i < c->n; i++) {
		const struct ring_tx_req *r = &c->req[i];
		uint32_t take = want - f->header_len;

		if (take > r->size)
			take = r->size;
		if (take) {
			copy_from_grant(batch, f->domid, r->gref, r->offset,
					f->header + f->header_len, (uint16_t)take,
					&f->copy_failed);
			f->header_len = (uint16_t)(f->header_len + take);
		}
		if (r->size > take)
			f->seg[f->nseg++] = (struct frame_seg){.gref = r->gref,
							       .off = (uint16_t)(r->offset + take),
							       .len = r->size - take};
	}
}

size_t vif_rx_burst(struct port *port, struct frame **frames, size_t n, struct copy_batch *batch)
{
	struct vif *v = vif_of(port);
	struct chain c;
	uint32_t avail;
	size_t got = 0;

	if (!v->connected || v->broken)
		return 0;
	/* X2.4, hp_039_ring_garbage; one snapshot for the whole burst */
	if (ring_back_avail(&v->tx, &avail)) {
		vif_violation(v, "protocol: impossible producer index of the transmit ring");
		return 0;
	}
	while (got < n && avail > 0) {
		enum chain_end end = read_chain(v, &c, avail);
		uint32_t idx = v->tx.req_cons;
		struct frame *f = frames[got];

		if (end == CHAIN_KILL) {
			vif_violation(v, c.why);
			break;
		}
		pend_chain(v, &c);
		v->tx.req_cons += c.n + c.extras;
		avail -= c.n + c.extras;
		if (end == CHAIN_ERROR) {
			port->stats.rx_errors++;
			pend_done(v, idx, c.n + c.extras, RING_STATUS_ERROR);
			continue;
		}
		frame_of_chain(v, f, &c);
		f->cookie = idx & (RING_SLOTS - 1);
		f->cookie_slots = (uint16_t)c.n;
		f->cookie_extras = (uint16_t)c.extras;
		frame_gather(f, &c, batch);
		port_count_rx(port, f);
		got++;
	}
	return got;
}
