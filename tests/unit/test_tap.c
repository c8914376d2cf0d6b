/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The tap and self ports against the kernel. Needs root; works in a network
 * namespace of its own, so nothing is left behind.
 */
#include "netback/copy.h"
#include "netback/flat.h"
#include "netback/netback.h"
#include "tests/fake/fake.h"
#include "tests/unit/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint8_t our_mac[6] = { 0x00, 0x16, 0x3e, 0xaa, 0xbb, 0xcc };
static struct frame frame_store[64];
static struct frame *frames[64];
static struct fake *fake;
static struct copy_batch *batch;

/* In the place of libc's: gone0 was there a moment ago. */
unsigned int if_nametoindex(const char *name)
{
	struct ifreq ifr = { 0 };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	if (strcmp(name, "gone0") == 0) {
		close(s);
		return 77;
	}
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	err = ioctl(s, SIOCGIFINDEX, &ifr);
	close(s);
	return err ? 0 : (unsigned int)ifr.ifr_ifindex;
}

static int run(const char *command)
{
	int status = system(command);

	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A persistent TAP as `ip tuntap add` makes it; the caller's namespace. */
static void make_device(const char *name, short flags)
{
	struct ifreq ifr = { .ifr_flags = (short)(flags | IFF_NO_PI) };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	CHECK_INT(ioctl(fd, TUNSETIFF, &ifr), 0);
	CHECK_INT(ioctl(fd, TUNSETPERSIST, 1UL), 0);
	close(fd);
}

static size_t receive(struct port *port, size_t n, int timeout_ms)
{
	struct pollfd p = { .fd = port->fd, .events = POLLIN };

	if (poll(&p, 1, timeout_ms) < 1)
		return 0;
	return port->ops->rx_burst(port, frames, n, batch);
}

/* The next frame with this EtherType and, for IPv4, protocol; others are given
 * back. frames[0] holds it. */
static bool receive_type(struct port *port, unsigned int type, unsigned int proto)
{
	int tries;

	for (tries = 0; tries < 50; tries++) {
		struct frame *f = frames[0];

		if (receive(port, 1, 1000) != 1)
			return false;
		if ((f->header[12] << 8 | f->header[13]) == (int)type &&
		    (type != 0x0800 || f->header[23] == proto))
			return true;
		port->ops->complete(port, f, true);
	}
	return false;
}

static void test_errors(void)
{
	static const struct {
		const char *name, *error;
		int ret;
	} bad[] = {
		{ "", "tap : not a device name", -EINVAL },
		{ "a-name-much-too-long", "tap a-name-much-too-long: not a device name", -EINVAL },
		{ "missing0", "tap missing0: no such device", -ENODEV },
		{ "lo", "tap lo: not a TAP device (or a multi-queue one)", -EINVAL },
		{ "tun0", "tap tun0: not a TAP device (or a multi-queue one)", -EINVAL },
		{ "busy0", "tap busy0: another program uses it", -EBUSY },
		{ "gone0", "tap gone0: no such persistent device", -ENODEV },
	};
	struct port *port = NULL, *first = NULL;
	char err[128], address[300] = "";
	int status = -1;
	pid_t child;
	size_t i;

	test_case("tap_open_says_what_is_wrong");
	make_device("tun0", IFF_TUN);
	make_device("busy0", IFF_TAP);
	CHECK_INT(run("ip tuntap add dev free0 mode tap user 1 vnet_hdr"), 0);
	CHECK_INT(tap_open(&first, "busy0", PORT_ROLE_CLIENT, our_mac, "10.0.0.1", err,
			   sizeof(err)), 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err[0] = '\0';
		CHECK_INT(tap_open(&port, bad[i].name, PORT_ROLE_CLIENT, our_mac, "10.0.0.1", err,
				   sizeof(err)), bad[i].ret);
		CHECK_STR(err, bad[i].error);
	}
	memset(address, '1', sizeof(address) - 1);
	CHECK_INT(tap_open(&port, "free0", PORT_ROLE_CLIENT, our_mac, address, err, sizeof(err)),
		  -EINVAL);
	CHECK_STR(err, "tap free0: address too long");
	CHECK(port == NULL);
	CHECK_INT(if_nametoindex("missing0"), 0); /* it was not created */
	first->ops->free(first);

	test_case("tap_open_without_the_right_to");
	child = fork();
	if (child == 0) { /* nobody of another network may not attach to it */
		int ret = seteuid(65534) ? 1 : 0;

		err[0] = '\0';
		if (!ret && tap_open(&port, "free0", PORT_ROLE_CLIENT, our_mac, NULL, err,
				     sizeof(err)) != -EPERM)
			ret = 2;
		if (!ret && strcmp(err, "tap free0: no permission (CAP_NET_ADMIN is needed)") != 0)
			ret = 3;
		exit(seteuid(0) ? 4 : ret);
	}
	CHECK_INT(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	CHECK_INT(WEXITSTATUS(status), 0);
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static uint32_t sum16(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;
	size_t i;

	for (i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	return sum;
}

/* Ethernet, IPv4 and UDP headers of a packet to 10.9.0.2:5000, partial checksum. */
static size_t udp_headers(uint8_t *h, const uint8_t dst_mac[6], size_t payload)
{
	uint16_t total = (uint16_t)(28 + payload), sum, udp_len = (uint16_t)(8 + payload);
	uint8_t pseudo[12] = { 10, 9, 0, 1, 10, 9, 0, 2, 0, 17 };

	memcpy(h, dst_mac, 6);
	memcpy(h + 6, our_mac, 6);
	memcpy(h + 12, "\x08\x00\x45\x00", 4);
	memset(h + 16, 0, 26);
	h[16] = (uint8_t)(total >> 8);
	h[17] = (uint8_t)total;
	h[22] = 64;
	h[23] = 17;
	memcpy(h + 26, pseudo, 8);
	sum = (uint16_t)~fold(sum16(h + 14, 20));
	h[24] = (uint8_t)(sum >> 8);
	h[25] = (uint8_t)sum;
	memcpy(h + 34, "\x13\x88\x13\x88", 4);
	h[38] = (uint8_t)(udp_len >> 8);
	h[39] = (uint8_t)udp_len;
	memcpy(pseudo + 10, h + 38, 2);
	sum = fold(sum16(pseudo, 12));
	h[40] = (uint8_t)(sum >> 8);
	h[41] = (uint8_t)sum;
	return 42;
}

static struct port *open_up(const char *name)
{
	struct port *port = NULL;
	char err[128] = "", command[256];

	make_device(name, IFF_TAP | IFF_VNET_HDR);
	CHECK_INT(tap_open(&port, name, PORT_ROLE_UPLINK, our_mac, NULL, err, sizeof(err)), 0);
	CHECK_STR(err, "");
	snprintf(command, sizeof(command),
		 "ip link set %s up address 02:00:00:00:99:02 && ip addr add 10.9.0.2/24 dev %s && "
		 "ip neigh add 10.9.0.1 lladdr 00:16:3e:aa:bb:cc dev %s", name, name, name);
	CHECK_INT(run(command), 0);
	return port;
}

static int udp_socket(const char *bind_ip)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(5000) };
	struct timeval tv = { .tv_sec = 1 };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, bind_ip, &a.sin_addr);
	CHECK_INT(bind(s, (struct sockaddr *)&a, sizeof(a)), 0);
	CHECK_INT(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
	return s;
}

static void to_10_9_0_1(struct sockaddr_in *a, uint16_t port)
{
	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
	inet_pton(AF_INET, "10.9.0.1", &a->sin_addr);
}

static void test_udp_both_ways(struct port *port)
{
	static const uint8_t kernel_mac[6] = { 0x02, 0, 0, 0, 0x99, 0x02 };
	int s = udp_socket("10.9.0.2");
	struct frame *f = frames[0];
	uint8_t data[1472], got[2000];
	struct sockaddr_in a;

	test_case("tap_receives_partial_checksums");
	memset(data, 0x5a, sizeof(data));
	to_10_9_0_1(&a, 7777);
	CHECK_INT(sendto(s, data, sizeof(data), 0, (struct sockaddr *)&a, sizeof(a)), 1472);
	if (!CHECK(receive_type(port, 0x0800, 17)))
		return;
	CHECK_INT(f->len, 1514);
	CHECK_INT(f->header_len, 192);
	CHECK_INT(f->nseg, 1);
	CHECK_INT(f->seg[0].len, 1514 - 192);
	CHECK_INT(f->csum, CSUM_PARTIAL);
	CHECK_INT(f->csum_start, 34);
	CHECK_INT(f->csum_offset, 6);
	CHECK(memcmp(f->seg[0].local, data, f->seg[0].len) == 0);
	port->ops->complete(port, f, true);

	test_case("tap_sends_partial_checksums_and_granted_pages");
	{
		uint8_t *page = fake_page_new(fake);
		uint32_t gref = fake_grant(fake, 7, page, true);

		memset(page, 0xa5, XEN_PAGE);
		memset(f, 0, sizeof(*f));
		f->header_len = (uint16_t)udp_headers(f->header, kernel_mac, 1400);
		f->domid = 7;
		f->nseg = 1;
		f->seg[0] = (struct frame_seg){ .gref = gref, .off = 100, .len = 1400 };
		f->len = 1442;
		f->csum = CSUM_PARTIAL;
		CHECK_INT(port->ops->tx(port, f, batch), -EINVAL); /* csum_start not filled */
		f->csum_start = 34;
		f->csum_offset = 6;
		CHECK_INT(port->ops->tx(port, f, batch), 0);
		*frames[1] = *f;
		*frames[2] = *f;
		f = frames[1];
		f->seg[0].gref = 0xdead; /* hp_361: this one is lost, the next is not */
		CHECK_INT(port->ops->tx(port, f, batch), 0);
		f = frames[2];
		/* local bytes now wait behind the granted ones: order is kept */
		f->seg[0] = (struct frame_seg){ .local = data, .len = 300 };
		f->header_len = (uint16_t)udp_headers(f->header, kernel_mac, 300);
		f->len = 342;
		CHECK_INT(port->ops->tx(port, f, batch), 0);
		copy_batch_run(batch);
		port->ops->tx_flush(port);
		CHECK_INT(recv(s, got, sizeof(got), 0), 1400);
		CHECK(memcmp(got, page + 100, 1400) == 0);
		CHECK_INT(recv(s, got, sizeof(got), 0), 300);
		CHECK(memcmp(got, data, 300) == 0);
	}
	CHECK_INT(port->stats.tx_frames, 2);
	CHECK_INT(port->stats.tx_partial, 2);
	CHECK_INT(port->stats.tx_dropped, 2); /* the bad one, the failed copy */
	close(s);
}

/* Answer the kernel's SYN by hand, so that its TCP sends a large segment. */
static void swap_reply(struct frame *f, const struct frame *syn)
{
	const uint8_t *h = syn->header;
	uint8_t *r = f->header;
	uint8_t pseudo[12];
	uint16_t sum;
	size_t i;

	memset(f, 0, sizeof(*f));
	memcpy(r, h + 6, 6);
	memcpy(r + 6, h, 6);
	memcpy(r + 12, "\x08\x00\x45\x00\x00\x2c", 6); /* 44 bytes: one option */
	r[22] = 64;
	r[23] = 6;
	memcpy(r + 26, h + 30, 4);
	memcpy(r + 30, h + 26, 4);
	sum = (uint16_t)~fold(sum16(r + 14, 20));
	r[24] = (uint8_t)(sum >> 8);
	r[25] = (uint8_t)sum;
	memcpy(r + 34, h + 36, 2);
	memcpy(r + 36, h + 34, 2);
	r[38] = 1; /* our sequence number: 0x01000000 */
	memcpy(r + 42, h + 38, 4);
	for (i = 45; ++r[i] == 0 && i > 42; i--)
		;
	memcpy(r + 46, "\x60\x12\xff\xff", 4);
	memcpy(r + 54, "\x02\x04\x05\xb4", 4); /* MSS 1460 */
	memcpy(pseudo, r + 26, 8);
	memcpy(pseudo + 8, "\x00\x06\x00\x18", 4);
	sum = fold(sum16(pseudo, 12));
	r[50] = (uint8_t)(sum >> 8);
	r[51] = (uint8_t)sum;
	f->header_len = 58;
	f->len = 58;
	f->csum = CSUM_PARTIAL;
	f->csum_start = 34;
	f->csum_offset = 16;
}

static void test_gso(struct port *port)
{
	static uint8_t data[30000];
	int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct frame *f = frames[0], reply = { 0 };
	struct sockaddr_in a;
	uint64_t gso = port->stats.rx_gso;
	int i, largest = 0;

	test_case("tap_receives_gso");
	to_10_9_0_1(&a, 9000);
	CHECK_INT(connect(s, (struct sockaddr *)&a, sizeof(a)), -1);
	CHECK_INT(errno, EINPROGRESS);
	if (!CHECK(receive_type(port, 0x0800, 6)))
		return;
	CHECK_INT(f->csum, CSUM_PARTIAL);
	CHECK_INT(f->csum_offset, 16);
	swap_reply(&reply, f);
	port->ops->complete(port, f, true);
	CHECK_INT(port->ops->tx(port, &reply, batch), 0);
	if (!CHECK(receive_type(port, 0x0800, 6))) /* its ACK */
		return;
	port->ops->complete(port, f, true);
	CHECK(write(s, data, sizeof(data)) > 10000);
	for (i = 0; i < 20 && receive(port, 1, 200) == 1; i++) {
		if (f->gso == GSO_TCPV4) {
			CHECK_INT(f->gso_size, 1460);
			CHECK_INT(f->csum, CSUM_PARTIAL);
			if ((int)f->len > largest)
				largest = (int)f->len;
		}
		port->ops->complete(port, f, true);
	}
	CHECK(largest > 4000);
	CHECK(port->stats.rx_gso > gso);
	close(s);
}

/* A frame of a TCP segment, or of more than one; its payload in two local pieces. */
static void tcp_frame(struct frame *f, uint8_t gso, uint8_t *payload, size_t len)
{
	static const uint8_t to[6] = { 0x02, 0, 0, 0, 0x99, 0x02 };
	size_t ip = gso == GSO_TCPV6 ? 40 : 20, head = 14 + ip + 20;
	uint8_t *h = f->header;

	memset(f, 0, sizeof(*f));
	memcpy(h, to, 6);
	memcpy(h + 6, our_mac, 6);
	memcpy(h + 12, ip == 40 ? "\x86\xdd\x60" : "\x08\x00\x45", 3);
	if (ip == 40) {
		h[18] = (uint8_t)((len + 20) >> 8);
		h[19] = (uint8_t)(len + 20);
		h[20] = 6;
	} else {
		h[16] = (uint8_t)((len + 40) >> 8);
		h[17] = (uint8_t)(len + 40);
		h[23] = 6;
	}
	h[14 + ip + 12] = 0x50;
	f->header_len = (uint16_t)head;
	f->len = (uint32_t)(head + len);
	f->nseg = len ? 2 : 0;
	f->seg[0] = (struct frame_seg){ .local = payload, .len = (uint16_t)(len / 3) };
	f->seg[1] = (struct frame_seg){ .local = payload + len / 3,
					.len = (uint16_t)(len - len / 3) };
	f->csum = CSUM_PARTIAL;
	f->csum_start = (uint16_t)(14 + ip);
	f->csum_offset = 16;
	f->gso = gso;
	f->gso_size = gso ? 1400 : 0;
}

/* What the kernel is told of a frame, as a packet socket on the interface hears it. */
static void test_metadata(struct port *port)
{
	static uint8_t payload[4200], got[8000];
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL),
				  .sll_ifindex = (int)if_nametoindex(port->name) };
	int s = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL)), on = 1;
	struct frame *f = &frame_store[1];
	struct timeval tv = { .tv_sec = 1 };
	struct virtio_net_hdr h;
	uint64_t dropped = port->stats.tx_dropped;
	unsigned int i;

	test_case("tap_tells_the_kernel_of_gso_and_checksums");
	CHECK_INT(setsockopt(s, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
	CHECK_INT(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
	CHECK_INT(bind(s, (struct sockaddr *)&ll, sizeof(ll)), 0);
	while (recv(s, got, sizeof(got), MSG_DONTWAIT) > 0)
		;
	for (i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 31 + (i >> 8));
	for (i = 0; i < 3; i++) {
		static const uint8_t gso[] = { GSO_NONE, GSO_TCPV4, GSO_TCPV6 };
		static const uint8_t type[] = { VIRTIO_NET_HDR_GSO_NONE,
						VIRTIO_NET_HDR_GSO_TCPV4,
						VIRTIO_NET_HDR_GSO_TCPV6 };
		size_t len = i ? sizeof(payload) : 900, head = i == 2 ? 74 : 54;

		tcp_frame(f, gso[i], payload, len);
		CHECK_INT(port->ops->tx(port, f, batch), 0);
		CHECK_INT(recv(s, got, sizeof(got), 0), sizeof(h) + head + len);
		memcpy(&h, got, sizeof(h));
		CHECK_INT(h.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
		CHECK_INT(h.csum_start, f->csum_start);
		CHECK_INT(h.csum_offset, 16);
		CHECK_INT(h.gso_type, type[i]);
		CHECK_INT(h.gso_size, i ? 1400 : 0);
		CHECK(memcmp(got + sizeof(h), f->header, head) == 0);
		CHECK(memcmp(got + sizeof(h) + head, payload, len) == 0);
	}
	tcp_frame(f, GSO_NONE, payload, 900);
	f->csum = CSUM_VALID;
	CHECK_INT(port->ops->tx(port, f, batch), 0);
	CHECK_INT(recv(s, got, sizeof(got), 0), sizeof(h) + 54 + 900);
	CHECK_INT(port->stats.tx_dropped, dropped);
	/* a checksum that would lie outside is nothing for the kernel */
	tcp_frame(f, GSO_NONE, payload, 0);
	f->csum_offset = 30;
	CHECK_INT(port->ops->tx(port, f, batch), -EINVAL);
	tcp_frame(f, GSO_NONE, payload, 0);
	f->csum_start = 13;
	CHECK_INT(port->ops->tx(port, f, batch), -EINVAL);
	CHECK_INT(port->stats.tx_dropped, dropped + 2);
	port->ops->rx_flush(port);
	CHECK(!port->ops->rx_arm(port)); /* polled by level: nothing to do */

	/* and back: what the kernel sends */
	test_case("tap_receives_gso_of_both_families");
	for (i = 0; i < 2; i++) {
		bool six = i;
		size_t len = sizeof(payload), head = six ? 74 : 54;

		tcp_frame(f, six ? GSO_TCPV6 : GSO_TCPV4, payload, len);
		memset(&h, 0, sizeof(h));
		h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		h.csum_start = f->csum_start;
		h.csum_offset = 16;
		h.gso_type = six ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
		h.gso_size = 1400;
		h.hdr_len = (uint16_t)head;
		memcpy(got, &h, sizeof(h));
		memcpy(got + sizeof(h), f->header, head);
		memcpy(got + sizeof(h) + head, payload, len);
		CHECK_INT(send(s, got, sizeof(h) + head + len, 0), sizeof(h) + head + len);
		/* the connection of the test before may still say something */
		while (CHECK(receive_type(port, six ? 0x86dd : 0x0800, 6)) &&
		       frames[0]->gso == GSO_NONE)
			port->ops->complete(port, frames[0], true);
		CHECK_INT(frames[0]->len, head + len);
		CHECK_INT(frames[0]->gso, six ? GSO_TCPV6 : GSO_TCPV4);
		CHECK_INT(frames[0]->gso_size, 1400);
		CHECK_INT(frames[0]->csum, CSUM_PARTIAL);
		CHECK_INT(frames[0]->csum_start, head - 20);
		port->ops->complete(port, frames[0], true);
	}
	close(s);
}

/* What the rig does: the interface moves while we are attached. */
static void test_namespace_move(struct port *port)
{
	static const uint8_t kernel_mac[6] = { 0x02, 0, 0, 0, 0x99, 0x02 };
	struct frame *f = frames[0];
	uint64_t before;

	test_case("tap_survives_a_move_to_another_namespace");
	CHECK_INT(run("unshare -n sleep 60 & echo $! > /tmp/rf-test-tap.$PPID; sleep 0.3"), 0);
	CHECK_INT(run("P=$(cat /tmp/rf-test-tap.$PPID); ip link set up0 netns $P && "
		      "nsenter -n -t $P sh -c 'ip link set up0 up && "
		      "ip addr add 10.9.0.2/24 dev up0 && "
		      "ip neigh add 10.9.0.1 lladdr 00:16:3e:aa:bb:cc dev up0 && "
		      "(ping -c 1 -W 1 10.9.0.1 >/dev/null; true)'"), 0);
	CHECK(receive_type(port, 0x0800, 1)); /* its echo request */
	port->ops->complete(port, f, true);
	memset(f, 0, sizeof(*f));
	f->header_len = (uint16_t)udp_headers(f->header, kernel_mac, 8);
	memset(f->header + f->header_len, 0, 8);
	f->header_len += 8;
	f->len = f->header_len;
	f->csum = CSUM_PARTIAL;
	f->csum_start = 34;
	f->csum_offset = 6;
	before = port->stats.tx_frames;
	CHECK_INT(port->ops->tx(port, f, batch), 0);
	CHECK_INT(port->stats.tx_frames, before + 1);

	test_case("tap_write_to_a_downed_interface_drops");
	CHECK_INT(run("P=$(cat /tmp/rf-test-tap.$PPID); nsenter -n -t $P ip link set up0 down"), 0);
	CHECK(port->ops->tx(port, f, batch) < 0);
	CHECK(port->link);
	CHECK_INT(port->stats.tx_dropped, 5);

	test_case("tap_deleted_device_is_link_down");
	CHECK_INT(run("P=$(cat /tmp/rf-test-tap.$PPID); nsenter -n -t $P ip link del up0; "
		      "kill $P; rm -f /tmp/rf-test-tap.$PPID"), 0);
	CHECK_INT(port->ops->rx_burst(port, frames, 8, batch), 0);
	CHECK(!port->link);
	CHECK(port->fd >= 0); /* the owner takes it out of its epoll set */
	CHECK_STR(port->reason, "the device is gone");
	CHECK_INT(port->ops->tx(port, f, batch), -ENETDOWN);
	CHECK_INT(port->ops->rx_burst(port, frames, 8, batch), 0);
	port->ops->tx_flush(port);
}

/* Every buffer comes back: more frames than buffers, in pieces. */
static void test_buffers(struct port *port)
{
	uint8_t data[1000] = { 0 };
	int s = udp_socket("10.9.0.2"), i, k, held = 0;
	struct sockaddr_in a;

	test_case("tap_pool_is_bounded_and_reused");
	to_10_9_0_1(&a, 7777);
	for (i = 0; i < 400; i++) {
		CHECK_INT(sendto(s, data, sizeof(data), 0, (struct sockaddr *)&a, sizeof(a)), 1000);
		k = (int)receive(port, 1, 200);
		if (k == 0)
			break;
		held++;
	}
	CHECK(held >= 128 && held < 400); /* nothing was completed: it runs dry */
	CHECK_INT(port->stats.rx_errors, 0);
	close(s);
}

static void test_self(void)
{
	struct port *port = NULL, *again = NULL;
	struct frame *f = frames[0], reply;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(53) };
	uint8_t got[64];
	char err[128] = "";
	int s;

	test_case("self_open_errors");
	CHECK_INT(self_open(&port, "rf/self", "10.137.0.1", err, sizeof(err)), -EINVAL);
	CHECK_INT(self_open(&port, "rfself", "10.137.0.1.2", err, sizeof(err)), -EINVAL);
	CHECK_STR(err, "self rfself: \"10.137.0.1.2\" is not an IPv4 address");
	/* one that no interface can have: the device is taken away again */
	CHECK_INT(self_open(&port, "rfself", "224.0.0.1", err, sizeof(err)), -EINVAL);
	CHECK_STR(err, "self rfself: address: Invalid argument");
	CHECK_INT(if_nametoindex("rfself"), 0);

	test_case("self_reaches_the_kernel_both_ways");
	err[0] = '\0';
	CHECK_INT(self_open(&port, "rfself", "10.137.0.77", err, sizeof(err)), 0);
	CHECK_STR(err, "");
	if (!port)
		return;
	CHECK_INT(self_open(&again, "rfself", "10.137.0.78", err, sizeof(err)), -EEXIST);
	CHECK_STR(err, "self rfself: the device exists already");
	s = udp_socket("10.137.0.77");
	/* a DNS server anywhere: the default route leads here */
	inet_pton(AF_INET, "10.139.1.1", &a.sin_addr);
	CHECK_INT(sendto(s, "query", 5, 0, (struct sockaddr *)&a, sizeof(a)), 5);
	if (!CHECK(receive_type(port, 0x0800, 17)))
		return;
	CHECK_INT(f->len, 14 + 28 + 5);
	CHECK(memcmp(f->header, "\xfe\xff\xff\xff\xff\xff\x02\0\0\0\0\x01\x08\0", 14) == 0);
	CHECK_INT(f->csum, CSUM_NONE); /* no offloads: it is complete */
	CHECK_INT(fold(sum16(f->header + 26, f->len - 26u) + 17 + 13), 0xffff);

	test_case("self_takes_partial_checksums_and_no_arp");
	memset(&reply, 0, sizeof(reply));
	reply.header_len = (uint16_t)udp_headers(reply.header, port->mac, 4);
	memcpy(reply.header + 26, "\x0a\x8b\x01\x01\x0a\x89\0\x4d", 8);
	memset(reply.header + 24, 0, 2);
	{
		uint16_t sum = (uint16_t)~fold(sum16(reply.header + 14, 20));
		uint8_t pseudo[12] = { 10, 139, 1, 1, 10, 137, 0, 77, 0, 17, 0, 12 };

		reply.header[24] = (uint8_t)(sum >> 8);
		reply.header[25] = (uint8_t)sum;
		sum = fold(sum16(pseudo, 12));
		reply.header[40] = (uint8_t)(sum >> 8);
		reply.header[41] = (uint8_t)sum;
	}
	memcpy(reply.header + 42, "answ", 4);
	reply.header_len = 46;
	reply.len = 46;
	reply.csum = CSUM_PARTIAL;
	reply.csum_start = 34;
	reply.csum_offset = 6;
	CHECK_INT(port->ops->tx(port, &reply, batch), 0);
	CHECK_INT(recv(s, got, sizeof(got), 0), 4);
	reply.header[13] = 0x06;
	CHECK_INT(port->ops->tx(port, &reply, batch), -EPROTONOSUPPORT);
	CHECK_INT(port->stats.tx_dropped, 1);
	close(s);
	port->ops->free(port);
	CHECK_INT(if_nametoindex("rfself"), 0); /* it goes with us */
}

static void test_self_keeps_default_route(void)
{
	struct port *port = NULL;
	char err[128] = "";

	test_case("self_leaves_a_default_route_alone");
	make_device("tun9", IFF_TUN);
	CHECK_INT(run("ip link set tun9 up && ip route add default dev tun9"), 0);
	CHECK_INT(self_open(&port, "rfself", "10.137.0.77", err, sizeof(err)), 0);
	CHECK_INT(run("ip route show default | grep -q 'dev tun9' && "
		      "! ip route show default | grep -q rfself"), 0);
	if (port)
		port->ops->free(port);
}

int main(void)
{
	struct port *port;
	size_t i;

	for (i = 0; i < 64; i++)
		frames[i] = &frame_store[i];
	if (unshare(CLONE_NEWNET)) {
		perror("test_tap: a network namespace (root?)");
		return 1;
	}
	if (fake_new(&fake, 5) || copy_batch_new(&batch, fake_xen(fake)) ||
	    run("ip link set lo up"))
		return 1;
	test_self();
	test_errors();
	port = open_up("up0");
	if (port) {
		test_udp_both_ways(port);
		test_gso(port);
		test_metadata(port);
		test_namespace_move(port);
		port->ops->free(port);
	}
	port = open_up("up1");
	if (port) {
		test_buffers(port);
		port->ops->free(port);
	}
	test_self_keeps_default_route();
	copy_batch_free(&batch);
	fake_free(&fake);
	return test_end();
}
