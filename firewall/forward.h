/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The packet turn: ports in, engine, ports out.
 *
 * Owns the frames and the table of ports (a port's index here is its interface
 * number in the engine); does not own the ports. Everything that it needs is
 * allocated in forward_new().
 */
#ifndef FIREWALL_FORWARD_H
#define FIREWALL_FORWARD_H

#include "firewall/engine.h"
#include "netback/copy.h"
#include "netback/port.h"

#define FORWARD_BATCH	   256 /* frames of one turn */
#define FORWARD_PORT_BATCH 64  /* frames of one port in one turn (fairness, D4) */
#define FORWARD_QUEUE_MAX  96  /* slots of senders that wait for one receiver */
#define FORWARD_HELD_MAX   128 /* slots of one sender that wait: half its ring */
#define FORWARD_QUEUE_MS   100 /* after which they are dropped (hp_392_rx_stall) */

struct forward;

struct forward_stats {
	uint64_t turns, frames, spins;
	uint64_t drops[DROP_REASON_MAX]; /* TX_FULL, TX_ERROR, NO_IFACE, COPY_FAILED */
};

int forward_new(struct forward **out, struct engine *engine, struct copy_batch *batch);
void forward_free(struct forward **f);

/** forward_add() - give the port an index (port->id); -ENOSPC when there is none */
int forward_add(struct forward *f, struct port *port);

/** forward_remove() - forget the port and every frame to or from it */
void forward_remove(struct forward *f, struct port *port);

/**
 * forward_purge() - the port's link went down: its frames are void
 *
 * Frames that came from it are forgotten, not completed: their slots are gone.
 */
void forward_purge(struct forward *f, struct port *port);

/** forward_port() - the port with this index, or NULL */
struct port *forward_port(const struct forward *f, uint16_t id);

/**
 * forward_turn() - one pass over all ports that are ready
 *
 * Return: number of frames that came in or left a queue; 0: nothing to do.
 */
unsigned int forward_turn(struct forward *f, uint64_t now_us);

/** forward_tick() - let the engine age its flows and send what it has to */
void forward_tick(struct forward *f, uint64_t now_us);

/** forward_poll() - look at all Xen ports although no event came (spinning) */
void forward_poll(struct forward *f);

/**
 * forward_arm() - ask every port for its next event
 *
 * Return: true when one has work already, so don't sleep.
 */
bool forward_arm(struct forward *f);

/** forward_waiting() - whether frames wait for a busy receiver */
bool forward_waiting(const struct forward *f);

const struct forward_stats *forward_stats(const struct forward *f);

#endif
