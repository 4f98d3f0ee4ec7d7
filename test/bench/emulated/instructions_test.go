// SPDX-License-Identifier: Apache-2.0

// Package emulated measures what a frame costs the whole kernel on its way through
// the bridge, and what bulk TCP comes to, on OVS's kernel datapath and on the
// lane. It does so in an emulated machine whose clock counts instructions (make
// bench-kernels), so that its figures can be repeated on a busy host. Nothing here
// is a test: without -figures nothing runs.
package emulated

import (
	"fmt"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/test/bench/figure"
	"github.com/ovs-xdp/ovs-xdp/test/bench/wire"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// How many frames one measurement sends; those to a tap wait in its queue.
const (
	manyFrames = 16 * wire.Round
	tapFrames  = 8 * wire.Round
)

// Ways of a frame through the bridge.
const (
	alone  = "OVS alone"
	onLane = "ovs-xdp"
	missed = "ovs-xdp, missed"
)

// settings are the keys of the bridge for a way: a lane of 0 per cent of the
// destinations looks all of them up, and passes their frames.
var settings = map[string][]string{
	alone:  {"xdp-offload=off", "xdp-canary=100"},
	onLane: {"xdp-offload=on", "xdp-canary=100"},
	missed: {"xdp-offload=on", "xdp-canary=0"},
}

// flow is one kind of frame, from one port to another.
type flow struct {
	name    string
	in, out *lab.Port
	sink    wire.Sink
	end     string // what the sink is
	from    *wire.Generator
	// frames is how many one measurement sends.
	frames int
	// atLeast is how many times fewer instructions the lane is to take.
	atLeast float64
}

func (f flow) String() string { return f.name + "; sink: " + f.end }

func TestInstructions(t *testing.T) {
	r := newRig(t)
	fewer, dearer := figure.Ratio{Name: "times fewer", Of: alone, By: onLane}, figure.Ratio{Name: "missed by alone", Of: missed, By: alone}
	set := figure.Set{
		Name:  "instructions",
		Title: "What a frame costs the kernel, from the device that it comes in at to its sink",
		Unit:  "instructions a frame", Ways: []string{alone, onLane, missed}, Ratios: []figure.Ratio{fewer, dearer},
	}
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	floors := map[int]float64{} // by number of frames
	for _, frames := range []int{manyFrames, tapFrames} {
		floors[frames] = r.floor(frames)
		for range 5 {
			floors[frames] = min(floors[frames], r.floor(frames))
		}
		t.Logf("generator and first veth alone, %d frames: %.0f", frames, floors[frames])
	}
	for range rounds {
		for _, way := range set.Ways {
			r.way(way)
			for _, f := range r.flows {
				cost := r.measure(f, way)
				set.Add(f.String(), way, cost-floors[f.frames])
			}
		}
	}
	for _, f := range r.flows {
		t := []figure.Target{{Of: dearer.Name, AtMost: 1.03}}
		if f.atLeast > 0 {
			t = append(t, figure.Target{Of: fewer.Name, AtLeast: f.atLeast})
		}
		set.Figure(f.String()).Targets = t
	}
	set.Note = fmt.Sprintf("Beyond the generator and its veth, which take %.0f. UDP frames of 60 bytes, 64 with a tag, in rounds of %d; "+
		"\"missed\" is the lane with `xdp-canary=0`: it looks everything up, and passes the frame.", floors[manyFrames], wire.Round)
	record(t, set)
}
