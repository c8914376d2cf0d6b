/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The reference model of a history: what we may write, and where each device
 * ends, from the nodes alone.
 */
#include "tests/fake/history_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A state as it stands in a node; BAD: none. */
enum { GONE = 0, BAD = 100 };
/* Where a vif ends, besides a state. */
enum { REMOVED = 200, ANY };

static unsigned int number(const char *text)
{
	size_t n = text ? strlen(text) : 0;

	if (!text)
		return GONE;
	if (n == 0 || n > 10 || strspn(text, "0123456789") != n || strtoull(text, NULL, 10) > 99)
		return BAD;
	return (unsigned int)strtoul(text, NULL, 10);
}

static unsigned int node(struct history *h, const char *dir, const char *name)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return number(fake_store_get(h->r.f, path));
}

/* --- single steps ------------------------------------------------------------------- */
/* xen-net.md section 6: 1->2->4; 2,4->5->6; 6->2; 6->5; 1->6; and 4->8, 8->4, 8->5 for
 * a frontend that reconfigures, 4->4 of a successor, 5 or 6 over what is no state of
 * a backend. */
static bool is_legal_back(unsigned int from, unsigned int to)
{
	bool none = from == 0 || from == 3 || from == 7 || from > 8;

	switch (to) {
	case 2:
		return from == 1 || from == 6;
	case 4:
		return from == 2 || from == 8 || from == 4;
	case 5:
		return from == 2 || from == 4 || from == 6 || from == 8 || none;
	case 6:
		return from == 5 || from == 1 || none;
	case 8:
		return from == 4;
	default:
		return false;
	}
}

/* Section 7: 1->4 when the backend is at 2; 4->5->6, or 6 at once when it closed or
 * is gone; 6->1 when it is at 6 or 2. What an earlier process left: to 5, 6, or 1. */
static bool is_legal_front(unsigned int from, unsigned int to, unsigned int backend)
{
	bool none = from == 0 || from == 2 || from == 3 || from > 6;
	bool open = backend == 3 || backend == 4 || (backend > 6 && backend != BAD);

	switch (to) {
	case 1:
		return from != 1 && (backend == 2 || (backend == 6 && from == 6));
	case 4:
		return from == 1 && backend == 2;
	case 5:
		return from == 4 || (open && from != 5 && from != 6) || none;
	case 6:
		return from != 6 && (from != 1 || backend == 5);
	default:
		return false;
	}
}

static void vif_change(struct history *h, const char *be, const char *name, const char *value)
{
	unsigned int own = node(h, be, "state");

	if (!fake_store_has(h->r.f, be)) {
		history_wrong(h, "%s: brought back by a write to %s", be, name);
	} else if (name[0] == '\0') {
		if (value || own != 6 || node(h, be, "online") != 0)
			history_wrong(h, "%s: removed in state %u, online %u", be, own,
				      node(h, be, "online"));
	} else if (strcmp(name, "/state") == 0) {
		if (!value || !is_legal_back(own, number(value)))
			history_wrong(h, "%s: step %u -> %s", be, own, value ? value : "nothing");
	} else if (!value) {
		history_wrong(h, "%s: %s removed", be, name);
	}
	if (h->trace)
		fprintf(stderr, "          we: %s%s = %s\n", be, name, value ? value : "(removed)");
}

static void netvm_change(struct history *h, const char *name, const char *value)
{
	unsigned int own = node(h, h->netvm.fe, "state");
	unsigned int backend = h->netvm_denied ? GONE : node(h, h->netvm.be, "state");

	if (!fake_store_has(h->r.f, h->netvm.fe))
		history_wrong(h, "%s: brought back by a write to %s", h->netvm.fe, name);
	else if (strcmp(name, "/state") == 0 &&
		 (!value || !is_legal_front(own, number(value), backend)))
		history_wrong(h, "uplink: step %u -> %s while the backend is at %u", own,
			      value ? value : "nothing", backend);
	if (h->trace)
		fprintf(stderr, "          we: %s%s = %s\n", h->netvm.fe, name,
			value ? value : "(removed)");
}

static const char *below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(path, dir, n) == 0 && (path[n] == '\0' || path[n] == '/') ? path + n : NULL;
}

void history_change(void *arg, const char *path, const char *value)
{
	struct history *h = arg;
	const char *name;

	for (size_t i = 0; i < HISTORY_VIFS; i++) {
		name = below(path, h->vif[i].fr.be);
		if (name) {
			vif_change(h, h->vif[i].fr.be, name, value);
			return;
		}
	}
	name = below(path, h->good.be);
	if (name) {
		vif_change(h, h->good.be, name, value);
		return;
	}
	name = below(path, h->netvm.fe);
	if (name)
		netvm_change(h, name, value);
	else
		history_wrong(h, "a write to %s", path);
}

/* --- between two steps -------------------------------------------------------------- */
static struct port *vif_port(struct history *h, const struct front *fr)
{
	char name[32];

	snprintf(name, sizeof(name), "vif%u.%u", fr->domid, fr->devid);
	return rig_port(&h->r, name);
}

void history_now(struct history *h)
{
	struct fake_use u = fake_use(h->r.f);
	unsigned int links = 0, ports = 0;

	for (size_t i = 0; i < RIG_PORTS; i++) {
		const struct port *p = h->r.port[i];

		if (!p || !p->link)
			continue;
		ports++;
		links += p->kind == PORT_VIF;
	}
	if (u.maps != 2 * links)
		history_wrong(h, "%u maps for %u links", u.maps, links);
	if (u.shared_pages != (ports > links ? 514 : 0))
		history_wrong(h, "%u pages shared, %u uplinks", u.shared_pages, ports - links);
	if (u.ports < ports || u.ports > 2 * ports)
		history_wrong(h, "%u event channels for %u links", u.ports, ports);
	if (u.transactions)
		history_wrong(h, "a transaction is open");
	if (u.watches > 2 + 2 * (HISTORY_VIFS + 2)) /* hp_326_bounded_xenstore */
		history_wrong(h, "%u watches", u.watches);
}

/* --- at rest ------------------------------------------------------------------------ */
struct vif_view {
	unsigned int own, fe;
	bool there, online, port, link, identified, usable;
	unsigned int rest;
};

/* One step of the table, for a frontend that stays where it is. */
static unsigned int next_back(const struct vif_view *w, unsigned int own, bool *connected)
{
	bool follows = w->fe == 2 || w->fe == 3 || w->fe == 8; /* nothing is to be done */
	bool connect = w->fe == 4 && w->usable;

	switch (own) {
	case 1:
		return w->fe != GONE ? 2 : w->online ? 1 : 6;
	case 2:
		if (w->fe == 1 || w->fe == 7 || follows)
			return 2;
		*connected = connect;
		return connect ? 4 : 5;
	case 4:
		if (*connected)
			return w->fe == 4 || follows ? 4 : w->fe == 7 ? 8 : 5;
		*connected = connect;
		return connect ? 4 : 5;
	case 8:
		if (w->fe == 7 || follows)
			return 8;
		if (*connected && w->fe == 4)
			return 4;
		*connected = connect;
		return connect ? 4 : 5;
	case 5:
		*connected = false;
		return 6;
	case 6:
		return w->fe == 1 && w->online ? 2 : 6;
	default:
		return 5;
	}
}

static unsigned int rest_of(const struct vif_view *w)
{
	bool connected = w->link;
	unsigned int own = w->own;

	if (!w->identified)
		/* not served; of the one that was here before, we may not know yet */
		return w->port ? ANY : w->own;
	for (int i = 0; i < 12; i++)
		own = next_back(w, own, &connected);
	return own == 6 && !w->online ? REMOVED : own;
}

static struct vif_view vif_look(struct history *h, const struct history_vif *v)
{
	struct vif_view w = {0};
	const struct port *port = vif_port(h, &v->fr);
	char path[192];
	const char *mac;

	w.there = fake_store_has(h->r.f, v->fr.be);
	w.own = node(h, v->fr.be, "state");
	w.online = node(h, v->fr.be, "online") == 1;
	w.fe = v->denied || v->dead ? GONE : node(h, v->fr.fe, "state");
	w.port = port != NULL;
	w.link = port && port->link;
	w.usable = v->usable;
	snprintf(path, sizeof(path), "%s/mac", v->fr.be);
	mac = fake_store_get(h->r.f, path);
	w.identified = mac && strcmp(mac, v->fr.mac) == 0;
	if (w.port && w.own != 1)
		w.identified = true; /* when it was looked at */
	w.rest = rest_of(&w);
	/* a directory that nobody has written to since we gave it up */
	if (!w.port && w.own == 6 && w.rest != 6 && w.rest != REMOVED)
		w.rest = ANY;
	return w;
}

static void vif_check(struct history *h, const struct history_vif *v, const struct vif_view *was)
{
	const struct port *port = vif_port(h, &v->fr);
	unsigned int own = node(h, v->fr.be, "state");
	bool there = fake_store_has(h->r.f, v->fr.be);

	if (!was->there || was->rest == REMOVED) {
		if (there || port)
			history_wrong(h, "%s: is there, in state %u", v->fr.be, own);
		return;
	}
	if (!there)
		history_wrong(h, "%s: is gone", v->fr.be);
	if (was->rest != ANY && own != was->rest)
		history_wrong(h,
			      "%s: rests in %u, not in %u (from %u; frontend %u, online %d, "
			      "%susable, %slinked)",
			      v->fr.be, own, was->rest, was->own, was->fe, was->online,
			      was->usable ? "" : "un", was->link ? "" : "un");
	if (port && port->link != (own == 4 || (own == 8 && was->link)))
		history_wrong(h, "%s: link %d in state %u", v->fr.be, port->link, own);
}

struct netvm_view {
	bool there, linked, no_link; /* allowed: with a link, without */
	unsigned int own[2];	     /* allowed states without one */
};

static struct netvm_view netvm_look(struct history *h)
{
	const struct port *port = rig_port(&h->r, "uplink0");
	unsigned int own = node(h, h->netvm.fe, "state");
	unsigned int be = h->netvm_denied ? GONE : node(h, h->netvm.be, "state");
	bool link = port && port->link && own == 4 && port->domid == h->netvm.domid;
	struct netvm_view w = {.there = fake_store_has(h->r.f, h->netvm.fe), .no_link = true};
	bool online = node(h, h->netvm.be, "online") != 0 || !fake_store_has(h->r.f, h->netvm.be);
	bool closed = own == 1 || own == 6; /* to wait in */
	bool copies = node(h, h->netvm.be, "feature-rx-copy") == 1;

	if (be == BAD)
		be = GONE; /* text that is no state says nothing */
	if (be == 3 || be == 4 || be > 6) {
		w.linked = link; /* goes on; else it takes us for connected */
		w.no_link = !link;
		w.own[0] = w.own[1] = 6;
	} else if (be == 2) {
		w.linked = copies || link;
		w.no_link = !copies;
		w.own[0] = w.own[1] = 1;
	} else if (be == 1) {
		w.linked = link; /* unless it had been at 4 */
		w.own[0] = w.own[1] = closed ? own : 6;
	} else if (be == 5) {
		w.own[0] = w.own[1] = 6;
	} else if (be == 6) {
		w.own[0] = w.own[1] = online || own == 1 ? 1 : 6;
	} else {
		w.own[0] = w.own[1] = closed ? own : 6;
	}
	return w;
}

static void netvm_check(struct history *h, const struct netvm_view *was)
{
	const struct port *port = rig_port(&h->r, "uplink0");
	unsigned int own = node(h, h->netvm.fe, "state");
	bool link = port && port->link;

	if (was->there != (port != NULL) || was->there != fake_store_has(h->r.f, h->netvm.fe)) {
		history_wrong(h, "uplink: %s", was->there ? "is gone" : "is there");
		return;
	}
	if (!was->there)
		return;
	if (link ? !was->linked : !was->no_link)
		history_wrong(h, "uplink: rests %s a link: own %u, backend %u",
			      link ? "with" : "without", own, node(h, h->netvm.be, "state"));
	else if (link ? own != 4 : own != was->own[0] && own != was->own[1])
		history_wrong(h, "uplink: rests in %u, backend %u", own,
			      node(h, h->netvm.be, "state"));
}

/* A packet of the honest client to itself: both of its rings work. */
static void good_check(struct history *h)
{
	static uint8_t bytes[300], got[400];
	struct front_packet p = {.data = bytes, .len = sizeof(bytes)};
	struct port *port = vif_port(h, &h->good);

	if (!port || !port->link) {
		history_wrong(h, "the honest client has no link: states %u/%u, %s",
			      front_be_state(&h->good), front_state(&h->good),
			      port ? port->reason : "no port");
		return;
	}
	bytes[0]++;
	if (!front_send(&h->good, &p) || rig_move(&h->r, port, port) != 1 ||
	    front_recv(&h->good, got, sizeof(got), NULL, false) != (long)sizeof(bytes) ||
	    memcmp(got, bytes, sizeof(bytes)) != 0)
		history_wrong(h, "the honest client's packet did not pass");
	front_reap(&h->good);
	if (front_in_flight(&h->good) || h->good.bad)
		history_wrong(h, "the honest client's rings are out of step");
}

void history_settle(struct history *h)
{
	struct vif_view was[HISTORY_VIFS];
	struct netvm_view up;

	fake_on_begin(h->r.f, NULL, NULL);
	for (int op = 0; op < FAKE_OP_MAX; op++)
		fake_fail(h->r.f, (enum fake_op)op, 0, 0, 0);
	for (size_t i = 0; i < HISTORY_VIFS; i++)
		was[i] = vif_look(h, &h->vif[i]);
	up = netvm_look(h);
	if (h->trace)
		fprintf(stderr, "%8llu  settle: %u -> %u, %u -> %u\n",
			(unsigned long long)h->r.now_ms, was[0].own, was[0].rest, was[1].own,
			was[1].rest);
	for (int i = 0; i < 10; i++) {
		rig_wait(&h->r, 1000);
		history_good(h);
	}
	for (size_t i = 0; i < HISTORY_VIFS; i++)
		if (was[i].rest == REMOVED && (was[i].own == 5 || was[i].own == 6) &&
		    fake_store_has(h->r.f, h->vif[i].fr.be))
			history_wrong(h, "%s: not removed within 10 s", h->vif[i].fr.be);
	for (int i = 0; i < 14; i++) { /* the longest pauses are over then */
		rig_wait(&h->r, 10000);
		history_good(h);
	}
	rig_wait(&h->r, 0);
	for (size_t i = 0; i < HISTORY_VIFS; i++)
		vif_check(h, &h->vif[i], &was[i]);
	netvm_check(h, &up);
	history_now(h);
	good_check(h);
}
