// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"maps"
	"sync"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/audit"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// Audit is what came of asking OVS about frames of a bridge. Answers that a
// change of the tables has overtaken do not count.
type Audit struct {
	// Asked counts answers, of which Agreed were what the lane does, Mismatches
	// something else, once or more often, and Unanswered not understood.
	Asked, Agreed, Mismatches, Unanswered uint64
	// Found is why the lane of the bridge is closed; nil when it is not.
	Found *Finding
}

// Finding is the evidence of a mismatch that has lasted.
type Finding struct {
	At time.Time
	// Detail says which frame, what the lane did with it and what OVS would do;
	// Trace is the text of ofproto/trace.
	Detail, Trace string
}

// maxEvidence bounds the text of a trace that is kept, in bytes.
const maxEvidence = 16 << 10

// auditBook holds the audits of bridges, by Bridge:name, also across sessions.
type auditBook struct {
	mu      sync.Mutex
	bridges map[string]Audit
	closed  map[string]string // the UUID of a bridge with a finding
	total   Audit             // also of bridges that are no more
}

// Audits returns the audits of all bridges so far, by Bridge:name.
func (d *Daemon) Audits() map[string]Audit {
	d.book.mu.Lock()
	defer d.book.mu.Unlock()
	return maps.Clone(d.book.bridges)
}

// AuditTotal adds up the counts of all bridges since the start.
func (d *Daemon) AuditTotal() Audit {
	d.book.mu.Lock()
	defer d.book.mu.Unlock()
	return d.book.total
}

// audits are the pages of an auditBook, for the daemon that takes over: that
// does not reopen a lane.
type audits struct {
	Bridges map[string]Audit
	Closed  map[string]string
	Total   Audit
}

func (b *auditBook) pages() audits {
	b.mu.Lock()
	defer b.mu.Unlock()
	return audits{Bridges: maps.Clone(b.bridges), Closed: maps.Clone(b.closed), Total: b.total}
}

func (b *auditBook) inherit(a audits) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.total = a.Total; a.Bridges != nil {
		b.bridges, b.closed = a.Bridges, a.Closed
	}
}

func (b *auditBook) update(bridge string, change func(*Audit)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bridges == nil {
		b.bridges, b.closed = make(map[string]Audit), make(map[string]string)
	}
	a := b.bridges[bridge]
	change(&a)
	b.bridges[bridge] = a
}

func (b *auditBook) count(bridge string, o audit.Outcome) {
	b.update(bridge, func(a *Audit) {
		a.count(o)
		b.total.count(o)
	})
}

func (a *Audit) count(o audit.Outcome) {
	a.Asked++
	switch o {
	case audit.Agrees:
		a.Agreed++
	case audit.Differs:
		a.Mismatches++
	case audit.Unclear:
		a.Unanswered++
	}
}

func (b *auditBook) close(bridge, uuid string, f Finding) {
	b.update(bridge, func(a *Audit) {
		a.Found = &f
		b.closed[bridge] = uuid
	})
}

// settle forgets bridges that are no more, and the findings of those that no
// longer ask for the lane, which it returns; closed tells of the findings left.
func (b *auditBook) settle(snap *ovs.Snapshot) (closed map[string]string, forgiven []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	there := make(map[string]*ovs.Bridge)
	for i := range snap.Bridges {
		there[snap.Bridges[i].Name] = &snap.Bridges[i]
	}
	closed = make(map[string]string)
	for name, a := range b.bridges {
		br := there[name]
		switch {
		case br == nil:
			delete(b.bridges, name)
			delete(b.closed, name)
		case a.Found == nil:
		case br.UUID == b.closed[name] && plan.Wanted(br):
			closed[name] = a.Found.Detail
		default:
			a.Found = nil
			b.bridges[name] = a
			delete(b.closed, name)
			forgiven = append(forgiven, name)
		}
	}
	return closed, forgiven
}

// policy is what the flags say, and which bridges the audit has closed.
func (d *Daemon) policy(snap *ovs.Snapshot) plan.Policy {
	p := d.cfg.Policy
	p.Compile = d.compiler.compile
	var forgiven []string
	p.Closed, forgiven = d.book.settle(snap)
	for _, name := range forgiven {
		d.log.Info("audit: the bridge may take the lane again", "bridge", name)
	}
	return p
}
