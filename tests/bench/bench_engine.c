// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a packet costs in the engine, without ports: nanoseconds for established
 * packets of both families at several table sizes, for first packets, for rejects and
 * for datagrams in two fragments. The null loop prepares the same frames and does not
 * call the engine; every figure but the last has it subtracted. Flows are visited in
 * random order, half of the packets in each direction, in batches of 64 as the daemon
 * makes them. TCP segments are in their window, so that all of the check is paid for.
 *
 * Prints a table and writes engine.json next to the program.
 */
#include "tests/unit/lab6.h"

#include <libgen.h>
#include <time.h>

#define BATCH 64
#define ROUNDS 9
#define SPORT 40000

/* What differs between the packets of two flows, ready made. */
struct vary {
	uint8_t remote[16];
	uint16_t ip_csum[2], l4_csum[2];
};

/* Where it stands, by family. */
struct shape {
	uint8_t addr_len, addr_at[2]; /* the remote address: out, in */
	uint8_t l4;
};

static const struct shape shapes[2] = { { 4, { 30, 26 }, 34 }, { 16, { 38, 22 }, 54 } };

static struct lab lab;
static struct tframe build;
static struct frame frames[BATCH], *list[BATCH];
static struct frame template[2]; /* out, in */
static uint32_t csum_at;
static const struct shape *shape = &shapes[0];
static struct vary *flows;
static uint32_t *order;
static uint32_t random_state = 12345;

static uint32_t cheap_random(void)
{
	random_state = random_state * 1664525u + 1013904223u;
	return random_state >> 4;
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* other programs do not count */
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static bool six(void)
{
	return shape == &shapes[1];
}

static void remote_text(uint32_t i, char text[40])
{
	if (six())
		snprintf(text, 40, "2001:db8:%x:%x::1", i >> 16, i & 0xffff);
	else
		snprintf(text, 40, "%u.%u.%u.%u", 60 + (i >> 20), (i >> 12) & 255, (i >> 4) & 255,
			 (i & 15) + 1);
}

/* A packet of flow @i in build; its sequence numbers are those behind a handshake. */
static void packet(uint32_t i, int dir, uint8_t proto, uint8_t flags)
{
	char text[40];
	struct l4 k = { .proto = proto, .src = C16, .dst = text, .sp = SPORT, .dp = 443,
			.flags = flags, .seq = flags & T_SYN ? 0 : 1,
			.ack = flags & T_ACK ? 1 : 0, .len = 10 };
	struct pk k4 = { .port = dir ? UP : 1, .proto = proto, .flags = flags, .seq = k.seq,
			 .ack = k.ack, .len = 10 };

	remote_text(i, text);
	k4.src = dir ? text : C1;
	k4.dst = dir ? OUR : text;
	if (dir) {
		k.src = text;
		k.dst = OUR6;
		k.sp = 443;
		k.dp = SPORT;
	}
	k4.sp = k.sp;
	k4.dp = k.dp;
	if (six())
		lab6_build(&build, k4.port, &k);
	else
		lab_build(&build, &k4);
}

static void send_one(uint32_t i, int dir, uint8_t proto, uint8_t flags)
{
	struct frame *f = &build.f;

	packet(i, dir, proto, flags);
	engine_process(lab.e, &f, 1, (struct engine_time){ lab.ms });
}

static void prepare(uint32_t n, uint8_t proto)
{
	csum_at = shape->l4 + (proto == 6 ? 16u : 6u);
	for (int dir = 0; dir < 2; dir++) {
		for (uint32_t i = 0; i < n; i++) {
			const uint8_t *h = build.f.header;

			packet(i, dir, proto, T_ACK);
			memcpy(flows[i].remote, h + shape->addr_at[dir], shape->addr_len);
			memcpy(&flows[i].ip_csum[dir], h + 24, 2);
			memcpy(&flows[i].l4_csum[dir], h + csum_at, 2);
		}
		template[dir] = build.f;
	}
}

/* A frame as a port leaves it: the header's bytes and the descriptor's fields. */
static void fill(struct frame *f, uint32_t i, int dir)
{
	const struct frame *t = &template[dir];
	const struct vary *v = &flows[i];

	memcpy(f, t, offsetof(struct frame, seg));
	memcpy(f->header, t->header, 96);
	memcpy(f->header + shape->addr_at[dir], v->remote, shape->addr_len);
	if (!six())
		memcpy(f->header + 24, &v->ip_csum[dir], 2);
	memcpy(f->header + csum_at, &v->l4_csum[dir], 2);
}

static int by_value(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* One pass over @packets packets; ns for each. @engine false: the null loop. */
static double pass(uint32_t packets, bool both, bool engine, uint64_t ms_per_batch)
{
	double start = now_ns();

	for (uint32_t done = 0; done < packets; done += BATCH) {
		for (uint32_t i = 0; i < BATCH; i++)
			fill(&frames[i], order[done + i], both && (i & 1));
		if (engine)
			engine_process(lab.e, list, BATCH, (struct engine_time){ lab.ms });
		else
			__asm__ volatile("" ::"r"(list) : "memory");
		lab.ms += ms_per_batch;
	}
	return (now_ns() - start) / packets;
}

static void expect(uint64_t got, uint64_t want, const char *what)
{
	if (got == want)
		return;
	fprintf(stderr, "bench_engine: %s: %llu, not %llu\n", what, (unsigned long long)got,
		(unsigned long long)want);
	exit(1);
}

static double established(uint32_t n, uint8_t family, uint8_t proto, uint32_t flow_max)
{
	uint32_t packets = n < 65536 ? 65536 : n;
	struct engine_source_options many = { .max_flows = flow_max };
	struct addr c1 = lab_to_addr(family == 6 ? C16 : C1);
	double t[ROUNDS];
	uint64_t before;

	if (lab.e)
		engine_free(&lab.e);
	lab_init(&lab, flow_max, 3);
	shape = &shapes[family == 6];
	lab6_ifaces(&lab, 1500);
	lab_rules(&lab, C1, "accept", NULL);
	lab6_accept(&lab, C16);
	if (engine_source_options(lab.e, &c1, &many))
		exit(1);
	for (uint32_t i = 0; i < n; i++) {
		send_one(i, 0, proto, T_SYN);
		send_one(i, 1, proto, T_SYN | T_ACK);
		send_one(i, 0, proto, T_ACK);
	}
	expect(engine_stats(lab.e)->flows_active, n, "flows");
	prepare(n, proto);
	for (uint32_t i = 0; i < packets; i++)
		order[i] = cheap_random() % n;
	before = engine_stats(lab.e)->forwarded;
	for (int r = 0; r < ROUNDS; r++)
		t[r] = pass(packets, true, true, 0) - pass(packets, true, false, 0);
	expect(engine_stats(lab.e)->forwarded - before, (uint64_t)packets * ROUNDS, "forwarded");
	expect(engine_stats(lab.e)->drops[DROP_TCP_WINDOW], 0, "outside of their window");
	qsort(t, ROUNDS, sizeof(t[0]), by_value);
	shape = &shapes[0];
	return t[ROUNDS / 2];
}

static double first_packets(const char *const *rules, const char *last)
{
	const uint32_t n = 32768;
	double t[ROUNDS];

	prepare(n, 17);
	for (uint32_t i = 0; i < n; i++)
		order[i] = i;
	for (int r = 0; r < ROUNDS; r++) {
		if (lab.e)
			engine_free(&lab.e);
		lab_init(&lab, 131072, 3);
		lab_rules(&lab, C1, last, rules);
		/* touch the memory: a page fault is not a packet's cost */
		pass(n, false, true, 0);
		lab_wait(&lab, 600 * 1000);
		expect(engine_stats(lab.e)->flows_active, 0, "flows left");
		t[r] = pass(n, false, true, 0) - pass(n, false, false, 0);
		expect(engine_stats(lab.e)->flows_created, 2 * n, "created");
	}
	qsort(t, ROUNDS, sizeof(t[0]), by_value);
	return t[ROUNDS / 2];
}

static double rejects(uint64_t ms_per_batch)
{
	const uint32_t n = 32768;
	double t[ROUNDS];

	if (lab.e)
		engine_free(&lab.e);
	lab_init(&lab, 0, 3);
	lab_rules(&lab, C1, "drop", NULL);
	prepare(n, 17);
	for (uint32_t i = 0; i < n; i++)
		order[i] = i;
	for (int r = 0; r < ROUNDS; r++)
		t[r] = pass(n, false, true, ms_per_batch) - pass(n, false, false, 0);
	expect(engine_stats(lab.e)->drops[DROP_REJECTED], (uint64_t)n * ROUNDS, "rejected");
	if (ms_per_batch)
		expect(engine_stats(lab.e)->replied, (uint64_t)n * ROUNDS, "replied");
	qsort(t, ROUNDS, sizeof(t[0]), by_value);
	return t[ROUNDS / 2];
}

/*
 * 2000 bytes of UDP in two fragments: kept, put together, judged, translated and
 * handed out again; ns for each datagram. Nothing is subtracted: the frames stay.
 */
static double fragments(void)
{
	static struct tframe pieces[2];
	const struct l4 k = { .proto = 17, .src = C1, .dst = WEB, .sp = SPORT, .dp = 443,
			      .len = 2000 };
	static uint8_t whole[LAB_TAIL];
	const uint32_t datagrams = 32768;
	double t[ROUNDS];
	struct frame out;

	engine_free(&lab.e);
	lab_init(&lab, 1024, 3);
	lab_rules(&lab, C1, "accept", NULL);
	lab_wait(&lab, 1);
	lab4_udp(whole, &k);
	for (uint32_t i = 0; i < BATCH; i++) {
		struct part p = { 1, C1, WEB, 17, i / 2, i & 1 ? 1480 : 0, i & 1 ? 528 : 1480,
				  !(i & 1) };

		/* the pieces of all datagrams differ in their heads only */
		lab4_part(&pieces[i & 1], &p, whole);
		frames[i] = pieces[i & 1].f;
	}
	for (int r = 0; r < ROUNDS; r++) {
		double begin = now_ns();

		for (uint32_t done = 0; done < datagrams; done += BATCH / 2) {
			engine_process(lab.e, list, BATCH, (struct engine_time){ lab.ms });
			while (engine_take(lab.e, &out))
				engine_done(lab.e, &out);
		}
		t[r] = (now_ns() - begin) / datagrams;
	}
	expect(engine_stats(lab.e)->forwarded, (uint64_t)datagrams * ROUNDS, "datagrams");
	expect(engine_stats(lab.e)->emitted - 2, 2ull * datagrams * ROUNDS, "pieces");
	qsort(t, ROUNDS, sizeof(t[0]), by_value);
	return t[ROUNDS / 2];
}

static FILE *json;
static const char *comma = "";

static void report(const char *name, double ns)
{
	printf("%-28s %8.1f ns\n", name, ns);
	fprintf(json, "%s\n  \"%s\": %.1f", comma, name, ns);
	comma = ",";
}

int main(int argc, char **argv)
{
	static char rule_text[31][64];
	const char *rules[32] = { 0 };
	const uint32_t million = 1u << 20;
	bool big = argc > 1 && strcmp(argv[1], "--million") == 0;
	char path[4096], dir[4096];

	snprintf(dir, sizeof(dir), "%s", argv[0]);
	snprintf(path, sizeof(path), "%.4000s/engine.json", dirname(dir));
	json = fopen(path, "w");
	flows = calloc(million, sizeof(*flows));
	order = calloc(million, sizeof(*order));
	if (!json || !flows || !order) {
		perror(path);
		return 1;
	}
	for (int i = 0; i < BATCH; i++)
		list[i] = &frames[i];
	for (int i = 0; i < 31; i++) {
		snprintf(rule_text[i], sizeof(rule_text[i]),
			 "action=accept dst4=172.16.%d.0/24 proto=tcp dstports=%d-%d", i, 100 + i,
			 200 + i);
		rules[i] = rule_text[i];
	}
	fprintf(json, "{");
	report("udp_established_1", established(1, 4, 17, 131072));
	report("udp_established_16k", established(16384, 4, 17, 131072));
	report("udp_established_64k", established(65536, 4, 17, 262144));
	report("tcp_established_1", established(1, 4, 6, 131072));
	report("tcp_established_16k", established(16384, 4, 6, 131072));
	report("tcp_established_64k", established(65536, 4, 6, 262144));
	if (big)
		report("tcp_established_1m", established(million, 4, 6, 2 * million));
	report("udp6_established_16k", established(16384, 6, 17, 131072));
	report("tcp6_established_16k", established(16384, 6, 6, 131072));
	report("udp_first_packet_1_rule", first_packets(NULL, "accept"));
	report("udp_first_packet_31_rules", first_packets(rules, "accept"));
	report("reject_answered", rejects(1000));
	report("reject_limited", rejects(0));
	report("udp_datagram_in_2_fragments", fragments());
	fprintf(json, ",\n  \"bytes_per_flow\": %u\n}\n", engine_stats(lab.e)->bytes_per_flow);
	engine_free(&lab.e);
	free(flows);
	free(order);
	return fclose(json) != 0;
}
