// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dom0's side of qrexec in the lab: its daemon for one qube and the programs that
 * call services there, in one process that lives for one action.
 *
 *   qrexec-client DOMID [-v VERSION] [-p PORT] ACTION
 *
 *	call SERVICE [INPUT]	the service's output; ends with its exit code
 *	two SERVICE INPUT SERVICE INPUT
 *				both at a time, their input interleaved; "1: " and
 *				"2: " before the lines
 *	just SERVICE		JUST_EXEC
 *	long SERVICE		with a command line of 60000 bytes
 *	vanish SERVICE		greet, and close without a word
 *	silent SERVICE		connect, and do not greet
 *	absent SERVICE		no vchan at the port
 *	flood SERVICE N		N at a time, none of which says anything
 *	features		wait for the qube's call, and accept it
 *	bad oversized|garbage|cut|mute
 *				what no daemon sends; the qube must drop the link
 *
 * Written from the protocol's description, apart from qubesdb/qrexec*.c on purpose:
 * an error shared by both ends would not show. It is strict: what the real daemon
 * would not take, or would not miss, ends it with status 250 and a line that begins
 * with VIOLATION; so does a port that the qube does not tell to be terminated. As in
 * Qubes, the qube's xenstore keys vanish with the connection, so each action is also
 * a restart of dom0's daemon.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libxenvchan.h>
#include <xenstore.h>

enum {
	STDIN = 0x190,
	STDOUT = 0x191,
	STDERR = 0x192,
	EXIT_CODE = 0x193,
	EXEC = 0x200,
	JUST = 0x201,
	CONNECT = 0x202,
	REFUSED = 0x203,
	TERMINATED = 0x211,
	TRIGGER = 0x212,
	HELLO = 0x300,
};

#define CALLS	   24
#define FRAME_MAX  65536
#define OUTPUT_MAX (4u << 20)
#define DATA_RING  65536
#define ACTION_MS  60000
#define CONNECT_MS 15000
#define VIOLATION  250

struct message {
	uint32_t type, len;
	uint8_t body[FRAME_MAX];
	size_t have; /* with the header */
};

struct call {
	uint32_t port;
	struct libxenvchan *ch; /* NULL: nobody listens at the port */
	bool dialled, is_client, connected, greeted, ended, terminated, silent;
	const char *input;
	struct message in;
	char *out;
	size_t out_len;
	char err[1024];
	int code; /* -1: none came */
};

static struct {
	int domid;
	uint32_t version, used;
	struct libxenvchan *ch;
	struct message in;
	struct call call[CALLS];
	unsigned calls;
	uint32_t port;
	char trigger[160]; /* "TARGET SERVICE" of the qube's call */
	char ident[32];
} q = {.version = 3, .port = 513};

static void __attribute__((format(printf, 2, 3), noreturn)) quit(int status, const char *fmt, ...)
{
	va_list ap;

	fputs(status == VIOLATION ? "VIOLATION: " : "qrexec-client: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	for (unsigned i = 0; i < q.calls; i++)
		if (q.call[i].ch)
			libxenvchan_close(q.call[i].ch);
	if (q.ch)
		libxenvchan_close(q.ch);
	exit(status);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- messages --------------------------------------------------------------------- */

static uint32_t get32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

/* Blocks as the real programs do, but not for ever. Return: whether all of it is out. */
static bool put(struct libxenvchan *ch, const void *buf, size_t len)
{
	const char *p = buf;
	uint64_t end = now_ms() + 10000;

	while (len) {
		int n = libxenvchan_write(ch, p, len);

		if (n < 0 || now_ms() > end)
			return false;
		p += n;
		len -= (size_t)n;
		if (!n)
			usleep(1000);
	}
	return true;
}

static bool send_message(struct libxenvchan *ch, uint32_t type, const void *body, size_t len)
{
	uint8_t head[8];

	put32(head, type);
	put32(head + 4, (uint32_t)len);
	return put(ch, head, sizeof(head)) && put(ch, body, len);
}

static bool send_hello(struct libxenvchan *ch)
{
	uint8_t v[4];

	put32(v, q.version);
	return send_message(ch, HELLO, v, sizeof(v));
}

/* Return: 1 for a whole message, 0 for none yet, -1 closed with nothing left. */
static int take(struct libxenvchan *ch, struct message *m)
{
	if (m->have == 8 + (size_t)m->len && m->have >= 8)
		m->have = m->len = 0;
	for (;;) {
		uint8_t head[8];
		int n;

		if (m->have < 8) {
			n = libxenvchan_recv(ch, head, sizeof(head));
			if (n != (int)sizeof(head))
				return n;
			m->type = get32(head);
			m->len = get32(head + 4);
			if (m->len > FRAME_MAX)
				quit(VIOLATION, "type %#x with %u bytes", m->type, m->len);
			m->have = 8;
		}
		if (m->have == 8 + (size_t)m->len)
			return 1;
		n = libxenvchan_read(ch, m->body + m->have - 8, m->len - (m->have - 8));
		if (n <= 0)
			return n;
		m->have += (size_t)n;
	}
}

/* --- the link ------------------------------------------------------------------------- */

static void link_connect(void)
{
	uint64_t end = now_ms() + CONNECT_MS;
	struct xs_handle *xs = xs_open(0);
	char path[64], key[96];

	if (!xs)
		quit(1, "no xenstore");
	snprintf(path, sizeof(path), "/local/domain/%d/data/vchan/0/512", q.domid);
	snprintf(key, sizeof(key), "%s/event-channel", path);
	for (;;) {
		unsigned len = 0;
		char *value = xs_read(xs, XBT_NULL, key, &len);

		free(value);
		if (value && len)
			q.ch = libxenvchan_client_init(NULL, q.domid, path);
		if (q.ch)
			break;
		if (now_ms() > end)
			quit(2, "the qube has no qrexec server");
		usleep(20000);
	}
	xs_close(xs);
	q.ch->blocking = 0;
}

static void read_terminated(void)
{
	uint32_t domain = get32(q.in.body), port = get32(q.in.body + 4);

	if (q.in.len != 8 || domain != 0)
		quit(VIOLATION, "CONNECTION_TERMINATED of %u bytes for domain %u", q.in.len,
		     domain);
	for (unsigned i = 0; i < q.calls; i++) {
		if (q.call[i].port != port)
			continue;
		if (q.call[i].terminated)
			quit(VIOLATION, "port %u is terminated twice", port);
		q.call[i].terminated = true;
		return;
	}
	quit(VIOLATION, "port %u is terminated, which was not given out", port);
}

static void read_trigger(void)
{
	const char *target = (const char *)q.in.body, *ident = target + 64, *service = ident + 32;

	if (q.in.len <= 96 || !memchr(target, 0, 64) || !memchr(ident, 0, 32) ||
	    memchr(service, 0, q.in.len - 96) != service + q.in.len - 97)
		quit(VIOLATION, "TRIGGER_SERVICE3 of %u bytes", q.in.len);
	snprintf(q.trigger, sizeof(q.trigger), "%.63s %.80s", target, service);
	memcpy(q.ident, ident, sizeof(q.ident));
}

/* Return: false when the qube has closed the link. */
static bool link_read(void)
{
	int rc;

	while ((rc = take(q.ch, &q.in)) > 0) {
		if (!q.used) {
			if (q.in.type != HELLO || q.in.len != 4 || get32(q.in.body) < 2)
				quit(VIOLATION, "type %#x instead of HELLO", q.in.type);
			q.used = get32(q.in.body) < q.version ? get32(q.in.body) : q.version;
		} else if (q.in.type == TERMINATED) {
			read_terminated();
		} else if (q.in.type == TRIGGER && q.used >= 3) {
			read_trigger();
		} else {
			quit(VIOLATION, "type %#x on the control channel", q.in.type);
		}
	}
	return rc == 0;
}

/* --- calls -------------------------------------------------------------------------------- */

static struct call *new_call(void)
{
	struct call *c = &q.call[q.calls];

	if (q.calls == CALLS)
		quit(1, "too many calls");
	c->port = q.port++;
	c->code = -1;
	c->out = malloc(OUTPUT_MAX);
	if (!c->out)
		quit(1, "out of memory");
	q.calls++;
	return c;
}

static void ask(const struct call *c, uint32_t type, const char *text, size_t len)
{
	uint8_t *body = malloc(8 + len);

	if (!body)
		quit(1, "out of memory");
	put32(body, 0);
	put32(body + 4, c->port);
	memcpy(body + 8, text, len);
	if (!send_message(q.ch, type, body, 8 + len))
		quit(VIOLATION, "the qube does not read its control channel");
	free(body);
}

/* As the real qrexec-client: the qube is told first, the vchan made then. */
static void listen_at(struct call *c)
{
	char path[64];

	snprintf(path, sizeof(path), "data/vchan/%d/%u", q.domid, c->port);
	c->ch = libxenvchan_server_init(NULL, q.domid, path, DATA_RING, DATA_RING);
	if (!c->ch)
		quit(1, "vchan %s: %s", path, strerror(errno));
	c->ch->blocking = 0;
}

static struct call *begin(uint32_t type, const char *service, const char *input)
{
	struct call *c = new_call();
	char text[1024];

	c->input = input;
	snprintf(text, sizeof(text), "DEFAULT:QUBESRPC %s dom0", service);
	ask(c, type, text, strlen(text) + 1);
	return c;
}

static void call_message(struct call *c)
{
	const struct message *m = &c->in;

	if (!c->greeted) {
		if (m->type != HELLO || m->len != 4)
			quit(VIOLATION, "port %u: type %#x instead of HELLO", c->port, m->type);
		c->greeted = true;
		return;
	}
	if (c->code >= 0)
		quit(VIOLATION, "port %u: type %#x after EXIT_CODE", c->port, m->type);
	switch (m->type) {
	case STDOUT:
		if (c->out_len + m->len > OUTPUT_MAX)
			quit(VIOLATION, "port %u: output without an end", c->port);
		memcpy(c->out + c->out_len, m->body, m->len);
		c->out_len += m->len;
		break;
	case STDERR:
		snprintf(c->err + strlen(c->err), sizeof(c->err) - strlen(c->err), "%.*s",
			 (int)m->len, (const char *)m->body);
		break;
	case EXIT_CODE:
		if (m->len != 4)
			quit(VIOLATION, "port %u: EXIT_CODE of %u bytes", c->port, m->len);
		c->code = (int)get32(m->body);
		break;
	default:
		quit(VIOLATION, "port %u: type %#x from a service", c->port, m->type);
	}
}

/* Input goes out in pieces, so that two calls interleave. */
static void call_input(struct call *c)
{
	size_t n;

	if (!c->input || !c->greeted || c->silent || c->ended)
		return;
	n = strlen(c->input);
	n = n > 4 ? 4 : n;
	/* One that has closed wants no more. */
	(void)send_message(c->ch, STDIN, c->input, n);
	c->input = n ? c->input + n : NULL;
}

static void call_work(struct call *c)
{
	int rc;

	if (!c->ch || c->ended)
		return;
	if (!c->connected) {
		if (libxenvchan_is_open(c->ch) == 2)
			return;
		c->connected = true;
		if (!c->silent && !send_hello(c->ch))
			c->ended = true;
	}
	while ((rc = take(c->ch, &c->in)) > 0)
		call_message(c);
	call_input(c);
	c->ended = rc < 0;
}

/* --- the loop --------------------------------------------------------------------------------- */

static bool pump_once(void)
{
	struct pollfd p[1 + CALLS];
	bool open;

	p[0] = (struct pollfd){.fd = libxenvchan_fd_for_select(q.ch), .events = POLLIN};
	for (unsigned i = 0; i < q.calls; i++)
		p[1 + i] = (struct pollfd){
		    .fd = q.call[i].ch ? libxenvchan_fd_for_select(q.call[i].ch) : -1,
		    .events = POLLIN};
	if (poll(p, 1 + q.calls, 20) < 0 && errno != EINTR)
		quit(1, "poll: %s", strerror(errno));
	if (p[0].revents)
		libxenvchan_wait(q.ch);
	for (unsigned i = 0; i < q.calls; i++)
		if (p[1 + i].revents)
			libxenvchan_wait(q.call[i].ch);
	open = link_read();
	for (unsigned i = 0; i < q.calls; i++)
		call_work(&q.call[i]);
	return open;
}

static void greet(void)
{
	uint64_t end = now_ms() + 5000;

	if (!send_hello(q.ch))
		quit(VIOLATION, "the qube takes no HELLO");
	while (!q.used)
		if (!pump_once() || now_ms() > end)
			quit(VIOLATION, "the qube does not greet");
}

/* Until @n of the calls are terminated. */
static void finish(unsigned n)
{
	uint64_t end = now_ms() + ACTION_MS;

	for (;;) {
		unsigned done = 0;

		for (unsigned i = 0; i < q.calls; i++)
			done += q.call[i].terminated;
		if (done >= n)
			return;
		if (!pump_once())
			quit(VIOLATION, "the qube closed the link");
		if (now_ms() > end)
			quit(VIOLATION, "%u of %u ports are not terminated", n - done, n);
	}
}

/* Print what a call has said. Return: its exit code. */
static int show(struct call *c, const char *before)
{
	/* what it said last may still lie in the ring */
	call_work(c);
	if (c->code < 0)
		quit(VIOLATION, "port %u: no EXIT_CODE", c->port);
	fputs(c->err, stderr);
	if (!before[0]) {
		fwrite(c->out, 1, c->out_len, stdout);
		return c->code;
	}
	printf("%sexit %d: %.*s\n", before, c->code, (int)c->out_len, c->out);
	return c->code;
}

/* --- actions -----------------------------------------------------------------------------------
 */

static int act_call(uint32_t type, const char *service, const char *input)
{
	struct call *c = begin(type, service, input);

	listen_at(c);
	finish(1);
	return show(c, "");
}

static int act_two(char **argv)
{
	struct call *a = begin(EXEC, argv[0], argv[1]), *b = begin(EXEC, argv[2], argv[3]);

	listen_at(a);
	listen_at(b);
	finish(2);
	show(a, "1: ");
	show(b, "2: ");
	return 0;
}

static int act_long(const char *service)
{
	static char text[60000];
	struct call *c = new_call();
	int n;

	memset(text, 'x', sizeof(text));
	n = snprintf(text, 512, "DEFAULT:QUBESRPC %s dom0 ", service);
	text[n] = 'x';
	text[sizeof(text) - 1] = '\0';
	ask(c, EXEC, text, sizeof(text));
	listen_at(c);
	finish(1);
	return show(c, "");
}

/* A caller that is not there, or goes, or says nothing: the port must be terminated. */
static int act_caller(const char *how, const char *service)
{
	struct call *c = begin(EXEC, service, NULL);
	uint64_t begun = now_ms();

	c->silent = strcmp(how, "silent") == 0;
	if (strcmp(how, "absent") != 0)
		listen_at(c);
	if (strcmp(how, "vanish") == 0) {
		while (!c->greeted)
			if (!pump_once() || now_ms() > begun + ACTION_MS)
				quit(VIOLATION, "the service does not greet");
		libxenvchan_close(c->ch);
		c->ch = NULL;
	}
	finish(1);
	printf("terminated after %llu ms\n", (unsigned long long)(now_ms() - begun));
	return 0;
}

static int act_flood(const char *service, unsigned n)
{
	unsigned greeted = 0, turned_away = 0;

	for (unsigned i = 0; i < n; i++)
		listen_at(begin(EXEC, service, NULL));
	for (uint64_t end = now_ms() + 5000; now_ms() < end;)
		if (!pump_once())
			quit(VIOLATION, "the qube closed the link");
	for (unsigned i = 0; i < n; i++) {
		greeted += q.call[i].greeted;
		turned_away += q.call[i].terminated && !q.call[i].greeted;
		libxenvchan_close(q.call[i].ch);
		q.call[i].ch = NULL;
	}
	finish(n);
	printf("greeted %u, turned away %u\n", greeted, turned_away);
	return 0;
}

static int act_features(void)
{
	uint64_t end = now_ms() + 10000;
	uint8_t code[4] = {0};
	struct call *c;

	while (!q.trigger[0])
		if (!pump_once() || now_ms() > end)
			quit(1, "the qube asks for nothing");
	c = new_call();
	ask(c, CONNECT, q.ident, strlen(q.ident) + 1);
	for (end = now_ms() + 10000; !c->ch; usleep(20000)) {
		char path[64];

		snprintf(path, sizeof(path), "/local/domain/%d/data/vchan/0/%u", q.domid, c->port);
		c->ch = libxenvchan_client_init(NULL, q.domid, path);
		if (now_ms() > end)
			quit(VIOLATION, "the qube does not listen for its own call");
	}
	c->ch->blocking = 0;
	for (int step = 0;; step += c->greeted && step == 0) {
		int rc = take(c->ch, &c->in);

		if (rc < 0 || now_ms() > end)
			quit(VIOLATION, "the qube gives up its own call");
		if (rc == 0) {
			usleep(5000);
			continue;
		}
		if (c->greeted) {
			if (c->in.type != STDIN || c->in.len)
				quit(VIOLATION, "type %#x of %u bytes from the qube's call",
				     c->in.type, c->in.len);
			break;
		}
		if (c->in.type != HELLO)
			quit(VIOLATION, "type %#x instead of HELLO", c->in.type);
		c->greeted = true;
		(void)send_hello(c->ch);
	}
	(void)send_message(c->ch, STDOUT, NULL, 0);
	(void)send_message(c->ch, EXIT_CODE, code, sizeof(code));
	c->ended = true;
	finish(1);
	puts(q.trigger);
	return 0;
}

static int act_bad(const char *how)
{
	uint64_t begun = now_ms();
	uint8_t bytes[64];

	memset(bytes, 0xff, sizeof(bytes));
	if (strcmp(how, "mute") != 0) {
		greet();
		if (strcmp(how, "garbage") != 0)
			put32(bytes, EXEC);
		if (strcmp(how, "cut") == 0)
			put32(bytes + 4, 100);
		if (!put(q.ch, bytes, sizeof(bytes)))
			quit(1, "the link is closed already");
	}
	while (now_ms() < begun + ACTION_MS) {
		if (!pump_once()) {
			printf("dropped after %llu ms\n", (unsigned long long)(now_ms() - begun));
			return 0;
		}
	}
	quit(VIOLATION, "the qube keeps the link");
}

static int act(int n, char **argv)
{
	const char *what = n > 0 ? argv[0] : "";

	if (strcmp(what, "bad") == 0 && n == 2)
		return act_bad(argv[1]);
	greet();
	if (strcmp(what, "call") == 0 && (n == 2 || n == 3))
		return act_call(EXEC, argv[1], n == 3 ? argv[2] : NULL);
	if (strcmp(what, "just") == 0 && n == 2)
		return act_call(JUST, argv[1], NULL);
	if (strcmp(what, "two") == 0 && n == 5)
		return act_two(argv + 1);
	if (strcmp(what, "long") == 0 && n == 2)
		return act_long(argv[1]);
	if ((strcmp(what, "vanish") == 0 || strcmp(what, "silent") == 0 ||
	     strcmp(what, "absent") == 0) &&
	    n == 2)
		return act_caller(what, argv[1]);
	if (strcmp(what, "flood") == 0 && n == 3 && strtoul(argv[2], NULL, 10) <= CALLS)
		return act_flood(argv[1], (unsigned)strtoul(argv[2], NULL, 10));
	if (strcmp(what, "features") == 0 && n == 1)
		return act_features();
	quit(2, "unknown action \"%s\"", what);
}

int main(int argc, char **argv)
{
	int at = 2, status;

	if (argc < 3 || (q.domid = (int)strtol(argv[1], NULL, 10)) <= 0) {
		fprintf(stderr, "usage: %s DOMID [-v VERSION] [-p PORT] ACTION\n", argv[0]);
		return 2;
	}
	for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
		uint32_t value = (uint32_t)strtoul(argv[at + 1], NULL, 10);

		if (strcmp(argv[at], "-v") == 0)
			q.version = value;
		else if (strcmp(argv[at], "-p") == 0)
			q.port = value;
		else
			quit(2, "unknown option %s", argv[at]);
	}
	link_connect();
	status = act(argc - at, argv + at);
	fflush(stdout);
	for (unsigned i = 0; i < q.calls; i++)
		if (q.call[i].ch)
			libxenvchan_close(q.call[i].ch);
	libxenvchan_close(q.ch);
	return status;
}
