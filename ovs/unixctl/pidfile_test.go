// SPDX-License-Identifier: Apache-2.0

package unixctl

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A second daemon has to be another process: fcntl locks don't tell two users
// in one process apart. The test binary runs itself for that.
const pidfileEnv = "UNIXCTL_TEST_PIDFILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(pidfileEnv); path != "" {
		_, err := CreatePidfile(path)
		fmt.Print(err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func createInOtherProcess(t *testing.T, path string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), pidfileEnv+"="+path)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestPidfile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.pid")
	p, err := CreatePidfile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); string(text) != fmt.Sprintln(os.Getpid()) {
		t.Errorf("pidfile holds %q, %v", text, err)
	}
	// The ReadFile above has just dropped the lock, as any reader in this
	// process would; so begin again.
	if err := p.Remove(); err != nil {
		t.Fatal(err)
	}
	if p, err = CreatePidfile(path); err != nil {
		t.Fatal(err)
	}
	running := fmt.Sprintf("create pidfile: %s: already running as pid %d", path, os.Getpid())
	if got := createInOtherProcess(t, path); got != running {
		t.Errorf("second daemon: %s\nwant %s", got, running)
	}
	var runningErr *RunningError
	if _, err := CreatePidfile(path); !errors.As(err, &runningErr) || runningErr.PID != os.Getpid() {
		t.Errorf("second time in one process: %v", err)
	}
	// Neither attempt has dropped our lock.
	if got := createInOtherProcess(t, path); got != running {
		t.Errorf("third daemon: %s", got)
	}
	if err := p.Remove(); err != nil {
		t.Error(err)
	}
	if err := p.Remove(); err != nil {
		t.Errorf("second Remove: %v", err)
	}
	if files, _ := filepath.Glob(path + "*"); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}

func TestPidfileReplacesStale(t *testing.T) {
	for name, text := range map[string]string{"of a dead process": "999999\n", "empty": "", "nonsense": "x\n"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "d.pid")
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			p, err := CreatePidfile(path)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Remove()
			if _, pid, err := DaemonSocket(filepath.Dir(path), "d"); err != nil || pid != os.Getpid() {
				t.Errorf("pid %d, %v", pid, err)
			}
		})
	}
}

func TestRemoveSparesOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.pid")
	p, err := CreatePidfile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := path + ".other"
	if err := os.WriteFile(other, []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	if err := p.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("another's pidfile: %v", err)
	}
}

func TestDaemonSocketErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("stale.pid", "123\n")
	write("empty.pid", "")
	write("bad.pid", "12x\n")
	for daemon, want := range map[string]string{
		"absent": "find absent: not running: no pidfile ",
		"stale":  "find stale: not running: stale pidfile ",
		"empty":  "find empty: read pidfile ",
		"bad":    "find bad: read pidfile ",
	} {
		if _, _, err := DaemonSocket(dir, daemon); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", daemon, err, want)
		}
	}
}
