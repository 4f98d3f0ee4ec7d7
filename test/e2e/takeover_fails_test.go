// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// successorCommand is the argument with which the test binary takes a lane over
// as far as a daemon does, tampers with the tables, and never gets further.
const successorCommand = "take-over-and-hang"

// stuckCommand has it get no further than to the tables, while the links are
// pinned, and not end on SIGTERM.
const stuckCommand = "take-the-tables-and-hang"

func successor(command, bpffs string) error {
	socket, _, err := unixctl.DaemonSocket(unixctl.Rundir(), "ovs-xdpd")
	if err != nil {
		return err
	}
	call := func(to any, method string, args ...string) error {
		text, err := (&unixctl.Client{Socket: socket}).Call(context.Background(), method, args...)
		if err == nil {
			err = json.Unmarshal([]byte(text), to)
		}
		return err
	}
	var offer struct{ Dir string }
	if err := call(&offer, "takeover/begin", strconv.Itoa(bpf.LayoutVersion), bpffs); err != nil {
		return err
	}
	lane, err := bpf.Adopt(offer.Dir, bpf.Config{})
	if err != nil {
		return err
	}
	var state struct {
		Ports []struct {
			IfIndex int
			Mode    bpf.Mode
		}
	}
	if err := call(&state, "takeover/take"); err != nil {
		return err
	}
	if command == stuckCommand {
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("taken")
		select {}
	}
	modes := make(map[int]bpf.Mode)
	for _, p := range state.Ports {
		modes[p.IfIndex] = p.Mode
	}
	if err := lane.AdoptPorts(offer.Dir, modes); err != nil {
		return err
	}
	if err := lane.Swap(); err != nil {
		return err
	}
	for i, r := range lane.Rows() {
		if i%2 == 0 {
			lane.DeleteRow(r.Key)
		}
	}
	fmt.Println("swapped")
	select {}
}

// said waits until a process has written something.
func (w *world) said(p *lab.Process, what string) {
	w.t.Helper()
	w.eventually(func() error {
		if out := p.Output(100); !strings.Contains(out, what) {
			return fmt.Errorf("%s has not said %q: %s", p.Name, what, out)
		}
		return nil
	})
}

// goesOn checks that the daemon is in charge after another has failed to take
// over, with its own programs.
func (w *world) goesOn(bpffs string, programs map[string]int, a, b station) {
	w.t.Helper()
	if w.daemon.Ended() {
		w.t.Fatalf("the daemon has ended: %s", w.daemon.Output(20))
	}
	// Whoever has begun to take over is known to have failed.
	w.eventually(func() error {
		log := w.daemon.Output(1000)
		if begun, failed := strings.Count(log, "prepares to take over"), strings.Count(log, "did not take over"); begun != failed {
			return fmt.Errorf("%d have begun to take over, %d failed", begun, failed)
		}
		return nil
	})
	w.noPins(bpffs)
	w.laneOpens()
	w.row(a, "lane")
	w.row(b, "lane")
	w.laneBetween(a, b)
	s, err := w.Status()
	w.must(err)
	if s.PID != w.daemon.PID {
		w.t.Errorf("process %d answers, want %d", s.PID, w.daemon.PID)
	}
	now, err := w.Hypervisor.XDPProgramIDs()
	w.must(err)
	if !maps.Equal(now, programs) {
		w.t.Errorf("programs %v on the devices, want %v", now, programs)
	}
	if out, err := w.Appctl("-t", "ovs-xdpd", "version"); err != nil {
		w.t.Errorf("ovs-appctl: %q, %v", out, err)
	}
}

// However a daemon fails to take over, the other goes on.
func TestTakeoverFails(t *testing.T) {
	t.Parallel()
	w, a, b := openLane(t)
	dir := w.bpffs()
	programs, err := w.Hypervisor.XDPProgramIDs()
	w.must(err)
	fails := func(w *world, bpffs, why string) {
		w.t.Helper()
		d, err := w.TakeOver(bpffs)
		if err == nil {
			w.t.Fatal("it took over")
		}
		w.t.Log(d.Output(1))
		if out := d.Output(20); !strings.Contains(out, why) || !strings.Contains(out, strconv.Itoa(w.daemon.PID)) {
			w.t.Errorf("the error does not say %q and %d: %s", why, w.daemon.PID, out)
		}
		w.goesOn(dir, programs, a, b)
	}
	w.run("without a bpffs", func(w *world) {
		none := w.t.TempDir()
		fails(w, none, "mount -t bpf bpf "+none)
	})
	w.run("another layout version", func(w *world) {
		_, err := w.Appctl("-t", "ovs-xdpd", "takeover/begin", strconv.Itoa(bpf.LayoutVersion+1), dir)
		if err == nil || !strings.Contains(err.Error(), "layout version") {
			w.t.Errorf("error %v", err)
		}
		w.goesOn(dir, programs, a, b)
	})
	w.run("not in order", func(w *world) {
		for _, c := range []string{"takeover/take", "takeover/commit"} {
			if _, err := w.Appctl("-t", "ovs-xdpd", c); err == nil {
				w.t.Errorf("%s is obeyed", c)
			}
		}
		w.goesOn(dir, programs, a, b)
	})
	w.run("the one that asks is gone", func(w *world) {
		_, err := w.Appctl("-t", "ovs-xdpd", "takeover/begin", strconv.Itoa(bpf.LayoutVersion), dir)
		w.must(err)
		w.goesOn(dir, programs, a, b)
	})
	w.run("what was handed over can't be seen", func(w *world) {
		// In a mount namespace without the bpffs.
		bin, err := lab.Binaries()
		w.must(err)
		p, err := w.Start(w.Hypervisor, "/usr/bin/unshare", "--mount", "sh", "-c",
			`umount "$0" && exec "$1" --takeover --bpffs="$0"`, dir, filepath.Join(bin, "ovs-xdpd"))
		w.must(err)
		if err := p.Wait(settle * 2); err == nil || !strings.Contains(p.Output(5), "take over from process") {
			w.t.Errorf("it ends: %v: %s", err, p.Output(5))
		}
		w.t.Log(p.Output(1))
		w.goesOn(dir, programs, a, b)
	})
	w.run("it hangs before it takes the tables", func(w *world) {
		p, err := w.launch("--takeover", "--bpffs="+dir)
		w.must(err)
		w.said(w.daemon.Process, fmt.Sprintf("prepares to take over\" pid=%d", p.PID))
		w.must(p.Signal(syscall.SIGSTOP))
		second, err := w.launch("--takeover", "--bpffs="+dir)
		w.must(err)
		if err := second.Wait(settle); err == nil || !strings.Contains(second.Output(5), "starting") {
			w.t.Errorf("another one beside it: %v, %s", err, second.Output(5))
		}
		w.laneBetween(a, b)
		p.Kill()
		w.goesOn(dir, programs, a, b)
	})
	for name, end := range map[string]func(p *lab.Process) error{
		"is killed": func(p *lab.Process) error { return p.Signal(syscall.SIGKILL) },
		"is frozen": func(p *lab.Process) error { return p.Signal(syscall.SIGSTOP) },
		"hangs":     func(*lab.Process) error { return nil },
	} {
		w.run("it "+name+" with the tables", func(w *world) {
			self, err := os.Executable()
			w.must(err)
			p, err := w.Start(w.Hypervisor, self, successorCommand, dir)
			w.must(err)
			w.said(p, "swapped")
			now, err := w.Hypervisor.XDPProgramIDs()
			w.must(err)
			if maps.Equal(now, programs) {
				w.t.Error("its programs are not on the devices")
			}
			w.must(end(p))
			if err := p.Wait(2 * settle); err == nil || !p.Ended() {
				w.t.Error("it ends by itself, or not at all")
			}
			w.goesOn(dir, programs, a, b)
		})
	}
	w.run("OVS does not answer", func(w *world) {
		w.must(w.Vswitchd.Signal(syscall.SIGSTOP))
		p, err := w.launch("--takeover", "--bpffs="+dir)
		w.must(err)
		err = p.Wait(settle * 6)
		w.must(w.Vswitchd.Signal(syscall.SIGCONT))
		if err == nil || !p.Ended() {
			w.t.Fatalf("it took over, or did not end: %v, %s", err, p.Output(20))
		}
		w.t.Log(p.Output(1))
		w.goesOn(dir, programs, a, b)
	})
	w.takeOver(dir)
	w.laneBetween(a, b)
	w.stop()
	w.noPrograms()
}

// Killed at any moment, the daemon that takes over leaves the other in charge,
// or, when it was in charge already, nothing.
func TestTakeoverKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	w, a, b := openLane(t)
	dir := w.bpffs()
	kept, gone := 0, 0
	began := time.Now()
	w.takeOver(dir)
	whole := time.Since(began)
	steps := max(10/lab.Patience(), 4)
	for i := range steps {
		programs, err := w.Hypervisor.XDPProgramIDs()
		w.must(err)
		p, err := w.launch("--takeover", "--bpffs="+dir)
		w.must(err)
		time.Sleep(whole * i * 3 / (steps * 2))
		p.Kill()
		// Whichever has the pidfile.
		text, err := os.ReadFile(filepath.Join(w.RunDir, "ovs-xdpd.pid"))
		if err == nil && strings.TrimSpace(string(text)) == strconv.Itoa(w.daemon.PID) && !w.daemon.Ended() {
			kept++
			w.goesOn(dir, programs, a, b)
		} else {
			gone++
			_ = w.daemon.Wait(settle) // with 0, or not, if it had not been told to leave
			if !w.daemon.Ended() {
				t.Fatal("two daemons")
			}
			w.daemon = nil
			w.noPrograms()
			w.noPins(dir)
			w.start()
			w.state("on")
			w.row(a, "lane")
			w.row(b, "lane")
			w.laneBetween(a, b)
		}
		if t.Failed() {
			t.Fatalf("killed after %v", whole*i*3/(steps*2))
		}
	}
	t.Logf("killed %d times before it was in charge, %d times after", kept, gone)
	if kept == 0 {
		t.Error("never killed before it was in charge")
	}
}
