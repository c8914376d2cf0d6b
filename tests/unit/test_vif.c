// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Packets through two vifs of a fake Xen: from one scripted frontend to another,
 * in every shape that a ring allows, at the wrap of the indices, with each copy
 * failing once; and chains that no driver makes.
 */
#include "tests/fake/rig.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdlib.h>

#define PACKET_MAX 65535

static uint8_t packet[PACKET_MAX], got[PACKET_MAX + 64];

static void make_packet(size_t len, uint8_t seed)
{
	for (size_t i = 0; i < len; i++)
		packet[i] = (uint8_t)(i * 31 + (i >> 8) + seed);
	if (len >= 14) { /* IPv4, so that features are those of IPv4 */
		packet[12] = 0x08;
		packet[13] = 0x00;
	}
}

struct pair {
	struct rig r;
	struct front a, b;
	struct port *pa, *pb;
};

static struct pair p;

static void begin(const struct front_config *ca, const struct front_config *cb)
{
	rig_start(&p.r);
	p.pa = rig_plug(&p.r, &p.a, 2, ca);
	p.pb = rig_plug(&p.r, &p.b, 3, cb);
	if (!CHECK(p.pa && p.pb && p.pa->link && p.pb->link))
		exit(test_end());
}

static void end(void)
{
	CHECK_INT(p.a.bad, 0);
	CHECK_INT(p.b.bad, 0);
	rig_end(&p.r);
}

/* Send one packet from a to b and compare it and all accounts. */
static void forward_one(const struct front_packet *fp, struct front_meta *meta)
{
	struct front_meta m = {0};
	unsigned int okay = p.a.tx_okay;
	long len;

	if (!CHECK(front_send(&p.a, fp)))
		return;
	CHECK_INT(rig_move(&p.r, p.pa, p.pb), 1);
	front_reap(&p.a);
	CHECK_INT(front_in_flight(&p.a), 0);
	CHECK(p.a.tx_okay > okay);
	len = front_recv(&p.b, got, sizeof(got), &m, false);
	CHECK_INT(len, (long)fp->len);
	CHECK(len > 0 && memcmp(got, fp->data, (size_t)len) == 0);
	CHECK_INT(front_posted(&p.b), RING_SLOTS);
	CHECK(!p.pa->ops->rx_arm(p.pa));
	CHECK(!p.pb->ops->rx_arm(p.pb));
	if (meta)
		*meta = m;
}

/* --- shapes ------------------------------------------------------------------------ */
static void test_sizes(void)
{
	static const size_t sizes[] = {14,   60,   191,	 192,  193,   255,   256,   257,  1514,
				       4095, 4096, 4097, 8191, 8192, 8193, 40000, 65535};

	test_case("every size arrives whole");
	begin(NULL, NULL);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct front_packet fp = {.data = packet, .len = sizes[i]};
		struct front_meta m;

		make_packet(sizes[i], (uint8_t)i);
		forward_one(&fp, &m);
		CHECK(m.slots <= 18);
		CHECK_INT(m.extras, 0);
		CHECK_INT(m.flags & (RING_RX_CSUM_BLANK | RING_RX_DATA_VALIDATED), 0);
	}
	CHECK_INT(p.pa->stats.rx_frames, sizeof(sizes) / sizeof(sizes[0]));
	CHECK_INT(p.pb->stats.tx_frames, sizeof(sizes) / sizeof(sizes[0]));
	CHECK_INT(p.pa->stats.rx_bytes, p.pb->stats.tx_bytes);
	end();
}

/* hp_423_tiny_header_slots, hp_432_gather_bound: headers in one-byte slots. */
static void test_tiny_slots(void)
{
	uint16_t split[19];

	test_case("hp_423_tiny_header_slots");
	begin(NULL, NULL);
	for (uint16_t first = 0; first <= 64; first++) {
		struct front_packet fp = {.data = packet, .len = 600, .split = split};
		struct front_meta m;

		make_packet(fp.len, (uint8_t)first);
		fp.nsplit = 18;
		for (size_t i = 0; i < 18; i++)
			split[i] = i == 0 ? first : 1 + first % 9;
		forward_one(&fp, &m);
	}
	test_case("hp_432_gather_bound: the most copies that a header needs");
	for (size_t i = 0; i < 19; i++)
		split[i] = 10;
	make_packet(190, 9);
	forward_one(&(struct front_packet){
			    .data = packet, .len = 190, .split = split, .nsplit = 19},
		    NULL);
	end();
}

/* hp_448_zero_fragment: in every place of a chain of five. */
static void test_zero_fragments(void)
{
	test_case("hp_448_zero_fragment");
	begin(NULL, NULL);
	for (size_t zero = 0; zero < 5; zero++) {
		uint16_t split[5] = {300, 300, 300, 300, 300};
		struct front_packet fp = {.data = packet, .len = 1200, .split = split, .nsplit = 5};

		split[zero] = 0;
		make_packet(fp.len, (uint8_t)zero);
		forward_one(&fp, NULL);
	}
	end();
}

static void test_offsets(void)
{
	test_case("the first slot may begin anywhere in its page");
	begin(NULL, NULL);
	for (uint16_t off = 0; off < 4096; off = (uint16_t)(off + 97)) {
		struct front_packet fp = {.data = packet, .len = 3000, .offset = off};

		make_packet(fp.len, (uint8_t)off);
		forward_one(&fp, NULL);
	}
	end();
}

/* Slots as Linux makes them for a 64 KiB segment: 19 of them at most. */
static void test_gso(void)
{
	static const struct {
		uint8_t type;
		uint16_t ethertype;
	} kinds[] = {{RING_GSO_TCPV4, 0x0800}, {RING_GSO_TCPV6, 0x86dd}};
	uint16_t split[1] = {66};

	test_case("GSO and partial checksums pass through, both types");
	begin(NULL, NULL);
	for (size_t k = 0; k < 2; k++) {
		struct front_packet fp = {.data = packet,
					  .len = 65535,
					  .flags = RING_TX_CSUM_BLANK | RING_TX_DATA_VALIDATED,
					  .gso_type = kinds[k].type,
					  .gso_size = 1448,
					  .split = split,
					  .nsplit = 1};
		struct front_meta m;

		make_packet(fp.len, 5);
		packet[12] = (uint8_t)(kinds[k].ethertype >> 8);
		packet[13] = (uint8_t)kinds[k].ethertype;
		forward_one(&fp, &m);
		CHECK_INT(m.gso_type, kinds[k].type);
		CHECK_INT(m.gso_size, 1448);
		CHECK_INT(m.extras, 1);
		CHECK(m.slots <= 18);
		CHECK_INT(m.flags & 3, RING_RX_CSUM_BLANK | RING_RX_DATA_VALIDATED);
	}
	CHECK_INT(p.a.tx_null, 2); /* one for each extra */
	CHECK_INT(p.pa->stats.rx_gso, 2);
	CHECK_INT(p.pa->stats.rx_partial, 2);
	CHECK_INT(p.pb->stats.tx_gso, 2);
	CHECK_INT(p.pb->stats.tx_partial, 2);

	test_case("GSO implies a partial checksum");
	make_packet(9000, 1);
	struct front_meta m;
	forward_one(&(struct front_packet){.data = packet, .len = 9000, .gso_type = RING_GSO_TCPV4,
					   .gso_size = 1000}, &m);
	CHECK_INT(m.flags & 3, RING_RX_CSUM_BLANK | RING_RX_DATA_VALIDATED);

	test_case("flags of checksums: bits swapped between the rings");
	make_packet(500, 2);
	forward_one(&(struct front_packet){.data = packet, .len = 500,
					   .flags = RING_TX_DATA_VALIDATED}, &m);
	CHECK_INT(m.flags & 3, RING_RX_DATA_VALIDATED);
	forward_one(&(struct front_packet){.data = packet, .len = 500, .flags = RING_TX_CSUM_BLANK},
		    &m);
	CHECK_INT(m.flags & 3, RING_RX_CSUM_BLANK | RING_RX_DATA_VALIDATED);
	end();
}

/* One op a segment, plus the header's: what the whole-segment layout is for. */
static void test_op_count(void)
{
	uint16_t split[1] = {66};
	uint64_t before;

	test_case("a 64 KiB frame of a Linux guest takes one op a slot and two more");
	begin(NULL, NULL);
	make_packet(65535, 3);
	before = copy_batch_stats(p.r.batch)->ops;
	forward_one(&(struct front_packet){
			    .data = packet, .len = 65535, .split = split, .nsplit = 1},
		    NULL);
	/* 17 slots: 2 gather the header, 1 writes it, 16 payload pieces */
	CHECK(copy_batch_stats(p.r.batch)->ops - before <= 20);
	end();
}

static void test_wrap(void)
{
	struct front_config c = {.start_index = 0xffffff80};

	test_case("indices wrap in both rings");
	begin(&c, &c);
	for (unsigned int i = 0; i < 600; i++) {
		size_t len = 60 + i * 37 % 9000;

		make_packet(len, (uint8_t)i);
		forward_one(&(struct front_packet){.data = packet, .len = len,
						   .gso_type = i % 3 ? 0 : RING_GSO_TCPV4,
						   .gso_size = 1000}, NULL);
	}
	CHECK(p.a.tx.req_prod < 0xffffff80); /* it did wrap */
	end();
}

static void test_full_ring(void)
{
	unsigned int sent = 0, taken;

	test_case("a full ring at once: 64 a burst, in order");
	begin(NULL, NULL);
	while (1) {
		make_packet(100, (uint8_t)sent);
		if (!front_send(&p.a, &(struct front_packet){.data = packet, .len = 100}))
			break;
		sent++;
	}
	CHECK_INT(sent, RING_SLOTS);
	for (unsigned int done = 0; done < sent; done += taken) {
		taken = rig_move(&p.r, p.pa, p.pb);
		if (!CHECK(taken == 64))
			break;
		CHECK(p.pa->ops->rx_arm(p.pa) == (done + taken < sent));
	}
	front_reap(&p.a);
	CHECK_INT(p.a.tx_okay, sent);
	for (unsigned int i = 0; i < sent; i++) {
		make_packet(100, (uint8_t)i);
		CHECK_INT(front_recv(&p.b, got, sizeof(got), NULL, true), 100);
		CHECK_INT(memcmp(got, packet, 100), 0);
	}
	/* all 256 buffers are used: the next frame has to wait */
	make_packet(100, 1);
	front_send(&p.a, &(struct front_packet){.data = packet, .len = 100});
	struct frame f, *fs = &f;
	CHECK_INT(p.pa->ops->rx_burst(p.pa, &fs, 1, p.r.batch), 1);
	copy_batch_run(p.r.batch);
	CHECK_INT(p.pb->ops->tx(p.pb, &f, p.r.batch), -EAGAIN);
	p.pb->tx_blocked = true;
	CHECK(!p.pb->ops->rx_arm(p.pb));
	p.pb->ready = false;
	front_post(&p.b, 1);
	netback_poll_events(p.r.nb);
	CHECK(p.pb->ready); /* the refill kicked, as req_event was armed for it */
	CHECK(p.pb->ops->rx_arm(p.pb));
	CHECK_INT(p.pb->ops->tx(p.pb, &f, p.r.batch), 0);
	p.pb->tx_blocked = false;
	copy_batch_run(p.r.batch);
	p.pb->ops->tx_flush(p.pb);
	p.pa->ops->complete(p.pa, &f, true);
	p.pa->ops->rx_flush(p.pa);
	CHECK_INT(front_recv(&p.b, got, sizeof(got), NULL, true), 100);
	end();
}

/* A packet is not started without room for all of it, extra included. */
static void test_exact_room(void)
{
	struct front_config c = {.rx_post = 2};
	struct frame f, *fs = &f;

	test_case("data and extra slots are needed before a packet starts");
	begin(NULL, &c);
	make_packet(5000, 1);
	front_send(&p.a, &(struct front_packet){.data = packet, .len = 5000,
						.flags = RING_TX_CSUM_BLANK,
						.gso_type = RING_GSO_TCPV4, .gso_size = 1448});
	CHECK_INT(p.pa->ops->rx_burst(p.pa, &fs, 1, p.r.batch), 1);
	copy_batch_run(p.r.batch);
	CHECK_INT(p.pb->ops->tx(p.pb, &f, p.r.batch), -EAGAIN);
	p.pb->tx_blocked = true;
	CHECK(!p.pb->ops->rx_arm(p.pb));
	CHECK_INT(front_recv(&p.b, got, sizeof(got), NULL, true), 0);
	front_post(&p.b, 1);
	CHECK_INT(p.pb->ops->tx(p.pb, &f, p.r.batch), 0);
	copy_batch_run(p.r.batch);
	p.pb->ops->tx_flush(p.pb);
	CHECK_INT(front_recv(&p.b, got, sizeof(got), NULL, true), 5000);
	CHECK_INT(front_posted(&p.b), 0);
	end();
}

/* --- a frontend that lacks something: see also test_convert_rings.c ------------------ */
static void test_single_channel(void)
{
	struct front_config c = {.single_channel = true};

	test_case("one event channel for both rings");
	begin(&c, &c);
	CHECK_INT(fake_use(p.r.f).ports, 2);
	make_packet(2000, 1);
	forward_one(&(struct front_packet){.data = packet, .len = 2000}, NULL);
	end();
}

/* Without feature-rx-notify no event says that there is room; whoever waits tries
 * again (forward_turn() does, at least every 5 ms), and that is enough. */
static void test_no_rx_notify(void)
{
	struct front_config c = {.no_rx_notify = true, .rx_post = 1};
	struct frame f, *fs = &f;

	test_case("a frontend that does not kick on refill is tried again");
	begin(NULL, &c);
	make_packet(9000, 1);
	front_send(&p.a, &(struct front_packet){.data = packet, .len = 9000});
	CHECK_INT(p.pa->ops->rx_burst(p.pa, &fs, 1, p.r.batch), 1);
	copy_batch_run(p.r.batch);
	CHECK_INT(p.pb->ops->tx(p.pb, &f, p.r.batch), -EAGAIN);
	front_post(&p.b, 2);
	CHECK_INT(p.pb->ops->tx(p.pb, &f, p.r.batch), 0);
	copy_batch_run(p.r.batch);
	end();
}

/* --- local memory and broken descriptors ------------------------------------------------- */
static void test_local_segments(void)
{
	static uint8_t payload[20000];
	struct frame f = {.len = 14 + 20000, .header_len = 14, .nseg = 1};

	test_case("a segment of local memory is split over slots");
	begin(NULL, NULL);
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 3);
	memset(f.header, 0xab, 14);
	f.seg[0] = (struct frame_seg){.local = payload, .len = 20000};
	CHECK_INT(p.pb->ops->tx(p.pb, &f, p.r.batch), 0);
	copy_batch_run(p.r.batch);
	p.pb->ops->tx_flush(p.pb);
	CHECK_INT(front_recv(&p.b, got, sizeof(got), NULL, false), 20014);
	CHECK(got[0] == 0xab && memcmp(got + 14, payload, 20000) == 0);

	test_case("a descriptor that does not add up is refused");
	f.len = 20015;
	CHECK_INT(p.pb->ops->tx(p.pb, &f, p.r.batch), -EINVAL);
	f.len = 20014;
	f.nseg = FRAME_SEG_MAX + 1;
	CHECK_INT(p.pb->ops->tx(p.pb, &f, p.r.batch), -EINVAL);
	f.nseg = 1;
	f.seg[0].len = UINT32_MAX;
	CHECK_INT(p.pb->ops->tx(p.pb, &f, p.r.batch), -EINVAL);
	end();
}

/* 19 slots of a sender are one too many for a receiver: packed densely. */
static void test_repack(void)
{
	uint16_t split[19];
	struct front_meta m;

	test_case("more pieces than a receiver takes are repacked");
	begin(NULL, NULL);
	for (size_t i = 0; i < 19; i++)
		split[i] = 3000;
	make_packet(57000, 8);
	forward_one(&(struct front_packet){.data = packet, .len = 57000, .split = split,
					   .nsplit = 19}, &m);
	CHECK_INT(m.slots, (57000 + 4095) / 4096);
	end();
}

/* --- faults --------------------------------------------------------------------------------- */
/* hp_copy_fault_injection, hp_361_partial_batch: each op of a turn fails once. */
static void test_copy_faults(void)
{
	enum { N = 3 };
	uint16_t split[3] = {100, 100, 3000};
	uint32_t bad;
	bool more = true;

	test_case("hp_361_partial_batch: every copy of a turn fails once");
	for (bad = 1; more && bad < 200; bad++) {
		unsigned int received = 0;
		long len;
		uint64_t failed;

		begin(NULL, NULL);
		for (uint8_t i = 0; i < N; i++) {
			make_packet(5000, i);
			front_send(&p.a, &(struct front_packet){.data = packet, .len = 5000,
								.gso_type = RING_GSO_TCPV4,
								.gso_size = 1448, .split = split,
								.nsplit = 3});
		}
		fake_fail(p.r.f, FAKE_COPY_OP, bad, 1, FAKE_GNTST_BAD_GREF);
		CHECK_INT(rig_move(&p.r, p.pa, p.pb), N);
		front_reap(&p.a);
		failed = copy_batch_stats(p.r.batch)->failed;
		more = failed == 1;
		CHECK_INT(front_in_flight(&p.a), 0);
		CHECK_INT(p.a.tx_okay + p.a.tx_error, N * 4); /* 4 data slots each */
		CHECK_INT(p.a.tx_null, N);
		CHECK_INT(p.a.tx_error, more ? 4 : 0);
		while ((len = front_recv(&p.b, got, sizeof(got), NULL, false)) != 0)
			if (len > 0) {
				CHECK_INT(len, 5000);
				make_packet(5000, (uint8_t)(got[0]));
				CHECK_INT(memcmp(got, packet, 5000), 0);
				received++;
			}
		CHECK_INT(received, more ? N - 1 : N);
		CHECK_INT(front_posted(&p.b), RING_SLOTS); /* hp_457_rx_accounting */
		CHECK(p.pa->link && p.pb->link);
		end();
	}
	CHECK_INT(bad, 20); /* 18 copies in the turn, each failed once */
}

/* --- chains that are not packets ------------------------------------------------------------- */
enum expect { PASS, DROP, KILL };

struct bad_case {
	const char *name;
	struct ring_tx_req slot[24];
	size_t n;
	enum expect expect;
	size_t unpublished; /* slots at the end that are not pushed yet */
};

#define REQ(size_, flags_) {.size = (size_), .flags = (flags_), .gref = 1}

static void extra_at(struct ring_tx_req *slot, struct ring_extra e)
{
	memset(slot, 0, sizeof(*slot));
	memcpy(slot, &e, sizeof(e));
}

/* Everything but bad_case.slot's grefs and ids, which are filled in here. */
static void run_bad(struct bad_case *c, const bool *is_extra)
{
	unsigned int frames;

	test_case(c->name);
	begin(NULL, NULL);
	for (size_t i = 0; i < c->n; i++) {
		struct front_buf *b;

		if (is_extra && is_extra[i])
			continue;
		b = front_buf(&p.a, &c->slot[i].id);
		b->busy = true;
		c->slot[i].gref = b->gref;
	}
	front_raw(&p.a, c->slot, c->n - c->unpublished);
	frames = rig_move(&p.r, p.pa, p.pb);
	CHECK_INT(frames, c->expect == PASS);
	p.pa->ops->rx_arm(p.pa);
	front_reap(&p.a);
	CHECK_INT(p.pa->link, c->expect != KILL);
	CHECK_INT(p.pa->stats.violations, c->expect == KILL);
	CHECK(p.pb->link); /* the neighbour never notices */
	if (c->expect == KILL) {
		CHECK_INT(netback_deadline(p.r.nb), 0);
		rig_poll(&p.r);
		CHECK_INT(front_be_state(&p.a), 6);
		CHECK_INT(fake_use(p.r.f).maps, 2); /* the neighbour's */
	} else {
		CHECK_INT(front_in_flight(&p.a), 0);
		CHECK_INT(c->expect == DROP ? p.a.tx_error > 0 : p.a.tx_error == 0, 1);
		CHECK_INT(front_recv(&p.b, got, sizeof(got), NULL, false) > 0, c->expect == PASS);
		make_packet(100, 1);
		forward_one(&(struct front_packet){.data = packet, .len = 100}, NULL);
	}
	make_packet(80, 3);
	CHECK(front_send(&p.b, &(struct front_packet){.data = packet, .len = 80}));
	CHECK_INT(rig_move(&p.r, p.pb, NULL), 1);
	end();
}

static void test_chain_lengths(void)
{
	static const struct {
		size_t slots;
		enum expect expect;
		const char *name;
	} cases[] = {
		{19, PASS, "X2.8_18_additional_slots_pass"},
		{20, DROP, "X2.8_19_additional_slots_are_dropped"},
		{21, DROP, "X2.8_20_additional_slots_are_dropped"},
		{22, KILL, "X2.9_21_additional_slots_kill"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bad_case c = {.name = cases[i].name, .n = cases[i].slots,
				     .expect = cases[i].expect};

		for (size_t k = 0; k < c.n; k++)
			c.slot[k] = (struct ring_tx_req)REQ(k ? 100 : (uint16_t)(100 * c.n),
							    k + 1 < c.n ? RING_MORE_DATA : 0);
		run_bad(&c, NULL);
	}
}

static void test_bad_slots(void)
{
	struct bad_case cases[] = {
		{"X2.11_total_below_an_ethernet_header", {REQ(13, 0)}, 1, DROP, 0},
		{"X2.11_total_of_14_is_a_packet", {REQ(14, 0)}, 1, PASS, 0},
		{"X2.11_nothing_at_all", {REQ(0, 0)}, 1, DROP, 0},
		{"X2.7_first_slot_over_its_page", {{.size = 100, .offset = 4000}}, 1, KILL, 0},
		{"X2.7_first_slot_at_65535", {{.size = 65535, .offset = 65535}}, 1, KILL, 0},
		{"X2.7_later_slot_over_its_page",
		 {REQ(200, RING_MORE_DATA), {.size = 100, .offset = 4090}}, 2, KILL, 0},
		{"X2.10_later_size_over_what_is_left",
		 {REQ(100, RING_MORE_DATA), REQ(101, 0)}, 2, DROP, 0},
		{"X2.5_more_data_and_no_slot_behind", {REQ(200, RING_MORE_DATA)}, 1, KILL, 0},
		{"hp_155_double_fetch: half a packet published",
		 {REQ(200, RING_MORE_DATA), REQ(100, 0)}, 2, KILL, 1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		run_bad(&cases[i], NULL);
}

static void test_bad_extras(void)
{
	static const bool second[] = {false, true, true, false};
	static const struct {
		const char *name;
		struct ring_extra e;
		enum expect expect;
	} cases[] = {
		{"X2.6_extra_of_type_0", {.type = 0}, KILL},
		{"X2.6_extra_of_type_6", {.type = 6}, KILL},
		{"X2.6_extra_of_type_255", {.type = 255}, KILL},
		{"X2.6_gso_of_size_0", {.type = 1, .gso_type = 1, .gso_size = 0}, KILL},
		{"X2.6_gso_of_type_0", {.type = 1, .gso_type = 0, .gso_size = 1000}, KILL},
		{"X2.6_gso_of_type_3", {.type = 1, .gso_type = 3, .gso_size = 1000}, KILL},
		{"X4.1_gso_is_accepted", {.type = 1, .gso_type = 1, .gso_size = 1000}, PASS},
		{"hp_270_ctrl_ring_not_offered: hash ignored", {.type = 4}, PASS},
		{"X4.1_xdp_headroom_is_ignored", {.type = 5}, PASS},
		{"X4.1_multicast_add_is_answered_and_no_packet", {.type = 2}, DROP},
		{"X4.1_multicast_del_is_answered_and_no_packet", {.type = 3}, DROP},
		{"X2.6_a_second_extra_promised_none_there",
		 {.type = 1, .gso_type = 1, .gso_size = 1000, .flags = RING_EXTRA_MORE}, KILL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bad_case c = {.name = cases[i].name, .n = 2, .expect = cases[i].expect,
				     .slot = {REQ(200, RING_EXTRA_INFO)}};

		extra_at(&c.slot[1], cases[i].e);
		run_bad(&c, second);
	}
	struct bad_case missing = {"X2.6_extra_promised_none_there", {REQ(200, RING_EXTRA_INFO)}, 1,
				   KILL, 0};
	run_bad(&missing, NULL);
}

static void test_bad_producer(void)
{
	static const uint32_t off[] = {257, 300, 0x80000000u, 0xffffffffu};

	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
		test_case("hp_039_ring_garbage: transmit producer");
		begin(NULL, NULL);
		ring_store(p.a.tx.page, RING_W_REQ_PROD, off[i]);
		CHECK_INT(rig_move(&p.r, p.pa, p.pb), 0);
		CHECK(!p.pa->link && p.pb->link);
		rig_poll(&p.r);
		CHECK_INT(front_be_state(&p.a), 6);
		p.a.bad = 0;
		end();

		test_case("hp_039_ring_garbage: receive producer");
		begin(NULL, NULL);
		ring_store(p.b.rx.page, RING_W_REQ_PROD, off[i]);
		make_packet(100, 1);
		front_send(&p.a, &(struct front_packet){.data = packet, .len = 100});
		CHECK_INT(rig_move(&p.r, p.pa, p.pb), 1);
		CHECK(p.pa->link && !p.pb->link);
		front_reap(&p.a);
		CHECK_INT(front_in_flight(&p.a), 0);
		end();
	}
}

/* Notifications: once a flush, and only when the peer asked. */
static void test_notifications(void)
{
	test_case("one notification a turn, none while the peer does not ask");
	begin(NULL, NULL);
	fake_port_taken(p.r.f, 2, p.a.tx_port);
	fake_port_taken(p.r.f, 3, p.b.rx_port);
	for (uint8_t i = 0; i < 20; i++) {
		make_packet(100, i);
		front_send(&p.a, &(struct front_packet){.data = packet, .len = 100});
	}
	CHECK_INT(rig_move(&p.r, p.pa, p.pb), 20);
	CHECK_INT(fake_port_taken(p.r.f, 2, p.a.tx_port), 1);
	CHECK_INT(fake_port_taken(p.r.f, 3, p.b.rx_port), 1);
	CHECK_INT(p.pa->stats.notify_sent, 1);
	/* nobody reaped: the next turn is silent */
	front_send(&p.a, &(struct front_packet){.data = packet, .len = 100});
	CHECK_INT(rig_move(&p.r, p.pa, p.pb), 1);
	CHECK_INT(fake_port_taken(p.r.f, 2, p.a.tx_port), 0);
	CHECK_INT(p.pa->stats.notify_suppressed, 1);

	test_case("hp_332_event_storm: masked while served");
	p.pa->ready = false;
	CHECK(!p.pa->ops->rx_arm(p.pa));
	for (int i = 0; i < 1000; i++)
		fake_port_send(p.r.f, 2, p.a.tx_port);
	netback_poll_events(p.r.nb);
	CHECK(p.pa->ready);
	p.pa->ready = false;
	for (int i = 0; i < 1000; i++)
		fake_port_send(p.r.f, 2, p.a.tx_port);
	netback_poll_events(p.r.nb);
	CHECK(!p.pa->ready); /* masked until armed again */
	CHECK(!p.pa->ops->rx_arm(p.pa));
	netback_poll_events(p.r.nb);
	CHECK(p.pa->ready); /* and not lost */
	end();
}

/* What is published says which requests are done: whoever takes the rings over
 * begins there (test_take_over in test_netback.c). */
static void test_answers_in_order(void)
{
	struct frame f[4], *fs[4] = {&f[0], &f[1], &f[2], &f[3]};
	unsigned int sent = 3 + 1 + 3 + 2; /* slots of the packets below */

	test_case("answers come in the order of the requests, whatever waits");
	begin(&(struct front_config){.start_index = 0xfffffffc}, NULL);
	make_packet(9000, 1);
	front_send(&p.a, &(struct front_packet){.data = packet, .len = 9000});
	front_send(&p.a, &(struct front_packet){.data = packet, .len = 100});
	front_send(&p.a, &(struct front_packet){.data = packet, .len = 5000,
						.gso_type = RING_GSO_TCPV4, .gso_size = 1448});
	front_send(&p.a, &(struct front_packet){.data = packet, .len = 5000});
	CHECK_INT(front_in_flight(&p.a), sent - 1); /* an extra is no buffer */
	CHECK_INT(p.pa->ops->rx_burst(p.pa, fs, 4, p.r.batch), 4);
	copy_batch_run(p.r.batch);
	p.pa->ops->complete(p.pa, &f[2], false);
	p.pa->ops->complete(p.pa, &f[1], true);
	p.pa->ops->rx_flush(p.pa);
	CHECK_INT(front_reap(&p.a), 0); /* the first one waits */
	p.pa->ops->complete(p.pa, &f[0], true);
	p.pa->ops->rx_flush(p.pa);
	CHECK_INT(front_reap(&p.a), sent - 2);
	CHECK_INT(p.a.tx_okay, 3 + 1);
	CHECK_INT(p.a.tx_error, 2);
	CHECK_INT(p.a.tx_null, 1);
	p.pa->ops->complete(p.pa, &f[0], true); /* a second time: nothing */
	p.pa->ops->complete(p.pa, &f[3], true);
	p.pa->ops->rx_flush(p.pa);
	CHECK_INT(front_reap(&p.a), 2);
	CHECK_INT(front_in_flight(&p.a), 0);
	forward_one(&(struct front_packet){.data = packet, .len = 9000}, NULL);
	end();
}

/* Frames of an earlier connection must not be answered in the next one. */
static void test_stale_frames(void)
{
	struct frame f, *fs = &f;

	test_case("hp_350_connect_churn: a descriptor of an earlier connection is void");
	begin(NULL, NULL);
	make_packet(100, 1);
	front_send(&p.a, &(struct front_packet){.data = packet, .len = 100});
	CHECK_INT(p.pa->ops->rx_burst(p.pa, &fs, 1, p.r.batch), 1);
	copy_batch_run(p.r.batch);
	front_set_state(&p.a, 5);
	rig_poll(&p.r);
	p.pa->ops->complete(p.pa, &f, true); /* closed: nothing to answer into */
	front_set_state(&p.a, 6);
	rig_poll(&p.r);
	front_disconnect(&p.a);
	front_set_state(&p.a, 1);
	rig_poll(&p.r);
	front_connect(&p.a, NULL);
	rig_poll(&p.r);
	CHECK(p.pa->link);
	p.pa->ops->complete(p.pa, &f, true);
	p.pa->ops->rx_flush(p.pa);
	CHECK_INT(front_reap(&p.a), 0);
	make_packet(300, 2);
	forward_one(&(struct front_packet){.data = packet, .len = 300}, NULL);
	end();
}

int main(void)
{
	test_sizes();
	test_tiny_slots();
	test_zero_fragments();
	test_offsets();
	test_gso();
	test_op_count();
	test_wrap();
	test_full_ring();
	test_exact_room();
	test_single_channel();
	test_no_rx_notify();
	test_local_segments();
	test_repack();
	test_copy_faults();
	test_chain_lengths();
	test_bad_slots();
	test_bad_extras();
	test_bad_producer();
	test_notifications();
	test_answers_in_order();
	test_stale_frames();
	return test_end();
}
