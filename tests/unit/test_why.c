/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Why a rule does not match, word by word. That there is a reason exactly when the rule
 * does not match is in test_rules_model.c.
 */
#include "check.h"
#include "rules/names.h"
#include "rules/why.h"

#include <stdlib.h>

static struct names *names;
static struct addr dns[2];

/* What the client was told of a name: nothing but of these. */
static size_t further(void *arg, const char *name, const uint8_t *dst, bool *found)
{
	static const uint8_t told[4] = {7, 7, 7, 7};

	(void)arg;
	if (strcmp(name, "web.test") != 0 && strcmp(name, "un.test") != 0)
		return 0;
	*found = memcmp(dst, told, sizeof(told)) == 0;
	return 2;
}

/* part.test has more addresses than are told. */
static enum name_state look(void *arg, const char *name, const struct addr **addrs, size_t *count)
{
	enum name_state state = names_lookup(arg, name, addrs, count);

	return strcmp(name, "part.test") == 0 ? NAME_PARTIAL : state;
}

struct row {
	uint8_t family;
	const char *rule;
	uint8_t proto;
	const char *dst;
	uint16_t number;
	const char *reason; /* "": it matches */
};

static const struct row rows[] = {
    {4, "action=accept", 47, "1.2.3.4", 0, ""},
    {4, "action=accept proto=udp", 6, "1.2.3.4", 80, "proto=udp: packet is tcp"},
    {4, "proto=tcp action=accept", 17, "1.2.3.4", 80, "proto=tcp: packet is udp"},
    {4, "action=drop proto=tcp", 1, "1.2.3.4", 8, "proto=tcp: packet is icmp"},
    {4, "action=drop proto=icmp", 47, "1.2.3.4", 0, "proto=icmp: packet is protocol 47"},
    {4, "action=drop proto=icmp", 58, "1.2.3.4", 0, "proto=icmp: packet is protocol 58"},
    {6, "action=drop proto=icmp", 58, "fd00::1", 128, ""},
    {4, "action=accept dstports=80-90", 6, "1.2.3.4", 91, "dstports=80-90: port is 91"},
    {4, "action=accept dstports=80", 17, "1.2.3.4", 79, "dstports=80: port is 79"},
    {4, "action=accept dstports=80", 17, "1.2.3.4", 80, ""},
    {4, "action=accept dstports=80", 1, "1.2.3.4", 8, "dstports=80: packet is icmp"},
    {4, "action=accept proto=icmp icmptype=8", 1, "1.2.3.4", 0, "icmptype=8: type is 0"},
    {4, "action=accept dst4=1.2.0.0/015", 6, "1.4.0.0", 1, "dst4=1.2.0.0/015: 1.4.0.0 is outside"},
    {4, "action=accept dst4=1.2.0.0/015", 6, "1.3.255.255", 1, ""},
    {4, "action=accept dst4=1.2.3.4/32", 6, "1.2.3.5", 1, "dst4=1.2.3.4/32: 1.2.3.5 is outside"},
    {4, "action=accept dst4=1.2.3.4/0", 6, "9.9.9.9", 1, ""},
    {6, "action=accept dst6=2001:DB8::/32", 6, "2001:db9::1", 1,
     "dst6=2001:DB8::/32: 2001:db9::1 is outside"},
    {4, "action=accept specialtarget=dns", 17, "10.139.1.1", 53, ""},
    {4, "action=accept specialtarget=dns", 17, "10.139.1.1", 54, "specialtarget=dns: port is 54"},
    {4, "action=accept specialtarget=dns", 1, "10.139.1.1", 8, "specialtarget=dns: packet is icmp"},
    {4, "action=accept specialtarget=dns", 17, "10.139.1.3", 53,
     "specialtarget=dns: 10.139.1.3 is none of the 2 DNS servers"},
    {6, "action=accept specialtarget=dns", 17, "fd00::1", 53,
     "specialtarget=dns: fd00::1 is none of the 0 DNS servers"},
    {4, "action=accept specialtarget=dns dstports=53-54", 17, "10.139.1.1", 53,
     "specialtarget=dns: never, with ports other than 53"},
    {4, "action=accept specialtarget=dns dst4=10.139.1.2", 17, "10.139.1.1", 53,
     "dst4=10.139.1.2: 10.139.1.1 is outside"},
    {4, "action=accept dsthost=web.test", 6, "1.2.3.4", 80, ""},
    {4, "action=accept dsthost=web.test", 6, "7.7.7.7", 80, ""},
    {4, "action=accept dsthost=web.test", 6, "1.2.3.6", 80,
     "dsthost=web.test: 1.2.3.6 is none of its 2 addresses, nor of 2 that were learned"},
    {4, "action=accept dsthost=web.test specialtarget=dns", 17, "10.139.1.1", 53,
     "dsthost=web.test: 10.139.1.1 is none of its 2 addresses"},
    {6, "action=accept dsthost=other.test", 6, "fd00::2", 80,
     "dsthost=other.test: fd00::2 is none of its 1 addresses"},
    {4, "action=accept dsthost=other.test", 6, "1.2.3.4", 80,
     "dsthost=other.test: 1.2.3.4 is none of its 0 addresses"},
    {4, "action=accept dsthost=nosuch.test", 6, "1.2.3.4", 80,
     "dsthost=nosuch.test: does not resolve"},
    {4, "action=drop dsthost=nosuch.test", 6, "1.2.3.4", 80, ""},
    {4, "action=accept dsthost=part.test", 6, "1.2.3.4", 80, ""},
    {4, "action=accept dsthost=part.test", 6, "1.2.3.5", 80,
     "dsthost=part.test: 1.2.3.5 is none of its 1 addresses"},
    {4, "action=drop dsthost=part.test", 6, "1.2.3.5", 80, ""},
    {4, "action=accept dsthost=un.test", 6, "7.7.7.7", 80, ""},
    {4, "action=accept dsthost=un.test", 6, "1.2.3.4", 80,
     "dsthost=un.test: does not resolve, and 1.2.3.4 is none of 2 that were learned"},
    {4, "action=accept dsthost=a..b", 6, "1.2.3.4", 80, "dsthost=a..b: does not resolve"},
};

static const struct policy_env env = {
    .dns = dns, .dns_count = 2, .lookup = look, .lookup_arg = NULL};

/* The reason for the one rule, as it is given with these surroundings. */
static void check_rule(const struct row *row, const struct why *base, const char *want)
{
	struct rule_pair pairs[] = {{"policy", "drop", 4}, {"0007", row->rule, strlen(row->rule)}};
	struct ruleset *rs = NULL;
	struct rule_packet pkt = {
	    .proto = row->proto, .dport = row->number, .icmp_type = (uint8_t)row->number};
	struct why w = *base;
	char text[WHY_MAX];
	struct addr dst;

	test_case(row->rule);
	if (!CHECK(ruleset_parse(&rs, row->family, pairs, 2, NULL) == 0) ||
	    !CHECK(addr_parse(row->dst, strlen(row->dst), &dst) == 0))
		return;
	pkt.dst = dst.bytes;
	w.rules = rs;
	CHECK_INT(why_not(&w, 0, &pkt, text), want[0] != '\0');
	CHECK_STR(text, want);
	CHECK_STR(ruleset_value(rs, 0), row->rule);
	CHECK_STR(ruleset_value(rs, RULE_INDEX_POLICY), "drop");
	CHECK(ruleset_value(rs, 1) == NULL && ruleset_value(rs, RULE_INDEX_NONE) == NULL);
	CHECK((ruleset_host(rs, 0) != NULL) == (strstr(row->rule, "dsthost=") != NULL));
	CHECK(ruleset_host(rs, 1) == NULL && ruleset_host(rs, RULE_INDEX_POLICY) == NULL);
	ruleset_free(&rs);
}

static void test_long_name(const struct why *w)
{
	char rule[600] = "action=accept dsthost=";
	struct row row = {4, rule, 6, "1.2.3.4", 80, NULL};
	struct policy_env none = {.dns = NULL};
	struct why alone = {.env = &none};

	memset(rule + strlen(rule), 'a', 500);
	check_rule(&row, w,
		   "dsthost=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...: does not resolve");
	row.rule = "action=accept dsthost=web.test";
	check_rule(&row, &alone, "dsthost=web.test: does not resolve");
}

int main(void)
{
	struct policy_env with_names = env;
	struct why w = {.env = &with_names, .further = further};

	test_case("names");
	CHECK(names_new(&names) == 0);
	CHECK(names_add(names, "web.test=1.2.3.4,1.2.3.5,fd00::1") == 0);
	CHECK(names_add(names, "other.test=fd00::1") == 0);
	CHECK(names_add(names, "part.test=1.2.3.4") == 0);
	CHECK(names_add(names, "a..b=1.2.3.4") == 0);
	CHECK(addr_parse("10.139.1.1", 10, &dns[0]) == 0);
	CHECK(addr_parse("10.139.1.2", 10, &dns[1]) == 0);
	with_names.lookup_arg = names;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		check_rule(&rows[i], &w, rows[i].reason);
	test_long_name(&w);
	names_free(&names);
	return test_end();
}
