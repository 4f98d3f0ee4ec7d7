// SPDX-License-Identifier: Apache-2.0

package ovs

// Number returns the address as a number of 48 bits, first octet highest.
func (m MAC) Number() uint64 {
	return uint64(m[0])<<40 | uint64(m[1])<<32 | uint64(m[2])<<24 | uint64(m[3])<<16 | uint64(m[4])<<8 | uint64(m[5])
}

// SortBy sorts a list by the number that key gives each of its elements; those of
// one number stay in their order. It is a radix sort: a MAC table of 100,000 rows
// is sorted several times at each look, which comparing would make most of the work.
func SortBy[T any](list []T, key func(*T) uint64) {
	sorted, last := true, uint64(0)
	for i := range list {
		k := key(&list[i])
		sorted, last = sorted && last <= k, k
	}
	if sorted {
		return
	}
	type place struct {
		key uint64
		at  int
	}
	places, other := make([]place, len(list)), make([]place, len(list))
	for i := range list {
		places[i] = place{key: key(&list[i]), at: i}
	}
	for shift := 0; shift < 64; shift += 8 { // octet by octet, from the lowest on
		var next [256]int
		for _, p := range places {
			next[byte(p.key>>shift)]++
		}
		if next[byte(places[0].key>>shift)] == len(places) {
			continue // all have the same
		}
		sum := 0
		for octet, n := range next {
			next[octet], sum = sum, sum+n
		}
		for _, p := range places {
			octet := byte(p.key >> shift)
			other[next[octet]] = p
			next[octet]++
		}
		places, other = other, places
	}
	moved := make([]T, len(list))
	for i, p := range places {
		moved[i] = list[p.at]
	}
	copy(list, moved)
}
