/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * netback over a fake Xen, with the loop's part played by the test: what
 * test_vif.c and test_netback.c (and whoever wants two clients and no engine)
 * start from.
 */
#ifndef TESTS_FAKE_RIG_H
#define TESTS_FAKE_RIG_H

#include "netback/copy.h"
#include "netback/netback.h"
#include "tests/fake/front.h"

#define RIG_SELF 7 /* our domid */
#define RIG_PORTS 160

struct rig {
	struct fake *f;
	struct netback *nb;
	struct copy_batch *batch;
	uint64_t now_ms;
	uint64_t deadline_ms; /* what the last poll asked for */
	struct port *port[RIG_PORTS];
	unsigned int added, up, down, removed, lines;
	char last_line[256];
	port_event_fn *on_event; /* told of each event, too */
	void *on_event_arg;
	bool parse; /* rig_move() reads the headers as the engine does; else packets
		     * need not be any, and GSO frames only become partial */
};

void rig_start(struct rig *r);
/** rig_restart() - a new netback over the same Xen, as a restarted daemon; no poll */
void rig_restart(struct rig *r);
/** rig_crash() - our process is killed, and started again; no poll */
void rig_crash(struct rig *r);
/** rig_stop() - free everything; the fake stays for a look, rig_end() ends it */
void rig_stop(struct rig *r);
void rig_end(struct rig *r);

/** rig_poll() - events and xenstore until nothing is due now */
void rig_poll(struct rig *r);
/** rig_wait() - the same, with time going by in the steps that are asked for */
void rig_wait(struct rig *r, uint64_t ms);

/** rig_port() - the known port with this name, or NULL */
struct port *rig_port(const struct rig *r, const char *name);

/**
 * rig_move() - one turn: all that @in has goes to @out (or is dropped: NULL)
 *
 * Return: frames taken from @in.
 */
unsigned int rig_move(struct rig *r, struct port *in, struct port *out);

/** rig_plug() - a client that is connected when this returns */
struct port *rig_plug(struct rig *r, struct front *fr, uint16_t domid,
		      const struct front_config *config);

#endif
