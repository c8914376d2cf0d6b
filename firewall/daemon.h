/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The daemon: everything that one process has, and who tells whom.
 *
 *	QubesDB  --commit-->  sources  --policy-->  engine
 *	QubesDB  --changed--> addresses of the interfaces, DNS servers
 *	netback  --ports-->   forward (frames) and engine (interfaces)
 */
#ifndef FIREWALL_DAEMON_H
#define FIREWALL_DAEMON_H

#include "firewall/dns_servers.h"
#include "firewall/engine.h"
#include "firewall/forward.h"
#include "firewall/loop.h"
#include "firewall/options.h"
#include "firewall/resolver.h"
#include "firewall/settings.h"
#include "firewall/sources.h"
#include "netback/netback.h"
#include "qubesdb/qubesdb.h"
#include "rules/names.h"

struct agent;
struct control;
struct daemon;

/* What the daemon remembers of a port, by the port's index. */
struct attachment {
	struct daemon *daemon;
	struct port *port;
	struct addr ip4, ip6; /* of a client: counted in sources */
	struct loop_watch watch; /* a TAP's descriptor */
	bool watched;
};

struct daemon {
	const struct options *options;
	struct loop *loop;
	struct names *names;
	struct resolver *resolver; /* NULL with -n */
	struct engine *engine;
	struct sources *sources;
	struct copy_batch *batch;
	struct forward *forward;
	struct qubesdb *db;
	struct xen *xen;
	struct netback *netback;
	struct control *control;
	struct agent *agent; /* NULL without --qrexec */
	struct attachment attachments[ENGINE_IFACE_MAX];
	struct addr dns[DNS_SERVERS_MAX];
	struct policy_env env;
	struct addr own[2]; /* our address and the gateway, as the resolver knows it */
	struct settings settings;
	uint16_t uplink; /* index of the port in use, or PORT_NONE */
	uint64_t started_ms, now_ms, wakeups;
	bool synced, stirred, ready, waiting, stop, reload, reconfigure;

	struct loop_watch db_watch, store_watch, event_watch, signal_watch;
};

/**
 * daemon_start() - open everything that the options name
 *
 * Return: 0, or -errno after one line to stderr that says what could not be had.
 */
int daemon_start(struct daemon *d, const struct options *o);

/** daemon_run() - until SIGTERM or SIGINT; 0 or -errno */
int daemon_run(struct daemon *d);

/** daemon_check() - ringfenced -n: print policies; 0, or -EBADMSG when one is malformed */
int daemon_check(struct daemon *d);

/** daemon_stop() - stop forwarding, then close the devices, then the rest */
void daemon_stop(struct daemon *d);

/* ports.c: ports and their interfaces in the engine */
void daemon_port_event(void *arg, struct port *port, enum port_event event);
int daemon_open_taps(struct daemon *d);
void daemon_close_taps(struct daemon *d);
/* read addresses and DNS servers again and tell the engine what changed */
void daemon_configure(struct daemon *d);

#endif
