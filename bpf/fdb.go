// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

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
	cuckoo[uint64]
	mem     []byte
	buckets []laneBucket
	seed    uint64
}

func openFDB(m *ebpf.Map, buckets int, seed uint64, wait func() error) (*fdb, error) {
	mem, err := mapMemory(m, buckets*int(unsafe.Sizeof(laneBucket{})))
	if err != nil {
		return nil, fmt.Errorf("map the FDB: %w", err)
	}
	return newFDB(mem, buckets, seed, wait), nil
}

func newFDB(mem []byte, buckets int, seed uint64, wait func() error) *fdb {
	t := &fdb{mem: mem, buckets: unsafe.Slice((*laneBucket)(unsafe.Pointer(&mem[0])), buckets), seed: seed}
	t.cuckoo = newCuckoo[uint64](t, wait)
	t.valid = laneRow{Flags: uint16(laneRowFlagROW_VALID)}.word()
	t.lasting = laneRow{Flags: uint16(laneRowFlagROW_MOVED)}.word()
	return t
}

// mapMemory maps an array map's values into this process.
func mapMemory(m *ebpf.Map, size int) ([]byte, error) {
	page := unix.Getpagesize()
	return unix.Mmap(m.FD(), 0, (size+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

func (t *fdb) close() error { return unix.Munmap(t.mem) }

func (t *fdb) keyAt(p place) *uint64  { return &t.buckets[p/4].Key[p%4] }
func (t *fdb) rowAt(p place) *uint64  { return &t.buckets[p/4].Row[p%4] }
func (t *fdb) wordAt(p place) *uint64 { return t.rowAt(p) }

func (t *fdb) places() int                  { return len(t.buckets) * int(laneLimitsBUCKET_ROWS) }
func (t *fdb) loadKey(p place) uint64       { return atomic.LoadUint64(t.keyAt(p)) }
func (t *fdb) storeKey(p place, key uint64) { atomic.StoreUint64(t.keyAt(p), key) }

func (t *fdb) next(p place) place {
	for int(p) < t.places() && t.loadKey(p) == 0 {
		p++
	}
	return p
}

// choices returns the two buckets of a key (fdb_hash, fdb_second in
// src/fdb.h).
func (t *fdb) choices(key uint64) [2]int {
	mask := uint64(len(t.buckets) - 1)
	x := (key ^ t.seed) * 0x9e3779b97f4a7c15
	x = (x ^ x>>32) * 0x94d049bb133111eb
	x ^= x >> 32
	return [2]int{int(x & mask), int((x * 0xbf58476d1ce4e5b9) >> 32 & mask)}
}

// insert publishes a row for a key that is not in the table.
func (t *fdb) insert(key uint64, row laneRow) error { return t.add(key, row.word()) }
