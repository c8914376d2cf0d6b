/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to history*.c. */
#ifndef TESTS_FAKE_HISTORY_IMPL_H
#define TESTS_FAKE_HISTORY_IMPL_H

#include "tests/fake/fake_backend.h"
#include "tests/fake/history.h"
#include "tests/fake/rig.h"

#define HISTORY_VIFS 2

struct history_vif {
	struct front fr;
	uint16_t domid, devid;
	char home[32];
	bool published; /* rings are in F, granted */
	bool usable;	/* and a backend can connect to them */
	bool denied, dead;
};

struct history {
	struct rig r;
	struct fake_use base;
	struct front good;
	struct history_vif vif[HISTORY_VIFS], *intruder;
	struct fake_backend netvm;
	bool netvm_denied;
	const uint8_t *script;
	size_t left;
	bool trace;
	char wrong[200];
};

void history_wrong(struct history *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** history_good() - the honest client does what it has to do now */
void history_good(struct history *h);

/* history_model.c */
/** history_change() - before each write of ours: is it allowed? */
void history_change(void *arg, const char *path, const char *value);
/** history_now() - what holds between any two steps */
void history_now(struct history *h);
/** history_settle() - no more bad luck, time goes by, and everybody is at rest */
void history_settle(struct history *h);

#endif
