/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netback/flat.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GRANT_PAGE 4096u

int flat_pool_init(struct flat_pool *p, uint32_t n)
{
	uint32_t i;

	memset(p, 0, sizeof(*p));
	p->mem = calloc(n, FLAT_SIZE);
	p->free = calloc(n, sizeof(*p->free));
	if (!p->mem || !p->free) {
		flat_pool_fini(p);
		return -ENOMEM;
	}
	p->n = n;
	p->nfree = n;
	for (i = 0; i < n; i++)
		p->free[i] = n - 1 - i;
	return 0;
}

void flat_pool_fini(struct flat_pool *p)
{
	free(p->mem);
	free(p->free);
	memset(p, 0, sizeof(*p));
}

uint32_t flat_get(struct flat_pool *p)
{
	return p->nfree ? p->free[--p->nfree] : FLAT_NONE;
}

void flat_put(struct flat_pool *p, uint32_t i)
{
	assert(i < p->n && p->nfree < p->n);
	p->free[p->nfree++] = i;
}

uint8_t *flat_at(const struct flat_pool *p, uint32_t i)
{
	assert(i < p->n);
	return p->mem + (size_t)i * FLAT_SIZE;
}

void frame_begin(struct frame *f, const struct port *port)
{
	f->len = 0;
	f->header_len = 0;
	f->in_port = port->id;
	f->domid = port->domid;
	f->nseg = 0;
	f->csum = CSUM_NONE;
	f->csum_start = 0;
	f->csum_offset = 0;
	f->gso = GSO_NONE;
	f->copy_failed = false;
	f->gso_size = 0;
	f->verdict = FRAME_DROP;
	f->reason = 0;
	f->out_port = PORT_NONE;
	f->in_generation = port->generation;
	f->cookie = FLAT_NONE;
	f->cookie_slots = 0;
	f->cookie_extras = 0;
	f->next = NULL;
	f->queued_us = 0;
}

void frame_set_local(struct frame *f, uint32_t len, void *rest)
{
	f->len = len;
	f->header_len = len < FRAME_HEADER_COPY ? (uint16_t)len : FRAME_HEADER_COPY;
	f->nseg = 0;
	if (len > FRAME_HEADER_COPY) {
		f->seg[0].local = rest;
		f->seg[0].gref = 0;
		f->seg[0].off = 0;
		f->seg[0].len = len - FRAME_HEADER_COPY;
		f->nseg = 1;
	}
}

int frame_check(const struct frame *f)
{
	uint32_t total = f->header_len;
	unsigned int i;

	if (f->header_len > FRAME_HEADER_MAX || f->nseg > FRAME_SEG_MAX)
		return -EINVAL;
	for (i = 0; i < f->nseg; i++) {
		const struct frame_seg *s = &f->seg[i];

		if (s->len > FRAME_LEN_MAX)
			return -EINVAL;
		if (!s->local && s->off + s->len > GRANT_PAGE)
			return -EINVAL;
		total += s->len; /* at most 20 * 64 KiB: no wrap */
	}
	if (total != f->len || total > FRAME_LEN_MAX || total == 0)
		return -EINVAL;
	if (f->gso != GSO_NONE && (f->csum != CSUM_PARTIAL || f->gso_size == 0))
		return -EINVAL;
	return 0;
}

bool frame_has_grants(const struct frame *f)
{
	unsigned int i;

	for (i = 0; i < f->nseg; i++)
		if (!f->seg[i].local && f->seg[i].len)
			return true;
	return false;
}

void frame_flatten(const struct frame *f, bool *failed, struct copy_batch *batch, uint8_t *dst)
{
	unsigned int i;

	memcpy(dst, f->header, f->header_len);
	dst += f->header_len;
	for (i = 0; i < f->nseg; i++) {
		const struct frame_seg *s = &f->seg[i];

		if (s->local)
			memcpy(dst, s->local, s->len);
		else if (s->len)
			copy_from_grant(batch, f->domid, s->gref, s->off, dst, (uint16_t)s->len,
					failed);
		dst += s->len;
	}
}

void port_count_rx(struct port *port, const struct frame *f)
{
	port->stats.rx_frames++;
	port->stats.rx_bytes += f->len;
	port->stats.rx_gso += f->gso != GSO_NONE;
	port->stats.rx_partial += f->csum == CSUM_PARTIAL;
}

void port_count_tx(struct port *port, uint32_t len, bool gso, bool partial)
{
	port->stats.tx_frames++;
	port->stats.tx_bytes += len;
	port->stats.tx_gso += gso;
	port->stats.tx_partial += partial;
}
