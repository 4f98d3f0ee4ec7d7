// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// hold is what of a device was turned off, and is to be turned on again.
type hold struct {
	IfIndex int
	// Device tells a device from another that gets its ifindex.
	Device string
	// Features are the kernel's names of what was on.
	Features []string
}

// identity is what a device keeps under another name.
func identity(l netlink.Link) string {
	a := l.Attrs()
	return strings.Join([]string{l.Type(), a.ParentDevBus, a.ParentDev, a.PermHWAddr.String()}, " ")
}

// errFixed tells of an offload that can't be turned off.
var errFixed = errors.New("the driver can't turn it off")

// findOn returns those of the features that are on.
func findOn(tool *ethtool, ifindex int, names []string) (hold, netlink.Link, error) {
	l, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return hold{}, nil, fmt.Errorf("find device %d: %w", ifindex, err)
	}
	f, err := tool.read(l.Attrs().Name)
	if err != nil {
		return hold{}, nil, err
	}
	on := hold{IfIndex: ifindex, Device: identity(l)}
	for _, name := range names {
		state := f(name)
		if state.on && state.fixed {
			return hold{}, nil, fmt.Errorf("turn off %s of %s: %w", name, l.Attrs().Name, errFixed)
		}
		if state.on {
			on.Features = append(on.Features, name)
		}
	}
	return on, l, nil
}

// apply turns the features off, and makes sure of it.
func (h hold) apply(tool *ethtool, l netlink.Link) error {
	name := l.Attrs().Name
	if err := tool.set(name, h.Features, false); err != nil {
		return err
	}
	f, err := tool.read(name)
	if err != nil {
		return err
	}
	on := slices.DeleteFunc(slices.Clone(h.Features), func(n string) bool { return !f(n).on })
	if len(on) > 0 {
		return fmt.Errorf("turn off %s of %s: the driver leaves it on", strings.Join(on, " "), name)
	}
	return nil
}

// restore turns on what is still off, and says of what device which features. A
// device that is gone has nothing to be restored.
func (h hold) restore(tool *ethtool) (device string, features []string, err error) {
	l, err := netlink.LinkByIndex(h.IfIndex)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("find device %d: %w", h.IfIndex, err)
	}
	if identity(l) != h.Device {
		return "", nil, nil
	}
	device = l.Attrs().Name
	f, err := tool.read(device)
	if err != nil {
		return device, nil, err
	}
	for _, n := range h.Features {
		if !f(n).on {
			features = append(features, n)
		}
	}
	if len(features) == 0 {
		return device, nil, nil
	}
	if err := tool.set(device, features, true); err != nil {
		return device, nil, err
	}
	if f, err = tool.read(device); err != nil {
		return device, nil, err
	}
	for _, n := range features {
		if !f(n).on {
			return device, nil, fmt.Errorf("turn on %s of %s: the driver leaves it off", n, device)
		}
	}
	return device, features, nil
}
