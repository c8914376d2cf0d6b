// SPDX-License-Identifier: GPL-2.0-or-later
/* Isolation, rules and their changes, interfaces that come and go, ARP. */
#include "tests/unit/check.h"
#include "tests/unit/lab.h"

static struct lab lab;
static const struct seen *s;

#define forwarded(src, dst, port) lab_forwarded(__FILE__, __LINE__, s, src, dst, port)
#define is_dropped(reason) lab_dropped(__FILE__, __LINE__, s, reason)
#define is_rejected(want) rejected_at(__LINE__, 3, 13, want)
#define RULES(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void rejected_at(int line, uint8_t type, uint8_t code, enum drop_reason reason)
{
	if (s->verdict != FRAME_REPLY || s->type != type || s->code != code ||
	    s->reason != (int)reason || !s->ip_ok || !s->l4_ok)
		test_fail(__FILE__, line, "not rejected as expected");
}

static void start(void)
{
	if (lab.e)
		engine_free(&lab.e);
	lab_init(&lab, 0, 1);
	for (int i = 1; i <= 3; i++)
		lab_rules(&lab, lab_ip[i], "accept", NULL);
}

/* Both ends of a TCP connection begin at 0 and send 12 bytes with everything. */
static const struct seen *pass(uint16_t port, const char *src, const char *dst, uint8_t proto,
			       uint16_t sp, uint16_t dp, uint8_t flags)
{
	return lab_send(&lab, (struct pk){ .port = port, .src = src, .dst = dst, .proto = proto,
					   .sp = sp, .dp = dp, .flags = flags, .len = 12,
					   .seq = flags & T_SYN ? 0 : 13,
					   .ack = flags & T_ACK ? 13 : 0,
					   .type = proto == 1 ? 8 : 0 });
}

static struct engine_source_info info_of(const char *ip)
{
	struct engine_source_info info = { 0 };
	struct addr a = lab_to_addr(ip);

	engine_source_info(lab.e, &a, &info);
	return info;
}

static uint64_t hits(const char *ip, uint32_t index)
{
	struct addr a = lab_to_addr(ip);

	return engine_source_hits(lab.e, &a, index);
}

static void forget(const char *ip)
{
	struct addr a = lab_to_addr(ip);

	engine_source_forget(lab.e, &a);
}

/* --- isolation ------------------------------------------------------------------ */

static void test_ether(void)
{
	struct pk k = { .port = 1, .src = C1, .dst = DNS, .proto = 17, .sp = 1, .dp = 2 };

	test_case("Q2_source_mac");
	start();
	lab_build(&lab.in, &k);
	lab.in.f.header[11] ^= 1;
	s = lab_run(&lab);
	is_dropped(DROP_SOURCE_MAC);
	test_case("P8_destination_mac");
	lab_build(&lab.in, &k);
	lab.in.f.header[0] ^= 4;
	s = lab_run(&lab);
	is_dropped(DROP_DEST_MAC);
	test_case("P9_ip_in_a_broadcast_frame");
	lab_build(&lab.in, &k);
	memset(lab.in.f.header, 0xff, 6);
	s = lab_run(&lab);
	is_dropped(DROP_MULTICAST);
	test_case("P8_uplink_destination_mac");
	k = (struct pk){ .port = UP, .src = DNS, .dst = OUR, .proto = 17, .sp = 1, .dp = 2 };
	lab_build(&lab.in, &k);
	lab.in.f.header[5] ^= 1;
	s = lab_run(&lab);
	is_dropped(DROP_DEST_MAC);
	test_case("P8_ethertypes");
	{
		static const struct {
			uint16_t type;
			enum drop_reason want;
		} table[] = {
			{ 0x8100, DROP_ETHERTYPE }, { 0x88a8, DROP_ETHERTYPE },
			{ 0x0100, DROP_ETHERTYPE }, { 0x88cc, DROP_ETHERTYPE },
			{ 0x86dd, DROP_IPV6 },
		};

		for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
			for (uint16_t port = 0; port < 2; port++) {
				k.port = port;
				lab_build(&lab.in, &k);
				lab_put16(lab.in.f.header + 12, table[i].type);
				s = lab_run(&lab);
				is_dropped(table[i].want);
			}
		}
	}
}

static void test_isolation(void)
{
	test_case("Q1_wrong_source");
	start();
	s = pass(1, C2, DNS, 17, 1, 2, 0);
	is_dropped(DROP_SPOOFED);
	s = pass(1, "198.51.100.1", DNS, 17, 1, 2, 0);
	is_dropped(DROP_SPOOFED);
	s = lab_send(&lab, (struct pk){ .port = 1, .src = C2, .dst = DNS, .proto = 17,
					.frag = 0x2000, .len = 8 });
	is_dropped(DROP_SPOOFED);
	test_case("Q1_link_local_is_a_wrong_source_too");
	s = pass(1, "169.254.1.1", DNS, 17, 1, 2, 0);
	is_dropped(DROP_SPOOFED);
	test_case("Q1_client_without_address");
	{
		struct engine_iface i = { .kind = IFACE_CLIENT, .mtu = 1500 };

		memcpy(i.mac, lab_mac[3], 6);
		CHECK_INT(engine_iface_set(lab.e, 7, &i), 0);
		s = pass(7, C1, DNS, 17, 1, 2, 0);
		is_dropped(DROP_SPOOFED);
		engine_iface_clear(lab.e, 7);
	}
	test_case("Q3_client_to_client");
	s = pass(1, C1, C2, 6, 1, 22, T_SYN);
	is_dropped(DROP_INTER_CLIENT);
	s = pass(1, C1, C2, 1, 1, 1, 0);
	is_dropped(DROP_INTER_CLIENT);
	test_case("Q3_by_our_outer_address");
	s = pass(2, C2, DNS, 17, 7, 8, 0);
	s = pass(1, C1, OUR, 17, 8, 7, 0);
	rejected_at(__LINE__, 3, 10, DROP_TO_FIREWALL);
	test_case("Q10_client_that_is_not_running");
	engine_iface_clear(lab.e, 3);
	s = pass(1, C1, C3, 6, 1, 22, T_SYN); /* its rules are still known */
	is_dropped(DROP_INTER_CLIENT);
	forget(C3);
	s = pass(1, C1, C3, 6, 1, 22, T_SYN);
	forwarded(OUR, C3, UP);
	test_case("Q10_address_becomes_a_clients");
	lab_client(&lab, 3, C3); /* a flow that led there ends */
	engine_check(lab.e);
	s = pass(UP, C3, OUR, 6, 22, 1, T_SYN | T_ACK);
	is_dropped(DROP_UPLINK_SPOOFED);

	test_case("Q4_uplink_to_client");
	s = pass(UP, DNS, C1, 17, 1, 2, 0);
	is_dropped(DROP_INBOUND);
	s = pass(UP, DNS, OUR, 17, 1, 2, 0);
	is_dropped(DROP_INBOUND);
	s = pass(UP, DNS, "198.51.100.2", 17, 1, 2, 0);
	is_dropped(DROP_INBOUND);
	test_case("Q10_uplink_with_a_clients_source");
	s = pass(UP, C1, OUR, 17, 1, 2, 0);
	is_dropped(DROP_UPLINK_SPOOFED);
	test_case("Q8_dhcp_from_a_client");
	s = pass(1, "0.0.0.0", "255.255.255.255", 17, 68, 67, 0);
	is_dropped(DROP_MARTIAN);
	engine_check(lab.e);
}

static void test_twins(void)
{
	test_case("Q12_two_vifs_with_one_address");
	start();
	lab_client(&lab, 2, C1); /* now both have it */
	s = pass(1, C1, DNS, 17, 5000, 4000, 0);
	forwarded(OUR, DNS, UP);
	CHECK_INT(s->sp, 5000);
	s = pass(2, C1, DNS, 17, 5000, 4000, 0);
	forwarded(OUR, DNS, UP);
	{
		uint16_t port = s->sp;

		CHECK(port != 5000);
		s = pass(UP, DNS, OUR, 17, 4000, port, 0);
		forwarded(DNS, C1, 2);
		s = pass(UP, DNS, OUR, 17, 4000, 5000, 0);
		forwarded(DNS, C1, 1);
		engine_check(lab.e);
		test_case("Q12_one_twin_goes_the_other_stays");
		engine_iface_clear(lab.e, 1);
		s = pass(UP, DNS, OUR, 17, 4000, 5000, 0);
		is_dropped(DROP_INBOUND);
		s = pass(UP, DNS, OUR, 17, 4000, port, 0);
		forwarded(DNS, C1, 2);
	}
	engine_check(lab.e);
}

static void test_removal(void)
{
	test_case("Q7_removed_vif_leaves_nothing");
	start();
	for (uint16_t p = 1; p <= 500; p++)
		pass(1, C1, DNS, 17, p, 4000, 0);
	pass(2, C2, DNS, 17, 9, 4001, 0);
	CHECK_INT(info_of(C1).flows, 500);
	engine_iface_clear(lab.e, 1);
	engine_check(lab.e);
	CHECK_INT(engine_stats(lab.e)->flows_active, 1);
	s = pass(1, C1, DNS, 17, 1, 4000, 0);
	is_dropped(DROP_NO_IFACE);
	forget(C1);
	lab_client(&lab, 1, C1);
	s = pass(UP, DNS, OUR, 17, 4000, 1, 0);
	is_dropped(DROP_INBOUND);
	s = pass(1, C1, DNS, 17, 1, 4000, 0);
	is_dropped(DROP_NO_POLICY); /* Q9 */
	CHECK(info_of(C1).packets_out == 0 && info_of(C1).dropped == 1);

	test_case("Q7_changed_address_ends_flows");
	start();
	pass(1, C1, DNS, 17, 1, 4000, 0);
	lab_client(&lab, 1, "10.137.0.99");
	s = pass(UP, DNS, OUR, 17, 4000, 1, 0);
	is_dropped(DROP_INBOUND);
	s = pass(1, C1, DNS, 17, 1, 4000, 0);
	is_dropped(DROP_SPOOFED);
	engine_check(lab.e);

	test_case("Q7_same_settings_again_change_nothing");
	start();
	pass(1, C1, DNS, 17, 1, 4000, 0);
	lab_client(&lab, 1, C1);
	lab_uplink(&lab, OUR, 1500);
	s = pass(UP, DNS, OUR, 17, 4000, 1, 0);
	forwarded(DNS, C1, 1);
}

static void test_uplink(void)
{
	test_case("Q13_no_uplink");
	start();
	lab_rules(&lab, C1, "drop", RULES("action=accept proto=tcp"));
	engine_iface_link(lab.e, UP, false);
	s = pass(1, C1, WEB, 6, 1, 80, T_SYN);
	rejected_at(__LINE__, 3, 1, DROP_NO_UPLINK);
	s = pass(1, C1, WEB, 17, 1, 80, 0);
	is_rejected(DROP_REJECTED); /* the rules come first */
	CHECK_INT(engine_stats(lab.e)->flows_created, 0);
	test_case("Q13_established_without_uplink");
	engine_iface_link(lab.e, UP, true);
	s = pass(1, C1, WEB, 6, 1, 80, T_SYN);
	forwarded(OUR, WEB, UP);
	engine_iface_clear(lab.e, UP);
	s = pass(1, C1, WEB, 6, 1, 80, T_SYN);
	rejected_at(__LINE__, 3, 1, DROP_NO_UPLINK);
	test_case("section9_same_address_keeps_flows");
	lab_uplink(&lab, OUR, 1500);
	s = pass(UP, WEB, OUR, 6, 80, 1, T_SYN | T_ACK);
	forwarded(WEB, C1, 1);
	engine_check(lab.e);
	test_case("section9_another_address_ends_flows");
	lab_uplink(&lab, "10.137.0.200", 1500);
	CHECK_INT(engine_stats(lab.e)->flows_active, 0);
	engine_check(lab.e);
	s = pass(1, C1, WEB, 6, 1, 80, T_SYN);
	forwarded("10.137.0.200", WEB, UP);
	s = pass(UP, WEB, "10.137.0.200", 6, 80, 1, T_SYN | T_ACK);
	forwarded(WEB, C1, 1);
	test_case("Q4_client_link_down");
	engine_iface_link(lab.e, 1, false);
	s = pass(UP, WEB, "10.137.0.200", 6, 80, 1, T_ACK);
	is_dropped(DROP_NO_IFACE);
}

/* Two at a time, as in the middle of a netvm switch: one serves, and stays. */
static void test_two_uplinks(void)
{
	struct engine_iface i = { .kind = IFACE_UPLINK, .mtu = 1500 };

	test_case("section9_two_uplinks");
	start();
	lab_rules(&lab, C1, "accept", NULL);
	memcpy(i.mac, lab_mac[0], 6);
	i.ip4 = lab_to_addr(OUR);
	i.gateway4 = lab_to_addr(GW);
	CHECK_INT(engine_uplink_in_use(lab.e), UP);
	CHECK_INT(engine_iface_set(lab.e, 9, &i), 0);
	engine_iface_link(lab.e, 9, true);
	CHECK_INT(engine_uplink_in_use(lab.e), UP);
	s = pass(1, C1, WEB, 6, 1, 80, T_SYN);
	forwarded(OUR, WEB, UP);
	engine_iface_link(lab.e, UP, false);
	CHECK_INT(engine_uplink_in_use(lab.e), 9);
	engine_iface_link(lab.e, UP, true); /* back, but not better */
	CHECK_INT(engine_uplink_in_use(lab.e), 9);
	s = pass(1, C1, WEB, 6, 1, 80, T_SYN);
	forwarded(OUR, WEB, 9);
	engine_iface_clear(lab.e, 9);
	CHECK_INT(engine_uplink_in_use(lab.e), UP);
	engine_iface_clear(lab.e, UP);
	CHECK_INT(engine_uplink_in_use(lab.e), PORT_NONE);
	engine_check(lab.e);
}

static void test_self(void)
{
	struct engine_iface i = { .kind = IFACE_SELF, .mtu = 1500 };

	test_case("self_is_a_client_of_its_own_rules");
	start();
	memcpy(i.mac, lab_mac[3], 6);
	i.ip4 = lab_to_addr("169.254.77.1");
	engine_iface_clear(lab.e, 3);
	CHECK_INT(engine_iface_set(lab.e, 3, &i), 0);
	engine_iface_link(lab.e, 3, true);
	lab_rules(&lab, "169.254.77.1", "drop", RULES("action=accept proto=udp dstports=53-53"));
	s = pass(3, "169.254.77.1", DNS, 17, 5353, 53, 0);
	forwarded(OUR, DNS, UP);
	s = pass(UP, DNS, OUR, 17, 53, 5353, 0);
	forwarded(DNS, "169.254.77.1", 3);
	s = pass(3, "169.254.77.1", DNS, 6, 5353, 53, T_SYN);
	CHECK_INT(s->reason, DROP_REJECTED);
	test_case("self_is_no_way_to_a_client");
	s = pass(1, C1, "169.254.77.1", 17, 53, 5353, 0);
	is_dropped(DROP_INTER_CLIENT);
	engine_check(lab.e);
}

/* --- rules ------------------------------------------------------------------------ */

static void test_rules(void)
{
	test_case("R1_first_match_decides");
	start();
	lab_rules(&lab, C1, "drop",
		  RULES("action=accept proto=tcp dstports=80-80", "action=drop proto=tcp",
			"action=accept proto=udp", "action=accept proto=icmp icmptype=8"));
	s = pass(1, C1, WEB, 6, 1, 80, T_SYN);
	forwarded(OUR, WEB, UP);
	s = pass(1, C1, WEB, 6, 1, 81, T_SYN);
	is_rejected(DROP_REJECTED);
	s = pass(1, C1, WEB, 17, 1, 81, 0);
	forwarded(OUR, WEB, UP);
	test_case("I12_first_packet_decides_icmptype");
	s = pass(1, C1, WEB, 1, 1, 0, 0);
	forwarded(OUR, WEB, UP);
	test_case("R2_then_the_policy");
	s = pass(1, C1, WEB, 47, 0, 0, 0);
	is_rejected(DROP_REJECTED);
	test_case("R7_counters");
	CHECK(hits(C1, 0) == 1 && hits(C1, 1) == 1 && hits(C1, 2) == 1 && hits(C1, 3) == 1);
	CHECK(hits(C1, RULE_INDEX_POLICY) == 1 && hits(C1, 4) == 0);
	CHECK(info_of(C1).accepted == 3 && info_of(C1).rejected == 2);
	test_case("R9_only_the_first_packet_is_judged");
	for (int i = 0; i < 10; i++)
		s = pass(1, C1, WEB, 17, 1, 81, 0);
	CHECK_INT(hits(C1, 2), 1);
	test_case("U11_one_client_for_a_protocol_and_remote");
	s = pass(2, C2, WEB, 47, 0, 0, 0);
	CHECK(s->verdict == FRAME_FORWARD && !strcmp(s->src, OUR) && s->ip_ok);
	s = pass(UP, WEB, OUR, 47, 0, 0, 0);
	CHECK(s->verdict == FRAME_FORWARD && s->port == 2 && !strcmp(s->dst, C2) && s->ip_ok);
	s = pass(3, C3, WEB, 47, 0, 0, 0);
	CHECK(s->verdict == FRAME_REPLY && s->reason == DROP_PROTOCOL);
	s = pass(3, C3, DNS, 47, 0, 0, 0);
	CHECK(s->verdict == FRAME_FORWARD && !strcmp(s->src, OUR) && s->ip_ok);

	test_case("Q9_no_policy_is_silence");
	forget(C3);
	s = pass(3, C3, WEB, 17, 1, 2, 0);
	is_dropped(DROP_NO_POLICY);
	CHECK_INT(hits(C3, RULE_INDEX_NONE), 1);
	test_case("R10_Q9_malformed_blocks_that_source_only");
	{
		struct policy *p;
		struct addr a = lab_to_addr(C3);

		CHECK_INT(policy_malformed(&p), 0);
		CHECK_INT(engine_source_set(lab.e, &a, p, ENGINE_RULES), 0);
	}
	s = pass(3, C3, WEB, 17, 1, 2, 0);
	CHECK_INT(s->reason, DROP_REJECTED);
	CHECK_INT(hits(C3, RULE_INDEX_MALFORMED), 1);
	s = pass(2, C2, WEB, 17, 1, 2, 0);
	forwarded(OUR, WEB, UP);
	engine_check(lab.e);
}

/* An echo request (8) or reply (0) with this id. */
static void ping(uint16_t port, const char *src, const char *dst, uint16_t id, uint8_t type)
{
	s = lab_send(&lab, (struct pk){ .port = port, .src = src, .dst = dst, .proto = 1,
					.type = type, .sp = id });
}

static void test_epoch(void)
{
	test_case("R6_denied_flows_die_allowed_ones_stay");
	start();
	s = pass(1, C1, WEB, 6, 1, 80, T_SYN);
	s = pass(1, C1, WEB, 6, 2, 443, T_SYN);
	for (uint16_t p = 1; p <= 2; p++) {
		pass(UP, WEB, OUR, 6, p == 1 ? 80 : 443, p, T_SYN | T_ACK);
		pass(1, C1, WEB, 6, p, p == 1 ? 80 : 443, T_ACK);
	}
	lab_rules(&lab, C1, "drop", RULES("action=accept proto=tcp dstports=443-443"));
	s = pass(1, C1, WEB, 6, 2, 443, T_ACK);
	forwarded(OUR, WEB, UP);
	CHECK_INT(s->sp, 2); /* the mapping is kept */
	s = pass(1, C1, WEB, 6, 1, 80, T_ACK);
	is_rejected(DROP_REJECTED);
	CHECK(engine_stats(lab.e)->flows_denied == 1 && info_of(C1).flows == 1);
	s = pass(1, C1, WEB, 6, 1, 80, T_ACK); /* and it stays dead */
	is_rejected(DROP_REJECTED);
	s = pass(UP, WEB, OUR, 6, 80, 1, T_ACK);
	is_dropped(DROP_INBOUND);

	test_case("R6_uplink_packet_comes_first");
	lab_rules(&lab, C1, "drop", NULL);
	s = pass(UP, WEB, OUR, 6, 443, 2, T_ACK);
	is_dropped(DROP_INBOUND);
	CHECK_INT(info_of(C1).flows, 0);
	test_case("R6_allowed_again_needs_a_syn");
	lab_rules(&lab, C1, "accept", NULL);
	s = pass(1, C1, WEB, 6, 2, 443, T_ACK);
	is_dropped(DROP_TCP_NO_FLOW);
	s = pass(1, C1, WEB, 6, 2, 443, T_SYN);
	forwarded(OUR, WEB, UP);

	test_case("R6_other_sources_do_not_notice");
	{
		uint32_t epoch = info_of(C2).epoch;

		lab_rules(&lab, C1, "drop", NULL);
		CHECK_INT(info_of(C2).epoch, epoch);
	}
	test_case("R6_denied_pings_end_in_both_directions");
	for (int from_uplink = 0; from_uplink < 2; from_uplink++) {
		start();
		ping(1, C1, WEB, 77, 8);
		forwarded(OUR, WEB, UP);
		ping(UP, WEB, OUR, 77, 0);
		forwarded(WEB, C1, 1);
		lab_rules(&lab, C1, "drop", RULES("action=accept proto=tcp"));
		if (from_uplink) {
			ping(UP, WEB, OUR, 77, 0);
			CHECK(s->verdict != FRAME_FORWARD);
		} else {
			ping(1, C1, WEB, 77, 8);
			is_rejected(DROP_REJECTED);
		}
		CHECK(engine_stats(lab.e)->flows_denied == 1 && info_of(C1).flows == 0);
	}
	start();
	ping(1, C1, WEB, 78, 8);
	lab_rules(&lab, C1, "drop", RULES("action=accept proto=icmp icmptype=8"));
	ping(UP, WEB, OUR, 78, 0); /* still allowed: nothing is lost */
	forwarded(WEB, C1, 1);

	test_case("R6_error_about_a_denied_flow");
	start();
	s = pass(1, C1, DNS, 17, 5, 6, 0);
	{
		uint8_t quoted[40];

		memcpy(quoted, lab.seen.b + 14, sizeof(quoted));
		lab_rules(&lab, C1, "drop", NULL);
		s = lab_send(&lab, (struct pk){ .port = UP, .src = DNS, .dst = OUR, .proto = 1,
						.type = 3, .data = quoted, .len = 40 });
		is_dropped(DROP_ICMP_NO_FLOW);
	}
	test_case("epoch_sweep_ends_idle_flows");
	start();
	for (uint16_t p = 1; p <= 3000; p++)
		pass(1, C1, DNS, 17, p, p & 1 ? 4000 : 4001, 0);
	lab_rules(&lab, C1, "drop", RULES("action=accept proto=udp dstports=4000-4000"));
	lab_wait(&lab, 20 * 1000);
	CHECK_INT(engine_stats(lab.e)->flows_active, 1500);
	CHECK_INT(engine_stats(lab.e)->flows_denied, 1500);
	engine_check(lab.e);
	test_case("epoch_forgotten_source");
	forget(C1);
	CHECK_INT(engine_stats(lab.e)->flows_active, 0);
	s = pass(1, C1, DNS, 17, 1, 4000, 0);
	is_dropped(DROP_NO_POLICY);

	test_case("R5_unchanged_policy_does_not_bump");
	start();
	lab_rules(&lab, C1, "drop", RULES("action=accept proto=udp"));
	pass(1, C1, DNS, 17, 1, 4000, 0);
	{
		struct addr a = lab_to_addr(C1);
		uint32_t epoch = info_of(C1).epoch;

		CHECK_INT(engine_source_set(lab.e, &a,
					    lab_policy("drop", RULES("action=accept proto=udp")),
					    ENGINE_SAME), 0);
		CHECK(info_of(C1).epoch == epoch && hits(C1, 0) == 1);
		CHECK_INT(engine_source_set(lab.e, &a,
					    lab_policy("drop", RULES("action=accept proto=udp")),
					    ENGINE_ADDRESSES), 0);
		CHECK(info_of(C1).epoch == ++epoch && hits(C1, 0) == 1);
		CHECK_INT(engine_source_set(lab.e, &a, NULL, ENGINE_RULES), 0);
		s = pass(1, C1, DNS, 17, 1, 4000, 0);
		is_dropped(DROP_NO_POLICY);
		CHECK(info_of(C1).epoch == epoch + 1 && !info_of(C1).policy);
	}
	engine_check(lab.e);
}

static void test_limits(void)
{
	char text[32];
	int err = 0;

	test_case("D7_source_table_is_bounded");
	start();
	for (unsigned int i = 0; i < ENGINE_SOURCE_MAX && !err; i++) {
		struct addr a;

		snprintf(text, sizeof(text), "10.138.%u.%u", i / 250, i % 250 + 1);
		a = lab_to_addr(text);
		err = engine_source_set(lab.e, &a, NULL, ENGINE_RULES);
	}
	CHECK(err < 0); /* three were clients' */
	engine_check(lab.e);
	s = pass(1, C1, "10.138.1.7", 17, 1, 2, 0);
	is_dropped(DROP_INTER_CLIENT);
	s = pass(1, C1, DNS, 17, 1, 2, 0);
	forwarded(OUR, DNS, UP);
	for (unsigned int i = 0; i < ENGINE_SOURCE_MAX; i++) {
		snprintf(text, sizeof(text), "10.138.%u.%u", i / 250, i % 250 + 1);
		forget(text);
	}
	engine_check(lab.e);
	s = pass(1, C1, "10.138.1.7", 17, 1, 2, 0);
	forwarded(OUR, "10.138.1.7", UP);
	test_case("D7_interface_numbers_are_checked");
	{
		struct engine_iface i = { .kind = IFACE_CLIENT };

		CHECK(engine_iface_set(lab.e, ENGINE_IFACE_MAX, &i) < 0);
		engine_iface_clear(lab.e, ENGINE_IFACE_MAX);
		engine_iface_link(lab.e, PORT_NONE, true);
		engine_iface_link(lab.e, 99, true);
		i.kind = IFACE_NONE;
		CHECK(engine_iface_set(lab.e, 5, &i) < 0);
	}
}

/* --- ARP ----------------------------------------------------------------------------- */

struct arpk {
	uint16_t port, op;
	const uint8_t *eth_dst, *sha;
	const char *spa, *tpa;
};

static const uint8_t all_ones[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static const struct seen *arp(struct arpk k)
{
	uint8_t *b = lab.in.flat;
	static const uint8_t head[6] = { 0, 1, 8, 0, 6, 4 };

	lab_ether(&lab.in, k.port, 0x0806);
	if (k.eth_dst)
		memcpy(b, k.eth_dst, 6);
	memcpy(b + 14, head, 6);
	lab_put16(b + 20, k.op);
	memcpy(b + 22, k.sha ? k.sha : b + 6, 6);
	lab_addr(b + 28, k.spa);
	memset(b + 32, 0, 6);
	if (k.op == 2)
		memcpy(b + 32, lab_mac[0], 6);
	lab_addr(b + 38, k.tpa);
	memset(b + 42, 0, 18);
	lab_frame(&lab.in, k.port, 60); /* padded, as on a wire */
	return lab_run(&lab);
}

static void is_answer(int line, const uint8_t mac[6], const uint8_t to[6], const char *who,
		      const char *whom)
{
	uint8_t want[4], asker[4];

	lab_addr(want, who);
	lab_addr(asker, whom);
	if (s->verdict != FRAME_REPLY || s->len != 42 || memcmp(s->b, to, 6) ||
	    memcmp(s->b + 6, mac, 6) || lab_get16(s->b + 20) != 2 || memcmp(s->b + 22, mac, 6) ||
	    memcmp(s->b + 28, want, 4) || memcmp(s->b + 32, to, 6) || memcmp(s->b + 38, asker, 4))
		test_fail(__FILE__, line, "not the expected ARP answer");
}

static void test_arp_client(void)
{
	test_case("Q6_answers_for_everything_else");
	start();
	s = arp((struct arpk){ .port = 1, .op = 1, .eth_dst = all_ones, .spa = C1, .tpa = OUR });
	is_answer(__LINE__, lab_backend, lab_mac[1], OUR, C1);
	s = arp((struct arpk){ .port = 1, .op = 1, .spa = C1, .tpa = "8.8.8.8" });
	is_answer(__LINE__, lab_backend, lab_mac[1], "8.8.8.8", C1);
	s = arp((struct arpk){ .port = 1, .op = 1, .eth_dst = all_ones, .spa = C1, .tpa = C2 });
	is_answer(__LINE__, lab_backend, lab_mac[1], C2, C1);
	test_case("Q6_not_for_its_own_address");
	s = arp((struct arpk){ .port = 1, .op = 1, .eth_dst = all_ones, .spa = C1, .tpa = C1 });
	is_dropped(DROP_ARP);
	test_case("Q6_probe");
	s = arp((struct arpk){ .port = 1, .op = 1, .eth_dst = all_ones, .spa = "0.0.0.0",
			       .tpa = C1 });
	is_dropped(DROP_ARP);
	test_case("Q6_sender_fields_must_be_the_vifs");
	s = arp((struct arpk){ .port = 1, .op = 1, .eth_dst = all_ones, .spa = C2, .tpa = OUR });
	is_dropped(DROP_ARP);
	s = arp((struct arpk){ .port = 1, .op = 1, .eth_dst = all_ones, .sha = lab_mac[2],
			       .spa = C1, .tpa = OUR });
	is_dropped(DROP_ARP);
	test_case("Q6_replies_teach_nothing");
	s = arp((struct arpk){ .port = 1, .op = 2, .spa = C1, .tpa = OUR });
	is_dropped(DROP_ARP);
	test_case("P1_short_arp");
	arp((struct arpk){ .port = 1, .op = 1, .spa = C1, .tpa = OUR });
	for (size_t len = 14; len < 42; len++) {
		lab_frame(&lab.in, 1, len);
		s = lab_run(&lab);
		is_dropped(DROP_ARP);
	}
	test_case("Q6_other_hardware_types");
	for (size_t at = 14; at < 20; at++) {
		arp((struct arpk){ .port = 1, .op = 1, .spa = C1, .tpa = OUR });
		lab.in.flat[at] ^= 0x10;
		lab_frame(&lab.in, 1, 60);
		s = lab_run(&lab);
		is_dropped(DROP_ARP);
		lab.in.flat[at] ^= 0x10;
	}
}

static bool tick(void)
{
	bool sent;

	engine_tick(lab.e, (struct engine_time){ lab.ms });
	sent = engine_take(lab.e, &lab.out.f);

	if (sent)
		lab_read(&lab.out.f, &lab.seen);
	return sent;
}

/* The engine sends a question for @tpa now; it is an announcement for our own. */
static void is_question(int line, const char *tpa)
{
	uint8_t target[4], our[4];

	lab_addr(target, tpa);
	lab_addr(our, OUR);
	if (!tick() || lab.seen.verdict != FRAME_FORWARD || lab.seen.port != UP ||
	    lab.seen.len != 42 || lab.seen.b[0] != 0xff || lab_get16(lab.seen.b + 20) != 1 ||
	    memcmp(lab.seen.b + 6, lab_mac[0], 6) || memcmp(lab.seen.b + 28, our, 4) ||
	    memcmp(lab.seen.b + 38, target, 4))
		test_fail(__FILE__, line, "not the expected ARP question");
}

static const uint8_t *gateway_in_use(void)
{
	s = pass(1, C1, DNS, 17, 1, 2, 0);
	return s->b;
}

static void test_arp_uplink(void)
{
	struct arpk answer = { .port = UP, .op = 2, .eth_dst = lab_mac[0], .spa = GW, .tpa = OUR };
	static const uint8_t evil[6] = { 2, 6, 6, 6, 6, 6 };

	test_case("section9_announces_at_link_up");
	start();
	is_question(__LINE__, OUR);
	test_case("section7_asks_for_the_gateway_each_second");
	is_question(__LINE__, GW);
	CHECK(!tick());
	lab.ms += 999;
	CHECK(!tick());
	lab.ms += 1;
	is_question(__LINE__, GW);
	test_case("section7_fallback_until_it_answers");
	CHECK(!memcmp(gateway_in_use(), lab_backend, 6));
	s = arp(answer);
	is_dropped(DROP_NONE);
	CHECK(!memcmp(gateway_in_use(), lab_gw_mac, 6));
	lab.ms += 59999;
	CHECK(!tick());
	test_case("section7_refresh_after_60_s");
	lab.ms += 1;
	is_question(__LINE__, GW);
	CHECK(!memcmp(gateway_in_use(), lab_gw_mac, 6)); /* the old one serves meanwhile */

	test_case("section7_only_asked_answers_count");
	s = arp(answer);
	is_dropped(DROP_NONE);
	answer.sha = evil;
	s = arp(answer); /* unasked, and from another MAC than it says */
	is_dropped(DROP_ARP);
	lab.ms += 60000;
	is_question(__LINE__, GW);
	s = arp(answer); /* asked, but the frame came from somebody else */
	is_dropped(DROP_ARP);
	answer.sha = NULL;
	answer.spa = "10.137.0.77";
	s = arp(answer); /* asked, but not about this address */
	is_dropped(DROP_ARP);
	answer.spa = GW;
	s = arp(answer);
	is_dropped(DROP_NONE);
	s = arp(answer); /* once is enough */
	is_dropped(DROP_ARP);
	CHECK(!memcmp(gateway_in_use(), lab_gw_mac, 6));

	test_case("section7_answers_for_our_address_only");
	s = arp((struct arpk){ .port = UP, .op = 1, .eth_dst = all_ones, .spa = GW, .tpa = OUR });
	is_answer(__LINE__, lab_mac[0], lab_gw_mac, OUR, GW);
	s = arp((struct arpk){ .port = UP, .op = 1, .eth_dst = all_ones, .spa = GW, .tpa = C1 });
	is_dropped(DROP_ARP);
	s = arp((struct arpk){ .port = UP, .op = 1, .eth_dst = all_ones, .spa = OUR, .tpa = OUR });
	is_dropped(DROP_ARP);

	test_case("section9_new_link_asks_again");
	engine_iface_link(lab.e, UP, false);
	CHECK(!tick());
	engine_iface_link(lab.e, UP, true);
	is_question(__LINE__, OUR);
	is_question(__LINE__, GW);
	CHECK(!memcmp(gateway_in_use(), lab_backend, 6));
	engine_check(lab.e);
}

int main(void)
{
	test_ether();
	test_isolation();
	test_twins();
	test_removal();
	test_uplink();
	test_two_uplinks();
	test_self();
	test_rules();
	test_epoch();
	test_limits();
	test_arp_client();
	test_arp_uplink();
	engine_free(&lab.e);
	return test_end();
}
