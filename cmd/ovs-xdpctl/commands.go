// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/alecthomas/kong"

	"github.com/ovs-xdp/ovs-xdp/sync/report"
	"github.com/ovs-xdp/ovs-xdp/sync/top"
)

// commands is the command line.
type commands struct {
	Output  string           `short:"o" enum:"text,json" default:"text" help:"text or json."`
	Version kong.VersionFlag `help:"Print the version and exit."`

	Status   statusCommand   `cmd:"" help:"Show the daemon, every bridge, which part of the frames is on the lane, and what stays with OVS and why; of one bridge, everything."`
	Ports    portsCommand    `cmd:"" help:"Show ports, how many frames took which path, and how many their devices lost."`
	FDB      fdbCommand      `cmd:"" name:"fdb" help:"Show the stations in the kernel's FDB."`
	Flows    flowsCommand    `cmd:"" help:"Show the flows in the kernel, of bridges that do what OVS's megaflows do (external_ids:xdp-lane)."`
	Rules    rulesCommand    `cmd:"" help:"Show OpenFlow rules, what the lane makes of each, and how many frames hit it on the lane, in OVS, and together."`
	Why      whyCommand      `cmd:"" help:"Say which way a frame takes and why, next to what OVS says (ofproto/trace)."`
	Stats    statsCommand    `cmd:"" help:"Show what OVS's own counters say next to what the lane has taken from them, and the sums."`
	Coverage coverageCommand `cmd:"" help:"Show counters of all ports together, by reason, and frames-lost: those that were lost after a redirect."`
	Top      topCommand      `cmd:"" help:"Watch bridges and ports live; keys sort."`

	Capture captureCommand `cmd:"" help:"Show frames that take the lane, which tcpdump does not see: samples of them, as they are sent. Nothing is slower when nobody captures."`

	Doctor doctorCommand `cmd:"" help:"Look at this host without changing it: what is in the lane's way, why it matters, which command mends it. Works without the daemon."`
	Detach detachCommand `cmd:"" help:"In an emergency: take every program and pin of ovs-xdp off this network namespace's devices, also when the daemon is gone or hangs."`

	Completion completionCommand `cmd:"" help:"Print a completion script for a shell."`
	Complete   completeCommand   `cmd:"" hidden:"" help:"Print what may come next on a command line."`
}

type statusCommand struct {
	Bridge string `arg:"" optional:"" help:"Only this bridge."`
}

// Run shows the status. A daemon whose loop hangs is a failure, though it answers.
func (c *statusCommand) Run(e *environment) error {
	reply, err := e.ask("offload/show", optional(c.Bridge)...)
	if err != nil {
		return err
	}
	var status report.Status
	if err := json.Unmarshal(reply, &status); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	if e.json {
		err = e.print(reply)
	} else {
		e.write(status.Text(c.Bridge))
	}
	if err == nil && status.Stalled {
		return failure{code: exitNoAnswer}
	}
	return err
}

type portsCommand struct {
	Bridge string `arg:"" optional:"" help:"Only this bridge."`
}

// Run shows ports.
func (c *portsCommand) Run(e *environment) error { return e.show("port/show", optional(c.Bridge)...) }

type fdbCommand struct {
	Bridge string `arg:"" optional:"" help:"Only this bridge."`
}

// Run shows stations.
func (c *fdbCommand) Run(e *environment) error { return e.show("fdb/show", optional(c.Bridge)...) }

type flowsCommand struct {
	Bridge string `arg:"" optional:"" help:"Only flows of frames that come from this bridge's ports."`
}

// Run shows flows.
func (c *flowsCommand) Run(e *environment) error { return e.show("flow/show", optional(c.Bridge)...) }

type rulesCommand struct {
	Bridge string `arg:"" optional:"" help:"Only this bridge."`
}

// Run shows OpenFlow rules.
func (c *rulesCommand) Run(e *environment) error { return e.show("rule/show", optional(c.Bridge)...) }

type whyCommand struct {
	Bridge string `arg:"" help:"Bridge."`
	InPort string `arg:"" help:"Port that the frame comes from, by name or OpenFlow number."`
	VLAN   string `arg:"" name:"vlan" help:"VLAN as in fdb; 0 on an access port stands for its own."`
	DstMAC string `arg:"" name:"dst-mac" help:"Destination address."`
}

// Run explains a frame's way.
func (c *whyCommand) Run(e *environment) error {
	return e.show("offload/why", c.Bridge, c.InPort, c.VLAN, c.DstMAC)
}

type statsCommand struct {
	Bridge string `arg:"" optional:"" help:"Only this bridge."`
}

// Run shows counters beside OVS's.
func (c *statsCommand) Run(e *environment) error { return e.show("stats/show", optional(c.Bridge)...) }

type coverageCommand struct{}

// Run shows sums of counters.
func (c *coverageCommand) Run(e *environment) error { return e.show("coverage/show") }

type topCommand struct {
	Interval time.Duration `short:"i" default:"1s" help:"Ask the daemon this often."`
}

// Run shows the live view.
func (c *topCommand) Run(e *environment) error {
	switch {
	case c.Interval < 100*time.Millisecond || c.Interval > time.Minute:
		return usageError(fmt.Errorf("--interval=%v: want 100ms to 1m", c.Interval))
	case !isTerminal(os.Stdin) || !isTerminal(os.Stdout):
		return usageError(errors.New("top needs a terminal: for a file or a program use ports or stats with -o json"))
	}
	return top.Run(e.ctx, top.Config{Interval: c.Interval, Sample: func(context.Context) (top.Sample, error) { return e.sample() }})
}

// sample asks for what top shows.
func (e *environment) sample() (top.Sample, error) {
	s := top.Sample{At: time.Now()}
	ports, err := e.ask("port/show")
	if err != nil {
		return s, err
	}
	status, err := e.ask("offload/show")
	if err != nil {
		return s, err
	}
	if err := errors.Join(json.Unmarshal(ports, &s.Ports), json.Unmarshal(status, &s.Status)); err != nil {
		return s, fmt.Errorf("read the daemon's answer: %w", err)
	}
	return s, nil
}

// optional leaves an argument out when it is not given.
func optional(arg string) []string {
	if arg == "" {
		return nil
	}
	return []string{arg}
}
