// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/trace"
	"github.com/ovs-xdp/ovs-xdp/sync/audit"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// auditor is the part of a session that asks OVS what it would do with a frame,
// beside the loop and one frame after the other, and compares the answer with
// the tables in the kernel. All but the asking is done by the loop.
type auditor struct {
	interval time.Duration
	rand     *rand.Rand
	timer    *time.Timer
	due      time.Time // of the timer, if it runs
	asking   bool      // a question is under way
	answers  chan answer
	suspect  *audit.Suspicion // the pair that is being followed; nil for none
	struck   time.Time        // when OVS last answered differently about it
	silent   bool             // it was said that an answer was not understood
	// ports are those of a bridge's datapath as OVS has listed them since they
	// last changed, by Bridge:name; without, it has to be asked.
	ports   map[string][]trace.Port
	changes int // of ports
}

// forgetPorts has OVS asked again for the ports of the datapath.
func (a *auditor) forgetPorts() {
	clear(a.ports)
	a.changes++
}

// again has the timer fire after d.
func (a *auditor) again(d time.Duration) {
	a.timer.Reset(d)
	a.due = time.Now().Add(d)
}

// soon tells that OVS may as well be asked now, when it is asked something else:
// each time that ovs-vswitchd wakes costs it more than a question.
func (a *auditor) soon(now time.Time) bool {
	return a.suspect == nil && !a.due.IsZero() && a.due.Sub(now) < interval/10
}

// answer is what came of asking.
type answer struct {
	question audit.Question
	audit.Answer
	text string // of ofproto/trace
	err  error
	// changes is auditor.changes when it was asked.
	changes int
}

func newAuditor(interval time.Duration) *auditor {
	a := &auditor{interval: interval, answers: make(chan answer), ports: make(map[string][]trace.Port), timer: time.NewTimer(interval),
		rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
	if interval == 0 {
		a.timer.Stop()
	} else {
		a.again(interval)
	}
	return a
}

// audit asks about a pair of stations, the suspect one if there is one.
func (s *session) audit() {
	au := s.auditor
	au.again(au.interval)
	if au.asking || !s.View().Open {
		return
	}
	var q audit.Question
	if au.suspect != nil {
		au.again(audit.Again)
		q = au.suspect.Question
		t := s.in.pair(q)
		switch au.suspect.Due(audit.Verdict(&t, q)) {
		case audit.Wait:
			return
		case audit.Drop:
			s.dropSuspicion()
			return
		}
	} else {
		t := s.in.sample(au.rand)
		var ok bool
		if q, ok = audit.Choose(&t, au.rand); !ok {
			return
		}
	}
	au.asking = true
	a := answer{question: q, changes: au.changes}
	a.Ports = au.ports[q.Bridge]
	a.Bonds = s.bondsByRecirc(q.Bridge)
	s.readers.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, lookTimeout)
		defer cancel()
		a.err = s.ask(ctx, &a)
		select {
		case au.answers <- a:
		case <-s.done:
		}
	})
}

// ask fills in what OVS says of the frame. Without a packet ofproto/trace neither
// learns nor counts nor sends anything.
func (s *session) ask(ctx context.Context, a *answer) error {
	q := a.question
	if a.Ports == nil { // a list of all ports, which takes OVS longer than the trace
		text, err := s.Call(ctx, "dpif/show")
		if err != nil {
			return err
		}
		if a.Ports, err = trace.ParsePorts(text, q.Bridge); err != nil {
			return err
		}
	}
	flow := trace.Flow{VLAN: q.Frame.VID, Src: q.Frame.Src, Dst: q.Frame.Dst}
	for _, p := range a.Ports {
		if p.Bridge == q.Bridge && p.Name == q.From {
			flow.InPort = p.OFPort
		}
	}
	if flow.InPort == 0 {
		return fmt.Errorf("ask OVS about a frame: dpif/show does not list %s on %s", q.From, q.Bridge)
	}
	var err error
	if a.text, err = s.Call(ctx, "ofproto/trace", q.Bridge, flow.String()); err != nil {
		return err
	}
	a.Trace, err = trace.Parse(a.text)
	return err
}

// audited judges an answer. One that a change of the tables has overtaken says
// nothing.
func (s *session) audited(a answer) {
	au := s.auditor
	au.asking = false
	q := a.question
	if a.changes == au.changes {
		au.ports[q.Bridge] = a.Ports
	}
	t := s.in.pair(q)
	if s.ctx.Err() != nil || audit.Verdict(&t, q) != q.Verdict {
		return
	}
	outcome, said := audit.Unclear, ""
	if a.err != nil {
		said = a.err.Error()
	} else {
		outcome, said = audit.Judge(&t, q, a.Answer)
	}
	s.book.count(q.Bridge, outcome)
	if outcome != audit.Agrees {
		au.forgetPorts()
	}
	if outcome == audit.Unclear && !au.silent {
		au.silent = true
		s.log.Warn("audit: OVS was asked about a frame, and its answer is not understood", "bridge", q.Bridge, "from", q.From, "answer", said)
	}
	now := time.Now()
	if au.suspect == nil {
		if outcome != audit.Differs {
			return
		}
		s.log.Debug("audit: OVS would do something else: asking again", "bridge", q.Bridge, "lane", q.Describe(&t), "ovs", said)
		view := s.View()
		au.suspect = audit.Suspect(q, &view.Result.Tables, now)
	} else if lasted, goOn := au.suspect.Answered(outcome, now); lasted {
		s.condemn(q.Bridge, fmt.Sprintf("%s, OVS %s", q.Describe(&t), said), a.text, now)
		return
	} else if !goOn {
		s.dropSuspicion()
		return
	}
	au.again(audit.Again)
	if outcome == audit.Differs {
		// Everything is read again, as if OVS had announced a change.
		au.struck = now
		s.observer.Forget(q.Bridge)
		s.links = nil
		s.mega.due = now
		s.soon(0)
	}
}

// reviewSuspicion tells the suspicion of a look, with megaflows or without.
func (s *session) reviewSuspicion(planned *plan.Tables, started time.Time, dumped bool) {
	au := s.auditor
	if au.suspect == nil || !started.After(au.struck) || au.suspect.Question.Domain != "" && !dumped {
		return
	}
	if au.suspect.Looked(planned) {
		au.again(audit.Again)
	} else {
		s.forgetSuspicion()
	}
}

// dropSuspicion ends a suspicion that has not lasted although nothing changed.
func (s *session) dropSuspicion() {
	if q := s.auditor.suspect.Question; s.auditor.suspect.Repaired {
		s.log.Warn("audit: a row in the kernel was not as planned, and OVS would have done something else; it has been put right",
			"bridge", q.Bridge, "vlan", q.VLAN, "source", q.Frame.Src, "destination", q.Frame.Dst)
	}
	s.forgetSuspicion()
}

func (s *session) forgetSuspicion() {
	s.auditor.suspect = nil
	s.auditor.again(s.auditor.interval)
}

// condemn closes the lane of a bridge for good: its tables are wrong in a way
// that the daemon does not understand.
func (s *session) condemn(bridge, detail, text string, now time.Time) {
	s.forgetSuspicion()
	view := s.View()
	for i := range view.Snapshot.Bridges {
		if b := &view.Snapshot.Bridges[i]; b.Name == bridge {
			s.book.close(bridge, b.UUID, Finding{At: now, Detail: detail, Trace: text[:min(len(text), maxEvidence)]})
		}
	}
	s.log.Error("audit: the lane of the bridge is closed, since OVS would do something else (see offload/show)", "bridge", bridge, "found", detail)
	s.closeBridge(bridge)
	if s.mega.reach[bridge] {
		s.unsettle("the audit has closed " + bridge)
	}
	s.soon(0)
}

// bondsByRecirc tells the bonds of a bridge by their recirculation id, as the
// device that rows of their stations name.
func (s *session) bondsByRecirc(bridge string) map[uint32]int {
	bonds := make(map[uint32]int)
	for _, b := range s.bonds[bridge] {
		for _, p := range s.in.ports {
			if _, member := b.Enabled[p.Name]; member && b.Recirc != 0 && p.Rule.Bridge == bridge && p.Rule.Bundle != 0 {
				bonds[b.Recirc] = p.Rule.Bundle
			}
		}
	}
	return bonds
}

// Of each bridge, sample takes so many stations, and beside them so many of each of
// their VLANs.
const (
	sampleSources = 16
	sampleVLAN    = 32
	// sampleFlows is of all bridges.
	sampleFlows = 64
)

// sample reads some rows of each bridge back, in no order, beside the ports as they
// were last written: all rows of a large table each second would be most of what
// the daemon does.
func (in *installer) sample(r *rand.Rand) plan.Tables {
	t, names := in.writtenTables(), in.names()
	start := r.Uint32()
	domain := func(row bpf.Row) int { return int(row.Bridge)<<12 | int(row.VLAN) }
	var sources [bpf.MaxBridges + 1]int
	vlans := make([]int8, len(sources)<<12) // how many are still to be taken
	bridges, left := len(in.numbers), 0
	for row := range in.lane.EachRow(start) {
		if sources[row.Bridge] == sampleSources {
			continue
		}
		if sources[row.Bridge]++; vlans[domain(row)] == 0 {
			vlans[domain(row)] = sampleVLAN
			left++
		}
		if sources[row.Bridge] == sampleSources {
			if bridges--; bridges == 0 {
				break
			}
		}
	}
	for row := range in.lane.EachRow(start) {
		if left == 0 {
			break
		}
		if vlans[domain(row)] > 0 {
			if vlans[domain(row)]--; vlans[domain(row)] == 0 {
				left--
			}
			t.Rows = append(t.Rows, rowOf(row, names))
		}
	}
	in.sampleFlows(&t, names)
	return t
}

// sampleFlows adds some flows, and the rows of their stations, as they are in the
// kernel.
func (in *installer) sampleFlows(t *plan.Tables, names map[uint8]string) {
	for k := range in.flows { // in random order
		f, port := in.lane.FindFlow(classOf(k)), t.Port(k.IfIndex)
		if f == nil || port == nil {
			continue
		}
		t.Flows = append(t.Flows, flowOf(*f))
		for _, mac := range []ovs.MAC{k.Src, k.Dst} {
			if r := in.lane.FindRow(in.key(plan.Key{Bridge: port.Rule.InDomain(), MAC: mac})); r != nil {
				t.Rows = append(t.Rows, rowOf(*r, names))
			}
		}
		if len(t.Flows) == sampleFlows {
			return
		}
	}
}

// pair is sample for the stations of a question alone.
func (in *installer) pair(q audit.Question) plan.Tables {
	t, names := in.writtenTables(), in.names()
	number, ok := in.numbers[q.Source().Bridge]
	if !ok {
		return t
	}
	if f := in.lane.FindFlow(classOf(q.Class())); f != nil && q.Domain != "" {
		t.Flows = append(t.Flows, flowOf(*f))
	}
	for _, k := range []plan.Key{q.Source(), q.Destination()} {
		if r := in.lane.FindRow(bpf.Key{Bridge: number, VLAN: k.VLAN, MAC: k.MAC}); r != nil {
			t.Rows = append(t.Rows, rowOf(*r, names))
		}
	}
	return t
}

func (in *installer) writtenTables() plan.Tables {
	t := plan.Tables{Ports: in.written()}
	for _, l := range in.lists {
		t.Lists = append(t.Lists, l.List)
	}
	t.Sort()
	return t
}
