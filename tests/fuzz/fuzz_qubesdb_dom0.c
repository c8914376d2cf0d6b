// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The vchan client and a dom0 that keeps to the protocol, at any interleaving.
 *
 * fuzz_qubesdb.c looks at what the client makes of any bytes; here the other end
 * is the strict daemon of tests/fake/dom0.c, and the input is a program of steps:
 * updates of dom0's, writes of ours, losses at any byte, stalls, time. It aborts
 *  - when the daemon would have died of something that the client sent,
 *  - when a commit delivers what dom0 never committed and no sync found,
 *  - when the two do not agree in the end: tree, commits, nothing owed.
 *
 * dom0 owns what lies outside of /own/, we own what lies inside.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "qubesdb/source.h"
#include "tests/fake/vchan.h"
#include "tests/fuzz/input.h"
#include "tests/xen/qdb.h"

#define SOURCES	     3
#define VERSIONS_MAX 512

/* What the subtree of a source was whenever it may have counted. */
struct source {
	uint64_t version[VERSIONS_MAX];
	size_t versions;
	uint64_t told; /* what the last commit delivered, 0: nothing */
};

struct world {
	struct qubesdb *db;
	struct fake_vchan v;
	struct fake_dom0 d;
	uint64_t now, deadline;
	struct source source[SOURCES];
	size_t keys; /* of the view, seen by compare() */
	bool tree_lost; /* a sync brought nothing: the view may have more than dom0 */
};

static const char *const names[SOURCES] = { "10.137.0.1", "10.137.0.10", "fd09::1" };

static uint64_t hash(uint64_t h, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ (uint8_t)s[i]) * 0x100000001b3;
	return (h ^ 0xff) * 0x100000001b3;
}

/* --- dom0 ------------------------------------------------------------------------- */

static uint64_t dom0_version(const struct world *w, unsigned s)
{
	uint64_t h = 0xcbf29ce484222325;
	char prefix[64];
	size_t n = (size_t)snprintf(prefix, sizeof(prefix), "/qubes-firewall/%s/", names[s]);

	for (size_t i = 0; i < w->d.n; i++) {
		const struct fake_key *k = &w->d.keys[i];

		if (strncmp(k->path, prefix, n) != 0)
			continue;
		h = hash(h, k->path + n, strlen(k->path + n));
		h = hash(h, k->value, k->len);
	}
	return h;
}

static void remember(struct world *w, unsigned s)
{
	struct source *src = &w->source[s];

	if (src->versions < VERSIONS_MAX)
		src->version[src->versions++] = dom0_version(w, s);
}

static void dom0_turn(struct world *w)
{
	bool asked = w->d.asked;

	(void)fake_dom0_run(&w->d);
	if (w->d.dead[0]) {
		fprintf(stderr, "dom0's daemon died: %s\n", w->d.dead);
		abort();
	}
	if (!w->d.asked || asked)
		return;
	for (unsigned s = 0; s < SOURCES; s++)
		remember(w, s);
	w->tree_lost = w->tree_lost || w->d.n == 0;
}

static const char *value(struct input *in, char *buf)
{
	size_t len = next(in), n = 0;

	if (len > 250)
		len = QDB_VALUE;
	while (n < len && n < 16)
		buf[n++] = (char)(next(in) | 1); /* dom0 writes no NUL */
	while (n < len)
		buf[n++] = 'v';
	buf[n] = '\0';
	return buf;
}

static void step_dom0(struct world *w, struct input *in)
{
	char path[64], buf[QDB_VALUE + 1];
	uint8_t what = next(in);
	unsigned s = what % SOURCES;

	switch (what / SOURCES % 6) {
	case 0: /* an update begins */
		snprintf(path, sizeof(path), "/qubes-firewall/%s/", names[s]);
		fake_dom0_rm(&w->d, path);
		return;
	case 1:
		snprintf(path, sizeof(path), "/qubes-firewall/%s/policy", names[s]);
		fake_dom0_write(&w->d, path, value(in, buf));
		return;
	case 2:
		snprintf(path, sizeof(path), "/qubes-firewall/%s/%04u", names[s], next(in));
		fake_dom0_write(&w->d, path, value(in, buf));
		return;
	case 3: /* and is committed */
		snprintf(path, sizeof(path), "/qubes-firewall/%s", names[s]);
		remember(w, s);
		fake_dom0_write(&w->d, path, "");
		return;
	case 4:
		snprintf(path, sizeof(path), "/key/%u", s);
		fake_dom0_write(&w->d, path, value(in, buf));
		return;
	case 5:
		fake_dom0_rm(&w->d, s ? "/key/1" : "/key/");
		return;
	}
}

/* --- the client ------------------------------------------------------------------ */

static unsigned source_of(const char *name)
{
	for (unsigned s = 0; s < SOURCES; s++)
		if (strcmp(name, names[s]) == 0)
			return s;
	abort();
}

static void on_commit(void *arg, const char *name, const struct qubesdb_pair *pairs, size_t n)
{
	struct world *w = arg;
	struct source *src = &w->source[source_of(name)];
	uint64_t h = 0xcbf29ce484222325;
	bool known = src->versions == VERSIONS_MAX;
	char path[64];

	for (size_t i = 0; i < n; i++) {
		h = hash(h, pairs[i].key, strlen(pairs[i].key));
		h = hash(h, pairs[i].value, pairs[i].value_len);
	}
	for (size_t i = 0; i < src->versions; i++)
		known = known || src->version[i] == h;
	if (!known)
		abort();
	src->told = h;
	snprintf(path, sizeof(path), "/own/handled/%s", name);
	(void)qubesdb_write(w->db, path, "1", 1);
}

static void on_gone(void *arg, const char *name)
{
	struct world *w = arg;

	w->source[source_of(name)].told = 0;
}

static const struct qubesdb_events events = { .commit = on_commit, .gone = on_gone };

static bool client_turn(struct world *w)
{
	struct pollfd p = { .fd = qubesdb_fd(w->db), .events = POLLIN };

	if (w->deadline > w->now && (p.fd < 0 || poll(&p, 1, 0) <= 0))
		return false;
	w->deadline = qubesdb_process(w->db, w->now);
	return true;
}

static void step_own(struct world *w, struct input *in)
{
	char path[64], buf[QDB_VALUE + 1];
	unsigned what = next(in);

	if (what & 1)
		snprintf(path, sizeof(path), "/own/%u/%u", what >> 1 & 1, what >> 2 & 3);
	else
		snprintf(path, sizeof(path), "/own/%u/", what >> 1 & 1);
	if (what & 0x10) {
		(void)qubesdb_rm(w->db, path);
	} else {
		value(in, buf);
		(void)qubesdb_write(w->db, path, buf, strlen(buf));
	}
}

/* --- both -------------------------------------------------------------------------- */

static void settle(struct world *w)
{
	size_t before;
	int i = 0;

	do {
		if (++i == 100000)
			abort(); /* they do not come to rest */
		before = w->d.out_len - w->d.out_at + fake_vchan_peek(&w->v);
		dom0_turn(w);
	} while (client_turn(w) ||
		 before != w->d.out_len - w->d.out_at + fake_vchan_peek(&w->v));
}

static void step_loss(struct world *w, uint8_t how)
{
	fake_dom0_restart(&w->d);
	if (how & 1)
		fake_dom0_unset(&w->d, "/"); /* and its tree is lost with it */
	if (how & 2)
		fake_vchan_announce(&w->v); /* before we have noticed */
}

static void step(struct world *w, struct input *in)
{
	uint8_t what = next(in);

	switch (what % 8) {
	case 0:
	case 1:
	case 2:
		step_dom0(w, in);
		break;
	case 3:
		step_own(w, in);
		break;
	case 4:
		step_loss(w, next(in));
		break;
	case 5:
		if (!w->v.dom0_open)
			fake_vchan_announce(&w->v);
		break;
	case 6:
		w->now += 16u * next(in);
		break;
	case 7:
		w->v.read_max = next(in);
		w->d.send_max = next(in);
		w->d.stalled = w->v.read_max & 1;
		break;
	}
	for (unsigned i = what >> 5; i > 0; i--) {
		dom0_turn(w);
		(void)client_turn(w);
	}
}

static void compare(void *arg, const char *path, const char *text, size_t len)
{
	struct world *w = arg;
	const struct fake_key *k = fake_dom0_get(&w->d, path);

	if (!k || k->len != len || memcmp(k->value, text, len) != 0)
		abort();
	w->keys++;
}

/* There is a link, and what a sync left open is settled. */
static void rest(struct world *w)
{
	settle(w);
	if (!w->v.dom0_open)
		fake_vchan_announce(&w->v);
	for (int i = 0; i < 3; i++) {
		w->now += 2 * QDB_SETTLE_MS;
		settle(w);
	}
	if (qubesdb_state(w->db) != QUBESDB_READY)
		abort();
}

/* All is told, one more update of each source, and they must be of one mind. */
static void agree(struct world *w)
{
	char path[64];

	w->d.stalled = false;
	w->v.read_max = w->d.send_max = 0;
	rest(w);
	if (w->tree_lost) {
		fake_dom0_write(&w->d, "/name", "fw");
		fake_dom0_restart(&w->d);
		rest(w);
	}
	for (unsigned s = 0; s < SOURCES; s++) {
		snprintf(path, sizeof(path), "/qubes-firewall/%s/9999", names[s]);
		fake_dom0_write(&w->d, path, "last");
		snprintf(path, sizeof(path), "/qubes-firewall/%s", names[s]);
		remember(w, s);
		fake_dom0_write(&w->d, path, "");
	}
	settle(w);
	for (unsigned s = 0; s < SOURCES; s++)
		if (w->source[s].told != dom0_version(w, s))
			abort();
	qubesdb_list(w->db, "/", compare, w);
	if (w->keys != w->d.n || w->d.expect_at != w->d.expect_n)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;
	struct input in = { data, size };

	memset(&w, 0, sizeof(w));
	fake_vchan_init(&w.v);
	fake_dom0_init(&w.d, &w.v);
	w.d.patient = true; /* both sides are busy: nobody can exclude a full ring */
	fake_vchan_announce(&w.v);
	if (qdb_base_new(&w.db, &events, &w) < 0)
		return 0;
	if (qdb_client_new(w.db, &fake_vchan_ops, &w.v) < 0)
		abort();
	while (in.n)
		step(&w, &in);
	agree(&w);
	qubesdb_free(&w.db);
	fake_dom0_end(&w.d);
	fake_vchan_end(&w.v);
	return 0;
}
