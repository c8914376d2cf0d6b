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

#define SETTINGS_EIM_MAX 128

struct settings {
	struct engine_dns dns[ENGINE_DNS_MAX];
	size_t dns_count;
	struct addr connected[ENGINE_CONNECTED_MAX];
	size_t connected_count;
	/* /vm-config/ringfence-eim: sources with endpoint-independent mapping */
	struct addr eim[SETTINGS_EIM_MAX];
	size_t eim_count;
	bool eim_all;
};

/** settings_read() - @now_ms: CLOCK_BOOTTIME, for the limit on log lines */
void settings_read(struct settings *s, const struct qubesdb *db, uint64_t now_ms);

/** settings_options() - what a source may have */
struct engine_source_options settings_options(const struct settings *s, const struct addr *addr);

/**
 * settings_visible() - the address a client with net.fake-ip believes to have (Q11)
 * @gateway:	changed to the one it knows, with an address
 *
 * Return: that address, or family 0.
 */
struct addr settings_visible(const struct qubesdb *db, const struct addr *real,
			     struct addr *gateway);

#endif
