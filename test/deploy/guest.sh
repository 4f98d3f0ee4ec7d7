#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# What happens in the clean Debian: a service of systemd runs this, as root, and
# what it prints ends up in /result; the last line is "passed" when it did. Both
# packages are tried, the .rpm by the rpm that Debian has.
set -eu
trap 'systemctl --no-block poweroff' EXIT

say() { echo "== $*"; }
fail() {
	echo "FAILED: $*"
	systemctl status --no-pager --full ovs-xdpd || true
	journalctl --no-pager -u ovs-xdpd | tail -40 || true
	exit 1
}
# eventually COMMAND...: try it for a while.
eventually() {
	for _ in $(seq 200); do
		"$@" >/dev/null 2>&1 && return 0
		sleep 0.1
	done
	"$@" || fail "not within 20 s: $*"
}
files() { find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/log -o -path /var/cache -o -path /var/lib/dpkg -o -path /var/lib/rpm -o -path /root -o -path /var/lib/systemd -o -path /result \) -prune -o -print | sort; }
programs() { ip -d link show | grep -c 'prog/xdp' || true; }
pid() { systemctl show -p MainPID --value ovs-xdpd; }
on_lane() { ovs-xdpctl coverage | awk '$1 == "lane" { print $2 }'; }
pings() { ip netns exec vm1 ping -q -W 5 -i 0.05 -c "$1" 10.0.0.2; }
state() { ovs-xdpctl status -o json | grep -q '"state": "'"$1"'"'; }

say "Open vSwitch, in userspace, at its usual place"
mkdir -p /sys/fs/bpf # a container has none
mount -t bpf bpf /sys/fs/bpf
mkdir -p /run/openvswitch /etc/openvswitch
rm -f /etc/openvswitch/conf.db
ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server --remote=punix:/run/openvswitch/db.sock --pidfile --detach --log-file=/var/log/ovsdb.log -vconsole:off
ovs-vsctl --no-wait init
ovs-vswitchd --pidfile --detach --log-file=/var/log/vswitchd.log -vconsole:off
ovs-vsctl add-br br0 -- set bridge br0 datapath_type=netdev
for i in 1 2; do
	ip netns add "vm$i"
	ip link add "v$i" type veth peer name eth0 netns "vm$i"
	ip netns exec "vm$i" ethtool -K eth0 gro on tx off >/dev/null
	ip netns exec "vm$i" ip addr add "10.0.0.$i/24" dev eth0
	ip netns exec "vm$i" ip link set eth0 up
	ip link set "v$i" up
	ovs-vsctl add-port br0 "v$i"
done
pings 3

case_deb() {
	case $1 in
	install) dpkg -i /ovs-xdp.deb ;;
	again) dpkg -i --force-confold /ovs-xdp.deb ;;
	remove) dpkg -r ovs-xdp ;;
	purge) dpkg -P ovs-xdp ;;
	esac
}
# Debian's rpm knows nothing of what dpkg has installed: the one dependency is
# looked at, and then left out.
case_rpm() {
	case $1 in
	install)
		rpm -i /ovs-xdp.rpm 2>/tmp/needs && fail "it needs nothing"
		[ "$(grep -c 'is needed by' /tmp/needs)" = 1 ] && grep '/usr/bin/ovs-ofctl is needed by' /tmp/needs || fail "it needs something else: $(cat /tmp/needs)"
		rpm -i --nodeps /ovs-xdp.rpm
		rpm -V --nodeps ovs-xdp
		# rpm's way: the administrator enables and starts it.
		[ "$(systemctl is-active ovs-xdpd)" = inactive ] || fail "the service runs before it was asked for"
		systemctl enable --now ovs-xdpd
		;;
	again) rpm -U --replacepkgs --nodeps /ovs-xdp.rpm ;;
	remove) rpm -e ovs-xdp ;;
	purge)
		# Left for those who have changed it, as rpm does; and the group, as is usual there.
		rm /etc/sysconfig/ovs-xdpd.rpmsave
		groupdel ovs-xdp
		;;
	esac
}

for format in deb rpm; do
package() { "case_$format" "$1" || fail "$format: $1"; }
options=/etc/default/ovs-xdpd
if [ "$format" = rpm ]; then
	options=/etc/sysconfig/ovs-xdpd
	# Hosts with rpm have these folders, from other packages.
	mkdir -p /etc/sysconfig /usr/share/zsh/site-functions /usr/share/fish/vendor_completions.d /usr/share/bash-completion/completions
fi
files >/tmp/before
groups_before=$(cat /etc/group)

say "$format: install"
package install
systemctl is-active ovs-xdpd || fail "the service does not run"
systemctl is-enabled ovs-xdpd
getent group ovs-xdp
grep '^Cap\|^NoNewPrivs\|^Seccomp:' "/proc/$(pid)/status"
[ "$(programs)" = 0 ] || fail "programs are attached though no bridge asks for them"

say "$format: the lane"
ovs-vsctl set bridge br0 external_ids:xdp-offload=on
eventually state on
pings 20
before=$(on_lane)
pings 50
after=$(on_lane)
[ "$((after - before))" -ge 80 ] || fail "of 100 frames $((after - before)) took the lane: $(ovs-xdpctl status; ovs-xdpctl coverage)"
ovs-xdpctl status
ovs-xdpctl doctor || [ $? -lt 11 ] || fail "doctor finds problems"
timeout 20 ovs-xdpctl capture v1 -c 5 >/tmp/captured 2>&1 &
capturing=$!
eventually grep -q capturing /tmp/captured
pings 10
wait "$capturing" || fail "capture: $(cat /tmp/captured)"
[ "$(grep -c ' > v[12] .* IPv4 10.0.0' /tmp/captured)" = 5 ] || fail "capture: $(cat /tmp/captured)"

say "$format: reload is a takeover"
pings 100 >/tmp/ping &
pinging=$!
old=$(pid)
systemctl reload ovs-xdpd || fail "reload"
new=$(pid)
case $new in 0 | "$old") fail "the main process is $new, and was $old" ;; esac
[ ! -e "/proc/$old" ] || eventually test ! -e "/proc/$old"
wait "$pinging"
cat /tmp/ping
grep -q ' 0% packet loss' /tmp/ping || fail "frames were lost"
eventually state on
[ "$(on_lane)" -ge "$after" ] || fail "counters began anew"

say "$format: options, metrics on a unix socket"
sed -i 's|^OVS_XDPD_OPTS=.*|OVS_XDPD_OPTS="--metrics-listen=unix:/run/ovs-xdp/metrics.sock --finish-checksums"|' "$options"
systemctl reload ovs-xdpd
eventually test -S /run/ovs-xdp/metrics.sock
[ "$(stat -c '%U %G %a' /run/ovs-xdp/metrics.sock)" = "root ovs-xdp 660" ] || fail "the socket: $(stat -c '%U %G %a' /run/ovs-xdp/metrics.sock)"
tr '\0' ' ' <"/proc/$(pid)/cmdline" | grep -q -- --finish-checksums || fail "options are not taken over"

say "$format: installed again, as in an upgrade"
old=$(pid)
package again
[ "$old" != "$(pid)" ] || fail "the new version does not run"
eventually state on
grep -q finish-checksums "$options" || fail "the options of the administrator are gone"

say "$format: killed, systemd starts it again"
old=$(pid)
kill -9 "$old"
eventually sh -c "[ \$(systemctl show -p MainPID --value ovs-xdpd) != 0 ] && [ \$(systemctl show -p MainPID --value ovs-xdpd) != $old ]"
eventually state on

say "$format: stop, start"
systemctl stop ovs-xdpd
[ "$(programs)" = 0 ] || fail "programs are left after stop"
pings 3
systemctl start ovs-xdpd
eventually state on

say "$format: remove"
package remove
[ "$(programs)" = 0 ] || fail "programs are left after the package was removed"
pgrep -a ovs-xdpd && fail "a daemon is left"
pings 3
package purge
files >/tmp/after
diff /tmp/before /tmp/after || fail "files are left, or gone"
[ "$groups_before" = "$(cat /etc/group)" ] || fail "/etc/group differs"
[ ! -e /run/ovs-xdp ] || fail "/run/ovs-xdp is left"
ls /run/openvswitch/ovs-xdpd* 2>/dev/null && fail "sockets or pidfiles are left"
ls -d /sys/fs/bpf/ovs-xdp* 2>/dev/null && fail "pins are left"
ovs-vsctl remove bridge br0 external_ids xdp-offload
done
echo passed
