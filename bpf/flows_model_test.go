// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// flowTables are what the program decides by, with devices by their number.
type flowTables struct {
	rules []Rule
	rows  map[Key]*flowRow
	flows map[FlowKey]Flow
	order []FlowKey // as they were put
}

type flowRow struct {
	at            int
	target, moved bool
}

// flowFrame is a frame from a device.
type flowFrame struct {
	from       int
	tags       []frame.Tag
	six, piece bool
	arp        bool
	src, dst   ovs.MAC
	len        int // without its tags
}

// decide walks the same way as the program, keep-alive left out. The frame leaves
// to a device with the tag that it returns, which is Present or none.
func (t *flowTables) decide(f flowFrame) (reason string, to int, tags []frame.Tag) {
	in := t.rules[f.from]
	if !in.Watch {
		return "port-closed", 0, nil
	}
	if f.src.IsGroup() {
		return "group-source", 0, nil
	}
	src := t.rows[Key{in.Bridge, 0, f.src}]
	if src == nil {
		return "new-source", 0, nil
	}
	if src.at != f.from || src.moved {
		src.moved = true
		return "moved-source", 0, nil
	}
	k := FlowKey{IfIndex: f.from, Type: frame.TypeIPv4, Src: f.src, Dst: f.dst}
	if f.six {
		k.Type = frame.TypeIPv6
	}
	if len(f.tags) > 0 {
		if tag := f.tags[0]; len(f.tags) > 1 || tag.VID == 0 || tag.DEI || tag.TPID == frame.TypeQinQ {
			return "odd-tag", 0, nil
		}
		k.Tagged, k.TCI = true, tci(f.tags[0].VID, f.tags[0].PCP)
	}
	switch {
	case f.dst.IsGroup():
		return "group", 0, nil
	case f.arp:
		return "not-ip", 0, nil
	case !in.Ingress:
		return "port-closed", 0, nil
	case f.piece:
		return "fragment", 0, nil
	}
	flow, ok := t.flows[k]
	if !ok {
		return "no-flow", 0, nil
	}
	dst := t.rows[Key{in.Bridge, 0, f.dst}]
	switch {
	case dst == nil || !dst.target:
		return "unknown", 0, nil
	case dst.moved:
		return "moved", 0, nil
	case dst.at == f.from:
		return "hairpin", 0, nil
	case dst.at != flow.Egress:
		return "stale-flow", 0, nil
	}
	out := t.rules[dst.at]
	switch {
	case !out.Egress || out.Bridge != in.Bridge:
		return "egress-closed", 0, nil
	case in.Protected && out.Protected:
		return "protected", 0, nil
	case f.len > out.MaxFrame || f.len > in.MaxFrame:
		return "too-long", 0, nil
	case in.Observe || out.Observe:
		return "would", 0, nil
	}
	pushed := []frame.Tag{{VID: ovs.VLAN(flow.PushTCI & 0xfff), PCP: uint8(flow.PushTCI >> 13)}}
	return "lane", dst.at, map[TagAction][]frame.Tag{TagKeep: f.tags, TagPush: pushed, TagSet: pushed}[flow.Tag]
}

// bytes gives the frame as it is on the wire, with these tags.
func (f flowFrame) bytes(tags []frame.Tag) []byte {
	n := f.len
	switch {
	case f.arp:
		return frame.Retag(raw(f.dst, f.src, frame.TypeARP, make([]byte, n-14)), tags...)
	case f.six && f.piece:
		return frame.Retag(extended(frame.UDP6(f.dst, f.src, frame.Length(n)), 44, 8), tags...)
	case f.six:
		return frame.Retag(frame.UDP6(f.dst, f.src, frame.Length(n)), tags...)
	case f.piece:
		return frame.Retag(frame.UDP4(f.dst, f.src, frame.Length(n), frame.Fragment(8, true)), tags...)
	}
	return frame.Retag(frame.UDP4(f.dst, f.src, frame.Length(n)), tags...)
}

// The program decides about random frames on random flows as flowTables do.
func TestFlowModel(t *testing.T) {
	const frames = 500
	tables := 40
	if testing.Short() {
		tables = 30
	}
	w := newWorld(t, 6, Config{Flows: 256})
	rng := seeded(t)
	seen := make(map[string]int)
	tagged := make(map[TagAction]int)
	for n := range tables {
		tab := w.randomFlows(rng)
		for i := range frames {
			f := tab.randomFrame(rng)
			before := w.counters(f.from)
			reason, to, tags := tab.decide(f)
			leaves, verdict := f.bytes(f.tags), uint32(xdpPass)
			if reason == "lane" {
				leaves, verdict = f.bytes(tags), xdpRedirect
				tagged[tab.flows[f.key()].Tag]++
			}
			sent := w.counters(to).Sent
			gotVerdict, got := w.run(f.from, f.bytes(f.tags), 0)
			after := w.counters(f.from)
			if gotVerdict != verdict || !bytes.Equal(got, leaves) || after.Frames[reason] != before.Frames[reason]+1 ||
				reason == "lane" && w.counters(to).Sent != sent+1 {
				t.Fatalf("table %d, frame %d: %+v: verdict %d and\n% x, want %q to device %d and\n% x\n%v", n, i, f, gotVerdict, got, reason, to, leaves, after.Frames)
			}
			seen[reason]++
			if i%10 == 9 { // a look at OVS finds each station where it was
				w.lane.Ask()
				for k, r := range tab.rows {
					ok, err := w.lane.PutRow(Row{Key: k, IfIndex: w.dev[r.at], Target: r.target})
					w.must(err)
					r.moved = !ok
				}
				w.events()
			}
		}
	}
	t.Logf("%v, lane by tag action: %v", seen, tagged)
	for _, reason := range []string{"lane", "would", "new-source", "moved-source", "group-source", "group", "not-ip", "odd-tag", "fragment",
		"port-closed", "no-flow", "unknown", "moved", "hairpin", "stale-flow", "egress-closed", "protected", "too-long"} {
		if seen[reason] < 10 {
			t.Errorf("reason %q came %d times in %d frames", reason, seen[reason], tables*frames)
		}
	}
	for act := TagKeep; act <= TagSet; act++ {
		if tagged[act] < 50 {
			t.Errorf("tag action %d came %d times", act, tagged[act])
		}
	}
}

// key is that of the frame's flow, if its tag is one that flows have.
func (f flowFrame) key() FlowKey {
	k := FlowKey{IfIndex: f.from, Type: frame.TypeIPv4, Src: f.src, Dst: f.dst}
	if f.six {
		k.Type = frame.TypeIPv6
	}
	if len(f.tags) > 0 {
		k.Tagged, k.TCI = true, tci(f.tags[0].VID, f.tags[0].PCP)
	}
	return k
}

var modelTags = [][]frame.Tag{nil, {{VID: 10}}, {{VID: 10, PCP: 5}}, {{VID: 4095, PCP: 7}}}

// randomFlows writes random rules, rows and flows to the Lane, and returns them.
func (w *world) randomFlows(rng *rand.Rand) *flowTables {
	w.Helper()
	w.reset()
	often := func() bool { return rng.IntN(12) > 0 }
	tab := &flowTables{rows: make(map[Key]*flowRow), flows: make(map[FlowKey]Flow)}
	for n := range w.dev {
		r := Rule{
			Watch: often(), Ingress: often(), Egress: often(), Observe: !often(), Protected: rng.IntN(4) == 0, Flows: true,
			VLANMode: VLANMode(rng.IntN(4)), VID: ovs.VLAN(rng.IntN(2) * 10), // which do not count
			MaxFrame: []int{114, 1514, 9014}[rng.IntN(3)], Bridge: uint8(1 + rng.IntN(2)), KeepAlive: time.Hour,
		}
		tab.rules = append(tab.rules, r)
		w.port(n, r)
	}
	for n := range modelStations {
		at := rng.IntN(len(w.dev))
		for _, bridge := range []uint8{1, 2} {
			k := Key{bridge, 0, modelMAC(n)}
			if !often() || bridge != tab.rules[at].Bridge && often() {
				continue
			}
			r := &flowRow{at: at, target: often()}
			tab.rows[k] = r
			w.row(k, at, r.target)
		}
	}
	for range 150 {
		f := flowAB(func(f *Flow) {
			src, dst := tab.randomStation(rng), tab.randomStation(rng)
			f.Src, f.Dst, f.IfIndex, f.Egress, f.KeepAlive = src.MAC, dst.MAC, tab.rows[src].at, tab.rows[dst].at, time.Hour
			if !often() {
				f.Egress = rng.IntN(len(w.dev))
			}
		})
		if rng.IntN(2) == 0 {
			six(&f)
		}
		if tags := modelTags[rng.IntN(len(modelTags))]; tags != nil {
			on(tags[0].VID, tags[0].PCP)(&f)
		}
		pushed := modelTags[1+rng.IntN(len(modelTags)-1)][0]
		switch act := rng.IntN(3); {
		case act == 1 && f.Tagged:
			pop(&f)
		case act == 2 && f.Tagged:
			set(pushed.VID, pushed.PCP)(&f)
		case act > 0 && !f.Tagged:
			push(pushed.VID, pushed.PCP)(&f)
		}
		tab.flows[f.FlowKey] = f
		tab.order = append(tab.order, f.FlowKey)
		w.flow(f)
	}
	return tab
}

// modelStations is how many stations the model has.
const modelStations = 8

func (t *flowTables) randomStation(rng *rand.Rand) Key {
	for {
		k := Key{uint8(1 + rng.IntN(2)), 0, modelMAC(rng.IntN(modelStations))}
		if t.rows[k] != nil {
			return k
		}
	}
}

// randomFrame returns one that has a flow, as a rule.
func (t *flowTables) randomFrame(rng *rand.Rand) flowFrame {
	src := t.randomStation(rng)
	f := flowFrame{
		from: t.rows[src].at, src: src.MAC, dst: modelMAC(rng.IntN(modelStations + 1)), six: rng.IntN(2) == 0,
		tags: modelTags[rng.IntN(len(modelTags))], len: []int{62, 114, 115, 1514, 1515}[rng.IntN(5)],
	}
	if rng.IntN(4) > 0 {
		k := t.order[rng.IntN(len(t.order))]
		f.from, f.src, f.dst, f.six, f.tags = k.IfIndex, k.Src, k.Dst, k.Type == frame.TypeIPv6, nil
		if k.Tagged {
			f.tags = []frame.Tag{{VID: ovs.VLAN(k.TCI & 0xfff), PCP: uint8(k.TCI >> 13)}}
		}
	}
	switch rng.IntN(20) {
	case 0:
		f.from = rng.IntN(len(t.rules))
	case 1:
		f.src = modelMAC(rng.IntN(modelStations + 1))
	case 2:
		f.src[0] |= 1
	case 3:
		f.dst[0] |= 1
	case 4:
		f.arp, f.six = true, false
	case 5:
		f.piece, f.len = true, 62
	case 6:
		f.tags = [][]frame.Tag{{{VID: 10, DEI: true}}, {{PCP: 1}}, {{TPID: frame.TypeQinQ, VID: 10}}, {{VID: 10}, {VID: 20}}}[rng.IntN(4)]
	}
	return f
}
