/* SPDX-License-Identifier: GPL-2.0-or-later */
/* firewall/name_export.c: /dns/SOURCE/NAME, in the stock firewall's format. */
#include "firewall/name_export.h"

#include "firewall/log.h"
#include "rules/names.h"
#include "tests/unit/check.h"

#include <stdlib.h>
#include <unistd.h>

static void expect(uint8_t family, const char *addrs, const char *want)
{
	struct addr list[NAME_SET_MAX];
	char text[NAME_EXPORT_TEXT_MAX];
	size_t n = 0;

	while (*addrs != '\0') {
		size_t len = strcspn(addrs, " ");

		CHECK_INT(addr_parse(addrs, len, &list[n++]), 0);
		addrs += len + (addrs[len] == ' ');
	}
	CHECK_INT(name_export_text(text, family, list, n), strlen(want));
	CHECK_STR(text, want);
}

static void test_text(void)
{
	struct addr list[NAME_SET_MAX];
	char text[NAME_EXPORT_TEXT_MAX];
	size_t len;

	test_case("stock_format");
	expect(4, "1.2.3.4", "{'1.2.3.4/32'}");
	expect(4, "5.6.7.8 1.2.3.4", "{'1.2.3.4/32', '5.6.7.8/32'}");
	expect(4, "10.0.0.1 9.0.0.1 9.0.0.1", "{'9.0.0.1/32', '10.0.0.1/32'}");
	expect(6, "2001:db8::1 1.2.3.4", "{'2001:db8::1/128'}");
	expect(4, "", "set()");
	expect(4, "::1", "set()");

	test_case("the_longest_set_fits_a_value");
	for (int i = 0; i < NAME_SET_MAX; i++) {
		list[i] = (struct addr){.family = 6};
		memset(list[i].bytes, 0xfe, 16);
		list[i].bytes[15] = (uint8_t)(0x80 + i);
	}
	len = name_export_text(text, 6, list, NAME_SET_MAX);
	CHECK(len <= QUBESDB_VALUE_MAX && len == strlen(text));
	CHECK(strstr(text, ":febf/128'}") != NULL);
}

/* --- in QubesDB ---------------------------------------------------------------------- */

static void ignore_commit(void *arg, const char *src, const struct qubesdb_pair *p, size_t n)
{
	(void)arg, (void)src, (void)p, (void)n;
}

static void ignore_text(void *arg, const char *text)
{
	(void)arg, (void)text;
}

static void ignore_log(void *arg, int level, const char *text)
{
	(void)arg, (void)level, (void)text;
}

static void ignore_synced(void *arg)
{
	(void)arg;
}

static struct qubesdb *db;
static struct name_export x;

static enum name_state lookup(void *arg, const struct addr *source, const char *name,
			      const struct addr **addrs, size_t *count)
{
	(void)source;
	return names_lookup(arg, name, addrs, count);
}

static void export_rules(const char *source, const char *const *names, size_t n)
{
	struct rule_pair pairs[8] = {{"policy", "drop", 4}};
	char keys[8][24], values[8][300];
	struct ruleset *rs = NULL;
	struct addr addr;

	CHECK_INT(addr_parse(source, strlen(source), &addr), 0);
	for (size_t i = 0; i < n; i++) {
		snprintf(keys[i], sizeof(keys[i]), "%04zu", i);
		snprintf(values[i], sizeof(values[i]), "action=accept dsthost=%s", names[i]);
		pairs[i + 1] = (struct rule_pair){keys[i], values[i], strlen(values[i])};
	}
	CHECK_INT(ruleset_parse(&rs, addr.family, pairs, n + 1, NULL), 0);
	CHECK_INT(name_export_source(&x, &addr, rs), 0);
	ruleset_free(&rs);
}

static const char *entry(const char *path)
{
	const char *value = qubesdb_read(db, path, NULL);

	return value != NULL ? value : "none";
}

static void test_db(void)
{
	static const struct qubesdb_events ev = {ignore_synced, ignore_commit, ignore_text,
						 ignore_text, ignore_text, ignore_log};
	static const char old[] = "/dns/10.137.0.5/old.test = {'9.9.9.9/32'}\n"
				  "/dns/10.137.0.50/old.test = {'9.9.9.9/32'}\n";
	const char *const ab[] = {"a.test", "b.test", "no.test"}, *const b[] = {"b.test"};
	const char *longest[1], *longer[1];
	char path[] = "/tmp/rf-export-XXXXXX", spec[64], out[64], err[128], full[80];
	char name47[64], name48[64], text[128];
	struct names *names = NULL;
	struct addr addr;
	int fd = mkstemp(path);

	test_case("entries_follow_the_rules");
	snprintf(spec, sizeof(spec), "file:%s", path);
	snprintf(out, sizeof(out), "%s.out", path);
	CHECK_INT(write(fd, old, sizeof(old) - 1), sizeof(old) - 1);
	CHECK_INT(qubesdb_new(&db, spec, &ev, NULL, err, sizeof(err)), 0);
	qubesdb_process(db, 1);
	CHECK_INT(names_new(&names), 0);
	CHECK_INT(names_add(names, "a.test=1.2.3.4,2001:db8::1"), 0);
	CHECK_INT(names_add(names, "b.test=5.6.7.8"), 0);
	x = (struct name_export){.db = db, .lookup = lookup, .arg = names};
	export_rules("10.137.0.5", ab, 3);
	CHECK_STR(entry("/dns/10.137.0.5/a.test"), "{'1.2.3.4/32'}");
	CHECK_STR(entry("/dns/10.137.0.5/b.test"), "{'5.6.7.8/32'}");
	CHECK_STR(entry("/dns/10.137.0.5/no.test"), "none"); /* it does not resolve */
	CHECK_STR(entry("/dns/10.137.0.5/old.test"), "none");
	CHECK_STR(entry("/dns/10.137.0.50/old.test"), "{'9.9.9.9/32'}"); /* another source */
	export_rules("10.137.0.5", b, 1);
	CHECK_STR(entry("/dns/10.137.0.5/a.test"), "none");
	CHECK_STR(entry("/dns/10.137.0.5/b.test"), "{'5.6.7.8/32'}");
	export_rules("fd09:24ef:4179::a89:5", ab, 2);
	CHECK_STR(entry("/dns/fd09:24ef:4179::a89:5/a.test"), "{'2001:db8::1/128'}");
	CHECK_STR(entry("/dns/fd09:24ef:4179::a89:5/b.test"), "set()");
	CHECK_INT(addr_parse("10.137.0.5", 10, &addr), 0);
	CHECK_INT(name_export_source(&x, &addr, NULL), 0);
	CHECK_STR(entry("/dns/10.137.0.5/b.test"), "none");

	test_case("path_of_63_characters_and_of_64");
	memset(name47, 'a', sizeof(name47));
	memset(name48, 'b', sizeof(name48));
	name47[47] = name48[48] = '\0'; /* "/dns/10.137.0.5/" has 16 */
	longest[0] = name47;
	longer[0] = name48;
	snprintf(text, sizeof(text), "%s=1.2.3.4", name47);
	CHECK_INT(names_add(names, text), 0);
	snprintf(text, sizeof(text), "%s=1.2.3.4", name48);
	CHECK_INT(names_add(names, text), 0);
	export_rules("10.137.0.5", longest, 1);
	snprintf(full, sizeof(full), "/dns/10.137.0.5/%s", name47);
	CHECK_INT(strlen(full), QUBESDB_PATH_MAX);
	CHECK_STR(entry(full), "{'1.2.3.4/32'}");
	CHECK(!x.too_long_logged);
	export_rules("10.137.0.5", longer, 1);
	CHECK(x.too_long_logged);
	CHECK_STR(entry(full), "none");

	names_free(&names);
	qubesdb_free(&db);
	close(fd);
	unlink(path);
	unlink(out);
}

int main(void)
{
	log_set_level(LOG_LEVEL_ERROR);
	test_text();
	test_db();
	return test_end();
}
