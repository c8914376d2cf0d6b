/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The event loop: descriptors and one deadline each, one thread, epoll.
 *
 * A watch is a descriptor with what to do when it is ready, or when its
 * deadline has passed. Its owner keeps the struct; the loop points to it.
 */
#ifndef FIREWALL_LOOP_H
#define FIREWALL_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#define LOOP_WATCH_MAX 256

struct loop;

struct loop_watch {
	int fd;		      /* -1: deadline only */
	bool want_write;
	uint64_t deadline_ms; /* CLOCK_BOOTTIME; UINT64_MAX: none */
	/* ready(): the descriptor is ready or the deadline has passed */
	void (*ready)(void *arg, uint64_t now_ms);
	void *arg;

	int polled_fd;	      /* the loop's own */
	bool polled_write;
	int slot;
};

int loop_new(struct loop **out);
void loop_free(struct loop **l);

/** loop_add() - follow a watch; -ENOSPC beyond LOOP_WATCH_MAX */
int loop_add(struct loop *l, struct loop_watch *w);

/** loop_update() - call after w->fd or w->want_write changed */
void loop_update(struct loop *l, struct loop_watch *w);

/** loop_remove() - forget it; safe from inside a callback, and twice */
void loop_remove(struct loop *l, struct loop_watch *w);

/**
 * loop_run_once() - wait until something is ready, and do it
 * @until_ms:	sleep until then at most (CLOCK_BOOTTIME); 0: look, don't wait
 * @now_us:		in: the time; out: the time after the sleep. The clock is read
 *			once: where it is a system call it costs as much as the wait
 *
 * Return: number of callbacks, or -errno when epoll itself failed.
 */
int loop_run_once(struct loop *l, uint64_t until_ms, uint64_t *now_us);

/** loop_now_us() - CLOCK_BOOTTIME in microseconds */
uint64_t loop_now_us(void);

#endif
