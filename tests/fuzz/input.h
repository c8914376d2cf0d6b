/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What harnesses have in common: the input as a program, byte by byte, and a check
 * that says where it failed.
 */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(cond)                                                                              \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                 \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct input {
	const uint8_t *p;
	size_t n;
};

/* The next byte; behind the end they are 0. */
static inline uint8_t next(struct input *in)
{
	if (!in->n)
		return 0;
	in->n--;
	return *in->p++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
