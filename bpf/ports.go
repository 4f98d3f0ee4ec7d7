// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// VLANMode says how a port carries VLANs (Port:vlan_mode).
type VLANMode int

// The VLAN modes that the program knows.
const (
	Trunk VLANMode = iota
	Access
	NativeTagged
	NativeUntagged
)

// Rule is what the program knows of a port.
type Rule struct {
	// Watch looks at frames from the port (VLAN, source); Ingress lets them
	// take the lane; Egress lets frames be sent to the port.
	Watch, Ingress, Egress bool
	// Observe counts what would take the lane and passes it.
	Observe bool
	// Protected is Port:protected.
	Protected bool
	// Declared tells that the port has an attached-mac: it can't mark other
	// ports' declared stations as moved. MAC is that address: frames with another
	// source pass; zero: none do for that.
	Declared bool
	MAC      ovs.MAC
	// Bundle is the device that rows of the port's stations name; 0 is the
	// port's own. In a bond it is the first member.
	Bundle int
	// Legs holds, for a Bundle, the devices that frames to the bond leave by, by
	// hash bucket; 0 lets the frames of that bucket pass. All 0: not a bond.
	Legs [Legs]int
	// Reflects tells that other members of the bond may hand back what was sent
	// by one: a known source does not mark its row.
	Reflects bool
	// Scattered tells that the device takes redirected frames that lie in
	// several buffers.
	Scattered bool
	// Checksum guards against frames whose L4 checksum is not finished.
	Checksum bool
	// Finish tells that redirected frames from the port never take a socket
	// buffer along, in which their checksum would stay marked as unfinished: the
	// program may finish it. Where the program can tell by itself it need not be
	// set.
	Finish bool
	// VLANMode and VID (Port:tag) say which VLAN a frame is in; VLANs holds
	// those whose frames are looked at.
	VLANMode VLANMode
	VID      ovs.VLAN
	VLANs    ovs.VLANSet
	// MaxFrame is the largest frame in bytes from and to the port, Ethernet
	// header included, 802.1Q tag not.
	MaxFrame int
	// Bridge is the number of the port's bridge, 1 to MaxBridges.
	Bridge uint8
	// Flows sends frames from the port where PutFlow says. Stations of such a port
	// have their rows in VLAN 0, whatever their tags; VLANMode, VID and VLANs do not
	// count. Frames from it are observed when the port that they go to is.
	Flows bool
	// KeepAlive is the interval at which a frame of each station passes.
	KeepAlive time.Duration
	// Rules and Addresses name lists that frames from the port must satisfy; the
	// zero ListKey is none. Scoped tells that lists of DestinationRules count, too.
	Rules, Addresses ListKey
	Scoped           bool
	// PoliceBytes and PoliceFrames limit the rate of frames from the port. What is
	// over the rate is dropped; what OVS gets counts, and is left to its policer.
	PoliceBytes, PoliceFrames Rate
}

// Rate is a limit of rate. The zero Rate is none.
type Rate struct {
	// PerSecond is in bytes behind the Ethernet header, or in frames; so is
	// Burst, what may come at once after a pause.
	PerSecond, Burst uint64
}

// pack gives the rate as the program reads it.
func (r Rate) pack() laneRate {
	if r.PerSecond == 0 {
		return laneRate{}
	}
	const second = float64(time.Second)
	return laneRate{
		Cost:  max(1, uint64(second*float64(int(1)<<laneLimitsCOST_SHIFT)/float64(r.PerSecond))),
		Burst: uint64(min(second*float64(r.Burst)/float64(r.PerSecond), float64(time.Hour))),
	}
}

// Legs is how many buckets frames to a bond are hashed into.
const Legs = int(laneLimitsBOND_LEGS)

// Port is a device on the lane.
type Port struct {
	IfIndex int
	Mode    Mode
	Rule    Rule
	// Gone tells that the kernel has dropped the device from the lane: it
	// was deleted, or moved to another network namespace.
	Gone bool
	// Loses tells that the device loses frames that are redirected to it: none
	// is sent to it until RetryPort.
	Loses bool
}

// ErrPortTableFull says that no slot is free near the device's ifindex.
var ErrPortTableFull = errors.New("port table is full")

// portTable is the one writer of the ports map.
type portTable struct {
	mem   []byte
	slots []lanePort
	// cleared holds slots that a running program may still be reading.
	cleared map[int]struct{}
	// foreign tells that another writer may have cleared any of the free slots.
	foreign bool
	modes   map[int]Mode // by ifindex
	rules   map[int]Rule // by ifindex, as last written
}

func openPorts(m *ebpf.Map, slots int) (*portTable, error) {
	mem, err := mapMemory(m, slots*int(unsafe.Sizeof(lanePort{})))
	if err != nil {
		return nil, fmt.Errorf("map the port table: %w", err)
	}
	return &portTable{
		mem:     mem,
		slots:   unsafe.Slice((*lanePort)(unsafe.Pointer(&mem[0])), slots),
		cleared: make(map[int]struct{}),
		modes:   make(map[int]Mode),
		rules:   make(map[int]Rule),
	}, nil
}

func (t *portTable) close() error { return unix.Munmap(t.mem) }

func (t *portTable) slotOf(ifindex int) (int, bool) {
	for i := range int(laneLimitsPORT_PROBES) {
		s := (ifindex + i) & (len(t.slots) - 1)
		if t.ifindexAt(s) == ifindex && ifindex != 0 {
			return s, true
		}
	}
	return 0, false
}

func (t *portTable) ifindexAt(slot int) int {
	if slot >= len(t.slots) {
		return 0
	}
	return int(atomic.LoadUint32(&t.slots[slot].Ifindex))
}

func (t *portTable) free(ifindex int) (int, bool) {
	for i := range int(laneLimitsPORT_PROBES) {
		s := (ifindex + i) & (len(t.slots) - 1)
		if _, wait := t.cleared[s]; !wait && !t.foreign && t.ifindexAt(s) == 0 {
			return s, true
		}
	}
	return 0, false
}

func (t *portTable) setWord(slot int, w uint64) {
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&t.slots[slot].Rule)), w)
}

func (t *portTable) word(slot int) uint64 {
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&t.slots[slot].Rule)))
}

// ruleAt returns the rule of the port in a slot; none when it is closed.
func (t *portTable) ruleAt(slot int) Rule {
	if t.word(slot) == 0 {
		return Rule{}
	}
	return t.rules[t.ifindexAt(slot)]
}

func (r lanePortRule) word() uint64 {
	return uint64(r.Domain) | uint64(r.MaxFrame)<<16 | uint64(r.Flags)<<32
}

// pack gives the rule as the program reads it, but for what is not in one word.
func (r Rule) pack() lanePortRule {
	var flags laneRuleFlag
	for _, f := range []struct {
		on   bool
		flag laneRuleFlag
	}{
		{r.Watch, laneRuleFlagRULE_WATCH},
		{r.Ingress, laneRuleFlagRULE_INGRESS},
		{r.Egress, laneRuleFlagRULE_EGRESS},
		{r.Observe, laneRuleFlagRULE_OBSERVE},
		{r.Protected, laneRuleFlagRULE_PROTECTED},
		{r.Checksum, laneRuleFlagRULE_CHECKSUM},
		{r.Declared, laneRuleFlagRULE_DECLARED},
		{r.Legs != [Legs]int{}, laneRuleFlagRULE_BOND},
		{r.Reflects, laneRuleFlagRULE_REFLECTS},
		{r.Scattered, laneRuleFlagRULE_SCATTERED},
		{r.Finish, laneRuleFlagRULE_FINISH},
		{r.Rules != ListKey{} || r.Addresses != ListKey{} || r.Scoped, laneRuleFlagRULE_LISTS},
		{r.PoliceBytes != Rate{} || r.PoliceFrames != Rate{}, laneRuleFlagRULE_POLICE},
		{r.Flows, laneRuleFlagRULE_FLOWS},
		{r.VLANMode == Access, laneRuleFlagRULE_ACCESS},
		{r.VLANMode == NativeTagged, laneRuleFlagRULE_NATIVE_TAGGED},
		{r.VLANMode == NativeUntagged, laneRuleFlagRULE_NATIVE_UNTAGGED},
	} {
		if f.on {
			flags |= f.flag
		}
	}
	return lanePortRule{
		Domain:   uint16(Key{Bridge: r.Bridge, VLAN: r.VID}.word()),
		MaxFrame: uint16(min(r.MaxFrame, 0xffff)),
		Flags:    uint32(flags),
	}
}

// keepUnits gives an interval of keep-alive frames as the program reads it; ticks
// is the number of jiffies a second.
func keepUnits(d time.Duration, ticks float64) uint32 {
	return uint32(min(d.Seconds()*ticks/float64(int(1)<<laneLimitsSTAMP_SHIFT), 255))
}

// keepTime is the reverse.
func (l *Lane) keepTime(units uint32) time.Duration {
	return time.Duration(float64(units) * float64(int(1)<<laneLimitsSTAMP_SHIFT) / l.ticks * float64(time.Second))
}

// Ports reads the port table back, in the order of its slots.
func (l *Lane) Ports() []Port {
	var ports []Port
	for s := range l.ports.slots {
		ifindex := l.ports.ifindexAt(s)
		if ifindex == 0 {
			continue
		}
		ports = append(ports, Port{
			IfIndex: ifindex,
			Mode:    l.ports.modes[ifindex],
			Rule:    l.ports.ruleAt(s),
			Gone:    l.gone(ifindex, s),
			Loses:   l.ports.loses(s),
		})
	}
	return ports
}

// gone asks the kernel, which takes a vanished device out of the devmap and
// the link by itself.
func (l *Lane) gone(ifindex, slot int) bool {
	var dev devmapValue
	if err := l.coll.Maps[laneMapTargets].Lookup(uint32(slot), &dev); err != nil || int(dev.IfIndex) != ifindex {
		return true
	}
	a, ok := l.links[ifindex]
	return ok && !a.on(ifindex)
}

// devmapValue is struct bpf_devmap_val of linux/bpf.h.
type devmapValue struct {
	IfIndex uint32
	ProgFD  uint32
}

// AddPort puts a device on the lane, with a rule that passes every frame until
// SetRule. The device must exist in the daemon's network namespace.
func (l *Lane) AddPort(ifindex int, mode Mode) error {
	if _, ok := l.ports.slotOf(ifindex); ok {
		return fmt.Errorf("add device %d to the lane: it is there already", ifindex)
	}
	slot, ok := l.ports.free(ifindex)
	if !ok {
		if err := l.settlePorts(); err != nil {
			return err
		}
		if slot, ok = l.ports.free(ifindex); !ok {
			return fmt.Errorf("add device %d to the lane: %w", ifindex, ErrPortTableFull)
		}
	}
	if err := l.zeroCounters(slot); err != nil {
		return err
	}
	if err := l.coll.Maps[laneMapTargets].Put(uint32(slot), devmapValue{IfIndex: uint32(ifindex)}); err != nil {
		return fmt.Errorf("add device %d to the devmap: %w", ifindex, err)
	}
	p := &l.ports.slots[slot]
	l.ports.setWord(slot, 0)
	p.Vlans = [64]uint64{}
	p.Bundle, p.Slot = uint32(slot), uint32(slot)
	p.Rules, p.Addresses = laneList{}, laneList{}
	p.Mac, p.Asked = 0, 0
	p.Police, p.Full = [2]laneRate{}, [2]uint64{}
	atomic.StoreUint32(&p.Loses, 0)
	atomic.StoreUint32(&p.Debt, 0)
	if err := l.attach(ifindex, mode); err != nil {
		return errors.Join(err, l.coll.Maps[laneMapTargets].Delete(uint32(slot)))
	}
	l.ports.modes[ifindex] = mode
	l.ports.rules[ifindex] = Rule{}
	atomic.StoreUint32(&p.Ifindex, uint32(ifindex))
	return nil
}

// ClosePort lets every frame from a port pass and sends none to it, until
// SetRule.
func (l *Lane) ClosePort(ifindex int) {
	if slot, ok := l.ports.slotOf(ifindex); ok {
		l.closeSlot(slot)
	}
}

func (l *Lane) closeSlot(slot int) {
	if ruleOfWord(l.ports.word(slot)).Flags&uint32(laneRuleFlagRULE_LISTS) != 0 {
		l.lists.asked = true
	}
	l.ports.setWord(slot, 0)
}

// SetRule changes what the program does with a port, whose lists must be there. A
// change of what is not in one word lets frames from the port pass until it is
// whole.
func (l *Lane) SetRule(ifindex int, r Rule) error {
	slot, ok := l.ports.slotOf(ifindex)
	if !ok {
		return fmt.Errorf("set rule of device %d: it is not on the lane", ifindex)
	}
	bundle := slot
	if r.Bundle != 0 {
		if bundle, ok = l.ports.slotOf(r.Bundle); !ok {
			return fmt.Errorf("set rule of device %d: device %d, which stands for its bond, is not on the lane", ifindex, r.Bundle)
		}
	}
	rules, err := l.lists.at(r.Rules, r.Scoped)
	if err != nil {
		return fmt.Errorf("set rule of device %d: %w", ifindex, err)
	}
	addresses, err := l.lists.at(r.Addresses, false)
	if err != nil {
		return fmt.Errorf("set rule of device %d: %w", ifindex, err)
	}
	old, p := l.ports.rules[ifindex], &l.ports.slots[slot]
	police := [2]laneRate{r.PoliceBytes.pack(), r.PoliceFrames.pack()}
	if old.VLANs != r.VLANs || p.Bundle != uint32(bundle) || old.Legs != r.Legs || old.MAC != r.MAC || p.Police != police ||
		wordOf(&p.Rules) != rules || wordOf(&p.Addresses) != addresses {
		l.closeSlot(slot)
	}
	if wordOf(&p.Rules) != rules || wordOf(&p.Addresses) != addresses {
		if err := l.leaveLists(); err != nil {
			return err
		}
	}
	setListWord(&p.Rules, rules)
	setListWord(&p.Addresses, addresses)
	atomic.StoreUint64(&p.Mac, Key{MAC: r.MAC}.word())
	atomic.StoreUint32(&p.Keepalive, keepUnits(r.KeepAlive, l.ticks))
	p.Police = police
	if old.VLANs != r.VLANs || p.Bundle != uint32(bundle) {
		if old != (Rule{}) {
			if err := l.grace.Wait(); err != nil {
				return err
			}
		}
		for i, w := range r.VLANs {
			atomic.StoreUint64(&p.Vlans[i], w)
		}
		atomic.StoreUint32(&p.Bundle, uint32(bundle))
	}
	// No grace period: whichever leg a program finds says itself whether
	// frames may be sent to it.
	for i, leg := range r.Legs {
		p.Legs[i] = l.ports.legSlot(leg)
	}
	l.ports.rules[ifindex] = r
	l.ports.setWord(slot, r.pack().word())
	return nil
}

func wordOf(l *laneList) uint64 { return atomic.LoadUint64((*uint64)(unsafe.Pointer(l))) }

func setListWord(l *laneList, word uint64) {
	atomic.StoreUint64((*uint64)(unsafe.Pointer(l)), word)
}

// legSlot returns the slot of a leg, or one that no port has.
func (t *portTable) legSlot(ifindex int) uint16 {
	slot, ok := t.slotOf(ifindex)
	if !ok {
		return noLeg
	}
	return uint16(slot)
}

// noLeg is a slot beyond the largest table: the program finds no port there.
const noLeg = maxPorts

// RemovePort takes a device off the lane, with every row that points at it, and the
// flows from and to it.
func (l *Lane) RemovePort(ifindex int) error {
	slot, ok := l.ports.slotOf(ifindex)
	if !ok {
		return nil
	}
	l.ports.setWord(slot, 0)
	l.fdb.each(func(key uint64, word *uint64) {
		if int(rowOf(atomic.LoadUint64(word)).Slot) == slot {
			l.fdb.remove(key)
		}
	})
	l.removeFlowsOf(slot)
	var errs []error
	if a, ok := l.links[ifindex]; ok {
		if err := a.remove(); err != nil {
			errs = append(errs, fmt.Errorf("detach XDP from device %d: %w", ifindex, err))
		}
		delete(l.links, ifindex)
	}
	if err := l.coll.Maps[laneMapTargets].Delete(uint32(slot)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		errs = append(errs, fmt.Errorf("remove device %d from the devmap: %w", ifindex, err))
	}
	atomic.StoreUint32(&l.ports.slots[slot].Ifindex, 0)
	l.ports.cleared[slot] = struct{}{}
	// No bond leads to the slot any more, whoever gets it next.
	for s := range l.ports.slots {
		for i, leg := range l.ports.slots[s].Legs {
			if int(leg) == slot {
				l.ports.slots[s].Legs[i] = noLeg
			}
		}
	}
	delete(l.ports.modes, ifindex)
	delete(l.ports.rules, ifindex)
	return errors.Join(errs...)
}

// settlePorts waits until slots of removed ports may be used again.
func (l *Lane) settlePorts() error {
	if len(l.ports.cleared) == 0 && !l.ports.foreign {
		return nil
	}
	if err := l.grace.Wait(); err != nil {
		return err
	}
	clear(l.ports.cleared)
	l.ports.foreign = false
	return nil
}
