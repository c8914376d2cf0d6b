# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash disable=SC3043,SC2154,SC2015 # local; dom0-lib.sh; a && b || fail
# Scenarios of `make appliance`: its image as the firewall qube. There is no shell
# in it; what it says on its console is all that is seen of it. They need the
# domain net and nothing else, and stop the firewall and the clients that run.

APPLIANCE_LOG=/var/log/xen/guest-fw.log

appliance_says() { grep -qa "$1" "$APPLIANCE_LOG"; }

appliance_clean()
{
	for name in app1 app2 app3 fw; do
		[ -z "$(domid $name)" ] || xl destroy $name
	done
	[ ! -f /run/lab/qubesdb.pid ] || kill "$(cat /run/lab/qubesdb.pid)" 2>/dev/null
	rm -f "$QDB" /run/lab/qubesdb.pid
}

# appliance_boots MIB: from xl create to rules in force
appliance_boots()
{
	appliance_clean
	config_fw
	# sysrq_always_enabled is what lets dom0 kill the daemon, see below.
	sed -i -e 's,^kernel=.*,kernel="/lab/appliance/vmlinuz",' \
		-e 's,^ramdisk=.*,ramdisk="/lab/appliance/initramfs",' \
		-e 's,^extra=.*,extra="console=hvc0 quiet loglevel=3 sysrq_always_enabled",' \
		-e "s,^memory=.*,memory=$1," /run/lab/fw.cfg
	: >"$APPLIANCE_LOG"
	write_qubesdb
	xl create -q -p /run/lab/fw.cfg && qubesdb_start /run/lab/fw.qdb && xl unpause fw || return 1
	wait_for 60 appliance_says 'ringfenced: ready' || {
		cat "$APPLIANCE_LOG"
		return 1
	}
	! appliance_says '^init:' || {
		grep -a '^init:' "$APPLIANCE_LOG"
		return 1
	}
}

appliance_ping()
{
	guest app1 "ping -c 3 -i 0.2 -W 3 10.137.0.1" 20 &&
		guest app1 "ping -c 3 -i 0.2 -W 3 fd09:24ef:4179::a89:1" 20
}

# Bulk data and a datagram of many fragments, over both families
appliance_traffic()
{
	local net

	for net in 10.137.0.1 fd09:24ef:4179::a89:1; do
		guest app1 "peer put $net 9000 8000000 && peer get $net 9001 8000000" 60 &&
			guest app1 "peer udp $net 7000 size=32768" 15 || return 1
	done
}

appliance_serves()
{
	config_app 1
	rules 1 action=accept && start app1 && appliance_ping && appliance_traffic
}

# A name in a rule: asked for through the own kernel's port, by the helper without
# rights, at the uplink's server. What does not begin with "web" has no answer.
appliance_resolves()
{
	rules 1 'action=accept dsthost=web.lab.test proto=tcp' || return 1
	within 10000 wait_for 10 expect app1 ok tcp $WEB 80 || {
		cat "$APPLIANCE_LOG"
		return 1
	}
	refused_at_once app1 tcp 192.0.2.1 80 || return 1
	[ "$(qdb read /dns/10.137.0.5/web.lab.test)" = "{'$WEB/32'}" ] ||
		fail "/dns: $(qdb read /dns/10.137.0.5/web.lab.test)" || return 1
	! appliance_says 'names:' || {
		grep -a 'names:' "$APPLIANCE_LOG"
		return 1
	}
	rules 1 action=accept
}

# The kernel's OOM killer takes the only process that is not init.
appliance_restarts()
{
	xl sysrq fw f || return 1
	wait_for 10 appliance_says '^init: ringfenced died: signal 9 (Killed); again in 0\.1 s' || {
		echo 'init did not say why the daemon died'
		cat "$APPLIANCE_LOG"
		return 1
	}
	wait_for 20 appliance_ping || {
		cat "$APPLIANCE_LOG"
		return 1
	}
}

# Gone, or at least ended: taking it apart is the toolstack's part.
appliance_ended()
{
	case $(xl list fw 2>/dev/null | awk 'NR == 2 {print $5}') in
	'' | ???s*) return 0 ;;
	*) return 1 ;;
	esac
}

# Dom0's orderly way, with a client attached: in order, and within 3 s.
appliance_powers_off()
{
	local begin

	begin=$(now_ms)
	xl shutdown fw || return 1
	wait_for 10 appliance_ended
	echo "it took $(($(now_ms) - begin)) ms"
	xl list
	appliance_ended && [ $(($(now_ms) - begin)) -le 3000 ] || {
		cat "$APPLIANCE_LOG"
		return 1
	}
	for text in '^init: powering off' '^ringfenced: stopping' '^init: ringfenced ended: exit status 0'; do
		appliance_says "$text" || {
			echo "it did not say $text"
			cat "$APPLIANCE_LOG"
			return 1
		}
	done
}

appliance_checks()
{
	check 'appliance_boots_in_128_MiB' appliance_boots 128
	check 'appliance_serves_a_client' appliance_serves
	check 'appliance_resolves_names' appliance_resolves
	check 'appliance_restarts_a_killed_daemon' appliance_restarts
	check 'appliance_powers_off_in_order' appliance_powers_off
	appliance_clean
}
