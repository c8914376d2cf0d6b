#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# dom0's tools of the Xen lab, without Xen: the server's tree and socket side,
# and qvm-firewall's grammar, normal form and order of writes.
set -u
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build}
env -u MAKEFLAGS -u MFLAGS make -s BUILD="$BUILD" "$BUILD/xen/qubesdb-server" \
	"$BUILD/xen/qubesdb-cmd" "$BUILD/xen/qvm-firewall" || exit 1

dir=$(mktemp -d)
passed=0
failed=0
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; rm -rf "$dir"' EXIT

export QVM_TABLE=$dir/vms QVM_STATE=$dir/state
sock=$dir/fw.sock
printf 'app1 10.137.0.5 fd09::5 %s\napp2 10.137.0.50 - %s\n' "$sock" "$sock" >"$QVM_TABLE"
printf '# own keys\n\n/qubes-ip = 10.137.0.9\n/empty =\n/spaces =  two \n' >"$dir/load"

qvm() { "$BUILD/xen/qvm-firewall" "$@"; }
cmd() { "$BUILD/xen/qubesdb-cmd" -s "$sock" "$@"; }

# is WHAT GOT WANT
is() {
	if [ "$2" = "$3" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'test_qvm_firewall: %s\n  got  "%s"\n  want "%s"\n' "$1" "$2" "$3"
	fi
}

# refused WHAT COMMAND...: has to fail with one line, and to change nothing
refused() {
	local what=$1 before out
	shift
	before=$(cmd dump /)
	if out=$("$@" 2>&1); then
		is "$what: refused" "accepted: $out" ""
	else
		is "$what: one line" "$(wc -l <<<"$out")" 1
	fi
	is "$what: nothing written" "$(cmd dump /)" "$before"
}

# server OPTION...: until it answers; its pid is $server
server() {
	rm -f "$sock"
	"$BUILD/xen/qubesdb-server" 7 --no-vchan --socket "$sock" "$@" 2>>"$dir/log" &
	server=$!
	pids+=("$server")
	for _ in $(seq 100); do
		cmd list / >/dev/null 2>&1 && break
		sleep 0.05
	done
}
server --load "$dir/load"

# --- the server -------------------------------------------------------------
is "load: values" "$(cmd dump /)" '/empty = 
/qubes-ip = 10.137.0.9
/spaces =  two '
is "read" "$(cmd read /qubes-ip)" 10.137.0.9
cmd read /nothing 2>/dev/null
is "read: a miss" $? 1
cmd write /a/1 x /a/2 y /a z /ab w
is "list is by bytes, sorted" "$(cmd list /a | tr '\n' ' ')" "/a /a/1 /a/2 /ab "
cmd rm /a/
is "rm of a subtree leaves the key and its namesake" "$(cmd list /a | tr '\n' ' ')" "/a /ab "
cmd rm /a
is "rm of a key leaves the longer one" "$(cmd list /a)" "/ab"
cmd rm /zzz/ 2>/dev/null
is "rm: a miss" $? 1

# With a journal the tree outlives SIGKILL; a line without its end never happened.
killed() {
	{ kill -KILL "$server" && wait "$server"; } 2>/dev/null
	unset 'pids[-1]'
}
sock=$dir/journal.sock
server --journal "$dir/journal"
long=$(head -c 3071 /dev/zero | tr '\0' v)
cmd write /a/1 x /a/2 y /b '' /long "$long" /b ' b' /c z
cmd rm /a/
cmd rm /c
killed
printf '/d = half' >>"$dir/journal"
server --journal "$dir/journal"
is "journal: after SIGKILL" "$(cmd dump /)" "/b =  b
/long = $long"
cmd write /e 1
killed
server --journal "$dir/journal"
is "journal: and once more" "$(cmd list / | tr '\n' ' ')" "/b /e /long "
killed
sock=$dir/fw.sock
cmd write /bad/ x 2>/dev/null
is "write: a path that ends in /" $? 1
cmd write '/b d' x 2>/dev/null
is "write: a forbidden character" $? 1
long=$(head -c 3071 /dev/zero | tr '\0' v)
cmd write /long "$long"
is "a value of 3071 bytes" "$(cmd read /long)" "$long"
cmd write /long "${long}v" 2>/dev/null
is "a value of 3072 bytes" $? 1
key=/$(head -c 62 /dev/zero | tr '\0' k)
cmd write "$key" v
is "a path of 63 characters" "$(cmd read "$key")" v
cmd rm "$key" /long /ab

cmd watch /w/ 2 >"$dir/events" &
watcher=$!
cmd watch /w 2 >"$dir/exact" &
exact=$!
sleep 0.3
cmd write /w/1 a /w b /ww c /w/2/x d
cmd rm /w/
wait $watcher $exact
is "a watch on a directory" "$(tr '\n' ' ' <"$dir/events")" "/w/1 /w/2/x /w/ "
is "a watch on a key" "$(tr '\n' ' ' <"$dir/exact")" "/w "
(sleep 0.3; cmd write /n 2) &
cmd write /n 1
is "differs waits" "$(cmd differs /n 1 5)" 2
wait $!
cmd until /n 9 0
is "until: the time is over" $? 4
cmd rm /w /ww /n

# --- qvm-firewall -------------------------------------------------------------
is "nothing configured" "$(qvm app1 list --raw)" "action=accept"
cmd watch /qubes-firewall/ 2 >"$dir/events" &
watcher=$!
sleep 0.3
qvm --reload app1 list >/dev/null
qvm app1 add accept 1.2.3.4 tcp 80
wait $watcher
is "the order of an update" "$(tr '\n' ' ' <"$dir/events")" "\
/qubes-firewall/10.137.0.5/policy /qubes-firewall/10.137.0.5/0000 \
/qubes-firewall/10.137.0.5 \
/qubes-firewall/fd09::5/policy /qubes-firewall/fd09::5/0000 /qubes-firewall/fd09::5 \
/qubes-firewall/10.137.0.5/ /qubes-firewall/10.137.0.5/policy \
/qubes-firewall/10.137.0.5/0000 /qubes-firewall/10.137.0.5/0001 \
/qubes-firewall/10.137.0.5 \
/qubes-firewall/fd09::5/ /qubes-firewall/fd09::5/policy /qubes-firewall/fd09::5/0000 \
/qubes-firewall/fd09::5 "

is "gaps: the other family's rule keeps its index" "$(cmd dump /qubes-firewall/)" "\
/qubes-firewall/10.137.0.5 = 
/qubes-firewall/10.137.0.5/0000 = action=accept
/qubes-firewall/10.137.0.5/0001 = action=accept dst4=1.2.3.4/32 proto=tcp dstports=80-80
/qubes-firewall/10.137.0.5/policy = drop
/qubes-firewall/fd09::5 = 
/qubes-firewall/fd09::5/0000 = action=accept
/qubes-firewall/fd09::5/policy = drop"

qvm app2 del action=accept
is "never an empty list" "$(cmd read /qubes-firewall/10.137.0.50/0000)" "action=accept"
is "no IPv6 of a qube without it" "$(cmd list /qubes-firewall/fd09 | grep -vc fd09::5)" 0

# normal WORDS... = TEXT: what QubesDB gets for a rule
normal() {
	local want=${*: -1}
	qvm app2 reset
	qvm app2 add --before 0 "${@:1:$#-1}"
	is "normal form of ${*:1:$#-1}" "$(cmd read /qubes-firewall/10.137.0.50/0000)" "$want"
}
normal drop "action=drop"
normal accept example.com "action=accept dsthost=example.com"
normal accept 10.0.0.0/8 icmp 8 "action=accept dst4=10.0.0.0/8 proto=icmp icmptype=8"
normal action=accept dst4=1.2.3.4 "action=accept dst4=1.2.3.4/32"
normal action=accept dsthost=1.2.3.0/24 "action=accept dst4=1.2.3.0/24"
normal dstports=443 proto=udp action=drop "action=drop proto=udp dstports=443-443"
normal action=accept dstports=20-25 proto=tcp dsthost=a.b \
	"action=accept dsthost=a.b proto=tcp dstports=20-25"
normal action=accept specialtarget=dns proto=udp "action=accept proto=udp specialtarget=dns"
normal action=accept expire=+100 comment="for now" "action=accept"

qvm app2 reset
qvm app2 add --before 0 action=drop dst6=FD00::1
is "a rule of the other family is not sent" \
	"$(cmd list /qubes-firewall/10.137.0.50/ | tr '\n' ' ')" \
	"/qubes-firewall/10.137.0.50/0001 /qubes-firewall/10.137.0.50/policy "
qvm app1 reset
qvm app1 add --before 0 action=drop dst6=FD00::1/64
is "IPv6 text is kept as it was given" "$(cmd read /qubes-firewall/fd09::5/0000)" \
	"action=drop dst6=FD00::1/64"

qvm app2 reset
qvm app2 add --before 0 action=drop expire=1000
is "an expired rule keeps its index" \
	"$(cmd list /qubes-firewall/10.137.0.50/ | tr '\n' ' ')" \
	"/qubes-firewall/10.137.0.50/0001 /qubes-firewall/10.137.0.50/policy "
qvm app2 del --rule-no 0
is "del by number" "$(qvm app2 list --raw)" "action=accept"
qvm app2 add drop 8.8.8.8
qvm app2 add accept 8.8.4.4
qvm app2 del action=drop dst4=8.8.8.8
is "del by rule" "$(qvm app2 list --raw)" "action=accept
action=accept dst4=8.8.4.4/32"
qvm app2 add --before 1 drop 1.1.1.1
is "add --before" "$(qvm app2 list)" "0    action=accept
1    action=drop dst4=1.1.1.1/32
2    action=accept dst4=8.8.4.4/32"

refused "no action" qvm app2 add dst4=1.2.3.4
refused "unknown action" qvm app2 add reject
refused "unknown option" qvm app2 add action=drop dpi=http
refused "twice" qvm app2 add action=drop action=drop
refused "two destinations" qvm app2 add action=drop dst4=1.1.1.1 dsthost=a
refused "reversed ports" qvm app2 add action=drop proto=tcp dstports=90-80
refused "port too large" qvm app2 add action=drop proto=tcp dstports=70000
refused "ports without proto" qvm app2 add action=drop dstports=80
refused "ports of icmp" qvm app2 add action=drop proto=icmp dstports=80
refused "icmptype of tcp" qvm app2 add action=drop proto=tcp icmptype=8
refused "icmptype 256" qvm app2 add action=drop proto=icmp icmptype=256
refused "unknown proto" qvm app2 add action=drop proto=sctp
refused "bad prefix" qvm app2 add action=drop dst4=1.2.3.4/33
refused "bad host" qvm app2 add action=drop 'dsthost=a b'
refused "unknown qube" qvm nobody add drop
refused "no such rule" qvm app2 del --rule-no 99

for i in $(seq 1000); do echo "action=accept dst4=10.1.$((i / 250)).$((i % 250))/32"; done \
	>"$dir/thousand"
qvm app2 load "$dir/thousand"
is "1000 rules" "$(cmd list /qubes-firewall/10.137.0.50/ | wc -l)" 1001
is "the last of them" "$(cmd read /qubes-firewall/10.137.0.50/0999)" \
	"action=accept dst4=10.1.4.0/32"
for i in $(seq 4000); do echo "action=accept dst4=10.1.$((i / 250)).$((i % 250))/32"; done \
	>"$dir/many"
refused "more than qubesd accepts" qvm app2 load "$dir/many"

kill "${pids[0]}"
wait "${pids[0]}"
is "SIGTERM: an orderly end" $? 0
is "the socket is gone" "$([ -e "$sock" ] && echo there)" ""
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
