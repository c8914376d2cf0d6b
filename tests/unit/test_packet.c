// SPDX-License-Identifier: GPL-2.0-or-later
#include "firewall/packet.h"
#include "tests/unit/check.h"
#include "tests/unit/lab.h"

static struct tframe t;
static struct packet p;
static struct seen s;

static const struct pk udp = { .port = 1, .src = C1, .dst = WEB, .proto = 17, .sp = 1000,
			       .dp = 53, .len = 40 };
static const struct pk tcp = { .port = 1, .src = C1, .dst = WEB, .proto = 6, .sp = 1000,
			       .dp = 80, .flags = T_ACK, .len = 600 };
static const struct pk ping = { .port = 1, .src = C1, .dst = WEB, .proto = 1, .type = 8,
				.sp = 77, .dp = 1, .len = 56 };

static enum drop_reason parse_frame(void)
{
	enum drop_reason reason = packet_parse_ip4(&t.f, &p, false);

	return reason ? reason : packet_parse_l4(&t.f, &p);
}

static enum drop_reason parse(const struct pk *k)
{
	lab_build(&t, k);
	return parse_frame();
}

/* Change one byte of a good packet, with the header checksum put right or not. */
static enum drop_reason parse_with(const struct pk *k, size_t at, uint8_t value, bool fix)
{
	size_t ihl;

	lab_build(&t, k);
	t.f.header[at] = value;
	ihl = (size_t)(t.f.header[14] & 15) * 4;
	if (fix && ihl >= 20) {
		lab_put16(t.f.header + 24, 0);
		lab_put16(t.f.header + 24, ~lab_sum(t.f.header + 14, ihl, 0));
	}
	return parse_frame();
}

static void test_good(void)
{
	test_case("P_fields_udp");
	CHECK_INT(parse(&udp), DROP_NONE);
	CHECK(p.proto == 17 && p.sport == 1000 && p.dport == 53 && p.l4 == 34 && p.csum == 40);
	CHECK(p.ip_len == 68 && p.l4_len == 48 && p.ttl == 64 && !p.df && p.family == 4);
	test_case("P_fields_tcp");
	CHECK_INT(parse(&tcp), DROP_NONE);
	CHECK(p.proto == 6 && p.tcp_flags == T_ACK && p.csum == 50 && p.ip_len == 640);
	test_case("P_fields_icmp");
	CHECK_INT(parse(&ping), DROP_NONE);
	CHECK(p.icmp_type == 8 && p.sport == 77 && p.dport == 0 && p.csum == 36);
	test_case("P_other_protocol");
	{
		struct pk gre = { .port = 1, .src = C1, .dst = WEB, .proto = 47, .len = 8 };

		CHECK_INT(parse(&gre), DROP_NONE);
		CHECK(p.csum == 0 && p.sport == 0);
	}
}

/* P1: cut at every length, with and without the length field agreeing. */
static void test_truncated(void)
{
	const struct pk *const kinds[] = { &udp, &tcp, &ping };

	test_case("P1_truncated_at_every_offset");
	for (size_t k = 0; k < 3; k++) {
		for (size_t len = 14; len < 14 + 20 + 20; len++) {
			size_t need = k == 1 ? 54 : 42;
			enum drop_reason r;

			lab_build(&t, kinds[k]);
			/* an allocation of exactly these bytes: ASan watches */
			lab_frame(&t, 1, len);
			CHECK_INT(parse_frame(), DROP_IP_HEADER);
			if (len < 34)
				continue;
			lab_build(&t, kinds[k]);
			lab_put16(t.flat + 16, (unsigned int)(len - 14));
			lab_put16(t.flat + 24, 0);
			lab_put16(t.flat + 24, ~lab_sum(t.flat + 14, 20, 0));
			lab_frame(&t, 1, len);
			r = parse_frame();
			/* UDP also sees that its own length is wrong */
			CHECK_INT(r, k == 0 || len < need ? DROP_L4_HEADER : DROP_NONE);
		}
	}
	test_case("P1_headers_beyond_the_private_copy");
	lab_build(&t, &tcp);
	t.f.header[14 + 20 + 12] = 15 << 4; /* 60 bytes of TCP header */
	CHECK_INT(parse_frame(), DROP_NONE);
	lab_build(&t, &tcp);
	t.f.header[14 + 20 + 12] = 15 << 4;
	t.f.header_len = 80;
	t.f.len = 80 + t.f.seg[0].len + t.f.seg[1].len;
	lab_put16(t.f.header + 16, t.f.len - 14);
	lab_put16(t.f.header + 24, 0);
	lab_put16(t.f.header + 24, ~lab_sum(t.f.header + 14, 20, 0));
	CHECK_INT(parse_frame(), DROP_L4_HEADER);
}

static void test_header(void)
{
	test_case("P2_ihl_below_five");
	CHECK_INT(parse_with(&udp, 14, 0x44, true), DROP_IP_HEADER);
	test_case("P2_version");
	CHECK_INT(parse_with(&udp, 14, 0x65, true), DROP_IP_HEADER);
	test_case("P2_total_below_header");
	CHECK_INT(parse_with(&udp, 17, 19, true), DROP_IP_HEADER);
	test_case("P2_total_beyond_frame");
	CHECK_INT(parse_with(&udp, 17, 69, true), DROP_IP_HEADER);
	test_case("P3_header_checksum");
	CHECK_INT(parse_with(&udp, 18, 0x55, false), DROP_IP_CHECKSUM);
	CHECK_INT(parse_with(&udp, 18, 0x55, true), DROP_NONE);

	test_case("P2_padding_is_cut");
	for (size_t pad = 1; pad < 400; pad += 7) {
		struct pk k = udp;

		k.len = pad / 2;
		lab_build(&t, &k);
		memset(t.flat + t.flat_len, 0xaa, pad);
		lab_frame(&t, 1, t.flat_len + pad);
		CHECK_INT(parse_frame(), DROP_NONE);
		lab_read(&t.f, &s);
		CHECK(s.ip_ok && s.l4_ok && s.len == 42 + k.len && t.f.len == s.len);
	}
	test_case("P2_trim_segments");
	{
		struct pk k = tcp;

		k.len = 1000;
		lab_build(&t, &k);
		packet_trim(&t.f, FRAME_HEADER_COPY + 5);
		CHECK(t.f.nseg == 1 && t.f.seg[0].len == 5 && t.f.len == FRAME_HEADER_COPY + 5);
		packet_trim(&t.f, 60);
		CHECK(t.f.nseg == 0 && t.f.header_len == 60 && t.f.len == 60);
	}
}

static void test_options(void)
{
	static const struct {
		const char *name;
		uint8_t type;
		enum drop_reason want;
	} table[] = {
		{ "P5_nop_passes", 1, DROP_NONE },
		{ "P5_end_of_list_passes", 0, DROP_NONE },
		{ "P5_loose_route", 131, DROP_IP_OPTIONS },
		{ "P5_strict_route", 137, DROP_IP_OPTIONS },
		{ "P5_record_route", 7, DROP_IP_OPTIONS },
		{ "P5_timestamp", 68, DROP_IP_OPTIONS },
		{ "P5_router_alert", 148, DROP_IP_OPTIONS },
		{ "P5_unknown", 99, DROP_IP_OPTIONS },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct pk k = udp;

		k.options = 8;
		test_case(table[i].name);
		CHECK_INT(parse_with(&k, 34, table[i].type, true), table[i].want);
	}
}

static void test_addresses(void)
{
	static const struct {
		const char *name, *src, *dst;
		enum drop_reason want;
	} table[] = {
		{ "P6_land", C1, C1, DROP_MARTIAN },
		{ "P6_source_multicast", "224.0.0.5", WEB, DROP_MARTIAN },
		{ "P6_source_broadcast", "255.255.255.255", WEB, DROP_MARTIAN },
		{ "P6_source_loopback", "127.0.0.1", WEB, DROP_MARTIAN },
		{ "P6_source_zero_net", "0.1.2.3", WEB, DROP_MARTIAN },
		{ "P6_source_class_e", "240.0.0.1", WEB, DROP_MARTIAN },
		{ "P6_destination_zero_net", C1, "0.0.0.1", DROP_MARTIAN },
		{ "P6_destination_loopback", C1, "127.1.2.3", DROP_MARTIAN },
		{ "P9_multicast", C1, "224.0.0.251", DROP_MULTICAST },
		{ "P9_multicast_last", C1, "239.255.255.250", DROP_MULTICAST },
		{ "P9_broadcast", C1, "255.255.255.255", DROP_MULTICAST },
		{ "P6_class_e_destination_is_unicast", C1, "240.0.0.1", DROP_NONE },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct pk k = udp;

		k.src = table[i].src;
		k.dst = table[i].dst;
		test_case(table[i].name);
		CHECK_INT(parse(&k), table[i].want);
	}
	test_case("F_fragments_are_told_apart");
	for (unsigned int frag = 0x2000; frag <= 0x2001; frag++) {
		struct pk k = udp;

		k.frag = (uint16_t)(frag == 0x2000 ? 0x2000 : 0x0001);
		CHECK_INT(parse(&k), DROP_NONE);
		CHECK(p.fragment && p.more == (frag == 0x2000));
		CHECK(p.frag_off == (frag == 0x2000 ? 0 : 8) && p.frag_data == 34);
	}
	test_case("P10_df_is_not_a_fragment");
	{
		struct pk k = udp;

		k.frag = 0x4000;
		CHECK_INT(parse(&k), DROP_NONE);
		CHECK(p.df);
	}
}

static void test_l4(void)
{
	static const struct {
		uint8_t flags;
		enum drop_reason want;
	} table[] = {
		{ T_SYN, DROP_NONE }, { T_SYN | T_ACK, DROP_NONE }, { T_ACK, DROP_NONE },
		{ T_ACK | T_PSH, DROP_NONE }, { T_RST, DROP_NONE }, { T_RST | T_ACK, DROP_NONE },
		{ T_FIN | T_ACK, DROP_NONE }, { T_FIN | T_ACK | T_PSH, DROP_NONE },
		{ T_SYN | 0xc0, DROP_NONE }, /* ECN set-up, P10 */
		{ 0, DROP_TCP_FLAGS }, { T_PSH, DROP_TCP_FLAGS }, { T_FIN, DROP_TCP_FLAGS },
		{ T_SYN | T_FIN, DROP_TCP_FLAGS }, { T_SYN | T_RST, DROP_TCP_FLAGS },
		{ T_SYN | T_FIN | T_ACK, DROP_TCP_FLAGS },
		{ T_RST | T_FIN | T_ACK, DROP_TCP_FLAGS },
		{ T_FIN | T_PSH | 0x20, DROP_TCP_FLAGS }, /* Xmas */
		{ 0x3f, DROP_TCP_FLAGS },
	};

	test_case("T12_flag_sets");
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct pk k = tcp;

		k.flags = table[i].flags;
		CHECK_INT(parse(&k), table[i].want);
	}
	test_case("P12_tcp_data_offset_small");
	CHECK_INT(parse_with(&tcp, 46, 4 << 4, false), DROP_L4_HEADER);
	test_case("P12_tcp_data_offset_beyond_packet");
	{
		struct pk k = tcp;

		k.len = 4;
		CHECK_INT(parse_with(&k, 46, 7 << 4, false), DROP_L4_HEADER);
		CHECK_INT(parse_with(&k, 46, 6 << 4, false), DROP_NONE);
	}
	test_case("P12_udp_length_small");
	CHECK_INT(parse_with(&udp, 39, 7, false), DROP_L4_HEADER);
	test_case("P12_udp_length_beyond_packet");
	CHECK_INT(parse_with(&udp, 39, 49, false), DROP_L4_HEADER);
	test_case("P12_udp_length_shorter_passes");
	CHECK_INT(parse_with(&udp, 39, 47, false), DROP_NONE);
}

static enum drop_reason parse_meta(const struct pk *k, int gso, uint16_t size, int csum,
				   uint16_t start, uint16_t offset)
{
	lab_build(&t, k);
	t.f.gso = (uint8_t)gso;
	t.f.gso_size = size;
	t.f.csum = (uint8_t)csum;
	t.f.csum_start = start;
	t.f.csum_offset = offset;
	return parse_frame();
}

static void test_meta(void)
{
	struct pk k = tcp;

	k.partial = true;
	test_case("P13_gso_not_tcp");
	CHECK_INT(parse_meta(&udp, GSO_TCPV4, 1400, CSUM_NONE, 0, 0), DROP_GSO);
	test_case("P13_gso_size_zero");
	CHECK_INT(parse_meta(&k, GSO_TCPV4, 0, CSUM_PARTIAL, 0, 0), DROP_GSO);
	test_case("P13_gso_family");
	CHECK_INT(parse_meta(&k, GSO_TCPV6, 1400, CSUM_PARTIAL, 0, 0), DROP_GSO);
	CHECK_INT(parse_meta(&k, 7, 1400, CSUM_PARTIAL, 0, 0), DROP_GSO);
	test_case("P13_gso_without_partial_checksum_gets_one");
	CHECK_INT(parse_meta(&tcp, GSO_TCPV4, 500, CSUM_NONE, 0, 0), DROP_NONE);
	lab_read(&t.f, &s);
	CHECK(t.f.csum == CSUM_PARTIAL && s.l4_ok);

	test_case("P4_partial_place_is_found");
	CHECK_INT(parse_meta(&k, GSO_NONE, 0, CSUM_PARTIAL, 0, 0), DROP_NONE);
	CHECK(t.f.csum_start == 34 && t.f.csum_offset == 16);
	test_case("P4_partial_place_is_checked");
	CHECK_INT(parse_meta(&k, GSO_NONE, 0, CSUM_PARTIAL, 34, 16), DROP_NONE);
	CHECK_INT(parse_meta(&k, GSO_NONE, 0, CSUM_PARTIAL, 34, 6), DROP_L4_HEADER);
	CHECK_INT(parse_meta(&k, GSO_NONE, 0, CSUM_PARTIAL, 33, 16), DROP_L4_HEADER);
	test_case("P4_partial_without_a_checksum_field");
	{
		struct pk gre = { .port = 1, .src = C1, .dst = WEB, .proto = 47, .len = 8 };

		CHECK_INT(parse_meta(&gre, GSO_NONE, 0, CSUM_PARTIAL, 0, 0), DROP_L4_HEADER);
	}
	test_case("D8_every_reason_has_a_name");
	for (int i = 0; i < DROP_REASON_MAX; i++)
		CHECK(drop_name((enum drop_reason)i) && drop_name((enum drop_reason)i)[0]);
	CHECK_STR(drop_name(DROP_REASON_MAX), "unknown");
}

int main(void)
{
	test_good();
	test_truncated();
	test_header();
	test_options();
	test_addresses();
	test_l4();
	test_meta();
	return test_end();
}
