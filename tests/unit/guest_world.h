/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of clients share: netback over a fake Xen, a Linux guest in domain 3
 * that nothing may disturb, and the three questions of hostile-peers.md section 5: in
 * what state is the attacked vif, do the others' packets still pass, is everything
 * back that was taken.
 */
#ifndef TESTS_UNIT_GUEST_WORLD_H
#define TESTS_UNIT_GUEST_WORLD_H

#include "tests/fake/guest.h"
#include "tests/fake/rig.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdlib.h>

static struct rig r;
static struct guest good;
static struct fake_use base;
static unsigned int base_nodes;

static inline unsigned int own_nodes(void)
{
	return fake_store_nodes(r.f, "/local/domain/7");
}

static inline void run(struct guest **g, size_t n)
{
	bool moved;

	do {
		rig_poll(&r);
		moved = guest_run(&good);
		for (size_t i = 0; i < n; i++)
			moved |= guest_run(g[i]);
	} while (moved);
}

static inline void run_for(struct guest **g, size_t n, uint64_t ms)
{
	for (uint64_t t = 0; t < ms; t += 50) {
		run(g, n);
		rig_wait(&r, 50);
	}
	run(g, n);
}

static inline void begin(void)
{
	rig_start(&r);
	guest_boot(&good, r.f, GUEST_LINUX, 3, 0, "10.137.0.3");
	run(NULL, 0);
	if (!CHECK(guest_is_up(&good)))
		exit(1);
	base = fake_use(r.f);
	base_nodes = own_nodes();
}

static inline struct port *port_of(const struct guest *g)
{
	char name[32];

	snprintf(name, sizeof(name), "vif%u.%u", g->fr.domid, g->fr.devid);
	return rig_port(&r, name);
}

/* A packet of this guest to itself. */
static inline bool echo(struct guest *g)
{
	static uint8_t bytes[900], got[1000];
	const struct front_packet p = {.data = bytes, .len = sizeof(bytes)};
	struct port *port = port_of(g);
	bool ok;

	bytes[0]++;
	ok = port && port->link && front_send(&g->fr, &p) && rig_move(&r, port, port) == 1 &&
	     front_recv(&g->fr, got, sizeof(got), NULL, false) == (long)sizeof(bytes) &&
	     memcmp(got, bytes, sizeof(bytes)) == 0;
	front_reap(&g->fr);
	return ok && front_in_flight(&g->fr) == 0 && g->fr.bad == 0;
}

static inline void check_base_line(void)
{
	struct fake_use u = fake_use(r.f);
	unsigned int known = 0;

	for (size_t i = 0; i < RIG_PORTS; i++)
		known += r.port[i] != NULL;
	CHECK(echo(&good));
	CHECK_INT(u.maps, base.maps);
	CHECK_INT(u.ports, base.ports);
	CHECK_INT(u.shared_pages, base.shared_pages);
	CHECK_INT(u.watches, base.watches + known - 1); /* one for each closed vif */
	CHECK_INT(u.transactions, base.transactions);
}

static inline void end(void)
{
	CHECK(guest_is_up(&good));
	CHECK_INT(good.closes, 0);
	rig_end(&r);
}

/* Attached, up, detached by libxl; @follow: the guest takes part in its detach. */
static inline void attach(struct guest *g, enum guest_kind kind, uint16_t domid)
{
	struct libxl x;

	guest_boot(g, r.f, kind, domid, 0, "10.137.0.9");
	libxl_add(&x, r.f, &g->fr, r.now_ms);
	rig_poll(&r);			/* one look of ours */
	CHECK(libxl_run(&x, r.now_ms)); /* no stall: 2 stands there now */
	CHECK_STR(x.error ? x.error : "", "");
}

static inline void detach(struct guest *g)
{
	struct libxl x;
	uint64_t at = r.now_ms;

	libxl_remove(&x, r.f, &g->fr, r.now_ms);
	while (!libxl_run(&x, r.now_ms))
		run_for(&g, 1, 50);
	CHECK_STR(x.error ? x.error : "", "");
	CHECK(r.now_ms - at <= 5000);
	rig_poll(&r);
	CHECK(port_of(g) == NULL);
	/* the domain's directory below backend/vif stays, as libxl leaves it */
	fake_store_del(r.f, "/local/domain/7/backend/vif/5");
}

#endif
