// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"slices"
)

// fit leaves out rows beyond the room in the kernel's table, and counts them. No
// bridge takes the room of another that needs no more than its share, and
// within a bridge no port that of another: what a machine makes OVS learn costs
// the lane to its own port first. Declared stations go before learned ones.
func fit(rows []Row, room int) (kept []Row, left int) {
	if room <= 0 || len(rows) <= room {
		return rows, 0
	}
	byPort := make(map[string]map[int][]Row)
	for _, r := range rows {
		if byPort[r.Bridge] == nil {
			byPort[r.Bridge] = make(map[int][]Row)
		}
		byPort[r.Bridge][r.IfIndex] = append(byPort[r.Bridge][r.IfIndex], r)
	}
	need := make(map[string]int)
	for bridge, ports := range byPort {
		for _, rows := range ports {
			need[bridge] += len(rows)
		}
	}
	for bridge, share := range shares(need, room) {
		need := make(map[int]int)
		for port, rows := range byPort[bridge] {
			need[port] = len(rows)
		}
		for port, share := range shares(need, share) {
			rows := byPort[bridge][port]
			slices.SortStableFunc(rows, func(a, b Row) int {
				switch {
				case a.Declared == b.Declared:
					return a.Compare(b.Key)
				case a.Declared:
					return -1
				}
				return 1
			})
			kept = append(kept, rows[:share]...)
		}
	}
	return kept, len(rows) - len(kept)
}

// shares divides room among those who need some: nobody gets more than it
// needs, and whoever gets less gets as much as any other, but for one.
func shares[K cmp.Ordered](need map[K]int, room int) map[K]int {
	order := make([]K, 0, len(need))
	for k := range need {
		order = append(order, k)
	}
	slices.SortFunc(order, func(a, b K) int { return cmp.Or(cmp.Compare(need[a], need[b]), cmp.Compare(a, b)) })
	given := make(map[K]int, len(need))
	for i, k := range order {
		given[k] = min(need[k], room/(len(order)-i))
		room -= given[k]
	}
	return given
}
