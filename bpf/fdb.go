// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// ErrFull says that the FDB has no place for a station.
var ErrFull = errors.New("FDB is full")

// Key names a station: its address in one VLAN of one bridge.
type Key struct {
	// Bridge is the number of the bridge, 1 to MaxBridges.
	Bridge uint8
	VLAN   ovs.VLAN
	MAC    ovs.MAC
}

// MaxBridges is how many bridges a Lane can tell apart.
const MaxBridges = 15

// word is the key as the program computes it (struct bucket in
// src/layout.h).
func (k Key) word() uint64 {
	m := k.MAC
	return uint64(m[0])<<56 | uint64(m[1])<<48 | uint64(m[2])<<40 | uint64(m[3])<<32 |
		uint64(m[4])<<24 | uint64(m[5])<<16 | uint64(k.Bridge)<<12 | uint64(k.VLAN)
}

func keyOf(w uint64) Key {
	return Key{
		Bridge: uint8(w >> 12 & 15),
		VLAN:   ovs.VLAN(w & 0xfff),
		MAC:    ovs.MAC{byte(w >> 56), byte(w >> 48), byte(w >> 40), byte(w >> 32), byte(w >> 24), byte(w >> 16)},
	}
}

// rowWord packs a row as the program reads it.
func (r laneRow) word() uint64 {
	return uint64(r.Slot) | uint64(r.Seen)<<16 | uint64(r.Stamp)<<32 | uint64(r.Flags)<<48
}

func rowOf(w uint64) laneRow {
	return laneRow{Slot: uint16(w), Seen: uint16(w >> 16), Stamp: uint16(w >> 32), Flags: uint16(w >> 48)}
}

func (r laneRow) has(f laneRowFlag) bool { return r.Flags&uint16(f) != 0 }

// fdb is the one writer of the station table; src/fdb.h tells the protocol.
type fdb struct {
	mem     []byte
	buckets []laneBucket
	seed    uint64
	// cleared holds the places that a running program may still be reading.
	cleared map[place]struct{}
	// foreign tells that another writer may have cleared any of the free places.
	foreign bool
	wait    func() error
}

// place is a bucket's number times laneLimitsBUCKET_ROWS plus the row in it.
type place int

func openFDB(m *ebpf.Map, buckets int, seed uint64, wait func() error) (*fdb, error) {
	mem, err := mapMemory(m, buckets*int(unsafe.Sizeof(laneBucket{})))
	if err != nil {
		return nil, fmt.Errorf("map the FDB: %w", err)
	}
	return newFDB(mem, buckets, seed, wait), nil
}

func newFDB(mem []byte, buckets int, seed uint64, wait func() error) *fdb {
	return &fdb{
		mem:     mem,
		buckets: unsafe.Slice((*laneBucket)(unsafe.Pointer(&mem[0])), buckets),
		seed:    seed,
		cleared: make(map[place]struct{}),
		wait:    wait,
	}
}

// mapMemory maps an array map's values into this process.
func mapMemory(m *ebpf.Map, size int) ([]byte, error) {
	page := unix.Getpagesize()
	return unix.Mmap(m.FD(), 0, (size+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func (t *fdb) close() error { return unix.Munmap(t.mem) }

func (t *fdb) keyAt(p place) *uint64 { return &t.buckets[p/4].Key[p%4] }
func (t *fdb) rowAt(p place) *uint64 { return &t.buckets[p/4].Row[p%4] }

// choices returns the two buckets of a key (fdb_hash, fdb_second in
// src/fdb.h).
func (t *fdb) choices(key uint64) [2]int {
	mask := uint64(len(t.buckets) - 1)
	x := (key ^ t.seed) * 0x9e3779b97f4a7c15
	x = (x ^ x>>32) * 0x94d049bb133111eb
	x ^= x >> 32
	return [2]int{int(x & mask), int((x * 0xbf58476d1ce4e5b9) >> 32 & mask)}
}

func (t *fdb) find(key uint64) (place, bool) {
	for _, b := range t.choices(key) {
		for i := range laneLimitsBUCKET_ROWS {
			p := place(b*4 + int(i))
			if atomic.LoadUint64(t.keyAt(p)) == key && rowOf(atomic.LoadUint64(t.rowAt(p))).has(laneRowFlagROW_VALID) {
				return p, true
			}
		}
	}
	return 0, false
}

// each calls fn for every valid row.
func (t *fdb) each(fn func(key uint64, row *uint64)) {
	for b := range t.buckets {
		for i := range laneLimitsBUCKET_ROWS {
			p := place(b*4 + int(i))
			if key := atomic.LoadUint64(t.keyAt(p)); key != 0 {
				fn(key, t.rowAt(p))
			}
		}
	}
}

// insert publishes a row for a key that is not in the table.
func (t *fdb) insert(key uint64, row laneRow) error {
	p, err := t.free(key)
	if err != nil {
		return err
	}
	atomic.StoreUint64(t.rowAt(p), row.word())
	atomic.StoreUint64(t.keyAt(p), key)
	return nil
}

// remove clears a row; its place is used again after a grace period.
func (t *fdb) remove(key uint64) {
	if p, ok := t.find(key); ok {
		t.clear(p)
	}
}

// clear empties a place and returns its row as it was last.
func (t *fdb) clear(p place) laneRow {
	last := atomic.SwapUint64(t.rowAt(p), 0)
	atomic.StoreUint64(t.keyAt(p), 0)
	t.cleared[p] = struct{}{}
	return rowOf(last)
}

// settle waits until cleared places may be used again.
func (t *fdb) settle() error {
	if len(t.cleared) == 0 && !t.foreign {
		return nil
	}
	if err := t.wait(); err != nil {
		return err
	}
	clear(t.cleared)
	t.foreign = false
	return nil
}

// emptyIn returns a place of the bucket that can be used at once.
func (t *fdb) emptyIn(bucket int) (place, bool) {
	for i := range laneLimitsBUCKET_ROWS {
		p := place(bucket*4 + int(i))
		if *t.keyAt(p) != 0 {
			continue
		}
		if _, wait := t.cleared[p]; !wait && !t.foreign {
			return p, true
		}
	}
	return 0, false
}

// maxKicks bounds how many rows change their place for a new one.
const maxKicks = 5

// free finds or makes a place for a key.
func (t *fdb) free(key uint64) (place, error) {
	for range 2 {
		for _, b := range t.choices(key) {
			if p, ok := t.emptyIn(b); ok {
				return p, nil
			}
		}
		if len(t.cleared) == 0 && !t.foreign {
			break
		}
		if err := t.settle(); err != nil {
			return 0, err
		}
	}
	return t.kick(key)
}

// kick makes room by moving rows to their other bucket: breadth first, so
// that as few as possible move.
func (t *fdb) kick(key uint64) (place, error) {
	type step struct {
		p    place
		from int // index of the step before, -1 for none
		deep int
	}
	var steps []step
	seen := make(map[place]bool)
	push := func(bucket, from, deep int) {
		for i := range laneLimitsBUCKET_ROWS {
			if p := place(bucket*4 + int(i)); !seen[p] {
				seen[p] = true
				steps = append(steps, step{p, from, deep})
			}
		}
	}
	for _, b := range t.choices(key) {
		push(b, -1, 0)
	}
	for i := 0; i < len(steps); i++ {
		s := steps[i]
		if s.deep >= maxKicks {
			break
		}
		for _, b := range t.choices(*t.keyAt(s.p)) {
			empty, ok := t.emptyIn(b)
			if !ok {
				push(b, i, s.deep+1)
				continue
			}
			// Walk back: each row on the way moves into the place that
			// the one behind it has left.
			for at := i; at >= 0; at = steps[at].from {
				if err := t.move(steps[at].p, empty); err != nil {
					return 0, err
				}
				if err := t.settle(); err != nil {
					return 0, err
				}
				empty = steps[at].p
			}
			return empty, nil
		}
	}
	return 0, ErrFull
}

// move publishes a row in its second place before it leaves the first, and
// carries over what changed in between. A program that looked into the new
// bucket too early may yet look into the old one, so the row leaves that only
// when such programs have ended.
func (t *fdb) move(from, to place) error {
	key := *t.keyAt(from)
	copied := atomic.LoadUint64(t.rowAt(from))
	atomic.StoreUint64(t.rowAt(to), copied)
	atomic.StoreUint64(t.keyAt(to), key)
	err := t.wait()
	last := t.clear(from)
	if last.word() == copied || atomic.CompareAndSwapUint64(t.rowAt(to), copied, last.word()) {
		return err
	}
	if last.has(laneRowFlagROW_MOVED) {
		atomic.StoreUint64(t.rowAt(to), last.word())
	}
	return err
}
