/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Between the helper, the table of names and the sources.
 *
 *	sources --rules changed--> table (which names, how many users)
 *	table   --due--> helper --reply--> table --changed--> sources (those that have
 *	the name are compiled anew) --> /dns/ in QubesDB
 *
 * All of it happens in run(), which the loop calls when the helper has sent
 * something or a deadline has passed; whoever has work for it sets the deadline to
 * now. Replies are checked and bounded for each turn; a helper that says what is no
 * reply, or much that nobody asked for, or does not reply at all is ended and started
 * anew.
 *
 * A thousand names that resolve one after the other must not mean a thousand policies
 * compiled, nor packets that wait for them: sources_refresh() has its pace, and after
 * each policy, and after its names in QubesDB, packets have REFRESH_REST times as long.
 *
 * A helper that has died knows nothing any more: its successor's HELLO makes the
 * table ask again. The keeper restarts the worker; when the keeper itself has gone,
 * it is started again from here, with back-off.
 */
#include "firewall/resolver.h"

#include "firewall/log.h"
#include "firewall/name_export.h"
#include "firewall/resolver_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define REPLIES_PER_TURN 64
#define USELESS_PER_S	 128   /* servers that change make up to NAME_IN_FLIGHT_MAX void */
#define EXPORT_RETRY_MS	 200   /* QubesDB's queue was full */
#define WAKE_EVERY_MS	 1000  /* an uplink that comes and goes makes no storm */
#define SPAWN_MIN_MS	 1000
#define SPAWN_MAX_MS	 60000
#define SLICE_US	 1000 /* what took so long was enough for one turn */
#define REFRESH_REST	 3    /* so names take a quarter of the time at most */
#define END_MS		 1000 /* a helper that does not end by itself is killed */

struct resolver {
	const struct names *fixed;
	struct name_table *table;
	struct sources *sources;
	struct loop *loop;
	struct loop_watch watch;
	struct name_export export;
	bool live, hello, export_all, export_next, complained;
	pid_t pid;
	uint64_t now_ms, spawn_ms, spawn_wait_ms, export_ms, wake_ms, woken_ms, changed_ms;
	uint64_t refresh_ms, rest_ms; /* the next sources_refresh(); not before */
	struct addr servers[NAME_SERVERS_MAX];
	size_t server_count;
	char reason[96];
	uint64_t restarts, asked, answered, ignored;
	uint64_t useless_ms; /* when the count began */
	unsigned int useless;
	struct log_limit limit;
};

/* --- the helper --------------------------------------------------------------------- */

/* In the child. What is not wanted there is closed before the program begins anew. */
static void __attribute__((noreturn)) become_helper(int fd)
{
	static const char *const argv[] = {"ringfenced", RESOLVER_HELPER_OPTION, NULL};
	static const char *const envp[] = {NULL};
	int null = open("/dev/null", O_RDWR);

	fd = fcntl(fd, F_DUPFD, RESOLVER_HELPER_FD + 1); /* not one that is replaced below */
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(fd, RESOLVER_HELPER_FD) < 0 || close_range(RESOLVER_HELPER_FD + 1, ~0u, 0) != 0)
		_exit(127);
	/* const only by its prototype: execve() writes to neither */
	execve("/proc/self/exe", (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)envp);
	_exit(127);
}

static int spawn(struct resolver *r)
{
	int pair[2], err;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return -errno;
	pid = fork();
	if (pid == 0)
		become_helper(pair[1]);
	err = -errno;
	close(pair[1]);
	if (pid < 0 || fcntl(pair[0], F_SETFL, O_NONBLOCK) != 0) {
		close(pair[0]);
		return err;
	}
	r->pid = pid;
	r->watch.fd = pair[0];
	return 0;
}

/* --- what the table says --------------------------------------------------------------- */

static void on_changed(void *arg, uint8_t family, const char *name)
{
	struct resolver *r = arg;

	sources_name_changed(r->sources, family, name);
}

/* Once for a name, until it resolves again. */
static void on_failed(void *arg, uint8_t family, const char *name, enum dns_outcome outcome,
		      unsigned int failures)
{
	struct resolver *r = arg;
	const struct addr *addrs;
	char text[384];
	size_t count;

	if (failures != 1)
		return;
	snprintf(text, sizeof(text), "name %s (IPv%u): %s; %s", name, family,
		 dns_outcome_text(outcome),
		 name_table_lookup(r->table, family, name, &addrs, &count) != NAME_UNRESOLVED
			 ? "the last good answer stays in use"
			 : "rules that accept it match nothing, rules that drop it everything");
	log_limited(&r->limit, r->now_ms, LOG_LEVEL_WARNING, text);
}

static const struct name_events table_events = {on_changed, on_failed};

int resolver_new(struct resolver **out, const struct names *fixed, bool live,
		 const struct name_times *times)
{
	struct resolver *r = calloc(1, sizeof(*r));
	uint64_t seed;
	int err;

	if (r == NULL)
		return -ENOMEM;
	r->fixed = fixed;
	r->live = live;
	r->watch = (struct loop_watch){.fd = -1, .slot = -1, .deadline_ms = UINT64_MAX};
	r->limit = (struct log_limit)LOG_LIMIT(LOG_PEER_BURST, LOG_PEER_RATE);
	r->spawn_wait_ms = SPAWN_MIN_MS;
	r->spawn_ms = r->export_ms = r->wake_ms = UINT64_MAX;
	if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		err = -EIO;
	else
		err = name_table_new(&r->table, times, seed, &table_events, r);
	if (err == 0 && live && spawn(r) != 0)
		r->spawn_ms = 0; /* soon */
	if (err != 0) {
		free(r);
		return err;
	}
	*out = r;
	return 0;
}

static void reap(pid_t pid)
{
	for (int waited = 0; waitpid(pid, NULL, WNOHANG) == 0; waited++) {
		if (waited == END_MS)
			kill(pid, SIGKILL);
		usleep(1000);
	}
}

void resolver_free(struct resolver **r)
{
	if (*r == NULL)
		return;
	if ((*r)->loop != NULL)
		loop_remove((*r)->loop, &(*r)->watch);
	if ((*r)->watch.fd >= 0)
		close((*r)->watch.fd);
	if ((*r)->pid > 0)
		reap((*r)->pid);
	name_table_free(&(*r)->table);
	free(*r);
	*r = NULL;
}

/* --- messages ---------------------------------------------------------------------------- */

/* A cause that repeats is said once, until an answer shows that it is over. */
static void complain(struct resolver *r, const char *what)
{
	snprintf(r->reason, sizeof(r->reason), "%s", what);
	if (!r->complained)
		log_msg(LOG_LEVEL_WARNING, "names: %s; what was resolved stays in use", what);
	r->complained = true;
}

static void allow(struct resolver *r)
{
	name_table_allow(r->table, r->hello && r->server_count > 0);
}

/* Whether no helper is left: a process that was killed may take its time. */
static bool is_reaped(struct resolver *r)
{
	if (r->pid > 0 && waitpid(r->pid, NULL, WNOHANG) == 0)
		return false;
	r->pid = 0;
	return true;
}

/* The helper has gone, or is to go. Packets do not wait for its end. */
static void lost(struct resolver *r, const char *what)
{
	int fd = r->watch.fd;

	if (fd < 0)
		return;
	complain(r, what);
	r->watch.fd = -1;
	loop_update(r->loop, &r->watch);
	close(fd);
	if (r->pid > 0)
		kill(r->pid, SIGKILL);
	(void)is_reaped(r);
	r->useless = 0;
	r->restarts++;
	r->hello = false;
	allow(r);
	name_table_reset(r->table, r->now_ms);
	r->spawn_ms = r->now_ms + r->spawn_wait_ms;
	r->spawn_wait_ms = r->spawn_wait_ms * 2 > SPAWN_MAX_MS ? SPAWN_MAX_MS
							       : r->spawn_wait_ms * 2;
}

static bool send_request(struct resolver *r, const struct name_request *request)
{
	return send(r->watch.fd, request, sizeof(*request), MSG_NOSIGNAL | MSG_DONTWAIT) ==
	       (ssize_t)sizeof(*request);
}

/* Tell whom to ask; what was asked before is void, on both sides. */
static void tell_servers(struct resolver *r)
{
	struct name_request request;

	if (!r->hello)
		return;
	name_servers_request(&request, r->servers, r->server_count);
	if (!send_request(r, &request)) {
		lost(r, "the helper takes no questions");
		return;
	}
	name_table_reset(r->table, r->now_ms);
	allow(r);
}

static void died(struct resolver *r, int wait_status)
{
	char text[64];

	r->restarts++;
	r->hello = false;
	allow(r);
	name_table_reset(r->table, r->now_ms);
	if (WIFSIGNALED(wait_status))
		snprintf(text, sizeof(text), "the helper died of signal %d", WTERMSIG(wait_status));
	else
		snprintf(text, sizeof(text), "the helper ended with status %d",
			 WEXITSTATUS(wait_status));
	complain(r, text);
}

/* Whether a helper that works might have said this much that is no answer. */
static bool is_bearable(struct resolver *r)
{
	if (r->now_ms - r->useless_ms >= 1000) {
		r->useless_ms = r->now_ms;
		r->useless = 0;
	}
	return ++r->useless <= USELESS_PER_S;
}

/* Return: false for what the helper would not say at this time. */
static bool received(struct resolver *r, const struct name_reply *reply)
{
	struct name_answer answer;
	char text[96];

	switch (reply->type) {
	case NAME_HELLO:
		if (r->hello)
			return false;
		r->hello = true;
		r->reason[0] = '\0';
		tell_servers(r);
		break;
	case NAME_REPLY:
		name_reply_answer(&answer, reply);
		if (!name_table_answer(r->table, reply->id, (uint8_t)reply->family, &answer,
				       r->now_ms)) {
			r->ignored++;
			break;
		}
		r->answered++;
		r->spawn_wait_ms = SPAWN_MIN_MS;
		if (r->complained)
			log_msg(LOG_LEVEL_INFO, "names: the helper answers again");
		r->complained = false;
		break;
	case NAME_DIED: died(r, reply->detail); break;
	case NAME_FAILED:
		snprintf(text, sizeof(text), "the helper cannot begin: %s: %s",
			 name_stage_text((enum name_stage)reply->stage),
			 reply->stage == NAME_STAGE_ARES ? "no channel" : strerror(reply->detail));
		complain(r, text);
		break;
	}
	return true;
}

static void receive(struct resolver *r)
{
	char bytes[sizeof(struct name_reply) + 1];
	struct name_reply reply;

	for (int i = 0; i < REPLIES_PER_TURN && r->watch.fd >= 0; i++) {
		ssize_t n = recv(r->watch.fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		uint64_t answered = r->answered;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0)
			lost(r, "the helper is gone");
		else if (!name_reply_check(&reply, bytes, (size_t)n) || !received(r, &reply))
			lost(r, "the helper said what is no reply");
		else if (r->answered == answered && !is_bearable(r))
			lost(r, "the helper says too much");
	}
}

static void ask(struct resolver *r)
{
	struct name_question q;
	struct name_request request;

	while (r->watch.fd >= 0 && name_table_ask(r->table, r->now_ms, &q)) {
		name_ask_request(&request, q.id, q.family, q.name);
		if (!send_request(r, &request)) {
			lost(r, "the helper takes no questions");
			return;
		}
		r->asked++;
	}
}

/* --- names and sources ----------------------------------------------------------------- */

enum name_state resolver_lookup(void *arg, const struct addr *source, const char *name,
				const struct addr **addrs, size_t *count)
{
	const struct resolver *r = arg;

	if (names_lookup((void *)(uintptr_t)r->fixed, name, addrs, count) == NAME_RESOLVED)
		return NAME_RESOLVED;
	return name_table_lookup(r->table, source->family, name, addrs, count);
}

struct user {
	struct resolver *r;
	uint8_t family;
	bool full;
};

static void use_name(void *arg, const char *name)
{
	struct user *u = arg;
	const struct addr *addrs;
	size_t count;
	int err;

	if (names_lookup((void *)(uintptr_t)u->r->fixed, name, &addrs, &count) == NAME_RESOLVED)
		return;
	err = name_table_use(u->r->table, u->family, name, u->r->now_ms);
	u->full |= err == -ENOSPC || err == -ENOMEM;
}

static bool use_names(void *arg, const struct addr *addr, const struct ruleset *rules, bool fresh)
{
	struct user *u = arg;

	(void)fresh;
	u->family = addr->family;
	if (rules != NULL)
		ruleset_names(rules, use_name, u);
	return false;
}

/*
 * Which names there are is counted anew after a change: those that are known keep
 * their state. A table that was full may have got room from the names that left,
 * so the count is taken twice then.
 */
static void count_names(struct resolver *r)
{
	struct user u = {.r = r};

	for (int i = 0; i < 2; i++) {
		u.full = false;
		name_table_begin(r->table);
		sources_each_rules(r->sources, use_names, &u);
		name_table_end(r->table);
		if (!u.full)
			return;
	}
	log_limited(&r->limit, r->now_ms, LOG_LEVEL_WARNING,
		    "names: more than there is room for; the others do not resolve");
}

static bool export_source(void *arg, const struct addr *addr, const struct ruleset *rules,
			  bool fresh)
{
	struct resolver *r = arg;

	if (!fresh && !r->export_all)
		return false;
	if (name_export_source(&r->export, addr, rules) == 0)
		return true;
	r->export_ms = r->now_ms + EXPORT_RETRY_MS;
	return false;
}

static void export(struct resolver *r)
{
	r->export_ms = UINT64_MAX;
	sources_each_rules(r->sources, export_source, r);
	if (r->export_ms == UINT64_MAX)
		r->export_all = false;
}

/* What takes time with many names: a policy, and its names in QubesDB. */
static void refresh(struct resolver *r)
{
	uint64_t start_us, took_us = 0;

	if (r->rest_ms > r->now_ms) {
		r->refresh_ms = r->rest_ms;
		return;
	}
	start_us = loop_now_us();
	if (!r->export_next) {
		r->refresh_ms = sources_refresh(r->sources, r->now_ms);
		took_us = loop_now_us() - start_us;
	}
	r->export_next = took_us >= SLICE_US;
	if (!r->export_next && (r->export_ms == UINT64_MAX || r->export_ms <= r->now_ms)) {
		export(r);
		took_us = loop_now_us() - start_us;
	}
	r->rest_ms = (start_us + took_us * (1 + REFRESH_REST)) / 1000;
	if (r->export_next || r->refresh_ms < r->rest_ms)
		r->refresh_ms = r->rest_ms;
}

/* --- the loop ---------------------------------------------------------------------------- */

static void wake(struct resolver *r)
{
	r->wake_ms = UINT64_MAX;
	r->woken_ms = r->now_ms;
	tell_servers(r);
	name_table_wake(r->table, r->changed_ms, r->now_ms);
	r->changed_ms = 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void run(void *arg, uint64_t now_ms)
{
	struct resolver *r = arg;

	r->now_ms = now_ms;
	if (r->watch.fd < 0 && r->spawn_ms <= now_ms) {
		r->spawn_ms = UINT64_MAX;
		if (!is_reaped(r))
			r->spawn_ms = now_ms + SPAWN_MIN_MS;
		else if (spawn(r) == 0)
			loop_update(r->loop, &r->watch);
		else
			r->spawn_ms = now_ms + SPAWN_MAX_MS;
	}
	if (sources_take_rules_changed(r->sources))
		count_names(r);
	receive(r);
	if (r->wake_ms <= now_ms)
		wake(r);
	if (name_table_tick(r->table, now_ms) && r->watch.fd >= 0)
		lost(r, "the helper does not answer");
	refresh(r);
	ask(r);
	r->watch.deadline_ms = least(least(name_table_deadline(r->table), r->spawn_ms),
				     least(least(r->export_ms, r->wake_ms), r->refresh_ms));
}

int resolver_start(struct resolver *r, struct loop *loop, struct sources *sources,
		   struct qubesdb *db)
{
	int err;

	r->sources = sources;
	r->export.db = db;
	r->export.lookup = resolver_lookup;
	r->export.arg = r;
	r->watch.ready = run;
	r->watch.arg = r;
	r->watch.deadline_ms = 0;
	sources_set_lookup(sources, resolver_lookup, r);
	err = loop_add(loop, &r->watch);
	if (err == 0)
		r->loop = loop;
	return err;
}

void resolver_touch(struct resolver *r)
{
	r->watch.deadline_ms = 0;
}

void resolver_export(struct resolver *r)
{
	r->export_all = true;
	resolver_touch(r);
}

void resolver_wake(struct resolver *r, bool all)
{
	uint64_t now_ms = loop_now_us() / 1000;

	if (all)
		r->changed_ms = now_ms;
	if (r->wake_ms == UINT64_MAX)
		r->wake_ms = now_ms - r->woken_ms < WAKE_EVERY_MS ? r->woken_ms + WAKE_EVERY_MS
								  : now_ms;
	resolver_touch(r);
}

void resolver_servers(struct resolver *r, const struct addr *servers, size_t count)
{
	size_t n = count < NAME_SERVERS_MAX ? count : NAME_SERVERS_MAX;

	if (n == r->server_count && memcmp(r->servers, servers, n * sizeof(servers[0])) == 0)
		return;
	memcpy(r->servers, servers, n * sizeof(servers[0]));
	r->server_count = n;
	r->woken_ms = 0;
	resolver_wake(r, true);
}

void resolver_info(const struct resolver *r, struct resolver_info *out)
{
	*out = (struct resolver_info){
		.state = !r->live	       ? RESOLVER_OFF
			 : !r->hello	       ? RESOLVER_STARTING
			 : r->server_count > 0 ? RESOLVER_READY
					       : RESOLVER_NO_SERVER,
		.helper = r->watch.fd >= 0 ? r->pid : 0,
		.restarts = r->restarts,
		.asked = r->asked,
		.answered = r->answered,
		.ignored = r->ignored,
	};
	snprintf(out->reason, sizeof(out->reason), "%s", r->hello ? "" : r->reason);
}

const struct name_table *resolver_table(const struct resolver *r)
{
	return r->table;
}
