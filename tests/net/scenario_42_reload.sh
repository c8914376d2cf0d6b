# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2086,SC2154,SC2034 # the rig's constants are single words
#
# Commit after commit of one source, as dom0 writes them, by tests/net/reload; and
# how long a commit takes. QubesDB is the lab's server (scenario_40_life.sh).

# reload_up: the daemon on QubesDB's socket, with what it found there in force
reload_up() {
	up ip route replace blackhole 203.0.113.0/24
	up ip route replace blackhole 2001:db8:dead::/48
	db_text >"$DIR/socket.db"
	qdb_start --load "$DIR/socket.db"
	QUBESDB=socket:$QDB_SOCKET
	daemon_start
	for ip in "$(client_ip 1)" "$(client_ip6 1)"; do
		wait_for 3 qdb until "/qubes-firewall-handled/$ip" 1 1 ||
			complain "$ip is not in force"
	done
}

reload_down() {
	daemon_stop
	qdb_stop
	check "the server never complained" sh -c "! grep VIOLATION '$DIR/qdb.log'"
	unset QUBESDB
	RIG_DIRTY=1
}

# lost_segments NAMESPACE: retransmitted by its TCP so far, but for those that the
# other end says it had got twice
lost_segments() {
	ns "$1" nstat -asz TcpRetransSegs TcpExtTCPDSACKRecv |
		awk '/^TcpRetransSegs/ { n += $2 } /^TcpExtTCPDSACKRecv/ { n -= $2 } END { print n }'
}

# R5, R6: flows that every policy allows lose nothing, UDP, TCP and echo; each packet of
# the others is judged by one policy, the one in force, as is told by the counter
reload_storm_judged() {
	local n flows=() proto pings out lost_c1 lost_up
	# a probe of a tail that is only late would look like a loss
	for n in c1 c2 up; do ns $n sysctl -qw net.ipv4.tcp_early_retrans=0; done
	reload_up
	lost_c1=$(lost_segments c1) lost_up=$(lost_segments up)
	for n in 1 2; do
		for proto in tcp udp; do
			ip netns exec "$NS-c$n" "$PEER" seq -t 3000 $proto "$S" 9000 1000000 400 \
				>"$DIR/judged.$n.$proto" &
			flows+=($!)
		done
	done
	ip netns exec "$NS-c1" ping -n -q -i 0.01 "$S" >"$DIR/judged.ping" &
	pings=$!
	wait_for 3 c1 ping -c 1 -W 1 -q "$S"
	out=$("$RELOAD" "$NS" "$QDB_SOCKET" "$F" storm "$COMMITS") || complain "the storm: stopped"
	echo "# $out"
	kill -TERM "${flows[@]}"
	wait "${flows[@]}"
	kill -INT $pings
	wait $pings
	is "handled" "$(qdb read "/qubes-firewall-handled/$(A 1)")" $((COMMITS + 2))
	for n in 1 2; do
		for proto in tcp udp; do
			is "numbered $proto of client $n" "$(jq -r \
				'"\(.lost) \(.reordered) \(.duplicate) \(.corrupt) \(.stalled) \(.error)"' \
				"$DIR/judged.$n.$proto")" "0 0 0 0 false "
			above "their number" "$(jq .received "$DIR/judged.$n.$proto")" $COMMITS
		done
	done
	is "echoes" "$(cat "$DIR/judged.ping")" "*, 0% packet loss*"
	# far below one a commit; not zero, for a machine so busy that TCP's timers run out
	within "segments lost by client 1" $(($(lost_segments c1) - lost_c1)) $((COMMITS / 20))
	within "segments lost by the servers" $(($(lost_segments up) - lost_up)) $((COMMITS / 20))
	above "flows ended by commits" "$(stat_of .flows.denied)" "$COMMITS"
	reload_down
}
storm_of_1000() { COMMITS=1000 in_family 4 reload_storm_judged; }
storm_of_200() { COMMITS=200 in_family 6 reload_storm_judged; }
scenario R5_R6_1000_reloads_judged_by_one_policy_ipv4 storm_of_1000
scenario R5_R6_200_reloads_judged_by_one_policy_ipv6 storm_of_200

# Goals 1 and 5. The figures are of the release build: that is what users have.
commit_time() {
	local rules limit out
	local DAEMON_BIN=$top/ringfenced
	reload_up
	while read -r rules limit; do
		out=$("$RELOAD" "$NS" "$QDB_SOCKET" 4 latency "$rules" 21) || complain "$out"
		echo "# $out"
		within "microseconds to the first packet, $rules rules" \
			"$(jq .first_packet_median_us <<<"$out")" "$limit"
		within "microseconds to the handled counter, $rules rules" \
			"$(jq .handled_median_us <<<"$out")" "$limit"
	done <<-END
		100 5000
		1000 20000
	END
	reload_down
}
scenario commit_in_force_within_5_and_20_ms commit_time

# tests/bench/commit.sh: the same at all sizes, for the record
commit_bench() {
	local rules out=()
	reload_up
	for rules in 1 10 100 1000 10000; do
		out+=("$("$RELOAD" "$NS" "$QDB_SOCKET" 4 latency $rules 101)") || complain "${out[*]}"
	done
	printf '%s\n' "${out[@]}" | jq -s . >"$COMMIT_JSON" || complain "${out[*]}"
	reload_down
}
[ -z "${COMMIT_JSON:-}" ] || scenario commit_bench commit_bench
