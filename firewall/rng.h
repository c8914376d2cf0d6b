/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random numbers for port choice: ChaCha20 with fast key erasure (N2).
 *
 * Seeded once by the caller; every block replaces its own key first, so a later
 * leak of the state tells nothing about ports that were chosen before.
 */
#ifndef FIREWALL_RNG_H
#define FIREWALL_RNG_H

#include <stddef.h>
#include <stdint.h>

#define RNG_WORDS 8 /* words of output for each block: half of it is the next key */

struct rng {
	uint32_t key[8];
	uint32_t out[RNG_WORDS];
	uint32_t left; /* unused words of out[] */
};

/** rng_init() - start from 32 secret bytes */
void rng_init(struct rng *rng, const uint8_t seed[32]);

/**
 * rng_mix() - make the state depend on further bytes
 *
 * What was unpredictable stays so, whatever the bytes are.
 */
void rng_mix(struct rng *rng, const void *bytes, size_t len);

/** rng_u32() - 32 uniform bits */
uint32_t rng_u32(struct rng *rng);

/** rng_below() - uniform over 0..@n-1, without modulo bias; @n > 0 */
uint32_t rng_below(struct rng *rng, uint32_t n);

/** rng_chacha20_block() - the block function of RFC 8439 2.3, on words */
void rng_chacha20_block(const uint32_t in[16], uint32_t out[16]);

#endif
