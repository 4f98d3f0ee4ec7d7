// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// flows replaces the OpenFlow rules of br0 and waits until the lane follows.
func (w *world) flows(rules ...string) {
	w.t.Helper()
	_, err := w.Ofctl("del-flows", "br0")
	w.must(err)
	for _, r := range rules {
		_, err := w.Ofctl("-O", "OpenFlow13", "add-flow", "br0", r)
		w.must(err)
	}
	w.state("on")
	w.eventually(func() error {
		list, err := lab.Ask[[]rule](w.Lab, "rule/show", "br0")
		if err == nil && (len(list) != len(rules) || !slices.ContainsFunc(list, func(r rule) bool { return r.Verdict != "" })) {
			err = fmt.Errorf("the daemon has the rules %+v", list)
		}
		return err
	})
}

// rule is an element of rule/show.
type rule struct {
	Table    int    `json:"table"`
	Priority int    `json:"priority"`
	Match    string `json:"match"`
	Verdict  string `json:"verdict"`
	Lane     count  `json:"lane"`
	OVS      count  `json:"ovs"`
	Total    count  `json:"total"`
}

// dropped checks that frames of a port are dropped on the lane, and OVS sees none.
func (w *world) dropped(from *lab.Port, b []byte, reason string) {
	w.t.Helper()
	got, p := w.send(from, b)
	w.arrivals(got, nil)
	if p.reasons[reason] != burst || p.rules != 0 || p.lane != 0 {
		w.t.Errorf("frames from %s should be dropped on the lane (%s): %s", from.Name, reason, p)
	}
}

// Stateless rules around NORMAL: what they allow takes the lane, what they drop
// is dropped there, and what the lane does not know goes by OVS.
func TestRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b, c := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10), untagged(w.veth("v2", "tag=10"), 10)
	w.open(a, b)
	w.announce(c, "lane")
	w.flows(
		"priority=100,udp,dl_dst="+b.mac.String()+",tp_dst=53,actions=drop",
		fmt.Sprintf("priority=90,udp,in_port=%d,tp_dst=99,actions=drop", w.ofport("v1")),
		"priority=80,ip,nw_src=10.99.0.0/16,actions=drop",
		"priority=70,udp,tp_dst=67,actions=goto_table:1",
		"priority=60,udp,tp_dst=88,ct_state=-trk,actions=NORMAL",
		"priority=50,udp,tp_dst=77,actions=NORMAL,CONTROLLER:64",
		"priority=0,actions=NORMAL",
		"table=1,priority=5,udp,tp_src=66,actions=drop",
		"table=1,priority=1,actions=NORMAL",
	)
	for _, s := range []station{a, b, c} {
		w.announce(s, "lane")
	}
	toB := func(dst, src uint16, opts ...frame.Option) []byte {
		return a.frameTo(b.mac, append(opts, frame.Ports(dst, src))...)
	}
	before := w.rules()
	w.run("allowed", func(w *world) { w.laneBetween(a, b) })
	w.run("destination drops", func(w *world) { w.dropped(a.port, toB(53, 1), "dropped") })
	w.run("another destination does not", func(w *world) {
		f := a.frameTo(c.mac, frame.Ports(53, 1))
		w.lane(a.port, c.port, f, f)
	})
	w.run("fragments have no ports", func(w *world) {
		for _, f := range [][]byte{toB(53, 1, frame.Fragment(0, true)), toB(53, 1, frame.Fragment(185, false))} {
			got, p := w.send(a.port, f, "t1")
			w.arrivals(got, map[string][]byte{"t1": f})
			if p.reasons["checksum"] < burst-3 { // allowed, but for what else a fragment from a machine may hide
				w.t.Errorf("fragments: %s", p)
			}
		}
	})
	w.run("IPv6 is no IPv4", func(w *world) {
		f := frame.UDP6(b.mac, a.mac, frame.Ports(53, 1))
		w.lane(a.port, b.port, f, f)
	})
	w.run("port drops", func(w *world) { w.dropped(a.port, toB(99, 1), "dropped") })
	w.run("another port does not", func(w *world) {
		f := c.frameTo(b.mac, frame.Ports(99, 1))
		w.lane(c.port, b.port, f, f)
	})
	w.run("prefix drops", func(w *world) {
		w.dropped(a.port, a.frameTo(b.mac, frame.IPs(frame.IP4(b.mac), netip.MustParseAddr("10.99.7.1"))), "dropped")
	})
	w.run("prefix drops broadcast", func(w *world) {
		w.dropped(a.port, a.frameTo(frame.Broadcast, frame.IPs(frame.IP4(b.mac), netip.MustParseAddr("10.99.7.1"))), "dropped")
	})
	w.run("second table", func(w *world) {
		f := toB(67, 1)
		w.lane(a.port, b.port, f, f)
		w.dropped(a.port, toB(67, 66), "dropped")
	})
	for name, port := range map[string]uint16{"unknown field": 88, "unknown action": 77} {
		w.run(name, func(w *world) {
			f := toB(port, 1)
			got, p := w.send(a.port, f, "t1")
			w.arrivals(got, map[string][]byte{"t1": f})
			if p.lane != 0 || p.reasons["rule"] < burst-3 {
				w.t.Errorf("should go by OVS: %s", p)
			}
		})
	}
	w.run("counters", func(w *world) {
		w.eventually(func() error {
			after := w.rules()
			for _, want := range []struct {
				key string // of w.rules
				n   uint64
			}{{"0 100 udp,dl_dst=" + b.mac.String() + ",tp_dst=53", burst}, {"0 80 ip,nw_src=10.99.0.0/16", 2 * burst},
				{"0 70 udp,tp_dst=67", 2 * burst}, {"1 5 udp,tp_src=66", burst}, {"1 1 ", burst}} {
				key := want.key
				total := after[key].Total.Frames - before[key].Total.Frames
				if total != want.n || after[key].Lane.Frames < want.n-3 {
					return fmt.Errorf("rule %q: %+v, before %+v; want %d more", key, after[key], before[key], want.n)
				}
				if lane, frames := after[key].Lane.Bytes-before[key].Lane.Bytes, after[key].Lane.Frames-before[key].Lane.Frames; lane != 60*frames {
					return fmt.Errorf("rule %q: %d frames with %d bytes on the lane", key, frames, lane)
				}
			}
			return nil
		})
	})
}

// rules has those of rule/show by table, priority and match.
func (w *world) rules() map[string]rule {
	w.t.Helper()
	list, err := lab.Ask[[]rule](w.Lab, "rule/show", "br0")
	w.must(err)
	all := make(map[string]rule)
	for _, r := range list {
		all[fmt.Sprint(r.Table, " ", r.Priority, " ", r.Match)] = r
	}
	return all
}

// A rule with idle_timeout lives as long as frames hit it on the lane, and no
// longer.
func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.veth("v2", "tag=10"), 10)
	w.open(a, b)
	w.flows("priority=100,idle_timeout=3,udp,tp_dst=53,actions=NORMAL", "priority=90,udp,tp_dst=53,actions=drop", "priority=0,actions=NORMAL")
	w.announce(a, "lane")
	w.announce(b, "lane")
	f := a.frameTo(b.mac, frame.Ports(53, 1))
	before := w.counts()
	for began := time.Now(); time.Since(began) < 8*time.Second; time.Sleep(10 * time.Millisecond) {
		w.must(a.port.Send(f))
	}
	p := before.to(w.counts(), "v1")
	got, err := b.port.Drain(quiet)
	w.must(err)
	if len(got) < 500 || p.lane < uint64(len(got))*9/10 {
		t.Errorf("%d frames arrived: %s", len(got), p)
	}
	if _, ok := w.rules()["0 100 udp,tp_dst=53"]; !ok {
		t.Error("the rule has gone")
	}
	w.eventually(func() error {
		if r, ok := w.rules()["0 100 udp,tp_dst=53"]; ok {
			return fmt.Errorf("the rule is still there: %+v", r)
		}
		return nil
	})
	w.eventually(func() error {
		if got, _ := w.send(a.port, f); len(got) > 0 {
			return fmt.Errorf("frames arrive without the rule")
		}
		return nil
	})
}

// Each virtual machine may have many rules of its own: a port does not walk
// through those of the others, and more than a list holds are left to OVS.
func TestManyRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.veth("v2", "tag=10"), 10)
	w.open(a, b)
	rules := []string{"priority=0,actions=NORMAL"}
	for n := range 100 {
		for port := range 5 {
			rules = append(rules, fmt.Sprintf("priority=100,udp,dl_dst=52:54:01:00:00:%02x,tp_dst=%d,actions=drop", n, 1000+port))
		}
	}
	w.flows(append(rules, "priority=100,udp,dl_dst="+b.mac.String()+",tp_dst=53,actions=drop")...)
	w.announce(a, "lane")
	w.announce(b, "lane")
	w.laneBetween(a, b)
	w.dropped(a.port, a.frameTo(b.mac, frame.Ports(53, 1)), "dropped")
	rules = rules[:1]
	for n := range 300 {
		rules = append(rules, fmt.Sprintf("priority=%d,udp,in_port=%d,tp_dst=%d,actions=drop", 100+n, w.ofport("v1"), 1000+n))
	}
	w.flows(rules...)
	w.announce(a, "lane")
	w.announce(b, "lane")
	if text := w.refused("br0/v1"); text == "" {
		t.Error("nothing is said of too many rules")
	}
	f := a.frameTo(b.mac)
	got, p := w.send(a.port, f, "v2")
	w.arrivals(got, map[string][]byte{"v2": f})
	if p.lane != 0 {
		t.Errorf("a port with too many rules: %s", p)
	}
	f = b.frameTo(a.mac)
	w.lane(b.port, a.port, f, f)
}

// ofport is the OpenFlow number of a device.
func (w *world) ofport(device string) int {
	w.t.Helper()
	ports, err := w.Lab.Ports()
	w.must(err)
	i := slices.IndexFunc(ports, func(p lab.PortStatus) bool { return p.Interface == device })
	if i < 0 {
		w.t.Fatalf("the daemon does not know port %s", device)
	}
	return ports[i].OFPort
}
