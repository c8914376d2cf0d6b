# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash disable=SC3043,SC2015,SC2154 # local; a && b || fail; dom0-lib.sh
# The qrexec agent on a real vchan, called by a dom0 that is written from the
# protocol's description (qrexec-client.c). Each call is also a restart of dom0's
# daemon: it connects, acts, and goes. They need the domain fw and nothing else, and
# begin with a daemon of their own.

qx() { qrexec-client "$(domid fw)" "$@" 2>/run/lab/qx.err; }

# What a violation of the protocol, by the qube or seen by it, leaves behind.
qx_failed()
{
	fail "$*: $(cat /run/lab/qx.err); $(grep -a 'rf: .*qrexec' /var/log/xen/guest-fw.log | tail -n 5)"
}

# qx_ends STATUS ARGS...: its exit status; prints what it says
qx_ends()
{
	local want=$1 got

	shift
	qx "$@"
	got=$?
	[ $got = "$want" ] || qx_failed "$*: ended with $got, not $want"
}

qx_server() { xenstore-exists "/local/domain/$(domid fw)/data/vchan/0/512/event-channel"; }
fw_ready_again() { [ "$(grep -ac '^rf: .*ringfenced: ready' /var/log/xen/guest-fw.log)" -gt "$1" ]; }

# qrexec=1 makes dom0 wait for the server: it is not there before the rules are.
qrexec_opens_with_rules()
{
	local before

	before=$(grep -ac '^rf: .*ringfenced: ready' /var/log/xen/guest-fw.log)
	qdb dump / | grep -v '^/features-request/' >/run/lab/qx.qdb
	kill "$(cat /run/lab/qubesdb.pid)"
	# shellcheck disable=SC2016 # for the guest's shell
	guest fw 'kill -9 $(cat /run/ringfenced.pid); sleep 1'
	xenstore-rm "/local/domain/$(domid fw)/data/vchan/0" 2>/dev/null
	guest fw fw-start || return 1
	sleep 4
	# shellcheck disable=SC2016 # for the guest's shell
	guest fw 'kill -0 $(cat /run/ringfenced.pid)' || fail 'the daemon does not run' || return 1
	qx_server && fail 'a server without rules' && return 1
	qubesdb_start /run/lab/qx.qdb && wait_for 15 fw_ready_again "$before" || fail 'not ready' || return 1
	within 2000 wait_for 5 qx_server
}

qrexec_features()
{
	[ "$(qx features)" = 'dom0 qubes.FeaturesRequest' ] || qx_failed features || return 1
	[ "$(qdb read /features-request/qubes-firewall)" = 1 ] &&
		[ "$(qdb read /features-request/supported-feature.ipv6)" = 1 ] || fail 'no keys' || return 1
	[ "$(fw_status .qrexec.features)" = 'done' ] || fail "$(fw_status .qrexec)" || return 1
	open_files >/run/lab/qx.files
}

qrexec_services()
{
	local version

	for version in 2 3 4; do
		qx_ends 0 -v $version call qubes.WaitForSession &&
			qx_ends 0 -v $version call qubes.SuspendPre &&
			qx_ends 0 -v $version call qubes.SuspendPost &&
			qx_ends 0 -v $version call qubes.SetDateTime '2026-11-26T06:46:02+00:00
' || return 1
	done
	qx_ends 1 call qubes.SetDateTime 'tomorrow
' && qx_ends 0 just qubes.SuspendPost
}

qrexec_refuses()
{
	within 2000 qx_ends 127 call qubes.VMShell 'id
' || return 1
	[ "$(cat /run/lab/qx.err)" = 'ringfence: qubes.VMShell: no such service in this qube' ] ||
		qx_failed 'the line on stderr' || return 1
	qx_ends 127 call 'qubes.VMExec+id' && qx_ends 127 just qubes.VMShell &&
		qx_ends 127 long ringfence.Status || return 1
	grep -q 'too long' /run/lab/qx.err || qx_failed 'the line on stderr'
}

# The same as from inside; in this version of the tool nothing else may read it.
qrexec_status()
{
	local inside outside

	inside=$(fw_status '.sources[] | .ip + " " + .state' | sort)
	outside=$(qx call ringfence.Status | jq -r '.sources[] | .ip + " " + .state' | sort)
	[ -n "$inside" ] && [ "$inside" = "$outside" ] || qx_failed "$inside; $outside" || return 1
	[ "$(qx call ringfence.Status+ready)" = '{"ready":true}' ] || qx_failed Status+ready || return 1
	qx_ends 1 call ringfence.Status+nothing
}

qrexec_explain()
{
	local inside outside ip

	ip=$(app_ip 1)
	inside=$(guest fw "ringfence explain $ip tcp $WEB 80" | jq -cS .)
	outside=$(qx call "ringfence.Explain+$ip+tcp+$WEB+80" | jq -cS .)
	[ -n "$inside" ] && [ "$inside" = "$outside" ] || qx_failed "$inside; $outside" || return 1
	inside=$(guest fw "ringfence explain $(app_ip6 1) udp $(at net 6) 53" | jq -cS .)
	outside=$(qx call ringfence.Explain "$(app_ip6 1) udp $(at net 6) 53
" | jq -cS .)
	[ -n "$inside" ] && [ "$inside" = "$outside" ] || qx_failed "$inside; $outside" || return 1
	outside=$(qx call "ringfence.Explain+$(app_ip6 1 | tr : _)+udp+$(at net 6 | tr : _)+53" | jq -cS .)
	[ "$inside" = "$outside" ] || qx_failed "$outside" || return 1
	qx_ends 1 call ringfence.Explain+nonsense
}

qrexec_two_at_once()
{
	local out

	out=$(qx two ringfence.Explain "$(app_ip 1) tcp $WEB 80
" qubes.SetDateTime '2026-11-26T06:46:02Z
') || qx_failed two || return 1
	echo "$out"
	case $out in '1: exit 0: {"verdict"'*'2: exit 0: '*) ;; *) qx_failed "$out" ;; esac
}

# 12 that say nothing: 8 are greeted, dom0 hears of the others at once.
qrexec_flood()
{
	local out

	out=$(qx flood ringfence.Explain 12) || qx_failed flood || return 1
	[ "$out" = 'greeted 8, turned away 4' ] || qx_failed "$out" || return 1
	qx_ends 0 call qubes.WaitForSession
}

qrexec_callers()
{
	within 3000 qx_ends 0 vanish ringfence.Explain && within 14000 qx_ends 0 absent ringfence.Status &&
		within 14000 qx_ends 0 silent ringfence.Status || return 1
	qx_ends 0 call qubes.WaitForSession
}

qrexec_bad_input()
{
	local how

	for how in oversized garbage; do
		within 10000 qx_ends 0 bad $how || return 1
		qx_ends 0 call qubes.WaitForSession || return 1
	done
	for how in cut mute; do
		within 20000 qx_ends 0 bad $how || return 1
	done
	qx_ends 0 call qubes.WaitForSession
}

# Whatever was called, and however it ended, it is closed.
qrexec_leaves_nothing()
{
	local now

	[ "$(fw_status .qrexec.sessions)" = 0 ] || fail "$(fw_status .qrexec)" || return 1
	now=$(open_files)
	[ "$now" = "$(cat /run/lab/qx.files)" ] || fail "open files before:
$(cat /run/lab/qx.files)
and now:
$now" || return 1
	report "# qrexec: $(fw_status '.qrexec | tostring')"
}

qrexec_checks()
{
	check 'qrexec_opens_with_rules' qrexec_opens_with_rules
	check 'qrexec_features_are_requested' qrexec_features
	check 'qrexec_services' qrexec_services
	check 'qrexec_refuses_the_rest' qrexec_refuses
	check 'qrexec_status' qrexec_status
	check 'qrexec_explain' qrexec_explain
	check 'qrexec_two_services_at_once' qrexec_two_at_once
	check 'qrexec_flood' qrexec_flood
	check 'qrexec_callers_that_vanish' qrexec_callers
	check 'qrexec_bad_input' qrexec_bad_input
	check 'qrexec_leaves_nothing_open' qrexec_leaves_nothing
}
