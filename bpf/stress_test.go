// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"flag"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

var stressTime = flag.Duration("stress", 4*time.Second, "how long programs read while the FDB is written")

// Programs read the FDB while the writer adds, moves and removes rows at a
// load where rows change their places. Stations that the writer leaves alone
// are never missed, and no station is ever found on another's port.
func TestStress(t *testing.T) {
	d := *stressTime
	if testing.Short() {
		d = min(d, time.Second)
	}
	// 128 places, which the stations below fill: insertions push others on.
	w := newWorld(t, 6, Config{Rows: 64})
	rng := seeded(t)
	w.reset()
	for n := range w.dev {
		w.port(n, access(10))
	}
	// Devices: 0 and 1 hold the stable stations, 2 and 3 those that come and
	// go, even ones on 2 and odd ones on 3; frames to those come from 4.
	const (
		stable  = 8
		passing = 140
	)
	stableKey := func(i int) Key { return Key{1, 10, ovs.MAC{2, 0xaa, byte(i), 0, 0, 0}} }
	passingKey := func(i int) Key { return Key{1, 10, ovs.MAC{2, 0xbb, byte(i), 0, 0, 0}} }
	source := Key{1, 10, macC}
	for i := range stable {
		w.row(stableKey(i), i%2, true)
	}
	w.row(source, 4, true)

	var wg sync.WaitGroup
	var stop atomic.Bool
	read := func(fn func(w *world)) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			w := w.enter(t)
			for !stop.Load() && !t.Failed() {
				fn(w)
			}
		}()
	}
	// Long runs from one stable station to another.
	var long, single, other atomic.Uint64
	read(func(w *world) {
		n := int(long.Load()/stressRepeat) % (stable / 2)
		dst, src := stableKey(n*2+1), stableKey(n*2)
		w.repeat(0, frame.UDP4(dst.MAC, src.MAC), stressRepeat)
		long.Add(stressRepeat)
	})
	// Short ones between all of them.
	read(func(w *world) {
		n := int(single.Load())
		dst, src := stableKey(n%(stable/2)*2), stableKey(n/stable%(stable/2)*2+1)
		w.repeat(1, frame.UDP4(dst.MAC, src.MAC), 1)
		single.Add(1)
	})
	// And to stations that come and go: only even ones.
	read(func(w *world) {
		n := int(other.Load())
		w.repeat(4, frame.UDP4(passingKey(n%(passing/2)*2).MAC, macC), 1)
		other.Add(1)
	})

	// The writer counts how often a stable row changes its place.
	places := make(map[place]bool)
	present := make(map[Key]bool)
	var added, removed, moved, full int
	// On a slow machine the time does not suffice for what is to happen in it.
	little := func() bool { return len(places) == stable || added < 100 }
	began := time.Now()
	for spent := time.Duration(0); (spent < d || little() && spent < d+time.Minute) && !t.Failed(); spent = time.Since(began) {
		for i := range stable {
			p, _ := w.lane.fdb.find(stableKey(i).word())
			places[p] = true
		}
		i := rng.IntN(passing)
		k := passingKey(i)
		switch {
		case !present[k]:
			switch ok, err := w.lane.PutRow(Row{Key: k, IfIndex: w.dev[2+i%2], Target: true}); {
			case errors.Is(err, ErrFull):
				full++
				continue
			case err != nil || !ok:
				t.Errorf("put row: %v, %v", ok, err)
			}
			w.lane.Confirm(k)
			present[k] = true
			added++
		case rng.IntN(6) > 0:
			// Mark and put again, as a move to the same place.
			w.lane.MarkRow(k)
			if ok, err := w.lane.PutRow(Row{Key: k, IfIndex: w.dev[2+i%2], Target: true}); err != nil || !ok {
				t.Errorf("put row again: %v, %v", ok, err)
			}
			moved++
		default:
			w.lane.DeleteRow(k)
			delete(present, k)
			removed++
		}
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d added, %d moved, %d removed, %d found no place, %d left; frames: %d in long runs, %d, %d to stations that come and go",
		added, moved, removed, full, len(present), long.Load(), single.Load(), other.Load())

	only := func(n int, reasons ...string) {
		t.Helper()
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
	only(0, "lane")
	only(1, "lane")
	only(4, "lane", "unknown", "moved")
	for n, sent := range []uint64{long.Load(), single.Load()} {
		if c := w.counters(n); c.Lane < sent {
			t.Errorf("device %d: %d of %d frames took the lane", n, c.Lane, sent)
		}
	}
	if n := w.counters(3).Sent; n > 0 {
		t.Errorf("%d frames were sent to a port where their station never was", n)
	}
	for i := range stable {
		if r := w.lane.FindRow(stableKey(i)); r == nil || r.IfIndex != w.dev[i%2] {
			t.Errorf("row of stable station %d: %+v", i, r)
		}
	}
	if c := w.counters(4); c.Lane == 0 || c.Frames["unknown"] == 0 {
		t.Errorf("stations did not come and go: %v", c.Frames)
	}
	if len(places) == stable {
		t.Errorf("no stable row ever changed its place")
	}
	if added < 100 {
		t.Errorf("only %d rows were added", added)
	}
}

// A station whose row goes to and fro between its two buckets is never missed,
// though a program looks into one after the other.
func TestMoveIsNotMissed(t *testing.T) {
	w := newWorld(t, 2, Config{Rows: 64})
	w.reset()
	w.port(0, access(10))
	w.port(1, access(10))
	w.row(keyA, 0, true)
	f := w.lane.fdb
	k := keyB
	choices := f.choices(k.word())
	for ; choices[0] == choices[1]; choices = f.choices(k.word()) {
		k.MAC[0] += 2
	}
	w.row(k, 1, true)
	at, _ := f.find(k.word())
	places := [2]place{at, place(choices[1]*4 + 3)}

	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		w := w.enter(t)
		for !stop.Load() && !t.Failed() {
			w.repeat(0, frame.UDP4(k.MAC, macA), stressRepeat)
		}
	}()
	moves := 0
	for end := time.Now().Add(min(*stressTime/4, time.Second)); time.Now().Before(end); moves++ {
		w.must(f.move(places[moves%2], places[(moves+1)%2]))
		// Nobody else wants the places, so that the moves may follow each
		// other at once.
		clear(f.cleared)
	}
	stop.Store(true)
	wg.Wait()
	c := w.counters(0)
	t.Logf("%d moves, %d frames", moves, c.Lane)
	if c.Passed > 0 {
		t.Errorf("in %d moves %d frames passed: %v", moves, c.Passed, c.Frames)
	}
}

// stressRepeat is how often a long run gives its frame to the program: some
// milliseconds, since the writer waits for the end of a run.
const stressRepeat = 1 << 15

// repeat gives one frame from device n to the program, many times over.
func (w *world) repeat(n int, b []byte, times uint32) {
	w.Helper()
	_, err := w.lane.coll.Programs[laneProgOvsXdp].Run(&ebpf.RunOptions{
		Data: b, Repeat: times,
		Context: xdpMD{DataEnd: uint32(len(b)), IngressIfindex: uint32(w.dev[n])},
	})
	if err != nil {
		w.Errorf("run program: %v", err)
	}
}
