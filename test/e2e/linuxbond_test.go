// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// A bond of the kernel as a port: the kernel chooses the slave by which frames
// of the lane leave, and frames from the active slave take the lane.
func TestLinuxBond(t *testing.T) {
	if !lab.HasLinuxBonds() {
		t.Skip("this kernel has no bonding module: the kernel lab runs this test")
	}
	w := newWorld(t)
	vm := untagged(w.veth("v1", "tag=10"), 10)
	b, err := w.AddLinuxBond("br0", "bond0", "active-backup", []string{"slave0", "slave1"}, lab.PortOptions{})
	w.must(err)
	w.ports = append(w.ports, b.Members...)
	far := tagged(b.Port, w.NewMAC(), 10)
	w.mode("on")
	w.announce(vm, "lane")
	active, backup := b.Members[0], b.Members[1]
	w.announceBy(active, far, "lane")
	port := func() lab.PortStatus {
		t.Helper()
		ports, err := w.Lab.Ports()
		w.must(err)
		i := slices.IndexFunc(ports, func(p lab.PortStatus) bool { return p.Interface == b.Name })
		if i < 0 {
			t.Fatal("the bond is not listed")
		}
		return ports[i]
	}
	check := func(active *lab.Port) {
		t.Helper()
		before, vmBefore := port(), w.counts().ports[vm.port.Name]
		out, in := vm.frameTo(far.mac), far.frameTo(vm.mac)
		got, _ := w.send(vm.port, out, active.Name)
		w.arrivals(got, map[string][]byte{active.Name: far.out(out, 0)})
		got, _ = w.send(active, in, vm.port.Name)
		w.arrivals(got, map[string][]byte{vm.port.Name: vm.out(in, 0)})
		after, vmAfter := port(), w.counts().ports[vm.port.Name]
		const keepAlive = 3
		if n := after.RX.Lane - before.RX.Lane; n < burst-keepAlive {
			t.Errorf("%d of %d frames from %s took the lane: %+v", n, burst, active.Name, after)
		}
		if n := vmAfter.RX.Lane - vmBefore.RX.Lane; n < burst-keepAlive || after.TX.Lane-before.TX.Lane != n {
			t.Errorf("%d of %d frames to the bond took the lane: %+v", n, burst, after)
		}
	}
	check(active)
	// The kernel drops what the backup gets, and nobody has moved.
	w.bridgeDrops(backup, frame.UDP4(frame.Broadcast, vm.mac, frame.OnVLAN(10)))
	w.bridgeDrops(backup, far.frameTo(vm.mac))
	check(active)
	// The other slave takes over.
	w.must(active.VM.SetLink("eth0", false, 0))
	w.eventually(func() error {
		out, err := w.Hypervisor.Exec(t.Context(), "ip", "-details", "link", "show", b.Name)
		if err == nil && !strings.Contains(out, "active_slave "+backup.Name) {
			err = fmt.Errorf("the active slave is not %s: %s", backup.Name, out)
		}
		return err
	})
	time.Sleep(500 * time.Millisecond)
	check(backup)
	w.takeOver(w.bpffs())
	check(backup)
	if !t.Failed() {
		w.saw("bond of Linux, active-backup")
	}
}
