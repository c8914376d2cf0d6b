/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The packet turn with scripted ports: what happens to a sender's slots when the
 * receiver is busy, stalls, fails a copy or goes away.
 */
#include "firewall/forward.h"

#include "netback/port.h"
#include "tests/unit/check.h"

#include <errno.h>
#include <stdlib.h>

#define CLIENT_IP  "10.137.0.5"
#define CLIENT2_IP "10.137.0.6"

/* A port whose peer is this test: packets to offer, room to take. */
struct script {
	struct port port;
	struct copy_batch *batch;
	unsigned int offer;	    /* packets still to hand out */
	unsigned int room;	    /* frames that tx() takes */
	int refuse;		    /* what tx() says instead */
	unsigned int sent;	    /* tx() said 0 */
	unsigned int published;	    /* of these, flushed with a good copy */
	unsigned int completed, completed_bad;
	unsigned int rx_flushes, tx_flushes;
	unsigned int completed_at_publish; /* of the peer sender, order check */
	const struct script *sender;
	struct frame *reserved[1024];
	bool fail_copy, fail_header;
	uint16_t sport, next_seq, last_seq;
	bool out_of_order;
	uint8_t src;
	uint16_t slots; /* that each of its frames holds */
};

static uint16_t ip_sum(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* A UDP packet of 10.137.0.SRC to 192.0.2.1:9 whose IP id counts up. */
static void build(struct frame *f, const struct script *s, uint16_t seq)
{
	static const uint8_t gw[6] = {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff};
	uint8_t *h = f->header, *ip = h + 14, *udp = ip + 20;
	uint16_t sum;

	memset(f, 0, sizeof(*f));
	memcpy(h, gw, 6);
	memcpy(h + 6, s->port.mac, 6);
	h[12] = 0x08;
	ip[0] = 0x45;
	ip[3] = 28;
	ip[4] = (uint8_t)(seq >> 8);
	ip[5] = (uint8_t)seq;
	ip[8] = 64;
	ip[9] = 17;
	memcpy(ip + 12, (uint8_t[]){10, 137, 0, s->src}, 4);
	memcpy(ip + 16, (uint8_t[]){192, 0, 2, 1}, 4);
	sum = ip_sum(ip, 20);
	ip[10] = (uint8_t)(sum >> 8);
	ip[11] = (uint8_t)sum;
	udp[0] = (uint8_t)(s->sport >> 8);
	udp[1] = (uint8_t)s->sport;
	udp[3] = 9;
	udp[5] = 8;
	f->header_len = 42;
	f->len = 42;
}

static struct script *script_of(struct port *port)
{
	return (struct script *)port; /* first member */
}

static size_t s_rx_burst(struct port *port, struct frame **frames, size_t n,
			 struct copy_batch *batch)
{
	struct script *s = script_of(port);
	size_t k = 0;

	(void)batch;
	for (; k < n && s->offer > 0; k++, s->offer--) {
		build(frames[k], s, s->next_seq++);
		frames[k]->copy_failed = s->fail_header;
		frames[k]->cookie_slots = s->slots;
	}
	return k;
}

static int s_tx(struct port *port, struct frame *f, struct copy_batch *batch)
{
	struct script *s = script_of(port);
	uint16_t seq = (uint16_t)(f->header[18] << 8 | f->header[19]);

	(void)batch;
	if (s->refuse)
		return s->refuse;
	if (s->room == 0)
		return -EAGAIN;
	s->room--;
	if (s->sent > 0 && f->header[14 + 20] == 0 && seq != (uint16_t)(s->last_seq + 1))
		s->out_of_order = true;
	s->last_seq = seq;
	f->copy_failed = s->fail_copy;
	s->reserved[s->sent - s->published] = f;
	s->sent++;
	return 0;
}

static void s_tx_flush(struct port *port)
{
	struct script *s = script_of(port);

	s->tx_flushes++;
	if (s->sender != NULL)
		s->completed_at_publish = s->sender->completed;
	for (unsigned int i = s->published; i < s->sent; i++)
		if (!s->fail_copy)
			s->published++;
}

static void s_complete(struct port *port, struct frame *f, bool ok)
{
	struct script *s = script_of(port);

	(void)f;
	s->completed++;
	s->completed_bad += !ok;
}

static void s_rx_flush(struct port *port)
{
	script_of(port)->rx_flushes++;
}

static bool s_rx_arm(struct port *port)
{
	return script_of(port)->offer > 0;
}

static void s_free(struct port *port)
{
	(void)port;
}

static const struct port_ops script_ops = {
	.rx_burst = s_rx_burst, .tx = s_tx, .tx_flush = s_tx_flush, .complete = s_complete,
	.rx_flush = s_rx_flush, .rx_arm = s_rx_arm, .free = s_free,
};

static struct rig {
	struct engine *e;
	struct copy_batch *batch;
	struct forward *f;
	struct script up, down, a, b;
	uint64_t now_us;
} r;

static struct addr ip(const char *text)
{
	struct addr a = {0};

	CHECK(addr_parse(text, strlen(text), &a) == 0);
	return a;
}

static void add(struct script *s, enum port_role role, uint8_t last, const char *addr)
{
	struct engine_iface iface = {.mtu = 1500, .gateway4 = ip("10.137.0.1")};

	memset(s, 0, sizeof(*s));
	s->port = (struct port){.ops = &script_ops, .kind = PORT_MEM, .role = role, .fd = -1,
				.link = true, .ready = true, .generation = 1};
	s->port.mac[5] = last;
	s->src = last;
	s->sport = 1000;
	s->room = 1000000;
	CHECK_INT(forward_add(r.f, &s->port), 0);
	iface.kind = role == PORT_ROLE_UPLINK ? IFACE_UPLINK : IFACE_CLIENT;
	iface.ip4 = ip(addr);
	memcpy(iface.mac, s->port.mac, 6);
	CHECK_INT(engine_iface_set(r.e, s->port.id, &iface), 0);
	engine_iface_link(r.e, s->port.id, true);
}

static void allow(const char *addr)
{
	static const struct rule_pair pairs[] = {
		{"policy", "drop", 4}, {"0000", "action=accept", 13},
	};
	struct policy_env env = {0};
	struct ruleset *rs = NULL;
	struct policy *p = NULL;
	struct addr a = ip(addr);

	CHECK_INT(ruleset_parse(&rs, 4, pairs, 2, NULL), 0);
	CHECK_INT(policy_compile(&p, rs, &env), 0);
	CHECK_INT(engine_source_set(r.e, &a, p, ENGINE_RULES), 0);
	ruleset_free(&rs);
}

/* The engine asks for its neighbours first; that is another test's business. */
static void say_hello(void)
{
	struct frame f;

	engine_tick(r.e, (struct engine_time){ r.now_us / 1000 });
	while (engine_take(r.e, &f))
		engine_done(r.e, &f);
}

static void setup(void)
{
	struct engine_config config = {.flow_max = 1024};

	memset(&r, 0, sizeof(r));
	CHECK_INT(engine_new(&r.e, &config), 0);
	CHECK_INT(copy_batch_new(&r.batch, NULL), 0);
	CHECK_INT(forward_new(&r.f, r.e, r.batch), 0);
	r.now_us = 1000000;
	add(&r.up, PORT_ROLE_UPLINK, 1, "10.137.0.4");
	add(&r.a, PORT_ROLE_CLIENT, 5, CLIENT_IP);
	add(&r.b, PORT_ROLE_CLIENT, 6, CLIENT2_IP);
	r.up.sender = &r.a;
	allow(CLIENT_IP);
	allow(CLIENT2_IP);
	say_hello();
}

static void teardown(void)
{
	forward_free(&r.f);
	copy_batch_free(&r.batch);
	engine_free(&r.e);
}

/* A second uplink takes over, as after a netvm switch: new frames go there. */
static void redirect_uplink(struct script *to)
{
	add(to, PORT_ROLE_UPLINK, 2, "10.137.0.4");
	to->room = 0;
	engine_iface_link(r.e, r.up.port.id, false);
	say_hello();
}

static void turn(void)
{
	r.now_us += 1000;
	forward_turn(r.f, r.now_us);
}

static void test_plain(void)
{
	test_case("forward_one_turn_moves_and_completes");
	setup();
	r.a.offer = 10;
	turn();
	CHECK_INT(r.up.published, 10);
	CHECK_INT(r.a.completed, 10);
	CHECK_INT(r.a.completed_bad, 0);
	CHECK_INT(r.up.tx_flushes, 1);
	CHECK(r.a.rx_flushes >= 1);
	/* answered only after the copies ran and the receiver was told */
	CHECK_INT(r.up.completed_at_publish, 0);
	CHECK(!r.a.port.ready); /* fewer than it could take: the ring is empty */
	teardown();

	test_case("D4_one_port_gets_64_frames_a_turn");
	setup();
	r.a.offer = 500;
	r.b.offer = 10;
	turn();
	CHECK_INT(r.a.completed, 64);
	CHECK_INT(r.b.completed, 10);
	CHECK(r.a.port.ready);
	teardown();
}

static void test_busy(void)
{
	test_case("forward_busy_receiver_keeps_order_and_slots");
	setup();
	r.up.room = 3;
	r.a.offer = 10;
	turn();
	CHECK_INT(r.up.sent, 3);
	CHECK_INT(r.a.completed, 3); /* seven stay unanswered */
	CHECK(forward_waiting(r.f));
	CHECK(r.up.port.tx_blocked);
	r.up.room = 100;
	r.a.offer = 5;
	r.a.port.ready = true;
	turn();
	CHECK_INT(r.up.sent, 15);
	CHECK(!r.up.out_of_order);
	CHECK(!forward_waiting(r.f));
	CHECK(!r.up.port.tx_blocked);
	CHECK_INT(r.a.completed, 15);
	teardown();

	test_case("hp_392_rx_stall_counts_slots");
	setup();
	r.up.room = 0;
	r.a.slots = 17; /* a GSO frame each */
	r.a.offer = 50;
	turn();
	CHECK_INT(50 - r.a.completed, FORWARD_QUEUE_MAX / 17);
	r.now_us += FORWARD_QUEUE_MS * 1000 + 1;
	turn();
	CHECK_INT(r.a.completed, 50);
	CHECK(!forward_waiting(r.f));
	teardown();

	test_case("hp_392_rx_stall");
	setup();
	r.up.room = 0;
	r.a.offer = 400;
	for (int i = 0; i < 10; i++) {
		r.a.port.ready = true;
		turn();
	}
	CHECK_INT(400 - r.a.completed, FORWARD_QUEUE_MAX);
	CHECK_INT(forward_stats(r.f)->drops[DROP_TX_FULL], 400 - FORWARD_QUEUE_MAX);
	/* two stalled receivers hold no more than half of the sender's ring */
	r.down.room = 0;
	r.down.offer = 0;
	redirect_uplink(&r.down);
	r.a.offer = 100;
	r.a.port.ready = true;
	turn();
	r.a.port.ready = true;
	turn();
	CHECK_INT(500 - r.a.completed, FORWARD_HELD_MAX);
	/* the other client still gets its frames queued there */
	r.b.offer = 50;
	r.b.port.ready = true;
	turn();
	CHECK_INT(r.b.completed, 0);
	r.now_us += FORWARD_QUEUE_MS * 1000 + 1;
	turn();
	CHECK_INT(r.a.completed, 500);
	CHECK_INT(r.b.completed, 50);
	CHECK(!forward_waiting(r.f));
	teardown();
}

static void test_failures(void)
{
	test_case("hp_361_partial_batch");
	setup();
	r.up.fail_copy = true;
	r.a.offer = 4;
	turn();
	CHECK_INT(r.a.completed, 4);
	CHECK_INT(r.a.completed_bad, 4);
	CHECK_INT(r.up.published, 0);
	teardown();

	test_case("D8_receiver_cannot_take_a_frame");
	setup();
	r.up.refuse = -EMSGSIZE;
	r.a.offer = 4;
	turn();
	CHECK_INT(r.a.completed, 4); /* not the sender's fault: its slots come back */
	CHECK_INT(r.a.completed_bad, 0);
	CHECK_INT(forward_stats(r.f)->drops[DROP_TX_ERROR], 4);
	CHECK(!forward_waiting(r.f));
	teardown();

	test_case("forward_header_copy_failed");
	setup();
	r.a.fail_header = true;
	r.a.offer = 4;
	r.b.offer = 4;
	turn();
	CHECK_INT(r.a.completed_bad, 4);
	CHECK_INT(forward_stats(r.f)->drops[DROP_COPY_FAILED], 4);
	CHECK_INT(r.b.completed, 4);
	CHECK_INT(r.b.completed_bad, 0);
	teardown();
}

static void test_going_away(void)
{
	test_case("hp_350_sender_gone_while_queued");
	setup();
	r.up.room = 0;
	r.a.offer = 20;
	r.b.offer = 20;
	turn();
	forward_purge(r.f, &r.a.port);
	r.a.port.generation++;
	CHECK_INT(r.a.completed, 0); /* its slots are gone: not answered */
	r.up.room = 100;
	turn();
	CHECK_INT(r.up.sent, 20);
	CHECK_INT(r.b.completed, 20);
	CHECK_INT(r.a.completed, 0);
	CHECK(!forward_waiting(r.f));
	teardown();

	test_case("forward_receiver_gone_while_queued");
	setup();
	r.up.room = 0;
	r.a.offer = 20;
	turn();
	r.up.port.link = false;
	forward_purge(r.f, &r.up.port);
	CHECK_INT(r.a.completed, 20);
	CHECK_INT(r.a.completed_bad, 0);
	CHECK(!forward_waiting(r.f));
	r.a.rx_flushes = 0;
	turn();
	CHECK(r.a.rx_flushes >= 1);
	teardown();

	test_case("forward_index_reused_after_remove");
	setup();
	{
		uint16_t id = r.a.port.id;

		forward_remove(r.f, &r.a.port);
		CHECK(forward_port(r.f, id) == NULL);
		engine_iface_clear(r.e, id);
		add(&r.a, PORT_ROLE_CLIENT, 5, CLIENT_IP);
		CHECK_INT(r.a.port.id, id);
		r.a.offer = 3;
		turn();
		CHECK_INT(r.a.completed, 3);
		CHECK_INT(r.up.published, 3);
	}
	teardown();
}

/* Frames never leak: after any of the above the whole pool moves again. */
static void test_pool(void)
{
	test_case("forward_pool_is_whole_after_stalls");
	setup();
	for (int round = 0; round < 20; round++) {
		r.up.room = (unsigned int)(round % 3) * 10;
		r.a.offer = r.b.offer = 300;
		for (int i = 0; i < 5; i++) {
			r.a.port.ready = r.b.port.ready = true;
			turn();
		}
		r.now_us += FORWARD_QUEUE_MS * 1000 + 1;
		turn();
	}
	r.up.room = 1000000;
	r.a.offer = r.b.offer = 0;
	turn();
	r.a.completed = r.b.completed = 0;
	r.a.offer = r.b.offer = 64;
	r.a.port.ready = r.b.port.ready = true;
	turn();
	CHECK_INT(r.a.completed, 64);
	CHECK_INT(r.b.completed, 64);
	teardown();
}

int main(void)
{
	test_plain();
	test_busy();
	test_failures();
	test_going_away();
	test_pool();
	return test_end();
}
