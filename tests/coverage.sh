#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tests/coverage.sh	how many lines of the pure code the unit tests run
#
# Builds what the unit tests link with gcc --coverage in $BUILD/cov, runs the unit
# tests of rules/ and firewall/ and counts lines with gcov: the pure files (the same
# that tests/lint.sh keeps pure) must have MINIMUM per cent each. The table is in
# $BUILD/cov/table.txt; `gcov -t build/cov/firewall/tcp.gcda` says which lines.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

BUILD=${BUILD:-build}
MINIMUM=90
cov=$BUILD/cov
case ${CC:-} in
'' | *clang*) CC=gcc ;; # gcov reads what gcc writes
esac
unset MAKEFLAGS MFLAGS MAKELEVEL

# What is pure, in the words of tests/lint.sh.
shell_files=
eval "$(grep '^shell_files=' tests/lint.sh)"
if [ -z "$shell_files" ]; then
	echo "not ok - tests/lint.sh does not say what is not pure"
	exit 1
fi
mapfile -t pure < <(printf '%s\n' rules/*.[ch] firewall/*.[ch] |
	grep -vE "^firewall/($shell_files)\.[ch]$")
mapfile -t pure_c < <(printf '%s\n' "${pure[@]}" | grep '\.c$')

# The tests of pure code alone. test_rules_memory stands between it and the
# sanitizer's malloc().
mapfile -t programs < <(grep -LE '^#include "(netback|qubesdb|tests/fake)/|qubesdb_|uplink_world' \
	tests/unit/test_*.c |
	grep -vE "/test_($shell_files|rules_memory)\.c$" |
	sed "s#^tests/unit/\(.*\)\.c#$cov/unit/\1#")

mkdir -p "$cov"
sources="${pure_c[*]} $(echo tests/craft/*.c)"
if ! nice -n 5 make -s -j2 BUILD="$BUILD" CC="$CC" COV_SRC="$sources" \
	"${programs[@]}" >"$cov/build.log" 2>&1; then
	sed 's/^/  | /' "$cov/build.log"
	echo "not ok - coverage: it does not build"
	exit 1
fi

# Counts of an earlier run do not count.
find "$cov" -name '*.gcda' -delete
run() { # PROGRAM: what it finds wrong is `make check-unit`'s business
	timeout -k 5 120 "$1" >"$1.log" 2>&1 </dev/null || tail -n 1 "$1.log" | grep -q ' failed$' ||
		echo "not ok - coverage: $1 did not come to its end"
}
export -f run
printf '%s\n' "${programs[@]}" | xargs -d '\n' -n 1 -P 2 bash -c 'run "$0"'

# One call over all objects, so that a header's lines are counted once.
mapfile -t counts < <(find "$cov/rules" "$cov/firewall" -name '*.gcda' | sort)
gcov -n -r "${counts[@]}" >"$cov/gcov.txt" 2>"$cov/gcov.err"

# File 'firewall/tcp.c' / Lines executed:98.50% of 133
awk -F"[':% ]+" '
	/^File/ { file = $2 }
	/^Lines executed/ && file != "" { print file, $3, $5; file = "" }
' "$cov/gcov.txt" | sort >"$cov/table.txt"

passed=0
failed=0
for file in "${pure[@]}"; do
	read -r percent lines < <(awk -v f="$file" '$1 == f { print $2, $3 }' "$cov/table.txt")
	if [ -z "${percent:-}" ]; then
		# headers without code, and files of nothing but tables, have no lines to run
		if [ "${file%.c}" != "$file" ] && nm "$cov/${file%.c}.o" | grep -q ' [Tt] '; then
			echo "not ok - coverage: $file: never run"
			failed=$((failed + 1))
		fi
		continue
	fi
	if awk -v p="$percent" -v m="$MINIMUM" 'BEGIN { exit !(p + 0 >= m) }'; then
		printf 'ok - coverage: %-28s %6.2f %% of %4d lines\n' "$file" "$percent" "$lines"
		passed=$((passed + 1))
	else
		printf 'not ok - coverage: %-24s %6.2f %% of %4d lines, not %d\n' "$file" "$percent" \
			"$lines" "$MINIMUM"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
