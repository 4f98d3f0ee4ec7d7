// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// modelRule is an OpenFlow rule of the model; the first that matches decides.
type modelRule struct {
	port     int // -1: any
	src, dst ovs.MAC
	proto    uint8
	verdict  rules.Verdict // Pass: the frame goes elsewhere
}

// randomRules are those of half of the models.
func (m *model) randomRules(r *rand.Rand) {
	if r.IntN(2) == 0 {
		return
	}
	for range r.IntN(6) {
		rule := modelRule{port: -1, verdict: rules.Verdict(r.IntN(3))}
		if r.IntN(3) == 0 {
			rule.port = r.IntN(len(m.ports))
		}
		if r.IntN(2) == 0 {
			rule.dst = m.stations[r.IntN(len(m.stations))].mac
		}
		if r.IntN(2) == 0 {
			rule.src = m.stations[r.IntN(len(m.stations))].mac
		}
		if r.IntN(2) == 0 {
			rule.proto = []uint8{6, 17}[r.IntN(2)]
		}
		m.rules = append(m.rules, rule)
	}
	m.rules = append(m.rules, modelRule{port: -1, verdict: rules.Normal})
}

// ruled is what the rules make of a frame from a port: as UDP.
func (m model) ruled(port int, f plan.Frame) rules.Verdict {
	for _, r := range m.rules {
		if (r.port < 0 || r.port == port) && (r.src.IsZero() || r.src == f.Src) && (r.dst.IsZero() || r.dst == f.Dst) && r.proto != 6 {
			return r.verdict
		}
	}
	return rules.Normal
}

// lists puts the rules into the tables, as the plan does.
func (m model) lists(t *plan.Tables) {
	if len(m.rules) == 0 {
		return
	}
	lists := make(map[plan.ListKey]plan.List)
	add := func(k plan.ListKey, order int, r modelRule) {
		rule := plan.ListRule{Verdict: r.verdict, Order: uint32(order)}
		whole := ovs.MAC{255, 255, 255, 255, 255, 255}
		if !r.src.IsZero() {
			rule.Value.Src, rule.Mask.Src = r.src, whole
		}
		if !r.dst.IsZero() {
			rule.Value.Dst, rule.Mask.Dst = r.dst, whole
		}
		if r.proto != 0 {
			rule.Value.Proto, rule.Mask.Proto = r.proto, 0xff
		}
		l := lists[k]
		l.Key, l.Rules = k, append(l.Rules, rule)
		lists[k] = l
	}
	scoped := false
	for order, r := range m.rules {
		if r.port < 0 && !r.dst.IsZero() {
			scoped = true
			add(plan.ListKey{Kind: plan.DestinationRules, Bridge: "br0", Dst: r.dst}, order, r)
			continue
		}
		for i, p := range m.ports {
			for j := 0; j < p.members && (r.port < 0 || r.port == i); j++ {
				add(plan.ListKey{Kind: plan.PortRules, Bridge: "br0", Port: uint32(ofport(i, j))}, order, r)
			}
		}
	}
	for _, l := range lists {
		t.Lists = append(t.Lists, l)
	}
	for i, p := range m.ports {
		for j := range p.members {
			if q := t.Port(ifindex(i, j)); q != nil {
				q.Rule.Rules, q.Rule.Scoped = plan.ListKey{Kind: plan.PortRules, Bridge: "br0", Port: uint32(ofport(i, j))}, scoped
			}
		}
	}
}

// A pair whose frames the rules drop, or leave to OVS, is not asked about; when a
// list lets them through that should not, OVS tells.
func TestModelRules(t *testing.T) {
	asked, wrong := 0, 0
	verdicts := make(map[rules.Verdict]int)
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 3))
		m := randomModel(r)
		if len(m.rules) == 0 {
			continue
		}
		right, open := m.tables(), m.tables()
		for i := range open.Lists { // what is in no list passes
			open.Lists[i].Rules = []plan.ListRule{{Verdict: rules.Normal}}
		}
		for range 20 {
			q, ok := Choose(&right, r)
			if !ok {
				break
			}
			asked++
			if v := m.ruled(m.from(q), q.Frame); v != rules.Normal {
				t.Fatalf("seed %d: %s: the rules say %v", seed, q.Describe(&right), v)
			}
		}
		q, ok := Choose(&open, r)
		if !ok {
			continue
		}
		v := m.ruled(m.from(q), q.Frame)
		verdicts[v]++
		if v == rules.Normal {
			continue
		}
		if got := Verdict(&right, q); got.IfIndex != 0 || got.Drops != (v == rules.Drop) {
			t.Fatalf("seed %d: verdict %+v, the rules say %v", seed, got, v)
		}
		wrong++
		if outcome, said := Judge(&open, q, m.answer(t, q)); outcome != Differs {
			t.Fatalf("seed %d: outcome %d of wrong lists: %s, OVS %s", seed, outcome, q.Describe(&open), said)
		}
	}
	if asked < 3000 || wrong < 200 || verdicts[rules.Pass] < 50 || verdicts[rules.Drop] < 50 {
		t.Errorf("only %d questions, %d wrong lists: %v", asked, wrong, verdicts)
	}
}

// from is the port that the frame of a question comes from.
func (m model) from(q Question) int {
	for i, p := range m.ports {
		for j := range p.members {
			if name(i, j) == q.From {
				return i
			}
		}
	}
	panic(fmt.Sprintf("the frame comes from %q", q.From))
}

// Lists that were taken over from another process, and are not known yet, make no
// question.
func TestChooseUnknownLists(t *testing.T) {
	tables := lab()
	for i := range tables.Ports {
		tables.Ports[i].Rule.Rules = plan.ListKey{Kind: plan.PortRules, Bridge: "br0", Port: 1}
	}
	tables.Lists = []plan.List{{Key: plan.ListKey{Kind: plan.PortRules, Bridge: "br0", Port: 1}, Digest: "x"}}
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		if q, ok := Choose(&tables, r); ok {
			t.Fatalf("%+v", q)
		}
	}
	tables.Lists[0].Rules = []plan.ListRule{{Verdict: rules.Normal}}
	if _, ok := Choose(&tables, r); !ok {
		t.Error("no question by lists that are known")
	}
}
