// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"cmp"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// listed is handed with lists on device 0: one of its port, one of destination B
// and one of addresses. UDP to port 53 is dropped by the first, to 54 by the second.
func listed(t *testing.T) (*world, map[int]Mode, Rule) {
	t.Helper()
	w, modes := handed(t)
	w.must(w.lane.PutList(addressA, []ListRule{{Verdict: VerdictNormal}, matchAll}))
	w.must(w.lane.PutList(rulesOf0, []ListRule{toPort(VerdictDrop, 1, protoUDP, 53), allNormal}))
	w.must(w.lane.PutList(rulesOfB, []ListRule{toPort(VerdictDrop, 2, protoUDP, 54)}))
	rule := access(10).with(func(r *Rule) {
		r.Rules, r.Addresses, r.Scoped, r.MAC, r.Declared = rulesOf0, addressA, true, macA, true
		r.PoliceFrames = Rate{PerSecond: 1_000_000, Burst: 1000}
	})
	w.rule(0, rule)
	w.decide("before it is handed over")
	return w, modes, rule
}

// decide sends a frame for each of the lists, and one that they let through.
func (w *world) decide(when string) {
	w.Helper()
	for port, want := range map[uint16]uint32{53: xdpDrop, 54: xdpDrop, 55: xdpRedirect} {
		if v, _ := w.run(0, frame.UDP4(macB, macA, frame.Ports(port, 4000)), 0); v != want {
			w.Errorf("%s: UDP to port %d: verdict %d, want %d", when, port, v, want)
		}
	}
}

func places(l *Lane) []Place {
	all := l.Places()
	slices.SortFunc(all, func(a, b Place) int { return cmp.Compare(a.First, b.First) })
	return all
}

// A Lane that takes over has the lists, where they are, and what they have
// counted; it writes others beside them and takes them out.
func TestHandOverLists(t *testing.T) {
	w, modes, rule := listed(t)
	old := w.lane
	if p := places(old); len(p) != 3 {
		t.Fatalf("lists %+v", p)
	}
	heir := w.adopt(pins(t), modes)
	if d := gocmp.Diff(places(old), places(heir)); d != "" {
		t.Errorf("lists (-old +heir):\n%s", d)
	}
	if !heir.Holds(w.dev[0], rule) {
		t.Errorf("the heir does not know the rule with its lists")
	}
	for name, other := range map[string]func(*Rule){
		"no list": func(r *Rule) { r.Rules = ListKey{} }, "no addresses": func(r *Rule) { r.Addresses = ListKey{} },
		"not scoped": func(r *Rule) { r.Scoped = false }, "another MAC": func(r *Rule) { r.MAC = macB },
		"another rate": func(r *Rule) { r.PoliceFrames.Burst++ }, "another list": func(r *Rule) { r.Rules.Port = 7 },
	} {
		if heir.Holds(w.dev[0], rule.with(other)) {
			t.Errorf("the heir takes the rule for one with %s", name)
		}
	}
	w.must(heir.Swap())
	w.must(old.UnpinLinks())
	counts := make(map[ListKey][]RuleCount)
	for _, k := range []ListKey{rulesOf0, rulesOfB, addressA} {
		counts[k] = old.ListCounts(k)
		if d := gocmp.Diff(counts[k], heir.ListCounts(k)); d != "" {
			t.Errorf("counts of %+v (-old +heir):\n%s", k, d)
		}
	}
	w.lane = heir
	w.must(old.Close())
	w.must(heir.Renew(time.Hour))
	w.decide("after it was taken over")
	for k, add := range map[ListKey][]uint64{rulesOf0: {1, 1}, rulesOfB: {1}} {
		for i, c := range heir.ListCounts(k) {
			if c.Frames != counts[k][i].Frames+add[i] {
				t.Errorf("rule %d of %+v counts %d after %d", i, k, c.Frames, counts[k][i].Frames)
			}
		}
	}

	// Others are written beside them.
	for n := range uint32(5) {
		w.must(heir.PutList(ListKey{Kind: PortRules, Bridge: 1, Port: 100 + n}, slices.Repeat([]ListRule{{Verdict: VerdictPass}}, 200)))
	}
	w.decide("beside new lists")
	all := places(heir)
	for i := 1; i < len(all); i++ {
		if all[i-1].First+all[i-1].Count > all[i].First {
			t.Errorf("lists %+v and %+v overlap", all[i-1], all[i])
		}
	}
	heir.ClosePort(w.dev[0])
	w.must(heir.DeleteList(rulesOfB))
	w.must(heir.PutList(rulesOf0, []ListRule{toPort(VerdictDrop, 1, protoUDP, 55), allNormal}))
	w.rule(0, rule)
	for port, want := range map[uint16]uint32{53: xdpRedirect, 54: xdpRedirect, 55: xdpDrop} {
		if v, _ := w.run(0, frame.UDP4(macB, macA, frame.Ports(port, 4000)), 0); v != want {
			t.Errorf("by the heir's lists: UDP to port %d: verdict %d, want %d", port, v, want)
		}
	}
}

// A Lane that gets everything back knows of no list: ports that have some are not
// taken for what they should be, no destination has any, and new ones are written
// where nobody reads.
func TestReclaimLists(t *testing.T) {
	w, modes, rule := listed(t)
	heir := w.adopt(pins(t), modes)
	w.must(heir.Swap())
	other := ListKey{Kind: DestinationRules, Bridge: 1, Dst: macC}
	w.must(heir.PutList(other, []ListRule{{Verdict: VerdictDrop}}))
	w.must(heir.PutList(rulesOf0, []ListRule{{Verdict: VerdictDrop}}))
	w.must(heir.SetRule(w.dev[0], rule))
	w.must(heir.Close())
	w.must(w.lane.Shut())
	w.must(w.lane.Reclaim())
	if p := w.lane.Places(); len(p) > 0 {
		t.Errorf("lists %+v", p)
	}
	if w.lane.Holds(w.dev[0], rule) || w.lane.Holds(w.dev[0], rule.with(func(r *Rule) { r.Rules, r.Addresses = ListKey{}, ListKey{} })) {
		t.Error("a port with lists of the other process is taken for one without, or with these")
	}
	var key, word uint64
	for each := w.lane.lists.destinations.Iterate(); each.Next(&key, &word); {
		t.Errorf("destination %#x has a list still", key)
	}
	for _, k := range []ListKey{rulesOf0, rulesOfB, other} {
		if c := w.lane.ListCounts(k); c != nil {
			t.Errorf("list %+v counts %v", k, c)
		}
	}
	w.lane.ClosePort(w.dev[0])
	w.must(w.lane.PutList(addressA, []ListRule{{Verdict: VerdictNormal}, matchAll}))
	w.must(w.lane.PutList(rulesOf0, []ListRule{toPort(VerdictDrop, 1, protoUDP, 53), allNormal}))
	w.must(w.lane.PutList(rulesOfB, []ListRule{toPort(VerdictDrop, 2, protoUDP, 54)}))
	w.rule(0, rule)
	w.must(w.lane.Open(time.Hour))
	w.decide("afterwards")
	for _, c := range w.lane.ListCounts(rulesOf0) {
		if c.Frames != 1 {
			t.Errorf("counts %v: what was there before is not left out", w.lane.ListCounts(rulesOf0))
		}
	}
}

// Places that can't be are refused: another process has told of them.
func TestAdoptListsRefuses(t *testing.T) {
	w := newWorld(t, 2, Config{Rules: 300})
	for name, p := range map[string]Place{
		"behind the end": {rulesOf0, 299, 2}, "before the beginning": {rulesOf0, -1, 1}, "less than none": {rulesOf0, 0, -1},
		"too long": {rulesOf0, 0, MaxList + 1}, "far away": {rulesOf0, 1 << 62, 1},
	} {
		if err := w.lane.AdoptLists([]Place{p}); err == nil {
			t.Errorf("%s is adopted", name)
		}
	}
	if err := w.lane.AdoptLists([]Place{{rulesOf0, 44, MaxList}}); err != nil {
		t.Error(err)
	}
}
