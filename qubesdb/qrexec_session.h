/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One data connection: a service that somebody calls here, or our own call of one.
 *
 *	FREE     nothing
 *	CONNECT  the vchan is not there yet; its maker is asked again in a while
 *	GREET    wait for the other HELLO (to a call of ours: ours is sent first)
 *	INPUT    wait for a line of STDIN
 *	REPLY    send what the service said; STDIN is thrown away
 *	CALL     our call: STDIN is at its end; wait for EXIT_CODE
 *	END      closed; whoever has it tells dom0 and frees it
 *
 * A message that may not come in a state, a peer that closes, and the deadline end it
 * from any state. Private to this room.
 */
#ifndef QUBESDB_QREXEC_SESSION_H
#define QUBESDB_QREXEC_SESSION_H

#include "qubesdb/qrexec_service.h"
#include "qubesdb/qrexec_wire.h"

enum qrexec_state {
	QREXEC_FREE,
	QREXEC_CONNECT,
	QREXEC_GREET,
	QREXEC_INPUT,
	QREXEC_REPLY,
	QREXEC_CALL,
	QREXEC_END
};

/* What goes out, in order; some of it only here, some only there. */
enum qrexec_out {
	QREXEC_OUT_HELLO,
	QREXEC_OUT_STDERR,
	QREXEC_OUT_STDOUT,
	QREXEC_OUT_EOF,
	QREXEC_OUT_EXIT,
	QREXEC_OUT_DONE
};

struct qrexec_session {
	enum qrexec_state state;
	const struct qdb_vchan_ops *ops;
	void *v;
	uint32_t domain, port;
	unsigned link; /* which connection of dom0's it was asked on */
	uint64_t deadline_ms, retry_ms;
	unsigned retry_wait_ms;
	unsigned version;
	bool call;	  /* ours: the vchan is, too */
	bool only_status; /* JUST_EXEC: no output */

	const struct qrexec_host *host;
	const struct qrexec_service *service; /* NULL: the reply is made already */
	char argument[QREXEC_LINE_MAX + 2];   /* one more than any service takes */
	char line[QREXEC_LINE_MAX + 2];
	size_t line_len;

	enum qrexec_out out;
	size_t out_at; /* of the reply's STDOUT */
	struct qrexec_reply reply;
	struct qrexec_reader in;
	const char *why; /* it ended before its end; NULL: it did not */
};

/**
 * qrexec_session_serve() - somebody calls a service
 *
 * Takes over the vchan @v. The caller has set domain, port and link, and says next
 * whether only a status is wanted, and what is called.
 */
void qrexec_session_serve(struct qrexec_session *s, const struct qdb_vchan_ops *ops, void *v,
			  const struct qrexec_host *host, uint64_t now_ms);

/**
 * qrexec_session_command() - what is called
 * @why:	it made no sense, for this reason; NULL: it did
 */
void qrexec_session_command(struct qrexec_session *s, const struct qrexec_command *c,
			    const char *why);

/** qrexec_session_call() - dom0 accepted a call of ours; its client connects to @v */
void qrexec_session_call(struct qrexec_session *s, const struct qdb_vchan_ops *ops, void *v,
			 uint64_t now_ms);

/**
 * qrexec_session_step() - do what can be done now
 *
 * Return: when to call again if nothing happens; @now_ms for at once.
 */
uint64_t qrexec_session_step(struct qrexec_session *s, uint64_t now_ms);

/** qrexec_session_end() - close the vchan, keep what dom0 is to be told */
void qrexec_session_end(struct qrexec_session *s, const char *why);

/** qrexec_session_fd() - to poll for reading, or -1 */
int qrexec_session_fd(const struct qrexec_session *s);

#endif
