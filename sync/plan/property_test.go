// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// input is all that Build is given.
type input struct {
	Snapshot ovs.Snapshot
	Links    map[string]Link
	Policy   Policy
}

// check says in what Build breaks its contract on the input, "" in nothing,
// and how many sorts of frames take the lane.
func check(in *input, known map[Reason]bool) (lanes int, wrong string) {
	before, err := json.Marshal(in)
	if err != nil {
		return 0, err.Error()
	}
	res := Build(&in.Snapshot, in.Links, in.Policy)
	again := Build(&in.Snapshot, in.Links, in.Policy)
	if diff := cmp.Diff(res, again); diff != "" {
		return 0, "a second Build differs:\n" + diff
	}
	if after, _ := json.Marshal(in); !bytes.Equal(before, after) {
		return 0, "Build changed its input"
	}
	for _, c := range []string{checkOrder(&res.Tables), checkPlaces(&res), checkAccounts(in, &res, known), checkLists(in, &res)} {
		if c != "" {
			return 0, c
		}
	}
	return checkLanes(&res.Tables)
}

// checkOrder: sorted, and no key twice.
func checkOrder(t *Tables) string {
	for i := 1; i < len(t.Ports); i++ {
		if t.Ports[i-1].IfIndex >= t.Ports[i].IfIndex {
			return fmt.Sprintf("port %d comes before port %d", t.Ports[i-1].IfIndex, t.Ports[i].IfIndex)
		}
	}
	for i := 1; i < len(t.Rows); i++ {
		if t.Rows[i-1].Compare(t.Rows[i].Key) >= 0 {
			return fmt.Sprintf("row %v comes before row %v", t.Rows[i-1], t.Rows[i])
		}
	}
	return ""
}

// checkPlaces: a row is on a port of its bridge, in a VLAN that the port
// carries; what is off or refused holds nothing, or only closed ports.
func checkPlaces(res *Result) string {
	open, held := make(map[string]bool), make(map[string]bool)
	for _, b := range res.Bridges {
		open[b.Name] = open[b.Name] || b.State == StateOn || b.State == StateObserve
		held[b.Name] = held[b.Name] || b.State != StateOff
	}
	for _, p := range res.Tables.Ports {
		r := p.Rule
		switch {
		case !held[r.Bridge]:
			return fmt.Sprintf("port %v is of a bridge that is off", p.Name)
		case !open[r.Bridge] && r != r.Shut():
			return fmt.Sprintf("port %v of a refused bridge is not closed", p.Name)
		case p.Mode == Target && (r.Watch || r.Ingress):
			return fmt.Sprintf("port %v without a program lets frames in", p.Name)
		case r.Ingress && !r.Watch:
			return fmt.Sprintf("port %v lets frames in that it does not look at", p.Name)
		case r != r.Shut() && r.KeepAlive <= 0:
			return fmt.Sprintf("port %v has a keep-alive interval of %v", p.Name, r.KeepAlive)
		case r.KeepAlive > 900*time.Second:
			return fmt.Sprintf("port %v has a keep-alive interval of %v", p.Name, r.KeepAlive)
		}
	}
	for _, row := range res.Tables.Rows {
		p := res.Tables.Port(row.IfIndex)
		switch {
		case p == nil:
			return fmt.Sprintf("row %v points at no port", row)
		case p.Rule.InDomain() != row.Bridge:
			return fmt.Sprintf("row %v is on a port of %s", row, p.Rule.InDomain())
		case p.Rule.Flows && row.VLAN != 0:
			return fmt.Sprintf("row %v is of a port that uses flows", row)
		case !open[p.Rule.Bridge]:
			return fmt.Sprintf("row %v is of a bridge that is not on the lane", row)
		case !p.Rule.VLANs.Has(row.VLAN):
			return fmt.Sprintf("row %v is in a VLAN that its port does not carry", row)
		case p.Loses:
			return fmt.Sprintf("port %v is marked", p.Name)
		case row.Moved:
			return fmt.Sprintf("row %v is marked", row)
		case row.MAC.IsGroup():
			return fmt.Sprintf("row %v is of a group", row)
		}
	}
	return checkFlows(res)
}

// checkFlows: a flow is between two ports that use flows of one domain, and each
// is there once.
func checkFlows(res *Result) string {
	for i, f := range res.Tables.Flows {
		in, out := res.Tables.Port(f.IfIndex), res.Tables.Port(f.Egress)
		switch {
		case i > 0 && res.Tables.Flows[i-1].Compare(f.FlowKey) >= 0:
			return fmt.Sprintf("flow %v comes before flow %v", res.Tables.Flows[i-1], f)
		case in == nil || out == nil:
			return fmt.Sprintf("flow %v points at no port", f)
		case !in.Rule.Flows || !out.Rule.Flows || in.Rule.InDomain() != out.Rule.InDomain():
			return fmt.Sprintf("flow %v is between %+v and %+v", f, in.Rule, out.Rule)
		case f.KeepAlive <= 0 || f.KeepAlive > in.Rule.KeepAlive:
			return fmt.Sprintf("flow %v has a keep-alive interval of %v", f, f.KeepAlive)
		case f.Tagged != (f.Tag == PopTag || f.Tag == SetTag) && f.Tag != KeepTag, f.Tagged && f.FromVID == 0, (f.Tag == PushTag || f.Tag == SetTag) != (f.VID != 0):
			return fmt.Sprintf("flow %v does something odd to the tag", f)
		case f.EtherType != 0x0800 && f.EtherType != 0x86dd, f.Src.IsGroup(), f.Dst.IsGroup():
			return fmt.Sprintf("flow %v is of an odd class", f)
		}
	}
	return ""
}

// checkAccounts: every bridge is told of, and what stays with OVS is told
// with a reason of the list.
func checkAccounts(in *input, res *Result, known map[Reason]bool) string {
	if len(res.Bridges) != len(in.Snapshot.Bridges) {
		return fmt.Sprintf("%d bridges became %d", len(in.Snapshot.Bridges), len(res.Bridges))
	}
	told := make(map[string]bool)
	for i, r := range res.Refusals {
		told[r.Subject] = true
		if !known[r.Reason] {
			return fmt.Sprintf("reason %q is not in refusal.go", r.Reason)
		}
		if i > 0 && res.Refusals[i-1].Subject > r.Subject {
			return fmt.Sprintf("refusal of %s comes before that of %s", res.Refusals[i-1].Subject, r.Subject)
		}
	}
	on := make(map[string]bool) // devices with their bridge
	for _, p := range res.Tables.Ports {
		on[p.Rule.Bridge+"/"+p.Name] = true
	}
	for i, b := range res.Bridges {
		br := &in.Snapshot.Bridges[i]
		if b.Name != br.Name {
			return fmt.Sprintf("bridge %s became %s", br.Name, b.Name)
		}
		if b.State == StateOff {
			continue
		}
		if b.State == StateRefused {
			if !told[b.Name] {
				return fmt.Sprintf("bridge %s is refused without a reason", b.Name)
			}
			continue
		}
		for _, p := range br.Ports {
			joined := slices.ContainsFunc(p.Interfaces, func(i ovs.Interface) bool { return on[br.Name+"/"+i.Name] })
			if p.Name != br.Name && !joined && !told[br.Name+"/"+p.Name] {
				return fmt.Sprintf("port %s/%s stays with OVS without a reason", br.Name, p.Name)
			}
		}
	}
	return ""
}

// checkLanes: a frame only takes the lane between two ports of one bridge that
// are open that way, in a VLAN that both carry.
func checkLanes(t *Tables) (lanes int, wrong string) {
	bundle := func(p *Port) int {
		if p.Rule.Bundle != 0 {
			return p.Rule.Bundle
		}
		return p.IfIndex
	}
	check := func(f Frame) string {
		v := t.Decide(f)
		if v.IfIndex == 0 {
			return ""
		}
		in, out := t.Port(f.IfIndex), t.Port(v.IfIndex)
		if in.Rule.Flows {
			return "" // see checkFlows
		}
		vlan := f.VID
		if vlan == 0 {
			vlan = in.Rule.VID
		}
		row := t.Row(Key{in.Rule.Bridge, vlan, f.Dst})
		switch {
		case bundle(in) == bundle(out), in.Rule.Bridge != out.Rule.Bridge, row == nil,
			!in.Rule.Watch, !in.Rule.Ingress, !out.Rule.Egress, in.Rule.Observe,
			in.Rule.Protected && out.Rule.Protected, !in.Rule.VLANs.Has(vlan), !out.Rule.VLANs.Has(vlan),
			in.Rule.VLANMode == Access && f.VID != 0, out.Rule.VLANMode == Access && v.VID != 0,
			row.IfIndex != bundle(out) || !row.Target:
			return fmt.Sprintf("frame %+v takes the lane as %+v", f, v)
		}
		lanes++
		return ""
	}
	for _, flow := range t.Flows {
		f := Frame{IfIndex: flow.IfIndex, VID: flow.FromVID, PCP: flow.FromPCP, Src: flow.Src, Dst: flow.Dst, Len: 14, Carries: ovs.Fields{EtherType: flow.EtherType}}
		v := t.Decide(f)
		src, dst := t.Row(Key{t.Port(flow.IfIndex).Rule.InDomain(), 0, flow.Src}), t.Row(Key{t.Port(flow.IfIndex).Rule.InDomain(), 0, flow.Dst})
		switch {
		case v.IfIndex == 0:
			continue
		case v.IfIndex != flow.Egress, src == nil || src.IfIndex != bundle(t.Port(flow.IfIndex)), dst == nil || dst.IfIndex != flow.Egress:
			return 0, fmt.Sprintf("frame %+v takes the lane as %+v", f, v)
		}
		lanes++
	}
	carries := ovs.Fields{EtherType: typeIPv4, Proto: 17, IPSrc: [16]byte{10, 0, 0, 1}} // that most lists of addresses allow
	for _, src := range t.Rows {
		for i := range t.Ports {
			if bundle(&t.Ports[i]) != src.IfIndex {
				continue
			}
			for _, dst := range t.Rows {
				for _, vid := range []ovs.VLAN{0, src.VLAN} {
					for bucket := range Legs {
						f := Frame{IfIndex: t.Ports[i].IfIndex, VID: vid, Src: src.MAC, Dst: dst.MAC, Len: 14, Bucket: bucket, Carries: carries}
						if wrong := check(f); wrong != "" {
							return lanes, wrong
						}
						if p := t.Port(dst.IfIndex); p == nil || p.Rule.Legs == [Legs]int{} {
							break // the bucket does not matter
						}
					}
				}
			}
		}
	}
	return lanes, ""
}

func knownReasons(t testing.TB) map[Reason]bool {
	known := make(map[Reason]bool)
	for _, r := range reasons(t) {
		known[r] = true
	}
	return known
}

// What Build promises holds for any input, also one that no OVS shows.
func TestBuildProperties(t *testing.T) {
	known := knownReasons(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	const inputs = 4_000
	lanes, flows := 0, 0
	for n := range inputs {
		r := seeded(seed, n)
		in := r.input()
		found, wrong := check(in, known)
		if wrong != "" {
			text, _ := json.MarshalIndent(in, "", " ")
			t.Fatalf("seed %d, input %d: %s\ninput:\n%s", seed, n, wrong, text)
		}
		if found > 0 {
			lanes++
		}
		if len(Build(&in.Snapshot, in.Links, in.Policy).Tables.Flows) > 0 {
			flows++
		}
	}
	t.Logf("%d inputs have a lane, %d flows", lanes, flows)
	if lanes < inputs/20 || flows < inputs/40 {
		t.Errorf("seed %d: only %d inputs of %d have a lane, %d flows", seed, lanes, inputs, flows)
	}
}

func FuzzBuild(f *testing.F) {
	known := knownReasons(f)
	for _, a := range archives(f) {
		text, err := json.Marshal(input{a.snapshot, a.links, a.policy})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var in input
		if json.Unmarshal(text, &in) != nil {
			return
		}
		for name, l := range in.Links { // as the host reads them
			l.Name = name
			in.Links[name] = l
		}
		in.Policy.KeepAlive = max(in.Policy.KeepAlive, 0) // as the daemon checks it
		if _, wrong := check(&in, known); wrong != "" {
			t.Error(wrong)
		}
	})
}

// The canary is the same on every host and in every version, about as large
// as asked for, and grows without dropping an address.
func TestCanary(t *testing.T) {
	const macs = 20_000
	var chosen [macs]bool
	for _, percent := range []int{0, 1, 10, 50, 99, 100} {
		n := 0
		for i := range macs {
			in := inCanary(ovs.MAC{0x52, 0x54, 0, 0, byte(i >> 8), byte(i)}, percent)
			if chosen[i] && !in {
				t.Fatalf("address %d leaves the canary at %d %%", i, percent)
			}
			chosen[i] = in
			if in {
				n++
			}
		}
		if got := float64(n) * 100 / macs; math.Abs(got-float64(percent)) > 1.5 {
			t.Errorf("%d %% is %.1f %% of the addresses", percent, got)
		}
	}
}

func TestEveryArchiveKeepsTheContract(t *testing.T) {
	known := knownReasons(t)
	for _, a := range archives(t) {
		if _, wrong := check(&input{a.snapshot, a.links, a.policy}, known); wrong != "" {
			t.Errorf("%s: %s", a.path, wrong)
		}
	}
}
