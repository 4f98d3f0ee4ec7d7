// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"hash/fnv"
	"strconv"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// The keys in external_ids that operators set.
const (
	KeyOffload = "xdp-offload"
	KeyCanary  = "xdp-canary"
	KeyVLANs   = "xdp-vlans"
)

// Offload is the value of xdp-offload.
type Offload string

// The values of xdp-offload: off, observe and on for a bridge; off, target
// and on (the default) for a port.
const (
	Off     Offload = "off"
	Observe Offload = "observe"
	On      Offload = "on"
	OnlyTo  Offload = "target"
)

// bridgeKeys is what a bridge's external_ids ask for.
type bridgeKeys struct {
	offload Offload
	canary  int // percent of MAC addresses
	vlans   ovs.VLANSet
	list    string // xdp-vlans as written
	lane    Lane
	errs    []string
}

// readBridgeKeys reads the keys; any that can't be read means off.
func readBridgeKeys(ids map[string]string) bridgeKeys {
	k := bridgeKeys{offload: Off, canary: 100, vlans: ovs.AllVLANs(), lane: AutoLane}
	if v, ok := ids[KeyOffload]; ok {
		switch o := Offload(v); o {
		case Off, Observe, On:
			k.offload = o
		default:
			k.errs = append(k.errs, fmt.Sprintf("external_ids:%s=%q: want off, observe or on", KeyOffload, v))
		}
	}
	if v, ok := ids[KeyCanary]; ok {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || n > 100 {
			k.errs = append(k.errs, fmt.Sprintf("external_ids:%s=%q: want a percentage from 0 to 100", KeyCanary, v))
		} else {
			k.canary = n
		}
	}
	if v, ok := ids[KeyVLANs]; ok {
		set, err := ovs.ParseVLANSet(v)
		if err != nil {
			k.errs = append(k.errs, fmt.Sprintf("external_ids:%s: %v", KeyVLANs, err))
		} else {
			k.vlans, k.list = set, v
		}
	}
	if v, ok := ids[KeyLane]; ok {
		switch l := Lane(v); l {
		case AutoLane, FDBLane, FlowLane:
			k.lane = l
		default:
			k.errs = append(k.errs, fmt.Sprintf("external_ids:%s=%q: want auto, fdb or flows", KeyLane, v))
		}
	}
	if len(k.errs) > 0 {
		k.offload = Off
	}
	return k
}

// Wanted tells whether a bridge's keys ask for the lane, so that OVS must be
// asked for its detail.
func Wanted(b *ovs.Bridge) bool { return readBridgeKeys(b.ExternalIDs).offload != Off }

// WantedOf returns what a port's keys ask for: On, Off or OnlyTo.
func WantedOf(p *ovs.Port) Offload {
	o, _ := readPortKey(p)
	return o
}

// readPortKey returns the strictest of what the Port and its Interfaces ask
// for; a value that can't be read means off, and is told.
func readPortKey(p *ovs.Port) (Offload, string) {
	got := On
	type source struct {
		table string
		ids   map[string]string
	}
	sources := []source{{"Port", p.ExternalIDs}}
	for i := range p.Interfaces {
		sources = append(sources, source{"Interface", p.Interfaces[i].ExternalIDs})
	}
	for _, src := range sources {
		v, ok := src.ids[KeyOffload]
		if !ok {
			continue
		}
		switch o := Offload(v); {
		case o == Off, o == OnlyTo && got == On:
			got = o
		case o == On, o == OnlyTo:
		default:
			return Off, fmt.Sprintf("%s external_ids:%s=%q: want off, target or on", src.table, KeyOffload, v)
		}
	}
	return got, ""
}

// inCanary tells whether an address belongs to the given percentage of all, by
// a hash that is the same on every host and in every version.
func inCanary(m ovs.MAC, percent int) bool {
	if percent >= 100 {
		return true
	}
	h := fnv.New32a()
	h.Write(m[:])
	return int(h.Sum32()%100) < percent
}
