// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Frames that the engine made, which engine_take() hands out: from no port, with up
 * to 16 pieces of local memory of odd sizes, many of them in one turn. Through a
 * vif's receive ring and through the uplink's transmit ring; and GSO and partial
 * checksums of IPv6 on the same way out.
 */
#include "tests/fake/rig.h"
#include "tests/unit/uplink_world.h"

#include <errno.h>

#define PIECES 16
#define MANY 100

static uint8_t memory[PIECES * XEN_PAGE], expect[FRAME_LEN_MAX], got[FRAME_LEN_MAX + 64];

/* Lengths that neither end on a word nor on a page, a page and no byte at all. */
static const uint16_t shapes[][PIECES] = {
	{ 1 },
	{ 1, 3, 7, 255, 8, 1, 513, 64, 9, 31, 1, 100, 2, 17, 5, 431 },
	{ 1448 },
	{ 0, 5, 0, 0, 9, 0, 1 },
	{ 4095, 1, 4096, 3 },
	{ 1, 4096, 1, 4096, 1, 4095, 2, 4094, 3, 4093, 4, 7, 9, 11, 13, 15 },
	{ 3800, 3800, 3800, 3800, 3800, 3800, 3800, 3800, 3800, 3800, 3800, 3800, 3800, 3800, 3800,
	  3800 },
};

#define SHAPES (sizeof(shapes) / sizeof(shapes[0]))

/* Fill @f, and expect[] with what has to arrive. Return: its length. */
static uint32_t make(struct frame *f, const uint16_t *lens, uint16_t header_len, bool ipv6)
{
	static unsigned int seed;
	uint32_t at = header_len, from = 0;

	memset(f, 0, sizeof(*f));
	f->in_port = PORT_NONE;
	f->cookie = UINT32_MAX;
	f->header_len = header_len;
	world_fill(f->header, header_len, ++seed);
	f->header[12] = ipv6 ? 0x86 : 0x08;
	f->header[13] = ipv6 ? 0xdd : 0x00;
	memcpy(expect, f->header, header_len);
	for (unsigned int i = 0; i < PIECES; i++) {
		memcpy(expect + at, memory + from, lens[i]);
		f->seg[f->nseg++] = (struct frame_seg){ .local = memory + from, .len = lens[i] };
		from += lens[i];
		at += lens[i];
	}
	f->len = at;
	return at;
}

/* --- to a client ------------------------------------------------------------------ */

static struct rig r;
static struct front a;

static void to_vif(struct port *port, const uint16_t *lens, uint16_t header_len)
{
	struct front_meta meta;
	struct frame f;
	uint32_t len = make(&f, lens, header_len, false);

	CHECK_INT(port->ops->tx(port, &f, r.batch), 0);
	copy_batch_run(r.batch);
	port->ops->tx_flush(port);
	CHECK(!f.copy_failed);
	CHECK_INT(front_recv(&a, got, sizeof(got), &meta, false), (long)len);
	CHECK(memcmp(got, expect, len) == 0);
	CHECK(meta.slots <= 18 && (len > XEN_PAGE || meta.slots == 1));
	CHECK_INT(front_posted(&a), RING_SLOTS);
}

static void test_vif_pieces(void)
{
	struct port *port;

	test_case("vif_sends_frames_of_many_local_pieces");
	rig_start(&r);
	port = rig_plug(&r, &a, 2, NULL);
	if (!CHECK(port && port->link))
		exit(test_end());
	for (size_t i = 0; i < SHAPES; i++) {
		to_vif(port, shapes[i], 34);
		to_vif(port, shapes[i], 62);
		to_vif(port, shapes[i], FRAME_HEADER_MAX);
	}
	CHECK_INT(port->stats.tx_frames, 3 * SHAPES);
	CHECK_INT(port->stats.tx_dropped, 0);
	CHECK_INT(a.bad, 0);
	rig_end(&r);
}

/* The memory to gather small pieces in is bounded; the frames behind do without. */
static void test_vif_many(void)
{
	static struct frame f[MANY];
	struct port *port;
	uint32_t len = 0;

	test_case("vif_sends_more_frames_a_turn_than_it_can_gather");
	rig_start(&r);
	port = rig_plug(&r, &a, 2, NULL);
	if (!CHECK(port && port->link))
		exit(test_end());
	for (unsigned int i = 0; i < MANY; i++) {
		len = make(&f[i], shapes[1], 54, true);
		while (i == MANY / 2 && copy_batch_stage(r.batch, 64))
			;
		CHECK_INT(port->ops->tx(port, &f[i], r.batch), 0);
	}
	CHECK(copy_batch_stage(r.batch, 64) == NULL); /* it had to do without */
	copy_batch_run(r.batch);
	port->ops->tx_flush(port);
	for (unsigned int i = 0; i < MANY; i++) {
		memcpy(expect, f[i].header, f[i].header_len);
		CHECK_INT(front_recv(&a, got, sizeof(got), NULL, false), (long)len);
		CHECK(memcmp(got, expect, len) == 0);
	}
	CHECK_INT(port->stats.tx_frames, MANY);
	CHECK_INT(a.bad, 0);
	rig_end(&r);
}

/* --- to the netvm ----------------------------------------------------------------- */

static void to_uplink(struct world *w, const uint16_t *lens, uint16_t header_len)
{
	struct frame *f = w->frames[0];
	uint32_t len = make(f, lens, header_len, false);
	struct fake_backend_meta meta;

	CHECK_INT(world_tx(w, f), 0);
	CHECK_INT(fake_backend_take(&w->b, got, sizeof(got), &meta, false), (long)len);
	CHECK(memcmp(got, expect, len) == 0);
	CHECK(meta.slots <= 18 && (len > XEN_PAGE || meta.slots == 1));
}

static void test_uplink_pieces(struct world *w)
{
	test_case("uplink_sends_frames_of_many_local_pieces");
	for (size_t i = 0; i < SHAPES; i++) {
		to_uplink(w, shapes[i], 34);
		to_uplink(w, shapes[i], 62);
		to_uplink(w, shapes[i], FRAME_HEADER_MAX);
	}
	CHECK_INT(w->port->stats.tx_frames, 3 * SHAPES);
	CHECK_INT(w->port->stats.tx_dropped, 0);
	CHECK_INT(w->b.errors, 0);
}

/* TCP over IPv6: the type of the extra, and flags that say what Linux expects. */
static void test_uplink_gso6(struct world *w)
{
	struct frame *f = w->frames[0];
	uint32_t len = make(f, shapes[6], 74, true);
	struct fake_backend_meta meta;

	test_case("uplink_sends_gso_of_ipv6");
	f->csum = CSUM_PARTIAL;
	f->gso = GSO_TCPV6;
	f->gso_size = 1428;
	CHECK_INT(world_tx(w, f), 0);
	CHECK_INT(fake_backend_take(&w->b, got, sizeof(got), &meta, false), (long)len);
	CHECK(memcmp(got, expect, len) == 0);
	CHECK_INT(meta.gso_type, RING_GSO_TCPV6);
	CHECK_INT(meta.gso_size, 1428);
	CHECK_INT(meta.flags, RING_TX_CSUM_BLANK | RING_TX_DATA_VALIDATED);
	CHECK_INT(w->port->stats.tx_gso, 1);

	test_case("uplink_leaves_checksums_of_ipv6_to_the_backend");
	len = make(f, shapes[2], 62, true);
	f->csum = CSUM_PARTIAL;
	CHECK_INT(world_tx(w, f), 0);
	CHECK_INT(fake_backend_take(&w->b, got, sizeof(got), &meta, false), (long)len);
	CHECK(memcmp(got, expect, len) == 0);
	CHECK_INT(meta.gso_type, 0);
	CHECK_INT(meta.flags, RING_TX_CSUM_BLANK | RING_TX_DATA_VALIDATED);
}

int main(void)
{
	struct world w;

	world_fill(memory, sizeof(memory), 1);
	test_vif_pieces();
	test_vif_many();
	world_up(&w, NULL);
	test_uplink_pieces(&w);
	world_down(&w);
	world_up(&w, NULL);
	test_uplink_gso6(&w);
	world_down(&w);
	return test_end();
}
