// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What one side sends and the other side lacks, over the rings of a fake Xen: client
 * to client, netvm to client, client to netvm, each against the oracle. And what a
 * conversion costs when something fails in the middle of it.
 */
#include "firewall/packet.h"
#include "tests/fake/fake_backend.h"
#include "tests/fake/oracle.h"
#include "tests/fake/rig.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdlib.h>

static uint8_t whole[ORACLE_MAX], want[ORACLE_MAX], got[ORACLE_MAX];
static uint64_t state = 99;

static struct {
	struct rig r;
	struct front a, b;
	struct fake_backend up;
	struct port *pa, *pb, *pu;
} w;

static uint32_t rnd(uint32_t below)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((state >> 33) % below);
}

static void begin(const struct front_config *b, const struct fake_backend_config *up)
{
	static const struct fake_backend_config all;

	memset(&w, 0, sizeof(w));
	rig_start(&w.r);
	w.r.parse = true;
	w.pa = rig_plug(&w.r, &w.a, 2, NULL);
	w.pb = rig_plug(&w.r, &w.b, 3, b);
	fake_backend_plug(&w.up, w.r.f, 1, 0, "00:16:3e:5e:6c:01");
	fake_backend_offer(&w.up, up ? up : &all);
	rig_poll(&w.r);
	w.pu = rig_port(&w.r, "uplink0");
	if (!w.pa || !w.pb || !w.pu || fake_backend_connect(&w.up))
		abort();
	fake_backend_state(&w.up, 4);
	rig_poll(&w.r);
}

static void end(void)
{
	CHECK_INT(w.a.bad, 0);
	CHECK_INT(w.b.bad, 0);
	CHECK_INT(w.up.errors, 0);
	CHECK_INT(front_in_flight(&w.a), 0);
	CHECK_INT(front_posted(&w.b), RING_SLOTS); /* hp_457_rx_accounting */
	CHECK_INT(fake_backend_posted(&w.up), RING_SLOTS);
	rig_end(&w.r);
}

/* A packet and how it is sent. */
struct sample {
	struct oracle_spec spec;
	size_t len;
	uint16_t mss;  /* 0: no GSO */
	bool complete; /* its checksum is */
};

static void make(struct sample *s)
{
	s->len = oracle_make(whole, &s->spec);
	if (s->complete)
		oracle_complete(whole, s->len);
}

static uint8_t gso_type(const struct sample *s)
{
	if (s->mss == 0)
		return 0;
	return s->spec.ipv6 ? RING_GSO_TCPV6 : RING_GSO_TCPV4;
}

/* From the first client, in pieces of odd sizes. */
static void client_sends(const struct sample *s)
{
	uint16_t split[4] = {(uint16_t)(1 + rnd(200)), (uint16_t)rnd(500), (uint16_t)rnd(4096),
			     (uint16_t)rnd(4096)};
	struct front_packet p = {.data = whole,
				 .len = s->len,
				 .flags = s->complete ? 0 : RING_TX_CSUM_BLANK,
				 .gso_type = gso_type(s),
				 .gso_size = s->mss,
				 .split = split,
				 .nsplit = s->len < 50000 ? rnd(5) : 0,
				 .offset = s->len < 50000 ? (uint16_t)rnd(300) : 0};

	CHECK(front_send(&w.a, &p));
}

static void netvm_sends(const struct sample *s)
{
	struct fake_backend_meta m = {.flags = s->complete ? 0 : RING_RX_CSUM_BLANK,
				      .gso_type = gso_type(s),
				      .gso_size = s->mss};
	static const uint16_t head[] = {66, 0};

	CHECK(fake_backend_give(&w.up, whole, s->len, &m, rnd(2) ? head : NULL));
}

/* What a receiver may be handed: bytes and flags (those of the transmit ring). */
struct arrival {
	size_t len;
	uint16_t flags;
	uint8_t gso_type;
	uint16_t gso_size;
};

static bool client_receives(struct arrival *a)
{
	struct front_meta m;
	long len = front_recv(&w.b, got, sizeof(got), &m, false);

	if (len <= 0)
		return false;
	*a = (struct arrival){.len = (size_t)len, .gso_type = m.gso_type, .gso_size = m.gso_size};
	a->flags |= m.flags & RING_RX_CSUM_BLANK ? RING_TX_CSUM_BLANK : 0;
	a->flags |= m.flags & RING_RX_DATA_VALIDATED ? RING_TX_DATA_VALIDATED : 0;
	CHECK(m.slots <= 18);
	CHECK(!w.b.config.no_sg || m.slots == 1);
	return true;
}

static bool netvm_receives(struct arrival *a)
{
	struct fake_backend_meta m;
	long len = fake_backend_take(&w.up, got, sizeof(got), &m, false);

	if (len <= 0)
		return false;
	*a = (struct arrival){
	    .len = (size_t)len, .flags = m.flags, .gso_type = m.gso_type, .gso_size = m.gso_size};
	CHECK(!w.up.config.no_sg || m.slots == 1);
	return true;
}

/* What the receiver takes as it is. */
struct can {
	bool gso, csum;
};

/* All that arrives for this packet is what the oracle says. */
static bool arrives(const struct sample *s, bool (*receive)(struct arrival *), struct can can)
{
	bool cut = s->mss && !(can.gso && can.csum);
	unsigned int n = cut ? oracle_count(whole, s->len, s->mss) : 1;
	uint16_t flags = RING_TX_DATA_VALIDATED;
	struct arrival a;

	if (s->complete)
		flags = 0;
	else if (can.csum)
		flags |= RING_TX_CSUM_BLANK;
	for (unsigned int k = 0; k < n; k++) {
		size_t len = s->len;

		if (!CHECK(receive(&a)))
			return false;
		CHECK_INT(a.flags, flags);
		CHECK_INT(a.gso_type, cut ? 0 : gso_type(s));
		CHECK_INT(a.gso_size, cut ? 0 : s->mss);
		if (cut)
			len = oracle_piece(whole, s->len, s->mss, k, want);
		else
			memcpy(want, whole, len);
		if (!cut && !can.csum && !s->complete)
			oracle_complete(want, len);
		if (cut && can.csum)
			oracle_complete(got, a.len); /* as its kernel does */
		if (!CHECK(a.len == len && memcmp(got, want, len) == 0))
			return false;
	}
	return CHECK(!receive(&a));
}

static void random_sample(struct sample *s, size_t payload_max)
{
	*s = (struct sample){
	    .spec = {.ipv6 = rnd(2),
		     .udp = rnd(4) == 0,
		     .payload = rnd(3) ? rnd(1400) : rnd((uint32_t)payload_max),
		     .tcp_options = 12 * rnd(2),
		     .tcp_flags = (uint8_t)(0x10 | (rnd(256) & 0xe9)),
		     .seq = rnd(UINT32_MAX),
		     .id = (uint16_t)rnd(65536),
		     .seed = (uint8_t)rnd(256)},
	};
	if (s->spec.udp || s->spec.payload < 1400) {
		s->spec.payload %= 1400;
		s->complete = rnd(4) == 0;
	} else {
		s->mss = (uint16_t)(536 + rnd(925));
	}
	make(s);
}

/* --- towards a client ------------------------------------------------------------------ */
static const struct {
	const char *name;
	struct front_config front;
	struct fake_backend_config back;
	struct can can[2]; /* IPv4, IPv6 */
} peers[] = {
    {"X4.5_a_peer_with_everything", {0}, {0}, {{true, true}, {true, true}}},
    {"X4.5_a_peer_without_gso",
     {.no_gso = true},
     {.no_gso4 = true, .no_gso6 = true},
     {{false, true}, {false, true}}},
    {"X4.5_a_peer_without_scatter_gather",
     {.no_sg = true},
     {.no_sg = true},
     {{false, true}, {false, true}}},
    {"X4.5_a_peer_without_checksum_offload",
     {.no_csum_offload = true},
     {.no_csum_offload = true},
     {{true, false}, {true, true}}},
    {"X4.5_a_peer_without_ipv6_checksum_offload",
     {.no_ipv6_csum = true},
     {.no_ipv6_csum = true},
     {{true, true}, {true, false}}},
    {"X4.5_a_peer_with_nothing",
     {.no_sg = true,
      .no_gso = true,
      .no_csum_offload = true,
      .no_ipv6_csum = true,
      .no_rx_notify = true,
      .single_channel = true},
     {.no_sg = true,
      .no_gso4 = true,
      .no_gso6 = true,
      .no_csum_offload = true,
      .no_ipv6_csum = true,
      .no_split = true},
     {{false, false}, {false, false}}},
};

static void test_to_client(void)
{
	for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
		struct front_config c = peers[i].front;
		struct sample s;

		test_case(peers[i].name);
		c.start_index = 0xffffff00; /* they wrap on the way */
		begin(&c, NULL);
		for (unsigned int k = 0; k < 150; k++) {
			random_sample(&s, 60000);
			client_sends(&s);
			CHECK_INT(rig_move(&w.r, w.pa, w.pb), 1);
			front_reap(&w.a);
			if (!arrives(&s, client_receives, peers[i].can[s.spec.ipv6]))
				break;
			random_sample(&s, 65000);
			netvm_sends(&s);
			CHECK_INT(rig_move(&w.r, w.pu, w.pb), 1);
			if (!arrives(&s, client_receives, peers[i].can[s.spec.ipv6]))
				break;
		}
		CHECK_INT(w.pb->stats.tx_dropped, 0);
		CHECK_INT(w.a.tx_error, 0);
		end();
	}
}

static void test_to_netvm(void)
{
	for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
		struct sample s;

		test_case(peers[i].name);
		begin(NULL, &peers[i].back);
		for (unsigned int k = 0; k < 150; k++) {
			random_sample(&s, 60000);
			client_sends(&s);
			CHECK_INT(rig_move(&w.r, w.pa, w.pu), 1);
			front_reap(&w.a);
			if (!arrives(&s, netvm_receives, peers[i].can[s.spec.ipv6]))
				break;
		}
		CHECK_INT(w.pu->stats.tx_dropped, 0);
		CHECK_INT(w.a.tx_error, 0);
		end();
	}
}

/* Many frames in one turn: memory to put packets together in is used again. */
static void test_many(void)
{
	struct sample s[64];
	static uint8_t kept[64][2000];

	test_case("X4.5_a_ring_full_of_checksums_in_one_turn");
	begin(&(struct front_config){.no_csum_offload = true, .no_ipv6_csum = true}, NULL);
	for (unsigned int k = 0; k < 64; k++) {
		s[k] = (struct sample){.spec = {.ipv6 = k % 2,
						.udp = k % 3 == 0,
						.payload = 1300,
						.tcp_flags = 0x10,
						.seed = (uint8_t)k}};
		make(&s[k]);
		memcpy(kept[k], whole, s[k].len);
		client_sends(&s[k]);
	}
	CHECK_INT(rig_move(&w.r, w.pa, w.pb), 64);
	front_reap(&w.a);
	for (unsigned int k = 0; k < 64; k++) {
		struct arrival a;

		CHECK(client_receives(&a));
		oracle_complete(kept[k], s[k].len);
		CHECK(a.len == s[k].len && memcmp(got, kept[k], a.len) == 0);
	}
	/* and frames that need more of it than there is at once */
	for (unsigned int k = 0; k < 5; k++) {
		s[0] = (struct sample){.spec = {.payload = 60000, .seed = 77, .tcp_flags = 0x10},
				       .mss = 1460};
		make(&s[0]);
		client_sends(&s[0]);
	}
	CHECK_INT(rig_move(&w.r, w.pa, w.pb), 5);
	front_reap(&w.a);
	for (unsigned int k = 0; k < 5; k++) {
		unsigned int n = oracle_count(whole, s[0].len, 1460);

		for (unsigned int i = 0; i < n; i++) {
			struct arrival a;
			size_t len = oracle_piece(whole, s[0].len, 1460, i, want);

			CHECK(client_receives(&a));
			CHECK(a.len == len && memcmp(got, want, len) == 0);
		}
	}
	CHECK_INT(w.pb->stats.tx_frames, 64 + 5 * 42);
	end();
}

/* RFC 768: a sum of zero is sent as all ones; to a client and to the netvm. */
static void test_udp_zero(void)
{
	struct arrival a;

	test_case("X4.4_zero_of_udp_is_ffff");
	begin(&(struct front_config){.no_csum_offload = true, .no_ipv6_csum = true},
	      &(struct fake_backend_config){.no_csum_offload = true, .no_ipv6_csum = true});
	for (int v6 = 0; v6 < 2; v6++) {
		for (int to_netvm = 0; to_netvm < 2; to_netvm++) {
			struct sample s = {.spec = {.ipv6 = v6, .udp = true, .payload = 500}};
			size_t at;

			make(&s);
			memset(whole + s.len - 2, 0, 2);
			oracle_complete(whole, s.len);
			at = oracle_l4(whole) + 6;
			memcpy(whole + s.len - 2, whole + at, 2); /* now the sum is ffff */
			memcpy(want, whole, s.len);
			s.len = oracle_make(whole, &s.spec);
			memcpy(whole + s.len - 2, want + s.len - 2, 2);
			client_sends(&s);
			CHECK_INT(rig_move(&w.r, w.pa, to_netvm ? w.pu : w.pb), 1);
			front_reap(&w.a);
			CHECK(to_netvm ? netvm_receives(&a) : client_receives(&a));
			CHECK(got[at] == 0xff && got[at + 1] == 0xff);
			CHECK(oracle_is_right(got, a.len));
		}
	}
	end();
}

/* --- room, bounds, faults ------------------------------------------------------------------ */
/* Take a frame by hand, so that its fate can be looked at. */
static struct frame *take_frame(struct port *in)
{
	static struct frame f;
	struct frame *fs = &f;
	struct packet p;

	if (!CHECK(in->ops->rx_burst(in, &fs, 1, w.r.batch) == 1))
		exit(test_end());
	copy_batch_run(w.r.batch);
	CHECK_INT(packet_parse_ip4(&f, &p, false), DROP_NONE);
	CHECK_INT(packet_parse_l4(&f, &p), DROP_NONE);
	return &f;
}

static void give_back(struct port *in, struct frame *f)
{
	in->ops->complete(in, f, true);
	in->ops->rx_flush(in);
	front_reap(&w.a);
}

static void test_room_client(void)
{
	struct sample s = {.spec = {.payload = 14480, .tcp_flags = 0x18},
			   .mss = 1448}; /* 10 packets */
	struct frame *f;

	test_case("X3.6_a_cut_frame_waits_for_all_of_its_slots");
	begin(&(struct front_config){.no_gso = true, .rx_post = 9}, NULL);
	make(&s);
	client_sends(&s);
	f = take_frame(w.pa);
	CHECK_INT(w.pb->ops->tx(w.pb, f, w.r.batch), -EAGAIN);
	copy_batch_run(w.r.batch);
	w.pb->ops->tx_flush(w.pb);
	CHECK_INT(front_recv(&w.b, got, sizeof(got), NULL, true), 0);
	w.pb->tx_blocked = true;
	w.pb->ready = false;
	CHECK(!w.pb->ops->rx_arm(w.pb));
	front_post(&w.b, 1);
	netback_poll_events(w.r.nb);
	CHECK(w.pb->ready); /* asked for exactly that */
	w.pb->tx_blocked = false;
	CHECK_INT(w.pb->ops->tx(w.pb, f, w.r.batch), 0);
	copy_batch_run(w.r.batch);
	w.pb->ops->tx_flush(w.pb);
	give_back(w.pa, f);
	CHECK(arrives(&s, client_receives, (struct can){false, true}));
	front_post(&w.b, RING_SLOTS);

	test_case("X4.5_more_packets_than_a_ring_holds_are_dropped_whole");
	s.mss = 56; /* 259 packets */
	make(&s);
	client_sends(&s);
	f = take_frame(w.pa);
	CHECK_INT(w.pb->ops->tx(w.pb, f, w.r.batch), -EMSGSIZE);
	CHECK_INT(w.pb->stats.tx_dropped, 1);
	give_back(w.pa, f);
	CHECK_INT(w.a.tx_error, 0); /* nothing was wrong with it */
	CHECK_INT(front_recv(&w.b, got, sizeof(got), NULL, true), 0);
	s.mss = 57; /* 255 */
	client_sends(&s);
	CHECK_INT(rig_move(&w.r, w.pa, w.pb), 1);
	front_reap(&w.a);
	CHECK(arrives(&s, client_receives, (struct can){false, true}));
	CHECK_INT(w.pb->stats.tx_dropped, 1);
	end();

	test_case("X4.5_no_room_in_a_slot_without_scatter_gather");
	begin(&(struct front_config){.no_sg = true}, NULL);
	s = (struct sample){.spec = {.payload = 20000, .tcp_flags = 0x19},
			    .mss = 4043}; /* 54 + 4043 = 4097 */
	make(&s);
	client_sends(&s);
	f = take_frame(w.pa);
	CHECK_INT(w.pb->ops->tx(w.pb, f, w.r.batch), -EOPNOTSUPP);
	give_back(w.pa, f);
	s.mss = 4042;
	client_sends(&s);
	CHECK_INT(rig_move(&w.r, w.pa, w.pb), 1);
	front_reap(&w.a);
	CHECK(arrives(&s, client_receives, (struct can){false, true}));
	s = (struct sample){.spec = {.payload = 5000, .tcp_flags = 0x10}, .complete = true};
	make(&s);
	client_sends(&s); /* no GSO, too large: cannot be helped */
	f = take_frame(w.pa);
	CHECK_INT(w.pb->ops->tx(w.pb, f, w.r.batch), -EOPNOTSUPP);
	give_back(w.pa, f);
	CHECK_INT(w.pb->stats.tx_dropped, 2);
	end();
}

static void test_room_netvm(void)
{
	struct sample s = {.spec = {.payload = 60000, .tcp_flags = 0x90},
			   .mss = 1100}; /* 55 packets */
	unsigned int sent = 0;
	struct frame *f;

	test_case("X3.6_a_cut_frame_waits_for_the_netvm");
	begin(NULL, &(struct fake_backend_config){.no_gso4 = true});
	make(&s);
	for (;; sent++) {
		client_sends(&s);
		f = take_frame(w.pa);
		if (w.pu->ops->tx(w.pu, f, w.r.batch))
			break;
		copy_batch_run(w.r.batch);
		w.pu->ops->tx_flush(w.pu);
		give_back(w.pa, f);
	}
	CHECK_INT(sent, 4);
	w.pu->tx_blocked = true;
	/* 36 slots are free, enough for any frame that is not cut: no spinning */
	CHECK(!w.pu->ops->rx_arm(w.pu));
	while (fake_backend_take(&w.up, got, sizeof(got), NULL, true) > 0)
		;
	netback_poll_events(w.r.nb);
	w.pu->ready = false;
	CHECK(!w.pu->ops->rx_arm(w.pu));
	CHECK_INT(w.pu->ops->tx(w.pu, f, w.r.batch), -EAGAIN);
	fake_backend_answer(&w.up, 54); /* a quarter of what is out, less one */
	netback_poll_events(w.r.nb);
	CHECK(!w.pu->ready);
	fake_backend_answer(&w.up, 1);
	netback_poll_events(w.r.nb);
	CHECK(w.pu->ready);
	w.pu->tx_blocked = false;
	CHECK_INT(w.pu->ops->tx(w.pu, f, w.r.batch), 0);
	copy_batch_run(w.r.batch);
	w.pu->ops->tx_flush(w.pu);
	give_back(w.pa, f);
	CHECK(arrives(&s, netvm_receives, (struct can){false, true}));
	fake_backend_answer(&w.up, RING_SLOTS);

	test_case("X4.5_more_packets_than_the_netvm_ring_holds_are_dropped_whole");
	s.mss = 230; /* 261 */
	client_sends(&s);
	f = take_frame(w.pa);
	CHECK_INT(w.pu->ops->tx(w.pu, f, w.r.batch), -EMSGSIZE);
	CHECK_INT(w.pu->stats.tx_dropped, 1);
	give_back(w.pa, f);
	CHECK_INT(fake_backend_take(&w.up, got, sizeof(got), NULL, false), 0);
	end();
}

/* A TAP's frame may be 64 KiB and an Ethernet header; a request's size has 16 bits. */
static void test_over_65535(void)
{
	struct sample s = {.spec = {.payload = 65535 - 40, .tcp_flags = 0x18}, .mss = 1460};
	struct frame f = {.gso = GSO_TCPV4,
			  .gso_size = 1460,
			  .csum = CSUM_PARTIAL,
			  .csum_start = 34,
			  .csum_offset = 16,
			  .header_len = 192};

	test_case("X3.7_over_65535_bytes_to_a_client_and_in_packets_to_the_netvm");
	begin(NULL, NULL);
	make(&s);
	CHECK_INT(s.len, 65549);
	netvm_sends(&s);
	CHECK_INT(rig_move(&w.r, w.pu, w.pb), 1);
	CHECK(arrives(&s, client_receives, (struct can){true, true}));
	memcpy(f.header, whole, 192);
	f.seg[0] = (struct frame_seg){.local = whole + 192, .len = (uint32_t)s.len - 192};
	f.nseg = 1;
	f.len = (uint32_t)s.len;
	CHECK_INT(w.pu->ops->tx(w.pu, &f, w.r.batch), 0);
	copy_batch_run(w.r.batch);
	w.pu->ops->tx_flush(w.pu);
	CHECK(arrives(&s, netvm_receives, (struct can){false, true}));
	end();
}

/* Every copy of a converted frame fails once: the frame is lost whole, its
 * neighbour is not, and nothing of anybody else's shows. */
static void faults(const struct front_config *front, const struct fake_backend_config *back,
		   bool to_netvm, struct can can)
{
	struct sample s = {.spec = {.payload = 9000, .seed = 3, .tcp_flags = 0x18}, .mss = 1448};
	uint32_t bad;
	bool more = true;

	for (bad = 1; more && bad < 200; bad++) {
		begin(front, back);
		make(&s);
		client_sends(&s);
		fake_fail(w.r.f, FAKE_COPY_OP, bad, 1, FAKE_GNTST_BAD_GREF);
		CHECK_INT(rig_move(&w.r, w.pa, to_netvm ? w.pu : w.pb), 1);
		more = copy_batch_stats(w.r.batch)->failed == 1;
		front_reap(&w.a);
		CHECK_INT(w.a.tx_error > 0, more);
		if (more) {
			CHECK_INT(fake_backend_take(&w.up, got, sizeof(got), NULL, false), 0);
			/* a client hears of packets that are none */
			for (long n; (n = front_recv(&w.b, got, sizeof(got), NULL, false)) != 0;)
				if (!CHECK(n < 0 && !to_netvm && w.b.bad == 0))
					return;
			CHECK_INT((to_netvm ? w.pu : w.pb)->stats.tx_frames, 0);
			fake_fail(w.r.f, FAKE_COPY_OP, 0, 0, 0);
			client_sends(&s);
			CHECK_INT(rig_move(&w.r, w.pa, to_netvm ? w.pu : w.pb), 1);
			front_reap(&w.a);
		}
		CHECK(arrives(&s, to_netvm ? netvm_receives : client_receives, can));
		end();
	}
	CHECK(bad > 10 && bad < 200);
}

static void test_faults(void)
{
	test_case("hp_361_partial_batch: each copy of a cut frame fails once");
	faults(&(struct front_config){.no_gso = true}, NULL, false, (struct can){false, true});
	test_case("hp_361_partial_batch: each copy of a cut and summed frame fails once");
	faults(&(struct front_config){.no_csum_offload = true}, NULL, false,
	       (struct can){false, false});
	test_case("hp_361_partial_batch: each copy of a frame cut for the netvm fails once");
	faults(NULL, &(struct fake_backend_config){.no_csum_offload = true, .no_gso4 = true}, true,
	       (struct can){false, false});
}

int main(void)
{
	test_to_client();
	test_to_netvm();
	test_many();
	test_udp_zero();
	test_room_client();
	test_room_netvm();
	test_over_65535();
	test_faults();
	return test_end();
}
