// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Learning from DNS answers. Theory of operation.
 *
 * A rule names a host; which addresses the host has is asked by the firewall itself,
 * but a CDN may tell the client others. A source that has opted in also reaches the
 * addresses which one of the configured servers has just answered to itself, for
 * exactly a name of its rules:
 *
 *	query passes	its name (or, for a wildcard, a name it is under) is one of the
 *			source's: remember flow, ID, type and question
 *	answer passes	same flow, ID, type and question: its addresses are those of
 *			each such name for this source, for its TTL within a floor and a
 *			ceiling
 *	first packet	rules with that name match these addresses too
 *
 * What a client can make of this: it chooses questions and, if it is in league with
 * the server of a name that its rules allow, the answers to them. The same is true
 * without learning. It cannot speak for the DNS server: the answer has to come in
 * through the flow, from the uplink, and other sources never see it.
 *
 * Names are kept as keyed hashes (64 bits, secret), so all sizes are fixed: a source
 * has at most LEARN_SOURCE_ADDRS addresses and LEARN_QUERIES open questions, of both
 * its oldest goes first.
 */
#include "firewall/learn.h"
#include "firewall/dns_message.h"
#include "firewall/name_table.h"
#include "rules/text.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ADDR_NONE  UINT16_MAX
#define LABELS_MAX (DNS_NAME_MAX / 2) /* of one name */

static_assert(LEARN_ADDRS < ADDR_NONE, "16-bit indexes");

struct query {
	uint64_t question; /* hash of what was asked */
	uint64_t until;	   /* passed: no query here */
	uint64_t order;	   /* of asking; 0: no query here */
	uint32_t flow;
	uint16_t id, type;
};

struct learned {
	struct ipkey addr;
	uint64_t name;
	uint64_t until;
	uint16_t next; /* of its source, oldest first; free list */
};

struct learner {
	struct named_rule *rules; /* by name, those of a name in order */
	size_t rule_count;
	uint64_t *wildcards;
	size_t wildcard_count;
	uint8_t family;
	uint16_t head, tail, count;
	struct query queries[LEARN_QUERIES];
};

struct learn {
	struct siphash_key key;
	uint16_t free, fresh;
	uint64_t asked;
	struct learner sources[LEARN_SOURCES];
	struct learned addrs[LEARN_ADDRS];
};

int learn_new(struct learn **out, const uint8_t key[16])
{
	struct learn *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	memcpy(&l->key, key, sizeof(l->key));
	l->free = ADDR_NONE;
	for (unsigned int i = 0; i < LEARN_SOURCES; i++)
		l->sources[i].head = l->sources[i].tail = ADDR_NONE;
	*out = l;
	return 0;
}

void learn_free(struct learn **l)
{
	if (!*l)
		return;
	for (unsigned int i = 0; i < LEARN_SOURCES; i++) {
		free((*l)->sources[i].rules);
		free((*l)->sources[i].wildcards);
	}
	free(*l);
	*l = NULL;
}

/* --- names ------------------------------------------------------------------------- */

static uint64_t hash_text(const struct learn *l, const char *text, size_t len)
{
	uint64_t words[DNS_NAME_MAX / 8 + 1] = { 0 }, last = (uint64_t)len << 56, hash;

	if (len > DNS_NAME_MAX)
		return 0;
	memcpy(words, text, len);
	hash = siphash_words(&l->key, words, DNS_NAME_MAX / 8 + 1, last, 2, 4);
	return hash ? hash : 1;
}

/* A name as somebody wrote it: a last dot means nothing. */
static uint64_t hash_name(const struct learn *l, const char *name, size_t len)
{
	return hash_text(l, name, len > 0 && name[len - 1] == '.' ? len - 1 : len);
}

uint64_t learn_name(void *arg, const char *name)
{
	return hash_name(arg, name, strlen(name));
}

static int by_name(const void *a, const void *b)
{
	const struct named_rule *x = a, *y = b;

	if (x->name != y->name)
		return x->name < y->name ? -1 : 1;
	return x->rule < y->rule ? -1 : x->rule > y->rule;
}

/* Index of the first rule with the name; rule_count or another name's: none has it. */
static size_t first_rule(const struct learner *s, uint64_t name)
{
	size_t low = 0, high = s->rule_count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->rules[mid].name < name)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool has_rule(const struct learner *s, uint64_t name)
{
	size_t i = first_rule(s, name);

	return i < s->rule_count && s->rules[i].name == name;
}

static bool has_wildcard(const struct learner *s, uint64_t name)
{
	for (size_t i = 0; i < s->wildcard_count; i++)
		if (s->wildcards[i] == name)
			return true;
	return false;
}

/*
 * The names of rules that a question is about: its own, and the wildcards that it is
 * under, the nearest first. Return: how many.
 */
static size_t names_of_interest(const struct learn *l, const struct learner *s,
				const char *question, uint64_t names[LABELS_MAX])
{
	uint64_t name = hash_text(l, question, strlen(question));
	const char *dot = question;
	size_t n = 0;

	if (has_rule(s, name))
		names[n++] = name;
	while (s->wildcard_count > 0 && n < LABELS_MAX && (dot = strchr(dot, '.')) != NULL) {
		dot++;
		name = hash_text(l, dot, strlen(dot));
		if (has_wildcard(s, name) && has_rule(s, name))
			names[n++] = name;
	}
	return n;
}

/* --- addresses --------------------------------------------------------------------- */

/* Take the entry behind @prev (ADDR_NONE: the first) out of its source's list. */
static void addr_free(struct learn *l, struct learner *s, uint16_t prev)
{
	uint16_t index = prev == ADDR_NONE ? s->head : l->addrs[prev].next;
	uint16_t next = l->addrs[index].next;

	if (prev == ADDR_NONE)
		s->head = next;
	else
		l->addrs[prev].next = next;
	if (s->tail == index)
		s->tail = prev;
	s->count--;
	l->addrs[index] = (struct learned){ .next = l->free };
	l->free = index;
}

/* Whether an address is over. @rules: they have changed, its name may be no rule's. */
static bool is_over(const struct learner *s, const struct learned *a, uint64_t now_ms, bool rules)
{
	return a->until <= now_ms || (rules && !has_rule(s, a->name));
}

static void addrs_prune(struct learn *l, struct learner *s, uint64_t now_ms, bool rules)
{
	uint16_t prev = ADDR_NONE, i = s->head;

	while (i != ADDR_NONE) {
		uint16_t next = l->addrs[i].next;

		if (is_over(s, &l->addrs[i], now_ms, rules))
			addr_free(l, s, prev);
		else
			prev = i;
		i = next;
	}
}

static uint16_t addr_get(struct learn *l)
{
	uint16_t index = l->free;

	if (index != ADDR_NONE)
		l->free = l->addrs[index].next;
	else if (l->fresh < LEARN_ADDRS)
		index = l->fresh++;
	return index;
}

static void addr_add(struct learn *l, struct learner *s, uint64_t name, const struct ipkey *addr,
		     uint64_t until)
{
	uint16_t index;

	for (index = s->head; index != ADDR_NONE; index = l->addrs[index].next) {
		struct learned *a = &l->addrs[index];

		if (a->name != name || !ipkey_equal(&a->addr, addr))
			continue;
		if (until > a->until)
			a->until = until;
		return;
	}
	if (s->count == LEARN_SOURCE_ADDRS)
		addr_free(l, s, ADDR_NONE);
	index = addr_get(l);
	if (index == ADDR_NONE && s->head != ADDR_NONE) {
		addr_free(l, s, ADDR_NONE); /* its own oldest, never another source's */
		index = addr_get(l);
	}
	if (index == ADDR_NONE)
		return;
	l->addrs[index] = (struct learned){ *addr, name, until, ADDR_NONE };
	if (s->tail == ADDR_NONE)
		s->head = index;
	else
		l->addrs[s->tail].next = index;
	s->tail = index;
	s->count++;
}

/* --- sources ----------------------------------------------------------------------- */

void learn_rules(struct learn *l, uint16_t source, uint8_t family, struct named_rule *rules,
		 size_t count)
{
	struct learner *s = &l->sources[source];

	if (count > 0)
		qsort(rules, count, sizeof(*rules), by_name);
	free(s->rules);
	s->rules = rules;
	s->rule_count = count;
	s->family = family;
	addrs_prune(l, s, 0, true);
}

int learn_wildcards(struct learn *l, uint16_t source, const char *names)
{
	struct learner *s = &l->sources[source];
	const char *rest = names, *word;
	size_t n = 0, len;

	free(s->wildcards);
	s->wildcards = NULL;
	s->wildcard_count = 0;
	while (text_word(&rest, &len))
		n++;
	if (n == 0)
		return 0;
	s->wildcards = calloc(n, sizeof(*s->wildcards));
	if (!s->wildcards)
		return -ENOMEM;
	for (rest = names; (word = text_word(&rest, &len)) != NULL;)
		s->wildcards[s->wildcard_count++] = hash_name(l, word, len);
	return 0;
}

void learn_forget(struct learn *l, uint16_t source)
{
	struct learner *s = &l->sources[source];

	while (s->head != ADDR_NONE)
		addr_free(l, s, ADDR_NONE);
	free(s->rules);
	free(s->wildcards);
	memset(s, 0, sizeof(*s));
	s->head = s->tail = ADDR_NONE;
}

/* --- packets ----------------------------------------------------------------------- */

/* Where a new question goes: in the place of the same one, a free one or the oldest. */
static struct query *query_place(struct learner *s, uint32_t flow, uint16_t id)
{
	struct query *oldest = &s->queries[0];

	for (size_t i = 0; i < LEARN_QUERIES; i++) {
		struct query *q = &s->queries[i];

		if (q->flow == flow && q->id == id)
			return q;
		if (q->order < oldest->order)
			oldest = q;
	}
	return oldest;
}

void learn_query(struct learn *l, uint16_t source, uint32_t flow, const uint8_t *msg, size_t len,
		 uint64_t now_ms)
{
	struct learner *s = &l->sources[source];
	uint64_t names[LABELS_MAX];
	struct dns_question q;

	if (s->rule_count == 0 || !dns_query_parse(msg, len, &q) ||
	    q.type != (s->family == 6 ? DNS_TYPE_AAAA : DNS_TYPE_A) ||
	    names_of_interest(l, s, q.name, names) == 0)
		return;
	*query_place(s, flow, q.id) = (struct query){
		.question = hash_text(l, q.name, strlen(q.name)),
		.until = now_ms + LEARN_QUERY_MS,
		.order = ++l->asked,
		.flow = flow,
		.id = q.id,
		.type = q.type,
	};
}

static uint64_t clamp_ttl_ms(uint32_t ttl)
{
	if (ttl < LEARN_TTL_MIN_S)
		ttl = LEARN_TTL_MIN_S;
	return (ttl > LEARN_TTL_MAX_S ? LEARN_TTL_MAX_S : ttl) * 1000ull;
}

/* The question that waits for this answer, or NULL. */
static struct query *query_of(const struct learn *l, struct learner *s, uint32_t flow,
			      const struct dns_question *a, uint64_t now_ms)
{
	uint64_t question = hash_text(l, a->name, strlen(a->name));

	for (size_t i = 0; i < LEARN_QUERIES; i++) {
		struct query *q = &s->queries[i];

		if (q->flow == flow && q->id == a->id && q->type == a->type &&
		    q->until > now_ms && q->question == question)
			return q;
	}
	return NULL;
}

void learn_answer(struct learn *l, uint16_t source, uint32_t flow, const uint8_t *msg, size_t len,
		  uint64_t now_ms)
{
	struct learner *s = &l->sources[source];
	uint64_t names[LABELS_MAX];
	struct dns_question q;
	struct dns_answer a;
	struct query *asked;
	size_t n;

	if (s->rule_count == 0 || !dns_response_question(msg, len, &q) ||
	    (asked = query_of(l, s, flow, &q, now_ms)) == NULL ||
	    !dns_answer_parse(msg, len, &q, &a))
		return;
	asked->until = asked->order = 0; /* one answer to a question */
	addrs_prune(l, s, now_ms, false);
	/* the nearest name comes last: its addresses are the last to give way */
	for (n = names_of_interest(l, s, q.name, names); n > 0; n--) {
		for (size_t i = 0; i < a.count; i++) {
			struct ipkey addr = { { 0, 0 } };

			if (name_addr_is_useless(&a.addr[i]))
				continue;
			memcpy(addr.w, a.addr[i].bytes, addr_len(&a.addr[i]));
			addr_add(l, s, names[n - 1], &addr, now_ms + clamp_ttl_ms(a.ttl));
		}
	}
}

bool learn_match(const struct learn *l, uint16_t source, const struct rule_packet *pkt,
		 uint64_t now_ms, uint32_t *rule, enum rule_verdict *verdict)
{
	const struct learner *s = &l->sources[source];
	struct ipkey dst = { { 0, 0 } };
	bool found = false;

	memcpy(dst.w, pkt->dst, s->family == 6 ? 16 : 4);
	for (uint16_t i = s->head; i != ADDR_NONE; i = l->addrs[i].next) {
		const struct learned *a = &l->addrs[i];

		if (a->until <= now_ms || !ipkey_equal(&a->addr, &dst))
			continue;
		for (size_t k = first_rule(s, a->name);
		     k < s->rule_count && s->rules[k].name == a->name; k++) {
			const struct named_rule *r = &s->rules[k];

			/* in order of the rules: nothing better comes later */
			if (found && r->rule >= *rule)
				break;
			if (!named_rule_matches(r, s->family, pkt))
				continue;
			*rule = r->rule;
			*verdict = (enum rule_verdict)r->action;
			found = true;
			break;
		}
	}
	return found;
}

void learn_each(const struct learn *l, uint16_t source, uint64_t now_ms,
		void (*fn)(void *arg, uint64_t name, const struct ipkey *addr, uint64_t left_ms),
		void *arg)
{
	const struct learner *s = &l->sources[source];

	for (uint16_t i = s->head; i != ADDR_NONE; i = l->addrs[i].next)
		if (l->addrs[i].until > now_ms)
			fn(arg, l->addrs[i].name, &l->addrs[i].addr, l->addrs[i].until - now_ms);
}

void learn_check(const struct learn *l)
{
	unsigned int used = 0, unused = 0;

	for (unsigned int k = 0; k < LEARN_SOURCES; k++) {
		const struct learner *s = &l->sources[k];
		uint16_t n = 0, last = ADDR_NONE;

		for (uint16_t i = s->head; i != ADDR_NONE; i = l->addrs[i].next) {
			assert(i < l->fresh && l->addrs[i].name != 0);
			last = i;
			n++;
			assert(n <= LEARN_SOURCE_ADDRS);
		}
		assert(n == s->count && last == s->tail);
		used += n;
	}
	for (uint16_t i = l->free; i != ADDR_NONE; i = l->addrs[i].next)
		unused++;
	assert(used + unused == l->fresh);
}
