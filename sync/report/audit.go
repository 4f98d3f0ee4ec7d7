// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/ovs-xdp/ovs-xdp/sync/reconcile"
)

// Audit tells of the frames of a bridge that OVS was asked about.
type Audit struct {
	// Asked counts answers, of which Agreed were what the lane does, Mismatches
	// something else, and Unanswered not understood. Most mismatches come of a
	// change under way: only one that lasts closes the lane of the bridge.
	Asked      uint64 `json:"asked"`
	Agreed     uint64 `json:"agreed"`
	Mismatches uint64 `json:"mismatches"`
	Unanswered uint64 `json:"unanswered"`
	// Found is the mismatch that has closed the lane; nil for none.
	Found *Finding `json:"found,omitempty"`
}

// Finding is the evidence of a mismatch.
type Finding struct {
	At time.Time `json:"at"`
	// Detail says which frame, what the lane did with it and what OVS would do.
	Detail string `json:"detail"`
	// Trace is the answer of "ofproto/trace" of OVS.
	Trace string `json:"trace"`
}

func auditOf(a reconcile.Audit) Audit {
	out := Audit{Asked: a.Asked, Agreed: a.Agreed, Mismatches: a.Mismatches, Unanswered: a.Unanswered}
	if f := a.Found; f != nil {
		out.Found = &Finding{At: f.At, Detail: f.Detail, Trace: f.Trace}
	}
	return out
}

func (a Audit) text(b *strings.Builder) {
	if a.Asked > 0 {
		fmt.Fprintf(b, "    audit: OVS was asked about %d frames: %d as on the lane, %d not, %d unanswered\n", a.Asked, a.Agreed, a.Mismatches, a.Unanswered)
	}
	if a.Found == nil {
		return
	}
	fmt.Fprintf(b, "    audit: closed the lane at %s: %s\n", a.Found.At.Format(time.RFC3339), a.Found.Detail)
	b.WriteString("    ofproto/trace of OVS then:\n")
	for line := range strings.Lines(a.Found.Trace) {
		b.WriteString(strings.TrimRight("        "+line, " \n") + "\n")
	}
}
