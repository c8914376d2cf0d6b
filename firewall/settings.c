/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/settings.h"

#include "firewall/dns_wire.h"
#include "firewall/log.h"
#include "rules/text.h"

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
#define MAPPED	     "/mapped-ip/"

/* Keys that hold one address. */
static const struct {
	const char *path;
	uint8_t family;
} address_keys[] = {
	{"/qubes-ip", 4},	      {"/qubes-gateway", 4},
	{"/qubes-netvm-gateway", 4},  {"/qubes-primary-dns", 4},
	{"/qubes-secondary-dns", 4},  {"/qubes-netvm-primary-dns", 4},
	{"/qubes-ip6", 6},	      {"/qubes-netvm-secondary-dns", 4},
	{"/qubes-gateway6", 6},	      {"/qubes-netvm-gateway6", 6},
};

/* One reading of all keys, and where its problems go. */
struct reader {
	struct settings *s;
	const struct qubesdb *db;
	void (*problem)(void *arg, const char *path, const char *text);
	void *arg;
};

/* "VALUE" WHAT; the value is what the user reads first, so it is cut, not the rest. */
static void complain(const struct reader *r, const char *path, const char *word, size_t len,
		     const char *what)
{
	char text[sizeof(((struct settings_problem *)0)->text)], value[52];

	snprintf(text, sizeof(text), "\"%s\"%s%s", text_escape(value, sizeof(value), word, len),
		 what[0] == ':' ? "" : " ", what);
	r->problem(r->arg, path, text);
}

struct addr settings_addr(const struct qubesdb *db, const char *path, uint8_t family)
{
	struct addr a = {0};
	size_t len;
	const char *text = qubesdb_read(db, path, &len);

	if (text == NULL || addr_parse(text, len, &a) != 0 || a.family != family)
		return (struct addr){0};
	return a;
}

/* An empty value is what dom0 writes for "none". */
static void check_addresses(const struct reader *r)
{
	for (size_t i = 0; i < sizeof(address_keys) / sizeof(address_keys[0]); i++) {
		const char *path = address_keys[i].path, *text;
		uint8_t family = address_keys[i].family;
		size_t len;

		text = qubesdb_read(r->db, path, &len);
		if (text != NULL && len > 0 && settings_addr(r->db, path, family).family == 0)
			complain(r, path, text, len,
				 family == 4 ? "is not an IPv4 address" : "is not an IPv6 address");
	}
}

/* Addresses of one family (0: any) separated by spaces, behind those in @out. */
static size_t read_list(const struct reader *r, const char *path, uint8_t family,
			struct addr *out, size_t n, size_t max)
{
	const char *rest = qubesdb_read(r->db, path, NULL), *word;
	size_t len;

	while ((word = text_word(&rest, &len)) != NULL) {
		struct addr a;

		if (addr_parse(word, len, &a) != 0 || (family && a.family != family))
			complain(r, path, word, len, ": not an address");
		else if (n == max)
			complain(r, path, word, len, ": too many addresses");
		else
			out[n++] = a;
	}
	return n;
}

/*
 * Each virtual server stands for one of ours: the first for the first, the second
 * for the second; with one real server both stand for it, with none for nothing.
 */
static void read_dns(struct settings *s, const struct qubesdb *db)
{
	struct addr virt[2] = {settings_addr(db, "/qubes-netvm-primary-dns", 4),
			       settings_addr(db, "/qubes-netvm-secondary-dns", 4)};
	struct addr real[2] = {settings_addr(db, "/qubes-primary-dns", 4),
			       settings_addr(db, "/qubes-secondary-dns", 4)};

	if (real[0].family == 0)
		real[0] = real[1];
	if (real[1].family == 0)
		real[1] = real[0];
	for (int i = 0; i < 2; i++)
		if (virt[i].family != 0)
			s->dns[s->dns_count++] = (struct engine_dns){virt[i], real[i]};
}

static void read_set(const struct reader *r, struct settings_set *set, const char *path)
{
	const char *value = qubesdb_read(r->db, path, NULL);

	set->all = value != NULL && strcmp(value, "all") == 0;
	if (!set->all)
		set->count = read_list(r, path, 0, set->addr, 0, SETTINGS_SET_MAX);
}

/* "ADDRESS=N" words. */
static void read_quotas(const struct reader *r)
{
	static const char path[] = KEY_FLOWS;
	const char *rest = qubesdb_read(r->db, path, NULL), *word;
	struct settings *s = r->s;
	size_t len;

	while ((word = text_word(&rest, &len)) != NULL) {
		size_t name = strcspn(word, "= ");
		struct settings_quota q = {{0}, 0};
		char *end = NULL;

		if (name < len && word[name + 1] >= '1' && word[name + 1] <= '9')
			q.flows = (uint32_t)strtoul(word + name + 1, &end, 10);
		if (end != word + len || len - name > 8 || addr_parse(word, name, &q.addr) != 0)
			complain(r, path, word, len, ": not ADDRESS=NUMBER");
		else if (s->quota_count == SETTINGS_SET_MAX)
			complain(r, path, word, len, ": too many");
		else
			s->quota[s->quota_count++] = q;
	}
}

static void read_log_level(const struct reader *r)
{
	static const char path[] = KEY_LEVEL;
	const char *value = qubesdb_read(r->db, path, NULL);
	int level = value != NULL ? log_level_parse(value) : 0;

	if (level < 0)
		complain(r, path, value, strlen(value), ": no level");
	else
		r->s->log_level = level;
}

/* --- keys that are found by looking for them -------------------------------------- */

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
static void check_wildcards(const struct reader *r, const char *path, const char *value)
{
	const char *ip = path + strlen(KEY_WILDCARD), *word;
	char text[ADDR_STRLEN], what[ADDR_STRLEN + 20];
	struct addr a;
	size_t len;

	if (addr_parse(ip, strlen(ip), &a) != 0) {
		complain(r, path, ip, strlen(ip), ": not an address");
	} else if (strcmp(addr_format(&a, text), ip) != 0) {
		snprintf(what, sizeof(what), ": not written as %s", text);
		complain(r, path, ip, strlen(ip), what);
	}
	while ((word = text_word(&value, &len)) != NULL)
		if (!is_name(word, len))
			complain(r, path, word, len, ": not a name");
}

static void check_config(void *arg, const char *path, const char *value, size_t len)
{
	static const char *const known[] = {KEY_EIM, KEY_LEARN, KEY_QUIET, KEY_FLOWS, KEY_LEVEL};
	const struct reader *r = arg;

	if (strncmp(path, PREFIX, strlen(PREFIX)) != 0)
		return;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(path, known[i]) == 0)
			return;
	if (strncmp(path, KEY_WILDCARD, strlen(KEY_WILDCARD)) == 0)
		check_wildcards(r, path, value);
	else
		complain(r, path, value, len, ": no such key");
}

/* /mapped-ip/ADDRESS/visible-ip and visible-gateway: an IPv4 address each. */
static void check_mapped(void *arg, const char *path, const char *value, size_t len)
{
	const struct reader *r = arg;
	const char *source = path + strlen(MAPPED), *leaf = strchr(source, '/');
	char other[QUBESDB_PATH_MAX + 16];
	struct addr real, visible;
	bool is_ip;

	if (leaf == NULL || addr_parse(source, (size_t)(leaf - source), &real) != 0) {
		r->problem(r->arg, path, "names no address: ignored");
		return;
	}
	is_ip = strcmp(leaf, "/visible-ip") == 0;
	if (real.family != 4 || (!is_ip && strcmp(leaf, "/visible-gateway") != 0))
		return;
	if (addr_parse(value, len, &visible) != 0 || visible.family != 4) {
		complain(r, path, value, len, "is not an IPv4 address");
		return;
	}
	snprintf(other, sizeof(other), MAPPED "%.*s/visible-%s", (int)(leaf - source), source,
		 is_ip ? "gateway" : "ip");
	if (qubesdb_read(r->db, other, NULL) == NULL)
		complain(r, path, value, len,
			 is_ip ? "has no visible-gateway: ignored" : "has no visible-ip: ignored");
}

/* --- reading ----------------------------------------------------------------------- */

static void read_all(struct reader *r)
{
	struct settings *s = r->s;

	check_addresses(r);
	read_dns(s, r->db);
	s->connected_count =
		read_list(r, "/connected-ips", 4, s->connected, 0, ENGINE_CONNECTED_MAX);
	s->connected_count = read_list(r, "/connected-ips6", 6, s->connected, s->connected_count,
				       ENGINE_CONNECTED_MAX);
	qubesdb_list(r->db, MAPPED, check_mapped, r);
	qubesdb_list(r->db, VM_CONFIG, check_config, r);
	read_set(r, &s->eim, KEY_EIM);
	read_set(r, &s->learn, KEY_LEARN);
	read_set(r, &s->quiet, KEY_QUIET);
	read_quotas(r);
	read_log_level(r);
}

static void keep(void *arg, const char *path, const char *text)
{
	struct settings *s = arg;
	struct settings_problem *p;

	if (s->problem_count++ >= SETTINGS_PROBLEM_MAX)
		return;
	p = &s->problem[s->problem_count - 1];
	snprintf(p->path, sizeof(p->path), "%s", path);
	snprintf(p->text, sizeof(p->text), "%s", text);
}

size_t settings_problems(const struct settings *s)
{
	return s->problem_count < SETTINGS_PROBLEM_MAX ? s->problem_count : SETTINGS_PROBLEM_MAX;
}

static bool has_problem(const struct settings *s, const struct settings_problem *p)
{
	for (size_t i = 0; i < settings_problems(s); i++)
		if (strcmp(s->problem[i].path, p->path) == 0 &&
		    strcmp(s->problem[i].text, p->text) == 0)
			return true;
	return false;
}

void settings_read(struct settings *s, const struct qubesdb *db, uint64_t now_ms)
{
	struct settings old = *s;
	struct reader r = {.s = s, .db = db, .problem = keep, .arg = s};
	char line[sizeof(struct settings_problem) + 4];

	memset(s, 0, sizeof(*s));
	s->db = db;
	read_all(&r);
	for (size_t i = 0; i < settings_problems(s); i++) {
		const struct settings_problem *p = &s->problem[i];

		if (has_problem(&old, p))
			continue;
		snprintf(line, sizeof(line), "%s: %s", p->path, p->text);
		log_peer(now_ms, LOG_LEVEL_WARNING, line);
	}
}

void settings_check(const struct qubesdb *db,
		    void (*fn)(void *arg, const char *path, const char *text), void *arg)
{
	struct settings s = {.db = db};
	struct reader r = {.s = &s, .db = db, .problem = fn, .arg = arg};

	read_all(&r);
}

static bool set_has(const struct settings_set *set, const struct addr *addr)
{
	return set->all || addr_among(set->addr, set->count, addr);
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
	snprintf(path, sizeof(path), MAPPED "%s/visible-ip", text);
	visible = settings_addr(db, path, 4);
	snprintf(path, sizeof(path), MAPPED "%s/visible-gateway", text);
	known = settings_addr(db, path, 4);
	/* dom0 writes both for every client: usually its own address and our own */
	if (visible.family == 0 || known.family == 0)
		return (struct addr){0};
	*gateway = known;
	if (addr_equal(&visible, real))
		return (struct addr){0};
	return visible;
}
