// SPDX-License-Identifier: Apache-2.0

// Package chaos injects faults into a host with ovs-xdpd under steady traffic,
// and counts what is lost: of the daemon, of Open vSwitch, of devices, and what
// hostile machines do.
//
// Every fault of the table (faults) runs twice on the same network: with the
// daemon, and, where it makes sense, without one, which is what Open vSwitch
// does alone. Frames are numbered and their bytes are compared; there is a
// receiver at every place where a frame can come out. Whether a frame took the
// lane is read from the counters of the devices, not from the daemon.
//
// A new fault is an entry in one of the tables: what it does, which flows it
// concerns, and what else is promised.
package chaos

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// lease is within which time the lane closes, whatever happens to the daemon.
const lease = 5 * time.Second

const (
	// inFlight is how much of a flow may be under way when something is
	// replaced, and be lost.
	inFlight = 50 * time.Millisecond
	// takeUp is by how much two runs may differ in what a fault takes from the
	// flows that it cuts off: the time in which commands run and devices are
	// taken up again.
	takeUp = time.Second
)

// fault is something that goes wrong, and what is promised all the same.
type fault struct {
	name    string
	promise string
	// short has the fault run in "go test".
	short bool
	// daemon tells that the fault is one of the daemon: OVS alone has none.
	daemon bool
	// detour has the daemon reach OVS through proxies (run.detour).
	detour bool
	flags  []string // of the daemon
	groups []string // control groups of the daemon, where there are any
	// concerns names flows that the fault itself may cut off: they may lose
	// what they lose with OVS alone. The others keep going, as OVS does.
	concerns []string
	// ownLoss tells that also judges what the flows of concern lose.
	ownLoss bool
	// closes tells for what the lane must close, within the lease.
	closes closing
	// declared tells that it is about attached-mac, which flows don't know.
	declared bool
	// ends tells that the lane does not come back.
	ends bool
	// inject does it, and calls hit and over; it returns what else is broken as an error.
	inject func(r *run) error
	// also checks what only this fault promises.
	also func(with, alone *result) error
}

// closing says for what the lane closes.
type closing int

const (
	stays closing = iota
	closesForAll
	closesForConcerned
)

// run is one fault under traffic, with or without the daemon.
type run struct {
	*network
	*fault
	*traffic
	meter  *meter
	lane   bool // with the daemon
	daemon *daemon
	detour *detour
	groups map[string]*cgroup
	undo   []func() error

	began, hitAt, freedAt, overAt time.Duration // since the traffic began
	diedAt                        time.Duration // when the daemon had exited
	notes                         []string
	barred                        []bar
}

// bar says that from a moment on OVS does not deliver a flow.
type bar struct {
	flow string
	from time.Duration
}

// hit notes that the fault is there, freed that it no longer keeps the lane
// closed, over that all of it is undone.
func (r *run) hit()   { r.hitAt = r.traffic.now() }
func (r *run) freed() { r.freedAt = r.traffic.now() }
func (r *run) over()  { r.overAt = r.traffic.now() }

// bar notes that from now on a flow must not arrive.
func (r *run) bar(flows ...string) error {
	for _, f := range flows {
		if !slices.ContainsFunc(r.network.flows, func(g *flow) bool { return g.name == f }) {
			return fmt.Errorf("there is no flow %s", f)
		}
		r.barred = append(r.barred, bar{f, r.traffic.now()})
	}
	return nil
}

// later has fn run at the end, last first, also when the fault fails.
func (r *run) later(fn func() error) { r.undo = append(r.undo, fn) }

func (r *run) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// closing lists the metered devices that the lane must stop sending to: all, or
// those where nothing but flows of concern ends.
func (r *run) closing() []string {
	if r.fault.closes == closesForAll {
		return metered
	}
	return slices.DeleteFunc(slices.Clone(metered), func(d string) bool {
		return slices.ContainsFunc(r.network.flows, func(f *flow) bool { return f.to.name == d && !slices.Contains(r.fault.concerns, f.name) })
	})
}

// laneCarries waits until the lane carries all flows from a moment on.
func (r *run) laneCarries(since time.Duration) (time.Duration, error) {
	var at time.Duration
	err := lab.Eventually(30*time.Second*lab.Patience(), func() error {
		var ok bool
		if at, ok = r.meter.allRise(metered, since); ok {
			return nil
		}
		if r.daemon.Ended() {
			return fmt.Errorf("ovs-xdpd has ended: %w\n%s", r.daemon.Wait(0), r.daemon.Output(20))
		}
		status, err := r.daemon.ask("offload/show")
		return fmt.Errorf("the lane does not carry all flows (%v): error %v, status:\n%s", r.meter.carrying(since), err, status)
	})
	return at, err
}

// carrying lists the devices that the lane has sent to since.
func (m *meter) carrying(since time.Duration) []string {
	var list []string
	for _, d := range metered {
		if _, ok := m.allRise([]string{d}, since); ok {
			list = append(list, d)
		}
	}
	return list
}

// execute runs a fault once.
func (n *network) execute(f *fault, lane bool) (res *result, err error) {
	r := &run{network: n, fault: f, lane: lane, groups: make(map[string]*cgroup)}
	defer func() {
		if err != nil && r.daemon != nil {
			err = fmt.Errorf("%w\nend of the log of ovs-xdpd:\n%s", err, r.daemon.Output(40))
		}
	}()
	defer func() {
		for _, fn := range slices.Backward(r.undo) {
			err = errors.Join(err, fn())
		}
	}()
	if lane {
		if err := r.start(); err != nil {
			return nil, err
		}
	}
	r.traffic = n.newTraffic()
	stopped := false
	defer func() {
		if !stopped {
			r.traffic.stop(0)
		}
	}()
	r.meter = n.newMeter(r.traffic.start)
	defer r.meter.close()
	if err := r.steady(0); err != nil {
		return nil, fmt.Errorf("before the fault: %w", err)
	}
	time.Sleep(500 * time.Millisecond)
	r.began = r.traffic.now()
	var before usage
	if lane {
		if before, err = r.daemon.used(); err != nil {
			return nil, err
		}
	}
	if err := f.inject(r); err != nil {
		return nil, err
	}
	if r.hitAt == 0 || r.overAt == 0 {
		return nil, errors.New("the fault does not say when it was there")
	}
	res = &result{fault: f, lane: lane, backAfter: -1, closedAfter: -1}
	if lane && !f.ends {
		after, err := r.daemon.used()
		if err != nil {
			return nil, err
		}
		res.cpu, res.peak = float64(after.cpu-before.cpu)/float64(r.traffic.now()-r.began), after.peak
		back, err := r.laneCarries(r.overAt)
		if err != nil {
			return nil, fmt.Errorf("after the fault: %w", err)
		}
		res.backAfter = back - r.overAt
	}
	if err := r.steady(r.traffic.now()); err != nil {
		return nil, fmt.Errorf("after the fault: %w", err)
	}
	time.Sleep(300 * time.Millisecond)
	ended := r.traffic.now()
	r.traffic.stop(500 * time.Millisecond)
	stopped = true
	r.collect(res, ended)
	return res, nil
}

// steady waits until all flows go their way.
func (r *run) steady(since time.Duration) error {
	if r.lane && !r.daemon.Ended() {
		if _, err := r.laneCarries(since); err != nil {
			return err
		}
	}
	return lab.Eventually(20*time.Second*lab.Patience(), func() error { return r.traffic.delivering(since) })
}

// start starts the daemon as the fault wants it.
func (r *run) start() error {
	rundir := r.RunDir
	if r.fault.detour {
		d, err := r.newDetour()
		if err != nil {
			return err
		}
		r.later(func() error { d.close(); return nil })
		r.detour, rundir = d, r.via
	}
	var groups []*cgroup
	for _, controller := range r.fault.groups {
		g, err := newCgroup(controller, strings.TrimPrefix(r.Hypervisor.Name, "ox"))
		if errors.Is(err, errNoCgroup) {
			r.note("%v", err)
			continue
		}
		if err != nil {
			return err
		}
		r.later(g.remove)
		r.groups[controller] = g
		groups = append(groups, g)
	}
	d, err := r.startDaemon(rundir, groups, r.fault.flags...)
	if d != nil {
		r.daemon = d
		r.stopLater(d)
	}
	return err
}

// stopLater ends a daemon that still runs after the fault.
func (r *run) stopLater(d *daemon) {
	r.later(func() error {
		if d.Ended() {
			return nil
		}
		if err := d.Stop(10 * time.Second * lab.Patience()); err != nil {
			d.Kill()
			return err
		}
		return nil
	})
}
