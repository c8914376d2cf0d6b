/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One entry for each name and family, however many sources' rules have it.
 *
 *	 use                ask            answer
 *	-----> due (next) ------> asking ---------> resolved, next = 80 % of the TTL
 *	          ^                  |
 *	          +------------------+ failure, lost: next = back-off; what was
 *	                               resolved stays so, for a day at most
 *
 * Addresses. The first `fresh` of an entry are those of the last answer. An
 * address that is missing from a new answer is kept for a while behind them:
 * servers of large sites answer with a few of many addresses, and a client that
 * was told another one a minute ago still goes there. The newest answer has the
 * first claim to the NAME_SET_MAX places, then those that left last.
 *
 * An answer that has more addresses than a name may have, or than there is room for
 * (all names together have NAME_ADDRS_MAX), is cut, and the name is known in part
 * only: what that means is the rule's business (NAME_PARTIAL). One that cannot be
 * stored for lack of memory has failed.
 *
 * All entries are looked at to find what is due: a few thousand, a few times a
 * second at most. Names come from dom0, so the hash needs no secret.
 */
#include "firewall/name_table.h"

#include "firewall/name_msg.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS	 1024
#define NO_ENTRY UINT16_MAX
#define SLOT_BITS 12 /* of an id */

static_assert(NAME_ENTRIES_MAX == 1 << SLOT_BITS, "a slot fits its bits of an id");

struct entry {
	char name[DNS_NAME_TEXT_MAX + 1];
	uint8_t family;
	bool resolved, asked, more, refused;
	enum dns_outcome last;
	unsigned int users, failures;
	uint32_t id; /* of the question that is out; 0: none */
	uint16_t chain;
	uint64_t next_ms, asked_ms, resolved_ms;
	size_t count, fresh;
	struct addr *addrs;
	uint64_t *until_ms; /* of the addresses in grace */
};

/* A question about a name that was forgotten. */
struct orphan {
	uint32_t id;
	uint8_t family;
	uint64_t asked_ms;
};

struct name_table {
	struct entry *slot[NAME_ENTRIES_MAX];
	uint16_t bucket[BUCKETS];
	size_t high; /* slots in use are below */
	size_t count, addrs, in_flight;
	struct orphan orphans[NAME_IN_FLIGHT_MAX];
	size_t orphan_count; /* of in_flight */
	size_t cursor; /* the next to ask: nobody starves */
	uint32_t serial;
	uint64_t random;
	struct name_times times;
	bool allowed;
	struct name_events events;
	void *arg;
};

int name_table_new(struct name_table **out, const struct name_times *times, uint64_t seed,
		   const struct name_events *events, void *arg)
{
	struct name_table *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return -ENOMEM;
	memset(t->bucket, 0xff, sizeof(t->bucket));
	if (times != NULL)
		t->times = *times;
	if (t->times.ttl_min_s == 0)
		t->times.ttl_min_s = NAME_TTL_MIN_S;
	if (t->times.ttl_max_s == 0)
		t->times.ttl_max_s = NAME_TTL_MAX_S;
	if (t->times.ttl_max_s < t->times.ttl_min_s)
		t->times.ttl_max_s = t->times.ttl_min_s;
	if (t->times.grace_s == 0)
		t->times.grace_s = NAME_GRACE_S;
	if (t->times.lost_ms == 0)
		t->times.lost_ms = NAME_LOST_MS;
	t->random = seed | 1;
	t->events = *events;
	t->arg = arg;
	*out = t;
	return 0;
}

static void entry_free(struct entry *e)
{
	free(e->addrs);
	free(e->until_ms);
	free(e);
}

void name_table_free(struct name_table **t)
{
	if (*t == NULL)
		return;
	for (size_t i = 0; i < (*t)->high; i++)
		if ((*t)->slot[i] != NULL)
			entry_free((*t)->slot[i]);
	free(*t);
	*t = NULL;
}

/* xorshift64: jitter, not secrets */
static uint32_t draw(struct name_table *t, uint32_t below)
{
	t->random ^= t->random << 13;
	t->random ^= t->random >> 7;
	t->random ^= t->random << 17;
	return (uint32_t)(t->random >> 32) % below;
}

/* --- finding ------------------------------------------------------------------- */

/* Characters of the name that count: not a last dot. */
static size_t name_len(const char *name)
{
	size_t len = strnlen(name, DNS_NAME_TEXT_MAX + 2);

	return len > 0 && name[len - 1] == '.' ? len - 1 : len;
}

static size_t bucket_of(uint8_t family, const char *name, size_t len)
{
	uint32_t h = 2166136261u ^ family; /* FNV-1a */

	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)name[i]) * 16777619u;
	return h % BUCKETS;
}

static uint16_t find(const struct name_table *t, uint8_t family, const char *name)
{
	size_t len = name_len(name);
	uint16_t i = t->bucket[bucket_of(family, name, len)];

	while (i != NO_ENTRY) {
		const struct entry *e = t->slot[i];

		if (e->family == family && strlen(e->name) == len &&
		    memcmp(e->name, name, len) == 0)
			break;
		i = e->chain;
	}
	return i;
}

static void no_question(struct name_table *t, struct entry *e)
{
	if (e->id != 0)
		t->in_flight--;
	e->id = 0;
}

int name_table_use(struct name_table *t, uint8_t family, const char *name, uint64_t now_ms)
{
	uint16_t i = find(t, family, name);
	size_t len = name_len(name), bucket;
	struct entry *e;

	if (i != NO_ENTRY) {
		t->slot[i]->users++;
		return 0;
	}
	if (!dns_name_is_possible(name))
		return -EINVAL;
	if (t->count == NAME_ENTRIES_MAX)
		return -ENOSPC;
	e = calloc(1, sizeof(*e));
	if (e == NULL)
		return -ENOMEM;
	for (i = 0; t->slot[i] != NULL;)
		i++;
	memcpy(e->name, name, len);
	e->family = family;
	e->users = 1;
	e->next_ms = now_ms;
	bucket = bucket_of(family, name, len);
	e->chain = t->bucket[bucket];
	t->bucket[bucket] = i;
	t->slot[i] = e;
	t->count++;
	if (i >= t->high)
		t->high = i + 1u;
	return 0;
}

static void forget(struct name_table *t, uint16_t i)
{
	struct entry *e = t->slot[i];
	uint16_t *link = &t->bucket[bucket_of(e->family, e->name, strlen(e->name))];

	while (*link != i)
		link = &t->slot[*link]->chain;
	*link = e->chain;
	if (e->id != 0)
		t->orphans[t->orphan_count++] = (struct orphan){e->id, e->family, e->asked_ms};
	t->addrs -= e->count;
	t->count--;
	t->slot[i] = NULL;
	entry_free(e);
}

void name_table_begin(struct name_table *t)
{
	for (size_t i = 0; i < t->high; i++)
		if (t->slot[i] != NULL)
			t->slot[i]->users = 0;
}

void name_table_end(struct name_table *t)
{
	for (size_t i = 0; i < t->high; i++)
		if (t->slot[i] != NULL && t->slot[i]->users == 0)
			forget(t, (uint16_t)i);
	while (t->high > 0 && t->slot[t->high - 1] == NULL)
		t->high--;
}

static enum name_state state_of(const struct entry *e)
{
	return !e->resolved ? NAME_UNRESOLVED : e->more ? NAME_PARTIAL : NAME_RESOLVED;
}

enum name_state name_table_lookup(const struct name_table *t, uint8_t family, const char *name,
				  const struct addr **addrs, size_t *count)
{
	uint16_t i = find(t, family, name);

	if (i == NO_ENTRY || state_of(t->slot[i]) == NAME_UNRESOLVED)
		return NAME_UNRESOLVED;
	*addrs = t->slot[i]->addrs;
	*count = t->slot[i]->count;
	return state_of(t->slot[i]);
}

/* --- asking --------------------------------------------------------------------- */

void name_table_allow(struct name_table *t, bool allowed)
{
	t->allowed = allowed;
}

bool name_table_ask(struct name_table *t, uint64_t now_ms, struct name_question *out)
{
	if (!t->allowed || t->in_flight >= NAME_IN_FLIGHT_MAX)
		return false;
	for (size_t n = 0; n < t->high; n++) {
		size_t i = (t->cursor + n) % t->high;
		struct entry *e = t->slot[i];

		if (e == NULL || e->id != 0 || e->next_ms > now_ms)
			continue;
		/* a name that was forgotten and came back must not get the old answer */
		t->serial = (t->serial + 1) & (UINT32_MAX >> SLOT_BITS);
		if (t->serial == 0)
			t->serial = 1;
		e->id = t->serial << SLOT_BITS | (uint32_t)i;
		e->asked_ms = now_ms;
		t->in_flight++;
		t->cursor = i + 1;
		*out = (struct name_question){e->id, e->family, e->name};
		return true;
	}
	return false;
}

void name_table_reset(struct name_table *t, uint64_t now_ms)
{
	t->in_flight -= t->orphan_count;
	t->orphan_count = 0;
	for (size_t i = 0; i < t->high; i++) {
		struct entry *e = t->slot[i];

		if (e == NULL || e->id == 0)
			continue;
		no_question(t, e);
		e->next_ms = now_ms;
	}
}

void name_table_wake(struct name_table *t, uint64_t before_ms, uint64_t now_ms)
{
	for (size_t i = 0; i < t->high; i++) {
		struct entry *e = t->slot[i];

		if (e == NULL || (e->failures == 0 && e->asked &&
				  e->resolved_ms >= before_ms))
			continue;
		e->failures = 0;
		if (e->id == 0)
			e->next_ms = now_ms;
	}
}

static void failed(struct name_table *t, struct entry *e, enum dns_outcome outcome,
		   uint64_t now_ms)
{
	uint64_t wait = NAME_RETRY_MIN_MS;

	for (unsigned int i = 0; i < e->failures && wait < NAME_RETRY_MAX_MS; i++)
		wait *= 2;
	if (wait > NAME_RETRY_MAX_MS)
		wait = NAME_RETRY_MAX_MS;
	/* up to an eighth less, so that many names do not stay in step */
	wait -= draw(t, (uint32_t)wait / 8);
	e->failures += e->failures < 1000;
	e->asked = true;
	e->last = outcome;
	e->next_ms = now_ms + wait;
	t->events.failed(t->arg, e->family, e->name, outcome, e->failures);
}

/* --- answers --------------------------------------------------------------------- */

bool name_addr_is_useless(const struct addr *addr)
{
	static const uint8_t zero[16], mapped[12] = {[10] = 0xff, [11] = 0xff};
	const uint8_t *b = addr->bytes;

	if (addr->family == 4)
		return b[0] == 0 || b[0] == 127 || b[0] >= 224 || (b[0] == 169 && b[1] == 254);
	return memcmp(b, zero, 12) == 0 || memcmp(b, mapped, 12) == 0 || b[0] == 0xff ||
	       (b[0] == 0xfe && (b[1] & 0xc0) == 0x80);
}

/* What an entry has next, while it is put together. */
struct set {
	struct addr addrs[NAME_SET_MAX];
	uint64_t until_ms[NAME_SET_MAX];
	size_t count, max;
};

static void set_add(struct set *s, const struct addr *addr, uint64_t until_ms)
{
	s->addrs[s->count] = *addr;
	s->until_ms[s->count++] = until_ms;
}

/* The old addresses that stay in grace, those that last longest first. */
static void set_add_old(struct set *s, const struct entry *e, uint64_t leaving_ms, uint64_t now_ms)
{
	uint64_t last = UINT64_MAX;

	while (s->count < s->max) {
		uint64_t best = 0;

		/* addresses leave in groups: one round for each time at which some did */
		for (size_t i = 0; i < e->count; i++) {
			uint64_t until = i < e->fresh ? leaving_ms : e->until_ms[i];

			if (until > best && until < last)
				best = until;
		}
		if (best <= now_ms)
			return;
		for (size_t i = 0; i < e->count && s->count < s->max; i++)
			if ((i < e->fresh ? leaving_ms : e->until_ms[i]) == best &&
			    !addr_among(s->addrs, s->count, &e->addrs[i]))
				set_add(s, &e->addrs[i], best);
		last = best;
	}
}

static bool same_set(const struct entry *e, const struct set *s)
{
	if (e->count != s->count)
		return false;
	for (size_t i = 0; i < s->count; i++)
		if (!addr_among(e->addrs, e->count, &s->addrs[i]))
			return false;
	return true;
}

/* Return: false without memory; then the entry is as it was. */
static bool entry_set(struct name_table *t, struct entry *e, const struct set *s, size_t fresh)
{
	struct addr *addrs = malloc((s->count + 1) * sizeof(*addrs));
	uint64_t *until = malloc((s->count + 1) * sizeof(*until));

	if (addrs == NULL || until == NULL) {
		free(addrs);
		free(until);
		return false;
	}
	memcpy(addrs, s->addrs, s->count * sizeof(*addrs));
	memcpy(until, s->until_ms, s->count * sizeof(*until));
	free(e->addrs);
	free(e->until_ms);
	e->addrs = addrs;
	e->until_ms = until;
	t->addrs = t->addrs - e->count + s->count;
	e->count = s->count;
	e->fresh = fresh;
	return true;
}

static void resolved(struct name_table *t, struct entry *e, const struct name_answer *a,
		     uint64_t now_ms)
{
	uint64_t ttl_ms, grace_ms = (uint64_t)t->times.grace_s * 1000;
	struct set s = {.max = NAME_ADDRS_MAX - (t->addrs - e->count)};
	bool change, refused = false, more = a->more;
	uint32_t ttl_s = a->ttl_s;
	size_t fresh;

	if (s.max > NAME_SET_MAX)
		s.max = NAME_SET_MAX;
	for (size_t i = 0; i < a->count; i++) {
		if (a->addrs[i].family != e->family || name_addr_is_useless(&a->addrs[i]))
			refused = true;
		else if (addr_among(s.addrs, s.count, &a->addrs[i]))
			continue;
		else if (s.count == s.max)
			more = true;
		else
			set_add(&s, &a->addrs[i], UINT64_MAX);
	}
	fresh = s.count;
	set_add_old(&s, e, now_ms + grace_ms, now_ms);
	change = !e->resolved || more != e->more || !same_set(e, &s);
	if (!entry_set(t, e, &s, fresh)) {
		failed(t, e, DNS_SERVER_FAILURE, now_ms);
		return;
	}
	if (ttl_s < t->times.ttl_min_s)
		ttl_s = t->times.ttl_min_s;
	if (ttl_s > t->times.ttl_max_s)
		ttl_s = t->times.ttl_max_s;
	ttl_ms = (uint64_t)ttl_s * 1000;
	e->next_ms = now_ms + ttl_ms * 3 / 4 + draw(t, (uint32_t)(ttl_ms / 10) + 1);
	e->resolved = e->asked = true;
	e->resolved_ms = now_ms;
	e->failures = 0;
	e->last = DNS_ADDRESSES;
	e->more = more;
	e->refused = refused;
	if (change)
		t->events.changed(t->arg, e->family, e->name);
}

static void orphan_gone(struct name_table *t, size_t i)
{
	t->orphans[i] = t->orphans[--t->orphan_count];
	t->in_flight--;
}

static bool orphan_answer(struct name_table *t, uint32_t id, uint8_t family)
{
	for (size_t i = 0; i < t->orphan_count; i++) {
		if (t->orphans[i].id != id || t->orphans[i].family != family)
			continue;
		orphan_gone(t, i);
		return true;
	}
	return false;
}

bool name_table_answer(struct name_table *t, uint32_t id, uint8_t family,
		       const struct name_answer *answer, uint64_t now_ms)
{
	struct entry *e = t->slot[id & (NAME_ENTRIES_MAX - 1)];

	if (id == 0)
		return false;
	if (e == NULL || e->id != id || e->family != family)
		return orphan_answer(t, id, family);
	no_question(t, e);
	if (answer->outcome == DNS_ADDRESSES)
		resolved(t, e, answer, now_ms);
	else
		failed(t, e, answer->outcome, now_ms);
	return true;
}

/* --- time ------------------------------------------------------------------------- */

/* What is left of the addresses; at most the last good answer, or nothing at all. */
static void age(struct name_table *t, struct entry *e, uint64_t now_ms)
{
	size_t kept = e->fresh;
	bool change = false;

	if (e->resolved && e->resolved_ms + NAME_STALE_MS <= now_ms) {
		e->resolved = false;
		t->addrs -= e->count;
		e->count = e->fresh = 0;
		t->events.changed(t->arg, e->family, e->name);
		return;
	}
	for (size_t i = e->fresh; i < e->count; i++) {
		if (e->until_ms[i] <= now_ms) {
			change = true;
			continue;
		}
		e->addrs[kept] = e->addrs[i];
		e->until_ms[kept++] = e->until_ms[i];
	}
	t->addrs -= e->count - kept;
	e->count = kept;
	if (change)
		t->events.changed(t->arg, e->family, e->name);
}

bool name_table_tick(struct name_table *t, uint64_t now_ms)
{
	bool lost = false;

	for (size_t i = t->orphan_count; i-- > 0;) {
		if (t->orphans[i].asked_ms + t->times.lost_ms > now_ms)
			continue;
		orphan_gone(t, i);
		lost = true;
	}
	for (size_t i = 0; i < t->high; i++) {
		struct entry *e = t->slot[i];

		if (e == NULL)
			continue;
		if (e->id != 0 && e->asked_ms + t->times.lost_ms <= now_ms) {
			no_question(t, e);
			failed(t, e, DNS_TIMEOUT, now_ms);
			lost = true;
		}
		age(t, e, now_ms);
	}
	return lost;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t name_table_deadline(const struct name_table *t)
{
	bool may_ask = t->allowed && t->in_flight < NAME_IN_FLIGHT_MAX;
	uint64_t when = UINT64_MAX;

	for (size_t i = 0; i < t->orphan_count; i++)
		when = least(when, t->orphans[i].asked_ms + t->times.lost_ms);
	for (size_t i = 0; i < t->high; i++) {
		const struct entry *e = t->slot[i];

		if (e == NULL)
			continue;
		if (e->id != 0)
			when = least(when, e->asked_ms + t->times.lost_ms);
		else if (may_ask)
			when = least(when, e->next_ms);
		if (e->resolved)
			when = least(when, e->resolved_ms + NAME_STALE_MS);
		for (size_t k = e->fresh; k < e->count; k++)
			when = least(when, e->until_ms[k]);
	}
	return when;
}

/* --- looking ---------------------------------------------------------------------- */

void name_table_each(const struct name_table *t,
		     void (*fn)(void *arg, const struct name_view *view), void *arg)
{
	for (size_t i = 0; i < t->high; i++) {
		const struct entry *e = t->slot[i];
		struct name_view v;

		if (e == NULL)
			continue;
		v = (struct name_view){
			.name = e->name,
			.family = e->family,
			.state = state_of(e),
			.addrs = e->addrs,
			.count = e->count,
			.fresh = e->fresh,
			.asked = e->asked,
			.asking = e->id != 0,
			.more = e->more,
			.refused = e->refused,
			.last = e->last,
			.failures = e->failures,
			.users = e->users,
			.resolved_ms = e->resolved_ms,
			.next_ms = e->next_ms,
		};
		fn(arg, &v);
	}
}

size_t name_table_count(const struct name_table *t)
{
	return t->count;
}

size_t name_table_addrs(const struct name_table *t)
{
	return t->addrs;
}

void name_table_check(const struct name_table *t)
{
	size_t count = 0, addrs = 0, in_flight = t->orphan_count;

	assert(t->high == 0 || t->slot[t->high - 1] != NULL);
	for (size_t i = 0; i < t->high; i++) {
		const struct entry *e = t->slot[i];

		if (e == NULL)
			continue;
		assert(find(t, e->family, e->name) == i);
		assert(e->users > 0 && dns_name_is_possible(e->name));
		assert(e->fresh <= e->count && e->count <= NAME_SET_MAX);
		assert(e->resolved || e->count == 0);
		assert(e->id == 0 || (e->id & (NAME_ENTRIES_MAX - 1)) == i);
		for (size_t k = 0; k < e->count; k++)
			assert(e->addrs[k].family == e->family &&
			       !name_addr_is_useless(&e->addrs[k]) &&
			       !addr_among(e->addrs, k, &e->addrs[k]));
		count++;
		addrs += e->count;
		in_flight += e->id != 0;
	}
	assert(count == t->count && addrs == t->addrs && in_flight == t->in_flight);
	assert(addrs <= NAME_ADDRS_MAX && in_flight <= NAME_IN_FLIGHT_MAX);
}
