/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A whole subtree from bytes, and what must hold for any of them; the matcher
 * says what the naive scan says.
 *
 * Input: one byte (bit 0: family 6; bits 1-3: seed of the packets), then lines
 * "KEY=VALUE"; a byte 0x1e ends a line, so values may hold newlines. Packets
 * are drawn from a generator that the input seeds: a finding repeats.
 */
#include "rules/names.h"
#include "tests/unit/rules_naive.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAIR_MAX  64
#define SEPARATOR 0x1e

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	char *bytes; /* keys are NUL terminated in it */
	struct rule_pair pair[PAIR_MAX];
	size_t count;
	uint8_t family;
	uint64_t random;
};

static uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 32);
}

static void read_input(struct input *in, const uint8_t *data, size_t size)
{
	char *at, *end;

	in->family = data[0] & 1 ? 6 : 4;
	in->random = data[0] >> 1;
	in->bytes = malloc(size);
	assert(in->bytes != NULL);
	memcpy(in->bytes, data + 1, size - 1);
	in->bytes[size - 1] = SEPARATOR;
	at = in->bytes;
	end = in->bytes + size;
	while (at < end && in->count < PAIR_MAX) {
		char *stop = memchr(at, SEPARATOR, (size_t)(end - at));
		char *equals = memchr(at, '=', (size_t)(stop - at));

		if (equals != NULL) {
			*equals = '\0';
			in->pair[in->count++] =
			    (struct rule_pair){at, equals + 1, (size_t)(stop - equals - 1)};
		}
		at = stop + 1;
	}
}

struct problems {
	struct rule_error first;
	size_t count;
};

/* What is reported must be fit for a log line. */
static void is_printable(const char *text, size_t size)
{
	size_t len = strnlen(text, size);

	assert(len < size);
	for (size_t i = 0; i < len; i++)
		assert(text[i] >= 0x20 && text[i] <= 0x7e);
}

static void on_problem(void *arg, const struct rule_error *err)
{
	struct problems *p = arg;

	is_printable(err->key, sizeof(err->key));
	is_printable(err->text, sizeof(err->text));
	assert(err->text[0] != '\0');
	if (p->count++ == 0)
		p->first = *err;
}

/* The answer to a name depends on the name alone: none, some, some of more, or
 * unresolved. */
static enum name_state answer(void *arg, const char *name, const struct addr **addrs, size_t *count)
{
	const struct addr *table = arg;
	size_t len = strlen(name);

	assert(len > 0 && len <= RULE_NAME_MAX);
	if (len % 3 == 0)
		return NAME_UNRESOLVED;
	*addrs = table;
	*count = len % 5;
	return len % 7 == 0 ? NAME_PARTIAL : NAME_RESOLVED;
}

static void on_line(void *arg, const char *text)
{
	size_t *lines = arg;

	is_printable(text, 2048);
	(*lines)++;
}

static void on_name(void *arg, const char *name)
{
	const char **last = arg;

	assert(name[0] != '\0' && (*last == NULL || strcmp(*last, name) != 0));
	*last = name;
}

/* An address that rules speak of: in a table, at the end of a prefix, or any. */
static void draw_dst(struct input *in, const struct ruleset *rs, const struct addr *table,
		     uint8_t dst[16])
{
	uint32_t how = next_random(&in->random) % 4;
	const struct rule *rule;

	for (unsigned int b = 0; b < 16; b++)
		dst[b] = (uint8_t)next_random(&in->random);
	if (how == 0) {
		memcpy(dst, table[next_random(&in->random) % 5].bytes, 16);
	} else if (how < 3 && rs->rule_count > 0) {
		rule = &rs->rule[next_random(&in->random) % rs->rule_count];
		memcpy(dst, rule->net, 16);
		for (unsigned int b = rule->prefix_len; how == 2 && b < 128; b++)
			dst[b / 8] |= (uint8_t)(0x80 >> b % 8);
	}
}

static uint16_t draw_port(struct input *in, const struct ruleset *rs)
{
	uint32_t any = next_random(&in->random);
	const struct rule *rule;

	if (rs->rule_count == 0 || any % 4 == 0)
		return any & 16 ? 53 : (uint16_t)(any >> 8);
	rule = &rs->rule[(any >> 8) % rs->rule_count];
	return (uint16_t)((any & 16 ? rule->low : rule->high) + any % 4 - 2);
}

static void match_some(const struct policy *p, struct input *in, const struct ruleset *rs,
		       const struct policy_env *env)
{
	static const uint8_t protos[] = {1, 6, 17, 47, 58, 132};
	char key[RULE_KEY_MAX];
	struct naive naive;

	if (!naive_init(&naive, rs, env))
		abort();
	for (unsigned int i = 0; i < 64; i++) {
		uint8_t dst[16];
		struct rule_packet pkt = {.dst = dst};
		uint32_t index = 0, want = 1;
		enum rule_verdict verdict, naively;

		draw_dst(in, rs, env->dns, dst);
		pkt.proto = protos[next_random(&in->random) % sizeof(protos)];
		pkt.dport = draw_port(in, rs);
		pkt.icmp_type = (uint8_t)draw_port(in, rs);
		verdict = policy_match(p, &pkt, &index);
		assert(verdict == RULE_ACCEPT || verdict == RULE_REJECT);
		assert(index < policy_rule_count(p) || index == RULE_INDEX_POLICY);
		naively = naive_match(&naive, &pkt, &want);
		assert(naively == verdict && want == index);
		assert(strcmp(policy_key(p, index, key), "none") != 0);
	}
	naive_clear(&naive);
}

static void compile(struct input *in, const struct ruleset *rs)
{
	struct addr table[5] = {{4, {10, 139, 1, 1}},
				{6, {0x20, 1}},
				{4, {8, 8, 8, 8}},
				{6, {0xfd, 9}},
				{4, {10, 139, 1, 2}}};
	struct policy_env env = {
	    .dns = table, .dns_count = 5, .lookup = answer, .lookup_arg = table};
	struct policy *p = NULL, *same = NULL;
	size_t lines = 0;
	int ret = policy_compile(&p, rs, &env);

	assert(ret == 0);
	ret = policy_compile(&same, rs, &env);
	assert(ret == 0 && policy_equal(p, same) && policy_equal(p, p));
	assert(policy_rule_count(p) == ruleset_count(rs));
	policy_print(p, on_line, &lines);
	assert(lines == policy_rule_count(p) + 1);
	match_some(p, in, rs, &env);
	policy_free(&p);
	policy_free(&same);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {.bytes = NULL};
	struct problems problems = {.count = 0};
	struct ruleset *rs = NULL, *same = NULL;
	struct rule_error err = {"", ""};
	const char *last = NULL;
	int ret;

	if (size == 0)
		return 0;
	read_input(&in, data, size);
	ret = ruleset_parse(&rs, in.family, in.pair, in.count, &err);
	ruleset_check(in.family, in.pair, in.count, on_problem, &problems);
	if (ret != 0) {
		assert(ret == -EBADMSG && rs == NULL && problems.count > 0);
		/* The first problem is the same for both callers. */
		assert(strcmp(err.key, problems.first.key) == 0);
		assert(strcmp(err.text, problems.first.text) == 0);
	} else {
		assert(problems.count == 0 && err.text[0] == '\0');
		ret = ruleset_parse(&same, in.family, in.pair, in.count, NULL);
		assert(ret == 0 && ruleset_equal(rs, same) && ruleset_equal(rs, rs));
		ruleset_names(rs, on_name, &last);
		compile(&in, rs);
	}
	ruleset_free(&rs);
	ruleset_free(&same);
	free(in.bytes);
	return 0;
}
