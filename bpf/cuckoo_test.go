// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// readers watches a table as the programs that read it would. Between two
// grace periods a place belongs to one key only, and a key that stays in the
// table stays in one of its places: a program that looks into one bucket after
// the other can't miss it.
type readers[K comparable] struct {
	*testing.T
	table *cuckoo[K]
	owner map[place]K
	// stays holds where a key has been since the last wait.
	stays map[K][]place
	model map[K]uint64
	waits int
}

// watch watches a table that is empty.
func watch[K comparable](t *testing.T, table *cuckoo[K]) *readers[K] {
	r := &readers[K]{T: t, table: table, owner: make(map[place]K), stays: make(map[K][]place), model: make(map[K]uint64)}
	table.wait = func() error {
		r.waits++
		r.look("waiting")
		clear(r.owner)
		clear(r.stays)
		r.look("after the wait")
		return nil
	}
	return r
}

// look checks what a program could see now.
func (r *readers[K]) look(when string) {
	r.Helper()
	var none K
	places := make(map[K][]place)
	for p := range place(r.table.cells.places()) {
		key := r.table.cells.loadKey(p)
		if key == none {
			continue
		}
		if was, ok := r.owner[p]; ok && was != key {
			r.Fatalf("%s: place %d went from key %v to %v without a grace period", when, p, was, key)
		}
		r.owner[p] = key
		places[key] = append(places[key], p)
		if b := r.table.cells.choices(key); int(p/4) != b[0] && int(p/4) != b[1] {
			r.Fatalf("%s: key %v is in bucket %d, want %d or %d", when, key, p/4, b[0], b[1])
		}
	}
	for key, word := range r.model {
		at := places[key]
		if was, known := r.stays[key]; known {
			at = slices.DeleteFunc(at, func(p place) bool { return !slices.Contains(was, p) })
		}
		if len(at) == 0 {
			r.Fatalf("%s: key %v has left places %v without a grace period", when, key, r.stays[key])
		}
		r.stays[key] = at
		p, ok := r.table.find(key)
		if !ok {
			r.Fatalf("%s: key %v is not found", when, key)
		}
		if got := *r.table.cells.wordAt(p); got != word {
			r.Fatalf("%s: key %v has word %#x, want %#x", when, key, got, word)
		}
	}
}

// check compares the whole table with the model.
func (r *readers[K]) check(when string) {
	r.Helper()
	r.look(when)
	got := make(map[K]uint64)
	r.table.each(func(key K, word *uint64) {
		if _, twice := got[key]; twice {
			r.Fatalf("%s: key %v is in the table twice", when, key)
		}
		got[key] = *word
	})
	if !maps.Equal(r.model, got) {
		r.Fatalf("%s: table is %v, want %v", when, got, r.model)
	}
}

func randomKey(rng *rand.Rand, n int) uint64 {
	i := rng.IntN(n)
	return Key{uint8(1 + i%3), ovs.VLAN(i % 5 * 1000), ovs.MAC{2, byte(i >> 8), 0, 0, byte(i), byte(i * 7)}}.word()
}

func randomFlow(rng *rand.Rand, n int) flowWords {
	i := rng.IntN(n)
	return flowWords{
		from: Key{MAC: ovs.MAC{2, byte(i >> 8), 0, 0, byte(i), byte(i * 7)}}.word() | uint64(i%3*10) | uint64(i&1)*flowIP6,
		to:   Key{MAC: ovs.MAC{2, 0, byte(i % 4), 0, 0, 1}}.word() | flowKey | uint64(i%5),
	}
}

// The tables do what a map does, at any load.
func TestTableModel(t *testing.T) {
	rng := seeded(t)
	for _, buckets := range []int{1, 2, 4, 16, 64} {
		t.Run(fmt.Sprintf("stations in %d buckets", buckets), func(t *testing.T) {
			f := newFDB(make([]byte, buckets*64), buckets, rng.Uint64(), nil)
			playModel(rng, watch(t, &f.cuckoo), randomKey)
		})
		t.Run(fmt.Sprintf("flows in %d buckets", buckets), func(t *testing.T) {
			f := newFlows(make([]byte, buckets*128), buckets, rng.Uint64(), nil)
			playModel(rng, watch(t, &f.cuckoo), randomFlow)
		})
	}
}

// playModel adds, changes and removes random keys.
func playModel[K comparable](rng *rand.Rand, r *readers[K], key func(*rand.Rand, int) K) {
	places, steps := r.table.cells.places(), 3000
	if testing.Short() {
		steps = max(600, 12*places)
	}
	full, most := 0, 0
	for step := range steps {
		key := key(rng, places*2)
		_, known := r.model[key]
		switch {
		case !known && rng.IntN(3) > 0:
			word := rng.Uint64() | r.table.valid
			switch err := r.table.add(key, word); {
			case err == nil:
				r.model[key] = word
			case !errors.Is(err, ErrFull):
				r.Fatal(err)
			case len(r.model) < places/2 && places > 16:
				r.Fatalf("full with %d keys in %d places", len(r.model), places)
			default:
				full++
			}
		case known && rng.IntN(2) == 0:
			p, _ := r.table.find(key)
			word := r.model[key] ^ 1
			*r.table.cells.wordAt(p) = word
			r.model[key] = word
		default:
			delete(r.model, key)
			delete(r.stays, key)
			r.table.remove(key)
		}
		if places <= 16 || step%20 == 0 {
			r.check("after a step")
		} else {
			r.look("after a step")
		}
		most = max(most, len(r.model))
	}
	r.Logf("at most %d of %d places, full %d times, %d waits", most, places, full, r.waits)
	if most < places*9/10 {
		r.Errorf("never more than %d of %d places were used", most, places)
	}
	if full == 0 && places <= 64 {
		r.Errorf("the table was never full")
	}
}
