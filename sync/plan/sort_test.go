// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// The two ways to sort must do the same, whatever bridges, VLANs and addresses
// there are.
func TestSortRows(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, bridges := range []int{1, 2, MaxBridges + 1, 40} {
		for range 50 {
			rows := make([]Row, r.IntN(200))
			for i := range rows {
				var mac ovs.MAC
				for j := range mac {
					mac[j] = byte(r.IntN(3) * 127)
				}
				rows[i] = Row{Key: Key{Bridge: fmt.Sprintf("br%d", r.IntN(bridges)), VLAN: ovs.VLAN(r.IntN(3) * 2047), MAC: mac}, IfIndex: i}
				if r.IntN(100) == 0 && bridges == 2 {
					rows[i].VLAN = 0xffff // nothing makes such a one
				}
			}
			want := slices.Clone(rows)
			slices.SortStableFunc(want, func(a, b Row) int { return a.Compare(b.Key) })
			sortRows(rows)
			if diff := cmp.Diff(want, rows); diff != "" {
				t.Fatalf("%d bridges: %s", bridges, diff)
			}
		}
	}
}

func BenchmarkSortRows(b *testing.B) {
	rows := make([]Row, 100_000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range rows {
		rows[i] = Row{Key: Key{Bridge: "br0", VLAN: ovs.VLAN(r.IntN(20)), MAC: ovs.MAC{0x52, 0x54, 0, byte(r.IntN(256)), byte(r.IntN(256)), byte(r.IntN(256))}}}
	}
	work := make([]Row, len(rows))
	for b.Loop() {
		copy(work, rows)
		sortRows(work)
	}
}

// A picture of the host may hold any number for a device.
func TestSortPorts(t *testing.T) {
	tables := Tables{Ports: []Port{{IfIndex: 4}, {IfIndex: -1}, {IfIndex: 1}}}
	tables.Sort()
	for i, want := range []int{-1, 1, 4} {
		if got := tables.Ports[i].IfIndex; got != want {
			t.Errorf("port %d is %d, want %d", i, got, want)
		}
	}
}
