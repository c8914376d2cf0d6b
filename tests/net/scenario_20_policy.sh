# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2086,SC2154 # the rig's constants are single words
#
# What the rules say happens, at once, to that source alone.

forbidden() { # R1, R2, I9: refused at once by ICMP 3/13
	local line ms
	rules 1 "action=accept dst4=$SERVER/32 proto=tcp dstports=80-80"
	commit 1
	is "what is allowed" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	for line in "tcp $SERVER 443" "tcp $SERVER2 80" "udp $SERVER 80" "tcp $FAR 80"; do
		# shellcheck disable=SC2086 # three words
		line=$(c1 "$PEER" probe $line)
		is "what is not" "$line" "error EHOSTUNREACH * from $FW_IP type 3 code 13 *"
		ms=${line#error EHOSTUNREACH }
		within "its milliseconds" "${ms%% *}" 500
	done
	check "ping is refused, not lost" sh -c \
		"ip netns exec $NS-c1 ping -c 1 -W 1 $SERVER | grep -qi 'filtered'"
	is "another client" "$(c2 "$PEER" probe tcp $SERVER 443)" "ok *"
	above "counted" "$(source_stat 1 rejected)" 3
	above "by the rule that decided" "$(source_stat 1 'hits["0000"]')" 0
	above "and by the policy" "$(source_stat 1 hits.policy)" 3
}
scenario R2_forbidden_is_refused_at_once forbidden

first_match() { # R1, R3
	rules 1 "action=drop dst4=$SERVER2/32" "action=accept dst4=192.0.2.0/24" "action=drop"
	sed -i 's/^0002/0017/' "$DIR/rules/$(client_ip 1)"
	commit 1
	is "accepted by the second" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	is "refused by the first" "$(c1 "$PEER" probe tcp $SERVER2 80)" "error EHOSTUNREACH *"
	is "refused behind the gap" "$(c1 "$PEER" probe tcp $FAR 80)" "error EHOSTUNREACH *"
	is "hits behind the gap" "$(source_stat 1 'hits["0017"]')" 1
	rules 1 policy=accept "action=drop dst4=$SERVER2/32"
	commit 1
	is "policy accept" "$(c1 "$PEER" probe tcp $FAR 80)" "ok *"
	is "and its exception" "$(c1 "$PEER" probe tcp $SERVER2 80)" "error EHOSTUNREACH *"
}
scenario R1_R3_first_match_and_gaps first_match

icmp_rules() { # I12
	rules 1 "action=accept proto=icmp icmptype=8"
	commit 1
	check "echo allowed by its type" c1 ping -c 1 -W 1 -q $SERVER
	is "nothing else" "$(c1 "$PEER" probe udp $SERVER 9000)" "error EHOSTUNREACH *"
	rules 1 "action=accept proto=icmp icmptype=13"
	commit 1
	check "echo is not another type" sh -c \
		"! ip netns exec $NS-c1 ping -c 1 -W 1 -q $SERVER"
}
scenario I12_icmptype icmp_rules

no_policy() { # Q9: nothing committed: silence
	local before
	is "with a policy" "$(c3 "$PEER" probe udp $SERVER 9000)" "ok *"
	no_rules 3
	db_write
	wait_for 3 sh -c "[ \"\$('$TOOL' status --control '$DIR/control.sock' |
		jq -r '.sources[] | select(.ip == \"$(client_ip 3)\") | .state')\" != active ]"
	before=$(drops no-policy)
	is "TCP without one" "$(c3 "$PEER" probe -t 700 tcp $SERVER 80)" "timeout *"
	is "UDP without one" "$(c3 "$PEER" probe -t 300 udp $SERVER 9000)" "timeout *"
	above "counted" "$(drops no-policy)" "$before"
	is "another client" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
}
scenario Q9_no_policy_is_silent no_policy

malformed() { # R10
	local before
	before=$(handled 3)
	rules 3 "action=accept" "action=accept dstports=90-80"
	commit 3
	is "all of it is refused" "$(c3 "$PEER" probe udp $SERVER 9000)" \
		"error EHOSTUNREACH * type 3 code 13 *"
	is "TCP, too" "$(c3 "$PEER" probe tcp $SERVER 80)" "error EHOSTUNREACH *"
	is "state" "$(source_stat 3 state)" malformed
	is "the key" "$(source_stat 3 error.key)" "*0001*"
	is "the reason" "$(source_stat 3 error.text)" "*90-80*"
	above "still handled" "$(handled 3)" "$before"
	is "another client" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	check "the log names it" grep -q "$(client_ip 3)" "$DIR/daemon.log"
	rules 3 "action=accept"
	commit 3
	is "after the mending" "$(c3 "$PEER" probe udp $SERVER 9000)" "ok *"
}
scenario R10_malformed_source_is_refused_alone malformed

# Q7, Q9: rules of an address without a vif, a stopped qube's or one that has moved on,
# open nothing, not even for who takes the address; and they go when dom0 takes them away
inert() {
	local ip=10.137.0.99 before
	stale() { stat_of ".sources[] | select(.ip == \"$ip\") | \"\\(.state) \\(.attached)\""; }
	rules_of $ip policy=accept "action=accept"
	commit_of $ip
	is "committed, unused" "$(stale)" "active 0"
	before=$(drops spoofed)
	c1 "$WIRE" send c1 smac="$(client_mac 1)" sip=$ip dip=$SERVER dport=9000 count=5
	is "its address, from another qube" "$(drops spoofed)" $((before + 5))
	c1 ip address add $ip/32 dev c1
	is "by an ordinary program" "$(c1 "$PEER" probe -t 300 -b $ip:0 udp $SERVER 9000)" "timeout *"
	c1 ip address del $ip/32 dev c1
	before=$(drops inter-client)
	is "to it" "$(c2 "$PEER" probe -t 300 udp $ip 80)" "timeout *"
	above "as to any qube" "$(drops inter-client)" "$before"
	rm "$DIR/rules/$ip"
	rules 1 "action=accept dst4=$SERVER/32"
	commit 1
	is "forgotten" "$(stale)" ""
}
scenario Q7_stale_policy_is_inert_and_forgotten inert

# R6: an established flow that is no longer allowed dies within a second of the
# commit, one that still is loses nothing
rule_change() { # PROTO
	local proto=$1 allowed forbidden changed died out1 out2
	local rule1="action=accept dst4=$SERVER/32 proto=$proto dstports=9000-9000"
	local rule2="action=accept dst4=$SERVER2/32 proto=$proto dstports=9000-9000"
	rules 1 "$rule1" "$rule2"
	commit 1
	c1 "$PEER" seq -t 1500 "$proto" $SERVER 9000 1500 2000 >"$DIR/allowed" &
	allowed=$!
	c1 "$PEER" seq -t 1500 "$proto" $SERVER2 9000 1500 2000 >"$DIR/forbidden" &
	forbidden=$!
	sleep 1
	rules 1 "$rule1"
	changed=$(wall_ms)
	commit 1
	wait $allowed $forbidden
	out1=$(jq -r '"\(.received) \(.lost) \(.corrupt) \(.duplicate) \(.error)"' "$DIR/allowed")
	is "the allowed flow" "$out1" "1500 0 0 0 "
	within "its longest pause (ms)" "$(jq .max_gap_ms "$DIR/allowed")" 400
	out2=$(jq -r '"\(.stalled) \(.error)"' "$DIR/forbidden")
	is "the forbidden one" "$out2" "false EHOSTUNREACH"
	above "which worked before" "$(jq .received "$DIR/forbidden")" 100
	died=$(jq .last_wall_ms "$DIR/forbidden")
	within "milliseconds from the change to its end" $((died - changed)) 1000
	above "flows ended by the change" "$(stat_of .flows.denied)" 0
}
rule_change_tcp() { rule_change tcp; }
rule_change_udp() { rule_change udp; }
scenario R6_change_ends_tcp_flow_spares_other rule_change_tcp
scenario R6_change_ends_udp_flow_spares_other rule_change_udp

opening() { # what was refused works as soon as the commit is handled, and closes again
	rules 1 "action=accept proto=icmp"
	commit 1
	is "closed" "$(c1 "$PEER" probe tcp $SERVER 80)" "error EHOSTUNREACH *"
	rules 1 "action=accept proto=icmp" "action=accept dst4=$SERVER proto=tcp dstports=80"
	commit 1
	is "opened" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	rules 1 "action=accept proto=icmp"
	commit 1
	is "closed again" "$(c1 "$PEER" probe tcp $SERVER 80)" "error EHOSTUNREACH *"
}
scenario R5_open_and_close opening

handled_counter() {
	local before=() i
	for i in 1 2; do before[i]=$(handled $i); done
	for i in 443 444 445; do
		rules 1 "action=accept proto=tcp dstports=$i-$i"
		commit 1
	done
	is "after three commits" "$(handled 1)" $((before[1] + 3))
	is "of another source" "$(handled 2)" "${before[2]}"
	is "in status" "$(source_stat 1 handled)" "$(handled 1)"
}
scenario handled_counter handled_counter

sighup() { # a re-read of the same file changes nothing for anybody
	local epoch
	c1 "$PEER" seq tcp $SERVER 9000 400 2000 >"$DIR/hup" &
	local flow=$!
	epoch=$(source_stat 1 epoch)
	for _ in 1 2 3 4 5; do
		kill -HUP "$DAEMON"
		sleep 0.1
	done
	wait $flow
	is "a flow meanwhile" "$(jq -r '"\(.received) \(.lost) \(.error)"' "$DIR/hup")" "400 0 "
	is "epoch of unchanged rules" "$(source_stat 1 epoch)" "$epoch"
	check "still there" daemon_alive
	# Written in place, without the rename that a commit here uses
	rules 1 "action=accept dst4=$SERVER2/32"
	db_text >"$DB"
	kill -HUP "$DAEMON"
	sleep 0.5
	is "changed in place" "$(c1 "$PEER" probe tcp $SERVER 80)" "error EHOSTUNREACH *"
	is "and what it allows" "$(c1 "$PEER" probe tcp $SERVER2 80)" "ok *"
}
scenario sighup sighup

bad_file() { # a file that cannot be read any more: the rules in force stand
	local before
	rules 1 "action=accept dst4=$SERVER/32"
	commit 1
	before=$(handled 1)
	echo "this is no line of ours" >"$DB.new" && mv "$DB.new" "$DB"
	kill -HUP "$DAEMON"
	sleep 0.5
	check "the daemon stays" daemon_alive
	is "what was allowed" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	is "what was not" "$(c1 "$PEER" probe tcp $SERVER2 80)" "error EHOSTUNREACH *"
	check "the log names the line" grep -q "$DB.*1" "$DIR/daemon.log"
	rules 1 "action=accept dst4=$SERVER2/32"
	commit 1
	above "handled again after the mending" "$(handled 1)" "$before"
	is "the new rules" "$(c1 "$PEER" probe tcp $SERVER2 80)" "ok *"
}
scenario bad_file_keeps_the_rules bad_file

# R5, G6: reload after reload under load; allowed flows lose nothing
reload_storm() {
	local i flows=() proto before
	before=$(handled 1)
	for proto in tcp udp; do
		c1 "$PEER" seq -t 3000 $proto $SERVER 9000 4000 1000 >"$DIR/storm.$proto" &
		flows+=($!)
	done
	c1 iperf3 -c $SERVER -t 5 -J >"$DIR/storm.iperf" &
	flows+=($!)
	c2 iperf3 -c $SERVER2 -t 5 -u -b 20M -l 1200 -J >"$DIR/storm.iperf2" &
	flows+=($!)
	sleep 0.3
	for ((i = 0; i < 200; i++)); do
		rules 1 "action=drop dst4=$SERVER3/32 proto=tcp dstports=$((1000 + i))" \
			"action=accept dst4=192.0.2.0/24"
		commit 1
	done
	is "reloads handled" "$(handled 1)" $((before + 200))
	wait "${flows[@]}"
	for proto in tcp udp; do
		is "numbered $proto" "$(jq -r '"\(.received) \(.lost) \(.corrupt) \(.error)"' \
			"$DIR/storm.$proto")" "4000 0 0 "
	done
	above "bits per second of iperf3" \
		"$(jq '.end.sum_received.bits_per_second | floor' "$DIR/storm.iperf")" 1000000
	above "bits per second of UDP" \
		"$(jq '.end.sum.bits_per_second | floor' "$DIR/storm.iperf2")" 10000000
}
scenario R5_reload_storm_loses_nothing reload_storm

# R7, D3: who was refused what, by which rule; and a flood is a few lines
packet_log() {
	local before ip
	ip=$(client_ip 1)
	logged() { wait_for 3 grep -q "$1" "$DIR/daemon.log" || complain "no line with \"$1\""; }
	rules 1 "action=drop dst4=$SERVER2/32" "action=accept dst4=$SERVER/32"
	rules6 1 "action=accept proto=icmp"
	commit_of "$ip" "$(client_ip6 1)"
	sleep 1.1 # a source may say two things a second; be sure that it has not
	c1 "$PEER" probe tcp $SERVER2 80 >/dev/null
	logged "$ip > $SERVER2 tcp 80: rejected by rule 0000"
	c1 "$PEER" probe udp $FAR 9000 >/dev/null
	logged "$ip > $FAR udp 9000: rejected by rule policy"
	c1 "$PEER" probe tcp $SERVER6 443 >/dev/null
	logged "$(client_ip6 1) > $SERVER6 tcp 443: rejected by rule policy"
	before=$(wc -l <"$DIR/daemon.log")
	c1 "$WIRE" send c1 smac="$(client_mac 1)" sip="$ip" dip=$SERVER2 sport=1 dport=7000 \
		count=30000 vary=1
	c2 "$PEER" probe -t 100 tcp "$ip" 7001 >/dev/null
	logged "$(client_ip 2) > $ip tcp 7001: dropped: inter-client"
	sleep 1.2
	c1 "$PEER" probe tcp $SERVER2 81 >/dev/null
	logged "more since the last"
	within "lines about thirty thousand packets" $(($(wc -l <"$DIR/daemon.log") - before)) 200
}
scenario R7_D3_log_of_refusals packet_log

# The tool on the live set-up and on its file
tool() {
	local db=$DIR/tool.db answer
	rules 1 "action=accept dst4=$SERVER/32 proto=tcp dstports=80-80" \
		"action=accept dsthost=www.example.org proto=tcp" "action=accept specialtarget=dns"
	rules 3 "action=accept proto=sctp"
	db_text >"$db"
	explain() { "$TOOL" explain --db "$db" "$@" | jq -r '"\(.verdict) \(.rule)"'; }
	is "explain: allowed" "$(explain 10.137.0.5 tcp $SERVER 80)" "accept 0000"
	is "explain: not" "$(explain 10.137.0.5 tcp $SERVER 81)" "reject policy"
	is "explain: DNS" "$(explain 10.137.0.5 udp $DNS 53)" "accept 0002"
	is "explain: a name" "$(explain --resolve www.example.org=$SERVER2 10.137.0.5 tcp $SERVER2 9)" \
		"accept 0001"
	is "explain: malformed" "$(explain 10.137.0.7 icmp $SERVER 8)" "reject malformed"
	is "explain: none" "$(explain 10.137.0.99 udp $SERVER 8)" "drop none"
	answer=$("$TOOL" check --db "$db")
	is "check: status" $? 1
	is "check: says where" "$answer" "/qubes-firewall/10.137.0.7/0000: *sctp*"
	rules 3 "action=accept"
	db_text >"$db"
	answer=$("$TOOL" check --db "$db")
	is "check: status of a good file" "$? $answer" "0 *no problems"
	is "status: clients" "$(stat_of '.clients | length')" ${#CLIENTS[@]}
	is "status: uplink" "$(stat_of '"\(.uplink.ip) \(.uplink.gateway)"')" "$FW_IP $UP_IP"
	is "status: QubesDB" "$(stat_of .qubesdb.state)" ready
	answer=$("$TOOL" status --control "$DIR/nothing.sock" 2>&1)
	is "status: no daemon" "$? $answer" "[1-9] *nothing.sock*"
}
scenario tool_explain_check_status tool
