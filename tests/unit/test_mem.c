/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The mem port, and with it the buffers of flat.c. */
#include "netback/copy.h"
#include "netback/flat.h"
#include "netback/netback.h"
#include "tests/fake/fake.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdlib.h>

static const uint8_t mac[6] = { 0, 0x16, 0x3e, 1, 2, 3 };
static uint8_t packet[FRAME_LEN_MAX], taken[FRAME_LEN_MAX];
static struct frame frame_store[300];
static struct frame *frames[300];
static struct fake *fake;
static struct copy_batch *batch;

static void fill(uint8_t *p, size_t len, unsigned int seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 31 + (i >> 8) + seed);
}

static struct port *open_mem(void)
{
	struct port *port = NULL;

	CHECK_INT(mem_open(&port, PORT_ROLE_CLIENT, mac, "10.137.0.5"), 0);
	return port;
}

/* One frame from mem to mem: bytes, lengths and meta survive. */
static void through(struct port *in, struct port *out, size_t len)
{
	struct frame meta = { .csum = CSUM_PARTIAL, .csum_start = 34, .csum_offset = 16,
			      .gso = len > 1514 ? GSO_TCPV4 : GSO_NONE,
			      .gso_size = len > 1514 ? 1448 : 0 };
	struct frame got, *f;

	fill(packet, len, (unsigned int)len);
	if (!CHECK(mem_inject(in, packet, len, &meta) == 0) ||
	    !CHECK(in->ops->rx_burst(in, frames, 8, batch) == 1))
		return;
	f = frames[0];
	CHECK_INT(f->len, len);
	CHECK_INT(f->header_len, len < FRAME_HEADER_COPY ? len : FRAME_HEADER_COPY);
	CHECK_INT(f->nseg, len > FRAME_HEADER_COPY);
	CHECK_INT(f->gso_size, meta.gso_size);
	CHECK_INT(f->csum_start, 34);
	f->header[0] ^= 0xff; /* the engine rewrites the private copy only */
	CHECK_INT(out->ops->tx(out, f, batch), 0);
	CHECK_INT(mem_take(out, taken, sizeof(taken), NULL), 0); /* not published */
	copy_batch_run(batch);
	out->ops->tx_flush(out);
	in->ops->complete(in, f, true);
	in->ops->rx_flush(in);
	CHECK_INT(mem_take(out, taken, sizeof(taken), &got), len);
	packet[0] ^= 0xff;
	CHECK(memcmp(packet, taken, len) == 0);
	CHECK_INT(got.csum, CSUM_PARTIAL);
	CHECK_INT(got.gso, meta.gso);
	CHECK_INT(got.gso_size, meta.gso_size);
	CHECK_INT(mem_take(out, taken, sizeof(taken), &got), 0);
}

static void test_sizes(void)
{
	static const size_t sizes[] = { 14, 60, 191, 192, 193, 1514, 4096, 65549, FRAME_LEN_MAX };
	struct port *in = open_mem(), *out = open_mem();
	size_t i;

	test_case("mem_forwards_every_size");
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		through(in, out, sizes[i]);
	CHECK_INT(in->stats.rx_frames, 9);
	CHECK_INT(out->stats.tx_frames, 9);
	CHECK_INT(out->stats.tx_gso, 3);
	CHECK_INT(out->stats.tx_partial, 9);
	CHECK_INT(in->stats.rx_bytes, out->stats.tx_bytes);
	in->ops->free(in);
	out->ops->free(out);
}

static void test_bounds(void)
{
	struct port *in = open_mem(), *out = open_mem();
	size_t i, k;

	test_case("mem_queues_are_bounded");
	fill(packet, 300, 0);
	for (i = 0; i < 256; i++)
		CHECK_INT(mem_inject(in, packet, 300, NULL), 0);
	CHECK_INT(mem_inject(in, packet, 300, NULL), -ENOBUFS);
	CHECK(in->ready);
	CHECK(in->ops->rx_arm(in));
	CHECK_INT(mem_inject(out, packet, 0, NULL), -EINVAL);
	CHECK_INT(mem_inject(out, packet, FRAME_LEN_MAX + 1u, NULL), -EINVAL);
	k = in->ops->rx_burst(in, frames, 300, batch);
	CHECK_INT(k, 256);
	CHECK(!in->ops->rx_arm(in));
	for (i = 0; i < k; i++)
		CHECK_INT(out->ops->tx(out, frames[i], batch), 0);
	CHECK_INT(out->ops->tx(out, frames[0], batch), -EAGAIN);
	out->ops->tx_flush(out);
	/* the frames' buffers are in use: as many again can come, no more */
	for (i = 0; i < 256; i++)
		CHECK_INT(mem_inject(in, packet, 300, NULL), 0);
	CHECK_INT(in->ops->rx_burst(in, frames + 256, 1, batch), 1);
	CHECK_INT(mem_inject(in, packet, 300, NULL), -ENOBUFS);
	for (i = 0; i < k; i++)
		in->ops->complete(in, frames[i], true);
	CHECK_INT(mem_inject(in, packet, 300, NULL), 0);
	for (i = 0; i < 256; i++)
		CHECK_INT(mem_take(out, taken, sizeof(taken), NULL), 300);
	CHECK_INT(out->ops->tx(out, frames[256], batch), 0);
	in->ops->free(in);
	out->ops->free(out);
}

/* A frame whose payload lies in another domain's pages. */
static void test_granted(void)
{
	struct port *out = open_mem();
	uint8_t *page = fake_page_new(fake);
	uint32_t gref = fake_grant(fake, 7, page, true);
	struct frame *f = frames[0];

	test_case("mem_copies_granted_pages");
	fill(page, XEN_PAGE, 9);
	memset(f, 0, sizeof(*f));
	fill(f->header, 60, 1);
	f->header_len = 60;
	f->domid = 7;
	f->nseg = 2;
	f->seg[0] = (struct frame_seg){ .gref = gref, .off = 96, .len = 4000 };
	f->seg[1] = (struct frame_seg){ .local = packet, .len = 10 };
	f->len = 4070;
	fill(packet, 10, 77);
	CHECK_INT(out->ops->tx(out, f, batch), 0);
	copy_batch_run(batch);
	out->ops->tx_flush(out);
	CHECK_INT(mem_take(out, taken, sizeof(taken), NULL), 4070);
	CHECK(memcmp(taken, f->header, 60) == 0);
	CHECK(memcmp(taken + 60, page + 96, 4000) == 0);
	CHECK(memcmp(taken + 4060, packet, 10) == 0);

	test_case("hp_361_partial_batch_mem"); /* a failed copy drops its frame only */
	*frames[1] = *f;
	*frames[2] = *f;
	frames[1]->seg[0].gref = 0xdead;
	CHECK_INT(out->ops->tx(out, f, batch), 0);
	CHECK_INT(out->ops->tx(out, frames[1], batch), 0);
	CHECK_INT(out->ops->tx(out, frames[2], batch), 0);
	copy_batch_run(batch);
	out->ops->tx_flush(out);
	CHECK_INT(mem_take(out, taken, sizeof(taken), NULL), 4070);
	CHECK_INT(mem_take(out, taken, sizeof(taken), NULL), 4070);
	CHECK_INT(mem_take(out, taken, sizeof(taken), NULL), 0);
	CHECK(!f->copy_failed && frames[1]->copy_failed && !frames[2]->copy_failed);
	CHECK_INT(out->stats.tx_dropped, 1);
	CHECK_INT(out->stats.tx_frames, 3);
	fake_revoke(fake, 7, gref);
	out->ops->free(out);
}

static void test_bad_frames(void)
{
	struct port *out = open_mem();
	struct frame *f = frames[0];
	unsigned int i;

	test_case("frame_check_refuses_wrong_lengths");
	for (i = 0; i < 8; i++) {
		memset(f, 0, sizeof(*f));
		f->header_len = 60;
		f->len = 160;
		f->nseg = 1;
		f->seg[0] = (struct frame_seg){ .local = packet, .len = 100 };
		if (i == 0)
			f->len = 161;
		else if (i == 1)
			f->nseg = FRAME_SEG_MAX + 1;
		else if (i == 2)
			f->header_len = FRAME_HEADER_MAX + 1;
		else if (i == 3)
			f->seg[0] = (struct frame_seg){ .off = 4000, .len = 100 };
		else if (i == 4)
			f->seg[0].len = UINT32_MAX;
		else if (i == 5)
			f->gso = GSO_TCPV4; /* without partial checksum and size */
		else if (i == 6)
			f->len = f->header_len = f->nseg = 0;
		CHECK_INT(frame_check(f), i == 7 ? 0 : -EINVAL);
		CHECK_INT(out->ops->tx(out, f, batch), i == 7 ? 0 : -EINVAL);
	}
	CHECK_INT(out->stats.tx_dropped, 7);
	out->ops->free(out);
}

int main(void)
{
	size_t i;

	for (i = 0; i < 300; i++)
		frames[i] = &frame_store[i];
	if (fake_new(&fake, 5) || copy_batch_new(&batch, fake_xen(fake)))
		return 1;
	test_sizes();
	test_bounds();
	test_granted();
	test_bad_frames();
	copy_batch_free(&batch);
	fake_free(&fake);
	return test_end();
}
