/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside rules/: the single addresses that rules name, in classes.
 *
 * Two addresses are in one class when the same rules with single addresses
 * (full-length prefixes and sets) name them: all addresses of a name that is
 * used alone are one class. What such rules say is worked out once for a class.
 */
#ifndef RULES_POINTS_H
#define RULES_POINTS_H

#include "rules/policy.h"

#include <endian.h>

/* An address as a number; IPv4 as one of 32 bits. */
typedef unsigned __int128 address;

/* One, and what it belongs to, for sorting. */
struct place {
	address at;
	uint32_t ref;
};

struct points {
	struct place *at; /* sorted, distinct; ref is the class */
	size_t count, classes;
	size_t pairs; /* sum over all rules of the classes they name */
	/*
	 * Where a rule's addresses are: slots first..first + count of the pool
	 * for a set, one slot of its own behind the pool for a full prefix.
	 */
	size_t slots;
	uint32_t *slot;	  /* its point; in the end the distinct classes of a set */
	uint32_t *length; /* how many, at a set's first slot; 0: not used */
};

/** address_of() - words as a number */
static inline address address_of(const struct words *w, uint8_t family)
{
	if (family == 4)
		return be64toh(w->w[0]) >> 32;
	return (address)be64toh(w->w[0]) << 64 | be64toh(w->w[1]);
}

/** place_compare() - for qsort(), by address */
int place_compare(const void *a, const void *b);

/** is_point() - whether the rule names single addresses */
bool is_point(const struct policy *p, const struct matcher *m);

/**
 * points_init() - find all points of a policy and their classes
 *
 * Return: 0 or -ENOMEM; points_clear() in either case.
 */
int points_init(struct points *pts, const struct policy *p);
void points_clear(struct points *pts);

/** points_of() - the distinct classes that a rule names; it must be is_point() */
const uint32_t *points_of(const struct points *pts, const struct policy *p, size_t rule, size_t *n);

#endif
