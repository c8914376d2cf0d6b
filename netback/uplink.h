/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Private to uplink*.c: one frontend device.
 *
 *	uplink.c	its life: when to connect, when to close
 *	uplink_bus.c	what it reads from and writes to xenstore
 *	uplink_tx.c	frames to the backend
 *	uplink_rx.c	frames from the backend
 *
 * The backend (the netvm) is hostile: hostile-peers.md section 4 in code. It
 * shares 514 pages with us: two ring pages, 256 for each direction. They are
 * granted once for the life of a connection and hold nothing but rings and
 * packets; a connection that ends frees them all and the next one gets others
 * (hp_396_no_page_reuse).
 */
#ifndef NETBACK_UPLINK_H
#define NETBACK_UPLINK_H

#include "netback/convert.h"
#include "netback/copy.h"
#include "netback/device.h"
#include "netback/ring.h"

#define UPLINK_PAGES RING_SLOTS
#define UPLINK_TX_SLOTS 18 /* of one packet: more is an error for a backend */
#define UPLINK_RX_SLOTS 19
#define UPLINK_HEAD 128	   /* see uplink_tx.c: what Linux' netback copies */
#define UPLINK_NONE UINT16_MAX

/** What the backend can take (F: features it read from us are all on). */
struct uplink_features {
	struct convert_can can;
	bool split, multi_queue;
};

/** What xenstore says of the device, read anew at each step. */
struct uplink_nodes {
	char backend[XEN_PATH_MAX]; /* "" while it is not known */
	uint16_t backend_domid;
	unsigned int own_state;	    /* F/state */
	unsigned int backend_state; /* 0: gone, unreadable */
	bool online;		    /* B/online is not 0 */
	bool gone;		    /* F itself was removed */
	bool failed;		    /* a read went wrong: all this means nothing */
};

/** A packet that tx() has laid out and tx_flush() will publish: a frame, or one of
 *  those that a GSO frame was cut into. */
struct uplink_packet {
	const struct frame *frame; /* its owner keeps it until tx_flush() */
	uint32_t len;
	uint16_t piece, npieces;   /* in uplink.piece[] */
	uint16_t csum_start, csum_offset;
	uint16_t gso_size;
	uint8_t gso, csum;	   /* as it leaves */
	bool complete_csum;	   /* the backend cannot: we do */
};

/** One TX slot of it: a page, bytes used from its start. */
struct uplink_piece {
	uint16_t id, used;
};

struct uplink {
	struct port port; /* first: what the owner sees */
	struct device_env *env;
	char front[32]; /* F: "device/vif/0" */
	char watched[XEN_PATH_MAX]; /* the backend's state node, or "" */

	/* the life of a connection; uplink.c */
	bool added, gone;
	bool connected;	     /* everything below exists */
	bool broken;	     /* the backend broke the protocol: to be closed */
	bool backend_was_up; /* it reached 4 since we connected */
	bool unsaid;	     /* xenstore did not take our state: say it again */
	char backend[XEN_PATH_MAX];
	struct uplink_features features;
	uint64_t now_ms, closing_since, retry_at, window_start;
	uint64_t connected_at, refill_at;
	unsigned int backoff_ms, window_connects;

	void *rings;
	uint8_t *tx_mem, *rx_mem;
	uint32_t ring_gref[2], tx_gref[UPLINK_PAGES], rx_gref[UPLINK_PAGES];
	uint32_t tx_evtchn, rx_evtchn; /* the same one without split channels */
	bool has_tx_evtchn, has_rx_evtchn;

	/* uplink_tx.c. Pages: nfree + reserved in piece[] + in flight = all */
	struct ring_front tx;
	uint16_t tx_free[UPLINK_PAGES];
	unsigned int tx_nfree, tx_extras; /* extras: unanswered extra slots */
	bool tx_flying[UPLINK_PAGES];
	uint16_t tx_used[UPLINK_PAGES]; /* bytes that are not zero, at most */
	struct uplink_packet packet[UPLINK_PAGES];
	struct uplink_piece piece[UPLINK_PAGES];
	unsigned int npackets, npieces, reserved; /* reserved: ring slots */
	unsigned int tx_need; /* slots that a waiting frame needs; 0: none waits */

	/* uplink_rx.c. Pages: posted + nfree + held = all (hp_457) */
	struct ring_front rx;
	uint16_t rx_free[UPLINK_PAGES], rx_nfree, rx_held;
	uint16_t rx_at[UPLINK_PAGES];	/* page posted in this ring slot */
	uint16_t rx_next[UPLINK_PAGES]; /* next page of the same frame */
	unsigned int rx_bad; /* bad packets since the last refill */
};

/* Bad packets that are taken in one second before the link is closed. */
#define UPLINK_BAD_MAX 64

/** uplink_break() - note a broken protocol; uplink_step() closes the link */
void uplink_break(struct uplink *u, const char *reason);

static inline struct uplink *uplink_of(struct port *port)
{
	assert(port->kind == PORT_UPLINK);
	return (struct uplink *)(void *)port;
}

static inline const struct uplink *uplink_const_of(const struct port *port)
{
	assert(port->kind == PORT_UPLINK);
	return (const struct uplink *)(const void *)port;
}

/* --- uplink_bus.c ---------------------------------------------------------- */
/** uplink_bus_read() - the nodes that decide what to do; never fails */
void uplink_bus_read(struct uplink *u, struct uplink_nodes *nodes);
/** uplink_bus_identity() - MAC and MTU; -errno while the MAC is missing or bad */
int uplink_bus_identity(struct uplink *u);
/** uplink_bus_features() - of the backend; -EOPNOTSUPP without feature-rx-copy */
int uplink_bus_features(struct uplink *u, const char *backend);
/** uplink_bus_publish() - rings, ports and our features, in one transaction */
int uplink_bus_publish(struct uplink *u);
/** uplink_bus_state() - write our state, unless the device was removed */
int uplink_bus_state(struct uplink *u, enum xenbus_state state);
/** uplink_bus_watch() - watch the state of this backend ("": of none) */
int uplink_bus_watch(struct uplink *u, const char *backend);

/* --- uplink_tx.c ----------------------------------------------------------- */
void uplink_tx_init(struct uplink *u);
int uplink_tx(struct port *port, struct frame *frame, struct copy_batch *batch);
void uplink_tx_flush(struct port *port);
/** uplink_tx_reap() - take the backend's responses */
void uplink_tx_reap(struct uplink *u);
/** uplink_tx_arm() - ask for an event when there is room; true: there is */
bool uplink_tx_arm(struct uplink *u);

/* --- uplink_rx.c ----------------------------------------------------------- */
void uplink_rx_init(struct uplink *u);
size_t uplink_rx_burst(struct port *port, struct frame **frames, size_t n,
		       struct copy_batch *batch);
void uplink_rx_complete(struct port *port, struct frame *frame, bool ok);
void uplink_rx_flush(struct port *port);

#endif
