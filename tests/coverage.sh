#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tests/coverage.sh	how many lines of the pure code and of netback/ the unit tests run
#
# Builds what the unit tests link with gcc --coverage in $BUILD/cov, runs them and
# counts lines with gcov: each file must have MINIMUM per cent. First the pure files of
# rules/ and firewall/ (the same that tests/lint.sh keeps pure) by the tests of pure code
# alone, then those of netback/ by the tests that include it or the fake Xen. Of
# netback/, xen_real.c is not counted: it is calls of Xen's libraries, which nothing but
# Xen answers; tests/xen/ runs it. The table is in $BUILD/cov/table.txt;
# `gcov -t build/cov/firewall/tcp.gcda` says which lines.
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
mapfile -t programs < <(grep -LE '^#include "(netback|qubesdb|tests/fake)/|qubesdb_|uplink_world|guest_world|qrexec_world' \
	tests/unit/test_*.c |
	grep -vE "/test_($shell_files|rules_memory)\.c$" |
	sed "s#^tests/unit/\(.*\)\.c#$cov/unit/\1#")

# The tests of netback/: whatever includes it, or a world that does.
mapfile -t netback_programs < <(grep -lE '^#include "(netback|tests/fake)/|uplink_world|guest_world' \
	tests/unit/test_*.c | grep -vE '/test_(qubesdb[a-z_]*|store)\.c$' |
	sed "s#^tests/unit/\(.*\)\.c#$cov/unit/\1#")
mapfile -t netback < <(printf '%s\n' netback/*.[ch] | grep -v '/xen_real\.c$')

passed=0
failed=0
mkdir -p "$cov"
: >"$cov/table.txt"

# build SOURCES LIBS PROGRAM...: links them with the instrumented sources
build() {
	local sources=$1 libs=$2
	shift 2
	if ! nice -n 5 make -s -j2 BUILD="$BUILD" CC="$CC" COV_SRC="$sources" COV_LIBS="$libs" \
		"$@" >"$cov/build.log" 2>&1; then
		sed 's/^/  | /' "$cov/build.log"
		echo "not ok - coverage: it does not build"
		exit 1
	fi
}

run() { # PROGRAM: what it finds wrong is `make check-unit`'s business
	timeout -k 5 120 "$1" >"$1.log" 2>&1 </dev/null || tail -n 1 "$1.log" | grep -q ' failed$' ||
		echo "not ok - coverage: $1 did not come to its end"
}
export -f run

# measure OBJECTS-FOLDERS PROGRAM...: adds to the table. Counts of an earlier run do
# not count.
measure() {
	local folders=$1 counts
	shift
	find "$cov" -name '*.gcda' -delete
	printf '%s\n' "$@" | xargs -d '\n' -n 1 -P 2 bash -c 'run "$0"'
	# One call over all objects, so that a header's lines are counted once.
	# shellcheck disable=SC2086 # words
	mapfile -t counts < <(cd "$cov" && find $folders -name '*.gcda' -printf "$cov/%p\n" | sort)
	gcov -n -r "${counts[@]}" >"$cov/gcov.txt" 2>"$cov/gcov.err"
	# File 'firewall/tcp.c' / Lines executed:98.50% of 133
	awk -F"[':% ]+" '
		/^File/ { file = $2 }
		/^Lines executed/ && file != "" { print file, $3, $5; file = "" }
	' "$cov/gcov.txt" | sort >"$cov/part.txt"
	cat "$cov/part.txt" >>"$cov/table.txt"
}

judge() { # FILE...: by the last measurement
	local file percent lines
	for file; do
		read -r percent lines < <(awk -v f="$file" '$1 == f { print $2, $3 }' "$cov/part.txt")
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
			printf 'not ok - coverage: %-24s %6.2f %% of %4d lines, not %d\n' "$file" \
				"$percent" "$lines" "$MINIMUM"
			failed=$((failed + 1))
		fi
	done
}

build "${pure_c[*]} $(echo tests/craft/*.c)" '' "${programs[@]}"
measure 'rules firewall' "${programs[@]}"
judge "${pure[@]}"

# What the daemon links, and the fake; linked anew, as the list is another one.
make_words() { make -s --no-print-directory --eval="p: ; @echo \$($1)" p; }
build "$(make_words COMMON_SRC) $(make_words FAKE_SRC)" "$(make_words LIBS) -lpthread" \
	"${netback_programs[@]}"
measure netback "${netback_programs[@]}"
judge "${netback[@]}"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
