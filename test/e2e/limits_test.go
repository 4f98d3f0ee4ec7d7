// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// Stations beyond the room in the FDB stay with OVS, and nothing else changes.
func TestFullFDB(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "--fdb-rows=8")
	a := untagged(w.veth("v1", "tag=10"), 10)
	up := w.tap("up")
	w.mode("on")
	w.announce(a, "lane")
	const many = 100
	var hosts []station
	for range many {
		h := tagged(up, w.NewMAC(), 10)
		hosts = append(hosts, h)
		w.must(up.Send(h.frameTo(frame.Broadcast)))
	}
	w.until(time.Now(), "the FDB is full", func() bool { return ask[map[string]uint64](w, "coverage/show")["fdb-full"] > 0 })
	time.Sleep(200 * time.Millisecond)
	w.drain(quiet)

	before := w.counts()
	for _, h := range hosts {
		f := a.frameTo(h.mac)
		w.must(a.port.Send(f))
		got, err := up.Recv(time.Second)
		w.must(err)
		if want := h.out(f, 0); string(got) != string(want) {
			t.Fatalf("got % x\nwant % x", got, want)
		}
	}
	p := before.to(w.counts(), "v1")
	t.Logf("to %d stations: %s; beyond the FDB: %d", many, p, ask[map[string]uint64](w, "coverage/show")["fdb-full"])
	if p.lane == 0 || p.lane > many/2 || p.lane+p.passed != many || p.rules != p.passed {
		t.Errorf("to %d stations: %s", many, p)
	}
	if out := w.daemon.Output(50); strings.Count(out, "FDB is full") != 1 {
		t.Errorf("the log should say once that the FDB is full:\n%s", out)
	}

	// OVS forgets the many, and there is room again.
	_, err := w.Appctl("fdb/flush", "br0")
	w.must(err)
	w.row(hosts[0], "")
	w.announce(a, "lane")
	w.announce(hosts[many-1], "lane")
	w.laneBetween(a, hosts[many-1])
	if n := ask[map[string]uint64](w, "coverage/show")["fdb-full"]; n != 0 {
		t.Errorf("%d stations are still beyond the FDB", n)
	}
}

// A port that floods with random sources takes the lane from nobody else, and
// keeps neither the daemon nor the control socket busy.
func TestFloodOfSources(t *testing.T) {
	w, a, b := openLane(t)
	noisy := w.veth("v3", "tag=30")
	peer := untagged(w.tap("t30", "tag=30"), 30)
	w.announce(peer, "lane")
	flood := 20000 / int(lab.Patience()*lab.Patience())
	random := rand.New(rand.NewPCG(1, 2))
	done := make(chan error)
	started, used := time.Now(), cpuTime(t, w.daemon.PID)
	go func() {
		var err error
		for i := 0; i < flood && err == nil; i++ {
			src := ovs.MAC{0x02, byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32())}
			err = noisy.Send(frame.UDP4(peer.mac, src))
			if i%10 == 9 {
				time.Sleep(time.Millisecond)
			}
		}
		done <- err
	}()
	before, sent, got := w.sentTo(b.port), 0, 0
	flooding := true
	for flooding {
		for range 10 {
			w.must(a.port.Send(a.frameTo(b.mac)))
			sent++
		}
		frames, err := b.port.Drain(5 * time.Millisecond)
		w.must(err)
		got += len(frames)
		select {
		case err := <-done:
			w.must(err)
			flooding = false
		default:
		}
	}
	lane := w.sentTo(b.port) - before
	took, cpu := time.Since(started), cpuTime(t, w.daemon.PID)-used
	frames, err := b.port.Drain(quiet)
	w.must(err)
	got += len(frames)
	t.Logf("%d sources in %v; daemon: %v of CPU; %d frames of two others, %d by the lane, %d arrived", flood, took, cpu, sent, lane, got)
	share := 0.98
	if lab.Patience() > 1 {
		share = 0.2 // an emulated machine has no CPU left, and the lane closes now and then
	}
	if float64(lane) < share*float64(sent) || got < sent-sent/100 {
		t.Errorf("of %d frames %d took the lane, %d arrived", sent, lane, got)
	}
	total := ask[map[string]uint64](w, "coverage/show")
	t.Logf("events over the budget %d, lost %d; looks %d", total["events-limited"], total["events-lost"], total["looks"])
	if total["events-limited"] == 0 {
		t.Error("no event was over the budget")
	}
	if cpu > took/2 {
		t.Errorf("the daemon took %v of CPU in %v", cpu, took)
	}
	w.laneOpens()
	w.drain(quiet)
	c := untagged(w.veth("v2", "tag=10"), 10)
	w.announce(c, "lane")
	w.laneBetween(a, c)
}

// cpuTime returns the CPU time of a process (proc(5), stat).
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	var ticks time.Duration
	for _, s := range f[11:13] { // utime, stime
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond // USER_HZ is 100
}

// Frames whose L4 checksum looks unfinished go by OVS as they are; finished
// ones take the lane.
func TestUnfinishedChecksums(t *testing.T) {
	t.Parallel()
	w, a, b := openLane(t)
	odd := frame.Payload([]byte("an odd payload"))
	for name, build := range map[string]func(dst, src ovs.MAC, opts ...frame.Option) []byte{
		"UDP over IPv4": frame.UDP4, "UDP over IPv6": frame.UDP6, "TCP over IPv4": frame.TCP4, "TCP over IPv6": frame.TCP6,
	} {
		w.run(name, func(w *world) {
			from, to := a, b
			if strings.HasPrefix(name, "TCP") {
				from, to = b, a
			}
			f := build(to.mac, from.mac, odd)
			w.lane(from.port, to.port, f, f)
			f = build(to.mac, from.mac, odd, frame.PartialChecksum())
			w.bridge(from.port, f, map[string][]byte{to.port.Name: f})
			f = build(to.mac, from.mac, odd, frame.Fragment(0, true))
			w.bridge(from.port, f, map[string][]byte{to.port.Name: f})
		})
	}
	w.run("none", func(w *world) {
		f := a.frameTo(b.mac, frame.NoChecksum())
		w.bridge(a.port, f, map[string][]byte{"t1": f})
	})
	w.run("counted", func(w *world) {
		const keepAlive = 5
		if n := reasonOf(ask[[]lab.PortStatus](w, "port/show"), "v1", "checksum"); n > 5*burst || n < 5*burst-keepAlive {
			w.t.Errorf("%d frames with unfinished checksums are counted, want %d", n, 5*burst)
		}
	})
}
