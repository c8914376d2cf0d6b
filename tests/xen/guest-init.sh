#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# init of every guest of the Xen lab. The kernel command line says what it is:
#
#   role=app    a qube: ip=, gw=, ip6=, gw6=, neigh=static|arp (Qubes installs a
#               permanent neighbour for each gateway; Windows and others do ARP
#               and neighbour discovery)
#   role=net    the upstream: kernel netback, servers, the "internet" on lo
#   role=stock  a firewall of kernel netback, netfront and nftables: ip=, gw=
#   role=fw     ringfenced; start=no leaves starting it to the scenario
#
# After that it is an agent: dom0 writes `@run ID SECONDS BASE64` to the console
# and gets `@o ID line`... and `@end ID STATUS`. Commands run side by side.
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /run/xen /var/lock /var/run
mount -t devpts devpts /dev/pts
exec </dev/hvc0 >/dev/hvc0 2>&1
stty raw -echo

role='' ip='' gw='' ip6='' gw6='' neigh=static start=yes
read -r words </proc/cmdline
for word in $words; do
	case $word in
	role=* | ip=* | gw=* | ip6=* | gw6=* | neigh=* | start=*) eval "${word%%=*}='${word#*=}'" ;;
	esac
done

ip link set lo up
while read -r ko; do
	# Qubes marks vifs whose backend is not dom0 as untrusted, which costs the
	# stock path its bounce buffers; xl cannot say it, the module can.
	set -- "$ko"
	[ "${ko##*/}" = xen-netfront.ko ] && set -- "$ko" trusted=0
	insmod "$@" || echo "guest: insmod $ko failed"
done <"/lab/modules.$role"

cat >/run/env <<END
role=$role
ip=$ip
gw=$gw
ip6=$ip6
gw6=$gw6
neigh=$neigh
END

# A line on the console, whole: others write there at the same time.
say()
{
	flock /run/tty.lock echo "$*"
}

# What udev and Qubes' scripts do when a network device appears.
cat >/bin/hotplug <<'END'
#!/bin/sh
[ "$SUBSYSTEM" = net ] && [ "$ACTION" = add ] || exit 0
case $INTERFACE in eth*) ;; *) exit 0 ;; esac
. /run/env
ip addr add "$ip/32" dev "$INTERFACE"
ip link set "$INTERFACE" up
if [ "$neigh" = static ]; then
	ip neigh replace "$gw" lladdr fe:ff:ff:ff:ff:ff dev "$INTERFACE" nud permanent
fi
ip route replace "$gw" dev "$INTERFACE" scope link
ip route replace default via "$gw" dev "$INTERFACE"
[ -n "$ip6" ] || exit 0
dad=
if [ "$neigh" = static ]; then
	dad=nodad
	ip neigh replace "$gw6" lladdr fe:ff:ff:ff:ff:ff dev "$INTERFACE" nud permanent
fi
ip addr add "$ip6/128" dev "$INTERFACE" $dad
ip -6 route replace "$gw6/128" dev "$INTERFACE"
ip -6 route replace default via "$gw6" dev "$INTERFACE"
END
chmod 755 /bin/hotplug

watch_devices()
{
	uevent /bin/hotplug >/dev/null 2>&1 &
	# Those that were there before the watch.
	for dev in /sys/class/net/eth*; do
		[ -e "$dev" ] || continue
		SUBSYSTEM=net ACTION=add INTERFACE=${dev##*/} hotplug
	done
}

# Kernel netback: libxl's agent runs vif-lab for each new vif.
serve_vifs()
{
	mkdir -p /proc/xen /var/log/xen
	mount -t xenfs xenfs /proc/xen
	echo 1 >/proc/sys/net/ipv4/ip_forward
	[ "$role" = stock ] || echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
	xl devd -F >/run/devd.log 2>&1 &
}

# A hop further, in a namespace: what lies behind a path with a smaller MTU, which
# the host there does not know when it says how large segments may be.
far_host()
{
	ip netns add far
	ip link add far0 type veth peer name eth0 netns far
	ip addr add 10.99.0.1/30 dev far0
	ip addr add fd99::1/64 dev far0 nodad
	ip link set far0 up
	ip route add 203.0.113.0/24 via 10.99.0.2 mtu lock 1400
	ip -n far addr add 10.99.0.2/30 dev eth0
	ip -n far addr add fd99::2/64 dev eth0 nodad
	ip -n far addr add 203.0.113.1/32 dev lo
	ip -n far addr add 2001:db8:cb::1/128 dev lo nodad
	ip -n far link set lo up
	ip -n far link set eth0 up
	ip -n far route add default via 10.99.0.1
	ip -n far -6 route add default via fd99::1
	ip -6 route add 2001:db8:cb::/64 via fd99::2 mtu lock 1400
	ip netns exec far peer serve >/run/far.log 2>&1 &
}

case $role in
app)
	watch_devices
	;;
net)
	# The world: what a scenario's rules allow and forbid.
	for addr in 10.139.1.1 10.139.1.2 192.0.2.1 192.0.2.2 198.51.100.1; do
		ip addr add "$addr/32" dev lo
	done
	for addr in 2001:db8:64::1 2001:db8:65::1; do
		ip addr add "$addr/128" dev lo nodad
	done
	serve_vifs
	far_host
	peer serve >/run/peer.log 2>&1 &
	for port in 5201 5202; do
		iperf3 -s -p $port >/dev/null 2>&1 &
	done
	;;
stock)
	watch_devices
	serve_vifs
	nft -f /lab/stock.nft
	;;
fw)
	# 1024 pages by default: two rings and 512 buffers for the uplink, the
	# vchan rings, and the same again while a dead peer still maps the old ones.
	echo 8192 >/sys/module/xen_gntalloc/parameters/limit
	cat >/bin/fw-start <<'END'
#!/bin/sh
# Start ringfenced with the options given; its log goes to a file and the console.
rm -f /run/rf.fifo
mkfifo /run/rf.fifo
while read -r line; do
	echo "$line" >>/run/ringfenced.log
	flock /run/tty.lock echo "rf: $line" >/dev/hvc0
done </run/rf.fifo &
ringfenced --xen --qubesdb vchan --qrexec "$@" >/run/rf.fifo 2>&1 &
echo $! >/run/ringfenced.pid
END
	chmod 755 /bin/fw-start
	[ "$start" = no ] || fw-start
	;;
*)
	echo "guest: unknown role '$role'"
	;;
esac

run()
{
	# /bin/sh, not sh: busybox would run a shell of its own.
	timeout -k 1 "$2" /bin/sh "/run/cmd.$1" >"/run/out.$1" 2>&1 </dev/null
	status=$?
	exec 9>/run/tty.lock
	flock 9
	sed "s/^/@o $1 /" "/run/out.$1"
	# The end marker needs a line of its own even after output without one.
	[ -z "$(tail -c 1 "/run/out.$1")" ] || echo
	echo "@end $1 $status"
	rm -f "/run/cmd.$1" "/run/out.$1"
}

say "@ready $role"
while :; do
	read -r tag id limit text || sleep 1
	[ "$tag" = @run ] || continue
	echo "$text" | base64 -d >"/run/cmd.$id"
	run "$id" "$limit" &
done
