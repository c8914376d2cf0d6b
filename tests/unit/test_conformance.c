/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The conformance cases: tree, names and packet in, verdict and rule out.
 *
 * Runs tests/unit/conformance.tsv and, when it is there, the shared original
 * that it was copied from. Columns: id, source, tree (KEY=VALUE joined by "|",
 * "-" for none), names (NAME=ADDR,ADDR joined by ";"), packet, verdict, rule.
 */
#include "check.h"
#include "rules/names.h"
#include "rules/rules.h"

#include <errno.h>
#include <stdlib.h>

#define COLUMNS	   7
#define LINE_BYTES 65536
#define PAIR_COUNT 2048

enum column { ID, SOURCE, TREE, NAMES, PACKET, VERDICT, RULE };

/* Cut text at each separator, in place; returns the number of parts. */
static size_t split(char *text, char separator, char **part, size_t max)
{
	size_t n = 0;

	while (n < max) {
		part[n++] = text;
		text = strchr(text, separator);
		if (text == NULL)
			break;
		*text++ = '\0';
	}
	return n;
}

static size_t read_tree(char *tree, struct rule_pair *pairs)
{
	static char *part[PAIR_COUNT];
	size_t n = split(tree, '|', part, PAIR_COUNT);

	for (size_t i = 0; i < n; i++) {
		char *equals = strchr(part[i], '=');

		if (!CHECK(equals != NULL))
			return 0;
		*equals = '\0';
		pairs[i] = (struct rule_pair){part[i], equals + 1, strlen(equals + 1)};
	}
	return n;
}

static void read_names(char *text, struct names *names)
{
	char *part[64];
	size_t n = split(text, ';', part, 64);

	for (size_t i = 0; i < n; i++)
		CHECK(part[i][0] == '\0' || names_add(names, part[i]) == 0);
}

static bool read_packet(char *text, uint8_t family, struct addr *dst, struct rule_packet *pkt)
{
	char *part[3];
	size_t n = split(text, ' ', part, 3);

	if (!CHECK(n >= 2) || !CHECK(addr_parse(part[1], strlen(part[1]), dst) == 0) ||
	    !CHECK(dst->family == family))
		return false;
	*pkt = (struct rule_packet){.dst = dst->bytes};
	if (strcmp(part[0], "tcp") == 0 || strcmp(part[0], "udp") == 0) {
		pkt->proto = part[0][0] == 't' ? 6 : 17;
		pkt->dport = (uint16_t)strtoul(n > 2 ? part[2] : "", NULL, 10);
		return CHECK(n == 3);
	}
	if (strcmp(part[0], "icmp") == 0) {
		pkt->proto = family == 4 ? 1 : 58;
		pkt->icmp_type = (uint8_t)strtoul(n > 2 ? part[2] : "", NULL, 10);
		return CHECK(n == 3);
	}
	pkt->proto = (uint8_t)strtoul(part[0], NULL, 10);
	return CHECK(n == 2 && pkt->proto != 0);
}

static void nothing(void *arg, const struct rule_error *err)
{
	(void)arg;
	(void)err;
}

/* The policy of a tree as the daemon makes it; NULL when there is no tree. */
static struct policy *make_policy(char *tree, uint8_t family, struct names *names)
{
	static struct rule_pair pairs[PAIR_COUNT];
	struct addr dns[2] = {{4, {10, 139, 1, 1}}, {4, {10, 139, 1, 2}}};
	struct policy_env env = {
	    .dns = dns, .dns_count = 2, .lookup = names_lookup, .lookup_arg = names};
	struct ruleset *rs = NULL;
	struct policy *p = NULL;
	size_t n;
	int ret;

	if (strcmp(tree, "-") == 0)
		return NULL;
	n = read_tree(tree, pairs);
	ret = ruleset_parse(&rs, family, pairs, n, NULL);
	CHECK_INT(ret == 0, ruleset_check(family, pairs, n, nothing, NULL) == 0);
	if (ret == 0)
		CHECK(policy_compile(&p, rs, &env) == 0);
	else if (CHECK(ret == -EBADMSG))
		CHECK(policy_malformed(&p) == 0);
	ruleset_free(&rs);
	return p;
}

static void run_case(char **column)
{
	struct names *names = NULL;
	struct policy *p;
	struct addr source, dst;
	struct rule_packet pkt;
	char key[RULE_KEY_MAX];
	uint32_t index;

	test_case(column[ID]);
	if (!CHECK(addr_parse(column[SOURCE], strlen(column[SOURCE]), &source) == 0) ||
	    !read_packet(column[PACKET], source.family, &dst, &pkt))
		return;
	CHECK(names_new(&names) == 0);
	read_names(column[NAMES], names);
	p = make_policy(column[TREE], source.family, names);
	CHECK_STR(rule_verdict_name(policy_match(p, &pkt, &index)), column[VERDICT]);
	CHECK_STR(policy_key(p, index, key), column[RULE]);
	policy_free(&p);
	names_free(&names);
}

/* Return: whether the file is there. */
static bool run_file(const char *path)
{
	static char line[LINE_BYTES];
	FILE *f = fopen(path, "r");
	unsigned int cases = 0;

	if (f == NULL)
		return false;
	while (fgets(line, sizeof(line), f) != NULL) {
		char *column[COLUMNS];

		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '\0' || line[0] == '#')
			continue;
		if (split(line, '\t', column, COLUMNS) != COLUMNS) {
			test_case(line);
			CHECK(!"a line without seven columns");
			continue;
		}
		run_case(column);
		cases++;
	}
	fclose(f);
	printf("%s: %u cases\n", path, cases);
	test_case(path);
	CHECK(cases > 100);
	return true;
}

int main(void)
{
	test_case("the copy is there (run from the top of the tree)");
	CHECK(run_file("tests/unit/conformance.tsv"));
	run_file("../shared/conformance/rules.tsv");
	return test_end();
}
