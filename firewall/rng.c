// SPDX-License-Identifier: GPL-2.0-or-later
#include "firewall/rng.h"

#include <string.h>

static uint32_t rotl(uint32_t x, unsigned int n)
{
	return x << n | x >> (32 - n);
}

static void quarter(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
	*a += *b;
	*d = rotl(*d ^ *a, 16);
	*c += *d;
	*b = rotl(*b ^ *c, 12);
	*a += *b;
	*d = rotl(*d ^ *a, 8);
	*c += *d;
	*b = rotl(*b ^ *c, 7);
}

void rng_chacha20_block(const uint32_t in[16], uint32_t out[16])
{
	uint32_t x[16];

	memcpy(x, in, sizeof(x));
	for (int i = 0; i < 10; i++) {
		quarter(&x[0], &x[4], &x[8], &x[12]);
		quarter(&x[1], &x[5], &x[9], &x[13]);
		quarter(&x[2], &x[6], &x[10], &x[14]);
		quarter(&x[3], &x[7], &x[11], &x[15]);
		quarter(&x[0], &x[5], &x[10], &x[15]);
		quarter(&x[1], &x[6], &x[11], &x[12]);
		quarter(&x[2], &x[7], &x[8], &x[13]);
		quarter(&x[3], &x[4], &x[9], &x[14]);
	}
	for (int i = 0; i < 16; i++)
		out[i] = x[i] + in[i];
}

static void refill(struct rng *rng)
{
	/* the constant of RFC 8439 2.3; counter and nonce stay zero because the
	 * key never serves twice */
	uint32_t in[16] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 };
	uint32_t block[16];

	memcpy(in + 4, rng->key, sizeof(rng->key));
	rng_chacha20_block(in, block);
	memcpy(rng->key, block, sizeof(rng->key));
	memcpy(rng->out, block + 8, sizeof(rng->out));
	rng->left = RNG_WORDS;
}

void rng_init(struct rng *rng, const uint8_t seed[32])
{
	memset(rng, 0, sizeof(*rng));
	memcpy(rng->key, seed, sizeof(rng->key));
	/* one round trip, so that the seed itself is not kept */
	refill(rng);
}

void rng_mix(struct rng *rng, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	/* a key that was uniform stays so under XOR; the block between two parts
	 * makes their places and their number count */
	while (len > 0) {
		uint8_t *key = (uint8_t *)rng->key;
		size_t n = len < sizeof(rng->key) ? len : sizeof(rng->key);

		for (size_t i = 0; i < n; i++)
			key[i] ^= p[i];
		refill(rng);
		p += n;
		len -= n;
	}
}

uint32_t rng_u32(struct rng *rng)
{
	uint32_t word;

	if (rng->left == 0)
		refill(rng);
	rng->left--;
	word = rng->out[rng->left];
	rng->out[rng->left] = 0;
	return word;
}

uint32_t rng_below(struct rng *rng, uint32_t n)
{
	/* numbers below the limit are a whole multiple of n: no bias */
	uint32_t reject = (uint32_t)(-n) % n;

	/* each turn fails with probability < 1/2; the bound only keeps a broken
	 * generator from stalling the packet path (N3) */
	for (int i = 0; i < 64; i++) {
		uint32_t word = rng_u32(rng);

		if (word >= reject)
			return word % n;
	}
	return rng_u32(rng) % n;
}
