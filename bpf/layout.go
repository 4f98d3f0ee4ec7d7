// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/cilium/ebpf"
)

// LayoutVersion is that of the tables: a process takes over those of its own
// version alone (LAYOUT_VERSION in src/layout.h).
const LayoutVersion = int(laneLimitsLAYOUT_VERSION)

// ErrLayout tells that tables are of another layout version.
var ErrLayout = errors.New("tables of another layout version")

// own tells maps that each process has for itself: the constants of its programs
// (by their ELF section), and how frames go on from one of these to another.
var own = map[string]bool{".rodata": true, laneMapEntries: true, laneMapBeside: true}

// layoutTable is the name of a table with one layoutRecord: the constants that
// programs on the tables beside it must be loaded with. (They can't be read from
// the programs that use them: it takes CAP_SYS_ADMIN to find out where each is.)
const layoutTable = "layout"

// layoutRecord is what is in it. Version comes first in all versions to come.
type layoutRecord struct {
	Version   uint32
	FDBMask   uint32
	PortMask  uint32
	NetNS     uint32
	Rules     uint64
	Seed      uint64
	Scattered uint64
	FlowMask  uint64
}

const layoutSize = 48 // of a layoutRecord, in bytes

// pinLayout makes and pins it.
func (l *Lane) pinLayout(dir string) error {
	r := layoutRecord{FDBMask: uint32(l.layout.buckets - 1), PortMask: uint32(l.layout.slots - 1),
		NetNS: l.layout.netns, Rules: uint64(l.layout.rules), Seed: l.layout.seed, FlowMask: uint64(l.layout.flows - 1)}
	if l.layout.scattered {
		r.Scattered = 1
	}
	// As the programs were loaded with it.
	if err := l.spec.Variables[laneVarExportLimits].Get(&r.Version); err != nil {
		return err
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: layoutTable, Type: ebpf.Array, KeySize: 4, ValueSize: layoutSize, MaxEntries: 1})
	if err != nil {
		return err
	}
	defer m.Close()
	if err := m.Put(uint32(0), r); err != nil {
		return err
	}
	return m.Pin(tablePin(dir, layoutTable))
}

// openLayout reads one that is pinned, and refuses what this program does not
// make.
func openLayout(dir string) (layout, error) {
	m, err := ebpf.LoadPinnedMap(tablePin(dir, layoutTable), nil)
	if err != nil {
		return layout{}, fmt.Errorf("open table %s: %w", layoutTable, err)
	}
	defer m.Close()
	value := make([]byte, m.ValueSize())
	var r layoutRecord
	if err := m.Lookup(uint32(0), &value); err != nil {
		return layout{}, fmt.Errorf("read table %s: %w", layoutTable, err)
	}
	if err := decode(value, &r.Version); err != nil {
		return layout{}, fmt.Errorf("read table %s: %w", layoutTable, err)
	}
	if int(r.Version) != LayoutVersion {
		return layout{}, fmt.Errorf("%w: theirs is %d, this program's %d", ErrLayout, r.Version, LayoutVersion)
	}
	if err := decode(value, &r); err != nil {
		return layout{}, fmt.Errorf("read table %s: %w", layoutTable, err)
	}
	of := layout{buckets: int(r.FDBMask) + 1, slots: int(r.PortMask) + 1, rules: int(r.Rules), flows: int(r.FlowMask) + 1,
		seed: r.Seed, scattered: r.Scattered != 0, netns: r.NetNS}
	if bits.OnesCount(uint(of.buckets)) != 1 || bits.OnesCount(uint(of.slots)) != 1 || bits.OnesCount(uint(of.flows)) != 1 ||
		of.slots > maxPorts || of.rules < 1 || of.rules > maxRules || of.flows > bucketsOf(maxFlows) {
		return layout{}, fmt.Errorf("%d buckets, %d of flows, %d ports and %d rules: not what this program makes",
			of.buckets, of.flows, of.slots, of.rules)
	}
	own, err := ownNamespace()
	if err != nil {
		return layout{}, err
	}
	if own != of.netns {
		return layout{}, errors.New("they are of another network namespace: start this program in that one")
	}
	return of, nil
}

// decode reads the first bytes of a table's value.
func decode(value []byte, to any) error {
	_, err := binary.Decode(value, binary.NativeEndian, to)
	return err
}
