// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"testing"
	"time"
)

// Dumps cost ovs-vswitchd a share of a core at most, whoever asks for them; where
// they cost little, a flow that is new is found at once.
func TestSchedule(t *testing.T) {
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	after := func(d time.Duration) time.Time { return t0.Add(d) }
	for name, tt := range map[string]struct {
		cost time.Duration
		asks []time.Duration // since the dump ended
		want time.Duration   // when the next one is due
	}{
		"nobody asks":                       {time.Millisecond, nil, time.Second},
		"asked for at once":                 {100 * time.Microsecond, []time.Duration{0}, 20 * time.Millisecond},
		"asked for later":                   {100 * time.Microsecond, []time.Duration{300 * time.Millisecond}, 320 * time.Millisecond},
		"asked for twice":                   {100 * time.Microsecond, []time.Duration{300 * time.Millisecond, 400 * time.Millisecond}, 320 * time.Millisecond},
		"asked for when it is due anyway":   {100 * time.Microsecond, []time.Duration{990 * time.Millisecond}, time.Second},
		"10,000 flows, nobody asks":         {70 * time.Millisecond, nil, 3500 * time.Millisecond},
		"10,000 flows, asked for at once":   {70 * time.Millisecond, []time.Duration{0}, 3500 * time.Millisecond},
		"1,000 flows, asked for at once":    {7 * time.Millisecond, []time.Duration{0}, 350 * time.Millisecond},
		"so many that a share is very rare": {time.Second, []time.Duration{0}, 10 * time.Second},
	} {
		var s schedule
		s.dumped(t0, tt.cost)
		for _, at := range tt.asks {
			s.ask(after(at))
		}
		if got := s.due.Sub(t0); got != tt.want {
			t.Errorf("%s: due after %v, want %v", name, got, tt.want)
		}
	}
}

// One dump that had to wait for a CPU is no reason to wait for the next; one that is
// dear again and again is.
func TestScheduleOfABusyMachine(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var s schedule
	s.dumped(now, time.Millisecond)
	for n, want := range []time.Duration{time.Second, time.Second, time.Second, 5 * time.Second} {
		s.dumped(now, 100*time.Millisecond)
		if got := s.due.Sub(now); got != want {
			t.Errorf("dear dump %d: the next one is due after %v, want %v", n, got, want)
		}
	}
}

// Frames that OVS alone can handle ask in vain, less and less often, until there is
// something new.
func TestScheduleAsksInVain(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var s schedule
	s.dumped(now, 0)
	dumps := 0
	for end := now.Add(10 * time.Second); now.Before(end); now = now.Add(time.Millisecond) {
		s.ask(now)
		if !now.Before(s.due) {
			s.dumped(now, 0)
			s.found(false)
			dumps++
		}
	}
	if dumps > 16 {
		t.Errorf("%d dumps in 10 s of frames without a flow", dumps)
	}
	s.found(true)
	s.dumped(now, 0)
	s.ask(now)
	if got := s.due.Sub(now); got != dumpPause {
		t.Errorf("after something new was found, the next dump is due after %v", got)
	}
	// A dump that nobody asked for, and that finds nothing, is no reason to wait.
	s.found(false)
	s.dumped(now, 0)
	s.found(false)
	s.found(false)
	s.ask(now)
	if got := s.due.Sub(now); got > 2*dumpPause {
		t.Errorf("after quiet dumps the next one is due after %v", got)
	}
}
