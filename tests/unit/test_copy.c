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
	uint8_t *page[COPY_STAGE_PAGES];

	test_case("staging pages are distinct, bounded and free after a run");
	begin();
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < COPY_STAGE_PAGES; i++) {
			page[i] = copy_batch_stage(b);
			if (!CHECK(page[i] != NULL))
				break;
			memset(page[i], i, XEN_PAGE);
		}
		for (int i = 0; i < COPY_STAGE_PAGES; i++)
			CHECK(page[i][0] == i && page[i][XEN_PAGE - 1] == i);
		CHECK(copy_batch_stage(b) == NULL);
		copy_batch_run(b);
	}
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
	test_no_xen();
	return test_end();
}
