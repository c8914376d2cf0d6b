/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * /dns/SOURCE/NAME in QubesDB: what the names of a source's rules resolve to, in
 * the stock firewall's format.
 */
#ifndef FIREWALL_NAME_EXPORT_H
#define FIREWALL_NAME_EXPORT_H

#include "firewall/name_answer.h"
#include "qubesdb/qubesdb.h"
#include "rules/rules.h"

#include <stdio.h>

/* '255.255.255.255/32' or an IPv6 address, two quotes, comma and space */
#define NAME_EXPORT_TEXT_MAX (NAME_SET_MAX * (ADDR_STRLEN + 8) + 8)

/**
 * name_export_text() - "{'192.0.2.1/32', '192.0.2.2/32'}"
 *
 * Sorted, so that the same set is the same text; of the family only. No address at
 * all gives "set()". Return: its length, at most QUBESDB_VALUE_MAX.
 */
size_t name_export_text(char out[NAME_EXPORT_TEXT_MAX], uint8_t family, const struct addr *addrs,
			size_t count);

/** How names are looked up for a source. */
struct name_export {
	struct qubesdb *db;
	enum name_state (*lookup)(void *arg, const struct addr *source, const char *name,
				  const struct addr **addrs, size_t *count);
	void *arg;
	bool too_long_logged;
};

/**
 * name_export_source() - bring /dns/SOURCE/ up to date
 * @rules:	NULL: the source has none
 *
 * Entries of names that the rules no longer have go first. Names that do not
 * resolve have none; paths that QubesDB cannot hold are left out, and the first of
 * them is logged. What is there already is not written again.
 *
 * Return: 0, or -ENOBUFS: QubesDB takes no more now, call again later.
 */
int name_export_source(struct name_export *x, const struct addr *source,
		       const struct ruleset *rules);

#endif
