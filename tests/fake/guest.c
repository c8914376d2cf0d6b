/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Scripted guests, and libxl: see guest.h.
 */
#include "tests/fake/guest.h"

#include <stdio.h>

enum { UNKNOWN, INITIALISING, INIT_WAIT, INITIALISED, CONNECTED, CLOSING, CLOSED };

static const struct front_config config_of[GUEST_KINDS] = {
    [GUEST_LINUX] = {.start_index = 0},
    [GUEST_WINDOWS] = {.start_index = 0xffffff00},
    [GUEST_MINIOS] = {.start_index = 0xfffffff0,
		      .single_channel = true,
		      .no_sg = true,
		      .no_gso = true,
		      .no_ipv6_csum = true,
		      .no_rx_notify = true},
};

static bool set(struct guest *g, unsigned int state)
{
	front_set_state(&g->fr, state);
	return true;
}

static void forget_rings(struct guest *g)
{
	if (g->published)
		front_disconnect(&g->fr);
	g->published = false;
}

static bool publish(struct guest *g)
{
	front_connect(&g->fr, &config_of[g->kind]);
	g->published = true;
	g->opens++;
	return true;
}

void guest_boot(struct guest *g, struct fake *f, enum guest_kind kind, uint16_t domid,
		uint16_t devid, const char *ip)
{
	*g = (struct guest){.kind = kind};
	front_plug(&g->fr, f, domid, devid, ip);
}

/* --- Linux ------------------------------------------------------------------------- */
static bool linux_run(struct guest *g, unsigned int be)
{
	unsigned int own = front_state(&g->fr);

	if (be == INIT_WAIT && own == INITIALISING)
		return publish(g);
	if ((be == CLOSING || be == CLOSED) && own != CLOSED && own != INITIALISING) {
		forget_rings(g);
		g->closes++;
		return set(g, CLOSED);
	}
	return false;
}

/* --- Windows ------------------------------------------------------------------------ */
/* The steps of a boot; a close at run time begins at 0, too, and ends at 4. */
static bool windows_run(struct guest *g, unsigned int be)
{
	unsigned int before = g->step;

	switch (g->step) {
	case 0:
		set(g, CLOSING);
		g->step = 1;
		break;
	case 1: /* FrontendClose(): spins */
		if (be == CLOSING || be == CLOSED) {
			forget_rings(g);
			set(g, CLOSED);
			g->step = 2;
		}
		break;
	case 2: /* spins */
		if (be == CLOSED) {
			g->closes++;
			g->step = 3;
		}
		break;
	case 3: /* FrontendPrepare() */
		set(g, INITIALISING);
		g->step = 4;
		break;
	case 4: /* spins */
		if (be == INIT_WAIT) {
			publish(g);
			g->step = 5;
		}
		break;
	case 5:
		if (be == CONNECTED)
			g->step = 6;
		break;
	default: /* up */
		if (be == CLOSING || be == CLOSED)
			g->step = 0;
		break;
	}
	if (g->step != before)
		return true;
	g->spins += g->step < 5;
	return false;
}

/* --- mini-os ------------------------------------------------------------------------- */
/* A stub domain's boot loader opens, closes, and its device model opens again. */
static bool minios_run(struct guest *g, unsigned int be)
{
	unsigned int before = g->step;

	switch (g->step) {
	case 0:
	case 5:
		publish(g); /* whatever the backend is at */
		g->step++;
		break;
	case 1:
		if (be == CONNECTED) {
			set(g, CLOSING); /* shutdown_netfront() */
			g->step = 2;
		}
		break;
	case 2:
	case 8:
		if (be == CLOSING || be == CLOSED) {
			set(g, CLOSED);
			g->step++;
		}
		break;
	case 3:
	case 9:
		if (be == CLOSED) {
			g->closes++;
			set(g, INITIALISING);
			g->step++;
		}
		break;
	case 4:
	case 10:
		if (be != CLOSED && be != CLOSING) {
			forget_rings(g);
			g->step = g->step == 4 ? 5 : 11;
		}
		break;
	case 6:
		if (be == CONNECTED)
			g->step = 7;
		break;
	case 7: /* up */
		if (be == CLOSING || be == CLOSED) {
			set(g, CLOSING);
			g->step = 8;
		}
		break;
	default: /* closed */
		break;
	}
	return g->step != before;
}

bool guest_run(struct guest *g)
{
	unsigned int be = front_be_state(&g->fr);

	if (g->stuck || g->ejected)
		return false;
	if (!fake_store_has(g->fr.f, g->fr.be)) {
		g->ejected = g->kind == GUEST_WINDOWS;
		return false;
	}
	switch (g->kind) {
	case GUEST_WINDOWS:
		return windows_run(g, be);
	case GUEST_MINIOS:
		return minios_run(g, be);
	default:
		return linux_run(g, be);
	}
}

void guest_close(struct guest *g)
{
	switch (g->kind) {
	case GUEST_WINDOWS:
		g->step = 0;
		break;
	case GUEST_MINIOS:
		set(g, CLOSING);
		g->step = 8;
		break;
	default:
		forget_rings(g);
		g->closes++;
		set(g, CLOSED);
		break;
	}
}

void guest_open(struct guest *g)
{
	switch (g->kind) {
	case GUEST_WINDOWS:
		break; /* its close goes over into an open */
	case GUEST_MINIOS:
		g->step = 5;
		break;
	default:
		set(g, INITIALISING); /* the probe of a driver that is loaded again */
		break;
	}
}

bool guest_is_up(const struct guest *g)
{
	return front_state(&g->fr) == CONNECTED && front_be_state(&g->fr) == CONNECTED;
}

void guest_die(struct guest *g)
{
	g->published = false;
	g->stuck = true;
}

/* --- libxl ---------------------------------------------------------------------------- */
static void begin(struct libxl *x, struct fake *f, struct front *fr, uint64_t now_ms)
{
	*x = (struct libxl){.f = f, .fr = fr, .since_ms = now_ms};
}

void libxl_add(struct libxl *x, struct fake *f, struct front *fr, uint64_t now_ms)
{
	begin(x, f, fr, now_ms);
	x->doing = LIBXL_ADD;
}

void libxl_remove(struct libxl *x, struct fake *f, struct front *fr, uint64_t now_ms)
{
	begin(x, f, fr, now_ms);
	front_detach(fr);
	x->doing = LIBXL_CLOSE;
}

static bool fail(struct libxl *x, const char *why)
{
	x->error = why;
	x->doing = LIBXL_IDLE;
	return true;
}

/* libxl__wait_device_connection() and libxl__initiate_device_generic_remove(): what it
 * sees at each watch event, and its two timeouts. */
bool libxl_run(struct libxl *x, uint64_t now_ms)
{
	bool there = fake_store_has(x->f, x->fr->be);
	bool late = now_ms - x->since_ms >= LIBXL_TIMEOUT_MS;
	unsigned int be = front_be_state(x->fr);

	switch (x->doing) {
	case LIBXL_ADD:
		if (!there)
			return fail(x, "wanted state 2 but it was removed");
		if (be == INIT_WAIT)
			break;
		return be > INIT_WAIT ? fail(x, "wanted state 2 but it is past it")
		       : late	      ? fail(x, "wanted state 2, timeout")
				      : false;
	case LIBXL_CLOSE:
		if (!there)
			return fail(x, "wanted state 6 but it was removed");
		if (be != CLOSED)
			return late ? fail(x, "wanted state 6, timeout") : false;
		x->doing = LIBXL_VANISH;
		x->since_ms = now_ms;
		return false;
	case LIBXL_VANISH:
		if (there)
			return late ? fail(x, "the directory does not vanish") : false;
		fake_store_del(x->f, x->fr->fe);
		break;
	case LIBXL_IDLE:
		return true;
	}
	x->doing = LIBXL_IDLE;
	return true;
}
