/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Endpoint-independent mapping (RFC 4787 REQ-1, U4, N10): a source that has it
 * keeps one port of ours for each of its own, whomever it talks to.
 *
 * A mapping is an entry of the flow table with no remote: its outer key is the
 * client's port, its inner key is ours, so it is found both ways, counts in its
 * source's quota, times out and ends with its interface like a flow. It is in no
 * packet's way: packets are looked up with the address they come from or go to, and
 * that is never none. Filtering stays address and port dependent (U3).
 *
 * A mapping's port must be its client's alone. Later flows of others avoid it,
 * since nat_port_free() looks for mappings; that no earlier flow has it is known
 * from a count for each port, which is kept while any source has the option.
 */
#ifndef FIREWALL_MAPPING_H
#define FIREWALL_MAPPING_H

#include "firewall/nat.h"

/** How many flows have a port of ours, by family, TCP or UDP, port. */
struct port_use {
	uint16_t count[2][2][65536]; /* at its maximum: stays there */
};

/** port_use_add() / port_use_del() - a flow or a mapping begins, ends */
void port_use_add(struct port_use *use, const struct flow *flow);
void port_use_del(struct port_use *use, const struct flow *flow);

/** mapping_key() - how the mapping of a flow's client port is found */
struct flow_key mapping_key(const struct flow *flow);

/**
 * mapping_choose_port() - set the port of a new mapping
 * @map:	made by mapping_init(); nat_port is set
 *
 * Return: 0 or -EADDRINUSE.
 */
int mapping_choose_port(const struct flow_table *t, const struct port_use *use, struct rng *rng,
			struct flow *map);

/** mapping_init() - the entry for a flow's client port, without our port */
void mapping_init(struct flow *map, const struct flow *flow);

#endif
