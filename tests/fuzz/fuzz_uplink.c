/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile netvm: a script of what the backend, the toolstack and our own loop
 * do, one after the other. Ring slots, indices, ring bytes, states, nodes and
 * copy results are the input's.
 *
 * After each step: every page of the uplink is in exactly one place. At the end:
 * nothing is shared, bound or watched any more.
 */
#include "tests/unit/uplink_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size);

struct script {
	const uint8_t *p;
	size_t left;
};

struct fuzz {
	struct world w;
	struct frame *held[32]; /* received, not completed */
	unsigned int nheld;
	struct frame *spare[32];
	unsigned int nspare;
};

static uint8_t buf[70000];

static uint8_t u8(struct script *s)
{
	if (s->left == 0)
		return 0;
	s->left--;
	return *s->p++;
}

static uint16_t u16(struct script *s)
{
	uint16_t hi = u8(s);

	return (uint16_t)(hi << 8 | u8(s));
}

/* What the daemon does: frames of a link that went down are forgotten. */
static void fuzz_event(void *arg, struct port *port, enum port_event event)
{
	struct fuzz *z = arg;

	world_event(&z->w, port, event);
	if (event != PORT_EVENT_LINK_DOWN)
		return;
	while (z->nheld)
		z->spare[z->nspare++] = z->held[--z->nheld];
	fake_backend_disconnect(&z->w.b); /* its view of our pages ends, too */
	z->w.b.connected = false;
}

static void check_pages(const struct fuzz *z)
{
	const struct uplink *u;
	unsigned int i, flying = 0;

	if (!z->w.port)
		return;
	u = uplink_const_of(z->w.port);
	if (!u->connected)
		return;
	for (i = 0; i < UPLINK_PAGES; i++)
		flying += u->tx_flying[i];
	if (flying + u->tx_nfree + u->npieces != UPLINK_PAGES)
		abort();
	if (u->rx.req_prod - u->rx.rsp_cons + u->rx_nfree + u->rx_held != UPLINK_PAGES)
		abort();
}

static void do_tx(struct fuzz *z, struct script *s)
{
	uint16_t segs[FRAME_SEG_MAX];
	unsigned int nsegs = u8(s) % (FRAME_SEG_MAX + 1), i;
	unsigned int header_len = u8(s) + 1u;
	bool local = u8(s) & 1;
	struct frame *f = z->w.frames[63];

	for (i = 0; i < nsegs; i++)
		segs[i] = (uint16_t)(u16(s) % 4097);
	world_frame(&z->w, f, header_len, segs, nsegs, local, NULL);
	f->csum = u8(s) % 3;
	f->csum_start = u8(s);
	f->csum_offset = u8(s);
	f->gso = u8(s) % 3;
	f->gso_size = u16(s);
	if (nsegs && (u8(s) & 3) == 0)
		f->seg[0].gref = 0xdead;
	(void)world_tx(&z->w, f);
}

static void do_rx(struct fuzz *z, struct script *s)
{
	struct port *port = z->w.port;
	unsigned int n = u8(s) % 33, i;

	if (n > z->nspare)
		n = z->nspare;
	for (i = 0; i < n; i++)
		z->w.frames[i] = z->spare[z->nspare - 1 - i];
	i = (unsigned int)port->ops->rx_burst(port, z->w.frames, n, z->w.batch);
	for (n = 0; n < i; n++) {
		struct frame *f = z->w.frames[n];

		z->nspare--;
		z->held[z->nheld++] = f;
		if (frame_len_sum(f) != f->len || f->header_len > 192 || f->nseg > FRAME_SEG_MAX ||
		    f->len > FRAME_LEN_MAX || f->header_len < (f->len < 192 ? f->len : 192))
			abort();
		world_bytes(f, buf, sizeof(buf)); /* ASan looks at the segments */
	}
}

static void do_complete(struct fuzz *z, struct script *s)
{
	unsigned int i;
	struct frame *f;

	if (!z->nheld)
		return;
	i = u8(s) % z->nheld;
	f = z->held[i];
	z->held[i] = z->held[--z->nheld];
	z->w.port->ops->complete(z->w.port, f, u8(s) & 1);
	z->spare[z->nspare++] = f;
}

/* The backend, on rings that it may have ruined itself. */
static void do_backend(struct fuzz *z, struct script *s)
{
	struct fake_backend *b = &z->w.b;
	struct ring_rx_rsp rsp[24];
	unsigned int n, i;

	if (!b->connected) {
		(void)fake_backend_connect(b);
		return;
	}
	switch (u8(s) % 8) {
	case 0:
		if (b->nheld < 200)
			(void)fake_backend_take(b, buf, sizeof(buf), NULL, u8(s) & 1);
		break;
	case 1:
		fake_backend_answer(b, u8(s));
		break;
	case 2:
		n = u16(s);
		fake_backend_raw_tx(b, (uint16_t)n, (int16_t)u16(s));
		break;
	case 3:
		n = u8(s) % 24u;
		for (i = 0; i < n; i++) {
			rsp[i].id = u16(s);
			rsp[i].offset = u16(s) & (u8(s) & 1 ? 0xffff : 0x0fff);
			rsp[i].flags = u8(s) & 31;
			rsp[i].status = (int16_t)(u16(s) & (u8(s) & 1 ? 0xffff : 0x07ff));
		}
		fake_backend_raw_rx(b, rsp, n);
		break;
	case 4: {
		struct fake_backend_meta meta = { .flags = u8(s) & 3, .gso_type = u8(s) % 3,
						  .gso_size = u16(s) };

		(void)fake_backend_give(b, buf, u16(s), &meta, NULL);
		break;
	}
	case 5:
		ring_back_push(u8(s) & 1 ? &b->tx : &b->rx, b->tx.rsp_prod + u16(s));
		break;
	case 6: {
		volatile uint32_t *page = u8(s) & 1 ? b->tx.page : b->rx.page;

		page[u16(s) % 1024] = (uint32_t)u16(s) << 16 | u16(s);
		break;
	}
	default:
		(void)fake_port_send(z->w.fake, b->domid, u8(s) & 1 ? b->tx_port : b->rx_port);
		break;
	}
}

static void do_store(struct fuzz *z, struct script *s)
{
	static const char *const nodes[] = { "state", "backend-id", "backend", "mac", "mtu",
					     "online", "feature-sg", "feature-rx-copy",
					     "feature-split-event-channels" };
	struct fake_backend *b = &z->w.b;
	char path[192], text[4];

	switch (u8(s) % 6) {
	case 0:
		fake_backend_state(b, u8(s) % 9);
		break;
	case 1:
		snprintf(path, sizeof(path), "%s/%s", u8(s) & 1 ? b->be : b->fe,
			 nodes[u8(s) % (sizeof(nodes) / sizeof(nodes[0]))]);
		text[0] = (char)(u8(s) & 0x7f);
		text[1] = (char)(u8(s) & 0x7f);
		text[2] = '\0';
		fake_store_set(z->w.fake, path, "%s", text);
		break;
	case 2:
		fake_store_del(z->w.fake, u8(s) & 1 ? b->fe : b->be);
		break;
	case 3:
		fake_store_deny(z->w.fake, b->be, u8(s) & 1 ? -13 : 0);
		break;
	case 4: {
		uint16_t domid = (uint16_t)(2 + u8(s) % 3);

		if (!b->connected)
			fake_backend_plug(b, z->w.fake, domid, 0, WORLD_MAC);
		break;
	}
	default:
		fake_backend_offer(b, &(struct fake_backend_config){
					      .no_split = u8(s) & 1, .no_sg = (u8(s) & 7) == 0,
					      .no_csum_offload = (u8(s) & 3) == 0 });
		break;
	}
}

static void fuzz_step(struct fuzz *z, struct script *s)
{
	struct port *port = z->w.port;
	uint8_t op = u8(s) % 16;

	if (op < 6)
		do_backend(z, s);
	else if (op == 6)
		do_store(z, s);
	else if (op == 7)
		world_run(&z->w, u16(s) * 4u);
	else if (op == 8)
		fake_fail(z->w.fake, u8(s) % FAKE_OP_MAX, u8(s) % 16, 1, -(int)(u8(s) % 30) - 1);
	else if (op == 9)
		netback_poll_events(z->w.nb);
	else if (!port || !port->link)
		world_run(&z->w, 100);
	else if (op < 12)
		do_tx(z, s);
	else if (op == 12)
		do_rx(z, s);
	else if (op == 13)
		do_complete(z, s);
	else if (op == 14)
		port->ops->rx_flush(port);
	else
		(void)port->ops->rx_arm(port);
	check_pages(z);
}

/* The host stays from one input to the next: making one costs more than a script. */
static struct fuzz *fuzz_world(void)
{
	static struct fuzz z;
	unsigned int i;

	if (z.w.fake)
		return &z;
	world_new_with(&z.w, fuzz_event, &z);
	for (i = 0; i < 32; i++)
		z.spare[z.nspare++] = z.w.frames[i];
	return &z;
}

/* The toolstack takes the device away; everything has to end. */
static void fuzz_end(struct fuzz *z)
{
	struct fake_backend *b = &z->w.b;
	unsigned int i;

	for (i = 0; i < FAKE_OP_MAX; i++)
		fake_fail(z->w.fake, i, 0, 0, 0);
	for (i = 2; i <= 4; i++) { /* every domain that it was in */
		char path[64];

		snprintf(path, sizeof(path), "/local/domain/%u/backend/vif/5/0", i);
		fake_store_deny(z->w.fake, path, 0);
	}
	fake_store_del(z->w.fake, b->fe);
	fake_store_del(z->w.fake, b->be);
	world_run(&z->w, 70000);
	if (z->w.port || z->nheld || z->nspare != 32 || b->connected || !world_at_base(&z->w) ||
	    fake_use(z->w.fake).watches != z->w.base.watches ||
	    fake_store_has(z->w.fake, b->fe)) {
		fprintf(stderr, "left over: %s, %u held, %u spare, watches %u of %u, %s\n",
			z->w.port ? z->w.port->reason : "no port", z->nheld, z->nspare,
			fake_use(z->w.fake).watches, z->w.base.watches,
			fake_store_has(z->w.fake, b->fe) ? "F is there" : "no F");
		abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	struct fuzz *z = fuzz_world();
	struct script s = { input, size };
	unsigned int i;

	fake_backend_plug(&z->w.b, z->w.fake, 2, 0, WORLD_MAC);
	fake_backend_offer(&z->w.b, &(struct fake_backend_config){ 0 });
	world_run(&z->w, 0);
	if (!z->w.port || fake_backend_connect(&z->w.b)) {
		fprintf(stderr, "not connected at the start: %s, states %s %u\n",
		       z->w.port ? z->w.port->reason : "no port",
		       fake_store_has(z->w.fake, z->w.b.fe) ? "F is there" : "no F",
		       fake_backend_front_state(&z->w.b));
		abort();
	}
	for (i = 0; i < 2000 && s.left; i++)
		fuzz_step(z, &s);
	fuzz_end(z);
	return 0;
}
