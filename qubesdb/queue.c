// SPDX-License-Identifier: GPL-2.0-or-later
#include "qubesdb/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void qdb_queue_init(struct qdb_queue *q)
{
	*q = (struct qdb_queue){ .head = NULL };
	q->tail = &q->head;
}

void qdb_queue_clear(struct qdb_queue *q)
{
	while (q->head)
		qdb_queue_remove(q, q->head);
}

static size_t cost(const struct qdb_entry *e)
{
	return sizeof(struct qdb_request) + sizeof(*e) + e->path_len + e->value_len;
}

/* What we have to tell; it survives a connection, and reads cannot crowd it out. */
static bool is_own(enum qdb_type type)
{
	return type == QDB_CMD_WRITE || type == QDB_CMD_RM;
}

static struct qdb_request *request_new(enum qdb_type type, struct qdb_entry *e)
{
	struct qdb_request *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->type = type;
	r->entry = qdb_entry_hold(e);
	return r;
}

static void append(struct qdb_queue *q, struct qdb_request *r)
{
	*q->tail = r;
	q->tail = &r->next;
	q->count++;
	if (is_own(r->type)) {
		q->own++;
		q->own_bytes += cost(r->entry);
	}
}

int qdb_queue_add(struct qdb_queue *q, enum qdb_type type, struct qdb_entry *e)
{
	struct qdb_request *r;

	if (is_own(type) ? q->own >= QDB_QUEUE_MAX || q->own_bytes + cost(e) > QDB_QUEUE_BYTES_MAX
			 : q->count - q->own >= QDB_QUEUE_MAX)
		return -ENOBUFS;
	r = request_new(type, e);
	if (!r)
		return -ENOMEM;
	append(q, r);
	return 0;
}

/* A newer write or rm of @name makes it pointless. */
static bool is_superseded(const struct qdb_request *r, const char *name)
{
	return r->type == QDB_CMD_WRITE && !r->sent &&
	       qdb_path_covers(name, qdb_entry_path(r->entry));
}

int qdb_queue_replace(struct qdb_queue *q, enum qdb_type type, struct qdb_entry *e)
{
	const char *name = qdb_entry_path(e);
	size_t own = q->own, bytes = q->own_bytes;
	struct qdb_request *r;

	for (r = q->head; r; r = r->next)
		if (is_superseded(r, name)) {
			own--;
			bytes -= cost(r->entry);
		}
	if (own >= QDB_QUEUE_MAX || bytes + cost(e) > QDB_QUEUE_BYTES_MAX)
		return -ENOBUFS;
	r = request_new(type, e);
	if (!r)
		return -ENOMEM;
	qdb_queue_cancel(q, name);
	append(q, r);
	return 0;
}

struct qdb_request *qdb_queue_unsent(const struct qdb_queue *q)
{
	struct qdb_request *r = q->head;

	while (r && r->sent)
		r = r->next;
	return r;
}

void qdb_queue_sent(struct qdb_queue *q, struct qdb_request *r)
{
	if (!r->sent)
		q->in_flight++;
	r->sent = true;
}

struct qdb_request *qdb_queue_oldest(const struct qdb_queue *q)
{
	return q->head && q->head->sent ? q->head : NULL;
}

void qdb_queue_remove(struct qdb_queue *q, struct qdb_request *r)
{
	struct qdb_request **link = &q->head;

	while (*link && *link != r)
		link = &(*link)->next;
	if (!*link)
		return;
	*link = r->next;
	if (q->tail == &r->next)
		q->tail = link;
	q->count--;
	if (is_own(r->type)) {
		q->own--;
		q->own_bytes -= cost(r->entry);
	}
	if (r->sent)
		q->in_flight--;
	qdb_entry_drop(r->entry);
	free(r);
}

void qdb_queue_cancel(struct qdb_queue *q, const char *name)
{
	struct qdb_request *r, *next;

	for (r = q->head; r; r = next) {
		next = r->next;
		if (is_superseded(r, name))
			qdb_queue_remove(q, r);
	}
}

struct qdb_request *qdb_queue_find(const struct qdb_queue *q, enum qdb_type type,
				   const char *path)
{
	for (struct qdb_request *r = q->head; r; r = r->next)
		if (r->type == type && !r->sent && strcmp(path, qdb_entry_path(r->entry)) == 0)
			return r;
	return NULL;
}

void qdb_queue_restart(struct qdb_queue *q)
{
	struct qdb_request *r, *next;

	for (r = q->head; r; r = next) {
		next = r->next;
		if (!is_own(r->type))
			qdb_queue_remove(q, r);
		else
			r->sent = false;
	}
	q->in_flight = 0;
}

int qdb_queue_apply(const struct qdb_queue *q, struct qdb_store *view)
{
	int err = 0;

	for (const struct qdb_request *r = q->head; r && err == 0; r = r->next) {
		if (r->type == QDB_CMD_WRITE)
			err = qdb_store_put(view, r->entry);
		else if (r->type == QDB_CMD_RM)
			qdb_store_rm(view, qdb_entry_path(r->entry));
	}
	return err;
}
