// SPDX-License-Identifier: Apache-2.0

package instructions

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// A sink is where frames end, and are counted.
type sink interface {
	// open begins to take frames, close ends it.
	open() error
	close() error
	// taken waits until so many more frames have come than at the last call,
	// and returns how many have.
	taken(n int) int
}

// Verdicts of programs.
const (
	xdpDrop   = 1
	xdpTx     = 3
	tcActShot = 2
)

// counter is a number in a map, and the instructions that add 1 to it and end a
// program with a verdict.
type counter struct {
	value *ebpf.Map
	was   uint64
}

func newCounter(t testing.TB) *counter {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatalf("make a counter: %v", err)
	}
	t.Cleanup(func() { m.Close() })
	return &counter{value: m}
}

func (c *counter) program(verdict int32) asm.Instructions {
	return asm.Instructions{
		asm.LoadMapValue(asm.R1, c.value.FD(), 0),
		asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),
		asm.Add.Imm(asm.R2, 1),
		asm.StoreMem(asm.R1, 0, asm.R2, asm.DWord),
		asm.Mov.Imm(asm.R0, verdict),
		asm.Return(),
	}
}

func (c *counter) taken(n int) int {
	var now uint64
	err := lab.Eventually(time.Second, func() error {
		if err := c.value.Lookup(uint32(0), &now); err != nil {
			return err
		}
		if int(now-c.was) < n {
			return errors.New("they are under way")
		}
		return nil
	})
	got := int(now - c.was)
	c.was = now
	if err != nil && got == 0 {
		return -1
	}
	return got
}

// xdpSink drops frames in XDP, in the driver of a device.
type xdpSink struct {
	*counter
	prog   *ebpf.Program
	ns     *lab.Namespace
	device string
	link   link.Link
}

func newXDPSink(t testing.TB, ns *lab.Namespace, device string) *xdpSink {
	s := &xdpSink{counter: newCounter(t), ns: ns, device: device}
	var err error
	s.prog, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "sink", Type: ebpf.XDP, License: "GPL", Instructions: s.program(xdpDrop)})
	if err != nil {
		t.Fatalf("make an XDP sink: %v", err)
	}
	t.Cleanup(func() { s.prog.Close() })
	return s
}

func (s *xdpSink) open() error {
	return s.ns.Do(func() error {
		i, err := net.InterfaceByName(s.device)
		if err != nil {
			return err
		}
		s.link, err = link.AttachXDP(link.XDPOptions{Program: s.prog, Interface: i.Index, Flags: link.XDPDriverMode})
		return err
	})
}

func (s *xdpSink) close() error { return s.link.Close() }

// skbSink drops frames as soon as they are socket buffers: at the ingress of tc.
// It stays where it is, and gets what no program in the driver has taken.
type skbSink struct{ *counter }

func newSkbSink(t testing.TB, ns *lab.Namespace, device string) *skbSink {
	s := &skbSink{newCounter(t)}
	if err := ns.TCIngress(device, s.program(tcActShot)); err != nil {
		t.Fatalf("make a sink of socket buffers: %v", err)
	}
	return s
}

func (s *skbSink) open() error  { return nil }
func (s *skbSink) close() error { return nil }

// tapSink reads what waits in the queue of a tap.
type tapSink struct{ port *lab.Port }

func (s tapSink) open() error  { return nil }
func (s tapSink) close() error { return nil }

func (s tapSink) taken(n int) int {
	for got := 0; ; got++ {
		wait := time.Second
		if got >= n {
			wait = time.Millisecond
		}
		if _, err := s.port.Recv(wait); err != nil {
			return got
		}
	}
}

// generator sends one frame out of a device again and again, as the machine does
// that has it: a live test run, whose frames never were socket buffers.
type generator struct {
	ns      *lab.Namespace
	ifindex uint32
	frame   []byte
	prog    *ebpf.Program
}

// headLen is how much of a frame its way may change: addresses and tag.
const headLen = 18

// newGenerator makes the generator. Its program writes the head of the frame anew,
// for the memory of a frame that has come to its end is used again as it is.
func newGenerator(t testing.TB, ns *lab.Namespace, device string, b []byte) *generator {
	t.Helper()
	g := &generator{ns: ns, frame: b}
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
		t.Fatalf("make a generator: %v", err)
	}
	t.Cleanup(func() { g.prog.Close() })
	return g
}

// round is how many frames the generator sends before it lets the far end run.
const round = 64

// send sends n frames and returns what one has taken, by the kernel's clock: the
// system call itself takes as long as thousands of frames.
func (g *generator) send(n int) (time.Duration, error) {
	var took uint32
	err := g.ns.Do(func() error {
		var err error
		took, err = liveRun(g.prog.FD(), g.ifindex, g.frame, n)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("send frames: %w", err)
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
		repeat: uint32(n), flags: liveFrames, batch: round,
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
