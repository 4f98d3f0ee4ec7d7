// SPDX-License-Identifier: Apache-2.0

// Command demo shows the express lane on real traffic, step by step: a private
// Open vSwitch, four machines on two VLANs, two more behind an uplink, first
// without ovs-xdpd, then with it, then without it again. It checks what it
// shows: exit code 0 means that everything came out as it says.
//
// It needs root, touches nothing of the host's own network or Open vSwitch,
// and leaves nothing behind, also after Ctrl-C.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

func main() {
	os.Exit(run(os.Stdout))
}

// run shows the demo and returns the exit code: 0, 1 when a step failed, or
// 128 and the number of the signal that ended it.
func run(out io.Writer) int {
	// A reader that goes away (`make demo | head`) must not end the demo
	// before it has cleaned up. (Notify, not Ignore: children inherit that.)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go func() {
		s := <-signals
		fmt.Fprintf(out, "\n%v: cleaning up\n", s)
		cancel(interrupted(s.(syscall.Signal)))
	}()

	d := &demo{ctx: ctx, out: out}
	err := d.run()
	if closeErr := d.close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("clean up: %w", closeErr))
	}
	var s interrupted
	switch {
	case errors.As(context.Cause(ctx), &s):
		return 128 + int(s)
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	return 0
}

// interrupted is the signal that ended the demo.
type interrupted syscall.Signal

func (s interrupted) Error() string { return "interrupted by " + syscall.Signal(s).String() }

// run goes through the steps.
func (d *demo) run() error {
	if _, err := lab.Binaries(); err != nil {
		return err
	}
	for _, step := range []struct {
		title string
		do    func() error
	}{
		{"A private Open vSwitch, four VMs on two VLANs, an uplink", d.build},
		{"Open vSwitch alone", d.before},
		{"ovs-xdpd watches: external_ids:xdp-offload=observe", d.observe},
		{"The express lane opens: external_ids:xdp-offload=on", d.open},
		{"Throughput, lane off and on in turn", d.compare},
		{"ovs-xdpd stops", d.after},
	} {
		if err := d.ctx.Err(); err != nil {
			return err
		}
		d.step++
		fmt.Fprintf(d.out, "\n%d. %s\n", d.step, step.title)
		if err := step.do(); err != nil {
			return fmt.Errorf("step %d: %w", d.step, err)
		}
	}
	return d.summary()
}
