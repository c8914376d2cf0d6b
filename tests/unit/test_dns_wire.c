/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * firewall/dns_wire.c: names, records and chains of CNAMEs, and what a hostile message
 * may cost. Its two users have tests of what they make of it.
 */
#include "firewall/dns_wire.h"

#include "tests/unit/check.h"
#include "tests/unit/dns_build.h"

static struct dns_reader at(size_t offset)
{
	return (struct dns_reader){msg, len, offset};
}

/* The name of the question at this place, as text; NULL: none. */
static const char *name_at(size_t offset)
{
	static char text[DNS_NAME_TEXT_MAX + 1];
	struct dns_reader r = at(offset);
	struct dns_name name;
	uint16_t type;

	if (!dns_read_question(&r, &name, &type))
		return NULL;
	CHECK(r.at <= len);
	return dns_name_to_text(text, &name) ? text : "?";
}

/* A run of pointers, each to the one before, to the name at 0; then a question. */
static size_t pointers(unsigned int n)
{
	size_t last = 0;

	len = 0;
	put_name("a.test");
	for (unsigned int i = 1; i < n; i++) {
		size_t here = len;

		put16(0xc000 | (unsigned int)last);
		last = here;
	}
	put16(0xc000 | (unsigned int)last);
	put32(0x00010001);
	return len - 6;
}

static void test_names(void)
{
	char text[DNS_NAME_TEXT_MAX + 1];
	struct dns_name name, other;
	size_t offset;

	test_case("name_plain_and_compressed");
	len = 0;
	put_question("WWW.Example.test", DNS_TYPE_A);
	offset = len;
	put8(1);
	put8('b');
	put16(0xc004); /* to "Example.test" */
	put32(0x00010001);
	CHECK_STR(name_at(0), "www.example.test");
	CHECK_STR(name_at(offset), "b.example.test");

	test_case("hp_dns_pointers_in_a_row");
	offset = pointers(DNS_JUMPS_MAX);
	CHECK_STR(name_at(offset), "a.test");
	offset = pointers(DNS_JUMPS_MAX + 1);
	CHECK(name_at(offset) == NULL);
	offset = pointers(8000);
	CHECK(name_at(offset) == NULL);

	test_case("name_that_no_rule_has");
	len = 0;
	put8(3);
	put8('a');
	put8('.'); /* not the name of two labels */
	put8('b');
	put8(0);
	put32(0x00010001);
	CHECK_STR(name_at(0), "?");
	len = 0;
	put_question("", DNS_TYPE_A); /* the root */
	CHECK_STR(name_at(0), "?");
	CHECK(dns_name_of_text(&name, "a.b"));
	CHECK(dns_name_to_text(text, &name));
	CHECK_STR(text, "a.b");
	CHECK(dns_name_of_text(&other, "A.B.") && dns_name_equal(&name, &other));
	CHECK(dns_name_of_text(&other, "a.bb") && !dns_name_equal(&name, &other));
	CHECK(!dns_name_of_text(&other, "a..b") && !dns_name_of_text(&other, "."));

	test_case("hp_dns_name_up_to_255_bytes");
	for (size_t extra = 0; extra <= 1; extra++) {
		len = 0;
		for (int i = 0; i < 4; i++) {
			size_t n = i < 3 ? 63 : 61 + extra;

			put8((unsigned int)n);
			memset(msg + len, 'a', n);
			len += n;
		}
		put8(0);
		put32(0x00010001);
		CHECK(extra == 0 ? strlen(name_at(0)) == DNS_NAME_TEXT_MAX : name_at(0) == NULL);
	}
}

static void test_head(void)
{
	struct dns_reader r;
	struct dns_head head;
	struct dns_name name;
	uint32_t number;
	uint16_t type;

	test_case("head");
	put_head(0x1234, 0x8180 | 0x0200 | 0x2800 | 3, 1, 2, 3);
	r = at(0);
	CHECK(dns_read_head(&r, &head) && r.at == 12);
	CHECK(head.id == 0x1234 && head.questions == 1 && head.answers == 2 &&
	      head.authorities == 3);
	CHECK(head.response && head.truncated && head.opcode == 5 &&
	      head.rcode == DNS_RCODE_NXDOMAIN);
	put_head(1, 0, 1, 0, 0);
	r = at(0);
	CHECK(dns_read_head(&r, &head) && !head.response && !head.truncated && head.opcode == 0);
	while (len-- > 0) {
		r = at(0);
		CHECK(!dns_read_head(&r, &head));
	}

	test_case("question_of_another_class");
	len = 0;
	put_name("a.test");
	put32(0x00010003);
	r = at(0);
	CHECK(!dns_read_question(&r, &name, &type));

	test_case("number_at_the_end");
	len = 3;
	r = at(0);
	CHECK(!dns_read32(&r, &number));
}

static void test_records(void)
{
	struct dns_section s;
	struct dns_record rec;
	struct dns_name name, owner;
	uint32_t ttl = 1000;

	test_case("records_of_an_owner_and_a_type");
	len = 0;
	put_a("b.test", 1, 1);
	put_cname("a.test", 2, "c.test");
	put_a("A.test", 3, 3);
	put_a("a.test", 1u << 31, 4);
	msg[len - 11] = 3; /* its class */
	put_a("a.test", 1u << 31, 5);
	CHECK(dns_name_of_text(&owner, "a.test"));
	s = (struct dns_section){at(0), 5};
	CHECK_INT(dns_next_of(&s, &owner, DNS_TYPE_A, &rec), 1);
	CHECK(rec.ttl_s == 3 && rec.data_len == 4 && msg[rec.data + 3] == 3 && s.left == 2);
	CHECK_INT(dns_next_of(&s, &owner, DNS_TYPE_A, &rec), 1);
	CHECK(rec.ttl_s == 0 && msg[rec.data + 3] == 5 && s.left == 0); /* RFC 2181 8 */
	CHECK_INT(dns_next_of(&s, &owner, DNS_TYPE_A, &rec), 0);
	s = (struct dns_section){at(0), 6};
	while (s.left > 1)
		CHECK(dns_next_of(&s, &owner, DNS_TYPE_A, &rec) > 0);
	CHECK_INT(dns_next_of(&s, &owner, DNS_TYPE_A, &rec), -1);

	test_case("chain");
	s = (struct dns_section){at(0), 5};
	name = owner;
	CHECK_INT(dns_follow(&s, &name, &ttl), 1);
	CHECK(ttl == 2 && s.left == 5);
	CHECK(dns_name_of_text(&owner, "c.test") && dns_name_equal(&name, &owner));
	CHECK_INT(dns_follow(&s, &name, &ttl), 0);

	test_case("hp_dns_chain_loop_and_end");
	len = 0;
	put_cname("a.test", 2, "b.test");
	put_cname("b.test", 2, "a.test");
	s = (struct dns_section){at(0), 2};
	CHECK_INT(dns_follow(&s, &name, &ttl), 0);
	CHECK(dns_name_of_text(&name, "a.test"));
	CHECK_INT(dns_follow(&s, &name, &ttl), -1);
	len = 0;
	put_cname("a.test", 2, "b.test");
	put8(0);
	msg[len - 10]++; /* a byte behind the name: it is no name */
	CHECK(dns_name_of_text(&name, "a.test"));
	s = (struct dns_section){at(0), 1};
	CHECK_INT(dns_follow(&s, &name, &ttl), -1);
}

int main(void)
{
	test_head();
	test_names();
	test_records();
	return test_end();
}
