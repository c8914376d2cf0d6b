# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2086,SC2154,SC2034 # the rig's constants are single words
#
# Packets that are allowed get through, whole, in both directions.

ping_through() { # I1
	check "ping with a permanent neighbour" c1 ping -c 5 -i 0.05 -W 1 -q $SERVER
	check "ping after ARP" c2 ping -c 5 -i 0.05 -W 1 -q $SERVER
	check "ping of full size" c1 ping -c 2 -i 0.05 -W 1 -q -M "do" -s 1472 $SERVER
	is "the neighbour that ARP found" "$(c2 ip neigh show $FW_IP)" "*lladdr $BACKEND_MAC*"
}
scenario I1_ping ping_through

udp_through() { # U1
	is "a datagram" "$(c1 "$PEER" probe udp $SERVER 9000)" "ok *"
	is "a full one" "$(c1 "$PEER" probe -d -s 1472 udp $SERVER 9000)" "ok *"
	is "an empty-ish one" "$(c1 "$PEER" probe -s 1 udp $SERVER 9000)" "ok *"
	is "the way beyond a router" "$(c1 "$PEER" probe udp $FAR 9000)" "ok *"
	is "1000 of them" "$(c1 "$PEER" seq udp $SERVER 9000 1000 100 |
		jq -r '[.lost, .corrupt, .error] | map(tostring) | join(" ")')" "0 0 "
}
scenario U1_udp udp_through

tcp_through() { # T1
	local gso_out gso_in
	is "a connection" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	is "another client's" "$(c2 "$PEER" probe tcp $SERVER 443)" "ok *"
	gso_out=$(client_stat 1 rx_gso)
	gso_in=$(client_stat 1 tx_gso)
	check "iperf3 up" c1 iperf3 -c $SERVER -t 1
	check "iperf3 down" c1 iperf3 -c $SERVER -t 1 -R
	above "GSO frames from the client" "$(client_stat 1 rx_gso)" "$((gso_out + 100))"
	above "GSO frames to the client" "$(client_stat 1 tx_gso)" "$((gso_in + 100))"
	above "GSO frames to the uplink" "$(stat_of .uplink.tx_gso)" 100
	above "GSO frames from the uplink" "$(stat_of .uplink.rx_gso)" 100
	above "partial checksums from the client" "$(client_stat 1 rx_partial)" 100
	above "partial checksums to the client" "$(client_stat 1 tx_partial)" 100
}
scenario T1_tcp_gso_both_ways tcp_through

# 200 MB each way, compared by SHA-256 at the ends
bulk() {
	local want got
	head -c 200000000 /dev/urandom >"$DIR/bulk"
	want=$(sha256sum <"$DIR/bulk")
	up timeout 60 "$PEER" sink $SERVER 9100 2>"$DIR/sink.err" | sha256sum >"$DIR/sink.sum" &
	local sink=$!
	wait_for 3 listening up 9100
	check "upload" timeout 60 ip netns exec "$NS-c1" "$PEER" put $SERVER 9100 <"$DIR/bulk"
	wait $sink
	is "SHA-256 of the upload" "$(cat "$DIR/sink.sum")" "$want"
	up timeout 60 "$PEER" feed $SERVER 9101 <"$DIR/bulk" 2>"$DIR/feed.err" &
	local feed=$!
	wait_for 3 listening up 9101
	got=$(timeout 60 ip netns exec "$NS-c1" "$PEER" get $SERVER 9101 | sha256sum)
	wait $feed
	is "SHA-256 of the download" "$got" "$want"
	rm -f "$DIR/bulk"
}
scenario bulk_200MB_sha256_both_ways bulk

dns_rule() { # R4: specialtarget=dns is port 53 of the DNS servers, tcp and udp
	rules 1 "action=accept specialtarget=dns"
	commit 1
	is "UDP to the DNS server" "$(c1 "$PEER" probe udp $DNS 53)" "ok *"
	is "TCP to the DNS server" "$(c1 "$PEER" probe tcp $DNS 53)" "ok *"
	is "the second one" "$(c1 "$PEER" probe udp 10.139.1.2 53)" "ok *"
	is "another port of it" "$(c1 "$PEER" probe tcp $DNS 80)" "error EHOSTUNREACH *"
	is "port 53 elsewhere" "$(c1 "$PEER" probe udp $SERVER 53)" "error EHOSTUNREACH *"
}
scenario R4_dns_rule dns_rule

# I2, I11: errors about a flow come back to its client, as if there were no NAT
icmp_errors() {
	rules 1 "action=accept proto=udp"
	commit 1
	is "port unreachable" "$(c1 "$PEER" probe udp $SERVER 9999)" \
		"error ECONNREFUSED * from $SERVER type 3 code 3 *"
	is "host unreachable, from the router" "$(c1 "$PEER" probe -t 5000 udp 198.51.100.77 9000)" \
		"error EHOSTUNREACH * from $UP_IP type 3 code 1 *"
	is "fragmentation needed, with its MTU" \
		"$(c1 "$PEER" probe -d -s 1400 udp $FAR 9000)" \
		"error EMSGSIZE * from $UP_IP type 3 code 4 info 1300"
	c1 ip route flush cache
}
scenario I2_icmp_errors_reach_the_client icmp_errors

path_mtu() { # I4, P11: TCP finds the smaller MTU beyond the router by itself
	is "numbered records" "$(c1 "$PEER" seq tcp $FAR 9000 200 100 |
		jq -r '"\(.received) \(.lost) \(.error)"')" "200 0 "
	head -c 2000000 /dev/urandom >"$DIR/pmtu"
	ns far timeout 20 "$PEER" sink $FAR 9102 2>&1 | sha256sum >"$DIR/pmtu.sum" &
	local sink=$!
	wait_for 3 listening far 9102
	check "2 MB" timeout 20 ip netns exec "$NS-c1" "$PEER" put $FAR 9102 <"$DIR/pmtu"
	wait $sink
	is "SHA-256" "$(cat "$DIR/pmtu.sum")" "$(sha256sum <"$DIR/pmtu")"
	c1 ip route flush cache
}
scenario I4_path_mtu_discovery path_mtu

hops() { # P6: one hop is one hop
	is "the first hop" "$(c1 "$PEER" probe -l 1 udp $FAR 9000)" \
		"error EHOSTUNREACH * from $FW_IP type 11 code 0 *"
	is "the second" "$(c1 "$PEER" probe -l 2 udp $FAR 9000)" \
		"error EHOSTUNREACH * from $UP_IP type 11 code 0 *"
	is "the third" "$(c1 "$PEER" probe -l 3 udp $FAR 9000)" "ok *"
	is "the first by TCP" "$(c1 "$PEER" probe -l 1 tcp $FAR 80)" "error EHOSTUNREACH *"
}
scenario P6_ttl_like_traceroute hops

gateway() { # Q5
	check "ping the gateway" c1 ping -c 3 -i 0.05 -W 1 -q $FW_IP
	is "TCP to it" "$(c1 "$PEER" probe tcp $FW_IP 80)" "error EHOSTUNREACH * from $FW_IP type 3 code 10 *"
	is "UDP to it" "$(c1 "$PEER" probe udp $FW_IP 9000)" "error EHOSTUNREACH * from $FW_IP type 3 code 10 *"
	is "DHCP to it" "$(c1 "$PEER" probe -t 500 udp $FW_IP 68)" "timeout *"
	above "counted" "$(drops to-firewall)" 2
}
scenario Q5_the_firewall_itself gateway

arp() { # Q6
	local mac ip
	mac=$(client_mac 2)
	ip=$(client_ip 2)
	is "the gateway" "$(c2 "$WIRE" arp c2 "$mac" "$ip" $FW_IP)" $BACKEND_MAC
	is "anything else" "$(c2 "$WIRE" arp c2 "$mac" "$ip" 203.0.113.9)" $BACKEND_MAC
	is "another client" "$(c2 "$WIRE" arp c2 "$mac" "$ip" "$(client_ip 1)")" $BACKEND_MAC
	is "its own address" "$(c2 "$WIRE" arp c2 "$mac" "$ip" "$ip")" none
	is "with a foreign sender address" \
		"$(c2 "$WIRE" arp c2 "$mac" "$(client_ip 1)" $FW_IP)" none
	is "with a foreign sender MAC" \
		"$(c2 "$WIRE" arp c2 "$(client_mac 1)" "$ip" $FW_IP)" none
	# A probe (RFC 5227) has the sender 0.0.0.0; it must not be told that its
	# own address is taken.
	is "a probe for its own address" "$(c2 "$WIRE" arp c2 "$mac" 0.0.0.0 "$ip")" none
	check "the client still works" c2 ping -c 1 -W 1 -q $SERVER
}
scenario Q6_arp arp

# P4: every checksum that leaves is right; nobody else in one machine looks
verify_start() { # NAMESPACE DEV
	ns "$1" "$WIRE" verify "$2" 2500 >"$DIR/verify.$1" &
	VERIFY+=($!)
}
verify_end() { # WHAT NAMESPACE KIND: that kind was seen; nothing was wrong
	local sums=$DIR/verify.$2
	is "$1: wrong checksums" "$(jq -r '[.ip_bad, .complete_bad, .partial_bad, .validated_bad] |
		map(tostring) | join(" ")' "$sums")" "0 0 0 0"
	above "$1: packets with $3 checksums" \
		"$(jq ".$3$([ "$3" != complete ] || echo ' + .validated')" "$sums")" 100
	above "$1: packets of IPv6" "$(jq .ipv6 "$sums")" 100
}
checksum_traffic() {
	VERIFY=()
	verify_start up up0
	verify_start c1 c1
	sleep 0.3
	local server both=()
	for server in $SERVER $SERVER6; do
		{
			c1 "$PEER" seq udp $server 9000 300 500
			c1 "$PEER" seq tcp $server 9000 300 500
			c1 iperf3 -c $server -n 4M
			c1 iperf3 -c $server -n 4M -R
			c1 ping -c 10 -i 0.01 -q $server
			c1 "$PEER" probe udp $server 9999
		} >/dev/null &
		both+=($!)
	done
	wait "${VERIFY[@]}" "${both[@]}"
}
checksums() {
	checksum_traffic
	verify_end "towards the uplink" up partial
	verify_end "towards the client" c1 partial
	c1 ethtool -K c1 tx off >/dev/null
	up ethtool -K up0 tx off >/dev/null
	checksum_traffic
	verify_end "towards the uplink, without offload" up complete
	verify_end "towards the client, without offload" c1 complete
	c1 ethtool -K c1 tx on tso on >/dev/null
	up ethtool -K up0 tx on tso on >/dev/null
}
scenario P4_checksums_partial_and_complete checksums

# The upstream's kernel looks for us again and again: when it comes to doubt its
# neighbour entry it asks us alone, not everybody.
arp_uplink() {
	local asker=$BACKEND_MAC
	is "our address, asked by broadcast" "$(up "$WIRE" arp up0 $asker $UP_IP $FW_IP)" \
		"$UPLINK_MAC"
	is "a client's address" "$(up "$WIRE" arp up0 $asker $UP_IP "$(client_ip 1)")" none
	up ip neigh flush dev up0
	is "a new search by the kernel" "$(c1 "$PEER" probe udp $SERVER 9000)" "ok *"
	is "what it found" "$(up ip neigh show $FW_IP)" "*lladdr $UPLINK_MAC *"
	# Stale, then doubted at the next use, then asked by unicast
	up sh -c 'echo 1 >/proc/sys/net/ipv4/neigh/up0/delay_first_probe_time
		echo 1 >/proc/sys/net/ipv4/neigh/up0/ucast_solicit
		echo 0 >/proc/sys/net/ipv4/neigh/up0/mcast_solicit'
	up ip neigh change $FW_IP lladdr "$UPLINK_MAC" dev up0 nud probe
	is "a unicast search" "$(wait_for 3 sh -c "ip -n $NS-up neigh show $FW_IP |
		grep -q REACHABLE"; c1 "$PEER" probe udp $SERVER 9000)" "ok *"
	is "its result" "$(up ip neigh show $FW_IP)" "*REACHABLE*"
	RIG_DIRTY=1
}
scenario Q6_arp_on_the_uplink arp_uplink
