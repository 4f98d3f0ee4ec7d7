// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// sortRows sorts by bridge, VLAN and MAC.
func sortRows(rows []Row) {
	order, ok := bridgeOrder(rows)
	if !ok {
		slices.SortStableFunc(rows, func(a, b Row) int { return a.Compare(b.Key) })
		return
	}
	ovs.SortBy(rows, func(r *Row) uint64 { return order[r.Bridge]<<60 | uint64(r.VLAN)<<48 | r.MAC.Number() })
}

// bridgeOrder numbers the bridges of rows in the order of their names; false when
// they, or a VLAN, don't fit into 4 and 12 bits.
func bridgeOrder(rows []Row) (map[string]uint64, bool) {
	order := make(map[string]uint64)
	last := ""
	for i, r := range rows {
		if r.VLAN > 0xfff {
			return nil, false
		}
		if i == 0 || r.Bridge != last {
			order[r.Bridge], last = 0, r.Bridge
		}
		if len(order) > MaxBridges+1 {
			return nil, false
		}
	}
	names := make([]string, 0, len(order))
	for name := range order {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		order[name] = uint64(i)
	}
	return order, true
}
