// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Fragments through the engine, both families: a datagram goes in in pieces and its
 * pieces come out translated, put together here by code of the test's own; what
 * leaks nothing, what is answered, and what a narrow link makes of a large packet.
 */
#include "firewall/engine_impl.h"
#include "tests/unit/check.h"
#include "tests/unit/lab6.h"

static struct lab lab;

/* What came out, as the receiver would put it together. */
static struct {
	uint8_t b[LAB_TAIL]; /* the upper layer */
	size_t end, have;
	unsigned int frames;
	size_t largest; /* IP length of a frame */
	uint16_t port;
	uint8_t head[14 + 60];
	uint8_t later[14 + 60]; /* of the last one that is not the first */
} got;

static void start(uint16_t mtu)
{
	lab_init(&lab, 1024, 61);
	lab6_ifaces(&lab, 1500);
	if (mtu != 1500) {
		struct engine_iface up = lab.e->ifaces[UP].conf;

		up.mtu = mtu;
		CHECK_INT(engine_iface_set(lab.e, UP, &up), 0);
	}
	lab_rules(&lab, C1, "accept", NULL);
	lab6_accept(&lab, C16);
	lab_wait(&lab, 1);
}

static void end(void)
{
	CHECK_INT(engine_check(lab.e), 0);
	CHECK_INT(lab.e->frags.used_datagrams, 0);
	engine_free(&lab.e);
}

static void put(const struct frame *f)
{
	static uint8_t b[LAB_TAIL];
	size_t n = lab_flat(f, b), l4 = 54, off = 0;
	bool more = false;

	if (lab_get16(b + 12) == 0x0800) {
		l4 = 14 + (size_t)(b[14] & 15) * 4;
		CHECK_INT(lab_sum(b + 14, l4 - 14, 0), 0xffff);
		CHECK_INT(lab_get16(b + 16), n - 14);
		off = (size_t)(lab_get16(b + 20) & 0x1fff) * 8;
		more = b[20] & 0x20;
	} else {
		CHECK_INT(lab_get16(b + 18), n - 54);
		if (b[20] == 44) {
			off = lab_get16(b + 56) & 0xfff8;
			more = b[57] & 1;
			l4 = 62;
		}
	}
	CHECK_INT(n, f->len);
	memcpy(got.b + off, b + l4, n - l4);
	got.have += n - l4;
	if (!more)
		got.end = off + n - l4;
	if (n - 14 > got.largest)
		got.largest = n - 14;
	memcpy(off ? got.later : got.head, b, l4);
	got.port = f->out_port;
	got.frames++;
}

/* Everything that the engine has to send. */
static unsigned int take(void)
{
	static struct frame f;

	memset(&got, 0, sizeof(got));
	while (engine_take(lab.e, &f)) {
		put(&f);
		engine_done(lab.e, &f);
	}
	return got.frames;
}

/* It came out whole, with a good checksum. */
static void whole_at(int line, size_t len, const char *src, const char *dst, uint8_t proto)
{
	uint32_t sum = strchr(src, ':') ? lab6_pseudo(src, dst, proto, len) : 0;

	if (!strchr(src, ':')) {
		uint8_t a[8];

		lab_addr(a, src);
		lab_addr(a + 4, dst);
		sum = lab_sum(a, 8, (uint32_t)(proto + len));
	}
	if (got.have != len || got.end != len || lab_sum(got.b, len, sum) != 0xffff)
		test_fail(__FILE__, line, "the datagram is not whole and right");
}

#define WHOLE(len, src, dst, proto) whole_at(__LINE__, len, src, dst, proto)

static uint8_t datagram[LAB_TAIL];

static void piece(bool six, size_t off, size_t len, bool more)
{
	struct part p = {1, six ? C16 : C1, six ? WEB6 : WEB, 17, 0xabcd, off, len, more};

	if (six)
		lab6_part(&lab.in, &p, datagram);
	else
		lab4_part(&lab.in, &p, datagram);
	lab_run(&lab);
	CHECK_INT(lab.in.f.verdict, FRAME_DROP);
}

static size_t make(bool six, size_t len)
{
	struct l4 k = {.proto = 17,
		       .src = six ? C16 : C1,
		       .dst = six ? WEB6 : WEB,
		       .sp = 5000,
		       .dp = 80,
		       .len = len};

	return six ? lab6_l4(datagram, &k) : lab4_udp(datagram, &k);
}

static void test_pieces(void)
{
	for (int six = 0; six < 2; six++) {
		size_t n = 0;

		test_case(six ? "U10_F1_ipv6_any_order" : "U10_F1_ipv4_any_order");
		for (unsigned int order = 0; order < 6; order++) {
			static const uint8_t perm[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
							   {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
			start(1500);
			n = make(six, 3000);
			for (int i = 0; i < 3; i++) {
				unsigned int k = perm[order][i];

				CHECK_INT(take(), 0); /* F14: nothing before the last */
				piece(six, k * 1200, k < 2 ? 1200 : n - 2400, k < 2);
			}
			CHECK_INT(take(), 3);
			CHECK_INT(got.port, UP);
			CHECK(got.largest <= 1248); /* none larger than they came */
			WHOLE(n, six ? OUR6 : OUR, six ? WEB6 : WEB, 17);
			end();
		}
	}
}

/* --- F11: the answer quotes what came, and nothing else ----------------------------------- */

static void test_timeout(void)
{
	for (int six = 0; six < 2; six++) {
		size_t head = six ? 14 + 40 + 8 : 14 + 20 + 8, quoted;

		test_case(six ? "F11_ipv6_hole_leaks_nothing" : "F11_ipv4_hole_leaks_nothing");
		start(1500);
		/* another client's bytes lie in the first block */
		make(six, 4000);
		memset(datagram + 8, 0x5a, 4000);
		lab.in.f.in_port = 1;
		piece(six, 0, 1480, true);
		CHECK_INT(take(), 0);
		make(six, 4000);
		{
			struct part p = {1, six ? C16 : C1, six ? WEB6 : WEB, 17, 7, 0, 8, true};

			six ? lab6_part(&lab.in, &p, datagram) : lab4_part(&lab.in, &p, datagram);
			lab_run(&lab);
			p.off = 2400;
			p.len = 1200;
			six ? lab6_part(&lab.in, &p, datagram) : lab4_part(&lab.in, &p, datagram);
			lab_run(&lab);
		}
		for (int i = 0; i < 61; i++) {
			lab.ms += 1000;
			engine_tick(lab.e, (struct engine_time){lab.ms});
		}
		{
			static struct frame f;
			static uint8_t b[LAB_TAIL];
			unsigned int answers = 0;

			while (engine_take(lab.e, &f)) {
				size_t n = lab_flat(&f, b);

				if (f.out_port == 1) {
					answers++;
					CHECK_INT(b[head - 8], six ? 3 : 11);
					CHECK_INT(b[head - 7], 1);
				}
				/* the one of eight bytes: header, eight bytes, the end */
				quoted = n - head;
				if (f.out_port == 1 && answers == 2)
					CHECK_INT(quoted, six ? 40 + 8 + 8 : 20 + 8);
				engine_done(lab.e, &f);
			}
			CHECK_INT(answers, 2);
			CHECK_INT(engine_stats(lab.e)->drops[DROP_FRAGMENT_TIMEOUT], 2);
		}
		end();
	}

	test_case("F11_no_answer_without_the_first");
	start(1500);
	make(false, 3000);
	piece(false, 1200, 1200, true);
	lab_wait(&lab, 31000);
	CHECK_INT(engine_stats(lab.e)->drops[DROP_FRAGMENT_TIMEOUT], 1);
	CHECK_INT(engine_stats(lab.e)->replied, 0);
	end();
}

/* --- F15, P11 ------------------------------------------------------------------------------- */

static void test_narrow(void)
{
	struct pk k = {
	    .port = 1, .src = C1, .dst = WEB, .proto = 17, .sp = 5000, .dp = 80, .len = 1400};
	size_t n;

	test_case("P11_split_of_a_large_packet");
	start(1000);
	lab_send(&lab, k);
	CHECK_INT(lab.in.f.verdict, FRAME_DROP);
	CHECK_INT(lab.in.f.reason, DROP_NONE);
	CHECK_INT(take(), 2);
	CHECK(got.largest <= 1000);
	WHOLE(1408, OUR, WEB, 17);
	end();

	test_case("P4_split_completes_the_checksum");
	start(1000);
	k.partial = true;
	lab_send(&lab, k);
	CHECK_INT(take(), 2);
	WHOLE(1408, OUR, WEB, 17);
	/* a sum of zero is written as ones: 0 would mean that there is none (RFC 768) */
	for (unsigned int v = 0; v < 2; v++) {
		static uint8_t data[1400];
		uint32_t sum;

		k.data = data;
		lab_send(&lab, k);
		take();
		sum = lab_get16(got.b + 6);
		if (v == 0) /* what is missing to the sum of ones */
			lab_put16(data, sum == 0xffff ? 0 : sum);
		else
			CHECK_INT(sum, 0xffff);
	}
	k.partial = false;
	k.data = NULL;
	end();

	test_case("F15_reassembled_with_df_is_too_big");
	start(1000);
	n = make(false, 1400);
	{
		struct part p = {1, C1, WEB, 17, 3, 0, 800, true};

		for (int i = 0; i < 2; i++) {
			lab4_part(&lab.in, &p, datagram);
			lab.in.f.header[20] |= 0x40; /* DF */
			lab_put16(lab.in.f.header + 24, 0);
			lab_put16(lab.in.f.header + 24, ~lab_sum(lab.in.f.header + 14, 20, 0));
			lab_run(&lab);
			p = (struct part){1, C1, WEB, 17, 3, 800, n - 800, false};
		}
		CHECK_INT(take(), 1);
		CHECK_INT(got.port, 1);
		CHECK_INT(got.b[0], 3);
		CHECK_INT(got.b[1], 4);
		CHECK_INT(lab_get16(got.b + 6), 1000);
		CHECK_INT(engine_stats(lab.e)->drops[DROP_TOO_BIG], 1);
	}
	end();

	test_case("F15_reassembled_without_df_leaves_in_smaller_pieces");
	start(700);
	n = make(false, 2800);
	piece(false, 0, 1400, true);
	piece(false, 1400, n - 1400, false);
	CHECK(take() >= 5);
	CHECK(got.largest <= 700);
	WHOLE(n, OUR, WEB, 17);
	end();

	test_case("F15_ipv6_pieces_that_do_not_fit_are_too_big");
	start(1280);
	n = make(true, 2800);
	piece(true, 0, 1400, true);
	piece(true, 1400, n - 1400, false);
	CHECK_INT(take(), 1);
	CHECK_INT(got.b[0], 2);
	CHECK_INT(lab_get16(got.b + 6), 1280);
	n = make(true, 2800);
	for (size_t off = 0; off < n; off += 1000)
		piece(true, off, n - off < 1000 ? n - off : 1000, off + 1000 < n);
	CHECK_INT(take(), 3);
	WHOLE(n, OUR6, WEB6, 17);
	end();

	test_case("F10_no_room_to_split");
	start(1000);
	for (uint16_t id = 0; id < 64; id++)
		lab_send(&lab, (struct pk){.port = 1,
					   .src = C1,
					   .dst = WEB,
					   .proto = 17,
					   .sp = 1,
					   .dp = 2,
					   .id = id,
					   .frag = 0x2000,
					   .len = 8});
	lab_send(&lab, k);
	lab_dropped(__FILE__, __LINE__, &lab.seen, DROP_FRAGMENT_LIMIT);
	lab_wait(&lab, 31000);
	end();
}

/* RFC 791 3.1: an option that is not to be copied is in the first fragment only. */
static void test_options(void)
{
	struct pk k = {.port = 1,
		       .src = C1,
		       .dst = WEB,
		       .proto = 17,
		       .sp = 5000,
		       .dp = 80,
		       .len = 1400,
		       .options = 12};
	static const uint8_t options[12] = {7, 4, 4, 0, 1, 148, 4, 0, 0, 0, 0, 0};

	test_case("F15_options_of_later_fragments");
	start(1000);
	lab.e->pass_ip_options = true;
	lab_build(&lab.in, &k);
	memcpy(lab.in.f.header + 34, options, 12);
	lab_put16(lab.in.f.header + 24, 0);
	lab_put16(lab.in.f.header + 24, ~lab_sum(lab.in.f.header + 14, 32, 0));
	lab_run(&lab);
	CHECK_INT(take(), 2);
	WHOLE(1408, OUR, WEB, 17);
	CHECK(memcmp(got.head + 34, options, 12) == 0);
	/* record route has no copy bit, router alert has */
	CHECK(memcmp(got.later + 34, (uint8_t[]){1, 1, 1, 1, 1, 148, 4, 0, 0}, 9) == 0);
	end();
}

static void test_refused(void)
{
	struct part p = {1, C1, WEB, 17, 9, 0, 800, true};

	test_case("F1_fragment_with_a_checksum_left_to_us");
	start(1500);
	make(false, 1400);
	lab4_part(&lab.in, &p, datagram);
	lab.in.f.csum = CSUM_PARTIAL;
	lab_run(&lab);
	CHECK_INT(lab.in.f.reason, DROP_FRAGMENT);
	lab4_part(&lab.in, &p, datagram);
	lab.in.f.gso = GSO_TCPV4;
	lab.in.f.gso_size = 500;
	lab_run(&lab);
	CHECK_INT(lab.in.f.reason, DROP_FRAGMENT);
	end();

	test_case("Q1_spoofed_fragments_are_not_kept");
	start(1500);
	p.src = C2;
	lab4_part(&lab.in, &p, datagram);
	lab_run(&lab);
	CHECK_INT(lab.in.f.reason, DROP_SPOOFED);
	CHECK_INT(lab.e->frags.used_datagrams, 0);
	end();

	test_case("Q8_discovery_in_fragments");
	start(1500);
	{
		struct l4 k = {.proto = 58, .src = C16, .dst = WEB6, .type = 134, .len = 100};
		struct part six = {1, C16, WEB6, 58, 9, 0, 48, true};

		lab6_l4(datagram, &k);
		lab6_part(&lab.in, &six, datagram);
		lab_run(&lab);
		six = (struct part){1, C16, WEB6, 58, 9, 48, 60, false};
		lab6_part(&lab.in, &six, datagram);
		lab_run(&lab);
		CHECK_INT(take(), 0);
		CHECK_INT(engine_stats(lab.e)->forwarded, 0);
		CHECK_INT(engine_stats(lab.e)->drops[DROP_NDP], 1);
	}
	end();
}

int main(void)
{
	test_pieces();
	test_timeout();
	test_narrow();
	test_options();
	test_refused();
	return test_end();
}
