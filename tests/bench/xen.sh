#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# make bench-xen: ringfence against the stock kernel path (kernel netback, netfront,
# nftables masquerade with an equal rule set) in the same lab.
#
#   ROUNDS=2 SECONDS_EACH=8 tests/bench/xen.sh
#
# Each round boots each variant once, in turn. Virtual time is tied to executed
# instructions (QEMU -icount), so the ratios hold on any machine and while others
# use it; caches are not seen. The JSON is $BUILD/bench/xen.json.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

BUILD=${BUILD:-build}
ROUNDS=${ROUNDS:-2}
SECONDS_EACH=${SECONDS_EACH:-8}
results=$BUILD/bench/xen.results
json=$BUILD/bench/xen.json
bad=0
# shellcheck source=tests/xen/boot.sh
. tests/xen/boot.sh

# shellcheck disable=SC2317 # lab_follow calls it
show()
{
	case $1 in
	'@result '*)
		echo "${1#@result }" >>"$results"
		echo "  ${1#@result }"
		;;
	'@status '*) echo "${1#@status }" >"$BUILD/bench/xen-status.json" ;;
	'@bad '*)
		bad=1
		echo "bench-xen: ${1#@bad }" >&2
		;;
	esac
}

mkdir -p "$BUILD/bench"
: >"$results"
nice -n 5 make -s -j2 BUILD="$BUILD" lab ||
	exit 1
tests/xen/build-images.sh "$BUILD/lab" "$BUILD" || exit 1
lab_trap
for ((round = 1; round <= ROUNDS; round++)); do
	for variant in stock ringfence; do
		echo "round $round of $ROUNDS: $variant"
		lab_boot "$BUILD/lab" "$BUILD/lab/bench" tests/bench/xen-dom0.sh 1200 count \
			"VARIANT=$variant SECONDS_EACH=$SECONDS_EACH"
		lab_follow show || bad=1
		if [ $bad = 1 ]; then
			echo "bench-xen: $variant did not finish; see $BUILD/lab/bench/console.log" >&2
			exit 1
		fi
		lab_stop
	done
done

# Lines "variant direction key=value..." to medians for each variant and direction.
jq -R -s --argjson rounds "$ROUNDS" --argjson seconds "$SECONDS_EACH" '
	def median: sort | .[(length / 2) | floor] + .[((length - 1) / 2) | floor] | . / 2;
	def short: . * 1000 | round / 1000;
	[split("\n")[] | select(. != "") | split(" ")
		| {variant: .[0], dir: .[1]}
		+ (.[2:] | map(split("=") | {(.[0]): (.[1] | tonumber)}) | add)
		| .fw_s_per_gb = .cpu_fw * 1e9 / .bytes] as $r
	| def fig(v; d): [$r[] | select(.variant == v and .dir == d)]
		| {mbps: (map(.mbps) | median | short), fw_cpu_s_per_gb: (map(.fw_s_per_gb) | median | short),
		   retransmits: (map(.retransmits) | median), runs: map(.mbps | short)};
	{stock: {up: fig("stock"; "up"), down: fig("stock"; "down")},
	 ringfence: {up: fig("ringfence"; "up"), down: fig("ringfence"; "down")}}
	| {tcp_up_vs_stock: (.ringfence.up.mbps / .stock.up.mbps | short),
	   tcp_down_vs_stock: (.ringfence.down.mbps / .stock.down.mbps | short),
	   rounds: $rounds, seconds_each: $seconds} + .' "$results" >"$json" || exit 1
cat "$json"
