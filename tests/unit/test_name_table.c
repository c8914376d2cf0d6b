/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * firewall/name_table.c: a script of what happens when, and what the table says to
 * each. Scripts run at t = 1000 s; times are in milliseconds from there.
 */
#include "firewall/name_table.h"

#include "firewall/name_msg.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdlib.h>

#define T0 1000000ull

static struct name_table *t;
static unsigned int changes, failures;
static char changed_name[300];

static void on_changed(void *arg, uint8_t family, const char *name)
{
	(void)arg, (void)family;
	changes++;
	snprintf(changed_name, sizeof(changed_name), "%s", name);
}

static void on_failed(void *arg, uint8_t family, const char *name, enum dns_outcome outcome,
		      unsigned int n)
{
	(void)arg, (void)family, (void)name, (void)outcome;
	failures = n;
}

static const struct name_events events = {on_changed, on_failed};

static void setup(const struct name_times *times)
{
	changes = failures = 0;
	CHECK_INT(name_table_new(&t, times, 42, &events, NULL), 0);
	name_table_allow(t, true);
}

static void teardown(void)
{
	name_table_check(t);
	name_table_free(&t);
}

static void use(const char *const *names, size_t n, uint64_t now)
{
	name_table_begin(t);
	for (size_t i = 0; i < n; i++)
		(void)name_table_use(t, 4, names[i], T0 + now);
	name_table_end(t);
	name_table_check(t);
}

static void use1(const char *name, uint64_t now)
{
	use(&name, 1, now);
}

static uint32_t ask(uint64_t now)
{
	struct name_question q = {0};

	return name_table_ask(t, T0 + now, &q) ? q.id : 0;
}

static struct name_answer answer_of(const char *addrs, uint32_t ttl_s)
{
	struct name_answer a = {.outcome = DNS_ADDRESSES, .ttl_s = ttl_s};

	while (*addrs != '\0') {
		size_t n = strcspn(addrs, " ");

		CHECK_INT(addr_parse(addrs, n, &a.addrs[a.count++]), 0);
		addrs += n + (addrs[n] == ' ');
	}
	return a;
}

static bool reply(uint32_t id, const struct name_answer *a, uint64_t now)
{
	bool ok = name_table_answer(t, id, 4, a, T0 + now);

	name_table_check(t);
	return ok;
}

static bool good(uint32_t id, const char *addrs, uint32_t ttl_s, uint64_t now)
{
	struct name_answer a = answer_of(addrs, ttl_s);

	return reply(id, &a, now);
}

static bool fail(uint32_t id, enum dns_outcome outcome, uint64_t now)
{
	struct name_answer a = {.outcome = outcome};

	return reply(id, &a, now);
}

/* What a name resolves to, in the table's order; "-" when it does not. */
static const char *set_of(const char *name)
{
	static char out[4096];
	const struct addr *addrs;
	char text[ADDR_STRLEN];
	size_t count, n = 0;

	out[0] = '\0';
	if (name_table_lookup(t, 4, name, &addrs, &count) == NAME_UNRESOLVED)
		return "-";
	for (size_t i = 0; i < count; i++)
		n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%s", i ? " " : "",
				      addr_format(&addrs[i], text));
	return out;
}

static enum name_state state_of(const char *name)
{
	const struct addr *addrs;
	size_t count;

	return name_table_lookup(t, 4, name, &addrs, &count);
}

static uint64_t due(void)
{
	uint64_t when = name_table_deadline(t);

	return when == UINT64_MAX ? when : when - T0;
}

static void check_between(uint64_t got, uint64_t low, uint64_t high)
{
	if (!CHECK(got >= low && got <= high))
		printf("  got %llu, want %llu to %llu\n", (unsigned long long)got,
		       (unsigned long long)low, (unsigned long long)high);
}

/* --- schedule ------------------------------------------------------------------------ */

static void test_schedule(void)
{
	static const struct {
		uint32_t ttl_s;
		uint64_t low, high; /* of the next question */
	} ttls[] = {
		{0, 22500, 25500},	       /* the floor: 30 s */
		{29, 22500, 25500},
		{100, 75000, 85000},
		{3600, 2700000, 3060000},
		{3601, 2700000, 3060000},      /* the ceiling: an hour */
		{0x7fffffff, 2700000, 3060000},
	};
	uint32_t id;

	test_case("asked_at_once_and_before_the_TTL_ends");
	for (size_t i = 0; i < sizeof(ttls) / sizeof(ttls[0]); i++) {
		setup(NULL);
		CHECK_INT(due(), UINT64_MAX);
		use1("a.test", 0);
		CHECK_INT(due(), 0);
		id = ask(0);
		CHECK(id != 0);
		CHECK_INT(ask(0), 0);
		CHECK_INT(due(), NAME_LOST_MS);
		CHECK(good(id, "192.0.2.1", ttls[i].ttl_s, 100));
		check_between(due() - 100, ttls[i].low, ttls[i].high);
		CHECK_INT(ask(due() - 1), 0);
		CHECK(ask(due()) != 0);
		teardown();
	}

	test_case("times_that_the_user_chose");
	setup(&(struct name_times){.ttl_min_s = 1, .ttl_max_s = 2, .grace_s = 3});
	use1("a.test", 0);
	CHECK(good(ask(0), "192.0.2.1", 0, 0));
	check_between(due(), 750, 850);
	CHECK(good(ask(850), "192.0.2.1", 100, 850));
	check_between(due() - 850, 1500, 1700);
	teardown();

	test_case("names_do_not_stay_in_step");
	setup(NULL);
	use((const char *const[]){"a", "b", "c", "d"}, 4, 0);
	uint64_t first = 0;
	unsigned int differ = 0;

	for (int i = 0; i < 4; i++)
		CHECK(good(ask(0), "192.0.2.1", 3600, 0));
	first = due();
	for (uint64_t now = first; now < first + 360000; now++)
		differ += ask(now) != 0 && now != first;
	CHECK(differ >= 2);
	teardown();
}

static void test_backoff(void)
{
	static const uint64_t waits[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
	static const enum dns_outcome outcomes[] = {DNS_NOT_FOUND, DNS_SERVER_FAILURE, DNS_TIMEOUT,
						    DNS_BAD_ANSWER};
	uint64_t now = 0;

	for (size_t o = 0; o < sizeof(outcomes) / sizeof(outcomes[0]); o++) {
		test_case(dns_outcome_text(outcomes[o]));
		setup(NULL);
		now = 0;
		use1("a.test", 0);
		for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
			CHECK(fail(ask(now), outcomes[o], now));
			CHECK_INT(failures, i + 1);
			CHECK_STR(set_of("a.test"), "-");
			check_between(due() - now, waits[i] * 7 / 8, waits[i]);
			now = due();
		}
		CHECK_INT(changes, 0);
		CHECK(good(ask(now), "192.0.2.1", 60, now));
		CHECK_STR(set_of("a.test"), "192.0.2.1");
		now = due();
		CHECK(fail(ask(now), outcomes[o], now));
		CHECK_INT(failures, 1);
		check_between(due() - now, 875, 1000); /* from the beginning again */
		teardown();
	}

	test_case("wake_asks_what_failed_and_nothing_else");
	setup(NULL);
	use((const char *const[]){"bad", "good"}, 2, 0);
	for (int i = 0; i < 2; i++) {
		struct name_question q;

		CHECK(name_table_ask(t, T0, &q));
		if (strcmp(q.name, "bad") == 0)
			CHECK(fail(q.id, DNS_TIMEOUT, 0));
		else
			CHECK(good(q.id, "192.0.2.1", 3600, 0));
	}
	name_table_wake(t, 0, T0 + 10);
	CHECK_INT(due(), 10);
	CHECK(fail(ask(10), DNS_TIMEOUT, 10));
	CHECK_INT(failures, 1);
	CHECK_INT(ask(10), 0);

	test_case("another_network_asks_all");
	name_table_wake(t, T0, T0 + 15); /* the good one is not older than that */
	CHECK(fail(ask(15), DNS_TIMEOUT, 15));
	CHECK_INT(ask(15), 0);
	name_table_wake(t, T0 + 1, T0 + 20);
	CHECK(ask(20) != 0 && ask(20) != 0);
	CHECK_INT(ask(20), 0);
	CHECK_STR(set_of("good"), "192.0.2.1"); /* meanwhile */
	teardown();
}

/* --- sets ------------------------------------------------------------------------------ */

static void test_grace(void)
{
	uint64_t now, left;

	test_case("R8_addresses_stay_for_the_grace");
	setup(NULL);
	use1("a.test", 0);
	CHECK(good(ask(0), "192.0.2.1 192.0.2.2", 100, 0));
	CHECK_INT(changes, 1);
	CHECK_STR(changed_name, "a.test");
	now = left = due();
	CHECK(good(ask(now), "192.0.2.2 192.0.2.3", 3600, now));
	CHECK_INT(changes, 2);
	CHECK_STR(set_of("a.test"), "192.0.2.2 192.0.2.3 192.0.2.1");
	CHECK_INT(due(), left + 600000);
	name_table_tick(t, T0 + left + 599999);
	CHECK_INT(changes, 2);
	name_table_tick(t, T0 + left + 600000);
	CHECK_INT(changes, 3);
	CHECK_STR(set_of("a.test"), "192.0.2.2 192.0.2.3");
	teardown();

	test_case("R8_one_that_comes_back_in_grace_changes_nothing");
	setup(NULL);
	use1("a.test", 0);
	CHECK(good(ask(0), "192.0.2.1 192.0.2.2", 30, 0));
	now = due();
	CHECK(good(ask(now), "192.0.2.2", 30, now));
	CHECK_INT(changes, 1); /* the set is the same */
	now = due();
	CHECK(good(ask(now), "192.0.2.1 192.0.2.2", 3600, now));
	CHECK_INT(changes, 1);
	name_table_tick(t, T0 + now + 700000); /* no longer in grace */
	CHECK_INT(changes, 1);
	CHECK_STR(set_of("a.test"), "192.0.2.1 192.0.2.2");
	teardown();

	test_case("R6_the_same_in_another_order_is_no_change");
	setup(NULL);
	use1("a.test", 0);
	CHECK(good(ask(0), "192.0.2.1 192.0.2.2", 30, 0));
	now = due();
	CHECK(good(ask(now), "192.0.2.2 192.0.2.1 192.0.2.2", 30, now));
	CHECK_INT(changes, 1);
	teardown();

	test_case("R9_empty_answer_is_resolved_to_nothing");
	setup(NULL);
	use1("a.test", 0);
	CHECK(good(ask(0), "", 60, 0));
	CHECK_INT(changes, 1);
	CHECK_STR(set_of("a.test"), "");
	teardown();
}

static void test_failure_keeps(void)
{
	uint64_t now;

	test_case("R8_last_good_answer_stays_for_a_day");
	setup(NULL);
	use1("a.test", 0);
	CHECK(good(ask(0), "192.0.2.1", 30, 0));
	for (now = due(); now < NAME_STALE_MS; now = due()) {
		uint32_t id = ask(now);

		name_table_tick(t, T0 + now);
		if (id != 0)
			CHECK(fail(id, DNS_NOT_FOUND, now));
		CHECK_STR(set_of("a.test"), "192.0.2.1");
	}
	CHECK_INT(changes, 1);
	name_table_tick(t, T0 + NAME_STALE_MS);
	CHECK_STR(set_of("a.test"), "-");
	CHECK_INT(changes, 2);
	CHECK_INT(name_table_addrs(t), 0);
	CHECK(good(ask(now + 60000), "192.0.2.1", 30, now + 60000));
	CHECK_STR(set_of("a.test"), "192.0.2.1");
	CHECK_INT(changes, 3);
	teardown();
}

static void test_useless(void)
{
	static const char *const bad[] = {
		"0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.255", "169.254.1.1", "224.0.0.1",
		"239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1",
		"::ffff:192.0.2.1", "fe80::1", "febf::1", "ff02::1",
	};
	static const char *const fine[] = {
		"1.0.0.0", "126.1.1.1", "128.0.0.1", "169.253.1.1", "223.255.255.255", "10.0.0.1",
		"172.16.0.1", "192.168.1.1", "2001:db8::1", "fd00::1", "fec0::1", "64:ff9b::1",
	};
	struct addr a;

	test_case("addresses_that_no_name_stands_for");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CHECK_INT(addr_parse(bad[i], strlen(bad[i]), &a), 0);
		if (!CHECK(name_addr_is_useless(&a)))
			printf("  %s\n", bad[i]);
	}
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
		CHECK_INT(addr_parse(fine[i], strlen(fine[i]), &a), 0);
		if (!CHECK(!name_addr_is_useless(&a)))
			printf("  %s\n", fine[i]);
	}

	test_case("they_are_left_out_of_an_answer");
	setup(NULL);
	use1("a.test", 0);
	CHECK(good(ask(0), "127.0.0.1 192.0.2.1 ::1 0.0.0.0", 60, 0));
	CHECK_STR(set_of("a.test"), "192.0.2.1");
	teardown();
}

static void test_bounds(void)
{
	struct name_answer a = {.outcome = DNS_ADDRESSES, .ttl_s = 60, .count = NAME_SET_MAX};
	char name[64];
	uint64_t now;

	test_case("hp_name_answers_that_never_repeat_stay_64");
	setup(&(struct name_times){.ttl_min_s = 1, .grace_s = 86400});
	use1("a.test", 0);
	for (unsigned int round = 0; round < 100; round++) {
		now = round == 0 ? 0 : due();
		a.count = round % 2 ? NAME_SET_MAX : 10;
		for (unsigned int i = 0; i < a.count; i++)
			a.addrs[i] = (struct addr){4, {10, (uint8_t)round, 0, (uint8_t)i}};
		CHECK(reply(ask(now), &a, now));
		CHECK(name_table_addrs(t) <= NAME_SET_MAX);
		/* the newest are there, whatever else is */
		CHECK(strncmp(set_of("a.test"), "10.", 3) == 0);
	}
	teardown();

	test_case("the_last_to_leave_stays_longest");
	setup(&(struct name_times){.ttl_min_s = 1, .grace_s = 86400});
	use1("a.test", 0);
	CHECK(good(ask(0), "10.0.0.1", 1, 0));
	now = due();
	CHECK(good(ask(now), "10.0.0.2", 1, now));
	now = due();
	a.count = 62;
	for (unsigned int i = 0; i < 62; i++)
		a.addrs[i] = (struct addr){4, {10, 1, 0, (uint8_t)i}};
	CHECK(reply(ask(now), &a, now));
	now = due();
	a.count = 63;
	a.addrs[62] = (struct addr){4, {10, 1, 0, 62}};
	CHECK(reply(ask(now), &a, now));
	CHECK(strstr(set_of("a.test"), "10.0.0.2") != NULL);
	CHECK(strstr(set_of("a.test"), "10.0.0.1") == NULL);
	teardown();

	test_case("hp_name_of_65_addresses_is_known_in_part");
	setup(NULL);
	use1("a.test", 0);
	a.count = NAME_SET_MAX;
	CHECK(reply(ask(0), &a, 0));
	CHECK_INT(state_of("a.test"), NAME_RESOLVED);
	changes = 0;
	a.more = true;
	now = due();
	CHECK(reply(ask(now), &a, now));
	CHECK_INT(state_of("a.test"), NAME_PARTIAL);
	CHECK_INT(changes, 1);
	now = due();
	CHECK(fail(ask(now), DNS_SERVER_FAILURE, now)); /* it stays what it was */
	CHECK_INT(state_of("a.test"), NAME_PARTIAL);
	a.more = false;
	now = due();
	CHECK(reply(ask(now), &a, now));
	CHECK_INT(state_of("a.test"), NAME_RESOLVED);
	CHECK_INT(changes, 2);
	teardown();

	test_case("names_beyond_the_table_do_not_resolve");
	setup(NULL);
	name_table_begin(t);
	for (unsigned int i = 0; i < NAME_ENTRIES_MAX + 10; i++) {
		snprintf(name, sizeof(name), "n%u.test", i);
		CHECK_INT(name_table_use(t, 4, name, T0), i < NAME_ENTRIES_MAX ? 0 : -ENOSPC);
	}
	name_table_end(t);
	CHECK_INT(name_table_count(t), NAME_ENTRIES_MAX);
	/* all addresses together have a bound, too */
	a.count = NAME_SET_MAX;
	for (unsigned int i = 0; i < NAME_SET_MAX; i++)
		a.addrs[i] = (struct addr){4, {10, 1, 0, (uint8_t)i}};
	for (uint32_t id; (id = ask(0)) != 0;)
		CHECK(name_table_answer(t, id, 4, &a, T0));
	CHECK_INT(name_table_addrs(t), NAME_ADDRS_MAX);
	name_table_check(t);
	/* what there was no room for is not "resolves to nothing" */
	CHECK_INT(state_of("n0.test"), NAME_RESOLVED);
	CHECK_INT(state_of("n4095.test"), NAME_PARTIAL);
	/* one that leaves makes room for another */
	name_table_begin(t);
	for (unsigned int i = 1; i <= NAME_ENTRIES_MAX; i++) {
		snprintf(name, sizeof(name), "n%u.test", i);
		(void)name_table_use(t, 4, name, T0);
	}
	name_table_end(t);
	CHECK_INT(name_table_use(t, 4, name, T0), 0);
	CHECK_INT(name_table_count(t), NAME_ENTRIES_MAX);
	teardown();
}

/* --- questions --------------------------------------------------------------------------- */

/* Names fN-0.test and so on, that many, and nothing else. */
static void use_many(char letter, size_t n, uint64_t now)
{
	char names[NAME_IN_FLIGHT_MAX][32];
	const char *list[NAME_IN_FLIGHT_MAX];

	for (size_t i = 0; i < n; i++) {
		snprintf(names[i], sizeof(names[i]), "%c%zu.test", letter, i);
		list[i] = names[i];
	}
	use(list, n, now);
}

static void test_forgotten(void)
{
	struct name_answer a = answer_of("192.0.2.1", 60);
	uint32_t first[NAME_IN_FLIGHT_MAX], id;

	test_case("a_forgotten_name_does_not_make_room_for_a_question");
	setup(NULL);
	use_many('a', NAME_IN_FLIGHT_MAX, 0);
	for (size_t i = 0; i < NAME_IN_FLIGHT_MAX; i++)
		CHECK((first[i] = ask(0)) != 0);
	use_many('b', NAME_IN_FLIGHT_MAX, 1);
	CHECK_INT(ask(1), 0); /* the helper has as many as it takes */
	CHECK_INT(due(), NAME_LOST_MS);
	CHECK(!name_table_answer(t, first[3], 6, &a, T0 + 2));
	CHECK(name_table_answer(t, first[3], 4, &a, T0 + 2)); /* of no use, but one less */
	CHECK(!name_table_answer(t, first[3], 4, &a, T0 + 2));
	CHECK_INT(changes, 0);
	CHECK((id = ask(2)) != 0 && ask(2) == 0);
	CHECK(name_table_answer(t, id, 4, &a, T0 + 3) && changes == 1);

	test_case("a_helper_that_never_replies_is_told");
	CHECK(!name_table_tick(t, T0 + NAME_LOST_MS - 1));
	CHECK(name_table_tick(t, T0 + NAME_LOST_MS));
	CHECK(!name_table_tick(t, T0 + NAME_LOST_MS));
	name_table_check(t);
	CHECK(ask(NAME_LOST_MS) != 0);
	use_many('c', 1, NAME_LOST_MS);
	name_table_reset(t, T0 + NAME_LOST_MS); /* it has forgotten all of them */
	use_many('d', NAME_IN_FLIGHT_MAX, NAME_LOST_MS);
	for (size_t i = 0; i < NAME_IN_FLIGHT_MAX; i++)
		CHECK(ask(NAME_LOST_MS) != 0);
	CHECK(!name_table_tick(t, T0 + 2 * NAME_LOST_MS - 1));
	CHECK(name_table_tick(t, T0 + 2 * NAME_LOST_MS));
	teardown();
}

static void test_questions(void)
{
	uint32_t id, ids[NAME_IN_FLIGHT_MAX];
	char name[64];

	test_case("one_question_for_all_users");
	setup(NULL);
	use((const char *const[]){"a.test", "a.test", "a.test."}, 3, 0);
	CHECK_INT(name_table_count(t), 1);
	CHECK(ask(0) != 0);
	CHECK_INT(ask(0), 0);
	teardown();

	test_case("families_are_two_names");
	setup(NULL);
	name_table_begin(t);
	CHECK_INT(name_table_use(t, 4, "a.test", T0), 0);
	CHECK_INT(name_table_use(t, 6, "a.test", T0), 0);
	name_table_end(t);
	id = ask(0);
	CHECK(id != 0 && ask(0) != 0);
	CHECK(good(id, "192.0.2.1", 60, 0));
	CHECK_STR(set_of("a.test"), "192.0.2.1");
	teardown();

	test_case("names_that_cannot_be_are_not_asked_for");
	setup(NULL);
	CHECK_INT(name_table_use(t, 4, ".", T0), -EINVAL);
	CHECK_INT(name_table_use(t, 4, "a..b", T0), -EINVAL);
	CHECK_INT(name_table_count(t), 0);
	CHECK_STR(set_of("."), "-");
	teardown();

	test_case("hp_dns_replies_to_nothing");
	setup(NULL);
	use1("a.test", 0);
	CHECK(!good(0, "192.0.2.1", 60, 0));
	CHECK(!good(4096, "192.0.2.1", 60, 0));
	id = ask(0);
	CHECK(!good(id ^ 4096, "192.0.2.1", 60, 0));
	CHECK(!good(id + 1, "192.0.2.1", 60, 0));
	CHECK(!name_table_answer(t, id, 6, &(struct name_answer){0}, T0));
	CHECK_STR(set_of("a.test"), "-");
	CHECK(good(id, "192.0.2.1", 60, 0));
	CHECK(!good(id, "192.0.2.2", 60, 0)); /* once only */
	CHECK_STR(set_of("a.test"), "192.0.2.1");
	teardown();

	test_case("a_reply_to_a_name_that_left_and_came_back");
	setup(NULL);
	use1("a.test", 0);
	id = ask(0);
	use(NULL, 0, 0);
	CHECK_INT(name_table_count(t), 0);
	use1("b.test", 0);
	CHECK(ask(0) != 0);
	CHECK(good(id, "192.0.2.1", 60, 0)); /* it is of the one that left */
	CHECK(changes == 0 && failures == 0);
	teardown();

	test_case("so_many_in_flight_and_no_more");
	setup(NULL);
	name_table_begin(t);
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "n%d.test", i);
		CHECK_INT(name_table_use(t, 4, name, T0), 0);
	}
	name_table_end(t);
	for (int i = 0; i < NAME_IN_FLIGHT_MAX; i++)
		CHECK((ids[i] = ask(0)) != 0);
	CHECK_INT(ask(0), 0);
	CHECK_INT(due(), NAME_LOST_MS); /* nothing to do before: no busy loop */
	CHECK(good(ids[3], "192.0.2.1", 60, 5));
	CHECK_INT(due(), 0);
	CHECK(ask(5) != 0);
	CHECK_INT(ask(5), 0);

	test_case("a_helper_that_forgot_is_asked_again");
	name_table_reset(t, T0 + 10);
	for (int i = 0; i < NAME_IN_FLIGHT_MAX; i++)
		CHECK(ask(10) != 0);
	CHECK(!good(ids[5], "192.0.2.1", 60, 10));

	test_case("a_question_without_reply_has_failed");
	name_table_tick(t, T0 + 10 + NAME_LOST_MS - 1);
	CHECK_INT(failures, 0);
	name_table_tick(t, T0 + 10 + NAME_LOST_MS);
	CHECK_INT(failures, 1);
	CHECK(ask(10 + NAME_LOST_MS) != 0);

	test_case("nobody_to_ask");
	name_table_reset(t, T0 + 100000);
	name_table_allow(t, false);
	CHECK_INT(ask(100000), 0);
	check_between(due(), 3600000, UINT64_MAX); /* only what has resolved ages */
	name_table_allow(t, true);
	CHECK(ask(100000) != 0);
	teardown();
}

/* --- anything at all ----------------------------------------------------------------------- */

static uint64_t seed;

static uint32_t draw(uint32_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % below;
}

/* Random events; all invariants hold, and nobody who is due is forgotten. */
static void test_random(void)
{
	char name[32];
	uint32_t ids[64] = {0};
	uint64_t now = 0;

	test_case("random_histories");
	setup(&(struct name_times){.ttl_min_s = 1, .ttl_max_s = 20, .grace_s = 10});
	for (int step = 0; step < 20000; step++) {
		struct name_answer a = {.outcome = (enum dns_outcome)draw(DNS_OUTCOMES)};
		uint64_t when;

		now += draw(4) == 0 ? draw(3000) : 0;
		switch (draw(8)) {
		case 0:
			name_table_begin(t);
			for (uint32_t i = draw(40); i > 0; i--) {
				snprintf(name, sizeof(name), "n%u", draw(60));
				(void)name_table_use(t, draw(2) ? 4 : 6, name, T0 + now);
			}
			name_table_end(t);
			break;
		case 1: name_table_tick(t, T0 + now); break;
		case 2: name_table_wake(t, draw(2) ? T0 + now : 0, T0 + now); break;
		case 3:
			if (draw(20) == 0)
				name_table_reset(t, T0 + now);
			break;
		case 4: ids[draw(64)] = ask(now); break;
		default:
			a.ttl_s = draw(40);
			for (a.count = 0; a.outcome == DNS_ADDRESSES && a.count < draw(66) &&
					  a.count < NAME_SET_MAX;)
				a.addrs[a.count++] =
					(struct addr){draw(8) ? 4 : 6, {(uint8_t)draw(256), 0, 0,
									(uint8_t)draw(20)}};
			(void)name_table_answer(t, ids[draw(64)], draw(2) ? 4 : 6, &a, T0 + now);
		}
		name_table_check(t);
		when = due();
		if (when <= now && when != UINT64_MAX) {
			name_table_tick(t, T0 + now);
			while ((ids[draw(64)] = ask(now)) != 0)
				;
			CHECK(due() > now);
		}
	}
	teardown();
}

int main(void)
{
	test_schedule();
	test_backoff();
	test_grace();
	test_failure_keeps();
	test_useless();
	test_bounds();
	test_questions();
	for (seed = 1; seed < 6; seed++) {
		uint64_t s = seed;

		test_random();
		seed = s;
	}
	test_forgotten();
	return test_end();
}
