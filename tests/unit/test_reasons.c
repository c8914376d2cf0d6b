// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every reason for a drop, once, by a packet that has that one fault (D8): the
 * counter of the reason moves by one and no other counter moves. A reason that is
 * added to firewall/drop.h without a line here fails.
 */
#include "firewall/engine_impl.h"
#include "firewall/forward.h"
#include "netback/copy.h"
#include "netback/port.h"
#include "tests/unit/check.h"
#include "tests/unit/lab6.h"

#include <errno.h>

static struct lab lab;
static uint64_t before[DROP_REASON_MAX];

static const struct pk udp = {
    .port = 1, .src = C1, .dst = WEB, .proto = 17, .sp = 5000, .dp = 80, .len = 16};
static const struct pk syn = {
    .port = 1, .src = C1, .dst = WEB, .proto = 6, .sp = 5000, .dp = 80, .flags = T_SYN};

/* Everything until now was preparation. */
static void now(void)
{
	memcpy(before, engine_stats(lab.e)->drops, sizeof(before));
}

/* A good packet of client 1, to be spoilt. */
static uint8_t *good(void)
{
	lab_build(&lab.in, &udp);
	return lab.in.f.header;
}

static void fix_ip(void)
{
	uint8_t *ip = lab.in.f.header + 14;

	lab_put16(ip + 10, 0);
	lab_put16(ip + 10, ~lab_sum(ip, (size_t)(ip[0] & 15) * 4, 0));
}

static void run(void)
{
	lab_run(&lab);
}

static void none(void)
{
	struct pk k = udp;

	k.frag = 0x2000;
	lab_send(&lab, k); /* its bytes were taken */
}

static void copy_failed(void)
{
	good();
	lab.in.f.copy_failed = true;
	run();
}

static void no_iface(void)
{
	good();
	lab.in.f.in_port = 50;
	run();
}

static void short_frame(void)
{
	good();
	lab.in.f.header_len = 13;
	lab.in.f.len = 13;
	run();
}

static void ethertype(void)
{
	good()[12] = 0x81;
	run();
}

static void source_mac(void)
{
	good()[11] ^= 1;
	run();
}

static void dest_mac(void)
{
	good()[5] ^= 2;
	run();
}

static void arp(void)
{
	good()[13] = 0x06;
	run();
}

static void icmp6(uint8_t type)
{
	struct l4 k = {.proto = 58, .src = C16, .dst = WEB6, .type = type, .len = 16};

	lab6_build(&lab.in, 1, &k);
}

static void ndp(void)
{
	icmp6(133); /* Q8 */
	run();
}

static void ipv6(void)
{
	struct l4 k = {.proto = 17, .src = C16, .dst = WEB6, .sp = 1, .dp = 2};

	lab6_build(&lab.in, 3, &k);
	run();
}

static void ip_header(void)
{
	good()[14] = 0x44;
	fix_ip();
	run();
}

static void ip_checksum(void)
{
	good()[24] ^= 1;
	run();
}

static void ip_options(void)
{
	struct pk k = udp;

	k.options = 4;
	lab_build(&lab.in, &k);
	lab.in.f.header[34] = 148; /* router alert */
	lab.in.f.header[35] = 4;
	fix_ip();
	run();
}

static void ext_header(void)
{
	lab6_raw(&lab.in, 1, C16, WEB6, 59, "", 0);
	run();
}

static void to(const char *dst)
{
	struct pk k = udp;

	k.dst = dst;
	lab_send(&lab, k);
}

static void martian(void)
{
	to("127.0.0.1");
}

static void multicast(void)
{
	to("224.0.0.251");
}

static void inter_client(void)
{
	to(C2);
}

static void to_firewall(void)
{
	to(OUR);
}

static void spoofed(void)
{
	struct pk k = udp;

	k.src = C2;
	lab_send(&lab, k);
}

static void from_uplink(const char *src)
{
	lab_send(&lab,
		 (struct pk){.port = UP, .src = src, .dst = OUR, .proto = 17, .sp = 1, .dp = 2});
}

static void uplink_spoofed(void)
{
	from_uplink(C1);
}

static void inbound(void)
{
	from_uplink(WEB);
}

static void fragment(void)
{
	struct pk k = udp;

	k.frag = 0x2000;
	k.len = 15; /* F16 */
	lab_send(&lab, k);
}

static void fragment_limit(void)
{
	struct pk k = udp;

	k.frag = 0x2000;
	for (k.id = 0; k.id < FRAG_OWNER_DATAGRAMS; k.id++)
		lab_send(&lab, k);
	now();
	lab_send(&lab, k);
	before[DROP_NONE]++; /* this one was taken, another given up */
}

static void fragment_timeout(void)
{
	none();
	now();
	lab_wait(&lab, 31000);
}

static void ttl(void)
{
	struct pk k = udp;

	k.ttl = 1;
	lab_send(&lab, k);
}

static void too_big(void)
{
	struct pk k = udp;

	k.len = 1480;
	k.frag = 0x4000;
	lab_send(&lab, k);
}

static void l4_header(void)
{
	good()[39] = 4;
	run();
}

static void gso(void)
{
	good();
	lab.in.f.gso = GSO_TCPV4;
	lab.in.f.gso_size = 1000;
	run();
}

static void flags(uint8_t flags)
{
	struct pk k = syn;

	k.flags = flags;
	lab_send(&lab, k);
}

static void tcp_flags(void)
{
	flags(T_SYN | T_FIN);
}

static void tcp_no_flow(void)
{
	flags(T_ACK);
}

static void tcp_window(void)
{
	struct pk k = syn;

	lab_send(&lab, k);
	lab_send(&lab, (struct pk){.port = UP,
				   .src = WEB,
				   .dst = OUR,
				   .proto = 6,
				   .sp = 80,
				   .dp = 5000,
				   .flags = T_SYN | T_ACK,
				   .ack = 1});
	k.flags = T_ACK;
	k.seq = k.ack = 1;
	lab_send(&lab, k);
	now();
	k.seq = 10000000;
	k.len = 1;
	lab_send(&lab, k);
}

static void udp_checksum(void)
{
	struct l4 k = {.proto = 17, .src = C16, .dst = WEB6, .sp = 1, .dp = 2};

	lab6_build(&lab.in, 1, &k);
	lab_put16(lab.in.f.header + 60, 0);
	run();
}

static void icmp(uint8_t type, const void *data, size_t len)
{
	lab_build(&lab.in, &(struct pk){.port = UP,
					.src = WEB,
					.dst = OUR,
					.proto = 1,
					.type = type,
					.data = data,
					.len = len});
}

static void icmp_type(void)
{
	icmp(5, NULL, 28); /* I6 */
	run();
}

static void quote(void)
{
	uint8_t inner[64];

	lab_ip4(inner, &(struct pk){.src = OUR, .dst = WEB, .proto = 17, .sp = 5000, .dp = 80});
	icmp(3, inner, 28);
}

static void icmp_no_flow(void)
{
	quote();
	run();
}

static void icmp_checksum(void)
{
	lab_send(&lab, udp);
	now();
	quote();
	lab.in.f.header[37] ^= 1;
	run();
}

static void protocol(void)
{
	lab_send(&lab, (struct pk){.port = 1, .src = C1, .dst = WEB, .proto = 47, .len = 8});
	now();
	lab_send(&lab, (struct pk){.port = 2, .src = C2, .dst = WEB, .proto = 47, .len = 8});
}

static void no_policy(void)
{
	lab_send(&lab,
		 (struct pk){.port = 3, .src = C3, .dst = WEB, .proto = 17, .sp = 1, .dp = 2});
}

static void rejected(void)
{
	lab_rules(&lab, C1, "drop", NULL);
	lab_send(&lab, udp);
}

static void dns_server(void)
{
	struct engine_dns map = {.virt = lab_to_addr("10.139.1.1")};
	struct pk k = udp;

	engine_set_dns(lab.e, &map, 1);
	k.dst = "10.139.1.1";
	k.dp = 53;
	lab_send(&lab, k);
}

static void no_uplink(void)
{
	engine_iface_link(lab.e, UP, false);
	lab_send(&lab, udp);
}

static void options(uint32_t max_flows)
{
	struct engine_source_options o = {.max_flows = max_flows};
	struct addr c1 = lab_to_addr(C1);

	CHECK_INT(engine_source_options(lab.e, &c1, &o), 0);
}

static void flow_limit(void)
{
	options(1);
	lab_send(&lab, udp);
	lab_send(&lab, (struct pk){
			   .port = UP, .src = WEB, .dst = OUR, .proto = 17, .sp = 80, .dp = 5000});
	now();
	to("192.0.2.81");
}

static void no_port(void)
{
	struct pk k = udp;

	options(70000);
	/* the engine finds none in 128 tries before all are taken (N3) */
	for (uint32_t i = 0; i < 65536; i++) {
		k.sp = (uint16_t)i;
		now();
		if (lab_send(&lab, k)->reason == DROP_NO_PORT)
			return;
	}
	k.port = 2;
	k.src = C2;
	for (uint32_t i = 0; i < 1000; i++) {
		k.sp = (uint16_t)i;
		now();
		if (lab_send(&lab, k)->reason == DROP_NO_PORT)
			return;
	}
}

/* --- what the packet turn drops --------------------------------------------------------- */

static int tx_says;
static unsigned int offers;

static size_t r_rx_burst(struct port *port, struct frame **frames, size_t n,
			 struct copy_batch *batch)
{
	(void)batch;
	if (port->id != 1 || offers == 0 || n == 0)
		return 0;
	offers--;
	lab_build(&lab.in, &udp);
	*frames[0] = lab.in.f;
	return 1;
}

static int r_tx(struct port *port, struct frame *f, struct copy_batch *batch)
{
	(void)port;
	(void)f;
	(void)batch;
	return tx_says;
}

static void r_nothing(struct port *port)
{
	(void)port;
}

static void r_complete(struct port *port, struct frame *f, bool ok)
{
	(void)port;
	(void)f;
	CHECK(ok);
}

static bool r_rx_arm(struct port *port)
{
	(void)port;
	return false;
}

static const struct port_ops ops = {.rx_burst = r_rx_burst,
				    .tx = r_tx,
				    .tx_flush = r_nothing,
				    .complete = r_complete,
				    .rx_flush = r_nothing,
				    .rx_arm = r_rx_arm,
				    .free = r_nothing};

static void turns(enum drop_reason reason, int says)
{
	static struct port ports[2];
	struct copy_batch *batch;
	struct forward *f;
	struct frame own;

	while (engine_take(lab.e, &own))
		engine_done(lab.e, &own);
	if (copy_batch_new(&batch, NULL) || forward_new(&f, lab.e, batch))
		abort();
	for (int i = 0; i < 2; i++) {
		ports[i] = (struct port){.ops = &ops, .link = true, .ready = true, .fd = -1};
		CHECK_INT(forward_add(f, &ports[i]), 0);
	}
	tx_says = says;
	offers = 1;
	forward_turn(f, lab.ms * 1000);
	forward_turn(f, (lab.ms + FORWARD_QUEUE_MS + 1) * 1000);
	for (int i = 0; i < DROP_REASON_MAX; i++)
		CHECK_INT(forward_stats(f)->drops[i], i == (int)reason);
	before[reason]--; /* counted there */
	forward_free(&f);
	copy_batch_free(&batch);
}

static void tx_full(void)
{
	turns(DROP_TX_FULL, -EAGAIN);
}

static void tx_error(void)
{
	turns(DROP_TX_ERROR, -EINVAL);
}

static void (*const makers[DROP_REASON_MAX])(void) = {
    [DROP_NONE] = none,
    [DROP_COPY_FAILED] = copy_failed,
    [DROP_NO_IFACE] = no_iface,
    [DROP_SHORT_FRAME] = short_frame,
    [DROP_ETHERTYPE] = ethertype,
    [DROP_SOURCE_MAC] = source_mac,
    [DROP_DEST_MAC] = dest_mac,
    [DROP_ARP] = arp,
    [DROP_NDP] = ndp,
    [DROP_IPV6] = ipv6,
    [DROP_IP_HEADER] = ip_header,
    [DROP_IP_CHECKSUM] = ip_checksum,
    [DROP_IP_OPTIONS] = ip_options,
    [DROP_EXT_HEADER] = ext_header,
    [DROP_MARTIAN] = martian,
    [DROP_MULTICAST] = multicast,
    [DROP_SPOOFED] = spoofed,
    [DROP_UPLINK_SPOOFED] = uplink_spoofed,
    [DROP_FRAGMENT] = fragment,
    [DROP_FRAGMENT_LIMIT] = fragment_limit,
    [DROP_FRAGMENT_TIMEOUT] = fragment_timeout,
    [DROP_TTL] = ttl,
    [DROP_TOO_BIG] = too_big,
    [DROP_L4_HEADER] = l4_header,
    [DROP_GSO] = gso,
    [DROP_TCP_FLAGS] = tcp_flags,
    [DROP_TCP_NO_FLOW] = tcp_no_flow,
    [DROP_TCP_WINDOW] = tcp_window,
    [DROP_UDP_CHECKSUM] = udp_checksum,
    [DROP_ICMP_TYPE] = icmp_type,
    [DROP_ICMP_NO_FLOW] = icmp_no_flow,
    [DROP_ICMP_CHECKSUM] = icmp_checksum,
    [DROP_PROTOCOL] = protocol,
    [DROP_NO_POLICY] = no_policy,
    [DROP_REJECTED] = rejected,
    [DROP_INTER_CLIENT] = inter_client,
    [DROP_INBOUND] = inbound,
    [DROP_TO_FIREWALL] = to_firewall,
    [DROP_DNS_SERVER] = dns_server,
    [DROP_NO_UPLINK] = no_uplink,
    [DROP_NO_PORT] = no_port,
    [DROP_FLOW_LIMIT] = flow_limit,
    [DROP_TX_FULL] = tx_full,
    [DROP_TX_ERROR] = tx_error,
};

int main(void)
{
	for (int reason = 0; reason < DROP_REASON_MAX; reason++) {
		char name[64];
		const uint64_t *drops;

		snprintf(name, sizeof(name), "D8_%s", drop_name((enum drop_reason)reason));
		test_case(name);
		if (!CHECK(makers[reason] != NULL))
			continue;
		lab_init(&lab, reason == DROP_NO_PORT ? 262144 : 1024, 17);
		lab6_ifaces(&lab, 1500);
		lab_rules(&lab, C1, "accept", NULL);
		lab_rules(&lab, C2, "accept", NULL);
		lab6_accept(&lab, C16);
		now();
		makers[reason]();
		drops = engine_stats(lab.e)->drops;
		for (int i = 0; i < DROP_REASON_MAX; i++)
			if (drops[i] - before[i] != (i == reason))
				printf("  %s: %llu\n", drop_name((enum drop_reason)i),
				       (unsigned long long)(drops[i] - before[i]));
		for (int i = 0; i < DROP_REASON_MAX; i++)
			CHECK_INT(drops[i] - before[i], i == reason);
		CHECK_INT(engine_check(lab.e), 0);
		engine_free(&lab.e);
	}
	return test_end();
}
