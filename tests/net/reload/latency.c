// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * From the commit to the first packet under it.
 *
 * Time starts right before the write of the base key leaves dom0, when all rules have
 * been written. It ends twice: when the first packet that the new policy has judged
 * comes out at the uplink, and when the handled counter is back in dom0. Pairs of
 * packets go in every 50 us: one that each second policy allows, by its last rule, and
 * one that all allow. The longest that the latter were on their way meanwhile is what
 * the commit costs everybody else.
 */
#include "tests/net/reload/reload.h"

#include <stdio.h>
#include <stdlib.h>

#define WAIT_US	  10000000
#define TURN_US	  50
#define SLOTS	  65536 /* pairs whose time is remembered */
#define TIMES_MAX 1000
#define PIPELINE  64 /* requests before answers are read */

static uint64_t sent_us[SLOTS];
static bool seen[SLOTS];
static uint32_t next_pair;
static bool open_now;	  /* what the last commit makes of the first of a pair */
static uint64_t start_us; /* of the commit; 0: none is being measured */
static uint64_t first_us, slowest_us;
static uint32_t came; /* pairs that came out */

static void at_uplink(uint32_t id, uint16_t port)
{
	uint32_t pair = id >> 1, slot = pair % SLOTS;
	uint64_t now = now_us();

	(void)port;
	if (!(id & 1)) {
		seen[slot] = true;
		return;
	}
	came = pair + 1;
	if (start_us == 0)
		return;
	if (first_us == 0 && seen[slot] == open_now)
		first_us = now;
	if (now - sent_us[slot] > slowest_us)
		slowest_us = now - sent_us[slot];
}

static void at_client(uint32_t id)
{
	(void)id;
}

static void send_pair(void)
{
	uint32_t slot = next_pair % SLOTS;
	struct probe p = {P_UDP, (uint16_t)(2000 + next_pair % 512), 1000, 1, next_pair << 1};

	sent_us[slot] = now_us();
	seen[slot] = false;
	probe_send(&p);
	p.target = 2;
	p.id |= 1;
	probe_send(&p);
	next_pair++;
}

/* Hosts, networks, ports that nobody goes to; then the one that matters. */
static void write_rules(unsigned int rules, unsigned int commit)
{
	bool v6 = config.family == 6;
	char key[16], text[160];

	dom0_rm();
	dom0_write("policy", "accept");
	for (unsigned int i = 0; i < rules; i++) {
		const char *proto = i % 3 ? "tcp" : "udp";
		unsigned int port = 1 + (i * 7 + commit) % 60000;

		snprintf(key, sizeof(key), "%04u", i);
		if (i + 1 == rules)
			snprintf(text, sizeof(text),
				 v6 ? "action=%s dst6=" TARGET6 : "action=%s dst4=" TARGET4,
				 commit % 2 ? "accept" : "drop", 1);
		else if (v6)
			snprintf(text, sizeof(text),
				 "action=%s dst6=2001:db8:1:%x::/%d proto=%s dstports=%u-%u",
				 i % 2 ? "accept" : "drop", i, i % 4 ? 128 : 64, proto, port, port);
		else
			snprintf(text, sizeof(text),
				 "action=%s dst4=198.18.%u.%u/%d proto=%s dstports=%u-%u",
				 i % 2 ? "accept" : "drop", i / 200, i % 200, i % 4 ? 32 : 24,
				 proto, port, port);
		dom0_write(key, text);
		while (dom0_pending() > PIPELINE)
			probe_turn(1000, at_uplink, at_client);
	}
	while (dom0_pending() > 0)
		probe_turn(1000, at_uplink, at_client);
}

static void pairs_for(uint64_t us)
{
	for (uint64_t end = now_us() + us; now_us() < end;) {
		send_pair();
		probe_turn(TURN_US, at_uplink, at_client);
	}
}

struct figures {
	double first[TIMES_MAX], handled[TIMES_MAX], slowest[TIMES_MAX];
};

static void one(unsigned int rules, unsigned int commit, struct figures *f, unsigned int at)
{
	unsigned int before = dom0_handled();
	uint64_t end;
	uint32_t last;

	write_rules(rules, commit);
	pairs_for(3000);
	open_now = commit % 2;
	first_us = slowest_us = 0;
	start_us = now_us();
	end = start_us + WAIT_US;
	dom0_commit();
	while (dom0_handled() == before || first_us == 0) {
		pairs_for(1);
		if (now_us() > end)
			die("commit %u of %u rules: not in force after %d s", commit, rules,
			    WAIT_US / 1000000);
	}
	/* what went in before the counter came back has been on its way meanwhile */
	for (last = next_pair; came < last;) {
		pairs_for(1);
		if (now_us() > end)
			die("commit %u of %u rules: a packet that all allow was lost", commit,
			    rules);
	}
	f->first[at] = (double)(first_us - start_us);
	f->handled[at] = (double)(dom0_handled_us() - start_us);
	f->slowest[at] = (double)slowest_us;
	start_us = 0;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void print(const char *name, double *us, unsigned int n)
{
	qsort(us, n, sizeof(*us), by_size);
	printf(",\n \"%s_median_us\": %.0f, \"%s_p95_us\": %.0f, \"%s_max_us\": %.0f", name,
	       us[n / 2], name, us[(n * 95 - 1) / 100], name, us[n - 1]);
}

void latency(unsigned int rules, unsigned int times)
{
	static struct figures f;

	if (times < 1 || times > TIMES_MAX || rules < 1)
		die("%u rules, %u times", rules, times);
	one(rules, 0, &f, 0); /* the first has no other before it */
	for (unsigned int i = 0; i < times; i++)
		one(rules, i + 1, &f, i);
	printf("{\"rules\": %u, \"times\": %u", rules, times);
	print("first_packet", f.first, times);
	print("handled", f.handled, times);
	print("delay", f.slowest, times);
	printf("}\n");
}
