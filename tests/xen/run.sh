#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The Xen part of `make check`: builds what is needed, boots the lab once and runs
# tests/xen/scenarios.sh in its dom0. Prints ok / not ok lines and `N passed, N failed`.
#
#   BUILD=DIR LAB_MODE=count|tests LAB_LIMIT=SECONDS LAB_WORDS=ONLY=TEXT tests/xen/run.sh
#
# ONLY=TEXT: the scenarios with TEXT in their names, and the boots that they need.
# The default mode counts instructions: a busy machine then makes the run longer,
# but cannot make a limit of 1 s pass or fail. After a failure consoles, xenstore
# and captures are in $BUILD/lab/run.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

BUILD=${BUILD:-build}
here=tests/xen
out=$BUILD/lab/run
limit=${LAB_LIMIT:-2400}
passed=0
failed=0
# shellcheck source=tests/xen/boot.sh
. "$here/boot.sh"

bail()
{
	echo "not ok - $1"
	echo "$passed passed, $((failed + 1)) failed"
	exit 1
}

show()
{
	case $1 in
	'ok - '*) passed=$((passed + 1)) ;;
	'not ok - '*) failed=$((failed + 1)) ;;
	'@count '*) counted=$1 && return ;;
	esac
	echo "$1"
}

counted=
mkdir -p "$out"
rm -f "$out"/*.log "$out"/*.txt "$out"/*.pcap
nice -n 5 make -s -j2 BUILD="$BUILD" lab appliance ||
	bail 'build'
LAB_APPLIANCE=$BUILD/appliance "$here/build-images.sh" "$BUILD/lab" "$BUILD" || bail 'build-images'
lab_trap
lab_boot "$BUILD/lab" "$out" "$here/scenarios.sh" "$limit" "${LAB_MODE:-count}" "${LAB_WORDS:-}"
lab_follow show || bail "the lab ended before its scenarios did (limit $limit s); see $out/console.log"
[ -n "$counted" ] || bail "the scenarios did not run to their end; see $out/console.log"
if [ "$failed" -gt 0 ]; then
	echo "# consoles, xenstore and captures:"
	find "$out" -maxdepth 1 -type f -size +0 | sort | sed 's/^/#   /'
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
