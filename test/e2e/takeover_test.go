// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// bpffs mounts one for the world.
func (w *world) bpffs() string {
	w.t.Helper()
	dir, err := w.MountBPFFS()
	w.must(err)
	return dir
}

// takeOver has another daemon take the place of the one that runs, which exits
// with status 0.
func (w *world) takeOver(bpffs string, args ...string) {
	w.t.Helper()
	old := w.daemon
	d, err := w.TakeOver(bpffs, append([]string{"--audit-interval=" + auditInterval.String()}, args...)...)
	if d != nil {
		w.t.Cleanup(func() {
			if logged(d, auditClosed) > 0 && !w.expectsAudit {
				w.t.Error("the audit has closed a lane")
			}
			if w.t.Failed() {
				w.t.Logf("end of the log of ovs-xdpd %d:\n%s", d.PID, d.Output(40))
			}
		})
	}
	w.must(err)
	w.must(old.Wait(settle))
	w.daemon = d
	w.noPins(bpffs)
}

// noPins checks that nothing is pinned.
func (w *world) noPins(bpffs string) {
	w.t.Helper()
	w.eventually(func() error {
		left, err := filepath.Glob(filepath.Join(bpffs, "ovs-xdp*"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("pinned: %v", left)
		}
		return err
	})
}

// numbered is a flow of frames with numbers from one station to another. Few of them
// are under way at a time: no queue overflows, however slow the machine.
type numbered struct {
	sent, received atomic.Int64 // different numbers
	doubled, alien atomic.Int64
	lost           atomic.Int64 // given up while it ran
	stop           atomic.Bool
	ended          chan struct{}
}

const (
	inFlight = 100
	inOrder  = 1 << 24 // numbers of a flow
)

func (w *world) numbered(a, b station) *numbered {
	s := &numbered{ended: make(chan struct{})}
	w.t.Cleanup(s.end)
	seen := make([]uint64, inOrder/64)
	received := make(chan struct{})
	go func() {
		defer close(received)
		for quietSince := time.Now(); ; {
			f, err := b.port.Recv(50 * time.Millisecond)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				if s.stop.Load() && (s.received.Load() == s.sent.Load() || time.Since(quietSince) > 2*time.Second) {
					return
				}
				continue
			}
			quietSince = time.Now()
			parsed, e := frame.Parse(f)
			if err != nil || e != nil || parsed.EtherType != frame.TypeIPv4 || len(parsed.Payload) < 44 || parsed.Src != a.mac {
				s.alien.Add(1)
				continue
			}
			n := binary.BigEndian.Uint64(parsed.Payload[28:])
			if seen[n/64]>>(n%64)&1 != 0 {
				s.doubled.Add(1)
				continue
			}
			seen[n/64] |= 1 << (n % 64)
			s.received.Add(1)
		}
	}()
	go func() {
		defer close(s.ended)
		for n := int64(0); !s.stop.Load() && n < inOrder; n++ {
			for wait := time.Now(); n-s.received.Load()-s.lost.Load() >= inFlight; time.Sleep(20 * time.Microsecond) {
				if time.Since(wait) > 2*time.Second {
					s.lost.Store(n - s.received.Load())
				}
			}
			// With its complement, so that all have the same checksum: one in
			// 65536 looks unfinished, and passes.
			number := binary.BigEndian.AppendUint64(nil, uint64(n))
			number = binary.BigEndian.AppendUint64(number, ^uint64(n))
			if err := a.port.Send(a.frameTo(b.mac, frame.Payload(number))); err != nil {
				w.t.Error(err)
				break
			}
			if s.sent.Add(1)%20 == 0 { // it does not take all of a CPU
				time.Sleep(500 * time.Microsecond * lab.Patience())
			}
		}
		s.stop.Store(true)
		<-received
	}()
	return s
}

// end stops the flow and waits for its last frames.
func (s *numbered) end() {
	s.stop.Store(true)
	<-s.ended
}

// A daemon takes over from another while 100,000 frames and more take the lane
// (a fifth of it in short mode):
// none is lost, and none goes by OVS but the keep-alive frames. Counters go on.
func TestTakeover(t *testing.T) {
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.veth("v2", "tag=10"), 10)
	w.open(a, b)
	dir := w.bpffs()
	before, began := w.counts(), time.Now()
	s := w.numbered(a, b)
	daemons, counted := 0, uint64(0)
	replaced, frames := 5, int64(100_000)
	if testing.Short() {
		replaced, frames = 3, 20_000
	}
	for daemons < replaced || s.sent.Load() < frames {
		programs, err := w.Hypervisor.XDPProgramIDs()
		w.must(err)
		w.takeOver(dir)
		daemons++
		now, err := w.Hypervisor.XDPProgramIDs()
		w.must(err)
		for _, port := range []string{"v1", "v2"} {
			if now[port] == 0 || now[port] == programs[port] {
				t.Errorf("program %d on %s, before %d", now[port], port, programs[port])
			}
		}
		status, err := w.Status()
		w.must(err)
		if status.PID != w.daemon.PID || status.Lane != "open" {
			t.Errorf("process %d answers, the lane is %s; want %d", status.PID, status.Lane, w.daemon.PID)
		}
		br, err := status.Bridge("br0")
		w.must(err)
		if br.Frames.Lane < counted {
			t.Errorf("%d frames have taken the lane, and before that %d", br.Frames.Lane, counted)
		}
		counted = br.Frames.Lane
	}
	s.end()
	p := before.to(w.counts(), "v1")
	took := time.Since(began)
	t.Logf("%d frames sent, %d received, %d daemons; %s", s.sent.Load(), s.received.Load(), daemons, p)
	if s.received.Load() != s.sent.Load() || s.doubled.Load() != 0 || s.alien.Load() != 0 {
		t.Errorf("%d frames of %d arrived, %d twice, %d of others", s.received.Load(), s.sent.Load(), s.doubled.Load(), s.alien.Load())
	}
	w.ofStarved(&p)
	keepAlives := uint64(took/(4*time.Second)) + 2
	for reason, n := range p.reasons {
		if reason != "lane" && (reason != "keepalive" || n > keepAlives) {
			t.Errorf("%d frames passed to OVS: %s (at most %d keep-alive frames are due)", n, reason, keepAlives)
		}
	}
	if n := uint64(s.sent.Load()); p.lane+p.passed != n || p.rules != p.passed || p.sent["v2"] != p.lane && lab.Patience() == 1 {
		t.Errorf("%d frames were sent; %s", n, p)
	}
	w.laneBetween(a, b)
	// ovs-appctl finds the new one, and nobody else may start.
	if out, err := w.Appctl("-t", "ovs-xdpd", "version"); err != nil || !strings.Contains(out, "ovs-xdpd") {
		t.Errorf("ovs-appctl: %q, %v", out, err)
	}
	second, err := w.StartSecondDaemon()
	w.must(err)
	if err := second.Wait(settle); err == nil || !strings.Contains(second.Output(20), strconv.Itoa(w.daemon.PID)) {
		t.Errorf("a second daemon: %v, %s", err, second.Output(20))
	}
	w.stop()
	w.noPrograms()
	w.bridgeBetween(a, b)
}

// A daemon that has taken over and is killed gives the host back to OVS.
func TestTakeoverThenKilled(t *testing.T) {
	t.Parallel()
	w, a, b := openLane(t)
	dir := w.bpffs()
	w.takeOver(dir)
	w.laneBetween(a, b)
	w.kill()
	w.noPrograms()
	w.noPins(dir)
	w.bridgeBetween(a, b)
	w.start("--takeover", "--bpffs="+dir) // none runs: it just starts
	w.state("on")
	w.row(a, "lane")
	w.row(b, "lane")
	w.laneBetween(a, b)
}

// The daemon that takes over has flags of its own; the tables keep their size.
func TestTakeoverWithOtherFlags(t *testing.T) {
	t.Parallel()
	w, a, b := openLane(t)
	dir := w.bpffs()
	w.takeOver(dir, "--fdb-rows=1000000", "--keepalive=1ms")
	if out := w.daemon.Output(100); !strings.Contains(out, "--fdb-rows") {
		t.Errorf("nothing is said of the size: %s", out)
	}
	if got, p := w.send(a.port, a.frameTo(b.mac)); p.reasons["keepalive"] != burst || len(got["t1"]) != burst {
		t.Errorf("with a keep-alive interval of 1 ms: %s", p)
	}
	w.takeOver(dir, "--keepalive=5s")
	w.laneBetween(a, b)
}

// In the background, as the service's reload does: the command ends when the
// daemon is in charge, and systemd is told.
func TestTakeoverDetached(t *testing.T) {
	w, a, b := openLane(t)
	dir := w.bpffs()
	socket := filepath.Join(w.Dir, "notify")
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	w.must(err)
	defer notify.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	p, err := w.launch("--takeover", "--detach", "--bpffs="+dir)
	w.must(err)
	w.must(p.Wait(settle * 2))
	s, err := w.Status()
	w.must(err)
	t.Cleanup(func() { _ = syscall.Kill(s.PID, syscall.SIGKILL) })
	if s.PID == p.PID || s.PID == w.daemon.PID || s.Lane != "open" {
		t.Fatalf("process %d answers, the lane is %s; it took over from %d", s.PID, s.Lane, w.daemon.PID)
	}
	w.must(w.daemon.Wait(settle))
	said := make([]byte, 1000)
	w.must(notify.SetReadDeadline(time.Now().Add(settle)))
	n, err := notify.Read(said)
	w.must(err)
	if text := string(said[:n]); text != fmt.Sprintf("MAINPID=%d\nREADY=1\n", s.PID) {
		t.Errorf("systemd is told %q", text)
	}
	w.laneBetween(a, b)
	// One that fails says so, too.
	none := t.TempDir()
	p, err = w.launch("--detach", "--takeover", "--bpffs="+none)
	w.must(err)
	if err := p.Wait(settle); err == nil || !strings.Contains(p.Output(10), "mount -t bpf bpf "+none) {
		t.Errorf("it ends: %v, %s", err, p.Output(10))
	}
	w.laneBetween(a, b)
	_, err = w.Appctl("-t", "ovs-xdpd", "exit")
	w.must(err)
	w.daemon = nil
	w.noPrograms()
}

// What OVS changes while a daemon takes over reaches the lane as ever.
func TestTakeoverWhileOVSChanges(t *testing.T) {
	w := newWorld(t)
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.veth("v2", "tag=10"), 10)
	w.mode("on")
	w.announce(a, "lane")
	w.announce(b, "lane")
	dir := w.bpffs()
	changes := []struct{ close, open []string }{
		{[]string{"ovs-ofctl", "add-flow", "br0", "priority=100,actions=drop"}, []string{"ovs-ofctl", "--strict", "del-flows", "br0", "priority=100"}},
		{[]string{"ovs-vsctl", "set", "port", "v2", "tag=20"}, []string{"ovs-vsctl", "set", "port", "v2", "tag=10"}},
	}
	var late time.Duration
	for i := range 6 {
		c := changes[i%len(changes)]
		w.row(a, "lane")
		w.row(b, "lane")
		w.laneBetween(a, b)
		old := w.daemon
		p, err := w.launch("--takeover", "--bpffs="+dir)
		w.must(err)
		time.Sleep(time.Duration(i) * 80 * time.Millisecond * lab.Patience())
		w.must(w.tool(c.close...))
		// From now on OVS drops frames from a to b.
		closed := time.Now()
		for sent := time.Now(); time.Since(closed) < 300*time.Millisecond*lab.Patience(); sent = time.Now() {
			w.must(a.port.Send(a.frameTo(b.mac)))
			if _, err := b.port.Recv(2 * time.Millisecond); err == nil {
				late = max(late, sent.Sub(closed))
			}
		}
		w.must(old.Wait(settle * 2))
		w.daemon = &lab.Daemon{Process: p}
		w.laneOpens()
		w.must(a.port.Send(a.frameTo(b.mac)))
		if f, err := b.port.Recv(quiet); err == nil {
			t.Errorf("a frame that OVS drops arrives: % x", f)
		}
		w.must(w.tool(c.open...))
		w.state("on")
		w.announce(a, "lane")
		w.announce(b, "lane")
	}
	t.Logf("frames went on for %v at most after a change", late)
	if late > limit(200*time.Millisecond) {
		t.Errorf("frames went on for %v after a change", late)
	}
}

// launch starts a daemon and does not wait for it.
func (w *world) launch(args ...string) (*lab.Process, error) { return w.StartSecondDaemon(args...) }

// tool runs a tool of OVS that waits until ovs-vswitchd has done what it says.
func (w *world) tool(args ...string) error {
	c := exec.Command(args[0], args[1:]...)
	c.Env = append(os.Environ(), "OVS_RUNDIR="+w.RunDir)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.CombinedOutput()
	if err != nil {
		return errors.New(err.Error() + ": " + string(out))
	}
	return nil
}
