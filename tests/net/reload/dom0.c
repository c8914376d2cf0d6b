// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * An update of one source as dom0 writes it: RM of the subtree, the keys, the base
 * key. The requests go out one after the other without waiting for the answers, as
 * dom0's daemon forwards them; answers and events are read in between.
 */
#include "tests/net/reload/reload.h"
#include "tests/xen/qdb.h"

static const char *const source[] = {"10.137.0.5", "fd09:24ef:4179::a89:5"};

static int fd;
static unsigned int pending, handled;
static uint64_t handled_us;
static char base[QDB_PATH], counter[QDB_PATH];

static void put(unsigned int type, const char *path, const char *value)
{
	int err = qdb_put(fd, type, path, value, value ? strlen(value) : 0);

	if (err < 0)
		die("%s: %s: %s", config.socket, path, strerror(-err));
	pending++;
}

void dom0_open(void)
{
	fd = qdb_connect(config.socket);
	if (fd < 0)
		die("%s: %s", config.socket, strerror(-fd));
	snprintf(base, sizeof(base), "/qubes-firewall/%s", source[config.family == 6]);
	snprintf(counter, sizeof(counter), "/qubes-firewall-handled/%s",
		 source[config.family == 6]);
	put(QDB_WATCH, counter, NULL);
	while (pending > 0)
		dom0_read();
}

int dom0_fd(void)
{
	return fd;
}

void dom0_read(void)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct qdb_msg m;

	/* the server sends whole messages: the rest of one is not far */
	while (poll(&p, 1, 0) > 0) {
		if (qdb_get(fd, &m) < 0)
			die("%s: the server has gone", config.socket);
		if (m.h.type == QDB_R_WATCH) {
			handled++;
			handled_us = now_us();
			continue;
		}
		/* there may be nothing yet to remove */
		if (m.h.type != QDB_OK && m.h.type != QDB_NOENT)
			die("%s: %s: refused", config.socket, m.h.path);
		pending--;
	}
}

void dom0_rm(void)
{
	char path[QDB_PATH + 1];

	snprintf(path, sizeof(path), "%s/", base);
	put(QDB_RM, path, NULL);
}

void dom0_write(const char *key, const char *value)
{
	char path[2 * QDB_PATH];

	snprintf(path, sizeof(path), "%s/%s", base, key);
	put(QDB_WRITE, path, value);
}

void dom0_commit(void)
{
	put(QDB_WRITE, base, "");
}

unsigned int dom0_pending(void)
{
	return pending;
}

unsigned int dom0_handled(void)
{
	return handled;
}

uint64_t dom0_handled_us(void)
{
	return handled_us;
}
