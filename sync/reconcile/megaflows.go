// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/dpflow"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// megaflows is the part of a session that knows what OVS does with frames of
// bridges that use flows. It closes first and asks later: whatever may change what
// OVS does takes all flows out of use at once, and they are read again when OVS has
// revalidated its megaflows since. What changes unannounced (a station that moves to
// a port that the lane does not see, a group) is found by the next dump.
type megaflows struct {
	bridges []string                  // that use flows, by the last plan
	reach   map[string]bool           // those, and all that patch ports join to them
	rows    []ovs.Bridge              // of reach in the database, and devices of their
	devices map[string]device         // interfaces, when changes were last looked for
	flows   map[string][]dpflow.Flow  // of the last dump; nil: what OVS does is not known
	dumps   map[string]*dpflow.Reader // of each bridge; of the goroutine that reads OVS
	failed  error                     // why the last dump could not be read
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
	m := megaflows{dumps: make(map[string]*dpflow.Reader), settles: make(chan settlement), retry: time.NewTimer(time.Hour)}
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
