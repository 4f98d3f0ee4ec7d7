// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// ctl runs ovs-xdpctl, which must exit with a code, and returns what it prints.
func (w *world) ctl(code int, args ...string) string {
	w.t.Helper()
	out, err := w.Ctl(args...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		w.must(err)
	}
	if got != code {
		w.t.Fatalf("ovs-xdpctl %s exits with %d, want %d: %s%v", strings.Join(args, " "), got, code, out, err)
	}
	return out
}

// stuck begins a takeover that gets no further than to the tables.
func (w *world) stuck(bpffs string) *lab.Process {
	w.t.Helper()
	self, err := os.Executable()
	w.must(err)
	p, err := w.Start(w.Hypervisor, self, stuckCommand, bpffs)
	w.must(err)
	w.said(p, "taken")
	return p
}

// detached checks that nothing of ovs-xdp is left, and that OVS goes on.
func (w *world) detached(out, bpffs string, a, b station) {
	w.t.Helper()
	if !strings.Contains(out, "all of it is gone") {
		w.t.Errorf("detach says: %s", out)
	}
	if again := w.ctl(0, "detach", "--bpffs="+bpffs); !strings.Contains(again, "nothing of ovs-xdp") {
		w.t.Errorf("a second detach says: %s", again)
	}
	w.daemon = nil
	w.noPrograms()
	w.noPins(bpffs)
	w.bridgeBetween(a, b)
	w.start()
	w.state("on")
	w.row(a, "lane")
	w.row(b, "lane")
	w.laneBetween(a, b)
}

// In an emergency ovs-xdpctl takes everything off, whatever has become of the
// daemon.
func TestDetach(t *testing.T) {
	w, a, b := openLane(t)
	bpffs, outer := w.bpffs(), w
	for _, c := range []struct {
		name string
		// prepare does what has happened; the code is that of detach without
		// --force, its output must say this.
		prepare func(w *world)
		code    int
		says    string
	}{
		{"a daemon that is well", func(*world) {}, 5, "ovs-appctl -t ovs-xdpd exit"},
		{"a frozen daemon", func(w *world) { w.signal(syscall.SIGSTOP) }, 5, "stopped by a signal"},
		{"a takeover that hangs and can't be ended politely", func(w *world) {
			p := w.stuck(bpffs)
			w.kill()
			if p.Ended() {
				w.t.Fatal("the successor has ended")
			}
		}, 5, "pins in " + bpffs},
		{"pins of a takeover that was cut off", func(w *world) {
			p := w.stuck(bpffs)
			w.must(p.Signal(syscall.SIGSTOP)) // so that neither sees the other's end
			w.signal(syscall.SIGSTOP)
			w.kill()
			p.Kill()
			if programs, err := w.Hypervisor.XDPPrograms(); err != nil || len(programs) != 2 {
				w.t.Fatalf("programs %v on the devices, error %v: the pins hold nothing, and the test proves nothing", programs, err)
			}
		}, 0, ""},
	} {
		w.run(c.name, func(w *world) {
			c.prepare(w)
			out := w.ctl(c.code, "detach", "--bpffs="+bpffs)
			w.t.Log(out)
			if c.code != 0 {
				if programs, err := w.Hypervisor.XDPPrograms(); err != nil || len(programs) != 2 {
					w.t.Errorf("programs %v on the devices, error %v, after a detach that was to change nothing", programs, err)
				}
				if !strings.Contains(out, c.says) || !strings.Contains(out, "--force") {
					w.t.Errorf("detach does not say %q: %s", c.says, out)
				}
				out = w.ctl(0, "detach", "--force", "--bpffs="+bpffs)
				w.t.Log(out)
			}
			w.detached(out, bpffs, a, b)
			outer.daemon = w.daemon
		})
	}
	w.run("as JSON", func(w *world) {
		var o struct {
			Found struct {
				Processes []struct{ PID int }
				Devices   []struct{ Name, Program string }
			}
		}
		w.must(json.Unmarshal([]byte(w.ctl(5, "detach", "-o", "json", "--bpffs="+bpffs)), &o))
		if len(o.Found.Processes) != 1 || o.Found.Processes[0].PID != w.daemon.PID || len(o.Found.Devices) != 2 ||
			!strings.HasPrefix(o.Found.Devices[0].Program, "ovs_xdp") {
			w.t.Errorf("found: %+v; the daemon is process %d", o.Found, w.daemon.PID)
		}
	})
}
