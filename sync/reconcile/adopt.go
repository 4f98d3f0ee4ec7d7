// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"

	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// adopt takes over ports as they were handed over; one whose rule is not what
// the tables hold is closed.
func (in *installer) adopt(ports []plan.Port) {
	clear(in.ports)
	in.sorted = nil
	if in.numbers == nil {
		in.numbers = make(map[string]uint8)
	}
	known := make(map[uint8]bool)
	for _, n := range in.numbers {
		known[n] = true
	}
	for _, r := range in.lane.Rows() {
		if !known[r.Bridge] {
			in.lane.DeleteRow(r.Key)
		}
	}
	in.adoptFlows()
	for _, p := range ports {
		in.ports[p.IfIndex] = p
		if !in.lane.Holds(p.IfIndex, in.rule(p.Rule)) {
			in.close(p.IfIndex)
		}
	}
}

// reclaim forgets ports that another process has taken off the lane.
func (in *installer) reclaim() error {
	on := make(map[int]bool)
	for _, p := range in.lane.Ports() {
		on[p.IfIndex] = true
	}
	var (
		ports []plan.Port
		errs  []error
	)
	for ifindex, p := range in.ports {
		if !on[ifindex] {
			errs = append(errs, in.host.Restore(ifindex))
			continue
		}
		ports = append(ports, p)
	}
	in.mu.Lock()
	clear(in.lists) // the lane has forgotten them: their ports are closed
	in.mu.Unlock()
	in.adopt(ports)
	return errors.Join(errs...)
}
