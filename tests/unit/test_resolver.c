/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * firewall/resolver.c against helpers that misbehave. It starts its helper by executing
 * its own program again; here that is this test, which is then one of the helpers
 * below. Which one, and how often one began, is in a file with the parent's number.
 */
#include "firewall/resolver.h"

#include "firewall/daemon.h"
#include "firewall/log.h"
#include "firewall/resolver_helper.h"
#include "tests/unit/check.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOST_MS 700

/* --- helpers ---------------------------------------------------------------------- */

static void path_of(char path[64], pid_t test)
{
	snprintf(path, 64, "/tmp/rf-test-resolver-%d", (int)test);
}

static bool failing; /* answers that a server failed */

static void say(uint32_t type, uint32_t id)
{
	struct name_reply r;

	memset(&r, 0, sizeof(r));
	r.type = type;
	r.id = id;
	if (type == NAME_REPLY) {
		r.family = 4;
		r.outcome = failing ? DNS_SERVER_FAILURE : DNS_ADDRESSES;
		r.ttl_s = failing ? 0 : 3600;
		r.count = !failing;
		memcpy(r.addrs[0], failing ? "\0\0\0" : "\300\0\2\1", 4);
	}
	if (!resolver_send(RESOLVER_HELPER_FD, &r))
		_exit(0);
}

static void answer_all(void)
{
	struct name_request q;

	for (;;) {
		ssize_t n = recv(RESOLVER_HELPER_FD, &q, sizeof(q), 0);

		if (n <= 0)
			_exit(0);
		if (name_request_check(&q, &q, (size_t)n) && q.type == NAME_ASK)
			say(NAME_REPLY, q.id);
	}
}

static int helper_main(void)
{
	char path[64], mode = '?';
	int fd;

	path_of(path, getppid());
	fd = open(path, O_RDWR | O_APPEND);
	if (fd < 0 || pread(fd, &mode, 1, 0) != 1 || write(fd, "+", 1) != 1)
		return 1;
	close(fd);
	if (mode == 'e') /* ends */
		return 0;
	say(NAME_HELLO, 0);
	switch (mode) {
	case 'g': answer_all(); break;
	case 's': /* there is no way to the servers, they say */
		failing = true;
		answer_all();
		break;
	case 'h': /* hangs */
		for (;;)
			pause();
	case 'n': /* no reply at all */
		(void)send(RESOLVER_HELPER_FD, "nonsense", 8, MSG_NOSIGNAL);
		break;
	case 'f': /* floods, with what is well formed */
		for (uint32_t id = 1;; id++)
			say(NAME_REPLY, id << 12 | 0xfff);
	case 'r': /* restarts, it says */
		for (;;) {
			say(NAME_DIED, 0);
			say(NAME_HELLO, 0);
		}
	}
	answer_all();
	return 1;
}

/* --- the daemon's side --------------------------------------------------------------- */

static struct loop *loop;
static struct engine *engine;
static struct sources *sources;
static struct names *fixed;
static struct qubesdb *db;
static struct resolver *r;
static struct policy_env env;
static struct settings settings;
static char mode_path[64], db_path[] = "/tmp/rf-test-resolver-db-XXXXXX";

static void on_commit(void *arg, const char *src, const struct qubesdb_pair *p, size_t n)
{
	(void)arg, (void)src, (void)p, (void)n;
}

static void on_text(void *arg, const char *text)
{
	(void)arg, (void)text;
}

static void on_log(void *arg, int level, const char *text)
{
	(void)arg, (void)level, (void)text;
}

static void on_synced(void *arg)
{
	(void)arg;
}

static void set_mode(char mode)
{
	int fd = open(mode_path, O_CREAT | O_TRUNC | O_WRONLY, 0666);

	CHECK(fd >= 0 && write(fd, &mode, 1) == 1);
	close(fd);
}

/* How many helpers have begun. */
static int begun(void)
{
	char text[64];
	int fd = open(mode_path, O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text));

	close(fd);
	return (int)n - 1;
}

static void setup(char mode)
{
	static const struct qubesdb_events ev = {on_synced, on_commit, on_text,
						 on_text,   on_text,   on_log};
	struct qubesdb_pair rules[] = {{"policy", "drop", 4},
				       {"0000", "action=accept dsthost=a.test", 28}};
	const struct name_times times = {.lost_ms = LOST_MS};
	struct addr server = {4, {192, 0, 2, 53}};
	struct engine_config config = {.flow_max = 1024};
	char spec[64], err[128];

	set_mode(mode);
	snprintf(spec, sizeof(spec), "file:%s", db_path);
	CHECK_INT(loop_new(&loop), 0);
	CHECK_INT(engine_new(&engine, &config), 0);
	CHECK_INT(sources_new(&sources, engine, &env, &settings), 0);
	CHECK_INT(names_new(&fixed), 0);
	CHECK_INT(qubesdb_new(&db, spec, &ev, NULL, err, sizeof(err)), 0);
	qubesdb_process(db, 1);
	CHECK_INT(resolver_new(&r, fixed, true, &times), 0);
	CHECK_INT(resolver_start(r, loop, sources, db), 0);
	resolver_servers(r, &server, 1);
	sources_commit(sources, NULL, "10.137.0.5", rules, 2);
}

static void teardown(void)
{
	resolver_free(&r);
	CHECK_INT(waitpid(-1, NULL, WNOHANG), -1); /* no helper is left */
	names_free(&fixed);
	sources_free(&sources);
	engine_free(&engine);
	qubesdb_free(&db);
	loop_free(&loop);
	unlink(mode_path);
}

static struct resolver_info info(void)
{
	struct resolver_info i;

	resolver_info(r, &i);
	return i;
}

static bool resolves(void)
{
	struct addr source = {4, {10, 137, 0, 5}};
	const struct addr *addrs;
	size_t n;

	return resolver_lookup(r, &source, "a.test", &addrs, &n) == NAME_RESOLVED && n == 1;
}

static bool has_restarted(void)
{
	return info().restarts > 0;
}

static bool has_restarted_thrice(void)
{
	return info().restarts >= 3;
}

/* Turns of the loop until it is so, or the time is over. */
static bool within(unsigned int ms, bool (*is)(void))
{
	uint64_t now_us = loop_now_us(), end_ms = now_us / 1000 + ms;

	while (!is() && now_us / 1000 < end_ms)
		CHECK(loop_run_once(loop, end_ms, &now_us) >= 0);
	return is();
}

static uint64_t enough; /* questions */

static bool has_asked(void)
{
	return info().asked >= enough;
}

static bool never(void)
{
	return false;
}

static void test_good(void)
{
	test_case("helper_that_answers");
	setup('g');
	CHECK(within(10000, resolves));
	CHECK_INT(info().state, RESOLVER_READY);
	CHECK_INT(info().restarts, 0);
	CHECK_INT(info().asked, 1);
	CHECK(info().helper > 0);
	teardown();

	test_case("nobody_is_left_of_a_helper_that_does_not_end");
	setup('h');
	within(50, never);
	teardown();
}

/* Each of these is killed, and another one is started; it is a good one then. */
static void test_bad(void)
{
	static const struct {
		const char *name, *reason;
		char mode;
	} bad[] = {
		{"hp_helper_hangs", "the helper does not answer", 'h'},
		{"hp_helper_talks_nonsense", "the helper said what is no reply", 'n'},
		{"hp_helper_floods_with_answers", "the helper says too much", 'f'},
		{"hp_helper_floods_with_restarts", "the helper says too much", 'r'},
		{"helper_ends", "the helper is gone", 'e'},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		pid_t first;

		test_case(bad[i].name);
		setup(bad[i].mode);
		first = info().helper;
		if (bad[i].mode != 'r')
			CHECK(within(20000, has_restarted));
		else /* it counts its own as well */
			CHECK(within(20000, has_restarted_thrice) && within(2000, never) == false);
		CHECK_STR(info().reason, bad[i].reason);
		CHECK(!resolves());
		CHECK(info().ignored < 1000);
		CHECK(info().restarts < 1000);
		set_mode('g');
		CHECK(within(20000, resolves));
		CHECK(info().helper != first && kill(first, 0) != 0);
		CHECK_STR(info().reason, "");
		teardown();
	}
}

static void test_backoff(void)
{
	test_case("helper_that_ends_at_once_is_started_less_and_less_often");
	setup('e');
	within(4000, never); /* after 1, 3 and 7 s */
	CHECK(begun() >= 1 && begun() <= 3);
	CHECK_INT(info().state, RESOLVER_STARTING);
	teardown();
}

/* What a port's link is to the resolver: firewall/ports.c. */
static void test_link(void)
{
	struct port uplink = {.id = 0, .role = PORT_ROLE_UPLINK, .name = "uplink0", .mtu = 1500};
	struct port client = {.id = 1, .role = PORT_ROLE_CLIENT, .name = "vif1.0", .mtu = 1500};
	struct daemon d;

	test_case("section9_names_that_failed_are_asked_when_the_uplink_connects");
	setup('s');
	memset(&d, 0, sizeof(d));
	d.engine = engine;
	d.db = db;
	d.resolver = r;
	d.attachments[0].port = &uplink;
	d.attachments[1].port = &client;
	enough = 2;
	CHECK(within(10000, has_asked));
	/* asked after a second; the next question is 1.75 s away */
	enough = 3;
	daemon_port_event(&d, &client, PORT_EVENT_LINK_UP);
	CHECK(!within(300, has_asked));
	daemon_port_event(&d, &uplink, PORT_EVENT_LINK_UP);
	CHECK(within(700, has_asked));

	test_case("section9_an_uplink_that_comes_and_goes_makes_no_storm");
	for (int i = 0; i < 50; i++) {
		daemon_port_event(&d, &uplink, PORT_EVENT_LINK_UP);
		within(10, never);
	}
	CHECK(info().asked <= 4);
	CHECK_INT(info().restarts, 0);
	teardown();

	test_case("section9_what_is_resolved_is_not_asked_again");
	setup('g');
	CHECK(within(10000, resolves));
	d.resolver = r;
	d.engine = engine;
	d.db = db;
	within(1100, never);
	daemon_port_event(&d, &uplink, PORT_EVENT_LINK_UP);
	within(300, never);
	CHECK_INT(info().asked, 1);
	teardown();
}

int main(int argc, char **argv)
{
	int fd;

	if (argc == 2 && strcmp(argv[1], RESOLVER_HELPER_OPTION) == 0)
		return helper_main();
	path_of(mode_path, getpid());
	fd = mkstemp(db_path);
	CHECK(fd >= 0);
	close(fd);
	log_set_level(LOG_LEVEL_ERROR);
	test_good();
	test_bad();
	test_backoff();
	test_link();
	unlink(db_path);
	return test_end();
}
