// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/trace"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// model is a bridge as OVS has it: its own idea of where stations are and what
// becomes of a frame to one. The tables are made of it, and then spoiled.
type model struct {
	ports    []modelPort
	stations []modelStation
	rules    []modelRule // none: all is NORMAL
}

type modelPort struct {
	mode     plan.VLANMode
	tag      ovs.VLAN
	members  int // 1, or more for a bond
	off      bool
	declared bool
}

type modelStation struct {
	mac      ovs.MAC
	vlan     ovs.VLAN
	port     int
	declared bool // in the database alone: OVS has not learned it
}

// The numbers of member m of port p, and what it is called.
func ifindex(p, m int) int   { return 100 + 10*p + m }
func ofport(p, m int) int    { return 10 + 3*p + m }
func number(p, m int) uint32 { return uint32(40 - 3*p - m) }
func name(p, m int) string   { return fmt.Sprintf("p%d-%d", p, m) }

// randomModel has some ports of each kind, and stations on them in VLANs that
// they carry.
func randomModel(r *rand.Rand) model {
	var m model
	for range 3 + r.IntN(4) {
		p := modelPort{mode: plan.VLANMode(r.IntN(4)), members: 1, declared: r.IntN(5) == 0, off: r.IntN(6) == 0}
		if p.mode != plan.Trunk {
			p.tag = ovs.VLAN(10 * (1 + r.IntN(2)))
		}
		if r.IntN(4) == 0 {
			p.members, p.declared = 2, false
		}
		m.ports = append(m.ports, p)
	}
	for i := range 3 + r.IntN(8) {
		s := modelStation{mac: ovs.MAC{0x52, 0x54, 5: byte(i + 1)}, port: r.IntN(len(m.ports))}
		p := m.ports[s.port]
		s.vlan = ovs.VLAN(10 * r.IntN(3))
		if p.mode == plan.Access || p.mode != plan.Trunk && s.vlan == 0 {
			s.vlan = p.tag
		}
		if p.declared && r.IntN(2) == 0 {
			s.declared = true
		}
		m.stations = append(m.stations, s)
	}
	m.randomRules(r)
	return m
}

// tables are those that the plan would make.
func (m model) tables() plan.Tables {
	var t plan.Tables
	for i, p := range m.ports {
		if p.off {
			continue
		}
		for j := range p.members {
			rule := plan.Rule{Bridge: "br0", Watch: true, Ingress: true, Egress: true, VLANs: ovs.AllVLANs(), MaxFrame: 1514,
				VLANMode: p.mode, VID: p.tag, Declared: p.declared}
			if p.members > 1 {
				rule.Bundle = ifindex(i, 0)
				for leg := range rule.Legs {
					if j == 0 {
						rule.Legs[leg] = ifindex(i, leg%p.members)
					}
				}
			}
			t.Ports = append(t.Ports, plan.Port{IfIndex: ifindex(i, j), Name: name(i, j), Mode: plan.Native, Rule: rule})
		}
	}
	for _, s := range m.stations {
		if !m.ports[s.port].off {
			t.Rows = append(t.Rows, plan.Row{Key: plan.Key{Bridge: "br0", VLAN: s.vlan, MAC: s.mac}, IfIndex: ifindex(s.port, 0),
				Target: true, Declared: s.declared})
		}
	}
	t.Sort()
	m.lists(&t)
	t.Sort()
	return t
}

// answer is what OVS says, in its own words.
func (m model) answer(t *testing.T, q Question) Answer {
	t.Helper()
	a := Answer{Bonds: make(map[uint32]int)}
	in := -1
	show := "netdev@ovs-netdev: hit:0 missed:0\n  br0:\n    br0 65534/1: (tap)\n"
	for i, p := range m.ports {
		for j := range p.members {
			show += fmt.Sprintf("    %s %d/%d: (system)\n", name(i, j), ofport(i, j), number(i, j))
			if name(i, j) == q.From {
				in = i
			}
		}
		if p.members > 1 {
			a.Bonds[uint32(i+1)] = ifindex(i, 0)
		}
	}
	if in < 0 {
		t.Fatalf("the frame comes from %q", q.From)
	}
	vlan := q.Frame.VID
	if vlan == 0 {
		vlan = m.ports[in].tag
	}
	var actions []string
	send := func(i int, tag ovs.VLAN) ovs.VLAN {
		p := m.ports[i]
		want := vlan
		if p.mode == plan.Access || p.mode == plan.NativeUntagged && vlan == p.tag {
			want = 0
		}
		if tag != 0 && want != tag {
			actions = append(actions, "pop_vlan")
		}
		if want != 0 && want != tag {
			actions = append(actions, fmt.Sprintf("push_vlan(vid=%d,pcp=0)", want))
		}
		if p.members > 1 {
			actions = append(actions, fmt.Sprintf("hash(l4(0)),recirc(%#x)", i+1))
		} else {
			actions = append(actions, fmt.Sprint(number(i, 0)))
		}
		return want
	}
	verdict := m.ruled(in, q.Frame)
	known := verdict != rules.Normal
	if verdict == rules.Pass {
		actions = []string{"set(eth(dst=00:00:00:00:00:01))", "1"}
	}
	for _, s := range m.stations {
		if !known && s.mac == q.Frame.Dst && s.vlan == vlan && !s.declared {
			known = true
			if s.port != in {
				send(s.port, q.Frame.VID)
			}
		}
	}
	for i, tag := 0, q.Frame.VID; i < len(m.ports) && !known; i++ {
		if i != in && (m.ports[i].mode != plan.Access || m.ports[i].tag == vlan) {
			tag = send(i, tag)
		}
	}
	if len(actions) == 0 {
		actions = []string{"drop"}
	}
	var err error
	text := "Flow: udp\n\nFinal flow: unchanged\nMegaflow: recirc_id=0,eth,ip\nDatapath actions: " + strings.Join(actions, ",")
	if a.Trace, err = trace.Parse(text); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if a.Ports, err = trace.ParsePorts(show, "br0"); err != nil {
		t.Fatalf("%v: %s", err, show)
	}
	return a
}

// Of tables that are right OVS says the same, whichever pair is chosen. Of a row
// that leads elsewhere, and of a port that tags otherwise, it does not.
func TestModel(t *testing.T) {
	asked, wrongRows, wrongTags := 0, 0, 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		m := randomModel(r)
		right := m.tables()
		q, ok := Choose(&right, r)
		if !ok {
			continue
		}
		asked++
		if outcome, said := Judge(&right, q, m.answer(t, q)); outcome != Agrees {
			t.Fatalf("seed %d: outcome %d of right tables: %s, OVS %s", seed, outcome, q.Describe(&right), said)
		}

		spoiled := m.tables()
		row := spoiled.Row(q.Destination())
		if row.IfIndex = ifindex(r.IntN(len(m.ports)), 0); row.IfIndex != right.Row(q.Destination()).IfIndex && !row.Declared {
			wrong := q
			wrong.Verdict = Verdict(&spoiled, q)
			if wrong.Verdict.IfIndex != 0 {
				wrongRows++
				if outcome, said := Judge(&spoiled, wrong, m.answer(t, wrong)); outcome != Differs {
					t.Fatalf("seed %d: outcome %d of a wrong row: %s, OVS %s", seed, outcome, wrong.Describe(&spoiled), said)
				}
			}
		}

		spoiled = m.tables()
		out := spoiled.Port(q.Verdict.IfIndex)
		out.Rule.VLANMode, out.Rule.VID = plan.VLANMode(r.IntN(4)), ovs.VLAN(10*(1+r.IntN(2)))
		wrong := q
		wrong.Verdict = Verdict(&spoiled, q)
		if wrong.Verdict.IfIndex != 0 && wrong.Verdict.VID != q.Verdict.VID {
			wrongTags++
			if outcome, said := Judge(&spoiled, wrong, m.answer(t, wrong)); outcome != Differs {
				t.Fatalf("seed %d: outcome %d of a wrong tag: %s, OVS %s", seed, outcome, wrong.Describe(&spoiled), said)
			}
		}
	}
	if asked < 500 || wrongRows < 200 || wrongTags < 100 {
		t.Errorf("only %d questions, %d wrong rows, %d wrong tags", asked, wrongRows, wrongTags)
	}
}
