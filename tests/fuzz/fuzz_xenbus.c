/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hp_state_fuzz: the xenbus states of vifs and uplink under any history: frontend
 * and backend states, writes of the toolstack, removed and unreadable nodes, failing
 * operations, time, our own end. tests/fake/history.h says what must hold.
 *
 * HISTORY_TRACE=1 in the environment prints the steps of an input.
 */
#include "tests/fake/history.h"
#include "tests/fuzz/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *wrong = history_run(data, size, getenv("HISTORY_TRACE") != NULL);

	if (wrong) {
		fprintf(stderr, "%s\n", wrong);
		abort();
	}
	return 0;
}
