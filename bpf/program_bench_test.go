// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

var samplesFile = flag.String("samples", "", "write what BenchmarkProgram measures into this file, as JSON: nanoseconds a frame by case")

// vms is how many ports the streams have destinations on.
const vms = 64

// programCase is one kind of frame, and what becomes of it.
type programCase struct {
	name    string
	in, out Rule
	frame   []byte
	stream  stream
	reason  string
}

// one and many are the masks of streams: one flow, 64 machines and 1024 remote
// stations, and each flow with two stations of its own.
var (
	one  = stream{}
	many = stream{DstMask: vms - 1, SrcMask: 1023, SrcShift: 6}
	all  = stream{DstMask: 0xffff, SrcMask: 0xffff}
)

func programCases() []programCase {
	up, vm := trunk(), access(10)
	guarded := func(r *Rule) { r.Checksum = true }
	tagged := frame.UDP4(streamDst(0), streamSrc(0), frame.OnVLAN(10))
	plain := frame.UDP4(streamDst(0), streamSrc(0))
	return []programCase{
		{"hit, untagged", vm, vm, plain, one, "lane"},
		{"hit, tagged, pop", up, vm, tagged, one, "lane"},
		{"hit, tagged, pop, checksum guard", up.with(guarded), vm, tagged, one, "lane"},
		{"hit, tagged, pop, checksum guard, IPv6", up.with(guarded), vm, frame.UDP6(streamDst(0), streamSrc(0), frame.OnVLAN(10)), one, "lane"},
		{"hit, push, checksum guard", vm.with(guarded), up, plain, one, "lane"},
		{"hit, tagged, pop, 64k flows", up, vm, tagged, many, "lane"},
		{"hit, tagged, pop, 64k flows, 128k stations", up, vm, tagged, all, "lane"},
		{"unknown destination", up, vm, frame.UDP4(macC, streamSrc(0), frame.OnVLAN(10)), one, "unknown"},
		{"broadcast", up, vm, frame.UDP4(frame.Broadcast, streamSrc(0), frame.OnVLAN(10)), one, "group"},
		{"hit, tagged, pop, 16 rules", up.with(func(r *Rule) { r.Rules = ListKey{PortRules, 1, 16, ovs.MAC{}} }), vm, tagged, one, "lane"},
		{"hit, tagged, pop, 256 rules", up.with(func(r *Rule) { r.Rules = ListKey{PortRules, 1, 256, ovs.MAC{}} }), vm, tagged, one, "lane"},
		{"hit, tagged, pop, 1 rule and 16 of the destination", up.with(func(r *Rule) { r.Rules, r.Scoped = ListKey{PortRules, 1, 1, ovs.MAC{}}, true }), vm, tagged, one, "lane"},
		{"hit, tagged, pop, source addresses", up.with(func(r *Rule) { r.Addresses = addressA }), vm, tagged, one, "lane"},
		{nothingAsked, up, vm, tagged, one, "lane"},
		{"hit by a flow of OVS, tagged, pop", flowing(), flowing(), tagged, one, "lane"},
		{"no flow of OVS", flowing(), flowing(), frame.UDP4(macC, streamSrc(0), frame.OnVLAN(20)), one, "no-flow"},
		{"hit, tagged, pop, policing", up.with(func(r *Rule) { r.PoliceBytes = Rate{1 << 40, 1 << 40} }), vm, tagged, one, "lane"},
	}
}

// nothingAsked is the case of the treadmill's floor.
const nothingAsked = "redirect, pop and counters, nothing asked"

// rulesThatMiss are n rules for other UDP ports, and one for all that is left.
func rulesThatMiss(n int) []ListRule {
	var list []ListRule
	for i := range n - 1 {
		list = append(list, toPort(VerdictDrop, uint32(i), protoUDP, uint16(20000+i)))
	}
	return append(list, allNormal)
}

// What a frame costs in the program, by the kernel's own clock, beyond a program
// that only passes: all cases by turns, for the machine's speed changes. 128k
// stations are in the FDB.
func BenchmarkProgram(b *testing.B) {
	const stations = 1 << 16 // on each side
	w := newWorld(b, vms+2, Config{Rows: 2 * stations})
	w.dev[0] = 1 // a test run without a context comes from lo
	w.onOneCPU()
	w.reset()
	w.port(0, trunk())
	for i := range vms {
		w.port(1+i, access(10))
	}
	for n := range stations {
		w.row(Key{1, 10, streamSrc(uint16(n))}, 0, true)
		w.row(Key{1, 10, streamDst(uint16(n))}, 1+n%vms, true)
	}
	w.row(Key{1, 0, streamSrc(0)}, 0, true)
	w.row(Key{1, 0, streamDst(0)}, 1, true)
	w.flow(flowAB(on(10, 0), pop, func(f *Flow) { f.Src, f.Dst = streamSrc(0), streamDst(0) }))
	for _, n := range []int{1, 16, 256} {
		w.must(w.lane.PutList(ListKey{PortRules, 1, uint32(n), ovs.MAC{}}, rulesThatMiss(n)))
	}
	w.must(w.lane.PutList(ListKey{DestinationRules, 1, 0, streamDst(0)}, rulesThatMiss(16)))
	w.must(w.lane.PutList(addressA, []ListRule{matching(VerdictNormal, 0, func(v, m *ovs.Fields) { v.Src, m.Src = streamSrc(0), macMask }), {Verdict: VerdictDrop, Order: 1}}))

	lane, spec := w.lane.coll.Programs[laneProgOvsXdp], w.lane.spec.Programs[laneProgOvsXdp]
	cases := programCases()
	mills := make([]*treadmill, len(cases))
	for i, c := range cases {
		mills[i] = newTreadmill(b, spec, len(c.frame), c.frame[:18])
	}
	from, _ := w.lane.ports.slotOf(w.dev[0])
	to, _ := w.lane.ports.slotOf(w.dev[1])
	empty, floor := mills[0].empty(), mills[0].floor(w.lane, from, to)
	took, passed := make([][]float64, len(cases)), make([][]float64, len(cases)) // ns a frame, by case and round
	frames := func(c programCase) int {
		if c.stream == one {
			return 20000
		}
		return 1 << 16
	}
	for b.Loop() {
		for i, c := range cases {
			w.rule(0, c.in)
			for n := range vms {
				w.rule(1+n, c.out)
			}
			mills[i].put(empty)
			passed[i] = append(passed[i], float64(mills[i].run(c.frame, c.stream, frames(c))))
			if mills[i].put(lane); c.name == nothingAsked {
				mills[i].put(floor)
			}
			before := w.counters(0).Frames[c.reason]
			took[i] = append(took[i], float64(mills[i].run(c.frame, c.stream, frames(c))))
			if n := w.counters(0).Frames[c.reason] - before; n < uint64(frames(c)) {
				b.Fatalf("%s: %d frames of %d counted as %q: %v", c.name, n, 2*frames(c), c.reason, w.counters(0).Frames)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	samples := make(map[string][]float64)
	b.Logf("%d rounds, %s; ns a frame beyond an empty program, which takes %.0f; least and median", len(took[0]), b.Elapsed().Round(time.Millisecond), slices.Min(passed[0]))
	for i, c := range cases {
		// The empty program at its fastest: what disturbs it must not flatter ours.
		for _, ns := range took[i] {
			samples[c.name] = append(samples[c.name], ns-slices.Min(passed[i]))
		}
		sorted := slices.Sorted(slices.Values(samples[c.name]))
		b.Logf("%-52s %4.0f %4.0f", c.name, sorted[0], sorted[len(sorted)/2])
	}
	if *samplesFile == "" {
		return
	}
	out, err := json.Marshal(samples)
	if err == nil {
		err = os.WriteFile(*samplesFile, out, 0o644)
	}
	if err != nil {
		b.Fatal(fmt.Errorf("write the samples: %w", err))
	}
}
