/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the two tests of the uplink share: a fake host with our domain (5), the
 * netvm (2) as backend, a client (9) whose pages hold payload, and netback.
 */
#ifndef TESTS_UNIT_UPLINK_WORLD_H
#define TESTS_UNIT_UPLINK_WORLD_H

#include "netback/uplink.h"
#include "tests/fake/fake_backend.h"
#include "tests/unit/check.h"

#include <stdlib.h>

#define WORLD_MAC "00:16:3e:5e:6c:01"
#define WORLD_CLIENT 9

struct world {
	struct fake *fake;
	struct fake_use base; /* before any uplink */
	struct netback *nb;
	struct copy_batch *batch;
	struct fake_backend b;
	struct port *port; /* the uplink, or NULL */
	uint64_t now, deadline;
	unsigned int added, up, down, removed;
	struct frame *frames[64];
	uint8_t *page[FRAME_SEG_MAX];
	uint32_t gref[FRAME_SEG_MAX];
};

static inline void world_event(void *arg, struct port *port, enum port_event event)
{
	struct world *w = arg;

	switch (event) {
	case PORT_EVENT_ADDED:
		w->added++;
		w->port = port;
		port->id = 3;
		break;
	case PORT_EVENT_LINK_UP:
		CHECK(port->link);
		w->up++;
		break;
	case PORT_EVENT_LINK_DOWN:
		CHECK(!port->link);
		w->down++;
		break;
	case PORT_EVENT_REMOVED:
		w->removed++;
		w->port = NULL;
		break;
	}
}

/* Time goes on, and everything that wants to happen does. */
static inline void world_run(struct world *w, uint64_t ms)
{
	int i;

	w->now += ms;
	for (i = 0; i < 8; i++)
		w->deadline = netback_poll_store(w->nb, w->now);
}

static inline void world_new_with(struct world *w, port_event_fn *event, void *arg)
{
	struct netback_config config = { .event = event, .arg = arg };
	unsigned int i;

	memset(w, 0, sizeof(*w));
	w->now = 1000000;
	if (fake_new(&w->fake, 5) || copy_batch_new(&w->batch, fake_xen(w->fake)) ||
	    netback_new(&w->nb, fake_xen(w->fake), &config))
		abort();
	for (i = 0; i < 64; i++)
		w->frames[i] = aligned_alloc(64, sizeof(struct frame));
	for (i = 0; i < FRAME_SEG_MAX; i++) {
		w->page[i] = fake_page_new(w->fake);
		w->gref[i] = fake_grant(w->fake, WORLD_CLIENT, w->page[i], true);
	}
	world_run(w, 0);
	w->base = fake_use(w->fake);
}

static inline void world_new(struct world *w)
{
	world_new_with(w, world_event, w);
}

static inline bool world_at_base(const struct world *w)
{
	struct fake_use now = fake_use(w->fake);

	return CHECK(now.shared_pages == w->base.shared_pages) &&
	       CHECK(now.ports == w->base.ports) && CHECK(now.maps == w->base.maps) &&
	       CHECK(now.transactions == 0);
}

/* Both sides to 4. @start is added to all ring indices before the backend looks
 * at them: a multiple of 256. */
static inline void world_up_at(struct world *w, const struct fake_backend_config *config,
			       uint32_t start)
{
	static const struct fake_backend_config all = { 0 };
	struct uplink *u;

	world_new(w);
	fake_backend_plug(&w->b, w->fake, 2, 0, WORLD_MAC);
	fake_backend_offer(&w->b, config ? config : &all);
	world_run(w, 0);
	if (!w->port || !w->port->link)
		abort();
	u = uplink_of(w->port);
	u->rx.req_prod += start;
	u->rx.req_pushed += start;
	u->rx.rsp_cons += start;
	u->tx.req_prod += start;
	u->tx.req_pushed += start;
	u->tx.rsp_cons += start;
	for (unsigned int i = RING_W_REQ_PROD; i <= RING_W_RSP_EVENT; i++) {
		u->rx.page[i] += start;
		u->tx.page[i] += start;
	}
	CHECK_INT(fake_backend_connect(&w->b), 0);
	fake_backend_state(&w->b, 4);
	world_run(w, 0);
}

static inline void world_up(struct world *w, const struct fake_backend_config *config)
{
	world_up_at(w, config, 0);
}

static inline void world_down(struct world *w)
{
	unsigned int i;

	netback_free(&w->nb);
	world_at_base(w);
	CHECK_INT(fake_use(w->fake).watches, 0);
	fake_backend_disconnect(&w->b);
	copy_batch_free(&w->batch);
	for (i = 0; i < 64; i++)
		free(w->frames[i]);
	fake_free(&w->fake);
}

static inline void world_fill(uint8_t *p, size_t len, unsigned int seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 37 + (i >> 8) * 3 + seed);
}

/* A frame of header and segments, in the client's pages (each at most 4096) or in
 * local memory; @whole, if given, gets its bytes. Return: its length. */
static inline size_t world_frame(struct world *w, struct frame *f, unsigned int header_len,
				 const uint16_t *segs, size_t nsegs, bool local, uint8_t *whole)
{
	static uint8_t heap[FRAME_SEG_MAX * XEN_PAGE];
	static unsigned int seed;
	size_t i, at = header_len, from = 0;

	memset(f, 0, sizeof(*f));
	world_fill(f->header, header_len, ++seed);
	f->header_len = (uint16_t)header_len;
	f->domid = WORLD_CLIENT;
	f->nseg = (uint8_t)nsegs;
	if (whole)
		memcpy(whole, f->header, header_len);
	for (i = 0; i < nsegs; i++) {
		uint16_t off = (uint16_t)(local ? 0 : XEN_PAGE - segs[i]);
		uint8_t *src = local ? heap + from : w->page[i] + off;

		world_fill(src, segs[i], seed + (unsigned int)i);
		if (whole)
			memcpy(whole + at, src, segs[i]);
		f->seg[i] = local ? (struct frame_seg){ .local = src, .len = segs[i] }
				  : (struct frame_seg){ .gref = w->gref[i], .off = off,
							.len = segs[i] };
		at += segs[i];
		from += segs[i];
	}
	f->len = (uint32_t)at;
	return at;
}

/* One frame through tx, batch and flush. */
static inline int world_tx(struct world *w, struct frame *f)
{
	int err = w->port->ops->tx(w->port, f, w->batch);

	copy_batch_run(w->batch);
	w->port->ops->tx_flush(w->port);
	return err;
}

static inline size_t frame_len_sum(const struct frame *f)
{
	size_t len = f->header_len, i;

	for (i = 0; i < f->nseg; i++)
		len += f->seg[i].len;
	return len;
}

static inline size_t world_bytes(const struct frame *f, uint8_t *buf, size_t size)
{
	size_t at = f->header_len, i;

	memcpy(buf, f->header, f->header_len);
	for (i = 0; i < f->nseg && at + f->seg[i].len <= size; i++) {
		memcpy(buf + at, f->seg[i].local, f->seg[i].len);
		at += f->seg[i].len;
	}
	return at;
}

static inline unsigned int world_rx_sum(const struct world *w)
{
	const struct uplink *u = uplink_const_of(w->port);

	return u->rx.req_prod - u->rx.rsp_cons + u->rx_nfree + u->rx_held;
}

#endif
