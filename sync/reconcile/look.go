// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/diff"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// looks is the part of a session that says when to look at OVS and how the last
// looks went. OVS is read beside the loop, which goes on closing what changes
// meanwhile; what was read before such a change is thrown away.
type looks struct {
	due     time.Time    // of the next look; zero: none
	looking bool         // one is under way
	began   time.Time    // when that began
	results chan picture // where it ends
	stale   bool         // something changed since it began
	// churn has the bridges whose OpenFlow rules changed since it began, and
	// churned is how many looks in a row have met such ones.
	churn    map[string]bool
	churned  int
	failures int       // looks that failed in a row
	lastFull time.Time // when everything was last read
	lastGood time.Time // when a look last ended well
	budget   budget    // of looks that nothing but stations ask for
	asked    bool      // the one under way is one of these
}

// picture is what came of reading OVS.
type picture struct {
	started time.Time
	snap    *ovs.Snapshot
	// unwatched says why the rules of a bridge can't be watched, by Bridge:name.
	unwatched map[string]error
	// dump is what was read of megaflows, nil for nothing.
	dump *dump
	// inquiries are the stations that OVS was asked about one by one, instead of all
	// that; see inquire.go.
	inquiries []inquiry
	err       error
}

// staleFor is how long looks may be thrown away, one after the other, before
// the lane closes.
const staleFor = 5 * time.Second

// errChurn is why a bridge stays closed until the next look.
var errChurn = errors.New("its OpenFlow rules changed while they were read")

// churnPause is after how long bridges are read again whose rules change: at once,
// and later when they do so again and again, which must not cost the others.
func (l *looks) churnPause() time.Duration {
	if l.churned < 2 {
		return 0
	}
	return min(minBackoff<<min(l.churned-2, 8), maxBackoff)
}

// leaveChurn leaves out of a picture what has changed since it was begun: the
// rest of it counts. false: this is the first time, and all is read again at once.
func (l *looks) leaveChurn(p *picture) bool {
	if len(l.churn) == 0 {
		l.churned = 0
		return true
	}
	if l.churned++; l.churned == 1 {
		return false
	}
	if p.unwatched == nil {
		p.unwatched = make(map[string]error)
	}
	for bridge := range l.churn {
		p.unwatched[bridge] = errChurn
	}
	return true
}

// stuck tells of a look that should have ended long ago: the lane must not be
// kept open on what the one before has seen.
func (l *looks) stuck(now time.Time) error {
	if took := now.Sub(l.began); l.looking && took > lease {
		return fmt.Errorf("a look at OVS has not ended after %v", took.Round(time.Millisecond))
	}
	return nil
}

// soon asks for a look after d, or earlier.
func (s *session) soon(d time.Duration) {
	if at := time.Now().Add(d); s.due.IsZero() || at.Before(s.due) {
		s.due = at
	}
}

// arm sets the timer to the next look. A look that nothing but stations ask
// for waits until the budget allows it.
func (s *session) arm(timer *time.Timer) {
	at := s.due
	if dump := s.mega.nextDump(); !dump.IsZero() && (at.IsZero() || dump.Before(at)) {
		at = dump
	}
	if next := s.stations.next(); !next.IsZero() {
		if free := s.budget.free(); next.Before(free) {
			next = free
		}
		if at.IsZero() || next.Before(at) {
			at = next
		}
	}
	if at.IsZero() || s.looking {
		timer.Stop()
		return
	}
	if at.Before(s.notBefore) {
		at = s.notBefore
	}
	timer.Reset(max(time.Until(at), 0))
}

// look begins to read OVS.
func (s *session) look() {
	p := picture{started: time.Now()}
	s.asked = s.due.IsZero() || s.due.After(p.started)
	p.inquiries = s.inquiries(p.started)
	s.looking, s.began, s.stale = true, p.started, false
	s.churn = make(map[string]bool)
	if !s.watching() {
		// What the kernel marks from here on is newer than what is read.
		s.lane.Ask()
	}
	if len(p.inquiries) > 0 {
		s.inquire(p)
		return
	}
	s.due = time.Time{}
	if p.started.Sub(s.lastFull) > relook {
		s.observer.ForgetAll()
		s.links = nil
		s.lastFull = p.started
	}
	// A rule is watched before it is read, or its change would be missed.
	p.unwatched, p.err = s.watchFlows()
	var dump []string
	if due := s.mega.nextDump(); !due.IsZero() && !p.started.Before(due) {
		dump = s.mega.bridges
	}
	epoch := s.mega.epoch
	anew := s.lastFull.Equal(p.started) // ovs-vswitchd does not change its version
	s.beside(&p, func() {
		if p.err == nil {
			ctx, cancel := context.WithTimeout(s.ctx, lookTimeout)
			defer cancel()
			p.snap, p.err = s.read(ctx, anew)
			if p.err == nil && dump != nil {
				p.dump = s.readMegaflows(ctx, dump, epoch)
			}
		}
	})
}

// beside reads a picture beside the loop, which gets it when that has ended.
func (s *session) beside(p *picture, read func()) {
	s.readers.Go(func() {
		read()
		select {
		case s.results <- *p:
		case <-s.done:
		}
	})
}

func (s *session) read(ctx context.Context, version bool) (*ovs.Snapshot, error) {
	if version {
		if err := s.readVersion(ctx); err != nil {
			return nil, err
		}
	}
	return s.observer.Look(ctx)
}

// looked brings the kernel's tables to what is wanted by what was read. It
// returns an error when the session must end.
func (s *session) looked(p picture) error {
	s.looking = false
	if s.asked {
		defer func() { s.budget.spend(time.Since(p.started), time.Now()) }()
	}
	if p.inquiries != nil {
		return s.inquired(p)
	}
	if s.watching() {
		return s.succeed(p)
	}
	err := p.err
	if err == nil && s.stale {
		if time.Since(s.lastGood) < staleFor {
			s.soon(0)
			return nil
		}
		err = fmt.Errorf("bridges change faster than they can be read, for %v", staleFor)
	}
	if err == nil {
		whole := s.leaveChurn(&p)
		if s.churned > 0 {
			s.soon(s.churnPause())
		}
		if !whole {
			return nil
		}
		err = s.install(p)
	}
	s.Daemon.mu.Lock()
	s.view.Looks++
	if err != nil {
		s.view.Failures++
	}
	s.Daemon.mu.Unlock()
	if err == nil {
		s.failures, s.lastGood = 0, time.Now()
		return nil
	}
	if errors.Is(err, errRestarted) || s.prior != nil {
		return err
	}
	s.shut(err)
	s.failures++
	s.soon(min(minBackoff<<min(s.failures, 5), maxBackoff))
	return nil
}

// unwatch leaves out what is known of bridges whose rules can't be watched.
func (p picture) unwatch() {
	for i := range p.snap.Bridges {
		if b := &p.snap.Bridges[i]; p.unwatched[b.Name] != nil {
			b.Detail, b.DetailError = nil, p.unwatched[b.Name].Error()
		}
	}
}

func (s *session) install(p picture) error {
	snap := p.snap
	p.unwatch()
	changed := s.links == nil
	links, err := s.readLinks(p.started)
	if err != nil {
		return err
	}
	for bridge := range p.unwatched {
		if s.mega.reach[bridge] && s.mega.flows != nil {
			s.unsettle("rules of " + bridge + " can't be watched")
		}
	}
	s.noteChanges(snap, links) // the look may have seen a change before its event
	dumped := s.takeDump(p.dump)
	result := plan.Build(snap, links, s.policy(snap))
	if s.noteFlowBridges(snap, &result) {
		dumped, result = false, plan.Build(snap, links, s.policy(snap))
	}
	s.in.recall(result.Tables)
	s.in.forget(snap)
	have, sightings, err := s.in.have(changed)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, e := range s.inbox.drain(s.lane) {
		s.sighted(e, now)
	}
	s.stations.marked(sightings, now) // one back home is later than its last event
	early, fresh, domains := false, false, flowDomains(&result.Tables)
	out := s.in.apply(slices.DeleteFunc(diff.Ops(have, result.Tables), func(o diff.Op) bool {
		fresh = fresh || o.Kind == diff.PutFlow
		if !dumped && overtaken(o, domains) {
			return true
		}
		elsewhere := o.Kind == diff.PutRow && s.stations.elsewhere(s.in.key(o.Row.Key), o.Row.IfIndex, now)
		early = early || elsewhere
		return elsewhere
	}))
	if early {
		s.soon(learns / 3) // until OVS must have learned
	}
	if dumped {
		s.mega.found(fresh)
		s.log.Debug("megaflows were read", "took", p.dump.took, "flows", len(result.Tables.Flows), "new", fresh)
	}
	s.confirm(out)
	s.stations.looked(p.started, func(k bpf.Key) bool {
		r := s.lane.FindRow(k)
		return r != nil && !r.Moved
	})
	s.noteRefused(out, links)
	clear(s.found)
	s.blind, s.bonds = blindSpots(snap, &result, links), bondsOf(snap)
	s.publish(snap, result, links, out)
	s.reviewSuspicion(&result.Tables, p.started, dumped)
	if out.err != nil {
		return fmt.Errorf("write the kernel's tables: %w", out.err)
	}
	return s.open(p.started)
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
		s.sighted(e, now)
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
		if errors.Is(err, bpf.ErrBound) {
			s.log.Warn("XDP can't ask this kernel for VLAN tags beside frames: the other ends of veths are asked", "error", err)
			s.host.AskPeers()
			continue
		}
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
	full := result.Unfit + out.full
	if full > 0 && s.view.Full == 0 {
		s.log.Warn("FDB is full: more stations stay with OVS (see --fdb-rows)", "stations", full)
	}
	if len(out.unlisted) > 0 {
		s.log.Warn("no room for OpenFlow rules in one piece: ports that need them stay with OVS (see --rule-rows)", "lists", len(out.unlisted))
	}
	fullFlows := result.UnfitFlows + out.fullFlows
	if fullFlows > 0 && s.view.FullFlows == 0 {
		s.log.Warn("the table of flows is full: more of them stay with OVS (see --flow-rows)", "flows", fullFlows)
	}
	s.view.Snapshot, s.view.Result, s.view.Links, s.view.Full, s.view.FullFlows = snap, result, links, full, fullFlows
	s.view.NoFlows = s.mega.missing()
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
	s.opened = true
	s.Daemon.mu.Lock()
	if !s.view.Open {
		s.log.Info("lane open")
	}
	s.view.Open, s.view.Why = true, ""
	s.Daemon.mu.Unlock()
	if s.prior != nil {
		return s.conclude()
	}
	return nil
}
