// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/trace"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

func mac(n byte) ovs.MAC { return ovs.MAC{0x52, 0x54, 5: n} }

func at(n byte, vlan ovs.VLAN, ifindex int) plan.Row {
	return plan.Row{Key: plan.Key{Bridge: "br0", VLAN: vlan, MAC: mac(n)}, IfIndex: ifindex, Target: true}
}

func port(ifindex int, name string, mode plan.VLANMode, vid ovs.VLAN) plan.Port {
	return plan.Port{IfIndex: ifindex, Name: name, Mode: plan.Native, Rule: plan.Rule{
		Bridge: "br0", Watch: true, Ingress: true, Egress: true, VLANs: ovs.AllVLANs(), MaxFrame: 1514, VLANMode: mode, VID: vid,
	}}
}

// lab is a bridge with stations 1 and 2 on access ports, 3 behind a trunk, and 4
// behind a bond of two members.
func lab() plan.Tables {
	t := plan.Tables{
		Ports: []plan.Port{
			port(1, "v1", plan.Access, 10), port(2, "v2", plan.Access, 10), port(3, "up", plan.Trunk, 0),
			port(4, "b0", plan.Trunk, 0), port(5, "b1", plan.Trunk, 0), port(6, "v6", plan.Access, 10),
		},
		Rows: []plan.Row{at(1, 10, 1), at(2, 10, 2), at(3, 10, 3), at(4, 10, 4)},
	}
	t.Ports[3].Rule.Bundle, t.Ports[4].Rule.Bundle = 4, 4
	for i := range t.Ports[3].Rule.Legs {
		t.Ports[3].Rule.Legs[i] = 4 + i%2
	}
	return t
}

func TestJudge(t *testing.T) {
	var ports []trace.Port
	for i, name := range []string{"br0", "v1", "v2", "up", "b0", "b1", "v6", "vx"} {
		ports = append(ports, trace.Port{Bridge: "br0", Name: name, OFPort: i, InDatapath: true, Number: uint32(i + 20)})
	}
	const v2, up, b0, b1, v6, vx = "22", "23", "24", "25", "26", "27"
	for _, tt := range []struct {
		name    string
		dst     byte // the destination, from station 1
		change  func(t *plan.Tables)
		actions string
		hairpin bool
		want    Outcome
		said    string
	}{
		{name: "the same", dst: 2, actions: v2, want: Agrees, said: "sends it to v2 untagged"},
		{name: "with a tag", dst: 3, actions: "push_vlan(vid=10,pcp=0)," + up, want: Agrees, said: "sends it to up with tag 10"},
		{name: "without a tag", dst: 3, actions: up, want: Differs, said: "sends it to up untagged"},
		{name: "another tag", dst: 3, actions: "push_vlan(vid=20,pcp=0)," + up, want: Differs, said: "with tag 20"},
		{name: "a priority", dst: 3, actions: "push_vlan(vid=10,pcp=3)," + up, want: Differs},
		{name: "another port", dst: 2, actions: v6, want: Differs, said: "sends it to v6 untagged"},
		{name: "a port that is not on the lane", dst: 2, actions: vx, want: Differs, said: "sends it to vx untagged"},
		{name: "a port that OVS does not list", dst: 2, actions: "99", want: Unclear, said: "port 99 of the datapath"},
		{name: "flood", dst: 2, actions: v2 + "," + v6, want: Differs, said: "sends it to v2 untagged and v6 untagged"},
		{name: "twice", dst: 2, actions: v2 + "," + v2, want: Differs},
		{name: "drop", dst: 2, actions: "drop", want: Differs, said: "drops it"},
		{name: "failed", dst: 2, actions: v2 + "\nTranslation failed (Recursion too deep), packet is dropped.", want: Differs, said: "drops it (Recursion too deep)"},
		{name: "more than sent", dst: 2, actions: "userspace(pid=1)," + v2, want: Differs, said: "and does userspace(pid=1)"},
		{name: "rewritten", dst: 2, actions: "set(eth(dst=00:00:00:00:00:01))," + v2, want: Differs},
		{name: "tags that don't match", dst: 2, actions: "pop_vlan," + v2, want: Unclear},

		{name: "any leg of a bond", dst: 4, actions: "push_vlan(vid=10,pcp=0)," + b1, want: Agrees},
		{name: "a bond by its hash", dst: 4, actions: "push_vlan(vid=10,pcp=0),hash(l4(0)),recirc(0x7)", want: Agrees},
		{name: "a bond by its number", dst: 4, actions: "push_vlan(vid=10,pcp=0),lb_output(7)", want: Agrees},
		{name: "a bond without a tag", dst: 4, actions: "hash(l4(0)),recirc(0x7)", want: Differs},
		{name: "another bond", dst: 4, actions: "push_vlan(vid=10,pcp=0),lb_output(8)", want: Differs},
		{name: "a bond in place of a port", dst: 3, actions: "push_vlan(vid=10,pcp=0),lb_output(7)", want: Differs},
		{name: "a bond that is not known", dst: 4, actions: "push_vlan(vid=10,pcp=0),lb_output(9)", want: Unclear, said: "the bond with Recirc-ID 9"},
		{name: "the only leg", dst: 4, change: oneLeg, actions: "push_vlan(vid=10,pcp=0)," + b0, want: Agrees},
		{name: "another member than the only leg", dst: 4, change: oneLeg, actions: "push_vlan(vid=10,pcp=0)," + b1, want: Differs},
		{name: "a hash though there is one leg", dst: 4, change: oneLeg, actions: "push_vlan(vid=10,pcp=0),lb_output(7)", want: Agrees},

		{name: "declared, not learned", dst: 2, change: declare, actions: "push_vlan(vid=10,pcp=0)," + up + ",pop_vlan," + v2 + "," + v6, want: Agrees},
		{name: "declared, and flooded elsewhere", dst: 2, change: declare, actions: v6 + "," + vx, want: Differs},
		{name: "declared, and dropped", dst: 2, change: declare, actions: "drop", want: Differs},
		{name: "declared, and spoofed by the source's own declared port", dst: 2, change: func(t *plan.Tables) {
			declare(t)
			t.Port(1).Rule.Declared = true
		}, hairpin: true, actions: "drop", want: Agrees, said: "drops it"},
		{name: "declared, and dropped though the source's port is declared", dst: 2, change: func(t *plan.Tables) {
			declare(t)
			t.Port(1).Rule.Declared = true
		}, actions: "drop", want: Differs},
		{name: "declared, and spoofed by the source's own undeclared port", dst: 2, change: declare, hairpin: true, actions: "drop", want: Differs},
		{name: "not declared, and on the source's own declared port", dst: 2, change: func(t *plan.Tables) {
			t.Port(1).Rule.Declared = true
		}, hairpin: true, actions: "drop", want: Differs},
		{name: "declared, and learned on an undeclared port", dst: 2, change: declare, actions: v6, want: Differs},
		{name: "declared, and spoofed on a declared port", dst: 2, change: func(t *plan.Tables) {
			declare(t)
			t.Port(6).Rule.Declared = true
		}, actions: v6, want: Agrees},
		{name: "declared, and on a port that is not on the lane", dst: 2, change: declare, actions: vx, want: Unclear},
		{name: "declared, with a tag", dst: 2, change: declare, actions: "push_vlan(vid=10,pcp=0)," + v2, want: Differs},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tables := lab()
			if tt.change != nil {
				tt.change(&tables)
			}
			q := Question{Bridge: "br0", VLAN: 10, From: "v1", Frame: plan.Frame{IfIndex: 1, Src: mac(1), Dst: mac(tt.dst), Len: frameLength}}
			if q.Verdict = Verdict(&tables, q); q.Verdict.IfIndex == 0 {
				t.Fatalf("the lane passes the frame: %+v", q.Verdict)
			}
			hairpin := ""
			if tt.hairpin {
				hairpin = " 0. priority 0\n    NORMAL\n     -> learned port is input port, dropping\n"
			}
			tr, err := trace.Parse("Flow: a\n" + hairpin + "Final flow: unchanged\nMegaflow: b\nDatapath actions: " + tt.actions)
			if err != nil {
				t.Fatal(err)
			}
			got, said := Judge(&tables, q, Answer{Trace: tr, Ports: ports, Bonds: map[uint32]int{7: 4, 8: 90}})
			if got != tt.want || !strings.Contains(said, tt.said) {
				t.Errorf("outcome %d, want %d; OVS %s, want %q", got, tt.want, said, tt.said)
			}
		})
	}
}

func oneLeg(t *plan.Tables) {
	for i := range t.Port(4).Rule.Legs {
		t.Port(4).Rule.Legs[i] = 4
	}
}

func declare(t *plan.Tables) { t.Rows[1].Declared = true }

// Every pair that takes the lane is asked about now and then, by each of the
// ports that it may come from, and no other.
func TestChoose(t *testing.T) {
	tables := lab()
	tables.Port(6).Rule.Ingress = false
	slave := port(7, "s0", plan.Trunk, 0)
	slave.Mode, slave.Rule.Bundle = plan.Slave, 3
	native := port(8, "nt", plan.NativeTagged, 10)
	native.Rule.Observe = true
	tables.Ports = append(tables.Ports, slave, native)
	tables.Rows = append(tables.Rows, at(5, 20, 3), at(6, 10, 6), at(8, 10, 8), plan.Row{Key: at(9, 10, 1).Key, IfIndex: 1})
	moved := at(10, 10, 2)
	moved.Moved = true
	tables.Rows = append(tables.Rows, moved)

	want := make(map[[2]byte]bool)
	ifindexes := map[byte]int{1: 1, 2: 2, 3: 3, 4: 4, 6: 6, 8: 8, 9: 1}
	for src, from := range ifindexes {
		for dst, to := range ifindexes {
			if from != to && src != 6 && dst != 9 {
				want[[2]byte{src, dst}] = true
			}
		}
	}
	got := make(map[[2]byte]bool)
	from := make(map[string]bool)
	tags := make(map[ovs.VLAN]bool)
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		q, ok := Choose(&tables, r)
		if !ok {
			t.Fatal("no question")
		}
		if q.Verdict.Reason != "lane" || q.VLAN != 10 || q.Bridge != "br0" {
			t.Fatalf("question %+v", q)
		}
		got[[2]byte{q.Frame.Src[5], q.Frame.Dst[5]}] = true
		from[q.From] = true
		if q.From == "nt" {
			tags[q.Frame.VID] = true
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("pairs (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]bool{"v1": true, "v2": true, "up": true, "b0": true, "b1": true, "nt": true}, from); d != "" {
		t.Errorf("ports (-want +got):\n%s", d)
	}
	if !tags[0] || !tags[10] {
		t.Errorf("from the native-tagged port only %v", tags)
	}
}

func TestChooseNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	one := lab()
	one.Rows = one.Rows[:1]
	closed := lab()
	for i := range closed.Ports {
		closed.Ports[i].Rule = plan.Rule{Bridge: "br0"}
	}
	for name, tables := range map[string]plan.Tables{
		"nothing": {}, "one station": one, "closed ports": closed, "no ports": {Rows: lab().Rows},
	} {
		if q, ok := Choose(&tables, r); ok {
			t.Errorf("%s: %+v", name, q)
		}
	}
	// A bridge without a pair does not hide the others.
	two := lab()
	two.Rows = append(two.Rows, plan.Row{Key: plan.Key{Bridge: "br1", MAC: mac(1)}, IfIndex: 9, Target: true})
	for range 100 {
		if q, ok := Choose(&two, r); !ok || q.Bridge != "br0" {
			t.Fatalf("%+v, %v", q, ok)
		}
	}
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestSuspicion(t *testing.T) {
	tables := lab()
	q := Question{Bridge: "br0", VLAN: 10, From: "v1", Frame: plan.Frame{IfIndex: 1, Src: mac(1), Dst: mac(2), Len: frameLength}}
	q.Verdict = Verdict(&tables, q)
	begin := func(t *testing.T) *Suspicion {
		s := Suspect(q, &tables, noon)
		if s.Repaired {
			t.Error("tables that are as planned count as repaired")
		}
		return s
	}
	// strike goes through a look and a question, and returns whether it lasted.
	strike := func(t *testing.T, s *Suspicion, now time.Time) bool {
		t.Helper()
		if next := s.Due(q.Verdict); next != Wait {
			t.Fatalf("before the look: %d", next)
		}
		if !s.Looked(&tables) {
			t.Fatal("a look that found nothing new explains it")
		}
		if next := s.Due(q.Verdict); next != Ask {
			t.Fatalf("after the look: %d", next)
		}
		lasted, goOn := s.Answered(Differs, now)
		if !goOn {
			t.Fatal("ended")
		}
		return lasted
	}
	t.Run("lasts", func(t *testing.T) {
		s := begin(t)
		if strike(t, s, noon.Add(Lasting/2)) || !strike(t, s, noon.Add(Lasting)) {
			t.Error("want it to last with the third answer")
		}
	})
	t.Run("too early", func(t *testing.T) {
		s := begin(t)
		for i := range 5 {
			if strike(t, s, noon.Add(time.Duration(i)*time.Millisecond)) {
				t.Error("it has lasted for some milliseconds only")
			}
		}
		if !strike(t, s, noon.Add(Lasting)) {
			t.Error("it has lasted")
		}
	})
	t.Run("too few", func(t *testing.T) {
		if s := begin(t); strike(t, s, noon.Add(10*Lasting)) {
			t.Error("OVS was asked twice only")
		}
	})
	t.Run("OVS agrees", func(t *testing.T) {
		s := begin(t)
		s.Looked(&tables)
		if lasted, goOn := s.Answered(Agrees, noon.Add(Lasting)); lasted || goOn {
			t.Error(lasted, goOn)
		}
	})
	t.Run("unclear", func(t *testing.T) {
		s := begin(t)
		s.Looked(&tables)
		asked := 0
		for s.Due(q.Verdict) == Ask {
			if lasted, goOn := s.Answered(Unclear, noon.Add(time.Hour)); lasted || !goOn {
				t.Error(lasted, goOn)
			}
			if asked++; asked > 100 {
				t.Fatal("asked for ever")
			}
		}
		if next := s.Due(q.Verdict); asked < Strikes || next != Drop {
			t.Errorf("asked %d times, then %d", asked, next)
		}
	})
	t.Run("a row in doubt", func(t *testing.T) {
		s := begin(t)
		s.Looked(&tables)
		if next := s.Due(plan.Verdict{Reason: "moved"}); next != Wait {
			t.Error(next)
		}
		if next := s.Due(q.Verdict); next != Ask {
			t.Error(next)
		}
	})
	t.Run("another verdict", func(t *testing.T) {
		s := begin(t)
		s.Looked(&tables)
		if next := s.Due(plan.Verdict{IfIndex: 6, Reason: "lane"}); next != Drop {
			t.Error(next)
		}
	})
	// What a look may find.
	for name, change := range map[string]func(*plan.Tables){
		"the destination moved":    func(p *plan.Tables) { p.Rows[1].IfIndex = 6 },
		"the destination is gone":  func(p *plan.Tables) { p.Rows = append(p.Rows[:1], p.Rows[2:]...) },
		"the source moved":         func(p *plan.Tables) { p.Rows[0].IfIndex = 6 },
		"the bridge is off":        func(p *plan.Tables) { *p = plan.Tables{} },
		"the target is retagged":   func(p *plan.Tables) { p.Port(2).Rule.VID = 20 },
		"the source's port closed": func(p *plan.Tables) { p.Port(1).Rule.Ingress = false },
	} {
		t.Run(name, func(t *testing.T) {
			s := begin(t)
			planned := lab()
			change(&planned)
			if s.Looked(&planned) {
				t.Error("the look does not explain it")
			}
		})
	}
	t.Run("what others do is no change", func(t *testing.T) {
		s := begin(t)
		planned := lab()
		planned.Rows = append(planned.Rows, at(9, 10, 6))
		planned.Port(3).Rule.VID = 7
		if !s.Looked(&planned) {
			t.Error("explained by another pair")
		}
	})
	t.Run("tables that are not as planned", func(t *testing.T) {
		spoiled := lab()
		spoiled.Rows[1].IfIndex = 6
		wrong := q
		wrong.Verdict = Verdict(&spoiled, q)
		if s := Suspect(wrong, &tables, noon); !s.Repaired {
			t.Error("not noticed")
		}
	})
}
