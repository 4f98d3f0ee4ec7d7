// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/fdb"
	"github.com/ovs-xdp/ovs-xdp/ovs/trace"
	"github.com/ovs-xdp/ovs-xdp/sync/diff"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// inquiry is a question about one station: does OVS know it where the program has
// just seen it? The answer takes the place of a look when nothing else has changed,
// for fdb/show costs ovs-vswitchd time for each of its stations. A bridge where every
// frame hits NORMAL answers it by ofproto/trace: a frame from that port to the station
// itself is dropped, since the destination is in the MAC table on the port that it
// comes from. Whatever else OVS says, or may say, it is not known there yet, or not
// sure; the only row that comes of a question is that of its station.
type inquiry struct {
	station bpf.Key
	bridge  string // Bridge:name
	port    plan.Port
	// entry is the row of OVS's MAC table that the station has if it is known there.
	entry ovs.FDBEntry
	flow  trace.Flow
	// totals are those of the MAC table as last read before.
	totals fdb.Stats
	known  bool
	err    error // the answer is of no use
}

func (q inquiry) key() plan.Key {
	return plan.Key{Bridge: q.bridge, VLAN: q.entry.VLAN, MAC: q.entry.MAC}
}

const (
	// maxInquiries is about how many stations OVS is asked one by one: for more, its
	// MAC table is read.
	maxInquiries = 8
	// wholeTries is for how many of its last tries a station has the table read all
	// the same.
	wholeTries = 2
)

// inquiries makes questions about the stations whose look is due; none when a look
// is due for another reason, or about one of them OVS can't be asked that way.
func (s *session) inquiries(now time.Time) []inquiry {
	view := s.View()
	dump := s.mega.nextDump()
	if !s.asked || !view.Open || s.watching() || s.links == nil || now.Sub(s.lastFull) > relook ||
		!dump.IsZero() && !now.Before(dump) {
		return nil
	}
	due, ok := s.stations.due(now, maxInquiries)
	if !ok || len(view.Result.Tables.Rows)+len(due) > s.cfg.Policy.Rows {
		return nil
	}
	names := s.in.names()
	var list []inquiry
	for _, k := range due {
		w := s.stations.waiting[k]
		if w.whole || w.tries >= len(delays)-wholeTries {
			return nil
		}
		q, ok := inquiryOf(view.Snapshot, names[k.Bridge], s.in.ports[w.seen], k)
		if !ok {
			return nil
		}
		q.totals = s.stats[q.bridge]
		list = append(list, q)
	}
	return list
}

// inquiryOf makes the question about a station that was seen on a port.
func inquiryOf(snap *ovs.Snapshot, bridge string, port plan.Port, k bpf.Key) (inquiry, bool) {
	r := port.Rule
	// Rows of a bond's stations name its first member, which answers for others.
	if r.Bridge != bridge || bridge == "" || !r.Watch || r.Flows || r.Plain == "" || r.Bundle != 0 || r.Legs != [plan.Legs]int{} {
		return inquiry{}, false
	}
	tag := k.VLAN
	if tag == r.VID {
		tag = 0
	}
	if tag != 0 && r.VLANMode == plan.Access {
		return inquiry{}, false
	}
	for bi := range snap.Bridges {
		b := &snap.Bridges[bi]
		if b.Name != bridge || b.Detail == nil {
			continue
		}
		var ofport int
		for pi := range b.Ports {
			for _, iface := range b.Ports[pi].Interfaces {
				// More than its row depends on where OVS knows a declared station.
				if text, ok := iface.ExternalIDs[plan.KeyAttachedMAC]; ok {
					if mac, err := ovs.ParseMAC(text); err == nil && mac == k.MAC {
						return inquiry{}, false
					}
				}
				if iface.Name == port.Name && len(b.Ports[pi].Interfaces) == 1 {
					ofport = int(iface.OFPort)
				}
			}
		}
		if ofport <= 0 {
			break
		}
		return inquiry{
			station: k, bridge: bridge, port: port,
			entry: ovs.FDBEntry{OFPort: uint32(ofport), VLAN: k.VLAN, MAC: k.MAC},
			flow:  trace.Flow{InPort: ofport, VLAN: tag, Src: k.MAC, Dst: k.MAC},
		}, true
	}
	return inquiry{}, false
}

// inquire asks OVS, all questions at once: each time that ovs-vswitchd wakes costs it
// more than a question.
func (s *session) inquire(p picture) {
	s.beside(&p, func() {
		ctx, cancel := context.WithTimeout(s.ctx, lookTimeout)
		defer cancel()
		var asking sync.WaitGroup
		for i := range p.inquiries {
			asking.Go(func() { p.inquiries[i].ask(ctx, s.Call) })
		}
		asking.Wait()
	})
}

func (q *inquiry) ask(ctx context.Context, call func(ctx context.Context, method string, args ...string) (string, error)) {
	text, err := call(ctx, "ofproto/trace", q.bridge, q.flow.String())
	if err != nil {
		q.err = err
		return
	}
	t, err := trace.Parse(text)
	q.known, q.err = t.Resident, err
}

// inquired takes the answers. It returns an error when the session must end.
func (s *session) inquired(p picture) error {
	if s.stale || len(s.churn) > 0 || s.links == nil || !s.View().Open {
		s.soon(0) // what was asked for meanwhile
		return nil
	}
	for _, q := range p.inquiries {
		if errors.Is(q.err, errRestarted) {
			return q.err
		}
		if q.err != nil {
			s.log.Debug("OVS was asked about a station, and its answer is of no use", "bridge", q.bridge, "station", q.entry.MAC, "error", q.err)
		}
	}
	now := time.Now()
	for _, e := range s.inbox.drain(s.lane) {
		s.sighted(e, now)
	}
	s.log.Debug("OVS was asked about single stations", "stations", len(p.inquiries), "took", now.Sub(p.started))
	failed := s.enter(p.inquiries, now)
	if failed != nil {
		s.log.Debug("stations could not be written by themselves", "error", failed)
	}
	s.stations.looked(p.started, func(k bpf.Key) bool {
		r := s.lane.FindRow(k)
		return r != nil && !r.Moved
	})
	for _, q := range p.inquiries {
		if w := s.stations.waiting[q.station]; w != nil && (q.err != nil || failed != nil) {
			w.whole, w.next = true, now
		}
	}
	return nil
}

// enter writes the rows of stations that OVS knows where they were seen, as the
// plan has them, and into the view as if the MAC table had been read again.
func (s *session) enter(list []inquiry, now time.Time) error {
	list = slices.DeleteFunc(slices.Clone(list), func(q inquiry) bool { return !q.known })
	if len(list) == 0 {
		return nil
	}
	slices.SortFunc(list, func(a, b inquiry) int { return a.key().Compare(b.key()) })
	view := s.View()
	alone := withTables(view.Snapshot, func(name string, _ []ovs.FDBEntry) (table []ovs.FDBEntry) {
		for _, q := range list {
			if q.bridge == name {
				table = append(table, q.entry)
			}
		}
		return table
	})
	result := plan.Build(alone, s.links, s.policy(alone))
	// Ports stay as they are.
	have, want := plan.Tables{Ports: s.in.written()}, plan.Tables{Ports: s.in.written()}
	names := s.in.names()
	for _, q := range list {
		row := result.Tables.Row(q.key())
		port := result.Tables.Port(q.port.IfIndex)
		if row == nil || row.IfIndex != q.port.IfIndex || port == nil || *port != q.port || s.in.ports[port.IfIndex] != q.port {
			return fmt.Errorf("%s in VLAN %d of %s is not as planned on %s", q.entry.MAC, q.entry.VLAN, q.bridge, q.port.Name)
		}
		was := s.lane.FindRow(q.station)
		if was != nil && was.Moved {
			// It may have been back on the port of its row before OVS was asked, and
			// its frame not have reached OVS.
			s.stations.marked([]bpf.Event{{Key: q.station, IfIndex: was.Seen, Moved: was.Seen != was.IfIndex}}, now)
		}
		if s.stations.elsewhere(q.station, row.IfIndex, now) {
			s.soon(learns / 3) // until OVS must have learned
			continue
		}
		want.Rows = append(want.Rows, *row)
		if was != nil {
			have.Rows = append(have.Rows, rowOf(*was, names))
		}
	}
	out := s.in.apply(diff.Ops(have, want))
	s.confirm(out)
	if out.err != nil {
		return out.err
	}
	if out.full > 0 {
		return bpf.ErrFull
	}
	s.noteFound(view.Snapshot, list)
	snap := withTables(view.Snapshot, func(name string, table []ovs.FDBEntry) []ovs.FDBEntry {
		copied := false
		for _, q := range list {
			if q.bridge != name {
				continue
			}
			if !copied {
				table, copied = append(make([]ovs.FDBEntry, 0, len(table)+len(list)), table...), true
			}
			table = withEntry(table, q.entry)
		}
		return table
	})
	planned := append(make([]plan.Row, 0, len(view.Result.Tables.Rows)+len(want.Rows)), view.Result.Tables.Rows...)
	for _, r := range want.Rows {
		if i, ok := slices.BinarySearchFunc(planned, r.Key, func(r plan.Row, k plan.Key) int { return r.Compare(k) }); ok {
			planned[i] = r
		} else {
			planned = slices.Insert(planned, i, r)
		}
	}
	s.Daemon.mu.Lock()
	defer s.Daemon.mu.Unlock()
	s.view.Snapshot, s.view.Result.Tables.Rows = snap, planned
	return nil
}

// noteFound notes by how much the totals of MAC tables have grown for stations that
// were found by themselves, so that they are no reason to look. Totals that were read
// meanwhile may have them already.
func (s *session) noteFound(was *ovs.Snapshot, list []inquiry) {
	for _, q := range list {
		for i := range was.Bridges {
			b := &was.Bridges[i]
			if b.Name != q.bridge || b.Detail == nil || s.stats[q.bridge] != q.totals {
				continue
			}
			found := s.found[q.bridge]
			if at, ok := find(b.Detail.FDB, q.entry); !ok {
				found.Learned, found.Current = found.Learned+1, found.Current+1
			} else if b.Detail.FDB[at].OFPort != q.entry.OFPort {
				found.Moved++
			}
			s.found[q.bridge] = found
		}
	}
}

// withTables is a snapshot with other MAC tables, of bridges that were looked into.
func withTables(snap *ovs.Snapshot, of func(bridge string, table []ovs.FDBEntry) []ovs.FDBEntry) *ovs.Snapshot {
	s := *snap
	s.Bridges = slices.Clone(s.Bridges)
	for i := range s.Bridges {
		b := &s.Bridges[i]
		if b.Detail != nil {
			d := *b.Detail
			d.FDB = of(b.Name, d.FDB)
			b.Detail = &d
		}
	}
	return &s
}

// find looks an entry up in a table, which is sorted by VLAN and MAC.
func find(table []ovs.FDBEntry, e ovs.FDBEntry) (int, bool) {
	key := func(e ovs.FDBEntry) uint64 { return uint64(e.VLAN)<<48 | e.MAC.Number() }
	return slices.BinarySearchFunc(table, key(e), func(a ovs.FDBEntry, k uint64) int {
		switch n := key(a); {
		case n < k:
			return -1
		case n > k:
			return 1
		}
		return 0
	})
}

// withEntry puts an entry into a table.
func withEntry(table []ovs.FDBEntry, e ovs.FDBEntry) []ovs.FDBEntry {
	i, ok := find(table, e)
	if ok {
		table[i] = e
		return table
	}
	return slices.Insert(table, i, e)
}
