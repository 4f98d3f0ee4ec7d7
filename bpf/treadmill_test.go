// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// A treadmill gives a program the same frames again and again. A test run
// repeats on the frame as the program left it, so that after a pop it is
// another one: the treadmill makes the frame's head anew before each repeat,
// calls the program by its tail, and costs the same whatever the program does.
type treadmill struct {
	testing.TB
	from     *ebpf.Program
	programs *ebpf.Map // what is called
	state    *ebpf.Map // of struct stream
	like     *ebpf.ProgramSpec
}

// stream is what frames the treadmill makes: addresses walk through all values
// below the masks, in an order that no cache foresees.
type stream struct {
	// Count is how many frames there were.
	Count uint64
	// DstMask and SrcMask are the bits of the flow's number that are in the
	// last two octets of the addresses, from SrcShift on in the source.
	DstMask, SrcMask, SrcShift uint64
}

// walk is an odd number: n * walk takes each value of 16 bits once.
const walk = 40503

// streamDst and streamSrc are the addresses of number n in a stream.
func streamDst(n uint16) ovs.MAC { return ovs.MAC{0x52, 0x54, 0, 1, byte(n >> 8), byte(n)} }
func streamSrc(n uint16) ovs.MAC { return ovs.MAC{0x52, 0x54, 0, 2, byte(n >> 8), byte(n)} }

// newTreadmill makes a treadmill for programs like this one (the kernel wants
// both alike) and frames of so many bytes, of which the first
// 18 are as in head but for the last two octets of the addresses.
func newTreadmill(t testing.TB, like *ebpf.ProgramSpec, size int, head []byte) *treadmill {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatalf("make a treadmill: %v", err)
		}
	}
	m := &treadmill{TB: t, like: like}
	var err error
	m.programs, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	must(err)
	t.Cleanup(func() { m.programs.Close() })
	m.state, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 32, MaxEntries: 1})
	must(err)
	t.Cleanup(func() { m.state.Close() })
	const dataOff, endOff = 0, 4 // in struct xdp_md
	ins := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		// As long as it was: what a pop has taken, or a push has added.
		asm.LoadMem(asm.R2, asm.R6, endOff, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, dataOff, asm.Word),
		asm.Sub.Reg(asm.R2, asm.R3),
		asm.Sub.Imm(asm.R2, int32(size)),
		asm.FnXdpAdjustHead.Call(),
		// The number of the flow.
		asm.LoadMapValue(asm.R7, m.state.FD(), 0),
		asm.LoadMem(asm.R4, asm.R7, 0, asm.DWord),
		asm.Mov.Reg(asm.R5, asm.R4),
		asm.Add.Imm(asm.R5, 1),
		asm.StoreMem(asm.R7, 0, asm.R5, asm.DWord),
		asm.Mul.Imm(asm.R4, walk),
		asm.And.Imm(asm.R4, 0xffff),
		// The head.
		asm.LoadMem(asm.R2, asm.R6, dataOff, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, endOff, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R2),
		asm.Add.Imm(asm.R1, 18),
		asm.JGT.Reg(asm.R1, asm.R3, "out"),
	}
	for i := 0; i < len(head); i += 2 {
		ins = append(ins, asm.StoreImm(asm.R2, int16(i), int64(binary.NativeEndian.Uint16(head[i:])), asm.Half))
	}
	for _, a := range []struct{ mask, at int16 }{{8, 4}, {16, 10}} {
		ins = append(ins,
			asm.Mov.Reg(asm.R0, asm.R4),
			asm.LoadMem(asm.R3, asm.R7, a.mask, asm.DWord))
		if a.at == 10 {
			ins = append(ins,
				asm.LoadMem(asm.R1, asm.R7, 24, asm.DWord),
				asm.RSh.Reg(asm.R0, asm.R1))
		}
		ins = append(ins,
			asm.And.Reg(asm.R0, asm.R3),
			asm.HostTo(asm.BE, asm.R0, asm.Half),
			asm.StoreMem(asm.R2, a.at, asm.R0, asm.Half))
	}
	ins = append(ins,
		// Time for the stores to get from the CPU's store buffer to its cache, where
		// a card leaves a frame: a load across several of them would wait for that.
		asm.FnKtimeGetNs.Call(),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.LoadMapPtr(asm.R2, m.programs.FD()),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"), // XDP_ABORTED: never
		asm.Return(),
	)
	m.from, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "treadmill", Type: ebpf.XDP, License: "GPL", Flags: like.Flags, AttachType: like.AttachType, Instructions: ins})
	must(err)
	t.Cleanup(func() { m.from.Close() })
	return m
}

// empty is a program that only passes.
func (m *treadmill) empty() *ebpf.Program {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL", Flags: m.like.Flags, AttachType: m.like.AttachType,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	})
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { p.Close() })
	return p
}

// floor is a program that does what no lane can do without, and asks nothing: the
// clock, the counters of both ports, a redirect from the first slot to another, and
// a pop.
func (m *treadmill) floor(l *Lane, from, to int) *ebpf.Program {
	counters, targets := l.coll.Maps[laneMapCounters].FD(), l.coll.Maps[laneMapTargets].FD()
	const dataOff, endOff = 0, 4 // in struct xdp_md
	add := func(at uintptr, n asm.Instruction) asm.Instructions {
		return asm.Instructions{
			asm.LoadMem(asm.R1, asm.R0, int16(at), asm.DWord), n,
			asm.StoreMem(asm.R0, int16(at), asm.R1, asm.DWord),
		}
	}
	of := func(slot int) asm.Instructions {
		return asm.Instructions{
			asm.StoreImm(asm.RFP, -4, int64(slot), asm.Word),
			asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
			asm.LoadMapPtr(asm.R1, counters), asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "pass"),
		}
	}
	within := func(n int32) asm.Instructions {
		return asm.Instructions{
			asm.LoadMem(asm.R2, asm.R6, dataOff, asm.Word), asm.LoadMem(asm.R3, asm.R6, endOff, asm.Word),
			asm.Mov.Reg(asm.R1, asm.R2), asm.Add.Imm(asm.R1, n), asm.JGT.Reg(asm.R1, asm.R3, "pass"),
		}
	}
	ins := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.FnJiffies64.Call(), asm.JEq.Imm(asm.R0, 0, "pass"),
		asm.LoadMapPtr(asm.R1, targets), asm.Mov.Imm(asm.R2, int32(to)), asm.Mov.Imm(asm.R3, xdpPass), asm.FnRedirectMap.Call(),
		asm.JNE.Imm(asm.R0, 4, "pass"), // XDP_REDIRECT
	}
	ins = append(ins, within(18)...)
	ins = append(ins, asm.LoadMem(asm.R7, asm.R2, 0, asm.DWord), asm.LoadMem(asm.R8, asm.R2, 8, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, 4), asm.FnXdpAdjustHead.Call(), asm.JNE.Imm(asm.R0, 0, "pass"))
	ins = append(ins, within(14)...)
	ins = append(ins, asm.StoreMem(asm.R2, 0, asm.R7, asm.DWord), asm.StoreMem(asm.R2, 8, asm.R8, asm.Word))
	ins = append(ins, of(from)...)
	ins = append(ins, add(unsafe.Offsetof(lanePortCounters{}.Frames), asm.Add.Imm(asm.R1, 1))...)
	ins = append(ins, add(unsafe.Offsetof(lanePortCounters{}.Bytes), asm.Add.Imm(asm.R1, 60))...)
	ins = append(ins, of(to)...)
	ins = append(ins, add(unsafe.Offsetof(lanePortCounters{}.Sent), asm.Add.Imm(asm.R1, 1))...)
	ins = append(ins, asm.Mov.Imm(asm.R0, 4), asm.Return(),
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"), asm.Return())
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL", Flags: m.like.Flags, AttachType: m.like.AttachType, Instructions: ins,
	})
	if err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() { p.Close() })
	return p
}

// put has the treadmill call a program.
func (m *treadmill) put(p *ebpf.Program) {
	m.Helper()
	if err := m.programs.Put(uint32(0), uint32(p.FD())); err != nil {
		m.Fatalf("put a program on the treadmill: %v", err)
	}
}

// run gives the program so many frames of a stream, twice: once to have all
// that it uses at hand. It returns what a frame has taken, the second time.
func (m *treadmill) run(b []byte, s stream, frames int) time.Duration {
	m.Helper()
	var took time.Duration
	for range 2 {
		if err := m.state.Put(uint32(0), s); err != nil {
			m.Fatal(err)
		}
		verdict, mean, err := m.from.Benchmark(b, frames, nil)
		if err != nil {
			m.Fatal(err)
		}
		if verdict == 0 {
			m.Fatal("the treadmill does not get to the program")
		}
		took = mean
	}
	return took
}

func (s stream) String() string {
	return fmt.Sprintf("%d destinations, %d sources", s.DstMask+1, s.SrcMask+1)
}
