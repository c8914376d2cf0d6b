# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2086,SC2154,SC2034 # the rig's constants are single words
#
# The daemon's own life: start, stop, death, bad input, missing surroundings.

dies() { # kill -9: nothing is forwarded any more; the next one takes over
	is "before" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	kill -KILL "$DAEMON"
	wait "$DAEMON" 2>/dev/null
	DAEMON=
	is "UDP after its death" "$(c1 "$PEER" probe -t 300 udp $SERVER 9000)" "timeout *"
	check "ping after its death" sh -c \
		"! ip netns exec $NS-c1 ping -c 1 -W 0.3 -q $SERVER"
	daemon_start
	is "with the next one" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
}
scenario killed_forwards_nothing dies

stops() { # SIGTERM while packets flow
	c1 "$PEER" seq -t 700 udp $SERVER 9000 100000 100 >"$DIR/stop" &
	local flow=$!
	sleep 0.3
	daemon_stop # complains about any other status than 0
	wait $flow
	is "the flow ended" "$(jq -r .stalled "$DIR/stop")" true
	check "the socket is gone" test ! -e "$DIR/control.sock"
	daemon_start
}
scenario SIGTERM_stops_in_order stops

# A device that is deleted under the daemon takes nobody else along
tap_gone() {
	local before
	c1 "$PEER" seq tcp $SERVER 9000 700 1000 >"$DIR/gone" &
	local flow=$!
	sleep 0.2
	ip -n "$NS-c3" link del c3
	wait_for 3 link_is 3 false || complain "c3 is deleted, but status has its link up"
	is "its reason" "$(client_stat 3 reason)" "?*"
	wait $flow
	is "another client's flow" "$(jq -r '"\(.received) \(.lost) \(.error)"' "$DIR/gone")" \
		"700 0 "
	# Q13: without an uplink the rules are still judged, then: host unreachable
	rules 2 "action=accept dst4=$SERVER/32"
	commit 2
	before=$(drops no-uplink)
	ip -n "$NS-up" link del up0
	wait_for 3 sh -c "[ \"\$('$TOOL' status --control '$DIR/control.sock' |
		jq -r '.uplink.link // false')\" = false ]" || complain "the uplink is still up"
	is "allowed, but no uplink" "$(c2 "$PEER" probe udp $SERVER 9000)" \
		"error EHOSTUNREACH * from $FW_IP type 3 code 1 *"
	is "not allowed" "$(c2 "$PEER" probe udp $SERVER2 9000)" "error EHOSTUNREACH * code 13 *"
	above "counted" "$(drops no-uplink)" "$before"
	check "the daemon is there" daemon_alive
	RIG_DIRTY=1
}
scenario Q13_deleted_devices tap_gone

# Readiness, as systemd hears it
notify() {
	local said=$DIR/notified
	"$PEER" notify "$DIR/notify.sock" >"$said" &
	local listener=$!
	wait_for 2 test -S "$DIR/notify.sock"
	export NOTIFY_SOCKET=$DIR/notify.sock
	daemon_start
	unset NOTIFY_SOCKET
	wait $listener
	is "what was said" "$(cat "$said")" "READY=1"
}
scenario NOTIFY_SOCKET notify

# -n: what would be in force
check_only() {
	local out
	rules 1 "action=accept dst4=$SERVER/32 proto=tcp dstports=80-80"
	db_text >"$DIR/n.db"
	out=$(fw "$DAEMON_BIN" -n --qubesdb "file:$DIR/n.db" 2>/dev/null)
	is "status" $? 0
	check "nothing is reported as handled" test ! -e "$DIR/n.db.out"
	is "the rule" "$out" "*10.137.0.5*192.0.2.1*80*"
	rules 1 "action=accept dst4=$SERVER/33"
	db_text >"$DIR/n.db"
	out=$(fw "$DAEMON_BIN" -n --qubesdb "file:$DIR/n.db" 2>&1)
	is "status with a bad rule" $? 1
	is "the problem" "$out" "*10.137.0.5*"
}
scenario check_only check_only

# A key that should be an address and is none: said, and as good as absent (Q13)
bad_address() {
	rules 1 "action=accept"
	db_text | sed 's#^/qubes-ip = .*#/qubes-ip = 999.1.1.1#' >"$DB.new"
	mv "$DB.new" "$DB"
	wait_for 5 grep -q '/qubes-ip: "999.1.1.1" is not an IPv4 address' "$DIR/daemon.log" ||
		complain "the log does not name it"
	is "without an address of our own" "$(c1 "$PEER" probe -t 700 tcp $SERVER 80)" "error E* *"
	db_write
	wait_for 5 c1 "$PEER" probe tcp $SERVER 80
	is "with a good one again" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
}
scenario bad_address bad_address

# The kernel of the firewall itself may ask the DNS servers, and nothing else
self() {
	# A bind mount over /etc/resolv.conf is not needed: the address says it all.
	daemon_start --self
	check "the device" fw ip link show rf-self
	is "DNS" "$(fw "$PEER" probe udp $DNS 53)" "ok *"
	is "DNS by TCP" "$(fw "$PEER" probe tcp $DNS 53)" "ok *"
	is "anything else" "$(fw "$PEER" probe -t 700 udp $SERVER 9000)" "error EHOSTUNREACH *"
	is "TCP elsewhere" "$(fw "$PEER" probe -t 700 tcp $SERVER 80)" "error EHOSTUNREACH *"
	is "a client at the same time" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	is "from the uplink to the own kernel" "$(up "$PEER" probe -t 300 tcp $FW_IP 80)" "timeout *"
	is "from a client to the own kernel" "$(c1 "$PEER" probe -t 500 tcp 192.0.0.8 80)" "[te]* *"
	RIG_DIRTY=1
	daemon_stop
	check "its device is gone with it" sh -c "! ip -n $NS-fw link show rf-self"
}
scenario self_port_asks_dns_only self

# refused WHAT PATTERN ARGUMENT...: one clear line on stderr, a bad status
refused() {
	local what=$1 pattern=$2 out rc
	shift 2
	out=$(timeout 10 ip netns exec "$NS-fw" "$DAEMON_BIN" --control "$DIR/bad.sock" "$@" \
		2>&1 </dev/null)
	rc=$?
	case $rc in
	1 | 2) ;;
	*) complain "$what: status $rc" ;;
	esac
	# The rules that were read before may have been logged; of errors there is one.
	if [ $rc = 1 ]; then out=$(printf '%s\n' "$out" | grep 'error: '); fi
	is "$what: lines" "$(printf '%s\n' "$out" | wc -l)" 1
	is "$what" "$out" "$pattern"
}
bad_input() {
	local tap=(--tap "client=bad0,ip=10.137.0.9")
	fw ip tuntap add dev bad0 mode tap vnet_hdr
	refused "unknown option" "*--nonsense*" --nonsense
	refused "an argument" "*\"word\"*" word
	refused "missing TAP" "*nosuchtap*" --qubesdb "file:$DB" --tap "uplink=nosuchtap"
	refused "missing TAP of a client" "*nosuchtap*" --qubesdb "file:$DB" \
		--tap "client=nosuchtap,ip=10.137.0.9"
	refused "a client without address" "*needs ip*" --tap "client=bad0"
	refused "a bad address" "*10.137.0.999*" --tap "client=bad0,ip=10.137.0.999"
	refused "a bad MAC" "*01:00:5e:00:00:01*" --tap "uplink=bad0,mac=01:00:5e:00:00:01"
	refused "missing DB" "*/nonexistent/db*" "${tap[@]}" --qubesdb file:/nonexistent/db
	refused "a directory as DB" "*$DIR*" "${tap[@]}" --qubesdb "file:$DIR"
	printf '%s\n' "/qubes-ip = $FW_IP" "garbage" >"$DIR/bad.db"
	refused "a malformed line" "*bad.db*2*" "${tap[@]}" --qubesdb "file:$DIR/bad.db"
	refused "unknown kind of QubesDB" "*carrier:pigeon*" "${tap[@]}" --qubesdb carrier:pigeon
	refused "flows out of range" "*--flows*" --flows 3
	refused "a level" "*--log-level*" --log-level loud
	refused "a bad name" "*--resolve*" "${tap[@]}" --qubesdb "file:$DB" --resolve nonsense
	refused "no directory for the socket" "*/nonexistent/control*" "${tap[@]}" \
		--qubesdb "file:$DB" --control /nonexistent/control
	echo precious >"$DIR/plain"
	refused "a file in the socket's place" "*$DIR/plain*" "${tap[@]}" \
		--qubesdb "file:$DB" --control "$DIR/plain"
	is "the file is left alone" "$(cat "$DIR/plain")" precious
	if [ ! -e /dev/xen/evtchn ]; then
		refused "no Xen" "*en*" --qubesdb "file:$DB"
		refused "no Xen, no QubesDB" "*en*"
	fi
	fw ip link del bad0
}
scenario bad_input bad_input

# --- without QubesDB, and with one behind a socket --------------------------------

QDB_SOCKET=$DIR/qubesdb.sock

# dom0's daemon as the lab has it, with the socket that a qube's own daemon has
qdb_start() {
	"$top/xen/qubesdb-server" 1 --no-vchan --socket "$QDB_SOCKET" "$@" >"$DIR/qdb.log" 2>&1 &
	QDB=$!
	PIDS+=("$QDB")
	wait_for 5 test -S "$QDB_SOCKET" || complain "qubesdb-server: $(tail -n 3 "$DIR/qdb.log")"
}
qdb_stop() {
	kill "$QDB"
	wait "$QDB" 2>/dev/null
	rm -f "$QDB_SOCKET"
}
qdb() { "$top/xen/qubesdb-cmd" -s "$QDB_SOCKET" "$@"; }

# qdb_commit N RULE...: RM, writes, base key, as dom0 does
qdb_commit() {
	local base i=0 before
	base=/qubes-firewall/$(client_ip "$1")
	before=$(qdb read "/qubes-firewall-handled/$(client_ip "$1")")
	shift
	qdb rm "$base/"
	qdb write "$base/policy" drop
	for rule; do
		qdb write "$base/$(printf %04d $i)" "$rule"
		i=$((i + 1))
	done
	qdb write "$base" ""
	wait_for 3 sh -c "[ \"\$('$top/xen/qubesdb-cmd' -s '$QDB_SOCKET' read \
		'/qubes-firewall-handled/${base##*/}')\" -gt ${before:-0} ]" ||
		complain "the commit of ${base##*/} was not handled within 3 s"
}

socket_qubesdb() {
	local ms
	db_text >"$DIR/socket.db"
	QUBESDB=socket:$QDB_SOCKET READY=has_control
	daemon_start
	unset READY
	# It runs, says so, and lets nothing through.
	is "state" "$(stat_of .qubesdb.state)" connecting
	is "its reason" "$(stat_of .qubesdb.reason)" "?*"
	is "clients" "$(stat_of '.clients | length')" ${#CLIENTS[@]}
	is "a client" "$(c1 "$PEER" probe -t 300 udp $SERVER 9000)" "timeout *"
	is "its TCP" "$(c1 "$PEER" probe -t 500 tcp $SERVER 80)" "timeout *"
	check "it is not ready" sh -c "! grep -q 'ringfenced: ready' '$DIR/daemon.log'"
	wait_for 6 grep -q 'QubesDB: still not there: .*clients are blocked' "$DIR/daemon.log" ||
		complain "the log does not say what it waits for"
	# QubesDB comes.
	qdb_start --load "$DIR/socket.db"
	ms=$(wall_ms)
	wait_for 10 is_ready || complain "not ready 10 s after QubesDB came"
	within "milliseconds until it was found" $(($(wall_ms) - ms)) 6000
	wait_for 3 c1 ping -c 1 -W 1 -q $UP_IP
	is "then" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	# Half an update is none: RM and writes change nothing before the base key.
	qdb rm "/qubes-firewall/$(client_ip 1)/"
	sleep 0.2
	is "between RM and commit" "$(c1 "$PEER" probe tcp $SERVER2 80)" "ok *"
	qdb_commit 1 "action=accept dst4=$SERVER/32"
	is "after the commit: allowed" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	is "after the commit: not" "$(c1 "$PEER" probe tcp $SERVER2 80)" "error EHOSTUNREACH *"
	# It goes away, and comes back with other rules.
	qdb_stop
	wait_for 5 sh -c "[ \"\$('$TOOL' status --control '$DIR/control.sock' |
		jq -r .qubesdb.state)\" = connecting ]" || complain "the loss did not show in status"
	is "without it: allowed" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	is "without it: not" "$(c1 "$PEER" probe tcp $SERVER2 80)" "error EHOSTUNREACH *"
	rules 1 "action=accept dst4=$SERVER2/32"
	db_text >"$DIR/socket.db"
	qdb_start --load "$DIR/socket.db"
	wait_for 10 sh -c "ip netns exec $NS-c1 '$PEER' probe tcp $SERVER2 80 | grep -q ^ok" ||
		complain "the rules of the new QubesDB are not in force after 10 s"
	is "no longer" "$(c1 "$PEER" probe tcp $SERVER 80)" "error EHOSTUNREACH *"
	daemon_stop
	qdb_stop
	check "the server never complained" sh -c "! grep VIOLATION '$DIR/qdb.log'"
	unset QUBESDB
	RIG_DIRTY=1
}
scenario QubesDB_comes_goes_and_comes_back socket_qubesdb

# dom0's daemon is started anew, which has no key at all: what was known stands, and is
# replaced by what dom0 writes
db_state() { [ "$(stat_of .qubesdb.state)" = "$1" ]; }
empty_qubesdb() {
	local flow
	rules 1 "action=accept dst4=$SERVER/32"
	db_text >"$DIR/socket.db"
	qdb_start --load "$DIR/socket.db"
	QUBESDB=socket:$QDB_SOCKET daemon_start
	c1 "$PEER" seq -t 3000 tcp $SERVER 9000 4000 1000 >"$DIR/empty" &
	flow=$!
	qdb_stop
	check "the loss shows" wait_for 5 db_state connecting
	qdb_start
	check "an empty QubesDB is found" wait_for 5 db_state ready
	sleep 1.5 # longer than a missing source is waited for
	is "the uplink" "$(stat_of '"\(.uplink.ip) \(.uplink.gateway)"')" "$FW_IP $UP_IP"
	is "allowed" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	is "not" "$(c1 "$PEER" probe tcp $SERVER2 80)" "error EHOSTUNREACH *"
	is "IPv6" "$(c1 "$PEER" probe tcp $SERVER6 80)" "ok *"
	wait $flow
	is "a flow meanwhile" "$(jq -r '"\(.received) \(.lost) \(.error)"' "$DIR/empty")" "4000 0 "
	qdb_commit 1 "action=accept dst4=$SERVER2/32"
	is "the new rules" "$(c1 "$PEER" probe tcp $SERVER2 80)" "ok *"
	is "not the old ones" "$(c1 "$PEER" probe tcp $SERVER 80)" "error EHOSTUNREACH *"
	daemon_stop
	qdb_stop
	RIG_DIRTY=1
}
scenario QubesDB_comes_back_empty empty_qubesdb

# dom0's daemon is killed in the middle of updates (tests/xen/resync.c), 100 times: then
# dom0 and ours agree, and numbered flows that no half of an update allows lost nothing.
in_qubesdb() {
	qdb dump / | awk -F ' = ' '
		/^\/qubes-firewall\/[^\/]* = / { ip[substr($1, 17)] }
		/^\/qubes-firewall\/[^\/]*\/[0-9]/ { split($1, part, "/"); rules[part[3]]++ }
		/^\/qubes-firewall-handled\// { handled[substr($1, 25)] = $2 }
		END { for (i in ip) print i, "active", rules[i] + 0, handled[i] }' | sort
}
in_daemon() { stat_of '.sources[] | "\(.ip) \(.state) \(.rules) \(.handled)"' | sort; }
same_state() { [ "$(in_qubesdb)" = "$(in_daemon)" ]; }
last_update() { # N CLIENT SERVER: of the Nth source, and not the one before
	local port
	port=$(sed -n "$1s/.*port=//p" "$DIR/resync")
	is "$2: what the last update forbids" "$(ns "$2" "$PEER" probe tcp "$3" "$port")" \
		"error E* * code 1*"
	is "$2: what the one before forbade" "$(ns "$2" "$PEER" probe tcp "$3" $((port - 1)))" \
		"error ECONNREFUSED *"
}
killed_in_updates() {
	local flows=() line name before
	rules 1 "action=accept dst4=$SERVER/32"
	rules6 1 "action=accept dst6=$SERVER6/128"
	rules 2 "action=accept dst4=$SERVER2/32"
	db_text >"$DIR/journal"
	qdb_start --journal "$DIR/journal"
	QUBESDB=socket:$QDB_SOCKET daemon_start
	before="$(source_stat 3 epoch) $(source_stat 3 handled)"
	c1 "$PEER" seq -t 3000 tcp $SERVER 9000 15000 1000 >"$DIR/kill.tcp" &
	flows+=($!)
	c1 "$PEER" seq -t 3000 udp $SERVER6 9000 15000 1000 >"$DIR/kill.udp6" &
	flows+=($!)
	c2 "$PEER" seq -t 3000 udp $SERVER2 9000 15000 1000 >"$DIR/kill.udp" &
	flows+=($!)
	sleep 0.2
	qdb_stop
	timeout 100 "$top/xen/resync" 100 "${RESYNC_SEED:-1}" "$DIR/qdb.log" "$DIR/journal" "$QDB_SOCKET" \
		"$(client_ip 1)=action=accept dst4=$SERVER/32" \
		"$(client_ip6 1)=action=accept dst6=$SERVER6/128" \
		"$(client_ip 2)=action=accept dst4=$SERVER2/32" \
		-- "$top/xen/qubesdb-server" 1 --no-vchan >"$DIR/resync"
	cat "$DIR/resync"
	line=$(tail -n 1 "$DIR/resync")
	QDB=${line##*pid=}
	PIDS+=("$QDB")
	is "figures" "$line" "restarts=100 *"
	check "the flows outlasted the kills" kill -0 "${flows[@]}"
	wait_for 10 same_state || complain "dom0 has $(in_qubesdb), the daemon $(in_daemon)"
	is "a source without updates" "$(source_stat 3 epoch) $(source_stat 3 handled)" "$before"
	last_update 1 c1 $SERVER
	last_update 2 c1 $SERVER6
	last_update 3 c2 $SERVER2
	wait "${flows[@]}"
	for name in tcp udp6 udp; do
		is "the flow $name" "$(jq -r '"\(.received) \(.lost) \(.corrupt) \(.error)"' \
			"$DIR/kill.$name")" "15000 0 0 "
	done
	check "the server never complained" sh -c "! grep VIOLATION '$DIR/qdb.log'"
	daemon_stop
	kill "$QDB"
	rm -f "$QDB_SOCKET"
	RIG_DIRTY=1
}
scenario QubesDB_killed_100_times_in_updates killed_in_updates

# --- other keys that change while it runs -----------------------------------------------

# A netvm switch of the firewall itself: another gateway, and for good measure another
# address and other DNS servers
NEW_IP=10.137.0.104 NEW_GW=10.137.0.101
NEW_IP6=fd09:24ef:4179::a89:68 NEW_GW6=fd09:24ef:4179::a89:65
OTHER_IPS+=("$NEW_IP" "$NEW_IP6")
switched() { [ "$(stat_of '"\(.uplink.ip) \(.uplink.gateway) \(.uplink.ip6)"')" = "$1" ]; }
new_address_seen() { [ "$(captured "src host $NEW_IP or src host $NEW_IP6")" -gt 5 ]; }
captured() { tcpdump -n -r "$DIR/switch.pcap" "$1" 2>/dev/null | wc -l; }
netvm_switch() {
	local old
	kill "$TCPDUMP" && wait "$TCPDUMP" 2>/dev/null # it knows the usual address only
	TCPDUMP=
	key /qubes-primary-dns $SERVER
	rules 2 "action=accept specialtarget=dns"
	commit 2
	ip -n "$NS-up" -batch - <<-END
		address add $NEW_GW/32 dev up0
		route add $NEW_IP dev up0 src $NEW_GW
		address add $NEW_GW6/128 dev up0 nodad
		route add $NEW_IP6 dev up0 src $NEW_GW6
	END
	service up "$PEER" serve $REAL_DNS 53
	is "the DNS server before" "$(c2 "$PEER" probe udp $SERVER 53)" "ok *"
	is "the one to come" "$(c2 "$PEER" probe udp $REAL_DNS 53)" "error EHOSTUNREACH * code 13 *"
	c1 "$PEER" seq -t 1000 tcp $SERVER 9000 3000 1000 >"$DIR/switch.flow" &
	old=$!
	sleep 0.3
	key /qubes-ip $NEW_IP
	key /qubes-gateway $NEW_GW
	key /qubes-ip6 $NEW_IP6
	key /qubes-gateway6 $NEW_GW6
	key /qubes-primary-dns $REAL_DNS
	db_write
	check "it is in force" wait_for 3 switched "$NEW_IP $NEW_GW $NEW_IP6"
	service up tcpdump -i up0 -Q in -n -s 128 -U --immediate-mode -w "$DIR/switch.pcap" ip or ip6
	check "the capture runs" wait_for 3 test -s "$DIR/switch.pcap"
	check "the new gateway is found" wait_for 3 c1 ping -c 1 -W 0.5 -q $SERVER
	is "TCP" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	is "UDP" "$(c1 "$PEER" probe udp $SERVER2 9000)" "ok *"
	check "the new IPv6 gateway is found" wait_for 3 c1 ping -c 1 -W 0.5 -q $SERVER6
	is "IPv6" "$(c1 "$PEER" probe tcp $SERVER6 80)" "ok *"
	is "the DNS server of the new netvm" "$(c2 "$PEER" probe udp $REAL_DNS 53)" "ok *"
	is "that of the old one" "$(c2 "$PEER" probe udp $SERVER 53)" "error EHOSTUNREACH * code 13 *"
	wait $old
	above "the flow of before went" "$(jq .received "$DIR/switch.flow")" 100
	check "packets under the new address" wait_for 3 new_address_seen
	is "under any other" "$(captured "not src host $NEW_IP and not src host $NEW_IP6 and
		not src net fe80::/10")" 0
	RIG_DIRTY=1
}
scenario Q13_netvm_switch netvm_switch

# The ipv6 feature goes and comes while flows of both families run
ipv6_toggled() {
	local before flow
	c1 "$PEER" seq tcp $SERVER 9000 1500 1000 >"$DIR/toggle" &
	flow=$!
	is "IPv6 before" "$(c1 "$PEER" probe tcp $SERVER6 80)" "ok *"
	no_key /qubes-netvm-gateway6
	no_key /qubes-ip6
	no_key /qubes-gateway6
	db_write
	check "off" wait_for 3 sh -c "! ip netns exec $NS-c1 ping -c 1 -W 0.2 -q $FW_IP6"
	before=$(drops ipv6)
	is "UDP" "$(c1 "$PEER" probe -t 300 udp $SERVER6 9000)" "timeout *"
	is "TCP" "$(c1 "$PEER" probe -t 300 tcp $SERVER6 80)" "timeout *"
	above "counted" "$(drops ipv6)" "$before"
	: >"$DIR/keys"
	db_write
	check "on again" wait_for 3 c1 ping -c 1 -W 0.5 -q $SERVER6
	is "TCP again" "$(c1 "$PEER" probe tcp $SERVER6 80)" "ok *"
	wait $flow
	is "IPv4 meanwhile" "$(jq -r '"\(.received) \(.lost) \(.error)"' "$DIR/toggle")" "1500 0 "
}
scenario Q1_ipv6_feature_off_and_on ipv6_toggled

# Q9: a netvm switch of a running client: its vif comes first, then its rules
rules_after_vif() {
	local before
	no_rules 2
	no_rules6 2
	db_write
	daemon_start
	before=$(drops no-policy)
	is "TCP" "$(c2 "$PEER" probe -t 500 tcp $SERVER 80)" "timeout *"
	is "UDP" "$(c2 "$PEER" probe -t 300 udp $SERVER 9000)" "timeout *"
	is "IPv6" "$(c2 "$PEER" probe -t 300 udp $SERVER6 9000)" "timeout *"
	above "counted" "$(drops no-policy)" $((before + 2))
	is "another client" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	rules 2 "action=accept dst4=$SERVER/32"
	commit 2
	is "its IPv4 rules came" "$(c2 "$PEER" probe tcp $SERVER 80)" "ok *"
	is "and count" "$(c2 "$PEER" probe tcp $SERVER2 80)" "error EHOSTUNREACH *"
	is "those of IPv6 did not" "$(c2 "$PEER" probe -t 300 tcp $SERVER6 80)" "timeout *"
	rules6 2 "action=accept"
	commit6 2
	is "now they did" "$(c2 "$PEER" probe tcp $SERVER6 80)" "ok *"
	RIG_DIRTY=1
}
scenario Q9_rules_after_vif rules_after_vif
