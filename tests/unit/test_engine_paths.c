// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Corners of the packet path: what a narrow or missing link does to packets of
 * flows, to segments that are still to be cut, and to errors about flows; and which
 * flows a new epoch leaves alone.
 */
#include "firewall/engine_impl.h"
#include "tests/unit/check.h"
#include "tests/unit/lab6.h"

static struct lab lab;
static const struct seen *s = &lab.seen;

static void start(void)
{
	lab_init(&lab, 1024, 71);
	lab6_ifaces(&lab, 1500);
	lab_rules(&lab, C1, "accept", NULL);
	lab6_accept(&lab, C16);
	lab_wait(&lab, 1);
}

static void end(void)
{
	CHECK_INT(engine_check(lab.e), 0);
	engine_free(&lab.e);
}

static void uplink_mtu(uint16_t mtu)
{
	struct engine_iface up = lab.e->ifaces[UP].conf;

	up.mtu = mtu;
	CHECK_INT(engine_iface_set(lab.e, UP, &up), 0);
}

static struct pk out(uint8_t proto, uint8_t flags, size_t len)
{
	return (struct pk){.port = 1,
			   .src = C1,
			   .dst = WEB,
			   .proto = proto,
			   .sp = 5000,
			   .dp = 53,
			   .flags = flags,
			   .seq = flags & T_SYN ? 0 : 1,
			   .ack = flags & T_ACK ? 1 : 0,
			   .len = len};
}

static struct pk in(uint8_t proto, uint8_t flags, size_t len)
{
	return (struct pk){.port = UP,
			   .src = WEB,
			   .dst = OUR,
			   .proto = proto,
			   .sp = 53,
			   .dp = 5000,
			   .flags = flags,
			   .seq = flags & T_SYN ? 0 : 1,
			   .ack = flags & T_ACK ? 1 : 0,
			   .len = len};
}

static void handshake(void)
{
	lab_send(&lab, out(6, T_SYN, 0));
	lab_send(&lab, in(6, T_SYN | T_ACK, 0));
	lab_send(&lab, out(6, T_ACK, 0));
	lab_forwarded(__FILE__, __LINE__, s, OUR, WEB, UP);
}

#define PASSES_OUT()	lab_forwarded(__FILE__, __LINE__, s, OUR, WEB, UP)
#define PASSES_IN()	lab_forwarded(__FILE__, __LINE__, s, WEB, C1, 1)
#define DROPPED(reason) lab_dropped(__FILE__, __LINE__, s, reason)

static void test_segments(void)
{
	struct pk k = out(6, T_ACK, 20000);

	test_case("P11_gso_without_df_is_cut_smaller");
	start();
	handshake();
	uplink_mtu(1000);
	k.gso = 1460;
	lab_send(&lab, k);
	PASSES_OUT();
	CHECK_INT(lab.in.f.gso_size, 960);
	k.frag = 0x4000;
	lab_send(&lab, k);
	CHECK_INT(s->verdict, FRAME_REPLY);
	CHECK_INT(s->reason, DROP_TOO_BIG);
	CHECK_INT(s->info, 1000);
	end();

	test_case("T6_the_window_before_the_path");
	start();
	handshake();
	uplink_mtu(1000);
	k = out(6, T_ACK, 10);
	k.seq = 100000000;
	k.ttl = 1;
	lab_send(&lab, k);
	DROPPED(DROP_TCP_WINDOW);
	k.seq = 1;
	lab_send(&lab, k);
	CHECK_INT(s->reason, DROP_TTL);
	CHECK_INT(s->verdict, FRAME_REPLY);
	/* it went no further, so nothing has been sent (P6) */
	lab_send(&lab, in(6, T_ACK, 0));
	PASSES_IN();
	k = in(6, T_ACK, 0);
	k.ack = 11;
	lab_send(&lab, k);
	DROPPED(DROP_TCP_WINDOW);
	end();

	test_case("P11_a_reset_that_does_not_fit_ends_nothing");
	start();
	handshake();
	k = out(6, T_RST | T_ACK, 0);
	k.ttl = 1;
	lab_send(&lab, k);
	DROPPED(DROP_TTL); /* I9: and it is not answered */
	k = out(6, T_ACK, 5);
	lab_send(&lab, k);
	PASSES_OUT();
	CHECK_INT(lab.e->table.flows[0].state, FLOW_TCP_OPEN);
	end();
}

/* --- errors about a flow ---------------------------------------------------------------- */

/* "Too big", quoting what the flow has sent; from outside or from the client. */
static void error(bool inward, size_t data, uint16_t frag)
{
	static uint8_t inner[LAB_TAIL];
	struct pk q = inward ? out(17, 0, data) : in(17, 0, data);
	size_t len;

	q.src = inward ? OUR : WEB;
	q.dst = inward ? WEB : C1;
	len = lab_ip4(inner, &q);
	lab_send(&lab, (struct pk){.port = inward ? UP : 1,
				   .src = inward ? "198.51.100.1" : C1,
				   .dst = inward ? OUR : WEB,
				   .proto = 1,
				   .type = 3,
				   .code = 4,
				   .data = inner,
				   .len = len,
				   .frag = frag});
}

static void test_errors(void)
{
	test_case("I2_client_without_link");
	start();
	lab_send(&lab, out(17, 0, 8));
	lab_send(&lab, in(17, 0, 8));
	error(true, 0, 0);
	lab_forwarded(__FILE__, __LINE__, s, "198.51.100.1", C1, 1);
	engine_iface_link(lab.e, 1, false);
	error(true, 0, 0);
	DROPPED(DROP_NO_IFACE);
	engine_iface_link(lab.e, 1, true);

	test_case("I2_no_uplink_for_an_error_of_the_clients");
	error(false, 0, 0);
	lab_forwarded(__FILE__, __LINE__, s, OUR, WEB, UP);
	engine_iface_link(lab.e, UP, false);
	error(false, 0, 0);
	DROPPED(DROP_NO_UPLINK);
	engine_iface_link(lab.e, UP, true);

	test_case("I5_an_error_that_is_too_big_is_not_answered");
	uplink_mtu(600);
	error(false, 700, 0x4000);
	DROPPED(DROP_TOO_BIG);
	error(false, 700, 0); /* without DF it leaves in pieces */
	DROPPED(DROP_NONE);
	end();
}

/* --- epochs --------------------------------------------------------------------------------- */

static void test_epoch(void)
{
	static const char *const dns[] = {"action=accept proto=udp dstports=53-53",
					  "action=accept proto=icmp", NULL};
	struct engine_dns map = {lab_to_addr("10.139.1.1"), lab_to_addr("192.0.2.53")};
	uint64_t created;

	test_case("R6_allowed_flows_stay_under_a_new_epoch");
	start();
	lab_send(&lab, out(17, 0, 8));
	lab_send(&lab,
		 (struct pk){.port = 1, .src = C1, .dst = WEB, .proto = 1, .type = 8, .sp = 7});
	created = engine_stats(lab.e)->flows_created;
	lab_rules(&lab, C1, "drop", dns);
	lab_send(&lab, out(17, 0, 8));
	PASSES_OUT();
	lab_send(&lab,
		 (struct pk){.port = UP, .src = WEB, .dst = OUR, .proto = 1, .type = 0, .sp = 7});
	PASSES_IN();
	CHECK_INT(engine_stats(lab.e)->flows_created, created);
	CHECK_INT(engine_stats(lab.e)->flows_denied, 0);

	test_case("R6_a_server_that_becomes_virtual_ends_its_flows");
	map.virt = lab_to_addr(WEB);
	engine_set_dns(lab.e, &map, 1);
	lab_send(&lab, out(17, 0, 8));
	lab_forwarded(__FILE__, __LINE__, s, OUR, "192.0.2.53", UP);
	CHECK_INT(engine_stats(lab.e)->flows_denied, 1);
	lab_send(&lab, (struct pk){.port = UP,
				   .src = "192.0.2.53",
				   .dst = OUR,
				   .proto = 17,
				   .sp = 53,
				   .dp = s->sp,
				   .len = 4});
	PASSES_IN(); /* the client sees the one it asked */

	test_case("R6_the_real_one_goes_away");
	map.real = (struct addr){0};
	engine_set_dns(lab.e, &map, 1);
	lab_send(&lab, out(17, 0, 8));
	DROPPED(DROP_DNS_SERVER);

	test_case("Q3_a_virtual_server_does_not_lead_to_a_client");
	map.real = lab_to_addr(C2);
	engine_set_dns(lab.e, &map, 1);
	lab_send(&lab, out(17, 0, 8));
	DROPPED(DROP_INTER_CLIENT);
	map.real = lab_to_addr(OUR);
	engine_set_dns(lab.e, &map, 1);
	lab_send(&lab, out(17, 0, 8));
	DROPPED(DROP_INTER_CLIENT);
	/* more servers than there can be: the first two count */
	{
		struct engine_dns many[ENGINE_DNS_MAX + 1] = {map, map, map};

		engine_set_dns(lab.e, many, ENGINE_DNS_MAX + 1);
		CHECK_INT(lab.e->dns_count, ENGINE_DNS_MAX);
	}
	end();
}

static void test_room(void)
{
	struct engine_source_options o = {.max_flows = 2};
	struct addr c1 = lab_to_addr(C1);
	struct pk k = out(17, 0, 8);

	test_case("N5_flows_that_are_over_make_room");
	start();
	CHECK_INT(engine_source_options(lab.e, &c1, &o), 0);
	for (k.dp = 1; k.dp <= 2; k.dp++) {
		lab_send(&lab, k);
		lab_send(
		    &lab,
		    (struct pk){
			.port = UP, .src = WEB, .dst = OUR, .proto = 17, .sp = k.dp, .dp = 5000});
	}
	lab_send(&lab, k);
	CHECK_INT(s->reason, DROP_FLOW_LIMIT);
	lab.ms += 4000; /* in steps, or it would look like a suspend (D5) */
	for (int i = 0; i < 80; i++) {
		struct frame *none = NULL;

		engine_process(lab.e, &none, 0, (struct engine_time){lab.ms});
		lab.ms += 4000;
	}
	lab_send(&lab, k); /* no tick has looked at them */
	PASSES_OUT();
	end();
}

static void test_link_local(void)
{
	struct l4 k = {.proto = 17, .src = C16, .dst = "fe80::1234", .sp = 1, .dp = 2, .len = 4};

	test_case("P6_link_local_is_not_forwarded");
	start();
	lab6_build(&lab.in, 1, &k);
	lab_run(&lab);
	CHECK_INT(lab.in.f.reason, DROP_MARTIAN);
	k.src = "fe80::1234";
	k.dst = OUR6;
	lab6_build(&lab.in, UP, &k);
	lab_run(&lab);
	CHECK_INT(lab.in.f.reason, DROP_MARTIAN);

	test_case("Q6_discovery_that_is_cut_off");
	lab6_raw(&lab.in, 1, C16, WEB6, 58, (uint8_t[]){135, 0, 0, 0}, 4);
	lab_run(&lab);
	CHECK_INT(lab.in.f.reason, DROP_NDP);
	end();
}

/* N2: bytes from outside change which ports are chosen, from then on. */
static void test_stir(void)
{
	uint16_t ports[3][8];

	test_case("N2_stirring_changes_the_choice_of_ports");
	for (int run = 0; run < 3; run++) {
		struct pk k = out(17, 0, 8);

		start();
		lab_rules(&lab, C2, "accept", NULL);
		if (run == 2)
			engine_stir(lab.e, "from the VM's own seed", 22);
		for (uint16_t i = 0; i < 8; i++) {
			k.sp = (uint16_t)(5000 + i);
			k.port = 1;
			k.src = C1;
			lab_send(&lab, k);
			k.port = 2;
			k.src = C2;
			ports[run][i] = lab_send(&lab, k)->sp;
		}
		end();
	}
	CHECK(memcmp(ports[0], ports[1], sizeof(ports[0])) == 0);
	CHECK(memcmp(ports[0], ports[2], sizeof(ports[0])) != 0);
}

int main(void)
{
	test_segments();
	test_errors();
	test_epoch();
	test_room();
	test_link_local();
	test_stir();
	return test_end();
}
