// SPDX-License-Identifier: Apache-2.0

package unixctl

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// These tests talk to the programs of an installed Open vSwitch. They need
// root, and fail where it is missing: what they prove can't be proved without.

// shortDir returns a directory whose path leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "oxu")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// startOVSDBServer runs a private ovsdb-server, the simplest daemon that
// speaks unixctl, and returns its run directory and its process.
func startOVSDBServer(t *testing.T) (rundir string, process *os.Process) {
	t.Helper()
	rundir = shortDir(t)
	t.Setenv("OVS_RUNDIR", rundir)
	t.Setenv("OVS_LOGDIR", rundir)
	db := filepath.Join(rundir, "conf.db")
	if out, err := exec.Command("ovsdb-tool", "create", db, "/usr/share/openvswitch/vswitch.ovsschema").CombinedOutput(); err != nil {
		t.Fatalf("ovsdb-tool create (install openvswitch-switch): %v: %s", err, out)
	}
	var log bytes.Buffer
	cmd := exec.Command("ovsdb-server", db, "--remote=punix:"+rundir+"/db.sock",
		"--pidfile="+rundir+"/ovsdb-server.pid", "--no-chdir")
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-exited
	})
	for range 250 {
		if path, _, err := DaemonSocket(rundir, "ovsdb-server"); err == nil {
			if _, err := os.Stat(path); err == nil {
				return rundir, cmd.Process
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	cmd.Process.Kill()
	<-exited
	t.Fatalf("ovsdb-server did not come up: %s", log.String())
	return "", nil
}

func TestClientWithRealDaemon(t *testing.T) {
	rundir, process := startOVSDBServer(t)
	path, pid, err := DaemonSocket(Rundir(), "ovsdb-server")
	if err != nil {
		t.Fatal(err)
	}
	if pid != process.Pid {
		t.Errorf("pid %d, want %d", pid, process.Pid)
	}
	c := Client{Socket: path}
	ctx := context.Background()

	version, err := c.Call(ctx, "version")
	if err != nil || !strings.HasPrefix(version, "ovsdb-server (Open vSwitch) ") {
		t.Errorf("version: %q, %v", version, err)
	}
	if list, err := c.Call(ctx, "list-commands"); err != nil || !strings.HasPrefix(list, "The available commands are:\n") {
		t.Errorf("list-commands: %q, %v", list, err)
	}
	if _, err := c.Call(ctx, "vlog/set", "unixctl:info", "jsonrpc:info"); err != nil {
		t.Errorf("vlog/set with two arguments: %v", err)
	}

	for _, tt := range []struct {
		method string
		args   []string
		want   string
	}{
		{"nonsense", nil, `"nonsense" is not a valid command (use "list-commands" to see a list of valid commands)`},
		{"version", []string{"x"}, `"version" command takes at most 0 arguments`},
		{"ovsdb-server/add-db", nil, `"ovsdb-server/add-db" command requires at least 1 arguments`},
	} {
		_, err := c.Call(ctx, tt.method, tt.args...)
		var commandErr *CommandError
		if !errors.As(err, &commandErr) || commandErr.Text != tt.want || commandErr.Method != tt.method {
			t.Errorf("%s: error %v, want the command error %q", tt.method, err, tt.want)
		}
	}

	_, err = c.CallJSON(ctx, "list-commands")
	var commandErr *CommandError
	if err != nil && (!errors.As(err, &commandErr) || commandErr.Method != "set-options") {
		t.Errorf("CallJSON: %v, want success or an error of set-options", err)
	}

	process.Kill()
	for range 250 {
		if _, _, err = DaemonSocket(rundir, "ovsdb-server"); err != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if !errors.Is(err, ErrNotRunning) || !strings.Contains(err.Error(), "stale pidfile") {
		t.Errorf("DaemonSocket after kill: %v, want a stale pidfile", err)
	}
}

// appctl runs ovs-appctl against our server and returns what it prints.
func appctl(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	var o, e bytes.Buffer
	cmd := exec.Command("ovs-appctl", append([]string{"--timeout=10"}, args...)...)
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("ovs-appctl (install openvswitch-common): %v", err)
	}
	return o.String(), e.String()
}

func TestServerWithRealAppctl(t *testing.T) {
	rundir := shortDir(t)
	t.Setenv("OVS_RUNDIR", rundir)
	pidfile, err := CreatePidfile(filepath.Join(rundir, "ovs-xdpd.pid"))
	if err != nil {
		t.Fatal(err)
	}
	path, pid, err := DaemonSocket(rundir, "ovs-xdpd")
	if err != nil || pid != os.Getpid() {
		t.Fatalf("DaemonSocket of ourselves: pid %d, %v", pid, err)
	}
	startServer(t, path)

	long := strings.Repeat("x", 100_000)
	for _, tt := range []struct {
		name   string
		args   []string
		stdout string
		stderr string
	}{
		{"list-commands", []string{"list-commands"}, "" +
			"The available commands are:\n" +
			"  echo                    [word]...\n" +
			"  fail                    \n" +
			"  list-commands           \n" +
			"  panic                   \n" +
			"  port/show               bridge [port]\n" +
			"  set-options             [--format text|json]\n" +
			"  version                 \n", ""},
		{"version", []string{"version"}, "ovs-xdpd 1.2.3\n", ""},
		{"echo", []string{"echo", "a b", "<&>", "é\n\"\\"}, "a b <&> é\n\"\\\n", ""},
		{"long", []string{"echo", long}, long + "\n", ""},
		{"unknown", []string{"nonsense"}, "", "\"nonsense\" is not a valid command (use \"list-commands\" to see a list of valid commands)\n"},
		{"too few", []string{"port/show"}, "", "\"port/show\" command requires at least 1 arguments\n"},
		{"too many", []string{"port/show", "a", "b", "c"}, "", "\"port/show\" command takes at most 2 arguments\n"},
		{"failure", []string{"fail"}, "", "no such bridge\n"},
		{"panic", []string{"panic"}, "", "\"panic\" command failed: panic: boom\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr := appctl(t, append([]string{"-t", "ovs-xdpd"}, tt.args...)...)
			if tt.stderr != "" {
				tt.stderr += "ovs-appctl: ovs-xdpd: server returned an error\n"
			}
			if stdout != tt.stdout || stderr != tt.stderr {
				t.Errorf("printed %q, %q\nwant    %q, %q", stdout, stderr, tt.stdout, tt.stderr)
			}
		})
	}

	if err := pidfile.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, stderr := appctl(t, "-t", "ovs-xdpd", "version"); !strings.Contains(stderr, "cannot read pidfile") {
		t.Errorf("after Remove: %q", stderr)
	}
	if err := os.WriteFile(filepath.Join(rundir, "ovs-xdpd.pid"), []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, stderr := appctl(t, "-t", "ovs-xdpd", "version"); !strings.Contains(stderr, "cannot read pidfile") {
		t.Errorf("with a stale pidfile: %q", stderr)
	}
}
