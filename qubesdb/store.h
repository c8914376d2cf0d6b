/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A copy of the tree: keys in byte order, bounded in number and in memory.
 *
 * Entries are immutable and counted, so the same entry stands in dom0's mirror,
 * in the view that readers see and in the snapshot of a committed source at
 * the price of a pointer.
 */
#ifndef QUBESDB_STORE_H
#define QUBESDB_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* For 32 MiB qubes: 60 clients with 1000 rules each, or 16 MiB of anything. */
#define QDB_STORE_KEYS_MAX  65536
#define QDB_STORE_BYTES_MAX ((size_t)16 << 20)

struct qdb_entry {
	uint32_t refs;
	uint32_t path_len;
	uint32_t value_len;
	char text[]; /* path NUL value NUL */
};

struct qdb_store;

/** A place in the order; valid until that key is removed or replaced. */
struct qdb_node {
	struct qdb_entry *entry;
	struct qdb_node *next[]; /* next[0]: the next key, NULL at the end */
};

static inline const char *qdb_entry_path(const struct qdb_entry *e)
{
	return e->text;
}

static inline const char *qdb_entry_value(const struct qdb_entry *e)
{
	return e->text + e->path_len + 1;
}

/** qdb_entry_new() - an entry with one reference, or NULL without memory */
struct qdb_entry *qdb_entry_new(const char *path, const void *value, size_t len);
struct qdb_entry *qdb_entry_hold(struct qdb_entry *e);
void qdb_entry_drop(struct qdb_entry *e);

/** qdb_entry_same() - same key and same value */
bool qdb_entry_same(const struct qdb_entry *a, const struct qdb_entry *b);

int qdb_store_new(struct qdb_store **out);
void qdb_store_free(struct qdb_store **s);

/** qdb_store_clone() - a second store with the same entries */
int qdb_store_clone(struct qdb_store **out, const struct qdb_store *s);

/**
 * qdb_store_put() - insert or replace; takes a reference of its own
 *
 * Return: 0, -ENOMEM, or -ENOSPC when a bound is reached; the store is
 * unchanged then.
 */
int qdb_store_put(struct qdb_store *s, struct qdb_entry *e);

/** qdb_store_set() - the same from a path and a value */
int qdb_store_set(struct qdb_store *s, const char *path, const void *value, size_t len);

struct qdb_entry *qdb_store_get(const struct qdb_store *s, const char *path);

/**
 * qdb_store_rm() - remove what @path names
 * @path:	one key, or with a trailing '/' everything below it
 *
 * Return: number of keys removed.
 */
size_t qdb_store_rm(struct qdb_store *s, const char *path);

/** qdb_store_has() - whether @path names anything, by the same rule */
bool qdb_store_has(const struct qdb_store *s, const char *path);

/** qdb_path_covers() - whether @name (as in qdb_store_rm()) names @path */
bool qdb_path_covers(const char *name, const char *path);

/** qdb_store_seek() - first key that is not before @path, or NULL */
const struct qdb_node *qdb_store_seek(const struct qdb_store *s, const char *path);

size_t qdb_store_count(const struct qdb_store *s);
size_t qdb_store_bytes(const struct qdb_store *s);

#endif
