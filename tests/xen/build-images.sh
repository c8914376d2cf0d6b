#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Assemble the Xen lab from the packages of this machine: the hypervisor, one
# kernel for every domain, and three initramfs images.
#
#   build-images.sh OUT BUILD
#
#   OUT/xen         the hypervisor, uncompressed
#   OUT/vmlinux     Debian's kernel as a plain ELF file: decompressing a bzImage
#                   is emulated work, repeated for each domain
#   OUT/guest.cpio  net, app and the stock firewall: one image, role= decides
#   OUT/fw.cpio     ringfence's firewall domain: no netback, netfront or xenfs
#                   exists in it, so nothing can load them by accident
#   OUT/dom0.cpio   dom0, with all of the above (but xen) under /lab
#
# LAB_APPLIANCE=DIR: what `make appliance` left in DIR goes to /lab/appliance in
# dom0, with appliance.sh, the scenarios that boot it.
#
# BUILD is where ringfenced, ringfence and the programs of tests/xen were built;
# without BUILD/ringfenced only the stock variant can run.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=${1:?usage: build-images.sh OUT BUILD}
build=${2:?usage: build-images.sh OUT BUILD}

die()
{
	echo "build-images: $*" >&2
	exit 1
}

# A file of an installed package, or a message that names the package.
need()
{
	[ -e "$1" ] || die "$1 is missing: install the package $2 (make deps)"
}

need_cmd()
{
	command -v "$1" >/dev/null || die "command $1 is missing: install the package $2 (make deps)"
}

xenver=4.17
xenbin=/usr/lib/xen-$xenver/bin
need /boot/xen-$xenver-amd64.gz xen-hypervisor-$xenver-amd64
need $xenbin/xl xen-utils-$xenver
need /bin/busybox busybox-static
need /bin/dash dash
for pair in cpio:cpio xz:xz-utils gzip:gzip ip:iproute2 nft:nftables iperf3:iperf3 ping:iputils-ping \
	tcpdump:tcpdump modprobe:kmod flock:util-linux ldd:libc-bin xenstore-ls:xenstore-utils jq:jq; do
	need_cmd "${pair%%:*}" "${pair##*:}"
done

kernel=$(find /boot -maxdepth 1 -name 'vmlinuz-*-amd64' | sort -V | tail -n 1)
[ -n "$kernel" ] || die "no /boot/vmlinuz-*-amd64: install the package linux-image-amd64 (make deps)"
kver=${kernel#/boot/vmlinuz-}
[ -d "/lib/modules/$kver" ] || die "/lib/modules/$kver is missing, though $kernel exists"

mkdir -p "$out"
work=$(mktemp -d "$out/.work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The payload of a bzImage: its place is in the setup header (Linux boot
# protocol 2.08: payload_offset at 0x248, payload_length at 0x24c).
extract_kernel()
{
	local setup off len

	setup=$(od -An -tu1 -j $((0x1f1)) -N 1 "$kernel" | tr -d ' ')
	off=$(od -An -tu4 -j $((0x248)) -N 4 "$kernel" | tr -d ' ')
	len=$(od -An -tu4 -j $((0x24c)) -N 4 "$kernel" | tr -d ' ')
	off=$(((setup + 1) * 512 + off))
	# The last four bytes are the uncompressed size, appended by the kernel's build.
	dd if="$kernel" of="$work/payload" bs=1M iflag=skip_bytes,count_bytes \
		skip="$off" count=$((len - 4)) status=none
	case $(od -An -tx1 -N 4 "$work/payload" | tr -d ' ') in
	fd377a58) xz -dc "$work/payload" >"$work/vmlinux" ;;
	1f8b*) gzip -dc "$work/payload" >"$work/vmlinux" ;;
	28b52ffd)
		need_cmd zstd zstd
		zstd -dcq "$work/payload" >"$work/vmlinux"
		;;
	*) die "$kernel: unknown compression" ;;
	esac
	mv "$work/vmlinux" "$out/vmlinux"
}

# put ROOT FILE [DEST]: a program or library with everything it links to.
put()
{
	local root=$1 file=$2 dest=${3:-$2} lib

	mkdir -p "$root$(dirname "$dest")"
	# dest may be a link to busybox by now.
	cp -L --remove-destination "$file" "$root$dest"
	# ldd fails on a static file or a script, which has no libraries to copy.
	{ ldd "$file" 2>/dev/null || true; } | awk '/=> \//{print $3} /^\t\//{print $1}' |
		while read -r lib; do
			[ -e "$root$lib" ] && continue
			mkdir -p "$root$(dirname "$lib")"
			cp -L "$lib" "$root$lib"
		done
}

put_cmd()
{
	local root=$1 name

	shift
	for name in "$@"; do
		put "$root" "$(command -v "$name")" "/bin/$name"
	done
}

# put_modules ROOT LIST NAME...: the modules with what they need, and the order
# to load them in as /lab/modules.LIST: init then works without modprobe.
put_modules()
{
	local root=$1 list=$2 name ko

	shift 2
	mkdir -p "$root/lab" "$root/lib/modules"
	for name in "$@"; do
		modprobe -S "$kver" --show-depends --ignore-install "$name" ||
			die "kernel $kver has no module $name"
	done | awk '$1 == "insmod" && !seen[$2]++ {print $2}' |
		while read -r ko; do
			cp "$ko" "$root/lib/modules/"
			echo "/lib/modules/${ko##*/}"
		done >"$root/lab/modules.$list"
}

skeleton()
{
	local root=$1 name

	mkdir -p "$root"/{bin,sbin,dev,proc,sys,run,tmp,etc,lab,usr/bin,usr/sbin,var/lib/xen,var/log}
	ln -sf /run "$root/var/run"
	cp /bin/busybox "$root/bin/busybox"
	for name in $(/bin/busybox --list); do
		[ "$name" = busybox ] || ln -sf busybox "$root/bin/$name"
	done
	# Not busybox's shell: Debian builds it to prefer its own ip and ping.
	put "$root" /bin/dash /bin/sh
	# Programs that are found by name, not by need: NSS is not wanted, and
	# libgcc_s is opened by pthread_cancel() at run time (xl aborts without it).
	put "$root" "$(ldconfig -p | awk '/libgcc_s\.so\.1 .*x86-64/{print $NF; exit}')"
	echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
	echo 'root:x:0:' >"$root/etc/group"
}

pack()
{
	(cd "$1" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) >"$2.new"
	mv "$2.new" "$2"
}

# A program of tests/xen/, from the build folder.
put_built()
{
	[ -x "$build/xen/$2" ] || die "$build/xen/$2 is missing: make $build/xen/$2"
	put "$1" "$build/xen/$2" "/bin/$2"
}

guest_image()
{
	local root=$work/guest

	skeleton "$root"
	put_cmd "$root" ip iperf3 ping tcpdump flock nft date
	put "$root" "$xenbin/xl" /bin/xl
	put_cmd "$root" xenstore-read xenstore-write xenstore-ls
	put_built "$root" peer
	put_built "$root" rawfrag
	mkdir -p "$root/etc/xen/scripts" "$root/var/log/xen"
	cp /etc/xen/xl.conf "$root/etc/xen/"
	install -m 755 "$here/vif-lab.sh" "$root/etc/xen/scripts/vif-lab"
	install -m 755 "$here/guest-init.sh" "$root/init"
	install -m 644 "$here/stock.nft" "$root/lab/stock.nft"
	put_modules "$root" app xen-netfront
	put_modules "$root" net xen-evtchn xen-gntdev xen-privcmd xenfs xen-netback veth
	put_modules "$root" stock xen-evtchn xen-gntdev xen-privcmd xenfs xen-netback xen-netfront \
		nf_tables nf_conntrack nft_ct nft_chain_nat nft_masq nft_reject_ipv4 nf_nat \
		nf_conntrack_netlink
	pack "$root" "$out/guest.cpio"
}

fw_image()
{
	local root=$work/fw

	skeleton "$root"
	put_cmd "$root" flock
	install -m 755 "$here/guest-init.sh" "$root/init"
	put_modules "$root" fw xen-evtchn xen-gntdev xen-gntalloc
	if [ -x "$build/ringfenced" ]; then
		put "$root" "$build/ringfenced" /bin/ringfenced
		put "$root" "$build/ringfence" /bin/ringfence
	fi
	pack "$root" "$out/fw.cpio"
}

dom0_image()
{
	local root=$work/dom0 name

	skeleton "$root"
	for name in xl xenstored xenconsoled xen-init-dom0; do
		put "$root" "$xenbin/$name" "/bin/$name"
	done
	put_cmd "$root" xenstore-read xenstore-write xenstore-ls xenstore-list xenstore-rm \
		xenstore-exists xenstore-watch jq date
	mkdir -p "$root/etc/xen/scripts" "$root/var/log/xen" "$root/var/lib/xenstored"
	printf '%s\n' 'autoballoon="off"' 'run_hotplug_scripts=1' >"$root/etc/xen/xl.conf"
	cp "$here/vif-lab.sh" "$root/etc/xen/scripts/vif-lab"
	chmod 755 "$root/etc/xen/scripts/vif-lab"
	put_modules "$root" dom0 xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xenfs
	install -m 755 "$here/dom0-init.sh" "$root/init"
	install -m 644 "$here/dom0-lib.sh" "$root/lab/lib.sh"
	install -m 644 "$here/packets.sh" "$here/resync.sh" "$here/qrexec.sh" \
		"$root/lab/"
	for name in qubesdb-server qubesdb-cmd qvm-firewall resync qrexec-client; do
		put_built "$root" "$name"
	done
	if [ -n "${LAB_APPLIANCE:-}" ]; then
		mkdir "$root/lab/appliance"
		cp "$LAB_APPLIANCE/vmlinuz" "$LAB_APPLIANCE/initramfs" "$here/appliance.sh" \
			"$root/lab/appliance/"
	fi
	ln "$out/guest.cpio" "$root/lab/guest.cpio"
	ln "$out/fw.cpio" "$root/lab/fw.cpio"
	ln "$out/vmlinux" "$root/lab/vmlinux"
	pack "$root" "$out/dom0.cpio"
}

gzip -dc /boot/xen-$xenver-amd64.gz >"$work/xen"
mv "$work/xen" "$out/xen"
extract_kernel
guest_image
fw_image
dom0_image
