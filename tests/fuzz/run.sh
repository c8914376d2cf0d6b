#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tests/fuzz/run.sh SECONDS FUZZER...	run harnesses, two at a time
#
# A harness fuzz_x starts from tests/fuzz/corpus/x/ (and x.dict, if there is
# one); what it discovers goes to $BUILD/fuzz/found/x/, so that the committed
# corpus changes only when somebody decides so. Prints one ok / not ok line each.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

BUILD=${BUILD:-build}
export BUILD

one() {
	local seconds=$1 bin=$2 name seeds found log args=() runs
	name=$(basename "$bin")
	seeds=tests/fuzz/corpus/${name#fuzz_}
	found=$BUILD/fuzz/found/${name#fuzz_}
	log=$BUILD/fuzz/$name.log
	mkdir -p "$found"
	if [ ! -x "$bin" ]; then
		echo "not ok - $name: $bin is not built"
		return 1
	fi
	if [ -z "$(ls "$seeds" 2>/dev/null)" ]; then
		echo "not ok - $name: no seeds in $seeds"
		return 1
	fi
	[ -e "$seeds.dict" ] && args+=("-dict=$seeds.dict")
	# The seeds alone first: a regression there must not wait for luck.
	if ! "$bin" -runs=0 "$seeds" >"$log" 2>&1 ||
		! "$bin" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
			-print_final_stats=1 -artifact_prefix="$BUILD/fuzz/$name-" \
			"${args[@]}" "$found" "$seeds" >>"$log" 2>&1; then
		echo "not ok - $name: see $log"
		grep -m 1 -E 'ERROR:|runtime error:|Assertion|assertion' "$log" | sed 's/^/#   /'
		tail -n 25 "$log" | sed 's/^/#   /'
		return 1
	fi
	runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
	echo "ok - $name: ${runs:-0} runs in $seconds s"
	[ "${runs:-0}" -gt 0 ]
}

if [ $# -lt 2 ]; then
	echo "usage: tests/fuzz/run.sh SECONDS FUZZER..." >&2
	exit 2
fi
seconds=$1
shift
export -f one
# shellcheck disable=SC2016 # expanded by the inner shell
printf '%s\0' "$@" | xargs -0 -n 1 -P 2 bash -c 'one "$0" "$1"' "$seconds"
