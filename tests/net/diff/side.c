// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Both sides' devices.
 *
 * The kernel's are TAPs: what is written there goes through its whole stack
 * within write(), and what it sends in turn is there to be read when that
 * returns. ringfenced has opened its TAPs itself, so its peer is a packet socket
 * on each device. It works on its own time: after each frame, questions by ARP
 * follow on client 1, one after the other. The answer to the first says that a
 * turn of its loop began after the frame was there, the answer to the second
 * that this turn is over, the third allows for a turn that looked at client 1
 * first.
 */
#include "tests/net/diff/diff.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MARKERS	  3
#define ANSWER_MS 5000
/* I8: 100 a second for each client; the rig stays below */
#define ERRORS_PER_SECOND 80

static int fds[SIDES][PORTS];
static uint32_t marker;
static double error_tokens[PORTS], error_clock;
uint64_t late_errors[SIDES];

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void enter(const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) != 0)
		die("%s: %s", path, strerror(errno));
	close(fd);
}

static int open_tap(const char *name)
{
	struct ifreq ifr = {0};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	snprintf(ifr.ifr_name, IFNAMSIZ, "%s", name);
	ifr.ifr_flags = IFF_TAP | IFF_NO_PI;
	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) != 0)
		die("%s: %s", name, strerror(errno));
	return fd;
}

static int open_packet(const char *name)
{
	struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
	int on = 1, room = 8 << 20;

	ll.sll_ifindex = (int)if_nametoindex(name);
	if (fd < 0 || ll.sll_ifindex == 0 || bind(fd, (struct sockaddr *)&ll, sizeof(ll)) != 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) != 0)
		die("%s: %s", name, strerror(errno));
	return fd;
}

void sides_open(void)
{
	static const char *const kernel[PORTS] = {"eth0", "vif1", "vif2", "vif3"};
	static const char *const fw[PORTS] = {"up0", "c1", "c2", "c3"};

	enter(config.fw_ns);
	for (int i = 0; i < PORTS; i++)
		fds[RINGFENCE][i] = open_packet(fw[i]);
	/* the kernel's last: nft(8) is started from there later */
	if (config.kernel_ns)
		enter(config.kernel_ns);
	for (int i = 0; i < PORTS; i++) {
		fds[KERNEL][i] = config.kernel_ns ? open_tap(kernel[i]) : -1;
		error_tokens[i] = ERRORS_PER_SECOND;
	}
	error_clock = now();
}

void sides_close(void)
{
	for (int s = 0; s < SIDES; s++)
		for (int i = 0; i < PORTS; i++)
			if (fds[s][i] >= 0)
				close(fds[s][i]);
}

/* --- own errors are limited ------------------------------------------------------ */

void error_seen(unsigned int port)
{
	error_tokens[port] -= 1;
}

void error_wait(unsigned int port)
{
	for (;;) {
		double t = now();

		for (int i = 0; i < PORTS; i++) {
			error_tokens[i] += (t - error_clock) * ERRORS_PER_SECOND;
			if (error_tokens[i] > ERRORS_PER_SECOND)
				error_tokens[i] = ERRORS_PER_SECOND;
		}
		error_clock = t;
		if (error_tokens[port] >= 1)
			return;
		usleep(5000);
	}
}

/* --- frames ----------------------------------------------------------------------- */

/* What a side says about itself: ARP, neighbour discovery, multicast listeners. */
static bool is_own_talk(const uint8_t *b, uint32_t len)
{
	uint16_t type = len < ETH ? 0 : get16(b + 12);

	if (type == 0x0806)
		return true;
	if (type != 0x86dd || len < ETH + 40)
		return false;
	if (b[ETH + 24] == 0xff)
		return true; /* to a multicast group: never forwarded, P9 */
	return b[ETH + 6] == P_ICMP6 && b[ETH + 7] == 255 && len > ETH + 40 && b[ETH + 40] >= 133 &&
	       b[ETH + 40] <= 137;
}

/* F11: at a time of its own */
static bool is_late_error(const uint8_t *b, uint32_t len)
{
	struct layout l;

	if (len < ETH + 20 || (get16(b + 12) != 0x0800 && get16(b + 12) != 0x86dd))
		return false;
	l = parse(b + ETH, len - ETH);
	if (!l.ok || !l.error || l.later)
		return false;
	b += ETH + l.l4;
	return b[1] == 1 && b[0] == (l.family == 4 ? 11 : 3);
}

static bool is_marker_answer(const uint8_t *b, uint32_t len)
{
	return len >= 42 && get16(b + 12) == 0x0806 && get16(b + 20) == 2 &&
	       get32(b + 28) == marker;
}

/* Everything that is there at one port; true: the marker's answer was among it. */
static bool collect(enum side side, unsigned int port, struct outputs *out)
{
	bool answered = false;

	for (;;) {
		uint8_t spill[FRAME_ROOM];
		uint8_t *room = out->n < OUT_MAX ? out->room[out->n] : spill;
		ssize_t n = read(fds[side][port], room, FRAME_ROOM);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return answered;
		if (n < 0)
			die("port %u of side %d: %s", port, (int)side, strerror(errno));
		if (is_marker_answer(room, (uint32_t)n)) {
			answered = true;
			continue;
		}
		if (is_own_talk(room, (uint32_t)n))
			continue;
		if (is_late_error(room, (uint32_t)n)) {
			late_errors[side]++;
			continue;
		}
		if (out->n == OUT_MAX)
			die("more than %d frames from one packet", OUT_MAX);
		out->f[out->n] = (struct bytes){(uint16_t)port, (uint32_t)n, room};
		out->n++;
	}
}

static void ask(void)
{
	uint8_t b[42] = {0}, address[16];

	addr_of(address, 4, ip4_text[1]);
	marker = marker % 0xffff + 1;
	marker |= 0x0ac80000; /* 10.200.x.y: nobody's */
	memset(b, 0xff, 6);
	memcpy(b + 6, macs[1], 6);
	put16(b + 12, 0x0806);
	put32(b + 14, 0x00010800);
	put32(b + 18, 0x06040001);
	memcpy(b + 22, macs[1], 6);
	memcpy(b + 28, address, 4);
	put32(b + 38, marker);
	if (send(fds[RINGFENCE][1], b, sizeof(b), 0) != sizeof(b))
		die("the marker: %s", strerror(errno));
}

static void wait_for_marker(struct outputs *out)
{
	double end = now() + ANSWER_MS / 1000.0;
	struct pollfd p = {.fd = fds[RINGFENCE][1], .events = POLLIN};

	ask();
	for (;;) {
		if (poll(&p, 1, 100) > 0 && collect(RINGFENCE, 1, out))
			return;
		if (now() > end)
			die("ringfenced does not answer on client 1");
	}
}

void exchange(enum side side, unsigned int port, const uint8_t *frame, uint32_t len,
	      struct outputs *out)
{
	out->n = 0;
	if (write(fds[side][port], frame, len) != (ssize_t)len)
		die("a frame of %u bytes to port %u of side %d: %s", len, port, (int)side,
		    strerror(errno));
	if (side == RINGFENCE)
		for (int i = 0; i < MARKERS; i++)
			wait_for_marker(out);
	for (unsigned int i = 0; i < PORTS; i++)
		collect(side, i, out);
}

void linger(unsigned int seconds)
{
	static struct outputs out;
	double end = now() + seconds;

	while (now() < end) {
		usleep(100000);
		for (int s = 0; s < SIDES; s++)
			for (unsigned int i = 0; i < PORTS; i++) {
				out.n = 0;
				collect((enum side)s, i, &out);
				if (out.n)
					die("a frame to port %u that nobody asked for", i);
			}
	}
}
