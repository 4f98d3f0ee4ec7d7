// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
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

// A rule that is added while frames take the lane closes it for them: no frame
// that is sent after ovs-ofctl has ended arrives for long. One that is deleted
// opens it again.
func TestRuleChange(t *testing.T) {
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.veth("v2", "tag=10"), 10)
	w.open(a, b)
	w.laneBetween(a, b)
	stop, sent, got := make(chan struct{}), make(chan []time.Time), make(chan map[int]bool)
	go func() {
		var at []time.Time
		for {
			select {
			case <-stop:
				sent <- at
				return
			case <-time.After(200 * time.Microsecond):
			}
			if err := a.port.Send(a.frameTo(b.mac, frame.Payload(binary.BigEndian.AppendUint64(nil, uint64(len(at)))))); err != nil {
				t.Error(err)
			}
			at = append(at, time.Now())
		}
	}()
	go func() {
		arrived := make(map[int]bool)
		for {
			f, err := b.port.Recv(300 * time.Millisecond)
			if err != nil {
				select {
				case got <- arrived:
					return
				case <-time.After(time.Millisecond):
					continue
				}
			}
			if p, err := frame.Parse(f); err == nil && p.EtherType == frame.TypeIPv4 && len(p.Payload) >= 36 {
				arrived[int(binary.BigEndian.Uint64(p.Payload[28:]))] = true
			}
		}
	}()
	time.Sleep(500 * time.Millisecond)
	adding := time.Now()
	_, err := w.Ofctl("add-flow", "br0", "priority=100,ip,dl_src="+a.mac.String()+",actions=drop")
	w.must(err)
	added := time.Now()
	time.Sleep(limit(500 * time.Millisecond))
	close(stop)
	times, arrived := <-sent, <-got
	leaked, last, before, window := 0, time.Duration(0), 0, time.Duration(0)
	for n, at := range times {
		if arrived[n] && at.After(adding) {
			window = at.Sub(adding)
		}
		switch {
		case at.Before(added) && arrived[n]:
			before++
		case arrived[n]:
			leaked++
			last = at.Sub(added)
		}
	}
	t.Logf("%d frames arrived before the rule; the last one was sent %v after ovs-ofctl add-flow began, which took %v", before, window, added.Sub(adding))
	t.Logf("%d frames arrived that were sent after it had ended, the last one %v later", leaked, last)
	if before < 100 || last > limit(100*time.Millisecond) {
		t.Error("the rule was not there in time")
	}
	w.eventually(func() error {
		if r := w.rules()["0 100 ip,dl_src="+a.mac.String()]; r.Verdict != "drop" {
			return fmt.Errorf("the rule is %+v", r)
		}
		return nil
	})
	w.dropped(a.port, a.frameTo(b.mac), "dropped")

	_, err = w.Ofctl("--strict", "del-flows", "br0", "priority=100,ip,dl_src="+a.mac.String())
	w.must(err)
	deleted := time.Now()
	w.must(lab.Eventually(settle, func() error {
		_, p := w.send(a.port, a.frameTo(b.mac), "v2")
		if p.lane < burst-3 {
			return fmt.Errorf("%s", p)
		}
		return nil
	}))
	t.Logf("on the lane again %v after ovs-ofctl del-flows had ended, at the latest", time.Since(deleted))
	w.laneBetween(a, b)
}

// A rule with idle_timeout lives as long as frames hit it on the lane, and no
// longer.
func TestIdleTimeout(t *testing.T) {
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

// Rules are taken over with what they have counted, and drop all the while.
func TestTakeoverOfRules(t *testing.T) {
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

// A bridge whose rules change all the time stays with OVS, and costs no other
// bridge the lane.
func TestRulesThatChangeAllTheTime(t *testing.T) {
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.veth("v2", "tag=10"), 10)
	w.must(w.AddBridge("br9", "external_ids:xdp-offload=on"))
	w.open(a, b)
	before := w.counts()
	for began := time.Now(); time.Since(began) < 8*time.Second; {
		_, err := w.Ofctl("add-flow", "br9", fmt.Sprintf("priority=%d,actions=drop", 1+time.Now().UnixMilli()%1000))
		w.must(err)
		w.must(a.port.Send(a.frameTo(b.mac)))
	}
	p := before.to(w.counts(), "v1")
	w.ofStarved(&p)
	if n := p.reasons["lane"] + p.reasons["keepalive"]; n < 20 || n != p.lane+p.passed {
		t.Errorf("beside the other bridge: %s", p)
	}
	if n := logged(w.daemon, "lane closed"); n > 0 {
		t.Errorf("the lane was closed %d times", n)
	}
}

// What the lane has counted for a rule stays with it when other rules come and go,
// and when a port leaves.
func TestCountsOutliveRules(t *testing.T) {
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
