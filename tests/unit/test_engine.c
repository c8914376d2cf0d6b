// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Flows through the engine: translation, TCP, UDP, echo, ports, time, limits.
 * Isolation, rules and ARP: test_engine_rules.c; ICMP: test_engine_icmp.c.
 */
#include "tests/unit/check.h"
#include "tests/unit/lab.h"

static struct lab lab;
static const struct seen *s;

#define forwarded(src, dst, port) lab_forwarded(__FILE__, __LINE__, s, src, dst, port)
#define is_dropped(reason) lab_dropped(__FILE__, __LINE__, s, reason)

static void start(uint32_t flow_max)
{
	if (lab.e)
		engine_free(&lab.e);
	lab_init(&lab, flow_max, 1);
	for (int i = 1; i <= 3; i++)
		lab_rules(&lab, lab_ip[i], "accept", NULL);
}

static void check(void)
{
	engine_check(lab.e);
}

static uint64_t dropped(enum drop_reason reason)
{
	return engine_stats(lab.e)->drops[reason];
}

/*
 * from client 1, port 1000, to the web server; and back to our port. Both sides
 * began at 0, so what is no SYN stands at 1; windows: test_tcp.c, tests/vectors/.
 */
static const struct seen *tcp_out(uint8_t flags)
{
	return lab_send(&lab, (struct pk){ .port = 1, .src = C1, .dst = WEB, .proto = 6,
					   .sp = 1000, .dp = 80, .flags = flags,
					   .seq = !(flags & T_SYN), .ack = !!(flags & T_ACK) });
}

static const struct seen *tcp_in(uint16_t port, uint8_t flags)
{
	return lab_send(&lab, (struct pk){ .port = UP, .src = WEB, .dst = OUR, .proto = 6,
					   .sp = 80, .dp = port, .flags = flags,
					   .seq = !(flags & T_SYN), .ack = !!(flags & T_ACK) });
}

static const struct seen *udp_out(uint16_t client, uint16_t sp, uint16_t dp)
{
	return lab_send(&lab, (struct pk){ .port = client, .src = lab_ip[client], .dst = DNS,
					   .proto = 17, .sp = sp, .dp = dp, .len = 20 });
}

static const struct seen *udp_in(uint16_t port, uint16_t from)
{
	return lab_send(&lab, (struct pk){ .port = UP, .src = DNS, .dst = OUR, .proto = 17,
					   .sp = from, .dp = port, .len = 30 });
}

static const struct seen *ping_out(uint16_t client, uint16_t id)
{
	return lab_send(&lab, (struct pk){ .port = client, .src = lab_ip[client], .dst = WEB,
					   .proto = 1, .type = 8, .sp = id, .dp = 1, .len = 56 });
}

static void handshake(void)
{
	s = tcp_out(T_SYN);
	forwarded(OUR, WEB, UP);
	s = tcp_in(1000, T_SYN | T_ACK);
	forwarded(WEB, C1, 1);
	s = tcp_out(T_ACK);
	forwarded(OUR, WEB, UP);
}

/* --- translation ------------------------------------------------------------ */

static void test_translate(void)
{
	test_case("U5_udp_both_ways");
	start(0);
	s = udp_out(1, 5000, 53);
	forwarded(OUR, DNS, UP);
	CHECK(s->sp == 5000 && s->dp == 53 && s->ttl == 63);
	CHECK(!memcmp(s->b, lab_backend, 6) && !memcmp(s->b + 6, lab_mac[0], 6));
	s = udp_in(5000, 53);
	forwarded(DNS, C1, 1);
	CHECK(s->sp == 53 && s->dp == 5000 && s->ttl == 63);
	CHECK(!memcmp(s->b, lab_mac[1], 6) && !memcmp(s->b + 6, lab_backend, 6));
	check();

	test_case("P4_payload_is_untouched");
	for (size_t len = 0; len < 1400; len += 61) {
		const uint8_t *want = lab.in.flat + 42;

		s = lab_send(&lab, (struct pk){ .port = 1, .src = C1, .dst = DNS, .proto = 17,
						.sp = 5000, .dp = 53, .len = len });
		forwarded(OUR, DNS, UP);
		CHECK(s->len == 42 + len && !memcmp(s->b + 42, want, len));
	}

	test_case("P4_udp_zero_checksum_stays_zero");
	s = lab_send(&lab, (struct pk){ .port = 1, .src = C1, .dst = DNS, .proto = 17, .sp = 9,
					.dp = 9, .len = 5, .no_csum = true });
	forwarded(OUR, DNS, UP);
	CHECK_INT(lab_get16(s->b + 40), 0);

	test_case("P4_udp_checksum_never_becomes_zero");
	for (unsigned int i = 0; i < 65536; i += 1) {
		uint8_t data[2] = { (uint8_t)(i >> 8), (uint8_t)i };

		s = lab_send(&lab, (struct pk){ .port = 1, .src = C1, .dst = DNS, .proto = 17,
						.sp = 9, .dp = 9, .data = data, .len = 2 });
		if (lab_get16(s->b + 40) == 0 || !s->l4_ok) {
			CHECK(!"zero or wrong");
			break;
		}
	}

	test_case("P4_partial_checksum");
	s = lab_send(&lab, (struct pk){ .port = 1, .src = C1, .dst = WEB, .proto = 6, .sp = 1000,
					.dp = 80, .flags = T_SYN, .partial = true });
	forwarded(OUR, WEB, UP);
	s = lab_send(&lab, (struct pk){ .port = UP, .src = WEB, .dst = OUR, .proto = 6, .sp = 80,
					.dp = 1000, .flags = T_SYN | T_ACK, .partial = true });
	forwarded(WEB, C1, 1);
	s = lab_send(&lab, (struct pk){ .port = 1, .src = C1, .dst = DNS, .proto = 17, .sp = 7,
					.dp = 7, .len = 9, .partial = true });
	forwarded(OUR, DNS, UP);

	test_case("P4_gso_passes_with_its_size");
	start(0);
	handshake();
	s = lab_send(&lab, (struct pk){ .port = 1, .src = C1, .dst = WEB, .proto = 6, .sp = 1000,
					.dp = 80, .flags = T_ACK, .seq = 1, .ack = 1,
					.len = 30000, .gso = 1448 });
	forwarded(OUR, WEB, UP);
	CHECK(lab.in.f.gso == GSO_TCPV4 && lab.in.f.gso_size == 1448);
	CHECK(s->len == 30054 && !memcmp(s->b + 54, lab.in.flat + 54, 30000));

	test_case("P10_header_fields_unchanged");
	s = lab_send(&lab, (struct pk){ .port = 1, .src = C1, .dst = WEB, .proto = 6, .sp = 1000,
					.dp = 80, .flags = T_ACK | 0xc0, .tos = 0xbb, .id = 0x1234,
					.frag = 0x4000, .seq = 30001, .ack = 1, .len = 3 });
	forwarded(OUR, WEB, UP);
	CHECK(s->tos == 0xbb && s->id == 0x1234 && s->frag == 0x4000 && s->seq == 30001);
	CHECK_INT(s->flags, T_ACK | 0xc0);
	check();
}

/* --- TCP ---------------------------------------------------------------------- */

static void test_tcp(void)
{
	struct engine_source_info info;
	struct addr c1 = lab_to_addr(C1);

	test_case("T1_handshake_and_data");
	start(0);
	handshake();
	for (int i = 0; i < 10; i++) {
		s = tcp_out(T_ACK | T_PSH);
		forwarded(OUR, WEB, UP);
		s = tcp_in(1000, T_ACK);
		forwarded(WEB, C1, 1);
	}
	CHECK(engine_source_info(lab.e, &c1, &info));
	CHECK(info.flows == 1 && info.accepted == 1 && info.packets_out == 12 &&
	      info.packets_in == 11 && info.bytes_out == 12 * 40);

	test_case("T2_simultaneous_open");
	start(0);
	s = tcp_out(T_SYN);
	s = tcp_in(1000, T_SYN);
	forwarded(WEB, C1, 1);
	s = tcp_out(T_SYN | T_ACK);
	forwarded(OUR, WEB, UP);
	s = tcp_in(1000, T_SYN | T_ACK);
	forwarded(WEB, C1, 1);
	s = tcp_out(T_ACK);
	lab_wait(&lab, 3600 * 1000);
	s = tcp_in(1000, T_ACK);
	forwarded(WEB, C1, 1); /* established: an idle hour does not matter */

	test_case("T3_only_syn_makes_state");
	start(0);
	for (int flags = 0; flags < 64; flags++) {
		if (flags == T_SYN || flags == (T_SYN | T_PSH) || flags == (T_SYN | 0x20) ||
		    flags == (T_SYN | T_PSH | 0x20))
			continue;
		s = tcp_out((uint8_t)flags);
		CHECK(s->verdict == FRAME_DROP && (s->reason == DROP_TCP_NO_FLOW ||
						   s->reason == DROP_TCP_FLAGS));
	}
	CHECK_INT(engine_stats(lab.e)->flows_active, 0);
	CHECK_INT(engine_stats(lab.e)->flows_created, 0);

	test_case("T12_invalid_flags_in_a_flow");
	handshake();
	s = tcp_out(T_SYN | T_FIN);
	is_dropped(DROP_TCP_FLAGS);
	s = tcp_in(1000, 0);
	is_dropped(DROP_TCP_FLAGS);

	test_case("T8_syn_in_established_passes");
	s = tcp_out(T_SYN);
	forwarded(OUR, WEB, UP);
	s = tcp_in(1000, T_ACK); /* the challenge */
	forwarded(WEB, C1, 1);
	lab_wait(&lab, 1000 * 1000);
	s = tcp_in(1000, T_ACK);
	forwarded(WEB, C1, 1);

	test_case("T9_repeated_syn_ack");
	s = tcp_in(1000, T_SYN | T_ACK);
	forwarded(WEB, C1, 1);
	lab_wait(&lab, 1000 * 1000);
	s = tcp_out(T_ACK);
	forwarded(OUR, WEB, UP);

	test_case("T17_inbound_syn_without_flow");
	s = tcp_in(2222, T_SYN);
	is_dropped(DROP_INBOUND);
	check();
}

static void test_tcp_end(void)
{
	test_case("T10_half_close_keeps_data_flowing");
	start(0);
	handshake();
	s = tcp_out(T_FIN | T_ACK);
	forwarded(OUR, WEB, UP);
	for (int i = 0; i < 5; i++) {
		lab_wait(&lab, 800 * 1000); /* data refreshes 900 s */
		s = tcp_in(1000, T_ACK | T_PSH);
		forwarded(WEB, C1, 1);
	}
	lab_wait(&lab, 901 * 1000);
	s = tcp_in(1000, T_ACK);
	is_dropped(DROP_INBOUND);

	test_case("T10_fin_from_either_side_first");
	for (int first = 0; first < 2; first++) {
		start(0);
		handshake();
		s = first ? tcp_in(1000, T_FIN | T_ACK) : tcp_out(T_FIN | T_ACK);
		CHECK_INT(s->verdict, FRAME_FORWARD);
		s = first ? tcp_out(T_FIN | T_ACK) : tcp_in(1000, T_FIN | T_ACK);
		CHECK_INT(s->verdict, FRAME_FORWARD);
		s = first ? tcp_in(1000, T_ACK) : tcp_out(T_ACK);
		CHECK_INT(s->verdict, FRAME_FORWARD);
		check();
		lab_wait(&lab, 241 * 1000);
		s = tcp_in(1000, T_ACK);
		is_dropped(DROP_INBOUND);
	}

	test_case("T11_new_syn_reopens_a_closing_flow");
	start(0);
	handshake();
	s = tcp_in(1000, T_RST | T_ACK);
	forwarded(WEB, C1, 1);
	s = tcp_in(1000, T_SYN);
	is_dropped(DROP_INBOUND); /* T17: but not from outside */
	s = tcp_in(1000, T_ACK);
	forwarded(WEB, C1, 1); /* stragglers */
	handshake();
	lab_wait(&lab, 3600 * 1000);
	s = tcp_in(1000, T_ACK);
	forwarded(WEB, C1, 1);
	CHECK_INT(engine_stats(lab.e)->flows_created, 1);
	check();

	test_case("T13_opening_times_out");
	start(0);
	s = tcp_out(T_SYN);
	lab_wait(&lab, 239 * 1000);
	s = tcp_in(1000, T_SYN | T_ACK);
	forwarded(WEB, C1, 1);
	lab_wait(&lab, 241 * 1000);
	s = tcp_out(T_ACK);
	is_dropped(DROP_TCP_NO_FLOW);
	CHECK_INT(engine_stats(lab.e)->flows_active, 0);

	test_case("T13_established_lives_a_day");
	start(0);
	handshake();
	lab_wait(&lab, 86399 * 1000);
	s = tcp_in(1000, T_ACK);
	forwarded(WEB, C1, 1);
	lab_wait(&lab, 86400 * 1000);
	s = tcp_in(1000, T_ACK);
	is_dropped(DROP_INBOUND);

	test_case("T13_reset_ends_soon");
	start(0);
	handshake();
	s = tcp_out(T_RST);
	forwarded(OUR, WEB, UP);
	lab_wait(&lab, 241 * 1000);
	s = tcp_in(1000, T_ACK);
	is_dropped(DROP_INBOUND);
	check();
}

/* --- UDP and echo ------------------------------------------------------------- */

static void idle(const char *name, uint16_t dport, bool replied, unsigned int seconds)
{
	test_case(name);
	start(0);
	s = udp_out(1, 5000, dport);
	if (replied)
		s = udp_in(5000, dport);
	lab_wait(&lab, (seconds - 1) * 1000);
	s = udp_in(5000, dport);
	forwarded(DNS, C1, 1);
	start(0);
	s = udp_out(1, 5000, dport);
	if (replied)
		s = udp_in(5000, dport);
	lab_wait(&lab, seconds * 1000);
	s = udp_in(5000, dport);
	is_dropped(DROP_INBOUND);
	check();
}

static void test_udp(void)
{
	idle("U1_unreplied_120_s", 4000, false, 120);
	idle("U1_replied_300_s", 4000, true, 300);
	idle("U1_dns_unreplied_30_s", 53, false, 30);
	idle("U1_dns_replied_5_s", 53, true, 5);

	test_case("U2_both_directions_refresh");
	start(0);
	s = udp_out(1, 5000, 4000);
	for (int i = 0; i < 5; i++) {
		lab_wait(&lab, (i ? 250 : 100) * 1000);
		s = udp_in(5000, 4000);
		forwarded(DNS, C1, 1);
	}
	for (int i = 0; i < 3; i++) {
		lab_wait(&lab, 250 * 1000);
		s = udp_out(1, 5000, 4000);
		forwarded(OUR, DNS, UP);
	}

	test_case("U3_filtering_by_address_and_port");
	s = udp_in(5000, 4001);
	is_dropped(DROP_INBOUND);
	s = udp_in(5001, 4000);
	is_dropped(DROP_INBOUND);
	s = lab_send(&lab, (struct pk){ .port = UP, .src = WEB, .dst = OUR, .proto = 17,
					.sp = 4000, .dp = 5000 });
	is_dropped(DROP_INBOUND);

	test_case("U5_two_clients_same_port");
	start(0);
	s = udp_out(1, 5000, 4000);
	CHECK_INT(s->sp, 5000);
	s = udp_out(2, 5000, 4000);
	forwarded(OUR, DNS, UP);
	CHECK(s->sp != 5000 && s->sp >= 1024);
	{
		uint16_t port = s->sp;

		s = udp_in(port, 4000);
		forwarded(DNS, C2, 2);
		CHECK_INT(s->dp, 5000);
		s = udp_in(5000, 4000);
		forwarded(DNS, C1, 1);
		/* U4: another remote, another mapping: the own port is free there */
		s = udp_out(2, 5000, 4001);
		CHECK_INT(s->sp, 5000);
	}
	check();
}

static void test_echo(void)
{
	uint16_t id;

	test_case("I1_echo_both_ways");
	start(0);
	s = ping_out(1, 77);
	forwarded(OUR, WEB, UP);
	CHECK(s->sp == 77 && s->type == 8 && s->info == 1);
	s = lab_send(&lab, (struct pk){ .port = UP, .src = WEB, .dst = OUR, .proto = 1, .type = 0,
					.sp = 77, .dp = 1, .len = 56 });
	forwarded(WEB, C1, 1);
	CHECK(s->sp == 77 && s->type == 0);
	test_case("I1_N7_identifier_collision");
	s = ping_out(2, 77);
	forwarded(OUR, WEB, UP);
	id = s->sp;
	CHECK(id != 77);
	s = lab_send(&lab, (struct pk){ .port = UP, .src = WEB, .dst = OUR, .proto = 1, .type = 0,
					.sp = id, .dp = 1, .len = 56 });
	forwarded(WEB, C2, 2);
	CHECK_INT(s->sp, 77);
	/* found by fuzz_packet: the sum of zeros is plus zero */
	test_case("P4_I1_echo_reply_of_zeros");
	s = ping_out(1, 0);
	s = ping_out(2, 0);
	id = s->sp;
	CHECK(id != 0);
	s = lab_send(&lab, (struct pk){ .port = UP, .src = WEB, .dst = OUR, .proto = 1, .type = 0,
					.sp = id });
	forwarded(WEB, C2, 2);
	s = lab_send(&lab, (struct pk){ .port = 1, .src = C1, .dst = OUR, .proto = 1, .type = 8 });
	CHECK(s->verdict == FRAME_REPLY && s->l4_ok);
	test_case("I1_echo_partial_checksum");
	s = lab_send(&lab, (struct pk){ .port = 1, .src = C1, .dst = WEB, .proto = 1, .type = 8,
					.sp = 78, .dp = 1, .len = 9, .partial = true });
	CHECK(s->verdict == FRAME_FORWARD && s->ip_ok && lab_get16(s->b + 36) == 0);
	CHECK(lab.in.f.csum_start == 34 && lab.in.f.csum_offset == 2);
	test_case("Q4_echo_request_from_outside");
	s = lab_send(&lab, (struct pk){ .port = UP, .src = WEB, .dst = OUR, .proto = 1, .type = 8,
					.sp = 77, .dp = 2 });
	is_dropped(DROP_INBOUND);
	test_case("I1_reply_without_request");
	s = lab_send(&lab, (struct pk){ .port = UP, .src = WEB, .dst = OUR, .proto = 1, .type = 0,
					.sp = 5, .dp = 2 });
	is_dropped(DROP_INBOUND);
	s = lab_send(&lab, (struct pk){ .port = 1, .src = C1, .dst = WEB, .proto = 1, .type = 0,
					.sp = 77, .dp = 2 });
	is_dropped(DROP_ICMP_NO_FLOW);
	test_case("I1_echo_times_out_after_60_s");
	lab_wait(&lab, 60 * 1000);
	s = lab_send(&lab, (struct pk){ .port = UP, .src = WEB, .dst = OUR, .proto = 1, .type = 0,
					.sp = 77, .dp = 1, .len = 56 });
	is_dropped(DROP_INBOUND);
	check();
}

/* --- ports --------------------------------------------------------------------- */

static void test_ports(void)
{
	struct engine_source_options many = { .max_flows = 1u << 18 };
	struct addr c1;
	uint32_t low = 0, high = 0, kept = 0;

	test_case("N9_low_ports_are_kept_too");
	start(0);
	s = udp_out(1, 123, 123);
	CHECK_INT(s->sp, 123);
	test_case("N9_port_zero_is_not");
	s = udp_out(1, 0, 123);
	forwarded(OUR, DNS, UP);
	CHECK(s->sp >= 1024);

	/* all of client 1's ports are taken, so client 2 gets random ones */
	test_case("N1_random_when_taken");
	start(0);
	for (uint16_t p = 2000; p < 12000; p++)
		s = udp_out(1, p, 4000);
	for (uint16_t p = 2000; p < 12000; p++) {
		s = udp_out(2, p, 4000);
		CHECK(s->verdict == FRAME_FORWARD && s->sp >= 1024);
		kept += s->sp == p;
		low += s->sp < 33280;
		high += s->sp >= 33280;
	}
	CHECK_INT(kept, 0);
	/* 10000 of the range are taken and below the middle: 22256 to 32256 */
	CHECK(low > 3600 && low < 4600 && low + high == 10000);
	check();

	/* one remote, every port taken: bounded probing, then a clear refusal */
	test_case("N3_exhaustion_is_refused");
	start(1u << 18);
	c1 = lab_to_addr(C1);
	CHECK_INT(engine_source_options(lab.e, &c1, &many), 0);
	for (uint32_t p = 1; p < 65536; p++)
		s = udp_out(1, (uint16_t)p, 4000);
	CHECK_INT(engine_stats(lab.e)->flows_active, 65535);
	lab_wait(&lab, 1000);
	s = udp_out(2, 9, 4000);
	CHECK_INT(s->reason, DROP_NO_PORT);
	CHECK_INT(s->verdict, FRAME_REPLY);
	CHECK(s->type == 3 && s->code == 13 && s->ip_ok && s->l4_ok);
	CHECK_INT(dropped(DROP_NO_PORT), 1);
	s = udp_out(2, 9, 4001); /* another remote has all of them */
	CHECK_INT(s->sp, 9);

	test_case("N4_a_source_never_has_more_than_half_of_the_ports");
	start(1u << 18);
	for (uint32_t p = 1; p < 65536; p++)
		s = udp_out(1, (uint16_t)p, 4000);
	CHECK_INT(engine_stats(lab.e)->flows_active, 32768);
	s = udp_out(2, 9, 4000);
	forwarded(OUR, DNS, UP);

	test_case("N5_port_returns_after_the_timeout");
	start(1u << 18);
	CHECK_INT(engine_source_options(lab.e, &c1, &many), 0);
	for (uint32_t p = 1; p < 65536; p++)
		s = udp_out(1, (uint16_t)p, 4000);
	s = udp_out(2, 9, 4000);
	CHECK_INT(dropped(DROP_NO_PORT), 1);
	lab_wait(&lab, 120 * 1000);
	s = udp_out(2, 9, 4000);
	forwarded(OUR, DNS, UP);
	CHECK_INT(engine_stats(lab.e)->drops[DROP_NO_PORT], 1);
}

/* --- time and room --------------------------------------------------------------- */

static void test_time(void)
{
	test_case("G7_expiry_is_bounded_and_complete");
	start(0);
	for (uint16_t p = 1; p <= 5000; p++)
		s = udp_out(1, p, 4000);
	CHECK_INT(engine_stats(lab.e)->flows_active, 5000);
	lab_wait(&lab, 119 * 1000);
	CHECK_INT(engine_stats(lab.e)->flows_active, 5000);
	lab_wait(&lab, 2000);
	CHECK(engine_stats(lab.e)->flows_active > 0); /* not all in one tick */
	lab_wait(&lab, 20 * 1000);
	CHECK_INT(engine_stats(lab.e)->flows_active, 0);
	CHECK_INT(engine_stats(lab.e)->flows_expired, 5000);
	check();

	test_case("D5_resume_does_not_end_flows_at_once");
	start(0);
	s = udp_out(1, 5000, 4000);
	s = udp_out(1, 5001, 4000);
	lab.ms += 8 * 3600 * 1000; /* the machine slept */
	s = udp_in(5000, 4000);
	forwarded(DNS, C1, 1);
	lab_wait(&lab, 900);
	CHECK_INT(engine_stats(lab.e)->flows_active, 2);
	lab_wait(&lab, 2000);
	CHECK_INT(engine_stats(lab.e)->flows_active, 1); /* the one that was not used */
	s = udp_in(5001, 4000);
	is_dropped(DROP_INBOUND);

	test_case("D5_a_caller_that_seldom_calls");
	start(0);
	s = udp_out(1, 5000, 4000);
	for (int i = 0; i < 40; i++) {
		lab.ms += 10000;
		for (int k = 0; k < 20; k++)
			engine_tick(lab.e, (struct engine_time){ lab.ms });
	}
	CHECK_INT(engine_stats(lab.e)->flows_active, 0);

	test_case("D5_clock_back_leaves_nothing_stuck");
	start(0);
	s = udp_out(1, 5000, 4000);
	lab.ms -= 900000;
	lab_wait(&lab, 119 * 1000);
	s = udp_in(5000, 4000);
	forwarded(DNS, C1, 1);
	lab_wait(&lab, 610 * 1000);
	CHECK_INT(engine_stats(lab.e)->flows_active, 0);
	check();
}

static void test_room(void)
{
	struct engine_source_info info;
	struct addr a[4] = { { 0 }, lab_to_addr(C1), lab_to_addr(C2), lab_to_addr(C3) };

	test_case("T14_syn_flood_evicts_nobody_else");
	start(1024);
	handshake();				/* client 1: established */
	s = udp_out(2, 5000, 4000);		/* client 2: unreplied */
	for (uint32_t i = 0; i < 1000000; i++) {
		s = lab_send(&lab, (struct pk){ .port = 1, .src = C1, .dst = DNS, .proto = 6,
						.sp = (uint16_t)i, .dp = (uint16_t)(80 + i / 65536),
						.flags = T_SYN });
		if (s->verdict != FRAME_FORWARD)
			CHECK(!"the flood replaces its own");
	}
	check();
	CHECK(engine_source_info(lab.e, &a[1], &info));
	CHECK(info.flows >= 450 && info.flows <= 512); /* less the others' reserve */
	s = tcp_in(1000, T_ACK);
	forwarded(WEB, C1, 1); /* its own established flow is still there */
	s = udp_in(5000, 4000);
	forwarded(DNS, C2, 2);

	test_case("D2_N4_every_source_gets_room");
	for (uint16_t p = 1; p < 3000; p++)
		udp_out(2, p, 4000);
	for (uint16_t p = 1; p < 3000; p++)
		udp_out(3, p, 4000);
	s = udp_out(3, 5000, 4000);
	forwarded(OUR, DNS, UP);
	CHECK(engine_source_info(lab.e, &a[2], &info) && info.flows >= 200);
	CHECK(engine_source_info(lab.e, &a[3], &info) && info.flows >= 100);
	CHECK(engine_stats(lab.e)->flows_active < 1024);
	check();

	test_case("D2_closing_goes_after_opening");
	start(64);
	handshake();
	s = tcp_out(T_RST);
	for (uint16_t p = 1; p < 100; p++)
		s = udp_out(1, p, 4000);
	s = tcp_in(1000, T_ACK);
	forwarded(WEB, C1, 1); /* enough opening ones went first */
	for (uint16_t p = 1; p < 100; p++) {
		s = udp_out(1, p, 4001);
		s = udp_in(s->sp, 4001); /* all replied: nothing opening is left */
	}
	s = tcp_in(1000, T_ACK);
	is_dropped(DROP_INBOUND);

	test_case("D2_only_open_flows_left");
	lab_wait(&lab, 2000);
	s = udp_out(1, 60000, 4002);
	CHECK_INT(s->reason, DROP_FLOW_LIMIT);
	CHECK(s->verdict == FRAME_REPLY && s->type == 3 && s->code == 13);
	s = udp_out(2, 60000, 4002);
	forwarded(OUR, DNS, UP);
	check();
}

/* Several packets of one new flow, and both directions, in one batch. */
static void test_batch(void)
{
	static struct tframe t[80];
	struct frame *f[80];

	test_case("D4_batch_sees_its_own_flows");
	start(0);
	for (int i = 0; i < 80; i++) {
		struct pk k = { .port = 1, .src = C1, .dst = DNS, .proto = 17, .sp = 5000,
				.dp = 4000, .len = 8 };

		if (i % 2)
			k = (struct pk){ .port = UP, .src = DNS, .dst = OUR, .proto = 17,
					 .sp = 4000, .dp = 5000, .len = 8 };
		lab_build(&t[i], &k);
		f[i] = &t[i].f;
	}
	engine_process(lab.e, f, 80, (struct engine_time){ lab.ms });
	for (int i = 0; i < 80; i++) {
		lab_read(&t[i].f, &lab.seen);
		s = &lab.seen;
		if (i % 2)
			forwarded(DNS, C1, 1);
		else
			forwarded(OUR, DNS, UP);
	}
	CHECK_INT(engine_stats(lab.e)->flows_created, 1);
	CHECK_INT(engine_stats(lab.e)->forwarded, 80);

	test_case("P1_bad_descriptors");
	lab_build(&t[0], &(struct pk){ .port = 1, .src = C1, .dst = DNS, .proto = 17 });
	t[0].f.copy_failed = true;
	lab_build(&t[1], &(struct pk){ .port = 1, .src = C1, .dst = DNS, .proto = 17 });
	t[1].f.in_port = 9;
	lab_build(&t[2], &(struct pk){ .port = 1, .src = C1, .dst = DNS, .proto = 17 });
	t[2].f.in_port = 60000;
	lab_frame(&t[3], 1, 13);
	lab_frame(&t[4], 1, 0);
	engine_process(lab.e, f, 5, (struct engine_time){ lab.ms });
	CHECK_INT(t[0].f.reason, DROP_COPY_FAILED);
	CHECK_INT(t[1].f.reason, DROP_NO_IFACE);
	CHECK_INT(t[2].f.reason, DROP_NO_IFACE);
	CHECK_INT(t[3].f.reason, DROP_SHORT_FRAME);
	CHECK_INT(t[4].f.reason, DROP_SHORT_FRAME);
	check();
}

int main(void)
{
	test_translate();
	test_tcp();
	test_tcp_end();
	test_udp();
	test_echo();
	test_ports();
	test_time();
	test_room();
	test_batch();
	engine_free(&lab.e);
	return test_end();
}
