# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2086,SC2154,SC2034 # the rig's constants are single words
#
# thc-ipv6: its tests for firewalls, and its attacks, each for a bounded time.

# Every way that firewall6 knows around a rule, at once; what counts is what arrives
# upstream (P7, F5, F8, F9, F13).
firewall6() {
	local i pids=() open=""
	rules6 1 "action=accept dst6=$SERVER6 proto=tcp dstports=80-80" \
		"action=accept proto=icmp icmptype=128"
	commit6 1
	watch_start "ip6 and not (icmp6 and (ip6[40] == 135 or ip6[40] == 136))"
	for ((i = 1; i <= 39; i++)); do
		c1 timeout 10 atk6-firewall6 c1 $SERVER6 443 $i >"$DIR/firewall6.$i" 2>&1 &
		pids+=($!)
	done
	c1 timeout 10 atk6-firewall6 -u c1 $SERVER6_2 53 >"$DIR/firewall6.udp" 2>&1 &
	pids+=($!)
	wait "${pids[@]}"
	watch_end
	above "tests that ran" "$(cat "$DIR"/firewall6.* | grep -c '^Test')" 49
	# Two tests are echo requests in the end, whatever their options pretend.
	is "past the rules" "$(tcpdump -n -r "$DIR/watch.pcap" "not icmp6" 2>/dev/null |
		grep -cv 'ICMP6, echo request')" 0
	above "refused, not lost" "$(cat "$DIR"/firewall6.* | grep -c 'Firewall unreachable')" 10
	# What is harmless must get through an open door: plain, with data, hop-by-hop
	# and destination options, an atomic fragment.
	for i in 1 2 5 6 8 10; do
		c1 timeout 5 atk6-firewall6 c1 $SERVER6 80 $i >"$DIR/firewall6.open" 2>&1
		open+=" $i:$(grep -c 'TCP-SYN-ACK received' "$DIR/firewall6.open")"
	done
	is "through an open door" "$open" " 1:1 2:1 5:1 6:1 8:1 10:1"
	is "the honest rest" "$(c1 "$PEER" probe tcp $SERVER6 80)" "ok *"
}
scenario P7_F8_F9_F13_thc_firewall6 firewall6

# thc NAMESPACE TOOL ARGUMENT...: two seconds of it, in the background
thc() {
	local ns=$1 tool=$2
	shift 2
	ns "$ns" timeout 2 "atk6-$tool" "$@" >"$DIR/thc.$tool" 2>&1 </dev/null &
	THC+=($!)
}
thc_end() { wait "${THC[@]}" && THC=(); }
THC=()

# Q6, Q8, I7: neighbours, routers and redirects as a client would like them to be
attacks() {
	local flow before
	c1 ip address add fe80::216:3eff:fe5e:6c05/64 dev c1 nodad
	before=$(stat_of '[.drops[]] | add')
	watch_start "ip6"
	c2 tcpdump -i c2 -Q in -n --immediate-mode -w "$DIR/watch2.pcap" icmp6 >/dev/null 2>&1 &
	local watch2=$!
	c2 "$PEER" seq -t 3000 tcp $SERVER6 9000 5000 1000 >"$DIR/thc.seq" &
	flow=$!
	thc c1 fake_router26 -A 2001:db8:bad::/64 -n 20 -i 0 c1
	thc c1 flood_router26 c1
	thc c1 flood_advertise6 c1
	thc c1 fake_advertise6 -n 20 -w 0 c1 "$(client_ip6 2)"
	thc_end
	thc c1 flood_solicitate6 c1
	thc c1 flood_rs6 -s c1
	thc c1 flood_mld26 c1
	thc c1 flood_dhcpc6 c1
	thc_end
	thc c1 redir6 c1 "$(client_ip6 2)" $SERVER6 $FW_IP6 "$(client_ip6 1)"
	thc c1 flood_redir6 c1 "$(client_ip6 2)"
	thc c1 flood_unreach6 c1 $SERVER6
	thc c1 toobig6 c1 "$(client_ip6 2)" $SERVER6 1280
	thc c1 kill_router6 c1 '*'
	thc_end
	thc c1 ndpexhaust26 -p c1 2001:db8:51::/64
	thc c1 smurf6 c1 $SERVER6
	thc c1 randicmp6 -p c1 $SERVER6
	thc c1 fuzz_ip6 -x -IFSDHR c1 $SERVER6
	thc c1 exploit6 c1 $SERVER6
	thc_end
	thc c1 fragmentation6 -p c1 $SERVER6
	thc c1 implementation6 -p c1 $SERVER6
	thc c1 denial6 c1 $SERVER6 1
	thc_end
	wait $flow
	watch_end
	kill $watch2
	wait $watch2 2>/dev/null
	is "another client's flow" "$(jq -r '"\(.received) \(.lost) \(.corrupt) \(.error)"' \
		"$DIR/thc.seq")" "5000 0 0 "
	above "dropped and counted" "$(stat_of '[.drops[]] | add')" $((before + 1000))
	is "multicast reports, router messages, redirects that came out" "$(watched "icmp6 and
		(ip6[40] == 130 or ip6[40] == 131 or ip6[40] == 132 or ip6[40] == 133 or
		ip6[40] == 134 or ip6[40] == 137 or ip6[40] == 143)")" 0
	is "neighbour messages not from us" "$(watched "icmp6 and
		(ip6[40] == 135 or ip6[40] == 136) and not src host $FW_IP6")" 0
	is "at another client, but for answers to its own questions" \
		"$(tcpdump -n -r "$DIR/watch2.pcap" "not src host $FW_IP6" 2>/dev/null | wc -l)" 0
	c1 ip address del fe80::216:3eff:fe5e:6c05/64 dev c1
	is "the attacker's own honest packets" "$(c1 "$PEER" probe tcp $SERVER6 80)" "ok *"
	is "over IPv4" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	RIG_DIRTY=1 # what the attacker's kernel came to believe of its own doing
}
scenario Q6_Q8_I7_thc_attacks_from_a_client attacks

# The same from the uplink: nobody there has a say in who the gateway is, or in
# what clients hear (Q6, Q8, I3).
attacks_uplink() {
	local flow
	# The flood has the wire to itself; what is lost on it comes again.
	c1 "$PEER" seq -t 9000 tcp $SERVER6 9000 3000 1000 >"$DIR/thc.seq" &
	flow=$!
	c2 tcpdump -i c2 -Q in -n --immediate-mode -w "$DIR/watch2.pcap" ip6 >/dev/null 2>&1 &
	local watch2=$!
	thc up fake_advertise6 -n 20 -w 0 -m 00:11:22:33:44:55 up0 $UP_IP6 $FW_IP6 00:11:22:33:44:55
	thc up flood_router26 up0
	thc up flood_advertise6 up0
	thc up fake_router26 -A 2001:db8:bad::/64 -n 20 -i 0 up0
	thc_end
	thc up flood_unreach6 up0 $FW_IP6
	thc up redir6 up0 $FW_IP6 $SERVER6 $UP_IP6 fe80::bad
	thc up toobig6 -u up0 $FW_IP6 $SERVER6 1280
	thc up flood_solicitate6 up0 $FW_IP6
	thc_end
	thc up implementation6 -p up0 $FW_IP6
	thc up fragmentation6 -p up0 $FW_IP6
	thc up exploit6 up0 $FW_IP6
	thc up fuzz_ip6 -x -IFSDHR up0 $FW_IP6
	thc_end
	thc up denial6 up0 $FW_IP6 1
	thc up denial6 up0 $FW_IP6 2
	thc up rsmurf6 up0 $FW_IP6
	thc_end
	wait $flow
	kill $watch2
	wait $watch2 2>/dev/null
	is "a client's flow" "$(jq -r '"\(.received) \(.lost) \(.corrupt) \(.error)"' \
		"$DIR/thc.seq")" "3000 0 0 "
	is "what a client without traffic heard" \
		"$(tcpdump -n -r "$DIR/watch2.pcap" 2>/dev/null | wc -l)" 0
	is "a new flow afterwards" "$(c2 "$PEER" probe tcp $SERVER6 80)" "ok *"
	RIG_DIRTY=1
}
scenario Q6_Q8_I3_thc_attacks_from_the_uplink attacks_uplink
