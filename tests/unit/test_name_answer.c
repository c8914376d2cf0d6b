/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * firewall/name_answer.c: what counts as an answer, and what a server can say that
 * does not. Messages are built from their parts; hp_dns_* are the hostile ones.
 */
#include "firewall/name_answer.h"

#include "tests/unit/check.h"
#include "tests/unit/dns_build.h"

static void begin(unsigned int flags, unsigned int answers, unsigned int authorities)
{
	put_head(0x1234, flags, 1, answers, authorities);
	put_question("a.test", DNS_TYPE_A);
}

/* The message in memory of exactly its size: ASan sees every byte too far. */
static struct name_answer parse_as(const char *name, uint8_t family)
{
	uint8_t *exact = malloc(len > 0 ? len : 1);
	struct name_answer a;

	memcpy(exact, msg, len);
	name_answer_parse(&a, exact, len, name, family);
	free(exact);
	return a;
}

static struct name_answer parse(void)
{
	return parse_as("a.test", 4);
}

static void expect_bad(void)
{
	struct name_answer a = parse();

	CHECK_INT(a.outcome, DNS_BAD_ANSWER);
	CHECK_INT(a.count, 0);
	CHECK_INT(a.ttl_s, 0);
}

static void test_good(void)
{
	struct name_answer a;

	test_case("one_address");
	begin(0x8180, 1, 0);
	put_a("a.test", 60, 0xc0000201);
	a = parse();
	CHECK_INT(a.outcome, DNS_ADDRESSES);
	CHECK_INT(a.count, 1);
	CHECK_INT(a.ttl_s, 60);
	CHECK_INT(a.addrs[0].family, 4);
	CHECK_INT(a.addrs[0].bytes[3], 1);
	CHECK(!a.more);

	test_case("case_and_last_dot_do_not_matter");
	begin(0x8180, 1, 0);
	put_a("A.TeSt", 60, 0xc0000201);
	CHECK_INT(parse_as("a.test.", 4).count, 1);

	test_case("chain_takes_the_least_TTL");
	begin(0x8180, 4, 0);
	put_a("c.test", 60, 0xc0000201); /* in any order */
	put_cname("b.test", 7, "c.test");
	put_cname("a.test", 300, "b.test");
	put_a("c.test", 50, 0xc0000202);
	a = parse();
	CHECK_INT(a.outcome, DNS_ADDRESSES);
	CHECK_INT(a.count, 2);
	CHECK_INT(a.ttl_s, 7);

	test_case("addresses_of_other_names_do_not_count");
	begin(0x8180, 3, 0);
	put_a("b.test", 60, 0xc0000201);
	put_a("a.test", 60, 0xc0000202);
	put_a("aa.test", 60, 0xc0000203);
	a = parse();
	CHECK_INT(a.count, 1);
	CHECK_INT(a.addrs[0].bytes[3], 2);

	test_case("same_address_twice_is_one");
	begin(0x8180, 2, 0);
	put_a("a.test", 60, 0xc0000202);
	put_a("a.test", 60, 0xc0000202);
	CHECK_INT(parse().count, 1);

	test_case("AAAA");
	begin(0x8180, 1, 0);
	msg[len - 3] = DNS_TYPE_AAAA;
	put_record("a.test", DNS_TYPE_AAAA, 60, 16);
	for (unsigned int i = 0; i < 16; i++)
		put8(i);
	a = parse_as("a.test", 6);
	CHECK_INT(a.count, 1);
	CHECK_INT(a.addrs[0].family, 6);
	CHECK_INT(a.addrs[0].bytes[15], 15);
	CHECK_INT(parse_as("a.test", 4).outcome, DNS_BAD_ANSWER); /* not what was asked */

	test_case("compressed_names");
	begin(0x8180, 1, 0);
	put16(0xc00c);
	put16(DNS_TYPE_A);
	put16(1);
	put32(60);
	put16(4);
	put32(0xc0000201);
	CHECK_INT(parse().count, 1);

	test_case("RFC2181_8_TTL_with_the_top_bit_is_0");
	begin(0x8180, 1, 0);
	put_a("a.test", 0x80000000u, 0xc0000201);
	CHECK_INT(parse().ttl_s, 0);
	begin(0x8180, 1, 0);
	put_a("a.test", 0x7fffffff, 0xc0000201);
	CHECK_INT(parse().ttl_s, 0x7fffffff);
}

static void put_soa(uint32_t ttl, uint32_t minimum)
{
	put_record("test", DNS_TYPE_SOA, ttl, 22);
	put8(0);
	put8(0);
	for (int i = 0; i < 4; i++)
		put32(0);
	put32(minimum);
}

static void test_empty(void)
{
	struct name_answer a;

	test_case("RFC2308_empty_answer_has_the_TTL_of_its_SOA");
	begin(0x8180, 0, 1);
	put_soa(600, 90);
	a = parse();
	CHECK_INT(a.outcome, DNS_ADDRESSES);
	CHECK_INT(a.count, 0);
	CHECK_INT(a.ttl_s, 90);
	begin(0x8180, 0, 1);
	put_soa(30, 90);
	CHECK_INT(parse().ttl_s, 30);

	test_case("empty_answer_without_SOA");
	begin(0x8180, 0, 0);
	a = parse();
	CHECK_INT(a.outcome, DNS_ADDRESSES);
	CHECK_INT(a.ttl_s, 0);

	test_case("empty_behind_a_CNAME");
	begin(0x8180, 1, 1);
	put_cname("a.test", 20, "b.test");
	put_soa(600, 90);
	a = parse();
	CHECK_INT(a.outcome, DNS_ADDRESSES);
	CHECK_INT(a.count, 0);
	CHECK_INT(a.ttl_s, 20);

	test_case("hp_dns_authority_cut");
	begin(0x8180, 0, 1);
	put_soa(600, 90);
	len -= 3;
	a = parse();
	CHECK_INT(a.outcome, DNS_ADDRESSES);
	CHECK_INT(a.ttl_s, 0);

	test_case("RFC2308_2_2_referral_is_no_answer");
	begin(0x8180, 0, 1);
	put_record("test", DNS_TYPE_NS, 600, 4);
	put_name("ns");
	CHECK_INT(parse().outcome, DNS_SERVER_FAILURE);
}

static void test_codes(void)
{
	static const struct {
		unsigned int flags;
		enum dns_outcome want;
	} codes[] = {
		{0x8183, DNS_NOT_FOUND},      {0x8182, DNS_SERVER_FAILURE},
		{0x8181, DNS_SERVER_FAILURE}, {0x8185, DNS_SERVER_FAILURE},
		{0x818f, DNS_SERVER_FAILURE}, {0x0100, DNS_BAD_ANSWER}, /* a query */
		{0x8380, DNS_BAD_ANSWER},				/* truncated */
		{0xa180, DNS_BAD_ANSWER},				/* another opcode */
	};

	test_case("codes");
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		begin(codes[i].flags, 1, 0);
		put_a("a.test", 60, 0xc0000201);
		CHECK_INT(parse().outcome, codes[i].want);
	}
	for (int i = 0; i < DNS_OUTCOMES; i++)
		CHECK(dns_outcome_text((enum dns_outcome)i)[0] != '?');
	CHECK_STR(dns_outcome_text(DNS_OUTCOMES), "?");
}

static void test_chains(void)
{
	char from[32], to[32];

	test_case("hp_dns_cname_loop");
	begin(0x8180, 2, 0);
	put_cname("a.test", 60, "b.test");
	put_cname("b.test", 60, "a.test");
	expect_bad();
	begin(0x8180, 1, 0);
	put_cname("a.test", 60, "a.test");
	expect_bad();

	for (unsigned int links = DNS_CHAIN_MAX; links <= DNS_CHAIN_MAX + 1; links++) {
		test_case(links > DNS_CHAIN_MAX ? "hp_dns_chain_too_long" : "longest_chain");
		begin(0x8180, links + 1, 0);
		snprintf(to, sizeof(to), "a.test");
		for (unsigned int i = 0; i < links; i++) {
			memcpy(from, to, sizeof(from));
			snprintf(to, sizeof(to), "l%u.test", i);
			put_cname(from, 60, to);
		}
		put_a(to, 60, 0xc0000201);
		if (links > DNS_CHAIN_MAX)
			expect_bad();
		else
			CHECK_INT(parse().count, 1);
	}

	test_case("hp_dns_only_other_names");
	begin(0x8180, 1, 0);
	put_a("b.test", 60, 0xc0000201);
	expect_bad();

	test_case("hp_dns_cname_data_too_long_or_short");
	begin(0x8180, 1, 0);
	put_record("a.test", DNS_TYPE_CNAME, 60, 9);
	put_name("b.test");
	put8(0);
	expect_bad();
}

static void test_size(void)
{
	struct name_answer a;

	test_case("hp_dns_1000_addresses_are_64");
	begin(0x8180, 1000, 0);
	for (uint32_t i = 0; i < 1000; i++)
		put_a("a.test", 60, 0x0a000000 + i);
	a = parse();
	CHECK_INT(a.outcome, DNS_ADDRESSES);
	CHECK_INT(a.count, NAME_SET_MAX);
	CHECK(a.more);

	test_case("64_addresses_are_not_more");
	begin(0x8180, 64, 0);
	for (uint32_t i = 0; i < 64; i++)
		put_a("a.test", 60, 0x0a000000 + i);
	a = parse();
	CHECK_INT(a.count, NAME_SET_MAX);
	CHECK(!a.more);

	test_case("hp_dns_counts_that_lie");
	begin(0x8180, 65535, 65535);
	put_a("a.test", 60, 0x0a000000);
	expect_bad();

	test_case("hp_dns_cut_anywhere");
	begin(0x8180, 2, 0);
	put_cname("a.test", 60, "b.test");
	put_a("b.test", 60, 0x0a000000);
	for (size_t full = len; len-- > 0;) {
		(void)full;
		CHECK_INT(parse().outcome, DNS_BAD_ANSWER);
	}

	test_case("hp_dns_address_of_another_size");
	begin(0x8180, 1, 0);
	put_record("a.test", DNS_TYPE_A, 60, 5);
	put32(0x0a000000);
	put8(1);
	expect_bad();
}

static void with_name(const uint8_t *name, size_t n)
{
	begin(0x8180, 1, 0);
	memcpy(msg + len, name, n);
	len += n;
	put16(DNS_TYPE_A);
	put16(1);
	put32(60);
	put16(4);
	put32(0xc0000201);
}

static void test_names(void)
{
	static const char *const possible[] = {"a", "a.", "a.b", "_x-y.0", "a.test"};
	static const char *const impossible[] = {"", ".", "..", ".a", "a..", "a..b"};
	static const uint8_t self[] = {0xc0, 24}, later[] = {0xc0, 60}, step[] = {1, 'a', 0xc0, 24},
			     half[] = {0xc0}, odd[] = {0x41, 'a', 0}, odd2[] = {0x80, 'a', 0};
	char text[300];

	test_case("hp_dns_compression_loops");
	with_name(self, sizeof(self));
	expect_bad();
	with_name(later, sizeof(later));
	expect_bad();
	with_name(step, sizeof(step));
	expect_bad();
	with_name(odd, sizeof(odd));
	expect_bad();
	with_name(odd2, sizeof(odd2));
	expect_bad();
	with_name(half, sizeof(half));
	len = len - 14; /* the message ends inside a pointer */
	expect_bad();

	test_case("hp_dns_name_over_255");
	begin(0x8180, 1, 0);
	for (int i = 0; i < 5; i++) {
		put8(60);
		memset(msg + len, 'a', 60);
		len += 60;
	}
	put8(0);
	put16(DNS_TYPE_A);
	put16(1);
	put32(60);
	put16(4);
	put32(0);
	expect_bad();

	test_case("names_that_can_be");
	for (size_t i = 0; i < sizeof(possible) / sizeof(possible[0]); i++)
		CHECK(dns_name_is_possible(possible[i]));
	for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++)
		CHECK(!dns_name_is_possible(impossible[i]));
	memset(text, 'a', sizeof(text));
	text[63] = '\0';
	CHECK(dns_name_is_possible(text));
	text[63] = 'a';
	text[64] = '\0';
	CHECK(!dns_name_is_possible(text));
	text[64] = 'a';
	for (size_t i = 50; i < 253; i += 51)
		text[i] = '.';
	text[253] = '\0';
	CHECK(dns_name_is_possible(text));
	text[253] = 'a';
	text[254] = '\0';
	CHECK(!dns_name_is_possible(text));

	test_case("hp_name_answer_to_another_question");
	begin(0x8180, 1, 0);
	put_a("a.test", 60, 0x0a000000);
	CHECK_INT(parse_as("b.test", 4).outcome, DNS_BAD_ANSWER);
	CHECK_INT(parse_as("..", 4).outcome, DNS_BAD_ANSWER);
	msg[5] = 2; /* two questions */
	expect_bad();
	msg[5] = 0;
	expect_bad();
}

int main(void)
{
	test_good();
	test_empty();
	test_codes();
	test_chains();
	test_size();
	test_names();
	return test_end();
}
