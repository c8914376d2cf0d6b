// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Which Xen devices there are, and who is to look at what.
 *
 * Two xenstore directories hold them: backend/vif/<domid>/<devid> (a client's
 * vif, we are the backend) and device/vif/<devid> (an uplink, we are the
 * frontend). Both are watched as a whole, and each device has a watch or two of
 * its own on the other side's directory, with its name as token. A watch event
 * does no more than set a flag: "enumerate again" or "this device: look again",
 * so a flood of them costs a comparison each and no memory
 * (hp_349_watch_flood), and its order and number mean nothing.
 *
 * netback_poll_store() then enumerates if it has to, steps the devices that are
 * flagged or whose time has come, and frees those that are gone: the only place
 * where ports appear, change their link or disappear, between two turns of the
 * loop (hp_424_free_in_iteration).
 *
 * Each request to xenstore waits for dom0's answer, and packets wait with us. So what
 * one call does is bounded, and what a peer can make us do: STEPS_MAX devices are
 * stepped in a call, the others in the next one, after packets had their turn; and a
 * device is stepped STEP_BURST times in a second, however often its peer writes its
 * state. A step is 3 reads when nothing is to be done; a whole connect is about 40
 * requests, of which a vif gets VIF_REOPENS a minute.
 *
 * Nobody else serves these directories: the kernel's drivers are not there, and xl devd
 * does not run (X6.10). The two vifs of an HVM guest and its stub domain are two devices
 * that know nothing of each other (X6.4, hp_stubdom_pair).
 *
 * Event channels are found by number in a small hash table. A channel that is not
 * in it is one that was unbound while its event was on the way: ignored
 * (hp_332_event_storm).
 */
#include "netback/device.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#define UPLINK_MAX	 8
#define DEVICE_MAX	 (NETBACK_VIF_MAX + UPLINK_MAX)
#define EVTCHN_SLOTS	 1024 /* a power of two; 272 are used at most */
#define STORE_EVENTS_MAX 4096 /* drained in one call: the loop has other work too */
#define EVENTS_MAX	 1024
#define SCAN_RETRY_MS	 100 /* after a list that xenstore refused */
#define STEPS_MAX	 16  /* devices stepped in one call */
#define STEP_BURST	 32  /* of one device, in STEP_WINDOW_MS */
#define STEP_WINDOW_MS	 1000

struct device {
	struct port *port; /* NULL: free */
	bool dirty;
	bool added;	    /* the owner knows it */
	unsigned int steps; /* in the window */
	uint64_t window_end_ms;
	uint64_t deadline_ms;
};

struct evtchn_slot {
	uint32_t evtchn;
	bool fired;
	struct port *port; /* NULL: free */
};

struct netback {
	struct device_env env; /* first: a device's env is its netback */
	struct netback_config user;
	struct device device[DEVICE_MAX];
	struct evtchn_slot evtchn[EVTCHN_SLOTS];
	unsigned int evtchns;
	uint32_t generation;
	bool scan_vifs, scan_uplinks, full;
	bool moved;
	unsigned int next_step; /* where the last call stopped */
	uint64_t deadline_ms;
};

static struct netback *netback_of(struct device_env *env)
{
	return (struct netback *)env;
}

/* --- event channels --------------------------------------------------------------- */
static unsigned int evtchn_home(uint32_t evtchn)
{
	return (evtchn * 2654435761u) >> 22; /* Knuth; 10 bits */
}

static_assert(EVTCHN_SLOTS == 1 << 10, "evtchn_home() gives 10 bits");

static struct evtchn_slot *evtchn_find(struct netback *nb, uint32_t evtchn)
{
	for (unsigned int i = evtchn_home(evtchn);; i = (i + 1) % EVTCHN_SLOTS) {
		if (!nb->evtchn[i].port)
			return NULL;
		if (nb->evtchn[i].evtchn == evtchn)
			return &nb->evtchn[i];
	}
}

static void evtchn_insert(struct netback *nb, struct evtchn_slot slot)
{
	unsigned int i = evtchn_home(slot.evtchn);

	while (nb->evtchn[i].port)
		i = (i + 1) % EVTCHN_SLOTS;
	nb->evtchn[i] = slot;
}

int device_evtchn_set(struct device_env *env, uint32_t evtchn, struct port *port)
{
	struct netback *nb = netback_of(env);

	if (nb->evtchns >= EVTCHN_SLOTS / 2)
		return -ENOSPC;
	if (evtchn_find(nb, evtchn))
		return -EEXIST;
	evtchn_insert(nb, (struct evtchn_slot){.evtchn = evtchn, .port = port});
	nb->evtchns++;
	return 0;
}

void device_evtchn_clear(struct device_env *env, uint32_t evtchn)
{
	struct netback *nb = netback_of(env);
	struct evtchn_slot *s = evtchn_find(nb, evtchn);
	unsigned int i;

	if (!s)
		return;
	*s = (struct evtchn_slot){0};
	nb->evtchns--;
	/* the entries behind it, up to a gap, may now belong further ahead */
	i = (unsigned int)(s - nb->evtchn);
	for (;;) {
		struct evtchn_slot move;

		i = (i + 1) % EVTCHN_SLOTS;
		if (!nb->evtchn[i].port)
			return;
		move = nb->evtchn[i];
		nb->evtchn[i] = (struct evtchn_slot){0};
		evtchn_insert(nb, move);
	}
}

void device_evtchn_unmask(struct device_env *env, uint32_t evtchn)
{
	struct evtchn_slot *s = evtchn_find(netback_of(env), evtchn);

	if (!s || !s->fired)
		return;
	s->fired = false;
	env->xen->ops->unmask(env->xen, evtchn);
}

void netback_poll_events(struct netback *nb)
{
	struct xen *x = nb->env.xen;
	uint32_t evtchn;

	/* one entry a channel at most: the kernel masks what it reports */
	for (int i = 0; i < EVENTS_MAX && x->ops->pending(x, &evtchn) == 0; i++) {
		struct evtchn_slot *s = evtchn_find(nb, evtchn);

		if (!s)
			continue;
		s->fired = true;
		s->port->ready = true;
	}
}

int netback_event_fd(const struct netback *nb)
{
	return nb->env.xen->ops->event_fd(nb->env.xen);
}

int netback_store_fd(const struct netback *nb)
{
	return nb->env.xen->ops->store_fd(nb->env.xen);
}

/* --- devices --------------------------------------------------------------------------- */
static struct device *device_of(struct netback *nb, const struct port *port)
{
	for (size_t i = 0; i < DEVICE_MAX; i++)
		if (nb->device[i].port == port)
			return &nb->device[i];
	return NULL;
}

static struct device *device_find(struct netback *nb, enum port_kind kind, uint32_t domid,
				  uint32_t devid)
{
	for (size_t i = 0; i < DEVICE_MAX; i++) {
		const struct port *p = nb->device[i].port;

		if (p && p->kind == kind && p->devid == devid &&
		    (kind == PORT_UPLINK || p->domid == domid))
			return &nb->device[i];
	}
	return NULL;
}

void device_wants_step(struct device_env *env, struct port *port)
{
	struct netback *nb = netback_of(env);
	struct device *d = device_of(nb, port);

	if (d)
		d->dirty = true;
	nb->deadline_ms = 0;
}

uint32_t device_generation(struct device_env *env)
{
	return ++netback_of(env)->generation;
}

/* What devices report goes to the owner through here: it is told of a device
 * before anything else, and of its end only when it knew it. */
static void on_event(void *arg, struct port *port, enum port_event event)
{
	struct netback *nb = arg;
	struct device *d = device_of(nb, port);

	if (!d || (event == PORT_EVENT_REMOVED && !d->added) ||
	    (event == PORT_EVENT_ADDED && d->added))
		return;
	if (!d->added) {
		if (event == PORT_EVENT_LINK_DOWN)
			return;
		d->added = true;
		if (event != PORT_EVENT_ADDED)
			nb->user.event(nb->user.arg, port, PORT_EVENT_ADDED);
	}
	nb->user.event(nb->user.arg, port, event);
}

static void on_log(void *arg, int level, const char *text)
{
	struct netback *nb = arg;

	if (nb->user.log)
		nb->user.log(nb->user.arg, level, text);
}

static void device_remove(struct netback *nb, struct device *d)
{
	struct port *port = d->port;

	on_event(nb, port, PORT_EVENT_REMOVED);
	*d = (struct device){0};
	port->ops->free(port);
	nb->full = false;
}

/* At our own end: the device lets go of the peer in its free(), but the owner must
 * let go of the port before that. */
static void device_close(struct netback *nb, struct device *d)
{
	if (d->port->link) {
		d->port->link = false;
		on_event(nb, d->port, PORT_EVENT_LINK_DOWN);
	}
	device_remove(nb, d);
}

static struct device *device_free_slot(struct netback *nb, enum port_kind kind)
{
	unsigned int used = 0, max = kind == PORT_VIF ? NETBACK_VIF_MAX : UPLINK_MAX;
	struct device *slot = NULL;

	for (size_t i = 0; i < DEVICE_MAX; i++) {
		if (!nb->device[i].port)
			slot = &nb->device[i];
		else
			used += nb->device[i].port->kind == kind;
	}
	return used < max ? slot : NULL;
}

static void device_new(struct netback *nb, enum port_kind kind, uint16_t domid, uint16_t devid)
{
	struct device *d = device_free_slot(nb, kind);
	uint32_t generation;
	struct port *port;
	char text[96];
	int ret;

	if (!d) {
		if (!nb->full) {
			snprintf(text, sizeof(text), "vif%u.%u: refused, there are %d vifs already",
				 domid, devid, NETBACK_VIF_MAX);
			on_log(nb, LOG_WARNING, text);
		}
		nb->full = true;
		return;
	}
	generation = device_generation(&nb->env);
	ret = kind == PORT_VIF ? vif_new(&port, &nb->env, domid, devid, generation)
			       : uplink_new(&port, &nb->env, devid, generation);
	if (ret) {
		snprintf(text, sizeof(text), "%s%u.%u: refused: %s",
			 kind == PORT_VIF ? "vif" : "uplink", domid, devid, strerror(-ret));
		on_log(nb, LOG_ERR, text);
		return;
	}
	*d = (struct device){.port = port, .dirty = true, .deadline_ms = UINT64_MAX};
}

/* --- enumeration ------------------------------------------------------------------------ */
/* A name in a directory of ours: a small decimal number, else it is not a device. */
static bool parse_id(const char *text, const char **end, uint16_t *id)
{
	uint32_t v = 0;
	size_t n = 0;

	for (; text[n] >= '0' && text[n] <= '9'; n++) {
		if (n == 5)
			return false;
		v = v * 10 + (uint32_t)(text[n] - '0');
	}
	if (n == 0 || v >= UINT16_MAX || (n > 1 && text[0] == '0'))
		return false;
	if (end)
		*end = text + n;
	else if (text[n])
		return false;
	*id = (uint16_t)v;
	return true;
}

struct scan {
	struct netback *nb;
	uint16_t domid;
	bool failed; /* not all was seen */
};

/* A directory that is not there holds no device; other failures say nothing. */
static bool list(struct xen *x, const char *path, void (*fn)(void *arg, const char *name),
		 void *arg)
{
	int ret = x->ops->store_list(x, 0, path, fn, arg);

	return ret == 0 || ret == -ENOENT || ret == -EACCES;
}

static void scan_vif(void *arg, const char *name)
{
	struct scan *s = arg;
	uint16_t devid;

	if (parse_id(name, NULL, &devid) && !device_find(s->nb, PORT_VIF, s->domid, devid))
		device_new(s->nb, PORT_VIF, s->domid, devid);
}

static void scan_domain(void *arg, const char *name)
{
	struct scan *s = arg;
	struct xen *x = s->nb->env.xen;
	char path[48];

	if (!parse_id(name, NULL, &s->domid))
		return;
	snprintf(path, sizeof(path), "backend/vif/%u", s->domid);
	s->failed |= !list(x, path, scan_vif, s);
}

static void scan_uplink(void *arg, const char *name)
{
	struct netback *nb = arg;
	uint16_t devid;

	if (parse_id(name, NULL, &devid) && !device_find(nb, PORT_UPLINK, 0, devid))
		device_new(nb, PORT_UPLINK, 0, devid);
}

/* A restored domain has another id, and its watches fire anew. What it had mapped,
 * bound and shared is gone: all that can be done is to begin again (X7.10). */
static void check_domid(struct netback *nb)
{
	uint32_t domid;

	if (nb->moved || xenbus_read_u32(nb->env.xen, 0, "domid", &domid) ||
	    domid == nb->env.xen->domid)
		return;
	nb->moved = true;
	on_log(nb, LOG_ERR, "the domain has another id: restored or migrated");
}

static void scan(struct netback *nb)
{
	struct xen *x = nb->env.xen;
	struct scan s = {.nb = nb};

	if (nb->scan_vifs || nb->scan_uplinks)
		check_domid(nb);
	if (nb->scan_vifs)
		s.failed = !list(x, "backend/vif", scan_domain, &s) || s.failed;
	nb->scan_vifs = s.failed;
	if (nb->scan_uplinks)
		nb->scan_uplinks = !list(x, "device/vif", scan_uplink, nb);
}

/* --- watch events ------------------------------------------------------------------------- */
#define TOKEN_VIFS    "backend/vif"
#define TOKEN_UPLINKS "device/vif"

static void mark(struct device *d)
{
	d->dirty = true;
}

/* backend/vif/<domid>/<devid>[/...]: that device, or one that we do not know. */
static void on_vif_path(struct netback *nb, const char *path)
{
	const char *p = path + strlen(TOKEN_VIFS);
	uint16_t domid, devid;
	struct device *d;

	if (strncmp(path, TOKEN_VIFS "/", sizeof(TOKEN_VIFS)) == 0 && parse_id(p + 1, &p, &domid) &&
	    *p == '/' && parse_id(p + 1, &p, &devid) && (*p == '\0' || *p == '/')) {
		d = device_find(nb, PORT_VIF, domid, devid);
		if (d) {
			mark(d);
			return;
		}
	}
	nb->scan_vifs = true;
}

static void on_uplink_path(struct netback *nb, const char *path)
{
	const char *p = path + strlen(TOKEN_UPLINKS);
	uint16_t devid;
	struct device *d;

	if (strncmp(path, TOKEN_UPLINKS "/", sizeof(TOKEN_UPLINKS)) == 0 &&
	    parse_id(p + 1, &p, &devid) && (*p == '\0' || *p == '/')) {
		d = device_find(nb, PORT_UPLINK, 0, devid);
		if (d) {
			mark(d);
			return;
		}
	}
	nb->scan_uplinks = true;
}

static void on_watch(struct netback *nb, const char *path, const char *token)
{
	if (strcmp(token, TOKEN_VIFS) == 0) {
		on_vif_path(nb, path);
		return;
	}
	if (strcmp(token, TOKEN_UPLINKS) == 0) {
		on_uplink_path(nb, path);
		return;
	}
	/* a device's own; one that is gone is nobody's (hp_350_connect_churn) */
	for (size_t i = 0; i < DEVICE_MAX; i++)
		if (nb->device[i].port && strcmp(nb->device[i].port->name, token) == 0)
			mark(&nb->device[i]);
}

/* --- stepping ------------------------------------------------------------------------------- */
static void step(struct netback *nb, struct device *d, uint64_t now_ms)
{
	struct port *port = d->port;
	bool vif = port->kind == PORT_VIF;

	d->dirty = false;
	d->steps++;
	d->deadline_ms = vif ? vif_step(port, now_ms) : uplink_step(port, now_ms);
	if (vif ? vif_gone(port) : uplink_gone(port)) {
		nb->scan_vifs |= vif && vif_replaced(port);
		device_remove(nb, d);
	}
}

/* When a device is to be stepped; hp_349_watch_flood: not more often than this. */
static uint64_t due_at(const struct device *d, uint64_t now_ms)
{
	uint64_t at = d->dirty ? now_ms : d->deadline_ms;

	if (d->steps >= STEP_BURST && at < d->window_end_ms)
		at = d->window_end_ms;
	return at;
}

/* Return: when the next device is due. */
static uint64_t step_all(struct netback *nb, uint64_t now_ms)
{
	unsigned int first = nb->next_step, done = 0;
	uint64_t next = UINT64_MAX;

	for (unsigned int i = 0; i < DEVICE_MAX && done < STEPS_MAX; i++) {
		struct device *d = &nb->device[(first + i) % DEVICE_MAX];

		if (!d->port || due_at(d, now_ms) > now_ms)
			continue;
		if (now_ms >= d->window_end_ms) {
			d->window_end_ms = now_ms + STEP_WINDOW_MS;
			d->steps = 0;
		}
		step(nb, d, now_ms);
		done++;
		nb->next_step = (first + i + 1) % DEVICE_MAX;
	}
	/* a callback may have made another device want a step */
	for (size_t i = 0; i < DEVICE_MAX; i++) {
		const struct device *d = &nb->device[i];

		if (d->port && due_at(d, now_ms) < next)
			next = due_at(d, now_ms);
	}
	return next;
}

uint64_t netback_poll_store(struct netback *nb, uint64_t now_ms)
{
	struct xen *x = nb->env.xen;
	char path[XEN_PATH_MAX], token[64];
	uint64_t next;
	int drained;

	for (drained = 0; drained < STORE_EVENTS_MAX; drained++) {
		if (x->ops->store_event(x, path, sizeof(path), token, sizeof(token)))
			break;
		on_watch(nb, path, token);
	}
	scan(nb);
	next = step_all(nb, now_ms);
	if ((nb->scan_vifs || nb->scan_uplinks) && next > now_ms + SCAN_RETRY_MS)
		next = now_ms + SCAN_RETRY_MS;
	if (drained == STORE_EVENTS_MAX)
		next = now_ms;
	nb->deadline_ms = next;
	return next;
}

bool netback_moved(const struct netback *nb)
{
	return nb->moved;
}

uint64_t netback_deadline(const struct netback *nb)
{
	return nb->deadline_ms;
}

/* --- life ----------------------------------------------------------------------- */
int netback_new(struct netback **out, struct xen *xen, const struct netback_config *config)
{
	struct netback *nb = calloc(1, sizeof(*nb));
	int ret;

	if (!nb)
		return -ENOMEM;
	nb->user = *config;
	nb->env.xen = xen;
	nb->env.config = (struct netback_config){.event = on_event, .log = on_log, .arg = nb};
	nb->scan_vifs = nb->scan_uplinks = true;
	ret = xen->ops->store_watch(xen, TOKEN_VIFS, TOKEN_VIFS);
	if (ret) {
		free(nb);
		return ret;
	}
	ret = xen->ops->store_watch(xen, TOKEN_UPLINKS, TOKEN_UPLINKS);
	if (ret) {
		xen->ops->store_unwatch(xen, TOKEN_VIFS, TOKEN_VIFS);
		free(nb);
		return ret;
	}
	*out = nb;
	return 0;
}

void netback_free(struct netback **nbp)
{
	struct netback *nb = *nbp;
	struct xen *x;

	if (!nb)
		return;
	x = nb->env.xen;
	/* clients first: nothing comes in any more while the uplink still stands */
	for (size_t i = 0; i < DEVICE_MAX; i++)
		if (nb->device[i].port && nb->device[i].port->kind == PORT_VIF)
			device_close(nb, &nb->device[i]);
	for (size_t i = 0; i < DEVICE_MAX; i++)
		if (nb->device[i].port)
			device_close(nb, &nb->device[i]);
	x->ops->store_unwatch(x, TOKEN_VIFS, TOKEN_VIFS);
	x->ops->store_unwatch(x, TOKEN_UPLINKS, TOKEN_UPLINKS);
	free(nb);
	*nbp = NULL;
}
