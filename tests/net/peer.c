/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The programs at both ends of the test networks: servers that answer, clients
 * that say in one line what happened to them. Ordinary sockets only, so that a
 * real kernel is what meets the firewall; wire.c makes what a kernel would not.
 *
 *	peer serve ADDR PORT...			echo on TCP and UDP, until killed
 *	peer probe [OPTION...] udp|tcp HOST PORT
 *	peer seq [OPTION...] udp|tcp HOST PORT COUNT INTERVAL_US
 *	peer sink ADDR PORT			accept once, connection to stdout
 *	peer feed ADDR PORT			accept once, stdin to connection
 *	peer put HOST PORT			connect, stdin to connection
 *	peer get HOST PORT			connect, connection to stdout
 *	peer notify PATH			print one message to a NOTIFY_SOCKET
 *
 *	-b ADDR:PORT  local end       -t MS   how long to wait (2000)
 *	-l TTL        time to live    -s N    bytes of a UDP probe (64)
 *	-d            set DF, never fragment here
 *
 * Addresses are of either family; serve on :: does not serve IPv4.
 *
 * probe prints "ok MS", "timeout MS", or
 * "error ERRNO MS [from ADDR type T code C info N]"; the latter when an ICMP
 * error was the cause. seq sends numbered records, reads them back and prints a
 * JSON object; it stops early when nothing has come back for the -t time, and on
 * SIGTERM when all that was sent has come back.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RECORD_LEN 64	     /* bytes of one numbered record */
#define CHUNK	   (256 << 10) /* large writes, so that the kernel makes GSO frames */

struct endpoint {
	union {
		struct sockaddr any;
		struct sockaddr_in ip4;
		struct sockaddr_in6 ip6;
	} addr;
	socklen_t len;
};

static struct {
	struct endpoint local;
	bool has_local, df;
	int timeout_ms, ttl, size;
} opt = {.timeout_ms = 2000, .size = 64};

static void __attribute__((noreturn)) fail(const char *what)
{
	fprintf(stderr, "peer: %s: %s\n", what, strerror(errno));
	exit(2);
}

static uint64_t clock_ms(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t now_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

static long number(const char *text, long max)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(text, &end, 10);
	if (errno || end == text || *end || v < 0 || v > max) {
		errno = EINVAL;
		fail(text);
	}
	return v;
}

static struct endpoint address(const char *host, const char *port)
{
	struct endpoint ep = {.len = sizeof(ep.addr.ip4)};
	in_port_t be = htons((uint16_t)number(port, 65535));

	if (inet_pton(AF_INET, host, &ep.addr.ip4.sin_addr) == 1) {
		ep.addr.ip4.sin_family = AF_INET;
		ep.addr.ip4.sin_port = be;
	} else if (inet_pton(AF_INET6, host, &ep.addr.ip6.sin6_addr) == 1) {
		ep.addr.ip6.sin6_family = AF_INET6;
		ep.addr.ip6.sin6_port = be;
		ep.len = sizeof(ep.addr.ip6);
	} else {
		errno = EINVAL;
		fail(host);
	}
	return ep;
}

static int is_tcp(const char *name)
{
	if (strcmp(name, "tcp") == 0)
		return 1;
	if (strcmp(name, "udp") == 0)
		return 0;
	errno = EPROTONOSUPPORT;
	fail(name);
}

static void set_int(int fd, int level, int name, int value, const char *what)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)))
		fail(what);
}

static void client_options(int fd, bool v6)
{
	int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;

	set_int(fd, level, v6 ? IPV6_RECVERR : IP_RECVERR, 1, "RECVERR");
	if (opt.ttl)
		set_int(fd, level, v6 ? IPV6_UNICAST_HOPS : IP_TTL, opt.ttl, "TTL");
	if (opt.df)
		set_int(fd, level, v6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, IP_PMTUDISC_PROBE,
			"MTU_DISCOVER");
	if (opt.has_local && bind(fd, &opt.local.addr.any, opt.local.len))
		fail("bind");
}

static int make_socket(int tcp, sa_family_t family)
{
	int fd = socket(family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("socket");
	set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
	return fd;
}

static int client_socket(int tcp, const struct endpoint *to)
{
	int fd = make_socket(tcp, to->addr.any.sa_family);

	client_options(fd, to->addr.any.sa_family == AF_INET6);
	return fd;
}

/* --- servers ------------------------------------------------------------------ */

static void echo_stream(int fd)
{
	static char buf[CHUNK];
	ssize_t n, done, w;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (done = 0; done < n; done += w)
			if ((w = write(fd, buf + done, (size_t)(n - done))) <= 0)
				return;
}

/* Where the datagram was sent to becomes where the answer comes from. */
static void turn_around(struct cmsghdr *c)
{
	struct in_pktinfo info;
	struct in6_pktinfo info6;

	if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
		memcpy(&info, CMSG_DATA(c), sizeof(info));
		info.ipi_spec_dst = info.ipi_addr;
		info.ipi_ifindex = 0;
		memcpy(CMSG_DATA(c), &info, sizeof(info));
	} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
		memcpy(&info6, CMSG_DATA(c), sizeof(info6));
		info6.ipi6_ifindex = 0;
		memcpy(CMSG_DATA(c), &info6, sizeof(info6));
	}
}

/* Answer from the address that was asked: the server has several. */
static void echo_datagram(int fd)
{
	static char buf[65536];
	union {
		char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
		struct cmsghdr align;
	} control;
	struct endpoint from;
	struct iovec iov = {.iov_base = buf, .iov_len = sizeof(buf)};
	struct msghdr msg = {
		.msg_name = &from.addr, .msg_namelen = sizeof(from.addr),
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.bytes, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;
	ssize_t n = recvmsg(fd, &msg, 0);

	if (n < 0)
		return;
	c = CMSG_FIRSTHDR(&msg);
	if (c)
		turn_around(c);
	iov.iov_len = (size_t)n;
	/* An ICMP error that came back for an earlier answer is nobody's loss. */
	if (sendmsg(fd, &msg, 0) < 0 && errno != ECONNREFUSED && errno != EHOSTUNREACH)
		perror("peer: answer");
}

static int listener(const char *addr, const char *port, int tcp)
{
	struct endpoint ep = address(addr, port);
	bool v6 = ep.addr.any.sa_family == AF_INET6;
	int fd = make_socket(tcp, ep.addr.any.sa_family);

	if (v6)
		set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1, "IPV6_V6ONLY");
	if (!tcp)
		set_int(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_RECVPKTINFO : IP_PKTINFO, 1,
			"PKTINFO");
	if (bind(fd, &ep.addr.any, ep.len))
		fail("bind");
	if (tcp && listen(fd, 64))
		fail("listen");
	return fd;
}

static int serve(const char *addr, char **ports, int n)
{
	struct pollfd fds[64];
	nfds_t watched = (nfds_t)n * 2;
	int i, conn;

	if (n < 1 || n > 32) {
		errno = E2BIG;
		fail("ports");
	}
	signal(SIGCHLD, SIG_IGN);
	for (i = 0; i < n; i++) {
		fds[2 * i].fd = listener(addr, ports[i], 1);
		fds[2 * i + 1].fd = listener(addr, ports[i], 0);
		fds[2 * i].events = fds[2 * i + 1].events = POLLIN;
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		if (poll(fds, watched, -1) < 0 && errno != EINTR)
			fail("poll");
		for (i = 0; i < 2 * n; i++) {
			if (!(fds[i].revents & POLLIN))
				continue;
			if (i % 2) {
				echo_datagram(fds[i].fd);
				continue;
			}
			conn = accept(fds[i].fd, NULL, NULL);
			if (conn >= 0 && fork() == 0) {
				echo_stream(conn);
				_exit(0);
			}
			if (conn >= 0)
				close(conn);
		}
	}
}

/* --- bulk transfer -------------------------------------------------------------- */

static int accept_once(const char *addr, const char *port)
{
	int fd = listener(addr, port, 1), conn;

	conn = accept(fd, NULL, NULL);
	if (conn < 0)
		fail("accept");
	close(fd);
	return conn;
}

static int connect_once(const char *host, const char *port)
{
	struct endpoint to = address(host, port);
	int fd = client_socket(1, &to);

	if (connect(fd, &to.addr.any, to.len))
		fail("connect");
	return fd;
}

static void copy_all(int from, int to)
{
	static char buf[CHUNK];
	ssize_t n, done, w;

	while ((n = read(from, buf, sizeof(buf))) != 0) {
		if (n < 0)
			fail("read");
		for (done = 0; done < n; done += w)
			if ((w = write(to, buf + done, (size_t)(n - done))) < 0)
				fail("write");
	}
}

static int send_all(int fd)
{
	char c;

	copy_all(0, fd);
	shutdown(fd, SHUT_WR);
	/* Until the other end closes, its data may still be on the way. */
	while (read(fd, &c, 1) > 0)
		;
	return 0;
}

static int receive_all(int fd)
{
	copy_all(fd, 1);
	close(fd);
	return 0;
}

/* What a service manager hears; 10 s at most. */
static int notify(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct timeval tv = {.tv_sec = 10};
	char text[256];
	ssize_t n;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(sun.sun_path))
		fail(path);
	memcpy(sun.sun_path, path, strlen(path) + 1);
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)))
		fail(path);
	n = recv(fd, text, sizeof(text), 0);
	if (n < 0)
		fail("recv");
	printf("%.*s\n", (int)n, text);
	return 0;
}

/* --- probe ------------------------------------------------------------------------ */

static const char *error_name(int err)
{
	const char *name = strerrorname_np(err);

	return name ? name : "EUNKNOWN";
}

/* The ICMP error behind a socket's error, from its error queue. */
static void print_cause(int fd)
{
	union {
		char bytes[512];
		struct cmsghdr align;
	} control;
	char data[256], text[INET6_ADDRSTRLEN] = "-";
	struct sock_extended_err ee;
	struct endpoint offender;
	struct iovec iov = {.iov_base = data, .iov_len = sizeof(data)};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control.bytes, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;
	bool v6;

	if (recvmsg(fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
		return;
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		v6 = c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR;
		if (!v6 && !(c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR))
			continue;
		memcpy(&ee, CMSG_DATA(c), sizeof(ee));
		if (ee.ee_origin != (v6 ? SO_EE_ORIGIN_ICMP6 : SO_EE_ORIGIN_ICMP))
			continue;
		/* The offender's address lies behind the structure. */
		if (v6) {
			memcpy(&offender.addr.ip6, CMSG_DATA(c) + sizeof(ee),
			       sizeof(offender.addr.ip6));
			inet_ntop(AF_INET6, &offender.addr.ip6.sin6_addr, text, sizeof(text));
		} else {
			memcpy(&offender.addr.ip4, CMSG_DATA(c) + sizeof(ee),
			       sizeof(offender.addr.ip4));
			inet_ntop(AF_INET, &offender.addr.ip4.sin_addr, text, sizeof(text));
		}
		printf(" from %s type %d code %d info %u", text, ee.ee_type, ee.ee_code,
		       ee.ee_info);
	}
}

static void report_error(int fd, int err, uint64_t start)
{
	printf("error %s %llu", error_name(err), (unsigned long long)(now_ms() - start));
	print_cause(fd);
	putchar('\n');
}

static int socket_error(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
	return err;
}

/* Connect without waiting longer than the -t time. Return: 0 or an errno. */
static int connect_within(int fd, const struct endpoint *to, int timeout_ms)
{
	struct timeval tv = {.tv_sec = timeout_ms / 1000,
			     .tv_usec = timeout_ms % 1000 * 1000};

	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)))
		fail("timeout");
	if (connect(fd, &to->addr.any, to->len) == 0)
		return 0;
	return errno == EINPROGRESS || errno == EAGAIN ? ETIMEDOUT : errno;
}

static int probe(int tcp, const char *host, const char *port)
{
	static char out[65536], in[65536];
	struct endpoint to = address(host, port);
	uint64_t start = now_ms();
	int fd = client_socket(tcp, &to), err, size = tcp ? RECORD_LEN : opt.size;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n;

	memset(out, 'p', sizeof(out));
	snprintf(out, sizeof(out), "probe %d %llu", (int)getpid(), (unsigned long long)start);
	err = connect_within(fd, &to, opt.timeout_ms);
	if (!err && send(fd, out, (size_t)size, MSG_NOSIGNAL) != size)
		err = errno;
	if (!err) {
		n = poll(&p, 1, opt.timeout_ms);
		if (n == 0) {
			err = ETIMEDOUT;
		} else {
			n = recv(fd, in, tcp ? (size_t)size : sizeof(in), tcp ? MSG_WAITALL : 0);
			if (n < 0)
				err = errno;
			else if (n != size || memcmp(in, out, (size_t)size) != 0)
				err = EBADMSG;
		}
	}
	if (!err)
		printf("ok %llu\n", (unsigned long long)(now_ms() - start));
	else if (err == ETIMEDOUT && !socket_error(fd))
		printf("timeout %llu\n", (unsigned long long)(now_ms() - start));
	else
		report_error(fd, err, start);
	return 0;
}

/* --- numbered records --------------------------------------------------------------- */

struct seq_state {
	uint32_t sent, received, next, reordered, duplicate, corrupt;
	uint64_t max_gap_ms, last_ms, last_wall_ms, start_ms;
	int error;
	bool stalled;
	size_t fill;
	char part[RECORD_LEN]; /* of a record that TCP cut */
	uint8_t *seen;
};

static volatile sig_atomic_t stopping;

static void stop_sending(int sig)
{
	(void)sig;
	stopping = 1;
}

static void record_make(char *rec, uint32_t i)
{
	memset(rec, 'a' + (int)(i % 26), RECORD_LEN);
	memcpy(rec, &i, sizeof(i));
}

static void record_got(struct seq_state *s, const char *rec, uint32_t count)
{
	char want[RECORD_LEN];
	uint64_t now = now_ms();
	uint32_t i;

	memcpy(&i, rec, sizeof(i));
	record_make(want, i);
	if (i >= count || memcmp(want, rec, RECORD_LEN) != 0) {
		s->corrupt++;
		return;
	}
	if (s->seen[i])
		s->duplicate++;
	else
		s->received++;
	s->seen[i] = 1;
	if (i < s->next)
		s->reordered++;
	else
		s->next = i + 1;
	if (now - s->last_ms > s->max_gap_ms)
		s->max_gap_ms = now - s->last_ms;
	s->last_ms = now;
	s->last_wall_ms = clock_ms(CLOCK_REALTIME);
}

/* Return: false when the connection has ended. */
static bool seq_read(struct seq_state *s, int fd, int tcp, uint32_t count)
{
	char buf[RECORD_LEN * 64];
	ssize_t n, i;

	for (;;) {
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0) {
			s->error = n < 0 ? errno : ECONNRESET;
			return false;
		}
		if (!tcp) {
			if (n == RECORD_LEN)
				record_got(s, buf, count);
			else
				s->corrupt++;
			continue;
		}
		for (i = 0; i < n; i++) {
			s->part[s->fill++] = buf[i];
			if (s->fill == RECORD_LEN) {
				record_got(s, s->part, count);
				s->fill = 0;
			}
		}
	}
}

static void seq_loop(struct seq_state *s, int fd, int tcp, uint32_t count, long interval_us)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct timespec gap = {.tv_sec = interval_us / 1000000,
			       .tv_nsec = interval_us % 1000000 * 1000};
	char rec[RECORD_LEN];

	s->start_ms = s->last_ms = now_ms();
	while (s->received < count) {
		if (stopping)
			count = s->sent;
		if (s->sent < count) {
			record_make(rec, s->sent);
			if (send(fd, rec, RECORD_LEN, MSG_NOSIGNAL | MSG_DONTWAIT) ==
			    RECORD_LEN) {
				s->sent++;
			} else if (errno != EAGAIN) {
				s->error = errno;
				return;
			}
			nanosleep(&gap, NULL);
		} else if (poll(&p, 1, 20) < 0) {
			s->error = errno;
			return;
		}
		if (!seq_read(s, fd, tcp, count))
			return;
		if (now_ms() - s->last_ms > (uint64_t)opt.timeout_ms) {
			s->stalled = true;
			return;
		}
	}
}

static int seq(int tcp, const char *host, const char *port, uint32_t count, long interval_us)
{
	struct endpoint to = address(host, port);
	struct seq_state s = {.seen = calloc(count, 1)};
	int fd = client_socket(tcp, &to);

	if (!s.seen)
		fail("memory");
	signal(SIGTERM, stop_sending);
	if (tcp)
		set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY");
	s.error = connect_within(fd, &to, opt.timeout_ms);
	if (!s.error)
		seq_loop(&s, fd, tcp, count, interval_us);
	printf("{\"sent\":%u,\"received\":%u,\"lost\":%u,\"reordered\":%u,\"duplicate\":%u,"
	       "\"corrupt\":%u,\"max_gap_ms\":%llu,\"last_wall_ms\":%llu,\"ms\":%llu,"
	       "\"stalled\":%s,\"error\":\"%s\"}\n",
	       s.sent, s.received, s.sent - s.received, s.reordered, s.duplicate, s.corrupt,
	       (unsigned long long)s.max_gap_ms, (unsigned long long)s.last_wall_ms,
	       (unsigned long long)(s.start_ms ? now_ms() - s.start_ms : 0),
	       s.stalled ? "true" : "false", s.error ? error_name(s.error) : "");
	free(s.seen);
	return 0;
}

/* --- command line ---------------------------------------------------------------------- */

static int __attribute__((noreturn)) usage(void)
{
	fputs("usage: peer serve|probe|seq|sink|feed|put|get|notify ... (see peer.c)\n", stderr);
	exit(2);
}

static void options(int argc, char **argv)
{
	char *colon;
	int c;

	while ((c = getopt(argc, argv, "+b:t:l:s:d")) != -1) {
		switch (c) {
		case 'b':
			colon = strrchr(optarg, ':');
			if (!colon)
				usage();
			*colon = '\0';
			opt.local = address(optarg, colon + 1);
			opt.has_local = true;
			break;
		case 't':
			opt.timeout_ms = (int)number(optarg, INT_MAX);
			break;
		case 'l':
			opt.ttl = (int)number(optarg, 255);
			break;
		case 's':
			opt.size = (int)number(optarg, 65000);
			break;
		case 'd':
			opt.df = true;
			break;
		default:
			usage();
		}
	}
}

int main(int argc, char **argv)
{
	const char *cmd;

	if (argc < 2)
		usage();
	cmd = argv[1];
	options(argc - 1, argv + 1);
	argv += optind + 1;
	argc -= optind + 1;
	signal(SIGPIPE, SIG_IGN);
	if (strcmp(cmd, "serve") == 0 && argc >= 2)
		return serve(argv[0], argv + 1, argc - 1);
	if (strcmp(cmd, "probe") == 0 && argc == 3)
		return probe(is_tcp(argv[0]), argv[1], argv[2]);
	if (strcmp(cmd, "seq") == 0 && argc == 5)
		return seq(is_tcp(argv[0]), argv[1], argv[2], (uint32_t)number(argv[3], 10000000),
			   number(argv[4], 10000000));
	if (strcmp(cmd, "notify") == 0 && argc == 1)
		return notify(argv[0]);
	if (argc != 2)
		usage();
	if (strcmp(cmd, "sink") == 0)
		return receive_all(accept_once(argv[0], argv[1]));
	if (strcmp(cmd, "feed") == 0)
		return send_all(accept_once(argv[0], argv[1]));
	if (strcmp(cmd, "put") == 0)
		return send_all(connect_once(argv[0], argv[1]));
	if (strcmp(cmd, "get") == 0)
		return receive_all(connect_once(argv[0], argv[1]));
	usage();
}
