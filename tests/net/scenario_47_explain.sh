# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2086,SC2154,SC2034 # the rig's constants are single words
#
# What the user is told: ringfence explain by the running daemon, held against real
# packets; what status and the log say of bad rules and settings; ringfence check.

ask_daemon() { "$TOOL" explain --control "$DIR/control.sock" "$@"; }
# told FILTER WORD...: jq over the answer; strings joined by "|"
told() {
	local filter=$1
	shift
	ask_daemon "$@" | jq -r "[$filter] | flatten | map(tostring) | join(\"|\")"
}
trace() { told .trace --trace "$@"; }
in_log() { grep -cF -- "$1" "$DIR/daemon.log"; }

# decides N PROTO DST PORT WANT: the daemon's word, and what becomes of such a packet
decides() {
	local src want
	src=$(client_ip "$1")
	is "explain $2 $3 $4" "$(told '.verdict, .rule' "$src" "$2" "$3" "$4")" "$5"
	want="ok *"
	[[ $5 == accept* ]] || want="error EHOSTUNREACH *"
	is "a packet: $2 $3 $4" "$(ns "c$1" "$PEER" probe "$2" "$3" "$4")" "$want"
}

names_told() { # names as the live resolver has them, and the trace
	local c1ip
	c1ip=$(client_ip 1)
	names_start
	record one.rig.test 60 $SERVER 192.0.2.9
	record two.rig.test 60 $SERVER2
	rules 1 "action=accept proto=udp dstports=9000-9001" \
		"action=accept dsthost=one.rig.test proto=tcp dstports=80" \
		"action=drop dsthost=nosuch.rig.test proto=tcp dstports=443" \
		"action=accept dsthost=two.rig.test" "action=accept specialtarget=dns"
	commit 1
	wait_is "the first name" 5 name_is one.rig.test resolved
	wait_is "the second" 5 name_is two.rig.test resolved
	wait_is "the third, that is not" 5 sh -c "[ \"\$('$TOOL' status --control \
		'$DIR/control.sock' | jq -r '.names[] | select(.name == \"nosuch.rig.test\") |
		.last')\" = 'no such name' ]"
	decides 1 udp $SERVER 9000 "accept|0000"
	decides 1 tcp $SERVER 80 "accept|0001"
	decides 1 tcp $SERVER2 443 "reject|0002"
	decides 1 tcp $SERVER2 80 "accept|0003"
	decides 1 tcp $SERVER3 80 "reject|policy"
	is "rule, key and text" "$(told '.rule, .key, .text' $c1ip tcp $SERVER 80)" \
		"0001|/qubes-firewall/$c1ip/0001|action=accept dsthost=one.rig.test proto=tcp dstports=80"
	is "of the policy" "$(told '.key, .text' $c1ip tcp $SERVER3 80)" \
		"/qubes-firewall/$c1ip/policy|drop"
	is "addresses of a name" "$(told '.names["one.rig.test"].addresses | sort' $c1ip tcp \
		$SERVER 80)" "192.0.2.1|192.0.2.9"
	is "what does not resolve" "$(told .unresolved $c1ip tcp $SERVER 80)" nosuch.rig.test
	is "only names that were looked at" "$(told '.names | keys' $c1ip tcp $SERVER 80)" \
		one.rig.test
	is "trace" "$(trace $c1ip tcp $SERVER3 80)" \
		"0000: proto=udp: packet is tcp|0001: dsthost=one.rig.test: $SERVER3 is none of its 2 \
addresses|0002: dstports=443: port is 80|0003: dsthost=two.rig.test: $SERVER3 is none of its 1 \
addresses|0004: specialtarget=dns: port is 80"
	is "no trace unless asked for" "$(told 'has("trace")' $c1ip tcp $SERVER3 80)" false
	is "the way out" "$(told '.attached, .from, has("to")' $c1ip tcp $SERVER 80)" \
		"true|$FW_IP|false"
	is "the DNS server that is meant" "$(told '.verdict, .to' $c1ip udp 10.139.1.1 53)" \
		"accept|$DNS_GOOD"
	# a name that changes: explain follows what is in force
	record two.rig.test 1 $SERVER3
	rules 1 "action=accept dsthost=two.rig.test"
	commit 1
	kill -HUP "$DAEMON"
	is "what is in force while the old answer holds" "$(told .verdict $c1ip tcp $SERVER2 80)" accept
	is "our own kernel's rule has no key" "$(told '.verdict, .rule, has("key")' 192.0.0.8 udp \
		$DNS_GOOD 53)" "accept|0000|false"
}
named R8_explain_names_of_the_running_daemon names_told

learned_told() { # dns-learn and a wildcard
	local c1ip
	c1ip=$(client_ip 1)
	key /vm-config/ringfence-dns-learn "$c1ip"
	key "/vm-config/ringfence-wildcard-$c1ip" rig.test
	names_start
	record cdn.rig.test 3600 $SERVER
	rules 1 "action=accept specialtarget=dns" "action=accept dsthost=cdn.rig.test dstports=80" \
		"action=accept dsthost=rig.test proto=udp dstports=9000"
	rules 2 "action=accept specialtarget=dns" "action=accept dsthost=cdn.rig.test dstports=80"
	commit 1 2
	wait_is "resolved by us" 5 name_is cdn.rig.test resolved
	wait_is "an empty answer" 5 name_is rig.test resolved
	is "before" "$(told '.rule, has("learned")' $c1ip tcp $SERVER2 80)" "policy|false"
	# the client is told another address than we were
	record cdn.rig.test 60 $SERVER2
	c1 dig +time=2 +tries=1 @$DNS_GOOD cdn.rig.test A +short >/dev/null
	decides 1 tcp $SERVER2 80 "accept|0001"
	is "says why" "$(told '.learned, (.names["cdn.rig.test"] | .addresses, (.learned | keys))' \
		$c1ip tcp $SERVER2 80)" "true|$SERVER|$SERVER2"
	within "seconds it stays" "$(told ".names[\"cdn.rig.test\"].learned[\"$SERVER2\"]" $c1ip tcp \
		$SERVER2 80)" 600
	decides 1 tcp $SERVER3 80 "reject|policy"
	is "trace" "$(trace $c1ip tcp $SERVER3 80)" \
		"0000: specialtarget=dns: port is 80|0001: dsthost=cdn.rig.test: $SERVER3 is none of its 1 \
addresses, nor of 1 that were learned|0002: proto=udp: packet is tcp"
	record sub.rig.test 60 $SERVER3
	c1 dig +time=2 +tries=1 @$DNS_GOOD sub.rig.test A +short >/dev/null
	decides 1 udp $SERVER3 9000 "accept|0002"
	is "addresses of subdomains" "$(told '.learned, (.names["rig.test"].learned | keys)' $c1ip udp \
		$SERVER3 9000)" "true|$SERVER2|$SERVER3"
	is "another client knows nothing of it" "$(told '.rule, has("learned")' "$(client_ip 2)" tcp \
		$SERVER2 80)" "policy|false"
	is "status has the option" "$(source_stat 1 'options | "\(.dns_learn) \(.wildcards)"')" \
		"true rig.test"
}
named R4_explain_learned_addresses learned_told

the_way() { # what stops a packet that the rules accept
	local c1ip absent=10.137.0.77
	c1ip=$(client_ip 1)
	key /connected-ips "$c1ip $(client_ip 2) $(client_ip 3) $absent"
	db_write
	wait_is "the key is read" 3 sh -c "[ \"\$('$TOOL' status --control '$DIR/control.sock' |
		jq .settings.connected)\" = 6 ]"
	is "another client" "$(told '.verdict, .stopped' $c1ip tcp "$(client_ip 2)" 80)" \
		"accept|inter-client"
	is "a qube that does not run" "$(told '.verdict, .stopped' $c1ip tcp $absent 80)" \
		"accept|inter-client"
	is "the firewall" "$(told '.verdict, .stopped' $c1ip tcp $FW_IP 80)" "accept|to-firewall"
	is "IPv6" "$(told '.verdict, .from' "$(client_ip6 1)" tcp $SERVER6 80)" "accept|$FW_IP6"
	is "a client without IPv6" "$(told '.verdict, .rule, .attached' "$(client_ip6 3)" tcp \
		$SERVER6 80)" "drop|none|false"
	rules_of 10.137.0.99 action=accept
	db_write
	wait_is "rules without a client" 3 handled_after 10.137.0.99 0
	is "are said to be that" "$(told '.verdict, .attached, has("from")' 10.137.0.99 tcp $SERVER 80)" \
		"accept|false|false"
	no_key /qubes-ip
	db_write
	wait_is "no uplink" 5 sh -c "[ \"\$('$TOOL' explain --control '$DIR/control.sock' $c1ip tcp \
		$SERVER 80 | jq -r .stopped)\" = no-uplink ]"
}
scenario Q3_Q10_Q13_explain_what_rules_do_not_say the_way

# bad_source WHAT RULE: rule 0001 of client 1, family $F, and what is wrong with it: in
# three places
bad_source() {
	local a other state
	local -A other_server=([4]=$SERVER6 [6]=$SERVER)
	a=$(A 1)
	state='.sources[] | select(.ip == $ip) | "\(.state) \(.error.key): \(.error.text)"'
	frules 1 "action=accept" "$2" "action=accept dst=x"
	fcommit 1
	is "status: $1" "$(status | jq -r --arg ip "$a" "$state")" "malformed 0001: $1"
	above "log: $1" "$(in_log "source $a: blocked: 0001: $1")" 0
	is "explain: $1" "$(told '.verdict, .rule, .error.path, .error.problem' $a tcp $S 80)" \
		"reject|malformed|/qubes-firewall/$a/0001|$1"
	is "a packet" "$(c1 "$PEER" probe tcp $S 80)" "error E*"
	# That source only, and that family only (R10).
	for other in "$(A 2)" "$(if [ "$F" = 4 ]; then client_ip6 1; else client_ip 1; fi)"; do
		is "state of $other" "$(stat_of ".sources[] | select(.ip == \"$other\") | .state")" active
	done
	is "the other family" "$(c1 "$PEER" probe tcp "${other_server[$F]}" 80)" "ok *"
	is "another client" "$(c2 "$PEER" probe tcp $S 80)" "ok *"
}
bad_rules() {
	bad_source 'dstports: "90-80" is reversed' "action=accept proto=tcp dstports=90-80"
	bad_source 'expire: never valid in QubesDB' "action=accept expire=1"
	bad_source 'icmptype: without proto=icmp' "icmptype=8 action=accept"
	bad_source 'two spaces at offset 13' "action=accept  proto=tcp"
	frules 1 action=accept
	fcommit 1
	is "good rules again" "$(c1 "$PEER" probe tcp $S 80)" "ok *"
	is "no error" "$(told '.verdict, has("error")' "$(A 1)" tcp $S 80)" "accept|false"
}
both R10_malformed_source_in_status_log_explain bad_rules

bad_settings() { # U-9: each problem once in the log, all of them in status; nobody is blocked
	local before
	problems() { stat_of '.settings.problems | sort | join("\n")'; }
	problems_are() { [ "$(stat_of .settings.problem_count)" = "$1" ]; }
	key /connected-ips "$(client_ip 1) nonsense"
	key /qubes-secondary-dns 10.139.1
	key "/mapped-ip/$(client_ip 2)/visible-ip" 192.168.77
	key /vm-config/ringfence-eim "$(client_ip 1) me"
	key /vm-config/ringfence-frob 1
	key /vm-config/ringfence-log-level debug
	key "/vm-config/ringfence-wildcard-$(client_ip 1)" '*.example.org'
	db_write
	wait_is "all problems" 3 problems_are 6
	is "as they are" "$(problems)" "$(sort <<-END
		/connected-ips: "nonsense": not an address
		/mapped-ip/$(client_ip 2)/visible-ip: "192.168.77" is not an IPv4 address
		/qubes-secondary-dns: "10.139.1" is not an IPv4 address
		/vm-config/ringfence-eim: "me": not an address
		/vm-config/ringfence-frob: "1": no such key
		/vm-config/ringfence-wildcard-$(client_ip 1): "*.example.org": not a name
	END
	)"
	is "the level" "$(stat_of .settings.log_level)" debug
	is "the other word counts" "$(source_stat 1 options.eim)" true
	before=$(in_log /connected-ips:)
	key /vm-config/ringfence-quiet "$(client_ip 3)" # the keys are read again
	db_write
	wait_is "another key" 3 sh -c "'$TOOL' status --control '$DIR/control.sock' |
		jq -e '.sources[] | select(.ip == \"$(client_ip 3)\") | .options.quiet'"
	is "the log has each once" "$(in_log /connected-ips:) $(in_log /mapped-ip/) \
$(in_log /qubes-secondary-dns:) $(in_log ringfence-eim:) $(in_log ringfence-frob:) \
$(in_log ringfence-wildcard)" "1 1 1 1 1 1"
	is "packets go on" "$(c1 "$PEER" probe tcp $SERVER 80)" "ok *"
	: >"$DIR/keys"
	db_write
	wait_is "none any more" 3 problems_are 0
	key /connected-ips "nonsense"
	db_write
	wait_is "it is back" 3 problems_are 1
	is "and said again" "$(in_log '/connected-ips: "nonsense"')" $((before + 1))
	is "the level of the command line" "$(stat_of .settings.log_level)" info
}
scenario U9_settings_problems_in_status_and_log bad_settings

fake_gateway() { # Q11, U-9: net.fake-gateway without net.fake-ip
	key "/mapped-ip/$(client_ip 2)/visible-ip" "$(client_ip 2)"
	key "/mapped-ip/$(client_ip 2)/visible-gateway" 192.168.77.1
	db_write
	c2 ip route replace 192.168.77.1 dev c2 src "$(client_ip 2)"
	check "ping of the gateway it knows" wait_for 3 c2 ping -c 1 -W 0.5 -q 192.168.77.1
	is "the first hop" "$(c2 "$PEER" probe -l 1 udp $FAR 9000)" \
		"error EHOSTUNREACH * from 192.168.77.1 type 11 code 0 *"
	is "its own address is its own" "$(c2 "$PEER" probe tcp $SERVER 80)" "ok *"
	is "it keeps its IPv6" "$(c2 "$PEER" probe tcp $SERVER6 80)" "ok *"
	is "another client" "$(c1 "$PEER" probe -l 1 udp $FAR 9000)" \
		"error EHOSTUNREACH * from $FW_IP type 11 code 0 *"
	c2 ip route del 192.168.77.1
	RIG_DIRTY=1
}
scenario Q11_U9_fake_gateway_alone fake_gateway

requests() { # hp_043: whatever is said to the control socket costs nobody anything
	local flow
	c1 "$PEER" seq udp $SERVER 9000 1000 1000 >"$DIR/requests" &
	flow=$!
	/usr/bin/python3 - "$DIR/control.sock" <<-'END' >"$DIR/requests.out" 2>&1
		import random, socket, sys
		random.seed(1)
		def ask(data):
		    s = socket.socket(socket.AF_UNIX)
		    s.settimeout(3)
		    s.connect(sys.argv[1])
		    answer = b""
		    try:
		        s.sendall(data)
		        while part := s.recv(65536):
		            answer += part
		    except ConnectionError:
		        pass
		    s.close()
		    return answer
		good = b"explain --trace 10.137.0.5 tcp 192.0.2.1 80"
		assert b'"verdict"' in ask(good + b"\n")
		assert ask(b"status ready\n") == b'{"ready":true}\n'
		assert ask(b"status qrexec\n") == b'{"qrexec":null}\n'
		for bad in b"status ", b"status x", b"status ready ready", b"status \xff", b"statusready":
		    assert ask(bad + b"\n").startswith(b'{"error":"'), bad
		for bad in b"explain", b"explain ", b"explain x", b"EXPLAIN a b c", good + 9 * b" x":
		    assert b'"error"' in ask(bad + b"\n"), bad
		assert b'"error"' in ask(good + b"\0\n")
		assert b'"verdict"' not in ask(good + b"\0 or what\n")
		assert ask(good + b" " * 200 + b"\n") == b""
		for i in range(2000):
		    text = bytearray(good)
		    for _ in range(random.randrange(1, 4)):
		        text[random.randrange(len(text))] = random.choice(b"\x00\xff \t:./09-ax\x1b")
		    answer = ask(bytes(text) + b"\n")
		    assert answer == b"" or b'"verdict"' in answer or b'"error"' in answer, text
		print("done")
	END
	is "every request has its answer" "$(cat "$DIR/requests.out")" "done"
	wait $flow
	is "a flow meanwhile" "$(jq -r '"\(.received) \(.lost) \(.error)"' "$DIR/requests")" "1000 0 "
}
scenario hp_043_any_request_to_the_control_socket requests

conversations() { # D4: several at a time, in pieces, broken off; and those that never end
	local flow before
	c1 "$PEER" seq udp $SERVER 9000 8000 1000 >"$DIR/talks" &
	flow=$!
	before=$(find "/proc/$DAEMON/fd" | wc -l)
	/usr/bin/python3 - "$DIR/control.sock" <<-'END' >"$DIR/talks.out" 2>&1
		import json, random, socket, sys, time
		random.seed(4)
		CLIENTS, TIMEOUT = 8, 5	# firewall/control.h
		REQUESTS = [b"status\n", b"explain 10.137.0.5 tcp 192.0.2.1 80\n", b"nonsense\n",
		            b"explain --trace 10.137.0.5 icmp 192.0.2.1 8\nand more", b"status"]
		def dial():
		    s = socket.socket(socket.AF_UNIX)
		    s.settimeout(3)
		    s.connect(sys.argv[1])
		    return s
		def rest(s):
		    answer = b""
		    try:
		        while part := s.recv(65536):
		            answer += part
		    except ConnectionError:
		        pass
		    s.close()
		    return answer
		def has_answer(s, request):
		    answer = rest(s)
		    if b"\n" not in request:
		        assert answer == b"", (request, answer)
		    else:
		        assert ("error" in json.loads(answer)) == (request == b"nonsense\n"), request
		open_ = []
		for i in range(4000):
		    what = random.randrange(8)
		    if what == 0 and len(open_) < CLIENTS:
		        open_.append([dial(), random.choice(REQUESTS), 0])
		        continue
		    if not open_:
		        continue
		    k = random.randrange(len(open_))
		    s, request, sent = open_[k]
		    if sent < len(request) and what < 7:
		        piece = request[sent:sent + random.randrange(1, 30)]
		        try:
		            s.sendall(piece)
		        except ConnectionError:
		            assert b"\n" in request[:sent]
		        open_[k][2] += len(piece)
		    elif sent < len(request):
		        s.close()
		        del open_[k]
		    else:
		        s.shutdown(socket.SHUT_WR)
		        has_answer(s, request)
		        del open_[k]
		for s, _, _ in open_:
		    s.close()
		time.sleep(0.2)
		idle = [dial() for _ in range(CLIENTS)]
		start = time.monotonic()
		assert rest(dial()) == b""	# no place
		for n in range(3):
		    time.sleep(1.5)
		    idle[0].sendall(b"s")	# a byte now and then keeps none
		for s in idle:
		    assert rest(s) == b""
		assert TIMEOUT - 0.5 < time.monotonic() - start < TIMEOUT + 2, time.monotonic() - start
		s = dial()
		s.sendall(b"status\n")
		has_answer(s, b"status\n")
		print("done")
	END
	is "every conversation" "$(cat "$DIR/talks.out")" "done"
	wait $flow
	is "a flow meanwhile" "$(jq -r '"\(.received) \(.lost) \(.error)"' "$DIR/talks")" "8000 0 "
	is "descriptors" "$(find "/proc/$DAEMON/fd" | wc -l)" "$before"
}
scenario D4_conversations_on_the_control_socket conversations

checked() { # ringfence check of a file, and of a QubesDB daemon's socket
	local out
	rules 1 "action=accept dstports=90-80 expire=1" "action=reject"
	rules6 2 "action=accept dst4=1.2.3.4"
	key /connected-ips "$(client_ip 1) x"
	key /vm-config/ringfence-frob 1
	db_text >"$DIR/check.db"
	cat >"$DIR/check.want" <<-END
		/qubes-firewall/$(client_ip 1)/0000: dstports: "90-80" is reversed
		/qubes-firewall/$(client_ip 1)/0000: expire: never valid in QubesDB
		/qubes-firewall/$(client_ip 1)/0001: action: "reject" is neither accept nor drop
		/qubes-firewall/$(client_ip6 2)/0000: dst4: "1.2.3.4" in the rules of an IPv6 source
		/connected-ips: "x": not an address
		/vm-config/ringfence-frob: "1": no such key
	END
	out=$("$TOOL" check --db "$DIR/check.db")
	is "status for a file" $? 1
	is "every problem" "$(sort <<<"$out")" "$(sort "$DIR/check.want")"
	qdb_start --load "$DIR/check.db"
	out=$("$TOOL" check --db "socket:$QDB_SOCKET")
	is "status for a QubesDB" $? 1
	is "the same problems" "$(sort <<<"$out")" "$(sort "$DIR/check.want")"
	out=$("$TOOL" explain --trace --db "socket:$QDB_SOCKET" "$(client_ip 2)" tcp $SERVER 80)
	is "explain by its rules" "$(jq -r '"\(.verdict) \(.rule)"' <<<"$out")" "accept 0000"
	qdb_stop
	rules 1 action=accept
	rules6 2 action=accept
	: >"$DIR/keys"
	db_text >"$DIR/check.db"
	qdb_start --load "$DIR/check.db"
	out=$("$TOOL" check --db "socket:$QDB_SOCKET")
	is "status without a problem" $? 0
	is "how many sources" "$out" "5 sources, no problems"
	qdb_stop
}
scenario R10_check_of_file_and_QubesDB checked
