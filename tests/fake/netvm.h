/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A netvm with Linux' netback: fake_backend.c has the rings, here is the order of its
 * states (frontend_changed() and set_backend_state() of xen-netback), its hotplug
 * script and its end. netvm_run() goes as far as it can at this instant.
 */
#ifndef TESTS_FAKE_NETVM_H
#define TESTS_FAKE_NETVM_H

#include "tests/fake/fake_backend.h"

struct netvm {
	struct fake_backend b; /* first */
	struct fake_backend_config config;
	const char *mac;
	bool script_late; /* the hotplug script is not done: no 4 */
	bool paused;	  /* suspended with the host: does nothing */
};

/** netvm_start() - the domain starts and dom0 attaches us to it; state 1 on both sides */
void netvm_start(struct netvm *n, struct fake *f, uint16_t domid, uint16_t devid, const char *mac);
/** netvm_run() - netback looks at the frontend's state; whether it did anything */
bool netvm_run(struct netvm *n);
/** netvm_detach() - libxl's removal: online 0, 5; then the two directories go */
void netvm_detach(struct netvm *n);
void netvm_detached(struct netvm *n);
/** netvm_reload() - rmmod and modprobe of netback: closes, then begins anew */
void netvm_reload(struct netvm *n);
/** netvm_die() - xl destroy; reads of its nodes give @err from now on */
void netvm_die(struct netvm *n, int err);
/** netvm_is_up() - both sides at 4 */
bool netvm_is_up(struct netvm *n);

#endif
