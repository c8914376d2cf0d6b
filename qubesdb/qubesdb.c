// SPDX-License-Identifier: GPL-2.0-or-later
#include "qubesdb/source.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qubesdb/wire.h"

#define EMIT_PER_CALL 8 /* sources compared in one turn of the loop; one is compiled */
#define DOM0_PORT     111

void qdb_log(struct qubesdb *db, int level, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (!db->ev.log)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	db->ev.log(db->arg, level, text);
}

void qdb_reason(struct qubesdb *db, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(db->reason, sizeof(db->reason), fmt, ap);
	va_end(ap);
}

unsigned qdb_backoff(struct qubesdb *db, bool wary)
{
	unsigned now = wary ? QDB_BACKOFF_MAX_MS : db->backoff_ms;

	db->backoff_ms = 2 * now > QDB_BACKOFF_MAX_MS ? QDB_BACKOFF_MAX_MS : 2 * now;
	return now;
}

void qdb_lost(struct qubesdb *db, const char *reason)
{
	char text[sizeof(db->reason)];

	snprintf(text, sizeof(text), "%s", reason);
	db->state = QUBESDB_CONNECTING;
	qdb_reason(db, "%s", text);
	if (db->ev.lost)
		db->ev.lost(db->arg, text);
}

static int deliver(struct qubesdb *db, const char *source)
{
	const struct qdb_pair_list *list = qdb_commits_pairs(db->commits, source);

	if (!list)
		return -ENOMEM;
	if (db->ev.commit)
		db->ev.commit(db->arg, source, list->pairs, list->n);
	return 0;
}

int qdb_commit(struct qubesdb *db, const char *source)
{
	bool changed;
	int err = qdb_commits_take(db->commits, db->view, source, &changed);

	return err < 0 ? err : deliver(db, source);
}

void qdb_changed(struct qubesdb *db, const char *path)
{
	if (db->ev.changed)
		db->ev.changed(db->arg, path);
}

int qdb_resync_key(const struct qubesdb *db, struct qdb_store *fresh, const char *path,
		   const void *value, size_t len)
{
	struct qdb_entry *old = qdb_store_get(db->view, path);

	if (old && old->value_len == len && memcmp(qdb_entry_value(old), value, len) == 0)
		return qdb_store_put(fresh, old);
	return qdb_store_set(fresh, path, value, len);
}

bool qdb_tree_lost(struct qubesdb *db, const struct qdb_store *fresh)
{
	if (!db->known || qdb_store_count(fresh) > 0)
		return false;
	qdb_log(db, QUBESDB_LOG_WARNING, "QubesDB: no key is left; what was known stands until "
					 "it is written again");
	qdb_store_rm(db->view, QDB_RULES_ROOT);
	qdb_commits_stand(db->commits);
	return true;
}

/* Return: 0 or -ENOMEM. */
static int tell(struct qubesdb *db, enum qdb_step step, const char *source)
{
	switch (step) {
	case QDB_STEP_GONE:
		if (db->ev.gone)
			db->ev.gone(db->arg, source);
		return 0;
	case QDB_STEP_COMMIT:
		return deliver(db, source);
	case QDB_STEP_NOMEM:
		return -ENOMEM;
	case QDB_STEP_SAME:
	case QDB_STEP_DONE:
		return 0;
	}
	return 0;
}

int qdb_emit(struct qubesdb *db, bool loose)
{
	struct qdb_source_name source;

	for (int i = 0; i < EMIT_PER_CALL; i++) {
		enum qdb_step step = qdb_commits_step(db->commits, db->view, loose, &source);

		if (tell(db, step, source.text) < 0)
			return -ENOMEM;
		if (step == QDB_STEP_DONE)
			return 0;
		if (step == QDB_STEP_COMMIT)
			break;
	}
	return 1;
}

int qdb_settle(struct qubesdb *db, uint64_t now_ms, uint64_t *next_ms)
{
	struct qdb_source_name source;

	*next_ms = UINT64_MAX;
	if (!qdb_commits_held(db->commits))
		return 0;
	if (!db->settle_ms)
		db->settle_ms = now_ms + QDB_SETTLE_MS;
	*next_ms = db->settle_ms;
	if (now_ms < db->settle_ms)
		return 0;
	for (int i = 0; i < EMIT_PER_CALL; i++) {
		enum qdb_step step = qdb_commits_settle(db->commits, db->view, &source);

		if (tell(db, step, source.text) < 0)
			return -ENOMEM;
		if (step == QDB_STEP_DONE || step == QDB_STEP_COMMIT)
			break;
	}
	*next_ms = qdb_commits_held(db->commits) ? now_ms : UINT64_MAX;
	return 0;
}

void qdb_emit_end(struct qubesdb *db)
{
	db->state = QUBESDB_READY;
	db->known = true;
	db->settle_ms = 0;
	db->backoff_ms = QDB_BACKOFF_MIN_MS;
	qdb_reason(db, "%s", "");
	qdb_changed(db, NULL);
	if (db->ev.synced)
		db->ev.synced(db->arg);
}

/* --- what we write ------------------------------------------------------------ */

int qdb_own_write(struct qubesdb *db, struct qdb_queue *q, const char *path, const void *value,
		  size_t len)
{
	struct qdb_entry *e = qdb_entry_new(path, value, len);
	int err = e ? qdb_queue_replace(q, QDB_CMD_WRITE, e) : -ENOMEM;

	if (err == 0 && qdb_store_put(db->view, e) < 0)
		qdb_log(db, QUBESDB_LOG_WARNING, "QubesDB: no room for %s in our copy", path);
	qdb_entry_drop(e);
	return err;
}

int qdb_own_rm(struct qubesdb *db, struct qdb_queue *q, const char *path)
{
	struct qdb_entry *e;
	int err;

	if (!qdb_store_has(db->view, path)) {
		qdb_queue_cancel(q, path);
		return 0;
	}
	e = qdb_entry_new(path, NULL, 0);
	err = e ? qdb_queue_replace(q, QDB_CMD_RM, e) : -ENOMEM;
	qdb_entry_drop(e);
	if (err == 0)
		qdb_store_rm(db->view, path);
	return err;
}

/* --- life ----------------------------------------------------------------------- */

int qdb_base_new(struct qubesdb **out, const struct qubesdb_events *ev, void *arg)
{
	struct qubesdb *db = calloc(1, sizeof(*db));

	if (!db)
		return -ENOMEM;
	db->ev = *ev;
	db->arg = arg;
	db->state = QUBESDB_CONNECTING;
	db->backoff_ms = QDB_BACKOFF_MIN_MS;
	if (qdb_store_new(&db->view) < 0 || qdb_commits_new(&db->commits) < 0) {
		qubesdb_free(&db);
		return -ENOMEM;
	}
	*out = db;
	return 0;
}

/* ":DOMID:PORT" or nothing. */
static int parse_vchan(const char *s, int *domid, int *port)
{
	unsigned long d, p;
	char *end;

	*domid = 0;
	*port = DOM0_PORT;
	if (*s == '\0')
		return 0;
	if (s[0] != ':' || s[1] < '0' || s[1] > '9')
		return -EINVAL;
	errno = 0;
	d = strtoul(s + 1, &end, 10);
	if (end[0] != ':' || end[1] < '0' || end[1] > '9')
		return -EINVAL;
	p = strtoul(end + 1, &end, 10);
	if (*end != '\0' || errno || d > 0x7fef || p > 0x7fffffff)
		return -EINVAL;
	*domid = (int)d;
	*port = (int)p;
	return 0;
}

static int way_vchan(struct qubesdb *db, const char *spec, char *err, size_t err_len)
{
	const struct qdb_vchan_ops *ops;
	int domid, port, rc;
	void *v;

	if (parse_vchan(spec, &domid, &port) < 0) {
		snprintf(err, err_len, "vchan%s: not vchan:DOMID:PORT", spec);
		return -EINVAL;
	}
	rc = qdb_vchan_real(&ops, &v, domid, port);
	if (rc == 0) {
		rc = qdb_client_new(db, ops, v);
		if (rc < 0)
			ops->free(v);
	}
	if (rc < 0)
		snprintf(err, err_len, "vchan%s: %s", spec, strerror(-rc));
	return rc;
}

static int way_socket(struct qubesdb *db, const char *path, char *err, size_t err_len)
{
	struct qdb_local_peer peer;
	int rc = qdb_local_path(&peer, path);

	if (rc == 0) {
		rc = qdb_local_new(db, &peer);
		if (rc < 0)
			peer.free(peer.arg);
	}
	if (rc < 0)
		snprintf(err, err_len, "socket:%s: %s", path,
			 rc == -ENAMETOOLONG ? "path too long" : strerror(-rc));
	return rc;
}

int qubesdb_new(struct qubesdb **out, const char *spec, const struct qubesdb_events *ev, void *arg,
		char *err, size_t err_len)
{
	struct qubesdb *db = NULL;
	int rc = qdb_base_new(&db, ev, arg);

	if (rc < 0) {
		snprintf(err, err_len, "%s: %s", spec, strerror(-rc));
		return rc;
	}
	if (strncmp(spec, "vchan", 5) == 0 && (spec[5] == '\0' || spec[5] == ':')) {
		rc = way_vchan(db, spec + 5, err, err_len);
	} else if (strncmp(spec, "socket:", 7) == 0 && spec[7]) {
		rc = way_socket(db, spec + 7, err, err_len);
	} else if (strncmp(spec, "file:", 5) == 0 && spec[5]) {
		rc = qdb_file_new(db, spec + 5, err, err_len);
	} else {
		snprintf(err, err_len,
			 "%s: not vchan[:DOMID:PORT], socket:PATH or file:PATH", spec);
		rc = -EINVAL;
	}
	if (rc < 0) {
		qubesdb_free(&db);
		return rc;
	}
	*out = db;
	return 0;
}

void qubesdb_free(struct qubesdb **db)
{
	if (!*db)
		return;
	if ((*db)->ops)
		(*db)->ops->free((*db)->way);
	qdb_store_free(&(*db)->view);
	qdb_commits_free(&(*db)->commits);
	free(*db);
	*db = NULL;
}

int qubesdb_fd(const struct qubesdb *db)
{
	return db->ops->fd(db->way);
}

bool qubesdb_want_write(const struct qubesdb *db)
{
	return db->ops->want_write(db->way);
}

uint64_t qubesdb_process(struct qubesdb *db, uint64_t now_ms)
{
	return db->ops->process(db->way, now_ms);
}

void qubesdb_refresh(struct qubesdb *db)
{
	db->ops->refresh(db->way);
}

enum qubesdb_state qubesdb_state(const struct qubesdb *db)
{
	return db->state;
}

const char *qubesdb_reason(const struct qubesdb *db)
{
	return db->reason;
}

const char *qubesdb_read(const struct qubesdb *db, const char *path, size_t *len)
{
	const struct qdb_entry *e = qdb_store_get(db->view, path);

	if (!e)
		return NULL;
	if (len)
		*len = e->value_len;
	return qdb_entry_value(e);
}

void qubesdb_list(const struct qubesdb *db, const char *prefix,
		  void (*fn)(void *arg, const char *path, const char *value, size_t len),
		  void *arg)
{
	size_t n = strlen(prefix);

	if (n == 0 || prefix[n - 1] != '/')
		return;
	for (const struct qdb_node *node = qdb_store_seek(db->view, prefix);
	     node && qdb_path_covers(prefix, qdb_entry_path(node->entry)); node = node->next[0])
		fn(arg, qdb_entry_path(node->entry), qdb_entry_value(node->entry),
		   node->entry->value_len);
}

int qubesdb_write(struct qubesdb *db, const char *path, const void *value, size_t len)
{
	/* What dom0's daemon would die of never leaves this process. */
	if (!qdb_path_is_key(path) || !qdb_value_ok(value, len))
		return -EINVAL;
	return db->ops->write(db->way, path, value, len);
}

bool qubesdb_told(const struct qubesdb *db)
{
	return db->ops->told(db->way);
}

int qubesdb_rm(struct qubesdb *db, const char *path)
{
	if (!qdb_path_is_name(path))
		return -EINVAL;
	return db->ops->rm(db->way, path);
}
