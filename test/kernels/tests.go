// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/kernels/boot"
)

// tests is a run of suites on kernels.
type tests struct {
	machine
	kernels  []string // series
	suites   []suite
	run      string // regular expression of tests, all when empty
	parallel bool
	full     bool          // every test on every kernel, none shortened
	matrix   bool          // put into the README what was seen
	figures  string        // file that gets those of the suite bench
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
	kernels := make([]*boot.Kernel, len(t.kernels))
	for i, series := range t.kernels {
		if kernels[i], err = boot.Get(ctx, series, t.out); err != nil {
			return err
		}
	}
	for _, s := range t.suites {
		if err := s.build(ctx, t.repository, dir); err != nil {
			return err
		}
	}
	if err := buildTraffic(ctx, t.repository, filepath.Join(dir, "traffic")); err != nil {
		return err
	}
	results := make([]result, len(kernels))
	var machines sync.WaitGroup
	for i, k := range kernels {
		out := t.out
		if t.parallel && len(kernels) > 1 {
			out = &prefixed{prefix: t.kernels[i] + " | ", w: t.out}
		}
		machines.Go(func() { results[i] = t.one(ctx, k, t.leave(i), dir, out) })
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
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if t.figures != "" {
		if len(results[0].figures) == 0 {
			return errors.New("write the figures: none were measured")
		}
		if err := os.WriteFile(t.figures, results[0].figures, 0o644); err != nil {
			return fmt.Errorf("write the figures: %w", err)
		}
	}
	if !t.matrix {
		return nil
	}
	return putMatrix(t.repository, matrix(results))
}

// result is what came of one machine.
type result struct {
	kernel  *boot.Kernel
	report  report
	err     error  // of the machine
	console string // its end
	alarms  []string
	// saw is what the tests saw working, for the matrix.
	saw []string
	// figures is what the suite bench has measured, as JSON.
	figures []byte
}

// tries is how often a test may run: an emulated machine is slow, and two share
// this one's CPUs.
const tries = 3

// one runs the suites on one kernel. Tests that fail run again in a machine of
// their own; the summary tells which passed only then.
func (t *tests) one(ctx context.Context, k *boot.Kernel, leave []string, dir string, out io.Writer) result {
	ctx, cancel := context.WithTimeoutCause(ctx, t.timeout, fmt.Errorf("it took longer than %s", t.timeout))
	defer cancel()
	res := t.boot(ctx, k, filepath.Join(dir, k.Release), dir, out, t.suites, nil, leave)
	for try := 2; try <= tries && res.err == nil && res.report.done; try++ {
		runs := make(map[string]string) // by suite
		var failed []suite
		for _, s := range res.report.suites {
			if len(s.failed) > 0 && s.code != -1 && s.unfinished == "" {
				i := slices.IndexFunc(t.suites, func(t suite) bool { return t.name == s.name })
				failed = append(failed, t.suites[i])
				runs[s.name] = "^(" + strings.Join(s.failed, "|") + ")$"
			}
		}
		if len(failed) == 0 {
			break
		}
		again := t.boot(ctx, k, filepath.Join(dir, fmt.Sprintf("%s-%d", k.Release, try)), dir, out, failed, runs, nil)
		res.alarms = append(res.alarms, again.alarms...)
		res.saw = append(res.saw, again.saw...)
		if again.figures != nil {
			res.figures = again.figures
		}
		for _, s := range again.report.suites {
			i := slices.IndexFunc(res.report.suites, func(r suiteReport) bool { return r.name == s.name })
			res.report.suites[i].secondTry(s)
		}
	}
	return res
}

// leave returns the tests that the i-th kernel leaves to the others.
func (t *tests) leave(i int) []string {
	if t.full || t.run != "" {
		return nil
	}
	return others(i, len(t.kernels))
}

// boot runs suites in a machine, but for the tests in leave; runs says what of
// each, all when it is nil.
func (t *tests) boot(ctx context.Context, k *boot.Kernel, home, binaries string, out io.Writer, suites []suite, runs map[string]string, leave []string) result {
	res := result{kernel: k, report: report{text: out}}
	res.err = func() error {
		g := guest{machine: t.machine, kernel: k, share: filepath.Join(home, "share"), heard: &res.report}
		bin := filepath.Join(g.share, "bin")
		err := os.MkdirAll(bin, 0o755)
		if err == nil {
			err = os.Link(filepath.Join(binaries, "traffic"), filepath.Join(bin, "traffic"))
		}
		if err != nil {
			return fmt.Errorf("make a share: %w", err)
		}
		if g.console, err = os.Create(filepath.Join(home, "console")); err != nil {
			return fmt.Errorf("make a console: %w", err)
		}
		defer g.console.Close()
		var job strings.Builder
		for _, s := range suites {
			name := s.name + ".test"
			if err := os.Link(filepath.Join(binaries, name), filepath.Join(g.share, name)); err != nil {
				return fmt.Errorf("share the tests: %w", err)
			}
			job.WriteString(s.job(t.repository, cmp.Or(runs[s.name], t.run), !t.full, leave))
		}
		if err := os.WriteFile(filepath.Join(g.share, "job.sh"), []byte(job.String()), 0o644); err != nil {
			return fmt.Errorf("write the job: %w", err)
		}
		err = g.boot(ctx)
		res.console = tail(g.console.Name(), 40)
		res.alarms = alarms(g.console.Name())
		if b, readErr := os.ReadFile(filepath.Join(g.share, "saw")); readErr == nil {
			res.saw = strings.Split(strings.TrimSpace(string(b)), "\n")
		}
		if b, readErr := os.ReadFile(filepath.Join(g.share, figuresFile)); readErr == nil {
			res.figures = b
		}
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
	name := "kernel " + strings.TrimSuffix(r.kernel.Release, "-amd64")
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
		if len(s.again) > 0 {
			fmt.Fprintf(t.out, "%s: %s: passed only when run again: %s\n", name, s.name, strings.Join(s.again, " "))
		}
		for _, m := range maySkip {
			if m.suite == s.name && slices.Contains(s.skipped, m.test) {
				fmt.Fprintf(t.out, "%s: %s: skipped %s: %s\n", name, s.name, m.test, m.reason)
			}
		}
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
	if r.report.done && r.report.release != r.kernel.Release {
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
