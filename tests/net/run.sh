#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tests/net/run.sh [-r] [-k] [PATTERN...]	ringfenced between real kernels
#
# Runs the scenarios of tests/net/scenario_*.sh (those whose name contains a
# PATTERN) in network namespaces and prints ok / not ok for each. By default the
# daemon is the one built with ASan and UBSan.
#
#	-r	the release build instead
#	-k	keep the working directory (it is kept after a failure anyway)
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1

BUILD=${BUILD:-build}
flavour=san
keep=
while getopts rk opt; do
	case $opt in
	r) flavour=rel ;;
	k) keep=1 ;;
	*)
		sed -n 's/^# tests/usage: tests/p; s/^#\t-/\t-/p' "$0" >&2
		exit 2
		;;
	esac
done
shift $((OPTIND - 1))
patterns=("$@")

if [ "$(id -u)" != 0 ]; then
	echo "not ok - the rig needs root, for network namespaces"
	exit 1
fi
for tool in ip nstat jq ping iperf3 tcpdump ethtool sha256sum openssl nginx curl unbound dig \
	openvpn radicale vdirsyncer turnserver turnutils_natdiscovery nmap atk6-firewall6; do
	if ! command -v $tool >/dev/null; then
		echo "not ok - $tool is missing: make deps"
		exit 1
	fi
done

make_() {
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -j2 -s BUILD="$BUILD" "$@"
}
DIR=$(mktemp -d "${TMPDIR:-/tmp}/rfnet.XXXXXX") || exit 1
if ! make_ all san "$BUILD"/net/{peer,wire,load,reload} \
	"$BUILD"/xen/{resync,qubesdb-{server,cmd}} >"$DIR/build.log" 2>&1; then
	cat "$DIR/build.log"
	echo "not ok - the build"
	exit 1
fi
case $BUILD in
/*) top=$BUILD ;;
*) top=$PWD/$BUILD ;;
esac
export PEER=$top/net/peer
export WIRE=$top/net/wire
export LOAD=$top/net/load
export RELOAD=$top/net/reload
if [ $flavour = san ]; then
	DAEMON_BIN=$top/san/ringfenced
	TOOL=$top/san/ringfence
else
	DAEMON_BIN=$top/ringfenced
	TOOL=$top/ringfence
fi
NS=rfnet-$$
DB=$DIR/db
UPLINK_MAC=00:16:3e:5e:6c:00
PIDS=()
SERVICES=()
mkdir "$DIR/rules"
: >"$DIR/keys"
export ASAN_OPTIONS=abort_on_error=0:exitcode=99 UBSAN_OPTIONS=print_stacktrace=1

passed=0
failed=0
finish() {
	trap '' INT TERM
	rig_down
	if [ "$failed" -ne 0 ] || [ -n "$keep" ]; then
		echo "# logs: $DIR"
	else
		rm -rf "$DIR"
	fi
}

# scenario NAME FUNCTION...: run it, unless the patterns leave it out
scenario() {
	local name=$1 out=$DIR/scenario.out start p wanted=1
	shift
	if [ ${#patterns[@]} -gt 0 ]; then
		wanted=
		for p in "${patterns[@]}"; do
			[[ $name == *"$p"* ]] && wanted=1
		done
	fi
	[ -n "$wanted" ] || return 0
	start=$(wall_ms)
	scenario_bad=
	{
		rig_default && "$@"
		services_stop
		if [ -n "${DAEMON:-}" ] && is_gone "$DAEMON"; then
			complain "the daemon is gone; its log ends:"
			tail -n 40 "$DIR/daemon.log"
			DAEMON=
			RIG_DIRTY=1
		fi
	} >"$out" 2>&1
	if [ -z "$scenario_bad" ]; then
		passed=$((passed + 1))
		echo "ok - $name ($((($(wall_ms) - start + 50) / 100 * 100)) ms)"
	else
		failed=$((failed + 1))
		RIG_DIRTY=1
		echo "not ok - $name"
		sed 's/^/#   /' "$out"
		cp "$DIR/daemon.log" "$DIR/daemon.$name.log" 2>/dev/null
	fi
}

# shellcheck source=tests/net/lib.sh
. tests/net/lib.sh
trap 'exit 130' INT TERM
trap finish EXIT
rig_up
for file in tests/net/scenario_*.sh; do
	# shellcheck source=/dev/null
	. "$file"
done

# Over everything above
stop_in_order() {
	daemon_stop
	is "packets that left under another address" "$(leaks | head -n 5)" ""
}
scenario "nothing_leaked_and_clean_exit" stop_in_order
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
