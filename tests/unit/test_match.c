/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * R1, R9: the compiled matcher against the naive scan, on random rule sets from
 * none to RULE_MAX rules; and the bound on its memory.
 *
 * At least a million comparisons, each of verdict and deciding rule. A round
 * prints its seed and kind when it fails: test_match SEED KIND FAMILY RULES
 * repeats it alone.
 */
#include "check.h"
#include "rules/index.h"
#include "tests/unit/rules_naive.h"
#include "tests/unit/rules_random.h"

#include <time.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uint64_t comparisons;

/* Return: whether matcher and oracle agree. */
static bool compare(const struct policy *p, const struct naive *naive,
		    const struct rule_packet *pkt)
{
	uint32_t index = 0, want_index = 1;
	enum rule_verdict verdict = policy_match(p, pkt, &index);
	enum rule_verdict want = naive_match(naive, pkt, &want_index);
	struct addr dst = {.family = naive->rs->family};
	char text[ADDR_STRLEN];

	comparisons++;
	if (verdict == want && index == want_index)
		return true;
	memcpy(dst.bytes, pkt->dst, addr_len(&dst));
	printf("  proto %u to %s port %u type %u: %s by %u, naively %s by %u\n", pkt->proto,
	       addr_format(&dst, text), pkt->dport, pkt->icmp_type, rule_verdict_name(verdict),
	       index, rule_verdict_name(want), want_index);
	return false;
}

/* --- memory ------------------------------------------------------------------- */

static unsigned int levels_of(size_t leaves)
{
	unsigned int levels = 1;

	for (; leaves > 1; leaves = (leaves + 1) / 2)
		levels++;
	return levels;
}

/* The bound of doc/rules.md, in its words. */
static size_t memory_bound(const struct policy *p)
{
	size_t base = 256 + 56 * (p->rule_count + 1) + p->keys_len + 16 * (p->pool_count + 1);
	size_t prefixes = 0, single = 0, pairs = 0, held, addresses = p->pool_count;

	for (size_t i = 0; i < p->rule_count; i++) {
		const struct matcher *m = &p->rule[i];

		if (m->protos == 0)
			continue;
		if (m->flags & MATCH_SET) {
			pairs += m->count;
		} else if (m->prefix_len == (p->family == 4 ? 32 : 128)) {
			single++;
			pairs++;
		} else {
			prefixes++;
		}
	}
	if (p->rule_count < INDEX_RULES_MIN)
		return base;
	addresses += single;
	held = 2 * levels_of(2 * prefixes + 1) * prefixes;
	return base + 32 * (2 * prefixes + addresses + 2) + 16 * (held + addresses + 1) +
	       4 * (5 * (held + pairs) + 64 * p->rule_count + 1024);
}

static bool memory_is_bounded(const struct policy *p)
{
	size_t memory = policy_memory(p), bound = memory_bound(p);

	if (memory <= bound)
		return true;
	printf("  %zu bytes of memory, more than %zu\n", memory, bound);
	return false;
}

/* --- rounds ------------------------------------------------------------------- */

static bool run_round(uint64_t seed, enum world_kind kind, uint8_t family, size_t rules,
		      size_t packets)
{
	struct world w;
	struct naive naive;
	struct policy *p = NULL, *again = NULL;
	bool good;

	world_init(&w, seed, kind, family, rules);
	good = CHECK(naive_init(&naive, w.rs, &w.env)) &&
	       CHECK(policy_compile(&p, w.rs, &w.env) == 0);
	good = good && memory_is_bounded(p);
	/* All but what is fast anyway has an index: else this would test the scan. */
	good = good && CHECK((p->index != NULL) == (rules >= INDEX_RULES_MIN));
	for (size_t i = 0; good && i < packets; i++) {
		struct rule_packet pkt;
		uint8_t dst[16];

		world_packet(&w, &pkt, dst);
		good = compare(p, &naive, &pkt);
	}
	good = good && CHECK(policy_compile(&again, w.rs, &w.env) == 0) &&
	       CHECK(policy_equal(p, again)) &&
	       CHECK(policy_memory(p) == policy_memory(again));
	if (!good)
		printf("  test_match %llu %d %u %zu\n", (unsigned long long)seed, (int)kind, family,
		       rules);
	policy_free(&p);
	policy_free(&again);
	naive_clear(&naive);
	world_clear(&w);
	return good;
}

/* How many rule sets of which size, and packets for each. */
static const struct {
	const char *name;
	size_t least, most; /* rules */
	unsigned int sets;
	size_t packets;
} rounds[] = {
    {"R1_random_few_rules", 0, 20, 2100, 200},
    {"R1_random_tens_of_rules", 9, 100, 1050, 400},
    {"R1_random_hundreds_of_rules", 100, 500, 210, 2000},
    {"R1_random_thousands_of_rules", 1000, 3000, 28, 8000},
    {"R1_random_RULE_MAX_rules", RULE_MAX, RULE_MAX, 14, 2500},
};

#define WANTED 1000000

static void test_random(void)
{
	uint64_t seed = 1;

	for (size_t i = 0; i < COUNT(rounds); i++) {
		test_case(rounds[i].name);
		for (unsigned int set = 0; set < rounds[i].sets; set++, seed++) {
			struct world draw = {.state = seed};
			uint32_t span = (uint32_t)(rounds[i].most - rounds[i].least + 1);
			size_t rules = rounds[i].least + world_draw(&draw, span);

			/* Every kind, in both families. */
			if (!CHECK(run_round(seed, (enum world_kind)(set % WORLD_KINDS),
					     set / WORLD_KINDS % 2 ? 6 : 4, rules,
					     rounds[i].packets)))
				break;
		}
	}
	test_case("R1_a_million_comparisons");
	CHECK(comparisons >= WANTED);
	printf("%llu comparisons\n", (unsigned long long)comparisons);
}

/* --- what it costs ------------------------------------------------------------- */

#define COST_PACKETS 512
#define COST_ROUNDS  40

/* CPU time of COST_PACKETS verdicts, ns: the least of some rounds. */
static uint64_t cost_of(enum world_kind kind, uint8_t family, size_t rules)
{
	static struct rule_packet pkt[COST_PACKETS];
	static uint8_t dst[COST_PACKETS][16];
	uint64_t least = UINT64_MAX;
	struct policy *p = NULL;
	uint32_t index, sum = 0;
	struct world w;

	world_init(&w, 7, kind, family, rules);
	if (policy_compile(&p, w.rs, &w.env) != 0)
		abort();
	for (size_t i = 0; i < COST_PACKETS; i++)
		world_packet(&w, &pkt[i], dst[i]);
	for (int round = 0; round < COST_ROUNDS; round++) {
		struct timespec a, b;
		uint64_t ns;

		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
		for (size_t i = 0; i < COST_PACKETS; i++) {
			(void)policy_match(p, &pkt[i], &index);
			sum += index;
		}
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
		ns = (uint64_t)((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec);
		least = ns < least ? ns : least;
	}
	CHECK(sum != 1); /* the loop is not for nothing */
	policy_free(&p);
	world_clear(&w);
	return least;
}

/* A scan of 10 rules is measured first; one of 10 000 would cost hundreds of times that. */
static void test_cost(void)
{
	test_case("R9_cost_hardly_grows_with_rules");
	for (unsigned int kind = 0; kind < WORLD_KINDS; kind++) {
		uint8_t family = kind % 2 ? 6 : 4;
		uint64_t few = cost_of((enum world_kind)kind, family, 10);
		uint64_t many = cost_of((enum world_kind)kind, family, RULE_MAX);

		if (!CHECK(many < 30 * few))
			printf("  kind %u: %llu ns, then %llu\n", kind, (unsigned long long)few,
			       (unsigned long long)many);
	}
}

/* --- what is easily wrong, by hand -------------------------------------------- */

struct fixed {
	const char *name;
	const char *rule[4]; /* in front of fillers that are never met */
	const char *dst;
	uint8_t proto;
	uint16_t port;
	uint32_t index;
};

static const struct fixed fixed[] = {
    {"R1_order_between_actions_drop_first",
     {"action=drop dst4=10.1.0.0/16", "action=accept dst4=10.1.2.3", "action=accept"},
     "10.1.2.3", 6, 80, 0},
    {"R1_order_between_actions_accept_first",
     {"action=accept dst4=10.1.2.3", "action=drop dst4=10.1.0.0/16", "action=accept"},
     "10.1.2.3", 6, 80, 0},
    {"R7_lowest_index_within_an_action",
     {"action=accept proto=udp", "action=accept dst4=10.1.2.3", "action=accept dst4=10.0.0.0/8",
      "action=accept dst4=10.1.2.3 proto=tcp"},
     "10.1.2.3", 6, 80, 1},
    {"R7_lowest_index_prefix_before_host",
     {"action=accept proto=udp", "action=accept dst4=10.0.0.0/8", "action=accept dst4=10.1.2.3"},
     "10.1.2.3", 6, 80, 1},
    {"R7_lowest_index_any_before_host",
     {"action=accept proto=udp", "action=accept dstports=80-80", "action=accept dst4=10.1.2.3"},
     "10.1.2.3", 6, 80, 1},
    {"R1_next_port_belongs_to_the_host_rule",
     {"action=accept proto=udp", "action=accept dstports=80-80", "action=drop dst4=10.1.2.3"},
     "10.1.2.3", 6, 81, 2},
    {"R1_many_hosts_one_port_shadowed",
     {"action=drop dst4=10.1.2.3 dstports=80-80", "action=accept dst4=10.1.2.3 dstports=79-81",
      "action=drop dst4=10.1.2.0/24"},
     "10.1.2.3", 17, 81, 1},
    {"R1_last_address",
     {"action=drop dst4=255.255.255.254/31 proto=udp", "action=accept dst4=128.0.0.0/1"},
     "255.255.255.255", 6, 65535, 1},
    {"R1_first_address", {"action=drop dst4=0.0.0.1", "action=accept dst4=0.0.0.0/31"}, "0.0.0.0",
     6, 0, 1},
    {"R1_no_class_but_any", {"action=accept proto=tcp", "action=drop proto=udp", "action=accept"},
     "10.1.2.3", 47, 0, 2},
};

static void run_fixed(const struct fixed *f)
{
	struct rule_pair pair[INDEX_RULES_MIN + 5] = {{"policy", "drop", 4}};
	char key[INDEX_RULES_MIN + 4][8];
	struct policy_env env = {.dns = NULL};
	struct rule_packet pkt = {.proto = f->proto, .dport = f->port};
	struct ruleset *rs = NULL;
	struct policy *p = NULL;
	struct addr dst;
	uint32_t index = 0;
	size_t n = 1;

	test_case(f->name);
	for (size_t i = 0; i < COUNT(key); i++) {
		const char *value = i < 4 ? f->rule[i] : "action=drop dst4=192.0.2.1 proto=icmp";

		if (value == NULL)
			continue;
		snprintf(key[i], sizeof(key[i]), "%04zu", i);
		pair[n++] = (struct rule_pair){key[i], value, strlen(value)};
	}
	CHECK(addr_parse(f->dst, strlen(f->dst), &dst) == 0);
	pkt.dst = dst.bytes;
	if (CHECK(ruleset_parse(&rs, 4, pair, n, NULL) == 0) &&
	    CHECK(policy_compile(&p, rs, &env) == 0)) {
		CHECK(p->index != NULL);
		CHECK_INT(policy_match(p, &pkt, &index), rs->rule[f->index].action);
		CHECK_INT(index, f->index);
	}
	policy_free(&p);
	ruleset_free(&rs);
}

/* All rules to anywhere: no prefix, no point, one key. */
static void test_no_destinations(void)
{
	struct rule_pair pair[INDEX_RULES_MIN + 1] = {{"policy", "accept", 6}};
	char key[INDEX_RULES_MIN][8], value[INDEX_RULES_MIN][48];
	const uint8_t dst[2][4] = {{0, 0, 0, 0}, {255, 255, 255, 255}};
	struct policy_env env = {.dns = NULL};
	struct ruleset *rs = NULL;
	struct policy *p = NULL;

	test_case("R1_no_destinations");
	for (unsigned int i = 0; i < INDEX_RULES_MIN; i++) {
		snprintf(key[i], sizeof(key[i]), "%04u", i);
		snprintf(value[i], sizeof(value[i]), "action=drop dstports=%u-%u", i, 2 * i);
		pair[i + 1] = (struct rule_pair){key[i], value[i], strlen(value[i])};
	}
	if (CHECK(ruleset_parse(&rs, 4, pair, INDEX_RULES_MIN + 1, NULL) == 0) &&
	    CHECK(policy_compile(&p, rs, &env) == 0) && CHECK(p->index != NULL)) {
		for (unsigned int port = 0; port < 2 * INDEX_RULES_MIN + 2; port++) {
			struct rule_packet pkt = {
			    .dst = dst[port % 2], .proto = 17, .dport = (uint16_t)port};
			bool hit = port <= 2 * (INDEX_RULES_MIN - 1);
			uint32_t index = 0;

			CHECK_INT(policy_match(p, &pkt, &index),
				  hit ? RULE_REJECT : RULE_ACCEPT);
			CHECK_INT(index, hit ? (port + 1) / 2 : RULE_INDEX_POLICY);
		}
	}
	policy_free(&p);
	ruleset_free(&rs);
}

/* --- many hosts under many ports ---------------------------------------------- */

#define PORT_RULES 60 /* their row is just short enough to be copied */

/* Copying that row for every host would be fast, and more than was promised. */
static void test_copies(void)
{
	static char key[RULE_MAX][8], value[RULE_MAX][64];
	static struct rule_pair pair[RULE_MAX + 1];
	struct policy_env env = {.dns = NULL};
	struct ruleset *rs = NULL;
	struct policy *p = NULL;
	struct naive naive = {.name = NULL};

	test_case("R1_copies_are_bounded");
	static_assert(2 * PORT_RULES + 1 <= INDEX_COPY_MAX, "would be copied");
	for (unsigned int i = 0; i < RULE_MAX; i++) {
		snprintf(key[i], sizeof(key[i]), "%04u", i);
		if (i < PORT_RULES)
			snprintf(value[i], sizeof(value[i]),
				 "action=accept proto=tcp dstports=%u-%u", 10 * i, 10 * i + i % 9);
		else
			snprintf(value[i], sizeof(value[i]),
				 "action=drop proto=tcp dst4=10.0.%u.%u", i >> 8, i & 255);
		pair[i] = (struct rule_pair){key[i], value[i], strlen(value[i])};
	}
	pair[RULE_MAX] = (struct rule_pair){"policy", "accept", 6};
	if (CHECK(ruleset_parse(&rs, 4, pair, RULE_MAX + 1, NULL) == 0) &&
	    CHECK(policy_compile(&p, rs, &env) == 0) && CHECK(naive_init(&naive, rs, &env))) {
		CHECK(memory_is_bounded(p));
		for (unsigned int i = 0; i < 3000; i++) {
			uint8_t dst[4] = {10, 0, (uint8_t)(i * 3 >> 8), (uint8_t)(i * 3)};
			struct rule_packet pkt = {
			    .dst = dst, .proto = i % 4 ? 6 : 17, .dport = (uint16_t)(i % 700)};

			if (!CHECK(compare(p, &naive, &pkt)))
				break;
		}
	}
	policy_free(&p);
	ruleset_free(&rs);
	naive_clear(&naive);
}

/* --- more addresses in names than an index may have ------------------------------ */

#define BIT_NAMES 11
#define BIT_ADDRS (1u << BIT_NAMES)
#define BIT_RULES 1100

/* Name "bN" has the addresses whose number has bit N: no two are in the same names. */
static enum name_state bit_lookup(void *arg, const char *name, const struct addr **addrs,
				  size_t *count)
{
	const struct addr *table = arg;
	size_t bit = strtoul(name + 1, NULL, 10);

	*addrs = table + bit * BIT_ADDRS / 2;
	*count = BIT_ADDRS / 2;
	return NAME_RESOLVED;
}

static void bit_table(struct addr *table)
{
	for (unsigned int bit = 0; bit < BIT_NAMES; bit++) {
		for (unsigned int i = 0; i < BIT_ADDRS; i++) {
			if (i >> bit & 1)
				*table++ = (struct addr){
				    4, {10, 0, (uint8_t)(i >> 8), (uint8_t)i}};
		}
	}
}

static void test_too_many_pairs(void)
{
	static struct addr table[BIT_NAMES * BIT_ADDRS / 2];
	static char key[BIT_RULES][8], value[BIT_RULES][64];
	static struct rule_pair pair[BIT_RULES + 1];
	struct policy_env env = {.lookup = bit_lookup, .lookup_arg = table};
	struct ruleset *rs = NULL;
	struct policy *p = NULL;
	struct naive naive = {.name = NULL};

	test_case("R1_a_policy_too_big_for_an_index_is_scanned");
	static_assert(BIT_RULES * BIT_ADDRS / 2 > INDEX_PAIRS_MAX, "too many pairs");
	bit_table(table);
	for (unsigned int i = 0; i < BIT_RULES; i++) {
		snprintf(key[i], sizeof(key[i]), "%04u", i);
		snprintf(value[i], sizeof(value[i]), "action=%s dsthost=b%u dstports=%u-%u",
			 i % 3 ? "accept" : "drop", i % BIT_NAMES, i, i + i % 5);
		pair[i] = (struct rule_pair){key[i], value[i], strlen(value[i])};
	}
	pair[BIT_RULES] = (struct rule_pair){"policy", "accept", 6};
	if (CHECK(ruleset_parse(&rs, 4, pair, BIT_RULES + 1, NULL) == 0) &&
	    CHECK(policy_compile(&p, rs, &env) == 0) && CHECK(naive_init(&naive, rs, &env))) {
		CHECK(p->index == NULL && memory_is_bounded(p));
		for (unsigned int i = 0; i < BIT_ADDRS; i++) {
			uint8_t dst[4] = {10, 0, (uint8_t)(i >> 8), (uint8_t)i};
			struct rule_packet pkt = {
			    .dst = dst, .proto = 6, .dport = (uint16_t)(i % BIT_RULES)};

			if (!CHECK(compare(p, &naive, &pkt)))
				break;
		}
	}
	policy_free(&p);
	ruleset_free(&rs);
	naive_clear(&naive);
}

static size_t number(const char *text)
{
	return strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
	if (argc == 5) {
		test_case("R1_one_round");
		CHECK(run_round(strtoull(argv[1], NULL, 10), (enum world_kind)number(argv[2]),
				(uint8_t)number(argv[3]), number(argv[4]), 20000));
		return test_end();
	}
	for (size_t i = 0; i < COUNT(fixed); i++)
		run_fixed(&fixed[i]);
	test_no_destinations();
	test_copies();
	test_too_many_pairs();
	test_random();
	test_cost();
	return test_end();
}
