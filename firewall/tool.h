/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ringfence command: one subcommand a file, over a shared reader of a
 * database and a shared way to ask the daemon.
 *
 * Exit codes: 0 done, 1 the answer is "no" (check found problems, no daemon
 * answers), 2 the command line or the database cannot be used.
 */
#ifndef FIREWALL_TOOL_H
#define FIREWALL_TOOL_H

#include "qubesdb/qubesdb.h"
#include "rules/rules.h"

#include <getopt.h>

enum { TOOL_OK = 0, TOOL_NO = 1, TOOL_USAGE = 2 };

/** tool_error() - one line on stderr: "ringfence: ..." */
__attribute__((format(printf, 1, 2))) void tool_error(const char *format, ...);

/**
 * tool_option() - the next option of a subcommand, as getopt_long(3)
 *
 * Return: the option, -1 at the end, '?' after it has reported a bad one.
 */
int tool_option(int argc, char **argv, const struct option *options);

/** tool_help() - what --help prints; Return: TOOL_OK */
int tool_help(void);

/** tool_flush() - TOOL_USAGE with a message when stdout did not take it all */
int tool_flush(int code);

int tool_explain(int argc, char **argv);
int tool_check(int argc, char **argv);
int tool_status(int argc, char **argv);

/* --- the running daemon --------------------------------------------------------- */

#define TOOL_CONTROL_PATH "/run/ringfenced.sock"

/**
 * tool_ask() - ask the daemon, print its answer
 * @command:	for messages
 * @request:	one line
 *
 * Return: the exit code.
 */
int tool_ask(const char *command, const char *path, const char *request);

/* --- a database ----------------------------------------------------------------- */

/** A committed source of it. */
struct tool_source {
	char *text;	  /* the address as its path spells it */
	struct addr addr; /* family 0 when the text is no address */
	char *bytes;	  /* what the pairs point to */
	struct rule_pair *pairs;
	size_t pair_count;
};

struct tool_db {
	struct qubesdb *db;
	struct tool_source *source; /* in the order in which they were read */
	size_t count;
	bool synced; /* all of it was read */
	bool failed; /* out of memory while it was read */
};

/**
 * tool_db_open() - read a database and its committed sources
 * @name:	a file, or socket:PATH of a QubesDB daemon
 *
 * Reports what is wrong with the file itself.
 * Return: 0, or -1 after a message.
 */
int tool_db_open(struct tool_db *db, const char *name);
void tool_db_close(struct tool_db *db);

/**
 * tool_db_source() - the source with this address
 *
 * Two spellings of one address are two subtrees; the canonical one, which dom0
 * writes, is preferred.
 * Return: NULL when there is none.
 */
const struct tool_source *tool_db_source(const struct tool_db *db, const struct addr *addr);

#endif
