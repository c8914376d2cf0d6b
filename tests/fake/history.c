/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The actors of a history; the judge is history_model.c.
 */
#include "tests/fake/history_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void history_wrong(struct history *h, const char *fmt, ...)
{
	va_list ap;

	if (h->wrong[0])
		return; /* the first one counts */
	va_start(ap, fmt);
	vsnprintf(h->wrong, sizeof(h->wrong), fmt, ap);
	va_end(ap);
}

static uint8_t next(struct history *h)
{
	if (h->left == 0)
		return 0;
	h->left--;
	return *h->script++;
}

static void said(struct history *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void said(struct history *h, const char *fmt, ...)
{
	va_list ap;

	if (!h->trace)
		return;
	va_start(ap, fmt);
	fprintf(stderr, "%8llu  ", (unsigned long long)h->r.now_ms);
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
}

/* Nodes are numbers mostly, and sometimes what nobody should write. */
static const char *state_text(struct history *h, char text[16])
{
	static const char *const odd[] = {"", "four", "-1", "4 ", "4294967300", "04", "99"};
	uint8_t b = next(h);

	if (b < 0xe0)
		snprintf(text, 16, "%u", b % 10u);
	else
		snprintf(text, 16, "%s", odd[b % (sizeof(odd) / sizeof(odd[0]))]);
	return text;
}

static void node_set(struct history *h, const char *dir, const char *name, const char *value)
{
	char path[192];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	said(h, "%s = \"%s\"", path, value ? value : "(removed)");
	(void)fake_store_as(h->r.f, FAKE_TOOLSTACK, path, value);
}

/* --- clients and their toolstack ------------------------------------------------- */
static void vif_forget(struct history_vif *v)
{
	if (v->published)
		front_disconnect(&v->fr);
	v->published = v->usable = false;
}

static void vif_plug(struct history *h, struct history_vif *v)
{
	said(h, "plug %s", v->fr.be);
	vif_forget(v);
	fake_store_del(h->r.f, v->fr.be);
	fake_store_del(h->r.f, v->fr.fe);
	fake_store_deny(h->r.f, v->home, 0);
	fake_store_deny(h->r.f, v->fr.fe, 0);
	front_plug(&v->fr, h->r.f, v->domid, v->devid, "10.137.0.5");
	v->denied = v->dead = false;
}

static void vif_connect(struct history *h, struct history_vif *v)
{
	struct front_config config = {.rx_post = 2, .start_index = 0xfffffffe};
	uint8_t b = next(h);

	if (v->dead)
		return;
	config.single_channel = b & 1;
	config.no_rx_copy = (b & 0x70) == 0x70;
	said(h, "%s connects", v->fr.fe);
	vif_forget(v);
	node_set(h, v->fr.fe, "multi-queue-num-queues", NULL);
	node_set(h, v->fr.fe, "event-channel", NULL);
	node_set(h, v->fr.fe, "event-channel-tx", NULL);
	node_set(h, v->fr.fe, "event-channel-rx", NULL);
	front_connect(&v->fr, &config);
	v->published = true;
	v->usable = !config.no_rx_copy;
}

static void vif_corrupt(struct history *h, struct history_vif *v)
{
	static const char *const names[] = {"tx-ring-ref", "rx-ring-ref", "multi-queue-num-queues",
					    "request-rx-copy"};
	static const char *const values[] = {"junk", "4294967295", "0", ""};
	uint8_t b = next(h);

	if (v->dead)
		return;
	node_set(h, v->fr.fe, names[b % 4], values[b / 4 % 4]);
	v->usable = false;
}

static void vif_destroy(struct history *h, struct history_vif *v)
{
	said(h, "destroy %u", v->domid);
	fake_domain_destroy(h->r.f, v->domid, next(h) & 1 ? -ENOENT : -EACCES);
	v->dead = true;
	v->published = v->usable = false;
}

static void vif_remove(struct history *h, struct history_vif *v)
{
	switch (next(h) % 4) {
	case 0:
		said(h, "rm %s", v->fr.be);
		fake_store_del(h->r.f, v->fr.be);
		break;
	case 1:
		said(h, "rm %s", v->fr.fe);
		fake_store_del(h->r.f, v->fr.fe);
		v->usable = false;
		break;
	case 2:
		if (fake_store_has(h->r.f, v->fr.be))
			node_set(h, v->fr.be, "mac", next(h) & 1 ? NULL : "00:16:3e");
		break;
	default:
		if (fake_store_has(h->r.f, v->fr.be))
			node_set(h, v->fr.be, "mac", v->fr.mac);
		break;
	}
}

/* What the toolstack does while we are between our look and our write. */
static void intrude(void *arg)
{
	struct history *h = arg;

	fake_on_begin(h->r.f, NULL, NULL);
	if (fake_store_has(h->r.f, h->intruder->fr.be)) {
		said(h, "  meanwhile: detach %s", h->intruder->fr.be);
		front_detach(&h->intruder->fr);
	}
}

static void vif_act(struct history *h, uint8_t op)
{
	uint8_t which = next(h);
	struct history_vif *v = &h->vif[which % HISTORY_VIFS];
	bool there = fake_store_has(h->r.f, v->fr.be);
	char text[16];

	switch (op) {
	case 0:
	case 1:
		if (!v->dead)
			node_set(h, v->fr.fe, "state", state_text(h, text));
		break;
	case 2:
	case 3:
		vif_connect(h, v);
		break;
	case 4:
		vif_forget(v);
		break;
	case 5:
		vif_plug(h, v);
		break;
	case 6:
		if (there) {
			said(h, "detach %s", v->fr.be);
			front_detach(&v->fr);
		}
		break;
	case 7:
		if (there)
			node_set(h, v->fr.be, which & 0x80 ? "online" : "state",
				 which & 0x80 ? (which & 0x40 ? "0" : "1") : state_text(h, text));
		break;
	case 8:
		vif_remove(h, v);
		break;
	case 9:
		v->denied = !v->denied;
		said(h, "%s is %s", v->fr.fe, v->denied ? "denied" : "allowed");
		fake_store_deny(h->r.f, v->fr.fe,
				!v->denied     ? 0
				: which & 0x80 ? -ENOENT
					       : -EACCES);
		node_set(h, v->fr.be, "hotplug-error", ""); /* for a watch event */
		if (!there)
			fake_store_del(h->r.f, v->fr.be);
		break;
	case 10:
		vif_destroy(h, v);
		break;
	case 11:
		vif_corrupt(h, v);
		break;
	default:
		h->intruder = v;
		fake_on_begin(h->r.f, intrude, h);
		break;
	}
}

/* The honest client, a Linux: follows the backend's close, and opens again. */
void history_good(struct history *h)
{
	struct front *fr = &h->good;
	unsigned int be = front_be_state(fr), fe = front_state(fr);

	if ((be == 5 || be == 6) && fe == 4) {
		front_disconnect(fr);
		front_set_state(fr, 6);
	} else if (be == 6 && fe == 6) {
		front_set_state(fr, 1);
	} else if (be == 2 && fe == 1) {
		front_connect(fr, &(struct front_config){.rx_post = 2});
	}
}

/* --- the netvm ---------------------------------------------------------------------- */
static void netvm_plug(struct history *h, uint16_t domid)
{
	said(h, "the netvm is domain %u", domid);
	fake_backend_disconnect(&h->netvm);
	fake_store_deny(h->r.f, h->netvm.be, 0);
	h->netvm_denied = false;
	fake_store_del(h->r.f, h->netvm.be);
	fake_backend_plug(&h->netvm, h->r.f, domid, 0, "00:16:3e:5e:6c:01");
}

static void netvm_act(struct history *h, uint8_t op)
{
	struct fake_backend *b = &h->netvm;
	bool be = fake_store_has(h->r.f, b->be), fe = fake_store_has(h->r.f, b->fe);
	uint8_t arg = next(h);
	char text[16];

	switch (op) {
	case 0:
		if (be)
			node_set(h, b->be, "state", state_text(h, text));
		break;
	case 1:
		said(h, "the netvm offers");
		if (be)
			fake_backend_offer(
			    b, &(struct fake_backend_config){.no_split = arg & 1,
							     .no_sg = arg & 2,
							     .multi_queue = arg & 4,
							     .no_rx_copy = (arg & 0x70) == 0x70});
		break;
	case 2:
		if (b->connected)
			fake_backend_disconnect(b);
		else if (fe && fake_backend_connect(b) == 0)
			said(h, "the netvm connects");
		break;
	case 3:
		netvm_plug(h, (uint16_t)(3 + arg % 3));
		break;
	case 4:
		said(h, "rm %s", arg & 1 ? b->be : b->fe);
		fake_store_del(h->r.f, arg & 1 ? b->be : b->fe);
		break;
	case 5:
		if (be)
			node_set(h, b->be, "online", arg & 1 ? "0" : "1");
		break;
	case 6:
		h->netvm_denied = !h->netvm_denied;
		said(h, "the netvm is %s", h->netvm_denied ? "denied" : "allowed");
		fake_store_deny(h->r.f, b->be, h->netvm_denied ? -EACCES : 0);
		break;
	default:
		if (fe)
			node_set(h, b->fe, "state", state_text(h, text));
		break;
	}
	/* nobody tells us of what a node's permission hides */
	if (fake_store_has(h->r.f, b->fe))
		fake_store_fire(h->r.f, b->fe);
}

/* --- the rest of the world ---------------------------------------------------------- */
static void fail_something(struct history *h)
{
	enum fake_op op = next(h) % FAKE_OP_MAX;
	uint32_t nth = next(h) % 24 + 1u, times = next(h) % 4 + 1u;
	int err = op == FAKE_STORE_END ? -EAGAIN : next(h) & 1 ? -EIO : -ENOSPC;

	said(h, "operation %d fails: call %u, %u times", (int)op, nth, times);
	fake_fail(h->r.f, op, nth, times, err);
}

static void process_act(struct history *h)
{
	uint8_t how = next(h);

	if (how % 4 > 1)
		return;
	/* that netback cannot begin without its two watches is another test's */
	fake_fail(h->r.f, FAKE_STORE_WATCH, 0, 0, 0);
	said(h, how & 1 ? "our process is killed" : "our process ends in order");
	if (how & 1)
		rig_crash(&h->r);
	else
		rig_restart(&h->r);
}

static void act(struct history *h)
{
	uint8_t op = next(h) % 40;

	if (op < 20)
		vif_act(h, op % 13);
	else if (op < 29)
		netvm_act(h, (uint8_t)(op - 20) % 8);
	else if (op < 31)
		fail_something(h);
	else if (op < 34)
		rig_wait(&h->r, (uint64_t)next(h) << (next(h) % 8));
	else if (op < 37)
		rig_poll(&h->r);
	else if (op == 37)
		(void)netback_poll_store(h->r.nb, h->r.now_ms);
	else if (op == 38)
		process_act(h);
	else
		history_settle(h);
}

static void on_event(void *arg, struct port *port, enum port_event event)
{
	struct history *h = arg;

	/* what we share goes away under the netvm's feet */
	if (event == PORT_EVENT_LINK_DOWN && port->kind == PORT_UPLINK)
		fake_backend_disconnect(&h->netvm);
}

static void begin(struct history *h)
{
	rig_start(&h->r);
	h->base = fake_use(h->r.f);
	h->r.on_event = on_event;
	h->r.on_event_arg = h;
	(void)rig_plug(&h->r, &h->good, 9, &(struct front_config){.rx_post = 2});
	for (uint16_t i = 0; i < HISTORY_VIFS; i++) {
		struct history_vif *v = &h->vif[i];

		v->domid = (uint16_t)(10 + i); /* with one address: an HVM and its stub */
		v->devid = i;
		snprintf(v->home, sizeof(v->home), "/local/domain/%u", v->domid);
		front_plug(&v->fr, h->r.f, v->domid, i, "10.137.0.5");
	}
	fake_backend_plug(&h->netvm, h->r.f, 3, 0, "00:16:3e:5e:6c:01");
	fake_on_change(h->r.f, history_change, h);
}

/* The toolstack takes all devices away; nothing of them may be left. */
static void end(struct history *h)
{
	struct fake_use u;

	for (size_t i = 0; i < HISTORY_VIFS; i++) {
		fake_store_del(h->r.f, h->vif[i].fr.be);
		fake_store_del(h->r.f, h->vif[i].fr.fe);
	}
	fake_store_del(h->r.f, h->good.be);
	fake_store_del(h->r.f, h->netvm.fe);
	rig_wait(&h->r, 2000);
	u = fake_use(h->r.f);
	if (u.maps != h->base.maps || u.ports != h->base.ports ||
	    u.shared_pages != h->base.shared_pages || u.watches != h->base.watches ||
	    u.transactions != h->base.transactions)
		history_wrong(h,
			      "left over: %u maps, %u pages, %u ports, %u watches, %u transactions",
			      u.maps, u.shared_pages, u.ports, u.watches, u.transactions);
	for (size_t i = 0; i < RIG_PORTS; i++)
		if (h->r.port[i])
			history_wrong(h, "%s is left over", h->r.port[i]->name);
	rig_end(&h->r);
}

const char *history_run(const uint8_t *script, size_t len, bool trace)
{
	static struct history h;

	memset(&h, 0, sizeof(h));
	h.script = script;
	h.left = len;
	h.trace = trace;
	begin(&h);
	for (int i = 0; i < HISTORY_STEPS && h.left > 0 && !h.wrong[0]; i++) {
		act(&h);
		history_good(&h);
		history_now(&h);
	}
	history_settle(&h);
	end(&h);
	return h.wrong[0] ? h.wrong : NULL;
}
