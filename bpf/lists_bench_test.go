// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

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
