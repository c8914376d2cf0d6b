/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rules/ when memory runs out: every allocation of a parse, a compile and a
 * name table fails once. Nothing may leak (LeakSanitizer looks), nothing may be
 * handed out half built, out parameters stay as they were.
 *
 * The allocator's functions are replaced by ones that count down and then go on
 * to the sanitizer's own.
 */
#include "check.h"
#include "rules/names.h"
#include "rules/rules.h"

#include <errno.h>
#include <stdlib.h>

void *__interceptor_malloc(size_t size);
void *__interceptor_calloc(size_t n, size_t size);
void *__interceptor_realloc(void *p, size_t size);

static unsigned int countdown; /* 0: never fails */
static unsigned int failures;

static bool fails(void)
{
	if (countdown == 0 || --countdown > 0)
		return false;
	failures++;
	return true;
}

void *malloc(size_t size)
{
	return fails() ? NULL : __interceptor_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __interceptor_calloc(n, size);
}

void *reallocarray(void *p, size_t n, size_t size)
{
	size_t bytes;

	if (fails() || __builtin_mul_overflow(n, size, &bytes))
		return NULL;
	return __interceptor_realloc(p, bytes);
}

static const struct rule_pair pairs[] = {
    {"policy", "drop", 4},
    {"0000", "action=accept dsthost=a.test", 28},
    {"0001", "action=drop dsthost=b.test specialtarget=dns", 44},
    {"0002", "action=accept dst4=1.2.3.4 proto=tcp", 36},
    /* Enough rules for an index, with nodes and rows that grow. */
    {"0003", "action=accept dst4=10.0.0.0/8 proto=udp", 39},
    {"0004", "action=drop dst4=10.1.0.0/16 proto=tcp", 38},
    {"0005", "action=drop dst4=10.1.2.0/24 proto=tcp", 38},
    {"0006", "action=accept proto=tcp dstports=1-99", 37},
    {"0007", "action=accept proto=udp dstports=5-7", 36},
    {"0008", "action=drop dsthost=c.test", 26},
    {"0009", "action=drop proto=udp", 21},
    {"0010", "action=accept dst4=10.9.8.7", 27},
};

#define PAIRS (sizeof(pairs) / sizeof(pairs[0]))

static void count_problem(void *arg, const struct rule_error *err)
{
	size_t *count = arg;

	CHECK(err->text[0] != '\0');
	(*count)++;
}

/* One go with the nth allocation failing; returns whether one did fail. */
static bool try_parse(unsigned int nth)
{
	struct ruleset *rs = NULL;
	struct rule_error err = {"", ""};
	int ret;

	failures = 0;
	countdown = nth;
	ret = ruleset_parse(&rs, 4, pairs, PAIRS, &err);
	countdown = 0;
	CHECK_INT(ret, failures ? -ENOMEM : 0);
	CHECK((rs != NULL) == (ret == 0));
	CHECK_STR(err.text, "");
	ruleset_free(&rs);
	return failures != 0;
}

/* Not being able to look is a problem, too: never "no problems". */
static bool try_check(unsigned int nth)
{
	size_t reported = 0, n;

	failures = 0;
	countdown = nth;
	n = ruleset_check(4, pairs, PAIRS, count_problem, &reported);
	countdown = 0;
	CHECK_INT(n, failures);
	CHECK_INT(reported, failures);
	return failures != 0;
}

static bool try_compile(unsigned int nth, const struct ruleset *rs, const struct policy_env *env)
{
	struct policy *p = NULL;
	int ret;

	failures = 0;
	countdown = nth;
	ret = policy_compile(&p, rs, env);
	countdown = 0;
	/* Giving memory back may fail without harm: then it is just kept. */
	CHECK(ret == -ENOMEM || ret == 0);
	CHECK((p != NULL) == (ret == 0));
	CHECK(failures || ret == 0);
	if (p != NULL)
		CHECK_INT(policy_rule_count(p), PAIRS - 1);
	policy_free(&p);
	return failures != 0;
}

static bool try_names(unsigned int nth)
{
	struct names *n = NULL;
	const struct addr *addrs;
	size_t count;
	int ret;

	failures = 0;
	countdown = nth;
	ret = names_new(&n);
	if (ret == 0)
		ret = names_add(n, "a.test=1.2.3.4,5.6.7.8");
	if (ret == 0)
		ret = names_add(n, "a.test=9.9.9.9");
	countdown = 0;
	CHECK_INT(ret, failures ? -ENOMEM : 0);
	if (ret == 0)
		CHECK(names_lookup(n, "a.test", &addrs, &count) == NAME_RESOLVED && count == 3);
	names_free(&n);
	return failures != 0;
}

static void test_malformed(void)
{
	struct policy *p = NULL;

	test_case("policy_malformed");
	countdown = 1;
	CHECK_INT(policy_malformed(&p), -ENOMEM);
	countdown = 0;
	CHECK(p == NULL);
}

/* A lookup that claims more than 32 bits can count. */
static enum name_state huge(void *arg, const char *name, const struct addr **addrs, size_t *count)
{
	(void)name;
	*addrs = arg;
	*count = SIZE_MAX / 2;
	return NAME_RESOLVED;
}

int main(void)
{
	struct addr dns[2] = {{4, {10, 139, 1, 1}}, {4, {10, 139, 1, 2}}};
	struct policy_env env = {.dns = dns, .dns_count = 2, .lookup = names_lookup};
	struct names *names = NULL;
	struct ruleset *rs = NULL;
	struct policy *p = NULL;
	unsigned int n;

	test_case("parse");
	for (n = 1; try_parse(n); n++)
		;
	CHECK(n > 4);
	test_case("check");
	for (n = 1; try_check(n); n++)
		;
	CHECK(n > 1);
	test_case("compile");
	CHECK(ruleset_parse(&rs, 4, pairs, PAIRS, NULL) == 0);
	CHECK(names_new(&names) == 0 && names_add(names, "a.test=1.1.1.1,2.2.2.2") == 0);
	env.lookup_arg = names;
	for (n = 1; try_compile(n, rs, &env); n++)
		;
	CHECK(n > 30);
	test_case("sizes that overflow are refused");
	env.lookup = huge;
	env.lookup_arg = dns;
	CHECK_INT(policy_compile(&p, rs, &env), -ENOMEM);
	env.lookup = NULL;
	env.dns_count = UINT32_MAX;
	CHECK_INT(policy_compile(&p, rs, &env), -ENOMEM);
	CHECK(p == NULL);
	test_case("names");
	for (n = 1; try_names(n); n++)
		;
	CHECK(n > 4);
	test_malformed();
	ruleset_free(&rs);
	names_free(&names);
	return test_end();
}
