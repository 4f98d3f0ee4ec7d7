// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/fdb"
	"github.com/ovs-xdp/ovs-xdp/ovs/trace"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// pictured is a snapshot of one bridge with a port that can be asked about.
func pictured(table ...ovs.FDBEntry) *ovs.Snapshot {
	return &ovs.Snapshot{Bridges: []ovs.Bridge{{
		Name: "br0",
		Ports: []ovs.Port{
			{Name: "br0", Interfaces: []ovs.Interface{{Name: "br0", OFPort: 65534}}},
			{Name: "p", Interfaces: []ovs.Interface{{Name: "tap1", OFPort: 7}}},
			{Name: "bond", Interfaces: []ovs.Interface{{Name: "eth0", OFPort: 8}, {Name: "eth1", OFPort: 9}}},
			{Name: "late", Interfaces: []ovs.Interface{{Name: "tap2", OFPort: -1}}},
		},
		Detail: &ovs.Detail{FDB: table},
	}}}
}

func TestInquiryOf(t *testing.T) {
	access := plan.Rule{Bridge: "br0", Watch: true, Plain: "rule", VLANMode: plan.Access, VID: 10}
	with := func(change func(p *plan.Port)) plan.Port {
		p := plan.Port{IfIndex: 3, Name: "tap1", Rule: access}
		change(&p)
		return p
	}
	mode := func(m plan.VLANMode, vid ovs.VLAN) plan.Port {
		return with(func(p *plan.Port) { p.Rule.VLANMode, p.Rule.VID = m, vid })
	}
	mac := station(1).MAC
	for name, c := range map[string]struct {
		port   plan.Port
		vlan   ovs.VLAN
		bridge string
		want   string // "" for none
	}{
		"access":                         {with(func(*plan.Port) {}), 10, "br0", ""},
		"trunk, tagged":                  {mode(plan.Trunk, 0), 20, "br0", ",dl_vlan=20"},
		"trunk, untagged":                {mode(plan.Trunk, 0), 0, "br0", ""},
		"native":                         {mode(plan.NativeUntagged, 10), 10, "br0", ""},
		"native, tagged":                 {mode(plan.NativeTagged, 10), 20, "br0", ",dl_vlan=20"},
		"another VLAN than that of port": {with(func(*plan.Port) {}), 20, "br0", "none"},
		"declared elsewhere":             {with(func(*plan.Port) {}), 10, "br0", "none"},
		"another bridge":                 {with(func(*plan.Port) {}), 10, "br1", "none"},
		"a bridge without a number":      {with(func(p *plan.Port) { p.Rule.Bridge = "" }), 10, "", "none"},
		"closed":                         {with(func(p *plan.Port) { p.Rule = p.Rule.Shut() }), 10, "br0", "none"},
		"rules":                          {with(func(p *plan.Port) { p.Rule.Plain = "" }), 10, "br0", "none"},
		"flows":                          {with(func(p *plan.Port) { p.Rule.Flows = true }), 10, "br0", "none"},
		"member of a bond":               {with(func(p *plan.Port) { p.Name, p.Rule.Bundle = "eth1", 4 }), 10, "br0", "none"},
		"first member of a bond":         {with(func(p *plan.Port) { p.Name, p.Rule.Legs[0] = "eth0", 3 }), 10, "br0", "none"},
		"a bond that is down":            {with(func(p *plan.Port) { p.Name = "eth0" }), 10, "br0", "none"},
		"slave of a Linux bond":          {with(func(p *plan.Port) { p.Name = "eth5" }), 10, "br0", "none"},
		"no OpenFlow port":               {with(func(p *plan.Port) { p.Name = "tap2" }), 10, "br0", "none"},
		"not on the lane":                {plan.Port{}, 10, "br0", "none"},
	} {
		snap := pictured()
		if strings.HasPrefix(name, "declared") {
			snap.Bridges[0].Ports[2].Interfaces[1].ExternalIDs = map[string]string{plan.KeyAttachedMAC: mac.String()}
		}
		q, ok := inquiryOf(snap, c.bridge, c.port, bpf.Key{Bridge: 1, VLAN: c.vlan, MAC: mac})
		switch {
		case c.want == "none" && ok:
			t.Errorf("%s: OVS is asked about %v", name, q.flow)
		case c.want != "none" && !ok:
			t.Errorf("%s: OVS is not asked", name)
		case c.want != "none":
			want := "in_port=7,dl_src=52:54:00:00:00:01,dl_dst=52:54:00:00:00:01" + c.want + ",udp,"
			if got := q.flow.String(); !strings.HasPrefix(got, want) {
				t.Errorf("%s: OVS is asked about %s, want %s", name, got, want)
			}
			if e := (ovs.FDBEntry{OFPort: 7, VLAN: c.vlan, MAC: mac}); q.entry != e {
				t.Errorf("%s: entry %+v, want %+v", name, q.entry, e)
			}
		}
	}
}

// Only one answer makes a station known; one that is not understood, or none, has
// the MAC table read.
func TestInquiryAnswers(t *testing.T) {
	answer := func(line string) string {
		return "Flow: udp,in_port=7\n\nbridge(\"br0\")\n-------------\n 0. priority 0\n    NORMAL\n     -> " + line +
			"\n\nFinal flow: unchanged\nMegaflow: recirc_id=0,eth,ip,in_port=7\nDatapath actions: "
	}
	const here = "learned port is input port, dropping"
	for name, c := range map[string]struct {
		text          string
		err           error
		known, failed bool
	}{
		"known here":            {text: answer(here) + "drop", known: true},
		"known elsewhere":       {text: answer("forwarding to learned port") + "5"},
		"not known":             {text: answer("no learned MAC for destination, flooding") + "2,5"},
		"behind a patch port":   {text: answer("no learned MAC for destination, flooding\n\nbridge(\"br1\")\n     -> "+here) + "drop"},
		"dropped otherwise":     {text: answer("input port is not in forwarding state, dropping") + "drop"},
		"mirrored":              {text: answer(here) + "5"},
		"not what it should be": {text: "what?", failed: true},
		"no answer":             {err: errors.New("refused"), failed: true},
	} {
		q := inquiry{bridge: "br0", flow: trace.Flow{InPort: 7}}
		q.ask(context.Background(), func(_ context.Context, method string, args ...string) (string, error) {
			if method != "ofproto/trace" || len(args) != 2 || args[0] != "br0" || args[1] != q.flow.String() {
				t.Errorf("%s: OVS is asked for %s %q", name, method, args)
			}
			return c.text, c.err
		})
		if q.known != c.known || (q.err != nil) != c.failed {
			t.Errorf("%s: known %v, error %v", name, q.known, q.err)
		}
	}
}

// Totals that have grown by what inquiries found are no reason to look, and
// nothing else is explained by that.
func TestNoteFound(t *testing.T) {
	entry := func(port uint32, n int) ovs.FDBEntry {
		return ovs.FDBEntry{OFPort: port, VLAN: 10, MAC: station(n).MAC}
	}
	base := fdb.Stats{Current: 2, Max: 100, Learned: 5}
	was := pictured(entry(7, 1), entry(7, 3))
	for name, c := range map[string]struct {
		asked, known fdb.Stats // when OVS was asked, and when it had answered
		list         []ovs.FDBEntry
		want         fdb.Stats
	}{
		"new":                      {base, base, []ovs.FDBEntry{entry(7, 2)}, fdb.Stats{Learned: 1, Current: 1}},
		"two":                      {base, base, []ovs.FDBEntry{entry(7, 2), entry(7, 4)}, fdb.Stats{Learned: 2, Current: 2}},
		"moved":                    {base, base, []ovs.FDBEntry{entry(8, 3)}, fdb.Stats{Moved: 1}},
		"known before":             {base, base, []ovs.FDBEntry{entry(7, 3)}, fdb.Stats{}},
		"totals read while asking": {base, fdb.Stats{Current: 3, Max: 100, Learned: 6}, []ovs.FDBEntry{entry(7, 2)}, fdb.Stats{}},
	} {
		s := &session{stats: map[string]fdb.Stats{"br0": c.known}, found: make(map[string]fdb.Stats)}
		var list []inquiry
		for _, e := range c.list {
			list = append(list, inquiry{bridge: "br0", entry: e, totals: c.asked})
		}
		s.noteFound(was, list)
		if d := cmp.Diff(c.want, s.found["br0"]); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestWithEntry(t *testing.T) {
	entry := func(port uint32, vlan ovs.VLAN, n int) ovs.FDBEntry {
		return ovs.FDBEntry{OFPort: port, VLAN: vlan, MAC: station(n).MAC}
	}
	table := []ovs.FDBEntry{entry(1, 10, 2), entry(1, 20, 1)}
	for _, c := range []struct {
		e    ovs.FDBEntry
		want []ovs.FDBEntry
	}{
		{entry(2, 10, 1), []ovs.FDBEntry{entry(2, 10, 1), entry(1, 10, 2), entry(1, 20, 1)}},
		{entry(2, 10, 2), []ovs.FDBEntry{entry(2, 10, 2), entry(1, 20, 1)}},
		{entry(2, 20, 3), []ovs.FDBEntry{entry(1, 10, 2), entry(1, 20, 1), entry(2, 20, 3)}},
	} {
		got := withEntry(append([]ovs.FDBEntry(nil), table...), c.e)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%+v (-want +got):\n%s", c.e, d)
		}
	}
}

// Stations whose look is due are listed; more than OVS is asked about are too many.
func TestStationsDue(t *testing.T) {
	s := newStations()
	now := noon.Add(delays[0])
	for n := range 4 {
		s.reported(station(n), noon)
	}
	s.reported(station(4), noon.Add(time.Millisecond))
	s.waiting[station(0)].until = now.Add(time.Second) // given up
	if keys, ok := s.due(now, 3); !ok || len(keys) != 3 {
		t.Errorf("due: %v, %v", keys, ok)
	}
	if keys, ok := s.due(now, 2); ok || keys != nil {
		t.Errorf("more than two are due, and %v are listed", keys)
	}
}
