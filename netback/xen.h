/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Xen seam of netback/: everything that it asks of the hypervisor.
 *
 * Two implementations: xen_real.c over libxengnttab (with gntalloc sharing),
 * libxenevtchn and libxenstore; tests/fake/, plain memory with failure
 * injection. No type of Linux or of those libraries crosses the seam.
 * /dev/xen/privcmd is never opened (XSA-482).
 */
#ifndef NETBACK_XEN_H
#define NETBACK_XEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XEN_PAGE 4096
#define XEN_PATH_MAX 256
#define XEN_VALUE_MAX 256 /* longer xenstore values are treated as bad */

struct xen;

/** One side of a copy. */
struct xen_copy_end {
	void *local;   /* NULL: the granted page below */
	uint32_t gref;
	uint16_t domid;
	uint16_t off;
};

struct xen_copy {
	struct xen_copy_end src, dst;
	uint16_t len;
	int16_t status; /* out: 0 is success; pre-filled with an error (XSA-316) */
};

struct xen_ops {
	/* --- grants ------------------------------------------------------ */
	/* copy n ops, all local destinations or all granted destinations.
	 * Return 0 (look at every status) or -errno (none succeeded). */
	int (*copy)(struct xen *x, struct xen_copy *ops, size_t n);
	/* map one ring page of a peer, read-write; on its unmap or our exit the
	 * hypervisor does nothing else. */
	int (*map)(struct xen *x, uint16_t domid, uint32_t gref, void **page);
	void (*unmap)(struct xen *x, void *page);
	/* allocate n zeroed pages shared with domid, contiguous here */
	int (*share)(struct xen *x, uint16_t domid, size_t n, bool writable,
		     uint32_t *grefs, void **pages);
	void (*unshare)(struct xen *x, void *pages, size_t n);

	/* --- event channels ------------------------------------------------ */
	int (*bind_interdomain)(struct xen *x, uint16_t domid,
				uint32_t remote_port, uint32_t *port);
	int (*bind_unbound)(struct xen *x, uint16_t domid, uint32_t *port);
	void (*unbind)(struct xen *x, uint32_t port);
	void (*notify)(struct xen *x, uint32_t port);
	/* next pending port (now masked until unmask()); -EAGAIN when none */
	int (*pending)(struct xen *x, uint32_t *port);
	void (*unmask)(struct xen *x, uint32_t port);
	int (*event_fd)(struct xen *x);

	/* --- xenstore; paths relative to the own domain or absolute -------- */
	/* read: NUL terminated; -ENOENT, -EACCES, -E2BIG when it does not fit.
	 * t is a transaction or 0. */
	int (*store_read)(struct xen *x, uint32_t t, const char *path,
			  char *buf, size_t size);
	int (*store_write)(struct xen *x, uint32_t t, const char *path,
			   const char *value);
	int (*store_rm)(struct xen *x, uint32_t t, const char *path);
	/* list: calls fn for each child's name; -ENOENT */
	int (*store_list)(struct xen *x, uint32_t t, const char *path,
			  void (*fn)(void *arg, const char *name), void *arg);
	int (*store_begin)(struct xen *x, uint32_t *t);
	/* -EAGAIN: somebody else wrote; do it all again */
	int (*store_end)(struct xen *x, uint32_t t, bool abort);
	int (*store_watch)(struct xen *x, const char *path, const char *token);
	int (*store_unwatch)(struct xen *x, const char *path, const char *token);
	/* next watch event: its path and token; -EAGAIN when none */
	int (*store_event)(struct xen *x, char *path, size_t path_size,
			   char *token, size_t token_size);
	int (*store_fd)(struct xen *x);

	void (*close)(struct xen *x);
};

/** Every implementation embeds this as its first member. */
struct xen {
	const struct xen_ops *ops;
	uint16_t domid; /* our own */
};

/**
 * xen_real_open() - open gntdev, gntalloc, evtchn and xenstore
 * @err:	one line that names the device and the reason, on failure
 *
 * Return: 0 or -errno.
 */
int xen_real_open(struct xen **out, char *err, size_t err_len);
void xen_close(struct xen **x);

#endif
