/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A TAP device as a port: the whole daemon on any Linux machine without Xen.
 *
 * The device is somebody else's: it must exist and persist (`ip tuntap add dev
 * NAME mode tap`), so a typing error never creates an interface, and its
 * addresses, state and network namespace are the owner's business.
 */
#include "netback/netback.h"
#include "netback/vnet.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static uint16_t tap_mtu(const char *name)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint16_t mtu = 1500;
	struct ifreq ifr = { 0 };

	if (s < 0)
		return mtu;
	memcpy(ifr.ifr_name, name, strlen(name));
	if (ioctl(s, SIOCGIFMTU, &ifr) == 0 && ifr.ifr_mtu >= 68 && ifr.ifr_mtu <= 65521)
		mtu = (uint16_t)ifr.ifr_mtu;
	close(s);
	return mtu;
}

/* Turn what TUNSETIFF says about a device that cannot be attached to into words. */
static void tap_explain(const char *name, int error, char *err, size_t err_len)
{
	if (error == -EINVAL)
		snprintf(err, err_len, "tap %s: not a TAP device (or a multi-queue one)", name);
	else if (error == -EBUSY)
		snprintf(err, err_len, "tap %s: another program uses it", name);
	else if (error == -EPERM)
		snprintf(err, err_len, "tap %s: no permission (CAP_NET_ADMIN is needed)", name);
}

int tap_open(struct port **out, const char *name, enum port_role role, const uint8_t mac[6],
	     const char *ip, char *err, size_t err_len)
{
	const unsigned int offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
	unsigned int got = 0;
	struct port *port;
	int fd, error;

	if (name[0] == '\0' || strlen(name) >= IFNAMSIZ) {
		snprintf(err, err_len, "tap %.32s: not a device name", name);
		return -EINVAL;
	}
	if (ip && strlen(ip) >= sizeof(port->ip)) {
		snprintf(err, err_len, "tap %s: address too long", name);
		return -EINVAL;
	}
	if (if_nametoindex(name) == 0) {
		snprintf(err, err_len, "tap %s: no such device", name);
		return -ENODEV;
	}
	fd = vnet_tun_open(name, IFF_TAP, offloads, &got, err, err_len);
	if (fd < 0) {
		tap_explain(name, fd, err, err_len);
		return fd;
	}
	/* it went away between the two calls, and we have just made another */
	if (!(got & IFF_PERSIST)) {
		snprintf(err, err_len, "tap %s: no such persistent device", name);
		close(fd);
		return -ENODEV;
	}
	error = vnet_port_new(&port, fd, name, PORT_TAP, role, true, mac);
	if (error) {
		snprintf(err, err_len, "tap %s: %s", name, strerror(-error));
		return error;
	}
	port->mtu = tap_mtu(name);
	if (ip)
		memcpy(port->ip, ip, strlen(ip) + 1);
	*out = port;
	return 0;
}
