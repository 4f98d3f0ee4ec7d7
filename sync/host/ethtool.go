// SPDX-License-Identifier: Apache-2.0

package host

import (
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Names of device features as the kernel spells them (net/ethtool/common.c).
const (
	rxVLAN     = "rx-vlan-hw-parse"
	rxVLANStag = "rx-vlan-stag-hw-parse"
	txVLAN     = "tx-vlan-hw-insert"
	txVLANStag = "tx-vlan-stag-hw-insert"
	rxGRO      = "rx-gro"
	rxGROHW    = "rx-gro-hw"
	rxLRO      = "rx-lro"
)

// ethtool is a socket that reads and sets device features, in the network
// namespace where it was opened.
type ethtool struct {
	fd   int
	bits featureBits
}

// featureBits holds the number of each feature by name: the kernel's own, the
// same for all devices.
type featureBits map[string]uint

// openEthtool opens it in the network namespace of the calling thread.
func openEthtool(bits featureBits) (*ethtool, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open socket for device features: %w", err)
	}
	return &ethtool{fd: fd, bits: bits}, nil
}

func (e *ethtool) close() { _ = unix.Close(e.fd) }

// ioctl fills in the structure of linux/ethtool.h at data. It stays a pointer to
// the last: an address in a uintptr does not follow when the stack moves.
func (e *ethtool) ioctl(device string, data unsafe.Pointer) error {
	ifr := &struct { // struct ifreq of linux/if.h
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: data}
	copy(ifr.name[:len(ifr.name)-1], device)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(e.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(ifr)))
	if errno != 0 {
		return errno
	}
	return nil
}

const (
	// maxFeatures is for how many features there is room.
	maxFeatures = 256
	// stringsFeatures is ETH_SS_FEATURES, stringLen ETH_GSTRING_LEN.
	stringsFeatures = 4
	stringLen       = 32
)

// readFeatureBits asks the kernel for the names of its features.
func readFeatureBits() (featureBits, error) {
	e, err := openEthtool(nil)
	if err != nil {
		return nil, err
	}
	defer e.close()
	set := &struct { // struct ethtool_sset_info
		cmd, _ uint32
		mask   uint64
		count  uint32
	}{cmd: unix.ETHTOOL_GSSET_INFO, mask: 1 << stringsFeatures}
	list := &struct { // struct ethtool_gstrings
		cmd, set, count uint32
		names           [maxFeatures][stringLen]byte
	}{cmd: unix.ETHTOOL_GSTRINGS, set: stringsFeatures}
	err = e.ioctl("lo", unsafe.Pointer(set))
	if err == nil && set.count > maxFeatures {
		err = fmt.Errorf("%d features", set.count)
	}
	if err == nil {
		list.count = set.count
		err = e.ioctl("lo", unsafe.Pointer(list))
	}
	if err != nil {
		return nil, fmt.Errorf("read names of device features: %w", err)
	}
	bits := make(featureBits)
	for i := range list.count {
		bits[unix.ByteSliceToString(list.names[i][:])] = uint(i)
	}
	for _, name := range []string{rxVLAN, rxVLANStag, txVLAN, txVLANStag, rxGRO, rxGROHW, rxLRO} {
		if _, ok := bits[name]; !ok {
			return nil, fmt.Errorf("read names of device features: no %s among %d", name, len(bits))
		}
	}
	return bits, nil
}

// ethtoolFeatures is struct ethtool_gfeatures of linux/ethtool.h.
type ethtoolFeatures struct {
	cmd, size uint32
	blocks    [maxFeatures / 32]struct{ available, requested, active, neverChanged uint32 }
}

// feature is how a feature of a device stands.
type feature struct {
	on bool
	// fixed tells that it can't be changed.
	fixed bool
}

// readAll reads the features of a device.
func (e *ethtool) readAll(device string) (*ethtoolFeatures, error) {
	f := &ethtoolFeatures{cmd: unix.ETHTOOL_GFEATURES, size: maxFeatures / 32}
	if err := e.ioctl(device, unsafe.Pointer(f)); err != nil {
		return nil, fmt.Errorf("read features of %s: %w", device, err)
	}
	return f, nil
}

// read returns the features of a device, by a function of their names: one
// that the kernel does not know is off, and fixed.
func (e *ethtool) read(device string) (func(name string) feature, error) {
	f, err := e.readAll(device)
	if err != nil {
		return nil, err
	}
	return func(name string) feature {
		bit, ok := e.bits[name]
		if !ok || bit/32 >= uint(min(f.size, maxFeatures/32)) {
			return feature{fixed: true}
		}
		b, mask := f.blocks[bit/32], uint32(1)<<(bit%32)
		return feature{on: b.active&mask != 0, fixed: b.available&mask == 0 || b.neverChanged&mask != 0}
	}, nil
}

// set turns features of a device on or off. The driver may do otherwise all
// the same: read tells.
func (e *ethtool) set(device string, names []string, on bool) error {
	f, err := e.readAll(device)
	if err != nil {
		return err
	}
	set := &struct { // struct ethtool_sfeatures
		cmd, size uint32
		blocks    [maxFeatures / 32]struct{ valid, requested uint32 }
	}{cmd: unix.ETHTOOL_SFEATURES, size: f.size}
	for _, name := range names {
		bit, ok := e.bits[name]
		if !ok || bit/32 >= uint(f.size) {
			return fmt.Errorf("set features of %s: the kernel does not know %s", device, name)
		}
		set.blocks[bit/32].valid |= 1 << (bit % 32)
		if on {
			set.blocks[bit/32].requested |= 1 << (bit % 32)
		}
	}
	if err := e.ioctl(device, unsafe.Pointer(set)); err != nil {
		return fmt.Errorf("set features %s of %s: %w", strings.Join(names, " "), device, err)
	}
	return nil
}

// driver names a device's driver, "" when it has none to name.
func (e *ethtool) driver(device string) string {
	info, err := unix.IoctlGetEthtoolDrvinfo(e.fd, device)
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(info.Driver[:])
}
