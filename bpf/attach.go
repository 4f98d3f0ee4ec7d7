// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
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
)

// devBoundOnly is BPF_F_XDP_DEV_BOUND_ONLY of linux/bpf.h: the program is for
// one device, and may call what that device's driver offers.
const devBoundOnly = 1 << 6

// attach puts the program on a device. The link is not pinned: it goes with
// this process, however that ends.
func (l *Lane) attach(ifindex int, mode Mode) error {
	if mode == ModeTarget {
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
	if a.id, err = programID(prog); err != nil {
		return errors.Join(err, a.close())
	}
	l.links[ifindex] = a
	return nil
}

// attachHint says what the operator can do about an error of attaching.
func attachHint(err error) string {
	switch {
	case errors.Is(err, unix.EBUSY):
		return " (another XDP program is attached: ip -d link shows it)"
	case errors.Is(err, unix.ERANGE), errors.Is(err, unix.EINVAL):
		return " (is the MTU larger than a page? XDP takes about 3500 bytes)"
	}
	return ""
}

// loadBound loads the program variant for one device, on the shared tables.
func (l *Lane) loadBound(ifindex int) (*ebpf.Program, error) {
	spec := l.spec.Copy()
	prog := spec.Programs[laneProgOvsXdpVeth]
	prog.Ifindex = uint32(ifindex)
	prog.Flags |= devBoundOnly
	spec.Programs = map[string]*ebpf.ProgramSpec{laneProgOvsXdpVeth: prog}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: l.coll.Maps})
	if err != nil {
		return nil, fmt.Errorf("load XDP program for device %d, which may hold VLAN tags beside frames (Linux 6.8 or later tells of them): %w", ifindex, err)
	}
	defer coll.Close()
	return coll.DetachProgram(laneProgOvsXdpVeth), nil
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
