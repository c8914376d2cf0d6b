/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside rules/: a policy's index, which finds the first matching rule without
 * looking at all of them. The top of index.c explains it.
 */
#ifndef RULES_INDEX_H
#define RULES_INDEX_H

#include "rules/points.h"
#include "rules/row.h"

/* Fewer rules are scanned: that is faster for them. */
#define INDEX_RULES_MIN 9
/*
 * (rule, class of addresses) pairs, see points.h. 10000 rules of 64 addresses
 * each cannot have more; a policy that has is scanned.
 */
#define INDEX_PAIRS_MAX (1u << 20)
/* Entries of rows that are copied for speed, in all. */
#define INDEX_COPIES(rules) (64 * (rules) + 1024)
/* Only rows up to this length are copied. */
#define INDEX_COPY_MAX 128

/* A row, and where to look further. */
struct node {
	uint32_t row, count; /* entries */
	uint32_t least;	     /* the lowest rule in the row */
	uint32_t up;	     /* node 0 is the end */
};

/* The nodes of an address that is a key, and of those between it and the next key. */
struct landing {
	uint32_t at, after;
};

struct index {
	size_t keys, buckets, nodes, entries;
	address *key;		 /* ascending; key[0] is 0 */
	struct landing *landing; /* of each key */
	/*
	 * A shorter way to the key: bucket i has the keys whose distance from
	 * low, shifted, is i; the last one also all above. bucket[i] is the
	 * first of them, bucket[buckets] the number of keys.
	 */
	address low;
	unsigned int shift;
	uint32_t *bucket;
	struct node *node;
	uint32_t *entry;
};

/**
 * index_new() - build the index of a policy's rules
 * @out:	NULL when the policy is better scanned
 *
 * Return: 0 or -ENOMEM.
 */
int index_new(struct index **out, const struct policy *p);
void index_free(struct index **ix);
size_t index_memory(const struct index *ix);

/** index_find() - the lowest rule that matches, or ROW_NONE */
uint32_t index_find(const struct index *ix, address dst, uint32_t coordinate);

#endif
