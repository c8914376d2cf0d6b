// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What engine_explain() foretells is what becomes of the packet: every question of a
 * grid is asked first and then sent, in each of a few surroundings.
 */
#include "tests/unit/check.h"
#include "tests/unit/lab6.h"

static struct lab lab;
static unsigned int stopped[DROP_REASON_MAX], verdicts[3], translated;

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define VIRT1	 "10.139.1.1"
#define VIRT2	 "10.139.1.2"
#define VIRT3	 "10.139.1.3"
#define ABSENT	 "10.137.0.77"

/* --- surroundings ---------------------------------------------------------------------- */

static void start(void)
{
	static const char *const rules[] = { "action=accept dst4=0.0.0.0/1 proto=tcp",
					     "action=accept dstports=53",
					     "action=drop dst4=192.0.2.80/32", "action=accept",
					     NULL };
	struct addr connected = lab_to_addr(ABSENT);

	if (lab.e)
		engine_free(&lab.e);
	lab_init(&lab, 4096, 7);
	lab6_ifaces(&lab, 1500);
	lab_rules(&lab, C1, "drop", rules);
	lab6_accept(&lab, C16);
	if (engine_set_connected(lab.e, &connected, 1) != 0)
		abort();
}

static void dns_map(const char *real1, const char *real2)
{
	struct engine_dns map[] = { { .virt = lab_to_addr(VIRT1) },
				    { .virt = lab_to_addr(VIRT2) } };

	if (real1)
		map[0].real = lab_to_addr(real1);
	if (real2)
		map[1].real = lab_to_addr(real2);
	engine_set_dns(lab.e, map, 2);
}

static void as_usual(void)
{
	dns_map(DNS, NULL);
}
static void dns_behind_us(void)
{
	dns_map(C2, OUR);
}
static void no_uplink(void)
{
	engine_iface_link(lab.e, UP, false);
}
static void no_rules(void)
{
	struct addr a = lab_to_addr(C1), b = lab_to_addr(C16);

	engine_source_forget(lab.e, &a);
	engine_source_forget(lab.e, &b);
}
static void malformed(void)
{
	struct addr a = lab_to_addr(C1);
	struct policy *p;

	if (policy_malformed(&p) != 0 || engine_source_set(lab.e, &a, p, true) != 0)
		abort();
}
static void only_policy(void)
{
	lab_rules(&lab, C1, "drop", (const char *const[]){ NULL });
}
static void no_gateway6(void)
{
	struct engine_iface i = { .kind = IFACE_CLIENT, .mtu = 1500, .ip4 = lab_to_addr(C1),
				  .ip6 = lab_to_addr(C16), .gateway4 = lab_to_addr(OUR) };

	memcpy(i.mac, lab_mac[1], 6);
	if (engine_iface_set(lab.e, 1, &i) != 0)
		abort();
}

static const struct {
	const char *name;
	void (*set)(void);
} states[] = {
	{ "R1_as_usual", as_usual },	 { "R8_dns_behind_us", dns_behind_us },
	{ "Q13_no_uplink", no_uplink },	 { "Q9_no_rules", no_rules },
	{ "R10_malformed", malformed },	 { "R2_only_policy", only_policy },
	{ "Q1_no_ipv6", no_gateway6 },
};

/* --- what is foretold, what happens --------------------------------------------------------- */

/* An answered ping is no drop: the reason stands for "it is for us". */
static bool is_answered_ping(const struct engine_first *first, const struct seen *s)
{
	return first->stopped == DROP_TO_FIREWALL && s->verdict == FRAME_REPLY &&
	       s->reason == DROP_NONE && (s->type == 0 || s->type == 129);
}

static bool as_foretold(const struct engine_first *first, const struct seen *s, uint8_t family)
{
	char from[ADDR_STRLEN], to[ADDR_STRLEN];

	if (first->stopped != DROP_NONE)
		return s->reason == (int)first->stopped || is_answered_ping(first, s);
	if (first->verdict == RULE_REJECT)
		return s->reason == DROP_REJECTED;
	if (first->verdict == RULE_DROP)
		return s->reason == DROP_NO_POLICY && s->verdict == FRAME_DROP;
	if (s->verdict != FRAME_FORWARD || s->port != UP)
		return false;
	/* lab_read() reads IPv4 */
	return family == 6 || (strcmp(addr_format(&first->from, from), s->src) == 0 &&
			       strcmp(addr_format(&first->to, to), s->dst) == 0);
}

static uint64_t hits(const struct addr *src, const struct engine_first *first)
{
	return engine_source_hits(lab.e, src, first->rule);
}

static void try(const char *src, const char *dst, const struct rule_packet *base,
		const struct seen *(*send)(const char *dst, const struct rule_packet *pkt))
{
	struct addr s = lab_to_addr(src), d = lab_to_addr(dst);
	struct rule_packet pkt = *base;
	struct engine_first first;
	const struct seen *seen;
	uint64_t before;

	pkt.dst = d.bytes;
	engine_explain(lab.e, &s, &pkt, &first);
	before = hits(&s, &first);
	engine_explain(lab.e, &s, &pkt, &first);
	CHECK_INT(hits(&s, &first), before);
	CHECK(first.attached && !first.learned);
	seen = send(dst, &pkt);
	if (!CHECK(as_foretold(&first, seen, s.family)))
		printf("  %s proto %u port %u type %u: stopped %s, verdict %s; was %d, %s\n", dst,
		       pkt.proto, pkt.dport, pkt.icmp_type, drop_name(first.stopped),
		       rule_verdict_name(first.verdict), seen->verdict,
		       drop_name((enum drop_reason)seen->reason));
	/* by the rule that was named */
	if (first.stopped == DROP_NONE)
		CHECK_INT(hits(&s, &first), before + 1);
	stopped[first.stopped]++;
	verdicts[first.verdict]++;
	translated += first.to.family == 4 && !addr_equal(&first.to, &d);
}

static uint16_t next_port = 2000;

static const struct seen *send4(const char *dst, const struct rule_packet *pkt)
{
	return lab_send(&lab, (struct pk){ .port = 1, .src = C1, .dst = dst, .proto = pkt->proto,
					   .sp = ++next_port, .dp = pkt->dport, .flags = T_SYN,
					   .type = pkt->icmp_type, .len = 12 });
}

static const struct seen *send6(const char *dst, const struct rule_packet *pkt)
{
	struct l4 k = { .proto = pkt->proto, .src = C16, .dst = dst, .sp = ++next_port,
			.dp = pkt->dport, .flags = T_SYN, .type = pkt->icmp_type, .len = 12 };

	lab6_build(&lab.in, 1, &k);
	return lab_run(&lab);
}

static void test_grid(void)
{
	static const char *const to4[] = { WEB, DNS, OUR, GW, C1, C2, C3, ABSENT, VIRT1,
					   VIRT2, VIRT3, "127.0.0.1", "0.0.0.1", "224.0.0.1",
					   "239.1.1.1", "255.255.255.255", "240.0.0.1",
					   "10.0.0.1", "172.16.0.1" };
	static const char *const to6[] = { WEB6, OUR6, GW6, C26, C16, BE6, "fe80::1", "::1",
					   "ff02::1", "::ffff:1.2.3.4", "2001:db8::99" };
	static const struct rule_packet packets4[] = {
		{ .proto = 6, .dport = 80 }, { .proto = 6, .dport = 53 },
		{ .proto = 17, .dport = 53 }, { .proto = 17, .dport = 9000 },
		{ .proto = 1, .icmp_type = 8 }, { .proto = 1, .icmp_type = 0 },
		{ .proto = 1, .icmp_type = 13 }, { .proto = 47 },
	};
	static const struct rule_packet packets6[] = {
		{ .proto = 6, .dport = 80 }, { .proto = 17, .dport = 53 },
		{ .proto = 58, .icmp_type = 128 }, { .proto = 58, .icmp_type = 129 },
		{ .proto = 58, .icmp_type = 200 },
	};

	for (size_t i = 0; i < COUNT(states); i++) {
		test_case(states[i].name);
		start();
		states[i].set();
		for (size_t k = 0; k < COUNT(to4); k++)
			for (size_t n = 0; n < COUNT(packets4); n++)
				try(C1, to4[k], &packets4[n], send4);
		for (size_t k = 0; k < COUNT(to6); k++)
			for (size_t n = 0; n < COUNT(packets6); n++)
				try(C16, to6[k], &packets6[n], send6);
	}
	test_case("each way to end occurred");
	for (int v = 0; v < 3; v++)
		CHECK(verdicts[v] > 0);
	CHECK(translated > 0);
	CHECK(stopped[DROP_MARTIAN] > 0 && stopped[DROP_MULTICAST] > 0);
	CHECK(stopped[DROP_TO_FIREWALL] > 0 && stopped[DROP_INTER_CLIENT] > 0);
	CHECK(stopped[DROP_NO_UPLINK] > 0 && stopped[DROP_DNS_SERVER] > 0);
	CHECK(stopped[DROP_ICMP_TYPE] > 0 && stopped[DROP_ICMP_NO_FLOW] > 0);
	CHECK(stopped[DROP_IPV6] > 0 && stopped[DROP_NONE] > 0);
}

static void test_no_client(void)
{
	struct addr nobody = lab_to_addr("10.137.0.99"), d = lab_to_addr(WEB);
	struct rule_packet pkt = { .dst = d.bytes, .proto = 6, .dport = 80 };
	struct engine_first first;

	test_case("Q9_nothing_known_of_the_source");
	start();
	engine_explain(lab.e, &nobody, &pkt, &first);
	CHECK(!first.attached && first.verdict == RULE_DROP && first.rule == RULE_INDEX_NONE);
	test_case("Q9_rules_before_the_client");
	lab_rules(&lab, "10.137.0.99", "accept", (const char *const[]){ NULL });
	engine_explain(lab.e, &nobody, &pkt, &first);
	CHECK(!first.attached && first.verdict == RULE_ACCEPT && first.rule == RULE_INDEX_POLICY);
	CHECK(first.from.family == 0 && first.to.family == 0);
	test_case("I7_neighbour_discovery_stays_on_its_link");
	d = lab_to_addr(WEB6);
	nobody = lab_to_addr(C16);
	pkt = (struct rule_packet){ .dst = d.bytes, .proto = 58, .icmp_type = 135 };
	engine_explain(lab.e, &nobody, &pkt, &first);
	CHECK_INT(first.stopped, DROP_NDP);
}

int main(void)
{
	test_grid();
	test_no_client();
	engine_free(&lab.e);
	return test_end();
}
