// SPDX-License-Identifier: Apache-2.0

// Command kernels runs the tests inside virtual machines with Debian's kernels,
// where Open vSwitch has its kernel datapath, and opens a prompt in one:
//
//	go run ./test/kernels test  -kernels "6.1 6.12" -run TestForward
//	go run ./test/kernels shell -kernel 6.12 -command 'ovs-vswitchd --version'
//
// A machine's root is the host's own, read-only below a layer that is lost at
// the end: whatever the host has installed is there, and nothing in the
// machine can change it. Only the kernel and its modules are Debian's; they are
// fetched once and cached. The machines are emulated: no KVM is needed, and
// time runs as outside, only fewer instructions fit in it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const usage = `usage: kernels test  [-kernels LIST] [-suites LIST] [-run REGEX] [-parallel] ...
       kernels shell [-kernel SERIES] [-command COMMAND] ...
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
	}
	stop()
	os.Exit(code)
}

// run runs a subcommand and returns the exit code of the process.
func run(ctx context.Context, args []string, out io.Writer) (int, error) {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return 2, nil
	}
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	m := machine{}
	flags.IntVar(&m.cpus, "cpus", 1, "virtual CPUs of a machine; QEMU 7.2 emulates one reliably")
	flags.IntVar(&m.memory, "memory", 2048, "memory of a machine, in MiB")
	flags.StringVar(&m.accel, "accel", "tcg", "how QEMU runs a machine: tcg or kvm")
	flags.BoolVar(&m.icount, "icount", false, "count instructions for time while a machine is busy: measurements are those of an idle host (tcg)")
	repository, err := findRepository()
	if err != nil {
		return 1, err
	}
	m.repository = repository
	switch args[0] {
	case "test":
		t := tests{out: out}
		kernels := flags.String("kernels", "6.1 6.12", "series of kernels to test on")
		suites := flags.String("suites", "", "suites to run; all when empty")
		flags.StringVar(&t.run, "run", "", "run only the tests that match")
		flags.BoolVar(&t.parallel, "parallel", true, "run the machines at the same time")
		flags.BoolVar(&t.full, "full", false, "run all end-to-end tests on every kernel, in full length")
		flags.BoolVar(&t.matrix, "matrix", false, "write what the tests saw working into the README")
		flags.StringVar(&t.figures, "figures", "", "write what the suite bench measures on the first kernel into this file, as JSON")
		flags.DurationVar(&t.timeout, "timeout", 40*time.Minute, "time a machine may take")
		_ = flags.Parse(args[1:])
		t.machine = m
		names := strings.Fields(*suites)
		if t.full && len(names) == 0 {
			names = []string{"bpf", "host", "e2e", "rest", "conformance"}
		}
		if err := t.choose(strings.Fields(*kernels), names); err != nil {
			return 2, err
		}
		if err := t.all(ctx); err != nil {
			return 1, err
		}
		return 0, nil
	case "shell":
		kernel := flags.String("kernel", "6.12", "series of the kernel")
		command := flags.String("command", "", "run this command instead of a prompt, and exit with its code")
		_ = flags.Parse(args[1:])
		return shell(ctx, m, *kernel, *command, out)
	}
	fmt.Fprint(os.Stderr, usage)
	return 2, nil
}

// findRepository returns the folder of go.mod, at or above the working
// directory.
func findRepository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d, nil
		}
		if d == "/" {
			return "", fmt.Errorf("find the repository: no go.mod in %s or above", dir)
		}
	}
}
