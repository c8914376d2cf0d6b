#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Boot the Xen lab in QEMU and follow it: sourced by run.sh, demo.sh and the
# benchmark, or run by hand:
#
#   boot.sh BUILD OUTDIR [SCENARIO]   without a scenario: an interactive dom0
#                                     on OUTDIR/console.sock (socat or nc)
#
# QEMU's first serial port is Xen's console (OUTDIR/console.log), the second one
# carries the scenario's results (OUTDIR/report.txt). A scenario is a shell text
# for dom0 (tests/xen/dom0-lib.sh): it is appended to the initramfs as a second
# cpio archive, so the large images are built once.

lab_qemu_pid=
lab_out=

# lab_stop: end what lab_boot started. Safe to call twice.
lab_stop()
{
	if [ -n "$lab_qemu_pid" ]; then
		kill "$lab_qemu_pid" 2>/dev/null
		wait "$lab_qemu_pid" 2>/dev/null
		lab_qemu_pid=
	fi
	[ -z "$lab_out" ] || rm -f "$lab_out/initrd.cpio" "$lab_out/console.sock"
}

lab_trap()
{
	trap lab_stop EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

# lab_boot IMAGES OUTDIR SCENARIO LIMIT_S [MODE [WORDS]]: start it in the background.
#
# MODE tests: as fast as this machine can. MODE count: virtual time is tied to
# executed instructions, so ratios of two runs do not depend on the machine.
# WORDS are shell assignments for the scenario.
lab_boot()
{
	local images=$1 scenario=$3 limit=$4 mode=${5:-tests} words=${6:-} top
	local dom0="vmlinux console=hvc0 quiet loglevel=4 rdinit=/init"
	local xen="console=com1 com1=115200,8n1 dom0_mem=768M,max:768M dom0_max_vcpus=1"
	local accel=(-accel "tcg,thread=multi,tb-size=512" -smp 2)

	lab_out=$2
	mkdir -p "$lab_out"
	rm -f "$lab_out"/{report.txt,console.log,console.sock,initrd.cpio}
	if [ "$mode" = count ]; then
		accel=(-accel "tcg,thread=single,tb-size=512" -icount "shift=1,sleep=off" -smp 1)
	fi
	cp "$images/dom0.cpio" "$lab_out/initrd.cpio"
	if [ -n "$scenario" ]; then
		top=$(mktemp -d "$lab_out/.top.XXXXXX")
		mkdir "$top/lab"
		{ [ -z "$words" ] || echo "$words"; cat "$scenario"; } >"$top/lab/scenario.sh"
		(cd "$top" && find . | cpio --quiet -o -H newc -R 0:0) >>"$lab_out/initrd.cpio"
		rm -rf "$top"
	fi
	: >"$lab_out/report.txt"
	timeout -k 5 "$limit" qemu-system-x86_64 "${accel[@]}" -cpu qemu64 -m 3072 \
		-nodefaults -display none -no-reboot \
		-kernel "$images/xen" -initrd "$images/$dom0,$lab_out/initrd.cpio" \
		-append "$xen loglvl=warning guest_loglvl=warning" \
		-chardev "socket,id=con,path=$lab_out/console.sock,server=on,wait=off,logfile=$lab_out/console.log" \
		-serial chardev:con -serial "file:$lab_out/report.txt" \
		</dev/null >"$lab_out/qemu.log" 2>&1 &
	lab_qemu_pid=$!
}

# lab_follow FILTER: hand each line of the report to the function FILTER until the
# scenario is done. Returns 1 when the lab ended before that. Files that the
# scenario sends are put into the OUTDIR.
lab_follow()
{
	local filter=$1 line name='' pos=0 total alive=1

	while :; do
		# Whole lines only: the rest of one comes with the next look. Liveness is
		# read first, so that the last lines of a lab that ended are seen.
		kill -0 "$lab_qemu_pid" 2>/dev/null || alive=0
		total=$(wc -l <"$lab_out/report.txt")
		if [ "$total" -gt "$pos" ]; then
			while IFS= read -r line; do
				case $line in
				'@file '*)
					name=${line#@file }
					name=${name//[^A-Za-z0-9._-]/_}
					: >"$lab_out/$name.b64"
					;;
				'@endfile')
					base64 -d <"$lab_out/$name.b64" | gzip -dc >"$lab_out/$name" || true
					rm -f "$lab_out/$name.b64"
					name=
					;;
				'@done') return 0 ;;
				*)
					if [ -n "$name" ]; then
						echo "$line" >>"$lab_out/$name.b64"
					else
						"$filter" "$line"
					fi
					;;
				esac
			done < <(sed -n "$((pos + 1)),${total}p" "$lab_out/report.txt" | tr -d '\r')
			pos=$total
		fi
		[ $alive = 1 ] || return 1
		sleep 0.2
	done
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	set -eu
	here=$(cd "$(dirname "$0")" && pwd)
	build=${1:?usage: boot.sh BUILD OUTDIR [SCENARIO]}
	out=${2:?usage: boot.sh BUILD OUTDIR [SCENARIO]}
	"$here/build-images.sh" "$build/lab" "$build"
	lab_trap
	lab_boot "$build/lab" "$out" "${3:-}" "${LAB_LIMIT:-3600}" "${LAB_MODE:-tests}" "${LAB_WORDS:-}"
	lab_follow echo
fi
