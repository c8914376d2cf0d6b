/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One turn, for all ports that are ready:
 *
 *	1 retry	  frames that waited for room at a busy receiver
 *	2 receive up to 64 frames a port, all headers by one grant-copy call
 *	3 decide  engine_process() over the whole batch; the payload of the few that
 *		  the engine must see whole (fragments) is fetched before
 *	4 send	  the batch, and what the engine has to say itself: reserve room at the
 *		  receivers, all payloads by one call a direction
 *	5 finish  publish at the receivers, then answer the senders' slots
 *
 * A frame is in exactly one place: the free list, the batch of this turn, or the
 * queue of one receiver. While it is queued the sender's slots stay unanswered,
 * so memory is bounded by rings. What is counted is slots, not frames: a GSO frame
 * holds up to 18 of its sender's 256. A receiver that stalls costs the others at
 * most FORWARD_QUEUE_MAX slots, all that stall together at most half of a
 * sender's ring (FORWARD_HELD_MAX), for at most FORWARD_QUEUE_MS.
 *
 * Steps 4 and 5 must not be mixed: a sender may reuse a page as soon as its slot
 * is answered, so it is answered only after the copy has run (XSA-155's cousin on
 * the way out), and a receiver sees a slot only when its bytes are there.
 */
#include "firewall/forward.h"

#include <errno.h>
#include <stdlib.h>

#define WAITING_MAX 768 /* over all receivers */
#define FRAME_POOL (FORWARD_BATCH + WAITING_MAX) /* full queues leave a whole batch */
#define PAYLOAD_SIZE (4u * FRAME_LEN_MAX) /* of payloads that the engine looks at together */

struct slot {
	struct port *port;
	struct frame *head, **tail; /* waiting for room */
	unsigned int queued;	    /* slots behind the frames in that list */
	unsigned int held;	    /* slots of this port behind frames in any list */
	bool armed;		    /* will raise an event; nothing to do until then */
	bool rx_touched, tx_touched;
};

struct forward {
	struct engine *engine;
	struct copy_batch *batch;
	struct slot slots[ENGINE_IFACE_MAX];
	uint16_t high;	/* slots in use are below */
	uint16_t start; /* round robin */
	unsigned int waiting; /* frames in all queues */
	struct frame *free;
	struct frame *pool;
	uint8_t *payload; /* PAYLOAD_SIZE: until engine_process() returns */
	struct forward_stats stats;
};

/* What became of a frame in this turn. */
struct turn {
	struct frame *in[FORWARD_BATCH];
	unsigned int n;
	struct frame *done[FRAME_POOL]; /* to be completed at the end */
	bool ok[FRAME_POOL];
	unsigned int done_count;
	uint64_t now_us;
};

int forward_new(struct forward **out, struct engine *engine, struct copy_batch *batch)
{
	struct forward *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return -ENOMEM;
	f->pool = aligned_alloc(64, FRAME_POOL * sizeof(struct frame));
	f->payload = malloc(PAYLOAD_SIZE);
	if (f->pool == NULL || f->payload == NULL) {
		forward_free(&f);
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < FRAME_POOL; i++) {
		f->pool[i] = (struct frame){.next = f->free};
		f->free = &f->pool[i];
	}
	for (unsigned int i = 0; i < ENGINE_IFACE_MAX; i++)
		f->slots[i].tail = &f->slots[i].head;
	f->engine = engine;
	f->batch = batch;
	*out = f;
	return 0;
}

void forward_free(struct forward **f)
{
	if (*f == NULL)
		return;
	free((*f)->pool);
	free((*f)->payload);
	free(*f);
	*f = NULL;
}

static struct frame *frame_get(struct forward *f)
{
	struct frame *fr = f->free;

	if (fr != NULL)
		f->free = fr->next;
	return fr;
}

static void frame_put(struct forward *f, struct frame *fr)
{
	fr->next = f->free;
	f->free = fr;
}

/* A frame was sent or dropped, and its slots were answered, if it had any. */
static void frame_end(struct forward *f, struct frame *fr)
{
	if (fr->in_port == PORT_NONE)
		engine_done(f->engine, fr);
	frame_put(f, fr);
}

int forward_add(struct forward *f, struct port *port)
{
	for (uint16_t i = 0; i < ENGINE_IFACE_MAX; i++) {
		if (f->slots[i].port != NULL)
			continue;
		f->slots[i] = (struct slot){.port = port};
		f->slots[i].tail = &f->slots[i].head;
		port->id = i;
		if (i >= f->high)
			f->high = (uint16_t)(i + 1);
		return 0;
	}
	return -ENOSPC;
}

static bool slot_is(const struct forward *f, const struct port *port)
{
	return port->id < ENGINE_IFACE_MAX && f->slots[port->id].port == port;
}

/* Whether the port a frame came from still lives the life it came in. */
static bool sender_lives(const struct forward *f, const struct frame *fr)
{
	const struct port *in = fr->in_port != PORT_NONE ? f->slots[fr->in_port].port : NULL;

	return in != NULL && in->link && in->generation == fr->in_generation;
}

/* The port a frame came from; NULL: the engine made it. */
static struct slot *sender(struct forward *f, const struct frame *fr)
{
	return fr->in_port != PORT_NONE ? &f->slots[fr->in_port] : NULL;
}

/* What a waiting frame keeps from its sender. */
static unsigned int slots_of(const struct frame *fr)
{
	unsigned int slots = (unsigned int)fr->cookie_slots + fr->cookie_extras;

	return slots > 0 ? slots : 1;
}

/* A frame leaves the queue of @out. */
static void unqueue(struct forward *f, struct slot *out, const struct frame *fr)
{
	struct slot *in = sender(f, fr);

	out->queued -= slots_of(fr);
	f->waiting--;
	if (in != NULL)
		in->held -= slots_of(fr);
}

void forward_purge(struct forward *f, struct port *port)
{
	if (!slot_is(f, port))
		return;
	for (uint16_t i = 0; i < f->high; i++) {
		struct slot *s = &f->slots[i];
		struct frame *fr = s->head;

		s->head = NULL;
		s->tail = &s->head;
		while (fr != NULL) {
			struct frame *next = fr->next;
			bool from = fr->in_port == port->id;

			fr->next = NULL;
			if (!from && s->port != port) {
				*s->tail = fr;
				s->tail = &fr->next;
			} else {
				unqueue(f, s, fr);
				if (!from && sender_lives(f, fr)) {
					struct port *in = f->slots[fr->in_port].port;

					f->stats.drops[DROP_NO_IFACE]++;
					in->ops->complete(in, fr, true);
					f->slots[fr->in_port].rx_touched = true;
				}
				frame_end(f, fr);
			}
			fr = next;
		}
	}
	f->slots[port->id].rx_touched = false;
	f->slots[port->id].tx_touched = false;
	f->slots[port->id].armed = false;
	port->tx_blocked = false;
}

void forward_remove(struct forward *f, struct port *port)
{
	if (!slot_is(f, port))
		return;
	forward_purge(f, port);
	f->slots[port->id].port = NULL;
	while (f->high > 0 && f->slots[f->high - 1].port == NULL)
		f->high--;
}

struct port *forward_port(const struct forward *f, uint16_t id)
{
	return id < ENGINE_IFACE_MAX ? f->slots[id].port : NULL;
}

static void finish(struct turn *t, struct frame *fr, bool ok)
{
	t->ok[t->done_count] = ok;
	t->done[t->done_count++] = fr;
}

static void drop(struct forward *f, struct turn *t, struct frame *fr, enum drop_reason reason)
{
	f->stats.drops[reason]++;
	finish(t, fr, true);
}

/* Hand a frame to the receiver's port: 0, or -EAGAIN when it has to wait. */
static int send_frame(struct forward *f, struct turn *t, struct slot *out, struct frame *fr)
{
	int err = out->port->ops->tx(out->port, fr, f->batch);

	if (err == -EAGAIN)
		return err;
	if (err != 0) {
		drop(f, t, fr, DROP_TX_ERROR);
		return 0;
	}
	out->tx_touched = true;
	finish(t, fr, true);
	return 0;
}

static void enqueue(struct forward *f, struct turn *t, struct slot *out, struct frame *fr)
{
	struct slot *in = sender(f, fr);
	unsigned int slots = slots_of(fr);

	if (out->queued + slots > FORWARD_QUEUE_MAX ||
	    (in != NULL && in->held + slots > FORWARD_HELD_MAX) || f->waiting >= WAITING_MAX) {
		out->port->stats.tx_dropped++;
		drop(f, t, fr, DROP_TX_FULL);
		return;
	}
	fr->next = NULL;
	fr->queued_us = t->now_us;
	*out->tail = fr;
	out->tail = &fr->next;
	out->queued += slots;
	if (in != NULL)
		in->held += slots;
	f->waiting++;
	out->port->tx_blocked = true;
	out->armed = false;
	out->port->stats.tx_queued++;
}

static struct frame *dequeue(struct forward *f, struct slot *out)
{
	struct frame *fr = out->head;

	out->head = fr->next;
	if (out->head == NULL)
		out->tail = &out->head;
	unqueue(f, out, fr);
	if (out->head == NULL)
		out->port->tx_blocked = false;
	return fr;
}

/* Step 1. */
static unsigned int retry(struct forward *f, struct turn *t)
{
	unsigned int left = 0;

	for (uint16_t i = 0; f->waiting > 0 && i < f->high; i++) {
		struct slot *out = &f->slots[i];

		while (out->head != NULL) {
			struct frame *fr = out->head;
			bool late = t->now_us - fr->queued_us > FORWARD_QUEUE_MS * 1000;

			fr->copy_failed = false;
			if (!late && send_frame(f, t, out, fr) == -EAGAIN)
				break;
			dequeue(f, out);
			left++;
			if (late) {
				out->port->stats.tx_dropped++;
				drop(f, t, fr, DROP_TX_FULL);
			}
		}
	}
	return left;
}

/* Step 2. */
static void receive(struct forward *f, struct turn *t)
{
	for (uint16_t k = 0; k < f->high && t->n < FORWARD_BATCH; k++) {
		uint16_t id = (uint16_t)((f->start + k) % f->high);
		struct slot *s = &f->slots[id];
		struct frame *want[FORWARD_PORT_BATCH];
		size_t room = FORWARD_BATCH - t->n, got, n = 0;

		if (s->port == NULL || !s->port->link || !s->port->ready)
			continue;
		if (room > FORWARD_PORT_BATCH)
			room = FORWARD_PORT_BATCH;
		while (n < room && (want[n] = frame_get(f)) != NULL)
			n++;
		got = s->port->ops->rx_burst(s->port, want, n, f->batch);
		s->armed = false;
		s->rx_touched = true;
		if (got < room && n == room)
			s->port->ready = false;
		for (size_t i = 0; i < n; i++) {
			if (i >= got) {
				frame_put(f, want[i]);
				continue;
			}
			want[i]->in_port = id;
			want[i]->in_generation = s->port->generation;
			t->in[t->n++] = want[i];
		}
	}
	if (f->high > 0)
		f->start = (uint16_t)((f->start + 1) % f->high);
	if (t->n > 0)
		copy_batch_run(f->batch);
}

/* Bytes of a frame that lie in granted pages, where the engine must see them. */
static size_t payload_wanted(const struct forward *f, const struct frame *fr)
{
	size_t n = 0;

	if (!engine_needs_payload(f->engine, fr))
		return 0;
	for (uint8_t i = 0; i < fr->nseg; i++)
		n += fr->seg[i].local == NULL ? fr->seg[i].len : 0;
	return n;
}

static void fetch_payload(struct forward *f, struct frame *fr, uint8_t *to)
{
	for (uint8_t i = 0; i < fr->nseg; i++) {
		struct frame_seg *seg = &fr->seg[i];

		if (seg->local != NULL)
			continue;
		copy_from_grant(f->batch, fr->domid, seg->gref, seg->off, to, (uint16_t)seg->len,
				&fr->copy_failed);
		seg->local = to;
		to += seg->len;
	}
}

/* The engine has taken what it wanted; what is sent comes from the sender's page. */
static void forget_payload(const struct forward *f, struct frame *fr)
{
	for (uint8_t i = 0; i < fr->nseg; i++) {
		uintptr_t at = (uintptr_t)fr->seg[i].local - (uintptr_t)f->payload;

		if (at < PAYLOAD_SIZE)
			fr->seg[i].local = NULL;
	}
}

static void process(struct forward *f, struct frame **frames, unsigned int n, size_t fetched,
		    struct engine_time now)
{
	if (fetched > 0)
		copy_batch_run(f->batch);
	engine_process(f->engine, frames, n, now);
	for (unsigned int i = 0; fetched > 0 && i < n; i++)
		forget_payload(f, frames[i]);
}

/* Step 3, for a whole batch or as much of it as has room for its payloads. */
static void judge(struct forward *f, const struct turn *t, struct frame **frames, unsigned int n)
{
	struct engine_time now = {.ms = t->now_us / 1000};
	unsigned int begin = 0;
	size_t used = 0, want;

	for (unsigned int i = 0; i < n; i++) {
		want = payload_wanted(f, frames[i]);
		if (want == 0)
			continue;
		if (want > PAYLOAD_SIZE - used) {
			process(f, frames + begin, i - begin, used, now);
			begin = i;
			used = 0;
		}
		fetch_payload(f, frames[i], f->payload + used);
		used += want;
	}
	process(f, frames + begin, n - begin, used, now);
}

/* A frame goes to a receiver, at once or behind what waits there already. */
static void dispatch(struct forward *f, struct turn *t, struct frame *fr, uint16_t to)
{
	struct slot *out;

	if (to >= ENGINE_IFACE_MAX || f->slots[to].port == NULL || !f->slots[to].port->link) {
		drop(f, t, fr, DROP_NO_IFACE);
		return;
	}
	out = &f->slots[to];
	/* no reordering within a receiver */
	if (out->head != NULL || send_frame(f, t, out, fr) == -EAGAIN)
		enqueue(f, t, out, fr);
}

/* What the engine has to send of its own: fragments, answers, discovery. */
static void send_own(struct forward *f, struct turn *t)
{
	struct frame *fr;

	while ((fr = frame_get(f)) != NULL) {
		if (!engine_take(f->engine, fr)) {
			frame_put(f, fr);
			break;
		}
		dispatch(f, t, fr, fr->out_port);
	}
}

/* Steps 3 and 4: decide, then reserve. */
static void decide(struct forward *f, struct turn *t)
{
	struct frame *good[FORWARD_BATCH];
	unsigned int n = 0;

	for (unsigned int i = 0; i < t->n; i++) {
		if (t->in[i]->copy_failed) {
			f->stats.drops[DROP_COPY_FAILED]++;
			finish(t, t->in[i], false);
			continue;
		}
		good[n++] = t->in[i];
	}
	judge(f, t, good, n);
	for (unsigned int i = 0; i < n; i++) {
		struct frame *fr = good[i];

		if (fr->verdict == FRAME_DROP)
			finish(t, fr, true);
		else
			dispatch(f, t, fr,
				 fr->verdict == FRAME_REPLY ? fr->in_port : fr->out_port);
	}
}

/* Step 5. */
static void publish(struct forward *f, struct turn *t)
{
	for (uint16_t i = 0; i < f->high; i++) {
		struct slot *s = &f->slots[i];

		if (s->port != NULL && s->tx_touched && s->port->link)
			s->port->ops->tx_flush(s->port);
		s->tx_touched = false;
	}
	for (unsigned int i = 0; i < t->done_count; i++) {
		struct frame *fr = t->done[i];

		if (sender_lives(f, fr)) {
			struct slot *in = &f->slots[fr->in_port];

			in->port->ops->complete(in->port, fr, t->ok[i] && !fr->copy_failed);
			in->rx_touched = true;
		}
		frame_end(f, fr);
	}
	for (uint16_t i = 0; i < f->high; i++) {
		struct slot *s = &f->slots[i];

		if (s->port != NULL && s->rx_touched && s->port->link)
			s->port->ops->rx_flush(s->port);
		s->rx_touched = false;
	}
}

unsigned int forward_turn(struct forward *f, uint64_t now_us)
{
	struct turn t;
	unsigned int moved;

	t.n = 0;
	t.done_count = 0;
	t.now_us = now_us;
	moved = retry(f, &t);
	receive(f, &t);
	if (t.n > 0)
		decide(f, &t);
	if (moved > 0 || t.n > 0) {
		send_own(f, &t);
		copy_batch_run(f->batch);
	}
	publish(f, &t);
	if (moved > 0 || t.n > 0)
		f->stats.turns++;
	f->stats.frames += t.n;
	return moved + t.n;
}

void forward_tick(struct forward *f, uint64_t now_us)
{
	struct turn t;

	t.n = 0;
	t.done_count = 0;
	t.now_us = now_us;
	engine_tick(f->engine, (struct engine_time){.ms = now_us / 1000});
	send_own(f, &t);
	if (t.done_count == 0)
		return;
	copy_batch_run(f->batch);
	publish(f, &t);
}

void forward_poll(struct forward *f)
{
	f->stats.spins++;
	for (uint16_t i = 0; i < f->high; i++) {
		struct port *port = f->slots[i].port;

		/* a TAP costs a system call to look at; its event is as quick */
		if (port != NULL && port->link && port->fd < 0)
			port->ready = true;
	}
}

bool forward_arm(struct forward *f)
{
	bool work = false;

	for (uint16_t i = 0; i < f->high; i++) {
		struct slot *s = &f->slots[i];

		if (s->port == NULL || !s->port->link || s->armed)
			continue;
		if (s->port->ready || s->port->ops->rx_arm(s->port)) {
			s->port->ready = true;
			work = true;
			continue;
		}
		s->armed = true;
	}
	return work;
}

bool forward_waiting(const struct forward *f)
{
	return f->waiting > 0;
}

const struct forward_stats *forward_stats(const struct forward *f)
{
	return &f->stats;
}
