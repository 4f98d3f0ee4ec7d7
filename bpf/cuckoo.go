// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"sync/atomic"
)

// ErrFull says that a table has no place for a station or a flow.
var ErrFull = errors.New("table is full")

// cuckoo is the one writer of a table of two choices with buckets of four, which
// programs read meanwhile; src/fdb.h tells the protocol. K is the key, of which
// the zero value is none.
type cuckoo[K comparable] struct {
	cells cells[K]
	// valid is the bit of a word that counts, lasting one that is not lost when it
	// is set while the word changes its place.
	valid, lasting uint64
	// cleared holds the places that a running program may still be reading.
	cleared map[place]struct{}
	// foreign tells that another writer may have cleared any of the free places.
	foreign bool
	wait    func() error
}

// cells are the places of such a table: a key and a word each.
type cells[K comparable] interface {
	places() int
	// next returns the first place from p on that has a key, or places().
	next(p place) place
	// choices returns the two buckets of a key.
	choices(key K) [2]int
	// loadKey returns none for half a key, and storeKey leaves no other in between.
	loadKey(p place) K
	storeKey(p place, key K)
	wordAt(p place) *uint64
}

// place is a bucket's number times laneLimitsBUCKET_ROWS plus the row in it.
type place int

func newCuckoo[K comparable](of cells[K], wait func() error) cuckoo[K] {
	return cuckoo[K]{cells: of, cleared: make(map[place]struct{}), wait: wait}
}

func (t *cuckoo[K]) find(key K) (place, bool) {
	for _, b := range t.cells.choices(key) {
		for i := range laneLimitsBUCKET_ROWS {
			p := place(b*4 + int(i))
			if t.cells.loadKey(p) == key && atomic.LoadUint64(t.cells.wordAt(p))&t.valid != 0 {
				return p, true
			}
		}
	}
	return 0, false
}

// each calls fn for every key and its word.
func (t *cuckoo[K]) each(fn func(key K, word *uint64)) {
	var none K
	for p := t.cells.next(0); int(p) < t.cells.places(); p = t.cells.next(p + 1) {
		if key := t.cells.loadKey(p); key != none {
			fn(key, t.cells.wordAt(p))
		}
	}
}

// add publishes a word for a key that is not in the table.
func (t *cuckoo[K]) add(key K, word uint64) error {
	p, err := t.free(key)
	if err != nil {
		return err
	}
	atomic.StoreUint64(t.cells.wordAt(p), word)
	t.cells.storeKey(p, key)
	return nil
}

// remove clears the word of a key; its place is used again after a grace period.
func (t *cuckoo[K]) remove(key K) {
	if p, ok := t.find(key); ok {
		t.clear(p)
	}
}

// clear empties a place and returns its word as it was last.
func (t *cuckoo[K]) clear(p place) uint64 {
	var none K
	last := atomic.SwapUint64(t.cells.wordAt(p), 0)
	t.cells.storeKey(p, none)
	t.cleared[p] = struct{}{}
	return last
}

// settle waits until cleared places may be used again.
func (t *cuckoo[K]) settle() error {
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
func (t *cuckoo[K]) emptyIn(bucket int) (place, bool) {
	var none K
	for i := range laneLimitsBUCKET_ROWS {
		p := place(bucket*4 + int(i))
		if t.cells.loadKey(p) != none {
			continue
		}
		if _, wait := t.cleared[p]; !wait && !t.foreign {
			return p, true
		}
	}
	return 0, false
}

// maxKicks bounds how many keys change their place for a new one.
const maxKicks = 5

// free finds or makes a place for a key.
func (t *cuckoo[K]) free(key K) (place, error) {
	for range 2 {
		for _, b := range t.cells.choices(key) {
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

// kick makes room by moving keys to their other bucket: breadth first, so
// that as few as possible move.
func (t *cuckoo[K]) kick(key K) (place, error) {
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
	for _, b := range t.cells.choices(key) {
		push(b, -1, 0)
	}
	for i := 0; i < len(steps); i++ {
		s := steps[i]
		if s.deep >= maxKicks {
			break
		}
		for _, b := range t.cells.choices(t.cells.loadKey(s.p)) {
			empty, ok := t.emptyIn(b)
			if !ok {
				push(b, i, s.deep+1)
				continue
			}
			// Walk back: each key on the way moves into the place that
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

// move publishes a key in its second place before it leaves the first, and
// carries over what changed in between. A program that looked into the new
// bucket too early may yet look into the old one, so the key leaves that only
// when such programs have ended.
func (t *cuckoo[K]) move(from, to place) error {
	copied, word := atomic.LoadUint64(t.cells.wordAt(from)), t.cells.wordAt(to)
	atomic.StoreUint64(word, copied)
	t.cells.storeKey(to, t.cells.loadKey(from))
	err := t.wait()
	last := t.clear(from)
	if last == copied || atomic.CompareAndSwapUint64(word, copied, last) {
		return err
	}
	if last&t.lasting != 0 {
		atomic.StoreUint64(word, last)
	}
	return err
}

// mend finishes what a writer that ended in the middle has begun: each prefix of
// its steps is safe for the programs, but not each is one that the next writer
// expects. A key that is in two places was about to change its place: it leaves
// both.
func (t *cuckoo[K]) mend() {
	var none K
	for p := range place(t.cells.places()) {
		key, word := t.cells.loadKey(p), atomic.LoadUint64(t.cells.wordAt(p))
		switch {
		case key == none && word == 0:
		case key == none || word&t.valid == 0:
			t.clear(p)
		default:
			if other, ok := t.other(key, p); ok {
				t.clear(p)
				t.clear(other)
			}
		}
	}
}

// other finds a second place of a key.
func (t *cuckoo[K]) other(key K, than place) (place, bool) {
	for _, b := range t.cells.choices(key) {
		for i := range laneLimitsBUCKET_ROWS {
			if p := place(b*4 + int(i)); p != than && t.cells.loadKey(p) == key {
				return p, true
			}
		}
	}
	return 0, false
}
