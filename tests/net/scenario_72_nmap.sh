# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2086,SC2154,SC2034 # the rig's constants are single words
#
# nmap through the firewall, at it, and from outside: odd flags, odd fragments,
# odd protocols. What gets through is what the rules say; outside hears nothing.

NMAP_PORTS=22,80,443,8080

# scan NAME NAMESPACE TARGET OPTION...: in the background, all scans of a scenario at
# once; scans_end waits. The result is what scan_of NAME prints: "PORT:STATE/REASON"
# for each port.
SCANS=()
scan() {
	local name=$1 ns=$2 target=$3 v6=
	shift 3
	[[ $target != *:* ]] || v6=-6
	[[ " $* " == *" -sn "* ]] || v6+=" -Pn"
	ns "$ns" timeout 25 nmap $v6 -n -T4 --max-retries 1 --host-timeout 20s --send-ip \
		--reason "$@" "$target" >"$DIR/scan.$name" 2>&1 </dev/null &
	SCANS+=($!)
}
scans_end() {
	wait "${SCANS[@]}"
	SCANS=()
}
scan_of() {
	sed -nE 's#^([0-9]+)(/[a-z]+)? +([a-z|]+) +[^ ]+ +([a-z-]+)( .*)?$#\1:\3/\4#p' \
		"$DIR/scan.$1" | paste -sd ' '
}
scan_is() { # WHAT NAME PATTERN
	is "$1" "$(scan_of "$2")" "$3"
	# shellcheck disable=SC2053 # a pattern, again
	[[ $(scan_of "$2") == $3 ]] || tail -n 12 "$DIR/scan.$2"
}

# What arrives upstream while a scenario's scans run
watch_start() {
	up tcpdump -i up0 -Q in -n -s 200 -U --immediate-mode -w "$DIR/watch.pcap" \
		"${1:-ip or ip6}" >"$DIR/watch.log" 2>&1 &
	WATCH=$!
	wait_for 3 grep -q "listening on" "$DIR/watch.log"
}
watch_end() {
	sleep 0.2
	kill $WATCH 2>/dev/null
	wait $WATCH 2>/dev/null
}
watched() { tcpdump -n -r "$DIR/watch.pcap" "$1" 2>/dev/null | wc -l; }

# Flags that no client opens a connection with: silence, and nothing beyond (T3, T12)
nmap_flags() {
	local rejected silent name wall
	frules 1 "action=accept $DST=$S proto=tcp dstports=80-80"
	fcommit 1
	watch_start
	scan syn c1 "$S" -sS -p $NMAP_PORTS
	scan connect c1 "$S" -sT -p $NMAP_PORTS
	scan null c1 "$S" -sN -p $NMAP_PORTS
	scan fin c1 "$S" -sF -p $NMAP_PORTS
	scan xmas c1 "$S" -sX -p $NMAP_PORTS
	scan ack c1 "$S" -sA -p $NMAP_PORTS
	scan window c1 "$S" -sW -p $NMAP_PORTS
	scan maimon c1 "$S" -sM -p $NMAP_PORTS
	scan synfin c1 "$S" -sS --scanflags SYNFIN -p $NMAP_PORTS
	scan synrst c1 "$S" -sS --scanflags SYNRST -p $NMAP_PORTS
	scan urgpsh c1 "$S" -sS --scanflags URGPSH -p $NMAP_PORTS
	scan all c1 "$S" -sS --scanflags URGACKPSHRSTSYNFIN -p $NMAP_PORTS
	scan udp c1 "$S" -sU -p 53,9000
	scan sctp c1 "$S" -sY -p 80
	scans_end
	watch_end
	wall="filtered/admin-prohibited"
	rejected="22:$wall 80:open/syn-ack 443:$wall 8080:$wall"
	scan_is "T3: a SYN" syn "$rejected"
	is "a connect()" "$(scan_of connect | tr ' ' '\n' | grep -c ':filtered/')" 3
	scan_is "U3: UDP" udp "53:$wall 9000:$wall"
	scan_is "U11: SCTP" sctp "80:$wall"
	silent="22:open|filtered/no-response 80:open|filtered/no-response *"
	for name in null fin xmas; do scan_is "T12: $name" $name "$silent"; done
	for name in synfin synrst urgpsh all; do
		scan_is "T12: $name" $name "22:filtered/no-response 80:filtered/no-response *"
	done
	for name in ack window; do scan_is "T3: $name" $name "*80:filtered/no-response*"; done
	scan_is "T3: FIN and ACK" maimon "*80:open|filtered/no-response*"
	above "SYNs that got through" "$(watched "dst port 80")" 0
	is "to any other port" "$(watched "(tcp or udp or sctp) and not dst port 80")" 0
	# The flags are the 14th byte of the TCP header.
	if [ "$F" = 4 ]; then
		is "without SYN, ACK or RST" "$(watched "tcp and tcp[13] & 0x16 == 0")" 0
		is "FIN" "$(watched "tcp and tcp[13] & 0x05 == 0x01 and tcp[13] & 0x10 == 0")" 0
	else
		is "without SYN, ACK or RST" "$(watched "ip6[6] == 6 and ip6[53] & 0x16 == 0")" 0
		is "SYN with FIN" "$(watched "ip6[6] == 6 and ip6[53] & 3 == 3")" 0
	fi
}
both T3_T12_nmap_flags nmap_flags

# What only IPv4 has: tiny fragments, options, decoys
nmap_tricks() {
	local before name
	rules 1 "action=accept dst4=$SERVER proto=tcp dstports=80-80"
	commit 1
	before=$(drops spoofed)
	watch_start
	scan tiny c1 $SERVER -sS -f -p $NMAP_PORTS
	scan tiny16 c1 $SERVER -sS --mtu 16 -p $NMAP_PORTS
	scan padded c1 $SERVER -sS --mtu 24 --data-length 64 -p $NMAP_PORTS
	scan route c1 $SERVER -sS --ip-options R -p $NMAP_PORTS
	scan loose c1 $SERVER -sS --ip-options "L 192.0.2.2" -p $NMAP_PORTS
	scan strict c1 $SERVER -sS --ip-options "S 192.0.2.2" -p $NMAP_PORTS
	scan decoys c1 $SERVER -sS -D "$(client_ip 2),$SERVER2,ME" -p $NMAP_PORTS
	scan badsum c1 $SERVER -sS --badsum -p $NMAP_PORTS
	scan port53 c1 $SERVER -sS -g 53 --data-length 40 -p $NMAP_PORTS
	scans_end
	watch_end
	for name in tiny tiny16 route loose strict; do
		scan_is "F5, F6, P5: $name" $name "*80:filtered/no-response*"
	done
	local wall="filtered/admin-prohibited"
	scan_is "fragments that hide nothing" padded "22:$wall 80:open/syn-ack 443:$wall 8080:$wall"
	scan_is "Q1: decoys" decoys "22:$wall 80:open/syn-ack 443:$wall 8080:$wall"
	scan_is "P4: a bad checksum stays bad" badsum "*80:filtered/no-response*"
	scan_is "from port 53, with data" port53 "22:$wall 80:open/syn-ack 443:$wall 8080:$wall"
	above "decoys counted" "$(drops spoofed)" $((before + 7))
	is "fragments without a whole header" "$(watched "ip[6:2] & 0x1fff == 1")" 0
	is "IPv4 options" "$(watched "ip[0] != 0x45")" 0
	is "other ports" "$(watched "tcp and ip[6:2] & 0x1fff == 0 and not dst port 80")" 0
}
scenario F5_F6_P5_Q1_nmap_tricks nmap_tricks

# U11: other protocols pass by a rule that names none, one client at a time
nmap_protocols() {
	local list=6,17,47,50,132,253 wall="filtered/admin-prohibited"
	local unknown=closed/proto-unreach
	frules 1 "action=accept proto=tcp" "action=accept proto=udp"
	fcommit 1
	scan some c1 "$S" -sO -p $list
	scans_end
	is "what no rule covers" "$(scan_of some | tr ' ' '\n' | grep -c ":$wall")" 4
	frules 1 "action=accept"
	fcommit 1
	scan everything c1 "$S" -sO -p 47,132,253
	scans_end
	# The server's kernel knows none of them and says so; the error comes back,
	# although two of the three packets had nothing behind the IP header.
	[ "$F" = 4 ] || unknown=closed/param-problem
	scan_is "with such a rule" everything "47:$unknown 132:$unknown 253:$unknown"
	scan second c2 "$S" -sO -p 47,253
	scans_end
	scan_is "another client at the same time" second "47:*filtered/* 253:*filtered/*"
}
both U11_nmap_protocols nmap_protocols

# Q4, T17: from the uplink our address is a hole
nmap_outside() {
	watch_start "src host $G and not arp and not (icmp6 and (ip6[40] == 135 or ip6[40] == 136))"
	# Something is going on meanwhile, so that there are ports to be found.
	c1 "$PEER" seq -b "$(A 1):40700" udp "$S2" 9000 10 1000 >/dev/null
	scan syn up "$G" -sS -p 22,80,1024,40700
	scan connect up "$G" -sT -p 80
	scan ack up "$G" -sA -p 22,80,40700
	scan null up "$G" -sN -p 22,80,40700
	scan xmas up "$G" -sX -p 22,80
	scan udp up "$G" -sU -p 53,68,123,40700
	scan proto up "$G" -sO -p 1,2,6,17,47,50,58,132
	scan sctp up "$G" -sY -p 80
	if [ "$F" = 4 ]; then
		scan ping up "$G" -sn -PE -PP -PM --disable-arp-ping
	else
		scan ping up "$G" -sn -PE --disable-arp-ping
	fi
	scans_end
	watch_end
	scan_is "SYN" syn "22:filtered/no-response 80:filtered/no-response *"
	scan_is "ACK" ack "22:filtered/no-response 80:filtered/no-response *"
	scan_is "no flags" null "22:open|filtered/no-response *"
	scan_is "UDP" udp "53:open|filtered/no-response 68:open|filtered/no-response *"
	check "pings of all kinds" grep -q "0 hosts up" "$DIR/scan.ping"
	is "packets that came out" "$(watched "not udp dst port 9000")" 0
	is "the client's flow" "$(c1 "$PEER" probe udp "$S2" 9000)" "ok *"
}
both Q4_T17_nmap_from_outside nmap_outside

# Q5: the firewall as its clients see it; Q3: the other clients
nmap_inside() {
	local wall="filtered/host-prohibited" before
	[ "$F" = 4 ] || wall="filtered/admin-prohibited"
	before=$(drops inter-client)
	scan syn c1 "$G" -sS -p 22,53,80
	scan udp c1 "$G" -sU -p 53,68,123
	scan neighbour c1 "$(A 2)" -sS -p 22,80
	scan neighbour_udp c1 "$(A 2)" -sU -p 53,80
	scans_end
	scan_is "TCP" syn "22:$wall 53:$wall 80:$wall"
	if [ "$F" = 4 ]; then
		scan_is "UDP" udp "53:$wall 68:open|filtered/no-response 123:$wall"
	else
		scan_is "UDP" udp "53:$wall * 123:$wall"
	fi
	scan_is "another client" neighbour "22:filtered/no-response 80:filtered/no-response"
	scan_is "its UDP" neighbour_udp "53:open|filtered/no-response 80:open|filtered/no-response"
	above "counted" "$(drops inter-client)" $((before + 3))
}
both Q5_Q3_nmap_from_inside nmap_inside
