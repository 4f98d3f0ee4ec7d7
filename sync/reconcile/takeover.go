// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
	"github.com/ovs-xdp/ovs-xdp/sync/host"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// predecessor is the daemon whose place this one takes; see handover.go. A
// Daemon has one until it is in charge.
type predecessor struct {
	pid    int
	client *unixctl.Client
	dir    string // of its pins
	since  time.Time
	// failing is when the first of the looks failed that have failed so far.
	failing time.Time
	taken   bool // the tables are this daemon's to write
}

// Succeed prepares to take over from the daemon that runs in cfg.Rundir: it
// loads the data path on that one's tables. Run takes them once it has seen OVS,
// and publishes cfg.Pidfile, which is reserved, when it is in charge. An error,
// of either, leaves the other daemon in charge.
func Succeed(ctx context.Context, cfg Config) (*Daemon, error) {
	socket, pid, err := unixctl.DaemonSocket(cfg.Rundir, "ovs-xdpd")
	if err != nil {
		return nil, err
	}
	prior := &predecessor{pid: pid, client: &unixctl.Client{Socket: socket}, since: time.Now()}
	d, err := prior.prepare(ctx, cfg)
	if err != nil {
		if prior.dir != "" { // the other daemon may have ended
			_, e := bpf.RemovePins(prior.dir)
			err = errors.Join(err, e)
		}
		return nil, fmt.Errorf("take over from process %d, which goes on: %w", pid, err)
	}
	return d, nil
}

func (p *predecessor) prepare(ctx context.Context, cfg Config) (*Daemon, error) {
	var o offer
	if err := p.call(ctx, &o, "takeover/begin", strconv.Itoa(bpf.LayoutVersion), cfg.BPFFS); err != nil {
		if said, ok := errors.AsType[*unixctl.CommandError](err); ok && strings.Contains(said.Text, "not a valid command") {
			err = fmt.Errorf("%w: a version that can't; stop it (ovs-appctl -t ovs-xdpd exit) and start this one", err)
		}
		return nil, err
	}
	p.dir = o.Dir
	if o.Format != handFormat {
		return nil, fmt.Errorf("it hands over in format %d, this program reads %d: stop it (ovs-appctl -t ovs-xdpd exit) and start this one", o.Format, handFormat)
	}
	lane, err := bpf.Adopt(o.Dir, cfg.Tables)
	if err != nil {
		return nil, err
	}
	if !lane.Sized(cfg.Tables) {
		cfg.Log.Warn("the tables keep their sizes when they are taken over: --fdb-rows, --flow-rows, --max-ports and --rule-rows count after a restart")
		cfg.Policy.Rows = min(cfg.Policy.Rows, lane.MaxRows())
		cfg.Policy.Rules = lane.MaxRules()
		cfg.Policy.FlowRows = min(cfg.Policy.FlowRows, lane.MaxFlows())
	}
	for ifindex, mode := range o.Modes {
		if err := lane.LoadAhead(ifindex, bpf.Mode(mode)); err != nil {
			return nil, errors.Join(err, lane.Close())
		}
	}
	h, err := host.Open(lane.Owns)
	if err != nil {
		return nil, errors.Join(err, lane.Close())
	}
	if o.AsksPeers {
		h.AskPeers()
	}
	d := newDaemon(cfg, lane, h)
	d.prior = p
	return d, nil
}

// call runs a command of the other daemon and reads the document that it
// answers with.
func (p *predecessor) call(ctx context.Context, answer any, method string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, takeLimit+5*time.Second)
	defer cancel()
	text, err := p.client.Call(ctx, method, args...)
	if err == nil && answer != nil {
		err = json.Unmarshal([]byte(text), answer)
	}
	if err != nil {
		return fmt.Errorf("ask it to hand over: %w", err)
	}
	return nil
}

// watching tells that another daemon still is the writer of the tables: this one
// only watches OVS.
func (d *Daemon) watching() bool { return d.prior != nil && !d.prior.taken }

// succeed takes the tables once OVS has been looked at.
func (s *session) succeed(p picture) error {
	if p.err == nil {
		s.prior.failing = time.Time{}
	} else if s.prior.failing.IsZero() {
		s.prior.failing = time.Now()
	} else if time.Since(s.prior.failing) > lookTimeout {
		return p.err
	}
	if p.err != nil || s.stale || len(s.churn) > 0 {
		s.soon(minBackoff)
		return nil
	}
	if !s.readyWithFlows(p) {
		return nil
	}
	var st state
	if err := s.prior.call(s.ctx, &st, "takeover/take"); err != nil {
		return err
	}
	s.prior.taken = true
	if err := s.inherit(st); err != nil {
		return err
	}
	// What has changed since the other daemon last looked: it is closed before
	// anything else. Changes from here on wait for the loop.
	p.unwatch()
	links, err := s.readLinks(time.Now())
	if err != nil {
		return err
	}
	result := plan.Build(p.snap, links, s.policy(p.snap))
	s.blind, s.bonds = blindSpots(p.snap, &result, links), bondsOf(p.snap)
	s.publish(p.snap, result, links, outcome{})
	s.closeFirst()
	if err := s.lane.Swap(); err != nil {
		return err
	}
	s.sayLosses()
	s.startEvents()
	s.Daemon.mu.Lock()
	s.view.Open, s.view.Why = true, "" // if it was
	s.Daemon.mu.Unlock()
	s.log.Info("tables taken over", "pid", s.prior.pid, "ports", len(st.Ports))
	s.mega.due = time.Now()
	// A look that is newer than what the kernel has marked, and than all that the
	// other daemon has closed something for.
	s.observer.ForgetAll()
	s.soon(0)
	return nil
}

// flowsPatience is how long the tables are not taken because it is not known yet what
// OVS does with frames of bridges that use flows.
const flowsPatience = 5 * time.Second

// readyWithFlows tells whether a picture has all that the tables should hold, flows
// included: without, they would be taken out until they are known.
func (s *session) readyWithFlows(p picture) bool {
	dumped := s.takeDump(p.dump)
	// Devices do not matter here, and look different while the other one has them.
	result := plan.Build(p.snap, nil, s.policy(p.snap))
	if s.noteFlowBridges(p.snap, &result) {
		dumped = false
	}
	if len(s.mega.bridges) == 0 || dumped || time.Since(s.prior.since) > flowsPatience {
		return true
	}
	s.soon(minBackoff)
	return false
}

// inherit makes this process the writer of the tables.
func (s *session) inherit(st state) error {
	modes := make(map[int]bpf.Mode)
	for _, p := range st.Ports {
		modes[p.IfIndex] = bpf.Mode(p.Mode)
	}
	s.in.numbers = st.Bridges
	if err := s.in.adoptLists(st.Lists); err != nil {
		return err
	}
	if err := s.lane.AdoptPorts(s.prior.dir, modes); err != nil {
		return err
	}
	if _, err := bpf.RemovePins(s.prior.dir); err != nil {
		return err
	}
	s.host.Inherit(st.Held)
	s.in.adopt(st.Ports)
	now := time.Now()
	for _, e := range st.Seen {
		s.stations.sighted(e.Event, now.Add(-e.Ago))
	}
	s.losses.inherit(st.Losing, now)
	s.book.inherit(st.Audits)
	return nil
}

// conclude puts this daemon in charge, after a look that went well.
func (s *session) conclude() error {
	if err := s.cfg.Pidfile.Publish(); err != nil {
		return err
	}
	if err := s.host.Own(); err != nil {
		return err
	}
	s.inCharge()
	if err := s.prior.call(s.ctx, nil, "takeover/commit"); err != nil {
		return err
	}
	s.log.Info("took over", "from", s.prior.pid, "after", time.Since(s.prior.since).Round(time.Millisecond))
	s.prior = nil
	return nil
}

// failed ends an attempt to take over: the other daemon goes on, or, when this
// one was in charge already, none.
func (d *Daemon) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = errors.New("this daemon was told to end")
	}
	if _, e := bpf.RemovePins(d.prior.dir); e != nil {
		err = errors.Join(err, e)
	}
	if d.cfg.Pidfile.Current() {
		return fmt.Errorf("take over from process %d, which ends as well: %w", d.prior.pid, err)
	}
	return fmt.Errorf("take over from process %d, which goes on: %w", d.prior.pid, err)
}
