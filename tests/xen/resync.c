// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dom0 on a bad day: it updates rules, and its QubesDB daemon is killed meanwhile.
 *
 *   resync RESTARTS SEED SERVER_LOG JOURNAL SOCKET SOURCE=RULE... -- SERVER...
 *
 * Runs `SERVER... --socket SOCKET --journal JOURNAL` again and again, writes an
 * update of one of the sources (RM, policy, rules in one burst, base key), and kills
 * -9 the server at a random moment: while the qube reads everything, between any two
 * messages of the update, after it. What was half written is begun anew with the
 * next server, as dom0 does. An update has 1 to 1000 rules that match nothing of
 * interest, among them now and then one with a value at the limit, then
 *
 *	action=drop proto=tcp dstports=V-V	V: 20000 and which update it is
 *	RULE					last: half an update forbids it
 *
 * In the end one more server, which stays, and one more update of each source. Prints
 * a line for each source, and one of figures with the pid of the server that stays.
 * Exit status 1 when a server ended by itself or the qube did not come back.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>

#include "tests/xen/qdb.h"

#define SOURCES	     8
#define VERSION_PORT 20000
#define COME_BACK_MS 10000 /* ten times the longest back-off of the qube */

struct source {
	const char *ip, *rule;
	unsigned version, rules;
	bool half; /* written, but not committed */
};

static struct source source[SOURCES];
static unsigned sources;

static char **server_argv;
static const char *sock, *server_log;
static pid_t server;
static uint64_t server_begin;
static off_t log_at; /* what the server before had said */

static struct {
	unsigned restarts, in_sync, in_update, committed;
	unsigned long rules;
	uint64_t back_ms, back_max_ms;
	unsigned backs;
} stats;

/* The messages of one update. */
static struct {
	char *p;
	size_t len, cap, at;
	unsigned messages;
	struct qdb_hdr answer;
	size_t have; /* bytes of the answer that is coming in */
} burst;

static uint32_t rnd_state;

static unsigned rnd(unsigned n)
{
	rnd_state ^= rnd_state << 13;
	rnd_state ^= rnd_state >> 17;
	rnd_state ^= rnd_state << 5;
	return rnd_state % n;
}

static void __attribute__((format(printf, 1, 2), noreturn)) die(const char *fmt, ...)
{
	va_list ap;

	fputs("resync: ", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(" (restart %u)\n", stats.restarts);
	if (server > 0)
		kill(server, SIGKILL);
	exit(1);
}

static void sleep_us(unsigned us)
{
	struct timespec t = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000L };

	nanosleep(&t, NULL);
}

/* --- the server ------------------------------------------------------------------- */

static void server_start(void)
{
	int fd = open(server_log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

	if (fd < 0)
		die("%s: %s", server_log, strerror(errno));
	log_at = lseek(fd, 0, SEEK_END);
	unlink(sock);
	server_begin = qdb_now_ms();
	server = fork();
	if (server == 0) {
		dup2(fd, 1);
		dup2(fd, 2);
		execvp(server_argv[0], server_argv);
		_exit(127);
	}
	close(fd);
	if (server < 0)
		die("fork: %s", strerror(errno));
}

static void server_alive(void)
{
	int status;

	if (waitpid(server, &status, WNOHANG) == 0)
		return;
	server = 0;
	die("the server ended by itself, status %d: see its log", WEXITSTATUS(status));
}

static void server_kill(void)
{
	int status;

	server_alive();
	kill(server, SIGKILL);
	if (waitpid(server, &status, 0) != server || !WIFSIGNALED(status))
		die("the server was gone before it was killed");
	stats.restarts++;
}

static int server_connect(void)
{
	for (;;) {
		int fd = qdb_connect(sock);

		if (fd >= 0)
			return fd;
		server_alive();
		if (qdb_now_ms() - server_begin > COME_BACK_MS)
			die("%s: %s", sock, strerror(-fd));
		sleep_us(500);
	}
}

/* Has the qube asked this server for everything? */
static bool server_was_asked(void)
{
	static char text[65536];
	int fd = open(server_log, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, log_at);

	if (fd >= 0)
		close(fd);
	if (n < 0)
		die("%s: %s", server_log, strerror(errno));
	text[n] = '\0';
	return strstr(text, "sync: ") != NULL;
}

static void wait_for_qube(void)
{
	uint64_t took;

	while (!server_was_asked()) {
		server_alive();
		if (qdb_now_ms() - server_begin > COME_BACK_MS)
			die("the qube did not come back within %d ms", COME_BACK_MS);
		sleep_us(1000);
	}
	took = qdb_now_ms() - server_begin;
	stats.backs++;
	stats.back_ms += took;
	if (took > stats.back_max_ms)
		stats.back_max_ms = took;
}

/* --- an update ------------------------------------------------------------------------ */

static void add(unsigned type, const char *path, const char *value)
{
	size_t len = strlen(value);
	struct qdb_hdr h;

	qdb_fill(&h, type, path, len);
	if (burst.len + sizeof(h) + len > burst.cap) {
		burst.cap = 2 * (burst.len + sizeof(h) + len);
		burst.p = realloc(burst.p, burst.cap);
		if (!burst.p)
			die("out of memory");
	}
	memcpy(burst.p + burst.len, &h, sizeof(h));
	memcpy(burst.p + burst.len + sizeof(h), value, len);
	burst.len += sizeof(h) + len;
	burst.messages++;
}

static void add_rule(const struct source *s, unsigned i, const char *rule)
{
	char path[QDB_PATH];

	snprintf(path, sizeof(path), "/qubes-firewall/%s/%04u", s->ip, i);
	add(QDB_WRITE, path, rule);
}

static void update_make(struct source *s, unsigned rules, bool big)
{
	static char longest[QDB_VALUE + 1];
	bool six = strchr(s->ip, ':') != NULL;
	char text[128], path[QDB_PATH];
	unsigned i;

	/* An accept of a name that cannot resolve: it matches nothing. */
	memset(longest, 'a', QDB_VALUE);
	memcpy(longest, "action=accept dsthost=", 22);
	s->version++;
	s->rules = rules + 2;
	burst.len = burst.at = burst.have = burst.messages = 0;
	if (big)
		add(QDB_WRITE, "/vm-config/resync", longest);
	snprintf(path, sizeof(path), "/qubes-firewall/%s/", s->ip);
	add(QDB_RM, path, "");
	snprintf(path, sizeof(path), "/qubes-firewall/%s/policy", s->ip);
	add(QDB_WRITE, path, "drop");
	for (i = 0; i < rules; i++) {
		if (six)
			snprintf(text, sizeof(text),
				 "action=%s dst6=2001:db8:ff:%x::%x/128 proto=udp dstports=%u-%u",
				 i & 1 ? "drop" : "accept", s->version, i, i, i);
		else
			snprintf(text, sizeof(text),
				 "action=%s dst4=203.0.113.%u/32 proto=udp dstports=%u-%u",
				 i & 1 ? "drop" : "accept", 2 + i % 250, i, i);
		add_rule(s, i, big && i == rules / 2 ? longest : text);
	}
	snprintf(text, sizeof(text), "action=drop proto=tcp dstports=%u-%u",
		 VERSION_PORT + s->version, VERSION_PORT + s->version);
	add_rule(s, i, text);
	add_rule(s, i + 1, s->rule);
	snprintf(path, sizeof(path), "/qubes-firewall/%s", s->ip);
	add(QDB_WRITE, path, "");
	stats.rules += s->rules;
}

/* Return: answers that came, 0 or more; an RM of nothing is answered as well. */
static unsigned answers(int fd)
{
	struct qdb_hdr *h = &burst.answer;
	unsigned n = 0;

	for (;;) {
		ssize_t got = recv(fd, (char *)h + burst.have, sizeof(*h) - burst.have,
				   MSG_DONTWAIT);

		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return n;
		if (got <= 0) {
			server_alive();
			die("the server closed its socket");
		}
		burst.have += (size_t)got;
		if (burst.have < sizeof(*h))
			continue;
		burst.have = 0;
		if ((h->type != QDB_OK && h->type != QDB_NOENT) || h->data_len)
			die("the server answered %u to %s", h->type, h->path);
		n++;
	}
}

/* Write the burst until @stop messages of it were answered. */
static void update_write(int fd, unsigned stop)
{
	unsigned done = 0;

	while (done < stop) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n;

		if (burst.at < burst.len)
			p.events |= POLLOUT;
		if (poll(&p, 1, COME_BACK_MS) == 0)
			die("the server does not answer");
		done += answers(fd);
		if (burst.at == burst.len || !(p.revents & POLLOUT))
			continue;
		n = send(fd, burst.p + burst.at, burst.len - burst.at,
			 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0)
			burst.at += (size_t)n;
	}
}

static unsigned update_size(void)
{
	unsigned what = rnd(10);

	return what == 0 ? 1000 : what < 3 ? 100 + rnd(200) : 1 + rnd(30);
}

/* The source that is half written, or any. */
static struct source *update_next(void)
{
	for (struct source *s = source; s < source + sources; s++)
		if (s->half)
			return s;
	return &source[rnd(sources)];
}

/* --- the bad day ------------------------------------------------------------------------ */

static void one_restart(void)
{
	struct source *s = update_next();
	unsigned stop, when = rnd(4);
	int fd;

	server_start();
	if (when == 0) { /* while everything is being read */
		wait_for_qube();
		sleep_us(rnd(3000));
		server_kill();
		stats.in_sync++;
		return;
	}
	fd = server_connect();
	if (when > 1) /* else: the update and the sync meet */
		wait_for_qube();
	update_make(s, update_size(), rnd(4) == 0);
	stop = rnd(burst.messages + 1);
	if (rnd(3) == 0)
		stop = burst.messages;
	update_write(fd, stop);
	s->half = stop < burst.messages;
	stats.in_update += s->half;
	stats.committed += !s->half;
	sleep_us(rnd(2) ? 0 : rnd(5000));
	server_kill();
	close(fd);
}

static void last_server(void)
{
	int fd;

	server_start();
	fd = server_connect();
	wait_for_qube();
	for (unsigned i = 0; i < sources; i++) {
		update_make(&source[i], 40 + 7 * i, i == 0);
		update_write(fd, burst.messages);
	}
	close(fd);
}

static void take_sources(char **args)
{
	for (; *args; args++) {
		char *eq = strchr(*args, '=');

		if (!eq || sources == SOURCES)
			die("%s: not SOURCE=RULE, or too many", *args);
		*eq = '\0';
		source[sources++] = (struct source){ .ip = *args, .rule = eq + 1 };
	}
}

int main(int argc, char **argv)
{
	unsigned restarts;
	int dashes, n = 0;

	for (dashes = 0; dashes < argc && strcmp(argv[dashes], "--") != 0; dashes++)
		;
	if (dashes < 7 || dashes + 1 >= argc) {
		fputs("usage: resync RESTARTS SEED SERVER_LOG JOURNAL SOCKET SOURCE=RULE... "
		      "-- SERVER...\n", stderr);
		return 2;
	}
	restarts = (unsigned)strtoul(argv[1], NULL, 10);
	rnd_state = (uint32_t)strtoul(argv[2], NULL, 10) * 2654435761u | 1;
	server_log = argv[3];
	sock = argv[5];
	argv[dashes] = NULL;
	take_sources(argv + 6);
	server_argv = calloc((size_t)(argc - dashes) + 4, sizeof(*server_argv));
	if (!server_argv)
		die("out of memory");
	for (char **a = argv + dashes + 1; *a; a++)
		server_argv[n++] = *a;
	server_argv[n++] = (char[]){ "--socket" };
	server_argv[n++] = argv[5];
	server_argv[n++] = (char[]){ "--journal" };
	server_argv[n] = argv[4];
	while (stats.restarts < restarts)
		one_restart();
	last_server();
	for (unsigned i = 0; i < sources; i++)
		printf("source=%s rules=%u port=%u\n", source[i].ip, source[i].rules,
		       VERSION_PORT + source[i].version);
	printf("restarts=%u in_sync=%u in_update=%u committed=%u rules=%lu back_ms=%" PRIu64
	       " back_max_ms=%" PRIu64 " pid=%d\n", stats.restarts, stats.in_sync, stats.in_update,
	       stats.committed, stats.rules, stats.backs ? stats.back_ms / stats.backs : 0,
	       stats.back_max_ms, (int)server);
	return 0;
}
