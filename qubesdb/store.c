// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The store is a skip list.
 *
 * dom0 streams a sync in reverse path order and an update in path order, both
 * of which make a sorted array move everything at each insert; a list of
 * levels costs the same logarithm in any order, walks in order without a
 * stack, and removes a subtree as one run of neighbours.
 *
 * Invariants: level 0 holds every key in strcmp() order without duplicates; a
 * node of height h stands on levels 0..h-1; bytes is the sum of node_bytes()
 * over all nodes. Heights come from a fixed-seed generator: whoever writes to
 * QubesDB is dom0, and equal runs make equal trees.
 */
#include "qubesdb/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEVELS 12 /* one node in four climbs: enough for 4^12 keys */

struct qdb_store {
	size_t count, bytes;
	uint32_t rng;
	struct qdb_node *head[LEVELS];
};

/* For each level, the link that points to the first key not before the path. */
struct place {
	struct qdb_node **link[LEVELS];
};

struct qdb_entry *qdb_entry_new(const char *path, const void *value, size_t len)
{
	size_t n = strlen(path);
	struct qdb_entry *e;

	if (n > UINT16_MAX || len > UINT16_MAX)
		return NULL;
	e = malloc(sizeof(*e) + n + len + 2);
	if (!e)
		return NULL;
	e->refs = 1;
	e->path_len = (uint32_t)n;
	e->value_len = (uint32_t)len;
	memcpy(e->text, path, n + 1);
	if (len)
		memcpy(e->text + n + 1, value, len);
	e->text[n + 1 + len] = '\0';
	return e;
}

struct qdb_entry *qdb_entry_hold(struct qdb_entry *e)
{
	e->refs++;
	return e;
}

void qdb_entry_drop(struct qdb_entry *e)
{
	if (e && --e->refs == 0)
		free(e);
}

bool qdb_entry_same(const struct qdb_entry *a, const struct qdb_entry *b)
{
	return a == b || (a->path_len == b->path_len && a->value_len == b->value_len &&
			  memcmp(a->text, b->text, a->path_len + 1 + a->value_len) == 0);
}

int qdb_store_new(struct qdb_store **out)
{
	struct qdb_store *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->rng = 0x9e3779b9;
	*out = s;
	return 0;
}

void qdb_store_free(struct qdb_store **s)
{
	struct qdb_node *n, *next;

	if (!*s)
		return;
	for (n = (*s)->head[0]; n; n = next) {
		next = n->next[0];
		qdb_entry_drop(n->entry);
		free(n);
	}
	free(*s);
	*s = NULL;
}

/* What an entry costs, with its node at the average height and malloc's part. */
static size_t node_bytes(const struct qdb_entry *e)
{
	return sizeof(*e) + e->path_len + e->value_len + 2 + 5 * sizeof(void *);
}

/* The height is not stored: a link of level l is only followed on level l. */
static void find(struct qdb_store *s, const char *path, struct place *p)
{
	struct qdb_node **row = s->head;

	for (int l = LEVELS; l-- > 0;) {
		while (row[l] && strcmp(qdb_entry_path(row[l]->entry), path) < 0)
			row = row[l]->next;
		p->link[l] = &row[l];
	}
}

static int random_height(struct qdb_store *s)
{
	int h = 1;

	s->rng ^= s->rng << 13;
	s->rng ^= s->rng >> 17;
	s->rng ^= s->rng << 5;
	for (uint32_t bits = s->rng; h < LEVELS && (bits & 3) == 0; bits >>= 2)
		h++;
	return h;
}

int qdb_store_put(struct qdb_store *s, struct qdb_entry *e)
{
	struct place p;
	struct qdb_node *n;
	int h;

	find(s, qdb_entry_path(e), &p);
	n = *p.link[0];
	if (n && strcmp(qdb_entry_path(n->entry), qdb_entry_path(e)) == 0) {
		size_t bytes = s->bytes - node_bytes(n->entry) + node_bytes(e);

		if (bytes > QDB_STORE_BYTES_MAX && bytes > s->bytes)
			return -ENOSPC;
		s->bytes = bytes;
		qdb_entry_hold(e);
		qdb_entry_drop(n->entry);
		n->entry = e;
		return 0;
	}
	if (s->count >= QDB_STORE_KEYS_MAX || s->bytes + node_bytes(e) > QDB_STORE_BYTES_MAX)
		return -ENOSPC;
	h = random_height(s);
	n = malloc(sizeof(*n) + (size_t)h * sizeof(n->next[0]));
	if (!n)
		return -ENOMEM;
	n->entry = qdb_entry_hold(e);
	for (int l = 0; l < h; l++) {
		n->next[l] = *p.link[l];
		*p.link[l] = n;
	}
	/* h >= 1, so the list has it. NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
	s->count++;
	s->bytes += node_bytes(e);
	return 0;
}

int qdb_store_set(struct qdb_store *s, const char *path, const void *value, size_t len)
{
	struct qdb_entry *e = qdb_entry_new(path, value, len);
	int err;

	if (!e)
		return -ENOMEM;
	err = qdb_store_put(s, e);
	qdb_entry_drop(e);
	return err;
}

const struct qdb_node *qdb_store_seek(const struct qdb_store *s, const char *path)
{
	struct qdb_node *const *row = s->head;

	for (int l = LEVELS; l-- > 0;)
		while (row[l] && strcmp(qdb_entry_path(row[l]->entry), path) < 0)
			row = row[l]->next;
	return row[0];
}

struct qdb_entry *qdb_store_get(const struct qdb_store *s, const char *path)
{
	const struct qdb_node *n = qdb_store_seek(s, path);

	return n && strcmp(qdb_entry_path(n->entry), path) == 0 ? n->entry : NULL;
}

bool qdb_path_covers(const char *name, const char *path)
{
	size_t n = strlen(name);

	return n && name[n - 1] == '/' ? strncmp(path, name, n) == 0 : strcmp(path, name) == 0;
}

bool qdb_store_has(const struct qdb_store *s, const char *path)
{
	const struct qdb_node *n = qdb_store_seek(s, path);

	return n && qdb_path_covers(path, qdb_entry_path(n->entry));
}

size_t qdb_store_rm(struct qdb_store *s, const char *path)
{
	struct place p;
	struct qdb_node *n;
	size_t removed = 0;

	find(s, path, &p);
	while ((n = *p.link[0]) != NULL && qdb_path_covers(path, qdb_entry_path(n->entry))) {
		for (int l = 0; l < LEVELS && *p.link[l] == n; l++)
			*p.link[l] = n->next[l];
		s->count--;
		s->bytes -= node_bytes(n->entry);
		qdb_entry_drop(n->entry);
		free(n);
		removed++;
	}
	return removed;
}

int qdb_store_clone(struct qdb_store **out, const struct qdb_store *s)
{
	struct qdb_store *copy = NULL;
	int err = qdb_store_new(&copy);

	for (const struct qdb_node *n = s->head[0]; n && err == 0; n = n->next[0])
		err = qdb_store_put(copy, n->entry);
	if (err < 0)
		qdb_store_free(&copy);
	else
		*out = copy;
	return err;
}

size_t qdb_store_count(const struct qdb_store *s)
{
	return s->count;
}

size_t qdb_store_bytes(const struct qdb_store *s)
{
	return s->bytes;
}
