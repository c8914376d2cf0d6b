/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * SipHash (Aumasson, Bernstein 2012) over whole 64-bit words.
 *
 * The flow table's keys are 12 or 24 bytes, so the general byte-string
 * interface is not needed; the caller passes the last block (remaining bytes
 * and length). Inline, because the hot path hashes each packet once. The table
 * uses one compression and three finalisation rounds: a hash-flood attacker
 * never sees a hash value, which is the setting SipHash-1-3 is meant for (D1).
 */
#ifndef FIREWALL_SIPHASH_H
#define FIREWALL_SIPHASH_H

#include <stdint.h>

struct siphash_key {
	uint64_t k[2];
};

#define SIPHASH_ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define SIPHASH_ROUND(v0, v1, v2, v3)                                                              \
	do {                                                                                       \
		(v0) += (v1);                                                                      \
		(v1) = SIPHASH_ROTL(v1, 13) ^ (v0);                                                \
		(v0) = SIPHASH_ROTL(v0, 32);                                                       \
		(v2) += (v3);                                                                      \
		(v3) = SIPHASH_ROTL(v3, 16) ^ (v2);                                                \
		(v0) += (v3);                                                                      \
		(v3) = SIPHASH_ROTL(v3, 21) ^ (v0);                                                \
		(v2) += (v1);                                                                      \
		(v1) = SIPHASH_ROTL(v1, 17) ^ (v2);                                                \
		(v2) = SIPHASH_ROTL(v2, 32);                                                       \
	} while (0)

/**
 * siphash_words() - hash @n words and the last block
 * @last:	remaining bytes, little endian, and the total length << 56
 * @c, @d:	rounds; constants at every call, so the loops unroll
 */
static inline __attribute__((always_inline)) uint64_t
siphash_words(const struct siphash_key *key, const uint64_t *words, unsigned int n, uint64_t last,
	      unsigned int c, unsigned int d)
{
	uint64_t v0 = key->k[0] ^ 0x736f6d6570736575ULL;
	uint64_t v1 = key->k[1] ^ 0x646f72616e646f6dULL;
	uint64_t v2 = key->k[0] ^ 0x6c7967656e657261ULL;
	uint64_t v3 = key->k[1] ^ 0x7465646279746573ULL;

	for (unsigned int i = 0; i <= n; i++) {
		uint64_t m = i < n ? words[i] : last;

		v3 ^= m;
		for (unsigned int r = 0; r < c; r++)
			SIPHASH_ROUND(v0, v1, v2, v3);
		v0 ^= m;
	}
	v2 ^= 0xff;
	for (unsigned int r = 0; r < d; r++)
		SIPHASH_ROUND(v0, v1, v2, v3);
	return v0 ^ v1 ^ v2 ^ v3;
}

#endif
