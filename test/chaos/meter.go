// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// meter reads how many frames XDP has sent out of veths: the driver counts
// them, whether ovs-xdpd lives or not.
type meter struct {
	n     *network
	start time.Time

	mu    sync.Mutex
	rises map[string][]time.Duration // when a device's counter was seen to rise
	sums  map[string]uint64          // by how much
	err   error

	stop chan struct{}
	done chan struct{}
}

const meterEvery = 10 * time.Millisecond

func (n *network) newMeter(start time.Time) *meter {
	m := &meter{n: n, start: start, rises: make(map[string][]time.Duration), sums: make(map[string]uint64),
		stop: make(chan struct{}), done: make(chan struct{})}
	go m.run()
	return m
}

func (m *meter) close() {
	close(m.stop)
	<-m.done
}

func (m *meter) run() {
	defer close(m.done)
	devices := slices.Concat(metered, bystanders, hostile)
	last := make(map[string]uint64)
	for first := true; ; first = false {
		counts := make(map[string]uint64)
		err := m.n.Hypervisor.Do(func() error {
			s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			defer unix.Close(s)
			for _, d := range devices {
				if v, err := laneCounter(s, d); err == nil { // it may be gone for a while
					counts[d] = v
				}
			}
			return nil
		})
		now := time.Since(m.start)
		m.mu.Lock()
		if err != nil {
			m.err = err
		}
		for d, v := range counts {
			was := last[d]
			if v < was { // another device of that name
				was = 0
			}
			if v > was && !first {
				m.rises[d] = append(m.rises[d], now)
				m.sums[d] += v - was
			}
			last[d] = v
		}
		m.mu.Unlock()
		select {
		case <-m.stop:
			return
		case <-time.After(meterEvery):
		}
	}
}

// sent returns how many frames the lane has sent to a device.
func (m *meter) sent(device string) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sums[device]
}

// lastRise returns when the lane last carried a frame to one of the devices in
// a span of time; ok is false when it did not.
func (m *meter) lastRise(devices []string, from, to time.Duration) (at time.Duration, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range devices {
		for _, t := range m.rises[d] {
			if t > from && t <= to && t >= at {
				at, ok = t, true
			}
		}
	}
	return at, ok
}

// allRise returns when the lane had carried a frame to each of the devices
// after a moment; ok is false when it has not yet.
func (m *meter) allRise(devices []string, from time.Duration) (at time.Duration, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range devices {
		i := slices.IndexFunc(m.rises[d], func(t time.Duration) bool { return t > from })
		if i < 0 {
			return 0, false
		}
		at = max(at, m.rises[d][i])
	}
	return at, true
}

// Numbers of linux/ethtool.h.
const (
	ethtoolGStrings = 0x1b
	ethtoolGStats   = 0x1d
	ethSSStats      = 1
	stringLength    = 32
	maxStats        = 512
)

type ethtoolStrings struct {
	cmd, set, count uint32
	names           [maxStats * stringLength]byte
}

type ethtoolStats struct {
	cmd, count uint32
	values     [maxStats]uint64
}

// laneCounter reads tx_queue_*_xdp_xmit of a veth (drivers/net/veth.c).
func laneCounter(socket int, device string) (uint64, error) {
	names := &ethtoolStrings{cmd: ethtoolGStrings, set: ethSSStats}
	if err := ethtoolCall(socket, device, unsafe.Pointer(names)); err != nil {
		return 0, err
	}
	stats := &ethtoolStats{cmd: ethtoolGStats}
	if err := ethtoolCall(socket, device, unsafe.Pointer(stats)); err != nil {
		return 0, err
	}
	var sum uint64
	found := false
	for i := range int(min(names.count, stats.count, maxStats)) {
		name, _, _ := bytes.Cut(names.names[i*stringLength:(i+1)*stringLength], []byte{0})
		if bytes.HasPrefix(name, []byte("tx_queue_")) && bytes.HasSuffix(name, []byte("_xdp_xmit")) {
			sum += stats.values[i]
			found = true
		}
	}
	if !found {
		return 0, fmt.Errorf("read XDP counters of %s: its driver has none", device)
	}
	return sum, nil
}

func ethtoolCall(socket int, device string, data unsafe.Pointer) error {
	req := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		pad  [16]byte
	}{data: data}
	copy(req.name[:unix.IFNAMSIZ-1], device)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req)))
	if errno != 0 {
		return fmt.Errorf("read counters of %s: %w", device, errno)
	}
	return nil
}
