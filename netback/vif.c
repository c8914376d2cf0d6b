// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A client's vif as a port.
 *
 * Nothing of the two directions of packets (vif_rx.c, vif_tx.c) or of xenstore
 * (vif_bus.c) is here: only the life of the structure, arming, and what happens
 * when the peer breaks the protocol.
 *
 * Everything in the shared pages and in the frontend's xenstore directory is
 * hostile. The worst that a client can get from us is to lose its own vif.
 */
#include "netback/vif.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>

void vif_log(const struct vif *v, int level, const char *fmt, ...)
{
	const struct netback_config *c = &v->env->config;
	char text[200];
	va_list ap;
	int n;

	if (!c->log)
		return;
	n = snprintf(text, sizeof(text), "%s: ", v->port.name);
	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, ap);
	va_end(ap);
	c->log(c->arg, level, text);
}

void vif_violation(struct vif *v, const char *what)
{
	if (v->broken)
		return; /* logged once a connection (hp_043_log_flood) */
	v->broken = true;
	v->port.link = false;
	v->port.reason = what;
	v->port.stats.violations++;
	device_wants_step(v->env, &v->port);
	vif_log(v, LOG_WARNING, "closed: %s", what);
}

void vif_notify(struct vif *v, uint32_t evtchn, bool wanted)
{
	if (wanted) {
		v->env->xen->ops->notify(v->env->xen, evtchn);
		v->port.stats.notify_sent++;
	} else {
		v->port.stats.notify_suppressed++;
	}
}

/*
 * hp_331_event_flood, hp_332_event_storm: the channels stay masked from the
 * event until all work is done, so however often the peer notifies, there is one
 * wakeup for each time that we had run dry.
 */
static bool vif_rx_arm(struct port *port)
{
	struct vif *v = vif_of(port);

	if (!v->connected || v->broken)
		return false;
	vif_rx_flush(port);
	if (ring_back_arm(&v->tx, v->tx.req_cons + 1))
		return true;
	/* Buffers for sending are asked for only when a frame waits for them;
	 * else the guest would notify at each refill. */
	if (port->tx_blocked && v->rx_need && ring_back_arm(&v->rx, v->rx.req_cons + v->rx_need))
		return true;
	device_evtchn_unmask(v->env, v->evtchn_tx);
	if (v->evtchn_rx != v->evtchn_tx)
		device_evtchn_unmask(v->env, v->evtchn_rx);
	return false;
}

static void vif_free(struct port *port)
{
	struct vif *v = vif_of(port);

	vif_disconnect(v);
	if (v->watched) {
		char path[VIF_PATH_MAX + 8];

		snprintf(path, sizeof(path), "%s/state", v->fe);
		v->env->xen->ops->store_unwatch(v->env->xen, path, port->name);
	}
	free(v);
}

static const struct port_ops vif_ops = {
	.rx_burst = vif_rx_burst,
	.tx = vif_tx,
	.tx_flush = vif_tx_flush,
	.complete = vif_complete,
	.rx_flush = vif_rx_flush,
	.rx_arm = vif_rx_arm,
	.free = vif_free,
};

/**
 * vif_new() - a device directory appeared below backend/vif
 *
 * Touches neither xenstore nor the rings: all of that is vif_step()'s, which the
 * caller calls next.
 */
int vif_new(struct port **out, struct device_env *env, uint16_t domid, uint16_t devid,
	    uint32_t generation)
{
	struct vif *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->env = env;
	v->stored = VIF_STATE_UNREAD;
	v->port = (struct port){
		.ops = &vif_ops,
		.kind = PORT_VIF,
		.role = PORT_ROLE_CLIENT,
		.id = PORT_NONE,
		.generation = generation,
		.fd = -1,
		.mtu = 1500,
		.domid = domid,
		.devid = devid,
		.xenbus_state = XB_UNKNOWN,
		.reason = "appeared",
	};
	snprintf(v->port.name, sizeof(v->port.name), "vif%u.%u", domid, devid);
	snprintf(v->be, sizeof(v->be), "backend/vif/%u/%u", domid, devid);
	*out = &v->port;
	return 0;
}

bool vif_gone(const struct port *port)
{
	return ((const struct vif *)port)->gone;
}

bool vif_replaced(const struct port *port)
{
	return ((const struct vif *)port)->replaced;
}
