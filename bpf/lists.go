// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// Verdict is what a rule of a list makes of a frame.
type Verdict uint8

// The verdicts.
const (
	VerdictPass   = Verdict(laneVerdictVERDICT_PASS)
	VerdictNormal = Verdict(laneVerdictVERDICT_NORMAL)
	VerdictDrop   = Verdict(laneVerdictVERDICT_DROP)
)

// ListRule is one rule of a list: it matches frames whose fields are Value in the
// bits of Mask.
type ListRule struct {
	Value, Mask ovs.Fields
	Verdict     Verdict
	// Order is the rule's place among all rules of the bridge: of the list of a
	// port and that of a destination, the lower one decides.
	Order uint32
	// Idle is how often a frame that the rule decides passes; 0: never.
	Idle time.Duration
}

// ListKind says what a list is for.
type ListKind uint8

// The kinds of lists; 0 is none.
const (
	// PortRules holds OpenFlow rules for frames from a port, but for those that
	// name one destination.
	PortRules ListKind = 1 + iota
	// DestinationRules holds those that name one destination.
	DestinationRules
	// Addresses gives the source addresses that a port may use (VerdictNormal);
	// the last rule matches every frame.
	Addresses
)

// ListKey names a list.
type ListKey struct {
	Kind ListKind
	// Bridge is the number of the bridge, 1 to MaxBridges.
	Bridge uint8
	// Port tells lists of one bridge apart: the OpenFlow port, say.
	Port uint32
	// Dst is the destination of DestinationRules.
	Dst ovs.MAC
}

// RuleCount counts frames, and their bytes as received, that a rule has decided
// and that did not go to OVS.
type RuleCount struct{ Frames, Bytes uint64 }

// MaxList is how many rules a list can have.
const MaxList = int(laneLimitsLIST_MAX)

// ErrNoRoom tells that there is no room for a list.
var ErrNoRoom = errors.New("no room for more OpenFlow rules (see --rule-rows)")

// span is where a list is.
type span struct{ first, count int }

// listTable is the one writer of the maps of lists. A list never changes: a new
// one is written beside it, and its place is used again when no program can be
// reading it any more.
type listTable struct {
	mem, countMem []byte
	rules         []laneListRule
	counts        []laneRuleCount // of each CPU, one after the other
	used          map[ListKey]span
	retired       []span
	// foreign tells that another writer may have retired any free place.
	foreign bool
	// asked tells that a port whose lists a program may still be asking has been
	// closed: what it finds in several places must not change until then.
	asked        bool
	destinations *ebpf.Map
}

func openLists(c *ebpf.Collection, rows int) (*listTable, error) {
	t := &listTable{used: make(map[ListKey]span), destinations: c.Maps[laneMapDestinations]}
	total := int(c.Maps[laneMapRuleCounts].MaxEntries())
	var err error
	if t.mem, err = mapMemory(c.Maps[laneMapRules], rows*int(unsafe.Sizeof(laneListRule{}))); err != nil {
		return nil, fmt.Errorf("map the rules: %w", err)
	}
	if t.countMem, err = mapMemory(c.Maps[laneMapRuleCounts], total*int(unsafe.Sizeof(laneRuleCount{}))); err != nil {
		return nil, errors.Join(fmt.Errorf("map the counters of rules: %w", err), unix.Munmap(t.mem))
	}
	t.rules = unsafe.Slice((*laneListRule)(unsafe.Pointer(&t.mem[0])), rows)
	t.counts = unsafe.Slice((*laneRuleCount)(unsafe.Pointer(&t.countMem[0])), total)
	return t, nil
}

func (t *listTable) close() error { return errors.Join(unix.Munmap(t.mem), unix.Munmap(t.countMem)) }

// free finds a place for n rules.
func (t *listTable) free(n int) (span, bool) {
	taken := append(slices.Collect(maps.Values(t.used)), t.retired...)
	slices.SortFunc(taken, func(a, b span) int { return a.first - b.first })
	at := 0
	for _, s := range taken {
		if s.first-at >= n {
			break
		}
		at = max(at, s.first+s.count)
	}
	return span{at, n}, at+n <= len(t.rules)
}

// PutList writes a list in the place of what had its name. Rules of ports name it
// from SetRule on; a list of DestinationRules is in force at once, for the ports
// whose rule is Scoped. What the former list has counted is lost: ListCounts tells
// before.
func (l *Lane) PutList(k ListKey, rules []ListRule) error {
	t := l.lists
	if len(rules) > MaxList {
		return fmt.Errorf("put list of %d rules: at most %d", len(rules), MaxList)
	}
	s, ok := t.free(len(rules))
	if t.foreign || !ok {
		if err := l.SettleLists(); err != nil {
			return err
		}
		s, ok = t.free(len(rules))
	}
	if !ok {
		return fmt.Errorf("put list of %d rules: %w", len(rules), ErrNoRoom)
	}
	for i, r := range rules {
		t.rules[s.first+i] = r.pack(l)
	}
	for base := 0; base < len(t.counts); base += len(t.rules) {
		clear(t.counts[base+s.first:][:s.count])
	}
	if k.Kind == DestinationRules {
		if err := l.leaveLists(); err != nil {
			return err
		}
		if err := t.destinations.Put(k.destination(), s.word(0)); err != nil {
			return fmt.Errorf("put list of %s: %w", k.Dst, err)
		}
	}
	t.retire(k)
	t.used[k] = s
	return nil
}

// DeleteList takes a list out that no port's rule names.
func (l *Lane) DeleteList(k ListKey) error {
	if _, ok := l.lists.used[k]; !ok {
		return nil
	}
	if k.Kind == DestinationRules {
		if err := l.leaveLists(); err != nil {
			return err
		}
		if err := l.lists.destinations.Delete(k.destination()); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete list of %s: %w", k.Dst, err)
		}
	}
	l.lists.retire(k)
	return nil
}

// SettleLists waits until no program can be reading a list that was replaced or
// deleted, and gives their places back.
func (l *Lane) SettleLists() error {
	t := l.lists
	if len(t.retired) == 0 && !t.foreign {
		return nil
	}
	if err := l.grace.Wait(); err != nil {
		return err
	}
	t.retired, t.foreign, t.asked = nil, false, false
	return nil
}

// leaveLists waits until no program asks lists for a port that has been closed:
// one that found some of the old and some of the new would decide as neither do.
func (l *Lane) leaveLists() error {
	if !l.lists.asked {
		return nil
	}
	if err := l.grace.Wait(); err != nil {
		return err
	}
	l.lists.asked = false
	return nil
}

// ListCounts returns what the rules of a list have counted, in their order; nil
// when there is no such list.
func (l *Lane) ListCounts(k ListKey) []RuleCount {
	t := l.lists
	s, ok := t.used[k]
	if !ok {
		return nil
	}
	counts := make([]RuleCount, s.count)
	for base := 0; base < len(t.counts); base += len(t.rules) {
		for i := range counts {
			c := &t.counts[base+s.first+i]
			counts[i].Frames += atomic.LoadUint64(&c.Frames)
			counts[i].Bytes += atomic.LoadUint64(&c.Bytes)
		}
	}
	return counts
}

// Place is where a list is among the rules.
type Place struct {
	Key          ListKey
	First, Count int
}

// Places tells where the lists are, for another process that is to adopt them:
// their names are not in the tables.
func (l *Lane) Places() []Place {
	var places []Place
	for k, s := range l.lists.used {
		places = append(places, Place{k, s.first, s.count})
	}
	return places
}

// AdoptLists makes this process the writer of the lists that another one has told
// of, before AdoptPorts.
func (l *Lane) AdoptLists(places []Place) error {
	t := l.lists
	clear(t.used)
	t.retired, t.foreign = nil, true
	for _, p := range places {
		if p.First < 0 || p.Count < 0 || p.Count > MaxList || p.First > len(t.rules)-p.Count {
			return fmt.Errorf("adopt list of %d rules at %d: there is no such place", p.Count, p.First)
		}
		t.used[p.Key] = span{p.First, p.Count}
	}
	return nil
}

// ForgetLists takes all lists out, after another process has written some. Ports
// whose rule names one must be closed.
func (l *Lane) ForgetLists() error {
	t := l.lists
	clear(t.used)
	t.retired, t.foreign = nil, true
	var keys []uint64
	var key, word uint64
	for each := t.destinations.Iterate(); each.Next(&key, &word); {
		keys = append(keys, key)
	}
	for _, key := range keys {
		if err := t.destinations.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget lists: %w", err)
		}
	}
	return nil
}

// keyOf finds the name of a list; none when it has none.
func (t *listTable) keyOf(l laneList) ListKey {
	if l.Count > 0 {
		for k, s := range t.used {
			if s == spanOf(l) && k.Kind != DestinationRules {
				return k
			}
		}
	}
	return ListKey{}
}

// MaxRules is how many rules all lists have room for.
func (l *Lane) MaxRules() int { return len(l.lists.rules) }

func (t *listTable) retire(k ListKey) {
	if s, ok := t.used[k]; ok {
		t.retired = append(t.retired, s)
		delete(t.used, k)
	}
}

// at returns the word by which a port's rule names a list.
func (t *listTable) at(k ListKey, scoped bool) (uint64, error) {
	var flags laneListFlag
	if scoped {
		flags = laneListFlagLIST_SCOPED
	}
	if k == (ListKey{}) {
		return span{}.word(flags), nil
	}
	s, ok := t.used[k]
	if !ok {
		return 0, fmt.Errorf("there is no list %+v", k)
	}
	return s.word(flags), nil
}

func (s span) word(flags laneListFlag) uint64 {
	return uint64(uint32(s.first)) | uint64(s.count)<<32 | uint64(flags)<<48
}

func spanOf(l laneList) span { return span{int(l.First), int(l.Count)} }

// destination is the key of the list in the map of destinations: as in the FDB,
// without a VLAN.
func (k ListKey) destination() uint64 { return Key{Bridge: k.Bridge, MAC: k.Dst}.word() }

func (r ListRule) pack(l *Lane) laneListRule {
	idle := uint32(0)
	if r.Idle > 0 {
		idle = max(1, uint32(r.Idle.Seconds()*l.ticks/float64(int(1)<<laneLimitsSTAMP_SHIFT)))
	}
	return laneListRule{Value: words(r.Value), Mask: words(r.Mask), Order: r.Order, Verdict: uint32(r.Verdict), Idle: idle}
}

// words gives fields as struct flow_key.
func words(f ovs.Fields) [8]uint64 {
	be := func(n uint16) uint16 { return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n)) }
	k := laneFlowKey{
		Dst: f.Dst, Type: be(f.EtherType), Src: f.Src, Tci: be(f.TCI), IpSrc: f.IPSrc, IpDst: f.IPDst,
		Proto: f.Proto, Tos: f.TOS, Ttl: f.TTL, Frag: f.Frag, TpSrc: be(f.TPSrc), TpDst: be(f.TPDst), TcpFlags: be(f.TCPFlags),
	}
	return *(*[8]uint64)(unsafe.Pointer(&k))
}
