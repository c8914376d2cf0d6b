/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qrexec agent: dom0 calls services of this qube, and is called once by it.
 *
 * It is the vchan server on port 512 for dom0 and offers version 4. It executes
 * nothing: a service is a function that answers (qrexec_service.c), and whatever is
 * no service of ours ends with status 127. doc/qrexec.md says how it is kept.
 *
 * Nothing in it blocks on a peer.
 */
#ifndef QUBESDB_QREXEC_H
#define QUBESDB_QREXEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qubesdb/qubesdb.h"
#include "qubesdb/vchan.h"

#define QREXEC_PORT	      512
#define QREXEC_SESSIONS	      8			    /* data connections at a time */
#define QREXEC_SESSIONS_QUBES 4			    /* of these, for all callers but dom0 */
#define QREXEC_SESSIONS_QUBE  2			    /* and for one of them */
#define QREXEC_FDS	      (QREXEC_SESSIONS + 2) /* dom0's, and our own call's */
#define QREXEC_SERVICE_SHOW   64		    /* characters of a foreign name in a line */

#define QREXEC_GREET_MS	  10000 /* from a command, or dom0's connection, to both HELLOs */
#define QREXEC_SESSION_MS 30000 /* from there to the end */
#define QREXEC_MESSAGE_MS 10000 /* from the first byte of a message of dom0's to its last */

struct qrexec;

/** Where vchans come from: libxenvchan, or a test. */
struct qrexec_vchans {
	int (*listen)(void *arg, const struct qdb_vchan_ops **ops, void **v, int domid, int port);
	int (*dial)(void *arg, const struct qdb_vchan_ops **ops, void **v, int domid, int port);
	void *arg;
};

/** What the agent needs of the daemon. */
struct qrexec_host {
	/*
	 * The answer to a request of the control socket: text for the caller to free(), or
	 * NULL without memory. @error: whether it says that the request makes no sense.
	 */
	char *(*ask)(void *arg, char *request, bool *error);
	void (*log)(void *arg, int level, const char *text);
	void *arg;
};

struct qrexec_stats {
	const char *state;			/* "off", "waiting", "greeting", "connected" */
	unsigned version;			/* that is spoken with dom0; 0: not connected */
	unsigned sessions;			/* data connections now */
	uint64_t served, refused, failed, busy; /* calls, by how they ended */
	const char *features;			/* what became of qubes.FeaturesRequest */
};

/** qrexec_new() - an agent that listens to nobody yet; @vchans NULL: libxenvchan */
int qrexec_new(struct qrexec **out, struct qubesdb *db, const struct qrexec_host *host,
	       const struct qrexec_vchans *vchans);
void qrexec_free(struct qrexec **q);

/**
 * qrexec_open() - rules are in force: make the server
 *
 * dom0 takes our HELLO for the end of this qube's start. Harmless when repeated.
 */
void qrexec_open(struct qrexec *q);

/** qrexec_fd() - of @i below QREXEC_FDS: to poll for reading, or -1; changes with each call */
int qrexec_fd(const struct qrexec *q, unsigned i);

/**
 * qrexec_process() - do what can be done now
 *
 * Return: deadline of the next call as qubesdb_process() has it.
 */
uint64_t qrexec_process(struct qrexec *q, uint64_t now_ms);

struct qrexec_stats qrexec_stats(const struct qrexec *q);

#endif
