// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The qrexec agent on vchans in memory: dom0's connection, its calls, its restarts,
 * and callers that are slow, rude or gone (qubes-integration.md sections 1, 3, 4).
 */
#include "tests/unit/qrexec_world.h"

#define ASK "ringfence-features"

static struct agent_world world;
static char letters[65536]; /* all a */

/* --- dom0's connection -------------------------------------------------------------- */

static void test_start(void)
{
	struct agent_world *w = &world;

	test_case("no server before rules are in force");
	agent_init(w);
	agent_after(w, 60000);
	CHECK(!control(w));
	CHECK_STR(qrexec_stats(w->q).state, "off");
	CHECK(w->deadline == UINT64_MAX);

	test_case("the server: domain 0, port 512; one, and no wakeups while it waits");
	qrexec_open(w->q);
	qrexec_open(w->q);
	w->deadline = 0;
	agent_settle(w);
	CHECK(control(w) && control(w)->listens && control(w)->domid == 0);
	CHECK(w->deadline == UINT64_MAX);
	w->calls = 0;
	agent_after(w, 600000);
	CHECK_INT(w->calls, 0);
	CHECK_STR(qrexec_stats(w->q).state, "waiting");

	test_case("our HELLO comes first, with version 4, and nothing else");
	fake_vchan_announce(&control(w)->v);
	agent_settle(w);
	CHECK_STR(told(w), "hello 4\n");
	CHECK_STR(qrexec_stats(w->q).state, "greeting");
	CHECK_INT(qrexec_stats(w->q).version, 0);

	test_case("then dom0's");
	push_hello(w, control(w), 3);
	agent_settle(w);
	CHECK_STR(qrexec_stats(w->q).state, "connected");
	CHECK_INT(qrexec_stats(w->q).version, 3);
	agent_end(w);
}

static void test_versions(void)
{
	static const struct {
		uint32_t theirs;
		unsigned used;
	} cases[] = {{0, 0}, {1, 0}, {2, 2}, {3, 3}, {4, 4}, {5, 4}, {65535, 4}};

	test_case("both use the smaller version; 2 is the least");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct agent_world *w = &world;

		agent_init(w);
		qrexec_open(w->q);
		agent_settle(w);
		agent_link(w, cases[i].theirs);
		CHECK_INT(qrexec_stats(w->q).version, cases[i].used);
		CHECK_STR(qrexec_stats(w->q).state, cases[i].used ? "connected" : "waiting");
		agent_end(w);
	}
}

/* @len bytes instead of dom0's HELLO, or after it. */
static void refuses(const char *name, bool greeted, const void *bytes, size_t len)
{
	struct agent_world *w = &world;
	struct place *first;

	test_case(name);
	agent_init(w);
	qrexec_open(w->q);
	agent_settle(w);
	first = control(w);
	fake_vchan_announce(&first->v);
	agent_settle(w);
	if (greeted) {
		push_hello(w, first, 3);
		agent_settle(w);
		CHECK_STR(qrexec_stats(w->q).state, "connected");
	}
	push(w, first, bytes, len);
	agent_settle(w);
	CHECK(first->v.freed);
	CHECK_STR(qrexec_stats(w->q).state, "waiting");
	CHECK(strstr(w->log, "makes no sense"));
	/* It waits before it listens again: who says it again is not heard again and again. */
	CHECK(!control(w));
	agent_after(w, 4999);
	CHECK(!control(w));
	agent_after(w, 1);
	CHECK(control(w) != NULL);
	agent_link(w, 3);
	CHECK_STR(qrexec_stats(w->q).state, "connected");
	agent_end(w);
}

static void test_garbage(void)
{
	uint8_t m[QREXEC_OUT_MAX];

	qrexec_header(m, QREXEC_HELLO, 5);
	refuses("a HELLO of 5 bytes", false, m, 8);
	qrexec_header(m, QREXEC_EXEC_CMDLINE, 20);
	refuses("a command before the HELLO", false, m, 8);
	qrexec_hello(m);
	refuses("a second HELLO", true, m, 12);
	qrexec_header(m, QREXEC_EXEC_CMDLINE, 8);
	refuses("EXEC_CMDLINE without a command line", true, m, 8);
	qrexec_header(m, QREXEC_EXEC_CMDLINE, 8 + QREXEC_CMDLINE_MAX + 1);
	refuses("EXEC_CMDLINE oversized", true, m, 8);
	qrexec_header(m, QREXEC_EXEC_CMDLINE, UINT32_MAX);
	refuses("EXEC_CMDLINE of 4 GiB", true, m, 8);
	qrexec_header(m, QREXEC_SERVICE_CONNECT, 8);
	refuses("SERVICE_CONNECT without an ident", true, m, 8);
	qrexec_header(m, QREXEC_SERVICE_REFUSED, 31);
	refuses("SERVICE_REFUSED of 31 bytes", true, m, 8);
	qrexec_header(m, QREXEC_STDIN, 0);
	refuses("data on the control channel", true, m, 8);
	qrexec_header(m, QREXEC_CONNECTION_TERMINATED, 8);
	refuses("CONNECTION_TERMINATED from dom0", true, m, 8);
	memset(m, 0xff, 8);
	refuses("bytes of ones", true, m, 8);
}

static void test_link_deadlines(void)
{
	struct agent_world *w = &world;
	uint8_t m[8];

	test_case("dom0 connects and does not greet: 10 s");
	agent_init(w);
	qrexec_open(w->q);
	agent_settle(w);
	fake_vchan_announce(&control(w)->v);
	agent_settle(w);
	agent_after(w, QREXEC_GREET_MS - 1);
	CHECK_STR(qrexec_stats(w->q).state, "greeting");
	agent_after(w, 1);
	CHECK_STR(qrexec_stats(w->q).state, "waiting");
	agent_end(w);

	test_case("half a message of dom0's: 10 s, from its beginning");
	agent_up(w);
	qrexec_header(m, QREXEC_EXEC_CMDLINE, 100);
	push(w, control(w), m, 3);
	agent_settle(w);
	agent_after(w, QREXEC_MESSAGE_MS - 1);
	push(w, control(w), m + 3, 5);
	agent_settle(w);
	CHECK_STR(qrexec_stats(w->q).state, "connected");
	agent_after(w, 1);
	CHECK_STR(qrexec_stats(w->q).state, "waiting");
	CHECK(strstr(w->log, "does not end"));
	agent_end(w);

	test_case("impossible ring indices end the connection");
	agent_up(w);
	control(w)->v.to_us.prod += FAKE_RING + 1;
	w->deadline = 0;
	agent_settle(w);
	CHECK_STR(qrexec_stats(w->q).state, "waiting");
	agent_end(w);

	test_case("no vchan server: said once, tried again after 0.1 s to 5 s");
	agent_init(w);
	w->make_error = -ENOSPC;
	qrexec_open(w->q);
	w->deadline = 0;
	agent_settle(w);
	CHECK_STR(w->log, "qrexec: no vchan server: No space left on device\n");
	for (unsigned ms = 100; ms < 5000; ms *= 2) {
		CHECK_INT(w->deadline - w->db.r.now, ms);
		agent_after(w, ms);
	}
	CHECK_INT(w->deadline - w->db.r.now, 5000);
	CHECK_STR(w->log, "qrexec: no vchan server: No space left on device\n");
	w->make_error = 0;
	agent_after(w, 5000);
	CHECK(control(w) != NULL);
	agent_end(w);
}

/* --- services --------------------------------------------------------------------------- */

/* Call, send @input (NULL: nothing), and look at what comes back. */
static void served(const char *cmdline, const char *input, const char *want)
{
	struct agent_world *w = &world;
	struct place *p;

	agent_up(w);
	push_exec(w, 0, 513, cmdline);
	p = caller(w, 513, 3);
	if (input)
		push_message(w, p, QREXEC_STDIN, input, (uint32_t)strlen(input));
	agent_settle(w);
	if (strcmp(said(p), want) != 0)
		printf("%s with \"%s\":\n", cmdline, input ? input : "(nothing)");
	CHECK_STR(said(p), want);
	CHECK(p->v.freed);
	CHECK_STR(told(w), "terminated 0 513\n");
	CHECK_INT(qrexec_stats(w->q).sessions, 0);
	agent_end(w);
}

static void test_services(void)
{
	test_case("qubes.WaitForSession and the suspend hooks: 0 at once");
	served("root:QUBESRPC qubes.WaitForSession dom0", NULL, "hello 4\nstdout 0\nexit 0\n");
	served("root:nogui:QUBESRPC qubes.SuspendPre dom0", NULL, "hello 4\nstdout 0\nexit 0\n");
	served("root:QUBESRPC qubes.SuspendPost dom0", NULL, "hello 4\nstdout 0\nexit 0\n");
	served("QUBESRPC qubes.WaitForSession+ dom0 name dom0", "user\n",
	       "hello 4\nstdout 0\nexit 0\n");

	test_case("qubes.SetDateTime: a line that is a date");
	served("root:QUBESRPC qubes.SetDateTime dom0", "2026-11-26T06:46:02+00:00\n",
	       "hello 4\nstdout 0\nexit 0\n");
	served("root:QUBESRPC qubes.SetDateTime dom0", "2026-11-26T06:46:02Z\nand more\n",
	       "hello 4\nstdout 0\nexit 0\n");
	served("root:QUBESRPC qubes.SetDateTime dom0", "2026-11-26\n",
	       "hello 4\nstderr ringfence: qubes.SetDateTime: the input is not a date\n"
	       "stdout 0\nexit 1\n");
	served("root:QUBESRPC qubes.SetDateTime dom0", "\033[2Jx\n",
	       "hello 4\nstderr ringfence: the input is not a line of text\nstdout 0\nexit 1\n");
	served("root:QUBESRPC qubes.SetDateTime dom0", "", /* EOF */
	       "hello 4\nstderr ringfence: qubes.SetDateTime: the input is not a date\n"
	       "stdout 0\nexit 1\n");

	test_case("ringfence.Status: the control socket's answer");
	served("root:QUBESRPC ringfence.Status dom0", NULL,
	       "hello 4\nstdout 16\nstdout 0\nexit 0\n");
	CHECK_STR(world.asked, "status");
	served("root:QUBESRPC ringfence.Status+uptime_s dom0", NULL,
	       "hello 4\nstdout 16\nstdout 0\nexit 0\n");
	CHECK_STR(world.asked, "status uptime_s");

	test_case("ringfence.Explain: a question in the argument, or in a line");
	served("root:QUBESRPC ringfence.Explain+10.137.0.5+tcp+1.1.1.1+443 dom0", NULL,
	       "hello 4\nstdout 16\nstdout 0\nexit 0\n");
	CHECK_STR(world.asked, "explain 10.137.0.5 tcp 1.1.1.1 443");
	served("root:QUBESRPC ringfence.Explain+--trace+fd09__5+udp+2001_db8__1+53 work", NULL,
	       "hello 4\nstdout 16\nstdout 0\nexit 0\n");
	CHECK_STR(world.asked, "explain --trace fd09::5 udp 2001:db8::1 53");
	served("root:QUBESRPC ringfence.Explain dom0", "fd09::5 udp 2001:db8::1 53\n",
	       "hello 4\nstdout 16\nstdout 0\nexit 0\n");
	CHECK_STR(world.asked, "explain fd09::5 udp 2001:db8::1 53");

	test_case("an argument with what dom0 lets nobody send");
	served("root:QUBESRPC ringfence.Status+a/b dom0", NULL,
	       "hello 4\nstderr ringfence: the argument has characters that none has, or too "
	       "many\nstdout 0\nexit 1\n");
	CHECK_STR(world.asked, "");
}

static void test_answers(void)
{
	struct agent_world *w = &world;
	char line[300];
	struct place *p;

	test_case("an answer that is an error: to stdout, status 1");
	agent_up(w);
	w->answer_error = true;
	push_exec(w, 0, 513, "root:QUBESRPC ringfence.Explain+x dom0");
	p = caller(w, 513, 3);
	CHECK_STR(said(p), "hello 4\nstdout 16\nstdout 0\nexit 1\n");

	test_case("no memory for the answer");
	w->no_answer = true;
	place_free(p);
	push_exec(w, 0, 513, "root:QUBESRPC ringfence.Status dom0");
	p = caller(w, 513, 3);
	CHECK_STR(said(p), "hello 4\nstderr ringfence: out of memory\nstdout 0\nexit 1\n");

	test_case("a line of 128 bytes is one, with 129 it is none");
	for (unsigned n = 128; n < 130; n++) {
		w->asked[0] = '\0';
		w->no_answer = w->answer_error = false;
		place_free(p);
		push_exec(w, 0, 513, "root:QUBESRPC ringfence.Explain dom0");
		p = caller(w, 513, 3);
		memset(line, 'a', n);
		push_message(w, p, QREXEC_STDIN, line, n - 1);
		CHECK_STR(said(p), "hello 4\n");
		push_message(w, p, QREXEC_STDIN, "b\n", 2);
		agent_settle(w);
		CHECK_INT(strlen(w->asked), n == 128 ? strlen("explain ") + n : 0);
		CHECK_STR(said(p), n == 128 ? "hello 4\nstdout 16\nstdout 0\nexit 0\n"
					    : "hello 4\nstderr ringfence: the line of input is too "
					      "long\nstdout 0\nexit 1\n");
	}

	test_case("an argument of 128 bytes is one, with 129 it is none");
	for (unsigned n = 128; n < 130; n++) {
		w->asked[0] = '\0';
		place_free(p);
		memset(line, 'a', sizeof(line));
		snprintf(
		    line, sizeof(line), "root:QUBESRPC ringfence.Explain+%.*s dom0", (int)n,
		    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
		push_exec(w, 0, 513, line);
		p = caller(w, 513, 3);
		CHECK_INT(strlen(w->asked), n == 128 ? strlen("explain ") + n : 0);
	}
	agent_end(w);
}

static void test_refused(void)
{
	struct agent_world *w = &world;
	struct place *p;

	test_case("anything else: 127 at once, one line on stderr");
	served("user:QUBESRPC qubes.VMShell dom0", NULL,
	       "hello 4\nstderr ringfence: qubes.VMShell: no such service in this qube\n"
	       "stdout 0\nexit 127\n");
	served("user:QUBESRPC qubes.VMExec+ls dom0", NULL,
	       "hello 4\nstderr ringfence: qubes.VMExec: no such service in this qube\n"
	       "stdout 0\nexit 127\n");
	served("user:ls -l", NULL,
	       "hello 4\nstderr ringfence: a command: only services are served\n"
	       "stdout 0\nexit 127\n");
	served("", NULL,
	       "hello 4\nstderr ringfence: a command: only services are served\n"
	       "stdout 0\nexit 127\n");
	served("user:QUBESRPC ringfence.status dom0", NULL,
	       "hello 4\nstderr ringfence: ringfence.status: no such service in this qube\n"
	       "stdout 0\nexit 127\n");

	test_case("D3_what_came_does_not_go_back_to_a_terminal");
	served("user:QUBESRPC \033[2Jx\r dom0", NULL,
	       "hello 4\nstderr ringfence: ?[2Jx?: no such service in this qube\n"
	       "stdout 0\nexit 127\n");

	test_case("it is counted, and said once with who asked");
	agent_up(w);
	push_exec(w, 0, 513, "user:QUBESRPC qubes.VMShell work");
	CHECK_STR(w->log, "qrexec: qubes.VMShell from work: refused: no such service\n");
	caller(w, 513, 3);
	CHECK_INT(qrexec_stats(w->q).refused, 1);
	CHECK_INT(qrexec_stats(w->q).served, 0);
	agent_end(w);

	test_case("a command line with a NUL, and one without an end");
	agent_up(w);
	push_params(w, QREXEC_EXEC_CMDLINE, 0, 513, "a:QUBESRPC\0ringfence.Status dom0", 33);
	agent_settle(w);
	p = caller(w, 513, 3);
	CHECK_STR(said(p), "hello 4\nstderr ringfence: a command line with a NUL\nstdout 0\n"
			   "exit 127\n");
	push_params(w, QREXEC_EXEC_CMDLINE, 0, 514, "a:QUBESRPC ringfence.Status dom0", 32);
	agent_settle(w);
	p = caller(w, 514, 3);
	CHECK_STR(said(p), "hello 4\nstderr ringfence: a command line without an end\nstdout 0\n"
			   "exit 127\n");
	agent_end(w);

	test_case("JUST_EXEC: a status and nothing else");
	agent_up(w);
	push_params(w, QREXEC_JUST_EXEC, 0, 513, "u:QUBESRPC ringfence.Status dom0", 33);
	agent_settle(w);
	p = caller(w, 513, 3);
	CHECK_STR(said(p), "hello 4\nexit 0\n");
	CHECK_STR(w->asked, "");
	push_params(w, QREXEC_JUST_EXEC, 0, 514, "u:QUBESRPC qubes.VMShell dom0", 30);
	agent_settle(w);
	p = caller(w, 514, 3);
	CHECK_STR(said(p), "hello 4\nexit 127\n");
	CHECK_STR(told(w), "terminated 0 513\nterminated 0 514\n");
	agent_end(w);
}

static void test_long_command(void)
{
	static char text[QREXEC_CMDLINE_MAX];
	struct agent_world *w = &world;
	struct place *p;

	test_case("a command line of 1024 bytes is read, a longer one is refused for it");
	memset(text, 'a', sizeof(text));
	memcpy(text, "u:QUBESRPC ringfence.Status dom0 ", 33);
	for (size_t len = QREXEC_CMDLINE_KEEP; len <= QREXEC_CMDLINE_KEEP + 1; len++) {
		agent_up(w);
		text[len - 1] = '\0';
		push_params(w, QREXEC_EXEC_CMDLINE, 0, 513, text, len);
		agent_settle(w);
		p = caller(w, 513, 3);
		CHECK_STR(said(p), len == QREXEC_CMDLINE_KEEP
				       ? "hello 4\nstdout 16\nstdout 0\nexit 0\n"
				       : "hello 4\nstderr ringfence: ringfence.Status: a command "
					 "line too long\nstdout 0\nexit 127\n");
		text[len - 1] = 'a';
		agent_end(w);
	}

	test_case("the longest one too, and what follows it is read as usual");
	agent_up(w);
	text[sizeof(text) - 1] = '\0';
	push_params(w, QREXEC_EXEC_CMDLINE, 0, 513, text, sizeof(text));
	push_exec(w, 0, 514, "u:QUBESRPC ringfence.Status dom0");
	p = caller(w, 514, 3);
	CHECK_STR(said(p), "hello 4\nstdout 16\nstdout 0\nexit 0\n");
	p = caller(w, 513, 3);
	CHECK(strstr(said(p), "too long"));
	agent_end(w);
}

/* --- callers --------------------------------------------------------------------------- */

static void test_large_output(void)
{
	struct agent_world *w = &world;
	struct place *p;
	size_t len = sizeof(w->answer) - 1;

	test_case("an answer larger than the ring comes whole, and no chunk over 4096");
	agent_up(w);
	for (size_t i = 0; i < len; i++)
		w->answer[i] = (char)('a' + i % 23);
	w->answer[len] = '\0';
	push_exec(w, 0, 513, "u:QUBESRPC ringfence.Status dom0");
	p = caller(w, 513, 2);
	CHECK_INT(p->out_len, len);
	CHECK(memcmp(p->out, w->answer, len) == 0);
	CHECK(strstr(said(p), "stdout 0\nexit 0\n"));
	for (const char *s = said(p); (s = strstr(s, "stdout ")) != NULL; s++)
		CHECK(strtoul(s + 7, NULL, 10) <= 4096);
	place_free(p);

	test_case("a caller that does not read keeps a slot for 30 s");
	push_exec(w, 0, 513, "u:QUBESRPC ringfence.Status dom0");
	p = at(w, 513);
	p->deaf = true;
	caller(w, 513, 3);
	CHECK_STR(told(w), "terminated 0 513\n");
	w->calls = 0;
	agent_after(w, QREXEC_SESSION_MS - 1);
	CHECK(w->calls <= 1);
	CHECK_INT(qrexec_stats(w->q).sessions, 1);
	agent_after(w, 1);
	CHECK_INT(qrexec_stats(w->q).sessions, 0);
	CHECK(p->v.freed);
	CHECK_STR(told(w), "terminated 0 513\n");
	CHECK_INT(qrexec_stats(w->q).failed, 1);
	CHECK(strstr(w->log, "a call from domain 0 broke off: the other end took too long"));
	agent_end(w);

	test_case("one that writes before it reads is read meanwhile, and gets its answer");
	agent_up(w);
	for (size_t i = 0; i < len; i++)
		w->answer[i] = 'b';
	push_exec(w, 0, 513, "u:QUBESRPC ringfence.Status dom0");
	p = at(w, 513);
	p->deaf = true;
	caller(w, 513, 3);
	push_message(w, p, QREXEC_STDIN, letters, 65536);
	agent_settle(w);
	CHECK_INT(p->v.to_us.prod - p->v.to_us.cons, 0);
	p->deaf = false;
	agent_settle(w);
	CHECK_INT(p->out_len, len);
	CHECK(strstr(said(p), "stdout 0\nexit 0\n"));
	CHECK_STR(told(w), "terminated 0 513\n");
	agent_end(w);
}

/* The other end does @what to a session; it must be over, and dom0 be told once. */
static void breaks(const char *name, void (*what)(struct agent_world *w, struct place *p),
		   const char *cmdline, bool greeted, const char *why)
{
	struct agent_world *w = &world;
	struct place *p;

	test_case(name);
	agent_up(w);
	push_exec(w, 5, 600, cmdline);
	p = at(w, 600);
	fake_vchan_announce(&p->v);
	agent_after(w, 200);
	if (greeted)
		push_hello(w, p, 3);
	agent_settle(w);
	CHECK_STR(told(w), "");
	what(w, p);
	agent_settle(w);
	CHECK(p->v.freed);
	CHECK_STR(told(w), "terminated 5 600\n");
	CHECK(strstr(w->log, why));
	CHECK_INT(qrexec_stats(w->q).sessions, 0);
	CHECK_INT(qrexec_stats(w->q).failed, 1);
	/* Nobody else notices. */
	CHECK_STR(qrexec_stats(w->q).state, "connected");
	push_exec(w, 0, 513, "u:QUBESRPC ringfence.Status dom0");
	CHECK(strstr(said(caller(w, 513, 3)), "exit 0"));
	agent_end(w);
}

static void closes(struct agent_world *w, struct place *p)
{
	(void)w;
	fake_vchan_close(&p->v);
}

static void is_silent(struct agent_world *w, struct place *p)
{
	(void)p;
	agent_after(w, QREXEC_GREET_MS - 201);
	CHECK_STR(told(w), "");
	agent_after(w, 1);
}

static void is_idle(struct agent_world *w, struct place *p)
{
	/* What it sends does not give it more time. */
	for (int i = 0; i < 3; i++) {
		agent_after(w, QREXEC_SESSION_MS / 3 - 1);
		push_message(w, p, QREXEC_STDIN, "a", 1);
	}
	CHECK_STR(told(w), "");
	agent_after(w, 3);
}

static void greets_twice(struct agent_world *w, struct place *p)
{
	push_hello(w, p, 3);
}

static void is_old(struct agent_world *w, struct place *p)
{
	push_hello(w, p, 1);
}

static void speaks_first(struct agent_world *w, struct place *p)
{
	push_message(w, p, QREXEC_STDIN, "x", 1);
}

static void sends_stdout(struct agent_world *w, struct place *p)
{
	push_message(w, p, QREXEC_STDOUT, "x", 1);
}

static void sends_too_much(struct agent_world *w, struct place *p)
{
	uint8_t head[8];

	qrexec_header(head, QREXEC_STDIN, 65537);
	push(w, p, head, 8);
}

static void corrupts_its_ring(struct agent_world *w, struct place *p)
{
	p->v.to_us.prod += FAKE_RING + 1;
	w->deadline = 0;
}

#define READER "u:QUBESRPC ringfence.Explain work"

static void test_callers(void)
{
	struct agent_world *w = &world;
	struct place *p;

	breaks("a caller that vanishes before its HELLO", closes, READER, false, "closed the conn");
	breaks("a caller that vanishes after it", closes, READER, true, "closed the connection");
	breaks("a caller that never greets: 10 s", is_silent, READER, false, "took too long");
	breaks("a caller that never says its line: 30 s", is_idle, READER, true, "took too long");
	breaks("a second HELLO", greets_twice, READER, true, "may not come");
	breaks("a HELLO of version 1", is_old, READER, false, "did not greet");
	breaks("input before the HELLO", speaks_first, READER, false, "did not greet");
	breaks("output from a caller", sends_stdout, READER, true, "may not come");
	breaks("hp_oversized: STDIN of 65537 bytes", sends_too_much, READER, true, "may not come");
	breaks("impossible ring indices", corrupts_its_ring, READER, true, "may not come");

	test_case("the caller greets first: nothing is said before, then our HELLO");
	agent_up(w);
	push_exec(w, 0, 513, READER);
	p = at(w, 513);
	fake_vchan_announce(&p->v);
	agent_after(w, 200);
	CHECK(p->v.connected);
	CHECK_STR(said(p), "");
	push_hello(w, p, 3);
	agent_settle(w);
	CHECK_STR(said(p), "hello 4\n");
	agent_end(w);

	test_case("in version 2 a chunk has 4096 bytes at most");
	agent_up(w);
	push_exec(w, 0, 513, READER);
	p = caller(w, 513, 2);
	push_message(w, p, QREXEC_STDIN, letters, 4096);
	agent_settle(w);
	CHECK(strstr(said(p), "too long"));
	push_exec(w, 0, 514, READER);
	p = caller(w, 514, 2);
	sends_too_much(w, p);
	agent_settle(w);
	CHECK(p->v.freed);
	push_exec(w, 0, 515, READER);
	p = caller(w, 515, 2);
	push_message(w, p, QREXEC_STDIN, w->answer, 0);
	agent_settle(w);
	CHECK(strstr(said(p), "exit 0"));
	agent_end(w);

	test_case("in version 3 it may have 65536");
	agent_up(w);
	push_exec(w, 0, 513, READER);
	p = caller(w, 513, 3);
	push_message(w, p, QREXEC_STDIN, letters, 65536);
	agent_settle(w);
	CHECK(strstr(said(p), "too long"));
	agent_end(w);

	test_case("nobody at the port: tried again with care, given up after 10 s");
	agent_up(w);
	push_exec(w, 0, 513, READER);
	p = at(w, 513);
	w->calls = 0;
	for (int ms = 0; ms < QREXEC_GREET_MS - 10; ms += 10)
		agent_after(w, 10);
	CHECK(w->calls > 10 && w->calls < 80);
	CHECK_STR(told(w), "");
	agent_after(w, 10);
	CHECK_STR(told(w), "terminated 0 513\n");
	CHECK(p->v.freed);

	test_case("a vchan that cannot be had");
	push_exec(w, 0, 514, READER);
	at(w, 514)->v.connect_error = -EACCES;
	agent_after(w, 200);
	CHECK_STR(told(w), "terminated 0 514\n");
	agent_end(w);
}

/* --- several at a time ------------------------------------------------------------------ */

static void test_many(void)
{
	struct agent_world *w = &world;
	struct place *a, *b;

	test_case("two services at once, their input interleaved");
	agent_up(w);
	push_exec(w, 0, 513, READER);
	push_exec(w, 0, 514, "u:QUBESRPC qubes.SetDateTime dom0");
	a = caller(w, 513, 3);
	b = caller(w, 514, 3);
	push_message(w, a, QREXEC_STDIN, "fd09::5 udp ", 12);
	push_message(w, b, QREXEC_STDIN, "2026-11-26T", 11);
	push_message(w, a, QREXEC_STDIN, "fd09::6 53\n", 11);
	push_message(w, b, QREXEC_STDIN, "06:46:02Z\n", 10);
	agent_settle(w);
	CHECK_STR(said(a), "hello 4\nstdout 16\nstdout 0\nexit 0\n");
	CHECK_STR(said(b), "hello 4\nstdout 0\nexit 0\n");
	CHECK_STR(w->asked, "explain fd09::5 udp fd09::6 53");
	CHECK_STR(told(w), "terminated 0 513\nterminated 0 514\n");
	agent_end(w);

	test_case("8 at a time; the ninth is told to dom0 at once");
	agent_up(w);
	for (uint32_t i = 0; i < QREXEC_SESSIONS; i++)
		push_exec(w, 0, 513 + i, READER);
	CHECK_INT(qrexec_stats(w->q).sessions, QREXEC_SESSIONS);
	CHECK_STR(told(w), "");
	push_exec(w, 0, 600, READER);
	CHECK_STR(told(w), "terminated 0 600\n");
	CHECK(!at(w, 600));
	CHECK_INT(qrexec_stats(w->q).busy, 1);
	agent_end(w);

	test_case("a qube has 2 of them, all qubes 4, so that dom0 finds a free one");
	agent_up(w);
	for (uint32_t i = 0; i < 3; i++)
		push_exec(w, 5, 700 + i, READER);
	CHECK_STR(told(w), "terminated 5 702\n");
	push_exec(w, 6, 710, READER);
	push_exec(w, 7, 720, READER);
	push_exec(w, 8, 730, READER);
	CHECK_STR(told(w), "terminated 8 730\n");
	for (uint32_t i = 0; i < 4; i++)
		push_exec(w, 0, 513 + i, READER);
	CHECK_STR(told(w), "");
	CHECK_INT(qrexec_stats(w->q).sessions, QREXEC_SESSIONS);
	agent_end(w);

	test_case("domains and ports that none has");
	agent_up(w);
	push_exec(w, 0, 0, READER);
	push_exec(w, 0, 0x80000000, READER);
	push_exec(w, 0x7ff0, 513, READER);
	push_exec(w, UINT32_MAX, 513, READER);
	CHECK_STR(told(w), "terminated 0 0\nterminated 0 2147483648\nterminated 32752 513\n"
			   "terminated 4294967295 513\n");
	CHECK_INT(qrexec_stats(w->q).sessions, 0);
	agent_end(w);

	test_case("dom0 that does not read is not read: each port is told exactly once");
	agent_up(w);
	control(w)->deaf = true;
	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t port = 0x80000000 + i;

		if (FAKE_RING - (control(w)->v.to_us.prod - control(w)->v.to_us.cons) < 64)
			break;
		push_exec(w, 0, port, READER);
	}
	CHECK(control(w)->v.to_us.prod - control(w)->v.to_us.cons > FAKE_RING - 64);
	control(w)->deaf = false;
	agent_settle(w);
	CHECK_INT(control(w)->v.to_us.prod - control(w)->v.to_us.cons, 0);
	{
		const char *s = told(w);
		unsigned n = 0;

		for (; (s = strstr(s, "terminated 0 ")) != NULL; s++, n++)
			CHECK_INT(strtoul(s + 13, NULL, 10), 0x80000000 + n);
		CHECK_INT(n, qrexec_stats(w->q).busy);
		CHECK(n > 256);
	}
	agent_end(w);
}

/* --- dom0's daemon restarts --------------------------------------------------------------- */

static void test_restart(void)
{
	struct agent_world *w = &world;
	struct place *p, *old;

	test_case("dom0's daemon ends: the next server is there at once");
	agent_up(w);
	push_exec(w, 0, 513, READER);
	p = caller(w, 513, 3);
	old = control(w);
	fake_vchan_close(&old->v);
	agent_settle(w);
	CHECK(old->v.freed);
	CHECK(control(w) && control(w) != old);
	CHECK_STR(qrexec_stats(w->q).state, "waiting");

	test_case("a call goes on without it, and the next daemon does not hear of its port");
	agent_link(w, 4);
	CHECK_STR(told(w), "hello 4\n");
	push_message(w, p, QREXEC_STDIN, "\n", 1);
	agent_settle(w);
	CHECK_STR(said(p), "hello 4\nstdout 16\nstdout 0\nexit 0\n");
	CHECK_STR(told(w), "");
	CHECK_INT(qrexec_stats(w->q).sessions, 0);

	test_case("what the old one was owed is not told to the next one");
	control(w)->deaf = true;
	for (uint32_t i = 0; i < 300; i++)
		push_exec(w, 0, 0x80000000 + i, READER);
	old = control(w);
	fake_vchan_close(&old->v);
	agent_settle(w);
	CHECK(control(w) && control(w) != old);
	agent_link(w, 4);
	CHECK_STR(told(w), "hello 4\n");
	push_exec(w, 0, 513, "u:QUBESRPC qubes.WaitForSession dom0");
	place_free(p);
	p = caller(w, 513, 3);
	CHECK_STR(said(p), "hello 4\nstdout 0\nexit 0\n");
	CHECK_STR(told(w), "terminated 0 513\n");
	agent_end(w);

	test_case("what dom0 wrote before it ended half a message is no call");
	agent_up(w);
	push_params(w, QREXEC_EXEC_CMDLINE, 0, 513, "u:QUBESRPC qubes.WaitFor", 25);
	agent_settle(w);
	CHECK_INT(qrexec_stats(w->q).sessions, 1);
	{
		uint8_t m[8];

		qrexec_header(m, QREXEC_EXEC_CMDLINE, 40);
		push(w, control(w), m, 8);
		fake_vchan_close(&control(w)->v);
		agent_settle(w);
	}
	CHECK_INT(qrexec_stats(w->q).sessions, 1);
	agent_end(w);

	test_case("split at every byte");
	for (size_t at_byte = 1; at_byte < 49; at_byte++) {
		static const char text[] = "u:QUBESRPC qubes.WaitForSession dom0";
		uint8_t m[64] = {0};
		size_t len = qrexec_header(m, QREXEC_EXEC_CMDLINE, 8 + sizeof(text));

		m[len + 4] = 1;
		m[len + 5] = 2; /* port 513 */
		memcpy(m + len + 8, text, sizeof(text));
		len += 8 + sizeof(text);
		agent_up(w);
		push(w, control(w), m, at_byte);
		agent_settle(w);
		CHECK_INT(qrexec_stats(w->q).sessions, 0);
		push(w, control(w), m + at_byte, len - at_byte);
		agent_settle(w);
		CHECK_STR(said(caller(w, 513, 3)), "hello 4\nstdout 0\nexit 0\n");
		agent_end(w);
	}
}

/* --- our features ----------------------------------------------------------------------- */

static void accepts(struct agent_world *w, const char *ident)
{
	push_params(w, QREXEC_SERVICE_CONNECT, 0, 513, ident, strlen(ident) + 1);
	agent_settle(w);
}

static void test_features(void)
{
	struct agent_world *w = &world;
	struct place *p;

	test_case("the keys first; dom0 is called when it has them all");
	agent_init(w);
	qrexec_open(w->q);
	agent_settle(w);
	w->db.d.stalled = true;
	agent_link(w, 3);
	CHECK_STR(told(w), "hello 4\n");
	agent_after(w, 5000);
	CHECK_STR(told(w), "");
	w->db.d.stalled = false;
	agent_settle(w);
	agent_after(w, 1000);
	CHECK_STR(told(w), "trigger dom0 qubes.FeaturesRequest " ASK "\n");
	CHECK_STR(dom0_has(&w->db, "/features-request/qubes-firewall"), "1");
	CHECK_STR(dom0_has(&w->db, "/features-request/supported-feature.ipv6"), "1");
	CHECK_STR(dom0_has(&w->db, "/features-request/supported-feature.net.fake-ip"), "1");

	test_case("SERVICE_CONNECT: we are the server of that port and greet first");
	accepts(w, ASK);
	p = at(w, 513);
	CHECK(p && p->listens && p->domid == 0);
	fake_vchan_announce(&p->v);
	agent_settle(w);
	CHECK_STR(said(p), "hello 4\n");
	push_hello(w, p, 3);
	agent_settle(w);
	CHECK_STR(said(p), "hello 4\nstdin 0\n");
	push_message(w, p, QREXEC_STDERR, "hm\n", 3);
	push_message(w, p, QREXEC_STDOUT, "", 0);
	agent_settle(w);
	CHECK_STR(told(w), "");

	test_case("the exit code ends it, and dom0 is told of the port");
	push_message(w, p, QREXEC_EXIT_CODE, "\0\0\0", 4);
	agent_settle(w);
	CHECK(p->v.freed);
	CHECK_STR(told(w), "terminated 0 513\n");
	CHECK_STR(qrexec_stats(w->q).features, "done");
	CHECK_INT(qrexec_stats(w->q).served, 0);

	test_case("once: not again with the next daemon of dom0's");
	fake_vchan_close(&control(w)->v);
	agent_settle(w);
	agent_link(w, 3);
	agent_after(w, 5000);
	CHECK_STR(told(w), "hello 4\n");
	agent_end(w);

	test_case("once for each start of the qube: the key is still there");
	agent_init(w);
	fake_dom0_write(&w->db.d, "/features-request/qubes-firewall", "1");
	qrexec_open(w->q);
	agent_settle(w);
	agent_link(w, 3);
	agent_after(w, 5000);
	CHECK_STR(told(w), "hello 4\n");
	CHECK_STR(qrexec_stats(w->q).features, "was done since this qube started");
	agent_end(w);
}

static void test_features_fail(void)
{
	static const char refused[QREXEC_IDENT] = ASK, other[QREXEC_IDENT] = "other";
	struct agent_world *w = &world;
	struct place *p;

	test_case("SERVICE_REFUSED: that is all right, too");
	agent_asked(w);
	push_message(w, control(w), QREXEC_SERVICE_REFUSED, other, QREXEC_IDENT);
	agent_settle(w);
	CHECK_STR(qrexec_stats(w->q).features, "not asked yet");
	push_message(w, control(w), QREXEC_SERVICE_REFUSED, refused, QREXEC_IDENT);
	agent_settle(w);
	CHECK_STR(qrexec_stats(w->q).features, "dom0 refused it");
	agent_after(w, 600000);
	CHECK_STR(told(w), "");
	CHECK_STR(qrexec_stats(w->q).state, "connected");

	test_case("SERVICE_CONNECT for what was not asked: its port goes back");
	accepts(w, ASK);
	CHECK_STR(told(w), "terminated 0 513\n");
	CHECK(!at(w, 513));
	agent_end(w);

	test_case("with another ident, or one without an end");
	agent_asked(w);
	accepts(w, "SOCKET1");
	accepts(w, ASK "x");
	push_params(w, QREXEC_SERVICE_CONNECT, 0, 514, ASK, strlen(ASK));
	agent_settle(w);
	CHECK_STR(told(w), "terminated 0 513\nterminated 0 513\nterminated 0 514\n");
	agent_end(w);

	test_case("no answer for a minute");
	agent_asked(w);
	agent_after(w, 60000);
	CHECK_STR(qrexec_stats(w->q).features, "no answer from dom0");
	agent_end(w);

	test_case("dom0 accepts and nobody connects; or fails; or breaks off");
	agent_asked(w);
	accepts(w, ASK);
	agent_after(w, QREXEC_GREET_MS);
	CHECK_STR(told(w), "terminated 0 513\n");
	CHECK_STR(qrexec_stats(w->q).features, "the other end took too long");
	agent_end(w);
	agent_asked(w);
	accepts(w, ASK);
	p = at(w, 513);
	fake_vchan_announce(&p->v);
	push_hello(w, p, 3);
	push_message(w, p, QREXEC_EXIT_CODE, "\1\0\0", 4);
	agent_settle(w);
	CHECK_STR(qrexec_stats(w->q).features, "dom0's service failed");
	agent_end(w);
	agent_asked(w);
	accepts(w, ASK);
	p = at(w, 513);
	fake_vchan_announce(&p->v);
	push_hello(w, p, 3);
	push_message(w, p, QREXEC_STDIN, "", 0);
	agent_settle(w);
	CHECK_STR(qrexec_stats(w->q).features, "a message that may not come");
	CHECK_STR(told(w), "terminated 0 513\n");
	agent_end(w);

	test_case("dom0's daemon restarts before it answers: asked three times in all");
	agent_asked(w);
	for (int i = 0; i < 3; i++) {
		fake_vchan_close(&control(w)->v);
		agent_settle(w);
		agent_link(w, 3);
		agent_after(w, 1000);
		CHECK_STR(told(w), i < 2 ? "hello 4\ntrigger dom0 qubes.FeaturesRequest " ASK "\n"
					 : "hello 4\n");
	}
	CHECK_STR(qrexec_stats(w->q).features, "dom0's connection ended each time");
	agent_end(w);

	test_case("version 2 has no such request");
	agent_init(w);
	qrexec_open(w->q);
	agent_settle(w);
	agent_link(w, 2);
	agent_after(w, 1000);
	CHECK_STR(told(w), "hello 4\n");
	CHECK_STR(qrexec_stats(w->q).features, "dom0 speaks a version without it");
	agent_end(w);
}

int main(void)
{
	memset(letters, 'a', sizeof(letters));
	test_start();
	test_versions();
	test_garbage();
	test_link_deadlines();
	test_services();
	test_answers();
	test_refused();
	test_long_command();
	test_large_output();
	test_callers();
	test_many();
	test_restart();
	test_features();
	test_features_fail();
	return test_end();
}
