#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The time that everything in a package or image carries: SOURCE_DATE_EPOCH, else
# the last commit's, else (a source archive) the one of the newest changelog entry.
set -eu
cd "$(dirname "$0")/.."
if [ -n "${SOURCE_DATE_EPOCH:-}" ]; then
	echo "$SOURCE_DATE_EPOCH"
elif [ -e .git ] && epoch=$(git log -1 --format=%ct 2>/dev/null); then
	echo "$epoch"
else
	date -d "$(sed -n 's/^ -- .*>  //p' packaging/debian/changelog | head -n 1)" +%s
fi
