// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The xenbus side of a vif: what xenstore says, and what we answer.
 *
 * vif_step() is idempotent: it reads our state, `online` and the frontend's state
 * again and does what the table below says for that pair, until nothing is left
 * to do. Watch events therefore only mean "look again", and may be lost, doubled
 * or late (X6.8).
 *
 *	own \ frontend	gone	1	2,3,8	4	5	6	7	bad
 *	1 Initialising	wait(b)	->2	->2	->2	->2	->2	->2	->2
 *	2 InitWait	->5	-	-	connect	->5	->5	-	->5
 *	4 Connected	->5	->5	-	-	->5	->5	8	->5
 *	5 Closing	->6	->6	wait	wait	wait	->6	wait	->6
 *	6 Closed	-	->2	-	-	->5(a)	-	-	-
 *
 *	(a) when it was not 5 before: a frontend that closes before its first
 *	connect waits for 5 and then 6 from us, wherever we are (X6.3,
 *	hp_465_close_unconnected, hp_windows_close_cycle); others do so at run time
 *	(X6.4), or go to 6 at once (X6.5)
 *	(b) ->6 when `online` is 0: there is nobody to wait for
 *	6->2 only while `online` is 1. In 5 the rings are down already: we wait for
 *	the frontend's own 6, because dom0 removes its directory soon after ours,
 *	but at most VIF_CLOSE_WAIT_MS, because dom0 gives us 10 s. A vif that broke
 *	the protocol is not waited for.
 *	Any own state, when the toolstack wrote 5 into our node (xl network-detach,
 *	xl destroy): we are in 5.
 *
 * Invariant: rings are mapped only in state 4 (or 8). hp_state_fuzz has the table and
 * the invariant once more, as a model.
 *
 * Removal (X6.2). Our directory goes when our state is 6 and `online` is 0, and not at
 * once. libxl waits for a watch on our `state` and then reads it; only when it
 * has read 6 does it watch for the directory to vanish. A directory that is gone
 * when libxl comes to read it is an error to it ("wanted state 6 but it was
 * removed"). Between its write of online=0 and the end of our directory libxl does
 * nothing but read and watch - it removes the frontend's directory and its own
 * /libxl records only afterwards - and xenstore shows neither reads nor watches of
 * another connection. So there is nothing to wait for; the directory stays for
 * VIF_REMOVE_MS after both conditions were first seen, out of the 10 s that
 * libxl gives us.
 *
 * A guest that ended without a word from the toolstack leaves a directory with
 * online=1 and no frontend. It is not ours to delete, but nothing will come of it:
 * after VIF_ORPHAN_MS the port goes, the directory stays, and it is looked at
 * again when somebody writes to it.
 *
 * Nobody but the toolstack writes a 1 into our node, and only into a directory
 * that it has just made. One where we have been further is another device under
 * the same numbers, with an address of its own: the port goes, and another comes (X6.9,
 * hp_domid_churn).
 *
 * A frontend that closes and opens for ever costs us dozens of requests to
 * xenstore each time, at the expense of the other clients: after VIF_REOPENS
 * times it stays at 6 until VIF_WINDOW_MS are over.
 *
 * Our own end changes no state. A Linux frontend that has seen 6 stays there until the
 * toolstack attaches it anew (netback_changed() of xen-netfront: 2 means something in
 * state 1 only), and nobody tells it to go. So we release pages and channels and leave
 * 4 as it stands, as a process that was killed does: requests wait in the ring, and the
 * next process goes on with them. When it is the whole domain that ends, dom0 detaches
 * the vifs before or the directory vanishes with the domain.
 *
 * No write of ours can bring a removed directory back or overwrite a 5 that the
 * toolstack wrote meanwhile: set_state() compares in a transaction.
 */
#include "netback/vif.h"

#include <stdio.h>
#include <string.h>
#include <syslog.h>

#define VIF_CLOSE_WAIT_MS 3000
#define VIF_REMOVE_MS	  1500
#define VIF_VISIBLE_MS	  100	     /* how long 2 stands when the frontend is ahead of us */
#define VIF_ORPHAN_MS	  30000	     /* a closed vif without frontend that dom0 forgot */
#define VIF_STATE_BAD	  UINT32_MAX /* text in our state node that is no number */
#define VIF_TX_TRIES	  16	     /* of a transaction, before a pause */
#define VIF_RETRY_MS	  100
#define VIF_CONNECT_TRIES 20   /* while we lack something: 2 s */
#define VIF_LOOK_MS	  1000 /* at a directory that is not complete, or made no sense */
#define VIF_STEPS_MAX	  12   /* transitions in one step: the longest walk is 4-5-6-2 */
#define VIF_REOPENS	  30   /* 6->2 in one window: rules 14 and 20 of hostile-peers.md */
#define VIF_WINDOW_MS	  60000

/* The columns of the table. */
enum fe_class { FE_GONE, FE_INIT, FE_BUSY, FE_CONNECTED, FE_CLOSING, FE_CLOSED, FE_RECONF, FE_BAD };

/* --- small readers ------------------------------------------------------------------ */
static int read_be(struct vif *v, uint32_t t, const char *name, uint32_t *value)
{
	char path[VIF_PATH_MAX + 40];

	snprintf(path, sizeof(path), "%s/%s", v->be, name);
	return xenbus_read_u32(v->env->xen, t, path, value);
}

static int read_fe(struct vif *v, const char *name, uint32_t *value)
{
	char path[VIF_PATH_MAX + 40];

	snprintf(path, sizeof(path), "%s/%s", v->fe, name);
	return xenbus_read_u32(v->env->xen, 0, path, value);
}

/* No frontend makes an operation fail like this; we or xenstore are short of something. */
static bool is_our_fault(int err)
{
	return err == -EIO || err == -ENOMEM || err == -ENOSPC || err == -EAGAIN || err == -EBUSY;
}

/* A feature flag: anything but a plain 1 is "no". Return: 0, or that nobody knows. */
static int fe_flag(struct vif *v, const char *name, bool *has)
{
	uint32_t value = 0;
	int ret = read_fe(v, name, &value);

	*has = ret == 0 && value == 1;
	return is_our_fault(ret) ? ret : 0;
}

/*
 * Return: 0; -errno when xenstore gave no answer, which says nothing of the frontend.
 */
static int fe_state(struct vif *v, enum fe_class *fe)
{
	static const uint8_t class_of[] = {
	    [XB_UNKNOWN] = FE_GONE,	[XB_INITIALISING] = FE_INIT,	[XB_INIT_WAIT] = FE_BUSY,
	    [XB_INITIALISED] = FE_BUSY, [XB_CONNECTED] = FE_CONNECTED,	[XB_CLOSING] = FE_CLOSING,
	    [XB_CLOSED] = FE_CLOSED,	[XB_RECONFIGURING] = FE_RECONF, [XB_RECONFIGURED] = FE_BUSY,
	};
	uint32_t state;
	int ret = read_fe(v, "state", &state);

	/* hp_115_foreign_paths: a destroyed domain gives one or the other */
	if (ret == -ENOENT || ret == -EACCES)
		*fe = FE_GONE;
	else if (ret == -EINVAL || (!ret && state >= sizeof(class_of)))
		*fe = FE_BAD;
	else if (ret)
		return ret;
	else
		*fe = (enum fe_class)class_of[state];
	return 0;
}

/* The toolstack's `online`: anything but 1 means that our end is wanted. */
static int read_online(struct vif *v, bool *online)
{
	uint32_t value = 0;
	int ret = read_be(v, 0, "online", &value);

	*online = value == 1;
	return ret == -ENOENT || ret == -EINVAL ? 0 : ret;
}

/* Our own state as it stands: a number, VIF_STATE_BAD, or no answer. */
static int read_own(struct vif *v, uint32_t t, uint32_t *state)
{
	int ret = read_be(v, t, "state", state);

	if (ret == -EINVAL) {
		*state = VIF_STATE_BAD;
		ret = 0;
	}
	return ret;
}

/* --- writing our state ------------------------------------------------------------------ */
/*
 * One step of ours: only from the state that we last wrote.
 *
 * Return: 0; -ENOENT: our directory is gone; -ESTALE: the toolstack wrote
 * another state; other -errno.
 */
static int set_state(struct vif *v, enum xenbus_state to)
{
	struct xen *x = v->env->xen;
	char path[VIF_PATH_MAX + 40];
	int ret = -EAGAIN;

	snprintf(path, sizeof(path), "%s/state", v->be);
	for (int i = 0; i < VIF_TX_TRIES && ret == -EAGAIN; i++) {
		uint32_t t, now;

		ret = x->ops->store_begin(x, &t);
		if (ret)
			return ret;
		ret = read_own(v, t, &now);
		if (!ret && now != v->stored)
			ret = -ESTALE;
		if (!ret)
			ret = xenbus_printf(x, t, path, "%d", (int)to);
		if (ret) {
			x->ops->store_end(x, t, true);
			return ret;
		}
		ret = x->ops->store_end(x, t, false);
	}
	if (!ret) {
		vif_log(v, LOG_DEBUG, "state %s", xenbus_state_name(to));
		v->state = to;
		v->stored = (uint32_t)to;
		v->port.xenbus_state = (uint8_t)to;
	}
	return ret;
}

/* What we offer, X5.3, and what not, X5.6. hp_270_ctrl_ring_not_offered: no control
 * ring, no multicast control, no hash, no XDP; no flipping, one queue. */
static const struct {
	const char *name, *value;
} offers[] = {
    {"feature-sg", "1"},
    {"feature-gso-tcpv4", "1"},
    {"feature-gso-tcpv6", "1"},
    {"feature-ipv6-csum-offload", "1"},
    {"feature-rx-copy", "1"},
    {"feature-rx-flip", "0"},
    {"feature-split-event-channels", "1"},
    {"multi-queue-max-queues", "1"},
    {"hotplug-status", "connected"},
};

static int write_offers(struct vif *v)
{
	struct xen *x = v->env->xen;
	char path[VIF_PATH_MAX + 40];
	int ret = -EAGAIN;

	for (int i = 0; i < VIF_TX_TRIES && ret == -EAGAIN; i++) {
		uint32_t t, state;

		ret = x->ops->store_begin(x, &t);
		if (ret)
			return ret;
		/* not into a directory that is gone */
		ret = read_own(v, t, &state);
		for (size_t k = 0; k < sizeof(offers) / sizeof(offers[0]) && !ret; k++) {
			snprintf(path, sizeof(path), "%s/%s", v->be, offers[k].name);
			ret = xenbus_printf(x, t, path, "%s", offers[k].value);
		}
		if (ret) {
			x->ops->store_end(x, t, true);
			return ret;
		}
		ret = x->ops->store_end(x, t, false);
	}
	return ret;
}

/* --- connection ---------------------------------------------------------------------------- */
/*
 * Release everything of a connection; any state, any number of times
 * (hp_374_teardown_leaks). The rings are unmapped at once: a mapped page keeps a
 * dead guest as a zombie (X6.6). Between two turns only, so no event or frame of it is on
 * its way (hp_441_close_under_load).
 */
void vif_disconnect(struct vif *v)
{
	struct xen *x = v->env->xen;
	bool was_up = v->connected;

	v->connected = false;
	v->port.link = false;
	v->port.ready = false;
	if (was_up)
		v->env->config.event(v->env->config.arg, &v->port, PORT_EVENT_LINK_DOWN);
	if (v->evtchn_tx) {
		device_evtchn_clear(v->env, v->evtchn_tx);
		x->ops->unbind(x, v->evtchn_tx);
	}
	if (v->evtchn_rx && v->evtchn_rx != v->evtchn_tx) {
		device_evtchn_clear(v->env, v->evtchn_rx);
		x->ops->unbind(x, v->evtchn_rx);
	}
	v->evtchn_tx = v->evtchn_rx = 0;
	if (v->rx_page)
		x->ops->unmap(x, v->rx_page);
	if (v->tx_page)
		x->ops->unmap(x, v->tx_page);
	v->rx_page = v->tx_page = NULL;
	vif_tx_begin(v);
}

static int bind_channel(struct vif *v, const char *node, uint32_t *evtchn)
{
	struct xen *x = v->env->xen;
	uint32_t remote, local;
	int ret = read_fe(v, node, &remote);

	if (ret)
		return ret;
	ret = x->ops->bind_interdomain(x, v->port.domid, remote, &local);
	if (ret)
		return ret;
	ret = device_evtchn_set(v->env, local, &v->port);
	if (ret) {
		x->ops->unbind(x, local);
		return ret;
	}
	*evtchn = local;
	return 0;
}

/* X5.7: split channels first, else the single one. */
static int bind_channels(struct vif *v)
{
	int ret = bind_channel(v, "event-channel-tx", &v->evtchn_tx);

	if (ret == 0)
		return bind_channel(v, "event-channel-rx", &v->evtchn_rx);
	if (ret != -ENOENT)
		return ret;
	ret = bind_channel(v, "event-channel", &v->evtchn_tx);
	v->evtchn_rx = v->evtchn_tx;
	return ret;
}

/* hp_218_only_ring_maps: these two pages, nothing else of a guest, ever. */
static int map_ring(struct vif *v, const char *node, size_t slot, void **page,
		    struct ring_back *ring)
{
	struct xen *x = v->env->xen;
	uint32_t gref;
	int ret = read_fe(v, node, &gref);

	if (ret)
		return ret;
	ret = x->ops->map(x, v->port.domid, gref, page);
	return ret ? ret : ring_back_attach(ring, *page, slot);
}

static int read_features(struct vif *v)
{
	struct convert_can *f = &v->features;
	bool no_csum = false;
	const struct {
		const char *node;
		bool *has;
	} nodes[] = {
	    {"feature-sg", &f->sg},
	    {"feature-gso-tcpv4", &f->gso4},
	    {"feature-gso-tcpv6", &f->gso6},
	    {"feature-no-csum-offload", &no_csum},
	    {"feature-ipv6-csum-offload", &f->csum6},
	};

	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
		int ret = fe_flag(v, nodes[i].node, nodes[i].has);

		if (ret)
			return ret;
	}
	f->gso4 = f->sg && f->gso4;
	f->gso6 = f->sg && f->gso6;
	f->csum4 = !no_csum;
	return 0;
}

static int connect_pieces(struct vif *v, const char **why)
{
	uint32_t queues = 1;
	bool copy;
	int ret;

	*why = "refused: no request-rx-copy";
	ret = fe_flag(v, "request-rx-copy", &copy);
	if (ret || !copy)
		return ret ? ret : -EPROTO;
	*why = "refused: number of queues";
	ret = read_fe(v, "multi-queue-num-queues", &queues);
	if ((ret && ret != -ENOENT) || queues != 1)
		return ret ? ret : -EPROTO;
	*why = "refused: transmit ring";
	ret = map_ring(v, "tx-ring-ref", RING_SLOT_TX, &v->tx_page, &v->tx);
	if (ret)
		return ret;
	*why = "refused: receive ring";
	ret = map_ring(v, "rx-ring-ref", RING_SLOT_RX, &v->rx_page, &v->rx);
	if (ret)
		return ret;
	*why = "refused: event channel";
	ret = bind_channels(v);
	if (ret)
		return ret;
	*why = "refused: features";
	return read_features(v);
}

/*
 * Map rings and bind channels of a frontend in state 4.
 *
 * Return: 0; -EPROTO with port.reason set: what the frontend published cannot be
 * used; other -errno: it may work a little later.
 */
static int vif_connect(struct vif *v)
{
	const char *why;
	int ret = connect_pieces(v, &why);

	if (ret) {
		vif_disconnect(v);
		if (is_our_fault(ret) && v->tries++ < VIF_CONNECT_TRIES)
			return ret;
		v->port.reason = why;
		vif_log(v, LOG_WARNING, "%s", why);
		return -EPROTO;
	}
	v->tries = 0;
	vif_rx_begin(v);
	vif_tx_begin(v);
	/* descriptors of an earlier connection are void (hp_350_connect_churn) */
	v->port.generation = device_generation(v->env);
	v->connected = true;
	return 0;
}

static int go_live(struct vif *v)
{
	struct xen *x = v->env->xen;
	int ret = set_state(v, XB_CONNECTED);

	if (ret) {
		/* nobody was told of the link */
		v->connected = false;
		vif_disconnect(v);
		return ret;
	}
	/* A predecessor may have died between an answer and its event; the
	 * frontend's event index is behind us then, and it would wait for ever. */
	x->ops->notify(x, v->evtchn_tx);
	if (v->evtchn_rx != v->evtchn_tx)
		x->ops->notify(x, v->evtchn_rx);
	v->port.link = true;
	v->port.ready = true; /* it may have published before we mapped */
	v->port.reason = "";
	v->env->config.event(v->env->config.arg, &v->port, PORT_EVENT_LINK_UP);
	return 0;
}

/* --- becoming known ---------------------------------------------------------------------- */
static int read_text(struct vif *v, const char *name, char *buf, size_t size)
{
	char path[VIF_PATH_MAX + 40];

	snprintf(path, sizeof(path), "%s/%s", v->be, name);
	return v->env->xen->ops->store_read(v->env->xen, 0, path, buf, size);
}

/*
 * X5.1, X5.2, X5.5. Who the client is comes from our own directory, which it cannot
 * write: MAC, address, domain. The frontend's path must be one of that domain's.
 *
 * Return: 0; -EAGAIN: not all is there yet (X6.7); -EINVAL: it makes no sense.
 */
static int identify(struct vif *v)
{
	struct port *port = &v->port;
	char mac[32], home[40];
	uint32_t id, mtu;

	if (read_be(v, 0, "frontend-id", &id) || read_text(v, "frontend", v->fe, sizeof(v->fe)) ||
	    read_text(v, "mac", mac, sizeof(mac)))
		return -EAGAIN;
	snprintf(home, sizeof(home), "/local/domain/%u/", port->domid);
	if (id != port->domid || strncmp(v->fe, home, strlen(home)) != 0)
		return -EINVAL; /* hp_115_foreign_paths */
	if (netback_parse_mac(mac, port->mac))
		return -EINVAL;
	if (read_text(v, "ip", port->ip, sizeof(port->ip)))
		port->ip[0] = '\0';
	if (read_be(v, 0, "mtu", &mtu) == 0 && mtu >= 68 && mtu <= 65535)
		port->mtu = (uint16_t)mtu;
	return 0;
}

static bool become_known(struct vif *v, uint32_t state)
{
	static const char refused[] = "refused: bad backend directory";
	struct xen *x = v->env->xen;
	char path[VIF_PATH_MAX + 8];
	enum fe_class fe;
	bool online;
	int ret = identify(v);

	if (ret == -EINVAL && v->port.reason != refused) {
		v->port.reason = refused;
		vif_log(v, LOG_WARNING, "%s", v->port.reason);
	}
	if (ret)
		return false;
	if (fe_state(v, &fe) || read_online(v, &online))
		return false;
	if (state == XB_CLOSED && fe == FE_GONE && online) {
		v->gone = true; /* forgotten, see above */
		return false;
	}
	snprintf(path, sizeof(path), "%s/state", v->fe);
	if (!v->watched && x->ops->store_watch(x, path, v->port.name) == 0)
		v->watched = true;
	if (!v->watched)
		return false;
	v->known = true;
	v->port.reason = "waiting for the frontend";
	v->env->config.event(v->env->config.arg, &v->port, PORT_EVENT_ADDED);
	return true;
}

/* --- the machine ------------------------------------------------------------------------------ */
enum action {
	STAY,
	GO_INIT_WAIT,
	GO_CONNECTED,
	GO_CLOSING,
	GO_CLOSED,
	GO_RECONFIGURED,
	AWAIT_CLOSE, /* 5: until the frontend follows or the time is over */
};

/* hp_157_op_in_wrong_state: each pair is in the table. */
static const uint8_t machine[][FE_BAD + 1] = {
    /*		       gone, 1, busy, 4, 5, 6, 7, bad */
    [XB_INITIALISING] = {STAY, GO_INIT_WAIT, GO_INIT_WAIT, GO_INIT_WAIT, GO_INIT_WAIT, GO_INIT_WAIT,
			 GO_INIT_WAIT, GO_INIT_WAIT},
    [XB_INIT_WAIT] = {GO_CLOSING, STAY, STAY, GO_CONNECTED, GO_CLOSING, GO_CLOSING, STAY,
		      GO_CLOSING},
    [XB_CONNECTED] = {GO_CLOSING, GO_CLOSING, STAY, STAY, GO_CLOSING, GO_CLOSING, GO_RECONFIGURED,
		      GO_CLOSING},
    [XB_CLOSING] = {GO_CLOSED, GO_CLOSED, AWAIT_CLOSE, AWAIT_CLOSE, AWAIT_CLOSE, GO_CLOSED,
		    AWAIT_CLOSE, GO_CLOSED},
    [XB_CLOSED] = {STAY, GO_INIT_WAIT, STAY, STAY, GO_CLOSING, STAY, STAY, STAY},
    /* the contents of a reconfiguration do not concern us */
    [XB_RECONFIGURED] = {GO_CLOSING, GO_CLOSING, STAY, GO_CONNECTED, GO_CLOSING, GO_CLOSING, STAY,
			 GO_CLOSING},
};

static bool may_reopen(struct vif *v, uint64_t now_ms)
{
	if (now_ms >= v->window_end_ms) {
		v->window_end_ms = now_ms + VIF_WINDOW_MS;
		v->reopens = 0;
	}
	if (v->reopens < VIF_REOPENS)
		return true;
	v->port.reason = "too many reconnects";
	return false;
}

static enum action decide(struct vif *v, enum fe_class fe, bool online, uint64_t now_ms)
{
	enum action a = (enum action)machine[v->state][fe];

	if (v->broken && (v->state == XB_CONNECTED || v->state == XB_RECONFIGURED))
		return GO_CLOSING;
	if (v->state == XB_CONNECTED && !v->connected)
		/* an earlier run of ours ended here: its rings stand, go on with them */
		return fe == FE_CONNECTED ? GO_CONNECTED : GO_CLOSING;
	if (v->state == XB_INITIALISING && fe == FE_GONE && !online)
		return GO_CLOSED; /* its domain ended before we looked: nobody will come */
	if (v->state == XB_INIT_WAIT && a == GO_CONNECTED && now_ms < v->connect_at_ms)
		return STAY;
	if (v->state == XB_CLOSED && a == GO_INIT_WAIT && !(online && may_reopen(v, now_ms)))
		return STAY; /* it is being removed, or has to wait */
	if (v->state == XB_CLOSED && a == GO_CLOSING && v->fe_seen == FE_CLOSING)
		return STAY; /* answered already */
	if (a == AWAIT_CLOSE && (v->broken || now_ms >= v->close_by_ms))
		return GO_CLOSED;
	return a;
}

static int act(struct vif *v, enum action a, enum fe_class fe, uint64_t now_ms)
{
	int ret = 0;

	switch (a) {
	case GO_INIT_WAIT:
		v->reopens += v->state == XB_CLOSED;
		ret = write_offers(v);
		if (!ret)
			ret = set_state(v, XB_INIT_WAIT);
		if (!ret) {
			/* X6.1: a frontend that is ahead of us must not hide 2 */
			v->connect_at_ms = fe == FE_CONNECTED ? now_ms + VIF_VISIBLE_MS : 0;
			v->broken = false; /* the frontend starts again */
			v->tries = 0;
			v->port.reason = "waiting for the frontend";
		}
		return ret;
	case GO_CONNECTED:
		if (v->connected)
			return set_state(v, XB_CONNECTED); /* 8 -> 4 */
		ret = vif_connect(v);
		if (ret == -EPROTO)
			break; /* not usable: close */
		return ret ? ret : go_live(v);
	case GO_RECONFIGURED:
		return set_state(v, XB_RECONFIGURED);
	case GO_CLOSED:
		return set_state(v, XB_CLOSED);
	case GO_CLOSING:
		break;
	case STAY:
	case AWAIT_CLOSE:
		return 0;
	}
	if (v->connected) {
		if (!v->broken)
			v->port.reason = "closed by the frontend";
		vif_disconnect(v);
	}
	v->close_by_ms = now_ms + VIF_CLOSE_WAIT_MS;
	return set_state(v, XB_CLOSING);
}

/* Somebody else wrote our state, or this is the first look at it. */
static void adopt(struct vif *v, uint32_t state, uint64_t now_ms)
{
	v->stored = state;
	if (state >= sizeof(machine) / sizeof(machine[0]) || state == XB_UNKNOWN ||
	    state == XB_INITIALISED || state == XB_RECONFIGURING)
		state = XB_CLOSING; /* no state of a backend: close and begin again */
	if (state == XB_CLOSING) {
		v->port.reason = "closed by the toolstack";
		v->close_by_ms = now_ms + VIF_CLOSE_WAIT_MS;
	}
	if (v->connected && state != XB_CONNECTED && state != XB_RECONFIGURED)
		vif_disconnect(v);
	v->state = (enum xenbus_state)state;
	v->port.xenbus_state = (uint8_t)state;
}

/* Our directory is not there any more: nothing to say to anybody. */
static uint64_t vanished(struct vif *v)
{
	v->port.reason = "removed by the toolstack";
	vif_disconnect(v);
	v->gone = true;
	return UINT64_MAX;
}

/* Another device stands in our directory: netback.c looks at it anew. */
static uint64_t replaced(struct vif *v)
{
	v->replaced = true;
	return vanished(v);
}

/* State 6: our directory goes when the toolstack is done with it. */
static uint64_t closed(struct vif *v, enum fe_class fe, bool online, uint64_t now_ms)
{
	struct xen *x = v->env->xen;
	int ret;

	if (online) {
		/* a guest's own close keeps it: 6 -> 2 may follow */
		v->remove_at_ms = 0;
		if (fe != FE_GONE) {
			v->orphan_at_ms = 0;
			return fe == FE_INIT ? v->window_end_ms : UINT64_MAX;
		}
		if (v->orphan_at_ms == 0)
			v->orphan_at_ms = now_ms + VIF_ORPHAN_MS;
		v->gone = now_ms >= v->orphan_at_ms;
		return v->orphan_at_ms;
	}
	if (v->remove_at_ms == 0)
		v->remove_at_ms = now_ms + VIF_REMOVE_MS;
	if (now_ms < v->remove_at_ms)
		return v->remove_at_ms;
	ret = x->ops->store_rm(x, 0, v->be);
	if (ret && ret != -ENOENT) {
		/* again: libxl waits 10 s for it. EACCES: not ours to remove, the
		 * toolstack will */
		v->remove_at_ms = now_ms + VIF_REMOVE_MS;
		return v->remove_at_ms;
	}
	v->port.reason = "removed";
	v->gone = true;
	return UINT64_MAX;
}

static uint64_t idle_deadline(const struct vif *v, enum fe_class fe)
{
	if (v->state == XB_CLOSING)
		return v->close_by_ms;
	if (v->state == XB_INIT_WAIT && fe == FE_CONNECTED)
		return v->connect_at_ms;
	return UINT64_MAX;
}

uint64_t vif_step(struct port *port, uint64_t now_ms)
{
	struct vif *v = vif_of(port);

	if (v->gone)
		return UINT64_MAX;
	for (int i = 0; i < VIF_STEPS_MAX; i++) {
		enum action a;
		enum fe_class fe;
		bool online;
		uint32_t state;
		int ret = read_own(v, 0, &state);

		if (ret == -ENOENT)
			return vanished(v);
		if (ret)
			return now_ms + VIF_RETRY_MS;
		if (v->known && state == XB_INITIALISING && v->stored != XB_INITIALISING)
			return replaced(v);
		if (!v->known && !become_known(v, state))
			return v->gone ? UINT64_MAX : now_ms + VIF_LOOK_MS;
		if (state != v->stored)
			adopt(v, state, now_ms);
		if (read_online(v, &online) || fe_state(v, &fe))
			return now_ms + VIF_RETRY_MS;
		a = decide(v, fe, online, now_ms);
		v->fe_seen = fe;
		if (a == STAY || a == AWAIT_CLOSE)
			return v->state == XB_CLOSED ? closed(v, fe, online, now_ms)
						     : idle_deadline(v, fe);
		ret = act(v, a, fe, now_ms);
		if (ret == -ENOENT)
			return vanished(v);
		if (ret && ret != -ESTALE)
			return now_ms + VIF_RETRY_MS;
	}
	return now_ms + VIF_RETRY_MS; /* somebody fights over the nodes: pause */
}
