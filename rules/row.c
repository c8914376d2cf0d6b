/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rows: building them.
 *
 * The ends of all rules' intervals cut the line once for the whole policy; from
 * there on an end is its rank among these cuts, a small number, and sorting the
 * ends of a few rules needs no comparison sort: they are inserted one by one
 * when they are few, and marked in a bitmap and read out when they are many.
 *
 * Then the rules are painted over the pieces in their order, each only where
 * nothing is painted yet. next[piece] leads to the first free piece at or after
 * it, with paths halved on the way, so a row of n rules costs little more than
 * n steps however they overlap. Pieces in a row with the same rule become one.
 */
#include "rules/row.h"
#include "rules/ruleset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BITS 64
#define FEW	  24 /* ends that are sorted by insertion */

/* Ranks of cuts: from low up to, not including, high. */
struct span {
	uint32_t low, high;
};

struct painter {
	size_t rules, cuts;
	uint32_t *cut;	    /* coordinate of each rank, ascending */
	struct span *span;  /* of all rules */
	uint32_t *first;    /* where a rule's begin; rules + 1 of them */
	uint64_t *mark;	    /* a bit for each rank; zero between two rows */
	uint32_t *edge;	    /* ranks at which the pieces of this row start */
	uint32_t *piece_of; /* rank of an edge -> number of its piece */
	uint32_t *next;	    /* of a piece: itself while it is free */
	uint32_t *rule;	    /* of a piece */
};

/* The intervals of one rule, as coordinates. */
static unsigned int spans_of(const struct matcher *m, struct span out[SPAN_MAX])
{
	unsigned int n = 0;

	for (unsigned int class = CLASS_TCP; class <= CLASS_OTHER; class <<= 1) {
		uint32_t low = row_coordinate(class, m->low),
			 high = row_coordinate(class, m->high) + 1;

		if (!(m->protos & class))
			continue;
		if (n > 0 && out[n - 1].high == low)
			out[n - 1].high = high;
		else
			out[n++] = (struct span){low, high};
	}
	return n;
}

static void set_bit(uint64_t *bits, size_t i)
{
	bits[i / WORD_BITS] |= UINT64_C(1) << i % WORD_BITS;
}

/* Read a bitmap's bits in order and clear them. */
static size_t take_bits(uint64_t *bits, size_t size, uint32_t *out)
{
	size_t n = 0;

	for (size_t w = 0; w * WORD_BITS < size; w++) {
		for (; bits[w] != 0; bits[w] &= bits[w] - 1)
			out[n++] = (uint32_t)(w * WORD_BITS + (size_t)__builtin_ctzll(bits[w]));
	}
	return n;
}

static uint32_t rank_of(const struct painter *pt, uint32_t coordinate)
{
	size_t low = 0, high = pt->cuts;

	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (pt->cut[mid] <= coordinate)
			low = mid;
		else
			high = mid;
	}
	assert(pt->cut[low] == coordinate);
	return (uint32_t)low;
}

/* Find all cuts; turn the coordinates in span[] into ranks. */
static int cut_line(struct painter *pt)
{
	size_t spans = pt->first[pt->rules], most = 2 * spans + 2;
	uint64_t *bits = calloc(ROW_END / WORD_BITS + 1, sizeof(*bits));

	pt->cut = malloc(most * sizeof(*pt->cut));
	if (bits == NULL || pt->cut == NULL) {
		free(bits);
		return -ENOMEM;
	}
	set_bit(bits, 0);
	set_bit(bits, ROW_END);
	for (size_t i = 0; i < spans; i++) {
		set_bit(bits, pt->span[i].low);
		set_bit(bits, pt->span[i].high);
	}
	pt->cuts = take_bits(bits, ROW_END + 1, pt->cut);
	free(bits);
	for (size_t i = 0; i < spans; i++) {
		pt->span[i].low = rank_of(pt, pt->span[i].low);
		pt->span[i].high = rank_of(pt, pt->span[i].high);
	}
	return 0;
}

int painter_new(struct painter **out, const struct policy *p)
{
	struct painter *pt = calloc(1, sizeof(*pt));
	int ret = -ENOMEM;
	size_t n = 0;

	if (pt == NULL)
		return -ENOMEM;
	pt->rules = p->rule_count;
	pt->span = malloc((pt->rules + 1) * SPAN_MAX * sizeof(*pt->span));
	pt->first = malloc((pt->rules + 1) * sizeof(*pt->first));
	if (pt->span == NULL || pt->first == NULL)
		goto out;
	for (size_t i = 0; i < pt->rules; i++) {
		pt->first[i] = (uint32_t)n;
		n += spans_of(&p->rule[i], pt->span + n);
	}
	pt->first[pt->rules] = (uint32_t)n;
	ret = cut_line(pt);
	if (ret != 0)
		goto out;
	pt->mark = calloc(pt->cuts / WORD_BITS + 1, sizeof(*pt->mark));
	pt->edge = malloc((pt->cuts + 1) * sizeof(*pt->edge));
	pt->piece_of = malloc((pt->cuts + 1) * sizeof(*pt->piece_of));
	pt->next = malloc((pt->cuts + 1) * sizeof(*pt->next));
	pt->rule = malloc((pt->cuts + 1) * sizeof(*pt->rule));
	if (pt->mark == NULL || pt->edge == NULL || pt->piece_of == NULL || pt->next == NULL ||
	    pt->rule == NULL)
		ret = -ENOMEM;
out:
	if (ret != 0) {
		painter_free(&pt);
		return ret;
	}
	*out = pt;
	return 0;
}

void painter_free(struct painter **pt)
{
	struct painter *old = *pt;

	if (old == NULL)
		return;
	free(old->cut);
	free(old->span);
	free(old->first);
	free(old->mark);
	free(old->edge);
	free(old->piece_of);
	free(old->next);
	free(old->rule);
	free(old);
	*pt = NULL;
}

/* --- one row ------------------------------------------------------------------ */

/* Room for @more entries. */
static int reserve(struct entries *out, size_t more)
{
	size_t size = out->size < 64 ? 64 : out->size;
	uint32_t *at;

	if (out->size - out->count >= more)
		return 0;
	while (size - out->count < more)
		size *= 2;
	if (size > UINT32_MAX)
		return -ENOMEM;
	at = reallocarray(out->at, size, sizeof(*at));
	if (at == NULL)
		return -ENOMEM;
	out->at = at;
	out->size = size;
	return 0;
}

static void row_begin(const struct entries *out, struct row *row)
{
	*row = (struct row){.first = (uint32_t)out->count, .least = ROW_NONE};
}

/* The piece that starts here; entries were reserved. */
static void row_add(struct entries *out, struct row *row, uint32_t start, uint32_t rule)
{
	if (row->count > 0 && (out->at[out->count - 1] & ROW_NONE) == rule)
		return;
	assert(out->count < out->size);
	assert(row->count == 0 || out->at[out->count - 1] >> ROW_RULE_BITS < start);
	out->at[out->count++] = (start << ROW_RULE_BITS) | rule;
	row->count++;
	if (rule < row->least)
		row->least = rule;
}

static size_t insert(uint32_t *sorted, size_t n, uint32_t value)
{
	size_t i = n;

	while (i > 0 && sorted[i - 1] > value)
		i--;
	if (i > 0 && sorted[i - 1] == value)
		return n;
	memmove(sorted + i + 1, sorted + i, (n - i) * sizeof(*sorted));
	sorted[i] = value;
	return n + 1;
}

/* The ends of these rules' spans and both ends of the line, sorted and distinct. */
static size_t find_edges(struct painter *pt, const uint32_t *rule, size_t n)
{
	uint32_t last = (uint32_t)pt->cuts - 1;
	size_t edges = 0, spans = 0;

	for (size_t i = 0; i < n; i++)
		spans += pt->first[rule[i] + 1] - pt->first[rule[i]];
	if (2 * spans > FEW) {
		set_bit(pt->mark, 0);
		set_bit(pt->mark, last);
		for (size_t i = 0; i < n; i++) {
			for (size_t s = pt->first[rule[i]]; s < pt->first[rule[i] + 1]; s++) {
				set_bit(pt->mark, pt->span[s].low);
				set_bit(pt->mark, pt->span[s].high);
			}
		}
		return take_bits(pt->mark, pt->cuts, pt->edge);
	}
	pt->edge[edges++] = 0;
	edges = insert(pt->edge, edges, last);
	for (size_t i = 0; i < n; i++) {
		for (size_t s = pt->first[rule[i]]; s < pt->first[rule[i] + 1]; s++) {
			edges = insert(pt->edge, edges, pt->span[s].low);
			edges = insert(pt->edge, edges, pt->span[s].high);
		}
	}
	return edges;
}

static uint32_t free_piece(uint32_t *next, uint32_t piece)
{
	while (next[piece] != piece) {
		next[piece] = next[next[piece]];
		piece = next[piece];
	}
	return piece;
}

int row_paint(struct painter *pt, struct entries *out, const uint32_t *rule, size_t n,
	      struct row *row)
{
	size_t edges = find_edges(pt, rule, n), free_pieces = edges - 1;

	if (reserve(out, edges) != 0)
		return -ENOMEM;
	for (uint32_t i = 0; i < edges; i++) {
		pt->piece_of[pt->edge[i]] = i;
		pt->next[i] = i; /* the last edge is the end: never taken */
		pt->rule[i] = ROW_NONE;
	}
	for (size_t i = 0; i < n && free_pieces > 0; i++) {
		for (size_t s = pt->first[rule[i]]; s < pt->first[rule[i] + 1]; s++) {
			uint32_t end = pt->piece_of[pt->span[s].high];
			uint32_t at = free_piece(pt->next, pt->piece_of[pt->span[s].low]);

			for (; at < end; at = free_piece(pt->next, at)) {
				pt->rule[at] = rule[i];
				pt->next[at] = at + 1;
				free_pieces--;
			}
		}
	}
	row_begin(out, row);
	for (size_t i = 0; i + 1 < edges; i++)
		row_add(out, row, pt->cut[pt->edge[i]], pt->rule[i]);
	return 0;
}

int row_merge(struct entries *out, const struct row *a, const struct row *b, struct row *row)
{
	size_t i = 0, j = 0;
	uint32_t left = ROW_NONE, right = ROW_NONE;

	if (reserve(out, (size_t)a->count + b->count) != 0)
		return -ENOMEM;
	row_begin(out, row);
	while (i < a->count || j < b->count) {
		uint32_t x = i < a->count ? out->at[a->first + i] >> ROW_RULE_BITS : ROW_END;
		uint32_t y = j < b->count ? out->at[b->first + j] >> ROW_RULE_BITS : ROW_END;

		if (x <= y)
			left = out->at[a->first + i++] & ROW_NONE;
		if (y <= x)
			right = out->at[b->first + j++] & ROW_NONE;
		row_add(out, row, x < y ? x : y, left < right ? left : right);
	}
	return 0;
}
