/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The uplink against a backend like Linux' netback, in plain memory: frames both
 * ways. Its life is in test_uplink_life.c.
 */
#include "tests/unit/uplink_world.h"

#include <pthread.h>

static uint8_t data[70000], got[70000];

/* --- sending -------------------------------------------------------------------- */

static void send_one(struct world *w, const char *name, const uint16_t *segs, size_t nsegs,
		     unsigned int header_len, bool local, unsigned int slots, unsigned int ops)
{
	struct frame *f = w->frames[0];
	struct fake_backend_meta meta;
	uint64_t before = fake_count(w->fake, FAKE_COPY_OP);
	size_t len = world_frame(w, f, header_len, segs, nsegs, local, data);

	if (len > 1514) {
		f->csum = CSUM_PARTIAL;
		f->gso = GSO_TCPV4;
		f->gso_size = 1448;
	}
	CHECK_INT(world_tx(w, f), 0);
	if (!CHECK(fake_backend_take(&w->b, got, sizeof(got), &meta, false) == (long)len)) {
		printf("  %s: %s\n", name, w->b.error ? w->b.error : "?");
		return;
	}
	CHECK(memcmp(got, data, len) == 0);
	CHECK_INT(meta.slots, slots);
	CHECK_INT(meta.gso_type, len > 1514 ? RING_GSO_TCPV4 : 0);
	CHECK_INT(meta.gso_size, len > 1514 ? 1448 : 0);
	CHECK_INT(meta.flags, len > 1514 ? RING_TX_CSUM_BLANK | RING_TX_DATA_VALIDATED : 0);
	CHECK_INT(fake_count(w->fake, FAKE_COPY_OP) - before, ops);
}

static void test_layouts(struct world *w)
{
	static const uint16_t small[] = { 1322 }, page[] = { 3904 }, over[] = { 3905 };
	/* what netfront makes of 64 KiB: 66 bytes of headers, then pages */
	static const uint16_t linux_gso[] = { 3970, 4096, 4096, 4096, 4096, 4096, 4096, 4096, 4096,
					      4096, 4096, 4096, 4096, 4096, 4096, 3800 };
	/* the most slots that a client may use: no room for a split header */
	static const uint16_t most[] = { 3900, 3600, 3600, 3600, 3600, 3600, 3600, 3600, 3600, 3600,
					 3600, 3600, 3600, 3600, 3600, 3600, 3600, 3600 };
	/* 19 slots as they are: pieces have to be split */
	static const uint16_t many[] = { 3700, 3400, 3400, 3400, 3400, 3400, 3400, 3400, 3400, 3400,
					 3400, 3400, 3400, 3400, 3400, 3400, 3400, 3400, 3400 };
	static const uint16_t tiny[] = { 1, 1, 1, 4096, 1, 1, 1, 4096, 1 };
	static const uint16_t huge[] = { 65343 };

	test_case("uplink_sends_every_layout");
	send_one(w, "header", NULL, 0, 60, false, 1, 0);
	send_one(w, "small", small, 1, 192, false, 1, 1);
	send_one(w, "page", page, 1, 192, false, 1, 1);
	send_one(w, "over", over, 1, 192, false, 2, 1);
	send_one(w, "linux", linux_gso, 16, 192, false, 17, 16);
	send_one(w, "most", most, 18, 192, false, 18, 18);
	send_one(w, "many", many, 19, 192, false, 16, 19 + 15);
	send_one(w, "tiny", tiny, 9, 192, false, 6, 9);
	send_one(w, "local", huge, 1, 192, true, 17, 0);
	send_one(w, "local, large header", huge, 1, 192, true, 17, 0);
	CHECK_INT(w->b.errors, 0);
	CHECK_INT(w->port->stats.tx_frames, 10);
	CHECK_INT(w->port->stats.tx_gso, 8);
	CHECK_INT(w->port->stats.tx_dropped, 0);
}

static void test_what_cannot_be_sent(struct world *w)
{
	static const uint16_t huge[] = { 65344 };
	struct frame *f = w->frames[0];

	test_case("uplink_refuses_what_no_backend_takes");
	world_frame(w, f, 192, huge, 1, true, data); /* 65536: the size has 16 bits */
	CHECK_INT(world_tx(w, f), -EMSGSIZE);
	world_frame(w, f, 60, NULL, 0, true, data);
	f->len++;
	CHECK_INT(world_tx(w, f), -EINVAL);
	CHECK_INT(w->port->stats.tx_dropped, 2);
	CHECK_INT(fake_backend_take(&w->b, got, sizeof(got), NULL, false), 0);
}

/* A shorter packet on a page that held a longer one. */
static void test_tail(struct world *w)
{
	static const uint16_t one[] = { 3904 };
	struct uplink *u = uplink_of(w->port);
	const uint8_t *page;
	uint16_t id;
	size_t i;

	test_case("hp_403_tail_zeroed");
	uplink_tx_reap(u);
	id = u->tx_free[u->tx_nfree - 1]; /* the page used last is taken first */
	world_frame(w, w->frames[0], 192, one, 1, true, data);
	CHECK_INT(world_tx(w, w->frames[0]), 0);
	CHECK(fake_backend_take(&w->b, got, sizeof(got), NULL, false) == 4096);
	world_frame(w, w->frames[0], 60, NULL, 0, true, data);
	CHECK_INT(world_tx(w, w->frames[0]), 0);
	page = fake_shared(w->fake, w->b.domid, u->tx_gref[id], NULL);
	CHECK(page && memcmp(page, data, 60) == 0);
	for (i = 60; page && i < XEN_PAGE && page[i] == 0; i++)
		;
	CHECK_INT(i, XEN_PAGE);
	CHECK(fake_backend_take(&w->b, got, sizeof(got), NULL, false) == 60);
}

/* Of three frames the one in each position fails, then every op of one. */
static void test_failed_copies(struct world *w)
{
	static const uint16_t segs[] = { 4096, 4096, 4096 };
	struct uplink *u = uplink_of(w->port);
	unsigned int bad, i, op, came;

	test_case("hp_361_partial_batch_uplink");
	for (bad = 0; bad < 3; bad++) {
		for (op = 0; op < 3; op++) {
			for (i = 0; i < 3; i++) {
				world_frame(w, w->frames[i], 60 + i, segs, 3, false, NULL);
				if (i == bad)
					w->frames[i]->seg[op].gref = 0xdead;
				CHECK_INT(w->port->ops->tx(w->port, w->frames[i], w->batch), 0);
			}
			copy_batch_run(w->batch);
			w->port->ops->tx_flush(w->port);
			for (came = 0; fake_backend_take(&w->b, got, sizeof(got), NULL, false) > 0;)
				came++;
			CHECK_INT(came, 2);
			CHECK(w->frames[bad]->copy_failed);
		}
	}
	CHECK_INT(w->b.errors, 0);
	uplink_tx_reap(u);
	CHECK_INT(u->tx_nfree, UPLINK_PAGES);
	CHECK_INT(u->tx_extras, 0);
}

/* Full ring; the event that says there is room again. */
static void test_backpressure(struct world *w)
{
	static const uint16_t segs[] = { 4000, 4000, 4000 };
	uint64_t dropped = w->port->stats.tx_dropped;
	unsigned int sent = 0;

	test_case("uplink_full_ring_waits_for_an_event");
	for (;;) {
		world_frame(w, w->frames[0], 60, segs, 3, true, NULL);
		if (world_tx(w, w->frames[0]))
			break;
		sent++;
	}
	CHECK_INT(sent, RING_SLOTS / 3);
	CHECK_INT(w->port->ops->tx(w->port, w->frames[0], w->batch), -EAGAIN);
	CHECK_INT(w->port->stats.tx_dropped, dropped);
	w->port->tx_blocked = true;
	CHECK(!w->port->ops->rx_arm(w->port));
	netback_poll_events(w->nb);
	w->port->ready = false;
	CHECK(!w->port->ops->rx_arm(w->port));
	while (fake_backend_take(&w->b, got, sizeof(got), NULL, true) > 0)
		;
	netback_poll_events(w->nb);
	CHECK(!w->port->ready);
	fake_backend_answer(&w->b, 8); /* room, but not for the largest */
	netback_poll_events(w->nb);
	CHECK(!w->port->ready);
	fake_backend_answer(&w->b, RING_SLOTS);
	netback_poll_events(w->nb);
	CHECK(w->port->ready);
	w->port->tx_blocked = false;
	CHECK_INT(world_tx(w, w->frames[0]), 0);
	CHECK(fake_backend_take(&w->b, got, sizeof(got), NULL, false) > 0);
}

/* --- receiving ------------------------------------------------------------------ */

static void receive_one(struct world *w, size_t len, const struct fake_backend_meta *meta,
			const uint16_t *split, unsigned int csum)
{
	struct frame *f = w->frames[0];

	world_fill(data, len, (unsigned int)len);
	CHECK(fake_backend_give(&w->b, data, len, meta, split));
	if (!CHECK(w->port->ops->rx_burst(w->port, w->frames, 64, w->batch) == 1))
		return;
	CHECK_INT(f->len, len);
	CHECK_INT(f->header_len, len < 192 ? len : 192);
	CHECK_INT(f->csum, csum);
	CHECK_INT(f->gso, meta && meta->gso_type ? meta->gso_type : 0);
	CHECK_INT(f->gso_size, meta ? meta->gso_size : 0);
	CHECK_INT(world_bytes(f, got, sizeof(got)), len);
	CHECK(memcmp(got, data, len) == 0);
	CHECK_INT(world_rx_sum(w), UPLINK_PAGES);
	w->port->ops->complete(w->port, f, true);
	w->port->ops->rx_flush(w->port);
	CHECK_INT(fake_backend_posted(&w->b), UPLINK_PAGES);
}

static void test_receive(struct world *w)
{
	static const struct fake_backend_meta none = { .flags = 0 },
		valid = { .flags = RING_RX_DATA_VALIDATED },
		blank = { .flags = RING_RX_CSUM_BLANK | RING_RX_DATA_VALIDATED },
		gso4 = { .flags = RING_RX_CSUM_BLANK, .gso_type = 1, .gso_size = 1448 },
		gso6 = { .flags = 0, .gso_type = 2, .gso_size = 1428 };
	static const uint16_t tiny[] = { 1, 13, 20, 7, 40, 1, 0 };

	test_case("uplink_receives");
	receive_one(w, 60, &none, NULL, CSUM_NONE);
	receive_one(w, 192, &valid, NULL, CSUM_VALID);
	receive_one(w, 193, &blank, NULL, CSUM_PARTIAL);
	receive_one(w, 1514, &blank, NULL, CSUM_PARTIAL);
	receive_one(w, 9000, &gso4, NULL, CSUM_PARTIAL);
	receive_one(w, 65549, &gso4, NULL, CSUM_PARTIAL);
	/* GSO implies it; who parses the headers starts the sum afresh (X4.2) */
	receive_one(w, 65549, &gso6, NULL, CSUM_NONE);

	test_case("hp_423_tiny_header_slots_uplink");
	receive_one(w, 4000, &blank, tiny, CSUM_PARTIAL);
	receive_one(w, 82, &blank, tiny, CSUM_PARTIAL);
	CHECK_INT(w->port->stats.rx_frames, 9);
	CHECK_INT(w->port->stats.rx_gso, 3);
	CHECK_INT(w->port->stats.rx_errors, 0);
	CHECK_INT(w->b.errors, 0);
}

/* Bytes of the header that change after they were read do not matter. */
static void test_double_fetch(struct world *w)
{
	uint8_t *page = fake_backend_rx_page(&w->b, 0);
	struct frame *f = w->frames[0];

	test_case("hp_155_double_fetch_uplink");
	world_fill(data, 1514, 3);
	CHECK(fake_backend_give(&w->b, data, 1514, NULL, NULL));
	CHECK_INT(w->port->ops->rx_burst(w->port, w->frames, 64, w->batch), 1);
	memset(page, 0xee, XEN_PAGE);
	CHECK(memcmp(f->header, data, 192) == 0);
	w->port->ops->complete(w->port, f, true);
	w->port->ops->rx_flush(w->port);
}

/* Frames held by a busy receiver: pages come back in any order. */
static void test_held(struct world *w)
{
	unsigned int i, n;

	test_case("hp_457_rx_accounting");
	world_fill(data, 5000, 5);
	for (i = 0; i < 40; i++)
		CHECK(fake_backend_give(&w->b, data, 5000, NULL, NULL));
	n = (unsigned int)w->port->ops->rx_burst(w->port, w->frames, 64, w->batch);
	CHECK_INT(n, 40);
	CHECK_INT(world_rx_sum(w), UPLINK_PAGES);
	CHECK_INT(w->frames[0]->cookie_slots, 2);
	for (i = 0; i < n; i += 2)
		w->port->ops->complete(w->port, w->frames[i], true);
	w->port->ops->rx_flush(w->port);
	CHECK_INT(fake_backend_posted(&w->b), UPLINK_PAGES - 40);
	for (i = 0; i < 60; i++)
		CHECK(fake_backend_give(&w->b, data, 5000, NULL, NULL));
	CHECK_INT(world_rx_sum(w), UPLINK_PAGES);
	for (i = 1; i < n; i += 2)
		w->port->ops->complete(w->port, w->frames[i], true);
	n = (unsigned int)w->port->ops->rx_burst(w->port, w->frames, 64, w->batch);
	CHECK_INT(n, 60);
	for (i = 0; i < n; i++) {
		CHECK_INT(world_bytes(w->frames[i], got, sizeof(got)), 5000);
		CHECK(memcmp(got, data, 5000) == 0);
		w->port->ops->complete(w->port, w->frames[i], true);
	}
	w->port->ops->rx_flush(w->port);
	CHECK_INT(fake_backend_posted(&w->b), UPLINK_PAGES);
	CHECK_INT(world_rx_sum(w), UPLINK_PAGES);
}

/* What a bad response costs: its packet, nothing else. */
static void test_bad_rx(struct world *w)
{
	static const struct {
		const char *what;
		size_t n;
		struct ring_rx_rsp rsp[3];
	} bad[] = {
		{ "negative", 1, { { .status = -1 } } },
		{ "most negative", 1, { { .status = INT16_MIN } } },
		{ "empty", 1, { { .status = 0 } } },
		{ "offset", 1, { { .offset = 4096, .status = 1 } } },
		{ "offset wraps", 1, { { .offset = 65535, .status = 32767 } } },
		{ "second negative", 2, { { .status = 60, .flags = RING_MORE_DATA },
					  { .status = -1 } } },
		{ "chain open", 1, { { .status = 60, .flags = RING_MORE_DATA } } },
		{ "extra missing", 1, { { .status = 60, .flags = RING_EXTRA_INFO } } },
		{ "extra of no type", 2, { { .status = 60, .flags = RING_EXTRA_INFO }, { 0 } } },
		{ "GSO of size 0", 2, { { .status = 60, .flags = RING_EXTRA_INFO },
					{ .id = 1, .offset = 0, .flags = 1 } } },
		{ "GSO of type 3", 2, { { .status = 60, .flags = RING_EXTRA_INFO },
					{ .id = 1, .offset = 1448, .flags = 3 } } },
		{ "multicast", 2, { { .status = 60, .flags = RING_EXTRA_INFO }, { .id = 2 } } },
		{ "two extras", 3, { { .status = 60, .flags = RING_EXTRA_INFO },
				     { .id = 0x101, .offset = 1448, .flags = 1 },
				     { .id = 1, .offset = 1448, .flags = 1 } } },
		{ "GSO prefix", 1, { { .status = 60, .flags = RING_RX_GSO_PREFIX } } },
	};
	struct ring_rx_rsp chain[20];
	uint64_t errors = w->port->stats.rx_errors;
	size_t i;

	test_case("hp_405_bad_rx_response");
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fake_backend_raw_rx(&w->b, bad[i].rsp, bad[i].n);
		if (!CHECK(w->port->ops->rx_burst(w->port, w->frames, 64, w->batch) == 0))
			printf("  %s\n", bad[i].what);
		CHECK_INT(w->port->stats.rx_errors, ++errors);
		CHECK_INT(world_rx_sum(w), UPLINK_PAGES);
		w->port->ops->rx_flush(w->port);
		receive_one(w, 1514, NULL, NULL, CSUM_NONE); /* still in step */
	}
	for (i = 0; i < 20; i++) /* one slot more than any packet has */
		chain[i] = (struct ring_rx_rsp){ .status = 100,
						 .flags = i < 19 ? RING_MORE_DATA : 0 };
	fake_backend_raw_rx(&w->b, chain, 20);
	CHECK_INT(w->port->ops->rx_burst(w->port, w->frames, 64, w->batch), 0);
	CHECK_INT(w->port->stats.rx_errors, errors + 1);
	w->port->ops->rx_flush(w->port);
	receive_one(w, 1514, NULL, NULL, CSUM_NONE);
	for (i = 0; i < 19; i++) /* more than 64 KiB in 19 slots */
		chain[i] = (struct ring_rx_rsp){ .status = 4096,
						 .flags = i < 18 ? RING_MORE_DATA : 0 };
	fake_backend_raw_rx(&w->b, chain, 19);
	CHECK_INT(w->port->ops->rx_burst(w->port, w->frames, 64, w->batch), 0);
	w->port->ops->rx_flush(w->port);
	receive_one(w, 1514, NULL, NULL, CSUM_NONE);
	CHECK_INT(w->port->stats.violations, 0);
	CHECK(w->port->link);
}

/* Another vCPU of the netvm rewrites response slots and pages all the time: what
 * was taken stays as it was taken, and no page is lost. */
struct mutator {
	volatile uint32_t *ring;
	volatile uint8_t *pages;
	volatile bool stop;
};

static void *mutate(void *arg)
{
	struct mutator *m = arg;
	uint32_t x = 1;

	while (!m->stop) {
		x = x * 1664525 + 1013904223;
		/* flags and statuses of all kinds, not the indices */
		m->ring[16 + (x >> 8) % 512] = (x & 0xfff) << 16 | (x >> 20 & 0x0f);
		m->pages[(x >> 4) % (UPLINK_PAGES * XEN_PAGE)] = (uint8_t)x;
	}
	return NULL;
}

static void test_mutator(struct world *w)
{
	struct uplink *u = uplink_of(w->port);
	struct mutator m = { .ring = u->rx.page, .pages = u->rx_mem };
	static uint8_t header[64][FRAME_HEADER_MAX];
	unsigned int i, k, n, frames = 0;
	pthread_t thread;

	test_case("hp_mutator_uplink");
	CHECK_INT(pthread_create(&thread, NULL, mutate, &m), 0);
	for (i = 0; i < 3000; i++) {
		struct ring_rx_rsp rsp[8] = { { .status = 500 } };

		fake_backend_raw_rx(&w->b, rsp, i % 8 + 1);
		u->rx_bad = 0; /* not what is looked at here */
		n = (unsigned int)w->port->ops->rx_burst(w->port, w->frames, 64, w->batch);
		for (k = 0; k < n; k++)
			memcpy(header[k], w->frames[k]->header, FRAME_HEADER_MAX);
		for (k = 0; k < n; k++) {
			const struct frame *f = w->frames[k];

			CHECK(f->len == frame_len_sum(f) && f->len <= FRAME_LEN_MAX);
			CHECK(f->header_len == (f->len < 192 ? f->len : 192));
			world_bytes(f, got, sizeof(got));
			CHECK(memcmp(header[k], f->header, FRAME_HEADER_MAX) == 0);
			w->port->ops->complete(w->port, w->frames[k], true);
		}
		frames += n;
		CHECK_INT(world_rx_sum(w), UPLINK_PAGES);
		CHECK_INT(u->rx_held, 0);
		w->port->ops->rx_flush(w->port);
	}
	m.stop = true;
	pthread_join(thread, NULL);
	CHECK(frames > 100);
	CHECK(w->port->link && !u->broken);
}

/* --- events and indices ------------------------------------------------------------ */

static void test_events(struct world *w)
{
	struct uplink *u = uplink_of(w->port);
	unsigned int i;

	test_case("uplink_event_after_arm");
	netback_poll_events(w->nb);
	CHECK(!w->port->ops->rx_arm(w->port));
	netback_poll_events(w->nb);
	w->port->ready = false;
	CHECK(!w->port->ops->rx_arm(w->port));
	CHECK(fake_backend_give(&w->b, data, 60, NULL, NULL));
	CHECK(!w->port->ready);
	netback_poll_events(w->nb);
	CHECK(w->port->ready);
	CHECK(w->port->ops->rx_arm(w->port)); /* there is work already */

	test_case("hp_391_uplink_storm"); /* masked while it is served */
	w->port->ready = false;
	for (i = 0; i < 1000; i++) {
		fake_port_send(w->fake, w->b.domid, w->b.rx_port);
		netback_poll_events(w->nb);
		CHECK(!w->port->ready);
	}
	CHECK_INT(w->port->ops->rx_burst(w->port, w->frames, 64, w->batch), 1);
	w->port->ops->complete(w->port, w->frames[0], true);
	w->port->ops->rx_flush(w->port);
	CHECK(!w->port->ops->rx_arm(w->port)); /* now one of them comes through */
	netback_poll_events(w->nb);
	CHECK(w->port->ready);
	/* a storm on the transmit channel: nobody waits for room, so it stays masked
	 * after its first event */
	for (i = 0; i < 1000 && u->features.split; i++) {
		fake_port_send(w->fake, w->b.domid, w->b.tx_port);
		netback_poll_events(w->nb);
		if (i)
			CHECK(!w->port->ready);
		w->port->ready = false;
		CHECK(!w->port->ops->rx_arm(w->port));
	}
	CHECK(!u->broken);
}

static void test_wrap(struct world *w)
{
	static const uint16_t segs[] = { 4000, 100 };
	struct frame *f = w->frames[0];
	unsigned int i;

	test_case("uplink_indices_wrap");
	for (i = 0; i < 2000 && w->b.errors == 0; i++) {
		size_t len = world_frame(w, f, 192, segs, i % 3, i & 1, data);

		CHECK_INT(world_tx(w, f), 0);
		CHECK(fake_backend_take(&w->b, got, sizeof(got), NULL, i % 7 != 0) == (long)len);
		CHECK(memcmp(got, data, len) == 0);
		if (i % 5 == 0)
			fake_backend_answer(&w->b, 256);
		receive_one(w, 100 + i * 3, NULL, NULL, CSUM_NONE);
	}
	CHECK(w->b.tx.req_cons < 0xffffff00); /* it did wrap */
	CHECK(w->b.rx.req_cons < 0xffffff00);
	fake_backend_answer(&w->b, 256);
	uplink_tx_reap(uplink_of(w->port));
	CHECK_INT(uplink_of(w->port)->tx_nfree, UPLINK_PAGES);
}

/* --- backends that cannot do everything ----------------------------------------------- */

static uint32_t sum16(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;
	size_t i;

	for (i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* The sum of everything behind csum_start is all ones, whatever the layout. */
static void complete_one(struct world *w, unsigned int len, bool ipv6)
{
	uint16_t segs[] = { 0, 0 };
	struct frame *f = w->frames[0];
	struct fake_backend_meta meta;
	uint8_t pseudo[2];

	segs[0] = (uint16_t)(len > 4288 ? 4095 : len - 192); /* the rest is at an odd place */
	segs[1] = (uint16_t)(len - 192 - segs[0]);
	world_frame(w, f, 192, segs, 2, false, data);
	f->header[12] = ipv6 ? 0x86 : 0x08;
	f->header[13] = ipv6 ? 0xdd : 0x00;
	memcpy(pseudo, "\x12\x34", 2); /* the pseudo header's sum, as the field has it */
	memcpy(f->header + 50, pseudo, 2);
	f->csum = CSUM_PARTIAL;
	CHECK_INT(world_tx(w, f), -EOPNOTSUPP); /* nobody said where */
	f->csum_start = 34;
	f->csum_offset = 16;
	CHECK_INT(world_tx(w, f), 0);
	CHECK(fake_backend_take(&w->b, got, sizeof(got), &meta, false) == (long)len);
	CHECK_INT(meta.flags, RING_TX_DATA_VALIDATED);
	CHECK_INT(sum16(got + 34, len - 34) , 0xffff - 0x1234);
}

static void test_poor_backends(void)
{
	static const uint16_t segs[] = { 4000, 4000 };
	struct fake_backend_config config = { .no_csum_offload = true, .no_ipv6_csum = true,
					      .no_split = true };
	struct world w;
	struct frame *f;

	test_case("uplink_completes_checksums");
	world_up(&w, &config);
	f = w.frames[0];
	complete_one(&w, 192, false);
	complete_one(&w, 1514, false);
	complete_one(&w, 6001, true);
	CHECK_INT(w.b.errors, 0);
	world_frame(&w, f, 192, segs, 2, true, data);
	f->csum = CSUM_PARTIAL;
	f->gso = GSO_TCPV4;
	f->gso_size = 1448;
	CHECK_INT(world_tx(&w, f), -EOPNOTSUPP); /* nobody said where */
	f->csum_start = 34;
	f->csum_offset = 16;
	CHECK_INT(world_tx(&w, f), -EINVAL); /* no TCP in it: nothing to cut */
	test_events(&w); /* over one channel, as far as it goes */
	world_down(&w);

	test_case("uplink_without_scatter_gather");
	config = (struct fake_backend_config){ .no_sg = true };
	world_up(&w, &config);
	f = w.frames[0];
	world_frame(&w, f, 192, segs, 1, true, data);
	CHECK_INT(world_tx(&w, f), -EMSGSIZE);
	world_frame(&w, f, 96, segs, 1, true, data);
	CHECK_INT(world_tx(&w, f), 0);
	CHECK(fake_backend_take(&w.b, got, sizeof(got), NULL, false) == 4096);
	world_down(&w);
}

int main(void)
{
	struct world w;

	world_up(&w, NULL);
	test_layouts(&w);
	test_what_cannot_be_sent(&w);
	test_tail(&w);
	test_failed_copies(&w);
	test_backpressure(&w);
	world_down(&w);

	world_up(&w, NULL);
	test_receive(&w);
	test_double_fetch(&w);
	test_held(&w);
	test_bad_rx(&w);
	test_events(&w);
	world_down(&w);

	world_up(&w, NULL);
	test_mutator(&w);
	world_down(&w);

	world_up_at(&w, NULL, 0xfffffe00);
	test_wrap(&w);
	world_down(&w);
	test_poor_backends();
	return test_end();
}
