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
