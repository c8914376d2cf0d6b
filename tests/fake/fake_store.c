// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * xenstore: a flat list of absolute paths, watches on prefixes, transactions as
 * whole copies of the list (stricter than xenstored: any foreign write since the
 * begin makes the commit fail with EAGAIN, so the retry is exercised often).
 *
 * Permissions are those that libxl gives: a domain writes below its own home only;
 * ours reads its home, the frontends that a backend directory of ours is for, and
 * the backend directories that are for ours. Reads also fail where a test denied
 * them, as they do for a destroyed domain.
 */
#include "tests/fake/fake_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TX_CHANGES 128

static char *dup_or_die(const char *s)
{
	char *d = strdup(s);

	if (!d)
		abort();
	return d;
}

/* --- the tree ------------------------------------------------------------------- */
static bool is_below(const char *path, const char *top)
{
	size_t n = strlen(top);

	return strncmp(path, top, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

static uint32_t path_hash(const char *path)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	while (*path)
		h = (h ^ (uint8_t)*path++) * 16777619u;
	return h;
}

static struct fake_node *tree_find(struct fake_tree *t, const char *path)
{
	uint32_t hash = path_hash(path);

	for (size_t i = 0; i < t->n; i++)
		if (t->node[i].hash == hash && strcmp(t->node[i].path, path) == 0)
			return &t->node[i];
	return NULL;
}

static void tree_add(struct fake_tree *t, const char *path, const char *value)
{
	if (t->n == t->room) {
		t->room = t->room ? 2 * t->room : 64;
		t->node = realloc(t->node, t->room * sizeof(*t->node));
		if (!t->node)
			abort();
	}
	t->node[t->n++] =
		(struct fake_node){path_hash(path), dup_or_die(path), dup_or_die(value)};
}

static void tree_set(struct fake_tree *t, const char *path, const char *value)
{
	struct fake_node *node = tree_find(t, path);
	char parent[XEN_PATH_MAX];
	char *slash;

	if (node) {
		free(node->value);
		node->value = dup_or_die(value);
		return;
	}
	snprintf(parent, sizeof(parent), "%s", path);
	slash = strrchr(parent, '/');
	if (slash && slash != parent) {
		*slash = '\0';
		if (!tree_find(t, parent))
			tree_set(t, parent, "");
	}
	tree_add(t, path, value);
}

static bool tree_del(struct fake_tree *t, const char *path)
{
	size_t kept = 0;
	bool found = false;

	for (size_t i = 0; i < t->n; i++) {
		if (is_below(t->node[i].path, path)) {
			free(t->node[i].path);
			free(t->node[i].value);
			found = true;
		} else {
			t->node[kept++] = t->node[i];
		}
	}
	t->n = kept;
	return found;
}

static void tree_free(struct fake_tree *t)
{
	for (size_t i = 0; i < t->n; i++) {
		free(t->node[i].path);
		free(t->node[i].value);
	}
	free(t->node);
	*t = (struct fake_tree){0};
}

static void tree_copy(struct fake_tree *dst, const struct fake_tree *src)
{
	*dst = (struct fake_tree){0};
	for (size_t i = 0; i < src->n; i++)
		tree_add(dst, src->node[i].path, src->node[i].value);
}

/* --- watches ---------------------------------------------------------------------- */
static void watch_queue(struct fake *f, const struct fake_watch *w, const char *abs)
{
	struct fake_event *e;
	size_t home = strlen(w->abs) - strlen(w->path);

	/* beyond the bound nobody drains: a bug of the code under test */
	f->event = fake_grow(f->event, f->nevents, &f->events_room, FAKE_EVENTS,
			     sizeof(*f->event));
	e = &f->event[f->nevents++];
	/* relative for a watch that was set with a relative path */
	snprintf(e->path, sizeof(e->path), "%s", w->path[0] == '/' ? abs : abs + home);
	snprintf(e->token, sizeof(e->token), "%s", w->token);
	fake_signal(f->store_fd);
}

/* A write fires watches on the path and above it; a removal also those below. */
static void watch_fire(struct fake *f, const char *abs, bool removal)
{
	for (size_t i = 0; i < FAKE_WATCHES; i++) {
		const struct fake_watch *w = &f->watch[i];

		if (!w->used)
			continue;
		if (is_below(abs, w->abs))
			watch_queue(f, w, abs);
		else if (removal && is_below(w->abs, abs))
			watch_queue(f, w, w->abs);
	}
}

static void absolute(const struct fake *f, const char *path, char *abs)
{
	if (strlen(path) > XEN_PATH_MAX - 32)
		abort();
	if (path[0] == '/')
		snprintf(abs, XEN_PATH_MAX, "%s", path);
	else
		snprintf(abs, XEN_PATH_MAX, "/local/domain/%u/%s", f->xen.domid, path);
}

/* --- other domains ------------------------------------------------------------------ */
void fake_store_set(struct fake *f, const char *path, const char *fmt, ...)
{
	char value[XEN_VALUE_MAX * 4];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	tree_set(&f->tree, path, value);
	f->generation++;
	watch_fire(f, path, false);
}

const char *fake_store_get(struct fake *f, const char *path)
{
	struct fake_node *node = tree_find(&f->tree, path);

	if (!node)
		return NULL;
	snprintf(f->got, sizeof(f->got), "%s", node->value);
	return f->got;
}

bool fake_store_has(struct fake *f, const char *path)
{
	return tree_find(&f->tree, path) != NULL;
}

void fake_store_del(struct fake *f, const char *path)
{
	if (!tree_del(&f->tree, path))
		return;
	f->generation++;
	watch_fire(f, path, true);
}

void fake_store_deny(struct fake *f, const char *path, int err)
{
	size_t at = FAKE_DENIES;

	for (size_t i = 0; i < FAKE_DENIES; i++) {
		if (strcmp(f->deny[i].path, path) == 0) {
			at = i; /* rather than a free place before it */
			break;
		}
		if (!f->deny[i].err && at == FAKE_DENIES)
			at = i;
	}
	if (at == FAKE_DENIES)
		abort();
	snprintf(f->deny[at].path, sizeof(f->deny[at].path), "%s", path);
	f->deny[at].err = err;
}

void fake_store_fire(struct fake *f, const char *path)
{
	watch_fire(f, path, false);
}

void fake_on_begin(struct fake *f, void (*fn)(void *arg), void *arg)
{
	f->on_begin = fn;
	f->on_begin_arg = arg;
}

bool fake_store_pending(const struct fake *f)
{
	return f->nevents > 0;
}

unsigned int fake_store_nodes(struct fake *f, const char *path)
{
	unsigned int n = 0;

	for (size_t i = 0; i < f->tree.n; i++)
		n += is_below(f->tree.node[i].path, path);
	return n;
}

static bool is_home(uint16_t domid, const char *abs)
{
	char home[64];

	snprintf(home, sizeof(home), "/local/domain/%u", domid);
	return is_below(abs, home);
}

int fake_store_as(struct fake *f, uint16_t domid, const char *path, const char *value)
{
	if (domid != FAKE_TOOLSTACK && !is_home(domid, path))
		return -EACCES;
	if (value)
		fake_store_set(f, path, "%s", value);
	else
		fake_store_del(f, path);
	return 0;
}

/* What libxl lets us read. */
static bool is_readable(struct fake *f, const char *abs)
{
	unsigned int domid, other, devid;
	char node[XEN_PATH_MAX];

	if (is_home(f->xen.domid, abs))
		return true;
	if (sscanf(abs, "/local/domain/%u/backend/vif/%u/%u", &domid, &other, &devid) == 3)
		return other == f->xen.domid;
	if (sscanf(abs, "/local/domain/%u/device/vif/%u", &domid, &devid) != 2)
		return false;
	snprintf(node, sizeof(node), "/local/domain/%u/backend/vif/%u/%u/frontend",
		 f->xen.domid, domid, devid);
	return tree_find(&f->tree, node) != NULL;
}

static int denied(struct fake *f, const char *abs)
{
	for (size_t i = 0; i < FAKE_DENIES; i++)
		if (f->deny[i].err && is_below(abs, f->deny[i].path))
			return f->deny[i].err;
	return is_readable(f, abs) ? 0 : -EACCES;
}

void fake_on_change(struct fake *f, void (*fn)(void *arg, const char *path, const char *value),
		    void *arg)
{
	f->on_change = fn;
	f->on_change_arg = arg;
}

static void changing(struct fake *f, const char *abs, const char *value)
{
	if (f->on_change)
		f->on_change(f->on_change_arg, abs, value);
}

/* --- our operations ------------------------------------------------------------------- */
static struct fake_tx *tx_of(struct fake *f, uint32_t t)
{
	if (t == 0)
		return NULL;
	if (t > FAKE_TX || !f->tx[t - 1].used)
		abort(); /* used after its end */
	return &f->tx[t - 1];
}

int fake_op_store_read(struct xen *x, uint32_t t, const char *path, char *buf, size_t size)
{
	struct fake *f = (struct fake *)x;
	struct fake_tx *tx = tx_of(f, t);
	struct fake_node *node;
	char abs[XEN_PATH_MAX];
	int ret = fake_enter(f, FAKE_STORE_READ);

	if (ret)
		return ret;
	absolute(f, path, abs);
	ret = denied(f, abs);
	if (ret)
		return ret;
	node = tree_find(tx ? &tx->tree : &f->tree, abs);
	if (!node)
		return -ENOENT;
	if (strlen(node->value) >= size)
		return -E2BIG;
	snprintf(buf, size, "%s", node->value);
	return 0;
}

static void tx_note(struct fake_tx *tx, const char *abs, bool removal)
{
	if (tx->nchanged == TX_CHANGES)
		abort();
	snprintf(tx->changed[tx->nchanged], XEN_PATH_MAX, "%s", abs);
	tx->changed_rm[tx->nchanged++] = removal;
}

int fake_op_store_write(struct xen *x, uint32_t t, const char *path, const char *value)
{
	struct fake *f = (struct fake *)x;
	struct fake_tx *tx = tx_of(f, t);
	char abs[XEN_PATH_MAX];
	int ret = fake_enter(f, FAKE_STORE_WRITE);

	if (ret)
		return ret;
	absolute(f, path, abs);
	if (!is_home(f->xen.domid, abs))
		return -EACCES;
	if (tx) {
		tree_set(&tx->tree, abs, value);
		tx_note(tx, abs, false);
		return 0;
	}
	changing(f, abs, value);
	tree_set(&f->tree, abs, value);
	f->generation++;
	watch_fire(f, abs, false);
	return 0;
}

int fake_op_store_rm(struct xen *x, uint32_t t, const char *path)
{
	struct fake *f = (struct fake *)x;
	struct fake_tx *tx = tx_of(f, t);
	char abs[XEN_PATH_MAX];
	int ret = fake_enter(f, FAKE_STORE_RM);

	if (ret)
		return ret;
	absolute(f, path, abs);
	if (!is_home(f->xen.domid, abs))
		return -EACCES;
	if (!tree_find(tx ? &tx->tree : &f->tree, abs))
		return -ENOENT;
	if (tx) {
		tree_del(&tx->tree, abs);
		tx_note(tx, abs, true);
		return 0;
	}
	changing(f, abs, NULL);
	tree_del(&f->tree, abs);
	f->generation++;
	watch_fire(f, abs, true);
	return 0;
}

int fake_op_store_list(struct xen *x, uint32_t t, const char *path,
		       void (*fn)(void *arg, const char *name), void *arg)
{
	struct fake *f = (struct fake *)x;
	struct fake_tx *tx = tx_of(f, t);
	struct fake_tree copy;
	char abs[XEN_PATH_MAX];
	size_t len;
	int ret = fake_enter(f, FAKE_STORE_LIST);

	if (ret)
		return ret;
	absolute(f, path, abs);
	ret = denied(f, abs);
	if (ret)
		return ret;
	if (!tree_find(tx ? &tx->tree : &f->tree, abs))
		return -ENOENT;
	tree_copy(&copy, tx ? &tx->tree : &f->tree); /* fn may write */
	len = strlen(abs);
	for (size_t i = 0; i < copy.n; i++) {
		const char *p = copy.node[i].path;

		if (is_below(p, abs) && p[len] == '/' && !strchr(p + len + 1, '/'))
			fn(arg, p + len + 1);
	}
	tree_free(&copy);
	return 0;
}

int fake_op_store_begin(struct xen *x, uint32_t *t)
{
	struct fake *f = (struct fake *)x;
	int ret = fake_enter(f, FAKE_STORE_BEGIN);

	if (ret)
		return ret;
	if (f->on_begin)
		f->on_begin(f->on_begin_arg);
	for (uint32_t i = 0; i < FAKE_TX; i++) {
		struct fake_tx *tx = &f->tx[i];

		if (tx->used)
			continue;
		*tx = (struct fake_tx){.used = true, .start = f->generation};
		tx->changed = calloc(TX_CHANGES, XEN_PATH_MAX);
		tx->changed_rm = calloc(TX_CHANGES, sizeof(bool));
		if (!tx->changed || !tx->changed_rm)
			abort();
		tree_copy(&tx->tree, &f->tree);
		*t = i + 1;
		return 0;
	}
	return -ENOSPC;
}

static void tx_free(struct fake_tx *tx)
{
	tree_free(&tx->tree);
	free(tx->changed);
	free(tx->changed_rm);
	*tx = (struct fake_tx){0};
}

int fake_op_store_end(struct xen *x, uint32_t t, bool abort_it)
{
	struct fake *f = (struct fake *)x;
	struct fake_tx *tx = tx_of(f, t);
	struct fake_tree swap;
	int ret = fake_enter(f, FAKE_STORE_END);

	if (!tx)
		abort();
	if (!ret && !abort_it && tx->nchanged && f->generation != tx->start)
		ret = -EAGAIN;
	if (ret || abort_it) {
		tx_free(tx);
		return ret;
	}
	for (size_t i = 0; i < tx->nchanged; i++) {
		const struct fake_node *node = tree_find(&tx->tree, tx->changed[i]);

		changing(f, tx->changed[i], node ? node->value : NULL);
	}
	swap = f->tree;
	f->tree = tx->tree;
	tx->tree = swap;
	f->generation += tx->nchanged;
	for (size_t i = 0; i < tx->nchanged; i++)
		watch_fire(f, tx->changed[i], tx->changed_rm[i]);
	tx_free(tx);
	return 0;
}

static struct fake_watch *watch_find(struct fake *f, const char *path, const char *token)
{
	for (size_t i = 0; i < FAKE_WATCHES; i++)
		if (f->watch[i].used && strcmp(f->watch[i].path, path) == 0 &&
		    strcmp(f->watch[i].token, token) == 0)
			return &f->watch[i];
	return NULL;
}

int fake_op_store_watch(struct xen *x, const char *path, const char *token)
{
	struct fake *f = (struct fake *)x;
	int ret = fake_enter(f, FAKE_STORE_WATCH);

	if (ret)
		return ret;
	if (watch_find(f, path, token))
		return -EEXIST;
	for (size_t i = 0; i < FAKE_WATCHES; i++) {
		struct fake_watch *w = &f->watch[i];

		if (w->used)
			continue;
		w->used = true;
		snprintf(w->path, sizeof(w->path), "%s", path);
		snprintf(w->token, sizeof(w->token), "%s", token);
		absolute(f, path, w->abs);
		watch_queue(f, w, w->abs); /* fires at once, as xenstored's */
		return 0;
	}
	return -ENOSPC;
}

int fake_op_store_unwatch(struct xen *x, const char *path, const char *token)
{
	struct fake *f = (struct fake *)x;
	struct fake_watch *w = watch_find(f, path, token);

	if (!w)
		return -ENOENT;
	w->used = false; /* what is queued already will still come */
	return 0;
}

int fake_op_store_event(struct xen *x, char *path, size_t path_size, char *token,
			size_t token_size)
{
	struct fake *f = (struct fake *)x;

	if (f->nevents == 0) {
		fake_unsignal(f->store_fd);
		return -EAGAIN;
	}
	snprintf(path, path_size, "%s", f->event[0].path);
	snprintf(token, token_size, "%s", f->event[0].token);
	memmove(&f->event[0], &f->event[1], --f->nevents * sizeof(f->event[0]));
	return 0;
}

int fake_op_store_fd(struct xen *x)
{
	return ((struct fake *)x)->store_fd;
}

int fake_store_init(struct fake *f)
{
	f->watch = calloc(FAKE_WATCHES, sizeof(*f->watch));
	f->store_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return f->watch && f->store_fd >= 0 ? 0 : -ENOMEM;
}

void fake_store_free(struct fake *f)
{
	for (size_t i = 0; i < FAKE_TX; i++)
		if (f->tx[i].used)
			tx_free(&f->tx[i]);
	tree_free(&f->tree);
	free(f->watch);
	free(f->event);
	if (f->store_fd > 0)
		close(f->store_fd);
}
