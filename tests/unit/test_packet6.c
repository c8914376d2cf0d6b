// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * IPv6 headers alone: chains are written as lines of a table, walked, and walked
 * again at every length they can be cut to.
 */
#include "firewall/csum.h"
#include "firewall/packet.h"
#include "tests/unit/check.h"
#include "tests/unit/lab6.h"

#define HOP	 0
#define ROUTE	 43
#define FRAG	 44
#define ESP	 50
#define AH	 51
#define NONE	 59
#define OPTS	 60
#define MOBILITY 135

static struct tframe t;
static struct packet p;

/* An extension header of @size bytes, padded with zeros (Pad1). */
struct ext {
	uint8_t kind;
	uint16_t size;	/* 0: 8 */
	uint8_t b[6];	/* its bytes from the third on */
	uint8_t length; /* in place of the right one, if not 0 */
};

/* Chain and upper layer behind an IPv6 header; returns the first kind. */
static uint8_t chain(uint8_t *b, const struct ext *e, size_t n, uint8_t proto, size_t *len)
{
	*len = 0;
	for (size_t i = 0; i < n; i++) {
		size_t size = e[i].size ? e[i].size : 8;

		memset(b + *len, 0, size);
		b[*len] = i + 1 < n ? e[i + 1].kind : proto;
		b[*len + 1] = e[i].kind == FRAG ? 0 : (uint8_t)(size / 8 - 1);
		if (e[i].length)
			b[*len + 1] = e[i].length;
		memcpy(b + *len + 2, e[i].b, sizeof(e[i].b));
		*len += size;
	}
	return n ? e[0].kind : proto;
}

/* The same, in a frame, with 16 bytes of UDP at its end. */
static void build(const struct ext *e, size_t n, uint8_t proto)
{
	uint8_t b[2000], first;
	struct l4 udp = {.proto = 17, .src = C16, .dst = WEB6, .sp = 5000, .dp = 53, .len = 8};
	size_t len;

	first = chain(b, e, n, proto, &len);
	len += lab6_l4(b + len, &udp);
	lab6_raw(&t, 1, C16, WEB6, first, b, len);
}

static enum drop_reason parse(void)
{
	enum drop_reason reason = packet_parse_ip6(&t.f, &p);

	return reason == DROP_NONE && !p.fragment ? packet_parse_l4(&t.f, &p) : reason;
}

#define MANY                                                                                       \
	{                                                                                          \
		OPTS, 0, {0}, 0                                                                    \
	}

static const struct {
	const char *name;
	struct ext e[10];
	size_t n;
	uint8_t proto;
	bool ok;
	uint8_t want; /* the protocol that it leads to */
} table[] = {
    {"P7_no_extension", {{0}}, 0, 17, true, 17},
    {"P7_hop_by_hop_first", {{HOP, 0, {1, 4}, 0}}, 1, 17, true, 17},
    {"P7_hop_by_hop_not_first", {{OPTS, 0, {0}, 0}, {HOP, 0, {0}, 0}}, 2, 17, false, 0},
    {"P7_hop_by_hop_twice", {{HOP, 0, {0}, 0}, {HOP, 0, {0}, 0}}, 2, 17, false, 0},
    {"P7_jumbo", {{HOP, 0, {0xc2, 4, 0, 1, 0, 0}, 0}}, 1, 17, false, 0},
    {"P7_jumbo_behind_padding", {{HOP, 16, {1, 2, 0, 0, 0xc2, 4}, 0}}, 1, 17, false, 0},
    {"P7_jumbo_number_in_padding", {{HOP, 0, {1, 4, 0xc2, 4}, 0}}, 1, 17, true, 17},
    {"P7_router_alert", {{HOP, 0, {5, 2, 0, 0, 1, 0}, 0}}, 1, 17, true, 17},
    {"P7_option_too_long", {{HOP, 0, {1, 5}, 0}}, 1, 17, false, 0},
    {"P7_option_without_length", {{HOP, 0, {0, 0, 0, 0, 0, 1}, 0}}, 1, 17, false, 0},
    {"P7_long_options", {{OPTS, 64, {1, 60}, 0}}, 1, 17, true, 17},
    {"P7_routing_type_0", {{ROUTE, 0, {0, 0}, 0}}, 1, 17, false, 0},
    {"P7_routing_type_0_with_segments", {{ROUTE, 24, {0, 1}, 0}}, 1, 17, false, 0},
    {"P7_routing_no_segments_left", {{ROUTE, 24, {2, 0}, 0}}, 1, 17, true, 17},
    {"P7_routing_segments_left", {{ROUTE, 24, {2, 1}, 0}}, 1, 17, false, 0},
    {"P7_segment_routing_done", {{ROUTE, 24, {4, 0}, 0}}, 1, 17, true, 17},
    {"P7_segment_routing_on_its_way", {{ROUTE, 24, {4, 1}, 0}}, 1, 17, false, 0},
    {"P7_no_next_header", {{0}}, 0, NONE, false, 0},
    {"P7_no_next_header_behind_options", {MANY}, 1, NONE, false, 0},
    {"P7_esp_ends_the_walk", {{0}}, 0, ESP, true, ESP},
    {"P7_ah_ends_the_walk", {MANY}, 1, AH, true, AH},
    {"P7_mobility_is_unknown", {{0}}, 0, MOBILITY, true, MOBILITY},
    {"P7_unknown_number", {MANY}, 1, 253, true, 253},
    {"P7_eight_headers", {MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY}, 8, 17, true, 17},
    {"P7_nine_headers", {MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY, MANY}, 9, 17, false, 0},
    {"P7_chain_beyond_the_private_copy", {{OPTS, 144, {1, 140}, 0}}, 1, 17, false, 0},
    {"P7_header_beyond_the_packet", {{OPTS, 0, {0}, 30}}, 1, 17, false, 0},
    {"F8_atomic_fragment", {{FRAG, 0, {0, 0, 1, 2, 3, 4}, 0}}, 1, 17, true, 17},
    {"F8_atomic_among_others", {MANY, {FRAG, 0, {0, 0, 9, 9, 9, 9}, 0}, MANY}, 3, 17, true, 17},
    {"P7_two_fragment_headers", {{FRAG, 0, {0, 0}, 0}, {FRAG, 0, {0, 0}, 0}}, 2, 17, false, 0},
    {"P7_two_fragment_headers_the_second_later",
     {{FRAG, 0, {0, 1}, 0}, {FRAG, 0, {0, 8}, 0}},
     2,
     17,
     false,
     0},
};

static void test_chains(void)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		size_t ext = 0;

		for (size_t k = 0; k < table[i].n; k++)
			if (table[i].e[k].kind != FRAG)
				ext += table[i].e[k].size ? table[i].e[k].size : 8;
		test_case(table[i].name);
		build(table[i].e, table[i].n, table[i].proto);
		if (!table[i].ok) {
			CHECK_INT(parse(), DROP_EXT_HEADER);
			continue;
		}
		CHECK_INT(parse(), DROP_NONE);
		CHECK_INT(p.proto, table[i].want);
		CHECK_INT(p.l4, 54 + ext); /* an atomic one has lost its header */
		CHECK_INT(p.ip_len, 40 + ext + 16);
		CHECK_INT(t.f.len, 14 + p.ip_len);
		CHECK_INT(lab_get16(t.f.header + 18), ext + 16);
		if (table[i].want == 17)
			CHECK(p.sport == 5000 && p.dport == 53 && p.csum == p.l4 + 6);
	}
}

/* Cut anywhere, the frame is refused and nothing behind its end is read (ASan). */
static void test_truncated(void)
{
	test_case("P1_every_truncation");
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		build(table[i].e, table[i].n, table[i].proto);
		for (size_t len = 14; len < t.flat_len; len++) {
			struct frame *f = malloc(sizeof(*f));
			struct packet q;
			enum drop_reason reason;

			if (!f)
				abort();
			*f = t.f;
			f->nseg = 0;
			f->len = (uint32_t)len;
			f->header_len =
			    (uint16_t)(len < FRAME_HEADER_COPY ? len : FRAME_HEADER_COPY);
			/* the length field says less, too: then the chain is what is cut */
			if (len >= 54)
				lab_put16(f->header + 18, (unsigned int)(len - 54));
			reason = packet_parse_ip6(f, &q);
			if (reason == DROP_NONE && !q.fragment)
				reason = packet_parse_l4(f, &q);
			if (table[i].want == 17 && table[i].ok)
				CHECK(reason != DROP_NONE);
			if (len < 54)
				CHECK_INT(reason, DROP_IP_HEADER);
			free(f);
		}
	}

	test_case("P2_length_field_beyond_the_frame");
	build(NULL, 0, 17);
	t.f.header[19]++;
	CHECK_INT(parse(), DROP_IP_HEADER);
	test_case("P2_version");
	build(NULL, 0, 17);
	t.f.header[14] = 0x50;
	CHECK_INT(parse(), DROP_IP_HEADER);
	test_case("P2_padding_is_cut");
	build(NULL, 0, 17);
	lab_frame(&t, 1, t.flat_len + 9);
	CHECK_INT(parse(), DROP_NONE);
	CHECK_INT(t.f.len, 14 + 40 + 16);
}

/* --- fragments ------------------------------------------------------------------------- */

static void test_fragments(void)
{
	uint8_t whole[1200];
	struct l4 udp = {.proto = 17, .src = C16, .dst = WEB6, .sp = 5000, .dp = 53, .len = 1000};
	struct l4 tcp = {.proto = 6, .src = C16, .dst = WEB6, .sp = 5000, .dp = 53, .len = 100};
	struct part part = {1, C16, WEB6, 17, 0x01020304, 0, 800, true};
	struct ext first[] = {{FRAG, 0, {0, 1, 0, 0, 0, 7}, 0}, {OPTS, 128, {1, 124}, 0}};
	uint8_t b[600];
	size_t len;

	test_case("F12_first_fragment_has_its_upper_layer");
	lab6_l4(whole, &udp);
	lab6_part(&t, &part, whole);
	CHECK_INT(packet_parse_ip6(&t.f, &p), DROP_NONE);
	CHECK(p.fragment && p.more && p.frag_off == 0);
	CHECK(p.frag_id == 0x01020304 && p.frag_at == 54 && p.frag_data == 62 && p.next_at == 20);
	CHECK(p.proto == 17 && p.l4 == 62);
	CHECK_INT(packet_parse_l4(&t.f, &p), DROP_NONE); /* although it is shorter than it says */
	CHECK_INT(p.dport, 53);

	test_case("F13_later_fragment_has_none");
	part.off = 800;
	part.len = 200;
	part.more = false;
	lab6_part(&t, &part, whole);
	CHECK_INT(packet_parse_ip6(&t.f, &p), DROP_NONE);
	CHECK(p.fragment && !p.more && p.frag_off == 800 && p.frag_data == 62);
	CHECK_INT(t.f.header[p.frag_at], 17); /* the header stays */

	test_case("F9_first_fragment_with_half_of_its_chain");
	chain(b, first, 2, 17, &len);
	lab6_raw(&t, 1, C16, WEB6, FRAG, b, 8 + 64);
	CHECK_INT(packet_parse_ip6(&t.f, &p), DROP_EXT_HEADER);
	lab6_raw(&t, 1, C16, WEB6, FRAG, b, 8 + 4);
	CHECK_INT(packet_parse_ip6(&t.f, &p), DROP_EXT_HEADER);

	test_case("F5_first_fragment_with_half_of_tcp");
	lab6_l4(whole, &tcp);
	part = (struct part){1, C16, WEB6, 6, 1, 0, 16, true};
	lab6_part(&t, &part, whole);
	CHECK_INT(packet_parse_ip6(&t.f, &p), DROP_NONE);
	CHECK_INT(packet_parse_l4(&t.f, &p), DROP_L4_HEADER);

	test_case("F8_atomic_fragment_loses_its_header");
	lab6_l4(whole, &udp);
	part = (struct part){1, C16, WEB6, 17, 99, 0, 1008, false};
	lab6_part(&t, &part, whole);
	t.f.csum = CSUM_PARTIAL;
	t.f.csum_start = 62;
	t.f.csum_offset = 6;
	CHECK_INT(parse(), DROP_NONE);
	CHECK(!p.fragment && p.frag_at == 0 && p.l4 == 54 && p.ip_len == 40 + 1008);
	CHECK_INT(t.f.header[20], 17);
	CHECK_INT(t.f.csum_start, 54);
	len = lab_flat(&t.f, t.flat);
	CHECK_INT(len, 54 + 1008);
	CHECK(memcmp(t.flat + 54, whole, 1008) == 0);
}

/* --- the walk that only looks ------------------------------------------------------------ */

static void test_quoted(void)
{
	static const struct ext route[] = {{ROUTE, 24, {4, 1}, 0}};
	struct ip6_chain c;

	test_case("I2_a_quoted_chain_need_not_be_one_that_passes");
	build(route, 1, 17);
	CHECK_INT(ip6_walk(t.f.header, 14, t.f.header_len, true, &c), DROP_EXT_HEADER);
	CHECK_INT(ip6_walk(t.f.header, 14, t.f.header_len, false, &c), DROP_NONE);
	CHECK(c.proto == 17 && c.at == 54 + 24 && !c.later);
	test_case("I2_a_quoted_chain_is_bounded_too");
	CHECK_INT(ip6_walk(t.f.header, 14, 54 + 23, false, &c), DROP_EXT_HEADER);
	build(table[24].e, 9, 17);
	CHECK_INT(table[24].n, 9);
	CHECK_INT(ip6_walk(t.f.header, 14, t.f.header_len, false, &c), DROP_EXT_HEADER);
}

/* --- addresses ----------------------------------------------------------------------------- */

static void test_addresses(void)
{
	static const struct {
		const char *name, *src, *dst;
		enum drop_reason want;
	} addresses[] = {
	    {"P6_global", C16, WEB6, DROP_NONE},
	    {"P6_source_multicast", "ff02::1", WEB6, DROP_MARTIAN},
	    {"P6_source_none", "::", WEB6, DROP_MARTIAN},
	    {"P6_source_loopback", "::1", WEB6, DROP_MARTIAN},
	    {"P6_source_mapped", "::ffff:192.0.2.1", WEB6, DROP_MARTIAN},
	    {"P6_destination_none", C16, "::", DROP_MARTIAN},
	    {"P6_destination_loopback", C16, "::1", DROP_MARTIAN},
	    {"P6_destination_mapped", C16, "::ffff:192.0.2.1", DROP_MARTIAN},
	    {"P6_land", C16, C16, DROP_MARTIAN},
	    {"P9_all_nodes", C16, "ff02::1", DROP_MULTICAST},
	    {"P9_global_multicast", C16, "ff0e::1", DROP_MULTICAST},
	    {"P6_like_loopback_but_is_not", C16, "::2", DROP_NONE},
	};

	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
		uint8_t b[16];

		test_case(addresses[i].name);
		p = (struct packet){.family = 6};
		lab6_addr(b, addresses[i].src);
		p.src = ipkey6(b);
		lab6_addr(b, addresses[i].dst);
		p.dst = ipkey6(b);
		CHECK_INT(packet_check_ip6(&p), addresses[i].want);
	}
}

int main(void)
{
	test_chains();
	test_truncated();
	test_fragments();
	test_quoted();
	test_addresses();
	return test_end();
}
