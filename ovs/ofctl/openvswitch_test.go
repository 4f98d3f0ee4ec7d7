// SPDX-License-Identifier: Apache-2.0

package ofctl

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
)

// The tests of this package run a real Open vSwitch. They need root, and fail
// where it is missing: what they prove can't be proved without.

// lab is a private ovsdb-server and ovs-vswitchd with the userspace datapath,
// ovs-vswitchd in a network namespace of its own.
type lab struct {
	t      *testing.T
	rundir string
	daemon *os.Process // ovs-vswitchd
}

// startLab makes a bridge br0 with the ports v1, v2 and v3, which have these
// OpenFlow numbers, and a bridge br1 without rules and with the port w1.
func startLab(t *testing.T) *lab {
	t.Helper()
	rundir, err := os.MkdirTemp("/tmp", "oxo") // short: socket paths have a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(rundir) })
	for _, name := range []string{"OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR"} {
		t.Setenv(name, rundir)
	}
	l := &lab{t: t, rundir: rundir}
	db := filepath.Join(rundir, "conf.db")
	l.run("ovsdb-tool", "create", db, "/usr/share/openvswitch/vswitch.ovsschema")
	l.start(exec.Command("ovsdb-server", db, "--remote=punix:"+rundir+"/db.sock",
		"--pidfile="+rundir+"/ovsdb-server.pid", "--no-chdir"), "ovsdb-server")
	l.run("ovs-vsctl", "--no-wait", "init")
	vswitchd := exec.Command("ovs-vswitchd", "unix:"+rundir+"/db.sock", "--disable-system",
		"--pidfile="+rundir+"/ovs-vswitchd.pid", "--no-chdir")
	vswitchd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	l.daemon = l.start(vswitchd, "ovs-vswitchd")
	setup := []string{"--timeout=20",
		"--", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev",
		"--", "add-br", "br1", "--", "set", "bridge", "br1", "datapath_type=netdev", "fail_mode=secure",
		"--", "add-port", "br1", "w1", "--", "set", "interface", "w1", "type=internal", "ofport_request=1"}
	for _, n := range []string{"1", "2", "3"} {
		setup = append(setup, "--", "add-port", "br0", "v"+n, "--", "set", "interface", "v"+n, "type=internal", "ofport_request="+n)
	}
	l.run("ovs-vsctl", setup...)
	return l
}

// start starts a daemon, waits for its control socket and ends it with the
// test.
func (l *lab) start(cmd *exec.Cmd, daemon string) *os.Process {
	l.t.Helper()
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		l.t.Fatalf("%v (install openvswitch-switch; needs root)", err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	stop := func() {
		cmd.Process.Kill()
		<-exited
	}
	l.t.Cleanup(stop)
	for range 500 {
		if socket, _, err := unixctl.DaemonSocket(l.rundir, daemon); err == nil {
			client := unixctl.Client{Socket: socket}
			if _, err := client.Call(context.Background(), "version"); err == nil {
				return cmd.Process
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	l.t.Fatalf("%s did not come up: %s", daemon, log.String())
	return nil
}

// run runs a program to its end and returns what it prints.
func (l *lab) run(program string, args ...string) string {
	l.t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		l.t.Fatalf("%s %q (install openvswitch-switch; needs root): %v: %s", program, args, err, out)
	}
	return string(out)
}

// ofctl runs ovs-ofctl with a version of OpenFlow that knows everything.
func (l *lab) ofctl(args ...string) {
	l.t.Helper()
	l.run("ovs-ofctl", append([]string{"-O", "OpenFlow15"}, args...)...)
}
