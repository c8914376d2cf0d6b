/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What QubesDB says about the surroundings, in the engine's terms: keys outside the
 * rules, read again whenever one of them changed. Text that makes no sense counts as
 * absent. Each such problem is logged when it appears, not while it stands, and is
 * kept for status; `ringfence check` finds the same ones.
 */
#ifndef FIREWALL_SETTINGS_H
#define FIREWALL_SETTINGS_H

#include "firewall/engine.h"
#include "qubesdb/qubesdb.h"

#define SETTINGS_SET_MAX	     128
#define SETTINGS_PROBLEM_MAX 64 /* kept and logged; further ones are counted */

/** A key that does not say what it should. */
struct settings_problem {
	char path[QUBESDB_PATH_MAX + 1];
	char text[112]; /* quotes the value */
};

/** Sources for which an option is set: "all", or addresses separated by spaces. */
struct settings_set {
	struct addr addr[SETTINGS_SET_MAX];
	size_t count;
	bool all;
};

struct settings {
	const struct qubesdb *db;
	struct engine_dns dns[ENGINE_DNS_MAX];
	size_t dns_count;
	struct addr connected[ENGINE_CONNECTED_MAX];
	size_t connected_count;
	struct settings_set eim;   /* endpoint-independent mapping */
	struct settings_set learn; /* addresses from DNS answers */
	struct settings_set quiet; /* nothing of them is logged */
	/* /vm-config/ringfence-flows: "ADDRESS=N" */
	struct settings_quota {
		struct addr addr;
		uint32_t flows;
	} quota[SETTINGS_SET_MAX];
	size_t quota_count;
	int log_level; /* /vm-config/ringfence-log-level; 0: as on the command line */
	struct settings_problem problem[SETTINGS_PROBLEM_MAX];
	size_t problem_count; /* of all, also those beyond SETTINGS_PROBLEM_MAX */
};

/**
 * settings_read()
 * @s:		zeroed before the first call; problems that it holds were logged
 * @db:		kept by reference
 * @now_ms:	CLOCK_BOOTTIME, for the limit on log lines
 */
void settings_read(struct settings *s, const struct qubesdb *db, uint64_t now_ms);

/** settings_problems() - how many of problem[] there are */
size_t settings_problems(const struct settings *s);

/** settings_check() - call @fn for every problem; nothing is logged */
void settings_check(const struct qubesdb *db,
		    void (*fn)(void *arg, const char *path, const char *text), void *arg);

/** settings_addr() - a key that holds one address; family 0 when it does not */
struct addr settings_addr(const struct qubesdb *db, const char *path, uint8_t family);

/** settings_options() - what a source may have */
struct engine_source_options settings_options(const struct settings *s, const struct addr *addr);

/**
 * settings_wildcards() - the names of which a source's rules mean subdomains, too
 *
 * /vm-config/ringfence-wildcard-ADDRESS: names separated by spaces; NULL: none.
 */
const char *settings_wildcards(const struct settings *s, const struct addr *addr);

/**
 * settings_visible() - what a client with net.fake-ip or net.fake-gateway knows (Q11)
 * @gateway:	changed to the one that it knows
 *
 * Return: the address that it believes to have, or family 0: its own.
 */
struct addr settings_visible(const struct qubesdb *db, const struct addr *real,
			     struct addr *gateway);

#endif
