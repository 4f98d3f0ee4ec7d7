// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// sortedFlows puts flows in an order.
func sortedFlows(flows []Flow) []Flow {
	return slices.SortedFunc(slices.Values(flows), func(a, b Flow) int { return cmp.Compare(a.String(), b.String()) })
}

// What was put reads back, in the kernel's units of time.
func TestFlows(t *testing.T) {
	w := newWorld(t, 4, Config{Flows: 100})
	w.reset()
	for n := range w.dev {
		w.port(n, flowing())
	}
	unit := w.lane.keepTime(1)
	var want []Flow
	for _, f := range []Flow{
		flowAB(),
		flowAB(six),
		flowAB(on(10, 0)),
		flowAB(on(10, 7), pop),
		flowAB(on(4095, 0), six, set(1, 7)),
		flowAB(push(4095, 3)),
		flowAB(func(f *Flow) { f.IfIndex, f.Egress = 3, 2 }, push(1, 0)),
		flowAB(func(f *Flow) { f.Src, f.Dst = ovs.MAC{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff}, ovs.MAC{0, 0, 0, 0, 0, 1} }, on(4095, 7)),
	} {
		f.KeepAlive = unit*time.Duration(len(want)) + unit/2
		f = w.onDevices(f)
		w.must(w.lane.PutFlow(f))
		f.KeepAlive = unit * time.Duration(len(want))
		// Keys that are the same class of frames: the last one counts.
		if i := slices.IndexFunc(want, func(g Flow) bool { return g.FlowKey == f.FlowKey }); i >= 0 {
			want[i] = f
			continue
		}
		want = append(want, f)
	}
	if d := gocmp.Diff(sortedFlows(want), sortedFlows(w.lane.Flows())); d != "" {
		t.Errorf("flows (-want +got):\n%s", d)
	}
	for _, f := range want {
		if got := w.lane.FindFlow(f.FlowKey); got == nil || *got != f {
			t.Errorf("find %s: %+v, want %+v", f.FlowKey, got, f)
		}
	}
	other := want[0].FlowKey
	other.Dst = macNew
	if got := w.lane.FindFlow(other); got != nil {
		t.Errorf("found %+v", got)
	}
	w.lane.DeleteFlow(other)
	for _, f := range want {
		w.lane.DeleteFlow(f.FlowKey)
		w.lane.DeleteFlow(f.FlowKey)
	}
	w.must(w.lane.SettleFlows())
	if got := w.lane.Flows(); len(got) != 0 || len(w.lane.flows.cleared) != 0 {
		t.Errorf("left: %+v; %d places wait", got, len(w.lane.flows.cleared))
	}
	if got := w.lane.MaxFlows(); got != 128 {
		t.Errorf("made for %d flows", got)
	}
}

// A flow that is there is changed in its place, and keeps its keep-alive; put as it
// is it stays untouched.
func TestPutFlowAgain(t *testing.T) {
	w := newWorld(t, 4, Config{})
	w.reset()
	for n := range w.dev {
		w.port(n, flowing())
	}
	w.row(Key{1, 0, macA}, 0, true)
	w.row(Key{1, 0, macB}, 1, true)
	w.flow(flowAB())
	w.changeFlow(w.onDevices(flowAB()).FlowKey, func(f *laneFlow) { f.Stamp -= 3 })
	key, _ := w.lane.flowWords(w.onDevices(flowAB()).FlowKey)
	at, _ := w.lane.flows.find(key)
	before := *w.lane.flows.wordAt(at)
	for _, f := range []Flow{flowAB(), flowAB(push(9, 1)), flowAB(func(f *Flow) { f.Egress = 2 }), flowAB(func(f *Flow) { f.KeepAlive = time.Second }), flowAB()} {
		f = w.onDevices(f)
		w.must(w.lane.PutFlow(f))
		if got := w.lane.FindFlow(f.FlowKey); got.Egress != f.Egress || got.Tag != f.Tag || got.PushTCI != f.PushTCI || got.KeepAlive > f.KeepAlive {
			t.Errorf("put %+v, found %+v", f, got)
		}
		if p, _ := w.lane.flows.find(key); p != at || flowOf(*w.lane.flows.wordAt(p)).Stamp != flowOf(before).Stamp {
			t.Errorf("%+v changed its place or its keep-alive", f)
		}
	}
	if now := *w.lane.flows.wordAt(at); now != before {
		t.Errorf("the flow as at first is %#x, was %#x", now, before)
	}
	if len(w.lane.Flows()) != 1 {
		t.Errorf("flows: %+v", w.lane.Flows())
	}
}

func TestPutFlowRefuses(t *testing.T) {
	w := newWorld(t, 4, Config{Flows: 1})
	w.reset()
	w.port(0, flowing())
	w.port(1, flowing())
	for name, c := range map[string]struct {
		edit func(*Flow)
		want string
	}{
		"a device that is not on the lane": {func(f *Flow) { f.IfIndex = 2 }, "not on the lane"},
		"to one that is not on the lane":   {func(f *Flow) { f.Egress = 2 }, "not on the lane"},
		"ARP":                              {func(f *Flow) { f.Type = frame.TypeARP }, "EtherType 0x0806"},
		"a group address":                  {func(f *Flow) { f.Dst = frame.Broadcast }, "address"},
		"a group as source":                {func(f *Flow) { f.Src[0] |= 1 }, "address"},
		"no source":                        {func(f *Flow) { f.Src = ovs.MAC{} }, "address"},
		"no destination":                   {func(f *Flow) { f.Dst = ovs.MAC{} }, "address"},
		"a priority tag":                   {on(0, 5), "TCI 0xa000"},
		"DEI":                              {func(f *Flow) { f.Tagged, f.TCI = true, 10|tciDEI }, "TCI 0x100a"},
		"a tag's TCI without the tag":      {func(f *Flow) { f.TCI = 10 }, "TCI 0x000a"},
		"pop of no tag":                    {pop, "tag action"},
		"another tag where there is none":  {set(20, 0), "tag action"},
		"a second tag":                     {func(f *Flow) { on(10, 0)(f); push(20, 0)(f) }, "tag action"},
		"an action that there is not":      {func(f *Flow) { f.Tag = TagSet + 1 }, "tag action"},
		"push of a priority tag":           {push(0, 5), "TCI 0xa000"},
		"push of DEI":                      {func(f *Flow) { f.Tag, f.PushTCI = TagPush, 10|tciDEI }, "TCI 0x100a"},
		"TCI to push, and no push":         {func(f *Flow) { f.PushTCI = 10 }, "TCI 0x000a"},
		"pop, and TCI to push":             {func(f *Flow) { on(10, 0)(f); pop(f); f.PushTCI = 10 }, "TCI 0x000a"},
	} {
		err := w.lane.PutFlow(w.onDevices(flowAB(c.edit)))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "add flow from device ") {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	if got := w.lane.Flows(); len(got) > 0 {
		t.Errorf("flows: %+v", got)
	}
	for i := range byte(4) {
		w.must(w.lane.PutFlow(w.onDevices(flowAB(func(f *Flow) { f.Dst[5] = i }))))
	}
	if err := w.lane.PutFlow(w.onDevices(flowAB(func(f *Flow) { f.Dst[5] = 4 }))); !errors.Is(err, ErrFull) {
		t.Errorf("one too many: %v", err)
	}
}

// With a port go the flows from and to it, and whoever gets its slot has none.
func TestRemovePortTakesFlows(t *testing.T) {
	w := newWorld(t, 4, Config{})
	w.reset()
	for n := range 3 {
		w.port(n, flowing())
	}
	from := func(n, to int, dst ovs.MAC) Flow {
		return w.onDevices(flowAB(func(f *Flow) { f.IfIndex, f.Egress, f.Dst = n, to, dst }))
	}
	for _, f := range []Flow{from(0, 1, macA), from(1, 0, macB), from(0, 2, macC), from(2, 0, macB)} {
		w.must(w.lane.PutFlow(f))
	}
	w.must(w.lane.RemovePort(w.dev[1]))
	for _, f := range w.lane.Flows() {
		if f.IfIndex == w.dev[1] || f.Egress == w.dev[1] || f.IfIndex == 0 || f.Egress == 0 {
			t.Errorf("left: %+v", f)
		}
	}
	if got := len(w.lane.Flows()); got != 2 {
		t.Errorf("%d flows are left, want 2", got)
	}
	if w.lane.FindFlow(from(1, 0, macB).FlowKey) != nil {
		t.Error("a flow from a port that has gone is found")
	}
}

// The table holds the flows that it was sized for, whatever they have in common.
func TestFlowCapacity(t *testing.T) {
	rng := seeded(t)
	last := func(i int) ovs.MAC { return ovs.MAC{0x52, 0x54, 0, byte(i >> 16), byte(i >> 8), byte(i)} }
	first := func(i int) ovs.MAC { return ovs.MAC{byte(i>>16) << 1, byte(i >> 8), byte(i), 0, 0, 1} }
	for name, key := range map[string]func(i int) flowWords{
		"one source":               func(i int) flowWords { return flowWords{Key{MAC: macA}.word(), Key{MAC: last(i)}.word() | flowKey} },
		"one source, first octets": func(i int) flowWords { return flowWords{Key{MAC: macA}.word(), Key{MAC: first(i)}.word() | flowKey} },
		"one destination":          func(i int) flowWords { return flowWords{Key{MAC: last(i)}.word(), Key{MAC: macA}.word() | flowKey} },
		"one destination, first octets": func(i int) flowWords {
			return flowWords{Key{MAC: first(i)}.word(), Key{MAC: macA}.word() | flowKey}
		},
		"each with each": func(i int) flowWords {
			return flowWords{Key{MAC: last(i >> 8)}.word(), Key{MAC: last(i & 0xff)}.word() | flowKey}
		},
		"both the same": func(i int) flowWords { return flowWords{Key{MAC: last(i)}.word(), Key{MAC: last(i)}.word() | flowKey} },
		"ports": func(i int) flowWords {
			return flowWords{Key{MAC: last(i >> 12)}.word(), Key{MAC: macA}.word() | flowKey | uint64(i&0xfff)}
		},
		"tags": func(i int) flowWords {
			return flowWords{Key{MAC: last(i >> 12)}.word() | uint64(i&0xfff), Key{MAC: macA}.word() | flowKey}
		},
		"random": func(int) flowWords { return flowWords{rng.Uint64(), rng.Uint64() | flowKey} },
	} {
		for _, rows := range []int{64, 1024, 65536} {
			buckets := bucketsOf(rows)
			table := newFlows(make([]byte, buckets*128), buckets, rng.Uint64(), func() error { return nil })
			for i := range rows {
				if err := table.add(key(i), table.valid); err != nil {
					t.Errorf("%s: flow %d of %d: %v", name, i, rows, err)
					break
				}
			}
		}
	}
}

// The program finds every flow that the writer put into a table nine tenths full,
// where each place of both buckets is in use.
func TestProgramFindsFlows(t *testing.T) {
	w := newWorld(t, 4, Config{Flows: 512})
	rng := seeded(t)
	w.reset()
	w.lane.flows.wait = func() error { return nil } // nobody reads yet
	for n := range w.dev {
		w.port(n, flowing())
	}
	vids := []ovs.VLAN{1, 10, 0xfff, 0xffe}
	stations := make([]ovs.MAC, 12)
	for i := range stations {
		r := rng.Uint64()
		stations[i] = ovs.MAC{byte(r>>56) &^ 1, byte(r >> 48), byte(r >> 40), byte(r >> 32), byte(r >> 24), byte(i)}
		w.row(Key{1, 0, stations[i]}, i%len(w.dev), true)
	}
	flows := make(map[FlowKey]Flow)
	for len(flows) < 920 {
		from, to := rng.IntN(len(stations)), rng.IntN(len(stations))
		if from%len(w.dev) == to%len(w.dev) {
			continue
		}
		f := flowAB(func(f *Flow) {
			f.IfIndex, f.Egress, f.Src, f.Dst = from%len(w.dev), to%len(w.dev), stations[from], stations[to]
		})
		if rng.IntN(2) == 0 {
			six(&f)
		}
		if rng.IntN(8) > 0 {
			on(vids[rng.IntN(len(vids))], uint8(rng.IntN(8)))(&f)
		}
		if _, known := flows[f.FlowKey]; !known {
			w.flow(f)
			flows[f.FlowKey] = f
		}
	}
	frameOf := func(f Flow) []byte {
		var options []frame.Option
		if f.Tagged {
			options = append(options, frame.Tagged(frame.Tag{VID: ovs.VLAN(f.TCI & 0xfff), PCP: uint8(f.TCI >> 13)}))
		}
		if f.Type == frame.TypeIPv6 {
			return frame.UDP6(f.Dst, f.Src, options...)
		}
		return frame.UDP4(f.Dst, f.Src, options...)
	}
	used := make(map[[2]int]int) // choice, place in its bucket
	near := 0
	for _, f := range flows {
		key, _ := w.lane.flowWords(w.onDevices(f).FlowKey)
		p, _ := w.lane.flows.find(key)
		c := w.lane.flows.choices(key)
		used[[2]int{slices.Index(c[:], int(p/4)), int(p % 4)}]++
		sent := w.counters(f.Egress).Sent
		if verdict, _ := w.run(f.IfIndex, frameOf(f), 0); verdict != xdpRedirect || w.counters(f.Egress).Sent != sent+1 {
			t.Fatalf("flow %s at place %d: verdict %d, %v", f.FlowKey, p, verdict, w.counters(f.IfIndex).Frames)
		}
		// And no other that is nearly the same.
		other := f
		switch near++; {
		case near%3 == 0 && f.Type == frame.TypeIPv4:
			other.Type = frame.TypeIPv6
		case near%3 == 0:
			other.Type = frame.TypeIPv4
		case near%3 == 1 && f.Tagged:
			other.TCI ^= 1 << 13
		default:
			other.Tagged, other.TCI = true, 20
		}
		if _, known := flows[other.FlowKey]; known {
			continue
		}
		before := w.counters(f.IfIndex).Frames["no-flow"]
		if w.run(f.IfIndex, frameOf(other), 0); w.counters(f.IfIndex).Frames["no-flow"] != before+1 {
			t.Fatalf("flow %s is found: %v", other.FlowKey, w.counters(f.IfIndex).Frames)
		}
	}
	for choice := range 2 {
		for i := range 4 {
			if used[[2]int{choice, i}] == 0 {
				t.Errorf("place %d of choice %d was never used: %v", i, choice, used)
			}
		}
	}
}
