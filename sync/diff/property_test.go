// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// The universe is small enough to try every frame, and rich enough for tables
// to share keys and differ in all that a port or row can differ in.
var (
	vlans    = []ovs.VLAN{0, 10, 20}
	devices  = []int{1, 2, 3, 4}
	stations = []byte{1, 2, 3}
)

type random struct{ *rand.Rand }

func pick[T any](r random, list ...T) T { return list[r.IntN(len(list))] }

func (r random) odds(n int) bool { return r.IntN(n) == 0 }

func (r random) rule(bridge string) plan.Rule {
	p := port(0, bridge)
	for _, change := range []func(*plan.Port){observed, shut, access(10), access(20)} {
		if r.odds(10) {
			change(&p)
		}
	}
	if r.odds(6) {
		p.Rule.VLANMode, p.Rule.VID = pick(r, plan.NativeTagged, plan.NativeUntagged), pick(r, vlans...)
		p.Rule.VLANs = ovs.VLANs(vlans...)
	}
	p.Rule.Ingress = p.Rule.Ingress && !r.odds(8)
	p.Rule.Egress = p.Rule.Egress && !r.odds(8)
	p.Rule.Protected = r.odds(4)
	if r.odds(3) {
		p.Rule = plan.Rule{Bridge: bridge, Watch: true, Ingress: !r.odds(8), Egress: !r.odds(8), Flows: true, Domain: pick(r, "", "", "br0"), VLANs: ovs.AllVLANs(), MaxFrame: 1514}
	}
	return p.Rule
}

func (r random) port(ifindex int) plan.Port {
	return plan.Port{
		IfIndex: ifindex, Name: names[ifindex],
		Mode: pick(r, plan.Native, plan.Native, plan.Native, plan.Native, plan.Veth, plan.Generic, plan.Target),
		Rule: r.rule(pick(r, "br0", "br0", "br1")),
	}
}

// rowOn makes a row at one of the ports; most are of that port's bridge.
func (r random) rowOn(t *plan.Tables) plan.Row {
	p := pick(r, t.Ports...)
	return row(pick(r, stations...), p.Rule.InDomain(), pick(r, vlans...), p.IfIndex, func(row *plan.Row) { row.Target = !r.odds(4) })
}

// put adds a row or replaces that of its key.
func put(t *plan.Tables, row plan.Row) {
	if old := t.Row(row.Key); old != nil {
		*old = row
		return
	}
	t.Rows = append(t.Rows, row)
	t.Sort()
}

// want makes tables as plan.Build does: rows are on ports of their bridge.
func (r random) want() plan.Tables {
	var t plan.Tables
	for _, d := range devices {
		if !r.odds(4) {
			t.Ports = append(t.Ports, r.port(d))
		}
	}
	for range r.IntN(30) {
		if len(t.Ports) > 0 {
			put(&t, r.rowOn(&t))
		}
	}
	if r.odds(2) {
		t.Lists = r.lists()
	}
	if r.odds(3) { // a domain of bridges that use flows
		for i := range t.Ports {
			rule := &t.Ports[i].Rule
			*rule = plan.Rule{Bridge: rule.Bridge, Watch: true, Ingress: true, Egress: true, Flows: true, Domain: "br0", VLANs: ovs.AllVLANs(), MaxFrame: 1514}
		}
		for _, n := range stations {
			if len(t.Ports) > 0 {
				put(&t, row(n, "br0", 0, pick(r, t.Ports...).IfIndex))
			}
		}
	}
	for range r.IntN(60) {
		r.putFlow(&t)
	}
	t.Sort()
	return listed(t)
}

// have changes tables into what the kernel may hold instead: an earlier plan
// with all that has happened to it since.
func (r random) have(want plan.Tables) plan.Tables {
	if r.odds(6) {
		want = r.want()
	}
	var t plan.Tables
	for _, p := range want.Ports {
		switch {
		case r.odds(5): // it is new
			continue
		case r.odds(5):
			p.Rule = r.rule(p.Rule.Bridge)
		case r.odds(8):
			p = r.port(p.IfIndex)
		case r.odds(8):
			shut(&p)
		}
		t.Ports = append(t.Ports, p)
	}
	for _, d := range devices {
		if want.Port(d) == nil && r.odds(2) { // it goes
			t.Ports = append(t.Ports, r.port(d))
		}
	}
	if t.Lists = want.Lists; r.odds(3) {
		t.Lists = r.earlier(want.Lists)
	}
	t.Sort()
	t = listed(t)
	if len(t.Ports) == 0 {
		return t
	}
	for _, f := range want.Flows {
		switch {
		case t.Port(f.IfIndex) == nil || t.Port(f.Egress) == nil, r.odds(4):
			continue
		case r.odds(4):
			f.Egress = pick(r, t.Ports...).IfIndex
		case r.odds(8):
			f.KeepAlive++
		case r.odds(8):
			f.Tag, f.VID = plan.PushTag, 20
		}
		t.Flows = append(t.Flows, f)
	}
	for range r.IntN(10) {
		r.putFlow(&t)
	}
	for _, row := range want.Rows {
		switch p := t.Port(row.IfIndex); {
		case p == nil:
			continue // its port is new, or the kernel took it with its port
		case r.odds(5):
			continue
		case r.odds(5):
			row.IfIndex = pick(r, t.Ports...).IfIndex
		case r.odds(8):
			row.Target = !row.Target
		}
		row.Moved = r.odds(5)
		put(&t, row)
	}
	for range r.IntN(4) {
		row := r.rowOn(&t)
		row.Moved = r.odds(3)
		put(&t, row)
	}
	return t
}

// putFlow adds a flow between two of the ports, unless there is one of its key.
func (r random) putFlow(t *plan.Tables) {
	if len(t.Ports) == 0 {
		return
	}
	f := flow(pick(r, t.Ports...).IfIndex, pick(r, vlans...), pick(r, stations...), pick(r, stations...), pick(r, t.Ports...).IfIndex)
	src, dst := t.Row(plan.Key{Bridge: "br0", MAC: f.Src}), t.Row(plan.Key{Bridge: "br0", MAC: f.Dst})
	if src != nil && dst != nil && r.odds(2) { // where its stations are
		f.IfIndex, f.Egress = src.IfIndex, dst.IfIndex
	}
	if r.odds(2) {
		f.Tag, f.VID = plan.PushTag, pick(r, vlans[1:]...)
		if f.Tagged {
			f.Tag = pick(r, plan.PopTag, plan.SetTag)
		}
	}
	if t.Flow(f.FlowKey) == nil {
		t.Flows = append(t.Flows, f)
		t.Sort()
	}
}

// frames are all that can be told apart in the universe, with one device and
// one station that no table knows, and two kinds of payload.
func frames() []plan.Frame {
	var list []plan.Frame
	for _, in := range append([]int{9}, devices...) {
		for _, vid := range vlans {
			for _, src := range append([]byte{9}, stations...) {
				for _, dst := range append([]byte{9}, stations...) {
					for port := range uint16(2) {
						list = append(list, plan.Frame{
							IfIndex: in, VID: vid, Src: row(src, "", 0, 0).MAC, Dst: row(dst, "", 0, 0).MAC, Len: 60,
							Carries: ovs.Fields{TPDst: port},
						})
					}
				}
			}
		}
	}
	return list
}

// lane is a verdict without the reason of a pass, which no one can tell from
// the frame.
type lane struct {
	ifindex int
	vid     ovs.VLAN
	drops   bool
}

func verdict(t *plan.Tables, f plan.Frame) lane {
	v := t.Decide(f)
	return lane{v.IfIndex, v.VID, v.Drops}
}

var pass lane

// checkPrefixes says which step is not safe; "" when all are. It returns the
// number of frames that took the lane at the end, and of those that were dropped.
func checkPrefixes(have, want plan.Tables, ops []Op) (lanes, drops int, wrong string) {
	universe := frames()
	before, after := make([]lane, len(universe)), make([]lane, len(universe))
	for i, f := range universe {
		before[i], after[i] = verdict(&have, f), verdict(&want, f)
	}
	state := have
	for n := 0; ; n++ {
		opening := n == len(ops) || ops[n].Kind >= AddPort
		for i, f := range universe {
			got := verdict(&state, f)
			switch {
			case got == pass || got == after[i]:
			case got == before[i] && !opening:
			case got == before[i]:
				return 0, 0, fmt.Sprintf("frame %+v is still treated as before when step %d opens", f, n)
			default:
				return 0, 0, fmt.Sprintf("frame %+v: %+v after %d steps, neither %+v as before nor %+v as it should be", f, got, n, before[i], after[i])
			}
		}
		for _, r := range state.Rows {
			if state.Port(r.IfIndex) == nil {
				return 0, 0, fmt.Sprintf("after %d steps row %v points at no port", n, r)
			}
		}
		if n == len(ops) {
			break
		}
		if n > 0 && ops[n].Kind < ops[n-1].Kind {
			return 0, 0, fmt.Sprintf("step %d (%v) comes after %v", n, ops[n], ops[n-1])
		}
		for _, f := range state.Flows {
			if state.Port(f.IfIndex) == nil || state.Port(f.Egress) == nil {
				return 0, 0, fmt.Sprintf("after %d steps flow %v points at no port", n, f)
			}
		}
		for _, wrong := range []string{checkStep(&state, ops[n]), checkListStep(&state, ops[n])} {
			if wrong != "" {
				return 0, 0, fmt.Sprintf("step %d: %s", n, wrong)
			}
		}
		state = Apply(state, ops[n])
	}
	if diff := cmp.Diff(want, state); diff != "" {
		return 0, 0, "tables after all steps (-want +got):\n" + diff
	}
	for _, l := range after {
		switch {
		case l.drops:
			drops++
		case l != pass:
			lanes++
		}
	}
	return lanes, drops, ""
}

// checkStep: a step finds what it works on.
func checkStep(state *plan.Tables, o Op) string {
	port, row, flow := state.Port(o.Port.IfIndex), state.Row(o.Row.Key), state.Flow(o.Flow.FlowKey)
	switch o.Kind {
	case DeleteFlow:
		if flow == nil {
			return fmt.Sprintf("%v: the flow is not there", o)
		}
	case PutFlow:
		if flow != nil && flow.KeepAlive == o.Flow.KeepAlive || state.Port(o.Flow.IfIndex) == nil || state.Port(o.Flow.Egress) == nil {
			return fmt.Sprintf("%v: the flow is there, or one of its ports is not", o)
		}
	case ClosePort, RemovePort, SetRule:
		if port == nil {
			return fmt.Sprintf("%v: the port is not there", o)
		}
	case AddPort:
		if port != nil {
			return fmt.Sprintf("%v: the port is there already", o)
		}
	case MarkRow, DeleteRow:
		if row == nil {
			return fmt.Sprintf("%v: the row is not there", o)
		}
	case PutRow:
		if state.Port(o.Row.IfIndex) == nil {
			return fmt.Sprintf("%v: it points at a port that is not there", o)
		}
		if row != nil && !row.Moved {
			return fmt.Sprintf("%v: the row that is there was not marked", o)
		}
	}
	return ""
}

// checkFew says which step is not needed: what does not change is not touched,
// and each change has its least number of steps.
func checkFew(have, want plan.Tables, ops []Op) string {
	ports, rows, flows := make(map[int]int), make(map[plan.Key]int), make(map[plan.FlowKey]int)
	for _, o := range ops {
		switch o.Kind {
		case DeleteFlow, PutFlow:
			flows[o.Flow.FlowKey]++
		case MarkRow, DeleteRow, PutRow:
			rows[o.Row.Key]++
		case DeleteList, PutList:
		default:
			ports[o.Port.IfIndex]++
		}
	}
	for _, d := range devices {
		h, w := have.Port(d), want.Port(d)
		most := 0
		switch {
		case h == nil && w == nil, h != nil && w != nil && *h == *w:
		case h != nil && w != nil && h.Mode != w.Mode:
			most = 4 // close, remove, add, set
		default:
			most = 2
		}
		if ports[d] > most {
			return fmt.Sprintf("%d steps on port %d, %d are enough", ports[d], d, most)
		}
	}
	stays := func(ifindex int) bool {
		h, w := have.Port(ifindex), want.Port(ifindex)
		return h != nil && w != nil && h.Mode == w.Mode
	}
	for key, steps := range flows {
		h, w := have.Flow(key), want.Flow(key)
		most := 2
		switch {
		case h != nil && w != nil && *h == *w && stays(h.IfIndex) && stays(h.Egress):
			most = 0
		case h == nil || w == nil:
			most = 1
		}
		if steps > most {
			return fmt.Sprintf("%d steps on flow %v, %d are enough", steps, key, most)
		}
	}
	for _, t := range []plan.Tables{have, want} {
		for _, r := range t.Rows {
			h, w := have.Row(r.Key), want.Row(r.Key)
			most := 2
			switch {
			case h != nil && w != nil && *h == *w && stays(h.IfIndex):
				most = 0
			case h == nil || w == nil, h.Moved && stays(h.IfIndex):
				most = 1
			}
			if rows[r.Key] > most {
				return fmt.Sprintf("%d steps on row %v, %d are enough", rows[r.Key], r, most)
			}
		}
	}
	return ""
}

func TestOpsProperties(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	const cases = 400
	lanes, dropping, flowing := 0, 0, 0
	for n := range cases {
		r := random{rand.New(rand.NewPCG(seed, uint64(n)))}
		want := r.want()
		have := r.have(want)
		ops := Ops(have, want)
		found, drops, wrong := checkPrefixes(have, want, ops)
		if wrong == "" {
			wrong = checkFew(have, want, ops)
		}
		if wrong == "" {
			wrong = checkFewLists(have, want, ops)
		}
		if wrong == "" && len(Ops(want, want)) > 0 {
			wrong = fmt.Sprintf("steps although nothing changes: %v", Ops(want, want))
		}
		if wrong != "" {
			t.Fatalf("seed %d, case %d: %s\nhave: %s\nwant: %s\nsteps: %v", seed, n, wrong, text(have), text(want), ops)
		}
		if found > 0 {
			lanes++
		}
		if drops > 0 {
			dropping++
		}
		if slices.ContainsFunc(frames(), func(f plan.Frame) bool {
			in := want.Port(f.IfIndex)
			return in != nil && in.Rule.Flows && want.Decide(f).IfIndex != 0
		}) {
			flowing++
		}
	}
	if lanes < cases/8 || dropping < cases/8 || flowing < cases/12 {
		t.Errorf("seed %d: only %d cases of %d have a lane, %d drop, %d have flows", seed, lanes, cases, dropping, flowing)
	}
}

// One changed row costs two steps at most, in a table of any size.
func TestOneRow(t *testing.T) {
	ports := []plan.Port{port(1, "br0"), port(2, "br0")}
	have := tables(ports)
	for n := range 5000 {
		r := row(byte(n), "br0", 0, 1+n%2)
		r.MAC[4] = byte(n >> 8)
		have.Rows = append(have.Rows, r)
	}
	have.Sort()
	want := tables(ports, have.Rows...)
	want.Rows[2500].IfIndex = 3 - want.Rows[2500].IfIndex
	if ops := Ops(have, want); len(ops) == 0 || len(ops) > 2 {
		t.Errorf("%d steps for one row: %v", len(ops), ops)
	}
}

// text writes tables for a message.
func text(t plan.Tables) string {
	s := "\n"
	for _, p := range t.Ports {
		vlans := p.Rule.VLANs.String()
		p.Rule.VLANs = ovs.VLANSet{}
		s += fmt.Sprintf("  port %d mode %d VLANs %s %+v\n", p.IfIndex, p.Mode, vlans, p.Rule)
	}
	for _, r := range t.Rows {
		s += fmt.Sprintf("  row %+v\n", r)
	}
	for _, f := range t.Flows {
		s += fmt.Sprintf("  flow %+v\n", f)
	}
	for _, l := range t.Lists {
		s += fmt.Sprintf("  list %v %+v\n", l.Key, l.Rules)
	}
	return s
}
