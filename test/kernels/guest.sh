# SPDX-License-Identifier: Apache-2.0
#
# The second part of a machine's start, on the host's root: mounts what a system
# has, sees to the modules and network cards, and does the job in job.sh.
#
# What the harness reads comes through a port of its own, not the console: what
# the job prints, and lines of guest.sh's own, which begin with the byte 0x16 as
# the test binaries' own do (go doc test2json).
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/root
LANG=C.UTF-8
export PATH HOME LANG

for port in /sys/class/virtio-ports/*; do
	read -r name <"$port/name" && [ "$name" = harness ] && exec 3>"/dev/${port##*/}"
done

tell() { printf '\026%s\n' "$*" >&3; }
end() {
	sync
	echo b >/proc/sysrq-trigger # QEMU ends where the machine would start anew
	sleep 60
}
die() {
	tell "failed $*"
	end
}

# suite runs a test binary in the folder of its package.
suite() {
	name=$1 dir=$2
	shift 2
	tell "suite $name"
	(cd "$dir" && exec "/run/kernels/$name.test" "$@") </dev/null >&3 2>&1 3>&-
	tell "code $?"
}

mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
mkdir -p /run/lock /run/netns
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout
ln -sf /proc/self/fd/2 /dev/stderr
ip link set lo up
hostname "linux-$(uname -r | tr -c 'a-z0-9\n' -)"

. /run/kernels/settings.sh # REPOSITORY, NICS

share() {
	mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 "$1" "$2"
}
OVS_XDP_KERNEL=/run/kernel # of machines that tests start in this one
export OVS_XDP_KERNEL
modules=/lib/modules/$(uname -r)
mkdir -p $OVS_XDP_KERNEL "$modules"
share kernel $OVS_XDP_KERNEL && mount --bind "$OVS_XDP_KERNEL$modules" "$modules" || die "mount the kernel's modules"
mkdir -p "$REPOSITORY" && share repository "$REPOSITORY" || die "mount the repository"
for module in openvswitch tun; do # tun: there is no udev to make /dev/net/tun
	modprobe $module || die "load the module $module"
done

# NICS is "driver:address,address …", OVS_XDP_NICS the same with device names.
OVS_XDP_NICS=
for pair in $NICS; do
	driver=${pair%%:*} names=
	modprobe "$driver" || die "load the module $driver"
	for address in $(echo "${pair#*:}" | tr , ' '); do
		name=
		for device in /sys/class/net/*; do
			read -r a <"$device/address" && [ "$a" = "$address" ] && name=${device##*/}
		done
		[ -n "$name" ] || die "no network card $address ($driver)"
		names=$names${names:+,}$name
	done
	OVS_XDP_NICS="$OVS_XDP_NICS${OVS_XDP_NICS:+ }$driver:$names"
done
export OVS_XDP_NICS

# The programs as they were when the harness began.
OVS_XDP_BIN=/run/kernels/bin
export OVS_XDP_BIN
OVS_XDP_PATIENCE=3 # emulated, so slow
export OVS_XDP_PATIENCE
OVS_XDP_SAW=/run/kernels/saw
export OVS_XDP_SAW
PATH=$OVS_XDP_BIN:$PATH

# Open vSwitch 3.1 counts the CPUs once in ten seconds of the monotonic clock,
# beginning at 0: started earlier, its kernel datapath has no handler.
while read -r up _ </proc/uptime && [ "${up%.*}" -lt 11 ]; do
	sleep 0.2
done

cd "$REPOSITORY" || die "enter $REPOSITORY"
tell "ready $(uname -r)"
. /run/kernels/job.sh
tell "done"
end
