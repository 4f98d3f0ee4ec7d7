// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// lossPrograms are those that see frames that are lost after a redirect.
var lossPrograms = []string{laneProgDevmapLost, laneProgRedirectLost}

// watchLosses puts the programs on the kernel's tracepoints. It comes before any
// port, so that no loss is missed.
func (l *Lane) watchLosses() error {
	info, err := l.coll.Maps[laneMapTargets].Info()
	if err != nil {
		return fmt.Errorf("read the id of the devmap: %w", err)
	}
	id, ok := info.ID()
	if !ok {
		return errors.New("read the id of the devmap: the kernel does not tell")
	}
	if err := l.coll.Variables[laneVarTargetsId].Set(uint32(id)); err != nil {
		return fmt.Errorf("tell the programs the id of the devmap: %w", err)
	}
	if err := l.loadLosses(); err != nil {
		return err
	}
	return l.attachLosses()
}

func (l *Lane) loadLosses() error {
	spec := l.spec.Copy()
	programs := spec.Programs
	spec.Programs = make(map[string]*ebpf.ProgramSpec)
	for _, name := range lossPrograms {
		spec.Programs[name] = programs[name]
	}
	var err error
	if l.lossColl, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: l.coll.Maps, Cache: l.kernelTypes()}); err != nil {
		return fmt.Errorf("load the programs that see lost frames: %w%s", err, lossHint(err))
	}
	return nil
}

func (l *Lane) attachLosses() error {
	defer l.lossColl.Close() // the links hold the programs
	for _, name := range lossPrograms {
		lk, err := link.AttachTracing(link.TracingOptions{Program: l.lossColl.Programs[name]})
		if err != nil {
			return fmt.Errorf("attach %s to the tracepoint %s: %w%s", name, l.spec.Programs[name].AttachTo, err, lossHint(err))
		}
		l.losses = append(l.losses, lk)
	}
	return nil
}

func (l *Lane) unwatchLosses() error {
	var errs []error
	for _, lk := range l.losses {
		errs = append(errs, lk.Close())
	}
	l.losses = nil
	if l.lossColl != nil {
		l.lossColl.Close()
	}
	return errors.Join(errs...)
}

// lossHint says what the operator can do about an error of watchLosses.
func lossHint(err error) string {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return " (give ovs-xdpd CAP_BPF and CAP_PERFMON, or run it as root)"
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, os.ErrNotExist):
		return " (a kernel with CONFIG_DEBUG_INFO_BTF and CONFIG_BPF_EVENTS is needed: /sys/kernel/btf/vmlinux is there then)"
	}
	return ""
}

// LossesUnseen says why frames that are lost after a redirect can't be seen;
// nil when they can.
func (l *Lane) LossesUnseen() error { return l.lossError }

// Losing returns the devices that lose frames: those that have refused some since
// RetryPort or since they joined, or whose full queue has lost more than one
// that is read does. The program sends them none meanwhile.
func (l *Lane) Losing() []int {
	var list []int
	for s := range l.ports.slots {
		if ifindex := l.ports.ifindexAt(s); ifindex != 0 && l.ports.loses(s) {
			list = append(list, ifindex)
		}
	}
	return list
}

// Loses tells whether Losing has the device. It may be called from any
// goroutine.
func (l *Lane) Loses(ifindex int) bool {
	s, ok := l.ports.slotOf(ifindex)
	return ok && l.ports.loses(s)
}

// RetryPort lets frames be sent again to a device that loses frames, as its rule
// says. One whose queue is still full is closed again by the first frame.
func (l *Lane) RetryPort(ifindex int) {
	if s, ok := l.ports.slotOf(ifindex); ok {
		atomic.StoreUint32(&l.ports.slots[s].Loses, 0)
	}
}

func (t *portTable) loses(slot int) bool { return atomic.LoadUint32(&t.slots[slot].Loses) != 0 }

// ownNamespace returns the inode number of the calling thread's network
// namespace, by which the kernel knows it (struct ns_common, inum).
func ownNamespace() (uint32, error) {
	const path = "/proc/thread-self/ns/net"
	fi, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("read the daemon's network namespace: %w", err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("read the daemon's network namespace: %s has no inode number", path)
	}
	return uint32(st.Ino), nil
}
