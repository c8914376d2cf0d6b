/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Client ring to netvm ring and back, both ends played by what Linux does: the
 * whole way of a packet but for the engine. Payload goes from page to page; GSO
 * and checksum state arrive as they were sent; a netvm that dies under load takes
 * nothing else down.
 */
#include "tests/fake/fake_backend.h"
#include "tests/fake/rig.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdlib.h>

#define CLIENT 9
#define NETVM 2

static uint8_t data[70000], got[70000];

struct rings {
	struct rig r;
	struct front fr, second;
	struct fake_backend b;
	struct port *vif, *vif2, *up;
};

static void fill(size_t len, unsigned int seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 41 + (i >> 8) * 7 + seed);
}

static void attach(struct rings *x, uint16_t domid)
{
	fake_backend_plug(&x->b, x->r.f, domid, 0, "00:16:3e:5e:6c:01");
	fake_backend_offer(&x->b, &(struct fake_backend_config){ 0 });
	rig_poll(&x->r);
	x->up = rig_port(&x->r, "uplink0");
	if (!x->up || fake_backend_connect(&x->b))
		abort();
	fake_backend_state(&x->b, 4);
	rig_poll(&x->r);
}

static void start(struct rings *x)
{
	memset(x, 0, sizeof(*x));
	rig_start(&x->r);
	x->vif = rig_plug(&x->r, &x->fr, CLIENT, &(struct front_config){ 0 });
	x->vif2 = rig_plug(&x->r, &x->second, CLIENT + 1, &(struct front_config){ 0 });
	attach(x, NETVM);
	if (!x->vif || !x->vif2)
		abort();
}

static void stop(struct rings *x)
{
	rig_stop(&x->r);
	CHECK_INT(fake_use(x->r.f).shared_pages, 0);
	CHECK_INT(fake_use(x->r.f).maps, 0);
	CHECK_INT(fake_use(x->r.f).ports, 0);
	front_disconnect(&x->fr);
	front_disconnect(&x->second);
	rig_end(&x->r);
}

/* A packet of the client's to the netvm. */
static void upload(struct rings *x, size_t len, const uint16_t *split, size_t nsplit, uint8_t gso,
		   unsigned int max_slots)
{
	struct front_packet p = { .data = data, .len = len, .split = split, .nsplit = nsplit,
				  .flags = RING_TX_CSUM_BLANK | RING_TX_DATA_VALIDATED,
				  .gso_type = gso, .gso_size = gso ? 1448 : 0 };
	struct fake_backend_meta meta;

	fill(len, (unsigned int)len);
	CHECK(front_send(&x->fr, &p));
	CHECK_INT(rig_move(&x->r, x->vif, x->up), 1);
	CHECK(fake_backend_take(&x->b, got, sizeof(got), &meta, false) == (long)len);
	CHECK(memcmp(got, data, len) == 0);
	CHECK_INT(meta.flags, RING_TX_CSUM_BLANK | RING_TX_DATA_VALIDATED);
	CHECK_INT(meta.gso_type, gso);
	CHECK_INT(meta.gso_size, gso ? 1448 : 0);
	CHECK(meta.slots <= max_slots);
	front_reap(&x->fr);
	CHECK_INT(front_in_flight(&x->fr), 0);
}

static void download(struct rings *x, size_t len, const uint16_t *split, uint8_t gso)
{
	struct fake_backend_meta in = { .flags = RING_RX_CSUM_BLANK | RING_RX_DATA_VALIDATED,
					.gso_type = gso, .gso_size = gso ? 1428 : 0 };
	struct front_meta out;

	fill(len, (unsigned int)len + 5);
	CHECK(fake_backend_give(&x->b, data, len, &in, split));
	CHECK_INT(rig_move(&x->r, x->up, x->vif), 1);
	CHECK(front_recv(&x->fr, got, sizeof(got), &out, false) == (long)len);
	CHECK(memcmp(got, data, len) == 0);
	CHECK_INT(out.flags & 3, RING_RX_CSUM_BLANK | RING_RX_DATA_VALIDATED);
	CHECK_INT(out.gso_type, gso);
	CHECK_INT(out.gso_size, gso ? 1428 : 0);
	CHECK_INT(fake_backend_posted(&x->b), 256);
}

static void test_both_ways(struct rings *x)
{
	static const uint16_t linux_head[] = { 66 }, tiny[] = { 1, 20, 33, 12, 4 },
		odd[] = { 1514, 1000, 4096, 1, 4000 }, few[] = { 14, 40, 9, 0 };
	static const size_t sizes[] = { 60, 192, 193, 1514, 4096, 4097, 9000, 65226, 65535 };
	size_t i;

	test_case("rings_upload_and_download");
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint8_t gso = sizes[i] > 1514 ? 1 : 0;

		upload(x, sizes[i], NULL, 0, gso, 18);
		if (sizes[i] > 66)
			upload(x, sizes[i], linux_head, 1, gso, 18);
		if (sizes[i] > 192)
			upload(x, sizes[i] > 50000 ? 50000 : sizes[i], odd, 5, gso, 18);
		if (sizes[i] > 70)
			upload(x, sizes[i] > 50000 ? 50000 : sizes[i], tiny, 5, gso, 18);
		download(x, sizes[i], NULL, gso ? 2 : 0);
		download(x, sizes[i] > 60000 ? 60000 : sizes[i], few, gso);
	}
	download(x, 65549, NULL, 1); /* 64 KiB of IP behind an Ethernet header */

	test_case("rings_large_upload_costs_one_copy_a_page");
	{
		uint64_t before = fake_count(x->r.f, FAKE_COPY_OP);

		upload(x, 66 + 15 * 4096, linux_head, 1, 1, 17);
		/* two for the header (66 bytes, and 126 of the next slot), one for
		 * each page of payload */
		CHECK_INT(fake_count(x->r.f, FAKE_COPY_OP) - before, 2 + 15);
	}
	test_case("rings_small_download_costs_one_copy");
	{
		uint64_t before = fake_count(x->r.f, FAKE_COPY_OP);

		download(x, 1514, NULL, 0); /* gathered in memory of our own */
		CHECK_INT(fake_count(x->r.f, FAKE_COPY_OP) - before, 1);
	}
	CHECK_INT(x->b.errors, 0);
	CHECK_INT(x->fr.bad, 0);
	CHECK_INT(x->fr.rx_failed, 0);
	CHECK(x->up->stats.tx_gso > 0 && x->up->stats.rx_gso > 0);
	CHECK(x->vif->stats.tx_gso > 0 && x->vif->stats.rx_gso > 0);
	CHECK_INT(x->up->stats.tx_frames, x->vif->stats.rx_frames);
	CHECK_INT(x->up->stats.rx_frames, x->vif->stats.tx_frames);
}

/* The netvm goes away with packets on their way, and another one comes. */
static void test_netvm_restart(struct rings *x)
{
	struct front_packet p = { .data = data, .len = 9000 };
	unsigned int i, k;

	test_case("hp_uplink_restart_under_load");
	for (i = 0; i < 20; i++) {
		char path[160];

		for (k = 0; k < 5; k++) {
			CHECK(front_send(&x->fr, &p));
			CHECK(fake_backend_give(&x->b, data, 9000, NULL, NULL));
		}
		CHECK_INT(rig_move(&x->r, x->vif, x->up), 5);
		fake_domain_destroy(x->r.f, x->b.domid, -EACCES);
		x->b.connected = false;
		snprintf(path, sizeof(path), "%s/state", x->b.be);
		fake_store_fire(x->r.f, path);
		rig_poll(&x->r);
		CHECK(!x->up->link);
		/* the clients stay connected, and among themselves nothing stops */
		CHECK(x->vif->link && x->vif2->link);
		front_reap(&x->fr);
		CHECK_INT(front_in_flight(&x->fr), 0);
		fill(1000, i);
		CHECK(front_send(&x->fr, &(struct front_packet){ .data = data, .len = 1000 }));
		CHECK_INT(rig_move(&x->r, x->vif, x->vif2), 1);
		CHECK(front_recv(&x->second, got, sizeof(got), NULL, false) == 1000);
		CHECK(memcmp(got, data, 1000) == 0);
		front_reap(&x->fr);
		rig_wait(&x->r, 3000);
		attach(x, (uint16_t)(NETVM + 100 + i));
		CHECK(x->up->link);
		upload(x, 9000, NULL, 0, 1, 18);
		download(x, 9000, NULL, 1);
		CHECK_INT(fake_use(x->r.f).shared_pages, 514);
	}
	CHECK_INT(x->b.errors, 0);
	CHECK_INT(x->fr.bad, 0);
}

/* A client whose grant is bad loses its packet; the neighbours' go through. */
static void test_bad_grant(struct rings *x)
{
	struct ring_tx_req slot[2] = { 0 };
	struct front_buf *buf;
	uint16_t id;

	test_case("hp_361_partial_batch_rings");
	fill(3000, 1);
	buf = front_buf(&x->fr, &id);
	if (!CHECK(buf != NULL))
		return;
	buf->busy = true;
	slot[0] = (struct ring_tx_req){ .gref = buf->gref, .id = id, .size = 3000,
					.flags = RING_MORE_DATA };
	slot[1] = (struct ring_tx_req){ .gref = 0xbad, .id = id, .size = 1000 };
	front_raw(&x->fr, slot, 2);
	CHECK(front_send(&x->fr, &(struct front_packet){ .data = data, .len = 3000 }));
	CHECK_INT(rig_move(&x->r, x->vif, x->up), 2);
	CHECK_INT(fake_backend_take(&x->b, got, sizeof(got), NULL, false), 3000);
	CHECK(memcmp(got, data, 3000) == 0);
	CHECK_INT(fake_backend_take(&x->b, got, sizeof(got), NULL, false), 0);
	CHECK_INT(x->b.errors, 0);
	CHECK(x->vif->link);
}

int main(void)
{
	static struct rings x;

	start(&x);
	test_both_ways(&x);
	test_netvm_restart(&x);
	test_bad_grant(&x);
	stop(&x);
	return test_end();
}
