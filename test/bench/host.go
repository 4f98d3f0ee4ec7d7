// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/ovs-xdp/ovs-xdp/test/bench/figure"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// measurement is a kind of figures that are measured on a network, way by way.
type measurement interface {
	// round measures once, and adds to the figures of the way.
	round(n *network, way string) error
	set() figure.Set
}

// host measures on this machine's kernel.
func host(ctx context.Context, rounds int, only []string) (r figure.Report, err error) {
	for _, name := range only {
		if !slices.Contains([]string{"program", "frames", "cores", "tcp", "latency"}, name) {
			return r, fmt.Errorf("measure %s: there is no such thing", name)
		}
	}
	if rounds < 1 {
		return r, errors.New("measure: at least one round is needed")
	}
	if _, err := lab.Binaries(); err != nil {
		return r, err
	}
	n, err := newNetwork(ctx)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	r = figure.Report{Title: "Measured on one machine", Command: fmt.Sprintf("make bench ROUNDS=%d", rounds), Machine: n.machine()}
	if slices.Contains(only, "program") {
		s, err := program(ctx, 4*rounds)
		if err != nil {
			return r, err
		}
		r.Sets = append(r.Sets, s)
	}
	var all []measurement
	fast, latency := newFrames(), newLatency()
	latency.rate = fast.half
	if slices.Contains(only, "frames") || slices.Contains(only, "latency") {
		all = append(all, fast) // latency needs to know what is half of the load
	}
	if slices.Contains(only, "cores") {
		all = append(all, newCores())
	}
	if slices.Contains(only, "tcp") {
		all = append(all, newTCP())
	}
	if slices.Contains(only, "latency") {
		all = append(all, latency)
	}
	for i := range rounds {
		for _, way := range ways {
			if err := n.way(way); err != nil {
				return r, err
			}
			for _, m := range all {
				if err := m.round(n, way); err != nil {
					return r, err
				}
			}
		}
		fmt.Fprintf(os.Stderr, "round %d of %d\n", i+1, rounds)
	}
	for _, m := range all {
		r.Sets = append(r.Sets, m.set())
	}
	return r, nil
}

// describe names a machine by its processor, kernel, and Open vSwitch.
func describe(release, version, datapath string) string {
	model := runtime.GOARCH
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	release, _, _ = strings.Cut(strings.TrimSpace(release), "-")
	version, _, _ = strings.Cut(version, "\n")
	return fmt.Sprintf("a virtual machine with %d cores (%s), Linux %s, %s, %s", runtime.NumCPU(), model, release, version, datapath)
}
