#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# make demo: ringfence on a real Xen, in QEMU, for a person to watch.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

BUILD=${BUILD:-build}
out=$BUILD/lab/demo
begin=$(date +%s)
verdict=0
# shellcheck source=tests/xen/boot.sh
. tests/xen/boot.sh

elapsed() { echo $(($(date +%s) - begin)); }

# shellcheck disable=SC2317 # lab_follow calls it
show()
{
	case $1 in
	'# '*) ;; # what scenarios note for a log
	'+ '*) printf '  [%3d s] %s\n' "$(elapsed)" "${1#+ }" ;;
	'@up') printf '  [%3d s] everything is up\n' "$(elapsed)" ;;
	'@bad '*)
		verdict=1
		printf 'demo: %s\n' "${1#@bad }"
		;;
	'  '*) printf '%s\n' "$1" ;;
	*) printf '\n%s\n' "$1" ;;
	esac
}

cat <<'END'
ringfence: two qubes and their firewall qube on Xen

Real Xen 4.17, real unmodified Linux guests; QEMU emulates the machine, so no
hardware virtualisation is needed. This takes two to four minutes on two idle
cores. Ctrl-C ends it and cleans up.

END
nice -n 5 make -s -j2 BUILD="$BUILD" lab ||
	exit 1
printf '  [%3d s] assembling the images of dom0 and the guests\n' "$(elapsed)"
tests/xen/build-images.sh "$BUILD/lab" "$BUILD" || exit 1
lab_trap
lab_boot "$BUILD/lab" "$out" tests/xen/demo-dom0.sh "${LAB_LIMIT:-1500}" "${LAB_MODE:-count}"
printf '  [%3d s] booting Xen\n' "$(elapsed)"
lab_follow show || {
	echo "demo: the lab ended early; see $out/console.log"
	exit 1
}
if [ $verdict = 0 ]; then
	printf '\nDone in %d s. The same and more, as tests: make check-xen\n' "$(elapsed)"
else
	echo "consoles: $out"
fi
exit $verdict
