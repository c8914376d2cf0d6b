/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Points and their classes.
 *
 * All addresses are sorted once; equal ones are one point. Then the classes are
 * refined: in the beginning all points are in one, and each set in turn splits
 * every class that it meets into the members it has and those it has not. That
 * takes one step for each address of each set, whatever the sets are.
 *
 * Sets of the pool are disjoint slices, so the first slot is a set's identity
 * and rules that share a name are looked at once.
 */
#include "rules/points.h"
#include "rules/ruleset.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* While classes are refined; one element for each class there may be. */
struct refiner {
	uint32_t *turn; /* the set that split it last */
	uint32_t *to;	/* and where its members went */
	uint32_t classes;
};

int place_compare(const void *va, const void *vb)
{
	const struct place *a = va, *b = vb;

	return (a->at > b->at) - (a->at < b->at);
}

bool is_point(const struct policy *p, const struct matcher *m)
{
	if (m->protos == 0)
		return false;
	return (m->flags & MATCH_SET) || m->prefix_len == (p->family == 4 ? 32 : 128);
}

static size_t first_slot(const struct policy *p, size_t rule)
{
	const struct matcher *m = &p->rule[rule];

	return m->flags & MATCH_SET ? m->first : p->pool_count + rule;
}

const uint32_t *points_of(const struct points *pts, const struct policy *p, size_t rule, size_t *n)
{
	size_t first = first_slot(p, rule);

	*n = pts->length[first];
	return pts->slot + first;
}

/* All addresses of all sets, each set once, sorted; slot[] leads to the point. */
static void find_points(struct points *pts, const struct policy *p)
{
	size_t found = 0;

	for (size_t i = 0; i < p->rule_count; i++) {
		const struct matcher *m = &p->rule[i];
		bool set = m->flags & MATCH_SET;
		size_t first = first_slot(p, i);

		if (!is_point(p, m) || pts->length[first] != 0)
			continue;
		pts->length[first] = set ? m->count : 1;
		for (uint32_t j = 0; j < pts->length[first]; j++) {
			const struct words *w = set ? &p->pool[first + j] : &m->net;

			pts->at[found++] =
			    (struct place){address_of(w, p->family), (uint32_t)(first + j)};
		}
	}
	qsort(pts->at, found, sizeof(*pts->at), place_compare);
	for (size_t i = 0; i < found; i++) {
		uint32_t slot = pts->at[i].ref;

		if (i == 0 || place_compare(&pts->at[pts->count - 1], &pts->at[i]) != 0)
			pts->at[pts->count++] = pts->at[i];
		pts->slot[slot] = (uint32_t)pts->count - 1;
	}
	for (size_t i = 0; i < pts->count; i++)
		pts->at[i].ref = 0;
}

/* The set's members leave their classes; a class keeps the others. */
static void refine(struct points *pts, struct refiner *r, size_t first, uint32_t turn)
{
	for (uint32_t j = 0; j < pts->length[first]; j++) {
		uint32_t *class = &pts->at[pts->slot[first + j]].ref;

		if (r->turn[*class] != turn) {
			r->turn[*class] = turn;
			r->to[*class] = r->classes++;
		}
		*class = r->to[*class];
	}
}

/* Classes that ran empty have no number any more. */
static void renumber(struct points *pts, struct refiner *r)
{
	memset(r->to, 0xff, r->classes * sizeof(*r->to));
	for (size_t i = 0; i < pts->count; i++) {
		uint32_t *class = &pts->at[i].ref;

		if (r->to[*class] == UINT32_MAX)
			r->to[*class] = (uint32_t)pts->classes++;
		*class = r->to[*class];
	}
}

/* From the points of a set to its classes, each once, in the same slots. */
static void list_classes(struct points *pts, struct refiner *r, size_t first, uint32_t turn)
{
	uint32_t n = 0;

	for (uint32_t j = 0; j < pts->length[first]; j++) {
		uint32_t class = pts->at[pts->slot[first + j]].ref;

		if (r->turn[class] == turn)
			continue;
		r->turn[class] = turn;
		pts->slot[first + n++] = class;
	}
	pts->length[first] = n;
}

/* Call one of the two above for each set; @seen tells them apart. */
static void each_set(struct points *pts, const struct policy *p, struct refiner *r, uint8_t *seen,
		     void (*fn)(struct points *, struct refiner *, size_t, uint32_t))
{
	memset(seen, 0, pts->slots);
	memset(r->turn, 0, pts->slots * sizeof(*r->turn));
	for (size_t i = 0; i < p->rule_count; i++) {
		size_t first = first_slot(p, i);

		if (!is_point(p, &p->rule[i]) || seen[first])
			continue;
		seen[first] = 1;
		fn(pts, r, first, (uint32_t)i + 1);
	}
}

int points_init(struct points *pts, const struct policy *p)
{
	/* Every slot can open at most one class, next to the first one. */
	size_t slots = p->pool_count + p->rule_count + 1;
	struct refiner r = {.classes = 1};
	uint8_t *seen = malloc(slots);

	*pts = (struct points){.slots = slots};
	pts->at = malloc(slots * sizeof(*pts->at));
	pts->slot = malloc(slots * sizeof(*pts->slot));
	pts->length = calloc(slots, sizeof(*pts->length));
	r.turn = malloc(slots * sizeof(*r.turn));
	r.to = malloc(slots * sizeof(*r.to));
	if (seen == NULL || pts->at == NULL || pts->slot == NULL || pts->length == NULL ||
	    r.turn == NULL || r.to == NULL) {
		free(seen);
		free(r.turn);
		free(r.to);
		return -ENOMEM;
	}
	find_points(pts, p);
	each_set(pts, p, &r, seen, refine);
	assert(r.classes <= slots);
	renumber(pts, &r);
	each_set(pts, p, &r, seen, list_classes);
	for (size_t i = 0; i < p->rule_count; i++)
		if (is_point(p, &p->rule[i]))
			pts->pairs += pts->length[first_slot(p, i)];
	free(seen);
	free(r.turn);
	free(r.to);
	return 0;
}

void points_clear(struct points *pts)
{
	free(pts->at);
	free(pts->slot);
	free(pts->length);
	*pts = (struct points){.at = NULL};
}
