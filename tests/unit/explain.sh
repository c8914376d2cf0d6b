#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The built ringfence command against the conformance cases, and its command
# line: what it prints, what it refuses, with which exit code.
#
# RINGFENCE: the command (build/ringfence). Ends with "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

RINGFENCE=${RINGFENCE:-build/ringfence}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0

result() { # ok? what
	if [ "$1" = 1 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "not ok: $2"
	fi
}

# field NAME: a string of the JSON object in $out
field() {
	local re="\"$1\": \"([^\"]*)\""
	[[ $out =~ $re ]] && printf '%s' "${BASH_REMATCH[1]}"
}

write_tree() { # source tree
	local pair rest=$2
	[ "$rest" = - ] && return
	while :; do
		pair=${rest%%|*}
		printf '/qubes-firewall/%s/%s = %s\n' "$1" "${pair%%=*}" "${pair#*=}"
		[ "$pair" = "$rest" ] && break
		rest=${rest#*|}
	done
	printf '/qubes-firewall/%s =\n' "$1"
}

# One conformance case. Names: NAME=ADDR,... joined by ";", perhaps none.
run_case() { # id source tree names packet verdict rule
	local resolve=() words name out
	write_tree "$2" "$3" >"$dir/db"
	IFS=';' read -ra words <<<"$4"
	for name in "${words[@]}"; do
		resolve+=(--resolve "$name")
	done
	IFS=' ' read -ra words <<<"$5"
	out=$("$RINGFENCE" explain --db "$dir/db" "${resolve[@]}" "$2" "${words[@]}" 2>&1)
	if [ "$(field verdict)" = "$6" ] && [ "$(field rule)" = "$7" ]; then
		result 1 "$1"
	else
		result 0 "$1: $2 $5: want $6 $7, got: $out"
	fi
}

# Tabs would be merged by read (an empty column vanishes): another separator.
run_file() {
	local cases=0 id source tree names packet verdict rule
	while IFS=$'\037' read -r id source tree names packet verdict rule; do
		case $id in '' | '#'*) continue ;; esac
		run_case "$id" "$source" "$tree" "$names" "$packet" "$verdict" "$rule"
		cases=$((cases + 1))
	done < <(tr '\t' '\037' <"$1")
	echo "$1: $cases cases"
	[ "$cases" -gt 100 ]
	result $((!$?)) "$1: more than 100 cases"
}

# expect CODE STDOUT-REGEX STDERR-REGEX argument...: stderr is at most one line
expect() {
	local code=$1 want_out=$2 want_err=$3 got out err
	shift 3
	"$RINGFENCE" "$@" >"$dir/out" 2>"$dir/err"
	got=$?
	out=$(cat "$dir/out") err=$(cat "$dir/err")
	if [ "$got" = "$code" ] && [[ $out =~ $want_out ]] && [[ $err =~ $want_err ]] &&
		[ "$(wc -l <"$dir/err")" -le 1 ]; then
		result 1 "$*"
	else
		result 0 "$*: exit $got, want $code; stdout: $out; stderr: $err"
	fi
}

command_line() {
	local db=$dir/db out
	expect 2 '^$' 'no command' # bare
	expect 2 '^$' 'unknown command "frob"' frob
	expect 0 '^usage: ringfence' '^$' --help
	expect 0 '^ringfence [0-9]' '^$' --version
	expect 0 '^usage: ringfence' '^$' explain --help
	expect 0 '^usage: ringfence' '^$' check --help
	expect 0 '^usage: ringfence' '^$' status --help

	write_tree 10.137.0.5 'policy=drop|0000=action=accept proto=tcp dsthost=a.test' >"$db"
	write_tree fd09::5 'policy=accept' >>"$db"
	expect 1 '^$' "explain: $dir/none: No such file or directory: no ringfenced" \
		explain --control "$dir/none" 10.137.0.5 tcp 1.2.3.4 80
	expect 2 '^$' '--db and --control: one of them' \
		explain --db "$db" --control "$dir/none" 10.137.0.5 tcp 1.2.3.4 80
	expect 2 '^$' '--resolve needs --db' explain --resolve a.test= 10.137.0.5 tcp 1.2.3.4 80
	expect 2 '^$' '--db needs a value' explain 10.137.0.5 tcp 1.2.3.4 80 --db
	expect 2 '^$' 'bad option --frob' explain --frob --db "$db" 10.137.0.5 tcp 1.2.3.4 80
	expect 2 '^$' 'needs SRC PROTO DST' explain --db "$db"
	expect 2 '^$' 'needs SRC PROTO DST' explain --db "$db" 10.137.0.5 tcp
	expect 2 '^$' 'needs SRC PROTO DST' explain --db "$db" 10.137.0.5 tcp 1.2.3.4 80 81
	expect 2 '^$' 'SRC: "10.137.0" is not an address' explain --db "$db" 10.137.0 tcp 1.2.3.4 80
	expect 2 '^$' 'DST: "web" is not an address' explain --db "$db" 10.137.0.5 tcp web 80
	expect 2 '^$' 'SRC 10.137.0.5 is IPv4, DST ::1 is IPv6' \
		explain --db "$db" 10.137.0.5 tcp ::1 80
	expect 2 '^$' '"sctp" is not tcp' explain --db "$db" 10.137.0.5 sctp 1.2.3.4 80
	expect 2 '^$' '"256" is not tcp' explain --db "$db" 10.137.0.5 256 1.2.3.4
	expect 2 '^$' 'tcp needs a port' explain --db "$db" 10.137.0.5 tcp 1.2.3.4
	expect 2 '^$' 'icmp needs an ICMP type' explain --db "$db" 10.137.0.5 icmp 1.2.3.4
	expect 2 '^$' '"65536" is not a port' explain --db "$db" 10.137.0.5 tcp 1.2.3.4 65536
	expect 2 '^$' '"" is not a port' explain --db "$db" 10.137.0.5 tcp 1.2.3.4 ""
	expect 2 '^$' '"256" is not an ICMP type' explain --db "$db" 10.137.0.5 icmp 1.2.3.4 256
	expect 2 '^$' 'protocol 47 has no port' explain --db "$db" 10.137.0.5 47 1.2.3.4 80
	expect 2 '^$' '"a.test" is not NAME=ADDR' \
		explain --db "$db" --resolve a.test 10.137.0.5 tcp 1.2.3.4 80
	expect 2 '^$' 'missing' explain --db "$dir/missing" 10.137.0.5 tcp 1.2.3.4 80
	expect 2 '^$' "$dir" explain --db "$dir" 10.137.0.5 tcp 1.2.3.4 80

	expect 0 '"verdict": "accept".*"rule": "0000".*"key": "/qubes-firewall/10.137.0.5/0000".*"text": "action=accept proto=tcp dsthost=a.test"' \
		'^$' explain --db "$db" --resolve a.test=9.9.9.9 --resolve a.test=1.2.3.4 \
		10.137.0.5 tcp 1.2.3.4 80
	expect 0 '"rule": "0000"' '^$' explain --db="$db" --resolve=a.test=1.2.3.4 \
		10.137.0.5 6 1.2.3.4 80
	expect 0 '"rule": "policy".*"text": "drop".*"unresolved": \[[^]]*"a.test"' '^$' \
		explain --db "$db" 10.137.0.5 tcp 1.2.3.4 80
	expect 0 '"verdict": "accept".*"rule": "policy"' '^$' \
		explain --db "$db" FD09:0::5 icmp 2001:db8::1 128
	expect 0 '"names": .*"a.test": .*"state": "resolved".*"addresses": .*"9.9.9.9",.*"1.2.3.4"' '^$' \
		explain --db "$db" --resolve a.test=9.9.9.9,1.2.3.4 10.137.0.5 udp 1.2.3.4 80
	expect 0 '"verdict": "drop".*"rule": "none"' '^$' explain --db "$db" 10.137.0.6 47 1.2.3.4
	expect 0 '"verdict": "drop".*"rule": "none"' '^$' explain --db "$db" fd09::6 58 ::1 128
	expect 0 '^2 sources, no problems$' '^$' check --db "$db"

	# 10.137.0.1 must not catch 10.137.0.10; a base key alone is a commit.
	write_tree 10.137.0.10 'policy=accept' >"$db"
	expect 0 '"rule": "none"' '^$' explain --db "$db" 10.137.0.1 tcp 1.2.3.4 80
	echo '/qubes-firewall/10.137.0.1 = anything' >>"$db"
	expect 0 '"verdict": "reject".*"rule": "malformed".*"path": "/qubes-firewall/10.137.0.1/policy"' \
		'^$' explain --db "$db" 10.137.0.1 tcp 1.2.3.4 80
	expect 1 '^/qubes-firewall/10.137.0.1/policy: missing$' '^$' check --db "$db"

	# DNS servers: the file's keys, or else the constants of Qubes.
	write_tree 10.137.0.5 'policy=drop|0000=action=accept specialtarget=dns' >"$db"
	expect 0 '"rule": "0000"' '^$' explain --db "$db" 10.137.0.5 udp 10.139.1.2 53
	echo '/qubes-primary-dns =' >>"$db" # there, but no address: no server
	expect 0 '"rule": "policy"' '^$' explain --db "$db" 10.137.0.5 udp 10.139.1.2 53
	echo '/qubes-netvm-secondary-dns = 9.9.9.9' >>"$db"
	expect 0 '"rule": "policy"' '^$' explain --db "$db" 10.137.0.5 udp 10.139.1.2 53
	expect 0 '"rule": "0000"' '^$' explain --db "$db" 10.137.0.5 udp 9.9.9.9 53
}

# A trace has one line for each rule before the one that decided, and no other.
trace() { # WANT argument...: its lines, joined by "|"
	local want=$1 got
	shift
	got=$("$RINGFENCE" explain --trace --db "$dir/db" --resolve w.test=1.2.3.4,1.2.3.5 "$@" |
		sed -n '/"trace": \[/,/\]/ s/^ *"\(.*\)",\{0,1\}$/\1/p' | paste -sd '|')
	[ "$got" = "$want" ]
	result $((!$?)) "trace $*: got $got"
}

traces() {
	local udp port name
	udp="0000: proto=udp: packet is tcp"
	port="0003: dstports=80-90: port is 443"
	name="0007: dsthost=w.test: 9.9.9.9 is none of its 2 addresses"
	write_tree 10.137.0.5 'policy=drop|0000=action=accept proto=udp|0003=action=bogus' >"$dir/db"
	trace "" 10.137.0.5 tcp 9.9.9.9 443 # malformed: no rule was tried
	write_tree 10.137.0.5 'policy=drop|0000=action=accept proto=udp|0003=action=accept proto=tcp dstports=80-90|0007=action=accept dsthost=w.test|00010=action=accept dsthost=un.test|0011=action=drop specialtarget=dns' \
		>"$dir/db"
	trace "" 10.137.0.5 udp 1.2.3.4 1
	trace "$udp" 10.137.0.5 tcp 9.9.9.9 80
	trace "$udp|$port" 10.137.0.5 tcp 1.2.3.5 443
	trace "$udp|$port|$name|00010: dsthost=un.test: does not resolve|0011: specialtarget=dns: port is 443" \
		10.137.0.5 tcp 9.9.9.9 443
	trace "" 10.137.0.6 tcp 9.9.9.9 443
	expect 0 '"trace": \[\]' '^$' explain --trace --db "$dir/db" 10.137.0.6 tcp 9.9.9.9 443
	expect 0 '^[^[]*$' '^$' explain --db "$dir/db" 10.137.0.6 tcp 9.9.9.9 443
}

# Settings: every problem, beside those of the rules
settings() {
	local db=$dir/db
	write_tree 10.137.0.5 'policy=drop|0000=action=accept  proto=sctp expire=1|0001=dst4=1.2.3.4/33' >"$db"
	cat >>"$db" <<-END
		/connected-ips = 10.137.0.5 10.137.0 x
		/connected-ips6 = 10.137.0.5
		/qubes-primary-dns = 10.139.1
		/mapped-ip/10.137.0.5/visible-ip = 192.168.0.9
		/vm-config/ringfence-eim = everybody
		/vm-config/ringfence-flows = 10.137.0.5=many
		/vm-config/ringfence-frob = 1
		/vm-config/ringfence-log-level = loud
		/vm-config/ringfence-wildcard-10.137.0.5 = *.test
	END
	expect 1 '' '^$' check --db "$db"
	sort "$dir/out" >"$dir/got"
	sort >"$dir/want" <<-END
		/qubes-firewall/10.137.0.5/0000: two spaces at offset 13
		/qubes-firewall/10.137.0.5/0000: proto: "sctp" is not tcp, udp or icmp
		/qubes-firewall/10.137.0.5/0000: expire: never valid in QubesDB
		/qubes-firewall/10.137.0.5/0001: dst4: "1.2.3.4/33" has no prefix length of 0 to 32
		/qubes-firewall/10.137.0.5/0001: action: missing
		/connected-ips: "10.137.0": not an address
		/connected-ips: "x": not an address
		/connected-ips6: "10.137.0.5": not an address
		/qubes-primary-dns: "10.139.1" is not an IPv4 address
		/mapped-ip/10.137.0.5/visible-ip: "192.168.0.9" has no visible-gateway: ignored
		/vm-config/ringfence-eim: "everybody": not an address
		/vm-config/ringfence-flows: "10.137.0.5=many": not ADDRESS=NUMBER
		/vm-config/ringfence-frob: "1": no such key
		/vm-config/ringfence-log-level: "loud": no level
		/vm-config/ringfence-wildcard-10.137.0.5: "*.test": not a name
	END
	diff "$dir/want" "$dir/got"
	result $((!$?)) "check: every problem of settings with its path"
	# A bad setting blocks nobody.
	write_tree 10.137.0.5 'policy=drop|0000=action=accept' >"$db"
	echo '/connected-ips = x' >>"$db"
	expect 1 '^/connected-ips: "x": not an address$' '^$' check --db "$db"
	expect 0 '"verdict": "accept"' '^$' explain --db "$db" 10.137.0.5 tcp 1.2.3.4 80
}

problems() {
	local db=$dir/db out
	: >"$db"
	expect 0 '^0 sources, no problems$' '^$' check --db "$db"
	printf '# comment\n\n' >"$db"
	write_tree 10.137.0.5 'policy=drop|0000=action=accept' >>"$db"
	expect 0 '^1 source, no problems$' '^$' check --db "$db"
	{
		write_tree 10.137.0.6 'policy=drop|0000=action=accept|0001=action=accept '
		write_tree 10.137.0.7 '0003=action=accept dstports=90-80 expire=1|x=y'
		write_tree 10.137.0.x 'policy=drop'
		write_tree fd09::5 'policy=drop|0000=action=drop dst4=1.2.3.4'
		echo "/qubes-firewall/FD09:0::5/policy = accept"
	} >>"$db"
	expect 1 '' '^$' check --db "$db"
	sort "$dir/out" >"$dir/got"
	sort >"$dir/want" <<-END
		/qubes-firewall/10.137.0.6/0001: trailing space
		/qubes-firewall/10.137.0.7/policy: missing
		/qubes-firewall/10.137.0.7/0003: dstports: "90-80" is reversed
		/qubes-firewall/10.137.0.7/0003: expire: never valid in QubesDB
		/qubes-firewall/10.137.0.7/x: neither policy nor a number of at least four digits
		/qubes-firewall/10.137.0.x: not an address
		/qubes-firewall/FD09:0::5: the same source as /qubes-firewall/fd09::5
		/qubes-firewall/fd09::5/0000: dst4: "1.2.3.4" in the rules of an IPv6 source
	END
	diff "$dir/want" "$dir/got"
	result $((!$?)) "check: every problem with its path"
	# Of two spellings of an address, the one that dom0 writes.
	expect 0 '"rule": "malformed"' '^$' explain --db "$db" fd09::5 tcp ::1 80
	# One bad source never touches another (R10).
	expect 0 '"rule": "0000"' '^$' explain --db "$db" 10.137.0.5 tcp 1.2.3.4 80
	printf '/qubes-firewall/a\tb/policy = drop\n' >"$db"
	expect 2 '^$' "$db:1: " check --db "$db"
	printf '/qubes-firewall/10.137.0.5/%s\n' 'policy = drop' \
		'0000 = action=accept proto=tcp\t' '0001 = action=accept\xff' '0002 = ' >"$db"
	printf '%b' "$(cat "$db")\n" >"$db.raw"
	expect 1 '/0000: byte .x09 at offset 23.*/0001: byte .xff at offset 13.*/0002: empty rule' '^$' \
		check --db "$db.raw"
	expect 2 '^$' '--db DB' check
	expect 2 '^$' '--db DB' check --db "$db" more
	expect 2 '^$' 'missing' check --db "$dir/missing"
	echo 'no equals sign' >"$db"
	expect 2 '^$' "$db" check --db "$db"
}

status() {
	expect 1 '^$' "status: $dir/none: No such file or directory: no ringfenced" \
		status --control "$dir/none"
	expect 1 '^$' 'File name too long' status --control "$dir/$(printf '%0200d' 0)"
	expect 1 '^$' 'status: .*: ' status --control "$dir/db"
	expect 2 '^$' 'takes no arguments' status now
	expect 2 '^$' 'bad option --db' status --db x
}

run_file tests/unit/conformance.tsv
[ -e ../shared/conformance/rules.tsv ] && run_file ../shared/conformance/rules.tsv
command_line
traces
settings
problems
status
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
