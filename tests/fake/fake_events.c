// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Event channels with the semantics of /dev/xen/evtchn: a port that fired is
 * delivered once and stays masked until it is unmasked; what arrives meanwhile
 * is remembered as one pending bit.
 */
#include "tests/fake/fake_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

int fake_events_init(struct fake *f)
{
	f->port = calloc(FAKE_PORTS, sizeof(*f->port));
	f->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	f->next_remote = 1;
	return f->port && f->event_fd >= 0 ? 0 : -ENOMEM;
}

void fake_events_free(struct fake *f)
{
	if (f->event_fd > 0)
		close(f->event_fd);
	free(f->port);
}

/* Our port 0 is never used: find a free index. */
static uint32_t port_slot(struct fake *f)
{
	for (uint32_t i = 1; i < FAKE_PORTS; i++)
		if (!f->port[i].used && !f->port[i].remote_used) {
			if (f->ports_top <= i)
				f->ports_top = i + 1;
			return i;
		}
	abort();
}

static struct fake_port *port_of(struct fake *f, uint16_t domid, uint32_t remote)
{
	for (uint32_t i = 1; i < f->ports_top; i++)
		if (f->port[i].remote_used && f->port[i].domid == domid &&
		    f->port[i].remote == remote)
			return &f->port[i];
	return NULL;
}

static void port_fire(struct fake *f, struct fake_port *p)
{
	p->pending = true;
	if (p->masked || p->queued)
		return;
	p->pending = false;
	p->queued = true;
	f->queue[f->queued++] = (uint32_t)(p - f->port);
	fake_signal(f->event_fd);
}

static void port_unqueue(struct fake *f, uint32_t port)
{
	size_t n = 0;

	for (size_t i = 0; i < f->queued; i++)
		if (f->queue[i] != port)
			f->queue[n++] = f->queue[i];
	f->queued = n;
	if (n == 0)
		fake_unsignal(f->event_fd);
}

uint32_t fake_port_new(struct fake *f, uint16_t domid)
{
	struct fake_port *p = &f->port[port_slot(f)];

	*p = (struct fake_port){.remote_used = true, .domid = domid, .remote = f->next_remote++};
	return p->remote;
}

uint32_t fake_port_bind(struct fake *f, uint16_t domid, uint32_t our_port)
{
	struct fake_port *p;

	if (our_port == 0 || our_port >= FAKE_PORTS)
		return 0;
	p = &f->port[our_port];
	if (!p->used || p->remote_used || p->domid != domid)
		return 0;
	p->remote_used = true;
	p->bound = true;
	p->remote = f->next_remote++;
	p->taken = 1; /* the hypervisor fires once on binding */
	return p->remote;
}

void fake_port_close(struct fake *f, uint16_t domid, uint32_t port)
{
	struct fake_port *p = port_of(f, domid, port);

	if (!p)
		return;
	p->remote_used = false;
	p->bound = false;
}

void fake_ports_of_end(struct fake *f, uint16_t domid)
{
	for (uint32_t i = 1; i < f->ports_top; i++)
		if (f->port[i].domid == domid) {
			f->port[i].remote_used = false;
			f->port[i].bound = false;
		}
}

bool fake_port_send(struct fake *f, uint16_t domid, uint32_t port)
{
	struct fake_port *p = port_of(f, domid, port);

	if (!p || !p->used || !p->bound)
		return false;
	port_fire(f, p);
	return true;
}

unsigned int fake_port_taken(struct fake *f, uint16_t domid, uint32_t port)
{
	struct fake_port *p = port_of(f, domid, port);
	unsigned int n = p ? p->taken : 0;

	if (p)
		p->taken = 0;
	return n;
}

bool fake_port_bound(struct fake *f, uint16_t domid, uint32_t port)
{
	struct fake_port *p = port_of(f, domid, port);

	return p && p->used && p->bound;
}

int fake_op_bind_interdomain(struct xen *x, uint16_t domid, uint32_t remote, uint32_t *port)
{
	struct fake *f = (struct fake *)x;
	struct fake_port *p;
	int ret = fake_enter(f, FAKE_BIND);

	if (ret)
		return ret;
	p = port_of(f, domid, remote);
	if (!p || p->used)
		return -EINVAL;
	p->used = true;
	p->bound = true;
	*port = (uint32_t)(p - f->port);
	port_fire(f, p); /* so does the hypervisor */
	return 0;
}

int fake_op_bind_unbound(struct xen *x, uint16_t domid, uint32_t *port)
{
	struct fake *f = (struct fake *)x;
	uint32_t i;
	int ret = fake_enter(f, FAKE_BIND);

	if (ret)
		return ret;
	i = port_slot(f);
	f->port[i] = (struct fake_port){.used = true, .domid = domid};
	*port = i;
	return 0;
}

void fake_op_unbind(struct xen *x, uint32_t port)
{
	struct fake *f = (struct fake *)x;

	if (port >= FAKE_PORTS || !f->port[port].used)
		abort(); /* unbound twice, or never ours */
	port_unqueue(f, port);
	f->port[port].used = false;
	f->port[port].bound = false;
	f->port[port].queued = f->port[port].masked = f->port[port].pending = false;
}

void fake_op_notify(struct xen *x, uint32_t port)
{
	struct fake *f = (struct fake *)x;

	if (port >= FAKE_PORTS || !f->port[port].used)
		abort();
	if (fake_enter(f, FAKE_NOTIFY))
		return;
	if (f->port[port].bound)
		f->port[port].taken++;
}

int fake_op_pending(struct xen *x, uint32_t *port)
{
	struct fake *f = (struct fake *)x;
	struct fake_port *p;

	if (f->queued == 0)
		return -EAGAIN;
	p = &f->port[f->queue[0]];
	*port = f->queue[0];
	for (size_t i = 1; i < f->queued; i++)
		f->queue[i - 1] = f->queue[i];
	if (--f->queued == 0)
		fake_unsignal(f->event_fd);
	p->queued = false;
	p->masked = true;
	return 0;
}

void fake_op_unmask(struct xen *x, uint32_t port)
{
	struct fake *f = (struct fake *)x;

	if (port >= FAKE_PORTS || !f->port[port].used)
		abort();
	f->port[port].masked = false;
	if (f->port[port].pending)
		port_fire(f, &f->port[port]);
}

int fake_op_event_fd(struct xen *x)
{
	return ((struct fake *)x)->event_fd;
}
