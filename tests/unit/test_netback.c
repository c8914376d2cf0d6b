// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The life of vifs: appear, connect, close, detach, come back, vanish; the
 * toolstack and the frontend are played by the test over the fake xenstore.
 */
#include "tests/fake/rig.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

static struct rig r;
static struct fake_use base; /* of a netback without devices */

static void begin(void)
{
	rig_start(&r);
	base = fake_use(r.f);
}

static void check_base_line(void)
{
	struct fake_use u = fake_use(r.f);

	CHECK_INT(u.maps, base.maps);
	CHECK_INT(u.ports, base.ports);
	CHECK_INT(u.shared_pages, base.shared_pages);
	CHECK_INT(u.watches, base.watches);
	CHECK_INT(u.transactions, base.transactions);
}

static void end(void)
{
	struct fake_use u;

	rig_stop(&r);
	u = fake_use(r.f);
	CHECK_INT(u.maps + u.ports + u.shared_pages + u.watches + u.transactions, 0);
	fake_free(&r.f);
}

static const char *be_node(const struct front *fr, const char *name)
{
	char path[192];
	const char *value;

	snprintf(path, sizeof(path), "%s/%s", fr->be, name);
	value = fake_store_get(r.f, path);
	return value ? value : "(none)";
}

static void be_set(const struct front *fr, const char *name, const char *value)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/%s", fr->be, name);
	fake_store_set(r.f, path, "%s", value);
}

static void fe_set(const struct front *fr, const char *name, const char *value)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/%s", fr->fe, name);
	fake_store_set(r.f, path, "%s", value);
}

/* The steps of our state, as a watcher of xenstore sees them. */
static void check_states(const struct front *fr, const char *want)
{
	char text[32];

	snprintf(text, sizeof(text), "%u/%u", front_be_state(fr), front_state(fr));
	CHECK_STR(text, want);
}

/* Walk a frontend that does what Linux does at the backend's 5. */
static void linux_follows(struct front *fr)
{
	rig_poll(&r);
	if (front_be_state(fr) == 5 && front_state(fr) == 4) {
		front_disconnect(fr);
		front_set_state(fr, 6);
		rig_poll(&r);
	}
}

/* --- appear and connect ------------------------------------------------------------ */
static void test_appear(void)
{
	struct front fr;
	struct port *port;

	test_case("appear: features first, then InitWait, and known by address and MAC");
	begin();
	front_plug(&fr, r.f, 5, 0, "10.137.0.9 fd09::9");
	rig_poll(&r);
	port = rig_port(&r, "vif5.0");
	if (!CHECK(port != NULL))
		exit(1);
	check_states(&fr, "2/1");
	CHECK_STR(be_node(&fr, "feature-sg"), "1");
	CHECK_STR(be_node(&fr, "feature-gso-tcpv4"), "1");
	CHECK_STR(be_node(&fr, "feature-gso-tcpv6"), "1");
	CHECK_STR(be_node(&fr, "feature-ipv6-csum-offload"), "1");
	CHECK_STR(be_node(&fr, "feature-rx-copy"), "1");
	CHECK_STR(be_node(&fr, "feature-rx-flip"), "0");
	CHECK_STR(be_node(&fr, "feature-split-event-channels"), "1");
	CHECK_STR(be_node(&fr, "multi-queue-max-queues"), "1");
	CHECK_STR(be_node(&fr, "hotplug-status"), "connected");
	CHECK_STR(be_node(&fr, "feature-ctrl-ring"), "(none)"); /* hp_270_ctrl_ring_not_offered */
	CHECK_STR(be_node(&fr, "feature-multicast-control"), "(none)");
	CHECK_STR(port->ip, "10.137.0.9 fd09::9");
	CHECK(port->mac[0] == 0 && port->mac[1] == 0x16 && port->mac[4] == 5 && port->mac[5] == 0);
	CHECK(!port->link && port->domid == 5 && port->devid == 0 && port->kind == PORT_VIF);
	CHECK_INT(port->xenbus_state, 2);
	CHECK_INT(r.added, 1);
	CHECK_INT(r.up, 0);
	CHECK_INT(fake_use(r.f).watches, base.watches + 1); /* hp_326_bounded_xenstore */
	front_connect(&fr, NULL);
	rig_poll(&r);
	check_states(&fr, "4/4");
	CHECK(port->link && port->ready);
	CHECK_STR(port->reason, "");
	CHECK_INT(r.up, 1);
	CHECK_INT(fake_use(r.f).maps, 2); /* hp_218_only_ring_maps */
	CHECK_INT(fake_use(r.f).ports, 2);
	end();
}

static void test_before_us(void)
{
	struct front a, b;

	test_case("devices that were there before us");
	begin();
	front_plug(&a, r.f, 5, 0, "10.137.0.9");
	front_plug(&b, r.f, 6, 1, "10.137.0.10");
	rig_restart(&r);
	CHECK_INT(r.added, 0);
	netback_poll_store(r.nb, r.now_ms);
	CHECK(rig_port(&r, "vif5.0") && rig_port(&r, "vif6.1"));
	CHECK_INT(front_be_state(&a), 2);
	CHECK_INT(front_be_state(&b), 2);
	end();
}

/* The nodes of a device come one by one, in any order (trap 7). */
static void test_slow_toolstack(void)
{
	static const char *const names[] = {"mac", "frontend", "frontend-id", "online"};
	struct front fr;
	char path[192];

	test_case("a directory that fills slowly");
	for (size_t missing = 0; missing < sizeof(names) / sizeof(names[0]); missing++) {
		char kept[128];

		begin();
		front_plug(&fr, r.f, 5, 0, "10.137.0.9");
		snprintf(kept, sizeof(kept), "%s", be_node(&fr, names[missing]));
		snprintf(path, sizeof(path), "%s/%s", fr.be, names[missing]);
		fake_store_del(r.f, path);
		rig_poll(&r);
		CHECK_INT(r.added, missing == 3); /* online is not who it is */
		fake_store_set(r.f, path, "%s", kept);
		rig_poll(&r);
		CHECK_INT(r.added, 1);
		CHECK_INT(front_be_state(&fr), 2);
		end();
	}
}

/* hp_115_foreign_paths: our own directory that names somebody else's frontend. */
static void test_foreign_paths(void)
{
	static const struct {
		const char *name, *value;
	} bad[] = {
		{"frontend", "/local/domain/6/device/vif/0"},
		{"frontend", "/local/domain/55/device/vif/0"},
		{"frontend", "device/vif/0"},
		{"frontend-id", "6"},
		{"frontend-id", "0x5"},
		{"frontend-id", "4294967301"},
		{"mac", "00:16:3e:5e:6c"},
		{"mac", "00:16:3e:5e:6c:0g"},
		{"mac", "00-16-3e-5e-6c-00"},
	};
	struct front fr;

	test_case("hp_115_foreign_paths: a directory that makes no sense is not served");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		begin();
		front_plug(&fr, r.f, 5, 0, "10.137.0.9");
		be_set(&fr, bad[i].name, bad[i].value);
		rig_poll(&r);
		CHECK_INT(r.added, 0);
		CHECK_INT(front_be_state(&fr), 1);
		end();
	}
}

/* What a frontend can publish that is not usable: refused, closed, others live. */
static void test_bad_connect(void)
{
	static const struct {
		const char *name, *value; /* NULL: removed */
	} bad[] = {
		{"tx-ring-ref", NULL},	       {"tx-ring-ref", "99999"},
		{"rx-ring-ref", "-1"},	       {"rx-ring-ref", "12345678901"},
		{"event-channel-tx", ""},      {"event-channel-rx", NULL},
		{"event-channel-tx", "4095"},  {"request-rx-copy", "0"},
		{"request-rx-copy", NULL},     {"multi-queue-num-queues", "0"},
		{"multi-queue-num-queues", "2"}, {"multi-queue-num-queues", "1x"},
		{"tx-ring-ref", " 8"},	       {"rx-ring-ref", "4294967296"},
	};
	char path[192];
	struct front good;
	struct port *pg;

	test_case("a frontend that publishes what cannot be used");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct front fr;

		begin();
		pg = rig_plug(&r, &good, 9, NULL);
		front_plug(&fr, r.f, 5, 0, "10.137.0.9");
		rig_poll(&r);
		front_connect(&fr, NULL);
		snprintf(path, sizeof(path), "%s/%s", fr.fe, bad[i].name);
		if (bad[i].value)
			fake_store_set(r.f, path, "%s", bad[i].value);
		else
			fake_store_del(r.f, path);
		linux_follows(&fr);
		rig_wait(&r, 5000);
		CHECK_INT(front_be_state(&fr), 6);
		CHECK(!rig_port(&r, "vif5.0")->link);
		CHECK_INT(fake_use(r.f).maps, 2); /* only the good one's */
		CHECK_INT(fake_use(r.f).ports, 2);
		CHECK_INT(r.up, 1);
		CHECK(pg->link);
		end();
	}
}

/* --- the orderly ends ------------------------------------------------------------------- */
/* xl network-detach: online 0 and 5 in our node; libxl reads 6, then waits for
 * the directory to go; a directory that goes before it read 6 is an error. */
static void test_detach(unsigned int cycles)
{
	struct front fr;
	uint64_t at;

	test_case("detach and attach again, with everything back at the base line");
	begin();
	for (unsigned int i = 0; i < cycles; i++) {
		struct port *port = rig_plug(&r, &fr, 5, NULL);

		CHECK(port && port->link);
		front_detach(&fr);
		rig_poll(&r);
		CHECK(!port->link);
		check_states(&fr, "5/4"); /* we wait for the frontend */
		CHECK_INT(fake_use(r.f).maps, base.maps); /* but not with its pages */
		front_disconnect(&fr);
		front_set_state(&fr, 6);
		rig_poll(&r);
		check_states(&fr, "6/6");
		at = r.now_ms;
		while (fake_store_has(r.f, fr.be) && r.now_ms < at + 10000)
			rig_wait(&r, 50);
		CHECK(r.now_ms - at >= 1000 && r.now_ms - at <= 2000);
		CHECK(!fake_store_has(r.f, fr.be));
		CHECK_INT(r.removed, i + 1);
		check_base_line();
		fake_store_del(r.f, fr.fe); /* libxl does, once ours is gone */
		rig_poll(&r);
		CHECK_INT(r.added, i + 1);
	}
	CHECK_INT(r.up, cycles);
	CHECK_INT(r.down, cycles);
	end();
}

static void test_detach_stuck_guest(void)
{
	struct front fr;

	test_case("a guest that does not follow delays a detach by seconds, not for ever");
	begin();
	rig_plug(&r, &fr, 5, NULL);
	front_detach(&fr);
	rig_wait(&r, 2000);
	check_states(&fr, "5/4");
	rig_wait(&r, 1500);
	check_states(&fr, "6/4"); /* within the 10 s that libxl gives */
	rig_wait(&r, 2000);
	CHECK(!fake_store_has(r.f, fr.be));
	check_base_line();
	end();
}

/* xl destroy: the frontend's directory goes in the same breath. */
static void test_destroy(void)
{
	static const int errors[] = {-ENOENT, -EACCES};
	struct front fr;

	for (size_t i = 0; i < 2; i++) {
		test_case("destroy: directories go with the domain, the read error either way");
		begin();
		rig_plug(&r, &fr, 5, NULL);
		fake_domain_destroy(r.f, 5, errors[i]);
		rig_poll(&r);
		CHECK_INT(front_be_state(&fr), 6);
		CHECK_INT(fake_use(r.f).maps, base.maps); /* no zombie */
		CHECK_INT(r.down, 1);
		rig_wait(&r, 5000);
		CHECK(fake_store_has(r.f, fr.be)); /* online is still 1 */
		front_detach(&fr);
		rig_wait(&r, 2000);
		CHECK(!fake_store_has(r.f, fr.be));
		CHECK_INT(r.removed, 1);
		check_base_line();
		fake_store_deny(r.f, "/local/domain/5", 0);
		CHECK(rig_plug(&r, &fr, 5, NULL)->link); /* a domain with the same number */
		end();

		test_case("destroy by libxl: online 0 and 5 and the domain at once");
		begin();
		rig_plug(&r, &fr, 5, NULL);
		front_detach(&fr);
		fake_domain_destroy(r.f, 5, errors[i]);
		rig_poll(&r);
		CHECK_INT(front_be_state(&fr), 6);
		rig_wait(&r, 2000);
		CHECK(!fake_store_has(r.f, fr.be));
		check_base_line();
		end();
	}
	test_case("a domain that died without a word from the toolstack");
	begin();
	rig_plug(&r, &fr, 5, NULL);
	fake_domain_destroy(r.f, 5, -EACCES);
	rig_wait(&r, 31000);
	CHECK_INT(r.removed, 1);
	CHECK(fake_store_has(r.f, fr.be)); /* not ours to remove while online is 1 */
	check_base_line();
	rig_wait(&r, 100000);
	CHECK_INT(r.added, 1); /* and not taken up again */
	front_detach(&fr); /* until somebody cleans up */
	rig_wait(&r, 2000);
	CHECK(!fake_store_has(r.f, fr.be));
	check_base_line();
	end();
}

static void test_runtime_close(void)
{
	struct front fr;
	struct port *port;
	uint32_t generation;

	test_case("hp_windows_close_cycle: a close at run time keeps the directory");
	begin();
	port = rig_plug(&r, &fr, 5, NULL);
	for (int i = 0; i < 3; i++) {
		generation = port->generation;
		front_set_state(&fr, 5);
		rig_poll(&r);
		check_states(&fr, "5/5");
		CHECK(!port->link);
		front_disconnect(&fr);
		front_set_state(&fr, 6);
		rig_poll(&r);
		check_states(&fr, "6/6");
		rig_wait(&r, 60000);
		CHECK(fake_store_has(r.f, fr.be));
		CHECK(rig_port(&r, "vif5.0") == port);
		front_set_state(&fr, 1);
		rig_poll(&r);
		check_states(&fr, "2/1");
		front_connect(&fr, NULL);
		rig_poll(&r);
		check_states(&fr, "4/4");
		CHECK(port->link && port->generation != generation);
	}
	CHECK_INT(r.added, 1);
	CHECK_INT(r.removed, 0);
	end();
}

/* hp_465_close_unconnected: 5 then 6 before the first connect, also from our 1. */
static void test_close_unconnected(void)
{
	struct front fr;

	test_case("hp_465_close_unconnected");
	begin();
	front_plug(&fr, r.f, 5, 0, "10.137.0.9");
	rig_poll(&r);
	front_set_state(&fr, 5);
	rig_poll(&r);
	check_states(&fr, "5/5");
	front_set_state(&fr, 6);
	rig_poll(&r);
	check_states(&fr, "6/6");
	/* and once more while closed: it waits for 5 again */
	front_set_state(&fr, 5);
	rig_poll(&r);
	check_states(&fr, "5/5");
	front_set_state(&fr, 6);
	rig_poll(&r);
	check_states(&fr, "6/6");
	front_set_state(&fr, 1);
	rig_poll(&r);
	check_states(&fr, "2/1");
	front_connect(&fr, NULL);
	rig_poll(&r);
	check_states(&fr, "4/4");
	end();

	test_case("a frontend that hangs in 5 is left at 6");
	begin();
	rig_plug(&r, &fr, 5, NULL);
	front_set_state(&fr, 5);
	rig_wait(&r, 20000);
	check_states(&fr, "6/5");
	end();

	test_case("a frontend that closes before we looked");
	begin();
	front_plug(&fr, r.f, 5, 0, "10.137.0.9");
	front_set_state(&fr, 5);
	rig_poll(&r);
	check_states(&fr, "5/5");
	front_set_state(&fr, 6);
	rig_poll(&r);
	check_states(&fr, "6/6");
	end();

	test_case("straight to 6 from connected (netvm set to none)");
	begin();
	rig_plug(&r, &fr, 5, NULL);
	front_set_state(&fr, 6);
	rig_poll(&r);
	check_states(&fr, "6/6");
	CHECK_INT(fake_use(r.f).maps, 0);
	front_detach(&fr); /* libxl leaves a 6 alone */
	rig_wait(&r, 2000);
	CHECK(!fake_store_has(r.f, fr.be));
	end();
}

static void test_removed_under_us(void)
{
	struct front fr;

	test_case("a removal that xenstore refused is tried again");
	begin();
	rig_plug(&r, &fr, 5, NULL);
	front_detach(&fr);
	linux_follows(&fr);
	fake_fail(r.f, FAKE_STORE_RM, 1, 2, -EIO);
	rig_wait(&r, 8000);
	CHECK(!fake_store_has(r.f, fr.be));
	CHECK_INT(r.removed, 1);
	check_base_line();
	end();

	test_case("the toolstack removes our directory by force");
	begin();
	rig_plug(&r, &fr, 5, NULL);
	fake_store_del(r.f, fr.be);
	rig_poll(&r);
	CHECK(!fake_store_has(r.f, fr.be)); /* no write of ours brought it back */
	CHECK_INT(r.removed, 1);
	check_base_line();
	end();
}

/* Between two looks of ours: removed by force and made again, for a qube whose
 * address has changed meanwhile. Nothing of the old one may serve the new one. */
static void test_replaced_under_us(void)
{
	struct front fr, again;
	struct port *port;

	test_case("a directory that was made anew is another device (trap 9)");
	begin();
	rig_plug(&r, &fr, 5, NULL);
	fake_store_del(r.f, fr.be);
	fake_store_del(r.f, fr.fe);
	front_plug(&again, r.f, 5, 0, "10.137.0.77");
	rig_wait(&r, 100);
	port = rig_port(&r, "vif5.0");
	CHECK_INT(r.down, 1);
	CHECK_INT(r.removed, 1);
	CHECK_INT(r.added, 2);
	if (!CHECK(port != NULL))
		exit(1);
	CHECK_STR(port->ip, "10.137.0.77");
	CHECK_INT(fake_use(r.f).maps, base.maps);
	check_states(&again, "2/1");
	front_connect(&again, NULL);
	rig_poll(&r);
	check_states(&again, "4/4");
	end();
}

/* Rule 14 of hostile-peers.md: a frontend that opens and closes without end. */
static void test_reopen_storm(void)
{
	struct front fr, other;
	unsigned int opened = 0;

	test_case("hp_350_connect_churn: a frontend reopens 30 times a minute at most");
	begin();
	rig_plug(&r, &other, 6, NULL);
	rig_plug(&r, &fr, 5, NULL);
	for (int i = 0; i < 100; i++) {
		front_disconnect(&fr);
		front_set_state(&fr, 6);
		rig_wait(&r, 250); /* 8 steps of 32 a second */
		front_set_state(&fr, 1);
		rig_wait(&r, 250);
		if (front_be_state(&fr) != 2)
			continue;
		front_connect(&fr, NULL);
		rig_poll(&r);
		opened += front_be_state(&fr) == 4;
	}
	CHECK_INT(opened, 30);
	check_states(&fr, "6/1");
	CHECK_STR(rig_port(&r, "vif5.0")->reason, "too many reconnects");
	CHECK(rig_port(&r, "vif6.0")->link);
	CHECK(r.deadline_ms > r.now_ms && r.deadline_ms <= r.now_ms + 60000);
	rig_wait(&r, 60000); /* nobody writes: the deadline alone leads on */
	check_states(&fr, "2/1");
	front_connect(&fr, NULL);
	rig_poll(&r);
	check_states(&fr, "4/4");
	end();
}

static void test_other_states(void)
{
	static const char *const bad[] = {"9", "99", "4294967296", "-4", "4 ", "four", ""};
	struct front fr;

	test_case("reconfiguring is acknowledged, nothing else happens");
	begin();
	rig_plug(&r, &fr, 5, NULL);
	front_set_state(&fr, 7);
	rig_poll(&r);
	check_states(&fr, "8/7");
	CHECK(rig_port(&r, "vif5.0")->link);
	front_set_state(&fr, 4);
	rig_poll(&r);
	check_states(&fr, "4/4");
	CHECK_INT(r.up, 1);
	end();

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		test_case("a state that is none closes the vif");
		begin();
		rig_plug(&r, &fr, 5, NULL);
		fe_set(&fr, "state", bad[i]);
		rig_wait(&r, 5000);
		CHECK_INT(front_be_state(&fr), 6);
		CHECK_INT(fake_use(r.f).maps, 0);
		end();
	}

	test_case("nonsense in our own state node is closed over");
	begin();
	rig_plug(&r, &fr, 5, NULL);
	be_set(&fr, "state", "banana");
	rig_wait(&r, 10000);
	CHECK_INT(front_be_state(&fr), 6);
	end();
}

/* A daemon that died left state 4; its successor goes on with the same rings. */
static void test_take_over(void)
{
	struct front fr;
	struct port *port;
	uint8_t bytes[100] = {1, 2, 3}, got[200];

	test_case("rings of an earlier run are taken over");
	begin();
	front_plug(&fr, r.f, 5, 0, "10.137.0.9");
	be_set(&fr, "state", "4");
	front_connect(&fr, &(struct front_config){.start_index = 0xfffffff0});
	rig_poll(&r);
	port = rig_port(&r, "vif5.0");
	CHECK(port && port->link);
	/* the earlier run may have died between an answer and its event */
	CHECK(fake_port_taken(r.f, 5, fr.tx_port) > 0);
	CHECK(fake_port_taken(r.f, 5, fr.rx_port) > 0);
	check_states(&fr, "4/4");
	front_send(&fr, &(struct front_packet){.data = bytes, .len = sizeof(bytes)});
	CHECK_INT(rig_move(&r, port, port), 1);
	CHECK_INT(front_recv(&fr, got, sizeof(got), NULL, false), 100);
	end();

	test_case("and without a frontend in 4 they are closed");
	begin();
	front_plug(&fr, r.f, 5, 0, "10.137.0.9");
	be_set(&fr, "state", "4");
	rig_wait(&r, 5000);
	CHECK_INT(front_be_state(&fr), 2); /* 4, 5, 6, then 2 as it is in 1 */
	end();
}

static void test_fast_frontend(void)
{
	struct front fr;

	test_case("trap 1: 2 is visible before 4 even when the frontend is ahead");
	begin();
	front_plug(&fr, r.f, 5, 0, "10.137.0.9");
	front_connect(&fr, NULL);
	rig_poll(&r);
	check_states(&fr, "2/4");
	rig_wait(&r, 200);
	check_states(&fr, "4/4");
	end();
}

/* --- faults, floods, many ------------------------------------------------------------------ */
/* Every operation of a connect fails once: the vif recovers or closes, and
 * nothing is left over. */
static void test_faults(void)
{
	static const struct {
		enum fake_op op;
		int err;
	} ops[] = {
		{FAKE_MAP, -EINVAL},	    {FAKE_BIND, -EINVAL},     {FAKE_STORE_READ, -EIO},
		{FAKE_STORE_WRITE, -ENOSPC}, {FAKE_STORE_BEGIN, -ENOSPC}, {FAKE_STORE_END, -EAGAIN},
		{FAKE_STORE_WATCH, -ENOSPC}, {FAKE_STORE_LIST, -EIO},
	};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		test_case("hp_374_teardown_leaks: each operation fails once");
		for (uint32_t nth = 1; nth <= 45; nth++) {
			struct front fr;

			begin();
			fake_fail(r.f, ops[i].op, nth, 1, ops[i].err);
			front_plug(&fr, r.f, 5, 0, "10.137.0.9");
			rig_wait(&r, 1500); /* nobody reminds us of what was refused */
			CHECK_INT(front_be_state(&fr), 2);
			front_connect(&fr, NULL);
			rig_wait(&r, 500);
			front_detach(&fr);
			linux_follows(&fr);
			rig_wait(&r, 10000);
			if (!CHECK(!fake_store_has(r.f, fr.be))) {
				printf("  op %d nth %u: state %s, %u up, %s\n", (int)ops[i].op, nth,
				       be_node(&fr, "state"), r.up, r.last_line);
				nth = 100;
			}
			check_base_line();
			end();
		}
	}
}

/* The toolstack writes 5 between our look and our write: it must not be lost. */
static void test_conflict(void)
{
	struct front fr;

	test_case("transactions that conflict are tried again");
	begin();
	fake_fail(r.f, FAKE_STORE_END, 1, 5, -EAGAIN);
	front_plug(&fr, r.f, 5, 0, "10.137.0.9");
	rig_poll(&r);
	CHECK_INT(front_be_state(&fr), 2);
	CHECK_INT(fake_use(r.f).transactions, 0);
	fake_fail(r.f, FAKE_STORE_END, 1, 100, -EAGAIN);
	front_connect(&fr, NULL);
	rig_poll(&r);
	CHECK(!rig_port(&r, "vif5.0")->link);
	rig_wait(&r, 60000);
	CHECK_INT(front_be_state(&fr), 4);
	CHECK(rig_port(&r, "vif5.0")->link);
	end();
}

struct intruder {
	struct front *fr;
	unsigned int at, seen;
	bool remove;
};

/* The toolstack acts between our look at the nodes and our write. */
static void intrude(void *arg)
{
	struct intruder *in = arg;

	if (++in->seen != in->at)
		return;
	if (in->remove)
		fake_store_del(r.f, in->fr->be);
	else
		front_detach(in->fr);
}

static void test_intruder(void)
{
	test_case("a detach or removal between our look and our write is not undone");
	for (unsigned int i = 2; i < 10; i++) {
		struct front fr;
		struct intruder in = {.fr = &fr, .at = i / 2, .remove = i % 2};

		begin();
		fake_on_begin(r.f, intrude, &in);
		front_plug(&fr, r.f, 5, 0, "10.137.0.9");
		rig_poll(&r);
		front_connect(&fr, NULL);
		rig_poll(&r);
		if (in.seen >= in.at) {
			CHECK(fake_use(r.f).maps == 0);
			CHECK(in.remove || front_be_state(&fr) >= 5);
			rig_wait(&r, 8000);
			CHECK(!fake_store_has(r.f, fr.be));
			check_base_line();
		} else {
			CHECK_INT(in.at, 4); /* offers, 2, 4: three transactions */
		}
		end();
	}
}

static void test_watch_flood(void)
{
	struct front fr, other;
	struct port *port;
	uint64_t reads;

	test_case("hp_349_watch_flood: many events are one look");
	begin();
	port = rig_plug(&r, &fr, 5, NULL);
	reads = fake_count(r.f, FAKE_STORE_READ);
	for (int i = 0; i < 4000; i++)
		front_set_state(&fr, 4);
	netback_poll_store(r.nb, r.now_ms);
	CHECK(fake_count(r.f, FAKE_STORE_READ) - reads <= 6);
	CHECK(port->link);

	test_case("hp_349_watch_flood: a client that writes its state for ever");
	rig_plug(&r, &other, 6, NULL);
	rig_wait(&r, 1000);
	reads = fake_count(r.f, FAKE_STORE_READ);
	for (uint64_t i = 0; i < 10000; i++) { /* ten turns a millisecond */
		front_set_state(&fr, i & 1 ? 8 : 4);
		netback_poll_store(r.nb, r.now_ms + i / 10);
	}
	r.now_ms += 1000;
	CHECK(fake_count(r.f, FAKE_STORE_READ) - reads <= 2 * 32 * 3);
	CHECK(port->link);
	/* the other one is served at once, this one within a second */
	front_detach(&other);
	front_set_state(&fr, 5);
	netback_poll_store(r.nb, r.now_ms);
	CHECK_INT(front_be_state(&other), 5);
	rig_wait(&r, 1000);
	CHECK_INT(front_be_state(&fr), 5);
	linux_follows(&other);
	rig_wait(&r, 2000);
	CHECK(!fake_store_has(r.f, other.be));
	test_case("events of devices that are not there are ignored");
	fake_store_fire(r.f, "/local/domain/7/backend/vif");
	fake_store_set(r.f, "/local/domain/7/backend/vif/abc/0/state", "1");
	fake_store_set(r.f, "/local/domain/7/backend/vif/70000/0/state", "1");
	fake_store_set(r.f, "/local/domain/7/backend/vif/05/0/state", "1");
	fake_store_set(r.f, "/local/domain/7/backend/vif/5/-1/state", "1");
	fake_store_set(r.f, "/local/domain/7/backend/vif/5/zz", "1");
	rig_poll(&r);
	CHECK_INT(r.added, 2);
	end();
}

static void test_many(void)
{
	static struct front fr[NETBACK_VIF_MAX + 2];
	const struct front_config few = {.rx_post = 1};
	unsigned int linked = 0;

	test_case("128 vifs are served, the next is refused until one goes");
	begin();
	for (uint16_t i = 0; i < NETBACK_VIF_MAX + 2; i++)
		front_plug(&fr[i], r.f, (uint16_t)(100 + i), 0, "10.137.0.9");
	/* not all in one call: packets have their turn in between */
	CHECK_INT(netback_poll_store(r.nb, r.now_ms), r.now_ms);
	CHECK_INT(r.added, 16);
	rig_poll(&r);
	CHECK_INT(r.added, NETBACK_VIF_MAX);
	CHECK(r.lines >= 1);
	for (uint16_t i = 0; i < NETBACK_VIF_MAX + 2; i++)
		if (front_be_state(&fr[i]) == 2)
			front_connect(&fr[i], &few);
	rig_poll(&r);
	for (size_t i = 0; i < RIG_PORTS; i++)
		linked += r.port[i] && r.port[i]->link;
	CHECK_INT(linked, NETBACK_VIF_MAX);
	CHECK_INT(fake_use(r.f).ports, 2 * NETBACK_VIF_MAX);
	for (uint16_t i = 0; i < NETBACK_VIF_MAX + 2; i++)
		if (front_be_state(&fr[i]) == 4) {
			front_detach(&fr[i]);
			linux_follows(&fr[i]);
			break;
		}
	rig_wait(&r, 3000);
	fake_store_fire(r.f, "/local/domain/7/backend/vif");
	rig_poll(&r);
	CHECK_INT(r.added, NETBACK_VIF_MAX + 1);
	end();
}

/* hp_stubdom_pair: the two vifs of an HVM guest; one hangs, the other lives. */
static void test_pair(void)
{
	struct front stub, guest;

	test_case("hp_stubdom_pair");
	begin();
	front_plug(&stub, r.f, 11, 0, "10.137.0.9");
	front_plug(&guest, r.f, 10, 0, "10.137.0.9");
	rig_poll(&r);
	front_connect(&stub, NULL);
	fe_set(&stub, "tx-ring-ref", "junk");
	front_connect(&guest, NULL);
	rig_poll(&r);
	CHECK(rig_port(&r, "vif10.0")->link);
	CHECK(!rig_port(&r, "vif11.0")->link);
	end();
}

/* A frontend that saw 6 would wait for the toolstack; one that sees nothing goes on
 * with the next process. */
static void test_own_end(bool killed)
{
	static const uint8_t bytes[100] = {1, 2, 3};
	const struct front_packet p = {.data = bytes, .len = sizeof(bytes)};
	struct front fr;
	struct fake_use u;
	struct port *port;
	uint8_t got[200];

	test_case(killed ? "killed: clients go on with the next process"
			 : "at our own end clients stay connected and go on with the next process");
	begin();
	rig_plug(&r, &fr, 5, NULL);
	CHECK(front_send(&fr, &p)); /* nobody takes it any more */
	if (killed) {
		rig_crash(&r);
	} else {
		netback_free(&r.nb);
		u = fake_use(r.f);
		CHECK_INT(u.maps + u.ports + u.watches, 0);
		rig_restart(&r);
	}
	check_states(&fr, "4/4");
	CHECK_INT(r.down, 1);
	CHECK_INT(r.removed, 1);
	rig_poll(&r);
	port = rig_port(&r, "vif5.0");
	if (!CHECK(port && port->link && port->ready))
		exit(1);
	CHECK_INT(rig_move(&r, port, port), 1);
	CHECK_INT(front_recv(&fr, got, sizeof(got), NULL, false), sizeof(bytes));
	CHECK(memcmp(got, bytes, sizeof(bytes)) == 0);
	CHECK_INT(front_reap(&fr), 1);
	CHECK_INT(fr.bad, 0);
	end();
}

static void test_start(void)
{
	struct netback_config config = {0};
	struct netback *nb = NULL;
	struct fake_use u;
	struct xen *x;

	test_case("without its two watches netback does not begin");
	for (uint32_t nth = 1; nth <= 2; nth++) {
		rig_start(&r);
		CHECK(netback_store_fd(r.nb) >= 0 && netback_event_fd(r.nb) >= 0);
		rig_stop(&r);
		fake_fail(r.f, FAKE_STORE_WATCH, nth, 1, -ENOSPC);
		CHECK_INT(netback_new(&nb, fake_xen(r.f), &config), -ENOSPC);
		CHECK(nb == NULL);
		u = fake_use(r.f);
		CHECK_INT(u.watches, 0);
		x = fake_xen(r.f);
		xen_close(&x);
		CHECK(x == NULL);
		fake_free(&r.f);
	}
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	test_start();
	test_appear();
	test_before_us();
	test_slow_toolstack();
	test_foreign_paths();
	test_bad_connect();
	test_detach(20);
	test_detach_stuck_guest();
	test_destroy();
	test_runtime_close();
	test_close_unconnected();
	test_removed_under_us();
	test_replaced_under_us();
	test_reopen_storm();
	test_other_states();
	test_take_over();
	test_fast_frontend();
	test_faults();
	test_conflict();
	test_intruder();
	test_watch_flood();
	test_many();
	test_pair();
	test_own_end(false);
	test_own_end(true);
	return test_end();
}
