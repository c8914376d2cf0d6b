// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The flow table against a model that is an array searched from one end to the
 * other, on random histories; and what it promises when it is full.
 */
#include "firewall/flow.h"
#include "firewall/rng.h"
#include "tests/unit/check.h"

#include <stdlib.h>

#define FLOWS 256u
#define OWNERS 3

static const uint8_t hash_key[16] = "sixteen bytes ok";
static const uint32_t no_timeouts[FLOW_TIMERS];

struct model_flow {
	bool used;
	struct flow init;
	uint32_t index, last_seen;
	unsigned int owner;
	uint64_t age; /* order of entering its rank */
};

struct world {
	struct flow_table t;
	struct flow_owner owners[OWNERS];
	struct model_flow model[FLOWS];
	struct rng rng;
	uint32_t now;
	uint64_t tick;
	unsigned int active, no_room;
};

static struct flow random_tuple(struct world *w)
{
	struct flow f = { .family = rng_below(&w->rng, 4) ? 4 : 6,
			  .proto = rng_below(&w->rng, 2) ? 6 : 17,
			  .client_port = (uint16_t)rng_below(&w->rng, 12),
			  .remote_port = (uint16_t)rng_below(&w->rng, 3),
			  .iface = (uint16_t)rng_below(&w->rng, OWNERS),
			  .nat_port = (uint16_t)rng_below(&w->rng, 40),
			  .state = FLOW_UNREPLIED,
			  .timer = TIMER_UDP_UNREPLIED,
			  .rank = RANK_OPENING };

	f.remote.w[0] = rng_below(&w->rng, 3) + 1;
	if (f.family == 6)
		f.remote.w[1] = rng_below(&w->rng, 2);
	f.source = f.iface;
	return f;
}

static struct model_flow *model_find(struct world *w, const struct flow *f, enum flow_dir dir)
{
	struct flow_key want = flow_key_of(f, dir);

	for (unsigned int i = 0; i < FLOWS; i++) {
		struct flow_key key;

		if (!w->model[i].used)
			continue;
		key = flow_key_of(&w->model[i].init, dir);
		if (key.meta == want.meta && ipkey_equal(&key.remote, &want.remote))
			return &w->model[i];
	}
	return NULL;
}

static uint32_t table_find(struct world *w, const struct flow *f, enum flow_dir dir,
			   uint32_t hint)
{
	struct flow_key key = flow_key_of(f, dir);
	uint64_t hash = flow_hash(&w->t, &key);

	/* a wrong hint must never matter */
	if (hint == FLOW_NONE && rng_below(&w->rng, 2))
		hint = flow_hint(&w->t, hash);
	return flow_lookup(&w->t, &key, hash, hint);
}

static void op_insert(struct world *w)
{
	struct flow f = random_tuple(w);
	struct model_flow *slot = NULL;
	uint32_t index;

	if (model_find(w, &f, FLOW_OUT) || model_find(w, &f, FLOW_IN))
		return; /* the engine never inserts a key twice */
	for (unsigned int i = 0; i < FLOWS && !slot; i++)
		slot = w->model[i].used ? NULL : &w->model[i];
	index = flow_insert(&w->t, &f, &w->owners[f.source], w->now);
	if (!slot) {
		CHECK_INT(index, FLOW_NONE);
		w->no_room++;
		return;
	}
	CHECK(index != FLOW_NONE);
	*slot = (struct model_flow){ .used = true, .init = f, .index = index,
				     .last_seen = w->now, .owner = f.source, .age = w->tick };
	w->active++;
}

static void op_lookup(struct world *w)
{
	struct flow f = random_tuple(w);
	enum flow_dir dir = rng_below(&w->rng, 2) ? FLOW_OUT : FLOW_IN;
	struct model_flow *m = model_find(w, &f, dir);
	uint32_t hint = rng_below(&w->rng, 3) || !w->t.fresh ? FLOW_NONE
							     : rng_below(&w->rng, w->t.fresh);
	uint32_t index = table_find(w, &f, dir, hint);

	CHECK_INT(index, m ? m->index : FLOW_NONE);
	if (m && index == m->index) {
		w->t.flows[index].last_seen = w->now;
		m->last_seen = w->now;
	}
}

static struct model_flow *random_flow(struct world *w)
{
	for (unsigned int i = rng_below(&w->rng, FLOWS), n = 0; n < FLOWS; i++, n++)
		if (w->model[i % FLOWS].used)
			return &w->model[i % FLOWS];
	return NULL;
}

static void model_drop(struct world *w, struct model_flow *m)
{
	m->used = false;
	w->active--;
}

static void op_remove(struct world *w)
{
	struct model_flow *m = random_flow(w);

	if (!m)
		return;
	flow_remove(&w->t, m->index, &w->owners[m->owner]);
	model_drop(w, m);
}

static void op_state(struct world *w)
{
	struct model_flow *m = random_flow(w);
	enum flow_timer timer = (enum flow_timer)rng_below(&w->rng, FLOW_TIMERS);
	enum flow_rank rank = (enum flow_rank)rng_below(&w->rng, FLOW_RANKS);

	if (!m)
		return;
	flow_set_state(&w->t, m->index, &w->owners[m->owner], FLOW_REPLIED, timer, rank, w->now);
	/* a state changes because of a packet */
	w->t.flows[m->index].last_seen = w->now;
	m->last_seen = w->now;
	if (m->init.rank != rank)
		m->age = w->tick;
	m->init.timer = (uint8_t)timer;
	m->init.rank = (uint8_t)rank;
}

/* What is expired now must be what the model says, all of it within two timeouts. */
static void op_expire(struct world *w)
{
	unsigned int cursor = 0, budget = 4 * FLOWS;
	uint32_t index;

	while ((index = flow_expired_next(&w->t, w->now, &cursor, &budget)) != FLOW_NONE) {
		unsigned int i = 0;

		while (i < FLOWS && !(w->model[i].used && w->model[i].index == index))
			i++;
		CHECK(i < FLOWS);
		if (i == FLOWS)
			return;
		CHECK(w->now - w->model[i].last_seen >=
		      w->t.timeout_ms[w->model[i].init.timer]);
		flow_remove(&w->t, index, &w->owners[w->model[i].owner]);
		model_drop(w, &w->model[i]);
	}
	for (unsigned int i = 0; i < FLOWS; i++)
		if (w->model[i].used)
			CHECK(w->now - w->model[i].last_seen <
			      2 * (uint64_t)w->t.timeout_ms[w->model[i].init.timer]);
}

/* The head of a source's list is the flow that entered that rank first. */
static void check_oldest(struct world *w)
{
	for (unsigned int o = 0; o < OWNERS; o++) {
		for (unsigned int r = 0; r < FLOW_RANKS; r++) {
			const struct model_flow *oldest = NULL;

			for (unsigned int i = 0; i < FLOWS; i++) {
				const struct model_flow *m = &w->model[i];

				if (m->used && m->owner == o && m->init.rank == r &&
				    (!oldest || m->age < oldest->age))
					oldest = m;
			}
			CHECK_INT(w->owners[o].ranks[r].head, oldest ? oldest->index : FLOW_NONE);
		}
	}
}

static void run_history(uint8_t seed, unsigned int steps)
{
	static struct world w;
	uint8_t rng_seed[32] = { seed };

	memset(&w, 0, sizeof(w));
	CHECK_INT(flow_table_init(&w.t, FLOWS, hash_key, no_timeouts), 0);
	rng_init(&w.rng, rng_seed);
	for (unsigned int o = 0; o < OWNERS; o++)
		flow_owner_init(&w.owners[o]);
	w.now = UINT32_MAX - 200000; /* the clock wraps on the way */
	for (w.tick = 1; w.tick <= steps && !test_state.bad; w.tick++) {
		uint32_t dice = rng_below(&w.rng, 100);

		if (dice < 45)
			op_insert(&w);
		else if (dice < 80)
			op_lookup(&w);
		else if (dice < 88)
			op_state(&w);
		else if (dice < 97)
			op_remove(&w);
		else
			op_expire(&w);
		w.now += rng_below(&w.rng, dice == 99 ? 400000 : 50);
		CHECK_INT(w.t.active, w.active);
		if (w.tick % 64 == 0) {
			flow_check(&w.t);
			check_oldest(&w);
		}
	}
	if (test_state.bad)
		printf("  history seed %u, step %llu\n", seed, (unsigned long long)w.tick);
	flow_table_fini(&w.t);
}

static void test_model(void)
{
	test_case("M1_flow_table_equals_model");
	for (uint8_t seed = 1; seed <= 20; seed++)
		run_history(seed, 20000);
}

/* Every slot used: all flows go in, are found, and come out again. */
static void test_full(void)
{
	static struct flow_table t;
	const uint32_t max = 65536;
	struct flow_owner owner;
	uint32_t away = 0, failed = 0;

	test_case("D2_table_fills_completely");
	CHECK_INT(flow_table_init(&t, max, hash_key, no_timeouts), 0);
	flow_owner_init(&owner);
	for (uint32_t i = 0; i < max; i++) {
		struct flow f = { .family = 4, .proto = 17, .client_port = (uint16_t)i,
				  .nat_port = (uint16_t)i, .remote_port = 53,
				  .state = FLOW_UNREPLIED, .timer = TIMER_UDP_UNREPLIED };

		f.remote = ipkey4(1 + i % 7);
		if (flow_insert(&t, &f, &owner, 1) == FLOW_NONE)
			failed++;
	}
	CHECK_INT(failed, 0);
	CHECK_INT(t.active, max);
	flow_check(&t);
	for (uint32_t b = 0; b <= t.bucket_mask; b++)
		away += t.buckets[b].away;
	printf("  full table: %.1f %% of the keys are away from home\n",
	       100.0 * away / (2.0 * max));
	CHECK(away < 2 * max / 10);

	test_case("D2_no_room_is_an_answer");
	{
		struct flow f = { .family = 4, .proto = 6, .state = FLOW_TCP_SYN };

		CHECK_INT(flow_insert(&t, &f, &owner, 1), FLOW_NONE);
	}
	test_case("D2_table_empties_completely");
	while (owner.ranks[RANK_OPENING].head != FLOW_NONE)
		flow_remove(&t, owner.ranks[RANK_OPENING].head, &owner);
	flow_check(&t);
	CHECK_INT(t.active, 0);
	flow_table_fini(&t);
}

/* A bucket that cannot take a key must say so and leave the table as it was. */
static void test_blocked(void)
{
	static struct flow_table t;
	struct flow_owner owner;
	uint32_t inserted = 0, refused = 0;

	test_case("D1_overfull_buckets_refuse_cleanly");
	/* 64 flows, 16 buckets of ten: all keys with few distinct homes */
	CHECK_INT(flow_table_init(&t, FLOW_MAX_MIN, hash_key, no_timeouts), 0);
	flow_owner_init(&owner);
	for (uint32_t i = 0; inserted < FLOW_MAX_MIN && i < 200000; i++) {
		struct flow f = { .family = 4, .proto = 17, .client_port = (uint16_t)i,
				  .nat_port = (uint16_t)i, .iface = (uint16_t)(i >> 16),
				  .state = FLOW_UNREPLIED, .timer = TIMER_UDP_UNREPLIED };
		struct flow_key out, in;

		f.remote = ipkey4(9);
		out = flow_key_of(&f, FLOW_OUT);
		in = flow_key_of(&f, FLOW_IN);
		/* somebody who knew the key: homes 0 and 1 only */
		if ((flow_hash(&t, &out) & t.bucket_mask) > 1 ||
		    (flow_hash(&t, &in) & t.bucket_mask) > 1)
			continue;
		if (flow_insert(&t, &f, &owner, 1) == FLOW_NONE)
			refused++;
		else
			inserted++;
		if (refused > 50)
			break;
		if ((inserted + refused) % 8 == 0)
			flow_check(&t);
	}
	CHECK(inserted >= 20);
	flow_check(&t);
	CHECK_INT(t.active, inserted);
	flow_table_fini(&t);
}

static void test_sizes(void)
{
	static struct flow_table t;

	test_case("G5_bytes_per_flow");
	printf("  %zu bytes a flow, buckets included\n", FLOW_BYTES);
	CHECK_INT(FLOW_BYTES, 144);
	test_case("D7_size_is_checked");
	CHECK(flow_table_init(&t, 0, hash_key, no_timeouts) < 0);
	CHECK(flow_table_init(&t, 1000, hash_key, no_timeouts) < 0);
	CHECK(flow_table_init(&t, 1u << 25, hash_key, no_timeouts) < 0);
}

int main(void)
{
	test_sizes();
	test_model();
	test_full();
	test_blocked();
	return test_end();
}
