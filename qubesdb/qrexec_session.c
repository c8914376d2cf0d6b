// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The states are in the header. What holds in all of them:
 *
 * The other end is whoever called, which may be a qube that dom0's policy allows; so
 * it is trusted with nothing. It costs a slot until the deadline, which no message of
 * its moves, and memory for one message's beginning and one reply.
 *
 * STDIN is taken in to the end, wanted or not: a caller that waits for room to write
 * does not read what we say. For the same reason a frame goes out only when all of
 * it fits the ring, in pieces as large as the ring has room for.
 *
 * A domain that is destroyed closes nothing and signals nothing; the deadline is what
 * notices it.
 */
#include "qubesdb/qrexec_session.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MIN_MS	  20
#define RETRY_MAX_MS	  160
#define MESSAGES_PER_CALL 32
#define CHUNK		  4096 /* of output, at most */
#define CHUNK_MIN	  256  /* unless it is all: no crumbs into a ring that is nearly full */

int qrexec_session_fd(const struct qrexec_session *s)
{
	return s->v ? s->ops->fd(s->v) : -1;
}

void qrexec_session_end(struct qrexec_session *s, const char *why)
{
	if (s->v)
		s->ops->free(s->v);
	s->v = NULL;
	free(s->reply.out);
	s->reply.out = NULL;
	s->why = why;
	s->state = QREXEC_END;
}

static void start(struct qrexec_session *s, const struct qdb_vchan_ops *ops, void *v,
		  uint64_t now_ms)
{
	*s = (struct qrexec_session){.state = QREXEC_CONNECT,
				     .ops = ops,
				     .v = v,
				     .domain = s->domain,
				     .port = s->port,
				     .link = s->link,
				     .deadline_ms = now_ms + QREXEC_GREET_MS,
				     .retry_wait_ms = RETRY_MIN_MS};
}

void qrexec_session_serve(struct qrexec_session *s, const struct qdb_vchan_ops *ops, void *v,
			  const struct qrexec_host *host, uint64_t now_ms)
{
	start(s, ops, v, now_ms);
	s->host = host;
}

void qrexec_session_call(struct qrexec_session *s, const struct qdb_vchan_ops *ops, void *v,
			 uint64_t now_ms)
{
	start(s, ops, v, now_ms);
	s->call = true;
}

void qrexec_session_command(struct qrexec_session *s, const struct qrexec_command *c,
			    const char *why)
{
	size_t n = strlen(c->argument);

	if (!why) {
		s->service = qrexec_service_find(c->service);
		why = "no such service in this qube";
	}
	if (!s->service)
		qrexec_refuse(&s->reply, c->service, why);
	/* One that is too long stays too long. */
	memcpy(s->argument, c->argument, n < sizeof(s->argument) ? n : sizeof(s->argument) - 1);
}

/* --- out --------------------------------------------------------------------------- */

/* Return: 1 sent, 0 the ring has no room for the whole frame, -EPIPE. */
static int send_whole(struct qrexec_session *s, const uint8_t *buf, size_t len)
{
	int room = s->ops->buffer_space(s->v), n;

	if (room < 0)
		return -EPIPE;
	if ((size_t)room < len)
		return 0;
	n = s->ops->write(s->v, buf, len);
	return n == (int)len ? 1 : -EPIPE; /* it takes back the room that it gave */
}

static int send_data(struct qrexec_session *s, enum qrexec_type type, const char *data, size_t len)
{
	uint8_t buf[QREXEC_HEADER + CHUNK];

	assert(len <= CHUNK);
	qrexec_header(buf, type, (uint32_t)len);
	if (len)
		memcpy(buf + QREXEC_HEADER, data, len);
	return send_whole(s, buf, QREXEC_HEADER + len);
}

/* One frame of the output. Return: as send_whole(). */
static int send_output(struct qrexec_session *s)
{
	size_t left = s->reply.out_len - s->out_at, chunk = left < CHUNK ? left : CHUNK;
	int room = s->ops->buffer_space(s->v), rc;

	if (room < 0)
		return -EPIPE;
	if (chunk + QREXEC_HEADER > (size_t)room) {
		if ((size_t)room < CHUNK_MIN)
			return 0;
		chunk = (size_t)room - QREXEC_HEADER;
	}
	rc = send_data(s, QREXEC_STDOUT, s->reply.out + s->out_at, chunk);
	if (rc > 0)
		s->out_at += chunk;
	return rc;
}

/* The next part of what is to be said. Return: as send_whole(). */
static int send_part(struct qrexec_session *s)
{
	bool data = !s->call && !s->only_status;
	uint8_t buf[QREXEC_OUT_MAX];
	int rc = 1;

	switch (s->out) {
	case QREXEC_OUT_HELLO:
		rc = send_whole(s, buf, qrexec_hello(buf));
		break;
	case QREXEC_OUT_STDERR:
		if (data && s->reply.err[0])
			rc = send_data(s, QREXEC_STDERR, s->reply.err, strlen(s->reply.err));
		break;
	case QREXEC_OUT_STDOUT:
		while (data && rc > 0 && s->out_at < s->reply.out_len)
			rc = send_output(s);
		break;
	case QREXEC_OUT_EOF:
		if (data || s->call)
			rc = send_data(s, s->call ? QREXEC_STDIN : QREXEC_STDOUT, NULL, 0);
		break;
	case QREXEC_OUT_EXIT:
		if (!s->call)
			rc = send_whole(s, buf, qrexec_exit_code(buf, (uint32_t)s->reply.status));
		break;
	case QREXEC_OUT_DONE:
		return 0;
	}
	if (rc > 0)
		s->out++;
	return rc;
}

/* What must not be said yet. */
static enum qrexec_out out_limit(const struct qrexec_session *s)
{
	switch (s->state) {
	case QREXEC_REPLY:
	case QREXEC_CALL:
		return QREXEC_OUT_DONE;
	case QREXEC_INPUT:
		return QREXEC_OUT_STDERR;
	case QREXEC_GREET:
		return s->call ? QREXEC_OUT_STDERR : QREXEC_OUT_HELLO;
	case QREXEC_FREE:
	case QREXEC_CONNECT:
	case QREXEC_END:
		break;
	}
	return QREXEC_OUT_HELLO;
}

static int flush(struct qrexec_session *s)
{
	int rc = 1;

	while (rc > 0 && s->out < out_limit(s))
		rc = send_part(s);
	return rc;
}

/* --- in ------------------------------------------------------------------------------ */

static bool legal(const void *arg, uint32_t type, uint32_t len)
{
	const struct qrexec_session *s = arg;

	switch (s->state) {
	case QREXEC_GREET:
		return type == QREXEC_HELLO && len == 4;
	case QREXEC_INPUT:
	case QREXEC_REPLY:
		return type == QREXEC_STDIN && len <= qrexec_chunk_max(s->version);
	case QREXEC_CALL:
		if (type == QREXEC_EXIT_CODE)
			return len == 4;
		return (type == QREXEC_STDOUT || type == QREXEC_STDERR) &&
		       len <= qrexec_chunk_max(s->version);
	case QREXEC_FREE:
	case QREXEC_CONNECT:
	case QREXEC_END:
		break;
	}
	return false;
}

static void answer(struct qrexec_session *s)
{
	s->line[s->line_len] = '\0';
	s->state = QREXEC_REPLY;
	if (!s->service)
		return; /* refused */
	/* JUST_EXEC starts something that nobody listens to: ours have nothing to do then. */
	if (!s->only_status)
		qrexec_service_run(s->service, s->host, s->argument, s->line, s->line_len,
				   &s->reply);
}

static int greeted(struct qrexec_session *s, uint64_t now_ms)
{
	s->version = qrexec_version(qrexec_get32(s->in.body));
	if (!s->version)
		return -EPROTO;
	s->deadline_ms = now_ms + QREXEC_SESSION_MS;
	if (s->call) {
		s->state = QREXEC_CALL;
		return 0;
	}
	s->state = QREXEC_INPUT;
	if (!s->service || s->only_status || !qrexec_service_reads(s->service, s->argument))
		answer(s);
	return 0;
}

/* The line ends with its newline, with the input, or by being too long for any service. */
static void input(struct qrexec_session *s)
{
	size_t n = qrexec_kept(&s->in), room = sizeof(s->line) - 1 - s->line_len;
	const uint8_t *end = memchr(s->in.body, '\n', n);

	if (end)
		n = (size_t)(end - s->in.body);
	memcpy(s->line + s->line_len, s->in.body, n < room ? n : room);
	s->line_len += n < room ? n : room;
	if (s->line_len > QREXEC_LINE_MAX) {
		qrexec_reply_bad(&s->reply, "the line of input is too long");
		s->service = NULL;
		answer(s);
	} else if (end || s->in.len == 0) {
		answer(s);
	}
}

/* Return: 0, -EPROTO. */
static int message(struct qrexec_session *s, uint64_t now_ms)
{
	switch (s->state) {
	case QREXEC_GREET:
		return greeted(s, now_ms);
	case QREXEC_INPUT:
		input(s);
		return 0;
	case QREXEC_CALL:
		if (s->in.type == QREXEC_EXIT_CODE) {
			s->reply.status = (int)qrexec_get32(s->in.body);
			qrexec_session_end(s, NULL);
		}
		return 0;
	case QREXEC_REPLY:
	case QREXEC_FREE:
	case QREXEC_CONNECT:
	case QREXEC_END:
		break;
	}
	return 0;
}

/* Return: 1 when the budget ended first, 0 nothing more is there, -errno. */
static int drain(struct qrexec_session *s, uint64_t now_ms)
{
	for (int i = 0; i < MESSAGES_PER_CALL; i++) {
		int rc = qrexec_take(&s->in, s->ops, s->v, legal, s);

		if (rc <= 0)
			return rc;
		rc = message(s, now_ms);
		if (rc < 0 || s->state == QREXEC_END)
			return rc;
		qrexec_next(&s->in);
	}
	return 1;
}

/* --- steps --------------------------------------------------------------------------- */

static const char *reason(const struct qrexec_session *s, int rc)
{
	if (rc != -EPROTO)
		return "the other end closed the connection";
	return s->state == QREXEC_GREET ? "the other end did not greet"
					: "a message that may not come";
}

/* Return: whether there is a connection now. */
static bool connect_step(struct qrexec_session *s, uint64_t now_ms)
{
	int rc;

	if (now_ms < s->retry_ms)
		return false;
	rc = s->ops->connect(s->v);
	if (rc == -EAGAIN && !s->call) {
		s->retry_ms = now_ms + s->retry_wait_ms;
		if (s->retry_wait_ms < RETRY_MAX_MS)
			s->retry_wait_ms *= 2;
		return false;
	}
	if (rc == -EAGAIN)
		return false; /* the server's descriptor tells */
	if (rc < 0) {
		qrexec_session_end(s, "there is no vchan");
		return false;
	}
	s->state = QREXEC_GREET;
	return true;
}

/* Return: 1 more to do at once, 0 wait, -errno over. */
static int connected_step(struct qrexec_session *s, uint64_t now_ms)
{
	int more, rc;

	/* That it closed shows when nothing is left to read. */
	if (s->ops->is_open(s->v) < 0)
		return -EPROTO;
	rc = flush(s);
	if (rc < 0)
		return rc;
	more = drain(s, now_ms);
	if (more < 0 || s->state == QREXEC_END)
		return more;
	rc = flush(s);
	if (rc < 0)
		return rc;
	if (s->state == QREXEC_REPLY && s->out == QREXEC_OUT_DONE) {
		/* What was written can still be read there. */
		qrexec_session_end(s, NULL);
		return 0;
	}
	return more;
}

static uint64_t wait_until(const struct qrexec_session *s, uint64_t now_ms)
{
	if (s->state == QREXEC_END)
		return now_ms; /* dom0 is to be told */
	if (s->state == QREXEC_CONNECT && s->retry_ms > now_ms && s->retry_ms < s->deadline_ms)
		return s->retry_ms;
	return s->deadline_ms;
}

uint64_t qrexec_session_step(struct qrexec_session *s, uint64_t now_ms)
{
	int rc = 0;

	if (s->state == QREXEC_FREE || s->state == QREXEC_END)
		return UINT64_MAX;
	s->ops->clear_event(s->v);
	if (s->state != QREXEC_CONNECT || connect_step(s, now_ms))
		rc = connected_step(s, now_ms);
	if (rc < 0)
		qrexec_session_end(s, reason(s, rc));
	else if (s->state != QREXEC_END && now_ms >= s->deadline_ms)
		qrexec_session_end(s, "the other end took too long");
	return rc > 0 ? now_ms : wait_until(s, now_ms);
}
