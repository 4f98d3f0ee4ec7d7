// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/sync/capture"
	"github.com/ovs-xdp/ovs-xdp/sync/report"
)

type captureCommand struct {
	Of    string `arg:"" name:"port-or-mac" help:"Frames from and to this port, interface or MAC address."`
	Write string `short:"w" placeholder:"FILE" help:"Write them to this file as pcapng; - is the standard output."`
	Count int    `short:"c" help:"End after so many frames."`
	Rate  int    `default:"1000" help:"Capture at most so many frames a second."`
	Snap  int    `short:"s" default:"${maxSnap}" help:"Capture so many bytes of a frame."`
}

// check refuses what can't be done.
func (c *captureCommand) check() error {
	switch {
	case c.Rate < 1:
		return fmt.Errorf("--rate=%d: want 1 or more", c.Rate)
	case c.Snap < 1 || c.Snap > bpf.MaxSnap:
		return fmt.Errorf("--snap=%d: want 1 to %d", c.Snap, bpf.MaxSnap)
	case c.Count < 0:
		return fmt.Errorf("--count=%d: want 0 (no limit) or more", c.Count)
	case c.Write == "-" && isTerminal(os.Stdout):
		return errors.New("-w -: pcapng is nothing for a terminal: give a file or a program, as in ovs-xdpctl capture tap1 -w - | tcpdump -enr -")
	}
	return nil
}

// Run captures until it is interrupted.
func (c *captureCommand) Run(e *environment) (err error) {
	if err := c.check(); err != nil {
		return usageError(err)
	}
	cfg := capture.Config{Of: c.Of, Rate: c.Rate, Snap: c.Snap, Count: c.Count, Ports: e.ports,
		Say: func(line string) { fmt.Fprintln(e.stderr, line) }}
	if c.Write == "" || c.Write == "-" {
		return capture.Run(e.ctx, cfg, c.writer(e, e.stdout))
	}
	file, err := os.Create(c.Write)
	if err != nil {
		return fmt.Errorf("create the file to capture to: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return capture.Run(e.ctx, cfg, c.writer(e, file))
}

func (c *captureCommand) writer(e *environment, out io.Writer) capture.Writer {
	switch {
	case c.Write != "":
		return capture.NewPCAPNG(out, c.Snap)
	case e.json:
		return capture.Objects{Out: out}
	}
	return capture.Lines{Out: out}
}

// ports asks the daemon for all ports.
func (e *environment) ports(ctx context.Context) ([]report.Port, error) {
	asking := *e
	asking.ctx = ctx
	reply, err := asking.ask("port/show")
	if err != nil {
		return nil, err
	}
	var ports []report.Port
	if err := json.Unmarshal(reply, &ports); err != nil {
		return nil, fmt.Errorf("read the daemon's answer: %w", err)
	}
	return ports, nil
}
