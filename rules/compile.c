/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a ruleset to a policy: names and DNS servers become addresses.
 *
 * First every distinct name is looked up once and its addresses of the family
 * become a sorted slice of the pool, shared by all rules with that name; the
 * DNS servers become such a slice too. Then each rule is turned into a matcher:
 *
 *   destination     without specialtarget   with specialtarget=dns
 *   any             any                     the DNS servers
 *   prefix          the prefix              the DNS servers in the prefix
 *   name, resolved  its slice               DNS servers among its addresses
 *   name, not       accept: never           accept: never
 *                   drop: any               drop: the DNS servers
 *   name, in part   accept: its slice       accept: those among its addresses
 *                   drop: any               drop: the DNS servers
 *
 * What is not known of a name can only narrow what is allowed. Names that cannot exist
 * (an empty label, a label over 63, over 253 in all) are unresolved without
 * asking.
 *
 * Everything is sized before it is filled. In the end the index is made of what
 * came out (index.c); it plays no part in comparing policies.
 */
#include "rules/index.h"
#include "rules/ruleset.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_MAX 63  /* RFC 1035 2.3.4 */
#define NAME_MAX_ 253 /* the same, as text without the last dot */

/* A slice of the pool. */
struct slice {
	uint32_t first, count;
	enum name_state state; /* of a name's */
};

/* What lookup() gave for a name. */
struct answer {
	const struct addr *addrs;
	size_t count;
	enum name_state state;
};

struct compiler {
	const struct ruleset *rs;
	struct policy *p;
	struct answer *answer; /* one for each distinct name */
	struct slice *name;    /* the same, in the pool */
	struct slice dns;
	size_t pool_size;
};

bool rule_name_is_possible(const char *name)
{
	size_t len = strlen(name), label = 0;

	if (len > 0 && name[len - 1] == '.')
		len--;
	if (len == 0 || len > NAME_MAX_)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (name[i] != '.')
			label++;
		else if (label == 0)
			return false;
		else
			label = 0;
		if (label > LABEL_MAX)
			return false;
	}
	return label > 0;
}

static int compare_words(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct words));
}

/* Put the addresses of the family into the pool, sorted and distinct. */
static struct slice pool_add(struct policy *p, const struct addr *addrs, size_t n)
{
	struct slice s = {.first = (uint32_t)p->pool_count};
	struct words *set = p->pool + s.first;
	uint32_t found = 0;

	for (size_t i = 0; i < n; i++)
		if (addrs[i].family == p->family)
			set[found++] = words_of(addrs[i].bytes, p->family);
	qsort(set, found, sizeof(*set), compare_words);
	for (uint32_t i = 0; i < found; i++)
		if (i == 0 || compare_words(&set[s.count - 1], &set[i]) != 0)
			set[s.count++] = set[i];
	p->pool_count += s.count;
	return s;
}

static struct words mask_of(unsigned int len)
{
	uint8_t bytes[16] = {0};

	memset(bytes, 0xff, len / 8);
	if (len % 8 != 0)
		bytes[len / 8] = (uint8_t)(0xff00u >> (len % 8));
	return words_of(bytes, 6);
}

static void set_prefix(struct matcher *m, struct words net, uint8_t len)
{
	m->net = net;
	m->mask = mask_of(len);
	m->prefix_len = len;
}

static void set_never(struct matcher *m)
{
	*m = (struct matcher){
	    .action = m->action, .flags = m->flags & ~MATCH_SET, .key = m->key};
}

/* Destination is one of a slice, in the canonical form. */
static void set_slice(const struct policy *p, struct matcher *m, struct slice s)
{
	if (s.count == 0) {
		set_never(m);
	} else if (s.count == 1) {
		set_prefix(m, p->pool[s.first], p->family == 4 ? 32 : 128);
	} else {
		m->flags |= MATCH_SET;
		m->first = s.first;
		m->count = s.count;
	}
}

static bool slice_has(const struct policy *p, struct slice s, const struct words *w)
{
	for (uint32_t i = 0; i < s.count; i++)
		if (compare_words(&p->pool[s.first + i], w) == 0)
			return true;
	return false;
}

/* Whether the rule is about just the addresses of its name that are known. */
static bool is_known(const struct compiler *c, const struct rule *rule)
{
	enum name_state state = c->name[rule->name].state;

	return state == NAME_RESOLVED ||
	       (state == NAME_PARTIAL && rule->action == RULE_ACCEPT);
}

/* The DNS servers that the rule's own destination allows, in a new slice. */
static struct slice dns_slice(struct compiler *c, const struct rule *rule)
{
	struct policy *p = c->p;
	struct words net = words_of(rule->net, p->family), mask = mask_of(rule->prefix_len);
	struct slice s = {.first = (uint32_t)p->pool_count};

	if (rule->dst == DST_ANY || (rule->dst == DST_NAME && !is_known(c, rule)))
		return c->dns;
	for (uint32_t i = 0; i < c->dns.count; i++) {
		struct words w = p->pool[c->dns.first + i];

		if (rule->dst == DST_NAME ? !slice_has(p, c->name[rule->name], &w)
					  : (((w.w[0] ^ net.w[0]) & mask.w[0]) != 0 ||
					     ((w.w[1] ^ net.w[1]) & mask.w[1]) != 0))
			continue;
		assert(p->pool_count < c->pool_size);
		p->pool[p->pool_count++] = w;
		s.count++;
	}
	return s;
}

static void compile_rule(struct compiler *c, const struct rule *rule, struct matcher *m)
{
	bool unknown = rule->dst == DST_NAME && !is_known(c, rule);

	m->action = rule->action;
	m->key = (uint32_t)c->p->keys_len;
	if (unknown)
		m->flags = c->name[rule->name].state == NAME_PARTIAL ? MATCH_PARTIAL
								     : MATCH_UNRESOLVED;
	m->protos = rule->protos;
	m->low = rule->low;
	m->high = rule->high;
	if (rule->protos == 0 || (unknown && rule->action == RULE_ACCEPT))
		set_never(m);
	else if (rule->dns)
		set_slice(c->p, m, dns_slice(c, rule));
	else if (rule->dst == DST_NAME && !unknown)
		set_slice(c->p, m, c->name[rule->name]);
	else if (rule->dst == DST_PREFIX)
		set_prefix(m, words_of(rule->net, c->p->family), rule->prefix_len);
}

/* --- sizes, then content ------------------------------------------------------ */

static int ask_names(struct compiler *c, const struct policy_env *env)
{
	const struct ruleset *rs = c->rs;

	c->answer = calloc(rs->name_count + 1, sizeof(*c->answer));
	c->name = calloc(rs->name_count + 1, sizeof(*c->name));
	if (c->answer == NULL || c->name == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < rs->name_count && env->lookup != NULL; i++) {
		const char *name = rs->text + rs->name[i];
		struct answer *a = &c->answer[i];

		if (rule_name_is_possible(name))
			a->state = env->lookup(env->lookup_arg, name, &a->addrs, &a->count);
		if (a->state == NAME_UNRESOLVED)
			a->count = 0;
	}
	return 0;
}

/* Upper bounds of pool and keys; offsets are 32 bits. */
static int size_up(struct compiler *c, const struct policy_env *env, size_t *keys_len)
{
	const struct ruleset *rs = c->rs;
	size_t pool = env->dns_count, keys = 0;

	if (env->dns_count > UINT32_MAX / (RULE_MAX + 1))
		return -ENOMEM;
	for (size_t i = 0; i < rs->name_count; i++)
		if (__builtin_add_overflow(pool, c->answer[i].count, &pool))
			return -ENOMEM;
	for (size_t i = 0; i < rs->rule_count; i++) {
		keys += strlen(rs->text + rs->rule[i].key) + 1;
		/* An intersection has at most all DNS servers. */
		if (rs->rule[i].dns && rs->rule[i].dst != DST_ANY &&
		    __builtin_add_overflow(pool, env->dns_count, &pool))
			return -ENOMEM;
	}
	if (pool > UINT32_MAX)
		return -ENOMEM;
	c->pool_size = pool;
	*keys_len = keys;
	return 0;
}

/* Give back what the bounds had too much. */
static void shrink(struct policy *p)
{
	struct words *pool = reallocarray(p->pool, p->pool_count + 1, sizeof(*pool));

	if (pool != NULL)
		p->pool = pool;
}

static int build(struct compiler *c, const struct policy_env *env)
{
	const struct ruleset *rs = c->rs;
	struct policy *p = c->p;
	size_t keys_len = 0;
	int ret = ask_names(c, env);

	if (ret == 0)
		ret = size_up(c, env, &keys_len);
	if (ret != 0)
		return ret;
	p->family = rs->family;
	p->action = rs->policy;
	p->rule = calloc(rs->rule_count + 1, sizeof(*p->rule));
	p->pool = calloc(c->pool_size + 1, sizeof(*p->pool));
	p->keys = malloc(keys_len + 1);
	if (p->rule == NULL || p->pool == NULL || p->keys == NULL)
		return -ENOMEM;
	c->dns = pool_add(p, env->dns, env->dns_count);
	for (size_t i = 0; i < rs->name_count; i++) {
		if (c->answer[i].state != NAME_UNRESOLVED)
			c->name[i] = pool_add(p, c->answer[i].addrs, c->answer[i].count);
		c->name[i].state = c->answer[i].state;
	}
	for (size_t i = 0; i < rs->rule_count; i++) {
		const char *key = rs->text + rs->rule[i].key;

		compile_rule(c, &rs->rule[i], &p->rule[i]);
		memcpy(p->keys + p->keys_len, key, strlen(key) + 1);
		p->keys_len += strlen(key) + 1;
	}
	p->rule_count = rs->rule_count;
	shrink(p);
	return index_new(&p->index, p);
}

int policy_compile(struct policy **out, const struct ruleset *rs, const struct policy_env *env)
{
	struct compiler c = {.rs = rs, .p = calloc(1, sizeof(struct policy))};
	int ret = c.p == NULL ? -ENOMEM : build(&c, env);

	free(c.answer);
	free(c.name);
	if (ret != 0) {
		policy_free(&c.p);
		return ret;
	}
	*out = c.p;
	return 0;
}

int policy_malformed(struct policy **out)
{
	struct policy *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return -ENOMEM;
	p->malformed = true;
	p->action = RULE_REJECT;
	*out = p;
	return 0;
}

void policy_free(struct policy **p)
{
	if (*p == NULL)
		return;
	free((*p)->rule);
	free((*p)->pool);
	free((*p)->keys);
	index_free(&(*p)->index);
	free(*p);
	*p = NULL;
}

/* --- questions ---------------------------------------------------------------- */

static bool matcher_equal(const struct policy *a, const struct matcher *x, const struct policy *b,
			  const struct matcher *y)
{
	if (x->action != y->action || strcmp(a->keys + x->key, b->keys + y->key) != 0)
		return false;
	if (x->protos != y->protos || x->low != y->low || x->high != y->high ||
	    (x->flags & MATCH_SET) != (y->flags & MATCH_SET))
		return false;
	if (x->flags & MATCH_SET)
		return x->count == y->count && memcmp(a->pool + x->first, b->pool + y->first,
						      x->count * sizeof(*a->pool)) == 0;
	return compare_words(&x->net, &y->net) == 0 && compare_words(&x->mask, &y->mask) == 0;
}

bool policy_equal(const struct policy *a, const struct policy *b)
{
	if (a->malformed || b->malformed)
		return a->malformed == b->malformed;
	if (a->family != b->family || a->action != b->action || a->rule_count != b->rule_count)
		return false;
	for (size_t i = 0; i < a->rule_count; i++)
		if (!matcher_equal(a, &a->rule[i], b, &b->rule[i]))
			return false;
	return true;
}

size_t policy_rule_count(const struct policy *p)
{
	return p->rule_count;
}

size_t policy_memory(const struct policy *p)
{
	if (p->malformed)
		return sizeof(*p);
	return sizeof(*p) + (p->rule_count + 1) * sizeof(*p->rule) +
	       (p->pool_count + 1) * sizeof(*p->pool) + p->keys_len + 1 +
	       index_memory(p->index);
}
