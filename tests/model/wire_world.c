// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The network around the firewall that histories play in, and the rules of its
 * clients, as the model and as the engine want them.
 *
 *	0	uplink 10.137.0.2, fd09:24ef:4179::a89:2
 *	1, 2	clients with both families
 *	3	a client with IPv4 only
 *	4	a client with a fake address (Q11)
 *	5	a twin of client 1 (Q12)
 */
#include "tests/model/wire.h"

#include <stdlib.h>
#include <string.h>

struct addr wire_addr(const char *text)
{
	struct addr a = { 0 };

	if (text && addr_parse(text, strlen(text), &a) != 0)
		abort();
	return a;
}

static const struct {
	const char *ip4, *ip6, *visible4, *gateway4;
} place[WIRE_IFACES] = {
	{ "10.137.0.2", "fd09:24ef:4179::a89:2", NULL, "10.137.0.1" },
	{ "10.137.0.5", "fd09:24ef:4179::a89:5", NULL, "10.137.0.2" },
	{ "10.137.0.6", "fd09:24ef:4179::a89:6", NULL, "10.137.0.2" },
	{ "10.137.0.7", NULL, NULL, "10.137.0.2" },
	{ "10.137.0.8", NULL, "192.168.1.5", "192.168.1.1" },
	{ "10.137.0.5", "fd09:24ef:4179::a89:5", NULL, "10.137.0.2" },
};

/* Variants: MTU (bits 0, 1); of the uplink also no IPv6 (4), no IPv4 (8),
 * moved (16); of a client moved (4). */
void wire_iface(uint16_t id, uint8_t variant, struct engine_iface *out)
{
	static const uint16_t mtu[] = { 1500, 1400, 1280, 9000 };

	memset(out, 0, sizeof(*out));
	out->kind = id == 0 ? IFACE_UPLINK : IFACE_CLIENT;
	memcpy(out->mac, "\x00\x16\x3e\x5e\x6c", 5);
	out->mac[5] = (uint8_t)id;
	out->mtu = mtu[variant & 3];
	out->ip4 = wire_addr(place[id].ip4);
	out->ip6 = wire_addr(place[id].ip6);
	out->gateway4 = wire_addr(place[id].gateway4);
	out->visible4 = wire_addr(place[id].visible4);
	if (place[id].ip6)
		out->gateway6 = wire_addr(id ? "fd09:24ef:4179::a89:2" : "fd09:24ef:4179::a89:1");
	if (id != 0 && (variant & 4)) {
		out->ip4.bytes[3] += 100;
		out->ip6.bytes[15] += 0x50;
	}
	if (id == 0 && (variant & 4))
		out->ip6 = out->gateway6 = (struct addr){ 0 };
	if (id == 0 && (variant & 8))
		out->ip4 = out->gateway4 = (struct addr){ 0 };
	if (id == 0 && (variant & 16) && out->ip4.family)
		out->ip4.bytes[3] = 200;
}

struct addr wire_source(size_t id)
{
	static const char *const text[WIRE_SOURCES] = {
		"10.137.0.5", "fd09:24ef:4179::a89:5", "10.137.0.6",
		"fd09:24ef:4179::a89:6", "10.137.0.7", "10.137.0.8" };

	return wire_addr(text[id]);
}

const struct addr wire_rule_dns[2] = {
	{ 4, { 10, 139, 1, 1 } },
	{ 4, { 10, 139, 1, 2 } },
};

/* --- rules ------------------------------------------------------------------------ */

#define NET4(a, b, c, d, n) .has_dst = true, .dst = { 4, { a, b, c, d } }, .plen = n
#define NET6(n)	    .has_dst = true, .dst = { 6, { 0x20, 0x01, 0x0d, 0xb8 } }, .plen = n
#define ANY_TYPE .type = -1

static const struct m_policy policy4[WIRE_POLICIES] = {
	{ .accept = true },
	{ .accept = true },
	{ .accept = true, .count = 1, .rule = { { ANY_TYPE, .proto = 17 } } },
	{ .accept = false },
	{ .none = true },
	{ .malformed = true },
	{ .count = 3, .rule = { { ANY_TYPE, .accept = true, .proto = 6 },
				{ ANY_TYPE, .accept = true, .dns = true },
				{ .accept = true, .proto = 1, .type = 8 } } },
	{ .accept = true, .count = 2,
	  .rule = { { ANY_TYPE, .proto = 6, .has_ports = true, .low = 80, .high = 443 },
		    { ANY_TYPE, NET4(203, 0, 113, 0, 24) } } },
	{ .count = 2, .rule = { { ANY_TYPE, .accept = true, NET4(192, 0, 2, 0, 24) },
				{ ANY_TYPE, .accept = true, .has_ports = true, .low = 1,
				  .high = 1023 } } },
	{ .accept = true, .count = 1, .rule = { { .proto = 1, .type = 8 } } },
	{ .count = 1, .rule = { { ANY_TYPE, .accept = true, .proto = 17 } } },
	{ .accept = true, .count = 2,
	  .rule = { { ANY_TYPE, .accept = true, .dns = true, .proto = 17 },
		    { ANY_TYPE, NET4(10, 139, 1, 0, 30) } } },
};

static const struct m_policy policy6[WIRE_POLICIES] = {
	{ .accept = true },
	{ .accept = true },
	{ .accept = true, .count = 1, .rule = { { ANY_TYPE, .proto = 17 } } },
	{ .accept = false },
	{ .none = true },
	{ .malformed = true },
	{ .count = 2, .rule = { { ANY_TYPE, .accept = true, .proto = 6 },
				{ .accept = true, .proto = 1, .type = 128 } } },
	{ .accept = true, .count = 1,
	  .rule = { { ANY_TYPE, .proto = 6, .has_ports = true, .low = 80, .high = 443 } } },
	{ .count = 1, .rule = { { ANY_TYPE, .accept = true, NET6(48) } } },
	{ .accept = true, .count = 1, .rule = { { .proto = 1, .type = 128 } } },
	{ .count = 1, .rule = { { ANY_TYPE, .accept = true, .proto = 17 } } },
	{ .accept = true, .count = 1, .rule = { { ANY_TYPE, NET6(63) } } },
};

const struct m_policy *wire_policy(size_t index, uint8_t family)
{
	return family == 4 ? &policy4[index] : &policy6[index];
}

/* The text of a rule, as dom0 would write it. */
static void rule_text(const struct m_rule *r, char *out, size_t size)
{
	static const char *const protos[] = { [1] = "icmp", [6] = "tcp", [17] = "udp" };
	char a[ADDR_STRLEN];
	size_t n = (size_t)snprintf(out, size, "action=%s", r->accept ? "accept" : "drop");

	if (r->has_dst)
		n += (size_t)snprintf(out + n, size - n, " dst%u=%s/%u", r->dst.family,
				      addr_format(&r->dst, a), r->plen);
	if (r->proto)
		n += (size_t)snprintf(out + n, size - n, " proto=%s", protos[r->proto]);
	if (r->dns)
		n += (size_t)snprintf(out + n, size - n, " specialtarget=dns");
	if (r->has_ports)
		n += (size_t)snprintf(out + n, size - n, " dstports=%u-%u", r->low, r->high);
	if (r->type >= 0)
		snprintf(out + n, size - n, " icmptype=%d", r->type);
}

struct policy *wire_compile(const struct m_policy *p, uint8_t family)
{
	struct rule_pair pairs[M_RULES + 1] = { { "policy", p->accept ? "accept" : "drop",
						  p->accept ? 6 : 4 } };
	static const char *const keys[] = { "0000", "0001", "0002", "0003", "0004", "0005" };
	char text[M_RULES][160];
	struct policy_env env = { .dns = wire_rule_dns, .dns_count = 2 };
	struct ruleset *rs;
	struct policy *out;

	if (p->none)
		return NULL;
	if (p->malformed) {
		if (policy_malformed(&out) != 0)
			abort();
		return out;
	}
	for (size_t i = 0; i < p->count; i++) {
		rule_text(&p->rule[i], text[i], sizeof(text[i]));
		pairs[i + 1] = (struct rule_pair){ keys[i], text[i], strlen(text[i]) };
	}
	if (ruleset_parse(&rs, family, pairs, p->count + 1, NULL) != 0 ||
	    policy_compile(&out, rs, &env) != 0)
		abort();
	ruleset_free(&rs);
	return out;
}

/* --- surroundings ------------------------------------------------------------------- */

void wire_dns(const struct step *s, struct engine_dns out[ENGINE_DNS_MAX])
{
	uint8_t last[2] = { s->a, s->b };

	for (size_t i = 0; i < 2; i++) {
		out[i].virt = wire_rule_dns[i];
		out[i].real = (struct addr){ 0 };
		if (last[i])
			out[i].real = (struct addr){ 4, { 9, 9, (uint8_t)i, last[i] } };
	}
}

size_t wire_connected(const struct step *s, struct addr *out)
{
	out[0] = wire_addr("10.137.0.99");
	out[1] = wire_addr("fd09:24ef:4179::a89:99");
	return s->a % 3;
}
