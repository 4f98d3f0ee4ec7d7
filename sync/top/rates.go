// SPDX-License-Identifier: Apache-2.0

// Package top is the live view of ovs-xdpctl top: rates of bridges and ports,
// from what a running daemon tells once a second. What it shows is worked out
// without I/O; the terminal is bubbletea's affair.
package top

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/ovs-xdp/ovs-xdp/sync/report"
)

// Sample is what the daemon said at one moment.
type Sample struct {
	At     time.Time
	Status report.Status
	Ports  []report.Port
}

// Rate is how much came from a port, or from all ports of a bridge, in a second:
// frames that took the lane (in observe mode, that would have) and those that
// went by OVS, bits of both, frames that the lane sent to it, and those of them
// that were lost.
type Rate struct {
	Bridge, Interface string
	Lane, OVS         float64
	LaneBits, Bits    float64
	Out, Lost         float64
	// Note says why frames stay with OVS: reasons of refusals, or what most
	// frames of the last second were passed for.
	Note string
}

// Share is the part of the frames that took the lane, from 0 to 1; -1 without
// frames.
func (r Rate) Share() float64 {
	if r.Lane+r.OVS == 0 {
		return -1
	}
	return r.Lane / (r.Lane + r.OVS)
}

// Rates compares two samples, port by port. A port whose counters began anew
// meanwhile counts from there.
func Rates(before, after Sample) (bridges, ports []Rate) {
	seconds := after.At.Sub(before.At).Seconds()
	if seconds <= 0 {
		return nil, nil
	}
	type name struct{ bridge, iface string }
	was := make(map[name]report.Port)
	for _, p := range before.Ports {
		was[name{p.Bridge, p.Interface}] = p
	}
	observes := make(map[string]bool)
	sums := make(map[string]*Rate)
	for _, b := range after.Status.Bridges {
		observes[b.Name] = b.State == "observe"
		if b.Mode != "off" {
			bridges = append(bridges, Rate{Bridge: b.Name})
		}
	}
	for i := range bridges {
		sums[bridges[i].Bridge] = &bridges[i]
	}
	for _, p := range after.Ports {
		old := was[name{p.Bridge, p.Interface}]
		if p.IfIndex != old.IfIndex || p.RX.Lane < old.RX.Lane || p.RX.OVS < old.RX.OVS || p.TX.Lane < old.TX.Lane {
			old = report.Port{}
		}
		per := func(now, then uint64) float64 { return float64(now-min(then, now)) / seconds }
		r := Rate{
			Bridge: p.Bridge, Interface: p.Interface,
			Lane: per(p.RX.Lane, old.RX.Lane), OVS: per(p.RX.OVS, old.RX.OVS),
			LaneBits: 8 * per(p.RX.LaneBytes, old.RX.LaneBytes),
			Bits:     8 * per(p.RX.LaneBytes+p.RX.OVSBytes, old.RX.LaneBytes+old.RX.OVSBytes),
			Out:      per(p.TX.Lane, old.TX.Lane), Lost: per(p.TX.Lost, old.TX.Lost),
			Note: note(p, old),
		}
		if observes[p.Bridge] {
			would := per(p.RX.Would, old.RX.Would)
			r.Lane, r.OVS = would, r.OVS-would
			r.LaneBits = 8 * per(p.RX.WouldBytes, old.RX.WouldBytes)
		}
		ports = append(ports, r)
		if s := sums[p.Bridge]; s != nil {
			s.Lane, s.OVS, s.LaneBits, s.Bits = s.Lane+r.Lane, s.OVS+r.OVS, s.LaneBits+r.LaneBits, s.Bits+r.Bits
			s.Out, s.Lost = s.Out+r.Out, s.Lost+r.Lost
		}
	}
	return bridges, ports
}

// note says what keeps a port's frames with OVS.
func note(p, old report.Port) string {
	var why []string
	for _, f := range p.Refusals {
		if !slices.Contains(why, f.Reason) {
			why = append(why, f.Reason)
		}
	}
	if len(why) > 0 {
		return strings.Join(why, " ")
	}
	most, reason := uint64(0), ""
	for name, n := range p.Reasons {
		n -= min(old.Reasons[name], n)
		if name != "lane" && name != "would" && (n > most || n == most && n > 0 && name < reason) {
			most, reason = n, name
		}
	}
	return reason
}

// Order is what ports are sorted by.
type Order int

// The orders.
const (
	ByLane Order = iota
	ByOVS
	ByBits
	ByLost
	ByName
)

// String returns the order as the view calls it.
func (o Order) String() string { return [...]string{"lane", "by OVS", "bits", "lost", "name"}[o] }

// Sort puts rates into an order, the largest first, names from a to z.
func Sort(list []Rate, by Order, reverse bool) {
	slices.SortStableFunc(list, func(a, b Rate) int {
		var c int
		switch by {
		case ByLane:
			c = cmp.Compare(b.Lane, a.Lane)
		case ByOVS:
			c = cmp.Compare(b.OVS, a.OVS)
		case ByBits:
			c = cmp.Compare(b.Bits, a.Bits)
		case ByLost:
			c = cmp.Compare(b.Lost, a.Lost)
		}
		c = cmp.Or(c, cmp.Compare(a.Bridge, b.Bridge), cmp.Compare(a.Interface, b.Interface))
		if reverse {
			c = -c
		}
		return c
	})
}
