/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which rule decides on the first packet of a flow, and what it says: by the
 * same parser, compiler and matcher as the daemon's.
 */
#include "firewall/dns_servers.h"
#include "firewall/tool.h"
#include "rules/names.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define IP_ICMP	  1
#define IP_TCP	  6
#define IP_UDP	  17
#define IP_ICMPV6 58

/* The number that follows DST, by protocol. */
enum number_kind { NUMBER_NONE, NUMBER_PORT, NUMBER_TYPE };

struct question {
	const char *file;
	struct names *names;
	struct addr src, dst;
	struct rule_packet pkt;
	enum number_kind kind;
	char proto[8]; /* as JSON names it */
};

/* Strict decimal; -1 for anything else. */
static long number(const char *text, long max)
{
	size_t len = strlen(text);
	long value = 0;

	if (len == 0 || len > 5 || strspn(text, "0123456789") != len || (len > 1 && text[0] == '0'))
		return -1;
	for (; *text != '\0'; text++)
		value = value * 10 + (*text - '0');
	return value <= max ? value : -1;
}

static int read_proto(struct question *q, const char *text)
{
	uint8_t icmp = q->src.family == 4 ? IP_ICMP : IP_ICMPV6;
	long proto;

	if (strcmp(text, "tcp") == 0)
		proto = IP_TCP;
	else if (strcmp(text, "udp") == 0)
		proto = IP_UDP;
	else if (strcmp(text, "icmp") == 0)
		proto = icmp;
	else
		proto = number(text, 255);
	if (proto < 0) {
		tool_error("explain: \"%s\" is not tcp, udp, icmp or a protocol number", text);
		return -1;
	}
	q->pkt.proto = (uint8_t)proto;
	q->kind = proto == IP_TCP || proto == IP_UDP ? NUMBER_PORT
		  : proto == icmp		     ? NUMBER_TYPE
						     : NUMBER_NONE;
	snprintf(q->proto, sizeof(q->proto), "%u", q->pkt.proto);
	if (q->kind != NUMBER_NONE)
		snprintf(q->proto, sizeof(q->proto), "%s",
			 proto == IP_TCP   ? "tcp"
			 : proto == IP_UDP ? "udp"
					   : "icmp");
	return 0;
}

static int read_number(struct question *q, const char *text)
{
	const char *what = q->kind == NUMBER_PORT ? "port" : "ICMP type";
	long max = q->kind == NUMBER_PORT ? 65535 : 255, value;

	if (q->kind == NUMBER_NONE) {
		if (text == NULL)
			return 0;
		tool_error("explain: protocol %s has no port or type: \"%s\"", q->proto, text);
		return -1;
	}
	if (text == NULL) {
		tool_error("explain: %s needs a%s %s", q->proto, q->kind == NUMBER_TYPE ? "n" : "",
			   what);
		return -1;
	}
	value = number(text, max);
	if (value < 0) {
		tool_error("explain: \"%s\" is not a%s %s of 0 to %ld", text,
			   q->kind == NUMBER_TYPE ? "n" : "", what, max);
		return -1;
	}
	if (q->kind == NUMBER_PORT)
		q->pkt.dport = (uint16_t)value;
	else
		q->pkt.icmp_type = (uint8_t)value;
	return 0;
}

static int read_address(const char *what, const char *text, struct addr *out)
{
	if (addr_parse(text, strlen(text), out) == 0)
		return 0;
	tool_error("explain: %s: \"%s\" is not an address", what, text);
	return -1;
}

static int read_packet(struct question *q, int argc, char **argv)
{
	if (argc < 3 || argc > 4) {
		tool_error("explain: needs SRC PROTO DST [PORT|TYPE]; see ringfence --help");
		return -1;
	}
	if (read_address("SRC", argv[0], &q->src) != 0 ||
	    read_address("DST", argv[2], &q->dst) != 0 || read_proto(q, argv[1]) != 0)
		return -1;
	if (q->src.family != q->dst.family) {
		tool_error("explain: SRC %s is IPv%u, DST %s is IPv%u", argv[0], q->src.family,
			   argv[2], q->dst.family);
		return -1;
	}
	q->pkt.dst = q->dst.bytes;
	return read_number(q, argc == 4 ? argv[3] : NULL);
}

/* --- the answer --------------------------------------------------------------- */

static json_t *json_address(const struct addr *addr)
{
	char buf[ADDR_STRLEN];

	return json_string(addr_format(addr, buf));
}

static json_t *json_packet(const struct question *q)
{
	json_t *packet = json_object();

	json_object_set_new(packet, "proto", json_string(q->proto));
	json_object_set_new(packet, "dst", json_address(&q->dst));
	if (q->kind == NUMBER_PORT)
		json_object_set_new(packet, "port", json_integer(q->pkt.dport));
	if (q->kind == NUMBER_TYPE)
		json_object_set_new(packet, "type", json_integer(q->pkt.icmp_type));
	return packet;
}

struct unresolved {
	struct names *names;
	json_t *list;
};

static void add_unresolved(void *arg, const char *name)
{
	struct unresolved *u = arg;
	const struct addr *addrs;
	size_t count;

	if (names_lookup(u->names, name, &addrs, &count) == NAME_UNRESOLVED)
		json_array_append_new(u->list, json_string(name));
}

/* The value of the key that decided, as dom0 wrote it. */
static void add_text(json_t *answer, const struct tool_source *s, const char *key)
{
	for (size_t i = 0; s != NULL && i < s->pair_count; i++)
		if (strcmp(s->pairs[i].key, key) == 0)
			json_object_set_new(answer, "text",
					    json_stringn(s->pairs[i].value, s->pairs[i].value_len));
}

static void add_error(json_t *answer, const struct tool_source *s, const struct rule_error *err)
{
	json_object_set_new(answer, "error",
			    json_pack("{s:o, s:s}", "path",
				      json_sprintf("/qubes-firewall/%s/%s", s->text, err->key),
				      "problem", err->text));
}

/* The policy the daemon would have for the source; NULL for none. */
static int make_policy(const struct question *q, const struct tool_db *db,
		       const struct tool_source *s, struct policy **out, json_t *answer)
{
	struct addr dns[DNS_SERVERS_MAX];
	struct policy_env env = {.dns = dns,
				 .dns_count = dns_servers(db->db, dns),
				 .lookup = names_lookup,
				 .lookup_arg = q->names};
	struct unresolved u = {q->names, json_array()};
	struct ruleset *rs = NULL;
	struct rule_error err = {"", ""};
	int ret = 0;

	*out = NULL;
	if (s != NULL)
		ret = ruleset_parse(&rs, s->addr.family, s->pairs, s->pair_count, &err);
	if (ret != 0 && err.text[0] != '\0') {
		add_error(answer, s, &err);
		ret = policy_malformed(out);
	} else if (rs != NULL) {
		ret = policy_compile(out, rs, &env);
		ruleset_names(rs, add_unresolved, &u);
	}
	if (json_array_size(u.list) > 0)
		json_object_set(answer, "unresolved", u.list);
	json_decref(u.list);
	ruleset_free(&rs);
	return ret;
}

static int explain(const struct question *q)
{
	const struct tool_source *s;
	struct policy *p = NULL;
	struct tool_db db;
	json_t *answer, *details;
	enum rule_verdict verdict;
	char key[RULE_KEY_MAX];
	uint32_t index;
	int code = TOOL_OK;

	if (tool_db_open(&db, q->file) != 0)
		return TOOL_USAGE;
	s = tool_db_source(&db, &q->src);
	details = json_object();
	if (make_policy(q, &db, s, &p, details) != 0) {
		tool_error("explain: out of memory");
		code = TOOL_USAGE;
	} else {
		verdict = policy_match(p, &q->pkt, &index);
		policy_key(p, index, key);
		answer = json_object();
		json_object_set_new(answer, "verdict", json_string(rule_verdict_name(verdict)));
		json_object_set_new(answer, "rule", json_string(key));
		if (index < RULE_INDEX_NONE || index == RULE_INDEX_POLICY)
			add_text(answer, s, key);
		json_object_set_new(answer, "source", json_address(&q->src));
		json_object_set_new(answer, "packet", json_packet(q));
		json_object_update(answer, details);
		(void)json_dumpf(answer, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(answer);
		code = tool_flush(TOOL_OK);
	}
	json_decref(details);
	policy_free(&p);
	tool_db_close(&db);
	return code;
}

static int read_options(struct question *q, int argc, char **argv)
{
	static const struct option options[] = {
	    {"db", required_argument, NULL, 'd'},
	    {"resolve", required_argument, NULL, 'r'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	int opt;

	while ((opt = tool_option(argc, argv, options)) != -1) {
		if (opt == 'd') {
			q->file = optarg;
		} else if (opt == 'r') {
			if (names_add(q->names, optarg) == 0)
				continue;
			tool_error("explain: --resolve: \"%s\" is not NAME=ADDR,...", optarg);
			return '?';
		} else {
			return opt;
		}
	}
	if (q->file == NULL) {
		tool_error("explain: needs --db FILE");
		return '?';
	}
	return 0;
}

int tool_explain(int argc, char **argv)
{
	struct question q = {.file = NULL};
	int code = TOOL_USAGE, opt;

	if (names_new(&q.names) != 0) {
		tool_error("explain: out of memory");
		return TOOL_USAGE;
	}
	opt = read_options(&q, argc, argv);
	if (opt == 'h')
		code = tool_help();
	else if (opt == 0 && read_packet(&q, argc - optind, argv + optind) == 0)
		code = explain(&q);
	names_free(&q.names);
	return code;
}
