/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames over /dev/net/tun.
 *
 * The kernel puts a struct virtio_net_hdr before each packet, in the machine's
 * byte order: GSO type and size, and where a checksum is still to be completed.
 * That is the meaning of a frame's csum and gso fields, so both directions are a
 * translation and no byte of the packet is touched.
 *
 * Receive: one readv() scatters a packet into header[] and a buffer of the pool;
 * a packet that fits header[] leaves the buffer for the next one.
 *
 * Send: a frame whose bytes are all local is written at once. One with granted
 * parts needs the copy batch first: it is put together in a buffer and written
 * by tx_flush(). While such frames wait, local ones queue up behind them: a
 * short last segment must not overtake the data before it.
 *
 * Nothing is converted: the kernel takes partial checksums and GSO frames from a
 * TAP whatever its offloads are (TUNSETOFFLOAD is about what it gives), and does
 * in software what is left to do.
 *
 * A TUN has no Ethernet header; it is made up here (strip = 14 bytes less on the
 * device than in the frame) so that the engine sees one kind of frame.
 *
 * Moving the interface to another network namespace leaves the descriptor
 * attached. Deleting it makes every call fail with EBADFD: link becomes false. The
 * descriptor stays open and reports an error for ever; its owner, who sees the
 * link, takes it out of the epoll set.
 */
#include "netback/vnet.h"
#include "netback/flat.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#define VNET_RX_BUFFERS 192u /* frames in the engine's and the ports' hands */
#define VNET_PENDING 64u     /* frames that wait for the copy batch */
#define ETH_LEN 14u
#define VNET_HDR_LEN sizeof(struct virtio_net_hdr)

_Static_assert(sizeof(struct virtio_net_hdr) == 10, "layout of the kernel's header");

struct vnet_pending {
	struct virtio_net_hdr hdr;
	uint32_t buf, len;
	const struct frame *frame; /* its owner keeps it until tx_flush() */
};

struct vnet {
	struct port port; /* first: what the owner sees */
	struct flat_pool rx_pool, tx_pool;
	struct vnet_pending pending[VNET_PENDING];
	unsigned int npending;
	unsigned int strip;   /* bytes of header[] that the device does not have */
	uint8_t peer_mac[6];  /* source of frames from a device without Ethernet */
};

static struct vnet *vnet_of(struct port *port)
{
	assert(port->kind == PORT_TAP || port->kind == PORT_SELF);
	return (struct vnet *)(void *)port;
}

/* The device was deleted under us; anything else is this packet's problem only
 * (EIO on a write: the interface is administratively down). */
static bool vnet_is_dead(int err)
{
	return err == EBADFD || err == ENODEV || err == EBADF;
}

static void vnet_lose(struct vnet *v)
{
	struct port *port = &v->port;
	unsigned int i;

	port->link = false;
	port->ready = false;
	port->reason = "the device is gone";
	for (i = 0; i < v->npending; i++)
		flat_put(&v->tx_pool, v->pending[i].buf);
	port->stats.tx_dropped += v->npending;
	v->npending = 0;
}

/* Fill csum and gso of a received frame of f->len bytes. The packet is the
 * peer's, and so is what it says about it: offsets must lie inside. */
static int vnet_hdr_to_frame(const struct vnet *v, const struct virtio_net_hdr *h, struct frame *f)
{
	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		uint32_t start = (uint32_t)h->csum_start + v->strip;

		if (start + h->csum_offset + 2 > f->len)
			return -EINVAL;
		f->csum = CSUM_PARTIAL;
		f->csum_start = (uint16_t)start;
		f->csum_offset = h->csum_offset;
	} else if (h->flags & VIRTIO_NET_HDR_F_DATA_VALID) {
		f->csum = CSUM_VALID;
	}
	switch (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return 0;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		f->gso = GSO_TCPV4;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		f->gso = GSO_TCPV6;
		break;
	default:
		return -EOPNOTSUPP; /* UDP: not asked for in TUNSETOFFLOAD */
	}
	f->gso_size = h->gso_size;
	/* segments need their checksums: it cannot be complete in this one */
	return f->gso_size && f->csum == CSUM_PARTIAL ? 0 : -EINVAL;
}

static int vnet_hdr_from_frame(const struct vnet *v, const struct frame *f,
			       struct virtio_net_hdr *h)
{
	memset(h, 0, sizeof(*h));
	if (f->csum == CSUM_PARTIAL) {
		/* a vif cannot know csum_start: the engine has filled it */
		if (f->csum_start < ETH_LEN ||
		    (uint32_t)f->csum_start + f->csum_offset + 2 > f->len)
			return -EINVAL;
		h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		h->csum_start = (uint16_t)(f->csum_start - v->strip);
		h->csum_offset = f->csum_offset;
	} else if (f->csum == CSUM_VALID) {
		h->flags = VIRTIO_NET_HDR_F_DATA_VALID;
	}
	if (f->gso == GSO_NONE)
		return 0;
	h->gso_type = f->gso == GSO_TCPV4 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6;
	h->gso_size = f->gso_size;
	/* how much the kernel keeps in one piece: up to the end of TCP's header,
	 * whose length is in the upper half of its byte 12 */
	if (f->csum_start + 13u <= f->header_len) {
		uint32_t end = f->csum_start + (f->header[f->csum_start + 12] >> 4) * 4u;

		h->hdr_len = (uint16_t)((end < f->len ? end : f->len) - v->strip);
	}
	return 0;
}

static void vnet_add_ethernet(const struct vnet *v, struct frame *f)
{
	static const uint8_t gateway[6] = { 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff };

	memcpy(f->header, gateway, 6);
	memcpy(f->header + 6, v->peer_mac, 6);
	f->header[12] = f->header[ETH_LEN] >> 4 == 6 ? 0x86 : 0x08;
	f->header[13] = f->header[ETH_LEN] >> 4 == 6 ? 0xdd : 0x00;
}

/* One packet. Return: its length on the device, or -errno. */
static ssize_t vnet_read(struct vnet *v, struct frame *f, struct virtio_net_hdr *h, uint32_t buf)
{
	struct iovec iov[3] = {
		{ .iov_base = h, .iov_len = sizeof(*h) },
		{ .iov_base = f->header + v->strip, .iov_len = FRAME_HEADER_COPY - v->strip },
		{ .iov_base = flat_at(&v->rx_pool, buf), .iov_len = FLAT_SIZE },
	};
	ssize_t n = readv(v->port.fd, iov, 3);

	if (n < 0)
		return -errno;
	return n < (ssize_t)VNET_HDR_LEN ? 0 : n - (ssize_t)VNET_HDR_LEN;
}

static size_t vnet_rx_burst(struct port *port, struct frame **frames, size_t n,
			    struct copy_batch *batch)
{
	struct vnet *v = vnet_of(port);
	uint32_t buf = FLAT_NONE;
	size_t k = 0, reads;

	(void)batch;
	/* reads, not frames, are bounded: bad packets must not hold the loop */
	for (reads = 0; reads < n && port->link; reads++) {
		struct frame *f = frames[k];
		struct virtio_net_hdr h;
		ssize_t len;

		if (buf == FLAT_NONE && (buf = flat_get(&v->rx_pool)) == FLAT_NONE)
			break;
		frame_begin(f, port);
		len = vnet_read(v, f, &h, buf);
		if (len < 0) {
			if (vnet_is_dead((int)-len))
				vnet_lose(v);
			break;
		}
		if (len)
			frame_set_local(f, (uint32_t)len + v->strip, flat_at(&v->rx_pool, buf));
		if (len == 0 || f->len > FRAME_LEN_MAX || vnet_hdr_to_frame(v, &h, f)) {
			port->stats.rx_errors++;
			continue;
		}
		if (v->strip)
			vnet_add_ethernet(v, f);
		if (f->nseg) {
			f->cookie = buf;
			buf = FLAT_NONE;
		}
		port_count_rx(port, f);
		k++;
	}
	if (buf != FLAT_NONE)
		flat_put(&v->rx_pool, buf);
	return k;
}

/* Write one packet; the caller counts the success, this the rest. */
static int vnet_write(struct vnet *v, struct iovec *iov, int n)
{
	int err;

	if (writev(v->port.fd, iov, n) >= 0)
		return 0;
	err = errno;
	if (vnet_is_dead(err))
		vnet_lose(v);
	return -err;
}

static int vnet_send_local(struct vnet *v, struct frame *f, struct virtio_net_hdr *h)
{
	struct iovec iov[2 + FRAME_SEG_MAX] = {
		{ .iov_base = h, .iov_len = sizeof(*h) },
		{ .iov_base = f->header + v->strip, .iov_len = f->header_len - v->strip },
	};
	unsigned int i;
	int err;

	for (i = 0; i < f->nseg; i++) {
		iov[2 + i].iov_base = f->seg[i].local;
		iov[2 + i].iov_len = f->seg[i].len;
	}
	err = vnet_write(v, iov, (int)(2 + f->nseg));
	if (!err)
		port_count_tx(&v->port, f->len, f->gso != GSO_NONE, f->csum == CSUM_PARTIAL);
	else if (err != -EAGAIN)
		v->port.stats.tx_dropped++;
	return err;
}

static bool vnet_is_ip(const struct frame *f)
{
	unsigned int type = f->header[12] << 8 | f->header[13];

	return type == 0x0800 || type == 0x86dd;
}

static int vnet_tx(struct port *port, struct frame *f, struct copy_batch *batch)
{
	struct vnet *v = vnet_of(port);
	struct vnet_pending *p;
	struct virtio_net_hdr h;

	if (!port->link)
		return -ENETDOWN;
	if (frame_check(f) || f->header_len <= ETH_LEN || vnet_hdr_from_frame(v, f, &h)) {
		port->stats.tx_dropped++;
		return -EINVAL;
	}
	/* nobody behind a TUN understands ARP; only IP goes there */
	if (v->strip && !vnet_is_ip(f)) {
		port->stats.tx_dropped++;
		return -EPROTONOSUPPORT;
	}
	if (v->npending == 0 && !frame_has_grants(f))
		return vnet_send_local(v, f, &h);
	if (v->npending == VNET_PENDING)
		return -EAGAIN;
	p = &v->pending[v->npending++];
	p->hdr = h;
	p->len = f->len;
	p->frame = f;
	p->buf = flat_get(&v->tx_pool); /* as many as pending[] has places */
	frame_flatten(f, &f->copy_failed, batch, flat_at(&v->tx_pool, p->buf));
	return 0;
}

static void vnet_tx_flush(struct port *port)
{
	struct vnet *v = vnet_of(port);
	unsigned int i;

	for (i = 0; i < v->npending; i++) {
		struct vnet_pending *p = &v->pending[i];
		struct iovec iov[2] = {
			{ .iov_base = &p->hdr, .iov_len = sizeof(p->hdr) },
			{ .iov_base = flat_at(&v->tx_pool, p->buf) + v->strip,
			  .iov_len = p->len - v->strip },
		};

		if (p->frame->copy_failed || vnet_write(v, iov, 2)) {
			if (!port->link)
				return; /* vnet_lose() took them all */
			port->stats.tx_dropped++;
		} else {
			port_count_tx(port, p->len, p->hdr.gso_type != 0,
				      p->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM);
		}
	}
	for (i = 0; i < v->npending; i++)
		flat_put(&v->tx_pool, v->pending[i].buf);
	v->npending = 0;
}

static void vnet_complete(struct port *port, struct frame *f, bool ok)
{
	struct vnet *v = vnet_of(port);

	if (!ok)
		port->stats.rx_errors++;
	if (f->cookie == FLAT_NONE || f->in_generation != port->generation)
		return;
	flat_put(&v->rx_pool, f->cookie);
	f->cookie = FLAT_NONE;
}

static void vnet_rx_flush(struct port *port)
{
	(void)port;
}

/* The descriptor is polled by level: what is left will be reported again. */
static bool vnet_rx_arm(struct port *port)
{
	(void)port;
	return false;
}

static void vnet_free(struct port *port)
{
	struct vnet *v = vnet_of(port);

	close(port->fd);
	flat_pool_fini(&v->rx_pool);
	flat_pool_fini(&v->tx_pool);
	free(v);
}

static const struct port_ops vnet_ops = {
	.rx_burst = vnet_rx_burst,
	.tx = vnet_tx,
	.tx_flush = vnet_tx_flush,
	.complete = vnet_complete,
	.rx_flush = vnet_rx_flush,
	.rx_arm = vnet_rx_arm,
	.free = vnet_free,
};

int vnet_port_new(struct port **out, int fd, const char *name, enum port_kind kind,
		  enum port_role role, bool ethernet, const uint8_t peer_mac[6])
{
	struct vnet *v = calloc(1, sizeof(*v));
	int err;

	if (!v) {
		close(fd);
		return -ENOMEM;
	}
	v->port.ops = &vnet_ops;
	v->port.kind = kind;
	v->port.role = role;
	v->port.id = PORT_NONE;
	v->port.generation = 1;
	v->port.link = true;
	v->port.fd = fd;
	v->port.mtu = 1500;
	v->port.reason = "";
	memcpy(v->port.mac, peer_mac, 6);
	memcpy(v->peer_mac, peer_mac, 6);
	snprintf(v->port.name, sizeof(v->port.name), "%s", name);
	v->strip = ethernet ? 0 : ETH_LEN;
	err = flat_pool_init(&v->rx_pool, VNET_RX_BUFFERS);
	if (!err)
		err = flat_pool_init(&v->tx_pool, VNET_PENDING);
	if (err) {
		vnet_free(&v->port);
		return err;
	}
	*out = &v->port;
	return 0;
}

int vnet_tun_open(const char *name, unsigned int flags, unsigned int offloads, unsigned int *got,
		  char *err, size_t err_len)
{
	int fd, e, hdr_len = (int)VNET_HDR_LEN;
	struct ifreq ifr = { 0 };
	const char *what = "/dev/net/tun";

	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		goto fail;
	what = "attach";
	memcpy(ifr.ifr_name, name, strlen(name)); /* the callers checked the length */
	ifr.ifr_flags = (short)(flags | IFF_NO_PI | IFF_VNET_HDR);
	if (ioctl(fd, TUNSETIFF, &ifr))
		goto fail;
	what = "flags";
	if (ioctl(fd, TUNGETIFF, &ifr))
		goto fail;
	*got = (unsigned short)ifr.ifr_flags;
	what = "virtio header";
	if (!(*got & IFF_VNET_HDR)) {
		errno = EOPNOTSUPP;
		goto fail;
	}
	if (ioctl(fd, TUNSETVNETHDRSZ, &hdr_len))
		goto fail;
	what = "offloads";
	if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)offloads))
		goto fail;
	return fd;
fail:
	e = errno;
	snprintf(err, err_len, "%s %s: %s: %s", flags & IFF_TAP ? "tap" : "self", name, what,
		 strerror(e));
	if (fd >= 0)
		close(fd);
	return -e;
}
