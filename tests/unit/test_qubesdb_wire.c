// SPDX-License-Identifier: GPL-2.0-or-later
/* The 72-byte header against bytes written out by hand, and what may be sent. */
#include <errno.h>

#include "qubesdb/commit.h"
#include "qubesdb/wire.h"
#include "tests/unit/check.h"

static void test_encode(void)
{
	uint8_t h[QDB_HEADER], want[QDB_HEADER] = { 0 };

	test_case("encode: type, path, zero fill, little endian length");
	memset(h, 0xaa, sizeof(h));
	qdb_encode(h, QDB_CMD_WRITE, "/a", 0x0bff);
	want[0] = 1;
	want[1] = '/';
	want[2] = 'a';
	want[68] = 0xff;
	want[69] = 0x0b;
	CHECK(memcmp(h, want, sizeof(h)) == 0);

	test_case("encode: a path of 63 characters keeps its NUL");
	memset(want, 'x', 63);
	want[63] = 0;
	qdb_encode(h, QDB_CMD_RM, (char *)want, 0);
	CHECK_INT(h[63], 'x');
	CHECK_INT(h[64], 0);
	CHECK_INT(h[0], 4);
}

static void test_decode(void)
{
	static const struct {
		const char *name;
		int at; /* which byte is changed */
		uint8_t to;
		int result;
	} cases[] = {
		{ "decode: as it is", 0, 1, 0 },
		{ "decode: type 13", 0, 13, 0 },
		{ "decode: type 14", 0, 14, -EPROTO },
		{ "decode: type 255", 0, 255, -EPROTO },
		{ "decode: leading -", 1, '-', -EPROTO },
		{ "decode: a blank in the path", 2, ' ', -EPROTO },
		{ "decode: a control character", 2, 7, -EPROTO },
		{ "decode: a byte above ASCII", 2, 0xc3, -EPROTO },
		{ "decode: the empty path", 1, 0, 0 },
		{ "decode: padding is not looked at", 66, 9, 0 },
		{ "decode: 3071 + 1", 68, 0, -EPROTO },
		{ "decode: a length above 16 bits", 70, 1, -EPROTO },
		{ "decode: a negative length", 71, 0x80, -EPROTO },
	};
	struct qdb_header out;
	const char *why = "";
	uint8_t h[QDB_HEADER];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		test_case(cases[i].name);
		qdb_encode(h, QDB_CMD_WRITE, "/key", cases[i].at == 68 ? 3072 : 3071);
		h[cases[i].at] = cases[i].to;
		CHECK_INT(qdb_decode(&out, h, &why), cases[i].result);
		CHECK(cases[i].result == 0 || why[0]);
		if (i == 0) {
			CHECK_STR(out.path, "/key");
			CHECK_INT(out.data_len, 3071);
			CHECK_INT(out.type, QDB_CMD_WRITE);
		}
	}
	test_case("decode: a path that does not end");
	qdb_encode(h, QDB_CMD_WRITE, "/key", 0);
	memset(h + 1, 'a', 64);
	CHECK_INT(qdb_decode(&out, h, &why), -EPROTO);
	h[64] = 0;
	CHECK_INT(qdb_decode(&out, h, &why), 0);
	CHECK_INT(strlen(out.path), 63);
}

static void test_paths(void)
{
	static const struct {
		const char *path;
		bool key, name;
	} cases[] = {
		{ "/a", true, true },
		{ "/a/", false, true },
		{ "/", false, true },
		{ "", false, false },
		{ "a", false, false },
		{ "-/a", false, false },
		{ "/-a", true, true },
		{ "/a b", false, false },
		{ "/a=b", false, false },
		{ "/A-Z_0.9:@", true, true },
		{ "/345678901234567890123456789012345678901234567890123456789012345", false,
		  false }, /* 64 characters */
		{ "/34567890123456789012345678901234567890123456789012345678901234", true, true },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		test_case(cases[i].path);
		CHECK_INT(qdb_path_is_key(cases[i].path), cases[i].key);
		CHECK_INT(qdb_path_is_name(cases[i].path), cases[i].name);
	}
	test_case("values");
	CHECK(qdb_value_ok("", 0));
	CHECK(qdb_value_ok("a b\n", 4));
	CHECK(!qdb_value_ok("a\0b", 3));
}

static void test_where(void)
{
	static const struct {
		const char *path;
		enum qdb_where where;
		const char *source;
	} cases[] = {
		{ "/qubes-firewall/10.137.0.1", QDB_BASE, "10.137.0.1" },
		{ "/qubes-firewall/10.137.0.1/", QDB_BELOW, "10.137.0.1" },
		{ "/qubes-firewall/10.137.0.1/0000", QDB_BELOW, "10.137.0.1" },
		{ "/qubes-firewall/10.137.0.10/policy", QDB_BELOW, "10.137.0.10" },
		{ "/qubes-firewall/fd09::5", QDB_BASE, "fd09::5" },
		{ "/qubes-firewall/x/y/z", QDB_BELOW, "x" },
		{ "/qubes-firewall/", QDB_BELOW, "" },
		{ "/qubes-firewall//a", QDB_BELOW, "" },
		{ "/qubes-firewall", QDB_OUTSIDE, "" },
		{ "/qubes-firewall-handled/10.137.0.1", QDB_OUTSIDE, "" },
		{ "/qubes-ip", QDB_OUTSIDE, "" },
		{ "/", QDB_OUTSIDE, "" },
	};
	struct qdb_source_name source;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		test_case(cases[i].path);
		CHECK_INT(qdb_where(cases[i].path, &source), cases[i].where);
		CHECK_STR(source.text, cases[i].source);
	}
}

int main(void)
{
	test_encode();
	test_decode();
	test_paths();
	test_where();
	return test_end();
}
