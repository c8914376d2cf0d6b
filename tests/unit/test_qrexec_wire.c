// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Messages of qrexec byte by byte, and command lines (qubes-integration.md section 3).
 */
#include <stdlib.h>

#include "qubesdb/qrexec_wire.h"
#include "tests/unit/check.h"

static void test_bytes(void)
{
	static const uint8_t hello[] = {0, 3, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0};
	static const uint8_t code[] = {0x93, 1, 0, 0, 4, 0, 0, 0, 127, 0, 0, 0};
	static const uint8_t gone[] = {0x11, 2, 0, 0, 8, 0, 0, 0, 5, 0, 0, 0, 1, 2, 3, 4};
	uint8_t m[QREXEC_OUT_MAX];
	size_t n;

	test_case("little endian headers");
	CHECK_INT(qrexec_hello(m), sizeof(hello));
	CHECK(memcmp(m, hello, sizeof(hello)) == 0);
	CHECK_INT(qrexec_exit_code(m, 127), sizeof(code));
	CHECK(memcmp(m, code, sizeof(code)) == 0);
	CHECK_INT(qrexec_terminated(m, 5, 0x04030201), sizeof(gone));
	CHECK(memcmp(m, gone, sizeof(gone)) == 0);

	test_case("TRIGGER_SERVICE3: target[64], ident[32], service and its NUL");
	memset(m, 0xee, sizeof(m));
	n = qrexec_trigger(m, "dom0", "id", "a.b");
	CHECK_INT(n, 8 + 64 + 32 + 4);
	CHECK_INT(qrexec_get32(m), 0x212);
	CHECK_INT(qrexec_get32(m + 4), n - 8);
	CHECK_STR((char *)m + 8, "dom0");
	CHECK_STR((char *)m + 8 + 64, "id");
	CHECK_STR((char *)m + 8 + 96, "a.b");
	for (size_t i = 8 + 4; i < 8 + 64; i++)
		CHECK_INT(m[i], 0);
	for (size_t i = 8 + 64 + 2; i < 8 + 96; i++)
		CHECK_INT(m[i], 0);

	test_case("the largest one fits its buffer");
	{
		char target[QREXEC_TARGET], ident[QREXEC_IDENT], service[QREXEC_SERVICE_MAX + 1];

		memset(target, 'a', sizeof(target));
		memset(ident, 'b', sizeof(ident));
		memset(service, 'c', sizeof(service));
		target[sizeof(target) - 1] = ident[sizeof(ident) - 1] =
		    service[sizeof(service) - 1] = '\0';
		CHECK_INT(qrexec_trigger(m, target, ident, service), QREXEC_OUT_MAX);
	}
}

static void test_commands(void)
{
	static const struct {
		const char *text, *service, *argument, *source;
		int result;
	} cases[] = {
	    {"u:QUBESRPC a.B dom0", "a.B", "", "dom0", 0},
	    {"u:QUBESRPC a.B+x+y dom0", "a.B", "x+y", "dom0", 0},
	    {"u:QUBESRPC a.B+ dom0 name dom0", "a.B", "", "dom0", 0},
	    {"u:QUBESRPC a.B work keyword adminvm", "a.B", "", "work", 0},
	    {"u:nogui:QUBESRPC a.B work", "a.B", "", "work", 0},
	    {"nogui:QUBESRPC a.B work", "a.B", "", "work", 0},
	    {"QUBESRPC a.B", "a.B", "", "", 0},
	    {"QUBESRPC a:B c", "a:B", "", "c", 0},
	    {"DEFAULT:QUBESRPC a  b", "a", "", "", 0},
	    {"u:ls -l", "", "", "", -1},
	    {"u:", "", "", "", -1},
	    {"", "", "", "", -1},
	    {"u:QUBESRPC", "", "", "", -1},
	    {"u:QUBESRPC ", "", "", "", -1},
	    {"u:QUBESRPC  a", "", "", "a", -1},
	    {"u:QUBESRPC +x a", "", "x", "a", -1},
	    {"u:qubesrpc a b", "", "", "", -1},
	    {"u:x QUBESRPC a b", "", "", "", -1},
	    {"u:u:QUBESRPC a b", "", "", "", -1},
	};
	struct qrexec_command c;
	const char *why;
	char text[128];

	test_case("command lines");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int rc;

		memcpy(text, cases[i].text, strlen(cases[i].text) + 1);
		rc = qrexec_command(&c, text, strlen(cases[i].text) + 1, &why);
		if ((rc < 0) != (cases[i].result < 0))
			printf("\"%s\"\n", cases[i].text);
		CHECK_INT(rc < 0, cases[i].result < 0);
		CHECK_STR(c.service, cases[i].service);
		CHECK_STR(c.argument, cases[i].argument);
		CHECK_STR(c.source, cases[i].source);
	}

	test_case("a name of 64 characters is one, with 65 it is none");
	for (int n = 64; n < 66; n++) {
		int len = snprintf(text, sizeof(text), "QUBESRPC %0*d", n, 0);

		CHECK_INT(qrexec_command(&c, text, (size_t)len + 1, &why) < 0, n > 64);
	}

	test_case("no bytes, no end, a NUL inside");
	CHECK(qrexec_command(&c, text, 0, &why) < 0);
	memcpy(text, "QUBESRPC a", 11);
	CHECK(qrexec_command(&c, text, 10, &why) < 0);
	CHECK_STR(why, "a command line without an end");
	memcpy(text, "QUBESRPC a\0b", 13);
	CHECK(qrexec_command(&c, text, 13, &why) < 0);
	CHECK_STR(why, "a command line with a NUL");
	CHECK_STR(c.service, "");
}

static void test_versions(void)
{
	test_case("versions and their chunks");
	CHECK_INT(qrexec_version(1), 0);
	CHECK_INT(qrexec_version(2), 2);
	CHECK_INT(qrexec_version(4), 4);
	CHECK_INT(qrexec_version(UINT32_MAX), 4);
	CHECK_INT(qrexec_chunk_max(2), 4096);
	CHECK_INT(qrexec_chunk_max(3), 65536);
	CHECK_INT(qrexec_chunk_max(4), 65536);
}

int main(void)
{
	test_bytes();
	test_commands();
	test_versions();
	return test_end();
}
