# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2086,SC2154,SC2034 # the rig's constants are single words
#
# IPv6 does what IPv4 does: paths, rules, isolation; and what only it has:
# neighbour discovery, no uplink for one family, a client without an address.

ping6_through() { # I1
	check "ping with a permanent neighbour" c1 ping -c 5 -i 0.05 -W 1 -q $SERVER6
	check "ping after neighbour discovery" c2 ping -c 5 -i 0.05 -W 1 -q $SERVER6
	check "ping of full size" c1 ping -c 2 -i 0.05 -W 1 -q -M "do" -s 1452 $SERVER6
	is "the neighbour that was found" "$(c2 ip neigh show $FW_IP6)" "*lladdr $BACKEND_MAC*"
	check "both families at once" sh -c "ip netns exec $NS-c1 ping -c 5 -i 0.05 -W 1 -q $SERVER &
		ip netns exec $NS-c1 ping -c 5 -i 0.05 -W 1 -q $SERVER6 && wait \$!"
}
scenario I1_ping_ipv6 ping6_through

udp6_through() { # U1
	is "a datagram" "$(c1 "$PEER" probe udp $SERVER6 9000)" "ok *"
	is "a full one" "$(c1 "$PEER" probe -d -s 1452 udp $SERVER6 9000)" "ok *"
	is "a small one" "$(c1 "$PEER" probe -s 1 udp $SERVER6 9000)" "ok *"
	is "the way beyond a router" "$(c1 "$PEER" probe udp $FAR6 9000)" "ok *"
	is "1000 of them" "$(c1 "$PEER" seq udp $SERVER6 9000 1000 100 |
		jq -r '[.lost, .corrupt, .error] | map(tostring) | join(" ")')" "0 0 "
}
scenario U1_udp_ipv6 udp6_through

tcp6_through() { # T1, P13: GSO frames of IPv6, both ways, and what they carried
	local gso_out gso_in want
	is "a connection" "$(c1 "$PEER" probe tcp $SERVER6 80)" "ok *"
	is "another client's" "$(c2 "$PEER" probe tcp $SERVER6 443)" "ok *"
	gso_out=$(client_stat 1 rx_gso)
	gso_in=$(client_stat 1 tx_gso)
	head -c 50000000 /dev/urandom >"$DIR/bulk"
	want=$(sha256sum <"$DIR/bulk")
	up timeout 60 "$PEER" sink $SERVER6 9100 2>"$DIR/sink.err" | sha256sum >"$DIR/sink.sum" &
	local sink=$!
	wait_for 3 listening up 9100
	check "upload" timeout 30 ip netns exec "$NS-c1" "$PEER" put $SERVER6 9100 <"$DIR/bulk"
	wait $sink
	is "SHA-256 of the upload" "$(cat "$DIR/sink.sum")" "$want"
	up timeout 60 "$PEER" feed $SERVER6 9101 <"$DIR/bulk" 2>"$DIR/feed.err" &
	local feed=$!
	wait_for 3 listening up 9101
	is "SHA-256 of the download" \
		"$(timeout 30 ip netns exec "$NS-c1" "$PEER" get $SERVER6 9101 | sha256sum)" "$want"
	wait $feed
	rm -f "$DIR/bulk"
	above "GSO frames from the client" "$(client_stat 1 rx_gso)" "$((gso_out + 100))"
	above "GSO frames to the client" "$(client_stat 1 tx_gso)" "$((gso_in + 100))"
}
scenario T1_tcp_gso_both_ways_ipv6 tcp6_through

icmp6_errors() { # I2, I7, I11
	rules6 1 "action=accept proto=udp"
	commit6 1
	is "port unreachable" "$(c1 "$PEER" probe udp $SERVER6 9999)" \
		"error ECONNREFUSED * from $SERVER6 type 1 code 4 *"
	is "address unreachable, from the router" \
		"$(c1 "$PEER" probe -t 5000 udp 2001:db8:51::77 9000)" \
		"error EHOSTUNREACH * from $UP_IP6 type 1 code 3 *"
	is "packet too big, with its MTU" "$(c1 "$PEER" probe -d -s 1400 udp $FAR6 9000)" \
		"error EMSGSIZE * from $UP_IP6 type 2 code 0 info 1300"
	c1 ip -6 route flush cache
}
scenario I2_I7_icmp_errors_ipv6 icmp6_errors

path_mtu6() { # I4, P11: no router fragments here
	is "numbered records" "$(c1 "$PEER" seq tcp $FAR6 9000 200 100 |
		jq -r '"\(.received) \(.lost) \(.error)"')" "200 0 "
	head -c 2000000 /dev/urandom >"$DIR/pmtu"
	ns far timeout 20 "$PEER" sink $FAR6 9102 2>&1 | sha256sum >"$DIR/pmtu.sum" &
	local sink=$!
	wait_for 3 listening far 9102
	check "2 MB" timeout 20 ip netns exec "$NS-c1" "$PEER" put $FAR6 9102 <"$DIR/pmtu"
	wait $sink
	is "SHA-256" "$(cat "$DIR/pmtu.sum")" "$(sha256sum <"$DIR/pmtu")"
	# The first is too large and brings the error; then the sender fragments.
	c1 "$PEER" probe -t 300 -s 1400 udp $FAR6 9000 >/dev/null
	is "a datagram that the sender fragments" "$(c1 "$PEER" probe -s 1400 udp $FAR6 9000)" "ok *"
	c1 ip -6 route flush cache
}
scenario I4_path_mtu_discovery_ipv6 path_mtu6

hops6() { # P6
	is "the first hop" "$(c1 "$PEER" probe -l 1 udp $FAR6 9000)" \
		"error EHOSTUNREACH * from $FW_IP6 type 3 code 0 *"
	is "the second" "$(c1 "$PEER" probe -l 2 udp $FAR6 9000)" \
		"error EHOSTUNREACH * from $UP_IP6 type 3 code 0 *"
	is "the third" "$(c1 "$PEER" probe -l 3 udp $FAR6 9000)" "ok *"
	is "the first by TCP" "$(c1 "$PEER" probe -l 1 tcp $FAR6 80)" "error EHOSTUNREACH *"
}
scenario P6_hop_limit_like_traceroute hops6

gateway6() { # Q5
	local before
	before=$(drops to-firewall)
	check "ping the gateway" c1 ping -c 3 -i 0.05 -W 1 -q $FW_IP6
	check "a large ping" c1 ping -c 2 -i 0.05 -W 1 -q -s 1452 $FW_IP6
	is "TCP to it" "$(c1 "$PEER" probe tcp $FW_IP6 80)" \
		"error EACCES * from $FW_IP6 type 1 code 1 *"
	is "UDP to it" "$(c1 "$PEER" probe udp $FW_IP6 9000)" \
		"error EACCES * from $FW_IP6 type 1 code 1 *"
	above "counted" "$(drops to-firewall)" $((before + 1))
}
scenario Q5_the_firewall_itself_ipv6 gateway6

neighbours() { # Q6
	local mac ip
	mac=$(client_mac 2)
	ip=$(client_ip6 2)
	is "the gateway" "$(c2 "$WIRE" nd c2 "$mac" "$ip" $FW_IP6)" "$BACKEND_MAC *S* hops 255"
	is "anything else" "$(c2 "$WIRE" nd c2 "$mac" "$ip" 2001:db8:9::9)" "$BACKEND_MAC *"
	is "another client" "$(c2 "$WIRE" nd c2 "$mac" "$ip" "$(client_ip6 1)")" "$BACKEND_MAC *"
	is "its own address" "$(c2 "$WIRE" nd c2 "$mac" "$ip" "$ip")" none
	is "a probe for its own address" "$(c2 "$WIRE" nd c2 "$mac" :: "$ip")" none
	is "with a foreign sender address" \
		"$(c2 "$WIRE" nd c2 "$mac" "$(client_ip6 1)" $FW_IP6)" none
	is "with a foreign sender MAC" "$(c2 "$WIRE" nd c2 "$(client_mac 1)" "$ip" $FW_IP6)" none
	is "for a client without IPv6" "$(c3 "$WIRE" nd c3 "$(client_mac 3)" \
		"$(client_ip6 3)" $FW_IP6)" none
	check "the client still works" c2 ping -c 1 -W 1 -q $SERVER6
	c2 ip neigh flush dev c2
	is "a new search by the kernel" "$(c2 "$PEER" probe tcp $SERVER6 80)" "ok *"
	is "what it found" "$(c2 ip neigh show $FW_IP6)" "*lladdr $BACKEND_MAC *"
}
scenario Q6_neighbour_discovery neighbours

neighbours_uplink() { # the upstream's kernel looks for us, and we for it
	is "our address" "$(up "$WIRE" nd up0 $BACKEND_MAC $UP_IP6 $FW_IP6)" "$UPLINK_MAC *S* hops 255"
	is "a client's address" "$(up "$WIRE" nd up0 $BACKEND_MAC $UP_IP6 "$(client_ip6 1)")" none
	up ip neigh flush dev up0
	is "a new search by the kernel" "$(c1 "$PEER" probe udp $SERVER6 9000)" "ok *"
	is "what it found" "$(up ip neigh show $FW_IP6)" "*lladdr $UPLINK_MAC *"
	up sh -c 'echo 1 >/proc/sys/net/ipv6/neigh/up0/delay_first_probe_time
		echo 0 >/proc/sys/net/ipv6/neigh/up0/mcast_solicit'
	up ip neigh change $FW_IP6 lladdr "$UPLINK_MAC" dev up0 nud probe
	check "a unicast search" wait_for 3 sh -c "ip -n $NS-up neigh show $FW_IP6 |
		grep -q REACHABLE"
	RIG_DIRTY=1
}
scenario Q6_neighbour_discovery_on_the_uplink neighbours_uplink

# --- rules ---------------------------------------------------------------------------

forbidden6() { # R1, R2, I9: ICMPv6 1/1
	local line ms
	rules6 1 "action=accept dst6=$SERVER6/128 proto=tcp dstports=80-80"
	commit6 1
	is "what is allowed" "$(c1 "$PEER" probe tcp $SERVER6 80)" "ok *"
	for line in "tcp $SERVER6 443" "tcp $SERVER6_2 80" "udp $SERVER6 80" "tcp $FAR6 80"; do
		# shellcheck disable=SC2086 # three words
		line=$(c1 "$PEER" probe $line)
		is "what is not" "$line" "error EACCES * from $FW_IP6 type 1 code 1 *"
		ms=${line#error EACCES }
		within "its milliseconds" "${ms%% *}" 500
	done
	is "another client" "$(c2 "$PEER" probe tcp $SERVER6 443)" "ok *"
	is "the other family" "$(c1 "$PEER" probe tcp $SERVER 443)" "ok *"
	above "counted" "$(source_stat6 1 rejected)" 3
	above "by the rule that decided" "$(source_stat6 1 'hits["0000"]')" 0
	rules6 1 "action=drop dst6=$SERVER6_2/128" "action=accept dst6=2001:DB8:2:0:0:0:0:0/48"
	commit6 1
	is "an uncompressed prefix" "$(c1 "$PEER" probe tcp $SERVER6 443)" "ok *"
	is "its exception" "$(c1 "$PEER" probe tcp $SERVER6_2 443)" "error EACCES *"
	is "outside of it" "$(c1 "$PEER" probe tcp $FAR6 80)" "error EACCES *"
}
scenario R2_forbidden_is_refused_at_once_ipv6 forbidden6

icmp6_rules() { # I12: numbers are those of ICMPv6
	rules6 1 "action=accept proto=icmp icmptype=128"
	commit6 1
	check "echo allowed by its type" c1 ping -c 1 -W 1 -q $SERVER6
	is "nothing else" "$(c1 "$PEER" probe udp $SERVER6 9000)" "error EACCES *"
	rules6 1 "action=accept proto=icmp icmptype=8"
	commit6 1
	check "the number of IPv4's echo is another type" sh -c \
		"! ip netns exec $NS-c1 ping -c 1 -W 1 -q $SERVER6"
	rules6 1 "action=accept proto=icmp"
	commit6 1
	check "all of ICMP" c1 ping -c 1 -W 1 -q $SERVER6
}
scenario I12_icmptype_ipv6 icmp6_rules

families_apart() { # R10, Q9, R5: each subtree has its own fate
	local before
	rules6 2 "action=accept dst4=$SERVER/32"
	commit6 2
	is "a bad IPv6 list refuses IPv6" "$(c2 "$PEER" probe tcp $SERVER6 80)" \
		"error EACCES * type 1 code 1 *"
	is "and leaves IPv4 alone" "$(c2 "$PEER" probe tcp $SERVER 80)" "ok *"
	is "state" "$(source_stat6 2 state) $(source_stat 2 state)" "malformed active"
	rules6 2 "action=accept"
	commit6 2
	rules 2 "action=accept dst6=$SERVER6/128"
	commit 2
	is "a bad IPv4 list refuses IPv4" "$(c2 "$PEER" probe tcp $SERVER 80)" "error EHOSTUNREACH *"
	is "and leaves IPv6 alone" "$(c2 "$PEER" probe tcp $SERVER6 80)" "ok *"
	rules 2 "action=accept"
	commit 2
	before=$(drops no-policy)
	no_rules6 2
	db_write
	wait_for 3 sh -c "[ \"\$('$TOOL' status --control '$DIR/control.sock' |
		jq -r '.sources[] | select(.ip == \"$(client_ip6 2)\") | .state')\" != active ]"
	is "without a policy" "$(c2 "$PEER" probe -t 700 tcp $SERVER6 80)" "timeout *"
	is "while IPv4 goes on" "$(c2 "$PEER" probe tcp $SERVER 80)" "ok *"
	above "counted" "$(drops no-policy)" "$before"
}
scenario R10_Q9_families_do_not_affect_each_other families_apart

rule_change6() { # R6
	local proto=$1 allowed forbidden
	local rule1="action=accept dst6=$SERVER6/128 proto=$proto dstports=9000-9000"
	local rule2="action=accept dst6=$SERVER6_2/128 proto=$proto dstports=9000-9000"
	rules6 1 "$rule1" "$rule2"
	commit6 1
	c1 "$PEER" seq -t 1500 "$proto" $SERVER6 9000 800 2000 >"$DIR/allowed" &
	allowed=$!
	c1 "$PEER" seq -t 1500 "$proto" $SERVER6_2 9000 800 2000 >"$DIR/forbidden" &
	forbidden=$!
	sleep 0.5
	rules6 1 "$rule1"
	commit6 1
	wait $allowed $forbidden
	is "the allowed flow" "$(jq -r '"\(.received) \(.lost) \(.corrupt) \(.error)"' \
		"$DIR/allowed")" "800 0 0 "
	is "the forbidden one" "$(jq -r '"\(.stalled) \(.error)"' "$DIR/forbidden")" "false EACCES"
	above "which worked before" "$(jq .received "$DIR/forbidden")" 50
}
rule_change6_tcp() { rule_change6 tcp; }
rule_change6_udp() { rule_change6 udp; }
scenario R6_change_ends_tcp_flow_ipv6 rule_change6_tcp
scenario R6_change_ends_udp_flow_ipv6 rule_change6_udp

# --- isolation --------------------------------------------------------------------------

same_port6() { # U5, N7
	local proto n pids=()
	for proto in udp tcp; do
		for n in 1 2; do
			ns "c$n" "$PEER" seq -b "$(client_ip6 $n):40123" $proto $SERVER6 9000 300 1000 \
				>"$DIR/same.$proto.$n" &
			pids+=($!)
		done
	done
	for n in 1 2; do
		ns "c$n" ping -e 4242 -c 10 -i 0.05 -W 1 -q $SERVER6 >"$DIR/ping.$n" &
		pids+=($!)
	done
	wait "${pids[@]}"
	for proto in udp tcp; do
		for n in 1 2; do
			is "$proto of client $n" "$(jq -r '"\(.received) \(.lost) \(.corrupt) \(.error)"' \
				"$DIR/same.$proto.$n")" "300 0 0 "
		done
	done
	is "pings with one id" "$(cat "$DIR"/ping.[12] |
		grep -c '^10 packets transmitted, 10 received, 0%')" 2
}
scenario U5_N7_same_source_port_ipv6 same_port6

isolation6() { # Q1, P14, Q3
	local before ip
	before=$(drops inter-client)
	is "TCP to another client" "$(c1 "$PEER" probe -t 500 tcp "$(client_ip6 2)" 80)" "timeout *"
	is "UDP to another client" "$(c1 "$PEER" probe -t 300 udp "$(client_ip6 2)" 80)" "timeout *"
	above "counted" "$(drops inter-client)" $((before + 1))
	before=$(drops spoofed)
	for ip in fd09:24ef:4179::a89:66 "$(client_ip6 2)" 2001:db8:2::77; do
		c1 ip address add "$ip/128" dev c1 nodad
		is "from $ip" "$(c1 "$PEER" probe -t 300 -b "$ip:0" udp $SERVER6 9000 2>&1)" "timeout *"
		c1 ip address del "$ip/128" dev c1
	done
	above "spoofed ones counted" "$(drops spoofed)" $((before + 2))
	is "the honest rest" "$(c1 "$PEER" probe udp $SERVER6 9000)" "ok *"
}
scenario Q1_P14_Q3_isolation_ipv6 isolation6

no_address() { # Q1: c3 has no IPv6 address, whatever it gives itself
	local ip before
	ip=$(client_ip6 3)
	c3 ip address add "$ip/128" dev c3 nodad
	c3 ip route add $FW_IP6 dev c3
	c3 ip route add default via $FW_IP6 dev c3 src "$ip"
	c3 ip neigh replace $FW_IP6 lladdr $BACKEND_MAC dev c3 nud permanent
	before=$(stat_of '[.drops[]] | add')
	is "UDP" "$(c3 "$PEER" probe -t 300 udp $SERVER6 9000)" "timeout *"
	is "TCP" "$(c3 "$PEER" probe -t 300 tcp $SERVER6 80)" "timeout *"
	check "ping" sh -c "! ip netns exec $NS-c3 ping -c 1 -W 0.3 -q $SERVER6"
	check "ping the gateway" sh -c "! ip netns exec $NS-c3 ping -c 1 -W 0.3 -q $FW_IP6"
	above "counted" "$(stat_of '[.drops[]] | add')" $((before + 3))
	is "its IPv4" "$(c3 "$PEER" probe tcp $SERVER 80)" "ok *"
	c3 ip address del "$ip/128" dev c3
	c3 ip route flush dev c3 proto boot table main 2>/dev/null
	RIG_DIRTY=1
}
scenario Q1_client_without_an_ipv6_address no_address

inbound6() { # Q4, T17, U3, Q10
	c1 "$PEER" seq -b "$(client_ip6 1):40300" udp $SERVER6 9000 600 1000 >"$DIR/filter" &
	up ip route add "$(client_ip6 1)/128" via $FW_IP6 dev up0
	is "TCP to a client" "$(up "$PEER" probe -t 300 tcp "$(client_ip6 1)" 80)" "timeout *"
	is "UDP to a client" "$(up "$PEER" probe -t 200 udp "$(client_ip6 1)" 80)" "timeout *"
	is "TCP to the firewall" "$(up "$PEER" probe -t 300 tcp $FW_IP6 80)" "timeout *"
	is "from another address to the flow's port" \
		"$(up "$PEER" probe -t 200 -b $SERVER6_2:9000 udp $FW_IP6 40300)" "timeout *"
	is "from another port" \
		"$(up "$PEER" probe -t 200 -b $SERVER6:9001 udp $FW_IP6 40300)" "timeout *"
	check "ping" sh -c "! ip netns exec $NS-up ping -c 1 -W 0.3 -q $FW_IP6"
	up ip route del "$(client_ip6 1)/128"
	wait $!
	is "the flow" "$(jq -r '"\(.received) \(.lost) \(.corrupt) \(.error)"' "$DIR/filter")" "600 0 0 "
}
scenario Q4_T17_U3_inbound_is_silent_ipv6 inbound6

# Q13: one family may lack its uplink, and clients hear of it
no_uplink6() {
	local flow
	c1 "$PEER" seq tcp $SERVER 9000 800 1000 >"$DIR/other" &
	flow=$!
	no_key /qubes-gateway6
	db_write
	wait_for 3 sh -c "[ -z \"\$('$TOOL' status --control '$DIR/control.sock' |
		jq -r .uplink.gateway6)\" ]"
	rules6 2 "action=drop"
	commit6 2
	is "an address, but no gateway" "$(c1 "$PEER" probe udp $SERVER6 9000)" \
		"error E* * from $FW_IP6 type 1 code 0 *"
	is "TCP" "$(c1 "$PEER" probe tcp $SERVER6 80)" "error E* * from $FW_IP6 type 1 code 0 *"
	is "the rules come first" "$(c2 "$PEER" probe tcp $SERVER6 80)" \
		"error EACCES * from $FW_IP6 type 1 code 1 *"
	check "the gateway itself answers" c1 ping -c 1 -W 1 -q $FW_IP6
	no_key /qubes-ip6
	db_write
	wait_for 3 sh -c "[ -z \"\$('$TOOL' status --control '$DIR/control.sock' |
		jq -r .uplink.ip6)\" ]"
	is "no address either" "$(c1 "$PEER" probe tcp $SERVER6 80)" \
		"error E* * from $FW_IP6 type 1 code 0 *"
	wait $flow
	is "IPv4 meanwhile" "$(jq -r '"\(.received) \(.lost) \(.error)"' "$DIR/other")" "800 0 "
	: >"$DIR/keys"
	db_write
	wait_for 3 c1 "$PEER" probe tcp $SERVER6 80
	check "and back" wait_for 3 sh -c "ip netns exec $NS-c1 '$PEER' probe -t 500 tcp $SERVER6 80 |
		grep -q ok"
}
scenario Q13_no_ipv6_uplink no_uplink6

# Without the key that dom0 writes when the feature is on, there is no IPv6 here
no_feature() {
	no_key /qubes-netvm-gateway6
	db_write
	daemon_start
	is "UDP" "$(c1 "$PEER" probe -t 300 udp $SERVER6 9000)" "timeout *"
	is "TCP" "$(c1 "$PEER" probe -t 500 tcp $SERVER6 80)" "timeout *"
	check "ping the gateway" sh -c "! ip netns exec $NS-c1 ping -c 1 -W 0.3 -q $FW_IP6"
	is "IPv4" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	RIG_DIRTY=1
}
scenario Q1_ipv6_feature_off no_feature
