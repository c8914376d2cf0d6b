// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a packet costs in netback/, over the rings of a fake Xen: one thread, one CPU,
 * without an engine. Only our own code is timed, not the peers'; of what it asks of
 * the hypervisor (copies, notifications) the time is taken off and the number told,
 * because here they are no hypercalls.
 *
 *	one ring	the shapes of packets, client to netvm and to client
 *	more rings	the same packets, 64 a turn, out of 1 to 16 rings: what
 *			queues would be to us
 *	conversion	what a peer that lacks a feature costs
 *
 * Prints a table and writes rings.json next to the program.
 */
#include "firewall/packet.h"
#include "tests/fake/fake_backend.h"
#include "tests/fake/oracle.h"
#include "tests/fake/rig.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 9
#define TURNS  400
#define RINGS  16

static struct rig rig;
static struct front src[RINGS], dst;
static struct fake_backend netvm;
static struct port *in[RINGS], *out;
static bool to_netvm;
static uint8_t packet[ORACLE_MAX], scratch[ORACLE_MAX + 64];

/* --- the clock, and what is not ours ------------------------------------------------------ */
static const struct xen_ops *real_ops;
static double foreign_ns, clock_ns; /* clock_ns: a look at the clock */
static uint64_t copy_ops, copy_calls, notifications;

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Of the two looks around something, one falls into what they measure. */
static void not_ours(double begin)
{
	foreign_ns += now_ns() - begin + clock_ns;
}

static int timed_copy(struct xen *x, struct xen_copy *ops, size_t n)
{
	double begin = now_ns();
	int ret = real_ops->copy(x, ops, n);

	not_ours(begin);
	copy_ops += n;
	copy_calls++;
	return ret;
}

static void timed_notify(struct xen *x, uint32_t port)
{
	double begin = now_ns();

	real_ops->notify(x, port);
	not_ours(begin);
	notifications++;
}

static double clock_cost(void)
{
	double begin = now_ns();

	for (int i = 0; i < 100000; i++)
		(void)now_ns();
	return (now_ns() - begin) / 100000;
}

/* --- the rig ------------------------------------------------------------------------------ */
static void start(unsigned int rings, const struct front_config *front,
		  const struct fake_backend_config *back)
{
	static const struct fake_backend_config all;
	static struct xen_ops ops;

	to_netvm = front == NULL;
	rig_start(&rig);
	for (unsigned int i = 0; i < rings; i++)
		in[i] = rig_plug(&rig, &src[i], (uint16_t)(10 + i), NULL);
	if (to_netvm) {
		fake_backend_plug(&netvm, rig.f, 1, 0, "00:16:3e:5e:6c:01");
		fake_backend_offer(&netvm, back ? back : &all);
		rig_poll(&rig);
		out = rig_port(&rig, "uplink0");
		if (!out || fake_backend_connect(&netvm))
			abort();
		fake_backend_state(&netvm, 4);
		rig_poll(&rig);
	} else {
		out = rig_plug(&rig, &dst, 5, front);
	}
	real_ops = fake_xen(rig.f)->ops;
	ops = *real_ops;
	ops.copy = timed_copy;
	ops.notify = timed_notify;
	fake_xen(rig.f)->ops = &ops;
	if (!out || !out->link)
		abort();
}

static void stop(void)
{
	fake_xen(rig.f)->ops = real_ops;
	rig_end(&rig);
}

/* What the peers do between two turns. */
static void peers(unsigned int rings)
{
	long n;

	for (unsigned int i = 0; i < rings; i++)
		front_reap(&src[i]);
	do
		n = to_netvm ? fake_backend_take(&netvm, scratch, sizeof(scratch), NULL, false)
			     : front_recv(&dst, scratch, sizeof(scratch), NULL, false);
	while (n > 0);
	if (n < 0)
		abort();
}

/* One turn as firewall/forward.c does it; Return: our own time. */
static double turn(unsigned int rings, unsigned int each)
{
	static struct frame pool[64];
	struct frame *frames[64];
	unsigned int n = 0;
	double begin, spent;

	for (int i = 0; i < 64; i++)
		frames[i] = &pool[i];
	foreign_ns = 0;
	begin = now_ns();
	for (unsigned int i = 0; i < rings; i++) {
		size_t got = in[i]->ops->rx_burst(in[i], frames + n, each, rig.batch);

		for (size_t k = 0; k < got; k++)
			frames[n + k]->in_port = (uint16_t)i;
		n += (unsigned int)got;
	}
	copy_batch_run(rig.batch);
	spent = now_ns() - begin;
	for (unsigned int i = 0; i < n; i++) { /* the engine's part is not timed */
		struct packet p;

		if (packet_ethertype(frames[i]) == ETHERTYPE_IP6
			? packet_parse_ip6(frames[i], &p)
			: packet_parse_ip4(frames[i], &p, false))
			abort();
		if (packet_parse_l4(frames[i], &p))
			abort();
	}
	begin = now_ns();
	for (unsigned int i = 0; i < n; i++)
		if (out->ops->tx(out, frames[i], rig.batch))
			abort();
	copy_batch_run(rig.batch);
	out->ops->tx_flush(out);
	for (unsigned int i = 0; i < n; i++)
		in[frames[i]->in_port]->ops->complete(in[frames[i]->in_port], frames[i], true);
	for (unsigned int i = 0; i < rings; i++)
		in[i]->ops->rx_flush(in[i]);
	spent += now_ns() - begin;
	if (n != rings * each)
		abort();
	return spent - foreign_ns;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static FILE *json;
static const char *comma = "";

/* Packets of one shape, @each of @rings a turn; what one of them costs. */
static void measure(const char *name, const struct oracle_spec *spec, uint16_t mss,
		    unsigned int rings, unsigned int each)
{
	static const uint16_t head[] = {66}; /* as Linux sends */
	struct front_packet p = {.data = packet,
				 .len = oracle_make(packet, spec),
				 .flags = RING_TX_CSUM_BLANK,
				 .gso_size = mss,
				 .split = head};
	double total[ROUNDS], per = rings * each;

	if (mss)
		p.gso_type = spec->ipv6 ? RING_GSO_TCPV6 : RING_GSO_TCPV4;
	p.nsplit = p.len > 4096;
	copy_ops = copy_calls = notifications = 0;
	clock_ns = clock_cost();
	for (int r = 0; r < ROUNDS; r++) {
		total[r] = 0;
		for (int t = 0; t < TURNS; t++) {
			for (unsigned int i = 0; i < rings * each; i++)
				if (!front_send(&src[i % rings], &p))
					abort();
			total[r] += turn(rings, each) - 2 * clock_ns;
			peers(rings);
		}
	}
	qsort(total, ROUNDS, sizeof(total[0]), by_value);
	per *= TURNS;
	printf("%-34s %8.0f ns %7.1f copies %6.3f calls %6.3f events\n", name,
	       total[ROUNDS / 2] / per, (double)copy_ops / ROUNDS / per,
	       (double)copy_calls / ROUNDS / per, (double)notifications / ROUNDS / per);
	fprintf(json, "%s\n  \"%s\": {\"ns\": %.0f, \"copies\": %.1f, \"events\": %.3f}", comma,
		name, total[ROUNDS / 2] / per, (double)copy_ops / ROUNDS / per,
		(double)notifications / ROUNDS / per);
	comma = ",";
}

static const struct oracle_spec small = {.payload = 6, .tcp_flags = 0x10, .id = 1},
				large = {.payload = 1460, .tcp_flags = 0x10, .id = 1},
				gso = {.payload = 65160, .tcp_flags = 0x10, .id = 1};

static void one(const char *name, const struct front_config *front,
		const struct fake_backend_config *back, const struct oracle_spec *spec,
		uint16_t mss)
{
	start(1, front, back);
	measure(name, spec, mss, 1, mss ? 4 : 64);
	stop();
}

int main(int argc, char **argv)
{
	static const struct front_config all, no_gso = {.no_gso = true},
					      no_csum = {.no_csum_offload = true};
	static const struct fake_backend_config poor_gso = {.no_gso4 = true},
						poor_csum = {.no_csum_offload = true};
	char path[4096], dir[4096], name[64];

	(void)argc;
	snprintf(dir, sizeof(dir), "%s", argv[0]);
	snprintf(path, sizeof(path), "%.4000s/rings.json", dirname(dir));
	json = fopen(path, "w");
	if (!json) {
		perror(path);
		return 1;
	}
	fprintf(json, "{");
	one("60_bytes_to_netvm", NULL, NULL, &small, 0);
	one("1514_bytes_to_netvm", NULL, NULL, &large, 0);
	one("64k_gso_to_netvm", NULL, NULL, &gso, 1448);
	one("60_bytes_to_client", &all, NULL, &small, 0);
	one("1514_bytes_to_client", &all, NULL, &large, 0);
	one("64k_gso_to_client", &all, NULL, &gso, 1448);
	for (unsigned int rings = 1; rings <= RINGS; rings *= 2) {
		start(rings, NULL, NULL);
		snprintf(name, sizeof(name), "60_bytes_out_of_%u_rings", rings);
		measure(name, &small, 0, rings, 64 / rings);
		snprintf(name, sizeof(name), "1514_bytes_out_of_%u_rings", rings);
		measure(name, &large, 0, rings, 64 / rings);
		stop();
	}
	one("64k_cut_for_netvm", NULL, &poor_gso, &gso, 1448);
	one("64k_cut_and_summed_for_netvm", NULL, &poor_csum, &gso, 1448);
	one("64k_cut_for_client", &no_gso, NULL, &gso, 1448);
	one("64k_cut_and_summed_for_client", &no_csum, NULL, &gso, 1448);
	one("1514_bytes_summed_for_netvm", NULL, &poor_csum, &large, 0);
	one("1514_bytes_summed_for_client", &no_csum, NULL, &large, 0);
	fprintf(json, "\n}\n");
	return fclose(json) != 0;
}
