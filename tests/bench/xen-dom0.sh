# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash disable=SC3043,SC2034 # local; dom0-lib.sh uses FW_VARIANT
# One variant of the Xen benchmark, in dom0: iperf3 between app1 and net through
# the firewall domain, and the CPU time that this domain spent on it. The variable
# VARIANT comes from the host.

NET=10.137.0.1
WEB=198.51.100.0/24
SECONDS_EACH=${SECONDS_EACH:-8}
FW_VARIANT=$VARIANT

up()
{
	"$@" >/run/lab/out 2>&1 && return
	report "@bad $* failed: $(tail -n 3 /run/lab/out | tr '\n' ' ')"
	send_evidence
	report '@done'
	exit 1
}

# CPU seconds of all domains, as `NAME SECONDS` lines
cpu() { xl list | awk 'NR > 1 {print $1, $NF}'; }
cpu_of() { awk -v n="$1" '$1 == n {print $2}' "$2"; }

# measure NAME IPERF_OPTIONS...
measure()
{
	local name=$1 json dom line

	shift
	cpu >/run/lab/cpu.before
	json=$(guest app1 "iperf3 -J -c $NET -t $SECONDS_EACH $*" $((SECONDS_EACH + 20)))
	cpu >/run/lab/cpu.after
	line=$(echo "$json" | jq -r '"mbps=\(.end.sum_received.bits_per_second / 1e6) bytes=\(.end.sum_received.bytes) retransmits=\(.end.sum_sent.retransmits // 0)"')
	for dom in fw net app1; do
		line="$line cpu_$dom=$(awk -v a="$(cpu_of $dom /run/lab/cpu.before)" \
			-v b="$(cpu_of $dom /run/lab/cpu.after)" 'BEGIN {printf "%.1f", b - a}')"
	done
	report "@result $VARIANT $name $line"
}

config_net
config_fw
config_app 1
up start net
up start_fw
if [ "$VARIANT" = ringfence ]; then
	# What stock.nft holds for this client.
	up rules 1 "action=drop dst4=$WEB proto=tcp dstports=80-80" 'action=accept specialtarget=dns' \
		'action=accept proto=icmp' 'action=accept proto=tcp dstports=443-443' \
		"action=accept dst4=$NET/32" 'action=drop'
fi
up start app1
up guest app1 "ping -c 2 -W 3 $NET"
measure up
measure down -R
[ "$VARIANT" = stock ] || report "@status $(fw_status '{copy, loop, clients, uplink}' | jq -c .)"
