/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the lab's traffic programs share: the clock, addresses of both families,
 * and a look at the ICMP errors that come back.
 */
#ifndef TESTS_XEN_PEER_NET_H
#define TESTS_XEN_PEER_NET_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

union endpoint {
	struct sockaddr sa;
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;
};

static inline uint64_t now_ms(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static inline bool is_v6(const union endpoint *e)
{
	return e->sa.sa_family == AF_INET6;
}

static inline socklen_t endpoint_len(const union endpoint *e)
{
	return is_v6(e) ? sizeof(e->in6) : sizeof(e->in4);
}

static inline int endpoint_parse(const char *host, const char *port, union endpoint *e)
{
	char *end;
	unsigned long n = strtoul(port, &end, 10);

	memset(e, 0, sizeof(*e));
	if (*end || n == 0 || n > 65535)
		goto bad;
	if (inet_pton(AF_INET, host, &e->in4.sin_addr) == 1) {
		e->sa.sa_family = AF_INET;
		e->in4.sin_port = htons((uint16_t)n);
		return 0;
	}
	if (inet_pton(AF_INET6, host, &e->in6.sin6_addr) == 1) {
		e->sa.sa_family = AF_INET6;
		e->in6.sin6_port = htons((uint16_t)n);
		return 0;
	}
bad:
	fprintf(stderr, "bad address %s port %s\n", host, port);
	return -EINVAL;
}

/* --- ICMP errors ------------------------------------------------------------ */

struct icmp_seen {
	int type, code; /* -1: none was seen */
	unsigned int mtu; /* of "packet too big" */
};

#define ICMP_SEEN_NONE ((struct icmp_seen){ .type = -1, .code = -1 })

/* A socket that gets a copy of every ICMP message of the family. */
static inline int icmp_socket(const union endpoint *to)
{
	return socket(to->sa.sa_family, SOCK_RAW | SOCK_CLOEXEC,
		      is_v6(to) ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

static inline bool icmp4_quotes(const uint8_t *b, size_t n, const union endpoint *to,
				struct icmp_seen *seen)
{
	size_t outer = (size_t)(b[0] & 15) * 4, quoted = outer + 8, l4;

	if (n < quoted + 20 || (b[outer] != 3 && b[outer] != 11))
		return false;
	l4 = quoted + (size_t)(b[quoted] & 15) * 4;
	if (n < l4 + 4 || memcmp(b + quoted + 16, &to->in4.sin_addr, 4) != 0 ||
	    memcmp(b + l4 + 2, &to->in4.sin_port, 2) != 0)
		return false;
	*seen = (struct icmp_seen){ b[outer], b[outer + 1], 0 };
	if (b[outer] == 3 && b[outer + 1] == 4)
		seen->mtu = (unsigned int)b[outer + 6] << 8 | b[outer + 7];
	return true;
}

/* A quoted fragment has its header between IPv6's and the port numbers. */
static inline bool icmp6_quotes(const uint8_t *b, size_t n, const union endpoint *to,
				struct icmp_seen *seen)
{
	size_t l4 = 8 + 40;

	if (n < l4 + 16 || b[0] < 1 || b[0] > 4)
		return false;
	if (b[8 + 6] == IPPROTO_FRAGMENT)
		l4 += 8;
	if (memcmp(b + 8 + 24, &to->in6.sin6_addr, 16) != 0 ||
	    memcmp(b + l4 + 2, &to->in6.sin6_port, 2) != 0)
		return false;
	*seen = (struct icmp_seen){ b[0], b[1], 0 };
	if (b[0] == 2)
		seen->mtu = (unsigned int)b[6] << 8 | b[7];
	return true;
}

/*
 * Whether an error that quotes a packet of ours to that endpoint has come. The
 * socket that sent it does not tell when: an error that arrives while connect(2)
 * still holds the socket is only remembered, and ends the attempt at the next
 * retransmission. On one processor that is the usual case.
 */
static inline bool icmp_take(int raw, const union endpoint *to, struct icmp_seen *seen)
{
	uint8_t buf[2048];
	ssize_t n;

	while ((n = recv(raw, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		if (is_v6(to) ? icmp6_quotes(buf, (size_t)n, to, seen)
			      : n >= 20 && icmp4_quotes(buf, (size_t)n, to, seen))
			return true;
	return false;
}

/* In a word, what the error says. */
static inline const char *icmp_word(const union endpoint *to, const struct icmp_seen *seen)
{
	if (is_v6(to)) {
		switch (seen->type) {
		case 1: return seen->code == 1 ? "prohibited" :
			       seen->code == 4 ? "refused" : "unreachable";
		case 2: return "too-big";
		case 3: return seen->code == 0 ? "ttl" : "reassembly";
		default: return "parameter";
		}
	}
	if (seen->type == 11)
		return seen->code == 0 ? "ttl" : "reassembly";
	switch (seen->code) {
	case 3: return "refused";
	case 4: return "too-big";
	case 9: case 10: case 13: return "prohibited";
	default: return "unreachable";
	}
}

#endif
