// SPDX-License-Identifier: GPL-2.0-or-later
#include "qubesdb/wire.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

enum { OFF_TYPE = 0, OFF_PATH = 1, OFF_PAD = 65, OFF_LEN = 68 };
static_assert(OFF_PAD == OFF_PATH + QUBESDB_PATH_MAX + 1, "path ends where the padding starts");
static_assert(OFF_LEN + 4 == QDB_HEADER, "data_len ends the header");
static_assert(QDB_MESSAGE <= 4096, "a whole message fits dom0's ring");

static const char *const type_names[] = {
	"READ",	     "WRITE",	   "MULTIREAD",	     "LIST",	  "RM",
	"WATCH",     "UNWATCH",	   "RESP_OK",	     "RESP_NOENT", "RESP_ERROR",
	"RESP_READ", "RESP_MULTIREAD", "RESP_LIST", "RESP_WATCH",
};
static_assert(sizeof(type_names) / sizeof(type_names[0]) == QDB_TYPES, "one name a type");

const char *qdb_type_name(unsigned type)
{
	return type < QDB_TYPES ? type_names[type] : "unknown type";
}

void qdb_encode(uint8_t out[QDB_HEADER], enum qdb_type type, const char *path, size_t data_len)
{
	uint32_t n = (uint32_t)data_len;

	memset(out, 0, QDB_HEADER);
	out[OFF_TYPE] = (uint8_t)type;
	memcpy(out + OFF_PATH, path, strnlen(path, QUBESDB_PATH_MAX));
	for (int i = 0; i < 4; i++)
		out[OFF_LEN + i] = (uint8_t)(n >> (8 * i));
}

/* The alphabet outside of which dom0's daemon dies. */
static bool path_chars(const char *p)
{
	static const char ok[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
				 "_.:/@-";

	return p[strspn(p, ok)] == '\0';
}

int qdb_decode(struct qdb_header *out, const uint8_t in[QDB_HEADER], const char **why)
{
	struct qdb_header h;

	h.type = in[OFF_TYPE];
	memcpy(h.path, in + OFF_PATH, sizeof(h.path));
	h.data_len = (uint32_t)in[OFF_LEN] | (uint32_t)in[OFF_LEN + 1] << 8 |
		     (uint32_t)in[OFF_LEN + 2] << 16 | (uint32_t)in[OFF_LEN + 3] << 24;
	if (h.type >= QDB_TYPES)
		*why = "unknown message type";
	else if (memchr(h.path, '\0', sizeof(h.path)) == NULL)
		*why = "path without end";
	else if (h.path[0] == '-' || !path_chars(h.path))
		*why = "forbidden character in a path";
	else if (h.data_len > QUBESDB_VALUE_MAX)
		*why = "value too long";
	else {
		*out = h;
		return 0;
	}
	return -EPROTO;
}

bool qdb_path_is_name(const char *path)
{
	size_t n = strnlen(path, QUBESDB_PATH_MAX + 1);

	return n >= 1 && n <= QUBESDB_PATH_MAX && path[0] == '/' && path_chars(path);
}

bool qdb_path_is_key(const char *path)
{
	return qdb_path_is_name(path) && path[strlen(path) - 1] != '/';
}

bool qdb_value_ok(const void *value, size_t len)
{
	return len <= QUBESDB_VALUE_MAX && (len == 0 || memchr(value, '\0', len) == NULL);
}
