/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vchan client, its events (qubesdb_rig.h) and a strict dom0, both in memory.
 */
#ifndef TESTS_UNIT_QUBESDB_WORLD_H
#define TESTS_UNIT_QUBESDB_WORLD_H

#include "tests/fake/vchan.h"
#include "tests/unit/qubesdb_rig.h"

struct world {
	struct rig r;
	struct fake_vchan v;
	struct fake_dom0 d;
};

static inline void world_init(struct world *w)
{
	rig_init(&w->r);
	fake_vchan_init(&w->v);
	fake_dom0_init(&w->d, &w->v);
	CHECK_INT(qdb_base_new(&w->r.db, &rig_events, &w->r), 0);
	CHECK_INT(qdb_client_new(w->r.db, &fake_vchan_ops, &w->v), 0);
}

static inline void world_end(struct world *w)
{
	CHECK_STR(w->d.dead, "");
	rig_end(&w->r);
	CHECK(w->v.freed);
	fake_dom0_end(&w->d);
	fake_vchan_end(&w->v);
}

/* Both sides until neither has anything to do; the clock stands still. */
static inline void settle(struct world *w)
{
	bool busy = true;
	int i;

	for (i = 0; i < 200000 && busy; i++) {
		busy = fake_dom0_run(&w->d);
		busy = rig_turn(&w->r) || busy;
	}
	CHECK(!busy);
}

static inline void settle_after(struct world *w, unsigned ms)
{
	w->r.now += ms;
	settle(w);
}

static inline void connect_world(struct world *w)
{
	fake_vchan_announce(&w->v);
	settle(w);
	CHECK_INT(qubesdb_state(w->r.db), QUBESDB_READY);
	CHECK_STR(qubesdb_reason(w->r.db), "");
}

static inline void set(struct world *w, const char *path, const char *value)
{
	fake_dom0_set(&w->d, path, value, strlen(value));
}

static inline void update(struct world *w, const char *source, const char *rule)
{
	char path[128];

	snprintf(path, sizeof(path), "/qubes-firewall/%s/", source);
	fake_dom0_rm(&w->d, path);
	snprintf(path, sizeof(path), "/qubes-firewall/%s/policy", source);
	fake_dom0_write(&w->d, path, "drop");
	snprintf(path, sizeof(path), "/qubes-firewall/%s/0000", source);
	fake_dom0_write(&w->d, path, rule);
	snprintf(path, sizeof(path), "/qubes-firewall/%s", source);
	fake_dom0_write(&w->d, path, "");
}

static inline const char *dom0_has(struct world *w, const char *path)
{
	const struct fake_key *k = fake_dom0_get(&w->d, path);

	return k ? k->value : "(none)";
}

#endif
