/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The uplink's xenstore nodes.
 *
 * F (device/vif/N, ours to write, made by the toolstack) and B (the backend's
 * directory, hostile: strict numbers, bounded text). A node that is missing,
 * unreadable or no number is as good as absent; when the backend's domain has
 * died its nodes give EACCES, when the device was removed ENOENT.
 *
 * Our state is written in a transaction that reads it first: the toolstack may
 * remove F at any time, and a plain write would bring half of it back.
 */
#include "netback/uplink.h"

#include <stdio.h>

#define TRANSACTION_TRIES 10 /* hp_326_bounded_xenstore: then the step is repeated */

static int path_in(char *path, const char *dir, const char *node)
{
	int n = snprintf(path, XEN_PATH_MAX, "%s/%s", dir, node);

	return n < 0 || n >= XEN_PATH_MAX ? -E2BIG : 0;
}

static int read_u32(struct uplink *u, uint32_t t, const char *dir, const char *node,
		    uint32_t *value)
{
	char path[XEN_PATH_MAX];
	int err = path_in(path, dir, node);

	return err ? err : xenbus_read_u32(u->env->xen, t, path, value);
}

static int read_text(struct uplink *u, const char *dir, const char *node, char *buf, size_t size)
{
	char path[XEN_PATH_MAX];
	int err = path_in(path, dir, node);

	return err ? err : u->env->xen->ops->store_read(u->env->xen, 0, path, buf, size);
}

/* What one failed read says: absent, or nothing at all. */
static bool is_absent(int err)
{
	return err == -ENOENT || err == -EACCES || err == -EINVAL || err == -E2BIG;
}

/* A number that may be missing; other failures are noted. */
static uint32_t look(struct uplink *u, struct uplink_nodes *n, const char *dir, const char *node,
		     uint32_t missing)
{
	uint32_t value = missing;
	int err = read_u32(u, 0, dir, node, &value);

	if (err && !is_absent(err))
		n->failed = true;
	return value;
}

void uplink_bus_read(struct uplink *u, struct uplink_nodes *n)
{
	uint32_t domid;
	char text[8];
	int err;

	*n = (struct uplink_nodes){ 0 };
	err = u->env->xen->ops->store_read(u->env->xen, 0, u->front, text, sizeof(text));
	if (err && err != -E2BIG) { /* the directory's own text is nothing to us */
		n->gone = err == -ENOENT;
		n->failed = !is_absent(err);
		return;
	}
	n->own_state = look(u, n, u->front, "state", XB_UNKNOWN);
	domid = look(u, n, u->front, "backend-id", UINT32_MAX);
	err = read_text(u, u->front, "backend", n->backend, sizeof(n->backend));
	if (err && !is_absent(err))
		n->failed = true;
	if (err || domid > UINT16_MAX || n->backend[0] != '/') {
		n->backend[0] = '\0'; /* X6.7: wait for the watch */
		return;
	}
	n->backend_domid = (uint16_t)domid;
	n->backend_state = look(u, n, n->backend, "state", XB_UNKNOWN);
	n->online = look(u, n, n->backend, "online", 1) != 0;
}

int uplink_bus_identity(struct uplink *u)
{
	uint32_t mtu;
	char text[32];
	int err = read_text(u, u->front, "mac", text, sizeof(text));

	if (!err)
		err = netback_parse_mac(text, u->port.mac);
	if (err)
		return err;
	u->port.mtu = 1500;
	if (read_u32(u, 0, u->front, "mtu", &mtu) == 0 && mtu >= 68 && mtu <= 65521)
		u->port.mtu = (uint16_t)mtu;
	return 0;
}

/* One feature: absent is "no"; a read that failed for another reason is not. */
static int feature(struct uplink *u, const char *backend, const char *node, bool *has)
{
	uint32_t value = 0;
	int err = read_u32(u, 0, backend, node, &value);

	if (err && err != -ENOENT && err != -EINVAL)
		return err;
	*has = value != 0;
	return 0;
}

int uplink_bus_features(struct uplink *u, const char *backend)
{
	struct uplink_features *f = &u->features;
	struct convert_can *can = &f->can;
	bool rx_copy = false, no_csum = false;
	const struct {
		const char *node;
		bool *has;
	} nodes[] = {
		{ "feature-rx-copy", &rx_copy },
		{ "feature-sg", &can->sg },
		{ "feature-gso-tcpv4", &can->gso4 },
		{ "feature-gso-tcpv6", &can->gso6 },
		{ "feature-no-csum-offload", &no_csum },
		{ "feature-ipv6-csum-offload", &can->csum6 },
		{ "feature-split-event-channels", &f->split },
		{ "multi-queue-max-queues", &f->multi_queue },
	};
	unsigned int i;

	for (i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		int err = feature(u, backend, nodes[i].node, nodes[i].has);

		if (err)
			return err;
	}
	if (!rx_copy)
		return -EOPNOTSUPP;
	can->csum4 = !no_csum;
	return 0;
}

static int write_u32(struct uplink *u, uint32_t t, const char *node, uint32_t value)
{
	char path[XEN_PATH_MAX];
	int err = path_in(path, u->front, node);

	return err ? err : xenbus_printf(u->env->xen, t, path, "%u", value);
}

/* Left over from an earlier life of the device: a backend would believe it. */
static int remove_node(struct uplink *u, uint32_t t, const char *node)
{
	char path[XEN_PATH_MAX];
	int err = path_in(path, u->front, node);

	if (!err)
		err = u->env->xen->ops->store_rm(u->env->xen, t, path);
	return err == -ENOENT ? 0 : err;
}

static int publish(struct uplink *u, uint32_t t)
{
	static const char *const on[] = { "request-rx-copy", "feature-rx-notify", "feature-sg",
					  "feature-gso-tcpv4", "feature-gso-tcpv6",
					  "feature-ipv6-csum-offload" };
	uint32_t state;
	unsigned int i;
	int err = read_u32(u, t, u->front, "state", &state); /* is it still there? */

	err = err ? err : write_u32(u, t, "tx-ring-ref", u->ring_gref[0]);
	err = err ? err : write_u32(u, t, "rx-ring-ref", u->ring_gref[1]);
	if (u->features.split) {
		err = err ? err : write_u32(u, t, "event-channel-tx", u->tx_evtchn);
		err = err ? err : write_u32(u, t, "event-channel-rx", u->rx_evtchn);
		err = err ? err : remove_node(u, t, "event-channel");
	} else {
		err = err ? err : write_u32(u, t, "event-channel", u->tx_evtchn);
		err = err ? err : remove_node(u, t, "event-channel-tx");
		err = err ? err : remove_node(u, t, "event-channel-rx");
	}
	if (u->features.multi_queue)
		err = err ? err : write_u32(u, t, "multi-queue-num-queues", 1);
	else
		err = err ? err : remove_node(u, t, "multi-queue-num-queues");
	for (i = 0; !err && i < sizeof(on) / sizeof(on[0]); i++)
		err = write_u32(u, t, on[i], 1);
	return err;
}

static int write_state(struct uplink *u, uint32_t t, enum xenbus_state state)
{
	uint32_t old;
	int err = read_u32(u, t, u->front, "state", &old);

	if (err == -ENOENT)
		return err;
	return write_u32(u, t, "state", state);
}

/* Run publish() or, with a state, write_state() in a transaction. */
static int transaction(struct uplink *u, enum xenbus_state state)
{
	struct xen *x = u->env->xen;
	int err = -EAGAIN, tries;

	for (tries = 0; err == -EAGAIN && tries < TRANSACTION_TRIES; tries++) {
		uint32_t t;

		err = x->ops->store_begin(x, &t);
		if (err)
			return err;
		err = state == XB_UNKNOWN ? publish(u, t) : write_state(u, t, state);
		if (err)
			x->ops->store_end(x, t, true);
		else
			err = x->ops->store_end(x, t, false);
	}
	return err;
}

int uplink_bus_publish(struct uplink *u)
{
	return transaction(u, XB_UNKNOWN);
}

int uplink_bus_state(struct uplink *u, enum xenbus_state state)
{
	int err = transaction(u, state);

	u->unsaid = err != 0;
	if (!err)
		u->port.xenbus_state = (uint8_t)state;
	return err;
}

int uplink_bus_watch(struct uplink *u, const char *backend)
{
	struct xen *x = u->env->xen;
	char path[XEN_PATH_MAX] = "";
	int err = backend[0] ? path_in(path, backend, "state") : 0;

	if (err || strcmp(path, u->watched) == 0)
		return err;
	if (u->watched[0])
		x->ops->store_unwatch(x, u->watched, u->port.name);
	u->watched[0] = '\0';
	if (path[0] == '\0')
		return 0;
	err = x->ops->store_watch(x, path, u->port.name);
	if (!err)
		memcpy(u->watched, path, sizeof(path));
	return err;
}
