// SPDX-License-Identifier: GPL-2.0-or-later
#include "firewall/csum.h"
#include "firewall/packet.h"
#include "firewall/rng.h"
#include "firewall/siphash.h"
#include "tests/unit/check.h"

#include <stdlib.h>

/* The definition, a byte at a time. */
static uint16_t slow_sum(const uint8_t *p, size_t n)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < n; i++) {
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

static void test_sum(void)
{
	/* RFC 1071 3: the example sums to ddf2 */
	static const uint8_t example[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
	uint8_t buf[301], out[2];

	test_case("rfc1071_example");
	put_raw16(out, csum_fold(csum_bytes(example, sizeof(example), 0)));
	CHECK_INT(get_be16(out), 0xddf2);

	test_case("rfc1071_lengths");
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 37 + 11);
	for (size_t n = 0; n <= sizeof(buf); n++) {
		put_raw16(out, csum_fold(csum_bytes(buf, n, 0)));
		CHECK_INT(get_be16(out), slow_sum(buf, n));
	}
	memset(buf, 0xff, sizeof(buf));
	put_raw16(out, csum_fold(csum_bytes(buf, 300, 0)));
	CHECK_INT(get_be16(out), 0xffff);
}

/* P4: for every kind of update, a delta gives what a new computation gives. */
static void test_delta(void)
{
	uint8_t buf[20];
	uint8_t seed[32] = { 1 };
	struct rng rng;

	rng_init(&rng, seed);
	test_case("P4_rfc1624_delta");
	for (int round = 0; round < 200000; round++) {
		uint32_t old_addr, new_addr = rng_u32(&rng);
		uint16_t old_port, new_port = (uint16_t)rng_u32(&rng), delta, back;
		bool edge = round % 4 == 0;

		for (size_t i = 0; i < sizeof(buf); i += 4)
			put_raw32(buf + i, edge && (round & 8) ? 0xffffffff : rng_u32(&rng));
		if (edge && (round & 16))
			new_addr = round & 32 ? 0 : UINT32_MAX;
		put_raw16(buf + 10, 0);
		put_raw16(buf + 10, (uint16_t)~csum_fold(csum_bytes(buf, 20, 0)));
		old_addr = get_raw32(buf + 12);
		old_port = get_raw16(buf);
		delta = csum_fold(csum_diff32(old_addr, new_addr) +
				  csum_diff16(old_port, new_port));
		back = get_raw16(buf + 10);
		put_raw32(buf + 12, new_addr);
		put_raw16(buf, new_port);
		put_raw16(buf + 10, csum_update(back, delta));
		if (slow_sum(buf, 20) != 0xffff && slow_sum(buf, 20) != 0)
			CHECK(!"the sum of the packet is minus zero");
		/* the opposite delta leads back */
		if (csum_update(csum_update(back, delta), (uint16_t)~delta) % 0xffff !=
		    back % 0xffff)
			CHECK(!"the complement undoes a delta");
		/* partial: the uncomplemented sum moves the same way */
		if ((csum_update_partial((uint16_t)~back, delta) ^ csum_update(back, delta)) !=
		    0xffff)
			CHECK(!"partial and complete agree");
	}

	test_case("P4_udp_zero_stays_zero");
	CHECK_INT(csum_update_udp(0, 0x1234), 0);
	test_case("P4_udp_result_zero_is_ffff");
	/* ~0xedcb + delta = 0x1234 + 0xedcb = 0xffff, complement 0 */
	CHECK_INT(csum_update(0xedcb, 0xedcb), 0);
	CHECK_INT(csum_update_udp(0xedcb, 0xedcb), 0xffff);
}

static void test_siphash(void)
{
	struct siphash_key key = { { 0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL } };
	const uint64_t words[2] = { 0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL };

	/* the paper's appendix A, and the reference vectors for 0, 8 and 16 bytes */
	test_case("D1_siphash_2_4_vectors");
	CHECK(siphash_words(&key, words, 1, 0x0e0d0c0b0a0908ULL | 15ULL << 56, 2, 4) ==
	      0xa129ca6149be45e5ULL);
	CHECK(siphash_words(&key, words, 0, 0, 2, 4) == 0x726fdb47dd0e0e31ULL);
	CHECK(siphash_words(&key, words, 1, 8ULL << 56, 2, 4) == 0x93f5f5799a932462ULL);
	CHECK(siphash_words(&key, words, 2, 16ULL << 56, 2, 4) == 0x3f2acc7f57c29bdbULL);
	test_case("D1_siphash_depends_on_key");
	key.k[1] ^= 1;
	CHECK(siphash_words(&key, words, 2, 16ULL << 56, 1, 3) !=
	      siphash_words(&(struct siphash_key){ { key.k[0], key.k[1] ^ 1 } }, words, 2,
			    16ULL << 56, 1, 3));
}

static void test_rng(void)
{
	/* RFC 8439 2.3.2 */
	const uint32_t in[16] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574,
				  0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c,
				  0x13121110, 0x17161514, 0x1b1a1918, 0x1f1e1d1c,
				  0x00000001, 0x09000000, 0x4a000000, 0x00000000 };
	uint32_t out[16], count[16] = { 0 };
	uint8_t seed[32] = { 7 }, other[32] = { 8 };
	struct rng a, b, c;
	double chi = 0;
	int same = 0;

	test_case("N2_chacha20_rfc8439_2_3_2");
	rng_chacha20_block(in, out);
	CHECK(out[0] == 0xe4e7f110 && out[1] == 0x15593bd1 && out[15] == 0x4e3c50a2);

	test_case("N2_no_pattern_across_seeds");
	rng_init(&a, seed);
	rng_init(&b, seed);
	rng_init(&c, other);
	for (int i = 0; i < 1000; i++) {
		uint32_t word = rng_u32(&a);

		CHECK(word == rng_u32(&b));
		same += word == rng_u32(&c);
	}
	CHECK(same <= 1);

	/* 64512 is not a power of two: bias would show. 15 degrees of freedom:
	 * 37.7 is exceeded once in a thousand; the seed is fixed */
	test_case("N1_uniform_chi_square");
	for (int i = 0; i < 64000; i++) {
		uint32_t v = rng_below(&a, 64512);

		CHECK(v < 64512);
		count[v / 4032]++;
	}
	for (int i = 0; i < 16; i++)
		chi += ((double)count[i] - 4000) * ((double)count[i] - 4000) / 4000;
	CHECK(chi < 37.7);
	CHECK(rng_below(&a, 1) == 0);
}

/* How many of a hundred words of the two are the same. */
static int alike(struct rng a, struct rng b)
{
	int same = 0;

	for (int i = 0; i < 100; i++)
		same += rng_u32(&a) == rng_u32(&b);
	return same;
}

static struct rng mixed(const struct rng *from, const void *bytes, size_t len)
{
	struct rng r = *from;

	rng_mix(&r, bytes, len);
	return r;
}

static void test_mix(void)
{
	static const uint8_t bytes[96] = { 1, 2, 3, 4, [40] = 5, [95] = 6 };
	uint8_t seed[32] = { 7 }, swapped[64], late[96], zeros[96] = { 0 };
	uint32_t count[16] = { 0 };
	struct rng a, b;
	double chi = 0;

	rng_init(&a, seed);
	test_case("N2_mixing_nothing_changes_nothing");
	CHECK_INT(alike(a, mixed(&a, bytes, 0)), 100);
	test_case("N2_same_bytes_same_state");
	CHECK_INT(alike(mixed(&a, bytes, 96), mixed(&a, bytes, 96)), 100);
	test_case("N2_every_byte_counts");
	for (size_t i = 0; i < 96; i++) {
		memcpy(late, bytes, 96);
		late[i] ^= 0x80;
		CHECK(alike(mixed(&a, bytes, 96), mixed(&a, late, 96)) <= 1);
	}
	test_case("N2_length_and_order_count");
	CHECK(alike(mixed(&a, zeros, 32), mixed(&a, zeros, 33)) <= 1);
	CHECK(alike(mixed(&a, zeros, 32), a) <= 1);
	memcpy(swapped, bytes + 32, 32);
	memcpy(swapped + 32, bytes, 32);
	CHECK(alike(mixed(&a, bytes, 64), mixed(&a, swapped, 64)) <= 1);
	test_case("N2_known_bytes_do_not_make_the_state_known");
	rng_init(&b, late);
	CHECK(alike(mixed(&a, bytes, 96), mixed(&b, bytes, 96)) <= 1);

	test_case("N1_uniform_after_mixing");
	for (int i = 0; i < 64000; i++) {
		if (i % 100 == 0)
			rng_mix(&a, zeros, 32);
		count[rng_below(&a, 64512) / 4032]++;
	}
	for (int i = 0; i < 16; i++)
		chi += ((double)count[i] - 4000) * ((double)count[i] - 4000) / 4000;
	CHECK(chi < 37.7);
}

int main(void)
{
	test_sum();
	test_delta();
	test_siphash();
	test_rng();
	test_mix();
	return test_end();
}
