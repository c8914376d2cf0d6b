/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * peer: the traffic of the Xen lab's scenarios, both ends in one program.
 *
 *   peer serve                       echo servers, a sink and a source, until killed
 *   peer tcp HOST PORT [MS]          connect, one echo; says how it ended
 *   peer udp HOST PORT [MS]          one datagram and its echo
 *   peer put|get HOST PORT BYTES     bulk data; both ends' checksums are compared
 *   peer stream tcp|udp HOST PORT INTERVAL_MS SECONDS
 *                                    numbered records and their echoes
 *
 * Each client prints one line of key=value and exits 0 only when the exchange
 * was complete. The wall clock of all domains comes from the hypervisor, so
 * `last=` of a stream can be compared with dom0's time of a commit.
 *
 * Bulk data is a block of pseudo-random words, changed for each repetition: any
 * lost, repeated, moved or altered part changes the receiver's checksum, which
 * depends on the order of the words.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BLOCK_WORDS 8192u
#define SINK_PORT   9000
#define SOURCE_PORT 9001

static const uint16_t tcp_ports[] = { 22, 25, 53, 80, 443, 7000, 7001, 8080, SINK_PORT,
				      SOURCE_PORT };
static const uint16_t udp_ports[] = { 53, 123, 7000, 7001 };

#define TCP_N (sizeof(tcp_ports) / sizeof(tcp_ports[0]))
#define UDP_N (sizeof(udp_ports) / sizeof(udp_ports[0]))

static uint64_t now_ms(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void sleep_ms(unsigned int ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	nanosleep(&ts, NULL);
}

/* --- bulk data ----------------------------------------------------------- */

static uint64_t block[BLOCK_WORDS];

static void block_init(void)
{
	uint64_t x = 0x9e3779b97f4a7c15u;
	size_t i;

	for (i = 0; i < BLOCK_WORDS; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		block[i] = x;
	}
}

static uint64_t sum_add(uint64_t sum, const uint64_t *words, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		sum = (sum ^ words[i]) * 0x100000001b3u;
	return sum;
}

static bool write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static bool read_all(int fd, void *data, size_t len)
{
	char *p = data;

	while (len > 0) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

/* Send words whole blocks at a time; *sum is of what was sent. */
static bool bulk_send(int fd, uint64_t words, uint64_t *sum)
{
	uint64_t out[BLOCK_WORDS], round = 0;
	size_t i, n;

	*sum = 0;
	while (words > 0) {
		n = words < BLOCK_WORDS ? (size_t)words : BLOCK_WORDS;
		for (i = 0; i < n; i++)
			out[i] = block[i] ^ (round * 0xd6e8feb86659fd93u);
		if (!write_all(fd, out, n * sizeof(out[0])))
			return false;
		*sum = sum_add(*sum, out, n);
		words -= n;
		round++;
	}
	return true;
}

static bool bulk_receive(int fd, uint64_t words, uint64_t *sum)
{
	uint64_t in[BLOCK_WORDS];
	size_t n;

	*sum = 0;
	while (words > 0) {
		n = words < BLOCK_WORDS ? (size_t)words : BLOCK_WORDS;
		if (!read_all(fd, in, n * sizeof(in[0])))
			return false;
		*sum = sum_add(*sum, in, n);
		words -= n;
	}
	return true;
}

/* --- servers ------------------------------------------------------------- */

static void serve_echo(int fd)
{
	char buf[65536];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		if (!write_all(fd, buf, (size_t)n))
			return;
}

/* Sink: a count of words, the words; the answer is the checksum. */
static void serve_sink(int fd)
{
	uint64_t words, sum;

	if (read_all(fd, &words, sizeof(words)) && bulk_receive(fd, words, &sum))
		write_all(fd, &sum, sizeof(sum));
}

/* Source: a count of words; the answer is the words, then the checksum. */
static void serve_source(int fd)
{
	uint64_t words, sum;

	if (read_all(fd, &words, sizeof(words)) && bulk_send(fd, words, &sum))
		write_all(fd, &sum, sizeof(sum));
}

static int listen_on(int type, uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port) };
	int one = 1, fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
	    bind(fd, (struct sockaddr *)&sin, sizeof(sin)) != 0 ||
	    (type == SOCK_STREAM && listen(fd, 64) != 0)) {
		fprintf(stderr, "peer: port %u: %s\n", port, strerror(errno));
		exit(1);
	}
	return fd;
}

/* The answer has to leave from the address that was asked: IP_PKTINFO does it. */
static void udp_echo(int fd)
{
	char buf[2048], control[CMSG_SPACE(sizeof(struct in_pktinfo))];
	struct sockaddr_in from;
	struct iovec iov = { .iov_base = buf, .iov_len = sizeof(buf) };
	struct msghdr msg = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov,
			      .msg_iovlen = 1, .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	ssize_t n = recvmsg(fd, &msg, 0);

	if (n < 0)
		return;
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		struct in_pktinfo info;

		if (c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_PKTINFO)
			continue;
		memcpy(&info, CMSG_DATA(c), sizeof(info));
		info.ipi_spec_dst = info.ipi_addr;
		info.ipi_ifindex = 0;
		memcpy(CMSG_DATA(c), &info, sizeof(info));
	}
	iov.iov_len = (size_t)n;
	if (sendmsg(fd, &msg, 0) < 0)
		fprintf(stderr, "peer: udp answer: %s\n", strerror(errno));
}

static void accept_one(int listener, uint16_t port)
{
	int fd = accept(listener, NULL, NULL);

	if (fd < 0)
		return;
	if (fork() == 0) {
		if (port == SINK_PORT)
			serve_sink(fd);
		else if (port == SOURCE_PORT)
			serve_source(fd);
		else
			serve_echo(fd);
		_exit(0);
	}
	close(fd);
}

static int serve(void)
{
	struct pollfd p[TCP_N + UDP_N];
	int one = 1;
	size_t i;

	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	for (i = 0; i < TCP_N; i++)
		p[i] = (struct pollfd){ .fd = listen_on(SOCK_STREAM, tcp_ports[i]),
					.events = POLLIN };
	for (i = 0; i < UDP_N; i++) {
		p[TCP_N + i] = (struct pollfd){ .fd = listen_on(SOCK_DGRAM, udp_ports[i]),
						.events = POLLIN };
		setsockopt(p[TCP_N + i].fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one));
	}
	for (;;) {
		if (poll(p, TCP_N + UDP_N, -1) < 0 && errno != EINTR)
			return 1;
		for (i = 0; i < TCP_N + UDP_N; i++) {
			if (!(p[i].revents & POLLIN))
				continue;
			if (i < TCP_N)
				accept_one(p[i].fd, tcp_ports[i]);
			else
				udp_echo(p[i].fd);
		}
	}
}

/* --- clients ------------------------------------------------------------- */

/* What the firewall did, as the client's kernel reports it. */
static const char *outcome(int err)
{
	switch (err) {
	case 0: return "ok";
	case EHOSTUNREACH: /* ICMP type 3 code 13, and 10 */
	case ENETUNREACH: return "prohibited";
	case ECONNREFUSED: return "refused";
	case ECONNRESET: return "reset";
	case ETIMEDOUT:
	case EAGAIN: return "timeout";
	default: return strerror(err);
	}
}

static int parse_addr(const char *host, const char *port, struct sockaddr_in *sin)
{
	char *end;
	unsigned long n = strtoul(port, &end, 10);

	*sin = (struct sockaddr_in){ .sin_family = AF_INET };
	if (*end || n == 0 || n > 65535 || inet_pton(AF_INET, host, &sin->sin_addr) != 1) {
		fprintf(stderr, "peer: bad address %s port %s\n", host, port);
		return -EINVAL;
	}
	sin->sin_port = htons((uint16_t)n);
	return 0;
}

/* Connect within ms; 0 or the errno that ended it. The socket stays blocking. */
static int open_conn(int type, const struct sockaddr_in *sin, unsigned int ms, int *out)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (long)(ms % 1000) * 1000 };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return errno;
	/* Also bounds connect(2): it then fails with EINPROGRESS. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	if (connect(fd, (const struct sockaddr *)sin, sizeof(*sin)) != 0) {
		err = errno == EINPROGRESS ? ETIMEDOUT : errno;
		close(fd);
		return err;
	}
	*out = fd;
	return 0;
}

/*
 * The ICMP type 3 code of an error that quotes a packet of ours to sin, or -1.
 * The socket alone does not tell when it came: an error that arrives while
 * connect(2) still holds the socket is only remembered, and ends the attempt at
 * the next retransmission. On one processor that is the usual case.
 */
static int icmp_code(int raw, const struct sockaddr_in *sin)
{
	uint8_t buf[576];
	ssize_t n;

	while ((n = recv(raw, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		size_t outer = (size_t)(buf[0] & 15) * 4, quoted = outer + 8, l4;

		if ((size_t)n < quoted + 20 || buf[outer] != 3)
			continue;
		l4 = quoted + (size_t)(buf[quoted] & 15) * 4;
		if ((size_t)n >= l4 + 4 &&
		    memcmp(buf + quoted + 16, &sin->sin_addr, 4) == 0 &&
		    memcmp(buf + l4 + 2, &sin->sin_port, 2) == 0)
			return buf[outer + 1];
	}
	return -1;
}

/* One exchange of a few bytes, watched for ICMP errors; 0 or an errno. */
static int probe(int fd, int raw, const struct sockaddr_in *sin, unsigned int ms, int *code)
{
	static const char text[16] = "ringfence probe";
	uint64_t now, end = now_ms(CLOCK_MONOTONIC) + ms;
	char back[sizeof(text)];
	bool sent = false;

	if (connect(fd, (const struct sockaddr *)sin, sizeof(*sin)) != 0 && errno != EINPROGRESS)
		return errno;
	while ((now = now_ms(CLOCK_MONOTONIC)) < end) {
		struct pollfd p[2] = {
			{ .fd = fd, .events = sent ? POLLIN : POLLOUT },
			{ .fd = raw, .events = POLLIN },
		};
		int err = 0;
		socklen_t len = sizeof(err);

		if (poll(p, 2, (int)(end - now)) < 0)
			return errno;
		if (p[1].revents && (*code = icmp_code(raw, sin)) >= 0)
			return EHOSTUNREACH;
		if (!p[0].revents)
			continue;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0 || err)
			return err ? err : errno;
		if (!sent) {
			if (send(fd, text, sizeof(text), MSG_NOSIGNAL) != sizeof(text))
				return errno;
			sent = true;
		} else {
			if (recv(fd, back, sizeof(back), 0) != sizeof(back))
				return errno ? errno : ECONNRESET;
			return memcmp(text, back, sizeof(text)) ? EBADMSG : 0;
		}
	}
	return ETIMEDOUT;
}

static int client_probe(int type, const struct sockaddr_in *sin, unsigned int ms)
{
	uint64_t begin = now_ms(CLOCK_MONOTONIC);
	int raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int code = -1, err;

	if (raw < 0 || fd < 0) {
		fprintf(stderr, "peer: socket: %s\n", strerror(errno));
		return 2;
	}
	err = probe(fd, raw, sin, ms, &code);
	/* The error may have ended the attempt before the copy on raw was looked at. */
	if (err && code < 0)
		code = icmp_code(raw, sin);
	printf("result=%s icmp=%d ms=%" PRIu64 "\n", outcome(err), code,
	       now_ms(CLOCK_MONOTONIC) - begin);
	return err ? 1 : 0;
}

static int client_bulk(bool put, const struct sockaddr_in *sin, uint64_t bytes)
{
	uint64_t begin = now_ms(CLOCK_MONOTONIC), words = bytes / 8, mine = 0, theirs = 0, ms;
	int fd = -1, err = open_conn(SOCK_STREAM, sin, 60000, &fd);
	bool done = false;

	if (!err) {
		done = write_all(fd, &words, sizeof(words)) &&
		       (put ? bulk_send(fd, words, &mine) : bulk_receive(fd, words, &mine)) &&
		       read_all(fd, &theirs, sizeof(theirs));
		if (!done)
			err = errno ? errno : EPIPE;
	}
	ms = now_ms(CLOCK_MONOTONIC) - begin;
	printf("result=%s bytes=%" PRIu64 " sum=%016" PRIx64 " peer=%016" PRIx64
	       " match=%s ms=%" PRIu64 "\n", outcome(err), words * 8, mine, theirs,
	       done && mine == theirs ? "yes" : "no", ms);
	return done && mine == theirs ? 0 : 1;
}

struct stream {
	int fd, type, err;
	uint64_t sent, received, disorder, last_real, last_mono, max_gap;
};

/* Take all echoes that are there; records are 8 bytes. */
static void stream_take(struct stream *s)
{
	uint64_t seq, now;
	ssize_t n;

	for (;;) {
		/* A record of 8 bytes is sent at once, so it arrives at once. */
		n = recv(s->fd, &seq, sizeof(seq),
			 s->type == SOCK_DGRAM ? MSG_DONTWAIT : MSG_DONTWAIT | MSG_PEEK);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			if (!s->err)
				s->err = n == 0 ? ECONNRESET : errno;
			return;
		}
		if (n < (ssize_t)sizeof(seq))
			return;
		if (s->type == SOCK_STREAM &&
		    recv(s->fd, &seq, sizeof(seq), MSG_DONTWAIT) != sizeof(seq))
			return;
		now = now_ms(CLOCK_MONOTONIC);
		if (s->received > 0 && now - s->last_mono > s->max_gap)
			s->max_gap = now - s->last_mono;
		if (seq != s->received)
			s->disorder++;
		s->received++;
		s->last_mono = now;
		s->last_real = now_ms(CLOCK_REALTIME);
	}
}

/*
 * A stream that the firewall cuts goes on until its time is over: what counts is
 * when the last echo arrived. TCP reports a prohibited path only as a soft error,
 * UDP at the next call; neither ends the stream here.
 */
static int client_stream(int type, const struct sockaddr_in *sin, unsigned int interval,
			 unsigned int seconds)
{
	struct stream s = { .fd = -1, .type = type };
	uint64_t begin = now_ms(CLOCK_MONOTONIC), next = begin, end = begin + seconds * 1000u;
	int one = 1, soft = 0;
	socklen_t len = sizeof(soft);

	s.err = open_conn(type, sin, 5000, &s.fd);
	if (!s.err && type == SOCK_STREAM)
		setsockopt(s.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	while (!(s.err && type == SOCK_STREAM) && now_ms(CLOCK_MONOTONIC) < end) {
		if (now_ms(CLOCK_MONOTONIC) >= next) {
			if (send(s.fd, &s.sent, sizeof(s.sent), MSG_DONTWAIT | MSG_NOSIGNAL) == 8)
				s.sent++;
			next += interval;
		}
		stream_take(&s);
		sleep_ms(interval > 4 ? interval / 4 : 1);
	}
	/* What is still under way. */
	for (next = now_ms(CLOCK_MONOTONIC) + 1000;
	     s.received < s.sent && now_ms(CLOCK_MONOTONIC) < next && s.fd >= 0;) {
		stream_take(&s);
		sleep_ms(5);
	}
	if (s.fd >= 0 && !s.err && getsockopt(s.fd, SOL_SOCKET, SO_ERROR, &soft, &len) == 0)
		s.err = soft;
	printf("result=%s sent=%" PRIu64 " received=%" PRIu64 " lost=%" PRIu64 " disorder=%" PRIu64
	       " max_gap_ms=%" PRIu64 " last=%" PRIu64 "\n", outcome(s.err), s.sent, s.received,
	       s.sent - s.received, s.disorder, s.max_gap, s.last_real);
	return s.sent > 0 && s.sent == s.received && s.disorder == 0 ? 0 : 1;
}

static unsigned int number(const char *text, unsigned int fallback)
{
	return text ? (unsigned int)strtoul(text, NULL, 10) : fallback;
}

static int usage(void)
{
	fputs("usage: peer serve | tcp|udp HOST PORT [MS] | put|get HOST PORT BYTES |\n"
	      "       stream tcp|udp HOST PORT INTERVAL_MS SECONDS\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	struct sockaddr_in sin;
	int type;

	block_init();
	if (argc == 2 && !strcmp(argv[1], "serve"))
		return serve();
	if (argc >= 4 && (!strcmp(argv[1], "tcp") || !strcmp(argv[1], "udp"))) {
		type = !strcmp(argv[1], "tcp") ? SOCK_STREAM : SOCK_DGRAM;
		if (parse_addr(argv[2], argv[3], &sin))
			return 2;
		return client_probe(type, &sin, number(argv[4], 5000));
	}
	if (argc == 5 && (!strcmp(argv[1], "put") || !strcmp(argv[1], "get"))) {
		if (parse_addr(argv[2], argv[3], &sin))
			return 2;
		return client_bulk(!strcmp(argv[1], "put"), &sin, strtoull(argv[4], NULL, 10));
	}
	if (argc == 7 && !strcmp(argv[1], "stream")) {
		type = !strcmp(argv[2], "tcp") ? SOCK_STREAM : SOCK_DGRAM;
		if (parse_addr(argv[3], argv[4], &sin))
			return 2;
		return client_stream(type, &sin, number(argv[5], 20), number(argv[6], 5));
	}
	return usage();
}
