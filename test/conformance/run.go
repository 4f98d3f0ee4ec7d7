// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

const (
	// group is how many frames travel together at most, and perPort how many
	// of them, and how many bytes, from one port: the sockets of OVS hold
	// little.
	group    = 96
	perPort  = 24
	perBytes = 60000
)

// Failure is a difference between the sides, or another broken promise.
type Failure struct {
	// Kind is "frames", "stations", "behind" or "counts".
	Kind string
	// Event is the index of the last event before it was seen.
	Event int
	Text  string
}

// run is one run of a case.
type run struct {
	*Rig
	c     *Case
	cfg   Config
	tally *Tally
	event int

	// stale: flows of the datapath are older than what OVS knows. counted:
	// they hold counts from which OVS would learn later what is old by then.
	stale, counted bool
	// known is what both sides know; nil: to be read.
	known macTable
	// same holds frames that taught OVS nothing when they came last.
	same map[string]bool
	// state is what the lane is; converged tells that it has all it should.
	state     laneState
	converged bool

	pending  []*Frame
	eligible bool // the pending frames are
	load     [maxPorts]struct{ frames, bytes int }

	// By bridge: frames that only the lane may have counted for a rule, and
	// whether its rules have changed.
	oversize  map[int]int
	rewritten map[int]bool
	flowed    map[int]bool // bridges that have used flows
	flowCount map[int]int  // of the lane's bridge, hidden ones included

	failure *Failure
}

// Run runs a case, and returns how the sides differ; nil when they do not. The
// error is one of the Rig itself.
func (r *Rig) Run(c *Case, tally *Tally) (*Failure, error) {
	x := &run{Rig: r, c: c, cfg: c.Config.Clone(), tally: tally, stale: true, oversize: make(map[int]int), rewritten: make(map[int]bool), flowed: make(map[int]bool), same: make(map[string]bool), flowCount: make(map[int]int)}
	err := x.run()
	if err != nil {
		return nil, fmt.Errorf("seed %d, event %d: %w", c.Seed, x.event, err)
	}
	if r.daemon.Ended() {
		return nil, fmt.Errorf("seed %d: ovs-xdpd has ended: %v\n%s", c.Seed, r.daemon.Wait(0), r.daemon.Output(20))
	}
	return x.failure, nil
}

func (x *run) run() error {
	if err := x.start(x.cfg); err != nil {
		return err
	}
	if err := x.spanningTree(); err != nil {
		return err
	}
	if err := x.drain(); err != nil {
		return err
	}
	if err := x.refresh(); err != nil {
		return err
	}
	for i, e := range x.c.Events {
		if e.Frame == nil || !x.joins(e.Frame) {
			if err := x.flush(); err != nil {
				return err
			}
		}
		if x.failure != nil {
			return nil
		}
		x.event = i
		if err := x.do(e); err != nil {
			return err
		}
		if x.failure != nil {
			return nil
		}
	}
	if err := x.flush(); err != nil || x.failure != nil {
		return err
	}
	reasons, err := x.reasons()
	if err != nil {
		return err
	}
	x.tally.end(x.c, reasons)
	if err := x.look(); err != nil || x.failure != nil {
		return err
	}
	return x.counts()
}

func (x *run) fail(kind, text string) {
	if x.failure == nil && text != "" {
		x.failure = &Failure{Kind: kind, Event: x.event, Text: text}
	}
}

func (x *run) do(e Event) error {
	if e.Frame != nil {
		return x.frame(e.Frame)
	}
	// Else OVS would learn from old counts after it has been told to forget. The
	// lane takes up flows that are there.
	if err := x.purged(x.counted && !(e.Converge && len(x.state.flows) > 0)); err != nil {
		return err
	}
	switch {
	case e.Port != nil:
		if e.Port.Index < len(x.cfg.Ports) {
			x.cfg.Ports[e.Port.Index] = e.Port.Port
		}
		return x.reconfigure()
	case e.Bridge != nil:
		if i := e.Bridge.Index; !cmp.Equal(x.cfg.Bridges[i].Policy, e.Bridge.Bridge.Policy) {
			x.rewritten[i] = true
		}
		x.cfg.Bridges[e.Bridge.Index] = e.Bridge.Bridge
		return x.reconfigure()
	case e.Flush != nil:
		return x.each(*e.Flush, "fdb/flush")
	case e.Static != nil:
		s := e.Static
		b := x.cfg.Ports[s.Port].Bridge
		if b < 0 {
			return nil
		}
		return x.each(b, "fdb/add", fmt.Sprint(s.Port+1), fmt.Sprint(s.VLAN), s.MAC.String())
	}
	if err := x.look(); err != nil || x.failure != nil {
		return err
	}
	state, behind, err := x.converge()
	x.fail("behind", behind)
	x.state, x.converged = state, err == nil
	return err
}

// each runs a command of ovs-vswitchd on the bridges of both sides. Some it
// refuses, and must do so on both.
func (x *run) each(bridge int, method string, args ...string) error {
	var errs []string
	for _, s := range x.sides() {
		if bridge < 0 || bridge >= len(s.now.Bridges) {
			return nil
		}
		name := s.bridge(bridge)
		if _, err := x.ask(method, append([]string{name}, args...)...); err != nil {
			errs = append(errs, err.Error())
		}
	}
	if len(errs) == 1 {
		return fmt.Errorf("one side refuses: %s", strings.Join(errs, ", "))
	}
	return x.changed(x.agree())
}

// reconfigure brings both sides to x.cfg.
func (x *run) reconfigure() error {
	if err := x.changed(x.change(x.cfg)); err != nil {
		return err
	}
	return x.spanningTree()
}

// changed follows a change of the configuration.
func (x *run) changed(err error) error {
	if err != nil {
		return err
	}
	x.stale, x.known, x.converged = true, nil, false
	clear(x.same)
	return x.refresh()
}

// refresh asks which ports the lane watches.
func (x *run) refresh() (err error) {
	x.state, err = x.laneState()
	maps.Copy(x.flowed, x.state.flows)
	return err
}

// look reads what OVS knows, and compares the sides.
func (x *run) look() error {
	if x.known != nil {
		return nil
	}
	known, differ, err := x.macTables()
	x.fail("stations", differ)
	x.known = known
	return err
}

// spanningTree waits until no port is about to forward: each side has timers
// of its own, and forgets stations when a port begins to forward.
func (x *run) spanningTree() error {
	on := false
	for i, b := range x.cfg.Bridges {
		command := map[bool]string{b.STP: "stp/show", b.RSTP: "rstp/show"}[true]
		if command == "" {
			continue
		}
		on = true
		err := lab.Eventually(time.Minute, func() error {
			for _, s := range x.sides() {
				text, err := x.ask(command, s.bridge(i))
				if err != nil {
					return err
				}
				if port := s.notForwarding(text); port != "" {
					time.Sleep(100 * time.Millisecond)
					return fmt.Errorf("port %s does not forward:\n%s", port, text)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if !on {
		return nil
	}
	return x.changed(x.caughtUp())
}

// notForwarding returns a port that is up and not forwarding, from the lines
// "a1  designated learning  2  128.1" of stp/show and rstp/show.
func (s *side) notForwarding(text string) string {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		i := s.index(f[0])
		if i < 0 || i >= len(s.now.Ports) || s.now.Ports[i].LinkDown || s.now.Ports[i].OFDown {
			continue
		}
		if strings.ToLower(f[2]) != "forwarding" {
			return f[0]
		}
	}
	return ""
}

// settled tells whether a frame teaches OVS nothing, stops nothing, and may
// travel with others; and where its source and destination are.
func (x *run) settled(f *Frame) (from, to address, ok bool) {
	parsed, err := frame.Parse(f.Data)
	if err != nil || f.Alone || x.known == nil {
		return from, to, false
	}
	if p := x.policy(f); p != nil && p.teaches() {
		return from, to, false
	}
	if len(f.Data)-14-4*len(parsed.Tags) > x.cfg.leastMTU()-x.cfg.extraTags() {
		return from, to, false
	}
	if len(x.cfg.Patches) > 0 { // which bridges it crosses, and in which VLAN, is for OVS to know
		return from, to, x.same[f.key()]
	}
	if parsed.Src.IsGroup() {
		return from, to, true
	}
	v, ok := x.cfg.vlanOf(f.Port, parsed.Tags)
	b := x.cfg.Ports[f.Port].Bridge
	from, to = address{b, v, parsed.Src}, address{b, v, parsed.Dst}
	at, known := x.known[from]
	return from, to, ok && known && at.port == f.Port
}

// mustLane tells whether the lane has to take a settled frame.
func (x *run) mustLane(f *Frame, from, to address) bool {
	if !x.converged || !f.Plain || x.state.flows[from.bridge] {
		return false
	}
	src, dst := x.known[from], x.known[to]
	_, known := x.known[to]
	if !known || src.port == dst.port || !x.cfg.onLane(from, src) || !x.cfg.onLane(to, dst) || x.state.rows[to].state != "lane" {
		return false
	}
	in, out := &x.cfg.Ports[src.port], &x.cfg.Ports[dst.port]
	return in.Offload != "target" && !(in.Protected && out.Protected) && in.vouches(f)
}

// policy is that of the bridge where a frame is sent, or nil.
func (x *run) policy(f *Frame) *Policy {
	if b := x.cfg.Ports[f.Port].Bridge; b >= 0 {
		return x.cfg.Bridges[b].Policy
	}
	return nil
}
