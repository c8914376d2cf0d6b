// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Neighbour discovery: messages that are read, byte by byte made wrong, messages
 * that are made, and what the engine answers on both sides (Q6, Q8, I7).
 */
#include "firewall/engine_impl.h"
#include "tests/unit/check.h"
#include "tests/unit/lab6.h"

#define GROUP "ff02::1:ff89:5" /* solicited node of C16 */
#define NS    135
#define NA    136

static struct lab lab;

/* A solicitation or advertisement, as it is before something is done to it. */
struct message {
	uint16_t port;
	const char *src, *dst, *target;
	uint8_t type, flags;
	uint8_t option; /* kind of the link-layer address; 0: none */
	uint8_t mac[6];
	uint8_t eth_dst[6]; /* all zero: us */
};

static void checksum(struct tframe *t, size_t len)
{
	uint8_t *ip = t->flat + 14, *icmp = ip + 40;

	lab_put16(icmp + 2, 0);
	lab_put16(icmp + 2, ~lab_sum(icmp, len, lab_sum(ip + 8, 32, (uint32_t)(58 + len))));
	lab_frame(t, t->f.in_port, 54 + len);
}

static void build(const struct message *m)
{
	static const uint8_t none[6];
	uint8_t b[32] = {m->type, [4] = m->flags};
	size_t len = m->option ? 32 : 24;

	lab6_addr(b + 8, m->target);
	b[24] = m->option;
	b[25] = 1;
	memcpy(b + 26, m->mac, 6);
	lab6_raw(&lab.in, m->port, m->src, m->dst, 58, b, len);
	lab.in.flat[21] = 255;
	if (memcmp(m->eth_dst, none, 6) != 0)
		memcpy(lab.in.flat, m->eth_dst, 6);
	checksum(&lab.in, len);
}

/* --- reading --------------------------------------------------------------------------- */

static bool parse(struct ndp *n)
{
	struct packet p;

	if (packet_parse_ip6(&lab.in.f, &p) != DROP_NONE ||
	    packet_parse_l4(&lab.in.f, &p) != DROP_NONE)
		return false;
	return ndp_parse(&lab.in.f, &p, n);
}

static const struct message question = {1,
					C16,
					GROUP,
					BE6,
					NS,
					0,
					1,
					{0, 0x16, 0x3e, 0x5e, 0x6c, 1},
					{0x33, 0x33, 0xff, 0xff, 0xff, 0xff}};
static const struct message answer = {UP, GW6, OUR6, GW6, NA, 0x60, 2, {2, 0x77, 0, 0, 0, 1}, {0}};

static void test_parse(void)
{
	static const struct {
		const char *name;
		size_t at; /* of the byte that is changed, in the frame */
		uint8_t to;
	} wrong[] = {
	    {"Q6_hop_limit_254", 21, 254},	 {"Q6_code", 55, 1},
	    {"Q6_group_as_target", 62, 0xff},	 {"Q6_option_of_length_0", 79, 0},
	    {"Q6_option_beyond_the_end", 79, 2}, {"Q6_type_of_something_else", 54, 133},
	};
	struct ndp n;
	uint8_t addr[16];

	test_case("Q6_solicitation");
	build(&question);
	CHECK(parse(&n));
	lab6_addr(addr, BE6);
	CHECK(n.solicit && !n.solicited && n.has_mac);
	CHECK(memcmp(n.mac, question.mac, 6) == 0 && memcmp(&n.target, addr, 16) == 0);

	test_case("Q6_advertisement");
	build(&answer);
	CHECK(parse(&n));
	CHECK(!n.solicit && n.solicited && n.has_mac);
	CHECK(memcmp(n.mac, answer.mac, 6) == 0);

	test_case("Q6_option_of_the_other_kind_is_not_taken");
	{
		struct message m = answer;

		m.option = 1;
		m.flags = 0;
		build(&m);
		CHECK(parse(&n));
		CHECK(!n.has_mac && !n.solicited);
		m.option = 0;
		build(&m);
		CHECK(parse(&n));
		CHECK(!n.has_mac);
	}

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		test_case(wrong[i].name);
		build(&question);
		lab.in.flat[wrong[i].at] = wrong[i].to;
		checksum(&lab.in, 32);
		CHECK(!parse(&n));
	}

	test_case("Q6_checksum");
	for (size_t at = 22; at < 86; at++) {
		build(&question);
		lab.in.f.header[at] ^= 0x10;
		CHECK(!parse(&n));
	}
	build(&question);
	lab.in.f.header[57] ^= 1;
	lab.in.f.csum = CSUM_PARTIAL; /* then it is not there yet */
	CHECK(parse(&n));

	test_case("P1_every_truncation");
	for (size_t len = 0; len < 32; len++) {
		build(&question);
		lab_put16(lab.in.flat + 18, (unsigned int)len);
		if (len >= 4)
			checksum(&lab.in, len);
		else
			lab_frame(&lab.in, 1, 54 + len);
		CHECK_INT(parse(&n), len == 24); /* that is one without an option */
	}
	build(&question);
	lab.in.f.header_len = 80; /* the rest is out of reach */
	lab.in.f.nseg = 1;
	lab.in.f.seg[0] = (struct frame_seg){.local = lab.in.flat + 80, .len = 6};
	CHECK(!parse(&n));
}

/* --- making --------------------------------------------------------------------------------- */

static void test_build(void)
{
	static const uint8_t mac[6] = {2, 3, 4, 5, 6, 7}, to[6] = {8, 9, 10, 11, 12, 13};
	struct frame *f = &lab.in.f;
	struct ipkey a, b, all;
	uint8_t addr[16];
	struct ndp n;

	lab6_addr(addr, C16);
	a = ipkey6(addr);
	lab6_addr(addr, WEB6);
	b = ipkey6(addr);
	all = ndp_all_nodes();

	test_case("Q6_advertise_to_one");
	memset(f, 0xee, sizeof(*f));
	ndp_advertise(f, &a, &b, mac, true, to);
	CHECK(memcmp(f->header, to, 6) == 0 && memcmp(f->header + 6, mac, 6) == 0);
	CHECK(memcmp(f->header + 22, &a, 16) == 0 && memcmp(f->header + 38, &b, 16) == 0);
	CHECK_INT(f->header[58], 0xe0); /* router, solicited, override */
	CHECK(parse(&n));
	CHECK(!n.solicit && n.solicited && n.has_mac && memcmp(n.mac, mac, 6) == 0);
	CHECK_INT(f->len, 86);

	test_case("section9_announce_to_all_nodes");
	ndp_advertise(f, &a, &all, mac, false, ndp_all_nodes_mac);
	CHECK_INT(f->header[58], 0x20);
	CHECK(parse(&n));
	CHECK(!n.solicited);

	test_case("Q6_advertise_from_addresses_within_the_frame");
	memcpy(f->header + 6, to, 6);
	memcpy(f->header, mac, 6);
	ndp_advertise(f, &a, &b, f->header, true, f->header + 6);
	CHECK(memcmp(f->header, to, 6) == 0 && memcmp(f->header + 6, mac, 6) == 0);
	CHECK(parse(&n) && memcmp(n.mac, mac, 6) == 0);

	test_case("section7_solicit");
	memset(f, 0xee, sizeof(*f));
	ndp_solicit(f, &a, &b, mac);
	CHECK(memcmp(f->header, (uint8_t[]){0x33, 0x33, 0xff, 0x89, 0, 5}, 6) == 0);
	lab6_addr(addr, "ff02::1:ff89:5");
	CHECK(memcmp(f->header + 38, addr, 16) == 0);
	CHECK(memcmp(f->header + 22, &b, 16) == 0);
	CHECK(parse(&n));
	CHECK(n.solicit && n.has_mac && ipkey_equal(&n.target, &a) && memcmp(n.mac, mac, 6) == 0);

	test_case("Q6_groups_of_an_address");
	CHECK(ndp_is_solicited_mac(f->header, &a));
	CHECK(!ndp_is_solicited_mac(f->header, &b));
	for (int i = 0; i < 6; i++) {
		uint8_t m[6];

		memcpy(m, f->header, 6);
		m[i] ^= 1;
		CHECK(!ndp_is_solicited_mac(m, &a));
	}

	test_case("I7_types_that_stay_on_their_link");
	for (int type = 0; type < 256; type++)
		CHECK_INT(ndp_is_link((uint8_t)type), (type >= 130 && type <= 137) || type == 143);
}

/* --- the engine: a client asks ------------------------------------------------------------------
 */

static void is_answer(int line, const uint8_t mac[6], const uint8_t to[6], const char *target,
		      const char *dst)
{
	const struct frame *f = &lab.in.f;
	const uint8_t *h = f->header;
	uint8_t addr[16];
	struct ndp n;

	if (f->verdict != FRAME_REPLY || f->reason != DROP_NONE || f->out_port != f->in_port)
		test_fail(__FILE__, line, drop_name((enum drop_reason)f->reason));
	if (!parse(&n) || n.solicit || !n.solicited || !n.has_mac)
		test_fail(__FILE__, line, "not an advertisement");
	if (memcmp(h, to, 6) != 0 || memcmp(h + 6, mac, 6) != 0 || memcmp(n.mac, mac, 6) != 0)
		test_fail(__FILE__, line, "MAC addresses");
	lab6_addr(addr, target);
	if (memcmp(&n.target, addr, 16) != 0 || memcmp(h + 22, addr, 16) != 0)
		test_fail(__FILE__, line, "target");
	lab6_addr(addr, dst);
	if (memcmp(h + 38, addr, 16) != 0)
		test_fail(__FILE__, line, "destination");
}

static void dropped(int line, enum drop_reason want)
{
	if (lab.in.f.verdict != FRAME_DROP || lab.in.f.reason != want)
		test_fail(__FILE__, line, drop_name((enum drop_reason)lab.in.f.reason));
}

static void test_client(void)
{
	static const struct {
		const char *name;
		struct message m;
		enum drop_reason want; /* NONE: an answer */
	} cases[] = {
	    {"Q6_asks_for_its_gateway", {1, C16, GROUP, BE6, NS, 0, 1, {0}, {0}}, DROP_NONE},
	    {"Q6_asks_for_anybody", {1, C16, GROUP, C26, NS, 0, 1, {0}, {0}}, DROP_NONE},
	    {"Q6_without_the_option", {1, C16, BE6, BE6, NS, 0, 0, {0}, {0}}, DROP_NONE},
	    {"Q6_its_own_address", {1, C16, GROUP, C16, NS, 0, 1, {0}, {0}}, DROP_NDP},
	    {"Q6_probe_from_nobody", {1, "::", GROUP, C16, NS, 0, 0, {0}, {0}}, DROP_SPOOFED},
	    {"Q6_another_address", {1, C26, GROUP, BE6, NS, 0, 1, {0}, {0}}, DROP_SPOOFED},
	    {"P14_link_local_source", {1, "fe80::5", GROUP, BE6, NS, 0, 1, {0}, {0}}, DROP_SPOOFED},
	    {"Q6_another_mac_in_the_option",
	     {1, C16, GROUP, BE6, NS, 0, 1, {0, 0x16, 0x3e, 0x5e, 0x6c, 2}, {0}},
	     DROP_NDP},
	    {"Q6_advertisement_teaches_nothing",
	     {1, C16, "ff02::1", BE6, NA, 0x20, 2, {0}, {0}},
	     DROP_NDP},
	    {"Q8_router_solicitation", {1, C16, "ff02::2", BE6, 133, 0, 1, {0}, {0}}, DROP_NDP},
	    {"Q8_router_advertisement", {1, C16, "ff02::1", BE6, 134, 0, 1, {0}, {0}}, DROP_NDP},
	    {"Q8_redirect", {1, C16, BE6, WEB6, 137, 0, 2, {0}, {0}}, DROP_NDP},
	    {"I7_multicast_listener", {1, C16, "ff02::16", BE6, 143, 0, 1, {0}, {0}}, DROP_NDP},
	    {"I7_multicast_query", {1, C16, "ff02::1", BE6, 130, 0, 1, {0}, {0}}, DROP_NDP},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct message m = cases[i].m;

		test_case(cases[i].name);
		if (m.mac[5] == 0)
			memcpy(m.mac, lab_mac[1], 6);
		if (strncmp(m.dst, "ff", 2) == 0)
			memcpy(m.eth_dst, question.eth_dst, 6);
		build(&m);
		lab_run(&lab);
		if (cases[i].want == DROP_NONE)
			is_answer(__LINE__, lab_backend, lab_mac[1], m.target, m.src);
		else
			dropped(__LINE__, cases[i].want);
	}
	test_case("Q1_no_discovery_where_IPv6_is_off");
	build(&question);
	lab.in.f.in_port = 3;
	memcpy(lab.in.f.header + 6, lab_mac[3], 6);
	lab_run(&lab);
	dropped(__LINE__, DROP_IPV6);
}

/* --- the engine: the uplink ---------------------------------------------------------------------
 */

/* The next frame of the engine's own that is IPv6. */
static bool own6(void)
{
	while (engine_take(lab.e, &lab.in.f)) {
		engine_done(lab.e, &lab.in.f);
		if (lab_get16(lab.in.f.header + 12) == 0x86dd)
			return true;
	}
	return false;
}

static void send_out(uint8_t to[6])
{
	struct l4 k = {.proto = 17, .src = C16, .dst = WEB6, .sp = 5000, .dp = 80, .len = 4};

	lab6_build(&lab.in, 1, &k);
	lab_run(&lab);
	CHECK_INT(lab.in.f.verdict, FRAME_FORWARD);
	memcpy(to, lab.in.f.header, 6);
}

static void tick(uint64_t ms)
{
	lab.ms += ms;
	engine_tick(lab.e, (struct engine_time){lab.ms});
}

static void test_gateway(void)
{
	uint8_t addr[16], to[6];
	struct message m = answer;
	struct ndp n;

	test_case("section9_announces_its_address");
	tick(1);
	CHECK(own6());
	lab6_addr(addr, OUR6);
	CHECK(parse(&n) && !n.solicit && !n.solicited && memcmp(&n.target, addr, 16) == 0);
	CHECK(memcmp(lab.in.f.header, ndp_all_nodes_mac, 6) == 0);

	test_case("section7_only_asked_answers_count");
	build(&answer);
	lab_run(&lab);
	dropped(__LINE__, DROP_NDP); /* we have not asked */
	send_out(to);
	CHECK(memcmp(to, lab_backend, 6) == 0);

	test_case("section7_asks_for_the_gateway_each_second");
	CHECK(own6());
	lab6_addr(addr, GW6);
	CHECK(parse(&n) && n.solicit && memcmp(&n.target, addr, 16) == 0);
	CHECK(!own6());
	tick(999);
	CHECK(!own6());
	tick(1);
	CHECK(own6());

	test_case("section7_answers_that_are_not_believed");
	m.target = WEB6;
	build(&m);
	lab_run(&lab);
	dropped(__LINE__, DROP_NDP);
	m = answer;
	m.option = 0;
	build(&m);
	lab_run(&lab);
	dropped(__LINE__, DROP_NDP);
	m = answer;
	m.mac[5] = 9; /* not who sent it */
	build(&m);
	lab_run(&lab);
	dropped(__LINE__, DROP_NDP);
	m = answer;
	m.src = OUR6;
	build(&m);
	lab_run(&lab);
	dropped(__LINE__, DROP_NDP);

	test_case("section7_the_answer");
	build(&answer);
	lab_run(&lab);
	dropped(__LINE__, DROP_NONE); /* consumed */
	send_out(to);
	CHECK(memcmp(to, answer.mac, 6) == 0);
	tick(59999);
	CHECK(!own6());
	tick(1);
	CHECK(own6()); /* once a minute */

	test_case("section7_answers_for_our_address");
	m = (struct message){UP, GW6, OUR6, OUR6, NS, 0, 1, {2, 0x77, 0, 0, 0, 1}, {0}};
	build(&m);
	lab_run(&lab);
	is_answer(__LINE__, lab_mac[0], lab_gw_mac, OUR6, GW6);
	m.target = C16; /* not for those behind us */
	build(&m);
	lab_run(&lab);
	dropped(__LINE__, DROP_NDP);
	m.target = OUR6;
	m.src = "::";
	m.option = 0;
	build(&m);
	lab_run(&lab);
	dropped(__LINE__, DROP_NDP);

	test_case("Q8_router_advertisement_from_the_uplink");
	m = (struct message){UP,
			     "fe80::1",
			     "ff02::1",
			     GW6,
			     134,
			     0,
			     1,
			     {2, 0x77, 0, 0, 0, 1},
			     {0x33, 0x33, 0, 0, 0, 1}};
	build(&m);
	lab_run(&lab);
	dropped(__LINE__, DROP_NDP);
}

int main(void)
{
	lab_init(&lab, 1024, 41);
	lab6_ifaces(&lab, 1500);
	lab6_accept(&lab, C16);
	test_parse();
	test_build();
	test_client();
	test_gateway();
	CHECK_INT(engine_check(lab.e), 0);
	engine_free(&lab.e);
	return test_end();
}
