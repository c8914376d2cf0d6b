/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The committed sources of a database file, through the same reader as the
 * daemon's: so the tool judges what the daemon would.
 */
#include "firewall/tool.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The file is read in slices; more of them than any file has paths is a bug. */
#define TURNS_MAX 1000000

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

static void on_commit(void *arg, const char *text, const struct qubesdb_pair *pairs, size_t n)
{
	struct tool_db *db = arg;
	struct tool_source *grown = reallocarray(db->source, db->count + 1, sizeof(*grown));

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

int tool_db_open(struct tool_db *db, const char *file)
{
	static const struct qubesdb_events events = {.commit = on_commit, .log = on_log};
	char spec[PATH_MAX + 8], err[256] = "";
	uint64_t now_ms = 1, next = 0;
	unsigned int turns = 0;

	*db = (struct tool_db){0};
	if (snprintf(spec, sizeof(spec), "file:%s", file) >= (int)sizeof(spec)) {
		tool_error("--db: the name of the file is too long");
		return -1;
	}
	if (qubesdb_new(&db->db, spec, &events, db, err, sizeof(err)) != 0) {
		tool_error("%s", err);
		return -1;
	}
	do
		next = qubesdb_process(db->db, now_ms);
	while (next <= now_ms && ++turns < TURNS_MAX);
	if (db->failed || qubesdb_state(db->db) != QUBESDB_READY) {
		tool_error("%s: %s", file, db->failed ? "out of memory" : qubesdb_reason(db->db));
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
