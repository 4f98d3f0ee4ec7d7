// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// bond adds a bond of two members to br0.
func (w *world) bond(name string, columns ...string) *lab.Bond {
	w.t.Helper()
	b, err := w.AddBond("br0", name, []string{name + "-a", name + "-b"}, columns...)
	w.must(err)
	w.ports = append(w.ports, b.Members...)
	return b
}

// activeMember waits until OVS has an active member, and returns it and the
// other one.
func (w *world) activeMember(b *lab.Bond) (active, other *lab.Port) {
	w.t.Helper()
	w.eventually(func() error {
		name, err := w.ActiveMember(b.Name)
		i := slices.IndexFunc(b.Members, func(m *lab.Port) bool { return m.Name == name })
		if err != nil || i < 0 {
			return fmt.Errorf("active member is %q: %w", name, err)
		}
		active, other = b.Members[i], b.Members[1-i]
		return nil
	})
	return active, other
}

// announceBy has a station behind a bond send a broadcast frame by a member, and
// waits until the daemon lists it on the bond, in the state.
func (w *world) announceBy(member *lab.Port, s station, state string) {
	w.t.Helper()
	w.must(member.Send(s.frameTo(frame.Broadcast)))
	w.drain(quiet)
	w.row(s, state)
}

// An active-backup bond sends and takes frames by its active member alone, by
// the lane as by OVS; another active member takes over with all its stations.
func TestActiveBackupBond(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	vm := untagged(w.veth("v1", "tag=10"), 10)
	b := w.bond("bond0", "bond_mode=active-backup")
	far := tagged(b.Port, w.NewMAC(), 10)
	w.mode("on")
	w.announce(vm, "lane")
	active, backup := w.activeMember(b)
	w.announceBy(active, far, "lane")

	for range 2 {
		in, out := far.frameTo(vm.mac), vm.frameTo(far.mac)
		w.lane(vm.port, active, out, far.out(out, 0))
		w.lane(active, vm.port, in, vm.out(in, 0))
		// OVS drops what comes from the backup, and has not moved anybody: the
		// machine's own broadcast, and the far station.
		w.bridgeDrops(backup, in)
		w.bridgeDrops(backup, frame.UDP4(frame.Broadcast, vm.mac, frame.OnVLAN(10)))
		w.lane(vm.port, active, out, far.out(out, 0))

		_, err := w.Appctl("bond/set-active-member", b.Name, backup.Name)
		w.must(err)
		active, backup = backup, active
		w.usesMember(b, active)
		w.drain(quiet)
	}
	// A link that goes down takes its traffic with it, and comes back.
	w.must(active.VM.SetLink("eth0", false, 0))
	active, backup = backup, active
	w.usesMember(b, active)
	out := vm.frameTo(far.mac)
	w.lane(vm.port, active, out, far.out(out, 0))
	w.must(backup.VM.SetLink("eth0", true, 0))
	time.Sleep(time.Second)
	w.lane(vm.port, active, out, far.out(out, 0))
	w.saw("bond of OVS, active-backup")
}

// bridgeDrops checks that OVS drops frames that the lane leaves to it.
func (w *world) bridgeDrops(from *lab.Port, b []byte) {
	w.t.Helper()
	got, p := w.send(from, b)
	w.arrivals(got, nil)
	if p.lane != 0 {
		w.t.Errorf("frames from %s should be dropped by OVS: %s", from.Name, p)
	}
}

// usesMember waits until the daemon sends by a member alone.
func (w *world) usesMember(b *lab.Bond, member *lab.Port) {
	w.t.Helper()
	w.eventually(func() error {
		ports, err := w.Lab.Ports()
		if err != nil {
			return err
		}
		for _, p := range ports {
			if p.Port == b.Name && (p.Egress != (p.Interface == member.Name) || p.Ingress != p.Egress) {
				return fmt.Errorf("%s: ingress %v, egress %v, want %s to be used", p.Interface, p.Ingress, p.Egress, member.Name)
			}
		}
		return nil
	})
}

// Under traffic, frames go to a leg that has lost its link, or that is no
// longer the active one, for no longer than OVS itself sends some there.
func TestBondFailover(t *testing.T) {
	w := newWorld(t)
	vm := untagged(w.veth("v1", "tag=10"), 10)
	b := w.bond("bond0", "bond_mode=active-backup")
	far := tagged(b.Port, w.NewMAC(), 10)
	w.mode("on")
	w.announce(vm, "lane")
	active, _ := w.activeMember(b)
	w.announceBy(active, far, "lane")
	link := func(active, backup *lab.Port) {
		w.must(active.VM.SetLink("eth0", false, 0))
	}
	command := func(active, backup *lab.Port) {
		_, err := w.Appctl("bond/set-active-member", b.Name, backup.Name)
		w.must(err)
	}
	for _, c := range []struct {
		name string
		fail func(active, backup *lab.Port)
	}{{"link lost", link}, {"active member changed", command}} {
		gaps := map[string][]time.Duration{}
		rounds := 3
		if testing.Short() {
			rounds = 1
		}
		for round := range 2 * rounds {
			mode := []string{"on", "off"}[round%2]
			w.mode(mode)
			active, backup := w.activeMember(b)
			if mode == "on" {
				w.usesMember(b, active)
			}
			w.must(active.Send(far.frameTo(frame.Broadcast))) // OVS forgets stations of a dead link
			w.drain(quiet)
			if mode == "on" {
				w.row(far, "lane")
			}
			gaps[mode] = append(gaps[mode], w.failover(vm, far, active, backup, c.fail))
			w.must(active.VM.SetLink("eth0", true, 0))
			time.Sleep(300 * time.Millisecond)
		}
		with, alone := w.median(c.name+", with the lane", gaps["on"]), w.median(c.name+", OVS alone", gaps["off"])
		// A timer of OVS decides: a few hundred milliseconds either way.
		if with > alone+limit(300*time.Millisecond) {
			t.Errorf("%s: frames reach the new member after %v, with OVS alone after %v", c.name, with, alone)
		}
	}
}

// failover returns for how long no frame of a steady stream arrived by the new
// member after fail.
func (w *world) failover(from, to station, active, backup *lab.Port, fail func(active, backup *lab.Port)) time.Duration {
	w.t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	f := from.frameTo(to.mac)
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_ = from.port.Send(f)
				time.Sleep(time.Millisecond)
			}
		}
	}()
	defer func() { close(stop); <-done; w.drain(quiet) }()
	if b, err := active.Recv(time.Second); err != nil || !bytes.Equal(b, to.out(f, 0)) {
		w.t.Fatalf("the stream does not leave by %s: %v", active.Name, err)
	}
	_, _ = backup.Drain(time.Millisecond)
	failed := time.Now()
	fail(active, backup)
	for time.Since(failed) < settle {
		if b, err := backup.Recv(settle); err != nil || bytes.Equal(b, to.out(f, 0)) {
			w.must(err)
			return time.Since(failed)
		}
	}
	w.t.Fatalf("no frame by %s within %v", backup.Name, settle)
	return 0
}

// What SLB bonds send is left to OVS; what they take, and the other members
// reflect, is not.
func TestSLBBond(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	vm := untagged(w.veth("v1", "tag=10"), 10)
	b := w.bond("bond0", "bond_mode=balance-slb")
	far := tagged(b.Port, w.NewMAC(), 10)
	w.mode("on")
	w.announce(vm, "lane")
	active, other := w.activeMember(b)
	w.announceBy(active, far, "source-only")
	for _, m := range []*lab.Port{active, other} {
		in := far.frameTo(vm.mac)
		w.lane(m, vm.port, in, vm.out(in, 0))
	}
	out := vm.frameTo(far.mac)
	got, p := w.send(vm.port, out)
	if n := len(got[active.Name]) + len(got[other.Name]); n != burst || p.lane != 0 {
		t.Errorf("frames to the bond: %d of %d arrived, %s", n, burst, p)
	}
	// The switch hands the machine's broadcast back: OVS drops it, and the
	// machine has not moved.
	w.bridgeDrops(other, frame.UDP4(frame.Broadcast, vm.mac, frame.OnVLAN(10)))
	in := far.frameTo(vm.mac)
	w.lane(active, vm.port, in, vm.out(in, 0))
	if text := w.refused("br0/bond0"); text == "" {
		t.Error("nothing says that frames to the bond stay with OVS")
	}
	w.saw("bond of OVS, balance-slb (frames from it)")
}

// Two Open vSwitches with a balance-tcp bond between them: each flow keeps to
// one member, in both directions, and all flows use both. When a cable is cut
// its flows go by the other.
func TestBalanceTCPBond(t *testing.T) {
	t.Parallel()
	near, far := newWorld(t), newWorld(t)
	members := []string{"bond0-a", "bond0-b"}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(lab.ConnectBonds(near.Lab, far.Lab, "br0", "bond0", members, "bond_mode=balance-tcp", "lacp=active", "other_config:lacp-time=fast"))
	a, b := untagged(near.veth("v1", "tag=10"), 10), untagged(far.veth("v2", "tag=10"), 10)
	b.mac = near.NewMAC() // of the same Lab as a's
	b.mac[3] = 0x77
	near.mode("on")
	far.mode("on")
	bond := &lab.Port{Bridge: "br0", Name: "bond0"}
	atNear, atFar := station{port: bond, mac: b.mac, vlan: 10}, station{port: bond, mac: a.mac, vlan: 10}
	near.eventually(func() error {
		// Until LACP has come to terms nothing arrives on the other side.
		must(a.port.Send(a.frameTo(frame.Broadcast)))
		must(b.port.Send(b.frameTo(frame.Broadcast)))
		time.Sleep(200 * time.Millisecond)
		for _, s := range []struct {
			w *world
			s station
		}{{near, atNear}, {far, atFar}, {near, a}, {far, b}} {
			if got := s.w.stateOf(s.s); got != "lane" {
				return fmt.Errorf("station %s on %s: row is %q", s.s.mac, s.s.port.Name, got)
			}
		}
		return nil
	})
	flow := func(n int) []byte {
		return frame.UDP4(b.mac, a.mac, frame.Ports(4000, uint16(5000+n)), frame.IPs(netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.1")))
	}
	const flows, each = 24, 10
	// run sends all flows and returns how many frames the lane sent by each
	// member.
	run := func() map[string]uint64 {
		t.Helper()
		near.drain(quiet)
		far.drain(quiet)
		before := near.counts()
		for range each {
			for n := range flows {
				must(a.port.Send(flow(n)))
			}
			time.Sleep(time.Millisecond)
		}
		got, err := b.port.Drain(quiet)
		must(err)
		if len(got) != flows*each {
			t.Errorf("%d of %d frames arrived", len(got), flows*each)
		}
		for n := range flows {
			if !slices.ContainsFunc(got, func(f []byte) bool { return bytes.Equal(f, flow(n)) }) {
				t.Errorf("flow %d did not arrive", n)
			}
		}
		return before.to(near.counts(), a.port.Name).sent
	}
	sent := run()
	const keepAlive = 3
	if sent[members[0]]+sent[members[1]] < flows*each-keepAlive || sent[members[0]] < each || sent[members[1]] < each {
		t.Errorf("the lane sent %v", sent)
	}
	for _, m := range members {
		// Multiples but for keep-alive frames: no flow is split.
		if r := (sent[m] + keepAlive) % each; r > 2*keepAlive {
			t.Errorf("the lane sent %v: flows of %d frames are split", sent, each)
		}
	}
	// OVS says that it would hash such a frame to the bond's members.
	before := near.audit("br0")
	near.eventually(func() error {
		if now := near.audit("br0"); now.Agreed-before.Agreed < 20 {
			return fmt.Errorf("audit: %+v, was %+v", now, before)
		}
		return nil
	})
	if now := near.audit("br0"); now.Unanswered != before.Unanswered || now.Mismatches != before.Mismatches {
		t.Errorf("audit: %+v, was %+v", now, before)
	}
	must(near.Hypervisor.SetLink(members[0], false, 0))
	near.usesMember(&lab.Bond{Port: bond}, &lab.Port{Name: members[1]})
	time.Sleep(500 * time.Millisecond * lab.Patience())
	if sent = run(); sent[members[0]] != 0 || sent[members[1]] < flows*each-keepAlive {
		t.Errorf("with one cable the lane sent %v", sent)
	}
	if !t.Failed() {
		near.saw("bond of OVS, balance-tcp with LACP")
	}
}
