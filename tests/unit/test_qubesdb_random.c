// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The vchan client under random commands of both sides, with the strict dom0 as
 * the model: what each commit delivers, and that both trees agree in the end.
 */
#include "tests/unit/qubesdb_world.h"

static unsigned rnd_state;

static unsigned rnd(unsigned n)
{
	rnd_state = rnd_state * 1664525 + 1013904223;
	return (rnd_state >> 8) % n;
}

/* dom0 owns what lies outside of /own/, we own what lies inside. */
static void random_dom0(struct world *w, char *want, size_t size)
{
	char path[64], value[64];
	const struct fake_key *k;
	unsigned s = rnd(3);
	size_t n = strlen(want);

	switch (rnd(6)) {
	case 0:
		snprintf(path, sizeof(path), "/qubes-firewall/10.137.0.%u/", s);
		fake_dom0_rm(&w->d, path);
		return;
	case 1:
	case 2:
		snprintf(path, sizeof(path), "/qubes-firewall/10.137.0.%u/%04u", s, rnd(4));
		snprintf(value, sizeof(value), "rule-%u", rnd(100));
		fake_dom0_write(&w->d, path, value);
		return;
	case 3:
		snprintf(path, sizeof(path), "/key/%u", rnd(5));
		snprintf(value, sizeof(value), "%u", rnd(1000));
		fake_dom0_write(&w->d, path, value);
		return;
	case 4:
		snprintf(path, sizeof(path), rnd(4) ? "/key/%u" : "/key/", rnd(5));
		fake_dom0_rm(&w->d, path);
		return;
	default:
		snprintf(path, sizeof(path), "/qubes-firewall/10.137.0.%u", s);
		fake_dom0_write(&w->d, path, "");
		/* What the commit must deliver, and nothing else. */
		n += (size_t)snprintf(want + n, size - n, "commit 10.137.0.%u", s);
		for (unsigned i = 0; i < 4; i++) {
			snprintf(path, sizeof(path), "/qubes-firewall/10.137.0.%u/%04u", s, i);
			k = fake_dom0_get(&w->d, path);
			if (k)
				n += (size_t)snprintf(want + n, size - n, " %04u=%s", i, k->value);
		}
		snprintf(want + n, size - n, "\n");
	}
}

static void random_own(struct world *w)
{
	char path[64], value[64];

	if (rnd(3)) {
		snprintf(path, sizeof(path), "/own/%u/%u", rnd(2), rnd(3));
		snprintf(value, sizeof(value), "%u", rnd(1000));
		CHECK_INT(qubesdb_write(w->r.db, path, value, strlen(value)), 0);
	} else {
		snprintf(path, sizeof(path), rnd(2) ? "/own/%u/" : "/own/%u/%u", rnd(2), rnd(3));
		CHECK_INT(qubesdb_rm(w->r.db, path), 0);
	}
}

struct compare {
	struct world *w;
	size_t n;
};

static void compare_key(void *arg, const char *path, const char *value, size_t len)
{
	struct compare *c = arg;

	(void)len;
	CHECK_STR(dom0_has(c->w, path), value);
	c->n++;
}

static void only_commits(char *text)
{
	char *out = text;

	for (char *line = text, *end; *line; line = end) {
		end = strchr(line, '\n') + 1;
		if (strncmp(line, "commit", 6) == 0) {
			memmove(out, line, (size_t)(end - line));
			out += end - line;
		}
	}
	*out = '\0';
}

static void test_random(void)
{
	static char want[1 << 16];
	char name[64];

	for (unsigned seed = 1; seed <= 60; seed++) {
		struct world w;
		struct compare c = { .w = &w };
		unsigned keys;

		snprintf(name, sizeof(name), "random commands, seed %u", seed);
		test_case(name);
		rnd_state = seed;
		world_init(&w);
		connect_world(&w);
		rig_clear(&w.r);
		w.d.patient = true;
		want[0] = '\0';
		for (int step = 0; step < 400; step++) {
			if (rnd(2))
				random_dom0(&w, want, sizeof(want));
			if (rnd(4) == 0)
				random_own(&w);
			w.v.read_max = rnd(3) ? 0 : 1 + rnd(100);
			w.d.send_max = rnd(3) ? 0 : 1 + rnd(200);
			w.d.stalled = rnd(5) == 0;
			for (unsigned i = rnd(6); i > 0; i--) {
				(void)fake_dom0_run(&w.d);
				(void)rig_turn(&w.r);
			}
		}
		w.d.stalled = false;
		settle(&w);
		only_commits(w.r.events);
		CHECK_STR(w.r.events, want);
		CHECK_INT(w.r.losses, 0);
		CHECK_INT(w.d.expect_at, w.d.expect_n);
		qubesdb_list(w.r.db, "/", compare_key, &c);
		keys = (unsigned)w.d.n;
		CHECK_INT(c.n, keys);
		world_end(&w);
	}
}

/* Losses at any moment: in the end both sides agree, and dom0 never died. */
static void test_random_loss(void)
{
	static char unused[1 << 16];
	char name[64];

	for (unsigned seed = 1; seed <= 40; seed++) {
		struct world w;
		struct compare c = { .w = &w };

		snprintf(name, sizeof(name), "random commands and losses, seed %u", seed);
		test_case(name);
		rnd_state = seed * 7919;
		world_init(&w);
		w.d.patient = true;
		for (int step = 0; step < 300; step++) {
			unused[0] = '\0';
			if (rnd(2))
				random_dom0(&w, unused, sizeof(unused));
			if (rnd(4) == 0)
				random_own(&w);
			w.d.send_max = rnd(3) ? 0 : 1 + rnd(200);
			if (rnd(40) == 0)
				fake_dom0_restart(&w.d);
			if (!w.v.announced && !w.v.dom0_open && rnd(3) == 0)
				fake_vchan_announce(&w.v);
			for (unsigned i = rnd(6); i > 0; i--) {
				(void)fake_dom0_run(&w.d);
				(void)rig_turn(&w.r);
			}
			w.r.now += rnd(200);
			CHECK_STR(w.d.dead, "");
		}
		w.d.send_max = 0;
		if (!w.v.announced && !w.v.dom0_open)
			fake_vchan_announce(&w.v);
		settle_after(&w, 2000);
		settle_after(&w, 2000);
		CHECK_INT(qubesdb_state(w.r.db), QUBESDB_READY);
		qubesdb_list(w.r.db, "/", compare_key, &c);
		CHECK_INT(c.n, w.d.n);
		world_end(&w);
	}
}

int main(void)
{
	test_random();
	test_random_loss();
	return test_end();
}
