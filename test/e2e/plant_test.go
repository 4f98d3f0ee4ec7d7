// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// memory is the FDB of a running daemon as the kernel has it, mapped into the
// test: buckets of four keys and four rows (struct bucket in bpf/src/layout.h).
type memory struct {
	words []uint64
	mem   []byte
}

const bucketRows = 4

// fdbOf finds the FDB among the maps that the daemon holds open.
func fdbOf(pid int) (*memory, error) { return mapOf(pid, "fdb", 16*bucketRows) }

// mapOf finds a table by its map's name and the size of its elements.
func mapOf(pid int, name string, size uint32) (*memory, error) {
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return nil, err
	}
	for _, info := range infos {
		text, err := os.ReadFile(info)
		if err != nil {
			continue // it has just been closed
		}
		for line := range strings.Lines(string(text)) {
			value, ok := strings.CutPrefix(line, "map_id:")
			id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
			if !ok || err != nil {
				continue
			}
			m, err := openMap(ebpf.MapID(id), name, size)
			if m != nil || err != nil {
				return m, err
			}
		}
	}
	return nil, fmt.Errorf("find map %s: process %d holds no such map", name, pid)
}

// openMap maps a map into memory when it is the one.
func openMap(id ebpf.MapID, name string, value uint32) (*memory, error) {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil || info.Name != name || info.ValueSize%value != 0 {
		return nil, err
	}
	page := os.Getpagesize()
	size := int(info.MaxEntries) * int(info.ValueSize)
	mem, err := unix.Mmap(m.FD(), 0, (size+page-1)/page*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s into memory: %w", name, err)
	}
	return &memory{mem: mem, words: unsafe.Slice((*uint64)(unsafe.Pointer(&mem[0])), size/8)}, nil
}

// row finds the row of a station, of whichever bridge.
func (m *memory) row(mac ovs.MAC, vlan ovs.VLAN) (*uint64, error) {
	const bridge = 15 << 12
	want := uint64(vlan)
	for i, b := range mac {
		want |= uint64(b) << (56 - 8*i)
	}
	for i := 0; i < len(m.words); i += 2 * bucketRows {
		for j := range bucketRows {
			if atomic.LoadUint64(&m.words[i+j])&^bridge == want {
				return &m.words[i+bucketRows+j], nil
			}
		}
	}
	return nil, errors.New("the FDB has no row of station " + mac.String())
}

// plant makes a row lead to the port of another station's.
func (m *memory) plant(of, to station) error {
	row, err := m.row(of.mac, of.vlan)
	if err != nil {
		return err
	}
	other, err := m.row(to.mac, to.vlan)
	if err != nil {
		return err
	}
	const slot = 0xffff
	for {
		was := atomic.LoadUint64(row)
		if atomic.CompareAndSwapUint64(row, was, was&^slot|atomic.LoadUint64(other)&slot) {
			return nil
		}
	}
}

// keepPlanting plants a row again and again until the returned function is called,
// or the row has gone.
func (m *memory) keepPlanting(of, to station) (stop func()) {
	done := make(chan struct{})
	var planting sync.WaitGroup
	planting.Go(func() {
		for m.plant(of, to) == nil {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	return sync.OnceFunc(func() {
		close(done)
		planting.Wait()
	})
}

func (m *memory) close() error { return unix.Munmap(m.mem) }
