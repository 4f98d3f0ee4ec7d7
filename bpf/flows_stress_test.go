// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// Programs read the flows while the writer adds, changes and removes some at a
// load where they change their places. Flows that the writer leaves alone are
// never missed, and no frame ever leaves by another flow than its own: each
// destination has a port, and two tags that no other has.
func TestStressFlows(t *testing.T) {
	d := *stressTime
	if testing.Short() {
		d = min(d, time.Second)
	}
	w := newWorld(t, 6, Config{Flows: 64}) // 128 places, fewer than flows below
	rng := seeded(t)
	w.reset()
	for n := range w.dev {
		w.port(n, flowing())
	}
	// Devices: A is on 0, and its flows, to stations on 1, stay. C is on 4, and its
	// flows come and go: to even stations, on 2, and to odd ones, on 3.
	const (
		stable  = 8
		passing = 140
	)
	w.row(Key{1, 0, macA}, 0, true)
	w.row(Key{1, 0, macC}, 4, true)
	stays := func(i int) Flow {
		return flowAB(func(f *Flow) { f.Dst, f.KeepAlive = ovs.MAC{2, 0xaa, byte(i), 0, 0, 1}, time.Hour }, push(ovs.VLAN(3000+i), 0))
	}
	// The tag tells which flow it is, its priority which of its versions.
	comes := func(i int, version uint8) Flow {
		return flowAB(func(f *Flow) {
			f.IfIndex, f.Src, f.Dst, f.Egress = 4, macC, ovs.MAC{2, 0xbb, byte(i), 0, 0, 1}, 2+i%2
		}, push(ovs.VLAN(1+i), version))
	}
	for i := range stable {
		w.row(Key{1, 0, stays(i).Dst}, 1, true)
		w.flow(stays(i))
	}
	for i := range passing {
		w.row(Key{1, 0, comes(i, 0).Dst}, 2+i%2, true)
	}
	// run gives a frame to the program, which must do nothing but what the flow
	// says, in any version; true: it did.
	run := func(w *world, f Flow) (bool, uint8) {
		w.Helper()
		b := frame.UDP4(f.Dst, f.Src)
		verdict, leaves := w.run(f.IfIndex, b, 0)
		out, err := frame.Parse(leaves)
		switch {
		case err != nil:
			w.Errorf("read what came out: %v", err)
		case verdict == xdpPass && len(out.Tags) == 0:
			return false, 0
		case verdict != xdpRedirect || len(out.Tags) != 1 || out.Tags[0].VID != ovs.VLAN(f.PushTCI&0xfff):
			w.Errorf("verdict %d and tags %+v of a frame whose flow is %+v", verdict, out.Tags, f)
		default:
			return true, out.Tags[0].PCP
		}
		return false, 0
	}

	var wg sync.WaitGroup
	var stop atomic.Bool
	var kept, hits, misses, long atomic.Uint64
	read := func(fn func(w *world, n int)) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			w := w.enter(t)
			for n := 0; !stop.Load() && !t.Failed(); n++ {
				fn(w, n)
			}
		}()
	}
	read(func(w *world, n int) {
		if hit, _ := run(w, stays(n%stable)); !hit {
			w.Errorf("flow %d, which stays, was missed: %v", n%stable, w.counters(0).Frames)
		}
		kept.Add(1)
	})
	read(func(w *world, n int) {
		if hit, _ := run(w, comes(n%passing, 0)); hit {
			hits.Add(1)
		} else {
			misses.Add(1)
		}
	})
	// One flow over and over, in runs of some milliseconds: the writer waits for
	// their end.
	w.row(Key{1, 0, macB}, 1, true)
	w.flow(flowAB(on(4000, 0), func(f *Flow) { f.KeepAlive = time.Hour }))
	read(func(w *world, _ int) {
		w.repeat(0, frame.UDP4(macB, macA, frame.OnVLAN(4000)), stressRepeat)
		long.Add(stressRepeat)
	})

	places := make(map[place]bool)
	present := make(map[int]uint8) // its version
	var added, changed, removed, full int
	little := func() bool { return len(places) == stable || added < 100 || changed < 20 } // as in TestStress
	began := time.Now()
	for spent := time.Duration(0); (spent < d || little() && spent < d+time.Minute) && !t.Failed(); spent = time.Since(began) {
		for i := range stable {
			key, _ := w.lane.flowWords(w.onDevices(stays(i)).FlowKey)
			p, _ := w.lane.flows.find(key)
			places[p] = true
		}
		i := rng.IntN(passing)
		version, known := present[i]
		switch {
		case !known || rng.IntN(3) > 0:
			version = (version + 1) % 8
			err := w.lane.PutFlow(w.onDevices(comes(i, version)))
			if errors.Is(err, ErrFull) && !known {
				full++
				continue
			}
			w.must(err)
			present[i] = version
			if !known {
				added++
				run(w, comes(i, version)) // its keep-alive, if no reader was faster
			} else {
				changed++
			}
			if hit, got := run(w, comes(i, version)); !hit || got != version {
				t.Errorf("flow %d in version %d (%v) after %d was put", i, got, hit, version)
			}
		default:
			w.lane.DeleteFlow(w.onDevices(comes(i, 0)).FlowKey)
			delete(present, i)
			removed++
			if hit, _ := run(w, comes(i, 0)); hit {
				t.Errorf("flow %d after it was deleted", i)
			}
		}
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d added, %d changed, %d removed, %d found no place; frames: %d and %d of flows that stay, %d hits and %d misses of those that come and go",
		added, changed, removed, full, kept.Load(), long.Load(), hits.Load(), misses.Load())
	for n, reasons := range map[int][]string{0: {"lane"}, 4: {"lane", "no-flow", "keepalive"}} {
		c := w.counters(n)
		for _, r := range reasons {
			delete(c.Frames, r)
		}
		for reason, count := range c.Frames {
			if count > 0 {
				t.Errorf("device %d: %d frames counted as %q", n, count, reason)
			}
		}
	}
	if len(places) == stable {
		t.Error("no flow that stays ever changed its place")
	}
	if added < 100 || changed < 20 || hits.Load() == 0 || misses.Load() == 0 {
		t.Error("too few to tell")
	}
	if got := len(w.lane.Flows()); got != stable+1+len(present) {
		t.Errorf("%d flows are left, want %d", got, stable+1+len(present))
	}
}

// A flow that goes to and fro between its two buckets is never missed.
func TestMovedFlowIsNotMissed(t *testing.T) {
	w := newWorld(t, 2, Config{Flows: 64})
	w.reset()
	w.port(0, flowing())
	w.port(1, flowing())
	w.row(Key{1, 0, macA}, 0, true)
	table, f := w.lane.flows, flowAB(func(f *Flow) { f.KeepAlive = time.Hour })
	words := func() flowWords {
		key, _ := w.lane.flowWords(w.onDevices(f).FlowKey)
		return key
	}
	for c := table.choices(words()); c[0] == c[1]; c = table.choices(words()) {
		f.Dst[0] += 2
	}
	w.row(Key{1, 0, f.Dst}, 1, true)
	w.flow(f)
	at, _ := table.find(words())
	places := [2]place{at, place(table.choices(words())[1]*4 + 3)}

	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		w := w.enter(t)
		for !stop.Load() && !t.Failed() {
			w.repeat(0, frame.UDP4(f.Dst, macA), stressRepeat)
		}
	}()
	moves := 0
	for end := time.Now().Add(min(*stressTime/4, time.Second)); time.Now().Before(end); moves++ {
		w.must(table.move(places[moves%2], places[(moves+1)%2]))
		clear(table.cleared) // nobody else wants the places
	}
	stop.Store(true)
	wg.Wait()
	c := w.counters(0)
	t.Logf("%d moves, %d frames", moves, c.Lane)
	if c.Passed > 0 || moves < 10 || c.Lane == 0 {
		t.Errorf("in %d moves %d frames of %d passed: %v", moves, c.Passed, c.Lane+c.Passed, c.Frames)
	}
}
