/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packets in local memory: what the ports without rings (TAP, self, mem) share.
 *
 * A received packet lies in frame->header[] and in one buffer of a pool that is
 * sized when the port opens; the buffer's index is the frame's cookie. A packet
 * to be sent that has parts in granted pages is put together in such a buffer
 * by the copy batch.
 */
#ifndef NETBACK_FLAT_H
#define NETBACK_FLAT_H

#include "netback/copy.h"
#include "netback/port.h"

#define FLAT_SIZE 65664 /* of a buffer: FRAME_LEN_MAX, in whole cache lines */
#define FLAT_NONE UINT32_MAX

_Static_assert(FLAT_SIZE >= FRAME_LEN_MAX && FLAT_SIZE % 64 == 0, "a frame must fit");

/** A fixed set of buffers; the one given back last is handed out first. */
struct flat_pool {
	uint8_t *mem;
	uint32_t *free;
	uint32_t n, nfree;
};

int flat_pool_init(struct flat_pool *p, uint32_t n);
void flat_pool_fini(struct flat_pool *p);
/** flat_get() - Return: index of a free buffer or FLAT_NONE */
uint32_t flat_get(struct flat_pool *p);
void flat_put(struct flat_pool *p, uint32_t i);
uint8_t *flat_at(const struct flat_pool *p, uint32_t i);

/** frame_begin() - an empty frame that @port received; header[] is untouched */
void frame_begin(struct frame *f, const struct port *port);

/**
 * frame_set_local() - describe a packet whose first FRAME_HEADER_COPY bytes are
 * in header[] and whose further bytes, if any, are at @rest
 */
void frame_set_local(struct frame *f, uint32_t len, void *rest);

/**
 * frame_check() - whether lengths and offsets of a frame to be sent fit
 *
 * Return: 0 or -EINVAL: it was built wrongly, no port can send it.
 */
int frame_check(const struct frame *f);

/** frame_has_grants() - some of its bytes are in another domain's pages */
bool frame_has_grants(const struct frame *f);

/**
 * frame_flatten() - put the whole packet into @dst (of at least f->len bytes)
 * @failed:	set when a granted part could not be copied
 *
 * Granted parts are there when the batch has run. The frame has passed
 * frame_check().
 */
void frame_flatten(const struct frame *f, bool *failed, struct copy_batch *batch, uint8_t *dst);

/** port_count_rx() / port_count_tx() - one more frame in the port's counters */
void port_count_rx(struct port *port, const struct frame *f);
void port_count_tx(struct port *port, uint32_t len, bool gso, bool partial);

#endif
