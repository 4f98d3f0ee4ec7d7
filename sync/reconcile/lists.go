// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"maps"
	"slices"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// heldList is a list in the kernel's tables.
type heldList struct {
	plan.List
	key bpf.ListKey
}

// listKey is the name of a list in the kernel's tables.
func (in *installer) listKey(k plan.ListKey) bpf.ListKey {
	if k.Kind == 0 {
		return bpf.ListKey{}
	}
	return bpf.ListKey{Kind: bpf.ListKind(k.Kind), Bridge: in.number(k.Bridge), Port: k.Port, Dst: k.Dst}
}

// verdicts gives those of the plan in the words of the tables.
var verdicts = map[rules.Verdict]bpf.Verdict{
	rules.Pass: bpf.VerdictPass, rules.Normal: bpf.VerdictNormal, rules.Drop: bpf.VerdictDrop,
}

func (in *installer) putList(l plan.List) error {
	list := make([]bpf.ListRule, len(l.Rules))
	for i, r := range l.Rules {
		list[i] = bpf.ListRule{Value: r.Value, Mask: r.Mask, Verdict: verdicts[r.Verdict], Order: r.Order, Idle: r.Idle}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	key := in.listKey(l.Key)
	if err := in.lane.PutList(key, list); err != nil {
		return err
	}
	in.lists[l.Key] = heldList{l, key}
	return nil
}

func (in *installer) deleteList(k plan.ListKey) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	was, ok := in.lists[k]
	if !ok {
		return nil
	}
	counts := in.lane.ListCounts(was.key)
	if err := in.lane.DeleteList(was.key); err != nil {
		return err // it is in force still
	}
	addCounts(in.counts(k.Bridge), was.List, counts)
	delete(in.lists, k)
	return nil
}

// counts is where the counts of a bridge's rules are kept.
func (in *installer) counts(bridge string) map[plan.RuleID]bpf.RuleCount {
	if in.counted[bridge] == nil {
		in.counted[bridge] = make(map[plan.RuleID]bpf.RuleCount)
	}
	return in.counted[bridge]
}

// addCounts adds what the rules of a list have decided to the OpenFlow rules
// that they come of.
func addCounts(to map[plan.RuleID]bpf.RuleCount, l plan.List, counts []bpf.RuleCount) {
	for i, c := range counts[:min(len(counts), len(l.Rules))] {
		for _, id := range l.Rules[i].Origins {
			sum := to[id]
			sum.Frames, sum.Bytes = sum.Frames+c.Frames, sum.Bytes+c.Bytes
			to[id] = sum
		}
	}
}

// recall gives lists that were taken over their rules: those of lists that are
// wanted and alike.
func (in *installer) recall(want plan.Tables) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for k, l := range in.lists {
		if w := want.List(k); l.Rules == nil && w != nil && w.Digest == l.Digest {
			in.lists[k] = heldList{*w, l.key}
		}
	}
}

// forget drops the counts of OpenFlow rules that are no more.
func (in *installer) forget(snap *ovs.Snapshot) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for bridge, counts := range in.counted {
		i := slices.IndexFunc(snap.Bridges, func(b ovs.Bridge) bool { return b.Name == bridge })
		if i < 0 {
			delete(in.counted, bridge)
			continue
		}
		if snap.Bridges[i].Detail == nil {
			continue
		}
		there := make(map[plan.RuleID]bool)
		for n := range snap.Bridges[i].Detail.Rules {
			there[plan.IDOf(&snap.Bridges[i].Detail.Rules[n])] = true
		}
		maps.DeleteFunc(counts, func(id plan.RuleID, _ bpf.RuleCount) bool { return !there[id] })
	}
}

// RuleCounts returns what the lane has decided by the OpenFlow rules of a bridge.
func (d *Daemon) RuleCounts(bridge string) map[plan.RuleID]bpf.RuleCount {
	in := d.in
	in.mu.Lock()
	defer in.mu.Unlock()
	total := maps.Clone(in.counted[bridge])
	if total == nil {
		total = make(map[plan.RuleID]bpf.RuleCount)
	}
	for k, l := range in.lists {
		if k.Bridge == bridge {
			addCounts(total, l.List, d.lane.ListCounts(l.key))
		}
	}
	for ifindex, p := range in.plain {
		if p.Bridge == bridge {
			p.add(total, in.laneCount(ifindex))
		}
	}
	return total
}

// handedLists is what a successor needs to know of the lists.
type handedLists struct {
	// Lists are without their rules; Places is where they are in the tables.
	Lists  []plan.List
	Places []bpf.Place
	// Counted is by Bridge:name.
	Counted map[string]map[plan.RuleID]bpf.RuleCount
	Plain   map[int]plainPort
}

func (in *installer) handLists() handedLists {
	in.mu.Lock()
	defer in.mu.Unlock()
	h := handedLists{Places: in.lane.Places(), Counted: in.counted, Plain: in.plain}
	for _, l := range in.lists {
		h.Lists = append(h.Lists, plan.List{Key: l.Key, Digest: l.Digest})
	}
	return h
}

// adoptLists takes over lists as they were handed over.
func (in *installer) adoptLists(h handedLists) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, l := range h.Lists {
		in.lists[l.Key] = heldList{l, in.listKey(l.Key)}
	}
	if h.Counted != nil {
		in.counted = h.Counted
	}
	if h.Plain != nil {
		in.plain = h.Plain
	}
	return in.lane.AdoptLists(h.Places)
}

// compiler compiles the rules of bridges, and remembers what it has compiled as
// long as they are not read anew.
type compiler map[string]compiled

type compiled struct {
	rules []ovs.Rule
	table *rules.Table
}

func (c compiler) compile(bridge string, all []ovs.Rule) *rules.Table {
	was, ok := c[bridge]
	if !ok || len(was.rules) != len(all) || len(all) > 0 && &was.rules[0] != &all[0] {
		t := rules.Compile(all)
		was = compiled{rules: all, table: &t}
		c[bridge] = was
	}
	return was.table
}
