# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2086,SC2154,SC2034 # the rig's constants are single words
#
# Fragments and quoted errors: what kernels send, and, by scapy, what none does.

# scapy SCRIPT ARGUMENT...: each of its cases that failed is a complaint
scapy() {
	local script=$1 out line
	shift
	out=$(env PYTHONDONTWRITEBYTECODE=1 NS="$NS" FW_IP=$FW_IP FW_IP6=$FW_IP6 UP_IP=$UP_IP \
		UP_IP6=$UP_IP6 BACKEND_MAC=$BACKEND_MAC UPLINK_MAC="$UPLINK_MAC" \
		MAC1="$(client_mac 1)" MAC2="$(client_mac 2)" MAC3="$(client_mac 3)" \
		CLIENT1_IP="$(client_ip 1)" CLIENT2_IP="$(client_ip 2)" CLIENT3_IP="$(client_ip 3)" \
		CLIENT1_IP6="$(client_ip6 1)" CLIENT2_IP6="$(client_ip6 2)" \
		CLIENT3_IP6="$(client_ip6 3)" \
		timeout 60 /usr/bin/python3 "tests/net/scapy_$script.py" "$@" 2>&1) ||
		complain "scapy_$script.py $*: status $?"
	while read -r line; do
		case $line in
		"ok "*) ;;
		[1-9]*" cases") return ;;
		*) complain "$line" ;;
		esac
	done <<<"$out"
	complain "scapy_$script.py did not get to its end"
}

# The hosts that the scripts are: routed nowhere, so that no kernel answers, neither
# theirs nor, with an error to them, a client's. No other scenario has these addresses.
script_hosts() {
	local n
	for n in up c1 c2; do
		ns $n ip route replace blackhole 203.0.113.0/24
		ns $n ip route replace blackhole 2001:db8:dead::/48
	done
}

fragments() { # F1-F17, U10
	frules 2 "action=accept proto=tcp dstports=80-80"
	db_write
	daemon_start --timeout fragment-ipv4=1 --timeout fragment-ipv6=1
	script_hosts
	scapy fragments "$F"
	above "counted" "$(drops fragment)" 0
	RIG_DIRTY=1
}
both F1_to_F17_scapy fragments

errors() { # I1-I10, P1-P12, Q1, U11: quoted errors, headers that no kernel sends
	script_hosts
	scapy errors "$F"
	is "the honest rest" "$(c1 "$PEER" probe tcp "$S" 80)" "ok *"
}
both I2_I3_P7_scapy errors

large_pings() { # F1, I1: kernels at both ends
	local size
	for size in 8000 60000; do
		check "a ping of $size bytes" c1 ping -c 3 -i 0.05 -W 2 -q -s $size "$S"
		check "beyond the router" c1 ping -c 2 -i 0.05 -W 2 -q -s $size "$R"
		is "a datagram of $size" "$(c1 "$PEER" probe -s $size udp "$S" 9000)" "ok *"
	done
	# At once, and well within what may be waiting for its other pieces (F10)
	is "datagrams of different sizes" "$(for size in 1 2 3 4 5 6 7 8; do
		c1 "$PEER" probe -s $((size * 2222)) udp "$S2" 9000 &
	done | grep -c ^ok; wait)" 8
	check "two clients at once" sh -c "
		ip netns exec $NS-c1 ping -e 77 -c 5 -i 0.05 -W 2 -q -s 20000 $S &
		ip netns exec $NS-c2 ping -e 77 -c 5 -i 0.05 -W 2 -q -s 20000 $S && wait \$!"
	is "the gateway, with large ones" "$(c1 ping -c 2 -i 0.05 -W 1 -s 1400 "$G" |
		grep -c 'bytes from')" 2
}
both F1_large_pings large_pings
