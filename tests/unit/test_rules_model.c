/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * M1 for the rules: random subtrees and packets, the matcher against a model.
 *
 * The model keeps the options as they were drawn and answers from the table of
 * combinations in doc/rules.md, one sentence at a time, without any of the
 * normal forms of rules/. The universe is small (few addresses, ports, names),
 * so that rules and packets meet often. A round prints its seed when it
 * fails: test_rules_model SEED repeats it alone.
 */
#include "check.h"
#include "rules/names.h"
#include "rules/rules.h"
#include "rules/why.h"

#include <stdlib.h>

#define ROUNDS	   4000
#define PACKETS	   60
#define RULES	   12
#define COUNT(a)   (sizeof(a) / sizeof((a)[0]))
#define NO_OPTION  (-1)
#define VALUE_SIZE 256

enum proto { P_NONE, P_TCP, P_UDP, P_ICMP };

/* The options of one rule as drawn. */
struct draft {
	unsigned int number; /* of its key */
	bool accept;
	int dst;  /* index of prefixes, or NO_OPTION */
	int host; /* index of hosts, or NO_OPTION */
	bool dns;
	enum proto proto;
	int low, high; /* NO_OPTION: no dstports */
	int type;      /* NO_OPTION: no icmptype */
};

struct world {
	uint8_t family;
	bool accept;
	struct draft rule[RULES]; /* by number */
	size_t count;
};

static const char *const address[2][8] = {
    {"10.139.1.1", "10.139.1.2", "10.139.1.3", "1.2.3.4", "1.2.3.5", "8.8.8.8", "0.0.0.0",
     "255.255.255.255"},
    {"fd00::1", "fd00::2", "fd00::3", "2001:db8::1", "2001:db8:8000::1", "::", "::1",
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
};

/* The first two addresses of each family are the DNS servers. */
#define DNS_COUNT 2

static const struct {
	const char *text;
	unsigned int covers; /* bit i: address[family][i] */
} prefix[2][6] = {
    {{"10.139.1.0/30", 0x07},
     {"10.139.1.1", 0x01},
     {"1.2.3.5/31", 0x18},
     {"0.0.0.0/0", 0xff},
     {"255.0.0.0/1", 0x80},
     {"10.139.1.3/31", 0x06}},
    {{"fd00::/126", 0x07},
     {"fd00::1", 0x01},
     {"2001:db8::/32", 0x18},
     {"2001:db8::/33", 0x08},
     {"8000::/1", 0x87},
     {"::/0", 0xff}},
};

static const struct {
	const char *name;
	bool resolves;
	unsigned int covers[2];
} host[] = {
    {"dns-one.test", true, {0x01, 0x02}}, {"both.test", true, {0x05, 0x06}},
    {"web.test", true, {0x38, 0x08}},	  {"only4.test", true, {0x10, 0x00}},
    {"un.test", false, {0, 0}},		  {"a..b", false, {0, 0}},
};

static const int port[] = {0, 52, 53, 54, 80, 443, 65535};
static const int type[] = {0, 8, 128, 255};
static const uint8_t packet_proto[] = {1, 6, 17, 47, 58, 136};

static uint64_t state;

static unsigned int draw(unsigned int n)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned int)(state >> 33) % n;
}

static struct draft draw_rule(unsigned int number)
{
	struct draft d = {number, draw(2),   NO_OPTION, NO_OPTION, false,
			  P_NONE, NO_OPTION, NO_OPTION, NO_OPTION};

	switch (draw(4)) {
	case 0:
		d.dst = (int)draw(COUNT(prefix[0]));
		break;
	case 1:
		d.host = (int)draw(COUNT(host));
		break;
	}
	d.proto = (enum proto)draw(4);
	if (d.proto == P_ICMP) {
		if (draw(2))
			d.type = type[draw(COUNT(type))];
		return d;
	}
	d.dns = draw(3) == 0;
	if (draw(2)) {
		unsigned int low = draw(COUNT(port)), high = low + draw(COUNT(port) - low);

		d.low = port[low];
		d.high = port[high];
	}
	return d;
}

static void draw_world(struct world *w)
{
	unsigned int number = 0;

	w->family = draw(2) ? 6 : 4;
	w->accept = draw(2);
	w->count = draw(RULES + 1);
	for (size_t i = 0; i < w->count; i++) {
		number += 1 + draw(10) * draw(1500); /* gaps; beyond four digits */
		w->rule[i] = draw_rule(number);
	}
}

/* --- the text ----------------------------------------------------------------- */

/* Options in random order; a single port in either spelling. */
static void write_rule(const struct world *w, const struct draft *d, char *out)
{
	static const char *const proto[] = {"", "proto=tcp", "proto=udp", "proto=icmp"};
	char word[6][80] = {"", "", "", "", "", ""};
	size_t len = 0, n = COUNT(word);

	snprintf(word[0], sizeof(word[0]), "action=%s", d->accept ? "accept" : "drop");
	if (d->dst != NO_OPTION)
		snprintf(word[1], sizeof(word[1]), "dst%u=%s", w->family,
			 prefix[w->family == 6][d->dst].text);
	if (d->host != NO_OPTION)
		snprintf(word[1], sizeof(word[1]), "dsthost=%s", host[d->host].name);
	snprintf(word[2], sizeof(word[2]), "%s", proto[d->proto]);
	if (d->dns)
		snprintf(word[3], sizeof(word[3]), "specialtarget=dns");
	if (d->low != NO_OPTION && d->low == d->high && draw(2))
		snprintf(word[4], sizeof(word[4]), "dstports=%d", d->low);
	else if (d->low != NO_OPTION)
		snprintf(word[4], sizeof(word[4]), "dstports=%d-%d", d->low, d->high);
	if (d->type != NO_OPTION)
		snprintf(word[5], sizeof(word[5]), "icmptype=%d", d->type);
	for (; n > 0; n--) {
		size_t pick = draw((unsigned int)n);

		if (word[pick][0] != '\0')
			len += (size_t)snprintf(out + len, VALUE_SIZE - len, "%s%s",
						len > 0 ? " " : "", word[pick]);
		memmove(word[pick], word[n - 1], sizeof(word[0]));
	}
}

static struct ruleset *write_and_parse(const struct world *w)
{
	static char key[RULES][16], value[RULES][VALUE_SIZE];
	struct rule_pair pair[RULES + 1];
	struct rule_error err = {"", ""};
	struct ruleset *rs = NULL;
	size_t n = w->count;

	for (size_t i = 0; i < n; i++) {
		snprintf(key[i], sizeof(key[i]), "%04u", w->rule[i].number);
		write_rule(w, &w->rule[i], value[i]);
		pair[i] = (struct rule_pair){key[i], value[i], strlen(value[i])};
	}
	pair[n] = w->accept ? (struct rule_pair){"policy", "accept", 6}
			    : (struct rule_pair){"policy", "drop", 4};
	for (size_t i = 0; i <= n; i++) {
		size_t j = i + draw((unsigned int)(n + 1 - i));
		struct rule_pair swap = pair[i];

		pair[i] = pair[j];
		pair[j] = swap;
	}
	if (ruleset_parse(&rs, w->family, pair, n + 1, &err) != 0)
		printf("  %s: %s\n", err.key, err.text);
	return rs;
}

/* --- the model ---------------------------------------------------------------- */

struct packet {
	unsigned int dst; /* index of addresses */
	uint8_t proto;
	int port, type;
};

static bool model_matches(const struct world *w, const struct draft *d, const struct packet *p)
{
	unsigned int v6 = w->family == 6, bit = 1u << p->dst;
	bool tcp = p->proto == 6, udp = p->proto == 17, icmp = p->proto == (v6 ? 58 : 1);

	if (d->dst != NO_OPTION && !(prefix[v6][d->dst].covers & bit))
		return false;
	if (d->host != NO_OPTION && !host[d->host].resolves && d->accept)
		return false;
	if (d->host != NO_OPTION && host[d->host].resolves && !(host[d->host].covers[v6] & bit))
		return false;
	if ((d->proto == P_TCP && !tcp) || (d->proto == P_UDP && !udp) ||
	    (d->proto == P_ICMP && !icmp))
		return false;
	if (d->dns && (p->dst >= DNS_COUNT || !(tcp || udp) || p->port != 53))
		return false;
	if (d->dns && d->low != NO_OPTION && (d->low != 53 || d->high != 53))
		return false;
	if (d->low != NO_OPTION && (!(tcp || udp) || p->port < d->low || p->port > d->high))
		return false;
	return d->type == NO_OPTION || p->type == d->type;
}

/* Whether why_not() gives a reason for each rule that does not match, and for no other. */
static bool reasons_agree(const struct world *w, const struct why *why, const struct packet *p,
			  const struct rule_packet *pkt)
{
	char text[WHY_MAX];

	for (uint32_t i = 0; i < w->count; i++) {
		bool differs = why_not(why, i, pkt, text);

		if (differs != model_matches(w, &w->rule[i], p) && differs == (text[0] != '\0'))
			continue;
		printf("  rule %u, %s: \"%s\"\n", i, ruleset_value(why->rules, i), text);
		return false;
	}
	return true;
}

/* Return: whether matcher, reasons and model agree. */
static bool compare(const struct world *w, const struct policy *policy, const struct why *why,
		    const struct packet *p)
{
	struct addr dst = {0};
	const char *text = address[w->family == 6][p->dst];
	struct rule_packet pkt = {
	    .proto = p->proto, .dport = (uint16_t)p->port, .icmp_type = (uint8_t)p->type};
	uint32_t index = 0, want = RULE_INDEX_POLICY;
	bool accept = w->accept;
	enum rule_verdict verdict;

	if (addr_parse(text, strlen(text), &dst) != 0)
		return false;
	pkt.dst = dst.bytes;
	for (size_t i = 0; i < w->count && want == RULE_INDEX_POLICY; i++) {
		if (!model_matches(w, &w->rule[i], p))
			continue;
		want = (uint32_t)i;
		accept = w->rule[i].accept;
	}
	verdict = policy_match(policy, &pkt, &index);
	if (index == want && verdict == (accept ? RULE_ACCEPT : RULE_REJECT))
		return reasons_agree(w, why, p, &pkt);
	printf("  proto %u to %s port %d type %d: rule %u, model %u\n", p->proto, text, p->port,
	       p->type, index, want);
	return false;
}

static struct names *all_names(void)
{
	struct names *names = NULL;

	CHECK(names_new(&names) == 0);
	for (size_t h = 0; h < COUNT(host); h++) {
		char text[128];

		snprintf(text, sizeof(text), "%s=", host[h].name);
		if (host[h].resolves)
			CHECK(names_add(names, text) == 0);
		for (unsigned int i = 0; i < 16; i++) {
			if (!(host[h].covers[i / 8] >> i % 8 & 1))
				continue;
			snprintf(text, sizeof(text), "%s=%s", host[h].name, address[i / 8][i % 8]);
			CHECK(names_add(names, text) == 0);
		}
	}
	return names;
}

/* Return: how many packets matcher and model agreed on, or -1. */
static int run_round(uint64_t seed, struct names *names)
{
	struct addr dns[2 * DNS_COUNT];
	struct policy_env env = {
	    .dns = dns, .dns_count = COUNT(dns), .lookup = names_lookup, .lookup_arg = names};
	struct world w;
	struct ruleset *rs;
	struct policy *policy = NULL;
	struct why why = {.env = &env};
	int agreed = 0;

	state = seed;
	for (unsigned int i = 0; i < COUNT(dns); i++)
		CHECK(addr_parse(address[i / 2][i % 2], strlen(address[i / 2][i % 2]), &dns[i]) ==
		      0);
	draw_world(&w);
	why.rules = rs = write_and_parse(&w);
	if (rs == NULL || policy_compile(&policy, rs, &env) != 0)
		agreed = -1;
	for (unsigned int i = 0; i < PACKETS && agreed >= 0; i++) {
		struct packet p = {draw(COUNT(address[0])), packet_proto[draw(COUNT(packet_proto))],
				   port[draw(COUNT(port))], type[draw(COUNT(type))]};

		agreed = compare(&w, policy, &why, &p) ? agreed + 1 : -1;
	}
	policy_free(&policy);
	ruleset_free(&rs);
	return agreed;
}

int main(int argc, char **argv)
{
	struct names *names;

	test_case("M1 names");
	names = all_names();
	if (argc > 1) {
		CHECK(run_round(strtoull(argv[1], NULL, 10), names) >= 0);
	} else {
		test_case("M1 random subtrees and packets");
		for (uint64_t seed = 1; seed <= ROUNDS; seed++)
			if (!CHECK(run_round(seed, names) == PACKETS))
				printf("  seed %llu\n", (unsigned long long)seed);
	}
	names_free(&names);
	return test_end();
}
