// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"strings"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// plainPort is a port of a bridge without lists: whatever takes the lane from it
// hits the same rules.
type plainPort struct {
	// Bridge and Plain are those of its plan.Rule.
	Bridge, Plain string
	// Since is what had taken the lane from the port when that began.
	Since bpf.RuleCount
}

// add adds what has taken the lane since then to the rules.
func (p plainPort) add(to map[plan.RuleID]bpf.RuleCount, now bpf.RuleCount) {
	for _, id := range strings.Split(p.Plain, "\n") {
		sum := to[plan.RuleID(id)]
		sum.Frames, sum.Bytes = sum.Frames+now.Frames-p.Since.Frames, sum.Bytes+now.Bytes-p.Since.Bytes
		to[plan.RuleID(id)] = sum
	}
}

// laneCount is what has taken the lane from a port since it was added.
func (in *installer) laneCount(ifindex int) bpf.RuleCount {
	c, err := in.lane.Counters(ifindex)
	if err != nil {
		return bpf.RuleCount{} // it is not on the lane
	}
	return bpf.RuleCount{Frames: c.Lane, Bytes: c.LaneBytes}
}

// countPlain settles what a port has counted for the rules of its bridge when it
// gets another rule. It is closed, or about to leave.
func (in *installer) countPlain(ifindex int, next plan.Rule) {
	was, ok := in.plain[ifindex]
	if ok && was.Bridge == next.Bridge && was.Plain == next.Plain || !ok && next.Plain == "" {
		return
	}
	now := in.laneCount(ifindex)
	in.mu.Lock()
	defer in.mu.Unlock()
	if ok {
		was.add(in.counts(was.Bridge), now)
		delete(in.plain, ifindex)
	}
	if next.Plain != "" {
		in.plain[ifindex] = plainPort{Bridge: next.Bridge, Plain: next.Plain, Since: now}
	}
}
