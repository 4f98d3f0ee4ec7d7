// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/bpf"
)

// Frames counts frames since their ports joined the lane: redirected, passed
// to OVS, and of those passed the ones that observe mode would have
// redirected or dropped. Dropped counts those that were dropped, by an OpenFlow
// rule, for their address or over a rate. Finished counts those redirected whose L4
// checksum was finished on the way.
type Frames struct {
	Lane    uint64 `json:"lane"`
	OVS     uint64 `json:"ovs"`
	Would   uint64 `json:"would"`
	Dropped uint64 `json:"dropped"`

	Finished uint64 `json:"finished"`

	// The same in bytes as received, Ethernet header and tags included, frame
	// check sequence not.
	LaneBytes    uint64 `json:"lane_bytes"`
	OVSBytes     uint64 `json:"ovs_bytes"`
	WouldBytes   uint64 `json:"would_bytes"`
	DroppedBytes uint64 `json:"dropped_bytes"`
}

// add adds what one device has counted, and its frames by reason to reasons.
func (f *Frames) add(c bpf.Counters, reasons map[string]uint64) {
	f.Lane += c.Lane
	f.Would += c.Would
	f.OVS += c.Passed + c.Would
	f.Dropped += c.Dropped
	f.DroppedBytes += c.DroppedBytes
	f.Finished += c.Finished
	f.LaneBytes += c.LaneBytes
	f.WouldBytes += c.WouldBytes
	f.OVSBytes += c.PassedBytes + c.WouldBytes
	for reason, n := range c.Frames {
		if n > 0 {
			reasons[reason] += n
		}
	}
}

// Total returns all frames, and their bytes.
func (f Frames) Total() (frames, bytes uint64) {
	return f.Lane + f.OVS + f.Dropped, f.LaneBytes + f.OVSBytes + f.DroppedBytes
}

// share is n of total in percent, for people.
func share(n, total uint64) string {
	if total == 0 {
		return "none yet"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(total))
}

// forecast says which part of the frames takes the lane, or would in observe mode,
// and what keeps the rest from it.
func (f Frames) forecast(observe bool, reasons map[string]uint64) string {
	frames, bytes := f.Total()
	onLane, onLaneBytes, where := f.Lane, f.LaneBytes, "on the lane"
	if observe {
		onLane, onLaneBytes, where = f.Would, f.WouldBytes, "would take the lane"
	}
	if frames == 0 {
		return "no frame from its ports yet"
	}
	text := fmt.Sprintf("%s of %d frames and %s of bytes %s", share(onLane, frames), frames, share(onLaneBytes, bytes), where)
	if rest := rest(reasons, observe, frames); rest != "" {
		text += "; the rest: " + rest
	}
	return text
}

// rest lists why frames went by OVS, the most frequent reasons first; those
// that few frames have come last, together.
func rest(reasons map[string]uint64, observe bool, total uint64) string {
	const most = 5
	names := slices.DeleteFunc(byCount(reasons), func(name string) bool {
		return name == "lane" || name == "would" && observe
	})
	var said []string
	var others uint64
	for i, name := range names {
		if i >= most {
			others += reasons[name]
			continue
		}
		said = append(said, name+" "+share(reasons[name], total))
	}
	if others > 0 {
		said = append(said, fmt.Sprintf("%d other reasons %s", len(names)-most, share(others, total)))
	}
	return strings.Join(said, ", ")
}

// byCount returns the names of counters that are not 0, the largest first.
func byCount(counters map[string]uint64) []string {
	var names []string
	for name, n := range counters {
		if n > 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(counters[b], counters[a]), cmp.Compare(a, b))
	})
	return names
}
