// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rule sets, and QubesDB's text of them for ringfenced.
 *
 * A set has rules for client 1 (the one tested) and, the same, for client 2;
 * client 3 may do everything over IPv4 and has no IPv6.
 */
#include "tests/net/diff/ruleset.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SETS_MAX  256
#define HANDLED_S 5

static struct ruleset *sets;
static unsigned int set_count, current;
static unsigned long long handled_before;

/* IPv4 and IPv6 twins are made of one text: "D1".."D4" are destinations. */
static const char *const own_sets[][8] = {
	{"open", "accept"},
	{"closed", "drop"},
	{"one-server", "drop", "action=accept dst=D1 proto=tcp dstports=443-443"},
	{"but-one", "accept", "action=drop dst=D1"},
	{"ports", "drop", "action=accept proto=tcp dstports=80-443",
	 "action=accept proto=udp dstports=53-123", "action=accept proto=icmp"},
	{"network", "drop", "action=accept dst=N1"},
	{"network-but", "drop", "action=drop dst=D2", "action=accept dst=N1 proto=udp",
	 "action=accept dst=N1 proto=tcp dstports=1000-60000"},
	{"dns-only", "drop", "action=accept specialtarget=dns"},
	{"simple-mode", "drop", "action=accept dst=D1 proto=tcp", "action=accept specialtarget=dns",
	 "action=accept proto=icmp"},
	{"no-icmp", "accept", "action=drop proto=icmp"},
	{"echo", "drop", "action=accept proto=icmp icmptype=ECHO"},
	{"no-udp", "accept", "action=drop proto=udp"},
	{"host-bits", "drop", "action=accept dst=H1"},
	{"everything", "drop", "action=accept dst=ALL"},
	{"order", "accept", "action=accept dst=D1 proto=tcp dstports=80-80",
	 "action=drop dst=D1 proto=tcp", "action=drop dst=D1 proto=udp dstports=0-65535"},
	{"portless", "drop", "action=accept dstports=53-53", "action=accept dst=D3"},
};

static const struct {
	const char *word, *text[2];
} words[] = {
	{"dst=D1", {"dst4=192.0.2.10/32", "dst6=2001:db8::10/128"}},
	{"dst=D2", {"dst4=192.0.2.20", "dst6=2001:db8::20"}},
	{"dst=D3", {"dst4=198.51.100.7/32", "dst6=2001:db8:5::7/128"}},
	{"dst=N1", {"dst4=192.0.2.0/24", "dst6=2001:db8::/64"}},
	{"dst=H1", {"dst4=192.0.2.77/25", "dst6=2001:db8::77/121"}},
	{"dst=ALL", {"dst4=0.0.0.0/0", "dst6=::/0"}},
	{"icmptype=ECHO", {"icmptype=8", "icmptype=128"}},
};

/* What random packets go to; the first few are in the rules above. */
static const char *const targets[2][8] = {
	{"192.0.2.10", "192.0.2.20", "198.51.100.7", "192.0.2.77", "192.0.2.200", "8.8.8.8",
	 DNS_VIRTUAL, DNS_VIRTUAL2},
	{"2001:db8::10", "2001:db8::20", "2001:db8:5::7", "2001:db8::77", "2001:db8::200",
	 "2606:4700::1111", "2001:db8:6::1", "2001:db8::1"},
};
static const uint16_t ports[] = {443, 80, 53, 123, 1000, 8080, 60000, 22};

static void expand(const char *rule, int v6, char *out, size_t room)
{
	char text[160];

	snprintf(text, sizeof(text), "%s", rule);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		char *at = strstr(text, words[i].word), rest[160];

		if (!at)
			continue;
		snprintf(rest, sizeof(rest), "%s", at + strlen(words[i].word));
		snprintf(at, sizeof(text) - (size_t)(at - text), "%s%s", words[i].text[v6], rest);
	}
	snprintf(out, room, "%s", text);
}

static void add_own_sets(void)
{
	for (size_t i = 0; i < sizeof(own_sets) / sizeof(own_sets[0]); i++) {
		struct ruleset *r = &sets[set_count++];

		snprintf(r->name, sizeof(r->name), "%s", own_sets[i][0]);
		r->accept = strcmp(own_sets[i][1], "accept") == 0;
		for (int v6 = 0; v6 < 2; v6++)
			for (unsigned int k = 2; k < 8 && own_sets[i][k]; k++) {
				unsigned int n = r->n[v6]++;

				snprintf(r->keys[v6][n], sizeof(r->keys[v6][n]), "%04u", n);
				expand(own_sets[i][k], v6, r->rules[v6][n],
				       sizeof(r->rules[v6][n]));
			}
	}
}

/* A tree of the conformance cases: KEY=VALUE joined by "|", for one family. */
static bool add_tree(struct ruleset *r, int v6, char *tree)
{
	char *save = NULL;

	for (char *p = strtok_r(tree, "|", &save); p; p = strtok_r(NULL, "|", &save)) {
		char *eq = strchr(p, '=');
		unsigned int n = r->n[v6];

		if (!eq || n == RULES_MAX)
			return false;
		*eq++ = '\0';
		if (strcmp(p, "policy") == 0) {
			r->accept = strcmp(eq, "accept") == 0;
			continue;
		}
		snprintf(r->keys[v6][n], sizeof(r->keys[v6][n]), "%s", p);
		snprintf(r->rules[v6][n], sizeof(r->rules[v6][n]), "%s", eq);
		r->n[v6]++;
	}
	/* numeric order, as both agents have it */
	for (unsigned int i = 0; i < r->n[v6]; i++)
		for (unsigned int k = i + 1; k < r->n[v6]; k++)
			if (strtoul(r->keys[v6][k], NULL, 10) < strtoul(r->keys[v6][i], NULL, 10)) {
				char t[160];

				memcpy(t, r->rules[v6][i], sizeof(t));
				memcpy(r->rules[v6][i], r->rules[v6][k], sizeof(t));
				memcpy(r->rules[v6][k], t, sizeof(t));
				memcpy(t, r->keys[v6][i], 16);
				memcpy(r->keys[v6][i], r->keys[v6][k], 16);
				memcpy(r->keys[v6][k], t, 16);
			}
	return true;
}

/* One case a line; both families' rules are the case's where it has that family. */
static void add_conformance(void)
{
	FILE *f = fopen(config.conformance, "r");
	char line[4096], *col[7];

	if (!f)
		die("%s: cannot be read", config.conformance);
	while (fgets(line, sizeof(line), f) && set_count < SETS_MAX) {
		struct ruleset *r = &sets[set_count];
		char *p = line;
		int n = 0, v6;

		line[strcspn(line, "\n")] = '\0';
		while (n < 7 && (col[n] = strsep(&p, "\t")) != NULL)
			n++;
		if (n != 7 || strcmp(col[2], "-") == 0)
			continue;
		if (strcmp(col[3], names_text) != 0)
			die("%s: %s: other names than the rig's", config.conformance, col[0]);
		v6 = strchr(col[1], ':') != NULL;
		if (v6 && !config.ipv6)
			continue;
		memset(r, 0, sizeof(*r));
		snprintf(r->name, sizeof(r->name), "%s", col[0]);
		r->malformed = strcmp(col[6], "malformed") == 0;
		snprintf(r->broken, sizeof(r->broken), "%s", col[2]);
		snprintf(r->target[v6], sizeof(r->target[v6]), "%s", col[4]);
		if (!r->malformed && !add_tree(r, v6, col[2]))
			die("%s: %s: cannot be taken", config.conformance, col[0]);
		set_count++;
	}
	fclose(f);
}

void policy_open(void)
{
	sets = calloc(SETS_MAX, sizeof(*sets));
	if (!sets)
		die("no memory");
	add_own_sets();
	if (config.conformance)
		add_conformance();
}

unsigned int policy_count(void)
{
	return set_count;
}

const char *policy_name(unsigned int i)
{
	return sets[i < set_count ? i : current].name;
}

/* --- ringfenced ------------------------------------------------------------------- */

static void write_source(FILE *f, const struct ruleset *r, int client, int v6, unsigned int round)
{
	const char *ip = v6 ? ip6_text[client] : ip4_text[client];
	char tree[512], *save = NULL;

	if (client == 3) {
		fprintf(f, "/qubes-firewall/%s/policy = accept\n", ip);
		fprintf(f, "/qubes-firewall/%s = \n", ip);
		return;
	}
	if (r->malformed && (r->target[v6][0] != '\0')) {
		snprintf(tree, sizeof(tree), "%s", r->broken);
		for (char *p = strtok_r(tree, "|", &save); p; p = strtok_r(NULL, "|", &save)) {
			char *eq = strchr(p, '=');

			fprintf(f, "/qubes-firewall/%s/%.*s = %s\n", ip, (int)(eq - p), p, eq + 1);
		}
	} else {
		fprintf(f, "/qubes-firewall/%s/policy = %s\n", ip, r->accept ? "accept" : "drop");
		for (unsigned int i = 0; i < r->n[v6]; i++)
			fprintf(f, "/qubes-firewall/%s/%s = %s\n", ip, r->keys[v6][i],
				r->rules[v6][i]);
	}
	/* matches nothing that is sent, but makes each commit one that is counted */
	if (v6)
		fprintf(f, "/qubes-firewall/%s/20000 = action=drop dst6=2001:db8:ffff::%x\n", ip,
			round);
	else
		fprintf(f, "/qubes-firewall/%s/20000 = action=drop dst4=203.0.113.%u\n", ip,
			round & 0xff);
	fprintf(f, "/qubes-firewall/%s = \n", ip);
}

FILE *policy_begin(void)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof(path), "%s.new", config.db);
	f = fopen(path, "w");
	if (!f)
		die("%s: cannot be written", path);
	fprintf(f, "/qubes-ip = %s\n/qubes-gateway = %s\n", ip4_text[0], GATEWAY4);
	fprintf(f, "/qubes-mac = 00:16:3e:5e:6c:00\n/qubes-netmask = 255.255.255.255\n");
	fprintf(f, "/qubes-primary-dns = %s\n/qubes-secondary-dns = %s\n",
		config.dns ? DNS_REAL : DNS_VIRTUAL, config.dns ? DNS_REAL2 : DNS_VIRTUAL2);
	fprintf(f, "/qubes-netvm-gateway = %s\n/qubes-netvm-primary-dns = %s\n", ip4_text[0],
		DNS_VIRTUAL);
	fprintf(f, "/qubes-netvm-secondary-dns = %s\n/connected-ips = %s %s %s %s\n", DNS_VIRTUAL2,
		ip4_text[1], ip4_text[2], ip4_text[3], STOPPED4);
	if (config.ipv6)
		fprintf(f,
			"/qubes-ip6 = %s\n/qubes-gateway6 = %s\n/qubes-netvm-gateway6 = %s\n"
			"/connected-ips6 = %s %s %s\n",
			ip6_text[0], GATEWAY6, ip6_text[0], ip6_text[1], ip6_text[2], STOPPED6);
	return f;
}

void policy_commit(FILE *f)
{
	char path[300];

	snprintf(path, sizeof(path), "%s.new", config.db);
	if (fclose(f) != 0 || rename(path, config.db) != 0)
		die("%s: cannot be replaced", config.db);
}

static void write_db(const struct ruleset *r, unsigned int round)
{
	FILE *f = policy_begin();

	for (int client = 1; client < PORTS; client++)
		for (int v6 = 0; v6 <= (config.ipv6 && client < 3 ? 1 : 0); v6++)
			write_source(f, r, client, v6, round);
	policy_commit(f);
}

unsigned long long policy_handled(const char *ip)
{
	static const char key[] = "/qubes-firewall-handled/";
	char line[3200], path[300];
	unsigned long long n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s.out", config.db);
	f = fopen(path, "r");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, key, sizeof(key) - 1) == 0 &&
		    strncmp(line + sizeof(key) - 1, ip, strlen(ip)) == 0 &&
		    line[sizeof(key) - 1 + strlen(ip)] == ' ')
			n = strtoull(line + sizeof(key) + strlen(ip) + 2, NULL, 10);
	fclose(f);
	return n;
}

/* Every source is committed in each round: the one that is last counts. */
static unsigned long long handled(void)
{
	unsigned long long least = ULLONG_MAX, n;

	for (int client = 1; client < 3; client++)
		for (int v6 = 0; v6 <= (config.ipv6 ? 1 : 0); v6++) {
			n = policy_handled(v6 ? ip6_text[client] : ip4_text[client]);
			if (n < least)
				least = n;
		}
	return least;
}

void policy_apply(unsigned int i)
{
	static unsigned int round;
	time_t end = time(NULL) + HANDLED_S;

	current = i;
	handled_before = handled();
	write_db(&sets[i], ++round);
	nft_apply(&sets[i]);
	while (handled() <= handled_before) {
		if (time(NULL) > end)
			die("ringfenced does not take rule set %s", sets[i].name);
		usleep(1000);
	}
}

bool policy_target(struct rng *r, uint8_t family, char *addr, size_t room, uint16_t *port,
		   uint8_t *proto)
{
	const struct ruleset *s = &sets[current];
	int v6 = family == 6;
	char text[64], *p = text, *word;

	if (s->target[v6][0] == '\0' || rng_one_in(r, 4)) {
		snprintf(addr, room, "%s", targets[v6][rng_below(r, 8)]);
		*port = ports[rng_below(r, sizeof(ports) / sizeof(ports[0]))];
		return false;
	}
	snprintf(text, sizeof(text), "%s", s->target[v6]);
	word = strsep(&p, " ");
	*proto = strcmp(word, "tcp") == 0    ? P_TCP
		 : strcmp(word, "udp") == 0  ? P_UDP
		 : strcmp(word, "icmp") == 0 ? (v6 ? P_ICMP6 : P_ICMP)
					     : (uint8_t)strtoul(word, NULL, 10);
	snprintf(addr, room, "%s", strsep(&p, " "));
	*port = p ? (uint16_t)strtoul(p, NULL, 10) : 0;
	return true;
}
