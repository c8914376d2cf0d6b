// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Endpoint-independent mapping (RFC 4787 REQ-1, RFC 5382 REQ-1): one port of ours
 * for each port of a client that has the option; exclusive, refused to strangers,
 * gone in time. The deep check runs after each case and after each step of the
 * random history at the end.
 */
#include "firewall/engine_impl.h"
#include "tests/unit/check.h"
#include "tests/unit/lab6.h"

#define WEB2  "192.0.2.81"
#define WEB26 "2001:db8:2::81"

static struct lab lab;

static void option(const char *ip, bool eim, uint32_t max_flows)
{
	struct engine_source_options o = {.eim = eim, .max_flows = max_flows};
	struct addr a = lab_to_addr(ip);

	CHECK_INT(engine_source_options(lab.e, &a, &o), 0);
}

static void start(void)
{
	lab_init(&lab, 1024, 21);
	lab6_ifaces(&lab, 1500);
	for (uint16_t p = 1; p <= 3; p++)
		lab_rules(&lab, lab_ip[p], "accept", NULL);
	lab6_accept(&lab, C16);
	lab6_accept(&lab, C26);
	option(C1, true, 0);
	option(C16, true, 0);
}

static void end(void)
{
	CHECK_INT(engine_check(lab.e), 0);
	engine_free(&lab.e);
}

/* A packet of a client; our port, or 0 when it did not pass. */
static uint16_t out(uint16_t port, uint8_t proto, uint16_t sp, const char *dst, uint16_t dp)
{
	const struct seen *s = lab_send(&lab, (struct pk){.port = port,
							  .src = lab_ip[port],
							  .dst = dst,
							  .proto = proto,
							  .sp = sp,
							  .dp = dp,
							  .flags = T_SYN});

	if (s->verdict != FRAME_FORWARD)
		return 0;
	lab_forwarded(__FILE__, __LINE__, s, OUR, dst, UP);
	return s->sp;
}

static uint16_t udp(uint16_t port, uint16_t sp, const char *dst, uint16_t dp)
{
	return out(port, 17, sp, dst, dp);
}

static uint16_t udp6(uint16_t port, uint16_t sp, const char *dst)
{
	struct l4 k = {
	    .proto = 17, .src = port == 1 ? C16 : C26, .dst = dst, .sp = sp, .dp = 80, .len = 10};

	lab6_build(&lab.in, port, &k);
	lab_run(&lab);
	CHECK_INT(lab.in.f.verdict, FRAME_FORWARD);
	return lab_get16(lab.in.f.header + 54);
}

static const struct seen *in(const char *src, uint16_t sp, uint16_t our)
{
	return lab_send(
	    &lab,
	    (struct pk){
		.port = UP, .src = src, .dst = OUR, .proto = 17, .sp = sp, .dp = our, .len = 4});
}

static void test_one_port(void)
{
	uint16_t a, b;

	test_case("U4_one_port_whomever_it_talks_to");
	start();
	a = udp(1, 5000, WEB, 80);
	CHECK_INT(a, 5000); /* N9 */
	CHECK_INT(udp(1, 5000, WEB, 81), a);
	CHECK_INT(udp(1, 5000, WEB2, 80), a);
	CHECK_INT(lab.e->table.mappings, 1);
	CHECK_INT(lab.e->table.active, 4);
	end();

	test_case("N10_a_taken_port_is_not_shared");
	start();
	CHECK_INT(udp(2, 5000, WEB, 80), 5000); /* not endpoint independent */
	a = udp(1, 5000, WEB2, 80);
	CHECK(a != 0 && a != 5000); /* although that remote is free */
	CHECK(a >= 1024);
	CHECK_INT(udp(1, 5000, WEB, 80), a);
	CHECK_INT(udp(1, 5000, WEB, 81), a);
	end();

	test_case("N10_later_flows_of_others_avoid_it");
	start();
	CHECK_INT(udp(1, 5000, WEB, 80), 5000);
	a = udp(2, 5000, WEB2, 80);
	CHECK(a != 0 && a != 5000);
	a = udp(3, 5000, WEB2, 80);
	CHECK(a != 0 && a != 5000);
	/* two that have the option */
	option(C2, true, 0);
	b = udp(2, 5000, WEB, 82);
	CHECK(b != 0 && b != 5000);
	CHECK_INT(udp(2, 5000, WEB, 83), b);
	CHECK_INT(udp(1, 5000, WEB, 84), 5000);
	end();

	test_case("N10_tcp_and_udp_have_their_own");
	start();
	CHECK_INT(udp(1, 5000, WEB, 80), 5000);
	CHECK_INT(out(2, 6, 5000, WEB, 80), 5000);
	a = out(1, 6, 5000, WEB2, 80);
	CHECK(a != 0 && a != 5000);
	CHECK_INT(out(1, 6, 5000, WEB2, 81), a);
	CHECK_INT(lab.e->table.mappings, 2);
	end();

	test_case("N10_families_have_their_own");
	start();
	CHECK_INT(udp6(2, 5000, WEB26), 5000);
	CHECK_INT(udp(1, 5000, WEB, 80), 5000);
	a = udp6(1, 5000, WEB6);
	CHECK(a != 5000);
	CHECK_INT(udp6(1, 5000, WEB26), a);
	end();

	test_case("U4_only_tcp_and_udp");
	start();
	lab_send(&lab,
		 (struct pk){.port = 1, .src = C1, .dst = WEB, .proto = 1, .type = 8, .sp = 9});
	CHECK_INT(lab.seen.verdict, FRAME_FORWARD);
	lab_send(&lab, (struct pk){.port = 1, .src = C1, .dst = WEB, .proto = 47, .len = 20});
	CHECK_INT(lab.seen.verdict, FRAME_FORWARD);
	CHECK_INT(lab.e->table.mappings, 0);
	end();
}

static void test_filter(void)
{
	uint16_t a;

	test_case("U3_filtering_stays_by_address_and_port");
	start();
	a = udp(1, 5000, WEB, 80);
	lab_forwarded(__FILE__, __LINE__, in(WEB, 80, a), WEB, C1, 1);
	lab_dropped(__FILE__, __LINE__, in(WEB, 81, a), DROP_INBOUND);
	lab_dropped(__FILE__, __LINE__, in(WEB2, 80, a), DROP_INBOUND);
	udp(1, 5000, WEB2, 80);
	lab_forwarded(__FILE__, __LINE__, in(WEB2, 80, a), WEB2, C1, 1);
	end();

	test_case("R6_rules_still_decide_about_each_end");
	start();
	CHECK_INT(udp(1, 5000, WEB, 80), 5000);
	lab_rules(&lab, C1, "drop", (const char *[]){"action=accept dst4=192.0.2.81/32", NULL});
	CHECK_INT(udp(1, 5000, WEB, 80), 0);
	CHECK_INT(udp(1, 5000, WEB2, 80), 5000);
	lab_wait(&lab, 3000); /* the sweep meets the mapping */
	CHECK_INT(lab.e->table.mappings, 1);
	end();
}

static void test_time(void)
{
	test_case("U4_mapping_stays_300_s_after_its_last_flow");
	start();
	udp(2, 5000, WEB, 80);
	{
		uint16_t a = udp(1, 5000, WEB, 80);

		lab_wait(&lab, 121 * 1000); /* the flow is gone */
		CHECK_INT(lab.e->table.mappings, 1);
		CHECK_INT(lab.e->table.active, 1);
		lab_wait(&lab, 290 * 1000);
		CHECK_INT(udp(1, 5000, WEB2, 80), a);
		lab_wait(&lab, 121 * 1000);
		CHECK_INT(lab.e->table.mappings, 1);
		lab_wait(&lab, 600 * 1000); /* lists are lazy: gone by twice the time */
		CHECK_INT(lab.e->table.active, 0);
		CHECK_INT(udp(1, 5000, WEB, 80), 5000); /* and the port is free */
	}
	end();

	test_case("U4_mapping_lives_as_long_as_a_flow");
	start();
	udp(1, 5000, WEB, 80);
	for (int i = 0; i < 20; i++) {
		lab_wait(&lab, 100 * 1000);
		CHECK_INT(udp(1, 5000, WEB, 80), 5000);
		CHECK_INT(engine_check(lab.e), 0);
	}
	CHECK_INT(lab.e->table.mappings, 1);
	end();
}

static void test_end_of_things(void)
{
	uint16_t a;

	test_case("Q7_purge_leaves_no_mapping");
	start();
	for (uint16_t i = 0; i < 50; i++) {
		udp(1, (uint16_t)(5000 + i % 10), WEB, (uint16_t)(80 + i));
		if (i % 3 == 0)
			in(WEB, (uint16_t)(80 + i), (uint16_t)(5000 + i % 10));
		CHECK_INT(engine_check(lab.e), 0);
	}
	CHECK_INT(lab.e->table.mappings, 10);
	engine_iface_clear(lab.e, 1);
	CHECK_INT(lab.e->table.active, 0);
	CHECK_INT(lab.e->table.mappings, 0);
	for (uint32_t i = 0; i < 65536; i++)
		if (lab.e->port_use->count[0][1][i] != 0)
			test_fail(__FILE__, __LINE__, "a port is still counted");
	CHECK_INT(udp(2, 5000, WEB, 80), 5000);
	end();

	test_case("Q7_forgotten_source");
	start();
	udp(1, 5000, WEB, 80);
	in(WEB, 80, 5000);
	udp(1, 5000, WEB, 81);
	{
		struct addr addr = lab_to_addr(C1);

		engine_source_forget(lab.e, &addr);
	}
	CHECK_INT(lab.e->table.active, 0);
	end();

	test_case("section9_another_uplink_address_ends_mappings");
	start();
	udp(1, 5000, WEB, 80);
	lab_uplink(&lab, "10.137.0.99", 1500);
	CHECK_INT(lab.e->table.active, 0);
	end();

	test_case("U4_option_off_and_on");
	start();
	udp(2, 5000, WEB, 80);
	a = udp(1, 5000, WEB2, 80);
	CHECK(a != 5000);
	option(C1, false, 0);
	CHECK_INT(udp(1, 5000, WEB2, 80), a);	 /* the flow there is stays as it was */
	CHECK_INT(udp(1, 5000, WEB2, 81), 5000); /* new ones are as without it */
	CHECK_INT(engine_check(lab.e), 0);
	option(C1, true, 0);
	CHECK_INT(udp(1, 5000, WEB2, 82), a);
	end();

	test_case("N10_ports_in_use_before_the_option_count");
	lab_init(&lab, 1024, 21);
	lab_rules(&lab, C1, "accept", NULL);
	lab_rules(&lab, C2, "accept", NULL);
	CHECK_INT(udp(2, 5000, WEB, 80), 5000);
	CHECK_INT(udp(1, 6000, WEB, 80), 6000);
	option(C1, true, 0);
	a = udp(1, 5000, WEB2, 80);
	CHECK(a != 0 && a != 5000);
	/* a flow from before has the port of the mapping that it would now share */
	a = udp(1, 6000, WEB2, 80);
	CHECK(a != 0);
	CHECK_INT(udp(1, 6000, WEB, 80), 6000);
	end();
}

static void test_room(void)
{
	test_case("N4_a_mapping_counts_in_the_quota");
	start();
	option(C1, true, 4);
	CHECK_INT(udp(1, 5000, WEB, 80), 5000);
	CHECK_INT(udp(1, 5000, WEB, 81), 5000);
	CHECK_INT(udp(1, 5000, WEB, 82), 5000);
	CHECK_INT(lab.e->table.active, 4);
	CHECK_INT(udp(1, 5000, WEB, 83), 5000); /* the oldest unreplied went */
	CHECK_INT(lab.e->table.active, 4);
	CHECK_INT(engine_check(lab.e), 0);
	/* a new mapping and a new flow each need a place */
	CHECK_INT(udp(1, 5001, WEB, 80), 5001);
	CHECK_INT(lab.e->table.active, 4);
	end();

	test_case("D2_refused_when_all_are_in_use");
	start();
	option(C1, true, 3);
	for (uint16_t i = 0; i < 2; i++) {
		CHECK_INT(udp(1, 5000, WEB, (uint16_t)(80 + i)), 5000);
		in(WEB, (uint16_t)(80 + i), 5000);
	}
	CHECK_INT(udp(1, 5000, WEB, 90), 0);
	CHECK_INT(lab.seen.reason, DROP_FLOW_LIMIT);
	CHECK_INT(udp(1, 5001, WEB, 90), 0);
	CHECK_INT(lab.seen.reason, DROP_FLOW_LIMIT);
	CHECK_INT(engine_check(lab.e), 0);
	end();

	test_case("D2_room_for_the_mapping_but_not_for_the_flow");
	start();
	option(C1, true, 3);
	CHECK_INT(udp(1, 5000, WEB, 80), 5000);
	in(WEB, 80, 5000);
	CHECK_INT(udp(1, 5001, WEB, 80), 0);
	CHECK_INT(lab.seen.reason, DROP_FLOW_LIMIT);
	CHECK_INT(lab.e->table.mappings, 2); /* the idle one goes when room is needed */
	CHECK_INT(engine_check(lab.e), 0);
	CHECK_INT(udp(1, 5000, WEB, 81), 5000);
	CHECK_INT(lab.e->table.mappings, 1);
	end();
}

/* A count that has been at its maximum says "in use" for ever, never "free". */
static void test_count(void)
{
	struct port_use *use = calloc(1, sizeof(*use));
	struct flow f = {.family = 4, .proto = 17, .nat_port = 7};

	test_case("N10_count_of_a_port_saturates");
	if (!use)
		abort();
	for (uint32_t i = 0; i < 70000; i++)
		port_use_add(use, &f);
	CHECK_INT(use->count[0][1][7], UINT16_MAX);
	for (uint32_t i = 0; i < 70000; i++)
		port_use_del(use, &f);
	CHECK_INT(use->count[0][1][7], UINT16_MAX);
	f.proto = 1; /* an identifier is no port */
	f.nat_port = 8;
	port_use_add(use, &f);
	CHECK_INT(use->count[0][0][8], 0);
	port_use_del(use, &f);
	CHECK_INT(use->count[0][0][8], 0);
	free(use);
}

/* --- errors that quote nobody ---------------------------------------------------------- */

/* "Your packet from our port to 0.0.0.0:0 went nowhere" */
static const struct seen *quote_none(uint8_t proto, uint16_t our)
{
	uint8_t inner[28] = {0x45, [3] = 28, [8] = 60, [9] = proto};

	lab_addr(inner + 12, OUR);
	lab_put16(inner + 20, our);
	lab_put16(inner + 24, 8);
	lab_put16(inner + 10, ~lab_sum(inner, 20, 0));
	return lab_send(&lab, (struct pk){.port = UP,
					  .src = WEB2,
					  .dst = OUR,
					  .proto = 1,
					  .type = 3,
					  .code = 1,
					  .data = inner,
					  .len = sizeof(inner)});
}

static void quote_none6(uint16_t our)
{
	uint8_t icmp[8 + 48] = {1, 0, [8] = 0x60, [8 + 5] = 8, [8 + 6] = 17, [8 + 7] = 60};

	lab6_addr(icmp + 16, OUR6);
	lab_put16(icmp + 48, our);
	lab_put16(icmp + 52, 8);
	lab_put16(icmp + 2,
		  ~lab_sum(icmp, sizeof(icmp), lab6_pseudo(WEB26, OUR6, 58, sizeof(icmp))));
	lab6_raw(&lab.in, UP, WEB26, OUR6, 58, icmp, sizeof(icmp));
	lab_run(&lab);
}

static void test_quotes(void)
{
	test_case("I3_an_error_about_nobody_is_about_no_flow");
	start();
	udp(1, 5000, WEB, 80);
	lab_dropped(__FILE__, __LINE__, quote_none(17, 5000), DROP_ICMP_NO_FLOW);
	out(1, 6, 5000, WEB, 80);
	lab_dropped(__FILE__, __LINE__, quote_none(6, 5000), DROP_ICMP_NO_FLOW);
	udp6(1, 5000, WEB6);
	quote_none6(5000);
	CHECK_INT(lab.in.f.verdict, FRAME_DROP);
	CHECK_INT(lab.in.f.reason, DROP_ICMP_NO_FLOW);
	end();

	test_case("I10_an_error_about_nobody_ends_no_mapping");
	start();
	for (int i = 0; i < 5; i++) {
		udp(1, 5000, WEB, 80);
		lab.ms += 90 * 1000; /* no tick in between: nothing renews it */
	}
	quote_none(17, 5000);
	CHECK_INT(lab.e->table.mappings, 1);
	if (lab.e->table.mappings == 1)
		CHECK_INT(engine_check(lab.e), 0);
	/* what is broken here must not end the program */
	if (lab.e->table.mappings == 1)
		engine_iface_clear(lab.e, 1);
	engine_free(&lab.e);
}

/* --- the history --------------------------------------------------------------------------- */

static void step(struct rng *rng)
{
	uint16_t c = (uint16_t)(1 + rng_below(rng, 3)), port = (uint16_t)(5000 + rng_below(rng, 6));
	uint16_t dp = (uint16_t)(80 + rng_below(rng, 4));
	const char *dst = rng_below(rng, 2) ? WEB : WEB2;

	switch (rng_below(rng, 16)) {
	case 0:
		option(lab_ip[c], rng_below(rng, 2), rng_below(rng, 3) * 5);
		break;
	case 1:
		engine_iface_clear(lab.e, c);
		lab_client(&lab, c, lab_ip[c]);
		break;
	case 2:
	case 3:
		lab_wait(&lab, rng_below(rng, 200) * 1000);
		break;
	case 4:
		lab_rules(&lab, lab_ip[c], rng_below(rng, 3) ? "accept" : "drop", NULL);
		break;
	case 5:
	case 6:
	case 7:
		in(dst, dp, (uint16_t)(5000 + rng_below(rng, 6)));
		break;
	default:
		out(c, rng_below(rng, 2) ? 6 : 17, port, dst, dp);
		break;
	}
}

static void test_history(void)
{
	static const uint8_t seed[32] = "mappings come and go";
	unsigned int most = 0;
	struct rng rng;

	test_case("M1_random_history_of_mappings");
	start();
	rng_init(&rng, seed);
	for (int i = 0; i < 4000; i++) {
		step(&rng);
		CHECK_INT(engine_check(lab.e), 0);
		if (lab.e->table.mappings > most)
			most = lab.e->table.mappings;
	}
	CHECK(most > 5);
	end();
}

int main(void)
{
	test_one_port();
	test_filter();
	test_time();
	test_end_of_things();
	test_room();
	test_count();
	test_quotes();
	test_history();
	return test_end();
}
