// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * libxenvchan, at either end.
 *
 * A server announces itself in its own part of xenstore, where it makes
 * event-channel last, and (in Qubes) removes the keys again at the first
 * connection. So before each attempt the keys are read here, and between
 * attempts a watch on event-channel says when to look (or, without a watch, the
 * caller's clock). The first look can find /dev/xen/xenbus missing: then there is
 * no Xen, and the caller's back-off is all that is left to try.
 *
 * As a server we do the same: who connected once is the client, and the next one
 * needs a new server. The library removes the keys when it closes; they are taken
 * back at the connection, or dom0's next daemon would find the page of the last.
 *
 * The shared page is the peer's too. The library takes an impossible distance
 * of the indices for an empty ring, which would look like silence; here it is
 * an error that closes the connection. Reads of the page are READ_ONCE
 * (hp_155_double_fetch).
 */
#include "qubesdb/vchan.h"

#include <errno.h>
#include <libxenvchan.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xenstore.h>

#define SERVER_RING 4096
#define ORDER_MAX   16 /* of a ring: the largest that Qubes makes, 64 KiB */

#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))

enum kind { WATCH, DIAL, SERVER };

struct real {
	enum kind kind;
	struct libxenvchan *ch;
	struct xs_handle *xs;
	int domid, port;
	char path[64];  /* the server's keys; empty until our domid is known */
	char watch[96]; /* path/event-channel */
};

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return fd >= 0 && poll(&p, 1, 0) > 0;
}

/* libxenvchan compiles its paths into 64 bytes, which these fit with all domids. */
static int open_store(struct real *r)
{
	unsigned int len;
	char *own;

	if (!r->xs)
		r->xs = xs_open(0);
	if (!r->xs)
		return errno ? -errno : -ENODEV;
	if (r->path[0])
		return 0;
	own = xs_read(r->xs, XBT_NULL, "domid", &len);
	if (!own)
		return -errno;
	snprintf(r->path, sizeof(r->path), "/local/domain/%d/data/vchan/%d/%d", r->domid,
		 (int)strtol(own, NULL, 10), r->port);
	free(own);
	snprintf(r->watch, sizeof(r->watch), "%s/event-channel", r->path);
	if (r->kind == WATCH && !xs_watch(r->xs, r->watch, "q")) {
		int err = -errno;

		r->path[0] = '\0';
		return err;
	}
	return 0;
}

/* Missing, empty and not yet readable all mean: dom0's side is not there yet. */
static bool announced(struct real *r)
{
	unsigned int len = 0;
	char *value = xs_read(r->xs, XBT_NULL, r->watch, &len);
	bool there = value && len > 0;

	free(value);
	return there;
}

static int real_connect(void *v)
{
	struct real *r = v;
	int err = open_store(r);

	if (err < 0)
		return err;
	if (!announced(r))
		return -EAGAIN;
	errno = 0;
	r->ch = libxenvchan_client_init(NULL, r->domid, r->path);
	if (!r->ch)
		return errno ? -errno : -EIO;
	r->ch->blocking = 0;
	/* Another qube's rings may be 1 MiB each, all of it mapped: not in 32 MiB. */
	if (r->ch->read.order > ORDER_MAX || r->ch->write.order > ORDER_MAX) {
		libxenvchan_close(r->ch);
		r->ch = NULL;
		return -EPROTO;
	}
	if (r->kind == DIAL) {
		xs_close(r->xs);
		r->xs = NULL;
	}
	return 0;
}

/* Its keys, once they have served. */
static void withdraw(const struct real *r)
{
	struct xs_handle *xs = xs_open(0);

	if (!xs)
		return;
	xs_rm(xs, XBT_NULL, r->path);
	xs_close(xs);
}

static int server_connect(void *v)
{
	struct real *r = v;

	if (!r->ch) {
		snprintf(r->path, sizeof(r->path), "data/vchan/%d/%d", r->domid, r->port);
		errno = 0;
		r->ch = libxenvchan_server_init(NULL, r->domid, r->path, SERVER_RING, SERVER_RING);
		if (!r->ch)
			return errno && errno != EAGAIN ? -errno : -EIO;
		r->ch->blocking = 0;
	}
	if (libxenvchan_is_open(r->ch) == 2)
		return -EAGAIN;
	withdraw(r);
	return 0;
}

static int real_fd(const void *v)
{
	const struct real *r = v;

	if (r->ch)
		return libxenvchan_fd_for_select(r->ch);
	return r->kind == WATCH && r->xs && r->path[0] ? xs_fileno(r->xs) : -1;
}

static bool real_clear_event(void *v)
{
	struct real *r = v;
	bool any = false;
	char **event;

	if (r->ch) {
		/* Blocks without an event; with one it reads and unmasks the port once. */
		if (!readable(libxenvchan_fd_for_select(r->ch)))
			return false;
		(void)libxenvchan_wait(r->ch);
		return true;
	}
	while (r->kind == WATCH && r->xs && (event = xs_check_watch(r->xs)) != NULL) {
		free(event);
		any = true;
	}
	return any;
}

static int real_read(void *v, void *buf, size_t len)
{
	struct real *r = v;
	int n = libxenvchan_read(r->ch, buf, len);

	return n < 0 ? -EPIPE : n;
}

static int real_write(void *v, const void *buf, size_t len)
{
	struct real *r = v;
	int n = libxenvchan_write(r->ch, buf, len);

	return n < 0 ? -EPIPE : n;
}

static int real_data_ready(void *v)
{
	struct real *r = v;

	return libxenvchan_data_ready(r->ch);
}

static int real_buffer_space(void *v)
{
	struct real *r = v;

	return libxenvchan_buffer_space(r->ch);
}

static bool ring_sane(const struct libxenvchan_ring *ring)
{
	uint32_t cons = READ_ONCE(ring->shr->cons);
	uint32_t prod = READ_ONCE(ring->shr->prod);

	/* One index of each ring is ours and stands still, the other only grows. */
	return prod - cons <= 1u << ring->order;
}

static int real_is_open(void *v)
{
	struct real *r = v;

	if (!ring_sane(&r->ch->read) || !ring_sane(&r->ch->write))
		return -EPROTO;
	return libxenvchan_is_open(r->ch) ? 1 : 0;
}

static void real_close(void *v)
{
	struct real *r = v;

	if (r->ch)
		libxenvchan_close(r->ch);
	r->ch = NULL;
}

static void real_free(void *v)
{
	struct real *r = v;

	real_close(r);
	if (r->xs)
		xs_close(r->xs);
	free(r);
}

#define STREAM                                                                                     \
	.fd = real_fd, .clear_event = real_clear_event, .read = real_read, .write = real_write,    \
	.data_ready = real_data_ready, .buffer_space = real_buffer_space, .is_open = real_is_open, \
	.close = real_close, .free = real_free

static const struct qdb_vchan_ops client_ops = { .connect = real_connect, STREAM };
static const struct qdb_vchan_ops server_ops = { .connect = server_connect, STREAM };

static int make(const struct qdb_vchan_ops **ops, void **v, enum kind kind, int domid, int port)
{
	struct real *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->kind = kind;
	r->domid = domid;
	r->port = port;
	*ops = kind == SERVER ? &server_ops : &client_ops;
	*v = r;
	return 0;
}

int qdb_vchan_real(const struct qdb_vchan_ops **ops, void **v, int domid, int port)
{
	return make(ops, v, WATCH, domid, port);
}

int qdb_vchan_dial(const struct qdb_vchan_ops **ops, void **v, int domid, int port)
{
	return make(ops, v, DIAL, domid, port);
}

int qdb_vchan_listen(const struct qdb_vchan_ops **ops, void **v, int domid, int port)
{
	return make(ops, v, SERVER, domid, port);
}
