// SPDX-License-Identifier: Apache-2.0

package reconcile

import "time"

const (
	// dumpPause is how long after a frame without a flow megaflows are read: OVS has
	// made one by then.
	dumpPause = 20 * time.Millisecond
	// A dump costs ovs-vswitchd time for each megaflow: the next one comes dumpShare
	// times as long after it as it took, but for one each dumpLatest. Without a
	// reason there is one each dumpInterval.
	dumpShare    = 50
	dumpInterval = time.Second
	dumpLatest   = relook
)

// schedule says when megaflows are read.
type schedule struct {
	due       time.Time // of the next dump
	asked     bool      // by a frame without a flow
	fruitless int       // dumps in a row that were asked for and found nothing new
	ended     time.Time // when the last dump was read
	// took is how long the last dumps took, the latest first. What a dump costs is
	// the least of them: another may have waited for a CPU.
	took [4]time.Duration
}

// cost is what a dump costs.
func (s *schedule) cost() time.Duration {
	least := s.took[0]
	for _, t := range s.took {
		if t > 0 {
			least = min(least, t)
		}
	}
	return least
}

// pause is how long there are no dumps for their cost.
func (s *schedule) pause() time.Duration { return min(dumpShare*s.cost(), dumpLatest) }

// ask brings the next dump forward: there may be megaflows that are not known.
// Frames that OVS alone can handle ask in vain, and so less and less often.
func (s *schedule) ask(now time.Time) {
	pause := max(s.pause(), dumpPause<<min(s.fruitless, 6))
	at := now.Add(dumpPause)
	if earliest := s.ended.Add(pause); at.Before(earliest) {
		at = earliest
	}
	s.asked = true
	if at.Before(s.due) {
		s.due = at
	}
}

// dumped notes a dump that ended then and took so long.
func (s *schedule) dumped(ended time.Time, took time.Duration) {
	copy(s.took[1:], s.took[:])
	s.ended, s.took[0] = ended, took
	s.due = ended.Add(max(dumpInterval, s.pause()))
}

// found notes whether a dump had something new.
func (s *schedule) found(something bool) {
	if something {
		s.fruitless = 0
	} else if s.asked {
		s.fruitless++
	}
	s.asked = false
}
