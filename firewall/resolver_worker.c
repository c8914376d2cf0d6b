/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The resolver's worker: questions from the daemon, c-ares, answers back.
 *
 * c-ares asks the servers in turn, by UDP with EDNS and by TCP when an answer was
 * truncated, and matches replies to questions. What a reply says is read by
 * name_answer.c. The daemon never has more than NAME_IN_FLIGHT_MAX questions out.
 *
 * When a server failed or gave a broken answer, another one is asked. c-ares cannot be
 * told which server to begin with, so there is a channel for each: all of them know
 * all servers, each begins with another one. Questions begin with each in turn.
 *
 * A question waits 1, 1, 2, 2, 4 and 4 s for two servers, 14 s in all.
 */
#include "firewall/resolver_helper.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define TIMEOUT_MS 1000 /* of the first try */
#define TRIES	   3	/* of each server */
#define UDP_SIZE   1232 /* EDNS: fits every path without fragments */

struct worker;

struct ask {
	struct worker *worker;
	bool used;
	uint32_t id;
	uint8_t family;
	size_t first; /* the server to begin with */
	size_t asked; /* servers that failed */
	char name[sizeof(((struct name_request *)0)->name)];
};

struct worker {
	int fd;
	ares_channel channels[NAME_SERVERS_MAX]; /* one for each server is used */
	struct ask asks[NAME_IN_FLIGHT_MAX];
	size_t in_flight, servers, next;
	bool changing; /* what ends now was made void */
	bool gone;     /* the daemon is */
};

static int open_channel(ares_channel *channel)
{
	char lookups[] = "b";
	/* with all of these set, c-ares reads no file of the machine's */
	struct ares_options o = {
		/* NOCHECKRESP: c-ares calls it a refused connection when all servers fail */
		.flags = ARES_FLAG_EDNS | ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES |
			 ARES_FLAG_NOCHECKRESP,
		.ednspsz = UDP_SIZE,
		.timeout = TIMEOUT_MS,
		.tries = TRIES,
		.ndots = 1,
		.lookups = lookups,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_EDNSPSZ | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
		   ARES_OPT_NDOTS | ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS |
		   ARES_OPT_SORTLIST | ARES_OPT_NOROTATE;

	int seed = open("/dev/urandom", O_RDONLY | O_CLOEXEC);

	/* its choice of ids needs a seed; without this file it would not be random */
	if (seed < 0)
		return ARES_EFILE;
	close(seed);
	return ares_init_options(channel, &o, mask);
}

static int open_channels(struct worker *w)
{
	int status = ares_library_init(ARES_LIB_INIT_ALL);

	for (size_t i = 0; i < NAME_SERVERS_MAX && status == ARES_SUCCESS; i++)
		status = open_channel(&w->channels[i]);
	return status;
}

/* --- answers ------------------------------------------------------------------------ */

static enum dns_outcome outcome_of(int status)
{
	switch (status) {
	case ARES_ENOTFOUND:
	case ARES_EBADNAME: return DNS_NOT_FOUND;
	case ARES_ETIMEOUT:
	case ARES_ECONNREFUSED: return DNS_TIMEOUT;
	case ARES_EBADRESP: return DNS_BAD_ANSWER;
	default: return DNS_SERVER_FAILURE;
	}
}

static void forget(struct ask *ask)
{
	ask->used = false;
	ask->worker->in_flight--;
}

static void query(struct ask *ask);

static void on_answer(void *arg, int status, int timeouts, unsigned char *msg, int len)
{
	struct ask *ask = arg;
	struct worker *w = ask->worker;
	struct name_answer answer;
	struct name_reply reply;

	(void)timeouts;
	if (w->changing) {
		forget(ask);
		return;
	}
	if ((status == ARES_SUCCESS || status == ARES_ENODATA) && msg != NULL && len > 0) {
		name_answer_parse(&answer, msg, (size_t)len, ask->name, ask->family);
	} else {
		memset(&answer, 0, sizeof(answer));
		answer.outcome = outcome_of(status);
	}
	if ((answer.outcome == DNS_SERVER_FAILURE || answer.outcome == DNS_BAD_ANSWER) &&
	    ++ask->asked < w->servers) {
		query(ask); /* of another server */
		return;
	}
	forget(ask);
	name_reply_make(&reply, ask->id, ask->family, &answer);
	if (!resolver_send(w->fd, &reply))
		w->gone = true;
}

static void query(struct ask *ask)
{
	struct worker *w = ask->worker;

	ares_query(w->channels[(ask->first + ask->asked) % w->servers], ask->name, ns_c_in,
		   ask->family == 4 ? ns_t_a : ns_t_aaaa, on_answer, ask);
}

/* --- questions ----------------------------------------------------------------------- */

/* All servers for a channel, @first of them before the others. */
static bool set_channel(struct worker *w, size_t first, const struct name_request *r)
{
	struct ares_addr_node nodes[NAME_SERVERS_MAX];

	memset(nodes, 0, sizeof(nodes));
	for (size_t i = 0; i < r->count; i++) {
		nodes[i].family = AF_INET;
		memcpy(&nodes[i].addr.addr4, r->servers[(first + i) % r->count], 4);
		nodes[i].next = i + 1 < r->count ? &nodes[i + 1] : NULL;
	}
	return ares_set_servers(w->channels[first], nodes) == ARES_SUCCESS;
}

static void set_servers(struct worker *w, const struct name_request *r)
{
	/* servers can be changed only while nothing is out */
	w->changing = true;
	for (size_t i = 0; i < NAME_SERVERS_MAX; i++)
		ares_cancel(w->channels[i]);
	w->changing = false;
	w->servers = r->count;
	for (size_t i = 0; i < r->count; i++)
		if (!set_channel(w, i, r))
			w->servers = 0;
}

static void ask(struct worker *w, const struct name_request *r)
{
	struct ask *a = w->asks;

	while (a->used)
		a++; /* there is one: receive() has looked */
	*a = (struct ask){.worker = w, .used = true, .id = r->id, .family = (uint8_t)r->family};
	memcpy(a->name, r->name, sizeof(a->name));
	w->in_flight++;
	if (w->servers == 0) {
		on_answer(a, ARES_ESERVFAIL, 0, NULL, 0);
		return;
	}
	a->first = w->next++ % w->servers;
	query(a);
}

/* One message. Return: false when the daemon is gone, or says what it never would. */
static bool receive(struct worker *w)
{
	char bytes[sizeof(struct name_request) + 1];
	struct name_request r;
	ssize_t n = recv(w->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0 || !name_request_check(&r, bytes, (size_t)n))
		return false;
	if (r.type == NAME_ASK && w->in_flight == NAME_IN_FLIGHT_MAX)
		return false;
	if (r.type == NAME_SERVERS)
		set_servers(w, &r);
	else
		ask(w, &r);
	return !w->gone;
}

static int wait_ms(const struct worker *w)
{
	int least = -1;

	for (size_t i = 0; i < w->servers; i++) {
		struct timeval tv, *t = ares_timeout(w->channels[i], NULL, &tv);
		int ms = t == NULL ? -1 : (int)(t->tv_sec * 1000 + (t->tv_usec + 999) / 1000);

		if (ms >= 0 && (least < 0 || ms < least))
			least = ms;
	}
	return least;
}

/* What a channel waits for. Return: how many. */
static nfds_t watch(ares_channel channel, struct pollfd *p)
{
	ares_socket_t socks[RESOLVER_CHANNEL_SOCKETS];
	int bits = ares_getsock(channel, socks, RESOLVER_CHANNEL_SOCKETS);
	nfds_t n = 0;

	for (int i = 0; i < RESOLVER_CHANNEL_SOCKETS; i++) {
		short events = (short)((ARES_GETSOCK_READABLE(bits, i) ? POLLIN : 0) |
				       (ARES_GETSOCK_WRITABLE(bits, i) ? POLLOUT : 0));

		if (events != 0)
			p[n++] = (struct pollfd){.fd = socks[i], .events = events};
	}
	return n;
}

static void process(ares_channel channel, const struct pollfd *p, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++) {
		short ready = p[i].revents;

		if (ready != 0)
			ares_process_fd(channel,
					ready & (POLLIN | POLLERR | POLLHUP) ? p[i].fd
									     : ARES_SOCKET_BAD,
					ready & (POLLOUT | POLLERR) ? p[i].fd : ARES_SOCKET_BAD);
	}
	ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD); /* time */
}

/* Poll everything once. */
static bool turn(struct worker *w)
{
	struct pollfd p[1 + RESOLVER_SOCKETS];
	nfds_t n[NAME_SERVERS_MAX], at = 1;

	p[0] = (struct pollfd){.fd = w->fd, .events = POLLIN};
	for (size_t i = 0; i < w->servers; i++) {
		n[i] = watch(w->channels[i], p + at);
		at += n[i];
	}
	if (poll(p, at, wait_ms(w)) < 0)
		return errno == EINTR;
	at = 1;
	for (size_t i = 0; i < w->servers; i++) {
		process(w->channels[i], p + at, n[i]);
		at += n[i];
	}
	return !w->gone && (p[0].revents == 0 || receive(w));
}

int resolver_worker_main(int fd, void (*confine)(int fd))
{
	static struct worker w;
	struct name_reply r;
	int status;

	memset(&w, 0, sizeof(w));
	memset(&r, 0, sizeof(r));
	w.fd = fd;
	status = open_channels(&w);
	if (status != ARES_SUCCESS) {
		r.type = NAME_FAILED;
		r.stage = NAME_STAGE_ARES;
		r.detail = status;
		(void)resolver_send(fd, &r);
		return 1;
	}
	confine(fd);
	r.type = NAME_HELLO;
	if (!resolver_send(fd, &r))
		return 0;
	while (turn(&w))
		;
	/* a daemon that went away: nothing is left to do for the keeper either */
	return 0;
}
