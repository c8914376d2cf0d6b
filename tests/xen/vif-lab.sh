#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Hotplug script of the lab's kernel-netback domains (net and the stock firewall):
# libxl's agent runs it with XENBUS_PATH and vif set. A routed vif as in Qubes:
# our addresses, a host route to each of the client's, permanent neighbours. The ip
# node holds "IPv4 [IPv6]". The stock firewall of the lab has no IPv6.
# shellcheck disable=SC1091,SC2154 # /run/env has role and ip; libxl gives vif
export PATH=/bin:/sbin
. /run/env
case $role in net) self=10.137.0.1 ;; *) self=$ip ;; esac

online6()
{
	ip addr add fd09:24ef:4179::a89:1/128 dev "$vif" nodad &&
		ip -6 route replace "$1/128" dev "$vif" &&
		ip neigh replace "$1" lladdr "$mac" dev "$vif" nud permanent
}

online()
{
	both=$(xenstore-read "$XENBUS_PATH/ip")
	client=${both%% *}
	mac=$(xenstore-read "$XENBUS_PATH/mac")
	mtu=$(xenstore-read "$XENBUS_PATH/mtu" 2>/dev/null) && ip link set "$vif" mtu "$mtu"
	ip addr add "$self/32" dev "$vif" &&
		ip link set "$vif" up &&
		ip route replace "$client/32" dev "$vif" &&
		ip neigh replace "$client" lladdr "$mac" dev "$vif" nud permanent || return 1
	if [ "$role" != net ]; then
		nft add element ip lab bound "{ \"$vif\" . $client }"
	elif [ "$both" != "$client" ]; then
		online6 "${both#* }"
	fi
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
