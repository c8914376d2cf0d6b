// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Grant table: who may use which page, and the checks of the hypervisor and of
 * gntdev on copies.
 */
#include "tests/fake/fake_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int fake_grants_init(struct fake *f)
{
	f->next_gref = 8; /* the first eight are reserved on a real system */
	return 0;
}

void fake_grants_free(struct fake *f)
{
	for (size_t i = 0; i < f->npages; i++)
		free(f->page[i]);
	/* what our domain still shares is a leak of the code under test:
	 * fake_use() counts it, and the leak checker reports it */
	free(f->page);
	free(f->grant);
}

void *fake_page_new(struct fake *f)
{
	void *page = NULL;

	f->page = fake_grow(f->page, f->npages, &f->pages_room, FAKE_PAGES, sizeof(*f->page));
	if (posix_memalign(&page, XEN_PAGE, XEN_PAGE))
		abort();
	memset(page, 0, XEN_PAGE);
	f->page[f->npages++] = page;
	return page;
}

static struct fake_grant *grant_slot(struct fake *f)
{
	for (size_t i = 0; i < f->ngrants; i++)
		if (!f->grant[i].used)
			return &f->grant[i];
	f->grant = fake_grow(f->grant, f->ngrants, &f->grants_room, FAKE_GRANTS,
			     sizeof(*f->grant));
	return &f->grant[f->ngrants++];
}

uint32_t fake_grant(struct fake *f, uint16_t owner, void *page, bool readonly)
{
	struct fake_grant *g = grant_slot(f);

	*g = (struct fake_grant){.used = true,
				 .domid = owner,
				 .gref = f->next_gref++,
				 .page = page,
				 .readonly = readonly};
	return g->gref;
}

static struct fake_grant *grant_find(struct fake *f, uint16_t domid, uint32_t gref, bool ours)
{
	/* references are handed out in order, so the guess is right mostly */
	size_t guess = gref - 8;

	if (guess < f->ngrants && f->grant[guess].used && f->grant[guess].gref == gref &&
	    f->grant[guess].domid == domid && f->grant[guess].ours == ours)
		return &f->grant[guess];
	for (size_t i = 0; i < f->ngrants; i++) {
		struct fake_grant *g = &f->grant[i];

		if (g->used && g->ours == ours && g->domid == domid && g->gref == gref)
			return g;
	}
	return NULL;
}

void fake_revoke(struct fake *f, uint16_t owner, uint32_t gref)
{
	struct fake_grant *g = gref ? grant_find(f, owner, gref, false) : NULL;

	if (g)
		g->used = false;
}

void fake_grants_of_end(struct fake *f, uint16_t domid)
{
	for (size_t i = 0; i < f->ngrants; i++)
		if (f->grant[i].used && !f->grant[i].ours && f->grant[i].domid == domid)
			f->grant[i].used = false;
}

void *fake_shared(struct fake *f, uint16_t domid, uint32_t gref, bool *writable)
{
	struct fake_grant *g = grant_find(f, domid, gref, true);

	if (!g)
		return NULL;
	if (writable)
		*writable = !g->readonly;
	return g->page;
}

void fake_on_copy(struct fake *f, void (*fn)(void *arg, struct xen_copy *op), void *arg)
{
	f->on_copy = fn;
	f->on_copy_arg = arg;
}

/* One end of a copy: the bytes, or the status that the hypervisor gives. */
static int copy_end(struct fake *f, const struct xen_copy_end *e, bool write, uint8_t **at)
{
	struct fake_grant *g;

	if (e->local) {
		*at = e->local;
		return 0;
	}
	g = grant_find(f, e->domid, e->gref, false);
	if (!g)
		return FAKE_GNTST_BAD_GREF;
	if (write && g->readonly)
		return FAKE_GNTST_PERMISSION;
	*at = g->page + e->off;
	return 0;
}

int fake_op_copy(struct xen *x, struct xen_copy *ops, size_t n)
{
	struct fake *f = (struct fake *)x;
	int ret = fake_enter(f, FAKE_COPY_CALL);

	if (ret)
		return ret;
	/* gntdev checks all segments before it does any: page bounds, and that
	 * the call is of one kind */
	for (size_t i = 0; i < n; i++) {
		if ((!ops[i].src.local && ops[i].src.off + ops[i].len > XEN_PAGE) ||
		    (!ops[i].dst.local && ops[i].dst.off + ops[i].len > XEN_PAGE))
			return -EINVAL;
		if ((ops[i].src.local && ops[i].dst.local) ||
		    (ops[i].dst.local != NULL) != (ops[0].dst.local != NULL))
			return -EINVAL;
	}
	for (size_t i = 0; i < n; i++) {
		uint8_t *src, *dst;
		int status = fake_enter(f, FAKE_COPY_OP);

		if (f->on_copy)
			f->on_copy(f->on_copy_arg, &ops[i]);
		if (!status)
			status = copy_end(f, &ops[i].src, false, &src);
		if (!status)
			status = copy_end(f, &ops[i].dst, true, &dst);
		if (!status)
			memmove(dst, src, ops[i].len);
		ops[i].status = (int16_t)status;
	}
	return 0;
}

int fake_op_map(struct xen *x, uint16_t domid, uint32_t gref, void **page)
{
	struct fake *f = (struct fake *)x;
	struct fake_grant *g;
	int ret = fake_enter(f, FAKE_MAP);

	if (ret)
		return ret;
	g = grant_find(f, domid, gref, false);
	if (!g || g->readonly)
		return -EINVAL;
	f->maps++;
	*page = g->page;
	return 0;
}

void fake_op_unmap(struct xen *x, void *page)
{
	struct fake *f = (struct fake *)x;

	if (!page || !f->maps)
		abort();
	f->maps--;
}

int fake_op_share(struct xen *x, uint16_t domid, size_t n, bool writable, uint32_t *grefs,
		  void **pages)
{
	struct fake *f = (struct fake *)x;
	void *mem = NULL;
	int ret = fake_enter(f, FAKE_SHARE);

	if (ret)
		return ret;
	if (posix_memalign(&mem, XEN_PAGE, n * XEN_PAGE))
		return -ENOMEM;
	memset(mem, 0, n * XEN_PAGE);
	for (size_t i = 0; i < n; i++) {
		struct fake_grant *g = grant_slot(f);

		*g = (struct fake_grant){.used = true,
					 .ours = true,
					 .domid = domid,
					 .gref = f->next_gref++,
					 .page = (uint8_t *)mem + i * XEN_PAGE,
					 .readonly = !writable};
		grefs[i] = g->gref;
	}
	f->shared_pages += (unsigned int)n;
	*pages = mem;
	return 0;
}

void fake_op_unshare(struct xen *x, void *pages, size_t n)
{
	struct fake *f = (struct fake *)x;
	uint8_t *start = pages;

	if (!pages || f->shared_pages < n)
		abort();
	for (size_t i = 0; i < f->ngrants; i++) {
		struct fake_grant *g = &f->grant[i];

		if (g->used && g->ours && g->page >= start && g->page < start + n * XEN_PAGE)
			g->used = false;
	}
	f->shared_pages -= (unsigned int)n;
	free(pages);
}
