// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"time"

	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// A difference counts when OVS was asked this often, over this long at least,
// with a look in between each time that found nothing new of the pair. It is
// longer than what OVS needs to learn of a station that has moved.
const (
	Strikes = 3
	Lasting = 2 * time.Second
	// Again is how long after such a look OVS is asked again.
	Again = Lasting / (Strikes - 1)
	// patience bounds how often the pair is looked up, asked about or not.
	patience = 4 * Strikes
)

// Suspicion follows a pair of stations for which OVS and the lane differ, until
// the difference has lasted or is explained.
type Suspicion struct {
	Question Question
	// Repaired tells that the tables were not as planned to begin with: what
	// looks put right was somebody else's doing.
	Repaired bool

	planned Basis
	strikes int
	tries   int
	first   time.Time
	fresh   bool
}

// Basis is the part of the tables that a verdict on a pair depends on.
type Basis struct {
	rows  [2]plan.Row
	ports [4]plan.Port
	flow  plan.Flow
}

// BasisOf extracts it from sorted tables.
func BasisOf(t *plan.Tables, q Question) Basis {
	var b Basis
	for i, k := range []plan.Key{q.Source(), q.Destination()} {
		if row := t.Row(k); row != nil {
			b.rows[i] = *row
		}
	}
	for i, ifindex := range []int{q.Frame.IfIndex, q.Verdict.IfIndex, b.rows[0].IfIndex, b.rows[1].IfIndex} {
		if p := t.Port(ifindex); p != nil {
			b.ports[i] = *p
		}
	}
	if f := t.Flow(q.Class()); f != nil && q.Domain != "" {
		b.flow = *f
	}
	return b
}

// Suspect begins to follow the pair of a question that was answered
// differently. planned is what the last look wanted the tables to be.
func Suspect(q Question, planned *plan.Tables, now time.Time) *Suspicion {
	return &Suspicion{
		Question: q, Repaired: Verdict(planned, q) != q.Verdict,
		planned: BasisOf(planned, q), strikes: 1, first: now,
	}
}

// Looked tells of a look that began after OVS was asked last, and what it wants
// the tables to be. false means that the pair has changed: OVS and the lane were
// on their way from one state to the next.
func (s *Suspicion) Looked(planned *plan.Tables) bool {
	if BasisOf(planned, s.Question) != s.planned {
		return false
	}
	s.fresh = true
	return true
}

// Next is what to do about a Suspicion when it is due.
type Next int

// What to do.
const (
	// Wait until the next look, or a while.
	Wait Next = iota
	// Ask OVS again.
	Ask
	// Drop it: the lane does not do this any more, or never quite.
	Drop
)

// Due tells what to do now: installed is what the lane does with the frame by the
// tables in the kernel.
func (s *Suspicion) Due(installed plan.Verdict) Next {
	if !s.fresh {
		return Wait
	}
	s.tries++
	switch {
	case s.tries > patience || installed.IfIndex != 0 && installed != s.Question.Verdict:
		return Drop
	case installed.IfIndex == 0:
		return Wait // a row in doubt, or a port that is closed for the moment
	}
	return Ask
}

// Answered takes an outcome. It tells whether the difference has lasted, and
// otherwise whether to go on.
func (s *Suspicion) Answered(o Outcome, now time.Time) (lasted, goOn bool) {
	switch o {
	case Agrees:
		return false, false
	case Differs:
		s.strikes++
		s.fresh = false
		return s.strikes >= Strikes && now.Sub(s.first) >= Lasting, true
	}
	return false, true
}
