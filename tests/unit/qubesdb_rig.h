/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the QubesDB tests share: the events of a client as text, one a line,
 *
 *	commit 10.137.0.5 0000=action=accept policy=drop
 *	gone 10.137.0.5 / changed /path / changed * / synced / lost reason
 *
 * and a clock of their own. A client is only called when its descriptor is
 * ready or its deadline has passed, as the loop does it; so a lost wakeup
 * shows as a test that stands still.
 */
#ifndef TESTS_UNIT_QUBESDB_RIG_H
#define TESTS_UNIT_QUBESDB_RIG_H

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qubesdb/source.h"
#include "tests/unit/check.h"

struct rig {
	struct qubesdb *db;
	uint64_t now, deadline;
	char *events; /* since the last rig_clear() */
	size_t len, cap;
	unsigned commits, syncs, losses, calls;
	const char *handled; /* write this key at each commit, as the daemon does */
	char last_log[512];
};

static inline void rig_say(struct rig *r, const char *a, const char *b, const char *c)
{
	size_t n = strlen(a) + strlen(b) + strlen(c);

	if (r->len + n + 1 > r->cap) {
		r->cap = 2 * (r->len + n + 1);
		r->events = realloc(r->events, r->cap);
	}
	memcpy(r->events + r->len, a, strlen(a));
	memcpy(r->events + r->len + strlen(a), b, strlen(b));
	memcpy(r->events + r->len + strlen(a) + strlen(b), c, strlen(c) + 1);
	r->len += n;
}

static inline void rig_clear(struct rig *r)
{
	r->len = 0;
	rig_say(r, "", "", "");
}

static inline void rig_synced(void *arg)
{
	struct rig *r = arg;

	r->syncs++;
	rig_say(r, "synced\n", "", "");
}

static inline void rig_commit(void *arg, const char *source, const struct qubesdb_pair *pairs,
			      size_t n)
{
	struct rig *r = arg;
	char count[24];

	r->commits++;
	rig_say(r, "commit ", source, "");
	for (size_t i = 0; i < n; i++) {
		rig_say(r, " ", pairs[i].key, "=");
		rig_say(r, pairs[i].value, "", "");
	}
	rig_say(r, "\n", "", "");
	snprintf(count, sizeof(count), "%u", r->commits);
	if (r->handled)
		CHECK_INT(qubesdb_write(r->db, r->handled, count, strlen(count)), 0);
}

static inline void rig_gone(void *arg, const char *source)
{
	rig_say(arg, "gone ", source, "\n");
}

static inline void rig_changed(void *arg, const char *path)
{
	rig_say(arg, "changed ", path ? path : "*", "\n");
}

static inline void rig_lost(void *arg, const char *reason)
{
	struct rig *r = arg;

	r->losses++;
	rig_say(r, "lost ", reason, "\n");
}

static inline void rig_log(void *arg, int level, const char *text)
{
	struct rig *r = arg;

	(void)level;
	snprintf(r->last_log, sizeof(r->last_log), "%s", text);
}

static const struct qubesdb_events rig_events = {
	.synced = rig_synced,
	.commit = rig_commit,
	.gone = rig_gone,
	.changed = rig_changed,
	.lost = rig_lost,
	.log = rig_log,
};

static inline void rig_init(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	rig_clear(r);
	r->now = 1000;
}

static inline void rig_end(struct rig *r)
{
	qubesdb_free(&r->db);
	free(r->events);
}

/* One call of the client if there is reason for one. Return: whether there was. */
static inline bool rig_turn(struct rig *r)
{
	struct pollfd p = { .fd = qubesdb_fd(r->db), .events = POLLIN };

	if (qubesdb_want_write(r->db))
		p.events |= POLLOUT;
	if (r->deadline > r->now && (p.fd < 0 || poll(&p, 1, 0) <= 0))
		return false;
	r->deadline = qubesdb_process(r->db, r->now);
	r->calls++;
	return true;
}

#endif
