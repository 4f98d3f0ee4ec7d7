// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// A row's mark goes only when what was read from OVS is newer than what the
// program saw. Station C is in question; device 2 belongs to neither port that
// OVS tells of.
func TestMarks(t *testing.T) {
	keyC := Key{1, 10, macC}
	w := newWorld(t, 4, Config{})

	// Steps.
	ask := func(w *world) { w.lane.Ask() }
	mark := func(w *world) { w.lane.MarkRow(keyC) }
	seen := func(n int) func(*world) {
		return func(w *world) { w.run(n, frame.UDP4(frame.Broadcast, macC), 0) }
	}
	put := func(n int, want bool) func(*world) {
		return func(w *world) {
			w.Helper()
			if ok, err := w.lane.PutRow(Row{Key: keyC, IfIndex: w.dev[n], Target: true}); err != nil || ok != want {
				w.Errorf("PutRow on device %d: %v, %v, want %v", n, ok, err, want)
			}
		}
	}
	confirm := func(want bool) func(*world) {
		return func(w *world) {
			w.Helper()
			if got := w.lane.Confirm(keyC); got != want {
				w.Errorf("Confirm: %v, want %v", got, want)
			}
		}
	}
	for _, c := range []struct {
		name  string
		steps []func(*world)
		// on and marked are where the row is afterwards; on -1: nowhere.
		on     int
		marked bool
	}{
		{"new", []func(*world){put(0, true)}, 0, true},
		{"new and confirmed", []func(*world){put(0, true), confirm(true)}, 0, false},
		{"confirmed twice", []func(*world){put(0, true), confirm(true), confirm(true)}, 0, false},
		{"no row to confirm", []func(*world){confirm(false)}, -1, false},
		{"new, then seen on its port", []func(*world){put(0, true), seen(0), confirm(true)}, 0, false},
		{"new, then seen elsewhere", []func(*world){put(0, true), seen(1), confirm(false)}, 0, true},
		{"new, seen elsewhere and back", []func(*world){put(0, true), seen(1), seen(0), confirm(true)}, 0, false},
		{"new, seen elsewhere, looked again: moved", []func(*world){put(0, true), seen(1), confirm(false), ask, put(1, true)}, 1, false},
		{"new, seen elsewhere, looked again: not moved", []func(*world){put(0, true), seen(1), confirm(false), ask, put(0, true)}, 0, false},
		{"new, never confirmed, looked again", []func(*world){put(0, true), ask, put(0, true)}, 0, false},

		{"seen elsewhere", []func(*world){put(0, true), confirm(true), seen(1)}, 0, true},
		{"seen, then asked", []func(*world){put(0, true), confirm(true), seen(1), ask, put(1, true)}, 1, false},
		{"seen, then asked: OVS knows better", []func(*world){put(0, true), confirm(true), seen(1), ask, put(0, true)}, 0, false},
		{"asked, then seen: old place", []func(*world){put(0, true), confirm(true), ask, seen(1), put(0, false)}, 0, true},
		{"asked, then seen: new place", []func(*world){put(0, true), confirm(true), ask, seen(1), put(1, true)}, 1, false},
		{"asked, then seen: a third place", []func(*world){put(0, true), confirm(true), ask, seen(2), put(1, false)}, 0, true},
		{"seen, asked, seen again", []func(*world){put(0, true), confirm(true), seen(1), ask, seen(1), put(0, false)}, 0, true},
		{"seen, asked, seen somewhere else", []func(*world){put(0, true), confirm(true), seen(1), ask, seen(2), put(1, false)}, 0, true},
		{"seen, asked, seen back home", []func(*world){put(0, true), confirm(true), seen(1), ask, seen(0), put(1, false)}, 0, true},
		{"seen back home, OVS agrees", []func(*world){put(0, true), confirm(true), seen(1), ask, seen(0), put(0, true)}, 0, false},
		{"seen twice before asking", []func(*world){put(0, true), confirm(true), seen(1), seen(1), ask, put(1, true)}, 1, false},
		{"refused, then asked again", []func(*world){put(0, true), confirm(true), ask, seen(2), put(1, false), ask, put(2, true)}, 2, false},

		{"marked", []func(*world){put(0, true), confirm(true), mark}, 0, true},
		{"marked and put", []func(*world){put(0, true), confirm(true), ask, mark, put(1, true)}, 1, false},
		{"marked, seen at the old place", []func(*world){put(0, true), confirm(true), ask, mark, seen(0), put(1, false)}, 0, true},
		{"marked, seen at the new place", []func(*world){put(0, true), confirm(true), ask, mark, seen(1), put(1, true)}, 1, false},
		{"marked, seen at a third place", []func(*world){put(0, true), confirm(true), ask, mark, seen(2), put(1, false)}, 0, true},
		{"marking does not hide a sighting", []func(*world){put(0, true), confirm(true), ask, seen(2), mark, put(1, false)}, 0, true},
		{"marking nothing", []func(*world){mark}, -1, false},
		{"deleted and put again", []func(*world){put(0, true), confirm(true),
			func(w *world) { w.lane.DeleteRow(keyC); w.lane.DeleteRow(keyC) }, put(1, true)}, 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := w.enter(t)
			w.reset()
			for n := range w.dev {
				w.port(n, access(10))
			}
			w.row(keyA, 3, true)
			for _, step := range c.steps {
				step(w)
			}
			var want *Row
			if c.on >= 0 {
				want = &Row{Key: keyC, IfIndex: w.dev[c.on], Target: true, Moved: c.marked}
			}
			if d := cmp.Diff(want, w.lane.FindRow(keyC), cmpopts.IgnoreFields(Row{}, "Seen")); d != "" {
				t.Errorf("row (-want +got):\n%s", d)
			}
			if got := w.lane.Marked(); (got == 1) != c.marked || got > 1 {
				t.Errorf("%d rows are marked", got)
			}
			// What the row says is what the program does.
			reason := map[bool]string{false: "lane", true: "moved"}[c.marked]
			if c.on < 0 {
				reason = "unknown"
			}
			w.run(3, frame.UDP4(macC, macA), 0)
			if n := w.counters(3).Frames[reason]; n != 1 {
				t.Errorf("a frame to the station is not %q: %v", reason, w.counters(3).Frames)
			}
		})
	}
}

// Putting a row again changes what it says and keeps its keep-alive stamp.
// A marked row tells where its station was seen last.
func TestRowSeen(t *testing.T) {
	w := newWorld(t, 3, Config{})
	w.reset()
	for n := range w.dev {
		w.port(n, access(10))
	}
	w.row(keyA, 0, true)
	seen := func(want int) {
		t.Helper()
		if got := w.lane.FindRow(keyA).Seen; got != want {
			t.Errorf("seen on device %d, want %d", got, want)
		}
	}
	seen(0)
	for _, n := range []int{1, 2, 0} {
		w.run(n, frame.UDP4(frame.Broadcast, macA), 0)
		seen(w.dev[n])
	}
	if ok, err := w.lane.PutRow(Row{Key: keyA, IfIndex: w.dev[0], Target: true}); !ok || err != nil {
		t.Fatalf("PutRow: %v, %v", ok, err)
	}
	seen(0)
}

func TestPutRowAgain(t *testing.T) {
	w := newWorld(t, 2, Config{})
	w.reset()
	w.port(0, access(10))
	w.port(1, access(10))
	w.row(keyA, 0, true)
	w.changeRow(keyA, func(r *laneRow) { r.Stamp -= 7 })
	p, _ := w.lane.fdb.find(keyA.word())
	before := rowOf(*w.lane.fdb.rowAt(p))
	for _, want := range []Row{{Key: keyA, IfIndex: w.dev[0]}, {Key: keyA, IfIndex: w.dev[1], Target: true}, {Key: keyA, IfIndex: w.dev[1], Declared: true},
		{Key: keyA, IfIndex: w.dev[1], Mirrored: true, Target: true}} {
		if ok, err := w.lane.PutRow(want); !ok || err != nil {
			t.Fatalf("PutRow: %v, %v", ok, err)
		}
		if d := cmp.Diff([]Row{want}, w.lane.Rows()); d != "" {
			t.Errorf("rows (-want +got):\n%s", d)
		}
		if got := rowOf(*w.lane.fdb.rowAt(p)).Stamp; got != before.Stamp {
			t.Errorf("stamp is %d, was %d", got, before.Stamp)
		}
	}
}

func TestPutRowErrors(t *testing.T) {
	w := newWorld(t, 2, Config{Rows: 1})
	w.reset()
	w.port(0, access(10))
	if ok, err := w.lane.PutRow(Row{Key: keyA, IfIndex: w.dev[1]}); ok || err == nil {
		t.Errorf("row on a device that is not on the lane: %v, %v", ok, err)
	}
	var want []Row
	for i := range 4 { // one bucket
		k := Key{1, ovs.VLAN(i), macA}
		w.row(k, 0, true)
		want = append(want, Row{Key: k, IfIndex: w.dev[0], Target: true})
	}
	if _, err := w.lane.PutRow(Row{Key: keyB, IfIndex: w.dev[0]}); !errors.Is(err, ErrFull) {
		t.Errorf("row in a full FDB: %v", err)
	}
	byVLAN := cmpopts.SortSlices(func(a, b Row) bool { return a.VLAN < b.VLAN })
	if d := cmp.Diff(want, w.lane.Rows(), byVLAN); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
	// Also when a place has just become free.
	w.lane.DeleteRow(Key{1, 2, macA})
	w.row(keyB, 0, false)
	want[2] = Row{Key: keyB, IfIndex: w.dev[0]}
	if d := cmp.Diff(want, w.lane.Rows(), byVLAN); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
}

// Wherever it begins, EachRow comes by each row once, and ends when it is told to.
func TestEachRow(t *testing.T) {
	w := newWorld(t, 2, Config{Rows: 64})
	w.port(0, Rule{Bridge: 1})
	w.port(1, Rule{Bridge: 1})
	want := make(map[Key]int)
	for n := range 40 {
		k := Key{1, 10, ovs.MAC{0x52, 0x54, 0, 0, 0, byte(n)}}
		w.row(k, n%2, true)
		want[k] = w.dev[n%2]
	}
	w.lane.DeleteRow(Key{1, 10, ovs.MAC{0x52, 0x54}})
	delete(want, Key{1, 10, ovs.MAC{0x52, 0x54}})
	for start := range uint32(70) {
		got := make(map[Key]int)
		for r := range w.lane.EachRow(start) {
			if _, twice := got[r.Key]; twice {
				t.Errorf("from %d: %s twice", start, r.Key)
			}
			got[r.Key] = r.IfIndex
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("from %d: %s", start, diff)
		}
	}
	seen := 0
	for range w.lane.EachRow(3) {
		if seen++; seen == 5 {
			break
		}
	}
	if seen != 5 {
		t.Errorf("%d rows after a break at 5", seen)
	}
}
