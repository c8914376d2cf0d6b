#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Install what packaging/deps.txt lists and this machine lacks.
set -eu
list=$(dirname "$0")/deps.txt
missing=
while read -r name; do
	case $name in '' | '#'*) continue ;; esac
	dpkg-query -W -f '${db:Status-Status}\n' "$name" 2>/dev/null |
		grep -qx installed || missing="$missing $name"
done <"$list"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
	echo "deps: missing packages, install as root:$missing" >&2
	exit 1
fi
echo "deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive
# Some bring a server. The tests start their own; this machine's stays off, now
# and after the next boot.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	trap 'rm -f $policy' EXIT
	trap 'exit 1' INT TERM
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod 755 $policy
fi
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -y -qq --no-install-recommends $missing >/dev/null
command -v systemctl >/dev/null || exit 0
for package in coturn nginx-light unbound; do
	case "$missing " in
	*" $package "*) systemctl --quiet disable "${package%-light}" ;;
	esac
done
