# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2086,SC2154,SC2034 # the rig's constants are single words
#
# Names in rules: a real DNS server (unbound) and one that lies (baddns.py), both in
# the namespace far, asked through the daemon's own port. The daemon runs with a
# TTL of at least 1 s and a grace of 3 s, so that minutes are seconds.
#
# A machine may be slow: a server that needs more than a second is asked twice, and
# what comes to be comes late. So wait_is waits for three times as long as it says;
# where the time is the point, what it is compared with is seconds longer.

DNS_GOOD=198.51.100.53
DNS_ALSO=198.51.100.54
DNS_BAD=198.51.100.55

# --- servers ------------------------------------------------------------------------

unbound_ctl() { ns far unbound-control -q -c "$DIR/unbound.conf" "$@"; }

# record NAME TTL ADDRESS...: what unbound says from now on; none: an empty answer
record() {
	local name=$1 ttl=$2 a
	shift 2
	unbound_ctl local_data_remove "$name"
	{
		echo "$name $ttl IN TXT here"
		for a; do
			case $a in
			*:*) echo "$name $ttl IN AAAA $a" ;;
			*) echo "$name $ttl IN A $a" ;;
			esac
		done
	} | unbound_ctl local_datas
}

dns_up() {
	[ -z "${UNBOUND:-}" ] || return 0
	local a
	for a in $DNS_GOOD $DNS_ALSO $DNS_BAD; do
		ip -n "$NS-far" address add "$a/24" dev up0
	done
	cat >"$DIR/unbound.conf" <<-END
		server:
		  interface: $DNS_GOOD
		  interface: $DNS_ALSO
		  access-control: 0.0.0.0/0 allow
		  username: ""
		  chroot: ""
		  directory: "$DIR"
		  pidfile: "$DIR/unbound.pid"
		  use-syslog: no
		  logfile: "$DIR/unbound.log"
		  log-queries: yes
		  extended-statistics: yes
		  do-daemonize: no
		  num-threads: 1
		  module-config: "iterator"
		  do-not-query-localhost: no
		  outbound-msg-retry: 1
		  local-zone: "rig.test." static
		  local-data: "rig.test. 10 IN SOA ns.rig.test. me.rig.test. 1 10 10 10 2"
		  local-zone: "fail.test." transparent
		forward-zone:
		  name: "fail.test."
		  forward-addr: 127.0.0.1@1
		remote-control:
		  control-enable: yes
		  control-use-cert: no
		  control-interface: $DIR/unbound.sock
	END
	ip netns exec "$NS-far" unbound -c "$DIR/unbound.conf" >"$DIR/unbound.out" 2>&1 &
	UNBOUND=$!
	PIDS+=("$UNBOUND")
	wait_for 15 unbound_ctl status || complain "unbound: $(tail -n 3 "$DIR/unbound.out")"
	ip netns exec "$NS-far" /usr/bin/python3 tests/net/baddns.py $DNS_BAD \
		>"$DIR/baddns.log" 2>&1 &
	PIDS+=($!)
}

# questions NAME TYPE: how often unbound was asked. More often than the daemon wanted
# to know (asked), when it was slow to answer.
questions() { grep -c "info: [0-9.]* $1\. $2 IN" "$DIR/unbound.log"; }
asked() { stat_of .resolver.asked; }
over_tcp() {
	ns far unbound-control -c "$DIR/unbound.conf" stats_noreset |
		sed -n 's/^num.query.tcp=//p'
}

# --- the daemon ------------------------------------------------------------------------

names_start() { # [SERVER [SERVER]]: with these servers
	dns_up
	DNS1=${1:-$DNS_GOOD} DNS2=${2:-${1:-$DNS_ALSO}}
	allow_all
	db_write
	daemon_start --self --name-time ttl-min=1 --name-time "grace=${GRACE:-3}"
	wait_for 15 resolver_is ready || complain "the resolver is not ready"
}

name_stat() { stat_of ".names[] | select(.name == \"$1\" and .family == ${3:-4}) | .$2"; }
name_is() { [[ $(name_stat "$1" state "${3:-4}") == "$2" ]]; }
last_is() { [[ $(name_stat "$1" last) == "$2" ]]; }
failed_more_than() { [ "$(name_stat "$1" failures)" -gt "$2" ]; }
addresses() { name_stat "$1" 'addresses | sort | join(" ")' "${2:-4}"; }
addresses_are() { [[ $(addresses "$1") == "$2" ]]; }
resolver_is() { [ "$(stat_of .resolver.state)" = "$1" ]; }
exported() { sed -n "s#^/dns/$(client_ip "$1")/$2 = ##p" "$DB.out"; }
exported_is() { [ "$(exported "$1" "$2")" = "$3" ]; }
answers() { [[ $(c1 "$PEER" probe "$@") == "ok "* ]]; }

# wait_is WHAT SECONDS COMMAND...
wait_is() {
	local what=$1 seconds=$2
	shift 2
	wait_for $((3 * seconds)) "$@" || complain "$what: not within 3 * $seconds s: $*"
}

# wait_strict WHAT SECONDS COMMAND...: where it is the time that matters
wait_strict() {
	local what=$1 seconds=$2
	shift 2
	wait_for "$seconds" "$@" || complain "$what: not within $seconds s: $*"
}

# named NAME FUNCTION: a scenario, and then the rig's own servers again
named() {
	body=$2
	scenario "$1" run_named
}
run_named() {
	"$body"
	unset DNS1 DNS2
	RIG_DIRTY=1
}

# --- a real server ---------------------------------------------------------------------

R8_resolves() { # accept and drop, both servers, two sources, one question
	local before
	names_start
	record one.rig.test 60 $SERVER
	before=$(asked)
	rules 1 "action=accept dsthost=one.rig.test proto=tcp"
	rules 2 "action=accept dsthost=one.rig.test"
	commit 1 2
	wait_is "its state" 5 name_is one.rig.test resolved
	is "its address" "$(addresses one.rig.test)" $SERVER
	is "its users" "$(name_stat one.rig.test users)" 2
	is "allowed" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	is "by another source" "$(c2 "$PEER" probe udp $SERVER 9000)" "ok *"
	is "what the name is not" "$(c1 "$PEER" probe tcp $SERVER2 80)" "error EHOSTUNREACH *"
	is "asked once for both" "$(($(asked) - before))" 1
	within "by the server's count" "$(questions one.rig.test A)" 2
	is "never for the other family" "$(questions one.rig.test AAAA)" 0
	wait_is "what QubesDB has" 2 exported_is 1 one.rig.test "{'$SERVER/32'}"
	rules 1 "action=accept"
	commit 1
	wait_is "after the rule went" 2 exported_is 1 one.rig.test ""
	wait_is "of the other source" 2 exported_is 2 one.rig.test "{'$SERVER/32'}"
	is "its users then" "$(name_stat one.rig.test users)" 1
}
named R8_name_resolves_once_for_all_sources R8_resolves

unresolved_rules() { # R9: accept narrows, drop widens, everything else stands
	names_start
	record late.rig.test 60 $SERVER2
	unbound_ctl local_data_remove late.rig.test
	rules 1 "action=accept dst4=$SERVER/32" "action=accept dsthost=nosuch.rig.test"
	rules 2 "action=accept dst4=$SERVER/32" "action=drop dsthost=late.rig.test proto=udp" \
		"action=accept"
	rules 3 "action=drop dsthost=. proto=tcp" "action=accept"
	commit 1 2 3
	wait_is "NXDOMAIN" 5 last_is nosuch.rig.test 'no such name'
	is "is no resolution" "$(name_stat nosuch.rig.test state)" unresolved
	is "the other rule" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	is "accept of it matches nothing" "$(c1 "$PEER" probe tcp $SERVER2 80)" "error EHOSTUNREACH *"
	is "before a drop of it" "$(c2 "$PEER" probe udp $SERVER 9000)" "ok *"
	is "drop of it matches all" "$(c2 "$PEER" probe udp $SERVER3 9000)" "error EHOSTUNREACH *"
	is "but for its other options" "$(c2 "$PEER" probe tcp $SERVER3 80)" "ok *"
	is "a name that cannot be" "$(c3 "$PEER" probe tcp $SERVER 80)" "error EHOSTUNREACH *"
	is "nor is it asked for" "$(stat_of '[.names[].name] | index(".")')" null
	is "its other options" "$(c3 "$PEER" probe udp $SERVER 9000)" "ok *"
	check "the log says so" grep -q 'name nosuch.rig.test (IPv4): no such name' "$DIR/daemon.log"
	is "no entry in QubesDB" "$(exported 1 nosuch.rig.test)" ""
	record late.rig.test 60 $SERVER2
	wait_is "it comes to be" 10 name_is late.rig.test resolved
	is "then it alone is refused" "$(c2 "$PEER" probe udp $SERVER2 9000)" "error EHOSTUNREACH *"
	is "the others are not" "$(c2 "$PEER" probe udp $SERVER3 9000)" "ok *"
	# an authentic empty answer is a resolution: to nothing
	record none.rig.test 60
	rules 2 "action=drop dsthost=none.rig.test" "action=accept"
	commit 2
	wait_is "an empty answer" 5 name_is none.rig.test resolved
	is "drop of nothing" "$(c2 "$PEER" probe tcp $SERVER 80)" "ok *"
	wait_is "in QubesDB" 2 exported_is 2 none.rig.test "set()"
}
named R9_unresolved_accept_and_drop unresolved_rules

changing() { # TTLs, refresh, grace; what stays allowed loses nothing
	local out start hits epoch
	GRACE=6 names_start
	record cdn.rig.test 1 $SERVER $SERVER2
	rules 1 "action=accept dsthost=cdn.rig.test"
	commit 1
	start=$(wall_ms)
	wait_is "two addresses" 5 addresses_are cdn.rig.test "$SERVER $SERVER2"
	c1 "$PEER" seq -t 1500 udp $SERVER 9000 1000 10000 >"$DIR/kept" &
	local kept=$!
	c1 "$PEER" seq -t 1500 udp $SERVER2 9000 2000 10000 >"$DIR/left" &
	local left=$!
	sleep 0.3
	hits=$(source_stat 1 'hits["0000"]')
	epoch=$(source_stat 1 epoch)
	record cdn.rig.test 1 $SERVER $SERVER3
	wait_is "the new one" 3 addresses_are cdn.rig.test "$SERVER $SERVER2 $SERVER3"
	is "one of them in grace" "$(name_stat cdn.rig.test in_grace)" 1
	above "its epoch" "$(source_stat 1 epoch)" "$epoch"
	within "counters go on" "$hits" "$(source_stat 1 'hits["0000"]')"
	above "counters" "$hits" 1
	is "the new one is allowed" "$(c1 "$PEER" probe tcp $SERVER3 80)" "ok *"
	is "the one that left, for a while" "$(c1 "$PEER" probe tcp $SERVER2 80)" "ok *"
	wait_is "after its grace" 10 addresses_are cdn.rig.test "$SERVER $SERVER3"
	is "no longer" "$(c1 "$PEER" probe tcp $SERVER2 80)" "error EHOSTUNREACH *"
	wait_is "QubesDB follows" 2 exported_is 1 cdn.rig.test "{'$SERVER/32', '$SERVER3/32'}"
	wait $kept $left
	out=$(jq -r '"\(.received) \(.lost) \(.duplicate) \(.error)"' "$DIR/kept")
	is "a flow to what stayed" "$out" "1000 0 0 "
	is "a flow to what left" "$(jq -r .error "$DIR/left")" EHOSTUNREACH
	above "questions for a TTL of 1 s" "$(questions cdn.rig.test A)" 6
	within "no more than one in 0.75 s" "$(questions cdn.rig.test A)" \
		$((($(wall_ms) - start) / 750 + 4))
	# the same addresses in another order, or a source without the name: no new epoch
	out=$(source_stat 1 epoch)$(source_stat 2 epoch)
	record cdn.rig.test 1 $SERVER3 $SERVER
	sleep 2
	is "epochs of unchanged sets" "$(source_stat 1 epoch)$(source_stat 2 epoch)" "$out"
}
named R8_changing_answers_short_TTL_grace changing

servfail() { # SERVFAIL, then success, then SERVFAIL again: the last answer stays
	names_start
	rules 1 "action=accept dsthost=a.fail.test"
	commit 1
	wait_is "SERVFAIL" 10 last_is a.fail.test 'the server failed'
	is "unresolved" "$(name_stat a.fail.test state)" unresolved
	unbound_ctl local_data a.fail.test 1 IN A $SERVER
	wait_is "success" 10 name_is a.fail.test resolved
	is "allowed" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	unbound_ctl local_data_remove a.fail.test
	wait_is "SERVFAIL again" 10 failed_more_than a.fail.test 0
	is "still resolved" "$(name_stat a.fail.test state)" resolved
	is "still allowed" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	check "the log says so" grep -q 'a.fail.test .*last good answer stays in use' "$DIR/daemon.log"
}
named SERVFAIL_then_success_then_SERVFAIL servfail

no_answer() { # both servers silent, then there; nothing else waits
	names_start
	record quiet.rig.test 60 $SERVER
	kill -STOP "$UNBOUND"
	rules 1 "action=accept dst4=$SERVER2/32" "action=accept dsthost=quiet.rig.test"
	commit 1
	c1 "$PEER" seq udp $SERVER2 9000 500 1000 >"$DIR/meanwhile"
	is "a flow meanwhile" "$(jq -r '"\(.received) \(.lost) \(.error)"' "$DIR/meanwhile")" \
		"500 0 "
	is "not resolved" "$(name_stat quiet.rig.test state)" unresolved
	wait_is "given up" 20 last_is quiet.rig.test 'no answer'
	kill -CONT "$UNBOUND"
	wait_is "once it answers" 10 name_is quiet.rig.test resolved
	is "allowed" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
}
named no_answer_then_success no_answer

second_server() { # one of the two is not there
	names_start 198.51.100.99 $DNS_GOOD
	record second.rig.test 60 $SERVER
	rules 1 "action=accept dsthost=second.rig.test"
	commit 1
	wait_is "by the second server" 6 name_is second.rig.test resolved
}
named second_server_is_used second_server

server_fails() { # the first of the two does not help: the second is asked
	local how list=()
	names_start $DNS_BAD $DNS_GOOD
	for how in servfail refused garbage loop other referral wrongtype; do
		record $how.bad.test 60 $SERVER
		list+=("action=accept dsthost=$how.bad.test")
	done
	rules 1 "${list[@]}"
	commit 1
	for how in servfail refused garbage loop other referral wrongtype; do
		wait_is "$how" 15 addresses_are $how.bad.test $SERVER
	done
	above "the first was asked, too" "$(grep -c bad.test "$DIR/baddns.log")" 2
}
named other_server_is_asked_after_a_failure server_fails

large() { # 60 addresses (EDNS), 64 of 200 (TCP after truncation)
	local i list60=() list200=() tcp
	names_start
	for ((i = 1; i <= 60; i++)); do list60+=("203.0.113.$i"); done
	for ((i = 1; i <= 200; i++)); do list200+=("198.18.0.$i"); done
	record sixty.rig.test 60 "${list60[@]}" $SERVER
	record many.rig.test 60 "${list200[@]}"
	rules 1 "action=accept dsthost=sixty.rig.test"
	tcp=$(over_tcp)
	commit 1
	wait_is "61 addresses" 5 name_is sixty.rig.test resolved
	is "all of them" "$(name_stat sixty.rig.test 'addresses | length')" 61
	is "there are no more" "$(name_stat sixty.rig.test more)" false
	is "no question over TCP" "$(over_tcp)" "$tcp"
	is "allowed" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	rules 1 "action=accept dsthost=sixty.rig.test" "action=accept dsthost=many.rig.test"
	commit 1
	wait_is "200 addresses" 5 name_is many.rig.test resolved
	above "over TCP" "$(over_tcp)" "$tcp"
	is "as many as there is room for" "$(name_stat many.rig.test 'addresses | length')" 64
	is "there are more" "$(name_stat many.rig.test more)" true
	# what is known in part only is refused as a whole, and explained
	rules 2 "action=accept dsthost=many.rig.test" "action=drop dsthost=many.rig.test proto=udp" \
		"action=drop dsthost=sixty.rig.test" "action=accept"
	commit 2
	is "a drop of many drops every destination" "$(c2 "$PEER" probe udp $SERVER3 9000)" \
		"error EHOSTUNREACH *"
	is "within its other options" "$(c2 "$PEER" probe tcp $SERVER3 80)" "ok *"
	is "a drop of 61 just these" "$(c2 "$PEER" probe tcp $SERVER 80)" "error EHOSTUNREACH *"
	is "explain says so" "$("$TOOL" explain --trace --control "$DIR/control.sock" \
		"$(client_ip 2)" udp $SERVER3 9000 | jq -r '"\(.rule) \(.names["many.rig.test"].more)
			\(.trace | length)" | gsub("\\s+"; " ")')" "0001 true 1"
	check "QubesDB has them" sh -c "sed -n 's#^/dns/$(client_ip 1)/sixty.rig.test = ##p' '$DB.out' |
		grep -q \"'203.0.113.60/32'\""
}
named answers_of_60_and_200_addresses_TCP large

dns_entries() { # /dns/IP/HOST
	local long
	long="a-name-that-is-too-long-for-a-path-of-qubesdb.rig.test"
	names_start
	record one.rig.test 60 192.0.2.9 192.0.2.10 $SERVER
	record two.rig.test 60 $SERVER2
	record $long 60 $SERVER3
	rules 1 "action=accept dsthost=one.rig.test" "action=accept dsthost=two.rig.test" \
		"action=accept dsthost=$long"
	commit 1
	wait_is "sorted, in the stock format" 5 exported_is 1 one.rig.test \
		"{'192.0.2.1/32', '192.0.2.9/32', '192.0.2.10/32'}"
	wait_is "the other" 5 exported_is 1 two.rig.test "{'$SERVER2/32'}"
	wait_is "the rule of a long name" 5 answers tcp $SERVER3 80
	is "which is not written" "$(grep -c $long "$DB.out")" 0
	is "but said once" "$(grep -c "$long: longer than QubesDB allows" "$DIR/daemon.log")" 1
	rules 1 "action=accept dsthost=two.rig.test"
	commit 1
	wait_is "old entries go" 3 exported_is 1 one.rig.test ""
	wait_is "the others are there" 3 exported_is 1 two.rig.test "{'$SERVER2/32'}"
	rules 1 "action=accept dsthost=two.rig.test" "action=bogus"
	commit 1
	wait_is "malformed rules have none" 3 exported_is 1 two.rig.test ""
}
named R8_dns_entries_in_qubesdb dns_entries

hundreds() { # of names in one source: all resolve, whatever is in flight at a time
	local i list=() ms
	names_start
	for ((i = 0; i < 500; i++)); do
		echo "n$i.rig.test 60 IN A 203.0.113.$((i % 250 + 1))"
		list+=("action=accept dsthost=n$i.rig.test proto=udp dstports=$((i + 1))")
	done >"$DIR/hundreds"
	unbound_ctl local_datas <"$DIR/hundreds"
	c2 "$PEER" seq udp $SERVER 9000 2000 1000 >"$DIR/hundreds.flow" &
	local flow=$!
	rules 1 "${list[@]}"
	ms=$(wall_ms)
	commit 1
	all_resolved() { [ "$(stat_of '[.names[] | select(.state == "resolved")] | length')" = 500 ]; }
	wait_is "500 names" 15 all_resolved
	echo "# 500 names in $(($(wall_ms) - ms)) ms"
	wait $flow
	is "a flow meanwhile" "$(jq -r '"\(.received) \(.lost) \(.error)"' "$DIR/hundreds.flow")" \
		"2000 0 "
	wait_is "in QubesDB" 5 sh -c "[ \$(grep -c '^/dns/' '$DB.out') = 500 ]"
}
named R8_hundreds_of_names hundreds

families() { # IPv6 rules ask for AAAA only, IPv4 rules for A only
	local six=fd09:24ef:4179::a89:5 before
	names_start
	before=$(asked)
	record both.rig.test 60 $SERVER 2001:db8::1 2001:db8::2
	printf '%s\n' "policy = drop" "0000 = action=accept dsthost=both.rig.test" >"$DIR/rules/$six"
	db_write
	wait_is "AAAA" 5 name_is both.rig.test resolved 6
	is "its addresses" "$(addresses both.rig.test 6)" "2001:db8::1 2001:db8::2"
	is "no question for A" "$(questions both.rig.test A)" 0
	wait_is "in QubesDB" 3 grep -qFx \
		"/dns/$six/both.rig.test = {'2001:db8::1/128', '2001:db8::2/128'}" "$DB.out"
	rules 1 "action=accept dsthost=both.rig.test"
	commit 1
	wait_is "A, for another source" 5 name_is both.rig.test resolved 4
	is "its address" "$(addresses both.rig.test)" $SERVER
	is "one question for each" "$(($(asked) - before))" 2
	within "for AAAA by the server's count" "$(questions both.rig.test AAAA)" 2
	rm "$DIR/rules/$six"
}
named R8_families_A_and_AAAA families

fixed_names() { # --resolve goes first, and works without a resolver
	rules 1 "action=accept dsthost=fixed.test" "action=accept dsthost=other.test"
	db_write
	daemon_start --resolve fixed.test=$SERVER
	is "allowed" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	is "no resolver" "$(stat_of .resolver.state)" off
	is "the other does not resolve" "$(name_stat other.test state)" unresolved
	wait_is "in QubesDB" 3 exported_is 1 fixed.test "{'$SERVER/32'}"
}
named R8_fixed_names_without_resolver fixed_names

# --- the helper ------------------------------------------------------------------------

keeper() { stat_of .resolver.helper; }
worker() { pgrep -P "$(keeper)"; }
restarted() { [ "$(stat_of .resolver.restarts)" -ge "$1" ] && resolver_is ready; }

confined() { # 24: what the processes that read DNS may do
	local pid
	names_start
	record one.rig.test 60 $SERVER
	rules 1 "action=accept dsthost=one.rig.test"
	commit 1
	wait_is "resolves under its filter" 5 name_is one.rig.test resolved
	for pid in $(keeper) $(worker); do
		is "user" "$(awk '/^Uid:/ {print $2, $3, $4, $5}' /proc/"$pid"/status)" \
			"65534 65534 65534 65534"
		is "groups" "$(awk '/^(Gid|Groups):/ {$1 = ""; print}' /proc/"$pid"/status |
			xargs)" "65534 65534 65534 65534"
		is "capabilities" "$(awk '/^Cap/ {print $2}' /proc/"$pid"/status | sort -u)" \
			0000000000000000
		is "seccomp, no_new_privs" \
			"$(awk '/^(Seccomp|NoNewPrivs):/ {print $2}' /proc/"$pid"/status | xargs)" "1 2"
		is "descriptors" "$(find "/proc/$pid/fd" -type l -lname 'socket:*' | wc -l)" "[1-9]"
		is "nothing of ours" "$(find "/proc/$pid/fd" -type l -lname '*tun*' | wc -l)" 0
		# packets come first: a nice value of 10
		is "priority" "$(sed 's/.*) //' "/proc/$pid/stat" | cut -d ' ' -f 17)" 10
		is "environment" "$(wc -c <"/proc/$pid/environ")" 0
	done
	is "processes of the worker" "$(awk '/Max processes/ {print $3}' "/proc/$(worker)/limits")" 0
}
named helper_has_no_rights confined

killed() { # worker, then keeper; questions are asked again, packets flow
	local flow old
	names_start
	record one.rig.test 1 $SERVER
	rules 1 "action=accept dsthost=one.rig.test"
	commit 1
	wait_is "before" 5 name_is one.rig.test resolved
	c1 "$PEER" seq udp $SERVER 9000 2500 1000 >"$DIR/killed" &
	flow=$!
	old=$(worker)
	kill -KILL "$old"
	wait_is "the worker is back" 5 restarted 1
	check "another one" test "$(worker)" != "$old"
	is "said once" "$(grep -c 'the helper died of signal 9' "$DIR/daemon.log")" 1
	record one.rig.test 1 $SERVER $SERVER2
	wait_is "it resolves" 5 addresses_are one.rig.test "$SERVER $SERVER2"
	old=$(keeper)
	kill -KILL "$old"
	wait_is "the keeper is back" 10 restarted 2
	check "another one" test "$(keeper)" != "$old"
	record one.rig.test 1 $SERVER $SERVER2 $SERVER3
	wait_is "it resolves again" 5 addresses_are one.rig.test "$SERVER $SERVER2 $SERVER3"
	wait $flow
	is "a flow meanwhile" "$(jq -r '"\(.received) \(.lost) \(.error)"' "$DIR/killed")" "2500 0 "
	old=$(worker)
	kill -KILL "$DAEMON"
	wait "$DAEMON" 2>/dev/null
	DAEMON=
	wait_is "they end with the daemon" 3 is_gone "$old"
}
named helper_killed_is_restarted killed

other_names() { # while as many as can be are asked for: the helper is not asked too much
	local i first=() second=()
	names_start $DNS_BAD
	for ((i = 0; i < 40; i++)); do
		first+=("action=accept dsthost=silent.a$i.bad.test")
		second+=("action=accept dsthost=silent.b$i.bad.test")
	done
	full() { [ "$(stat_of '[.names[] | select(.asking)] | length')" = 32 ]; }
	rules 1 "${first[@]}"
	commit 1
	wait_is "questions out" 5 full
	rules 1 "${second[@]}"
	commit 1
	sleep 1
	is "the helper lives" "$(stat_of .resolver.restarts)" 0
	is "and is ready" "$(stat_of .resolver.state)" ready
}
named other_names_while_questions_are_out other_names

uplink_down() {
	ip -n "$NS-up" route del $FW_IP dev up0
	ip -n "$NS-up" link set up0 down
}
uplink_up() {
	ip -n "$NS-up" -batch - <<-END
		link set up0 up
		route add $FW_IP dev up0 src $UP_IP
	END
}
asked_more_than() { [ "$(questions "$1" A)" -gt "$2" ]; }

late_uplink() { # resolved when the uplink is up; after a switch, whatever the back-off says
	local n
	names_start
	record late.rig.test 60 $SERVER
	uplink_down
	rules 1 "action=accept dsthost=late.rig.test"
	commit 1
	wait_is "failed without uplink" 20 failed_more_than late.rig.test 0
	uplink_up
	wait_is "after it came" 8 name_is late.rig.test resolved
	# after four failures in a row the next question is 7 to 8 s away
	rules 1 "action=accept dsthost=good.bad.test"
	commit 1
	wait_is "not known to this server" 10 failed_more_than good.bad.test 3
	n=$(questions good.bad.test A)
	key /qubes-gateway 10.137.0.98 # a netvm switch; up answers for it
	db_write
	wait_strict "asked again at once" 5 asked_more_than good.bad.test "$n"
	wait_is "not known as before" 10 failed_more_than good.bad.test 3
	DNS1=$DNS_BAD DNS2=$DNS_BAD
	db_write
	wait_strict "another server is asked at once" 5 name_is good.bad.test resolved
}
named resolved_at_once_after_netvm_and_server_change late_uplink

# --- a server that lies ---------------------------------------------------------------

rss_of() { awk '/^VmRSS:/ {print $2}' "/proc/$1/status"; }

hostile() { # nothing of it grows, stalls or opens anything
	local name bad=(loop self long other big flood wrongid wrongquestion wrongtype query
		garbage tail short cut empty selfpointer forward pingpong counts size referral
		notfound refused servfail silent stall reset trunctcp pointers)
	local good=(good chain zero negative forever inside private third thousand sixty)
	local list=() before after_ before_w after_w i n growth=1024
	# the sanitizers' build keeps what was freed for a while
	[ "$flavour" = rel ] || growth=65536
	names_start $DNS_BAD
	for name in "${bad[@]}" "${good[@]}" nothing; do
		list+=("action=accept dsthost=$name.bad.test")
	done
	rules 1 "${list[@]}"
	rules 2 "action=accept dst4=$SERVER/32"
	commit 1 2
	c2 "$PEER" seq udp $SERVER 9000 5000 1000 >"$DIR/hostile" &
	local flow=$!
	before_w=$(worker)
	for name in "${good[@]}"; do
		wait_is "$name" 20 name_is "$name.bad.test" resolved
	done
	wait_is "an empty answer" 5 name_is nothing.bad.test resolved
	sleep 3
	before=$(rss_of "$DAEMON")
	after_w=$(rss_of "$before_w")
	for name in "${bad[@]}"; do
		is "$name" "$(name_stat "$name.bad.test" '| "\(.state) \(.addresses | length)"')" \
			"unresolved 0"
	done
	is "more than there is room for" "$(name_stat thousand.bad.test 'addresses | length')" 64
	is "60" "$(name_stat sixty.bad.test 'addresses | length')" 60
	is "of no use" "$(addresses inside.bad.test)" $SERVER
	is "private ones count" "$(addresses private.bad.test)" "10.1.2.3 172.16.1.2 192.168.1.2"
	is "and said so" "$(name_stat inside.bad.test refused)" true
	wait_is "TTL 0 is 1 s" 3 sh -c "[ \"\$(grep -c 'zero.bad.test' '$DIR/baddns.log')\" -gt 2 ]"
	wait_is "TTL 2^31 is none" 3 sh -c \
		"[ \"\$(grep -c 'negative.bad.test' '$DIR/baddns.log')\" -gt 2 ]"
	# 75 to 85 % of an hour, less the seconds that have passed
	above "TTL 2^31-1 is an hour: next asked in" "$(name_stat forever.bad.test next_s)" 2600
	within "TTL 2^31-1 is an hour: next asked in" "$(name_stat forever.bad.test next_s)" 3060
	wait $flow
	is "a flow meanwhile" "$(jq -r '"\(.received) \(.lost) \(.error)"' "$DIR/hostile")" "5000 0 "
	is "what good resolves to" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	is "and nothing else" "$(c1 "$PEER" probe tcp $SERVER2 80)" "error EHOSTUNREACH *"
	n=$(grep -c notfound.bad.test "$DIR/baddns.log")
	for ((i = 0; i < 20; i++)); do
		kill -HUP "$DAEMON" # asks all that fail again
		sleep 0.15
	done
	above "asked again at SIGHUP, whatever the back-off says" \
		"$(($(grep -c notfound.bad.test "$DIR/baddns.log") - n))" 2
	after_=$(rss_of "$DAEMON")
	within "growth of the daemon (KiB)" $((after_ - before)) $growth
	within "growth of the worker (KiB)" $(($(rss_of "$before_w") - after_w)) 4096
	is "the worker is the same" "$(worker)" "$before_w"
	within "descriptors of the worker" "$(find "/proc/$before_w/fd" -type l | wc -l)" 12
}
named hostile_DNS_server hostile
