# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034,SC2016,SC2119,SC2120 # used by those that source it
#
# The rig of network namespaces, for run.sh and the scenario_*.sh files.
#
#	c1 --tap--+                        +-- 10.137.0.1 the gateway
#	c2 --tap--+-- ringfenced --tap-- up -- 192.0.2.1-3, 10.139.1.1-2 servers
#	c3 --tap--+   (in fw)               +-- veth, MTU 1300 -- far 198.51.100.2
#
# Everything but c3 has an IPv6 address as well: fd09:24ef:4179::a89:N as Qubes
# gives them, 2001:db8:2::1-3 the servers, 2001:db8:51::2 far. On the echo servers'
# ports 53 only some addresses are taken; 192.0.2.53-54 are free for a real one.
#
# Everything is in namespaces called rfnet-PID-*; the daemon opens its TAPs in
# fw, then each TAP moves to the namespace whose kernel is the peer. A TAP moved
# away stays attached. Nothing has a way out of the machine.
#
# A scenario is a function. It runs in run.sh's own shell and calls check, is,
# and above for each thing that must hold; it passes when all of them did.

FW_IP=10.137.0.4
UP_IP=10.137.0.1
SERVER=192.0.2.1
SERVER2=192.0.2.2
SERVER3=192.0.2.3
DNS=10.139.1.1
FAR=198.51.100.2
REAL_DNS=192.0.2.53
REAL_DNS2=192.0.2.54
FW_IP6=fd09:24ef:4179::a89:4
UP_IP6=fd09:24ef:4179::a89:1
SERVER6=2001:db8:2::1
SERVER6_2=2001:db8:2::2
SERVER6_3=2001:db8:2::3
FAR6=2001:db8:51::2
BACKEND_MAC=fe:ff:ff:ff:ff:ff
CLIENTS=(1 2 3)
CLIENTS6=(1 2) # those with an IPv6 address

client_ip() { echo "10.137.0.$((4 + $1))"; }
client_ip6() { printf 'fd09:24ef:4179::a89:%x\n' $((4 + $1)); }
client_mac() { echo "00:16:3e:5e:6c:0$((4 + $1))"; }

ns() { # NAME COMMAND...: in one of our namespaces
	local name=$1
	shift
	ip netns exec "$NS-$name" "$@"
}
c1() { ns c1 "$@"; }
c2() { ns c2 "$@"; }
c3() { ns c3 "$@"; }
up() { ns up "$@"; }
fw() { ns fw "$@"; }

wall_ms() { date +%s%3N; }

# in_family 4|6 FUNCTION: a scenario that is the same in both, in terms of
# F family, S S2 S3 servers, R beyond the router, G the firewall, U its gateway,
# A(N) a client's address, DST the rule option, frules and fcommit.
in_family() {
	F=$1
	if [ "$F" = 4 ]; then
		S=$SERVER S2=$SERVER2 S3=$SERVER3 R=$FAR G=$FW_IP U=$UP_IP DST=dst4
		A() { client_ip "$1"; }
		frules() { rules "$@"; }
		fcommit() { commit "$@"; }
	else
		S=$SERVER6 S2=$SERVER6_2 S3=$SERVER6_3 R=$FAR6 G=$FW_IP6 U=$UP_IP6 DST=dst6
		A() { client_ip6 "$1"; }
		frules() { rules6 "$@"; }
		fcommit() { commit6 "$@"; }
	fi
	"$2"
}
both() { # NAME FUNCTION
	scenario "$1_ipv4" in_family 4 "$2"
	scenario "$1_ipv6" in_family 6 "$2"
}

# --- what a scenario says -----------------------------------------------------------

complain() {
	echo "$*"
	scenario_bad=1
}

# check WHAT COMMAND...: it must succeed
check() {
	local what=$1 out
	shift
	if ! out=$("$@" 2>&1); then
		complain "$what: failed: $*"
		[ -z "$out" ] || printf '%s\n' "$out" | tail -n 5
	fi
}

# is WHAT GOT PATTERN: shell pattern
is() {
	# shellcheck disable=SC2053 # the right side is a pattern on purpose
	[[ $2 == $3 ]] || complain "$1: got \"$2\", want \"$3\""
}

# above WHAT GOT LIMIT; within WHAT GOT LIMIT: numbers
above() {
	[ "$2" -gt "$3" ] 2>/dev/null || complain "$1: got \"$2\", want more than $3"
}
within() {
	[ "$2" -le "$3" ] 2>/dev/null || complain "$1: got \"$2\", want at most $3"
}

# wait_for SECONDS COMMAND...: until it succeeds
wait_for() {
	local end=$(($(wall_ms) + $1 * 1000))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(wall_ms)" -lt "$end" ] || return 1
		sleep 0.02
	done
}

# --- QubesDB ---------------------------------------------------------------------------

# rules N RULE...: what client N's subtree will be: rules 0000.. and policy drop.
# A first argument of the form policy=... changes that. rules6 is the same for the
# subtree of its IPv6 address, which has a life of its own.
rules() { rules_of "$(client_ip "$1")" "${@:2}"; }
rules6() { rules_of "$(client_ip6 "$1")" "${@:2}"; }
rules_of() { # ADDRESS RULE...
	local file=$DIR/rules/$1 i=0
	shift
	{
		case ${1-} in
		policy=*)
			echo "policy = ${1#policy=}"
			shift
			;;
		*) echo "policy = drop" ;;
		esac
		for rule; do
			printf '%04d = %s\n' $i "$rule"
			i=$((i + 1))
		done
	} >"$file"
}

no_rules() { rm -f "$DIR/rules/$(client_ip "$1")"; }
no_rules6() { rm -f "$DIR/rules/$(client_ip6 "$1")"; }

# key PATH VALUE, no_key PATH: another key than the usual ones, or another value,
# or one less; until the end of the scenario
key() { echo "$1 = $2" >>"$DIR/keys"; }
no_key() { echo "$1" >>"$DIR/keys"; }

# What dom0 would have written by the time of its commit, as a whole
db_text() {
	if [ ! -s "$DIR/keys" ]; then
		usual_keys
		return
	fi
	usual_keys | awk -F ' = ' 'first { other[$1] = $0; next }
		!($1 in other) { print }
		END { for (k in other) if (other[k] ~ / = /) print other[k] }' \
		first=1 "$DIR/keys" first=0 -
}
usual_keys() {
	local n files connected="" connected6=""
	for n in "${CLIENTS[@]}"; do connected+=${connected:+ }$(client_ip "$n"); done
	for n in "${CLIENTS6[@]}"; do connected6+=${connected6:+ }$(client_ip6 "$n"); done
	cat <<-END
		/qubes-ip = $FW_IP
		/qubes-gateway = $UP_IP
		/qubes-mac = $UPLINK_MAC
		/qubes-netmask = 255.255.255.255
		/qubes-primary-dns = ${DNS1:-10.139.1.1}
		/qubes-secondary-dns = ${DNS2:-10.139.1.2}
		/qubes-netvm-gateway = $FW_IP
		/qubes-netvm-primary-dns = 10.139.1.1
		/qubes-netvm-secondary-dns = 10.139.1.2
		/connected-ips = $connected
		/qubes-ip6 = $FW_IP6
		/qubes-gateway6 = $UP_IP6
		/qubes-netvm-gateway6 = $FW_IP6
		/connected-ips6 = $connected6
	END
	files=("$DIR"/rules/*)
	[ -e "${files[0]}" ] || return 0
	awk 'FNR == 1 { source = FILENAME; sub(".*/", "/qubes-firewall/", source)
			print source " = " }
		{ print source "/" $0 }' "${files[@]}"
}

# The file appears whole: a reader never sees half of it.
db_write() {
	db_text >"$DB.new" && mv "$DB.new" "$DB"
}

handled() { handled_of "$(client_ip "$1")"; }
handled6() { handled_of "$(client_ip6 "$1")"; }
handled_of() { # ADDRESS
	sed -n "s#^/qubes-firewall-handled/$1 = ##p" "$DB.out" 2>/dev/null
}
handled_after() { [ "$(handled_of "$1")" -gt "$2" ]; }

# commit N..., commit6 N...: write the file, wait until the daemon has put these
# clients' rules in force
commit() {
	local addresses=() n
	for n; do addresses+=("$(client_ip "$n")"); done
	commit_of "${addresses[@]}"
}
commit6() {
	local addresses=() n
	for n; do addresses+=("$(client_ip6 "$n")"); done
	commit_of "${addresses[@]}"
}
commit_of() { # ADDRESS...
	local address
	declare -A before
	for address; do before[$address]=$(handled_of "$address"); done
	db_write
	for address; do
		wait_for 3 handled_after "$address" "${before[$address]:-0}" ||
			complain "the commit of $address was not handled within 3 s"
	done
}

# allow_all: the state that most scenarios start from
allow_all() {
	local n
	for n in "${CLIENTS[@]}"; do rules "$n" action=accept; done
	for n in "${CLIENTS6[@]}"; do rules6 "$n" action=accept; done
}

# listening NAMESPACE PORT, listening_udp ...
listening() { [ -n "$(ns "$1" ss -Hltn "sport = $2")" ]; }
listening_udp() { [ -n "$(ns "$1" ss -Hlun "sport = $2")" ]; }

# --- the daemon --------------------------------------------------------------------------

status() { "$TOOL" status --control "$DIR/control.sock"; }

# stat FILTER: jq over the status
stat_of() { status | jq -r "$1"; }
client_stat() { # by the first of its addresses
	stat_of ".clients[] | select((.ip | split(\" \")[0]) == \"$(client_ip "$1")\") | .$2"
}
source_stat() { stat_of ".sources[] | select(.ip == \"$(client_ip "$1")\") | .$2"; }
source_stat6() { stat_of ".sources[] | select(.ip == \"$(client_ip6 "$1")\") | .$2"; }
drops() { stat_of ".drops[\"$1\"] // 0"; }

# link_is N true|false
link_is() { [ "$(client_stat "$1" link)" = "$2" ]; }

daemon_alive() { [ -n "${DAEMON:-}" ] && kill -0 "$DAEMON" 2>/dev/null; }

is_ready() { grep -q 'ringfenced: ready' "$DIR/daemon.log"; }
ready_or_gone() { "${READY:-is_ready}" || is_gone "$DAEMON"; }
has_control() { [ -n "$(status)" ]; }

# The TAPs are persistent: without a daemon they wait in fw for the next one.
# What is nowhere, at the start or because a scenario deleted it, is made.
tap_home() { # DEV NAMESPACE
	if ip -n "$NS-$2" link show "$1" >/dev/null 2>&1; then
		ip -n "$NS-$2" link set "$1" netns "$NS-fw"
	elif ! ip -n "$NS-fw" link show "$1" >/dev/null 2>&1; then
		ip -n "$NS-fw" tuntap add dev "$1" mode tap vnet_hdr
	fi
}
taps_home() {
	local n
	for n in "${CLIENTS[@]}"; do tap_home "c$n" "c$n"; done
	tap_home up0 up
}

taps_away() {
	local n ip
	for n in "${CLIENTS[@]}"; do
		ip=$(client_ip "$n")
		ip -n "$NS-fw" link set "c$n" netns "$NS-c$n"
		ip -n "$NS-c$n" -batch - <<-END
			link set c$n address $(client_mac "$n")
			link set c$n up
			address add $ip/32 dev c$n
			route add $FW_IP dev c$n src $ip
			route add default via $FW_IP dev c$n src $ip
		END
	done
	for n in "${CLIENTS6[@]}"; do
		ip=$(client_ip6 "$n")
		ip -n "$NS-c$n" -batch - <<-END
			address add $ip/128 dev c$n nodad
			route add $FW_IP6 dev c$n src $ip
			route add default via $FW_IP6 dev c$n src $ip
		END
	done
	# As Qubes does it; the other clients ask by ARP and neighbour discovery.
	ip -n "$NS-c1" neigh replace $FW_IP lladdr $BACKEND_MAC dev c1 nud permanent
	ip -n "$NS-c1" neigh replace $FW_IP6 lladdr $BACKEND_MAC dev c1 nud permanent
	ip -n "$NS-fw" link set up0 netns "$NS-up"
	ip -n "$NS-up" -batch - <<-END
		link set up0 address $BACKEND_MAC
		link set up0 up
		address add $UP_IP/32 dev up0
		route add $FW_IP dev up0 src $UP_IP
		address add $UP_IP6/128 dev up0 nodad
		route add $FW_IP6 dev up0 src $UP_IP6
	END
	watch_uplink
}

# Whatever leaves towards the uplink under another address is a leak. The
# capture runs as long as the device is there; leaks() reads it.
watch_uplink() {
	LEAK_FILES=$((${LEAK_FILES:-0} + 1))
	up tcpdump -i up0 -Q in -n -s 128 -U -w "$DIR/leak.$LEAK_FILES.pcap" \
		"not arp and not (ip and src host $FW_IP) and not (ip6 and src host $FW_IP6)" >/dev/null 2>&1 &
	TCPDUMP=$!
}

# Addresses that a scenario gives the firewall for a while, and watches itself
OTHER_IPS=()

leaks() {
	local i ip others=""
	for ip in "${OTHER_IPS[@]}"; do others+="${others:+ and }not src host $ip"; done
	for ((i = 1; i <= ${LEAK_FILES:-0}; i++)); do
		[ -s "$DIR/leak.$i.pcap" ] && tcpdump -n -r "$DIR/leak.$i.pcap" "$others" 2>/dev/null
	done
}

# daemon_start [OPTION...]: until it says ready, or until $READY succeeds
daemon_start() {
	local n ip6 args=()
	daemon_stop
	taps_home
	for n in "${CLIENTS[@]}"; do
		ip6=
		[[ " ${CLIENTS6[*]} " != *" $n "* ]] || ip6=,ip6=$(client_ip6 "$n")
		args+=(--tap "client=c$n,ip=$(client_ip "$n")$ip6,mac=$(client_mac "$n")")
	done
	# Not left to the redirection below: that child may come after our first look.
	[ ! -e "$DIR/daemon.log" ] || mv "$DIR/daemon.log" "$DIR/daemon.old.log"
	: >"$DIR/daemon.log"
	rm -f "$DB.out" "$DIR/control.sock"
	ip netns exec "$NS-fw" "$DAEMON_BIN" --tap "uplink=up0,mac=$UPLINK_MAC" "${args[@]}" \
		--qubesdb "${QUBESDB:-file:$DB}" --control "$DIR/control.sock" "$@" \
		>>"$DIR/daemon.log" 2>&1 </dev/null &
	DAEMON=$!
	wait_for 10 ready_or_gone
	if is_gone "$DAEMON" || ! "${READY:-is_ready}"; then
		complain "the daemon has ended, or is not ready after 10 s; its log ends:"
		tail -n 20 "$DIR/daemon.log"
		return 1
	fi
	taps_away
	# The uplink's neighbour has to be found before the first packet counts.
	[ -n "${READY:-}" ] || wait_for 3 c1 ping -c 1 -W 1 -q $UP_IP || true
	[ -n "${READY:-}" ] || wait_for 3 c1 ping -c 1 -W 1 -q $UP_IP6 || true
}

# daemon_stop: in order; a bad end is a complaint (leaks, sanitizers)
daemon_stop() {
	local rc=0
	[ -n "${TCPDUMP:-}" ] && kill "$TCPDUMP" 2>/dev/null && wait "$TCPDUMP" 2>/dev/null
	TCPDUMP=
	[ -n "${DAEMON:-}" ] || return 0
	kill -TERM "$DAEMON" 2>/dev/null
	if ! wait_for 5 is_gone "$DAEMON"; then
		complain "the daemon did not end within 5 s of SIGTERM"
		kill -KILL "$DAEMON"
	fi
	wait "$DAEMON" 2>/dev/null || rc=$?
	DAEMON=
	if [ $rc -ne 0 ]; then
		complain "the daemon ended with status $rc; its log ends:"
		tail -n 40 "$DIR/daemon.log"
	fi
	return 0
}

# A child that has ended stays until wait(): that is gone, too.
is_gone() {
	local state
	state=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) || return 0
	[ "${state%% *}" = Z ]
}

# A healthy rig for a scenario: the daemon is there, everybody may do everything
rig_default() {
	local file base changed=()
	rm -f "$DIR/rules"/*
	: >"$DIR/keys"
	allow_all
	if ! daemon_alive || [ -n "${RIG_DIRTY:-}" ]; then
		RIG_DIRTY=
		db_write
		daemon_start
		return
	fi
	# Only a source whose text changes is committed again.
	db_text >"$DB.new"
	for file in "$DIR"/rules/*; do
		base=/qubes-firewall/$(basename "$file")
		cmp -s <(grep "^${base}[/ ]" "$DB") <(grep "^${base}[/ ]" "$DB.new") ||
			changed+=("${base##*/}")
	done
	commit_of "${changed[@]}"
}

# --- up and down ----------------------------------------------------------------------------

rig_up() {
	local n
	for n in fw up far "${CLIENTS[@]/#/c}"; do
		ip netns add "$NS-$n"
		# No autoconfiguration, no link-local addresses, multicast reports at
		# once: nothing comes that a scenario did not send. The firewall's own
		# kernel has no IPv6 at all.
		ns "$n" sh -c '
			for f in all default; do
				echo 0 >/proc/sys/net/ipv4/conf/$f/rp_filter
				cd /proc/sys/net/ipv6/conf/$f
				echo 0 >accept_ra
				echo 0 >accept_dad
				echo 0 >router_solicitations
				echo 1 >addr_gen_mode
				echo 1 >mldv2_unsolicited_report_interval
			done
			echo 0 >/proc/sys/net/ipv4/icmp_ratelimit
			echo 0 >/proc/sys/net/ipv6/icmp/ratelimit
			ip link set lo up'
	done
	fw sh -c 'echo 1 | tee /proc/sys/net/ipv6/conf/*/disable_ipv6 >/dev/null'
	# A router looks for its neighbours from its link-local address.
	for n in up far; do ns $n sh -c 'echo 0 >/proc/sys/net/ipv6/conf/default/addr_gen_mode'; done
	for n in $SERVER $SERVER2 $SERVER3 10.139.1.1 10.139.1.2 $REAL_DNS $REAL_DNS2; do
		ip -n "$NS-up" address add "$n/32" dev lo
	done
	for n in $SERVER6 $SERVER6_2 $SERVER6_3; do ip -n "$NS-up" address add "$n/128" dev lo; done
	ip -n "$NS-up" link add far0 mtu 1300 type veth peer name up0 netns "$NS-far" mtu 1300
	ip -n "$NS-up" -batch - <<-END
		address add 198.51.100.1/24 dev far0
		address add 2001:db8:51::1/64 dev far0 nodad
		link set far0 up
	END
	ip -n "$NS-far" -batch - <<-END
		address add $FAR/24 dev up0
		address add $FAR6/64 dev up0 nodad
		link set up0 up
		route add default via 198.51.100.1
		route add default via 2001:db8:51::1
	END
	up sh -c 'echo 1 | tee /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding \
		>/dev/null'
	for n in 0.0.0.0 ::; do
		background up "$PEER" serve $n 7 80 443 8080 9000
		background far "$PEER" serve $n 7 80 9000
	done
	for n in 10.139.1.1 10.139.1.2 $SERVER $SERVER6; do background up "$PEER" serve "$n" 53; done
	# Bound, so that UDP is answered from the address that was asked.
	for n in $SERVER $SERVER2 $SERVER6 $SERVER6_2; do background up iperf3 -s -B "$n"; done
	for n in "${CLIENTS[@]}"; do background "c$n" "$PEER" serve 0.0.0.0 80; done
	for n in "${CLIENTS6[@]}"; do background "c$n" "$PEER" serve :: 80; done
	background fw "$PEER" serve 0.0.0.0 80
}

# background NAMESPACE COMMAND...: until the end of the run
background() {
	local name=$1
	shift
	ip netns exec "$NS-$name" "$@" >"$DIR/background.log" 2>&1 </dev/null &
	PIDS+=($!)
}

# service NAMESPACE COMMAND...: until the end of the scenario; its output is in
# $DIR/service.PROGRAM
service() {
	local name=$1
	shift
	ip netns exec "$NS-$name" "$@" >"$DIR/service.$(basename "$1")" 2>&1 </dev/null &
	SERVICES+=($!)
}
services_stop() {
	local pid
	for pid in "${SERVICES[@]}"; do kill "$pid" 2>/dev/null; done
	for pid in "${SERVICES[@]}"; do
		wait_for 2 is_gone "$pid" || kill -KILL "$pid"
		wait "$pid" 2>/dev/null
	done
	SERVICES=()
}

rig_down() {
	local n pid
	for pid in "${DAEMON:-}" "${TCPDUMP:-}" "${PIDS[@]}" "${SERVICES[@]}"; do
		[ -n "$pid" ] && kill -KILL "$pid" 2>/dev/null
	done
	wait 2>/dev/null
	for n in fw up far load "${CLIENTS[@]/#/c}"; do
		[ -e "/run/netns/$NS-$n" ] || continue
		# What a scenario left running in there is ours, too.
		ip netns pids "$NS-$n" 2>/dev/null | xargs -r kill -KILL 2>/dev/null
		ip netns delete "$NS-$n"
	done
}
