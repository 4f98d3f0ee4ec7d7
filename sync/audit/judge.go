// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/trace"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// Answer is what OVS says of the frame of a question.
type Answer struct {
	Trace trace.Trace
	// Ports are those of the bridge's datapath.
	Ports []trace.Port
	// Bonds tells bonds by their recirculation id: the device that rows of their
	// stations name.
	Bonds map[uint32]int
}

// Outcome is what came of a question.
type Outcome int

// The outcomes.
const (
	// Agrees: OVS would send the frame where the lane does, with the same tag.
	Agrees Outcome = iota
	// Differs: it would do something else.
	Differs
	// Unclear: the answer does not say.
	Unclear
)

// Judge compares the verdict of a question with the answer, and says what OVS
// would do, for people. t holds the ports and the rows of both stations as they
// are in the kernel.
//
// Where the lane may differ from OVS by intention, it agrees: a bond's member
// is chosen by a hash of the sender's own, and a station that is declared
// (attached-mac) is sent to before OVS has learned it, also while another
// declared port shows its address, and from that port.
func Judge(t *plan.Tables, q Question, a Answer) (Outcome, string) {
	sent, others, err := a.Trace.Sent(q.Frame.VID)
	if err != nil {
		return Unclear, err.Error()
	}
	out := t.Port(q.Verdict.IfIndex)
	if out == nil {
		return Unclear, "the destination's port has left the lane"
	}
	j := judgement{t: t, q: q, a: a, bundle: bundle(*out)}
	said := j.describe(sent, others)
	i := slices.IndexFunc(t.Rows, func(r plan.Row) bool { return r.Key == q.Destination() })
	declared := i >= 0 && t.Rows[i].Declared
	in := t.Port(q.Frame.IfIndex)
	switch {
	case declared && a.Trace.Hairpin && len(sent)+len(others) == 0 && in != nil && in.Rule.Declared:
		return Agrees, said
	case len(others) > 0 || len(sent) == 0:
		return Differs, said
	case len(sent) == 1:
		return j.single(sent[0], declared), said
	case declared && slices.ContainsFunc(sent, j.agrees):
		return Agrees, said // OVS floods
	}
	return Differs, said
}

type judgement struct {
	t *plan.Tables
	q Question
	a Answer
	// bundle is the device that stands for the port that the lane sends to.
	bundle int
}

// single judges the one place where OVS would send the frame.
func (j *judgement) single(s trace.Sent, declared bool) Outcome {
	if j.agrees(s) {
		return Agrees
	}
	if s.Bond != 0 {
		if _, known := j.a.Bonds[s.Bond]; !known {
			return Unclear
		}
		return Differs
	}
	port, known := j.port(s.Port)
	if !known {
		return Unclear
	}
	p := j.device(port)
	switch {
	case p != nil && bundle(*p) == j.bundle || !declared:
		return Differs
	case p == nil:
		return Unclear // the port is not on the lane: it may be declared too
	case p.Rule.Declared:
		return Agrees
	}
	return Differs
}

// agrees tells whether the lane may send the frame to this place.
func (j *judgement) agrees(s trace.Sent) bool {
	if s.VLAN != j.q.Verdict.VID || s.PCP != j.q.Verdict.PCP {
		return false
	}
	if s.Bond != 0 {
		bond, known := j.a.Bonds[s.Bond]
		return known && bond == j.bundle
	}
	port, known := j.port(s.Port)
	if !known {
		return false
	}
	p := j.device(port)
	return p != nil && j.reaches(*p)
}

// reaches tells whether a device is where the lane may send frames to the
// destination: its port, or the legs of its bond. Of a bond with several legs
// any member will do: OVS may use one that the lane does not.
func (j *judgement) reaches(p plan.Port) bool {
	if bundle(p) != j.bundle {
		return false
	}
	first := j.t.Port(j.bundle)
	if first == nil || first.Rule.Legs == [plan.Legs]int{} {
		return p.IfIndex == j.q.Verdict.IfIndex
	}
	legs := first.Rule.Legs
	return slices.Contains(legs[:], p.IfIndex) ||
		slices.ContainsFunc(legs[:], func(leg int) bool { return leg != legs[0] })
}

// port finds a port of the datapath by its number.
func (j *judgement) port(number uint32) (trace.Port, bool) {
	i := slices.IndexFunc(j.a.Ports, func(p trace.Port) bool { return p.InDatapath && p.Number == number })
	if i < 0 {
		return trace.Port{}, false
	}
	return j.a.Ports[i], true
}

// device finds a port of OVS in the tables; nil when it is not on the lane.
func (j *judgement) device(port trace.Port) *plan.Port {
	i := slices.IndexFunc(j.t.Ports, func(p plan.Port) bool {
		return p.Name == port.Name && p.Rule.Bridge == port.Bridge && p.Mode != plan.Slave
	})
	if i < 0 {
		return nil
	}
	return &j.t.Ports[i]
}

// describe says what OVS would do.
func (j *judgement) describe(sent []trace.Sent, others []string) string {
	var parts []string
	for _, s := range sent {
		name := fmt.Sprintf("port %d of the datapath", s.Port)
		if s.Bond != 0 {
			name = fmt.Sprintf("the bond with Recirc-ID %d", s.Bond)
		} else if p, ok := j.port(s.Port); ok {
			name = p.Name
		}
		parts = append(parts, name+" "+tagged(s.VLAN))
	}
	said := "drops it"
	if j.a.Trace.Failed != "" {
		said = "drops it (" + j.a.Trace.Failed + ")"
	}
	if len(parts) > 0 {
		said = "sends it to " + strings.Join(parts, " and ")
	}
	if len(others) > 0 {
		said += ", and does " + strings.Join(others, ",")
	}
	return said
}

func tagged(v ovs.VLAN) string {
	if v == 0 {
		return "untagged"
	}
	return fmt.Sprintf("with tag %d", v)
}

// Describe says what the question is and what the lane does with its frame.
func (q Question) Describe(t *plan.Tables) string {
	to := fmt.Sprintf("device %d", q.Verdict.IfIndex)
	if p := t.Port(q.Verdict.IfIndex); p != nil {
		to = p.Name
	}
	return fmt.Sprintf("a frame of %s from %s to %s, VLAN %d: the lane sends it to %s %s",
		q.Frame.Src, q.From, q.Frame.Dst, q.VLAN, to, tagged(q.Verdict.VID))
}
