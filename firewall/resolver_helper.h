/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The resolver's helper: two processes without any right of their own.
 *
 *	ringfenced --fork, exec--> keeper --fork--> worker
 *
 * The worker talks to DNS servers and reads what they say; the keeper starts it
 * again when it has died. So the daemon itself need not be able to make processes
 * once it runs. Both are the program itself, executed anew: nothing of the
 * daemon's memory, nor where things lie in it, is in theirs.
 */
#ifndef FIREWALL_RESOLVER_HELPER_H
#define FIREWALL_RESOLVER_HELPER_H

#include "firewall/name_msg.h"

#define RESOLVER_HELPER_OPTION "--resolver-helper" /* the only argument */
#define RESOLVER_HELPER_FD     3		   /* its end of the socket pair */

/* The worker's: c-ares has one for UDP and one for TCP to each server, in each of as
 * many channels. */
#define RESOLVER_CHANNEL_SOCKETS (2 * NAME_SERVERS_MAX)
#define RESOLVER_SOCKETS	 (NAME_SERVERS_MAX * RESOLVER_CHANNEL_SOCKETS)

/** resolver_helper_main() - the keeper; returns only when it is not what started it */
int resolver_helper_main(void);

/**
 * resolver_worker_main() - the worker; returns the exit status
 * @fd:		its end of the pair
 * @confine:	called once everything is open: from then on it may do nothing else
 *
 * It ends with 0 when the other end has been closed.
 */
int resolver_worker_main(int fd, void (*confine)(int fd));

/** resolver_send() - one message, waiting for room; false: nobody is there */
bool resolver_send(int fd, const struct name_reply *reply);

/**
 * resolver_confine() - limits and filter of the worker
 *
 * Says what failed over @fd and ends the process.
 */
void resolver_confine(int fd);

#endif
