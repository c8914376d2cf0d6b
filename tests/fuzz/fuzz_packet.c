// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The packet path, driven by a history: the input is a program of packets of both
 * families, segments and answers within flows, quoted errors, datagrams in pieces,
 * raw frames, changes of rules, options, interfaces, DNS servers and connected
 * addresses, and time. After every step what came out is held against what went in
 * (packet_check.c), and all invariants of the engine are checked again and again.
 */
#include "tests/fuzz/packet_world.h"

#include <stddef.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS_MAX  200
#define DATAGRAMS  4
#define PIECES_MAX 64

struct input {
	const uint8_t *p;
	size_t left;
};

/* Built whole, sent in pieces: one after the other, or among other packets. */
struct datagram {
	bool used;
	uint8_t port;
	uint16_t id;
	uint32_t len, head; /* of the frame; what does not go into pieces */
	uint8_t b[DATAGRAM_ROOM];
};

static struct datagram datagrams[DATAGRAMS];
static uint16_t next_id;

static uint8_t byte(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->p++;
}

static const uint16_t ports[] = {1000, 1001, 53, 80, 68, 0, 65535, 40000};
static const uint8_t protos[] = {P_TCP, P_UDP, P_ICMP, P_TCP, P_UDP, P_TCP, 47, 51};
static const uint8_t types4[] = {8, 0, 3, 11, 12, 5, 13, 8};
static const uint8_t types6[] = {128, 129, 1, 3, 2, 135, 134, 128};
static const uint8_t tcp_flags[] = {F_SYN,	   F_SYN | F_ACK, F_ACK,	 F_ACK | F_PSH,
				    F_FIN | F_ACK, F_RST,	  F_RST | F_ACK, F_SYN | F_FIN};
static const uint16_t lens[] = {0,    1,    8,	  33,	100, 300, 1000, 1400,
				1452, 1473, 3000, 9000, 20,  4,	  64,	60000};

static void set_addr(uint8_t out[16], uint8_t family, unsigned int which)
{
	addr_of(out, family, address_text[family == 6][which % ADDRESSES]);
}

/* --- one frame ------------------------------------------------------------------------- */

/* The checksum as a sender with offload leaves it. */
static void make_partial(const struct pk *k, uint16_t gso, bool from_ring)
{
	uint8_t *ip = w.in + ETH;
	struct layout l = parse(ip, w.in_len - ETH);

	if (!l.ok || !l.sum_at || l.fragment || (k->proto != P_TCP && k->proto != P_UDP))
		return;
	put16(ip + l.sum_at,
	      sum_of(NULL, 0, pseudo_header_sum(ip, l.family, l.proto, l.len - l.l4)));
	world_frame(k->at, w.in_len);
	w.f.csum = CSUM_PARTIAL;
	if (!from_ring) {
		w.f.csum_start = (uint16_t)(ETH + l.l4);
		w.f.csum_offset = (uint16_t)(l.sum_at - l.l4);
	}
	if (gso && k->proto == P_TCP) {
		w.f.gso = k->family == 4 ? GSO_TCPV4 : GSO_TCPV6;
		w.f.gso_size = gso;
	}
}

/* Change what was built: a byte, the length, the metadata. */
static void spoil(struct input *in)
{
	uint8_t how = byte(in);

	w.sum_known = w.pattern = false;
	if (how & 1) {
		uint8_t at = byte(in);

		if (at < w.f.header_len) {
			w.in[at] ^= byte(in);
			w.f.header[at] = w.in[at];
		}
	}
	if ((how & 2) && w.f.header_len >= ETH + 20) {
		/* a changed IPv4 header with a good checksum gets further */
		uint8_t at = byte(in) % 20;

		w.in[ETH + at] ^= byte(in);
		put16(w.in + ETH + 10, 0);
		put16(w.in + ETH + 10, (uint16_t)~sum_of(w.in + ETH, 20, 0));
		memcpy(w.f.header + ETH, w.in + ETH, 20);
	}
	if (how & 4) {
		uint32_t len = byte(in);

		if (len < w.in_len)
			world_frame(w.f.in_port, len);
	}
	if (how & 8)
		w.f.csum = byte(in) % 3;
	if (how & 16)
		w.f.csum_start = byte(in);
	if (how & 32) {
		w.f.gso = byte(in) % 4;
		w.f.gso_size = (uint16_t)(byte(in) * 16);
	}
	if (how & 64)
		w.f.copy_failed = true;
}

static void send(struct input *in, const struct pk *k, uint8_t meta)
{
	static const uint16_t sizes[] = {1400, 500, 1, 1460};

	w.sum_known = !k->bad_sum;
	w.pattern = k->data[KERNEL] == NULL;
	world_frame(k->at, build(w.in, k, KERNEL, 0));
	if (meta & 1)
		make_partial(k, meta & 2 ? sizes[meta >> 2 & 3] : 0, meta & 16);
	if (meta & 32)
		spoil(in);
	world_run();
}

static void add_headers(struct input *in, struct pk *k)
{
	static const uint8_t headers[] = {0, 60, 43, 44, 60, 51, 0, 43};
	uint8_t a = byte(in);

	if (k->family == 4) {
		static const uint8_t options[] = {1, 7, 131, 148};

		k->ip_opt_len = 4;
		k->ip_opt[0] = options[a & 3];
		k->ip_opt[1] = a >> 2;
		return;
	}
	for (unsigned int i = 0; i < (a & 7u) && k->exts < 9; i++) {
		uint8_t b = byte(in);

		pk_ext(k, headers[b & 7], (uint8_t)(8 + (b >> 3 & 3) * 8));
		k->ext[k->exts - 1].b[3] = b >> 5 & 1; /* segments left */
		if (headers[b & 7] == 44)
			memset(k->ext[k->exts - 1].b + 1, 0, 7);
	}
}

/* What all kinds of packets vary in */
static void vary(struct input *in, struct pk *k, uint8_t b)
{
	if ((b & 7) == 1)
		k->ttl = b >> 3 & 1;
	if ((b & 7) == 2)
		k->frag = 0x4000;
	if ((b & 7) == 3)
		add_headers(in, k);
	if ((b & 7) == 4)
		k->bad_sum = true;
	if ((b & 7) == 5)
		k->no_sum = k->proto == P_UDP;
	if ((b & 7) == 6)
		k->tos = b;
	if ((b & 7) == 7 && k->proto == P_TCP) {
		static const uint8_t options[] = {2, 4, 0x22, 0xb8, 3, 3, 7, 1, 1, 2, 4, 0xff};

		memcpy(k->tcp_opt, options + (b >> 3 & 1), 8);
		k->tcp_opt_len = 8;
	}
}

static struct pk fresh(unsigned int port, uint8_t family, uint8_t proto)
{
	struct pk k = {
	    .at = (uint8_t)port, .family = family, .proto = proto, .ttl = 64, .window = 4096};

	k.id = ++next_id;
	if (family == 6 && proto == P_ICMP)
		k.proto = P_ICMP6;
	return k;
}

static void op_packet(struct input *in)
{
	uint8_t a = byte(in), b = byte(in), c = byte(in), d = byte(in), meta = byte(in);
	unsigned int port = a & 3;
	struct pk k = fresh(port, a & 4 ? 6 : 4, protos[a >> 3 & 7]);
	const struct port_state *s = &w.port[port];

	k.sport = ports[b & 7];
	k.dport = ports[b >> 3 & 7];
	k.flags = tcp_flags[c & 7];
	k.type = (k.family == 4 ? types4 : types6)[c & 7];
	k.seq = (uint32_t)(c >> 3) << 27;
	k.len = lens[d & 15];
	set_addr(k.src, k.family, port == UPLINK ? A_WEB + (d >> 4) % 8 : A_OUR + port);
	set_addr(k.dst, k.family, port == UPLINK ? A_OUR : d >> 4);
	if (port != UPLINK && s->present && k.family == 4)
		memcpy(k.src, s->visible, 16);
	if (a & 0x40) /* from somebody else */
		set_addr(k.src, k.family, b >> 4);
	if (a & 0x80)
		vary(in, &k, byte(in));
	send(in, &k, meta);
	if (w.f.verdict == FRAME_FORWARD && port != UPLINK && w.flows)
		w.flow[(w.flows - 1) % FLOWS].next[0] = k.seq + k.len + 1;
}

/* --- within flows ----------------------------------------------------------------------- */

static struct memory *flow_of(uint8_t a)
{
	struct memory *m = &w.flow[a % FLOWS];

	return m->used ? m : NULL;
}

/* A packet of the flow: from the client, or from the other end. */
static struct pk flow_pk(const struct memory *m, bool from_client)
{
	struct pk k = fresh(from_client ? m->port : (unsigned int)UPLINK, m->family, m->proto);
	bool icmp = m->proto == P_ICMP || m->proto == P_ICMP6;

	memcpy(k.src, from_client ? m->local : m->real, 16);
	if (from_client)
		memcpy(k.dst, m->remote, 16);
	else
		memcpy(k.dst, m->family == 4 ? w.port[UPLINK].ip4 : w.port[UPLINK].ip6, 16);
	k.sport = from_client ? m->sport : icmp ? m->nat : m->dport;
	k.dport = from_client || icmp ? m->dport : m->nat;
	if (icmp)
		k.type = m->family == 4 ? (from_client ? 8 : 0) : from_client ? 128 : 129;
	return k;
}

static void op_flow(struct input *in)
{
	static const uint32_t off[] = {0, 0, 0, 1, 0xffffffff, 2000, 0x40000000, 0xc0000000};
	uint8_t a = byte(in), b = byte(in), c = byte(in), meta = byte(in);
	struct memory *m = flow_of(a);
	bool from_client = a & 0x40;
	struct pk k;

	if (!m)
		return;
	k = flow_pk(m, from_client);
	k.flags = tcp_flags[b & 7];
	k.len = lens[c & 15];
	k.seq = m->next[!from_client] + off[b >> 3 & 7];
	k.ack = m->next[from_client] + off[c >> 4 & 7];
	k.window = b & 0x40 ? 65535 : 1000;
	if (a & 0x80)
		vary(in, &k, byte(in));
	send(in, &k, meta);
	if (w.f.verdict == FRAME_FORWARD)
		m->next[!from_client] = k.seq + k.len + ((k.flags & (F_SYN | F_FIN)) ? 1 : 0);
}

/* An ICMP error about a packet that went out or came in, perhaps changed inside. */
static void op_error(struct input *in)
{
	static const uint8_t e4[] = {3, 11, 12, 3, 4, 3, 5, 3}, e6[] = {1, 2, 3, 4, 1, 2, 3, 0};
	static uint8_t quoted[QUOTE];
	uint8_t a = byte(in), b = byte(in), n = byte(in);
	struct memory *m = flow_of(a);
	bool from_client = a & 0x40;
	struct pk k;

	if (!m || !m->last_len[from_client])
		return;
	k = flow_pk(m, from_client);
	k.proto = m->family == 4 ? P_ICMP : P_ICMP6;
	k.type = (m->family == 4 ? e4 : e6)[b & 7];
	k.code = b >> 3 & 7;
	k.sport = 0;
	k.dport = n * 16u;
	k.len = m->last_len[from_client] < n * 4u ? m->last_len[from_client] : (uint16_t)(n * 4);
	memcpy(quoted, m->last[from_client], k.len);
	if ((a & 0x80) && k.len)
		quoted[byte(in) % k.len] ^= byte(in);
	k.data[KERNEL] = quoted;
	if (b & 0x40) /* from a router on the way */
		set_addr(k.src, k.family, A_WEB2);
	send(in, &k, b & 0x80 ? 32 : 0);
}

/* --- datagrams in pieces ------------------------------------------------------------------- */

static void op_datagram(struct input *in)
{
	uint8_t a = byte(in), b = byte(in), c = byte(in);
	struct datagram *d = &datagrams[a & 3];
	struct memory *m = flow_of(b);
	bool from_client = c & 0x10;
	struct pk k;

	if (m && (a & 0x40)) {
		k = flow_pk(m, from_client);
		k.seq = m->next[!from_client];
		k.ack = m->next[from_client];
		k.flags = F_ACK;
	} else {
		unsigned int port = 1 + (a >> 2 & 3) % 3;

		k = fresh(port, a & 0x20 ? 6 : 4, protos[b & 3]);
		set_addr(k.src, k.family, k.family == 4 && port == 3 ? A_VISIBLE : A_OUR + port);
		set_addr(k.dst, k.family, b >> 4);
		k.sport = 1000;
		k.dport = ports[c >> 5];
		k.flags = F_SYN;
		k.type = k.family == 4 ? 8 : 128;
	}
	k.seq += next_id; /* and so another pattern */
	k.len = lens[c & 15];
	if (a & 0x80)
		vary(in, &k, byte(in) & 0x7f);
	k.bad_sum = k.no_sum = false;
	d->len = build(d->b, &k, KERNEL, 0);
	d->head = unfragmentable(d->b);
	d->used = d->len > d->head;
	d->port = k.at;
	d->id = next_id;
}

static void send_piece(const struct datagram *d, uint32_t offset, uint32_t len, bool more)
{
	w.sum_known = w.pattern = true;
	world_frame(d->port, build_fragment(w.in, d->b, offset, len, more, d->id));
	world_run();
}

/* One piece: where it lies is the input's choice. */
static void op_piece(struct input *in)
{
	uint8_t a = byte(in), b = byte(in);
	const struct datagram *d = &datagrams[a & 3];
	uint32_t total = d->used ? d->len - d->head : 0, offset = b * 8u, len;

	if (offset >= total)
		return;
	len = (uint32_t)(1 + (a >> 2 & 7)) * 8 + (a & 0x40 ? 3 : 0);
	if (a & 0x80)
		len = total - offset;
	if (len > total - offset)
		len = total - offset;
	if (len > 8000)
		len = 8000;
	send_piece(d, offset, len, offset + len < total);
}

/* All of them: in order, from the end, or the odd ones first; one may lack or overlap. */
static void op_pieces(struct input *in)
{
	static const uint16_t cuts[] = {8, 24, 512, 1400, 1232, 64, 1480, 5000};
	uint8_t a = byte(in), b = byte(in);
	const struct datagram *d = &datagrams[a & 3];
	uint32_t total = d->used ? d->len - d->head : 0, cut = cuts[a >> 2 & 7];
	unsigned int n = (total + cut - 1) / cut, extra = b >> 2;

	if (n > PIECES_MAX)
		return;
	for (unsigned int i = 0; i < n; i++) {
		unsigned int half = (n + 1) / 2;
		unsigned int at = (b & 3) == 0	 ? i
				  : (b & 3) == 1 ? n - 1 - i
				  : i < half	 ? i * 2
						 : (i - half) * 2 + 1;
		uint32_t offset = at * cut, len = total - offset < cut ? total - offset : cut;

		if ((a & 0x20) && at == extra)
			continue;
		if ((a & 0x40) && at == extra && offset + len + 8 <= total)
			len += 8;
		send_piece(d, offset, len, offset + len < total);
		if ((a & 0x80) && at == extra)
			send_piece(d, offset, len, offset + len < total);
	}
}

/* --- everything else ------------------------------------------------------------------------ */

static void op_raw(struct input *in)
{
	static const uint16_t types[] = {0x0800, 0x0806, 0x86dd, 0x8100};
	uint32_t len = byte(in);
	uint8_t a = byte(in);
	unsigned int port = a % 5;

	memset(w.in, 0, 512);
	memcpy(w.in, port == UPLINK ? macs[UPLINK] : backend_mac, 6);
	memcpy(w.in + 6, port == UPLINK ? backend_mac : macs[port & 3], 6);
	put16(w.in + 12, types[a >> 4 & 3]);
	for (uint32_t i = a & 8 ? ETH : 0; i < len; i++)
		w.in[i] = byte(in);
	world_frame(port, len);
	w.sum_known = w.pattern = false;
	world_run();
}

static void op_policy(struct input *in)
{
	uint8_t a = byte(in);
	unsigned int port = 1 + (a & 3) % 3;
	uint8_t family = a & 4 && port < 3 ? 6 : 4;
	struct addr addr = world_addr(family, address_text[family == 6][A_OUR + port]);
	struct engine_source_options o = {.max_flows = a & 0x20 ? 3 : 0, .eim = a & 0x10};

	if ((a & 0xc0) == 0xc0)
		engine_source_forget(w.e, &addr);
	else if ((a & 0xc0) == 0x80)
		(void)engine_source_options(w.e, &addr, &o);
	else
		world_policy(port, family, a >> 3 & 7, a & 0x40);
}

static void op_iface(struct input *in)
{
	uint8_t a = byte(in);
	unsigned int port = a & 3;

	if ((a >> 2 & 3) == 0)
		world_remove(port);
	else if ((a >> 2 & 3) == 1)
		world_link(port, a & 0x10);
	else
		world_port(port, a >> 4 & 3);
}

static void op_around(struct input *in)
{
	uint8_t a = byte(in);
	struct engine_dns map = {.virt = world_addr(4, address_text[0][A_DNS_VIRTUAL])};

	switch (a & 3) {
	case 0:
		engine_set_dns(w.e, &map, 0);
		w.dns_mapped = false;
		break;
	case 1:
		if (a & 4)
			map.real = world_addr(4, address_text[0][A_DNS_REAL]);
		engine_set_dns(w.e, &map, 1);
		w.dns_mapped = true;
		break;
	case 2:
		world_connected(a & 4);
		break;
	default:
		engine_stir(w.e, &a, 1);
		break;
	}
}

static void op_time(struct input *in)
{
	static const uint64_t steps[] = {0,	 1,	 900,	 5000,	   31000,     61000,
					 121000, 301000, 901000, 86401000, 1ULL << 33};
	uint8_t a = byte(in);
	uint64_t step = steps[(a & 15) % 11];

	w.sum_known = w.pattern = true;
	w.ms += step;
	if (step > 86400000) /* flows keep 32 bits of time: no month without a tick */
		world_wait(2000);
	if (a & 0x10)
		w.ms -= 5000;
	for (int i = 0; i < (a >> 5); i++)
		world_tick();
}

static void one_step(struct input *in, uint8_t op)
{
	static void (*const ops[32])(struct input *) = {
		op_packet, op_packet, op_packet, op_packet, op_packet, op_packet,	op_packet,
		op_packet, op_flow,	  op_flow,   op_flow,	op_flow,   op_flow,	op_flow,
		op_flow,   op_flow,	  op_error,  op_error,	op_error,  op_datagram, op_datagram,
		op_piece,  op_piece,  op_piece,  op_pieces, op_pieces, op_raw,	op_policy,
		op_iface,  op_around, op_time,   op_time,
	};

	ops[op & 31](in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};

	world_start(5);
	for (int i = 0; i < DATAGRAMS; i++)
		datagrams[i].used = false;
	next_id = 0;
	for (int steps = 0; in.left && steps < STEPS_MAX; steps++) {
		uint8_t op = byte(&in);

		one_step(&in, op);
		/* the deep check costs more than a packet: after what is rare, and
		 * now and then */
		if ((op & 31) >= 27 || steps % 8 == 0)
			engine_check(w.e);
	}
	w.sum_known = w.pattern = true;
	world_end();
	return 0;
}
