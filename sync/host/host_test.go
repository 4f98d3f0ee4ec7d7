// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestMain runs the tests in a process whose threads are all in a network
// namespace of its own, as the daemon's are in one. The test binary is the
// restorer too, as the daemon's is, and the process that is killed.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == RestorerCommand {
		os.Exit(Restore(os.Stdin, os.Stderr))
	}
	if len(os.Args) > 2 && os.Args[1] == "hold" {
		os.Exit(holder(os.Args[2:]))
	}
	const inside = "OVS_XDP_HOST_TEST"
	if os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
			fmt.Fprintln(os.Stderr, "make network namespace (root needed):", err)
		}
		os.Exit(1)
	}
}

// run runs a program and returns what it prints.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// openHost opens a Host on a kernel that tells what k says.
func openHost(t testing.TB, k kernel) *Host {
	t.Helper()
	h, err := Open(func(uint32) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	h.kernel = k
	return h
}

// deviceLater deletes a device at the end of the test.
func deviceLater(t testing.TB, name string) {
	t.Cleanup(func() {
		if l, err := netlink.LinkByName(name); err == nil {
			_ = netlink.LinkDel(l)
		}
	})
}

// eventually waits until fn is true.
func eventually(t testing.TB, what string, fn func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !fn(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
