/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/dns_servers.h"

#include <assert.h>

static const char *const keys[] = {
    "/qubes-primary-dns",
    "/qubes-secondary-dns",
    "/qubes-netvm-primary-dns",
    "/qubes-netvm-secondary-dns",
};
static_assert(sizeof(keys) / sizeof(keys[0]) == DNS_SERVERS_MAX, "one address a key");

size_t dns_servers(const struct qubesdb *db, struct addr out[DNS_SERVERS_MAX])
{
	size_t n = 0;
	bool any = false;

	for (size_t i = 0; i < DNS_SERVERS_MAX; i++) {
		struct addr addr;
		size_t len;
		const char *value = qubesdb_read(db, keys[i], &len);

		if (value == NULL)
			continue;
		any = true;
		if (addr_parse(value, len, &addr) == 0 && !addr_among(out, n, &addr))
			out[n++] = addr;
	}
	if (!any) {
		out[n++] = (struct addr){4, {10, 139, 1, 1}};
		out[n++] = (struct addr){4, {10, 139, 1, 2}};
	}
	return n;
}

size_t dns_upstream(const struct qubesdb *db, struct addr out[DNS_SERVERS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < 2; i++) {
		struct addr addr;
		size_t len;
		const char *value = qubesdb_read(db, keys[i], &len);

		if (value != NULL && addr_parse(value, len, &addr) == 0 && addr.family == 4 &&
		    !addr_among(out, n, &addr))
			out[n++] = addr;
	}
	return n;
}
