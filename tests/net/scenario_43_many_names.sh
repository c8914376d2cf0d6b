# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2086,SC2154,SC2034 # the rig's constants are single words
#
# Names that resolve one after the other: how often their source is compiled. QubesDB is
# the lab's server (scenario_40_life.sh).

DNS_SLOW=198.51.100.56

slowdns() { # MS: the server of all names from now on, and whom they lead to
	ip -n "$NS-far" address replace $DNS_SLOW/24 dev up0
	ip -n "$NS-up" address replace 198.19.0.1/16 dev lo
	service far /usr/bin/python3 tests/net/slowdns.py $DNS_SLOW "$1"
	DNS1=$DNS_SLOW DNS2=$DNS_SLOW
}

# A thousand names of 64 addresses in one source, from a server far away: compiled in
# groups, however they come, and packets pass in between.
many_names() {
	local i list=() ms epoch flow
	slowdns 60
	for ((i = 0; i < 1000; i++)); do
		list+=("action=accept dsthost=m$i.slow.test proto=udp dstports=$((9000 + i))")
	done
	db_text >"$DIR/socket.db"
	qdb_start --load "$DIR/socket.db"
	QUBESDB=socket:$QDB_SOCKET
	daemon_start --self
	wait_for 5 resolver_is ready || complain "the resolver is not ready"
	c2 "$PEER" seq udp $SERVER 9000 4000 2000 >"$DIR/many.flow" &
	flow=$!
	qdb_commit 1 "${list[@]}"
	ms=$(wall_ms)
	epoch=$(source_stat 1 epoch)
	wait_for 20 all_of_many || complain "1000 names: not within 20 s"
	ms=$(($(wall_ms) - ms))
	sleep 0.3 # the last ones, compiled
	epoch=$(($(source_stat 1 epoch) - epoch))
	echo "# 1000 names in $ms ms, $epoch policies"
	above "milliseconds that the names took" $ms 1000
	within "policies compiled" $epoch $((ms / 100 + 4))
	above "policies compiled" $epoch 3
	is "what one is" "$(c1 "$PEER" probe udp 198.19.0.1 9000)" "ok *"
	is "what none is" "$(c1 "$PEER" probe udp 198.19.200.1 9000)" "error EHOSTUNREACH *"
	wait $flow
	is "a flow meanwhile" "$(jq -r '"\(.received) \(.lost) \(.error)"' "$DIR/many.flow")" "4000 0 "
	echo "# the longest that it paused: $(jq .max_gap_ms "$DIR/many.flow") ms"
	reload_down
	unset DNS1 DNS2
}
all_of_many() { [ "$(stat_of '[.names[] | select(.state == "resolved")] | length')" = 1000 ]; }
scenario R8_1000_names_of_64_addresses many_names

# The first name of a commit is not made to wait for others.
first_name() {
	local ms i slow=0
	slowdns 1
	db_write
	daemon_start --self
	wait_for 5 resolver_is ready || complain "the resolver is not ready"
	for ((i = 0; i < 10; i++)); do
		rules 1 "action=accept dsthost=m$i.slow.test" "action=accept proto=icmp"
		db_write
		ms=$(wall_ms)
		wait_for 3 first_allowed $((i * 37)) || complain "m$i: not in force"
		[ $(($(wall_ms) - ms)) -lt 90 ] || slow=$((slow + 1))
	done
	# all of them would, if the first had to wait
	within "commits of ten with a name that took 90 ms" $slow 7
	unset DNS1 DNS2
	RIG_DIRTY=1
}
first_allowed() {
	[[ $(c1 "$PEER" probe -t 50 udp "198.19.$(($1 / 200)).$(($1 % 200 + 1))" 9000) == "ok "* ]]
}
scenario R8_first_name_is_in_force_at_once first_name
