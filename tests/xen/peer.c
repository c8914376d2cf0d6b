/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * peer: the traffic of the Xen lab's scenarios, both ends in one program, over
 * IPv4 and IPv6 alike.
 *
 *   peer serve                       echo servers, a sink and a source, until killed
 *   peer tcp HOST PORT [OPTION...]   connect, one echo; says how it ended
 *   peer udp HOST PORT [OPTION...]   one datagram and its echo, compared byte by byte
 *        ms=N      wait so long (5000)
 *        size=N    bytes to send (16)
 *        ttl=N     hop limit
 *        df        never fragment, whatever the kernel knows about the path
 *        nodf      let routers fragment
 *   peer put|get HOST PORT BYTES     bulk data; both ends' checksums are compared
 *   peer stream tcp|udp HOST PORT INTERVAL_MS SECONDS
 *                                    numbered records and their echoes
 *
 * tcp and udp print: result, the ICMP error that was seen (type, code as icmp, mtu;
 * -1: none), what the client's kernel told the socket, and the time it took.
 *
 * Each client prints one line of key=value and exits 0 only when the exchange
 * was complete. The wall clock of all domains comes from the hypervisor, so
 * `last=` of a stream can be compared with dom0's time of a commit.
 *
 * Bulk data is a block of pseudo-random words, changed for each repetition: any
 * lost, repeated, moved or altered part changes the receiver's checksum, which
 * depends on the order of the words.
 */
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "tests/xen/peer_net.h"

#define BLOCK_WORDS 8192u
#define SINK_PORT   9000
#define SOURCE_PORT 9001
#define UDP_MAX     65507u /* of payload, over IPv4 */

static const uint16_t tcp_ports[] = { 22, 25, 53, 80, 443, 7000, 7001, 8080, SINK_PORT,
				      SOURCE_PORT };
static const uint16_t udp_ports[] = { 53, 123, 7000, 7001 };

#define TCP_N (sizeof(tcp_ports) / sizeof(tcp_ports[0]))
#define UDP_N (sizeof(udp_ports) / sizeof(udp_ports[0]))

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

/* One socket for both families: IPv4 comes as mapped addresses. */
static int listen_on(int type, uint16_t port)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int one = 1, fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
	    bind(fd, (struct sockaddr *)&any, sizeof(any)) != 0 ||
	    (type == SOCK_STREAM && listen(fd, 64) != 0)) {
		fprintf(stderr, "peer: port %u: %s\n", port, strerror(errno));
		exit(1);
	}
	return fd;
}

/*
 * A question for an address of "web..." has the answer 198.51.100.1, for a minute:
 * so the echo server of port 53 is a DNS server, too. Return: the length of what to
 * send back.
 */
static size_t dns_answer(char *buf, size_t n, size_t size)
{
	static const char web[] = "\3web";
	static const char record[] = "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc6\x33\x64\1";
	size_t end = 12;

	if (n < 12 + sizeof(web) || buf[5] != 1 || memcmp(buf + 12, web, sizeof(web) - 1) != 0)
		return n;
	while (end < n && buf[end] != 0)
		end += 1 + (unsigned char)buf[end];
	end += 5; /* the end of the name, type and class; what follows is left out */
	if (end > n || end + sizeof(record) > size)
		return n;
	buf[2] |= (char)0x80;
	buf[7] = 1;
	buf[11] = 0;
	memcpy(buf + end, record, sizeof(record) - 1);
	return end + sizeof(record) - 1;
}

/* The answer has to leave from the address that was asked: the packet info, given
 * back as it came but for the interface, does it. */
static void udp_echo(int fd)
{
	static char buf[UDP_MAX];
	char control[CMSG_SPACE(sizeof(struct in6_pktinfo))];
	struct sockaddr_in6 from;
	struct iovec iov = { .iov_base = buf, .iov_len = sizeof(buf) };
	struct msghdr msg = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov,
			      .msg_iovlen = 1, .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	ssize_t n = recvmsg(fd, &msg, 0);

	if (n < 0)
		return;
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		struct in6_pktinfo info;

		if (c->cmsg_level != IPPROTO_IPV6 || c->cmsg_type != IPV6_PKTINFO)
			continue;
		memcpy(&info, CMSG_DATA(c), sizeof(info));
		info.ipi6_ifindex = 0;
		memcpy(CMSG_DATA(c), &info, sizeof(info));
	}
	iov.iov_len = dns_answer(buf, (size_t)n, sizeof(buf));
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
		setsockopt(p[TCP_N + i].fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one,
			   sizeof(one));
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
	case EACCES: /* ICMPv6 type 1 code 1 */
	case ENETUNREACH: return "prohibited";
	case ECONNREFUSED: return "refused";
	case ECONNRESET: return "reset";
	case ETIMEDOUT:
	case EAGAIN: return "timeout";
	default: return strerror(err);
	}
}

/* Connect within ms; 0 or the errno that ended it. The socket stays blocking. */
static int open_conn(int type, const union endpoint *to, unsigned int ms, int *out)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (long)(ms % 1000) * 1000 };
	int fd = socket(to->sa.sa_family, type | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return errno;
	/* Also bounds connect(2): it then fails with EINPROGRESS. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	if (connect(fd, &to->sa, endpoint_len(to)) != 0) {
		err = errno == EINPROGRESS ? ETIMEDOUT : errno;
		close(fd);
		return err;
	}
	*out = fd;
	return 0;
}

struct probe {
	int type, fd, raw;
	unsigned int ms, size, ttl;
	bool df, nodf;
	struct icmp_seen icmp;
	int kernel; /* errno that the socket itself had for us */
	const union endpoint *to;
};

static const char *errno_word(int err)
{
	switch (err) {
	case 0: return "none";
	case EACCES: return "EACCES";
	case EHOSTUNREACH: return "EHOSTUNREACH";
	case ECONNREFUSED: return "ECONNREFUSED";
	case EMSGSIZE: return "EMSGSIZE";
	default: return "other";
	}
}

static int probe_option(struct probe *p, const char *text)
{
	if (strcmp(text, "df") == 0)
		p->df = true;
	else if (strcmp(text, "nodf") == 0)
		p->nodf = true;
	else if (strncmp(text, "ms=", 3) == 0)
		p->ms = (unsigned int)strtoul(text + 3, NULL, 10);
	else if (strncmp(text, "ttl=", 4) == 0)
		p->ttl = (unsigned int)strtoul(text + 4, NULL, 10);
	else if (strncmp(text, "size=", 5) == 0)
		p->size = (unsigned int)strtoul(text + 5, NULL, 10);
	else
		return -EINVAL;
	return p->size > 0 && p->size <= UDP_MAX ? 0 : -EINVAL;
}

static int probe_setup(const struct probe *p)
{
	bool v6 = is_v6(p->to);
	int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP, ttl = (int)p->ttl;
	int discover = p->df ? IP_PMTUDISC_PROBE : IP_PMTUDISC_DONT; /* IPv6's have the values */

	if (ttl && setsockopt(p->fd, level, v6 ? IPV6_UNICAST_HOPS : IP_TTL, &ttl, sizeof(ttl)))
		return -errno;
	if ((p->df || p->nodf) && setsockopt(p->fd, level, v6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER,
					     &discover, sizeof(discover)))
		return -errno;
	return 0;
}

/* The echo, which over TCP comes in pieces; 0 when it is what was sent. */
static int probe_receive(const struct probe *p, const char *sent, char *back, size_t *got)
{
	ssize_t n = recv(p->fd, back + *got, p->size - *got, 0);

	if (n < 0)
		return errno;
	*got += (size_t)n;
	if (n == 0 || (p->type == SOCK_DGRAM && *got != p->size))
		return ECONNRESET;
	if (*got < p->size)
		return EAGAIN;
	return memcmp(sent, back, p->size) ? EBADMSG : 0;
}

/* One exchange, watched for ICMP errors; 0 or an errno. */
static int probe_run(struct probe *p, const char *text, char *back)
{
	uint64_t now, end = now_ms(CLOCK_MONOTONIC) + p->ms;
	size_t got = 0;
	bool sent = false;

	if (connect(p->fd, &p->to->sa, endpoint_len(p->to)) != 0 && errno != EINPROGRESS)
		return errno;
	while ((now = now_ms(CLOCK_MONOTONIC)) < end) {
		struct pollfd w[2] = {
			{ .fd = p->fd, .events = sent ? POLLIN : POLLOUT },
			{ .fd = p->raw, .events = POLLIN },
		};
		int err = 0;
		socklen_t len = sizeof(err);

		if (poll(w, 2, (int)(end - now)) < 0)
			return errno;
		if (w[1].revents && icmp_take(p->raw, p->to, &p->icmp))
			return EHOSTUNREACH;
		if (!w[0].revents)
			continue;
		if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0 || err)
			return p->kernel = err ? err : errno;
		if (sent) {
			err = probe_receive(p, text, back, &got);
			if (err != EAGAIN)
				return err;
		} else {
			if (send(p->fd, text, p->size, MSG_NOSIGNAL) != (ssize_t)p->size)
				return errno;
			sent = true;
		}
	}
	return ETIMEDOUT;
}

/* What the error was for the socket: UDP is told at once, TCP may be told later. */
static void probe_kernel(struct probe *p)
{
	struct pollfd w = { .fd = p->fd };
	socklen_t len = sizeof(p->kernel);

	if (!p->kernel && poll(&w, 1, 50) > 0)
		getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &p->kernel, &len);
}

static int client_probe(struct probe *p)
{
	static char text[UDP_MAX], back[UDP_MAX];
	uint64_t begin = now_ms(CLOCK_MONOTONIC), ms;
	int err;

	for (size_t i = 0; i < p->size; i++)
		text[i] = (char)(block[i / 8 % BLOCK_WORDS] >> (i % 8 * 8));
	p->icmp = ICMP_SEEN_NONE;
	p->raw = icmp_socket(p->to);
	p->fd = socket(p->to->sa.sa_family, p->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->raw < 0 || p->fd < 0 || probe_setup(p)) {
		fprintf(stderr, "peer: socket: %s\n", strerror(errno));
		return 2;
	}
	err = probe_run(p, text, back);
	ms = now_ms(CLOCK_MONOTONIC) - begin;
	/* The error may have ended the attempt before the copy on raw was looked at. */
	if (err && p->icmp.code < 0)
		icmp_take(p->raw, p->to, &p->icmp);
	if (p->icmp.code >= 0)
		probe_kernel(p);
	printf("result=%s type=%d icmp=%d mtu=%u kernel=%s ms=%" PRIu64 "\n",
	       p->icmp.code >= 0 ? icmp_word(p->to, &p->icmp) : outcome(err), p->icmp.type,
	       p->icmp.code, p->icmp.mtu, errno_word(p->kernel), ms);
	return err ? 1 : 0;
}

static int client_bulk(bool put, const union endpoint *to, uint64_t bytes)
{
	uint64_t begin = now_ms(CLOCK_MONOTONIC), words = bytes / 8, mine = 0, theirs = 0, ms;
	int fd = -1, err = open_conn(SOCK_STREAM, to, 60000, &fd);
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
static int client_stream(int type, const union endpoint *to, unsigned int interval,
			 unsigned int seconds)
{
	struct stream s = { .fd = -1, .type = type };
	uint64_t begin = now_ms(CLOCK_MONOTONIC), next = begin, end = begin + seconds * 1000u;
	int one = 1, soft = 0;
	socklen_t len = sizeof(soft);

	s.err = open_conn(type, to, 5000, &s.fd);
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
	fputs("usage: peer serve | tcp|udp HOST PORT [ms=N] [size=N] [ttl=N] [df|nodf] |\n"
	      "       put|get HOST PORT BYTES | stream tcp|udp HOST PORT INTERVAL_MS SECONDS\n",
	      stderr);
	return 2;
}

static int type_of(const char *word)
{
	return strcmp(word, "tcp") == 0 ? SOCK_STREAM : strcmp(word, "udp") == 0 ? SOCK_DGRAM : -1;
}

int main(int argc, char **argv)
{
	union endpoint to;
	const char *what = argc > 1 ? argv[1] : "";

	block_init();
	if (argc == 2 && strcmp(what, "serve") == 0)
		return serve();
	if (argc >= 4 && type_of(what) >= 0) {
		struct probe p = { .type = type_of(what), .ms = 5000, .size = 16, .to = &to };

		for (int i = 4; i < argc; i++)
			if (probe_option(&p, argv[i]))
				return usage();
		return endpoint_parse(argv[2], argv[3], &to) ? 2 : client_probe(&p);
	}
	if (argc == 5 && (strcmp(what, "put") == 0 || strcmp(what, "get") == 0)) {
		if (endpoint_parse(argv[2], argv[3], &to))
			return 2;
		return client_bulk(strcmp(what, "put") == 0, &to, strtoull(argv[4], NULL, 10));
	}
	if (argc == 7 && strcmp(what, "stream") == 0 && type_of(argv[2]) >= 0) {
		if (endpoint_parse(argv[3], argv[4], &to))
			return 2;
		return client_stream(type_of(argv[2]), &to, number(argv[5], 20),
				     number(argv[6], 5));
	}
	return usage();
}
