// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// pair is a world with two bridges as Neutron makes them: local VLANs on br-int,
// the provider's on br-ex.
type pair struct {
	*world
	vm1, vm2, vm3, uplink *lab.Port
	// far is the address of a machine behind the uplink.
	far ovs.MAC
}

// intRules and exRules are those of br-int and br-ex: network 1 is VLAN 100 of the
// provider, network 2 is VLAN 200.
var (
	intRules = []string{
		"priority=65535,dl_vlan=4095,actions=drop",
		"priority=3,in_port=100,dl_vlan=100,actions=mod_vlan_vid:1,resubmit(,58)",
		"priority=3,in_port=100,dl_vlan=200,actions=mod_vlan_vid:2,resubmit(,58)",
		"priority=2,in_port=100,actions=drop",
		"priority=0,actions=resubmit(,58)",
		"table=58,priority=0,actions=resubmit(,60)",
		"table=60,priority=3,actions=NORMAL",
	}
	exRules = []string{
		"priority=4,in_port=100,dl_vlan=1,actions=mod_vlan_vid:100,NORMAL",
		"priority=4,in_port=100,dl_vlan=2,actions=mod_vlan_vid:200,NORMAL",
		"priority=2,in_port=100,actions=drop",
		"priority=0,actions=NORMAL",
	}
)

func newPair(t *testing.T, args ...string) *pair {
	t.Helper()
	w := &world{Lab: lab.NewT(t), t: t, keepsMegaflows: true}
	w.must(w.AddBridge("br0")) // without ports: what is asked of every world
	for _, b := range []string{"br-int", "br-ex"} {
		w.must(w.AddBridge(b, "fail_mode=secure"))
	}
	p := &pair{world: w}
	p.vm1 = w.portOn("br-int", (*lab.Lab).AddTap, "vm1", lab.PortOptions{Columns: []string{"tag=1"}})
	p.vm2 = w.portOn("br-int", (*lab.Lab).AddVeth, "vm2", lab.PortOptions{Columns: []string{"tag=2"}})
	p.vm3 = w.portOn("br-int", (*lab.Lab).AddVeth, "vm3", lab.PortOptions{Columns: []string{"tag=1"}})
	p.uplink = w.portOn("br-ex", (*lab.Lab).AddVeth, "uplink", lab.PortOptions{})
	p.far = w.NewMAC()
	_, err := w.OVS("add-port", "br-int", "int-br-ex", "--", "set", "interface", "int-br-ex", "type=patch", "options:peer=phy-br-ex", "ofport_request=100",
		"--", "add-port", "br-ex", "phy-br-ex", "--", "set", "interface", "phy-br-ex", "type=patch", "options:peer=int-br-ex", "ofport_request=100")
	w.must(err)
	p.rules("br-int", intRules...)
	p.rules("br-ex", exRules...)
	t.Cleanup(func() {
		if text, err := w.Appctl("upcall/show"); t.Failed() && err == nil {
			t.Logf("upcall/show:\n%s", text)
		}
	})
	w.start(append([]string{"--log-level=dbg"}, args...)...)
	return p
}

// rules replaces the OpenFlow rules of a bridge.
func (p *pair) rules(bridge string, rules ...string) {
	p.t.Helper()
	_, err := p.Ofctl("-O", "OpenFlow13", "del-flows", bridge)
	p.must(err)
	for _, r := range rules {
		_, err := p.Ofctl("-O", "OpenFlow13", "add-flow", bridge, r)
		p.must(err)
	}
}

// key sets a key of bridges and waits until they are in the state.
func (p *pair) key(key, state string, bridges ...string) {
	p.t.Helper()
	for _, b := range bridges {
		_, err := p.OVS("set", "bridge", b, "external_ids:"+key)
		p.must(err)
	}
	p.eventually(func() error {
		s, err := p.Status()
		if err != nil {
			return err
		}
		for _, name := range bridges {
			if b, err := s.Bridge(name); err != nil || b.State != state {
				return fmt.Errorf("%s: %v, %+v, want %s", name, err, b, state)
			}
		}
		return nil
	})
}

// taken sends bursts of a frame until they take the lane, each of which must arrive
// whole, as want.
func (p *pair) taken(from, to *lab.Port, b, want []byte) {
	p.t.Helper()
	p.must(lab.Eventually(settle, func() error {
		got, path := p.send(from, b, to.Name)
		p.arrivals(got, map[string][]byte{to.Name: want})
		const keepAlive = 4
		if path.lane < burst-keepAlive || path.lane+path.passed != burst || len(path.sent) != 1 || path.sent[to.Name] != path.lane {
			return fmt.Errorf("%s to %s should take the lane: %s", from.Name, to.Name, path)
		}
		return nil
	}))
}

// arrives waits until bursts of a frame arrive at a port and nowhere else, whichever
// way: OVS may take a while for a change. first is done before each.
func (p *pair) arrives(from, to *lab.Port, b []byte, first func()) {
	p.t.Helper()
	p.eventually(func() error {
		first()
		got, path := p.send(from, b, to.Name)
		if len(got) != 1 || len(got[to.Name]) != burst {
			return &unexpected{from.Name, path}
		}
		return nil
	})
}

// unexpected tells of frames that took another way than they should.
type unexpected struct {
	from string
	path paths
}

func (u *unexpected) Error() string { return "frames from " + u.from + ": " + u.path.String() }

// left sends a burst of a frame, none of which may take the lane, and which arrives
// as want at a port, or nowhere.
func (p *pair) left(from, to *lab.Port, b, want []byte) {
	p.t.Helper()
	expect, names := map[string][]byte{}, []string{}
	if to != nil {
		expect[to.Name] = want
		names = append(names, to.Name)
	}
	got, path := p.send(from, b, names...)
	p.arrivals(got, expect)
	if path.lane != 0 {
		p.t.Errorf("%s should go by OVS: %s", from.Name, path)
	}
}

// greet has OVS learn all stations.
func (p *pair) greet() {
	p.t.Helper()
	for _, vm := range []*lab.Port{p.vm1, p.vm2, p.vm3} {
		p.must(vm.Send(frame.UDP4(frame.Broadcast, vm.MAC)))
	}
	for _, vlan := range []ovs.VLAN{100, 200} {
		p.must(p.uplink.Send(frame.UDP4(frame.Broadcast, p.far, frame.OnVLAN(vlan))))
	}
	p.drain(2 * quiet) // a flood may have to wait for ovs-vswitchd
}

// out is a frame of a VM to the far machine, as it leaves the VM and arrives at the
// uplink; in is one the other way.
func (p *pair) out(vm *lab.Port, vlan ovs.VLAN, make func(dst, src ovs.MAC, opts ...frame.Option) []byte) (b, want []byte) {
	return make(p.far, vm.MAC), make(p.far, vm.MAC, frame.OnVLAN(vlan))
}

func (p *pair) in(vm *lab.Port, vlan ovs.VLAN, make func(dst, src ovs.MAC, opts ...frame.Option) []byte) (b, want []byte) {
	return make(vm.MAC, p.far, frame.OnVLAN(vlan)), make(vm.MAC, p.far)
}

func (p *pair) runPair(name string, fn func(p *pair)) {
	p.run(name, func(w *world) {
		sub := *p
		sub.world = w
		fn(&sub)
	})
}

// allTaken checks that all that should takes the lane.
func (p *pair) allTaken() {
	p.t.Helper()
	p.greet()
	for _, c := range []struct {
		vm   *lab.Port
		vlan ovs.VLAN
		make func(dst, src ovs.MAC, opts ...frame.Option) []byte
	}{{p.vm1, 100, frame.UDP4}, {p.vm1, 100, frame.UDP6}, {p.vm2, 200, frame.TCP4}} {
		b, want := p.out(c.vm, c.vlan, c.make)
		p.taken(c.vm, p.uplink, b, want)
		b, want = p.in(c.vm, c.vlan, c.make)
		p.taken(p.uplink, c.vm, b, want)
	}
	b := frame.UDP4(p.vm3.MAC, p.vm1.MAC)
	p.taken(p.vm1, p.vm3, b, b)
}

// stream sends a frame each millisecond until the returned function is called, which
// returns how many were sent.
func (p *pair) stream(from *lab.Port, b []byte) (stop func() int) {
	done, ended, n := make(chan struct{}), make(chan struct{}), 0
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
			if err := from.Send(b); err != nil {
				p.t.Error(err)
				return
			}
			n++
		}
	}()
	stop = sync.OnceValue(func() int { close(done); <-ended; return n })
	p.t.Cleanup(func() { stop() })
	return stop
}

// stopsGrowing waits until the lane has sent nothing to a port for a while, and
// returns when it last did, since a moment.
func (p *pair) stopsGrowing(to *lab.Port, since time.Time) time.Duration {
	p.t.Helper()
	last, at := p.sentTo(to), since
	for time.Since(at) < 300*time.Millisecond*lab.Patience() {
		asked := time.Now()
		if n := p.sentTo(to); n != last {
			last, at = n, asked
		}
		if time.Since(since) > settle {
			p.t.Fatalf("the lane still sends to %s %v later", to.Name, settle)
		}
	}
	return max(at.Sub(since), 0)
}

// flowsAre waits until flow/show shows something.
func (p *pair) flowsAre(what string, ok func([]lab.Flow) bool) {
	p.t.Helper()
	p.eventually(func() error {
		flows, err := lab.Ask[[]lab.Flow](p.Lab, "flow/show")
		if err == nil && !ok(flows) {
			err = fmt.Errorf("want %s: %+v", what, flows)
		}
		return err
	})
}
