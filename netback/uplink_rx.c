/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames from the backend.
 *
 * We post empty pages; the backend copies packets into them and answers in the
 * same ring slots. A response is matched to its page by the slot it is in, never
 * by the id it carries (X7.8), so the backend cannot make us confuse pages. Every slot
 * that was answered is consumed exactly once, data, extra or rubbish, and its
 * page is then in one of three places:
 *
 *	posted (in the ring) + free + held by frames = 256	hp_457_rx_accounting
 *
 * The backend can still write to a page that holds a packet. So up to 192 bytes
 * are copied, once, into frame->header[] before anybody looks at them, and the
 * rest is payload which nobody interprets (hp_155_double_fetch). A page whose
 * bytes all went into header[] is free again at once; the pages of a frame's
 * payload form a list that complete() gives back.
 *
 * A malformed packet is dropped whole and the ring stays in step
 * (hp_405_bad_rx_response); a backend that keeps sending them, or whose producer
 * index cannot be, is disconnected.
 */
#include "netback/uplink.h"
#include "netback/flat.h"

#include <string.h>

/* One packet as the responses describe it. */
struct rx_packet {
	struct {
		uint16_t page, off, len;
	} slot[UPLINK_RX_SLOTS];
	unsigned int nslots;
	uint32_t len;
	uint16_t flags;
	uint16_t gso_size;
	uint8_t gso_type; /* 0: none */
	bool bad;
};

void uplink_rx_init(struct uplink *u)
{
	unsigned int i;

	u->rx_nfree = UPLINK_PAGES;
	u->rx_held = 0;
	u->rx_bad = 0;
	for (i = 0; i < UPLINK_PAGES; i++)
		u->rx_free[i] = (uint16_t)(UPLINK_PAGES - 1 - i);
}

static uint8_t *rx_page(const struct uplink *u, unsigned int page)
{
	return u->rx_mem + (size_t)page * XEN_PAGE;
}

static void rx_check(const struct uplink *u)
{
	assert(u->rx.req_prod - u->rx.rsp_cons + u->rx_nfree + u->rx_held == UPLINK_PAGES);
}

static void rx_release(struct uplink *u, uint16_t page)
{
	assert(u->rx_nfree < UPLINK_PAGES);
	u->rx_free[u->rx_nfree++] = page;
}

/* Take the response in the next slot, and with it the slot's page. */
static uint16_t rx_take(struct uplink *u, void *rsp)
{
	uint32_t idx = u->rx.rsp_cons++;

	ring_front_get(&u->rx, idx, rsp, RING_SLOT_RX);
	return u->rx_at[idx & (RING_SLOTS - 1)];
}

/* The extra slots behind the first response; their pages carry nothing. */
static void rx_extras(struct uplink *u, uint32_t *avail, struct rx_packet *p)
{
	struct ring_extra extra;

	do {
		if (*avail == 0) {
			p->bad = true; /* the chain does not end */
			return;
		}
		(*avail)--;
		rx_release(u, rx_take(u, &extra));
		if (extra.type != RING_EXTRA_GSO || p->gso_type || extra.gso_size == 0 ||
		    (extra.gso_type != RING_GSO_TCPV4 && extra.gso_type != RING_GSO_TCPV6)) {
			p->bad = true; /* we offered no other */
			continue;
		}
		p->gso_type = extra.gso_type;
		p->gso_size = extra.gso_size;
	} while (extra.flags & RING_EXTRA_MORE);
}

static void rx_data(struct uplink *u, uint16_t page, const struct ring_rx_rsp *rsp,
		    struct rx_packet *p)
{
	int32_t len = rsp->status;

	/* X3.4, X3.8 */
	if (len < 0 || (uint32_t)rsp->offset + (uint32_t)len > XEN_PAGE ||
	    p->nslots == UPLINK_RX_SLOTS)
		p->bad = true;
	if (p->bad || len == 0) {
		rx_release(u, page);
		return;
	}
	p->slot[p->nslots].page = page;
	p->slot[p->nslots].off = rsp->offset;
	p->slot[p->nslots].len = (uint16_t)len;
	p->nslots++;
	p->len += (uint32_t)len;
}

/* Consume the slots of one packet; *avail is at least 1. */
static void rx_parse(struct uplink *u, uint32_t *avail, struct rx_packet *p)
{
	struct ring_rx_rsp rsp;
	uint16_t page = rx_take(u, &rsp);
	unsigned int i;

	(*avail)--;
	p->nslots = 0;
	p->len = 0;
	p->gso_size = 0;
	p->gso_type = 0;
	p->bad = (rsp.flags & RING_RX_GSO_PREFIX) != 0; /* obsolete: not offered */
	p->flags = rsp.flags;
	if (rsp.flags & RING_EXTRA_INFO)
		rx_extras(u, avail, p);
	rx_data(u, page, &rsp, p);
	while (rsp.flags & RING_MORE_DATA) {
		if (*avail == 0) {
			p->bad = true;
			break;
		}
		(*avail)--;
		page = rx_take(u, &rsp);
		rx_data(u, page, &rsp, p);
	}
	if (p->len == 0 || p->len > FRAME_LEN_MAX)
		p->bad = true;
	if (!p->bad)
		return;
	for (i = 0; i < p->nslots; i++)
		rx_release(u, p->slot[i].page);
	u->port.stats.rx_errors++;
	if (++u->rx_bad == 1)
		device_wants_step(u->env, &u->port);
	if (u->rx_bad > UPLINK_BAD_MAX)
		uplink_break(u, "too many malformed packets");
}

/* Copy what the backend may be rewriting at this moment. The barriers keep the
 * compiler from reading the page a second time in place of the copy. */
static void rx_copy(uint8_t *dst, const uint8_t *shared, size_t len)
{
	__asm__ volatile("" ::: "memory");
	memcpy(dst, shared, len);
	__asm__ volatile("" ::: "memory");
}

/* The first bytes into header[], the rest as segments; the pages behind
 * segments are the frame's, the others free. */
static void rx_bytes(struct uplink *u, const struct rx_packet *p, struct frame *f)
{
	uint32_t want = p->len < FRAME_HEADER_COPY ? p->len : FRAME_HEADER_COPY;
	uint16_t head = UPLINK_NONE;
	unsigned int i;

	for (i = 0; i < p->nslots; i++) {
		uint8_t *bytes = rx_page(u, p->slot[i].page) + p->slot[i].off;
		uint32_t left = p->slot[i].len;
		uint32_t n = left < want ? left : want;

		rx_copy(f->header + f->header_len, bytes, n);
		f->header_len = (uint16_t)(f->header_len + n);
		want -= n;
		left -= n;
		if (left == 0) {
			rx_release(u, p->slot[i].page);
			continue;
		}
		f->seg[f->nseg++] = (struct frame_seg){ .local = bytes + n, .len = left };
		u->rx_next[p->slot[i].page] = head;
		head = p->slot[i].page;
		u->rx_held++;
		f->cookie_slots++;
	}
	f->cookie = head;
	f->len = p->len;
}

static void rx_meta(const struct rx_packet *p, struct frame *f)
{
	if (p->gso_type) { /* X4.2: the parser makes it partial if it is not */
		f->gso = p->gso_type == RING_GSO_TCPV4 ? GSO_TCPV4 : GSO_TCPV6;
		f->gso_size = p->gso_size;
	}
	if (p->flags & RING_RX_CSUM_BLANK)
		f->csum = CSUM_PARTIAL;
	else if (p->flags & RING_RX_DATA_VALIDATED)
		f->csum = CSUM_VALID;
}

size_t uplink_rx_burst(struct port *port, struct frame **frames, size_t n,
		       struct copy_batch *batch)
{
	struct uplink *u = uplink_of(port);
	struct rx_packet p;
	uint32_t avail;
	size_t k = 0;

	(void)batch; /* the backend has copied already: all is local */
	if (!u->connected || u->broken)
		return 0;
	if (ring_front_avail(&u->rx, &avail)) {
		uplink_break(u, "receive ring: impossible producer index");
		return 0;
	}
	while (k < n && avail && !u->broken) {
		struct frame *f = frames[k];

		rx_parse(u, &avail, &p);
		if (p.bad)
			continue;
		frame_begin(f, port);
		rx_bytes(u, &p, f);
		rx_meta(&p, f);
		port_count_rx(port, f);
		k++;
	}
	rx_check(u);
	return k;
}

void uplink_rx_complete(struct port *port, struct frame *f, bool ok)
{
	struct uplink *u = uplink_of(port);
	uint32_t page = f->cookie;

	if (!ok)
		port->stats.rx_errors++;
	if (!u->connected || f->in_generation != port->generation)
		return;
	while (page < UPLINK_PAGES) {
		uint16_t next = u->rx_next[page];

		assert(u->rx_held > 0);
		u->rx_held--;
		rx_release(u, (uint16_t)page);
		page = next;
	}
	f->cookie = UPLINK_NONE;
}

void uplink_rx_flush(struct port *port)
{
	struct uplink *u = uplink_of(port);

	if (!u->connected || u->broken || u->rx_nfree == 0)
		return;
	rx_check(u);
	/* as many pages as slots: there is room for all that are free */
	while (u->rx_nfree) {
		uint16_t page = u->rx_free[--u->rx_nfree];
		uint32_t slot = u->rx.req_prod & (RING_SLOTS - 1);
		struct ring_rx_req req = { .id = (uint16_t)slot, .gref = u->rx_gref[page] };

		u->rx_at[slot] = page;
		ring_front_put(&u->rx, u->rx.req_prod++, &req, sizeof(req));
	}
	if (ring_front_push(&u->rx)) {
		u->env->xen->ops->notify(u->env->xen, u->rx_evtchn);
		port->stats.notify_sent++;
	} else {
		port->stats.notify_suppressed++;
	}
}
