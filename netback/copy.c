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
 * (XSA-361).
 *
 * Between the two the third list runs: checksums that a receiver wants completed.
 * They need the bytes, so these are copied into staging memory of ours first (in),
 * summed there, and copied on from there (out); what was summed is what is sent,
 * whatever the sender does to its page meanwhile. A packet with a failed copy is
 * zeroed instead: its place may hold another client's bytes (hostile-peers.md,
 * rule 10), and its way out is queued already.
 *
 * All arrays are allocated once. What is full makes everything run in this order,
 * which costs a call more and changes nothing else: a sum is queued behind the
 * copies that it needs, and before those that need it. Only staging memory is not
 * given back by that: its user has not queued all of it yet.
 */
#include "netback/copy.h"

#include "netback/frame.h"
#include "netback/frame_csum.h"
#include "netback/xen.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* 64 frames of 20 pieces, and their headers: a turn rarely runs early. */
#define COPY_LIST_MAX 2048
#define COPY_SUM_MAX 256 /* a full ring of packets */
/* What a status holds until the op was done; no grant status has this value. */
#define COPY_PENDING INT16_MIN

struct copy_list {
	struct xen_copy *op;
	bool **failed;
	size_t n;
};

struct copy_sum {
	uint8_t *packet;
	const bool *failed;
	uint32_t len;
	uint16_t start, field;
};

struct copy_batch {
	struct xen *xen;
	struct copy_list in, out;
	struct copy_sum *sum;
	size_t nsum;
	uint8_t *stage; /* COPY_STAGE_SIZE bytes */
	size_t staged;
	struct copy_stats stats;
};

static_assert(COPY_STAGE_SIZE >= FRAME_LEN_MAX, "any frame can be put together");

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
	b->stage = aligned_alloc(XEN_PAGE, COPY_STAGE_SIZE);
	b->sum = calloc(COPY_SUM_MAX, sizeof(*b->sum));
	if (!b->stage || !b->sum || list_init(&b->in) || list_init(&b->out)) {
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
	free(b->sum);
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

static void sums_run(struct copy_batch *b)
{
	for (size_t i = 0; i < b->nsum; i++) {
		const struct copy_sum *s = &b->sum[i];
		uint8_t *from = s->packet + s->start;
		uint16_t csum;

		if (*s->failed) {
			memset(s->packet, 0, s->len);
			continue;
		}
		csum = csum_final(csum_bytes(from, s->len - s->start, 0), s->field);
		memcpy(from + s->field, &csum, sizeof(csum));
	}
	b->nsum = 0;
}

static void run_in_order(struct copy_batch *b)
{
	list_run(b, &b->in);
	sums_run(b);
	list_run(b, &b->out);
}

void copy_batch_run(struct copy_batch *b)
{
	run_in_order(b);
	b->staged = 0;
}

uint8_t *copy_batch_stage(struct copy_batch *b, size_t len)
{
	size_t at = (b->staged + 63) & ~(size_t)63;
	size_t page = at & (XEN_PAGE - 1);

	/* an op over two pages of ours is two to the hypervisor */
	if (len <= XEN_PAGE && page + len > XEN_PAGE)
		at += XEN_PAGE - page;
	if (at > COPY_STAGE_SIZE || len > COPY_STAGE_SIZE - at)
		return NULL;
	b->staged = at + len;
	return b->stage + at;
}

void copy_sum(struct copy_batch *b, uint8_t *packet, uint32_t len, uint16_t start, uint16_t field,
	      const bool *failed)
{
	assert((uint32_t)start + field + 2 <= len);
	if (b->nsum == COPY_SUM_MAX)
		run_in_order(b);
	b->sum[b->nsum++] = (struct copy_sum){
		.packet = packet, .failed = failed, .len = len, .start = start, .field = field};
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
		run_in_order(b);
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
