// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// tests is a run of suites on kernels.
type tests struct {
	machine
	kernels  []string // series
	suites   []suite
	run      string // regular expression of tests, all when empty
	parallel bool
	timeout  time.Duration // of one machine
	out      io.Writer
}

// choose sets what is tested where.
func (t *tests) choose(kernels, suites []string) error {
	if len(kernels) == 0 {
		return errors.New("choose kernels: none is named")
	}
	t.kernels = kernels
	var err error
	t.suites, err = findSuites(suites)
	return err
}

// all runs every suite on every kernel, tells how it went, and fails unless
// all went well.
func (t *tests) all(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "ovs-xdp-kernels-")
	if err != nil {
		return fmt.Errorf("make a folder for the tests: %w", err)
	}
	defer os.RemoveAll(dir)
	kernels := make([]*kernel, len(t.kernels))
	for i, series := range t.kernels {
		if kernels[i], err = get(ctx, series, t.out); err != nil {
			return err
		}
	}
	for _, s := range t.suites {
		if err := s.build(ctx, t.repository, dir); err != nil {
			return err
		}
	}
	results := make([]result, len(kernels))
	var machines sync.WaitGroup
	for i, k := range kernels {
		out := t.out
		if t.parallel && len(kernels) > 1 {
			out = &prefixed{prefix: t.kernels[i] + " | ", w: t.out}
		}
		machines.Go(func() { results[i] = t.one(ctx, k, dir, out) })
		if !t.parallel {
			machines.Wait()
		}
	}
	machines.Wait()
	var errs []error
	fmt.Fprintln(t.out)
	for i := range results {
		errs = append(errs, results[i].summary(t))
	}
	return errors.Join(errs...)
}

// result is what came of one machine.
type result struct {
	kernel  *kernel
	report  report
	err     error  // of the machine
	console string // its end
	alarms  []string
}

// one runs the suites on one kernel.
func (t *tests) one(ctx context.Context, k *kernel, dir string, out io.Writer) result {
	ctx, cancel := context.WithTimeoutCause(ctx, t.timeout, fmt.Errorf("it took longer than %s", t.timeout))
	defer cancel()
	res := result{kernel: k, report: report{text: out}}
	res.err = func() error {
		home := filepath.Join(dir, k.release)
		g := guest{machine: t.machine, kernel: k, share: filepath.Join(home, "share"), heard: &res.report}
		if err := os.MkdirAll(g.share, 0o755); err != nil {
			return fmt.Errorf("make a share: %w", err)
		}
		var err error
		if g.console, err = os.Create(filepath.Join(home, "console")); err != nil {
			return fmt.Errorf("make a console: %w", err)
		}
		defer g.console.Close()
		var job strings.Builder
		for _, s := range t.suites {
			name := s.name + ".test"
			if err := os.Link(filepath.Join(dir, name), filepath.Join(g.share, name)); err != nil {
				return fmt.Errorf("share the tests: %w", err)
			}
			job.WriteString(s.job(t.repository, t.run))
		}
		if err := os.WriteFile(filepath.Join(g.share, "job.sh"), []byte(job.String()), 0o644); err != nil {
			return fmt.Errorf("write the job: %w", err)
		}
		err = g.boot(ctx)
		res.console = tail(g.console.Name(), 40)
		res.alarms = alarms(g.console.Name())
		return err
	}()
	return res
}

// alarms returns the lines with which the kernel says that it is unwell.
func alarms(console string) []string {
	b, err := os.ReadFile(console)
	if err != nil {
		return nil
	}
	var found []string
	for line := range strings.Lines(string(b)) {
		for _, word := range []string{"WARNING: ", "BUG: ", "Oops: ", "Kernel panic", "general protection fault", "Out of memory"} {
			if strings.Contains(line, word) {
				found = append(found, strings.TrimSpace(line))
				break
			}
		}
	}
	return found
}

// summary prints a line for each suite and returns what went wrong.
func (r *result) summary(t *tests) error {
	var errs []error
	name := "kernel " + strings.TrimSuffix(r.kernel.release, "-amd64")
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{name}, args...)...))
	}
	tests := 0
	for _, s := range r.report.suites {
		fmt.Fprintf(t.out, "%s (datapath system): %s %d passed, %d failed", name, s.name, len(s.passed), len(s.failed))
		if len(s.skipped) > 0 {
			fmt.Fprintf(t.out, ", %d skipped", len(s.skipped))
		}
		fmt.Fprintf(t.out, " in %.0f s\n", s.took.Seconds())
		for _, p := range s.problems(t.run == "") {
			bad("%s: %s", s.name, p)
		}
		tests += len(s.passed)
	}
	for _, line := range r.alarms {
		bad("it says: %s", line)
	}
	if r.err != nil {
		bad("%w", r.err)
	}
	if r.report.failed != "" {
		bad("can't %s", r.report.failed)
	}
	if n := len(r.report.suites); !r.report.done {
		bad("the machine ended after %d of %d suites; the end of its console:\n%s", n, len(t.suites), r.console)
	} else if n != len(t.suites) || tests == 0 && len(errs) == 0 {
		bad("%d of %d suites ran, %d tests passed", n, len(t.suites), tests)
	}
	if r.report.done && r.report.release != r.kernel.release {
		bad("the machine ran %s", r.report.release)
	}
	return errors.Join(errs...)
}

// prefixed writes every line with a prefix. A Write is one line.
type prefixed struct {
	prefix string
	w      io.Writer
}

func (p *prefixed) Write(line []byte) (int, error) {
	_, err := p.w.Write(bytes.Join([][]byte{[]byte(p.prefix), line}, nil))
	return len(line), err
}
