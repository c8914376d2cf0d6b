/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/loop.h"

#include "tests/unit/check.h"

#include <unistd.h>

static struct loop *l;
static unsigned int calls;
static struct loop_watch *victim;

static void count(void *arg, uint64_t now_ms)
{
	struct loop_watch *w = arg;
	char buf[64];

	(void)now_ms;
	calls++;
	w->deadline_ms = UINT64_MAX;
	if (w->fd >= 0)
		CHECK(read(w->fd, buf, sizeof(buf)) > 0);
	if (victim != NULL)
		loop_remove(l, victim);
}

static struct loop_watch watch_of(int fd, struct loop_watch *self)
{
	return (struct loop_watch){
		.fd = fd, .deadline_ms = UINT64_MAX, .ready = count, .arg = self};
}

static int run(uint64_t wait_ms, uint64_t *took_ms)
{
	uint64_t now_us = loop_now_us(), start_us = now_us;
	int n;

	calls = 0;
	n = loop_run_once(l, wait_ms != 0 ? now_us / 1000 + wait_ms : 0, &now_us);
	*took_ms = (now_us - start_us) / 1000;
	return n;
}

static void test_descriptors(void)
{
	struct loop_watch a, b;
	uint64_t took;
	int p[2], q[2];

	test_case("loop_ready_descriptor");
	CHECK(pipe(p) == 0 && pipe(q) == 0);
	a = watch_of(p[0], &a);
	b = watch_of(q[0], &b);
	CHECK_INT(loop_add(l, &a), 0);
	CHECK_INT(loop_add(l, &b), 0);
	CHECK_INT(run(0, &took), 0);
	CHECK_INT(write(p[1], "x", 1), 1);
	CHECK_INT(run(5000, &took), 1);
	CHECK_INT(calls, 1);
	CHECK(took < 4000);

	test_case("loop_watch_removed_by_an_earlier_callback_of_the_turn");
	CHECK_INT(write(p[1], "x", 1), 1);
	CHECK_INT(write(q[1], "x", 1), 1);
	victim = &b;
	CHECK_INT(run(1000, &took), 1);
	victim = NULL;
	loop_remove(l, &b);

	test_case("loop_descriptor_number_used_again");
	close(p[0]);
	close(p[1]);
	CHECK(pipe(p) == 0);
	a.fd = p[0];
	loop_update(l, &a);
	CHECK_INT(write(p[1], "x", 1), 1);
	CHECK_INT(run(1000, &took), 1);
	loop_remove(l, &a);
	close(p[0]);
	close(p[1]);
	close(q[0]);
	close(q[1]);
}

static void test_deadlines(void)
{
	struct loop_watch a = watch_of(-1, &a);
	uint64_t took;

	test_case("loop_sleeps_until_the_time_given");
	CHECK_INT(run(30, &took), 0);
	CHECK(took >= 29);
	CHECK_INT(run(30, &took), 0); /* the timer was read: it sleeps again */
	CHECK(took >= 29);

	test_case("loop_deadline_of_a_watch");
	CHECK_INT(loop_add(l, &a), 0);
	a.deadline_ms = loop_now_us() / 1000 + 20;
	CHECK_INT(run(5000, &took), 1);
	CHECK(took >= 19 && took < 4000);

	test_case("loop_deadline_in_the_past");
	a.deadline_ms = 1;
	CHECK_INT(run(5000, &took), 1);
	CHECK(took < 4000);

	test_case("loop_earlier_deadline_replaces_a_later_one");
	CHECK_INT(run(0, &took), 0);
	a.deadline_ms = loop_now_us() / 1000 + 4000;
	CHECK_INT(run(10, &took), 0);
	a.deadline_ms = loop_now_us() / 1000 + 20;
	CHECK_INT(run(5000, &took), 1);
	CHECK(took < 3000);
	loop_remove(l, &a);
}

int main(void)
{
	CHECK_INT(loop_new(&l), 0);
	test_descriptors();
	test_deadlines();
	loop_free(&l);
	CHECK(l == NULL);
	return test_end();
}
