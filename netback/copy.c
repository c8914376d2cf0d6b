// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Batches of grant copies.
 *
 * Two lists, because one call must not mix local sources with local
 * destinations: "in" (granted page -> local) and "out" (anything -> granted
 * page). Ops stay in the order in which they were queued: ports queue the pieces
 * of a packet one after the other, so equal grant references are adjacent, and
 * the hypervisor keeps the last page of each side that it looked up.
 *
 * The status of each op is the only truth (XSA-316): it is an error until the
 * hypervisor says otherwise, and an op that failed touches its own frame only
 * (XSA-361). Both arrays are allocated once; a list that is full is run at once,
 * which costs a call more and changes nothing else: within a list order is kept,
 * and nothing in one list depends on the other.
 */
#include "netback/copy.h"

#include "netback/xen.h"

#include <errno.h>
#include <stdlib.h>

/* 64 frames of 20 pieces, and their headers: a turn rarely runs early. */
#define COPY_LIST_MAX 2048
/* What a status holds until the op was done; no grant status has this value. */
#define COPY_PENDING INT16_MIN

struct copy_list {
	struct xen_copy *op;
	bool **failed;
	size_t n;
};

struct copy_batch {
	struct xen *xen;
	struct copy_list in, out;
	uint8_t *stage; /* COPY_STAGE_PAGES pages */
	unsigned int staged;
	struct copy_stats stats;
};

static int list_init(struct copy_list *l)
{
	l->op = calloc(COPY_LIST_MAX, sizeof(*l->op));
	l->failed = calloc(COPY_LIST_MAX, sizeof(*l->failed));
	return l->op && l->failed ? 0 : -ENOMEM;
}

int copy_batch_new(struct copy_batch **out, struct xen *xen)
{
	struct copy_batch *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->xen = xen;
	b->stage = aligned_alloc(XEN_PAGE, (size_t)COPY_STAGE_PAGES * XEN_PAGE);
	if (!b->stage || list_init(&b->in) || list_init(&b->out)) {
		copy_batch_free(&b);
		return -ENOMEM;
	}
	*out = b;
	return 0;
}

void copy_batch_free(struct copy_batch **bp)
{
	struct copy_batch *b = *bp;

	if (!b)
		return;
	free(b->in.op);
	free(b->in.failed);
	free(b->out.op);
	free(b->out.failed);
	free(b->stage);
	free(b);
	*bp = NULL;
}

static void list_run(struct copy_batch *b, struct copy_list *l)
{
	int ret;

	if (l->n == 0)
		return;
	/* hp_316_status_per_op: pre-filled when queued; a call that fails as a
	 * whole leaves statuses undefined, so they are not looked at then */
	ret = b->xen->ops->copy(b->xen, l->op, l->n);
	b->stats.calls++;
	b->stats.ops += l->n;
	for (size_t i = 0; i < l->n; i++) {
		if (ret == 0 && l->op[i].status == 0) {
			b->stats.bytes += l->op[i].len;
			continue;
		}
		*l->failed[i] = true; /* hp_361_partial_batch: this frame only */
		b->stats.failed++;
	}
	l->n = 0;
}

void copy_batch_run(struct copy_batch *b)
{
	list_run(b, &b->in);
	list_run(b, &b->out);
	b->staged = 0;
}

uint8_t *copy_batch_stage(struct copy_batch *b)
{
	if (b->staged == COPY_STAGE_PAGES)
		return NULL;
	return b->stage + (size_t)b->staged++ * XEN_PAGE;
}

static bool in_page(uint16_t off, uint16_t len)
{
	return (uint32_t)off + len <= XEN_PAGE;
}

static void list_add(struct copy_batch *b, struct copy_list *l, struct xen_copy_end src,
		     struct xen_copy_end dst, uint16_t len, bool *failed)
{
	if (len == 0)
		return;
	if (!b->xen || (!src.local && !in_page(src.off, len)) ||
	    (!dst.local && !in_page(dst.off, len))) {
		/* the kernel would refuse the whole call for it */
		*failed = true;
		b->stats.failed++;
		return;
	}
	if (l->n == COPY_LIST_MAX)
		list_run(b, l);
	l->op[l->n] =
		(struct xen_copy){.src = src, .dst = dst, .len = len, .status = COPY_PENDING};
	l->failed[l->n++] = failed;
}

void copy_from_grant(struct copy_batch *b, uint16_t domid, uint32_t gref, uint16_t off, void *dst,
		     uint16_t len, bool *failed)
{
	struct xen_copy_end from = {.gref = gref, .domid = domid, .off = off};
	struct xen_copy_end to = {.local = dst};

	list_add(b, &b->in, from, to, len, failed);
}

void copy_to_grant(struct copy_batch *b, const void *src, uint16_t domid, uint32_t gref,
		   uint16_t off, uint16_t len, bool *failed)
{
	/* an end has one pointer for both directions; a source is only read */
	struct xen_copy_end from = {.local = (void *)(uintptr_t)src};
	struct xen_copy_end to = {.gref = gref, .domid = domid, .off = off};

	list_add(b, &b->out, from, to, len, failed);
}

void copy_grant_to_grant(struct copy_batch *b, uint16_t src_domid, uint32_t src_gref,
			 uint16_t src_off, uint16_t dst_domid, uint32_t dst_gref,
			 uint16_t dst_off, uint16_t len, bool *failed)
{
	struct xen_copy_end from = {.gref = src_gref, .domid = src_domid, .off = src_off};
	struct xen_copy_end to = {.gref = dst_gref, .domid = dst_domid, .off = dst_off};

	list_add(b, &b->out, from, to, len, failed);
}

const struct copy_stats *copy_batch_stats(const struct copy_batch *b)
{
	return &b->stats;
}
