// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/test/kernels/boot"
)

// shell opens a prompt in a machine, or runs one command there and returns its
// exit code.
func shell(ctx context.Context, m machine, series, command string, out io.Writer) (int, error) {
	k, err := boot.Get(ctx, series, os.Stderr)
	if err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "ovs-xdp-kernels-")
	if err != nil {
		return 1, fmt.Errorf("make a share: %w", err)
	}
	defer os.RemoveAll(dir)
	g := guest{machine: m, kernel: k, share: filepath.Join(dir, "share")}
	report := &report{text: out}
	g.heard = report
	job := prompt()
	if command != "" {
		if g.console, err = os.Create(filepath.Join(dir, "console")); err != nil {
			return 1, fmt.Errorf("make a console: %w", err)
		}
		defer g.console.Close()
		job = "tell suite command\n(eval " + boot.Quote(command) + ") </dev/null >&3 2>&1\ntell code $?\n"
	}
	if err := os.Mkdir(g.share, 0o755); err != nil {
		return 1, fmt.Errorf("make a share: %w", err)
	}
	if err := os.WriteFile(filepath.Join(g.share, "job.sh"), []byte(job), 0o644); err != nil {
		return 1, fmt.Errorf("write the job: %w", err)
	}
	err = g.boot(ctx)
	if command == "" {
		return 0, err
	}
	if err == nil && !report.done {
		err = fmt.Errorf("run a command on Linux %s: the machine ended before it: %s\n%s", k.Release, report.failed, tail(g.console.Name(), 30))
	}
	if err != nil {
		return 1, err
	}
	return report.suites[0].code, nil
}

// prompt returns the job of a machine with an interactive shell, whose
// terminal is as large as this one.
func prompt() string {
	rows, columns := 24, 80
	if size, err := unix.IoctlGetWinsize(int(os.Stdout.Fd()), unix.TIOCGWINSZ); err == nil && size.Row > 0 {
		rows, columns = int(size.Row), int(size.Col)
	}
	return fmt.Sprintf(`TERM=%s
export TERM
stty -F /dev/ttyS0 sane rows %d cols %d
echo "Linux $(uname -r). $PWD is the host's, read-only; /run/kernels is shared; OVS_XDP_NICS=$OVS_XDP_NICS" >/dev/ttyS0
echo "exit, or Ctrl-A x, ends the machine." >/dev/ttyS0
setsid -c bash -i </dev/ttyS0 >/dev/ttyS0 2>&1
`, boot.Quote(os.Getenv("TERM")), rows, columns)
}

// tail returns the last lines of a file, "" when it can't be read.
func tail(path string, lines int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	all := bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}
