/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See netvm.h.
 */
#include "tests/fake/netvm.h"

#include <stdio.h>
#include <stdlib.h>

static unsigned int number(struct netvm *n, const char *dir, const char *name)
{
	char path[192];
	const char *value;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	value = fake_store_get(n->b.f, path);
	return value ? (unsigned int)strtoul(value, NULL, 10) : 0;
}

static unsigned int own_state(struct netvm *n)
{
	return number(n, n->b.be, "state");
}

void netvm_start(struct netvm *n, struct fake *f, uint16_t domid, uint16_t devid, const char *mac)
{
	const struct fake_backend_config config = n->config;

	*n = (struct netvm){.config = config, .mac = mac};
	fake_backend_plug(&n->b, f, domid, devid, mac);
}

/* One step of set_backend_state() towards a state; false: it is there, or cannot. */
static bool step_to(struct netvm *n, unsigned int want)
{
	unsigned int own = own_state(n);

	if (own == want)
		return false;
	switch (own) {
	case 6:
		if (want == 5)
			fake_backend_state(&n->b, 5);
		else
			fake_backend_offer(&n->b, &n->config);
		return true;
	case 2:
		if (want != 4) {
			fake_backend_state(&n->b, 5);
			return true;
		}
		if (!n->b.connected && fake_backend_connect(&n->b))
			return false; /* xenbus_dev_fatal() in a real one */
		if (n->script_late)
			return false;
		fake_backend_state(&n->b, 4);
		return true;
	case 4:
		fake_backend_disconnect(&n->b);
		fake_backend_state(&n->b, 5);
		return true;
	case 5:
		fake_backend_disconnect(&n->b);
		fake_backend_state(&n->b, 6);
		return true;
	default:
		return false;
	}
}

bool netvm_run(struct netvm *n)
{
	unsigned int front = fake_backend_front_state(&n->b), own;
	bool moved = false;

	if (n->paused || !fake_store_has(n->b.f, n->b.be))
		return false;
	own = own_state(n);
	if (own == 1) { /* netback_probe() */
		fake_backend_offer(&n->b, &n->config);
		return true;
	}
	switch (front) {
	case 1:
		if (own == 6 && number(n, n->b.be, "online"))
			moved = step_to(n, 2);
		break;
	case 4:
		while (own != 6 && own != 5 && step_to(n, 4))
			moved = true;
		break;
	case 5:
		while (step_to(n, 5))
			moved = true;
		break;
	case 6:
	case 0:
		while (step_to(n, 6))
			moved = true;
		break;
	default:
		break;
	}
	return moved;
}

void netvm_detach(struct netvm *n)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/online", n->b.be);
	fake_store_set(n->b.f, path, "0");
	fake_backend_disconnect(&n->b);
	fake_backend_state(&n->b, 5);
}

void netvm_detached(struct netvm *n)
{
	fake_store_del(n->b.f, n->b.be);
	fake_store_del(n->b.f, n->b.fe);
}

void netvm_reload(struct netvm *n)
{
	fake_backend_disconnect(&n->b);
	fake_backend_state(&n->b, 5);
}

void netvm_die(struct netvm *n, int err)
{
	char path[192];

	fake_domain_destroy(n->b.f, n->b.domid, err);
	n->b.connected = false;
	/* the watch on a node that went with its domain */
	snprintf(path, sizeof(path), "%s/state", n->b.be);
	fake_store_fire(n->b.f, path);
}

bool netvm_is_up(struct netvm *n)
{
	return own_state(n) == 4 && fake_backend_front_state(&n->b) == 4;
}
