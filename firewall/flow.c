// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The flow table: from a packet's tuple to its flow in one cache miss.
 *
 * Structure. Flows live in one array, sized at start. Each has two keys: the
 * tuple as its client sends it (with the client's interface) and the tuple as
 * answers carry it on the uplink (with the translated port). Both are in one
 * hash table of 64-byte buckets with ten slots: a 16-bit tag and a reference
 * (flow, direction). Buckets are sized for eight keys each when all flows are
 * in use. The hash is SipHash under a secret key, so nobody can choose tuples
 * that collide (D1).
 *
 * Placement. A key has a home bucket (low bits of the hash) and one other,
 * which is the home XORed with a number made from the tag; so from either of
 * the two and the tag the other one follows, without the key. A key goes home
 * if there is room, else to its other bucket; if both are full, one of their
 * twenty entries is moved to its own other bucket if that has room. If none
 * has, the insertion fails and the packet is dropped, counted. That is the
 * whole search: an insertion looks at 22 buckets at most, a lookup at two.
 * With all flows in use one home in ten has more than ten keys and one key in
 * twenty is away; that all twenty moves are blocked has a probability below
 * 10^-9 for one insertion. A bucket counts the keys whose home it is but that
 * live elsewhere; while that is zero a lookup ends in the home bucket.
 *
 * Hints. A batch first collects hints (tag matches, prefetched) and only later
 * looks up. A hint may be stale by then. It is only a place to look first: the
 * flow's own fields are compared, and a freed flow matches no key.
 *
 * Time. A packet only stores the time in its flow. Each timeout class has a
 * list in the order of queueing; the head is looked at when it has been queued
 * for the class's timeout, and goes to the end if it was used meanwhile. So an
 * unused flow leaves the table at the latest after twice its timeout, and looking
 * at one costs a constant. Whether a flow that is still there has timed out is
 * decided exactly, at its next packet, by flow_timed_out().
 *
 * Lists by rank belong to the flow's source (struct flow_owner): when the
 * source needs room, its oldest opening flow goes first, then its oldest closing
 * one, and never another source's (D2, T14).
 *
 * Invariants (flow_check): every flow in use is found by both keys, is in exactly
 * one timer list, and the bucket entries are twice the flows in use; every away
 * counter is exact.
 */
#include "firewall/flow.h"

#include <errno.h>
#include <stdlib.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

static const struct {
	const char *name;
	uint32_t seconds;
} timers[] = {
	[TIMER_TCP_OPENING] = { "tcp-opening", 240 },	/* RFC 5382 REQ-5 */
	[TIMER_TCP_OPEN] = { "tcp-open", 86400 },	/* RFC 5382 REQ-5: >= 7440 */
	[TIMER_TCP_HALF] = { "tcp-half-closed", 900 },
	[TIMER_TCP_CLOSING] = { "tcp-closing", 240 },	/* RFC 7857 */
	[TIMER_UDP_UNREPLIED] = { "udp-unreplied", 120 }, /* RFC 4787 REQ-5 */
	[TIMER_UDP_REPLIED] = { "udp-replied", 300 },
	[TIMER_DNS_UNREPLIED] = { "dns-unreplied", 30 },
	[TIMER_DNS_REPLIED] = { "dns-replied", 5 },
	[TIMER_ICMP] = { "icmp", 60 }, /* RFC 5508 REQ-2 */
	[TIMER_OTHER] = { "other", 600 },
	[TIMER_MAPPING] = { "mapping", 300 }, /* RFC 4787 REQ-5 */
};
static_assert(sizeof(timers) / sizeof(timers[0]) == FLOW_TIMERS, "a row for each class");

const char *flow_timer_name(enum flow_timer timer)
{
	return timers[timer].name;
}

uint32_t flow_timer_default_s(enum flow_timer timer)
{
	return timers[timer].seconds;
}

/* --- lists ------------------------------------------------------------------ */

static void list_init(struct flow_list *list)
{
	*list = (struct flow_list){ FLOW_NONE, FLOW_NONE, 0 };
}

static void list_append(struct flow *flows, struct flow_list *list, enum flow_list_kind kind,
			uint32_t index)
{
	struct flow_link *link = &flows[index].link[kind];

	link->next = FLOW_NONE;
	link->prev = list->tail;
	if (list->tail == FLOW_NONE)
		list->head = index;
	else
		flows[list->tail].link[kind].next = index;
	list->tail = index;
	list->count++;
}

static void list_remove(struct flow *flows, struct flow_list *list, enum flow_list_kind kind,
			uint32_t index)
{
	struct flow_link *link = &flows[index].link[kind];

	if (link->prev == FLOW_NONE)
		list->head = link->next;
	else
		flows[link->prev].link[kind].next = link->next;
	if (link->next == FLOW_NONE)
		list->tail = link->prev;
	else
		flows[link->next].link[kind].prev = link->prev;
	list->count--;
}

static void timer_append(struct flow_table *t, uint32_t index, uint32_t now)
{
	struct flow *flow = &t->flows[index];

	flow->queued = now;
	list_append(t->flows, &t->timers[flow->timer], LIST_TIMER, index);
}

/* --- buckets ---------------------------------------------------------------- */

#define REF_DIR 1u
#define REF_AWAY 2u
#define REF_SHIFT 2

static uint16_t tag_of(uint64_t hash)
{
	uint16_t tag = (uint16_t)(hash >> 48);

	return tag ? tag : 1;
}

/* The other bucket of a key with this tag: an involution, never the same one. */
static uint32_t other_bucket(const struct flow_table *t, uint32_t bucket, uint16_t tag)
{
	return (bucket ^ (tag * 0x9e3779b1u >> 7 | 1)) & t->bucket_mask;
}

/* A bit for each slot with this tag. */
static inline uint32_t bucket_match(const struct flow_bucket *b, uint16_t tag)
{
	uint32_t mask = 0;
	unsigned int i = 0;

#ifdef __SSE2__
	/* eight at a time; the compiler does not find this by itself */
	__m128i eight, same;

	memcpy(&eight, b->tag, sizeof(eight));
	same = _mm_cmpeq_epi16(eight, _mm_set1_epi16((short)tag));
	mask = (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(same, _mm_setzero_si128()));
	i = 8;
#endif
	for (; i < BUCKET_SLOTS; i++)
		mask |= (uint32_t)(b->tag[i] == tag) << i;
	return mask;
}

static bool bucket_add(struct flow_bucket *b, uint16_t tag, uint32_t ref)
{
	uint32_t room = bucket_match(b, 0);
	unsigned int slot;

	if (!room)
		return false;
	slot = (unsigned int)__builtin_ctz(room);
	b->tag[slot] = tag;
	b->ref[slot] = ref;
	return true;
}

/* Move one entry of a full bucket to its other bucket; true when one has gone. */
static bool bucket_make_room(struct flow_table *t, uint32_t bucket)
{
	struct flow_bucket *b = &t->buckets[bucket];

	for (unsigned int i = 0; i < BUCKET_SLOTS; i++) {
		uint32_t other = other_bucket(t, bucket, b->tag[i]);
		struct flow_bucket *o = &t->buckets[other];

		if (!bucket_add(o, b->tag[i], b->ref[i] ^ REF_AWAY))
			continue;
		if (b->ref[i] & REF_AWAY)
			o->away--;
		else
			b->away++;
		b->tag[i] = 0;
		return true;
	}
	return false;
}

static int key_insert(struct flow_table *t, uint32_t index, enum flow_dir dir)
{
	struct flow_key key = flow_key_of(&t->flows[index], dir);
	uint64_t hash = flow_hash(t, &key);
	uint16_t tag = tag_of(hash);
	uint32_t home = (uint32_t)hash & t->bucket_mask;
	uint32_t other = other_bucket(t, home, tag);
	uint32_t ref = index << REF_SHIFT | (uint32_t)dir;

	if (bucket_add(&t->buckets[home], tag, ref))
		return 0;
	if (!bucket_add(&t->buckets[other], tag, ref | REF_AWAY)) {
		if (bucket_make_room(t, home)) {
			bucket_add(&t->buckets[home], tag, ref);
			return 0;
		}
		if (!bucket_make_room(t, other))
			return -ENOSPC;
		bucket_add(&t->buckets[other], tag, ref | REF_AWAY);
	}
	t->buckets[home].away++;
	return 0;
}

static bool bucket_del(struct flow_bucket *b, uint16_t tag, uint32_t ref)
{
	for (unsigned int i = 0; i < BUCKET_SLOTS; i++) {
		if (b->tag[i] == tag && b->ref[i] == ref) {
			b->tag[i] = 0;
			b->ref[i] = 0;
			return true;
		}
	}
	return false;
}

static void key_remove(struct flow_table *t, uint32_t index, enum flow_dir dir)
{
	struct flow_key key = flow_key_of(&t->flows[index], dir);
	uint64_t hash = flow_hash(t, &key);
	uint16_t tag = tag_of(hash);
	uint32_t home = (uint32_t)hash & t->bucket_mask;
	uint32_t ref = index << REF_SHIFT | (uint32_t)dir;

	if (bucket_del(&t->buckets[home], tag, ref))
		return;
	if (bucket_del(&t->buckets[other_bucket(t, home, tag)], tag, ref | REF_AWAY)) {
		t->buckets[home].away--;
		return;
	}
	assert(!"both keys of a flow are in the table");
}

uint32_t flow_hint(const struct flow_table *t, uint64_t hash)
{
	uint16_t tag = tag_of(hash);
	uint32_t home = (uint32_t)hash & t->bucket_mask;
	const struct flow_bucket *b = &t->buckets[home];
	uint32_t mask = bucket_match(b, tag);
	uint32_t index;

	if (!mask && b->away) {
		b = &t->buckets[other_bucket(t, home, tag)];
		mask = bucket_match(b, tag);
	}
	if (!mask)
		return FLOW_NONE;
	index = b->ref[__builtin_ctz(mask)] >> REF_SHIFT;
	__builtin_prefetch(&t->flows[index], 1);
	__builtin_prefetch(&t->flows[index].window, 1);
	return index;
}

static inline bool flow_matches(const struct flow *flow, const struct flow_key *key)
{
	struct flow_key own;

	if (flow->state == FLOW_FREE)
		return false;
	own = flow_key_of(flow, flow_key_dir(key));
	return own.meta == key->meta && ipkey_equal(&own.remote, &key->remote);
}

static uint32_t bucket_find(const struct flow_table *t, const struct flow_bucket *b, uint16_t tag,
			    const struct flow_key *key)
{
	uint32_t mask = bucket_match(b, tag);

	for (; mask; mask &= mask - 1) {
		uint32_t ref = b->ref[__builtin_ctz(mask)];

		if ((ref & REF_DIR) == (uint32_t)flow_key_dir(key) &&
		    flow_matches(&t->flows[ref >> REF_SHIFT], key))
			return ref >> REF_SHIFT;
	}
	return FLOW_NONE;
}

uint32_t flow_lookup(const struct flow_table *t, const struct flow_key *key, uint64_t hash,
		     uint32_t hint)
{
	uint16_t tag = tag_of(hash);
	uint32_t home = (uint32_t)hash & t->bucket_mask;
	uint32_t index;

	if (hint != FLOW_NONE && flow_matches(&t->flows[hint], key))
		return hint;
	index = bucket_find(t, &t->buckets[home], tag, key);
	if (index == FLOW_NONE && t->buckets[home].away)
		index = bucket_find(t, &t->buckets[other_bucket(t, home, tag)], tag, key);
	return index;
}

/* --- flows ------------------------------------------------------------------ */

int flow_table_init(struct flow_table *t, uint32_t flow_max, const uint8_t hash_key[16],
		    const uint32_t timeout_s[FLOW_TIMERS])
{
	uint32_t buckets = flow_max * 2 / FLOW_KEYS_PER_BUCKET;
	size_t size = (size_t)buckets * sizeof(struct flow_bucket);

	if (flow_max < FLOW_MAX_MIN || flow_max > FLOW_MAX_MAX || (flow_max & (flow_max - 1)))
		return -EINVAL;
	for (unsigned int i = 0; i < FLOW_TIMERS; i++)
		if (timeout_s[i] > FLOW_TIMEOUT_MAX_S)
			return -EINVAL;
	memset(t, 0, sizeof(*t));
	/* flows are not touched before their first use: memory grows with them */
	t->flows = aligned_alloc(64, (size_t)flow_max * sizeof(struct flow));
	t->buckets = aligned_alloc(64, size);
	if (!t->flows || !t->buckets) {
		flow_table_fini(t);
		return -ENOMEM;
	}
	memset(t->buckets, 0, size);
	memcpy(&t->hash_key, hash_key, sizeof(t->hash_key));
	t->flow_max = flow_max;
	t->bucket_mask = buckets - 1;
	t->free = FLOW_NONE;
	for (unsigned int i = 0; i < FLOW_TIMERS; i++) {
		list_init(&t->timers[i]);
		t->timeout_ms[i] = (timeout_s[i] ? timeout_s[i] : timers[i].seconds) * 1000;
	}
	return 0;
}

void flow_table_fini(struct flow_table *t)
{
	free(t->flows);
	free(t->buckets);
	t->flows = NULL;
	t->buckets = NULL;
}

void flow_owner_init(struct flow_owner *owner)
{
	for (unsigned int i = 0; i < FLOW_RANKS; i++)
		list_init(&owner->ranks[i]);
}

static uint32_t flow_take(struct flow_table *t)
{
	uint32_t index = t->free;

	if (index != FLOW_NONE) {
		t->free = t->flows[index].link[LIST_TIMER].next;
		return index;
	}
	if (t->fresh < t->flow_max)
		return t->fresh++;
	return FLOW_NONE;
}

static void flow_give(struct flow_table *t, uint32_t index)
{
	struct flow *flow = &t->flows[index];

	memset(flow, 0, sizeof(*flow)); /* Q7: nothing of it is left */
	flow->link[LIST_TIMER].next = t->free;
	t->free = index;
}

uint32_t flow_insert(struct flow_table *t, const struct flow *init, struct flow_owner *owner,
		     uint32_t now)
{
	uint32_t index = flow_take(t);
	struct flow *flow;

	if (index == FLOW_NONE)
		return FLOW_NONE;
	flow = &t->flows[index];
	*flow = *init;
	flow->last_seen = now;
	if (key_insert(t, index, FLOW_OUT)) {
		flow_give(t, index);
		return FLOW_NONE;
	}
	if (key_insert(t, index, FLOW_IN)) {
		key_remove(t, index, FLOW_OUT);
		flow_give(t, index);
		return FLOW_NONE;
	}
	timer_append(t, index, now);
	list_append(t->flows, &owner->ranks[flow->rank], LIST_RANK, index);
	t->active++;
	t->mappings += flow->state == FLOW_MAPPING;
	return index;
}

void flow_remove(struct flow_table *t, uint32_t index, struct flow_owner *owner)
{
	struct flow *flow = &t->flows[index];

	key_remove(t, index, FLOW_OUT);
	key_remove(t, index, FLOW_IN);
	list_remove(t->flows, &t->timers[flow->timer], LIST_TIMER, index);
	list_remove(t->flows, &owner->ranks[flow->rank], LIST_RANK, index);
	t->mappings -= flow->state == FLOW_MAPPING;
	flow_give(t, index);
	t->active--;
}

void flow_set_state(struct flow_table *t, uint32_t index, struct flow_owner *owner,
		    enum flow_state state, enum flow_timer timer, enum flow_rank rank,
		    uint32_t now)
{
	struct flow *flow = &t->flows[index];

	flow->state = (uint8_t)state;
	if (flow->timer != timer) {
		list_remove(t->flows, &t->timers[flow->timer], LIST_TIMER, index);
		flow->timer = (uint8_t)timer;
		timer_append(t, index, now);
	}
	if (flow->rank != rank) {
		list_remove(t->flows, &owner->ranks[flow->rank], LIST_RANK, index);
		flow->rank = (uint8_t)rank;
		list_append(t->flows, &owner->ranks[rank], LIST_RANK, index);
	}
}

uint32_t flow_expired_next(struct flow_table *t, uint32_t now, unsigned int *cursor,
			   unsigned int *budget)
{
	while (*cursor < FLOW_TIMERS) {
		struct flow_list *list = &t->timers[*cursor];
		uint32_t index = list->head;

		if (index == FLOW_NONE ||
		    now - t->flows[index].queued < t->timeout_ms[*cursor]) {
			++*cursor;
			continue;
		}
		if (*budget == 0)
			return FLOW_NONE;
		--*budget;
		if (flow_is_over(t, index, now))
			return index;
		list_remove(t->flows, list, LIST_TIMER, index);
		timer_append(t, index, now);
	}
	return FLOW_NONE;
}

/* --- the deep check --------------------------------------------------------- */

static void check_buckets(const struct flow_table *t)
{
	uint32_t entries = 0, away = 0, counted = 0;

	for (uint32_t i = 0; i <= t->bucket_mask; i++) {
		const struct flow_bucket *b = &t->buckets[i];

		counted += b->away;
		for (unsigned int s = 0; s < BUCKET_SLOTS; s++) {
			struct flow_key key;
			uint64_t hash;
			uint32_t home, index = b->ref[s] >> REF_SHIFT;

			if (!b->tag[s])
				continue;
			entries++;
			assert(index < t->fresh && t->flows[index].state != FLOW_FREE);
			key = flow_key_of(&t->flows[index], (enum flow_dir)(b->ref[s] & REF_DIR));
			hash = flow_hash(t, &key);
			home = (uint32_t)hash & t->bucket_mask;
			assert(tag_of(hash) == b->tag[s]);
			if (b->ref[s] & REF_AWAY) {
				away++;
				assert(other_bucket(t, home, b->tag[s]) == i && home != i);
				assert(t->buckets[home].away > 0);
			} else {
				assert(home == i);
			}
		}
	}
	assert(entries == 2 * t->active);
	assert(away == counted);
}

static void check_flow(const struct flow_table *t, uint32_t index)
{
	const struct flow *flow = &t->flows[index];

	assert(flow->state < FLOW_STATES && flow->timer < FLOW_TIMERS && flow->rank < FLOW_RANKS);
	for (int dir = FLOW_OUT; dir <= FLOW_IN; dir++) {
		struct flow_key key = flow_key_of(flow, (enum flow_dir)dir);
		uint64_t hash = flow_hash(t, &key);

		assert(flow_lookup(t, &key, hash, FLOW_NONE) == index);
	}
}

void flow_check(const struct flow_table *t)
{
	uint32_t active = 0, listed = 0, free_count = 0;

	for (uint32_t i = 0; i < t->fresh; i++) {
		if (t->flows[i].state == FLOW_FREE)
			continue;
		active++;
		check_flow(t, i);
	}
	assert(active == t->active);
	for (unsigned int c = 0; c < FLOW_TIMERS; c++) {
		uint32_t prev = FLOW_NONE, n = 0;

		for (uint32_t i = t->timers[c].head; i != FLOW_NONE;
		     i = t->flows[i].link[LIST_TIMER].next) {
			assert(t->flows[i].state != FLOW_FREE && t->flows[i].timer == c);
			assert(t->flows[i].link[LIST_TIMER].prev == prev);
			assert(prev == FLOW_NONE ||
			       t->flows[i].queued - t->flows[prev].queued < UINT32_MAX / 2);
			prev = i;
			n++;
			assert(n <= t->active);
		}
		assert(t->timers[c].tail == prev && t->timers[c].count == n);
		listed += n;
	}
	assert(listed == active);
	for (uint32_t i = t->free; i != FLOW_NONE; i = t->flows[i].link[LIST_TIMER].next) {
		assert(i < t->fresh && t->flows[i].state == FLOW_FREE);
		free_count++;
		assert(free_count <= t->fresh);
	}
	assert(free_count + active == t->fresh);
	check_buckets(t);
}
