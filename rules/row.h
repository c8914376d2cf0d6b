/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside rules/: what the rules of one destination say about protocol and port.
 *
 * Protocol class and number (port or ICMP type) together are one coordinate on
 * a line of 2^18 points, so that "TCP and UDP, all ports" is one interval:
 *
 *   0        65536    131072   196608   262144
 *   |  TCP   |  UDP   |  ICMP  | other  |
 *
 * A row is that line cut into pieces, each with the lowest rule that covers it:
 * a sorted list of 32-bit entries, 18 bits where the piece starts and 14 bits
 * the rule. The first entry starts at 0; neighbours have different rules. For
 * TCP 80-90 by rule 3, everything by rule 7:
 *
 *   (0, 7) (80, 3) (91, 7)
 *
 * Only index*.c, row.c and match.c look inside.
 */
#ifndef RULES_ROW_H
#define RULES_ROW_H

#include "rules/policy.h"

#include <assert.h>

#define ROW_RULE_BITS 14
#define ROW_NONE      ((1u << ROW_RULE_BITS) - 1) /* no rule; larger than any */
#define ROW_END	      (4u << 16)
#define SPAN_MAX      4 /* one for each class; two are all that the grammar makes */

static_assert(RULE_MAX <= ROW_NONE, "a rule's index fits an entry");
static_assert((uint64_t)ROW_END << ROW_RULE_BITS == UINT64_C(1) << 32, "so does a coordinate");

/* Entries of all rows, one after the other; only grows while it is built. */
struct entries {
	uint32_t *at;
	size_t count, size;
};

/* One of them; rows may share entries. */
struct row {
	uint32_t first, count;
	uint32_t least; /* the lowest rule in it, or ROW_NONE */
};

/** row_coordinate() - where a packet is on the line; @class is one CLASS_* bit */
static inline uint32_t row_coordinate(unsigned int class, uint16_t number)
{
	return ((uint32_t)__builtin_ctz(class) << 16) | number;
}

/**
 * row_find() - the lowest rule at a coordinate, or ROW_NONE
 *
 * Without a branch that depends on data: as many steps as the row's length has
 * bits, and no misprediction.
 */
static inline uint32_t row_find(const uint32_t *entry, uint32_t count, uint32_t at)
{
	uint32_t want = (at << ROW_RULE_BITS) | ROW_NONE;

	while (count > 1) {
		const uint32_t *next = entry + count / 2;

		count -= count / 2;
		entry = *next <= want ? next : entry;
	}
	return *entry & ROW_NONE;
}

struct painter;

/**
 * painter_new() - what row_paint() needs for the rules of @p
 *
 * Return: 0 or -ENOMEM.
 */
int painter_new(struct painter **out, const struct policy *p);
void painter_free(struct painter **pt);

/**
 * row_paint() - append the row of a list of rules
 * @rule:	their indices, ascending, each once
 *
 * Return: 0 or -ENOMEM.
 */
int row_paint(struct painter *pt, struct entries *out, const uint32_t *rule, size_t n,
	      struct row *row);

/**
 * row_merge() - append a row that has the lower rule of two everywhere
 *
 * Return: 0 or -ENOMEM.
 */
int row_merge(struct entries *out, const struct row *a, const struct row *b, struct row *row);

#endif
