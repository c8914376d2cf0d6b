// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * M1: the engine against the model on random histories.
 *
 *	test_model			the fixed seed, then one from the clock
 *	MODEL_SEED=n test_model		only that history
 *	MODEL_PACKETS=n			instead of a million
 *
 * A history that the two do not agree on is made as short as it can be with some
 * disagreement left, and printed. The segments of a frame whose payload the engine
 * does not ask for (engine_needs_payload()) are references that lead nowhere: it
 * cannot look at them.
 */
#include "tests/model/wire.h"
#include "tests/unit/check.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define STEPS	 1000
#define STEP_MAX 4096
#define PAGE	 4096u
#define FIXED_SEED 20240613u

struct run {
	struct engine *e;
	struct model *m;
	uint64_t ms;
	uint8_t *in, *out, *taken; /* bytes */
	size_t taken_used;
	struct m_frame frame;
	struct m_seen seen;
	uint64_t packets;
	FILE *say; /* what happens, line by line */
	char why[M_WHY + 100];
};

static uint64_t total_packets, coverage[32];

/* --- frames ------------------------------------------------------------------------- */

static void give(struct run *r, const struct m_frame *in, struct frame *f)
{
	uint32_t at = in->header_len;

	memset(f, 0, offsetof(struct frame, header));
	memcpy(f->header, in->b, in->header_len);
	f->header_len = in->header_len;
	f->len = in->len;
	f->in_port = in->port;
	f->csum = in->csum;
	f->gso = in->gso;
	f->gso_size = in->gso_size;
	f->copy_failed = in->copy_failed;
	f->verdict = 0xee;
	while (at < in->len) {
		struct frame_seg *s = &f->seg[f->nseg++];

		s->len = in->len - at < PAGE ? in->len - at : PAGE;
		s->gref = at; /* where it is, for who reads it back */
		at += s->len;
	}
	if (engine_needs_payload(r->e, f))
		for (unsigned int i = 0; i < f->nseg; i++)
			f->seg[i].local = in->b + f->seg[i].gref;
}

/* All bytes of a frame that the engine has judged or made. */
static bool take_bytes(struct run *r, const struct frame *f, struct m_frame *out, uint8_t *b)
{
	uint32_t n = f->header_len;

	*out = (struct m_frame){ .csum = f->csum, .gso = f->gso, .csum_start = f->csum_start,
				 .csum_offset = f->csum_offset, .gso_size = f->gso_size, .b = b };
	memcpy(b, f->header, f->header_len);
	for (unsigned int i = 0; i < f->nseg; i++) {
		const struct frame_seg *s = &f->seg[i];

		if (n + s->len > M_BYTES)
			return false;
		if (s->local)
			memcpy(b + n, s->local, s->len);
		else
			memcpy(b + n, r->frame.b + s->gref + s->off, s->len);
		n += s->len;
	}
	out->len = n;
	return n == f->len;
}

static bool take_all(struct run *r)
{
	static struct frame f;

	r->seen.taken_count = 0;
	r->taken_used = 0;
	while (engine_take(r->e, &f)) {
		struct m_frame *t = &r->seen.taken[r->seen.taken_count];

		if (r->seen.taken_count == M_TAKEN || r->taken_used + 70000 > 16 * M_BYTES ||
		    !take_bytes(r, &f, t, r->taken + r->taken_used)) {
			snprintf(r->why, sizeof(r->why), "a frame from engine_take() is broken");
			return false;
		}
		t->port = f.out_port;
		r->taken_used += t->len;
		r->seen.taken_count++;
		engine_done(r->e, &f);
		if (r->say) {
			fprintf(r->say, "      takes ");
			print_frame(r->say, t);
			fputc('\n', r->say);
		}
	}
	return true;
}

static void read_flows(struct run *r)
{
	struct engine_source_info info;

	for (size_t i = 0; i < WIRE_SOURCES; i++) {
		struct addr a = wire_source(i);

		r->seen.flows[i] = engine_source_info(r->e, &a, &info) ? info.flows : 0;
	}
}

static bool counts_agree(struct run *r)
{
	const struct engine_stats *st = engine_stats(r->e);

	read_flows(r);
	if (model_counts(r->m, r->seen.flows, st->flows_active))
		return true;
	snprintf(r->why, sizeof(r->why), "flows: %s", r->m->why);
	return false;
}

/* What the statistics say became of the frame and of a datagram it completed. */
static bool read_stats(struct run *r, const struct engine_stats *was, const struct frame *f)
{
	const struct engine_stats *is = engine_stats(r->e);
	uint64_t forwarded = is->forwarded - was->forwarded, replied = is->replied - was->replied;
	uint64_t dropped = 0;
	struct m_seen *s = &r->seen;

	s->assembled = is->assembled != was->assembled;
	s->whole_verdict = FRAME_DROP;
	s->whole_reason = DROP_NONE;
	for (size_t i = 0; i < DROP_REASON_MAX; i++) {
		uint64_t n = is->drops[i] - was->drops[i];

		dropped += n;
		if (n > (f->verdict != FRAME_FORWARD && i == f->reason))
			s->whole_reason = (uint8_t)i;
	}
	/* an answer that is an error about the packet counts as its drop, too */
	if (replied && dropped + forwarded == 1u + s->assembled)
		replied = 0;
	if (s->assembled && forwarded)
		s->whole_verdict = FRAME_FORWARD;
	if (s->assembled && replied)
		s->whole_verdict = FRAME_REPLY;
	if (forwarded + replied + dropped == 1u + s->assembled)
		return true;
	snprintf(r->why, sizeof(r->why), "one packet counted as %llu forwarded, %llu replied, "
		 "%llu dropped, %u assembled", (unsigned long long)forwarded,
		 (unsigned long long)replied, (unsigned long long)dropped, s->assembled);
	return false;
}

static void say_verdict(struct run *r, const struct frame *f)
{
	static const char *const verdicts[] = { "drops", "forwards", "replies" };

	fprintf(r->say, "      %s (%s)", f->verdict < 3 ? verdicts[f->verdict] : "?",
		drop_name((enum drop_reason)f->reason));
	if (f->verdict != FRAME_DROP) {
		fprintf(r->say, " ");
		print_frame(r->say, &r->seen.out);
	}
	if (r->seen.assembled)
		fprintf(r->say, ", whole: %s (%s)", verdicts[r->seen.whole_verdict],
			drop_name((enum drop_reason)r->seen.whole_reason));
	fputc('\n', r->say);
}

static bool do_packet(struct run *r, const struct step *s)
{
	static struct frame f;
	struct frame *fp = &f;
	struct engine_stats was = *engine_stats(r->e);

	wire_build(r->m, s, &r->frame, r->in);
	if (r->say) {
		fprintf(r->say, "      ");
		print_frame(r->say, &r->frame);
		fputc('\n', r->say);
	}
	give(r, &r->frame, &f);
	engine_process(r->e, &fp, 1, (struct engine_time){ r->ms });
	r->packets++;
	r->seen.verdict = f.verdict;
	r->seen.reason = f.reason;
	if (f.verdict != FRAME_DROP && !take_bytes(r, &f, &r->seen.out, r->out)) {
		snprintf(r->why, sizeof(r->why), "the frame's lengths do not add up");
		return false;
	}
	r->seen.out.port = f.verdict == FRAME_REPLY ? f.in_port : f.out_port;
	if (!read_stats(r, &was, &f))
		return false;
	if (r->say)
		say_verdict(r, &f);
	if (!take_all(r))
		return false;
	read_flows(r);
	if (!model_frame(r->m, &r->frame, &r->seen)) {
		snprintf(r->why, sizeof(r->why), "%s", r->m->why[0] ? r->m->why : "not expected");
		return false;
	}
	return counts_agree(r);
}

/* --- time and the world ------------------------------------------------------------------ */

static bool tick_frames(struct run *r, uint32_t ms)
{
	r->ms += ms;
	model_time(r->m, r->ms);
	engine_tick(r->e, (struct engine_time){ r->ms });
	if (!take_all(r))
		return false;
	for (size_t i = 0; i < r->seen.taken_count; i++) {
		if (model_tick_frame(r->m, &r->seen.taken[i]))
			continue;
		snprintf(r->why, sizeof(r->why), "sent by a tick: %s", r->m->why);
		return false;
	}
	return true;
}

static bool tick(struct run *r, uint32_t ms)
{
	if (!tick_frames(r, ms))
		return false;
	if (!model_overdue(r->m))
		return true;
	snprintf(r->why, sizeof(r->why), "no time exceeded for a datagram that timed out (F11)");
	return false;
}

static bool do_wait(struct run *r, uint32_t ms)
{
	do {
		uint32_t part = ms > 1000 ? 1000 : ms;

		if (!tick(r, part))
			return false;
		ms -= part;
	} while (ms);
	return counts_agree(r);
}

/* D5: nothing ends in the first second after, and nothing is stuck. */
static bool do_jump(struct run *r, uint32_t ms)
{
	uint32_t least = 0;

	for (size_t i = 0; i < r->m->flow_count; i++)
		least += !r->m->flow[i].dead && !m_is_doomed(r->m, &r->m->flow[i]);

	for (int i = 0; i < 20; i++) {
		if (!tick_frames(r, i ? 450 : ms))
			return false;
		if (i < 3 && engine_stats(r->e)->flows_active < least) {
			snprintf(r->why, sizeof(r->why), "flows ended at once after a jump");
			return false;
		}
	}
	return tick(r, 1000) && counts_agree(r);
}

/* 2.5: the sweep ends denied flows that are not used; before the rules change again. */
static bool settle(struct run *r)
{
	if (!model_doomed(r->m, false))
		return true;
	for (int i = 0; i < 25; i++)
		if (!tick(r, 100))
			return false;
	model_doomed(r->m, true);
	return counts_agree(r);
}

static bool do_attach(struct run *r, const struct step *s)
{
	struct engine_iface i;

	wire_iface(s->a, s->b, &i);
	if (engine_iface_set(r->e, s->a, &i) != 0)
		abort();
	model_iface_set(r->m, s->a, &i);
	return tick(r, 0) && counts_agree(r);
}

static bool do_policy(struct run *r, const struct step *s)
{
	struct addr a = wire_source(s->a);
	const struct m_policy *p = wire_policy(s->b, a.family);
	struct engine_source_options options = { .eim = s->b & 1, .max_flows = s->ms };

	bool same = s->c && r->m->source[s->a].used;

	if (!settle(r))
		return false;
	if (same)
		p = r->m->source[s->a].policy;
	if (s->kind == STEP_FORGET) {
		engine_source_forget(r->e, &a);
		model_source_forget(r->m, s->a);
	} else if (s->kind == STEP_OPTIONS) {
		if (engine_source_options(r->e, &a, &options) == 0)
			r->m->source[s->a].options = options;
	} else {
		if (engine_source_set(r->e, &a, wire_compile(p, a.family),
				      same ? ENGINE_SAME : ENGINE_RULES) != 0)
			abort();
		model_source_set(r->m, s->a, &a, p, !same);
	}
	return counts_agree(r);
}

static bool do_world(struct run *r, const struct step *s)
{
	struct engine_dns dns[ENGINE_DNS_MAX];
	struct addr connected[8];
	size_t n;

	switch (s->kind) {
	case STEP_DETACH:
		engine_iface_clear(r->e, s->a);
		model_iface_clear(r->m, s->a);
		break;
	case STEP_LINK:
		engine_iface_link(r->e, s->a, s->b);
		model_iface_link(r->m, s->a, s->b);
		break;
	case STEP_DNS:
		wire_dns(s, dns);
		engine_set_dns(r->e, dns, 2);
		model_set_dns(r->m, dns, 2);
		break;
	case STEP_CONNECTED:
		n = wire_connected(s, connected);
		if (engine_set_connected(r->e, connected, n) != 0)
			abort();
		model_set_connected(r->m, connected, n);
		break;
	}
	return tick(r, 0) && counts_agree(r); /* announcements are due at once */
}

static bool do_step(struct run *r, const struct step *s)
{
	switch (s->kind) {
	case STEP_PACKET:
	case STEP_NEIGHBOUR:
		return do_packet(r, s);
	case STEP_WAIT:
		return do_wait(r, s->ms);
	case STEP_JUMP:
		return do_jump(r, s->ms);
	case STEP_ATTACH:
		return do_attach(r, s);
	case STEP_POLICY:
	case STEP_FORGET:
	case STEP_OPTIONS:
		return do_policy(r, s);
	default:
		return do_world(r, s);
	}
}

/* --- histories ------------------------------------------------------------------------------ */

static struct run run;

/* The step at which the two disagree, or count. */
static size_t play(const struct history *h, FILE *say)
{
	struct run *r = &run;
	size_t i;

	r->ms = 1000000;
	r->say = say;
	r->why[0] = 0;
	r->packets = 0;
	if (!r->in) {
		r->in = malloc(M_BYTES);
		r->out = malloc(M_BYTES);
		r->taken = malloc(16 * M_BYTES);
	}
	if (engine_new(&r->e, &h->config) != 0 || !r->in || !r->out || !r->taken)
		abort();
	r->m = model_new(&h->config, r->ms);
	memcpy(r->m->rule_dns, wire_rule_dns, sizeof(wire_rule_dns));
	r->m->rule_dns_count = 2;
	for (i = 0; i < WIRE_SOURCES; i++)
		r->m->source[i].addr = wire_source(i);
	for (i = 0; i < h->count; i++) {
		if (say) {
			fprintf(say, "%4zu  t=%llu.%03llu  ", i, (unsigned long long)r->ms / 1000,
				(unsigned long long)r->ms % 1000);
			print_step(say, &h->step[i]);
			fputc('\n', say);
		}
		if (!do_step(r, &h->step[i]))
			break;
		if (i % 64 == 0)
			engine_check(r->e);
	}
	engine_check(r->e);
	for (size_t k = 0; k < 32; k++)
		coverage[k] += r->m->coverage[k];
	model_free(&r->m);
	engine_free(&r->e);
	return i;
}

/* Whether two disagreements are of one kind: the same words, up to a number. */
static bool same_kind(const char *a, const char *b)
{
	size_t n = strcspn(a, "0123456789");

	return strncmp(a, b, n) == 0;
}

/* Delta debugging: leave out what can be left out. */
static void shrink(struct history *h)
{
	struct step *kept = malloc(STEP_MAX * sizeof(*kept));
	struct history part = *h;
	char why[sizeof(run.why)];
	size_t chunk;

	if (!kept)
		abort();
	part.step = kept;
	h->count = play(h, NULL) + 1;
	memcpy(why, run.why, sizeof(why));
	for (chunk = h->count / 2; chunk >= 1; chunk /= 2) {
		for (size_t at = 0; at < h->count;) {
			size_t end = at + chunk < h->count ? at + chunk : h->count, failed;

			memcpy(kept, h->step, at * sizeof(*kept));
			memcpy(kept + at, h->step + end, (h->count - end) * sizeof(*kept));
			part.count = h->count - (end - at);
			failed = play(&part, NULL);
			if (failed < part.count && same_kind(why, run.why)) {
				h->count = failed + 1;
				memcpy(h->step, kept, h->count * sizeof(*kept));
			} else {
				at = end;
			}
		}
		if (chunk == 1)
			break;
	}
	free(kept);
}

/* An assertion or a sanitizer ends the program: say at least where. */
static char last_line[80];

void __sanitizer_set_death_callback(void (*)(void)) __attribute__((weak));

static void last_words(void)
{
	ssize_t n = write(1, last_line, strlen(last_line));

	(void)n;
}

static void on_abort(int sig)
{
	(void)sig;
	last_words();
}

static bool agree(uint64_t seed, struct history *h)
{
	snprintf(last_line, sizeof(last_line), "MODEL_SEED=%llu: the program ended\n",
		 (unsigned long long)seed);
	generate(h, seed, STEPS);
	if (play(h, NULL) == h->count) {
		total_packets += run.packets;
		return true;
	}
	printf("MODEL_SEED=%llu: %s\n", (unsigned long long)seed, run.why);
	shrink(h);
	printf("shrunk to %zu steps:\n", h->count);
	play(h, stdout);
	printf("      *** %s\n", run.why);
	return false;
}

/* Histories from a seed on, until there were so many packets or so many failures. */
static void many(const char *name, uint64_t seed, uint64_t packets, struct history *h)
{
	unsigned int bad = 0, most = getenv("MODEL_FAILURES") ?
		(unsigned int)strtoul(getenv("MODEL_FAILURES"), NULL, 10) : 1;
	uint64_t until = total_packets + packets;

	test_case(name);
	printf("%s: seeds from %llu\n", name, (unsigned long long)seed);
	while (total_packets < until && bad < most) {
		if (!agree(seed++, h)) {
			CHECK(!"the engine and the model disagree");
			total_packets += 1;
			bad++;
		}
	}
}

int main(void)
{
	static struct history h;
	const char *seed = getenv("MODEL_SEED"), *packets = getenv("MODEL_PACKETS");
	uint64_t n = packets ? strtoull(packets, NULL, 10) : 1000000;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGABRT, on_abort);
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(last_words);
	h.step = malloc(STEP_MAX * sizeof(*h.step));
	if (!h.step)
		abort();
	if (seed) {
		test_case("M1_seed");
		CHECK(agree(strtoull(seed, NULL, 10), &h));
	} else {
		many("M1_random_histories", FIXED_SEED, n * 9 / 10, &h);
		many("M1_random_histories_of_today", (uint64_t)time(NULL) << 20, n / 10, &h);
	}
	printf("%llu packets; dropped %llu, forwarded %llu, errors %llu, answers %llu; in pieces "
	       "%llu; datagrams dropped %llu, forwarded %llu, errors %llu, answered %llu\n",
	       (unsigned long long)total_packets, (unsigned long long)coverage[0],
	       (unsigned long long)coverage[1], (unsigned long long)coverage[2],
	       (unsigned long long)coverage[3], (unsigned long long)coverage[5],
	       (unsigned long long)coverage[8], (unsigned long long)coverage[13],
	       (unsigned long long)coverage[10], (unsigned long long)coverage[15]);
	free(h.step);
	free(run.in);
	free(run.out);
	free(run.taken);
	return test_end();
}
