// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The vchan client against a strict dom0 in memory: qubesdb.md section 8.
 */
#include <errno.h>
#include <time.h>

#include "tests/unit/qubesdb_world.h"
#include "tests/xen/qdb.h"

/* --- connecting ------------------------------------------------------------- */

static void test_connect(void)
{
	static const unsigned gaps[] = { 50, 100, 200, 400, 800, 1000, 1000 };
	struct world w;

	test_case("no keys yet: back-off from 50 ms to 1 s");
	world_init(&w);
	settle(&w);
	for (size_t i = 0; i < sizeof(gaps) / sizeof(gaps[0]); i++) {
		CHECK_INT(w.r.deadline - w.r.now, gaps[i]);
		CHECK_INT(qubesdb_state(w.r.db), QUBESDB_CONNECTING);
		CHECK(strstr(qubesdb_reason(w.r.db), "waiting for dom0"));
		settle_after(&w, gaps[i]);
	}
	CHECK_STR(w.r.events, "");

	test_case("the watch wakes it at once");
	set(&w, "/qubes-ip", "10.137.0.9");
	fake_vchan_announce(&w.v);
	settle(&w);
	CHECK_STR(w.r.events, "changed *\nsynced\n");
	CHECK_INT(w.v.connects, 1);
	CHECK_STR(qubesdb_read(w.r.db, "/qubes-ip", NULL), "10.137.0.9");

	test_case("connected: no deadline, and no calls without an event");
	CHECK_INT(w.r.deadline == UINT64_MAX, 1);
	w.r.calls = 0;
	settle(&w);
	CHECK_INT(w.r.calls, 0);
	world_end(&w);

	test_case("no Xen: a reason, and the same back-off");
	world_init(&w);
	w.v.connect_error = -ENODEV;
	settle(&w);
	CHECK_STR(qubesdb_reason(w.r.db), "vchan: No such device");
	CHECK_INT(w.r.deadline, w.r.now + 50);
	world_end(&w);
}

static void test_spec(void)
{
	static const struct {
		const char *spec;
		int result;
	} cases[] = {
		{ "vchan", 0 },	       { "vchan:0:111", 0 },   { "vchan:5", -EINVAL },
		{ "vchan:a:1", -EINVAL }, { "vchan:1:2x", -EINVAL }, { "vchan:-1:2", -EINVAL },
		{ "vchan:99999:1", -EINVAL }, { "vchans", -EINVAL },  { "socket:", -EINVAL },
		{ "socket:/none", 0 }, { "file:/none/at/all", -ENOENT }, { "", -EINVAL },
	};
	struct rig r;
	char err[256];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		test_case(cases[i].spec);
		rig_init(&r);
		err[0] = '\0';
		CHECK_INT(qubesdb_new(&r.db, cases[i].spec, &rig_events, &r, err, sizeof(err)),
			  cases[i].result);
		CHECK_INT(err[0] != '\0', cases[i].result < 0);
		CHECK(strchr(err, '\n') == NULL);
		if (r.db) {
			CHECK_INT(qubesdb_state(r.db), QUBESDB_CONNECTING);
			qubesdb_process(r.db, 0);
			CHECK(qubesdb_reason(r.db)[0]);
		}
		rig_end(&r);
	}
}

/* --- commits ------------------------------------------------------------------ */

static void test_commit(void)
{
	struct world w;

	test_case("after the sync, every base key counts as committed; no other");
	world_init(&w);
	set(&w, "/qubes-firewall/10.137.0.1", "");
	set(&w, "/qubes-firewall/10.137.0.1/policy", "drop");
	set(&w, "/qubes-firewall/10.137.0.1/0000", "action=accept");
	set(&w, "/qubes-firewall/10.137.0.10/policy", "drop");
	set(&w, "/qubes-firewall/10.137.0.10/0000", "action=drop");
	set(&w, "/qubes-firewall/fd09::1", "");
	connect_world(&w);
	CHECK_STR(w.r.events, "commit 10.137.0.1 0000=action=accept policy=drop\n"
			      "commit fd09::1\nchanged *\nsynced\n");

	test_case("a half-written tree is never seen");
	rig_clear(&w.r);
	fake_dom0_rm(&w.d, "/qubes-firewall/10.137.0.1/");
	settle(&w);
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1/policy", "drop");
	settle(&w);
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1/0000", "action=drop");
	settle(&w);
	CHECK_STR(w.r.events, "");
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1", "");
	settle(&w);
	CHECK_STR(w.r.events, "commit 10.137.0.1 0000=action=drop policy=drop\n");

	test_case("gaps; and a base key that is not empty commits as well");
	rig_clear(&w.r);
	fake_dom0_rm(&w.d, "/qubes-firewall/10.137.0.1/");
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1/policy", "drop");
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1/0000", "a");
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1/0003", "b");
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1/0010", "c");
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1", "x");
	settle(&w);
	CHECK_STR(w.r.events, "commit 10.137.0.1 0000=a 0003=b 0010=c policy=drop\n");

	test_case("prefixes: 10.137.0.1 does not take in 10.137.0.10, nor the reverse");
	rig_clear(&w.r);
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.10", "");
	fake_dom0_rm(&w.d, "/qubes-firewall/10.137.0.1/");
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.10", "");
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1", "");
	settle(&w);
	CHECK_STR(w.r.events, "commit 10.137.0.10 0000=action=drop policy=drop\n"
			      "commit 10.137.0.10 0000=action=drop policy=drop\n"
			      "commit 10.137.0.1\n");

	test_case("IPv4 and IPv6 of a qube commit apart");
	rig_clear(&w.r);
	update(&w, "fd09::1", "action=drop");
	settle(&w);
	CHECK_STR(w.r.events, "commit fd09::1 0000=action=drop policy=drop\n");

	test_case("other keys: changed, in order, by path or by subtree");
	rig_clear(&w.r);
	fake_dom0_write(&w.d, "/mapped-ip/10.137.0.1/visible-ip", "1.2.3.4");
	fake_dom0_write(&w.d, "/connected-ips", "");
	fake_dom0_rm(&w.d, "/mapped-ip/10.137.0.1/");
	fake_dom0_rm(&w.d, "/connected-ips");
	settle(&w);
	CHECK_STR(w.r.events, "changed /mapped-ip/10.137.0.1/visible-ip\nchanged /connected-ips\n"
			      "changed /mapped-ip/10.137.0.1/\nchanged /connected-ips\n");
	CHECK(qubesdb_read(w.r.db, "/connected-ips", NULL) == NULL);
	CHECK_INT(w.d.expect_at, w.d.expect_n);
	world_end(&w);
}

static void test_sizes(void)
{
	char path[64], value[3072], rule[64];
	struct world w;
	size_t len = 0;

	memset(value, 'v', 3071);
	value[3071] = '\0';
	memset(path, 'k', 63);
	path[0] = '/';
	path[63] = '\0';
	test_case("a value of 3071 bytes and a path of 63 characters, sync and update");
	world_init(&w);
	set(&w, path, value);
	connect_world(&w);
	CHECK_STR(qubesdb_read(w.r.db, path, &len), value);
	CHECK_INT(len, 3071);
	value[0] = 'w';
	fake_dom0_write(&w.d, path, value);
	settle(&w);
	CHECK_STR(qubesdb_read(w.r.db, path, NULL), value);
	CHECK_INT(qubesdb_write(w.r.db, path, value, 3071), 0);
	settle(&w);
	CHECK_INT(w.d.writes, 1);

	test_case("1100 rules in one update");
	rig_clear(&w.r);
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1/policy", "drop");
	for (int i = 0; i < 1100; i++) {
		snprintf(path, sizeof(path), "/qubes-firewall/10.137.0.1/%04d", i);
		snprintf(rule, sizeof(rule), "action=accept dst4=10.0.%d.%d/32", i / 250, i % 250);
		fake_dom0_write(&w.d, path, rule);
	}
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1", "");
	settle(&w);
	CHECK_INT(w.r.commits, 1);
	CHECK(strstr(w.r.events, " 1099=action=accept dst4=10.0.4.99/32 policy=drop\n"));
	CHECK_INT(w.d.answers, 1103);
	world_end(&w);
}

static void count_key(void *arg, const char *path, const char *value, size_t len)
{
	size_t *n = arg;

	(void)path;
	(void)value;
	(void)len;
	(*n)++;
}

static void test_many(void)
{
	struct timespec a, b;
	struct world w;
	char path[64];
	size_t n = 0;

	test_case("a sync of 10000 keys in reverse order");
	world_init(&w);
	for (int i = 0; i < 10000; i++) {
		snprintf(path, sizeof(path), "/qubes-firewall/10.137.0.%d/%04d", i / 1000,
			 i % 1000);
		set(&w, path, "action=accept dst4=10.0.0.1/32 proto=tcp dstports=1-2");
		if (i % 1000 == 0) {
			snprintf(path, sizeof(path), "/qubes-firewall/10.137.0.%d", i / 1000);
			set(&w, path, "");
		}
	}
	clock_gettime(CLOCK_MONOTONIC, &a);
	connect_world(&w);
	clock_gettime(CLOCK_MONOTONIC, &b);
	CHECK(b.tv_sec - a.tv_sec < 5);
	CHECK_INT(w.r.commits, 10);
	qubesdb_list(w.r.db, "/qubes-firewall/10.137.0.4/", count_key, &n);
	CHECK_INT(n, 1000);

	test_case("one call does a bounded amount of work");
	CHECK(w.r.calls > 10000 / 256);
	world_end(&w);
}

/* Each commit is parsed and compiled: packets have their turn after one. */
static void test_commit_storm(void)
{
	struct world w;

	test_case("D4_commits_in_a_row_are_told_one_a_call");
	world_init(&w);
	connect_world(&w);
	for (int i = 0; i < 100; i++)
		update(&w, "10.137.0.1", "action=accept");
	while (w.r.commits < 100) {
		unsigned before = w.r.commits;

		if (!CHECK(fake_dom0_run(&w.d) || rig_turn(&w.r)))
			break;
		CHECK(w.r.commits - before <= 1);
	}
	settle(&w);
	CHECK_INT(w.r.commits, 100);
	CHECK_INT(w.d.answers, 399);
	world_end(&w);
}

/* --- framing ----------------------------------------------------------------- */

static void framing(size_t read_max, size_t send_max)
{
	struct world w;

	world_init(&w);
	w.v.read_max = read_max;
	w.d.send_max = send_max;
	set(&w, "/qubes-firewall/10.137.0.1", "");
	set(&w, "/qubes-firewall/10.137.0.1/0000", "action=accept dst4=1.2.3.4/32");
	set(&w, "/qubes-ip", "10.137.0.9");
	connect_world(&w);
	update(&w, "10.137.0.1", "action=drop");
	settle(&w);
	CHECK_STR(w.r.events,
		  "commit 10.137.0.1 0000=action=accept dst4=1.2.3.4/32\nchanged *\nsynced\n"
		  "commit 10.137.0.1 0000=action=drop policy=drop\n");
	CHECK_INT(w.d.answers, 4);
	world_end(&w);
}

static void test_framing(void)
{
	char name[64];

	for (size_t i = 1; i <= 80; i++) {
		snprintf(name, sizeof(name), "messages split at every %zu bytes", i);
		test_case(name);
		framing(0, i);
		framing(i, 0);
	}
	test_case("a message split at one place, every place");
	for (size_t at = 1; at < 72 + 13; at++) {
		struct world w;
		struct qdb_msg m;

		world_init(&w);
		connect_world(&w);
		rig_clear(&w.r);
		qdb_fill(&m.h, QDB_WRITE, "/qubes-gateway", 12);
		memcpy(m.data, "10.137.0.250", 12);
		CHECK_INT(fake_vchan_send(&w.v, &m, at), at);
		while (rig_turn(&w.r))
			;
		CHECK_STR(w.r.events, at == 84 ? "changed /qubes-gateway\n" : "");
		CHECK_INT(fake_vchan_send(&w.v, (char *)&m + at, 84 - at), 84 - at);
		while (rig_turn(&w.r))
			;
		CHECK_STR(w.r.events, "changed /qubes-gateway\n");
		CHECK_INT(fake_vchan_peek(&w.v), 72);
		/* The daemon was not asked to expect that answer. */
		w.d.stalled = true;
		world_end(&w);
	}
}

static void test_back_to_back(void)
{
	struct world w;

	test_case("a WRITE right behind the end of the sync");
	world_init(&w);
	set(&w, "/qubes-firewall/10.137.0.1", "");
	fake_vchan_announce(&w.v);
	CHECK(rig_turn(&w.r));
	CHECK(fake_dom0_run(&w.d));
	update(&w, "10.137.0.1", "action=drop");
	fake_dom0_write(&w.d, "/qubes-ip", "1.2.3.4");
	settle(&w);
	CHECK_STR(w.r.events, "commit 10.137.0.1\nchanged *\nsynced\n"
			      "commit 10.137.0.1 0000=action=drop policy=drop\n"
			      "changed /qubes-ip\n");
	world_end(&w);
}

static void test_full_ring(void)
{
	struct world w;
	char path[64];

	test_case("dom0 takes no replies: we hold 512 of them and stop reading");
	world_init(&w);
	connect_world(&w);
	w.d.stalled = true;
	for (int i = 0; i < 2000; i++) {
		snprintf(path, sizeof(path), "/k/%04d", i);
		fake_dom0_write(&w.d, path, "v");
	}
	settle(&w);
	CHECK(qubesdb_read(w.r.db, "/k/0500", NULL) != NULL);
	CHECK(qubesdb_read(w.r.db, "/k/0700", NULL) == NULL);
	CHECK_INT(qubesdb_write(w.r.db, "/own", "1", 1), 0);
	settle(&w);

	test_case("and then it gets every one, in order, and our write after them");
	w.d.stalled = false;
	settle(&w);
	CHECK_INT(w.d.answers, 2000);
	CHECK_INT(w.d.writes, 1);
	CHECK(qubesdb_read(w.r.db, "/k/1999", NULL) != NULL);
	world_end(&w);
}

/* --- hostile ------------------------------------------------------------------- */

static void test_hostile(void)
{
	static const struct {
		const char *name;
		unsigned type;
		const char *path;
		size_t len;
		const char *why;
	} cases[] = {
		{ "READ from dom0", QDB_READ, "/a", 0, "READ from dom0" },
		{ "MULTIREAD from dom0", QDB_MULTIREAD, "", 0, "MULTIREAD from dom0" },
		{ "NOENT", QDB_NOENT, "/a", 0, "RESP_NOENT from dom0" },
		{ "MULTIREAD reply after the sync", QDB_R_MULTIREAD, "/a", 0, "RESP_MULTIREAD" },
		{ "WATCH event", QDB_R_WATCH, "/a", 0, "RESP_WATCH from dom0" },
		{ "type 200", 200, "/a", 0, "unknown message type" },
		{ "RESP_OK out of the blue", QDB_OK, "/a", 0, "nothing was asked" },
		{ "RESP_OK with data", QDB_OK, "/a", 4, "RESP_OK with data" },
		{ "RESP_ERROR out of the blue", QDB_ERROR, "/a", 0, "nothing was asked" },
		{ "RM with data", QDB_RM, "/a", 1, "RM of /a with data" },
		{ "RM of the empty path", QDB_RM, "", 0, "RM of \"\"" },
		{ "WRITE of a directory", QDB_WRITE, "/a/", 1, "WRITE of /a/" },
		{ "WRITE of a relative path", QDB_WRITE, "a", 1, "WRITE of a" },
		{ "a blank in a path", QDB_WRITE, "/a b", 1, "forbidden character" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world w;

		test_case(cases[i].name);
		world_init(&w);
		set(&w, "/qubes-firewall/10.137.0.1", "");
		connect_world(&w);
		rig_clear(&w.r);
		fake_dom0_message(&w.d, cases[i].type, cases[i].path, "dddd", cases[i].len);
		fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1", "");
		settle(&w);
		/* Nothing of the stream behind the bad message counts. */
		CHECK_INT(w.r.losses, 1);
		CHECK(strstr(w.r.events, cases[i].why));
		CHECK(!strstr(w.r.events, "commit"));
		CHECK_INT(w.v.closes, 1);
		CHECK_INT(qubesdb_state(w.r.db), QUBESDB_CONNECTING);

		/* And it comes back, but not at once: it would say the same again. */
		fake_dom0_restart(&w.d);
		rig_clear(&w.r);
		fake_vchan_announce(&w.v);
		settle_after(&w, 999);
		CHECK_INT(w.v.connects, 1);
		settle_after(&w, 1);
		CHECK_STR(w.r.events, "changed *\nsynced\n");
		world_end(&w);
	}
}

static void test_hostile_raw(void)
{
	static const struct {
		const char *name;
		size_t at;
		uint8_t to;
	} cases[] = {
		{ "a length of 3072", 69, 0x0c },
		{ "a length of 2^31", 71, 0x80 },
		{ "a path without end", 64, 'x' },
	};
	struct world w;
	struct qdb_msg m;
	uint8_t *raw = (uint8_t *)&m;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		test_case(cases[i].name);
		world_init(&w);
		connect_world(&w);
		memset(&m, 0, sizeof(m));
		qdb_fill(&m.h, QDB_WRITE, "/a", 0);
		if (cases[i].at == 64)
			memset(m.h.path, 'x', 64);
		raw[cases[i].at] = cases[i].to;
		fake_dom0_raw(&w.d, &m, sizeof(m.h));
		settle(&w);
		CHECK_INT(w.r.losses, 1);
		world_end(&w);
	}
	test_case("hp_ring_indices: produced more than the ring holds");
	world_init(&w);
	connect_world(&w);
	w.v.to_us.prod += 4097;
	qubesdb_process(w.r.db, w.r.now);
	CHECK(strstr(w.r.events, "lost impossible ring indices\n"));
	world_end(&w);

	test_case("hp_ring_indices: consumed more than there was");
	world_init(&w);
	connect_world(&w);
	w.v.to_dom0.cons += 1;
	qubesdb_process(w.r.db, w.r.now);
	CHECK(strstr(w.r.events, "lost impossible ring indices\n"));
	world_end(&w);

	test_case("the end of the sync with data, a directory in the sync, a command in it");
	for (int i = 0; i < 3; i++) {
		world_init(&w);
		fake_vchan_announce(&w.v);
		CHECK(rig_turn(&w.r));
		fake_dom0_message(&w.d, i == 2 ? QDB_WRITE : QDB_R_MULTIREAD,
				  i == 0   ? ""
				  : i == 1 ? "/a/"
					   : "/a",
				  "d", 1);
		settle(&w);
		CHECK_INT(w.r.losses, 1);
		CHECK_INT(w.r.syncs, 0);
		world_end(&w);
	}
}

static void test_rm_miss(void)
{
	struct world w;

	test_case("an RM we do not know is answered, then everything is read again");
	world_init(&w);
	set(&w, "/qubes-firewall/10.137.0.1", "");
	connect_world(&w);
	rig_clear(&w.r);
	set(&w, "/hidden/1", "x"); /* in dom0's tree behind our back */
	fake_dom0_rm(&w.d, "/hidden/");
	settle(&w);
	CHECK_INT(w.d.answers, 0); /* closed: dom0 does not read a dead client */
	CHECK_INT(fake_vchan_peek(&w.v), 72);
	CHECK_STR(w.r.events, "lost RM of /hidden/, which our copy does not have\n");
	fake_dom0_restart(&w.d);
	fake_vchan_announce(&w.v);
	settle_after(&w, 1000);
	CHECK_INT(w.r.syncs, 2);
	world_end(&w);
}

/* --- own writes --------------------------------------------------------------------- */

static const char *we_have(struct world *w, const char *path)
{
	const char *v = qubesdb_read(w->r.db, path, NULL);

	return v ? v : "(none)";
}

static void test_own(void)
{
	struct world w;

	test_case("own writes wait for the end of the sync, coalesced");
	world_init(&w);
	set(&w, "/mine", "0");
	CHECK_INT(qubesdb_write(w.r.db, "/mine", "1", 1), 0);
	CHECK_INT(qubesdb_write(w.r.db, "/other", "a", 1), 0);
	CHECK_INT(qubesdb_write(w.r.db, "/mine", "2", 1), 0);
	CHECK_STR(we_have(&w, "/mine"), "2");
	connect_world(&w);
	CHECK_STR(we_have(&w, "/mine"), "2");
	CHECK_STR(dom0_has(&w, "/mine"), "2");
	CHECK_STR(dom0_has(&w, "/other"), "a");
	CHECK_INT(w.d.writes, 2);

	test_case("a write outside of process() leaves at once");
	CHECK_INT(qubesdb_write(w.r.db, "/mine", "3", 1), 0);
	CHECK_INT(fake_vchan_peek(&w.v), 73);
	settle(&w);
	CHECK_STR(dom0_has(&w, "/mine"), "3");

	test_case("an RM is sent when dom0 has it, and only then");
	CHECK_INT(qubesdb_write(w.r.db, "/dns/1/a", "x", 1), 0);
	CHECK_INT(qubesdb_write(w.r.db, "/dns/1/b", "x", 1), 0);
	CHECK_INT(qubesdb_rm(w.r.db, "/dns/1/"), 0);
	CHECK_INT(qubesdb_rm(w.r.db, "/dns/1/"), 0);
	CHECK_INT(qubesdb_rm(w.r.db, "/never"), 0);
	CHECK_INT(qubesdb_write(w.r.db, "/dns/1/a", "y", 1), 0);
	CHECK_STR(we_have(&w, "/dns/1/a"), "y");
	CHECK_STR(we_have(&w, "/dns/1/b"), "(none)");
	settle(&w);
	CHECK_INT(w.d.rms, 1);
	CHECK_STR(dom0_has(&w, "/dns/1/a"), "y");
	CHECK_STR(dom0_has(&w, "/dns/1/b"), "(none)");

	test_case("a write that never left takes its rm with it");
	w.d.stalled = true;
	for (int i = 0; i < 16; i++) {
		char path[32];

		snprintf(path, sizeof(path), "/fill/%d", i);
		CHECK_INT(qubesdb_write(w.r.db, path, "x", 1), 0);
	}
	CHECK_INT(qubesdb_write(w.r.db, "/late", "x", 1), 0);
	CHECK_INT(qubesdb_rm(w.r.db, "/late"), 0);
	w.d.stalled = false;
	settle(&w);
	CHECK_INT(w.d.rms, 1);
	CHECK_STR(dom0_has(&w, "/late"), "(none)");
	CHECK_STR(dom0_has(&w, "/fill/15"), "x");
	world_end(&w);

	test_case("what dom0's daemon would die of is refused");
	world_init(&w);
	connect_world(&w);
	CHECK_INT(qubesdb_write(w.r.db, "/a/", "", 0), -EINVAL);
	CHECK_INT(qubesdb_write(w.r.db, "a", "", 0), -EINVAL);
	CHECK_INT(qubesdb_write(w.r.db, "-a", "", 0), -EINVAL);
	CHECK_INT(qubesdb_write(w.r.db, "", "", 0), -EINVAL);
	CHECK_INT(qubesdb_write(w.r.db, "/a b", "", 0), -EINVAL);
	CHECK_INT(qubesdb_write(w.r.db, "/a", "x\0y", 3), -EINVAL);
	CHECK_INT(qubesdb_rm(w.r.db, ""), -EINVAL);
	CHECK_INT(qubesdb_rm(w.r.db, "x/"), -EINVAL);
	settle(&w);
	CHECK_INT(w.d.writes, 0);
	world_end(&w);
}

static void test_own_care(void)
{
	static char big[3000];
	struct world w;
	struct qdb_msg m;

	test_case("no RM while something of dom0 is unread");
	world_init(&w);
	set(&w, "/mine", "1");
	connect_world(&w);
	qdb_fill(&m.h, QDB_WRITE, "/theirs", 1);
	m.data[0] = 'x';
	CHECK_INT(fake_vchan_send(&w.v, &m, 73), 73);
	CHECK_INT(qubesdb_rm(w.r.db, "/mine"), 0);
	CHECK_INT(fake_vchan_peek(&w.v), 0);
	w.d.stalled = true;
	settle(&w);
	CHECK_INT(fake_vchan_peek(&w.v), 144); /* the reply, then the RM */
	world_end(&w);

	test_case("our pending write stands over what dom0 writes meanwhile");
	world_init(&w);
	connect_world(&w);
	w.d.stalled = true;
	CHECK_INT(qubesdb_write(w.r.db, "/k", "ours", 4), 0);
	fake_dom0_write(&w.d, "/k", "theirs");
	settle(&w);
	CHECK_STR(we_have(&w, "/k"), "ours");
	w.d.stalled = false;
	settle(&w);
	CHECK_STR(we_have(&w, "/k"), "ours");
	CHECK_STR(dom0_has(&w, "/k"), "ours");
	world_end(&w);

	test_case("a message leaves whole or not at all");
	world_init(&w);
	connect_world(&w);
	memset(big, 'b', sizeof(big));
	w.d.stalled = true;
	CHECK_INT(qubesdb_write(w.r.db, "/1", big, sizeof(big)), 0);
	CHECK_INT(qubesdb_write(w.r.db, "/2", big, sizeof(big)), 0);
	settle(&w);
	CHECK_INT(fake_vchan_peek(&w.v), 3072);
	w.d.stalled = false;
	settle(&w);
	CHECK_INT(w.d.writes, 2);
	CHECK_INT(w.r.losses, 0);
	world_end(&w);
}

static void test_own_bound(void)
{
	struct world w;
	char path[64];
	int n = 0;

	test_case("the queue is bounded; coalescing still works at the bound");
	world_init(&w);
	do
		snprintf(path, sizeof(path), "/k/%d", n++);
	while (qubesdb_write(w.r.db, path, "v", 1) == 0 && n < 100000);
	CHECK(n > 500 && n < 10000);
	CHECK_INT(qubesdb_write(w.r.db, "/one-more", "v", 1), -ENOBUFS);
	CHECK_STR(we_have(&w, "/one-more"), "(none)");
	CHECK_INT(qubesdb_write(w.r.db, "/k/5", "w", 1), 0);
	connect_world(&w);
	CHECK_INT(w.d.writes, n - 1);
	CHECK_STR(dom0_has(&w, "/k/5"), "w");
	world_end(&w);

	test_case("refused by dom0: a line in the log, the next one goes on");
	world_init(&w);
	connect_world(&w);
	w.d.stalled = true;
	CHECK_INT(qubesdb_write(w.r.db, "/a", "1", 1), 0);
	settle(&w);
	fake_dom0_message(&w.d, QDB_ERROR, "/a", NULL, 0);
	settle(&w);
	CHECK_INT(w.r.losses, 0);
	CHECK(strstr(w.r.last_log, "refused WRITE of /a"));
	world_end(&w);
}

/* Writes of our own until one does not fit. Return: how many did. */
static int fill_queue(struct world *w, size_t len)
{
	static char value[2048];
	char path[64];
	int n = 0;

	memset(value, 'f', sizeof(value));
	do
		snprintf(path, sizeof(path), "/fill/%d", n++);
	while (qubesdb_write(w->r.db, path, value, len) == 0 && n < 100000);
	return n - 1;
}

static void test_own_bound_rm(void)
{
	static char big[2000];
	struct world w;

	memset(big, 'b', sizeof(big));
	test_case("an rm that does not fit the queue changes nothing, and may be tried again");
	world_init(&w);
	set(&w, "/mine/1", "a");
	set(&w, "/mine/2", "b");
	connect_world(&w);
	w.d.stalled = true;
	CHECK(fill_queue(&w, 1) > 500);
	CHECK_INT(qubesdb_rm(w.r.db, "/mine/"), -ENOBUFS);
	CHECK_STR(we_have(&w, "/mine/1"), "a");
	CHECK_INT(qubesdb_rm(w.r.db, "/mine/"), -ENOBUFS);
	CHECK_INT(qubesdb_rm(w.r.db, "/never/"), 0);
	w.d.stalled = false;
	settle(&w);
	CHECK_STR(dom0_has(&w, "/mine/1"), "a");
	CHECK_STR(we_have(&w, "/mine/2"), "b");
	CHECK_INT(qubesdb_rm(w.r.db, "/mine/"), 0);
	settle(&w);
	CHECK_INT(w.d.rms, 1);
	CHECK_STR(dom0_has(&w, "/mine/1"), "(none)");
	CHECK_STR(we_have(&w, "/mine/2"), "(none)");

	test_case("at the bound an rm still takes the place of the writes that it undoes");
	w.d.stalled = true;
	(void)fill_queue(&w, 1);
	CHECK_INT(qubesdb_rm(w.r.db, "/fill/"), 0);
	CHECK_STR(we_have(&w, "/fill/1"), "(none)");
	w.d.stalled = false;
	settle(&w);
	CHECK_STR(dom0_has(&w, "/fill/0"), "(none)");
	CHECK_INT(w.d.n, 0);
	world_end(&w);

	test_case("a longer value that does not fit leaves the shorter one, here and there");
	world_init(&w);
	connect_world(&w);
	w.d.stalled = true;
	CHECK(fill_queue(&w, 2000) > 100);
	CHECK_INT(qubesdb_write(w.r.db, "/fill/100", "short", 5), 0);
	CHECK_INT(qubesdb_write(w.r.db, "/hole", big, 1900), 0);
	CHECK_INT(qubesdb_write(w.r.db, "/fill/100", big, 2000), -ENOBUFS);
	CHECK_STR(we_have(&w, "/fill/100"), "short");
	w.d.stalled = false;
	settle(&w);
	CHECK_STR(dom0_has(&w, "/fill/100"), "short");
	CHECK_STR(we_have(&w, "/fill/100"), "short");
	world_end(&w);
}

static void test_own_reconnect(void)
{
	struct world w;

	test_case("unanswered writes are told again after a loss");
	world_init(&w);
	connect_world(&w);
	w.d.stalled = true;
	CHECK_INT(qubesdb_write(w.r.db, "/mine", "1", 1), 0);
	CHECK_INT(qubesdb_rm(w.r.db, "/none"), 0);
	settle(&w);
	fake_dom0_restart(&w.d);
	w.d.stalled = false;
	settle(&w);
	CHECK_INT(w.r.losses, 1);
	CHECK_STR(we_have(&w, "/mine"), "1");
	fake_vchan_announce(&w.v);
	settle_after(&w, 1000);
	CHECK_STR(dom0_has(&w, "/mine"), "1");
	CHECK_STR(we_have(&w, "/mine"), "1");

	test_case("an rm of what the new tree does not have is dropped");
	w.d.stalled = true;
	CHECK_INT(qubesdb_rm(w.r.db, "/mine"), 0);
	fake_dom0_restart(&w.d);
	fake_dom0_unset(&w.d, "/mine");
	w.d.stalled = false;
	settle(&w);
	fake_vchan_announce(&w.v);
	settle_after(&w, 1000);
	CHECK_INT(w.d.rms, 0);
	CHECK_STR(we_have(&w, "/mine"), "(none)");
	world_end(&w);
}

static void test_handled(void)
{
	struct world w;

	test_case("writing the handled counter from inside commit()");
	world_init(&w);
	w.r.handled = "/qubes-firewall-handled/10.137.0.1";
	set(&w, "/qubes-firewall/10.137.0.1", "");
	connect_world(&w);
	CHECK_STR(dom0_has(&w, w.r.handled), "1");
	for (int i = 0; i < 30; i++)
		update(&w, "10.137.0.1", "action=drop");
	settle(&w);
	CHECK_STR(dom0_has(&w, w.r.handled), "31");
	CHECK_INT(w.r.commits, 31);
	world_end(&w);
}

int main(void)
{
	test_connect();
	test_spec();
	test_commit();
	test_sizes();
	test_many();
	test_commit_storm();
	test_framing();
	test_back_to_back();
	test_full_ring();
	test_hostile();
	test_hostile_raw();
	test_rm_miss();
	test_own();
	test_own_care();
	test_own_bound();
	test_own_bound_rm();
	test_own_reconnect();
	test_handled();
	return test_end();
}
