/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The qrexec agent (qubesdb/qrexec.h) in the daemon's loop; its services answer what
 * the control socket answers.
 */
#ifndef FIREWALL_AGENT_H
#define FIREWALL_AGENT_H

#include "qubesdb/qrexec.h"

#include <jansson.h>

struct agent;
struct daemon;

/** agent_new() - 0 or -errno; it listens to nobody yet; @vchans NULL: libxenvchan */
int agent_new(struct agent **out, struct daemon *d, const struct qrexec_vchans *vchans);
void agent_free(struct agent **a);

/** agent_open() - rules are in force: dom0 may know */
void agent_open(struct agent *a);

/** agent_json() - for status; an object for the caller, null without an agent */
json_t *agent_json(const struct agent *a);

#endif
