/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A port: where frames come in and go out.
 *
 * One turn of the loop, for the ports that have work:
 *
 *	n = rx_burst(port, frames, budget, batch)	slots -> descriptors
 *	copy_batch_run(batch)				all headers, one call
 *	    (a frame with copy_failed set is completed as failed)
 *	... the engine decides ...
 *	tx(out, frame, batch)				reserve room, queue copies
 *	copy_batch_run(batch)				payloads, one call a direction
 *	tx_flush(out)					publish, notify once
 *	complete(in, frame, ok)				answer the source's slots
 *	rx_flush(in)					publish, notify once
 *	rx_arm(in)					events on, look once more
 *
 * A frame belongs to the caller all the time; the port it came from keeps the
 * slots or buffers behind it until complete(). Nothing here blocks or allocates.
 */
#ifndef NETBACK_PORT_H
#define NETBACK_PORT_H

#include "netback/frame.h"

#include <stddef.h>

struct copy_batch;
struct port;

enum port_kind { PORT_VIF, PORT_UPLINK, PORT_TAP, PORT_SELF, PORT_MEM };

/** Which side of the firewall a port is on. */
enum port_role { PORT_ROLE_CLIENT, PORT_ROLE_UPLINK, PORT_ROLE_SELF };

enum port_event {
	PORT_EVENT_ADDED,     /* known: address and MAC are set; no link yet */
	PORT_EVENT_LINK_UP,   /* frames may flow */
	PORT_EVENT_LINK_DOWN, /* no frame flows; descriptors of it are void */
	PORT_EVENT_REMOVED,   /* the device is gone; free after the call */
};

struct port_stats {
	uint64_t rx_frames, rx_bytes, rx_gso, rx_partial; /* from the peer */
	uint64_t tx_frames, tx_bytes, tx_gso, tx_partial; /* to the peer */
	uint64_t rx_errors;  /* bad slots, failed copies */
	uint64_t tx_dropped; /* the peer gave no room in time, or could not take it */
	uint64_t tx_queued;  /* frames that had to wait for room */
	uint64_t notify_sent, notify_suppressed;
	uint64_t violations; /* broken protocol: the port was closed for it */
};

struct port_ops {
	/*
	 * rx_burst() - take up to n whole frames from the peer
	 *
	 * Fills frames[0..k). Header bytes and lengths of a granted page are
	 * there when @batch has run; everything else at return.
	 *
	 * Return: k.
	 */
	size_t (*rx_burst)(struct port *port, struct frame **frames, size_t n,
			   struct copy_batch *batch);
	/*
	 * tx() - send header[] and segments of a frame to the peer
	 *
	 * Return: 0: room is reserved, the data is there when @batch has run.
	 * -EAGAIN: no room now; the caller may keep the frame and try again
	 * at the next event, and at intervals: a peer may free room without
	 * one. Other -errno: this peer can never take it (counted in
	 * tx_dropped).
	 */
	int (*tx)(struct port *port, struct frame *frame,
		  struct copy_batch *batch);
	/* tx_flush() - publish what tx() reserved, but for frames whose copy
	 * failed; notify the peer at most once */
	void (*tx_flush)(struct port *port);
	/* complete() - the frame is done with: give its slots back. @ok false:
	 * the packet was bad (error response), not merely dropped */
	void (*complete)(struct port *port, struct frame *frame, bool ok);
	/* rx_flush() - publish what complete() gave back; notify at most once */
	void (*rx_flush)(struct port *port);
	/* rx_arm() - ask for an event at the next frame (and at the next free
	 * room, when tx_blocked). Return: true when there is work already. */
	bool (*rx_arm)(struct port *port);
	/* free() - release everything; safe in any state */
	void (*free)(struct port *port);
};

struct port {
	const struct port_ops *ops;
	enum port_kind kind;
	enum port_role role;
	uint16_t id;	     /* index in the owner's table, set by the owner */
	uint32_t generation; /* differs for every life of a device */
	bool link;	     /* up: the operations above may be called */
	bool ready;	     /* set by events: there may be work */
	bool tx_blocked;     /* set by the owner: frames wait for room here */
	int fd;		     /* to poll for reading, or -1 (Xen: the shared one) */
	uint8_t mac[6];	     /* vif: the client's; uplink, tap, self: see role */
	uint16_t mtu;	     /* bytes of IP */
	char name[32];	     /* "vif7.0", "uplink0", a TAP's name */
	char ip[128];	     /* vif: text of B's ip node (or of --tap): IPv4 and
			      * IPv6, separated by a space; else "" */
	uint16_t domid, devid; /* of the peer, for Xen ports */
	uint8_t xenbus_state;  /* our state as the peer sees it; 0 for others */
	const char *reason;    /* why there is no link, static text, or "" */
	struct port_stats stats;
};

/** Called between two turns, never from inside a port operation. */
typedef void port_event_fn(void *arg, struct port *port, enum port_event event);

#endif
