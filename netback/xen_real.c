// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The seam over the Linux devices, by libxengnttab, libxenevtchn, libxenstore.
 *
 * /dev/xen/gntdev	copies, and maps of ring pages only (XSA-218)
 * /dev/xen/gntalloc	pages of ours that the uplink's backend may use
 * /dev/xen/evtchn	one descriptor for all ports
 * xenstore		/dev/xen/xenbus or the socket; libxenstore reads watch
 *			events in a thread of its own and hands them over by a pipe
 *
 * /dev/xen/privcmd is never opened: none of these libraries needs it (XSA-482).
 *
 * A grant map is done by one hypercall; a copy is one ioctl for a batch, which
 * the kernel cuts into hypercalls of 16 ops.
 */
#include "netback/xen.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>
#include <xentoollog.h>

#define SEG_MAX 2048 /* ops in one ioctl; longer batches take more of them */
#define FIRED_MAX 64 /* pending ports taken from the kernel by one read() */
#define GNTALLOC_LIMIT "/sys/module/xen_gntalloc/parameters/limit"
/* Pages that may be shared: an uplink takes 514, and those of a dead backend
 * stay charged until it unmaps them. The kernel's default is 1024. */
#define GNTALLOC_PAGES "4096"

struct xen_real {
	struct xen xen; /* first */
	xengnttab_handle *gnttab;
	xengntshr_handle *gntshr;
	xenevtchn_handle *evtchn;
	struct xs_handle *xs;
	xengnttab_grant_copy_segment_t *seg;
	/* ports that one read() reported and pending() has not handed out yet */
	uint32_t fired[FIRED_MAX];
	unsigned int fired_at, fired_n;
};

/*
 * The libraries describe each failing ioctl on stderr by themselves. What fails
 * here is often a peer's doing (a reference that is gone), so that would be its
 * way to fill our log (hp_043_log_flood); the caller has errno and says it once.
 */
static void quiet_message(struct xentoollog_logger *logger, xentoollog_level level, int errnoval,
			  const char *context, const char *format, va_list al)
{
	(void)logger;
	(void)level;
	(void)errnoval;
	(void)context;
	(void)format;
	(void)al;
}

static void quiet_progress(struct xentoollog_logger *logger, const char *context,
			   const char *doing_what, int percent, unsigned long done,
			   unsigned long total)
{
	(void)logger;
	(void)context;
	(void)doing_what;
	(void)percent;
	(void)done;
	(void)total;
}

static void quiet_destroy(struct xentoollog_logger *logger)
{
	(void)logger;
}

static struct xentoollog_logger quiet = {
	.vmessage = quiet_message,
	.progress = quiet_progress,
	.destroy = quiet_destroy,
};

static struct xen_real *real_of(struct xen *x)
{
	return (struct xen_real *)x;
}

/* The libraries set errno; -EIO where they forgot. */
static int last_error(void)
{
	return errno > 0 ? -errno : -EIO;
}

/* --- grants ----------------------------------------------------------------------- */
static void seg_end(union xengnttab_copy_ptr *to, const struct xen_copy_end *end, uint16_t *flags,
		    uint16_t flag)
{
	if (end->local) {
		to->virt = end->local;
		return;
	}
	to->foreign.ref = end->gref;
	to->foreign.offset = end->off;
	to->foreign.domid = end->domid;
	*flags |= flag;
}

static int real_copy_some(struct xen_real *r, struct xen_copy *ops, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		xengnttab_grant_copy_segment_t *s = &r->seg[i];

		*s = (xengnttab_grant_copy_segment_t){.len = ops[i].len, .status = ops[i].status};
		seg_end(&s->source, &ops[i].src, &s->flags, GNTCOPY_source_gref);
		seg_end(&s->dest, &ops[i].dst, &s->flags, GNTCOPY_dest_gref);
	}
	if (xengnttab_grant_copy(r->gnttab, (uint32_t)n, r->seg))
		return last_error();
	for (size_t i = 0; i < n; i++)
		ops[i].status = r->seg[i].status;
	return 0;
}

static int real_copy(struct xen *x, struct xen_copy *ops, size_t n)
{
	int ret = -EINVAL;
	bool any = false;

	for (size_t i = 0; i < n; i += SEG_MAX) {
		size_t k = n - i < SEG_MAX ? n - i : SEG_MAX;

		ret = real_copy_some(real_of(x), ops + i, k);
		any |= ret == 0; /* the rest keeps its error statuses */
	}
	return any ? 0 : ret;
}

static int real_map(struct xen *x, uint16_t domid, uint32_t gref, void **page)
{
	void *p;

	errno = 0;
	p = xengnttab_map_domain_grant_refs(real_of(x)->gnttab, 1, domid, &gref,
					    PROT_READ | PROT_WRITE);
	if (!p)
		return last_error();
	*page = p;
	return 0;
}

static void real_unmap(struct xen *x, void *page)
{
	xengnttab_unmap(real_of(x)->gnttab, page, 1);
}

static int real_share(struct xen *x, uint16_t domid, size_t n, bool writable, uint32_t *grefs,
		      void **pages)
{
	struct xen_real *r = real_of(x);
	void *p;

	if (!r->gntshr) {
		/* opened when first needed: a firewall whose uplink is a TAP
		 * needs no gntalloc */
		r->gntshr = xengntshr_open(&quiet, 0);
		if (!r->gntshr)
			return last_error();
	}
	errno = 0;
	p = xengntshr_share_pages(r->gntshr, domid, (int)n, grefs, writable);
	if (!p)
		return last_error();
	/* hp_216_no_leak_in_slots, hp_403_tail_zeroed: nothing of before */
	memset(p, 0, n * XEN_PAGE);
	*pages = p;
	return 0;
}

static void real_unshare(struct xen *x, void *pages, size_t n)
{
	xengntshr_unshare(real_of(x)->gntshr, pages, (uint32_t)n);
}

/* --- event channels ------------------------------------------------------------------ */
static int real_bind_interdomain(struct xen *x, uint16_t domid, uint32_t remote, uint32_t *port)
{
	xenevtchn_port_or_error_t p =
		xenevtchn_bind_interdomain(real_of(x)->evtchn, domid, remote);

	if (p < 0)
		return last_error();
	*port = (uint32_t)p;
	return 0;
}

static int real_bind_unbound(struct xen *x, uint16_t domid, uint32_t *port)
{
	xenevtchn_port_or_error_t p = xenevtchn_bind_unbound_port(real_of(x)->evtchn, domid);

	if (p < 0)
		return last_error();
	*port = (uint32_t)p;
	return 0;
}

static void real_unbind(struct xen *x, uint32_t port)
{
	xenevtchn_unbind(real_of(x)->evtchn, port);
}

static void real_notify(struct xen *x, uint32_t port)
{
	xenevtchn_notify(real_of(x)->evtchn, port);
}

/*
 * The device reports any number of pending ports in one read(), as an array of
 * u32 (linux/include/uapi/xen/evtchn.h); xenevtchn_pending() would take them one
 * by one, and a system call of a PV guest goes through the hypervisor. A read that
 * did not fill the array emptied the queue, so it is not repeated to hear EAGAIN.
 */
static int real_pending(struct xen *x, uint32_t *port)
{
	struct xen_real *r = real_of(x);

	if (r->fired_at == r->fired_n) {
		bool emptied = r->fired_n > 0 && r->fired_n < FIRED_MAX;
		ssize_t n;

		r->fired_at = r->fired_n = 0;
		if (emptied)
			return -EAGAIN;
		n = read(xenevtchn_fd(r->evtchn), r->fired, sizeof(r->fired));
		if (n < 0)
			return last_error();
		r->fired_n = (unsigned int)((size_t)n / sizeof(r->fired[0]));
		if (r->fired_n == 0)
			return -EAGAIN;
	}
	*port = r->fired[r->fired_at++];
	return 0;
}

static void real_unmask(struct xen *x, uint32_t port)
{
	xenevtchn_unmask(real_of(x)->evtchn, port);
}

static int real_event_fd(struct xen *x)
{
	return xenevtchn_fd(real_of(x)->evtchn);
}

/* --- xenstore ---------------------------------------------------------------------- */
static int real_store_read(struct xen *x, uint32_t t, const char *path, char *buf, size_t size)
{
	unsigned int len;
	char *value;
	int ret = 0;

	errno = 0;
	value = xs_read(real_of(x)->xs, t, path, &len);
	if (!value)
		return last_error();
	if (len >= size)
		ret = -E2BIG;
	else if (memchr(value, '\0', len))
		ret = -EINVAL; /* text with a NUL inside is no text */
	else
		memcpy(buf, value, len + 1); /* libxenstore terminates it */
	free(value);
	return ret;
}

static int real_store_write(struct xen *x, uint32_t t, const char *path, const char *value)
{
	errno = 0;
	if (!xs_write(real_of(x)->xs, t, path, value, (unsigned int)strlen(value)))
		return last_error();
	return 0;
}

static int real_store_rm(struct xen *x, uint32_t t, const char *path)
{
	errno = 0;
	return xs_rm(real_of(x)->xs, t, path) ? 0 : last_error();
}

static int real_store_list(struct xen *x, uint32_t t, const char *path,
			   void (*fn)(void *arg, const char *name), void *arg)
{
	unsigned int n;
	char **names;

	errno = 0;
	names = xs_directory(real_of(x)->xs, t, path, &n);
	if (!names)
		return last_error();
	for (unsigned int i = 0; i < n; i++)
		fn(arg, names[i]);
	free(names);
	return 0;
}

static int real_store_begin(struct xen *x, uint32_t *t)
{
	xs_transaction_t id;

	errno = 0;
	id = xs_transaction_start(real_of(x)->xs);
	if (id == XBT_NULL)
		return last_error();
	*t = id;
	return 0;
}

static int real_store_end(struct xen *x, uint32_t t, bool abort)
{
	errno = 0;
	return xs_transaction_end(real_of(x)->xs, t, abort) ? 0 : last_error();
}

static int real_store_watch(struct xen *x, const char *path, const char *token)
{
	errno = 0;
	return xs_watch(real_of(x)->xs, path, token) ? 0 : last_error();
}

static int real_store_unwatch(struct xen *x, const char *path, const char *token)
{
	errno = 0;
	return xs_unwatch(real_of(x)->xs, path, token) ? 0 : last_error();
}

static int real_store_event(struct xen *x, char *path, size_t path_size, char *token,
			    size_t token_size)
{
	char **event;

	errno = 0;
	event = xs_check_watch(real_of(x)->xs);
	if (!event)
		return last_error();
	/* only our own watches come here, so neither is longer than what we
	 * registered but for the path below a watched directory */
	if (strlen(event[XS_WATCH_PATH]) >= path_size)
		path[0] = '\0'; /* too deep to be a node of ours: the token remains */
	else
		snprintf(path, path_size, "%s", event[XS_WATCH_PATH]);
	snprintf(token, token_size, "%s", event[XS_WATCH_TOKEN]);
	free(event);
	return 0;
}

static int real_store_fd(struct xen *x)
{
	return xs_fileno(real_of(x)->xs);
}

/* --- life ------------------------------------------------------------------------------ */
static void real_close(struct xen *x)
{
	struct xen_real *r = real_of(x);

	if (r->xs)
		xs_close(r->xs);
	if (r->evtchn)
		xenevtchn_close(r->evtchn);
	if (r->gntshr)
		xengntshr_close(r->gntshr);
	if (r->gnttab)
		xengnttab_close(r->gnttab);
	free(r->seg);
	free(r);
}

static const struct xen_ops real_ops = {
	.copy = real_copy,
	.map = real_map,
	.unmap = real_unmap,
	.share = real_share,
	.unshare = real_unshare,
	.bind_interdomain = real_bind_interdomain,
	.bind_unbound = real_bind_unbound,
	.unbind = real_unbind,
	.notify = real_notify,
	.pending = real_pending,
	.unmask = real_unmask,
	.event_fd = real_event_fd,
	.store_read = real_store_read,
	.store_write = real_store_write,
	.store_rm = real_store_rm,
	.store_list = real_store_list,
	.store_begin = real_store_begin,
	.store_end = real_store_end,
	.store_watch = real_store_watch,
	.store_unwatch = real_store_unwatch,
	.store_event = real_store_event,
	.store_fd = real_store_fd,
	.close = real_close,
};

/* Raising it needs root and the module; without either the default stands, and
 * sharing says ENOSPC when it does not suffice. */
static void raise_gntalloc_limit(void)
{
	int fd = open(GNTALLOC_LIMIT, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, GNTALLOC_PAGES, strlen(GNTALLOC_PAGES)) < 0)
		errno = 0;
	close(fd);
}

static int open_failed(struct xen_real *r, const char *what, char *err, size_t err_len)
{
	int ret = last_error();

	snprintf(err, err_len, "%s: %s%s", what, strerror(-ret),
		 ret == -ENOENT ? " (not a Xen guest? use --tap)" : "");
	real_close(&r->xen);
	return ret;
}

/* xenevtchn_pending() must not block when a port went away between poll and
 * read; the libraries leave their descriptors blocking. */
static int set_nonblock(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static int read_domid(struct xen_real *r)
{
	char buf[16];
	unsigned long v;
	char *end;
	int ret = real_store_read(&r->xen, 0, "domid", buf, sizeof(buf));

	if (ret) {
		errno = -ret;
		return -1;
	}
	errno = 0;
	v = strtoul(buf, &end, 10);
	if (errno || end == buf || *end || v > UINT16_MAX) {
		errno = EINVAL;
		return -1;
	}
	r->xen.domid = (uint16_t)v;
	return 0;
}

int xen_real_open(struct xen **out, char *err, size_t err_len)
{
	struct xen_real *r = calloc(1, sizeof(*r));

	if (!r) {
		snprintf(err, err_len, "Xen: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	r->xen.ops = &real_ops;
	errno = 0;
	r->seg = calloc(SEG_MAX, sizeof(*r->seg));
	if (!r->seg)
		return open_failed(r, "Xen", err, err_len);
	r->gnttab = xengnttab_open(&quiet, 0);
	if (!r->gnttab)
		return open_failed(r, "/dev/xen/gntdev", err, err_len);
	r->evtchn = xenevtchn_open(&quiet, 0);
	if (!r->evtchn || set_nonblock(xenevtchn_fd(r->evtchn)))
		return open_failed(r, "/dev/xen/evtchn", err, err_len);
	r->xs = xs_open(XS_UNWATCH_FILTER);
	if (!r->xs)
		return open_failed(r, "/dev/xen/xenbus", err, err_len);
	if (read_domid(r))
		return open_failed(r, "xenstore node domid", err, err_len);
	raise_gntalloc_limit();
	*out = &r->xen;
	return 0;
}
