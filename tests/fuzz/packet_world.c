// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The packet fuzzer's world: see packet_world.h.
 *
 * Payload that the engine does not ask for (engine_needs_payload()) is not there
 * while it decides: its segments are granted pages, and whoever follows the
 * pointers crashes.
 */
#include "tests/fuzz/packet_world.h"

#include "rules/rules.h"

#include <arpa/inet.h>
#include <stdarg.h>

struct world w;

const uint8_t macs[PORTS][6] = {{0, 0x16, 0x3e, 0x5e, 0x6c, 0},
				{0, 0x16, 0x3e, 0x5e, 0x6c, 1},
				{0, 0x16, 0x3e, 0x5e, 0x6c, 2},
				{0, 0x16, 0x3e, 0x5e, 0x6c, 3}};
const uint8_t backend_mac[6] = {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff};

const char *const address_text[2][ADDRESSES] = {
	{
		[A_OUR] = "10.137.0.4",
		[A_C1] = "10.137.0.5",
		[A_C2] = "10.137.0.6",
		[A_C3] = "10.137.0.7",
		[A_WEB] = "192.0.2.80",
		[A_WEB2] = "198.51.100.9",
		[A_DNS_VIRTUAL] = "10.139.1.1",
		[A_DNS_REAL] = "192.0.2.53",
		[A_GATEWAY] = "10.137.0.1",
		[A_STOPPED] = "10.137.0.9",
		[A_VISIBLE] = "192.168.7.7",
		[A_OTHER] = "224.0.0.251",
	},
	{
		[A_OUR] = "fd09:24ef:4179::a89:4",
		[A_C1] = "fd09:24ef:4179::a89:5",
		[A_C2] = "fd09:24ef:4179::a89:6",
		[A_C3] = "fd09:24ef:4179::a89:7",
		[A_WEB] = "2001:db8::80",
		[A_WEB2] = "2001:db8:5::9",
		[A_DNS_VIRTUAL] = "2001:db8::53:1",
		[A_DNS_REAL] = "2001:db8::53:2",
		[A_GATEWAY] = "fd09:24ef:4179::a89:1",
		[A_STOPPED] = "fd09:24ef:4179::a89:9",
		[A_VISIBLE] = "fe80::7",
		[A_OTHER] = "ff02::fb",
	},
};

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

void world_explain(void)
{
	static char text[1200];

	describe(w.in, w.in_len, text, sizeof(text));
	fprintf(stderr, "in,  port %u: %s\n", w.f.in_port, text);
	describe(w.out, w.out_len, text, sizeof(text));
	fprintf(stderr, "out, port %u, verdict %u, %s: %s\n", w.f.out_port, w.f.verdict,
		w.f.reason < DROP_REASON_MAX ? drop_name((enum drop_reason)w.f.reason) : "?", text);
}

struct addr world_addr(uint8_t family, const char *text)
{
	struct addr a = {.family = family};

	if (inet_pton(family == 4 ? AF_INET : AF_INET6, text, a.bytes) != 1)
		die("not an address: %s", text);
	return a;
}

/* --- interfaces --------------------------------------------------------------------- */

static const char *text4(unsigned int i)
{
	return address_text[0][i];
}

static const char *text6(unsigned int i)
{
	return address_text[1][i];
}

/* Variants: 0 as drawn, 1 a smaller MTU, 2 other addresses, 3 without IPv6 */
void world_port(unsigned int port, unsigned int variant)
{
	static const uint16_t small[] = {576, 1280, 1400, 1300};
	struct engine_iface i = {.kind = port == UPLINK ? IFACE_UPLINK : IFACE_CLIENT};
	struct port_state *s = &w.port[port];
	const char *ip4 = text4(A_OUR + port), *ip6 = text6(A_OUR + port);

	if (variant == 2) {
		ip4 = port == UPLINK ? "10.137.0.200" : text4(A_C1 + port % 3);
		ip6 = port == UPLINK ? "fd09:24ef:4179::a89:c8" : text6(A_C1 + port % 3);
	}
	memset(s, 0, sizeof(*s));
	memcpy(i.mac, macs[port], 6);
	i.mtu = s->mtu = variant == 1 ? small[port] : 1500;
	i.ip4 = world_addr(4, ip4);
	i.gateway4 = world_addr(4, text4(port == UPLINK ? A_GATEWAY : A_OUR));
	addr_of(s->ip4, 4, ip4);
	addr_of(s->visible, 4, ip4);
	s->has4 = true;
	if (port == 3) {
		i.visible4 = world_addr(4, text4(A_VISIBLE));
		i.gateway4 = world_addr(4, "192.168.7.1");
		addr_of(s->visible, 4, text4(A_VISIBLE));
		s->fake = true;
	} else if (variant != 3) {
		i.ip6 = world_addr(6, ip6);
		i.gateway6 = world_addr(6, text6(port == UPLINK ? A_GATEWAY : A_OUR));
		addr_of(s->ip6, 6, ip6);
		s->has6 = true;
	}
	REQUIRE(engine_iface_set(w.e, (uint16_t)port, &i) == 0);
	s->present = true;
	world_link(port, true);
}

void world_remove(unsigned int port)
{
	struct engine_source_info info;
	struct addr a = {.family = 4};

	engine_iface_clear(w.e, (uint16_t)port);
	if (port != UPLINK && w.port[port].present) { /* Q7 */
		memcpy(a.bytes, w.port[port].ip4, 4);
		for (unsigned int i = 1; i < PORTS; i++) /* Q12: it may be another's, too */
			if (i != port && w.port[i].present &&
			    memcmp(w.port[i].ip4, w.port[port].ip4, 4) == 0)
				a.family = 0;
		if (a.family && engine_source_info(w.e, &a, &info))
			REQUIRE(info.flows == 0);
	}
	w.port[port].present = w.port[port].link = false;
}

void world_link(unsigned int port, bool up)
{
	if (!w.port[port].present)
		return;
	engine_iface_link(w.e, (uint16_t)port, up);
	w.port[port].link = up;
}

/* Q10: of a qube that does not run */
void world_connected(bool known)
{
	struct addr connected[2] = {world_addr(4, text4(A_STOPPED)),
				    world_addr(6, text6(A_STOPPED))};

	REQUIRE(engine_set_connected(w.e, connected, known ? 2 : 0) == 0);
	w.connected = known;
}

static struct policy *compile(uint8_t family, const char *const *rules, bool accept)
{
	struct rule_pair pairs[6] = {{"policy", accept ? "accept" : "drop", accept ? 6 : 4}};
	static const char *const keys[] = {"0000", "0001", "0002", "0003", "0004"};
	struct policy_env env = {0};
	struct rule_error err = {{0}, {0}};
	struct ruleset *rs;
	struct policy *p;
	size_t n = 1;

	for (; rules[n - 1] && n < 6; n++)
		pairs[n] = (struct rule_pair){keys[n - 1], rules[n - 1], strlen(rules[n - 1])};
	if (ruleset_parse(&rs, family, pairs, n, &err) != 0)
		die("%s: %s", err.key, err.text);
	if (policy_compile(&p, rs, &env) != 0)
		die("out of memory");
	ruleset_free(&rs);
	return p;
}

void world_policy(unsigned int port, uint8_t family, unsigned int which, bool accept)
{
	static const char *const sets[2][4][4] = {
	    {{NULL},
	     {"action=accept proto=tcp dstports=80-80", "action=accept proto=udp"},
	     {"action=drop dst4=192.0.2.80/32", "action=accept proto=icmp icmptype=8"},
	     {"action=accept dst4=198.51.100.0/24", "action=drop proto=tcp"}},
	    {{NULL},
	     {"action=accept proto=tcp dstports=80-80", "action=accept proto=udp"},
	     {"action=drop dst6=2001:db8::80/128", "action=accept proto=icmp icmptype=128"},
	     {"action=accept dst6=2001:db8:5::/64", "action=drop proto=tcp"}},
	};
	struct addr a = world_addr(family, address_text[family == 6][A_OUR + port]);

	if (which > 3) {
		REQUIRE(engine_source_set(w.e, &a, NULL, ENGINE_RULES) == 0);
		return;
	}
	REQUIRE(engine_source_set(w.e, &a, compile(family, sets[family == 6][which], accept),
				  which & 1 ? ENGINE_RULES
				  : which   ? ENGINE_ADDRESSES
					    : ENGINE_SAME) == 0);
}

/* --- frames --------------------------------------------------------------------------- */

void world_frame(unsigned int port, uint32_t len)
{
	uint32_t head = len > FRAME_HEADER_COPY ? FRAME_HEADER_COPY : len;
	uint32_t rest = len - head, first = rest / 2;

	memset(&w.f, 0, sizeof(w.f));
	memcpy(w.f.header, w.in, head);
	memcpy(w.tail, w.in + head, rest);
	w.f.header_len = (uint16_t)head;
	w.f.len = w.in_len = len;
	w.f.in_port = (uint16_t)port;
	for (uint32_t at = 0; at < rest; at = first ? first : rest, first = 0) {
		struct frame_seg *s = &w.f.seg[w.f.nseg++];

		s->local = w.tail + at;
		s->len = first ? first : rest - at;
		if (!first)
			break;
	}
	w.f.verdict = 0xee; /* the engine must set it */
}

/* Payload out of reach; @hide false: and back again, what is left of it. */
static void payload(struct frame *f, bool hide, void *kept[FRAME_SEG_MAX])
{
	for (unsigned int i = 0; i < f->nseg; i++) {
		if (hide)
			kept[i] = f->seg[i].local;
		if (hide)
			f->seg[i].local = NULL;
		else if (!f->seg[i].local)
			f->seg[i].local = kept[i];
	}
}

static void drain(void)
{
	static struct frame taken;

	while (engine_take(w.e, &taken)) {
		w.taken++;
		check_taken(&taken);
		engine_done(w.e, &taken);
	}
	check_drained();
}

void world_run(void)
{
	struct frame *f = &w.f;
	void *kept[FRAME_SEG_MAX] = {0};
	bool needed = engine_needs_payload(w.e, f);

	if (!needed)
		payload(f, true, kept);
	w.frames_in++;
	w.in_partial = f->csum == CSUM_PARTIAL || f->gso != GSO_NONE;
	engine_process(w.e, &f, 1, (struct engine_time){w.ms});
	if (!needed)
		payload(f, false, kept);
	check_verdict();
	drain();
	check_counts();
}

void world_tick(void)
{
	engine_tick(w.e, (struct engine_time){w.ms});
	drain();
	check_counts();
}

void world_wait(uint64_t ms)
{
	while (ms > 0) {
		uint64_t step = ms > 1000 ? 1000 : ms;

		w.ms += step;
		ms -= step;
		world_tick();
	}
}

void world_start(uint8_t seed)
{
	struct engine_config c = {.flow_max = 64};

	memset(c.hash_key, seed, sizeof(c.hash_key));
	memset(c.rng_seed, seed, sizeof(c.rng_seed));
	memset(&w, 0, offsetof(struct world, in));
	w.in_len = w.out_len = 0;
	w.ms = 1000000;
	if (engine_new(&w.e, &c) != 0)
		die("out of memory");
	for (unsigned int i = 0; i < PORTS; i++)
		world_port(i, 0);
	for (unsigned int i = 1; i < PORTS; i++) {
		world_policy(i, 4, 0, true);
		if (i < 3)
			world_policy(i, 6, 0, true);
	}
	world_connected(true);
}

/* No entry stays: everything times out when time passes. */
void world_end(void)
{
	engine_check(w.e);
	for (int i = 0; i < 3; i++) {
		w.ms += 90000 * 1000ULL; /* as after a suspend: nothing ends at once (D5) */
		world_tick();
		world_wait(4000);
	}
	engine_check(w.e);
	REQUIRE(engine_stats(w.e)->flows_active == 0);
	engine_free(&w.e);
}
