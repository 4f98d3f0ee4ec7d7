// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"

	"github.com/ovs-xdp/ovs-xdp/sync/report"
)

// view is what is known of the devices.
type view struct {
	// of is a port or an interface of OVS; "" for all.
	of    string
	ports []report.Port // those of that name
	// devices are those of the ports, and the slaves of those that are Linux bonds:
	// the kernel says that a frame comes from a slave.
	devices []int
	names   map[int]string
}

// look looks anew.
func (v *view) look(ctx context.Context, ports func(context.Context) ([]report.Port, error)) error {
	all, err := ports(ctx)
	if err != nil {
		return err
	}
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return fmt.Errorf("list network devices: %w", err)
	}
	v.ports, v.devices = nil, nil
	for _, p := range all {
		if v.of == "" || p.Port != v.of && p.Interface != v.of {
			continue
		}
		v.ports = append(v.ports, p)
		if p.IfIndex == 0 {
			continue // it has no device now
		}
		v.devices = append(v.devices, p.IfIndex)
		for _, l := range links {
			if l.Attrs().MasterIndex == p.IfIndex {
				v.devices = append(v.devices, l.Attrs().Index)
			}
		}
	}
	for _, l := range links {
		v.names[l.Attrs().Index] = l.Attrs().Name
	}
	return nil
}

// aside says what keeps frames of the ports from being seen.
func (v *view) aside() string {
	var closed, generic int
	for _, p := range v.ports {
		switch {
		case !p.Ingress && !p.Egress:
			closed++
		case p.Attach == "generic":
			generic++
		}
	}
	switch {
	case len(v.ports) > 0 && closed == len(v.ports):
		return v.of + " is not on the lane now (ovs-xdpctl status): tcpdump sees all of its frames"
	case generic > 0:
		return v.of + " is on the lane in generic mode: frames from it can't be captured"
	}
	return ""
}

// name is that of a device; one that is new has not been looked up yet.
func (v *view) name(ifindex int) string {
	if name, ok := v.names[ifindex]; ok {
		return name
	}
	if i, err := net.InterfaceByIndex(ifindex); err == nil {
		v.names[ifindex] = i.Name
	}
	return v.names[ifindex]
}
