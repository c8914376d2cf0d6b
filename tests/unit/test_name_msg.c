/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * firewall/name_msg.c: each field of a message, wrong by itself. Both ends refuse
 * what the other one would never say.
 */
#include "firewall/name_msg.h"

#include "tests/unit/check.h"

#include <stddef.h>
#include <stdlib.h>

static struct name_reply good_reply(uint8_t family)
{
	struct name_answer a = {.outcome = DNS_ADDRESSES, .ttl_s = 60, .count = 2};
	struct name_reply r;

	for (int i = 0; i < 2; i++) {
		a.addrs[i].family = family;
		memset(a.addrs[i].bytes, 10 + i, family == 4 ? 4 : 16);
	}
	name_reply_make(&r, 7, family, &a);
	return r;
}

static bool reply_ok(const struct name_reply *r)
{
	struct name_reply out;
	bool ok;

	memset(&out, 0x55, sizeof(out));
	ok = name_reply_check(&out, r, sizeof(*r));
	/* out is the message, or untouched */
	CHECK(ok ? memcmp(&out, r, sizeof(out)) == 0 : out.type == 0x55555555);
	return ok;
}

struct change {
	const char *name;
	size_t at;
	uint32_t value;
};

#define R(field) offsetof(struct name_reply, field)
#define Q(field) offsetof(struct name_request, field)

static void test_replies(void)
{
	static const struct change bad[] = {
		{"type 0", R(type), 0},
		{"type 5", R(type), 5},
		{"type of a report with content", R(type), NAME_HELLO},
		{"id 0", R(id), 0},
		{"family 0", R(family), 0},
		{"family 5", R(family), 5},
		{"family 260", R(family), 260},
		{"outcome", R(outcome), DNS_OUTCOMES},
		{"a failure with addresses", R(outcome), DNS_TIMEOUT},
		{"TTL", R(ttl_s), 0x80000000u},
		{"too many", R(count), NAME_SET_MAX + 1},
		{"far too many", R(count), UINT32_MAX},
		{"fewer than there are", R(count), 1},
		{"more", R(more), 2},
		{"stage", R(stage), 1},
		{"detail", R(detail), 1},
		{"an IPv4 address of 5 bytes", R(addrs) + 4, 1},
		{"an address behind the last", R(addrs) + 16 * 63, 1},
	};
	struct name_answer a;
	struct name_reply r;

	for (uint8_t family = 4; family <= 6; family = (uint8_t)(family + 2)) {
		test_case(family == 4 ? "reply_of_IPv4" : "reply_of_IPv6");
		r = good_reply(family);
		CHECK(reply_ok(&r));
		name_reply_answer(&a, &r);
		CHECK_INT(a.count, 2);
		CHECK_INT(a.ttl_s, 60);
		CHECK_INT(a.addrs[1].family, family);
		CHECK_INT(a.addrs[1].bytes[3], 11);
		CHECK_INT(a.addrs[1].bytes[15], family == 4 ? 0 : 11);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		test_case(bad[i].name);
		r = good_reply(4);
		memcpy((char *)&r + bad[i].at, &bad[i].value, sizeof(bad[i].value));
		CHECK(!reply_ok(&r));
	}

	test_case("reply_of_another_size");
	r = good_reply(4);
	CHECK(!name_reply_check(&r, &r, 0));
	CHECK(!name_reply_check(&r, &r, sizeof(r) - 1));
	CHECK(!name_reply_check(&r, &r, sizeof(r) + 1));

	test_case("addresses_of_the_other_family_are_left_out");
	a = (struct name_answer){.outcome = DNS_ADDRESSES, .count = 2};
	a.addrs[0].family = 6;
	a.addrs[1].family = 4;
	name_reply_make(&r, 7, 4, &a);
	CHECK_INT(r.count, 1);
	CHECK(reply_ok(&r));
}

static void test_reports(void)
{
	static const struct {
		const char *name;
		uint32_t type, stage;
		int32_t detail;
		bool ok;
	} reports[] = {
		{"hello", NAME_HELLO, 0, 0, true},
		{"hello with detail", NAME_HELLO, 0, 1, false},
		{"hello with stage", NAME_HELLO, 1, 0, false},
		{"died", NAME_DIED, 0, 9, true},
		{"died, negative", NAME_DIED, 0, -1, false},
		{"died, too large", NAME_DIED, 0, 0x10000, false},
		{"died with stage", NAME_DIED, 1, 9, false},
		{"failed", NAME_FAILED, NAME_STAGE_FILTER, 1, true},
		{"failed at no stage", NAME_FAILED, NAME_STAGE_NONE, 1, false},
		{"failed at an unknown stage", NAME_FAILED, NAME_STAGES, 1, false},
		{"failed with a negative errno", NAME_FAILED, NAME_STAGE_USER, -1, false},
		{"failed with no errno at all", NAME_FAILED, NAME_STAGE_USER, 4096, false},
	};
	struct name_reply r;

	for (size_t i = 0; i < sizeof(reports) / sizeof(reports[0]); i++) {
		test_case(reports[i].name);
		memset(&r, 0, sizeof(r));
		r.type = reports[i].type;
		r.stage = reports[i].stage;
		r.detail = reports[i].detail;
		CHECK_INT(reply_ok(&r), reports[i].ok);
		r.addrs[63][15] = 1;
		CHECK(!reply_ok(&r));
	}
	test_case("every stage has a text");
	for (int i = 0; i < NAME_STAGES; i++)
		CHECK(name_stage_text((enum name_stage)i)[0] != '?');
	CHECK_STR(name_stage_text(NAME_STAGES), "?");
}

static bool request_ok(const struct name_request *r)
{
	struct name_request out;

	return name_request_check(&out, r, sizeof(*r));
}

static void test_requests(void)
{
	static const struct change bad_ask[] = {
		{"ask: type", Q(type), 3},
		{"ask as servers", Q(type), NAME_SERVERS},
		{"ask: id 0", Q(id), 0},
		{"ask: family", Q(family), 10},
		{"ask: count", Q(count), 1},
		{"ask: a server", Q(servers), 1},
		{"ask: no name", Q(name), 0},
		{"ask: upper case", Q(name), 0x00414141},
		{"ask: control bytes", Q(name), 0x0a0a0a},
		{"ask: an empty label", Q(name), 0x612e2e61},
		{"ask: bytes behind the name", Q(name) + 100, 1},
	};
	static const struct change bad_servers[] = {
		{"servers: id", Q(id), 1},
		{"servers: family", Q(family), 4},
		{"servers: too many", Q(count), NAME_SERVERS_MAX + 1},
		{"servers: more than there are", Q(count), 3},
		{"servers: fewer than there are", Q(count), 1},
		{"servers: 0.0.0.0", Q(servers), 0},
		{"servers: a name", Q(name), 'a'},
	};
	static const struct addr servers[] = {
		{4, {10, 139, 1, 1}}, {6, {0xfd}}, {4, {10, 139, 1, 2}}};
	struct name_request r;
	char name[300];

	test_case("ask");
	name_ask_request(&r, 9, 6, "a-b_c.0.test");
	CHECK(request_ok(&r));
	CHECK_STR(r.name, "a-b_c.0.test");
	for (size_t i = 0; i < sizeof(bad_ask) / sizeof(bad_ask[0]); i++) {
		test_case(bad_ask[i].name);
		name_ask_request(&r, 9, 4, "a.test");
		memcpy((char *)&r + bad_ask[i].at, &bad_ask[i].value, sizeof(bad_ask[i].value));
		CHECK(!request_ok(&r));
	}

	test_case("servers");
	name_servers_request(&r, servers, 3); /* the IPv6 one is left out */
	CHECK_INT(r.count, 2);
	CHECK(request_ok(&r));
	name_servers_request(&r, servers, 0);
	CHECK(request_ok(&r));
	for (size_t i = 0; i < sizeof(bad_servers) / sizeof(bad_servers[0]); i++) {
		test_case(bad_servers[i].name);
		name_servers_request(&r, servers, 3);
		memcpy((char *)&r + bad_servers[i].at, &bad_servers[i].value,
		       sizeof(bad_servers[i].value));
		CHECK(!request_ok(&r));
	}

	test_case("a name that fills all, without an end");
	memset(name, 'a', sizeof(name));
	name_ask_request(&r, 1, 4, name);
	CHECK(!request_ok(&r));
	memset(r.name, 'a', sizeof(r.name));
	CHECK(!request_ok(&r));
	CHECK(!name_request_check(&r, &r, sizeof(r) - 1));
}

int main(void)
{
	test_replies();
	test_reports();
	test_requests();
	return test_end();
}
