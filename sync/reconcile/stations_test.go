// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// station is the key of VM n.
func station(n int) bpf.Key {
	return bpf.Key{Bridge: 1, MAC: ovs.MAC{0x52, 0x54, 0, byte(n >> 16), byte(n >> 8), byte(n)}}
}

func settled(bpf.Key) bool   { return true }
func unsettled(bpf.Key) bool { return false }

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// giveUpOn looks for a station in vain until it is given up, and returns when.
func giveUpOn(t *testing.T, s *stations) time.Time {
	t.Helper()
	for range delays {
		now := s.next()
		if now.IsZero() {
			t.Fatal("given up too early")
		}
		s.looked(now, unsettled)
		if n := s.next(); n.IsZero() {
			return now
		}
	}
	t.Fatal("not given up")
	return time.Time{}
}

// A station that OVS does not learn is looked for less and less often.
func TestStationsBackOff(t *testing.T) {
	s := newStations()
	if n := s.next(); !n.IsZero() {
		t.Fatalf("a look is due at %v though nothing waits", n)
	}
	s.reported(station(1), noon)
	at := noon
	for i, d := range delays {
		if i > 0 && d <= delays[i-1] {
			t.Errorf("delay %v comes after %v", d, delays[i-1])
		}
		if n := s.next(); !n.Equal(at.Add(d)) {
			t.Fatalf("look %d is due %v after the one before, want %v", i+1, n.Sub(at), d)
		}
		at = s.next()
		s.looked(at, unsettled)
	}
	if n := s.next(); !n.IsZero() {
		t.Errorf("another look is due at %v", n)
	}
	if first := delays[0] + delays[1] + delays[2] + delays[3]; first > 100*time.Millisecond {
		t.Errorf("the first four looks take %v, so a station that OVS learns is not on the lane within 100 ms", first)
	}
}

func TestStationsSettled(t *testing.T) {
	s := newStations()
	s.reported(station(1), noon)
	s.reported(station(2), noon)
	s.looked(noon.Add(delays[0]), func(k bpf.Key) bool { return k == station(1) })
	if len(s.waiting) != 1 || s.waiting[station(2)] == nil {
		t.Errorf("waiting: %v", s.waiting)
	}
	// A row that is there is settled also when its look is not due.
	s.looked(noon.Add(delays[0]+time.Microsecond), settled)
	if len(s.waiting) != 0 || !s.next().IsZero() {
		t.Errorf("waiting: %v", s.waiting)
	}
}

// A look that started before a station's next one was due says nothing of it:
// its frame may have been on the way to OVS then.
func TestStationsLookTooEarly(t *testing.T) {
	s := newStations()
	s.reported(station(1), noon)
	due := s.next()
	s.looked(noon.Add(-time.Second), unsettled)
	s.looked(noon, unsettled)
	if n := s.next(); !n.Equal(due) {
		t.Errorf("due at %v, want %v", n, due)
	}
	// A look that comes late counts once.
	late := due.Add(time.Minute)
	s.looked(late, unsettled)
	if n := s.next(); !n.Equal(late.Add(delays[1])) {
		t.Errorf("due %v after a late look, want %v", n.Sub(late), delays[1])
	}
}

// Events of a station that waits already change nothing, or a source that
// keeps sending would be looked for at the shortest delay for ever.
func TestStationsReportedAgain(t *testing.T) {
	s := newStations()
	s.reported(station(1), noon)
	s.looked(s.next(), unsettled)
	due := s.next()
	for i := range 100 {
		s.reported(station(1), noon.Add(time.Duration(i)*time.Millisecond))
	}
	if n := s.next(); !n.Equal(due) || len(s.waiting) != 1 {
		t.Errorf("due at %v, want %v; %d wait", n, due, len(s.waiting))
	}
}

// Where a station was seen last outweighs OVS's MAC table for as long as OVS
// may take to learn of it.
func TestStationsSeenElsewhere(t *testing.T) {
	s := newStations()
	const here, there = 1, 2
	k := station(1)
	elsewhere := func(ifindex int, after time.Duration) bool { return s.elsewhere(k, ifindex, noon.Add(after)) }
	if elsewhere(here, 0) {
		t.Error("a station that nobody has seen is elsewhere")
	}
	s.reported(k, noon)
	if elsewhere(here, 0) {
		t.Error("a station that was seen nobody knows where is elsewhere")
	}
	s.sighted(bpf.Event{Key: k, IfIndex: there}, noon)
	if !elsewhere(here, 0) || !elsewhere(here, learns-1) || elsewhere(there, 0) || elsewhere(here, learns) {
		t.Error("seen there: want it elsewhere than here, and only as long as OVS may take to learn")
	}
	s.looked(s.next(), unsettled)
	s.sighted(bpf.Event{Key: k, IfIndex: here}, noon.Add(time.Second))
	if elsewhere(here, time.Second) || !elsewhere(there, time.Second) {
		t.Error("seen here again: want it elsewhere than there")
	}
	if n := s.next(); !n.Equal(noon.Add(time.Second + delays[0])) {
		t.Errorf("due %v after it has moved on, want %v", n.Sub(noon.Add(time.Second)), delays[0])
	}
	at := giveUpOn(t, s)
	s.sighted(bpf.Event{Key: k, IfIndex: there}, at.Add(time.Second))
	if !s.next().IsZero() || !s.elsewhere(k, here, at.Add(time.Second)) {
		t.Error("a station that was given up: want it elsewhere, and no look for it")
	}
}

// A mark in the kernel whose event was lost counts as a sighting, once.
func TestStationsMarked(t *testing.T) {
	s := newStations()
	const here, there = 1, 2
	e := bpf.Event{Key: station(1), IfIndex: there, Moved: true}
	s.marked([]bpf.Event{e}, noon)
	if !s.elsewhere(e.Key, here, noon) || s.elsewhere(e.Key, there, noon) {
		t.Error("want the station elsewhere than here")
	}
	// Read again by each look, it is as old as it was.
	s.marked([]bpf.Event{e}, noon.Add(learns/2))
	if s.elsewhere(e.Key, here, noon.Add(learns)) {
		t.Error("a sighting became younger")
	}
	s.marked([]bpf.Event{{Key: e.Key, IfIndex: here, Moved: true}}, noon.Add(learns))
	if !s.elsewhere(e.Key, there, noon.Add(learns)) {
		t.Error("seen on another port since: want it elsewhere than there")
	}
}

// A station that is back on the port of its row sends no event: the mark tells, and
// what OVS says of the port in between is too old. A mark that the daemon has set
// tells nothing.
func TestStationsBackHome(t *testing.T) {
	const home, away = 1, 2
	s := newStations()
	back := []bpf.Event{{Key: station(1), IfIndex: home}}
	s.marked(back, noon)
	if len(s.waiting) != 0 {
		t.Errorf("a mark of the daemon's own is taken for a sighting: %v", s.waiting)
	}
	s.sighted(bpf.Event{Key: station(1), IfIndex: away, Moved: true}, noon)
	if s.elsewhere(station(1), away, noon) {
		t.Error("the station is away, and said to be elsewhere")
	}
	s.marked(back, noon.Add(time.Millisecond))
	if at := noon.Add(time.Millisecond); !s.elsewhere(station(1), away, at) || s.elsewhere(station(1), home, at) {
		t.Error("the station is back home, and taken for away")
	}
	if s.elsewhere(station(1), away, noon.Add(time.Millisecond+learns)) {
		t.Error("what OVS says does not count after it must have learned")
	}
}

// A station that was given up waits again after a while, from the start.
func TestStationsGivenUp(t *testing.T) {
	s := newStations()
	s.reported(station(1), noon)
	at := giveUpOn(t, s)

	for _, after := range []time.Duration{0, time.Millisecond, giveUp - 1} {
		s.reported(station(1), at.Add(after))
		if n := s.next(); !n.IsZero() {
			t.Fatalf("a look is due at %v, %v after it was given up", n, after)
		}
	}
	again := at.Add(giveUp)
	s.reported(station(1), again)
	if n := s.next(); !n.Equal(again.Add(delays[0])) {
		t.Fatalf("due %v after it was reported again, want %v", n.Sub(again), delays[0])
	}
	if second := giveUpOn(t, s); !second.After(again) {
		t.Errorf("given up again at %v", second)
	}

	// It is forgotten by a look after that time, and not before.
	end := s.waiting[station(1)].until
	s.looked(end, unsettled)
	if len(s.waiting) != 1 {
		t.Error("forgotten too early")
	}
	s.looked(end.Add(1), unsettled)
	if len(s.waiting) != 0 {
		t.Error("not forgotten")
	}
}

// A flood of sources takes bounded memory, and leaves the stations that wait
// alone.
func TestStationsBounded(t *testing.T) {
	s := newStations()
	s.reported(station(0), noon)
	due := s.next()
	for n := range 2 * maxWaiting {
		s.reported(station(n), noon.Add(time.Second))
	}
	if len(s.waiting) != maxWaiting {
		t.Errorf("%d stations wait, want %d", len(s.waiting), maxWaiting)
	}
	if n := s.next(); !n.Equal(due) {
		t.Errorf("the first station is due at %v, want %v", n, due)
	}
	s.looked(noon.Add(time.Second), settled)
	s.reported(station(2*maxWaiting), noon)
	if len(s.waiting) != 1 {
		t.Errorf("%d stations wait after the flood, want 1", len(s.waiting))
	}
}

func TestStationsNext(t *testing.T) {
	s := newStations()
	s.reported(station(1), noon.Add(time.Second))
	s.reported(station(2), noon)
	s.reported(station(3), noon.Add(time.Minute))
	if n := s.next(); !n.Equal(noon.Add(delays[0])) {
		t.Errorf("due at %v, want the earliest, %v", n, noon.Add(delays[0]))
	}
}

// Who takes over is told of the stations that were seen lately, and knows as
// long as this one would where OVS may be behind.
func TestStationsLately(t *testing.T) {
	s, heir := newStations(), newStations()
	const here, there = 1, 2
	s.reported(station(1), noon) // seen nobody knows where
	s.sighted(bpf.Event{Key: station(2), IfIndex: there}, noon)
	s.sighted(bpf.Event{Key: station(3), IfIndex: there}, noon.Add(-learns))
	now := noon.Add(learns / 3)
	seen := s.lately(now)
	if len(seen) != 1 || seen[0].Key != station(2) || seen[0].IfIndex != there || seen[0].Ago != learns/3 {
		t.Fatalf("seen lately: %+v", seen)
	}
	heir.sighted(seen[0].Event, now.Add(-seen[0].Ago))
	for _, after := range []time.Duration{learns / 3, learns - 1, learns} {
		at := noon.Add(after)
		if got, want := heir.elsewhere(station(2), here, at), s.elsewhere(station(2), here, at); got != want {
			t.Errorf("%v after it was seen: elsewhere %v, want %v", after, got, want)
		}
	}
}
