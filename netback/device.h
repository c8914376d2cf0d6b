/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside netback/: what netback.c (enumeration, watches, event dispatch) and the
 * two Xen devices (vif.c, uplink.c) say to each other.
 *
 * A device is stepped: *_step() reads everything it needs from xenstore again
 * and does at most what the states allow now, so coalesced and repeated watch
 * events are harmless. It reports link changes through the config's callback,
 * from within the step, which netback.c only calls between two turns.
 */
#ifndef NETBACK_DEVICE_H
#define NETBACK_DEVICE_H

#include "netback/netback.h"

struct device_env {
	struct xen *xen;
	struct netback_config config;
};

enum xenbus_state {
	XB_UNKNOWN, XB_INITIALISING, XB_INIT_WAIT, XB_INITIALISED, XB_CONNECTED,
	XB_CLOSING, XB_CLOSED, XB_RECONFIGURING, XB_RECONFIGURED,
};

/* --- vif.c: we are the backend for domid/devid ------------------------------ */
int vif_new(struct port **out, struct device_env *env, uint16_t domid,
	    uint16_t devid, uint32_t generation);
/* Return: deadline (ms) of the next step without an event, UINT64_MAX: none. */
uint64_t vif_step(struct port *port, uint64_t now_ms);
/* whether the device is finished: B is gone, the port may be freed */
bool vif_gone(const struct port *port);
/* gone, but the same directory holds another device now */
bool vif_replaced(const struct port *port);

/* --- uplink.c: we are the frontend of device/vif/devid ---------------------- */
int uplink_new(struct port **out, struct device_env *env, uint16_t devid,
	       uint32_t generation);
uint64_t uplink_step(struct port *port, uint64_t now_ms);
bool uplink_gone(const struct port *port);

/* Both, in netback.c. A device tells which local event channel is its own, and
 * forgets it on unbind. A channel that fired sets port->ready and stays masked
 * until device_evtchn_unmask(), which does nothing when it has not fired. */
int device_evtchn_set(struct device_env *env, uint32_t evtchn, struct port *port);
void device_evtchn_clear(struct device_env *env, uint32_t evtchn);
void device_evtchn_unmask(struct device_env *env, uint32_t evtchn);
/* Outside of its own step, a device wants one soon: netback_deadline() says so. */
void device_wants_step(struct device_env *env, struct port *port);
/* A number that no life of any device had: for port->generation at a reconnect. */
uint32_t device_generation(struct device_env *env);
/* A watch of a device has port->name as its token: its step is called then. At
 * most two watches a device (hp_326_bounded_xenstore). PORT_EVENT_REMOVED comes
 * from netback.c, after *_gone(). */

/* xenbus.c: strict readers and state names over the seam. */
int xenbus_read_u32(struct xen *x, uint32_t t, const char *path, uint32_t *value);
int xenbus_printf(struct xen *x, uint32_t t, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
const char *xenbus_state_name(unsigned int state);

#endif
