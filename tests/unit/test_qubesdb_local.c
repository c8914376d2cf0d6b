// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The client of a local qubesdb-daemon against a daemon in this process.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fake/vchan.h"
#include "tests/unit/qubesdb_rig.h"
#include "tests/xen/qdb.h"

struct world {
	struct rig r;
	struct fake_dom0 tree; /* only its keys */
	int fd;		       /* the daemon's end, -1 */
	int connects;
	bool refuse;   /* nobody listens */
	bool mute;     /* takes requests, answers nothing yet */
	bool watching; /* WATCH / came */
	bool misordered; /* a read before the watch */
	size_t in_len, out_at, out_len, out_cap;
	uint8_t in[72 + 3071];
	uint8_t *out;
	size_t send_max;
	unsigned reads, multis, full, writes, rms; /* full: MULTIREADs of all */
};

static int world_connect(void *arg)
{
	struct world *w = arg;
	int fd[2];

	if (w->refuse)
		return -ECONNREFUSED;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) < 0)
		return -errno;
	w->fd = fd[1];
	w->connects++;
	w->watching = false;
	w->in_len = w->out_at = w->out_len = 0;
	return fd[0];
}

static void world_init(struct world *w)
{
	struct qdb_local_peer peer = { .connect = world_connect, .arg = w };

	memset(w, 0, sizeof(*w));
	w->fd = -1;
	rig_init(&w->r);
	fake_dom0_init(&w->tree, NULL);
	CHECK_INT(qdb_base_new(&w->r.db, &rig_events, &w->r), 0);
	CHECK_INT(qdb_local_new(w->r.db, &peer), 0);
}

static void world_drop(struct world *w)
{
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

static void world_end(struct world *w)
{
	CHECK(!w->misordered);
	rig_end(&w->r);
	world_drop(w);
	fake_dom0_end(&w->tree);
	free(w->out);
}

/* --- the daemon -------------------------------------------------------------- */

static void out(struct world *w, unsigned type, const char *path, const char *data, size_t len)
{
	struct qdb_hdr h;

	qdb_fill(&h, type, path, len);
	if (w->out_at == w->out_len)
		w->out_at = w->out_len = 0;
	if (w->out_len + sizeof(h) + len > w->out_cap) {
		w->out_cap = 2 * (w->out_len + sizeof(h) + len);
		w->out = realloc(w->out, w->out_cap);
	}
	memcpy(w->out + w->out_len, &h, sizeof(h));
	if (len)
		memcpy(w->out + w->out_len + sizeof(h), data, len);
	w->out_len += sizeof(h) + len;
}

static void fire(struct world *w, const char *path)
{
	if (w->watching)
		out(w, QDB_R_WATCH, path, NULL, 0);
}

static void put(struct world *w, const char *path, const char *value)
{
	fake_dom0_set(&w->tree, path, value, strlen(value));
	fire(w, path);
}

static bool drop(struct world *w, const char *path)
{
	if (!fake_dom0_unset(&w->tree, path))
		return false;
	fire(w, path);
	return true;
}

static void obey(struct world *w, const struct qdb_hdr *h, const char *data)
{
	const struct fake_key *k;

	if (!w->watching && h->type != QDB_WATCH)
		w->misordered = true;
	switch (h->type) {
	case QDB_WATCH:
		w->watching = strcmp(h->path, "/") == 0;
		out(w, QDB_OK, h->path, NULL, 0);
		return;
	case QDB_READ:
		w->reads++;
		k = fake_dom0_get(&w->tree, h->path);
		out(w, k ? QDB_R_READ : QDB_NOENT, h->path, k ? k->value : NULL, k ? k->len : 0);
		return;
	case QDB_MULTIREAD:
		w->multis++;
		w->full += strcmp(h->path, "/") == 0;
		for (size_t i = 0; i < w->tree.n; i++) {
			k = &w->tree.keys[i];
			if (strncmp(k->path, h->path, strlen(h->path)) == 0)
				out(w, QDB_R_MULTIREAD, k->path, k->value, k->len);
		}
		out(w, QDB_R_MULTIREAD, "", NULL, 0);
		return;
	case QDB_WRITE:
		w->writes++;
		fake_dom0_set(&w->tree, h->path, data, h->data_len);
		fire(w, h->path);
		out(w, QDB_OK, h->path, NULL, 0);
		return;
	case QDB_RM:
		w->rms++;
		out(w, drop(w, h->path) ? QDB_OK : QDB_NOENT, h->path, NULL, 0);
		return;
	default:
		CHECK(!"a request that nobody makes");
	}
}

static bool daemon_turn(struct world *w)
{
	struct qdb_hdr h;
	bool moved = false;
	ssize_t n;

	while (w->fd >= 0 && !w->mute) {
		size_t need = sizeof(h);

		if (w->in_len >= sizeof(h)) {
			memcpy(&h, w->in, sizeof(h));
			need += h.data_len;
		}
		if (w->in_len >= sizeof(h) && w->in_len == need) {
			w->in_len = 0;
			obey(w, &h, (char *)w->in + sizeof(h));
			continue;
		}
		n = recv(w->fd, w->in + w->in_len, need - w->in_len, MSG_DONTWAIT);
		if (n <= 0)
			break;
		w->in_len += (size_t)n;
		moved = true;
	}
	if (w->fd >= 0 && w->out_at < w->out_len) {
		size_t len = w->out_len - w->out_at;

		if (w->send_max && len > w->send_max)
			len = w->send_max;
		n = send(w->fd, w->out + w->out_at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			w->out_at += (size_t)n;
			moved = true;
		}
	}
	return moved;
}

static void settle(struct world *w)
{
	bool busy = true;

	for (int i = 0; i < 200000 && busy; i++) {
		busy = daemon_turn(w);
		busy = rig_turn(&w->r) || busy;
	}
	CHECK(!busy);
}

static void update(struct world *w, const char *source, const char *rule)
{
	char path[128];

	snprintf(path, sizeof(path), "/qubes-firewall/%s/", source);
	drop(w, path);
	snprintf(path, sizeof(path), "/qubes-firewall/%s/policy", source);
	put(w, path, "drop");
	snprintf(path, sizeof(path), "/qubes-firewall/%s/0000", source);
	put(w, path, rule);
	snprintf(path, sizeof(path), "/qubes-firewall/%s", source);
	put(w, path, "");
}

static const char *we_have(struct world *w, const char *path)
{
	const char *v = qubesdb_read(w->r.db, path, NULL);

	return v ? v : "(none)";
}

static const char *it_has(struct world *w, const char *path)
{
	const struct fake_key *k = fake_dom0_get(&w->tree, path);

	return k ? k->value : "(none)";
}

/* --- cases ------------------------------------------------------------------- */

static void test_start(void)
{
	static const unsigned gaps[] = { 50, 100, 200, 400, 800, 1000, 1000 };
	struct world w;

	test_case("nobody listens: back-off, and a reason");
	world_init(&w);
	w.refuse = true;
	for (size_t i = 0; i < sizeof(gaps) / sizeof(gaps[0]); i++) {
		settle(&w);
		CHECK_INT(w.r.deadline - w.r.now, gaps[i]);
		CHECK_STR(qubesdb_reason(w.r.db), "qubesdb socket: Connection refused");
		CHECK_INT(qubesdb_fd(w.r.db), -1);
		w.r.now = w.r.deadline;
	}

	test_case("the watch first, then everything, then the commits");
	w.refuse = false;
	put(&w, "/qubes-firewall/10.137.0.1", "");
	put(&w, "/qubes-firewall/10.137.0.1/policy", "drop");
	put(&w, "/qubes-firewall/10.137.0.10/policy", "drop");
	put(&w, "/qubes-ip", "10.137.0.9");
	settle(&w);
	CHECK_STR(w.r.events, "commit 10.137.0.1 policy=drop\nchanged *\nsynced\n");
	CHECK_STR(we_have(&w, "/qubes-ip"), "10.137.0.9");
	CHECK_INT(qubesdb_state(w.r.db), QUBESDB_READY);
	CHECK_INT(w.r.deadline == UINT64_MAX, 1);
	CHECK(!qubesdb_want_write(w.r.db));
	world_end(&w);

	test_case("what changes during the first read is read after it");
	world_init(&w);
	put(&w, "/a", "1");
	CHECK(rig_turn(&w.r));
	CHECK(daemon_turn(&w)); /* WATCH is in, MULTIREAD is not */
	CHECK(rig_turn(&w.r));
	CHECK(daemon_turn(&w));
	put(&w, "/a", "2");
	update(&w, "10.137.0.1", "action=drop");
	settle(&w);
	CHECK_STR(we_have(&w, "/a"), "2");
	CHECK(strstr(w.r.events, "commit 10.137.0.1 0000=action=drop policy=drop\n"));
	world_end(&w);
}

static void test_events(void)
{
	struct world w;

	test_case("written, removed, a subtree removed");
	world_init(&w);
	settle(&w);
	rig_clear(&w.r);
	put(&w, "/connected-ips", "10.137.0.5");
	put(&w, "/mapped-ip/1/visible-ip", "x");
	settle(&w);
	CHECK_STR(we_have(&w, "/connected-ips"), "10.137.0.5");
	drop(&w, "/connected-ips");
	drop(&w, "/mapped-ip/1/");
	settle(&w);
	CHECK_STR(w.r.events, "changed /connected-ips\nchanged /mapped-ip/1/visible-ip\n"
			      "changed /connected-ips\nchanged /mapped-ip/1/\n");
	CHECK_STR(we_have(&w, "/connected-ips"), "(none)");
	CHECK_STR(we_have(&w, "/mapped-ip/1/visible-ip"), "(none)");

	test_case("an update is one read and one commit");
	rig_clear(&w.r);
	w.reads = w.multis = 0;
	update(&w, "10.137.0.1", "action=drop");
	settle(&w);
	CHECK_STR(w.r.events, "commit 10.137.0.1 0000=action=drop policy=drop\n");
	CHECK_INT(w.reads, 0);
	CHECK_INT(w.multis, 1);

	test_case("half an update is never seen");
	rig_clear(&w.r);
	drop(&w, "/qubes-firewall/10.137.0.1/");
	put(&w, "/qubes-firewall/10.137.0.1/policy", "drop");
	settle(&w);
	CHECK_STR(w.r.events, "");
	put(&w, "/qubes-firewall/10.137.0.1", "");
	settle(&w);
	CHECK_STR(w.r.events, "commit 10.137.0.1 policy=drop\n");

	test_case("the next update overtakes the read of a commit");
	rig_clear(&w.r);
	update(&w, "10.137.0.1", "action=accept");
	update(&w, "10.137.0.10", "action=accept");
	drop(&w, "/qubes-firewall/10.137.0.1/");
	settle(&w);
	CHECK_STR(w.r.events, "commit 10.137.0.10 0000=action=accept policy=drop\n");
	put(&w, "/qubes-firewall/10.137.0.1/policy", "drop");
	put(&w, "/qubes-firewall/10.137.0.1", "");
	settle(&w);
	CHECK_STR(w.r.events, "commit 10.137.0.10 0000=action=accept policy=drop\n"
			      "commit 10.137.0.1 policy=drop\n");
	world_end(&w);
}

static void test_between(void)
{
	struct world w;
	struct qdb_hdr h;

	test_case("events between the parts of a reply");
	world_init(&w);
	settle(&w);
	rig_clear(&w.r);
	w.mute = true;
	update(&w, "10.137.0.1", "action=drop");
	while (daemon_turn(&w) || rig_turn(&w.r))
		;
	CHECK_INT(recv(w.fd, &h, sizeof(h), 0), sizeof(h));
	CHECK_INT(h.type, QDB_MULTIREAD);
	CHECK_STR(h.path, "/qubes-firewall/10.137.0.1/");
	out(&w, QDB_R_MULTIREAD, "/qubes-firewall/10.137.0.1/0000", "action=drop", 11);
	put(&w, "/qubes-ip", "1.2.3.4");
	out(&w, QDB_R_MULTIREAD, "/qubes-firewall/10.137.0.1/policy", "drop", 4);
	put(&w, "/qubes-gateway", "1.2.3.1");
	out(&w, QDB_R_MULTIREAD, "", NULL, 0);
	w.mute = false;
	settle(&w);
	CHECK_STR(w.r.events, "commit 10.137.0.1 0000=action=drop policy=drop\n"
			      "changed /qubes-ip\nchanged /qubes-gateway\n");
	world_end(&w);
}

static void test_split(void)
{
	char name[64];

	for (size_t i = 1; i < 150; i += i < 80 ? 1 : 7) {
		struct world w;

		snprintf(name, sizeof(name), "the daemon's bytes come %zu at a time", i);
		test_case(name);
		world_init(&w);
		w.send_max = i;
		put(&w, "/qubes-firewall/10.137.0.1", "");
		put(&w, "/qubes-firewall/10.137.0.1/0000", "action=accept");
		settle(&w);
		update(&w, "10.137.0.1", "action=drop");
		put(&w, "/x", "1");
		settle(&w);
		CHECK_STR(w.r.events,
			  "commit 10.137.0.1 0000=action=accept\nchanged *\nsynced\n"
			  "commit 10.137.0.1 0000=action=drop policy=drop\nchanged /x\n");
		world_end(&w);
	}
}

static void test_own(void)
{
	struct world w;
	char path[32];
	int n;

	test_case("own writes: kept until connected, coalesced, no news of their own");
	world_init(&w);
	CHECK_INT(qubesdb_write(w.r.db, "/mine", "1", 1), 0);
	CHECK_INT(qubesdb_write(w.r.db, "/mine", "2", 1), 0);
	CHECK_INT(qubesdb_rm(w.r.db, "/nothing"), 0);
	settle(&w);
	CHECK_STR(it_has(&w, "/mine"), "2");
	CHECK_STR(we_have(&w, "/mine"), "2");
	CHECK_INT(w.writes, 1);
	CHECK_INT(w.rms, 0);
	CHECK_STR(w.r.events, "changed *\nsynced\n");

	test_case("write and rm outside of process()");
	rig_clear(&w.r);
	CHECK_INT(qubesdb_write(w.r.db, "/dns/1/a", "1", 1), 0);
	CHECK_INT(qubesdb_rm(w.r.db, "/dns/1/"), 0);
	CHECK_INT(qubesdb_write(w.r.db, "/dns/1/b", "1", 1), 0);
	settle(&w);
	CHECK_STR(it_has(&w, "/dns/1/a"), "(none)");
	CHECK_STR(it_has(&w, "/dns/1/b"), "1");
	CHECK_STR(we_have(&w, "/dns/1/b"), "1");

	test_case("what does not fit the queue changes nothing, and may be tried again");
	w.mute = true;
	for (n = 0; n < 100000; n++) {
		snprintf(path, sizeof(path), "/fill/%d", n);
		if (qubesdb_write(w.r.db, path, "v", 1) != 0)
			break;
	}
	CHECK(n > 500 && n < 10000);
	CHECK_INT(qubesdb_write(w.r.db, path, "v", 1), -ENOBUFS);
	CHECK_INT(qubesdb_rm(w.r.db, "/dns/1/"), -ENOBUFS);
	CHECK_STR(we_have(&w, "/dns/1/b"), "1");
	CHECK_INT(qubesdb_rm(w.r.db, "/dns/1/"), -ENOBUFS);
	w.mute = false;
	settle(&w);
	CHECK_INT(qubesdb_rm(w.r.db, "/dns/1/"), 0);
	settle(&w);
	CHECK_STR(it_has(&w, "/dns/1/b"), "(none)");
	CHECK_STR(we_have(&w, "/dns/1/b"), "(none)");

	test_case("the handled counter from inside commit()");
	w.r.handled = "/qubes-firewall-handled/10.137.0.1";
	for (int i = 1; i <= 5; i++) {
		update(&w, "10.137.0.1", "action=drop");
		settle(&w);
	}
	CHECK_STR(it_has(&w, w.r.handled), "5");
	world_end(&w);
}

static void test_reconnect(void)
{
	struct world w;

	test_case("the daemon restarts: lost, watched again, read again, told what differs");
	world_init(&w);
	put(&w, "/qubes-firewall/10.137.0.1", "");
	put(&w, "/qubes-firewall/10.137.0.2", "");
	put(&w, "/qubes-firewall/10.137.0.3", "");
	settle(&w);
	rig_clear(&w.r);
	world_drop(&w);
	fake_dom0_set(&w.tree, "/qubes-firewall/10.137.0.2/0000", "r", 1);
	fake_dom0_unset(&w.tree, "/qubes-firewall/10.137.0.3");
	CHECK_INT(qubesdb_write(w.r.db, "/mine", "1", 1), 0);
	settle(&w);
	CHECK(strncmp(w.r.events, "lost ", 5) == 0);
	CHECK_INT(qubesdb_state(w.r.db), QUBESDB_CONNECTING);
	rig_clear(&w.r);
	w.r.now = w.r.deadline;
	settle(&w);
	CHECK_STR(w.r.events, "changed *\nsynced\n");
	CHECK_INT(w.r.deadline - w.r.now, 1000);
	w.r.now = w.r.deadline;
	settle(&w);
	CHECK_STR(w.r.events, "changed *\nsynced\ncommit 10.137.0.2 0000=r\ngone 10.137.0.3\n");
	CHECK_STR(it_has(&w, "/mine"), "1");
	CHECK_INT(w.connects, 2);
	put(&w, "/new", "1");
	settle(&w);
	CHECK_STR(we_have(&w, "/new"), "1");

	test_case("it comes back without a key: what was known stands");
	world_drop(&w);
	fake_dom0_unset(&w.tree, "/");
	settle(&w);
	rig_clear(&w.r);
	w.r.now = w.r.deadline;
	settle(&w);
	w.r.now += 5000;
	settle(&w);
	CHECK_STR(w.r.events, "changed *\nsynced\n");
	CHECK_STR(we_have(&w, "/new"), "1");
	update(&w, "10.137.0.2", "s");
	settle(&w);
	CHECK_STR(w.r.events, "changed *\nsynced\ncommit 10.137.0.2 0000=s policy=drop\n");

	test_case("a write that was sent and not answered is told again");
	CHECK_INT(qubesdb_write(w.r.db, "/sent", "1", 1), 0);
	world_drop(&w);
	settle(&w);
	w.r.now = w.r.deadline;
	settle(&w);
	CHECK_STR(it_has(&w, "/sent"), "1");
	CHECK_STR(we_have(&w, "/sent"), "1");
	world_end(&w);
}

static void test_half_update_at_reconnect(void)
{
	struct world w;

	test_case("back with half an update: the commit counts, however late it comes");
	world_init(&w);
	update(&w, "10.137.0.1", "a");
	update(&w, "10.137.0.2", "a");
	settle(&w);
	world_drop(&w);
	drop(&w, "/qubes-firewall/10.137.0.1/");
	drop(&w, "/qubes-firewall/10.137.0.2/");
	settle(&w);
	w.r.now = w.r.deadline;
	settle(&w);
	rig_clear(&w.r);
	put(&w, "/qubes-firewall/10.137.0.1/policy", "drop");
	settle(&w);
	w.r.now += 5000;
	settle(&w);
	CHECK_STR(w.r.events, "commit 10.137.0.2\n");
	put(&w, "/qubes-firewall/10.137.0.1/0000", "b");
	put(&w, "/qubes-firewall/10.137.0.1", "");
	settle(&w);
	CHECK_STR(w.r.events, "commit 10.137.0.2\ncommit 10.137.0.1 0000=b policy=drop\n");

	test_case("a commit whose read is under way at the second's end is told once");
	world_drop(&w);
	fake_dom0_set(&w.tree, "/qubes-firewall/10.137.0.1/0000", "c", 1);
	settle(&w);
	w.r.now = w.r.deadline;
	settle(&w);
	rig_clear(&w.r);
	w.mute = true;
	fake_dom0_set(&w.tree, "/qubes-firewall/10.137.0.1/0000", "d", 1);
	put(&w, "/qubes-firewall/10.137.0.1", "");
	settle(&w);
	w.r.now += 2000;
	settle(&w);
	CHECK_STR(w.r.events, "");
	w.mute = false;
	settle(&w);
	CHECK_STR(w.r.events, "commit 10.137.0.1 0000=d policy=drop\n");
	world_end(&w);
}

static void test_overflow(void)
{
	struct world w;
	char path[64];

	test_case("more events than are kept: everything is read again");
	world_init(&w);
	settle(&w);
	rig_clear(&w.r);
	w.mute = true;
	w.multis = 0;
	for (int i = 0; i < 5000; i++) {
		snprintf(path, sizeof(path), "/k/%d", i);
		put(&w, path, "v");
		while (i % 500 == 0 && (daemon_turn(&w) || rig_turn(&w.r)))
			;
	}
	while (daemon_turn(&w) || rig_turn(&w.r))
		;
	update(&w, "10.137.0.1", "action=drop");
	w.mute = false;
	settle(&w);
	CHECK_INT(w.multis >= 1, 1);
	CHECK(w.reads < 2000);
	CHECK_STR(we_have(&w, "/k/4999"), "v");
	CHECK(strstr(w.r.events, "commit 10.137.0.1 0000=action=drop policy=drop\n"));
	CHECK_INT(w.r.losses, 0);
	world_end(&w);
}

static void test_hostile(void)
{
	static const struct {
		const char *name;
		unsigned type;
		const char *path;
		size_t len;
	} cases[] = {
		{ "a reply that nobody asked for", QDB_OK, "/a", 0 },
		{ "a command", QDB_WRITE, "/a", 1 },
		{ "type 99", 99, "/a", 0 },
		{ "an event with data", QDB_R_WATCH, "/a", 1 },
		{ "an event of nothing", QDB_R_WATCH, "", 0 },
		{ "an event of a relative path", QDB_R_WATCH, "a", 0 },
		{ "a blank in a path", QDB_R_WATCH, "/a b", 0 },
	};
	struct world w;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		test_case(cases[i].name);
		world_init(&w);
		settle(&w);
		out(&w, cases[i].type, cases[i].path, "d", cases[i].len);
		settle(&w);
		CHECK_INT(w.r.losses, 1);
		CHECK_INT(w.r.deadline - w.r.now, 1000); /* it may say it again */
		w.r.now = w.r.deadline;
		settle(&w);
		CHECK_INT(qubesdb_state(w.r.db), QUBESDB_READY);
		world_end(&w);
	}

	test_case("a key outside of what was asked for");
	world_init(&w);
	settle(&w);
	w.mute = true;
	update(&w, "10.137.0.1", "action=drop");
	while (daemon_turn(&w) || rig_turn(&w.r))
		;
	out(&w, QDB_R_MULTIREAD, "/qubes-firewall/10.137.0.10/0000", "x", 1);
	while (daemon_turn(&w) || rig_turn(&w.r))
		;
	CHECK_INT(w.r.losses, 1);
	CHECK_STR(we_have(&w, "/qubes-firewall/10.137.0.10/0000"), "(none)");
	world_end(&w);

	test_case("the watch is refused");
	world_init(&w);
	w.mute = true;
	(void)rig_turn(&w.r);
	out(&w, QDB_ERROR, "/", NULL, 0);
	while (daemon_turn(&w) || rig_turn(&w.r))
		;
	CHECK_INT(w.r.losses, 1);
	CHECK(strstr(qubesdb_reason(w.r.db), "refuses to watch"));
	w.misordered = false;
	world_end(&w);
}

/* --- random programs ------------------------------------------------------------ */

#define SOURCES	     3
#define VERSION_LEN  160
#define VERSIONS_MAX 600

/* What the subtree of a source was whenever it counted, as rig_commit() says it. */
struct history {
	char version[SOURCES][VERSIONS_MAX][VERSION_LEN];
	size_t n[SOURCES];
	unsigned full; /* whole reads of the tree seen so far */
};

static unsigned rnd_state;

static unsigned rnd(unsigned n)
{
	rnd_state = rnd_state * 1664525 + 1013904223;
	return (rnd_state >> 8) % n;
}

static void version_of(struct world *w, unsigned s, char text[VERSION_LEN])
{
	static const char *const keys[] = { "0000", "0001", "0002", "policy" };
	int n = snprintf(text, VERSION_LEN, "commit 10.137.0.%u", s);

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		char path[64];
		const struct fake_key *k;

		snprintf(path, sizeof(path), "/qubes-firewall/10.137.0.%u/%s", s, keys[i]);
		k = fake_dom0_get(&w->tree, path);
		if (k)
			n += snprintf(text + n, VERSION_LEN - (size_t)n, " %s=%s", keys[i],
				      k->value);
	}
	snprintf(text + n, VERSION_LEN - (size_t)n, "\n");
}

static void counts_now(struct world *w, struct history *h, unsigned s)
{
	if (CHECK(h->n[s] < VERSIONS_MAX))
		version_of(w, s, h->version[s][h->n[s]++]);
}

static void random_other(struct world *w, struct history *h)
{
	char path[64], value[32];
	unsigned s = rnd(SOURCES);

	snprintf(value, sizeof(value), "%u", rnd(1000));
	switch (rnd(7)) {
	case 0:
		snprintf(path, sizeof(path), "/qubes-firewall/10.137.0.%u/", s);
		drop(w, path);
		return;
	case 1:
		snprintf(path, sizeof(path), "/qubes-firewall/10.137.0.%u/policy", s);
		put(w, path, value);
		return;
	case 2:
	case 3:
		snprintf(path, sizeof(path), "/qubes-firewall/10.137.0.%u/000%u", s, rnd(3));
		put(w, path, value);
		return;
	case 4:
		snprintf(path, sizeof(path), "/key/%u", rnd(4));
		put(w, path, value);
		return;
	case 5:
		snprintf(path, sizeof(path), rnd(3) ? "/key/%u" : "/key/", rnd(4));
		drop(w, path);
		return;
	default:
		snprintf(path, sizeof(path), "/qubes-firewall/10.137.0.%u", s);
		counts_now(w, h, s);
		put(w, path, "");
	}
}

static void random_own(struct world *w)
{
	char path[64], value[32];

	snprintf(path, sizeof(path), "/own/%u", rnd(3));
	snprintf(value, sizeof(value), "%u", rnd(1000));
	if (rnd(3))
		CHECK_INT(qubesdb_write(w->r.db, path, value, strlen(value)), 0);
	else
		CHECK_INT(qubesdb_rm(w->r.db, rnd(2) ? path : "/own/"), 0);
}

/* No commit delivers what was never committed, nor there at a whole read. */
static void look_at_commits(struct world *w, const struct history *h)
{
	for (char *line = w->r.events, *end; line && *line; line = end) {
		unsigned s = 0;
		bool known = false;

		end = strchr(line, '\n') + 1;
		if (sscanf(line, "commit 10.137.0.%u", &s) != 1 || s >= SOURCES)
			continue;
		for (size_t i = 0; i < h->n[s] && !known; i++)
			known = strncmp(h->version[s][i], line, (size_t)(end - line)) == 0;
		if (!CHECK(known))
			printf("  %.*s", (int)(end - line), line);
	}
	rig_clear(&w->r);
}

static void turns(struct world *w, struct history *h, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned before = w->full;

		(void)daemon_turn(w);
		for (unsigned s = 0; s < SOURCES && w->full != before; s++)
			counts_now(w, h, s);
		(void)rig_turn(&w->r);
		look_at_commits(w, h);
	}
}

static size_t outside;

static void same_outside(void *arg, const char *path, const char *value, size_t len)
{
	(void)len;
	if (strncmp(path, "/qubes-firewall/", 16) == 0)
		return;
	CHECK_STR(it_has(arg, path), value);
	outside++;
}

/* All is told; one more commit of each source; and both are of one mind. */
static void agree(struct world *w, struct history *h)
{
	w->mute = false;
	w->send_max = 0;
	for (int i = 0; i < 4; i++) {
		turns(w, h, 2000);
		w->r.now += 1000;
	}
	CHECK_INT(qubesdb_state(w->r.db), QUBESDB_READY);
	for (unsigned s = 0; s < SOURCES; s++) {
		char path[64], want[VERSION_LEN];

		snprintf(path, sizeof(path), "/qubes-firewall/10.137.0.%u/0000", s);
		put(w, path, "last");
		path[strlen(path) - 5] = '\0';
		put(w, path, "");
		version_of(w, s, want);
		rig_clear(&w->r);
		settle(w);
		CHECK_STR(w->r.events, want);
	}
	outside = 0;
	qubesdb_list(w->r.db, "/", same_outside, w);
	for (size_t i = 0; i < w->tree.n; i++)
		outside -= strncmp(w->tree.keys[i].path, "/qubes-firewall/", 16) != 0;
	CHECK_INT(outside, 0);
}

static void test_random(bool losses)
{
	static struct history h;
	char name[64];

	for (unsigned seed = 1; seed <= 60; seed++) {
		struct world w;

		snprintf(name, sizeof(name), "random programs%s, seed %u",
			 losses ? " and losses" : "", seed);
		test_case(name);
		rnd_state = seed * 7919 + losses;
		memset(&h, 0, sizeof(h));
		world_init(&w);
		for (int step = 0; step < 300; step++) {
			if (rnd(2))
				random_other(&w, &h);
			if (rnd(4) == 0)
				random_own(&w);
			if (losses && rnd(40) == 0)
				world_drop(&w);
			w.send_max = rnd(3) ? 0 : 1 + rnd(200);
			w.mute = rnd(8) == 0;
			w.r.now += rnd(losses ? 200 : 20);
			turns(&w, &h, rnd(5));
		}
		agree(&w, &h);
		if (!losses)
			CHECK_INT(w.r.losses, 0);
		world_end(&w);
	}
}

int main(void)
{
	test_start();
	test_events();
	test_between();
	test_split();
	test_own();
	test_reconnect();
	test_half_update_at_reconnect();
	test_overflow();
	test_hostile();
	test_random(false);
	test_random(true);
	return test_end();
}
