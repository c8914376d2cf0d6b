/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sums of bytes as RFC 1071 has them, for whoever computes a checksum.
 *
 * One's complement sums do not care about byte order as long as all words are
 * read and written the same way, so everything here works on 16-bit words as
 * they lie in memory; nothing is swapped.
 */
#ifndef NETBACK_FRAME_CSUM_H
#define NETBACK_FRAME_CSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/** csum_fold() - a sum of 16 or 32 bit words as 16 bits */
static inline uint16_t csum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/** csum_bytes() - add bytes to a sum; an odd last byte is padded with zero */
static inline uint64_t csum_bytes(const void *data, size_t len, uint64_t sum)
{
	const uint8_t *p = data;

	for (; len >= 4; len -= 4, p += 4) {
		uint32_t w;

		memcpy(&w, p, 4);
		sum += w;
	}
	if (len >= 2) {
		uint16_t w;

		memcpy(&w, p, 2);
		sum += w;
		p += 2;
		len -= 2;
	}
	if (len) {
		uint8_t pair[2] = { *p, 0 };
		uint16_t w;

		memcpy(&w, pair, 2);
		sum += w;
	}
	return sum;
}

/** csum_piece() - the same for a piece of a packet; @odd: an odd number of bytes
 *  is before it, so that its words stand across the packet's */
static inline uint64_t csum_piece(const void *data, size_t len, bool odd, uint64_t sum)
{
	uint16_t part = csum_fold(csum_bytes(data, len, 0));

	return sum + (odd ? (uint16_t)(part << 8 | part >> 8) : part);
}

/** csum_final() - the checksum for a sum (X4.4). Zero means "none" to UDP, whose field is
 *  the one at @offset 6 (RFC 768), so it gets zero's other form. */
static inline uint16_t csum_final(uint64_t sum, uint16_t offset)
{
	uint16_t csum = (uint16_t)~csum_fold(sum);

	return csum == 0 && offset == 6 ? 0xffff : csum;
}

#endif
