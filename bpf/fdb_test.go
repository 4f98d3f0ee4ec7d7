// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// readers watches a table as the programs that read it would. Between two
// grace periods a place belongs to one key only, and a key that stays in the
// table stays in one of its places: a program that looks into one bucket after
// the other can't miss it.
type readers struct {
	*testing.T
	fdb   *fdb
	owner map[place]uint64
	// stays holds where a key has been since the last wait.
	stays map[uint64][]place
	model map[uint64]laneRow
	waits int
}

func watch(t *testing.T, buckets int, seed uint64) *readers {
	r := &readers{T: t, owner: make(map[place]uint64), stays: make(map[uint64][]place), model: make(map[uint64]laneRow)}
	r.fdb = newFDB(make([]byte, buckets*64), buckets, seed, func() error {
		r.waits++
		r.look("waiting")
		clear(r.owner)
		clear(r.stays)
		r.look("after the wait")
		return nil
	})
	return r
}

// look checks what a program could see now.
func (r *readers) look(when string) {
	r.Helper()
	places := make(map[uint64][]place)
	for p := range place(len(r.fdb.buckets) * 4) {
		key := *r.fdb.keyAt(p)
		if key == 0 {
			continue
		}
		if was, ok := r.owner[p]; ok && was != key {
			r.Fatalf("%s: place %d went from key %#x to %#x without a grace period", when, p, was, key)
		}
		r.owner[p] = key
		places[key] = append(places[key], p)
		if b := r.fdb.choices(key); int(p/4) != b[0] && int(p/4) != b[1] {
			r.Fatalf("%s: key %#x is in bucket %d, want %d or %d", when, key, p/4, b[0], b[1])
		}
	}
	for key, row := range r.model {
		at := places[key]
		if was, known := r.stays[key]; known {
			at = slices.DeleteFunc(at, func(p place) bool { return !slices.Contains(was, p) })
		}
		if len(at) == 0 {
			r.Fatalf("%s: key %#x has left places %v without a grace period", when, key, r.stays[key])
		}
		r.stays[key] = at
		p, ok := r.fdb.find(key)
		if !ok {
			r.Fatalf("%s: key %#x is not found", when, key)
		}
		if got := rowOf(*r.fdb.rowAt(p)); got != row {
			r.Fatalf("%s: key %#x has row %+v, want %+v", when, key, got, row)
		}
	}
}

// check compares the whole table with the model.
func (r *readers) check(when string) {
	r.Helper()
	r.look(when)
	got := make(map[uint64]laneRow)
	r.fdb.each(func(key uint64, row *uint64) {
		if _, twice := got[key]; twice {
			r.Fatalf("%s: key %#x is in the table twice", when, key)
		}
		got[key] = rowOf(*row)
	})
	if d := cmp.Diff(r.model, got); d != "" {
		r.Fatalf("%s: table (-want +got):\n%s", when, d)
	}
}

func randomKey(rng *rand.Rand, n int) uint64 {
	i := rng.IntN(n)
	return Key{uint8(1 + i%3), ovs.VLAN(i % 5 * 1000), ovs.MAC{2, byte(i >> 8), 0, 0, byte(i), byte(i * 7)}}.word()
}

// The table does what a map does, at any load.
func TestFDBModel(t *testing.T) {
	rng := seeded(t)
	for _, buckets := range []int{1, 2, 4, 16, 64} {
		t.Run(fmt.Sprintf("%d buckets", buckets), func(t *testing.T) {
			r := watch(t, buckets, rng.Uint64())
			places, steps := buckets*4, 3000
			if testing.Short() {
				steps = max(600, 12*places)
			}
			full, most := 0, 0
			for step := range steps {
				key := randomKey(rng, places*2)
				row := laneRow{Slot: uint16(rng.IntN(100)), Stamp: uint16(rng.IntN(100)), Flags: uint16(laneRowFlagROW_VALID)}
				_, known := r.model[key]
				switch {
				case !known && rng.IntN(3) > 0:
					switch err := r.fdb.insert(key, row); {
					case err == nil:
						r.model[key] = row
					case !errors.Is(err, ErrFull):
						t.Fatal(err)
					case len(r.model) < places/2 && buckets > 4:
						t.Fatalf("full with %d keys in %d places", len(r.model), places)
					default:
						full++
					}
				case known && rng.IntN(2) == 0:
					p, _ := r.fdb.find(key)
					row = r.model[key]
					row.Flags ^= uint16(laneRowFlagROW_MOVED)
					*r.fdb.rowAt(p) = row.word()
					r.model[key] = row
				default:
					delete(r.model, key)
					delete(r.stays, key)
					r.fdb.remove(key)
				}
				if places <= 16 || step%20 == 0 {
					r.check("after a step")
				} else {
					r.look("after a step")
				}
				most = max(most, len(r.model))
			}
			t.Logf("at most %d of %d places, full %d times, %d waits", most, places, full, r.waits)
			if most < places*9/10 {
				t.Errorf("never more than %d of %d places were used", most, places)
			}
			if full == 0 && places <= 64 {
				t.Errorf("the table was never full")
			}
		})
	}
}

// A table holds the rows that it was sized for, whatever their addresses have
// in common.
func TestFDBCapacity(t *testing.T) {
	rng := seeded(t)
	for name, mac := range map[string]func(i int) ovs.MAC{
		"last octets count":  func(i int) ovs.MAC { return ovs.MAC{0x52, 0x54, 0, byte(i >> 16), byte(i >> 8), byte(i)} },
		"first octets count": func(i int) ovs.MAC { return ovs.MAC{byte(i>>16) << 1, byte(i >> 8), byte(i), 0, 0, 1} },
		"middle octets":      func(i int) ovs.MAC { return ovs.MAC{0x52, 0x54, byte(i >> 8), byte(i), 0, 1} },
		"multiples of 256":   func(i int) ovs.MAC { return ovs.MAC{0x52, 0x54, byte(i >> 8), byte(i), byte(i >> 16), 0} },
		"random": func(int) ovs.MAC {
			w := rng.Uint64()
			return ovs.MAC{byte(w) &^ 1, byte(w >> 8), byte(w >> 16), byte(w >> 24), byte(w >> 32), byte(w >> 40)}
		},
	} {
		for _, rows := range []int{64, 1024, 65536} {
			buckets := powerOfTwo(rows * 2 / 4)
			f := newFDB(make([]byte, buckets*64), buckets, rng.Uint64(), func() error { return nil })
			for i := range rows {
				key := Key{1, 10, mac(i)}.word()
				if _, ok := f.find(key); ok {
					continue
				}
				if err := f.insert(key, laneRow{Flags: uint16(laneRowFlagROW_VALID)}); err != nil {
					t.Errorf("%s: row %d of %d: %v", name, i, rows, err)
					break
				}
			}
		}
	}
	// One station in every VLAN of every bridge.
	f := newFDB(make([]byte, 32768*64), 32768, rng.Uint64(), func() error { return nil })
	for bridge := uint8(1); bridge <= MaxBridges; bridge++ {
		for vlan := range ovs.MaxVLAN + 1 {
			if err := f.insert(Key{bridge, vlan, macA}.word(), laneRow{Flags: uint16(laneRowFlagROW_VALID)}); err != nil {
				t.Fatalf("bridge %d VLAN %d: %v", bridge, vlan, err)
			}
		}
	}
}

// A place whose wait failed is not used again.
func TestFDBWaitFails(t *testing.T) {
	broken := errors.New("no grace")
	f := newFDB(make([]byte, 64), 1, 1, func() error { return broken })
	row := laneRow{Flags: uint16(laneRowFlagROW_VALID)}
	for i := range 4 {
		if err := f.insert(Key{1, 0, ovs.MAC{5: byte(i)}}.word(), row); err != nil {
			t.Fatal(err)
		}
	}
	f.remove(Key{1, 0, ovs.MAC{5: 2}}.word())
	if err := f.insert(Key{1, 0, macA}.word(), row); !errors.Is(err, broken) {
		t.Errorf("insert without a grace period: %v", err)
	}
	if _, ok := f.find(Key{1, 0, macA}.word()); ok {
		t.Errorf("the row is in the table")
	}
}

func TestKeyWord(t *testing.T) {
	k := Key{Bridge: 15, VLAN: 4095, MAC: ovs.MAC{1, 2, 3, 4, 5, 6}}
	if w := k.word(); w != 0x010203040506ffff {
		t.Errorf("word of %s is %#x", k, w)
	}
	for _, k := range []Key{k, keyA, {1, 0, ovs.MAC{}}, {7, 100, frame.Broadcast}} {
		if got := keyOf(k.word()); got != k {
			t.Errorf("key %s comes back as %s", k, got)
		}
	}
	r := laneRow{Slot: 1, Seen: 2, Stamp: 3, Flags: 4}
	if got := rowOf(r.word()); got != r {
		t.Errorf("row %+v comes back as %+v", r, got)
	}
}

// The program finds every row that the writer put into a table nine tenths
// full, where each place of both buckets is in use.
func TestProgramFindsRows(t *testing.T) {
	w := newWorld(t, 2, Config{Rows: 512})
	rng := seeded(t)
	w.reset()
	w.lane.fdb.wait = func() error { return nil } // nobody reads yet
	w.port(0, trunk())
	w.port(1, trunk())
	var keys []Key
	for len(keys) < 920 {
		r := rng.Uint64()
		k := Key{1, ovs.VLAN(r & 0xfff), ovs.MAC{byte(r>>56) &^ 1, byte(r >> 48), byte(r >> 40), byte(r >> 32), byte(r >> 24), byte(r >> 16)}}
		w.row(k, 0, true)
		keys = append(keys, k)
	}
	used := make(map[[2]int]int) // choice, place in its bucket
	for _, k := range keys {
		p, _ := w.lane.fdb.find(k.word())
		c := w.lane.fdb.choices(k.word())
		used[[2]int{slices.Index(c[:], int(p/4)), int(p % 4)}]++
		b := frame.UDP4(k.MAC, k.MAC)
		if k.VLAN != 0 {
			b = frame.Retag(b, frame.Tag{VID: k.VLAN})
		}
		// Found as source and as destination.
		before := w.counters(0).Frames["hairpin"]
		w.run(0, b, 0)
		if w.counters(0).Frames["hairpin"] != before+1 {
			t.Fatalf("%s at place %d is not found: %v", k, p, w.counters(0).Frames)
		}
		// And nobody else.
		near := k
		near.MAC[5] ^= 1
		if w.lane.FindRow(near) == nil {
			before := w.counters(0).Frames["unknown"]
			f, _ := frame.Parse(b)
			f.Dst = near.MAC
			w.run(0, f.Bytes(), 0)
			if w.counters(0).Frames["unknown"] != before+1 {
				t.Fatalf("%s is found: %v", near, w.counters(0).Frames)
			}
		}
	}
	for choice := range 2 {
		for i := range 4 {
			if used[[2]int{choice, i}] == 0 {
				t.Errorf("place %d of choice %d was never used: %v", i, choice, used)
			}
		}
	}
	if got := len(w.lane.Rows()); got != len(keys) {
		t.Errorf("%d rows, want %d", got, len(keys))
	}
}
