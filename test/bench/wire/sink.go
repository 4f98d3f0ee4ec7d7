// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// Sink is where frames end, and are counted.
type Sink interface {
	// Open begins to take frames, Close ends it; Open may come again.
	Open() error
	Close() error
	// Taken waits a second until n more frames have come than at the last call,
	// and returns how many have.
	Taken(n int) (int, error)
}

// counter is a number in a map, and the instructions that add 1 to it and end a
// program with a verdict.
type counter struct {
	value *ebpf.Map
	was   uint64
}

func newCounter() (*counter, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("make a counter: %w", err)
	}
	return &counter{value: m}, nil
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

// Taken counts frames.
func (c *counter) Taken(n int) (int, error) {
	var now uint64
	for deadline := time.Now().Add(time.Second); ; time.Sleep(time.Millisecond) {
		if err := c.value.Lookup(uint32(0), &now); err != nil {
			return 0, fmt.Errorf("read a counter: %w", err)
		}
		if int(now-c.was) >= n || time.Now().After(deadline) {
			break
		}
	}
	got := int(now - c.was)
	c.was = now
	return got, nil
}

// XDPSink drops frames in XDP, in the driver of a device.
type XDPSink struct {
	*counter
	prog   *ebpf.Program
	ns     *lab.Namespace
	device string
	link   link.Link
}

// NewXDPSink makes a sink that Open puts on a device.
func NewXDPSink(ns *lab.Namespace, device string) (*XDPSink, error) {
	c, err := newCounter()
	if err != nil {
		return nil, err
	}
	s := &XDPSink{counter: c, ns: ns, device: device}
	s.prog, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "sink", Type: ebpf.XDP, License: "GPL", Instructions: c.program(xdpDrop)})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a sink on %s in %s: %w", device, ns.Name, err), c.value.Close())
	}
	return s, nil
}

// Open attaches the program.
func (s *XDPSink) Open() error {
	err := s.ns.Do(func() error {
		i, err := net.InterfaceByName(s.device)
		if err != nil {
			return err
		}
		s.link, err = link.AttachXDP(link.XDPOptions{Program: s.prog, Interface: i.Index, Flags: link.XDPDriverMode})
		return err
	})
	if err != nil {
		return fmt.Errorf("open the sink on %s in %s: %w", s.device, s.ns.Name, err)
	}
	return nil
}

// Close detaches the program.
func (s *XDPSink) Close() error { return s.link.Close() }

// BufferSink drops frames as soon as they are socket buffers: at the ingress of
// tc. It stays where it is, and gets what no program in the driver has taken.
type BufferSink struct{ *counter }

// NewBufferSink puts a sink on a device.
func NewBufferSink(ns *lab.Namespace, device string) (*BufferSink, error) {
	c, err := newCounter()
	if err == nil {
		err = ns.TCIngress(device, c.program(tcActShot))
	}
	if err != nil {
		return nil, fmt.Errorf("make a sink of socket buffers: %w", err)
	}
	return &BufferSink{c}, nil
}

// Open does nothing.
func (s *BufferSink) Open() error { return nil }

// Close does nothing.
func (s *BufferSink) Close() error { return nil }

// TapSink reads what waits in the queue of a tap, when it is asked.
type TapSink struct{ Port *lab.Port }

// Open does nothing.
func (s TapSink) Open() error { return nil }

// Close does nothing.
func (s TapSink) Close() error { return nil }

// Taken reads frames.
func (s TapSink) Taken(n int) (int, error) {
	for got := 0; ; got++ {
		wait := time.Second
		if got >= n {
			wait = time.Millisecond
		}
		if _, err := s.Port.Recv(wait); errors.Is(err, os.ErrDeadlineExceeded) {
			return got, nil
		} else if err != nil {
			return got, err
		}
	}
}
