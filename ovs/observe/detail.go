// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/bond"
	"github.com/ovs-xdp/ovs-xdp/ovs/fdb"
	"github.com/ovs-xdp/ovs-xdp/ovs/flow"
	"github.com/ovs-xdp/ovs-xdp/ovs/stp"
	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
)

// openFlow is the part of a Detail that is kept between two Looks.
type openFlow struct {
	rules       []ovs.Rule
	hiddenRules int
	portConfig  map[uint32]ovs.PortConfig
	fragMode    string
}

// answer is what came of asking about one bridge: a detail or why there is
// none.
type answer struct {
	detail  *ovs.Detail
	failure string
}

// details asks about all bridges, some at a time, and returns the answers by
// bridge UUID. An error means that there is no use in asking further.
func (o *Observer) details(ctx context.Context, bridges []ovs.Bridge) (map[string]answer, error) {
	o.remember(bridges)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	answers := make([]answer, len(bridges))
	places := make(chan struct{}, concurrency)
	var asking sync.WaitGroup
	for i := range bridges {
		places <- struct{}{}
		asking.Go(func() {
			defer func() { <-places }()
			var err error
			answers[i], err = o.ask(ctx, &bridges[i])
			if err != nil {
				cancel(err)
			}
		})
	}
	asking.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	byUUID := make(map[string]answer, len(bridges))
	for i := range bridges {
		byUUID[bridges[i].UUID] = answers[i]
	}
	return byUUID, nil
}

// remember drops the memory of all other bridges and the OpenFlow part of
// those that changed in the database.
func (o *Observer) remember(bridges []ovs.Bridge) {
	o.mu.Lock()
	defer o.mu.Unlock()
	memories := make(map[string]memory, len(bridges))
	for _, b := range bridges {
		m, ok := o.memories[b.UUID]
		if !ok || !reflect.DeepEqual(m.row, b) {
			m = memory{row: b, changed: time.Now(), fragMode: m.fragMode}
		}
		memories[b.UUID] = m
	}
	o.memories = memories
}

// ask reads the Detail of one bridge. The error is not about the bridge: the
// control socket does not work.
func (o *Observer) ask(ctx context.Context, b *ovs.Bridge) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, bridgeTimeout)
	defer cancel()
	of, openFlowErr := o.openFlow(ctx, b)
	// Last, because nothing is as short-lived as the MAC table; and also when
	// OpenFlow failed, since this tells whether ovs-vswitchd is there at all.
	table, err := o.macTable(ctx, b)
	if err := errors.Join(openFlowErr, err); err != nil {
		return refused(err)
	}
	states, err := o.spanningTree(ctx, b)
	if err != nil {
		return refused(err)
	}
	bonds, err := o.bonds(ctx, b)
	if err != nil {
		return refused(err)
	}
	return answer{detail: &ovs.Detail{
		Rules:        of.rules,
		HiddenRules:  of.hiddenRules,
		FragMode:     of.fragMode,
		PortConfig:   of.portConfig,
		SpanningTree: states,
		Bonds:        bonds,
		FDB:          table,
	}}, nil
}

// macTable reads the MAC table of a bridge, or takes it from memory while its totals
// stay the same; those of a bridge that has just changed in the database are not
// remembered, since ovs-vswitchd may be about to number its ports anew.
func (o *Observer) macTable(ctx context.Context, b *ovs.Bridge) ([]ovs.FDBEntry, error) {
	started := time.Now()
	text, err := o.config.Control.Call(ctx, "fdb/stats-show", b.Name)
	if _, ok := errors.AsType[*unixctl.CommandError](err); err != nil && !ok {
		return nil, controlError(err)
	}
	var stats fdb.Stats
	if err == nil {
		stats, err = fdb.ParseStats(text)
	}
	totals := err == nil
	o.mu.Lock()
	kept, changed := o.memories[b.UUID].table, o.memories[b.UUID].changed
	o.mu.Unlock()
	if totals && kept != nil && kept.stats == stats && started.Sub(kept.read) < o.lasts {
		return kept.rows, nil
	}
	if text, err = o.config.Control.Call(ctx, "fdb/show", b.Name); err != nil {
		return nil, controlError(err)
	}
	rows, err := fdb.Parse(text)
	if err != nil {
		return nil, err
	}
	kept = nil
	if totals && started.Sub(changed) >= o.settle {
		kept = &macTable{stats: stats, rows: rows, read: started}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	m := o.memories[b.UUID]
	m.table = kept
	o.memories[b.UUID] = m
	return rows, nil
}

// spanningTree reads the states of the interfaces of a bridge with STP or
// RSTP. With both, which OVS does not allow, an interface in either counts.
func (o *Observer) spanningTree(ctx context.Context, b *ovs.Bridge) (map[string]string, error) {
	var all map[string]string
	for _, tree := range []struct {
		on      bool
		command string
	}{{b.STP, "stp/show"}, {b.RSTP, "rstp/show"}} {
		if !tree.on {
			continue
		}
		text, err := o.config.Control.Call(ctx, tree.command, b.Name)
		if err != nil {
			return nil, controlError(err)
		}
		states, err := stp.Parse(text)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = make(map[string]string)
		}
		for name, state := range states {
			if was := all[name]; ovs.SpanningTreeForwards(was) {
				all[name] = state
			}
		}
	}
	return all, nil
}

// bonds reads the state of the ports of several interfaces. ovs-vswitchd does
// not know one that was just added.
func (o *Observer) bonds(ctx context.Context, b *ovs.Bridge) (map[string]ovs.Bond, error) {
	var all map[string]ovs.Bond
	for i := range b.Ports {
		p := &b.Ports[i]
		if len(p.Interfaces) < 2 {
			continue
		}
		text, err := o.config.Control.Call(ctx, "bond/show", p.Name)
		if _, ok := errors.AsType[*unixctl.CommandError](err); ok {
			continue
		}
		if err != nil {
			return nil, controlError(err)
		}
		state, err := bond.Parse(text)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = make(map[string]ovs.Bond)
		}
		all[p.Name] = state
	}
	return all, nil
}

// unreachable is an error of the control socket itself.
type unreachable struct{ error }

func (e unreachable) Unwrap() error { return e.error }

// controlError tells a failed command, which is about one bridge, from
// everything else that can happen to a call.
func controlError(err error) error {
	if _, ok := errors.AsType[*unixctl.CommandError](err); ok {
		return err
	}
	return unreachable{err}
}

// refused returns err as what is wrong with the bridge, or as an error if it
// is about the control socket.
func refused(err error) (answer, error) {
	if u, ok := errors.AsType[unreachable](err); ok {
		return answer{}, u.error
	}
	return answer{failure: err.Error()}, nil
}

// openFlow returns the OpenFlow part of a bridge, from memory if possible.
func (o *Observer) openFlow(ctx context.Context, b *ovs.Bridge) (*openFlow, error) {
	o.mu.Lock()
	m, forgets := o.memories[b.UUID], o.forgets
	o.mu.Unlock()
	var err error
	if m.openFlow != nil {
		if !failsOpen(b) {
			return m.openFlow, nil
		}
		of := *m.openFlow
		of.hiddenRules, err = o.hiddenRules(ctx, b.Name)
		return &of, err
	}
	started := time.Now()
	of := &openFlow{}
	if of.rules, err = o.config.OpenFlow.Rules(ctx, b.Name); err != nil {
		return nil, err
	}
	if of.portConfig, err = o.config.OpenFlow.PortConfig(ctx, b.Name); err != nil {
		return nil, err
	}
	of.fragMode = m.fragMode
	if of.fragMode == "" {
		if of.fragMode, err = o.config.OpenFlow.FragMode(ctx, b.Name); err != nil {
			return nil, err
		}
	}
	if of.hiddenRules, err = o.hiddenRules(ctx, b.Name); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.forgets == forgets {
		m.fragMode = of.fragMode
		if started.Sub(m.changed) >= o.settle {
			m.openFlow = of
		}
		o.memories[b.UUID] = m
	}
	return of, nil
}

// failsOpen reports whether ovs-vswitchd adds a rule that is NORMAL for every
// frame when the bridge's controllers are silent for long, and takes it back
// when one answers. Nothing tells when it does, so hidden rules of such
// bridges are counted at every Look.
func failsOpen(b *ovs.Bridge) bool {
	return len(b.Controllers) > 0 && b.FailMode == "standalone"
}

// hiddenRules counts the rules of table 0 that ovs-vswitchd has made for
// in-band control or fail-open, which no OpenFlow message shows.
func (o *Observer) hiddenRules(ctx context.Context, bridge string) (int, error) {
	text, err := o.config.Control.Call(ctx, "bridge/dump-flows", bridge)
	if err != nil {
		return 0, controlError(err)
	}
	rules, err := flow.ParseHidden(text)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, r := range rules {
		if r.Table == 0 && flow.Hidden(r) {
			n++
		}
	}
	return n, nil
}
