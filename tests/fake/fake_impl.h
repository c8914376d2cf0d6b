/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to tests/fake/: the state behind the operations. */
#ifndef TESTS_FAKE_FAKE_IMPL_H
#define TESTS_FAKE_FAKE_IMPL_H

#include "tests/fake/fake.h"

#define FAKE_GRANTS 65536 /* at most; both lists grow to that */
#define FAKE_PORTS 4096
#define FAKE_WATCHES 300
#define FAKE_EVENTS 8192
#define FAKE_DENIES 64
#define FAKE_TX 8
#define FAKE_PAGES 65536

struct fake_grant {
	bool used, readonly, ours;
	uint16_t domid; /* owner, or with ours: who may use it */
	uint32_t gref;
	uint8_t *page;
};

/* One interdomain channel; our end is its index here. */
struct fake_port {
	bool used, bound;	/* our end exists; the two ends are joined */
	bool pending, queued, masked;
	uint16_t domid;		/* the other end's domain */
	uint32_t remote;	/* its port, 0: none yet */
	bool remote_used;
	unsigned int taken;	/* notifications that arrived over there */
};

struct fake_node {
	uint32_t hash; /* of the path */
	char *path, *value;
};

struct fake_tree {
	struct fake_node *node;
	size_t n, room;
};

struct fake_watch {
	bool used;
	char path[XEN_PATH_MAX]; /* as registered */
	char abs[XEN_PATH_MAX];
	char token[64];
};

struct fake_event {
	char path[XEN_PATH_MAX];
	char token[64];
};

struct fake_tx {
	bool used;
	uint64_t start; /* store generation when it began */
	struct fake_tree tree;
	char (*changed)[XEN_PATH_MAX];
	bool *changed_rm;
	size_t nchanged;
};

struct fake_rule {
	uint64_t from, to; /* counts of calls that fail */
	int err;
};

struct fake {
	struct xen xen; /* first: the seam's pointer is ours */

	uint64_t count[FAKE_OP_MAX];
	struct fake_rule rule[FAKE_OP_MAX];
	uint64_t failed;

	struct fake_grant *grant;
	size_t ngrants, grants_room;
	uint32_t next_gref;
	void **page; /* of other domains, freed at the end */
	size_t npages, pages_room;
	unsigned int maps, shared_pages;
	void (*on_copy)(void *arg, struct xen_copy *op);
	void *on_copy_arg;

	struct fake_port *port;
	uint32_t ports_top; /* all in use are below it */
	uint32_t queue[FAKE_PORTS]; /* pending ports, oldest first */
	size_t queued;
	uint32_t next_remote;
	int event_fd, store_fd;

	struct fake_tree tree;
	uint64_t generation;
	void (*on_begin)(void *arg);
	void *on_begin_arg;
	void (*on_change)(void *arg, const char *path, const char *value);
	void *on_change_arg;
	struct fake_watch *watch;
	struct fake_event *event;
	size_t nevents, events_room;
	struct fake_tx tx[FAKE_TX];
	struct {
		char path[XEN_PATH_MAX];
		int err;
	} deny[FAKE_DENIES];
	char got[XEN_VALUE_MAX];
};

/* Count one call; the error when it is to fail, else 0. */
int fake_enter(struct fake *f, enum fake_op op);
/* Room for one more in an array that doubles; aborts above @max. */
void *fake_grow(void *array, size_t n, size_t *room, size_t max, size_t size);
void fake_signal(int fd);
void fake_unsignal(int fd);

int fake_grants_init(struct fake *f);
void fake_grants_free(struct fake *f);
int fake_events_init(struct fake *f);
void fake_events_free(struct fake *f);
int fake_store_init(struct fake *f);
void fake_store_free(struct fake *f);

/* The operations. */
int fake_op_copy(struct xen *x, struct xen_copy *ops, size_t n);
int fake_op_map(struct xen *x, uint16_t domid, uint32_t gref, void **page);
void fake_op_unmap(struct xen *x, void *page);
int fake_op_share(struct xen *x, uint16_t domid, size_t n, bool writable, uint32_t *grefs,
		  void **pages);
void fake_op_unshare(struct xen *x, void *pages, size_t n);
void fake_grants_of_end(struct fake *f, uint16_t domid);

int fake_op_bind_interdomain(struct xen *x, uint16_t domid, uint32_t remote, uint32_t *port);
int fake_op_bind_unbound(struct xen *x, uint16_t domid, uint32_t *port);
void fake_op_unbind(struct xen *x, uint32_t port);
void fake_op_notify(struct xen *x, uint32_t port);
int fake_op_pending(struct xen *x, uint32_t *port);
void fake_op_unmask(struct xen *x, uint32_t port);
int fake_op_event_fd(struct xen *x);
void fake_ports_of_end(struct fake *f, uint16_t domid);

int fake_op_store_read(struct xen *x, uint32_t t, const char *path, char *buf, size_t size);
int fake_op_store_write(struct xen *x, uint32_t t, const char *path, const char *value);
int fake_op_store_rm(struct xen *x, uint32_t t, const char *path);
int fake_op_store_list(struct xen *x, uint32_t t, const char *path,
		       void (*fn)(void *arg, const char *name), void *arg);
int fake_op_store_begin(struct xen *x, uint32_t *t);
int fake_op_store_end(struct xen *x, uint32_t t, bool abort);
int fake_op_store_watch(struct xen *x, const char *path, const char *token);
int fake_op_store_unwatch(struct xen *x, const char *path, const char *token);
int fake_op_store_event(struct xen *x, char *path, size_t path_size, char *token,
			size_t token_size);
int fake_op_store_fd(struct xen *x);

#endif
