// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

// XDPPrograms returns the name of the XDP program of every device in the
// namespace that has one.
func (n *Namespace) XDPPrograms() (map[string]string, error) {
	links, err := n.links.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list devices of %s: %w", n.Name, err)
	}
	names := make(map[string]string)
	for _, link := range links {
		attrs := link.Attrs()
		if attrs.Xdp == nil || !attrs.Xdp.Attached {
			continue
		}
		names[attrs.Name] = "?" // when it is gone before we can ask
		prog, err := ebpf.NewProgramFromID(ebpf.ProgramID(attrs.Xdp.ProgId))
		if err != nil {
			continue
		}
		if info, err := prog.Info(); err == nil {
			names[attrs.Name] = info.Name
		}
		prog.Close()
	}
	return names, nil
}

// AttachXDP puts a program of this name, one that passes every frame, on a
// device, as another tool on the host might have done.
func (n *Namespace) AttachXDP(device, name string) error {
	err := func() error {
		link, err := n.links.LinkByName(device)
		if err != nil {
			return err
		}
		const xdpPass = 2
		prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, Name: name, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()}})
		if err != nil {
			return err
		}
		defer prog.Close() // the device keeps it
		return n.Do(func() error {
			return netlink.LinkSetXdpFdWithFlags(link, prog.FD(), nl.XDP_FLAGS_DRV_MODE)
		})
	}()
	if err != nil {
		return fmt.Errorf("attach XDP program %s to %s: %w", name, device, err)
	}
	return nil
}
