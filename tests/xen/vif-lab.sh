#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Hotplug script of the lab's kernel-netback domains (net and the stock firewall):
# libxl's agent runs it with XENBUS_PATH and vif set. A routed vif as in Qubes:
# our address, a host route to the client, a permanent neighbour.
# shellcheck disable=SC1091,SC2154 # /run/env has role and ip; libxl gives vif
export PATH=/bin:/sbin
. /run/env
case $role in net) self=10.137.0.1 ;; *) self=$ip ;; esac

online()
{
	client=$(xenstore-read "$XENBUS_PATH/ip")
	mac=$(xenstore-read "$XENBUS_PATH/mac")
	ip addr add "$self/32" dev "$vif" &&
		ip link set "$vif" up &&
		ip route replace "$client/32" dev "$vif" &&
		ip neigh replace "$client" lladdr "$mac" dev "$vif" nud permanent &&
		{ [ "$role" = net ] || nft add element ip lab bound "{ \"$vif\" . $client }"; }
}

case $1 in
online | add)
	if online; then
		xenstore-write "$XENBUS_PATH/hotplug-status" connected
	else
		xenstore-write "$XENBUS_PATH/hotplug-error" "vif-lab failed"
		xenstore-write "$XENBUS_PATH/hotplug-status" error
	fi
	;;
offline | remove)
	xenstore-rm "$XENBUS_PATH/hotplug-status" 2>/dev/null
	;;
esac
exit 0
