/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The uplink's life: appearing, connecting, backends that close, die, come back
 * as another domain, lie; failures of everything that can fail. Each case ends
 * with the pages, ports and transactions that there were before.
 */
#include "tests/unit/uplink_world.h"

static uint8_t data[70000], got[70000];

/* A frame each way. */
static void both_ways(struct world *w)
{
	static const uint16_t segs[] = { 4096, 2000 };
	size_t len;

	if (!CHECK(w->port && w->port->link))
		return;
	len = world_frame(w, w->frames[0], 192, segs, 2, false, data);
	CHECK_INT(world_tx(w, w->frames[0]), 0);
	CHECK(fake_backend_take(&w->b, got, sizeof(got), NULL, false) == (long)len);
	CHECK(memcmp(got, data, len) == 0);
	world_fill(data, 3000, 1);
	CHECK(fake_backend_give(&w->b, data, 3000, NULL, NULL));
	if (CHECK(w->port->ops->rx_burst(w->port, w->frames, 64, w->batch) == 1)) {
		CHECK_INT(world_bytes(w->frames[0], got, sizeof(got)), 3000);
		CHECK(memcmp(got, data, 3000) == 0);
		w->port->ops->complete(w->port, w->frames[0], true);
		w->port->ops->rx_flush(w->port);
	}
	CHECK_INT(w->b.errors, 0);
}

static uint32_t node(struct world *w, const char *name)
{
	char path[192];
	const char *v;

	snprintf(path, sizeof(path), "%s/%s", w->b.fe, name);
	v = fake_store_get(w->fake, path);
	return v ? (uint32_t)strtoul(v, NULL, 10) : UINT32_MAX;
}

static void test_bringup(void)
{
	struct world w;

	test_case("uplink_bringup_order");
	world_new(&w);
	CHECK_INT(w.added, 0);
	fake_backend_plug(&w.b, w.fake, 2, 0, WORLD_MAC);
	world_run(&w, 0);
	CHECK_INT(w.added, 1);
	CHECK_STR(w.port->name, "uplink0");
	CHECK(memcmp(w.port->mac, "\x00\x16\x3e\x5e\x6c\x01", 6) == 0);
	CHECK(!w.port->link);
	CHECK_INT(fake_backend_front_state(&w.b), 1);
	world_at_base(&w); /* nothing is shared before the backend is at 2 */
	fake_backend_offer(&w.b, &(struct fake_backend_config){ .multi_queue = true });
	world_run(&w, 0);
	/* live at once: the backend's 4 is not waited for */
	CHECK_INT(w.up, 1);
	CHECK_INT(fake_backend_front_state(&w.b), 4);
	CHECK_INT(w.port->xenbus_state, 4);
	CHECK_INT(fake_use(w.fake).shared_pages, 514);
	CHECK_INT(fake_use(w.fake).ports - w.base.ports, 2);
	CHECK_INT(node(&w, "request-rx-copy"), 1);
	CHECK_INT(node(&w, "feature-rx-notify"), 1);
	CHECK_INT(node(&w, "feature-sg"), 1);
	CHECK_INT(node(&w, "feature-gso-tcpv4"), 1);
	CHECK_INT(node(&w, "feature-gso-tcpv6"), 1);
	CHECK_INT(node(&w, "feature-ipv6-csum-offload"), 1);
	CHECK_INT(node(&w, "multi-queue-num-queues"), 1);
	CHECK_INT(node(&w, "event-channel"), UINT32_MAX);
	CHECK_INT(fake_backend_connect(&w.b), 0);
	CHECK_INT(fake_backend_posted(&w.b), 256);
	both_ways(&w);
	fake_backend_state(&w.b, 4);
	world_run(&w, 0);
	CHECK_INT(w.up, 1);
	CHECK_INT(w.down, 0);
	both_ways(&w);
	CHECK_INT(w.deadline, UINT64_MAX); /* no wake-ups while all is well */

	test_case("hp_326_bounded_xenstore_uplink");
	CHECK(fake_use(w.fake).watches <= w.base.watches + 2);
	world_down(&w); /* in order: state 6 */

	test_case("uplink_without_split_channels");
	world_up(&w, &(struct fake_backend_config){ .no_split = true });
	CHECK_INT(fake_use(w.fake).ports - w.base.ports, 1);
	CHECK_INT(node(&w, "event-channel-tx"), UINT32_MAX);
	CHECK_INT(node(&w, "multi-queue-num-queues"), UINT32_MAX);
	both_ways(&w);
	world_down(&w);

	test_case("uplink_any_device_number");
	world_new(&w);
	fake_backend_plug(&w.b, w.fake, 2, 7, WORLD_MAC);
	fake_backend_offer(&w.b, &(struct fake_backend_config){ 0 });
	world_run(&w, 0);
	CHECK_STR(w.port->name, "uplink7");
	CHECK_INT(fake_backend_connect(&w.b), 0);
	both_ways(&w);
	world_down(&w);

	test_case("uplink_free_closes_in_order");
	world_up(&w, NULL);
	netback_free(&w.nb);
	CHECK_INT(w.down, 1);
	CHECK_INT(w.removed, 1);
	CHECK_INT(fake_backend_front_state(&w.b), 6);
	world_down(&w);
}

static void test_bad_nodes(void)
{
	static const char *const macs[] = { "", "00:16:3e:5e:6c", "00:16:3e:5e:6c:01:02",
					    "00:16:3e:5e:6c:0g", "01:16:3e:5e:6c:01",
					    "00:00:00:00:00:00", "00-16-3e-5e-6c-01",
					    "00:16:3e:5e:6c:01 " };
	char path[192];
	struct world w;
	size_t i;

	test_case("uplink_strict_nodes");
	world_new(&w);
	fake_backend_plug(&w.b, w.fake, 2, 0, "x");
	snprintf(path, sizeof(path), "%s/mac", w.b.fe);
	for (i = 0; i < sizeof(macs) / sizeof(macs[0]); i++) {
		fake_store_set(w.fake, path, "%s", macs[i]);
		world_run(&w, 0);
		CHECK_INT(w.added, 0);
	}
	fake_store_set(w.fake, path, "00:16:3E:5e:6c:01");
	world_run(&w, 0);
	CHECK_INT(w.added, 1);
	snprintf(path, sizeof(path), "%s/backend-id", w.b.fe);
	fake_store_set(w.fake, path, "%s", "2 ");
	fake_backend_offer(&w.b, &(struct fake_backend_config){ 0 });
	world_run(&w, 0);
	CHECK_INT(w.up, 0);
	fake_store_set(w.fake, path, "70000");
	world_run(&w, 0);
	CHECK_INT(w.up, 0);
	fake_store_set(w.fake, path, "2");
	world_run(&w, 0);
	CHECK_INT(w.up, 1);
	world_down(&w);

	test_case("uplink_needs_rx_copy");
	world_new(&w);
	fake_backend_plug(&w.b, w.fake, 2, 0, WORLD_MAC);
	fake_backend_offer(&w.b, &(struct fake_backend_config){ .no_rx_copy = true });
	world_run(&w, 0);
	CHECK_INT(w.up, 0);
	CHECK_STR(w.port->reason, "the backend does not copy (feature-rx-copy)");
	world_at_base(&w);
	world_down(&w);
}

/* A response that cannot be: closed, then back after a pause. */
static void violate(struct world *w, void (*how)(struct world *), const char *reason,
		    uint64_t pause_ms)
{
	uint64_t violations = w->port->stats.violations;
	unsigned int down = w->down, up = w->up;

	how(w);
	(void)w->port->ops->rx_burst(w->port, w->frames, 64, w->batch);
	uplink_tx_reap(uplink_of(w->port));
	CHECK_STR(w->port->reason, reason);
	CHECK(netback_deadline(w->nb) <= w->now); /* a step is wanted now */
	/* harmless until the step: nothing moves */
	CHECK_INT(w->port->ops->rx_burst(w->port, w->frames, 64, w->batch), 0);
	world_frame(w, w->frames[0], 60, NULL, 0, true, NULL);
	CHECK_INT(world_tx(w, w->frames[0]), -ENETDOWN);
	CHECK(!w->port->ops->rx_arm(w->port));
	w->port->ops->rx_flush(w->port);
	world_run(w, 0);
	CHECK_INT(w->down, down + 1);
	CHECK_INT(w->port->stats.violations, violations + 1);
	CHECK_INT(fake_backend_front_state(&w->b), 5);
	world_at_base(w);
	fake_backend_disconnect(&w->b);
	fake_backend_state(&w->b, 5);
	world_run(w, 0);
	CHECK_INT(fake_backend_front_state(&w->b), 6);
	fake_backend_state(&w->b, 6);
	world_run(w, 0);
	CHECK_INT(fake_backend_front_state(&w->b), 6); /* the pause */
	world_run(w, pause_ms - 1);
	CHECK_INT(fake_backend_front_state(&w->b), 6);
	world_run(w, 1);
	CHECK_INT(fake_backend_front_state(&w->b), 1);
	fake_backend_state(&w->b, 2);
	world_run(w, 0);
	CHECK_INT(w->up, up + 1);
	CHECK_INT(fake_backend_connect(&w->b), 0);
	fake_backend_state(&w->b, 4);
	world_run(w, 0);
	both_ways(w);
}

static void send_and_hold(struct world *w)
{
	world_frame(w, w->frames[0], 60, NULL, 0, true, NULL);
	CHECK_INT(world_tx(w, w->frames[0]), 0);
	world_frame(w, w->frames[0], 60, NULL, 0, true, NULL);
	CHECK_INT(world_tx(w, w->frames[0]), 0);
	CHECK(fake_backend_take(&w->b, got, sizeof(got), NULL, true) == 60);
	CHECK(fake_backend_take(&w->b, got, sizeof(got), NULL, true) == 60);
}

static void tx_unknown_id(struct world *w)
{
	send_and_hold(w);
	fake_backend_raw_tx(&w->b, 200, 0);
}

static void tx_twice(struct world *w)
{
	send_and_hold(w);
	fake_backend_raw_tx(&w->b, w->b.held[0].id, 0);
	fake_backend_raw_tx(&w->b, w->b.held[0].id, 0);
}

static void tx_out_of_range(struct world *w)
{
	send_and_hold(w);
	fake_backend_raw_tx(&w->b, 256, 0);
}

static void tx_null(struct world *w)
{
	send_and_hold(w);
	fake_backend_raw_tx(&w->b, w->b.held[0].id, RING_STATUS_NULL);
}

static void tx_producer(struct world *w)
{
	ring_back_push(&w->b.tx, w->b.tx.rsp_prod + 300);
}

static void rx_beyond(struct world *w)
{
	ring_back_push(&w->b.rx, w->b.rx.rsp_prod + 257);
}

static void rx_backwards(struct world *w)
{
	ring_back_push(&w->b.rx, w->b.rx.rsp_prod - 1);
}

static void rx_flood(struct world *w)
{
	struct ring_rx_rsp bad = { .status = -1 };
	unsigned int i;

	for (i = 0; i <= UPLINK_BAD_MAX; i++)
		fake_backend_raw_rx(&w->b, &bad, 1);
}

static void test_violations(void)
{
	struct ring_rx_rsp bad = { .status = -1 };
	struct world w;
	unsigned int i;

	/* hostile-peers.md section 4; the pause doubles while it goes on */
	test_case("hp_039_ring_garbage_uplink");
	world_up(&w, NULL);
	violate(&w, tx_unknown_id, "transmit ring: answer to no request", 1000);
	violate(&w, tx_twice, "transmit ring: answer to no request", 2000);
	violate(&w, tx_out_of_range, "transmit ring: answer to no request", 4000);
	violate(&w, tx_null, "transmit ring: answer to no extra slot", 8000);
	violate(&w, tx_producer, "transmit ring: impossible producer index", 16000);
	violate(&w, rx_beyond, "receive ring: impossible producer index", 32000);
	violate(&w, rx_backwards, "receive ring: impossible producer index", 64000);
	violate(&w, rx_flood, "too many malformed packets", 64000);
	world_run(&w, 70000); /* it behaves for a while: */
	violate(&w, rx_flood, "too many malformed packets", 1000);

	test_case("uplink_malformed_packets_in_small_numbers");
	for (i = 0; i < 3 * UPLINK_BAD_MAX; i++) {
		fake_backend_raw_rx(&w.b, &bad, 1);
		CHECK_INT(w.port->ops->rx_burst(w.port, w.frames, 64, w.batch), 0);
		w.port->ops->rx_flush(w.port);
		world_run(&w, 50); /* 20 a second */
	}
	CHECK(w.port->link);
	CHECK_INT(w.port->stats.violations, 9);
	world_run(&w, 1000);
	CHECK_INT(w.deadline, UINT64_MAX);
	both_ways(&w);
	world_down(&w);
}

/* The backend closes and opens again: 20 times, then too often. */
static void test_restarts(void)
{
	struct world w;
	unsigned int i;

	test_case("uplink_restart_cycles");
	world_up(&w, NULL);
	for (i = 0; i < 29; i++) {
		fake_backend_state(&w.b, 5);
		world_run(&w, 0);
		CHECK_INT(w.down, i + 1);
		CHECK_STR(w.port->reason, "the backend closed");
		CHECK_INT(fake_backend_front_state(&w.b), 6);
		world_at_base(&w);
		fake_backend_disconnect(&w.b);
		fake_backend_state(&w.b, 6);
		world_run(&w, 0);
		CHECK_INT(fake_backend_front_state(&w.b), 1);
		fake_backend_state(&w.b, 2);
		world_run(&w, 500); /* 8 steps of 32 a second */
		CHECK_INT(w.up, i + 2);
		CHECK_INT(fake_use(w.fake).shared_pages, 514);
		CHECK_INT(fake_backend_connect(&w.b), 0);
		fake_backend_state(&w.b, 4);
		world_run(&w, 0);
		both_ways(&w);
	}
	fake_backend_disconnect(&w.b);
	fake_backend_state(&w.b, 6);
	world_run(&w, 0);
	fake_backend_state(&w.b, 2);
	world_run(&w, 0);
	CHECK_INT(w.up, 30);
	CHECK_STR(w.port->reason, "too many reconnects");
	CHECK(w.deadline > w.now && w.deadline <= w.now + 60000);
	world_run(&w, 60000);
	CHECK_INT(w.up, 31);
	world_down(&w);

	test_case("uplink_backend_began_anew"); /* netback was loaded again: 4 to 2 */
	world_up(&w, NULL);
	fake_backend_disconnect(&w.b);
	fake_backend_state(&w.b, 2);
	world_run(&w, 0);
	CHECK_INT(w.down, 1);
	CHECK_INT(w.up, 2);
	CHECK_INT(fake_backend_connect(&w.b), 0);
	both_ways(&w);
	world_down(&w);
}

/* xl destroy of the netvm, then a new one: another domain, the same device. */
static void test_other_domain(void)
{
	struct world w;
	struct frame *held;
	unsigned int i;

	test_case("hp_uplink_restart");
	world_up(&w, NULL);
	for (i = 0; i < 20; i++) {
		uint16_t domid = (uint16_t)(20 + i);
		char path[192];

		world_fill(data, 5000, i);
		CHECK(fake_backend_give(&w.b, data, 5000, NULL, NULL));
		CHECK_INT(w.port->ops->rx_burst(w.port, w.frames, 64, w.batch), 1);
		held = w.frames[0];
		fake_domain_destroy(w.fake, w.b.domid, i & 1 ? -EACCES : -ENOENT);
		snprintf(path, sizeof(path), "%s/state", w.b.be);
		fake_store_fire(w.fake, path);
		world_run(&w, 0);
		CHECK_INT(w.down, i + 1);
		CHECK_STR(w.port->reason, "the backend is gone");
		CHECK_INT(fake_backend_front_state(&w.b), 6);
		world_at_base(&w);
		fake_backend_plug(&w.b, w.fake, domid, 0, WORLD_MAC);
		world_run(&w, 3000);
		fake_backend_offer(&w.b, &(struct fake_backend_config){ 0 });
		world_run(&w, 0);
		CHECK_INT(w.up, i + 2);
		CHECK_INT(w.port->domid, domid);
		CHECK_INT(fake_use(w.fake).shared_pages, 514);
		CHECK_INT(fake_backend_connect(&w.b), 0);
		/* a frame of the life before: its pages are not ours to give */
		CHECK(held->in_generation != w.port->generation);
		w.port->ops->complete(w.port, held, true);
		CHECK_INT(world_rx_sum(&w), UPLINK_PAGES);
		both_ways(&w);
	}
	CHECK_INT(w.added, 1);
	CHECK_INT(w.removed, 0);
	world_down(&w);

	test_case("hp_uplink_restart: a new netvm does not wait for what the last one did");
	world_up(&w, NULL);
	for (i = 0; i < 8; i++) { /* it cannot be connected to: the pause is a minute */
		fake_backend_state(&w.b, 4);
		world_run(&w, 0);
		fake_fail(w.fake, FAKE_SHARE, 1, 1, -ENOSPC);
		fake_backend_disconnect(&w.b);
		fake_backend_state(&w.b, 2);
		world_run(&w, 0);
		CHECK(!w.port->link);
		if (i < 7)
			world_run(&w, 64000);
	}
	CHECK(w.deadline > w.now + 30000);
	fake_domain_destroy(w.fake, w.b.domid, -EACCES);
	fake_backend_plug(&w.b, w.fake, 44, 0, WORLD_MAC);
	fake_backend_offer(&w.b, &(struct fake_backend_config){ 0 });
	world_run(&w, 0);
	CHECK_INT(w.port->domid, 44);
	CHECK_INT(fake_backend_connect(&w.b), 0);
	both_ways(&w);
	world_down(&w);

	test_case("uplink_detach_and_attach_seen_as_one"); /* events merge */
	world_up(&w, NULL);
	fake_backend_disconnect(&w.b);
	fake_store_del(w.fake, w.b.fe);
	fake_store_del(w.fake, w.b.be);
	fake_backend_plug(&w.b, w.fake, 2, 0, "00:16:3e:5e:6c:09");
	fake_backend_offer(&w.b, &(struct fake_backend_config){ 0 });
	world_run(&w, 0);
	CHECK_INT(w.down, 1);
	CHECK_INT(w.up, 2);
	CHECK_INT(w.port->mac[5], 9);
	CHECK_INT(fake_backend_connect(&w.b), 0);
	both_ways(&w);
	world_down(&w);
}

/* Pages that a backend had are not given to the next one, nor is what was in
 * them: the grants end with the connection. */
static void test_no_reuse(void)
{
	uint32_t before[2 * UPLINK_PAGES];
	static const uint16_t segs[] = { 4096, 4096 };
	const struct uplink *u;
	struct world w;
	unsigned int i, j;
	size_t used = 0;

	test_case("hp_396_no_page_reuse");
	world_up(&w, NULL);
	u = uplink_const_of(w.port);
	memcpy(before, u->tx_gref, sizeof(u->tx_gref));
	memcpy(before + UPLINK_PAGES, u->rx_gref, sizeof(u->rx_gref));
	for (i = 0; i < 40; i++) {
		world_frame(&w, w.frames[0], 192, segs, 2, true, data);
		CHECK_INT(world_tx(&w, w.frames[0]), 0);
	}
	fake_backend_state(&w.b, 5);
	world_run(&w, 0);
	for (i = 0; i < 2 * UPLINK_PAGES; i++)
		CHECK(fake_shared(w.fake, w.b.domid, before[i], NULL) == NULL);
	fake_backend_disconnect(&w.b);
	fake_backend_plug(&w.b, w.fake, 33, 0, WORLD_MAC);
	fake_backend_offer(&w.b, &(struct fake_backend_config){ 0 });
	world_run(&w, 0);
	CHECK(w.port->link);
	for (i = 0; i < UPLINK_PAGES; i++) {
		for (j = 0; j < 2 * UPLINK_PAGES; j++)
			CHECK(u->tx_gref[i] != before[j] && u->rx_gref[i] != before[j]);
		for (j = 0; j < XEN_PAGE; j++)
			used += u->tx_mem[i * XEN_PAGE + j] | u->rx_mem[i * XEN_PAGE + j];
		CHECK(fake_shared(w.fake, 2, u->tx_gref[i], NULL) == NULL);
	}
	CHECK_INT(used, 0);
	world_down(&w);
}

static void test_detach(void)
{
	char path[192];
	struct world w;
	unsigned int i;

	test_case("uplink_detach"); /* xl network-detach, five times */
	world_new(&w);
	for (i = 0; i < 5; i++) {
		fake_backend_plug(&w.b, w.fake, 2, 0, WORLD_MAC);
		fake_backend_offer(&w.b, &(struct fake_backend_config){ 0 });
		world_run(&w, 3000);
		CHECK_INT(w.added, i + 1);
		CHECK_INT(w.up, i + 1);
		CHECK_INT(fake_backend_connect(&w.b), 0);
		fake_backend_state(&w.b, 4);
		world_run(&w, 0);
		both_ways(&w);
		snprintf(path, sizeof(path), "%s/online", w.b.be);
		fake_store_set(w.fake, path, "0");
		fake_backend_state(&w.b, 5);
		world_run(&w, 0);
		CHECK_INT(fake_backend_front_state(&w.b), 6);
		fake_backend_disconnect(&w.b);
		fake_backend_state(&w.b, 6);
		world_run(&w, 0);
		/* not 1: it is being removed */
		CHECK_INT(fake_backend_front_state(&w.b), 6);
		fake_store_del(w.fake, w.b.be);
		fake_store_del(w.fake, w.b.fe);
		world_run(&w, 0);
		CHECK_INT(w.removed, i + 1);
		CHECK(!fake_store_has(w.fake, w.b.fe)); /* not made again by a write */
		world_at_base(&w);
	}
	world_down(&w);

	test_case("uplink_failed_reads_say_nothing"); /* found by fuzz_uplink */
	world_up(&w, NULL);
	for (i = 1; i < 6; i++) {
		fake_fail(w.fake, FAKE_STORE_READ, i, 1, -EIO);
		snprintf(path, sizeof(path), "%s/state", w.b.be);
		fake_store_fire(w.fake, path);
		w.deadline = netback_poll_store(w.nb, w.now);
		CHECK_INT(w.deadline, w.now + 1000);
		CHECK(w.port->link);
		world_run(&w, 1000);
		CHECK_INT(w.deadline, UINT64_MAX);
	}
	CHECK_INT(w.down, 0);
	both_ways(&w);
	fake_fail(w.fake, FAKE_STORE_READ, 1, 1, -EIO);
	fake_store_del(w.fake, w.b.fe);
	w.deadline = netback_poll_store(w.nb, w.now);
	CHECK_INT(w.removed, 0);
	world_run(&w, 1000);
	CHECK_INT(w.removed, 1);
	world_down(&w);

	test_case("uplink_removed_while_connected");
	world_up(&w, NULL);
	fake_store_del(w.fake, w.b.fe);
	world_run(&w, 0);
	CHECK_INT(w.down, 1);
	CHECK_INT(w.removed, 1);
	CHECK(!fake_store_has(w.fake, w.b.fe));
	world_at_base(&w);
	world_down(&w);
}

/* What a process that crashed leaves: both sides at 4, grants that are gone. */
static void test_after_a_crash(void)
{
	static const unsigned int own[] = { 4, 4, 5, 6, 3, 4 }, be[] = { 4, 3, 4, 4, 4, 8 };
	struct world w;
	char path[192];
	size_t i;

	test_case("hp_157_op_in_wrong_state_uplink");
	for (i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		world_new(&w);
		fake_backend_plug(&w.b, w.fake, 2, 0, WORLD_MAC);
		fake_backend_offer(&w.b, &(struct fake_backend_config){ 0 });
		fake_backend_state(&w.b, be[i]);
		snprintf(path, sizeof(path), "%s/state", w.b.fe);
		fake_store_set(w.fake, path, "%u", own[i]);
		world_run(&w, 0);
		CHECK_INT(w.up, 0);
		CHECK_INT(fake_backend_front_state(&w.b), own[i] == 6 ? 6 : 5);
		world_run(&w, 6000); /* it does not react: the 6 comes anyway */
		CHECK_INT(fake_backend_front_state(&w.b), 6);
		fake_backend_state(&w.b, 6);
		world_run(&w, 0);
		CHECK_INT(fake_backend_front_state(&w.b), 1);
		fake_backend_state(&w.b, 2);
		world_run(&w, 0);
		CHECK_INT(w.up, 1);
		CHECK_INT(fake_backend_connect(&w.b), 0);
		both_ways(&w);
		world_down(&w);
	}
}

/* Every operation of the seam that a connect needs fails once, in each place. */
static void test_failures(void)
{
	static const enum fake_op ops[] = { FAKE_SHARE, FAKE_BIND, FAKE_STORE_WRITE,
					    FAKE_STORE_BEGIN, FAKE_STORE_END, FAKE_STORE_READ,
					    FAKE_STORE_WATCH, FAKE_STORE_RM };
	unsigned int op, nth, tries;
	struct world w;

	test_case("hp_374_teardown_leaks_uplink");
	for (op = 0; op < sizeof(ops) / sizeof(ops[0]); op++) {
		for (nth = 1; nth <= 20; nth++) {
			world_new(&w);
			fake_backend_plug(&w.b, w.fake, 2, 0, WORLD_MAC);
			fake_backend_offer(&w.b, &(struct fake_backend_config){ 0 });
			fake_fail(w.fake, ops[op], nth, 1, ops[op] == FAKE_STORE_END ? -EAGAIN
										     : -ENOSPC);
			for (tries = 0; tries < 8; tries++) {
				world_run(&w, 500);
				CHECK(fake_use(w.fake).shared_pages == 514 ||
				      fake_use(w.fake).shared_pages == 0);
			}
			if (!CHECK(w.port && w.port->link))
				printf("  op %d, call %u: %s\n", (int)ops[op], nth,
				       w.port ? w.port->reason : "no port");
			CHECK_INT(fake_use(w.fake).shared_pages, 514);
			CHECK_INT(fake_use(w.fake).ports - w.base.ports, 2);
			CHECK_INT(fake_backend_connect(&w.b), 0);
			both_ways(&w);
			world_down(&w);
		}
	}
}

/* A backend waits for our state, and we for its: a write of ours that xenstore
 * refused must be made again, as no event would ever remind us. */
static void test_refused_writes(void)
{
	static const struct {
		unsigned int backend, front, want;
	} cases[] = { { 5, 4, 6 }, { 6, 4, 1 }, { 6, 6, 1 }, { 2, 6, 4 } };
	struct world w;
	unsigned int i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		test_case("uplink_repeats_a_state_that_xenstore_refused");
		world_up(&w, NULL);
		if (cases[i].front == 6) {
			fake_backend_state(&w.b, cases[i].backend == 2 ? 5 : 6);
			fake_store_set(w.fake, "/local/domain/2/backend/vif/5/0/online", "0");
			world_run(&w, 0);
			CHECK_INT(fake_backend_front_state(&w.b), 6);
		}
		fake_fail(w.fake, FAKE_STORE_BEGIN, 1, UINT32_MAX, -EIO);
		fake_store_set(w.fake, "/local/domain/2/backend/vif/5/0/online", "1");
		fake_backend_state(&w.b, cases[i].backend);
		world_run(&w, 0);
		CHECK_INT(fake_backend_front_state(&w.b), cases[i].front);
		fake_fail(w.fake, FAKE_STORE_BEGIN, 0, 0, 0);
		world_run(&w, 2000);
		CHECK_INT(fake_backend_front_state(&w.b), cases[i].want);
		fake_backend_disconnect(&w.b);
		world_down(&w);
	}
}

static void test_watch_flood(void)
{
	char path[192];
	struct world w;
	unsigned int i;
	uint64_t reads;

	test_case("hp_349_watch_flood_uplink");
	world_up(&w, NULL);
	snprintf(path, sizeof(path), "%s/state", w.b.be);
	reads = fake_count(w.fake, FAKE_STORE_READ);
	for (i = 0; i < 4000; i++)
		fake_store_fire(w.fake, path);
	world_run(&w, 0);
	CHECK(fake_count(w.fake, FAKE_STORE_READ) - reads < 100);
	CHECK_INT(w.up, 1);
	CHECK_INT(w.down, 0);
	/* event by event: the netvm pays for it, with a late look at its state */
	reads = fake_count(w.fake, FAKE_STORE_READ);
	for (i = 0; i < 10000; i++) {
		fake_store_fire(w.fake, path);
		w.deadline = netback_poll_store(w.nb, w.now + i / 10);
	}
	CHECK(fake_count(w.fake, FAKE_STORE_READ) - reads <= 2 * 32 * 8);
	fake_backend_state(&w.b, 5);
	world_run(&w, 1000);
	CHECK(!w.port->link);
	CHECK_INT(fake_backend_front_state(&w.b), 6);
	fake_backend_disconnect(&w.b);
	fake_backend_state(&w.b, 2);
	world_run(&w, 1000);
	CHECK_INT(fake_backend_connect(&w.b), 0);
	both_ways(&w);
	world_down(&w);
}

int main(void)
{
	test_bringup();
	test_bad_nodes();
	test_violations();
	test_restarts();
	test_other_domain();
	test_no_reuse();
	test_detach();
	test_after_a_crash();
	test_failures();
	test_refused_writes();
	test_watch_flood();
	return test_end();
}
