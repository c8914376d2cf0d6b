# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash disable=SC3043 # dash has local
# Functions for scenarios in the lab's dom0: domains, commands in guests, results.
# Sourced by init; a scenario is a shell text that runs after it.

FW_VARIANT=ringfence
passed=0
failed=0

now_ms()
{
	local up rest

	read -r up rest </proc/uptime
	echo "${up%.*}${up#*.}0"
}

wall_ms() { date +%s%3N; }

# value KEY LINE: of a peer's key=value line
value()
{
	printf '%s\n' "$2" | tr ' ' '\n' | sed -n "s/^$1=//p" | head -n 1
}

# A line for the host, and for whoever watches the console.
report()
{
	printf '%s\n' "$*" >/dev/ttyS1
	printf '%s\n' "$*"
}

note()
{
	local up rest

	read -r up rest </proc/uptime
	report "# $* (at ${up%?} s)"
}

# send_file NAME FILE: the host stores it next to the console log.
send_file()
{
	[ -s "$2" ] || return 0
	{
		echo "@file $1"
		gzip -c "$2" | base64
		echo "@endfile"
	} >/dev/ttyS1
}

# --- guests -------------------------------------------------------------------
domid()
{
	xl domid "$1" 2>/dev/null
}

# write_config NAME ROLE MEMORY VIF EXTRA
write_config()
{
	local image=guest

	[ "$2" = fw ] && image=fw
	cat >"/run/lab/$1.cfg" <<-END
	name="$1"
	type="pv"
	kernel="/lab/vmlinux"
	ramdisk="/lab/$image.cpio"
	extra="console=hvc0 quiet loglevel=3 rdinit=/init role=$2 $5"
	memory=$3
	vcpus=1
	on_crash="preserve"
	vif=[$4]
	END
	case $2 in net | stock) echo 'driver_domain=1' >>"/run/lab/$1.cfg" ;; esac
}

vif_of()
{
	echo "backend=$1,ip=$2,mac=$3,script=vif-lab"
}

# Addresses as Qubes gives them; app3 has no IPv6.
FW_IPS='10.137.0.4 fd09:24ef:4179::a89:4'
app_ip() { echo "10.137.0.$((4 + $1))"; }
app_ip6() { [ "$1" = 3 ] || printf 'fd09:24ef:4179::a89:%x' $((4 + $1)); }
app_mac() { printf '00:16:3e:5e:6c:%02x' $((1 + $1)); }
app_vif() { vif_of fw "$(app_ip "$1")$(app_ip6 "$1" | sed 's/^/ /')" "$(app_mac "$1")"; }

# app_at N FAMILY: its address of that family
app_at()
{
	case $2 in 6) app_ip6 "$1" ;; *) app_ip "$1" ;; esac
}

# vif_attach NAME VIF: a vif (of vif_of) for a running domain
vif_attach()
{
	local name=$1

	(
		IFS=,
		# shellcheck disable=SC2086 # at the commas: one word is "IPv4 IPv6"
		set -- $2
		xl network-attach "$name" "$@"
	)
}

fw_vif() { vif_of net "$FW_IPS" 00:16:3e:5e:6c:00; }

config_net() { write_config net net 256 '' ''; }

# config_fw [EXTRA]
config_fw()
{
	local role=fw

	[ "$FW_VARIANT" = stock ] && role=stock
	write_config fw $role 192 "\"$(fw_vif)\"" \
		"ip=10.137.0.4 gw=10.137.0.1 $1"
}

# What the guest believes: app3 gives itself an address that nobody gave to it.
guest_ip6() { printf 'fd09:24ef:4179::a89:%x' $((4 + $1)); }

# config_app N [EXTRA [no-vif]]: the even ones use ARP and neighbour discovery.
config_app()
{
	local neigh=static vif

	[ $(($1 % 2)) = 0 ] && neigh=arp
	vif="\"$(app_vif "$1")\""
	[ "${3:-}" = no-vif ] && vif=''
	write_config "app$1" app 160 "$vif" "ip=$(app_ip "$1") gw=10.137.0.4 neigh=$neigh \
ip6=$(guest_ip6 "$1") gw6=${FW_IPS#* } ${2:-}"
}

# start NAME: create it from its configuration and wait for its agent.
start()
{
	create "$1" && wait_ready "$1"
}

create()
{
	: >"/var/log/xen/guest-$1.log"
	xl create -q "/run/lab/$1.cfg" >"/run/lab/create-$1.log" 2>&1 || {
		echo "xl create $1 failed: $(tail -n 5 "/run/lab/create-$1.log")"
		return 1
	}
}

wait_ready()
{
	wait_for 60 grep -qa '^@ready' "/var/log/xen/guest-$1.log" || {
		echo "domain $1 did not come up: $(tail -n 5 "/var/log/xen/guest-$1.log")"
		return 1
	}
}

# wait_for SECONDS COMMAND...: until it succeeds.
wait_for()
{
	local end

	end=$(($(now_ms) + $1 * 1000))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(now_ms)" -lt "$end" ] || return 1
		usleep 100000
	done
}

# guest_bg NAME COMMAND [SECONDS]: start it there and print its id.
guest_bg()
{
	local id tty limit=${3:-20}

	id=$(cut -c 1-8 /proc/sys/kernel/random/uuid)
	tty=$(xenstore-read "/local/domain/$(domid "$1")/console/tty") || return 1
	printf '@run %s %s %s\n' "$id" "$limit" "$(printf '%s\n' "$2" | base64 -w 0)" >"$tty"
	echo "$id"
}

# guest_wait NAME ID [SECONDS]: its output; returns its status, 250 without one.
guest_wait()
{
	local log=/var/log/xen/guest-$1.log end

	wait_for "${3:-25}" grep -qa "^@end $2 " "$log" || {
		echo "no answer from $1"
		return 250
	}
	sed -n "s/^@o $2 //p" "$log" | tr -d '\r'
	end=$(sed -n "s/^@end $2 \([0-9]*\).*/\1/p" "$log" | head -n 1)
	return "$end"
}

# guest NAME COMMAND [SECONDS]
guest()
{
	local id

	id=$(guest_bg "$1" "$2" "${3:-20}") || {
		echo "domain $1 is not there"
		return 251
	}
	guest_wait "$1" "$id" $((${3:-20} + 5))
}

# --- QubesDB and rules, as dom0 writes them --------------------------------------
QDB=/run/lab/qdb.sock
export QVM_TABLE=/run/lab/vms QVM_STATE=/run/lab/rules

# The keys of a firewall qube: its uplink, and what it is to its clients.
write_qubesdb()
{
	cat >/run/lab/fw.qdb <<-END
	/name = fw
	/type = AppVM
	/qubes-vm-type = ProxyVM
	/qubes-mac = 00:16:3e:5e:6c:00
	/qubes-ip = 10.137.0.4
	/qubes-netmask = 255.255.255.255
	/qubes-gateway = 10.137.0.1
	/qubes-ip6 = ${FW_IPS#* }
	/qubes-gateway6 = fd09:24ef:4179::a89:1
	/qubes-primary-dns = 10.139.1.1
	/qubes-secondary-dns = 10.139.1.2
	/qubes-netvm-network = 10.137.0.4
	/qubes-netvm-gateway = 10.137.0.4
	/qubes-netvm-netmask = 255.255.255.255
	/qubes-netvm-gateway6 = ${FW_IPS#* }
	/qubes-netvm-primary-dns = 10.139.1.1
	/qubes-netvm-secondary-dns = 10.139.1.2
	/connected-ips = 10.137.0.5 10.137.0.6 10.137.0.7
	/connected-ips6 = $(app_ip6 1) $(app_ip6 2)
	END
	mkdir -p "$QVM_STATE"
	: >"$QVM_TABLE"
	for n in 1 2 3; do
		echo "app$n $(app_ip $n) $(app_ip6 $n | grep . || echo -) $QDB" >>"$QVM_TABLE"
	done
}

# qubesdb_start FILE: dom0's daemon for fw, with a tree read from FILE.
qubesdb_start()
{
	rm -f "$QDB"
	qubesdb-server "$(domid fw)" --socket "$QDB" --load "$1" \
		>>/run/lab/qubesdb.log 2>&1 &
	echo $! >/run/lab/qubesdb.pid
	wait_for 5 test -S "$QDB"
}

qdb() { qubesdb-cmd -s "$QDB" "$@"; }
# handled N [FAMILY]: the counter of its commits
handled() { qdb read "/qubes-firewall-handled/$(app_at "$1" "${2:-4}")" 2>/dev/null || echo 0; }

# rules N RULE...: replace the rules of app N and wait until they are in force, for
# both of its addresses.
rules()
{
	local n=$1 before before6 rule ip6

	shift
	before=$(handled "$n")
	before6=$(handled "$n" 6)
	ip6=$(app_ip6 "$n")
	for rule; do echo "$rule"; done >/run/lab/rules.txt
	qvm-firewall "app$n" load /run/lab/rules.txt || return 1
	in_force "$(app_ip "$n")" "$before" || return 1
	[ -z "$ip6" ] || in_force "$ip6" "$before6"
}

# in_force ADDRESS BEFORE: its counter has gone on
in_force()
{
	qdb differs "/qubes-firewall-handled/$1" "$2" 3 >/dev/null && return 0
	echo "the commit for $1 was not handled within 3 s"
	return 1
}

# --- ringfenced -------------------------------------------------------------------
# fw_status FILTER: jq over the daemon's status
fw_status() { guest fw 'ringfence status' 10 | jq -r "$1"; }
fw_logged() { grep -qa "^rf: .*$1" /var/log/xen/guest-fw.log; }

# start_fw: the firewall domain with its QubesDB, in force when this returns.
start_fw()
{
	: >/var/log/xen/guest-fw.log
	xl create -q -p /run/lab/fw.cfg >/run/lab/create-fw.log 2>&1 || {
		echo "xl create fw failed: $(tail -n 5 /run/lab/create-fw.log)"
		return 1
	}
	if [ "$FW_VARIANT" = ringfence ]; then
		[ -S "$QDB" ] || write_qubesdb
		qubesdb_start /run/lab/fw.qdb || return 1
	fi
	xl unpause fw
	wait_ready fw || return 1
	[ "$FW_VARIANT" = stock ] || [ -n "${FW_LATE:-}" ] || wait_for 20 fw_logged 'ringfenced: ready' || {
		echo "ringfenced did not become ready: $(grep -a '^rf:' /var/log/xen/guest-fw.log)"
		return 1
	}
}

# --- results ------------------------------------------------------------------
# check NAME FUNCTION [ARGS]: one scenario; its output is shown when it fails.
# ONLY=TEXT runs those with TEXT in their name, and the boots that they need.
check()
{
	local name=$1 begin took

	shift
	case $name in *_boots | *"${ONLY:-}"*) ;; *) return 0 ;; esac
	begin=$(now_ms)
	# In a shell of its own: an error in it must not end the run.
	if ("$@") >/run/lab/out 2>&1; then
		took=$(($(now_ms) - begin))
		passed=$((passed + 1))
		report "ok - $name ($((took / 1000)).$((took % 1000 / 100)) s)"
	else
		failed=$((failed + 1))
		report "not ok - $name"
		sed 's/^/#   /' /run/lab/out | tail -n 40 >/dev/ttyS1
		cat /run/lab/out
	fi
}

# Everything a person needs after a failure.
send_evidence()
{
	local f name

	for f in /var/log/xen/*.log /run/lab/*.log; do
		[ -f "$f" ] || continue
		tail -c 60000 "$f" >/run/lab/.tail
		send_file "${f##*/}" /run/lab/.tail
	done
	xenstore-ls -f >/run/lab/.tail 2>&1
	send_file xenstore.txt /run/lab/.tail
	xl list >/run/lab/.tail 2>&1
	send_file xl-list.txt /run/lab/.tail
	for name in net app1 app2; do
		guest "$name" 'head -c 150000 /run/cap.pcap | gzip -c | base64' 20 >/run/lab/.b64 || continue
		base64 -d </run/lab/.b64 2>/dev/null | gunzip -c >"/run/lab/.pcap" 2>/dev/null
		send_file "$name.pcap" /run/lab/.pcap
	done
}
