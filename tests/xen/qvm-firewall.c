// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * qvm-firewall for the lab's dom0.
 *
 *   qvm-firewall [--reload] VM [add [--before N] RULE... | del [--rule-no N] [RULE...]
 *                              | list [--raw] | reset | load FILE]
 *
 * RULE is KEY=VALUE words or the positional form of Qubes,
 *   ACTION [DSTHOST [PROTO [DSTPORTS|ICMPTYPE]]]
 * `load` is ours: it replaces all rules by the lines of a file in one update.
 *
 * $QVM_TABLE (/etc/qubes/vms) maps names, a line "VM IP4 IP6|- FWSOCKET" each;
 * the rules of a qube live in $QVM_STATE/VM.rules (/var/lib/qubes/firewall).
 *
 * What reaches QubesDB is what dom0 sends, in its order: RM of the subtree,
 * policy and rules of the family under their index in the list (so the keys
 * have gaps), and the base key, which commits. Everything is checked before
 * the first byte is sent: dom0 never writes half an update of a bad rule.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "tests/xen/qdb.h"

#define RULES_MAX 4096
#define TEXT_MAX  1024
#define BULK_MAX  65536 /* what qubesd accepts in one request */

enum field {
	ACTION,
	DST4,
	DST6,
	DSTHOST,
	PROTO,
	SPECIAL,
	PORTS,
	ICMPTYPE,
	EXPIRE,
	COMMENT,
	FIELDS
};

static const char *const field_name[] = { "action",	   "dst4",     "dst6",	   "dsthost",
					  "proto",	   "specialtarget", "dstports", "icmptype",
					  "expire",	   "comment" };
static_assert(sizeof(field_name) / sizeof(field_name[0]) == FIELDS, "one name a field");

struct rule {
	char f[FIELDS][256]; /* empty: not there */
};

static struct rule *rules[RULES_MAX];
static size_t rules_n;

static struct {
	char name[64], ip[2][64], sock[108]; /* ip[0] IPv4, ip[1] IPv6 or "-" */
} vm;

static void __attribute__((format(printf, 1, 2), noreturn)) die(const char *fmt, ...)
{
	va_list ap;

	fputs("qvm-firewall: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

/* --- one rule --------------------------------------------------------------- */

static void set(struct rule *r, enum field f, const char *value)
{
	if (r->f[f][0])
		die("%s given twice", field_name[f]);
	if (!value[0] || strlen(value) >= sizeof(r->f[f]))
		die("%s: empty or too long", field_name[f]);
	snprintf(r->f[f], sizeof(r->f[f]), "%s", value);
}

static bool number(const char *s, unsigned long max, unsigned long *out)
{
	char *end;

	if (!isdigit((unsigned char)s[0]) || strlen(s) > 10)
		return false;
	*out = strtoul(s, &end, 10);
	return *end == '\0' && *out <= max;
}

/* An address gets its prefix length; anything else has to be a host name. */
static void set_dst(struct rule *r, const char *value)
{
	char host[256], text[300];
	const char *slash = strchr(value, '/');
	size_t n = slash ? (size_t)(slash - value) : strlen(value);
	unsigned char addr[16];
	unsigned long len;
	int family;

	if (n >= sizeof(host))
		die("dsthost: too long");
	memcpy(host, value, n);
	host[n] = '\0';
	if (inet_pton(AF_INET6, host, addr) == 1)
		family = DST6;
	else if (inet_pton(AF_INET, host, addr) == 1)
		family = DST4;
	else if (slash)
		die("dsthost: \"%s\" is not a network", value);
	else
		family = DSTHOST;
	if (family == DSTHOST) {
		if (host[strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789-._")])
			die("dsthost: \"%s\" is not a host name", value);
		set(r, DSTHOST, host);
		return;
	}
	len = family == DST6 ? 128 : 32;
	if (slash && !number(slash + 1, len, &len))
		die("dsthost: bad prefix length in \"%s\"", value);
	snprintf(text, sizeof(text), "%s/%lu", host, len);
	set(r, family, text);
}

static void set_ports(struct rule *r, const char *value)
{
	char from[16], text[40];
	const char *dash = strchr(value, '-');
	size_t n = dash ? (size_t)(dash - value) : strlen(value);
	unsigned long a, b;

	if (n >= sizeof(from))
		die("dstports: \"%s\"", value);
	memcpy(from, value, n);
	from[n] = '\0';
	if (!number(from, 65535, &a) || !number(dash ? dash + 1 : from, 65535, &b) || a > b)
		die("dstports: \"%s\" is not a range", value);
	snprintf(text, sizeof(text), "%lu-%lu", a, b);
	set(r, PORTS, text);
}

static void set_expire(struct rule *r, const char *value)
{
	unsigned long n;
	char text[32];

	if (!number(value + (value[0] == '+'), 4000000000UL, &n))
		die("expire: \"%s\"", value);
	if (value[0] == '+')
		n += (unsigned long)time(NULL);
	snprintf(text, sizeof(text), "%lu", n);
	set(r, EXPIRE, text);
}

static void one_of(struct rule *r, enum field f, const char *value, const char *choices)
{
	char want[32];

	snprintf(want, sizeof(want), " %s ", value);
	if (!value[0] || strchr(value, ' ') || !strstr(choices, want))
		die("%s: \"%s\" is not one of%s", field_name[f], value, choices);
	set(r, f, value);
}

static void set_field(struct rule *r, enum field f, const char *value)
{
	unsigned long n;
	char text[16];

	switch (f) {
	case ACTION:
		one_of(r, f, value, " accept drop ");
		return;
	case DST4:
	case DST6:
	case DSTHOST:
		if (r->f[DST4][0] || r->f[DST6][0] || r->f[DSTHOST][0])
			die("more than one destination");
		set_dst(r, value);
		return;
	case PROTO:
		one_of(r, f, value, " tcp udp icmp ");
		return;
	case SPECIAL:
		one_of(r, f, value, " dns ");
		return;
	case PORTS:
		set_ports(r, value);
		return;
	case ICMPTYPE:
		if (!number(value, 255, &n))
			die("icmptype: \"%s\"", value);
		snprintf(text, sizeof(text), "%lu", n);
		set(r, f, text);
		return;
	case EXPIRE:
		set_expire(r, value);
		return;
	default:
		set(r, f, value);
	}
}

static void rule_check(const struct rule *r)
{
	bool icmp = strcmp(r->f[PROTO], "icmp") == 0;

	if (!r->f[ACTION][0])
		die("a rule needs an action");
	if (r->f[PORTS][0] && (icmp || !r->f[PROTO][0]))
		die("dstports need proto=tcp or proto=udp");
	if (r->f[ICMPTYPE][0] && !icmp)
		die("icmptype needs proto=icmp");
	if (r->f[SPECIAL][0] && icmp)
		die("specialtarget=dns contradicts proto=icmp");
}

/* One word; @pos counts the positional ones. False: a comment ate the rest. */
static void word(struct rule *r, const char *w, int *pos)
{
	const char *eq = strchr(w, '=');

	for (enum field f = ACTION; eq && f < FIELDS; f++) {
		size_t n = strlen(field_name[f]);

		if (strncmp(w, field_name[f], n) == 0 && w[n] == '=') {
			set_field(r, f, eq + 1);
			return;
		}
	}
	if (eq)
		die("unknown option \"%s\"", w);
	switch ((*pos)++) {
	case 0:
		set_field(r, ACTION, w);
		return;
	case 1:
		set_field(r, DSTHOST, w);
		return;
	case 2:
		set_field(r, PROTO, w);
		return;
	case 3:
		set_field(r, strcmp(r->f[PROTO], "icmp") == 0 ? ICMPTYPE : PORTS, w);
		return;
	default:
		die("unexpected word \"%s\"", w);
	}
}

static struct rule *rule_new(void)
{
	struct rule *r = calloc(1, sizeof(*r));

	if (!r)
		die("out of memory");
	return r;
}

static struct rule *rule_args(char **a, int n)
{
	struct rule *r = rule_new();
	int pos = 0;

	for (int i = 0; i < n; i++)
		word(r, a[i], &pos);
	rule_check(r);
	return r;
}

/* A line of our own store or of `load`: words, a comment to the end of it. */
static struct rule *rule_line(char *line)
{
	struct rule *r = rule_new();
	int pos = 0;

	while (*(line += strspn(line, " ")) != '\0') {
		size_t n = strcspn(line, " ");
		bool comment = strncmp(line, "comment=", 8) == 0;
		char *next = line + n;

		if (comment)
			next += strlen(next);
		if (*next)
			*next++ = '\0';
		word(r, line, &pos);
		line = next;
	}
	rule_check(r);
	return r;
}

/* What QubesDB gets (@full false) or what the store keeps. */
static void rule_text(const struct rule *r, bool full, char *out, size_t size)
{
	size_t n = 0;

	out[0] = '\0';
	for (enum field f = ACTION; f < (full ? FIELDS : EXPIRE); f++)
		if (r->f[f][0] && n < size)
			n += (size_t)snprintf(out + n, size - n, "%s%s=%s", n ? " " : "",
					      field_name[f], r->f[f]);
	if (n >= size)
		die("rule too long");
}

static bool rule_expired(const struct rule *r)
{
	return r->f[EXPIRE][0] && strtoul(r->f[EXPIRE], NULL, 10) < (unsigned long)time(NULL);
}

/* --- the list --------------------------------------------------------------- */

static void list_insert(size_t at, struct rule *r)
{
	if (rules_n == RULES_MAX)
		die("more than %d rules", RULES_MAX);
	if (at > rules_n)
		at = rules_n;
	memmove(rules + at + 1, rules + at, (rules_n - at) * sizeof(*rules));
	rules[at] = r;
	rules_n++;
}

static void list_remove(size_t at)
{
	free(rules[at]);
	rules_n--;
	memmove(rules + at, rules + at + 1, (rules_n - at) * sizeof(*rules));
}

static void list_clear(void)
{
	while (rules_n)
		list_remove(rules_n - 1);
}

/* What dom0 assumes of a qube for which nothing was configured. */
static void list_default(void)
{
	struct rule *r = rule_new();

	set_field(r, ACTION, "accept");
	list_clear();
	list_insert(0, r);
}

static bool list_read(const char *path)
{
	FILE *f = fopen(path, "re");
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	if (!f)
		return false;
	list_clear();
	while ((n = getline(&line, &cap, f)) >= 0) {
		if (n && line[n - 1] == '\n')
			line[n - 1] = '\0';
		if (line[0] && line[0] != '#')
			list_insert(rules_n, rule_line(line));
	}
	free(line);
	fclose(f);
	if (!rules_n)
		list_default();
	return true;
}

static const char *state_file(const char *suffix)
{
	static char path[512];
	const char *dir = getenv("QVM_STATE");

	if (!dir)
		dir = "/var/lib/qubes/firewall";
	mkdir(dir, 0755);
	snprintf(path, sizeof(path), "%s/%s.rules%s", dir, vm.name, suffix);
	return path;
}

static void list_save(void)
{
	char text[TEXT_MAX], tmp[512];
	size_t total = 0;
	FILE *f;

	snprintf(tmp, sizeof(tmp), "%s", state_file(".new"));
	f = fopen(tmp, "we");
	if (!f)
		die("%s: %s", tmp, strerror(errno));
	for (size_t i = 0; i < rules_n; i++) {
		rule_text(rules[i], true, text, sizeof(text));
		total += strlen(text) + 1;
		fprintf(f, "%s\n", text);
	}
	if (total > BULK_MAX) {
		unlink(tmp);
		die("the rules take %zu bytes, qubesd accepts %d", total, BULK_MAX);
	}
	if (fclose(f) != 0 || rename(tmp, state_file("")) < 0)
		die("%s: %s", state_file(""), strerror(errno));
}

static void list_print(bool raw)
{
	char text[TEXT_MAX];

	for (size_t i = 0; i < rules_n; i++) {
		rule_text(rules[i], true, text, sizeof(text));
		if (raw)
			puts(text);
		else
			printf("%-4zu %s\n", i, text);
	}
}

/* --- QubesDB ------------------------------------------------------------------ */

static void ask(int fd, unsigned type, const char *path, const char *value)
{
	struct qdb_msg m;

	if (qdb_put(fd, type, path, value, strlen(value)) < 0 || qdb_reply(fd, &m) < 0)
		die("%s: connection lost at %s", vm.sock, path);
	if (m.h.type != QDB_OK && !(type == QDB_RM && m.h.type == QDB_NOENT))
		die("%s: refused", path);
}

static void commit_family(int fd, const char *ip, enum field other)
{
	char path[128], text[TEXT_MAX];

	/* The server sends no RM to the qube when nothing is there, as dom0. */
	snprintf(path, sizeof(path), "/qubes-firewall/%s/", ip);
	ask(fd, QDB_RM, path, "");
	snprintf(path, sizeof(path), "/qubes-firewall/%s/policy", ip);
	ask(fd, QDB_WRITE, path, "drop");
	for (size_t i = 0; i < rules_n; i++) {
		if (rules[i]->f[other][0] || rule_expired(rules[i]))
			continue;
		rule_text(rules[i], false, text, sizeof(text));
		snprintf(path, sizeof(path), "/qubes-firewall/%s/%04zu", ip, i);
		ask(fd, QDB_WRITE, path, text);
	}
	snprintf(path, sizeof(path), "/qubes-firewall/%s", ip);
	ask(fd, QDB_WRITE, path, "");
}

static void commit(void)
{
	int fd;

	if (strcmp(vm.sock, "-") == 0)
		return;
	fd = qdb_connect(vm.sock);
	if (fd < 0)
		die("%s: %s", vm.sock, strerror(-fd));
	commit_family(fd, vm.ip[0], DST6);
	if (strcmp(vm.ip[1], "-") != 0)
		commit_family(fd, vm.ip[1], DST4);
	close(fd);
}

static void table_find(const char *name)
{
	const char *file = getenv("QVM_TABLE");
	char line[512];
	FILE *f;

	if (!file)
		file = "/etc/qubes/vms";
	f = fopen(file, "re");
	if (!f)
		die("%s: %s", file, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63s %63s %63s %107s", vm.name, vm.ip[0], vm.ip[1], vm.sock) ==
			    4 &&
		    strcmp(vm.name, name) == 0) {
			fclose(f);
			return;
		}
	}
	die("%s: no such qube in %s", name, file);
}

/* --- commands ----------------------------------------------------------------- */

/* Take "--name N" from the front of the arguments; false when it is not there. */
static bool option(char ***a, int *n, const char *name, size_t *value)
{
	unsigned long v;

	if (*n < 2 || strcmp((*a)[0], name) != 0)
		return false;
	if (!number((*a)[1], RULES_MAX, &v))
		die("%s: \"%s\" is not a rule number", name, (*a)[1]);
	*value = v;
	*a += 2;
	*n -= 2;
	return true;
}

static void cmd_del(char **a, int n)
{
	char want[TEXT_MAX], text[TEXT_MAX];
	struct rule *r;
	size_t at;

	if (option(&a, &n, "--rule-no", &at)) {
		if (n || at >= rules_n)
			die("no rule %zu", at);
		list_remove(at);
		return;
	}
	r = rule_args(a, n);
	rule_text(r, true, want, sizeof(want));
	free(r);
	for (at = 0; at < rules_n; at++) {
		rule_text(rules[at], true, text, sizeof(text));
		if (strcmp(text, want) == 0) {
			list_remove(at);
			return;
		}
	}
	die("no rule \"%s\"", want);
}

static void run(char **a, int n, bool reload)
{
	const char *cmd = n ? a[0] : "list";
	size_t at = RULES_MAX;

	a += n > 0;
	n -= n > 0;
	if (!list_read(state_file("")))
		list_default();
	if (strcmp(cmd, "list") == 0) {
		list_print(n == 1 && strcmp(a[0], "--raw") == 0);
		if (reload)
			commit();
		return;
	}
	if (strcmp(cmd, "add") == 0) {
		option(&a, &n, "--before", &at);
		list_insert(at, rule_args(a, n));
	} else if (strcmp(cmd, "del") == 0) {
		cmd_del(a, n);
	} else if (strcmp(cmd, "reset") == 0 && n == 0) {
		list_default();
	} else if (strcmp(cmd, "load") == 0 && n == 1) {
		if (!list_read(a[0]))
			die("%s: %s", a[0], strerror(errno));
	} else {
		die("%s: unknown command or wrong arguments", cmd);
	}
	if (!rules_n)
		list_default();
	list_save();
	commit();
}

int main(int argc, char **argv)
{
	bool reload = false;
	int at = 1;

	for (; at < argc && argv[at][0] == '-'; at++) {
		if (strcmp(argv[at], "--reload") == 0)
			reload = true;
		else if (strcmp(argv[at], "--verbose") != 0 && strcmp(argv[at], "--quiet") != 0)
			die("%s: unknown option", argv[at]);
	}
	if (at == argc)
		die("usage: qvm-firewall [--reload] VM [add|del|list|reset|load ...]");
	table_find(argv[at]);
	run(argv + at + 1, argc - at - 1, reload);
	return 0;
}
