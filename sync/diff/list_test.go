// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// list makes a list of some rules.
func list(k plan.ListKey, all ...plan.ListRule) plan.List {
	return plan.List{Key: k, Rules: all, Digest: fmt.Sprintf("%x", all)}
}

func portRules(bridge string, ifindex int) plan.ListKey {
	return plan.ListKey{Kind: plan.PortRules, Bridge: bridge, Port: uint32(ifindex)}
}

func destination(bridge string, station byte) plan.ListKey {
	return plan.ListKey{Kind: plan.DestinationRules, Bridge: bridge, Dst: row(station, "", 0, 0).MAC}
}

func addresses(bridge string, ifindex int) plan.ListKey {
	return plan.ListKey{Kind: plan.Addresses, Bridge: bridge, Port: uint32(ifindex)}
}

// decides tells whether the list has a say on frames from a port with the rule.
func decides(r plan.Rule, k plan.ListKey) bool {
	return k == r.Rules || k == r.Addresses || r.Scoped && k.Kind == plan.DestinationRules && k.Bridge == r.Bridge
}

// listed puts the names of the lists into the rules of ports, as plan.Build does:
// an open port of a bridge with any list has those that are there.
func listed(t plan.Tables) plan.Tables {
	t.Ports = slices.Clone(t.Ports)
	for i := range t.Ports {
		r := &t.Ports[i].Rule
		r.Rules, r.Addresses, r.Scoped, r.Lists = plan.ListKey{}, plan.ListKey{}, false, ""
		if !r.Watch {
			continue
		}
		for _, l := range t.Lists {
			switch l.Key {
			case portRules(r.Bridge, t.Ports[i].IfIndex):
				r.Rules = l.Key
			case addresses(r.Bridge, t.Ports[i].IfIndex):
				r.Addresses = l.Key
			default:
				r.Scoped = r.Scoped || l.Key.Kind == plan.DestinationRules && l.Key.Bridge == r.Bridge
			}
		}
		for _, l := range t.Lists {
			if decides(*r, l.Key) {
				r.Lists += l.Digest + "."
			}
		}
	}
	return t
}

// list makes a list of random rules for a key.
func (r random) list(k plan.ListKey) plan.List {
	var all []plan.ListRule
	for n := range 1 + r.IntN(4) {
		rule := plan.ListRule{Verdict: pick(r, rules.Pass, rules.Normal, rules.Normal, rules.Drop), Order: uint32(10*n + r.IntN(10))}
		if r.odds(2) {
			rule.Value.Src, rule.Mask.Src = row(pick(r, stations...), "", 0, 0).MAC, ovs.MAC{255, 255, 255, 255, 255, 255}
		}
		if r.odds(2) {
			rule.Value.TPDst, rule.Mask.TPDst = uint16(r.IntN(2)), 0xffff
		}
		all = append(all, rule)
	}
	return list(k, all...)
}

// lists makes some of the lists that there can be.
func (r random) lists() []plan.List {
	var all []plan.List
	for _, bridge := range []string{"br0", "br1"} {
		for _, d := range devices {
			for _, k := range []plan.ListKey{portRules(bridge, d), addresses(bridge, d)} {
				if r.odds(4) {
					all = append(all, r.list(k))
				}
			}
		}
		for _, s := range stations {
			if r.odds(6) {
				all = append(all, r.list(destination(bridge, s)))
			}
		}
	}
	return all
}

// earlier changes lists into those of an earlier plan.
func (r random) earlier(lists []plan.List) []plan.List {
	var all []plan.List
	for _, l := range lists {
		switch {
		case r.odds(6):
			continue
		case r.odds(6):
			l = r.list(l.Key)
		}
		all = append(all, l)
	}
	for _, l := range r.lists() {
		if r.odds(4) && !slices.ContainsFunc(all, func(m plan.List) bool { return m.Key == l.Key }) {
			all = append(all, l)
		}
	}
	return all
}

// checkListStep: no list changes while a port is open that it decides for, and no
// port opens whose lists are not there.
func checkListStep(state *plan.Tables, o Op) string {
	switch o.Kind {
	case DeleteList, PutList:
		if there := state.List(o.List.Key) != nil; there != (o.Kind == DeleteList) {
			return fmt.Sprintf("%v: the list is there: %v", o, there)
		}
		for _, p := range state.Ports {
			if decides(p.Rule, o.List.Key) {
				return fmt.Sprintf("%v: port %s is open", o, p.Name)
			}
		}
	case SetRule:
		for _, k := range []plan.ListKey{o.Port.Rule.Rules, o.Port.Rule.Addresses} {
			if k != (plan.ListKey{}) && state.List(k) == nil {
				return fmt.Sprintf("%v: list %v is not there", o, k)
			}
		}
	}
	return ""
}

// checkFewLists says which step on a list is not needed.
func checkFewLists(have, want plan.Tables, ops []Op) string {
	steps := make(map[plan.ListKey]int)
	for _, o := range ops {
		if o.Kind == DeleteList || o.Kind == PutList {
			steps[o.List.Key]++
		}
	}
	for k, n := range steps {
		h, w := have.List(k), want.List(k)
		most := 2
		switch {
		case h != nil && w != nil && h.Digest == w.Digest:
			most = 0
		case h == nil || w == nil:
			most = 1
		}
		if n > most {
			return fmt.Sprintf("%d steps on list %v, %d are enough", n, k, most)
		}
	}
	return ""
}

func TestListOps(t *testing.T) {
	drop, normal := plan.ListRule{Verdict: rules.Drop}, plan.ListRule{Verdict: rules.Normal, Order: 1}
	both := []plan.Port{port(1, "br0"), port(2, "br0"), port(3, "br1")}
	with := func(lists ...plan.List) plan.Tables {
		state := tables(both)
		state.Lists = lists
		state.Sort()
		return listed(state)
	}
	p1, p2, dst, vm := portRules("br0", 1), portRules("br0", 2), destination("br0", 1), addresses("br0", 2)
	for _, tt := range []struct {
		name       string
		have, want plan.Tables
		ops        []string
	}{
		{
			name: "the same", have: with(list(p1, drop), list(dst, drop)), want: with(list(p1, drop), list(dst, drop)),
		},
		{
			name: "a bridge gets rules", have: with(), want: with(list(p1, normal), list(p2, normal)),
			ops: []string{"close port eth0", "close port tap1", "put list rules of br0 for port 1", "put list rules of br0 for port 2", "set rule eth0", "set rule tap1"},
		},
		{
			name: "rules of one port change", have: with(list(p1, normal), list(p2, normal)), want: with(list(p1, drop), list(p2, normal)),
			ops: []string{"close port eth0", "delete list rules of br0 for port 1", "put list rules of br0 for port 1", "set rule eth0"},
		},
		{
			name: "those of a destination change: every port of the bridge asks them",
			have: with(list(p1, normal), list(p2, normal), list(dst, drop)), want: with(list(p1, normal), list(p2, normal), list(dst, normal)),
			ops: []string{"close port eth0", "close port tap1", "delete list rules of br0 for 52:54:00:00:00:01",
				"put list rules of br0 for 52:54:00:00:00:01", "set rule eth0", "set rule tap1"},
		},
		{
			name: "a VM may use other addresses", have: with(list(vm, normal)), want: with(list(vm, drop)),
			ops: []string{"close port tap1", "delete list addresses of port 2 of br0", "put list addresses of port 2 of br0", "set rule tap1"},
		},
		{
			name: "the rules go", have: with(list(p1, normal), list(dst, drop)), want: with(),
			ops: []string{"close port eth0", "close port tap1", "delete list rules of br0 for port 1", "delete list rules of br0 for 52:54:00:00:00:01", "set rule eth0", "set rule tap1"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			taken := tt.have // over from another process: without rules
			taken.Lists = slices.Clone(taken.Lists)
			for i := range taken.Lists {
				taken.Lists[i].Rules = nil
			}
			for _, have := range []plan.Tables{tt.have, taken} {
				var got []string
				for _, o := range Ops(have, tt.want) {
					got = append(got, o.String())
				}
				if diff := cmp.Diff(tt.ops, got); diff != "" {
					t.Errorf("steps (-want +got):\n%s", diff)
				}
			}
		})
	}
}
