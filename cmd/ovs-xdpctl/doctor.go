// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
	"github.com/ovs-xdp/ovs-xdp/sync/doctor"
)

type doctorCommand struct {
	BPFFS string `name:"bpffs" default:"/sys/fs/bpf" help:"Where a bpffs is expected."`
}

// Run looks at the host, and tells by the exit code how it is.
func (c *doctorCommand) Run(e *environment) error {
	r := doctor.Judge(doctor.Host{Rundir: unixctl.Rundir(), BPFFS: c.BPFFS}.Read(e.ctx))
	var err error
	switch r.Worst {
	case doctor.Warning:
		err = failure{code: exitWarnings}
	case doctor.Problem:
		err = failure{code: exitProblems}
	}
	if e.json {
		return errors.Join(e.print(r), err)
	}
	e.write(r.Text())
	return err
}
