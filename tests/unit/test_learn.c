// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Addresses learned from DNS answers, through the engine: client 1 asks the server
 * DNS for names that its rules have, and reaches what it was told.
 */
#include "firewall/learn.h"
#include "tests/unit/check.h"
#include "tests/unit/lab.h"
#include "tests/unit/dns_build.h" /* its len and msg would hide names in lab.h */
#include "rules/ruleset.h"

#include <errno.h>
#include <time.h>

static struct lab lab;
static const struct seen *s;
static uint16_t next_id;

#define CDN "203.0.113.7"

static const char *const rules[] = {
	"action=accept specialtarget=dns",
	"action=drop dsthost=bad.test proto=tcp dstports=444-444",
	"action=accept dsthost=www.example.com proto=tcp dstports=443-445",
	"action=accept dsthost=cdn.test",
	NULL,
};

static struct ruleset *parse(const char *const *list)
{
	struct rule_pair pairs[16] = { { "policy", "drop", 4 } };
	struct ruleset *rs;
	char keys[16][8];
	size_t n = 1;

	for (; list[n - 1]; n++) {
		snprintf(keys[n], sizeof(keys[n]), "%04u", (unsigned int)(n - 1) % 10000);
		pairs[n] = (struct rule_pair){ keys[n], list[n - 1], strlen(list[n - 1]) };
	}
	if (ruleset_parse(&rs, 4, pairs, n, NULL) != 0)
		abort();
	return rs;
}

/* The rules in force for a client, with its option and its wildcards. */
static void put(const char *ip, const char *const *list, bool learn, const char *wildcards)
{
	struct addr addr = lab_to_addr(ip), dns = lab_to_addr(DNS);
	struct policy_env env = { .dns = &dns, .dns_count = 1 };
	struct engine_source_options options = { .learn = learn };
	struct ruleset *rs = parse(list);
	struct policy *p;

	if (policy_compile(&p, rs, &env) != 0)
		abort();
	CHECK_INT(engine_source_set(lab.e, &addr, p, ENGINE_RULES), 0);
	CHECK_INT(engine_source_options(lab.e, &addr, &options), 0);
	CHECK_INT(engine_learn_rules(lab.e, &addr, rs, wildcards), learn ? 0 : -ENOENT);
	ruleset_free(&rs);
}

static void start(void)
{
	struct engine_dns dns = { lab_to_addr(DNS), lab_to_addr(DNS) };

	if (lab.e)
		engine_free(&lab.e);
	lab_init(&lab, 0, 1);
	engine_set_dns(lab.e, &dns, 1);
	put(C1, rules, true, NULL);
	put(C2, rules, true, NULL);
	put(C3, rules, false, NULL);
}

/* A query or, with @addr, its answer, perhaps by way of @cname. */
static void message(uint16_t id, const char *name, const char *cname, const char *addr,
		    uint32_t ttl)
{
	put_head(id, addr ? 0x8180 : 0x0100, 1, (addr ? 1 : 0) + (cname ? 1 : 0), 0);
	put_question(name, 1);
	if (cname)
		put_cname(name, ttl, cname);
	if (addr) {
		put_record(cname ? cname : name, 1, ttl, 4);
		lab_addr(msg + len, addr);
		len += 4;
	}
}

static uint16_t ask(uint16_t client, const char *name)
{
	uint16_t id = ++next_id;

	message(id, name, NULL, NULL, 0);
	s = lab_send(&lab, (struct pk){ .port = client, .src = lab_ip[client], .dst = DNS,
					.proto = 17, .sp = (uint16_t)(5000 + client), .dp = 53,
					.data = msg, .len = len });
	CHECK_INT(s->verdict, FRAME_FORWARD);
	return id;
}

static void answer(uint16_t client, uint16_t id, const char *name, const char *cname,
		   const char *addr, uint32_t ttl)
{
	message(id, name, cname, addr, ttl);
	s = lab_send(&lab, (struct pk){ .port = UP, .src = DNS, .dst = OUR, .proto = 17, .sp = 53,
					.dp = (uint16_t)(5000 + client), .data = msg, .len = len });
	CHECK_INT(s->verdict, FRAME_FORWARD);
	engine_check(lab.e);
}

static void told(uint16_t client, const char *name, const char *addr, uint32_t ttl)
{
	answer(client, ask(client, name), name, NULL, addr, ttl);
}

/* Whether a new connection of the client gets out; its flow ends at once. */
static bool reaches(uint16_t client, const char *dst, uint16_t port)
{
	static uint16_t sp = 20000;

	sp++;
	s = lab_send(&lab, (struct pk){ .port = client, .src = lab_ip[client], .dst = dst,
					.proto = 6, .sp = sp, .dp = port, .flags = T_SYN });
	return s->verdict == FRAME_FORWARD;
}

static void test_learning(void)
{
	test_case("learn_an_address_for_exactly_its_rules");
	start();
	CHECK(!reaches(1, CDN, 443));
	told(1, "www.example.com", CDN, 30);
	CHECK(reaches(1, CDN, 443));
	CHECK(!reaches(1, CDN, 80));	      /* not what the rule says */
	CHECK(!reaches(1, "203.0.113.8", 443)); /* not what was answered */
	CHECK(!reaches(2, CDN, 443));	      /* not whom it was told */

	test_case("learn_nothing_without_the_option");
	told(3, "www.example.com", CDN, 30);
	CHECK(!reaches(3, CDN, 443));

	test_case("learn_only_names_of_the_rules");
	told(1, "example.com", "203.0.113.20", 30);
	CHECK(!reaches(1, "203.0.113.20", 443));
	told(1, "a.www.example.com", "203.0.113.21", 30);
	CHECK(!reaches(1, "203.0.113.21", 443));

	test_case("learn_through_cnames");
	answer(1, ask(1, "WWW.example.COM"), "www.Example.com", "edge.cdn.net", "203.0.113.30",
	       30);
	CHECK(reaches(1, "203.0.113.30", 443));

	test_case("R1_learned_addresses_keep_the_order_of_the_rules");
	told(1, "bad.test", CDN, 30); /* the drop comes first, for 444 */
	CHECK(!reaches(1, CDN, 444));
	CHECK(reaches(1, CDN, 445));
}

static void test_forgery(void)
{
	test_case("learn_not_from_an_unasked_answer");
	start();
	ask(1, "other.test"); /* there is a flow */
	answer(1, 999, "www.example.com", NULL, CDN, 30);
	CHECK(!reaches(1, CDN, 443));

	test_case("learn_not_from_another_id_or_question");
	answer(1, (uint16_t)(ask(1, "www.example.com") + LEARN_QUERIES), "www.example.com", NULL,
	       CDN, 30);
	CHECK(!reaches(1, CDN, 443));
	answer(1, ask(1, "www.example.com"), "cdn.test", NULL, CDN, 30);
	CHECK(!reaches(1, CDN, 443));

	test_case("learn_not_from_another_clients_flow");
	ask(2, "other.test"); /* there is a flow */
	answer(2, ask(1, "www.example.com"), "www.example.com", NULL, CDN, 30);
	CHECK(!reaches(1, CDN, 443) && !reaches(2, CDN, 443));

	test_case("learn_once_from_a_question");
	{
		uint16_t id = ask(1, "www.example.com");

		answer(1, id, "www.example.com", NULL, "203.0.113.40", 30);
		answer(1, id, "www.example.com", NULL, "203.0.113.41", 30);
		CHECK(reaches(1, "203.0.113.40", 443) && !reaches(1, "203.0.113.41", 443));
	}

	test_case("learn_not_from_another_server");
	{
		const char *all[] = { "action=accept proto=udp", rules[2], NULL };

		put(C2, all, true, NULL);
		message(77, "www.example.com", NULL, NULL, 0);
		lab_send(&lab, (struct pk){ .port = 2, .src = C2, .dst = WEB, .proto = 17,
					    .sp = 6000, .dp = 53, .data = msg, .len = len });
		message(77, "www.example.com", NULL, CDN, 30);
		s = lab_send(&lab, (struct pk){ .port = UP, .src = WEB, .dst = OUR, .proto = 17,
						.sp = 53, .dp = 6000, .data = msg, .len = len });
		CHECK_INT(s->verdict, FRAME_FORWARD);
		CHECK(!reaches(2, CDN, 443));
	}

	test_case("learn_from_questions_side_by_side");
	{
		uint16_t first = ask(1, "cdn.test");

		for (int i = 1; i < LEARN_QUERIES; i++) {
			next_id = (uint16_t)(next_id + 63); /* alike in their last bits */
			ask(1, "www.example.com");
		}
		answer(1, first, "cdn.test", NULL, "203.0.113.42", 30);
		CHECK(reaches(1, "203.0.113.42", 9));
		first = ask(1, "cdn.test");
		for (int i = 0; i < LEARN_QUERIES; i++)
			ask(1, "www.example.com");
		answer(1, first, "cdn.test", NULL, "203.0.113.43", 30);
		CHECK(!reaches(1, "203.0.113.43", 9)); /* one too many: the oldest went */
	}

	test_case("learn_not_too_late");
	{
		uint16_t id = ask(1, "www.example.com");

		lab.ms += LEARN_QUERY_MS;
		answer(1, id, "www.example.com", NULL, CDN, 30);
		CHECK(!reaches(1, CDN, 443));
	}
}

static void test_life(void)
{
	const char *fewer[] = { rules[0], rules[3], NULL };

	test_case("learn_for_the_ttl_within_floor_and_ceiling");
	start();
	told(1, "www.example.com", CDN, 1);
	told(1, "cdn.test", "203.0.113.50", 1u << 30);
	lab_wait(&lab, (LEARN_TTL_MIN_S - 2) * 1000);
	CHECK(reaches(1, CDN, 443));
	lab_wait(&lab, 3000);
	CHECK(!reaches(1, CDN, 443));
	CHECK(reaches(1, "203.0.113.50", 1));
	lab.ms += LEARN_TTL_MAX_S * 1000ull;
	lab_wait(&lab, 2000);
	CHECK(!reaches(1, "203.0.113.50", 1));

	test_case("R6_learned_flows_live_through_a_reload");
	start();
	told(1, "www.example.com", CDN, 30);
	CHECK(reaches(1, CDN, 443));
	put(C1, rules, true, NULL);
	s = lab_send(&lab, (struct pk){ .port = UP, .src = CDN, .dst = OUR, .proto = 6, .sp = 443,
					.dp = s->sp, .flags = T_SYN | T_ACK, .ack = 1 });
	CHECK_INT(s->verdict, FRAME_FORWARD);
	CHECK(reaches(1, CDN, 443));

	test_case("learn_forgets_with_the_rule_and_with_the_option");
	told(1, "cdn.test", "203.0.113.51", 30);
	put(C1, fewer, true, NULL);
	CHECK(!reaches(1, CDN, 443) && reaches(1, "203.0.113.51", 9));
	put(C1, rules, true, NULL);
	CHECK(!reaches(1, CDN, 443));
	put(C1, rules, false, NULL);
	put(C1, rules, true, NULL);
	CHECK(!reaches(1, "203.0.113.51", 9));

	test_case("Q7_a_new_qube_has_learned_nothing");
	told(1, "www.example.com", CDN, 30);
	{
		struct addr c1 = lab_to_addr(C1);

		engine_iface_clear(lab.e, 1);
		engine_source_forget(lab.e, &c1);
		lab_client(&lab, 1, C1);
		put(C1, rules, true, NULL);
	}
	CHECK(!reaches(1, CDN, 443));
	engine_check(lab.e);
}

static void test_wildcards(void)
{
	test_case("learn_subdomains_of_a_wildcard");
	start();
	put(C1, rules, true, "www.example.com other.test");
	told(1, "a.b.www.example.com", CDN, 30);
	CHECK(reaches(1, CDN, 443));
	told(1, "xwww.example.com", "203.0.113.60", 30);
	CHECK(!reaches(1, "203.0.113.60", 443));
	told(1, "a.cdn.test", "203.0.113.61", 30); /* no wildcard */
	CHECK(!reaches(1, "203.0.113.61", 9));
	told(1, "a.other.test", "203.0.113.62", 30); /* no rule */
	CHECK(!reaches(1, "203.0.113.62", 443));
}

static void test_wildcards_too(void)
{
	static const char *const list[] = {
		"action=accept specialtarget=dns",
		"action=accept dsthost=www.example.com proto=tcp dstports=443-443",
		"action=accept dsthost=example.com proto=tcp dstports=80-80",
		"action=accept dsthost=com. proto=tcp dstports=25-25",
		"action=accept dsthost=plain.test proto=tcp dstports=25-25",
		NULL,
	};

	test_case("learn_for_the_name_and_its_wildcards");
	start();
	put(C1, list, true, "example.com com. plain.test");
	told(1, "www.example.com", CDN, 30);
	CHECK(reaches(1, CDN, 443) && reaches(1, CDN, 80) && reaches(1, CDN, 25));
	told(1, "ftp.example.com", "203.0.113.8", 30);
	CHECK(!reaches(1, "203.0.113.8", 443) && reaches(1, "203.0.113.8", 80) &&
	      reaches(1, "203.0.113.8", 25));
	told(1, "example.com", "203.0.113.9", 30); /* the name itself is its rule's */
	CHECK(!reaches(1, "203.0.113.9", 443) && reaches(1, "203.0.113.9", 80) &&
	      reaches(1, "203.0.113.9", 25));

	test_case("learn_for_the_rules_at_the_time_of_the_answer");
	{
		uint16_t id = ask(1, "www.example.com");

		put(C1, list, true, "com");
		answer(1, id, "www.example.com", NULL, "203.0.113.10", 30);
	}
	CHECK(reaches(1, "203.0.113.10", 443) && !reaches(1, "203.0.113.10", 80) &&
	      reaches(1, "203.0.113.10", 25));

	test_case("learn_no_address_that_no_name_should_have");
	told(1, "plain.test", "169.254.169.254", 30);
	CHECK(!reaches(1, "169.254.169.254", 25));
	told(1, "plain.test", "172.16.0.1", 30); /* private ones count, as for names */
	CHECK(reaches(1, "172.16.0.1", 25));
}

static unsigned int listed;

static void count(void *arg, const struct addr *addr, uint64_t left_ms)
{
	(void)arg;
	(void)addr;
	CHECK(left_ms > 0 && left_ms <= LEARN_TTL_MAX_S * 1000ull);
	listed++;
}

static void test_bounds(void)
{
	struct addr c1 = lab_to_addr(C1);
	char addr[40];

	test_case("learn_no_more_than_a_source_may");
	start();
	told(2, "cdn.test", CDN, 30);
	for (int i = 0; i < 3 * LEARN_SOURCE_ADDRS; i++) {
		snprintf(addr, sizeof(addr), "198.51.%d.%d", i / 200, i % 200 + 1);
		told(1, "cdn.test", addr, 30);
	}
	CHECK(reaches(1, addr, 9));
	CHECK(!reaches(1, "198.51.0.1", 9)); /* its oldest went */
	CHECK(reaches(2, CDN, 9));	     /* the other's did not */
	engine_learned(lab.e, &c1, "cdn.test", count, NULL);
	CHECK_INT(listed, LEARN_SOURCE_ADDRS);
}

/* --- many rules ---------------------------------------------------------------------- */

#define MANY_NAMES 256
#define MANY_RULES 10000

/* A source with many names, each known to be at some of eight addresses. */
static struct learn *many(struct named_rule *copy, unsigned int names, unsigned int rule_count,
			  unsigned int addrs)
{
	struct named_rule *list = calloc(rule_count, sizeof(*list));
	static const uint8_t key[16] = {1};
	char name[32], addr[24];
	struct learn *l;

	if (!list || learn_new(&l, key) != 0)
		abort();
	for (unsigned int i = 0; i < rule_count; i++) {
		snprintf(name, sizeof(name), "n%u.test", i * 7919 % names);
		list[i] = (struct named_rule){
			.name = learn_name(l, name),
			.rule = 3 * i,
			.low = (uint16_t)(i * 31 % 200),
			.high = (uint16_t)(i * 31 % 200 + i % 3),
			.protos = i % 2 ? CLASS_TCP : CLASS_TCP | CLASS_UDP,
			.action = i % 5 ? RULE_ACCEPT : RULE_REJECT,
		};
	}
	memcpy(copy, list, rule_count * sizeof(*list));
	learn_rules(l, 0, 4, list, rule_count);
	for (unsigned int i = 0; i < names; i++) {
		snprintf(name, sizeof(name), "n%u.test", i);
		snprintf(addr, sizeof(addr), "203.0.113.%u", i % addrs);
		message(1, name, NULL, NULL, 0);
		learn_query(l, 0, 1, msg, len, 1000);
		message(1, name, NULL, addr, 60);
		learn_answer(l, 0, 1, msg, len, 1000);
	}
	learn_check(l);
	return l;
}

/* The first rule, looked for one by one. */
static bool naive(const struct learn *l, const struct named_rule *list, unsigned int names,
		  unsigned int rule_count, unsigned int addrs, const struct rule_packet *pkt,
		  const struct named_rule **found)
{
	uint64_t numbers[MANY_NAMES] = {0};
	char name[32];

	for (unsigned int i = 0; i < names; i++) {
		snprintf(name, sizeof(name), "n%u.test", i);
		numbers[i] = learn_name((void *)(uintptr_t)l, name);
	}
	for (unsigned int i = 0; i < rule_count; i++)
		for (unsigned int n = pkt->dst[3]; n < names; n += addrs)
			if (list[i].name == numbers[n] && named_rule_matches(&list[i], 4, pkt)) {
				*found = &list[i];
				return true;
			}
	return false;
}

static void test_many_rules(void)
{
	static struct named_rule copy[MANY_RULES];
	uint8_t dst[4] = {203, 0, 113, 0};
	struct rule_packet pkt = {.dst = dst, .proto = 6};
	unsigned int hits = 0;
	struct timespec a, b;
	enum rule_verdict verdict;
	uint32_t rule;
	struct learn *l;

	test_case("R1_first_of_many_rules_with_learned_addresses");
	l = many(copy, 40, 500, 8);
	for (unsigned int i = 0; i < 4000; i++) {
		const struct named_rule *want = NULL;
		bool found;

		dst[3] = (uint8_t)(i % 10); /* two of them nobody was told */
		pkt.dport = (uint16_t)(i * 17 % 203);
		pkt.proto = i % 3 ? 6 : 17;
		found = dst[3] < 8 && naive(l, copy, 40, 500, 8, &pkt, &want);
		if (!CHECK(learn_match(l, 0, &pkt, 2000, &rule, &verdict) == found))
			break;
		if (found && !CHECK(rule == want->rule && verdict == want->action))
			break;
		hits += found;
	}
	CHECK(hits > 200 && hits < 3800);
	learn_free(&l);

	/* every name at one address, and a port that no rule is for */
	test_case("R9_D4_learned_names_do_not_multiply_with_rules");
	l = many(copy, MANY_NAMES, MANY_RULES, 1);
	dst[3] = 0;
	pkt.proto = 6;
	pkt.dport = 60000;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	for (int i = 0; i < 20; i++)
		CHECK(!learn_match(l, 0, &pkt, 2000, &rule, &verdict));
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	CHECK((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec < 20 * 1000000);
	learn_free(&l);
}

int main(void)
{
	test_learning();
	test_forgery();
	test_life();
	test_wildcards();
	test_wildcards_too();
	test_bounds();
	test_many_rules();
	return test_end();
}
