// SPDX-License-Identifier: Apache-2.0

// Command bench measures OVS with and without the lane, side by side, and writes
// tables, JSON and plots into test/bench/results:
//
//	go run ./test/bench host    -rounds 10   # on this machine's kernel: make bench
//	go run ./test/bench kernels -kernel 6.12 # in an emulated machine:   make bench-kernels
//
// All ways are measured by turns, round after round, for a machine's speed changes
// by the minute: what can be trusted are ratios and medians of one run. It needs
// root, and uses networks and daemons of its own, as the tests do.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/ovs-xdp/ovs-xdp/test/bench/figure"
)

const usage = `usage: bench host    [-rounds N] [-only LIST] [-results FOLDER]
       bench kernels [-kernel SERIES] [-short] [-results FOLDER]
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("what to measure is not said\n%s", usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	results := flags.String("results", "test/bench/results", "folder for what is written; none when empty")
	switch args[0] {
	case "host":
		rounds := flags.Int("rounds", 10, "how often each way is measured")
		only := flags.String("only", "program frames cores tcp latency", "what to measure")
		_ = flags.Parse(args[1:])
		r, err := host(ctx, *rounds, strings.Fields(*only))
		if err != nil {
			return err
		}
		return show(r, *results, "host")
	case "kernels":
		kernel := flags.String("kernel", "6.12", "series of the kernel")
		short := flags.Bool("short", false, "one round")
		_ = flags.Parse(args[1:])
		r, err := kernels(ctx, *kernel, *short)
		if err != nil {
			return err
		}
		return show(r, *results, "kernels")
	}
	return fmt.Errorf("measure %s: there is no such thing\n%s", args[0], usage)
}

// kernels measures in an emulated machine, by way of test/kernels.
func kernels(ctx context.Context, kernel string, short bool) (figure.Report, error) {
	file, err := os.CreateTemp("", "ovs-xdp-figures-")
	if err != nil {
		return figure.Report{}, err
	}
	file.Close()
	defer os.Remove(file.Name())
	args := []string{"run", "./test/kernels", "test", "-icount", "-cpus", "1", "-suites", "bench", "-kernels", kernel, "-figures", file.Name()}
	if !short {
		args = append(args, "-full")
	}
	c := exec.CommandContext(ctx, "go", args...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := c.Run(); err != nil {
		return figure.Report{}, fmt.Errorf("measure on Linux %s: %w", kernel, err)
	}
	b, err := os.ReadFile(file.Name())
	if err != nil {
		return figure.Report{}, err
	}
	r, err := figure.Read(b)
	if short {
		r.Command += " SHORT=1"
	}
	return r, err
}

// show prints a report and writes it into the folder, under a name.
func show(r figure.Report, dir, name string) error {
	fmt.Print(r.Text())
	b, err := r.Marshal()
	if err != nil || dir == "" {
		return err
	}
	files := map[string]string{name + ".json": string(b), name + ".md": r.Markdown()}
	for _, s := range r.Sets {
		files[s.Name+".svg"] = s.SVG(r.Command)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
