// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// Adopt loads the programs on the tables that another process has pinned in dir
// (PinTables). They keep their sizes, whatever cfg says. The Lane may be read from, no more, until
// the other process has stopped writing and AdoptPorts has made this one their
// writer.
func Adopt(dir string, cfg Config) (*Lane, error) {
	of, err := openLayout(dir)
	if err != nil {
		return nil, fmt.Errorf("adopt tables in %s: %w", dir, err)
	}
	spec, err := loadLane()
	if err != nil {
		return nil, fmt.Errorf("read BPF object: %w", err)
	}
	tables := make(map[string]*ebpf.Map)
	defer func() {
		for _, m := range tables {
			m.Close() // the Lane has its own descriptors
		}
	}()
	for name, m := range spec.Maps {
		if own[name] {
			continue
		}
		if tables[name], err = ebpf.LoadPinnedMap(tablePin(dir, name), nil); err != nil {
			delete(tables, name)
			return nil, fmt.Errorf("adopt table %s (%s) in %s: %w", name, m.Type, dir, err)
		}
	}
	return load(of, cfg.FinishChecksums, tables)
}

// Sized tells whether the tables are as large as New would make them.
func (l *Lane) Sized(cfg Config) bool {
	cfg.fill()
	return len(l.fdb.buckets) == bucketsOf(cfg.Rows) && len(l.flows.buckets) == bucketsOf(cfg.Flows) &&
		len(l.ports.slots) == powerOfTwo(cfg.Ports) && len(l.lists.rules) == cfg.Rules
}

// MaxRows is how many rows the FDB is made for.
func (l *Lane) MaxRows() int { return l.fdb.places() / 2 }

// LoadAhead loads what Swap needs for a device of that mode, which takes long. A
// device that is gone needs nothing.
func (l *Lane) LoadAhead(ifindex int, mode Mode) error {
	if mode != ModeVeth || l.ahead[ifindex] != nil {
		return nil
	}
	prog, err := l.loadBound(ifindex)
	if err != nil {
		if _, gone := net.InterfaceByIndex(ifindex); gone != nil {
			return nil
		}
		return err
	}
	l.ahead[ifindex] = prog
	return nil
}

// AdoptPorts makes this process the writer of tables that were adopted, with
// the ports that are in them. Their links are pinned in dir (PinLinks), modes
// holds how each has its program. The programs stay as they are until Swap.
func (l *Lane) AdoptPorts(dir string, modes map[int]Mode) error {
	l.reread()
	for s := range l.ports.slots {
		ifindex := l.ports.ifindexAt(s)
		mode, ok := modes[ifindex]
		if ifindex == 0 || !ok {
			continue
		}
		if mode.attaches() {
			a, err := adoptLink(linkPin(dir, ifindex))
			if err != nil {
				return fmt.Errorf("adopt link of device %d: %w", ifindex, err)
			}
			l.links[ifindex] = a
		}
		l.ports.modes[ifindex] = mode
	}
	for _, p := range l.Ports() { // one that nobody speaks for
		if _, ok := l.ports.modes[p.IfIndex]; !ok {
			if err := l.RemovePort(p.IfIndex); err != nil {
				return err
			}
		}
	}
	return nil
}

func adoptLink(pin string) (attachment, error) {
	lk, err := link.LoadPinnedLink(pin, nil)
	if err != nil {
		return attachment{}, err
	}
	info, err := lk.Info()
	if err != nil {
		return attachment{}, errors.Join(err, lk.Close())
	}
	if info.XDP() == nil {
		return attachment{}, errors.Join(errors.New("it is not an XDP link"), lk.Close())
	}
	// The link lives as long as a process has it open; the pin is not needed.
	if err := lk.Unpin(); err != nil {
		return attachment{}, errors.Join(err, lk.Close())
	}
	return attachment{link: lk, id: uint32(info.Program), shared: true}, nil
}

// Swap puts this process's programs into the place of those on the devices, one
// device after the other; each changes from one frame to the next.
func (l *Lane) Swap() error {
	if l.lossError == nil {
		l.lossError = l.attachLosses()
	}
	for ifindex, a := range l.links {
		mode := l.ports.modes[ifindex]
		if !a.on(ifindex) {
			continue // Ports tells
		}
		if err := l.LoadAhead(ifindex, mode); err != nil {
			return err
		}
		prog := l.coll.Programs[laneProgOvsXdp]
		if mode == ModeVeth {
			if prog = l.ahead[ifindex]; prog == nil {
				continue // it has just gone
			}
		}
		if err := a.update(ifindex, prog); err != nil {
			return err
		}
		id, err := programID(prog)
		if err != nil {
			return err
		}
		if a.id = id; mode == ModeVeth {
			a.bound = prog
			delete(l.ahead, ifindex)
		}
		l.links[ifindex] = a
	}
	l.ForgetTypes()
	var errs []error
	for ifindex, p := range l.ahead { // of devices that left meanwhile
		errs = append(errs, p.Close())
		delete(l.ahead, ifindex)
	}
	return errors.Join(errs...)
}
