// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Rule sets for the kernel: the chains that the stock agent makes of them. The
 * translation is its own, written after what the stock agent does, and knows
 * nothing of ringfence's parser.
 */
#include "tests/net/diff/ruleset.h"

#include <stdio.h>

const char *const names_text = "example.com=93.184.216.34,93.184.216.35,"
			       "2606:2800:220:1::1;v4only.test=192.0.2.7";

/* "dst4=", "dst6=", "dsthost=": the nft match; false: it can match nothing */
static bool nft_destination(const char *word, int v6, bool accept, char *out, size_t room)
{
	const char *ip = v6 ? "ip6" : "ip";
	char addrs[256] = "", names[256], *save = NULL;

	if (strncmp(word, "dst4=", 5) == 0 || strncmp(word, "dst6=", 5) == 0) {
		snprintf(out, room, "%s daddr %s ", ip, word + 5);
		return true;
	}
	snprintf(names, sizeof(names), "%s", names_text);
	for (char *p = strtok_r(names, ";", &save); p; p = strtok_r(NULL, ";", &save)) {
		char *eq = strchr(p, '='), *inner = NULL;

		*eq++ = '\0';
		if (strcmp(p, word + 8) != 0)
			continue;
		for (char *a = strtok_r(eq, ",", &inner); a; a = strtok_r(NULL, ",", &inner))
			if ((strchr(a, ':') != NULL) == (v6 != 0)) {
				size_t n = strlen(addrs);

				snprintf(addrs + n, sizeof(addrs) - n, "%s%s", n ? ", " : "", a);
			}
		snprintf(out, room, "%s daddr { %s } ", ip, addrs);
		return addrs[0] != '\0'; /* resolved, to none of this family */
	}
	/* unresolved: an accept matches nothing, a drop every destination */
	out[0] = '\0';
	return !accept;
}

struct parsed {
	char dst[300], proto[8], ports[24], type[8];
	bool accept, dns, nothing;
};

static void parse_rule(const char *rule, int v6, struct parsed *p)
{
	char text[160], *save = NULL;

	memset(p, 0, sizeof(*p));
	p->accept = strstr(rule, "action=accept") != NULL;
	snprintf(text, sizeof(text), "%s", rule);
	for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		if (strncmp(w, "dst4=", 5) == 0 || strncmp(w, "dst6=", 5) == 0 ||
		    strncmp(w, "dsthost=", 8) == 0)
			p->nothing |= !nft_destination(w, v6, p->accept, p->dst, sizeof(p->dst));
		else if (strncmp(w, "proto=", 6) == 0)
			snprintf(p->proto, sizeof(p->proto), "%s", w + 6);
		else if (strncmp(w, "dstports=", 9) == 0)
			snprintf(p->ports, sizeof(p->ports), "%s", w + 9);
		else if (strncmp(w, "icmptype=", 9) == 0)
			snprintf(p->type, sizeof(p->type), "%s", w + 9);
		else if (strcmp(w, "specialtarget=dns") == 0)
			p->dns = true;
	}
}

static void nft_rule(FILE *f, const char *chain, const char *rule, int v6)
{
	static const char *const both[] = {"tcp", "udp"};
	const char *family = v6 ? "ip6" : "ip", *icmp = v6 ? "icmpv6" : "icmp";
	char verdict[64];
	struct parsed p;

	parse_rule(rule, v6, &p);
	if (p.nothing)
		return;
	snprintf(verdict, sizeof(verdict), "%s",
		 p.accept ? "accept"
		 : v6	  ? "reject with icmpv6 type admin-prohibited"
			  : "reject with icmp type admin-prohibited");
	if (p.dns && p.ports[0] && strcmp(p.ports, "53-53") != 0 && strcmp(p.ports, "53") != 0)
		return;
	if (p.dns || (p.ports[0] && !p.proto[0])) {
		for (int i = 0; i < 2; i++)
			if (!p.proto[0] || strcmp(p.proto, both[i]) == 0)
				fprintf(f, "add rule %s qubes-firewall %s %s%s%s %s dport %s %s\n",
					family, chain, p.dst, p.dns ? family : "",
					p.dns ? " daddr @dns-addr" : "", both[i],
					p.dns ? "53" : p.ports, verdict);
		return;
	}
	fprintf(f, "add rule %s qubes-firewall %s %s", family, chain, p.dst);
	if (p.type[0])
		fprintf(f, "%s type %s ", icmp, p.type);
	else if (p.ports[0])
		fprintf(f, "%s dport %s ", p.proto, p.ports);
	else if (p.proto[0])
		fprintf(f, "meta l4proto %s ",
			strcmp(p.proto, "icmp") ? p.proto
			: v6			? "ipv6-icmp"
						: "icmp");
	fprintf(f, "%s\n", verdict);
}

static void nft_chain(FILE *f, const struct ruleset *r, int client, int v6)
{
	const char *family = v6 ? "ip6" : "ip";
	char chain[64];

	snprintf(chain, sizeof(chain), "qbs-%s", v6 ? ip6_text[client] : ip4_text[client]);
	for (char *p = chain; *p; p++)
		if (*p == '.' || *p == ':')
			*p = '-';
	fprintf(f, "flush chain %s qubes-firewall %s\n", family, chain);
	if (client == 3) {
		fprintf(f, "add rule %s qubes-firewall %s accept\n", family, chain);
		return;
	}
	if (!r->malformed || !r->target[v6][0])
		for (unsigned int i = 0; i < r->n[v6]; i++)
			nft_rule(f, chain, r->rules[v6][i], v6);
	if (r->accept && !(r->malformed && r->target[v6][0]))
		fprintf(f, "add rule %s qubes-firewall %s accept\n", family, chain);
	else
		nft_rule(f, chain, "action=drop", v6);
}

/* dnat-dns of the base rules, and the agent's set: what the servers are after it */
static void nft_dns(FILE *f)
{
	static const char *const map[2][2] = {{DNS_VIRTUAL, DNS_REAL}, {DNS_VIRTUAL2, DNS_REAL2}};
	static const char *const protos[] = {"udp", "tcp"};

	fprintf(f, "flush set ip qubes-firewall dns-addr\nflush chain ip qubes dnat-dns\n");
	for (int i = 0; i < 2; i++) {
		fprintf(f, "add element ip qubes-firewall dns-addr { %s }\n", map[i][config.dns]);
		for (int p = 0; p < 2 && config.dns; p++)
			fprintf(f,
				"add rule ip qubes dnat-dns ip daddr %s %s dport 53 dnat to %s\n",
				map[i][0], protos[p], map[i][1]);
	}
}

void nft_apply(const struct ruleset *r)
{
	FILE *f = popen("nft -f -", "w");

	if (!f)
		die("nft cannot be started");
	nft_dns(f);
	for (int client = 1; client < PORTS; client++)
		for (int v6 = 0; v6 <= (client < 3 ? 1 : 0); v6++)
			nft_chain(f, r, client, v6);
	if (pclose(f) != 0)
		die("nft refuses rule set %s", r->name);
}
