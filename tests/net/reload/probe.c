// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Frames of client 1 and of targets behind the uplink, by packet sockets beside the
 * kernels there. A number that travels in each says which one it was: in the data of
 * UDP and echo, in the sequence number of a SYN.
 */
#include "tests/net/reload/reload.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENT	 1
#define DATA_LEN 8

const uint8_t macs[PORTS][6] = {{0, 0x16, 0x3e, 0x5e, 0x6c, 0}, {0, 0x16, 0x3e, 0x5e, 0x6c, 5}};
const uint8_t backend_mac[6] = {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff};

static const char *const own_text[] = {"10.137.0.4", "fd09:24ef:4179::a89:4"};
static const char *const client_text[] = {"10.137.0.5", "fd09:24ef:4179::a89:5"};

static int fds[2]; /* by port: UPLINK, CLIENT */
static uint8_t own[16], client[16], target[16];

static void enter(const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/run/netns/%s-%s", config.prefix, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) != 0)
		die("%s: %s", path, strerror(errno));
	close(fd);
}

/* Frames go straight to the device: a queue in front of it might change their order. */
static int open_packet(const char *dev)
{
	uint16_t type = htons(config.family == 4 ? ETH_P_IP : ETH_P_IPV6);
	struct sockaddr_ll ll = {
	    .sll_family = AF_PACKET, .sll_protocol = type, .sll_ifindex = (int)if_nametoindex(dev)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, room = 16 << 20;

	if (fd < 0 || ll.sll_ifindex == 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) != 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) != 0 ||
	    bind(fd, (struct sockaddr *)&ll, sizeof(ll)) != 0)
		die("%s: %s", dev, strerror(errno));
	return fd;
}

static void target_addr(uint8_t out[16], unsigned int n)
{
	char text[64];

	if (config.family == 4)
		snprintf(text, sizeof(text), TARGET4, n);
	else
		snprintf(text, sizeof(text), TARGET6, n);
	addr_of(out, config.family, text);
}

void probe_open(void)
{
	bool v6 = config.family == 6;

	addr_of(own, config.family, own_text[v6]);
	addr_of(client, config.family, client_text[v6]);
	target_addr(target, 0);
	enter("c1");
	fds[CLIENT] = open_packet("c1");
	enter("up");
	fds[UPLINK] = open_packet("up0");
}

/* --- out ----------------------------------------------------------------------------- */

static void send_frame(struct pk *k, uint32_t id)
{
	static uint8_t frame[DATAGRAM_ROOM];
	uint8_t data[DATA_LEN] = {0};
	uint32_t len;

	put32(data, id);
	k->family = config.family;
	k->ttl = 64;
	k->window = 8192;
	k->seq = id;
	k->data[KERNEL] = k->data[RINGFENCE] = data;
	k->len = k->proto == P_TCP ? 0 : DATA_LEN;
	len = build(frame, k, RINGFENCE, 0);
	while (send(fds[k->at == UPLINK ? UPLINK : CLIENT], frame, len, 0) != (ssize_t)len)
		if (errno != ENOBUFS && errno != EAGAIN)
			die("send: %s", strerror(errno));
}

static uint8_t proto_of(const struct probe *p)
{
	return p->proto == P_ICMP && config.family == 6 ? P_ICMP6 : p->proto;
}

void probe_send(const struct probe *p)
{
	static uint16_t id;
	uint16_t own_id = id++;
	struct pk k = {.at = CLIENT,
		       .proto = proto_of(p),
		       .sport = p->sport,
		       .dport = p->dport,
		       .flags = F_SYN,
		       .type = config.family == 4 ? 8 : 128,
		       .id = own_id};

	memcpy(k.src, client, 16);
	target_addr(k.dst, p->target);
	send_frame(&k, p->id);
}

void probe_reply(const struct probe *p, uint16_t nat)
{
	struct pk k = {.at = UPLINK,
		       .proto = proto_of(p),
		       .sport = p->dport,
		       .dport = nat,
		       .type = config.family == 4 ? 0 : 129};

	if (p->proto == P_ICMP) {
		k.sport = nat;
		k.dport = 0;
	}
	target_addr(k.src, p->target);
	memcpy(k.dst, own, 16);
	send_frame(&k, p->id);
}

/* --- in ------------------------------------------------------------------------------ */

/* Whether it goes between @peer and a target, and its number. */
static bool is_ours(const uint8_t *f, uint32_t len, bool at_uplink, uint32_t *id, uint16_t *nat)
{
	size_t addr_len = config.family == 4 ? 4 : 16, src = ETH + (config.family == 4 ? 12 : 8);
	const uint8_t *peer = f + (at_uplink ? src : src + addr_len);
	const uint8_t *there = f + (at_uplink ? src + addr_len : src), *l4;
	struct layout l;

	if (len < ETH + 20)
		return false;
	l = parse(f + ETH, len - ETH);
	if (!l.ok || l.error || l.len < l.l4 + 8u + (l.proto == P_TCP ? 0 : DATA_LEN) ||
	    memcmp(peer, at_uplink ? own : client, addr_len) != 0 ||
	    memcmp(there, target, addr_len - 1) != 0)
		return false;
	l4 = f + ETH + l.l4;
	*id = get32(l4 + (l.proto == P_TCP ? 4 : 8));
	*nat = get16(l4 + (l.proto == P_ICMP || l.proto == P_ICMP6 ? 4 : 0));
	return true;
}

void probe_turn(uint64_t us, void (*at_uplink)(uint32_t id, uint16_t nat),
		void (*at_client)(uint32_t id))
{
	static uint8_t frame[DATAGRAM_ROOM];
	struct pollfd p[] = {{.fd = fds[UPLINK], .events = POLLIN},
			     {.fd = fds[CLIENT], .events = POLLIN},
			     {.fd = dom0_fd(), .events = POLLIN}};
	struct timespec ts = {.tv_nsec = (long)us * 1000};
	uint32_t id;
	uint16_t nat;
	ssize_t n;

	if (ppoll(p, 3, &ts, NULL) < 0 && errno != EINTR)
		die("poll: %s", strerror(errno));
	while ((n = recv(fds[UPLINK], frame, sizeof(frame), 0)) > 0)
		if (is_ours(frame, (uint32_t)n, true, &id, &nat))
			at_uplink(id, nat);
	while ((n = recv(fds[CLIENT], frame, sizeof(frame), 0)) > 0)
		if (is_ours(frame, (uint32_t)n, false, &id, &nat))
			at_client(id);
	dom0_read();
}
