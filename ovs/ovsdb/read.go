// SPDX-License-Identifier: Apache-2.0

package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// ErrTorn means that no complete picture of one moment was to be had: the
// rows kept changing, or one refers to a row that was not read. Reading again
// helps.
var ErrTorn = errors.New("database picture is torn")

const readAttempts = 10

// content is everything that was read, each table by UUID.
type content struct {
	switches    map[string]switchRow
	bridges     map[string]bridgeRow
	ports       map[string]portRow
	interfaces  map[string]interfaceRow
	mirrors     map[string]mirrorRow
	controllers map[string]controllerRow
	flowSamples map[string]flowSampleRow
}

// Read returns the database part of a Snapshot: Detail is nil in every
// bridge. The caller may set what is in Snapshot.Bridges, but nothing below: ports
// and maps are shared by Snapshots between which nothing has changed. It holds every change that was committed before the call. Without a
// row in the Open_vSwitch table (before "ovs-vsctl init") the Snapshot is
// empty. The error wraps ErrTorn when the database changes too fast or a
// reference dangles; any other error means that the session is at its end.
func (s *Session) Read() (*ovs.Snapshot, error) {
	ctx, cancel := context.WithTimeout(s.ctx, readTimeout)
	defer cancel()
	p, err := s.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("read database: %w", err)
	}
	if snap := s.joined(p); snap != nil {
		return snap, nil
	}
	c := content{
		switches:    rowsOf[switchRow](p, "Open_vSwitch"),
		bridges:     rowsOf[bridgeRow](p, "Bridge"),
		ports:       rowsOf[portRow](p, "Port"),
		interfaces:  rowsOf[interfaceRow](p, "Interface"),
		mirrors:     rowsOf[mirrorRow](p, "Mirror"),
		controllers: rowsOf[controllerRow](p, "Controller"),
		flowSamples: rowsOf[flowSampleRow](p, "Flow_Sample_Collector_Set"),
	}
	snap, err := c.join()
	if err != nil {
		return nil, fmt.Errorf("read database: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.lastSnap = p, snap
	return copyOf(snap), nil
}

// joined returns the Snapshot of a picture that was the last one already, nil of
// another: joining the rows of 500 ports takes longer than asking for them.
func (s *Session) joined(p picture) *ovs.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastSnap == nil || !p.equal(s.last) {
		return nil
	}
	return copyOf(s.lastSnap)
}

func copyOf(s *ovs.Snapshot) *ovs.Snapshot {
	c := *s
	c.Bridges = slices.Clone(s.Bridges)
	return &c
}

// read takes a picture of one moment out of libovsdb's rows, which change
// one by one while an update is applied, also between two lists.
//
// The server's messages arrive in order and libovsdb applies an update before
// it reads the next message. So when the answer to an echo is here, every
// update that was under way when the picture was taken is complete, and every
// change committed before the echo has arrived. A picture that is the same
// before and after is therefore neither torn nor late.
func (s *Session) read(ctx context.Context) (picture, error) {
	before := picked(s.cache)
	for range readAttempts {
		if err := s.client.Echo(ctx); err != nil {
			return nil, err
		}
		after := picked(s.cache)
		if after.equal(before) {
			return after, nil
		}
		before = after
	}
	return nil, fmt.Errorf("rows changed during each of %d attempts: %w", readAttempts, ErrTorn)
}
