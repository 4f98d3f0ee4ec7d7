// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// flowWords are the two words of a flow's key (struct flow_bucket in
// src/layout.h).
type flowWords struct{ from, to uint64 }

const (
	flowIP6 = uint64(laneFlowBitFLOW_IP6)
	flowKey = uint64(laneFlowBitFLOW_KEY)
)

// slot is that of the port that frames come from.
func (k flowWords) slot() int { return int(k.to & (flowKey - 1)) }

// word packs a flow as the program reads it.
func (f laneFlow) word() uint64 {
	return uint64(f.Slot) | uint64(f.Tci)<<16 | uint64(f.Stamp)<<32 | uint64(f.Keepalive)<<48 | uint64(f.Flags)<<56
}

func flowOf(w uint64) laneFlow {
	return laneFlow{Slot: uint16(w), Tci: uint16(w >> 16), Stamp: uint16(w >> 32), Keepalive: uint8(w >> 48), Flags: uint8(w >> 56)}
}

// flowTable is the one writer of the flows; src/flows.h tells the protocol.
type flowTable struct {
	cuckoo[flowWords]
	mem     []byte
	buckets []laneFlowBucket
	seed    uint64
}

func openFlows(m *ebpf.Map, buckets int, seed uint64, wait func() error) (*flowTable, error) {
	mem, err := mapMemory(m, buckets*int(unsafe.Sizeof(laneFlowBucket{})))
	if err != nil {
		return nil, fmt.Errorf("map the flow table: %w", err)
	}
	return newFlows(mem, buckets, seed, wait), nil
}

func newFlows(mem []byte, buckets int, seed uint64, wait func() error) *flowTable {
	t := &flowTable{mem: mem, buckets: unsafe.Slice((*laneFlowBucket)(unsafe.Pointer(&mem[0])), buckets), seed: seed}
	t.cuckoo = newCuckoo[flowWords](t, wait)
	t.valid = laneFlow{Flags: uint8(laneFlowFlagFLOW_VALID)}.word()
	return t
}

func (t *flowTable) close() error { return unix.Munmap(t.mem) }

func (t *flowTable) wordAt(p place) *uint64 { return &t.buckets[p/4].Flow[p%4] }
func (t *flowTable) fromAt(p place) *uint64 { return &t.buckets[p/4].From[p%4] }
func (t *flowTable) toAt(p place) *uint64   { return &t.buckets[p/4].To[p%4] }

func (t *flowTable) places() int { return len(t.buckets) * int(laneLimitsBUCKET_ROWS) }

func (t *flowTable) next(p place) place {
	for int(p) < t.places() && atomic.LoadUint64(t.toAt(p)) == 0 {
		p++
	}
	return p
}

func (t *flowTable) loadKey(p place) flowWords {
	k := flowWords{from: atomic.LoadUint64(t.fromAt(p)), to: atomic.LoadUint64(t.toAt(p))}
	if k.to == 0 {
		return flowWords{}
	}
	return k
}

// storeKey keeps the second word 0, which is no frame's, while the first changes.
func (t *flowTable) storeKey(p place, k flowWords) {
	if k.to == 0 {
		atomic.StoreUint64(t.toAt(p), 0)
	}
	atomic.StoreUint64(t.fromAt(p), k.from)
	atomic.StoreUint64(t.toAt(p), k.to)
}

// choices returns the two buckets of a key (flow_hash, flow_second in
// src/flows.h).
func (t *flowTable) choices(k flowWords) [2]int {
	mask := uint64(len(t.buckets) - 1)
	x := (k.from ^ t.seed) * 0x9e3779b97f4a7c15
	x = (x ^ x>>32 ^ k.to ^ k.to>>32) * 0x94d049bb133111eb
	x ^= x >> 32
	return [2]int{int(x & mask), int((x * 0xbf58476d1ce4e5b9) >> 32 & mask)}
}
