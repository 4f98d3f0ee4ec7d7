// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// Handing the lane over to another daemon, in three steps. Each moment has one
// writer of the tables:
//
//	successor                         this daemon
//	takeover/begin   ---------------> pins the tables, and goes on as before
//	loads its programs on them, connects to OVS, watches it and looks at it
//	takeover/take    ---------------> renews the lease, stops writing and
//	                                  reading events, pins the links
//	takes tables and links; closes first what OVS forbids by now, from here on
//	as its loop does; swaps the programs; looks once more; renews the lease
//	publishes its pidfile: it is in charge
//	takeover/commit  ---------------> leaves, with status 0
//
// Nobody waits for a change of OVS to be seen: the successor has watched OVS
// since before it takes the tables, so that what changed meanwhile waits in its
// loop, and what changed before its look is in that.
//
// Until the pidfile is published this daemon takes the lane back when the
// successor ends, by itself or because it takes longer than handLimit: it is
// killed then, for the tables must not have two writers. The lease goes on by
// the kernel's clock, renewed once when the tables are given away: whoever
// hangs, the lane closes.

// Limits of a hand-over.
const (
	// beginLimit is how long tables stay pinned for a successor that does not
	// come for them.
	beginLimit = 2 * time.Minute
	// takeLimit is how long the loop may take to stop writing.
	takeLimit = 10 * time.Second
	// handLimit is how long a successor may take until it is in charge. One that
	// takes longer than the lease has closed the lane, but is not stopped at once:
	// on a busy machine the lane would be closed for longer without it.
	handLimit = 2 * lease
)

// handover is a daemon's side of giving its lane away.
type handover struct {
	requests chan handRequest // for the loop

	mu        sync.Mutex
	successor *successor // nil: none has begun
	left      bool       // the lane is another's
}

// handRequest asks the loop for the tables.
type handRequest struct {
	to    *successor
	reply chan handReply // has room for it
}

type handReply struct {
	state state
	err   error
}

// What ends the loop.
var (
	// errLeft: a successor has the lane.
	errLeft = errors.New("another ovs-xdpd has taken over")
	// errBroken: the tables can't be taken back.
	errBroken = errors.New("take the tables back")
)

// begin makes the tables reachable for the process peer.
func (d *Daemon) begin(peer, layout int, bpffs string) (offer, error) {
	if layout != bpf.LayoutVersion {
		return offer{}, fmt.Errorf("%w: yours is %d, this daemon's %d: stop it (ovs-appctl -t ovs-xdpd exit) and start the other", bpf.ErrLayout, layout, bpf.LayoutVersion)
	}
	h := &d.hand
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.successor; s != nil || h.left {
		return offer{}, errors.New("another process is taking over already")
	}
	s, err := newSuccessor(peer)
	if err != nil {
		return offer{}, err
	}
	s.dir = pinDir(bpffs, d.cfg.Rundir)
	if err = bpf.MakePins(s.dir); err == nil {
		if err = d.lane.PinTables(s.dir); err != nil {
			_, e := bpf.RemovePins(s.dir)
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		close(s.over)
		if errors.Is(err, bpf.ErrNoBPFFS) {
			err = fmt.Errorf("%w: mount -t bpf bpf %s, or name another with --bpffs", err, bpffs)
		}
		return offer{}, err
	}
	h.successor = s
	go d.attend(s)
	d.log.Info("another ovs-xdpd prepares to take over", "pid", peer)
	o := offer{Format: handFormat, Dir: s.dir, Modes: make(map[int]plan.Mode), AsksPeers: d.host.AsksPeers()}
	for _, p := range d.View().Result.Tables.Ports {
		o.Modes[p.IfIndex] = p.Mode
	}
	return o, nil
}

// attend takes the pins away again when the successor ends or does not come for
// the tables.
func (d *Daemon) attend(s *successor) {
	why := "it ended"
	select {
	case <-s.over:
		return
	case <-s.dead:
	case <-time.After(beginLimit):
		why = fmt.Sprintf("it did nothing for %v", beginLimit)
	}
	d.hand.mu.Lock()
	defer d.hand.mu.Unlock()
	if d.hand.successor == s && !s.taken {
		d.dropLocked(s, why)
	}
}

// dropLocked forgets a successor that is not in charge.
func (d *Daemon) dropLocked(s *successor, why string) {
	d.hand.successor = nil
	close(s.over)
	if _, err := bpf.RemovePins(s.dir); err != nil {
		d.log.Error("what was pinned for a takeover stays", "error", err)
	}
	d.log.Warn("the other ovs-xdpd did not take over", "pid", s.pid, "reason", why)
}

// abandon takes the pins away when this daemon ends before a successor has the
// tables.
func (d *Daemon) abandon() {
	d.hand.mu.Lock()
	defer d.hand.mu.Unlock()
	if s := d.hand.successor; s != nil && !d.hand.left {
		d.dropLocked(s, "this one ends")
	}
}

// take has the loop stop writing and give the tables to the process peer.
func (d *Daemon) take(ctx context.Context, peer int) (state, error) {
	h := &d.hand
	h.mu.Lock()
	s := h.successor
	if s == nil || s.pid != peer || s.taken {
		h.mu.Unlock()
		return state{}, errors.New("this process has not begun to take over: call takeover/begin first")
	}
	s.taken = true
	h.mu.Unlock()

	r := handRequest{to: s, reply: make(chan handReply, 1)}
	why := errors.New("the process that asked has ended")
	select {
	case h.requests <- r:
		reply := <-r.reply
		return reply.state, reply.err
	case <-s.dead:
	case <-ctx.Done():
		why = ctx.Err()
	case <-time.After(takeLimit):
		why = fmt.Errorf("the loop did not stop within %v", takeLimit)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	d.dropLocked(s, why.Error())
	return state{}, why
}

// commit lets the loop end: the process peer is in charge, as the pidfile says.
func (d *Daemon) commit(peer int) error {
	h := &d.hand
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.successor
	switch {
	case s == nil || s.pid != peer || !s.taken || s.revoked:
		return errors.New("this process has not taken the tables, or too long ago")
	case d.cfg.Pidfile.Current():
		return errors.New("the pidfile is still that of this daemon")
	case h.left:
		return nil
	}
	h.left = true
	close(s.committed)
	return nil
}

// handOver gives the tables away and waits for what becomes of the successor.
// nil means that this daemon has them still, or again; errLeft, that the successor
// is in charge, or was.
func (d *Daemon) handOver(ctx context.Context, r handRequest, seen []sighting) error {
	s := r.to
	d.stopEvents()
	for _, e := range d.inbox.take() {
		seen = append(seen, sighting{Event: e})
	}
	err := d.lane.Renew(lease)
	if errors.Is(err, bpf.ErrExpired) {
		err = nil // closed; the successor opens it
	}
	if err == nil {
		err = d.lane.PinLinks(s.dir)
	}
	if err != nil {
		d.hand.mu.Lock()
		d.dropLocked(s, err.Error())
		d.hand.mu.Unlock()
		r.reply <- handReply{err: err}
		d.startEvents() // nobody has touched the tables
		return nil
	}
	st := state{Bridges: maps.Clone(d.in.numbers), Lists: d.in.handLists(), Held: d.host.Held(), Seen: seen,
		Losing: d.losses.list(time.Now()), Audits: d.book.pages()}
	for _, p := range d.in.ports {
		st.Ports = append(st.Ports, p)
	}
	r.reply <- handReply{state: st}
	d.log.Info("tables handed over", "pid", s.pid)

	why := ""
	select {
	case <-s.committed:
	case <-s.dead:
		why = "it ended"
	case <-time.After(handLimit):
		why = fmt.Sprintf("it took longer than %v", handLimit)
	case <-ctx.Done():
		why = "this daemon was told to end"
	}
	d.hand.mu.Lock()
	left := d.hand.left
	s.revoked = !left
	d.hand.mu.Unlock()
	if left {
		close(s.over)
		if err := errors.Join(d.lane.UnpinLinks(), d.host.Leave()); err != nil {
			d.log.Error("leaving to the other ovs-xdpd", "error", err)
		}
		return errLeft
	}
	if err := s.kill(); err != nil {
		d.log.Error("the other ovs-xdpd can't be ended; waiting for its end", "pid", s.pid, "error", err)
	}
	<-s.dead
	d.shut(fmt.Errorf("process %d, which had taken the tables over, is gone: %s", s.pid, why))
	d.hand.mu.Lock()
	d.dropLocked(s, why)
	d.hand.mu.Unlock()
	if !d.cfg.Pidfile.Current() {
		return fmt.Errorf("%w, and has ended at once", errLeft)
	}
	return d.takeBack()
}

// takeBack makes this daemon the owner of the tables again. The lane is shut, and
// stays so until OVS has been looked at anew. Events that the other process has
// read are lost, so that look waits until OVS has learned from all that was seen.
func (d *Daemon) takeBack() error {
	if err := errors.Join(d.lane.Reclaim(), d.in.reclaim()); err != nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	d.links, d.notBefore = nil, time.Now().Add(learns)
	d.startEvents()
	return nil
}
