/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The life of the uplink: a xenbus frontend in user space.
 *
 * Each step reads the device's nodes again and compares them with what we have;
 * nothing is remembered of the events that led to it, so they may repeat, merge
 * or come late. There are two situations:
 *
 * Not connected. A backend in state 2 (X7.2) is connected to: 514 pages shared (X7.3),
 * event channels bound, receive pages posted (X7.4), nodes published (X7.5), state 4
 * (X7.6). We do not wait for its 4: Linux' netback goes there only when its hotplug
 * script is done. A backend in any other state is led to 2 one legal step at a time
 * (X7.1): we write 5 (when it still takes us for connected), 6 when it is at 5, 6 or
 * gone, then 1, which makes a backend that stays (online is not 0) begin again.
 *
 * Connected. The connection ends when the backend closes (5, 6), dies (its nodes give
 * EACCES or ENOENT), was replaced (other path, other domain, or the toolstack reset our
 * state), began anew (1, 2 after 4), or broke the protocol (X7.9, hp_uplink_restart).
 * Pages and ports are given up first, then the state is written, so that a
 * backend that sees it finds nothing of ours half alive.
 *
 * A backend can make us reconnect, but not often: after a violation or a failure
 * there is a pause that doubles from 1 s to 64 s, and 30 connects a minute are
 * the most there are (rules 14 and 20 of hostile-peers.md). Another netvm begins
 * without that.
 *
 * The data path closes nothing itself (hp_090_kill_during_batch): it notes what it
 * found and asks for a step. The first malformed packet asks for one, too, which
 * sets the time when the budget of such packets is full again.
 */
#include "netback/uplink.h"

#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>

#define STEP_MS 1000u /* to look again where no event can be expected */
#define REFILL_MS 1000u
#define BACKOFF_MIN_MS 1000u
#define BACKOFF_MAX_MS 64000u
#define WINDOW_MS 60000u
#define WINDOW_CONNECTS 30u
#define CLOSING_MS 5000u /* a backend that ignores our 5 for so long gets the 6 */

static bool uplink_rx_arm(struct port *port);
static void uplink_free(struct port *port);

static const struct port_ops uplink_ops = {
	.rx_burst = uplink_rx_burst,
	.tx = uplink_tx,
	.tx_flush = uplink_tx_flush,
	.complete = uplink_rx_complete,
	.rx_flush = uplink_rx_flush,
	.rx_arm = uplink_rx_arm,
	.free = uplink_free,
};

static void say(struct uplink *u, int level, const char *what)
{
	char line[160];

	snprintf(line, sizeof(line), "%s: %s", u->port.name, what);
	if (u->env->config.log)
		u->env->config.log(u->env->config.arg, level, line);
}

static void report(struct uplink *u, enum port_event event)
{
	if (u->added && u->env->config.event)
		u->env->config.event(u->env->config.arg, &u->port, event);
}

void uplink_break(struct uplink *u, const char *reason)
{
	if (u->broken)
		return;
	u->broken = true;
	u->port.reason = reason;
	u->port.stats.violations++;
	device_wants_step(u->env, &u->port);
}

/* Pause before the next connect. */
static void back_off(struct uplink *u)
{
	u->backoff_ms = u->backoff_ms ? 2 * u->backoff_ms : BACKOFF_MIN_MS;
	if (u->backoff_ms > BACKOFF_MAX_MS)
		u->backoff_ms = BACKOFF_MAX_MS;
	u->retry_at = u->now_ms + u->backoff_ms;
}

/* --- resources of a connection ------------------------------------------------ */

static void release_ports(struct uplink *u)
{
	struct xen *x = u->env->xen;

	if (u->has_rx_evtchn && u->rx_evtchn != u->tx_evtchn) {
		device_evtchn_clear(u->env, u->rx_evtchn);
		x->ops->unbind(x, u->rx_evtchn);
	}
	if (u->has_tx_evtchn) {
		device_evtchn_clear(u->env, u->tx_evtchn);
		x->ops->unbind(x, u->tx_evtchn);
	}
	u->has_tx_evtchn = u->has_rx_evtchn = false;
}

/* hp_374_teardown_leaks: the one place that gives back, safe in any state. */
static void release(struct uplink *u)
{
	struct xen *x = u->env->xen;

	u->connected = false;
	release_ports(u);
	if (u->tx_mem)
		x->ops->unshare(x, u->tx_mem, UPLINK_PAGES);
	if (u->rx_mem)
		x->ops->unshare(x, u->rx_mem, UPLINK_PAGES);
	if (u->rings)
		x->ops->unshare(x, u->rings, 2);
	u->tx_mem = u->rx_mem = NULL;
	u->rings = NULL;
}

static int bind_port(struct uplink *u, uint32_t *port, bool *has)
{
	struct xen *x = u->env->xen;
	int err = x->ops->bind_unbound(x, u->port.domid, port);

	if (err)
		return err;
	err = device_evtchn_set(u->env, *port, &u->port);
	if (err) {
		x->ops->unbind(x, *port);
		return err;
	}
	*has = true;
	return 0;
}

static int bind_ports(struct uplink *u)
{
	int err = bind_port(u, &u->tx_evtchn, &u->has_tx_evtchn);

	if (err)
		return err;
	if (u->features.split)
		return bind_port(u, &u->rx_evtchn, &u->has_rx_evtchn);
	u->rx_evtchn = u->tx_evtchn;
	u->has_rx_evtchn = true;
	return 0;
}

static int share_pages(struct uplink *u)
{
	const struct xen_ops *ops = u->env->xen->ops;
	void *mem;
	int err = ops->share(u->env->xen, u->port.domid, 2, true, u->ring_gref, &u->rings);

	if (err)
		return err;
	err = ops->share(u->env->xen, u->port.domid, UPLINK_PAGES, true, u->rx_gref, &mem);
	if (err)
		return err;
	u->rx_mem = mem;
	/* the backend only reads what we send */
	err = ops->share(u->env->xen, u->port.domid, UPLINK_PAGES, false, u->tx_gref, &mem);
	if (err)
		return err;
	u->tx_mem = mem;
	return 0;
}

static int connect_device(struct uplink *u, const struct uplink_nodes *n)
{
	int err;

	u->port.domid = n->backend_domid;
	memcpy(u->backend, n->backend, sizeof(u->backend));
	err = uplink_bus_features(u, n->backend);
	u->port.reason = err == -EOPNOTSUPP ? "the backend does not copy (feature-rx-copy)"
					    : "the backend's features cannot be read";
	if (err)
		return err;
	u->port.reason = "pages to share are short";
	err = share_pages(u);
	if (err)
		return err;
	u->port.reason = "event channels are short";
	err = bind_ports(u);
	if (err)
		return err;
	ring_front_init(&u->tx, u->rings, RING_SLOT_TX);
	ring_front_init(&u->rx, (uint8_t *)u->rings + RING_PAGE, RING_SLOT_RX);
	uplink_tx_init(u);
	uplink_rx_init(u);
	u->connected = true;
	u->broken = u->backend_was_up = false;
	uplink_rx_flush(&u->port); /* all pages; nobody is there to be told yet */
	u->port.reason = "xenstore refuses our nodes";
	err = uplink_bus_publish(u);
	return err ? err : uplink_bus_state(u, XB_CONNECTED);
}

/* --- the steps ------------------------------------------------------------------ */

/* Another netvm does not wait for what the last one did. */
static void judge_anew(struct uplink *u, const struct uplink_nodes *n)
{
	if (strcmp(n->backend, u->backend) == 0 && n->backend_domid == u->port.domid)
		return;
	u->backoff_ms = u->window_connects = 0;
	u->retry_at = 0;
}

static void try_connect(struct uplink *u, const struct uplink_nodes *n)
{
	int err;

	if (u->now_ms - u->window_start >= WINDOW_MS) {
		u->window_start = u->now_ms;
		u->window_connects = 0;
	}
	if (u->window_connects >= WINDOW_CONNECTS) {
		u->retry_at = u->window_start + WINDOW_MS;
		u->port.reason = "too many reconnects";
		return;
	}
	u->window_connects++;
	/* from 6 (or what an earlier process left) the legal way is over 1 */
	if (n->own_state != XB_INITIALISING && uplink_bus_state(u, XB_INITIALISING))
		return;
	(void)uplink_bus_identity(u); /* may be another than before */
	err = connect_device(u, n);
	if (err) {
		release(u);
		say(u, LOG_WARNING, u->port.reason);
		back_off(u);
		return;
	}
	u->port.reason = "";
	u->connected_at = u->now_ms;
	u->refill_at = UINT64_MAX;
	u->port.generation = device_generation(u->env);
	u->port.link = true;
	u->port.ready = true;
	report(u, PORT_EVENT_LINK_UP);
}

/* Give up the connection. Frames first (they point into our pages), then
 * resources, then the state. */
static void disconnect(struct uplink *u, const char *reason, bool write_closing)
{
	u->port.link = false;
	u->port.ready = false;
	u->port.reason = reason;
	report(u, PORT_EVENT_LINK_DOWN);
	release(u);
	u->broken = false;
	u->closing_since = u->now_ms;
	if (write_closing)
		(void)uplink_bus_state(u, XB_CLOSING);
}

/* Why a connection must end, or NULL. */
static const char *end_reason(struct uplink *u, const struct uplink_nodes *n)
{
	if (n->backend[0] == '\0' || strcmp(n->backend, u->backend) != 0 ||
	    n->backend_domid != u->port.domid || n->own_state != XB_CONNECTED)
		return "the device was replaced";
	if (n->backend_state == XB_UNKNOWN)
		return "the backend is gone";
	if (n->backend_state == XB_CLOSING || n->backend_state == XB_CLOSED)
		return "the backend closed";
	if (n->backend_state == XB_CONNECTED)
		u->backend_was_up = true;
	else if (u->backend_was_up && n->backend_state <= XB_INIT_WAIT)
		return "the backend began anew";
	return NULL;
}

static void step_connected(struct uplink *u, const struct uplink_nodes *n)
{
	const char *reason = end_reason(u, n);

	if (u->refill_at == UINT64_MAX && u->rx_bad)
		u->refill_at = u->now_ms + REFILL_MS;
	if (u->now_ms >= u->refill_at) {
		u->rx_bad = 0;
		u->refill_at = UINT64_MAX;
	}
	if (reason) {
		say(u, LOG_NOTICE, reason);
		disconnect(u, reason, false);
	} else if (u->broken) {
		say(u, LOG_WARNING, u->port.reason);
		disconnect(u, u->port.reason, true);
		if (u->now_ms - u->connected_at >= BACKOFF_MAX_MS)
			u->backoff_ms = 0; /* it had behaved for a while */
		back_off(u);
	}
}

/* Lead the backend to state 2, one legal step at a time. */
static void step_waiting(struct uplink *u, const struct uplink_nodes *n)
{
	unsigned int own = n->own_state;

	switch (n->backend_state) {
	case XB_INIT_WAIT:
		if (u->now_ms >= u->retry_at)
			try_connect(u, n);
		return;
	case XB_UNKNOWN:
	case XB_CLOSING:
		/* gone, or waiting for us to close */
		if (own != XB_CLOSED && own != XB_INITIALISING)
			(void)uplink_bus_state(u, XB_CLOSED);
		else if (own == XB_INITIALISING && n->backend_state == XB_CLOSING)
			(void)uplink_bus_state(u, XB_CLOSED);
		return;
	case XB_CLOSED:
		if (own != XB_CLOSED && own != XB_INITIALISING)
			(void)uplink_bus_state(u, XB_CLOSED);
		else if (own == XB_CLOSED && n->online && u->now_ms >= u->retry_at)
			(void)uplink_bus_state(u, XB_INITIALISING);
		return;
	case XB_INITIALISING:
		/* it will come to 2; a state of ours from an earlier life would
		 * be taken for a connection then */
		if (own != XB_INITIALISING && own != XB_CLOSED)
			(void)uplink_bus_state(u, XB_CLOSED);
		return;
	default:
		/* it takes us for connected, as after a crash of ours */
		if (own != XB_CLOSING && own != XB_CLOSED) {
			u->closing_since = u->now_ms;
			(void)uplink_bus_state(u, XB_CLOSING);
		} else if (own == XB_CLOSING && u->closing_since == 0) {
			u->closing_since = u->now_ms; /* by an earlier process */
		} else if (own == XB_CLOSING && u->now_ms >= u->closing_since + CLOSING_MS) {
			(void)uplink_bus_state(u, XB_CLOSED);
		}
		return;
	}
}

static void step_gone(struct uplink *u)
{
	if (u->connected)
		disconnect(u, "the device was removed", false);
	u->port.xenbus_state = XB_UNKNOWN;
	u->gone = true; /* and no write: it would create the node again */
	(void)uplink_bus_watch(u, "");
}

/* The device is known once its MAC is. */
static bool introduce(struct uplink *u)
{
	if (u->added)
		return true;
	if (uplink_bus_identity(u)) {
		u->port.reason = "no valid MAC in xenstore";
		return false;
	}
	u->added = true;
	u->port.reason = "no backend";
	report(u, PORT_EVENT_ADDED);
	return true;
}

uint64_t uplink_step(struct port *port, uint64_t now_ms)
{
	struct uplink *u = uplink_of(port);
	struct uplink_nodes n;
	bool blind; /* nobody tells us of the backend's steps: look */

	u->now_ms = now_ms;
	u->unsaid = false;
	if (u->gone)
		return UINT64_MAX;
	uplink_bus_read(u, &n);
	if (n.gone) {
		step_gone(u);
		return UINT64_MAX;
	}
	if (n.failed)
		return now_ms + STEP_MS;
	if (!u->connected)
		port->xenbus_state = n.own_state <= XB_RECONFIGURED ? (uint8_t)n.own_state : 0;
	blind = uplink_bus_watch(u, n.backend) != 0;
	if (!introduce(u))
		return now_ms + STEP_MS;
	if (u->connected)
		step_connected(u, &n);
	if (!u->connected) {
		/* a disconnect has changed our state */
		uplink_bus_read(u, &n);
		if (n.failed)
			return now_ms + STEP_MS;
		if (n.backend[0]) {
			judge_anew(u, &n);
			step_waiting(u, &n);
		}
	}
	if (u->connected)
		return u->refill_at;
	if (u->retry_at > now_ms)
		return u->retry_at;
	/* nothing but an event, or a deadline of step_waiting(), leads on */
	return blind || u->unsaid || n.own_state == XB_CLOSING ? now_ms + STEP_MS : UINT64_MAX;
}

bool uplink_gone(const struct port *port)
{
	return uplink_const_of(port)->gone;
}

static bool uplink_rx_arm(struct port *port)
{
	struct uplink *u = uplink_of(port);
	bool work = false;

	if (!u->connected || u->broken)
		return false;
	/* Only a sender that waits wants to hear of free room; else responses
	 * are taken in passing, and a storm of events stays masked
	 * (hp_391_uplink_storm). */
	if (port->tx_blocked)
		work = uplink_tx_arm(u);
	if (ring_front_arm(&u->rx, u->rx.rsp_cons + 1))
		work = true;
	if (work || u->broken)
		return work;
	if (port->tx_blocked || !u->features.split)
		device_evtchn_unmask(u->env, u->tx_evtchn);
	if (u->features.split)
		device_evtchn_unmask(u->env, u->rx_evtchn);
	return false;
}

/* In order for a backend that is there: what is shared goes first, then the
 * states. A removed device is left alone. */
static void uplink_free(struct port *port)
{
	struct uplink *u = uplink_of(port);

	if (u->connected) {
		struct uplink_nodes n;

		release(u);
		uplink_bus_read(u, &n);
		/* not over what the toolstack wrote for another device */
		if (n.own_state == XB_CONNECTED && uplink_bus_state(u, XB_CLOSING) == 0)
			(void)uplink_bus_state(u, XB_CLOSED);
	}
	(void)uplink_bus_watch(u, "");
	free(u);
}

int uplink_new(struct port **out, struct device_env *env, uint16_t devid, uint32_t generation)
{
	struct uplink *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	u->port.ops = &uplink_ops;
	u->port.kind = PORT_UPLINK;
	u->port.role = PORT_ROLE_UPLINK;
	u->port.id = PORT_NONE;
	u->port.generation = generation;
	u->port.fd = -1;
	u->port.mtu = 1500;
	u->port.devid = devid;
	u->port.reason = "not looked at yet";
	u->env = env;
	snprintf(u->port.name, sizeof(u->port.name), "uplink%u", devid);
	snprintf(u->front, sizeof(u->front), "device/vif/%u", devid);
	*out = &u->port;
	return 0;
}
