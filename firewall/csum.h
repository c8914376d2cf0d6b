/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Internet checksum (RFC 1071) and its updates (RFC 1624), as arithmetic.
 *
 * Sums are those of netback/frame_csum.h: of 16-bit words as they lie in memory.
 *
 * A delta is the sum, folded to 16 bits, of new words and complemented old
 * words: what a checksum must be moved by when these words change. The delta of
 * the opposite change is the complement of the delta. Translation of a flow
 * always changes the same words, so a flow carries its deltas ready made (P4).
 */
#ifndef FIREWALL_CSUM_H
#define FIREWALL_CSUM_H

#include "netback/frame_csum.h"

/** csum_diff16() - contribution of one changed word to a delta; add them up */
static inline uint32_t csum_diff16(uint16_t old, uint16_t new)
{
	return (uint32_t)(uint16_t)~old + new;
}

/** csum_diff32() - same for two words, an IPv4 address */
static inline uint64_t csum_diff32(uint32_t old, uint32_t new)
{
	return (uint64_t)(uint32_t)~old + new;
}

/** csum_update() - a complete checksum after a delta: RFC 1624 eqn. 3 */
static inline uint16_t csum_update(uint16_t csum, uint16_t delta)
{
	uint32_t sum = (uint32_t)(uint16_t)~csum + delta;

	return (uint16_t)~((sum & 0xffff) + (sum >> 16));
}

/** csum_update_udp() - same for UDP, where zero means "none" (RFC 768) */
static inline uint16_t csum_update_udp(uint16_t csum, uint16_t delta)
{
	if (csum == 0)
		return 0;
	csum = csum_update(csum, delta);
	return csum ? csum : 0xffff;
}

/**
 * csum_update_icmp() - same for ICMP, which has no pseudo-header
 *
 * An echo reply of zeros sums to plus zero, and its checksum is 0xffff; the
 * update cannot tell that from minus zero, where 0 and 0xffff both serve.
 */
static inline uint16_t csum_update_icmp(uint16_t csum, uint16_t delta)
{
	csum = csum_update(csum, delta);
	return csum ? csum : 0xffff;
}

/** csum_update_partial() - an uncomplemented pseudo-header sum after a delta */
static inline uint16_t csum_update_partial(uint16_t sum16, uint16_t delta)
{
	uint32_t sum = (uint32_t)sum16 + delta;

	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

#endif
