/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A history of xenbus, and a reference model that judges it.
 *
 * A script of bytes is what two clients, the netvm, the toolstack, time, our own
 * process and bad luck do, one after the other, without any order that would make
 * sense; next to them an honest client lives. The model knows the tables of
 * xen-net.md (section 6, and 7 for the uplink), but nothing of netback/:
 *
 *	- each state that we write is a legal step from the one that stood there
 *	- nothing of ours brings a removed directory back, or is written elsewhere
 *	- a backend directory is removed in state 6 with online 0, only then, and
 *	  within the 10 s that libxl waits
 *	- ring pages are mapped, and pages shared, exactly while there is a link
 *	- at rest each device is in the state that its nodes call for
 *	- the honest client's packets pass
 *	- at the end nothing is held any more
 */
#ifndef TESTS_FAKE_HISTORY_H
#define TESTS_FAKE_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTORY_STEPS 400 /* of one script; the rest of it is ignored */

/**
 * history_run() - play a script
 * @trace:	print each step to stderr
 *
 * Return: NULL, or what went wrong first; valid until the next call.
 */
const char *history_run(const uint8_t *script, size_t len, bool trace);

#endif
