// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The packet path, driven by a history: the input is a program of packets,
 * answers to packets that were forwarded, quoted errors, raw frames, rule
 * changes, interfaces that come and go, and time. After every step what came
 * out is held against what went in (addresses, checksums, isolation, lengths),
 * and all invariants of the engine are checked again and again.
 */
#include "tests/unit/lab.h"

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(cond)                                                                              \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                 \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct input {
	const uint8_t *p;
	size_t left;
};

static struct lab lab;
static struct seen before, last_out, last_in; /* forwarded packets to answer, to quote */
static uint64_t frames_in, plain_replies;

/* What the world outside the engine believes, to judge it by. */
static struct {
	bool present, link;
	char ip[16];
} port_state[4];

static uint8_t byte(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->p++;
}

static const char *const remotes[] = { WEB, DNS, "203.0.113.9", OUR, C1, C2, C3, GW };
static const uint16_t ports[] = { 1000, 1001, 53, 80, 68, 0, 65535, 40000 };
static const uint8_t protos[] = { 6, 17, 1, 6, 17, 6, 47, 1 };
static const uint8_t icmp_types[] = { 8, 0, 3, 11, 12, 5, 13, 8 };
static const char *const own[] = { OUR, C1, C2, C3 };
static const uint8_t tcp_flags[] = { T_SYN, T_SYN | T_ACK, T_ACK, T_ACK | T_PSH,
				     T_FIN | T_ACK, T_RST, T_RST | T_ACK, T_SYN | T_FIN };

static void set_port(uint16_t port, const char *ip)
{
	if (port == UP)
		lab_uplink(&lab, ip, 1500);
	else
		lab_client(&lab, port, ip);
	port_state[port].present = true;
	port_state[port].link = true;
	snprintf(port_state[port].ip, sizeof(port_state[port].ip), "%s", ip);
}

static bool is_client_address(const char *ip)
{
	for (int i = 1; i < 4; i++)
		if (port_state[i].present && strcmp(port_state[i].ip, ip) == 0)
			return true;
	return false;
}

static void keep(struct seen *to, const struct seen *from)
{
	memcpy(to, from, offsetof(struct seen, b) + from->len);
}

static void check_forward(const struct frame *f, const struct seen *out)
{
	uint16_t in = f->in_port, to = f->out_port;

	REQUIRE(in < 4 && to < 4 && port_state[in].present);
	REQUIRE(port_state[to].present && port_state[to].link);
	REQUIRE(out->ip_ok);
	REQUIRE(!before.l4_ok || out->l4_ok); /* P4 */
	REQUIRE(out->ttl == before.ttl - 1 && out->ttl > 0);
	REQUIRE(out->len == before.len || out->len < before.len); /* padding */
	if (in == UP) {
		REQUIRE(to != UP && strcmp(out->dst, port_state[to].ip) == 0);
		REQUIRE(!is_client_address(out->src)); /* Q10 */
		REQUIRE(memcmp(out->b, lab_mac[to], 6) == 0);
		REQUIRE(memcmp(out->b + 6, lab_backend, 6) == 0);
		keep(&last_in, out);
	} else {
		REQUIRE(to == UP && strcmp(out->src, port_state[UP].ip) == 0); /* Q3 */
		REQUIRE(!is_client_address(out->dst));
		REQUIRE(strcmp(before.src, port_state[in].ip) == 0); /* Q1 */
		REQUIRE(memcmp(out->b + 6, lab_mac[0], 6) == 0);
		keep(&last_out, out);
	}
}

static void check_frame(const struct frame *f)
{
	const struct engine_stats *st = engine_stats(lab.e);
	uint64_t sum = st->forwarded + plain_replies, bytes = f->header_len;
	struct seen *out = &lab.seen;

	REQUIRE(f->header_len <= FRAME_HEADER_MAX && f->nseg <= FRAME_SEG_MAX);
	for (unsigned int i = 0; i < f->nseg; i++)
		bytes += f->seg[i].len;
	REQUIRE(bytes == f->len);
	REQUIRE(f->verdict <= FRAME_REPLY && f->reason < DROP_REASON_MAX);
	if (f->verdict == FRAME_FORWARD) {
		REQUIRE(f->reason == DROP_NONE);
		check_forward(f, out);
	} else if (f->verdict == FRAME_REPLY) {
		if (f->reason == DROP_NONE) {
			plain_replies++;
			sum++;
		}
		REQUIRE(f->in_port < 4 && f->in_port == f->out_port);
		if (lab_get16(out->b + 12) == 0x0800) {
			REQUIRE(out->ip_ok && out->proto == 1);
			REQUIRE(out->l4_ok || (out->type == 0 && !before.l4_ok));
		} else {
			REQUIRE(lab_get16(out->b + 12) == 0x0806 && f->len == 42);
		}
	}
	for (int i = 0; i < DROP_REASON_MAX; i++)
		sum += st->drops[i];
	REQUIRE(sum == frames_in); /* D8: each frame is counted once */
}

static void run(void)
{
	lab_read(&lab.in.f, &before);
	frames_in++;
	lab_run(&lab);
	check_frame(&lab.in.f);
}

/* Spoil what was built: a byte, the length, the metadata. */
static void spoil(struct input *in)
{
	uint8_t how = byte(in);

	if (how & 1) {
		uint8_t at = byte(in);

		if (at < lab.in.f.header_len)
			lab.in.f.header[at] ^= byte(in);
	}
	if (how & 2) {
		uint8_t at = byte(in), old_at = at % 20;

		/* a changed IP header with a good checksum gets further */
		if (lab.in.f.header_len >= 34) {
			lab.in.f.header[14 + old_at] ^= byte(in);
			lab_put16(lab.in.f.header + 24, 0);
			lab_put16(lab.in.f.header + 24, ~lab_sum(lab.in.f.header + 14, 20, 0));
		}
	}
	if (how & 4) {
		size_t len = byte(in);

		if (len < lab.in.flat_len) {
			memcpy(lab.in.flat, lab.in.f.header, lab.in.f.header_len);
			lab_frame(&lab.in, lab.in.f.in_port, len);
		}
	}
	if (how & 8)
		lab.in.f.csum = byte(in) % 3;
	if (how & 16)
		lab.in.f.csum_start = byte(in);
	if (how & 32) {
		lab.in.f.gso = byte(in) % 4;
		lab.in.f.gso_size = (uint16_t)(byte(in) * 16);
	}
	if (how & 64)
		lab.in.f.copy_failed = true;
}

static void op_packet(struct input *in)
{
	uint8_t a = byte(in), b = byte(in), c = byte(in), d = byte(in);
	uint16_t port = a & 3;
	struct pk k = { .port = port, .proto = protos[a >> 2 & 7], .sp = ports[b & 7],
			.dp = ports[b >> 3 & 7], .flags = tcp_flags[c & 7],
			.type = icmp_types[c >> 3 & 7], .len = (size_t)d * 7,
			.partial = (a & 0x20) != 0, .no_csum = (b & 0x40) != 0,
			.ttl = (b & 0x80) ? 1 : 64, .frag = (c & 0x40) ? 0x4000 : 0,
			.options = (c & 0x80) ? 4 : 0 };

	if (port == UP) {
		k.src = remotes[d & 7];
		k.dst = d & 0x80 ? own[d >> 5 & 3] : port_state[UP].ip[0] ? port_state[UP].ip : OUR;
	} else {
		k.src = d & 0x80 ? own[d >> 5 & 3] : port_state[port].ip;
		k.dst = remotes[d & 7];
	}
	if (!k.src[0])
		k.src = C1;
	lab_build(&lab.in, &k);
	if (a & 0x40)
		spoil(in);
	run();
}

/* The other end answers the last packet that reached it. */
static void op_answer(struct input *in)
{
	uint8_t a = byte(in), c = byte(in);
	const struct seen *of = a & 1 ? &last_in : &last_out;
	struct pk k = { .src = of->dst, .dst = of->src, .proto = of->proto, .sp = of->dp,
			.dp = of->sp, .flags = tcp_flags[c & 7], .len = c >> 3,
			.partial = (a & 2) != 0 };

	if (!of->src[0])
		return;
	k.port = a & 1 ? (uint16_t)of->port : UP;
	if (of->proto == 1) {
		k.type = 0;
		k.sp = of->sp;
		k.dp = of->info;
	}
	lab_build(&lab.in, &k);
	if (a & 0x40)
		spoil(in);
	run();
}

/* An ICMP error about the last packet, perhaps with changes inside. */
static void op_error(struct input *in)
{
	static uint8_t quoted[600];
	uint8_t a = byte(in), n = byte(in);
	const struct seen *of = a & 1 ? &last_in : &last_out;
	size_t len = (size_t)n * 2;
	struct pk k = { .src = a & 8 ? "203.0.113.9" : of->dst, .dst = of->src, .proto = 1,
			.type = icmp_types[a >> 4 & 7], .code = a >> 1 & 3, .data = quoted };

	if (!of->src[0])
		return;
	if (of->len < 14 + len)
		len = of->len - 14;
	memcpy(quoted, of->b + 14, len);
	if (a & 0x80 && len) {
		uint8_t at = byte(in);

		quoted[at % len] ^= byte(in);
	}
	k.len = len;
	k.port = a & 1 ? (uint16_t)of->port : UP;
	if (a & 1)
		k.src = port_state[k.port].ip[0] ? port_state[k.port].ip : C1;
	lab_build(&lab.in, &k);
	run();
}

static void op_raw(struct input *in)
{
	size_t len = byte(in);
	uint16_t port = byte(in) % 5;

	lab_ether(&lab.in, port & 3, len & 1 ? 0x0800 : 0x0806);
	for (size_t i = len & 2 ? 14 : 0; i < len; i++)
		lab.in.flat[i] = byte(in);
	lab_frame(&lab.in, port, len);
	run();
}

static void op_policy(struct input *in)
{
	static const char *const sets[][4] = {
		{ NULL },
		{ "action=accept proto=tcp dstports=80-80", NULL },
		{ "action=drop dst4=192.0.2.80/32", "action=accept", NULL },
		{ "action=accept proto=icmp icmptype=8", "action=accept proto=udp", NULL },
	};
	uint8_t a = byte(in);
	const char *ip = own[1 + a % 3];
	struct addr addr = lab_to_addr(ip);

	if ((a & 0xc0) == 0xc0)
		engine_source_forget(lab.e, &addr);
	else if ((a & 0xc0) == 0x80)
		REQUIRE(engine_source_set(lab.e, &addr, NULL, true) == 0);
	else
		lab_rules(&lab, ip, a & 0x20 ? "accept" : "drop", sets[a >> 2 & 3]);
}

static void op_iface(struct input *in)
{
	static const char *const up[] = { OUR, "10.137.0.200", OUR, OUR };
	uint8_t a = byte(in);
	uint16_t port = a & 3;

	switch (a >> 2 & 3) {
	case 0:
		engine_iface_clear(lab.e, port);
		port_state[port].present = false;
		break;
	case 1:
		if (!port_state[port].present)
			break;
		port_state[port].link = (a & 0x10) != 0;
		engine_iface_link(lab.e, port, port_state[port].link);
		break;
	default:
		set_port(port, port == UP ? up[a >> 4 & 3] : own[1 + (a >> 4) % 3]);
		break;
	}
}

static void op_time(struct input *in)
{
	static const uint64_t steps[] = { 0, 1, 900, 5000, 31000, 61000, 121000, 301000, 901000,
					  86401000, 1ULL << 33 };
	uint8_t a = byte(in);
	uint64_t step = steps[(a & 15) % 11];

	lab.ms += step;
	if (step > 86400000) /* flows keep 32 bits of time: no month without a tick */
		lab_wait(&lab, 2000);
	if (a & 0x10)
		lab.ms -= 5000;
	for (int i = 0; i < (a >> 5); i++) {
		engine_tick(lab.e, (struct engine_time){ lab.ms });
		if (!engine_take(lab.e, &lab.out.f))
			continue;
		lab_read(&lab.out.f, &lab.seen);
		REQUIRE(lab.out.f.verdict == FRAME_FORWARD && lab.out.f.out_port == UP);
		REQUIRE(lab.out.f.len == 42 && lab.out.f.nseg == 0 && port_state[UP].link);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	lab_init(&lab, 64, 5);
	frames_in = 0;
	plain_replies = 0;
	memset(port_state, 0, sizeof(port_state));
	memset(&last_in, 0, offsetof(struct seen, b));
	memset(&last_out, 0, offsetof(struct seen, b));
	for (uint16_t i = 0; i < 4; i++)
		set_port(i, own[i]);
	for (int i = 1; i <= 3; i++)
		lab_rules(&lab, own[i], "accept", NULL);
	for (int steps = 0; in.left && steps < 200; steps++) {
		uint8_t op = byte(&in);

		if (op < 120)
			op_packet(&in);
		else if (op < 170)
			op_answer(&in);
		else if (op < 195)
			op_error(&in);
		else if (op < 210)
			op_raw(&in);
		else if (op < 225)
			op_policy(&in);
		else if (op < 240)
			op_iface(&in);
		else
			op_time(&in);
		/* the deep check costs more than a packet: after what is rare, and
		 * now and then */
		if (op >= 210 || steps % 8 == 0)
			engine_check(lab.e);
	}
	engine_check(lab.e);
	engine_free(&lab.e);
	return 0;
}
