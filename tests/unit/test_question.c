/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The question of ringfence explain: what is one, the line it is sent as, and lines that
 * nobody would send.
 */
#include "check.h"
#include "firewall/question.h"

#include <errno.h>
#include <stdlib.h>

static const struct {
	const char *text;
	const char *line; /* as it is sent; NULL: no question */
	const char *err;
} rows[] = {
    {"10.137.0.5 tcp 1.2.3.4 443", "explain 10.137.0.5 tcp 1.2.3.4 443\n", NULL},
    {"10.137.0.5 6 1.2.3.4 0", "explain 10.137.0.5 tcp 1.2.3.4 0\n", NULL},
    {"--trace 10.137.0.5 17 1.2.3.4 65535", "explain --trace 10.137.0.5 udp 1.2.3.4 65535\n",
     NULL},
    {"FD00:0::5 icmp 2001:DB8::1 128", "explain fd00::5 icmp 2001:db8::1 128\n", NULL},
    {"fd00::5 58 ::1 0", "explain fd00::5 icmp ::1 0\n", NULL},
    {"fd00::5 1 ::1", "explain fd00::5 1 ::1\n", NULL},
    {"10.137.0.5 58 1.2.3.4", "explain 10.137.0.5 58 1.2.3.4\n", NULL},
    {"10.137.0.5 255 1.2.3.4", "explain 10.137.0.5 255 1.2.3.4\n", NULL},
    {"--trace ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff icmp "
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 255",
     "explain --trace ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff icmp "
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 255\n",
     NULL},
    {"", NULL, "needs SRC PROTO DST"},
    {" ", NULL, "needs SRC PROTO DST"},
    {"--trace", NULL, "needs SRC PROTO DST"},
    {"10.137.0.5 tcp", NULL, "needs SRC PROTO DST"},
    {"10.137.0.5 tcp 1.2.3.4 443 5", NULL, "needs SRC PROTO DST"},
    {"--trace 10.137.0.5 tcp 1.2.3.4 443 5", NULL, "needs SRC PROTO DST"},
    {"10.137.0.5 tcp 1.2.3.4 443 5 6 7 8 9", NULL, "needs SRC PROTO DST"},
    {"10.137.0.5  tcp 1.2.3.4 443", NULL, "needs SRC PROTO DST"},
    {"10.137.0.5 tcp  1.2.3.4", NULL, "DST: \"\" is not an address"},
    {"10.137.0.5 tcp 1.2.3.4 ", NULL, "\"\" is not a port of 0 to 65535"},
    {"--trace --trace tcp 1.2.3.4", NULL, "SRC: \"--trace\" is not an address"},
    {"10.137.0.5/32 tcp 1.2.3.4 443", NULL, "SRC: \"10.137.0.5/32\" is not an address"},
    {"10.137.0.5 tcp www 443", NULL, "DST: \"www\" is not an address"},
    {"10.137.0.5 TCP 1.2.3.4 443", NULL, "\"TCP\" is not tcp, udp, icmp or a protocol number"},
    {"10.137.0.5 256 1.2.3.4", NULL, "\"256\" is not tcp"},
    {"10.137.0.5 06 1.2.3.4 1", NULL, "\"06\" is not tcp"},
    {"10.137.0.5 tcp ::1 443", NULL, "SRC 10.137.0.5 is IPv4, DST ::1 is IPv6"},
    {"10.137.0.5 tcp 1.2.3.4", NULL, "tcp needs a port"},
    {"10.137.0.5 icmp 1.2.3.4", NULL, "icmp needs an ICMP type"},
    {"10.137.0.5 tcp 1.2.3.4 65536", NULL, "\"65536\" is not a port"},
    {"10.137.0.5 tcp 1.2.3.4 -1", NULL, "\"-1\" is not a port"},
    {"10.137.0.5 tcp 1.2.3.4 99999999999999999999", NULL, "is not a port"},
    {"10.137.0.5 icmp 1.2.3.4 256", NULL, "\"256\" is not an ICMP type of 0 to 255"},
    {"10.137.0.5 47 1.2.3.4 1", NULL, "protocol 47 has no port or type: \"1\""},
    {"10.137.0.5 t\x1b[p 1.2.3.4 1", NULL, "\"t\\x1b[p\" is not tcp"},
};

static int parse(struct question *q, const char *text, char err[QUESTION_ERROR_MAX])
{
	char copy[256];

	snprintf(copy, sizeof(copy), "%s", text);
	memset(err, 0, QUESTION_ERROR_MAX);
	return question_parse(q, copy, err);
}

static void test_rows(void)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char err[QUESTION_ERROR_MAX], line[QUESTION_LINE_MAX];
		struct question q;
		int ret = parse(&q, rows[i].text, err);

		test_case(rows[i].text);
		if (rows[i].line == NULL) {
			CHECK_INT(ret, -EINVAL);
			if (!CHECK(strstr(err, rows[i].err) != NULL))
				printf("  said \"%s\"\n", err);
			continue;
		}
		if (!CHECK(ret == 0))
			continue;
		CHECK_STR(question_line(&q, line), rows[i].line);
		CHECK(question_packet(&q).dst == q.dst.bytes);
	}
}

/* What is parsed is what was sent, and packets point into their own question. */
static bool survives(const char *text)
{
	char err[QUESTION_ERROR_MAX], line[QUESTION_LINE_MAX], again[QUESTION_LINE_MAX];
	struct question q, r;

	if (parse(&q, text, err) != 0) {
		for (const char *p = err; *p != '\0'; p++)
			if (*p < 0x20 || *p > 0x7e)
				return false;
		return err[0] != '\0';
	}
	question_line(&q, line);
	line[strlen(line) - 1] = '\0';
	if (parse(&r, line + strlen(QUESTION_REQUEST " "), err) != 0)
		return false;
	question_line(&r, again);
	again[strlen(again) - 1] = '\0';
	return strcmp(line, again) == 0 && addr_equal(&q.src, &r.src) &&
	       addr_equal(&q.dst, &r.dst) && q.pkt.proto == r.pkt.proto &&
	       q.pkt.dport == r.pkt.dport && q.pkt.icmp_type == r.pkt.icmp_type &&
	       q.trace == r.trace;
}

static void test_mutations(void)
{
	uint64_t state = 1;
	const size_t seeds = sizeof(rows) / sizeof(rows[0]);

	test_case("hp_043_request_of_any_bytes");
	for (unsigned int round = 0; round < 200000; round++) {
		char text[QUESTION_LINE_MAX];
		unsigned int edits = round % 4;
		const char *seed = rows[round % seeds].text;

		snprintf(text, sizeof(text), "%s", seed);
		while (edits-- > 0) {
			size_t len = strlen(text);

			state = state * 6364136223846793005u + 1442695040888963407u;
			if (len == 0)
				break;
			if (state >> 62 == 0)
				text[(state >> 32) % len] = '\0';
			else if (state >> 62 == 1)
				text[(state >> 32) % len] = ' ';
			else
				text[(state >> 32) % len] = (char)(state >> 40);
		}
		if (!CHECK(survives(text))) {
			printf("  round %u: \"%s\"\n", round, text);
			return;
		}
	}
}

int main(void)
{
	test_rows();
	test_mutations();
	return test_end();
}
