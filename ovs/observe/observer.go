// SPDX-License-Identifier: Apache-2.0

// Package observe joins what the sources say about Open vSwitch into one
// ovs.Snapshot, or says why it can't.
//
// Look reads the database, then asks ovs-vswitchd about the wanted bridges,
// then reads the database again: if a wanted bridge changed meanwhile, it
// starts over, so that all of a Snapshot was true together. A bridge that
// can't be asked about carries a DetailError; without a database or a control
// socket there is no Snapshot at all.
//
// The MAC table is read when its totals say that it has changed, and once a minute
// whatever they say: as text it costs ovs-vswitchd, and all that waits for it, time
// for each of its rows. The OpenFlow part is kept until Forget,
// since nothing but a flow monitor can tell that it changed; listening to one
// is the caller's affair, and so is telling one ovs-vswitchd from the next. The
// package judges nothing: an FDB row of an unknown port stays in the Snapshot.
package observe

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/fdb"
	"github.com/ovs-xdp/ovs-xdp/ovs/ovsdb"
)

// Database is the Open_vSwitch database; *ovsdb.Session is one.
type Database interface {
	// Read returns the database part of a Snapshot, of which the caller may keep
	// everything, and change Bridges but nothing below. An error that wraps ovsdb.ErrTorn is worth
	// another try.
	Read() (*ovs.Snapshot, error)
}

// Control is ovs-vswitchd's control socket; *unixctl.Client is one.
type Control interface {
	// Call runs a command. An error that is not a *unixctl.CommandError
	// means that ovs-vswitchd could not be asked.
	Call(ctx context.Context, method string, args ...string) (string, error)
}

// OpenFlow asks bridges over OpenFlow; *ofctl.Client is one.
type OpenFlow interface {
	// Rules returns the rules of all tables.
	Rules(ctx context.Context, bridge string) ([]ovs.Rule, error)
	// PortConfig returns the config bits by OpenFlow port number.
	PortConfig(ctx context.Context, bridge string) (map[uint32]ovs.PortConfig, error)
	// FragMode returns "normal", "drop", "reassemble" or "nx-match".
	FragMode(ctx context.Context, bridge string) (string, error)
}

// Config holds the sources of one Open vSwitch instance. All but Want are
// needed.
type Config struct {
	Database Database
	Control  Control
	OpenFlow OpenFlow
	// Want says whether to fill a bridge's Detail; nil means every bridge's.
	// It is called with the database part of a bridge and must depend on
	// nothing else.
	Want func(*ovs.Bridge) bool
}

const (
	tornAttempts  = 5
	tornPause     = 20 * time.Millisecond
	lookAttempts  = 5
	concurrency   = 4 // bridges asked at the same time
	bridgeTimeout = 5 * time.Second
	// settleTime is how long after a change of a bridge in the database its
	// OpenFlow part is read anew at every Look: ovs-vswitchd needs a moment
	// to do what the database says.
	settleTime = 2 * time.Second
	// tableLasts is how long a MAC table is kept whose totals stay the same.
	tableLasts = time.Minute
)

// Observer looks at one Open vSwitch instance. Its methods may be called from
// several goroutines; one Look waits for the other.
type Observer struct {
	config Config
	settle time.Duration
	lasts  time.Duration

	looking sync.Mutex // held by Look

	mu       sync.Mutex
	memories map[string]memory // by bridge UUID
	forgets  int               // counts Forget and ForgetAll
}

// memory is what is kept of a wanted bridge between two Looks.
type memory struct {
	row      ovs.Bridge // without Detail
	changed  time.Time  // when row was first seen
	openFlow *openFlow  // nil if it has to be read
	// fragMode is kept also while the bridge settles, since nothing in the
	// database changes it; "" if it has to be read.
	fragMode string
	table    *macTable // nil if it has to be read
}

// macTable is a MAC table and the totals of the time before it was read: while they
// stay the same, so has the table since then.
type macTable struct {
	stats fdb.Stats
	rows  []ovs.FDBEntry
	read  time.Time
}

// New returns an Observer that has not looked yet.
func New(c Config) *Observer {
	if c.Want == nil {
		c.Want = func(*ovs.Bridge) bool { return true }
	}
	return &Observer{config: c, settle: settleTime, lasts: tableLasts, memories: map[string]memory{}}
}

// Forget makes the next Look read the OpenFlow part of the bridge anew. A
// bridge that is not known is no error.
func (o *Observer) Forget(bridge string) {
	o.forget(func(name string) bool { return name == bridge })
}

// ForgetAll makes the next Look read the OpenFlow part of all bridges anew.
func (o *Observer) ForgetAll() {
	o.forget(func(string) bool { return true })
}

func (o *Observer) forget(match func(name string) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.forgets++ // what a Look under way has read is old already
	for uuid, m := range o.memories {
		if match(m.row.Name) {
			m.openFlow, m.fragMode = nil, ""
			o.memories[uuid] = m
		}
	}
}

// Look returns the state of the instance. The caller may keep it, and change
// Bridges, but nothing below, which Snapshots share.
//
// It is an error if the database can't be read, if ovs-vswitchd can't be
// asked, if ctx ends, or if wanted bridges change faster than they can be
// looked at. Anything else that goes wrong with one bridge is its DetailError.
func (o *Observer) Look(ctx context.Context) (*ovs.Snapshot, error) {
	o.looking.Lock()
	defer o.looking.Unlock()
	before, err := o.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("observe: %w", err)
	}
	for range lookAttempts {
		details, err := o.details(ctx, o.wanted(before))
		if err != nil {
			return nil, fmt.Errorf("observe: %w", err)
		}
		after, err := o.read(ctx)
		if err != nil {
			return nil, fmt.Errorf("observe: %w", err)
		}
		if !o.same(before, after) {
			before = after
			continue
		}
		for i := range after.Bridges {
			b := &after.Bridges[i]
			if d, ok := details[b.UUID]; ok {
				b.Detail, b.DetailError = d.detail, d.failure
			}
		}
		return after, nil
	}
	return nil, fmt.Errorf("observe: bridges changed during each of %d attempts", lookAttempts)
}

// read reads the database, again if it is torn.
func (o *Observer) read(ctx context.Context) (*ovs.Snapshot, error) {
	for attempt := 1; ; attempt++ {
		snap, err := o.config.Database.Read()
		if !errors.Is(err, ovsdb.ErrTorn) || attempt == tornAttempts {
			return snap, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(tornPause):
		}
	}
}

// wanted returns the bridges whose Detail is asked for.
func (o *Observer) wanted(snap *ovs.Snapshot) []ovs.Bridge {
	var bs []ovs.Bridge
	for i := range snap.Bridges {
		if o.config.Want(&snap.Bridges[i]) {
			bs = append(bs, snap.Bridges[i])
		}
	}
	return bs
}

// same reports whether nothing changed that Details depend on.
func (o *Observer) same(a, b *ovs.Snapshot) bool {
	return a.FlowRestoreWait == b.FlowRestoreWait && a.HWOffload == b.HWOffload && a.MaxIdle == b.MaxIdle &&
		reflect.DeepEqual(o.wanted(a), o.wanted(b))
}
