// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The VM side of dom0's QubesDB daemon, over vchan.
 *
 * Two trees. The mirror is what dom0 has as far as it told us: the sync, its
 * commands, its replies to ours. The view is what readers see: the mirror with
 * our own pending writes on top. The difference matters because dom0's daemon
 * dies of an RM that misses, and with it every client's start: an RM goes out
 * only when everything before it was answered and the mirror has what it names.
 *
 *	WAIT --keys, connect--> SYNC --end marker--> EMIT --all told--> STEADY
 *	  ^                       |                    |                  |
 *	  +------ closed, or a message that makes no sense (lost) --------+
 *
 *	WAIT    own writes: queued; the old view and the old commits stand
 *	SYNC    one MULTIREAD out; only RESP_MULTIREAD may come, into a fresh mirror
 *	EMIT    nothing is read; new sources are told, a few each call; others wait
 *	STEADY  dom0: WRITE, RM, RESP_OK, RESP_ERROR; ours: replies, WRITE, RM
 *
 * Order of work in a call: take in, answer, then send of our own, so that dom0
 * never waits for us while we wait for it. A message leaves only when it fits
 * the ring whole. Replies owed are bounded; at the bound reading stops, which
 * stops dom0, until the ring takes replies again.
 *
 * qubesdb.md section 5, "Req: our client must" 1 to 7.
 */
#include "qubesdb/source.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qubesdb/queue.h"
#include "qubesdb/wire.h"

#define MESSAGES_PER_CALL 256
#define REPLIES_MAX	  512
#define IN_FLIGHT_MAX	  16 /* of 56 replies that fit dom0's ring to us */

enum phase { WAIT, SYNC, EMIT, STEADY };

struct client {
	struct qubesdb *db;
	const struct qdb_vchan_ops *ops;
	void *v;
	enum phase phase;
	bool asked;   /* MULTIREAD is out */
	bool closing; /* leave once the replies are out: the mirror was wrong */
	bool busy;    /* in process(): it sends at its end, callbacks need not */
	bool wary;    /* it would end as the last time: wait in full before a try */
	uint64_t retry_ms;
	struct qdb_store *mirror;
	struct qdb_queue own;
	char why[160]; /* what the inbound message at hand did wrong */

	/* inbound: one message, taken in piece by piece */
	uint8_t in[QDB_MESSAGE + 1];
	size_t in_len;
	struct qdb_header head; /* valid once in_len >= QDB_HEADER */

	/* replies owed, oldest first; all are RESP_OK */
	char reply[REPLIES_MAX][QUBESDB_PATH_MAX + 1];
	size_t reply_first, reply_n;
};

/* --- connection -------------------------------------------------------------- */

static void disconnect(struct client *c)
{
	c->ops->close(c->v);
	c->phase = WAIT;
	c->asked = c->closing = false;
	c->in_len = c->reply_n = c->reply_first = 0;
	qdb_store_free(&c->mirror);
	qdb_queue_restart(&c->own);
	c->retry_ms = 0; /* the next call sets the time */
}

static void lost(struct client *c, const char *why)
{
	disconnect(c);
	qdb_lost(c->db, why);
}

static int try_connect(struct client *c)
{
	struct qubesdb *db = c->db;
	int err = c->ops->connect(c->v);

	if (err == -EAGAIN) {
		qdb_reason(db, "waiting for dom0's QubesDB daemon to announce its vchan");
		return err;
	}
	if (err < 0) {
		qdb_reason(db, "vchan: %s", strerror(-err));
		return err;
	}
	err = qdb_store_new(&c->mirror);
	if (err < 0) {
		c->ops->close(c->v);
		qdb_reason(db, "out of memory");
		return err;
	}
	c->phase = SYNC;
	db->state = QUBESDB_SYNCING;
	qdb_reason(db, "reading dom0's keys");
	return 0;
}

/* Return: whether there is a connection now. */
static bool wait_step(struct client *c, uint64_t now_ms)
{
	bool event = c->ops->clear_event(c->v);

	if (c->retry_ms > now_ms && (c->wary || !event))
		return false;
	c->wary = false;
	if (try_connect(c) == 0)
		return true;
	c->retry_ms = now_ms + qdb_backoff(c->db, false);
	return false;
}

/* --- out ----------------------------------------------------------------------- */

/* Return: 1 sent, 0 the ring has no room for the whole message, -errno. */
static int send_message(struct client *c, enum qdb_type type, const char *path,
			const void *data, size_t len)
{
	uint8_t buf[QDB_MESSAGE];
	size_t total = QDB_HEADER + len;
	int n = c->ops->buffer_space(c->v);

	if (n < 0)
		return n;
	if ((size_t)n < total)
		return 0;
	qdb_encode(buf, type, path, len);
	if (len)
		memcpy(buf + QDB_HEADER, data, len);
	n = c->ops->write(c->v, buf, total);
	if (n < 0)
		return n;
	return (size_t)n == total ? 1 : -EPIPE;
}

static int flush_replies(struct client *c)
{
	while (c->reply_n) {
		int rc = send_message(c, QDB_RESP_OK, c->reply[c->reply_first], NULL, 0);

		if (rc <= 0)
			return rc;
		c->reply_first = (c->reply_first + 1) % REPLIES_MAX;
		c->reply_n--;
	}
	return 1;
}

/*
 * dom0 dies of an RM that misses and of one whose reply finds no room, so: all
 * earlier requests answered, nothing unread from dom0, and the mirror has it.
 *
 * Return: 1 may be sent, 0 not yet, -ENOENT never.
 */
static int rm_allowed(struct client *c, const struct qdb_request *r)
{
	if (c->own.in_flight)
		return 0;
	if (!qdb_store_has(c->mirror, qdb_entry_path(r->entry)))
		return -ENOENT;
	return c->ops->data_ready(c->v) == 0;
}

static int flush_own(struct client *c)
{
	struct qdb_request *r;

	while ((r = qdb_queue_unsent(&c->own)) != NULL && c->own.in_flight < IN_FLIGHT_MAX) {
		const struct qdb_entry *e = r->entry;
		int rc = 1;

		if (r->type == QDB_CMD_RM)
			rc = rm_allowed(c, r);
		if (rc == -ENOENT) {
			qdb_queue_remove(&c->own, r);
			continue;
		}
		if (rc == 0)
			return 0;
		rc = r->type == QDB_CMD_RM
			     ? send_message(c, QDB_CMD_RM, qdb_entry_path(e), NULL, 0)
			     : send_message(c, QDB_CMD_WRITE, qdb_entry_path(e),
					    qdb_entry_value(e), e->value_len);
		if (rc <= 0)
			return rc;
		qdb_queue_sent(&c->own, r);
	}
	return 0;
}

static int flush(struct client *c)
{
	int rc;

	if (c->phase == SYNC && !c->asked) {
		rc = send_message(c, QDB_CMD_MULTIREAD, "", NULL, 0);
		if (rc <= 0)
			return rc;
		c->asked = true;
	}
	rc = flush_replies(c);
	if (rc > 0 && c->phase == STEADY && !c->closing)
		rc = flush_own(c);
	return rc < 0 ? rc : 0;
}

/* --- in ------------------------------------------------------------------------- */

static int __attribute__((format(printf, 2, 3))) bad(struct client *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->why, sizeof(c->why), fmt, ap);
	va_end(ap);
	return -EPROTO;
}

static int closed(struct client *c)
{
	(void)bad(c, "dom0 closed the vchan");
	return -EPIPE;
}

static int no_room(struct client *c, int err)
{
	(void)bad(c, "%s", err == -ENOSPC ? "dom0's tree is larger than we hold" :
					    "out of memory");
	return err;
}

/* Our own pending writes win over what dom0 writes meanwhile, as they will there. */
static int view_again(struct client *c)
{
	return c->own.count ? qdb_queue_apply(&c->own, c->db->view) : 0;
}

static int sync_end(struct client *c)
{
	struct qubesdb *db = c->db;
	struct qdb_store *view = NULL;
	int err;

	c->phase = EMIT;
	if (qdb_tree_lost(db, c->mirror))
		return 0;
	err = qdb_store_clone(&view, c->mirror);
	if (err == 0)
		err = qdb_queue_apply(&c->own, view);
	if (err == 0)
		err = qdb_commits_plan(db->commits, view, false);
	if (err < 0) {
		qdb_store_free(&view);
		return no_room(c, err);
	}
	qdb_store_free(&db->view);
	db->view = view;
	return 0;
}

static int sync_entry(struct client *c)
{
	int err;

	if (c->head.type != QDB_RESP_MULTIREAD || !c->asked)
		return bad(c, "%s during the sync", qdb_type_name(c->head.type));
	if (c->head.path[0] == '\0')
		return c->head.data_len ? bad(c, "end of the sync with data") : sync_end(c);
	if (!qdb_path_is_key(c->head.path))
		return bad(c, "not a key in the sync: %s", c->head.path);
	err = qdb_resync_key(c->db, c->mirror, c->head.path, c->in + QDB_HEADER,
			     c->head.data_len);
	return err < 0 ? no_room(c, err) : 0;
}

static void owe_reply(struct client *c)
{
	size_t at = (c->reply_first + c->reply_n) % REPLIES_MAX;

	memcpy(c->reply[at], c->head.path, sizeof(c->reply[at]));
	c->reply_n++;
}

/* Return: 1 when it committed a source, 0 when not, -errno. */
static int inbound_write(struct client *c)
{
	struct qdb_source_name source;
	struct qubesdb *db = c->db;
	struct qdb_entry *e;
	int err;

	if (!qdb_path_is_key(c->head.path))
		return bad(c, "WRITE of %s", c->head.path);
	e = qdb_entry_new(c->head.path, c->in + QDB_HEADER, c->head.data_len);
	err = e ? qdb_store_put(c->mirror, e) : -ENOMEM;
	if (err == 0)
		err = qdb_store_put(db->view, e);
	qdb_entry_drop(e);
	if (err == 0)
		err = view_again(c);
	if (err < 0)
		return no_room(c, err);
	owe_reply(c);
	switch (qdb_where(c->head.path, &source)) {
	case QDB_BASE:
		err = qdb_commit(db, source.text);
		return err < 0 ? no_room(c, err) : 1;
	case QDB_OUTSIDE:
		qdb_changed(db, c->head.path);
		return 0;
	case QDB_BELOW:
		qdb_commits_touch(db->commits, source.text);
		return 0;
	}
	return 0;
}

static int inbound_rm(struct client *c)
{
	struct qdb_source_name source;
	struct qubesdb *db = c->db;
	bool there;

	if (!qdb_path_is_name(c->head.path))
		return bad(c, "RM of \"%s\"", c->head.path);
	if (c->head.data_len)
		return bad(c, "RM of %s with data", c->head.path);
	owe_reply(c);
	there = qdb_store_rm(c->mirror, c->head.path) > 0;
	qdb_store_rm(db->view, c->head.path);
	if (view_again(c) < 0)
		return no_room(c, -ENOMEM);
	if (!there) {
		/* It gets its answer all the same; then we start again from a sync. */
		(void)bad(c, "RM of %s, which our copy does not have", c->head.path);
		c->closing = true;
		return 0;
	}
	switch (qdb_where(c->head.path, &source)) {
	case QDB_OUTSIDE:
		qdb_changed(db, c->head.path);
		return 0;
	case QDB_BELOW:
		qdb_commits_touch(db->commits, source.text);
		return 0;
	case QDB_BASE: /* what was committed stands until the next commit */
		return 0;
	}
	return 0;
}

static int inbound_reply(struct client *c)
{
	struct qdb_request *r = qdb_queue_oldest(&c->own);
	const char *path = c->head.path;
	int err = 0;

	if (c->head.data_len)
		return bad(c, "%s with data", qdb_type_name(c->head.type));
	if (!r)
		return bad(c, "%s for %s, nothing was asked", qdb_type_name(c->head.type), path);
	if (c->head.type == QDB_RESP_ERROR) {
		qdb_log(c->db, QUBESDB_LOG_WARNING, "QubesDB: dom0 refused %s of %s",
			qdb_type_name(r->type), qdb_entry_path(r->entry));
	} else {
		if (strcmp(path, qdb_entry_path(r->entry)) != 0)
			return bad(c, "RESP_OK for %s instead of %s", path,
				   qdb_entry_path(r->entry));
		if (r->type == QDB_CMD_WRITE)
			err = qdb_store_put(c->mirror, r->entry);
		else
			qdb_store_rm(c->mirror, path);
	}
	qdb_queue_remove(&c->own, r);
	return err < 0 ? no_room(c, err) : 0;
}

/* Return: as inbound_write(). */
static int message(struct client *c)
{
	if (c->phase == SYNC)
		return sync_entry(c);
	switch (c->head.type) {
	case QDB_CMD_WRITE:
		return inbound_write(c);
	case QDB_CMD_RM:
		return inbound_rm(c);
	case QDB_RESP_OK:
	case QDB_RESP_ERROR:
		return inbound_reply(c);
	default:
		return bad(c, "%s from dom0", qdb_type_name(c->head.type));
	}
}

/* Return: 1 for a whole message in @c, 0 when there is none yet, -errno. */
static int take_in(struct client *c)
{
	const char *why = "";

	for (;;) {
		size_t need = QDB_HEADER;
		int n;

		if (c->in_len >= QDB_HEADER)
			need += c->head.data_len;
		if (c->in_len == need)
			return 1;
		n = c->ops->read(c->v, c->in + c->in_len, need - c->in_len);
		if (n < 0 || (size_t)n > need - c->in_len)
			return closed(c);
		if (n == 0)
			return 0;
		c->in_len += (size_t)n;
		if (c->in_len == QDB_HEADER && qdb_decode(&c->head, c->in, &why) < 0)
			return bad(c, "%s", why);
	}
}

/*
 * A commit is compiled at once, so it ends the budget: packets have their turn then.
 *
 * Return: 1 when the budget ended first, 0 drained (or stopped), -errno.
 */
static int drain(struct client *c)
{
	for (int i = 0; i < MESSAGES_PER_CALL; i++) {
		int rc;

		if (c->closing || c->phase == EMIT)
			return 0;
		if (c->reply_n == REPLIES_MAX) {
			rc = flush_replies(c);
			if (rc < 0)
				return closed(c);
			if (c->reply_n == REPLIES_MAX)
				return 0;
		}
		rc = take_in(c);
		if (rc <= 0)
			return rc;
		c->in_len = 0;
		rc = message(c);
		if (rc != 0)
			return rc;
	}
	return 1;
}

/* --- the way in ------------------------------------------------------------------- */

static int emit_step(struct client *c)
{
	int rc = qdb_emit(c->db, false);

	if (rc < 0)
		return no_room(c, rc);
	if (rc == 0) {
		c->phase = STEADY;
		qdb_emit_end(c->db);
	}
	return 1;
}

/* Return: 1 more to do at once, 0 wait for an event, -errno with why. */
static int connected_step(struct client *c)
{
	int open = c->ops->is_open(c->v);
	int rc;

	if (open < 0)
		return bad(c, "impossible ring indices");
	if (c->phase == EMIT)
		return emit_step(c);
	rc = drain(c);
	if (rc < 0)
		return rc;
	if (open == 0)
		return rc ? rc : closed(c);
	if (flush(c) < 0)
		return closed(c);
	if (c->closing)
		return -EPROTO;
	return rc > 0 || c->phase == EMIT;
}

/* Return: 1 more to do at once, 0 wait for an event or until @next_ms, -errno. */
static int work(struct client *c, uint64_t now_ms, uint64_t *next_ms)
{
	int rc;

	c->busy = true;
	rc = connected_step(c);
	c->busy = false;
	*next_ms = UINT64_MAX;
	/* with replies at their bound there may be more to read than was read */
	if (rc != 0 || c->phase != STEADY || c->reply_n == REPLIES_MAX)
		return rc;
	rc = qdb_settle(c->db, now_ms, next_ms);
	return rc < 0 ? no_room(c, rc) : 0;
}

static uint64_t client_process(void *way, uint64_t now_ms)
{
	struct client *c = way;
	uint64_t next_ms;
	int rc;

	if (c->phase == WAIT && !wait_step(c, now_ms))
		return c->retry_ms;
	c->ops->clear_event(c->v);
	rc = work(c, now_ms, &next_ms);
	if (rc < 0) {
		char why[sizeof(c->why)];

		memcpy(why, c->why, sizeof(why));
		lost(c, why);
		c->wary = rc != -EPIPE;
		c->retry_ms = now_ms + qdb_backoff(c->db, c->wary);
		return c->retry_ms;
	}
	return rc ? now_ms : next_ms;
}

static int client_fd(const void *way)
{
	const struct client *c = way;

	return c->ops->fd(c->v);
}

/* A vchan has one event for both directions, and it is read. */
static bool client_want_write(const void *way)
{
	(void)way;
	return false;
}

static void client_refresh(void *way)
{
	(void)way;
}

/* A write from outside process() need not wait for the next event. */
static void send_now(struct client *c)
{
	if (!c->busy && c->phase == STEADY)
		(void)flush(c); /* a broken vchan is seen by the next process() */
}

static bool client_told(const void *way)
{
	const struct client *c = way;

	return c->own.own == 0;
}

static int client_write(void *way, const char *path, const void *value, size_t len)
{
	struct client *c = way;
	int err = qdb_own_write(c->db, &c->own, path, value, len);

	if (err == 0)
		send_now(c);
	return err;
}

static int client_rm(void *way, const char *path)
{
	struct client *c = way;
	int err = qdb_own_rm(c->db, &c->own, path);

	if (err == 0)
		send_now(c);
	return err;
}

static void client_free(void *way)
{
	struct client *c = way;

	c->ops->free(c->v);
	qdb_store_free(&c->mirror);
	qdb_queue_clear(&c->own);
	free(c);
}

static const struct qdb_way client_way = {
	.fd = client_fd,
	.want_write = client_want_write,
	.process = client_process,
	.refresh = client_refresh,
	.told = client_told,
	.write = client_write,
	.rm = client_rm,
	.free = client_free,
};

int qdb_client_new(struct qubesdb *db, const struct qdb_vchan_ops *ops, void *vchan)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->db = db;
	c->ops = ops;
	c->v = vchan;
	qdb_queue_init(&c->own);
	qdb_reason(db, "waiting for dom0's QubesDB daemon");
	db->ops = &client_way;
	db->way = c;
	return 0;
}
