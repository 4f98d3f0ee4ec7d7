// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"

	"github.com/ovs-xdp/ovs-xdp/ovs/ofctl"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// closeBridge lets all frames of a bridge pass until the next look.
func (s *session) closeBridge(bridge string) {
	if s.watching() {
		return // the other daemon does
	}
	for _, p := range s.View().Result.Tables.Ports {
		if p.Rule.Bridge == bridge {
			s.in.close(p.IfIndex)
		}
	}
}

// watchFlows has a monitor on every bridge that is wanted, or that patch ports join
// to one that uses flows; it returns why by Bridge:name where it can't.
func (s *session) watchFlows() (map[string]error, error) {
	snap, err := s.db.Read()
	if err != nil {
		return nil, err
	}
	failed := make(map[string]error)
	wanted := make(map[string]bool)
	for i := range snap.Bridges {
		b := &snap.Bridges[i]
		if !plan.Wanted(b) && !s.mega.reach[b.Name] {
			continue
		}
		wanted[b.Name] = true
		if m := s.monitors[b.Name]; m != nil {
			select {
			case <-m.Done():
				s.log.Warn("OpenFlow monitor ended", "bridge", b.Name, "error", m.Err())
				m.Close()
			default:
				continue
			}
		}
		m, err := s.of.Monitor(s.ctx, b.Name)
		if err != nil {
			failed[b.Name] = fmt.Errorf("watch OpenFlow rules of %s: %w", b.Name, err)
			delete(s.monitors, b.Name)
			s.soon(interval)
			continue
		}
		s.monitors[b.Name] = m
		s.observer.Forget(b.Name)
		s.watchers.Go(func() { s.forward(b.Name, m) })
	}
	for name, m := range s.monitors {
		if !wanted[name] {
			m.Close()
			delete(s.monitors, name)
		}
	}
	return failed, nil
}

// forward tells the loop what a monitor sees, until it ends.
func (s *session) forward(bridge string, m *ofctl.Monitor) {
	for ended := false; !ended; {
		select {
		case <-m.Done():
			ended = true
		case <-m.Changed():
		}
		select {
		case s.flowsChanged <- bridge:
		case <-s.done:
			return
		}
	}
}
