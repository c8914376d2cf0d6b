#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Every ID of the behaviour catalogue is in the name of a test, or in
# doc/catalogue.md with the reason why no test can have it; never both. Every reason
# for a drop (firewall/drop.h) is expected by a test (D8).
#
# A name counts with its ID in front or after an underscore: T7_exact_reset,
# N4_N3_quota, t7_x. Comments do not count: they are no tests. IDs of the Xen network
# protocol have a section and a number: X2.11_total_of_14 (X2_11_total_of_14 where a
# name may have no dot).
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

# The catalogue: its sections and how many behaviours each has. IDs are never
# renumbered, only appended.
catalogue='P14 Q13 T17 U11 N10 I12 F17 R10 D8 M4 G8'
xen_net='X2.15 X3.8 X4.5 X5.7'
xen_life='X6.10 X7.10' # the traps of a backend's life, the steps of a frontend's

names=$(mktemp) || exit 1
trap 'rm -f "$names"' EXIT
passed=0 failed=0

ok() {
	echo "ok - $1"
	passed=$((passed + 1))
}

not_ok() {
	echo "not ok - $1"
	failed=$((failed + 1))
}

# What tests are called: case NAME of vectors, test_case("NAME"), scenario NAME. Cases
# of the rings are in tables: any string of a test that begins with X2.11_ is a name.
# That a test passes is what its own run says.
collect() {
	sed -n 's/^case \([A-Za-z0-9_]*\).*/\1/p' tests/vectors/*.vec
	grep -rhoE 'test_case\("[^"]*"|^\s*(scenario|round) [A-Za-z0-9_]+' tests/unit tests/net --include='*.c' \
		--include='*.h' --include='*.sh' | sed -E 's/.*[( ]"?//; s/"$//'
	grep -rhoE '"X[0-9]\.[0-9]+_[A-Za-z0-9_. ]+' tests/unit --include='*.c' --include='*.h' | tr -d '"'
	grep -hoE "^ok '[^']*" tests/unit/*.sh | sed "s/^ok '//"
	grep -rhoE "^(def|class) [A-Za-z0-9_]+|^(function )?[A-Za-z0-9_]+\(\)" tests --include='*.py' \
		--include='*.sh' | sed -E 's/^(def|class|function) //; s/\(\)$//'
}

check_id() {
	local id=$1 named=0 listed=0
	grep -qiE "(^|_)${id/./[._]}_[A-Za-z0-9]" "$names" && named=1
	grep -qE "^\| $id \|" doc/catalogue.md && listed=1
	case $named$listed in
	10) ok "$id is in the name of a test" ;;
	01) ok "$id has its reason in doc/catalogue.md" ;;
	00) not_ok "$id: no test is named after it, and doc/catalogue.md does not say why" ;;
	11) not_ok "$id: doc/catalogue.md says why there is no test, but there is one" ;;
	esac
}

# The same ID is beside the code that does it.
check_code() {
	if grep -qE "\b${1/./\\.}\b" netback/*.[ch]; then
		ok "$1 is beside the code"
	else
		not_ok "$1: no comment in netback/ says where it is enforced"
	fi
}

# A vector that expects it, or a unit test that compares with it.
check_reason() {
	local symbol=$1 name=$2
	if grep -qE "^expect (drop|reason|count) $name( |$)" tests/vectors/*.vec ||
		grep -qE "\bDROP_$symbol\b" tests/unit/test_*.c; then
		ok "drop reason $name is expected by a test"
	else
		not_ok "drop reason $name: no test expects it"
	fi
}

collect >"$names"
for section in $catalogue; do
	for ((i = 1; i <= ${section:1}; i++)); do
		check_id "${section:0:1}$i"
	done
done
for section in $xen_net; do
	for ((i = 1; i <= ${section#*.}; i++)); do
		check_id "${section%.*}.$i"
		check_code "${section%.*}.$i"
	done
done
for section in $xen_life; do
	for ((i = 1; i <= ${section#*.}; i++)); do
		check_id "${section%.*}.$i"
	done
done
while read -r id; do
	case " $catalogue $xen_net " in
	*" ${id:0:1}"*) ;;
	*) not_ok "doc/catalogue.md: $id is no ID of the catalogue" ;;
	esac
done < <(sed -nE 's/^\| ([A-Z][0-9]+(\.[0-9]+)?) \|.*/\1/p' doc/catalogue.md)

reasons=0
while read -r symbol name; do
	check_reason "$symbol" "$name"
	reasons=$((reasons + 1))
done < <(sed -nE 's/^\s*X\(([A-Z0-9_]+), "([a-z0-9-]+)"\).*/\1 \2/p' firewall/drop.h)
# as many as the list has lines: none was overlooked because it is written otherwise
if [ "$reasons" -eq "$(grep -cE '^\s*X\(' firewall/drop.h)" ] && [ "$reasons" -gt 0 ]; then
	ok "all $reasons reasons of firewall/drop.h were looked for"
else
	not_ok "firewall/drop.h has reasons that are written in another form"
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
