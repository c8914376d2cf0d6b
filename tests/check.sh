#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tests/check.sh PART...	what `make check` runs
#
#   unit   every unit test program (ASan and UBSan), every tests/unit/*.sh, the
#          lines of pure code that they run (tests/coverage.sh), then each fuzzer
#          for FUZZ_SMOKE_SECONDS on its committed corpus
#   net    the netns rig, tests/net/run.sh; the kernel's verdicts, tests/net/diff.sh
#   xen    the Xen lab, tests/xen/run.sh
#
# Each case counts once. Whatever ran without printing a count, or failed
# without saying which case, counts as one failure: silence is not success. Full
# logs are in $BUILD/check/. The last line is `N passed, N failed`.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

BUILD=${BUILD:-build}
CC=${CC:-cc}
FUZZ_SMOKE_SECONDS=${FUZZ_SMOKE_SECONDS:-30}
export BUILD RINGFENCE="$BUILD/san/ringfence"
# The makes below are ours, not parts of the one that may have started us.
unset MAKEFLAGS MFLAGS MAKELEVEL

logs=$BUILD/check
mkdir -p "$logs"
passed=0
failed=0

build() {
	nice -n 5 make -j2 -s BUILD="$BUILD" CC="$CC" "$@"
}

# count NAME LOG STATUS: read the counts of one program's log
count() {
	local name=$1 log=$2 status=$3 p f line
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1)
	if [ -n "$line" ]; then
		p=${line%% *}
		f=${line#*, }
		f=${f%% *}
	else
		p=$(grep -c '^ok\b' "$log")
		f=$(grep -c '^not ok\b' "$log")
	fi
	if [ $((p + f)) -eq 0 ]; then
		echo "$name: printed no result" >>"$log"
		f=1
	elif [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
		echo "$name: exit status $status although no case failed" >>"$log"
		f=1
	fi
	reason=$(tail -n 1 "$log") # ours, or just its last line
	passed=$((passed + p))
	failed=$((failed + f))
	last_passed=$p
	last_failed=$f
}

# quiet NAME COMMAND...: a line when it passes, everything when it does not
quiet() {
	local name=$1 log status start
	shift
	log=$logs/$name.log
	start=$(date +%s)
	"$@" >"$log" 2>&1 </dev/null
	status=$?
	count "$name" "$log" "$status"
	if [ "$last_failed" -eq 0 ]; then
		printf '  ok      %-28s %4d cases %4d s\n' "$name" "$last_passed" \
			$(($(date +%s) - start))
	else
		printf '  FAILED  %-28s %4d of %d cases, status %d\n' "$name" \
			"$last_failed" $((last_passed + last_failed)) "$status"
		sed 's/^/  | /' "$log"
	fi
}

# stream NAME COMMAND...: its lines as they come
stream() {
	local name=$1 log status
	shift
	log=$logs/$name.log
	"$@" 2>&1 </dev/null | tee "$log" | sed -u -E 's/^([0-9]+ passed)/  \1/'
	status=${PIPESTATUS[0]}
	count "$name" "$log" "$status"
	case $reason in "$name: "*) echo "  FAILED  $reason" ;; esac
}

part_unit() {
	local src bins=() t
	for src in tests/unit/test_*.c; do
		[ -e "$src" ] && bins+=("$BUILD/unit/$(basename "$src" .c)")
	done
	if ! build all san "${bins[@]}" >"$logs/build-unit.log" 2>&1; then
		sed 's/^/  | /' "$logs/build-unit.log"
		echo "  FAILED  build"
		failed=$((failed + 1))
		# What did build is still worth running.
		build -k all san "${bins[@]}" >/dev/null 2>&1
	fi
	for t in "${bins[@]}"; do
		[ -x "$t" ] && quiet "$(basename "$t")" timeout -k 5 300 "$t"
	done
	for t in tests/unit/*.sh; do
		[ -e "$t" ] && quiet "$(basename "$t" .sh)" timeout -k 5 300 "$t"
	done
	CC=$CC quiet coverage timeout -k 5 600 tests/coverage.sh
}

part_fuzz() {
	local src bins=()
	for src in tests/fuzz/fuzz_*.c; do
		[ -e "$src" ] && bins+=("$BUILD/fuzz/$(basename "$src" .c)")
	done
	if ! build "${bins[@]}" >"$logs/build-fuzz.log" 2>&1; then
		sed 's/^/  | /' "$logs/build-fuzz.log"
		echo "  FAILED  build"
		failed=$((failed + 1))
		return
	fi
	stream fuzz tests/fuzz/run.sh "$FUZZ_SMOKE_SECONDS" "${bins[@]}"
}

part_net() {
	stream net tests/net/run.sh
	stream diff tests/net/diff.sh
}

part_xen() {
	stream xen tests/xen/run.sh
}

if [ $# -eq 0 ]; then
	echo "usage: tests/check.sh unit|fuzz|net|xen..." >&2
	exit 2
fi
parts=()
for part; do
	case $part in
	unit) parts+=(unit fuzz) ;;
	fuzz | net | xen) parts+=("$part") ;;
	*)
		echo "tests/check.sh: unknown part: $part" >&2
		exit 2
		;;
	esac
done

summary=()
for part in "${parts[@]}"; do
	start=$(date +%s)
	before_passed=$passed
	before_failed=$failed
	echo "== $part"
	"part_$part"
	summary+=("$(printf '%-5s %4d ok, %d not, %d s' "$part:" $((passed - before_passed)) \
		$((failed - before_failed)) $(($(date +%s) - start)))")
done
echo "== parts"
printf '  %s\n' "${summary[@]}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
