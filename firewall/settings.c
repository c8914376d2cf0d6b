/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/settings.h"

#include "firewall/log.h"

#include <stdio.h>
#include <string.h>

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

static void read_eim(struct settings *s, const struct qubesdb *db, uint64_t now_ms)
{
	static const char path[] = "/vm-config/ringfence-eim";
	const char *value = qubesdb_read(db, path, NULL);

	s->eim_all = value != NULL && strcmp(value, "all") == 0;
	if (!s->eim_all)
		s->eim_count = read_list(db, path, 0, s->eim, 0, SETTINGS_EIM_MAX, now_ms);
}

void settings_read(struct settings *s, const struct qubesdb *db, uint64_t now_ms)
{
	memset(s, 0, sizeof(*s));
	read_dns(s, db);
	s->connected_count = read_list(db, "/connected-ips", 4, s->connected, 0,
				       ENGINE_CONNECTED_MAX, now_ms);
	s->connected_count = read_list(db, "/connected-ips6", 6, s->connected,
				       s->connected_count, ENGINE_CONNECTED_MAX, now_ms);
	read_eim(s, db, now_ms);
}

struct engine_source_options settings_options(const struct settings *s, const struct addr *addr)
{
	struct engine_source_options o = {.eim = s->eim_all};

	for (size_t i = 0; !o.eim && i < s->eim_count; i++)
		o.eim = addr_equal(&s->eim[i], addr);
	return o;
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
