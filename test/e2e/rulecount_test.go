// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// Rules are taken over with what they have counted, and drop all the while.
func TestTakeoverOfRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c := untagged(w.veth("v1", "tag=10"), 10), untagged(w.veth("v2", "tag=10"), 10), untagged(w.veth("v3", "tag=10"), 10)
	w.open(a, b)
	w.announce(c, "lane")
	w.flows("priority=100,udp,dl_dst="+b.mac.String()+",tp_dst=53,actions=drop", "priority=50,udp,tp_dst=54,actions=drop", "priority=0,actions=NORMAL")
	for _, s := range []station{a, b, c} {
		w.announce(s, "lane")
	}
	dir := w.bpffs()
	forB, forAll := c.frameTo(b.mac, frame.Ports(53, 1)), c.frameTo(a.mac, frame.Ports(54, 1))
	w.dropped(c.port, forB, "dropped")
	w.remove(b.port) // what arrives there is the flow's
	s := w.numbered(a, b)
	before := w.counts()
	for range 3 {
		w.takeOver(dir)
		w.dropped(c.port, forB, "dropped")
		w.dropped(c.port, forAll, "dropped")
	}
	p := before.to(w.counts(), "v1")
	s.end()
	if s.received.Load() != s.sent.Load() || s.sent.Load() < 1000 {
		t.Errorf("%d frames of %d arrived", s.received.Load(), s.sent.Load())
	}
	w.ofStarved(&p)
	if n := p.reasons["keepalive"] + p.reasons["lane"]; n != p.lane+p.passed {
		t.Errorf("the lane closed: %s", p)
	}
	rules := w.rules()
	if r := rules["0 100 udp,dl_dst="+b.mac.String()+",tp_dst=53"]; r.Lane.Frames != 4*burst {
		t.Errorf("rule of the destination: %+v, want %d frames on the lane", r, 4*burst)
	}
	if r := rules["0 50 udp,tp_dst=54"]; r.Lane.Frames != 3*burst {
		t.Errorf("rule: %+v, want %d frames on the lane", r, 3*burst)
	}
	w.ports = append(w.ports, b.port)
	// Changed rules are those of the new daemon.
	w.flows("priority=0,actions=NORMAL")
	for _, s := range []station{a, b, c} {
		w.announce(s, "lane")
	}
	w.lane(c.port, b.port, forB, forB)
}

// What the lane has counted for a rule stays with it when other rules come and go,
// and when a port leaves.
func TestCountsOutliveRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c := untagged(w.veth("v1", "tag=10"), 10), untagged(w.veth("v2", "tag=10"), 10), untagged(w.veth("v3", "tag=10"), 10)
	w.open(a, b)
	w.announce(c, "lane")
	lane := w.rules()["0 0 "].Lane.Frames // open has sent some
	send := func(from, to station) {
		t.Helper()
		w.announce(from, "lane")
		w.announce(to, "lane")
		_, p := w.send(from.port, from.frameTo(to.mac), to.port.Name)
		if lane += p.lane; p.lane < burst-3 {
			t.Errorf("%s to %s: %s", from.port.Name, to.port.Name, p)
		}
	}
	check := func(when string) {
		t.Helper()
		if r := w.rules()["0 0 "]; r.Lane.Frames != lane || r.Lane.Bytes != 60*lane || r.Total.Frames != r.OVS.Frames+lane {
			t.Errorf("%s: %+v, want %d frames on the lane", when, r, lane)
		}
	}
	send(a, b)
	check("a single rule")
	drop := "priority=100,tcp,tp_dst=25"
	_, err := w.Ofctl("add-flow", "br0", drop+",actions=drop")
	w.must(err)
	w.eventually(func() error {
		if r := w.rules()["0 100 tcp,tp_dst=25"]; r.Verdict != "drop" {
			return fmt.Errorf("%+v", r)
		}
		return nil
	})
	check("two rules")
	send(b, a)
	check("frames with two rules")
	_, err = w.Ofctl("--strict", "del-flows", "br0", drop)
	w.must(err)
	send(c, a)
	check("a single rule again")
	_, err = w.OVS("set", "port", "v3", "external_ids:xdp-offload=off")
	w.must(err)
	w.refused("br0/v3")
	check("a port has left")
	send(a, b)
	check("frames without it")
}
