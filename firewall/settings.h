/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What QubesDB says about the surroundings, in the engine's terms: keys outside the
 * rules, read again whenever one of them changed. Text that makes no sense counts as
 * absent and is logged once for each value.
 */
#ifndef FIREWALL_SETTINGS_H
#define FIREWALL_SETTINGS_H

#include "firewall/engine.h"
#include "qubesdb/qubesdb.h"

#define SETTINGS_SET_MAX 128

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
};

/**
 * settings_read()
 * @db:		kept by reference
 * @now_ms:	CLOCK_BOOTTIME, for the limit on log lines
 */
void settings_read(struct settings *s, const struct qubesdb *db, uint64_t now_ms);

/** settings_options() - what a source may have */
struct engine_source_options settings_options(const struct settings *s, const struct addr *addr);

/**
 * settings_wildcards() - the names of which a source's rules mean subdomains, too
 *
 * /vm-config/ringfence-wildcard-ADDRESS: names separated by spaces; NULL: none.
 */
const char *settings_wildcards(const struct settings *s, const struct addr *addr);

/**
 * settings_visible() - the address a client with net.fake-ip believes to have (Q11)
 * @gateway:	changed to the one it knows, with an address
 *
 * Return: that address, or family 0.
 */
struct addr settings_visible(const struct qubesdb *db, const struct addr *real,
			     struct addr *gateway);

#endif
