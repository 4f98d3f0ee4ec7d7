// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

var (
	cases     = flag.Int("cases", 10, "how many cases to run, of one or two bridges each")
	seed      = flag.Uint64("seed", 1, "seed of the first case; the next have the next ones")
	pipelines = flag.Int("pipelines", 5, "how many cases of two bridges to run with what a cloud makes of them")
	frames    = flag.Int("frames", 400, "frames in a case, about")
	limit     = flag.Duration("limit", 0, "begin no case after this time; 0: no limit")
	shrink    = flag.Duration("shrink", time.Minute, "time to make a failing case smaller")
)

const (
	// maxFailures ends a run.
	maxFailures = 10
	// reruns is how often a case that failed is run again, to see whether it
	// always does.
	reruns = 2
)

func TestRandomBridges(t *testing.T) { runCases(t, *cases, Generate, (*Tally).lacks) }

// Bridges as OpenStack Neutron and OVN make them, with patch ports.
func TestRandomPipelines(t *testing.T) {
	runCases(t, *pipelines, GeneratePipeline, (*Tally).flowless)
}

func runCases(t *testing.T, n int, generate func(seed uint64, frames int) *Case, lacks func(*Tally) string) {
	r, err := NewRig(lab.NewT(t))
	if err != nil {
		t.Fatal(err)
	}
	tally := NewTally()
	told := time.Now()
	for i := range n {
		if *limit > 0 && time.Since(tally.Began) > *limit || tally.Failures+tally.Unstable == maxFailures {
			break
		}
		c := generate(*seed+uint64(i), *frames)
		f, err := r.Run(c, tally)
		if err != nil {
			t.Fatal(err)
		}
		if f != nil {
			report(t, r, c, f, tally)
		}
		if time.Since(told) > 10*time.Second {
			fmt.Fprintln(os.Stderr, tally.Line())
			told = time.Now()
		}
	}
	t.Logf("%s\n%s", tally.Line(), tally.Coverage())
	total, err := askLane[map[string]uint64](r, "coverage/show")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("audit: %d frames asked about, %d as on the lane, %d not, %d unanswered",
		total["audit-asked"], total["audit-agreed"], total["audit-mismatches"], total["audit-unanswered"])
	if strings.Contains(r.daemon.Output(1<<20), "audit: the lane of the bridge is closed") {
		t.Error("the audit has closed a lane")
	}
	if lacks := lacks(tally); lacks != "" {
		t.Error(lacks)
	}
}

// report tells of a case that failed, as small as it gets.
func report(t *testing.T, r *Rig, c *Case, f *Failure, tally *Tally) {
	replay := fmt.Sprintf("make conformance SEED=%d N=1 FRAMES=%d", c.Seed, *frames)
	again := 0
	for range reruns {
		g, err := r.Run(c, NewTally())
		if err != nil {
			t.Fatal(err)
		}
		if g != nil {
			again++
		}
	}
	if again == 0 {
		tally.Unstable++
		t.Errorf("seed %d: failed once, and not in %d runs more (%s)\n  %s at event %d, %s\n%s%s",
			c.Seed, reruns, replay, f.Kind, f.Event, c.Events[f.Event], f.Text, &c.Config)
		return
	}
	tally.Failures++
	size := len(c.Events)
	small, f, err := r.Shrink(c, f, *shrink)
	if err != nil {
		t.Fatal(err)
	}
	t.Errorf("seed %d: %s (failed in %d of %d runs; replay: %s)\n%ssmallest case found, %d of %d events, seen before %d:\n%s",
		c.Seed, f.Kind, again+1, reruns+1, replay, f.Text, len(small.Events), size, f.Event, small)
}
