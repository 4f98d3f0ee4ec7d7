// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"maps"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

func TestShares(t *testing.T) {
	for _, c := range []struct {
		need map[string]int
		room int
		want map[string]int
	}{
		{map[string]int{"a": 5, "b": 5}, 20, map[string]int{"a": 5, "b": 5}},
		{map[string]int{"a": 1000, "b": 5}, 20, map[string]int{"a": 15, "b": 5}},
		{map[string]int{"a": 1000, "b": 1000, "c": 2}, 20, map[string]int{"a": 9, "b": 9, "c": 2}},
		{map[string]int{"a": 1, "b": 1, "c": 1}, 2, map[string]int{"a": 0, "b": 1, "c": 1}},
		{map[string]int{"a": 3}, 0, map[string]int{"a": 0}},
	} {
		if got := shares(c.need, c.room); !maps.Equal(got, c.want) {
			t.Errorf("shares(%v, %d) = %v, want %v", c.need, c.room, got, c.want)
		}
	}
}

// A port with ever so many stations takes no room from other ports and bridges.
func TestFit(t *testing.T) {
	var rows []Row
	add := func(bridge string, port, count int, declared bool) {
		for i := range count {
			rows = append(rows, Row{Key: Key{Bridge: bridge, MAC: ovs.MAC{2, byte(port), 0, 0, byte(i >> 8), byte(i)}}, IfIndex: port, Declared: declared})
		}
	}
	add("br0", 1, 2, false)
	add("br0", 2, 5000, false)
	add("br1", 3, 1, false)
	add("br1", 4, 500, false)
	add("br1", 4, 3, true)
	if kept, left := fit(rows, len(rows)); left != 0 || len(kept) != len(rows) {
		t.Errorf("with room for all: %d kept, %d left out", len(kept), left)
	}
	kept, left := fit(rows, 100)
	if len(kept) != 100 || left != len(rows)-100 {
		t.Errorf("with room for 100: %d kept, %d left out of %d", len(kept), left, len(rows))
	}
	ports, declared := make(map[int]int), 0
	for _, r := range kept {
		ports[r.IfIndex]++
		if r.Declared {
			declared++
		}
	}
	if want := map[int]int{1: 2, 2: 48, 3: 1, 4: 49}; !maps.Equal(ports, want) || declared != 3 {
		t.Errorf("rows by port %v, want %v; %d declared, want 3", ports, want, declared)
	}
}
