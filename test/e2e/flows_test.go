// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// VMs of provider networks, on bridges whose rules rewrite tags and which patch ports
// join, take the lane with the tags that OVS gives their frames.
func TestFlows(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.key("xdp-offload=on", "on", "br-int", "br-ex")
	p.allTaken()
	p.runPair("what is no flow of the lane", func(p *pair) {
		b, want := p.out(p.vm1, 100, func(dst, src ovs.MAC, opts ...frame.Option) []byte {
			return frame.UDP4(dst, src, append(opts, frame.Fragment(0, true))...)
		})
		p.left(p.vm1, p.uplink, b, want)
		p.left(p.uplink, nil, frame.UDP4(p.vm1.MAC, p.far, frame.OnVLAN(300)), nil)
	})
	// both has a frame of both directions on the lane: a slow machine takes longer for
	// all than OVS keeps the flows of the first.
	both := func(p *pair) {
		p.t.Helper()
		b, want := p.out(p.vm1, 100, frame.UDP4)
		p.taken(p.vm1, p.uplink, b, want)
		b, want = p.in(p.vm1, 100, frame.UDP4)
		p.taken(p.uplink, p.vm1, b, want)
	}
	p.runPair("what is shown", func(p *pair) {
		both(p)
		p.flowsAre("the tags of both directions", func(flows []lab.Flow) bool {
			out := lab.Flow{Bridge: "br-int", InPort: "vm1", Tag: 0, EtherType: "0x0800", Src: p.vm1.MAC.String(), Dst: p.far.String(), To: "uplink", NewTag: 100}
			in := lab.Flow{Bridge: "br-ex", InPort: "uplink", Tag: 100, EtherType: "0x0800", Src: p.far.String(), Dst: p.vm1.MAC.String(), To: "vm1", NewTag: 0}
			return slices.Contains(flows, out) && slices.Contains(flows, in)
		})
		for _, c := range []struct {
			args []string
			want []string
		}{
			{[]string{"flows", "br-int"}, []string{"uplink", "100", p.vm1.MAC.String()}},
			{[]string{"status", "br-int"}, []string{"follows OVS's flows: by rule", " flows\n"}},
			{[]string{"rules", "br-int"}, []string{"br-int follows OVS's flows: ", " frames from its ports took the lane, and are in no rule's count\n"}},
			{[]string{"why", "br-int", "vm1", "0", p.far.String()}, []string{"express lane, to uplink with tag 100"}},
			{[]string{"why", "br-ex", "uplink", "100", p.vm1.MAC.String()}, []string{"express lane, to vm1 untagged"}},
		} {
			both(p) // OVS forgets flows that nobody uses
			text, err := p.Ctl(c.args...)
			p.must(err)
			for _, want := range c.want {
				if !strings.Contains(text, want) {
					p.t.Errorf("ovs-xdpctl %v: %q is not in\n%s", c.args, want, text)
				}
			}
		}
	})
	p.runPair("used for longer than OVS keeps what is not", func(p *pair) {
		both(p)
		b, _ := p.in(p.vm1, 100, frame.UDP4)
		before := p.counts()
		stop := p.stream(p.uplink, b)
		for began := time.Now(); time.Since(began) < 13*time.Second; { // max-idle is 10 s
			p.drain(time.Millisecond)
		}
		n := uint64(stop())
		path := before.to(p.counts(), "uplink")
		p.drain(quiet)
		// A keep-alive frame of the flow and one of its source each 2.5 s. A daemon that
		// gets no CPU loses its lease.
		if path.passed-path.reasons["lease"] > 20*uint64(lab.Patience()*lab.Patience()) || path.lane+path.passed != n {
			p.t.Errorf("of %d frames in 13 s: %s", n, path)
		}
	})
	if a := p.audit("br-int"); a.Agreed == 0 || a.Mismatches > 0 && a.Agreed < a.Mismatches {
		t.Errorf("the audit: %+v", a)
	}
}

// A security group is connection tracking, which is not for the lane: why says so.
func TestFlowsSecurityGroup(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.rules("br-int", append([]string{
		"table=60,priority=10,ip,dl_src=" + p.vm1.MAC.String() + ",actions=ct(table=61,zone=1)",
		"table=61,priority=2,ip,ct_state=+trk,actions=ct(commit,zone=1),NORMAL",
	}, intRules...)...)
	p.key("xdp-offload=on", "on", "br-int", "br-ex")
	p.greet()
	b, want := p.out(p.vm2, 200, frame.UDP4)
	p.taken(p.vm2, p.uplink, b, want)
	b, want = p.out(p.vm1, 100, frame.UDP4)
	p.left(p.vm1, p.uplink, b, want)
	p.must(p.vm1.Send(b))
	text, err := p.Ctl("why", "br-int", "vm1", "0", p.far.String())
	p.must(err)
	if !strings.Contains(text, "by OVS") || !strings.Contains(text, "conntrack") {
		t.Errorf("why:\n%s", text)
	}
	if text, err = p.Ctl("why", "br-int", "vm3", "0", p.far.String()); err != nil || !strings.Contains(text, "OVS has no megaflow for such frames now") {
		t.Errorf("why of frames that never came: %v\n%s", err, text)
	}
}

// The lane that a bridge uses can be forced.
func TestFlowsForced(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.key("xdp-offload=on", "on", "br-int", "br-ex")
	p.allTaken()
	p.key("xdp-lane=fdb", "refused", "br-int")
	b, want := p.out(p.vm1, 100, frame.UDP4)
	p.left(p.vm1, p.uplink, b, want)
	b, want = p.in(p.vm1, 100, frame.UDP4)
	p.left(p.uplink, p.vm1, b, want)
	p.key("xdp-lane=auto", "on", "br-int")
	p.allTaken()
	p.key("xdp-lane=both", "off", "br-int")
	b, want = p.in(p.vm1, 100, frame.UDP4)
	p.left(p.uplink, p.vm1, b, want)
	if s, err := p.Status(); err != nil || !strings.Contains(strings.Join(bridgeOf(s, "br-int").Errors, " "), "want auto, fdb or flows") {
		t.Errorf("%v: %+v", err, s)
	}
}

func bridgeOf(s lab.Status, name string) lab.BridgeStatus {
	b, _ := s.Bridge(name)
	return b
}

// A bridge that needs no flows may use them.
func TestFlowsOfNormal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	p := &pair{world: w}
	w.keepsMegaflows = true
	w.set("external_ids:xdp-lane=flows")
	w.mode("on")
	w.hello(a)
	w.hello(b)
	p.taken(a.port, b.port, a.frameTo(b.mac), a.frameTo(b.mac))
	p.taken(b.port, a.port, b.frameTo(a.mac), b.frameTo(a.mac))
	w.set("external_ids:xdp-lane=auto")
	w.keepsMegaflows = false
	w.announce(a, "lane")
	w.announce(b, "lane")
	w.laneBetween(a, b)
}

// What a port's keys say of its sources holds where flows decide, too: a VM that uses
// another's address is stopped at its own port.
func TestFlowsValidate(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.key("xdp-offload=on", "on", "br-int", "br-ex")
	p.greet()
	inside := frame.UDP4(p.vm3.MAC, p.vm1.MAC)
	p.taken(p.vm1, p.vm3, inside, inside)
	_, err := p.OVS("set", "interface", "vm1", `external_ids:attached-mac="`+p.vm1.MAC.String()+`"`, "external_ids:xdp-validate=drop")
	p.must(err)
	p.eventually(func() error {
		got, path := p.send(p.vm1, frame.UDP4(p.vm3.MAC, p.vm2.MAC))
		if len(got) > 0 || path.reasons["dropped-address"] != burst {
			return &unexpected{"vm1", path}
		}
		return nil
	})
	p.taken(p.vm1, p.vm3, inside, inside)
}

// Only frames between ports of bridges that both ask for the lane take it; where one
// of them only observes, they are counted.
func TestFlowsOfOneBridge(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.key("xdp-offload=on", "on", "br-int")
	p.greet()
	inside := frame.UDP4(p.vm3.MAC, p.vm1.MAC)
	p.taken(p.vm1, p.vm3, inside, inside)
	b, want := p.out(p.vm1, 100, frame.UDP4)
	p.left(p.vm1, p.uplink, b, want)
	p.key("xdp-offload=observe", "observe", "br-ex")
	in, wantIn := p.in(p.vm1, 100, frame.UDP4)
	for _, c := range []struct {
		from, to *lab.Port
		b, want  []byte
	}{{p.vm1, p.uplink, b, want}, {p.uplink, p.vm1, in, wantIn}} {
		p.eventually(func() error {
			got, path := p.send(c.from, c.b, c.to.Name)
			p.arrivals(got, map[string][]byte{c.to.Name: c.want})
			if path.lane > 0 || path.would < burst-4 {
				return &unexpected{c.from.Name, path}
			}
			return nil
		})
	}
	p.taken(p.vm1, p.vm3, inside, inside)
}
