/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The resolver's worker: what its filter lets through and what it kills for, and
 * that it resolves names under it. The DNS server is this test, in a network
 * namespace of its own (which needs root).
 */
#include "firewall/resolver_helper.h"

#include "tests/unit/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- the filter ----------------------------------------------------------------- */

/* Raw calls: a library may refuse by itself, or do something else first. */
static void do_nothing(void)
{
}

static void do_socket(void)
{
	int fd = (int)syscall(SYS_socket, AF_INET, SOCK_DGRAM, 0);

	if (fd < 0 || close(fd) != 0)
		_exit(3);
}

static void do_memory(void)
{
	void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || munmap(p, 1 << 20) != 0)
		_exit(3);
}

static void do_open(void)
{
	syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY);
}

static void do_exec(void)
{
	syscall(SYS_execve, "/bin/true", NULL, NULL);
}

static void do_fork(void)
{
	syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static void do_unix(void)
{
	syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
}

static void do_inet6(void)
{
	syscall(SYS_socket, AF_INET6, SOCK_DGRAM, 0);
}

static void do_netlink(void)
{
	syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0);
}

static void do_ping_socket(void)
{
	syscall(SYS_socket, AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
}

static void do_raw_socket(void)
{
	syscall(SYS_socket, AF_INET, SOCK_RAW | SOCK_CLOEXEC, 0);
}

static void do_sctp(void)
{
	syscall(SYS_socket, AF_INET, SOCK_STREAM, IPPROTO_SCTP);
}

static void do_socket_option(void)
{
	int size = 65536, fd = (int)syscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (syscall(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) != 0 ||
	    syscall(SYS_setsockopt, fd, IPPROTO_TCP, TCP_NODELAY, &size, sizeof(size)) != 0)
		_exit(3);
}

static void do_ip_option(void)
{
	syscall(SYS_setsockopt, 0, IPPROTO_IP, IP_TTL, NULL, 0);
}

static void do_get_ip_option(void)
{
	syscall(SYS_getsockopt, 0, IPPROTO_IP, IP_TTL, NULL, NULL);
}

static void do_fcntl_owner(void)
{
	syscall(SYS_fcntl, 0, F_SETOWN, 1);
}

static void do_listen(void)
{
	syscall(SYS_listen, 0, 1);
}

static void do_bind(void)
{
	syscall(SYS_bind, 0, NULL, 0);
}

static void do_code(void)
{
	syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void do_make_code(void)
{
	syscall(SYS_mprotect, NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static void do_kill(void)
{
	syscall(SYS_kill, 1, 0);
}

static void do_ptrace(void)
{
	syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0);
}

static void do_ioctl(void)
{
	syscall(SYS_ioctl, 0, 0, 0);
}

static void do_read_process(void)
{
	syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0);
}

static void do_setuid(void)
{
	syscall(SYS_setuid, 0);
}

static void do_prctl(void)
{
	syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static const struct {
	const char *name;
	void (*call)(void);
	bool allowed;
} calls[] = {
	{"nothing", do_nothing, true},
	{"socket_of_IPv4", do_socket, true},
	{"memory", do_memory, true},
	{"socket_option", do_socket_option, true},
	{"hp_seccomp_ping_socket", do_ping_socket, false},
	{"hp_seccomp_raw_socket", do_raw_socket, false},
	{"hp_seccomp_SCTP", do_sctp, false},
	{"hp_seccomp_IP_option", do_ip_option, false},
	{"hp_seccomp_get_IP_option", do_get_ip_option, false},
	{"hp_seccomp_owner_of_a_descriptor", do_fcntl_owner, false},
	{"hp_seccomp_open", do_open, false},
	{"hp_seccomp_exec", do_exec, false},
	{"hp_seccomp_fork", do_fork, false},
	{"hp_seccomp_unix_socket", do_unix, false},
	{"hp_seccomp_IPv6_socket", do_inet6, false},
	{"hp_seccomp_netlink", do_netlink, false},
	{"hp_seccomp_listen", do_listen, false},
	{"hp_seccomp_bind", do_bind, false},
	{"hp_seccomp_map_code", do_code, false},
	{"hp_seccomp_make_code", do_make_code, false},
	{"hp_seccomp_kill", do_kill, false},
	{"hp_seccomp_ptrace", do_ptrace, false},
	{"hp_seccomp_ioctl", do_ioctl, false},
	{"hp_seccomp_read_process", do_read_process, false},
	{"hp_seccomp_setuid", do_setuid, false},
	{"hp_seccomp_prctl", do_prctl, false},
};

static void test_filter(void)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		struct rlimit none = {0, 0};
		int status = 0;
		pid_t pid;

		test_case(calls[i].name);
		pid = fork();
		if (pid == 0) {
			setrlimit(RLIMIT_CORE, &none);
			resolver_confine(-1);
			calls[i].call();
			_exit(0);
		}
		CHECK_INT(waitpid(pid, &status, 0), pid);
		if (calls[i].allowed)
			CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
		else
			CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
	}
}

/* --- a worker ------------------------------------------------------------------------ */

static int helper = -1;
static pid_t worker;

static void start(void)
{
	struct name_reply r;
	int pair[2];

	CHECK_INT(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	worker = fork();
	if (worker == 0) {
		close(pair[0]);
		_exit(resolver_worker_main(pair[1], resolver_confine));
	}
	close(pair[1]);
	helper = pair[0];
	CHECK_INT(recv(helper, &r, sizeof(r), 0), sizeof(r));
	CHECK(name_reply_check(&r, &r, sizeof(r)) && r.type == NAME_HELLO);
}

/* Return: how it ended. */
static int stop(void)
{
	int status = 0;

	close(helper);
	CHECK_INT(waitpid(worker, &status, 0), worker);
	return status;
}

static void say(const struct name_request *r)
{
	CHECK_INT(send(helper, r, sizeof(*r), 0), sizeof(*r));
}

/* One server, two, or none. */
static void say_servers(const char *ip, const char *ip2)
{
	struct addr a[2] = {{.family = 0}};
	struct name_request r;
	size_t n = 0;

	if (ip != NULL)
		CHECK_INT(addr_parse(ip, strlen(ip), &a[n++]), 0);
	if (ip2 != NULL)
		CHECK_INT(addr_parse(ip2, strlen(ip2), &a[n++]), 0);
	name_servers_request(&r, a, n);
	say(&r);
}

static void say_ask(uint32_t id, uint8_t family, const char *name)
{
	struct name_request r;

	name_ask_request(&r, id, family, name);
	say(&r);
}

/* The next reply, which must be a good one. */
static struct name_reply hear(void)
{
	struct pollfd p = {.fd = helper, .events = POLLIN};
	struct name_reply r;

	memset(&r, 0, sizeof(r));
	CHECK_INT(poll(&p, 1, 20000), 1);
	CHECK_INT(recv(helper, &r, sizeof(r), MSG_DONTWAIT), sizeof(r));
	CHECK(name_reply_check(&r, &r, sizeof(r)));
	return r;
}

static int server_at(const char *ip)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(53)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	inet_pton(AF_INET, ip, &sin.sin_addr);
	CHECK_INT(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	return fd;
}

/* Answer one question: an address, or none with this rcode. */
static void serve(int fd, unsigned int rcode)
{
	static const uint8_t record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1};
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	uint8_t msg[1024];
	size_t end = 12;
	ssize_t n;

	CHECK_INT(poll(&p, 1, 10000), 1);
	n = recvfrom(fd, msg, 512, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
	if (!CHECK(n > 12))
		return;
	CHECK_INT(msg[11], 1); /* EDNS: one additional record, OPT */
	while (end < (size_t)n && msg[end] != 0)
		end += 1u + msg[end];
	end += 5;
	msg[2] = 0x81;
	msg[3] = (uint8_t)(0x80 | rcode);
	msg[7] = rcode == 0;
	msg[11] = 0;
	if (rcode == 0) {
		memcpy(msg + end, record, sizeof(record));
		end += sizeof(record);
	}
	CHECK_INT(sendto(fd, msg, end, 0, (struct sockaddr *)&from, from_len), end);
}

static void test_worker(void)
{
	int fd = server_at("127.0.0.53");
	struct name_reply r;
	char bytes[512];

	test_case("resolves_under_its_filter");
	start();
	say_servers("127.0.0.53", NULL);
	say_ask(77, 4, "a.test");
	serve(fd, 0);
	r = hear();
	CHECK_INT(r.type, NAME_REPLY);
	CHECK_INT(r.id, 77);
	CHECK_INT(r.outcome, DNS_ADDRESSES);
	CHECK_INT(r.count, 1);
	CHECK_INT(r.ttl_s, 60);
	CHECK_INT(r.addrs[0][0], 192);
	say_ask(78, 4, "b.test");
	serve(fd, 3);
	CHECK_INT(hear().outcome, DNS_NOT_FOUND);

	test_case("new_servers_make_what_was_asked_void");
	say_ask(79, 4, "c.test");
	CHECK_INT(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 10000), 1);
	CHECK(recv(fd, bytes, sizeof(bytes), 0) > 0); /* and no answer */
	say_servers("127.0.0.53", NULL);
	say_ask(80, 4, "d.test");
	serve(fd, 0);
	CHECK_INT(hear().id, 80);
	/* of the other one nothing comes, not even that there was no answer */
	CHECK_INT(poll(&(struct pollfd){.fd = helper, .events = POLLIN}, 1, 1500), 0);

	test_case("no_server");
	say_servers(NULL, NULL);
	say_ask(81, 4, "e.test");
	CHECK_INT(hear().outcome, DNS_SERVER_FAILURE);

	test_case("ends_when_nobody_is_there");
	CHECK_INT(stop(), 0);

	test_case("nobody_at_the_port");
	start();
	say_servers("127.0.0.54", NULL);
	say_ask(1, 6, "a.test");
	CHECK_INT(hear().outcome, DNS_TIMEOUT);
	CHECK_INT(stop(), 0);
	close(fd);
}

/* Answer what comes to either server until @n replies are there. */
static unsigned int serve_both(int fd, unsigned int rcode, int fd2, unsigned int rcode2, int n)
{
	struct pollfd p[] = {{.fd = fd, .events = POLLIN},
			     {.fd = fd2, .events = POLLIN},
			     {.fd = helper, .events = POLLIN}};
	unsigned int good = 0;

	while (n > 0) {
		if (!CHECK(poll(p, 3, 20000) > 0))
			break;
		if (p[0].revents != 0)
			serve(fd, rcode);
		if (p[1].revents != 0)
			serve(fd2, rcode2);
		if (p[2].revents == 0)
			continue;
		good += hear().outcome == DNS_ADDRESSES;
		n--;
	}
	return good;
}

static void test_two_servers(void)
{
	int fd = server_at("127.0.0.53"), fd2 = server_at("127.0.0.56");
	const uint32_t n = NAME_IN_FLIGHT_MAX;

	test_case("the_other_server_is_asked_whatever_else_is");
	start();
	say_servers("127.0.0.53", "127.0.0.56");
	for (uint32_t i = 1; i <= n; i++)
		say_ask(i, 4, "a.test");
	CHECK_INT(serve_both(fd, 2, fd2, 0, (int)n), n);
	for (uint32_t i = 1; i <= n; i++)
		say_ask(i, 4, "a.test");
	CHECK_INT(serve_both(fd, 0, fd2, 5, (int)n), n);

	test_case("a_failure_of_both_is_one");
	say_ask(1, 4, "a.test");
	CHECK_INT(serve_both(fd, 2, fd2, 2, 1), 0);

	test_case("both_servers_are_used");
	for (uint32_t i = 1; i <= 2; i++)
		say_ask(i, 4, "a.test");
	serve(fd, 0);
	serve(fd2, 0);
	CHECK_INT(hear().outcome, DNS_ADDRESSES);
	CHECK_INT(hear().outcome, DNS_ADDRESSES);
	CHECK_INT(stop(), 0);
	close(fd);
	close(fd2);
}

static void test_bad_requests(void)
{
	struct name_request r;
	char bytes[sizeof(r) + 1];

	test_case("a_message_that_is_none_ends_it");
	start();
	memset(bytes, 0x41, sizeof(bytes));
	CHECK_INT(send(helper, bytes, sizeof(bytes), 0), sizeof(bytes));
	CHECK_INT(recv(helper, bytes, sizeof(bytes), 0), 0);
	CHECK_INT(stop(), 0);

	test_case("so_does_one_question_too_many");
	start();
	say_servers("127.0.0.55", NULL); /* bound below: it gets no answer at all */
	int silent = server_at("127.0.0.55");

	for (uint32_t i = 1; i <= NAME_IN_FLIGHT_MAX; i++)
		say_ask(i, 4, "a.test");
	CHECK_INT(send(helper, "", 0, MSG_DONTWAIT), 0);
	CHECK_INT(recv(helper, bytes, sizeof(bytes), 0), 0);
	CHECK_INT(stop(), 0);
	close(silent);
}

static bool own_network(void)
{
	struct ifreq ifr = {.ifr_name = "lo"};
	int fd;
	bool ok;

	if (unshare(CLONE_NEWNET) != 0)
		return false;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	ok = ioctl(fd, SIOCGIFFLAGS, &ifr) == 0;
	ifr.ifr_flags |= IFF_UP;
	ok = ok && ioctl(fd, SIOCSIFFLAGS, &ifr) == 0;
	close(fd);
	return ok;
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	test_filter();
	test_case("a network of its own (needs root)");
	if (CHECK(own_network())) {
		test_worker();
		test_two_servers();
		test_bad_requests();
	}
	return test_end();
}
