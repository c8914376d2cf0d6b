// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Anything that dom0 and the callers of services may send, at any interleaving.
 *
 * The input is a program of steps: bytes and messages of dom0's, bytes and messages
 * of callers, connections, losses, rings that nobody reads, time. It aborts
 *  - when the agent does not come to rest, or exceeds its number of connections,
 *  - when it says what no agent says: no HELLO first, a frame cut or too large, output
 *    after the exit code,
 *  - when a port that dom0 named on this connection is told to be terminated twice, or
 *    one that it did not name; and in the end, when one was not told.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "qubesdb/qrexec.h"
#include "qubesdb/qrexec_wire.h"
#include "qubesdb/source.h"
#include "tests/fake/vchan.h"
#include "tests/fuzz/input.h"

#define PLACES	  16
#define NAMED_MAX 4096

/* The other end of a vchan, and what the agent has said into it. */
struct place {
	struct fake_vchan v;
	bool taken, listens, deaf;
	int port;
	uint8_t head[8];
	size_t head_len;
	uint32_t left; /* of a body */
	uint8_t body[8];
	size_t body_len;
	unsigned messages;
	bool finished; /* EXIT_CODE was said */
};

static struct world {
	struct qubesdb *db;
	struct qrexec *q;
	struct place place[PLACES];
	uint64_t now, deadline;
	struct {
		uint32_t domain, port;
	} named[NAMED_MAX]; /* by dom0, on its present connection, and not told yet */
	size_t named_n;
	/* dom0's stream as the agent should see it */
	uint8_t in[8 + 8];
	size_t in_len;
	uint32_t in_left;
	bool greeted, broken, told;
} w;

static const char *const commands[] = {
    "u:QUBESRPC ringfence.Status dom0",
    "u:QUBESRPC ringfence.Explain dom0",
    "u:QUBESRPC ringfence.Explain+10.137.0.5+tcp+1.1.1.1+443 work",
    "u:nogui:QUBESRPC qubes.SetDateTime dom0",
    "QUBESRPC qubes.WaitForSession dom0",
    "u:QUBESRPC qubes.VMShell dom0",
    "u:ls",
    "",
};

static const char *const inputs[] = {"2026-11-26T06:46:02+00:00\n", "10.137.0.5 tcp 1.1.1.1 443\n",
				     "x", "", "\n"};

/* --- the agent's surroundings ------------------------------------------------------------ */

static int make(const struct qdb_vchan_ops **ops, void **v, int port, bool listens)
{
	for (struct place *p = w.place; p < w.place + PLACES; p++) {
		if (p->taken && !p->v.freed)
			continue;
		if (p->taken)
			fake_vchan_end(&p->v);
		memset(p, 0, sizeof(*p));
		fake_vchan_init(&p->v);
		p->taken = true;
		p->listens = listens;
		p->port = port;
		*ops = &fake_vchan_ops;
		*v = &p->v;
		if (port == QREXEC_PORT && listens) {
			w.named_n = w.in_len = w.in_left = 0;
			w.greeted = w.broken = false;
		}
		return 0;
	}
	abort(); /* more than its bounds say */
}

static int fuzz_listen(void *arg, const struct qdb_vchan_ops **ops, void **v, int domid, int port)
{
	(void)arg;
	REQUIRE(domid >= 0 && port > 0);
	return make(ops, v, port, true);
}

static int fuzz_dial(void *arg, const struct qdb_vchan_ops **ops, void **v, int domid, int port)
{
	(void)arg;
	REQUIRE(domid >= 0 && domid <= 0x7fef && port > 0);
	return make(ops, v, port, false);
}

static char *ask(void *arg, char *request, bool *error)
{
	(void)arg;
	REQUIRE(strlen(request) < 160);
	for (const char *p = request; *p; p++)
		REQUIRE(*p >= ' ' && *p <= '~');
	*error = request[0] == 'e';
	return request[0] == 's' ? calloc(1, 1) : strdup("{\"error\":\"no\"}\n");
}

/* A QubesDB that takes everything and has it in dom0 when the input says so. */
static bool db_told(const void *way)
{
	(void)way;
	return w.told;
}

static int db_write(void *way, const char *path, const void *value, size_t len)
{
	(void)way;
	REQUIRE(strncmp(path, "/features-request/", 18) == 0 && value && len == 1);
	return 0;
}

static void db_free(void *way)
{
	(void)way;
}

static void ignore(void *arg, int level, const char *text)
{
	(void)arg;
	(void)level;
	REQUIRE(strlen(text) < 512);
}

/* --- what it says -------------------------------------------------------------------------- */

static uint32_t get32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool is_control(const struct place *p)
{
	return p->listens && p->port == QREXEC_PORT;
}

static void terminated(uint32_t domain, uint32_t port)
{
	for (size_t i = 0; i < w.named_n; i++) {
		if (w.named[i].domain != domain || w.named[i].port != port)
			continue;
		w.named[i] = w.named[--w.named_n];
		return;
	}
	REQUIRE(!"a port that dom0 did not name, or the second time");
}

static void header(struct place *p, uint32_t type, uint32_t len)
{
	REQUIRE(p->messages > 0 || (type == QREXEC_HELLO && len == 4));
	REQUIRE(!p->finished);
	if (p->messages == 0)
		return;
	if (is_control(p)) {
		REQUIRE((type == QREXEC_CONNECTION_TERMINATED && len == 8) ||
			(type == QREXEC_TRIGGER_SERVICE3 && len > 96 && len <= 96 + 65));
	} else if (p->listens) {
		REQUIRE(type == QREXEC_STDIN && len == 0);
	} else {
		REQUIRE(((type == QREXEC_STDOUT || type == QREXEC_STDERR) && len <= 4096) ||
			(type == QREXEC_EXIT_CODE && len == 4));
		p->finished = type == QREXEC_EXIT_CODE;
	}
}

static void said(struct place *p, uint8_t byte)
{
	if (p->head_len < 8) {
		p->head[p->head_len++] = byte;
		if (p->head_len < 8)
			return;
		p->left = get32(p->head + 4);
		p->body_len = 0;
		header(p, get32(p->head), p->left);
	} else {
		if (p->body_len < sizeof(p->body))
			p->body[p->body_len++] = byte;
		p->left--;
	}
	if (p->left)
		return;
	p->head_len = 0;
	p->messages++;
	if (get32(p->head) == QREXEC_CONNECTION_TERMINATED)
		terminated(get32(p->body), get32(p->body + 4));
}

static bool place_read(struct place *p)
{
	uint8_t buf[512];
	size_t n;
	bool any = false;

	if (!p->taken || p->deaf || p->v.freed)
		return false;
	while ((n = fake_vchan_recv(&p->v, buf, sizeof(buf))) > 0) {
		any = true;
		for (size_t i = 0; i < n; i++)
			said(p, buf[i]);
	}
	return any;
}

/* --- what dom0 says ---------------------------------------------------------------------- */

static struct place *control(void)
{
	for (struct place *p = w.place; p < w.place + PLACES; p++)
		if (p->taken && !p->v.freed && is_control(p))
			return p;
	return NULL;
}

/* Follow dom0's own stream: which ports it names, until it makes no sense. */
static void dom0_says(uint8_t byte)
{
	uint32_t type, len;

	if (w.broken)
		return;
	if (w.in_len >= 16)
		goto counted;
	w.in[w.in_len++] = byte;
	if (w.in_len == 8) {
		type = get32(w.in);
		len = get32(w.in + 4);
		w.in_left = len;
		if (!w.greeted)
			w.broken = type != QREXEC_HELLO || len != 4;
		else if (type == QREXEC_SERVICE_REFUSED)
			w.broken = len != 32;
		else
			w.broken = type < QREXEC_EXEC_CMDLINE || type > QREXEC_SERVICE_CONNECT ||
				   len <= 8 || len > 8 + QREXEC_CMDLINE_MAX;
		return;
	}
	if (w.in_len < 8)
		return;
counted:
	if (--w.in_left)
		return;
	w.in_len = 0;
	if (!w.greeted) {
		w.greeted = true;
		w.broken = get32(w.in + 8) < 2;
	} else if (get32(w.in) != QREXEC_SERVICE_REFUSED) {
		REQUIRE(w.named_n < NAMED_MAX);
		w.named[w.named_n].domain = get32(w.in + 8);
		w.named[w.named_n++].port = get32(w.in + 12);
	}
}

static void send(struct place *p, const void *buf, size_t len)
{
	size_t n = p && !p->v.freed ? fake_vchan_send(&p->v, buf, len) : 0;

	for (size_t i = 0; p && is_control(p) && i < n; i++)
		dom0_says(((const uint8_t *)buf)[i]);
}

static void send_message(struct place *p, uint32_t type, const void *body, size_t len)
{
	uint8_t buf[1200];

	qrexec_header(buf, type, (uint32_t)len);
	if (len)
		memcpy(buf + 8, body, len);
	send(p, buf, 8 + len);
}

static void send_raw(struct place *p, struct input *in)
{
	uint8_t buf[255];
	size_t len = next(in);

	for (size_t i = 0; i < len; i++)
		buf[i] = next(in);
	send(p, buf, len);
}

static void step_dom0(struct input *in)
{
	static const uint16_t types[] = {QREXEC_EXEC_CMDLINE,	 QREXEC_EXEC_CMDLINE,
					 QREXEC_JUST_EXEC,	 QREXEC_SERVICE_CONNECT,
					 QREXEC_SERVICE_REFUSED, QREXEC_HELLO};
	static const char ident[QREXEC_IDENT] = "ringfence-features";
	uint8_t what = next(in), body[8 + 256] = {0};
	const char *text = commands[next(in) % 8];
	uint16_t type = types[what % 6];
	size_t len;

	if (type == QREXEC_SERVICE_REFUSED) {
		send_message(control(), type, ident, sizeof(ident));
		return;
	}
	body[0] = what & 0x40 ? next(in) % 4 : 0;
	if (type == QREXEC_HELLO) {
		body[0] = 2 + what / 6 % 4;
		send_message(control(), type, body, 4);
		return;
	}
	body[4] = next(in) % 8;
	body[5] = 3;
	if (type == QREXEC_SERVICE_CONNECT)
		text = ident;
	len = 8 + strlen(text) + 1;
	memcpy(body + 8, text, len - 8);
	if (what & 0x80)
		body[8 + next(in) % (len - 8)] = next(in);
	send_message(control(), type, body, len);
}

/* --- what callers say ---------------------------------------------------------------------- */

static void step_caller(struct input *in)
{
	static const uint16_t types[] = {QREXEC_STDIN, QREXEC_STDOUT, QREXEC_STDERR,
					 QREXEC_EXIT_CODE};
	struct place *p = &w.place[next(in) % PLACES];
	uint8_t what = next(in), body[4] = {0};
	const char *text = inputs[next(in) % 5];

	if (!p->taken || p->v.freed || is_control(p))
		return;
	switch (what % 8) {
	case 0:
	case 1:
		if (!p->v.dom0_open && !p->v.connected)
			fake_vchan_announce(&p->v);
		break;
	case 2:
		body[0] = 1 + what / 8 % 5;
		send_message(p, QREXEC_HELLO, body, 4);
		break;
	case 3:
		send_message(p, QREXEC_STDIN, text, strlen(text));
		break;
	case 4:
		send_message(p, types[what / 8 % 4], body, what & 0x80 ? 4 : 0);
		break;
	case 5:
		send_raw(p, in);
		break;
	case 6:
		if (p->v.connected)
			fake_vchan_close(&p->v);
		break;
	case 7:
		p->deaf = !p->deaf;
		break;
	}
}

/* --- turns ------------------------------------------------------------------------------------ */

static bool turn(void)
{
	struct pollfd p[QREXEC_FDS];
	struct qrexec_stats st;

	for (unsigned i = 0; i < QREXEC_FDS; i++)
		p[i] = (struct pollfd){.fd = qrexec_fd(w.q, i), .events = POLLIN};
	if (w.deadline > w.now && poll(p, QREXEC_FDS, 0) <= 0)
		return false;
	w.deadline = qrexec_process(w.q, w.now);
	st = qrexec_stats(w.q);
	REQUIRE(st.sessions <= QREXEC_SESSIONS);
	return true;
}

static void settle(void)
{
	bool busy = true;

	for (int i = 0; busy; i++) {
		REQUIRE(i < 100000);
		busy = turn();
		for (struct place *p = w.place; p < w.place + PLACES; p++)
			busy = place_read(p) || busy;
	}
}

static void step(struct input *in)
{
	uint8_t what = next(in);
	struct place *c = control();

	switch (what % 8) {
	case 0:
	case 1:
		step_dom0(in);
		break;
	case 2:
	case 3:
		step_caller(in);
		break;
	case 4:
		w.now += 100u * next(in);
		break;
	case 5:
		send_raw(c, in);
		break;
	case 6:
		if (c && !c->v.dom0_open && !c->v.connected)
			fake_vchan_announce(&c->v);
		else if (c && what & 0x80)
			fake_vchan_close(&c->v);
		else if (c && what & 0x40)
			c->deaf = !c->deaf;
		break;
	case 7:
		w.told = true;
		if (c)
			c->v.read_max = next(in);
		break;
	}
	if (what & 0x20)
		settle();
	else
		(void)turn();
}

/* Everything is read, and all deadlines pass: every port must have been told. */
static void end(void)
{
	struct place *c;

	for (struct place *p = w.place; p < w.place + PLACES; p++)
		p->deaf = false;
	for (int i = 0; i < 4; i++) {
		settle();
		w.now += 31000;
	}
	settle();
	REQUIRE(qrexec_stats(w.q).sessions == 0);
	c = control();
	REQUIRE(c != NULL);
	if (c->v.connected && w.greeted && !w.broken)
		REQUIRE(w.named_n == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct qdb_way way = {.told = db_told, .write = db_write, .free = db_free};
	static const struct qubesdb_events events = {.log = NULL};
	static const struct qrexec_host host = {.ask = ask, .log = ignore};
	static const struct qrexec_vchans vchans = {.listen = fuzz_listen, .dial = fuzz_dial};
	struct input in = {data, size};

	memset(&w, 0, sizeof(w));
	w.now = 1000;
	if (qdb_base_new(&w.db, &events, NULL) < 0)
		return 0;
	w.db->ops = &way;
	REQUIRE(qrexec_new(&w.q, w.db, &host, &vchans) == 0);
	qrexec_open(w.q);
	settle();
	while (in.n)
		step(&in);
	end();
	qrexec_free(&w.q);
	for (struct place *p = w.place; p < w.place + PLACES; p++)
		if (p->taken)
			fake_vchan_end(&p->v);
	qubesdb_free(&w.db);
	return 0;
}
