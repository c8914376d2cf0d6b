#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# init of the lab's dom0: Xen's daemons, then the scenario. Results go to the
# second serial port (Xen has the first one), which the host reads as a file.
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /run
mkdir -p /run/xen /run/xenstored /run/lab /run/lock /var/lib/xenstored /var/log/xen
ln -sfn /run/lock /var/lock
ip link set lo up
stty -F /dev/ttyS1 raw -echo 115200

while read -r ko; do
	insmod "$ko" || echo "dom0: insmod $ko failed"
done </lab/modules.dom0
mount -t xenfs xenfs /proc/xen

xenstored --pid-file /run/xenstored.pid
xen-init-dom0 >/run/lab/xen-init-dom0.log 2>&1
xenconsoled --log=all --log-dir=/var/log/xen --pid-file=/run/xenconsoled.pid

# shellcheck source=tests/xen/dom0-lib.sh
. /lab/lib.sh
note "dom0 is up"
if [ -f /lab/scenario.sh ]; then
	# In a shell of its own: what ends it must not end init.
	/bin/sh -c '. /lab/lib.sh; . /lab/scenario.sh'
	report "@done"
fi
# The host ends QEMU when it reads @done; this shell is for whoever looks.
while :; do
	setsid cttyhack sh
done
