// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Mode says how a program sits on a device.
type Mode int

// The modes of a port.
const (
	// ModeTarget attaches nothing: frames only go to the device.
	ModeTarget Mode = iota
	// ModeNative runs the program in the device's driver.
	ModeNative
	// ModeVeth is ModeNative for a device that may hold a frame's VLAN tag
	// beside it: its program asks the driver for the tag (Linux 6.8).
	ModeVeth
	// ModeGeneric runs the program in the network stack.
	ModeGeneric
	// ModeSlave attaches nothing: the device is a slave of a Linux bond, which
	// has the program, and gives it the slaves' frames as theirs.
	ModeSlave
)

// attaches tells whether a device of that mode has a program of its own.
func (m Mode) attaches() bool { return m != ModeTarget && m != ModeSlave }

// Flags of linux/bpf.h.
const (
	// devBoundOnly is BPF_F_XDP_DEV_BOUND_ONLY: the program is for one device,
	// and may call what that device's driver offers.
	devBoundOnly = 1 << 6
	// hasFrags is BPF_F_XDP_HAS_FRAGS (Linux 5.18): the program may get frames
	// that lie in several buffers, and so its device have a large MTU.
	hasFrags = 1 << 5
)

// attach puts the program on a device. The link is not pinned: it goes with
// this process, however that ends.
func (l *Lane) attach(ifindex int, mode Mode) error {
	if !mode.attaches() {
		return nil
	}
	a := attachment{}
	prog, flags := l.coll.Programs[laneProgOvsXdp], link.XDPDriverMode
	switch mode {
	case ModeGeneric:
		flags = link.XDPGenericMode
	case ModeVeth:
		var err error
		if a.bound, err = l.loadBound(ifindex); err != nil {
			return err
		}
		prog = a.bound
	}
	lk, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: ifindex, Flags: flags})
	if err != nil {
		if a.bound != nil {
			err = errors.Join(err, a.bound.Close())
		}
		return fmt.Errorf("attach XDP to device %d: %w%s", ifindex, err, attachHint(err))
	}
	a.link = lk
	info, err := lk.Info() // cheaper than asking the program
	if err != nil {
		return errors.Join(fmt.Errorf("read id of the XDP program of device %d: %w", ifindex, err), a.close())
	}
	a.id = uint32(info.Program)
	l.links[ifindex] = a
	return nil
}

// attachHint says what the operator can do about an error of attaching.
func attachHint(err error) string {
	switch {
	case errors.Is(err, unix.EBUSY):
		return " (another XDP program is attached: ip -d link shows it)"
	case errors.Is(err, unix.ERANGE), errors.Is(err, unix.EINVAL):
		return " (is the MTU larger than a page? XDP takes about 3500 bytes before Linux 5.18)"
	}
	return ""
}

// ErrBound says that the kernel does not take a program that is bound to a
// device, or not safely: it can't be asked for VLAN tags beside frames.
var ErrBound = errors.New("a program that can ask for VLAN tags beside the frame (Linux 6.8) can't be had")

// loadBound loads the program for one device, from which frames go on to those for
// all.
func (l *Lane) loadBound(ifindex int) (*ebpf.Program, error) {
	fail := func(err error) error {
		return fmt.Errorf("load XDP program for device %d: %w: %w", ifindex, ErrBound, err)
	}
	prog := l.spec.Programs[laneProgOvsXdpVeth].Copy()
	prog.Ifindex = uint32(ifindex)
	prog.Flags |= devBoundOnly
	spec := &ebpf.CollectionSpec{
		Programs: map[string]*ebpf.ProgramSpec{laneProgOvsXdpVeth: prog},
		Maps:     make(map[string]*ebpf.MapSpec), ByteOrder: l.spec.ByteOrder, Types: l.spec.Types,
	}
	maps := make(map[string]*ebpf.Map)
	for _, name := range []string{laneMapEntries, laneMapBeside} {
		spec.Maps[name], maps[name] = l.spec.Maps[name], l.coll.Maps[name]
	}
	if !l.mayBind {
		if err := mayBind(); err != nil {
			return nil, fail(err)
		}
		l.mayBind = true
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: maps, Cache: l.kernelTypes()})
	if err != nil {
		return nil, fail(err)
	}
	defer coll.Close()
	if err := unmoved(coll.Programs[laneProgOvsXdpVeth], len(prog.Instructions)); err != nil {
		return nil, fail(err)
	}
	return coll.DetachProgram(laneProgOvsXdpVeth), nil
}

// kernelTypes reads the kernel's types when a program asks for them, once for all
// programs until ForgetTypes.
func (l *Lane) kernelTypes() *btf.Cache {
	if l.types == nil {
		l.types = btf.NewCache()
	}
	return l.types
}

// ForgetTypes ends a time in which programs were loaded, at the start or for one
// device after the other: it frees what was read of the kernel's types, which takes
// some 10 ms and as many megabytes, and whether programs may be bound to devices is
// asked anew.
func (l *Lane) ForgetTypes() { l.types, l.mayBind = nil, false }

// enter lets frames go on from the programs for one device.
func (l *Lane) enter() error {
	for entry, name := range map[laneEntry]string{laneEntryENTRY_BARE: laneProgOvsXdp, laneEntryENTRY_TAGGED: laneProgOvsXdpTagged} {
		if err := l.coll.Maps[laneMapEntries].Put(uint32(entry), l.coll.Programs[name]); err != nil {
			return fmt.Errorf("add program %s to the map of programs: %w", name, err)
		}
	}
	return nil
}

// mayBind refuses to bind programs to devices where the kernel's JIT compiler
// copies each one to blind its constants: its second pointer to the program is
// wrong then. The sysctl can be read in the first network namespace alone, so a
// small program tells: blinded, it is longer than it was.
func mayBind() error {
	code := asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "blinded", Type: ebpf.XDP, Instructions: code, License: "Dual BSD/GPL"})
	if err != nil {
		return fmt.Errorf("load a program to see whether constants are blinded: %w", err)
	}
	defer p.Close()
	info, err := p.Info()
	if err != nil {
		return fmt.Errorf("read whether constants are blinded: %w", err)
	}
	size, err := info.TranslatedSize()
	if err != nil {
		return fmt.Errorf("read whether constants are blinded: %w", err)
	}
	if size > len(code)*asm.InstructionSize {
		return errors.New("sysctl net.core.bpf_jit_harden is 2, with which Linux can't do that safely: set it to 1")
	}
	return nil
}

// xdpPass is XDP_PASS of linux/bpf.h.
const xdpPass = 2

// unmoved makes sure that the kernel has not moved a program that is bound to a
// device while it verified it: the kernel's second pointer to it would be wrong
// (see ovs_xdp_veth in src/lane.bpf.c). size is the number of instructions that
// were loaded, 16-byte ones counted once.
func unmoved(p *ebpf.Program, size int) error {
	info, err := p.Info()
	if err != nil {
		return fmt.Errorf("read size of the program: %w", err)
	}
	translated, err := info.TranslatedSize()
	if err != nil {
		return fmt.Errorf("read size of the program: %w", err)
	}
	// sizeof(struct bpf_prog) is less than 128 bytes.
	const header, page = 128, 4096
	if had := (size*8 + page - 1) / page * page; translated+header > had {
		return fmt.Errorf("the kernel has made %d bytes of a program of %d instructions and moved it, which it can't do safely with a program that is bound to a device", translated, size)
	}
	return nil
}

// remove takes the program off its device, whoever else has the link.
func (a attachment) remove() error {
	if !a.shared {
		return a.close()
	}
	err := a.link.Detach()
	if errors.Is(err, unix.ENOLINK) { // the device is gone
		err = nil
	}
	return errors.Join(err, a.close())
}

// on tells whether the program is still on the device.
func (a attachment) on(ifindex int) bool {
	info, err := a.link.Info()
	return err == nil && info.XDP() != nil && int(info.XDP().Ifindex) == ifindex
}

// Owns tells whether the kernel's id of a program is that of one of ours.
func (l *Lane) Owns(id uint32) bool {
	for _, a := range l.links {
		if a.id == id {
			return true
		}
	}
	return false
}

func programID(p *ebpf.Program) (uint32, error) {
	info, err := p.Info()
	if err != nil {
		return 0, fmt.Errorf("read id of the XDP program: %w", err)
	}
	id, ok := info.ID()
	if !ok {
		return 0, errors.New("read id of the XDP program: the kernel does not tell")
	}
	return uint32(id), nil
}
