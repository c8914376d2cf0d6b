/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of the uplink with a netvm that behaves as Linux' netback does
 * (tests/fake/netvm.h), two clients next to it. hp_uplink_restart: whatever the netvm
 * does, clients stay connected, nothing stays granted to a domain that is gone, and
 * the way up is back in the turn in which the backend is ready.
 */
#include "tests/fake/guest.h"
#include "tests/fake/netvm.h"
#include "tests/fake/rig.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdlib.h>

#define MAC "00:16:3e:5e:6c:01"

static struct rig r;
static struct guest client[2];
static struct netvm netvm;
static struct fake_use base; /* of two clients and no uplink */
static uint8_t data[9000], got[9100];

static void run(void)
{
	bool moved;

	do {
		rig_poll(&r);
		moved = netvm.b.f && netvm_run(&netvm);
		moved |= guest_run(&client[0]);
		moved |= guest_run(&client[1]);
	} while (moved);
}

static struct port *up(void)
{
	for (size_t i = 0; i < RIG_PORTS; i++)
		if (r.port[i] && r.port[i]->kind == PORT_UPLINK)
			return r.port[i];
	return NULL;
}

/* One packet each way between a client and the netvm. */
static bool passes(struct guest *g)
{
	const struct front_packet p = {.data = data, .len = sizeof(data)};
	char name[16];
	struct port *vif;
	bool ok;

	snprintf(name, sizeof(name), "vif%u.0", g->fr.domid);
	vif = rig_port(&r, name);
	data[0]++;
	ok = vif && up() && up()->link && front_send(&g->fr, &p) && rig_move(&r, vif, up()) == 1 &&
	     fake_backend_take(&netvm.b, got, sizeof(got), NULL, false) == (long)sizeof(data) &&
	     memcmp(got, data, sizeof(data)) == 0;
	front_reap(&g->fr);
	ok = ok && fake_backend_give(&netvm.b, data, sizeof(data), NULL, NULL) &&
	     rig_move(&r, up(), vif) == 1 &&
	     front_recv(&g->fr, got, sizeof(got), NULL, false) == (long)sizeof(data) &&
	     memcmp(got, data, sizeof(data)) == 0;
	return ok && g->fr.bad == 0 && netvm.b.errors == 0;
}

/* Between the two clients: never disturbed. */
static bool neighbours(void)
{
	const struct front_packet p = {.data = data, .len = 700};
	struct port *a = rig_port(&r, "vif3.0"), *b = rig_port(&r, "vif4.0");
	bool ok;

	if (!a || !b || !a->link || !b->link)
		return false;
	while (rig_move(&r, a, NULL)) /* what was for the netvm */
		;
	ok = front_send(&client[0].fr, &p) && rig_move(&r, a, b) == 1 &&
	     front_recv(&client[1].fr, got, sizeof(got), NULL, false) == 700;

	front_reap(&client[0].fr);
	return ok && front_in_flight(&client[0].fr) == 0;
}

static void check_no_uplink(void)
{
	struct fake_use u = fake_use(r.f);

	CHECK_INT(u.shared_pages, 0);
	CHECK_INT(u.maps, base.maps);
	CHECK_INT(u.ports, base.ports);
	CHECK_INT(u.transactions, 0);
	CHECK(u.watches <= base.watches + 1);
	CHECK(neighbours());
}

static void begin(void)
{
	netvm = (struct netvm){0};
	rig_start(&r);
	guest_boot(&client[0], r.f, GUEST_LINUX, 3, 0, "10.137.0.3");
	guest_boot(&client[1], r.f, GUEST_LINUX, 4, 0, "10.137.0.4");
	run();
	base = fake_use(r.f);
	if (!CHECK(guest_is_up(&client[0]) && guest_is_up(&client[1])))
		exit(1);
}

static void begin_up(void)
{
	begin();
	netvm_start(&netvm, r.f, 2, 0, MAC);
	run();
	CHECK(netvm_is_up(&netvm));
	CHECK(passes(&client[0]));
}

static void end(void)
{
	struct fake_use u;

	CHECK_INT(client[0].closes + client[1].closes, 0); /* they noticed nothing */
	rig_stop(&r);
	u = fake_use(r.f);
	CHECK_INT(u.maps + u.ports + u.shared_pages + u.watches + u.transactions, 0);
	fake_backend_disconnect(&netvm.b);
	fake_free(&r.f);
}

/* --- appearing ------------------------------------------------------------------------- */
static void test_none(void)
{
	test_case("X7.1_none_at_the_start_then_one");
	begin();
	rig_wait(&r, 600000);
	CHECK(up() == NULL);
	CHECK(neighbours());
	CHECK(r.deadline_ms == UINT64_MAX); /* and nobody looks for it meanwhile */
	netvm_start(&netvm, r.f, 2, 0, MAC);
	run();
	CHECK(netvm_is_up(&netvm));
	CHECK(passes(&client[0]) && passes(&client[1]));
	end();

	test_case("X7.1_none_at_the_start_nor_at_the_end");
	begin();
	end();
}

/* Each node that libxl writes, missing first. */
static void test_missing_nodes(void)
{
	static const char *const names[] = {"backend", "backend-id", "mac", "state"};
	char path[192], kept[128];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		test_case("X7.1_X6.7_nodes_that_come_later");
		begin();
		netvm_start(&netvm, r.f, 2, 0, MAC);
		snprintf(path, sizeof(path), "%s/%s", netvm.b.fe, names[i]);
		snprintf(kept, sizeof(kept), "%s", fake_store_get(r.f, path));
		fake_store_del(r.f, path);
		fake_backend_offer(&netvm.b, &netvm.config);
		rig_wait(&r, 5000);
		if (i < 3)
			check_no_uplink();
		fake_store_set(r.f, path, "%s", kept);
		rig_wait(&r, 1000);
		run();
		CHECK(netvm_is_up(&netvm));
		CHECK(passes(&client[0]));
		end();
	}
}

static void test_order(void)
{
	unsigned int pages;

	test_case("X7.2_X7.3_nothing_is_shared_before_the_backend_is_at_2");
	begin();
	netvm_start(&netvm, r.f, 2, 0, MAC);
	netvm.paused = true;
	rig_wait(&r, 5000);
	check_no_uplink();
	CHECK_INT(fake_backend_front_state(&netvm.b), 1);
	netvm.paused = false;
	netvm.script_late = true; /* its hotplug script hangs: no 4 */
	run();
	pages = fake_use(r.f).shared_pages;
	CHECK_INT(pages, 514);
	CHECK_INT(fake_backend_front_state(&netvm.b), 4);

	test_case("X7.4_X7.5_rings_are_ready_when_4_is_seen");
	CHECK(netvm.b.connected);
	CHECK_INT(fake_backend_posted(&netvm.b), 256);
	CHECK(up()->link);

	test_case("X7.6_goes_live_without_the_backends_4");
	CHECK(passes(&client[0]));
	CHECK_INT(r.up, 3);
	netvm.script_late = false;
	run();
	CHECK(netvm_is_up(&netvm));
	CHECK_INT(r.up, 3);
	CHECK_INT(r.down, 0);
	CHECK(passes(&client[1]));
	end();
}

/* --- restarts ---------------------------------------------------------------------------- */
enum way { DESTROYED, CLOSED, RELOADED, DETACHED, WAYS };

static const char *const way_name[WAYS] = {
    "X7.9_hp_uplink_restart_destroyed",
    "X7.9_hp_uplink_restart_closed_politely",
    "X7.9_hp_uplink_restart_netback_loaded_again",
    "X7.9_hp_uplink_restart_detached_and_attached",
};

static void restart(enum way way, unsigned int i)
{
	uint16_t domid = (uint16_t)(100 + i), devid = (uint16_t)(way == DETACHED ? i % 3 : 0);

	switch (way) {
	case DESTROYED:
		netvm_die(&netvm, i & 1 ? -ENOENT : -EACCES);
		break;
	case CLOSED: /* a shutdown of the netvm: netback goes, later its domain */
		fake_backend_disconnect(&netvm.b);
		fake_backend_state(&netvm.b, 5);
		rig_poll(&r);
		netvm_run(&netvm);
		rig_wait(&r, 2000);
		netvm_die(&netvm, -EACCES);
		break;
	case RELOADED:
		netvm_reload(&netvm);
		run();
		return;
	default:
		netvm_detach(&netvm);
		rig_poll(&r);
		while (netvm_run(&netvm))
			rig_poll(&r);
		netvm_detached(&netvm);
		break;
	}
	rig_wait(&r, 1000);
	check_no_uplink();
	netvm_start(&netvm, r.f, domid, devid, i & 2 ? "00:16:3e:5e:6c:02" : MAC);
	netvm.paused = true;
	rig_wait(&r, 3000 + 100 * i); /* the new one boots */
	check_no_uplink();
	netvm.paused = false;
	netvm_run(&netvm); /* state 2 */
	rig_poll(&r);	   /* one look of ours */
	CHECK_INT(fake_backend_front_state(&netvm.b), 4);
	run();
}

static void test_restarts(void)
{
	for (unsigned int way = 0; way < WAYS; way++) {
		test_case(way_name[way]);
		begin_up();
		for (unsigned int i = 0; i < 20; i++) {
			const struct front_packet p = {.data = data, .len = sizeof(data)};
			struct port *vif = rig_port(&r, "vif3.0");

			/* with packets of both directions on their way */
			for (unsigned int k = 0; k < 5; k++) {
				CHECK(front_send(&client[0].fr, &p));
				CHECK(fake_backend_give(&netvm.b, data, sizeof(data), NULL, NULL));
			}
			if (i & 1)
				CHECK_INT(rig_move(&r, vif, up()), 5);
			restart((enum way)way, i);
			CHECK(netvm_is_up(&netvm));
			CHECK_INT(fake_use(r.f).shared_pages, 514);
			CHECK_INT(fake_use(r.f).ports, base.ports + 2);
			CHECK(neighbours());
			while (fake_backend_take(&netvm.b, got, sizeof(got), NULL, false) > 0)
				;
			CHECK_INT(netvm.b.errors, 0);
			CHECK(passes(&client[0]) && passes(&client[1]));
			rig_wait(&r, 2500);
		}
		end();
	}
}

/* The new netvm is ready before anybody has told us of the old one's end. */
static void test_replaced_at_once(void)
{
	test_case("X7.9_the_new_one_is_ready_before_the_end_of_the_old_one_is_seen");
	begin_up();
	for (unsigned int i = 0; i < 20; i++) {
		fake_domain_destroy(r.f, netvm.b.domid, -EACCES);
		netvm_start(&netvm, r.f, (uint16_t)(50 + i), 0, MAC);
		netvm_run(&netvm);
		rig_poll(&r);
		CHECK_INT(fake_backend_front_state(&netvm.b), 4);
		run();
		CHECK(netvm_is_up(&netvm));
		CHECK(passes(&client[0]) && passes(&client[1]));
		rig_wait(&r, 2500);
	}
	end();
}

/* A backend that closes before it has ever been connected to, and one that hangs. */
static void test_unconnected(void)
{
	test_case("hp_465_close_unconnected_uplink");
	for (unsigned int how = 0; how < 6; how++) {
		begin();
		netvm_start(&netvm, r.f, 2, 0, MAC);
		netvm.paused = true;
		if (how & 1)
			rig_poll(&r);
		if (how < 4)
			fake_backend_state(&netvm.b, 5);
		if (how & 2)
			rig_wait(&r, 1000);
		fake_backend_state(&netvm.b, 6);
		rig_wait(&r, 1000);
		check_no_uplink();
		CHECK_INT(fake_backend_front_state(&netvm.b), 1); /* asks for a new begin */
		netvm.paused = false;
		run();
		CHECK(netvm_is_up(&netvm));
		CHECK(passes(&client[0]));
		end();
	}
}

/* What one netvm could see is never shown to another one, nor to its own domain id
 * when that comes back. */
static void test_no_page_reuse(void)
{
	uint32_t old[2];

	test_case("hp_396_no_page_reuse_by_the_next_netvm");
	begin_up();
	for (unsigned int i = 0; i < 10; i++) {
		char path[192];

		for (unsigned int k = 0; k < 2; k++) {
			snprintf(path, sizeof(path), "%s/%s", netvm.b.fe,
				 k ? "rx-ring-ref" : "tx-ring-ref");
			old[k] = (uint32_t)strtoul(fake_store_get(r.f, path), NULL, 10);
			CHECK(fake_shared(r.f, netvm.b.domid, old[k], NULL) != NULL);
		}
		CHECK(passes(&client[0]));
		netvm_die(&netvm, -EACCES);
		rig_wait(&r, 1000);
		check_no_uplink();
		netvm_start(&netvm, r.f, (uint16_t)(i & 1 ? 2 : 60 + i), 0, MAC);
		fake_store_deny(r.f, "/local/domain/2", 0);
		run();
		for (uint16_t domid = 0; domid < 80; domid++)
			for (unsigned int k = 0; k < 2; k++)
				CHECK(fake_shared(r.f, domid, old[k], NULL) == NULL);
		CHECK(fake_shared(r.f, 2, old[0], NULL) == NULL);
		CHECK(netvm_is_up(&netvm) && passes(&client[0]));
		rig_wait(&r, 2500);
	}
	end();
}

/* What netback would complain about (the fake's errors), and what it may not answer. */
static void test_transmit(void)
{
	static const uint16_t split[] = {66, 100, 1};
	struct front_packet p = {.len = 60000,
				 .split = split,
				 .nsplit = 3,
				 .flags = RING_TX_CSUM_BLANK | RING_TX_DATA_VALIDATED,
				 .gso_type = 1,
				 .gso_size = 1448};
	static uint8_t large[60000], taken[60100];
	struct fake_backend_meta meta;
	struct port *vif;

	test_case("X7.7_ids_total_extra_and_18_slots");
	begin_up();
	vif = rig_port(&r, "vif3.0");
	p.data = large;
	for (unsigned int i = 0; i < 20; i++) {
		large[i] = (uint8_t)(i + 1);
		CHECK(front_send(&client[0].fr, &p));
		CHECK_INT(rig_move(&r, vif, up()), 1);
		CHECK_INT(fake_backend_take(&netvm.b, taken, sizeof(taken), &meta, false), 60000);
		CHECK(memcmp(taken, large, sizeof(large)) == 0);
		CHECK(meta.slots <= 18 && meta.gso_type == 1 && meta.gso_size == 1448);
		front_reap(&client[0].fr);
	}
	CHECK_INT(netvm.b.errors, 0);

	test_case("X7.7_answers_to_nothing_end_the_connection");
	fake_backend_raw_tx(&netvm.b, 200, 0);
	up()->ops->tx_flush(up());
	CHECK(front_send(&client[0].fr, &(struct front_packet){.data = data, .len = 100}));
	(void)rig_move(&r, vif, up());
	(void)up()->ops->rx_arm(up());
	fake_backend_raw_tx(&netvm.b, 256, 0);
	up()->tx_blocked = true;
	(void)up()->ops->rx_arm(up());
	rig_poll(&r);
	CHECK(!up()->link);
	CHECK_INT(fake_backend_front_state(&netvm.b), 5);
	check_no_uplink();
	netvm.b.connected = false; /* what it had is gone */
	for (unsigned int i = 0; i < 30 && !netvm_is_up(&netvm); i++) {
		rig_wait(&r, 100);
		run();
	}
	CHECK(netvm_is_up(&netvm) && passes(&client[0]));
	end();
}

static void test_receive(void)
{
	static const struct ring_rx_rsp bad[] = {
	    {.id = 0, .status = -1},
	    {.id = 0, .offset = 4000, .status = 97},
	    {.id = 999, .offset = 65535, .status = 1},
	};

	test_case("X7.8_bad_answers_cost_their_packet_and_pages_are_posted_again");
	begin_up();
	for (unsigned int i = 0; i < 30; i++) {
		fake_backend_raw_rx(&netvm.b, &bad[i % 3], 1);
		CHECK_INT(rig_move(&r, up(), rig_port(&r, "vif3.0")), 0);
		CHECK_INT(fake_backend_posted(&netvm.b), 256);
		CHECK(up()->link && passes(&client[0]) && neighbours());
	}

	test_case("X7.8_a_producer_beyond_what_was_posted_ends_the_connection");
	ring_back_push(&netvm.b.rx, netvm.b.rx.rsp_prod + 300);
	CHECK_INT(rig_move(&r, up(), NULL), 0);
	CHECK(!up()->link || netback_deadline(r.nb) == 0);
	rig_poll(&r);
	CHECK(!up()->link);
	CHECK_INT(fake_backend_front_state(&netvm.b), 5);
	check_no_uplink();
	netvm.b.connected = false;
	for (unsigned int i = 0; i < 30 && !netvm_is_up(&netvm); i++) {
		rig_wait(&r, 100);
		run();
	}
	CHECK(netvm_is_up(&netvm) && passes(&client[0]));
	end();
}

/* The host sleeps: our vCPU and the netvm's stand still, then CLOCK_BOOTTIME has
 * jumped. xenstore and the rings show nothing of it. */
static void test_host_suspend(void)
{
	const struct front_packet p = {.data = data, .len = 1000};
	struct port *vif;

	test_case("X7.9_the_host_is_suspended_and_resumed");
	begin_up();
	vif = rig_port(&r, "vif3.0");
	for (unsigned int i = 0; i < 10; i++) {
		netvm.paused = true; /* it goes first, and comes back last */
		for (unsigned int k = 0; k < 3; k++)
			CHECK(front_send(&client[0].fr, &p));
		CHECK_INT(rig_move(&r, vif, up()), 3);
		r.now_ms += 8 * 3600 * 1000;
		rig_poll(&r);
		CHECK(up()->link && vif->link);
		CHECK(neighbours());
		netvm.paused = false;
		for (unsigned int k = 0; k < 3; k++)
			CHECK_INT(fake_backend_take(&netvm.b, got, sizeof(got), NULL, false), 1000);
		front_reap(&client[0].fr);
		run();
		CHECK(passes(&client[0]) && passes(&client[1]));
	}
	CHECK_INT(r.up, 3);
	CHECK_INT(r.down, 0);
	end();

	test_case("X7.9_a_netvm_that_does_not_come_back_from_the_suspend");
	begin_up();
	netvm.paused = true;
	r.now_ms += 8 * 3600 * 1000;
	rig_wait(&r, 20000);
	CHECK(neighbours());
	netvm_die(&netvm, -EACCES); /* somebody restarts it */
	netvm_start(&netvm, r.f, 77, 0, MAC);
	run();
	CHECK(passes(&client[0]));
	end();
}

static void test_moved(void)
{
	test_case("X7.10_our_own_domain_id_changes");
	begin_up();
	CHECK(!netback_moved(r.nb));
	fake_store_set(r.f, "/local/domain/7/domid", "%u", 8);
	fake_store_fire(r.f, "/local/domain/7/backend/vif"); /* all watches are set anew */
	netback_poll_store(r.nb, r.now_ms);
	CHECK(netback_moved(r.nb));
	CHECK_STR(r.last_line, "the domain has another id: restored or migrated");
	fake_store_set(r.f, "/local/domain/7/domid", "%u", 7);
	end();
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	test_none();
	test_missing_nodes();
	test_order();
	test_restarts();
	test_replaced_at_once();
	test_transmit();
	test_receive();
	test_unconnected();
	test_no_page_reuse();
	test_host_suspend();
	test_moved();
	return test_end();
}
