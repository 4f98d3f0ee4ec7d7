// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
)

// NICs returns the pairs of network cards that this machine lends to tests, by
// driver, each connected back to back: OVS_XDP_NICS, as "virtio_net:eth0,eth1
// vmxnet3:eth2,eth3". The kernel lab's machines have some.
func NICs() map[string][2]string {
	nics := make(map[string][2]string)
	for _, f := range strings.Fields(os.Getenv("OVS_XDP_NICS")) {
		driver, names, _ := strings.Cut(f, ":")
		near, far, _ := strings.Cut(names, ",")
		nics[driver] = [2]string{near, far}
	}
	return nics
}

// AddNIC makes a network card of a driver a port of the bridge, under its own name, with a
// machine for raw frames at the other end of its cable. Close gives both cards
// back to the namespace of this process.
func (l *Lab) AddNIC(bridge, driver string, pair [2]string, o PortOptions) (*Port, error) {
	p := l.newPort(bridge, pair[0], o)
	p.Kind = driver
	err := func() error {
		var err error
		if p.VM, err = l.addNamespace(pair[0]); err != nil {
			return err
		}
		if err := moveLink(pair[0], l.Hypervisor); err != nil {
			return err
		}
		if err := moveLink(pair[1], p.VM); err != nil {
			return err
		}
		if err := p.VM.configure(pair[1], p.MAC, o.Addr); err != nil {
			return err
		}
		// Or it takes no tagged frames (rx-vlan-filter).
		if _, err := p.VM.Exec(context.Background(), "ip", "link", "set", pair[1], "promisc", "on"); err != nil {
			return err
		}
		if p.raw, err = p.VM.OpenPacket(pair[1]); err != nil {
			return err
		}
		return p.attach(o)
	}()
	if err != nil {
		return nil, fmt.Errorf("add NIC %s: %w", pair[0], err)
	}
	return p, nil
}

// moveLink moves a device of this process's namespace to another. It comes back
// when that ends.
func moveLink(name string, to *Namespace) error {
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetNsFd(link, int(to.fd))
	}
	if err != nil {
		return fmt.Errorf("move %s to %s: %w", name, to.Name, err)
	}
	return nil
}
