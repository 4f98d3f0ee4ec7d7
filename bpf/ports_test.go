// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

var byIfIndex = cmpopts.SortSlices(func(a, b Port) bool { return a.IfIndex < b.IfIndex })

// A full port table: every device finds its own slot, and a slot that was
// given up is used again, without what was in it.
func TestPortTable(t *testing.T) {
	w := newWorld(t, 10, Config{Ports: 8})
	w.must(w.lane.Open(time.Hour))
	var want []Port
	for n := range 8 {
		r := access(ovs.VLAN(10 + n))
		w.port(n, r)
		want = append(want, Port{IfIndex: w.dev[n], Rule: r})
		k := Key{1, r.VID, macA}
		w.row(k, n, true)
	}
	if d := cmp.Diff(want, w.lane.Ports(), byIfIndex); d != "" {
		t.Errorf("ports (-want +got):\n%s", d)
	}
	hit := func(n int) {
		t.Helper()
		before := w.counters(n).Frames["hairpin"]
		w.run(n, frame.UDP4(macA, macA), 0)
		if w.counters(n).Frames["hairpin"] != before+1 {
			t.Errorf("device %d: %v", n, w.counters(n).Frames)
		}
	}
	for n := range 8 {
		hit(n)
	}
	if err := w.lane.AddPort(w.dev[8], ModeTarget); !errors.Is(err, ErrPortTableFull) {
		t.Errorf("ninth device in eight slots: %v", err)
	}
	if v, _ := w.run(8, frame.UDP4(macA, macA), 0); v != xdpPass {
		t.Errorf("verdict on a device that is not on the lane: %d", v)
	}

	w.must(w.lane.RemovePort(w.dev[3]))
	if _, err := w.lane.Counters(w.dev[3]); err == nil {
		t.Errorf("a device that has left has counters")
	}
	if r := w.lane.FindRow(Key{1, 13, macA}); r != nil {
		t.Errorf("its row is still there: %+v", r)
	}
	if got := len(w.lane.Rows()); got != 7 {
		t.Errorf("%d rows, want 7", got)
	}
	w.must(w.lane.AddPort(w.dev[8], ModeTarget))
	want[3] = Port{IfIndex: w.dev[8]}
	if d := cmp.Diff(want, w.lane.Ports(), byIfIndex); d != "" {
		t.Errorf("ports (-want +got):\n%s", d)
	}
	if c := w.counters(8); c.Passed+c.Lane+c.PassedBytes != 0 {
		t.Errorf("a new device has counters: %+v", c)
	}
	// It has no rule yet, and no VLAN of the slot's last device.
	w.run(8, frame.UDP4(macA, macA), 0)
	if n := w.counters(8).Frames["port-closed"]; n != 1 {
		t.Errorf("device without a rule: %v", w.counters(8).Frames)
	}
	w.rule(8, trunk(77))
	w.run(8, frame.UDP4(macA, macA, frame.OnVLAN(13)), 0)
	if n := w.counters(8).Frames["vlan"]; n != 1 {
		t.Errorf("device with another's VLAN: %v", w.counters(8).Frames)
	}
	for _, n := range []int{0, 1, 2, 4, 5, 6, 7} {
		hit(n)
	}
}

// Ports tells what the program sees.
func TestPortsReadBack(t *testing.T) {
	w := newWorld(t, 2, Config{})
	rule := carrying(NativeUntagged, 30, ovs.VLANs(10, 30)).with(func(r *Rule) {
		r.Bridge, r.Observe, r.Protected, r.Checksum, r.MaxFrame = 7, true, true, true, 9014
	})
	expect := func(when string, want Rule) {
		t.Helper()
		if d := cmp.Diff([]Port{{IfIndex: w.dev[0], Rule: want}}, w.lane.Ports()); d != "" {
			t.Errorf("%s (-want +got):\n%s", when, d)
		}
	}
	w.must(w.lane.AddPort(w.dev[0], ModeTarget))
	expect("after AddPort", Rule{})
	w.rule(0, rule)
	expect("after SetRule", rule)
	w.lane.ClosePort(w.dev[0])
	expect("after ClosePort", Rule{})
	w.rule(0, rule)
	expect("after SetRule with the same VLANs", rule)
	w.rule(0, access(10))
	expect("after SetRule with other VLANs", access(10))
}

func TestPortErrors(t *testing.T) {
	w := newWorld(t, 2, Config{})
	if err := w.lane.SetRule(w.dev[0], access(10)); err == nil {
		t.Errorf("rule of a device that is not on the lane was set")
	}
	w.lane.ClosePort(w.dev[0])
	w.must(w.lane.RemovePort(w.dev[0]))
	if err := w.lane.AddPort(1<<20, ModeTarget); err == nil {
		t.Errorf("a device that does not exist was added")
	}
	w.port(0, access(10))
	if err := w.lane.AddPort(w.dev[0], ModeTarget); err == nil {
		t.Errorf("a device was added twice")
	}
	w.must(w.lane.RemovePort(w.dev[0]))
	if got := w.lane.Ports(); len(got) != 0 {
		t.Errorf("ports that are left: %+v", got)
	}
	for _, cfg := range []Config{{Rows: -1}, {Rows: maxRows + 1}, {Ports: -1}, {Ports: maxPorts + 1}} {
		if l, err := New(cfg); err == nil {
			t.Errorf("New(%+v) made a lane", cfg)
			l.Close()
		}
	}
}

// A change of a port's VLANs counts at once.
func TestSetRuleChangesVLANs(t *testing.T) {
	w := newWorld(t, 2, Config{})
	w.reset()
	w.port(0, trunk(10))
	w.port(1, trunk())
	w.row(keyA, 0, true)
	w.row(keyB, 1, true)
	slot, _ := w.lane.ports.slotOf(w.dev[0])
	for _, c := range []struct {
		rule   Rule
		reason string
	}{{trunk(10), "lane"}, {trunk(20), "vlan"}, {trunk(), "lane"}, {access(10), "vlan"}} {
		w.rule(0, c.rule)
		before := w.counters(0).Frames[c.reason]
		w.run(0, tagged(frame.Tag{VID: 10}), 0)
		if w.counters(0).Frames[c.reason] != before+1 {
			t.Errorf("with VLANs %s: %v", c.rule.VLANs, w.counters(0).Frames)
		}
		if got := ovs.VLANSet(w.lane.ports.slots[slot].Vlans); got != c.rule.VLANs {
			t.Errorf("VLANs in the table: %s, want %s", got, c.rule.VLANs)
		}
	}
}

// A port that floods new sources sends no more events than its budget.
func TestEventBudget(t *testing.T) {
	w := newWorld(t, 2, Config{})
	w.reset()
	w.port(0, access(10))
	w.port(1, access(10))
	const burst = int(laneLimitsEVENT_BURST)
	flood := func(n int) (sent, limited int) {
		before := w.counters(n).EventsLimited
		for i := range 4 * burst {
			w.run(n, frame.UDP4(macB, ovs.MAC{2, 0, 0, 0, byte(n), byte(i)}), 0)
		}
		return len(w.events()), int(w.counters(n).EventsLimited - before)
	}
	window := time.Duration(float64(uint64(1)<<laneLimitsEVENT_WINDOW_SHIFT) / w.lane.ticks * float64(time.Second))
	for round := range 2 {
		for n := range 2 { // each port has its own
			start := time.Now()
			sent, limited := flood(n)
			windows := int(time.Since(start)/window) + 2
			if sent < burst || sent > windows*burst || sent+limited != 4*burst {
				t.Errorf("round %d, device %d: %d events sent and %d limited of %d, in %d windows of %d",
					round, n, sent, limited, 4*burst, windows, burst)
			}
		}
		time.Sleep(window + window/8)
	}
	if c := w.counters(0); c.EventsLost != 0 || c.Frames["new-source"] != uint64(8*burst) {
		t.Errorf("counters: %+v", c)
	}
}

// Events that find the ring buffer full are counted.
func TestEventsLost(t *testing.T) {
	w := newWorld(t, 2, Config{})
	w.reset()
	w.port(0, access(10))
	slot, _ := w.lane.ports.slotOf(w.dev[0])
	lost := func() bool { return w.counters(0).EventsLost > 0 }
	ring := int(w.lane.coll.Maps[laneMapEvents].MaxEntries())
	n := 0
	for ; n < ring/16 && !lost(); n++ {
		w.lane.ports.slots[slot].Budget = 0
		w.run(0, frame.UDP4(macB, ovs.MAC{2, 0, 0, byte(n >> 16), byte(n >> 8), byte(n)}), 0)
	}
	if !lost() {
		t.Fatalf("no event of %d was lost in a ring of %d bytes", n, ring)
	}
	if got := len(w.events()); got != n-1 {
		t.Errorf("%d events of %d", got, n-1)
	}
	// And then it goes on.
	w.lane.ports.slots[slot].Budget = 0
	w.run(0, frame.UDP4(macB, macA), 0)
	want := []Event{{Key: keyA, IfIndex: w.dev[0]}}
	if d := cmp.Diff(want, w.events()); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

func TestReadEventsWaits(t *testing.T) {
	w := newWorld(t, 2, Config{})
	w.reset()
	w.port(0, access(10))
	start := time.Now()
	if e, err := w.lane.ReadEvents(start.Add(50 * time.Millisecond)); len(e) != 0 || err != nil || time.Since(start) < 40*time.Millisecond {
		t.Errorf("nothing to read: %v, %v after %v", e, err, time.Since(start))
	}
	got := make(chan []Event)
	go func() {
		e, err := w.lane.ReadEvents(time.Now().Add(10 * time.Second))
		if err != nil {
			t.Error(err)
		}
		got <- e
	}()
	time.Sleep(20 * time.Millisecond)
	w.run(0, frame.UDP4(macB, macA), 0)
	if d := cmp.Diff([]Event{{Key: keyA, IfIndex: w.dev[0]}}, <-got); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}
