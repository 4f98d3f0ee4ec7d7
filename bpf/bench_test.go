// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// What a frame costs in the program, by the kernel's own clock. A pop or push
// is not here: a test run repeats on the frame as the last run left it. The
// floor is a program that only passes; take it off before comparing.
func BenchmarkLane(b *testing.B) {
	w := newWorld(b, 2, Config{})
	w.dev[0] = 1 // a test run without a context comes from lo
	floor, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer floor.Close()
	lane := w.lane.coll.Programs[laneProgOvsXdp]
	guarded := trunk().with(func(r *Rule) { r.Checksum = true })
	tag := frame.OnVLAN(10)
	for _, c := range []struct {
		name    string
		program *ebpf.Program
		in, out Rule
		frame   []byte
		reason  string
	}{
		{"floor", floor, access(10), access(10), frame.UDP4(macB, macA), ""},
		{"untagged hit", lane, access(10), access(10), frame.UDP4(macB, macA), "lane"},
		{"tagged hit", lane, trunk(), trunk(), frame.UDP4(macB, macA, tag), "lane"},
		{"tagged hit, guard, IPv4", lane, guarded, trunk(), frame.UDP4(macB, macA, tag), "lane"},
		{"tagged hit, guard, IPv6", lane, guarded, trunk(), frame.UDP6(macB, macA, tag), "lane"},
		{"unknown destination", lane, access(10), access(10), frame.UDP4(macC, macA), "unknown"},
		{"broadcast", lane, access(10), access(10), frame.UDP4(frame.Broadcast, macA), "group"},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := w.enter(b)
			w.reset()
			w.port(0, c.in)
			w.port(1, c.out)
			w.row(keyA, 0, true)
			w.row(keyB, 1, true)
			least := time.Hour
			for b.Loop() {
				const repeat = 20000
				_, took, err := c.program.Benchmark(c.frame, repeat, nil)
				if err != nil {
					b.Fatal(err)
				}
				least = min(least, took) // took: the mean of the repeats
			}
			b.ReportMetric(float64(least.Nanoseconds()), "ns/frame")
			b.ReportMetric(0, "ns/op")
			counters := w.counters(0)
			for reason, n := range counters.Frames {
				if n > 0 && reason != c.reason {
					b.Errorf("counted as %q: %d", reason, n)
				}
			}
		})
	}
}

// What a redirected frame costs on its whole way to a veth whose far end drops
// it, with and without the programs that see lost frames: they run once a flush,
// which is after 16 frames of a driver's round at most, or after each frame (a
// tap that is written to frame by frame).
func BenchmarkRedirect(b *testing.B) {
	w := newWorld(b, 4, Config{})
	sink, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpDrop), asm.Return()},
	})
	w.must(err)
	defer sink.Close()
	lk, err := link.AttachXDP(link.XDPOptions{Program: sink, Interface: w.dev[3], Flags: link.XDPDriverMode})
	w.must(err)
	defer lk.Close()
	w.reset()
	w.port(0, access(10))
	w.port(2, access(10))
	w.row(keyA, 0, true)
	w.row(keyB, 2, true)
	w.must(w.lane.LossesUnseen())
	for _, round := range []int{batch, 1} {
		b.Run(fmt.Sprintf("%d frames a round", round), func(b *testing.B) {
			w := w.enter(b)
			seen, unseen := time.Hour, time.Hour
			const frames = batch * 2000 // to make a run takes 10 ms by itself
			run := func(least *time.Duration) {
				for range 5 {
					start := time.Now()
					w.liveRounds(0, tagged(), frames, round)
					*least = min(*least, time.Since(start)/frames)
				}
			}
			for b.Loop() { // by turns, for the machine's speed changes
				run(&seen)
				w.must(w.lane.unwatchLosses())
				run(&unseen)
				w.must(w.lane.watchLosses())
			}
			b.ReportMetric(float64(seen.Nanoseconds()), "ns/frame")
			b.ReportMetric(float64(unseen.Nanoseconds()), "ns/frame-unseen")
			b.ReportMetric(0, "ns/op")
		})
	}
	if c := w.counters(2); c.Lost > 0 || c.Sent == 0 {
		b.Errorf("%d frames of %d were lost", c.Lost, c.Sent)
	}
}
