# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash disable=SC3043,SC2015 # local; a && b || fail
# Scenarios of packets: the same TCP, UDP, ICMP and fragments over IPv4 and IPv6,
# between real kernels. Sourced by scenarios.sh; FAM is 4 or 6.

# at NAME FAM: the addresses that clients talk to
at()
{
	case $1-$2 in
	net-4) echo 10.137.0.1 ;;
	net-6) echo fd09:24ef:4179::a89:1 ;;
	gw-4) echo 10.137.0.4 ;;
	gw-6) echo fd09:24ef:4179::a89:4 ;;
	web-4) echo 198.51.100.1 ;;
	web-6) echo 2001:db8:64::1 ;;
	other-4) echo 192.0.2.1 ;;
	other-6) echo 2001:db8:65::1 ;;
	far-4) echo 203.0.113.1 ;; # behind a hop more, with an MTU of 1400
	far-6) echo 2001:db8:cb::1 ;;
	esac
}

# udp_max FAM MTU: payload of the largest datagram in one packet
udp_max()
{
	case $1 in 6) echo $(($2 - 48)) ;; *) echo $(($2 - 28)) ;; esac
}

# expect GUEST RESULT PEER_ARGS...: one probe of peer and how it has to end
expect()
{
	local who=$1 want=$2 line

	shift 2
	line=$(guest "$who" "peer $*" 15)
	[ "$(value result "$line")" = "$want" ] || fail "$who: peer $*: wanted $want, got $line"
}

# refused_at_once GUEST PEER_ARGS...: by ICMP, not by a timeout: type 3 code 13, or
# ICMPv6 type 1 code 1; and the client's kernel says so to a UDP socket (2.2)
refused_at_once()
{
	local who=$1 line ms icmp=3/13 errno=EHOSTUNREACH

	shift
	line=$(guest "$who" "peer $*" 15)
	ms=$(value ms "$line")
	case $* in *:*) icmp=1/1 errno=EACCES ;; esac
	[ "$(value type "$line")/$(value icmp "$line")" = $icmp ] && [ "${ms:-9999}" -lt 500 ] ||
		fail "$who: peer $*: wanted ICMP $icmp within 500 ms, got $line" || return 1
	[ "$1" = tcp ] || [ "$(value kernel "$line")" = $errno ] ||
		fail "$who: peer $*: the kernel did not say $errno: $line"
}

# ping_from N FAM [NAME [SIZE]]
ping_from()
{
	guest "app$1" "ping -$2 -c 3 -i 0.2 -W 3 -s ${4:-56} $(at "${3:-net}" "$2")" 20
}

# --- whole packets --------------------------------------------------------------
# Duplicate address detection must not find that somebody else has its address.
no_dad_failure()
{
	local out

	out=$(guest "$1" 'sleep 2; ip -6 addr show dev eth0')
	echo "$out"
	case $out in
	*dadfailed* | *tentative*) return 1 ;;
	*"$2"*) return 0 ;;
	*) return 1 ;;
	esac
}

# [rx_gso, tx_gso, rx_partial, tx_partial, rx_frames, tx_frames, rx_bytes,
# tx_bytes] of app1 and of the uplink
ring_counters()
{
	fw_status "[[.clients[] | select(.ip | startswith(\"$(app_ip 1) \"))][0], .uplink |
		[.rx_gso, .tx_gso, .rx_partial, .tx_partial, .rx_frames, .tx_frames,
			.rx_bytes, .tx_bytes]]" | jq -c .
}

# bulk_gso FAM put|get: 24 MB with checksums at both ends. Nearly all of it has to
# pass both rings in GSO frames with partial checksums: more than two MTUs a frame.
bulk_gso()
{
	local before after port=9000 c=0 u=1

	[ "$2" = put ] || port=9001
	before=$(ring_counters)
	guest app1 "peer $2 $(at net "$1") $port 24000000" 60 || return 1
	after=$(ring_counters)
	# received from the client and sent to the uplink, or the other way round
	[ "$2" = put ] || { c=1 && u=0; }
	jq -n -r --argjson a "$before" --argjson b "$after" --argjson c $c --argjson u $u '
		[$a, $b] | transpose | map(transpose | map(.[1] - .[0])) |
		[[.[0], $c], [.[1], $u]] | to_entries[] | .value as [$n, $way] |
		{gso: $n[$way], partial: $n[$way + 2], frames: $n[$way + 4], bytes: $n[$way + 6]} |
		. + {good: (.gso > 100 and .partial >= .gso and .bytes > 24e6 and
			.bytes / .frames > 3000)} | tojson' >/run/lab/gso.txt
	cat /run/lab/gso.txt
	[ "$(grep -c '"good":true' /run/lab/gso.txt)" = 2 ] ||
		fail "not GSO on both rings: $before $after"
}

udp_works()
{
	local net

	net=$(at net "$1")
	expect app1 ok udp "$net" 7000 && expect app2 ok udp "$net" 123 &&
		expect app1 ok udp "$net" 7000 size="$(udp_max "$1" 1500)" df &&
		expect app2 ok udp "$net" 7000 size="$(udp_max "$1" 1500)" df &&
		guest app1 "peer stream udp $net 7000 10 2" 15
}

# --- fragments --------------------------------------------------------------------
# Datagrams that became whole. Those that time out are counted there too, and what an
# earlier scenario left over does so at any time.
fragments_done() { fw_status '.fragments.datagrams - .drops["fragment-timeout"]'; }

# The echo of each has to come back whole from the upstream and from the gateway.
fragmented_ping()
{
	local before

	before=$(fragments_done)
	for size in 8000 60000; do
		ping_from 1 "$1" net $size && ping_from 1 "$1" gw $size || return 1
	done
	ping_from 2 "$1" net 8000 || return 1
	# to the upstream and back 9, to the gateway 6
	[ "$(fragments_done)" = $((before + 2 * 9 + 6)) ] ||
		fail "datagrams put together: $before, now $(fragments_done)"
}

# F1, U10: 32 KiB and the largest, alone and from two clients at a time; small
# fragments behind a small MTU of the client
fragmented_udp()
{
	local net id

	net=$(at net "$1")
	expect app1 ok udp "$net" 7000 size=1473 && expect app1 ok udp "$net" 7000 size=32768 &&
		expect app2 ok udp "$net" 7000 size=60000 || return 1
	id=$(guest_bg app2 "for i in 1 2 3 4 5; do peer udp $net 7000 size=32000 || exit 1; done" 20)
	guest app1 "for i in 1 2 3 4 5; do peer udp $net 7000 size=32000 || exit 1; done" 20 &&
		guest_wait app2 "$id" 20
}

# F1, F2: no kernel sends them so
fragments_in_any_order()
{
	local how

	for how in reverse shuffle twice; do
		guest app1 "rawfrag $(at net "$1") 7000 20000 $how" 15 || fail "$how" || return 1
	done
	guest app1 "rawfrag $(at net "$1") 7000 60000 reverse" 15
}

# F3, F4: nothing of it arrives
fragments_overlap()
{
	local before done_before

	before=$(drops fragment)
	done_before=$(fragments_done)
	guest app1 "rawfrag $(at net "$1") 7000 20000 overlap 2000" 15 >/run/lab/frag.txt
	cat /run/lab/frag.txt
	grep -q '^result=timeout ' /run/lab/frag.txt || fail 'an overlap was answered' || return 1
	[ "$(drops fragment)" -gt "$before" ] && [ "$(fragments_done)" = "$done_before" ] ||
		fail "drops $before, now $(drops fragment); datagrams $done_before, now $(fragments_done)"
}

# F11: after 30 s or 60 s the client is told that a part was missing. Both families
# at a time, and nobody looks at the console meanwhile: that is dear work here.
fragments_incomplete()
{
	local before four six line

	before=$(drops fragment-timeout)
	four=$(guest_bg app1 "rawfrag $(at net 4) 7000 20000 hole 35000" 80)
	six=$(guest_bg app1 "rawfrag $(at net 6) 7000 20000 hole 65000" 80)
	sleep 59
	for id in "$four 30000" "$six 60000"; do
		line=$(guest_wait app1 "${id% *}" 15)
		echo "$line"
		[ "$(value result "$line")" = reassembly ] &&
			[ "$(value ms "$line")" -ge $((${id#* } - 100)) ] ||
			fail "no time exceeded after ${id#* } ms" || return 1
	done
	[ "$(drops fragment-timeout)" -ge $((before + 2)) ] || fail 'not counted'
}

# --- errors -------------------------------------------------------------------------
# icmp_error FAM TYPE4/CODE4 TYPE6/CODE6 PEER_ARGS...: for app1
icmp_error() { icmp_error_of app1 "$@"; }

icmp_error_of()
{
	local who=$1 want=$3 line

	[ "$2" = 4 ] || want=$4
	shift 4
	line=$(guest "$who" "peer $*" 15)
	[ "$(value type "$line")/$(value icmp "$line")" = "$want" ] ||
		fail "$who: peer $*: wanted ICMP $want, got $line" || return 1
	echo "$line"
}

# I2, I11, P6: from the upstream, from a router behind it, from the firewall itself
errors_reach_the_client()
{
	local line ttl errno=ECONNREFUSED

	line=$(icmp_error "$1" 3/3 1/4 udp "$(at net "$1")" 9) || fail "$line" || return 1
	[ "$(value kernel "$line")" = $errno ] || fail "the kernel did not say $errno: $line" || return 1
	line=$(icmp_error "$1" 3/3 1/4 udp "$(at far "$1")" 9) || fail "$line" || return 1
	for ttl in 1 2; do
		icmp_error "$1" 11/0 3/0 udp "$(at far "$1")" 7000 ttl=$ttl &&
			icmp_error "$1" 11/0 3/0 tcp "$(at far "$1")" 7000 ttl=$ttl || return 1
	done
	expect app1 ok udp "$(at far "$1")" 7000 ttl=3 &&
		expect app1 ok tcp "$(at far "$1")" 7000 ttl=3
}

# Who sends the time exceeded: the gateway as the client knows it, then the upstream.
traceroute_shows_the_hops()
{
	local n=1 hop out

	for hop in gw net; do
		out=$(guest app1 "ping -$1 -c 1 -W 3 -t $n $(at far "$1")" 10)
		echo "$out"
		case $out in
		*"From $(at $hop "$1")"*[Tt]'ime'*exceeded*) ;;
		*) fail "hop $n is not $(at $hop "$1")" || return 1 ;;
		esac
		n=$((n + 1))
	done
}

# I4, P11: a router behind the uplink has a smaller MTU; the client learns it while
# it sends GSO frames, and nothing is lost.
path_mtu_discovery()
{
	local far line

	far=$(at far "$1")
	guest app1 "peer put $far 9000 4000000" 60 && guest app1 "peer get $far 9001 4000000" 60 ||
		return 1
	line=$(guest app1 "ip -$1 route get $far")
	echo "$line"
	case $line in *'mtu 1400'*) ;; *) fail 'the client did not learn the MTU' || return 1 ;; esac
	line=$(icmp_error "$1" 3/4 2/0 udp "$far" 7000 size="$(udp_max "$1" 1500)" df) ||
		fail "$line" || return 1
	[ "$(value mtu "$line")" = 1400 ] || fail "wrong MTU: $line" || return 1
	expect app1 ok udp "$far" 7000 size="$(udp_max "$1" 1400)" df &&
		expect app1 ok udp "$far" 7000 size=32768
}

# With an uplink of MTU 1300: P11, I8, F15, and 2.3 for the MSS
small_uplink_mtu()
{
	local net line before

	net=$(at web "$1")
	line=$(icmp_error "$1" 3/4 2/0 udp "$net" 7000 size="$(udp_max "$1" 1301)" df) ||
		fail "$line" || return 1
	[ "$(value mtu "$line")" = 1300 ] || fail "wrong MTU: $line" || return 1
	expect app1 ok udp "$net" 7000 size="$(udp_max "$1" 1300)" df || return 1
	# what has no DF is cut here, and put together again by the upstream
	if [ "$1" = 4 ]; then
		before=$(fw_status .fragments.emitted)
		expect app2 ok udp "$net" 7000 size=1400 nodf || return 1
		[ "$(fw_status .fragments.emitted)" -ge $((before + 2)) ] ||
			fail "emitted: $before, now $(fw_status .fragments.emitted)" || return 1
	fi
	# app2 sends with DF until it is told, and then cuts by itself
	icmp_error_of app2 "$1" 3/4 2/0 udp "$net" 7000 size=1400 &&
		expect app2 ok udp "$net" 7000 size=1400 || return 1
	expect app1 ok udp "$net" 7000 size=32768 && ping_from 1 "$1" net 8000 &&
		guest app1 "peer put $(at net "$1") 9000 4000000" 60 &&
		guest app1 "peer get $(at net "$1") 9001 4000000" 60
}

# --- all of it -----------------------------------------------------------------------
packet_checks()
{
	for fam in 4 6; do
		check "ipv$fam: ping_client_1" ping_from 1 $fam
		check "ipv$fam: ping_client_2" ping_from 2 $fam
		check "ipv$fam: ping_gateway" ping_from 1 $fam gw
		check "ipv$fam: tcp_up_gso_on_both_rings" bulk_gso $fam put
		check "ipv$fam: tcp_down_gso_on_both_rings" bulk_gso $fam get
		check "ipv$fam: udp" udp_works $fam
		check "ipv$fam: fragmented_ping" fragmented_ping $fam
		check "ipv$fam: fragmented_udp" fragmented_udp $fam
		check "ipv$fam: f1_f2_fragments_in_any_order" fragments_in_any_order $fam
		check "ipv$fam: f3_f4_fragments_overlap" fragments_overlap $fam
		check "ipv$fam: i2_errors_reach_the_client" errors_reach_the_client $fam
		check "ipv$fam: p6_traceroute_shows_the_hops" traceroute_shows_the_hops $fam
		check "ipv$fam: i4_path_mtu_discovery" path_mtu_discovery $fam
	done
	check 'ipv4, ipv6: f11_fragments_incomplete' fragments_incomplete
}
