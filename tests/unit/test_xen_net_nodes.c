// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The nodes of a device, row by row: section 5 of the reference, both as the backend
 * of a client and as the frontend of the netvm. Each case is named after its row
 * (doc/catalogue.md).
 */
#include "tests/fake/fake_backend.h"
#include "tests/fake/rig.h"
#include "tests/unit/check.h"

#include <stdlib.h>

static struct rig r;

static const char *node(const char *dir, const char *name)
{
	char path[192];
	const char *value;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	value = fake_store_get(r.f, path);
	return value ? value : "(none)";
}

static bool has(const char *dir, const char *name)
{
	return strcmp(node(dir, name), "(none)") != 0;
}

static void set(const char *dir, const char *name, const char *value)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (value)
		fake_store_set(r.f, path, "%s", value);
	else
		fake_store_del(r.f, path);
}

/* --- what the toolstack says --------------------------------------------------------- */
static void test_toolstack(void)
{
	static const struct {
		const char *mtu;
		uint16_t want;
	} mtus[] = {{NULL, 1500},    {"1400", 1400}, {"9000", 9000}, {"67", 1500},   {"68", 68},
		    {"65536", 1500}, {"-1", 1500},   {"", 1500},     {"1400 ", 1500}};
	static const char *const kept[][2] = {
	    {"online", "1"},	    {"ip", "10.137.0.9 fd09::9"},
	    {"bridge", "xenbr0"},   {"script", "/etc/xen/scripts/vif-bridge"},
	    {"handle", "0"},	    {"type", "vif_ioemu"},
	    {"rate", "1000,50000"}, {"mac", "00:16:3e:5e:05:00"},
	    {"frontend-id", "5"},
	};
	struct front fr;
	struct port *port;

	test_case("X5.1_who_a_client_is_comes_from_our_own_directory");
	for (size_t i = 0; i < sizeof(mtus) / sizeof(mtus[0]); i++) {
		rig_start(&r);
		front_plug(&fr, r.f, 5, 0, "10.137.0.9 fd09::9");
		set(fr.be, "mtu", mtus[i].mtu);
		set(fr.be, "bridge", "xenbr0");
		set(fr.be, "type", "vif_ioemu"); /* an HVM's, as good as any */
		set(fr.be, "rate", "1000,50000");
		rig_poll(&r);
		port = rig_port(&r, "vif5.0");
		if (!CHECK(port != NULL))
			exit(test_end());
		CHECK_INT(port->mtu, mtus[i].want);
		CHECK_STR(port->ip, "10.137.0.9 fd09::9");
		CHECK(memcmp(port->mac, "\x00\x16\x3e\x5e\x05\x00", 6) == 0);
		CHECK_INT(port->domid, 5);
		/* what is the toolstack's stays as it is */
		for (size_t k = 0; k < sizeof(kept) / sizeof(kept[0]); k++)
			CHECK_STR(node(fr.be, kept[k][0]), kept[k][1]);
		rig_end(&r);
	}

	test_case("X5.2_nothing_of_the_guests_directory_says_who_it_is");
	rig_start(&r);
	front_plug(&fr, r.f, 5, 0, "10.137.0.9");
	set(fr.fe, "mac", "00:16:3e:00:00:01");
	set(fr.fe, "ip", "10.137.0.66");
	set(fr.fe, "mtu", "9000");
	set(fr.fe, "handle", "77");
	set(fr.fe, "backend-id", "0");
	set(fr.fe, "backend", "/local/domain/0/backend/vif/5/0");
	set(fr.fe, "trusted", "1");
	rig_poll(&r);
	port = rig_port(&r, "vif5.0");
	CHECK(port && memcmp(port->mac, "\x00\x16\x3e\x5e\x05\x00", 6) == 0);
	CHECK_STR(port ? port->ip : "", "10.137.0.9");
	CHECK_INT(port ? port->mtu : 0, 1500);
	rig_end(&r);

	test_case("X5.5_a_guest_writes_nothing_that_its_identity_comes_from");
	rig_start(&r);
	port = rig_plug(&r, &fr, 5, NULL);
	set(fr.fe, "mac", "00:16:3e:00:00:01");
	set(fr.fe, "frontend-id", "6");
	rig_poll(&r);
	CHECK(port && port->link && memcmp(port->mac, "\x00\x16\x3e\x5e\x05\x00", 6) == 0);
	rig_end(&r);
}

/* --- what we offer ---------------------------------------------------------------------- */
static void test_offers(void)
{
	static const char *const offered[][2] = {
	    {"feature-sg", "1"},
	    {"feature-gso-tcpv4", "1"},
	    {"feature-gso-tcpv6", "1"},
	    {"feature-ipv6-csum-offload", "1"},
	    {"feature-rx-copy", "1"},
	    {"feature-rx-flip", "0"},
	    {"multi-queue-max-queues", "1"},
	    {"feature-split-event-channels", "1"},
	    {"hotplug-status", "connected"},
	};
	static const char *const never[] = {
	    "feature-ctrl-ring",
	    "feature-multicast-control",
	    "feature-dynamic-multicast-control",
	    "feature-xdp-headroom",
	    "feature-persistent",
	    "feature-no-csum-offload",
	    "request-multicast-control",
	};
	struct front fr;

	test_case("X5.3_what_a_backend_offers_before_state_2");
	rig_start(&r);
	front_plug(&fr, r.f, 5, 0, "10.137.0.9");
	rig_poll(&r);
	CHECK_INT(front_be_state(&fr), 2);
	for (size_t i = 0; i < sizeof(offered) / sizeof(offered[0]); i++)
		CHECK_STR(node(fr.be, offered[i][0]), offered[i][1]);
	rig_end(&r);
	/* all of it or nothing: each write fails once, and until all are there the
	 * state is 1 */
	for (uint32_t bad = 1; bad <= 9; bad++) {
		rig_start(&r);
		front_plug(&fr, r.f, 5, 0, "10.137.0.9");
		fake_fail(r.f, FAKE_STORE_WRITE, bad, 1, -28);
		netback_poll_store(r.nb, r.now_ms);
		CHECK_INT(front_be_state(&fr), 1);
		CHECK_STR(node(fr.be, "feature-sg"), "(none)");
		rig_wait(&r, 2000);
		CHECK_INT(front_be_state(&fr), 2);
		CHECK_STR(node(fr.be, "hotplug-status"), "connected");
		rig_end(&r);
	}

	test_case("X5.6_what_a_backend_does_not_offer");
	rig_start(&r);
	rig_plug(&r, &fr, 5, NULL);
	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		CHECK_STR(node(fr.be, never[i]), "(none)");
	rig_end(&r);
}

/* What we publish as a frontend. */
static void test_frontend(void)
{
	static const char *const on[] = {"request-rx-copy",   "feature-rx-notify",
					 "feature-sg",	      "feature-gso-tcpv4",
					 "feature-gso-tcpv6", "feature-ipv6-csum-offload"};
	struct fake_backend b;

	test_case("X5.4_what_a_frontend_publishes");
	for (int split = 0; split < 2; split++) {
		for (int queues = 0; queues < 2; queues++) {
			struct fake_backend_config c = {.no_split = !split, .multi_queue = queues};

			rig_start(&r);
			fake_backend_plug(&b, r.f, 1, 0, "00:16:3e:5e:6c:01");
			fake_backend_offer(&b, &c);
			rig_poll(&r);
			CHECK_INT(fake_backend_front_state(&b), 4);
			for (size_t i = 0; i < sizeof(on) / sizeof(on[0]); i++)
				CHECK_STR(node(b.fe, on[i]), "1");
			CHECK_STR(node(b.fe, "feature-no-csum-offload"), "(none)");
			CHECK_INT(has(b.fe, "event-channel"), !split);
			CHECK_INT(has(b.fe, "event-channel-tx"), split);
			CHECK_INT(has(b.fe, "event-channel-rx"), split);
			/* one queue: flat, and said only to a backend that asked */
			CHECK_STR(node(b.fe, "multi-queue-num-queues"), queues ? "1" : "(none)");
			CHECK_STR(node(b.fe, "queue-0/tx-ring-ref"), "(none)");
			CHECK_INT(fake_backend_connect(&b), 0);
			fake_backend_disconnect(&b);
			rig_end(&r);
		}
	}
}

/* --- what a frontend may publish ------------------------------------------------------- */
/* One that is refused ends at 6 and takes nobody along. */
static void refused(const struct front_config *config, const char *name, const char *value)
{
	struct front good, fr;
	struct port *pg;

	rig_start(&r);
	pg = rig_plug(&r, &good, 9, NULL);
	front_plug(&fr, r.f, 5, 0, "10.137.0.9");
	rig_poll(&r);
	front_connect(&fr, config);
	if (name)
		set(fr.fe, name, value);
	rig_wait(&r, 5000);
	CHECK_INT(front_be_state(&fr), 6);
	CHECK(!rig_port(&r, "vif5.0")->link);
	CHECK_INT(fake_use(r.f).maps, 2); /* the good one's */
	CHECK_INT(fake_use(r.f).ports, 2);
	CHECK(pg->link);
	rig_end(&r);
}

static void accepted(const struct front_config *config, const char *name, const char *value,
		     unsigned int ports)
{
	struct front fr;
	struct port *port;

	rig_start(&r);
	front_plug(&fr, r.f, 5, 0, "10.137.0.9");
	rig_poll(&r);
	front_connect(&fr, config);
	if (name)
		set(fr.fe, name, value);
	rig_poll(&r);
	port = rig_port(&r, "vif5.0");
	CHECK(port && port->link);
	CHECK_INT(front_be_state(&fr), 4);
	CHECK_INT(fake_use(r.f).ports, ports);
	rig_end(&r);
}

static void test_connect(void)
{
	static const char *const numbers[] = {"",    " 8",  "8 ",	   "+8",	 "-8",
					      "0x8", "8.0", "12345678901", "4294967296", "eight"};
	struct front_config single = {.single_channel = true};

	test_case("X5.7_split_channels_first_else_the_single_one");
	accepted(NULL, NULL, NULL, 2);
	accepted(NULL, "event-channel", "77", 2); /* split ones are there: not looked at */
	accepted(&single, NULL, NULL, 1);
	refused(&single, "event-channel", NULL);
	refused(NULL, "event-channel-rx", NULL); /* half of a pair is none */

	test_case("X5.7_more_queues_than_we_take_or_none_are_refused");
	accepted(NULL, "multi-queue-num-queues", "1", 2);
	accepted(NULL, "multi-queue-num-queues", NULL, 2);
	refused(NULL, "multi-queue-num-queues", "0");
	refused(NULL, "multi-queue-num-queues", "2");
	refused(NULL, "multi-queue-num-queues", "4294967295");
	refused(NULL, "multi-queue-num-queues", "99999999999999999999");
	refused(NULL, "multi-queue-num-queues", "1x");

	test_case("X5.7_without_request_rx_copy_refused");
	refused(&(struct front_config){.no_rx_copy = true}, NULL, NULL);
	refused(NULL, "request-rx-copy", "0");

	test_case("X5.5_numbers_of_a_guest_are_strict_decimals");
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		refused(NULL, "tx-ring-ref", numbers[i]);
		refused(NULL, "rx-ring-ref", numbers[i]);
		refused(NULL, "event-channel-tx", numbers[i]);
	}
}

/* A frontend that went to 4 with queues in directories of their own, as one that did
 * not look at our maximum would. */
static void test_queue_directories(void)
{
	struct front fr;

	test_case("X5.4_rings_under_queue_n_are_not_ours");
	rig_start(&r);
	front_plug(&fr, r.f, 5, 0, "10.137.0.9");
	rig_poll(&r);
	front_connect(&fr, NULL);
	set(fr.fe, "queue-0/tx-ring-ref", node(fr.fe, "tx-ring-ref"));
	set(fr.fe, "queue-0/rx-ring-ref", node(fr.fe, "rx-ring-ref"));
	set(fr.fe, "tx-ring-ref", NULL);
	set(fr.fe, "rx-ring-ref", NULL);
	set(fr.fe, "multi-queue-num-queues", "2");
	rig_wait(&r, 5000);
	CHECK_INT(front_be_state(&fr), 6);
	CHECK_INT(fake_use(r.f).maps, 0);
	rig_end(&r);
}

int main(void)
{
	test_toolstack();
	test_offers();
	test_frontend();
	test_connect();
	test_queue_directories();
	return test_end();
}
