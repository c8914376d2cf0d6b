// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Copy batches over the fake grant table: both directions in one batch, order,
 * bounds, and each op of a batch failing once.
 */
#include "netback/copy.h"
#include "tests/fake/fake.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdlib.h>

#define SELF 7
#define A 3
#define B 4

static struct fake *f;
static struct copy_batch *b;
static uint8_t *page_a, *page_b;
static uint32_t gref_a, gref_b, gref_ro;

static void begin(void)
{
	if (fake_new(&f, SELF) || copy_batch_new(&b, fake_xen(f)))
		abort();
	page_a = fake_page_new(f);
	page_b = fake_page_new(f);
	gref_a = fake_grant(f, A, page_a, false);
	gref_b = fake_grant(f, B, page_b, false);
	gref_ro = fake_grant(f, A, page_a, true);
	for (size_t i = 0; i < XEN_PAGE; i++)
		page_a[i] = (uint8_t)(i * 7);
}

static void end(void)
{
	copy_batch_free(&b);
	fake_free(&f);
}

static void test_directions(void)
{
	uint8_t local[64] = {0};
	bool failed = false;

	test_case("three kinds of copy, one call a direction");
	begin();
	copy_from_grant(b, A, gref_a, 100, local, 64, &failed);
	copy_grant_to_grant(b, A, gref_a, 4000, B, gref_b, 0, 96, &failed);
	copy_to_grant(b, "header", B, gref_b, 96, 6, &failed);
	copy_from_grant(b, A, gref_a, 0, local, 0, &failed); /* nothing to do */
	CHECK_INT(fake_count(f, FAKE_COPY_CALL), 0); /* nothing ran yet */
	copy_batch_run(b);
	CHECK(!failed);
	CHECK_INT(memcmp(local, page_a + 100, 64), 0);
	CHECK_INT(memcmp(page_b, page_a + 4000, 96), 0);
	CHECK_INT(memcmp(page_b + 96, "header", 6), 0);
	CHECK_INT(fake_count(f, FAKE_COPY_CALL), 2);
	CHECK_INT(copy_batch_stats(b)->ops, 3);
	CHECK_INT(copy_batch_stats(b)->bytes, 64 + 96 + 6);
	CHECK_INT(copy_batch_stats(b)->calls, 2);
	copy_batch_run(b);
	CHECK_INT(fake_count(f, FAKE_COPY_CALL), 2); /* empty: no call */
	end();
}

static void test_rights(void)
{
	uint8_t local[8];
	bool bad_ref = false, read_only = false, foreign = false, good = false;

	test_case("hp_316_status_per_op: rights of each op on its own");
	begin();
	copy_from_grant(b, A, 0xdeadbeef, 0, local, 8, &bad_ref);
	copy_from_grant(b, B, gref_a, 0, local, 8, &foreign); /* A's page, not B's */
	copy_to_grant(b, "x", A, gref_ro, 0, 1, &read_only);
	copy_from_grant(b, A, gref_ro, 0, local, 8, &good);
	copy_batch_run(b);
	CHECK(bad_ref && foreign && read_only && !good);
	CHECK_INT(copy_batch_stats(b)->failed, 3);
	end();
}

static void test_bounds(void)
{
	uint8_t local[XEN_PAGE + 1];
	bool failed = false, good = false;

	test_case("an op over a page's end fails alone, before the call");
	begin();
	copy_from_grant(b, A, gref_a, 1, local, XEN_PAGE, &failed);
	CHECK(failed);
	failed = false;
	copy_to_grant(b, local, B, gref_b, XEN_PAGE, 1, &failed);
	CHECK(failed);
	failed = false;
	copy_grant_to_grant(b, A, gref_a, 0, B, gref_b, 65535, 65535, &failed);
	CHECK(failed);
	copy_from_grant(b, A, gref_a, 0, local, XEN_PAGE, &good);
	copy_batch_run(b);
	CHECK(!good);
	CHECK_INT(memcmp(local, page_a, XEN_PAGE), 0);
	end();
}

/* hp_copy_fault_injection, of the batch: every op, and the whole call. */
static void test_each_fails(void)
{
	enum { N = 16 };
	uint8_t local[N];
	bool failed[N];

	test_case("hp_361_partial_batch: one op fails, in every position");
	begin();
	for (uint32_t bad = 0; bad < N; bad++) {
		memset(failed, 0, sizeof(failed));
		memset(local, 0xee, sizeof(local));
		for (uint16_t i = 0; i < N; i++)
			copy_from_grant(b, A, gref_a, i, &local[i], 1, &failed[i]);
		fake_fail(f, FAKE_COPY_OP, bad + 1, 1, FAKE_GNTST_BAD_GREF);
		copy_batch_run(b);
		for (uint32_t i = 0; i < N; i++) {
			CHECK_INT(failed[i], i == bad);
			CHECK_INT(local[i], i == bad ? 0xee : page_a[i]);
		}
	}
	memset(failed, 0, sizeof(failed));
	for (uint16_t i = 0; i < N; i++)
		copy_from_grant(b, A, gref_a, i, &local[i], 1, &failed[i]);
	fake_fail(f, FAKE_COPY_CALL, 1, 1, -EIO);
	copy_batch_run(b);
	for (uint32_t i = 0; i < N; i++)
		CHECK(failed[i]); /* statuses mean nothing then */
	end();
}

/* More ops than a list holds: order is kept, nothing is lost. */
static void test_full(void)
{
	enum { N = 5000 };
	static uint8_t local[N];
	bool failed = false;

	test_case("a full list runs early");
	begin();
	for (uint32_t i = 0; i < N; i++)
		copy_from_grant(b, A, gref_a, (uint16_t)(i % XEN_PAGE), &local[i], 1, &failed);
	copy_batch_run(b);
	CHECK(!failed);
	for (uint32_t i = 0; i < N; i++)
		if (!CHECK(local[i] == page_a[i % XEN_PAGE]))
			break;
	CHECK_INT(copy_batch_stats(b)->ops, N);
	CHECK_INT(copy_batch_stats(b)->calls, 3);
	end();
}

static void test_stage(void)
{
	enum { N = 64 };
	uint8_t *mem[N];

	test_case("staging memory is distinct, bounded, free after a run");
	begin();
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < N; i++) {
			mem[i] = copy_batch_stage(b, XEN_PAGE);
			if (!CHECK(mem[i] != NULL))
				break;
			memset(mem[i], i, XEN_PAGE);
		}
		for (int i = 0; i < N; i++)
			CHECK(mem[i][0] == i && mem[i][XEN_PAGE - 1] == i);
		CHECK(copy_batch_stage(b, 1) == NULL);
		copy_batch_run(b);
	}
	CHECK(copy_batch_stage(b, COPY_STAGE_SIZE + 1) == NULL);
	CHECK(copy_batch_stage(b, SIZE_MAX) == NULL);
	CHECK(copy_batch_stage(b, COPY_STAGE_SIZE) != NULL);
	CHECK(copy_batch_stage(b, 0) != NULL);
	copy_batch_run(b);

	test_case("what fits a page of staging memory does not cross one");
	for (size_t n = 1, at = 0; (mem[0] = copy_batch_stage(b, n)) != NULL;
	     n = n * 5 % 4093 + 1, at++) {
		CHECK_INT((uintptr_t)mem[0] % 64, 0);
		CHECK((uintptr_t)mem[0] % XEN_PAGE + n <= XEN_PAGE);
		CHECK(at < COPY_STAGE_SIZE / 64);
	}
	end();
}

/* From A's page by way of private memory to B's, with a checksum in between. */
static void test_sum(void)
{
	enum { LEN = 1001, N = 300 };
	uint8_t *mem, *held[2], want[2], old[64];
	bool failed[N] = {false};
	uint32_t sum = 0;

	test_case("a checksum is completed between the two stages");
	begin();
	for (size_t i = 34; i < LEN; i++)
		sum += (i - 34) % 2 ? page_a[i] : (uint32_t)page_a[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	want[0] = (uint8_t)(~sum >> 8);
	want[1] = (uint8_t)~sum;
	mem = copy_batch_stage(b, LEN);
	copy_from_grant(b, A, gref_a, 0, mem, LEN, &failed[0]);
	copy_sum(b, mem, LEN, 34, 16, &failed[0]);
	copy_to_grant(b, mem, B, gref_b, 100, LEN, &failed[0]);
	copy_batch_run(b);
	CHECK(!failed[0]);
	CHECK(memcmp(page_b + 150, want, 2) == 0);
	CHECK(memcmp(page_b + 100, page_a, 50) == 0);
	CHECK(memcmp(page_b + 152, page_a + 52, LEN - 52) == 0);

	test_case("more sums than are kept run early, in order");
	for (int i = 0; i < N; i++) {
		mem = copy_batch_stage(b, 64);
		copy_from_grant(b, A, gref_a, (uint16_t)i, mem, 64, &failed[i]);
		copy_sum(b, mem, 64, 0, 6, &failed[i]);
		copy_to_grant(b, mem, B, gref_b, (uint16_t)(i % 60 * 64), 64, &failed[i]);
	}
	copy_batch_run(b);
	for (int i = N - 60; i < N; i++) {
		const uint8_t *at = page_b + i % 60 * 64;

		sum = 0;
		for (int k = 0; k < 64; k++)
			sum += k % 2 ? page_a[i + k] : (uint32_t)page_a[i + k] << 8;
		while (sum >> 16)
			sum = (sum & 0xffff) + (sum >> 16);
		sum = ~sum & 0xffff;
		CHECK_INT(at[6] << 8 | at[7], sum ? sum : 0xffff);
		CHECK(!failed[i]);
	}

	test_case("running early for a sum takes no memory from anybody");
	for (int i = 0; i < 2; i++)
		held[i] = copy_batch_stage(b, 64);
	for (int i = 0; i < N; i++)
		copy_sum(b, held[i % 2], 64, 0, 6, &failed[i]);
	mem = copy_batch_stage(b, 64);
	CHECK(mem != held[0] && mem != held[1]);
	copy_batch_run(b);

	test_case("hp_403_tail_zeroed: a failed copy into staging memory shows nothing of before");
	mem = copy_batch_stage(b, 64);
	memset(mem, 0x5a, 64);
	memset(page_b, 0xee, 64);
	copy_from_grant(b, A, 0xdead, 0, mem, 64, &failed[0]);
	copy_sum(b, mem, 64, 0, 6, &failed[0]);
	copy_to_grant(b, mem, B, gref_b, 0, 64, &failed[1]);
	copy_batch_run(b);
	CHECK(failed[0] && !failed[1]);
	memset(old, 0, sizeof(old));
	CHECK(memcmp(page_b, old, 64) == 0);
	end();
}

/* An "out" that is full must not overtake what it needs. */
static void test_early_out(void)
{
	enum { N = 2100 };
	uint8_t *mem;
	bool failed = false;

	test_case("a full list of one direction does not overtake the other");
	begin();
	mem = copy_batch_stage(b, 16);
	memset(mem, 0, 16);
	copy_from_grant(b, A, gref_a, 16, mem, 16, &failed);
	for (int i = 0; i < N; i++)
		copy_to_grant(b, mem, B, gref_b, (uint16_t)(i % 16), 16, &failed);
	CHECK_INT(memcmp(page_b, page_a + 16, 1), 0);
	CHECK(copy_batch_stage(b, 16) != mem); /* still in use */
	copy_batch_run(b);
	CHECK(!failed);
	end();
}

static void test_no_xen(void)
{
	struct copy_batch *none;
	uint8_t local[4];
	bool failed = false;

	test_case("without Xen a granted page cannot be reached");
	CHECK_INT(copy_batch_new(&none, NULL), 0);
	copy_from_grant(none, A, 9, 0, local, 4, &failed);
	CHECK(failed);
	copy_batch_run(none);
	copy_batch_free(&none);
	CHECK(none == NULL);
	copy_batch_free(&none);
}

int main(void)
{
	test_directions();
	test_rights();
	test_bounds();
	test_each_fails();
	test_full();
	test_stage();
	test_sum();
	test_early_out();
	test_no_xen();
	return test_end();
}
