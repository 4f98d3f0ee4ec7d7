// SPDX-License-Identifier: Apache-2.0

// Package wire puts frames onto the cables of a lab as fast as the kernel can, and
// counts them where they end. It decides nothing about what is measured.
package wire

import (
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// XDP and tc verdicts (linux/bpf.h, linux/pkt_cls.h).
const (
	xdpDrop   = 1
	xdpTx     = 3
	tcActShot = 2
)

// Generator sends one frame out of a device again and again, as the machine does
// that has it: a live test run, whose frames never were socket buffers.
type Generator struct {
	ns      *lab.Namespace
	ifindex uint32
	frame   []byte
	prog    *ebpf.Program
	// OneCPU has it send on CPU alone, so that several can run side by side.
	OneCPU bool
	CPU    int
}

// headLen is how much of a frame its way may change: addresses and tag.
const headLen = 18

// NewGenerator makes a generator on a device. Its program writes the head of the frame anew,
// for the memory of a frame that has come to its end is used again as it is.
func NewGenerator(ns *lab.Namespace, device string, b []byte) (*Generator, error) {
	g := &Generator{ns: ns, frame: b}
	const dataOff, endOff = 0, 4 // in struct xdp_md
	ins := asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, dataOff, asm.Word),
		asm.LoadMem(asm.R3, asm.R1, endOff, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R2),
		asm.Add.Imm(asm.R1, headLen),
		asm.Mov.Imm(asm.R0, xdpTx),
		asm.JGT.Reg(asm.R1, asm.R3, "out"),
	}
	for i := 0; i < headLen; i += 2 {
		ins = append(ins, asm.StoreImm(asm.R2, int16(i), int64(binary.NativeEndian.Uint16(b[i:])), asm.Half))
	}
	ins = append(ins, asm.Return().WithSymbol("out"))
	err := ns.Do(func() error {
		i, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		g.ifindex = uint32(i.Index)
		g.prog, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "generator", Type: ebpf.XDP, License: "GPL", Instructions: ins})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make a generator on %s in %s: %w", device, ns.Name, err)
	}
	return g, nil
}

// Round is how many frames the generator sends before it lets the far end run.
const Round = 64

// Close ends the generator.
func (g *Generator) Close() error { return g.prog.Close() }

// Send sends n frames and returns what one has taken, by the kernel's clock: the
// system call itself takes as long as thousands of frames.
func (g *Generator) Send(n int) (time.Duration, error) {
	var took uint32
	err := g.ns.Do(func() error {
		var before, one unix.CPUSet
		if g.OneCPU {
			if err := unix.SchedGetaffinity(0, &before); err != nil {
				return err
			}
			one.Set(g.CPU)
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				return err
			}
			// What is started from this thread later may run anywhere.
			defer func() { _ = unix.SchedSetaffinity(0, &before) }()
		}
		var err error
		took, err = liveRun(g.prog.FD(), g.ifindex, g.frame, n)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("send frames from %s: %w", g.ns.Name, err)
	}
	return time.Duration(took), nil
}

// liveRun runs a program on live frames (Linux 5.18) and returns the nanoseconds
// a frame. It is a system call of its own, for cilium/ebpf doesn't tell how long
// live frames have taken.
func liveRun(prog int, ifindex uint32, b []byte, n int) (uint32, error) {
	const testRun, liveFrames = 10, 1 << 1 // BPF_PROG_TEST_RUN, BPF_F_TEST_XDP_LIVE_FRAMES
	// struct xdp_md and a part of union bpf_attr, of linux/bpf.h.
	md := struct{ data, end, meta, ifindex, queue, egress uint32 }{end: uint32(len(b)), ifindex: ifindex}
	attr := struct {
		prog, verdict, sizeIn, sizeOut uint32
		in, out                        uint64
		repeat, duration               uint32
		ctxSizeIn, ctxSizeOut          uint32
		ctxIn, ctxOut                  uint64
		flags, cpu, batch, unused      uint32
	}{
		prog: uint32(prog), sizeIn: uint32(len(b)), in: uint64(uintptr(unsafe.Pointer(&b[0]))),
		repeat: uint32(n), flags: liveFrames, batch: Round,
		ctxSizeIn: uint32(unsafe.Sizeof(md)), ctxIn: uint64(uintptr(unsafe.Pointer(&md))),
	}
	_, _, errno := unix.Syscall(unix.SYS_BPF, testRun, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(b)
	runtime.KeepAlive(&md)
	if errno != 0 {
		return 0, errno
	}
	return attr.duration, nil
}
