// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// TrunkHost is a machine behind an uplink.
type TrunkHost struct {
	// Name names the namespace; VLAN is where the machine is; no two hosts
	// of a trunk share one.
	Name string
	VLAN ovs.VLAN
	Addr netip.Prefix
	// MAC is the machine's address; zero takes Lab.NewMAC.
	MAC ovs.MAC
	// VM is the machine's namespace, with the device eth0 in it.
	VM *Namespace
}

// Trunk is an uplink: a port of the bridge whose cable ends in a switch that
// gives each machine behind it a VLAN of its own.
type Trunk struct {
	// Port is the uplink as a port of the bridge; it has no machine itself.
	Port  *Port
	Hosts []*TrunkHost
	// Switch is the namespace of the switch; the cable ends in its device
	// "uplink".
	Switch *Namespace
}

// AddTrunk makes an uplink with hosts behind it. The switch there is a
// namespace in which two small tc programs push and pop 802.1Q tags between
// the uplink and the machines: it needs neither 8021q nor a bridge.
//
// With acceleratedTags the switch leaves tags where Linux keeps them, beside
// the frame, and the far end of the uplink doesn't write them into the frame:
// the hypervisor then gets frames that look untagged to native XDP.
func (l *Lab) AddTrunk(bridge, name string, acceleratedTags bool, o PortOptions, hosts ...*TrunkHost) (*Trunk, error) {
	t := &Trunk{Port: l.newPort(bridge, name, o), Hosts: hosts}
	err := func() error {
		var err error
		if t.Switch, err = l.addNamespace(name); err != nil {
			return err
		}
		if err := veth(l.Hypervisor, name, t.Switch, "uplink", o.MTU); err != nil {
			return err
		}
		if err := t.Switch.offloads("uplink", true, false); err != nil {
			return err
		}
		_, err = t.Switch.Exec(context.Background(), "ethtool", "-K", "uplink", "tx-vlan-offload", onOff(acceleratedTags))
		if err != nil {
			return err
		}
		if err := t.Switch.configure("uplink", t.Port.MAC, netip.Prefix{}); err != nil {
			return err
		}
		ports := make(map[ovs.VLAN]int) // devices of the switch
		for _, h := range hosts {
			if ports[h.VLAN], err = t.connect(l, h, o.MTU); err != nil {
				return err
			}
		}
		if err := t.Switch.TCIngress("uplink", popTag(ports)); err != nil {
			return err
		}
		return t.Port.attach(o)
	}()
	if err != nil {
		return nil, fmt.Errorf("add trunk %s: %w", name, err)
	}
	return t, nil
}

// connect makes a host, and returns the index of the device that leads to it.
func (t *Trunk) connect(l *Lab, h *TrunkHost, mtu int) (int, error) {
	var err error
	if h.VM, err = l.addNamespace(h.Name); err != nil {
		return 0, err
	}
	if h.MAC.IsZero() {
		h.MAC = l.NewMAC()
	}
	if err := veth(t.Switch, h.Name, h.VM, "eth0", mtu); err != nil {
		return 0, err
	}
	if err := h.VM.offloads("eth0", true, false); err != nil {
		return 0, err
	}
	if err := h.VM.configure("eth0", h.MAC, h.Addr); err != nil {
		return 0, err
	}
	if err := t.Switch.linkUp(h.Name); err != nil {
		return 0, err
	}
	uplink, err := t.Switch.links.LinkByName("uplink")
	if err != nil {
		return 0, err
	}
	device, err := t.Switch.links.LinkByName(h.Name)
	if err != nil {
		return 0, err
	}
	return device.Attrs().Index, t.Switch.TCIngress(h.Name, pushTag(h.VLAN, uplink.Attrs().Index))
}

// Return codes of tc programs.
const tcActShot = 2

// pushTag tags a frame and sends it out of the uplink.
func pushTag(v ovs.VLAN, uplink int) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Imm(asm.R2, int32(bigEndian(unix.ETH_P_8021Q))),
		asm.Mov.Imm(asm.R3, int32(v)),
		asm.FnSkbVlanPush.Call(),
		asm.Mov.Imm(asm.R1, int32(uplink)),
		asm.Mov.Imm(asm.R2, 0), // egress
		asm.FnRedirect.Call(),
		asm.Return(),
	}
}

// Offsets in struct __sk_buff.
const (
	skbVLANPresent = 20
	skbVLANTCI     = 24
)

// popTag takes the tag off a frame and sends it to the host of that VLAN; it
// drops frames without a tag and of other VLANs.
func popTag(ports map[ovs.VLAN]int) asm.Instructions {
	ins := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, skbVLANPresent, asm.Word),
		asm.JEq.Imm(asm.R2, 0, "drop"),
		asm.LoadMem(asm.R6, asm.R1, skbVLANTCI, asm.Word),
		asm.And.Imm(asm.R6, 0xfff),
		asm.FnSkbVlanPop.Call(),
	}
	for v, port := range ports {
		next := fmt.Sprintf("not-%d", v)
		ins = append(ins,
			asm.JNE.Imm(asm.R6, int32(v), next),
			asm.Mov.Imm(asm.R1, int32(port)),
			asm.Mov.Imm(asm.R2, 0), // egress
			asm.FnRedirect.Call(),
			asm.Return(),
			asm.Mov.Reg(asm.R0, asm.R6).WithSymbol(next),
		)
	}
	return append(ins,
		asm.Mov.Imm(asm.R0, tcActShot).WithSymbol("drop"),
		asm.Return(),
	)
}

// TCIngress attaches a program to what a device receives, for as long as the
// device lives.
func (n *Namespace) TCIngress(device string, ins asm.Instructions) error {
	err := func() error {
		link, err := n.links.LinkByName(device)
		if err != nil {
			return err
		}
		prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Name: "vlan_switch", Instructions: ins, License: "GPL"})
		if err != nil {
			return err
		}
		defer prog.Close() // the filter keeps it
		attrs := netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}
		if err := n.links.QdiscAdd(&netlink.GenericQdisc{QdiscAttrs: attrs, QdiscType: "clsact"}); err != nil {
			return fmt.Errorf("add clsact: %w", err)
		}
		return n.links.FilterAdd(&netlink.BpfFilter{
			FilterAttrs:  netlink.FilterAttrs{LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
			Fd:           prog.FD(),
			Name:         "vlan_switch",
			DirectAction: true,
		})
	}()
	var verifier *ebpf.VerifierError
	if errors.As(err, &verifier) {
		return fmt.Errorf("attach tc program to %s: %+v", device, verifier)
	}
	if err != nil {
		return fmt.Errorf("attach tc program to %s: %w", device, err)
	}
	return nil
}
