# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash disable=SC3043,SC2015 # local; a && b || bad
# What `make demo` shows, in dom0. Lines that start with `+` are steps of the way
# up, others are printed as they are; `@bad` means that the demo failed.

NET=10.137.0.1
WEB=198.51.100.1
bad=0

step() { report "+ $*"; }
out() { report "  $*"; }
bad()
{
	bad=1
	report "  UNEXPECTED: $*"
}

up()
{
	"$@" >/run/lab/out 2>&1 || {
		report "@bad $* failed: $(tail -n 3 /run/lab/out | tr '\n' ' ')"
		send_evidence
		report '@done'
		exit 1
	}
}

# try GUEST ADDRESS PORT WANTED: one TCP connection, as a person would tell it
try()
{
	local line ms

	line=$(guest "$1" "peer tcp $2 $3 ms=3000")
	ms=$(value ms "$line")
	case "$(value result "$line") $(value icmp "$line")" in
	'ok -1') out "$1 -> $2 port $3: connected, echo after $ms ms" ;;
	*' 13') out "$1 -> $2 port $3: refused after $ms ms (ICMP administratively prohibited)" ;;
	*) out "$1 -> $2 port $3: $line" ;;
	esac
	case "$4 $(value result "$line") $(value icmp "$line")" in
	'open ok -1' | 'closed '*' 13') ;;
	*) bad "wanted $4" ;;
	esac
}

# qvm ARGS...: the command, and that its commit is in force
qvm()
{
	local before begin

	out "\$ qvm-firewall $*"
	before=$(handled 1)
	qvm-firewall "$@" >/run/lab/qvm.out 2>&1 || bad "$(cat /run/lab/qvm.out)"
	begin=$(now_ms)
	commit=$(wall_ms)
	qdb differs "/qubes-firewall-handled/$(app_ip 1)" "$before" 3 >/dev/null &&
		out "  (in force $(($(now_ms) - begin)) ms after the commit)" || bad 'not in force after 3 s'
}

list_rules()
{
	out "\$ qvm-firewall app1 list"
	qvm-firewall app1 list | while IFS= read -r line; do out "$line"; done
}

rate()
{
	guest app1 "iperf3 -J -c $NET -t 5 $1" 30 | jq -r '.end.sum_received.bits_per_second / 1e6 | floor'
}

show_cut()
{
	local keep cut line

	keep=$(guest_bg app1 "peer stream tcp $WEB 80 10 6" 30)
	cut=$(guest_bg app1 "peer stream tcp $WEB 443 10 6" 30)
	sleep 2
	qvm app1 del accept "$WEB" tcp 443
	line=$(guest_wait app1 "$cut" 30)
	after=$(($(value last "$line") - commit))
	out "established connection to port 443: $(value received "$line") echoes of $(value sent "$line")," \
		"dead $([ $after -lt 0 ] && echo "at the commit" || echo "$after ms after the commit")"
	[ $after -le 1000 ] || bad 'it lived on'
	line=$(guest_wait app1 "$keep" 30)
	out "established connection to port 80:  $(value received "$line") echoes of $(value sent "$line")," \
		"longest pause $(value max_gap_ms "$line") ms"
	[ "$(value lost "$line")" = 0 ] || bad 'it lost something'
}

config_net
config_fw
config_app 1
config_app 2
step 'dom0 is up; starting net, the upstream (Linux, kernel netback)'
up start net
step 'starting fw: ringfenced, no kernel network driver'
up start_fw
step "starting app1 ($(app_ip 1), Linux, kernel netfront)"
up rules 1 "action=accept dst4=$WEB/32 proto=tcp dstports=80-80" 'action=accept dst4=10.137.0.1/32' action=drop
up start app1
step "starting app2 ($(app_ip 2))"
up rules 2 action=accept
up start app2
report '@up'

report 'The rules of app1'
list_rules
report 'An allowed connection, a forbidden one, and another qube with its own rules'
try app1 $WEB 80 open
try app1 $WEB 443 closed
try app2 $WEB 443 open
report 'Open port 443'
qvm app1 add --before 0 accept $WEB tcp 443
try app1 $WEB 443 open
report 'Close it again while connections to both ports are established'
show_cut
try app1 $WEB 443 closed
report 'Throughput of app1 (iperf3, in virtual time: it compares, it is not your hardware)'
out "to net:   $(rate '') Mbit/s"
out "from net: $(rate -R) Mbit/s"
report 'ringfence status, the short of it'
fw_status '{qubesdb: .qubesdb.state,
	clients: [.clients[] | {name, ip, rx_frames, rx_gso, tx_frames, tx_gso}],
	uplink: (.uplink | {name, ip, rx_frames, rx_gso, tx_frames, tx_gso}),
	sources: [.sources[] | {ip, state, rules, handled, accepted, rejected}],
	drops: (.drops | with_entries(select(.value > 0)))}' >/run/lab/status.json
jq -c '.clients[], .uplink, .sources[], {qubesdb, drops}' /run/lab/status.json |
	while IFS= read -r line; do out "$line"; done
[ $bad = 0 ] || {
	send_evidence
	report '@bad something above was not as it should be'
}
