// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// under sends frames from a station to a port all the while fn runs, and checks
// that all of them took the lane, but for keep-alive frames.
func (w *world) under(s station, to *lab.Port, f []byte, fn func()) {
	w.t.Helper()
	before, began := w.counts(), time.Now()
	stop := make(chan struct{})
	var sending sync.WaitGroup
	var n uint64
	var failed error
	sending.Go(func() {
		for ; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(500 * time.Microsecond):
			}
			failed = errors.Join(failed, s.port.Send(f))
		}
	})
	var got uint64
	var receiving sync.WaitGroup
	receiving.Go(func() {
		for stopped := false; ; {
			if _, err := to.Recv(quiet); err == nil {
				got++
				continue
			}
			if stopped {
				return
			}
			select {
			case <-stop:
				stopped = true // and once more
			default:
			}
		}
	})
	fn()
	close(stop)
	sending.Wait()
	receiving.Wait()
	w.must(failed)
	p := before.to(w.counts(), s.port.Name)
	w.ofStarved(&p)
	if keepAlives := p.reasons["keepalive"]; got != n || p.lane+keepAlives != n || keepAlives > uint64(time.Since(began)/(4*time.Second))+2 {
		w.t.Errorf("%d frames from %s, %d arrived at %s: %s", n, s.port.Name, got, to.Name, p)
	}
}

// ofStarved takes the frames that met a closed lease for ones of the lane where
// the machine is starved of CPU: there it closes for a while, as it should.
func (w *world) ofStarved(p *paths) {
	if n := p.reasons["lease"]; n > 0 && lab.Patience() > 1 {
		w.t.Logf("the lane closed on a machine that is starved of CPU: %s", *p)
		p.lane, p.passed = p.lane+n, p.passed-n
		p.rules -= n
		delete(p.reasons, "lease")
	}
}

// Ports of each kind are taken over as they are: a trunk, a bond of OVS with its
// legs, a port that is only a target.
func TestTakeoverOfPorts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dir := w.bpffs()
	vm, target := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10", "external_ids:xdp-offload=target"), 10)
	trunk := w.veth("v2", "vlan_mode=native-untagged", "tag=10")
	native, inside := untagged(trunk, 10), tagged(trunk, w.NewMAC(), 20)
	b := w.bond("bond0", "bond_mode=active-backup")
	far := tagged(b.Port, w.NewMAC(), 10)
	w.mode("on")
	active, backup := w.activeMember(b)
	w.announceBy(active, far, "lane")
	for _, s := range []station{vm, target, native, inside} {
		w.announce(s, "lane")
	}
	for _, to := range []struct {
		station
		at *lab.Port
	}{{far, active}, {target, target.port}, {native, trunk}} {
		w.under(vm, to.at, vm.frameTo(to.mac), func() { w.takeOver(dir) })
	}
	out, in := vm.frameTo(far.mac), far.frameTo(vm.mac)
	w.lane(vm.port, active, out, far.out(out, 0))
	w.lane(active, vm.port, in, vm.out(in, 0))
	w.laneBetween(vm, native)
	w.bridgeDrops(backup, in)
	// The new daemon knows the bond as the old one did.
	_, err := w.Appctl("bond/set-active-member", b.Name, backup.Name)
	w.must(err)
	w.usesMember(b, backup)
	w.drain(quiet)
	w.lane(vm.port, backup, out, far.out(out, 0))
}

// A daemon that takes over in observe mode observes, and goes on to the next
// mode; a station that moves afterwards is followed.
func TestTakeoverGoesOn(t *testing.T) {
	t.Parallel()
	w, a, b := openLane(t)
	dir := w.bpffs()
	w.mode("observe")
	w.row(a, "lane")
	w.row(b, "lane")
	w.takeOver(dir)
	f := a.frameTo(b.mac)
	if p := w.bridge(a.port, f, map[string][]byte{"t1": f}); p.would < burst-3 {
		t.Errorf("observe mode: %s", p)
	}
	w.mode("on")
	w.row(a, "lane")
	w.row(b, "lane")
	w.laneBetween(a, b)
	w.takeOver(dir)
	c := untagged(w.veth("v2", "tag=10"), 10)
	w.announce(c, "lane")
	w.laneBetween(a, c)
	moved := b
	moved.port = c.port
	w.announce(moved, "lane")
	w.laneBetween(a, moved)
	w.must(c.port.Remove())
	w.remove(c.port)
	w.row(c, "")
	w.mode("off")
	w.noPrograms()
}

// A lane that the audit has closed stays closed when another daemon takes over.
func TestTakeoverKeepsAudit(t *testing.T) {
	t.Parallel()
	w, a, b := openLane(t)
	w.expectsAudit = true
	c := untagged(w.veth("v2", "tag=10"), 10)
	w.announce(c, "lane")
	stop := w.fdb().keepPlanting(b, c)
	w.state("refused")
	stop()
	before := w.audit("br0")
	w.takeOver(w.bpffs())
	w.state("refused")
	if now := w.audit("br0"); now.Found == nil || now.Found.Detail != before.Found.Detail || now.Asked < before.Asked {
		t.Errorf("audit %+v, before %+v", now, before)
	}
	f := a.frameTo(b.mac)
	w.bridge(a.port, f, map[string][]byte{"t1": f})
	w.mode("off")
	w.mode("on")
	for _, s := range []station{a, b} {
		w.announce(s, "lane")
	}
	w.laneBetween(a, b)
}
