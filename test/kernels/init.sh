# SPDX-License-Identifier: Apache-2.0
#
# The first part of a machine's start, after boot/prelude.sh: makes the host's
# root, below a layer in memory, the root of this machine, and goes on in the
# share that the harness has made, with guest.sh.
mkdir /host /layer /new
nine=trans=virtio,version=9p2000.L,msize=512000,cache=loose
mount -t 9p -o "$nine,ro" root /host
mount -t tmpfs -o size=75% tmpfs /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work overlay /new

mount -t tmpfs -o mode=1777 tmpfs /new/tmp
mount -t tmpfs -o mode=755 tmpfs /new/run
mkdir -p /new/run/kernels
mount -t 9p -o "$nine" share /new/run/kernels
for dir in proc sys dev; do
	mount -o move /$dir /new/$dir
done
exec switch_root /new /bin/sh /run/kernels/guest.sh
