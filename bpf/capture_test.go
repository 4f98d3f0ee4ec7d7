// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// capture samples frames from and to devices.
func (w *world) capture(cfg CaptureConfig, devices ...int) *Capture {
	w.Helper()
	c, err := NewCapture(cfg)
	w.must(err)
	w.Cleanup(func() { w.must(c.Close()) })
	var list []int
	for _, d := range devices {
		list = append(list, w.dev[d])
	}
	w.must(c.SetDevices(list))
	return c
}

// sampled reads so many samples, and those too many that come soon after.
func (w *world) sampled(c *Capture, n int) []Sample {
	w.Helper()
	var all []Sample
	for {
		wait := 5 * time.Second
		if len(all) >= n {
			wait = 100 * time.Millisecond
		}
		s, err := c.Read(time.Now().Add(wait))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return all
		}
		w.must(err)
		if d := time.Since(s.At); d < 0 || d > time.Minute {
			w.Errorf("a sample is %v old", d)
		}
		s.At = time.Time{}
		all = append(all, s)
	}
}

// pair puts device 0, the program of which is in a mode, and device 2 on the lane.
func (w *world) pair(mode Mode, in, out Rule) {
	w.Helper()
	w.reset()
	w.must(w.lane.AddPort(w.dev[0], mode))
	w.rule(0, in)
	w.port(2, out)
	w.row(keyA, 0, true)
	w.row(keyB, 2, true)
}

var everything = CaptureConfig{Rate: 1000, Snap: MaxSnap}

// Samples are the frames that are redirected, as they leave, in each mode; what
// passes or is dropped is none.
func TestCapture(t *testing.T) {
	w := newWorld(t, 4, Config{})
	w.gro(1, "on")
	w.gro(3, "on")
	plain, tagged := frame.UDP4(macB, macA), frame.UDP4(macB, macA, frame.OnVLAN(10))
	for _, c := range []struct {
		name      string
		in, out   Rule
		sent, got []byte
	}{
		{"as it is", access(10), access(10), plain, plain},
		{"tag pushed", access(10), trunk(), plain, tagged},
		{"tag popped", trunk(), access(10), tagged, plain},
	} {
		for _, mode := range []Mode{ModeNative, vethMode()} {
			w.pair(mode, c.in, c.out)
			capture := w.capture(everything, 0)
			w.send(1, frame.UDP4(frame.Broadcast, macA), c.sent, frame.UDP4(macC, macA))
			want := []Sample{{From: w.dev[0], To: w.dev[2], Length: len(c.got), Data: c.got}}
			if d := cmp.Diff(want, w.sampled(capture, 1)); d != "" {
				t.Errorf("%s, mode %d: samples (-want +got):\n%s", c.name, mode, d)
			}
			w.must(capture.Close())
		}
	}
}

// Of a frame in several buffers there is the first, and the length of all.
func TestCaptureJumbo(t *testing.T) {
	if !lab.TellsFeatures() {
		return // such frames take no lane there: TestAttachJumbo
	}
	w := newWorld(t, 4, Config{})
	for _, ifindex := range w.dev {
		l, err := netlink.LinkByIndex(ifindex)
		w.must(err)
		w.must(netlink.LinkSetMTU(l, 9000))
	}
	wide := func(r *Rule) { r.MaxFrame, r.Scattered = 9018, true }
	w.gro(3, "on")
	w.pair(ModeNative, access(10).with(wide), trunk().with(wide))
	capture := w.capture(everything, 2)
	w.send(1, frame.UDP4(macB, macA, frame.Length(9014)))
	got, want := w.sampled(capture, 1), frame.UDP4(macB, macA, frame.Length(9018), frame.OnVLAN(10))
	if len(got) != 1 || got[0].Length != len(want) || len(got[0].Data) < 1000 || !bytes.HasPrefix(want, got[0].Data) {
		t.Errorf("samples: %+v, want one of %d bytes", got, len(want))
	}
}

// What is sampled is chosen by device, on either side, or by address; its length is
// bounded.
func TestCaptureChooses(t *testing.T) {
	w := newWorld(t, 4, Config{})
	w.gro(1, "on")
	w.gro(3, "on")
	sent := frame.UDP4(macB, macA, frame.Length(1000))
	for _, c := range []struct {
		name            string
		cfg             CaptureConfig
		devices         []int
		samples, caught int
	}{
		{"its source", everything, []int{0}, 3, 1000},
		{"its target", everything, []int{2}, 3, 1000},
		{"both", everything, []int{0, 2}, 3, 1000},
		{"another", everything, []int{1}, 0, 0},
		{"source address", CaptureConfig{Station: macA, Rate: 1000, Snap: MaxSnap}, nil, 3, 1000},
		{"destination address", CaptureConfig{Station: macB, Rate: 1000, Snap: 64}, nil, 3, 64},
		{"another address", CaptureConfig{Station: macC, Rate: 1000, Snap: 64}, []int{0}, 0, 0},
	} {
		w.pair(ModeNative, access(10), access(10))
		capture := w.capture(c.cfg, c.devices...)
		w.send(1, sent, sent, sent)
		w.counts(0, "lane", "lane", "lane")
		got := w.sampled(capture, c.samples)
		if over, full, err := capture.Missed(); err != nil || len(got) != c.samples || over+full != 0 {
			t.Errorf("%s: %d samples, %d over the rate, %d not read, error %v; want %d", c.name, len(got), over, full, err, c.samples)
		}
		for _, s := range got {
			if s.Length != len(sent) || !bytes.Equal(s.Data, sent[:c.caught]) {
				t.Errorf("%s: %d bytes, of which %d are there", c.name, s.Length, len(s.Data))
			}
		}
		w.must(capture.Close())
	}
}

// In a second there are no more samples than the rate; the rest is counted.
func TestCaptureRate(t *testing.T) {
	w := newWorld(t, 4, Config{})
	w.gro(1, "on")
	w.gro(3, "on")
	w.pair(ModeNative, access(10), access(10))
	const rate, frames = 5, 50
	capture := w.capture(CaptureConfig{Rate: rate, Snap: 14}, 0)
	began := time.Now()
	w.send(1, slices.Repeat([][]byte{frame.UDP4(macB, macA)}, frames)...)
	w.counts(0, slices.Repeat([]string{"lane"}, frames)...)
	most := rate * (1 + int(time.Since(began)/time.Second))
	got := w.sampled(capture, rate)
	over, full, err := capture.Missed()
	if w.must(err); len(got) < rate || len(got) > most || int(over) != frames-len(got) || full != 0 {
		t.Errorf("%d samples of %d frames at a rate of %d, at most %d in that time; %d over the rate, %d not read", len(got), frames, rate, most, over, full)
	}
}

// Many frames at once, from two CPUs: each sample is one of those that were sent,
// byte by byte.
func TestCaptureUnderLoad(t *testing.T) {
	w := newWorld(t, 4, Config{})
	w.gro(1, "on")
	w.gro(3, "on")
	w.pair(ModeNative, access(10), trunk())
	const each = 2000
	capture := w.capture(CaptureConfig{Rate: 4 * each, Snap: MaxSnap}, 0)
	var senders sync.WaitGroup
	for n := range runtime.NumCPU() {
		senders.Add(1)
		go func() {
			defer senders.Done()
			w := w.enter(t)
			for i := 0; i < each; i += 50 {
				var some [][]byte
				for k := range 50 {
					some = append(some, frame.UDP4(macB, macA, frame.Ports(uint16(n), uint16(i+k))))
				}
				w.send(1, some...)
			}
		}()
	}
	senders.Wait()
	seen := make(map[[2]uint16]int)
	for _, s := range w.sampled(capture, each) {
		src, dst := binary.BigEndian.Uint16(s.Data[38:]), binary.BigEndian.Uint16(s.Data[40:])
		seen[[2]uint16{src, dst}]++
		if want := frame.UDP4(macB, macA, frame.Ports(dst, src), frame.OnVLAN(10)); !bytes.Equal(s.Data, want) {
			t.Fatalf("a sample is\n%x, want\n%x", s.Data, want)
		}
	}
	over, full, err := capture.Missed()
	w.must(err)
	if lane := w.counters(0).Lane; len(seen) != int(lane) || over != 0 || full != 0 || lane < each {
		t.Errorf("%d frames took the lane, %d were sampled, %d over the rate, %d not read", lane, len(seen), over, full)
	}
}

// What the program of somebody else redirects is no frame of the lane.
func TestCaptureOfOthers(t *testing.T) {
	w := newWorld(t, 4, Config{})
	w.gro(1, "on")
	w.gro(3, "on")
	targets, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.DevMap, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	w.must(err)
	defer targets.Close()
	w.must(targets.Put(uint32(0), uint32(w.dev[2])))
	foreign, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, Name: "foreign", License: "GPL", Instructions: asm.Instructions{
		asm.LoadMapPtr(asm.R1, targets.FD()), asm.Mov.Imm(asm.R2, 0), asm.Mov.Imm(asm.R3, xdpPass), asm.FnRedirectMap.Call(), asm.Return()}})
	w.must(err)
	defer foreign.Close()
	lk, err := link.AttachXDP(link.XDPOptions{Program: foreign, Interface: w.dev[0]})
	w.must(err)
	defer lk.Close()
	far := w.listen(3)
	defer far.Close()
	capture := w.capture(everything, 0, 2)
	w.send(1, frame.UDP4(macB, macA))
	w.must(far.SetReadDeadline(time.Now().Add(2 * time.Second)))
	if n, err := far.Read(make([]byte, 2048)); err != nil {
		t.Fatalf("%d bytes arrived, %v: the test shows nothing", n, err)
	}
	if got := w.sampled(capture, 0); len(got) > 0 {
		t.Errorf("samples: %+v", got)
	}
}

// What a redirected frame costs: with nobody who looks, and with somebody who looks
// for other frames, who has had enough of them in this second, and who takes all.
func BenchmarkCapture(b *testing.B) {
	for _, c := range []struct {
		name    string
		cfg     CaptureConfig
		devices []int
	}{
		{"off", CaptureConfig{}, nil},
		{"other-frames", everything, []int{1}},
		{"over-the-rate", CaptureConfig{Rate: 1, Snap: MaxSnap}, []int{0}},
		{"all", CaptureConfig{Rate: 1 << 40, Snap: MaxSnap}, []int{0}},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b, 4, Config{})
			w.gro(1, "on")
			w.gro(3, "on")
			w.pair(ModeNative, access(10), access(10))
			if c.cfg.Rate > 0 {
				capture := w.capture(c.cfg, c.devices...)
				stop := make(chan struct{})
				defer close(stop)
				go func() { // the reader
					for {
						select {
						case <-stop:
							return
						default:
							_, _ = capture.Read(time.Now().Add(50 * time.Millisecond))
						}
					}
				}()
			}
			f := frame.UDP4(macB, macA, frame.Length(512))
			b.ResetTimer()
			w.liveRounds(0, f, b.N, batch)
		})
	}
}
