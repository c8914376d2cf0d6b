// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The fake's life, its table of operations, failure injection and accounts.
 */
#include "tests/fake/fake_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void fake_op_close(struct xen *x)
{
	(void)x; /* the world goes on: fake_free() */
}

static const struct xen_ops fake_ops = {
    .copy = fake_op_copy,
    .map = fake_op_map,
    .unmap = fake_op_unmap,
    .share = fake_op_share,
    .unshare = fake_op_unshare,
    .bind_interdomain = fake_op_bind_interdomain,
    .bind_unbound = fake_op_bind_unbound,
    .unbind = fake_op_unbind,
    .notify = fake_op_notify,
    .pending = fake_op_pending,
    .unmask = fake_op_unmask,
    .event_fd = fake_op_event_fd,
    .store_read = fake_op_store_read,
    .store_write = fake_op_store_write,
    .store_rm = fake_op_store_rm,
    .store_list = fake_op_store_list,
    .store_begin = fake_op_store_begin,
    .store_end = fake_op_store_end,
    .store_watch = fake_op_store_watch,
    .store_unwatch = fake_op_store_unwatch,
    .store_event = fake_op_store_event,
    .store_fd = fake_op_store_fd,
    .close = fake_op_close,
};

int fake_new(struct fake **out, uint16_t domid)
{
	struct fake *f = calloc(1, sizeof(*f));
	char home[XEN_PATH_MAX];
	int ret;

	if (!f)
		return -ENOMEM;
	f->xen.ops = &fake_ops;
	f->xen.domid = domid;
	ret = fake_grants_init(f);
	if (!ret)
		ret = fake_events_init(f);
	if (!ret)
		ret = fake_store_init(f);
	if (ret) {
		fake_free(&f);
		return ret;
	}
	snprintf(home, sizeof(home), "/local/domain/%u/domid", domid);
	fake_store_set(f, home, "%u", domid);
	*out = f;
	return 0;
}

void fake_free(struct fake **fp)
{
	struct fake *f = *fp;

	if (!f)
		return;
	fake_store_free(f);
	fake_events_free(f);
	fake_grants_free(f);
	free(f);
	*fp = NULL;
}

struct xen *fake_xen(struct fake *f)
{
	return &f->xen;
}

void fake_fail(struct fake *f, enum fake_op op, uint32_t nth, uint32_t times, int err)
{
	uint64_t from = f->count[op] + nth;

	f->rule[op] = (struct fake_rule){0};
	if (nth)
		f->rule[op] =
		    (struct fake_rule){.from = from,
				       .to = times == UINT32_MAX ? UINT64_MAX : from + times,
				       .err = err};
}

int fake_enter(struct fake *f, enum fake_op op)
{
	const struct fake_rule *r = &f->rule[op];
	uint64_t n = ++f->count[op];

	if (!r->err || n < r->from || n >= r->to)
		return 0;
	f->failed++;
	return r->err;
}

uint64_t fake_failed(const struct fake *f)
{
	return f->failed;
}

uint64_t fake_count(const struct fake *f, enum fake_op op)
{
	return f->count[op];
}

struct fake_use fake_use(const struct fake *f)
{
	struct fake_use u = {.maps = f->maps, .shared_pages = f->shared_pages};

	for (size_t i = 0; i < f->ports_top; i++)
		u.ports += f->port[i].used;
	for (size_t i = 0; i < FAKE_WATCHES; i++)
		u.watches += f->watch[i].used;
	for (size_t i = 0; i < FAKE_TX; i++)
		u.transactions += f->tx[i].used;
	return u;
}

size_t fake_memory(const struct fake *f)
{
	size_t n = f->npages * XEN_PAGE + f->pages_room * sizeof(*f->page) +
		   f->grants_room * sizeof(*f->grant) + f->events_room * sizeof(*f->event) +
		   f->tree.room * sizeof(*f->tree.node);

	for (size_t i = 0; i < f->tree.n; i++)
		n += strlen(f->tree.node[i].path) + strlen(f->tree.node[i].value) + 2;
	return n;
}

void *fake_grow(void *array, size_t n, size_t *room, size_t max, size_t size)
{
	size_t want = *room ? 2 * *room : 64;

	if (n < *room)
		return array;
	if (n >= max)
		abort();
	array = realloc(array, want * size);
	if (!array)
		abort();
	*room = want;
	return array;
}

void fake_signal(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		abort();
}

void fake_unsignal(int fd)
{
	uint64_t all;

	if (read(fd, &all, sizeof(all)) < 0 && errno != EAGAIN)
		abort();
}

void fake_domain_destroy(struct fake *f, uint16_t domid, int err)
{
	char home[XEN_PATH_MAX];

	snprintf(home, sizeof(home), "/local/domain/%u", domid);
	fake_grants_of_end(f, domid);
	fake_ports_of_end(f, domid);
	fake_store_deny(f, home, err);
	fake_store_del(f, home);
}
