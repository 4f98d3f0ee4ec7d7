// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// The model's world is small, so that stations and VLANs meet often.
var (
	modelVLANs   = []ovs.VLAN{0, 10, 20, 4094}
	modelBridges = []string{"", "br0", "br1"} // by number
)

// The program decides about random frames on random tables as plan.Decide
// does, and what it marks is what Decide goes on with.
func TestModel(t *testing.T) {
	const tables, frames = 40, 500
	w := newWorld(t, 8, Config{Rows: 64, Ports: 64})
	rng := seeded(t)
	seen := make(map[string]int)
	for n := range tables {
		tab := w.randomTables(rng)
		for i := range frames {
			if i%50 == 49 {
				w.someLose(rng, tab)
			}
			if i%10 == 9 {
				w.look(tab)
			}
			f := w.randomFrame(rng, tab)
			want := tab.Decide(f)
			seen[want.Reason]++
			w.decides(tab, f, uint8(rng.IntN(8)), want)
			if want.Reason == "moved-source" {
				in := tab.Port(f.IfIndex).Rule
				vlan := f.VID
				if vlan == 0 {
					vlan = in.VID
				}
				tab.Row(plan.Key{Bridge: in.Bridge, VLAN: vlan, MAC: f.Src}).Moved = true
			}
			if t.Failed() {
				t.Fatalf("table %d, frame %d: %+v", n, i, f)
			}
		}
	}
	t.Logf("%v", seen)
	for _, reason := range []string{"lane", "would", "vlan", "new-source", "moved-source", "group", "group-source",
		"port-closed", "unknown", "moved", "hairpin", "egress-closed", "loses-frames", "protected", "too-long", "spoofed-source", "mirrored", "reflected"} {
		if seen[reason] < 10 {
			t.Errorf("reason %q came %d times in %d frames", reason, seen[reason], tables*frames)
		}
	}
}

// someLose marks one port as the program does, and unmarks another.
func (w *world) someLose(rng *rand.Rand, tab *plan.Tables) {
	w.Helper()
	for _, loses := range []bool{true, false} {
		p := &tab.Ports[rng.IntN(len(tab.Ports))]
		p.Loses = loses
		slot, _ := w.lane.ports.slotOf(p.IfIndex)
		w.lane.ports.slots[slot].Loses = 1
		if !loses {
			w.lane.RetryPort(p.IfIndex)
		}
	}
}

// decides gives the frame to the program and compares.
func (w *world) decides(tab *plan.Tables, f plan.Frame, pcp uint8, want plan.Verdict) {
	w.Helper()
	opts := []frame.Option{frame.Length(f.Len)}
	out := opts
	if f.VID != 0 {
		opts = []frame.Option{frame.Length(f.Len + 4), frame.Tagged(frame.Tag{VID: f.VID, PCP: pcp})}
	} else {
		pcp = 0
	}
	if want.VID != 0 {
		out = []frame.Option{frame.Length(f.Len + 4), frame.Tagged(frame.Tag{VID: want.VID, PCP: pcp})}
	}
	b := frame.UDP4(f.Dst, f.Src, opts...)
	leaves, verdict := b, uint32(xdpPass)
	if want.IfIndex != 0 {
		leaves, verdict = frame.UDP4(f.Dst, f.Src, out...), xdpRedirect
	}
	from := 0
	for w.dev[from] != f.IfIndex {
		from++
	}
	if tab.Port(f.IfIndex) == nil {
		if v, _ := w.run(from, b, 0); v != xdpPass {
			w.Errorf("verdict on a device that is not on the lane is %d", v)
		}
		return
	}
	sent := func() uint64 {
		if want.IfIndex == 0 {
			return 0
		}
		c, err := w.lane.Counters(want.IfIndex)
		w.must(err)
		return c.Sent
	}
	before, beforeSent := w.counters(from), sent()
	gotVerdict, gotFrame := w.run(from, b, 0)
	after, afterSent := w.counters(from), sent()
	if gotVerdict != verdict || !bytes.Equal(gotFrame, leaves) {
		w.Errorf("verdict %d and frame\n% x, want %d (%+v) and\n% x", gotVerdict, gotFrame, verdict, want, leaves)
	}
	if want.IfIndex != 0 && afterSent != beforeSent+1 {
		w.Errorf("not counted as sent to device %d", want.IfIndex)
	}
	for reason := range after.Frames {
		n := after.Frames[reason] - before.Frames[reason]
		if (n == 1) != (reason == want.Reason) || n > 1 {
			w.Errorf("counted %d times as %q, want once as %q", n, reason, want.Reason)
		}
	}
}

// randomTables writes random tables to the Lane, and returns them.
func (w *world) randomTables(rng *rand.Rand) *plan.Tables {
	w.Helper()
	w.reset()
	often := func() bool { return rng.IntN(12) > 0 }
	tab := &plan.Tables{}
	for _, ifindex := range w.dev[:len(w.dev)-1] {
		bridge := 1 + rng.IntN(len(modelBridges)-1)
		r := plan.Rule{
			Bridge: modelBridges[bridge],
			Watch:  often(), Ingress: often(), Egress: often(),
			Observe: !often(), Protected: rng.IntN(4) == 0, Checksum: often(),
			Declared:  rng.IntN(2) == 0,
			VLANMode:  plan.VLANMode(rng.IntN(4)),
			MaxFrame:  []int{114, 1514, 9014}[rng.IntN(3)],
			KeepAlive: time.Minute,
		}
		if r.VLANMode != plan.Trunk {
			r.VID = modelVLANs[1+rng.IntN(len(modelVLANs)-1)]
		}
		for _, v := range modelVLANs {
			if often() {
				r.VLANs.Add(v)
			}
		}
		if len(tab.Ports) > 0 && !often() { // a further member of the last port's bond
			last := tab.Ports[len(tab.Ports)-1].Rule
			if r.Bundle = last.Bundle; r.Bundle == 0 {
				r.Bundle = tab.Ports[len(tab.Ports)-1].IfIndex
			}
			r.Reflects = rng.IntN(2) == 0
		}
		if rng.IntN(5) == 0 { // a bond with one leg: the hash is the program's own
			leg := w.dev[rng.IntN(len(w.dev)-1)]
			for i := range r.Legs {
				r.Legs[i] = leg
			}
		}
		tab.Ports = append(tab.Ports, plan.Port{IfIndex: ifindex, Mode: plan.Native, Rule: r})
		w.must(w.lane.AddPort(ifindex, ModeTarget))
	}
	for _, p := range tab.Ports {
		r, ifindex := p.Rule, p.IfIndex
		bridge := slices.Index(modelBridges, r.Bridge)
		w.must(w.lane.SetRule(ifindex, Rule{
			Watch: r.Watch, Ingress: r.Ingress, Egress: r.Egress, Observe: r.Observe, Protected: r.Protected, Checksum: r.Checksum, Declared: r.Declared,
			VLANMode: VLANMode(r.VLANMode), VID: r.VID, VLANs: r.VLANs, MaxFrame: r.MaxFrame, Bridge: uint8(bridge), KeepAlive: r.KeepAlive,
			Bundle: r.Bundle, Legs: r.Legs, Reflects: r.Reflects,
		}))
	}
	tab.Sort()
	for bridge := 1; bridge < len(modelBridges); bridge++ {
		for _, vlan := range modelVLANs {
			for n := range 14 {
				n %= 7
				key := Key{uint8(bridge), vlan, modelMAC(n)}
				if w.lane.FindRow(key) != nil {
					continue
				}
				r := plan.Row{
					Key:     plan.Key{Bridge: modelBridges[bridge], VLAN: vlan, MAC: key.MAC},
					IfIndex: tab.Ports[rng.IntN(len(tab.Ports))].IfIndex,
					Target:  often(), Moved: !often(), Mirrored: !often(), Declared: rng.IntN(2) == 0,
				}
				if p := tab.Port(r.IfIndex); often() && p.Rule.Bridge != r.Bridge {
					continue
				}
				tab.Rows = append(tab.Rows, r)
				ok, err := w.lane.PutRow(modelRow(key, r))
				if err != nil || !ok {
					w.Fatalf("put row: %v, %v", ok, err)
				}
				w.changeRow(key, func(row *laneRow) { row.Stamp = w.lane.stamp() }) // no keep-alive is due
				if !r.Moved {
					w.lane.Confirm(key)
				}
			}
		}
	}
	tab.Sort()
	return tab
}

func modelRow(k Key, r plan.Row) Row {
	return Row{Key: k, IfIndex: r.IfIndex, Target: r.Target, Mirrored: r.Mirrored, Declared: r.Declared}
}

func modelMAC(n int) ovs.MAC { return ovs.MAC{0x02, 0, byte(n), 0, 0, 1} }

// look clears all marks, as a daemon does that finds each station where it was.
func (w *world) look(tab *plan.Tables) {
	w.Helper()
	w.lane.Ask()
	for i := range tab.Rows {
		r := &tab.Rows[i]
		key := Key{uint8(slices.Index(modelBridges, r.Bridge)), r.VLAN, r.MAC}
		if ok, err := w.lane.PutRow(modelRow(key, *r)); err != nil || !ok {
			w.Fatalf("put row: %v, %v", ok, err)
		}
		r.Moved = false
	}
	w.events()
}

// randomFrame returns a frame of a station where it is, as a rule.
func (w *world) randomFrame(rng *rand.Rand, tab *plan.Tables) plan.Frame {
	r := tab.Rows[rng.IntN(len(tab.Rows))]
	f := plan.Frame{
		IfIndex: r.IfIndex, VID: r.VLAN, Src: r.MAC, Dst: modelMAC(rng.IntN(8)),
		Len: []int{60, 114, 115, 1514, 1515}[rng.IntN(5)],
	}
	for _, p := range tab.Ports {
		if p.Rule.Bundle == r.IfIndex && rng.IntN(2) == 0 {
			f.IfIndex = p.IfIndex
		}
	}
	if in := tab.Port(f.IfIndex).Rule; in.VLANMode == plan.Access || in.VLANMode == plan.NativeUntagged && rng.IntN(2) == 0 {
		f.VID = 0
	}
	if rng.IntN(20) == 0 {
		f.IfIndex = w.dev[rng.IntN(len(w.dev))]
	}
	if rng.IntN(20) == 0 {
		f.VID = modelVLANs[rng.IntN(len(modelVLANs))]
	}
	if rng.IntN(20) == 0 {
		f.Src = modelMAC(rng.IntN(8))
	}
	if rng.IntN(20) == 0 {
		f.Src[0] |= 1
	}
	if rng.IntN(20) == 0 {
		f.Dst[0] |= 1
	}
	return f
}
