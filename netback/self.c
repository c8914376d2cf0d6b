/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A TUN into this machine's own kernel, as one more client of the firewall.
 *
 * The appliance's kernel has no network device: the uplink lives in this
 * process. With this one the resolver uses ordinary sockets, and what it sends
 * is judged like any client's packets. The kernel finishes every checksum before
 * it hands us a packet (no offloads in this direction: it is DNS, not bulk);
 * towards it, partial checksums and GSO are passed as they come.
 *
 * The device gets its address as a /32 and comes up. A route is needed to reach
 * a server beyond it. Where the kernel has no default route (the appliance), one
 * through this device is added: whatever the kernel wants to send has no other
 * way out. Where there is one (a test machine), it is left alone: taking over a
 * machine's own traffic would be a surprise; routes to the servers are then its
 * owner's business.
 */
#include "netback/netback.h"
#include "netback/vnet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint8_t self_mac[6] = { 0x02, 0, 0, 0, 0, 0x01 };

/* An address in the form that the interface ioctls want. */
static void self_sockaddr(struct sockaddr *sa, struct in_addr addr)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr = addr };

	_Static_assert(sizeof(in) == sizeof(*sa), "sockaddr_in fits a sockaddr");
	memcpy(sa, &in, sizeof(in));
}

/* Whether /proc/self/net/route lists an IPv4 default route that is up. */
static bool self_has_default_route(void)
{
	FILE *f = fopen("/proc/self/net/route", "re");
	unsigned int dest, gateway, flags, mask;
	bool found = false;
	char line[256];

	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f))
		found = sscanf(line, "%*s %x %x %x %*d %*d %*d %x", &dest, &gateway, &flags,
			       &mask) == 4 &&
			dest == 0 && mask == 0 && (flags & RTF_UP);
	fclose(f);
	return found;
}

static int self_route(int s, char *name)
{
	struct in_addr any = { .s_addr = INADDR_ANY };
	struct rtentry rt = { .rt_flags = RTF_UP, .rt_dev = name };

	if (self_has_default_route())
		return 0;
	self_sockaddr(&rt.rt_dst, any);
	self_sockaddr(&rt.rt_genmask, any);
	return ioctl(s, SIOCADDRT, &rt) && errno != EEXIST ? -errno : 0;
}

/* IPv6 would greet us with router solicitations and group reports; the address
 * is IPv4, so it is switched off where the kernel has it. */
static void self_disable_ipv6(const char *name)
{
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	/* best effort: the engine drops what IPv6 sends */
	(void)!write(fd, "1", 1);
	close(fd);
}

static int self_configure(const char *name, struct in_addr addr, const char **what)
{
	struct in_addr ones = { .s_addr = INADDR_NONE };
	struct ifreq ifr = { 0 };
	int s, err = 0;

	*what = "socket";
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s < 0)
		return -errno;
	self_disable_ipv6(name);
	memcpy(ifr.ifr_name, name, strlen(name));
	*what = "address";
	self_sockaddr(&ifr.ifr_addr, addr);
	if (ioctl(s, SIOCSIFADDR, &ifr))
		goto fail;
	*what = "netmask";
	self_sockaddr(&ifr.ifr_netmask, ones);
	if (ioctl(s, SIOCSIFNETMASK, &ifr))
		goto fail;
	*what = "mtu";
	ifr.ifr_mtu = 1500;
	if (ioctl(s, SIOCSIFMTU, &ifr))
		goto fail;
	*what = "up";
	if (ioctl(s, SIOCGIFFLAGS, &ifr))
		goto fail;
	ifr.ifr_flags |= IFF_UP;
	if (ioctl(s, SIOCSIFFLAGS, &ifr))
		goto fail;
	*what = "default route";
	err = self_route(s, ifr.ifr_name);
	close(s);
	return err;
fail:
	err = -errno;
	close(s);
	return err;
}

int self_open(struct port **out, const char *name, const char *ip, char *err, size_t err_len)
{
	const char *what = "memory";
	struct in_addr addr;
	unsigned int got = 0;
	struct port *port;
	int fd, error;

	if (name[0] == '\0' || strlen(name) >= IFNAMSIZ || strchr(name, '/')) {
		snprintf(err, err_len, "self %.32s: not a device name", name);
		return -EINVAL;
	}
	if (inet_pton(AF_INET, ip, &addr) != 1) {
		snprintf(err, err_len, "self %s: \"%.64s\" is not an IPv4 address", name, ip);
		return -EINVAL;
	}
	if (if_nametoindex(name) != 0) {
		snprintf(err, err_len, "self %s: the device exists already", name);
		return -EEXIST;
	}
	fd = vnet_tun_open(name, IFF_TUN, 0, &got, err, err_len);
	if (fd < 0)
		return fd;
	error = vnet_port_new(&port, fd, name, PORT_SELF, PORT_ROLE_SELF, false, self_mac);
	if (!error) {
		error = self_configure(name, addr, &what);
		if (error)
			port->ops->free(port);
	}
	if (error) {
		snprintf(err, err_len, "self %s: %s: %s", name, what, strerror(-error));
		return error;
	}
	snprintf(port->ip, sizeof(port->ip), "%s", ip);
	*out = port;
	return 0;
}
