// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// captured is a frame of a capture.
type captured struct {
	to, from string // device, comment
	length   int
	data     []byte
}

// capturing runs ovs-xdpctl capture while fn runs, ends it as Ctrl-C does, and
// returns what it says.
func (w *world) capturing(fn func(), args ...string) string {
	w.t.Helper()
	bin, err := lab.Binaries()
	w.must(err)
	p, err := w.Start(w.Hypervisor, filepath.Join(bin, "ovs-xdpctl"), append([]string{"capture"}, args...)...)
	w.must(err)
	w.said(p, "capturing frames of")
	fn()
	time.Sleep(quiet)
	w.must(p.Signal(syscall.SIGINT))
	if err := p.Wait(settle); err != nil {
		w.t.Errorf("capture ends with %v: %s", err, p.Output(20))
	}
	return p.Output(1000)
}

// pcapng reads a file of capture.
func (w *world) pcapng(file string) []captured {
	w.t.Helper()
	f, err := os.Open(file)
	w.must(err)
	defer f.Close()
	r, err := pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	w.must(err)
	var all []captured
	for {
		data, ci, opts, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			return all
		}
		w.must(err)
		i, err := r.Interface(ci.InterfaceIndex)
		w.must(err)
		if d := time.Since(ci.Timestamp); d < -time.Second || d > time.Hour {
			w.t.Errorf("a frame was captured %v ago", d)
		}
		all = append(all, captured{to: i.Name, from: strings.Join(opts.Comments, "|"), length: ci.Length, data: data})
	}
}

// all checks that the capture has n frames, or a few less that OVS was to see, all
// from a device to another, with these bytes.
func (w *world) all(got []captured, n int, from, to string, b []byte) {
	w.t.Helper()
	const keepAlive = 3
	if len(got) > n || len(got) < n-keepAlive {
		w.t.Errorf("%d frames were captured, want %d", len(got), n)
	}
	for _, f := range got {
		if f.to != to || f.from != "from "+from || f.length != len(b) || !bytes.Equal(f.data, b) {
			w.t.Fatalf("a frame to %s, %s, with %d bytes: % x;\nwant to %s, from %s: % x", f.to, f.from, f.length, f.data, to, from, b)
		}
	}
}

// ovs-xdpctl capture shows frames on the lane, as they are sent, and the lane does
// not change for it.
func TestCapture(t *testing.T) {
	w := newWorld(t, "--keepalive=1h")
	bpffs, outer := w.bpffs(), w
	w.must(w.daemon.Stop())
	w.start("--keepalive=1h", "--bpffs="+bpffs)
	up, vm := w.veth("up"), w.tap("t1", "tag=10")
	a, b := tagged(up, up.MAC, 10), untagged(vm, 10)
	w.open(a, b)
	toVM, toUp := a.frameTo(b.mac), b.frameTo(a.mac)
	atVM, atUp := b.out(toVM, 0), a.out(toUp, 0)
	file := filepath.Join(w.Dir, "x.pcapng")

	w.run("a port, both ways, with the tags that frames are sent with", func(w *world) {
		said := w.capturing(func() {
			w.lane(up, vm, toVM, atVM)
			w.lane(vm, up, toUp, atUp)
		}, "t1", "-w", file)
		got := w.pcapng(file)
		i := max(0, slices.IndexFunc(got, func(f captured) bool { return f.to == "up" }))
		w.all(got[:i], burst, "up", "t1", atVM)
		w.all(got[i:], burst, "t1", "up", atUp)
		if !strings.Contains(said, "frames captured") {
			w.t.Errorf("capture says: %s", said)
		}
	})
	w.run("an address", func(w *world) {
		w.capturing(func() { w.lane(up, vm, toVM, atVM) }, b.mac.String(), "-w", file)
		w.all(w.pcapng(file), burst, "up", "t1", atVM)
		w.capturing(func() { w.lane(up, vm, toVM, atVM) }, "52:54:00:99:99:99", "-w", file)
		w.all(w.pcapng(file), 0, "", "", nil)
	})
	w.run("frames that OVS sends are none", func(w *world) {
		flood := a.frameTo(frame.Broadcast)
		w.capturing(func() { w.bridge(up, flood, map[string][]byte{"t1": b.out(flood, 0)}) }, "up", "-w", file)
		w.all(w.pcapng(file), 0, "", "", nil)
	})
	w.run("a bounded rate", func(w *world) {
		said := w.capturing(func() { w.lane(up, vm, toVM, atVM) }, "up", "--rate=2", "-w", file)
		if got := w.pcapng(file); len(got) == 0 || len(got) > 2+2*int(lab.Patience()) || !strings.Contains(said, "more were over --rate=2") {
			w.t.Errorf("%d frames captured at a rate of 2: %s", len(got), said)
		}
	})
	w.run("lines and objects", func(w *world) {
		said := w.capturing(func() { w.lane(vm, up, toUp, atUp) }, "t1")
		if !strings.Contains(said, " t1 > up "+b.mac.String()+" > "+a.mac.String()+" vlan 10 IPv4 ") {
			w.t.Errorf("capture prints: %s", said)
		}
		w.t.Logf("%s", said[:min(len(said), 400)])
		said = w.capturing(func() { w.lane(vm, up, toUp, atUp) }, "t1", "-o", "json", "-c", "1000")
		for line := range strings.Lines(said) {
			var o struct {
				From, To, Data string
				VLAN           int
			}
			if !strings.HasPrefix(line, "{") {
				continue
			}
			w.must(json.Unmarshal([]byte(line), &o))
			if o.From != "t1" || o.To != "up" || o.VLAN != 10 || o.Data != hex.EncodeToString(atUp) {
				w.t.Fatalf("an object: %s", line)
			}
		}
	})
	w.run("over a takeover", func(w *world) {
		said := w.capturing(func() {
			w.takeOver(bpffs, "--keepalive=1h")
			w.lane(up, vm, toVM, atVM)
		}, "t1", "-w", file)
		w.all(w.pcapng(file), burst, "up", "t1", atVM)
		w.t.Log(said)
		outer.daemon = w.daemon
	})
	w.run("what it can't do", func(w *world) {
		w.ctl(1, "capture", "nosuch")
		w.must(w.daemon.Stop())
		w.ctl(3, "capture", "t1")
		w.ctl(3, "capture", b.mac.String())
	})
}
