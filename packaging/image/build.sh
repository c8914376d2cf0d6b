#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# make appliance: a kernel and an initramfs that are a firewall qube.
#
#   BUILD=DIR packaging/image/build.sh
#
#   BUILD/appliance/vmlinuz     Debian's newest installed kernel, as it is
#   BUILD/appliance/initramfs   init, ringfenced, ringfence, their libraries, the
#                               kernel modules of their device files; nothing else
#
# No root. The same sources, compiler and Debian packages give the same bytes.
set -euo pipefail
cd "$(dirname "$0")/../.."

BUILD=${BUILD:-build}
SOURCE_DATE_EPOCH=$(packaging/epoch.sh)
export LC_ALL=C.UTF-8
umask 022
# A default of 1024 pages: two rings and 512 buffers of the uplink, the rings of
# QubesDB's vchan, and the same again while a dead peer still maps the old ones.
# tun: the own kernel's way to DNS (ringfenced --self).
modules=('xen-evtchn' 'xen-gntdev' 'xen-gntalloc limit=8192' 'tun')

die()
{
	echo "appliance: $*" >&2
	exit 1
}

for tool in cpio:cpio gzip:gzip strip:binutils nm:binutils modprobe:kmod ldd:libc-bin xz:xz-utils; do
	command -v "${tool%%:*}" >/dev/null ||
		die "${tool%%:*} is missing: install the package ${tool##*:} (make deps)"
done
kernel=$(find /boot -maxdepth 1 -name 'vmlinuz-*-amd64' | sort -V | tail -n 1)
[ -n "$kernel" ] || die "no /boot/vmlinuz-*-amd64: install the package linux-image-amd64 (make deps)"
kver=${kernel#/boot/vmlinuz-}
[ -d "/lib/modules/$kver" ] || die "/lib/modules/$kver is missing, though $kernel exists"

out=$BUILD/appliance
mkdir -p "$out"
work=$(mktemp -d "$out/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{bin,dev,lib/modules,proc,run,sbin,sys}

# put_libraries FILE: what the loader will want for it, where the loader looks.
put_libraries()
{
	local lib missing

	missing=$(ldd "$1" | awk '/not found/{print $1}')
	[ -z "$missing" ] || die "$1 needs $missing"
	ldd "$1" | awk '/=> \//{print $3} /^\t\//{print $1}' | while read -r lib; do
		[ -e "$root$lib" ] || install -D -m 755 "$lib" "$root$lib"
	done
}

put_program()
{
	install -m 755 "$1" "$root$2"
	strip --strip-unneeded --remove-section=.comment --remove-section=.note "$root$2"
	put_libraries "$root$2"
}

put_modules()
{
	local entry name parameters word ko base

	for entry in "${modules[@]}"; do
		name=${entry%% *} parameters=${entry#"$name"}
		# "insmod FILE" for each module it needs and for itself, "builtin NAME"
		modprobe -S "$kver" --show-depends --ignore-install "$name" >"$work/depends" ||
			die "kernel $kver has no module $name"
		while read -r word ko _; do
			[ "$word" = insmod ] || continue
			base=$(basename "$ko" | sed -E 's/\.(xz|zst|gz)$//')
			[ ! -e "$root/lib/modules/$base" ] || continue
			case $ko in
			*.xz) xz -dc "$ko" ;;
			*.zst) zstd -dcq "$ko" ;;
			*.gz) gzip -dc "$ko" ;;
			*) cat "$ko" ;;
			esac >"$root/lib/modules/$base"
			[ "${base%.ko}" = "$name" ] || parameters=''
			echo "$base$parameters" >>"$root/lib/modules/order"
			parameters=${entry#"$name"}
		done <"$work/depends"
	done
}

put_program "$BUILD/image/init" /init
ln -s /init "$root/sbin/poweroff"
ln -s /init "$root/sbin/reboot"
put_program "$BUILD/ringfenced" /sbin/ringfenced
put_program "$BUILD/ringfence" /bin/ringfence
put_modules
# No program names it, but pthread_cancel() opens it: libxenstore ends its thread
# that way, and the daemon would abort in the middle of an orderly stop.
# (No grep -q: with pipefail, a reader that leaves early is a failure now and then.)
if find "$root" -name '*.so*' -exec nm -D {} + | grep ' U pthread_cancel@' >/dev/null; then
	lib=$(/sbin/ldconfig -p | awk '/libgcc_s\.so\.1 .*x86-64/ && !lib {lib = $NF} END {print lib}')
	[ -n "$lib" ] || die "libgcc_s.so.1 is missing: install the package libgcc-s1"
	install -D -m 755 "$lib" "$root$lib"
	put_libraries "$root$lib"
fi

find "$root" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
(cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 --reproducible) >"$work/cpio"
gzip -9nc "$work/cpio" >"$work/initramfs"
install -m 644 "$kernel" "$work/vmlinuz"
mv "$work/vmlinuz" "$work/initramfs" "$out/"

kib() { echo $((($(stat -c %s "$1") + 1023) / 1024)); }
echo "$out/vmlinuz: $(kib "$out/vmlinuz") KiB, $kver"
echo "$out/initramfs: $(kib "$out/initramfs") KiB, unpacked $(kib "$work/cpio") KiB:"
(cd "$root" && find . -type f -printf '%s %P\n') | sort -rn |
	awk '{ printf "  %6d KiB  /%s\n", ($1 + 1023) / 1024, $2 }'
