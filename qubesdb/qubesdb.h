/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One interface over the three ways to QubesDB.
 *
 *   vchan[:DOMID:PORT]  the appliance: we are the VM side of dom0's daemon and
 *                       keep the replica of the tree ourselves (port 111)
 *   socket:PATH         a stock Linux qube: client of its qubesdb-daemon
 *   file:PATH           a text file, one "PATH = VALUE" a line, read again on
 *                       qubesdb_refresh() and when it changes
 *
 * All three keep a copy of the tree, so reads never wait. Events come out of
 * qubesdb_process() only, in the order in which they happened:
 *
 *   synced   the first full copy is there (again after each reconnect)
 *   commit   the base key of a source was written: its subtree, as it stands
 *            at that moment, is in force from now on. After a (re)sync, once
 *            for each source that counts as committed and was not told of
 *            before as it stands now.
 *   gone     a source that had been committed is missing after a resync
 *            (file: its keys left the file)
 *   changed  any key outside /qubes-firewall/ was written or removed; after a
 *            (re)sync it comes once with path NULL: everything may differ
 *   lost     the connection is gone; the last committed policies stand
 *
 * What a rule means is not known here. Nothing in this room blocks the loop.
 */
#ifndef QUBESDB_QUBESDB_H
#define QUBESDB_QUBESDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUBESDB_PATH_MAX  63   /* characters of a path */
#define QUBESDB_VALUE_MAX 3071 /* bytes of a value */

struct qubesdb;

/** One key below a source's base key, relative to it. */
struct qubesdb_pair {
	const char *key;   /* NUL terminated */
	const char *value; /* NUL terminated behind value_len, may hold any byte */
	size_t value_len;
};

/** Callbacks; pointers they receive are valid during the call only. */
struct qubesdb_events {
	void (*synced)(void *arg);
	void (*commit)(void *arg, const char *source,
		       const struct qubesdb_pair *pairs, size_t n);
	void (*gone)(void *arg, const char *source);
	void (*changed)(void *arg, const char *path);
	void (*lost)(void *arg, const char *reason);
	void (*log)(void *arg, int level, const char *text);
};

enum qubesdb_state {
	QUBESDB_CONNECTING, /* nothing known yet, or trying again */
	QUBESDB_SYNCING,
	QUBESDB_READY,
};

/** Kinds of log(): the same numbers as syslog(3) priorities. */
enum { QUBESDB_LOG_ERR = 3, QUBESDB_LOG_WARNING = 4, QUBESDB_LOG_INFO = 6 };

/**
 * qubesdb_new() - make a client and start to connect
 * @out:	owned by the caller (qubesdb_free())
 * @spec:	"vchan", "vchan:DOMID:PORT", "socket:PATH" or "file:PATH"
 * @ev:		callbacks, copied
 * @err:	receives one line naming object and reason on failure
 *
 * file: must be readable and well formed at start. socket: and vchan: may be
 * absent; they are tried again with back-off.
 *
 * Return: 0 or -errno.
 */
int qubesdb_new(struct qubesdb **out, const char *spec,
		const struct qubesdb_events *ev, void *arg,
		char *err, size_t err_len);
void qubesdb_free(struct qubesdb **db);

/** qubesdb_fd() - descriptor to poll for reading, or -1; may change after each call */
int qubesdb_fd(const struct qubesdb *db);

/**
 * qubesdb_want_write() - whether qubesdb_fd() should also be polled for writing
 */
bool qubesdb_want_write(const struct qubesdb *db);

/**
 * qubesdb_process() - do what can be done now, deliver events
 * @now_ms:	CLOCK_BOOTTIME in milliseconds
 *
 * Call it when the descriptor is ready and when the deadline has passed. Does
 * a bounded amount of work; says so when there is more.
 *
 * Return: deadline in milliseconds (same clock) of the next call, UINT64_MAX
 * for none; @now_ms when there is more to do at once.
 */
uint64_t qubesdb_process(struct qubesdb *db, uint64_t now_ms);

/** qubesdb_refresh() - SIGHUP: read the file again; others: nothing */
void qubesdb_refresh(struct qubesdb *db);

enum qubesdb_state qubesdb_state(const struct qubesdb *db);

/** qubesdb_reason() - why it is not READY ("waiting for ..."), or "" */
const char *qubesdb_reason(const struct qubesdb *db);

/**
 * qubesdb_read() - value of a key in the local copy
 * @len:	bytes of the value, may be NULL
 *
 * Return: the value (NUL terminated behind its length, valid until the next
 * qubesdb_process() or qubesdb_write()), or NULL when there is no such key.
 */
const char *qubesdb_read(const struct qubesdb *db, const char *path, size_t *len);

/**
 * qubesdb_list() - call @fn for each key that starts with @prefix, sorted
 *
 * @prefix ends in '/': matching is by component. @fn must not write.
 */
void qubesdb_list(const struct qubesdb *db, const char *prefix,
		  void (*fn)(void *arg, const char *path, const char *value,
			     size_t len),
		  void *arg);

/**
 * qubesdb_write() - write a key, here and (queued, in order) in QubesDB
 *
 * Writes to one path that are still queued are coalesced. For file: the value
 * only lives in the copy, and may be mirrored to "FILE.out" on every write.
 *
 * Return: 0; -EINVAL for a path or value that dom0's daemon would die of;
 * -ENOBUFS when the bounded queue is full.
 */
int qubesdb_write(struct qubesdb *db, const char *path,
		  const void *value, size_t len);

/** qubesdb_told() - whether dom0 has, or has refused, all that was written and removed */
bool qubesdb_told(const struct qubesdb *db);

/** qubesdb_rm() - remove one key, or a subtree when @path ends in '/' */
int qubesdb_rm(struct qubesdb *db, const char *path);

#endif
