/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The policy table: what is in force after commits, attachments and removals in
 * every order that dom0 produces (qubesdb.md section 3).
 */
#include "firewall/sources.h"

#include "firewall/log.h"
#include "tests/unit/check.h"
#include "tests/unit/lab.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define A "10.137.0.5"
#define B "10.137.0.50" /* A is a prefix of it: R10, qubesdb.md section 5 item 7 */

static struct lab lab;
static struct engine *e;
static struct sources *s;
static struct policy_env env;
static struct settings settings;

static struct addr ip(const char *text)
{
	struct addr a = {0};

	CHECK(addr_parse(text, strlen(text), &a) == 0);
	return a;
}

static void setup(void)
{
	struct engine_config config = {.flow_max = 1024};

	env = (struct policy_env){0};
	CHECK_INT(engine_new(&e, &config), 0);
	CHECK_INT(sources_new(&s, e, &env, &settings), 0);
}

static void teardown(void)
{
	sources_free(&s);
	engine_free(&e);
}

static void commit(struct qubesdb *db, const char *addr, const char *policy, const char *rule)
{
	struct qubesdb_pair pairs[] = {
		{"policy", policy, strlen(policy)},
		{"0000", rule, strlen(rule)},
	};

	sources_commit(s, db, addr, pairs, 2);
}

/* The verdict for TCP to 1.2.3.4:443, and the epoch it comes from. */
static enum rule_verdict verdict(const char *addr, uint32_t *epoch)
{
	static const uint8_t dst[4] = {1, 2, 3, 4};
	struct rule_packet pkt = {.dst = dst, .proto = 6, .dport = 443};
	struct engine_source_info info;
	struct addr a = ip(addr);
	uint32_t index;

	if (epoch != NULL)
		*epoch = 0;
	if (!engine_source_info(e, &a, &info))
		return RULE_DROP;
	if (epoch != NULL)
		*epoch = info.epoch;
	return policy_match(info.policy, &pkt, &index);
}

static struct source_view seen;
static const char *wanted;

static void look(void *arg, const struct source_view *v)
{
	char text[ADDR_STRLEN];

	(void)arg;
	if (strcmp(addr_format(&v->addr, text), wanted) == 0)
		seen = *v;
}

static const struct source_view *view(const char *addr)
{
	memset(&seen, 0, sizeof(seen));
	wanted = addr;
	sources_each(s, look, NULL);
	return &seen;
}

static void test_life(void)
{
	struct addr a = ip(A);

	test_case("Q9_vif_before_commit_is_closed");
	setup();
	sources_attach(s, &a);
	CHECK_INT(verdict(A, NULL), RULE_DROP);
	CHECK_INT(view(A)->state, SOURCE_NONE);
	commit(NULL, A, "drop", "action=accept");
	CHECK_INT(verdict(A, NULL), RULE_ACCEPT);
	CHECK_INT(view(A)->state, SOURCE_ACTIVE);
	teardown();

	test_case("Q7_last_vif_removed_forgets_the_policy");
	setup();
	commit(NULL, A, "drop", "action=accept"); /* before the vif: kept */
	sources_attach(s, &a);
	CHECK_INT(verdict(A, NULL), RULE_ACCEPT);
	sources_attach(s, &a); /* HVM: stubdom and guest, Q12 */
	sources_detach(s, &a);
	CHECK_INT(verdict(A, NULL), RULE_ACCEPT);
	sources_detach(s, &a);
	CHECK_INT(verdict(A, NULL), RULE_DROP);
	sources_attach(s, &a);
	CHECK_INT(verdict(A, NULL), RULE_DROP);
	sources_detach(s, &a);
	sources_detach(s, &a); /* once too often: harmless */
	teardown();

	test_case("gone_after_resync_is_closed");
	setup();
	sources_attach(s, &a);
	commit(NULL, A, "drop", "action=accept");
	sources_gone(s, A);
	CHECK_INT(verdict(A, NULL), RULE_DROP);
	CHECK_INT(view(A)->state, SOURCE_NONE);
	sources_gone(s, "no address");
	teardown();
}

static void test_isolation(void)
{
	test_case("R10_malformed_blocks_one_source");
	setup();
	commit(NULL, A, "drop", "action=accept");
	commit(NULL, B, "drop", "action=accept");
	commit(NULL, "fd09:24ef:4179::a89:5", "drop", "action=accept");
	commit(NULL, A, "drop", "action=reject");
	CHECK_INT(verdict(A, NULL), RULE_REJECT);
	CHECK_INT(view(A)->state, SOURCE_MALFORMED);
	CHECK_STR(view(A)->err->key, "0000");
	CHECK_INT(sources_malformed(s), 1);
	CHECK_INT(verdict(B, NULL), RULE_ACCEPT);
	CHECK_INT(view("fd09:24ef:4179::a89:5")->state, SOURCE_ACTIVE);
	commit(NULL, A, "drop", "action=accept");
	CHECK_INT(verdict(A, NULL), RULE_ACCEPT);
	CHECK_INT(sources_malformed(s), 0);
	teardown();

	test_case("bad_address_key_is_ignored");
	setup();
	commit(NULL, "10.137.0", "drop", "action=accept");
	commit(NULL, "", "drop", "action=accept");
	CHECK_INT(view("10.137.0")->state, SOURCE_NONE);
	teardown();
}

static enum name_state lookup(void *arg, const char *name, const struct addr **addrs, size_t *n)
{
	(void)name;
	*addrs = arg;
	*n = 1;
	return NAME_RESOLVED;
}

static void test_epochs(void)
{
	struct addr answer = ip("9.9.9.9");
	uint32_t e1, e2, e3, e4;

	test_case("R6_unchanged_rules_keep_the_epoch");
	setup();
	env.lookup = lookup;
	env.lookup_arg = &answer;
	commit(NULL, A, "drop", "action=accept dsthost=example.com");
	CHECK_INT(verdict(A, &e1), RULE_REJECT);
	commit(NULL, A, "drop", "action=accept dsthost=example.com");
	(void)verdict(A, &e2);
	CHECK_INT(e2, e1);
	sources_recompile(s);
	(void)verdict(A, &e2);
	CHECK_INT(e2, e1);
	answer = ip("1.2.3.4"); /* the name moved: 4.2 */
	sources_recompile(s);
	CHECK_INT(verdict(A, &e3), RULE_ACCEPT);
	CHECK(e3 != e1);
	commit(NULL, A, "drop", "action=drop");
	CHECK_INT(verdict(A, &e4), RULE_REJECT);
	CHECK(e4 != e3);
	teardown();
}

/* One more packet of A to each of these; then its first rule has @rule hits, its policy
 * @last. */
static bool hits_after(const char *to, const char *to2, uint64_t rule, uint64_t last)
{
	static uint16_t port = 1000;
	struct addr a = ip(A);

	for (const char *dst = to; dst != NULL; dst = dst == to ? to2 : NULL)
		lab_send(&lab, (struct pk){.port = 1, .src = C1, .dst = dst, .proto = 17,
					   .sp = ++port, .dp = 9});
	return engine_source_hits(e, &a, 0) == rule &&
	       engine_source_hits(e, &a, RULE_INDEX_POLICY) == last;
}

static void test_hits(void)
{
	struct addr answer = ip("192.0.2.9"), a = ip(A);
	uint32_t e1, e2;

	test_case("hits_stay_while_the_rules_do");
	setup();
	engine_free(&e);
	lab_init(&lab, 0, 1);
	sources_free(&s);
	e = lab.e;
	CHECK_INT(sources_new(&s, e, &env, &settings), 0);
	sources_attach(s, &a);
	env.lookup = lookup;
	env.lookup_arg = &answer;
	commit(NULL, A, "drop", "action=accept dsthost=example.com");
	CHECK(hits_after("192.0.2.9", "192.0.2.1", 1, 1));
	answer = ip("192.0.2.10");
	sources_name_changed(s, 4, "example.com");
	(void)verdict(A, &e1);
	sources_refresh(s, 1000);
	(void)verdict(A, &e2);
	CHECK(e2 != e1); /* judged again all the same */
	CHECK(hits_after("192.0.2.10", "192.0.2.9", 2, 2));
	answer = ip("192.0.2.11");
	sources_recompile(s);
	CHECK(hits_after("192.0.2.11", "192.0.2.9", 3, 3));
	answer = ip("192.0.2.12");
	commit(NULL, A, "drop", "dsthost=example.com action=accept");
	CHECK(hits_after("192.0.2.12", "192.0.2.9", 4, 4)); /* the same rule still */

	test_case("hits_start_again_with_other_rules");
	commit(NULL, A, "drop", "action=accept dsthost=example.org");
	CHECK(hits_after(NULL, NULL, 0, 0)); /* though of the same addresses */
	CHECK(hits_after("192.0.2.12", "192.0.2.9", 1, 1));
	commit(NULL, A, "accept", "action=accept dsthost=example.org");
	CHECK(hits_after("192.0.2.12", "192.0.2.9", 1, 1));
	commit(NULL, A, "accept", "action=bogus");
	CHECK(hits_after("192.0.2.12", NULL, 0, 0));
	CHECK_INT(engine_source_hits(e, &a, RULE_INDEX_MALFORMED), 1);
	commit(NULL, A, "accept", "action=bogus2"); /* blocked before and after */
	CHECK_INT(engine_source_hits(e, &a, RULE_INDEX_MALFORMED), 1);
	commit(NULL, A, "accept", "action=accept dsthost=example.org");
	CHECK_INT(engine_source_hits(e, &a, RULE_INDEX_MALFORMED), 0);
	CHECK(hits_after("192.0.2.12", "192.0.2.9", 1, 1));
	sources_gone(s, A);
	commit(NULL, A, "accept", "action=accept dsthost=example.org");
	CHECK(hits_after(NULL, NULL, 0, 0));
	teardown();
}

/* --- names ---------------------------------------------------------------------- */

static unsigned int asked;

/* Each source gets an answer of its own: A's is 1.2.3.4, of anybody else 9.9.9.9. */
static enum name_state lookup_of(void *arg, const struct addr *source, const char *name,
				 const struct addr **addrs, size_t *n)
{
	static struct addr answers[2];

	(void)name;
	asked++;
	answers[0] = ip("1.2.3.4");
	answers[1] = ip("9.9.9.9");
	*addrs = addr_equal(source, arg) ? &answers[0] : &answers[1];
	*n = 1;
	return NAME_RESOLVED;
}

static char rules_seen[512];

static bool see_rules(void *arg, const struct addr *addr, const struct ruleset *rules, bool fresh)
{
	size_t len = strlen(rules_seen);
	char text[ADDR_STRLEN];

	(void)arg;
	snprintf(rules_seen + len, sizeof(rules_seen) - len, "%s%s%s ", addr_format(addr, text),
		 rules == NULL ? "-" : "", fresh ? "+" : "");
	return strcmp(text, A) != 0; /* with A nothing is done */
}

static const char *rules_of_all(void)
{
	rules_seen[0] = '\0';
	sources_each_rules(s, see_rules, NULL);
	return rules_seen;
}

static void test_names(void)
{
	struct addr a = ip(A);
	uint32_t e1, e2;

	test_case("names_are_looked_up_for_a_source");
	setup();
	sources_set_lookup(s, lookup_of, &a);
	commit(NULL, A, "drop", "action=accept dsthost=n.test");
	commit(NULL, B, "drop", "action=accept dsthost=n.test");
	CHECK_INT(verdict(A, NULL), RULE_ACCEPT);
	CHECK_INT(verdict(B, NULL), RULE_REJECT);

	test_case("R8_only_the_sources_with_the_name_are_compiled");
	commit(NULL, "10.137.0.6", "drop", "action=accept dsthost=other.test");
	commit(NULL, "10.137.0.7", "drop", "action=accept dsthost=n.test.");
	commit(NULL, "10.137.0.8", "drop", "action=accept");
	commit(NULL, "10.137.0.9", "drop", "action=bogus");
	commit(NULL, "fd09::1", "drop", "action=accept dsthost=n.test");
	(void)verdict(A, &e1);
	asked = 0;
	CHECK(sources_refresh(s, 1000) == UINT64_MAX);
	CHECK_INT(asked, 0);
	sources_name_changed(s, 4, "n.test");
	sources_name_changed(s, 4, "n.test");
	sources_name_changed(s, 4, "n.tes");
	sources_name_changed(s, 4, "n.test.x");
	CHECK_INT(asked, 0); /* not before all changes are known */
	CHECK(sources_refresh(s, 1000) == 0); /* one each time */
	CHECK_INT(asked, 1);
	CHECK(sources_refresh(s, 1000) == 0);
	CHECK(sources_refresh(s, 1000) == UINT64_MAX);
	CHECK_INT(asked, 3);
	CHECK(sources_refresh(s, 1000) == UINT64_MAX);
	CHECK_INT(asked, 3);
	sources_name_changed(s, 6, "n.test");
	sources_refresh(s, 1000);
	CHECK_INT(asked, 4);

	test_case("R6_name_that_resolves_to_the_same_keeps_the_epoch");
	(void)verdict(A, &e2);
	CHECK_INT(e2, e1);

	test_case("rules_changed_and_fresh");
	CHECK(sources_take_rules_changed(s));
	CHECK(!sources_take_rules_changed(s));
	CHECK_STR(rules_of_all(), "10.137.0.5+ 10.137.0.6+ 10.137.0.7+ 10.137.0.8+ 10.137.0.9-+ "
				  "10.137.0.50+ fd09::1+ ");
	CHECK_STR(rules_of_all(), "10.137.0.5+ 10.137.0.6 10.137.0.7 10.137.0.8 10.137.0.9- "
				  "10.137.0.50 fd09::1 ");
	sources_name_changed(s, 4, "other.test");
	sources_refresh(s, 1000);
	CHECK_STR(rules_of_all(), "10.137.0.5+ 10.137.0.6+ 10.137.0.7 10.137.0.8 10.137.0.9- "
				  "10.137.0.50 fd09::1 ");
	CHECK(!sources_take_rules_changed(s));
	sources_attach(s, &a);
	sources_detach(s, &a);
	CHECK(sources_take_rules_changed(s));
	teardown();
}

/* Many names of one source: it is compiled at once, then at most each 100 ms. */
static void test_pace(void)
{
	struct addr a = ip(A);
	uint64_t next;
	char name[32];

	test_case("R8_names_that_resolve_one_by_one_are_compiled_together");
	setup();
	sources_set_lookup(s, lookup_of, &a);
	commit(NULL, A, "drop", "action=accept dsthost=n.test");
	asked = 0;
	for (uint64_t ms = 5000; ms < 6000; ms++) {
		sources_name_changed(s, 4, "n.test");
		next = sources_refresh(s, ms);
		if (ms == 5000)
			CHECK_INT(asked, 1); /* the first is not made to wait */
		CHECK_INT(next, ms % 100 == 0 ? UINT64_MAX : ms - ms % 100 + 100);
	}
	CHECK_INT(asked, 10);

	test_case("R8_the_first_name_after_a_commit_does_not_wait");
	commit(NULL, A, "drop", "action=accept dsthost=n.test");
	asked = 0;
	sources_name_changed(s, 4, "n.test");
	CHECK(sources_refresh(s, 6000) == UINT64_MAX);
	CHECK_INT(asked, 1);

	test_case("R8_a_commit_compiles_what_waited");
	sources_name_changed(s, 4, "n.test");
	CHECK_INT(sources_refresh(s, 6001), 6100);
	commit(NULL, A, "drop", "action=accept dsthost=n.test");
	asked = 0;
	CHECK(sources_refresh(s, 7000) == UINT64_MAX);
	CHECK_INT(asked, 0);

	test_case("R8_a_source_that_is_gone_does_not_wait");
	sources_attach(s, &a);
	sources_name_changed(s, 4, "n.test");
	sources_gone(s, A);
	CHECK(!view(A)->stale);
	CHECK(sources_refresh(s, 7200) == UINT64_MAX);
	CHECK_INT(view(A)->state, SOURCE_NONE);
	CHECK_INT(verdict(A, NULL), RULE_DROP);
	sources_detach(s, &a);

	test_case("R8_sources_take_turns");
	commit(NULL, A, "drop", "action=accept dsthost=n.test");
	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "10.137.1.%d", i + 1);
		commit(NULL, name, "drop", "action=accept dsthost=n.test");
	}
	asked = 0;
	for (uint64_t ms = 8000; ms < 8200; ms++) {
		sources_name_changed(s, 4, "n.test");
		sources_refresh(s, ms);
		CHECK(asked <= ms - 7999); /* never two in one call */
	}
	CHECK_INT(asked, 12); /* six sources, twice */
	teardown();
}

static void test_bounds(void)
{
	char text[32];

	test_case("stale_sources_make_room");
	setup();
	for (int i = 0; i < ENGINE_SOURCE_MAX + 10; i++) {
		struct addr a;

		snprintf(text, sizeof(text), "10.1.%d.%d", i / 250, i % 250 + 1);
		a = ip(text);
		if (i == 0)
			sources_attach(s, &a); /* in use: never the victim */
		commit(NULL, text, "drop", "action=accept");
		CHECK_INT(verdict(text, NULL), RULE_ACCEPT);
	}
	CHECK_INT(verdict("10.1.0.1", NULL), RULE_ACCEPT);
	CHECK_INT(verdict("10.1.0.2", NULL), RULE_DROP);
	teardown();
}

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

static void test_handled(void)
{
	static const struct qubesdb_events ev = {ignore_synced, ignore_commit, ignore_text,
						 ignore_text, ignore_text, ignore_log};
	char path[] = "/tmp/rf-sources-XXXXXX", spec[64], out[64], err[128];
	struct qubesdb *db = NULL;
	int fd = mkstemp(path);

	test_case("handled_counter_goes_up_also_for_a_failed_commit");
	setup();
	CHECK(fd >= 0);
	snprintf(spec, sizeof(spec), "file:%s", path);
	snprintf(out, sizeof(out), "%s.out", path);
	CHECK_INT(dprintf(fd, "/qubes-firewall-handled/" A " = 41\n") > 0, 1);
	CHECK_INT(qubesdb_new(&db, spec, &ev, NULL, err, sizeof(err)), 0);
	qubesdb_process(db, 1);
	commit(db, A, "drop", "action=accept");
	CHECK_STR(qubesdb_read(db, "/qubes-firewall-handled/" A, NULL), "42");
	commit(db, A, "drop", "action=bogus");
	CHECK_STR(qubesdb_read(db, "/qubes-firewall-handled/" A, NULL), "43");
	CHECK_INT(view(A)->handled, 43);
	qubesdb_free(&db);
	close(fd);
	unlink(path);
	unlink(out);
	teardown();
}

int main(void)
{
	log_set_level(LOG_LEVEL_ERROR);
	test_life();
	test_isolation();
	test_epochs();
	test_hits();
	test_names();
	test_pace();
	test_bounds();
	test_handled();
	return test_end();
}
