// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The packet turn with payloads in granted pages: what the engine has to see is
 * fetched, what it does not is copied page to page; the engine's own frames find
 * their way to busy receivers and to ones that go. Bytes are looked at when the
 * receiver is told, as a guest would.
 */
#include "firewall/engine_impl.h"
#include "firewall/forward.h"
#include "netback/copy.h"
#include "netback/port.h"
#include "netback/xen.h"
#include "tests/unit/check.h"
#include "tests/unit/lab6.h"

#include <errno.h>

#define SLOTS 256
#define PAGES 3 /* of one packet */
#define OUTS  600
#define BYTES 9100

struct gport {
	struct port port;
	uint8_t head[SLOTS][FRAME_HEADER_COPY];
	uint8_t pages[SLOTS][PAGES][4096];
	size_t len[SLOTS];
	unsigned int offered, taken;
	unsigned int room, completed, bad;
	struct frame *reserved[OUTS];
	unsigned int reserved_n;
	uint8_t out[OUTS][BYTES];
	size_t out_len[OUTS];
	unsigned int outs;
};

static struct gport ports[3]; /* uplink, two clients */
static struct lab lab;
static struct forward *fwd;
static struct copy_batch *batch;
static uint64_t now_us;
static uint32_t bad_gref;
static unsigned int copies;

static struct gport *gport_of(struct port *port)
{
	return (struct gport *)port; /* first member */
}

static const uint8_t *granted(uint16_t domid, uint32_t gref)
{
	return ports[domid].pages[gref / PAGES][gref % PAGES];
}

static int mock_copy(struct xen *x, struct xen_copy *ops, size_t n)
{
	(void)x;
	for (size_t i = 0; i < n; i++) {
		struct xen_copy *op = &ops[i];

		copies++;
		op->status = op->src.gref == bad_gref ? -1 : 0;
		if (op->status == 0)
			memcpy(op->dst.local, granted(op->src.domid, op->src.gref) + op->src.off,
			       op->len);
	}
	return 0;
}

static const struct xen_ops mock_ops = {.copy = mock_copy};
static struct xen mock = {.ops = &mock_ops};

static size_t g_rx_burst(struct port *port, struct frame **frames, size_t n, struct copy_batch *b)
{
	struct gport *g = gport_of(port);
	size_t k = 0;

	(void)b;
	for (; k < n && g->taken < g->offered; k++, g->taken++) {
		struct frame *f = frames[k];
		unsigned int s = g->taken;
		size_t left = g->len[s], head = left < FRAME_HEADER_COPY ? left : FRAME_HEADER_COPY;

		memset(f, 0, sizeof(*f));
		memcpy(f->header, g->head[s], head);
		f->header_len = (uint16_t)head;
		f->len = (uint32_t)left;
		f->domid = port->id;
		f->cookie = s;
		f->cookie_slots = 1;
		left -= head;
		for (uint32_t p = 0; left > 0; p++) {
			size_t part = left < 4000 ? left : 4000;

			f->seg[f->nseg++] = (struct frame_seg){
			    .gref = s * PAGES + p, .off = 64, .len = (uint32_t)part};
			left -= part;
		}
	}
	return k;
}

static int g_tx(struct port *port, struct frame *f, struct copy_batch *b)
{
	struct gport *g = gport_of(port);

	(void)b;
	if (g->room == 0)
		return -EAGAIN;
	g->room--;
	g->reserved[g->reserved_n++] = f;
	return 0;
}

static void g_tx_flush(struct port *port)
{
	struct gport *g = gport_of(port);

	for (unsigned int i = 0; i < g->reserved_n; i++) {
		const struct frame *f = g->reserved[i];
		uint8_t *b = g->out[g->outs];
		size_t n = f->header_len;

		memcpy(b, f->header, n);
		for (unsigned int s = 0; s < f->nseg; s++) {
			const struct frame_seg *seg = &f->seg[s];

			memcpy(b + n,
			       seg->local ? (const uint8_t *)seg->local
					  : granted(f->domid, seg->gref) + seg->off,
			       seg->len);
			n += seg->len;
		}
		CHECK_INT(n, f->len);
		g->out_len[g->outs++] = n;
	}
	g->reserved_n = 0;
}

static void g_complete(struct port *port, struct frame *f, bool ok)
{
	struct gport *g = gport_of(port);

	CHECK(f->cookie < g->taken); /* its own, not the engine's */
	g->completed++;
	g->bad += !ok;
}

static void g_rx_flush(struct port *port)
{
	(void)port;
}

static bool g_rx_arm(struct port *port)
{
	(void)port;
	return false;
}

static const struct port_ops g_ops = {
    .rx_burst = g_rx_burst,
    .tx = g_tx,
    .tx_flush = g_tx_flush,
    .complete = g_complete,
    .rx_flush = g_rx_flush,
    .rx_arm = g_rx_arm,
    .free = g_rx_flush,
};

/* What the engine says before anybody asks is another test's business. */
static void hush(void)
{
	struct frame f;

	while (engine_take(lab.e, &f))
		engine_done(lab.e, &f);
	for (int i = 0; i < 3; i++) {
		ports[i].outs = 0;
		ports[i].completed = ports[i].bad = 0;
	}
}

static void setup(uint16_t mtu)
{
	memset(ports, 0, sizeof(ports));
	lab_init(&lab, 1024, 9);
	lab6_ifaces(&lab, mtu);
	lab_rules(&lab, C1, "accept", NULL);
	lab_rules(&lab, C2, "accept", NULL);
	lab6_accept(&lab, C16);
	lab6_accept(&lab, C26);
	bad_gref = UINT32_MAX;
	now_us = lab.ms * 1000;
	if (copy_batch_new(&batch, &mock) || forward_new(&fwd, lab.e, batch))
		abort();
	for (int i = 0; i < 3; i++) {
		ports[i].port = (struct port){
		    .ops = &g_ops, .kind = PORT_MEM, .fd = -1, .link = true, .generation = 1};
		ports[i].room = 100000;
		CHECK_INT(forward_add(fwd, &ports[i].port), 0);
		CHECK_INT(ports[i].port.id, i);
	}
	hush();
}

/* Nothing of the engine's is left when nothing is on its way. */
static void teardown(void)
{
	CHECK_INT(engine_check(lab.e), 0);
	CHECK_INT(lab.e->frags.used_datagrams, 0);
	CHECK_INT(lab.e->frags.used_blocks, 0);
	CHECK(!forward_waiting(fwd));
	forward_free(&fwd);
	copy_batch_free(&batch);
	engine_free(&lab.e);
}

/* The frame in lab.in waits in the ring of its port. */
static void offer(void)
{
	struct gport *g = &ports[lab.in.f.in_port];
	size_t len = lab.in.flat_len, head = len < FRAME_HEADER_COPY ? len : FRAME_HEADER_COPY;
	unsigned int s = g->offered++;

	if (g->offered > SLOTS || len > BYTES)
		abort();
	g->len[s] = len;
	memcpy(g->head[s], lab.in.flat, head);
	for (unsigned int p = 0; head < len; p++) {
		size_t part = len - head < 4000 ? len - head : 4000;

		memcpy(g->pages[s][p] + 64, lab.in.flat + head, part);
		head += part;
	}
	g->port.ready = true;
}

static void turn(void)
{
	now_us += 1000;
	forward_turn(fwd, now_us);
}

/* The payload of a UDP frame, of either family, is the pattern of @fill. */
static bool pattern_ok(const uint8_t *b, size_t at, size_t len, uint8_t fill, size_t from)
{
	for (size_t i = 0; i < len; i++)
		if (b[at + i] != (uint8_t)((from + i) * 7 + 3 + fill))
			return false;
	return true;
}

static struct l4 udp4(uint16_t port, size_t len, uint8_t fill)
{
	return (struct l4){.proto = 17,
			   .src = lab_ip[port],
			   .dst = WEB,
			   .sp = 5000,
			   .dp = 80,
			   .len = len,
			   .fill = fill};
}

static void offer_parts(uint16_t port, uint8_t fill, size_t len, size_t first)
{
	struct l4 k = udp4(port, len, fill);
	uint8_t whole[LAB_TAIL];
	size_t n = lab4_udp(whole, &k);
	struct part p = {port, k.src, k.dst, 17, fill, 0, first, true};

	lab4_part(&lab.in, &p, whole);
	offer();
	p.off = first;
	p.len = n - first;
	p.more = false;
	lab4_part(&lab.in, &p, whole);
	offer();
}

static void test_fragments(void)
{
	struct gport *up = &ports[0], *c1 = &ports[1];

	test_case("F1_fragments_in_granted_pages");
	setup(1500);
	offer_parts(1, 11, 2500, 1480);
	turn();
	CHECK_INT(c1->completed, 2); /* taken: the sender has its slots back */
	CHECK_INT(c1->bad, 0);
	CHECK_INT(up->outs, 2);
	CHECK_INT(up->out_len[0], 1514);
	CHECK(pattern_ok(up->out[0], 42, 1472, 11, 0));
	CHECK(pattern_ok(up->out[1], 34, up->out_len[1] - 34, 11, 1472));
	CHECK_INT(copies, 2);
	teardown();

	test_case("F1_fragments_wait_for_a_busy_receiver");
	setup(1500);
	up->room = 1;
	offer_parts(1, 11, 2500, 1480);
	turn();
	CHECK_INT(c1->completed, 2); /* the engine has copied them */
	CHECK_INT(up->outs, 1);
	CHECK(forward_waiting(fwd));
	offer_parts(2, 77, 2500, 1480); /* must not change what waits */
	turn();
	up->room = 100;
	turn();
	CHECK_INT(up->outs, 4);
	CHECK(pattern_ok(up->out[1], 34, up->out_len[1] - 34, 11, 1472));
	CHECK(pattern_ok(up->out[2], 42, 1472, 77, 0));
	teardown();

	test_case("hp_392_rx_stall_of_the_engines_frames");
	setup(1500);
	up->room = 0;
	offer_parts(1, 11, 2500, 1480);
	turn();
	CHECK(forward_waiting(fwd));
	now_us += FORWARD_QUEUE_MS * 1000 + 1;
	turn();
	CHECK_INT(up->outs, 0);
	CHECK_INT(forward_stats(fwd)->drops[DROP_TX_FULL], 2);
	teardown();

	test_case("F1_echo_reply_in_pieces");
	setup(1500);
	{
		uint8_t ip[LAB_TAIL];
		struct pk k = {.src = C1, .dst = OUR, .proto = 1, .type = 8, .sp = 9, .len = 2000};
		size_t n = lab_ip4(ip, &k) - 20;
		struct part p = {1, C1, OUR, 1, 4, 0, 1480, true};

		lab4_part(&lab.in, &p, ip + 20);
		offer();
		p = (struct part){1, C1, OUR, 1, 4, 1480, n - 1480, false};
		lab4_part(&lab.in, &p, ip + 20);
		offer();
		turn();
		CHECK_INT(c1->outs, 2);
		CHECK_INT(c1->out[0][34], 0); /* echo reply */
		CHECK_INT(c1->out_len[0] + c1->out_len[1], 34 + 1480 + 34 + n - 1480);
	}
	teardown();
}

static void test_split(void)
{
	struct gport *up = &ports[0], *c1 = &ports[1];
	struct pk k = {
	    .port = 1, .src = C1, .dst = WEB, .proto = 17, .sp = 1, .dp = 2, .len = 1400};

	test_case("P11_split_for_a_narrow_uplink");
	setup(1500);
	lab_uplink(&lab, OUR, 1000);
	hush();
	lab_build(&lab.in, &k);
	offer();
	turn();
	CHECK_INT(c1->completed, 1);
	CHECK_INT(up->outs, 2);
	CHECK_INT(up->out_len[0], 14 + 20 + 976);
	CHECK(pattern_ok(up->out[0], 42, 968, 0, 0));
	CHECK(pattern_ok(up->out[1], 34, 1400 - 968, 0, 968));
	teardown();

	test_case("hp_361_payload_copy_failed");
	setup(1500);
	lab_uplink(&lab, OUR, 1000);
	hush();
	lab_build(&lab.in, &k);
	offer();
	bad_gref = 0;
	turn();
	CHECK_INT(c1->completed, 1);
	CHECK_INT(c1->bad, 1);
	CHECK_INT(up->outs, 0);
	CHECK_INT(engine_stats(lab.e)->drops[DROP_COPY_FAILED], 1);
	teardown();
}

static void test_going(void)
{
	struct gport *up = &ports[0], *c1 = &ports[1];

	test_case("hp_350_receiver_gone_with_the_engines_frames");
	setup(1500);
	up->room = 0;
	offer_parts(1, 11, 2500, 1480);
	turn();
	CHECK(forward_waiting(fwd));
	forward_purge(fwd, &up->port);
	up->port.generation++;
	CHECK_INT(c1->completed, 2);
	teardown();

	test_case("Q7_sender_gone_with_fragments_on_their_way");
	setup(1500);
	up->room = 1;
	offer_parts(1, 11, 2500, 1480);
	turn();
	c1->port.link = false;
	forward_remove(fwd, &c1->port);
	engine_iface_clear(lab.e, 1);
	CHECK_INT(engine_check(lab.e), 0);
	up->room = 100;
	turn();
	CHECK_INT(up->outs, 2); /* it was accepted and sent before */
	CHECK(pattern_ok(up->out[1], 34, up->out_len[1] - 34, 11, 1472));
	teardown();

	test_case("forward_uplink_without_link_takes_no_fragments");
	setup(1500);
	up->port.link = false;
	offer_parts(1, 11, 2500, 1480);
	turn();
	CHECK_INT(up->outs, 0);
	CHECK_INT(forward_stats(fwd)->drops[DROP_NO_IFACE], 2);
	teardown();
}

static void test_tick(void)
{
	uint8_t whole[LAB_TAIL];
	struct l4 k = udp4(1, 2500, 5);
	struct part p = {1, C1, WEB, 17, 5, 0, 1480, true};

	test_case("F11_answer_leaves_with_the_tick");
	setup(1500);
	lab4_udp(whole, &k);
	lab4_part(&lab.in, &p, whole);
	offer();
	turn();
	CHECK_INT(ports[1].outs, 0);
	for (int i = 0; i < 31; i++) {
		now_us += 1000000;
		forward_tick(fwd, now_us);
	}
	CHECK_INT(ports[1].outs, 1);
	CHECK_INT(ports[1].out[0][34], 11);
	CHECK_INT(ports[1].out[0][35], 1);
	teardown();
}

/* --- payloads that the engine looked at, of frames that leave as they are -------------- */

/* 1400 bytes without DF, where some other port takes less: fetched, not split. */
static void offer_plain(uint16_t port, uint8_t fill, size_t len)
{
	struct l4 k = udp4(port, len, fill);
	uint8_t whole[LAB_TAIL];
	struct part p = {port, k.src, k.dst, 17, 1, 0, lab4_udp(whole, &k), false};

	lab4_part(&lab.in, &p, whole);
	offer();
}

static void narrow_somebody(void)
{
	struct engine_iface i = {.kind = IFACE_CLIENT, .mtu = 576};

	memcpy(i.mac, lab_mac[3], 6);
	i.ip4 = lab_to_addr(C3);
	if (engine_iface_set(lab.e, 3, &i) != 0)
		abort();
	hush();
}

static void test_fetched(void)
{
	struct gport *up = &ports[0];

	test_case("Q3_queued_payload_is_not_the_next_ones");
	setup(1500);
	narrow_somebody();
	up->room = 0;
	offer_plain(1, 11, 1400);
	turn();
	CHECK(forward_waiting(fwd));
	offer_plain(2, 77, 1400);
	turn();
	up->room = 100;
	turn();
	CHECK_INT(up->outs, 2);
	CHECK(pattern_ok(up->out[0], 42, 1400, 11, 0));
	CHECK(pattern_ok(up->out[1], 42, 1400, 77, 0));
	teardown();

	test_case("Q3_queued_payload_behind_an_extension_header");
	setup(1500);
	up->room = 0;
	for (uint16_t c = 1; c <= 2; c++) {
		uint8_t b[LAB_TAIL] = {17, 0, 1, 4}; /* destination options, padding */
		struct l4 k = {.proto = 17,
			       .src = c == 1 ? C16 : C26,
			       .dst = WEB6,
			       .sp = 5,
			       .dp = 6,
			       .len = 1200,
			       .fill = (uint8_t)(c * 50)};

		lab6_raw(&lab.in, c, k.src, k.dst, 60, b, 8 + lab6_l4(b + 8, &k));
		offer();
		turn();
	}
	up->room = 100;
	turn();
	CHECK_INT(up->outs, 2);
	CHECK(pattern_ok(up->out[0], 14 + 40 + 8 + 8, 1200, 50, 0));
	CHECK(pattern_ok(up->out[1], 14 + 40 + 8 + 8, 1200, 100, 0));
	teardown();

	test_case("Q3_payloads_of_one_turn_do_not_mix");
	setup(9000);
	narrow_somebody();
	for (unsigned int i = 0; i < 64; i++)
		offer_plain(1, (uint8_t)i, 8800);
	turn();
	CHECK_INT(up->outs, 64);
	for (unsigned int i = 0; i < 64; i++)
		CHECK(pattern_ok(up->out[i], 42, 8800, (uint8_t)i, 0));
	teardown();
}

int main(void)
{
	test_fragments();
	test_split();
	test_going();
	test_tick();
	test_fetched();
	return test_end();
}
