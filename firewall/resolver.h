/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names in the rules, as the daemon has them: the fixed ones of --resolve, and
 * those that the helper asks DNS for.
 */
#ifndef FIREWALL_RESOLVER_H
#define FIREWALL_RESOLVER_H

#include "firewall/loop.h"
#include "firewall/name_msg.h"
#include "firewall/name_table.h"
#include "firewall/sources.h"
#include "rules/names.h"

#include <sys/types.h>

struct resolver;

enum resolver_state {
	RESOLVER_OFF,	    /* only --resolve */
	RESOLVER_STARTING,  /* the helper has not begun, or begins again */
	RESOLVER_NO_SERVER, /* QubesDB names no DNS server */
	RESOLVER_READY,
};

struct resolver_info {
	enum resolver_state state;
	char reason[96];	/* why it is not READY, or "" */
	pid_t helper;		/* the keeper's, or 0 */
	uint64_t restarts;	/* of worker or keeper */
	uint64_t asked, answered, ignored; /* questions; replies; of no question */
};

/**
 * resolver_new() - make it, and start the helper
 * @fixed:	names that are never asked for; kept by reference
 * @live:	whether there is a helper at all
 * @times:	see name_table_new()
 *
 * Call it before anything else is opened. A helper that cannot be started is
 * logged and tried again.
 *
 * Return: 0 or -errno.
 */
int resolver_new(struct resolver **out, const struct names *fixed, bool live,
		 const struct name_times *times);

/** resolver_free() - ends the helper, too */
void resolver_free(struct resolver **r);

/**
 * resolver_start() - begin to ask
 * @db:		receives /dns/SOURCE/NAME
 */
int resolver_start(struct resolver *r, struct loop *loop, struct sources *sources,
		   struct qubesdb *db);

/** resolver_servers() - whom to ask from now on; IPv4 only. Without a change nothing
 *  happens */
void resolver_servers(struct resolver *r, const struct addr *servers, size_t count);

/**
 * resolver_wake() - the way to the servers may be there now
 * @all:	it may lead elsewhere: ask for all names again, not only for those that
 *		do not resolve
 */
void resolver_wake(struct resolver *r, bool all);

/** resolver_touch() - sources may have got other rules; work is done in the loop */
void resolver_touch(struct resolver *r);

/** resolver_export() - write /dns/ of all sources again: QubesDB may have lost it */
void resolver_export(struct resolver *r);

/** resolver_lookup() - for a source's policy; fits sources_set_lookup() */
enum name_state resolver_lookup(void *arg, const struct addr *source, const char *name,
				const struct addr **addrs, size_t *count);

void resolver_info(const struct resolver *r, struct resolver_info *out);

/** resolver_table() - for status; never NULL */
const struct name_table *resolver_table(const struct resolver *r);

#endif
