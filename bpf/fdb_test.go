// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"slices"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

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
