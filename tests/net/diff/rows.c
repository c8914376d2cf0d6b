// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The conformance cases as packets: each row's tree is committed, each row's packet
 * is sent, and what comes out is held against the row's verdict.
 *
 *	accept	one packet at the uplink, from our address, to where it was sent
 *	reject	one ICMP error to the client: administratively prohibited, quoting it
 *	drop	nothing
 *
 * An ICMP type that starts no flow (I6) never reaches the rules: such a row is refused
 * by silence. A tree that blocks its source (R10) has to refuse other packets, too, of
 * every protocol and to anywhere.
 *
 * And the running daemon is asked (R8_explain): `ringfence explain` has to give the
 * row's verdict and rule, and say that something else stops the packet just where the
 * packet said so.
 */
#include "tests/net/diff/ruleset.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define COLUMNS	  7
#define HANDLED_S 5

enum group { ACCEPT, REJECT, REJECT_SILENT, MALFORMED, DROP, GROUPS };

static const char *const group_name[GROUPS] = {"accept", "reject", "reject_of_no_flow_I6",
					       "malformed_R10", "no_policy_Q9"};

struct row {
	char *id, *source, *tree, *names, *packet, *verdict, *rule;
	uint8_t family;
};

static unsigned int good[GROUPS], all[GROUPS];
static uint8_t frame[DATAGRAM_ROOM];
static struct outputs out;

/* --- commit -------------------------------------------------------------------------- */

static void write_tree(FILE *f, const struct row *r)
{
	char tree[2048], *save = NULL;

	if (strcmp(r->tree, "-") == 0)
		return;
	if (strlen(r->tree) >= sizeof(tree))
		die("%s: a tree of %zu bytes", r->id, strlen(r->tree));
	memcpy(tree, r->tree, strlen(r->tree) + 1);
	for (char *p = strtok_r(tree, "|", &save); p; p = strtok_r(NULL, "|", &save)) {
		char *eq = strchr(p, '=');

		if (!eq)
			die("%s: not KEY=VALUE: %s", r->id, p);
		fprintf(f, "/qubes-firewall/%s/%.*s = %s\n", r->source, (int)(eq - p), p, eq + 1);
	}
	fprintf(f, "/qubes-firewall/%s = \n", r->source);
}

/*
 * Client 2 gets other rules each time. Its IPv6 address is the last in the order in
 * which commits are told: once it has been handled, so has the row's source, which
 * may have had the same tree before, or have none now.
 */
static void commit(const struct row *r)
{
	static unsigned int round;
	unsigned long long before = policy_handled(ip6_text[2]);
	time_t end = time(NULL) + HANDLED_S;
	FILE *f = policy_begin();

	write_tree(f, r);
	fprintf(f, "/qubes-firewall/%s/policy = drop\n", ip6_text[2]);
	fprintf(f, "/qubes-firewall/%s/0000 = action=drop dst6=2001:db8:ffff::%x\n", ip6_text[2],
		++round);
	fprintf(f, "/qubes-firewall/%s = \n", ip6_text[2]);
	policy_commit(f);
	while (policy_handled(ip6_text[2]) <= before) {
		if (time(NULL) > end)
			die("ringfenced does not take the tree of %s", r->id);
		usleep(500);
	}
}

/* --- packets ------------------------------------------------------------------------- */

static struct pk packet_to(const struct row *r, uint8_t proto, const char *dst, uint16_t number)
{
	static uint16_t fresh = 20000;
	uint16_t own = fresh++;
	struct pk k = {.at = 1,
		       .family = r->family,
		       .proto = proto,
		       .ttl = 64,
		       .window = 8192,
		       .sport = own,
		       .id = own,
		       .dport = number,
		       .len = 16};

	addr_of(k.src, r->family, r->source);
	addr_of(k.dst, r->family, dst);
	if (proto == P_TCP) {
		k.flags = F_SYN;
		k.len = 0;
	} else if (proto == P_ICMP || proto == P_ICMP6) {
		k.type = (uint8_t)number;
		k.dport = 1; /* the sequence number */
	}
	return k;
}

/* "tcp DST PORT", "icmp DST TYPE" or "NUMBER DST" */
static struct pk packet_of(const struct row *r)
{
	char text[96], *p = text, *proto, *dst;
	uint8_t number;

	snprintf(text, sizeof(text), "%s", r->packet);
	proto = strsep(&p, " ");
	dst = strsep(&p, " ");
	if (!dst)
		die("%s: no packet: %s", r->id, r->packet);
	number = strcmp(proto, "tcp") == 0    ? P_TCP
		 : strcmp(proto, "udp") == 0  ? P_UDP
		 : strcmp(proto, "icmp") == 0 ? (r->family == 6 ? P_ICMP6 : P_ICMP)
					      : (uint8_t)strtoul(proto, NULL, 10);
	if (number == 0 || (!p && strcmp(proto, "icmp") == 0))
		die("%s: what protocol is %s", r->id, r->packet);
	return packet_to(r, number, dst, p ? (uint16_t)strtoul(p, NULL, 10) : 0);
}

static struct verdict send_one(const struct pk *k)
{
	uint32_t len = build(frame, k, RINGFENCE, 0);
	struct verdict v;

	error_wait(k->at);
	exchange(RINGFENCE, k->at, frame, len, &out);
	v = verdict_of(k, &out);
	if (v.outcome == O_ERROR)
		error_seen(k->at);
	counts.packets++;
	return v;
}

/* It is at the uplink as it was sent, but for its source. */
static bool is_forwarded(const struct pk *k, struct verdict v)
{
	uint8_t own[16], addr_len = k->family == 4 ? 4 : 16, src_at = k->family == 4 ? 12 : 8;
	const uint8_t *ip = out.f[0].b + ETH, *sent = frame + ETH;
	bool ip_ok, ports = k->proto == P_TCP || k->proto == P_UDP;
	struct layout l;

	if (v.outcome != O_FORWARDED || out.f[0].port != UPLINK)
		return false;
	l = parse(ip, out.f[0].len - ETH);
	addr_of(own, k->family, k->family == 4 ? ip4_text[0] : ip6_text[0]);
	return l.ok && l.family == k->family && l.proto == k->proto && !l.fragment &&
	       memcmp(ip + src_at, own, addr_len) == 0 &&
	       memcmp(ip + src_at + addr_len, k->dst, addr_len) == 0 &&
	       (!ports || get16(ip + l.l4 + 2) == k->dport) &&
	       (k->proto != P_ICMP || ip[l.l4] == sent[20]) &&
	       (k->proto != P_ICMP6 || ip[l.l4] == sent[40]) && sums_right(ip, &l, &ip_ok) && ip_ok;
}

/* 3/13 or 1/1 to the client, from our address, about this packet. */
static bool is_refused(const struct pk *k, struct verdict v)
{
	uint8_t own[16], addr_len = k->family == 4 ? 4 : 16, src_at = k->family == 4 ? 12 : 8;
	const uint8_t *ip = out.f[0].b + ETH, *quoted;
	uint32_t head = k->family == 4 ? 20 : 40;
	bool ip_ok;
	struct layout l;

	if (v.outcome != O_ERROR || v.type != (k->family == 4 ? 3 : 1) ||
	    v.code != (k->family == 4 ? 13 : 1))
		return false;
	l = parse(ip, out.f[0].len - ETH);
	quoted = ip + l.l4 + 8;
	addr_of(own, k->family, k->family == 4 ? ip4_text[0] : ip6_text[0]);
	return l.len >= l.l4 + 8u + head + 8 && memcmp(ip + src_at, own, addr_len) == 0 &&
	       memcmp(ip + src_at + addr_len, k->src, addr_len) == 0 &&
	       memcmp(quoted, frame + ETH, head + 8) == 0 && sums_right(ip, &l, &ip_ok) && ip_ok;
}

/* --- rows ---------------------------------------------------------------------------- */

static enum group group_of(const struct row *r, const struct pk *k)
{
	bool icmp = k->proto == P_ICMP || k->proto == P_ICMP6;

	if (strcmp(r->verdict, "accept") == 0)
		return ACCEPT;
	if (strcmp(r->verdict, "drop") == 0)
		return DROP;
	if (strcmp(r->verdict, "reject") != 0)
		die("%s: what verdict is %s", r->id, r->verdict);
	if (strcmp(r->rule, "malformed") == 0)
		return MALFORMED;
	return icmp && k->type != (k->family == 4 ? 8 : 128) ? REJECT_SILENT : REJECT;
}

static bool fate_is(enum group group, const struct pk *k)
{
	struct verdict v = send_one(k);
	char text[1100];
	bool as_wanted = group == ACCEPT			 ? is_forwarded(k, v)
			 : group == REJECT || group == MALFORMED ? is_refused(k, v)
								 : v.outcome == O_NONE;

	if (as_wanted)
		return true;
	describe(frame, ETH + 60, text, sizeof(text));
	printf("#   sent: %s\n", text);
	for (unsigned int i = 0; i < out.n; i++) {
		describe(out.f[i].b, out.f[i].len, text, sizeof(text));
		printf("#   came out at %u: %s\n", out.f[i].port, text);
	}
	if (out.n == 0)
		printf("#   nothing came out\n");
	return false;
}

/* Whatever it sends, and the row's own packet once more. */
static bool all_refused(const struct row *r, enum group group)
{
	const char *dst = r->family == 4 ? "198.51.100.7" : "2001:db8:5::7";
	uint8_t icmp = r->family == 4 ? P_ICMP : P_ICMP6;
	const struct pk k[] = {packet_to(r, P_TCP, dst, 443), packet_to(r, P_UDP, dst, 53),
			       packet_to(r, icmp, dst, r->family == 4 ? 8 : 128),
			       packet_to(r, 47, dst, 0), packet_of(r)};
	bool ok = true;

	for (size_t i = 0; i < sizeof(k) / sizeof(k[0]); i++)
		ok &= fate_is(group, &k[i]);
	return ok;
}

/* --- the daemon's word ----------------------------------------------------------------- */

/* Whether a string of the answer is this one; NULL: whether it is missing. */
static bool answer_has(const char *answer, const char *name, const char *want)
{
	char text[96];

	snprintf(text, sizeof(text), "\"%s\": \"%s%s", name, want ? want : "", want ? "\"" : "");
	return (strstr(answer, text) != NULL) == (want != NULL);
}

static bool is_explained(const struct row *r, enum group group, uint8_t icmp_type)
{
	bool echo_reply = icmp_type == (r->family == 4 ? 0 : 129);
	const char *stopped = group != REJECT_SILENT ? NULL
			      : echo_reply	     ? "icmp-no-flow"
						     : "icmp-type";
	char command[512], answer[4096];
	size_t n;
	FILE *f;

	snprintf(command, sizeof(command), "%s %s %s 2>&1", config.explain, r->source, r->packet);
	f = popen(command, "r");
	if (!f)
		die("%s: cannot be run", command);
	n = fread(answer, 1, sizeof(answer) - 1, f);
	answer[n] = '\0';
	if (pclose(f) == 0 && answer_has(answer, "verdict", r->verdict) &&
	    answer_has(answer, "rule", r->rule) && answer_has(answer, "stopped", stopped) &&
	    answer_has(answer, "from",
		       group != ACCEPT	  ? NULL
		       : r->family == 4 ? ip4_text[0]
					  : ip6_text[0]))
		return true;
	printf("#   %s\n#   says: %s\n", command, answer);
	return false;
}

static void run_row(const struct row *r)
{
	struct pk k = packet_of(r);
	enum group group = group_of(r, &k);
	bool ok, told;

	commit(r);
	told = is_explained(r, group, k.type);
	ok = fate_is(group, &k);
	if (group == MALFORMED || group == DROP)
		ok &= all_refused(r, group);
	all[group]++;
	good[group] += ok;
	counts.failures += !ok || !told;
	printf("%s - %s\n", told ? "told" : "not told", r->id);
	printf("%s - %s: %s, %s by %s\n", ok ? "ok" : "not ok", r->id, r->packet, r->verdict,
	       r->rule);
}

void rows_run(const char *path)
{
	FILE *f = fopen(path, "r");
	char line[4096], *column[COLUMNS], *p;
	int n;

	if (!f)
		die("%s: cannot be read", path);
	while (fgets(line, sizeof(line), f)) {
		struct row r;

		p = line;
		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '\0' || line[0] == '#')
			continue;
		for (n = 0; n < COLUMNS && (column[n] = strsep(&p, "\t")) != NULL; n++)
			;
		if (n != COLUMNS || p)
			die("%s: a line without seven columns: %s", path, line);
		r = (struct row){column[0], column[1], column[2], column[3],
				 column[4], column[5], column[6], strchr(column[1], ':') ? 6 : 4};
		if (strcmp(r.names, names_text) != 0 ||
		    strcmp(r.source, r.family == 4 ? ip4_text[1] : ip6_text[1]) != 0)
			die("%s: %s: other names or another source than the rig's", path, r.id);
		run_row(&r);
	}
	fclose(f);
	for (int g = 0; g < GROUPS; g++)
		printf("# group %s %u of %u\n", group_name[g], good[g], all[g]);
}
