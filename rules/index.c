/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The index of a policy: from a packet to the first rule that matches it, at a
 * cost that grows with the logarithm of the number of rules.
 *
 * The problem. A rule is a rectangle: destinations one way, protocol and port
 * the other (row.h makes one number of these). A packet is a point, and the
 * question is which of the rectangles around it has the lowest number. A table
 * of all destinations by all ports would answer at once, but 5000 prefixes and
 * 5000 port ranges to anywhere fill it with 25 million entries. So a rule is
 * kept in few places, and a packet looks into few places.
 *
 * The structure. A key leads to a node, nodes lead to further nodes, and every
 * node has a row.
 *
 *  - A *row* is the line of protocols and ports with the lowest rule for each
 *    piece of it.
 *  - The ends of all prefixes cut the addresses into intervals. Over these
 *    stands a binary tree. A prefix is some intervals in a row and is held by
 *    the few nodes that together are just these, at most two a level (a segment
 *    tree). A node's row is made of the rules it holds; what applies to an
 *    address are the rows from its interval up to the root. Nodes that hold
 *    nothing are left out: "up" leads to the next one that has a row.
 *  - A *point*, a single address (a full-length prefix, an address of a name, a
 *    DNS server), is a node of its own under its interval. Points that the same
 *    rules name share a row (points.h).
 *  - A short row further up is merged into the ones below it instead of being
 *    looked up every time: where both have a rule the lower one stays, and "up"
 *    then passes over what was merged. Usual policies end up with one row a
 *    packet.
 *  - The *keys* are the starts of the intervals and the points, sorted. Each
 *    says at which node exactly its address begins, and at which the ones after
 *    it do, up to the next key. Buckets of equal width lead to the right place
 *    among the keys, a binary search does the rest: with keys that are spread
 *    evenly it has next to nothing to do, with any others it is a binary search.
 *
 * An example:
 *
 *   0 accept tcp 443                     3 accept to 192.0.2.7
 *   1 drop to 10.1.0.0/16                4 drop udp
 *   2 accept udp 53 to 10.0.0.0/8
 *
 * The prefixes cut the addresses into five intervals, A to E. The tree has room
 * for eight; its nodes are numbered from the root, the children of i are 2i and
 * 2i + 1. In braces are the rules that a node holds:
 *
 *                              1 {0,4}
 *                 2                              3
 *         4             5 {2}             6             7
 *     8      9 {2}  10 {1}   11       12     13     14     15
 *     A      B      C        D        E      -      -      -
 *   0.0.0.0  10.0.0.0        10.2.0.0
 *                   10.1.0.0          11.0.0.0
 *
 * The /8 is B, C and D, which is node 9 and node 5. Without merging, the rows
 * are (where a piece starts, the rule, "-" for none):
 *
 *   node 1   tcp 0: -   tcp 443: 0   tcp 444: -   udp 0: 4   icmp 0: -
 *   9 and 5  tcp 0: -   udp 53: 2    udp 54: -
 *   node 10  tcp 0: 1
 *   a point  tcp 0: 3
 *
 * UDP 53 to 10.1.2.3: the last key up to there is 10.1.0.0, its node 10. Rule 1
 * matches. Up is node 5, where no rule is below 2: not looked at. Up is node 1,
 * where one is below 1, but udp 53 says 4. It is rule 1. TCP 443 to 192.0.2.7:
 * the key is that address itself, so it begins at the point, rule 3; up is node
 * 1, rule 0. It is rule 0, and for 192.0.2.8 the key's other node would have
 * led straight to node 1. With merging, node 10 has "tcp 0: 1  tcp 443: 0
 * tcp 444: 1", nothing is up from it, and the point has the like.
 *
 * Limits, for any rules: a packet looks into one row for each level of the tree
 * and one for its point, 17 for 10000 rules, each with a binary search. Memory
 * is bounded by what is held: a prefix by at most two nodes a level, a class of
 * points by the rules that name it, and the copies that merging makes by
 * INDEX_COPIES; doc/rules.md says how much that is. All lookups are in memory
 * that is fixed once it is built; nothing depends on a hash that somebody could
 * aim at.
 */
#include "rules/index.h"
#include "rules/ruleset.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NO_NODE UINT32_MAX

/* Lists of rules, counted first and filled then: list i is at[start[i]..start[i + 1]). */
struct lists {
	uint32_t *start, *at;
	size_t count;
};

/* What a prefix rule covers: leaves from low up to, not including, high. */
struct cover {
	uint32_t low, high;
};

struct builder {
	const struct policy *p;
	struct painter *painter;
	struct entries entries;
	struct node *node;
	size_t nodes, nodes_size;
	size_t copies; /* entries that may still be copied */

	struct place *bound; /* starts of intervals, ascending; the first is 0 */
	size_t bounds;
	uint32_t leaves; /* a power of two, at least bounds */
	struct cover *cover;
	struct lists held; /* by a node of the tree: 1 is the root, children of i 2i, 2i + 1 */
	uint32_t *stand;   /* of a node of the tree: where a packet begins that ends here */

	struct points points;
	struct row *class_row;
	struct lists named;	/* rules by class */
	uint32_t *class_parent; /* the last node of a class, and under which */
	uint32_t *class_node;
};

/* --- lists -------------------------------------------------------------------- */

static int lists_init(struct lists *l, size_t count)
{
	l->count = count;
	/* Two more: see lists_end_count(). */
	l->start = calloc(count + 2, sizeof(*l->start));
	return l->start == NULL ? -ENOMEM : 0;
}

static void lists_count(struct lists *l, size_t i)
{
	l->start[i + 2]++;
}

/* From counts to places: while list i is filled, start[i + 1] is its end. */
static int lists_end_count(struct lists *l)
{
	for (size_t i = 2; i < l->count + 2; i++)
		l->start[i] += l->start[i - 1];
	l->at = malloc(((size_t)l->start[l->count + 1] + 1) * sizeof(*l->at));
	return l->at == NULL ? -ENOMEM : 0;
}

static void lists_add(struct lists *l, size_t i, uint32_t rule)
{
	l->at[l->start[i + 1]++] = rule;
}

static void lists_clear(struct lists *l)
{
	free(l->start);
	free(l->at);
}

/* --- nodes -------------------------------------------------------------------- */

static int add_node(struct builder *b, const struct row *row, uint32_t up, uint32_t *out)
{
	if (b->nodes == b->nodes_size) {
		size_t size = b->nodes_size < 32 ? 32 : b->nodes_size * 2;
		struct node *node = reallocarray(b->node, size, sizeof(*node));

		if (node == NULL)
			return -ENOMEM;
		b->node = node;
		b->nodes_size = size;
	}
	*out = (uint32_t)b->nodes;
	b->node[b->nodes++] = (struct node){row->first, row->count, row->least, up};
	return 0;
}

/*
 * A node for what the row says, under @up: merged with it where that is cheap.
 * What a merge leaves behind of the row is paid for when others need it, too.
 */
static int add_under(struct builder *b, struct row row, bool shared, uint32_t up, uint32_t *out)
{
	while (up != 0) {
		const struct node *above = &b->node[up];
		struct row upper = {above->row, above->count, above->least}, merged;
		size_t price = upper.count + (shared ? row.count : 0);

		if (upper.count > INDEX_COPY_MAX || price > b->copies)
			break;
		b->copies -= price;
		up = above->up;
		if (row_merge(&b->entries, &row, &upper, &merged) != 0)
			return -ENOMEM;
		row = merged;
	}
	return add_node(b, &row, up, out);
}

/* --- the tree over the prefixes ----------------------------------------------- */

static bool in_tree(const struct policy *p, const struct matcher *m)
{
	return m->protos != 0 && !is_point(p, m);
}

/* The first address behind a prefix; false when the prefix reaches the end. */
static bool behind(address at, unsigned int len, uint8_t family, address *out)
{
	unsigned int bits = family == 4 ? 32 : 128;

	*out = at + ((address)1 << (bits - len));
	return family == 4 ? *out >> 32 == 0 : *out != 0;
}

/* Cut the addresses at both ends of every prefix; note where each one's are. */
static int cut_addresses(struct builder *b)
{
	const struct policy *p = b->p;
	struct place *all = malloc((2 * p->rule_count + 1) * sizeof(*all));
	size_t n = 0;

	b->bound = all;
	b->cover = calloc(p->rule_count + 1, sizeof(*b->cover));
	if (all == NULL || b->cover == NULL)
		return -ENOMEM;
	all[n++] = (struct place){.ref = (uint32_t)(2 * p->rule_count)};
	for (size_t i = 0; i < p->rule_count; i++) {
		const struct matcher *m = &p->rule[i];
		address at;

		if (!in_tree(p, m) || m->prefix_len == 0)
			continue;
		at = address_of(&m->net, p->family);
		all[n++] = (struct place){at, (uint32_t)(2 * i)};
		if (behind(at, m->prefix_len, p->family, &at))
			all[n++] = (struct place){at, (uint32_t)(2 * i + 1)};
	}
	qsort(all, n, sizeof(*all), place_compare);
	for (size_t i = 0; i < n; i++) {
		uint32_t rule = all[i].ref / 2, upper = all[i].ref % 2;

		if (i == 0 || place_compare(&all[b->bounds - 1], &all[i]) != 0)
			all[b->bounds++] = all[i];
		if (upper)
			b->cover[rule].high = (uint32_t)b->bounds - 1;
		else
			b->cover[rule].low = (uint32_t)b->bounds - 1;
	}
	b->leaves = 1;
	while (b->leaves < b->bounds)
		b->leaves *= 2;
	for (size_t i = 0; i < p->rule_count; i++)
		if (b->cover[i].high == 0) /* nothing behind it */
			b->cover[i].high = b->leaves;
	return 0;
}

/* Each rule with the few nodes of the tree that are just its leaves. */
static void hold_rules(struct builder *b, void (*put)(struct lists *l, size_t node, uint32_t rule))
{
	for (uint32_t i = 0; i < b->p->rule_count; i++) {
		uint32_t low = b->cover[i].low + b->leaves, high = b->cover[i].high + b->leaves;

		if (!in_tree(b->p, &b->p->rule[i]))
			continue;
		for (; low < high; low /= 2, high /= 2) {
			if (low % 2 == 1)
				put(&b->held, low++, i);
			if (high % 2 == 1)
				put(&b->held, --high, i);
		}
	}
}

static void count_rule(struct lists *l, size_t i, uint32_t rule)
{
	(void)rule;
	lists_count(l, i);
}

/* A node for what one node of the tree holds; its own row is needed no more. */
static int stand_on(struct builder *b, uint32_t i)
{
	uint32_t up = i == 1 ? 0 : b->stand[i / 2];
	const struct lists *l = &b->held;
	struct entries *e = &b->entries;
	struct node *node;
	struct row row;

	b->stand[i] = up;
	if (l->start[i] == l->start[i + 1])
		return 0;
	if (row_paint(b->painter, e, l->at + l->start[i], l->start[i + 1] - l->start[i], &row) !=
		0 ||
	    add_under(b, row, false, up, &b->stand[i]) != 0)
		return -ENOMEM;
	node = &b->node[b->stand[i]];
	memmove(e->at + row.first, e->at + node->row, node->count * sizeof(*e->at));
	node->row = row.first;
	e->count = row.first + node->count;
	return 0;
}

static int build_tree(struct builder *b)
{
	int ret = cut_addresses(b);

	if (ret == 0)
		ret = lists_init(&b->held, 2 * (size_t)b->leaves);
	if (ret != 0)
		return ret;
	hold_rules(b, count_rule);
	ret = lists_end_count(&b->held);
	b->stand = malloc(2 * (size_t)b->leaves * sizeof(*b->stand));
	if (ret != 0 || b->stand == NULL)
		return -ENOMEM;
	hold_rules(b, lists_add);
	for (uint32_t i = 1; i < 2 * b->leaves; i++)
		if (stand_on(b, i) != 0)
			return -ENOMEM;
	return 0;
}

/* --- single addresses --------------------------------------------------------- */

static void name_rules(struct builder *b, void (*put)(struct lists *l, size_t class, uint32_t rule))
{
	for (uint32_t i = 0; i < b->p->rule_count; i++) {
		const uint32_t *class;
		size_t n;

		if (!is_point(b->p, &b->p->rule[i]))
			continue;
		class = points_of(&b->points, b->p, i, &n);
		for (size_t j = 0; j < n; j++)
			put(&b->named, class[j], i);
	}
}

static int build_points(struct builder *b)
{
	size_t classes = b->points.classes;
	struct lists *l = &b->named;

	b->class_row = calloc(classes + 1, sizeof(*b->class_row));
	b->class_parent = malloc((classes + 1) * sizeof(*b->class_parent));
	b->class_node = malloc((classes + 1) * sizeof(*b->class_node));
	if (b->class_row == NULL || b->class_parent == NULL || b->class_node == NULL ||
	    lists_init(l, classes) != 0)
		return -ENOMEM;
	name_rules(b, count_rule);
	if (lists_end_count(l) != 0)
		return -ENOMEM;
	name_rules(b, lists_add);
	for (size_t i = 0; i < classes; i++) {
		b->class_parent[i] = NO_NODE;
		if (row_paint(b->painter, &b->entries, l->at + l->start[i],
			      l->start[i + 1] - l->start[i], &b->class_row[i]) != 0)
			return -ENOMEM;
	}
	return 0;
}

/* The node of a class under a leaf; neighbours mostly share it. */
static int point_node(struct builder *b, uint32_t class, uint32_t up, uint32_t *out)
{
	if (b->class_parent[class] != up) {
		if (add_under(b, b->class_row[class], true, up, &b->class_node[class]) != 0)
			return -ENOMEM;
		b->class_parent[class] = up;
	}
	*out = b->class_node[class];
	return 0;
}

/* --- keys --------------------------------------------------------------------- */

static void add_key(struct index *ix, address key, struct landing landing)
{
	/* A key that changes nothing is none. */
	if (ix->keys > 0 && landing.at == landing.after &&
	    landing.after == ix->landing[ix->keys - 1].after)
		return;
	ix->key[ix->keys] = key;
	ix->landing[ix->keys++] = landing;
}

static int merge_keys(struct builder *b, struct index *ix)
{
	size_t i = 0, j = 0;
	uint32_t stand = 0;

	while (i < b->bounds || j < b->points.count) {
		int order = i == b->bounds	  ? 1
			    : j == b->points.count ? -1
						   : place_compare(&b->bound[i], &b->points.at[j]);
		const struct place *place = order <= 0 ? &b->bound[i] : &b->points.at[j];
		struct landing landing;

		if (order <= 0)
			stand = b->stand[b->leaves + i++];
		landing = (struct landing){stand, stand};
		if (order >= 0 && point_node(b, b->points.at[j++].ref, stand, &landing.at) != 0)
			return -ENOMEM;
		add_key(ix, place->at, landing);
	}
	return 0;
}

/* As many buckets as keys, up to twice as many, between the second key and the last. */
static int build_buckets(struct index *ix)
{
	address low = ix->key[ix->keys > 1], span = ix->key[ix->keys - 1] - low;
	size_t n = 1; /* the first key is below all buckets, or the only one */

	while (span >> ix->shift >= 2 * ix->keys)
		ix->shift++;
	ix->low = low;
	ix->buckets = (size_t)(span >> ix->shift) + 1;
	ix->bucket = malloc((ix->buckets + 1) * sizeof(*ix->bucket));
	if (ix->bucket == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < ix->buckets; i++) {
		while (n < ix->keys && (size_t)((ix->key[n] - low) >> ix->shift) < i)
			n++;
		ix->bucket[i] = (uint32_t)n;
	}
	ix->bucket[ix->buckets] = (uint32_t)ix->keys;
	return 0;
}

static int build_keys(struct builder *b, struct index *ix)
{
	size_t most = b->bounds + b->points.count;

	ix->key = malloc(most * sizeof(*ix->key));
	ix->landing = malloc(most * sizeof(*ix->landing));
	if (ix->key == NULL || ix->landing == NULL || merge_keys(b, ix) != 0)
		return -ENOMEM;
	return build_buckets(ix);
}

/* --- all of it ---------------------------------------------------------------- */

static int build(struct builder *b, struct index *ix)
{
	static const struct row nothing = {.least = ROW_NONE};
	uint32_t end;
	int ret = painter_new(&b->painter, b->p);

	if (ret == 0)
		ret = add_node(b, &nothing, 0, &end);
	if (ret == 0)
		ret = build_tree(b);
	if (ret == 0)
		ret = build_points(b);
	if (ret == 0)
		ret = build_keys(b, ix);
	return ret;
}

static void *shrink(void *p, size_t n, size_t size)
{
	void *small = reallocarray(p, n, size);

	if (small == NULL)
		return p;
	return small;
}

/* Hand over what was built, without what the bounds had too much. */
static void finish(struct builder *b, struct index *ix)
{
	ix->key = shrink(ix->key, ix->keys, sizeof(*ix->key));
	ix->landing = shrink(ix->landing, ix->keys, sizeof(*ix->landing));
	ix->nodes = b->nodes;
	ix->node = shrink(b->node, b->nodes, sizeof(*b->node));
	ix->entries = b->entries.count;
	ix->entry = shrink(b->entries.at, b->entries.count + 1, sizeof(*b->entries.at));
	b->node = NULL;
	b->entries.at = NULL;
}

static void clear(struct builder *b)
{
	painter_free(&b->painter);
	free(b->entries.at);
	free(b->node);
	free(b->bound);
	free(b->cover);
	lists_clear(&b->held);
	free(b->stand);
	points_clear(&b->points);
	free(b->class_row);
	lists_clear(&b->named);
	free(b->class_parent);
	free(b->class_node);
}

int index_new(struct index **out, const struct policy *p)
{
	struct builder b = {.p = p, .copies = INDEX_COPIES(p->rule_count)};
	struct index *ix = NULL;
	int ret = 0;

	if (p->rule_count >= INDEX_RULES_MIN)
		ret = points_init(&b.points, p);
	if (p->rule_count >= INDEX_RULES_MIN && ret == 0 && b.points.pairs <= INDEX_PAIRS_MAX) {
		ix = calloc(1, sizeof(*ix));
		ret = ix == NULL ? -ENOMEM : build(&b, ix);
		if (ret == 0)
			finish(&b, ix);
	}
	clear(&b);
	if (ret != 0) {
		index_free(&ix);
		return ret;
	}
	*out = ix;
	return 0;
}

void index_free(struct index **ix)
{
	struct index *old = *ix;

	if (old == NULL)
		return;
	free(old->key);
	free(old->landing);
	free(old->bucket);
	free(old->node);
	free(old->entry);
	free(old);
	*ix = NULL;
}

size_t index_memory(const struct index *ix)
{
	if (ix == NULL)
		return 0;
	return sizeof(*ix) + ix->keys * (sizeof(*ix->key) + sizeof(*ix->landing)) +
	       (ix->buckets + 1) * sizeof(*ix->bucket) + ix->nodes * sizeof(*ix->node) +
	       (ix->entries + 1) * sizeof(*ix->entry);
}

/* --- a packet ----------------------------------------------------------------- */

/* The node where the rows of an address begin. */
static inline uint32_t find_node(const struct index *ix, address dst)
{
	const address *key = ix->key;
	const struct landing *landing;
	size_t count;

	if (dst >= ix->low) {
		address far = (dst - ix->low) >> ix->shift;
		size_t i = far < ix->buckets ? (size_t)far : ix->buckets - 1;

		/* From the last key before the bucket's; there is one: the first of all. */
		key += ix->bucket[i] - 1;
		count = ix->bucket[i + 1] - ix->bucket[i] + 1;
	} else {
		count = 1;
	}
	/* The last one up to dst, without a branch on data. */
	while (count > 1) {
		const address *next = key + count / 2;

		count -= count / 2;
		key = *next <= dst ? next : key;
	}
	landing = &ix->landing[key - ix->key];
	return *key == dst ? landing->at : landing->after;
}

uint32_t index_find(const struct index *ix, address dst, uint32_t coordinate)
{
	uint32_t best = ROW_NONE;

	for (uint32_t at = find_node(ix, dst); at != 0; at = ix->node[at].up) {
		const struct node *node = &ix->node[at];
		uint32_t rule;

		if (node->least >= best)
			continue;
		rule = row_find(ix->entry + node->row, node->count, coordinate);
		if (rule < best)
			best = rule;
	}
	return best;
}
