/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rules/addr.c and rules/text.c: against tables, and against the C library. */
#include "check.h"
#include "rules/addr.h"
#include "rules/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

static const struct {
	const char *text;
	const char *want; /* canonical form; NULL: not an address */
} cases[] = {
    {"0.0.0.0", "0.0.0.0"},
    {"10.137.0.5", "10.137.0.5"},
    {"255.255.255.255", "255.255.255.255"},
    {"", NULL},
    {"1", NULL},
    {"1.2.3", NULL},
    {"1.2.3.", NULL},
    {"1.2.3.4.", NULL},
    {"1.2.3.4.5", NULL},
    {".1.2.3.4", NULL},
    {"1..2.3", NULL},
    {"1.2.3.256", NULL},
    {"1.2.3.2560", NULL},
    {"1.2.3.99999999999999999999", NULL},
    {"01.2.3.4", NULL},
    {"1.2.3.04", NULL},
    {"1.2.3.00", NULL},
    {"1.2.3.+4", NULL},
    {"1.2.3.-4", NULL},
    {"1.2.3.0x4", NULL},
    {" 1.2.3.4", NULL},
    {"1.2.3.4 ", NULL},
    {"1.2.3.4/32", NULL},
    {"1,2,3,4", NULL},
    /* RFC 4291 2.2 in, RFC 5952 out */
    {"::", "::"},
    {"::1", "::1"},
    {"1::", "1::"},
    {"2001:db8::1", "2001:db8::1"},
    {"2001:DB8:0:0:0:0:0:1", "2001:db8::1"},
    {"2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1"},
    {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
    {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
    {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
    {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
    {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
    {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
    {"0:0:1:0:0:0:0:0", "0:0:1::"},
    {"fd09:24ef:4179::a89:5", "fd09:24ef:4179::a89:5"},
    {"::ffff:1.2.3.4", "::ffff:1.2.3.4"},
    {"::ffff:102:304", "::ffff:1.2.3.4"},
    {"::FFFF:255.255.255.255", "::ffff:255.255.255.255"},
    {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
    {"1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"},
    {"::1.2.3.4", "::102:304"},
    {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
    {":", NULL},
    {":::", NULL},
    {"::::", NULL},
    {":1", NULL},
    {"1:", NULL},
    {"1:2:3:4:5:6:7", NULL},
    {"1:2:3:4:5:6:7:", NULL},
    {":1:2:3:4:5:6:7", NULL},
    {"1:2:3:4:5:6:7:8:", NULL},
    {"1:2:3:4:5:6:7:8::", NULL},
    {"::1:2:3:4:5:6:7:8", NULL},
    {"1:2:3:4:5:6:7:8:9", NULL},
    {"1::2::3", NULL},
    {"1:::2", NULL},
    {"12345::", NULL},
    {"00001::", NULL},
    {"g::", NULL},
    {"::1%eth0", NULL},
    {"[::1]", NULL},
    {"::1/128", NULL},
    {"::1.2.3", NULL},
    {"::01.2.3.4", NULL},
    {"::1.2.3.4:5", NULL},
    {"1.2.3.4::", NULL},
    {"1:2:3:4:5:6:7:1.2.3.4", NULL},
    {"::abcd.2.3.4", NULL},
};

static void test_table(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct addr addr = {.family = 99}, again;
		char buf[ADDR_STRLEN];
		int ret = addr_parse(cases[i].text, strlen(cases[i].text), &addr);

		test_case(cases[i].text);
		if (cases[i].want == NULL) {
			CHECK_INT(ret, -EINVAL);
			CHECK_INT(addr.family, 99); /* unchanged on failure */
			continue;
		}
		if (!CHECK(ret == 0))
			continue;
		CHECK_STR(addr_format(&addr, buf), cases[i].want);
		CHECK(addr_parse(buf, strlen(buf), &again) == 0 && addr_equal(&addr, &again));
	}
}

static void test_length(void)
{
	static const char nul[] = "1.2.3.4\0";
	struct addr addr, other;
	char buf[ADDR_STRLEN];

	test_case("the length counts, not a NUL");
	CHECK(addr_parse("10.137.0.55", 10, &addr) == 0);
	CHECK_STR(addr_format(&addr, buf), "10.137.0.5");
	CHECK(addr_parse(nul, 8, &addr) == -EINVAL);
	CHECK(addr_parse("::12", 3, &addr) == 0);
	CHECK_STR(addr_format(&addr, buf), "::1");

	test_case("addr_len and addr_equal");
	other = (struct addr){0};
	CHECK_INT(addr_len(&addr), 16);
	CHECK_INT(addr_len(&other), 0);
	CHECK_STR(addr_format(&other, buf), "none");
	CHECK(!addr_equal(&addr, &other));
	CHECK(addr_parse("1.2.3.4", 7, &addr) == 0);
	other = addr;
	CHECK_INT(addr_len(&addr), 4);
	other.bytes[7] = 1; /* behind the address: no part of it */
	CHECK(addr_equal(&addr, &other));
	other.bytes[3] = 5;
	CHECK(!addr_equal(&addr, &other));
	other = addr;
	other.family = 6;
	CHECK(!addr_equal(&addr, &other));
}

/* The library's reader is the reference for what dom0 passes (inet_pton). */
static bool library(const char *text, struct addr *out)
{
	*out = (struct addr){0};
	if (inet_pton(AF_INET, text, out->bytes) == 1) {
		out->family = 4;
		return true;
	}
	*out = (struct addr){.family = 6};
	return inet_pton(AF_INET6, text, out->bytes) == 1;
}

static void test_differential(void)
{
	static const char alphabet[] = "0123456789abcFf::::....";
	unsigned int good = 0;

	test_case("same as inet_pton on random text");
	srand(1);
	for (unsigned int round = 0; round < 400000; round++) {
		struct addr want, got;
		char text[48];
		size_t len;

		if (round % 2) { /* an address with one character changed */
			uint8_t bytes[16];

			for (size_t i = 0; i < 16; i++)
				bytes[i] = rand() % 3 ? 0 : (uint8_t)rand();
			inet_ntop(rand() % 2 ? AF_INET6 : AF_INET, bytes, text, sizeof(text));
			len = strlen(text);
			text[(size_t)rand() % len] = alphabet[(size_t)rand() % strlen(alphabet)];
		} else {
			len = (size_t)rand() % 12;
			for (size_t i = 0; i < len; i++)
				text[i] = alphabet[(size_t)rand() % strlen(alphabet)];
			text[len] = '\0';
		}
		if (library(text, &want)) {
			good++;
			if (addr_parse(text, len, &got) != 0 || !addr_equal(&got, &want)) {
				CHECK(!"refuses or misreads what inet_pton reads");
				printf("  \"%s\"\n", text);
			}
		} else if (addr_parse(text, len, &got) == 0) {
			CHECK(!"reads what inet_pton refuses");
			printf("  \"%s\"\n", text);
		}
	}
	CHECK(good > 10000);
}

static void test_format(void)
{
	test_case("format is the inverse of parse");
	srand(2);
	for (unsigned int round = 0; round < 100000; round++) {
		struct addr addr = {.family = rand() % 2 ? 4 : 6}, back;
		char buf[ADDR_STRLEN], lib[ADDR_STRLEN];

		for (size_t i = 0; i < addr_len(&addr); i++)
			addr.bytes[i] = rand() % 3 ? 0 : (uint8_t)rand();
		addr_format(&addr, buf);
		if (!CHECK(addr_parse(buf, strlen(buf), &back) == 0 && addr_equal(&addr, &back)))
			printf("  \"%s\"\n", buf);
		inet_ntop(addr.family == 4 ? AF_INET : AF_INET6, addr.bytes, lib, sizeof(lib));
		/* RFC 5952 5 does not ask for the library's ::1.2.3.4. */
		if (addr.family == 6 && strchr(lib, '.') && strncmp(lib, "::ffff:", 7) != 0)
			continue;
		CHECK_STR(buf, lib);
	}
}

static void test_escape(void)
{
	static const struct {
		const char *in;
		size_t len, size;
		const char *want;
	} rows[] = {
	    {"plain", 5, 64, "plain"},
	    {"", 0, 64, ""},
	    {"a\tb", 3, 64, "a\\x09b"},
	    {"a\0b", 3, 64, "a\\x00b"},
	    {"\x1b[31m", 5, 64, "\\x1b[31m"},
	    {"\xff\x80", 2, 64, "\\xff\\x80"},
	    {"q\"\\", 3, 64, "q\\x22\\x5c"},
	    {"1234567", 7, 8, "1234567"},
	    {"12345678", 8, 8, "1234..."},
	    {"12\n4567", 7, 8, "12..."}, /* never inside an escape */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char buf[64];

		test_case("text_escape");
		CHECK_STR(text_escape(buf, rows[i].size, rows[i].in, rows[i].len), rows[i].want);
	}
}

int main(void)
{
	test_table();
	test_length();
	test_differential();
	test_format();
	test_escape();
	test_case("among");
	{
		const struct addr list[] = {
			{4, {1, 2, 3, 4}}, {6, {1, 2, 3, 4}}, {4, {1, 2, 3, 5}}};

		CHECK(addr_among(list, 3, &list[2]) && !addr_among(list, 2, &list[2]));
		CHECK(!addr_among(list, 1, &list[1]) && !addr_among(list, 0, &list[0]));
	}
	return test_end();
}
