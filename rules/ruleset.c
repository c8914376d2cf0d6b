/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One source's subtree: keys in any order in, an immutable list of rules out.
 *
 * The keys are sorted as policy, rules by number, then keys that have no
 * business there; problems come out in that order, and "the first problem" is
 * the first of it. A number is compared as a string of digits without its
 * leading zeros (length, then digits), so it may be as long as a path allows
 * and never overflows. dom0 never writes one number in two spellings; if
 * somebody does (0003 and 00003), no order between them can be right, and the
 * subtree is malformed.
 *
 * Building: every value is parsed into a fixed-size struct rule; keys, values and
 * names go into one text pool that is sized beforehand, so that offsets stay 32 bits
 * and nothing is reallocated. A value is kept only to be shown. Names are then made
 * distinct by sorting. All work is O(n log n) in the size of the subtree.
 *
 * There is one walk for both callers: ruleset_parse() looks at the first
 * problem, ruleset_check() at all of them; so they cannot disagree.
 */
#include "rules/ruleset.h"
#include "rules/text.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEY_DIGITS_MIN 4

static_assert((uint64_t)RULE_MAX * (RULE_KEY_MAX + 2 * (RULE_TEXT_MAX + 1)) < UINT32_MAX,
	      "offsets in the text pool fit 32 bits");

enum key_kind { KEY_POLICY, KEY_RULE, KEY_ALIEN };

/* One pair on its way into the sorted order. */
struct entry {
	const struct rule_pair *pair;
	const char *digits; /* KEY_RULE: without leading zeros */
	size_t digits_len, key_len;
	size_t order; /* as given: makes the sort total */
	enum key_kind kind;
};

static void classify(struct entry *e, const struct rule_pair *pair, size_t order)
{
	const char *key = pair->key;
	size_t digits = strspn(key, "0123456789"), zeros = strspn(key, "0");

	*e = (struct entry){.pair = pair, .order = order, .key_len = strlen(key)};
	if (strcmp(key, "policy") == 0) {
		e->kind = KEY_POLICY;
	} else if (digits == e->key_len && digits >= KEY_DIGITS_MIN && digits < RULE_KEY_MAX) {
		e->kind = KEY_RULE;
		e->digits = key + zeros;
		e->digits_len = digits - zeros;
	} else {
		e->kind = KEY_ALIEN;
	}
}

static int compare_numbers(const struct entry *a, const struct entry *b)
{
	if (a->digits_len != b->digits_len)
		return a->digits_len < b->digits_len ? -1 : 1;
	return memcmp(a->digits, b->digits, a->digits_len);
}

static int compare_entries(const void *va, const void *vb)
{
	const struct entry *a = va, *b = vb;
	int diff = 0;

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->kind == KEY_RULE)
		diff = compare_numbers(a, b);
	if (diff == 0)
		diff = strcmp(a->pair->key, b->pair->key);
	if (diff == 0)
		diff = a->order < b->order ? -1 : a->order > b->order;
	return diff;
}

/* --- the walk ----------------------------------------------------------------- */

/* What the walk fills when rs is set; text and rule are large enough. */
struct walk {
	struct rule_sink *sink;
	uint8_t family;
	struct ruleset *rs; /* NULL: only look for problems */
	bool first_only;
};

static uint32_t pool_add(struct ruleset *rs, const char *text, size_t len)
{
	size_t at = rs->text_len;

	memcpy(rs->text + at, text, len);
	rs->text[at + len] = '\0';
	rs->text_len += len + 1;
	return (uint32_t)at;
}

static void set_key(struct rule_sink *sink, const struct entry *e)
{
	sink->key = e->pair->key;
	sink->key_len = e->key_len;
}

static void walk_policy(struct walk *w, const struct entry *e, bool repeated)
{
	static const char accept[] = "accept", drop[] = "drop";
	const struct rule_pair *p = e->pair;
	enum rule_verdict policy = RULE_REJECT;
	char buf[64];

	set_key(w->sink, e);
	if (repeated)
		rule_problem(w->sink, "given twice");
	if (p->value_len == sizeof(accept) - 1 && memcmp(p->value, accept, p->value_len) == 0)
		policy = RULE_ACCEPT;
	else if (p->value_len != sizeof(drop) - 1 || memcmp(p->value, drop, p->value_len) != 0)
		rule_problem(w->sink, "\"%s\" is neither accept nor drop",
			     text_escape(buf, sizeof(buf), p->value, p->value_len));
	if (w->rs != NULL)
		w->rs->policy = (uint8_t)policy;
}

static void walk_rule(struct walk *w, const struct entry *e, const struct entry *before)
{
	struct rule_name name = {NULL, 0};
	struct rule rule;

	set_key(w->sink, e);
	if (before != NULL && before->kind == KEY_RULE && compare_numbers(before, e) == 0)
		rule_problem(w->sink, "the same number as \"%s\"", before->pair->key);
	rule_parse(w->sink, w->family, e->pair->value, e->pair->value_len, &rule, &name);
	/* rule_count stays below what was sized: callers count the KEY_RULE. */
	if (w->rs == NULL || w->sink->count != 0)
		return;
	rule.key = pool_add(w->rs, e->pair->key, e->key_len);
	rule.value = pool_add(w->rs, e->pair->value, e->pair->value_len);
	if (rule.dst == DST_NAME)
		rule.name = pool_add(w->rs, name.text, name.len);
	w->rs->rule[w->rs->rule_count++] = rule;
}

static void walk_alien(struct walk *w, const struct entry *e)
{
	set_key(w->sink, e);
	if (e->key_len >= RULE_KEY_MAX)
		rule_problem(w->sink, "longer than a path allows");
	else
		rule_problem(w->sink, "neither policy nor a number of at least four digits");
}

static size_t policy_keys(const struct entry *entry, size_t n)
{
	size_t i = 0;

	while (i < n && entry[i].kind == KEY_POLICY)
		i++;
	return i;
}

static void walk(struct walk *w, const struct entry *entry, size_t n, size_t rules)
{
	if (n == 0 || entry[0].kind != KEY_POLICY) {
		/* R2 */
		w->sink->key = "policy";
		w->sink->key_len = strlen("policy");
		rule_problem(w->sink, "missing");
	}
	if (rules > RULE_MAX) {
		set_key(w->sink, &entry[policy_keys(entry, n) + RULE_MAX]);
		rule_problem(w->sink, "%zu rules, more than %d", rules, RULE_MAX);
	}
	for (size_t i = 0; i < n && !(w->first_only && w->sink->count > 0); i++) {
		const struct entry *before = i > 0 ? &entry[i - 1] : NULL;

		switch (entry[i].kind) {
		case KEY_POLICY:
			walk_policy(w, &entry[i], before != NULL);
			break;
		case KEY_RULE:
			walk_rule(w, &entry[i], before);
			break;
		case KEY_ALIEN:
			walk_alien(w, &entry[i]);
			break;
		}
	}
}

/* --- building ----------------------------------------------------------------- */

/* A name as it was found: which rule, what text. */
struct found_name {
	const char *text;
	struct rule *rule;
};

static int compare_names(const void *va, const void *vb)
{
	const struct found_name *a = va, *b = vb;

	return strcmp(a->text, b->text);
}

/* rule.name is an offset in the text so far; make it an index of distinct names. */
static int collect_names(struct ruleset *rs)
{
	struct found_name *found;
	size_t n = 0;

	found = calloc(rs->rule_count + 1, sizeof(*found));
	rs->name = calloc(rs->rule_count + 1, sizeof(*rs->name));
	if (found == NULL || rs->name == NULL) {
		free(found);
		return -ENOMEM;
	}
	for (size_t i = 0; i < rs->rule_count; i++)
		if (rs->rule[i].dst == DST_NAME)
			found[n++] = (struct found_name){rs->text + rs->rule[i].name, &rs->rule[i]};
	qsort(found, n, sizeof(*found), compare_names);
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || compare_names(&found[i - 1], &found[i]) != 0)
			rs->name[rs->name_count++] = found[i].rule->name;
		found[i].rule->name = (uint32_t)(rs->name_count - 1);
	}
	free(found);
	return 0;
}

/* Sorted entries of the pairs, and how many of them are rules. */
static struct entry *entries_new(const struct rule_pair *pairs, size_t n, size_t *rules)
{
	struct entry *entry = calloc(n + 1, sizeof(*entry));

	if (entry == NULL)
		return NULL;
	*rules = 0;
	for (size_t i = 0; i < n; i++) {
		classify(&entry[i], &pairs[i], i);
		*rules += entry[i].kind == KEY_RULE;
	}
	qsort(entry, n, sizeof(*entry), compare_entries);
	return entry;
}

/* An empty ruleset with room for the rules, their keys and names. */
static int ruleset_new(struct ruleset **out, uint8_t family, const struct entry *entry, size_t n,
		       size_t rules)
{
	struct ruleset *rs = calloc(1, sizeof(*rs));
	size_t text = 1;

	if (rs == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (entry[i].kind == KEY_RULE && entry[i].pair->value_len <= RULE_TEXT_MAX)
			text += entry[i].key_len + 1 + 2 * (entry[i].pair->value_len + 1);
	rs->family = family;
	rs->rule = calloc(rules + 1, sizeof(*rs->rule));
	rs->text = malloc(text);
	if (rs->rule == NULL || rs->text == NULL) {
		ruleset_free(&rs);
		return -ENOMEM;
	}
	*out = rs;
	return 0;
}

struct first_problem {
	struct rule_error *err;
	bool filled;
};

static void keep_first(void *arg, const struct rule_error *err)
{
	struct first_problem *first = arg;

	if (!first->filled && first->err != NULL)
		*first->err = *err;
	first->filled = true;
}

int ruleset_parse(struct ruleset **out, uint8_t family, const struct rule_pair *pairs, size_t n,
		  struct rule_error *err)
{
	struct first_problem first = {err, false};
	struct rule_sink sink = {.report = keep_first, .arg = &first};
	struct walk w = {.sink = &sink, .family = family, .first_only = true};
	struct ruleset *rs = NULL;
	struct entry *entry;
	size_t rules;
	int ret;

	entry = entries_new(pairs, n, &rules);
	if (entry == NULL)
		return -ENOMEM;
	ret = ruleset_new(&rs, family, entry, n, rules <= RULE_MAX ? rules : 0);
	if (ret == 0) {
		w.rs = rs;
		walk(&w, entry, n, rules);
		if (sink.count > 0)
			ret = rules > RULE_MAX ? -E2BIG : -EBADMSG;
		else
			ret = collect_names(rs);
	}
	free(entry);
	if (ret != 0) {
		ruleset_free(&rs);
		return ret;
	}
	*out = rs;
	return 0;
}

size_t ruleset_check(uint8_t family, const struct rule_pair *pairs, size_t n,
		     void (*report)(void *arg, const struct rule_error *err), void *arg)
{
	struct rule_sink sink = {.report = report, .arg = arg};
	struct walk w = {.sink = &sink, .family = family};
	struct entry *entry;
	size_t rules;

	entry = entries_new(pairs, n, &rules);
	if (entry == NULL) {
		sink.key = "policy";
		sink.key_len = strlen(sink.key);
		rule_problem(&sink, "not enough memory to look at %zu keys", n);
		return sink.count;
	}
	walk(&w, entry, n, rules);
	free(entry);
	return sink.count;
}

void ruleset_free(struct ruleset **rs)
{
	if (*rs == NULL)
		return;
	free((*rs)->rule);
	free((*rs)->name);
	free((*rs)->text);
	free(*rs);
	*rs = NULL;
}

/* --- questions ---------------------------------------------------------------- */

static bool rule_equal(const struct ruleset *a, const struct rule *x, const struct ruleset *b,
		       const struct rule *y)
{
	if (x->action != y->action || x->dst != y->dst || x->prefix_len != y->prefix_len ||
	    x->protos != y->protos || x->dns != y->dns || x->low != y->low || x->high != y->high)
		return false;
	if (memcmp(x->net, y->net, sizeof(x->net)) != 0 ||
	    strcmp(a->text + x->key, b->text + y->key) != 0)
		return false;
	return x->dst != DST_NAME ||
	       strcmp(a->text + a->name[x->name], b->text + b->name[y->name]) == 0;
}

bool ruleset_equal(const struct ruleset *a, const struct ruleset *b)
{
	if (a->family != b->family || a->policy != b->policy || a->rule_count != b->rule_count)
		return false;
	for (size_t i = 0; i < a->rule_count; i++)
		if (!rule_equal(a, &a->rule[i], b, &b->rule[i]))
			return false;
	return true;
}

const char *ruleset_value(const struct ruleset *rs, uint32_t index)
{
	if (index < rs->rule_count)
		return rs->text + rs->rule[index].value;
	if (index == RULE_INDEX_POLICY)
		return rs->policy == RULE_ACCEPT ? "accept" : "drop";
	return NULL;
}

const char *ruleset_host(const struct ruleset *rs, uint32_t index)
{
	if (index >= rs->rule_count || rs->rule[index].dst != DST_NAME)
		return NULL;
	return rs->text + rs->name[rs->rule[index].name];
}

size_t ruleset_count(const struct ruleset *rs)
{
	return rs->rule_count;
}

void ruleset_names(const struct ruleset *rs, void (*fn)(void *arg, const char *name), void *arg)
{
	for (size_t i = 0; i < rs->name_count; i++)
		fn(arg, rs->text + rs->name[i]);
}
