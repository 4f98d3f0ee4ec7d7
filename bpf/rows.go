// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
)

// Row is where a station is.
type Row struct {
	Key
	// IfIndex is its port's device; 0 when the port has left the table.
	IfIndex int
	// Target tells that frames may be sent to it; else the row only vouches
	// for frames from it.
	Target bool
	// Mirrored tells that frames from it pass.
	Mirrored bool
	// Declared tells that attached-mac says so: a port with an attached-mac
	// of its own does not mark the row as moved.
	Declared bool
	// Moved tells that the program saw the station on another port, or that
	// the row is not confirmed yet: frames from and to it pass.
	Moved bool
	// Seen is the device where the station of a Moved row was seen last; 0
	// for other rows. PutRow does not look at it.
	Seen int
}

// Rows reads all rows from the kernel's memory, in no order.
func (l *Lane) Rows() []Row { return slices.Collect(l.EachRow(0)) }

// EachRow is Rows one by one, which takes no memory. The rows are in an order of
// chance that does not change; start says with which of the table's buckets it
// begins.
func (l *Lane) EachRow(start uint32) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		for i := range l.fdb.buckets {
			b := &l.fdb.buckets[(int(start)+i)&(len(l.fdb.buckets)-1)]
			for j := range b.Key {
				key := atomic.LoadUint64(&b.Key[j])
				if key == 0 {
					continue
				}
				word := atomic.LoadUint64(&b.Row[j])
				if rowOf(word).has(laneRowFlagROW_VALID) && !yield(l.row(key, word)) {
					return
				}
			}
		}
	}
}

// FindRow reads one row from the kernel's memory; nil when there is none.
func (l *Lane) FindRow(k Key) *Row {
	p, ok := l.fdb.find(k.word())
	if !ok {
		return nil
	}
	r := l.row(k.word(), atomic.LoadUint64(l.fdb.rowAt(p)))
	return &r
}

func (l *Lane) row(key, word uint64) Row {
	r, seen := rowOf(word), 0
	if r.has(laneRowFlagROW_MOVED) {
		seen = l.ports.ifindexAt(int(r.Seen))
	}
	return Row{
		Seen:     seen,
		Key:      keyOf(key),
		IfIndex:  l.ports.ifindexAt(int(r.Slot)),
		Target:   r.has(laneRowFlagROW_TARGET),
		Mirrored: r.has(laneRowFlagROW_MIRRORED),
		Declared: r.has(laneRowFlagROW_DECLARED),
		Moved:    r.has(laneRowFlagROW_MOVED),
	}
}

// Ask tells the program that OVS's MAC table is about to be read: a mark that
// is set or renewed from now on is newer than what is read.
func (l *Lane) Ask() {
	l.fdb.each(func(_ uint64, word *uint64) {
		for {
			w := atomic.LoadUint64(word)
			r := rowOf(w)
			if !r.has(laneRowFlagROW_VALID) || !r.has(laneRowFlagROW_MOVED) {
				return
			}
			r.Flags |= uint16(laneRowFlagROW_ASKED)
			if atomic.CompareAndSwapUint64(word, w, r.word()) {
				return
			}
		}
	})
}

// Marked counts the rows that are marked as moved. It is asked for each second: it
// looks at nothing but the rows' words, which are 0 where there is no row.
func (l *Lane) Marked() int {
	marked := 0
	for i := range l.fdb.buckets {
		b := &l.fdb.buckets[i]
		for j := range b.Row {
			if r := rowOf(atomic.LoadUint64(&b.Row[j])); r.has(laneRowFlagROW_VALID) && r.has(laneRowFlagROW_MOVED) {
				marked++
			}
		}
	}
	return marked
}

// PutRow writes a row that was read from OVS after the last Ask. A row that is
// new stays marked as moved until Confirm. false means that the program saw
// the station elsewhere after that Ask: the mark stays, and the daemon must
// look again. The port must be in the table.
func (l *Lane) PutRow(r Row) (bool, error) {
	slot, ok := l.ports.slotOf(r.IfIndex)
	if !ok {
		return false, fmt.Errorf("add FDB row %s: device %d is not on the lane", r.Key, r.IfIndex)
	}
	flags := r.flags()
	key := r.Key.word()
	p, ok := l.fdb.find(key)
	if !ok {
		flags |= uint16(laneRowFlagROW_MOVED | laneRowFlagROW_ASKED)
		stamp := l.lateStamp()
		if r.Declared {
			stamp -= 1 << 8 // OVS may not know the station: its first frame passes
		}
		err := l.fdb.insert(key, laneRow{Slot: uint16(slot), Seen: uint16(slot), Stamp: stamp, Flags: flags})
		if err != nil {
			return false, fmt.Errorf("add FDB row %s: %w", r.Key, err)
		}
		return true, nil
	}
	word := l.fdb.rowAt(p)
	for {
		w := atomic.LoadUint64(word)
		cur := rowOf(w)
		if cur.has(laneRowFlagROW_MOVED) && !cur.has(laneRowFlagROW_ASKED) && int(cur.Seen) != slot {
			return false, nil
		}
		next := laneRow{Slot: uint16(slot), Stamp: cur.Stamp, Flags: flags}
		if atomic.CompareAndSwapUint64(word, w, next.word()) {
			return true, nil
		}
	}
}

func (r Row) flags() uint16 {
	flags := laneRowFlagROW_VALID
	if r.Target {
		flags |= laneRowFlagROW_TARGET
	}
	if r.Mirrored {
		flags |= laneRowFlagROW_MIRRORED
	}
	if r.Declared {
		flags |= laneRowFlagROW_DECLARED
	}
	return uint16(flags)
}

// Confirm ends the trial of a row that PutRow made: unless its station was
// seen elsewhere meanwhile, the row counts from now on.
func (l *Lane) Confirm(k Key) bool {
	p, ok := l.fdb.find(k.word())
	if !ok {
		return false
	}
	word := l.fdb.rowAt(p)
	for {
		w := atomic.LoadUint64(word)
		cur := rowOf(w)
		if !cur.has(laneRowFlagROW_MOVED) {
			return true
		}
		if !cur.has(laneRowFlagROW_ASKED) && cur.Seen != cur.Slot {
			return false
		}
		cur.Flags &^= uint16(laneRowFlagROW_MOVED | laneRowFlagROW_ASKED)
		cur.Seen = 0
		if atomic.CompareAndSwapUint64(word, w, cur.word()) {
			return true
		}
	}
}

// MarkRow marks a row as moved, as the program does: frames from and to the
// station pass until a later look at OVS's MAC table clears it.
func (l *Lane) MarkRow(k Key) {
	if p, ok := l.fdb.find(k.word()); ok {
		l.mark(l.fdb.rowAt(p))
	}
}

func (l *Lane) mark(word *uint64) {
	for {
		w := atomic.LoadUint64(word)
		r := rowOf(w)
		if r.has(laneRowFlagROW_MOVED) {
			return
		}
		r.Flags |= uint16(laneRowFlagROW_MOVED | laneRowFlagROW_ASKED)
		r.Seen = r.Slot
		if atomic.CompareAndSwapUint64(word, w, r.word()) {
			return
		}
	}
}

// DeleteRow takes a row out; a row that is not there is no error.
func (l *Lane) DeleteRow(k Key) { l.fdb.remove(k.word()) }

// String returns the key for messages: VLAN and MAC of a bridge by number.
func (k Key) String() string {
	return fmt.Sprintf("bridge %d VLAN %d %s", k.Bridge, k.VLAN, k.MAC)
}
