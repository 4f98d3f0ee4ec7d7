// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/cilium/ebpf/btf"
	"github.com/vishvananda/netlink"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// AddVeth makes a machine in a namespace of its own and connects its eth0 by
// a veth pair to a new port of the bridge.
func (l *Lab) AddVeth(bridge, name string, o PortOptions) (*Port, error) {
	p := l.newPort(bridge, name, o)
	p.Kind = "veth"
	err := p.connect(o)
	if err == nil {
		err = p.attach(o)
	}
	if err != nil {
		return nil, fmt.Errorf("add veth port %s: %w", name, err)
	}
	return p, nil
}

// connect makes the machine and the veth pair to it.
func (p *Port) connect(o PortOptions) error {
	var err error
	if p.VM, err = p.lab.addNamespace(p.Name); err != nil {
		return err
	}
	if err := veth(p.lab.Hypervisor, p.Name, p.VM, "eth0", o.MTU); err != nil {
		return err
	}
	if err := p.VM.offloads("eth0", !o.NoGRO, o.TxChecksum); err != nil {
		return err
	}
	if err := p.VM.configure("eth0", p.MAC, o.Addr); err != nil {
		return err
	}
	if !o.Addr.IsValid() {
		p.raw, err = p.VM.OpenPacket("eth0")
	}
	return err
}

// veth makes a veth pair between two namespaces.
func veth(a *Namespace, nameA string, b *Namespace, nameB string, mtu int) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = nameA
	attrs.MTU = mtu
	err := a.links.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: nameB,
		PeerMTU: uint32(mtu), PeerNamespace: netlink.NsFd(b.fd)})
	if err != nil {
		return fmt.Errorf("make veth pair %s/%s: %w", nameA, nameB, err)
	}
	return nil
}

// offloads sets what a device does by itself with the frames of its machine. On
// a kernel where XDP can't see a tag beside the frame, it is to write tags into
// the frames, as the README tells operators.
func (n *Namespace) offloads(device string, gro, txChecksum bool) error {
	args := []string{"-K", device, "gro", onOff(gro), "tx", onOff(txChecksum)}
	if !TagsTold() {
		args = append(args, "tx-vlan-offload", "off", "tx-vlan-stag-hw-insert", "off")
	}
	_, err := n.Exec(context.Background(), "ethtool", args...)
	return err
}

// TagsTold tells whether XDP on a veth can ask this kernel for a VLAN tag that
// is beside the frame (Linux 6.8).
var TagsTold = sync.OnceValue(func() bool {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return false
	}
	var fn *btf.Func
	return spec.TypeByName("bpf_xdp_metadata_rx_vlan_tag", &fn) == nil
})

// TellsFeatures tells whether this kernel says what devices can do with XDP
// (the netdev netlink family, Linux 6.3).
var TellsFeatures = sync.OnceValue(func() bool {
	_, err := netlink.GenlFamilyGet("netdev")
	return err == nil
})

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// configure gives a device its addresses and sets it up. A device without an
// IP address doesn't speak ARP.
func (n *Namespace) configure(device string, mac ovs.MAC, addr netip.Prefix) error {
	fail := func(err error) error { return fmt.Errorf("configure %s in %s: %w", device, n.Name, err) }
	link, err := n.links.LinkByName(device)
	if err != nil {
		return fail(err)
	}
	if err := n.links.LinkSetHardwareAddr(link, mac[:]); err != nil {
		return fail(err)
	}
	if !addr.IsValid() {
		if err := n.links.LinkSetARPOff(link); err != nil {
			return fail(err)
		}
	} else {
		ip := &net.IPNet{IP: addr.Addr().AsSlice(), Mask: net.CIDRMask(addr.Bits(), addr.Addr().BitLen())}
		if err := n.links.AddrAdd(link, &netlink.Addr{IPNet: ip}); err != nil {
			return fail(err)
		}
	}
	return n.linkUp(device)
}
