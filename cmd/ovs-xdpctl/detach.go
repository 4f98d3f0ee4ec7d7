// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
	"github.com/ovs-xdp/ovs-xdp/sync/detach"
)

type detachCommand struct {
	Force bool   `help:"End the processes that hold programs, by SIGKILL if they don't end by themselves."`
	BPFFS string `name:"bpffs" default:"/sys/fs/bpf" help:"The bpffs in which a takeover may have left pins."`
}

// Run takes everything off, or says why not.
func (c *detachCommand) Run(e *environment) error {
	outcome, err := detach.Host{Rundir: unixctl.Rundir(), BPFFS: c.BPFFS}.Remove(c.Force)
	text := outcome.Text()
	switch {
	case errors.Is(err, detach.ErrRuns):
		err, text = failure{code: exitRuns}, outcome.Advice()
	case err != nil && outcome.Found.Nothing():
		return err
	}
	if e.json {
		return errors.Join(e.print(outcome), err)
	}
	e.write(text)
	return err
}
