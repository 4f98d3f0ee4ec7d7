// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// A device that loses frames at each try waits twice as long each time, up to
// the longest wait.
func TestLossesBackOff(t *testing.T) {
	l := losses{devices: make(map[int]*loss)}
	now := time.Unix(1000, 0)
	if l.due(now) != nil || !l.next().IsZero() {
		t.Error("something is due, and nothing was lost")
	}
	want := firstWait
	for try := range 12 {
		if !l.lost(7, uint64(try), now) {
			t.Fatalf("try %d: its loss is not new", try)
		}
		if l.lost(7, 99, now.Add(want/2)) {
			t.Errorf("try %d: a loss while the device waits is new", try)
		}
		if got := l.next().Sub(now); got != want {
			t.Fatalf("try %d comes after %v, want %v", try, got, want)
		}
		if got := l.due(now.Add(want - 1)); got != nil {
			t.Errorf("try %d: due too early: %v", try, got)
		}
		now = now.Add(want)
		if d := cmp.Diff([]int{7}, l.due(now)); d != "" {
			t.Fatalf("try %d: due (-want +got):\n%s", try, d)
		}
		if got := l.due(now); got != nil || !l.next().IsZero() {
			t.Errorf("try %d: due twice: %v", try, got)
		}
		want = min(2*want, lastWait)
		now = now.Add(time.Millisecond)
	}
	if want != lastWait {
		t.Errorf("the last wait is %v", want)
	}

	// A try that goes well for long is not held against the device, even just
	// before all is forgotten.
	now = now.Add(wellAfter - 2*time.Millisecond)
	if l.due(now) != nil || !l.lost(7, 100, now) || l.next().Sub(now) != lastWait {
		t.Errorf("the device was forgotten: next try after %v", l.next().Sub(now))
	}
	now = l.next()
	l.due(now)
	// And afterwards, whether that was noticed before the next loss or by it.
	now = now.Add(wellAfter)
	again := losses{devices: map[int]*loss{7: {wait: lastWait, tried: now.Add(-wellAfter)}}}
	l.due(now)
	if len(l.devices) != 0 {
		t.Errorf("a device that has been well is remembered: %+v", *l.devices[7])
	}
	for _, l := range []losses{l, again} {
		if !l.lost(7, 101, now) || l.next().Sub(now) != firstWait {
			t.Errorf("after it has been well the device is tried after %v, want %v", l.next().Sub(now), firstWait)
		}
	}
}

// A device that loses frames only after long tries waits no longer for each.
func TestLossesAfterLongTries(t *testing.T) {
	l := losses{devices: make(map[int]*loss)}
	now := time.Unix(1000, 0)
	l.lost(7, 1, now)
	for _, c := range []struct{ lasted, want time.Duration }{
		{longTry * firstWait, firstWait},
		{longTry * firstWait, firstWait},
		{longTry*firstWait - 1, 2 * firstWait},
		{2 * longTry * firstWait, 2 * firstWait},
		{0, 4 * firstWait},
	} {
		now = l.next()
		l.due(now)
		now = now.Add(c.lasted)
		if l.lost(7, 1, now); l.next().Sub(now) != c.want {
			t.Errorf("after a try of %v the next comes after %v, want %v", c.lasted, l.next().Sub(now), c.want)
		}
	}
}

// Several devices wait each by itself, and the links tell of those that wait.
func TestLossesTell(t *testing.T) {
	l := losses{devices: make(map[int]*loss)}
	now := time.Unix(1000, 0)
	l.lost(1, 16, now)
	l.lost(2, 1, now.Add(10*time.Millisecond))
	if got := l.next().Sub(now); got != firstWait {
		t.Errorf("the next try is after %v, want %v", got, firstWait)
	}
	tell := func() map[string]string {
		links := map[string]plan.Link{"tap1": {IfIndex: 1}, "tap2": {IfIndex: 2}, "tap3": {IfIndex: 3}}
		l.tell(links)
		told := make(map[string]string)
		for name, link := range links {
			if link.LosesFrames != "" {
				told[name] = link.LosesFrames
			}
		}
		return told
	}
	if d := cmp.Diff(map[string]string{"tap1": "16 lost, tried again after 100ms", "tap2": "1 lost, tried again after 100ms"}, tell()); d != "" {
		t.Errorf("links tell (-want +got):\n%s", d)
	}
	now = now.Add(firstWait)
	if d := cmp.Diff([]int{1}, l.due(now)); d != "" {
		t.Errorf("due (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]string{"tap2": "1 lost, tried again after 100ms"}, tell()); d != "" {
		t.Errorf("links tell (-want +got):\n%s", d)
	}
	l.lost(1, 20, now)
	if d := cmp.Diff(map[string]string{"tap1": "20 lost, tried again after 200ms", "tap2": "1 lost, tried again after 100ms"}, tell()); d != "" {
		t.Errorf("links tell (-want +got):\n%s", d)
	}
}

// Who takes over tries a device when this one would have, and waits as long.
func TestLossesInherited(t *testing.T) {
	now := time.Unix(1000, 0)
	l, heir := losses{devices: make(map[int]*loss)}, losses{devices: make(map[int]*loss)}
	for try := range 4 {
		l.lost(7, uint64(try), now)
		now = l.next()
		l.due(now)
	}
	l.lost(7, 16, now)
	l.lost(8, 1, now)
	later := now.Add(firstWait)
	l.due(later) // 8 is being tried
	heir.inherit(l.list(later), later)
	if !heir.next().Equal(l.next()) || heir.devices[7].wait != l.devices[7].wait || heir.devices[7].frames != 16 {
		t.Errorf("inherited %+v, was %+v", *heir.devices[7], *l.devices[7])
	}
	for _, x := range []losses{l, heir} {
		if x.lost(7, 17, later) {
			t.Error("a loss of a device that waits is new")
		}
		if !x.lost(8, 2, later) || x.devices[8].wait != 2*firstWait {
			t.Errorf("after a try that failed: %+v", *x.devices[8])
		}
	}
}
