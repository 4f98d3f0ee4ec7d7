// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

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
	readers      sync.WaitGroup
	done         chan struct{}

	stats   map[string]fdb.Stats           // of the MAC tables, by Bridge:name
	found   map[string]fdb.Stats           // what of their totals inquiries explain
	bonds   map[string]map[string]ovs.Bond // by Bridge:name and Port:name
	blind   map[string]blind               // of the last look, by Bridge:name
	frames  map[int]uint64                 // of ports without a program, by ifindex
	looks                                  // see look.go
	auditor *auditor                       // see audit.go
	mega    megaflows                      // see megaflows.go

	pidMu sync.Mutex // the observer asks from several goroutines
	pid   int        // of ovs-vswitchd, as first seen
}

func newSession(ctx context.Context, d *Daemon, db *ovsdb.Session) *session {
	s := &session{
		Daemon: d, ctx: ctx, db: db, of: &ofctl.Client{Rundir: d.cfg.Rundir}, stations: newStations(),
		monitors: make(map[string]*ofctl.Monitor), flowsChanged: make(chan string), done: make(chan struct{}),
		stats: make(map[string]fdb.Stats), found: make(map[string]fdb.Stats), frames: make(map[int]uint64),
		looks:   looks{results: make(chan picture), lastGood: time.Now(), churn: make(map[string]bool)},
		auditor: newAuditor(d.cfg.AuditInterval), mega: newMegaflows(),
	}
	s.observer = observe.New(observe.Config{Database: db, Control: s, OpenFlow: s.of, Want: plan.Wanted})
	return s
}

func (s *session) close() {
	close(s.done)
	s.auditor.timer.Stop()
	s.mega.retry.Stop()
	for _, m := range s.monitors {
		m.Close()
	}
	s.watchers.Wait()
	s.readers.Wait()
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
	bonds := time.NewTicker(bondInterval)
	defer bonds.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	retry := time.NewTimer(0)
	defer retry.Stop()
	s.due = time.Now()
	for {
		s.arm(timer)
		s.armLosses(retry)
		var bondsDue <-chan time.Time // each time that it wakes costs the daemon something
		if len(s.bonds) > 0 {
			bondsDue = bonds.C
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.db.Lost():
			return fmt.Errorf("connection to ovsdb-server lost: %w", s.db.Err())
		case r := <-s.hand.requests:
			if err := s.handOver(ctx, r, s.stations.lately(time.Now())); err != nil {
				return err
			}
			// This daemon goes on, from a new look.
			s.stale = true
			s.observer.ForgetAll()
			s.soon(0)
		case <-s.db.Changed():
			s.auditor.forgetPorts()
			s.stale = true
			s.closeFirst()
			s.observer.ForgetAll()
			s.soon(0)
		case bridge := <-s.flowsChanged:
			s.churn[bridge] = true
			s.closeBridge(bridge)
			if s.mega.reach[bridge] {
				s.unsettle("an OpenFlow rule of " + bridge + " has changed")
			}
			s.observer.Forget(bridge)
			s.soon(s.churnPause())
		case <-s.linksChanged:
			s.auditor.forgetPorts()
			s.links = nil
			s.closeFirst()
			s.soon(0)
		case <-s.inbox.ready:
			now := time.Now()
			for _, e := range s.inbox.take() {
				s.sighted(e, now)
			}
		case <-s.inbox.noFlow:
			s.mega.ask(time.Now())
		case <-s.mega.retry.C:
			s.settle()
		case end := <-s.mega.settles:
			if err := s.settledNow(end); err != nil {
				return err
			}
		case <-s.inbox.losses:
			s.noteLosses(time.Now())
		case <-retry.C:
			s.retryLosses(time.Now())
		case <-tick.C:
			s.noteLosses(time.Now())
			s.retryLosses(time.Now())
			if s.auditor.soon(time.Now()) {
				s.audit()
			}
			if err := s.tick(ctx); err != nil {
				return err
			}
		case <-glance.C:
			if err := s.glance(ctx); err != nil {
				return err
			}
		case <-bondsDue:
			if err := s.glanceAtBonds(ctx); err != nil {
				return err
			}
		case <-timer.C:
			s.look()
		case p := <-s.results:
			if err := s.looked(p); err != nil {
				return err
			}
		case <-s.auditor.timer.C:
			s.audit()
		case a := <-s.auditor.answers:
			s.audited(a)
		}
	}
}

// tick reads what is cheap, asks for a look when it tells of a change, and
// renews the lease if OVS answered and looks come to an end.
func (s *session) tick(ctx context.Context) error {
	view := s.View()
	if !view.Open || s.prior != nil {
		s.soon(0)
		return nil
	}
	if err := s.stuck(time.Now()); err != nil {
		s.shut(err)
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
// and asks for a look when they changed, but for what inquiries have found. false means that OVS did not answer
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
	was := s.stats[bridge]
	if err == nil && stats == was {
		return true, nil
	}
	s.mega.ask(time.Now())
	if err != nil || stats != was.Plus(s.found[bridge]) {
		s.soon(0)
	}
	s.stats[bridge] = stats
	delete(s.found, bridge)
	return true, nil
}

// A database server that hangs must be noticed before the lane is open for
// longer than the lease on what was read from it.
const _ = uint(lease - ovsdb.NoticedWithin)

// closeFirst closes what a change of the database or of a device forbids,
// before OVS is asked for all the rest.
func (s *session) closeFirst() {
	if s.watching() { // the other daemon does
		s.unsettle("something has changed")
		return
	}
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
		b := &snap.Bridges[i]
		if d := details[b.UUID]; d != nil {
			newer := *d
			newer.Bonds = s.bonds[b.Name]
			b.Detail = &newer
		}
	}
	links, err := s.readLinks(time.Now())
	if err != nil {
		return
	}
	s.noteChanges(snap, links)
	have, _, err := s.in.have(true)
	if err != nil {
		return
	}
	result := plan.Build(snap, links, s.policy(snap))
	ops := slices.DeleteFunc(diff.Ops(have, result.Tables), func(o diff.Op) bool { return o.Kind > diff.DeleteRow })
	if out := s.in.apply(ops); out.err != nil {
		s.log.Warn("closing what a change forbids failed", "error", out.err)
	}
}
