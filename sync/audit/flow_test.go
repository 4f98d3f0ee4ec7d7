// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/trace"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// pair is two bridges that share their flows: a VM on br-int, an uplink on br-ex. The
// VM's frames leave with a tag.
func pair() plan.Tables {
	rule := func(bridge string) plan.Rule {
		return plan.Rule{Bridge: bridge, Domain: "br-ex", Flows: true, Watch: true, Ingress: true, Egress: true, VLANs: ovs.AllVLANs(), MaxFrame: 1514}
	}
	row := func(n byte, ifindex int) plan.Row {
		return plan.Row{Key: plan.Key{Bridge: "br-ex", MAC: mac(n)}, IfIndex: ifindex, Target: true}
	}
	t := plan.Tables{
		Ports: []plan.Port{{IfIndex: 1, Name: "uplink", Mode: plan.Native, Rule: rule("br-ex")}, {IfIndex: 2, Name: "vm", Mode: plan.Native, Rule: rule("br-int")}},
		Rows:  []plan.Row{row(1, 1), row(2, 2)},
		Flows: []plan.Flow{
			{FlowKey: plan.FlowKey{IfIndex: 2, EtherType: 0x0800, Src: mac(2), Dst: mac(1)}, Egress: 1, Tag: plan.PushTag, VID: 100, PCP: 3},
			// Not one to ask about.
			{FlowKey: plan.FlowKey{IfIndex: 1, EtherType: 0x86dd, Tagged: true, FromVID: 100, Src: mac(1), Dst: mac(2)}, Egress: 2, Tag: plan.PopTag},
		},
	}
	t.Sort()
	return t
}

func flowQuestion(t *testing.T, tables *plan.Tables) Question {
	t.Helper()
	q, ok := Choose(tables, rand.New(rand.NewPCG(1, 2)))
	if !ok || q.Bridge != "br-int" || q.Domain != "br-ex" || q.From != "vm" || q.Verdict != (plan.Verdict{IfIndex: 1, VID: 100, PCP: 3, Reason: "lane"}) {
		t.Fatalf("question %+v, %v", q, ok)
	}
	return q
}

// What OVS says of a frame that a flow decides about must be the flow: port, tag and
// priority, also on another bridge.
func TestJudgeFlow(t *testing.T) {
	tables := pair()
	q := flowQuestion(t, &tables)
	ports := []trace.Port{{Bridge: "br-ex", Name: "uplink", OFPort: 1, Number: 7, InDatapath: true}, {Bridge: "br-int", Name: "vm", OFPort: 1, Number: 8, InDatapath: true},
		{Bridge: "br-int", Name: "other", OFPort: 2, Number: 9, InDatapath: true}}
	for name, tt := range map[string]struct {
		actions string
		want    Outcome
	}{
		"the same":         {"push_vlan(vid=100,pcp=3),7", Agrees},
		"another port":     {"push_vlan(vid=100,pcp=3),9", Differs},
		"another tag":      {"push_vlan(vid=101,pcp=3),7", Differs},
		"another priority": {"push_vlan(vid=100,pcp=0),7", Differs},
		"untagged":         {"7", Differs},
		"two ports":        {"push_vlan(vid=100,pcp=3),7,9", Differs},
		"drop":             {"drop", Differs},
		"conntrack":        {"ct(zone=1),recirc(0x5)", Differs},
		"an unknown port":  {"push_vlan(vid=100,pcp=3),70", Unclear},
	} {
		said, err := trace.Parse("Flow: udp\n\nFinal flow: unchanged\nMegaflow: recirc_id=0\nDatapath actions: " + tt.actions + "\n")
		if err != nil {
			t.Fatal(err)
		}
		if got, text := Judge(&tables, q, Answer{Trace: said, Ports: ports}); got != tt.want {
			t.Errorf("%s: %v (%s), want %v", name, got, text, tt.want)
		}
	}
}

// A flow that has changed since explains a difference.
func TestSuspectFlow(t *testing.T) {
	tables := pair()
	q := flowQuestion(t, &tables)
	s := Suspect(q, &tables, time.Time{})
	if s.Repaired || !s.Looked(&tables) || s.Due(q.Verdict) != Ask {
		t.Errorf("nothing has changed, and OVS is not asked again: %+v", s)
	}
	tables.Flows[1].VID = 200
	if s.Looked(&tables) {
		t.Error("another tag does not end it")
	}
	if tables.Flows = tables.Flows[:1]; s.Looked(&tables) {
		t.Error("a flow that is gone does not end it")
	}
}
