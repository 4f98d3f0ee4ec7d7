// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// step is what a table does with the frames of a pattern: a rule, or what several
// tables made of them so far.
type step struct {
	pattern
	act
	priority uint16
	// rules are those that the frames hit, as indexes of what is compiled.
	rules []int
}

// act is what a rule does.
type act struct {
	verdict Verdict
	// next is the table that goes on with the frame, if goesOn.
	next   uint8
	goesOn bool
	// idle is the idle_timeout in seconds, 0 for none. ends tells that the rule
	// has a hard_timeout.
	idle uint16
	ends bool
}

// lastTable is the last one that rules can be in: 254 is OVS's own, and its rules
// are hidden.
const lastTable = 253

// newStep returns what the rule at an index does.
func newStep(r *ovs.Rule, index int) step {
	s := step{priority: r.Priority, rules: []int{index}}
	s.idle, s.ends = r.IdleTimeout, r.HardTimeout != 0
	var exact bool
	if s.pattern, exact = readMatch(r); !exact || len(r.Actions) != 1 {
		return s
	}
	switch action := r.Actions[0]; action {
	case "NORMAL":
		s.verdict = Normal
	case "drop":
		s.verdict = Drop
	default:
		s.next, s.goesOn = nextTable(action)
	}
	return s
}

// nextTable reads an action that does nothing but go on in another table.
func nextTable(action string) (uint8, bool) {
	text, ok := strings.CutPrefix(action, "goto_table:")
	if !ok {
		// A port before the comma, or ct behind it, is more than that.
		if text, ok = strings.CutPrefix(action, "resubmit(,"); ok {
			text, ok = strings.CutSuffix(text, ")")
		}
	}
	n, err := strconv.ParseUint(text, 10, 8)
	return uint8(n), ok && err == nil && n <= lastTable
}

// then returns what becomes of the frames of s that match a step of the table
// where s goes on; they must meet.
func (s *step) then(t *step) step {
	r := step{pattern: s.and(&t.pattern), act: t.act, rules: slices.Concat(s.rules, t.rules)}
	r.idle, r.ends = shorter(s.idle, t.idle), s.ends || t.ends
	return r
}

// shorter returns the shorter of two timeouts.
func shorter(a, b uint16) uint16 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// passes tells that OVS decides about the frames. A rule that ends by itself is
// not trusted to let frames through: OVS may have done with it.
func (s *step) passes() bool {
	return !s.goesOn && (s.verdict == Pass || s.verdict == Normal && s.ends)
}

// rule returns what stands in a Table.
func (s *step) rule(order int) Rule {
	r := Rule{Match: s.match(), Verdict: s.verdict, Order: uint32(order), Idle: time.Duration(s.idle) * time.Second, Origins: s.rules}
	if s.passes() {
		r.Verdict = Pass
	}
	return r
}

// compare gives steps of a table an order that depends on nothing but what they
// match and do.
func (s *step) compare(t *step) int {
	flag := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	return cmp.Or(s.pattern.compare(&t.pattern), cmp.Compare(s.verdict, t.verdict),
		cmp.Compare(flag(s.goesOn), flag(t.goesOn)), cmp.Compare(s.next, t.next),
		cmp.Compare(s.idle, t.idle), cmp.Compare(flag(s.ends), flag(t.ends)))
}
