/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A Xen in plain memory, for tests.
 *
 * One struct fake is a whole host as our domain sees it: a grant table with the
 * hypervisor's checks, event channels that are masked from delivery to unmask, a
 * xenstore tree with watches and transactions. fake_xen() is our side of it, the
 * seam that the code under test uses; the other functions are the other domains
 * and the toolstack, driven by the test.
 *
 *	fake_grants.c	grant table, copy, map, share
 *	fake_events.c	event channels
 *	fake_store.c	xenstore
 *	front.c		a Linux-like frontend in another domain, over the three
 *
 * Every operation of the seam can be made to fail (fake_fail()), and everything
 * it hands out is counted (fake_use()), so a test compares with its base line.
 */
#ifndef TESTS_FAKE_FAKE_H
#define TESTS_FAKE_FAKE_H

#include "netback/xen.h"

#define FAKE_TOOLSTACK 0 /* domid of dom0 */

/** What can be counted and made to fail. */
enum fake_op {
	FAKE_COPY_CALL, /* a whole copy() */
	FAKE_COPY_OP,	/* one op of it: the error becomes its status */
	FAKE_MAP,
	FAKE_SHARE,
	FAKE_BIND,
	FAKE_NOTIFY,
	FAKE_STORE_READ,
	FAKE_STORE_WRITE,
	FAKE_STORE_RM,
	FAKE_STORE_LIST,
	FAKE_STORE_BEGIN,
	FAKE_STORE_END,
	FAKE_STORE_WATCH,
	FAKE_OP_MAX
};

struct fake_use {
	unsigned int maps, shared_pages, ports, watches, transactions;
};

struct fake;

int fake_new(struct fake **out, uint16_t domid);
void fake_free(struct fake **f);

/** fake_xen() - our side. Its close() is a no-op: fake_free() ends the world. */
struct xen *fake_xen(struct fake *f);

/**
 * fake_fail() - make an operation fail
 * @nth:	which one from now on: 1 is the next
 * @times:	how many from there; UINT32_MAX: all
 * @err:	-errno (FAKE_COPY_OP: a grant status such as -3)
 *
 * One rule for each operation; a new one replaces it. nth 0 takes it away.
 */
void fake_fail(struct fake *f, enum fake_op op, uint32_t nth, uint32_t times, int err);

/** fake_count() - how often the seam's operation was called */
uint64_t fake_count(const struct fake *f, enum fake_op op);
/** fake_failed() - how many calls of all operations failed because they were to */
uint64_t fake_failed(const struct fake *f);

struct fake_use fake_use(const struct fake *f);
/** fake_memory() - bytes that the others' pages and the fake's lists take */
size_t fake_memory(const struct fake *f);

/* --- grants ------------------------------------------------------------------ */
#define FAKE_GNTST_BAD_GREF (-3)
#define FAKE_GNTST_PERMISSION (-8)
#define FAKE_GNTST_BAD_COPY_ARG (-10)

/** fake_page_new() - a zeroed page of another domain; freed with the fake */
void *fake_page_new(struct fake *f);

/** fake_grant() - @owner lets our domain use @page; returns the reference */
uint32_t fake_grant(struct fake *f, uint16_t owner, void *page, bool readonly);
void fake_revoke(struct fake *f, uint16_t owner, uint32_t gref);

/**
 * fake_shared() - what our domain shared with @domid under @gref
 *
 * Return: the page, as that domain would map it, or NULL.
 */
void *fake_shared(struct fake *f, uint16_t domid, uint32_t gref, bool *writable);

/** fake_on_copy() - called before each op of a copy, as another vCPU would run */
void fake_on_copy(struct fake *f, void (*fn)(void *arg, struct xen_copy *op), void *arg);

/* --- event channels ---------------------------------------------------------- */

/** fake_port_new() - @domid allocates a port that we may bind to */
uint32_t fake_port_new(struct fake *f, uint16_t domid);
/** fake_port_bind() - @domid binds to an unbound port of ours; its port, or 0 */
uint32_t fake_port_bind(struct fake *f, uint16_t domid, uint32_t our_port);
/** fake_port_close() - the other domain closes its end */
void fake_port_close(struct fake *f, uint16_t domid, uint32_t port);
/** fake_port_send() - @domid notifies us through its port; false: not bound */
bool fake_port_send(struct fake *f, uint16_t domid, uint32_t port);
/** fake_port_taken() - notifications that arrived at @port since the last call */
unsigned int fake_port_taken(struct fake *f, uint16_t domid, uint32_t port);
/** fake_port_bound() - whether our domain is bound to it */
bool fake_port_bound(struct fake *f, uint16_t domid, uint32_t port);

/* --- xenstore ------------------------------------------------------------------ */

/** fake_store_set() - somebody else writes a node; absolute path */
void fake_store_set(struct fake *f, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/**
 * fake_store_as() - @domid writes a node, or removes it (@value NULL), as xenstored
 * allows it: a guest writes in its own home only, dom0 everywhere
 *
 * Return: 0, -EACCES.
 */
int fake_store_as(struct fake *f, uint16_t domid, const char *path, const char *value);
/** fake_store_get() - a node's value, or NULL; valid until the next write */
const char *fake_store_get(struct fake *f, const char *path);
/** fake_store_has() - whether the node is there */
bool fake_store_has(struct fake *f, const char *path);
/** fake_store_del() - somebody else removes a subtree */
void fake_store_del(struct fake *f, const char *path);
/** fake_store_deny() - our reads and lists below @path give @err; 0 ends it */
void fake_store_deny(struct fake *f, const char *path, int err);
/** fake_store_fire() - a watch event out of nowhere (hp_349_watch_flood) */
void fake_store_fire(struct fake *f, const char *path);
/** fake_on_begin() - called before each of our transactions, as others run */
void fake_on_begin(struct fake *f, void (*fn)(void *arg), void *arg);
/**
 * fake_on_change() - called before each change of ours to xenstore takes effect
 *
 * @fn gets the absolute path and the new value, NULL for a removal; what was there
 * is still there then.
 */
void fake_on_change(struct fake *f,
		    void (*fn)(void *arg, const char *path, const char *value), void *arg);
/** fake_store_pending() - whether watch events wait for us */
bool fake_store_pending(const struct fake *f);
/** fake_store_nodes() - nodes at and below @path */
unsigned int fake_store_nodes(struct fake *f, const char *path);

/**
 * fake_domain_destroy() - what xl destroy does to another domain
 * @err:	what reading below its home gives from now on: -ENOENT or -EACCES
 *
 * Its grants end (pages that we mapped stay, as a zombie's do), its ports close.
 */
void fake_domain_destroy(struct fake *f, uint16_t domid, int err);

#endif
