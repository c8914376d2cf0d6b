/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside the vif: the device of one client, to which we are the backend.
 *
 *	vif.c		life, port operations that are not packets, violations
 *	vif_bus.c	xenstore: the state machine, features, connect, removal
 *	vif_rx.c	the guest's transmit ring: packets from the client
 *	vif_tx.c	the guest's receive ring: packets to the client
 */
#ifndef NETBACK_VIF_H
#define NETBACK_VIF_H

#include "netback/convert.h"
#include "netback/device.h"
#include "netback/ring.h"

#define VIF_PATH_MAX 96
#define VIF_STATE_UNREAD (UINT32_MAX - 1) /* of vif.stored: not looked at yet */

/* The answer of a slot of the transmit ring. */
struct vif_pend {
	uint16_t id;
	int16_t status;
	bool extra, done;
};

/* A packet that was written to the guest's receive ring in this turn: a frame, or
 * one of those that a GSO frame was cut into. */
struct vif_sent {
	const struct frame *frame; /* its owner keeps it until tx_flush() */
	uint32_t idx;	/* ring index of its first slot */
	uint32_t len;
	uint16_t slots; /* data and extras */
	bool gso, partial;
};

struct vif {
	struct port port; /* first */
	struct device_env *env;
	char be[VIF_PATH_MAX]; /* our directory, relative to our home */
	char fe[VIF_PATH_MAX]; /* the frontend's; hostile */

	/* vif_bus.c */
	enum xenbus_state state; /* ours */
	uint32_t stored;	 /* what xenstore holds for it: who else wrote? */
	unsigned int fe_seen;	 /* class of the frontend's state at the last step */
	bool known;		 /* be and fe were read, the owner knows the port */
	bool watched;
	bool gone;
	bool replaced;		 /* gone, and another device has its directory */
	bool broken;		 /* set by vif_violation(), cleared at a reopen */
	uint64_t close_by_ms;	 /* in state 5: when to stop waiting for the frontend */
	uint64_t connect_at_ms;	 /* in state 2: not before */
	uint64_t remove_at_ms;	 /* in state 6, offline: when our directory goes */
	uint64_t orphan_at_ms;	 /* in state 6, online, no frontend: when we give up */
	uint64_t window_end_ms;	 /* of the time in which reopens are counted */
	unsigned int reopens;
	unsigned int tries;	 /* of a connect, with failures that are ours */

	/* one connection */
	bool connected;
	void *tx_page, *rx_page;
	struct ring_back tx, rx;
	uint32_t evtchn_tx, evtchn_rx; /* the same one when not split; 0: none */
	struct convert_can features; /* of the frontend */

	/* vif_rx.c */
	struct vif_pend pend[RING_SLOTS]; /* by ring index */

	/* vif_tx.c */
	uint32_t rx_need; /* slots that a waiting frame needs; 0: none waits */
	uint32_t nsent;
	struct vif_sent sent[RING_SLOTS];
	uint16_t rx_id[RING_SLOTS]; /* by ring index: what a response must carry */
};

static inline struct vif *vif_of(struct port *port)
{
	return (struct vif *)port; /* port is the first member */
}

/* vif.c */
void vif_log(const struct vif *v, int level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/**
 * vif_violation() - the peer broke the protocol
 * @what:	static text
 *
 * Stops the data path at once; the teardown follows in vif_step(), between two
 * turns of the loop, where no frame is half way (hp_090_kill_during_batch).
 */
void vif_violation(struct vif *v, const char *what);
void vif_notify(struct vif *v, uint32_t evtchn, bool wanted);

/* vif_bus.c: vif_step() of device.h, and */
void vif_disconnect(struct vif *v);

/* vif_rx.c */
void vif_rx_begin(struct vif *v);
size_t vif_rx_burst(struct port *port, struct frame **frames, size_t n, struct copy_batch *batch);
void vif_complete(struct port *port, struct frame *frame, bool ok);
void vif_rx_flush(struct port *port);

/* vif_tx.c */
void vif_tx_begin(struct vif *v);
int vif_tx(struct port *port, struct frame *frame, struct copy_batch *batch);
void vif_tx_flush(struct port *port);

#endif
