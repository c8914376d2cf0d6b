// SPDX-License-Identifier: GPL-2.0-or-later
/* Sums, and the way between flat bytes and a descriptor. */
#include "tests/craft/craft_impl.h"

#include <string.h>

uint16_t craft_sum(const uint8_t *p, size_t len, uint32_t start)
{
	uint64_t sum = start;

	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

uint16_t pseudo_sum(uint8_t family, const uint8_t *src, const uint8_t *dst, uint8_t proto,
		    size_t len)
{
	size_t n = family == 6 ? 16 : 4;
	uint32_t sum = craft_sum(src, n, proto);

	sum += craft_sum(dst, n, 0);
	return craft_sum(NULL, 0, sum + (uint32_t)(len >> 16) + (uint32_t)(len & 0xffff));
}

void craft_frame(const struct craft *c, struct frame *f, uint16_t port, uint8_t *tail)
{
	size_t head = c->len > FRAME_HEADER_COPY ? FRAME_HEADER_COPY : c->len;
	size_t rest = c->len - head, first = rest / 2;

	memset(f, 0, sizeof(*f));
	memcpy(f->header, c->b, head);
	memcpy(tail, c->b + head, rest);
	f->header_len = (uint16_t)head;
	f->len = (uint32_t)c->len;
	f->in_port = port;
	if (first) {
		f->seg[f->nseg].local = tail;
		f->seg[f->nseg++].len = (uint32_t)first;
	}
	if (rest) {
		f->seg[f->nseg].local = tail + first;
		f->seg[f->nseg++].len = (uint32_t)(rest - first);
	}
	f->csum = c->csum;
	f->gso = c->gso;
	f->gso_size = c->gso_size;
	f->copy_failed = c->copy_failed;
	if (c->csum == CSUM_PARTIAL && c->csum_set) {
		f->csum_start = c->csum_start;
		f->csum_offset = c->csum_offset;
	}
	f->verdict = 0xee; /* whoever judges must set it */
}

void craft_unframe(struct craft *c, const struct frame *f)
{
	size_t at = f->header_len;

	memset(c, 0, offsetof(struct craft, b));
	memcpy(c->b, f->header, f->header_len);
	for (unsigned int i = 0; i < f->nseg; i++) {
		if (at + f->seg[i].len > CRAFT_MAX)
			break;
		memcpy(c->b + at, f->seg[i].local, f->seg[i].len);
		at += f->seg[i].len;
	}
	c->len = at;
	c->csum = f->csum;
	c->gso = f->gso;
	c->gso_size = f->gso_size;
	c->copy_failed = f->copy_failed;
	if (f->csum == CSUM_PARTIAL) {
		c->csum_start = f->csum_start;
		c->csum_offset = f->csum_offset;
		c->csum_set = c->csum_start != 0;
	}
}

bool craft_equal(const struct craft *a, const struct craft *b)
{
	return a->len == b->len && a->csum == b->csum && a->gso == b->gso &&
	       a->gso_size == b->gso_size && a->csum_start == b->csum_start &&
	       a->csum_offset == b->csum_offset && a->copy_failed == b->copy_failed &&
	       memcmp(a->b, b->b, a->len) == 0;
}
