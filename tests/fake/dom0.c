// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dom0's QubesDB daemon in memory: what it says, and what it dies of.
 * Death is recorded in `dead`, where the tests look for it.
 */
#include <stdarg.h>
#include <stdlib.h>

#include "tests/fake/vchan.h"
#include "tests/xen/qdb.h"

static void __attribute__((format(printf, 2, 3))) die(struct fake_dom0 *d, const char *fmt, ...)
{
	va_list ap;

	if (d->dead[0])
		return;
	va_start(ap, fmt);
	vsnprintf(d->dead, sizeof(d->dead), fmt, ap);
	va_end(ap);
	fake_vchan_close(d->v);
}

void fake_dom0_init(struct fake_dom0 *d, struct fake_vchan *v)
{
	memset(d, 0, sizeof(*d));
	d->v = v;
}

void fake_dom0_end(struct fake_dom0 *d)
{
	for (size_t i = 0; i < d->n; i++)
		free(d->keys[i].value);
	free(d->keys);
	free(d->out);
	free(d->expect);
	memset(d, 0, sizeof(*d));
}

static size_t position(const struct fake_dom0 *d, const char *path)
{
	size_t lo = 0, hi = d->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (strcmp(d->keys[mid].path, path) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct fake_key *fake_dom0_get(const struct fake_dom0 *d, const char *path)
{
	size_t i = position(d, path);

	return i < d->n && strcmp(d->keys[i].path, path) == 0 ? &d->keys[i] : NULL;
}

void fake_dom0_set(struct fake_dom0 *d, const char *path, const char *value, size_t len)
{
	size_t i = position(d, path);
	char *copy = malloc(len + 1);

	if (len)
		memcpy(copy, value, len);
	copy[len] = '\0';
	if (i == d->n || strcmp(d->keys[i].path, path) != 0) {
		if (d->n == d->cap) {
			d->cap = d->cap ? 2 * d->cap : 64;
			d->keys = realloc(d->keys, d->cap * sizeof(*d->keys));
		}
		memmove(d->keys + i + 1, d->keys + i, (d->n - i) * sizeof(*d->keys));
		memset(&d->keys[i], 0, sizeof(d->keys[i]));
		memcpy(d->keys[i].path, path, strnlen(path, 63));
		d->n++;
	}
	free(d->keys[i].value);
	d->keys[i].value = copy;
	d->keys[i].len = (uint32_t)len;
}

size_t fake_dom0_unset(struct fake_dom0 *d, const char *path)
{
	size_t i = position(d, path), n = strlen(path), removed = 0;
	bool dir = n && path[n - 1] == '/';

	while (i + removed < d->n && (dir ? strncmp(d->keys[i + removed].path, path, n) == 0
					  : strcmp(d->keys[i + removed].path, path) == 0)) {
		free(d->keys[i + removed].value);
		removed++;
	}
	if (removed == 0)
		return 0;
	memmove(d->keys + i, d->keys + i + removed, (d->n - i - removed) * sizeof(*d->keys));
	d->n -= removed;
	return removed;
}

void fake_dom0_raw(struct fake_dom0 *d, const void *buf, size_t len)
{
	if (!len)
		return;
	if (d->out_at == d->out_len)
		d->out_at = d->out_len = 0;
	if (d->out_len + len > d->out_cap) {
		d->out_cap = 2 * (d->out_len + len);
		d->out = realloc(d->out, d->out_cap);
	}
	memcpy(d->out + d->out_len, buf, len);
	d->out_len += len;
}

void fake_dom0_message(struct fake_dom0 *d, unsigned type, const char *path, const void *data,
		       size_t len)
{
	struct qdb_hdr h;

	qdb_fill(&h, type, path, len);
	fake_dom0_raw(d, &h, sizeof(h));
	fake_dom0_raw(d, data, len);
}

static void tell(struct fake_dom0 *d, unsigned type, const char *path, const char *value,
		 size_t len)
{
	if (!d->asked || d->dead[0])
		return;
	fake_dom0_message(d, type, path, value, len);
	if (d->expect_n == d->expect_cap) {
		d->expect_cap = d->expect_cap ? 2 * d->expect_cap : 64;
		d->expect = realloc(d->expect, d->expect_cap * sizeof(*d->expect));
	}
	memset(d->expect[d->expect_n], 0, 64);
	memcpy(d->expect[d->expect_n++], path, strnlen(path, 63));
}

void fake_dom0_write(struct fake_dom0 *d, const char *path, const char *value)
{
	fake_dom0_set(d, path, value, strlen(value));
	tell(d, QDB_WRITE, path, value, strlen(value));
}

void fake_dom0_rm(struct fake_dom0 *d, const char *path)
{
	if (fake_dom0_unset(d, path))
		tell(d, QDB_RM, path, NULL, 0);
}

void fake_dom0_restart(struct fake_dom0 *d)
{
	if (d->v->dom0_open)
		fake_vchan_close(d->v);
	d->out_at = d->out_len = d->expect_at = d->expect_n = 0;
	d->asked = false;
	d->dead[0] = '\0';
}

static void sync_all(struct fake_dom0 *d)
{
	if (d->asked) {
		die(d, "second MULTIREAD");
		return;
	}
	for (size_t i = d->n; i-- > 0;)
		fake_dom0_message(d, QDB_R_MULTIREAD, d->keys[i].path, d->keys[i].value,
				  d->keys[i].len);
	fake_dom0_message(d, QDB_R_MULTIREAD, "", NULL, 0);
	d->asked = true;
}

static void answered(struct fake_dom0 *d, const struct qdb_hdr *h)
{
	d->answers++;
	if (h->data_len)
		die(d, "reply with data");
	else if (d->expect_at == d->expect_n)
		die(d, "reply for %s, nothing was asked", h->path);
	else if (strcmp(d->expect[d->expect_at], h->path) != 0)
		die(d, "reply for %s instead of %s", h->path, d->expect[d->expect_at]);
	else
		d->expect_at++;
}

static bool out_has_room(struct fake_dom0 *d)
{
	return d->patient ||
	       FAKE_RING - (d->v->to_us.prod - d->v->to_us.cons) >= sizeof(struct qdb_hdr);
}

static void obey(struct fake_dom0 *d, const struct qdb_msg *m)
{
	switch (m->h.type) {
	case QDB_MULTIREAD:
		if (m->h.path[0] || m->h.data_len)
			die(d, "MULTIREAD with arguments");
		else
			sync_all(d);
		return;
	case QDB_WRITE:
		d->writes++;
		if (!qdb_path_key(m->h.path) || memchr(m->data, '\0', m->h.data_len)) {
			die(d, "WRITE of %s", m->h.path);
			return;
		}
		fake_dom0_set(d, m->h.path, m->data, m->h.data_len);
		fake_dom0_message(d, QDB_OK, m->h.path, NULL, 0);
		return;
	case QDB_RM:
		d->rms++;
		if (!m->h.path[0] || m->h.data_len)
			die(d, "RM of \"%s\" with %u bytes", m->h.path, m->h.data_len);
		else if (!out_has_room(d))
			die(d, "RM of %s without room for the reply", m->h.path);
		else if (!fake_dom0_unset(d, m->h.path))
			die(d, "RM of %s, which is not there", m->h.path);
		else
			fake_dom0_message(d, QDB_OK, m->h.path, NULL, 0);
		return;
	case QDB_OK:
	case QDB_ERROR:
		answered(d, &m->h);
		return;
	default:
		die(d, "type %u", m->h.type);
	}
}

/* Whole messages only: the client promises never to send half of one. */
static bool obey_one(struct fake_dom0 *d)
{
	static const char zero[64];
	struct qdb_msg m;
	size_t n;

	if (fake_vchan_peek(d->v) == 0)
		return false;
	if (fake_vchan_recv(d->v, &m.h, sizeof(m.h)) != sizeof(m.h)) {
		die(d, "half a header");
		return true;
	}
	n = strnlen(m.h.path, QDB_PATH);
	if (n == QDB_PATH || memcmp(m.h.path + n, zero, QDB_PATH - n) != 0 || m.h.pad[0] ||
	    m.h.pad[1] || m.h.pad[2] || !qdb_path_chars(m.h.path) || m.h.data_len > QDB_VALUE) {
		die(d, "malformed header, type %u", m.h.type);
		return true;
	}
	if (fake_vchan_recv(d->v, m.data, m.h.data_len) != m.h.data_len) {
		die(d, "half a body");
		return true;
	}
	m.data[m.h.data_len] = '\0';
	obey(d, &m);
	return true;
}

bool fake_dom0_run(struct fake_dom0 *d)
{
	bool moved = false;
	size_t n;

	while (!d->dead[0] && !d->stalled && d->v->dom0_open && d->v->connected && obey_one(d))
		moved = true;
	n = d->out_len - d->out_at;
	if (d->send_max && n > d->send_max)
		n = d->send_max;
	if (n && !d->dead[0]) {
		n = fake_vchan_send(d->v, d->out + d->out_at, n);
		d->out_at += n;
		moved = moved || n;
	}
	return moved;
}
