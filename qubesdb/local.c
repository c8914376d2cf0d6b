// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Client of a qube's own qubesdb-daemon, over its unix socket.
 *
 * Everything is a request in one queue, one of them in flight: the watch and
 * the full read at the start, a read for each event, our writes. Events come
 * between (and inside) replies and are turned into requests on the spot, so
 * their order is the queue's and nothing ever waits for a reply.
 *
 *	WAIT --connect--> SYNC --end of the full read--> EMIT --all told--> STEADY
 *
 * One watch, on "/", is registered before the full read: what changes during
 * the read is read again after it. An event carries no value. A base key's
 * event makes one MULTIREAD of its source, which is the commit; events below a
 * base key only say that an update is under way, and a MULTIREAD that such an
 * event overtook is thrown away: dom0 is at the next update of that source
 * already, and its base key is still to come. (In this mode the view has a
 * source's subtree as of its last commit.)
 *
 * When the queue is full of events, they are all replaced by one full read.
 * qubesdb.md section 6.
 */
#include "qubesdb/source.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "qubesdb/queue.h"
#include "qubesdb/wire.h"

#define MESSAGES_PER_CALL 256
#define INPUT		  (4 * QDB_MESSAGE)

enum phase { WAIT, SYNC, EMIT, STEADY };

struct local {
	struct qubesdb *db;
	struct qdb_local_peer peer;
	int fd;
	enum phase phase;
	uint64_t retry_ms;
	struct qdb_queue queue;
	struct qdb_store *fresh; /* what the multi-part reply at hand has brought */
	bool resync;		 /* read everything again as soon as possible */
	bool busy;		 /* in process(): it sends, callbacks need not */
	char why[160];

	uint8_t in[INPUT];
	size_t in_at, in_len;
	uint8_t out[QDB_MESSAGE]; /* the request that is going out */
	size_t out_at, out_len;
};

static int __attribute__((format(printf, 2, 3))) bad(struct local *l, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(l->why, sizeof(l->why), fmt, ap);
	va_end(ap);
	return -EPROTO;
}

static int closed(struct local *l, int err)
{
	(void)bad(l, "the daemon closed the connection%s%s", err ? ": " : "",
		  err ? strerror(err) : "");
	return -EPIPE;
}

/* --- the queue ------------------------------------------------------------------- */

static int ask(struct local *l, enum qdb_type type, const char *path, const void *value, size_t len)
{
	struct qdb_entry *e = qdb_entry_new(path, value, len);
	int err = e ? qdb_queue_add(&l->queue, type, e) : -ENOMEM;

	qdb_entry_drop(e);
	return err;
}

/* An event's read; a queue without room means that too much changed to follow. */
static void ask_again(struct local *l, enum qdb_type type, const char *path)
{
	if (!qdb_queue_find(&l->queue, type, path) && ask(l, type, path, NULL, 0) < 0)
		l->resync = true;
}

/* Our writes stay, reads are pointless when everything is read again. */
static void drop_reads(struct local *l)
{
	struct qdb_request *r, *next;

	for (r = l->queue.head; r; r = next) {
		next = r->next;
		if (!r->sent && (r->type == QDB_CMD_READ || r->type == QDB_CMD_MULTIREAD))
			qdb_queue_remove(&l->queue, r);
	}
}

/* A source's subtree moved on: whatever of it is being read is half an update. */
static void mark_stale(struct local *l, const char *event)
{
	for (struct qdb_request *r = l->queue.head; r; r = r->next)
		if (r->type == QDB_CMD_MULTIREAD && strcmp(qdb_entry_path(r->entry), "/") != 0 &&
		    (qdb_path_covers(qdb_entry_path(r->entry), event) ||
		     qdb_path_covers(event, qdb_entry_path(r->entry))))
			r->stale = true;
}

static void event(struct local *l, const char *path)
{
	char subtree[QUBESDB_PATH_MAX + 2];
	struct qdb_source_name source;
	struct qdb_request *r;

	switch (qdb_where(path, &source)) {
	case QDB_BASE:
		qdb_commits_touch(l->db->commits, source.text); /* it is being read */
		/*
		 * Only a read that was not yet sent covers this commit, too. The
		 * name can be a character longer than a path may be: a source
		 * with such a name can have no rules and is no address.
		 */
		snprintf(subtree, sizeof(subtree), "%s/", path);
		if (strlen(subtree) > QUBESDB_PATH_MAX)
			return;
		r = qdb_queue_find(&l->queue, QDB_CMD_MULTIREAD, subtree);
		if (r)
			r->stale = false;
		else
			ask_again(l, QDB_CMD_MULTIREAD, subtree);
		return;
	case QDB_BELOW:
		qdb_commits_touch(l->db->commits, source.text);
		if (l->phase == STEADY)
			mark_stale(l, path);
		return;
	case QDB_OUTSIDE:
		ask_again(l, path[strlen(path) - 1] == '/' ? QDB_CMD_MULTIREAD : QDB_CMD_READ,
			  path);
		return;
	}
}

/* --- replies ------------------------------------------------------------------------ */

static int no_room(struct local *l, int err)
{
	(void)bad(l, "%s", err == -ENOSPC ? "the tree is larger than we hold" : "out of memory");
	return err;
}

static int sync_end(struct local *l)
{
	struct qubesdb *db = l->db;
	int err;

	l->phase = EMIT;
	if (qdb_tree_lost(db, l->fresh))
		return 0;
	err = qdb_queue_apply(&l->queue, l->fresh);
	if (err == 0)
		err = qdb_commits_plan(db->commits, l->fresh, false);
	if (err < 0)
		return no_room(l, err);
	qdb_store_free(&db->view);
	db->view = l->fresh;
	l->fresh = NULL;
	return 0;
}

/* All keys below a path came; the view gets them in place of what it has. */
static int subtree_end(struct local *l, const char *prefix, bool stale)
{
	struct qdb_source_name source;
	struct qubesdb *db = l->db;
	bool inside = qdb_where(prefix, &source) != QDB_OUTSIDE;
	int err = 0;

	if (inside && stale)
		return 0;
	qdb_store_rm(db->view, prefix);
	for (const struct qdb_node *n = qdb_store_seek(l->fresh, "");
	     n && err == 0; n = n->next[0])
		err = qdb_store_put(db->view, n->entry);
	if (err == 0)
		err = qdb_queue_apply(&l->queue, db->view);
	if (err == 0 && inside && source.text[0])
		err = qdb_commit(db, source.text);
	if (err < 0)
		return no_room(l, err);
	if (!inside)
		qdb_changed(db, prefix);
	return 0;
}

/* Return: 1 when the reply is complete, 0 when parts follow, -errno. */
static int multi_reply(struct local *l, const struct qdb_request *r, const struct qdb_header *h,
		       const uint8_t *data)
{
	const char *prefix = qdb_entry_path(r->entry);
	bool full = strcmp(prefix, "/") == 0;
	int err;

	if (h->type != QDB_RESP_MULTIREAD)
		return bad(l, "%s in reply to MULTIREAD", qdb_type_name(h->type));
	if (h->path[0] == '\0') {
		if (h->data_len)
			return bad(l, "end of a MULTIREAD with data");
		err = full ? sync_end(l) : subtree_end(l, prefix, r->stale);
		return err < 0 ? err : 1;
	}
	if (!qdb_path_is_key(h->path) || !qdb_path_covers(prefix, h->path))
		return bad(l, "%s in reply to MULTIREAD of %s", h->path, prefix);
	err = qdb_resync_key(l->db, l->fresh, h->path, data, h->data_len);
	return err < 0 ? no_room(l, err) : 0;
}

static int read_reply(struct local *l, const struct qdb_request *r, const struct qdb_header *h,
		      const uint8_t *data)
{
	const char *path = qdb_entry_path(r->entry);
	const struct qdb_entry *old = qdb_store_get(l->db->view, path);
	int err = 0;

	if (h->type == QDB_RESP_NOENT) {
		if (qdb_store_rm(l->db->view, path) == 0)
			return 1;
	} else if (h->type == QDB_RESP_READ) {
		/* Our own writes come back as events, too: no change, no news. */
		if (old && old->value_len == h->data_len &&
		    memcmp(qdb_entry_value(old), data, h->data_len) == 0)
			return 1;
		err = qdb_store_set(l->db->view, path, data, h->data_len);
	} else {
		return bad(l, "%s in reply to READ", qdb_type_name(h->type));
	}
	if (err == 0)
		err = qdb_queue_apply(&l->queue, l->db->view);
	if (err < 0)
		return no_room(l, err);
	qdb_changed(l->db, path);
	return 1;
}

static int simple_reply(struct local *l, const struct qdb_request *r, const struct qdb_header *h)
{
	bool refused = h->type == QDB_RESP_ERROR || h->type == QDB_RESP_NOENT;

	if (h->type != QDB_RESP_OK && !refused)
		return bad(l, "%s in reply to %s", qdb_type_name(h->type), qdb_type_name(r->type));
	if (refused && r->type == QDB_CMD_WATCH)
		return bad(l, "the daemon refuses to watch %s", qdb_entry_path(r->entry));
	/* An RM that misses is harmless here. */
	if (refused && r->type == QDB_CMD_WRITE)
		qdb_log(l->db, QUBESDB_LOG_WARNING, "QubesDB: WRITE of %s was refused",
			qdb_entry_path(r->entry));
	return 1;
}

static int message(struct local *l, const struct qdb_header *h, const uint8_t *data)
{
	struct qdb_request *r = qdb_queue_oldest(&l->queue);
	int rc;

	if (h->type == QDB_RESP_WATCH) {
		if (h->data_len || !qdb_path_is_name(h->path))
			return bad(l, "malformed event");
		event(l, h->path);
		return 0;
	}
	if (!r || l->out_at < l->out_len)
		return bad(l, "%s, nothing was asked", qdb_type_name(h->type));
	if (r->type == QDB_CMD_MULTIREAD)
		rc = multi_reply(l, r, h, data);
	else if (r->type == QDB_CMD_READ)
		rc = read_reply(l, r, h, data);
	else
		rc = simple_reply(l, r, h);
	if (rc > 0) {
		qdb_queue_remove(&l->queue, r);
		qdb_store_free(&l->fresh);
	}
	return rc < 0 ? rc : 0;
}

/* --- the socket -------------------------------------------------------------------- */

static void disconnect(struct local *l)
{
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
	l->phase = WAIT;
	l->resync = false;
	l->in_at = l->in_len = l->out_at = l->out_len = 0;
	qdb_store_free(&l->fresh);
	qdb_queue_restart(&l->queue);
}

/* The watch and the full read go before whatever of ours is still to be told. */
static int ask_all(struct local *l)
{
	struct qdb_queue ours = l->queue;
	struct qdb_request *r;
	int err;

	if (!ours.head)
		ours.tail = &ours.head;
	qdb_queue_init(&l->queue);
	err = ask(l, QDB_CMD_WATCH, "/", NULL, 0);
	if (err == 0)
		err = ask(l, QDB_CMD_MULTIREAD, "/", NULL, 0);
	for (r = ours.head; r && err == 0; r = r->next)
		err = qdb_queue_add(&l->queue, r->type, r->entry);
	qdb_queue_clear(&ours);
	return err;
}

static int try_connect(struct local *l)
{
	int fd = l->peer.connect(l->peer.arg);

	if (fd < 0) {
		qdb_reason(l->db, "qubesdb socket: %s", strerror(-fd));
		return fd;
	}
	l->fd = fd;
	if (ask_all(l) < 0) {
		disconnect(l);
		qdb_reason(l->db, "out of memory");
		return -ENOMEM;
	}
	l->phase = SYNC;
	l->db->state = QUBESDB_SYNCING;
	qdb_reason(l->db, "reading the keys");
	return 0;
}

/* Make the next request the one that goes out. */
static int next_request(struct local *l)
{
	struct qdb_request *r;
	size_t len = 0;

	if (l->resync && l->phase == STEADY && !l->queue.in_flight) {
		drop_reads(l);
		l->resync = false;
		l->phase = SYNC;
		if (ask(l, QDB_CMD_MULTIREAD, "/", NULL, 0) < 0)
			return no_room(l, -ENOMEM);
	}
	if (l->phase == EMIT || l->queue.in_flight)
		return 0;
	while ((r = qdb_queue_unsent(&l->queue)) != NULL && r->stale)
		qdb_queue_remove(&l->queue, r);
	if (!r)
		return 0;
	if (r->type == QDB_CMD_MULTIREAD && qdb_store_new(&l->fresh) < 0)
		return no_room(l, -ENOMEM);
	if (r->type == QDB_CMD_WRITE)
		len = r->entry->value_len;
	qdb_encode(l->out, r->type, qdb_entry_path(r->entry), len);
	if (len)
		memcpy(l->out + QDB_HEADER, qdb_entry_value(r->entry), len);
	l->out_at = 0;
	l->out_len = QDB_HEADER + len;
	qdb_queue_sent(&l->queue, r);
	return 1;
}

static int flush(struct local *l)
{
	int rc = 1;

	if (l->out_at == l->out_len)
		rc = next_request(l);
	while (rc >= 0 && l->out_at < l->out_len) {
		ssize_t n = send(l->fd, l->out + l->out_at, l->out_len - l->out_at,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK
				       ? 0
				       : closed(l, errno);
		l->out_at += (size_t)n;
	}
	return rc < 0 ? rc : 0;
}

/* Return: 1 something came, 0 nothing now, -errno. */
static int fill(struct local *l)
{
	ssize_t n;

	if (l->in_at) {
		memmove(l->in, l->in + l->in_at, l->in_len - l->in_at);
		l->in_len -= l->in_at;
		l->in_at = 0;
	}
	do
		n = recv(l->fd, l->in + l->in_len, sizeof(l->in) - l->in_len, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return 0;
	if (n < 0)
		return closed(l, errno);
	if (n == 0)
		return closed(l, 0);
	l->in_len += (size_t)n;
	return 1;
}

/* Return: 1 a message was worked off, 0 there is no whole one, -errno. */
static int parse_one(struct local *l)
{
	struct qdb_header h;
	const char *why = "";
	int err;

	if (l->in_len - l->in_at < QDB_HEADER)
		return 0;
	if (qdb_decode(&h, l->in + l->in_at, &why) < 0)
		return bad(l, "%s", why);
	if (l->in_len - l->in_at < QDB_HEADER + (size_t)h.data_len)
		return 0;
	err = message(l, &h, l->in + l->in_at + QDB_HEADER);
	l->in_at += QDB_HEADER + h.data_len;
	return err < 0 ? err : 1;
}

/* Return: 1 when there is more to do at once, 0 when not, -errno. */
static int work(struct local *l)
{
	int rc;

	for (int i = 0; i < MESSAGES_PER_CALL; i++) {
		if (l->phase == EMIT) {
			rc = qdb_emit(l->db, false);
			if (rc < 0)
				return no_room(l, rc);
			if (rc == 0) {
				l->phase = STEADY;
				qdb_emit_end(l->db);
			}
			return 1;
		}
		rc = flush(l);
		if (rc < 0)
			return rc;
		rc = parse_one(l);
		if (rc == 0)
			rc = fill(l);
		if (rc <= 0)
			return rc;
	}
	return 1;
}

/* --- the way in ---------------------------------------------------------------------- */

/* Return: 1 more to do at once, 0 wait for an event or until @next_ms, -errno. */
static int turn(struct local *l, uint64_t now_ms, uint64_t *next_ms)
{
	int rc;

	l->busy = true;
	rc = work(l);
	l->busy = false;
	*next_ms = UINT64_MAX;
	if (rc != 0 || l->phase != STEADY)
		return rc;
	rc = qdb_settle(l->db, now_ms, next_ms);
	return rc < 0 ? no_room(l, rc) : 0;
}

static uint64_t local_process(void *way, uint64_t now_ms)
{
	struct local *l = way;
	char why[sizeof(l->why)];
	uint64_t next_ms;
	int rc;

	if (l->phase == WAIT) {
		if (l->retry_ms > now_ms)
			return l->retry_ms;
		if (try_connect(l) < 0) {
			l->retry_ms = now_ms + qdb_backoff(l->db, false);
			return l->retry_ms;
		}
	}
	rc = turn(l, now_ms, &next_ms);
	if (rc < 0) {
		memcpy(why, l->why, sizeof(why));
		disconnect(l);
		qdb_lost(l->db, why);
		l->retry_ms = now_ms + qdb_backoff(l->db, rc != -EPIPE);
		return l->retry_ms;
	}
	return rc ? now_ms : next_ms;
}

static int local_fd(const void *way)
{
	const struct local *l = way;

	return l->fd;
}

static bool local_want_write(const void *way)
{
	const struct local *l = way;

	return l->fd >= 0 && (l->out_at < l->out_len ||
			      (l->phase == STEADY && !l->queue.in_flight && l->queue.count));
}

static void local_refresh(void *way)
{
	(void)way;
}

/* A write from outside process() need not wait for the next event. */
static void send_now(struct local *l)
{
	if (!l->busy && l->phase == STEADY)
		(void)flush(l); /* a broken socket is seen by the next process() */
}

static bool local_told(const void *way)
{
	const struct local *l = way;

	return l->queue.own == 0;
}

static int local_write(void *way, const char *path, const void *value, size_t len)
{
	struct local *l = way;
	int err = qdb_own_write(l->db, &l->queue, path, value, len);

	if (err == 0)
		send_now(l);
	return err;
}

static int local_rm(void *way, const char *path)
{
	struct local *l = way;
	int err = qdb_own_rm(l->db, &l->queue, path);

	if (err == 0)
		send_now(l);
	return err;
}

static void local_free(void *way)
{
	struct local *l = way;

	disconnect(l);
	qdb_queue_clear(&l->queue);
	if (l->peer.free)
		l->peer.free(l->peer.arg);
	free(l);
}

static const struct qdb_way local_way = {
	.fd = local_fd,
	.want_write = local_want_write,
	.process = local_process,
	.refresh = local_refresh,
	.told = local_told,
	.write = local_write,
	.rm = local_rm,
	.free = local_free,
};

int qdb_local_new(struct qubesdb *db, const struct qdb_local_peer *peer)
{
	struct local *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->db = db;
	l->peer = *peer;
	l->fd = -1;
	qdb_queue_init(&l->queue);
	qdb_reason(db, "waiting for the qubesdb socket");
	db->ops = &local_way;
	db->way = l;
	return 0;
}

static int path_connect(void *arg)
{
	const struct sockaddr_un *sa = arg;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	/* AF_UNIX connects at once or, with a full backlog, fails with EAGAIN. */
	if (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

int qdb_local_path(struct qdb_local_peer *peer, const char *path)
{
	struct sockaddr_un *sa;
	size_t n = strlen(path);

	if (n >= sizeof(sa->sun_path))
		return -ENAMETOOLONG;
	sa = calloc(1, sizeof(*sa));
	if (!sa)
		return -ENOMEM;
	sa->sun_family = AF_UNIX;
	memcpy(sa->sun_path, path, n);
	*peer = (struct qdb_local_peer){ .connect = path_connect, .free = free, .arg = sa };
	return 0;
}
