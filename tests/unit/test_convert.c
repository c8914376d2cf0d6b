// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The segmenter on descriptors: random GSO frames in random pieces against the
 * oracle, the rules for each header field, and descriptors that do not fit.
 */
#include "netback/convert.h"
#include "netback/frame_csum.h"
#include "tests/fake/oracle.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdlib.h>

static uint8_t whole[ORACLE_MAX], want[ORACLE_MAX], got[ORACLE_MAX];
static uint64_t state = 20240501;

static uint32_t rnd(uint32_t below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((state >> 33) % below);
}

/* A descriptor of whole[]: the first bytes in header[], the rest in pieces. Granted
 * pieces are told by their reference, which counts pages of whole[]. */
static void describe(struct frame *f, size_t len, uint16_t header_len, unsigned int pieces)
{
	size_t at = header_len < len ? header_len : len;

	memset(f, 0, sizeof(*f));
	memcpy(f->header, whole, at);
	f->header_len = (uint16_t)at;
	f->len = (uint32_t)len;
	f->domid = 9;
	for (unsigned int i = 0; at < len; i++) {
		size_t left = len - at, n = i + 1 < pieces ? rnd((uint32_t)left + 1) : left;

		/* granted: within a page; what is left over goes into local memory */
		if (i + 1 < pieces && i % 3 != 0) {
			n = n > 4096 - at % 4096 ? 4096 - at % 4096 : n;
			f->seg[f->nseg++] = (struct frame_seg){.gref = (uint32_t)(at / 4096),
							       .off = (uint16_t)(at % 4096),
							       .len = (uint32_t)n};
		} else {
			f->seg[f->nseg++] =
			    (struct frame_seg){.local = whole + at, .len = (uint32_t)n};
		}
		at += n;
	}
	f->csum = CSUM_PARTIAL;
	f->csum_start = (uint16_t)oracle_l4(whole);
	f->csum_offset = 16;
	f->gso = whole[12] == 0x86 ? GSO_TCPV6 : GSO_TCPV4;
}

/* The bytes that a port would send for it. */
static size_t flatten(const struct frame *f, uint8_t *to)
{
	size_t at = f->header_len;

	memcpy(to, f->header, at);
	for (unsigned int i = 0; i < f->nseg; i++) {
		const struct frame_seg *s = &f->seg[i];

		CHECK(s->local || s->off + s->len <= 4096);
		memcpy(to + at, s->local ? s->local : whole + s->gref * 4096u + s->off, s->len);
		at += s->len;
	}
	return at;
}

/* Whether all packets of the frame are the oracle's. */
static bool cut_is_right(const struct frame *f, size_t len)
{
	unsigned int n = oracle_count(whole, len, f->gso_size);
	struct convert_cut cut;
	uint32_t slots = 0;
	struct frame part;

	if (!CHECK(convert_begin(&cut, f) == 0) || !CHECK(cut.count == n))
		return false;
	for (unsigned int k = 0; k < n; k++)
		slots += (convert_len(&cut, k) + 4095) / 4096;
	CHECK_INT(convert_slots(&cut, 4096), slots);
	for (unsigned int k = 0; k < n; k++) {
		size_t right = oracle_piece(whole, len, f->gso_size, k, want);
		uint16_t csum;

		CHECK_INT(convert_len(&cut, k), right);
		convert_next(&cut, &part);
		CHECK_INT(part.len, right);
		CHECK_INT(part.domid, 9);
		CHECK_INT(part.gso, GSO_NONE);
		CHECK_INT(part.csum, CSUM_PARTIAL);
		CHECK(part.header_len <= FRAME_HEADER_MAX && part.nseg <= FRAME_SEG_MAX);
		if (!CHECK(flatten(&part, got) == right))
			return false;
		/* as the last hop does */
		csum = csum_final(csum_bytes(got + part.csum_start, right - part.csum_start, 0),
				  part.csum_offset);
		memcpy(got + part.csum_start + part.csum_offset, &csum, 2);
		if (!CHECK(memcmp(got, want, right) == 0) || !CHECK(oracle_is_right(got, right)))
			return false;
	}
	return CHECK(cut.left == 0);
}

static void test_random(void)
{
	test_case("X4.5_segments_of_random_frames_are_the_oracles");
	for (unsigned int i = 0; i < 3000; i++) {
		struct oracle_spec s = {
		    .ipv6 = rnd(2),
		    .ip_options = rnd(4) ? 0 : 8 * rnd(3),
		    .tcp_options = 4 * rnd(11),
		    .tcp_flags = (uint8_t)rnd(256),
		    .seq = rnd(UINT32_MAX),
		    .id = (uint16_t)rnd(65536),
		    .seed = (uint8_t)rnd(256),
		};
		uint64_t seed = state;
		size_t room, len;
		struct frame f;

		room = 65535 - 14 - (s.ipv6 ? 40 : 20) - s.ip_options - 20 - s.tcp_options;
		s.payload = rnd(8) ? rnd(10000) : rnd((uint32_t)room);
		len = oracle_make(whole, &s);
		describe(&f, len, (uint16_t)(rnd(2) ? 192 : 150 + rnd(107)),
			 1 + rnd(FRAME_SEG_MAX));
		f.gso_size = (uint16_t)(rnd(4) ? 500 + rnd(1500) : 40 + rnd(9000));
		if (!cut_is_right(&f, len)) {
			printf("  frame %u: state %llu\n", i, (unsigned long long)seed);
			return;
		}
	}
}

/* One frame of 3 packets, looked at field by field. */
static void test_fields(void)
{
	struct oracle_spec s = {
	    .payload = 2500, .tcp_flags = 0xff, .seq = 0xfffffc00, .id = 0xffff, .tcp_options = 12};
	struct convert_cut cut;
	struct frame f, part[3];

	test_case("X4.5_flags_sequence_and_identification_of_segments");
	describe(&f, oracle_make(whole, &s), 192, 4);
	f.gso_size = 1000;
	CHECK_INT(convert_begin(&cut, &f), 0);
	CHECK_INT(cut.count, 3);
	for (int k = 0; k < 3; k++)
		convert_next(&cut, &part[k]);
	CHECK_INT(part[0].header[47], 0xf6); /* no FIN, no PSH */
	CHECK_INT(part[1].header[47], 0x76); /* no CWR either */
	CHECK_INT(part[2].header[47], 0x7f);
	CHECK(memcmp(part[0].header + 38, "\xff\xff\xfc\x00", 4) == 0);
	CHECK(memcmp(part[1].header + 38, "\xff\xff\xff\xe8", 4) == 0);
	CHECK(memcmp(part[2].header + 38, "\x00\x00\x03\xd0", 4) == 0); /* it wrapped */
	CHECK(memcmp(part[0].header + 18, "\xff\xff", 2) == 0);
	CHECK(memcmp(part[1].header + 18, "\x00\x00", 2) == 0);
	CHECK(memcmp(part[2].header + 18, "\x00\x01", 2) == 0);
	CHECK(memcmp(part[0].header + 16, "\x04\x1c", 2) == 0); /* 20 + 32 + 1000 */
	CHECK(memcmp(part[2].header + 16, "\x02\x28", 2) == 0);

	test_case("a frame that one packet holds is that packet");
	f.gso_size = 2500;
	CHECK_INT(convert_begin(&cut, &f), 0);
	CHECK_INT(cut.count, 1);
	CHECK_INT(convert_slots(&cut, 4096), 1);
	convert_next(&cut, &part[0]);
	CHECK_INT(part[0].len, f.len);
	CHECK(memcmp(part[0].header, f.header, 54 + 12) == 0);
	s.payload = 0;
	describe(&f, oracle_make(whole, &s), 192, 1);
	f.gso_size = 1448;
	CHECK_INT(convert_begin(&cut, &f), 0);
	CHECK_INT(cut.count, 1);
	CHECK_INT(convert_len(&cut, 0), 66);
}

/* What headers and descriptor must agree on; none of it is the sender's to say. */
static void test_refused(void)
{
	struct convert_cut cut;
	struct frame good, f;

	test_case("a descriptor that its headers do not fit is not cut");
	describe(&good, oracle_make(whole, &(struct oracle_spec){.payload = 5000}), 192, 3);
	good.gso_size = 1448;
	CHECK_INT(convert_begin(&cut, &good), 0);
#define REFUSED(change)                                                                            \
	do {                                                                                       \
		f = good;                                                                          \
		change;                                                                            \
		CHECK_INT(convert_begin(&cut, &f), -EINVAL);                                       \
	} while (0)
	REFUSED(f.gso = GSO_NONE);
	REFUSED(f.gso = GSO_TCPV6);
	REFUSED(f.gso_size = 0);
	REFUSED(f.csum = CSUM_NONE);
	REFUSED(f.csum_offset = 6);
	REFUSED(f.csum_start = 0);
	REFUSED(f.csum_start = 38);
	REFUSED(f.csum_start = 180);
	REFUSED(f.header[14] = 0x46);
	REFUSED(f.header[14] = 0x65);
	REFUSED(f.header[12] = 0x86);
	REFUSED(f.header[46] = 0x40); /* TCP header of 16 bytes */
	REFUSED(f.header_len = 50);
	REFUSED((f.header_len = 60, f.header[46] = 0xf0)); /* options beyond header[] */
	describe(&good, oracle_make(whole, &(struct oracle_spec){.ipv6 = true, .payload = 5000}),
		 192, 3);
	good.gso_size = 1428;
	CHECK_INT(convert_begin(&cut, &good), 0);
	REFUSED(f.gso = GSO_TCPV4);
	REFUSED(f.csum_start = 34);
	REFUSED(f.header[14] = 0x45);
#undef REFUSED
}

/* Headers and descriptors of any content: refused, or cut into packets that hold just
 * what the frame holds. Bounds are the sanitizer's to watch. */
static void test_any(void)
{
	unsigned int cuts = 0;
	size_t len = 0;

	test_case("any headers are refused or cut within bounds");
	for (unsigned int i = 0; i < 20000; i++) {
		struct oracle_spec s = {.ipv6 = rnd(2), .payload = rnd(20000), .tcp_options = 12};
		struct convert_cut cut;
		struct frame f, part;
		size_t payload = 0;

		if (i % 50 == 0)
			len = oracle_make(whole, &s);
		describe(&f, len, 192, 1 + rnd(FRAME_SEG_MAX));
		f.gso_size = (uint16_t)(1 + rnd(3000));
		for (uint32_t k = rnd(4); k > 0; k--)
			f.header[rnd(4) ? 12 + rnd(60) : rnd(256)] = (uint8_t)rnd(256);
		if (rnd(4) == 0)
			f.csum_start = (uint16_t)rnd(rnd(2) ? 300 : 65536);
		if (rnd(8) == 0)
			f.gso = (uint8_t)rnd(3);
		if (convert_begin(&cut, &f))
			continue;
		cuts++;
		CHECK(cut.count <= f.len && convert_slots(&cut, 4096) >= cut.count);
		while (cut.next < cut.count) {
			uint32_t n = convert_len(&cut, cut.next);

			convert_next(&cut, &part);
			CHECK(part.len == n && part.header_len <= FRAME_HEADER_MAX);
			CHECK(flatten(&part, got) == n);
			payload += n - cut.headers;
		}
		if (!CHECK(payload == f.len - cut.headers))
			return;
	}
	CHECK(cuts > 1000);
}

/* X4.5: what is done for whom. */
static void test_needed(void)
{
	static const struct convert_can all = {true, true, true, true, true};
	struct convert_need need;
	struct frame f;

	test_case("X4.5_what_each_peer_needs");
	for (int v6 = 0; v6 < 2; v6++) {
		struct oracle_spec s = {.ipv6 = v6, .payload = 5000};
		struct convert_can can;

		describe(&f, oracle_make(whole, &s), 192, 3);
		f.gso_size = 1400;
#define NEEDS(change, cut_, sum_)                                                                  \
	do {                                                                                       \
		can = all;                                                                         \
		change;                                                                            \
		CHECK_INT(convert_needed(&f, &can, FRAME_LEN_MAX, &need), 0);                      \
		CHECK_INT(need.cut, cut_);                                                         \
		CHECK_INT(need.sum, sum_);                                                         \
	} while (0)
		NEEDS((void)0, false, false);
		NEEDS(can.sg = false, true, false);
		NEEDS(can.gso4 = false, !v6, false);
		NEEDS(can.gso6 = false, v6, false);
		NEEDS(can.csum4 = false, !v6, !v6);
		NEEDS(can.csum6 = false, v6, v6);
		NEEDS((can = (struct convert_can){0}), true, true);
		can = all;
		CHECK_INT(convert_needed(&f, &can, 4999, &need), 0);
		CHECK(need.cut && !need.sum); /* too long to be said */
		f.gso = GSO_NONE;
		NEEDS((can = (struct convert_can){0}), false, true);
		f.csum = CSUM_VALID;
		NEEDS((can = (struct convert_can){0}), false, false);
#undef NEEDS
		f.csum = CSUM_PARTIAL;
		f.csum_start = 0; /* nobody said where */
		can = (struct convert_can){0};
		CHECK_INT(convert_needed(&f, &can, FRAME_LEN_MAX, &need), -EOPNOTSUPP);
		f.csum_start = 34;
		f.csum_offset = 192 - 35; /* beyond the private copy */
		CHECK_INT(convert_needed(&f, &can, FRAME_LEN_MAX, &need), -EOPNOTSUPP);
	}
}

static void test_sums(void)
{
	uint8_t zero[4] = {0xff, 0xff, 0, 0};

	test_case("X4.4_a_sum_over_pieces_of_any_length");
	for (unsigned int i = 0; i < 2000; i++) {
		size_t len = rnd(3000), at = 0;
		uint64_t sum = 0;

		for (size_t k = 0; k < len; k++)
			got[k] = (uint8_t)rnd(256);
		while (at < len) {
			size_t n = 1 + rnd((uint32_t)(len - at));

			sum = csum_piece(got + at, n, at & 1, sum);
			at += n;
		}
		if (!CHECK(csum_fold(sum) == csum_fold(csum_bytes(got, len, 0))))
			break;
	}
	test_case("X4.4_zero_of_udp_is_ffff");
	CHECK_INT(csum_final(csum_bytes(zero, 4, 0), 6), 0xffff);
	CHECK_INT(csum_final(csum_bytes(zero, 4, 0), 16), 0);
}

int main(void)
{
	test_random();
	test_fields();
	test_refused();
	test_any();
	test_needed();
	test_sums();
	return test_end();
}
