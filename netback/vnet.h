/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Frames over /dev/net/tun with a virtio_net_hdr: the data path of tap.c and
 * self.c, which only open the device.
 */
#ifndef NETBACK_VNET_H
#define NETBACK_VNET_H

#include "netback/port.h"

/**
 * vnet_tun_open() - open /dev/net/tun and attach to a device
 * @flags:	IFF_TAP or IFF_TUN; IFF_NO_PI and IFF_VNET_HDR are added
 * @offloads:	TUN_F_*: what the kernel may leave to us
 * @got:	flags of the device as it now is
 *
 * Return: descriptor, non-blocking, or -errno with one line in @err.
 */
int vnet_tun_open(const char *name, unsigned int flags, unsigned int offloads, unsigned int *got,
		  char *err, size_t err_len);

/**
 * vnet_port_new() - a port over an open device
 * @fd:		taken over in any case
 * @ethernet:	the device speaks Ethernet (TAP); else bare IP packets (TUN), and
 *		@peer_mac is where frames for it come from
 *
 * Link is up. The caller fills ip, mac and mtu.
 */
int vnet_port_new(struct port **out, int fd, const char *name, enum port_kind kind,
		  enum port_role role, bool ethernet, const uint8_t peer_mac[6]);

#endif
