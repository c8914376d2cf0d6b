// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What is asked of libxenvchan and libxenstore, and what is made of their answers:
 * the seam over functions of the libraries' names, which stand before theirs.
 */
#include <errno.h>
#include <stdlib.h>

#include <libxenvchan.h>
#include <xenstore.h>

#include "qubesdb/vchan.h"
#include "tests/unit/check.h"

static struct {
	bool store, keys; /* there is a xenstore; the server has announced itself */
	struct libxenvchan ch;
	struct vchan_interface page;
	int error, open; /* of the next vchan; what is_open says */
	unsigned stores, store_opens, watches, closes, removed;
	char path[96], key[96], removed_path[96];
	size_t left, right;
} lib;

struct xs_handle *xs_open(unsigned long flags)
{
	(void)flags;
	errno = ENOENT;
	if (!lib.store)
		return NULL;
	lib.stores++;
	lib.store_opens++;
	return (struct xs_handle *)&lib.stores;
}

void xs_close(struct xs_handle *xs)
{
	CHECK(xs == (struct xs_handle *)&lib.stores && lib.stores > 0);
	lib.stores--;
}

void *xs_read(struct xs_handle *xs, xs_transaction_t t, const char *path, unsigned *len)
{
	const char *value = strcmp(path, "domid") == 0 ? "9" : lib.keys ? "17" : NULL;

	(void)xs;
	(void)t;
	if (strcmp(path, "domid") != 0)
		snprintf(lib.key, sizeof(lib.key), "%s", path);
	*len = value ? (unsigned)strlen(value) : 0;
	return value ? strdup(value) : NULL;
}

bool xs_watch(struct xs_handle *xs, const char *path, const char *token)
{
	(void)xs;
	(void)path;
	(void)token;
	lib.watches++;
	return true;
}

char **xs_check_watch(struct xs_handle *xs)
{
	(void)xs;
	return NULL;
}

int xs_fileno(struct xs_handle *xs)
{
	(void)xs;
	return 77;
}

bool xs_rm(struct xs_handle *xs, xs_transaction_t t, const char *path)
{
	(void)xs;
	(void)t;
	lib.removed++;
	snprintf(lib.removed_path, sizeof(lib.removed_path), "%s", path);
	return true;
}

static struct libxenvchan *make_vchan(const char *path)
{
	snprintf(lib.path, sizeof(lib.path), "%s", path);
	errno = lib.error;
	return lib.error == -1 ? (errno = 0, NULL) : lib.error ? NULL : &lib.ch;
}

struct libxenvchan *libxenvchan_client_init(struct xentoollog_logger *log, int domid,
					    const char *path)
{
	(void)log;
	CHECK_INT(domid, 5);
	return make_vchan(path);
}

struct libxenvchan *libxenvchan_server_init(struct xentoollog_logger *log, int domid,
					    const char *path, size_t left, size_t right)
{
	(void)log;
	CHECK_INT(domid, 0);
	lib.left = left;
	lib.right = right;
	return make_vchan(path);
}

void libxenvchan_close(struct libxenvchan *ch)
{
	CHECK(ch == &lib.ch);
	lib.closes++;
}

int libxenvchan_is_open(struct libxenvchan *ch)
{
	(void)ch;
	return lib.open;
}

int libxenvchan_fd_for_select(struct libxenvchan *ch)
{
	(void)ch;
	return 88;
}

static void fresh(void)
{
	memset(&lib, 0, sizeof(lib));
	lib.store = true;
	lib.open = 1;
	lib.ch.read.order = lib.ch.write.order = 12;
	lib.ch.read.shr = &lib.page.right;
	lib.ch.write.shr = &lib.page.left;
	lib.ch.blocking = 1;
}

static void test_dial(void)
{
	const struct qdb_vchan_ops *ops;
	void *v;

	test_case("dial: no Xen");
	fresh();
	lib.store = false;
	CHECK_INT(qdb_vchan_dial(&ops, &v, 5, 600), 0);
	CHECK_INT(ops->connect(v), -ENOENT);
	CHECK_INT(ops->fd(v), -1);

	test_case("dial: nobody there yet, and no watch for it");
	lib.store = true;
	CHECK_INT(ops->connect(v), -EAGAIN);
	CHECK_STR(lib.key, "/local/domain/5/data/vchan/9/600/event-channel");
	CHECK_INT(ops->connect(v), -EAGAIN);
	CHECK_INT(lib.watches, 0);
	CHECK_INT(lib.store_opens, 1);
	CHECK_INT(ops->fd(v), -1);
	CHECK(!ops->clear_event(v));

	test_case("dial: the peer's keys are there; xenstore is not needed any more");
	lib.keys = true;
	CHECK_INT(ops->connect(v), 0);
	CHECK_STR(lib.path, "/local/domain/5/data/vchan/9/600");
	CHECK_INT(lib.ch.blocking, 0);
	CHECK_INT(ops->fd(v), 88);
	CHECK_INT(lib.stores, 0);
	CHECK_INT(ops->is_open(v), 1);
	ops->free(v);
	CHECK_INT(lib.closes, 1);

	test_case("dial: an error has a number");
	for (int error = EACCES;; error = -1) {
		fresh();
		lib.keys = true;
		lib.error = error;
		CHECK_INT(qdb_vchan_dial(&ops, &v, 5, 600), 0);
		CHECK_INT(ops->connect(v), error == -1 ? -EIO : -EACCES);
		ops->free(v);
		CHECK_INT(lib.closes, 0);
		CHECK_INT(lib.stores, 0);
		if (error == -1)
			break;
	}
}

/* hp_size: the peer chooses the rings, and all of them is mapped. */
static void test_orders(void)
{
	const struct qdb_vchan_ops *ops;
	void *v;

	test_case("a ring of 64 KiB is the largest");
	for (int which = 0; which < 2; which++) {
		for (int order = 16; order < 18; order++) {
			fresh();
			lib.keys = true;
			*(which ? &lib.ch.read.order : &lib.ch.write.order) = order;
			CHECK_INT(qdb_vchan_dial(&ops, &v, 5, 600), 0);
			CHECK_INT(ops->connect(v), order == 16 ? 0 : -EPROTO);
			CHECK_INT(lib.closes, order == 17);
			ops->free(v);
			CHECK_INT(lib.closes, 1);
			CHECK_INT(lib.stores, 0);
		}
	}

	test_case("impossible indices");
	for (int which = 0; which < 2; which++) {
		struct ring_shared *ring = which ? &lib.page.left : &lib.page.right;

		fresh();
		lib.keys = true;
		CHECK_INT(qdb_vchan_dial(&ops, &v, 5, 600), 0);
		CHECK_INT(ops->connect(v), 0);
		ring->prod = 4096;
		CHECK_INT(ops->is_open(v), 1);
		ring->prod = 4097;
		CHECK_INT(ops->is_open(v), -EPROTO);
		ring->prod = 0;
		ring->cons = 1;
		CHECK_INT(ops->is_open(v), -EPROTO);
		ops->free(v);
	}
}

static void test_watch(void)
{
	const struct qdb_vchan_ops *ops;
	void *v;

	test_case("with a watch: its descriptor tells, and stays");
	fresh();
	CHECK_INT(qdb_vchan_real(&ops, &v, 5, 111), 0);
	CHECK_INT(ops->connect(v), -EAGAIN);
	CHECK_INT(lib.watches, 1);
	CHECK_INT(ops->fd(v), 77);
	lib.keys = true;
	CHECK_INT(ops->connect(v), 0);
	CHECK_INT(ops->fd(v), 88);
	ops->close(v);
	CHECK_INT(lib.closes, 1);
	CHECK_INT(ops->fd(v), 77);
	CHECK_INT(lib.stores, 1);
	ops->free(v);
	CHECK_INT(lib.stores, 0);
}

static void test_listen(void)
{
	const struct qdb_vchan_ops *ops;
	void *v;

	test_case("listen: one server, and its descriptor while nobody has come");
	fresh();
	lib.open = 2;
	CHECK_INT(qdb_vchan_listen(&ops, &v, 0, 512), 0);
	CHECK_INT(ops->fd(v), -1);
	CHECK_INT(ops->connect(v), -EAGAIN);
	CHECK_STR(lib.path, "data/vchan/0/512");
	CHECK(lib.left == 4096 && lib.right == 4096);
	lib.path[0] = '\0';
	CHECK_INT(ops->connect(v), -EAGAIN);
	CHECK_STR(lib.path, "");
	CHECK_INT(ops->fd(v), 88);
	CHECK_INT(lib.ch.blocking, 0);
	CHECK_INT(lib.removed, 0);

	test_case("listen: with the client its keys go");
	lib.open = 1;
	CHECK_INT(ops->connect(v), 0);
	CHECK_INT(lib.removed, 1);
	CHECK_STR(lib.removed_path, "data/vchan/0/512");
	CHECK_INT(lib.stores, 0);
	ops->free(v);
	CHECK_INT(lib.closes, 1);

	test_case("listen: an error is never \"not yet\"");
	for (int i = 0; i < 3; i++) {
		static const int errors[] = {ENOSPC, EAGAIN, -1};
		static const int want[] = {-ENOSPC, -EIO, -EIO};

		fresh();
		lib.error = errors[i];
		CHECK_INT(qdb_vchan_listen(&ops, &v, 0, 512), 0);
		CHECK_INT(ops->connect(v), want[i]);
		CHECK_INT(ops->fd(v), -1);
		ops->free(v);
		CHECK_INT(lib.closes, 0);
	}
}

int main(void)
{
	test_dial();
	test_orders();
	test_watch();
	test_listen();
	return test_end();
}
