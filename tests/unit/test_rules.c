/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rules/: the grammar row by row, subtrees, compiling, matching (R1-R4).
 *
 * A grammar row is a rule value with what policy_print() says of it, or with
 * the problem that makes the source malformed.
 */
#include "check.h"
#include "rules/names.h"
#include "rules/rules.h"

#include <errno.h>
#include <stdlib.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct row {
	uint8_t family;
	const char *value;
	const char *print;   /* without key; NULL: malformed */
	const char *problem; /* exact text */
};

static const struct row rows[] = {
    /* action */
    {4, "action=accept", "accept", NULL},
    {4, "action=drop", "drop", NULL},
    {6, "action=accept", "accept", NULL},
    {4, "action=reject", NULL, "action: \"reject\" is neither accept nor drop"},
    {4, "action=Accept", NULL, "action: \"Accept\" is neither accept nor drop"},
    {4, "action=acceptx", NULL, "action: \"acceptx\" is neither accept nor drop"},
    {4, "action=", NULL, "action: has no value"},
    {4, "action", NULL, "\"action\" is not option=value"},
    {4, "Action=accept", NULL, "\"Action\" is not a known option"},
    {4, "proto=tcp", NULL, "action: missing"},
    {4, "action=accept action=drop", NULL, "action: given twice"},
    {4, "action=accept action=accept", NULL, "action: given twice"},
    {4, "action=accept=1", NULL, "action: \"accept=1\" has a second \"=\""},
    {4, "action==accept", NULL, "action: \"=accept\" has a second \"=\""},
    {4, "=accept", NULL, "\"\" is not a known option"},
    {4, "=", NULL, "\"\" is not a known option"},
    /* any order */
    {4, "proto=tcp action=accept", "accept proto tcp", NULL},
    {4, "dstports=80-80 proto=tcp dst4=1.2.3.4/32 action=drop",
     "drop to 1.2.3.4/32 proto tcp ports 80-80", NULL},
    {4, "icmptype=8 proto=icmp action=accept", "accept proto icmp type 8", NULL},
    /* spaces and bytes */
    {4, "", NULL, "empty rule"},
    {4, " ", NULL, "leading space"},
    {4, " action=accept", NULL, "leading space"},
    {4, "action=accept ", NULL, "trailing space"},
    {4, "action=accept  proto=tcp", NULL, "two spaces at offset 13"},
    {4, "action=accept\tproto=tcp", NULL, "byte \\x09 at offset 13"},
    {4, "action=accept\n", NULL, "byte \\x0a at offset 13"},
    {4, "action=accept\x7f", NULL, "byte \\x7f at offset 13"},
    {4, "action=accept\xc2\xa0proto=tcp", NULL, "byte \\xc2 at offset 13"},
    {4, "action=accept word", NULL, "\"word\" is not option=value"},
    /* dst4 */
    {4, "action=accept dst4=8.8.8.8", "accept to 8.8.8.8/32", NULL},
    {4, "action=accept dst4=8.8.8.8/32", "accept to 8.8.8.8/32", NULL},
    {4, "action=accept dst4=1.2.3.4/8", "accept to 1.0.0.0/8", NULL},
    {4, "action=accept dst4=255.255.255.255/1", "accept to 128.0.0.0/1", NULL},
    {4, "action=accept dst4=10.255.255.255/9", "accept to 10.128.0.0/9", NULL},
    {4, "action=accept dst4=1.2.3.255/31", "accept to 1.2.3.254/31", NULL},
    {4, "action=accept dst4=0.0.0.0/0", "accept", NULL},
    {4, "action=accept dst4=1.2.3.4/0", "accept", NULL},
    {4, "action=accept dst4=1.2.3.4/024", "accept to 1.2.3.0/24", NULL},
    {4, "action=accept dst4=1.2.3.4/08", "accept to 1.0.0.0/8", NULL},
    {4, "action=accept dst4=1.2.3.4/000", "accept", NULL},
    {4, "action=accept dst4=1.2.3.4/0024", NULL,
     "dst4: \"1.2.3.4/0024\" has no prefix length of 0 to 32"},
    {4, "action=accept dst4=1.2.3.4/33", NULL,
     "dst4: \"1.2.3.4/33\" has no prefix length of 0 to 32"},
    {4, "action=accept dst4=1.2.3.4/", NULL, "dst4: \"1.2.3.4/\" has no prefix length of 0 to 32"},
    {4, "action=accept dst4=1.2.3.4/-1", NULL,
     "dst4: \"1.2.3.4/-1\" has no prefix length of 0 to 32"},
    {4, "action=accept dst4=1.2.3.4/8/8", NULL,
     "dst4: \"1.2.3.4/8/8\" has no prefix length of 0 to 32"},
    {4, "action=accept dst4=1.2.3.4/255.255.255.0", NULL,
     "dst4: \"1.2.3.4/255.255.255.0\" has no prefix length of 0 to 32"},
    {4, "action=accept dst4=1.2.3", NULL, "dst4: \"1.2.3\" is not an IPv4 address"},
    {4, "action=accept dst4=1.2.3/24", NULL, "dst4: \"1.2.3/24\" is not an IPv4 address"},
    {4, "action=accept dst4=1.2.3.256", NULL, "dst4: \"1.2.3.256\" is not an IPv4 address"},
    {4, "action=accept dst4=01.2.3.4", NULL, "dst4: \"01.2.3.4\" is not an IPv4 address"},
    {4, "action=accept dst4=/24", NULL, "dst4: \"/24\" is not an IPv4 address"},
    {4, "action=accept dst4=", NULL, "dst4: has no value"},
    {4, "action=accept dst4=2001:db8::1", NULL, "dst4: \"2001:db8::1\" is not an IPv4 address"},
    {4, "action=accept dst4=::ffff:1.2.3.4", NULL,
     "dst4: \"::ffff:1.2.3.4\" is not an IPv4 address"},
    {4, "action=accept dst4=1.2.3.4-1.2.3.9", NULL,
     "dst4: \"1.2.3.4-1.2.3.9\" is not an IPv4 address"},
    {6, "action=accept dst4=1.2.3.4/32", NULL,
     "dst4: \"1.2.3.4/32\" in the rules of an IPv6 source"},
    {4, "action=accept dst4=1.1.1.1 dst4=1.1.1.1", NULL, "dst4: given twice"},
    /* dst6 */
    {6, "action=accept dst6=2001:db8::/32", "accept to 2001:db8::/32", NULL},
    {6, "action=accept dst6=2001:DB8:0:0::1/32", "accept to 2001:db8::/32", NULL},
    {6, "action=accept dst6=2001:0db8:0000:0000:0000:0000:0000:0001/128",
     "accept to 2001:db8::1/128", NULL},
    {6, "action=accept dst6=2001:db8::1", "accept to 2001:db8::1/128", NULL},
    {6, "action=accept dst6=::/0", "accept", NULL},
    {6, "action=accept dst6=ffff::/3", "accept to e000::/3", NULL},
    {6, "action=accept dst6=::1:ffff/127", "accept to ::1:fffe/127", NULL},
    {6, "action=accept dst6=::ffff:1.2.3.4/112", "accept to ::ffff:1.2.0.0/112", NULL},
    {6, "action=accept dst6=2001:db8::/032", "accept to 2001:db8::/32", NULL},
    {6, "action=accept dst6=2001:db8::/129", NULL,
     "dst6: \"2001:db8::/129\" has no prefix length of 0 to 128"},
    {6, "action=accept dst6=2001:db8::/", NULL,
     "dst6: \"2001:db8::/\" has no prefix length of 0 to 128"},
    {6, "action=accept dst6=2001:db8::/0032", NULL,
     "dst6: \"2001:db8::/0032\" has no prefix length of 0 to 128"},
    {6, "action=accept dst6=2001:db8", NULL, "dst6: \"2001:db8\" is not an IPv6 address"},
    {6, "action=accept dst6=1.2.3.4", NULL, "dst6: \"1.2.3.4\" is not an IPv6 address"},
    {6, "action=accept dst6=fe80::1%eth0", NULL, "dst6: \"fe80::1%eth0\" is not an IPv6 address"},
    {4, "action=accept dst6=2000::/3", NULL, "dst6: \"2000::/3\" in the rules of an IPv4 source"},
    /* dsthost; example.com is two addresses of each family here, one.test one */
    {4, "action=accept dsthost=example.com", "accept to 93.184.216.34 93.184.216.35", NULL},
    {6, "action=accept dsthost=example.com", "accept to 2606:2800::1 2606:2800::2", NULL},
    {4, "action=accept dsthost=one.test", "accept to 192.0.2.7/32", NULL},
    {6, "action=accept dsthost=one.test", "accept never", NULL},
    {6, "action=drop dsthost=one.test", "drop never", NULL},
    {4, "action=accept dsthost=nothing.test", "accept never", NULL},
    {4, "action=drop dsthost=nothing.test", "drop never", NULL},
    {4, "action=accept dsthost=un.test", "accept never (its name does not resolve)", NULL},
    {4, "action=drop dsthost=un.test", "drop (its name does not resolve)", NULL},
    {4, "action=drop dsthost=un.test proto=udp dstports=1-2",
     "drop proto udp ports 1-2 (its name does not resolve)", NULL},
    {4, "action=accept dsthost=part.test", "accept to 10.139.1.2 192.0.2.8", NULL},
    {6, "action=accept dsthost=part.test", "accept never", NULL},
    {4, "action=drop dsthost=part.test proto=udp",
     "drop proto udp (its name has too many addresses)", NULL},
    {4, "action=accept dsthost=.", "accept never (its name does not resolve)", NULL},
    {4, "action=drop dsthost=a..b", "drop (its name does not resolve)", NULL},
    {4, "action=accept dsthost=_x-1.Y", NULL,
     "dsthost: \"_x-1.Y\" has a character other than a-z 0-9 - . _"},
    {4, "action=accept dsthost=1.2.3.0/24", NULL,
     "dsthost: \"1.2.3.0/24\" has a character other than a-z 0-9 - . _"},
    {4, "action=accept dsthost=a:b", NULL,
     "dsthost: \"a:b\" has a character other than a-z 0-9 - . _"},
    {4, "action=accept dsthost=", NULL, "dsthost: has no value"},
    {4, "action=accept dsthost=a=b", NULL, "dsthost: \"a=b\" has a second \"=\""},
    {4, "action=accept dsthost=a dsthost=b", NULL, "dsthost: given twice"},
    {4, "action=accept dst4=1.2.3.4/32 dsthost=a", NULL, "dsthost: a second destination"},
    {4, "action=accept dsthost=a dst4=1.2.3.4/32", NULL, "dst4: a second destination"},
    {6, "action=accept dst6=::1 dsthost=a", NULL, "dsthost: a second destination"},
    {4, "action=accept dst4=1.2.3.4 dst6=::1", NULL, "dst6: a second destination"},
    /* proto */
    {4, "action=accept proto=tcp", "accept proto tcp", NULL},
    {4, "action=accept proto=udp", "accept proto udp", NULL},
    {4, "action=accept proto=icmp", "accept proto icmp", NULL},
    {6, "action=accept proto=icmp", "accept proto icmp", NULL},
    {4, "action=accept proto=sctp", NULL, "proto: \"sctp\" is not tcp, udp or icmp"},
    {4, "action=accept proto=TCP", NULL, "proto: \"TCP\" is not tcp, udp or icmp"},
    {6, "action=accept proto=icmpv6", NULL, "proto: \"icmpv6\" is not tcp, udp or icmp"},
    {4, "action=accept proto=6", NULL, "proto: \"6\" is not tcp, udp or icmp"},
    {4, "action=accept proto=", NULL, "proto: has no value"},
    {4, "action=accept proto=tcp proto=tcp", NULL, "proto: given twice"},
    /* dstports */
    {4, "action=accept proto=tcp dstports=80-80", "accept proto tcp ports 80-80", NULL},
    {4, "action=accept proto=tcp dstports=443", "accept proto tcp ports 443-443", NULL},
    {4, "action=accept proto=udp dstports=0-65535", "accept proto udp", NULL},
    {4, "action=accept proto=udp dstports=0", "accept proto udp ports 0-0", NULL},
    {4, "action=accept proto=udp dstports=65535", "accept proto udp ports 65535-65535", NULL},
    {4, "action=accept dstports=443-444", "accept proto tcp udp ports 443-444", NULL},
    {4, "action=accept dstports=0-65535", "accept proto tcp udp", NULL},
    {4, "action=accept dstports=90-80", NULL, "dstports: \"90-80\" is reversed"},
    {4, "action=accept dstports=70000-70001", NULL,
     "dstports: \"70000-70001\" is not a port or N-M of 0 to 65535"},
    {4, "action=accept dstports=0-65536", NULL,
     "dstports: \"0-65536\" is not a port or N-M of 0 to 65535"},
    {4, "action=accept dstports=65536", NULL,
     "dstports: \"65536\" is not a port or N-M of 0 to 65535"},
    {4, "action=accept dstports=99999999999999999999", NULL,
     "dstports: \"99999999999999999999\" is not a port or N-M of 0 to 65535"},
    {4, "action=accept dstports=080-80", NULL,
     "dstports: \"080-80\" is not a port or N-M of 0 to 65535"},
    {4, "action=accept dstports=80-080", NULL,
     "dstports: \"80-080\" is not a port or N-M of 0 to 65535"},
    {4, "action=accept dstports=00", NULL, "dstports: \"00\" is not a port or N-M of 0 to 65535"},
    {4, "action=accept dstports=80-", NULL, "dstports: \"80-\" is not a port or N-M of 0 to 65535"},
    {4, "action=accept dstports=-80", NULL, "dstports: \"-80\" is not a port or N-M of 0 to 65535"},
    {4, "action=accept dstports=-", NULL, "dstports: \"-\" is not a port or N-M of 0 to 65535"},
    {4, "action=accept dstports=1-2-3", NULL,
     "dstports: \"1-2-3\" is not a port or N-M of 0 to 65535"},
    {4, "action=accept dstports=80,443", NULL,
     "dstports: \"80,443\" is not a port or N-M of 0 to 65535"},
    {4, "action=accept dstports=+80", NULL, "dstports: \"+80\" is not a port or N-M of 0 to 65535"},
    {4, "action=accept dstports=0x50", NULL,
     "dstports: \"0x50\" is not a port or N-M of 0 to 65535"},
    {4, "action=accept dstports=http", NULL,
     "dstports: \"http\" is not a port or N-M of 0 to 65535"},
    {4, "action=accept proto=icmp dstports=80", NULL, "dstports: with proto=icmp"},
    {4, "dstports=80 proto=icmp action=accept", NULL, "dstports: with proto=icmp"},
    {4, "action=accept dstports=1 dstports=1", NULL, "dstports: given twice"},
    /* icmptype */
    {4, "action=accept proto=icmp icmptype=0", "accept proto icmp type 0", NULL},
    {6, "action=accept proto=icmp icmptype=255", "accept proto icmp type 255", NULL},
    {4, "action=accept proto=icmp icmptype=256", NULL,
     "icmptype: \"256\" is not a number of 0 to 255"},
    {4, "action=accept proto=icmp icmptype=08", NULL,
     "icmptype: \"08\" is not a number of 0 to 255"},
    {4, "action=accept proto=icmp icmptype=8/0", NULL,
     "icmptype: \"8/0\" is not a number of 0 to 255"},
    {4, "action=accept proto=icmp icmptype=echo-request", NULL,
     "icmptype: \"echo-request\" is not a number of 0 to 255"},
    {4, "action=accept proto=icmp icmptype=", NULL, "icmptype: has no value"},
    {4, "action=accept icmptype=8", NULL, "icmptype: without proto=icmp"},
    {4, "action=accept proto=tcp icmptype=8", NULL, "icmptype: with proto=tcp"},
    {4, "action=accept proto=udp icmptype=8", NULL, "icmptype: with proto=udp"},
    {4, "action=accept dstports=1 icmptype=8", NULL, "icmptype: without proto=icmp"},
    /* specialtarget; DNS servers: 10.139.1.1, 10.139.1.2 and fd00::53 */
    {4, "action=accept specialtarget=dns",
     "accept to 10.139.1.1 10.139.1.2 proto tcp udp ports 53-53", NULL},
    {6, "action=accept specialtarget=dns", "accept to fd00::53/128 proto tcp udp ports 53-53",
     NULL},
    {4, "action=drop proto=udp specialtarget=dns",
     "drop to 10.139.1.1 10.139.1.2 proto udp ports 53-53", NULL},
    {4, "action=accept specialtarget=dns dstports=53-53",
     "accept to 10.139.1.1 10.139.1.2 proto tcp udp ports 53-53", NULL},
    {4, "action=accept specialtarget=dns dstports=53",
     "accept to 10.139.1.1 10.139.1.2 proto tcp udp ports 53-53", NULL},
    {4, "action=accept specialtarget=dns dstports=53-54", "accept never", NULL},
    {4, "action=drop specialtarget=dns dstports=0-65535", "drop never", NULL},
    {4, "dstports=80-80 action=accept proto=tcp specialtarget=dns", "accept never", NULL},
    {4, "action=accept dst4=10.139.1.1/32 specialtarget=dns",
     "accept to 10.139.1.1/32 proto tcp udp ports 53-53", NULL},
    {4, "action=accept dst4=10.139.1.3/30 specialtarget=dns",
     "accept to 10.139.1.1 10.139.1.2 proto tcp udp ports 53-53", NULL},
    {4, "action=accept dst4=0.0.0.0/0 specialtarget=dns",
     "accept to 10.139.1.1 10.139.1.2 proto tcp udp ports 53-53", NULL},
    {4, "action=accept dst4=9.9.9.9 specialtarget=dns", "accept never", NULL},
    {4, "action=accept dsthost=dns.test specialtarget=dns",
     "accept to 10.139.1.2/32 proto tcp udp ports 53-53", NULL},
    {4, "action=accept dsthost=example.com specialtarget=dns", "accept never", NULL},
    {4, "action=accept dsthost=un.test specialtarget=dns",
     "accept never (its name does not resolve)", NULL},
    {4, "action=drop dsthost=un.test specialtarget=dns",
     "drop to 10.139.1.1 10.139.1.2 proto tcp udp ports 53-53 (its name does not resolve)", NULL},
    {4, "action=accept dsthost=part.test specialtarget=dns",
     "accept to 10.139.1.2/32 proto tcp udp ports 53-53", NULL},
    {4, "action=drop dsthost=part.test specialtarget=dns",
     "drop to 10.139.1.1 10.139.1.2 proto tcp udp ports 53-53 (its name has too many addresses)",
     NULL},
    {4, "action=drop dsthost=un.test specialtarget=dns dstports=80",
     "drop never (its name does not resolve)", NULL},
    {4, "action=accept specialtarget=other", NULL, "specialtarget: \"other\" is not dns"},
    {4, "action=accept specialtarget=DNS", NULL, "specialtarget: \"DNS\" is not dns"},
    {4, "action=accept specialtarget=", NULL, "specialtarget: has no value"},
    {4, "action=accept proto=icmp specialtarget=dns", NULL, "specialtarget: dns with proto=icmp"},
    {4, "specialtarget=dns action=accept proto=icmp", NULL, "specialtarget: dns with proto=icmp"},
    {4, "action=accept specialtarget=dns specialtarget=dns", NULL, "specialtarget: given twice"},
    /* never in QubesDB (R3) */
    {4, "action=accept expire=2000000000", NULL, "expire: never valid in QubesDB"},
    {4, "action=accept expire=", NULL, "expire: never valid in QubesDB"},
    {4, "action=accept comment=hello", NULL, "comment: never valid in QubesDB"},
    {4, "comment=a action=accept", NULL, "comment: never valid in QubesDB"},
    {4, "action=accept dpi=HTTP", NULL, "dpi: never valid in QubesDB"},
    {4, "action=accept dpi", NULL, "\"dpi\" is not option=value"},
    {4, "action=accept unknown=1", NULL, "\"unknown\" is not a known option"},
    {4, "action=accept \x22\\=1", NULL, "\"\\x22\\x5c\" is not a known option"},
    /* everything at once */
    {4, "action=accept dst4=1.2.3.0/24 proto=tcp dstports=80-90",
     "accept to 1.2.3.0/24 proto tcp ports 80-90", NULL},
};

static struct names *names;
static struct addr dns[3];
static struct policy_env env;

static struct addr address(const char *text)
{
	struct addr addr = {0};

	if (!CHECK(addr_parse(text, strlen(text), &addr) == 0))
		printf("  \"%s\"\n", text);
	return addr;
}

/* part.test has more addresses than are told. */
static enum name_state look(void *arg, const char *name, const struct addr **addrs, size_t *count)
{
	enum name_state state = names_lookup(arg, name, addrs, count);

	return strcmp(name, "part.test") == 0 ? NAME_PARTIAL : state;
}

static void set_up(void)
{
	test_case("set up");
	CHECK(names_new(&names) == 0);
	CHECK(names_add(names, "example.com=93.184.216.35,93.184.216.34,2606:2800::2,"
			       "2606:2800::1,93.184.216.34") == 0);
	CHECK(names_add(names, "one.test=192.0.2.7") == 0);
	CHECK(names_add(names, "nothing.test=") == 0);
	CHECK(names_add(names, "part.test=10.139.1.2,192.0.2.8") == 0);
	CHECK(names_add(names, "dns.test=10.139.1.2,10.139.1.9") == 0);
	CHECK(names_add(names, ".=1.2.3.4") == 0);
	CHECK(names_add(names, "a..b=1.2.3.4") == 0);
	dns[0] = address("10.139.1.2");
	dns[1] = address("fd00::53");
	dns[2] = address("10.139.1.1");
	env = (struct policy_env){
	    .dns = dns, .dns_count = 3, .lookup = look, .lookup_arg = names};
}

static struct rule_pair pair(const char *key, const char *value)
{
	return (struct rule_pair){key, value, strlen(value)};
}

struct text {
	char buf[4096];
	size_t len;
};

static void add_line(void *arg, const char *line)
{
	struct text *t = arg;
	int n = snprintf(t->buf + t->len, sizeof(t->buf) - t->len, "%s\n", line);

	t->len += (size_t)n;
	CHECK(t->len < sizeof(t->buf));
}

static void add_problem(void *arg, const struct rule_error *err)
{
	char line[300];

	snprintf(line, sizeof(line), "%s: %s", err->key, err->text);
	add_line(arg, line);
}

static void run_row(const struct row *row)
{
	const struct rule_pair pairs[] = {pair("policy", "drop"), pair("0003", row->value)};
	struct rule_error err = {"", ""};
	struct ruleset *rs = NULL;
	struct policy *p = NULL;
	struct text got = {.len = 0}, problems = {.len = 0};
	char want[256];
	int ret = ruleset_parse(&rs, row->family, pairs, 2, &err);
	size_t n = ruleset_check(row->family, pairs, 2, add_problem, &problems);

	test_case(row->value);
	if (row->print == NULL) {
		CHECK_INT(ret, -EBADMSG);
		CHECK(rs == NULL);
		CHECK_STR(err.key, "0003");
		CHECK_STR(err.text, row->problem);
		CHECK(n >= 1);
		snprintf(want, sizeof(want), "0003: %s\n", row->problem);
		CHECK(strncmp(problems.buf, want, strlen(want)) == 0);
	} else if (CHECK(ret == 0)) {
		CHECK_INT(n, 0);
		CHECK_INT(ruleset_count(rs), 1);
		CHECK(policy_compile(&p, rs, &env) == 0);
		policy_print(p, add_line, &got);
		snprintf(want, sizeof(want), "0003 %s\npolicy drop\n", row->print);
		CHECK_STR(got.buf, want);
	} else {
		printf("  %s: %s\n", err.key, err.text);
	}
	policy_free(&p);
	ruleset_free(&rs);
}

/* --- subtrees ----------------------------------------------------------------- */

#define PAIRS_MAX 8

static const struct {
	const char *name;
	struct {
		const char *key, *value;
	} in[PAIRS_MAX];
	const char *print;    /* NULL: malformed */
	const char *problems; /* what check says, line by line */
} trees[] = {
    {"policy alone, drop", {{"policy", "drop"}}, "policy drop\n", ""},
    {"policy alone, accept", {{"policy", "accept"}}, "policy accept\n", ""},
    {"nothing", {{NULL, NULL}}, NULL, "policy: missing\n"},
    {"no policy", {{"0000", "action=accept"}}, NULL, "policy: missing\n"},
    {"policy empty", {{"policy", ""}}, NULL, "policy: \"\" is neither accept nor drop\n"},
    {"policy with a space",
     {{"policy", "drop "}},
     NULL,
     "policy: \"drop \" is neither accept nor drop\n"},
    {"policy reject",
     {{"policy", "reject"}},
     NULL,
     "policy: \"reject\" is neither accept nor drop\n"},
    {"policy in the rule's form",
     {{"policy", "action=drop"}},
     NULL,
     "policy: \"action=drop\" is neither accept nor drop\n"},
    {"policy twice", {{"policy", "drop"}, {"policy", "drop"}}, NULL, "policy: given twice\n"},
    {"policy twice, one is bad",
     {{"policy", "drop"}, {"policy", "x"}},
     NULL,
     "policy: given twice\npolicy: \"x\" is neither accept nor drop\n"},
    {"gaps, numeric order (R3)",
     {{"0010", "action=accept"},
      {"policy", "drop"},
      {"10000", "action=drop proto=icmp"},
      {"9999", "action=drop proto=udp"},
      {"0000", "action=drop proto=tcp"}},
     "0000 drop proto tcp\n0010 accept\n9999 drop proto udp\n10000 drop proto icmp\n"
     "policy drop\n",
     ""},
    {"a long number stays a number",
     {{"policy", "drop"},
      {"18446744073709551617", "action=drop"},
      {"18446744073709551616", "action=accept"},
      {"000000000000000000000000000000000000000000000000000000000000005",
       "action=accept proto=tcp"}},
     "000000000000000000000000000000000000000000000000000000000000005 accept proto tcp\n"
     "18446744073709551616 accept\n18446744073709551617 drop\npolicy drop\n",
     ""},
    {"a number too long for a path",
     {{"policy", "drop"},
      {"0000000000000000000000000000000000000000000000000000000000000005", "action=accept"}},
     NULL,
     "000000000000000000000000000000000000000000000000000000000000...: "
     "longer than a path allows\n"},
    {"one number in two spellings",
     {{"policy", "drop"}, {"00003", "action=accept"}, {"0003", "action=accept"}},
     NULL,
     "0003: the same number as \"00003\"\n"},
    {"zero in two spellings",
     {{"policy", "drop"}, {"0000", "action=accept"}, {"00000", "action=accept"}},
     NULL,
     "00000: the same number as \"0000\"\n"},
    {"one key twice",
     {{"policy", "drop"}, {"0003", "action=accept"}, {"0003", "action=accept"}},
     NULL,
     "0003: the same number as \"0003\"\n"},
    {"alien keys, each reported",
     {{"policy", "drop"},
      {"note", "x"},
      {"01", "action=accept"},
      {"000", "action=accept"},
      {"0000a", ""},
      {"Policy", "drop"},
      {"0000/1", "action=accept"},
      {"", ""}},
     NULL,
     ": neither policy nor a number of at least four digits\n"
     "000: neither policy nor a number of at least four digits\n"
     "0000/1: neither policy nor a number of at least four digits\n"
     "0000a: neither policy nor a number of at least four digits\n"
     "01: neither policy nor a number of at least four digits\n"
     "Policy: neither policy nor a number of at least four digits\n"
     "note: neither policy nor a number of at least four digits\n"},
    {"alien key with bytes that need an escape",
     {{"policy", "drop"}, {"a\x1b\xff", "x"}},
     NULL,
     "a\\x1b\\xff: neither policy nor a number of at least four digits\n"},
    {"sign and space do not make a number",
     {{"policy", "drop"}, {"-0001", "action=accept"}, {"+0001", "x"}, {" 0001", "x"}},
     NULL,
     " 0001: neither policy nor a number of at least four digits\n"
     "+0001: neither policy nor a number of at least four digits\n"
     "-0001: neither policy nor a number of at least four digits\n"},
    {"all problems of one value",
     {{"policy", "drop"},
      {"0000", " action=reject  proto=t\x01p dst4=1.2.3 dsthost=a b=c "},
      {"0001", "\x7f icmptype=8"},
      {"0002", "   "}},
     NULL,
     "0000: leading space\n"
     "0000: action: \"reject\" is neither accept nor drop\n"
     "0000: two spaces at offset 14\n"
     "0000: byte \\x01 at offset 23\n"
     "0000: dst4: \"1.2.3\" is not an IPv4 address\n"
     "0000: dsthost: a second destination\n"
     "0000: \"b\" is not a known option\n"
     "0000: trailing space\n"
     "0001: byte \\x7f at offset 0\n"
     "0002: leading space\n"
     "0002: two spaces at offset 0\n"
     "0002: two spaces at offset 1\n"
     "0002: trailing space\n"
     "0002: action: missing\n"},
    {"all problems, in key order",
     {{"0009", "action=accept dpi=x expire=1"},
      {"x", ""},
      {"0002", "action=reject proto=sctp icmptype=8"},
      {"0001", "action=accept"}},
     NULL,
     "policy: missing\n"
     "0002: action: \"reject\" is neither accept nor drop\n"
     "0002: proto: \"sctp\" is not tcp, udp or icmp\n"
     "0009: dpi: never valid in QubesDB\n"
     "0009: expire: never valid in QubesDB\n"
     "x: neither policy nor a number of at least four digits\n"},
};

static void run_tree(size_t i)
{
	struct rule_pair pairs[PAIRS_MAX];
	struct text got = {.len = 0}, problems = {.len = 0};
	struct rule_error err = {"", ""};
	struct ruleset *rs = NULL;
	struct policy *p = NULL;
	char first[300];
	size_t n = 0;
	int ret;

	test_case(trees[i].name);
	for (; n < PAIRS_MAX && trees[i].in[n].key != NULL; n++)
		pairs[n] = pair(trees[i].in[n].key, trees[i].in[n].value);
	ruleset_check(4, pairs, n, add_problem, &problems);
	CHECK_STR(problems.buf, trees[i].problems);
	ret = ruleset_parse(&rs, 4, pairs, n, &err);
	if (trees[i].print == NULL) {
		CHECK_INT(ret, -EBADMSG);
		snprintf(first, sizeof(first), "%s: %s\n", err.key, err.text);
		CHECK(strncmp(trees[i].problems, first, strlen(first)) == 0);
		/* Nobody needs to ask for the reason. */
		CHECK_INT(ruleset_parse(&rs, 4, pairs, n, NULL), -EBADMSG);
	} else if (CHECK(ret == 0) && CHECK(policy_compile(&p, rs, &env) == 0)) {
		policy_print(p, add_line, &got);
		CHECK_STR(got.buf, trees[i].print);
	}
	policy_free(&p);
	ruleset_free(&rs);
}

/* --- limits ------------------------------------------------------------------- */

static void test_limits(void)
{
	static struct rule_pair many[RULE_MAX + 2];
	static char keys[RULE_MAX + 2][8], big[RULE_TEXT_MAX + 2];
	struct text problems = {.len = 0};
	struct rule_error err = {"", ""};
	struct ruleset *rs = NULL;
	struct policy *p = NULL;
	uint32_t index;
	const uint8_t dst[4] = {1, 2, 3, 4};
	char buf[RULE_KEY_MAX];

	for (size_t i = 0; i <= RULE_MAX; i++) {
		/* Backwards: the sort has something to do. */
		snprintf(keys[i], sizeof(keys[i]), "%04zu", RULE_MAX - i);
		many[i] = pair(keys[i], i == 0 ? "action=accept" : "action=drop dst4=9.9.9.9");
	}
	many[RULE_MAX + 1] = pair("policy", "drop");

	test_case("RULE_MAX rules, and one more");
	CHECK_INT(ruleset_parse(&rs, 4, many, RULE_MAX + 2, &err), -E2BIG);
	CHECK_STR(err.key, "10000");
	CHECK_STR(err.text, "10001 rules, more than 10000");
	CHECK_INT(ruleset_check(4, many, RULE_MAX + 2, add_problem, &problems), 1);
	CHECK_STR(problems.buf, "10000: 10001 rules, more than 10000\n");
	many[RULE_MAX] = many[RULE_MAX + 1];
	if (CHECK(ruleset_parse(&rs, 4, many, RULE_MAX + 1, &err) == 0)) {
		CHECK_INT(ruleset_count(rs), RULE_MAX);
		CHECK(policy_compile(&p, rs, &env) == 0);
		CHECK_INT(policy_rule_count(p), RULE_MAX);
		CHECK(policy_match(p, &(struct rule_packet){.dst = dst, .proto = 47}, &index) ==
		      RULE_ACCEPT);
		CHECK_INT(index, RULE_MAX - 1);
		CHECK_STR(policy_key(p, index, buf), "10000");
		CHECK(policy_memory(p) > RULE_MAX * 32 && policy_memory(p) < RULE_MAX * 80);
	}
	policy_free(&p);
	ruleset_free(&rs);

	test_case("the longest value, and one more byte");
	memset(big, 'a', sizeof(big));
	memcpy(big, "action=drop dsthost=", 20);
	many[0] = pair("policy", "drop");
	many[1] = (struct rule_pair){"0000", big, RULE_TEXT_MAX};
	if (CHECK(ruleset_parse(&rs, 4, many, 2, &err) == 0)) {
		/* A name that can never be valid is unresolvable, not an error. */
		CHECK(policy_compile(&p, rs, &env) == 0);
		CHECK(policy_match(p, &(struct rule_packet){.dst = dst, .proto = 6}, &index) ==
		      RULE_REJECT);
		CHECK_INT(index, 0);
	}
	policy_free(&p);
	ruleset_free(&rs);
	many[1].value_len++;
	CHECK_INT(ruleset_parse(&rs, 4, many, 2, &err), -EBADMSG);
	CHECK_STR(err.text, "longer than 3071 bytes");

	test_case("a NUL inside a value");
	many[1] = (struct rule_pair){"0000", "action=accept\0", 14};
	CHECK_INT(ruleset_parse(&rs, 4, many, 2, &err), -EBADMSG);
	CHECK_STR(err.text, "byte \\x00 at offset 13");
	many[0] = (struct rule_pair){"policy", "drop\0", 5};
	CHECK_INT(ruleset_parse(&rs, 4, many, 1, &err), -EBADMSG);
	CHECK_STR(err.text, "\"drop\\x00\" is neither accept nor drop");

	test_case("a long foreign word is cut in the message");
	memset(big, '\\', sizeof(big));
	memcpy(big, "action=", 7);
	many[0] = pair("policy", "drop");
	many[1] = (struct rule_pair){"0000", big, 300};
	CHECK_INT(ruleset_parse(&rs, 4, many, 2, &err), -EBADMSG);
	CHECK(strstr(err.text, "...\" is neither accept nor drop") != NULL);
}

/* --- equality, names ---------------------------------------------------------- */

static struct ruleset *parse(uint8_t family, const char *policy, const char *key, const char *value)
{
	const struct rule_pair pairs[] = {pair("policy", policy), pair(key, value)};
	struct ruleset *rs = NULL;

	if (!CHECK(ruleset_parse(&rs, family, pairs, 2, NULL) == 0))
		printf("  \"%s\"\n", value);
	return rs;
}

static void test_equal(void)
{
	static const struct {
		uint8_t family;
		const char *policy, *key, *value;
		bool rules, policies; /* equal to the first row */
	} other[] = {
	    {4, "drop", "0000", "action=accept dst4=1.2.3.0/24 proto=tcp", true, true},
	    {4, "drop", "0000", "proto=tcp dst4=1.2.3.9/24 action=accept", true, true},
	    {4, "accept", "0000", "action=accept dst4=1.2.3.0/24 proto=tcp", false, false},
	    {4, "drop", "0001", "action=accept dst4=1.2.3.0/24 proto=tcp", false, false},
	    {4, "drop", "0000", "action=drop dst4=1.2.3.0/24 proto=tcp", false, false},
	    {4, "drop", "0000", "action=accept dst4=1.2.3.0/23 proto=tcp", false, false},
	    {4, "drop", "0000", "action=accept dst4=1.2.4.0/24 proto=tcp", false, false},
	    {4, "drop", "0000", "action=accept dst4=1.2.3.0/24 proto=udp", false, false},
	    {4, "drop", "0000", "action=accept dst4=1.2.3.0/24", false, false},
	    {4, "drop", "0000", "action=accept dst4=1.2.3.0/24 proto=tcp dstports=1", false, false},
	    {4, "drop", "0000", "action=accept dsthost=one.test proto=tcp", false, false},
	    {4, "drop", "0000", "action=accept dsthost=example.com proto=tcp", false, false},
	    {6, "drop", "0000", "action=accept dst6=102:300::/24 proto=tcp", false, false},
	    {4, "drop", "0000", "action=accept specialtarget=dns proto=tcp", false, false},
	};
	struct ruleset *first = NULL;
	struct policy *compiled = NULL, *malformed = NULL;

	test_case("policy_malformed");
	CHECK(policy_malformed(&malformed) == 0);
	CHECK(policy_equal(malformed, malformed));
	CHECK_INT(policy_rule_count(malformed), 0);
	CHECK(policy_memory(malformed) > 0);
	for (size_t i = 0; i < COUNT(other); i++) {
		struct ruleset *rs;
		struct policy *p = NULL;

		test_case(other[i].value);
		rs = parse(other[i].family, other[i].policy, other[i].key, other[i].value);
		CHECK(policy_compile(&p, rs, &env) == 0);
		if (i == 0) {
			first = rs;
			compiled = p;
		}
		CHECK_INT(ruleset_equal(first, rs), other[i].rules);
		CHECK_INT(ruleset_equal(rs, first), other[i].rules);
		CHECK_INT(policy_equal(compiled, p), other[i].policies);
		CHECK_INT(policy_equal(p, compiled), other[i].policies);
		CHECK(ruleset_equal(rs, rs) && policy_equal(p, p));
		CHECK(!policy_equal(p, malformed) && !policy_equal(malformed, p));
		if (i == 0)
			continue;
		policy_free(&p);
		ruleset_free(&rs);
	}
	ruleset_free(&first);
	policy_free(&compiled);
	policy_free(&malformed);
	policy_free(&malformed); /* nothing there: fine */
}

/* A name's new addresses change the policy, a new order of them does not. */
static void test_resolution_equal(void)
{
	static const struct {
		const char *name;
		bool equal;
	} tables[] = {
	    {"a.test=1.1.1.1,2.2.2.2", true},
	    {"a.test=2.2.2.2,1.1.1.1,2.2.2.2,::1", true},
	    {"a.test=1.1.1.1", false},
	    {"a.test=1.1.1.1,2.2.2.3", false},
	    {"a.test=", false},
	    {"b.test=1.1.1.1", false},
	};
	struct ruleset *rs;
	struct policy *first = NULL;

	test_case("policy_equal follows names and DNS servers");
	rs = parse(4, "drop", "0000", "action=accept dsthost=a.test");
	for (size_t i = 0; i < COUNT(tables); i++) {
		struct policy_env mine = {.lookup = names_lookup};
		struct names *table = NULL;
		struct policy *p = NULL;

		CHECK(names_new(&table) == 0 && names_add(table, tables[i].name) == 0);
		mine.lookup_arg = table;
		CHECK(policy_compile(&p, rs, &mine) == 0);
		names_free(&table);
		if (first == NULL)
			first = p;
		CHECK_INT(policy_equal(first, p), tables[i].equal);
		if (p != first)
			policy_free(&p);
	}
	policy_free(&first);
	ruleset_free(&rs);
}

static void count_name(void *arg, const char *name)
{
	add_line(arg, name);
}

static enum name_state count_lookups(void *arg, const char *name, const struct addr **addrs,
				     size_t *count)
{
	add_line(arg, name);
	(void)addrs;
	(void)count;
	return NAME_UNRESOLVED;
}

static void test_names_of(void)
{
	const struct rule_pair pairs[] = {
	    pair("policy", "drop"),
	    pair("0000", "action=accept dsthost=b"),
	    pair("0001", "action=accept dsthost=a"),
	    pair("0002", "action=accept dsthost=b proto=tcp"),
	    pair("0003", "action=accept dst4=1.1.1.1"),
	    pair("0004", "action=accept dsthost=bb"),
	    pair("0005", "action=accept dsthost=a..b"),
	};
	struct policy_env mine = {.lookup = count_lookups};
	struct text got = {.len = 0}, asked = {.len = 0};
	struct ruleset *rs = NULL;
	struct policy *p = NULL;

	test_case("every name once; an impossible one is not looked up");
	CHECK(ruleset_parse(&rs, 4, pairs, COUNT(pairs), NULL) == 0);
	ruleset_names(rs, count_name, &got);
	CHECK_STR(got.buf, "a\na..b\nb\nbb\n");
	mine.lookup_arg = &asked;
	CHECK(policy_compile(&p, rs, &mine) == 0);
	CHECK_STR(asked.buf, "a\nb\nbb\n");
	policy_free(&p);
	mine.lookup = NULL; /* no resolver at all */
	CHECK(policy_compile(&p, rs, &mine) == 0);
	policy_free(&p);
	ruleset_free(&rs);
}

/* Names at the limits of RFC 1035: possible or not. */
static void test_possible_names(void)
{
	static const struct {
		size_t label, labels;
		const char *tail;
		bool possible;
	} name[] = {
	    {63, 1, "", true},	     {64, 1, "", false},     {63, 1, ".", true},
	    {49, 5, ".abc", true}, /* 5 * 50 - 1 + 4 = 253 */
	    {49, 5, ".abcd", false}, {49, 5, ".abc.", true}, {49, 5, ".abc..", false},
	};

	for (size_t i = 0; i < COUNT(name); i++) {
		char value[600] = "action=accept dsthost=";
		size_t len = strlen(value);
		struct text asked = {.len = 0};
		struct policy_env mine = {.lookup = count_lookups, .lookup_arg = &asked};
		struct ruleset *rs;
		struct policy *p = NULL;

		for (size_t l = 0; l < name[i].labels; l++) {
			if (l > 0)
				value[len++] = '.';
			memset(value + len, 'x', name[i].label);
			len += name[i].label;
		}
		snprintf(value + len, sizeof(value) - len, "%s", name[i].tail);
		test_case("names at the limits");
		rs = parse(4, "drop", "0000", value);
		CHECK(policy_compile(&p, rs, &mine) == 0);
		CHECK_INT(asked.len > 0, name[i].possible);
		policy_free(&p);
		ruleset_free(&rs);
	}
}

/* --- matching ----------------------------------------------------------------- */

static const struct {
	uint8_t family;
	const char *value, *dst;
	uint8_t proto;
	uint16_t number; /* port or type */
	bool matches;
} packets[] = {
    /* nothing but action: everything */
    {4, "action=accept", "1.2.3.4", 6, 1, true},
    {4, "action=accept", "1.2.3.4", 132, 0, true},
    {6, "action=accept", "2001::1", 58, 128, true},
    {6, "action=accept", "2001::1", 1, 0, true},
    /* proto=icmp is the family's own ICMP */
    {4, "action=accept proto=icmp", "1.2.3.4", 1, 8, true},
    {4, "action=accept proto=icmp", "1.2.3.4", 58, 8, false},
    {6, "action=accept proto=icmp", "2001::1", 58, 128, true},
    {6, "action=accept proto=icmp", "2001::1", 1, 128, false},
    /* I12: numbers are not translated between families */
    {6, "action=accept proto=icmp icmptype=8", "2001::1", 58, 128, false},
    {6, "action=accept proto=icmp icmptype=8", "2001::1", 58, 8, true},
    {4, "action=accept proto=icmp icmptype=255", "1.2.3.4", 1, 255, true},
    /* ports: TCP and UDP only, both ends included */
    {4, "action=accept dstports=10-20", "1.2.3.4", 6, 10, true},
    {4, "action=accept dstports=10-20", "1.2.3.4", 17, 20, true},
    {4, "action=accept dstports=10-20", "1.2.3.4", 6, 9, false},
    {4, "action=accept dstports=10-20", "1.2.3.4", 6, 21, false},
    {4, "action=accept dstports=10-20", "1.2.3.4", 1, 15, false},
    {4, "action=accept dstports=0-65535", "1.2.3.4", 1, 8, false},
    {4, "action=accept dstports=0-65535", "1.2.3.4", 136, 0, false},
    {4, "action=accept dstports=0-65535", "1.2.3.4", 17, 65535, true},
    /* prefixes, at their edges */
    {4, "action=accept dst4=128.0.0.0/1", "128.0.0.0", 6, 1, true},
    {4, "action=accept dst4=128.0.0.0/1", "127.255.255.255", 6, 1, false},
    {4, "action=accept dst4=10.0.0.8/29", "10.0.0.15", 6, 1, true},
    {4, "action=accept dst4=10.0.0.8/29", "10.0.0.16", 6, 1, false},
    {4, "action=accept dst4=255.255.255.255", "255.255.255.254", 6, 1, false},
    {6, "action=accept dst6=2001:db8::/63", "2001:db8:0:1::1", 6, 1, true},
    {6, "action=accept dst6=2001:db8::/63", "2001:db8:0:2::", 6, 1, false},
    {6, "action=accept dst6=2001:db8::/65", "2001:db8::7fff:ffff:ffff:ffff", 6, 1, true},
    {6, "action=accept dst6=2001:db8::/65", "2001:db8::8000:0:0:0", 6, 1, false},
    {6, "action=accept dst6=2001:db8::1/127", "2001:db8::", 6, 1, true},
    {6, "action=accept dst6=2001:db8::1/127", "2001:db8::2", 6, 1, false},
    {6, "action=accept dst6=::ffff:1.2.3.4", "::ffff:1.2.3.4", 6, 1, true},
    /* sets */
    {4, "action=accept dsthost=example.com", "93.184.216.34", 6, 1, true},
    {4, "action=accept dsthost=example.com", "93.184.216.35", 47, 1, true},
    {4, "action=accept dsthost=example.com", "93.184.216.33", 6, 1, false},
    {4, "action=accept dsthost=example.com", "93.184.216.36", 6, 1, false},
    {6, "action=accept dsthost=example.com", "2606:2800::2", 6, 1, true},
    {6, "action=accept dsthost=example.com", "2606:2800::3", 6, 1, false},
    /* unresolved: accept nothing, drop every destination */
    {4, "action=accept dsthost=un.test", "1.2.3.4", 6, 1, false},
    {4, "action=drop dsthost=un.test", "1.2.3.4", 6, 1, true},
    {4, "action=drop dsthost=un.test proto=tcp", "1.2.3.4", 17, 1, false},
    {4, "action=drop dsthost=un.test dstports=7", "1.2.3.4", 17, 7, true},
    {4, "action=drop dsthost=un.test dstports=7", "1.2.3.4", 17, 8, false},
    {6, "action=drop dsthost=un.test proto=icmp icmptype=128", "::2", 58, 128, true},
    {4, "action=drop dsthost=nothing.test", "1.2.3.4", 6, 1, false},
    /* known in part: accept what is known, drop every destination */
    {4, "action=accept dsthost=part.test", "192.0.2.8", 6, 1, true},
    {4, "action=accept dsthost=part.test", "192.0.2.9", 6, 1, false},
    {4, "action=drop dsthost=part.test", "192.0.2.9", 6, 1, true},
    {4, "action=drop dsthost=part.test proto=tcp", "192.0.2.8", 17, 1, false},
    {6, "action=drop dsthost=part.test", "2001::1", 6, 1, true},
    /* specialtarget=dns */
    {4, "action=accept specialtarget=dns", "10.139.1.1", 6, 53, true},
    {4, "action=accept specialtarget=dns", "10.139.1.2", 17, 53, true},
    {4, "action=accept specialtarget=dns", "10.139.1.2", 132, 53, false},
    {4, "action=accept specialtarget=dns", "10.139.1.2", 1, 53, false},
    {4, "action=accept specialtarget=dns", "10.139.1.3", 17, 53, false},
    {4, "action=accept specialtarget=dns", "10.139.1.1", 17, 5353, false},
    {6, "action=accept specialtarget=dns", "fd00::53", 17, 53, true},
    {4, "action=drop dsthost=un.test specialtarget=dns", "10.139.1.1", 17, 53, true},
    {4, "action=drop dsthost=un.test specialtarget=dns", "9.9.9.9", 17, 53, false},
    {4, "action=drop specialtarget=dns dstports=80", "10.139.1.1", 6, 80, false},
};

static void run_packet(size_t i)
{
	bool drop = strstr(packets[i].value, "action=drop") != NULL;
	enum rule_verdict yes = drop ? RULE_REJECT : RULE_ACCEPT, verdict;
	struct addr dst;
	struct rule_packet pkt = {.proto = packets[i].proto};
	struct ruleset *rs;
	struct policy *p = NULL;
	uint32_t index = 77;
	char buf[RULE_KEY_MAX];

	test_case(packets[i].value);
	dst = address(packets[i].dst);
	pkt.dst = dst.bytes;
	/* Fields of another protocol hold rubbish: nobody may look at them. */
	pkt.dport = pkt.proto == 6 || pkt.proto == 17 ? packets[i].number : 53;
	pkt.icmp_type = pkt.proto == 1 || pkt.proto == 58 ? (uint8_t)packets[i].number : 8;
	rs = parse(packets[i].family, drop ? "accept" : "drop", "0042", packets[i].value);
	CHECK(policy_compile(&p, rs, &env) == 0);
	verdict = policy_match(p, &pkt, &index);
	if (packets[i].matches) {
		CHECK_STR(rule_verdict_name(verdict), rule_verdict_name(yes));
		CHECK_INT(index, 0);
		CHECK_STR(policy_key(p, index, buf), "0042");
	} else {
		CHECK(verdict != yes);
		CHECK_INT(index, RULE_INDEX_POLICY);
		CHECK_STR(policy_key(p, index, buf), "policy");
	}
	policy_free(&p);
	ruleset_free(&rs);
}

static void test_special_policies(void)
{
	const uint8_t dst[16] = {1, 2, 3, 4};
	const struct rule_packet pkt = {.dst = dst, .proto = 6, .dport = 1};
	struct text got = {.len = 0};
	struct policy *p = NULL;
	uint32_t index;
	char buf[RULE_KEY_MAX];

	test_case("no policy: silent drop (Q9)");
	CHECK_STR(rule_verdict_name(policy_match(NULL, &pkt, &index)), "drop");
	CHECK_INT(index, RULE_INDEX_NONE);
	CHECK_STR(policy_key(NULL, index, buf), "none");
	policy_print(NULL, add_line, &got);

	test_case("malformed: rejects everything (Q9)");
	CHECK(policy_malformed(&p) == 0);
	CHECK_STR(rule_verdict_name(policy_match(p, &pkt, &index)), "reject");
	CHECK_INT(index, RULE_INDEX_MALFORMED);
	CHECK_STR(policy_key(p, index, buf), "malformed");
	policy_print(p, add_line, &got);
	CHECK_STR(got.buf, "none: drop everything silently\nmalformed: drop everything\n");
	CHECK_STR(policy_key(p, 5, buf), "none"); /* out of range, not a crash */
	policy_free(&p);
}

/* A set that is longer than a line, and found at every place. */
static void test_big_set(void)
{
	struct names *table = NULL;
	struct policy_env mine = {.lookup = names_lookup};
	struct ruleset *rs;
	struct policy *p = NULL;
	struct text got = {.len = 0};
	uint32_t index;

	test_case("a name with 200 addresses");
	CHECK(names_new(&table) == 0);
	for (unsigned int i = 0; i < 200; i++) {
		char text[64];

		snprintf(text, sizeof(text), "big.test=10.%u.0.7", i * 7 % 200 + 1);
		CHECK(names_add(table, text) == 0);
	}
	mine.lookup_arg = table;
	rs = parse(4, "drop", "0000", "action=accept dsthost=big.test");
	CHECK(policy_compile(&p, rs, &mine) == 0);
	for (unsigned int i = 0; i < 256; i++) {
		uint8_t dst[4] = {10, (uint8_t)i, 0, 7};
		struct rule_packet pkt = {.dst = dst, .proto = 6};

		CHECK((policy_match(p, &pkt, &index) == RULE_ACCEPT) == (i >= 1 && i <= 200));
		dst[3] = 8;
		CHECK(policy_match(p, &pkt, &index) == RULE_REJECT);
	}
	policy_print(p, add_line, &got);
	CHECK(strstr(got.buf, "10.16.0.7 and 184 more\n") != NULL);
	policy_free(&p);
	ruleset_free(&rs);
	names_free(&table);
}

int main(void)
{
	set_up();
	for (size_t i = 0; i < COUNT(rows); i++)
		run_row(&rows[i]);
	for (size_t i = 0; i < COUNT(trees); i++)
		run_tree(i);
	for (size_t i = 0; i < COUNT(packets); i++)
		run_packet(i);
	test_limits();
	test_equal();
	test_resolution_equal();
	test_names_of();
	test_possible_names();
	test_special_policies();
	test_big_set();
	names_free(&names);
	return test_end();
}
