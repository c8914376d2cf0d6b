/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which DNS servers specialtarget=dns means in the appliance.
 */
#ifndef FIREWALL_DNS_SERVERS_H
#define FIREWALL_DNS_SERVERS_H

#include "qubesdb/qubesdb.h"
#include "rules/addr.h"

#define DNS_SERVERS_MAX 4

/**
 * dns_servers() - collect the DNS servers of a QubesDB
 * @out:	distinct addresses, in the order of their keys
 *
 * /qubes-primary-dns, /qubes-secondary-dns and their -netvm- twins. When none
 * of these keys exists: 10.139.1.1 and 10.139.1.2, which is what Qubes always
 * writes. A key that holds no address adds nothing.
 *
 * Return: number of addresses.
 */
size_t dns_servers(const struct qubesdb *db, struct addr out[DNS_SERVERS_MAX]);

/**
 * dns_upstream() - the servers that we ask ourselves
 *
 * /qubes-primary-dns and /qubes-secondary-dns, IPv4, each once; there is none while
 * we have no uplink.
 */
size_t dns_upstream(const struct qubesdb *db, struct addr out[DNS_SERVERS_MAX]);

#endif
