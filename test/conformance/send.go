// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"maps"

	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// joins tells whether a frame may be sent with those that wait; flush sends
// those otherwise.
func (x *run) joins(f *Frame) bool {
	from, to, ok := x.settled(f)
	if !ok || len(x.pending) == group {
		return false
	}
	l := x.load[f.Port]
	return len(x.pending) > 0 && x.eligible == x.mustLane(f, from, to) &&
		l.frames < perPort && l.bytes+len(f.Data)+1000 < perBytes
}

// frame takes a frame: it waits for others, or is sent at once and alone.
func (x *run) frame(f *Frame) error {
	if len(x.pending) == 0 {
		if err := x.look(); err != nil || x.failure != nil {
			return err
		}
	}
	x.tally.frame(&x.cfg, f)
	from, to, ok := x.settled(f)
	if !ok {
		return x.alone(f)
	}
	if len(x.pending) == 0 {
		x.eligible = x.mustLane(f, from, to)
	}
	x.pending = append(x.pending, f)
	x.load[f.Port].frames++
	x.load[f.Port].bytes += len(f.Data) + 1000
	return nil
}

// purged takes flows away that would spoil what comes next.
func (x *run) purged(spoilt bool) error {
	if !spoilt {
		return nil
	}
	x.stale, x.counted = false, false
	return x.purge()
}

// flush sends the frames that wait.
func (x *run) flush() error {
	if len(x.pending) == 0 {
		return nil
	}
	frames := x.pending
	x.pending = nil
	clear(x.load[:])
	if err := x.purged(x.stale); err != nil {
		return err
	}
	if !x.eligible {
		return x.send(frames)
	}
	before, err := x.reasons()
	if err != nil {
		return err
	}
	if err := x.send(frames); err != nil {
		return err
	}
	after, err := x.reasons()
	if err != nil {
		return err
	}
	if x.tally.steady(len(frames), before, after) {
		return nil
	}
	// OpenFlow tells of a new port again a while after it is there, and the
	// lane is closed until ovs-xdpd has looked.
	return x.caughtUp()
}

func (x *run) send(frames []*Frame) error {
	x.counted = true
	x.uncounted(frames)
	differ, err := x.exchange(frames)
	if err == nil && len(differ) > 0 {
		x.fail("frames", differ.explain(frames))
	}
	return err
}

// alone sends a frame that may change what OVS knows.
func (x *run) alone(f *Frame) error {
	if err := x.purged(x.stale || x.counted); err != nil {
		return err
	}
	if err := x.send([]*Frame{f}); err != nil || x.failure != nil {
		return err
	}
	before := x.known
	x.stale, x.known = true, nil
	if err := x.learnedRules(f); err != nil {
		return err
	}
	if err := x.look(); err != nil || x.failure != nil {
		return err
	}
	if maps.Equal(before, x.known) {
		x.same[f.key()] = true
		// A rule may have kept OVS from learning what the lane has marked.
		x.converged = x.converged && !x.shownElsewhere(f)
		return nil
	}
	x.converged = false
	clear(x.same)
	if x.watched(f.Port) && !x.movedUnseen(before) {
		return nil
	}
	// What moves to a port that the lane does not watch is seen through OVS
	// only, a while later.
	return x.agree()
}

// movedUnseen tells whether OVS has a station on a port that the lane does not watch,
// and had it elsewhere before: also a frame that another bridge hands back.
func (x *run) movedUnseen(before macTable) bool {
	for a, at := range x.known {
		if was, ok := before[a]; ok && was.port != at.port && !x.watched(at.port) {
			return true
		}
	}
	return false
}

// watched tells whether the lane has a program on a port: on none of OVS's own.
func (x *run) watched(port int) bool {
	return port >= 0 && port < len(x.state.attached) && x.state.attached[port]
}

// shownElsewhere tells whether a frame shows a station on a port where OVS does
// not have it.
func (x *run) shownElsewhere(f *Frame) bool {
	parsed, err := frame.Parse(f.Data)
	b := x.cfg.Ports[f.Port].Bridge
	for a, at := range x.known {
		if err == nil && a.bridge == b && a.mac == parsed.Src && at.port != f.Port {
			return true
		}
	}
	return false
}
