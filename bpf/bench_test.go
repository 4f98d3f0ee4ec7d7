// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// What finishing an unfinished L4 checksum adds, by the length of the payload:
// ns/frame beside that of the same frame with its checksum finished. The
// checksum of the frames is that of the pseudo-header also when it is finished,
// so that each repeat finds them unfinished again.
func BenchmarkFinish(b *testing.B) {
	w := newWorld(b, 2, Config{FinishChecksums: true})
	w.dev[0] = 1 // a test run without a context comes from lo
	lane := w.lane.coll.Programs[laneProgOvsXdp]
	for _, n := range []int{18, 64, 512, 1460} {
		b.Run(fmt.Sprintf("%d bytes", n), func(b *testing.B) {
			w := w.enter(b)
			w.reset()
			w.port(0, access(10).with(func(r *Rule) { r.Checksum, r.Finish = true, true }))
			w.port(1, access(10))
			w.row(keyA, 0, true)
			w.row(keyB, 1, true)
			payload := frame.Payload(make([]byte, n))
			finished, unfinished := frame.TCP4(macB, macA, payload), fixpoint(frame.TCP4(macB, macA, payload, frame.PartialChecksum()))
			least := [2]time.Duration{time.Hour, time.Hour}
			for b.Loop() {
				for i, f := range [][]byte{finished, unfinished} { // by turns
					_, took, err := lane.Benchmark(f, 20000, nil)
					if err != nil {
						b.Fatal(err)
					}
					least[i] = min(least[i], took)
				}
			}
			b.ReportMetric(float64(least[1].Nanoseconds()), "ns/frame")
			b.ReportMetric(float64(least[0].Nanoseconds()), "ns/frame-finished")
			b.ReportMetric(0, "ns/op")
			if c := w.counters(0); c.Finished < c.Lane/3 || c.Passed != 0 {
				b.Errorf("of %d frames on the lane %d were finished; %d passed", c.Lane, c.Finished, c.Passed)
			}
		})
	}
}

// fixpoint changes the last octets of an unfinished TCP frame over IPv4, of an
// even length, so that finishing leaves it as it is.
func fixpoint(b []byte) []byte {
	const l4, field = 14 + 20, 16
	sum := func(b []byte) (s uint32) {
		for ; len(b) > 0; b = b[2:] {
			s += uint32(binary.BigEndian.Uint16(b))
		}
		for s > 0xffff {
			s = s&0xffff + s>>16
		}
		return s
	}
	check := uint32(binary.BigEndian.Uint16(b[l4+field:]))
	last := b[len(b)-2:]
	last[0], last[1] = 0, 0
	// What is missing to the complement of the field, in ones' complement.
	binary.BigEndian.PutUint16(last, uint16((2*0xffff-sum(b[l4:])-check)%0xffff))
	return b
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
