# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash disable=SC3043,SC2015 # local; a && b || fail
# dom0's QubesDB daemon is killed 100 times in the middle of updates (resync.c), while
# numbered packets flow that every version of the rules allows, but no half of one
# does. And it is started anew with nothing. Sourced by scenarios.sh.

RESYNC_KILLS=100
RESYNC_SEED=${RESYNC_SEED:-1}
RESYNC_SECONDS=12 # of the flows: longer than the kills take

# What dom0's database has of app1 and app2, a line "IP active RULES HANDLED" a source.
in_qubesdb()
{
	local n fam ip

	qdb dump / >/run/lab/end.qdb || return 1
	for n in 1 2; do
		for fam in 4 6; do
			ip=$(app_at $n $fam)
			grep -q "^/qubes-firewall/$ip = " /run/lab/end.qdb || continue
			echo "$ip active $(grep -c "^/qubes-firewall/$ip/[0-9]" /run/lab/end.qdb) $(
				sed -n "s|^/qubes-firewall-handled/$ip = ||p" /run/lab/end.qdb)"
		done
	done | sort
}

# And what is in force for whoever is attached.
in_daemon()
{
	fw_status '.sources[] | select(.attached > 0) | "\(.ip) \(.state) \(.rules) \(.handled)"' | sort
}

same_state()
{
	in_qubesdb >/run/lab/end.dom0
	in_daemon >/run/lab/end.fw
	cmp -s /run/lab/end.dom0 /run/lab/end.fw
}

# whole_flow GUEST ID: it was there all the time and lost nothing
whole_flow()
{
	local line sent

	line=$(guest_wait "$1" "$2" $((RESYNC_SECONDS + 10))) || fail "$1 lost something: $line" || return 1
	echo "$1: $line"
	sent=$(value sent "$line")
	[ "$sent" -gt $((RESYNC_SECONDS * 30)) ] || fail 'it hardly ran' || return 1
	[ "$(value max_gap_ms "$line")" -lt 1000 ] || fail 'it paused'
}

# Descriptors of the daemon; without pipes, of which libxenstore makes one at the first
# loss.
# shellcheck disable=SC2016 # for the guest's shell
open_files()
{
	guest fw 'for f in /proc/$(cat /run/ringfenced.pid)/fd/*; do readlink $f; done' |
		sed '/^pipe:/d; s/[0-9][0-9]*//g' | sort | uniq -c
}

killed_in_updates()
{
	local files tcp udp udp6 begin took line ip1 ip6_1 ip6_2

	ip1=$(app_at 1 4) ip6_1=$(app_at 1 6) ip6_2=$(app_at 2 6)
	rules 1 action=accept && rules 2 action=accept || return 1
	# An address that is still being looked for is none to send from.
	wait_for 10 guest app1 "ping -6 -c 1 -W 1 $(at net 6)" &&
		wait_for 10 guest app2 "ping -6 -c 1 -W 1 $(at net 6)" ||
		fail "no IPv6: $(guest app2 'ip -6 addr; ip -6 neigh; ip -6 route')" || return 1
	tcp=$(guest_bg app1 "peer stream tcp $NET 7000 20 $RESYNC_SECONDS" $((RESYNC_SECONDS + 10)))
	udp=$(guest_bg app1 "peer stream udp $(at net 6) 7000 20 $RESYNC_SECONDS" $((RESYNC_SECONDS + 10)))
	udp6=$(guest_bg app2 "peer stream udp $(at net 6) 7000 20 $RESYNC_SECONDS" $((RESYNC_SECONDS + 10)))
	sleep 1
	files=$(open_files)
	qdb dump / >/run/lab/journal
	kill "$(cat /run/lab/qubesdb.pid)"
	begin=$(now_ms)
	resync $RESYNC_KILLS $RESYNC_SEED /run/lab/qubesdb.log /run/lab/journal "$QDB" \
		"$ip1=action=accept dst4=$NET/32" "$ip6_1=action=accept dst6=$(at net 6)/128" \
		"$ip6_2=action=accept dst6=$(at net 6)/128" \
		-- qubesdb-server "$(domid fw)" >/run/lab/resync.txt
	took=$(($(now_ms) - begin))
	cat /run/lab/resync.txt
	line=$(tail -n 1 /run/lab/resync.txt)
	[ "$(value restarts "$line")" = $RESYNC_KILLS ] || return 1
	value pid "$line" >/run/lab/qubesdb.pid
	report "# $RESYNC_KILLS kills in $took ms: $line"
	[ "$took" -lt $(((RESYNC_SECONDS - 2) * 1000)) ] || fail "longer than the flows: $took ms" || return 1
	wait_for 10 same_state || fail "dom0 has: $(cat /run/lab/end.dom0)
and the daemon: $(cat /run/lab/end.fw)" || return 1
	[ "$(open_files)" = "$files" ] || fail "open files before:
$files
and now:
$(open_files)" || return 1
	for ip in "$ip1" "$ip6_1" "$ip6_2"; do
		last_version "$ip" || return 1
	done
	whole_flow app1 "$tcp" && whole_flow app1 "$udp" && whole_flow app2 "$udp6" &&
		rules 1 action=accept && rules 2 action=accept && expect app1 ok tcp "$WEB" 80
}

# last_version IP: its last update is what is enforced, not one before
last_version()
{
	local line port who=app1 net=$NET

	line=$(grep "^source=$1 " /run/lab/resync.txt)
	port=$(value port "$line")
	grep -q "^$1 active $(value rules "$line") " /run/lab/end.fw || fail "$line: not in force" || return 1
	case $1 in *:*) net=$(at net 6) ;; esac
	[ "$1" = "$(app_at 2 6)" ] && who=app2
	refused_at_once $who tcp "$net" "$port" && expect $who refused tcp "$net" $((port - 1))
}

# The tree of dom0's daemon is in its memory: one that is started anew has no key.
comes_back_empty()
{
	rules 1 "action=drop dst4=$WEB/32" action=accept || return 1
	qdb dump / | grep -v '^/qubes-firewall/' >/run/lab/keys.qdb
	: >/run/lab/nothing.qdb
	kill "$(cat /run/lab/qubesdb.pid)"
	sleep 1
	qubesdb_start /run/lab/nothing.qdb && wait_for 10 fw_synced || return 1
	sleep 2
	refused_at_once app1 tcp "$WEB" 80 && expect app1 ok tcp "$NET" 7000 &&
		expect app2 ok tcp "$(at net 6)" 7000 || return 1
	qdb load /run/lab/keys.qdb && rules 2 action=accept && rules 1 action=accept || return 1
	expect app1 ok tcp "$WEB" 80
}
