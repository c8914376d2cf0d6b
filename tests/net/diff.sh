#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tests/net/diff.sh [DRIVER-OPTION...]	ringfenced against the kernel (M2)
#
# Two namespaces: in one, ringfenced (with ASan and UBSan) on TAPs; in the other, a
# Linux router with TAPs of the same layout and the ruleset of a stock Qubes
# firewall qube (diff.nft). build/net/diff sends the same frames into both and
# compares what comes out. What may differ is in doc/differences.md. Then each
# conformance case as a packet to ringfenced alone, and as a question to it while it
# runs; --rows FILE does only that.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1

BUILD=${BUILD:-build}
if [ "$(id -u)" != 0 ]; then
	echo "not ok - the rig needs root, for network namespaces"
	exit 1
fi
for tool in ip nft; do
	if ! command -v $tool >/dev/null; then
		echo "not ok - $tool is missing: make deps"
		exit 1
	fi
done
DIR=$(mktemp -d "${TMPDIR:-/tmp}/rfdiff.XXXXXX") || exit 1
if ! env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -j2 -s BUILD="$BUILD" "$BUILD/san/ringfenced" \
	"$BUILD/san/ringfence" "$BUILD/net/diff" >"$DIR/build.log" 2>&1; then
	cat "$DIR/build.log"
	echo "not ok - the build"
	exit 1
fi

NS=rfdiff-$$
DB=$DIR/db
OUR4=10.137.0.4
OUR6=fd09:24ef:4179::a89:4
GATEWAY4=10.137.0.1
GATEWAY6=fd09:24ef:4179::a89:1
CLIENT6=(- fd09:24ef:4179::a89:5 fd09:24ef:4179::a89:6)
BACKEND_MAC=fe:ff:ff:ff:ff:ff
NAMES='example.com=93.184.216.34,93.184.216.35,2606:2800:220:1::1;v4only.test=192.0.2.7'
DAEMON=
passed=0
failed=0

finish() {
	trap '' INT TERM
	[ -z "$DAEMON" ] || kill -KILL "$DAEMON" 2>/dev/null
	wait 2>/dev/null
	ip netns delete "$NS-fw" 2>/dev/null
	ip netns delete "$NS-kernel" 2>/dev/null
	if [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]; then
		rm -rf "$DIR"
	else
		echo "# logs: $DIR"
	fi
}
trap 'exit 130' INT TERM
trap finish EXIT

# result NAME STATUS [FILE]: its lines are shown when it failed
result() {
	if [ "$2" -eq 0 ]; then
		passed=$((passed + 1))
		echo "ok - $1"
	else
		failed=$((failed + 1))
		echo "not ok - $1"
		[ -z "${3:-}" ] || sed 's/^/#   /' "$3"
	fi
}

# --- the kernel's side ------------------------------------------------------------------

kernel() { ip netns exec "$NS-kernel" "$@"; }

# What a stock qube has, and no rate limits: ringfence's are kept by the driver.
# Strict TCP tracking, as ringfence has it: no pickup in mid-stream.
kernel_settings() {
	kernel sh -c '
		cd /proc/sys/net || exit 1
		for f in all default; do
			echo 0 >ipv4/conf/$f/rp_filter
			echo 0 >ipv4/conf/$f/send_redirects
			echo 0 >ipv6/conf/$f/accept_dad
			echo 0 >ipv6/conf/$f/accept_ra
			echo 1 >ipv6/conf/$f/addr_gen_mode
		done
		echo 0 >ipv4/icmp_ratelimit
		echo 1000000 >ipv4/icmp_msgs_per_sec
		echo 100000 >ipv4/icmp_msgs_burst
		echo 0 >ipv6/icmp/ratelimit
		echo 1 >ipv4/ip_forward
		echo 1 >ipv6/conf/all/forwarding
		ip link set lo up'
}

kernel_up() { # MTU
	local n ip
	ip netns add "$NS-kernel"
	kernel_settings
	ip -n "$NS-kernel" -batch - <<-END
		tuntap add dev eth0 mode tap
		link set eth0 group 1 address 00:16:3e:5e:6c:00 mtu $1
		link set eth0 up
		address add $OUR4/32 dev eth0
		address add $OUR6/128 dev eth0 nodad
		route add $GATEWAY4 dev eth0 src $OUR4
		route add default via $GATEWAY4 dev eth0 src $OUR4
		route add $GATEWAY6 dev eth0 src $OUR6
		route add default via $GATEWAY6 dev eth0 src $OUR6
		neigh replace $GATEWAY4 lladdr $BACKEND_MAC dev eth0 nud permanent
		neigh replace $GATEWAY6 lladdr $BACKEND_MAC dev eth0 nud permanent
	END
	for n in 1 2 3; do
		ip=10.137.0.$((4 + n))
		ip -n "$NS-kernel" -batch - <<-END
			tuntap add dev vif$n mode tap
			link set vif$n group 2 address $BACKEND_MAC
			link set vif$n up
			address add $OUR4/32 dev vif$n
			route add $ip dev vif$n src $OUR4
			neigh replace $ip lladdr 00:16:3e:5e:6c:0$((4 + n)) dev vif$n nud permanent
		END
		[ $n = 3 ] || ip -n "$NS-kernel" -batch - <<-END
			address add $OUR6/128 dev vif$n nodad
			route add ${CLIENT6[n]} dev vif$n src $OUR6
			neigh replace ${CLIENT6[n]} lladdr 00:16:3e:5e:6c:0$((4 + n)) dev vif$n nud permanent
		END
	done
	kernel nft -f tests/net/diff.nft || return 1
	# These exist from the first rule that needs them.
	kernel sh -c '
		cd /proc/sys/net/netfilter || exit 1
		echo 0 >nf_conntrack_tcp_loose
		echo 0 >nf_conntrack_tcp_be_liberal'
}

# --- ringfence's side ---------------------------------------------------------------------

is_ready() { grep -q 'ringfenced: ready' "$DIR/daemon.log"; }

fw_up() { # MTU
	local dev
	ip netns add "$NS-fw"
	ip netns exec "$NS-fw" sh -c '
		for f in all default; do
			echo 1 >/proc/sys/net/ipv6/conf/$f/disable_ipv6
		done'
	for dev in up0 c1 c2 c3; do
		ip -n "$NS-fw" -batch - <<-END
			tuntap add dev $dev mode tap vnet_hdr
			link set $dev arp off
			link set $dev up
		END
	done
	ip -n "$NS-fw" link set up0 mtu "$1"
}

daemon_start() {
	local args=(--tap "uplink=up0,mac=00:16:3e:5e:6c:00") n spec names
	for n in 1 2 3; do
		spec="client=c$n,ip=10.137.0.$((4 + n)),mac=00:16:3e:5e:6c:0$((4 + n))"
		[ $n = 3 ] || spec+=",ip6=${CLIENT6[n]}"
		args+=(--tap "$spec")
	done
	IFS=';' read -ra names <<<"$NAMES"
	for spec in "${names[@]}"; do args+=(--resolve "$spec"); done
	rm -f "$DB.out"
	: >"$DB"
	: >"$DIR/daemon.log"
	ASAN_OPTIONS=abort_on_error=0:exitcode=99 UBSAN_OPTIONS=print_stacktrace=1 \
		ip netns exec "$NS-fw" "$BUILD/san/ringfenced" "${args[@]}" --qubesdb "file:$DB" \
		--control "$DIR/control.sock" >>"$DIR/daemon.log" 2>&1 </dev/null &
	DAEMON=$!
	for n in {1..200}; do
		is_ready && return 0
		kill -0 "$DAEMON" 2>/dev/null || return 1
		sleep 0.05
	done
	return 1
}

daemon_stop() {
	local status=0
	kill -TERM "$DAEMON" 2>/dev/null
	wait "$DAEMON" || status=$?
	DAEMON=
	return $status
}

# --- rounds ----------------------------------------------------------------------------------

# round NAME MTU DRIVER-OPTION...
round() {
	local name=$1 mtu=$2 status
	shift 2
	kernel_up "$mtu" && fw_up "$mtu" && daemon_start
	status=$?
	if [ $status -ne 0 ]; then
		result "$name: the rig" 1 "$DIR/daemon.log"
	else
		"$BUILD/net/diff" --kernel-ns "$NS-kernel" --fw-ns "$NS-fw" --db "$DB" \
			--mtu "$mtu" "$@" >"$DIR/$name.log" 2>&1
		result "$name" $? "$DIR/$name.log"
		sed -n 's/^# \([0-9]* packets in .*\)/#   \1/p' "$DIR/$name.log"
		daemon_stop
		result "$name: ringfenced ends in order" $? "$DIR/daemon.log"
	fi
	ip netns delete "$NS-fw"
	ip netns delete "$NS-kernel"
}

# rows FILE: the conformance cases as packets, without the kernel, and by `ringfence
# explain`; every line of the file counts
rows() {
	local log=$DIR/rows.log status=1 group good told of all
	if fw_up 1500 && daemon_start; then
		"$BUILD/net/diff" --fw-ns "$NS-fw" --db "$DB" --ipv6 --rows "$1" \
			--explain "$BUILD/san/ringfence explain --control $DIR/control.sock" \
			>"$log" 2>&1
		status=$?
		daemon_stop
		result "conformance: ringfenced ends in order" $? "$DIR/daemon.log"
	else
		cp "$DIR/daemon.log" "$log"
	fi
	ip netns delete "$NS-fw"
	while read -r group good of all; do
		[ "$good" -eq "$all" ] && [ "$all" -gt 0 ]
		result "conformance_by_packets_$group ($good $of $all)" $?
	done < <(sed -n 's/^# group //p' "$log")
	all=$(grep -cv -e '^#' -e '^$' "$1")
	good=$(grep -c '^ok - ' "$log")
	[ $status -eq 0 ] && [ "$good" -eq "$all" ]
	result "conformance_by_packets: $good of $all rows of $1" $? "$log"
	told=$(grep -c '^told - ' "$log")
	[ $status -eq 0 ] && [ "$told" -eq "$all" ]
	result "conformance_by_explain_of_the_daemon: $told of $all rows of $1" $? "$log"
}

# The lists in the code and in the document are one, and nothing on it is stale:
# what no round met is not needed, unless it is said to be rare.
lists() {
	diff <("$BUILD/net/diff" --list | sort) \
		<(sed -n 's/^| `\([a-z0-9-]*\)` .*/\1/p' doc/differences.md | sort)
}
stale() {
	sed -n 's/^# difference \([^ ]*\) *\([0-9]*\) times$/\1 \2/p' "$DIR"/M2_*.log |
		awk '{ n[$1] += $2 } END { for (d in n) if (n[d] == 0) print d ": never met" }'
}

if [ "${1:-}" = --rows ]; then
	rows "${2:?a file}"
elif [ $# -gt 0 ]; then
	mtu=1500
	previous=
	for arg; do
		[ "$previous" != --mtu ] || mtu=$arg
		previous=$arg
	done
	round by_hand "$mtu" "$@"
	[ $failed -ne 0 ] || cat "$DIR/by_hand.log"
else
	round M2_same_verdicts_and_bytes 1500 --ipv6 --seed 1 --packets 15000
	round M2_conformance_cases 1500 --ipv6 --seed 2 --packets 6000 \
		--conformance tests/unit/conformance.tsv
	round M2_P11_smaller_uplink 1300 --ipv6 --seed 3 --packets 4000
	round M2_R4_R8_dns_translated 1500 --ipv6 --dns --seed 5 --packets 6000
	rows tests/unit/conformance.tsv
	# the original, where it is at hand and another one
	shared=../shared/conformance/rules.tsv
	[ ! -e $shared ] || cmp -s $shared tests/unit/conformance.tsv || rows $shared
	lists >"$DIR/lists"
	result "M2_differences_are_documented" $? "$DIR/lists"
	stale >"$DIR/stale"
	[ ! -s "$DIR/stale" ]
	result "M2_no_stale_difference" $? "$DIR/stale"
fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
