/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * rawfrag: a UDP datagram to an echo server, in fragments that no kernel would
 * send, over IPv4 and IPv6.
 *
 *   rawfrag HOST PORT SIZE HOW [MS]
 *
 * HOW:  reverse   last fragment first
 *       shuffle   odd ones first, then the even ones backwards
 *       twice     each fragment is sent two times
 *       overlap   one fragment begins 8 bytes early, over other bytes
 *       hole      one fragment in the middle is never sent
 *
 * Prints `result=ok` when the echo came back with the bytes that were sent, else
 * what happened within MS (3000): `timeout`, or the ICMP error in a word; and after
 * how many milliseconds.
 */
#include <inttypes.h>
#include <poll.h>
#include <unistd.h>

#include "tests/xen/peer_net.h"

#define PIECE	  1024u /* payload of a fragment: a multiple of 8 */
#define UDP_LEN	  8u
#define BYTES_MAX 60000u
#define PIECES	  (BYTES_MAX / PIECE + 2)

struct datagram {
	union endpoint to, from;
	uint8_t bytes[UDP_LEN + BYTES_MAX];
	unsigned int len; /* with the UDP header */
	uint32_t id;
	int raw;
};

static uint32_t sum_bytes(const uint8_t *b, size_t n, uint32_t sum)
{
	for (size_t i = 0; i < n; i++)
		sum += i & 1 ? b[i] : (uint32_t)b[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void put16(uint8_t *b, unsigned int v)
{
	b[0] = (uint8_t)(v >> 8);
	b[1] = (uint8_t)v;
}

static void build(struct datagram *d, unsigned int size)
{
	uint8_t *b = d->bytes;
	uint32_t x = 1, sum;

	d->len = UDP_LEN + size;
	memcpy(b, is_v6(&d->from) ? &d->from.in6.sin6_port : &d->from.in4.sin_port, 2);
	memcpy(b + 2, is_v6(&d->to) ? &d->to.in6.sin6_port : &d->to.in4.sin_port, 2);
	put16(b + 4, d->len);
	put16(b + 6, 0);
	for (unsigned int i = 0; i < size; i++) {
		x = x * 1664525 + 1013904223;
		b[UDP_LEN + i] = (uint8_t)(x >> 24);
	}
	if (is_v6(&d->to)) {
		sum = sum_bytes((uint8_t *)&d->from.in6.sin6_addr, 16, IPPROTO_UDP + d->len);
		sum = sum_bytes((uint8_t *)&d->to.in6.sin6_addr, 16, sum);
	} else {
		sum = sum_bytes((uint8_t *)&d->from.in4.sin_addr, 4, IPPROTO_UDP + d->len);
		sum = sum_bytes((uint8_t *)&d->to.in4.sin_addr, 4, sum);
	}
	sum = ~sum_bytes(b, d->len, sum) & 0xffff;
	put16(b + 6, sum ? sum : 0xffff);
}

/* Return: length of the headers. The kernel adds IPv4's checksum. */
static size_t headers(const struct datagram *d, uint8_t *h, unsigned int at, unsigned int n)
{
	bool more = at + n < d->len;

	if (is_v6(&d->to)) {
		memset(h, 0, 48);
		h[0] = 0x60;
		put16(h + 4, 8 + n);
		h[6] = IPPROTO_FRAGMENT;
		h[7] = 64;
		memcpy(h + 8, &d->from.in6.sin6_addr, 16);
		memcpy(h + 24, &d->to.in6.sin6_addr, 16);
		h[40] = IPPROTO_UDP;
		put16(h + 42, at | more);
		put16(h + 44, d->id >> 16);
		put16(h + 46, d->id & 0xffff);
		return 48;
	}
	memset(h, 0, 20);
	h[0] = 0x45;
	put16(h + 2, 20 + n);
	put16(h + 4, d->id & 0xffff);
	put16(h + 6, at / 8 | (more ? 0x2000u : 0));
	h[8] = 64;
	h[9] = IPPROTO_UDP;
	memcpy(h + 12, &d->from.in4.sin_addr, 4);
	memcpy(h + 16, &d->to.in4.sin_addr, 4);
	return 20;
}

static int send_piece(const struct datagram *d, unsigned int at, unsigned int n)
{
	uint8_t packet[48 + 8 + PIECE];
	size_t head = headers(d, packet, at, n);
	union endpoint to = d->to;

	if (is_v6(&to)) /* a raw socket takes it for a protocol number */
		to.in6.sin6_port = 0;
	memcpy(packet + head, d->bytes + at, n);
	if (sendto(d->raw, packet, head + n, 0, &to.sa, endpoint_len(&to)) < 0) {
		fprintf(stderr, "rawfrag: send: %s\n", strerror(errno));
		return -errno;
	}
	return 0;
}

/* The order in which the pieces go; -1 in place of one that does not. */
static unsigned int arrange(const char *how, unsigned int n, int *order)
{
	unsigned int k = 0;

	if (strcmp(how, "shuffle") == 0) {
		for (unsigned int i = 1; i < n; i += 2)
			order[k++] = (int)i;
		for (unsigned int i = (n + 1) / 2; i-- > 0;)
			order[k++] = (int)(2 * i);
		return k;
	}
	for (unsigned int i = 0; i < n; i++) {
		order[k++] = (int)(strcmp(how, "reverse") == 0 ? n - 1 - i : i);
		if (strcmp(how, "twice") == 0)
			order[k++] = (int)i;
		if (strcmp(how, "hole") == 0 && i == n / 2)
			order[k - 1] = -1;
	}
	return k;
}

static int send_all(const struct datagram *d, const char *how)
{
	int order[2 * PIECES];
	unsigned int pieces = (d->len + PIECE - 1) / PIECE, n = arrange(how, pieces, order);

	for (unsigned int i = 0; i < n; i++) {
		unsigned int at = (unsigned int)order[i] * PIECE, len;

		if (order[i] < 0)
			continue;
		len = d->len - at < PIECE ? d->len - at : PIECE;
		if (strcmp(how, "overlap") == 0 && (unsigned int)order[i] == pieces / 2) {
			at -= 8;
			len += 8;
		}
		if (send_piece(d, at, len))
			return -1;
	}
	return 0;
}

static const char *await_echo(const struct datagram *d, int fd, int icmp, int ms)
{
	static uint8_t back[BYTES_MAX + 1];
	struct pollfd w[2] = { { .fd = fd, .events = POLLIN }, { .fd = icmp, .events = POLLIN } };
	uint64_t now, end = now_ms(CLOCK_MONOTONIC) + (uint64_t)ms;
	struct icmp_seen seen;

	while ((now = now_ms(CLOCK_MONOTONIC)) < end) {
		if (poll(w, 2, (int)(end - now)) <= 0)
			continue;
		if (w[1].revents && icmp_take(icmp, &d->to, &seen))
			return icmp_word(&d->to, &seen);
		if (w[0].revents) {
			ssize_t n = recv(fd, back, sizeof(back), 0);

			if (n < 0)
				continue;
			if ((unsigned int)n != d->len - UDP_LEN ||
			    memcmp(back, d->bytes + UDP_LEN, (size_t)n) != 0)
				return "altered";
			return "ok";
		}
	}
	return "timeout";
}

int main(int argc, char **argv)
{
	static struct datagram d;
	socklen_t len = sizeof(d.from);
	unsigned int size = argc > 3 ? (unsigned int)strtoul(argv[3], NULL, 10) : 0;
	const char *result;
	uint64_t begin;
	int fd, icmp;

	if (argc < 5 || size < 3 * PIECE || size > BYTES_MAX ||
	    endpoint_parse(argv[1], argv[2], &d.to)) {
		fputs("usage: rawfrag HOST PORT SIZE reverse|shuffle|twice|overlap|hole [MS]\n",
		      stderr);
		return 2;
	}
	/* A socket of its own has the address and the port that the fragments bear. */
	fd = socket(d.to.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	icmp = icmp_socket(&d.to);
	d.raw = socket(d.to.sa.sa_family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	if (fd < 0 || icmp < 0 || d.raw < 0 || connect(fd, &d.to.sa, endpoint_len(&d.to)) != 0 ||
	    getsockname(fd, &d.from.sa, &len) != 0) {
		fprintf(stderr, "rawfrag: socket: %s\n", strerror(errno));
		return 2;
	}
	d.id = (uint32_t)now_ms(CLOCK_REALTIME) | 1;
	build(&d, size);
	begin = now_ms(CLOCK_MONOTONIC);
	if (send_all(&d, argv[4]))
		return 2;
	result = await_echo(&d, fd, icmp, argc > 5 ? (int)strtoul(argv[5], NULL, 10) : 3000);
	printf("result=%s ms=%" PRIu64 "\n", result, now_ms(CLOCK_MONOTONIC) - begin);
	return strcmp(result, "ok") == 0 ? 0 : 1;
}
