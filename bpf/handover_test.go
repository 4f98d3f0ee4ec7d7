// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// pins mounts a bpffs and makes a directory for pins there.
func pins(t *testing.T) string {
	t.Helper()
	at := t.TempDir()
	if err := unix.Mount("bpf", at, "bpf", 0, ""); err != nil {
		t.Fatalf("mount a bpffs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, 0); err != nil {
			t.Errorf("unmount the bpffs: %v", err)
		}
	})
	dir := filepath.Join(at, "pins")
	if err := MakePins(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// attached returns the kernel's id of the program on device n, 0 for none.
func (w *world) attached(n int) int {
	w.Helper()
	l, err := netlink.LinkByIndex(w.dev[n])
	w.must(err)
	if x := l.Attrs().Xdp; x != nil && x.Attached {
		return int(x.ProgId)
	}
	return 0
}

// handed is a world whose lane has ports of all kinds, two stations and two flows,
// and the modes of its ports.
func handed(t *testing.T) (*world, map[int]Mode) {
	t.Helper()
	w := newWorld(t, 8, Config{Rows: 100, Ports: 20, Flows: 100})
	modes := map[int]Mode{w.dev[0]: ModeNative, w.dev[2]: ModeGeneric, w.dev[4]: ModeTarget, w.dev[6]: ModeTarget}
	if lab.TagsTold() {
		modes[w.dev[6]] = ModeVeth
	}
	for _, n := range []int{0, 2, 4, 6} {
		w.must(w.lane.AddPort(w.dev[n], modes[w.dev[n]]))
	}
	w.rule(0, access(10))
	w.rule(2, native(NativeUntagged, 10).with(func(r *Rule) { r.Protected, r.Checksum, r.Declared, r.Finish = true, true, true, true }))
	w.rule(4, trunk(10, 20).with(func(r *Rule) { r.Bundle = w.dev[2]; r.MaxFrame = 9014 }))
	w.rule(6, access(10).with(func(r *Rule) { r.Legs = [Legs]int{3: w.dev[4], 4: w.dev[2]} }))
	w.must(w.lane.Open(time.Hour))
	w.row(Key{1, 10, macA}, 0, true)
	w.row(Key{1, 10, macB}, 2, true)
	w.flow(handedFlow(0, 2))
	w.flow(handedFlow(4, 0))
	if v, _ := w.run(0, frame.UDP4(macB, macA), 0); v != xdpRedirect {
		t.Fatalf("verdict %d before it is handed over", v)
	}
	return w, modes
}

// handedFlow is one between two devices by number.
func handedFlow(from, to int) Flow {
	return flowAB(func(f *Flow) { f.IfIndex, f.Egress = from, to }, six, on(10, 5), set(20, 1))
}

// adopt has another Lane take over, as far as AdoptPorts.
func (w *world) adopt(dir string, modes map[int]Mode) *Lane {
	w.Helper()
	w.must(w.lane.PinTables(dir))
	heir, err := Adopt(dir, Config{})
	w.must(err)
	for ifindex, mode := range modes {
		w.must(heir.LoadAhead(ifindex, mode))
	}
	w.must(w.lane.PinLinks(dir))
	w.must(heir.AdoptLists(w.lane.Places()))
	w.must(heir.AdoptPorts(dir, modes))
	return heir
}

// coarse are ports as they can be read back from the tables.
func coarse(ports []Port) []Port {
	slices.SortFunc(ports, func(a, b Port) int { return cmp.Compare(a.IfIndex, b.IfIndex) })
	for i := range ports {
		ports[i].Rule.KeepAlive = 0
	}
	return ports
}

func sorted(rows []Row) []Row {
	slices.SortFunc(rows, func(a, b Row) int { return cmp.Compare(a.word(), b.word()) })
	return rows
}

// A Lane that takes over has the tables, counters and links of the other, which
// may end; with the second everything goes.
func TestHandOver(t *testing.T) {
	w, modes := handed(t)
	dir := pins(t)
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the pins are in a directory of mode %v: %v", st.Mode(), err)
	}
	before := map[int]int{}
	for _, n := range []int{0, 2, 6} {
		before[n] = w.attached(n)
	}
	old, counted := w.lane, w.counters(0)
	heir := w.adopt(dir, modes)
	if diff := gocmp.Diff(coarse(old.Ports()), coarse(heir.Ports())); diff != "" {
		t.Errorf("ports (-old +heir):\n%s", diff)
	}
	for _, p := range old.Ports() {
		if !heir.Holds(p.IfIndex, p.Rule) || heir.Holds(p.IfIndex, p.Rule.with(func(r *Rule) { r.VLANs.Remove(10) })) ||
			heir.Holds(p.IfIndex, p.Rule.with(func(r *Rule) { r.Observe = true })) {
			t.Errorf("the heir does not know which rule of device %d is in the tables", p.IfIndex)
		}
	}
	if diff := gocmp.Diff(sorted(old.Rows()), sorted(heir.Rows())); diff != "" || len(heir.Rows()) != 2 {
		t.Errorf("rows (-old +heir):\n%s", diff)
	}
	if diff := gocmp.Diff(sortedFlows(old.Flows()), sortedFlows(heir.Flows())); diff != "" || len(heir.Flows()) != 2 {
		t.Errorf("flows (-old +heir):\n%s", diff)
	}
	for _, n := range []int{0, 2} {
		if w.attached(n) != before[n] || !heir.Owns(uint32(before[n])) {
			t.Errorf("device %d: program %d before Swap, want %d and known", n, w.attached(n), before[n])
		}
	}
	w.must(heir.Swap())
	for _, n := range []int{0, 2, 6} {
		now := w.attached(n)
		if (now == 0) != (before[n] == 0) || now != 0 && (now == before[n] || !heir.Owns(uint32(now)) || old.Owns(uint32(now))) {
			t.Errorf("device %d: program %d after Swap, was %d", n, now, before[n])
		}
	}
	w.must(old.UnpinLinks())
	if was, err := RemovePins(dir); !was || err != nil {
		t.Errorf("remove pins: %v, %v", was, err)
	}
	w.must(old.Renew(time.Hour)) // the lease is shared, too
	w.lane = heir
	w.must(heir.Renew(time.Hour))
	if diff := gocmp.Diff(counted, w.counters(0)); diff != "" {
		t.Errorf("counters were lost:\n%s", diff)
	}

	// The heir writes, alone.
	w.must(old.Close())
	if v, _ := w.run(0, frame.UDP4(macB, macA), 0); v != xdpRedirect || w.counters(0).Lane != counted.Lane+1 {
		t.Errorf("verdict %d, counted %d, then %d", v, counted.Lane, w.counters(0).Lane)
	}
	w.row(Key{1, 10, macC}, 4, true)
	heir.DeleteRow(Key{1, 10, macB})
	w.must(heir.RemovePort(w.dev[2]))
	if id := w.attached(2); id != 0 {
		t.Errorf("program %d stays on a device that the heir has removed", id)
	}
	if flows := heir.Flows(); len(flows) != 1 || flows[0].IfIndex != w.dev[4] {
		t.Errorf("flows when one port has gone: %+v", flows)
	}
	w.must(heir.AddPort(w.dev[2], ModeNative))
	w.handedFlows(heir)
	w.run(0, frame.UDP4(macA, ovs.MAC{0x52, 0x54, 0, 0, 9, 9}), 0)
	if e := w.events(); len(e) != 1 || e[0].IfIndex != w.dev[0] {
		t.Errorf("events %+v", e)
	}
	w.must(heir.Close())
	for _, n := range []int{0, 2, 6} {
		if id := w.attached(n); id != 0 {
			t.Errorf("program %d stays on device %d after both have ended", id, n)
		}
	}
	var err error
	w.lane, err = New(Config{}) // for the end of the world
	w.must(err)
}

// handedFlows has a port go by flows, of which an heir has one and gets another.
func (w *world) handedFlows(heir *Lane) {
	w.Helper()
	w.must(heir.SetRule(w.dev[4], flowing().with(func(r *Rule) { r.Bridge = 3 })))
	w.must(heir.SetRule(w.dev[6], flowing().with(func(r *Rule) { r.Bridge = 3 })))
	w.row(Key{3, 0, macA}, 4, true)
	w.row(Key{3, 0, macB}, 6, true)
	at := func(vid ovs.VLAN) []byte { return frame.UDP6(macB, macA, frame.OnVLAN(vid)) }
	w.flow(flowAB(func(f *Flow) { f.IfIndex, f.Egress = 4, 6 }, six, on(10, 0), set(30, 0)))
	if v, leaves := w.run(4, at(10), 0); v != xdpRedirect || !slices.Equal(leaves, at(30)) {
		w.Errorf("verdict %d of a frame by the heir's flow", v)
	}
	if v, _ := w.run(4, frame.UDP6(macB, macA, frame.Tagged(frame.Tag{VID: 10, PCP: 5})), 0); v != xdpPass {
		w.Errorf("verdict %d of a frame whose flow leads elsewhere", v)
	}
	if c := w.counters(4); c.Frames["stale-flow"] != 1 || c.Lane != 1 {
		w.Errorf("counters %v", c.Frames)
	}
}

// A Lane gets everything back from another that has ended after it had taken
// over, whatever that has done.
func TestReclaim(t *testing.T) {
	w, modes := handed(t)
	dir := pins(t)
	before := w.attached(0)
	for try := range 3 { // a second attempt finds its way as the first
		heir := w.adopt(dir, modes)
		w.must(heir.Swap())
		if now := w.attached(0); now == before {
			t.Fatalf("try %d: the heir's programs are not on the devices", try)
		}
		w.must(heir.RemovePort(w.dev[2]))
		w.must(heir.AddPort(w.dev[1], ModeNative))
		w.must(heir.SetRule(w.dev[0], access(99)))
		unfinished := w.lane.fdb.choices(Key{1, 10, macC}.word())[0]
		*heir.fdb.rowAt(place(unfinished*4 + 3)) = 0x1234 // published without its key
		heir.DeleteFlow(w.onDevices(handedFlow(4, 0)).FlowKey)
		w.must(heir.Close())
		if id := w.attached(1); id != 0 {
			t.Errorf("try %d: a program of the heir's stays", try)
		}
		w.must(w.lane.Shut())
		w.must(w.lane.Reclaim())
		if now := w.attached(0); now != before {
			t.Errorf("try %d: program %d on the device, want %d", try, now, before)
		}
		var on []int
		for _, p := range w.lane.Ports() {
			if !p.Gone {
				on = append(on, p.IfIndex)
			}
		}
		slices.Sort(on)
		if want := []int{w.dev[0], w.dev[4], w.dev[6]}; !slices.Equal(on, want) {
			t.Errorf("try %d: devices %v on the lane, want %v", try, on, want)
		}
		if w.lane.Holds(w.dev[0], access(10)) || !w.lane.Holds(w.dev[0], access(99)) {
			t.Errorf("try %d: the rule that the heir has written is not seen", try)
		}
		if flows := w.lane.Flows(); len(flows) > 0 {
			t.Errorf("try %d: flows that the heir has removed: %+v", try, flows)
		}
		// As before.
		w.must(w.lane.RemovePort(w.dev[2])) // its link is gone
		w.must(w.lane.AddPort(w.dev[2], ModeGeneric))
		w.rule(2, access(10))
		w.rule(0, access(10))
		w.row(Key{1, 10, macB}, 2, true)
		w.flow(handedFlow(0, 2))
		w.flow(handedFlow(4, 0))
		w.must(w.lane.Open(time.Hour))
		if v, _ := w.run(0, frame.UDP4(macB, macA), 0); v != xdpRedirect {
			t.Errorf("try %d: verdict %d afterwards", try, v)
		}
		if _, err := RemovePins(dir); err != nil {
			t.Error(err)
		}
		w.must(MakePins(dir))
	}
}

// Tables that are not those of this program are refused, and nothing happens to
// them.
func TestAdoptRefuses(t *testing.T) {
	w, _ := handed(t)
	instead := func(dir string, of *ebpf.Map) error { // pins it for the FDB
		m, err := of.Clone()
		if err != nil {
			return err
		}
		defer m.Close()
		pin := tablePin(dir, fdbMap)
		return errors.Join(os.Remove(pin), m.Pin(pin))
	}
	for name, step := range map[string]struct {
		alter func(dir string) error
		want  string
	}{
		"another layout version": {func(dir string) error {
			m, err := ebpf.LoadPinnedMap(tablePin(dir, layoutTable), nil)
			if err != nil {
				return err
			}
			defer m.Close()
			return m.Put(uint32(0), layoutRecord{Version: uint32(LayoutVersion) + 1})
		}, ErrLayout.Error()},
		"another network namespace": {layoutWith(func(r *layoutRecord) { r.NetNS++ }), "network namespace"},
		"no layout":                 {func(dir string) error { return os.Remove(tablePin(dir, layoutTable)) }, layoutTable},
		"no FDB":                    {func(dir string) error { return os.Remove(tablePin(dir, fdbMap)) }, "table .data.fdb"},
		"another table":             {func(dir string) error { return instead(dir, w.lane.coll.Maps[portTableMap]) }, "fdb: ValueSize"},
		"another size": {func(dir string) error {
			other, err := New(Config{Rows: 5000})
			if err != nil {
				return err
			}
			return errors.Join(instead(dir, other.coll.Maps[fdbMap]), other.Close())
		}, "fdb: ValueSize"},
		"another size of the flow table": {layoutWith(func(r *layoutRecord) { r.FlowMask = 2*r.FlowMask + 1 }), "flows: ValueSize"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.enter(t)
			dir := pins(t)
			w.must(w.lane.PinTables(dir))
			w.must(step.alter(dir))
			heir, err := Adopt(dir, Config{})
			if err == nil {
				w.must(heir.Close())
				t.Fatal("adopted")
			}
			t.Log(err)
			if !strings.Contains(err.Error(), step.want) {
				t.Errorf("the error does not say %q", step.want)
			}
			if v, _ := w.run(0, frame.UDP4(macB, macA), 0); v != xdpRedirect {
				t.Errorf("verdict %d afterwards", v)
			}
		})
	}
	if err := MakePins(filepath.Join(t.TempDir(), "pins")); !errors.Is(err, ErrNoBPFFS) {
		t.Errorf("pins outside of a bpffs: %v", err)
	}
}

// layoutWith changes the pinned layout.
func layoutWith(change func(r *layoutRecord)) func(dir string) error {
	return func(dir string) error {
		m, err := ebpf.LoadPinnedMap(tablePin(dir, layoutTable), nil)
		if err != nil {
			return err
		}
		defer m.Close()
		var r layoutRecord
		if err := m.Lookup(uint32(0), &r); err != nil {
			return err
		}
		change(&r)
		return m.Put(uint32(0), r)
	}
}
