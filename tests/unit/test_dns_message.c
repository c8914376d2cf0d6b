// SPDX-License-Identifier: GPL-2.0-or-later
/* DNS messages, byte by byte: what is learned from them, and what must not be. */
#include "firewall/dns_message.h"
#include "tests/unit/check.h"
#include "tests/unit/dns_build.h"

#include <arpa/inet.h>

static void begin(unsigned int id, unsigned int flags, unsigned int questions,
		  unsigned int answers)
{
	put_head(id, flags, questions, answers, 0);
}

static void record(const char *name, unsigned int type, uint32_t ttl, const char *data)
{
	bool six = type == DNS_TYPE_AAAA;

	if (type == DNS_TYPE_CNAME) {
		put_cname(name, ttl, data);
		return;
	}
	put_record(name, type, ttl, six ? 16 : 4);
	if (inet_pton(six ? AF_INET6 : AF_INET, data, msg + len) == 1)
		len += six ? 16 : 4;
}

static struct dns_question q;
static struct dns_answer a;

static const char *got(size_t i)
{
	static char text[ADDR_STRLEN];

	return i < a.count ? addr_format(&a.addr[i], text) : "none";
}

static void test_query(void)
{
	test_case("dns_query_for_addresses");
	begin(0x1234, 0x0100, 1, 0);
	put_question("WWW.Example.COM", DNS_TYPE_A);
	CHECK(dns_query_parse(msg, len, &q));
	CHECK_STR(q.name, "www.example.com");
	CHECK(q.id == 0x1234 && q.type == DNS_TYPE_A);
	for (size_t n = 0; n < len; n++)
		CHECK(!dns_query_parse(msg, n, &q)); /* P1: truncated anywhere */
	begin(1, 0x0100, 1, 0);
	put_question("a.b", DNS_TYPE_AAAA);
	CHECK(dns_query_parse(msg, len, &q) && q.type == DNS_TYPE_AAAA);

	test_case("dns_query_of_other_kinds");
	begin(1, 0x8100, 1, 0);
	put_question("a.b", DNS_TYPE_A);
	CHECK(!dns_query_parse(msg, len, &q)); /* a response */
	begin(1, 0x2900, 1, 0);
	put_question("a.b", DNS_TYPE_A);
	CHECK(!dns_query_parse(msg, len, &q)); /* an update */
	begin(1, 0x0100, 1, 0);
	put_question("a.b", 15);
	CHECK(!dns_query_parse(msg, len, &q));
	begin(1, 0x0100, 2, 0);
	put_question("a.b", DNS_TYPE_A);
	put_question("c.d", DNS_TYPE_A);
	CHECK(!dns_query_parse(msg, len, &q));
	begin(1, 0x0100, 1, 0);
	put_question("a b", DNS_TYPE_A);
	CHECK(!dns_query_parse(msg, len, &q)); /* no dsthost has a space */
	begin(1, 0x0100, 1, 0);
	put_question("@12", DNS_TYPE_A);
	CHECK(!dns_query_parse(msg, len, &q)); /* points to itself */
	begin(1, 0x0100, 1, 0);
	for (int i = 0; i < 5; i++) {
		put8(63);
		memset(msg + len, 'a', 63);
		len += 63;
	}
	put8(0);
	put32(0x00010001);
	CHECK(!dns_query_parse(msg, len, &q)); /* beyond 253 characters */
}

static void ask(const char *name, uint16_t type)
{
	q = (struct dns_question){ .id = 7, .type = type };
	snprintf(q.name, sizeof(q.name), "%s", name);
}

static void reply(unsigned int answers)
{
	begin(7, 0x8180, 1, answers);
	put_question(q.name, q.type);
}

static void test_answer(void)
{
	test_case("dns_answer_addresses");
	ask("www.example.com", DNS_TYPE_A);
	reply(3);
	record("@12", DNS_TYPE_A, 300, "192.0.2.1");
	record("www.example.com", DNS_TYPE_A, 60, "192.0.2.2");
	record("other.example.com", DNS_TYPE_A, 5, "192.0.2.3");
	CHECK(dns_answer_parse(msg, len, &q, &a));
	CHECK(a.count == 2 && a.ttl == 60);
	CHECK_STR(got(0), "192.0.2.1");
	CHECK_STR(got(1), "192.0.2.2");
	for (size_t n = 0; n < len; n++)
		CHECK(!dns_answer_parse(msg, n, &q, &a));

	test_case("dns_answer_follows_cnames_in_any_order");
	reply(4);
	record("b.cdn.test", DNS_TYPE_A, 100, "192.0.2.9");
	record("a.cdn.test", DNS_TYPE_CNAME, 30, "b.cdn.test");
	record("@12", DNS_TYPE_CNAME, 500, "a.cdn.test");
	record("@12", DNS_TYPE_A, 500, "192.0.2.66"); /* beside its CNAME: not of the chain */
	CHECK(dns_answer_parse(msg, len, &q, &a));
	CHECK(a.count == 1 && a.ttl == 30);
	CHECK_STR(got(0), "192.0.2.9");

	test_case("dns_answer_cname_loop");
	reply(3);
	record("@12", DNS_TYPE_CNAME, 30, "x.test");
	record("x.test", DNS_TYPE_CNAME, 30, "@12");
	record("x.test", DNS_TYPE_A, 30, "192.0.2.1");
	CHECK(!dns_answer_parse(msg, len, &q, &a));

	test_case("dns_answer_ipv6");
	ask("six.test", DNS_TYPE_AAAA);
	reply(2);
	record("@12", DNS_TYPE_A, 300, "192.0.2.1"); /* not what was asked */
	record("@12", DNS_TYPE_AAAA, 300, "2001:db8::1");
	CHECK(dns_answer_parse(msg, len, &q, &a) && a.count == 1);
	CHECK_STR(got(0), "2001:db8::1");

	test_case("dns_answer_to_something_else");
	ask("www.example.com", DNS_TYPE_A);
	reply(1);
	record("@12", DNS_TYPE_A, 300, "192.0.2.1");
	msg[1] = 8;
	CHECK(!dns_answer_parse(msg, len, &q, &a)); /* another ID */
	msg[1] = 7;
	msg[3] = 0x83;
	CHECK(!dns_answer_parse(msg, len, &q, &a)); /* NXDOMAIN */
	msg[3] = 0x80;
	msg[2] = 0x83;
	CHECK(!dns_answer_parse(msg, len, &q, &a)); /* truncated */
	msg[2] = 0x01;
	CHECK(!dns_answer_parse(msg, len, &q, &a)); /* a query */
	msg[2] = 0x81;
	CHECK(dns_answer_parse(msg, len, &q, &a));
	ask("www.example.org", DNS_TYPE_A);
	CHECK(!dns_answer_parse(msg, len, &q, &a));
	ask("www.example.com", DNS_TYPE_AAAA);
	CHECK(!dns_answer_parse(msg, len, &q, &a));

	test_case("dns_answer_bounds");
	ask("n.test", DNS_TYPE_A);
	reply(100);
	for (int i = 0; i < 100; i++)
		record("@12", DNS_TYPE_A, 1u << 31, "192.0.2.1");
	CHECK(dns_answer_parse(msg, len, &q, &a));
	CHECK(a.count == DNS_ADDRS_MAX && a.ttl == 0); /* RFC 2181 8 */
	reply(1000);
	record("@12", DNS_TYPE_A, 1, "192.0.2.1");
	CHECK(!dns_answer_parse(msg, len, &q, &a)); /* fewer than it says */
	reply(0);
	CHECK(dns_answer_parse(msg, len, &q, &a) && a.count == 0);
	reply(1);
	record("@5000", DNS_TYPE_A, 1, "192.0.2.1");
	CHECK(!dns_answer_parse(msg, len, &q, &a));
}

int main(void)
{
	test_query();
	test_answer();
	return test_end();
}
