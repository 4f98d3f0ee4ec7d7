// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// twoPorts is a world with A on one port and B on the other, in one VLAN.
func twoPorts(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, 2, Config{})
	w.reset()
	w.port(0, access(10))
	w.port(1, access(10))
	w.row(keyA, 0, true)
	w.row(keyB, 1, true)
	return w
}

// A frame that is under way while lists change is decided by those before or
// those after, or passes: never by some of each. Both drop it here, and there is
// a mixture of each two that would not.
func TestListsAreNotMixed(t *testing.T) {
	w := twoPorts(t)
	udp := frame.UDP4(macB, macA)

	// The port's list is long, so that it takes its time.
	miss := matching(VerdictPass, 0, func(v, m *ovs.Fields) { v.TTL, m.TTL = 1, 0xff })
	long := func(last ListRule) []ListRule {
		return append(slices.Repeat([]ListRule{miss}, MaxList-1), last)
	}
	normal, drop := ListRule{Verdict: VerdictNormal, Order: 5}, ListRule{Verdict: VerdictDrop, Order: 3}
	states := []struct{ addresses, port, destination []ListRule }{
		{port: long(normal), destination: []ListRule{drop}},
		{port: long(drop)},
		{port: long(drop), destination: []ListRule{{Verdict: VerdictNormal, Order: 4}}},
		{addresses: long(ListRule{Verdict: VerdictDrop}), port: []ListRule{normal}},
		{addresses: long(ListRule{Verdict: VerdictNormal}), port: []ListRule{drop}},
	}
	keys := []ListKey{addressA, rulesOf0, rulesOfB}
	change := func(n int) {
		w.lane.ClosePort(w.dev[0])
		r, s := access(10), states[n%len(states)]
		for i, list := range [][]ListRule{s.addresses, s.port, s.destination} {
			w.must(w.lane.DeleteList(keys[i]))
			if len(list) > 0 {
				w.must(w.lane.PutList(keys[i], list))
				switch i {
				case 0:
					r.Addresses = keys[i]
				case 1:
					r.Rules = keys[i]
				default:
					r.Scoped = true
				}
			}
		}
		w.rule(0, r)
	}
	change(0)
	w.neverOnLane(udp, 10, func(n int) {
		change(n)
		time.Sleep(time.Duration(n%8) * 100 * time.Microsecond)
	})
}

// A port that is closed while its lists are asked about a frame is the one that it
// was, or a closed one: the rules of a destination are those of its bridge.
func TestClosingIsNotHalfSeen(t *testing.T) {
	w := twoPorts(t)
	w.must(w.lane.PutList(rulesOf0, []ListRule{{Verdict: VerdictNormal, Order: 5}}))
	w.must(w.lane.PutList(rulesOfB, []ListRule{{Verdict: VerdictDrop, Order: 3}}))
	open := access(10).with(func(r *Rule) { r.Rules, r.Scoped = rulesOf0, true })
	w.rule(0, open)
	w.neverOnLane(frame.UDP4(macB, macA), 1000, func(int) {
		w.lane.ClosePort(w.dev[0])
		w.rule(0, open)
	})
}

// neverOnLane gives the program a frame from port 0 on several CPUs, while a change
// is made again and again, at least so many times: no frame may take the lane, and
// some must be dropped.
func (w *world) neverOnLane(b []byte, least int, change func(n int)) {
	w.Helper()
	var wg sync.WaitGroup
	var stop atomic.Bool
	var dropped, passed atomic.Int64
	for range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			w := w.enter(w.TB)
			for !stop.Load() && !w.Failed() {
				switch verdict, _ := w.run(0, b, 0); verdict {
				case xdpDrop:
					dropped.Add(1)
				case xdpPass:
					passed.Add(1)
				default:
					w.Errorf("verdict %d after %d dropped and %d passed", verdict, dropped.Load(), passed.Load())
				}
			}
		}()
	}
	changes := 0
	for end := time.Now().Add(min(*stressTime, 2*time.Second)); (time.Now().Before(end) || changes < least) && !w.Failed(); changes++ {
		change(changes)
	}
	stop.Store(true)
	wg.Wait()
	w.Logf("%d changes, %d frames dropped, %d passed", changes, dropped.Load(), passed.Load())
	if dropped.Load() < 1000 && !w.Failed() {
		w.Error("too few to tell")
	}
}

// The writer waits once for the programs that may be asking lists of ports which
// it has closed, before it changes what they find in several places.
func TestListsAreLeft(t *testing.T) {
	w := newWorld(t, 4, Config{})
	w.reset()
	asked := func(when string, want bool) {
		t.Helper()
		if w.lane.lists.asked != want {
			t.Errorf("%s: a program may be asking: %v, want %v", when, !want, want)
		}
	}
	ruled := access(10).with(func(r *Rule) { r.Rules = rulesOf0 })
	for n := range 4 {
		w.port(n, access(10))
	}
	w.lane.ClosePort(w.dev[3])
	asked("a port without lists is closed", false)
	w.must(w.lane.PutList(rulesOf0, []ListRule{allNormal}))
	w.rule(0, ruled)
	w.rule(1, ruled)
	w.rule(2, ruled)
	asked("ports get lists", false)
	w.lane.ClosePort(w.dev[0])
	w.lane.ClosePort(w.dev[1])
	asked("ports are closed", true)
	w.must(w.lane.PutList(rulesOfB, []ListRule{allNormal}))
	asked("a destination gets rules", false)
	w.rule(0, ruled.with(func(r *Rule) { r.Scoped = true }))
	w.rule(1, ruled.with(func(r *Rule) { r.Scoped = true }))
	w.lane.ClosePort(w.dev[0])
	w.rule(0, ruled.with(func(r *Rule) { r.Scoped, r.Protected = true, true }))
	asked("a port opens with the same lists", true)
	w.must(w.lane.DeleteList(rulesOfB))
	asked("those of a destination go", false)
	w.rule(2, access(10))
	asked("an open port gets other lists", false)
	w.lane.ClosePort(w.dev[1])
	w.must(w.lane.DeleteList(rulesOf0))
	w.must(w.lane.SettleLists())
	asked("settled", false)
}
