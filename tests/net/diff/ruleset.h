/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A rule set, between policy.c and nft.c. */
#ifndef TESTS_NET_DIFF_RULESET_H
#define TESTS_NET_DIFF_RULESET_H

#include "tests/net/diff/diff.h"

#include <stdio.h>

#define RULES_MAX 16

struct ruleset {
	char name[48];
	bool malformed, accept;	       /* accept: the policy */
	char rules[2][RULES_MAX][160]; /* [0]: IPv4, [1]: IPv6 */
	char keys[2][RULES_MAX][16];
	unsigned int n[2];
	char target[2][64]; /* from the conformance case: "tcp 1.2.3.4 443" */
	char broken[512];   /* a malformed tree, as it is */
};

/* Names that resolve, to what; as ringfenced's --resolve has it. */
extern const char *const names_text;

/* policy.c: the file of QubesDB: begun with every key but the rules, put in force */
FILE *policy_begin(void);
void policy_commit(FILE *f);
/* the number of commits of one source that are in force */
unsigned long long policy_handled(const char *ip);

/* nft.c: the chains of the stock agent for this set */
void nft_apply(const struct ruleset *r);

#endif
