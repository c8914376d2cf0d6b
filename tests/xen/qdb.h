/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The 72-byte QubesDB message, for dom0's programs in the lab.
 *
 * Written apart from qubesdb/wire.c on purpose: the lab's server is the other
 * end of what ringfenced speaks, and an error shared by both would not show.
 */
#ifndef TESTS_XEN_QDB_H
#define TESTS_XEN_QDB_H

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
	QDB_READ = 0,
	QDB_WRITE = 1,
	QDB_MULTIREAD = 2,
	QDB_LIST = 3,
	QDB_RM = 4,
	QDB_WATCH = 5,
	QDB_UNWATCH = 6,
	QDB_OK = 7,
	QDB_NOENT = 8,
	QDB_ERROR = 9,
	QDB_R_READ = 10,
	QDB_R_MULTIREAD = 11,
	QDB_R_LIST = 12,
	QDB_R_WATCH = 13,
};

#define QDB_PATH   64
#define QDB_VALUE  3071
#define QDB_SOCKET "/var/run/qubes/qubesdb.sock"

struct qdb_hdr {
	uint8_t type;
	char path[QDB_PATH];
	uint8_t pad[3];
	uint32_t data_len;
};
static_assert(sizeof(struct qdb_hdr) == 72, "wire header");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the wire is little endian");

struct qdb_msg {
	struct qdb_hdr h;
	char data[QDB_VALUE + 1]; /* room for a NUL of our own */
};

/** qdb_path_chars() - only what dom0 tolerates in any path (also the empty one) */
static inline bool qdb_path_chars(const char *p)
{
	static const char ok[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
				 "_.:/@-";

	return p[0] != '-' && p[strspn(p, ok)] == '\0';
}

/** qdb_path_key() - a path that may be written */
static inline bool qdb_path_key(const char *p)
{
	size_t n = strlen(p);

	return n > 1 && n < QDB_PATH && p[0] == '/' && p[n - 1] != '/' && qdb_path_chars(p);
}

static inline void qdb_fill(struct qdb_hdr *h, unsigned type, const char *path, size_t len)
{
	size_t n = strlen(path);

	memset(h, 0, sizeof(*h));
	h->type = (uint8_t)type;
	memcpy(h->path, path, n < QDB_PATH ? n : QDB_PATH - 1);
	h->data_len = (uint32_t)len;
}

static inline int qdb_connect(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	int fd;

	if (n >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	memcpy(sa.sun_path, path, n);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

static inline int qdb_send_all(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EPIPE;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static inline int qdb_recv_all(int fd, void *buf, size_t len)
{
	char *p = buf;

	while (len) {
		ssize_t n = recv(fd, p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EPIPE;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static inline int qdb_put(int fd, unsigned type, const char *path, const char *data, size_t len)
{
	struct qdb_msg m;

	if (strlen(path) >= QDB_PATH || len > QDB_VALUE)
		return -EINVAL;
	qdb_fill(&m.h, type, path, len);
	if (len)
		memcpy(m.data, data, len);
	return qdb_send_all(fd, &m, sizeof(m.h) + len);
}

/** qdb_get() - one whole message; the data gets a NUL behind it */
static inline int qdb_get(int fd, struct qdb_msg *m)
{
	if (qdb_recv_all(fd, &m->h, sizeof(m->h)) < 0)
		return -EPIPE;
	m->h.path[QDB_PATH - 1] = '\0';
	if (m->h.data_len > QDB_VALUE)
		return -EPROTO;
	if (qdb_recv_all(fd, m->data, m->h.data_len) < 0)
		return -EPIPE;
	m->data[m->h.data_len] = '\0';
	return 0;
}

/** qdb_reply() - the next message that is not an event of a watch */
static inline int qdb_reply(int fd, struct qdb_msg *m)
{
	int err;

	do
		err = qdb_get(fd, m);
	while (err == 0 && m->h.type == QDB_R_WATCH);
	return err;
}

/**
 * qdb_line() - split one line "PATH = VALUE" in place
 *
 * Return: 1 with path and value, 0 for a comment or a blank line, -1 malformed.
 */
static inline int qdb_line(char *line, char **path, char **value)
{
	char *p = line + strspn(line, " \t");
	char *eq, *end;

	if (*p == '\0' || *p == '#')
		return 0;
	eq = strchr(p, '=');
	if (!eq)
		return -1;
	*value = eq + 1;
	if (**value == ' ')
		(*value)++;
	for (end = eq; end > p && (end[-1] == ' ' || end[-1] == '\t'); end--)
		;
	*end = '\0';
	*path = p;
	return qdb_path_key(p) && strlen(*value) <= QDB_VALUE ? 1 : -1;
}

static inline uint64_t qdb_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

#endif
