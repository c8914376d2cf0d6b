#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The appliance's init as PID 1 of a namespace, with a shell script as ringfenced.
# There, reboot() ends the namespace: power off looks like SIGINT to the parent,
# reboot like SIGHUP (pid_namespaces(7)).
#
# BUILD: the build folder. Ends with "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

BUILD=${BUILD:-build}
dir=$(mktemp -d) || exit 1
unshare=
passed=0 failed=0
trap 'stop_all; rm -rf "$dir"' EXIT

stop_all() {
	[ -z "$unshare" ] || kill -9 "$unshare" 2>/dev/null
}

ok() { # what command...
	local what=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "not ok: $what"
		sed 's/^/  | /' "$dir/console"
	fi
}

says() { grep -E "^init: $1\$" "$dir/console" >/dev/null; }
silent_on() { ! says "$1"; }

# wait_for SECONDS COMMAND...
wait_for() {
	local end=$((SECONDS + $1 + 1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}

# machine: a root with init and, from stdin, a ringfenced
machine() {
	local lib name
	root=$dir/root
	rm -rf "$root"
	mkdir -p "$root"/{bin,dev,lib/modules,proc,run,sbin,sys}
	cp "$BUILD/image/init" "$root/init"
	ldd "$root/init" | awk '/=> \//{print $3} /^\t\//{print $1}' | while read -r lib; do
		install -D "$lib" "$root$lib"
	done
	cp /bin/busybox "$root/bin/busybox"
	for name in cat cp cut env grep sleep wc; do
		ln -s busybox "$root/bin/$name"
	done
	ln -s /init "$root/sbin/poweroff"
	ln -s /init "$root/sbin/reboot"
	{ printf '%s\n' '#!/bin/busybox sh' PATH=/bin; cat; } >"$root/sbin/ringfenced"
	chmod 755 "$root/sbin/ringfenced"
	: >"$dir/console"
}

# boot: in the background. Its environment is what a kernel might hand over.
boot() {
	local user=()
	[ "$(id -u)" = 0 ] || user=(-r)
	junk=1 unshare "${user[@]}" -pfm --kill-child -R "$root" /init >"$dir/console" 2>&1 </dev/null &
	unshare=$!
}

# pid of init, seen from here
init_pid() { cat "/proc/$unshare/task/$unshare/children"; }

# ends STATUS: of unshare, which dies as its child did
ends() {
	local status
	# the shell would tell which signal it was
	{
		wait_for 8 gone "$unshare" || return 1
		wait "$unshare"
		status=$?
	} 2>/dev/null
	unshare=
	[ "$status" = "$1" ] || { echo "status $status, not $1" && false; }
}

gone() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:.Z' "/proc/$1/status"; }

# Deaths of every kind, back-off, orphans, and the kernel's way to power off.
a_life() {
	machine <<'END'
cut -d ' ' -f 1 /proc/uptime >>/starts
case $(wc -l </starts) in
1) exit 3 ;;
2) kill -9 $$ ;;
3) sleep 0.1 & exit 0 ;; # an orphan
4) kill -SEGV $$ ;;
esac
echo "$0 $*" >/argv
env | grep junk >/junk
trap 'echo stopped >/stopped; exit 0' TERM
sleep 0.3
cat /proc/[0-9]*/stat | grep ') Z ' >/zombies
cp /proc/mounts /mounts
/sbin/poweroff
while :; do sleep 1 & wait; done
END
	printf '%s\n' 'missing.ko' 'garbage.ko limit=1' >"$root/lib/modules/order"
	echo 'no module' >"$root/lib/modules/garbage.ko"
	boot
	ok 'powers off' ends 130
	ok 'missing module' says 'module missing.ko: No such file or directory'
	ok 'garbage module' says 'module garbage.ko: .+'
	ok 'exit status' says 'ringfenced died: exit status 3; again in 0.1 s'
	ok 'SIGKILL' says 'ringfenced died: signal 9 \(Killed\); again in 0.2 s'
	ok 'exit 0 is a death, too' says 'ringfenced died: exit status 0; again in 0.4 s'
	ok 'SIGSEGV' says 'ringfenced died: signal 11 \(Segmentation fault\); again in 0.8 s'
	# Start to start: at least the back-off, and not the next one (a busy machine: late).
	ok 'back-off' awk 'NR > 1 {
			want = 0.1 * 2 ^ (NR - 2)
			if ($1 - last < want - 0.02 || $1 - last > want + 2) exit 1
		} { last = $1 } END { if (NR != 5) exit 1 }' "$root/starts"
	ok 'options' grep -qx '/sbin/ringfenced --xen --qubesdb vchan --qrexec --self' "$root/argv"
	ok 'no environment' test -e "$root/junk" -a ! -s "$root/junk"
	ok 'orphans are reaped' test -e "$root/zombies" -a ! -s "$root/zombies"
	for where in /proc /sys /run; do
		ok "$where" grep -q " $where [a-z]* [a-z,]*nosuid,nodev,noexec" "$root/mounts"
	done
	ok 'says so' says 'powering off'
	ok 'stopped in order' test -s "$root/stopped"
	ok 'says how' says 'ringfenced ended: exit status 0'
}

reboots() {
	machine <<'END'
trap 'exit 7' TERM
/sbin/reboot
while :; do sleep 1 & wait; done
END
	boot
	ok 'reboots' ends 129
	ok 'says reboot' says 'rebooting'
	ok 'failed stop' says 'ringfenced ended: exit status 7'
}

does_not_stop() {
	machine <<'END'
trap '' TERM
echo up
while :; do sleep 1; done
END
	boot
	ok 'is up' wait_for 5 grep -qx up "$dir/console"
	kill -TERM "$(init_pid)"
	ok 'is told' wait_for 2 says 'powering off'
	sleep 1
	ok 'is given time' silent_on 'ringfenced does not stop: killed'
	ok 'powers off anyway' ends 130
	ok 'killed' says 'ringfenced does not stop: killed'
	ok 'by SIGKILL' says 'ringfenced ended: signal 9 \(Killed\)'
}

# Nothing to run: slower and slower up to 5 s, and a stop while it waits.
nothing_to_run() {
	machine </dev/null
	rm "$root/sbin/ringfenced"
	boot
	ok 'slows down' wait_for 12 says 'ringfenced died: exit status 127; again in 5.0 s'
	ok 'says why' says '/sbin/ringfenced: No such file or directory'
	ok 'each time longer' test "$(sed -n 's/.*again in //p' "$dir/console" | tr '\n' ' ')" = \
		'0.1 s 0.2 s 0.4 s 0.8 s 1.6 s 3.2 s 5.0 s '
	kill -INT "$(init_pid)" # the kernel's ctrl-alt-del
	ok 'powers off at once' ends 130
}

not_first() {
	"$BUILD/image/init" >"$dir/console" 2>&1
	ok 'refuses to run beside another init' test $? = 2
}

make -s BUILD="$BUILD" "$BUILD/image/init" || exit 1
a_life
reboots
does_not_stop
nothing_to_run
not_first
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
