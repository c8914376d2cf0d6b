/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vchan in memory, and a strict dom0 daemon at its other end.
 *
 * The rings notify as libxenvchan does: only after the client asked for it by
 * a read that came short or by looking at the space. A client that sleeps
 * without having asked is never woken, here as there.
 */
#ifndef TESTS_FAKE_VCHAN_H
#define TESTS_FAKE_VCHAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qubesdb/vchan.h"

#define FAKE_RING 4096

struct fake_ring {
	uint32_t cons, prod;
	uint8_t data[FAKE_RING];
};

struct fake_vchan {
	struct fake_ring to_us, to_dom0;
	bool announced, connected, dom0_open;
	bool want_data, want_space; /* asked to be told */
	int event;		    /* eventfd */
	int connect_error;	    /* fail connect() with this -errno */
	size_t read_max;	    /* most bytes of one read(), 0: all */
	unsigned connects, closes;
	unsigned server, client; /* which server there is, which one we are with */
	bool freed; /* ops->free() was called; the memory is the test's */
};

extern const struct qdb_vchan_ops fake_vchan_ops;

void fake_vchan_init(struct fake_vchan *v);
void fake_vchan_end(struct fake_vchan *v);

/* dom0's side */
void fake_vchan_announce(struct fake_vchan *v);
size_t fake_vchan_send(struct fake_vchan *v, const void *buf, size_t len);
size_t fake_vchan_recv(struct fake_vchan *v, void *buf, size_t len);
size_t fake_vchan_peek(const struct fake_vchan *v);
void fake_vchan_close(struct fake_vchan *v);

/* --- the daemon ----------------------------------------------------------- */

struct fake_key {
	char path[64];
	uint32_t len;
	char *value;
};

struct fake_dom0 {
	struct fake_vchan *v;
	struct fake_key *keys;
	size_t n, cap;
	uint8_t *out; /* to be sent */
	size_t out_at, out_len, out_cap;
	char (*expect)[64]; /* paths of our commands not yet answered */
	size_t expect_at, expect_n, expect_cap;
	bool asked;	   /* MULTIREAD came */
	bool stalled;	   /* takes nothing in */
	bool patient;	   /* an RM may find the ring full: both sides are busy */
	size_t send_max;   /* most bytes a run puts into the ring, 0: all */
	unsigned writes, rms, answers; /* of the client */
	char dead[200];	   /* why the real daemon would have exited; "" alive */
};

void fake_dom0_init(struct fake_dom0 *d, struct fake_vchan *v);
void fake_dom0_end(struct fake_dom0 *d);

/** fake_dom0_run() - move bytes, obey messages. Return: whether anything moved */
bool fake_dom0_run(struct fake_dom0 *d);

/** fake_dom0_set() - only in the tree: before a connection */
void fake_dom0_set(struct fake_dom0 *d, const char *path, const char *value, size_t len);
size_t fake_dom0_unset(struct fake_dom0 *d, const char *path);
const struct fake_key *fake_dom0_get(const struct fake_dom0 *d, const char *path);

/** fake_dom0_write(), fake_dom0_rm() - as qubesd does, told to the client */
void fake_dom0_write(struct fake_dom0 *d, const char *path, const char *value);
void fake_dom0_rm(struct fake_dom0 *d, const char *path);

/** fake_dom0_raw() - any bytes, into the stream */
void fake_dom0_raw(struct fake_dom0 *d, const void *buf, size_t len);

/** fake_dom0_message() - a message of any type */
void fake_dom0_message(struct fake_dom0 *d, unsigned type, const char *path, const void *data,
		       size_t len);

/** fake_dom0_restart() - the daemon exits and comes back with its tree */
void fake_dom0_restart(struct fake_dom0 *d);

#endif
