// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which policy has judged each packet (R5, R6).
 *
 * Two policies take turns. What one accepts the other refuses, in pairs: a host, a
 * range of ports, a network, an echo, a SYN. Packets to all of these go in all the
 * time, in one order, and each tells by its fate which of the two has judged it. So
 * the fates of all packets, one after the other, change as often as there were
 * commits, each time between the write of the base key and the handled counter:
 *
 *	packet   E O E O E O E O E O E O E O
 *	judged   1 1 1 1 1 1 1 2 2 2 2 2 2 2	E passed, O refused, then the reverse
 *	                      ^ the commit came into force, for all rules at once
 *
 * A mix of both, a half-written tree, a counter written too early: one change more, or
 * one at the wrong time. Echoes and some of the UDP keep their ports, so that they are
 * of a flow that each second commit ends; what their targets send then has to be
 * dropped. Between RM and the base key there is sometimes an open tree, sometimes a
 * closed one: one packet that no policy allows and one that each allows would show if
 * those were acted upon.
 */
#include "tests/net/reload/reload.h"

#include <stdio.h>

#define WAIT_US	   5000000
#define TURN_US	   50
#define IN_FLIGHT  8	 /* rounds of packets */
#define FRESH	   512	 /* source ports of those that get a new one each time */
#define FRESH_SYN  60000 /* a SYN to a flow that is opening already would be another thing */
#define FIRST_PORT 2000
#define PADDING	   24 /* rules that nothing matches: more than are scanned one by one */
#define TRAP_EVERY 4

enum { FIRST_OF_FLOWS = 6, NEVER = 10, ALWAYS, PROBES, REPLY_OLD = 14, REPLY_NOW };

static const struct kind {
	uint8_t proto;
	bool fresh;		  /* another source port each time: first packets */
	uint8_t target[2];	  /* of the even policy, of the odd one */
	uint8_t bits;		  /* of the target that the rule leaves open */
	uint16_t dport[2], range; /* range: the rule's ports, from dport on */
} kinds[NEVER / 2] = {
    {P_UDP, true, {1, 2}, 0, {1000, 1000}, 0}, {P_UDP, true, {10, 10}, 0, {5000, 6000}, 900},
    {P_TCP, true, {20, 21}, 0, {443, 443}, 0}, {P_UDP, false, {34, 50}, 4, {7000, 7000}, 100},
    {P_ICMP, false, {60, 61}, 0, {0, 0}, 0},
};
static const struct kind never = {P_UDP, true, {200, 200}, 0, {9000, 9000}, 0};
static const struct kind always = {P_UDP, true, {201, 201}, 0, {9000, 9000}, 0};

struct round {
	uint32_t number;
	unsigned int in_force; /* commits that were said to be, when it was sent */
	bool seen[PROBES];
};

static struct round rounds[IN_FLIGHT];
static uint32_t next_round, next_judged;
static unsigned int written, judged_by; /* commits; the one that judged the last packet */
static uint16_t nat[PROBES];		/* port at the uplink, of the flows that stay */
static bool quiet, reply_old, reply_now;
static struct {
	unsigned long packets, passed, refused, replies;
} sum;

/* --- rules ----------------------------------------------------------------------------- */

static void key_write(unsigned int *key, const char *rule)
{
	char text[16];

	snprintf(text, sizeof(text), "%04u", *key);
	*key += 3; /* gaps are normal */
	dom0_write(text, rule);
}

static void rule_of(char *text, size_t room, const struct kind *k, int side, bool accept)
{
	bool v6 = config.family == 6;
	char addr[64], more[64];

	if (v6)
		snprintf(addr, sizeof(addr), "dst6=" TARGET6 "/%d", k->target[side], 128 - k->bits);
	else
		snprintf(addr, sizeof(addr), "dst4=" TARGET4 "/%d", k->target[side], 32 - k->bits);
	if (k->proto == P_ICMP)
		snprintf(more, sizeof(more), "proto=icmp icmptype=%d", v6 ? 128 : 8);
	else
		snprintf(more, sizeof(more), "proto=%s dstports=%u-%u",
			 k->proto == P_TCP ? "tcp" : "udp", (unsigned int)k->dport[side],
			 (unsigned int)k->dport[side] + k->range);
	snprintf(text, room, "action=%s %s %s", accept ? "accept" : "drop", addr, more);
}

/* One message of an update, then the packets' turn. */
static void turn(void);

static void pad(unsigned int *key, unsigned int commit)
{
	const char *net = config.family == 6 ? "dst6=2001:db8:ffff::" : "dst4=198.51.100.";
	char text[96];

	for (unsigned int i = 0; i < PADDING; i++) {
		snprintf(text, sizeof(text), "action=%s %s%u proto=udp dstports=%u",
			 i % 3 ? "accept" : "drop", net, i + 1, 1 + (commit + i) % 60000);
		key_write(key, text);
		turn();
	}
}

/* The tree of a commit, without the base key. */
static void write_policy(unsigned int commit)
{
	unsigned int key = commit % 5, at = commit % (NEVER / 2);
	char text[160];

	dom0_rm();
	turn();
	dom0_write("policy", "drop");
	if (config.family == 6)
		key_write(&key, "action=accept dst6=2001:db8:2::/64");
	else
		key_write(&key, "action=accept dst4=192.0.2.0/24");
	for (unsigned int i = 0; i < NEVER / 2; i++) {
		if (i == at) { /* at another place each time */
			rule_of(text, sizeof(text), &always, 0, true);
			key_write(&key, text);
			pad(&key, commit);
		}
		for (int side = 0; side < 2; side++) {
			rule_of(text, sizeof(text), &kinds[i], side,
				commit % 2 == (unsigned int)side);
			key_write(&key, text);
			turn();
		}
	}
}

/* --- packets ----------------------------------------------------------------------------- */

static const struct kind *kind_of(unsigned int i)
{
	return i == NEVER ? &never : i == ALWAYS ? &always : &kinds[i / 2];
}

static struct probe probe_of(unsigned int i, uint32_t round)
{
	const struct kind *k = kind_of(i);
	int side = i < NEVER ? i % 2 : 0;
	uint32_t port = FIRST_PORT - 100 + i;

	if (k->fresh)
		port = FIRST_PORT + round % (k->proto == P_TCP ? FRESH_SYN : FRESH);
	return (struct probe){k->proto, (uint16_t)port, (uint16_t)(k->dport[side] + k->range / 2),
			      k->target[side], round << 4 | i};
}

static void send_round(void)
{
	struct round *r = &rounds[next_round % IN_FLIGHT];

	*r = (struct round){.number = next_round, .in_force = dom0_handled()};
	for (unsigned int i = 0; i < PROBES; i++) {
		struct probe p = probe_of(i, next_round);

		probe_send(&p);
	}
	next_round++;
	sum.packets += PROBES;
}

static void judge(const struct round *r, unsigned int i)
{
	bool passed = r->seen[i];
	/* the even policy passes E, which are the even ones, and refuses O */
	unsigned int parity = passed ? i % 2 : 1 - i % 2;

	if (parity != judged_by % 2)
		judged_by++;
	if (judged_by > written)
		die("packet %u of round %u was %s: that is a mix of commits %u and %u, or a tree "
		    "that was not committed",
		    i, r->number, passed ? "passed" : "refused", written - 1, written);
	if (judged_by < r->in_force)
		die("packet %u of round %u was %s: by commit %u, but %u was said to be in force", i,
		    r->number, passed ? "passed" : "refused", judged_by, r->in_force);
	if (passed)
		sum.passed++;
	else
		sum.refused++;
}

static void at_uplink(uint32_t id, uint16_t port)
{
	uint32_t number = id >> 4, i = id & 15;
	struct round *r = &rounds[number % IN_FLIGHT];

	if (i >= PROBES || r->number != number || number < next_judged || number >= next_round)
		die("packet %u of round %u comes again, or late", i, number);
	if (i == NEVER)
		die("round %u: what no policy allows has passed", number);
	r->seen[i] = true;
	nat[i] = port;
	if (i != ALWAYS)
		return;
	if (number != next_judged)
		die("round %u: what every policy allows was lost", next_judged);
	for (unsigned int n = 0; n < NEVER; n++)
		judge(r, n);
	next_judged++;
}

static void at_client(uint32_t id)
{
	reply_old |= (id & 15) == REPLY_OLD;
	reply_now |= (id & 15) == REPLY_NOW;
}

static void turn(void)
{
	if (!quiet && next_round - next_judged < IN_FLIGHT)
		send_round();
	probe_turn(TURN_US, at_uplink, at_client);
}

static void await_judged(uint32_t round)
{
	uint64_t end = now_us() + WAIT_US;

	while (next_judged <= round) {
		turn();
		if (now_us() > end)
			die("round %u: what every policy allows was lost", next_judged);
	}
}

/* --- commits ------------------------------------------------------------------------------ */

/* A tree that is never committed: everything open, or nothing. */
static void trap(unsigned int commit)
{
	dom0_rm();
	dom0_write("policy", commit % 8 ? "accept" : "drop");
	dom0_write("0000", commit % 8 ? "action=accept" : "action=drop");
	while (dom0_pending() > 0)
		turn();
	await_judged(next_round + 1);
}

static void await_handled(unsigned int commit)
{
	uint64_t end = now_us() + WAIT_US;

	while (dom0_handled() < commit) {
		turn();
		if (now_us() > end)
			die("commit %u was not handled", commit);
	}
	if (dom0_handled() > commit)
		die("%u commits were handled of %u", dom0_handled(), commit);
}

/* The flows that the last commit ended bring nothing more to the client. */
static void replies(unsigned int commit)
{
	uint64_t end = now_us() + WAIT_US;
	uint32_t ended = 1 - commit % 2, stays = commit % 2;
	struct probe p;

	reply_old = reply_now = false;
	for (unsigned int i = FIRST_OF_FLOWS; i < NEVER; i++) {
		p = probe_of(i, 0);
		p.id = commit << 4 | REPLY_OLD;
		if (i % 2 == ended && nat[i] != 0)
			probe_reply(&p, nat[i]);
	}
	p = probe_of(FIRST_OF_FLOWS + stays, 0);
	p.id = commit << 4 | REPLY_NOW;
	probe_reply(&p, nat[FIRST_OF_FLOWS + stays]);
	while (!reply_now) {
		turn();
		if (now_us() > end)
			die("commit %u: the reply to a flow that it allows was lost", commit);
	}
	if (reply_old)
		die("commit %u: a reply of a flow that it ended has passed", commit);
	sum.replies++;
}

static void commit(unsigned int number)
{
	if (number % TRAP_EVERY == 0)
		trap(number);
	write_policy(number);
	while (dom0_pending() > 0)
		turn();
	written = number;
	dom0_commit();
	await_handled(number);
}

/* The first one comes before the first packet. */
void storm(unsigned int commits)
{
	uint64_t start;

	quiet = true;
	commit(1);
	judged_by = 1;
	quiet = false;
	start = now_us();
	await_judged(4);
	for (unsigned int number = 2; number <= commits + 1; number++) {
		commit(number);
		await_judged(next_round);
		if (judged_by != number)
			die("after commit %u, commit %u judges", number, judged_by);
		replies(number);
	}
	printf("{\"commits\":%u,\"seconds\":%.1f,\"packets\":%lu,\"passed\":%lu,\"refused\":%lu,"
	       "\"replies\":%lu}\n",
	       commits, (double)(now_us() - start) / 1e6, sum.packets, sum.passed, sum.refused,
	       sum.replies);
}
