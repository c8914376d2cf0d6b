// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The ring protocol, row by row: sections 2 to 4 of the reference and what section 7 says
 * of rings, each case named after its row (doc/catalogue.md). Chains that no driver makes are in
 * test_vif.c, conversions in test_convert_rings.c, nodes in test_xen_net_nodes.c.
 */
#include "tests/fake/fake_backend.h"
#include "tests/fake/oracle.h"
#include "tests/fake/rig.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdlib.h>

static uint8_t data[ORACLE_MAX], got[ORACLE_MAX];

static struct {
	struct rig r;
	struct front a, b;
	struct fake_backend up;
	struct port *pa, *pb, *pu;
} w;

static void begin(const struct front_config *a, const struct front_config *b)
{
	static const struct fake_backend_config all;

	memset(&w, 0, sizeof(w));
	rig_start(&w.r);
	w.pa = rig_plug(&w.r, &w.a, 2, a);
	w.pb = rig_plug(&w.r, &w.b, 3, b);
	fake_backend_plug(&w.up, w.r.f, 1, 0, "00:16:3e:5e:6c:01");
	fake_backend_offer(&w.up, &all);
	rig_poll(&w.r);
	w.pu = rig_port(&w.r, "uplink0");
	if (!w.pa || !w.pb || !w.pu || fake_backend_connect(&w.up))
		abort();
	fake_backend_state(&w.up, 4);
	rig_poll(&w.r);
}

static void end(void)
{
	CHECK_INT(w.a.bad + w.b.bad + w.up.errors, 0);
	CHECK(w.pa->link && w.pb->link && w.pu->link);
	rig_end(&w.r);
}

static void fill(size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 53 + (i >> 8) * 5 + seed);
	if (len >= 14)
		memcpy(data + 12, "\x08\x00", 2);
}

/* Slots with real pages behind them; byte n of page k is what fill() made of it. */
static struct front_buf *slot(struct ring_tx_req *req, uint16_t off, uint16_t len, uint16_t flags)
{
	struct front_buf *b = front_buf(&w.a, &req->id);

	b->busy = true;
	req->gref = b->gref;
	req->offset = off;
	req->size = len;
	req->flags = flags;
	return b;
}

static struct ring_tx_rsp response(uint32_t idx)
{
	struct ring_tx_rsp rsp;

	ring_front_get(&w.a.tx, idx, &rsp, sizeof(rsp));
	return rsp;
}

static uint32_t published(void)
{
	return ring_load(w.a.tx.page, RING_W_RSP_PROD);
}

/* --- 2: guest transmit ----------------------------------------------------------------- */
static void test_chain(void)
{
	struct ring_extra gso = {
	    .type = RING_EXTRA_GSO, .gso_type = RING_GSO_TCPV4, .gso_size = 1000};
	struct ring_tx_req req[4] = {0};
	struct front_meta m;

	test_case("X2.1_first_then_extras_then_the_others");
	begin(NULL, NULL);
	fill(3000, 1);
	/* X2.2: 3000 is the whole; 1000 of it are what the others leave */
	memcpy(
	    slot(&req[0], 77, 3000, RING_TX_CSUM_BLANK | RING_MORE_DATA | RING_EXTRA_INFO)->page +
		77,
	    data, 1000);
	memcpy(&req[1], &gso, sizeof(gso));
	memcpy(slot(&req[2], 0, 1500, RING_MORE_DATA)->page, data + 1000, 1500);
	/* X2.3: flags of a checksum or extra count on the first request only */
	memcpy(slot(&req[3], 9, 500, RING_EXTRA_INFO | RING_TX_DATA_VALIDATED)->page + 9,
	       data + 2500, 500);
	front_raw(&w.a, req, 4);
	CHECK_INT(rig_move(&w.r, w.pa, w.pb), 1);
	CHECK_INT(front_recv(&w.b, got, sizeof(got), &m, false), 3000);
	CHECK(memcmp(got, data, 3000) == 0);
	CHECK_INT(m.extras, 1);
	CHECK_INT(m.gso_size, 1000);

	test_case("X2.2_the_first_size_is_that_of_the_whole");
	CHECK_INT(w.pa->stats.rx_bytes, 3000);
	front_reap(&w.a);
	CHECK_INT(w.a.tx_okay, 3);
	CHECK_INT(w.a.tx_null, 1);
	CHECK_INT(front_in_flight(&w.a), 0);
	fill(9000, 2);
	CHECK(front_send(&w.b, &(struct front_packet){.data = data, .len = 9000}));
	CHECK_INT(rig_move(&w.r, w.pb, w.pu), 1); /* and as the writer */
	CHECK_INT(fake_backend_take(&w.up, got, sizeof(got), NULL, false), 9000);
	CHECK(memcmp(got, data, 9000) == 0);
	end();
}

static void test_ids(void)
{
	static const uint16_t ids[] = {0xffff, 7, 7, 256, 0};
	struct ring_tx_req req[5] = {0};
	uint32_t at;

	test_case("X2.3_ids_are_opaque_and_echoed");
	begin(&(struct front_config){.start_index = 0xfffffffd}, NULL);
	at = w.a.tx.req_prod;
	for (size_t i = 0; i < 5; i++) {
		fill(100, (unsigned int)i);
		/* flags of a checksum on a later slot say nothing */
		memcpy(slot(&req[i], 0, i == 0 ? 400 : 100,
			    i > 0 && i < 4 ? RING_TX_CSUM_BLANK | RING_TX_DATA_VALIDATED : 0)
			   ->page,
		       data, 100);
		req[i].flags |= i < 3 ? RING_MORE_DATA : 0;
		req[i].id = ids[i];
	}
	front_raw(&w.a, req, 5);
	CHECK_INT(rig_move(&w.r, w.pa, w.pb), 2);
	CHECK_INT(published() - at, 5);
	for (uint32_t i = 0; i < 5; i++) {
		CHECK_INT(response(at + i).id, ids[i]);
		CHECK_INT(response(at + i).status, RING_STATUS_OKAY);
	}
	for (int i = 0; i < 2; i++) {
		struct front_meta m;

		CHECK_INT(front_recv(&w.b, got, sizeof(got), &m, false), i ? 100 : 400);
		CHECK_INT(m.flags & 3, 0);
	}
	end();
}

static void test_producer(void)
{
	unsigned int n = 0;

	test_case("X2.4_256_requests_are_a_ring_257_are_the_end_of_it");
	begin(NULL, NULL);
	fill(60, 1);
	while (front_send(&w.a, &(struct front_packet){.data = data, .len = 60}))
		n++;
	CHECK_INT(n, 256);
	for (n = 0; n < 4; n++)
		CHECK_INT(rig_move(&w.r, w.pa, w.pb), 64);
	CHECK(w.pa->link);
	/* counted from what was answered: 256 are out, one more is one too many */
	ring_store(w.a.tx.page, RING_W_REQ_PROD, w.a.tx.req_prod + 257);
	CHECK_INT(rig_move(&w.r, w.pa, w.pb), 0);
	CHECK(!w.pa->link && w.pb->link);
	CHECK_INT(w.pa->stats.violations, 1);
	rig_end(&w.r);
}

/* X2.12: zero bytes in the first, a middle, the last place. */
static void test_zero(void)
{
	test_case("X2.12_a_fragment_of_no_bytes_is_answered_and_skipped");
	begin(NULL, NULL);
	for (int zero = 0; zero < 3; zero++) {
		struct ring_tx_req req[3] = {0};
		size_t at = 0;

		fill(2000, (unsigned int)zero);
		for (int i = 0; i < 3; i++) {
			uint16_t n = i == zero ? 0 : 1000;
			struct front_buf *b =
			    slot(&req[i], 0, i == 0 ? 2000 : n, i < 2 ? RING_MORE_DATA : 0);

			memcpy(b->page, data + at, n);
			at += n;
		}
		front_raw(&w.a, req, 3);
		CHECK_INT(rig_move(&w.r, w.pa, w.pb), 1);
		CHECK_INT(front_recv(&w.b, got, sizeof(got), NULL, false), 2000);
		CHECK(memcmp(got, data, 2000) == 0);
		front_reap(&w.a);
	}
	CHECK_INT(w.a.tx_okay, 9);
	CHECK_INT(front_in_flight(&w.a), 0);
	end();
}

/* X2.13, X2.14: a packet whose grant is bad, between two good ones with extras. */
static void test_answers(void)
{
	struct front_packet p = {.data = data,
				 .len = 6000,
				 .gso_type = RING_GSO_TCPV4,
				 .gso_size = 1448,
				 .flags = RING_TX_CSUM_BLANK};
	static const int16_t want[] = {0, 1, 0, -1, 1, -1, 0, 1, 0};
	uint32_t at;

	test_case("X2.13_a_failed_copy_is_the_error_of_its_packet_only");
	begin(&(struct front_config){.start_index = 0xfffffffb}, NULL);
	at = w.a.tx.req_prod;
	fill(6000, 1);
	for (int i = 0; i < 3; i++)
		CHECK(front_send(&w.a, &p));
	fake_revoke(w.r.f, 2, w.a.tx_buf[2].gref); /* the first page of the second */
	CHECK_INT(rig_move(&w.r, w.pa, w.pb), 3);
	for (int i = 0; i < 2; i++)
		CHECK_INT(front_recv(&w.b, got, sizeof(got), NULL, false), 6000);
	CHECK_INT(front_recv(&w.b, got, sizeof(got), NULL, false), 0);

	test_case("X2.14_one_response_a_slot_extras_null_in_their_places");
	CHECK_INT(published() - at, 9);
	for (uint32_t i = 0; i < 9; i++)
		CHECK_INT(response(at + i).status, want[i]);
	front_reap(&w.a);
	CHECK_INT(front_in_flight(&w.a), 0);
	CHECK_INT(w.a.tx_null, 3);
	end();
}

/* X2.15: a sender that stops at 19 free slots and wants to hear of half of them. */
static void test_linux_sender(void)
{
	unsigned int sent = 0, moved = 0;

	test_case("X2.15_a_sender_that_stops_at_19_free_slots_goes_on");
	begin(NULL, NULL);
	fill(9000, 1);
	for (int round = 0; round < 50; round++) {
		while (ring_front_free(&w.a.tx) > 19) {
			CHECK(front_send(&w.a, &(struct front_packet){.data = data, .len = 9000}));
			sent++;
		}
		fake_port_taken(w.r.f, 2, w.a.tx_port);
		while (!fake_port_taken(w.r.f, 2, w.a.tx_port)) {
			unsigned int n = rig_move(&w.r, w.pa, w.pb);

			if (!CHECK(n > 0))
				break; /* all is done, and nobody has told it */
			moved += n;
			while (front_recv(&w.b, got, sizeof(got), NULL, false) > 0)
				;
		}
		front_reap(&w.a);
	}
	CHECK_INT(moved + rig_move(&w.r, w.pa, w.pb), sent);
	CHECK(sent > 1000);
	end();
}

/* --- 3: guest receive -------------------------------------------------------------------- */
static struct ring_rx_rsp rx_response(uint32_t idx)
{
	struct ring_rx_rsp rsp;

	ring_front_get(&w.b.rx, idx, &rsp, sizeof(rsp));
	return rsp;
}

static void test_responses(void)
{
	struct front_packet p = {.data = data,
				 .len = 9000,
				 .gso_type = RING_GSO_TCPV4,
				 .gso_size = 1448,
				 .flags = RING_TX_CSUM_BLANK};
	uint32_t at, sum = 0;
	struct ring_extra e;

	begin(NULL, &(struct front_config){.start_index = 0xfffffffe});
	at = w.b.rx.rsp_cons;
	fill(9000, 1);
	/* requests with ids that are not their places */
	for (uint32_t i = 0; i < 4; i++) {
		struct ring_rx_req req = {.id = (uint16_t)(0xabc0 + i)};
		uint32_t n = (at + i) & (RING_SLOTS - 1);

		req.gref = w.b.rx_buf[n].gref;
		ring_front_put(&w.b.rx, at + i, &req, sizeof(req));
	}
	CHECK(front_send(&w.a, &p));
	CHECK_INT(rig_move(&w.r, w.pa, w.pb), 1);
	front_reap(&w.a);
	CHECK_INT(ring_load(w.b.rx.page, RING_W_RSP_PROD) - at, 4);

	test_case("X3.1_status_is_the_bytes_of_each_slot");
	for (uint32_t i = 0; i < 4; i++) {
		if (i == 1)
			continue;
		CHECK(rx_response(at + i).status > 0);
		sum += (uint32_t)rx_response(at + i).status;
	}
	CHECK_INT(sum, 9000);
	test_case("X3.2_a_response_is_where_its_request_was_with_its_id");
	for (uint32_t i = 0; i < 4; i++)
		if (i != 1)
			CHECK_INT(rx_response(at + i).id, 0xabc0 + i);
	CHECK(memcmp(w.b.rx_buf[at & 255].page, data, 66) == 0);
	test_case("X3.3_extras_follow_the_first_response_and_take_a_request");
	CHECK(rx_response(at).flags & RING_EXTRA_INFO);
	CHECK(rx_response(at).flags & RING_MORE_DATA);
	CHECK(!(rx_response(at + 3).flags & RING_MORE_DATA));
	ring_front_get(&w.b.rx, at + 1, &e, sizeof(e));
	CHECK(e.type == RING_EXTRA_GSO && e.gso_type == RING_GSO_TCPV4 && e.gso_size == 1448);
	CHECK(e.flags == 0 && e.pad == 0 && e.features == 0);
	test_case("X3.4_offset_and_status_stay_within_the_page");
	for (uint32_t i = 0; i < 4; i++)
		if (i != 1)
			CHECK(rx_response(at + i).offset + rx_response(at + i).status <= 4096);
	rig_end(&w.r);
}

/* X3.4 from the other side: a backend that puts packets anywhere in its pages. */
static void test_offsets(void)
{
	test_case("X3.4_offsets_of_the_netvm_are_honoured");
	begin(NULL, NULL);
	for (uint16_t off = 0; off < 4096 - 300; off = (uint16_t)(off + 331)) {
		struct ring_rx_rsp rsp[2] = {
		    {.offset = off, .status = 300, .flags = RING_MORE_DATA},
		    {.offset = (uint16_t)(4096 - 500), .status = 500},
		};

		fill(800, off);
		memcpy(fake_backend_rx_page(&w.up, 0) + off, data, 300);
		memcpy(fake_backend_rx_page(&w.up, 1) + 4096 - 500, data + 300, 500);
		fake_backend_raw_rx(&w.up, rsp, 2);
		CHECK_INT(rig_move(&w.r, w.pu, w.pb), 1);
		CHECK_INT(front_recv(&w.b, got, sizeof(got), NULL, false), 800);
		CHECK(memcmp(got, data, 800) == 0);
	}
	end();
}

/* X3.5: whatever a sender made of it, a receiver gets 18 slots at most. */
static void test_slots(void)
{
	test_case("X3.5_18_slots_at_most_whatever_the_sender_used");
	begin(NULL, NULL);
	for (uint16_t piece = 1; piece < 3400; piece = (uint16_t)(piece * 3 + 1)) {
		uint16_t split[19];
		struct front_meta m;

		for (int i = 0; i < 19; i++)
			split[i] = (uint16_t)(piece + i);
		fill(19 * (size_t)piece + 171, piece);
		CHECK(front_send(&w.a, &(struct front_packet){.data = data,
							      .len = 19 * (size_t)piece + 171,
							      .split = split,
							      .nsplit = 19}));
		CHECK_INT(rig_move(&w.r, w.pa, w.pb), 1);
		CHECK_INT(front_recv(&w.b, got, sizeof(got), &m, false), 19 * piece + 171);
		CHECK(memcmp(got, data, 19 * (size_t)piece + 171) == 0);
		CHECK(m.slots <= 18);
		front_reap(&w.a);
		/* and the netvm */
		CHECK(front_send(&w.a, &(struct front_packet){.data = data,
							      .len = 19 * (size_t)piece + 171,
							      .split = split,
							      .nsplit = 19}));
		CHECK_INT(rig_move(&w.r, w.pa, w.pu), 1);
		CHECK(fake_backend_take(&w.up, got, sizeof(got), NULL, false) > 0);
		front_reap(&w.a);
	}
	end();
}

/* X3.6: no packet without room for all of it, extras included; for each size. */
static void test_room(void)
{
	test_case("X3.6_no_packet_is_begun_without_all_of_its_slots");
	for (unsigned int posted = 1; posted <= 18; posted++) {
		struct front_packet p = {.data = data,
					 .len = 65535,
					 .gso_type = RING_GSO_TCPV4,
					 .gso_size = 1448,
					 .flags = RING_TX_CSUM_BLANK};
		struct frame f, *fs = &f;
		unsigned int need;

		/* 1 to 16 data slots and the extra's */
		p.len = posted < 17 ? 4096 * (size_t)posted - 1 : 65535;
		need = posted < 17 ? posted + 1 : 17;
		begin(NULL,
		      &(struct front_config){.rx_post = need - 1, .no_rx_notify = posted & 1});
		fill(p.len, posted);
		CHECK(front_send(&w.a, &p));
		CHECK_INT(w.pa->ops->rx_burst(w.pa, &fs, 1, w.r.batch), 1);
		copy_batch_run(w.r.batch);
		CHECK_INT(w.pb->ops->tx(w.pb, &f, w.r.batch), -EAGAIN);
		copy_batch_run(w.r.batch);
		w.pb->ops->tx_flush(w.pb);
		CHECK_INT(ring_load(w.b.rx.page, RING_W_RSP_PROD), 0);
		front_post(&w.b, 1);
		/* one that does not kick is found out by trying again */
		CHECK_INT(w.pb->ops->tx(w.pb, &f, w.r.batch), 0);
		copy_batch_run(w.r.batch);
		w.pb->ops->tx_flush(w.pb);
		CHECK_INT(front_recv(&w.b, got, sizeof(got), NULL, true), (long)p.len);
		CHECK_INT(front_posted(&w.b), 0);
		end();
	}
}

/* X3.8, X3.4: what Linux' netfront would complain of costs one packet. */
static void test_bad_responses(void)
{
	static const struct ring_rx_rsp bad[] = {
	    {.status = -1},
	    {.status = 4097},
	    {.status = 1, .offset = 4096},
	    {.status = 0},
	    {.status = INT16_MIN, .offset = 0xffff},
	};

	test_case("X3.8_a_bad_response_costs_its_packet_and_the_page_is_posted_again");
	begin(NULL, NULL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fake_backend_raw_rx(&w.up, &bad[i], 1);
		CHECK_INT(rig_move(&w.r, w.pu, w.pb), 0);
		CHECK_INT(fake_backend_posted(&w.up), 256);
		fill(1000, (unsigned int)i);
		CHECK(fake_backend_give(&w.up, data, 1000, NULL, NULL));
		CHECK_INT(rig_move(&w.r, w.pu, w.pb), 1);
		CHECK_INT(front_recv(&w.b, got, sizeof(got), NULL, false), 1000);
		CHECK(memcmp(got, data, 1000) == 0);
	}
	CHECK_INT(w.pu->stats.rx_errors, 5);
	end();
}

/* --- 4: extras, GSO, checksums ------------------------------------------------------------- */
/* X4.1: each type next to a GSO extra, in both orders; types we never offered do not
 * change the packet, a multicast request is answered and is none. */
static void test_extras(void)
{
	static const struct {
		uint8_t type;
		bool packet;
	} cases[] = {{RING_EXTRA_HASH, true},
		     {RING_EXTRA_XDP, true},
		     {RING_EXTRA_MCAST_ADD, false},
		     {RING_EXTRA_MCAST_DEL, false}};

	test_case("X4.1_extras_of_every_type_beside_gso");
	begin(NULL, NULL);
	for (size_t i = 0; i < 8; i++) {
		struct ring_extra e[2] = {
		    {.type = RING_EXTRA_GSO, .gso_type = RING_GSO_TCPV4, .gso_size = 1000},
		    {.type = cases[i / 2].type, .gso_size = 0xffff}};
		struct ring_tx_req req[4] = {0};
		struct front_meta m = {0};

		fill(3000, (unsigned int)i);
		memcpy(slot(&req[0], 0, 3000, RING_TX_CSUM_BLANK | RING_MORE_DATA | RING_EXTRA_INFO)
			   ->page,
		       data, 2000);
		e[i & 1].flags = RING_EXTRA_MORE;
		memcpy(&req[1], &e[i & 1], sizeof(e[0]));
		memcpy(&req[2], &e[!(i & 1)], sizeof(e[0]));
		memcpy(slot(&req[3], 0, 1000, 0)->page, data + 2000, 1000);
		front_raw(&w.a, req, 4);
		CHECK_INT(rig_move(&w.r, w.pa, w.pb), cases[i / 2].packet);
		CHECK_INT(front_recv(&w.b, got, sizeof(got), &m, false),
			  cases[i / 2].packet ? 3000 : 0);
		CHECK_INT(m.gso_size, cases[i / 2].packet ? 1000 : 0);
		CHECK_INT(m.extras, cases[i / 2].packet); /* only GSO's is passed on */
		front_reap(&w.a);
		CHECK_INT(front_in_flight(&w.a), 0);
	}
	CHECK_INT(w.a.tx_null, 16);
	CHECK_INT(w.a.tx_okay, 8);
	CHECK_INT(w.a.tx_error, 8);
	end();
}

/* X4.2: a complete checksum in a GSO frame is started afresh, from either side. */
static void test_forgotten(void)
{
	static uint8_t right[ORACLE_MAX];

	test_case("X4.2_gso_without_csum_blank_is_made_partial");
	begin(NULL, NULL);
	w.r.parse = true;
	for (unsigned int i = 0; i < 8; i++) {
		struct oracle_spec s = {
		    .ipv6 = i & 1, .payload = 20000, .tcp_flags = 0x10, .seed = (uint8_t)i};
		size_t len = oracle_make(right, &s);
		struct front_packet p = {.data = data, .len = len, .gso_size = 1400};
		struct fake_backend_meta in = {.gso_size = 1400}, out;
		struct front_meta m;

		memcpy(data, right, len);
		oracle_complete(data, len);
		p.gso_type = in.gso_type = i & 1 ? RING_GSO_TCPV6 : RING_GSO_TCPV4;
		p.flags = i & 4 ? RING_TX_DATA_VALIDATED : 0;
		in.flags = i & 4 ? RING_RX_DATA_VALIDATED : 0;
		if (i & 2) {
			CHECK(front_send(&w.a, &p));
			CHECK_INT(rig_move(&w.r, w.pa, w.pu), 1);
			front_reap(&w.a);
			CHECK(fake_backend_take(&w.up, got, sizeof(got), &out, false) == (long)len);
			CHECK_INT(out.flags, RING_TX_CSUM_BLANK | RING_TX_DATA_VALIDATED);
		} else {
			CHECK(fake_backend_give(&w.up, data, len, &in, NULL));
			CHECK_INT(rig_move(&w.r, w.pu, w.pb), 1);
			CHECK(front_recv(&w.b, got, sizeof(got), &m, false) == (long)len);
			CHECK_INT(m.flags & 3, RING_RX_CSUM_BLANK | RING_RX_DATA_VALIDATED);
		}
		CHECK(memcmp(got, right, len) == 0);
	}
	end();
}

/* X4.3: every combination of flags, on both rings, whose bits are swapped. */
static void test_flags(void)
{
	static const struct {
		bool blank, valid, out_blank, out_valid;
	} cases[] = {{false, false, false, false},
		     {false, true, false, true},
		     {true, false, true, true},
		     {true, true, true, true}};

	test_case("X4.3_data_validated_goes_with_csum_blank_and_alone");
	begin(NULL, NULL);
	for (size_t i = 0; i < 4; i++) {
		struct front_packet p = {.data = data, .len = 500};
		struct fake_backend_meta in = {0}, out;
		struct front_meta m;

		fill(500, (unsigned int)i);
		p.flags = (cases[i].blank ? 1 : 0) | (cases[i].valid ? 2 : 0);
		in.flags = (cases[i].blank ? 2 : 0) | (cases[i].valid ? 1 : 0);
		CHECK(front_send(&w.a, &p));
		CHECK_INT(rig_move(&w.r, w.pa, w.pb), 1);
		CHECK_INT(front_recv(&w.b, got, sizeof(got), &m, false), 500);
		CHECK_INT(m.flags & 3, (cases[i].out_blank ? 2 : 0) | (cases[i].out_valid ? 1 : 0));
		CHECK(front_send(&w.a, &p));
		CHECK_INT(rig_move(&w.r, w.pa, w.pu), 1);
		CHECK_INT(fake_backend_take(&w.up, got, sizeof(got), &out, false), 500);
		CHECK_INT(out.flags, (cases[i].out_blank ? 1 : 0) | (cases[i].out_valid ? 2 : 0));
		CHECK(fake_backend_give(&w.up, data, 500, &in, NULL));
		CHECK_INT(rig_move(&w.r, w.pu, w.pb), 1);
		CHECK_INT(front_recv(&w.b, got, sizeof(got), &m, false), 500);
		CHECK_INT(m.flags & 3, (cases[i].out_blank ? 2 : 0) | (cases[i].out_valid ? 1 : 0));
		front_reap(&w.a);
	}
	end();
}

/* --- 7: as a frontend -------------------------------------------------------------------- */
/* X7.7, one packet: what the netvm reads in our requests. */
static void test_frontend_tx(void)
{
	static const uint16_t head[] = {66};
	struct front_packet p = {.data = data,
				 .len = 65535,
				 .gso_type = RING_GSO_TCPV4,
				 .gso_size = 1448,
				 .flags = RING_TX_CSUM_BLANK,
				 .split = head,
				 .nsplit = 1};
	struct ring_tx_req first, req;
	struct ring_extra e;
	unsigned int sent = 0, slots = 1;
	uint32_t at;

	test_case("X7.7_ids_total_extra_and_18_slots_of_what_we_send");
	begin(NULL, NULL);
	fill(65535, 1);
	at = w.up.tx.req_cons;
	CHECK(front_send(&w.a, &p));
	CHECK_INT(rig_move(&w.r, w.pa, w.pu), 1);
	front_reap(&w.a);
	ring_back_get(&w.up.tx, at, &first, sizeof(first));
	CHECK_INT(first.size, 65535);
	CHECK_INT(first.flags,
		  RING_TX_CSUM_BLANK | RING_TX_DATA_VALIDATED | RING_MORE_DATA | RING_EXTRA_INFO);
	ring_back_get(&w.up.tx, at + 1, &e, sizeof(e));
	CHECK(e.type == RING_EXTRA_GSO && e.flags == 0 && e.gso_size == 1448);
	req = first;
	for (; req.flags & RING_MORE_DATA && slots < 30; slots++) {
		ring_back_get(&w.up.tx, at + 1 + slots, &req, sizeof(req));
		CHECK(req.id < RING_SLOTS && req.id != first.id);
		CHECK(req.offset + req.size <= 4096);
	}
	CHECK(slots <= 18);
	CHECK_INT(fake_backend_take(&w.up, got, sizeof(got), NULL, true), 65535);

	test_case("X7.7_no_packet_is_begun_without_its_slots");
	while (w.pu->stats.tx_dropped == 0 && sent < 100) { /* nothing is answered */
		struct frame f, *fs = &f;
		int err;

		CHECK(front_send(&w.a, &p));
		CHECK_INT(w.pa->ops->rx_burst(w.pa, &fs, 1, w.r.batch), 1);
		copy_batch_run(w.r.batch);
		err = w.pu->ops->tx(w.pu, &f, w.r.batch);
		copy_batch_run(w.r.batch);
		w.pu->ops->tx_flush(w.pu);
		w.pa->ops->complete(w.pa, &f, true);
		w.pa->ops->rx_flush(w.pa);
		front_reap(&w.a);
		if (err) {
			CHECK_INT(err, -EAGAIN);
			break;
		}
		sent++;
		CHECK_INT(fake_backend_take(&w.up, got, sizeof(got), NULL, true), 65535);
	}
	CHECK_INT(sent, RING_SLOTS / (slots + 1) - 1);
	fake_backend_answer(&w.up, RING_SLOTS);
	CHECK(front_send(&w.a, &p));
	CHECK_INT(rig_move(&w.r, w.pa, w.pu), 1);
	CHECK_INT(fake_backend_take(&w.up, got, sizeof(got), NULL, false), 65535);
	front_reap(&w.a);
	end();

	test_case("X7.7_an_answer_to_no_request_ends_the_connection");
	begin(NULL, NULL);
	fake_backend_raw_tx(&w.up, 300, RING_STATUS_OKAY);
	CHECK(front_send(&w.a, &(struct front_packet){.data = data, .len = 60}));
	CHECK_INT(rig_move(&w.r, w.pa, w.pu), 1);
	rig_poll(&w.r);
	CHECK(!w.pu->link && w.pa->link);
	rig_end(&w.r);
}

/* X7.8: pages are found by their place, whatever id an answer has. */
static void test_frontend_rx(void)
{
	struct ring_rx_rsp rsp = {.status = 700};

	test_case("X7.8_received_pages_are_matched_by_index");
	begin(NULL, NULL);
	for (uint16_t i = 0; i < 600; i++) {
		rsp.id = (uint16_t)(i * 257 + 0x8000);
		fill(700, i);
		memcpy(fake_backend_rx_page(&w.up, 0), data, 700);
		fake_backend_raw_rx(&w.up, &rsp, 1);
		if (i % 3 == 2) { /* an extra takes a slot, which is posted again */
			struct fake_backend_meta m = {
			    .flags = RING_RX_CSUM_BLANK, .gso_type = 1, .gso_size = 1000};

			CHECK(fake_backend_give(&w.up, data, 700, &m, NULL));
		}
		CHECK_INT(rig_move(&w.r, w.pu, w.pb), i % 3 == 2 ? 2 : 1);
		while (front_recv(&w.b, got, sizeof(got), NULL, false) > 0)
			CHECK(memcmp(got, data, 700) == 0);
		CHECK_INT(fake_backend_posted(&w.up), 256);
	}

	test_case("X7.8_headers_are_copied_before_they_are_looked_at");
	{
		struct frame f, *fs = &f;
		uint8_t *page = fake_backend_rx_page(&w.up, 0);

		fill(700, 9);
		memcpy(page, data, 700);
		fake_backend_raw_rx(&w.up, &rsp, 1);
		CHECK_INT(w.pu->ops->rx_burst(w.pu, &fs, 1, w.r.batch), 1);
		memset(page, 0xee, 4096);
		CHECK(f.header_len == FRAME_HEADER_COPY && memcmp(f.header, data, 192) == 0);
		w.pu->ops->complete(w.pu, &f, true);
		w.pu->ops->rx_flush(w.pu);
	}
	end();

	test_case("X7.8_a_producer_that_goes_backwards_ends_the_connection");
	begin(NULL, NULL);
	ring_back_push(&w.up.rx, w.up.rx.rsp_prod - 1);
	CHECK_INT(rig_move(&w.r, w.pu, w.pb), 0);
	rig_poll(&w.r);
	CHECK(!w.pu->link && w.pb->link);
	rig_end(&w.r);
}

int main(void)
{
	test_chain();
	test_ids();
	test_producer();
	test_zero();
	test_answers();
	test_linux_sender();
	test_responses();
	test_offsets();
	test_slots();
	test_room();
	test_bad_responses();
	test_extras();
	test_forgotten();
	test_flags();
	test_frontend_tx();
	test_frontend_rx();
	return test_end();
}
