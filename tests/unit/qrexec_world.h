/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A qrexec agent, a QubesDB with a strict dom0 behind it, and the other ends of all
 * its vchans in memory. What comes out of a vchan is text, one message a line:
 *
 *	hello 4 / terminated 0 513 / trigger dom0 SERVICE IDENT
 *	stdout 12 / stdout 0 / stderr ringfence: ... / exit 127 / stdin 0
 *
 * The agent is called when one of its descriptors is ready or its deadline has
 * passed, as the loop does it: a lost wakeup stands still and fails.
 */
#ifndef TESTS_UNIT_QREXEC_WORLD_H
#define TESTS_UNIT_QREXEC_WORLD_H

#include <errno.h>

#include "qubesdb/qrexec.h"
#include "qubesdb/qrexec_wire.h"
#include "tests/unit/qubesdb_world.h"

#define PLACES 24
#define CAUGHT (4u << 20)

/* The other end of one vchan. */
struct place {
	struct fake_vchan v;
	int domid, port;
	bool taken, listens;   /* listens: ours is the server */
	uint8_t in[65536 + 8]; /* one message of the agent's */
	size_t in_len;
	char *said; /* the lines */
	size_t said_len;
	char *out; /* what came as STDOUT */
	size_t out_len;
	bool deaf; /* does not read */
};

struct agent_world {
	struct world db;
	struct qrexec *q;
	struct place place[PLACES];
	uint64_t deadline;
	unsigned calls;
	int make_error; /* the next listen() or dial() fails so */
	char answer[65536];
	bool answer_error, no_answer;
	char asked[512]; /* the last request */
	char log[8192];
};

static inline uint32_t get32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void place_free(struct place *p)
{
	if (!p->taken)
		return;
	fake_vchan_end(&p->v);
	free(p->said);
	free(p->out);
	memset(p, 0, sizeof(*p));
}

static inline int world_make(struct agent_world *w, const struct qdb_vchan_ops **ops, void **v,
			     int domid, int port, bool listens)
{
	if (w->make_error)
		return w->make_error;
	for (struct place *p = w->place; p < w->place + PLACES; p++) {
		if (p->taken)
			continue;
		fake_vchan_init(&p->v);
		p->taken = true;
		p->listens = listens;
		p->domid = domid;
		p->port = port;
		p->said = calloc(1, CAUGHT);
		p->out = calloc(1, CAUGHT);
		*ops = &fake_vchan_ops;
		*v = &p->v;
		return 0;
	}
	CHECK(!"a free place");
	return -ENOMEM;
}

static inline int world_listen(void *arg, const struct qdb_vchan_ops **ops, void **v, int domid,
			       int port)
{
	return world_make(arg, ops, v, domid, port, true);
}

static inline int world_dial(void *arg, const struct qdb_vchan_ops **ops, void **v, int domid,
			     int port)
{
	return world_make(arg, ops, v, domid, port, false);
}

static inline char *world_ask(void *arg, char *request, bool *error)
{
	struct agent_world *w = arg;

	snprintf(w->asked, sizeof(w->asked), "%s", request);
	*error = w->answer_error;
	return w->no_answer ? NULL : strdup(w->answer);
}

static inline void world_log(void *arg, int level, const char *text)
{
	struct agent_world *w = arg;
	size_t n = strlen(w->log);

	(void)level;
	snprintf(w->log + n, sizeof(w->log) - n, "%s\n", text);
}

/* An agent that is not open; QubesDB is in sync. */
static inline void agent_init(struct agent_world *w)
{
	struct qrexec_host host = {.ask = world_ask, .log = world_log, .arg = w};
	struct qrexec_vchans vchans = {.listen = world_listen, .dial = world_dial, .arg = w};

	memset(w, 0, sizeof(*w));
	world_init(&w->db);
	connect_world(&w->db);
	snprintf(w->answer, sizeof(w->answer), "{\"version\":\"0\"}\n");
	CHECK_INT(qrexec_new(&w->q, w->db.r.db, &host, &vchans), 0);
}

static inline void agent_end(struct agent_world *w)
{
	qrexec_free(&w->q);
	for (struct place *p = w->place; p < w->place + PLACES; p++) {
		CHECK(!p->taken || p->v.freed);
		place_free(p);
	}
	world_end(&w->db);
}

/* --- what comes out ---------------------------------------------------------------- */

static inline void place_say(struct place *p)
{
	uint32_t type = get32(p->in), len = get32(p->in + 4);
	const uint8_t *body = p->in + 8;
	char *to = p->said + p->said_len;
	size_t room = CAUGHT - p->said_len;
	int n;

	switch (type) {
	case QREXEC_HELLO:
		n = snprintf(to, room, "hello %u\n", len == 4 ? get32(body) : 0);
		break;
	case QREXEC_EXIT_CODE:
		n = snprintf(to, room, "exit %u\n", len == 4 ? get32(body) : 9999);
		break;
	case QREXEC_CONNECTION_TERMINATED:
		n = snprintf(to, room, "terminated %u %u\n", get32(body), get32(body + 4));
		break;
	case QREXEC_TRIGGER_SERVICE3:
		n = snprintf(to, room, "trigger %.64s %.*s %.32s\n", (const char *)body,
			     (int)(len - 96), (const char *)body + 96, (const char *)body + 64);
		break;
	case QREXEC_STDERR:
		n = snprintf(to, room, "stderr %.*s", (int)len, (const char *)body);
		break;
	case QREXEC_STDOUT:
		memcpy(p->out + p->out_len, body, len);
		p->out_len += len;
		n = snprintf(to, room, "stdout %u\n", len);
		break;
	case QREXEC_STDIN:
		n = snprintf(to, room, "stdin %u\n", len);
		break;
	default:
		n = snprintf(to, room, "type %#x %u\n", type, len);
	}
	p->said_len += (size_t)n;
}

/* Return: whether anything came. */
static inline bool place_read(struct place *p)
{
	bool any = false;

	while (p->taken && !p->deaf) {
		size_t need = p->in_len < 8 ? 8 : 8 + get32(p->in + 4), n;

		CHECK(need <= sizeof(p->in));
		n = fake_vchan_recv(&p->v, p->in + p->in_len, need - p->in_len);
		/* What was written before it closed can still be read. */
		if (!n && p->v.freed) {
			struct fake_ring *r = &p->v.to_dom0;

			while (r->cons != r->prod && p->in_len + n < need)
				p->in[p->in_len + n++] = r->data[r->cons++ % FAKE_RING];
		}
		if (!n)
			break;
		any = true;
		p->in_len += n;
		if (p->in_len >= 8 && p->in_len == 8 + get32(p->in + 4)) {
			place_say(p);
			p->in_len = 0;
		}
	}
	return any;
}

/* --- time ---------------------------------------------------------------------------- */

static inline bool agent_turn(struct agent_world *w)
{
	struct pollfd p[QREXEC_FDS];

	for (unsigned i = 0; i < QREXEC_FDS; i++)
		p[i] = (struct pollfd){.fd = qrexec_fd(w->q, i), .events = POLLIN};
	if (w->deadline > w->db.r.now && poll(p, QREXEC_FDS, 0) <= 0)
		return false;
	w->deadline = qrexec_process(w->q, w->db.r.now);
	w->calls++;
	return true;
}

/* Until nobody has anything to do; the clock stands still. */
static inline void agent_settle(struct agent_world *w)
{
	bool busy = true;
	int i;

	for (i = 0; i < 20000 && busy; i++) {
		busy = fake_dom0_run(&w->db.d);
		busy = rig_turn(&w->db.r) || busy;
		busy = agent_turn(w) || busy;
		for (struct place *p = w->place; p < w->place + PLACES; p++)
			busy = place_read(p) || busy;
	}
	CHECK(!busy);
}

static inline void agent_after(struct agent_world *w, unsigned ms)
{
	w->db.r.now += ms;
	agent_settle(w);
}

/* --- what goes in -------------------------------------------------------------------- */

/* The vchan at a port that was made last; NULL for none that is in use. */
static inline struct place *at(struct agent_world *w, int port)
{
	for (struct place *p = w->place; p < w->place + PLACES; p++)
		if (p->taken && p->port == port && !p->v.freed)
			return p;
	return NULL;
}

static inline struct place *control(struct agent_world *w)
{
	return at(w, QREXEC_PORT);
}

/* As far as it is read: what is closed takes nothing. */
static inline void push(struct agent_world *w, struct place *p, const void *buf, size_t len)
{
	const uint8_t *b = buf;

	for (int idle = 0; len && idle < 2;) {
		size_t n = p->v.freed ? 0 : fake_vchan_send(&p->v, b, len);

		b += n;
		len -= n;
		idle = n ? 0 : idle + 1;
		if (len)
			agent_settle(w);
	}
}

static inline void push_message(struct agent_world *w, struct place *p, uint32_t type,
				const void *body, uint32_t len)
{
	uint8_t head[8];

	qrexec_header(head, type, len);
	push(w, p, head, sizeof(head));
	push(w, p, body, len);
}

static inline void push_hello(struct agent_world *w, struct place *p, uint32_t version)
{
	uint8_t v[4] = {(uint8_t)version, (uint8_t)(version >> 8), 0, 0};

	push_message(w, p, QREXEC_HELLO, v, 4);
}

static inline void push_params(struct agent_world *w, uint32_t type, uint32_t domain, uint32_t port,
			       const char *text, size_t len)
{
	static uint8_t body[8 + 2 * QREXEC_CMDLINE_MAX];

	for (int i = 0; i < 4; i++) {
		body[i] = (uint8_t)(domain >> 8 * i);
		body[4 + i] = (uint8_t)(port >> 8 * i);
	}
	memcpy(body + 8, text, len);
	push_message(w, control(w), type, body, (uint32_t)(8 + len));
}

static inline void push_exec(struct agent_world *w, uint32_t domain, uint32_t port,
			     const char *text)
{
	push_params(w, QREXEC_EXEC_CMDLINE, domain, port, text, strlen(text) + 1);
	agent_settle(w);
}

/* dom0's daemon connects and greets. */
static inline void agent_link(struct agent_world *w, uint32_t version)
{
	fake_vchan_announce(&control(w)->v);
	agent_settle(w);
	push_hello(w, control(w), version);
	agent_settle(w);
}

/* An agent that is connected to dom0, and has asked for its features. */
static inline void agent_asked(struct agent_world *w)
{
	agent_init(w);
	qrexec_open(w->q);
	agent_settle(w);
	agent_link(w, 3);
	agent_after(w, 1000);
	control(w)->said_len = 0;
	w->log[0] = '\0';
}

/* One that is connected to dom0 and has nothing to do. */
static inline void agent_up(struct agent_world *w)
{
	static const char ident[QREXEC_IDENT] = "ringfence-features";

	agent_asked(w);
	push_message(w, control(w), QREXEC_SERVICE_REFUSED, ident, sizeof(ident));
	agent_settle(w);
	w->log[0] = '\0';
}

/* The caller of the service at @port is there and greets. */
static inline struct place *caller(struct agent_world *w, int port, uint32_t version)
{
	struct place *p = at(w, port);

	if (!CHECK(p != NULL))
		return NULL;
	fake_vchan_announce(&p->v);
	agent_after(w, 200);
	push_hello(w, p, version);
	agent_settle(w);
	return p;
}

static inline const char *said(struct place *p)
{
	p->said[p->said_len] = '\0';
	return p->said;
}

/* What dom0 was told since the last look. */
static inline const char *told(struct agent_world *w)
{
	struct place *p = control(w);

	if (!p)
		return "(no server)";
	p->said[p->said_len] = '\0';
	p->said_len = 0;
	return p->said;
}

#endif
