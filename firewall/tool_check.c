/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/settings.h"
#include "firewall/tool.h"

#include <stdio.h>
#include <string.h>

struct check {
	const char *source;
	size_t problems;
};

static void print_problem(void *arg, const struct rule_error *err)
{
	struct check *c = arg;

	printf("/qubes-firewall/%s/%s: %s\n", c->source, err->key, err->text);
	c->problems++;
}

static void print_setting(void *arg, const char *path, const char *text)
{
	struct check *c = arg;

	printf("%s: %s\n", path, text);
	c->problems++;
}

static void check_source(const struct tool_db *db, const struct tool_source *s, struct check *c)
{
	const struct tool_source *twin;

	c->source = s->text;
	if (s->addr.family == 0) {
		printf("/qubes-firewall/%s: not an address\n", s->text);
		c->problems++;
		return;
	}
	twin = tool_db_source(db, &s->addr);
	if (twin != s) {
		printf("/qubes-firewall/%s: the same source as /qubes-firewall/%s\n", s->text,
		       twin->text);
		c->problems++;
	}
	(void)ruleset_check(s->addr.family, s->pairs, s->pair_count, print_problem, c);
}

int tool_check(int argc, char **argv)
{
	static const struct option options[] = {
	    {"db", required_argument, NULL, 'd'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	const char *file = NULL;
	struct check c = {NULL, 0};
	struct tool_db db;
	int opt;

	while ((opt = tool_option(argc, argv, options)) != -1) {
		if (opt == 'h')
			return tool_help();
		if (opt != 'd')
			return TOOL_USAGE;
		file = optarg;
	}
	if (file == NULL || optind != argc) {
		tool_error("check: needs --db DB and nothing else");
		return TOOL_USAGE;
	}
	if (tool_db_open(&db, file) != 0)
		return TOOL_USAGE;
	for (size_t i = 0; i < db.count; i++)
		check_source(&db, &db.source[i], &c);
	settings_check(db.db, print_setting, &c);
	if (c.problems == 0)
		printf("%zu source%s, no problems\n", db.count, db.count == 1 ? "" : "s");
	tool_db_close(&db);
	return tool_flush(c.problems == 0 ? TOOL_OK : TOOL_NO);
}
