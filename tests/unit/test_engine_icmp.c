// SPDX-License-Identifier: GPL-2.0-or-later
/* ICMP through the engine: errors about flows, our own errors, our own address. */
#include "tests/unit/check.h"
#include "tests/unit/lab.h"

static struct lab lab;
static const struct seen *s;
static uint8_t quoted[1600];

#define forwarded(src, dst, port) lab_forwarded(__FILE__, __LINE__, s, src, dst, port)
#define is_dropped(reason) lab_dropped(__FILE__, __LINE__, s, reason)

static void start(void)
{
	if (lab.e)
		engine_free(&lab.e);
	lab_init(&lab, 0, 1);
	for (int i = 1; i <= 3; i++)
		lab_rules(&lab, lab_ip[i], "accept", NULL);
}

static const struct seen *client(struct pk k)
{
	k.port = 1;
	k.src = C1;
	return lab_send(&lab, k);
}

/* The packet that was last sent out or in, as an error would quote it. */
static size_t quote(size_t max)
{
	size_t len = lab.seen.len - 14;

	if (len > max)
		len = max;
	memcpy(quoted, lab.seen.b + 14, len);
	return len;
}

static const struct seen *error(uint16_t port, const char *src, const char *dst, uint8_t type,
				uint8_t code, size_t len)
{
	return lab_send(&lab, (struct pk){ .port = port, .src = src, .dst = dst, .proto = 1,
					   .type = type, .code = code, .dp = 1400, .data = quoted,
					   .len = len });
}

/* What the inner packet looks like in what came out. */
struct inner {
	char src[16], dst[16];
	uint16_t sp, dp;
	bool ip_ok, l4_ok;
};

static struct inner inner_of(const struct seen *e)
{
	const uint8_t *ip = e->b + e->payload;
	size_t ihl = (size_t)(ip[0] & 15) * 4, total = lab_get16(ip + 2);
	struct inner in = { .ip_ok = lab_sum(ip, ihl, 0) == 0xffff };

	inet_ntop(AF_INET, ip + 12, in.src, sizeof(in.src));
	inet_ntop(AF_INET, ip + 16, in.dst, sizeof(in.dst));
	in.sp = lab_get16(ip + ihl + (ip[9] == 1 ? 4 : 0));
	in.dp = lab_get16(ip + ihl + 2);
	in.l4_ok = e->payload + total <= e->len &&
		   lab_sum(ip + ihl, total - ihl,
			   ip[9] == 1 ? 0 : lab_pseudo(ip, total - ihl)) == 0xffff;
	return in;
}

static const struct pk tcp_syn = { .dst = WEB, .proto = 6, .sp = 1000, .dp = 80, .flags = T_SYN };
static const struct pk udp_dns = { .dst = DNS, .proto = 17, .sp = 5000, .dp = 4000, .len = 40 };
static const struct pk echo = { .dst = WEB, .proto = 1, .type = 8, .sp = 77, .dp = 1, .len = 20 };

/* Client 2 takes the port first, so that client 1's is translated. */
static void occupy(const struct pk *k)
{
	struct pk other = *k;

	other.port = 2;
	other.src = C2;
	lab_send(&lab, other);
}

static void test_errors_in(void)
{
	static const struct {
		const char *name;
		const struct pk *k;
		size_t quote;
		uint8_t type, code;
		bool whole;
	} table[] = {
		{ "I2_unreachable_about_udp", &udp_dns, 1500, 3, 3, true },
		{ "I2_time_exceeded_about_udp", &udp_dns, 28, 11, 0, false },
		{ "I2_eight_bytes_of_tcp", &tcp_syn, 28, 3, 1, false },
		{ "I2_whole_tcp_with_checksum", &tcp_syn, 1500, 3, 13, true },
		{ "I2_parameter_problem", &tcp_syn, 1500, 12, 0, true },
		{ "I2_about_an_echo", &echo, 1500, 11, 0, true },
		{ "I4_fragmentation_needed", &tcp_syn, 28, 3, 4, false },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct inner in;
		uint16_t mapped;
		size_t len;

		test_case(table[i].name);
		start();
		occupy(table[i].k);
		s = client(*table[i].k);
		mapped = s->sp;
		CHECK(s->verdict == FRAME_FORWARD && mapped != table[i].k->sp);
		len = quote(table[i].quote);
		/* I11: the policy knows nothing of it */
		s = error(UP, "203.0.113.9", OUR, table[i].type, table[i].code, len);
		forwarded("203.0.113.9", C1, 1);
		in = inner_of(s);
		CHECK(strcmp(in.src, C1) == 0 && strcmp(in.dst, table[i].k->dst) == 0);
		CHECK_INT(in.sp, table[i].k->sp);
		CHECK(in.ip_ok);
		CHECK_INT(in.l4_ok, table[i].whole);
		CHECK_INT(s->info, 1400); /* I4: kept */
		CHECK_INT(s->ttl, 63);
		engine_check(lab.e);
	}
}

static void test_errors_out(void)
{
	static const struct {
		const char *name;
		const struct pk *k;
		uint8_t type, flags;
	} table[] = {
		{ "I2_client_error_about_udp", &udp_dns, 0, 0 },
		{ "I2_client_error_about_tcp", &tcp_syn, 0, T_SYN | T_ACK },
		{ "I2_client_error_about_echo_reply", &echo, 0, 0 },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct pk *k = table[i].k;
		struct inner in;
		uint16_t mapped;
		size_t len;

		test_case(table[i].name);
		start();
		occupy(k);
		mapped = client(*k)->sp;
		s = lab_send(&lab, (struct pk){ .port = UP, .src = k->dst, .dst = OUR,
						.proto = k->proto, .type = table[i].type,
						.flags = table[i].flags, .ack = 1,
						.sp = k->proto == 1 ? mapped : k->dp,
						.dp = k->proto == 1 ? 1 : mapped, .len = 33 });
		forwarded(k->dst, C1, 1);
		len = quote(1500);
		s = error(1, C1, k->dst, 3, 3, len);
		forwarded(OUR, k->dst, UP);
		in = inner_of(s);
		CHECK(strcmp(in.src, k->dst) == 0 && strcmp(in.dst, OUR) == 0);
		CHECK_INT(k->proto == 1 ? in.sp : in.dp, mapped);
		CHECK(in.ip_ok && in.l4_ok);
		/* I3: to somebody else than the sender of what it quotes */
		s = error(1, C1, "203.0.113.77", 3, 3, len);
		is_dropped(DROP_ICMP_NO_FLOW);
	}
}

static void test_forged(void)
{
	size_t len;

	test_case("I3_no_such_flow");
	start();
	client(tcp_syn);
	len = quote(1500);
	quoted[21] ^= 1; /* source port */
	s = error(UP, WEB, OUR, 3, 1, len);
	is_dropped(DROP_ICMP_NO_FLOW);
	test_case("I3_not_our_address_inside");
	client(tcp_syn);
	len = quote(1500);
	quoted[15] ^= 1;
	s = error(UP, WEB, OUR, 3, 1, len);
	is_dropped(DROP_ICMP_NO_FLOW);
	test_case("I3_wrong_protocol_inside");
	client(tcp_syn);
	len = quote(1500);
	quoted[9] = 47;
	s = error(UP, WEB, OUR, 3, 1, len);
	is_dropped(DROP_ICMP_NO_FLOW);
	test_case("I3_quoted_fragment");
	client(tcp_syn);
	len = quote(1500);
	quoted[7] = 9;
	s = error(UP, WEB, OUR, 3, 1, len);
	is_dropped(DROP_ICMP_NO_FLOW);
	test_case("I3_quote_too_short");
	client(tcp_syn);
	for (size_t n = 0; n < 28; n++) {
		quote(1500);
		s = error(UP, WEB, OUR, 3, 1, n);
		is_dropped(DROP_L4_HEADER);
		client(tcp_syn);
	}
	test_case("I5_error_about_an_error");
	client(echo);
	len = quote(1500);
	quoted[20] = 3;
	s = error(UP, WEB, OUR, 3, 1, len);
	is_dropped(DROP_ICMP_TYPE);
	test_case("I3_error_checksum");
	client(tcp_syn);
	len = quote(1500);
	lab_build(&lab.in, &(struct pk){ .port = UP, .src = WEB, .dst = OUR, .proto = 1, .type = 3,
					 .code = 1, .data = quoted, .len = len });
	lab.in.f.header[36] ^= 0x40;
	s = lab_run(&lab);
	is_dropped(DROP_ICMP_CHECKSUM);
	test_case("I3_another_clients_flow");
	start();
	s = client(udp_dns);
	s = lab_send(&lab, (struct pk){ .port = UP, .src = DNS, .dst = OUR, .proto = 17,
					.sp = 4000, .dp = 5000 });
	len = quote(1500);
	s = error(2, C2, DNS, 3, 3, len);
	is_dropped(DROP_ICMP_NO_FLOW);

	test_case("I6_types_that_never_pass");
	{
		static const uint8_t types[] = { 4, 5, 9, 10, 13, 14, 15, 17, 18, 40 };

		for (size_t i = 0; i < sizeof(types); i++) {
			s = error(UP, WEB, OUR, types[i], 0, len);
			is_dropped(DROP_ICMP_TYPE);
			s = error(1, C1, WEB, types[i], 0, len);
			is_dropped(DROP_ICMP_TYPE);
		}
	}
}

static void test_error_and_flow(void)
{
	size_t len;

	test_case("I10_U8_error_does_not_end_the_flow");
	start();
	client(udp_dns);
	len = quote(1500);
	s = error(UP, WEB, OUR, 3, 3, len);
	forwarded(WEB, C1, 1);
	s = lab_send(&lab, (struct pk){ .port = UP, .src = DNS, .dst = OUR, .proto = 17,
					.sp = 4000, .dp = 5000 });
	forwarded(DNS, C1, 1);
	test_case("I10_error_does_not_refresh_the_flow");
	start();
	client(udp_dns);
	len = quote(1500);
	for (int i = 0; i < 119; i++) {
		lab_wait(&lab, 1000);
		s = error(UP, WEB, OUR, 3, 3, len);
		forwarded(WEB, C1, 1);
	}
	lab_wait(&lab, 1000);
	s = error(UP, WEB, OUR, 3, 3, len);
	is_dropped(DROP_ICMP_NO_FLOW);
	test_case("I5_no_error_about_an_error_with_ttl_1");
	start();
	client(udp_dns);
	len = quote(1500);
	s = lab_send(&lab, (struct pk){ .port = UP, .src = WEB, .dst = OUR, .proto = 1, .type = 3,
					.data = quoted, .len = len, .ttl = 1 });
	is_dropped(DROP_TTL);
	test_case("I2_quoted_zero_udp_checksum_stays_zero");
	{
		struct pk k = udp_dns;

		k.no_csum = true;
		client(k);
		len = quote(1500);
		s = error(UP, WEB, OUR, 3, 3, len);
		forwarded(WEB, C1, 1);
		CHECK_INT(lab_get16(s->b + s->payload + 26), 0);
	}
}

/* An error of ours: about exactly what was sent, from whom the client knows. */
static void own_error(int line, uint8_t type, uint8_t code, enum drop_reason reason)
{
	size_t n = s->len - s->payload;

	if (s->verdict != FRAME_REPLY || s->reason != (int)reason || s->type != type ||
	    s->code != code || !s->ip_ok || !s->l4_ok)
		test_fail(__FILE__, line, "not the expected error");
	CHECK(strcmp(s->src, OUR) == 0 && strcmp(s->dst, C1) == 0 && s->ttl == 64);
	CHECK(!memcmp(s->b, lab_mac[1], 6) && !memcmp(s->b + 6, lab_backend, 6));
	CHECK(n >= 28 && !memcmp(s->b + s->payload, lab.in.flat + 14, n));
	CHECK(lab.in.f.nseg == 0 && lab.in.f.csum == CSUM_NONE && lab.in.f.gso == GSO_NONE);
}

static void test_own_errors(void)
{
	struct pk k = udp_dns;

	test_case("P6_ttl_1_first_packet");
	start();
	k.ttl = 1;
	s = client(k);
	own_error(__LINE__, 11, 0, DROP_TTL);
	CHECK_INT(engine_stats(lab.e)->flows_active, 0);
	test_case("P6_ttl_1_in_a_flow");
	client(udp_dns);
	s = client(k);
	own_error(__LINE__, 11, 0, DROP_TTL);
	test_case("P6_ttl_1_from_outside");
	s = lab_send(&lab, (struct pk){ .port = UP, .src = DNS, .dst = OUR, .proto = 17,
					.sp = 4000, .dp = 5000, .ttl = 1 });
	CHECK(s->verdict == FRAME_REPLY && s->type == 11 && s->ip_ok && s->l4_ok);
	CHECK(!strcmp(s->src, OUR) && !strcmp(s->dst, DNS));
	CHECK(!memcmp(s->b, lab_gw_mac, 6) && !memcmp(s->b + 6, lab_mac[0], 6));
	s = lab_send(&lab, (struct pk){ .port = UP, .src = DNS, .dst = OUR, .proto = 17,
					.sp = 4000, .dp = 5009, .ttl = 1 });
	is_dropped(DROP_INBOUND); /* silence for who is not expected */
	test_case("P6_ttl_2_passes_as_1");
	k.ttl = 2;
	s = client(k);
	forwarded(OUR, DNS, UP);
	CHECK_INT(s->ttl, 1);

	test_case("P11_too_big_with_df");
	lab_uplink(&lab, OUR, 1400);
	k = (struct pk){ .dst = DNS, .proto = 17, .sp = 1, .dp = 2, .len = 1373, .frag = 0x4000 };
	s = client(k);
	own_error(__LINE__, 3, 4, DROP_TOO_BIG);
	CHECK_INT(s->info, 1400);
	k.len = 1372;
	s = client(k);
	forwarded(OUR, DNS, UP);
	test_case("P11_too_big_without_df");
	k.len = 1373;
	k.frag = 0;
	lab_wait(&lab, 1); /* what the engine has to say itself is out of the way */
	s = client(k);
	CHECK(s->verdict == FRAME_DROP && s->reason == DROP_NONE); /* its bytes were taken */
	for (int i = 0; i < 2; i++) {
		CHECK(engine_take(lab.e, &lab.out.f));
		CHECK_INT(lab.out.f.len, i ? 14 + 20 + 5 : 14 + 20 + 1376);
		CHECK_INT(lab.out.f.out_port, UP);
		engine_done(lab.e, &lab.out.f);
	}
	CHECK(!engine_take(lab.e, &lab.out.f));
	test_case("P11_gso_by_segment");
	k = (struct pk){ .dst = WEB, .proto = 6, .sp = 1, .dp = 2, .flags = T_SYN };
	client(k);
	lab_send(&lab, (struct pk){ .port = UP, .src = WEB, .dst = OUR, .proto = 6, .sp = 2,
				    .dp = 1, .flags = T_SYN | T_ACK, .ack = 1 });
	k.flags = T_ACK;
	k.seq = k.ack = 1;
	k.len = 20000;
	k.gso = 1360;
	k.frag = 0x4000;
	s = client(k);
	forwarded(OUR, WEB, UP);
	k.gso = 1361;
	s = client(k);
	own_error(__LINE__, 3, 4, DROP_TOO_BIG);
	CHECK_INT(s->info, 1400);

	test_case("I8_rate_limited_per_client");
	start();
	lab_rules(&lab, C1, "drop", NULL);
	{
		unsigned int sent = 0;

		for (int i = 0; i < 1000; i++)
			sent += client(udp_dns)->verdict == FRAME_REPLY;
		CHECK_INT(sent, 100);
		lab_wait(&lab, 500);
		for (int i = 0; i < 1000; i++)
			sent += client(udp_dns)->verdict == FRAME_REPLY;
		CHECK_INT(sent, 150);
		CHECK_INT(engine_stats(lab.e)->drops[DROP_REJECTED], 2000);
	}
	test_case("I8_another_client_is_not_limited");
	lab_rules(&lab, C2, "drop", NULL);
	k = udp_dns;
	k.port = 2;
	k.src = C2;
	s = lab_send(&lab, k);
	CHECK_INT(s->verdict, FRAME_REPLY);
	test_case("I8_rate_limited_in_all");
	lab_wait(&lab, 2000);
	{
		unsigned int sent = 0;
		char ip[16];

		for (uint16_t port = 4; port < 20; port++) {
			snprintf(ip, sizeof(ip), "10.137.1.%u", port);
			lab_client(&lab, port, ip);
			lab_rules(&lab, ip, "drop", NULL);
			k = udp_dns;
			k.port = port;
			k.src = ip;
			for (int i = 0; i < 100; i++)
				sent += lab_send(&lab, k)->verdict == FRAME_REPLY;
			if (port == 13)
				CHECK_INT(sent, 1000);
		}
		CHECK_INT(sent, 1000);
	}
	test_case("I9_reset_is_never_answered");
	lab_wait(&lab, 1000);
	s = client((struct pk){ .dst = WEB, .proto = 6, .sp = 1, .dp = 2, .flags = T_RST });
	is_dropped(DROP_REJECTED);
	test_case("I8_quote_fits_the_frame");
	k = udp_dns;
	k.len = 1400;
	s = client(k);
	own_error(__LINE__, 3, 13, DROP_REJECTED);
	CHECK(s->len <= FRAME_HEADER_MAX);
}

static void test_own_address(void)
{
	static const struct {
		const char *name;
		struct pk k;
		int type; /* -1: silence */
	} table[] = {
		{ "Q5_tcp_to_the_gateway", { .proto = 6, .sp = 1, .dp = 22, .flags = T_SYN }, 3 },
		{ "Q5_udp_to_the_gateway", { .proto = 17, .sp = 1, .dp = 53 }, 3 },
		{ "Q5_dhcp_client_port", { .proto = 17, .sp = 67, .dp = 68 }, -1 },
		{ "Q5_other_protocol", { .proto = 47, .len = 8 }, 3 },
		{ "Q5_other_icmp", { .proto = 1, .type = 13 }, -1 },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct pk k = table[i].k;

		test_case(table[i].name);
		start();
		k.dst = OUR;
		s = client(k);
		if (table[i].type < 0)
			is_dropped(DROP_TO_FIREWALL);
		else
			own_error(__LINE__, 3, 10, DROP_TO_FIREWALL);
	}
	test_case("Q5_echo_is_answered");
	start();
	for (size_t len = 0; len < 1400; len += 99) {
		s = client((struct pk){ .dst = OUR, .proto = 1, .type = 8, .sp = 4, .dp = 5,
					.len = len, .ttl = 1 });
		CHECK(s->verdict == FRAME_REPLY && s->reason == DROP_NONE);
		CHECK(s->type == 0 && s->sp == 4 && s->info == 5 && s->ip_ok && s->l4_ok);
		CHECK(!strcmp(s->src, OUR) && !strcmp(s->dst, C1) && s->ttl == 64);
		CHECK(s->len == 42 + len && !memcmp(s->b + 42, lab.in.flat + 42, len));
	}
	CHECK_INT(engine_stats(lab.e)->flows_active, 0);
	test_case("Q5_needs_no_policy_and_no_uplink");
	engine_iface_clear(lab.e, UP);
	{
		struct addr a = lab_to_addr(C1);

		engine_source_forget(lab.e, &a);
	}
	s = client((struct pk){ .dst = OUR, .proto = 1, .type = 8, .sp = 4, .dp = 5 });
	CHECK_INT(s->verdict, FRAME_REPLY);
	engine_check(lab.e);
}

int main(void)
{
	test_errors_in();
	test_errors_out();
	test_forged();
	test_error_and_flow();
	test_own_errors();
	test_own_address();
	engine_free(&lab.e);
	return test_end();
}
