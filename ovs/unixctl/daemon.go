// SPDX-License-Identifier: Apache-2.0

package unixctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Rundir returns the directory of pidfiles and sockets: the environment
// variable OVS_RUNDIR, as for all OVS tools, or /var/run/openvswitch.
func Rundir() string {
	if dir := os.Getenv("OVS_RUNDIR"); dir != "" {
		return dir
	}
	return "/var/run/openvswitch"
}

// ErrNotRunning tells that a daemon has no pidfile, or one that no process
// holds locked.
var ErrNotRunning = errors.New("not running")

// DaemonSocket finds the control socket of a running daemon, as ovs-appctl -t
// does: it reads <rundir>/<daemon>.pid and returns
// <rundir>/<daemon>.<pid>.ctl. The error is ErrNotRunning when the pidfile is
// absent or stale. Unlike ovs-appctl it does not ask that the lock's owner be
// the pid in the file, so that a daemon in another pid namespace is found too.
func DaemonSocket(rundir, daemon string) (path string, pid int, err error) {
	pidfile := filepath.Join(rundir, daemon+".pid")
	pid, locked, err := readPidfile(pidfile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", 0, fmt.Errorf("find %s: %w: no pidfile %s", daemon, ErrNotRunning, pidfile)
	case err != nil:
		return "", 0, fmt.Errorf("find %s: %w", daemon, err)
	case !locked:
		return "", 0, fmt.Errorf("find %s: %w: stale pidfile %s of process %d", daemon, ErrNotRunning, pidfile, pid)
	}
	return filepath.Join(rundir, fmt.Sprintf("%s.%d.ctl", daemon, pid)), pid, nil
}
