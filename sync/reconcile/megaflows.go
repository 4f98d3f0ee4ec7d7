// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/dpflow"
	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
	"github.com/ovs-xdp/ovs-xdp/sync/diff"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// megaflows is the part of a session that knows what OVS does with frames of
// bridges that use flows. It closes first and asks later: whatever may change what
// OVS does takes all flows out of use at once, and they are read again when OVS has
// revalidated its megaflows since. What changes unannounced (a station that moves to
// a port that the lane does not see, a group) is found by the next dump.
type megaflows struct {
	bridges []string                 // that use flows, by the last plan
	reach   map[string]bool          // those, and all that patch ports join to them
	flows   map[string][]dpflow.Flow // of the last dump; nil: what OVS does is not known
	failed  error                    // why the last dump could not be read
	// epoch counts what may have changed what OVS does. settled tells that OVS has
	// revalidated since, settling that this is being waited for.
	epoch             int
	settled, settling bool
	settles           chan settlement // where that ends
	retry             *time.Timer     // to the next attempt

	schedule // of dumps
}

// settlement is what came of waiting for OVS to revalidate.
type settlement struct {
	epoch int
	err   error
}

const (
	// settleLimit bounds the wait for OVS to revalidate: two rounds of its
	// revalidators.
	settleLimit = 10 * time.Second
	// settlePause is how long after a change OVS is asked: the database may have
	// told this daemon before ovs-vswitchd.
	settlePause = 100 * time.Millisecond
)

func newMegaflows() megaflows {
	m := megaflows{settles: make(chan settlement), retry: time.NewTimer(time.Hour)}
	m.retry.Stop()
	return m
}

// unsettle takes all flows out of use: OVS may do something else from now on.
func (s *session) unsettle(why string) {
	if s.mega.settled {
		s.log.Debug("flows are out of use until OVS has revalidated its megaflows", "reason", why)
	}
	s.mega.epoch++
	s.mega.flows, s.mega.settled = nil, false
	if !s.watching() {
		for _, p := range s.View().Result.Tables.Ports {
			if p.Rule.Flows {
				s.in.close(p.IfIndex)
			}
		}
	}
	s.mega.retry.Reset(settlePause)
}

// settle waits, beside the loop, until OVS has revalidated its megaflows.
func (s *session) settle() {
	if s.mega.settled || s.mega.settling || len(s.mega.bridges) == 0 {
		return
	}
	s.mega.settling = true
	end := settlement{epoch: s.mega.epoch}
	s.readers.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, settleLimit)
		defer cancel()
		end.err = s.revalidated(ctx)
		select {
		case s.mega.settles <- end:
		case <-s.done:
		}
	})
}

// revalidated returns when OVS has looked at each megaflow anew after all that it
// has been told so far. By the time that it answers a first command its main loop has
// been through what a change asks for (type_run in ofproto/ofproto-dpif.c), at the
// latest before a second. revalidator/wait, of OVS 2.1 and later, answers at the end
// of a round that may have begun before, so the end of the next one is waited for
// (udpif_run and udpif_revalidator in ofproto/ofproto-dpif-upcall.c).
func (s *session) revalidated(ctx context.Context) error {
	for _, command := range []string{"version", "revalidator/wait", "revalidator/wait"} {
		if _, err := s.Call(ctx, command); err != nil {
			return fmt.Errorf("wait for OVS to revalidate its megaflows: %w", err)
		}
	}
	return nil
}

// settledNow takes the end of a wait. It returns an error when the session must end.
func (s *session) settledNow(end settlement) error {
	s.mega.settling = false
	switch {
	case errors.Is(end.err, errRestarted):
		return end.err
	case end.epoch != s.mega.epoch:
		s.mega.retry.Reset(settlePause)
	case end.err != nil:
		s.noteFlowsFailed(end.err)
		s.mega.retry.Reset(dumpInterval)
	default:
		s.mega.settled, s.mega.due = true, time.Now()
	}
	return nil
}

// noteFlowsFailed says once why there are no flows.
func (s *session) noteFlowsFailed(err error) {
	if s.mega.failed == nil || s.mega.failed.Error() != err.Error() {
		s.log.Warn("bridges that use flows stay with OVS", "bridges", s.mega.bridges, "error", err)
	}
	s.mega.failed, s.mega.flows = err, nil
}

// nextDump is when megaflows are read next; zero: not before something is known.
func (m *megaflows) nextDump() time.Time {
	if !m.settled || len(m.bridges) == 0 {
		return time.Time{}
	}
	return m.due
}

// missing says why no megaflow is known, "" when what there is is.
func (m *megaflows) missing() string {
	switch {
	case len(m.bridges) == 0 || m.flows != nil:
		return ""
	case m.failed != nil:
		return m.failed.Error()
	}
	return "OVS may have changed what it does with frames, and is being asked"
}

// dump is what came of reading megaflows.
type dump struct {
	epoch int
	flows map[string][]dpflow.Flow
	ended time.Time
	took  time.Duration
	err   error
}

// readMegaflows reads those of bridges.
func (s *session) readMegaflows(ctx context.Context, bridges []string, epoch int) *dump {
	d := &dump{epoch: epoch, flows: make(map[string][]dpflow.Flow)}
	started := time.Now()
	for _, bridge := range bridges {
		text, err := s.Call(ctx, "dpif/dump-flows", "-m", "--names", bridge)
		if err == nil {
			d.flows[bridge], err = dpflow.Parse(text)
		}
		if err != nil {
			d.err = fmt.Errorf("read megaflows of %s: %w", bridge, err)
			break
		}
	}
	d.ended = time.Now()
	d.took = d.ended.Sub(started)
	return d
}

// takeDump takes a dump. false: it says nothing about what OVS does now.
func (s *session) takeDump(d *dump) bool {
	if d == nil || d.epoch != s.mega.epoch {
		return false
	}
	s.mega.dumped(d.ended, d.took)
	if d.err != nil {
		s.noteFlowsFailed(d.err)
		return false
	}
	s.mega.flows, s.mega.failed = d.flows, nil
	return true
}

// overtaken tells a step that needs a newer look at megaflows than there was.
func overtaken(o diff.Op, domains map[string]bool) bool {
	return o.Kind == diff.PutFlow || o.Kind == diff.PutRow && domains[o.Row.Bridge]
}

// flowDomains lists the domains whose stations are known by flows.
func flowDomains(t *plan.Tables) map[string]bool {
	domains := make(map[string]bool)
	for _, p := range t.Ports {
		if p.Rule.Flows {
			domains[p.Rule.InDomain()] = true
		}
	}
	return domains
}

// noteFlowBridges keeps which bridges use flows. true: they are others than before,
// and no flow is known.
func (s *session) noteFlowBridges(snap *ovs.Snapshot, result *plan.Result) bool {
	var bridges []string
	reach := make(map[string]bool)
	for _, b := range result.Bridges {
		unknown := b.Lane == "" && b.Mode != plan.Off && slices.Contains(s.mega.bridges, b.Name)
		if b.Lane != plan.FlowLane && !unknown {
			continue
		}
		bridges = append(bridges, b.Name)
		for name := range plan.Joined(snap, b.Name) {
			reach[name] = true
		}
	}
	if slices.Equal(bridges, s.mega.bridges) && maps.Equal(reach, s.mega.reach) {
		return false
	}
	s.mega.bridges, s.mega.reach = bridges, reach
	s.unsettle("other bridges use flows")
	s.soon(0) // to watch those that are new
	return true
}

// sighted takes an event. A station that is new in a domain of flows is found by
// those alone.
func (s *session) sighted(e bpf.Event, now time.Time) {
	if s.in.usesFlows(e.Bridge) {
		if s.mega.ask(now); !e.Moved {
			return
		}
	}
	s.stations.sighted(e, now)
}

// policy is what the flags say, what the audit has closed, and what OVS does.
func (s *session) policy(snap *ovs.Snapshot) plan.Policy {
	p := s.Daemon.policy(snap)
	p.Flows = s.mega.flows
	return p
}

// changedBehind tells whether the database or devices have changed in a way that may
// change what OVS does with frames of bridges that use flows.
func (s *session) changedBehind(snap *ovs.Snapshot, links map[string]plan.Link) bool {
	view := s.View()
	if len(s.mega.bridges) == 0 || view.Snapshot == nil {
		return false
	}
	was, now := rowsOf(view.Snapshot, s.mega.reach), rowsOf(snap, s.mega.reach)
	if !reflect.DeepEqual(was, now) {
		return true
	}
	for _, b := range now {
		for i := range b.Ports {
			for _, iface := range b.Ports[i].Interfaces {
				x, y := view.Links[iface.Name], links[iface.Name]
				if x.IfIndex != y.IfIndex || x.Up != y.Up || x.MTU != y.MTU {
					return true
				}
			}
		}
	}
	return false
}

// rowsOf gives the database part of some bridges.
func rowsOf(snap *ovs.Snapshot, of map[string]bool) []ovs.Bridge {
	var list []ovs.Bridge
	for _, b := range snap.Bridges {
		if of[b.Name] {
			b.Detail, b.DetailError = nil, ""
			list = append(list, b)
		}
	}
	return list
}

// Flows is what the operator asks for: the megaflows of a bridge, those that stay
// with OVS included.
func Flows(ctx context.Context, rundir, bridge string) ([]dpflow.Flow, error) {
	socket, _, err := unixctl.DaemonSocket(rundir, "ovs-vswitchd")
	if err != nil {
		return nil, err
	}
	text, err := (&unixctl.Client{Socket: socket}).Call(ctx, "dpif/dump-flows", "-m", "--names", bridge)
	if err != nil {
		return nil, err
	}
	return dpflow.Parse(text)
}
