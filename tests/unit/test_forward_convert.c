// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The whole way of a packet that somebody cannot take as it is: ring, engine with its
 * translation, conversion, ring. What arrives has new addresses and ports, so it is held
 * against what any receiver checks: lengths, both checksums, the stream of bytes.
 */
#include "firewall/forward.h"
#include "tests/fake/fake_backend.h"
#include "tests/fake/oracle.h"
#include "tests/fake/rig.h"
#include "tests/unit/check.h"
#include "tests/unit/lab6.h"

#define PAYLOAD 20000
#define MSS	1400

static struct rig r;
static struct front client;
static struct fake_backend netvm;
static struct port *vif, *up;
static struct lab lab;
static struct forward *fwd;
static uint64_t now_us;
static uint8_t got[ORACLE_MAX];

static void begin(const struct front_config *c, const struct fake_backend_config *b)
{
	rig_start(&r);
	front_plug(&client, r.f, 0x6c, 1, C1);
	rig_poll(&r);
	front_connect(&client, c);
	fake_backend_plug(&netvm, r.f, 2, 0, "00:16:3e:5e:6c:00");
	fake_backend_offer(&netvm, b);
	rig_poll(&r);
	vif = rig_port(&r, "vif108.1");
	up = rig_port(&r, "uplink0");
	if (!vif || !up || fake_backend_connect(&netvm))
		abort();
	fake_backend_state(&netvm, 4);
	rig_poll(&r);
	lab_init(&lab, 1024, 5);
	lab6_ifaces(&lab, 1500);
	lab_rules(&lab, C1, "accept", NULL);
	lab6_accept(&lab, C16);
	now_us = lab.ms * 1000;
	if (forward_new(&fwd, lab.e, r.batch) || forward_add(fwd, up) || forward_add(fwd, vif))
		abort();
	CHECK(up->id == UP && vif->id == 1);
}

static void end(void)
{
	CHECK_INT(engine_check(lab.e), 0);
	CHECK_INT(client.bad + netvm.errors, 0);
	CHECK_INT(client.rx_failed + client.tx_error, 0);
	forward_free(&fwd);
	engine_free(&lab.e);
	rig_end(&r);
}

/* Turns as the loop makes them, without any event. */
static void turns(unsigned int n)
{
	while (n-- > 0) {
		now_us += 5000;
		up->ready = vif->ready = true;
		forward_turn(fwd, now_us);
		front_reap(&client);
	}
}

/* The next TCP or UDP packet that arrives at either end; its length, 0: none. */
static size_t next_at(bool at_netvm, uint16_t *flags)
{
	for (int i = 0; i < 20; i++) {
		struct fake_backend_meta b;
		struct front_meta f;
		long n = at_netvm ? fake_backend_take(&netvm, got, sizeof(got), &b, false)
				  : front_recv(&client, got, sizeof(got), &f, false);

		if (n <= 0)
			return 0;
		*flags = at_netvm ? b.flags : f.flags & 3;
		if (got[12] == 0x08 ? got[23] == 6 || got[23] == 17 : got[20] == 6 || got[20] == 17)
			return (size_t)n;
	}
	return 0;
}

static void send_from(bool netvm_sends, const uint8_t *b, size_t len, uint8_t gso)
{
	struct front_packet p = {
	    .data = b, .len = len, .flags = RING_TX_CSUM_BLANK, .gso_type = gso, .gso_size = MSS};
	struct fake_backend_meta m = {
	    .flags = RING_RX_CSUM_BLANK, .gso_type = gso, .gso_size = MSS};

	if (netvm_sends)
		CHECK(fake_backend_give(&netvm, b, len, &m, NULL));
	else
		CHECK(front_send(&client, &p));
	turns(1);
}

/* A packet of the client's to the server; the netvm's answers are made of it. */
static size_t make(uint8_t *b, bool six, uint8_t proto, uint8_t flags, uint32_t seq, size_t len)
{
	struct oracle_spec s = {.ipv6 = six,
				.udp = proto == 17,
				.payload = len,
				.tcp_flags = flags,
				.seq = seq,
				.seed = 3};
	size_t n = oracle_make(b, &s);

	memcpy(b, lab_backend, 6);
	memcpy(b + 6, lab_mac[1], 6);
	if (six) {
		lab6_addr(b + 22, C16);
		lab6_addr(b + 38, WEB6);
	} else {
		lab_addr(b + 26, C1);
		lab_addr(b + 30, WEB);
		lab_put16(b + 24, 0);
		lab_put16(b + 24, ~lab_sum(b + 14, 20, 0));
	}
	if (proto == 6) {
		lab_put16(b + oracle_l4(b) + 8, 0);
		lab_put16(b + oracle_l4(b) + 10, flags & T_SYN ? 0 : 5001);
		lab_put16(b + oracle_l4(b) + 14, 65535); /* room for all of it */
	}
	/* the sum over the pseudo header, as a partial checksum is */
	lab_put16(b + oracle_l4(b) + (proto == 17 ? 6 : 16),
		  lab_sum(b + (six ? 22 : 26), six ? 32 : 8, (uint32_t)(proto + n - oracle_l4(b))));
	return n;
}

/* The other direction of the connection that the packet in @seen belongs to. */
static size_t answer(uint8_t *b, const uint8_t *seen, uint8_t flags, uint32_t seq, uint32_t ack,
		     size_t len)
{
	bool six = seen[12] == 0x86;
	size_t n = make(b, six, 6, flags, seq, len), l4 = oracle_l4(b);
	size_t at = six ? 22 : 26, size = six ? 16 : 4;

	memcpy(b, lab_mac[0], 6);
	memcpy(b + 6, lab_gw_mac, 6);
	memcpy(b + at, seen + at + size, size);
	memcpy(b + at + size, seen + at, size);
	memcpy(b + l4, seen + l4 + 2, 2);
	memcpy(b + l4 + 2, seen + l4, 2);
	lab_put16(b + l4 + 8, ack >> 16);
	lab_put16(b + l4 + 10, ack);
	if (!six) {
		lab_put16(b + 24, 0);
		lab_put16(b + 24, ~lab_sum(b + 14, 20, 0));
	}
	lab_put16(b + l4 + 16, lab_sum(b + at, 2 * size, (uint32_t)(6 + n - l4)));
	return n;
}

/* PAYLOAD bytes in packets that are right, in order, with flags that say so. */
static void stream(bool at_netvm, bool cut, bool csum, const uint8_t *payload)
{
	uint16_t flags, want = at_netvm ? RING_TX_DATA_VALIDATED : RING_RX_DATA_VALIDATED;
	unsigned int packets = 0;
	size_t n, at = 0;

	if (csum)
		want |= at_netvm ? RING_TX_CSUM_BLANK : RING_RX_CSUM_BLANK;
	for (; at < PAYLOAD && (n = next_at(at_netvm, &flags)) > 0; packets++) {
		size_t headers = oracle_headers(got);

		CHECK_INT(flags, want);
		if (csum)
			oracle_complete(got, n);
		CHECK(oracle_is_right(got, n));
		if (!CHECK(n - headers <= PAYLOAD - at) ||
		    !CHECK(memcmp(got + headers, payload + at, n - headers) == 0))
			return;
		at += n - headers;
	}
	CHECK_INT(at, PAYLOAD);
	CHECK_INT(packets, cut ? (PAYLOAD + MSS - 1) / MSS : 1);
}

static void connection(bool six, bool cut_up, bool csum_up, bool cut_down, bool csum_down)
{
	static uint8_t b[ORACLE_MAX], seen[ORACLE_MAX];
	uint8_t gso = six ? RING_GSO_TCPV6 : RING_GSO_TCPV4;
	uint16_t flags;
	size_t n;

	send_from(false, b, make(b, six, 6, T_SYN, 1000, 0), 0);
	if (!CHECK((n = next_at(true, &flags)) > 0))
		return;
	if (csum_up)
		oracle_complete(got, n);
	CHECK(oracle_is_right(got, n));
	memcpy(seen, got, n);
	CHECK(memcmp(seen + (six ? 22 : 26), b + (six ? 22 : 26), six ? 16 : 4) !=
	      0); /* translated */
	send_from(true, b, answer(b, seen, T_SYN | T_ACK, 5000, 1001, 0), 0);
	CHECK((n = next_at(false, &flags)) > 0);
	if (csum_down)
		oracle_complete(got, n);
	CHECK(oracle_is_right(got, n));
	n = make(b, six, 6, T_ACK | T_PSH, 1001, PAYLOAD);
	send_from(false, b, n, gso);
	stream(true, cut_up, csum_up, b + oracle_headers(b));
	send_from(true, b, answer(b, seen, T_ACK | T_PSH, 5001, 1001 + PAYLOAD, PAYLOAD), gso);
	stream(false, cut_down, csum_down, b + oracle_headers(b));
}

static void datagram(bool six, bool csum)
{
	static uint8_t b[ORACLE_MAX];
	uint16_t flags;
	size_t n;

	send_from(false, b, make(b, six, 17, 0, 0, 1200), 0);
	CHECK((n = next_at(true, &flags)) > 0);
	if (csum)
		oracle_complete(got, n);
	CHECK(oracle_is_right(got, n));
	CHECK_INT(flags, RING_TX_DATA_VALIDATED | (csum ? RING_TX_CSUM_BLANK : 0));
}

static void test_connections(void)
{
	static const struct front_config all,
	    poor = {.no_sg = true, .no_gso = true, .no_csum_offload = true, .no_ipv6_csum = true},
	    no_gso = {.no_gso = true};
	static const struct fake_backend_config everything,
	    nothing = {.no_sg = true,
		       .no_gso4 = true,
		       .no_gso6 = true,
		       .no_csum_offload = true,
		       .no_ipv6_csum = true},
	    cut = {.no_gso4 = true, .no_gso6 = true};

	test_case("X4.5_translated_and_converted_for_a_poor_client");
	begin(&poor, &everything);
	for (int six = 0; six < 2; six++) {
		connection(six, false, true, true, false);
		datagram(six, true);
	}
	end();
	test_case("X4.5_translated_and_converted_for_a_poor_netvm");
	begin(&all, &nothing);
	for (int six = 0; six < 2; six++) {
		connection(six, true, false, false, true);
		datagram(six, false);
	}
	end();
	test_case("X4.5_translated_and_cut_only_for_both");
	begin(&no_gso, &cut);
	for (int six = 0; six < 2; six++)
		connection(six, true, true, true, true);
	end();
}

/* X3.6: a client that posts and never kicks; the loop comes back every 5 ms
 * (firewall/daemon.c), and within 100 ms nothing is lost. */
static void test_no_rx_notify(void)
{
	enum { BYTES = 10000 }; /* six times that are in the client's window */
	static uint8_t b[ORACLE_MAX], seen[ORACLE_MAX];
	uint16_t flags;

	test_case("X3.6_a_client_without_rx_notify_is_polled");
	begin(&(struct front_config){.no_rx_notify = true, .rx_post = 2},
	      &(struct fake_backend_config){0});
	send_from(false, b, make(b, false, 6, T_SYN, 1000, 0), 0);
	memcpy(seen, got, next_at(true, &flags));
	send_from(true, b, answer(b, seen, T_SYN | T_ACK, 5000, 1001, 0), 0);
	CHECK(next_at(false, &flags) > 0);
	for (unsigned int ms = 5; ms <= 30; ms += 5) {
		uint64_t notified = fake_count(r.f, FAKE_NOTIFY);

		/* three slots and one for the extra; there are two */
		send_from(true, b, answer(b, seen, T_ACK, 5001 + (ms - 5) / 5 * BYTES, 1001, BYTES),
			  RING_GSO_TCPV4);
		CHECK(forward_waiting(fwd));
		turns(ms / 5 - 1);
		CHECK(next_at(false, &flags) == 0 && forward_waiting(fwd));
		front_post(&client, 2);
		netback_poll_events(r.nb); /* no event says so */
		turns(1);
		CHECK(!forward_waiting(fwd));
		CHECK_INT(front_recv(&client, got, sizeof(got), NULL, true), BYTES + 54);
		CHECK(memcmp(got + 54, b + 54, BYTES) == 0);
		CHECK(fake_count(r.f, FAKE_NOTIFY) > notified);
		front_post(&client, 2);
	}
	CHECK_INT(vif->stats.tx_dropped, 0);
	end();
}

int main(void)
{
	test_connections();
	test_no_rx_notify();
	return test_end();
}
