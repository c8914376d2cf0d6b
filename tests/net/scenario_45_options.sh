# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2086,SC2154,SC2034 # the rig's constants are single words
#
# What dom0 may say beyond rules: another address for a client to believe in, and
# who else is behind us.

VISIBLE=192.168.77.5
VISIBLE_GATEWAY=192.168.77.1

# Q11: client 2 lives in a world of its own
fake_ip_on() {
	key "/mapped-ip/$(client_ip 2)/visible-ip" $VISIBLE
	key "/mapped-ip/$(client_ip 2)/visible-gateway" $VISIBLE_GATEWAY
	key /connected-ips "$(client_ip 1) $VISIBLE $(client_ip 3)"
	db_write
	c2 ip address flush dev c2
	ip -n "$NS-c2" -batch - <<-END
		address add $VISIBLE/24 dev c2
		route add default via $VISIBLE_GATEWAY dev c2
		address add $(client_ip6 2)/128 dev c2 nodad
		route add $FW_IP6 dev c2
		route add default via $FW_IP6 dev c2
	END
}
fake_ip() {
	local before
	fake_ip_on
	check "ping" wait_for 3 c2 ping -c 1 -W 0.5 -q $SERVER
	is "the neighbour" "$(c2 ip neigh show $VISIBLE_GATEWAY)" "*lladdr $BACKEND_MAC*"
	is "UDP" "$(c2 "$PEER" probe udp $SERVER 9000)" "ok *"
	is "numbered records" "$(c2 "$PEER" seq tcp $SERVER 9000 500 200 |
		jq -r '"\(.received) \(.lost) \(.corrupt) \(.error)"')" "500 0 0 "
	check "iperf3, with partial checksums" c2 iperf3 -c $SERVER -n 20M
	check "and back" c2 iperf3 -c $SERVER -n 20M -R
	check "a datagram in fragments" c2 ping -c 1 -W 1 -q -s 8000 $SERVER
	check "ping its gateway" c2 ping -c 2 -i 0.05 -W 1 -q $VISIBLE_GATEWAY
	is "the first hop" "$(c2 "$PEER" probe -l 1 udp $FAR 9000)" \
		"error EHOSTUNREACH * from $VISIBLE_GATEWAY type 11 code 0 *"
	is "an error from far away" "$(c2 "$PEER" probe udp $SERVER 9999)" \
		"error ECONNREFUSED * from $SERVER type 3 code 3 *"
	is "fragmentation needed" "$(c2 "$PEER" probe -d -s 1400 udp $FAR 9000)" \
		"error EMSGSIZE * from $UP_IP type 3 code 4 info 1300"
	is "TCP to the gateway" "$(c2 "$PEER" probe tcp $VISIBLE_GATEWAY 80)" \
		"error EHOSTUNREACH * from $VISIBLE_GATEWAY type 3 code 10 *"
	# The rules are those of the real address.
	rules 2 "action=accept dst4=$SERVER/32"
	commit 2
	is "what the rules allow" "$(c2 "$PEER" probe tcp $SERVER 80)" "ok *"
	is "what they do not" "$(c2 "$PEER" probe tcp $SERVER2 80)" \
		"error EHOSTUNREACH * from $VISIBLE_GATEWAY type 3 code 13 *"
	is "IPv6 on such a vif" "$(c2 "$PEER" probe -t 300 udp $SERVER6 9000)" "timeout *"
	before=$(drops spoofed)
	c2 ip address add "$(client_ip 2)/32" dev c2
	is "its real address" "$(c2 "$PEER" probe -t 300 -b "$(client_ip 2):0" udp $SERVER 9000)" \
		"timeout *"
	above "counted" "$(drops spoofed)" "$before"
	is "ARP for its own visible address" "$(c2 "$WIRE" arp c2 "$(client_mac 2)" $VISIBLE \
		$VISIBLE)" none
	is "ARP with its real address" "$(c2 "$WIRE" arp c2 "$(client_mac 2)" "$(client_ip 2)" \
		$VISIBLE_GATEWAY)" none
	is "another client cannot see it" "$(c1 "$PEER" probe -t 300 tcp $VISIBLE 80)" "timeout *"
	RIG_DIRTY=1
}
scenario Q11_fake_ip fake_ip

fake_ip_from_the_start() { # the keys are there before the vif, and go while it is there
	fake_ip_on
	daemon_start
	fake_ip_on
	check "ping" wait_for 3 c2 ping -c 1 -W 0.5 -q $SERVER
	: >"$DIR/keys"
	db_write
	c2 ip address flush dev c2
	ip -n "$NS-c2" -batch - <<-END
		address add $(client_ip 2)/32 dev c2
		route add $FW_IP dev c2 src $(client_ip 2)
		route add default via $FW_IP dev c2 src $(client_ip 2)
	END
	check "with its real address again" wait_for 3 c2 ping -c 1 -W 0.5 -q $SERVER
	RIG_DIRTY=1
}
scenario Q11_fake_ip_comes_and_goes fake_ip_from_the_start

# Q10: a qube that is not running has an address all the same
connected() {
	local absent=10.137.0.77 before
	up ip route replace blackhole $absent/32
	up ip address add $absent/32 dev lo
	key /connected-ips "$(client_ip 1) $(client_ip 2) $(client_ip 3) $absent"
	db_write
	sleep 0.3
	before=$(stat_of '.drops["uplink-spoofed"] + .drops["inter-client"]')
	is "to it" "$(c1 "$PEER" probe -t 300 udp $absent 9000)" "timeout *"
	is "to it by TCP" "$(c1 "$PEER" probe -t 300 tcp $absent 80)" "timeout *"
	up "$WIRE" send up0 smac=$BACKEND_MAC dmac="$UPLINK_MAC" sip=$absent dip=$FW_IP \
		dport=9000 sport=53 count=7
	is "counted" "$(stat_of '.drops["uplink-spoofed"] + .drops["inter-client"]')" \
		"$((before + 9))"
	: >"$DIR/keys"
	db_write
	check "without the entry it is a host like any other" wait_for 3 sh -c \
		"ip netns exec $NS-c1 '$PEER' probe -t 300 udp $absent 9000 | grep -q ok"
	up ip address del $absent/32 dev lo
	up ip route del blackhole $absent/32
}
scenario Q10_connected_ips connected

connected6() {
	local absent=fd09:24ef:4179::a89:4d before
	up ip address add $absent/128 dev lo
	key /connected-ips6 "$(client_ip6 1) $(client_ip6 2) $absent"
	db_write
	sleep 0.3
	before=$(stat_of '.drops["uplink-spoofed"] + .drops["inter-client"]')
	is "to it" "$(c1 "$PEER" probe -t 300 udp $absent 9000)" "timeout *"
	c1 "$PEER" seq -b "$(client_ip6 1):40800" udp $SERVER6 9000 5 1000 >/dev/null
	is "from it" "$(up "$PEER" probe -t 300 -b $absent:9000 udp $FW_IP6 40800)" "timeout *"
	above "counted" "$(stat_of '.drops["uplink-spoofed"] + .drops["inter-client"]')" \
		$((before + 1))
	: >"$DIR/keys"
	db_write
	check "without the entry it is a host like any other" wait_for 3 sh -c \
		"ip netns exec $NS-c1 '$PEER' probe -t 300 udp $absent 9000 | grep -q ok"
	up ip address del $absent/128 dev lo
}
scenario Q10_connected_ips6 connected6

# --- /vm-config/: what the user says in dom0 -------------------------------------------

flow_quota() { # N4, D2
	local flow
	key /vm-config/ringfence-flows "$(client_ip 1)=100"
	db_write
	sleep 0.3
	c1 "$PEER" seq -t 3000 tcp $SERVER 9000 600 1000 >"$DIR/quota" &
	flow=$!
	sleep 0.1
	c1 "$WIRE" send c1 smac="$(client_mac 1)" sip="$(client_ip 1)" dip=192.0.2.9 sport=1 \
		dport=9 count=500 vary=1
	wait_for 3 sh -c "[ \"\$('$TOOL' status --control '$DIR/control.sock' | jq '.sources[] |
		select(.ip == \"$(client_ip 1)\") | .flows')\" = 100 ]"
	is "flows of client 1" "$(source_stat 1 flows)" 100
	wait $flow
	is "its established flow" "$(jq -r '"\(.received) \(.lost) \(.error)"' "$DIR/quota")" "600 0 "
	is "a new one: an unreplied one makes room" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	c2 "$WIRE" send c2 smac="$(client_mac 2)" sip="$(client_ip 2)" dip=192.0.2.9 sport=1 \
		dport=9 count=500 vary=1
	wait_for 3 sh -c "[ \"\$('$TOOL' status --control '$DIR/control.sock' | jq '.sources[] |
		select(.ip == \"$(client_ip 2)\") | .flows')\" -ge 400 ]"
	above "flows of client 2, which has no such limit" "$(source_stat 2 flows)" 400
	RIG_DIRTY=1
}
scenario N4_flow_quota flow_quota

quiet() { # R7
	key /vm-config/ringfence-quiet "$(client_ip 2)"
	db_write
	sleep 0.3
	rules 2 "action=accept proto=icmp"
	rules 3 "action=accept proto=icmp"
	commit_of "$(client_ip 2)" "$(client_ip 3)"
	c2 "$PEER" probe tcp $SERVER2 8081 >/dev/null
	c3 "$PEER" probe tcp $SERVER2 8081 >/dev/null
	check "a client that is logged" wait_for 3 grep -q \
		"$(client_ip 3) > $SERVER2 tcp 8081: rejected" "$DIR/daemon.log"
	is "one that is not" "$(grep -c "^.*$(client_ip 2) > $SERVER2 tcp 8081" "$DIR/daemon.log")" 0
}
scenario R7_quiet_client quiet
