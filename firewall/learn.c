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
 *	answer passes	same flow, ID, type and question: its addresses are the name's
 *			for this source, for its TTL within a floor and a ceiling
 *	first packet	rules with that name match these addresses too
 *
 * What a client can make of this: it chooses questions and, if it is in league with
 * the server of a name that its rules allow, the answers to them. The same is true
 * without learning. It cannot speak for the DNS server: the answer has to come in
 * through the flow, from the uplink, and other sources never see it.
 *
 * Names are kept as keyed hashes (64 bits, secret), so all sizes are fixed: a source
 * has at most LEARN_SOURCE_ADDRS addresses, its oldest goes first; and LEARN_QUERIES
 * open questions, in the place that their ID gives them.
 */
#include "firewall/learn.h"
#include "firewall/dns_message.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ADDR_NONE UINT16_MAX

static_assert(LEARN_ADDRS < ADDR_NONE, "16-bit indexes");

struct query {
	uint64_t question; /* hash of what was asked */
	uint64_t name;	   /* of the rule that it is for; 0: no query here */
	uint64_t until;
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
	struct named_rule *rules;
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

uint64_t learn_name(void *arg, const char *name)
{
	size_t len = strlen(name);

	/* a rule may end its name with a dot */
	if (len > 0 && name[len - 1] == '.')
		len--;
	return hash_text(arg, name, len);
}

static bool has_rule(const struct learner *s, uint64_t name)
{
	for (size_t i = 0; i < s->rule_count; i++)
		if (s->rules[i].name == name)
			return true;
	return false;
}

static bool has_wildcard(const struct learner *s, uint64_t name)
{
	for (size_t i = 0; i < s->wildcard_count; i++)
		if (s->wildcards[i] == name)
			return true;
	return false;
}

/* The name of a rule that a question is about, or 0. */
static uint64_t name_of_interest(const struct learn *l, const struct learner *s,
				 const char *question)
{
	uint64_t name = hash_text(l, question, strlen(question));
	const char *dot = question;

	if (has_rule(s, name))
		return name;
	while (s->wildcard_count > 0 && (dot = strchr(dot, '.')) != NULL) {
		dot++;
		name = hash_text(l, dot, strlen(dot));
		if (has_wildcard(s, name) && has_rule(s, name))
			return name;
	}
	return 0;
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

/* What has run out, or belongs to a name that is no rule's any more. */
static void addrs_prune(struct learn *l, struct learner *s, uint64_t now_ms)
{
	uint16_t prev = ADDR_NONE, i = s->head;

	while (i != ADDR_NONE) {
		uint16_t next = l->addrs[i].next;

		if (l->addrs[i].until <= now_ms || !has_rule(s, l->addrs[i].name))
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

	free(s->rules);
	s->rules = rules;
	s->rule_count = count;
	s->family = family;
	addrs_prune(l, s, 0);
}

int learn_wildcards(struct learn *l, uint16_t source, const char *names)
{
	struct learner *s = &l->sources[source];
	size_t n = 0, len;

	free(s->wildcards);
	s->wildcards = NULL;
	s->wildcard_count = 0;
	for (const char *p = names; p && *p; p += len + (p[len] == ' ')) {
		len = strcspn(p, " ");
		n += len > 0;
	}
	if (n == 0)
		return 0;
	s->wildcards = calloc(n, sizeof(*s->wildcards));
	if (!s->wildcards)
		return -ENOMEM;
	for (const char *p = names; *p; p += len + (p[len] == ' ')) {
		len = strcspn(p, " ");
		if (len > 0)
			s->wildcards[s->wildcard_count++] = hash_text(l, p, len);
	}
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

void learn_query(struct learn *l, uint16_t source, uint32_t flow, const uint8_t *msg, size_t len,
		 uint64_t now_ms)
{
	struct learner *s = &l->sources[source];
	struct dns_question q;
	uint64_t name;

	if (s->rule_count == 0 || !dns_query_parse(msg, len, &q) ||
	    q.type != (s->family == 6 ? DNS_TYPE_AAAA : DNS_TYPE_A))
		return;
	name = name_of_interest(l, s, q.name);
	if (name == 0)
		return;
	s->queries[q.id % LEARN_QUERIES] = (struct query){
		.question = hash_text(l, q.name, strlen(q.name)),
		.name = name,
		.until = now_ms + LEARN_QUERY_MS,
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

void learn_answer(struct learn *l, uint16_t source, uint32_t flow, const uint8_t *msg, size_t len,
		  uint64_t now_ms)
{
	struct learner *s = &l->sources[source];
	struct dns_question q;
	struct dns_answer a;
	struct query *asked;

	if (!dns_response_question(msg, len, &q))
		return;
	asked = &s->queries[q.id % LEARN_QUERIES];
	if (asked->name == 0 || asked->flow != flow || asked->id != q.id ||
	    asked->type != q.type || asked->until <= now_ms ||
	    asked->question != hash_text(l, q.name, strlen(q.name)) ||
	    !dns_answer_parse(msg, len, &q, &a))
		return;
	addrs_prune(l, s, now_ms);
	for (size_t i = 0; i < a.count; i++) {
		struct ipkey addr = { { 0, 0 } };

		memcpy(addr.w, a.addr[i].bytes, addr_len(&a.addr[i]));
		addr_add(l, s, asked->name, &addr, now_ms + clamp_ttl_ms(a.ttl));
	}
	asked->name = 0; /* one answer to a question */
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
		for (size_t k = 0; k < s->rule_count; k++) {
			const struct named_rule *r = &s->rules[k];

			/* in order of the rules: nothing better comes later */
			if (found && r->rule >= *rule)
				break;
			if (r->name != a->name || !named_rule_matches(r, s->family, pkt))
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
