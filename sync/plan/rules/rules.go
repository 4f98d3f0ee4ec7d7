// SPDX-License-Identifier: Apache-2.0

// Package rules compiles the OpenFlow rules of a bridge into lists that the lane
// can run: for each frame the first rule that matches says whether OVS treats it
// as a learning switch does (Normal), drops it, or does something that the lane
// does not model (Pass).
//
// The package is pure: no I/O, no clock, and it never panics. Whatever it does
// not understand becomes Pass, with its match widened: a field that is not
// modelled is taken out of it, so that it matches at least what it did, and OVS
// decides about all of that.
package rules

import (
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// Fields holds what a rule can match on.
type Fields = ovs.Fields

// Bits of Fields.
const (
	TagPresent = ovs.TagPresent
	FragAny    = ovs.FragAny
	FragLater  = ovs.FragLater
)

// Match selects frames: those whose Fields are Value in the bits of Mask. Value
// has no other bits. The zero Match selects every frame.
type Match struct{ Value, Mask Fields }

// Verdict is what becomes of a frame.
type Verdict uint8

// The verdicts.
const (
	// Pass leaves the frame to OVS.
	Pass Verdict = iota
	// Normal forwards it as a learning switch does.
	Normal
	// Drop drops it.
	Drop
)

// String returns the verdict as status and logs print it.
func (v Verdict) String() string {
	switch v {
	case Normal:
		return "normal"
	case Drop:
		return "drop"
	}
	return "pass"
}

// Rule is one rule of a list.
type Rule struct {
	Match   Match
	Verdict Verdict
	// Order is the rule's place among all rules of the bridge; the lowest that
	// matches decides.
	Order uint32
	// Idle is the shortest idle_timeout of the rules behind it; 0 for none. OVS
	// must see a frame that hits the rule more often than that.
	Idle time.Duration
	// Origins holds the OpenFlow rules that a frame which it matches hits, one a
	// table, as indexes of what was compiled. Where OVS may choose between rules of
	// equal priority that do the same, it is one of them. Of a rule that passes it
	// holds those that are known to be the reason, perhaps none.
	Origins []int
}

// Table is what became of a bridge's rules. A frame from OpenFlow port p to the
// destination d is decided by the lowest Order of what matches it in General,
// ByPort[p] and ByDst[d]; each rule is in one of them, and each list is sorted by
// Order. What no rule matches passes.
type Table struct {
	// General holds rules that name no single port or destination.
	General []Rule
	// ByPort holds those that match one in_port.
	ByPort map[uint32][]Rule
	// ByDst holds those that match one dl_dst and any in_port.
	ByDst map[ovs.MAC][]Rule
}
