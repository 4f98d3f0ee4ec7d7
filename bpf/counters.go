// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Counters are what the program counted on one port since it joined the lane.
type Counters struct {
	// Frames that came from the port, by reason (see Reasons).
	Frames map[string]uint64
	// Lane, Would, Passed and Dropped add them up: redirected, would have been
	// redirected or dropped but for observe mode, passed to OVS, dropped.
	Lane, Would, Passed, Dropped uint64
	// LaneBytes and so on are the same in bytes as received.
	LaneBytes, WouldBytes, PassedBytes, DroppedBytes uint64
	// Sent counts frames redirected to the port, Lost those that the kernel or
	// the device then did not take.
	Sent, Lost uint64
	// Finished counts, of Lane, frames whose L4 checksum the program finished.
	Finished uint64
	// EventsLimited and EventsLost count new and moved sources that the
	// daemon was not told of: over the port's budget, ring buffer full.
	EventsLimited, EventsLost uint64
}

// reasonNames reads the names of enum reason from the program's own BTF:
// REASON_NEW_SOURCE is "new-source".
func reasonNames(spec *ebpf.CollectionSpec) ([]string, error) {
	var e *btf.Enum
	if err := spec.Types.TypeByName("reason", &e); err != nil {
		return nil, fmt.Errorf("read BPF object: enum reason: %w", err)
	}
	names := make([]string, laneReasonREASON_COUNT)
	for _, v := range e.Values {
		if v.Value < uint64(len(names)) {
			name := strings.TrimPrefix(v.Name, "REASON_")
			names[v.Value] = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		}
	}
	return names, nil
}

// Reasons returns the name of each reason for which a frame leaves the
// program, "lane" first and "would" second; from "dropped" on it was dropped, and
// every other one passed it to OVS.
func (l *Lane) Reasons() []string { return l.names }

// Counters reads the counters of one port, all CPUs together.
func (l *Lane) Counters(ifindex int) (Counters, error) {
	slot, ok := l.ports.slotOf(ifindex)
	if !ok {
		return Counters{}, fmt.Errorf("read counters of device %d: it is not on the lane", ifindex)
	}
	var cpus []lanePortCounters
	if err := l.coll.Maps[laneMapCounters].Lookup(uint32(slot), &cpus); err != nil {
		return Counters{}, fmt.Errorf("read counters of device %d: %w", ifindex, err)
	}
	c := Counters{Frames: make(map[string]uint64)}
	for _, cpu := range cpus {
		for i, n := range cpu.Frames {
			c.Frames[l.names[i]] += n
			switch reason := laneReason(i); {
			case reason == laneReasonREASON_LANE:
				c.Lane += n
			case reason == laneReasonREASON_WOULD:
				c.Would += n
			case reason >= laneReasonREASON_DROPPED:
				c.Dropped += n
			default:
				c.Passed += n
			}
		}
		c.LaneBytes += cpu.Bytes[0]
		c.WouldBytes += cpu.Bytes[1]
		c.PassedBytes += cpu.Bytes[2]
		c.DroppedBytes += cpu.Bytes[3]
		c.Sent += cpu.Sent
		c.Lost += cpu.Lost
		c.Finished += cpu.Finished
		c.EventsLimited += cpu.EventsLimited
		c.EventsLost += cpu.EventsLost
	}
	return c, nil
}

func (l *Lane) zeroCounters(slot int) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("count CPUs: %w", err)
	}
	if err := l.coll.Maps[laneMapCounters].Put(uint32(slot), make([]lanePortCounters, cpus)); err != nil {
		return fmt.Errorf("clear counters: %w", err)
	}
	return nil
}
