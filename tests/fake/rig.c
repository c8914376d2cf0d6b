// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The rig: see rig.h.
 */
#include "tests/fake/rig.h"

#include "firewall/packet.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BURST 64

static void on_event(void *arg, struct port *port, enum port_event event)
{
	struct rig *r = arg;

	if (r->on_event)
		r->on_event(r->on_event_arg, port, event);
	switch (event) {
	case PORT_EVENT_ADDED:
		r->added++;
		for (uint16_t i = 0; i < RIG_PORTS; i++)
			if (!r->port[i]) {
				r->port[i] = port;
				port->id = i;
				return;
			}
		abort();
	case PORT_EVENT_LINK_UP:
		r->up++;
		break;
	case PORT_EVENT_LINK_DOWN:
		r->down++;
		break;
	case PORT_EVENT_REMOVED:
		r->removed++;
		r->port[port->id] = NULL;
		break;
	}
}

static void on_log(void *arg, int level, const char *text)
{
	struct rig *r = arg;

	if (level > 5)
		return;
	r->lines++;
	snprintf(r->last_line, sizeof(r->last_line), "%s", text);
}

void rig_restart(struct rig *r)
{
	struct netback_config config = {.event = on_event, .log = on_log, .arg = r};

	netback_free(&r->nb);
	if (netback_new(&r->nb, fake_xen(r->f), &config))
		abort();
}

/* The kernel gives back what we had; xenstore stays as it was. */
void rig_crash(struct rig *r)
{
	fake_fail(r->f, FAKE_STORE_BEGIN, 1, UINT32_MAX, -EIO);
	fake_fail(r->f, FAKE_STORE_WRITE, 1, UINT32_MAX, -EIO);
	fake_fail(r->f, FAKE_NOTIFY, 1, UINT32_MAX, -EIO);
	netback_free(&r->nb);
	fake_fail(r->f, FAKE_STORE_BEGIN, 0, 0, 0);
	fake_fail(r->f, FAKE_STORE_WRITE, 0, 0, 0);
	fake_fail(r->f, FAKE_NOTIFY, 0, 0, 0);
	rig_restart(r);
}

void rig_start(struct rig *r)
{
	*r = (struct rig){.now_ms = 1000};
	if (fake_new(&r->f, RIG_SELF) || copy_batch_new(&r->batch, fake_xen(r->f)))
		abort();
	rig_restart(r);
	rig_poll(r);
}

void rig_stop(struct rig *r)
{
	netback_free(&r->nb);
	copy_batch_free(&r->batch);
}

void rig_end(struct rig *r)
{
	rig_stop(r);
	fake_free(&r->f);
}

void rig_poll(struct rig *r)
{
	netback_poll_events(r->nb);
	/* what is due at once, and the watches that our own writes fire */
	for (int i = 0; i < 20; i++) {
		r->deadline_ms = netback_poll_store(r->nb, r->now_ms);
		if (r->deadline_ms > r->now_ms && !fake_store_pending(r->f))
			break;
	}
}

void rig_wait(struct rig *r, uint64_t ms)
{
	uint64_t end = r->now_ms + ms;

	rig_poll(r);
	while (r->deadline_ms <= end) {
		r->now_ms = r->deadline_ms > r->now_ms ? r->deadline_ms : r->now_ms + 1;
		rig_poll(r);
	}
	r->now_ms = end;
	rig_poll(r);
}

struct port *rig_port(const struct rig *r, const char *name)
{
	for (size_t i = 0; i < RIG_PORTS; i++)
		if (r->port[i] && strcmp(r->port[i]->name, name) == 0)
			return r->port[i];
	return NULL;
}

/* What becomes of a received frame before it is sent on. */
static void judge(const struct rig *r, struct frame *f)
{
	struct packet p;
	enum drop_reason bad = DROP_L4_HEADER;

	if (r->parse && packet_ethertype(f) == ETHERTYPE_IP4)
		bad = packet_parse_ip4(f, &p, true);
	else if (r->parse && packet_ethertype(f) == ETHERTYPE_IP6)
		bad = packet_parse_ip6(f, &p);
	if (bad == DROP_NONE)
		(void)packet_parse_l4(f, &p);
	if (f->gso != GSO_NONE)
		f->csum = CSUM_PARTIAL;
}

unsigned int rig_move(struct rig *r, struct port *in, struct port *out)
{
	static struct frame pool[BURST];
	struct frame *frames[BURST];
	size_t n;

	for (size_t i = 0; i < BURST; i++)
		frames[i] = &pool[i];
	n = in->ops->rx_burst(in, frames, BURST, r->batch);
	copy_batch_run(r->batch);
	for (size_t i = 0; i < n && out; i++) {
		if (frames[i]->copy_failed)
			continue;
		judge(r, frames[i]);
		(void)out->ops->tx(out, frames[i], r->batch);
	}
	copy_batch_run(r->batch);
	if (out)
		out->ops->tx_flush(out);
	for (size_t i = 0; i < n; i++)
		in->ops->complete(in, frames[i], !frames[i]->copy_failed);
	in->ops->rx_flush(in);
	return (unsigned int)n;
}

struct port *rig_plug(struct rig *r, struct front *fr, uint16_t domid,
		      const struct front_config *config)
{
	char name[32];

	front_plug(fr, r->f, domid, 0, "10.137.0.5");
	rig_poll(r);
	front_connect(fr, config);
	rig_poll(r);
	snprintf(name, sizeof(name), "vif%u.0", domid);
	return rig_port(r, name);
}
