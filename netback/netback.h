/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Xen devices of this domain as ports: clients' vifs (we are the backend)
 * and the uplink (we are the frontend).
 *
 * netback_poll_store() follows xenstore (backend/vif and device/vif are
 * enumerated, then watched) and walks each device through its xenbus states;
 * netback_poll_events() turns pending event channels into port->ready. Ports
 * appear and go away through the callback, between two turns of the loop.
 */
#ifndef NETBACK_NETBACK_H
#define NETBACK_NETBACK_H

#include "netback/port.h"
#include "netback/xen.h"

struct netback;

#define NETBACK_VIF_MAX 128 /* vifs at a time; further ones are refused, logged */

struct netback_config {
	port_event_fn *event;
	void (*log)(void *arg, int level, const char *text); /* syslog levels */
	void *arg;
};

int netback_new(struct netback **out, struct xen *xen,
		const struct netback_config *config);

/**
 * netback_free() - release everything
 *
 * Clients stay connected, without anybody at the other end: the next process goes on
 * with their rings. The uplink is closed (state 5, 6), which it gets over by itself.
 */
void netback_free(struct netback **nb);

int netback_store_fd(const struct netback *nb);
int netback_event_fd(const struct netback *nb);

/**
 * netback_poll_store() - drain watch events, advance the state machines
 * @now_ms:	CLOCK_BOOTTIME in milliseconds
 *
 * Return: deadline in milliseconds of the next call, UINT64_MAX for none.
 */
uint64_t netback_poll_store(struct netback *nb, uint64_t now_ms);

/**
 * netback_deadline() - what netback_poll_store() returned, or sooner
 *
 * 0 when a device broke the protocol since: its port has no link any more, and
 * the next netback_poll_store() closes it. Look after each turn.
 */
uint64_t netback_deadline(const struct netback *nb);

/** netback_moved() - the domain has another id than at the start: exit, begin anew */
bool netback_moved(const struct netback *nb);

/** netback_poll_events() - drain pending event channels into port->ready */
void netback_poll_events(struct netback *nb);

/**
 * netback_parse_mac() - read exactly "xx:xx:xx:xx:xx:xx"
 * @mac:	unchanged on failure
 *
 * Return: 0, or -EINVAL also for an address that no single station has: group
 * addresses and all zeros.
 */
int netback_parse_mac(const char *text, uint8_t mac[6]);

/* --- ports that are not Xen devices ------------------------------------ */

/**
 * tap_open() - attach to an existing TAP device (IFF_VNET_HDR), offloads on
 * @name:	its name in the current network namespace; it must exist
 * @err:	one line that names the device and the reason, on failure
 *
 * @mac is what the port reports: a client's source MAC, or our own on an
 * uplink. The kernel's own interface is the peer.
 */
int tap_open(struct port **out, const char *name, enum port_role role,
	     const uint8_t mac[6], const char *ip, char *err, size_t err_len);

/**
 * self_open() - a TUN into this machine's own kernel, as one more client
 * @name:	device to create
 * @ip:		IPv4 address that the kernel's side gets
 *
 * Ethernet headers are added and removed here: source 02:00:00:00:00:01.
 */
int self_open(struct port **out, const char *name, const char *ip,
	      char *err, size_t err_len);

/** mem_open() - a port whose peer is the caller (tests, benchmarks) */
int mem_open(struct port **out, enum port_role role, const uint8_t mac[6],
	     const char *ip);
/** mem_inject() - a packet from the peer; copied. -ENOBUFS when 256 wait */
int mem_inject(struct port *port, const void *packet, size_t len,
	       const struct frame *meta); /* csum and gso fields, or NULL */
/** mem_take() - the next packet to the peer; its length, 0 for none, and its
 *  csum and gso fields in @meta (may be NULL) */
size_t mem_take(struct port *port, void *packet, size_t size,
		struct frame *meta);

#endif
