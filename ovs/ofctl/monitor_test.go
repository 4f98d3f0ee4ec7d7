// SPDX-License-Identifier: Apache-2.0

package ofctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMonitor tries every way to subscribe, on a new enough Open vSwitch, so
// that the one for old versions does not rot.
func TestMonitor(t *testing.T) {
	l := startLab(t)
	l.ofctl("add-meter", "br0", "meter=1,kbps,band=type=drop,rate=1000")
	for _, s := range subscriptions {
		t.Run(s.version, func(t *testing.T) {
			l.t = t
			c := &Client{}
			m, err := c.monitor(t.Context(), "unix:"+l.rundir+"/br0.mgmt", s)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			quiet(t, m, "after the start")
			for _, command := range [][]string{
				{"add-flow", "br0", "priority=7,in_port=1,actions=output:2"},
				{"mod-flows", "br0", "in_port=1,actions=meter:1,output:3"},
				{"del-flows", "br0", "in_port=1"},
				{"mod-port", "br0", "v1", "no-forward"},
				{"mod-port", "br0", "v1", "forward"},
				{"mod-port", "br0", "v1", "up"},
				{"mod-port", "br0", "v1", "down"},
			} {
				l.ofctl(command...)
				signal(t, m, fmt.Sprint(command))
			}
			l.run("ovs-vsctl", "--timeout=5", "add-port", "br0", "v9", "--", "set", "interface", "v9", "type=internal")
			signal(t, m, "add-port")
			l.run("ovs-vsctl", "--timeout=5", "del-port", "v9")
			signal(t, m, "del-port")

			// Packets to controllers are not for us.
			l.ofctl("add-flow", "br0", "priority=7,in_port=1,actions=controller")
			signal(t, m, "add-flow")
			l.ofctl("packet-out", "br0", "in_port=1,packet=ffffffffffff52540000000108004500,actions=controller,TABLE")
			quiet(t, m, "after a packet-in")
			l.ofctl("del-flows", "br0", "in_port=1")

			pid := m.cmd.Process.Pid
			m.Close()
			m.Close()
			if m.Err() != nil {
				t.Errorf("Err after Close: %v", m.Err())
			}
			if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("child after Close: %v", err)
			}
			if left, _ := filepath.Glob(l.rundir + "/ovs-ofctl.*"); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// signal waits for a signal and then until there are no more.
func signal(t *testing.T, m *Monitor, what string) {
	t.Helper()
	start := time.Now()
	select {
	case <-m.Changed():
		t.Logf("%s seen after %v", what, time.Since(start).Round(time.Millisecond))
	case <-m.Done():
		t.Fatalf("%s: monitor ended: %v", what, m.Err())
	case <-time.After(5 * time.Second):
		t.Fatalf("%s: no signal", what)
	}
	for {
		select {
		case <-m.Changed():
		case <-time.After(100 * time.Millisecond):
			return
		}
	}
}

func quiet(t *testing.T, m *Monitor, when string) {
	t.Helper()
	select {
	case <-m.Changed():
		t.Errorf("a signal %s", when)
	case <-time.After(200 * time.Millisecond):
	}
}

// TestMonitorChangesNothing compares what OVS does with a frame that no rule
// matches, before and under a monitor: a connection of OpenFlow 1.0 that is
// not careful makes OVS send such frames to the controllers.
func TestMonitorChangesNothing(t *testing.T) {
	l := startLab(t)
	state := func() string {
		return l.run("ovs-appctl", "ofproto/trace", "br1", "in_port=1,tcp,dl_src=52:54:00:00:00:01,dl_dst=52:54:00:00:00:02") +
			l.run("ovs-ofctl", "-O", "OpenFlow13", "get-frags", "br1") +
			l.run("ovs-vsctl", "--columns=name,fail_mode,controller,protocols", "list", "bridge") +
			l.run("ovs-appctl", "bridge/dump-flows", "--offload-stats", "br1")
	}
	strip := func(s string) string { // durations go on
		var kept []string
		for _, line := range strings.Split(s, "\n") {
			if i := strings.Index(line, "duration="); i >= 0 {
				_, after, _ := strings.Cut(line[i:], ",")
				line = line[:i] + after
			}
			kept = append(kept, line)
		}
		return strings.Join(kept, "\n")
	}
	l.run("ovs-ofctl", "set-frags", "br1", "drop")
	before := strip(state())
	for _, s := range subscriptions {
		m, err := (&Client{}).monitor(t.Context(), "unix:"+l.rundir+"/br1.mgmt", s)
		if err != nil {
			t.Fatal(err)
		}
		if during := strip(state()); during != before {
			t.Errorf("%s: before:\n%s\nduring:\n%s", s.version, before, during)
		}
		m.Close()
	}
}

func TestMonitorEnds(t *testing.T) {
	l := startLab(t)
	c := &Client{}
	ctx, cancel := context.WithCancel(t.Context())
	m, err := c.Monitor(ctx, "br0")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	wait(t, m, "its context")
	if m.Err() != nil {
		t.Errorf("Err after the context: %v", m.Err())
	}

	if m, err = c.Monitor(t.Context(), "br0"); err != nil {
		t.Fatal(err)
	}
	l.daemon.Kill()
	wait(t, m, "ovs-vswitchd")
	if m.Err() == nil || !strings.Contains(m.Err().Error(), "ovs-ofctl: exit status 1: ") {
		t.Errorf("Err after ovs-vswitchd died: %v", m.Err())
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Monitor(t.Context(), "br0"); err == nil {
		t.Error("a monitor without ovs-vswitchd")
	} else {
		t.Log(err)
	}
	if left, _ := filepath.Glob(l.rundir + "/ovs-ofctl.*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := os.Stat(l.rundir); err != nil {
		t.Error(err)
	}
}

// TestMonitorDiesWithUs kills a process that runs a monitor; the test binary
// plays that process.
func TestMonitorDiesWithUs(t *testing.T) {
	startLab(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), monitorEnv+"=br0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, err = fmt.Fscan(out, &pid)
	cmd.Process.Kill()
	cmd.Wait()
	if err != nil {
		t.Fatal(err)
	}
	for range 250 {
		// Its new parent may not have reaped it; a zombie has no command line.
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err != nil || len(line) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("child %d lives on", pid)
	syscall.Kill(pid, syscall.SIGKILL)
}

const monitorEnv = "OFCTL_TEST_MONITOR"

func TestMain(m *testing.M) {
	bridge := os.Getenv(monitorEnv)
	if bridge == "" {
		os.Exit(m.Run())
	}
	monitor, err := (&Client{}).Monitor(context.Background(), bridge)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(monitor.cmd.Process.Pid)
	<-monitor.Done()
}

func wait(t *testing.T, m *Monitor, what string) {
	t.Helper()
	select {
	case <-m.Done():
	case <-time.After(5 * time.Second):
		t.Fatalf("the monitor outlives %s", what)
	}
}
