/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a client can do to us through xenstore, its event channels and its own end:
 * the rows of hostile-peers.md that are about a device's life. Each case ends with the
 * state of the attacked vif, a packet of its neighbour, and the counts at their base
 * line.
 */
#include "tests/unit/guest_world.h"

#include <stdio.h>

static void text_set(const char *dir, const char *name, const char *value)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (value)
		fake_store_set(r.f, path, "%s", value);
	else
		fake_store_del(r.f, path);
}

/* The vif is at 6, or was never served; what it had is back. */
static void check_closed(const struct guest *g, unsigned int state)
{
	CHECK_INT(front_be_state(&g->fr), state);
	CHECK(!port_of(g) || !port_of(g)->link);
	check_base_line();
}

static void test_foreign_paths(void)
{
	static const struct {
		const char *name, *value;
	} bad[] = {
	    {"frontend", "/local/domain/3/device/vif/0"},  /* the neighbour's */
	    {"frontend", "/local/domain/7/device/vif/0"},  /* ours */
	    {"frontend", "/local/domain/55/device/vif/0"}, /* its number begins with ours */
	    {"frontend", "/tool/xenstored"},
	    {"frontend-id", "3"},
	};
	struct guest g, *all[] = {&g};

	test_case("hp_115_foreign_paths_are_not_served");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		begin();
		guest_boot(&g, r.f, GUEST_LINUX, 5, 0, "10.137.0.9");
		text_set(g.fr.be, bad[i].name, bad[i].value);
		run_for(all, 1, 3000);
		check_closed(&g, 1);
		end();
	}

	test_case("hp_115_foreign_paths_nothing_is_believed_of_the_frontends_directory");
	begin();
	guest_boot(&g, r.f, GUEST_LINUX, 5, 0, "10.137.0.9");
	CHECK_INT(fake_store_as(r.f, 5, g.fr.be, "x"), -EACCES); /* nor can it write ours */
	text_set(g.fr.fe, "mac", good.fr.mac);
	text_set(g.fr.fe, "ip", "10.137.0.3");
	text_set(g.fr.fe, "backend", good.fr.be);
	text_set(g.fr.fe, "backend-id", "0");
	text_set(g.fr.fe, "handle", "77");
	run_for(all, 1, 200);
	CHECK(guest_is_up(&g));
	CHECK(port_of(&g)->mac[4] == 5);
	CHECK_STR(port_of(&g)->ip, "10.137.0.9");
	CHECK(echo(&g) && echo(&good));
	g.stuck = true;
	fake_store_deny(r.f, g.fr.fe, -EACCES); /* it may forbid us to read */
	front_set_state(&g.fr, 4);
	rig_wait(&r, 4000);
	check_closed(&g, 6);
	end();
}

/* xen-net.md section 6, the table: where we are when a frontend in each state has been
 * left alone, from each state of ours. Columns: gone, 0 ... 9. */
static void test_wrong_states(void)
{
	static const struct {
		const char *name;
		unsigned int from, rest[10];
	} rows[] = {
	    {"X6.2_hp_157_op_in_wrong_state_from_2", 2, {6, 2, 2, 2, 6, 6, 6, 2, 2, 6}},
	    {"X6.4_hp_157_op_in_wrong_state_from_4", 4, {6, 2, 4, 4, 4, 6, 6, 8, 4, 6}},
	    {"X6.3_hp_157_op_in_wrong_state_from_5", 5, {6, 2, 6, 6, 6, 6, 6, 6, 6, 6}},
	    {"X6.5_hp_157_op_in_wrong_state_from_6", 6, {6, 2, 6, 6, 6, 6, 6, 6, 6, 6}},
	};
	struct guest g, *all[] = {&g};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		test_case(rows[i].name);
		for (unsigned int fe = 0; fe < 10; fe++) {
			unsigned int rest = rows[i].rest[fe];

			begin();
			guest_boot(&g, r.f, GUEST_LINUX, 5, 0, "10.137.0.9");
			rig_poll(&r);
			if (rows[i].from > 2)
				run_for(all, 1, 200);
			g.stuck = true;
			if (rows[i].from > 4) {
				front_set_state(&g.fr, 5);
				rig_wait(&r, rows[i].from == 5 ? 0 : 4000);
			}
			CHECK_INT(front_be_state(&g.fr), rows[i].from);
			front_set_state(&g.fr, fe);
			rig_wait(&r, 10000);
			CHECK_INT(front_be_state(&g.fr), rest);
			if (rest == 4 || rest == 8)
				CHECK(port_of(&g)->link && echo(&g) && echo(&good));
			else
				check_closed(&g, rest);
			front_detach(&g.fr);
			rig_wait(&r, 6000);
			CHECK(!fake_store_has(r.f, g.fr.be));
			check_base_line();
			end();
		}
	}
}

static void test_bounded_store(void)
{
	uint64_t begins, calls, watches;
	struct guest g, *all[] = {&g};
	unsigned int nodes;

	test_case("hp_326_bounded_xenstore_nodes_and_watches_of_a_vif");
	begin();
	watches = fake_count(r.f, FAKE_STORE_WATCH);
	nodes = own_nodes();
	guest_boot(&g, r.f, GUEST_LINUX, 5, 0, "10.137.0.9");
	nodes = own_nodes();
	for (unsigned int i = 0; i < 100; i++) {
		run_for(all, 1, 100);
		guest_close(&g);
		run_for(all, 1, 4000);
		guest_open(&g);
	}
	run_for(all, 1, 61000);
	CHECK(guest_is_up(&g));
	CHECK_INT(fake_count(r.f, FAKE_STORE_WATCH) - watches, 1);
	CHECK_INT(own_nodes() - nodes, 8); /* what is offered; hotplug-status was there */
	guest_close(&g);
	run_for(all, 1, 4000);
	check_closed(&g, 6);

	test_case("hp_326_bounded_xenstore_no_storm_of_retries");
	fake_fail(r.f, FAKE_STORE_END, 1, UINT32_MAX, -EAGAIN);
	front_set_state(&g.fr, 1);
	begins = fake_count(r.f, FAKE_STORE_BEGIN);
	calls = 0;
	for (uint64_t until = r.now_ms + 1000; r.now_ms < until; calls++)
		r.now_ms = netback_poll_store(r.nb, r.now_ms);
	CHECK(calls <= 12);
	CHECK(fake_count(r.f, FAKE_STORE_BEGIN) - begins <= 16 * calls);
	CHECK(echo(&good));
	fake_fail(r.f, FAKE_STORE_END, 0, 0, 0);
	run_for(all, 1, 1000);
	CHECK(guest_is_up(&g));
	end();
}

static void test_watch_flood(void)
{
	struct guest g, *all[] = {&g};
	uint64_t reads;

	test_case("hp_349_watch_flood_of_every_node");
	begin();
	guest_boot(&g, r.f, GUEST_LINUX, 5, 0, "10.137.0.9");
	run(all, 1);
	reads = fake_count(r.f, FAKE_STORE_READ);
	for (unsigned int i = 0; i < 20000; i++) {
		char name[24];

		snprintf(name, sizeof(name), "junk-%u", i % 50);
		text_set(g.fr.fe, name, "x");
		front_set_state(&g.fr, 4);
		if (i % 500 == 0) {
			netback_poll_store(r.nb, r.now_ms);
			CHECK(echo(&good));
		}
	}
	rig_poll(&r);
	CHECK(fake_count(r.f, FAKE_STORE_READ) - reads <= 32 * 3);
	CHECK(guest_is_up(&g) && echo(&g)); /* it has done no wrong */
	rig_wait(&r, 1000);
	guest_close(&g);
	g.stuck = true;
	rig_wait(&r, 4000);
	check_closed(&g, 6);
	end();
}

/* Opens and closes as fast as it can, at any moment of our walk. */
static void test_connect_churn(void)
{
	const struct front_config few = {.rx_post = 4};
	static uint8_t bytes[100];
	const struct front_packet p = {.data = bytes, .len = sizeof(bytes)};
	struct guest g;

	test_case("hp_350_connect_churn_faster_than_we_look");
	begin();
	guest_boot(&g, r.f, GUEST_LINUX, 5, 0, "10.137.0.9");
	rig_poll(&r);
	for (unsigned int i = 0; i < 600; i++) {
		static const unsigned int states[] = {1, 4, 5, 4, 6, 1, 4, 0, 4, 5, 6};
		struct port *port = port_of(&g);

		if (i % 3 == 0) {
			if (g.published)
				front_disconnect(&g.fr);
			front_connect(&g.fr, &few);
			g.published = true;
			(void)front_send(&g.fr, &p);
		}
		front_set_state(&g.fr, states[i % 11]);
		if (i % 4 == 0)
			netback_poll_store(r.nb, r.now_ms);
		netback_poll_events(r.nb);
		if (port && port->link)
			(void)rig_move(&r, port, port_of(&good));
		r.now_ms += i % 7 * 20;
		CHECK_INT(fake_use(r.f).maps,
			  base.maps + (port_of(&g) && port_of(&g)->link ? 2 : 0));
	}
	while (front_recv(&good.fr, bytes, sizeof(bytes), NULL, false) > 0)
		; /* what it had sent to the neighbour */
	g.stuck = true;
	front_set_state(&g.fr, 6);
	rig_wait(&r, 5000);
	check_closed(&g, 6);
	CHECK_INT(r.added, 2);
	end();
}

/* --- our own structures -------------------------------------------------------------- */
#define MANY 12

static struct guest many[MANY];
static unsigned int swept;

/* In the middle of one device's step, all the others lose what they stand on. */
static void sweep(void *arg, struct port *port, enum port_event event)
{
	(void)arg;
	if (port->domid == 3 || event == PORT_EVENT_LINK_UP || event == PORT_EVENT_ADDED)
		return;
	swept++;
	for (unsigned int i = 0; i < MANY; i++) {
		fake_store_del(r.f, many[i].fr.be);
		fake_domain_destroy(r.f, many[i].fr.domid, -EACCES);
	}
}

static void test_iteration(void)
{
	struct guest *all[MANY];

	test_case("hp_424_free_in_iteration");
	begin();
	for (unsigned int i = 0; i < MANY; i++) {
		all[i] = &many[i];
		guest_boot(all[i], r.f, GUEST_LINUX, (uint16_t)(20 + i), 0, "10.137.0.9");
	}
	run_for(all, MANY, 200);
	for (unsigned int i = 0; i < MANY; i++)
		CHECK(guest_is_up(all[i]));
	/* a violation is found while the packets of a batch are on their way */
	ring_store(many[4].fr.tx.page, RING_W_REQ_PROD, 0x55555555);
	CHECK_INT(rig_move(&r, port_of(&many[4]), port_of(&many[5])), 0);
	CHECK(!port_of(&many[4])->link);
	r.on_event = sweep;
	rig_poll(&r);
	CHECK(swept >= MANY);
	CHECK_INT(r.removed, MANY);
	check_base_line();
	end();
}

static void test_close_under_load(void)
{
	struct guest g, *all[] = {&g};

	test_case("hp_441_close_under_load");
	begin();
	for (unsigned int i = 0; i < 100; i++) {
		static uint8_t bytes[400];
		const struct front_packet p = {.data = bytes, .len = sizeof(bytes)};

		guest_boot(&g, r.f, GUEST_LINUX, 5, 0, "10.137.0.9");
		run(all, 1);
		CHECK(guest_is_up(&g));
		for (unsigned int k = 0; k < 40; k++) {
			(void)front_send(&g.fr, &p);
			fake_port_send(r.f, 5, g.fr.tx_port);
			fake_port_send(r.f, 5, g.fr.rx_port);
			if (k % 8 == i % 8)
				netback_poll_events(r.nb);
		}
		(void)rig_move(&r, port_of(&g), NULL);
		/* events are pending, masked, or queued when the channels close */
		if (i & 1) {
			fake_domain_destroy(r.f, 5, -EACCES);
			g.stuck = true;
		} else {
			guest_close(&g);
		}
		netback_poll_store(r.nb, r.now_ms);
		netback_poll_events(r.nb); /* of channels that are no more */
		CHECK(port_of(&g) && !port_of(&g)->link);
		CHECK(!port_of(&g)->ready);
		check_closed(&g, 6);
		front_detach(&g.fr);
		rig_wait(&r, 2000);
		fake_store_deny(r.f, "/local/domain/5", 0);
		fake_store_del(r.f, g.fr.fe);
		CHECK(port_of(&g) == NULL);
	}
	check_base_line();
	end();
}

/* A close of what was never connected, from each state that we can be in. */
static void test_close_unconnected(void)
{
	struct guest g;

	test_case("X6.3_hp_465_close_unconnected_from_every_state");
	for (unsigned int looked = 0; looked < 2; looked++) {
		for (unsigned int how = 0; how < 4; how++) {
			begin();
			guest_boot(&g, r.f, GUEST_LINUX, 5, 0, "10.137.0.9");
			if (looked)
				rig_poll(&r);
			if (how & 1)
				front_set_state(&g.fr, 5);
			if (how & 1)
				rig_poll(&r);
			front_set_state(&g.fr, how & 2 ? 6 : 5);
			rig_poll(&r);
			CHECK_INT(front_be_state(&g.fr), how & 2 ? 6 : 5);
			rig_wait(&r, 4000);
			check_closed(&g, 6);
			CHECK(fake_store_has(r.f, g.fr.be));
			front_detach(&g.fr);
			rig_wait(&r, 2000);
			CHECK(!fake_store_has(r.f, g.fr.be));
			check_base_line();
			end();
		}
	}
}

/* The domain is gone before we have ever looked at its device. */
static void test_gone_before(void)
{
	struct guest g;

	test_case("X6.6_gone_before_we_looked");
	begin();
	guest_boot(&g, r.f, GUEST_LINUX, 5, 0, "10.137.0.9");
	fake_domain_destroy(r.f, 5, -ENOENT);
	text_set(g.fr.be, "online", "0");
	rig_wait(&r, 3000);
	CHECK(!fake_store_has(r.f, g.fr.be));
	check_base_line();
	end();

	test_case("X6.7_no_state_in_our_own_node");
	begin();
	guest_boot(&g, r.f, GUEST_LINUX, 5, 0, "10.137.0.9");
	text_set(g.fr.be, "state", "0");
	rig_wait(&r, 3000);
	CHECK_INT(front_be_state(&g.fr), 2); /* over 6 */
	check_base_line();
	end();
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	test_foreign_paths();
	test_wrong_states();
	test_bounded_store();
	test_watch_flood();
	test_connect_churn();
	test_iteration();
	test_close_under_load();
	test_close_unconnected();
	test_gone_before();
	return test_end();
}
