/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Xen seam of this room: a byte stream to dom0, or (qrexec) to another qube.
 *
 * vchan_real.c is libxenvchan; the tests have a pair of rings in memory
 * (tests/fake/vchan.c). Nothing here waits for the other end.
 */
#ifndef QUBESDB_VCHAN_H
#define QUBESDB_VCHAN_H

#include <stdbool.h>
#include <stddef.h>

struct qdb_vchan_ops {
	/* 0; -EAGAIN while the other end is not there; -errno */
	int (*connect)(void *v);
	/* descriptor to poll for reading: of the connection, or, without one,
	 * of the wait for it; -1 for none */
	int (*fd)(const void *v);
	/* consume readiness of that descriptor; true when there was any */
	bool (*clear_event)(void *v);
	/* bytes moved, perhaps 0, and then asks to be told; -errno */
	int (*read)(void *v, void *buf, size_t len);
	int (*write)(void *v, const void *buf, size_t len);
	/* bytes now; asks to be told of more */
	int (*data_ready)(void *v);
	int (*buffer_space)(void *v);
	/* 1 open; 0 the peer closed (what it wrote can still be read);
	 * -EPROTO its indices are impossible */
	int (*is_open)(void *v);
	void (*close)(void *v); /* back to waiting */
	void (*free)(void *v);
};

/** qdb_vchan_real() - libxenvchan as a client, with a watch; opens nothing before connect() */
int qdb_vchan_real(const struct qdb_vchan_ops **ops, void **v, int domid, int port);

/**
 * qdb_vchan_dial() - the same without a watch: connect() is to be tried again
 *
 * For a connection of seconds. A watch would be one more thread of libxenstore.
 */
int qdb_vchan_dial(const struct qdb_vchan_ops **ops, void **v, int domid, int port);

/** qdb_vchan_listen() - libxenvchan as a server; connect() makes it and sees who came */
int qdb_vchan_listen(const struct qdb_vchan_ops **ops, void **v, int domid, int port);

#endif
