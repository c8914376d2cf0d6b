#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# make appliance: what is in the image, that its programs find all they need in
# it, and that packing it again gives the same bytes. tests/unit/init.sh has its
# init, tests/xen/appliance.sh boots it.
#
# BUILD: the build folder. Ends with "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

BUILD=${BUILD:-build}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
passed=0 failed=0

ok() { # what command...: shows its output when it fails
	local what=$1
	shift
	if "$@" >"$dir/log" 2>&1; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "not ok: $what"
		sed 's/^/  | /' "$dir/log"
	fi
}

# A root without anything of this machine; where chroot is not allowed, a user's.
inside() {
	local user=()
	[ "$(id -u)" = 0 ] || user=(-r)
	env -i unshare "${user[@]}" -R "$dir/root" "$@"
}

has() { grep -Ex -- "$1" "$2" >/dev/null || { cat "$2" && false; }; }

SOURCE_DATE_EPOCH=$(packaging/epoch.sh)
export SOURCE_DATE_EPOCH
image=$BUILD/appliance
ok 'make appliance' make -s BUILD="$BUILD" appliance
if ! [ -f "$image/initramfs" ]; then
	echo "$passed passed, $failed failed"
	exit 1
fi
cp "$image/initramfs" "$dir/first"
kernel=$(find /boot -maxdepth 1 -name 'vmlinuz-*-amd64' | sort -V | tail -n 1)
ok 'the kernel is the newest one' cmp "$kernel" "$image/vmlinuz"

mkdir "$dir/root"
gzip -dc "$image/initramfs" | (cd "$dir/root" && cpio --quiet -idm)
version=$(make -s --no-print-directory --eval='p: ; @echo $(VERSION)' p)
for program in /sbin/ringfenced /bin/ringfence; do
	inside $program --version >"$dir/version" 2>&1
	ok "$program starts" has "${program##*/} $version" "$dir/version"
done
inside /init >"$dir/log" 2>&1
ok 'init starts, and is not PID 1 here' test $? = 2

# libgcc_s: what pthread_cancel() opens at run time; nothing else is unnamed.
(cd "$dir/root" && find . -type f -printf '%P\n' | sed -E 's#.*/(lib[a-z_]+)[^/]*\.so.*#\1#' | sort) >"$dir/files"
# No xl that could run devd, no backend of the kernel's: vifs are ours alone.
ok 'X6.10_nothing_else_serves_vifs: files' diff "$dir/files" - <<-END
	bin/ringfence
	init
	lib/modules/order
	lib/modules/tun.ko
	lib/modules/xen-evtchn.ko
	lib/modules/xen-gntalloc.ko
	lib/modules/xen-gntdev.ko
	lib64/ld-linux-x86-64.so.2
	libc
	libcares
	libgcc_s
	libjansson
	libseccomp
	libxenevtchn
	libxengnttab
	libxenstore
	libxentoolcore
	libxentoollog
	libxenvchan
	sbin/ringfenced
END
# X6.10: nothing but ringfenced may answer for a vif
X6_10_no_kernel_network_drivers() {
	! find "$dir/root" -name '*.ko*' | grep -E 'netback|netfront|xenfs|privcmd|xen-blk'
}
ok 'X6.10: no network drivers of the kernel' X6_10_no_kernel_network_drivers
ok 'links' diff <(cd "$dir/root" && find . -type l -printf '%P %l\n' | sort) - <<-END
	sbin/poweroff /init
	sbin/reboot /init
END
ok 'neither devices nor sockets' diff /dev/null <(find "$dir/root" ! -type f ! -type d ! -type l)
ok 'order of modules' diff "$dir/root/lib/modules/order" - <<-END
	xen-evtchn.ko
	xen-gntdev.ko
	xen-gntalloc.ko limit=8192
	tun.ko
END
for ko in xen-evtchn xen-gntdev xen-gntalloc tun; do
	ok "$ko is of the kernel" test "$(modinfo -F vermagic "$dir/root/lib/modules/$ko.ko" | cut -d ' ' -f 1)" = \
		"${kernel#/boot/vmlinuz-}"
done
ok 'gntalloc knows its parameter' sh -c "modinfo -p $dir/root/lib/modules/xen-gntalloc.ko | grep '^limit:'"
ok 'owned by root' diff /dev/null \
	<(gzip -dc "$image/initramfs" | cpio --quiet -itvn | awk '$3 != 0 || $4 != 0')

sleep 1.1
ok 'again' env TZ=Asia/Tokyo LC_ALL=POSIX sh -c "umask 077; make -s BUILD='$BUILD' appliance"
ok 'the same bytes' cmp "$dir/first" "$image/initramfs"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
