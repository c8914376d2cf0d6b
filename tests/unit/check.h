/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The whole test framework: a check, a count, a last line.
 *
 * A test program calls test_case("P4_checksum_delta") before each case and
 * CHECK() inside; a case passes when all its checks did. End main() with
 * `return test_end();`.
 */
#ifndef TESTS_UNIT_CHECK_H
#define TESTS_UNIT_CHECK_H

#include <stdio.h>
#include <string.h>

static struct {
	const char *name;
	int passed, failed, open, bad;
} test_state;

static inline void test_close(void)
{
	if (!test_state.open)
		return;
	test_state.open = 0;
	if (test_state.bad)
		test_state.failed++;
	else
		test_state.passed++;
}

static inline void test_case(const char *name)
{
	test_close();
	test_state.name = name;
	test_state.open = 1;
	test_state.bad = 0;
}

static inline int test_end(void)
{
	test_close();
	printf("%d passed, %d failed\n", test_state.passed, test_state.failed);
	return test_state.failed != 0 || test_state.passed == 0;
}

static inline int test_fail(const char *file, int line, const char *what)
{
	printf("%s:%d: %s: %s\n", file, line, test_state.name ? test_state.name : "?", what);
	test_state.bad = 1;
	return 0;
}

#define CHECK(cond) ((cond) ? 1 : test_fail(__FILE__, __LINE__, #cond))

#define CHECK_STR(got, want)                                                                       \
	do {                                                                                       \
		const char *got_ = (got), *want_ = (want);                                         \
		if (strcmp(got_, want_) != 0) {                                                    \
			test_fail(__FILE__, __LINE__, #got " is not " #want);                      \
			printf("  got  \"%s\"\n  want \"%s\"\n", got_, want_);                     \
		}                                                                                  \
	} while (0)

#define CHECK_INT(got, want)                                                                       \
	do {                                                                                       \
		long long got_ = (long long)(got), want_ = (long long)(want);                      \
		if (got_ != want_) {                                                               \
			test_fail(__FILE__, __LINE__, #got " is not " #want);                      \
			printf("  got  %lld\n  want %lld\n", got_, want_);                         \
		}                                                                                  \
	} while (0)

#endif
