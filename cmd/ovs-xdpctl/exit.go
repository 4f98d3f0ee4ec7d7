// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
)

// The exit codes.
const (
	exitFailed     = 1  // the daemon refused the command, or it failed
	exitUsage      = 2  // the command line can't be read
	exitNotRunning = 3  // no ovs-xdpd runs
	exitNoAnswer   = 4  // it runs, and does not answer, or its loop hangs
	exitRuns       = 5  // detach: a daemon runs, and may not be ended without --force
	exitWarnings   = 10 // doctor: something is not as it should be
	exitProblems   = 11 // doctor: something keeps ports or bridges off the lane
)

// exitCodes tells of them in the help.
const exitCodes = "Exit codes: 0 success; 1 the command failed, or the daemon refused it; 2 bad command line; " +
	"3 no ovs-xdpd runs; 4 it does not answer, or hangs; 5 (detach) a daemon runs; " +
	"10 (doctor) warnings, 11 (doctor) problems."

// failure is an error with an exit code. Its text is empty when all has been
// said.
type failure struct {
	code int
	err  error
}

func (f failure) Error() string {
	if f.err == nil {
		return ""
	}
	return f.err.Error()
}

func (f failure) Unwrap() error { return f.err }

func usageError(err error) error { return failure{exitUsage, err} }

// exitCode is that of an error.
func exitCode(err error) int {
	var f failure
	switch {
	case err == nil:
		return 0
	case errors.As(err, &f):
		return f.code
	case errors.Is(err, unixctl.ErrNotRunning):
		return exitNotRunning
	}
	return exitFailed
}
