# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash disable=SC3043,SC2015,SC2154 # local; a && b || fail; dom0-lib.sh
# The scenarios of `make check-xen`, in dom0, all in one boot. Each function prints
# what it saw (shown when it fails) and returns 0 only when all of it was right.
# Numbers like 030 are those of the official integration tests that one mirrors.

# shellcheck source=tests/xen/packets.sh
. /lab/packets.sh
# shellcheck source=tests/xen/resync.sh
. /lab/resync.sh
# shellcheck source=tests/xen/qrexec.sh
. /lab/qrexec.sh

NET=10.137.0.1
WEB=198.51.100.1
DNS=10.139.1.1

fail()
{
	echo "$*"
	return 1
}

client_field()
{
	fw_status ".clients[] | select(.ip | split(\" \")[0] == \"$(app_ip "$1")\") | .$2"
}

drops() { fw_status ".drops[\"$1\"]"; }

# within MS COMMAND...: it must succeed, and in time
within()
{
	local limit=$1 begin took

	shift
	begin=$(now_ms)
	"$@" || fail "$*: failed" || return 1
	took=$(($(now_ms) - begin))
	echo "$1 $2 took $took ms"
	[ "$took" -le "$limit" ] || fail "$*: took $took ms, limit $limit"
}

# --- coming up ------------------------------------------------------------------
boot_net() { config_net && start net; }
boot_fw() { config_fw && start_fw; }
boot_app()
{
	config_app "$1" && rules "$1" action=accept && start "app$1"
}

# No kernel driver may have taken the vifs or the uplink.
fw_is_bare()
{
	local mods

	mods=$(guest fw 'cat /proc/modules; ls /proc/xen /dev/xen 2>/dev/null') || return 1
	echo "$mods"
	case $mods in *netback* | *netfront* | *xenfs* | *privcmd*) return 1 ;; esac
}

capture()
{
	guest_bg "$1" "tcpdump -U -i any -s 128 -c 6000 -w /run/cap.pcap \
		'not port 9000 and not port 9001 and not port 5201'" 3600 >/dev/null
}

# --- traffic: packets.sh, and --------------------------------------------------------
bulk()
{
	guest app1 "peer $1 $NET $2 200000000" 200
}

no_violations()
{
	local s

	s=$(fw_status '[.clients[].violations, .uplink.violations, .copy.failed] | add')
	[ "$s" = 0 ] || fail "protocol violations or failed copies: $s"
}

# --- rules ----------------------------------------------------------------------
# 030, 530: block all, only icmp, icmp and dns, one tcp destination, all but one.
# DNS servers have IPv4 addresses only.
static_rules()
{
	local net web len=32

	net=$(at net "$1")
	web=$(at web "$1")
	[ "$1" = 4 ] || len=128
	rules 1 action=drop || return 1
	refused_at_once app1 tcp "$net" 7000 && refused_at_once app1 udp "$net" 7000 || return 1
	rules 1 'action=accept proto=icmp' || return 1
	ping_from 1 "$1" && refused_at_once app1 tcp "$net" 7000 || return 1
	rules 1 'action=accept specialtarget=dns' 'action=accept proto=icmp' || return 1
	ping_from 1 "$1" && refused_at_once app1 tcp "$net" 7000 &&
		refused_at_once app1 udp "$net" 53 || return 1
	[ "$1" = 6 ] || { expect app1 ok udp $DNS 53 && expect app1 ok tcp $DNS 53; } || return 1
	rules 1 "action=accept dst$1=$web/$len proto=tcp dstports=80-80" action=drop || return 1
	expect app1 ok tcp "$web" 80 && refused_at_once app1 tcp "$web" 443 &&
		refused_at_once app1 tcp "$(at other "$1")" 80 || return 1
	rules 1 "action=drop dst$1=$web/$((len * 3 / 4)) proto=tcp" action=accept || return 1
	expect app1 ok tcp "$net" 7000 && refused_at_once app1 tcp "$web" 80
}

# A rule for one family says nothing about the other.
rules_are_per_family()
{
	rules 1 "action=accept dst4=$NET/32" action=drop || return 1
	expect app1 ok tcp $NET 7000 && refused_at_once app1 tcp "$(at net 6)" 7000 || return 1
	rules 1 "action=accept dst6=$(at net 6)/128" action=drop || return 1
	expect app1 ok tcp "$(at net 6)" 7000 && refused_at_once app1 tcp $NET 7000 &&
		rules 1 action=accept
}

# What the client sees is type 3 code 13, or ICMPv6 type 1 code 1.
reject_is_admin_prohibited()
{
	local out text='Packet filtered'

	[ "$1" = 4 ] || text='Administratively prohibited'
	rules 1 'action=accept proto=tcp' action=drop || return 1
	out=$(guest app1 "ping -$1 -c 2 -W 3 $(at net "$1")" 15)
	rules 1 action=accept || return 1
	echo "$out"
	case $out in *"$text"*) ;; *) fail "no \"$text\"" ;; esac
}

# The other qube's rules are its own.
rules_are_per_source()
{
	rules 1 action=drop && refused_at_once app1 tcp $NET 7000 &&
		expect app2 ok tcp $NET 7000 && rules 1 action=accept && expect app1 ok tcp $NET 7000
}

# 031, 531: established flows of one source at the moment of a commit
dynamic_rules()
{
	local tcp udp cut commit skew before after line net len=32

	net=$(at net "$1")
	[ "$1" = 4 ] || len=128
	rules 1 action=accept || return 1
	before=$(handled 1 "$1")
	# The clocks of two domains are both the hypervisor's; see that they agree.
	skew=$(guest app1 'date +%s%3N') || return 1
	skew=$((skew - $(wall_ms)))
	[ ${skew#-} -lt 500 ] || fail "clocks differ by $skew ms" || return 1
	tcp=$(guest_bg app1 "peer stream tcp $net 7000 10 8" 30)
	udp=$(guest_bg app1 "peer stream udp $net 7000 10 8" 30)
	cut=$(guest_bg app1 "peer stream tcp $net 7001 10 8" 30)
	sleep 3
	printf '%s\n' "action=drop dst$1=$net/$len proto=tcp dstports=7001-7001" action=accept >/run/lab/rules.txt
	qvm-firewall app1 load /run/lab/rules.txt || return 1
	commit=$(wall_ms)
	line=$(guest_wait app1 "$cut" 30)
	echo "forbidden: $line; commit at $commit"
	[ "$(value received "$line")" -gt 50 ] || fail "the forbidden flow did not run before" || return 1
	after=$(($(value last "$line") - commit))
	echo "last echo $after ms after the commit"
	[ "$after" -le 1000 ] || fail "the forbidden flow lived on" || return 1
	# tcp and udp print sent=received and exit 0 only when nothing was lost.
	guest_wait app1 "$tcp" 30 || fail "the allowed TCP flow lost something" || return 1
	line=$(guest_wait app1 "$udp" 30) || fail "the allowed UDP flow lost something: $line" || return 1
	echo "allowed UDP: $line"
	[ "$(value sent "$line")" -gt 300 ] || fail "the allowed flow hardly ran" || return 1
	[ "$(handled 1 "$1")" = $((before + 1)) ] ||
		fail "handled went from $before to $(handled 1 "$1")" || return 1
	refused_at_once app1 tcp "$net" 7001 && rules 1 action=accept &&
		expect app1 ok tcp "$net" 7001
}

malformed_blocks_one()
{
	local ip before

	ip=$(app_ip 1)
	before=$(handled 1)
	qdb rm "/qubes-firewall/$ip/" && qdb write "/qubes-firewall/$ip/policy" accept \
		"/qubes-firewall/$ip/0000" 'action=accept proto=sctp' "/qubes-firewall/$ip" '' || return 1
	qdb differs "/qubes-firewall-handled/$ip" "$before" 3 || return 1
	refused_at_once app1 tcp $NET 7000 && expect app2 ok tcp $NET 7000 || return 1
	# R10: nor does the other family of the same qube
	expect app1 ok tcp "$(at net 6)" 7000 || return 1
	fw_status ".sources[] | select(.ip == \"$ip\") | .state" | grep -qx malformed ||
		fail 'status does not say malformed' || return 1
	rules 1 action=accept && expect app1 ok tcp $NET 7000
}

# A tree that is half written is never visible.
only_commit_counts()
{
	local ip

	ip=$(app_ip 1)
	qdb rm "/qubes-firewall/$ip/" || return 1
	qdb write "/qubes-firewall/$ip/policy" drop "/qubes-firewall/$ip/0000" action=drop || return 1
	sleep 1
	expect app1 ok tcp $NET 7000 || return 1
	qdb write "/qubes-firewall/$ip" '' || return 1
	sleep 1
	refused_at_once app1 tcp $NET 7000 && rules 1 action=accept
}

# --- isolation -------------------------------------------------------------------
# 040, 540
inter_qube()
{
	local before fam

	guest app2 'peer serve' 60 >/dev/null &
	sleep 1
	for fam in 4 6; do
		before=$(drops inter-client)
		expect app1 timeout tcp "$(app_at 2 $fam)" 7000 ms=2000 || return 1
		guest app1 "ping -$fam -c 2 -i 0.3 -W 1 $(app_at 2 $fam)" &&
			fail 'ping reached another qube' && return 1
		guest app2 "ping -$fam -c 2 -i 0.3 -W 1 $(app_at 1 $fam)" &&
			fail 'ping reached another qube' && return 1
		[ "$(drops inter-client)" -gt "$before" ] || fail "IPv$fam: not counted" || return 1
	done
}

# 050, 550: another client's address, and one that nobody has
spoofing()
{
	local before src nobody=10.137.0.99/32 len=32

	[ "$1" = 4 ] || nobody=fd09:24ef:4179::a89:63 len='128 nodad'
	before=$(drops spoofed)
	for src in "$(app_at 2 "$1")" "${nobody%/*}"; do
		guest app1 "ip addr add $src/$len dev eth0; ping -c 3 -i 0.3 -W 1 -I $src $(at net "$1")
			r=\$?; ip addr del $src/${len% *} dev eth0; exit \$r" &&
			fail "spoofed source $src got answers" && return 1
	done
	[ "$(drops spoofed)" -ge $((before + 6)) ] || fail "spoofed: $before before, $(drops spoofed) now"
	ping_from 1 "$1"
}

inbound_new()
{
	local before line app

	app=$(app_at 1 "$1")
	before=$(drops inbound)
	guest_bg app1 'peer serve' 20 >/dev/null
	line=$(guest net "ip route replace $app via $(at gw "$1") dev vif$(domid fw).0 onlink
		peer tcp $app 7000 ms=2000; ip route del $app" 15)
	echo "$line"
	[ "$(value result "$line")" = timeout ] || fail 'a new flow from the uplink was answered' || return 1
	[ "$(drops inbound)" -gt "$before" ] || fail 'nothing was counted as inbound'
}

# Q1: no address was assigned, so nothing of the family passes: not to the upstream,
# not to the gateway, no discovery. The guest believes to have one.
without_ipv6()
{
	local before out

	before=$(drops ipv6)
	out=$(guest app3 'ip -6 addr show dev eth0; ip -6 route')
	echo "$out"
	case $out in *"$(guest_ip6 3)"*) ;; *) fail 'the guest has no IPv6 to try' || return 1 ;; esac
	for to in net gw; do
		guest app3 "ping -6 -c 2 -i 0.3 -W 1 $(at $to 6)" && fail "$to answered" && return 1
	done
	expect app3 timeout tcp "$(at net 6)" 7000 ms=2000 || return 1
	[ "$(drops ipv6)" -ge $((before + 5)) ] || fail "ipv6: $before before, $(drops ipv6) now"
}

# --- the life of a vif ------------------------------------------------------------
backend_gone() { ! xenstore-exists "/local/domain/$(domid fw)/backend/vif/$1/0"; }
no_errors() { ! grep -i error "$1"; }

detach()
{
	xl network-detach "$1" 0 >/run/lab/xl.log 2>&1 && no_errors /run/lab/xl.log || {
		cat /run/lab/xl.log
		return 1
	}
}

# attach_again N: after a detach. Linux' netfront, while it still removes the old
# device, reads the state of a backend that has come at the same path as that of
# the old one, waits for it to close and loses the new device, with any backend.
attach_again()
{
	wait_for 10 guest "app$1" '! test -e /sys/class/net/eth0' || fail 'the guest keeps eth0' || return 1
	within 5000 attach "$1"
}

attach()
{
	vif_attach "app$1" "$(app_vif "$1")" >/run/lab/xl.log 2>&1 &&
		no_errors /run/lab/xl.log || {
		cat /run/lab/xl.log
		return 1
	}
}

# 110 to 112
reattach_cycles()
{
	local i id

	id=$(domid app2)
	for i in 1 2 3; do
		within 5000 detach app2 || return 1
		backend_gone "$id" || fail "the backend directory is still there" || return 1
		[ -z "$(client_field 2 name)" ] || fail 'still in the status' || return 1
		# As in Qubes: the vif first, then the rules.
		attach_again 2 && rules 2 action=accept || return 1
		wait_for 10 guest app2 "ping -c 1 -W 1 $NET" &&
			wait_for 10 guest app2 "ping -c 1 -W 1 $(at net 6)" ||
			fail "cycle $i: no traffic" || return 1
	done
}

# Its rules go with its last vif: nothing passes before the next commit.
policy_forgotten()
{
	within 5000 detach app2 && attach_again 2 || return 1
	wait_for 10 guest app2 'ip route | grep -q default' || fail 'no eth0 came' || return 1
	expect app2 timeout tcp $NET 7000 ms=1500 || return 1
	wait_for 10 guest app2 'ip -6 addr show dev eth0 scope global -tentative | grep -q inet6' &&
		expect app2 timeout tcp "$(at net 6)" 7000 ms=1500 || return 1
	rules 2 action=accept && expect app2 ok tcp $NET 7000 && expect app2 ok tcp "$(at net 6)" 7000
}

destroy_cycles()
{
	local i id

	for i in 1 2 3; do
		id=$(domid app2)
		within 5000 xl destroy app2 >/run/lab/xl.log 2>&1 || {
			cat /run/lab/xl.log
			return 1
		}
		no_errors /run/lab/xl.log || return 1
		wait_for 3 backend_gone "$id" || fail "backend directory of domain $id stays" || return 1
		xl list | grep -q '(null)' && fail 'a zombie is left' && return 1
		rules 2 action=accept && start app2 || return 1
		wait_for 10 guest app2 "ping -c 1 -W 1 $NET" || fail "cycle $i: no traffic" || return 1
	done
}

# A running qube without a netvm gets one; app1 does not notice.
attach_later()
{
	config_app 3 '' no-vif && start app3 && rules 3 action=accept || return 1
	within 5000 attach 3 || return 1
	wait_for 10 guest app3 "ping -c 1 -W 1 $NET" && ping_from 1 4 && without_ipv6 || return 1
	within 5000 xl destroy app3
}

# --- dom0's daemon, the upstream and ours go away ---------------------------------
qubesdb_restart()
{
	local line

	rules 1 "action=drop dst4=$WEB/32" action=accept || return 1
	qdb dump / >/run/lab/dump.qdb
	kill "$(cat /run/lab/qubesdb.pid)"
	sleep 2
	refused_at_once app1 tcp $WEB 80 && expect app1 ok tcp $NET 7000 || return 1
	qubesdb_start /run/lab/dump.qdb || return 1
	wait_for 10 fw_synced || fail "not in sync again: $(fw_status .qubesdb)" || return 1
	refused_at_once app1 tcp $WEB 80 && expect app1 ok tcp $NET 7000 || return 1
	rules 1 action=accept && expect app1 ok tcp $WEB 80
}

fw_synced() { [ "$(fw_status .qubesdb.state)" = ready ]; }

no_qubesdb_violation()
{
	! grep VIOLATION /run/lab/qubesdb.log
}

# uplink_attach [XL_WORD]: the firewall's interface in net, which has come (again)
uplink_attach()
{
	vif_attach fw "$(fw_vif)${1:+,$1}" || return 1
	wait_for 10 guest app1 "ping -c 1 -W 1 $NET" &&
		wait_for 10 guest app1 "ping -c 1 -W 1 $(at net 6)" || fail "$(fw_status .uplink)"
}

upstream_restart()
{
	xl destroy net || return 1
	expect app1 timeout tcp $NET 7000 ms=1500
	xl network-detach fw 0 >/run/lab/xl.log 2>&1
	boot_net && uplink_attach mtu=1300 || return 1
	expect app1 ok tcp $NET 7000 && expect app1 ok tcp "$(at net 6)" 7000
}

# The uplink as it was, by a detach and an attach.
uplink_again()
{
	xl network-detach fw 0 >/run/lab/xl.log 2>&1 || return 1
	uplink_attach || return 1
	expect app2 ok udp $NET 7000 size=1472 df && expect app2 ok udp "$(at net 6)" 7000
}

daemon_killed()
{
	# shellcheck disable=SC2016 # for the guest's shell
	guest fw 'kill -9 $(cat /run/ringfenced.pid)' || return 1
	sleep 1
	guest app1 "ping -c 3 -i 0.3 -W 1 $NET" && fail 'something was forwarded' && return 1
	expect app2 timeout udp $NET 7000 ms=1500
}

# 100: the vif is there before the daemon; libxl gives the backend 10 s. Also: what a
# daemon finds of the one that died.
late_backend()
{
	config_app 3 && rules_written 3 action=accept || return 1
	create app3 >/run/lab/late.txt 2>&1 &
	wait_for 20 vif_waiting || fail 'no vif appeared' || return 1
	sleep 2
	guest fw fw-start || return 1
	wait $! || fail "$(cat /run/lab/late.txt)" || return 1
	wait_ready app3 || return 1
	wait_for 10 guest app3 "ping -c 1 -W 1 $NET" || fail "$(fw_status '[.uplink, .clients]')" || return 1
	within 5000 detach app1 && attach_again 1 || return 1
	rules 1 action=accept || return 1
	wait_for 10 guest app1 "ping -c 1 -W 1 $NET" || fail 'app1 has no traffic after a re-attach'
}

rules_written()
{
	local n=$1 rule

	shift
	for rule; do echo "$rule"; done >/run/lab/rules.txt
	qvm-firewall "app$n" load /run/lab/rules.txt
}

vif_waiting()
{
	local d

	d=$(xenstore-list "/local/domain/$(domid fw)/backend/vif" | tail -n 1)
	[ "$d" = "$(domid app3)" ]
}

orderly_stop()
{
	# shellcheck disable=SC2016 # for the guest's shell
	guest fw 'kill $(cat /run/ringfenced.pid); sleep 1; kill -0 $(cat /run/ringfenced.pid)' &&
		fail 'it still runs' && return 1
	guest app1 "ping -c 2 -i 0.3 -W 1 $NET" && fail 'something was forwarded' && return 1
	return 0
}

check 'upstream_boots' boot_net
check 'firewall_boots' boot_fw
check 'firewall_has_no_kernel_net_drivers' fw_is_bare
check 'client_with_permanent_neighbour_boots' boot_app 1
check 'client_with_arp_boots' boot_app 2
capture net
capture app1
check 'no_duplicate_address_found' no_dad_failure app2 "$(app_ip6 2)"
packet_checks
check 'bulk_200MB_up_checksum' bulk put 9000
check 'bulk_200MB_down_checksum' bulk get 9001
check 'no_violations_no_failed_copies' no_violations
for fam in 4 6; do check "ipv$fam: 030_rules" static_rules $fam; done
for fam in 4 6; do check "ipv$fam: reject_is_admin_prohibited" reject_is_admin_prohibited $fam; done
check 'rules_are_per_source' rules_are_per_source
check 'rules_are_per_family' rules_are_per_family
for fam in 4 6; do check "ipv$fam: 031_rule_change_on_established_flows" dynamic_rules $fam; done
check 'only_the_commit_counts' only_commit_counts
check 'malformed_rules_block_one_source' malformed_blocks_one
check '040_inter_qube_traffic_fails' inter_qube
for fam in 4 6; do check "ipv$fam: 050_spoofed_source_fails" spoofing $fam; done
for fam in 4 6; do check "ipv$fam: inbound_new_flow_fails" inbound_new $fam; done
check '111_detach_attach_cycles' reattach_cycles
check 'policy_forgotten_with_last_vif' policy_forgotten
check 'destroy_cycles' destroy_cycles
check 'attach_to_running_client' attach_later
check 'qubesdb_restart_keeps_policies' qubesdb_restart
check 'qubesdb_killed_100_times_in_updates' killed_in_updates
check 'qubesdb_comes_back_empty' comes_back_empty
check 'upstream_destroyed_and_back' upstream_restart
for fam in 4 6; do check "ipv$fam: p11_uplink_mtu_1300" small_uplink_mtu $fam; done
check 'uplink_detached_and_back' uplink_again
check 'qubesdb_link_was_legal' no_qubesdb_violation
check 'daemon_killed_nothing_forwarded' daemon_killed
check '100_late_backend' late_backend
check 'orderly_stop_nothing_forwarded' orderly_stop
qrexec_checks
# The image of `make appliance`, which run.sh puts there.
# shellcheck source=tests/xen/appliance.sh
. /lab/appliance/appliance.sh
appliance_checks
[ "$failed" = 0 ] || send_evidence
report "@count $passed $failed"
