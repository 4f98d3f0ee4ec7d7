// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"testing"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// What a writer that was killed may leave in the FDB is put in order.
func TestMend(t *testing.T) {
	w := newWorld(t, 2, Config{Rows: 1 << 20}) // of chance: hardly two of the keys share a bucket
	w.port(0, access(10))
	f := w.lane.fdb
	at := func(k Key, choice, i int) place { return place(f.choices(k.word())[choice]*4 + i) }
	keep, twice, half, bare := Key{1, 10, macA}, Key{1, 10, macB}, Key{1, 10, macC}, Key{1, 10, ovs.MAC{2, 2}}
	w.row(keep, 0, true)
	valid := laneRow{Flags: uint16(laneRowFlagROW_VALID)}.word()
	put := func(p place, key, row uint64) { *f.keyAt(p), *f.rowAt(p) = key, row }
	if c := f.choices(twice.word()); c[0] == c[1] {
		t.Fatal("choose another station")
	}
	put(at(twice, 0, 1), twice.word(), valid) // changes its place
	put(at(twice, 1, 2), twice.word(), valid)
	put(at(half, 0, 3), half.word(), 0) // leaves
	put(at(bare, 1, 0), 0, valid)       // comes
	w.lane.reread()
	if rows := w.lane.Rows(); len(rows) != 1 || rows[0].Key != keep {
		t.Errorf("rows %+v", rows)
	}
	for _, p := range []place{at(twice, 0, 1), at(twice, 1, 2), at(half, 0, 3), at(bare, 1, 0)} {
		if *f.keyAt(p) != 0 || *f.rowAt(p) != 0 {
			t.Errorf("place %d still has key %#x, row %#x", p, *f.keyAt(p), *f.rowAt(p))
		}
	}
	// Programs may still look at what was cleared, and at what another writer
	// has cleared: a grace period passes before a place is used again.
	waited := 0
	wait := f.wait
	f.wait = func() error { waited++; return wait() }
	for _, k := range []Key{twice, half, bare} {
		w.row(k, 0, true)
	}
	if waited != 1 {
		t.Errorf("%d grace periods, want 1", waited)
	}
}

// The same in the flow table, whose keys have two words.
func TestMendFlows(t *testing.T) {
	w := newWorld(t, 2, Config{Flows: 1 << 20}) // as above
	w.port(0, flowing())
	w.port(1, flowing())
	table := w.lane.flows
	to := func(last byte) Flow { return flowAB(func(f *Flow) { f.Dst[5] = last }) }
	words := func(f Flow) flowWords { k, _ := w.lane.flowWords(w.onDevices(f).FlowKey); return k }
	at := func(f Flow, choice, i int) place { return place(table.choices(words(f))[choice]*4 + i) }
	keep, twice, half, bare, leaves := to(1), to(2), to(3), to(4), to(5)
	w.flow(keep)
	put := func(p place, key flowWords, word uint64) {
		*table.fromAt(p), *table.toAt(p), *table.wordAt(p) = key.from, key.to, word
	}
	if c := table.choices(words(twice)); c[0] == c[1] {
		t.Fatal("choose another flow")
	}
	put(at(twice, 0, 1), words(twice), table.valid) // changes its place
	put(at(twice, 1, 2), words(twice), table.valid)
	put(at(half, 0, 3), flowWords{from: words(half).from}, table.valid) // comes, half of its key
	put(at(bare, 1, 0), flowWords{}, table.valid)                       // comes, no key yet
	put(at(leaves, 0, 2), flowWords{from: words(leaves).from}, 0)       // leaves
	w.lane.reread()
	if flows := w.lane.Flows(); len(flows) != 1 || flows[0].FlowKey != w.onDevices(keep).FlowKey {
		t.Errorf("flows %+v", flows)
	}
	for _, p := range []place{at(twice, 0, 1), at(twice, 1, 2), at(half, 0, 3), at(bare, 1, 0)} {
		if *table.fromAt(p) != 0 || *table.toAt(p) != 0 || *table.wordAt(p) != 0 {
			t.Errorf("place %d still has key %#x %#x, word %#x", p, *table.fromAt(p), *table.toAt(p), *table.wordAt(p))
		}
	}
	waited := 0
	wait := table.wait
	table.wait = func() error { waited++; return wait() }
	for _, f := range []Flow{twice, half, bare, leaves} {
		w.flow(f)
	}
	if waited != 1 || len(w.lane.Flows()) != 5 {
		t.Errorf("%d grace periods, want 1; %d flows", waited, len(w.lane.Flows()))
	}
}
