// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs/fdb"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// macStats reads the totals of OVS's MAC table.
func (w *world) macStats() fdb.Stats {
	w.t.Helper()
	text, err := w.Appctl("fdb/stats-show", "br0")
	w.must(err)
	s, err := fdb.ParseStats(text)
	w.must(err)
	return s
}

// learned tells whether OVS has a station in its MAC table.
func (w *world) learned(s station) bool {
	w.t.Helper()
	text, err := w.Appctl("fdb/show", s.port.Bridge)
	w.must(err)
	for _, line := range strings.Split(text, "\n") {
		if f := strings.Fields(line); len(f) == 4 && f[1] == fmt.Sprint(s.vlan) && f[2] == s.mac.String() {
			return true
		}
	}
	return false
}

// Stations that talk over the lane alone stay in OVS's MAC table beyond its
// age, so nothing is ever flooded to others; one that falls silent is
// forgotten by OVS, and then by the lane.
func TestAgeing(t *testing.T) {
	t.Parallel() // it mostly waits
	w := newWorld(t)
	w.set("other_config:mac-aging-time=15") // the shortest
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	silent, other := untagged(w.veth("v2", "tag=10"), 10), untagged(w.tap("t2", "tag=10"), 10)
	w.mode("on")
	for _, s := range []station{a, b, silent} {
		w.announce(s, "lane")
	}
	spoke := time.Now()
	before, stats := w.counts(), w.macStats()
	stop, sent := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { sent <- n }()
		for ; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			if a.port.Send(a.frameTo(b.mac)) != nil || b.port.Send(b.frameTo(a.mac)) != nil {
				return
			}
		}
	}()

	arrived := 0
	receive := func(quiet time.Duration) {
		for _, p := range []*lab.Port{a.port, b.port} {
			frames, err := p.Drain(quiet)
			w.must(err)
			arrived += len(frames)
		}
	}
	var forgotten, withdrawn time.Time
	for time.Since(spoke) < 25*time.Second {
		time.Sleep(250 * time.Millisecond)
		receive(time.Millisecond)
		if !w.learned(a) || !w.learned(b) {
			t.Errorf("OVS has forgotten a station that talks, after %v", time.Since(spoke))
			break
		}
		if forgotten.IsZero() && !w.learned(silent) {
			forgotten = time.Now()
		}
		if withdrawn.IsZero() && !w.listed(silent) {
			withdrawn = time.Now()
			if forgotten.IsZero() && w.learned(silent) {
				t.Errorf("the lane has forgotten a station that OVS knows")
			}
		}
	}
	close(stop)
	n := <-sent
	if forgotten.IsZero() || withdrawn.IsZero() {
		t.Fatalf("the silent station: forgotten by OVS %v, withdrawn from the lane %v", !forgotten.IsZero(), !withdrawn.IsZero())
	}
	t.Logf("the silent station: forgotten by OVS after %v, withdrawn from the lane %v later", forgotten.Sub(spoke), withdrawn.Sub(forgotten))
	if late := withdrawn.Sub(forgotten); late > limit(4*time.Second) {
		t.Errorf("the silent station was on the lane %v longer than in OVS", late)
	}

	// One station expired, the silent one, and none was learned anew.
	if now := w.macStats(); now.Expired != stats.Expired+1 || now.Learned != stats.Learned {
		t.Errorf("MAC table of OVS: %+v, was %+v; want one expired more", now, stats)
	}
	p := before.to(w.counts(), a.port.Name)
	if int(p.lane) < n*9/10 {
		t.Errorf("of %d frames %s", n, p)
	}
	t.Logf("%d frames each way; from v1 %s", n, p)
	for _, s := range []station{silent, other} {
		frames, err := s.port.Drain(time.Millisecond)
		w.must(err)
		frames = slices.DeleteFunc(frames, func(f []byte) bool { return f[0]&1 != 0 })
		if len(frames) > 0 {
			t.Errorf("%d frames were flooded to %s: % x", len(frames), s.port.Name, frames[0])
		}
	}
	if receive(quiet); arrived != 2*n {
		t.Errorf("%d frames of %d arrived", arrived, 2*n)
	}

	// Frames to it are flooded, as by OVS alone, until it speaks.
	w.drain(quiet)
	f := a.frameTo(silent.mac)
	w.bridge(a.port, f, map[string][]byte{"v2": f, "t1": f, "t2": f})
	w.announce(silent, "lane")
	w.laneBetween(a, silent)
}

// listed tells whether the daemon has a row of a station.
func (w *world) listed(s station) bool {
	w.t.Helper()
	rows, err := w.FDB()
	w.must(err)
	for _, r := range rows {
		if r.Bridge == s.port.Bridge && r.VLAN == int(s.vlan) && r.MAC == s.mac.String() {
			return true
		}
	}
	return false
}

// A MAC table that is flushed empties the lane.
func TestFlush(t *testing.T) {
	t.Parallel()
	w, a, b := openLane(t)
	c := untagged(w.veth("v2", "tag=10"), 10)
	w.announce(c, "lane")
	_, err := w.Appctl("fdb/flush", "br0")
	w.must(err)
	start := time.Now()
	w.must(lab.Eventually(2*settle, func() error {
		if w.listed(b) || w.listed(c) {
			return fmt.Errorf("stations are on the lane that OVS has flushed")
		}
		return nil
	}))
	t.Logf("withdrawn %v after the flush", time.Since(start))
	f := a.frameTo(b.mac)
	w.bridge(a.port, f, map[string][]byte{"t1": f, "v2": f})
	w.announce(b, "lane")
	w.announce(a, "lane")
	w.laneBetween(a, b)
}
