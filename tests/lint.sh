#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tests/lint.sh [CHECK...]	what a change must look like before it is tested
#
# Each check is a function; it passes when it prints nothing. A missing tool is
# a failure: silence would hide it. `ok` / `not ok` a line, then the counts.
set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1

BUILD=${BUILD:-build}
out=$BUILD/lint
mkdir -p "$out"
unset MAKEFLAGS MFLAGS MAKELEVEL

# What git knows, and what it would be told next; without git, what is there.
list_files() {
	git ls-files -co --exclude-standard 2>/dev/null ||
		find . -type f ! -path './.git/*' ! -path './build*' ! -path "$BUILD/*" -printf '%P\n'
}
mapfile -t files < <(list_files | while read -r f; do [ -f "$f" ] && echo "$f"; done | sort -u)
mapfile -t c_files < <(printf '%s\n' "${files[@]}" | grep '\.c$')
mapfile -t h_files < <(printf '%s\n' "${files[@]}" | grep '\.h$')
mapfile -t man_pages < <(printf '%s\n' "${files[@]}" | grep '^doc/.*\.[1-9]$')
mapfile -t scripts < <(printf '%s\n' "${files[@]}" | while read -r f; do
	head -n 2 "$f" | grep -qE '^#!.*\b(sh|bash)\b|^# shellcheck shell=' && echo "$f"
	case $f in *.sh) echo "$f" ;; esac
done | sort -u)
# The compiler flags are the Makefile's, word by word.
# shellcheck disable=SC2016 # make's variable
mapfile -t flags < <(make -s --no-print-directory --eval='p: ; @printf "%s\n" $(BASE)' p)

# Pure code: the same object runs under the daemon, the tests and the fuzzers.
# Everything of rules/, and of firewall/ all but its I/O shell.
shell_files='main|daemon|loop|control|status|log|options|ports|sources|forward'
shell_files=$shell_files'|packet_log|dns_servers|settings|tool[a-z_]*|resolver[a-z_]*|name_export'
shell_files=$shell_files'|status_names|explain|explain_live|agent'
pure_files() {
	printf '%s\n' "${files[@]}" | grep -E '^(rules|firewall)/[^/]*\.[ch]$' |
		grep -vE "^firewall/($shell_files)\.[ch]$"
}

each() { # COMMAND WORDS... on stdin's words, two at a time; its output
	xargs -r -d '\n' -n 1 -P 2 "$@" 2>&1
}

# --- compilers ------------------------------------------------------------------------

# The release objects of gcc come with `make`; clang must agree, tests included.
check_clang_builds() {
	local targets=() f
	for f in "${c_files[@]}"; do
		case $f in
		tests/unit/test_*.c | tests/model/*.c) targets+=("$out/clang/san/${f%.c}.o") ;;
		tests/net/diff/*.c | tests/net/reload/*.c) targets+=("$out/clang/rel/${f%.c}.o") ;;
		tests/net/*.c | tests/xen/*.c)
			f=${f#tests/}
			targets+=("$out/clang/${f%.c}")
			;;
		tests/bench/*.c) targets+=("$out/clang/rel/${f%.c}.o") ;;
		esac
	done
	{ make -j2 -s CC=clang BUILD="$out/clang" all "${targets[@]}" >/dev/null; } 2>&1
}

check_gcc_builds() {
	{ make -j2 -s CC=gcc BUILD="$BUILD" all >/dev/null; } 2>&1
}

# -fanalyzer of gcc 12 follows one function well, but invents leaks across our
# constructors that hand a pointer out through **out; what it invents is off.
check_gcc_analyzer() {
	printf '%s\n' "${c_files[@]}" | grep -E '^(rules|qubesdb|netback|firewall)/' |
		each gcc "${flags[@]}" -O1 -fanalyzer -Wno-analyzer-malloc-leak \
			-Wno-analyzer-fd-leak -S -o /dev/null
}

check_headers_alone() {
	local h
	for h in "${h_files[@]}"; do
		printf '#include "%s"\n' "$h" | gcc "${flags[@]}" -Wno-unused-function \
			-fsyntax-only -x c - 2>&1
	done
}

# --- static analysis ------------------------------------------------------------------

check_clang_tidy() {
	# shellcheck disable=SC2016 # the inner shell's
	printf '%s\n' "${c_files[@]}" |
		CLANG_TIDY_FLAGS="$(printf '%q ' "${flags[@]}")" each bash -c '
			eval "flags=($CLANG_TIDY_FLAGS)"
			clang-tidy --quiet "$0" -- "${flags[@]}" 2>/dev/null' |
		grep -E '(error|warning): ' | sed "s#$PWD/##" | sort -u
}

check_cppcheck() {
	cppcheck --quiet --enable=warning,portability --std=c11 --inline-suppr -j 2 \
		--suppressions-list=tests/cppcheck.txt --max-configs=1 \
		-I. -D_GNU_SOURCE -DRINGFENCE_VERSION='""' "${c_files[@]}" 2>&1
}

check_shellcheck() {
	printf '%s\n' "${scripts[@]}" | each shellcheck -x -S warning
}

check_codespell() {
	printf '%s\n' "${files[@]}" | grep -vE '^tests/fuzz/corpus/|^LICENSE$' |
		xargs -d '\n' codespell -L "$(grep -v '^#' tests/codespell.txt | paste -sd,)"
}

check_mandoc() {
	[ ${#man_pages[@]} -eq 0 ] || mandoc -T lint -W warning "${man_pages[@]}"
}

# --- house rules ------------------------------------------------------------------------

# The rooms know only themselves; firewall/ may know all of them. Pure packet
# code of firewall/ knows the descriptor and the rules, no port.
check_layers() {
	local room others
	for room in rules qubesdb netback; do
		case $room in
		rules) others='qubesdb|netback|firewall|tests' ;;
		qubesdb) others='rules|netback|firewall|tests' ;;
		netback) others='rules|qubesdb|firewall|tests' ;;
		esac
		grep -nE "^#\s*include \"($others)/" "$room"/*.[ch]
	done
	grep -nE '^#\s*include "tests/' firewall/*.[ch]
	pure_files | grep '^firewall/' | xargs -d '\n' grep -nE \
		'^#\s*include "(qubesdb/|netback/([^f]|f[^r]))'
}

check_pure_includes() {
	pure_files | xargs -d '\n' grep -nE \
		'^#\s*include <(sys/(socket|ioctl|epoll|mman|time|un|stat)|net/|netinet/|netpacket/|linux/|xen|arpa/|unistd|fcntl|poll|time|signal|pthread|jansson|syslog)'
}

# What the objects of pure code really use: no clock, no I/O, no randomness of
# their own, and nothing that can change outside their parameters.
check_pure_symbols() {
	local src obj
	for src in $(pure_files | grep '\.c$'); do
		obj=$BUILD/rel/${src%.c}.o
		if [ ! -e "$obj" ]; then
			echo "$src: no object $obj"
			continue
		fi
		nm -u "$obj" | grep -wE \
			'(clock_gettime|gettimeofday|time|open|openat|read|write|socket|send|recv|ioctl|mmap|rand|random|getrandom|getenv|fopen|printf|puts|fprintf|syslog|usleep|nanosleep|exit)(@.*)?$' |
			sed "s#^#$src: uses #"
		size -A "$obj" | awk -v src="$src" \
			'($1 ~ /^\.(data|bss)(\.|$)/ && $1 !~ /^\.data\.rel\.ro/ && $2 > 0) {
				print src ": " $2 " bytes of globals in " $1 }'
	done
}

check_banned_functions() {
	printf '%s\n' "${c_files[@]}" "${h_files[@]}" | xargs -d '\n' grep -nE \
		'\b(strcpy|strcat|sprintf|vsprintf|atoi|atol|atoll|strtok|alloca|gets|strncpy)\s*\(' |
		grep -vE ':[0-9]+:(/\*|\s*\*)'
}

check_sizes() {
	local f n
	for f in "${c_files[@]}" "${h_files[@]}"; do
		n=$(wc -l <"$f")
		[ "$n" -le 1000 ] || echo "$f: $n lines, 1000 is the limit"
		expand "$f" | awk -v f="$f" 'length($0) > 100 { print f ":" NR ": " length($0) " columns" }'
	done
}

check_spdx() {
	local f
	for f in "${files[@]}"; do
		case $f in
		*.c | *.h | *.sh | Makefile | .ci/run | *.py | doc/*.[1-9])
			head -n 3 "$f" | grep -q 'SPDX-License-Identifier: GPL-2.0-or-later' ||
				echo "$f: no SPDX line"
			;;
		esac
	done
}

check_whitespace() {
	printf '%s\n' "${files[@]}" | grep -vE '^tests/fuzz/corpus/|\.tsv$|^LICENSE$|\.pcap$' |
		xargs -d '\n' grep -nIE '[[:space:]]+$' |
		# "PATH = " is how an empty value of QubesDB is written
		grep -vE '\.(sh|db|in):[0-9]+:.* = $' | sed 's/$/: trailing whitespace/'
}

check_no_leftovers() {
	printf '%s\n' "${files[@]}" | grep -vE '^tests/lint.sh$|^LICENSE$' | xargs -d '\n' grep -nIE \
		'\b(TODO|FIXME|XXX)\b' | grep -vE 'X{4,}|XXX\.'
}

# Each package has its reason, and each reason its package.
check_dependencies() {
	# shellcheck disable=SC2016 # a backquote of Markdown
	diff <(grep -vE '^(#|$)' packaging/deps.txt | sort) \
		<(sed -n 's/^| `\([a-z0-9.+-]*\)` .*/\1/p' doc/dependencies.md | sort) |
		sed -n 's/^</packaging\/deps.txt only:/p; s/^>/doc\/dependencies.md only:/p'
}

# Links between documents lead somewhere.
check_links() {
	local f link
	for f in $(printf '%s\n' "${files[@]}" | grep '\.md$'); do
		grep -oE '\]\([^)#: ]+' "$f" | sed 's/^](//' | while read -r link; do
			[ -e "$(dirname "$f")/$link" ] || echo "$f: $link does not exist"
		done
	done
}

# Every unit test ends the way check.sh counts; every fuzzer has seeds.
check_tests() {
	local f
	for f in tests/unit/test_*.c; do
		grep -q 'test_end()' "$f" || echo "$f: does not end with test_end()"
	done
	for f in tests/fuzz/fuzz_*.c; do
		[ -e "$f" ] || continue
		f=$(basename "$f" .c)
		[ -n "$(ls "tests/fuzz/corpus/${f#fuzz_}" 2>/dev/null)" ] || echo "$f: no seeds"
	done
}

# --- run them ------------------------------------------------------------------------------

passed=0
failed=0
if [ ${#c_files[@]} -eq 0 ]; then
	echo "not ok - there are no sources to look at"
	failed=1
fi
for tool in gcc clang clang-tidy cppcheck shellcheck codespell mandoc nm size; do
	if ! command -v $tool >/dev/null; then
		echo "not ok - $tool is missing: make deps"
		failed=$((failed + 1))
	fi
done
mapfile -t checks < <(declare -F | sed -n 's/^declare -f check_//p')
# The objects come first: some checks read them.
order=(gcc_builds)
for check in "${checks[@]}"; do
	[ "$check" = gcc_builds ] || order+=("$check")
done
[ $# -eq 0 ] || order=("$@")
for check in "${order[@]}"; do
	start=$(date +%s)
	"check_$check" >"$out/$check.log" 2>&1
	if [ -s "$out/$check.log" ]; then
		echo "not ok - $check"
		sed 's/^/#   /' "$out/$check.log" | head -n 60
		failed=$((failed + 1))
	else
		echo "ok - $check ($(($(date +%s) - start)) s)"
		passed=$((passed + 1))
	fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
