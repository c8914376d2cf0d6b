// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The vchan client loses dom0's daemon and finds it again, with the same tree, with
 * another one, with half an update, with nothing: qubesdb.md section 5, rule 5.
 */
#include "tests/unit/qubesdb_world.h"
#include "tests/xen/qdb.h"

static void test_reconnect(void)
{
	struct world w;

	test_case("dom0's daemon goes: lost, the view and the commits stand");
	world_init(&w);
	set(&w, "/qubes-ip", "1.1.1.1");
	for (int i = 1; i <= 3; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/qubes-firewall/10.137.0.%d", i);
		set(&w, path, "");
		snprintf(path, sizeof(path), "/qubes-firewall/10.137.0.%d/0000", i);
		set(&w, path, "action=accept");
	}
	connect_world(&w);
	rig_clear(&w.r);
	fake_dom0_restart(&w.d);
	settle(&w);
	CHECK_STR(w.r.events, "lost dom0 closed the vchan\n");
	CHECK_STR(qubesdb_read(w.r.db, "/qubes-ip", NULL), "1.1.1.1");

	test_case("back without changes: no commit");
	fake_vchan_announce(&w.v);
	rig_clear(&w.r);
	settle(&w);
	CHECK_STR(w.r.events, "changed *\nsynced\n");

	test_case("back with changes: only what differs; what vanished is gone");
	fake_dom0_restart(&w.d);
	fake_dom0_set(&w.d, "/qubes-firewall/10.137.0.2/0000", "action=drop", 11);
	fake_dom0_unset(&w.d, "/qubes-firewall/10.137.0.3");
	fake_dom0_set(&w.d, "/qubes-firewall/10.137.0.4", "", 0);
	fake_dom0_set(&w.d, "/qubes-ip", "2.2.2.2", 7);
	fake_vchan_announce(&w.v);
	rig_clear(&w.r);
	settle(&w);
	CHECK_STR(w.r.events, "lost dom0 closed the vchan\n");
	rig_clear(&w.r);
	settle_after(&w, 50);
	CHECK_STR(w.r.events, "commit 10.137.0.4\nchanged *\nsynced\n");
	CHECK_STR(qubesdb_read(w.r.db, "/qubes-ip", NULL), "2.2.2.2");

	test_case("... what was committed before, when no update of it goes on within 1 s");
	rig_clear(&w.r);
	CHECK_INT(w.r.deadline - w.r.now, 1000);
	settle_after(&w, 999);
	CHECK_STR(w.r.events, "");
	settle_after(&w, 1);
	CHECK_STR(w.r.events, "commit 10.137.0.2 0000=action=drop\ngone 10.137.0.3\n");
	CHECK(w.r.deadline == UINT64_MAX);

	test_case("lost in the middle of a sync: the old view stands");
	fake_dom0_restart(&w.d);
	w.d.send_max = 10;
	fake_vchan_announce(&w.v);
	for (int i = 0; i < 20; i++) {
		w.r.now += 10;
		(void)rig_turn(&w.r);
		if (i < 10)
			(void)fake_dom0_run(&w.d);
	}
	CHECK_INT(qubesdb_state(w.r.db), QUBESDB_SYNCING);
	CHECK_STR(qubesdb_read(w.r.db, "/qubes-ip", NULL), "2.2.2.2");
	fake_dom0_restart(&w.d);
	settle(&w);
	CHECK_STR(qubesdb_read(w.r.db, "/qubes-ip", NULL), "2.2.2.2");
	w.d.send_max = 0;
	fake_vchan_announce(&w.v);
	settle_after(&w, 1000);
	CHECK_INT(qubesdb_state(w.r.db), QUBESDB_READY);
	world_end(&w);
}

static void test_closed_in_a_message(void)
{
	struct qdb_msg m;
	struct world w;

	test_case("dom0 closes in the middle of a message, at every byte: it never came");
	qdb_fill(&m.h, QDB_WRITE, "/qubes-firewall/10.137.0.1/0001", 11);
	memcpy(m.data, "action=drop", 11);
	for (size_t at = 1; at < 72 + 11; at++) {
		world_init(&w);
		set(&w, "/qubes-firewall/10.137.0.1", "");
		set(&w, "/qubes-firewall/10.137.0.1/0000", "action=accept");
		connect_world(&w);
		CHECK_INT(fake_vchan_send(&w.v, &m, at), at);
		while (rig_turn(&w.r))
			;
		rig_clear(&w.r);
		fake_dom0_restart(&w.d);
		settle(&w);
		CHECK_STR(w.r.events, "lost dom0 closed the vchan\n");
		CHECK_STR(dom0_has(&w, "/qubes-firewall/10.137.0.1/0001"), "(none)");
		fake_vchan_announce(&w.v);
		rig_clear(&w.r);
		settle(&w);
		settle_after(&w, 2000);
		CHECK_STR(w.r.events, "changed *\nsynced\n");
		world_end(&w);
	}
}

static void test_half_update_at_reconnect(void)
{
	struct world w;

	test_case("an update under way when the link is lost is not enforced");
	world_init(&w);
	set(&w, "/qubes-firewall/10.137.0.1", "");
	set(&w, "/qubes-firewall/10.137.0.1/0000", "action=accept");
	set(&w, "/qubes-firewall/10.137.0.2", "");
	connect_world(&w);
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1/0001", "action=drop");
	settle(&w);
	rig_clear(&w.r);
	/* The raw tree differs from the commit; a loss must not enforce it. */
	fake_dom0_restart(&w.d);
	settle(&w);
	CHECK_STR(w.r.events, "lost dom0 closed the vchan\n");

	test_case("nor when it is back with half of it: the rest comes, however late");
	rig_clear(&w.r);
	fake_vchan_announce(&w.v);
	settle(&w);
	settle_after(&w, 500);
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1/0002", "action=drop");
	settle(&w);
	settle_after(&w, 5000);
	CHECK_STR(w.r.events, "changed *\nsynced\n");
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1", "");
	settle(&w);
	CHECK_STR(w.r.events, "changed *\nsynced\ncommit 10.137.0.1 0000=action=accept "
			      "0001=action=drop 0002=action=drop\n");

	test_case("nor after an RM; another source does not wait for it");
	rig_clear(&w.r);
	fake_dom0_restart(&w.d);
	settle(&w);
	fake_dom0_unset(&w.d, "/qubes-firewall/10.137.0.1/");
	set(&w, "/qubes-firewall/10.137.0.2/0000", "r");
	fake_vchan_announce(&w.v);
	settle(&w);
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1/policy", "drop");
	fake_dom0_rm(&w.d, "/qubes-firewall/10.137.0.1/");
	settle_after(&w, 1000);
	CHECK_STR(w.r.events, "lost dom0 closed the vchan\nchanged *\nsynced\n"
			      "commit 10.137.0.2 0000=r\n");
	update(&w, "10.137.0.1", "x");
	settle(&w);
	CHECK_INT(w.r.commits, 5);

	test_case("a commit that comes within the second is told once");
	fake_dom0_restart(&w.d);
	settle(&w);
	set(&w, "/qubes-firewall/10.137.0.1/0000", "y");
	fake_vchan_announce(&w.v);
	settle(&w);
	rig_clear(&w.r);
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1", "");
	settle(&w);
	settle_after(&w, 2000);
	CHECK_STR(w.r.events, "commit 10.137.0.1 0000=y policy=drop\n");
	world_end(&w);
}

static void test_commits_take_turns(void)
{
	struct world w;
	char path[64];

	test_case("D4_sources_of_a_sync_are_told_one_a_call");
	world_init(&w);
	for (int i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "/qubes-firewall/10.137.0.%d", i);
		set(&w, path, "");
	}
	fake_vchan_announce(&w.v);
	for (unsigned before = 0; qubesdb_state(w.r.db) != QUBESDB_READY; before = w.r.commits) {
		bool busy = fake_dom0_run(&w.d);

		busy = rig_turn(&w.r) || busy;
		if (!CHECK(busy) || !CHECK(w.r.commits - before <= 1))
			break;
	}
	settle(&w);
	CHECK_INT(w.r.commits, 100);

	test_case("D4_and_those_that_were_held");
	fake_dom0_restart(&w.d);
	settle(&w);
	for (int i = 0; i < 100; i++) {
		snprintf(path, sizeof(path), "/qubes-firewall/10.137.0.%d/0000", i);
		set(&w, path, "x");
	}
	fake_vchan_announce(&w.v);
	settle(&w);
	CHECK_INT(w.r.commits, 100);
	w.r.now += 1000;
	for (unsigned before = 100; before < 200; before = w.r.commits)
		if (!CHECK(rig_turn(&w.r)) || !CHECK(w.r.commits == before + 1))
			break;
	settle(&w);
	CHECK_INT(w.r.commits, 200);
	world_end(&w);
}

static void test_half_update_behind_a_stall(void)
{
	struct world w;
	char path[64];

	test_case("nor while dom0 takes no replies and the rest of it is unread");
	world_init(&w);
	set(&w, "/qubes-firewall/10.137.0.1", "");
	set(&w, "/qubes-firewall/10.137.0.1/0000", "action=accept");
	connect_world(&w);
	fake_dom0_restart(&w.d);
	settle(&w);
	fake_dom0_unset(&w.d, "/qubes-firewall/10.137.0.1/");
	set(&w, "/qubes-firewall/10.137.0.1/policy", "drop");
	fake_vchan_announce(&w.v);
	settle(&w);
	rig_clear(&w.r);
	w.d.stalled = true;
	for (int i = 0; i < 600; i++) {
		snprintf(path, sizeof(path), "/k/%04d", i);
		fake_dom0_write(&w.d, path, "v");
	}
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1/0000", "action=drop");
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1", "");
	settle(&w);
	settle_after(&w, 2000);
	CHECK_INT(w.r.commits, 1);
	w.d.stalled = false;
	settle(&w);
	CHECK_INT(w.r.commits, 2);
	CHECK(strstr(w.r.events, "commit 10.137.0.1 0000=action=drop policy=drop\n") != NULL);
	world_end(&w);
}

/* dom0's daemon comes back with a tree of one key. */
static void back_with_little(struct world *w)
{
	fake_dom0_restart(&w->d);
	fake_dom0_unset(&w->d, "/");
	set(w, "/name", "fw");
	settle(w);
	fake_vchan_announce(&w->v);
	settle(w);
}

static void test_small_tree_at_reconnect(void)
{
	struct world w;

	test_case("dom0's daemon comes back with little and is filled: no source is gone");
	world_init(&w);
	update(&w, "10.137.0.1", "action=accept");
	update(&w, "10.137.0.2", "action=accept");
	update(&w, "10.137.0.3", "action=accept");
	connect_world(&w);
	back_with_little(&w);
	rig_clear(&w.r);
	update(&w, "10.137.0.1", "action=accept");
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.2/policy", "drop");
	settle_after(&w, 900);
	CHECK_STR(w.r.events, "commit 10.137.0.1 0000=action=accept policy=drop\n");

	test_case("lost once more meanwhile: the second begins anew");
	fake_dom0_restart(&w.d);
	settle(&w);
	fake_vchan_announce(&w.v);
	settle(&w);
	settle_after(&w, 900);
	rig_clear(&w.r);
	update(&w, "10.137.0.2", "action=drop");
	settle(&w);
	CHECK_STR(w.r.events, "commit 10.137.0.2 0000=action=drop policy=drop\n");
	rig_clear(&w.r);
	settle_after(&w, 100);
	CHECK_STR(w.r.events, "gone 10.137.0.3\n");

	test_case("an RM of all sources is an update of all of them");
	fake_dom0_restart(&w.d);
	settle(&w);
	set(&w, "/qubes-firewall/10.137.0.1/0001", "x");
	fake_vchan_announce(&w.v);
	settle(&w);
	rig_clear(&w.r);
	fake_dom0_rm(&w.d, "/qubes-firewall/");
	settle(&w);
	settle_after(&w, 2000);
	CHECK_STR(w.r.events, "");
	world_end(&w);
}

static const char *we_have(struct world *w, const char *path)
{
	const char *v = qubesdb_read(w->r.db, path, NULL);

	return v ? v : "(none)";
}

static void test_empty_tree_at_reconnect(void)
{
	struct world w;

	test_case("dom0's daemon comes back without a key: what was known stands");
	world_init(&w);
	set(&w, "/qubes-ip", "1.1.1.1");
	set(&w, "/qubes-gateway", "1.1.1.2");
	update(&w, "10.137.0.1", "action=accept");
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1/0001", "action=drop");
	fake_dom0_write(&w.d, "/qubes-firewall/10.137.0.1", "");
	connect_world(&w);
	fake_dom0_restart(&w.d);
	fake_dom0_unset(&w.d, "/");
	settle(&w);
	rig_clear(&w.r);
	fake_vchan_announce(&w.v);
	settle(&w);
	settle_after(&w, 5000);
	CHECK_STR(w.r.events, "changed *\nsynced\n");
	CHECK(strstr(w.r.last_log, "no key is left"));
	CHECK_STR(we_have(&w, "/qubes-ip"), "1.1.1.1");

	test_case("... until dom0 writes it, key by key; a commit has nothing of before");
	rig_clear(&w.r);
	fake_dom0_write(&w.d, "/qubes-ip", "2.2.2.2");
	update(&w, "10.137.0.1", "action=drop");
	settle(&w);
	CHECK_STR(w.r.events,
		  "changed /qubes-ip\ncommit 10.137.0.1 0000=action=drop policy=drop\n");
	CHECK_STR(we_have(&w, "/qubes-ip"), "2.2.2.2");
	CHECK_STR(we_have(&w, "/qubes-gateway"), "1.1.1.2");

	test_case("... or the next sync brings anything at all");
	fake_dom0_restart(&w.d);
	settle(&w);
	fake_vchan_announce(&w.v);
	settle(&w);
	CHECK_STR(we_have(&w, "/qubes-ip"), "2.2.2.2");
	CHECK_STR(we_have(&w, "/qubes-gateway"), "(none)");

	test_case("what we had written and it has lost is not removed there");
	CHECK_INT(qubesdb_write(w.r.db, "/mine", "1", 1), 0);
	settle(&w);
	fake_dom0_restart(&w.d);
	fake_dom0_unset(&w.d, "/");
	settle(&w);
	fake_vchan_announce(&w.v);
	settle(&w);
	CHECK_INT(qubesdb_rm(w.r.db, "/mine"), 0);
	settle(&w);
	CHECK_INT(w.d.rms, 0);
	CHECK_STR(we_have(&w, "/mine"), "(none)");
	world_end(&w);
}

static void test_resync_memory(void)
{
	const struct qdb_entry *before;
	struct world w;

	test_case("a key that a resync brings again is in memory once");
	world_init(&w);
	set(&w, "/a", "same");
	set(&w, "/b", "old");
	connect_world(&w);
	before = qdb_store_get(w.r.db->view, "/a");
	fake_dom0_restart(&w.d);
	set(&w, "/b", "new");
	settle(&w);
	fake_vchan_announce(&w.v);
	settle(&w);
	CHECK(qdb_store_get(w.r.db->view, "/a") == before);
	CHECK_STR(we_have(&w, "/b"), "new");
	world_end(&w);
}

static void test_tree_too_large(void)
{
	struct world w;
	char path[64];

	test_case("a tree larger than we hold: what was known stands; a try a second");
	world_init(&w);
	set(&w, "/qubes-ip", "1.1.1.1");
	set(&w, "/qubes-firewall/10.137.0.1", "");
	connect_world(&w);
	fake_dom0_restart(&w.d);
	settle(&w);
	for (int i = 0; i < QDB_STORE_KEYS_MAX; i++) {
		snprintf(path, sizeof(path), "/z/%06d", i);
		set(&w, path, "");
	}
	rig_clear(&w.r);
	fake_vchan_announce(&w.v);
	settle(&w);
	CHECK_STR(w.r.events, "lost dom0's tree is larger than we hold\n");
	CHECK_STR(we_have(&w, "/qubes-ip"), "1.1.1.1");
	fake_dom0_restart(&w.d);
	fake_dom0_unset(&w.d, "/z/");
	fake_vchan_announce(&w.v);
	settle_after(&w, 999);
	CHECK_INT(w.v.connects, 2);
	settle_after(&w, 1);
	CHECK_INT(qubesdb_state(w.r.db), QUBESDB_READY);
	CHECK_INT(w.r.commits, 1);
	world_end(&w);
}

int main(void)
{
	test_reconnect();
	test_closed_in_a_message();
	test_half_update_at_reconnect();
	test_half_update_behind_a_stall();
	test_commits_take_turns();
	test_small_tree_at_reconnect();
	test_empty_tree_at_reconnect();
	test_resync_memory();
	test_tree_too_large();
	return test_end();
}
