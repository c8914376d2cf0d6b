/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/settings.h"

#include "firewall/dns_wire.h"
#include "firewall/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VM_CONFIG    "/vm-config/"
#define PREFIX	     VM_CONFIG "ringfence"
#define KEY_EIM	     PREFIX "-eim"
#define KEY_LEARN    PREFIX "-dns-learn"
#define KEY_QUIET    PREFIX "-quiet"
#define KEY_FLOWS    PREFIX "-flows"
#define KEY_LEVEL    PREFIX "-log-level"
#define KEY_WILDCARD PREFIX "-wildcard-" /* and an address */

static struct addr read_addr(const struct qubesdb *db, const char *path, uint8_t family)
{
	struct addr a = {0};
	size_t len;
	const char *text = qubesdb_read(db, path, &len);

	if (text == NULL || addr_parse(text, len, &a) != 0 || a.family != family)
		return (struct addr){0};
	return a;
}

static void complain(uint64_t now_ms, const char *path, const char *word, size_t len,
		     const char *what)
{
	char line[192];

	snprintf(line, sizeof(line), "%s: \"%.*s\": %s", path, len > 48 ? 48 : (int)len, word,
		 what);
	log_peer(now_ms, LOG_LEVEL_WARNING, line);
}

/* Addresses of one family (0: any) separated by spaces, behind those in @out. */
static size_t read_list(const struct qubesdb *db, const char *path, uint8_t family,
			struct addr *out, size_t n, size_t max, uint64_t now_ms)
{
	const char *p = qubesdb_read(db, path, NULL);

	while (p != NULL && *p != '\0') {
		size_t len = strcspn(p, " ");
		struct addr a;

		if (len > 0 && (addr_parse(p, len, &a) != 0 || (family && a.family != family)))
			complain(now_ms, path, p, len, "not an address");
		else if (len > 0 && n == max)
			complain(now_ms, path, p, len, "too many addresses");
		else if (len > 0)
			out[n++] = a;
		p += len;
		p += strspn(p, " ");
	}
	return n;
}

/*
 * Each virtual server stands for one of ours: the first for the first, the second
 * for the second; with one real server both stand for it, with none for nothing.
 */
static void read_dns(struct settings *s, const struct qubesdb *db)
{
	struct addr virt[2] = {read_addr(db, "/qubes-netvm-primary-dns", 4),
			       read_addr(db, "/qubes-netvm-secondary-dns", 4)};
	struct addr real[2] = {read_addr(db, "/qubes-primary-dns", 4),
			       read_addr(db, "/qubes-secondary-dns", 4)};

	if (real[0].family == 0)
		real[0] = real[1];
	if (real[1].family == 0)
		real[1] = real[0];
	for (int i = 0; i < 2; i++)
		if (virt[i].family != 0)
			s->dns[s->dns_count++] = (struct engine_dns){virt[i], real[i]};
}

static void read_set(struct settings_set *set, const struct qubesdb *db, const char *path,
		     uint64_t now_ms)
{
	const char *value = qubesdb_read(db, path, NULL);

	set->all = value != NULL && strcmp(value, "all") == 0;
	if (!set->all)
		set->count = read_list(db, path, 0, set->addr, 0, SETTINGS_SET_MAX, now_ms);
}

/* "ADDRESS=N" words. */
static void read_quotas(struct settings *s, const struct qubesdb *db, uint64_t now_ms)
{
	static const char path[] = KEY_FLOWS;
	const char *p = qubesdb_read(db, path, NULL);

	while (p != NULL && *p != '\0') {
		size_t len = strcspn(p, " "), name = strcspn(p, "= ");
		struct settings_quota q = {{0}, 0};
		char *end = NULL;

		if (name < len && p[name + 1] >= '1' && p[name + 1] <= '9')
			q.flows = (uint32_t)strtoul(p + name + 1, &end, 10);
		if (len > 0 && (end != p + len || len - name > 8 ||
				addr_parse(p, name, &q.addr) != 0))
			complain(now_ms, path, p, len, "not ADDRESS=NUMBER");
		else if (len > 0 && s->quota_count == SETTINGS_SET_MAX)
			complain(now_ms, path, p, len, "too many");
		else if (len > 0)
			s->quota[s->quota_count++] = q;
		p += len;
		p += strspn(p, " ");
	}
}

static void read_log_level(struct settings *s, const struct qubesdb *db, uint64_t now_ms)
{
	static const char path[] = KEY_LEVEL;
	const char *value = qubesdb_read(db, path, NULL);
	int level = value != NULL ? log_level_parse(value) : 0;

	if (level < 0)
		complain(now_ms, path, value, strlen(value), "no level");
	else
		s->log_level = level;
}

/* Whether it is spelled as a dsthost that DNS can hold. */
static bool is_name(const char *word, size_t len)
{
	char text[DNS_NAME_TEXT_MAX + 2], same[DNS_NAME_TEXT_MAX + 1];
	struct dns_name name;

	if (len >= sizeof(text))
		return false;
	memcpy(text, word, len);
	text[len] = '\0';
	if (!dns_name_of_text(&name, text) || !dns_name_to_text(same, &name))
		return false;
	len -= text[len - 1] == '.';
	return strlen(same) == len && memcmp(same, text, len) == 0;
}

/* What settings_wildcards() will give, or never look at. */
static void check_wildcards(const char *path, const char *value, uint64_t now_ms)
{
	const char *ip = path + strlen(KEY_WILDCARD);
	char text[ADDR_STRLEN], what[ADDR_STRLEN + 16];
	struct addr a;

	if (addr_parse(ip, strlen(ip), &a) != 0) {
		complain(now_ms, path, ip, strlen(ip), "not an address");
	} else if (strcmp(addr_format(&a, text), ip) != 0) {
		snprintf(what, sizeof(what), "not written as %s", text);
		complain(now_ms, path, ip, strlen(ip), what);
	}
	for (const char *p = value; *p != '\0'; p += strspn(p, " ")) {
		size_t len = strcspn(p, " ");

		if (len > 0 && !is_name(p, len))
			complain(now_ms, path, p, len, "not a name");
		p += len;
	}
}

static void check_key(void *arg, const char *path, const char *value, size_t len)
{
	static const char *const known[] = {KEY_EIM, KEY_LEARN, KEY_QUIET, KEY_FLOWS, KEY_LEVEL};
	const uint64_t *now_ms = arg;

	if (strncmp(path, PREFIX, strlen(PREFIX)) != 0)
		return;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(path, known[i]) == 0)
			return;
	if (strncmp(path, KEY_WILDCARD, strlen(KEY_WILDCARD)) == 0)
		check_wildcards(path, value, *now_ms);
	else
		complain(*now_ms, path, value, len, "no such key");
}

void settings_read(struct settings *s, const struct qubesdb *db, uint64_t now_ms)
{
	memset(s, 0, sizeof(*s));
	s->db = db;
	read_dns(s, db);
	s->connected_count = read_list(db, "/connected-ips", 4, s->connected, 0,
				       ENGINE_CONNECTED_MAX, now_ms);
	s->connected_count = read_list(db, "/connected-ips6", 6, s->connected,
				       s->connected_count, ENGINE_CONNECTED_MAX, now_ms);
	read_set(&s->eim, db, KEY_EIM, now_ms);
	read_set(&s->learn, db, KEY_LEARN, now_ms);
	read_set(&s->quiet, db, KEY_QUIET, now_ms);
	read_quotas(s, db, now_ms);
	read_log_level(s, db, now_ms);
	qubesdb_list(db, VM_CONFIG, check_key, &now_ms);
}

static bool set_has(const struct settings_set *set, const struct addr *addr)
{
	bool found = set->all;

	for (size_t i = 0; !found && i < set->count; i++)
		found = addr_equal(&set->addr[i], addr);
	return found;
}

struct engine_source_options settings_options(const struct settings *s, const struct addr *addr)
{
	struct engine_source_options o = {
		.eim = set_has(&s->eim, addr),
		.quiet = set_has(&s->quiet, addr),
		.learn = set_has(&s->learn, addr),
	};

	for (size_t i = 0; i < s->quota_count; i++)
		if (addr_equal(&s->quota[i].addr, addr))
			o.max_flows = s->quota[i].flows;
	return o;
}

const char *settings_wildcards(const struct settings *s, const struct addr *addr)
{
	char path[80], text[ADDR_STRLEN];

	snprintf(path, sizeof(path), KEY_WILDCARD "%s", addr_format(addr, text));
	return s->db != NULL ? qubesdb_read(s->db, path, NULL) : NULL;
}

struct addr settings_visible(const struct qubesdb *db, const struct addr *real,
			     struct addr *gateway)
{
	char path[80], text[ADDR_STRLEN];
	struct addr visible, known;

	if (real->family != 4)
		return (struct addr){0};
	addr_format(real, text);
	snprintf(path, sizeof(path), "/mapped-ip/%s/visible-ip", text);
	visible = read_addr(db, path, 4);
	snprintf(path, sizeof(path), "/mapped-ip/%s/visible-gateway", text);
	known = read_addr(db, path, 4);
	/* dom0 writes both for every client; only another address means anything */
	if (visible.family == 0 || known.family == 0 || addr_equal(&visible, real))
		return (struct addr){0};
	*gateway = known;
	return visible;
}
