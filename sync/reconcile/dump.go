// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs/dpflow"
	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
	"github.com/ovs-xdp/ovs-xdp/sync/diff"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// dump is what came of reading megaflows.
type dump struct {
	epoch int
	flows map[string][]dpflow.Flow
	ended time.Time
	took  time.Duration
	err   error
}

// maxMegaflows is how many there may be for them to be read. A dump keeps the main
// thread of ovs-vswitchd for about 6 µs each (BenchmarkDump of ovs/dpflow): in the
// userspace datapath without PMD threads that thread forwards, too, and a guest that
// shows new addresses all the time must not cost the others frames.
const maxMegaflows = 20000

// errTooMany is why they are not read.
var errTooMany = fmt.Errorf("OVS has more than %d megaflows: reading them would keep it from its work for too long", maxMegaflows)

// readMegaflows reads those of bridges. There is one such call at a time.
func (s *session) readMegaflows(ctx context.Context, bridges []string, epoch int) *dump {
	d := &dump{epoch: epoch, flows: make(map[string][]dpflow.Flow)}
	started := time.Now()
	maps.DeleteFunc(s.mega.dumps, func(bridge string, _ *dpflow.Reader) bool { return !slices.Contains(bridges, bridge) })
	if d.err = s.fewMegaflows(ctx); d.err != nil {
		bridges = nil
	}
	for _, bridge := range bridges {
		if s.mega.dumps[bridge] == nil {
			s.mega.dumps[bridge] = new(dpflow.Reader)
		}
		text, err := s.Call(ctx, "dpif/dump-flows", "-m", "--names", bridge)
		if err == nil {
			d.flows[bridge], err = s.mega.dumps[bridge].Parse(text)
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

// fewMegaflows returns errTooMany when there are.
func (s *session) fewMegaflows(ctx context.Context) error {
	text, err := s.Call(ctx, "upcall/show")
	if err != nil {
		return fmt.Errorf("count megaflows: %w", err)
	}
	n, err := dpflow.Count(text)
	if err == nil && n > maxMegaflows {
		err = errTooMany
	}
	return err
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
