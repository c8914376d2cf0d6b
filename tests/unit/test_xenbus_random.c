/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random histories of xenbus against the model of tests/fake/history.h, the same
 * ones each time. `test_xenbus_random SEED` plays one and prints its steps.
 */
#include "tests/fake/history.h"
#include "tests/unit/check.h"

#include <stdlib.h>

#define HISTORIES 800

/* splitmix64: one stream of bytes for each seed */
static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static const char *play(unsigned int seed, bool trace)
{
	uint8_t script[512];
	uint64_t state = seed;
	size_t len = 16 + next(&state) % (sizeof(script) - 16);

	for (size_t i = 0; i < len; i++)
		script[i] = (uint8_t)next(&state);
	return history_run(script, len, trace);
}

int main(int argc, char **argv)
{
	const char *wrong;

	test_case("hp_state_fuzz_random_histories");
	if (argc > 1) {
		wrong = play((unsigned int)strtoul(argv[1], NULL, 10), true);
		CHECK_STR(wrong ? wrong : "", "");
		return test_end();
	}
	for (unsigned int seed = 1; seed <= HISTORIES; seed++) {
		wrong = play(seed, false);
		if (!wrong)
			continue;
		CHECK_STR(wrong, "");
		printf("  seed %u\n", seed);
	}
	return test_end();
}
