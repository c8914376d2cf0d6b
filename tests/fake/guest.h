/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guests of a struct fake that do what their network drivers do, and dom0's libxl.
 * front.c has the rings; here is the order of states of three kinds of driver, as
 * they wait for ours. guest_run() and libxl_run() go as far as they can at this
 * instant of the fake's; the test lets time go by.
 *
 *	Linux	 netback_changed() of xen-netfront: at 2 connect, at 5 or 6 close; what
 *		 it closed it never opens again by itself
 *	Windows	 xenvif closes before its first connect (5, 6), then opens (1), each
 *		 time spinning at raised priority until the backend has followed
 *	mini-os	 rings and 4 in one transaction, without waiting for 2; closes (5, 6, 1)
 *		 and opens again during boot; one event channel, no rx-notify, and an
 *		 event for each single completion
 */
#ifndef TESTS_FAKE_GUEST_H
#define TESTS_FAKE_GUEST_H

#include "tests/fake/front.h"

enum guest_kind { GUEST_LINUX, GUEST_WINDOWS, GUEST_MINIOS };
#define GUEST_KINDS 3

struct guest {
	struct front fr; /* first */
	enum guest_kind kind;
	unsigned int step;  /* of its script */
	unsigned int spins; /* Windows: looks at a backend that has not moved */
	unsigned int opens, closes;
	bool published; /* rings are granted */
	bool ejected;	/* Windows: the directory vanished under it; it is gone for good */
	bool stuck;	/* does nothing any more */
};

/** guest_boot() - libxl has attached it (front_plug()), its kernel starts */
void guest_boot(struct guest *g, struct fake *f, enum guest_kind kind, uint16_t domid,
		uint16_t devid, const char *ip);
/** guest_run() - do what can be done now; whether it did anything */
bool guest_run(struct guest *g);
/** guest_close() - the guest's own wish: rmmod, a disabled adapter, netvm = none */
void guest_close(struct guest *g);
/** guest_open() - and back */
void guest_open(struct guest *g);
/** guest_is_up() - both sides at 4 */
bool guest_is_up(const struct guest *g);
/** guest_die() - its memory goes; dom0's part is fake_domain_destroy() */
void guest_die(struct guest *g);

/** What libxl does to one device: xl network-attach, network-detach. */
struct libxl {
	struct fake *f;
	struct front *fr;
	enum { LIBXL_IDLE, LIBXL_ADD, LIBXL_CLOSE, LIBXL_VANISH } doing;
	uint64_t since_ms;
	const char *error; /* NULL: none */
};

#define LIBXL_TIMEOUT_MS 10000

/** libxl_add() - wait for exactly 2, after front_plug() */
void libxl_add(struct libxl *x, struct fake *f, struct front *fr, uint64_t now_ms);
/** libxl_remove() - online 0, 5; wait for 6, then for the end of the directory */
void libxl_remove(struct libxl *x, struct fake *f, struct front *fr, uint64_t now_ms);
/** libxl_run() - look; whether it is done (with or without an error) */
bool libxl_run(struct libxl *x, uint64_t now_ms);

#endif
