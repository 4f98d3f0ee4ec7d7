// SPDX-License-Identifier: Apache-2.0

// Package ovstest runs a private Open vSwitch for tests: ovsdb-server and
// ovs-vswitchd with a folder and a network namespace of their own, so that
// several instances live side by side. It needs root and the programs of
// Open vSwitch, and fails the test, not skips it, when they are missing.
//
// Bridges must use datapath_type=netdev. Everything is gone when the test
// ends, also when the test program is killed: the processes die with it and
// the namespace has no name that could be left over.
package ovstest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const schemaFile = "/usr/share/openvswitch/vswitch.ovsschema"

// OVS is one instance.
type OVS struct {
	t      testing.TB
	dir    string
	holder *exec.Cmd // keeps the network namespace
	server *exec.Cmd
	daemon *exec.Cmd
}

// Start runs a database server with an empty database and an ovs-vswitchd.
func Start(t testing.TB) *OVS {
	t.Helper()
	o := StartDatabase(t)
	o.StartDaemon()
	return o
}

// StartDatabase runs a database server alone.
func StartDatabase(t testing.TB) *OVS {
	t.Helper()
	// The paths of unix sockets are short: no t.TempDir.
	dir, err := os.MkdirTemp("", "ovs")
	if err != nil {
		t.Fatal(err)
	}
	o := &OVS{t: t, dir: dir}
	t.Cleanup(func() {
		o.KillDaemon()
		o.KillDatabase()
		kill(o.holder)
		os.RemoveAll(dir)
	})
	o.holder = exec.Command("sleep", "infinity")
	o.holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := startMortal(o.holder); err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	o.Run("ip", "link", "set", "lo", "up")
	o.NewDatabase(schemaFile)
	return o
}

// NewDatabase starts a database server on a database that holds nothing but
// the schema and, as after "ovs-vsctl init", the row of Open_vSwitch. An
// earlier server must have been killed.
func (o *OVS) NewDatabase(schema string) {
	o.t.Helper()
	file := filepath.Join(o.dir, "conf.db")
	os.Remove(file)
	o.Run("ovsdb-tool", "create", file, schema)
	o.server = o.start("ovsdb-server", file, "--remote=punix:"+o.DBSocket(),
		"--pidfile="+filepath.Join(o.dir, "ovsdb-server.pid"))
	o.await(o.DBSocket())
	o.Vsctl("--no-wait", "init")
}

// StartDaemon runs ovs-vswitchd; an earlier one must have been killed.
func (o *OVS) StartDaemon() {
	o.t.Helper()
	o.daemon = o.start("ovs-vswitchd", "unix:"+o.DBSocket(),
		"--pidfile="+filepath.Join(o.dir, "ovs-vswitchd.pid"))
	o.await(o.CtlSocket())
}

// KillDatabase kills the database server, without a farewell.
func (o *OVS) KillDatabase() { kill(o.server); os.Remove(o.DBSocket()); o.server = nil }

// KillDaemon kills ovs-vswitchd, without a farewell.
func (o *OVS) KillDaemon() { kill(o.daemon); o.daemon = nil }

// FreezeDatabase stops the database server with its connections open.
func (o *OVS) FreezeDatabase() {
	if err := o.server.Process.Signal(syscall.SIGSTOP); err != nil {
		o.t.Fatal(err)
	}
}

// Dir is OVS_RUNDIR.
func (o *OVS) Dir() string { return o.dir }

// DBSocket is the path of the database server's socket.
func (o *OVS) DBSocket() string { return filepath.Join(o.dir, "db.sock") }

// CtlSocket is the path of ovs-vswitchd's control socket.
func (o *OVS) CtlSocket() string {
	return filepath.Join(o.dir, "ovs-vswitchd."+strconv.Itoa(o.daemon.Process.Pid)+".ctl")
}

// NetNS is a path that stands for the instance's network namespace.
func (o *OVS) NetNS() string { return fmt.Sprintf("/proc/%d/ns/net", o.holder.Process.Pid) }

// Vsctl runs ovs-vsctl and returns its output; it waits until ovs-vswitchd
// has applied a change.
func (o *OVS) Vsctl(args ...string) string {
	o.t.Helper()
	return o.Run("ovs-vsctl", append([]string{"--db=unix:" + o.DBSocket()}, args...)...)
}

// Run runs a program in the instance's network namespace and environment and
// returns its trimmed output; the test fails if the program does.
func (o *OVS) Run(name string, args ...string) string {
	o.t.Helper()
	cmd := o.command(name, args...)
	var errOut strings.Builder
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		o.t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, errOut.String())
	}
	return strings.TrimSpace(string(out))
}

func (o *OVS) command(name string, args ...string) *exec.Cmd {
	target := "--net=" + o.NetNS()
	cmd := exec.Command("nsenter", append([]string{target, "--", name}, args...)...)
	cmd.Env = append(os.Environ(), "OVS_RUNDIR="+o.dir, "OVS_DBDIR="+o.dir, "OVS_LOGDIR="+o.dir)
	return cmd // Stdin nil is /dev/null, which the OVS tools need
}

func (o *OVS) start(name string, args ...string) *exec.Cmd {
	o.t.Helper()
	cmd := o.command(name, args...)
	log, err := os.OpenFile(filepath.Join(o.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		o.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := startMortal(cmd); err != nil {
		o.t.Fatalf("start %s: %v", name, err)
	}
	return cmd
}

// mortals starts processes that die with the test program. The kernel takes
// the thread that started a process for its parent, so this has to be a thread
// that does not end before the program.
var mortals = sync.OnceValue(func() chan<- func() {
	starts := make(chan func())
	go func() {
		runtime.LockOSThread()
		for start := range starts {
			start()
		}
	}()
	return starts
})

func startMortal(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	failed := make(chan error)
	mortals() <- func() { failed <- cmd.Start() }
	return <-failed
}

// await waits until a server listens at the socket.
func (o *OVS) await(socket string) {
	o.t.Helper()
	var err error
	for range 500 {
		var c net.Conn
		if c, err = net.Dial("unix", socket); err == nil {
			c.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	for _, name := range []string{"ovsdb-server.log", "ovs-vswitchd.log"} {
		text, _ := os.ReadFile(filepath.Join(o.dir, name))
		o.t.Logf("%s:\n%s", name, text)
	}
	o.t.Fatalf("no server came up: %v", err)
}

func kill(cmd *exec.Cmd) {
	if cmd == nil || cmd.Process == nil {
		return
	}
	cmd.Process.Kill()
	cmd.Wait()
}
