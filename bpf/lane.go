// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"strings"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Config sizes a Lane.
type Config struct {
	// Rows is how many stations the FDB must hold; 0 means DefaultRows.
	Rows int
	// Ports is how many devices may be on the lane; 0 means DefaultPorts.
	Ports int
	// Rules is how many rules all lists have room for; 0 means DefaultRules.
	Rules int
	// Flows is how many flows of OVS the table must hold; 0 means DefaultFlows.
	Flows int
	// FinishChecksums has the program finish L4 checksums that senders left to
	// their devices, where it can (see Rule.Finish).
	FinishChecksums bool
}

// Sizes that fit most hosts: the FDB takes 32 bytes a row, a flow 64 bytes, a port
// 704 bytes and 368 more per CPU, a rule 144 bytes and 16 more per CPU.
const (
	DefaultRows  = 65536
	DefaultPorts = 1024
	DefaultRules = 8192
	DefaultFlows = 65536
	maxRows      = 1 << 24
	maxPorts     = 1 << 15
	maxRules     = 1 << 20
	maxFlows     = 1 << 22
)

func (c *Config) fill() {
	if c.Rows == 0 {
		c.Rows = DefaultRows
	}
	if c.Ports == 0 {
		c.Ports = DefaultPorts
	}
	if c.Rules == 0 {
		c.Rules = DefaultRules
	}
	if c.Flows == 0 {
		c.Flows = DefaultFlows
	}
}

// bucketsOf is how many there are for so many rows or flows: half full at most, so
// that a place is found at once.
func bucketsOf(n int) int { return powerOfTwo(n * 2 / int(laneLimitsBUCKET_ROWS)) }

// Lane is the loaded data path. Closing it, or the end of the process, takes
// every program off its device: nothing is pinned.
type Lane struct {
	spec   *ebpf.CollectionSpec
	coll   *ebpf.Collection
	fdb    *fdb
	flows  *flowTable
	ports  *portTable
	lists  *listTable
	events *ringbuf.Reader
	grace  *gracePeriod
	ticks  float64 // jiffies a second
	names  []string
	links  map[int]attachment // by ifindex
	layout layout
	// losses are on the tracepoints of lost frames, with programs of lossColl;
	// lossError is why they are not.
	losses    []link.Link
	lossColl  *ebpf.Collection
	lossError error
	// ahead holds programs for one device that were loaded before their device
	// is taken over, by ifindex.
	ahead map[int]*ebpf.Program
	// types remembers the kernel's types between two programs; nil: they have to be
	// read. mayBind tells that programs may be bound to devices.
	types   *btf.Cache
	mayBind bool
	// lastStamp was the stamp at stamped.
	lastStamp uint16
	stamped   time.Time
}

// attachment is a program on a device: the one of all ports, or, when bound is
// set, a copy for this device alone.
type attachment struct {
	link  link.Link
	bound *ebpf.Program
	id    uint32
	// shared tells that another process may have the link, too.
	shared bool
}

func (a attachment) close() error {
	err := a.link.Close()
	if a.bound != nil {
		err = errors.Join(err, a.bound.Close())
	}
	return err
}

// New loads the programs and makes empty tables, with the lane closed.
func New(cfg Config) (*Lane, error) {
	cfg.fill()
	if cfg.Rows < 1 || cfg.Rows > maxRows {
		return nil, fmt.Errorf("load BPF programs: %d FDB rows: want 1 to %d", cfg.Rows, maxRows)
	}
	if cfg.Ports < 1 || cfg.Ports > maxPorts {
		return nil, fmt.Errorf("load BPF programs: %d ports: want 1 to %d", cfg.Ports, maxPorts)
	}
	if cfg.Rules < 1 || cfg.Rules > maxRules {
		return nil, fmt.Errorf("load BPF programs: %d OpenFlow rules: want 1 to %d", cfg.Rules, maxRules)
	}
	if cfg.Flows < 1 || cfg.Flows > maxFlows {
		return nil, fmt.Errorf("load BPF programs: %d flows: want 1 to %d", cfg.Flows, maxFlows)
	}
	namespace, err := ownNamespace()
	if err != nil {
		return nil, err
	}
	return load(layout{
		rules:   cfg.Rules,
		buckets: bucketsOf(cfg.Rows),
		flows:   bucketsOf(cfg.Flows),
		slots:   powerOfTwo(cfg.Ports),
		seed:    rand.Uint64(),
		// All programs that share a devmap must be alike in this.
		scattered: features.HaveProgramHelper(ebpf.XDP, asm.FnXdpGetBuffLen) == nil,
		netns:     namespace,
	}, cfg.FinishChecksums, nil)
}

// layout is what the programs know of their tables before they are loaded: the
// constants in src/maps.h.
type layout struct {
	buckets, slots, rules int
	flows                 int // buckets of flows
	seed                  uint64
	scattered             bool
	netns                 uint32
}

// The maps of tables that the program reads where they lie (src/maps.h), by their
// ELF sections.
const (
	fdbMap       = ".data.fdb"
	flowTableMap = ".data.flows"
	portTableMap = ".data.ports"
)

// load loads the programs, on new tables but for those that are given, by name.
// finish has them finish checksums.
func load(of layout, finish bool, tables map[string]*ebpf.Map) (*Lane, error) {
	// Kernels before 5.11 charge BPF memory to RLIMIT_MEMLOCK; on later ones
	// a failure does not matter, on earlier ones loading says so.
	_ = rlimit.RemoveMemlock()

	spec, err := loadLane()
	if err != nil {
		return nil, fmt.Errorf("read BPF object: %w", err)
	}
	names, err := reasonNames(spec)
	if err != nil {
		return nil, err
	}
	if of.scattered {
		for _, name := range []string{laneProgOvsXdp, laneProgOvsXdpTagged, laneProgOvsXdpVeth} {
			spec.Programs[name].Flags |= hasFrags
		}
	}
	for _, name := range []string{laneMapTargets, laneMapCounters} {
		spec.Maps[name].MaxEntries = uint32(of.slots)
	}
	for name, size := range map[string]uintptr{
		portTableMap: uintptr(of.slots) * unsafe.Sizeof(lanePort{}),
		fdbMap:       uintptr(of.buckets) * unsafe.Sizeof(laneBucket{}),
		flowTableMap: uintptr(of.flows) * unsafe.Sizeof(laneFlowBucket{}),
	} {
		// All 0, of a type that the object does not know; bpftool shows the last
		// part of the name.
		m := spec.Maps[name]
		m.ValueSize, m.Key, m.Value, m.Contents = uint32(size), nil, nil, nil
		m.Name = strings.TrimPrefix(name, ".data.")
		m.Flags |= unix.BPF_F_MMAPABLE
	}
	for _, name := range []string{laneVarPorts, laneVarFdb, laneVarFlows} {
		delete(spec.Variables, name)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("count CPUs: %w", err)
	}
	spec.Maps[laneMapRules].MaxEntries = uint32(of.rules)
	spec.Maps[laneMapDestinations].MaxEntries = uint32(of.rules)
	spec.Maps[laneMapRuleCounts].MaxEntries = uint32(of.rules * cpus)
	for name, value := range map[string]any{
		laneVarFdbMask:   uint32(of.buckets - 1),
		laneVarFlowMask:  uint32(of.flows - 1),
		laneVarPortMask:  uint32(of.slots - 1),
		laneVarFdbSeed:   of.seed,
		laneVarRuleRows:  uint32(of.rules),
		laneVarScattered: of.scattered,
		laneVarFinish:    finish,
		laneVarNetns:     of.netns,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set BPF constant %s: %w", name, err)
		}
	}

	l := &Lane{spec: spec, names: names, links: make(map[int]attachment), ahead: make(map[int]*ebpf.Program)}
	// The program for one device is loaded when there is one, and what not every
	// kernel takes, by itself.
	shared := spec.Copy()
	for _, name := range append(lossPrograms, laneProgOvsXdpVeth) {
		delete(shared.Programs, name)
	}
	if l.coll, err = ebpf.NewCollectionWithOptions(shared, ebpf.CollectionOptions{MapReplacements: tables}); err != nil {
		var ve *ebpf.VerifierError
		if errors.As(err, &ve) {
			return nil, fmt.Errorf("load BPF programs: the kernel's verifier refused them: %w", err)
		}
		if errors.Is(err, ebpf.ErrMapIncompatible) {
			return nil, fmt.Errorf("load BPF programs: the tables are shaped otherwise: %w", err)
		}
		return nil, fmt.Errorf("load BPF programs (root and Linux 5.15 or later needed): %w", err)
	}
	l.layout = of
	if err := l.enter(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if err := l.open(of.buckets, of.slots, of.seed); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	if tables == nil {
		l.lossError = l.watchLosses()
	} else {
		l.lossError = l.loadLosses() // on the tracepoints they are from Swap on
	}
	return l, nil
}

func (l *Lane) open(buckets, slots int, seed uint64) error {
	var err error
	if l.grace, err = newGracePeriod(); err != nil {
		return err
	}
	if l.fdb, err = openFDB(l.coll.Maps[fdbMap], buckets, seed, l.grace.Wait); err != nil {
		return err
	}
	if l.flows, err = openFlows(l.coll.Maps[flowTableMap], l.layout.flows, seed, l.grace.Wait); err != nil {
		return err
	}
	if l.ports, err = openPorts(l.coll.Maps[portTableMap], slots); err != nil {
		return err
	}
	if l.lists, err = openLists(l.coll, l.layout.rules); err != nil {
		return err
	}
	if l.events, err = ringbuf.NewReader(l.coll.Maps[laneMapEvents]); err != nil {
		return fmt.Errorf("open ring buffer: %w", err)
	}
	l.ticks, err = l.measureTicks(100 * time.Millisecond)
	return err
}

// Close detaches every program and frees the tables, but for those that another
// process has taken over.
func (l *Lane) Close() error {
	var errs []error
	for _, a := range l.links {
		errs = append(errs, a.close())
	}
	l.links = nil
	errs = append(errs, l.unwatchLosses())
	for _, p := range l.ahead {
		errs = append(errs, p.Close())
	}
	if l.events != nil {
		errs = append(errs, l.events.Close())
	}
	if l.grace != nil {
		errs = append(errs, l.grace.Close())
	}
	l.coll.Close()
	// The mappings go last: the programs have ended.
	if l.fdb != nil {
		errs = append(errs, l.fdb.close())
	}
	if l.flows != nil {
		errs = append(errs, l.flows.close())
	}
	if l.ports != nil {
		errs = append(errs, l.ports.close())
	}
	if l.lists != nil {
		errs = append(errs, l.lists.close())
	}
	return errors.Join(errs...)
}

func powerOfTwo(n int) int {
	if n < 2 {
		return 1
	}
	return 1 << bits.Len(uint(n-1))
}
