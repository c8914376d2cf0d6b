/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Very many TCP connections through the firewall, both ends in this process.
 *
 *	load NS-PREFIX DAEMON-PID FLOWS-PER-CLIENT FLOOD
 *
 * The clients are the devices l1..l21 in the namespace NS-PREFIX-load, with the
 * addresses 10.137.8.N and fd09:24ef:4179::a89:8NN (in hex) and the MACs
 * 00:16:3e:5e:6d:N; the other end is up0 in NS-PREFIX-up, where we are all of
 * 203.0.113.0/24 and 2001:db8:dead::/120. A connection is a handshake and then,
 * when asked for, four bytes there and four bytes back: nothing that needs a
 * kernel's TCP, which would not do 100 000 of them on one machine.
 *
 * Clients 1 to 20 open FLOWS-PER-CLIENT each, every second one over IPv6. Client
 * 20 then sends FLOOD SYNs that nobody answers, while client 21 opens connections.
 * In between every connection has to carry data. Prints a JSON object.
 *
 * Which connection a segment belongs to is in its sequence numbers, so that both
 * ends recognise it whatever became of its ports.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS	   21
#define ATTACKER   20 /* client numbers start with 1 */
#define LATE	   21
#define TARGETS	   20	/* addresses that connections go to: 203.0.113.1.. */
#define FLOWS_MAX  (1u << 19)
#define ISN_STEP   4096u /* sequence numbers of one connection */
#define IN_FLIGHT  512
#define AGAIN_MS   250 /* after which a lost packet is sent once more */
#define DEADLINE_MS 60000
#define LATE_FLOWS 2000
#define SERVER_PORT 80

enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };
enum state { NEW, OPENING, OPEN };

struct conn {
	uint8_t client, target, state, round; /* rounds of data that came back */
	bool v6;
	uint16_t sport, nat_port;
	uint64_t sent_ms;
};

static struct {
	int client[CLIENTS + 1], uplink;
	struct conn *conns;
	uint32_t n;
	unsigned long bad_checksum, foreign, resets, flood_seen;
} g;

static void __attribute__((noreturn)) fail(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(2);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static unsigned long number(const char *text, unsigned long max)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (errno || end == text || *end || v > max) {
		errno = EINVAL;
		fail(text);
	}
	return v;
}

static void put16(uint8_t *p, unsigned int v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static unsigned int get16(const uint8_t *p)
{
	return (unsigned int)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint32_t sum_add(uint32_t sum, const uint8_t *p, size_t len)
{
	size_t i;

	for (i = 0; i + 1 < len; i += 2)
		sum += get16(p + i);
	if (len & 1)
		sum += (uint32_t)p[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Addresses: IPv4 has four bytes of them. All differ in the last bytes only. */
struct address {
	uint8_t b[16];
};

static size_t addr_len(bool v6)
{
	return v6 ? 16 : 4;
}

static struct address client_addr(bool v6, unsigned int n)
{
	if (v6)
		return (struct address){{0xfd, 0x09, 0x24, 0xef, 0x41, 0x79, 0, 0, 0, 0, 0, 0,
					 0x0a, 0x89, 8, (uint8_t)n}};
	return (struct address){{10, 137, 8, (uint8_t)n}};
}

static struct address target_addr(bool v6, unsigned int n)
{
	if (v6)
		return (struct address){{0x20, 0x01, 0x0d, 0xb8, 0xde, 0xad, 0, 0, 0, 0, 0, 0,
					 0, 0, 0, (uint8_t)n}};
	return (struct address){{203, 0, 113, (uint8_t)n}};
}

static struct address firewall_addr(bool v6)
{
	if (v6)
		return (struct address){{0xfd, 0x09, 0x24, 0xef, 0x41, 0x79, 0, 0, 0, 0, 0, 0,
					 0x0a, 0x89, 0, 4}};
	return (struct address){{10, 137, 0, 4}};
}

static bool same(bool v6, const struct address *a, struct address b)
{
	return memcmp(a, &b, addr_len(v6)) == 0;
}

/* The number of a target, or 0 */
static unsigned int target_of(bool v6, const struct address *a)
{
	struct address base = target_addr(v6, 0);
	size_t len = addr_len(v6) - 1;

	return memcmp(a, &base, len) == 0 ? a->b[len] : 0;
}

/* --- the wire ---------------------------------------------------------------------- */

static int device(const char *prefix, const char *ns, const char *dev)
{
	struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int room = 32 << 20, one = 1, fd, there;
	char path[128];

	snprintf(path, sizeof(path), "/run/netns/%s-%s", prefix, ns);
	there = open(path, O_RDONLY | O_CLOEXEC);
	if (there < 0 || setns(there, CLONE_NEWNET))
		fail(path);
	close(there);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
	ll.sll_ifindex = (int)if_nametoindex(dev);
	if (fd < 0 || !ll.sll_ifindex || bind(fd, (struct sockaddr *)&ll, sizeof(ll)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) ||
	    /* Without a queue in between, a full device says so. */
	    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)))
		fail(dev);
	return fd;
}

struct segment {
	bool v6;
	struct address src, dst;
	uint32_t seq, ack;
	uint16_t sport, dport;
	uint8_t flags, len;
};

static uint32_t tcp_sum(const struct segment *s, const uint8_t *tcp, size_t len)
{
	uint8_t tail[4] = {0, IPPROTO_TCP, 0, (uint8_t)len};
	uint32_t sum = sum_add(sum_add(0, s->src.b, addr_len(s->v6)), s->dst.b, addr_len(s->v6));

	return sum_add(sum_add(sum, tail, 4), tcp, len);
}

/* Return: the length of the IP header */
static size_t put_ip(uint8_t *ip, const struct segment *s)
{
	size_t alen = addr_len(s->v6), head = s->v6 ? 40 : 20, len = 20u + s->len;

	if (s->v6) {
		ip[0] = 0x60;
		put16(ip + 4, (unsigned int)len);
		ip[6] = IPPROTO_TCP;
		ip[7] = 64;
	} else {
		ip[0] = 0x45;
		put16(ip + 2, (unsigned int)(head + len));
		ip[6] = 0x40;
		ip[8] = 64;
		ip[9] = IPPROTO_TCP;
	}
	memcpy(ip + head - 2 * alen, s->src.b, alen);
	memcpy(ip + head - alen, s->dst.b, alen);
	if (!s->v6)
		put16(ip + 10, ~sum_add(0, ip, 20) & 0xffff);
	return head;
}

/* Return: false when there was no room; then it is lost, as packets may be. */
static bool transmit(int fd, const uint8_t *dmac, const uint8_t *smac, const struct segment *s)
{
	uint8_t f[14 + 40 + 20 + 8] = {0}, *tcp;
	size_t total;

	memcpy(f, dmac, 6);
	memcpy(f + 6, smac, 6);
	put16(f + 12, s->v6 ? ETH_P_IPV6 : ETH_P_IP);
	tcp = f + 14 + put_ip(f + 14, s);
	put16(tcp, s->sport);
	put16(tcp + 2, s->dport);
	put32(tcp + 4, s->seq);
	put32(tcp + 8, s->ack);
	tcp[12] = 5 << 4;
	tcp[13] = s->flags;
	put16(tcp + 14, 65535);
	memset(tcp + 20, 'd', s->len);
	put16(tcp + 16, ~tcp_sum(s, tcp, 20u + s->len) & 0xffff);
	total = (size_t)(tcp - f) + 20u + s->len;
	if (send(fd, f, total, 0) == (ssize_t)total)
		return true;
	if (errno != ENOBUFS && errno != EAGAIN)
		fail("send");
	return false;
}

/* Return: 1, 0 when that was nothing of ours, or -1 when there is nothing more */
static int receive(int fd, struct segment *s)
{
	uint8_t f[256];
	const uint8_t *ip = f + 14, *tcp;
	struct sockaddr_ll from;
	socklen_t from_len = sizeof(from);
	ssize_t n = recvfrom(fd, f, sizeof(f), 0, (struct sockaddr *)&from, &from_len);
	size_t head, len, alen;

	if (n < 0)
		return -1;
	if (n < 54 || from.sll_pkttype == PACKET_OUTGOING)
		return 0;
	s->v6 = get16(f + 12) == ETH_P_IPV6;
	head = s->v6 ? 40 : 20;
	alen = addr_len(s->v6);
	len = s->v6 ? get16(ip + 4) : get16(ip + 2) - 20u;
	tcp = ip + head;
	if (ip[0] != (s->v6 ? 0x60 : 0x45) || ip[s->v6 ? 6 : 9] != IPPROTO_TCP || len < 20 ||
	    len > 200 || 14 + head + len > (size_t)n)
		return 0;
	memcpy(s->src.b, ip + head - 2 * alen, alen);
	memcpy(s->dst.b, ip + head - alen, alen);
	if (!target_of(s->v6, &s->src) && !target_of(s->v6, &s->dst))
		return 0;
	if (tcp_sum(s, tcp, len) != 0xffff)
		g.bad_checksum++;
	s->sport = (uint16_t)get16(tcp);
	s->dport = (uint16_t)get16(tcp + 2);
	s->seq = get32(tcp + 4);
	s->ack = get32(tcp + 8);
	s->flags = tcp[13];
	s->len = (uint8_t)(len - (size_t)(tcp[12] >> 4) * 4);
	return 1;
}

/* --- connections --------------------------------------------------------------------- */

static const uint8_t backend_mac[6] = {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t uplink_mac[6] = {0x00, 0x16, 0x3e, 0x5e, 0x6c, 0x00};

/* What is missing of this connection, from its client */
static void client_sends(struct conn *c, uint8_t flags, unsigned int data)
{
	uint8_t mac[6] = {0x00, 0x16, 0x3e, 0x5e, 0x6d, c->client};
	uint32_t id = (uint32_t)(c - g.conns), isn = id * ISN_STEP;
	struct segment s = {
		.v6 = c->v6, .src = client_addr(c->v6, c->client),
		.dst = target_addr(c->v6, c->target), .sport = c->sport, .dport = SERVER_PORT,
		.flags = flags, .len = (uint8_t)data,
		.seq = flags & SYN ? isn : isn + 1 + 4u * c->round,
		.ack = flags & SYN ? 0 : isn + 1 + 4u * c->round,
	};

	c->sent_ms = now_ms();
	(void)transmit(g.client[c->client], backend_mac, mac, &s);
}

static void server_answers(const struct conn *c, const struct segment *in)
{
	struct segment s = {
		.v6 = in->v6, .src = in->dst, .dst = in->src,
		.sport = in->dport, .dport = in->sport,
		.flags = in->flags & SYN ? SYN | ACK : PSH | ACK,
		.len = in->flags & SYN ? 0 : 4,
		.seq = in->flags & SYN ? (uint32_t)(c - g.conns) * ISN_STEP : in->ack,
		.ack = in->seq + (in->flags & SYN ? 1u : in->len),
	};

	(void)transmit(g.uplink, uplink_mac, backend_mac, &s);
}

/* The uplink's end: whose is it, and does it come from the port it came from? */
static void at_uplink(const struct segment *s)
{
	uint32_t id = s->seq / ISN_STEP;
	struct conn *c = &g.conns[id];

	if (target_of(s->v6, &s->dst) >= 200) {
		g.flood_seen++;
		return;
	}
	if (id >= g.n || s->v6 != c->v6 || !same(c->v6, &s->src, firewall_addr(c->v6)) ||
	    !same(c->v6, &s->dst, target_addr(c->v6, c->target)) || s->dport != SERVER_PORT) {
		g.foreign++;
		return;
	}
	if (s->flags & SYN)
		c->nat_port = s->sport;
	else if (s->sport != c->nat_port)
		g.foreign++;
	if (s->flags & SYN || s->len)
		server_answers(c, s);
}

static void at_client(unsigned int client, const struct segment *s)
{
	uint32_t id = s->seq / ISN_STEP;
	struct conn *c = &g.conns[id];

	if (id >= g.n || c->client != client || s->v6 != c->v6 || s->dport != c->sport ||
	    !same(c->v6, &s->src, target_addr(c->v6, c->target)) ||
	    !same(c->v6, &s->dst, client_addr(c->v6, client))) {
		g.foreign++;
		return;
	}
	if (s->flags & RST) {
		g.resets++;
		return;
	}
	if (s->flags & SYN) {
		c->state = OPEN;
		client_sends(c, ACK, 0);
	} else if (s->len == 4 && s->seq == id * ISN_STEP + 1 + 4u * c->round) {
		c->round++;
	}
}

/* Everything that has arrived. Return: how much that was */
static unsigned long take_in(void)
{
	struct segment s;
	unsigned long n = 0;
	int rc;

	while ((rc = receive(g.uplink, &s)) >= 0 && n < 4096) {
		n++;
		if (rc)
			at_uplink(&s);
	}
	for (unsigned int i = 1; i <= CLIENTS; i++)
		while ((rc = receive(g.client[i], &s)) >= 0) {
			n++;
			if (rc)
				at_client(i, &s);
		}
	return n;
}

static bool reached(const struct conn *c, unsigned int round)
{
	return c->state == OPEN && c->round >= round;
}

static void nudge(struct conn *c)
{
	if (c->state == OPEN) {
		client_sends(c, PSH | ACK, 4);
	} else {
		c->state = OPENING;
		client_sends(c, SYN, 0);
	}
}

/* A window over some connections: each is brought to a round of data (0: open). */
struct pass {
	uint32_t next, end, window[IN_FLIGHT];
	unsigned int used, round;
};

static void pass_step(struct pass *p, unsigned int room)
{
	uint64_t now = now_ms();
	unsigned int i;

	for (i = 0; i < p->used;) {
		struct conn *c = &g.conns[p->window[i]];

		if (reached(c, p->round)) {
			p->window[i] = p->window[--p->used];
			continue;
		}
		if (now - c->sent_ms > AGAIN_MS)
			nudge(c);
		i++;
	}
	while (p->used < room && p->next < p->end) {
		if (!reached(&g.conns[p->next], p->round)) {
			nudge(&g.conns[p->next]);
			p->window[p->used++] = p->next;
		}
		p->next++;
	}
}

/* Return: how many of them got there within the time */
static unsigned long bring(uint32_t from, uint32_t to, unsigned int round)
{
	struct pass p = {.next = from, .end = to, .round = round};
	uint64_t end = now_ms() + DEADLINE_MS;
	unsigned long got = 0;

	do {
		pass_step(&p, IN_FLIGHT);
		if (!take_in())
			usleep(200);
	} while ((p.used || p.next < to) && now_ms() < end);
	for (uint32_t i = from; i < to; i++)
		got += reached(&g.conns[i], round);
	return got;
}

static uint32_t add_conns(unsigned int client, unsigned long count)
{
	uint32_t first = g.n;

	if (count > FLOWS_MAX - g.n) {
		errno = E2BIG;
		fail("connections");
	}
	for (unsigned long i = 0; i < count; i++)
		g.conns[g.n++] = (struct conn){
			.client = (uint8_t)client, .v6 = i % 2,
			.target = (uint8_t)(1 + i / 2 % TARGETS),
			.sport = (uint16_t)(20000 + i / 2 / TARGETS),
		};
	return first;
}

/* --- the flood ------------------------------------------------------------------------ */

static void flood_syn(unsigned long i)
{
	static const uint8_t mac[6] = {0x00, 0x16, 0x3e, 0x5e, 0x6d, ATTACKER};
	struct segment s = {
		.src = client_addr(false, ATTACKER),
		.dst = target_addr(false, 200 + (unsigned int)(i / 60000) % 50),
		.sport = (uint16_t)(1024 + i % 60000), .dport = (uint16_t)(1 + i % 65000),
		.flags = SYN, .seq = (uint32_t)i * 7,
	};

	while (!transmit(g.client[ATTACKER], backend_mac, mac, &s)) {
		take_in();
		usleep(100);
	}
}

/* Meanwhile the late client opens its connections. Return: how many it got. */
static unsigned long flood(unsigned long count, uint32_t from, uint32_t to)
{
	struct pass p = {.next = from, .end = from};
	unsigned long got = 0, i;
	uint64_t end;

	for (i = 0; i < count; i++) {
		flood_syn(i);
		if (i % 64)
			continue;
		p.end = from + (uint32_t)((uint64_t)(to - from) * i / count);
		pass_step(&p, 64);
		take_in();
	}
	p.end = to;
	end = now_ms() + 10000;
	do {
		pass_step(&p, 64);
		if (!take_in())
			usleep(200);
	} while ((p.used || p.next < p.end) && now_ms() < end);
	for (uint32_t k = from; k < to; k++)
		got += reached(&g.conns[k], 0);
	return got;
}

static long rss_kib(const char *pid)
{
	char path[64];
	long size, pages = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/statm", pid);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%ld %ld", &size, &pages) != 2)
		fail(path);
	fclose(f);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

int main(int argc, char **argv)
{
	unsigned long per_client, floods, opened, carried, carried_after, late, warm;
	uint32_t first_late, all;
	uint64_t start = now_ms();
	long rss_empty, rss_full, rss_after;
	char dev[IFNAMSIZ];

	if (argc != 5) {
		fputs("usage: load NS-PREFIX DAEMON-PID FLOWS-PER-CLIENT FLOOD\n", stderr);
		return 2;
	}
	per_client = number(argv[3], 20000);
	floods = number(argv[4], 100000000);
	g.conns = calloc(FLOWS_MAX, sizeof(*g.conns));
	if (!g.conns)
		fail("memory");
	for (unsigned int i = 1; i <= CLIENTS; i++) {
		snprintf(dev, sizeof(dev), "l%u", i);
		g.client[i] = device(argv[1], "load", dev);
		if (i <= ATTACKER)
			add_conns(i, per_client);
	}
	g.uplink = device(argv[1], "up", "up0");
	all = g.n;
	first_late = add_conns(LATE, LATE_FLOWS);

	rss_empty = rss_kib(argv[2]);
	opened = bring(0, all, 0);
	carried = bring(0, all, 1);
	/* Everything that this source may occupy is occupied, before we weigh. */
	warm = flood(floods / 10, first_late, first_late + LATE_FLOWS / 2);
	rss_full = rss_kib(argv[2]);
	late = flood(floods, first_late + LATE_FLOWS / 2, g.n);
	carried_after = bring(0, all, 2);
	rss_after = rss_kib(argv[2]);
	printf("{\"opened\":%lu,\"carried\":%lu,\"late\":%lu,\"carried_after\":%lu,"
	       "\"rss_empty\":%ld,\"rss_full\":%ld,\"rss_after\":%ld,\"flood_seen\":%lu,"
	       "\"bad_checksum\":%lu,\"foreign\":%lu,\"resets\":%lu,\"ms\":%llu}\n",
	       opened, carried, warm + late, carried_after, rss_empty, rss_full, rss_after,
	       g.flood_seen, g.bad_checksum, g.foreign, g.resets,
	       (unsigned long long)(now_ms() - start));
	return 0;
}
