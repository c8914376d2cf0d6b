// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * diff [OPTION]...	packets to ringfenced and to the kernel, compared
 *
 *	--kernel-ns NAME, --fw-ns NAME	the namespaces of both sides' devices
 *	--db FILE	ringfenced's --qubesdb file:FILE
 *	--conformance FILE	rule sets from there, too
 *	--rows FILE	instead of all this: each case of that file, its packet to
 *			ringfenced alone, what comes out as its verdict says
 *	--explain COMMAND	that asks ringfenced for the rows' verdicts
 *	--seed N, --packets N	what is sent (the same for the same numbers)
 *	--mtu N		the uplink's
 *	--linger S	wait so long for reassembly timeouts
 *	--failures N	stop after so many (50)
 *	--dns		the virtual DNS servers are not the uplink's
 *	--ipv6		both families
 *	--only KIND	conversations of one kind (tcp, udp, ...)
 *	--verbose	every conversation
 *	--list		names of the allowed differences
 */
#include "tests/net/diff/diff.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct config config = {.seed = 1, .packets = 5000, .mtu = 1500, .failures = 50};

const char *const ip4_text[PORTS] = {"10.137.0.4", "10.137.0.5", "10.137.0.6", "10.137.0.7"};
const char *const ip6_text[PORTS] = {"fd09:24ef:4179::a89:4", "fd09:24ef:4179::a89:5",
				     "fd09:24ef:4179::a89:6", "fd09:24ef:4179::a89:7"};
const uint8_t macs[PORTS][6] = {{0, 0x16, 0x3e, 0x5e, 0x6c, 0},
				{0, 0x16, 0x3e, 0x5e, 0x6c, 5},
				{0, 0x16, 0x3e, 0x5e, 0x6c, 6},
				{0, 0x16, 0x3e, 0x5e, 0x6c, 7}};
const uint8_t backend_mac[6] = {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff};

void die(const char *fmt, ...)
{
	va_list ap;

	fputs("not ok - the rig: ", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	exit(2);
}

/* xorshift64* */
uint64_t rng_next(struct rng *r)
{
	r->s ^= r->s >> 12;
	r->s ^= r->s << 25;
	r->s ^= r->s >> 27;
	return r->s * 0x2545f4914f6cdd1dULL;
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
	return (uint32_t)((rng_next(r) >> 32) % n);
}

bool rng_one_in(struct rng *r, uint32_t n)
{
	return rng_below(r, n) == 0;
}

static const char *only;

static void ext(struct rng *r, uint8_t family, uint8_t client)
{
	if (config.ipv6)
		talk_ext(r, client);
	else
		talk_odd(r, family, client);
}

static void collide(struct rng *r, uint8_t family, uint8_t client)
{
	(void)client; /* two of them */
	talk_collide(r, family);
}

static const struct {
	const char *name;
	unsigned int weight;
	void (*talk)(struct rng *r, uint8_t family, uint8_t client);
} kinds[] = {
	{"tcp", 10, talk_tcp},   {"udp", 4, talk_udp},
	{"echo", 3, talk_echo},  {"pieces", 3, talk_pieces},
	{"odd", 5, talk_odd},    {"place", 5, talk_place},
	{"ext", 4, ext},	     {"protocol", 2, talk_protocol},
	{"collide", 2, collide},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void one(struct rng *r)
{
	uint8_t family = config.ipv6 && rng_one_in(r, 2) ? 6 : 4;
	uint8_t client = (uint8_t)(1 + rng_below(r, 8) / 4);
	uint32_t at, all = 0;

	for (size_t i = 0; i < KINDS; i++)
		all += kinds[i].weight;
	at = rng_below(r, all);
	for (size_t i = 0; i < KINDS; i++) {
		if (at < kinds[i].weight) {
			if (!only || strcmp(only, kinds[i].name) == 0)
				kinds[i].talk(r, family, client);
			return;
		}
		at -= kinds[i].weight;
	}
}

static void run(void)
{
	struct rng r = {config.seed * 0x9e3779b97f4a7c15ULL + 1};
	unsigned int sets = policy_count();

	for (unsigned int i = 0; counts.packets < config.packets; i++) {
		uint64_t share = config.packets / sets + 1, until = counts.packets + share;

		policy_apply(i % sets);
		while (counts.packets < until && counts.failures < config.failures)
			one(&r);
		if (counts.failures >= config.failures) {
			printf("# %u failures: that is enough\n", config.failures);
			break;
		}
	}
}

static void report(void)
{
	differences_report();
	printf("# %llu packets in %llu conversations, %u rule sets, seed %llu: %llu forwarded, "
	       "%llu answered, %llu dropped alike, %llu allowed differences, %llu failures\n",
	       (unsigned long long)counts.packets, (unsigned long long)counts.conversations,
	       policy_count(), (unsigned long long)config.seed,
	       (unsigned long long)counts.forwarded, (unsigned long long)counts.rejected,
	       (unsigned long long)counts.silent, (unsigned long long)counts.differences,
	       (unsigned long long)counts.failures);
	printf("# reassembly timeouts: kernel %llu, ringfence %llu\n",
	       (unsigned long long)late_errors[KERNEL], (unsigned long long)late_errors[RINGFENCE]);
}

static void set_number(int opt, uint32_t value)
{
	switch (opt) {
	case 'p':
		config.packets = value;
		break;
	case 'n':
		config.failures = value;
		break;
	case 'L':
		config.linger_s = value;
		break;
	default:
		config.mtu = (uint16_t)value;
		break;
	}
}

static void parse_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{"kernel-ns", 1, NULL, 'k'},   {"fw-ns", 1, NULL, 'f'},
		{"db", 1, NULL, 'd'},	   {"seed", 1, NULL, 's'},
		{"packets", 1, NULL, 'p'},	   {"mtu", 1, NULL, 'm'},
		{"ipv6", 0, NULL, '6'},	   {"dns", 0, NULL, 'D'},
		{"verbose", 0, NULL, 'v'},	   {"list", 0, NULL, 'l'},
		{"conformance", 1, NULL, 'c'}, {"failures", 1, NULL, 'n'},
		{"linger", 1, NULL, 'L'},
		{"only", 1, NULL, 'o'},	   {"rows", 1, NULL, 'r'},
		{"explain", 1, NULL, 'e'},
		{NULL, 0, NULL, 0}};
	int opt;

	while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (opt) {
		case 'k':
			config.kernel_ns = optarg;
			break;
		case 'f':
			config.fw_ns = optarg;
			break;
		case 'd':
			config.db = optarg;
			break;
		case 's':
			config.seed = strtoull(optarg, NULL, 10);
			break;
		case 'p':
		case 'n':
		case 'L':
		case 'm':
			set_number(opt, (uint32_t)strtoul(optarg, NULL, 10));
			break;
		case 'D':
			config.dns = true;
			break;
		case '6':
			config.ipv6 = true;
			break;
		case 'v':
			config.verbose = true;
			break;
		case 'c':
			config.conformance = optarg;
			break;
		case 'o':
			only = optarg;
			break;
		case 'r':
			config.rows = optarg;
			break;
		case 'e':
			config.explain = optarg;
			break;
		case 'l':
			differences_list();
			exit(0);
		default:
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	parse_options(argc, argv);
	if ((!config.kernel_ns && !config.rows) || !config.fw_ns || !config.db)
		die("--kernel-ns, --fw-ns and --db are needed");
	if (config.rows) {
		if (!config.explain)
			die("--rows needs --explain");
		sides_open();
		rows_run(config.rows);
		sides_close();
		return counts.failures ? 1 : 0;
	}
	policy_open();
	sides_open();
	run();
	linger(config.linger_s);
	report();
	sides_close();
	return counts.failures ? 1 : 0;
}
