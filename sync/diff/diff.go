// SPDX-License-Identifier: Apache-2.0

// Package diff orders the steps that turn the tables the kernel has into the
// tables it should have.
//
// The package is pure. Every prefix of its steps is safe: a frame is treated
// as before, or as it should be, or passes; and all that was wrong is closed
// before anything new is opened. So applying may stop anywhere, and a device
// is in the devmap before a row points at it.
package diff

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// Op is one step. What is large of it is shared with the tables, since there
// may be a step for each of 100,000 rows.
type Op struct {
	Kind Kind
	// Port is the port of ClosePort, RemovePort, AddPort and SetRule, an empty one
	// in other steps.
	Port *plan.Port
	// Row is the row of MarkRow, DeleteRow and PutRow.
	Row plan.Row
	// Flow is the flow of DeleteFlow and PutFlow, an empty one in other steps.
	Flow *plan.Flow
	// List is the list of DeleteList and PutList, an empty one in other steps.
	List *plan.List
}

var (
	noPort plan.Port
	noFlow plan.Flow
	noList plan.List
)

// Kind is what a step does.
type Kind int

// The kinds of steps, in the order in which they come.
const (
	// ClosePort lets frames from the port pass, and sends none to it.
	ClosePort Kind = iota
	// DeleteFlow takes a flow out: its frames pass.
	DeleteFlow
	// MarkRow lets frames from and to the station pass.
	MarkRow
	// DeleteRow takes a row out.
	DeleteRow
	// RemovePort takes a port off the lane.
	RemovePort
	// DeleteList takes a list out. Ports that it decides for are closed.
	DeleteList
	// AddPort puts a port on the lane, closed.
	AddPort
	// PutList writes a list.
	PutList
	// SetRule gives a port its rule.
	SetRule
	// PutRow writes a row, unmarked.
	PutRow
	// PutFlow writes a flow that is not there, or has another interval.
	PutFlow
)

// String returns the step for logs.
func (o Op) String() string {
	names := [...]string{"close port", "delete flow", "mark row", "delete row", "remove port", "delete list", "add port", "put list", "set rule", "put row", "put flow"}
	switch o.Kind {
	case DeleteList, PutList:
		return fmt.Sprintf("%s %s", names[o.Kind], o.List.Key)
	case DeleteFlow, PutFlow:
		return fmt.Sprintf("%s %s", names[o.Kind], o.Flow.FlowKey)
	case MarkRow, DeleteRow, PutRow:
		return fmt.Sprintf("%s %s VLAN %d %s", names[o.Kind], o.Row.Bridge, o.Row.VLAN, o.Row.MAC)
	}
	return fmt.Sprintf("%s %s", names[o.Kind], o.Port.Name)
}

// Ops returns the steps from have to want. Both must be sorted (Tables.Sort).
// A port of have whose device is gone must be left out of have.Ports with its
// rows, or be given as gone.
func Ops(have, want plan.Tables) []Op {
	var steps [PutFlow + 1][]Op
	add := func(o Op) {
		o.Port, o.Flow, o.List = cmp.Or(o.Port, &noPort), cmp.Or(o.Flow, &noFlow), cmp.Or(o.List, &noList)
		steps[o.Kind] = append(steps[o.Kind], o)
	}

	// stays tells that rows may go on pointing at a device.
	stays := make(map[int]bool)
	for i := range have.Ports {
		h := &have.Ports[i]
		w := want.Port(h.IfIndex)
		switch {
		case w == nil || w.Mode != h.Mode || w.SetOffloads != h.SetOffloads:
			add(Op{Kind: ClosePort, Port: h})
			add(Op{Kind: RemovePort, Port: h})
		case w.Rule != h.Rule || w.Name != h.Name:
			add(Op{Kind: ClosePort, Port: h})
			add(Op{Kind: SetRule, Port: w})
			stays[h.IfIndex] = true
		default:
			stays[h.IfIndex] = true
		}
	}
	for i := range want.Ports {
		if w := &want.Ports[i]; !stays[w.IfIndex] {
			add(Op{Kind: AddPort, Port: w})
			add(Op{Kind: SetRule, Port: w})
		}
	}
	// Both are sorted: they are walked through side by side.
	rows := want.Rows
	for _, h := range have.Rows {
		for len(rows) > 0 && rows[0].Compare(h.Key) < 0 {
			add(Op{Kind: PutRow, Row: rows[0]})
			rows = rows[1:]
		}
		var w *plan.Row
		if len(rows) > 0 && rows[0].Key == h.Key {
			w, rows = &rows[0], rows[1:]
		}
		switch {
		case w == nil || !stays[h.IfIndex]:
			add(Op{Kind: DeleteRow, Row: h})
			if w != nil {
				add(Op{Kind: PutRow, Row: *w})
			}
		case *w == h:
		case h.Moved:
			add(Op{Kind: PutRow, Row: *w})
		default:
			add(Op{Kind: MarkRow, Row: h})
			add(Op{Kind: PutRow, Row: *w})
		}
	}
	for _, w := range rows {
		add(Op{Kind: PutRow, Row: w})
	}
	for i := range have.Lists {
		h := &have.Lists[i]
		if w := want.List(h.Key); w == nil || w.Digest != h.Digest {
			add(Op{Kind: DeleteList, List: h})
		}
	}
	for i := range want.Lists {
		w := &want.Lists[i]
		if h := have.List(w.Key); h == nil || h.Digest != w.Digest {
			add(Op{Kind: PutList, List: w})
		}
	}
	flows := want.Flows
	for i := range have.Flows {
		h := &have.Flows[i]
		for len(flows) > 0 && flows[0].Compare(h.FlowKey) < 0 {
			add(Op{Kind: PutFlow, Flow: &flows[0]})
			flows = flows[1:]
		}
		var w *plan.Flow
		if len(flows) > 0 && flows[0].FlowKey == h.FlowKey {
			w, flows = &flows[0], flows[1:]
		}
		moves := w == nil || !stays[h.IfIndex] || !stays[h.Egress]
		if !moves { // another interval alone changes nothing that a frame meets
			ages := *h
			ages.KeepAlive = w.KeepAlive
			moves = *w != ages
		}
		if moves {
			add(Op{Kind: DeleteFlow, Flow: h})
		}
		if w != nil && (moves || *w != *h) {
			add(Op{Kind: PutFlow, Flow: w})
		}
	}
	for i := range flows {
		add(Op{Kind: PutFlow, Flow: &flows[i]})
	}
	return slices.Concat(steps[:]...)
}

// Apply returns the tables after one step. It is what the steps mean; the
// kernel's side is in bpf.
func Apply(t plan.Tables, o Op) plan.Tables {
	next := plan.Tables{}
	for _, p := range t.Ports {
		if p.IfIndex == o.Port.IfIndex {
			switch o.Kind {
			case RemovePort, AddPort:
				continue
			case ClosePort:
				p.Rule = plan.Rule{}
			case SetRule:
				p.Name, p.Rule = o.Port.Name, o.Port.Rule
			}
		}
		next.Ports = append(next.Ports, p)
	}
	if o.Kind == AddPort {
		p := *o.Port
		p.Rule = plan.Rule{}
		next.Ports = append(next.Ports, p)
	}
	for _, r := range t.Rows {
		if r.Key == o.Row.Key {
			switch o.Kind {
			case DeleteRow, PutRow:
				continue
			case MarkRow:
				r.Moved = true
			}
		}
		next.Rows = append(next.Rows, r)
	}
	if o.Kind == PutRow {
		next.Rows = append(next.Rows, o.Row)
	}
	for _, f := range t.Flows {
		if gone := o.Kind == RemovePort && (f.IfIndex == o.Port.IfIndex || f.Egress == o.Port.IfIndex); f.FlowKey != o.Flow.FlowKey && !gone {
			next.Flows = append(next.Flows, f)
		}
	}
	if o.Kind == PutFlow {
		next.Flows = append(next.Flows, *o.Flow)
	}
	for _, l := range t.Lists {
		if l.Key != o.List.Key {
			next.Lists = append(next.Lists, l)
		}
	}
	if o.Kind == PutList {
		next.Lists = append(next.Lists, *o.List)
	}
	next.Sort()
	return next
}
