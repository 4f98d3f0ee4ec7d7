// SPDX-License-Identifier: Apache-2.0

package unixctl

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The pidfile of a process that is to take another's place waits beside it, and
// keeps all others out.
func TestReservePidfile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.pid")
	p, err := ReservePidfile(path)
	if err != nil {
		t.Fatal(err)
	}
	if p.Current() {
		t.Error("current before Publish")
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the pidfile is there before Publish: %v", err)
	}
	if got := createInOtherProcess(t, path); !strings.Contains(got, "another process is starting") {
		t.Errorf("another daemon beside it: %s", got)
	}
	var running *RunningError
	if _, err := ReservePidfile(path); !errors.As(err, &running) {
		t.Errorf("reserved twice: %v", err)
	}
	if err := p.Remove(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(path + "*"); left != nil {
		t.Errorf("Remove has left %v", left)
	}

	// One that another process held is replaced.
	if got := createInOtherProcess(t, path); got != "<nil>" {
		t.Fatal(got)
	}
	if p, err = ReservePidfile(path); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(); err != nil || !p.Current() {
		t.Errorf("publish: %v, current: %v", err, p.Current())
	}
	if got := createInOtherProcess(t, path); !strings.Contains(got, "already running as pid "+strconv.Itoa(os.Getpid())) {
		t.Errorf("another daemon beside it: %s", got)
	}
	// Whose place was taken leaves the pidfile alone.
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if p.Current() {
		t.Error("current though another file is in its place")
	}
	if err := p.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("Remove has taken another's pidfile: %v", err)
	}
}

// A command knows which process has asked.
func TestPeerPID(t *testing.T) {
	path := filepath.Join(shortDir(t), "ctl")
	s := NewServer("d", "1")
	s.Register(Command{Name: "who", Run: func(ctx context.Context, _ []string) (Reply, error) {
		return Reply{Text: strconv.Itoa(PeerPID(ctx))}, nil
	}})
	if err := s.Listen(path); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(t.Context()) }()
	defer func() { s.Close(); <-served }()
	got, err := (&Client{Socket: path}).Call(t.Context(), "who")
	if err != nil || strings.TrimSpace(got) != strconv.Itoa(os.Getpid()) {
		t.Errorf("the peer is %q, %v; want %d", got, err, os.Getpid())
	}
	if pid := PeerPID(t.Context()); pid != 0 {
		t.Errorf("outside of a command the peer is %d", pid)
	}
}
