/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The answer of `ringfence explain`, from whatever holds rules and names: a database
 * file in the tool, or the running daemon.
 */
#ifndef FIREWALL_EXPLAIN_H
#define FIREWALL_EXPLAIN_H

#include "firewall/question.h"

#include <jansson.h>

struct daemon;

/** A verdict, and what it came from. */
struct explain {
	const struct question *question;
	enum rule_verdict verdict;
	uint32_t rule;		       /* index or RULE_INDEX_* */
	const char *source;	       /* as paths spell it; NULL: not in QubesDB */
	const struct policy *policy;   /* in force; NULL: none */
	const struct ruleset *rules;   /* that it was made of; NULL: none, or malformed */
	const struct rule_error *err;  /* for a malformed source */
	const struct policy_env *env;  /* names and DNS servers as they are now */
	bool pending;		       /* which are not yet what the policy was made of */
	/* each address that the source has learned for a name; NULL: none */
	void (*learned)(void *arg, const char *name,
			void (*fn)(void *arg, const struct addr *addr, uint64_t left_ms),
			void *fn_arg);
	void *arg;
};

/** explain_json() - the answer as an object for the caller; NULL without memory */
json_t *explain_json(const struct explain *x);

/**
 * explain_live() - the daemon's answer to a question
 * @text:	what question_parse() takes
 *
 * Return: an object for the caller; NULL without memory.
 */
json_t *explain_live(const struct daemon *d, char *text);

#endif
