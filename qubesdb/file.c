// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * QubesDB from a text file: for tests, and for a machine without Qubes.
 *
 *	# comment
 *	/qubes-ip = 10.137.0.9
 *	/qubes-firewall/10.137.0.5/policy = drop
 *
 * One key a line: the path up to the first '=' without the blanks around it;
 * the value is what follows, less one space, to the end of the line, trailing
 * blanks included. A line that is neither that nor a comment nor blank, a path
 * that QubesDB would refuse, a key given twice: the file is malformed, and a
 * malformed or unreadable file changes nothing. At the start it is an error.
 *
 * The file is read again when its directory says that a file of that name was
 * closed after writing or moved there (so editors that replace it work), and
 * on refresh(). A source whose subtree differs is committed; one without any
 * key is gone. Our own writes live in a second store on top, survive each
 * read, and are mirrored to FILE.out, which is replaced in one step.
 */
#include "qubesdb/source.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "qubesdb/wire.h"

#define FILE_MAX ((size_t)64 << 20)

enum phase { START, EMIT, STEADY };

struct file {
	struct qubesdb *db;
	char *path, *out, *out_new;
	const char *name; /* the last component of path */
	int notify;	  /* inotify descriptor, -1 without */
	enum phase phase;
	bool again;   /* read before the next emit */
	bool outside; /* keys outside /qubes-firewall/ differ */
	struct qdb_store *keys; /* what the file says */
	struct qdb_store *own;	/* what we wrote */
};

/* --- reading -------------------------------------------------------------------- */

/* The whole file, NUL terminated. A FIFO or a device would make the loop wait. */
static int slurp(const char *path, char **out, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	size_t have = 0;
	char *buf = NULL;
	int err = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (!S_ISREG(st.st_mode))
		err = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	else if (st.st_size < 0 || (uintmax_t)st.st_size > FILE_MAX)
		err = -EFBIG;
	if (err == 0) {
		buf = malloc((size_t)st.st_size + 1);
		err = buf ? 0 : -ENOMEM;
	}
	while (err == 0 && have < (size_t)st.st_size) {
		ssize_t n = read(fd, buf + have, (size_t)st.st_size - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			err = -errno;
		if (n <= 0)
			break;
		have += (size_t)n;
	}
	close(fd);
	if (err != 0) {
		free(buf);
		return err;
	}
	buf[have] = '\0';
	*out = buf;
	*len = have;
	return 0;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Return: what is wrong with the line, or NULL. */
static const char *parse_line(struct qdb_store *s, char *line, size_t len)
{
	char *end = line + len, *value, *path = line, *eq;
	int err;

	while (path < end && is_blank(*path))
		path++;
	if (path == end || *path == '#')
		return NULL;
	eq = memchr(path, '=', (size_t)(end - path));
	if (!eq)
		return "not PATH = VALUE";
	value = eq + 1;
	if (value < end && *value == ' ')
		value++;
	while (eq > path && is_blank(eq[-1]))
		eq--;
	*eq = '\0';
	if (memchr(path, '\0', (size_t)(eq - path)) || !qdb_path_is_key(path))
		return "not a QubesDB path";
	if ((size_t)(end - value) > QUBESDB_VALUE_MAX)
		return "value too long";
	if (!qdb_value_ok(value, (size_t)(end - value)))
		return "NUL in the value";
	if (qdb_store_get(s, path))
		return "key given twice";
	err = qdb_store_set(s, path, value, (size_t)(end - value));
	if (err < 0)
		return err == -ENOSPC ? "too many keys" : "out of memory";
	return NULL;
}

/* Read and parse; @err gets FILE: or FILE:LINE: and the reason. */
static int load(const char *path, struct qdb_store **out, char *err, size_t err_len)
{
	struct qdb_store *s = NULL;
	const char *why = NULL;
	size_t len = 0, line = 0;
	char *text = NULL, *p, *end;
	int rc = slurp(path, &text, &len);

	if (rc == 0)
		rc = qdb_store_new(&s);
	if (rc < 0) {
		free(text);
		snprintf(err, err_len, "%s: %s", path,
			 rc == -EINVAL ? "not a regular file" : strerror(-rc));
		return rc;
	}
	for (p = text; p < text + len && !why; p = end + 1) {
		end = memchr(p, '\n', (size_t)(text + len - p));
		if (!end)
			end = text + len;
		line++;
		why = parse_line(s, p, (size_t)(end - p));
	}
	free(text);
	if (why) {
		snprintf(err, err_len, "%s:%zu: %s", path, line, why);
		qdb_store_free(&s);
		return -EINVAL;
	}
	*out = s;
	return 0;
}

/* --- what differs ------------------------------------------------------------------ */

static const struct qdb_node *outside(const struct qdb_node *n)
{
	while (n && qdb_path_covers(QDB_RULES_ROOT, qdb_entry_path(n->entry)))
		n = n->next[0];
	return n;
}

static bool outside_same(const struct qdb_store *a, const struct qdb_store *b)
{
	const struct qdb_node *x = outside(qdb_store_seek(a, ""));
	const struct qdb_node *y = outside(qdb_store_seek(b, ""));

	while (x && y && qdb_entry_same(x->entry, y->entry)) {
		x = outside(x->next[0]);
		y = outside(y->next[0]);
	}
	return !x && !y;
}

static int overlay(struct qdb_store *view, const struct qdb_store *own)
{
	int err = 0;

	for (const struct qdb_node *n = qdb_store_seek(own, ""); n && err == 0; n = n->next[0])
		err = qdb_store_put(view, n->entry);
	return err;
}

/* Put a parsed file in force; the sources that differ are told by process(). */
static int adopt(struct file *f, struct qdb_store *keys)
{
	struct qdb_store *view = NULL;
	int err = qdb_store_clone(&view, keys);

	if (err == 0)
		err = overlay(view, f->own);
	if (err == 0)
		err = qdb_commits_plan(f->db->commits, view, true);
	if (err < 0) {
		qdb_store_free(&view);
		return err;
	}
	f->outside = f->outside || !f->keys || !outside_same(f->keys, keys);
	qdb_store_free(&f->keys);
	qdb_store_free(&f->db->view);
	f->keys = keys;
	f->db->view = view;
	return 0;
}

static void read_again(struct file *f)
{
	struct qdb_store *keys = NULL;
	char err[PATH_MAX + 128];
	int rc = load(f->path, &keys, err, sizeof(err));

	if (rc == 0) {
		rc = adopt(f, keys);
		if (rc < 0) {
			qdb_store_free(&keys);
			snprintf(err, sizeof(err), "%s: %s", f->path, strerror(-rc));
		}
	}
	if (rc < 0) {
		qdb_reason(f->db, "%s", err);
		qdb_log(f->db, QUBESDB_LOG_ERR, "%s; the last good content stands", err);
		return;
	}
	qdb_reason(f->db, "%s", "");
	if (f->phase == STEADY)
		f->phase = EMIT;
}

/* --- own writes ----------------------------------------------------------------------- */

/* A test that reads FILE.out sees all of it or the one before. */
static void mirror_out(struct file *f)
{
	FILE *out = fopen(f->out_new, "we");
	bool ok = out != NULL;

	for (const struct qdb_node *n = qdb_store_seek(f->own, ""); ok && n; n = n->next[0]) {
		fprintf(out, "%s = ", qdb_entry_path(n->entry));
		fwrite(qdb_entry_value(n->entry), 1, n->entry->value_len, out);
		fputc('\n', out);
	}
	if (out && fclose(out) != 0)
		ok = false;
	if (!ok || rename(f->out_new, f->out) < 0)
		qdb_log(f->db, QUBESDB_LOG_WARNING, "%s: %s", f->out, strerror(errno));
}

static bool file_told(const void *way)
{
	(void)way;
	return true;
}

static int file_write(void *way, const char *path, const void *value, size_t len)
{
	struct file *f = way;
	int err = qdb_store_set(f->own, path, value, len);

	if (err == 0)
		err = qdb_store_set(f->db->view, path, value, len);
	if (err < 0)
		return err == -ENOSPC ? -ENOBUFS : err;
	mirror_out(f);
	return 0;
}

static int file_rm(void *way, const char *path)
{
	struct file *f = way;

	qdb_store_rm(f->db->view, path);
	if (qdb_store_rm(f->own, path) > 0)
		mirror_out(f);
	return 0;
}

/* --- the way in ------------------------------------------------------------------------- */

static bool noticed(struct file *f)
{
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool ours = false;
	ssize_t n;

	if (f->notify < 0)
		return false;
	while ((n = read(f->notify, buf, sizeof(buf))) > 0) {
		for (size_t at = 0; at + sizeof(struct inotify_event) <= (size_t)n;) {
			struct inotify_event ev;
			const char *name = buf + at + sizeof(ev);

			memcpy(&ev, buf + at, sizeof(ev));
			if ((ev.mask & IN_Q_OVERFLOW) ||
			    (ev.len && strncmp(name, f->name, ev.len) == 0))
				ours = true;
			at += sizeof(ev) + ev.len;
		}
	}
	return ours;
}

static uint64_t file_process(void *way, uint64_t now_ms)
{
	struct file *f = way;
	bool first = f->phase == START;
	int rc;

	if (noticed(f))
		f->again = true;
	/* A plan that is being told is told to its end first. */
	if (f->again && f->phase == STEADY) {
		f->again = false;
		read_again(f);
	}
	if (f->phase == STEADY)
		return UINT64_MAX;
	if (first)
		f->db->state = QUBESDB_SYNCING;
	f->phase = EMIT;
	rc = qdb_emit(f->db, true);
	if (rc < 0)
		qdb_log(f->db, QUBESDB_LOG_ERR, "%s: out of memory", f->path);
	if (rc != 0)
		return now_ms;
	f->phase = STEADY;
	if (f->db->state != QUBESDB_READY)
		qdb_emit_end(f->db);
	else if (f->outside)
		qdb_changed(f->db, NULL);
	f->outside = false;
	return f->again ? now_ms : UINT64_MAX;
}

static int file_fd(const void *way)
{
	const struct file *f = way;

	return f->notify;
}

static bool file_want_write(const void *way)
{
	(void)way;
	return false;
}

static void file_refresh(void *way)
{
	struct file *f = way;

	f->again = true;
}

static void file_free(void *way)
{
	struct file *f = way;

	if (f->notify >= 0)
		close(f->notify);
	qdb_store_free(&f->keys);
	qdb_store_free(&f->own);
	free(f->path);
	free(f->out);
	free(f->out_new);
	free(f);
}

static const struct qdb_way file_way = {
	.fd = file_fd,
	.want_write = file_want_write,
	.process = file_process,
	.refresh = file_refresh,
	.told = file_told,
	.write = file_write,
	.rm = file_rm,
	.free = file_free,
};

/* Without inotify (a kernel of our own may lack it) SIGHUP still works. */
static void start_notify(struct file *f)
{
	const char *slash = strrchr(f->path, '/');
	char *dir = slash == f->path ? strdup("/")
		    : slash	     ? strndup(f->path, (size_t)(slash - f->path))
				     : strdup(".");

	f->name = slash ? slash + 1 : f->path;
	f->notify = dir ? inotify_init1(IN_CLOEXEC | IN_NONBLOCK) : -1;
	if (f->notify >= 0 &&
	    inotify_add_watch(f->notify, dir, IN_CLOSE_WRITE | IN_MOVED_TO | IN_ONLYDIR) < 0) {
		close(f->notify);
		f->notify = -1;
	}
	if (f->notify < 0)
		qdb_log(f->db, QUBESDB_LOG_WARNING,
			"%s: changes will not be noticed (inotify: %s)", f->path, strerror(errno));
	free(dir);
}

int qdb_file_new(struct qubesdb *db, const char *path, char *err, size_t err_len)
{
	struct file *f = calloc(1, sizeof(*f));
	struct qdb_store *keys = NULL;
	int rc = -ENOMEM;

	if (!f)
		goto no_memory;
	f->db = db;
	f->notify = -1;
	f->path = strdup(path);
	if (asprintf(&f->out, "%s.out", path) < 0)
		f->out = NULL;
	if (asprintf(&f->out_new, "%s.out.new", path) < 0)
		f->out_new = NULL;
	if (!f->path || !f->out || !f->out_new || qdb_store_new(&f->own) < 0)
		goto no_memory;
	start_notify(f); /* before the first read, so that no change falls between */
	rc = load(path, &keys, err, err_len);
	if (rc < 0)
		goto fail;
	rc = adopt(f, keys);
	if (rc < 0) {
		qdb_store_free(&keys);
		goto no_memory;
	}
	qdb_reason(db, "not read yet");
	db->ops = &file_way;
	db->way = f;
	return 0;

no_memory:
	snprintf(err, err_len, "%s: %s", path, strerror(-rc));
fail:
	if (f)
		file_free(f);
	return rc;
}
