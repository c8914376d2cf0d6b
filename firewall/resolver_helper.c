/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What stands around the worker (hostile-peers.md section 3, 24):
 *
 *   user      nobody (65534), no groups, no capability in any set, no_new_privs
 *   limits    memory 64 MiB, 36 descriptors, no process, no file, no core; packets
 *             come first (nice)
 *   filter    an allow-list of system calls for UDP and TCP over IPv4 and for the
 *             allocator; anything else kills the process. No open, no exec, no
 *             fork, no memory that is executable, no other protocol, no option of
 *             IP's.
 *   life      ends with its parent; ends when the daemon closes the socket
 *
 * The keeper has the same but for what it needs to start a worker and wait for it.
 * It never reads from the socket. Workers that die are started again after 0.1 s,
 * and twice that after each further death up to 30 s; one that lived for 10 s
 * begins anew.
 */
#include "firewall/resolver_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOBODY		65534
#define NICE		10
#define MEMORY_MAX	((rlim_t)64 << 20)
#define DESCRIPTORS_MAX (RESOLVER_HELPER_FD + 1 + RESOLVER_SOCKETS)

#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 30000
#define LIVED_MS       10000

/* Sanitizers reserve terabytes of address space and write reports. */
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

bool resolver_send(int fd, const struct name_reply *reply)
{
	ssize_t n;

	do
		n = send(fd, reply, sizeof(*reply), MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(*reply);
}

static void __attribute__((noreturn)) give_up(int fd, enum name_stage stage, int error)
{
	struct name_reply r;

	memset(&r, 0, sizeof(r));
	r.type = NAME_FAILED;
	r.stage = (uint32_t)stage;
	r.detail = error;
	(void)resolver_send(fd, &r);
	_exit(1);
}

static void report_death(int fd, int wait_status)
{
	struct name_reply r;

	memset(&r, 0, sizeof(r));
	r.type = NAME_DIED;
	r.detail = wait_status & 0xffff;
	(void)resolver_send(fd, &r);
}

/* --- rights --------------------------------------------------------------------- */

static bool drop_user(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0, 0, 0}, {0, 0, 0}};

	if (geteuid() == 0) {
		for (unsigned long cap = 0; cap < 64; cap++)
			if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0 && errno != EINVAL)
				return false;
		if (setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 ||
		    setresuid(NOBODY, NOBODY, NOBODY) != 0)
			return false;
	}
	return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0 &&
	       syscall(SYS_capset, &head, none) == 0 &&
	       prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

static bool limit(int what, rlim_t value)
{
	const struct rlimit l = {value, value};

	return setrlimit((__rlimit_resource_t)what, &l) == 0;
}

static bool drop_limits(void)
{
	return setpriority(PRIO_PROCESS, 0, NICE) == 0 && limit(RLIMIT_CORE, 0) &&
	       limit(RLIMIT_FSIZE, 0) &&
	       limit(RLIMIT_NOFILE, DESCRIPTORS_MAX) &&
	       (SANITIZED || (limit(RLIMIT_AS, MEMORY_MAX) && limit(RLIMIT_DATA, MEMORY_MAX)));
}

/* A number, whatever the arguments are. */
static const int common_calls[] = {
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(close),
	SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(sendto), SCMP_SYS(sendmsg),
	SCMP_SYS(connect), SCMP_SYS(getsockname), SCMP_SYS(poll), SCMP_SYS(ppoll),
	SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(getrandom),
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
	SCMP_SYS(futex), SCMP_SYS(sched_yield), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn),
	SCMP_SYS(restart_syscall), SCMP_SYS(exit), SCMP_SYS(exit_group),
};

/* Of the keeper, and of a worker that begins. */
static const int keeper_calls[] = {
	SCMP_SYS(clone), SCMP_SYS(clone3), SCMP_SYS(wait4), SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep), SCMP_SYS(prctl), SCMP_SYS(seccomp), SCMP_SYS(prlimit64),
	SCMP_SYS(setrlimit), SCMP_SYS(getrlimit), SCMP_SYS(set_robust_list), SCMP_SYS(rseq),
	SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(rt_sigaction),
	SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(ioctl), SCMP_SYS(uname),
	SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid),
};

/* Of a build with sanitizers: reports, and a look at the stack before an end. */
static const int sanitizer_calls[] = {
	SCMP_SYS(sigaltstack), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(tgkill),
	SCMP_SYS(rt_sigaction), SCMP_SYS(readlink), SCMP_SYS(getrlimit), SCMP_SYS(prlimit64),
};

static int allow_all(scmp_filter_ctx ctx, const int *calls, size_t n)
{
	int err = 0;

	for (size_t i = 0; i < n && err == 0; i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
	return err;
}

/* One argument of a call, and what it may be. */
static const struct {
	int call;
	unsigned int arg;
	uint64_t value;
} one_of[] = {
	{SCMP_SYS(fcntl), 1, F_GETFD},
	{SCMP_SYS(fcntl), 1, F_SETFD},
	{SCMP_SYS(fcntl), 1, F_GETFL},
	{SCMP_SYS(fcntl), 1, F_SETFL},
	{SCMP_SYS(getsockopt), 1, SOL_SOCKET},
	{SCMP_SYS(setsockopt), 1, SOL_SOCKET},
	{SCMP_SYS(setsockopt), 1, IPPROTO_TCP},
};

static int allow_sockets(scmp_filter_ctx ctx)
{
	static const uint64_t types[] = {SOCK_DGRAM, SOCK_STREAM};
	const uint64_t flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
	int err = 0;

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]) && err == 0; i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 3,
				       SCMP_A0(SCMP_CMP_EQ, AF_INET, 0),
				       SCMP_A1(SCMP_CMP_MASKED_EQ, ~flags & UINT32_MAX, types[i]),
				       SCMP_A2(SCMP_CMP_EQ, 0, 0));
	return err;
}

static int build_filter(scmp_filter_ctx ctx, bool keeper)
{
	const struct scmp_arg_cmp not_exec = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	const struct scmp_arg_cmp read_only = SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE, O_RDONLY);
	int err = allow_all(ctx, common_calls, sizeof(common_calls) / sizeof(common_calls[0]));

	for (size_t i = 0; i < sizeof(one_of) / sizeof(one_of[0]) && err == 0; i++)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, one_of[i].call, 1,
				       SCMP_CMP(one_of[i].arg, SCMP_CMP_EQ, one_of[i].value, 0));
	if (err == 0)
		err = allow_sockets(ctx);
	if (err == 0)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, not_exec);
	if (err == 0)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, not_exec);
	if (err == 0 && SANITIZED)
		err = allow_all(ctx, sanitizer_calls,
				sizeof(sanitizer_calls) / sizeof(sanitizer_calls[0]));
	if (err != 0 || !keeper)
		return err;
	err = allow_all(ctx, keeper_calls, sizeof(keeper_calls) / sizeof(keeper_calls[0]));
	if (err == 0)
		err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1, read_only);
	return err;
}

/* Return: 0 or a negative errno. */
static int load_filter(bool keeper)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int err = ctx == NULL ? -ENOMEM : build_filter(ctx, keeper);

	if (err == 0)
		err = seccomp_load(ctx);
	if (ctx != NULL)
		seccomp_release(ctx);
	return err;
}

void resolver_confine(int fd)
{
	int err;

	if (!limit(RLIMIT_NPROC, 0))
		give_up(fd, NAME_STAGE_LIMITS, errno);
	err = load_filter(false);
	if (err != 0)
		give_up(fd, NAME_STAGE_FILTER, -err);
}

/* --- the keeper ------------------------------------------------------------------- */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int start_worker(int fd)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	/* a keeper that died before this is no harm: the daemon closes the socket */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
		give_up(fd, NAME_STAGE_LIMITS, errno);
	_exit(resolver_worker_main(fd, resolver_confine));
}

/* Return: when the daemon is gone. */
static void keep(int fd)
{
	int64_t backoff_ms = BACKOFF_MIN_MS;

	for (;;) {
		int64_t started = now_ms();
		struct timespec pause;
		int status = 0;
		pid_t pid = start_worker(fd);

		if (pid < 0)
			give_up(fd, NAME_STAGE_FORK, errno);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			return;
		report_death(fd, status);
		if (now_ms() - started >= LIVED_MS)
			backoff_ms = BACKOFF_MIN_MS;
		pause = (struct timespec){backoff_ms / 1000, backoff_ms % 1000 * 1000000};
		nanosleep(&pause, NULL);
		backoff_ms = backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : backoff_ms * 2;
	}
}

static void plain_signals(void)
{
	static const int ignored[] = {SIGINT, SIGHUP, SIGTERM, SIGPIPE};
	sigset_t none;

	/* those that a terminal sends to all: the daemon ends us */
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

int resolver_helper_main(void)
{
	const int fd = RESOLVER_HELPER_FD;
	socklen_t len = sizeof(int);
	int type = 0, err;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 || type != SOCK_SEQPACKET) {
		fputs("ringfenced: " RESOLVER_HELPER_OPTION " is what it starts itself with\n",
		      stderr);
		return 2;
	}
	plain_signals();
	/* the daemon's log is the daemon's; a sanitizer's report should be seen */
	if (!SANITIZED && dup2(STDIN_FILENO, STDERR_FILENO) < 0)
		give_up(fd, NAME_STAGE_LIMITS, errno);
	prctl(PR_SET_NAME, "rf-names");
	if (!drop_limits())
		give_up(fd, NAME_STAGE_LIMITS, errno);
	if (!drop_user())
		give_up(fd, NAME_STAGE_USER, errno);
	/* only now: a change of user would make the kernel forget it */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
		give_up(fd, NAME_STAGE_LIMITS, errno);
	err = load_filter(true);
	if (err != 0)
		give_up(fd, NAME_STAGE_FILTER, -err);
	keep(fd);
	_exit(0); /* not exit(): there is nothing to tidy up, and the filter is there */
}
