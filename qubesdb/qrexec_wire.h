/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages of qrexec, versions 2 to 4: a header {u32 type, u32 len}, little endian, and
 * len bytes. The same header is used on the control channel and on data connections.
 */
#ifndef QUBESDB_QREXEC_WIRE_H
#define QUBESDB_QREXEC_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qubesdb/vchan.h"

enum qrexec_type {
	QREXEC_STDIN = 0x190,
	QREXEC_STDOUT = 0x191,
	QREXEC_STDERR = 0x192,
	QREXEC_EXIT_CODE = 0x193,
	QREXEC_EXEC_CMDLINE = 0x200,
	QREXEC_JUST_EXEC = 0x201,
	QREXEC_SERVICE_CONNECT = 0x202,
	QREXEC_SERVICE_REFUSED = 0x203,
	QREXEC_CONNECTION_TERMINATED = 0x211,
	QREXEC_TRIGGER_SERVICE3 = 0x212,
	QREXEC_HELLO = 0x300,
};

#define QREXEC_VERSION_MIN 2
#define QREXEC_VERSION_MAX 4

#define QREXEC_HEADER	    8
#define QREXEC_PARAMS	    8  /* {u32 connect_domain, u32 connect_port} */
#define QREXEC_IDENT	    32 /* of a request, zero filled */
#define QREXEC_TARGET	    64
#define QREXEC_SERVICE_MAX  64	  /* characters that are kept of a service's name */
#define QREXEC_CMDLINE_MAX  65536 /* bytes that dom0 may send, with the NUL */
#define QREXEC_CMDLINE_KEEP 1024  /* of which we keep: more is no call of ours */
#define QREXEC_BODY_KEEP    (QREXEC_PARAMS + QREXEC_CMDLINE_KEEP)

/* The largest message that we compose: TRIGGER_SERVICE3. */
#define QREXEC_OUT_MAX (QREXEC_HEADER + QREXEC_TARGET + QREXEC_IDENT + QREXEC_SERVICE_MAX + 1)

uint32_t qrexec_get32(const uint8_t *p);

/** qrexec_header() - Return: QREXEC_HEADER */
size_t qrexec_header(uint8_t *buf, enum qrexec_type type, uint32_t len);

/* Each composes a whole message. Return: its bytes. */
size_t qrexec_hello(uint8_t *buf);
size_t qrexec_exit_code(uint8_t *buf, uint32_t status);
size_t qrexec_terminated(uint8_t *buf, uint32_t domain, uint32_t port);
size_t qrexec_trigger(uint8_t *buf, const char *target, const char *ident, const char *service);

/** qrexec_version() - what two ends use, by what the other one says; 0: nothing */
unsigned qrexec_version(uint32_t theirs);

/** qrexec_chunk_max() - most bytes of one STDIN, STDOUT or STDERR */
uint32_t qrexec_chunk_max(unsigned version);

/** What dom0 wants to be run; points into the command line. */
struct qrexec_command {
	const char *service;
	const char *argument; /* behind the first +; "" without one */
	const char *source;   /* "" when dom0 did not say */
};

/**
 * qrexec_command() - take "[user:][nogui:]QUBESRPC service+arg source ..." apart
 * @text:	@len bytes; is cut into words
 * @why:	receives what is wrong with it
 *
 * Return: 0 or -EINVAL; the fields are valid text in either case.
 */
int qrexec_command(struct qrexec_command *c, char *text, size_t len, const char **why);

/** One message, as it comes in piece by piece. */
struct qrexec_reader {
	uint8_t head[QREXEC_HEADER];
	size_t head_len;
	uint32_t type, len;		/* valid with the whole header */
	uint32_t got;			/* of len */
	uint8_t body[QREXEC_BODY_KEEP]; /* its first bytes; the rest is thrown away */
};

/** Whether a message of that header may come now. */
typedef bool qrexec_legal(const void *arg, uint32_t type, uint32_t len);

/**
 * qrexec_take() - go on with a message; for the next one, qrexec_next() first
 * @legal:	judges the header before any of the body is looked at
 *
 * Return: 1 for a whole message, 0 when there is none yet, -EPIPE closed, -EPROTO
 * not legal.
 */
int qrexec_take(struct qrexec_reader *r, const struct qdb_vchan_ops *ops, void *v,
		qrexec_legal *legal, const void *arg);
void qrexec_next(struct qrexec_reader *r);

/** qrexec_kept() - how much of the body is there */
size_t qrexec_kept(const struct qrexec_reader *r);

#endif
