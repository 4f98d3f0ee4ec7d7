// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"time"

	"github.com/ovs-xdp/ovs-xdp/bpf"
)

// stations keeps the sources that the kernel reported and that OVS has to be
// asked about: the frame that was reported may not have reached OVS yet, so
// the MAC table is looked at again, later each time.
type stations struct {
	waiting map[bpf.Key]*wait
	swept   time.Time
}

type wait struct {
	tries int
	next  time.Time
	// until is when a station that was given up may wait again.
	until time.Time
	// seen is the device where the program last saw the station, 0 when that
	// is not known, and at when it did.
	seen int
	at   time.Time
	// whole tells that OVS was asked about it alone, and that its answer was of no
	// use.
	whole bool
}

// delays says how long after its event, and after each look that did not find
// it, a station's next look comes. After the last it is given up for a while.
var delays = []time.Duration{
	500 * time.Microsecond, 8 * time.Millisecond, 20 * time.Millisecond, 40 * time.Millisecond,
	100 * time.Millisecond, 150 * time.Millisecond, 200 * time.Millisecond, 250 * time.Millisecond,
	300 * time.Millisecond, 400 * time.Millisecond,
}

const (
	// giveUp is for how long events of a station are ignored that OVS does
	// not learn.
	giveUp = 10 * time.Second
	// maxWaiting bounds the stations kept: beyond it events are dropped, and
	// the stations found by the next poll.
	maxWaiting = 8192
	// learns is how long OVS may take to learn from a frame. One that hits a
	// megaflow is learned from when the flow is next revalidated, half a
	// second later and more: until then the MAC table has the old place.
	learns = 1500 * time.Millisecond
)

func newStations() *stations { return &stations{waiting: make(map[bpf.Key]*wait)} }

// reported takes an event.
func (s *stations) reported(k bpf.Key, now time.Time) {
	w, ok := s.waiting[k]
	switch {
	case !ok && len(s.waiting) >= maxWaiting:
		if now.Sub(s.swept) < time.Second {
			return
		}
		s.sweep(now)
		if len(s.waiting) >= maxWaiting {
			return
		}
	case ok && (w.until.IsZero() || now.Before(w.until)):
		return
	}
	s.waiting[k] = &wait{next: now.Add(delays[0])}
}

// sighted takes an event with the place where the program saw the station.
func (s *stations) sighted(e bpf.Event, now time.Time) {
	s.reported(e.Key, now)
	w := s.waiting[e.Key]
	if w == nil {
		return
	}
	if w.seen != 0 && w.seen != e.IfIndex && w.until.IsZero() {
		w.tries, w.next, w.whole = 0, now.Add(delays[0]), false // it has moved on
	}
	w.seen, w.at = e.IfIndex, now
}

// marked takes the sightings that the kernel keeps in marked rows: their events
// may have been lost, and one that is back on the port of its row sends none. One that
// is known already is not taken for a new one.
func (s *stations) marked(sightings []bpf.Event, now time.Time) {
	for _, e := range sightings {
		w := s.waiting[e.Key]
		switch {
		case w == nil && !e.Moved: // nothing tells of another place
		case w == nil || w.seen != e.IfIndex:
			s.sighted(e, now)
		}
	}
}

// elsewhere tells that the program has seen a station on another device so
// lately that OVS may not have learned from that frame yet: what its MAC table
// says of the station is too old to clear a mark.
func (s *stations) elsewhere(k bpf.Key, ifindex int, now time.Time) bool {
	w := s.waiting[k]
	return w != nil && w.seen != 0 && w.seen != ifindex && now.Sub(w.at) < learns
}

// lately lists the stations that elsewhere may yet speak of.
func (s *stations) lately(now time.Time) []sighting {
	var seen []sighting
	for k, w := range s.waiting {
		if ago := now.Sub(w.at); w.seen != 0 && ago < learns {
			seen = append(seen, sighting{Event: bpf.Event{Key: k, IfIndex: w.seen}, Ago: ago})
		}
	}
	return seen
}

// sweep forgets the stations that were given up long enough ago.
func (s *stations) sweep(now time.Time) {
	s.swept = now
	for k, w := range s.waiting {
		if !w.until.IsZero() && now.After(w.until) {
			delete(s.waiting, k)
		}
	}
}

// looked settles the stations after a look: settled tells whether a station's
// row is in the kernel and unmarked.
func (s *stations) looked(started time.Time, settled func(bpf.Key) bool) {
	for k, w := range s.waiting {
		switch {
		case settled(k), !w.until.IsZero() && started.After(w.until):
			delete(s.waiting, k)
		case w.until.IsZero() && !w.next.After(started):
			if w.tries++; w.tries == len(delays) {
				w.until = started.Add(giveUp)
				continue
			}
			w.next = started.Add(delays[w.tries])
		}
	}
}

// due lists up to so many stations whose look is due. false: there are more.
func (s *stations) due(now time.Time, most int) ([]bpf.Key, bool) {
	var keys []bpf.Key
	for k, w := range s.waiting {
		if !w.until.IsZero() || w.next.After(now) {
			continue
		}
		if len(keys) == most {
			return nil, false
		}
		keys = append(keys, k)
	}
	return keys, true
}

// next returns when the next look is due; zero when no station waits.
func (s *stations) next() time.Time {
	var first time.Time
	for _, w := range s.waiting {
		if w.until.IsZero() && (first.IsZero() || w.next.Before(first)) {
			first = w.next
		}
	}
	return first
}
