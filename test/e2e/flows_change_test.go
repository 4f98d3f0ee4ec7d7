// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// windows is how often a window is measured.
const windows = 3

// openPair makes a pair whose frames take the lane.
func openPair(t *testing.T, args ...string) *pair {
	t.Helper()
	p := newPair(t, args...)
	p.key("xdp-offload=on", "on", "br-int", "br-ex")
	p.allTaken()
	return p
}

// A rule change closes the lane of both bridges at once, whichever has it; what OVS
// does then takes the lane, nothing else.
func TestFlowsRuleChange(t *testing.T) {
	p := openPair(t)
	in, _ := p.in(p.vm1, 100, frame.UDP4)
	out, _ := p.out(p.vm1, 100, frame.UDP4)
	for _, c := range []struct {
		name, bridge, rule string
		from, was          *lab.Port
		b                  []byte
		now                *lab.Port // nil: dropped
		want               []byte
	}{
		{"drop", "br-int", "table=60,priority=10,dl_dst=" + p.vm1.MAC.String() + ",actions=drop", p.uplink, p.vm1, in, nil, nil},
		{"another port", "br-int", "table=60,priority=10,dl_vlan=1,dl_dst=" + p.vm1.MAC.String() + ",actions=strip_vlan,output:3", p.uplink, p.vm1, in, p.vm3, frame.UDP4(p.vm1.MAC, p.far)},
		{"another tag", "br-ex", "priority=9,in_port=100,dl_vlan=1,actions=mod_vlan_vid:300,output:uplink", p.vm1, p.uplink, out, p.uplink, frame.UDP4(p.far, p.vm1.MAC, frame.OnVLAN(300))},
	} {
		p.runPair(c.name, func(p *pair) {
			var closed, back []time.Duration
			for range windows {
				p.allTaken()
				stop := p.stream(c.from, c.b)
				time.Sleep(100 * time.Millisecond)
				p.sends(c.was)
				began := time.Now()
				_, err := p.Ofctl("-O", "OpenFlow13", "add-flow", c.bridge, c.rule)
				p.must(err)
				changed := time.Now()
				closed = append(closed, p.stopsGrowing(c.was, began))
				if late := closed[len(closed)-1] - changed.Sub(began); late > limit(100*time.Millisecond) {
					p.t.Errorf("the lane did what it did before for %v after the change", late)
				}
				stop()
				p.drain(quiet)
				if c.now == nil {
					p.left(c.from, nil, c.b, nil)
				} else {
					p.taken(c.from, c.now, c.b, c.want)
					back = append(back, time.Since(changed))
				}
				p.rules("br-int", intRules...)
				p.rules("br-ex", exRules...)
			}
			p.median("last frame of the old way, since the command began", closed)
			if back != nil {
				p.median("all frames of the new way on the lane (a burst takes 0.3 s to see)", back)
			}
		})
	}
}

// sends waits until the lane sends to a port: what the test is about can be seen.
func (p *pair) sends(to *lab.Port) {
	p.t.Helper()
	p.eventually(func() error {
		if p.stopsGrowingSoon(to) {
			return errors.New("the lane sends nothing to " + to.Name)
		}
		return nil
	})
}

// stopsGrowingSoon tells that the lane sends nothing to a port.
func (p *pair) stopsGrowingSoon(to *lab.Port) bool {
	before := p.sentTo(to)
	time.Sleep(50 * time.Millisecond * lab.Patience())
	return p.sentTo(to) == before
}

// A VM that speaks from another port takes all flows to its old place out of use, and
// is soon on the lane at the new one.
func TestFlowsMove(t *testing.T) {
	p := openPair(t)
	in, want := p.in(p.vm1, 100, frame.UDP4)
	out, _ := p.out(p.vm1, 100, frame.UDP4)
	from, to := p.vm1, p.vm3
	var took []time.Duration
	for range 2 * windows {
		stop := p.stream(p.uplink, in)
		p.sends(from)
		time.Sleep(time.Second) // OVS counts the VM's frames before the next ones
		moved := time.Now()
		p.must(to.Send(out))
		_, err := p.uplink.Recv(time.Second) // so the frame has been through
		p.must(err)
		before := p.sentTo(from)
		took = append(took, p.until(moved, "the lane sends to the new port", func() bool {
			p.drain(time.Millisecond)
			return !p.stopsGrowingSoon(to)
		}))
		if n := p.sentTo(from) - before; n > 0 {
			t.Errorf("%d frames took the lane to %s, where the VM is no more", n, from.Name)
		}
		stop()
		p.drain(quiet)
		p.taken(p.uplink, to, in, want)
		from, to = to, from
	}
	p.median("on the lane at the new port (50 ms to see)", took)
}

// A megaflow that OVS has no more is withdrawn; a restart of OVS takes all out.
func TestFlowsGone(t *testing.T) {
	t.Parallel()
	p := openPair(t)
	none := func(flows []lab.Flow) bool { return len(flows) == 0 }
	var took []time.Duration
	for range windows {
		p.flowsAre("flows", func(flows []lab.Flow) bool { return len(flows) > 3 })
		purged := time.Now()
		_, err := p.Appctl("revalidator/purge")
		p.must(err)
		took = append(took, p.until(purged, "no flow is left", func() bool { return none(ask[[]lab.Flow](p.world, "flow/show")) }))
		p.allTaken()
	}
	if m := p.median("withdrawn", took); m > limit(3*time.Second) {
		t.Errorf("a megaflow that is gone is noticed %v later", m)
	}
	t.Run("restart", func(t *testing.T) {
		p.Vswitchd.Kill()
		p.eventually(func() error {
			s, err := p.Status()
			if err == nil && s.Lane != "closed" {
				err = &unexpected{from: "lane " + s.Lane}
			}
			return err
		})
		p.must(p.StartVswitchd())
		p.eventually(func() error {
			_, err := p.Ofctl("dump-flows", "br-ex")
			return err
		})
		p.rules("br-int", intRules...)
		p.rules("br-ex", exRules...)
		p.laneOpens()
		p.key("xdp-offload=on", "on", "br-int", "br-ex")
		p.allTaken()
	})
}

// Changes in the database and of links close the lane of both bridges until OVS has
// been asked anew.
func TestFlowsPortChange(t *testing.T) {
	t.Parallel()
	p := openPair(t)
	in, want := p.in(p.vm1, 100, frame.UDP4)
	// vm1 leaves the network: its frames are flooded there, and so reach vm3.
	p.must(p.vm1.Set("tag=2"))
	time.Sleep(time.Second)
	for range 3 {
		got, _ := p.send(p.uplink, in, "vm3")
		p.arrivals(got, map[string][]byte{"vm3": want})
	}
	p.must(p.vm1.Set("tag=1"))
	p.arrives(p.uplink, p.vm1, in, p.greet)
	p.taken(p.uplink, p.vm1, in, want)

	// What changes elsewhere on the bridges closes them, too.
	for _, c := range []struct {
		name   string
		change func(round int) error
	}{
		{"a key of another port", func(round int) error { return p.vm2.Set(fmt.Sprintf("external_ids:round=%d", round)) }},
		{"the MTU of another port", func(round int) error {
			_, err := p.Hypervisor.Exec(t.Context(), "ip", "link", "set", "vm2", "mtu", fmt.Sprint(1400+round))
			return err
		}},
	} {
		p.runPair(c.name, func(p *pair) {
			var closed, back []time.Duration
			for round := range windows {
				stop := p.stream(p.uplink, in)
				p.sends(p.vm1)
				began := time.Now()
				p.must(c.change(round))
				closed = append(closed, p.stopsGrowing(p.vm1, began))
				p.until(began, "the lane sends again", func() bool { return !p.stopsGrowingSoon(p.vm1) })
				back = append(back, time.Since(began))
				stop()
				p.drain(quiet)
			}
			p.median("last frame before the lane closed, since the command began", closed)
			p.median("on the lane again (50 ms to see)", back)
		})
	}
}

// A daemon that takes over has the flows, and does not close the lane for them.
func TestFlowsTakeover(t *testing.T) {
	t.Parallel()
	p := openPair(t)
	dir := p.bpffs()
	a, b := untagged(p.vm1, 1), untagged(p.vm3, 1)
	before, began := p.counts(), time.Now()
	s := p.numbered(a, b)
	for range 3 {
		p.takeOver(dir)
	}
	s.end()
	path := before.to(p.counts(), "vm1")
	took := time.Since(began)
	t.Logf("%d frames sent, %d received in %v; %s", s.sent.Load(), s.received.Load(), took, path)
	if s.received.Load() != s.sent.Load() || s.doubled.Load() != 0 || s.alien.Load() != 0 {
		t.Errorf("%d frames of %d arrived, %d twice, %d of others", s.received.Load(), s.sent.Load(), s.doubled.Load(), s.alien.Load())
	}
	p.ofStarved(&path)
	keepAlives := 2*uint64(took/(2*time.Second)) + 4
	for reason, n := range path.reasons {
		if reason != "lane" && (reason != "keepalive" || n > keepAlives) {
			t.Errorf("%d frames passed to OVS: %s (at most %d keep-alive frames are due)", n, reason, keepAlives)
		}
	}
	p.allTaken()
}

// What OVS does not announce is found by the next dump: another bucket of a group, a
// VM that speaks from a port without a program.
func TestFlowsUnannounced(t *testing.T) {
	t.Parallel()
	p := openPair(t)
	in, want := p.in(p.vm1, 100, frame.UDP4)
	limited := func(what string, took []time.Duration) {
		if m := p.median(what, took); m > limit(3*time.Second) {
			p.t.Errorf("%s: noticed %v later", what, m)
		}
	}
	p.runPair("group", func(p *pair) {
		group := func(command string, to string) {
			_, err := p.Ofctl("-O", "OpenFlow13", command, "br-int", "group_id=1,type=indirect,bucket=strip_vlan,output:"+to)
			p.must(err)
		}
		group("add-group", "1") // vm1
		p.rules("br-int", append([]string{"table=60,priority=10,dl_vlan=1,dl_dst=" + p.vm1.MAC.String() + ",actions=group:1"}, intRules...)...)
		var took []time.Duration
		at, to := p.vm1, p.vm3
		for range windows {
			p.taken(p.uplink, at, in, want)
			stop := p.stream(p.uplink, in)
			p.sends(at)
			began := time.Now()
			group("mod-group", map[*lab.Port]string{p.vm1: "1", p.vm3: "3"}[to])
			took = append(took, p.stopsGrowing(at, began))
			stop()
			p.drain(quiet)
			p.arrives(p.uplink, to, in, func() {})
			at, to = to, at
		}
		limited("last frame of the old way, since another bucket was set", took)
		p.rules("br-int", intRules...)
	})
	p.runPair("port without a program", func(p *pair) {
		off := p.portOn("br-int", (*lab.Lab).AddTap, "vm4", lab.PortOptions{Columns: []string{"tag=1", "external_ids:xdp-offload=off"}})
		var took []time.Duration
		for range windows {
			p.arrives(p.uplink, p.vm1, in, p.greet)
			p.taken(p.uplink, p.vm1, in, want)
			time.Sleep(time.Second)
			stop := p.stream(p.uplink, in)
			p.sends(p.vm1)
			began := time.Now()
			p.must(off.Send(frame.UDP4(frame.Broadcast, p.vm1.MAC)))
			took = append(took, p.stopsGrowing(p.vm1, began))
			stop()
			p.drain(quiet)
		}
		limited("last frame to the old port, since the VM spoke from a port without a program", took)
	})
}
