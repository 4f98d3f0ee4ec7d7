#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
#
# The first program of a machine's kernel: loads the modules and goes on with
# the machine's own script.
set -e
/bin/busybox --install -s /bin
PATH=/bin
trap 'echo "init: failed, see above"; echo b >/proc/sysrq-trigger; sleep 60' EXIT

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in /modules/*; do
	case $module in
	*.xz) xzcat "$module" >/module ;;
	*) cat "$module" >/module ;;
	esac
	insmod /module
done
. /script
