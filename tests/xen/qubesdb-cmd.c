// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Talk to a QubesDB socket from a shell script.
 *
 *   qubesdb-cmd [-s SOCKET] read PATH
 *               write PATH VALUE [PATH VALUE]...
 *               rm PATH...
 *               list PREFIX          paths
 *               dump PREFIX          PATH = VALUE lines
 *               load FILE            write every line of such a file
 *               watch PATH [SECONDS] print events until the time is over
 *               wait PATH [SECONDS]  until one event came (default 10)
 *               until PATH VALUE [SECONDS]   until the key has that value
 *               differs PATH VALUE [SECONDS] until the key has another one;
 *                                    prints it
 *
 * Exit status: 0 done, 1 error or no such key, 4 the time was over.
 */
#include "tests/xen/qdb.h"

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "qubesdb-cmd: %s: %s\n", what, why);
	return 1;
}

static int request(int fd, unsigned type, const char *path, const char *data, struct qdb_msg *m)
{
	size_t len = data ? strlen(data) : 0;
	int err = qdb_put(fd, type, path, data, len);

	return err ? err : qdb_reply(fd, m);
}

static int simple(int fd, unsigned type, const char *path, const char *data)
{
	struct qdb_msg m;
	int err = request(fd, type, path, data, &m);

	if (err)
		return fail(path, strerror(-err));
	if (m.h.type == QDB_OK)
		return 0;
	return fail(path, m.h.type == QDB_NOENT ? "no such key" : "refused");
}

static int cmd_list(int fd, unsigned type, const char *prefix)
{
	struct qdb_msg m;

	if (qdb_put(fd, type, prefix, NULL, 0) < 0)
		return fail(prefix, "cannot ask");
	for (;;) {
		if (qdb_reply(fd, &m) < 0)
			return fail(prefix, "connection lost");
		if (m.h.type != QDB_R_LIST && m.h.type != QDB_R_MULTIREAD)
			return fail(prefix, "refused");
		if (!m.h.path[0])
			return 0;
		if (type == QDB_LIST)
			puts(m.h.path);
		else
			printf("%s = %s\n", m.h.path, m.data);
	}
}

static int cmd_load(int fd, const char *file)
{
	FILE *f = fopen(file, "re");
	char *line = NULL, *path, *value;
	size_t cap = 0;
	ssize_t n;
	int status = 0;

	if (!f)
		return fail(file, strerror(errno));
	while (status == 0 && (n = getline(&line, &cap, f)) >= 0) {
		int kind;

		if (n && line[n - 1] == '\n')
			line[n - 1] = '\0';
		kind = qdb_line(line, &path, &value);
		if (kind < 0)
			status = fail(file, "a line is not PATH = VALUE");
		else if (kind > 0)
			status = simple(fd, QDB_WRITE, path, value);
	}
	free(line);
	fclose(f);
	return status;
}

/* Return: 1 for an event in @m, 0 when the time is over, -1 connection lost. */
static int event(int fd, uint64_t end, struct qdb_msg *m)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t now = qdb_now_ms();
		int n = poll(&p, 1, now >= end ? 0 : (int)(end - now));

		if (n == 0)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || qdb_get(fd, m) < 0)
			return -1;
		if (m->h.type == QDB_R_WATCH)
			return 1;
	}
}

static int cmd_watch(int fd, const char *path, int seconds, bool once)
{
	uint64_t end = qdb_now_ms() + (uint64_t)seconds * 1000;
	struct qdb_msg m;
	int n;

	if (simple(fd, QDB_WATCH, path, NULL))
		return 1;
	while ((n = event(fd, end, &m)) == 1) {
		puts(m.h.path);
		fflush(stdout);
		if (once)
			return 0;
	}
	if (n < 0)
		return fail(path, "connection lost");
	return once ? 4 : 0;
}

static int cmd_until(int fd, const char *path, const char *value, int seconds, bool equal)
{
	uint64_t end = qdb_now_ms() + (uint64_t)seconds * 1000;
	struct qdb_msg m;
	int n = 1;

	if (simple(fd, QDB_WATCH, path, NULL))
		return 1;
	while (n == 1) {
		if (request(fd, QDB_READ, path, NULL, &m))
			return fail(path, "connection lost");
		if (m.h.type == QDB_R_READ && (strcmp(m.data, value) == 0) == equal) {
			if (!equal)
				puts(m.data);
			return 0;
		}
		n = event(fd, end, &m);
	}
	return n < 0 ? fail(path, "connection lost") : 4;
}

static int cmd_read(int fd, const char *path)
{
	struct qdb_msg m;

	if (request(fd, QDB_READ, path, NULL, &m))
		return fail(path, "connection lost");
	if (m.h.type != QDB_R_READ)
		return fail(path, "no such key");
	puts(m.data);
	return 0;
}

static int seconds_arg(const char *s)
{
	return s ? (int)strtol(s, NULL, 10) : 10;
}

static int run(int fd, char **a, int n)
{
	const char *cmd = a[0];
	int status = 0;

	if (strcmp(cmd, "read") == 0 && n == 2)
		return cmd_read(fd, a[1]);
	if (strcmp(cmd, "write") == 0 && n >= 3 && n % 2 == 1) {
		for (int i = 1; i < n && !status; i += 2)
			status = simple(fd, QDB_WRITE, a[i], a[i + 1]);
		return status;
	}
	if (strcmp(cmd, "rm") == 0 && n >= 2) {
		for (int i = 1; i < n && !status; i++)
			status = simple(fd, QDB_RM, a[i], NULL);
		return status;
	}
	if (strcmp(cmd, "list") == 0 && n == 2)
		return cmd_list(fd, QDB_LIST, a[1]);
	if (strcmp(cmd, "dump") == 0 && n == 2)
		return cmd_list(fd, QDB_MULTIREAD, a[1]);
	if (strcmp(cmd, "load") == 0 && n == 2)
		return cmd_load(fd, a[1]);
	if (strcmp(cmd, "watch") == 0 && (n == 2 || n == 3))
		return cmd_watch(fd, a[1], seconds_arg(a[2]), false);
	if (strcmp(cmd, "wait") == 0 && (n == 2 || n == 3))
		return cmd_watch(fd, a[1], seconds_arg(a[2]), true);
	if (strcmp(cmd, "until") == 0 && (n == 3 || n == 4))
		return cmd_until(fd, a[1], a[2], seconds_arg(a[3]), true);
	if (strcmp(cmd, "differs") == 0 && (n == 3 || n == 4))
		return cmd_until(fd, a[1], a[2], seconds_arg(a[3]), false);
	return fail(cmd, "unknown command or wrong number of arguments");
}

int main(int argc, char **argv)
{
	const char *sock = QDB_SOCKET;
	int at = 1, fd;

	if (argc > 3 && strcmp(argv[1], "-s") == 0) {
		sock = argv[2];
		at = 3;
	}
	if (argc <= at)
		return fail("usage", "qubesdb-cmd [-s SOCKET] read|write|rm|list|dump|load|"
				     "watch|wait|until|differs ...");
	fd = qdb_connect(sock);
	if (fd < 0)
		return fail(sock, strerror(-fd));
	return run(fd, argv + at, argc - at);
}
