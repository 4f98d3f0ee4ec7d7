// SPDX-License-Identifier: Apache-2.0

// Package e2e runs ovs-xdpd beside a real Open vSwitch and checks two things
// of every scenario: which frames arrive where, byte by byte, and which path
// they took. The path is taken from both sides: the packet counts of Open
// vSwitch's own rules, and the counters of the daemon.
//
// The tests need root and the programs of `make build`; they fail without.
package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// burst is how many frames a check sends: enough that keep-alive frames do not
// hide the path of the rest.
const burst = 100

var (
	// settle is how long the daemon may take to follow a change that is no
	// learning: a key, a port, a rule.
	settle = 10 * time.Second * lab.Patience()
	// quiet is how long nothing must arrive before a burst counts as over.
	quiet = 150 * time.Millisecond * min(lab.Patience(), 2)
)

// limit is what a latency must stay below that is milliseconds on a real
// machine: generous, and much more so on an emulated one.
func limit(d time.Duration) time.Duration { return d * lab.Patience() * lab.Patience() }

// world is a lab with one bridge, br0, and a daemon.
type world struct {
	*lab.Lab
	t      *testing.T
	daemon *lab.Daemon
	ports  []*lab.Port // those for raw frames
	// keepsMegaflows tells that OVS's rules are not counted: that takes out all
	// megaflows.
	keepsMegaflows bool
	// expectsAudit tells that the audit is to close a lane.
	expectsAudit bool
}

// newWorld makes a lab with an empty br0, whose key is absent. args are the
// daemon's.
func newWorld(t *testing.T, args ...string) *world {
	t.Helper()
	w := &world{Lab: lab.NewT(t), t: t}
	w.must(w.AddBridge("br0"))
	w.start(args...)
	return w
}

// run runs fn as a subtest in the same world.
func (w *world) run(name string, fn func(w *world)) {
	w.t.Run(name, func(t *testing.T) {
		sub := *w
		sub.t = t
		fn(&sub)
	})
}

// start starts the daemon, which asks OVS often what it would do: whatever the
// test does, OVS must agree with the lane.
func (w *world) start(args ...string) {
	w.t.Helper()
	d, err := w.StartDaemon(append([]string{"--audit-interval=" + auditInterval.String()}, args...)...)
	if d != nil {
		w.t.Cleanup(func() {
			if logged(d, auditClosed) > 0 && !w.expectsAudit {
				w.t.Error("the audit has closed a lane")
			}
			if w.t.Failed() {
				w.t.Logf("end of the log of ovs-xdpd:\n%s", d.Output(40))
			}
		})
	}
	w.must(err)
	w.daemon = d
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// eventually fails the test unless fn succeeds within the time to settle.
func (w *world) eventually(fn func() error) {
	w.t.Helper()
	w.must(lab.Eventually(settle, fn))
}

func (w *world) veth(name string, columns ...string) *lab.Port {
	w.t.Helper()
	return w.port((*lab.Lab).AddVeth, name, lab.PortOptions{Columns: columns})
}

func (w *world) tap(name string, columns ...string) *lab.Port {
	w.t.Helper()
	return w.port((*lab.Lab).AddTap, name, lab.PortOptions{Columns: columns})
}

func (w *world) port(add func(*lab.Lab, string, string, lab.PortOptions) (*lab.Port, error), name string, o lab.PortOptions) *lab.Port {
	w.t.Helper()
	return w.portOn("br0", add, name, o)
}

// portOn adds a port to a bridge of several.
func (w *world) portOn(bridge string, add func(*lab.Lab, string, string, lab.PortOptions) (*lab.Port, error), name string, o lab.PortOptions) *lab.Port {
	w.t.Helper()
	p, err := add(w.Lab, bridge, name, o)
	w.must(err)
	w.ports = append(w.ports, p)
	return p
}

// remove forgets a port that no longer has a machine.
func (w *world) remove(p *lab.Port) {
	w.ports = slices.DeleteFunc(w.ports, func(q *lab.Port) bool { return q == p })
}

// set sets columns of br0.
func (w *world) set(columns ...string) {
	w.t.Helper()
	_, err := w.OVS(append([]string{"set", "bridge", "br0"}, columns...)...)
	w.must(err)
}

// mode sets the key of br0 and waits until the daemon obeys.
func (w *world) mode(m string) {
	w.t.Helper()
	w.set("external_ids:xdp-offload=" + m)
	w.state(m)
}

// state waits until br0 is in the state.
func (w *world) state(want string) lab.BridgeStatus {
	w.t.Helper()
	var b lab.BridgeStatus
	w.eventually(func() error {
		s, err := w.Status()
		if err != nil {
			return err
		}
		if b, err = s.Bridge("br0"); err != nil {
			return err
		}
		if b.State != want {
			return fmt.Errorf("br0 is in the state %q, want %q; errors %q, refusals %+v", b.State, want, b.Errors, b.Refusals)
		}
		return nil
	})
	return b
}

// announce has a station send a broadcast frame on its port, drains it
// everywhere and waits until the daemon lists the station there, in the state.
// A frame that comes while a program is being attached is lost now and then, by
// the driver: the station says it again.
func (w *world) announce(s station, state string) {
	w.t.Helper()
	w.hello(s)
	said := time.Now()
	w.rowIs(s, state, func(got string) bool {
		if got != state && time.Since(said) > 2*time.Second {
			w.hello(s)
			said = time.Now()
		}
		return got == state
	})
}

// hello has a station send one broadcast frame and drains it everywhere.
func (w *world) hello(s station) {
	w.t.Helper()
	w.must(s.port.Send(s.frameTo(frame.Broadcast)))
	w.drain(quiet)
}

// row waits until the daemon lists a station on its port, in the state;
// "" waits until it doesn't list it there.
func (w *world) row(s station, state string) {
	w.t.Helper()
	w.rowIs(s, state, func(got string) bool { return got == state })
}

// noLaneTo waits until the daemon no longer lists a station as a destination
// of the lane.
func (w *world) noLaneTo(s station) {
	w.t.Helper()
	w.rowIs(s, "anything but lane", func(got string) bool { return got != "lane" })
}

func (w *world) rowIs(s station, want string, ok func(state string) bool) {
	w.t.Helper()
	w.eventually(func() error {
		rows, err := w.FDB()
		if err != nil {
			return err
		}
		got := ""
		for _, r := range rows {
			if r.Bridge == s.port.Bridge && r.VLAN == int(s.vlan) && r.MAC == s.mac.String() && r.Port == s.port.Name {
				got = r.State
			}
		}
		if !ok(got) {
			return fmt.Errorf("station %s in VLAN %d on %s: row is %q, want %q; rows %+v", s.mac, s.vlan, s.port.Name, got, want, rows)
		}
		return nil
	})
}

// drain throws away what has arrived, at all ports.
func (w *world) drain(quiet time.Duration) {
	w.t.Helper()
	for i, p := range w.ports {
		if i > 0 {
			quiet = time.Millisecond // the first port has waited for all
		}
		_, err := p.Drain(quiet)
		w.must(err)
	}
}

// noPrograms checks that no device of the hypervisor has an XDP program,
// apart from those named.
func (w *world) noPrograms(except ...string) {
	w.t.Helper()
	w.eventually(func() error {
		programs, err := w.Hypervisor.XDPPrograms()
		for _, name := range except {
			delete(programs, name)
		}
		if err == nil && len(programs) > 0 {
			err = fmt.Errorf("devices have XDP programs: %v", programs)
		}
		return err
	})
}

// refused waits until the status names the subject in a refusal, and returns
// the text of it.
func (w *world) refused(subject string) string {
	w.t.Helper()
	var text string
	w.eventually(func() error {
		s, err := w.Status()
		if err != nil {
			return err
		}
		b, err := s.Bridge("br0")
		if err != nil {
			return err
		}
		for _, r := range b.Refusals {
			if r.Subject == subject && r.Reason != "" {
				text = strings.TrimSpace(r.Reason + " " + r.Detail)
				return nil
			}
		}
		return fmt.Errorf("no refusal of %s: %+v", subject, b.Refusals)
	})
	return text
}

// kill ends the daemon with SIGKILL.
func (w *world) kill() {
	w.daemon.Kill()
	w.daemon = nil
}

// stop ends the daemon with SIGTERM.
func (w *world) stop() {
	w.t.Helper()
	w.must(w.daemon.Stop())
	w.daemon = nil
}

// signal sends the daemon a signal.
func (w *world) signal(s syscall.Signal) {
	w.t.Helper()
	w.must(w.daemon.Signal(s))
}

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && (os.Args[1] == successorCommand || os.Args[1] == stuckCommand) {
		fmt.Fprintln(os.Stderr, successor(os.Args[1], os.Args[2]))
		os.Exit(1)
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the end-to-end tests need root")
		os.Exit(1)
	}
	if _, err := lab.Binaries(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
