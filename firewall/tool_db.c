/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The committed sources of a database file or of a QubesDB daemon, through the same
 * reader as ringfenced's: so the tool judges what that would.
 */
#include "firewall/loop.h"
#include "firewall/tool.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 5000 /* for a QubesDB daemon that does not answer */

static void source_free(struct tool_source *s)
{
	free(s->pairs);
	free(s->bytes);
	free(s->text);
}

/* Put bytes and a NUL behind what the pool holds; it was sized for them. */
static const char *keep(struct tool_source *s, size_t *at, const char *bytes, size_t len)
{
	char *copy = s->bytes + *at;

	memcpy(copy, bytes, len);
	copy[len] = '\0';
	*at += len + 1;
	return copy;
}

static bool copy_source(struct tool_source *s, const char *text, const struct qubesdb_pair *pairs,
			size_t n)
{
	size_t size = 1, at = 0;

	for (size_t i = 0; i < n; i++)
		size += strlen(pairs[i].key) + 1 + pairs[i].value_len + 1;
	*s = (struct tool_source){
	    .text = strdup(text), .bytes = malloc(size), .pairs = calloc(n + 1, sizeof(*s->pairs))};
	if (s->text == NULL || s->bytes == NULL || s->pairs == NULL)
		return false;
	(void)addr_parse(text, strlen(text), &s->addr);
	for (size_t i = 0; i < n; i++)
		s->pairs[i] = (struct rule_pair){
		    keep(s, &at, pairs[i].key, strlen(pairs[i].key)),
		    keep(s, &at, pairs[i].value, pairs[i].value_len),
		    pairs[i].value_len,
		};
	s->pair_count = n;
	return true;
}

/* Committed again while we were reading: the later one counts. */
static void forget(struct tool_db *db, const char *text)
{
	for (size_t i = 0; i < db->count; i++) {
		struct tool_source *s = &db->source[i];

		if (s->text == NULL || strcmp(s->text, text) != 0)
			continue;
		source_free(s);
		db->count--;
		memmove(s, s + 1, (db->count - i) * sizeof(*s));
		return;
	}
}

static void on_commit(void *arg, const char *text, const struct qubesdb_pair *pairs, size_t n)
{
	struct tool_db *db = arg;
	struct tool_source *grown;

	forget(db, text);
	grown = reallocarray(db->source, db->count + 1, sizeof(*grown));
	if (grown == NULL) {
		db->failed = true;
		return;
	}
	db->source = grown;
	if (!copy_source(&grown[db->count++], text, pairs, n))
		db->failed = true;
}

static void on_log(void *arg, int level, const char *text)
{
	(void)arg;
	if (level <= QUBESDB_LOG_WARNING)
		tool_error("%s", text);
}

static void on_synced(void *arg)
{
	struct tool_db *db = arg;

	db->synced = true;
}

/* Until everything was read; a file is read in slices, too. */
static void read_all(struct tool_db *db)
{
	uint64_t now_ms = loop_now_us() / 1000, end_ms = now_ms + TIMEOUT_MS;

	while (!db->synced && !db->failed && now_ms < end_ms) {
		uint64_t next_ms = qubesdb_process(db->db, now_ms);
		struct pollfd pfd = {.fd = qubesdb_fd(db->db), .events = POLLIN};

		if (db->synced)
			return;
		if (qubesdb_want_write(db->db))
			pfd.events |= POLLOUT;
		if (next_ms > end_ms)
			next_ms = end_ms;
		if (next_ms > now_ms)
			(void)poll(&pfd, 1, (int)(next_ms - now_ms));
		now_ms = loop_now_us() / 1000;
	}
}

int tool_db_open(struct tool_db *db, const char *name)
{
	static const struct qubesdb_events events = {
	    .commit = on_commit, .synced = on_synced, .log = on_log};
	bool is_socket = strncmp(name, "socket:", 7) == 0;
	char spec[PATH_MAX + 8], err[256] = "";

	*db = (struct tool_db){0};
	if (snprintf(spec, sizeof(spec), "%s%s", is_socket ? "" : "file:", name) >=
	    (int)sizeof(spec)) {
		tool_error("--db: the name of the file is too long");
		return -1;
	}
	if (qubesdb_new(&db->db, spec, &events, db, err, sizeof(err)) != 0) {
		tool_error("%s", err);
		return -1;
	}
	read_all(db);
	if (db->failed || !db->synced) {
		tool_error("%s: %s", name, db->failed ? "out of memory" : qubesdb_reason(db->db));
		tool_db_close(db);
		return -1;
	}
	return 0;
}

void tool_db_close(struct tool_db *db)
{
	for (size_t i = 0; i < db->count; i++)
		source_free(&db->source[i]);
	free(db->source);
	qubesdb_free(&db->db);
	*db = (struct tool_db){0};
}

const struct tool_source *tool_db_source(const struct tool_db *db, const struct addr *addr)
{
	const struct tool_source *found = NULL;
	char canonical[ADDR_STRLEN];

	addr_format(addr, canonical);
	for (size_t i = 0; i < db->count; i++) {
		const struct tool_source *s = &db->source[i];

		if (!addr_equal(&s->addr, addr))
			continue;
		if (found == NULL || strcmp(s->text, canonical) == 0)
			found = s;
	}
	return found;
}
