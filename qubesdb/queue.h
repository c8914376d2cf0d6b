/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What we asked or are going to ask QubesDB for, in order, bounded.
 *
 * The sent requests are the head of the queue; replies come in the order of
 * the requests, so the oldest sent one is what a reply answers.
 */
#ifndef QUBESDB_QUEUE_H
#define QUBESDB_QUEUE_H

#include <stdbool.h>

#include "qubesdb/store.h"
#include "qubesdb/wire.h"

/* For our own WRITEs and RMs, and again for everything else. */
#define QDB_QUEUE_MAX	    1024
#define QDB_QUEUE_BYTES_MAX ((size_t)512 << 10)

struct qdb_request {
	enum qdb_type type;
	struct qdb_entry *entry; /* path; for WRITE also the value */
	bool sent;
	bool stale; /* MULTIREAD of a source whose subtree changed meanwhile */
	struct qdb_request *next;
};

struct qdb_queue {
	struct qdb_request *head, **tail;
	size_t count, in_flight;
	size_t own, own_bytes; /* WRITEs and RMs among them */
};

void qdb_queue_init(struct qdb_queue *q);
void qdb_queue_clear(struct qdb_queue *q);

/**
 * qdb_queue_add() - append; takes a reference to @e
 *
 * Return: 0, -ENOBUFS at the bound, -ENOMEM.
 */
int qdb_queue_add(struct qdb_queue *q, enum qdb_type type, struct qdb_entry *e);

/**
 * qdb_queue_replace() - append our own WRITE or RM in place of the unsent WRITEs
 *			 of what it names
 *
 * All or nothing: at the bound the older ones stay, and are told.
 *
 * Return: 0, -ENOBUFS, -ENOMEM.
 */
int qdb_queue_replace(struct qdb_queue *q, enum qdb_type type, struct qdb_entry *e);

/** qdb_queue_unsent() - the oldest request that was not sent, or NULL */
struct qdb_request *qdb_queue_unsent(const struct qdb_queue *q);

void qdb_queue_sent(struct qdb_queue *q, struct qdb_request *r);

/** qdb_queue_oldest() - the request that the next reply answers, or NULL */
struct qdb_request *qdb_queue_oldest(const struct qdb_queue *q);

void qdb_queue_remove(struct qdb_queue *q, struct qdb_request *r);

/** qdb_queue_cancel() - drop unsent WRITEs of what @name names */
void qdb_queue_cancel(struct qdb_queue *q, const char *name);

/** qdb_queue_find() - an unsent request of this type and path, or NULL */
struct qdb_request *qdb_queue_find(const struct qdb_queue *q, enum qdb_type type,
				   const char *path);

/**
 * qdb_queue_restart() - the connection is gone
 *
 * What is ours to tell (WRITE, RM) is to be sent again, the rest is dropped.
 */
void qdb_queue_restart(struct qdb_queue *q);

/** qdb_queue_apply() - make the pending WRITEs and RMs visible in @view */
int qdb_queue_apply(const struct qdb_queue *q, struct qdb_store *view);

#endif
