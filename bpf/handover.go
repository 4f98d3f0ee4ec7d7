// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// bpffsMagic is what statfs(2) calls a bpffs (BPF_FS_MAGIC of linux/magic.h).
const bpffsMagic = 0xcafe4a11

// PinPrefix begins the name of every directory for MakePins.
const PinPrefix = "ovs-xdp-"

// ErrNoBPFFS tells that a directory is not on a bpffs.
var ErrNoBPFFS = errors.New("no bpffs is mounted there")

// MakePins makes an empty directory for PinTables and PinLinks that root alone
// may enter. Its parent must be on a bpffs, else the error is ErrNoBPFFS.
func MakePins(dir string) error {
	var st unix.Statfs_t
	parent := filepath.Dir(dir)
	if err := unix.Statfs(parent, &st); err != nil {
		return fmt.Errorf("hand over through %s: %w", parent, err)
	}
	if uint32(st.Type) != bpffsMagic {
		return fmt.Errorf("hand over through %s: %w", parent, ErrNoBPFFS)
	}
	if _, err := RemovePins(dir); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: let user %d write there", err, os.Geteuid())
	}
	if err != nil {
		return fmt.Errorf("hand over through %s: %w", parent, err)
	}
	return nil
}

// RemovePins removes such a directory with what is in it, and tells whether it
// was there. One that this process may not even look for is none of its own.
func RemovePins(dir string) (bool, error) {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return false, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return true, fmt.Errorf("remove what was pinned: %w", err)
	}
	return true, nil
}

// tablePin names a table in such a directory, where names have no dots.
func tablePin(dir, name string) string {
	return filepath.Join(dir, "table-"+strings.ReplaceAll(strings.TrimPrefix(name, "."), ".", "_"))
}

// linkPin names the link of a device.
func linkPin(dir string, ifindex int) string {
	return filepath.Join(dir, "link-"+strconv.Itoa(ifindex))
}

// PinTables makes the tables reachable for another process until RemovePins.
// Unlike the other methods it may be called from any goroutine.
func (l *Lane) PinTables(dir string) error {
	if err := l.pinLayout(dir); err != nil {
		return fmt.Errorf("pin the layout of the tables in %s: %w", dir, err)
	}
	for name, m := range l.coll.Maps {
		if own[name] {
			continue
		}
		err := func() error {
			m, err := m.Clone() // which does not remember what becomes of the pin
			if err != nil {
				return err
			}
			defer m.Close()
			return m.Pin(tablePin(dir, name))
		}()
		if err != nil {
			return fmt.Errorf("pin table %s in %s: %w", name, dir, err)
		}
	}
	return nil
}

// PinLinks does so with the links of the programs to their devices. As long as
// they are pinned, programs stay on their devices though every process has
// ended.
func (l *Lane) PinLinks(dir string) error {
	for ifindex, a := range l.links {
		if err := a.link.Pin(linkPin(dir, ifindex)); err != nil {
			return errors.Join(fmt.Errorf("pin link of device %d in %s: %w", ifindex, dir, err), l.UnpinLinks())
		}
	}
	return nil
}

// UnpinLinks takes back PinLinks.
func (l *Lane) UnpinLinks() error {
	var errs []error
	for ifindex, a := range l.links {
		if err := a.link.Unpin(); err != nil {
			errs = append(errs, fmt.Errorf("unpin link of device %d: %w", ifindex, err))
		}
	}
	return errors.Join(errs...)
}

// Reclaim makes this process the owner of the lane again, after another one that
// had adopted it has ended, wherever that has left off: programs and tables.
// The lane must be shut.
func (l *Lane) Reclaim() error {
	errs := []error{l.UnpinLinks(), l.ForgetLists()}
	l.reread()
	for ifindex, a := range l.links {
		if _, ok := l.ports.slotOf(ifindex); !ok {
			errs = append(errs, a.close())
			delete(l.links, ifindex)
			continue
		}
		prog := l.coll.Programs[laneProgOvsXdp]
		if a.bound != nil {
			prog = a.bound
		}
		if err := a.update(ifindex, prog); err != nil {
			errs = append(errs, err)
		}
	}
	for _, p := range l.Ports() {
		_, attached := l.links[p.IfIndex]
		if _, known := l.ports.modes[p.IfIndex]; !known || p.Mode.attaches() && !attached {
			errs = append(errs, l.RemovePort(p.IfIndex))
		}
	}
	return errors.Join(errs...)
}

// update puts a program into the place of the link's. A device that is gone has
// none.
func (a attachment) update(ifindex int, prog *ebpf.Program) error {
	if !a.on(ifindex) {
		return nil
	}
	if err := a.link.Update(prog); err != nil && a.on(ifindex) {
		return fmt.Errorf("replace XDP program of device %d: %w", ifindex, err)
	}
	return nil
}
