// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Anything that dom0, or a local daemon, may send.
 *
 * The first byte chooses the way in (vchan, socket); the rest is a program of
 * steps: raw bytes in pieces, well-formed messages of any type, our own writes,
 * losses, time. Beyond memory errors this looks for
 *  - a client that does not come to rest (a busy loop, a hang),
 *  - a client that sends what dom0's daemon would die of,
 *  - memory beyond the bounds.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "qubesdb/source.h"
#include "tests/fake/vchan.h"
#include "tests/fuzz/input.h"
#include "tests/xen/qdb.h"

struct world {
	struct qubesdb *db;
	struct fake_vchan v;
	int fd; /* the daemon's end of the socket, -1 */
	uint64_t now, deadline;
	struct qdb_msg out; /* of the client, being taken in */
	size_t out_len;
	bool vchan;
	unsigned long sum; /* so that nobody optimises the reads away */
};

static const char *const paths[] = {
	"",
	"/",
	"/a",
	"/qubes-ip",
	"/qubes-firewall/",
	"/qubes-firewall/10.137.0.1",
	"/qubes-firewall/10.137.0.1/",
	"/qubes-firewall/10.137.0.1/policy",
	"/qubes-firewall/10.137.0.1/0000",
	"/qubes-firewall/10.137.0.10",
	"/qubes-firewall/10.137.0.10/0000",
	"/qubes-firewall/fd09::1",
	"/own/",
	"/own/1",
	"/own/2",
	"-",
};
#define PATHS (sizeof(paths) / sizeof(paths[0]))

static void on_commit(void *arg, const char *source, const struct qubesdb_pair *pairs, size_t n)
{
	struct world *w = arg;

	w->sum += strlen(source);
	for (size_t i = 0; i < n; i++) {
		w->sum += strlen(pairs[i].key);
		for (size_t k = 0; k <= pairs[i].value_len; k++)
			w->sum += (uint8_t)pairs[i].value[k];
	}
	(void)qubesdb_write(w->db, "/own/1", "1", 1);
}

static void on_text(void *arg, const char *text)
{
	struct world *w = arg;

	w->sum += text ? strlen(text) : 0;
}

static void on_log(void *arg, int level, const char *text)
{
	(void)level;
	on_text(arg, text);
}

static const struct qubesdb_events events = {
	.commit = on_commit,
	.gone = on_text,
	.changed = on_text,
	.lost = on_text,
	.log = on_log,
};

static void pump(struct world *w)
{
	for (int i = 0; i < 4000; i++) {
		struct pollfd p = { .fd = qubesdb_fd(w->db), .events = POLLIN };

		if (qubesdb_want_write(w->db))
			p.events |= POLLOUT;
		if (w->deadline > w->now && (p.fd < 0 || poll(&p, 1, 0) <= 0))
			return;
		w->deadline = qubesdb_process(w->db, w->now);
	}
	abort(); /* it does not come to rest */
}

static size_t client_bytes(struct world *w, void *buf, size_t len)
{
	ssize_t n;

	if (w->vchan)
		return fake_vchan_recv(&w->v, buf, len);
	n = w->fd < 0 ? 0 : recv(w->fd, buf, len, MSG_DONTWAIT);
	return n > 0 ? (size_t)n : 0;
}

/* Take in what the client sent and look at it as dom0's daemon would. */
static void check_client(struct world *w)
{
	static const char zero[64];

	for (;;) {
		const struct qdb_hdr *h = &w->out.h;
		size_t need = sizeof(*h), n;

		if (w->out_len >= sizeof(*h))
			need += h->data_len;
		if (w->out_len < need) {
			n = client_bytes(w, (char *)&w->out + w->out_len, need - w->out_len);
			if (!n)
				return;
			w->out_len += n;
			if (w->out_len != sizeof(*h))
				continue;
			n = strnlen(h->path, QDB_PATH);
			if (n == QDB_PATH || memcmp(h->path + n, zero, QDB_PATH - n) != 0 ||
			    !qdb_path_chars(h->path) || h->data_len > QDB_VALUE)
				abort();
			if (w->vchan && h->type != QDB_WRITE && h->type != QDB_MULTIREAD &&
			    h->type != QDB_RM && h->type != QDB_OK)
				abort();
			if (h->type == QDB_WRITE && !qdb_path_key(h->path))
				abort();
			if (h->type != QDB_WRITE && h->data_len)
				abort();
			continue;
		}
		w->out_len = 0;
	}
}

static void to_client(struct world *w, const void *buf, size_t len)
{
	if (w->vchan)
		(void)fake_vchan_send(&w->v, buf, len);
	else if (w->fd >= 0 && send(w->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;
}

static void step_message(struct world *w, struct input *in)
{
	unsigned type = next(in) % 16;
	const char *path = paths[next(in) % PATHS];
	size_t len = next(in);
	struct qdb_msg m;

	if (len > 250)
		len = 3071;
	qdb_fill(&m.h, type, path, len);
	for (size_t i = 0; i < len; i++)
		m.data[i] = (char)next(in);
	to_client(w, &m, sizeof(m.h) + len);
}

static void step_raw(struct world *w, struct input *in)
{
	size_t len = next(in);

	if (len > in->n)
		len = in->n;
	to_client(w, in->p, len);
	in->p += len;
	in->n -= len;
}

static void step_loss(struct world *w, unsigned how)
{
	w->out_len = 0;
	if (!w->vchan) {
		if (w->fd >= 0)
			close(w->fd);
		w->fd = -1;
	} else if (how & 1) {
		fake_vchan_close(&w->v);
	} else if (how & 2) {
		w->v.to_us.prod += how;
	} else {
		fake_vchan_close(&w->v);
		fake_vchan_announce(&w->v);
	}
}

static void step(struct world *w, struct input *in)
{
	const char *path;

	switch (next(in) % 8) {
	case 0:
		step_raw(w, in);
		break;
	case 1:
	case 2:
		step_message(w, in);
		break;
	case 3:
		path = paths[next(in) % PATHS];
		(void)qubesdb_write(w->db, path, path, strlen(path));
		break;
	case 4:
		(void)qubesdb_rm(w->db, paths[next(in) % PATHS]);
		break;
	case 5:
		step_loss(w, next(in));
		break;
	case 6:
		check_client(w);
		break;
	case 7:
		w->now += 16u * next(in);
		w->v.read_max = next(in);
		if (w->vchan && !w->v.dom0_open)
			fake_vchan_announce(&w->v);
		break;
	}
	pump(w);
}

static int local_connect(void *arg)
{
	struct world *w = arg;
	int fd[2];

	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
	w->out_len = 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) < 0)
		return -errno;
	w->fd = fd[1];
	return fd[0];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;
	struct input in = { data, size };
	struct qdb_local_peer peer = { .connect = local_connect, .arg = &w };

	memset(&w, 0, sizeof(w));
	w.fd = -1;
	w.vchan = (next(&in) & 1) == 0;
	if (qdb_base_new(&w.db, &events, &w) < 0)
		return 0;
	if (w.vchan) {
		fake_vchan_init(&w.v);
		fake_vchan_announce(&w.v);
		if (qdb_client_new(w.db, &fake_vchan_ops, &w.v) < 0)
			abort();
	} else if (qdb_local_new(w.db, &peer) < 0) {
		abort();
	}
	pump(&w);
	while (in.n)
		step(&w, &in);
	check_client(&w);
	if (qdb_store_bytes(w.db->view) > QDB_STORE_BYTES_MAX)
		abort();
	qubesdb_free(&w.db);
	if (w.vchan)
		fake_vchan_end(&w.v);
	if (w.fd >= 0)
		close(w.fd);
	return 0;
}
