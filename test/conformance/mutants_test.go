// SPDX-License-Identifier: Apache-2.0

//go:build mutants

package conformance

import (
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

var onlyMutant = flag.String("mutant", "", "only mutants with this in their name")

// mutantCases is how many cases a mutant may survive.
const mutantCases = 100

// A program that was broken on purpose is caught. What fails with the program
// as it is does not count.
func TestMutants(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	whole, err := NewRig(lab.NewT(t))
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "mutant\tcaught by case\tafter frames\tas")
	for _, m := range slices.Concat(mutants, ruleMutants, flowMutants) {
		if !strings.Contains(m.name, *onlyMutant) {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			bin, err := m.build(root, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			t.Setenv("OVS_XDP_BIN", bin)
			l, err := lab.New(lab.Config{})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			r, err := NewRig(l)
			if err != nil {
				t.Fatal(err)
			}
			tally := NewTally()
			for i := range mutantCases {
				make := Generate
				if strings.HasPrefix(m.name, "flows:") {
					make = GeneratePipeline
				}
				c := make(*seed+uint64(i), *frames)
				if strings.HasPrefix(m.name, "rules:") && !slices.ContainsFunc(c.Config.Bridges, func(b Bridge) bool { return b.Policy != nil }) {
					continue
				}
				f, err := r.Run(c, tally)
				if err != nil {
					t.Fatal(err)
				}
				if f == nil && tally.shirks() != "" {
					f = &Failure{Kind: tally.shirks()}
				}
				if f == nil || f.Kind == "behind" {
					continue
				}
				if g, err := whole.Run(c, NewTally()); err != nil || g != nil {
					t.Logf("seed %d fails with the whole program, too: %v %+v", c.Seed, err, g)
					continue
				}
				t.Logf("caught by case %d, after %d frames, as %s", i+1, tally.Frames, f.Kind)
				fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", m.name, i+1, tally.Frames, f.Kind)
				return
			}
			fmt.Fprintf(w, "%s\tsurvives %d\t%d\t\n", m.name, mutantCases, tally.Frames)
			t.Errorf("%s: not caught in %d cases", m.name, mutantCases)
		})
	}
	w.Flush()
	t.Logf("\n%s", table.String())
}
