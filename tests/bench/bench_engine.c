// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a packet costs in the engine, without ports: nanoseconds for established
 * packets at several table sizes, for first packets and for rejects. The null
 * loop prepares the same frames and does not call the engine; every figure has
 * it subtracted. Flows are visited in random order, half of the packets in each
 * direction, in batches of 64 as the daemon makes them.
 *
 * Prints a table and writes engine.json next to the program.
 */
#include "tests/unit/lab.h"

#include <libgen.h>
#include <time.h>

#define BATCH 64
#define ROUNDS 9
#define SPORT 40000

/* What differs between the packets of two flows, ready made. */
struct vary {
	uint32_t remote;
	uint16_t ip_csum[2], l4_csum[2];
};

static struct lab lab;
static struct tframe build;
static struct frame frames[BATCH], *list[BATCH];
static struct frame template[2]; /* out, in */
static uint32_t csum_at;
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

static void remote_text(uint32_t i, char text[16])
{
	snprintf(text, 16, "%u.%u.%u.%u", 60 + (i >> 20), (i >> 12) & 255, (i >> 4) & 255,
		 (i & 15) + 1);
}

static struct pk packet(uint32_t i, int dir, uint8_t proto, uint8_t flags, char text[16])
{
	remote_text(i, text);
	if (dir == 0)
		return (struct pk){ .port = 1, .src = C1, .dst = text, .proto = proto,
				    .sp = SPORT, .dp = 443, .flags = flags, .len = 10 };
	return (struct pk){ .port = UP, .src = text, .dst = OUR, .proto = proto, .sp = 443,
			    .dp = SPORT, .flags = flags, .len = 10 };
}

static void send_one(uint32_t i, int dir, uint8_t proto, uint8_t flags)
{
	char text[16];

	lab_build(&build, &(struct pk){ 0, .src = C1, .dst = C1 });
	{
		struct pk k = packet(i, dir, proto, flags, text);

		lab_build(&build, &k);
	}
	list[0] = &build.f;
	engine_process(lab.e, list, 1, (struct engine_time){ lab.ms });
	list[0] = &frames[0];
}

static void prepare(uint32_t n, uint8_t proto)
{
	char text[16];

	csum_at = proto == 6 ? 50 : 40;
	for (int dir = 0; dir < 2; dir++) {
		for (uint32_t i = 0; i < n; i++) {
			struct pk k = packet(i, dir, proto, T_ACK, text);

			lab_build(&build, &k);
			memcpy(&flows[i].remote, build.f.header + (dir ? 26 : 30), 4);
			memcpy(&flows[i].ip_csum[dir], build.f.header + 24, 2);
			memcpy(&flows[i].l4_csum[dir], build.f.header + csum_at, 2);
		}
		template[dir] = build.f;
	}
}

/* A frame as a port leaves it: 64 bytes of header and the descriptor's fields. */
static void fill(struct frame *f, uint32_t i, int dir)
{
	const struct frame *t = &template[dir];
	const struct vary *v = &flows[i];

	memcpy(f, t, offsetof(struct frame, seg));
	memcpy(f->header, t->header, 64);
	memcpy(f->header + (dir ? 26 : 30), &v->remote, 4);
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

static double established(uint32_t n, uint8_t proto, uint32_t flow_max)
{
	uint32_t packets = n < 65536 ? 65536 : n;
	struct engine_source_options many = { .max_flows = flow_max };
	struct addr c1 = lab_to_addr(C1);
	double t[ROUNDS];
	uint64_t before;

	if (lab.e)
		engine_free(&lab.e);
	lab_init(&lab, flow_max, 3);
	lab_rules(&lab, C1, "accept", NULL);
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
	qsort(t, ROUNDS, sizeof(t[0]), by_value);
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
	report("udp_established_1", established(1, 17, 131072));
	report("udp_established_16k", established(16384, 17, 131072));
	report("udp_established_64k", established(65536, 17, 131072));
	report("tcp_established_1", established(1, 6, 131072));
	report("tcp_established_16k", established(16384, 6, 131072));
	report("tcp_established_64k", established(65536, 6, 131072));
	if (big)
		report("tcp_established_1m", established(million, 6, 2 * million));
	report("udp_first_packet_1_rule", first_packets(NULL, "accept"));
	report("udp_first_packet_31_rules", first_packets(rules, "accept"));
	report("reject_answered", rejects(1000));
	report("reject_limited", rejects(0));
	fprintf(json, ",\n  \"bytes_per_flow\": %u\n}\n", engine_stats(lab.e)->bytes_per_flow);
	engine_free(&lab.e);
	free(flows);
	free(order);
	return fclose(json) != 0;
}
