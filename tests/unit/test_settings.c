// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What QubesDB says about the surroundings, read from a file: every case is a text
 * and what the engine is told. And the lines about packets that did not pass.
 */
#include "firewall/log.h"
#include "firewall/packet_log.h"
#include "firewall/settings.h"
#include "tests/unit/check.h"
#include "tests/unit/lab6.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static char file[] = "/tmp/test_settings.XXXXXX";
static struct qubesdb *db;
static struct settings s;
static uint64_t now_ms = 1000;
static int log_fd, stderr_fd;
static char logged[8192];

static void nothing(void *arg)
{
	(void)arg;
}

static void nothing_commit(void *arg, const char *source, const struct qubesdb_pair *pairs,
			   size_t n)
{
	(void)arg;
	(void)source;
	(void)pairs;
	(void)n;
}

static void nothing_text(void *arg, const char *text)
{
	(void)arg;
	(void)text;
}

static void nothing_log(void *arg, int level, const char *text)
{
	(void)arg;
	(void)level;
	(void)text;
}

static const struct qubesdb_events events = {
    .synced = nothing,
    .commit = nothing_commit,
    .gone = nothing_text,
    .changed = nothing_text,
    .lost = nothing_text,
    .log = nothing_log,
};

/* From here to log_end(), what the daemon would say goes to logged[]. */
static void log_begin(void)
{
	if (ftruncate(log_fd, 0) || lseek(log_fd, 0, SEEK_SET))
		abort();
	dup2(log_fd, STDERR_FILENO);
}

static void log_end(void)
{
	ssize_t n;

	dup2(stderr_fd, STDERR_FILENO);
	n = pread(log_fd, logged, sizeof(logged) - 1, 0);
	logged[n > 0 ? n : 0] = '\0';
}

static void open_db(const char *text)
{
	char spec[64], err[256] = "";
	int fd = open(file, O_WRONLY | O_TRUNC | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || close(fd))
		abort();
	snprintf(spec, sizeof(spec), "file:%s", file);
	if (qubesdb_new(&db, spec, &events, NULL, err, sizeof(err)) != 0) {
		printf("%s\n", err);
		exit(1);
	}
	CHECK_STR(err, "");
	for (int i = 0; i < 10 && qubesdb_state(db) != QUBESDB_READY; i++)
		qubesdb_process(db, 1000);
	CHECK_INT(qubesdb_state(db), QUBESDB_READY);
}

static void read_text(const char *text)
{
	open_db(text);
	now_ms += 100000; /* the limit on log lines is full again */
	memset(&s, 0, sizeof(s)); /* nothing was read before */
	log_begin();
	settings_read(&s, db, now_ms);
	log_end();
	qubesdb_free(&db);
}

static const char *show(const struct addr *a)
{
	static char text[4][ADDR_STRLEN];
	static unsigned int turn;
	char *t = text[turn++ % 4];

	if (a->family == 0)
		return "none";
	addr_format(a, t);
	return t;
}

/* --- DNS ------------------------------------------------------------------------------- */

#define V1 "/qubes-netvm-primary-dns = 10.139.1.1\n"
#define V2 "/qubes-netvm-secondary-dns = 10.139.1.2\n"
#define R1 "/qubes-primary-dns = 192.0.2.53\n"
#define R2 "/qubes-secondary-dns = 192.0.2.54\n"

static void test_dns(void)
{
	static const struct {
		const char *name, *text;
		size_t n;
		const char *virt[2], *real[2];
	} table[] = {
	    {"R4_dns_nothing", "", 0, {0}, {0}},
	    {"R4_dns_all_four",
	     V1 V2 R1 R2,
	     2,
	     {"10.139.1.1", "10.139.1.2"},
	     {"192.0.2.53", "192.0.2.54"}},
	    {"R4_dns_one_real",
	     V1 V2 R1,
	     2,
	     {"10.139.1.1", "10.139.1.2"},
	     {"192.0.2.53", "192.0.2.53"}},
	    {"R4_dns_the_second_real",
	     V1 V2 R2,
	     2,
	     {"10.139.1.1", "10.139.1.2"},
	     {"192.0.2.54", "192.0.2.54"}},
	    {"R4_dns_no_real", V1 V2, 2, {"10.139.1.1", "10.139.1.2"}, {"none", "none"}},
	    {"R4_dns_one_virtual", V1 R1 R2, 1, {"10.139.1.1"}, {"192.0.2.53"}},
	    {"R4_dns_the_second_virtual", V2 R1 R2, 1, {"10.139.1.2"}, {"192.0.2.54"}},
	    {"R4_dns_real_only", R1 R2, 0, {0}, {0}},
	    {"R4_dns_malformed_real",
	     V1 V2 "/qubes-primary-dns = 192.0.2.\n" R2,
	     2,
	     {"10.139.1.1", "10.139.1.2"},
	     {"192.0.2.54", "192.0.2.54"}},
	    {"R4_dns_malformed_virtual", "/qubes-netvm-primary-dns = x\n" R1, 0, {0}, {0}},
	    {"R4_dns_of_the_other_family",
	     "/qubes-netvm-primary-dns = fd09::1\n" V2 "/qubes-primary-dns = 2001:db8::53\n" R2,
	     1,
	     {"10.139.1.2"},
	     {"192.0.2.54"}},
	    {"R4_dns_with_prefix_length",
	     "/qubes-netvm-primary-dns = 10.139.1.1/32\n" R1,
	     0,
	     {0},
	     {0}},
	    {"R4_dns_empty_value",
	     "/qubes-netvm-primary-dns =\n" V2 R1,
	     1,
	     {"10.139.1.2"},
	     {"192.0.2.53"}},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		test_case(table[i].name);
		read_text(table[i].text);
		CHECK_INT(s.dns_count, table[i].n);
		for (size_t k = 0; k < s.dns_count && k < table[i].n; k++) {
			CHECK_STR(show(&s.dns[k].virt), table[i].virt[k]);
			CHECK_STR(show(&s.dns[k].real), table[i].real[k]);
		}
	}
}

/* --- lists ------------------------------------------------------------------------------ */

static void test_connected(void)
{
	static char text[2 * QUBESDB_VALUE_MAX];
	size_t n;

	test_case("Q10_connected_none");
	read_text("");
	CHECK_INT(s.connected_count, 0);

	test_case("Q10_connected_both_families");
	read_text("/connected-ips = 10.137.0.5 10.137.0.6\n"
		  "/connected-ips6 = fd09:24ef:4179::a89:5\n");
	CHECK_INT(s.connected_count, 3);
	CHECK_STR(show(&s.connected[0]), "10.137.0.5");
	CHECK_STR(show(&s.connected[1]), "10.137.0.6");
	CHECK_STR(show(&s.connected[2]), "fd09:24ef:4179::a89:5");
	CHECK_STR(logged, "");

	test_case("Q10_connected_spaces");
	read_text("/connected-ips =   10.137.0.5    10.137.0.6  \n");
	CHECK_INT(s.connected_count, 2);
	CHECK_STR(logged, "");

	test_case("Q10_connected_malformed_words_are_skipped_and_told");
	read_text("/connected-ips = 10.137.0.5 10.137.0 fd09::1 10.137.0.7 10.137.0.256\n"
		  "/connected-ips6 = 10.137.0.8 ::1/128 fd09::2\n");
	CHECK_INT(s.connected_count, 3);
	CHECK_STR(show(&s.connected[0]), "10.137.0.5");
	CHECK_STR(show(&s.connected[1]), "10.137.0.7");
	CHECK_STR(show(&s.connected[2]), "fd09::2");
	CHECK(strstr(logged, "warning: /connected-ips: \"10.137.0\": not an address\n") != NULL);
	CHECK(strstr(logged, "/connected-ips: \"fd09::1\": not an address\n") != NULL);
	CHECK(strstr(logged, "/connected-ips: \"10.137.0.256\": not an address\n") != NULL);
	CHECK(strstr(logged, "/connected-ips6: \"10.137.0.8\": not an address\n") != NULL);

	test_case("hp_043_log_flood");
	n = (size_t)snprintf(text, sizeof(text), "/connected-ips =");
	for (int i = 0; i < 500; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " x");
	read_text(text);
	n = 0;
	for (const char *p = logged; (p = strchr(p, '\n')) != NULL; p++)
		n++;
	CHECK(n > 0 && n <= LOG_PEER_BURST + 1);
	CHECK_INT(s.connected_count, 0);

	test_case("D7_connected_is_bounded");
	n = (size_t)snprintf(text, sizeof(text), "/connected-ips =");
	for (int i = 0; i < 380; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " 9.%d.%d.%d", i / 100,
				      i / 10 % 10, i % 10);
	n += (size_t)snprintf(text + n, sizeof(text) - n, "\n/connected-ips6 =");
	for (int i = 0; i < 100; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " fd::%x", i);
	read_text(text);
	CHECK_INT(s.connected_count, ENGINE_CONNECTED_MAX);
	CHECK(strstr(logged, "\"fd::14\": too many addresses\n") != NULL);
	/* long words are cut, control bytes do not reach the console */
	test_case("hp_043_log_of_odd_bytes");
	n = (size_t)snprintf(text, sizeof(text), "/connected-ips = \033[2J");
	memset(text + n, 'x', 1000);
	text[n + 1000] = '\0';
	read_text(text);
	CHECK(strstr(logged, "\\x1b[2Jxxx") != NULL && strchr(logged, '\033') == NULL);
	CHECK(strlen(logged) < 150);
}

static void test_source_options(void)
{
	struct addr a = lab_to_addr("10.137.0.5"), b = lab_to_addr("10.137.0.6");
	struct addr six = lab_to_addr("fd09:24ef:4179::a89:5");
	const char *names;

	test_case("N4_quota_of_a_source");
	read_text("/vm-config/ringfence-flows = 10.137.0.5=1000  fd09:24ef:4179::a89:5=20\n");
	CHECK_INT(settings_options(&s, &a).max_flows, 1000);
	CHECK_INT(settings_options(&s, &six).max_flows, 20);
	CHECK_INT(settings_options(&s, &b).max_flows, 0);
	read_text("/vm-config/ringfence-flows = 10.137.0.5 10.137.0.5= 10.137.0.5=0 "
		  "10.137.0.5=x 10.137.0.5=1x x=3 10.137.0.5=99999999 10.137.0.6=7\n");
	CHECK_INT(s.quota_count, 1);
	CHECK_INT(settings_options(&s, &b).max_flows, 7);
	CHECK(strstr(logged, "\"10.137.0.5=1x\": not ADDRESS=NUMBER\n") != NULL);

	test_case("settings_learning_and_silence_by_source");
	read_text("/vm-config/ringfence-dns-learn = 10.137.0.5\n"
		  "/vm-config/ringfence-quiet = all\n");
	CHECK(settings_options(&s, &a).learn && !settings_options(&s, &b).learn);
	CHECK(settings_options(&s, &b).quiet && !settings_options(&s, &b).eim);

	test_case("settings_wildcards_of_a_source");
	open_db("/vm-config/ringfence-wildcard-fd09:24ef:4179::a89:5 = example.com a.test\n");
	settings_read(&s, db, now_ms);
	names = settings_wildcards(&s, &six);
	CHECK(names != NULL && strcmp(names, "example.com a.test") == 0);
	CHECK(settings_wildcards(&s, &a) == NULL);
	qubesdb_free(&db);

	test_case("settings_wildcards_that_make_no_sense");
	read_text("/vm-config/ringfence-wildcard-10.137.0.5 = a.test a..b  "
		  "Example.com b.test. *.c\n"
		  "/vm-config/ringfence-wildcard-10.137.0 = a.test\n"
		  "/vm-config/ringfence-wildcard-FD09::1 = a.test\n");
	CHECK(strstr(logged, "wildcard-10.137.0.5: \"a..b\": not a name\n") != NULL);
	CHECK(strstr(logged, "wildcard-10.137.0.5: \"Example.com\": not a name\n") != NULL);
	CHECK(strstr(logged, "wildcard-10.137.0.5: \"*.c\": not a name\n") != NULL);
	CHECK(strstr(logged, "a.test") == NULL && strstr(logged, "b.test") == NULL);
	CHECK(strstr(logged, "wildcard-10.137.0: \"10.137.0\": not an address\n") != NULL);
	CHECK(strstr(logged, "wildcard-FD09::1: \"FD09::1\": not written as fd09::1\n") != NULL);

	test_case("settings_keys_that_nobody_reads");
	read_text("/vm-config/ringfence-dnslearn = all\n/vm-config/ringfence = x\n"
		  "/vm-config/ringfence-log-level = info\n/vm-config/other = x\n");
	CHECK(strstr(logged, "/vm-config/ringfence-dnslearn: \"all\": no such key\n") != NULL);
	CHECK(strstr(logged, "/vm-config/ringfence: \"x\": no such key\n") != NULL);
	CHECK(strstr(logged, "log-level") == NULL && strstr(logged, "other") == NULL);

	test_case("settings_log_level");
	read_text("/vm-config/ringfence-log-level = debug\n");
	CHECK_INT(s.log_level, LOG_LEVEL_DEBUG);
	read_text("/vm-config/ringfence-log-level = loud\n");
	CHECK_INT(s.log_level, 0);
	CHECK(strstr(logged, "\"loud\": no level\n") != NULL);
}

static void test_eim(void)
{
	static const struct {
		const char *name, *value;
		bool c1, c1_6, c2;
	} table[] = {
	    {"U4_option_absent", NULL, false, false, false},
	    {"U4_option_empty", "", false, false, false},
	    {"U4_option_all", "all", true, true, true},
	    {"U4_option_one", C1, true, false, false},
	    {"U4_option_both_families", C1 " " C16, true, true, false},
	    {"U4_option_bad_words", "none " C2 " everybody", false, false, true},
	    {"U4_option_all_is_a_word_alone", "all " C1, true, false, false},
	    {"U4_option_no_prefix_of_an_address", "10.137.0.50", false, false, false},
	};
	static char text[4000];
	size_t n;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct addr a = lab_to_addr(C1), a6 = lab_to_addr(C16), b = lab_to_addr(C2);

		test_case(table[i].name);
		if (table[i].value)
			snprintf(text, sizeof(text), "/vm-config/ringfence-eim = %s\n",
				 table[i].value);
		read_text(table[i].value ? text : "");
		CHECK_INT(settings_options(&s, &a).eim, table[i].c1);
		CHECK_INT(settings_options(&s, &a6).eim, table[i].c1_6);
		CHECK_INT(settings_options(&s, &b).eim, table[i].c2);
		CHECK_INT(settings_options(&s, &a).max_flows, 0);
		CHECK_INT(settings_options(&s, &a).quiet, false);
	}

	test_case("D7_option_is_bounded");
	n = (size_t)snprintf(text, sizeof(text), "/vm-config/ringfence-eim =");
	for (int i = 0; i < SETTINGS_SET_MAX + 1; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " 9.1.1.%d", i);
	read_text(text);
	CHECK_INT(s.eim.count, SETTINGS_SET_MAX);
	CHECK(strstr(logged, "too many addresses\n") != NULL);
}

/* --- problems ------------------------------------------------------------------------------- */

/* What is logged when the settings are read once more, from this text. */
static void read_again(const char *text)
{
	open_db(text);
	now_ms += 100000;
	log_begin();
	settings_read(&s, db, now_ms);
	log_end();
	qubesdb_free(&db);
}

static size_t lines(void)
{
	size_t n = 0;

	for (const char *p = logged; (p = strchr(p, '\n')) != NULL; p++)
		n++;
	return n;
}

static void test_said_once(void)
{
	static char text[4096];
	size_t n;

	test_case("U9_malformed_text_is_logged_once");
	read_text("/qubes-primary-dns = 192.0.2.\n/connected-ips = x 10.137.0.5\n");
	CHECK_STR(logged, "ringfenced: warning: /qubes-primary-dns: \"192.0.2.\" is not an IPv4 "
			  "address\nringfenced: warning: /connected-ips: \"x\": not an address\n");
	read_again("/qubes-primary-dns = 192.0.2.\n/connected-ips = x 10.137.0.5\n");
	CHECK_STR(logged, "");
	CHECK_INT(s.problem_count, 2);

	test_case("U9_another_value_is_logged_again");
	read_again("/qubes-primary-dns = 192.0.\n/connected-ips = 10.137.0.6 x\n");
	CHECK_STR(logged, "ringfenced: warning: /qubes-primary-dns: \"192.0.\" is not an IPv4 "
			  "address\n");

	test_case("U9_what_comes_back_is_logged_again");
	read_again("/qubes-primary-dns = 192.0.2.53\n");
	CHECK_STR(logged, "");
	CHECK_INT(s.problem_count, 0);
	read_again("/qubes-primary-dns = 192.0.\n");
	CHECK_INT(lines(), 1);

	test_case("D7_problems_are_bounded");
	n = (size_t)snprintf(text, sizeof(text), "/connected-ips =");
	for (int i = 0; i < 500; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " x%d", i);
	read_text(text);
	CHECK_INT(s.problem_count, 500);
	CHECK_INT(settings_problems(&s), SETTINGS_PROBLEM_MAX);
	CHECK_STR(s.problem[SETTINGS_PROBLEM_MAX - 1].text, "\"x63\": not an address");
	read_again(text);
	CHECK_STR(logged, "");
}

struct found {
	char text[8192];
	size_t len;
};

static void add_problem(void *arg, const char *path, const char *text)
{
	struct found *f = arg;

	f->len += (size_t)snprintf(f->text + f->len, sizeof(f->text) - f->len, "%s: %s\n", path,
				   text);
}

/* Each text, and every problem of it. */
static void test_problems(void)
{
	static const struct {
		const char *name, *text, *problems;
	} table[] = {
	    {"U9_nothing_wrong",
	     V1 V2 R1 R2 "/qubes-ip = 10.137.0.4\n/qubes-ip6 = fd09::4\n/qubes-gateway =\n"
			 "/connected-ips =\n/connected-ips6 = fd09::5\n"
			 "/mapped-ip/10.137.0.5/visible-ip = 10.137.0.5\n"
			 "/mapped-ip/10.137.0.5/visible-gateway = 10.137.0.4\n"
			 "/vm-config/ringfence-eim = all\n/vm-config/ringfence-quiet =\n"
			 "/vm-config/ringfence-dns-learn = 10.137.0.5 fd09::5\n"
			 "/vm-config/ringfence-flows = 10.137.0.5=10\n"
			 "/vm-config/ringfence-log-level = debug\n"
			 "/vm-config/ringfence-wildcard-10.137.0.5 =  a.test  b-c.d_e \n"
			 "/vm-config/ringfence-wildcard-fd09::5 =\n/vm-config/other = x\n",
	     ""},
	    {"U9_each_address_key",
	     "/qubes-ip = fd09::4\n/qubes-gateway = 10.137.0\n/qubes-netvm-gateway = x\n"
	     "/qubes-ip6 = 10.137.0.4\n/qubes-gateway6 = fd09:::1\n"
	     "/qubes-netvm-gateway6 = fd09::1/64\n/qubes-primary-dns = 2001:db8::53\n"
	     "/qubes-secondary-dns = a b\n/qubes-netvm-primary-dns = 1.2.3.4 \n"
	     "/qubes-netvm-secondary-dns = 01.2.3.4\n",
	     "/qubes-ip: \"fd09::4\" is not an IPv4 address\n"
	     "/qubes-gateway: \"10.137.0\" is not an IPv4 address\n"
	     "/qubes-netvm-gateway: \"x\" is not an IPv4 address\n"
	     "/qubes-primary-dns: \"2001:db8::53\" is not an IPv4 address\n"
	     "/qubes-secondary-dns: \"a b\" is not an IPv4 address\n"
	     "/qubes-netvm-primary-dns: \"1.2.3.4 \" is not an IPv4 address\n"
	     "/qubes-ip6: \"10.137.0.4\" is not an IPv6 address\n"
	     "/qubes-netvm-secondary-dns: \"01.2.3.4\" is not an IPv4 address\n"
	     "/qubes-gateway6: \"fd09:::1\" is not an IPv6 address\n"
	     "/qubes-netvm-gateway6: \"fd09::1/64\" is not an IPv6 address\n"},
	    {"Q11_U9_mapped_ip",
	     "/mapped-ip/10.137.0.5/visible-ip = 192.168.0\n"
	     "/mapped-ip/10.137.0.5/visible-gateway = gw\n"
	     "/mapped-ip/10.137.0.6/visible-ip = 192.168.0.9\n"
	     "/mapped-ip/10.137.0.7/visible-gateway = 192.168.0.1\n"
	     "/mapped-ip/10.137.0.8/note = x\n/mapped-ip/x/visible-ip = 192.168.0.9\n"
	     "/mapped-ip/10.137.0.9 = x\n",
	     "/mapped-ip/10.137.0.5/visible-gateway: \"gw\" is not an IPv4 address\n"
	     "/mapped-ip/10.137.0.5/visible-ip: \"192.168.0\" is not an IPv4 address\n"
	     "/mapped-ip/10.137.0.6/visible-ip: \"192.168.0.9\" has no visible-gateway: ignored\n"
	     "/mapped-ip/10.137.0.7/visible-gateway: \"192.168.0.1\" has no visible-ip: ignored\n"
	     "/mapped-ip/10.137.0.9: names no address: ignored\n"
	     "/mapped-ip/x/visible-ip: names no address: ignored\n"},
	    {"U9_settings_of_the_user",
	     "/vm-config/ringfence = 1\n/vm-config/ringfence-frob = 1\n"
	     "/vm-config/ringfence-eim = some 10.137.0.5\n"
	     "/vm-config/ringfence-flows = 10.137.0.5=x 10.137.0.6=0\n"
	     "/vm-config/ringfence-log-level = loud\n"
	     "/vm-config/ringfence-wildcard-10.137.0 = a.test\n"
	     "/vm-config/ringfence-wildcard-fd09:0::5 = a.test\n"
	     "/vm-config/ringfence-wildcard-10.137.0.5 = A.test a,b b.test. *.test\n",
	     "/vm-config/ringfence: \"1\": no such key\n"
	     "/vm-config/ringfence-frob: \"1\": no such key\n"
	     "/vm-config/ringfence-wildcard-10.137.0: \"10.137.0\": not an address\n"
	     "/vm-config/ringfence-wildcard-10.137.0.5: \"A.test\": not a name\n"
	     "/vm-config/ringfence-wildcard-10.137.0.5: \"a,b\": not a name\n"
	     "/vm-config/ringfence-wildcard-10.137.0.5: \"*.test\": not a name\n"
	     "/vm-config/ringfence-wildcard-fd09:0::5: \"fd09:0::5\": not written as fd09::5\n"
	     "/vm-config/ringfence-eim: \"some\": not an address\n"
	     "/vm-config/ringfence-flows: \"10.137.0.5=x\": not ADDRESS=NUMBER\n"
	     "/vm-config/ringfence-flows: \"10.137.0.6=0\": not ADDRESS=NUMBER\n"
	     "/vm-config/ringfence-log-level: \"loud\": no level\n"},
	};
	static struct found found;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		test_case(table[i].name);
		open_db(table[i].text);
		found.len = 0;
		found.text[0] = '\0';
		log_begin();
		settings_check(db, add_problem, &found);
		log_end();
		CHECK_STR(found.text, table[i].problems);
		CHECK_STR(logged, "");
		qubesdb_free(&db);
	}
}

/* --- fake-ip ------------------------------------------------------------------------------- */

static void test_visible(void)
{
#define IP	"/mapped-ip/10.137.0.5/visible-ip = "
#define GATEWAY "/mapped-ip/10.137.0.5/visible-gateway = "
	static const struct {
		const char *name, *text, *visible, *gateway;
	} table[] = {
	    {"Q11_absent", "", "none", "10.137.0.2"},
	    {"Q11_another_address", IP "192.168.0.9\n" GATEWAY "192.168.0.1\n", "192.168.0.9",
	     "192.168.0.1"},
	    {"Q11_the_real_one", IP "10.137.0.5\n" GATEWAY "10.137.0.2\n", "none", "10.137.0.2"},
	    {"Q11_U9_another_gateway_alone", IP "10.137.0.5\n" GATEWAY "192.168.0.1\n", "none",
	     "192.168.0.1"},
	    {"Q11_no_gateway", IP "192.168.0.9\n", "none", "10.137.0.2"},
	    {"Q11_no_address", GATEWAY "192.168.0.1\n", "none", "10.137.0.2"},
	    {"Q11_malformed_address", IP "192.168.0\n" GATEWAY "192.168.0.1\n", "none",
	     "10.137.0.2"},
	    {"Q11_malformed_gateway", IP "192.168.0.9\n" GATEWAY "gw\n", "none", "10.137.0.2"},
	    {"Q11_of_the_other_family", IP "fd09::9\n" GATEWAY "fd09::1\n", "none", "10.137.0.2"},
	    {"Q11_of_a_longer_address",
	     "/mapped-ip/10.137.0.50/visible-ip = 192.168.0.9\n"
	     "/mapped-ip/10.137.0.50/visible-gateway = 192.168.0.1\n",
	     "none", "10.137.0.2"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct addr real = lab_to_addr(C1), gateway = lab_to_addr(OUR), visible;

		test_case(table[i].name);
		open_db(table[i].text);
		visible = settings_visible(db, &real, &gateway);
		CHECK_STR(show(&visible), table[i].visible);
		CHECK_STR(show(&gateway), table[i].gateway);
		real = lab_to_addr(C16);
		visible = settings_visible(db, &real, &gateway);
		CHECK_INT(visible.family, 0);
		qubesdb_free(&db);
	}
}

/* --- lines about packets ---------------------------------------------------------------------- */

static struct lab lab;

static const char *line_of(const struct engine_log *entry)
{
	static char line[PACKET_LOG_LINE];

	packet_log_format(lab.e, entry, line);
	return line;
}

static void test_format(void)
{
	struct engine_log e = {.src = lab_to_addr(C1),
			       .dst = lab_to_addr(WEB),
			       .proto = 6,
			       .dport = 443,
			       .reason = DROP_REJECTED,
			       .rule = 1};

	test_case("R7_line_names_the_rule");
	CHECK_STR(line_of(&e), "10.137.0.5 > 192.0.2.80 tcp 443: rejected by rule 0001");
	e.rule = RULE_INDEX_POLICY;
	CHECK_STR(line_of(&e), "10.137.0.5 > 192.0.2.80 tcp 443: rejected by rule policy");
	test_case("R7_line_when_the_policy_is_gone");
	e.rule = 7;
	CHECK_STR(line_of(&e),
		  "10.137.0.5 > 192.0.2.80 tcp 443: rejected by rule a policy that is gone");
	e.rule = 0;
	e.src = lab_to_addr("10.137.0.77");
	CHECK(strstr(line_of(&e), "a policy that is gone") != NULL);
	test_case("R7_line_for_each_protocol");
	e.reason = DROP_NO_POLICY;
	e.proto = 17;
	CHECK_STR(line_of(&e), "10.137.0.77 > 192.0.2.80 udp 443: dropped: no-policy");
	e.proto = 1;
	e.icmp_type = 8;
	CHECK_STR(line_of(&e), "10.137.0.77 > 192.0.2.80 icmp type 8: dropped: no-policy");
	e.proto = 58;
	e.icmp_type = 128;
	e.src = lab_to_addr(C16);
	e.dst = lab_to_addr(WEB6);
	CHECK_STR(line_of(&e), C16 " > " WEB6 " icmp type 128: dropped: no-policy");
	e.proto = 255;
	CHECK_STR(line_of(&e), C16 " > " WEB6 " protocol 255: dropped: no-policy");
	test_case("D3_line_says_how_many_more");
	e.suppressed = UINT32_MAX;
	CHECK_STR(line_of(&e), C16
		  " > " WEB6 " protocol 255: dropped: no-policy (4294967295 more since the last)");
	/* the longest there can be is not cut */
	e.src = e.dst = lab_to_addr("2001:1db8:1111:2222:3333:4444:5555:6666");
	e.reason = DROP_FRAGMENT_TIMEOUT;
	CHECK(strstr(line_of(&e), "more since the last)") != NULL);
}

static void test_drain(void)
{
	struct pk k = {.port = 1, .src = C1, .dst = WEB, .proto = 17, .sp = 5, .dp = 99};
	size_t lines = 0;

	test_case("R7_D3_refused_packets_are_told_once_a_second");
	for (int i = 0; i < 100; i++)
		lab_send(&lab, k);
	log_begin();
	packet_log_drain(lab.e, now_ms);
	log_end();
	for (const char *p = logged; (p = strchr(p, '\n')) != NULL; p++)
		lines++;
	CHECK_INT(lines, 2);
	CHECK(strstr(logged,
		     "ringfenced: 10.137.0.5 > 192.0.2.80 udp 99: rejected by rule policy\n"));
	lab.ms += 1000;
	lab_send(&lab, k);
	log_begin();
	packet_log_drain(lab.e, now_ms + 1000);
	log_end();
	CHECK(strstr(logged, "(98 more since the last)\n") != NULL);
	log_begin();
	packet_log_drain(lab.e, now_ms + 1000);
	log_end();
	CHECK_STR(logged, "");

	test_case("R7_quiet_sources_say_nothing");
	{
		struct engine_source_options o = {.quiet = true};
		struct addr c1 = lab_to_addr(C1);

		CHECK_INT(engine_source_options(lab.e, &c1, &o), 0);
		lab.ms += 5000;
		lab_send(&lab, k);
		log_begin();
		packet_log_drain(lab.e, now_ms + 9000);
		log_end();
		CHECK_STR(logged, "");
	}
}

int main(void)
{
	static const char *const rules[] = {"action=accept proto=tcp dstports=80-80",
					    "action=drop dst4=192.0.2.80/32 proto=tcp", NULL};
	char log_file[] = "/tmp/test_settings_log.XXXXXX";
	int fd = mkstemp(file);

	log_fd = mkstemp(log_file);
	stderr_fd = dup(STDERR_FILENO);
	if (fd < 0 || log_fd < 0 || stderr_fd < 0)
		abort();
	close(fd);
	unlink(log_file);
	lab_init(&lab, 1024, 51);
	lab_rules(&lab, C1, "drop", rules);
	test_dns();
	test_connected();
	test_eim();
	test_source_options();
	test_said_once();
	test_problems();
	test_visible();
	test_format();
	test_drain();
	engine_free(&lab.e);
	unlink(file);
	close(log_fd);
	close(stderr_fd);
	return test_end();
}
