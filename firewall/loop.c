/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "firewall/loop.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_PER_TURN 64

struct loop {
	int epfd;
	struct loop_watch *watches[LOOP_WATCH_MAX];
};

int loop_new(struct loop **out)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return -ENOMEM;
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd < 0) {
		int err = errno;

		free(l);
		return -err;
	}
	*out = l;
	return 0;
}

void loop_free(struct loop **l)
{
	if (*l == NULL)
		return;
	close((*l)->epfd);
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
}

static int timeout_ms(const struct loop *l, uint64_t now_ms, uint64_t max_wait_ms)
{
	uint64_t wait = max_wait_ms;

	for (int i = 0; i < LOOP_WATCH_MAX; i++) {
		const struct loop_watch *w = l->watches[i];

		if (w == NULL || w->deadline_ms == UINT64_MAX)
			continue;
		if (w->deadline_ms <= now_ms)
			return 0;
		if (w->deadline_ms - now_ms < wait)
			wait = w->deadline_ms - now_ms;
	}
	return wait > INT_MAX ? INT_MAX : (int)wait;
}

int loop_run_once(struct loop *l, uint64_t max_wait_ms, uint64_t *now_us)
{
	struct epoll_event events[EVENTS_PER_TURN];
	uint64_t now_ms = *now_us / 1000;
	int calls = 0;
	int n = epoll_wait(l->epfd, events, EVENTS_PER_TURN, timeout_ms(l, now_ms, max_wait_ms));

	if (n < 0 && errno != EINTR)
		return -errno;
	*now_us = loop_now_us();
	now_ms = *now_us / 1000;
	for (int i = 0; i < n; i++) {
		struct loop_watch *w = l->watches[events[i].data.u32];

		if (w == NULL || w->polled_fd < 0)
			continue;
		calls++;
		w->ready(w->arg, now_ms);
	}
	for (int i = 0; i < LOOP_WATCH_MAX; i++) {
		struct loop_watch *w = l->watches[i];

		if (w == NULL || w->deadline_ms > now_ms)
			continue;
		calls++;
		w->ready(w->arg, now_ms);
	}
	return calls;
}
