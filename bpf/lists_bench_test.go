// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// rulesThatMiss are n rules for other UDP ports, and one for all that is left.
func rulesThatMiss(n int) []ListRule {
	var list []ListRule
	for i := range n - 1 {
		list = append(list, toPort(VerdictDrop, uint32(i), protoUDP, uint16(20000+i)))
	}
	return append(list, allNormal)
}

// What the rules of a bridge, addresses and policing add to the program's cost.
func BenchmarkLists(b *testing.B) {
	w := newWorld(b, 2, Config{})
	w.dev[0] = 1 // a test run without a context comes from lo
	for _, c := range []struct {
		name string
		set  func(r *Rule)
	}{
		{"none", func(*Rule) {}},
		{"1 rule", func(r *Rule) { r.Rules = ListKey{PortRules, 1, 1, ovs.MAC{}} }},
		{"16 rules", func(r *Rule) { r.Rules = ListKey{PortRules, 1, 16, ovs.MAC{}} }},
		{"256 rules", func(r *Rule) { r.Rules = ListKey{PortRules, 1, 256, ovs.MAC{}} }},
		{"1 rule, 16 of the destination", func(r *Rule) { r.Rules, r.Scoped = ListKey{PortRules, 1, 1, ovs.MAC{}}, true }},
		{"addresses", func(r *Rule) { r.Addresses = addressA }},
		{"policing", func(r *Rule) { r.PoliceBytes = Rate{1 << 40, 1 << 40} }},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := w.enter(b)
			w.reset()
			for _, n := range []int{1, 16, 256} {
				w.must(w.lane.PutList(ListKey{PortRules, 1, uint32(n), ovs.MAC{}}, rulesThatMiss(n)))
			}
			w.must(w.lane.PutList(rulesOfB, rulesThatMiss(16)))
			w.must(w.lane.PutList(addressA, []ListRule{matching(VerdictNormal, 0, func(v, m *ovs.Fields) { v.Src, m.Src = macA, macMask }), {Verdict: VerdictDrop, Order: 1}}))
			w.port(0, access(10).with(c.set))
			w.port(1, access(10))
			w.row(keyA, 0, true)
			w.row(keyB, 1, true)
			least := time.Hour
			for b.Loop() {
				_, took, err := w.lane.coll.Programs[laneProgOvsXdp].Benchmark(frame.UDP4(macB, macA), 20000, nil)
				if err != nil {
					b.Fatal(err)
				}
				least = min(least, took)
			}
			b.ReportMetric(float64(least.Nanoseconds()), "ns/frame")
			b.ReportMetric(0, "ns/op")
			if c := w.counters(0); c.Passed+c.Dropped > 0 {
				b.Errorf("%+v", c.Frames)
			}
		})
	}
}

// Where the rules of a destination run: in the list of it, by the program that
// the frame comes to, or (not built) by a program of the devmap, on the frame's
// way out of the destination's port, of which this measures no more than that it
// is there and says yes.
func BenchmarkDestinationRules(b *testing.B) {
	w := newWorld(b, 4, Config{})
	constant := func(verdict int32, attach ebpf.AttachType) *ebpf.Program {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.XDP, License: "GPL", AttachType: attach, Flags: w.lane.spec.Programs[laneProgOvsXdp].Flags,
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, verdict), asm.Return()},
		})
		w.must(err)
		b.Cleanup(func() { p.Close() })
		return p
	}
	sink, egress := constant(xdpDrop, 0), constant(xdpPass, ebpf.AttachXDPDevMap)
	lk, err := link.AttachXDP(link.XDPOptions{Program: sink, Interface: w.dev[3], Flags: link.XDPDriverMode})
	w.must(err)
	defer lk.Close()
	ways := []string{"none", "16 in a list", "empty devmap program"}
	least := make([]time.Duration, len(ways))
	for i := range least {
		least[i] = time.Hour
	}
	const frames = batch * 2000
	for b.Loop() {
		for i := range ways { // by turns, for the machine's speed changes
			w.reset()
			w.must(w.lane.PutList(rulesOf0, rulesThatMiss(1)))
			w.must(w.lane.PutList(rulesOfB, rulesThatMiss(16)))
			w.port(0, access(10).with(func(r *Rule) { r.Rules, r.Scoped = rulesOf0, i == 1 }))
			w.port(2, access(10))
			if i == 2 {
				slot, _ := w.lane.ports.slotOf(w.dev[2])
				w.must(w.lane.coll.Maps[laneMapTargets].Put(uint32(slot), devmapValue{IfIndex: uint32(w.dev[2]), ProgFD: uint32(egress.FD())}))
			}
			w.row(keyA, 0, true)
			w.row(keyB, 2, true)
			for range 5 {
				start := time.Now()
				w.liveRounds(0, tagged(), frames, batch)
				least[i] = min(least[i], time.Since(start)/frames)
			}
			if c := w.counters(2); c.Lost > 0 || c.Sent == 0 {
				b.Fatalf("%s: %d frames of %d were lost", ways[i], c.Lost, c.Sent)
			}
		}
	}
	for i, way := range ways {
		b.ReportMetric(float64(least[i].Nanoseconds()), fmt.Sprintf("ns/frame-%d", i))
		b.Logf("%s: %d ns", way, least[i].Nanoseconds())
	}
	b.ReportMetric(0, "ns/op")
}
