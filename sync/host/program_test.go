// SPDX-License-Identifier: Apache-2.0

package host

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

// passes loads an XDP program that passes every frame.
func passes(t *testing.T) *ebpf.Program {
	t.Helper()
	const xdpPass = 2
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, Name: "passes", License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// attach puts a program on a device in the calling thread's namespace.
func attach(t *testing.T, device string, p *ebpf.Program) {
	t.Helper()
	l, err := netlink.LinkByName(device)
	if err == nil {
		err = netlink.LinkSetXdpFdWithFlags(l, p.FD(), nl.XDP_FLAGS_DRV_MODE)
	}
	if err != nil {
		t.Errorf("attach XDP program to %s: %v", device, err)
	}
}
