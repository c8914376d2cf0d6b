// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A hostile client on both of its rings, next to an honest one.
 *
 * The input is a script: which slots it writes, which indices it claims, what it
 * posts, which copies fail, when it disconnects. After each turn:
 *
 *	- nothing was read or written out of bounds (ASan), no assertion fired
 *	- as many responses were published as requests were taken, once all frames
 *	  are complete
 *	- the honest client's packet still passes
 *	- at the end everything is released
 */
#include "netback/vif.h"
#include "tests/fake/rig.h"

#include <stdlib.h>
#include <string.h>

struct input {
	const uint8_t *p;
	size_t n;
};

static uint32_t take(struct input *in, size_t bytes)
{
	uint32_t v = 0;

	while (bytes-- > 0 && in->n > 0) {
		v = v << 8 | *in->p++;
		in->n--;
	}
	return v;
}

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* One slot of the transmit ring: mostly plausible, so that chains get long. */
static void put_slot(struct input *in, struct front *fr)
{
	uint8_t kind = (uint8_t)take(in, 1);
	struct ring_tx_req req = {.flags = (uint16_t)(kind & 0x0f), .id = (uint16_t)kind};
	struct front_buf *b = &fr->tx_buf[kind];

	if (kind & 0x80) { /* an extra, or nonsense */
		uint32_t word = take(in, 4);
		struct ring_extra e = {.type = (uint8_t)(word & 7),
				       .flags = (uint8_t)(word >> 3 & 1),
				       .gso_type = (uint8_t)(word >> 4 & 3),
				       .gso_size = (uint16_t)(word >> 8)};

		memset(&req, 0, sizeof(req));
		memcpy(&req, &e, sizeof(e));
	} else {
		req.size = (uint16_t)take(in, 2);
		req.offset = kind & 0x40 ? (uint16_t)take(in, 2) : 0;
		if (!(kind & 0x40))
			req.size %= 4097;
		req.gref = b->gref ? b->gref : take(in, 1);
	}
	ring_front_put(&fr->tx, fr->tx.req_prod++, &req, sizeof(req));
}

static void act(struct input *in, struct rig *r, struct front *fr)
{
	uint8_t op = (uint8_t)take(in, 1);
	uint16_t id;

	switch (op % 10) {
	case 0:
	case 1:
	case 2:
	case 3:
		for (uint32_t i = take(in, 1) % 24 + 1; i > 0; i--)
			put_slot(in, fr);
		ring_front_push(&fr->tx);
		break;
	case 4: /* a real buffer behind the grefs */
		front_buf(fr, &id);
		fr->tx_buf[id].busy = true;
		break;
	case 5:
		front_post(fr, take(in, 1));
		break;
	case 6:
		fake_fail(r->f, FAKE_COPY_OP, take(in, 1) % 64 + 1, take(in, 1) % 8,
			  FAKE_GNTST_BAD_GREF);
		break;
	case 7: /* claims about the indices */
		ring_store(take(in, 1) & 1 ? fr->tx.page : fr->rx.page, take(in, 1) % 4,
			   take(in, 4));
		break;
	case 8: /* any byte of either page */
		id = (uint16_t)take(in, 2);
		((volatile uint8_t *)(id & 0x8000 ? fr->tx_page : fr->rx_page))[id % XEN_PAGE] =
			(uint8_t)take(in, 1);
		break;
	case 9:
		fr->tx.rsp_cons = ring_load(fr->tx.page, RING_W_RSP_PROD);
		front_set_state(fr, take(in, 1) % 8);
		rig_poll(r);
		break;
	}
}

/* The honest pair of one client with itself: its packet comes back whole. */
static void honest(struct rig *r, struct front *fr, struct port *port)
{
	static uint8_t bytes[3000], got[4000];
	struct front_packet fp = {.data = bytes, .len = sizeof(bytes)};

	fake_fail(r->f, FAKE_COPY_OP, 0, 0, 0);
	bytes[0]++;
	must(port->link && front_send(fr, &fp));
	must(rig_move(r, port, port) == 1);
	must(front_recv(fr, got, sizeof(got), NULL, false) == (long)sizeof(bytes));
	must(memcmp(got, bytes, sizeof(bytes)) == 0);
	front_reap(fr);
	must(front_in_flight(fr) == 0 && fr->bad == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	static struct front bad, good;
	struct front_config few = {.rx_post = 40};
	struct fake_use u;
	struct port *pb, *pg;
	struct rig r;

	rig_start(&r);
	pg = rig_plug(&r, &good, 3, &few);
	few.start_index = 0xffffffc0;
	pb = rig_plug(&r, &bad, 2, &few);
	must(pg && pb);
	while (in.n > 0) {
		act(&in, &r, &bad);
		if (!rig_port(&r, "vif2.0"))
			break;
		if (pb->link) {
			const struct vif *v = vif_of(pb);

			/* its packets to itself: both of its rings are at work */
			rig_move(&r, pb, pb);
			must(!pb->link || v->tx.rsp_prod == v->tx.req_cons);
			must(!pb->link || v->rx.rsp_prod == v->rx.req_cons);
			if (pb->link)
				pb->ops->rx_arm(pb);
		}
		rig_poll(&r);
	}
	honest(&r, &good, pg);
	rig_stop(&r);
	u = fake_use(r.f);
	must(u.maps + u.ports + u.watches + u.shared_pages + u.transactions == 0);
	fake_free(&r.f);
	return 0;
}
