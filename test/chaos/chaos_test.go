// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

var (
	full    = flag.Bool("full", false, "run every fault, not the short set")
	only    = flag.String("only", "", "run the faults that match this regular expression")
	cycles  = flag.Int("cycles", 6, "how often TestCycles takes OVS from the daemon and gives it back")
	lane    = flag.String("lane", "auto", "xdp-lane of the bridges")
	results = flag.String("results", "", "write the table of results to this file")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "the chaos tests need root")
		os.Exit(1)
	}
	if _, err := lab.Binaries(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// faults is the table.
var faults = slices.Concat(daemonFaults, openvswitchFaults, deviceFaults, guestFaults)

// told is what the tests have to report.
var told report

func tell(t *testing.T) {
	t.Helper()
	if *results == "" {
		return
	}
	told.command = "make chaos"
	if *lane != "auto" {
		told.command += " LANE=" + *lane
	}
	if err := told.write(*results); err != nil {
		t.Error(err)
	}
}

// TestFaults keeps the promises.
func TestFaults(t *testing.T) {
	chosen := regexp.MustCompile(*only)
	var n *network
	defer func() {
		if n != nil {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		}
	}()
	for i := range faults {
		f := &faults[i]
		if !f.short && !*full && *only == "" || !chosen.MatchString(f.name) {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			if f.declared && *lane == "flows" { // where stations are is OVS's affair, alone and with the lane
				undeclared := *f
				undeclared.promise, undeclared.ownLoss, undeclared.also = "OVS decides where they are; others lose nothing", true, nil
				f = &undeclared
			}
			var err error
			if n == nil {
				if n, err = newNetwork(*lane); err != nil {
					t.Fatal(err)
				}
				if err := told.describe(n.Lab); err != nil {
					t.Fatal(err)
				}
			}
			fail := func(err error) {
				t.Helper()
				// The network may be in any state now.
				if err := n.Close(); err != nil {
					t.Error(err)
				}
				n = nil
				t.Fatal(err)
			}
			with, err := n.execute(f, true)
			if err != nil {
				fail(err)
			}
			t.Log(with)
			var alone *result
			if !f.daemon {
				if alone, err = n.execute(f, false); err != nil {
					fail(fmt.Errorf("OVS alone: %w", err))
				}
				t.Log(alone)
			}
			broken := judge(with, alone)
			if broken != nil {
				t.Error(broken)
			}
			told.outcomes = append(told.outcomes, outcome{with, alone, broken})
		})
	}
	tell(t)
}
