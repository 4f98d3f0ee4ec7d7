// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// checkLists: lists are sorted and no longer than they may be; what a port's rule
// names is there; and a port that is looked at has what its bridge asks for.
func checkLists(in *input, res *Result) string {
	total, limit := 0, cmp.Or(in.Policy.RulesPerList, DefaultRulesPerList)
	for i, l := range res.Tables.Lists {
		if total += len(l.Rules); i > 0 && res.Tables.Lists[i-1].Key.Compare(l.Key) >= 0 {
			return fmt.Sprintf("list %v comes before list %v", res.Tables.Lists[i-1].Key, l.Key)
		}
		if wrong := checkList(l, limit); wrong != "" {
			return fmt.Sprintf("list %v: %s", l.Key, wrong)
		}
	}
	if in.Policy.Rules > 0 && total > in.Policy.Rules/2 {
		return fmt.Sprintf("%d rules, and there is room for %d, half of it", total, in.Policy.Rules)
	}
	tables := make(map[string]rules.Table)
	for i := range in.Snapshot.Bridges {
		br := &in.Snapshot.Bridges[i]
		if _, twice := tables[br.Name]; br.Detail != nil && !twice && res.Bridges[i].State != StateOff && res.Bridges[i].State != StateRefused && res.Bridges[i].Lane == FDBLane {
			tables[br.Name] = rules.Compile(br.Detail.Rules)
		}
	}
	for _, p := range res.Tables.Ports {
		r := p.Rule
		named := r.Rules != ListKey{} || r.Addresses != ListKey{} || r.Scoped || r.Lists != ""
		table, ok := tables[r.Bridge]
		switch {
		case r.Rules != ListKey{} && (r.Rules.Kind != PortRules || r.Rules.Bridge != r.Bridge || res.Tables.List(r.Rules) == nil),
			r.Addresses != ListKey{} && (r.Addresses.Kind != Addresses || r.Addresses.Bridge != r.Bridge || res.Tables.List(r.Addresses) == nil):
			return fmt.Sprintf("port %v names lists %v and %v", p.Name, r.Rules, r.Addresses)
		case named && p.Mode == Target:
			return fmt.Sprintf("port %v has lists and no program", p.Name)
		case r.Watch && ok && table.Plain() != (r.Rules == ListKey{}):
			return fmt.Sprintf("port %v is watched and has the list %v", p.Name, r.Rules)
		case r.Watch && ok && !table.Plain() && r.Scoped != (len(table.ByDst) > 0):
			return fmt.Sprintf("port %v does not ask the lists of destinations", p.Name)
		}
	}
	return ""
}

func checkList(l List, limit int) string {
	if len(l.Rules) == 0 {
		return "it is empty"
	}
	if l.Digest == "" {
		return "it has no digest"
	}
	if l.Key.Kind == Addresses {
		last := l.Rules[len(l.Rules)-1]
		if limit = DefaultRulesPerList; last.Match != (rules.Match{}) || last.Verdict == rules.Normal {
			return fmt.Sprintf("its last rule is %+v", last)
		}
	}
	if len(l.Rules) > limit {
		return fmt.Sprintf("it has %d rules", len(l.Rules))
	}
	for i, r := range l.Rules {
		if i > 0 && l.Rules[i-1].Order >= r.Order {
			return fmt.Sprintf("rule %d comes before rule %d", l.Rules[i-1].Order, r.Order)
		}
		if l.Key.Kind == DestinationRules && r.Match != (rules.Match{}) && (r.Mask.Dst != ovs.MAC{255, 255, 255, 255, 255, 255} || r.Value.Dst != l.Key.Dst) {
			return fmt.Sprintf("rule %+v is for another destination", r)
		}
		if !(&rules.Match{Value: r.Value, Mask: r.Mask}).Matches(r.Value) {
			return fmt.Sprintf("rule %+v has bits outside of its mask", r)
		}
	}
	return ""
}

// The lists decide as the compiled rules of the bridge do, whatever list a rule is
// in; where there is no room, or a mirror is to see it, nothing is dropped.
func TestListsDecideAsRules(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	seen := make(map[rules.Verdict]int)
	for n := range 1500 {
		r := seeded(seed, n)
		in := r.input()
		in.Policy.RulesPerList, in.Policy.Rules = 0, 0
		res := Build(&in.Snapshot, in.Links, in.Policy)
		for i := range in.Snapshot.Bridges {
			br := &in.Snapshot.Bridges[i]
			if res.Bridges[i].State != StateOn || res.Bridges[i].Lane != FDBLane || slices.IndexFunc(in.Snapshot.Bridges, func(b ovs.Bridge) bool { return b.Name == br.Name }) != i {
				continue
			}
			table := rules.Compile(br.Detail.Rules)
			for _, p := range res.Tables.Ports {
				if p.Rule.Bridge != br.Name || p.Rule.Rules == (ListKey{}) {
					continue
				}
				for range 20 {
					fields := r.carried()
					want, _ := table.Decide(p.Rule.Rules.Port, fields)
					if want == rules.Drop && len(br.Mirrors) > 0 {
						want = rules.Pass
					}
					f := Frame{Src: fields.Src, Dst: fields.Dst, VID: ovs.VLAN(fields.TCI &^ ovs.TagPresent), Carries: fields}
					got := map[string]rules.Verdict{"": rules.Normal, "rule": rules.Pass, "dropped": rules.Drop}
					rule := p.Rule
					rule.Addresses = ListKey{}
					left := res.Tables.ruling(rule, f)
					if got[left.reason] != want || left.drops != (want == rules.Drop) {
						t.Fatalf("seed %d, input %d: port %s, frame %+v: %+v, want %v", seed, n, p.Name, fields, left, want)
					}
					seen[want]++
				}
			}
		}
	}
	t.Logf("%v", seen)
	if min(seen[rules.Pass], seen[rules.Normal], seen[rules.Drop]) < 300 {
		t.Errorf("verdicts %v", seen)
	}
}

// A port's rule changes with every list that can decide its frames: by that alone
// the port is closed before one of them changes.
func TestRuleChangesWithLists(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	changed, same := 0, 0
	for n := range 3000 {
		r := seeded(seed, n)
		in := r.input()
		before := Build(&in.Snapshot, in.Links, in.Policy).Tables
		r.change(&in.Snapshot)
		after := Build(&in.Snapshot, in.Links, in.Policy).Tables
		for _, was := range before.Ports {
			now := after.Port(was.IfIndex)
			if now == nil || was.Rule == was.Rule.Shut() {
				continue
			}
			x, y := deciding(&before, was.Rule), deciding(&after, now.Rule)
			alike := slices.EqualFunc(x, y, func(a, b List) bool {
				return a.Key == b.Key && slices.EqualFunc(a.Rules, b.Rules, func(a, b ListRule) bool {
					return a.Match == b.Match && a.Verdict == b.Verdict && a.Order == b.Order && a.Idle == b.Idle && slices.Equal(a.Origins, b.Origins)
				})
			})
			if alike != (was.Rule.Lists == now.Rule.Lists) {
				t.Fatalf("seed %d, input %d: port %s: lists alike: %v, names %q and %q\n%+v\n%+v", seed, n, was.Name, alike, was.Rule.Lists, now.Rule.Lists, x, y)
			}
			if alike && len(x) > 0 {
				same++
			} else if !alike {
				changed++
			}
		}
	}
	if changed < 100 || same < 100 {
		t.Errorf("%d ports whose lists changed, %d whose lists are the same", changed, same)
	}
}

// deciding are the lists that can decide about frames from a port.
func deciding(t *Tables, r Rule) []List {
	var list []List
	for _, l := range t.Lists {
		if l.Key == r.Rules || l.Key == r.Addresses || r.Scoped && l.Key.Kind == DestinationRules && l.Key.Bridge == r.Bridge {
			list = append(list, l)
		}
	}
	return list
}

// change changes one rule, or the addresses of one interface, of a snapshot.
func (r random) change(s *ovs.Snapshot) {
	br := &s.Bridges[r.IntN(len(s.Bridges))]
	if br.Detail != nil && len(br.Detail.Rules) > 0 && r.odds(2) {
		rules := slices.Clone(br.Detail.Rules)
		rule := &rules[r.IntN(len(rules))]
		switch r.IntN(4) {
		case 0:
			rule.Match = r.match()
		case 1:
			rule.Priority++
		case 2:
			rule.Actions = []string{pick(r, "NORMAL", "drop")}
		default:
			rule.IdleTimeout = 12
		}
		br.Detail.Rules = rules
		return
	}
	if len(br.Ports) > 0 {
		if p := &br.Ports[r.IntN(len(br.Ports))]; len(p.Interfaces) > 0 {
			p.Interfaces[0].ExternalIDs = r.addresses()
		}
	}
}
