// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// openLane makes a world with two stations on an open lane.
func openLane(t *testing.T, args ...string) (w *world, a, b station) {
	t.Helper()
	w = newWorld(t, args...)
	a, b = untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	w.open(a, b)
	return w, a, b
}

// open turns the lane on and shows that two stations, which announce themselves,
// use it both ways.
func (w *world) open(a, b station) {
	w.t.Helper()
	w.mode("on")
	w.announce(a, "lane")
	w.announce(b, "lane")
	w.laneBetween(a, b)
}

// However the daemon ends, it leaves no program behind, Open vSwitch carries
// on, and the next daemon opens the lane again.
func TestDaemonEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*world){
		"SIGTERM": (*world).stop,
		"SIGKILL": (*world).kill,
		"SIGINT": func(w *world) {
			w.signal(syscall.SIGINT)
			w.must(w.daemon.Wait(settle))
			w.daemon = nil
		},
	} {
		if testing.Short() && name == "SIGINT" {
			continue // as SIGTERM
		}
		t.Run(name, func(t *testing.T) {
			w, a, b := openLane(t)
			end(w)
			w.noPrograms()
			w.bridgeBetween(a, b)
			w.start()
			w.state("on")
			w.row(a, "lane") // from the MAC table alone
			w.row(b, "lane")
			w.laneBetween(a, b)
		})
	}
}

// Frames that flow while the daemon comes and goes are not lost, or hardly.
func TestTrafficWhileDaemonEnds(t *testing.T) {
	w, a, b := openLane(t)
	stop, sent := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { sent <- n }()
		for f := a.frameTo(b.mac); ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(500 * time.Microsecond):
			}
			if err := a.port.Send(f); err != nil {
				return
			}
		}
	}()
	received := make(chan int)
	go func() {
		frames, _ := b.port.Drain(2 * time.Second)
		received <- len(frames)
	}()
	for range 3 {
		w.stop()
		w.start()
		w.state("on")
		w.row(b, "lane")
	}
	w.mode("off")
	w.mode("on")
	time.Sleep(100 * time.Millisecond)
	close(stop)
	n, got := <-sent, <-received
	t.Logf("%d frames of %d arrived", got, n)
	if got < n-n/500 || got > n {
		t.Errorf("%d frames of %d arrived", got, n)
	}
}

// A daemon that hangs does not hold the lane open: its lease runs out.
func TestFrozenDaemon(t *testing.T) {
	w, a, b := openLane(t)
	w.signal(syscall.SIGSTOP)
	d := w.daemon
	w.daemon = nil // it doesn't answer, so only OVS is asked
	time.Sleep(6 * time.Second)
	w.bridgeBetween(a, b)
	w.daemon = d
	w.signal(syscall.SIGCONT)
	w.state("on")
	w.announce(a, "lane")
	w.announce(b, "lane")
	w.laneBetween(a, b)
}

// The lane closes when ovs-vswitchd dies, and opens again after its restart.
func TestVswitchdRestarts(t *testing.T) {
	w, a, b := openLane(t)
	w.Vswitchd.Kill()
	w.eventually(func() error {
		s, err := w.Status()
		if err == nil && s.Lane != "closed" {
			err = fmt.Errorf("the lane is %s", s.Lane)
		}
		return err
	})
	w.must(a.port.Send(a.frameTo(b.mac)))
	if _, err := b.port.Recv(300 * time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a frame crosses a bridge without a switch: error %v", err)
	}
	w.must(w.StartVswitchd())
	w.laneOpens() // so the rows are those of the new MAC table
	w.announce(a, "lane")
	w.announce(b, "lane")
	w.laneBetween(a, b)
}

// laneOpens waits until the lane is open.
func (w *world) laneOpens() {
	w.t.Helper()
	w.eventually(func() error {
		s, err := w.Status()
		if err == nil && s.Lane != "open" {
			err = fmt.Errorf("the lane is %s: %s", s.Lane, s.OVS.Error)
		}
		return err
	})
}

func TestSecondDaemon(t *testing.T) {
	t.Parallel()
	w, a, b := openLane(t)
	second, err := w.StartSecondDaemon()
	w.must(err)
	if err := second.Wait(settle); err == nil {
		t.Error("a second daemon exits with code 0")
	}
	if out := second.Output(20); !strings.Contains(out, strconv.Itoa(w.daemon.PID)) {
		t.Errorf("the second daemon doesn't name process %d: %s", w.daemon.PID, out)
	}
	w.laneBetween(a, b)
}

// The daemon may start before Open vSwitch does.
func TestDaemonFirst(t *testing.T) {
	t.Parallel()
	l := lab.NewT(t)
	l.Vswitchd.Kill()
	w := &world{Lab: l, t: t}
	w.start()
	w.must(l.StartVswitchd())
	w.must(l.AddBridge("br0"))
	a, b := untagged(w.veth("v1", "tag=10"), 10), untagged(w.tap("t1", "tag=10"), 10)
	w.open(a, b)
}
