// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/fake/vchan.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static size_t ring_ready(const struct fake_ring *r)
{
	uint32_t n = r->prod - r->cons;

	return n > FAKE_RING ? 0 : n; /* as the library: hostile looks empty */
}

static size_t ring_space(const struct fake_ring *r)
{
	uint32_t n = r->prod - r->cons;

	return n > FAKE_RING ? 0 : FAKE_RING - n;
}

static size_t ring_put(struct fake_ring *r, const uint8_t *buf, size_t len)
{
	size_t n = ring_space(r);

	if (n > len)
		n = len;
	for (size_t i = 0; i < n; i++)
		r->data[(r->prod + i) % FAKE_RING] = buf[i];
	r->prod += (uint32_t)n;
	return n;
}

static size_t ring_get(struct fake_ring *r, uint8_t *buf, size_t len)
{
	size_t n = ring_ready(r);

	if (n > len)
		n = len;
	for (size_t i = 0; i < n; i++)
		buf[i] = r->data[(r->cons + i) % FAKE_RING];
	r->cons += (uint32_t)n;
	return n;
}

static void notify(struct fake_vchan *v)
{
	uint64_t one = 1;

	if (write(v->event, &one, sizeof(one)) < 0)
		return; /* the counter is full: readable anyway */
}

void fake_vchan_init(struct fake_vchan *v)
{
	memset(v, 0, sizeof(*v));
	v->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

void fake_vchan_end(struct fake_vchan *v)
{
	close(v->event);
	v->event = -1;
}

/* A server that was made anew is another page: the old connection stays dead. */
static bool linked(const struct fake_vchan *v)
{
	return v->connected && v->dom0_open && v->client == v->server;
}

void fake_vchan_announce(struct fake_vchan *v)
{
	v->server++;
	memset(&v->to_us, 0, sizeof(v->to_us));
	memset(&v->to_dom0, 0, sizeof(v->to_dom0));
	v->announced = v->dom0_open = true;
	if (!v->connected)
		notify(v);
}

size_t fake_vchan_send(struct fake_vchan *v, const void *buf, size_t len)
{
	size_t n = linked(v) ? ring_put(&v->to_us, buf, len) : 0;

	if (n && v->want_data) {
		v->want_data = false;
		notify(v);
	}
	return n;
}

size_t fake_vchan_recv(struct fake_vchan *v, void *buf, size_t len)
{
	size_t n = linked(v) ? ring_get(&v->to_dom0, buf, len) : 0;

	if (n && v->want_space) {
		v->want_space = false;
		notify(v);
	}
	return n;
}

size_t fake_vchan_peek(const struct fake_vchan *v)
{
	return ring_ready(&v->to_dom0);
}

void fake_vchan_close(struct fake_vchan *v)
{
	v->dom0_open = v->announced = false;
	notify(v);
}

static int op_connect(void *arg)
{
	struct fake_vchan *v = arg;

	if (v->connect_error)
		return v->connect_error;
	if (!v->announced)
		return -EAGAIN;
	v->announced = false; /* Qubes: the keys go with the first connection */
	v->connected = true;
	v->client = v->server;
	v->connects++;
	return 0;
}

static int op_fd(const void *arg)
{
	const struct fake_vchan *v = arg;

	return v->event;
}

static bool op_clear_event(void *arg)
{
	struct fake_vchan *v = arg;
	uint64_t n;

	return read(v->event, &n, sizeof(n)) == (ssize_t)sizeof(n);
}

static int op_read(void *arg, void *buf, size_t len)
{
	struct fake_vchan *v = arg;
	size_t max = v->read_max && v->read_max < len ? v->read_max : len;
	size_t n = v->client == v->server ? ring_get(&v->to_us, buf, max) : 0;

	if (n == 0 && len) {
		if (!linked(v))
			return -EPIPE;
		v->want_data = true;
	}
	return (int)n;
}

static int op_write(void *arg, const void *buf, size_t len)
{
	struct fake_vchan *v = arg;

	return linked(v) ? (int)ring_put(&v->to_dom0, buf, len) : -EPIPE;
}

static int op_data_ready(void *arg)
{
	struct fake_vchan *v = arg;

	v->want_data = true;
	return (int)ring_ready(&v->to_us);
}

static int op_buffer_space(void *arg)
{
	struct fake_vchan *v = arg;

	v->want_space = true;
	return (int)ring_space(&v->to_dom0);
}

static int op_is_open(void *arg)
{
	const struct fake_vchan *v = arg;

	if (v->to_us.prod - v->to_us.cons > FAKE_RING ||
	    v->to_dom0.prod - v->to_dom0.cons > FAKE_RING)
		return -EPROTO;
	return linked(v);
}

static void op_close(void *arg)
{
	struct fake_vchan *v = arg;

	if (v->connected)
		v->closes++;
	v->connected = false;
	v->want_data = v->want_space = false;
}

static void op_free(void *arg)
{
	struct fake_vchan *v = arg;

	op_close(v);
	v->freed = true;
}

const struct qdb_vchan_ops fake_vchan_ops = {
	.connect = op_connect,
	.fd = op_fd,
	.clear_event = op_clear_event,
	.read = op_read,
	.write = op_write,
	.data_ready = op_data_ready,
	.buffer_space = op_buffer_space,
	.is_open = op_is_open,
	.close = op_close,
	.free = op_free,
};
