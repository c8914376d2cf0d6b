// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the verdict for a first packet costs at 1, 10, 100, 1000 and 10 000
 * rules, how long a policy takes to compile and how much memory it has: for
 * rules as users write them and for ones meant to hurt, in both families.
 *
 * Each figure is the best of ROUNDS passes over PACKETS packets in random
 * order, each of which waits for the result of the one before, so it is latency
 * and not throughput. The loop itself is in it (its cost is printed, too): taken
 * off, one rule would seem to cost nothing. Verdicts are compared with the naive
 * scan beforehand: a fast wrong answer is none.
 *
 * Then what that means: the cost of a flow's first packet in the engine (parse,
 * verdict, NAT, flow) under the usual rules, all of it accepted.
 *
 * Prints a table and writes rules.json next to the program.
 */
#include "rules/policy.h"
#include "tests/unit/lab.h"
#include "tests/unit/rules_naive.h"
#include "tests/unit/rules_random.h"

#include <libgen.h>
#include <time.h>

#define PACKETS 8192
#define CHECKED 512 /* of them compared with the scan */
#define ROUNDS	15
#define SIZES	5
#define BATCH	64

static_assert(PACKETS % BATCH == 0, "whole batches");

static const size_t sizes[SIZES] = {1, 10, 100, 1000, RULE_MAX};

struct figures {
	double match_ns, compile_us;
	size_t memory;
};

struct bench {
	struct world world;
	struct policy *policy;
	struct rule_packet pkt[PACKETS];
	uint8_t dst[PACKETS][16];
	FILE *json;
	const char *comma;
};

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* other programs do not count */
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* What stays of a pass without the match. */
__attribute__((noinline)) static enum rule_verdict null_match(const struct policy *p,
							      const struct rule_packet *pkt,
							      uint32_t *index)
{
	*index = pkt->dport;
	__asm__ volatile("" ::"r"(p) : "memory");
	return RULE_ACCEPT;
}

static double pass(const struct bench *b,
		   enum rule_verdict (*match)(const struct policy *, const struct rule_packet *,
					      uint32_t *))
{
	double start = now_ns();
	uint32_t index = 0, zero = 0;

	__asm__ volatile("" : "+r"(zero)); /* the compiler does not know that it is */
	for (size_t i = 0; i < PACKETS; i++)
		match(b->policy, &b->pkt[i + (index & zero)], &index);
	return (now_ns() - start) / PACKETS;
}

static double compile_once(struct bench *b)
{
	double start;

	policy_free(&b->policy);
	start = now_ns();
	if (policy_compile(&b->policy, b->world.rs, &b->world.env) != 0)
		abort();
	return (now_ns() - start) / 1000;
}

static void check(const struct bench *b)
{
	struct naive naive;

	if (!naive_init(&naive, b->world.rs, &b->world.env))
		abort();
	for (size_t i = 0; i < CHECKED; i++) {
		uint32_t index, want;

		policy_match(b->policy, &b->pkt[i], &index);
		naive_match(&naive, &b->pkt[i], &want);
		if (index != want) {
			fprintf(stderr, "bench_rules: rule %u, not %u\n", index, want);
			exit(1);
		}
	}
	naive_clear(&naive);
}

static struct figures measure(struct bench *b, enum world_kind kind, uint8_t family, size_t rules)
{
	struct figures best = {1e9, 1e9, 0};

	world_init(&b->world, 1, kind, family, rules);
	for (int i = 0; i < (rules > 1000 ? 5 : ROUNDS); i++) {
		double us = compile_once(b);

		best.compile_us = us < best.compile_us ? us : best.compile_us;
	}
	for (size_t i = 0; i < PACKETS; i++)
		world_packet(&b->world, &b->pkt[i], b->dst[i]);
	check(b);
	for (int i = 0; i < ROUNDS; i++) {
		double ns = pass(b, policy_match);

		best.match_ns = ns < best.match_ns ? ns : best.match_ns;
	}
	best.memory = policy_memory(b->policy);
	policy_free(&b->policy);
	world_clear(&b->world);
	return best;
}

static void record(struct bench *b, const char *set, size_t rules, const struct figures *f)
{
	fprintf(b->json, "%s\n  \"%s_%zu_match_ns\": %.1f", b->comma, set, rules, f->match_ns);
	fprintf(b->json, ",\n  \"%s_%zu_compile_us\": %.1f", set, rules, f->compile_us);
	fprintf(b->json, ",\n  \"%s_%zu_memory_bytes\": %zu", set, rules, f->memory);
	b->comma = ",";
}

static void run(struct bench *b, enum world_kind kind, uint8_t family)
{
	struct figures f[SIZES];
	char set[32];

	snprintf(set, sizeof(set), "%s_v%u", world_kind_name[kind], family);
	printf("%-10s", set);
	for (size_t i = 0; i < SIZES; i++) {
		f[i] = measure(b, kind, family, sizes[i]);
		record(b, set, sizes[i], &f[i]);
		printf(" %7.1f", f[i].match_ns);
	}
	printf("  %5.1f %5.1f ", f[3].match_ns / f[0].match_ns, f[4].match_ns / f[0].match_ns);
	for (size_t i = 0; i < SIZES; i++)
		printf(" %7.1f", f[i].compile_us);
	printf(" ");
	for (size_t i = 0; i < SIZES; i++)
		printf(" %7.1f", (double)f[i].memory / 1024);
	printf("\n");
	fflush(stdout);
}

/* --- in the engine -------------------------------------------------------------- */

struct engine_bench {
	struct lab lab;
	struct tframe build;
	uint8_t header[PACKETS][64];
	struct frame frame[BATCH], *list[BATCH];
};

/* One UDP packet for each flow; the rules accept it. */
static void prepare_flows(struct bench *b, struct engine_bench *e)
{
	struct naive naive;

	if (!naive_init(&naive, b->world.rs, &b->world.env))
		abort();
	for (uint32_t i = 0; i < PACKETS; i++) {
		struct addr dst = {.family = 4};
		struct rule_packet pkt;
		char text[ADDR_STRLEN];
		uint32_t index;
		int tries = 0;

		do {
			if (tries++ == 10000)
				abort(); /* nothing is accepted */
			world_packet(&b->world, &pkt, dst.bytes);
			pkt.proto = 17;
		} while (naive_match(&naive, &pkt, &index) != RULE_ACCEPT || dst.bytes[0] == 10);
		lab_build(&e->build, &(struct pk){.port = 1,
						  .src = C1,
						  .dst = addr_format(&dst, text),
						  .proto = 17,
						  .sp = (uint16_t)(1024 + i),
						  .dp = pkt.dport ? pkt.dport : 1,
						  .len = 10});
		memcpy(e->header[i], e->build.f.header, sizeof(e->header[i]));
	}
	naive_clear(&naive);
}

static double flow_pass(struct engine_bench *e, bool engine)
{
	double start = now_ns();

	for (uint32_t done = 0; done < PACKETS; done += BATCH) {
		for (uint32_t i = 0; i < BATCH; i++) {
			memcpy(&e->frame[i], &e->build.f, offsetof(struct frame, seg));
			memcpy(e->frame[i].header, e->header[done + i], sizeof(e->header[0]));
		}
		if (engine)
			engine_process(e->lab.e, e->list, BATCH, (struct engine_time){e->lab.ms});
		else
			__asm__ volatile("" ::"r"(e->list) : "memory");
	}
	return (now_ns() - start) / PACKETS;
}

static double first_packet(struct bench *b, struct engine_bench *e, size_t rules)
{
	struct addr source = lab_to_addr(C1);
	double best = 1e9;

	world_init(&b->world, 1, WORLD_USUAL, 4, rules);
	b->world.rs->policy = RULE_ACCEPT; /* or few packets would be */
	prepare_flows(b, e);
	for (int i = 0; i < ROUNDS; i++) {
		struct policy *p = NULL;
		double ns;

		lab_init(&e->lab, 2 * PACKETS, 3);
		if (policy_compile(&p, b->world.rs, &b->world.env) != 0 ||
		    engine_source_set(e->lab.e, &source, p, ENGINE_RULES) != 0)
			abort();
		flow_pass(e, true); /* a page fault is not a packet's cost */
		lab_wait(&e->lab, 600 * 1000);
		ns = flow_pass(e, true) - flow_pass(e, false);
		best = ns < best ? ns : best;
		if (engine_stats(e->lab.e)->flows_created != 2 * PACKETS) {
			fprintf(stderr, "bench_rules: %llu flows, not %d\n",
				(unsigned long long)engine_stats(e->lab.e)->flows_created,
				2 * PACKETS);
			exit(1);
		}
		engine_free(&e->lab.e);
	}
	world_clear(&b->world);
	return best;
}

static void run_engine(struct bench *b)
{
	static struct engine_bench e;
	double one = 0;

	for (int i = 0; i < BATCH; i++)
		e.list[i] = &e.frame[i];
	printf("\nfirst packet of a flow in the engine, usual rules, ns; ratio to 1 rule\n");
	for (size_t i = 0; i < SIZES; i++) {
		double ns = first_packet(b, &e, sizes[i]);

		one = i == 0 ? ns : one;
		printf("%7zu rules %7.1f  %5.2f\n", sizes[i], ns, ns / one);
		fprintf(b->json, ",\n  \"first_packet_%zu_ns\": %.1f", sizes[i], ns);
	}
}

int main(int argc, char **argv)
{
	static struct bench bench;
	char path[4096], dir[4096];
	double loop_ns = 1e9;

	(void)argc;
	snprintf(dir, sizeof(dir), "%s", argv[0]);
	snprintf(path, sizeof(path), "%.4000s/rules.json", dirname(dir));
	bench.json = fopen(path, "w");
	bench.comma = "";
	if (bench.json == NULL) {
		perror(path);
		return 1;
	}
	fprintf(bench.json, "{");
	printf("verdict of a first packet, ns; ratio to 1 rule; compile, us; memory, KiB\n");
	printf("%-10s %7s %7s %7s %7s %7s  %5s %5s  %7s %7s %7s %7s %8s  %7s %7s %7s %7s %7s\n",
	       "rules", "1", "10", "100", "1000", "10000", "1000", "10000", "1", "10", "100",
	       "1000", "10000", "1", "10", "100", "1000", "10000");
	world_init(&bench.world, 1, WORLD_USUAL, 4, 1);
	for (size_t i = 0; i < PACKETS; i++)
		world_packet(&bench.world, &bench.pkt[i], bench.dst[i]);
	world_clear(&bench.world);
	for (int i = 0; i < ROUNDS; i++) {
		double ns = pass(&bench, null_match);

		loop_ns = ns < loop_ns ? ns : loop_ns;
	}
	printf("%-10s %7.1f\n", "loop alone", loop_ns);
	fprintf(bench.json, "\n  \"loop_ns\": %.1f", loop_ns);
	bench.comma = ",";
	for (int kind = 0; kind < WORLD_KINDS; kind++)
		for (uint8_t family = 4; family <= 6; family += 2)
			run(&bench, (enum world_kind)kind, family);
	run_engine(&bench);
	fprintf(bench.json, "\n}\n");
	return fclose(bench.json) != 0;
}
