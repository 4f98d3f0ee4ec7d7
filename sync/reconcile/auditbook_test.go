// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/audit"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// A finding keeps its bridge closed until the bridge no longer asks for the lane,
// or is another one of the same name.
func TestAuditBook(t *testing.T) {
	bridge := func(name, uuid, offload string) ovs.Bridge {
		return ovs.Bridge{Name: name, UUID: uuid, ExternalIDs: map[string]string{plan.KeyOffload: offload}}
	}
	snap := func(bridges ...ovs.Bridge) *ovs.Snapshot { return &ovs.Snapshot{Bridges: bridges} }
	for name, tt := range map[string]struct {
		now      *ovs.Snapshot
		closed   map[string]string
		forgiven []string
		// asked counts the questions about br0 that are left.
		asked uint64
	}{
		"as it was":         {snap(bridge("br0", "a", "on"), bridge("br1", "b", "on")), map[string]string{"br0": "wrong"}, nil, 3},
		"to observe":        {snap(bridge("br0", "a", "observe")), map[string]string{"br0": "wrong"}, nil, 3},
		"off":               {snap(bridge("br0", "a", "off")), map[string]string{}, []string{"br0"}, 3},
		"another of a name": {snap(bridge("br0", "c", "on")), map[string]string{}, []string{"br0"}, 3},
		"gone":              {snap(bridge("br1", "b", "on")), map[string]string{}, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			d := &Daemon{}
			for _, o := range []audit.Outcome{audit.Agrees, audit.Differs, audit.Unclear} {
				d.book.count("br0", o)
			}
			d.book.count("br1", audit.Agrees)
			d.book.close("br0", "a", Finding{Detail: "wrong"})
			if a := d.Audits()["br0"]; a.Asked != 3 || a.Agreed != 1 || a.Mismatches != 1 || a.Unanswered != 1 || a.Found.Detail != "wrong" {
				t.Fatalf("audit of br0: %+v", a)
			}
			closed, forgiven := d.book.settle(tt.now)
			if !cmp.Equal(tt.closed, closed) || !cmp.Equal(tt.forgiven, forgiven) {
				t.Errorf("closed %v, forgiven %v", closed, forgiven)
			}
			a := d.Audits()["br0"]
			if a.Asked != tt.asked || (a.Found != nil) != (len(tt.closed) > 0) {
				t.Errorf("audit of br0 afterwards: %+v", a)
			}
			if total := d.AuditTotal(); total.Asked != 4 || total.Agreed != 2 || total.Mismatches != 1 || total.Unanswered != 1 {
				t.Errorf("all together: %+v", total)
			}
			// What was forgiven once is not closed again by itself.
			if again, _ := d.book.settle(snap(bridge("br0", "a", "on"))); len(again) > len(tt.closed) {
				t.Errorf("closed again: %v", again)
			}
		})
	}
}

// The daemon that takes over goes on with the book: it opens no lane again.
func TestAuditBookInherited(t *testing.T) {
	old, heir := &Daemon{}, &Daemon{}
	heir.book.inherit(old.book.pages()) // nothing yet
	old.book.count("br0", audit.Differs)
	old.book.close("br0", "a", Finding{Detail: "wrong"})
	b, err := json.Marshal(old.book.pages())
	if err != nil {
		t.Fatal(err)
	}
	var pages audits
	if err := json.Unmarshal(b, &pages); err != nil {
		t.Fatal(err)
	}
	heir.book.inherit(pages)
	heir.book.count("br0", audit.Agrees)
	heir.book.count("br1", audit.Agrees)
	br := ovs.Bridge{Name: "br0", UUID: "a", ExternalIDs: map[string]string{plan.KeyOffload: "on"}}
	if closed, _ := heir.book.settle(&ovs.Snapshot{Bridges: []ovs.Bridge{br}}); closed["br0"] != "wrong" {
		t.Errorf("closed: %v", closed)
	}
	if a, total := heir.Audits()["br0"], heir.AuditTotal(); a.Asked != 2 || a.Mismatches != 1 || total.Asked != 3 {
		t.Errorf("audit %+v, all together %+v", a, total)
	}
}
