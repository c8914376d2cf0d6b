/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which rule decides on the first packet of a flow, and what it says: asked of the
 * running daemon, or found out from a database by the same parser, compiler and
 * matcher.
 */
#include "firewall/dns_servers.h"
#include "firewall/explain.h"
#include "firewall/tool.h"
#include "rules/names.h"

#include <stdio.h>
#include <string.h>

struct request {
	const char *db, *control;
	struct names *names;
	bool resolve; /* --resolve was given */
	struct question question;
};

/* The policy the daemon would have for the source; NULL for none. */
static int make_policy(struct explain *x, const struct tool_source *s, struct ruleset **rs,
		       struct policy **out, struct rule_error *err)
{
	int ret;

	if (s == NULL)
		return 0;
	ret = ruleset_parse(rs, s->addr.family, s->pairs, s->pair_count, err);
	if (ret == 0) {
		x->rules = *rs;
		return policy_compile(out, *rs, x->env);
	}
	if (err->text[0] == '\0')
		return ret;
	x->err = err;
	return policy_malformed(out);
}

static int answer(struct explain x, const struct tool_source *s)
{
	struct rule_packet pkt = question_packet(x.question);
	struct rule_error err = {"", ""};
	struct ruleset *rs = NULL;
	struct policy *p = NULL;
	json_t *j;
	int code = TOOL_USAGE;

	if (make_policy(&x, s, &rs, &p, &err) != 0) {
		tool_error("explain: out of memory");
	} else {
		x.policy = p;
		x.verdict = policy_match(p, &pkt, &x.rule);
		j = explain_json(&x);
		(void)json_dumpf(j, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(j);
		code = tool_flush(TOOL_OK);
	}
	policy_free(&p);
	ruleset_free(&rs);
	return code;
}

static int explain_db(const struct request *r)
{
	struct addr dns[DNS_SERVERS_MAX];
	struct policy_env env = {.dns = dns, .lookup = names_lookup, .lookup_arg = r->names};
	struct explain x = {.question = &r->question, .env = &env};
	const struct tool_source *s;
	struct tool_db db;
	int code;

	if (tool_db_open(&db, r->db) != 0)
		return TOOL_USAGE;
	env.dns_count = dns_servers(db.db, dns);
	s = tool_db_source(&db, &r->question.src);
	x.source = s != NULL ? s->text : NULL;
	code = answer(x, s);
	tool_db_close(&db);
	return code;
}

/* Return: 0, 'h' for help, '?' after a message. */
static int read_options(struct request *r, int argc, char **argv)
{
	static const struct option options[] = {
	    {"db", required_argument, NULL, 'd'},      {"resolve", required_argument, NULL, 'r'},
	    {"control", required_argument, NULL, 'c'}, {"trace", no_argument, NULL, 't'},
	    {"help", no_argument, NULL, 'h'},	       {NULL, 0, NULL, 0},
	};
	int opt;

	while ((opt = tool_option(argc, argv, options)) != -1) {
		switch (opt) {
		case 'd': r->db = optarg; break;
		case 'c': r->control = optarg; break;
		case 't': r->question.trace = true; break;
		case 'r':
			r->resolve = true;
			if (names_add(r->names, optarg) == 0)
				break;
			tool_error("explain: --resolve: \"%s\" is not NAME=ADDR,...", optarg);
			return '?';
		default: return opt;
		}
	}
	if (r->db != NULL && r->control != NULL) {
		tool_error("explain: --db and --control: one of them");
		return '?';
	}
	if (r->db == NULL && r->resolve) {
		tool_error("explain: --resolve needs --db: the daemon resolves by itself");
		return '?';
	}
	return 0;
}

static int explain(struct request *r, size_t count, char **words)
{
	char err[QUESTION_ERROR_MAX], line[QUESTION_LINE_MAX];

	if (question_read(&r->question, count, words, err) != 0) {
		tool_error("explain: %s", err);
		return TOOL_USAGE;
	}
	if (r->db != NULL)
		return explain_db(r);
	return tool_ask("explain", r->control != NULL ? r->control : TOOL_CONTROL_PATH,
			question_line(&r->question, line));
}

int tool_explain(int argc, char **argv)
{
	struct request r = {.db = NULL};
	int code = TOOL_USAGE, opt;

	if (names_new(&r.names) != 0) {
		tool_error("explain: out of memory");
		return TOOL_USAGE;
	}
	opt = read_options(&r, argc, argv);
	if (opt == 'h')
		code = tool_help();
	else if (opt == 0)
		code = explain(&r, (size_t)(argc - optind), argv + optind);
	names_free(&r.names);
	return code;
}
