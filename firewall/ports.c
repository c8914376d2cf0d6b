/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ports and what the engine knows of them.
 *
 * A client's addresses come from the port (xenstore's ip node of the backend
 * directory, which the client cannot write, or --tap). The uplink's come from
 * QubesDB and can change while it runs, so all interfaces are simply set again
 * whenever a key outside the rules changed; the engine ignores what is the same.
 */
#include "firewall/daemon.h"
#include "firewall/log.h"
#include "rules/text.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SELF_ADDRESS "192.0.0.8" /* RFC 7600: the IPv4 dummy address */

static const uint8_t default_uplink_mac[6] = {0x00, 0x16, 0x3e, 0x5e, 0x6c, 0x00};

/* "IPv4 [IPv6]" in any order: the first of each family, nothing else. */
static void parse_ips(const struct port *port, struct addr *ip4, struct addr *ip6)
{
	const char *rest = port->ip, *word;
	size_t len;

	*ip4 = *ip6 = (struct addr){0};
	while ((word = text_word(&rest, &len)) != NULL) {
		struct addr a;

		if (addr_parse(word, len, &a) != 0)
			log_msg(LOG_LEVEL_WARNING, "%s: ip: \"%.*s\" is not an address",
				port->name, (int)len, word);
		else if (a.family == 4 && ip4->family == 0)
			*ip4 = a;
		else if (a.family == 6 && ip6->family == 0)
			*ip6 = a;
	}
}

static void set_iface(struct daemon *d, struct attachment *at)
{
	const struct port *port = at->port;
	struct engine_iface iface = {.mtu = port->mtu != 0 ? port->mtu : 1500};

	memcpy(iface.mac, port->mac, sizeof(iface.mac));
	switch (port->role) {
	case PORT_ROLE_UPLINK:
		iface.kind = IFACE_UPLINK;
		iface.ip4 = settings_addr(d->db, "/qubes-ip", 4);
		iface.ip6 = settings_addr(d->db, "/qubes-ip6", 6);
		iface.gateway4 = settings_addr(d->db, "/qubes-gateway", 4);
		iface.gateway6 = settings_addr(d->db, "/qubes-gateway6", 6);
		break;
	case PORT_ROLE_CLIENT:
	case PORT_ROLE_SELF:
		iface.kind = port->role == PORT_ROLE_SELF ? IFACE_SELF : IFACE_CLIENT;
		iface.ip4 = at->ip4;
		iface.ip6 = at->ip6;
		iface.gateway4 = settings_addr(d->db, "/qubes-netvm-gateway", 4);
		iface.gateway6 = settings_addr(d->db, "/qubes-netvm-gateway6", 6);
		if (iface.gateway4.family == 0)
			iface.gateway4 = settings_addr(d->db, "/qubes-ip", 4);
		if (port->role == PORT_ROLE_CLIENT)
			iface.visible4 = settings_visible(d->db, &at->ip4, &iface.gateway4);
		break;
	}
	if (engine_iface_set(d->engine, port->id, &iface) != 0)
		log_msg(LOG_LEVEL_ERROR, "%s: not served, the engine refuses it", port->name);
	engine_iface_link(d->engine, port->id, port->link);
}

/* Whom it asks, and whether the way there is another one (a netvm switch). */
static void configure_resolver(struct daemon *d)
{
	const struct addr own[2] = {settings_addr(d->db, "/qubes-ip", 4),
				    settings_addr(d->db, "/qubes-gateway", 4)};
	struct addr servers[DNS_SERVERS_MAX];

	if (d->resolver == NULL)
		return;
	resolver_servers(d->resolver, servers, dns_upstream(d->db, servers));
	if (addr_equal(&own[0], &d->own[0]) && addr_equal(&own[1], &d->own[1]))
		return;
	memcpy(d->own, own, sizeof(own));
	resolver_wake(d->resolver, true);
}

void daemon_configure(struct daemon *d)
{
	struct addr dns[DNS_SERVERS_MAX];
	size_t n = dns_servers(d->db, dns), seed_len;
	const char *seed = qubesdb_read(d->db, "/qubes-random-seed", &seed_len);

	if (seed != NULL && !d->stirred) {
		engine_stir(d->engine, seed, seed_len); /* N2 */
		d->stirred = true;
	}
	settings_read(&d->settings, d->db, d->now_ms);
	log_set_level(d->settings.log_level != 0 ? d->settings.log_level : d->options->log_level);
	engine_set_dns(d->engine, d->settings.dns, d->settings.dns_count);
	(void)engine_set_connected(d->engine, d->settings.connected,
				   d->settings.connected_count); /* it has the same bound */
	sources_apply_options(d->sources);

	if (n != d->env.dns_count || memcmp(dns, d->dns, n * sizeof(dns[0])) != 0) {
		memcpy(d->dns, dns, n * sizeof(dns[0]));
		d->env.dns_count = n;
		sources_recompile(d->sources);
	}
	for (unsigned int i = 0; i < ENGINE_IFACE_MAX; i++)
		if (d->attachments[i].port != NULL)
			set_iface(d, &d->attachments[i]);
	configure_resolver(d);
}

/* A TAP that was deleted under us reports an error for ever: stop listening. */
static void tap_ready(void *arg, uint64_t now_ms)
{
	struct attachment *at = arg;

	at->daemon->now_ms = now_ms;
	if (at->port->link) {
		at->port->ready = true;
		return;
	}
	loop_remove(at->daemon->loop, &at->watch);
	at->watched = false;
	daemon_port_event(at->daemon, at->port, PORT_EVENT_LINK_DOWN);
}

static int port_added(struct daemon *d, struct port *port)
{
	struct attachment *at;

	if (forward_add(d->forward, port) != 0) {
		log_msg(LOG_LEVEL_ERROR, "%s: refused, more than %d interfaces", port->name,
			ENGINE_IFACE_MAX);
		port->id = PORT_NONE;
		return -ENOSPC;
	}
	at = &d->attachments[port->id];
	*at = (struct attachment){.daemon = d, .port = port};
	if (port->role != PORT_ROLE_UPLINK) {
		parse_ips(port, &at->ip4, &at->ip6);
		if (at->ip4.family != 0)
			sources_attach(d->sources, &at->ip4);
		if (at->ip6.family != 0)
			sources_attach(d->sources, &at->ip6);
	}
	if (port->fd >= 0) {
		at->watch = (struct loop_watch){.fd = port->fd, .deadline_ms = UINT64_MAX,
						.ready = tap_ready, .arg = at};
		at->watched = loop_add(d->loop, &at->watch) == 0;
	}
	set_iface(d, at);
	return 0;
}

static void port_removed(struct daemon *d, struct port *port)
{
	struct attachment *at = &d->attachments[port->id];

	if (at->watched)
		loop_remove(d->loop, &at->watch);
	forward_remove(d->forward, port);
	engine_iface_clear(d->engine, port->id);
	if (at->ip4.family != 0)
		sources_detach(d->sources, &at->ip4);
	if (at->ip6.family != 0)
		sources_detach(d->sources, &at->ip6);
	*at = (struct attachment){0};
}

/* A peer can connect and disconnect as often as it likes: rate limited. */
static void log_link(struct daemon *d, const struct port *port, const char *what)
{
	char text[160];

	snprintf(text, sizeof(text), "%s: %s%s%s", port->name, what,
		 port->reason != NULL && port->reason[0] != '\0' ? ": " : "",
		 port->reason != NULL ? port->reason : "");
	log_peer(d->now_ms, LOG_LEVEL_INFO, text);
}

void daemon_port_event(void *arg, struct port *port, enum port_event event)
{
	struct daemon *d = arg;

	if (event != PORT_EVENT_ADDED &&
	    (port->id >= ENGINE_IFACE_MAX || d->attachments[port->id].port != port))
		return; /* it was refused */
	switch (event) {
	case PORT_EVENT_ADDED:
		if (port_added(d, port) == 0)
			log_msg(LOG_LEVEL_INFO, "%s: %s%s", port->name,
				port->role == PORT_ROLE_UPLINK ? "uplink" : "client ", port->ip);
		break;
	case PORT_EVENT_LINK_UP:
		set_iface(d, &d->attachments[port->id]);
		port->ready = true;
		log_link(d, port, "connected");
		if (port->role == PORT_ROLE_UPLINK && d->resolver != NULL)
			resolver_wake(d->resolver, false);
		break;
	case PORT_EVENT_LINK_DOWN:
		forward_purge(d->forward, port);
		engine_iface_link(d->engine, port->id, false);
		log_link(d, port, "disconnected");
		break;
	case PORT_EVENT_REMOVED:
		port_removed(d, port);
		log_msg(LOG_LEVEL_INFO, "%s: removed", port->name);
		break;
	}
	d->uplink = engine_uplink_in_use(d->engine);
}

/* A client's MAC that --tap leaves out is the TAP's own: the kernel is the client. */
static int tap_mac(const char *device, uint8_t mac[6])
{
	struct ifreq ifr = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;

	if (fd < 0)
		return -errno;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", device);
	if (ioctl(fd, SIOCGIFHWADDR, &ifr) != 0)
		err = -errno;
	else
		memcpy(mac, ifr.ifr_hwaddr.sa_data, 6);
	close(fd);
	return err;
}

static void link_up(struct daemon *d, struct port *port)
{
	daemon_port_event(d, port, PORT_EVENT_ADDED);
	if (port->link && port->id != PORT_NONE)
		daemon_port_event(d, port, PORT_EVENT_LINK_UP);
}

static int open_tap(struct daemon *d, const struct tap_option *tap)
{
	uint8_t mac[6];
	struct port *port;
	char err[160];
	int rc;

	memcpy(mac, tap->has_mac ? tap->mac : default_uplink_mac, 6);
	if (!tap->has_mac && tap->role == PORT_ROLE_CLIENT)
		(void)tap_mac(tap->device, mac); /* tap_open() says if there is none */
	rc = tap_open(&port, tap->device, tap->role, mac, tap->ip, err, sizeof(err));
	if (rc != 0) {
		log_msg(LOG_LEVEL_ERROR, "%s", err);
		return rc;
	}
	link_up(d, port);
	return 0;
}

/*
 * The own kernel may ask the DNS servers and nothing else; the rule says so in
 * the grammar that all sources use.
 */
static int open_self(struct daemon *d)
{
	static const struct qubesdb_pair pairs[] = {
		{"policy", "drop", 4},
		{"0000", "action=accept specialtarget=dns", 31},
	};
	struct port *port;
	char err[160];
	int rc = self_open(&port, d->options->self_device, SELF_ADDRESS, err, sizeof(err));

	if (rc != 0) {
		log_msg(LOG_LEVEL_ERROR, "%s", err);
		return rc;
	}
	link_up(d, port);
	sources_commit(d->sources, NULL, SELF_ADDRESS, pairs, 2);
	return 0;
}

int daemon_open_taps(struct daemon *d)
{
	for (unsigned int i = 0; i < d->options->tap_count; i++) {
		int err = open_tap(d, &d->options->taps[i]);

		if (err != 0)
			return err;
	}
	return d->options->self_device != NULL ? open_self(d) : 0;
}

void daemon_close_taps(struct daemon *d)
{
	for (unsigned int i = 0; i < ENGINE_IFACE_MAX; i++) {
		struct port *port = d->attachments[i].port;

		if (port == NULL || (port->kind != PORT_TAP && port->kind != PORT_SELF))
			continue;
		port_removed(d, port);
		port->ops->free(port);
	}
}
