// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// List is a list of rules: of those that match a frame the first decides.
type List struct {
	Key ListKey
	// Rules are sorted by Order. They are not there in what was read back from the
	// kernel.
	Rules []ListRule
	// Digest is the same of lists that are alike, and of no others.
	Digest string
}

// ListKey names a list.
type ListKey struct {
	Kind ListKind
	// Bridge is Bridge:name.
	Bridge string
	// Port is the OpenFlow port that frames come from; 0 in DestinationRules.
	Port uint32
	// Dst is the destination of DestinationRules.
	Dst ovs.MAC
}

// ListKind says what a list is for.
type ListKind uint8

// The kinds of lists; 0 is none.
const (
	// PortRules holds the OpenFlow rules for frames from a port, but for those
	// that name one destination.
	PortRules ListKind = 1 + iota
	// DestinationRules holds those that name one destination. A frame is decided
	// by the list of its port and that of its destination: the rule that matches
	// with the lowest Order.
	DestinationRules
	// Addresses gives the source addresses that a port may use: Normal. The last
	// rule matches every frame.
	Addresses
)

// ListRule is one rule of a list.
type ListRule struct {
	rules.Match
	Verdict rules.Verdict
	// Order is the rule's place among all rules of the bridge.
	Order uint32
	// Idle is how often OVS must see a frame that the rule decides; 0: never.
	Idle time.Duration
	// Origins names the OpenFlow rules that a frame which it decides hits.
	Origins []RuleID
}

// RuleID names an OpenFlow rule on its bridge: no two are in one table with the
// same priority and match.
type RuleID string

// IDOf returns the name of a rule.
func IDOf(r *ovs.Rule) RuleID {
	id := ovs.Rule{Table: r.Table, Priority: r.Priority, Match: r.Match, Unknown: r.Unknown}
	return RuleID(id.String())
}

// Compare orders keys by bridge, kind, port and destination.
func (k ListKey) Compare(l ListKey) int {
	return cmp.Or(cmp.Compare(k.Bridge, l.Bridge), cmp.Compare(k.Kind, l.Kind),
		cmp.Compare(k.Port, l.Port), slices.Compare(k.Dst[:], l.Dst[:]))
}

// String names the list for messages.
func (k ListKey) String() string {
	switch k.Kind {
	case 0:
		return "none"
	case DestinationRules:
		return fmt.Sprintf("rules of %s for %s", k.Bridge, k.Dst)
	case Addresses:
		return fmt.Sprintf("addresses of port %d of %s", k.Port, k.Bridge)
	}
	return fmt.Sprintf("rules of %s for port %d", k.Bridge, k.Port)
}

// newList makes a list of rules that are sorted.
func newList(k ListKey, rules []ListRule) List {
	h := sha256.New()
	for i := range rules {
		rules[i].digest(h)
	}
	return List{Key: k, Rules: rules, Digest: hex.EncodeToString(h.Sum(nil)[:16])}
}

func (r *ListRule) digest(h hash.Hash) {
	fixed := []any{r.Value, r.Mask, r.Verdict, r.Order, int64(r.Idle), uint32(len(r.Origins))}
	for _, v := range fixed {
		_ = binary.Write(h, binary.BigEndian, v) // a hash takes all
	}
	for _, id := range r.Origins {
		_, _ = fmt.Fprintf(h, "%d:%s", len(id), id)
	}
}

// List returns a list, nil when it is not there.
func (t *Tables) List(k ListKey) *List {
	i, ok := slices.BinarySearchFunc(t.Lists, k, func(l List, k ListKey) int { return l.Key.Compare(k) })
	if !ok {
		return nil
	}
	return &t.Lists[i]
}
