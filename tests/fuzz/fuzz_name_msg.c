/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A helper that says anything at all: the daemon's reading of its messages, and the
 * table of names behind it. The worker's reading of requests, too.
 *
 * Input: a byte says what happens next.
 *	0..63	 so many seconds pass
 *	64..127	 the names that are needed: one for each bit
 *	128..159 questions are asked; the last ids are remembered
 *	160..175 the helper has died
 *	176..191 wake
 *	192..207 a request of the bytes that follow
 *	else	 a reply: the bytes that follow, over a good one to a remembered question
 */
#include "firewall/name_msg.h"
#include "firewall/name_table.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct state {
	struct name_table *t;
	uint64_t now_ms;
	uint32_t ids[16];
	uint8_t families[16];
	unsigned int last;
	unsigned int changes;
};

static void on_changed(void *arg, uint8_t family, const char *name)
{
	struct state *s = arg;

	assert((family == 4 || family == 6) && dns_name_is_possible(name));
	s->changes++;
}

static void on_failed(void *arg, uint8_t family, const char *name, enum dns_outcome outcome,
		      unsigned int failures)
{
	(void)arg;
	assert((family == 4 || family == 6) && dns_name_is_possible(name));
	assert(outcome < DNS_OUTCOMES && failures > 0);
}

static void use_names(struct state *s, unsigned int bits)
{
	static const char *const names[] = {"a.test", "b.test", "c.test.", "d", ".", "a..b"};

	name_table_begin(s->t);
	for (unsigned int i = 0; i < 6; i++)
		if (bits & 1u << i)
			(void)name_table_use(s->t, i % 2 ? 6 : 4, names[i], s->now_ms);
	name_table_end(s->t);
}

static void ask(struct state *s)
{
	struct name_question q;
	struct name_request r;

	while (name_table_ask(s->t, s->now_ms, &q)) {
		s->last = (s->last + 1) % 16;
		s->ids[s->last] = q.id;
		s->families[s->last] = q.family;
		name_ask_request(&r, q.id, q.family, q.name);
		assert(name_request_check(&r, &r, sizeof(r)));
	}
	assert(name_table_deadline(s->t) > s->now_ms);
}

/* A few bytes at an offset, over what is good otherwise. */
static size_t overlay(void *message, size_t size, const uint8_t *data, size_t left)
{
	size_t n = left > 18 ? 16 : left > 2 ? left - 2 : 0, at;

	if (left < 2)
		return left;
	at = (size_t)(data[0] | data[1] << 8) % size;
	if (n > size - at)
		n = size - at;
	memcpy((uint8_t *)message + at, data + 2, n);
	return 2 + n;
}

static size_t reply(struct state *s, unsigned int which, const uint8_t *data, size_t left)
{
	struct name_answer answer = {.outcome = DNS_ADDRESSES, .ttl_s = which, .count = which % 4};
	struct name_reply r, checked;
	size_t used;

	for (size_t i = 0; i < answer.count; i++)
		answer.addrs[i] = (struct addr){s->families[which % 16], {10, (uint8_t)i}};
	name_reply_make(&r, s->ids[which % 16], s->families[which % 16], &answer);
	used = overlay(&r, sizeof(r), data, left);
	if (!name_reply_check(&checked, &r, sizeof(r)) || checked.type != NAME_REPLY)
		return used;
	name_reply_answer(&answer, &checked);
	assert(answer.count <= NAME_SET_MAX && answer.outcome < DNS_OUTCOMES);
	(void)name_table_answer(s->t, checked.id, (uint8_t)checked.family, &answer, s->now_ms);
	return used;
}

static size_t request(const uint8_t *data, size_t left)
{
	struct name_request r, checked;
	size_t used;

	name_ask_request(&r, 1, 4, "a.test");
	used = overlay(&r, sizeof(r), data, left);
	if (name_request_check(&checked, &r, sizeof(r))) {
		assert(checked.count <= NAME_SERVERS_MAX);
		assert(checked.type != NAME_ASK || dns_name_is_possible(checked.name));
	}
	return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct name_events events = {on_changed, on_failed};
	struct state s = {.now_ms = 1000};

	if (name_table_new(&s.t, &(struct name_times){1, 60, 20, 0}, 1, &events, &s) != 0)
		return 0;
	name_table_allow(s.t, true);
	use_names(&s, 0x3f);
	ask(&s);
	for (size_t i = 0; i < size;) {
		uint8_t op = data[i++];

		if (op < 64) {
			s.now_ms += op * 1000u;
			name_table_tick(s.t, s.now_ms);
		} else if (op < 128) {
			use_names(&s, op & 63);
		} else if (op < 160) {
			ask(&s);
		} else if (op < 176) {
			name_table_reset(s.t, s.now_ms);
		} else if (op < 192) {
			name_table_wake(s.t, op & 1 ? s.now_ms : 0, s.now_ms);
		} else if (op < 208) {
			i += request(data + i, size - i);
		} else {
			i += reply(&s, op, data + i, size - i);
		}
		name_table_check(s.t);
	}
	name_table_free(&s.t);
	return 0;
}
