/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A batch of copies between granted pages and local memory.
 *
 * Ports queue; the loop runs the batch once per stage. The kernel must not be
 * given local sources and local destinations in one call, so there are two
 * lists: "in" (granted page -> local) and "out" (local or granted page ->
 * granted page). Between the two, checksums of what came in are filled in before
 * it goes out. A full list makes the batch run at once: early is harmless.
 */
#ifndef NETBACK_COPY_H
#define NETBACK_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct xen;
struct copy_batch;

struct copy_stats {
	uint64_t ops, calls, bytes, failed;
};

/**
 * copy_batch_new() - a batch over the grant operations of @xen
 * @xen:	may be NULL where no port has granted pages (TAP, mem)
 */
int copy_batch_new(struct copy_batch **out, struct xen *xen);
void copy_batch_free(struct copy_batch **b);

/*
 * Queue one copy of len bytes, all of it inside one granted page on each
 * foreign side (off + len <= 4096, else *failed is set at once). *failed is set
 * to true by copy_batch_run() when the copy did not succeed; it must stay valid
 * until then.
 */
void copy_from_grant(struct copy_batch *b, uint16_t domid, uint32_t gref,
		     uint16_t off, void *dst, uint16_t len, bool *failed);
void copy_to_grant(struct copy_batch *b, const void *src, uint16_t domid,
		   uint32_t gref, uint16_t off, uint16_t len, bool *failed);
void copy_grant_to_grant(struct copy_batch *b, uint16_t src_domid,
			 uint32_t src_gref, uint16_t src_off, uint16_t dst_domid,
			 uint32_t dst_gref, uint16_t dst_off, uint16_t len,
			 bool *failed);

/**
 * copy_batch_stage() - private memory to put a source together in
 * @len:	bytes; those of at most a page do not cross a page's end
 *
 * An op costs the hypervisor and the kernel more than the bytes of half a page:
 * small pieces that go to one place are worth gathering first. The memory is the
 * caller's until copy_batch_run() returns.
 *
 * Return: 64-byte aligned memory, or NULL when there is not as much left. After a
 * copy_batch_run() there is room for any one frame.
 */
#define COPY_STAGE_SIZE (64 * 4096)
uint8_t *copy_batch_stage(struct copy_batch *b, size_t len);

/**
 * copy_sum() - complete a packet's checksum once the copies into it have run
 * @packet:	the whole packet, in memory of copy_batch_stage()
 * @start:	first byte that is covered
 * @field:	where the checksum is, counted from @start; it holds the
 *		pseudo-header's sum; both bytes are within the packet
 * @failed:	of the copies into it: then the packet is zeroed instead, so that
 *		what the memory held before goes nowhere
 */
void copy_sum(struct copy_batch *b, uint8_t *packet, uint32_t len, uint16_t start, uint16_t field,
	      const bool *failed);

/** copy_batch_run() - do all that is queued; at most one call a direction */
void copy_batch_run(struct copy_batch *b);

const struct copy_stats *copy_batch_stats(const struct copy_batch *b);

#endif
