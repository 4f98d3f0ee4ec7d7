// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"time"

	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// losses keeps the devices that lose frames that are redirected to them. The
// program has closed them by itself; they are tried again, later each time.
type losses struct {
	devices map[int]*loss // by ifindex
}

// loss is what is known of one device since it was last well.
type loss struct {
	frames uint64        // lost since its port joined the lane
	wait   time.Duration // before the next try, or before the one that goes on
	next   time.Time     // of the next try; zero while one goes on
	tried  time.Time     // when that began
}

const (
	// firstWait is for how long frames to a device that loses some go by OVS. Each
	// try that fails doubles it, up to lastWait, but for those that went well for
	// longTry times as long as the device had waited for them.
	firstWait = 100 * time.Millisecond
	lastWait  = 30 * time.Second
	longTry   = 10
	// wellAfter is for how long a device must lose nothing until its next loss
	// counts as the first.
	wellAfter = time.Minute
)

// lost takes a device that the program has closed, and tells whether that is
// new. frames is what it has lost since its port joined the lane.
func (l *losses) lost(ifindex int, frames uint64, now time.Time) bool {
	d := l.devices[ifindex]
	switch {
	case d == nil, d.next.IsZero() && now.Sub(d.tried) >= wellAfter:
		d = &loss{wait: firstWait}
		l.devices[ifindex] = d
	case d.next.IsZero():
		if now.Sub(d.tried) < longTry*d.wait {
			d.wait = min(2*d.wait, lastWait)
		}
	default:
		return false
	}
	d.frames, d.next = frames, now.Add(d.wait)
	return true
}

// due begins to try the devices whose time has come, and returns them. It
// forgets those that have been well.
func (l *losses) due(now time.Time) []int {
	var list []int
	for ifindex, d := range l.devices {
		switch {
		case d.next.IsZero():
			if now.Sub(d.tried) >= wellAfter {
				delete(l.devices, ifindex)
			}
		case !d.next.After(now):
			d.next, d.tried = time.Time{}, now
			list = append(list, ifindex)
		}
	}
	return list
}

// next returns when the next try is due; zero when no device waits.
func (l *losses) next() time.Time {
	var first time.Time
	for _, d := range l.devices {
		if !d.next.IsZero() && (first.IsZero() || d.next.Before(first)) {
			first = d.next
		}
	}
	return first
}

// tell puts into the links which devices wait to be tried again.
func (l *losses) tell(links map[string]plan.Link) {
	for name, link := range links {
		if d := l.devices[link.IfIndex]; d != nil && !d.next.IsZero() {
			link.LosesFrames = fmt.Sprintf("%d lost, tried again after %v", d.frames, d.wait)
			links[name] = link
		}
	}
}

// sayLosses warns when losses are not seen.
func (d *Daemon) sayLosses() {
	if err := d.lane.LossesUnseen(); err != nil {
		d.log.Warn("frames that are lost on the lane can't be seen: a device that loses them stays on it", "error", err)
	}
}

// losing is a loss for the daemon that takes over.
type losing struct {
	IfIndex int
	Frames  uint64
	Wait    time.Duration
	// Next is how long it is until the next try, unless one goes on: since
	// Tried.
	Next, Tried time.Duration
	Trying      bool
}

// list gives all devices, for inherit.
func (l *losses) list(now time.Time) []losing {
	var list []losing
	for ifindex, d := range l.devices {
		list = append(list, losing{IfIndex: ifindex, Frames: d.frames, Wait: d.wait,
			Next: d.next.Sub(now), Tried: now.Sub(d.tried), Trying: d.next.IsZero()})
	}
	return list
}

func (l *losses) inherit(list []losing, now time.Time) {
	for _, one := range list {
		d := &loss{frames: one.Frames, wait: one.Wait, tried: now.Add(-one.Tried)}
		if !one.Trying {
			d.next = now.Add(one.Next)
		}
		l.devices[one.IfIndex] = d
	}
}

// noteLosses looks which devices the program has closed, and plans without them.
// The program's events may be lost, so it is called now and then without one.
func (s *session) noteLosses(now time.Time) {
	if s.watching() {
		return // the other daemon does
	}
	for _, ifindex := range s.lane.Losing() {
		c, err := s.lane.Counters(ifindex)
		if err != nil {
			continue // it has just left
		}
		if s.losses.lost(ifindex, c.Lost, now) {
			if s.losses.devices[ifindex].wait == firstWait {
				s.log.Warn("device has lost frames that were redirected to it: frames to it go by OVS, and it is tried again",
					"device", s.in.ports[ifindex].Name, "lost", c.Lost)
			}
			s.links = nil
			s.soon(0)
		}
	}
}

// retryLosses tries the devices again whose time has come. The plan opens them.
func (s *session) retryLosses(now time.Time) {
	if s.watching() {
		return // the other daemon does
	}
	for _, ifindex := range s.losses.due(now) {
		s.lane.RetryPort(ifindex)
		s.links = nil
		s.soon(0)
	}
}

// armLosses sets the timer to the next try.
func (s *session) armLosses(timer *time.Timer) {
	if next := s.losses.next(); !next.IsZero() {
		timer.Reset(max(time.Until(next), 0))
	} else {
		timer.Stop()
	}
}
