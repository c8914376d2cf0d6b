// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The segmenter against the kernel's, byte by byte, and what a TAP port relies on:
 * the kernel takes partial checksums and GSO frames from it and cuts them itself
 * where its way out cannot.
 *
 *	tap port -> in0 -- bridge -- out0 (no offloads) -> read()
 *
 * Needs root; all of it is in a network namespace of its own.
 */
#include "netback/convert.h"
#include "netback/copy.h"
#include "netback/frame_csum.h"
#include "netback/netback.h"
#include "tests/fake/oracle.h"
#include "tests/unit/check.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

static uint8_t whole[ORACLE_MAX], ours[ORACLE_MAX], theirs[ORACLE_MAX];
static struct copy_batch *batch;
static struct port *in;
static int out;
static uint64_t state = 7;

static uint32_t rnd(uint32_t below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((state >> 33) % below);
}

static int run(const char *command)
{
	int status = system(command);

	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A device of ours, without offloads; persistent when it is to be opened again. */
static int device(const char *name, bool vnet)
{
	struct ifreq ifr = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | (vnet ? IFF_VNET_HDR : 0))};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) || (vnet && ioctl(fd, TUNSETPERSIST, 1UL)))
		return -1;
	return fd;
}

static bool rig(void)
{
	static const uint8_t mac[6] = {0x00, 0x16, 0x3e, 0x5e, 0x02, 0x00};
	char err[128] = "";
	int fd;

	if (unshare(CLONE_NEWNET) || (fd = device("in0", true)) < 0)
		return false;
	close(fd);
	out = device("out0", false);
	return out >= 0 &&
	       run("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; "
		   "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6; "
		   "ip link add br0 type bridge mcast_snooping 0 && ip link set in0 master br0 && "
		   "ip link set out0 master br0 && ip link set in0 mtu 9000 up && "
		   "ip link set out0 mtu 9000 up && ip link set br0 mtu 9000 up") == 0 &&
	       tap_open(&in, "in0", PORT_ROLE_UPLINK, mac, NULL, err, sizeof(err)) == 0;
}

/* The next packet of ours that comes out; others are nobody's here. */
static size_t kernel_sends(void)
{
	struct pollfd p = {.fd = out, .events = POLLIN};

	for (int i = 0; i < 20; i++) {
		ssize_t n;

		if (poll(&p, 1, 2000) < 1)
			return 0;
		n = read(out, theirs, sizeof(theirs));
		if (n > 12 && memcmp(theirs, whole, 12) == 0)
			return (size_t)n;
	}
	return 0;
}

static size_t flat(const struct frame *f, uint8_t *to)
{
	memcpy(to, f->header, f->header_len);
	for (unsigned int i = 0, at = f->header_len; i < f->nseg; at += f->seg[i++].len)
		memcpy(to + at, f->seg[i].local, f->seg[i].len);
	return f->len;
}

static void complete(const struct frame *f, uint8_t *b)
{
	uint16_t csum =
	    csum_final(csum_bytes(b + f->csum_start, f->len - f->csum_start, 0), f->csum_offset);

	memcpy(b + f->csum_start + f->csum_offset, &csum, 2);
}

static void describe(struct frame *f, const struct oracle_spec *s, uint16_t mss)
{
	memset(f, 0, sizeof(*f));
	f->len = (uint32_t)oracle_make(whole, s);
	f->header_len = f->len < FRAME_HEADER_COPY ? (uint16_t)f->len : FRAME_HEADER_COPY;
	memcpy(f->header, whole, f->header_len);
	if (f->len > f->header_len) {
		f->nseg = 1;
		f->seg[0] = (struct frame_seg){.local = whole + f->header_len,
					       .len = f->len - f->header_len};
	}
	f->csum = CSUM_PARTIAL;
	f->csum_start = (uint16_t)oracle_l4(whole);
	f->csum_offset = s->udp ? 6 : 16;
	if (mss) {
		f->gso = s->ipv6 ? GSO_TCPV6 : GSO_TCPV4;
		f->gso_size = mss;
	}
}

/* The bridge forwards when the kernel has looked at the carriers, some time after they
 * came up: until the first packet of another sender than the test's comes through. */
static bool forwards(void)
{
	struct oracle_spec s = {.udp = true, .payload = 100};
	struct frame f;

	describe(&f, &s, 0);
	f.header[11] = 0xff;
	for (int i = 0; i < 200; i++) {
		struct pollfd p = {.fd = out, .events = POLLIN};
		ssize_t n;

		if (in->ops->tx(in, &f, batch))
			return false;
		while (poll(&p, 1, 20) == 1) {
			n = read(out, theirs, sizeof(theirs));
			if (n == (ssize_t)f.len && memcmp(theirs, f.header, 12) == 0)
				return true;
		}
	}
	return false;
}

static bool same(size_t n, size_t len, unsigned int k)
{
	if (n == len && memcmp(theirs, ours, n) == 0)
		return true;
	printf("  packet %u: the kernel has %zu bytes, we have %zu\n", k, n, len);
	for (size_t i = 0; i < n && i < len; i++)
		if (theirs[i] != ours[i]) {
			printf("  byte %zu: %02x, ours %02x\n", i, theirs[i], ours[i]);
			break;
		}
	return false;
}

static void test_segments(void)
{
	test_case("X4.5_segments_are_the_kernels");
	for (unsigned int i = 0; i < 400; i++) {
		struct oracle_spec s = {.ipv6 = rnd(2),
					.tcp_options = 4 * rnd(11),
					.tcp_flags = (uint8_t)rnd(256),
					.seq = rnd(UINT32_MAX),
					.id = (uint16_t)rnd(65536),
					.payload = 2000 + rnd(rnd(4) ? 20000 : 63000),
					.seed = (uint8_t)rnd(256)};
		uint16_t mss = (uint16_t)(rnd(3) ? 400 + rnd(1100) : 500 + rnd(1499));
		struct convert_cut cut;
		struct frame f, part;

		describe(&f, &s, mss);
		if (!CHECK(in->ops->tx(in, &f, batch) == 0) || !CHECK(convert_begin(&cut, &f) == 0))
			return;
		while (cut.next < cut.count) {
			size_t n = kernel_sends();

			convert_next(&cut, &part);
			flat(&part, ours);
			complete(&part, ours);
			if (!CHECK(same(n, part.len, cut.next - 1))) {
				printf("  frame %u: IPv%d, %zu bytes, mss %u\n", i, s.ipv6 ? 6 : 4,
				       s.payload, mss);
				return;
			}
		}
	}
	CHECK_INT(in->stats.tx_gso, 400);
	CHECK_INT(in->stats.tx_dropped, 0);
}

static void test_checksums(void)
{
	test_case("X4.4_checksums_are_the_kernels");
	for (unsigned int i = 0; i < 400; i++) {
		struct oracle_spec s = {.ipv6 = rnd(2),
					.udp = rnd(2),
					.tcp_flags = 0x10,
					.payload = rnd(1400),
					.id = (uint16_t)i,
					.seed = (uint8_t)i};
		struct frame f;
		size_t n;

		describe(&f, &s, 0);
		if (!CHECK(in->ops->tx(in, &f, batch) == 0))
			return;
		n = kernel_sends();
		flat(&f, ours);
		complete(&f, ours);
		if (!CHECK(same(n, f.len, i)) || !CHECK(oracle_is_right(theirs, n)))
			return;
	}
}

int main(void)
{
	if (!rig() || copy_batch_new(&batch, NULL)) {
		printf("test_convert_kernel: no TAP devices and bridge (root?)\n");
		return 1;
	}
	test_case("the bridge forwards");
	CHECK(forwards());
	test_segments();
	test_checksums();
	in->ops->free(in);
	copy_batch_free(&batch);
	return test_end();
}
