// SPDX-License-Identifier: Apache-2.0

//go:build packages

package deploy

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// run runs a program in the repository, and gives its output to the test's when it
// fails.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	c := exec.Command(name, args...)
	c.Dir = root
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// built returns the sums of the packages in dist, by name.
func built(t *testing.T) map[string]string {
	t.Helper()
	sums := make(map[string]string)
	for _, pattern := range []string{"*.deb", "*.rpm"} {
		list, err := filepath.Glob(filepath.Join(root, "dist", pattern))
		if err != nil || len(list) != 1 {
			t.Fatalf("%v in dist, error %v", list, err)
		}
		b, err := os.ReadFile(list[0])
		if err != nil {
			t.Fatal(err)
		}
		sums[list[0]] = fmt.Sprintf("%x", sha256.Sum256(b))
	}
	return sums
}

// packaged builds the packages, once for all tests.
var packaged sync.Once

func makePackages(t *testing.T) {
	t.Helper()
	packaged.Do(func() { run(t, "make", "--no-print-directory", "package") })
}

// Packages come out the same from the same commit.
func TestPackagesAreReproducible(t *testing.T) {
	makePackages(t)
	first := built(t)
	time.Sleep(1100 * time.Millisecond) // so that times would differ
	run(t, "make", "--no-print-directory", "package")
	for name, sum := range built(t) {
		if first[name] != sum {
			t.Errorf("%s differs from build to build", name)
		}
	}
}

// debian is a clean Debian with systemd, Open vSwitch and rpm, made once.
func debian(t *testing.T) string {
	t.Helper()
	const with = "systemd,systemd-sysv,dbus,openvswitch-switch,iproute2,procps,ethtool,iputils-ping,rpm"
	dir, err := filepath.Abs(filepath.Join(root, fmt.Sprintf(".cache/debian-12-%.4x", sha256.Sum256([]byte(with)))))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	_ = os.RemoveAll(dir + ".new")
	run(t, "mmdebstrap", "--mode=root", "--variant=minbase", "--include="+with, "bookworm", dir+".new")
	// The test starts Open vSwitch itself: the service wants a kernel module.
	for _, unit := range []string{"openvswitch-switch", "ovs-vswitchd", "ovsdb-server"} {
		if err := os.Symlink("/dev/null", filepath.Join(dir+".new", "etc/systemd/system", unit+".service")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(dir+".new", dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

const checkService = `[Unit]
After=multi-user.target dbus.service
[Service]
Type=oneshot
StandardOutput=file:/result
StandardError=inherit
ExecStart=/guest.sh
`

// In a clean Debian, with a real systemd and the unit's whole sandbox, each package is
// installed, carries traffic, is reloaded, upgraded, killed, stopped and removed;
// nothing stays behind. What happens there is in guest.sh.
func TestPackagesInDebian(t *testing.T) {
	makePackages(t)
	base := debian(t)
	tmp := t.TempDir()
	at := filepath.Join(tmp, "root")
	for _, dir := range []string{"root", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(tmp, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// An overlay can't lie on another: where it does not hold, the tree is copied.
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", base, tmp, tmp)
	if err := unix.Mount("overlay", at, "overlay", 0, options); err == nil {
		t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	} else {
		run(t, "cp", "-a", base+"/.", at)
	}
	for name := range built(t) {
		run(t, "install", "-m", "644", "dist/"+filepath.Base(name), at+"/ovs-xdp"+filepath.Ext(name))
	}
	run(t, "install", "-m", "755", "test/deploy/guest.sh", at+"/guest.sh")
	wants := filepath.Join(at, "etc/systemd/system/default.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(wants, "../check.service"), []byte(checkService), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../check.service", filepath.Join(wants, "check.service")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, "systemd-nspawn", "--quiet", "--directory="+at, "--register=no", "--keep-unit",
		"--private-network", "--capability=all", "--system-call-filter=@known", "--boot")
	c.Env = append(os.Environ(), "SYSTEMD_NSPAWN_API_VFS_WRITABLE=yes")
	console, err := c.CombinedOutput()
	result, readErr := os.ReadFile(filepath.Join(at, "result"))
	t.Logf("%s", result)
	if readErr != nil || !strings.HasSuffix(string(result), "\npassed\n") {
		t.Errorf("it did not pass; nspawn: %v, %v; the end of the console:\n%s", err, readErr, console[max(0, len(console)-2000):])
	}
}

// The service's sandbox does not weaken unseen.
func TestServiceExposure(t *testing.T) {
	out := run(t, "systemd-analyze", "security", "--offline=yes", "--threshold=34", "deploy/package/ovs-xdpd.service")
	t.Log(lastLine(out))
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
