// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// table is the FDB of a running daemon as the kernel has it, mapped into this
// process: looking at it costs the daemon nothing.
type table struct {
	mem     []byte
	buckets []bucket
}

// bucket is struct bucket of bpf/src/layout.h.
type bucket struct{ key, row [4]uint64 }

// Flags of a row (enum row_flag of bpf/src/layout.h) and the slot of its port,
// in a row's word.
const (
	rowValid = 1 << 48
	rowMoved = 1 << 49
	rowSlot  = 0xffff
	// rowStamp says when OVS last saw the station: the program changes it.
	rowStamp = 0xffff << 32
)

// mapTypeArray is BPF_MAP_TYPE_ARRAY of linux/bpf.h, as it stands in fdinfo.
const mapTypeArray = "2"

// errNoTable says that the daemon has not made its tables yet.
var errNoTable = errors.New("the process has no map called fdb")

// openTable maps the FDB of the process.
func openTable(pid int) (*table, error) {
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return nil, err
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err != nil || to != "anon_inode:bpf-map" {
			continue
		}
		info, err := os.ReadFile(strings.Replace(fd, "/fd/", "/fdinfo/", 1))
		if err != nil {
			continue
		}
		// Only arrays: one of programs must not be opened while the kernel clears it.
		if _, kind, _ := strings.Cut(string(info), "map_type:"); strings.Fields(kind + " x")[0] != mapTypeArray {
			continue
		}
		_, rest, _ := strings.Cut(string(info), "map_id:")
		id, err := strconv.ParseUint(strings.Fields(rest + " x")[0], 10, 32)
		if err != nil {
			continue
		}
		if t, err := openMap(ebpf.MapID(id)); !errors.Is(err, errNoTable) {
			return t, err
		}
	}
	return nil, errNoTable
}

func openMap(id ebpf.MapID) (*table, error) {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		return nil, err
	}
	if info.Name != "fdb" {
		return nil, errNoTable
	}
	size := uint32(unsafe.Sizeof(bucket{}))
	if info.ValueSize%size != 0 {
		return nil, fmt.Errorf("map the FDB: %d bytes are no whole buckets", info.ValueSize)
	}
	mem, err := unix.Mmap(m.FD(), 0, int(info.ValueSize), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the FDB: %w", err)
	}
	return &table{mem: mem, buckets: unsafe.Slice((*bucket)(unsafe.Pointer(&mem[0])), info.ValueSize/size)}, nil
}

func (t *table) close() error { return unix.Munmap(t.mem) }

// installed counts the rows that are in force.
func (t *table) installed() int {
	n := 0
	for i := range t.buckets {
		for j := range t.buckets[i].row {
			if inForce(t.buckets[i].row[j]) {
				n++
			}
		}
	}
	return n
}

func inForce(row uint64) bool { return row&rowValid != 0 && row&rowMoved == 0 }

// keyOf is the key of a station of the daemon's only bridge.
func keyOf(s station) uint64 {
	m := s.mac
	return uint64(m[0])<<56 | uint64(m[1])<<48 | uint64(m[2])<<40 | uint64(m[3])<<32 |
		uint64(m[4])<<24 | uint64(m[5])<<16 | 1<<12 | uint64(s.vlan)
}

// find returns the words of stations, by key; those that are not there are left
// out. The words stay where they are as long as rows are but changed.
func (t *table) find(keys map[uint64]bool) map[uint64]*uint64 {
	found := make(map[uint64]*uint64, len(keys))
	for i := range t.buckets {
		for j, key := range t.buckets[i].key {
			if key != 0 && keys[key] {
				found[key] = &t.buckets[i].row[j]
			}
		}
	}
	return found
}

// has tells whether the row of a station is in force.
func (t *table) has(key uint64) bool {
	for i := range t.buckets {
		b := &t.buckets[i]
		for j := range b.key {
			if b.key[j] == key && inForce(b.row[j]) {
				return true
			}
		}
	}
	return false
}

// copy returns all rows by key, without their stamps.
func (t *table) copy() map[uint64]uint64 {
	rows := make(map[uint64]uint64)
	for i := range t.buckets {
		for j, key := range t.buckets[i].key {
			if key != 0 {
				rows[key] = t.buckets[i].row[j] &^ rowStamp
			}
		}
	}
	return rows
}

// changes counts the keys whose rows differ.
func changes(before, after map[uint64]uint64) int {
	n := 0
	for key, row := range after {
		if was, ok := before[key]; !ok || was != row {
			n++
		}
	}
	for key := range before {
		if _, ok := after[key]; !ok {
			n++
		}
	}
	return n
}

// station is a MAC address in a VLAN, behind a port of the crowd.
type station struct {
	mac  ovs.MAC
	vlan ovs.VLAN
	port int
}
