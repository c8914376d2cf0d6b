/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The services that the qrexec agent has, and what each of them answers. No I/O here:
 * argument and one line of input in, output and exit status out.
 */
#ifndef QUBESDB_QREXEC_SERVICE_H
#define QUBESDB_QREXEC_SERVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "qubesdb/qrexec.h"
#include "qubesdb/qrexec_wire.h"

#define QREXEC_LINE_MAX 128 /* of input that counts, without its newline */
#define QREXEC_ERR_MAX	200

#define QREXEC_STATUS_BAD     1	  /* what was asked makes no sense */
#define QREXEC_STATUS_NO_SUCH 127 /* no such service */

struct qrexec_reply {
	int status;
	char err[QREXEC_ERR_MAX]; /* one line for stderr, with its newline, or "" */
	char *out;		  /* for stdout, owned by whoever has the reply; or NULL */
	size_t out_len;
};

struct qrexec_service;

/** qrexec_service_find() - NULL when there is none of that name */
const struct qrexec_service *qrexec_service_find(const char *name);

/** qrexec_service_reads() - whether it answers only when a line of input is there */
bool qrexec_service_reads(const struct qrexec_service *s, const char *argument);

/**
 * qrexec_service_run() - answer
 * @line:	the input without its newline, NUL terminated behind @len; no service
 *		takes a line with a NUL in it
 */
void qrexec_service_run(const struct qrexec_service *s, const struct qrexec_host *host,
			const char *argument, const char *line, size_t len,
			struct qrexec_reply *reply);

/** qrexec_refuse() - status 127 and the line that says why */
void qrexec_refuse(struct qrexec_reply *reply, const char *service, const char *why);

/** qrexec_reply_bad() - status 1 and the line that says why */
void qrexec_reply_bad(struct qrexec_reply *reply, const char *why);

#endif
