// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// counted is an installer without a kernel, for what it remembers of lists.
func counted(lists ...plan.List) *installer {
	in := newInstaller(nil, nil)
	for _, l := range lists {
		in.lists[l.Key] = heldList{l, in.listKey(l.Key)}
	}
	return in
}

func TestAddCounts(t *testing.T) {
	l := plan.List{Rules: []plan.ListRule{
		{Origins: []plan.RuleID{"a"}},
		{Origins: []plan.RuleID{"a", "b"}}, // a chain of tables
		{},                                 // OVS may choose: nobody's
		{Origins: []plan.RuleID{"c"}},
	}}
	counts := []bpf.RuleCount{{Frames: 1, Bytes: 100}, {Frames: 2, Bytes: 300}, {Frames: 4, Bytes: 500}, {}}
	for name, c := range map[string]struct {
		list   plan.List
		counts []bpf.RuleCount
		want   map[plan.RuleID]bpf.RuleCount
	}{
		"each rule on its way":                        {l, counts, map[plan.RuleID]bpf.RuleCount{"a": {Frames: 13, Bytes: 1400}, "b": {Frames: 2, Bytes: 300}, "c": {}}},
		"taken over, and its rules are not known yet": {plan.List{}, counts, map[plan.RuleID]bpf.RuleCount{"a": {Frames: 10, Bytes: 1000}}},
		"not in the tables":                           {l, nil, map[plan.RuleID]bpf.RuleCount{"a": {Frames: 10, Bytes: 1000}}},
		"only some counts":                            {l, counts[:1], map[plan.RuleID]bpf.RuleCount{"a": {Frames: 11, Bytes: 1100}}},
	} {
		got := map[plan.RuleID]bpf.RuleCount{"a": {Frames: 10, Bytes: 1000}}
		addCounts(got, c.list, c.counts)
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Lists that were taken over get their rules back from the first plan that wants
// the same; of another list with their name nobody knows which rules have counted.
func TestRecall(t *testing.T) {
	key := func(port uint32) plan.ListKey {
		return plan.ListKey{Kind: plan.PortRules, Bridge: "br0", Port: port}
	}
	one := []plan.ListRule{{Order: 1, Origins: []plan.RuleID{"a"}}}
	in := counted(plan.List{Key: key(1), Digest: "x"}, plan.List{Key: key(2), Digest: "y"}, plan.List{Key: key(3), Digest: "z"},
		plan.List{Key: key(4), Digest: "v", Rules: one})
	in.recall(plan.Tables{Lists: []plan.List{
		{Key: key(1), Digest: "x", Rules: one}, {Key: key(2), Digest: "other", Rules: one}, {Key: key(4), Digest: "w"}, {Key: key(5), Digest: "w", Rules: one},
	}})
	got := make(map[uint32]int)
	for k, l := range in.lists {
		got[k.Port] = len(l.Rules)
		if l.Key != k || l.key != in.listKey(k) {
			t.Errorf("list %v is held as %+v", k, l)
		}
	}
	if diff := cmp.Diff(map[uint32]int{1: 1, 2: 0, 3: 0, 4: 1}, got); diff != "" {
		t.Errorf("rules of each list (-want +got):\n%s", diff)
	}
}

// What rules have counted is kept as long as they are there, also while a bridge
// can't be read.
func TestForget(t *testing.T) {
	rule := func(priority uint16) ovs.Rule {
		return ovs.Rule{Priority: priority, Actions: []string{"NORMAL"}, Packets: 7, Cookie: 9}
	}
	r1, r2 := rule(1), rule(2)
	one := bpf.RuleCount{Frames: 1}
	in := counted()
	for _, bridge := range []string{"br0", "unread", "gone"} {
		in.counts(bridge)[plan.IDOf(&r1)] = one
		in.counts(bridge)[plan.IDOf(&r2)] = one
	}
	changed := rule(2) // its actions and timeouts are not its name
	changed.Actions, changed.IdleTimeout = []string{"drop"}, 5
	in.forget(&ovs.Snapshot{Bridges: []ovs.Bridge{
		{Name: "br0", Detail: &ovs.Detail{Rules: []ovs.Rule{changed, rule(3)}}},
		{Name: "unread", DetailError: "timeout"},
	}})
	want := map[string]map[plan.RuleID]bpf.RuleCount{
		"br0":    {plan.IDOf(&r2): one},
		"unread": {plan.IDOf(&r1): one, plan.IDOf(&r2): one},
	}
	if diff := cmp.Diff(want, in.counted); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

// The rules of a bridge are compiled once for each time they are read.
func TestCompiler(t *testing.T) {
	c := compiler{}
	first := []ovs.Rule{{Actions: []string{"NORMAL"}}}
	table := c.compile("br0", first)
	if !table.Plain() {
		t.Errorf("compiled to %+v", table)
	}
	if c.compile("br0", first) != table {
		t.Error("the same rules were compiled twice")
	}
	if c.compile("br1", first) == table {
		t.Error("two bridges share a table")
	}
	other := []ovs.Rule{{Actions: []string{"drop"}}}
	if got := c.compile("br0", other); got.Offloads() {
		t.Errorf("new rules became %+v", got)
	}
	if got := c.compile("br0", append(first[:1:1], other...)[:1]); !got.Plain() {
		t.Errorf("rules read anew became %+v", got)
	}
	if got := c.compile("br0", nil); got.Offloads() || c.compile("br0", nil) != got {
		t.Errorf("no rules became %+v", got)
	}
}

// A port opens only when each list that decides for it is as it should be.
func TestLacksList(t *testing.T) {
	key := func(kind plan.ListKind, bridge string) plan.ListKey { return plan.ListKey{Kind: kind, Bridge: bridge} }
	rule := plan.Rule{Bridge: "br0", Rules: key(plan.PortRules, "br0"), Addresses: key(plan.Addresses, "br0"), Scoped: true}
	unscoped := rule
	unscoped.Scoped = false
	for name, c := range map[string]struct {
		rule plan.Rule
		list plan.ListKey
		want bool
	}{
		"its rules":                         {rule, rule.Rules, true},
		"its addresses":                     {rule, rule.Addresses, true},
		"those of a destination":            {rule, key(plan.DestinationRules, "br0"), true},
		"of another bridge":                 {rule, key(plan.DestinationRules, "br1"), false},
		"those of a port of another bridge": {rule, key(plan.PortRules, "br1"), false},
		"it asks no destination":            {unscoped, key(plan.DestinationRules, "br0"), false},
		"it has none":                       {plan.Rule{Bridge: "br0"}, rule.Rules, false},
	} {
		out := outcome{unlisted: map[plan.ListKey]bool{c.list: true}}
		if got := out.lacks(c.rule); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if (&outcome{}).lacks(rule) {
		t.Error("a port lacks a list although all are there")
	}
}

// Lists go to a successor as JSON: nothing of their names and counts is lost.
func TestHandedLists(t *testing.T) {
	want := handedLists{
		Lists:  []plan.List{{Key: plan.ListKey{Kind: plan.DestinationRules, Bridge: "br0", Dst: ovs.MAC{0x52, 5: 1}}, Digest: "x"}},
		Places: []bpf.Place{{Key: bpf.ListKey{Kind: bpf.DestinationRules, Bridge: 1, Dst: ovs.MAC{0x52, 5: 1}}, First: 3, Count: 4}},
		Counted: map[string]map[plan.RuleID]bpf.RuleCount{
			"br0": {"table=0,priority=0 actions=": {Frames: 1 << 60, Bytes: 1<<64 - 1}},
		},
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got handedLists
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lists (-want +got):\n%s", diff)
	}
	for v := range rules.Drop + 1 {
		if _, ok := verdicts[v]; !ok {
			t.Errorf("verdict %v has no name in the tables", v)
		}
	}
}
