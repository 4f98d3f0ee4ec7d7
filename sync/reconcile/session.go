// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/fdb"
	"github.com/ovs-xdp/ovs-xdp/ovs/observe"
	"github.com/ovs-xdp/ovs-xdp/ovs/ofctl"
	"github.com/ovs-xdp/ovs-xdp/ovs/ovsdb"
	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
	"github.com/ovs-xdp/ovs-xdp/sync/diff"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// session is the loop on one connection to the database.
type session struct {
	*Daemon
	ctx      context.Context // of the session: its monitors end with it
	db       *ovsdb.Session
	observer *observe.Observer
	of       *ofctl.Client
	stations *stations

	monitors     map[string]*ofctl.Monitor // by Bridge:name
	flowsChanged chan string
	watchers     sync.WaitGroup
	done         chan struct{}

	stats    map[string]fdb.Stats // of the MAC tables, by Bridge:name
	blind    map[string]blind     // of the last look, by Bridge:name
	frames   map[int]uint64       // of ports without a program, by ifindex
	due      time.Time            // of the next look; zero: none
	failures int                  // looks that failed in a row
	lastFull time.Time            // when everything was last read
	lastEnd  time.Time            // when the last look ended
	lastCost time.Duration        // how long it took

	pidMu sync.Mutex // the observer asks from several goroutines
	pid   int        // of ovs-vswitchd, as first seen
}

func newSession(ctx context.Context, d *Daemon, db *ovsdb.Session) *session {
	s := &session{
		Daemon: d, ctx: ctx, db: db, of: &ofctl.Client{Rundir: d.cfg.Rundir}, stations: newStations(),
		monitors: make(map[string]*ofctl.Monitor), flowsChanged: make(chan string), done: make(chan struct{}),
		stats: make(map[string]fdb.Stats), frames: make(map[int]uint64),
	}
	s.observer = observe.New(observe.Config{Database: db, Control: s, OpenFlow: s.of, Want: plan.Wanted})
	return s
}

func (s *session) close() {
	close(s.done)
	for _, m := range s.monitors {
		m.Close()
	}
	s.watchers.Wait()
}

// Call implements observe.Control: it finds ovs-vswitchd's control socket anew
// for each call, since the pid is in its name.
func (s *session) Call(ctx context.Context, method string, args ...string) (string, error) {
	socket, err := s.vswitchd()
	if err != nil {
		return "", fmt.Errorf("ask ovs-vswitchd for %s: %w", method, err)
	}
	return (&unixctl.Client{Socket: socket}).Call(ctx, method, args...)
}

// errRestarted ends the session: another ovs-vswitchd may have other OpenFlow
// port numbers, and nothing that was read is worth keeping.
var errRestarted = errors.New("ovs-vswitchd was restarted")

func (s *session) vswitchd() (socket string, err error) {
	socket, pid, err := unixctl.DaemonSocket(s.cfg.Rundir, "ovs-vswitchd")
	if err != nil {
		return "", err
	}
	s.pidMu.Lock()
	defer s.pidMu.Unlock()
	if s.pid != 0 && pid != s.pid {
		return "", errRestarted
	}
	s.pid = pid
	return socket, nil
}

func (s *session) run() error {
	ctx := s.ctx
	tick := time.NewTicker(interval)
	defer tick.Stop()
	glance := time.NewTicker(glanceInterval)
	defer glance.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	s.due = time.Now()
	for {
		s.arm(timer)
		select {
		case <-ctx.Done():
			return nil
		case <-s.db.Lost():
			return fmt.Errorf("connection to ovsdb-server lost: %w", s.db.Err())
		case <-s.db.Changed():
			s.closeFirst()
			s.observer.ForgetAll()
			s.soon(0)
		case bridge := <-s.flowsChanged:
			s.closeBridge(bridge)
			s.observer.Forget(bridge)
			s.soon(0)
		case <-s.linksChanged:
			s.links = nil
			s.closeFirst()
			s.soon(0)
		case <-s.inbox.ready:
			now := time.Now()
			for _, e := range s.inbox.take() {
				s.stations.sighted(e, now)
			}
		case <-tick.C:
			if err := s.tick(ctx); err != nil {
				return err
			}
		case <-glance.C:
			if err := s.glance(ctx); err != nil {
				return err
			}
		case <-timer.C:
			if err := s.look(ctx); err != nil {
				return err
			}
		}
	}
}

// soon asks for a look after d, or earlier.
func (s *session) soon(d time.Duration) {
	if at := time.Now().Add(d); s.due.IsZero() || at.Before(s.due) {
		s.due = at
	}
}

// arm sets the timer to the next look. A look that nothing but stations ask
// for waits four times as long as the last one took, so that a flood of
// sources costs a fifth of a core at most.
func (s *session) arm(timer *time.Timer) {
	at := s.due
	if next := s.stations.next(); !next.IsZero() {
		if pause := s.lastEnd.Add(4 * s.lastCost); next.Before(pause) {
			next = pause
		}
		if at.IsZero() || next.Before(at) {
			at = next
		}
	}
	if at.IsZero() {
		timer.Stop()
		return
	}
	timer.Reset(max(time.Until(at), 0))
}

// look reads OVS and brings the kernel's tables to what is wanted. It returns
// an error when the session must end.
func (s *session) look(ctx context.Context) error {
	started := time.Now()
	s.due = time.Time{}
	// What the kernel marks from here on is newer than what is read.
	s.lane.Ask()
	err := s.lookOnce(ctx, started)
	s.lastEnd = time.Now()
	s.lastCost = s.lastEnd.Sub(started)
	s.Daemon.mu.Lock()
	s.view.Looks++
	if err != nil {
		s.view.Failures++
	}
	s.Daemon.mu.Unlock()
	if err == nil {
		s.failures = 0
		return nil
	}
	if errors.Is(err, errRestarted) {
		return err
	}
	s.shut(err)
	s.failures++
	s.soon(min(minBackoff<<min(s.failures, 5), maxBackoff))
	return nil
}

func (s *session) lookOnce(ctx context.Context, started time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	if started.Sub(s.lastFull) > relook {
		s.observer.ForgetAll()
		s.links = nil
		s.lastFull = started
	}
	if err := s.readVersion(ctx); err != nil {
		return err
	}
	// A rule is watched before it is read, or its change would be missed.
	unwatched, err := s.watchFlows()
	if err != nil {
		return err
	}
	snap, err := s.observer.Look(ctx)
	if err != nil {
		return err
	}
	for i := range snap.Bridges {
		if b := &snap.Bridges[i]; unwatched[b.Name] != nil {
			b.Detail, b.DetailError = nil, unwatched[b.Name].Error()
		}
	}
	links, err := s.readLinks(started)
	if err != nil {
		return err
	}
	result := plan.Build(snap, links, s.cfg.Policy)
	have, sightings, err := s.in.have()
	if err != nil {
		return err
	}
	now := time.Now()
	s.stations.marked(sightings, now)
	for _, e := range s.inbox.drain(s.lane) {
		s.stations.sighted(e, now)
	}
	early := false
	out := s.in.apply(slices.DeleteFunc(diff.Ops(have, result.Tables), func(o diff.Op) bool {
		elsewhere := o.Kind == diff.PutRow && s.stations.elsewhere(s.in.key(o.Row.Key), o.Row.IfIndex, now)
		early = early || elsewhere
		return elsewhere
	}))
	if early {
		s.soon(learns / 3) // until OVS must have learned
	}
	s.confirm(out)
	s.stations.looked(started, func(k bpf.Key) bool {
		r := s.lane.FindRow(k)
		return r != nil && !r.Moved
	})
	s.noteRefused(out, links)
	s.blind = blindSpots(snap, &result, links)
	s.publish(snap, result, links, out)
	if out.err != nil {
		return fmt.Errorf("write the kernel's tables: %w", out.err)
	}
	return s.open(started)
}

// readVersion asks ovs-vswitchd for its version; it also tells whether
// it is there when no bridge asks for the lane.
func (s *session) readVersion(ctx context.Context) error {
	text, err := s.Call(ctx, "version")
	if err != nil {
		return err
	}
	// "ovs-vswitchd (Open vSwitch) 3.1.0", perhaps with more lines.
	line, _, _ := strings.Cut(text, "\n")
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil
	}
	s.Daemon.mu.Lock()
	defer s.Daemon.mu.Unlock()
	s.view.OVSVersion = words[len(words)-1]
	return nil
}

// confirm ends the trial of new rows, but for those whose station was seen
// elsewhere while they were written.
func (s *session) confirm(out outcome) {
	now := time.Now()
	for _, k := range out.marked {
		s.stations.reported(k, now)
	}
	if len(out.put) == 0 {
		return
	}
	elsewhere := make(map[bpf.Key]bool)
	for _, e := range s.inbox.drain(s.lane) {
		if r := s.lane.FindRow(e.Key); r != nil && r.IfIndex != e.IfIndex {
			elsewhere[e.Key] = true
		}
		s.stations.sighted(e, now)
	}
	for _, k := range out.put {
		if elsewhere[k] || !s.lane.Confirm(k) {
			s.stations.reported(k, now)
		}
	}
}

// noteRefused remembers devices that the kernel did not take; they are planned
// without, or in another mode, at once.
func (s *session) noteRefused(out outcome, links map[string]plan.Link) {
	for ifindex, err := range out.refused {
		for name, l := range links {
			if l.IfIndex == ifindex {
				s.refused[ifindex] = refusedDevice{name: name, err: err, at: time.Now()}
				s.log.Warn("port stays with OVS", "device", name, "error", err)
			}
		}
	}
	if len(out.refused) > 0 || out.attached > 0 {
		s.links = nil
		s.soon(0)
	}
}

func (s *session) publish(snap *ovs.Snapshot, result plan.Result, links map[string]plan.Link, out outcome) {
	s.Daemon.mu.Lock()
	defer s.Daemon.mu.Unlock()
	logChanges(s.log, s.view.Result, result)
	if out.full > 0 && s.view.Full == 0 {
		s.log.Warn("FDB is full: more stations stay with OVS (see --fdb-rows)", "stations", out.full)
	}
	s.view.Snapshot, s.view.Result, s.view.Links, s.view.Full = snap, result, links, out.full
}

// open opens the lane after a look that began at started, or keeps it open. A
// daemon that was held up since then has an old picture, and looks again.
func (s *session) open(started time.Time) error {
	if took := time.Since(started); took > lease {
		return fmt.Errorf("the daemon was held up: a look took %v", took.Round(time.Millisecond))
	}
	if err := s.lane.Open(lease); err != nil {
		return err
	}
	s.Daemon.mu.Lock()
	defer s.Daemon.mu.Unlock()
	if !s.view.Open {
		s.log.Info("lane open")
	}
	s.view.Open, s.view.Why = true, ""
	return nil
}

// tick reads what is cheap, asks for a look when it tells of a change, and
// renews the lease if OVS answered.
func (s *session) tick(ctx context.Context) error {
	view := s.View()
	if !view.Open {
		s.soon(0)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	for _, b := range view.Result.Bridges {
		if b.State != plan.StateOn && b.State != plan.StateObserve {
			continue
		}
		if ok, err := s.readStats(ctx, b.Name); !ok {
			return err
		}
	}
	if time.Since(s.lastFull) > relook || s.lane.Marked() > 0 {
		s.soon(0)
	}
	if err := s.lane.Renew(lease); err != nil {
		s.shut(fmt.Errorf("the daemon was held up: %w", err))
		s.observer.ForgetAll()
		s.links = nil
		s.soon(0)
	}
	return nil
}

// readStats reads the totals of a MAC table, which cost OVS next to nothing,
// and asks for a look when they changed. false means that OVS did not answer
// and the lane is closed; the error, that the session must end.
func (s *session) readStats(ctx context.Context, bridge string) (bool, error) {
	text, err := s.Call(ctx, "fdb/stats-show", bridge)
	if errors.Is(err, errRestarted) {
		return false, err
	}
	if err != nil {
		s.shut(fmt.Errorf("read MAC table statistics of %s: %w", bridge, err))
		s.soon(minBackoff)
		return false, nil
	}
	stats, err := fdb.ParseStats(text)
	if err != nil || stats != s.stats[bridge] {
		s.stats[bridge] = stats
		s.soon(0)
	}
	return true, nil
}

// closeFirst closes what a change of the database or of a device forbids,
// before OVS is asked for all the rest.
func (s *session) closeFirst() {
	view := s.View()
	snap, err := s.db.Read()
	if err != nil || view.Snapshot == nil {
		return // the look will tell
	}
	details := make(map[string]*ovs.Detail)
	for _, b := range view.Snapshot.Bridges {
		details[b.UUID] = b.Detail
	}
	for i := range snap.Bridges {
		snap.Bridges[i].Detail = details[snap.Bridges[i].UUID]
	}
	links, err := s.readLinks(time.Now())
	if err != nil {
		return
	}
	have, _, err := s.in.have()
	if err != nil {
		return
	}
	result := plan.Build(snap, links, s.cfg.Policy)
	ops := slices.DeleteFunc(diff.Ops(have, result.Tables), func(o diff.Op) bool { return o.Kind > diff.DeleteRow })
	if out := s.in.apply(ops); out.err != nil {
		s.log.Warn("closing what a change forbids failed", "error", out.err)
	}
}
