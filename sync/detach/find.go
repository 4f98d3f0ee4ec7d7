// SPDX-License-Identifier: Apache-2.0

// Package detach finds what ovs-xdp has on the devices of this network
// namespace, and takes it off when the daemon doesn't: it is frozen, it hangs,
// or it is gone and has left pins behind. It needs no daemon, no Open vSwitch
// and none of ovs-xdpd's tables: it asks the kernel alone.
//
// It is for emergencies. A daemon that is well detaches by itself when it ends.
package detach

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
)

// Found is what there is.
type Found struct {
	// Processes are the daemon of the run directory, and all of this network
	// namespace that hold a program of ovs-xdp.
	Processes []Process `json:"processes"`
	// Devices are those with a program of ovs-xdp.
	Devices []Device `json:"devices"`
	// Pins are directories in the bpffs that a takeover that was cut off has left;
	// those of one that is under way are among them.
	Pins []string `json:"pins"`
	// Stale are control sockets and pidfiles in the run directory of daemons that
	// were killed.
	Stale []string `json:"stale"`
}

// Device is a device with a program of ovs-xdp.
type Device struct {
	Name    string `json:"name"`
	IfIndex int    `json:"ifindex"`
	// Program and Tag are what bpftool calls the program, ID the kernel's number
	// of it.
	Program string `json:"program"`
	Tag     string `json:"tag"`
	ID      uint32 `json:"id"`
}

// Nothing tells that there is nothing.
func (f Found) Nothing() bool { return len(f.Processes)+len(f.Devices)+len(f.Pins)+len(f.Stale) == 0 }

// Host says where to look.
type Host struct {
	// Rundir is OVS_RUNDIR, BPFFS the bpffs through which lanes are taken over.
	Rundir, BPFFS string
}

// Find looks.
func (h Host) Find() (Found, error) {
	programs, err := programs()
	if err != nil {
		return Found{}, err
	}
	f := Found{Processes: []Process{}, Devices: []Device{}, Pins: []string{}, Stale: []string{}}
	links, err := listLinks()
	if err != nil {
		return f, err
	}
	for _, l := range links {
		a := l.Attrs()
		if a.Xdp == nil || !a.Xdp.Attached {
			continue
		}
		if p, ok := programs[a.Xdp.ProgId]; ok {
			f.Devices = append(f.Devices, Device{Name: a.Name, IfIndex: a.Index, Program: p.Name, Tag: p.Tag, ID: a.Xdp.ProgId})
		}
	}
	daemon := 0
	switch _, pid, err := unixctl.DaemonSocket(h.Rundir, "ovs-xdpd"); {
	case err == nil:
		daemon = pid
	case errors.Is(err, unixctl.ErrNotRunning):
		f.Stale = append(f.Stale, matches(h.Rundir, "ovs-xdpd.*.ctl")...)
		f.Stale = append(f.Stale, matches(h.Rundir, "ovs-xdpd.pid")...)
	}
	if f.Processes, err = findProcesses(programs, daemon); err != nil {
		return f, err
	}
	f.Pins, err = h.pins()
	return f, err
}

// programs returns those of ovs-xdp, of every instance, by the kernel's number.
func programs() (map[uint32]*ebpf.ProgramInfo, error) {
	names := append(slices.Clone(bpf.XDPPrograms), bpf.OtherPrograms...)
	found := make(map[uint32]*ebpf.ProgramInfo)
	for id := ebpf.ProgramID(0); ; {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list BPF programs: %w%s", err, hint(err))
		}
		id = next
		p, err := ebpf.NewProgramFromID(id)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has just gone
		}
		if err != nil {
			return nil, fmt.Errorf("open BPF program %d: %w%s", id, err, hint(err))
		}
		info, err := p.Info()
		p.Close()
		if err != nil {
			return nil, fmt.Errorf("read BPF program %d: %w", id, err)
		}
		if slices.Contains(names, info.Name) {
			found[uint32(id)] = info
		}
	}
}

func hint(err error) string {
	if errors.Is(err, unix.EPERM) {
		return " (run it as root)"
	}
	return ""
}

func listLinks() ([]netlink.Link, error) {
	for try := 0; ; try++ { // the kernel says when the list changed while it was read
		list, err := netlink.LinkList()
		if err == nil || try == 5 || !errors.Is(err, netlink.ErrDumpInterrupted) {
			if err != nil {
				err = fmt.Errorf("list network devices: %w", err)
			}
			return list, err
		}
	}
}

// matches lists the files of a folder whose names match a pattern.
func matches(dir, pattern string) []string {
	list, _ := filepath.Glob(filepath.Join(dir, pattern))
	return list
}

// pins lists directories of ovs-xdp in the bpffs.
func (h Host) pins() ([]string, error) {
	list, err := os.ReadDir(h.BPFFS)
	if errors.Is(err, fs.ErrNotExist) {
		return []string{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for pins: %w", err)
	}
	pins := []string{}
	for _, e := range list {
		if e.IsDir() && len(e.Name()) > len(bpf.PinPrefix) && e.Name()[:len(bpf.PinPrefix)] == bpf.PinPrefix {
			pins = append(pins, filepath.Join(h.BPFFS, e.Name()))
		}
	}
	return pins, nil
}
