// SPDX-License-Identifier: Apache-2.0

package ovs

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestSortBy(t *testing.T) {
	type element struct {
		key uint64
		at  int
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, mask := range []uint64{0, 1, 0xff, 0xff00ff, 1 << 63, 1<<64 - 1} {
		for _, n := range []int{0, 1, 2, 3, 500} {
			list := make([]element, n)
			for i := range list {
				list[i] = element{r.Uint64() & mask, i}
			}
			want := slices.Clone(list)
			slices.SortStableFunc(want, func(a, b element) int { return cmp.Compare(a.key, b.key) })
			SortBy(list, func(e *element) uint64 { return e.key })
			if !slices.Equal(want, list) {
				t.Errorf("%d numbers of %#x: %v, want %v", n, mask, list, want)
			}
		}
	}
}

func TestMACNumber(t *testing.T) {
	if got := (MAC{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc}).Number(); got != 0x123456789abc {
		t.Errorf("%#x", got)
	}
}
