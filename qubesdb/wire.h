/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The QubesDB message: a 72-byte header, then data_len bytes.
 *
 *	 0  u8   type
 *	 1  char path[64]   NUL terminated, zero filled
 *	65  u8   pad[3]
 *	68  u32  data_len   little endian, 0..3071
 */
#ifndef QUBESDB_WIRE_H
#define QUBESDB_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qubesdb/qubesdb.h"

#define QDB_HEADER  72
#define QDB_MESSAGE (QDB_HEADER + QUBESDB_VALUE_MAX)

enum qdb_type {
	QDB_CMD_READ,
	QDB_CMD_WRITE,
	QDB_CMD_MULTIREAD,
	QDB_CMD_LIST,
	QDB_CMD_RM,
	QDB_CMD_WATCH,
	QDB_CMD_UNWATCH,
	QDB_RESP_OK,
	QDB_RESP_NOENT,
	QDB_RESP_ERROR,
	QDB_RESP_READ,
	QDB_RESP_MULTIREAD,
	QDB_RESP_LIST,
	QDB_RESP_WATCH,
	QDB_TYPES,
};

struct qdb_header {
	uint8_t type;
	char path[QUBESDB_PATH_MAX + 1];
	uint32_t data_len;
};

/** qdb_type_name() - for messages; never NULL */
const char *qdb_type_name(unsigned type);

/** qdb_encode() - @path and @data_len were checked by the caller */
void qdb_encode(uint8_t out[QDB_HEADER], enum qdb_type type, const char *path, size_t data_len);

/**
 * qdb_decode() - read a header
 * @why:	receives what is wrong with it
 *
 * Return: 0, or -EPROTO: unknown type, path without NUL or with a forbidden
 * character, data_len beyond the limit.
 */
int qdb_decode(struct qdb_header *out, const uint8_t in[QDB_HEADER], const char **why);

/** qdb_path_is_key() - a path that a key can have */
bool qdb_path_is_key(const char *path);

/** qdb_path_is_name() - a key or, with a trailing '/', a subtree */
bool qdb_path_is_name(const char *path);

/** qdb_value_ok() - short enough and without NUL */
bool qdb_value_ok(const void *value, size_t len);

#endif
