// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"

	"github.com/ovs-xdp/ovs-xdp/test/bench/figure"
)

// program has BenchmarkProgram of package bpf measure what the program costs a
// frame.
func program(ctx context.Context, rounds int) (figure.Set, error) {
	const net = "beyond an empty program"
	s := figure.Set{
		Name:  "program",
		Title: "What the XDP program costs a frame",
		Note: "By the kernel's own clock (BPF_PROG_TEST_RUN), 128k stations in the FDB, UDP frames in cache. 64k flows are between 64 machines " +
			"and 1024 remote stations; with 128k stations each flow has two of its own. `go test -run '^$' -bench Program -v ./bpf`.",
		Unit: "ns a frame", Ways: []string{net}, Least: true,
	}
	file, err := os.CreateTemp("", "ovs-xdp-samples-")
	if err != nil {
		return s, err
	}
	file.Close()
	defer os.Remove(file.Name())
	c := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkProgram$", "-benchtime", fmt.Sprintf("%dx", rounds),
		"./bpf", "-args", "-samples", file.Name())
	if out, err := c.CombinedOutput(); err != nil {
		return s, fmt.Errorf("measure the program: %w\n%s", err, out)
	}
	b, err := os.ReadFile(file.Name())
	if err != nil {
		return s, err
	}
	var samples map[string][]float64
	if err := json.Unmarshal(b, &samples); err != nil {
		return s, fmt.Errorf("read what the program costs: %w", err)
	}
	for _, name := range slices.SortedFunc(maps.Keys(samples), func(a, b string) int {
		return int(figure.Quantile(samples[a], 0) - figure.Quantile(samples[b], 0))
	}) {
		s.Add(name, net, samples[name]...)
	}
	const hot = "hit, tagged, pop"
	for name, most := range map[string]float64{
		hot: 30, hot + ", checksum guard": 35, hot + ", 64k flows": 1.3 * figure.Quantile(samples[hot], 0),
	} {
		if len(samples[name]) == 0 {
			return s, fmt.Errorf("read what the program costs: there is no case %q", name)
		}
		s.Figure(name).Targets = []figure.Target{{Of: net, AtMost: most}}
	}
	return s, nil
}
