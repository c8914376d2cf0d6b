# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2086,SC2154,SC2034 # the rig's constants are single words
#
# What must never get through, and who must never notice whom.

same_port() { # U5, N9
	local proto n pids=()
	for proto in udp tcp; do
		for n in 1 2 3; do
			ns "c$n" "$PEER" seq -b "$(client_ip $n):40123" $proto $SERVER 9000 300 1000 \
				>"$DIR/same.$proto.$n" &
			pids+=($!)
		done
	done
	wait "${pids[@]}"
	for proto in udp tcp; do
		for n in 1 2 3; do
			is "$proto of client $n" "$(jq -r '"\(.received) \(.lost) \(.corrupt) \(.error)"' \
				"$DIR/same.$proto.$n")" "300 0 0 "
		done
	done
}
scenario U5_same_source_port same_port

same_echo_id() { # I1, N7: two clients, one id
	local n pids=() rcs=""
	for n in 1 2; do
		ns "c$n" ping -e 4242 -c 20 -i 0.05 -W 1 -q $SERVER >"$DIR/ping.$n" &
		pids+=($!)
	done
	for n in "${pids[@]}"; do
		wait "$n"
		rcs+=$?
	done
	is "both" "$rcs" 00
	is "no answer was doubled or lost" "$(cat "$DIR"/ping.[12] |
		grep -c '^20 packets transmitted, 20 received, 0%')" 2
}
scenario N7_same_echo_id same_echo_id

inter_client() { # Q3
	local before
	before=$(drops inter-client)
	is "TCP" "$(c1 "$PEER" probe -t 500 tcp "$(client_ip 2)" 80)" "timeout *"
	is "UDP" "$(c1 "$PEER" probe -t 300 udp "$(client_ip 2)" 80)" "timeout *"
	check "ping" sh -c "! ip netns exec $NS-c1 ping -c 1 -W 0.3 -q $(client_ip 2)"
	above "counted" "$(drops inter-client)" $((before + 2))
	# A flow of the other client must not be a door either.
	c2 "$PEER" seq -b "$(client_ip 2):40200" udp $SERVER 9000 300 1000 >/dev/null &
	sleep 0.1
	is "via our external address" "$(c1 "$PEER" probe -t 300 -b "$(client_ip 1):9000" \
		udp $FW_IP 40200)" "error EHOSTUNREACH * code 10 *"
	wait $!
}
scenario Q3_no_traffic_between_clients inter_client

spoofed() { # Q1, Q2
	local before ip
	before=$(drops spoofed)
	for ip in 10.137.0.66 "$(client_ip 2)" $SERVER; do
		c1 "$WIRE" send c1 smac="$(client_mac 1)" sip="$ip" dip=$SERVER2 dport=9000 sport=1 \
			count=10
		c1 "$WIRE" send c1 smac="$(client_mac 1)" sip="$ip" dip=$SERVER2 proto=tcp flags=S \
			dport=80 sport=1
	done
	c1 ip address add 10.137.0.66/32 dev c1
	is "by an ordinary program" "$(c1 "$PEER" probe -t 300 -b 10.137.0.66:0 udp $SERVER 9000)" \
		"timeout *"
	c1 ip address del 10.137.0.66/32 dev c1
	is "counted" "$(drops spoofed)" $((before + 34))
	before=$(drops source-mac)
	c1 "$WIRE" send c1 smac="$(client_mac 2)" sip="$(client_ip 1)" dip=$SERVER dport=9000 count=5
	is "foreign source MAC" "$(drops source-mac)" $((before + 5))
	is "the honest rest" "$(c1 "$PEER" probe udp $SERVER 9000)" "ok *"
}
scenario Q1_spoofed_source spoofed

inbound() { # Q4, T17: silence towards the uplink
	local before
	before=$(stat_of '[.drops["inbound"], .drops["tcp-no-flow"], .drops["to-firewall"],
		.drops["uplink-spoofed"], .drops["icmp-no-flow"]] | map(. // 0) | add')
	up ip route add "$(client_ip 1)/32" via $FW_IP dev up0
	is "TCP to a client" "$(up "$PEER" probe -t 500 tcp "$(client_ip 1)" 80)" "timeout *"
	is "UDP to a client" "$(up "$PEER" probe -t 300 udp "$(client_ip 1)" 80)" "timeout *"
	is "TCP to the firewall" "$(up "$PEER" probe -t 500 tcp $FW_IP 80)" "timeout *"
	is "UDP to the firewall" "$(up "$PEER" probe -t 300 udp $FW_IP 80)" "timeout *"
	up ip route del "$(client_ip 1)/32"
	above "counted" "$(stat_of '[.drops["inbound"], .drops["tcp-no-flow"], .drops["to-firewall"],
		.drops["uplink-spoofed"], .drops["icmp-no-flow"]] | map(. // 0) | add')" $((before + 3))
}
scenario Q4_T17_inbound_is_silent inbound

uplink_spoof() { # Q10: nobody out there is one of our clients
	local before
	before=$(drops uplink-spoofed)
	up "$WIRE" send up0 smac=$BACKEND_MAC dmac="$UPLINK_MAC" sip="$(client_ip 2)" dip=$FW_IP \
		dport=9000 sport=53 count=7
	is "a client's address as source" "$(drops uplink-spoofed)" $((before + 7))
	is "a client's address as destination" "$(c1 "$PEER" probe -t 300 udp 10.137.0.7 9000)" \
		"timeout *"
}
scenario Q10_client_addresses_on_the_uplink uplink_spoof

# A flow answers to its own peer and port only (U3)
filtering() {
	local before
	c1 "$PEER" seq -b "$(client_ip 1):40300" udp $SERVER 9000 400 1000 >"$DIR/filter" &
	sleep 0.1
	before=$(drops inbound)
	up "$WIRE" send up0 smac=$BACKEND_MAC dmac="$UPLINK_MAC" sip=$SERVER2 dip=$FW_IP \
		sport=9000 dport=40300 count=20
	up "$WIRE" send up0 smac=$BACKEND_MAC dmac="$UPLINK_MAC" sip=$SERVER dip=$FW_IP \
		sport=9001 dport=40300 count=20
	wait $!
	is "dropped" "$(drops inbound)" $((before + 40))
	is "the flow" "$(jq -r '"\(.received) \(.lost) \(.corrupt) \(.error)"' "$DIR/filter")" "400 0 0 "
}
scenario U3_filtering filtering

bad_frames() { # P1, P2, P3, P8, T3, T12: nothing honest kernels send; nobody falls
	local base bad
	base="smac=$(client_mac 1) sip=$(client_ip 1) dip=$SERVER sport=7 dport=9000"
	send1() {
		# shellcheck disable=SC2086 # words
		c1 "$WIRE" send c1 $base "$@"
	}
	for bad in "ip ip-checksum" "ihl ip-header" "length ip-header" "version ip-header"; do
		local reason=${bad#* } before
		before=$(drops "$reason")
		send1 bad="${bad% *}" count=3
		is "${bad% *}" "$(drops "$reason")" $((before + 3))
	done
	local no_flow flags ether
	no_flow=$(drops tcp-no-flow)
	send1 proto=tcp flags=A
	send1 proto=tcp flags=R
	is "TCP without a flow" "$(drops tcp-no-flow)" $((no_flow + 2))
	flags=$(drops tcp-flags)
	send1 proto=tcp flags=SF
	send1 proto=tcp flags=SR
	send1 proto=tcp flags=FPU
	is "impossible flags" "$(drops tcp-flags)" $((flags + 3))
	ether=$(drops ethertype)
	send1 type=0x8100
	send1 type=0x88cc
	send1 type=0x0100
	is "not IP" "$(drops ethertype)" $((ether + 3))
	is "the honest rest" "$(c1 "$PEER" probe udp $SERVER 9000)" "ok *"
}
scenario P_bad_frames bad_frames

# D2, D4: one client's flood of new flows fills the table; it neither stops nor
# evicts another's flow
flood() {
	local flow i
	daemon_start --flows 4096
	c2 "$PEER" seq -t 3000 tcp $SERVER 9000 3000 1000 >"$DIR/flood" &
	flow=$!
	sleep 0.2
	# How many get past the TAP's queue is the machine's business: go on until
	# the table must have been full, and full again.
	for ((i = 1; i <= 50; i++)); do
		c1 "$WIRE" send c1 smac="$(client_mac 1)" sip="$(client_ip 1)" dip=192.0.2.9 \
			sport=1 dport=$i count=20000 vary=1 len=10
		[ "$(stat_of .flows.created)" -le 8192 ] || break
	done
	wait $flow
	is "the other's flow" "$(jq -r '"\(.received) \(.lost) \(.error)"' "$DIR/flood")" "3000 0 "
	within "flows" "$(stat_of .flows.active)" "$(stat_of .flows.max)"
	is "the size of the table" "$(stat_of .flows.max)" 4096
	above "flows made, so it was full" "$(stat_of .flows.created)" 8192
	is "a third one opens new flows meanwhile" "$(c3 "$PEER" probe tcp $SERVER 80)" "ok *"
	RIG_DIRTY=1 # the next scenario wants the usual table
}
scenario D2_flood_of_flows flood
