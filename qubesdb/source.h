/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the three ways to QubesDB have in common, private to this room.
 *
 * A way in (client.c, local.c, file.c) owns its connection; the struct here
 * owns what readers see: the view, the committed snapshots, the state.
 */
#ifndef QUBESDB_SOURCE_H
#define QUBESDB_SOURCE_H

#include "qubesdb/commit.h"
#include "qubesdb/qubesdb.h"
#include "qubesdb/queue.h"
#include "qubesdb/store.h"
#include "qubesdb/vchan.h"

#define QDB_BACKOFF_MIN_MS 50
#define QDB_BACKOFF_MAX_MS 1000
#define QDB_SETTLE_MS	   1000 /* after a resync: an update under way goes on by then */

struct qdb_way {
	int (*fd)(const void *way);
	bool (*want_write)(const void *way);
	uint64_t (*process)(void *way, uint64_t now_ms);
	void (*refresh)(void *way);
	bool (*told)(const void *way); /* whether no change of ours waits for its answer */
	/* both: the arguments are valid, the view is the way's to change */
	int (*write)(void *way, const char *path, const void *value, size_t len);
	int (*rm)(void *way, const char *path);
	void (*free)(void *way);
};

struct qubesdb {
	const struct qdb_way *ops;
	void *way;
	struct qubesdb_events ev;
	void *arg;
	struct qdb_store *view;
	struct qdb_commits *commits;
	enum qubesdb_state state;
	char reason[200];
	unsigned backoff_ms;
	bool known; /* there was a full copy */
	uint64_t settle_ms; /* when what is held counts; 0: not set yet */
};

/** How a unix socket is reached; tests bring their own. */
struct qdb_local_peer {
	int (*connect)(void *arg); /* a non-blocking descriptor or -errno */
	void (*free)(void *arg);   /* may be NULL */
	void *arg;
};

/* Each makes the way in of a db whose common part stands. */
int qdb_client_new(struct qubesdb *db, const struct qdb_vchan_ops *ops, void *vchan);
int qdb_local_new(struct qubesdb *db, const struct qdb_local_peer *peer);
int qdb_local_path(struct qdb_local_peer *peer, const char *path);
int qdb_file_new(struct qubesdb *db, const char *path, char *err, size_t err_len);

/** qdb_base_new() - the common part; the caller sets the way (tests do, too) */
int qdb_base_new(struct qubesdb **out, const struct qubesdb_events *ev, void *arg);

void qdb_log(struct qubesdb *db, int level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/** qdb_reason() - why the db is not ready; "" when it is */
void qdb_reason(struct qubesdb *db, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/**
 * qdb_backoff() - how long to wait before the next try, longer each time
 * @wary:	the last connection broke off for what was said: the longest wait,
 *		or who says it again is listened to again and again
 */
unsigned qdb_backoff(struct qubesdb *db, bool wary);

/** qdb_lost() - a connection that had been made is gone */
void qdb_lost(struct qubesdb *db, const char *reason);

/**
 * qdb_commit() - snapshot the view's subtree of @source and deliver it
 *
 * Return: 0 or -ENOMEM.
 */
int qdb_commit(struct qubesdb *db, const char *source);

/**
 * qdb_own_write(), qdb_own_rm() - a change of our own: in the view, and in @q to be told
 *
 * All or nothing: at the bound of @q nothing changes, here or there.
 *
 * Return: 0, -ENOBUFS, -ENOMEM.
 */
int qdb_own_write(struct qubesdb *db, struct qdb_queue *q, const char *path, const void *value,
		  size_t len);
int qdb_own_rm(struct qubesdb *db, struct qdb_queue *q, const char *path);

/** qdb_changed() - deliver a change outside of /qubes-firewall/ */
void qdb_changed(struct qubesdb *db, const char *path);

/**
 * qdb_resync_key() - a key of the tree that a sync brings
 *
 * One that we have already is not stored twice, so that a resync of a large tree
 * needs no room for a second one.
 *
 * Return: 0, -ENOMEM, -ENOSPC.
 */
int qdb_resync_key(const struct qubesdb *db, struct qdb_store *fresh, const char *path,
		   const void *value, size_t len);

/**
 * qdb_tree_lost() - a sync has ended: did it bring nothing at all?
 *
 * dom0's daemon keeps its tree in memory, so a new one begins without a key. What
 * readers see stays then, but for the rules, whose snapshots stand; what dom0
 * writes from now on replaces it key by key.
 *
 * Return: whether that is so; there is nothing to emit.
 */
bool qdb_tree_lost(struct qubesdb *db, const struct qdb_store *fresh);

/**
 * qdb_emit() - work off a few sources of the plan after a resync
 *
 * Return: 1 when there is more, 0 when done, -ENOMEM.
 */
int qdb_emit(struct qubesdb *db, bool loose);

/** qdb_emit_end() - everything outside may differ; the first copy is there */
void qdb_emit_end(struct qubesdb *db);

/**
 * qdb_settle() - deliver what was held since the resync, when its time has come
 * @next_ms:	receives when to call again: @now_ms for at once, UINT64_MAX for never
 *
 * Only while nothing that has come is unread.
 *
 * Return: 0 or -ENOMEM.
 */
int qdb_settle(struct qubesdb *db, uint64_t now_ms, uint64_t *next_ms);

#endif
