# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2086,SC2154,SC2034 # the rig's constants are single words
#
# 100 000 connections of 20 sources, a 21st, and a million SYNs of one of them.

load_taps() { # make|take: TAPs l1..l21, first in fw, then in a namespace of their own
	local n
	for ((n = 1; n <= 21; n++)); do
		if [ "$1" = make ]; then
			ip -n "$NS-fw" tuntap add dev l$n mode tap vnet_hdr
		else
			ip -n "$NS-fw" link set l$n netns "$NS-load"
			ip -n "$NS-load" link set l$n address "00:16:3e:5e:6d:$(printf %02x $n)"
			ip -n "$NS-load" link set l$n txqueuelen 10000 up
		fi
	done
}

load() { # T14, D2, D4, N4
	local n ip6 mac args=() out=$DIR/load.json frames
	ip netns add "$NS-load"
	ns load sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6'
	up ip route replace blackhole 203.0.113.0/24
	up ip route replace blackhole 2001:db8:dead::/48
	load_taps make
	for ((n = 1; n <= 21; n++)); do
		ip6=fd09:24ef:4179::a89:8$(printf %02x $n)
		mac=00:16:3e:5e:6d:$(printf %02x $n)
		rules_of "10.137.8.$n" action=accept
		rules_of "$ip6" action=accept
		args+=(--tap "client=l$n,ip=10.137.8.$n,ip6=$ip6,mac=$mac")
	done
	db_write
	daemon_start --flows 262144 "${args[@]}"
	load_taps take
	c1 "$PEER" seq -t 5000 tcp $SERVER 9000 100000 10000 >"$DIR/load.seq" &
	local flow=$!
	timeout 110 "$LOAD" "$NS" "$DAEMON" 5000 1000000 >"$out" 2>"$DIR/load.err" ||
		complain "load: status $?: $(tail -n 3 "$DIR/load.err")"
	cat "$out"
	is "connections of 20 sources" "$(jq .opened "$out")" 100000
	is "which carried data" "$(jq .carried "$out")" 100000
	is "new ones of a 21st, during the flood" "$(jq .late "$out")" 2000
	is "which carried data after the flood, the flooder's own included" \
		"$(jq .carried_after "$out")" 100000
	is "wrong checksums, segments of others, resets" \
		"$(jq -r '"\(.bad_checksum) \(.foreign) \(.resets)"' "$out")" "0 0 0"
	frames=$(stat_of '.clients[] | select(.ip | startswith("10.137.8.20 ")) | .rx_frames')
	above "frames of the flooder that were judged" "$frames" 1100000
	within "KiB that the daemon grew by under the flood" \
		$(($(jq .rss_after "$out") - $(jq .rss_full "$out"))) 512
	above "flows" "$(stat_of .flows.active)" 101999
	is "a kernel's new connection" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	kill $flow
	wait $flow 2>/dev/null
	RIG_DIRTY=1
	daemon_stop
	ip netns delete "$NS-load" # and the devices in it
}
scenario T14_D2_N4_100000_flows_and_a_syn_flood load
