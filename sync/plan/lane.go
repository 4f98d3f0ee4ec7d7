// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/sync/plan/rules"
)

// KeyLane in Bridge external_ids says which lane a bridge uses.
const KeyLane = "xdp-lane"

// Lane is the value of xdp-lane, and what a bridge uses.
type Lane string

// The lanes.
const (
	// AutoLane uses the FDB where the bridge's rules allow it, else flows.
	AutoLane Lane = "auto"
	// FDBLane does what NORMAL does with the stations of OVS's MAC table.
	FDBLane Lane = "fdb"
	// FlowLane does what OVS's megaflows do.
	FlowLane Lane = "flows"
)

// lane is which lane a bridge is to use.
type lane struct {
	Lane
	// why says so, for people.
	why string
	// domain is named after the first of the bridges that share their flows with it;
	// no bridge has a slash in its name.
	domain string
	// forgets is after how long OVS may forget what it has decided for frames of
	// its flows.
	forgets time.Duration
	// reason and found say what another bridge of the domain has that keeps all of
	// it with OVS; "" for nothing.
	reason Reason
	found  string
	// table is what the rules are for the FDB lane, barred why they allow none.
	table  *rules.Table
	barred string
}

// lanes says of each bridge which lane it is to use.
func (b *builder) lanes(s *ovs.Snapshot, keys []bridgeKeys) []lane {
	lanes := make([]lane, len(s.Bridges))
	for i := range s.Bridges {
		br, l := &s.Bridges[i], &lanes[i]
		l.domain = br.Name + "/flows"
		if keys[i].offload == Off {
			continue
		}
		l.Lane, l.why = keys[i].lane, fmt.Sprintf("external_ids:%s=%s", KeyLane, keys[i].lane)
		if br.Detail == nil {
			if l.Lane == AutoLane {
				l.Lane, l.why = "", ""
			}
			continue
		}
		if l.Lane == FlowLane {
			continue
		}
		l.table, l.barred = b.judgeRules(br)
		if l.Lane == FDBLane {
			continue
		}
		l.Lane, l.why = FDBLane, "its OpenFlow rules leave frames to NORMAL"
		if l.barred != "" && slices.ContainsFunc(br.Detail.Rules, func(r ovs.Rule) bool { return r.Table == 0 }) {
			l.Lane, l.why = FlowLane, l.barred
		}
	}
	b.join(s, keys, lanes)
	return lanes
}

// join puts bridges into one domain that patch ports join and that use flows: a
// bridge that may use either lane does as its neighbour.
func (b *builder) join(s *ovs.Snapshot, keys []bridgeKeys, lanes []lane) {
	links := patches(s)
	for again := true; again; {
		again = false
		for _, p := range links {
			from, to := &lanes[p.from], &lanes[p.to]
			if from.Lane != FlowLane {
				continue
			}
			if keys[p.to].lane == AutoLane && keys[p.to].offload != Off && to.Lane != FlowLane {
				to.Lane, again = FlowLane, true
				to.why = fmt.Sprintf("patch port %s joins it to %s, which uses flows", p.peer, s.Bridges[p.from].Name)
			}
			if to.Lane == FlowLane && from.domain < to.domain {
				to.domain, again = from.domain, true
			}
		}
	}
	// What closes one bridge closes those that it shares flows with.
	for i := range lanes {
		if lanes[i].Lane == FlowLane {
			lanes[i].forgets = b.forgets(s, lanes, lanes[i].domain)
		}
		found, audited := b.policy.Closed[s.Bridges[i].Name]
		switch {
		case lanes[i].Lane != FlowLane:
		case audited:
			shut(lanes, i, s.Bridges[i].Name, Audited, found)
		case s.Bridges[i].Detail == nil:
			shut(lanes, i, s.Bridges[i].Name, StateUnreadable, "its state could not be read")
		}
	}
}

// forgets is after how long without a frame OVS forgets a megaflow of a domain, a
// station that it was learned from, or a rule: one that is learned lives as long as
// frames refresh it.
func (b *builder) forgets(s *ovs.Snapshot, lanes []lane, domain string) time.Duration {
	shortest := cmp.Or(s.MaxIdle, ovs.DefaultMaxIdle)
	for i := range lanes {
		if lanes[i].Lane != FlowLane || lanes[i].domain != domain {
			continue
		}
		br := &s.Bridges[i]
		shortest = min(shortest, agingTime(br))
		if br.Detail == nil {
			continue
		}
		for n := range br.Detail.Rules {
			for _, seconds := range []uint16{br.Detail.Rules[n].IdleTimeout, br.Detail.Rules[n].HardTimeout} {
				if seconds > 0 {
					shortest = min(shortest, time.Duration(seconds)*time.Second)
				}
			}
		}
	}
	return shortest
}

// shut closes the domain of a bridge.
func shut(lanes []lane, of int, name string, reason Reason, found string) {
	for i := range lanes {
		l := &lanes[i]
		if i != of && l.Lane == FlowLane && l.domain == lanes[of].domain && l.reason == "" {
			l.reason, l.found = reason, fmt.Sprintf("%s, with which it shares its flows: %s", name, found)
		}
	}
}

// patch is a patch port, from and to being indexes of bridges.
type patch struct {
	from, to int
	peer     string // Interface:name on the bridge to
}

// patches lists the patch ports between bridges, each in both directions.
func patches(s *ovs.Snapshot) []patch {
	type place struct {
		bridge int
		peer   string
	}
	ports := make(map[string]place) // by Interface:name
	for n := range s.Bridges {
		for i := range s.Bridges[n].Ports {
			for _, iface := range s.Bridges[n].Ports[i].Interfaces {
				if iface.Type == "patch" {
					ports[iface.Name] = place{n, iface.Options["peer"]}
				}
			}
		}
	}
	var list []patch
	for name, p := range ports {
		if q, ok := ports[p.peer]; ok && q.bridge != p.bridge {
			list = append(list, patch{p.bridge, q.bridge, p.peer}, patch{q.bridge, p.bridge, name})
		}
	}
	slices.SortFunc(list, func(a, b patch) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to), cmp.Compare(a.peer, b.peer))
	})
	return list
}

// Joined lists the bridges that patch ports join to a bridge, over others, too,
// that one included: a change of any of them may change what OVS does with
// frames from its ports.
func Joined(s *ovs.Snapshot, bridge string) map[string]bool {
	joined := map[string]bool{bridge: true}
	links := patches(s)
	for again := true; again; {
		again = false
		for _, p := range links {
			if joined[s.Bridges[p.from].Name] && !joined[s.Bridges[p.to].Name] {
				joined[s.Bridges[p.to].Name], again = true, true
			}
		}
	}
	return joined
}
