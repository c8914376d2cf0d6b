/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/*
 * Deadlines are kept by one timerfd that is set when the next one changes, not by
 * epoll's timeout: under load the loop sleeps thousands of times in the 100 ms to
 * its next deadline, and a timer started and cancelled for each of them is a
 * hypercall or two in a Xen guest.
 */
#define EVENTS_PER_TURN 64
#define TIMER_SLOT LOOP_WATCH_MAX /* of the timer's events */

struct loop {
	int epfd, timerfd;
	uint64_t timer_ms; /* what the timer is set to; UINT64_MAX: not set */
	struct loop_watch *watches[LOOP_WATCH_MAX];
	int high; /* slots in use are below */
};

int loop_new(struct loop **out)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = TIMER_SLOT};
	struct loop *l = calloc(1, sizeof(*l));
	int err;

	if (l == NULL)
		return -ENOMEM;
	l->timer_ms = UINT64_MAX;
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	l->timerfd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (l->epfd < 0 || l->timerfd < 0 ||
	    epoll_ctl(l->epfd, EPOLL_CTL_ADD, l->timerfd, &ev) != 0) {
		err = errno;
		loop_free(&l);
		return -err;
	}
	*out = l;
	return 0;
}

void loop_free(struct loop **l)
{
	if (*l == NULL)
		return;
	if ((*l)->epfd >= 0)
		close((*l)->epfd);
	if ((*l)->timerfd >= 0)
		close((*l)->timerfd);
	free(*l);
	*l = NULL;
}

uint64_t loop_now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/*
 * A watch is known to epoll by its slot, so that an event which epoll already
 * collected for a watch that was removed meanwhile finds an empty slot.
 */
static void poll_start(struct loop *l, struct loop_watch *w)
{
	struct epoll_event ev = {.events = EPOLLIN | (w->want_write ? (uint32_t)EPOLLOUT : 0u),
				 .data.u32 = (uint32_t)w->slot};

	w->polled_fd = -1;
	if (w->fd < 0 || epoll_ctl(l->epfd, EPOLL_CTL_ADD, w->fd, &ev) != 0)
		return;
	w->polled_fd = w->fd;
	w->polled_write = w->want_write;
}

int loop_add(struct loop *l, struct loop_watch *w)
{
	for (int i = 0; i < LOOP_WATCH_MAX; i++) {
		if (l->watches[i] != NULL)
			continue;
		l->watches[i] = w;
		w->slot = i;
		if (i >= l->high)
			l->high = i + 1;
		poll_start(l, w);
		return 0;
	}
	return -ENOSPC;
}

/*
 * A descriptor number that was closed and opened again has left epoll without a
 * word, so owners call this whenever they may have got a new one, and the set is
 * rebuilt rather than compared.
 */
void loop_update(struct loop *l, struct loop_watch *w)
{
	if (w->polled_fd >= 0)
		(void)epoll_ctl(l->epfd, EPOLL_CTL_DEL, w->polled_fd, NULL);
	poll_start(l, w);
}

void loop_remove(struct loop *l, struct loop_watch *w)
{
	if (l->watches[w->slot] != w)
		return;
	if (w->polled_fd >= 0)
		(void)epoll_ctl(l->epfd, EPOLL_CTL_DEL, w->polled_fd, NULL);
	w->polled_fd = -1;
	l->watches[w->slot] = NULL;
	while (l->high > 0 && l->watches[l->high - 1] == NULL)
		l->high--;
}

static uint64_t next_deadline(const struct loop *l, uint64_t until_ms)
{
	for (int i = 0; i < l->high; i++)
		if (l->watches[i] != NULL && l->watches[i]->deadline_ms < until_ms)
			until_ms = l->watches[i]->deadline_ms;
	return until_ms;
}

/* Return: timeout for epoll_wait(): -1, or 0 when it is time already. */
static int set_timer(struct loop *l, uint64_t when_ms, uint64_t now_ms)
{
	struct itimerspec its = {.it_value = {.tv_sec = (time_t)(when_ms / 1000),
					      .tv_nsec = (long)(when_ms % 1000) * 1000000}};

	if (when_ms <= now_ms)
		return 0;
	if (when_ms == l->timer_ms)
		return -1;
	if (when_ms == UINT64_MAX)
		its = (struct itimerspec){0};
	if (timerfd_settime(l->timerfd, TFD_TIMER_ABSTIME, &its, NULL) != 0)
		return 1; /* the kernel refused: look again in a millisecond */
	l->timer_ms = when_ms;
	return -1;
}

static void timer_fired(struct loop *l)
{
	uint64_t expirations;

	if (read(l->timerfd, &expirations, sizeof(expirations)) == (ssize_t)sizeof(expirations))
		l->timer_ms = UINT64_MAX;
}

int loop_run_once(struct loop *l, uint64_t until_ms, uint64_t *now_us)
{
	struct epoll_event events[EVENTS_PER_TURN];
	uint64_t now_ms = *now_us / 1000;
	int calls = 0;
	int wait = set_timer(l, next_deadline(l, until_ms), now_ms);
	int n = epoll_wait(l->epfd, events, EVENTS_PER_TURN, wait);

	if (n < 0 && errno != EINTR)
		return -errno;
	*now_us = loop_now_us();
	now_ms = *now_us / 1000;
	for (int i = 0; i < n; i++) {
		struct loop_watch *w;

		if (events[i].data.u32 == TIMER_SLOT) {
			timer_fired(l);
			continue;
		}
		w = l->watches[events[i].data.u32];
		if (w == NULL || w->polled_fd < 0)
			continue;
		calls++;
		w->ready(w->arg, now_ms);
	}
	for (int i = 0; i < l->high; i++) {
		struct loop_watch *w = l->watches[i];

		if (w == NULL || w->deadline_ms > now_ms)
			continue;
		calls++;
		w->ready(w->arg, now_ms);
	}
	return calls;
}
