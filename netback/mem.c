/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A port whose peer is the caller: for tests and benchmarks.
 *
 * Packets that the caller injects wait in one queue, packets for the caller in
 * another; both have MEM_QUEUE places. A received frame keeps its buffer until
 * complete(), as with every other port, so tests see the same life of a frame.
 * A sent frame shows up in mem_take() only after tx_flush(), and never when one
 * of its copies failed.
 */
#include "netback/flat.h"
#include "netback/netback.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MEM_QUEUE 256u /* a power of two */
#define MEM_BUFFERS (2 * MEM_QUEUE) /* waiting, and as many in the caller's hands */

struct mem_packet {
	uint32_t buf, len;
	uint16_t csum_start, csum_offset, gso_size;
	uint8_t csum, gso;
	const struct frame *frame; /* until tx_flush(): its owner keeps it */
	bool failed;		   /* a copy into buf did not succeed */
};

struct mem {
	struct port port; /* first: what the owner sees */
	struct flat_pool rx_pool, tx_pool;
	struct mem_packet rx[MEM_QUEUE], tx[MEM_QUEUE];
	uint32_t rx_head, rx_tail; /* free running; head: next to receive */
	uint32_t tx_head, tx_tail; /* head: next for mem_take() */
	uint32_t tx_public;	   /* up to here mem_take() may look */
};

static struct mem *mem_of(struct port *port)
{
	assert(port->kind == PORT_MEM);
	return (struct mem *)(void *)port;
}

static size_t mem_rx_burst(struct port *port, struct frame **frames, size_t n,
			   struct copy_batch *batch)
{
	struct mem *m = mem_of(port);
	size_t k;

	(void)batch;
	for (k = 0; k < n && m->rx_head != m->rx_tail; k++) {
		const struct mem_packet *p = &m->rx[m->rx_head++ % MEM_QUEUE];
		uint8_t *bytes = flat_at(&m->rx_pool, p->buf);
		struct frame *f = frames[k];

		frame_begin(f, port);
		frame_set_local(f, p->len, bytes + FRAME_HEADER_COPY);
		memcpy(f->header, bytes, f->header_len);
		f->csum = p->csum;
		f->csum_start = p->csum_start;
		f->csum_offset = p->csum_offset;
		f->gso = p->gso;
		f->gso_size = p->gso_size;
		f->cookie = p->buf;
		port_count_rx(port, f);
	}
	return k;
}

static int mem_tx(struct port *port, struct frame *f, struct copy_batch *batch)
{
	struct mem *m = mem_of(port);
	struct mem_packet *p;

	if (frame_check(f)) {
		port->stats.tx_dropped++;
		return -EINVAL;
	}
	if (m->tx_tail - m->tx_head == MEM_QUEUE)
		return -EAGAIN;
	p = &m->tx[m->tx_tail++ % MEM_QUEUE];
	*p = (struct mem_packet){
		.buf = flat_get(&m->tx_pool),
		.len = f->len,
		.csum = f->csum,
		.csum_start = f->csum_start,
		.csum_offset = f->csum_offset,
		.gso = f->gso,
		.gso_size = f->gso_size,
		.frame = f,
	};
	/* as many buffers as places: there is one */
	frame_flatten(f, &f->copy_failed, batch, flat_at(&m->tx_pool, p->buf));
	return 0;
}

static void mem_tx_flush(struct port *port)
{
	struct mem *m = mem_of(port);

	for (; m->tx_public != m->tx_tail; m->tx_public++) {
		struct mem_packet *p = &m->tx[m->tx_public % MEM_QUEUE];

		p->failed = p->frame->copy_failed;
		p->frame = NULL;
		if (p->failed)
			port->stats.tx_dropped++;
		else
			port_count_tx(port, p->len, p->gso != GSO_NONE, p->csum == CSUM_PARTIAL);
	}
}

static void mem_complete(struct port *port, struct frame *f, bool ok)
{
	struct mem *m = mem_of(port);

	if (!ok)
		port->stats.rx_errors++;
	if (f->cookie == FLAT_NONE || f->in_generation != port->generation)
		return;
	flat_put(&m->rx_pool, f->cookie);
	f->cookie = FLAT_NONE;
}

static void mem_rx_flush(struct port *port)
{
	(void)port;
}

static bool mem_rx_arm(struct port *port)
{
	const struct mem *m = mem_of(port);

	return m->rx_head != m->rx_tail;
}

static void mem_free(struct port *port)
{
	struct mem *m = mem_of(port);

	flat_pool_fini(&m->rx_pool);
	flat_pool_fini(&m->tx_pool);
	free(m);
}

static const struct port_ops mem_ops = {
	.rx_burst = mem_rx_burst,
	.tx = mem_tx,
	.tx_flush = mem_tx_flush,
	.complete = mem_complete,
	.rx_flush = mem_rx_flush,
	.rx_arm = mem_rx_arm,
	.free = mem_free,
};

int mem_open(struct port **out, enum port_role role, const uint8_t mac[6], const char *ip)
{
	struct mem *m = calloc(1, sizeof(*m));
	int err = -ENOMEM;

	if (!m)
		return -ENOMEM;
	m->port.ops = &mem_ops;
	m->port.kind = PORT_MEM;
	m->port.role = role;
	m->port.id = PORT_NONE;
	m->port.generation = 1;
	m->port.link = true;
	m->port.fd = -1;
	m->port.mtu = 1500;
	m->port.reason = "";
	memcpy(m->port.name, "mem", 4);
	memcpy(m->port.mac, mac, 6);
	if (ip) {
		size_t len = strlen(ip);

		err = -EINVAL;
		if (len >= sizeof(m->port.ip))
			goto out;
		memcpy(m->port.ip, ip, len + 1);
	}
	err = flat_pool_init(&m->rx_pool, MEM_BUFFERS);
	if (!err)
		err = flat_pool_init(&m->tx_pool, MEM_QUEUE);
	if (err)
		goto out;
	*out = &m->port;
	return 0;
out:
	mem_free(&m->port);
	return err;
}

int mem_inject(struct port *port, const void *packet, size_t len, const struct frame *meta)
{
	struct mem *m = mem_of(port);
	struct mem_packet p = { .len = (uint32_t)len };

	if (len == 0 || len > FRAME_LEN_MAX)
		return -EINVAL;
	if (m->rx_tail - m->rx_head == MEM_QUEUE)
		return -ENOBUFS;
	p.buf = flat_get(&m->rx_pool);
	if (p.buf == FLAT_NONE)
		return -ENOBUFS; /* the caller holds too many frames */
	if (meta) {
		p.csum = meta->csum;
		p.csum_start = meta->csum_start;
		p.csum_offset = meta->csum_offset;
		p.gso = meta->gso;
		p.gso_size = meta->gso_size;
	}
	memcpy(flat_at(&m->rx_pool, p.buf), packet, len);
	m->rx[m->rx_tail++ % MEM_QUEUE] = p;
	port->ready = true;
	return 0;
}

size_t mem_take(struct port *port, void *packet, size_t size, struct frame *meta)
{
	struct mem *m = mem_of(port);

	while (m->tx_head != m->tx_public) {
		const struct mem_packet *p = &m->tx[m->tx_head++ % MEM_QUEUE];

		if (!p->failed)
			memcpy(packet, flat_at(&m->tx_pool, p->buf), p->len < size ? p->len : size);
		flat_put(&m->tx_pool, p->buf);
		if (p->failed)
			continue;
		if (meta) {
			meta->len = p->len;
			meta->csum = p->csum;
			meta->csum_start = p->csum_start;
			meta->csum_offset = p->csum_offset;
			meta->gso = p->gso;
			meta->gso_size = p->gso_size;
		}
		if (port->tx_blocked)
			port->ready = true;
		return p->len;
	}
	return 0;
}
