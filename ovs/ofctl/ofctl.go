// SPDX-License-Identifier: Apache-2.0

// Package ofctl asks a bridge over OpenFlow, by running ovs-ofctl: its rules,
// the config bits of its ports, its treatment of fragments, and a signal when
// rules or ports change. It is the only package that runs a program.
//
// The package only reads. The connections that it makes are service
// connections to the bridge's management socket, which OVS does not count as
// controllers: they change neither roles nor the fail mode.
package ofctl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	openvswitch "github.com/digitalocean/go-openvswitch/ovs"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/flow"
	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
)

// DefaultTimeout bounds a call whose context has no deadline.
const DefaultTimeout = 10 * time.Second

// Client asks the bridges of one Open vSwitch instance. The zero Client asks
// the instance that OVS tools would ask.
type Client struct {
	// Rundir is the run directory of ovs-vswitchd; empty means
	// unixctl.Rundir().
	Rundir string
}

func (c *Client) rundir() string {
	if c.Rundir != "" {
		return c.Rundir
	}
	return unixctl.Rundir()
}

// Rules returns the OpenFlow rules of all tables of a bridge, without the
// hidden ones (see flow.ParseHidden). The bridge must allow OpenFlow 1.3
// (Bridge:protocols), because earlier versions can't say everything that a
// rule does.
func (c *Client) Rules(ctx context.Context, bridge string) ([]ovs.Rule, error) {
	var rules []ovs.Rule
	target, err := c.target(bridge)
	if err == nil {
		rules, err = c.rules(ctx, target)
	}
	if err != nil {
		return nil, fmt.Errorf("read rules of %s: %w", bridge, err)
	}
	return rules, nil
}

func (c *Client) rules(ctx context.Context, target string) ([]ovs.Rule, error) {
	// The library makes the command line; its parser, which drops what it
	// doesn't know, gets nothing but a header to parse.
	var text []byte
	var err error
	library := openvswitch.New(
		openvswitch.Protocols([]string{openvswitch.ProtocolOpenFlow13}),
		openvswitch.Exec(func(program string, args ...string) ([]byte, error) {
			text, err = c.run(ctx, program, append([]string{"--no-names"}, args...)...)
			return []byte("OFPST_FLOW reply"), err
		}))
	if _, libraryErr := library.OpenFlow.DumpFlows(target); err == nil {
		err = libraryErr
	}
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(text, []byte("OFPST_FLOW reply")) {
		return nil, fmt.Errorf("ovs-ofctl printed no reply: %q", clip(text))
	}
	return flow.Parse(string(text))
}

// PortConfig returns the OpenFlow config bits of the bridge's ports by
// OpenFlow port number, ovs.LocalPort for LOCAL.
func (c *Client) PortConfig(ctx context.Context, bridge string) (map[uint32]ovs.PortConfig, error) {
	var ports map[uint32]ovs.PortConfig
	text, err := c.query(ctx, bridge, "dump-ports-desc")
	if err == nil {
		ports, err = parsePortConfig(text)
	}
	if err != nil {
		return nil, fmt.Errorf("read port config of %s: %w", bridge, err)
	}
	return ports, nil
}

// FragMode returns how the bridge treats IP fragments: "normal", "drop",
// "reassemble" or "nx-match".
func (c *Client) FragMode(ctx context.Context, bridge string) (string, error) {
	text, err := c.query(ctx, bridge, "get-frags")
	if err != nil {
		return "", fmt.Errorf("read fragment mode of %s: %w", bridge, err)
	}
	switch mode := strings.TrimSuffix(text, "\n"); mode {
	case "normal", "drop", "reassemble", "nx-match":
		return mode, nil
	default:
		return "", fmt.Errorf("read fragment mode of %s: ovs-ofctl printed %q", bridge, clip([]byte(text)))
	}
}

// query runs a command of ovs-ofctl that takes a bridge alone.
func (c *Client) query(ctx context.Context, bridge, command string) (string, error) {
	target, err := c.target(bridge)
	if err != nil {
		return "", err
	}
	text, err := c.run(ctx, program, "--no-names", "-O", "OpenFlow13", command, target)
	return string(text), err
}

// target returns the connection method for a bridge: its management socket,
// and never the datapath or the remote host that ovs-ofctl would try for a
// bare name. The name comes from a database and is not to be trusted.
func (c *Client) target(bridge string) (string, error) {
	if bridge == "" || bridge[0] == '-' || strings.ContainsAny(bridge, "/:\x00") {
		return "", fmt.Errorf("bridge name %q: empty, begins with '-', or has a '/', a ':' or a zero byte", bridge)
	}
	return "unix:" + filepath.Join(c.rundir(), bridge+".mgmt"), nil
}

const program = "ovs-ofctl"

// run runs a program and returns what it prints.
func (c *Client) run(ctx context.Context, program string, args ...string) ([]byte, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultTimeout)
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = c.environment()
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, explain(err, stderr.Bytes())
	}
	return stdout.Bytes(), nil
}

func (c *Client) environment() []string {
	return append(os.Environ(), "OVS_RUNDIR="+c.rundir())
}

// explain makes an error of how ovs-ofctl ended and what it said.
func explain(err error, stderr []byte) error {
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w: install openvswitch-common (or openvswitch-switch)", err)
	}
	if said := clip(bytes.TrimSpace(stderr)); said != "" {
		return fmt.Errorf("%s: %w: %s", program, err, said)
	}
	return fmt.Errorf("%s: %w", program, err)
}

// clip bounds what goes from a program's output into an error.
func clip(b []byte) string {
	const most = 1000
	if len(b) > most {
		return string(b[:most]) + "…"
	}
	return string(b)
}
