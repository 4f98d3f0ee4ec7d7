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
}

// delays says how long after its event, and after each look that did not find
// it, a station's next look comes. After the last it is given up for a while.
var delays = []time.Duration{
	2 * time.Millisecond, 8 * time.Millisecond, 20 * time.Millisecond, 40 * time.Millisecond,
	100 * time.Millisecond, 300 * time.Millisecond, 1 * time.Second,
}

const (
	// giveUp is for how long events of a station are ignored that OVS does
	// not learn.
	giveUp = 10 * time.Second
	// maxWaiting bounds the stations kept: beyond it events are dropped, and
	// the stations found by the next poll.
	maxWaiting = 8192
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
