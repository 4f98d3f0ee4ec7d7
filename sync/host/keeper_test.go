// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// toggled are features that a veth has on and lets be turned off, as an uplink
// has its own.
var toggled = []string{rxVLAN, rxVLANStag}

func newTool(t testing.TB) *ethtool {
	t.Helper()
	bits, err := readFeatureBits()
	if err != nil {
		t.Fatal(err)
	}
	tool, err := openEthtool(bits)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tool.close)
	return tool
}

// uplink makes a device for the tests, and returns its ifindex.
func uplink(t testing.TB, name string) int {
	t.Helper()
	deviceLater(t, name)
	run(t, "ip", "link", "add", name, "type", "veth", "peer", "name", name+"p")
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return l.Attrs().Index
}

// isOn lists which of the features are on.
func isOn(t testing.TB, tool *ethtool, device string) string {
	t.Helper()
	f, err := tool.read(device)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(slices.DeleteFunc(slices.Clone(toggled), func(n string) bool { return !f(n).on }), " ")
}

func wantOn(t *testing.T, tool *ethtool, device string, names ...string) {
	t.Helper()
	if got, want := isOn(t, tool, device), strings.Join(names, " "); got != want {
		t.Errorf("%s has %q on, want %q", device, got, want)
	}
}

// restorers lists the processes of that command that belong to this one's
// network namespace.
func restorers(t testing.TB) []int {
	t.Helper()
	home, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range paths {
		line, _ := os.ReadFile(p)
		ns, _ := os.Readlink(filepath.Dir(p) + "/ns/net")
		if strings.Contains(string(line), "\x00"+RestorerCommand) && ns == home {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// noRestorer waits until it has ended.
func noRestorer(t *testing.T) {
	t.Helper()
	eventually(t, "the restorer ends", func() bool { return len(restorers(t)) == 0 })
}

func TestKeeper(t *testing.T) {
	tool := newTool(t)
	up0, up1 := uplink(t, "up0"), uplink(t, "up1")
	run(t, "ethtool", "-K", "up1", rxVLANStag, "off")
	k := newKeeper(tool)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	defer func() { must(k.close()); noRestorer(t) }()

	must(k.turnOff(up0, toggled))
	must(k.turnOff(up1, toggled))
	wantOn(t, tool, "up0")
	wantOn(t, tool, "up1")
	if !k.holds(up0) || !k.holds(up1) || len(restorers(t)) != 1 {
		t.Errorf("holds %v and %v, restorers %v", k.holds(up0), k.holds(up1), restorers(t))
	}
	must(k.turnOff(up0, toggled)) // once more
	must(k.restore(up0))
	wantOn(t, tool, "up0", toggled...)
	wantOn(t, tool, "up1")

	// Somebody turns it on meanwhile; it is turned off again, and restored.
	must(k.turnOff(up0, toggled))
	run(t, "ethtool", "-K", "up0", rxVLANStag, "on")
	must(k.turnOff(up0, toggled))
	wantOn(t, tool, "up0")
	must(k.restore(up0))
	wantOn(t, tool, "up0", toggled...)

	// What was off before stays off.
	must(k.restore(up1))
	wantOn(t, tool, "up1", rxVLAN)
	must(k.restore(up1))

	// A feature that is off for good, and those that are on for good.
	must(k.turnOff(up0, []string{rxLRO}))
	if k.holds(up0) {
		t.Error("a device without LRO is held")
	}
	f, err := tool.read("up0")
	must(err)
	for name := range tool.bits {
		if !f(name).on || !f(name).fixed {
			continue
		}
		if err := k.turnOff(up0, []string{rxVLAN, name}); !errors.Is(err, errFixed) || k.holds(up0) {
			t.Errorf("%s was turned off: %v", name, err)
		}
	}
	wantOn(t, tool, "up0", toggled...)

	// A device that goes leaves nothing behind.
	must(k.turnOff(up0, toggled))
	run(t, "ip", "link", "delete", "up0")
	must(k.restore(up0))
	if k.holds(up0) {
		t.Error("a device that is gone is held")
	}
	if err := k.turnOff(up0, toggled); err == nil {
		t.Error("a device that is gone was changed")
	}
}

// A restorer that is killed has a successor that knows as much.
func TestRestorerIsKilled(t *testing.T) {
	tool := newTool(t)
	up0 := uplink(t, "up0")
	k := newKeeper(tool)
	if err := k.turnOff(up0, toggled); err != nil {
		t.Fatal(err)
	}
	first := restorers(t)
	if len(first) != 1 {
		t.Fatalf("restorers %v", first)
	}
	_ = syscall.Kill(first[0], syscall.SIGKILL)
	eventually(t, "its end is noticed", func() bool { return !k.restorer.alive() })
	if err := k.check(); err != nil {
		t.Fatal(err)
	}
	if now := restorers(t); len(now) != 1 || now[0] == first[0] {
		t.Errorf("restorers %v, the first was %v", now, first)
	}
	wantOn(t, tool, "up0")
	_ = k.restorer.pipe.Close() // as when this process ends
	eventually(t, "it restores", func() bool { return isOn(t, tool, "up0") == strings.Join(toggled, " ") })
	k.held = nil
	noRestorer(t)
}

// holder is the daemon of TestEnds: it turns features of devices off and waits.
func holder(devices []string) int {
	bits, err := readFeatureBits()
	if err == nil {
		var tool *ethtool
		if tool, err = openEthtool(bits); err == nil {
			k := newKeeper(tool)
			for _, d := range devices {
				l, e := netlink.LinkByName(d)
				if e == nil {
					e = k.turnOff(l.Attrs().Index, toggled)
				}
				if e != nil {
					err = e
				}
			}
		}
	}
	fmt.Println("ready", err)
	in := bufio.NewScanner(os.Stdin)
	in.Scan()
	panic(in.Text())
}

// However the process ends, what it has turned off is turned on again; but not
// what somebody has set meanwhile, nor another device's.
func TestEnds(t *testing.T) {
	tool := newTool(t)
	on := strings.Join(toggled, " ")
	for name, end := range map[string]func(t *testing.T, pid int, in *os.File){
		"SIGKILL":              func(_ *testing.T, pid int, _ *os.File) { _ = syscall.Kill(pid, syscall.SIGKILL) },
		"SIGKILL of the group": func(_ *testing.T, pid int, _ *os.File) { _ = syscall.Kill(-pid, syscall.SIGKILL) },
		"panic":                func(_ *testing.T, _ int, in *os.File) { fmt.Fprintln(in, "on purpose") },
		"SIGTERM to all": func(t *testing.T, pid int, _ *os.File) {
			for _, r := range restorers(t) {
				_ = syscall.Kill(r, syscall.SIGTERM)
			}
			_ = syscall.Kill(-pid, syscall.SIGTERM)
		},
	} {
		t.Run(name, func(t *testing.T) {
			uplink(t, "up0")
			uplink(t, "up1")
			up2 := uplink(t, "up2")
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			defer w.Close()
			cmd := exec.Command("/proc/self/exe", "hold", "up0", "up1", "up2")
			cmd.Stdin = r
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready <nil>\n" {
				t.Fatalf("the holder says %q", line)
			}
			for _, d := range []string{"up0", "up1", "up2"} {
				wantOn(t, tool, d)
			}
			// up1 is set by hand, and another device gets the place of up2.
			run(t, "ethtool", "-K", "up1", rxVLAN, "on")
			run(t, "ip", "link", "delete", "up2")
			run(t, "ip", "link", "add", "up2", "index", strconv.Itoa(up2), "type", "bridge")

			end(t, cmd.Process.Pid, w)
			_ = cmd.Wait()
			eventually(t, "up0 is restored", func() bool { return isOn(t, tool, "up0") == on })
			noRestorer(t)
			wantOn(t, tool, "up1", toggled...)
			wantOn(t, tool, "up2")
		})
	}
}

// A program of the daemon's that is still there is waited for.
func TestRestorerAwaitsDetach(t *testing.T) {
	tool := newTool(t)
	up0 := uplink(t, "up0")
	attach(t, "up0", passes(t))
	k := newKeeper(tool)
	if err := k.turnOff(up0, toggled); err != nil {
		t.Fatal(err)
	}
	_ = k.restorer.pipe.Close()
	k.held = nil
	time.Sleep(100 * time.Millisecond)
	wantOn(t, tool, "up0")
	run(t, "ip", "link", "set", "up0", "xdp", "off")
	eventually(t, "it restores", func() bool { return isOn(t, tool, "up0") == strings.Join(toggled, " ") })
	noRestorer(t)
}
