#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tests/bench/commit.sh	from a commit in dom0 to the first packet under it
#
# The release build in the netns rig, policies of 1 to 10 000 rules, 101 commits each:
# $BUILD/bench/commit.json and a table. Needs root and what the rig needs (make deps).
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1

BUILD=${BUILD:-build}
mkdir -p "$BUILD/bench"
COMMIT_JSON=$(realpath "$BUILD/bench")/commit.json
export BUILD COMMIT_JSON
rm -f "$COMMIT_JSON"
tests/net/run.sh -r commit_bench || exit 1
echo "commit to first packet, commit to handled counter, longest delay of others, us"
jq -r '(["rules", "first", "p95", "handled", "p95", "delay", "p95"]),
	(.[] | [.rules, .first_packet_median_us, .first_packet_p95_us, .handled_median_us,
		.handled_p95_us, .delay_median_us, .delay_p95_us]) | @tsv' "$COMMIT_JSON"
