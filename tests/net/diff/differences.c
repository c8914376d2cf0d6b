// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The differences that are meant. doc/differences.md has the same names in the
 * same order, with what each side does and why; diff.sh holds the two against each
 * other. An entry that no packet needs is reported: a list like this must not
 * grow by itself.
 */
#include "tests/net/diff/diff.h"

#include <stdio.h>

#define BIT(o) (1u << (o))
#define NONE BIT(O_NONE)
#define FORWARDED BIT(O_FORWARDED)
#define ERROR BIT(O_ERROR)
#define ANSWER BIT(O_ANSWER)
#define FROM_UPLINK 1
#define FROM_CLIENT 2

/* The agent's chain comes before "ct state invalid drop": what is no start of a flow
 * is rejected where the policy says drop. */
static bool is_admin(const struct pk *k, const struct verdict v[SIDES])
{
	const struct verdict *e = &v[KERNEL];

	return k->family == 4 ? e->type == 3 && e->code == 13 : e->type == 1 && e->code == 1;
}

static bool is_invalid_to_dns(const struct pk *k, const struct verdict v[SIDES])
{
	uint8_t a[16], b[16];

	addr_of(a, 4, DNS_VIRTUAL);
	addr_of(b, 4, DNS_VIRTUAL2);
	return config.dns && is_admin(k, v) && k->proto == P_TCP &&
	       (k->flags & (F_SYN | F_ACK)) != F_SYN && k->dport == 53 &&
	       (memcmp(k->dst, a, 4) == 0 || memcmp(k->dst, b, 4) == 0);
}

static bool is_too_big(const struct pk *k, const struct verdict v[SIDES])
{
	const struct verdict *e = &v[KERNEL];

	return k->family == 4 ? e->type == 3 && e->code == 4 : e->type == 2;
}

static bool is_time_exceeded(const struct pk *k, const struct verdict v[SIDES])
{
	return v[KERNEL].code == 0 && v[KERNEL].type == (k->family == 4 ? 11 : 3);
}

static bool is_quench_or_query(const struct pk *k, const struct verdict v[SIDES])
{
	(void)v;
	return !(k->traits & T_ERROR) || (k->family == 4 && k->type == 4);
}

static bool is_tcp(const struct pk *k, const struct verdict v[SIDES])
{
	(void)v;
	return k->proto == P_TCP;
}

static bool is_rst(const struct pk *k, const struct verdict v[SIDES])
{
	(void)v;
	return k->proto == P_TCP && (k->flags & F_RST);
}

static bool has_no_data(const struct pk *k, const struct verdict v[SIDES])
{
	(void)v;
	return k->proto == P_TCP && k->len == 0 && !(k->flags & (F_SYN | F_FIN | F_RST));
}

static bool has_data(const struct pk *k, const struct verdict v[SIDES])
{
	return !has_no_data(k, v);
}

static bool has_df(const struct pk *k, const struct verdict v[SIDES])
{
	return (k->frag & 0x4000) && v[RINGFENCE].type == 3 && v[RINGFENCE].code == 4;
}

static bool is_quoted_tcp(const struct pk *k, const struct verdict v[SIDES])
{
	const uint8_t *quoted = k->data[KERNEL];

	(void)v;
	return quoted && quoted[k->family == 4 ? 9 : 6] == P_TCP;
}

static bool is_port_68(const struct pk *k, const struct verdict v[SIDES])
{
	(void)v;
	return k->proto == P_UDP && k->dport == 68;
}

static const struct difference table[] = {
	{"bad-checksum", .traits = T_BAD_SUM, .kernel = NONE, .ringfence = FORWARDED | ERROR},
	{"ttl-before-policy", .traits = T_TTL, .kernel = ERROR, .ringfence = NONE | ERROR,
	 .also = is_time_exceeded},
	{"mtu-before-policy", .traits = T_BIG, .from = FROM_CLIENT, .kernel = ERROR,
	 .ringfence = NONE | ERROR, .also = is_too_big},
	{"source-mac", .traits = T_MAC, .from = FROM_CLIENT, .kernel = FORWARDED | ERROR,
	 .ringfence = NONE},
	{"ip-options", .traits = T_OPTIONS, .family = 4, .kernel = FORWARDED | ERROR,
	 .ringfence = NONE},
	{"icmp-types", .traits = T_ICMP_OTHER, .kernel = FORWARDED | ERROR | ANSWER,
	 .ringfence = NONE, .also = is_quench_or_query},
	{"malformed-rejected", .traits = T_LENGTH, .from = FROM_CLIENT, .kernel = ERROR,
	 .ringfence = NONE, .also = is_admin},
	{"no-start-rejected", .traits = T_ODD_FLAGS, .from = FROM_CLIENT, .kernel = ERROR,
	 .ringfence = NONE, .also = is_admin},
	{"dns-invalid-rejected", .family = 4, .from = FROM_CLIENT, .kernel = ERROR,
	 .ringfence = NONE | FORWARDED, .rare = true, .also = is_invalid_to_dns},
	{"inter-client-rejected", .traits = T_INTER_CLIENT, .from = FROM_CLIENT, .kernel = ERROR,
	 .ringfence = NONE, .also = is_admin},
	{"martian", .traits = T_MARTIAN, .from = FROM_CLIENT, .kernel = FORWARDED | ERROR,
	 .ringfence = NONE},
	{"transit", .traits = T_UNSOLICITED | T_MARTIAN, .from = FROM_UPLINK, .kernel = ANSWER,
	 .ringfence = NONE},
	{"echo-from-uplink", .traits = T_UNSOLICITED, .family = 6, .from = FROM_UPLINK,
	 .kernel = ANSWER, .ringfence = NONE},
	{"multicast-echo", .traits = T_MARTIAN, .family = 6, .from = FROM_CLIENT, .kernel = ANSWER,
	 .ringfence = NONE},
	{"udp6-port-68", .traits = T_TO_FIREWALL, .family = 6, .from = FROM_CLIENT, .kernel = ERROR,
	 .ringfence = NONE, .also = is_port_68},
	{"udp6-zero-checksum", .traits = T_ZERO_SUM6, .family = 6, .kernel = FORWARDED | ERROR,
	 .ringfence = NONE},
	{"ported-protocols", .traits = T_PORTED, .kernel = NONE | FORWARDED | ERROR,
	 .ringfence = FORWARDED | ERROR},
	{"unknown-protocol-rejected", .traits = T_PROTO, .from = FROM_CLIENT, .kernel = NONE,
	 .ringfence = ERROR},
	{"ext-headers", .traits = T_EXT_BAD, .family = 6, .kernel = FORWARDED | ERROR,
	 .ringfence = NONE},
	{"ext-opaque", .traits = T_EXT_OTHER, .family = 6, .kernel = NONE | FORWARDED | ERROR,
	 .ringfence = FORWARDED | ERROR},
	{"overlap", .traits = T_OVERLAP, .kernel = FORWARDED | ERROR, .ringfence = NONE},
	{"tiny-fragment", .traits = T_FRAGMENT | T_TINY, .kernel = FORWARDED | ERROR,
	 .ringfence = NONE},
	{"pieces-beyond-mtu", .traits = T_FRAGMENT | T_BIG, .family = 4, .kernel = FORWARDED,
	 .ringfence = ERROR, .also = has_df},
	{"quoted-sequence", .traits = T_ERROR | T_QUOTE_BAD, .kernel = FORWARDED, .ringfence = NONE,
	 .also = is_quoted_tcp},
	{"before-the-answer", .traits = T_SYN_SENT, .kernel = NONE, .ringfence = FORWARDED,
	 .also = is_tcp},
	{"rst-without-ack", .traits = T_SYN_SENT, .kernel = FORWARDED, .ringfence = NONE,
	 .also = is_rst},
	{"syn-in-connection", .traits = T_SYN_LATER, .kernel = NONE, .ringfence = FORWARDED},
	{"rst-inexact", .traits = T_RST_INEXACT, .kernel = NONE, .ringfence = FORWARDED,
	 .rare = true},
	{"rst-outside", .traits = T_RST_INEXACT, .kernel = FORWARDED, .ringfence = NONE},
	{"old-segment", .traits = T_OUT_OF_WINDOW, .kernel = FORWARDED, .ringfence = NONE,
	 .also = has_data},
	{"ack-outside", .traits = T_OUT_OF_WINDOW, .kernel = NONE, .ringfence = FORWARDED,
	 .also = has_no_data},
	{"simultaneous-open", .traits = T_SIMULTANEOUS, .kernel = NONE, .ringfence = FORWARDED,
	 .rare = true, .also = is_tcp},
	{"own-header", .fields = FIELD_OWN_HEADER},
	{"dns-error-source", .fields = FIELD_SOURCE},
	{"quote-length", .fields = FIELD_QUOTE_LENGTH},
	{"quote-ttl", .fields = FIELD_QUOTE_TTL},
	{"quote-atomic", .fields = FIELD_ATOMIC},
	{"mss-clamp", .fields = FIELD_MSS},
	{"ports-rewritten", .fields = FIELD_PROTO},
	{"pieces", .fields = FIELD_PIECES},
	{"df-of-pieces", .fields = FIELD_DF},
};

#define COUNT (sizeof(table) / sizeof(table[0]))

static uint64_t met[COUNT];

static bool fits(const struct difference *d, const struct pk *k, const struct verdict v[SIDES])
{
	if (d->fields || (k->traits & d->traits) != d->traits)
		return false;
	if (d->family && d->family != k->family)
		return false;
	if (d->from && !(d->from & (k->at == UPLINK ? FROM_UPLINK : FROM_CLIENT)))
		return false;
	if (!(d->kernel & BIT(v[KERNEL].outcome)) || !(d->ringfence & BIT(v[RINGFENCE].outcome)))
		return false;
	return d->also == NULL || d->also(k, v);
}

const struct difference *difference_find(const struct pk *k, const struct verdict v[SIDES])
{
	for (size_t i = 0; i < COUNT; i++) {
		if (!fits(&table[i], k, v))
			continue;
		met[i]++;
		return &table[i];
	}
	return NULL;
}

const struct difference *difference_field(enum field f)
{
	for (size_t i = 0; i < COUNT; i++) {
		if (table[i].fields != (uint32_t)f)
			continue;
		met[i]++;
		return &table[i];
	}
	return NULL;
}

void differences_list(void)
{
	for (size_t i = 0; i < COUNT; i++)
		printf("%s\n", table[i].name);
}

void differences_report(void)
{
	for (size_t i = 0; i < COUNT; i++)
		printf("# difference %-26s %llu times%s\n", table[i].name,
		       (unsigned long long)met[i], table[i].rare ? ", rare" : "");
}
