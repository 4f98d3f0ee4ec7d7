// SPDX-License-Identifier: Apache-2.0

package ovsdb

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs/ovsdb/ovstest"
)

func dialTo(t *testing.T, o *ovstest.OVS) *Session {
	t.Helper()
	s, err := Dial(t.Context(), "unix:"+o.DBSocket(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// settle waits until Changed is silent for a while.
func settle(s *Session) {
	for {
		select {
		case <-s.Changed():
		case <-time.After(300 * time.Millisecond):
			return
		}
	}
}

func within(t *testing.T, d time.Duration, c <-chan struct{}, what string) time.Duration {
	t.Helper()
	start := time.Now()
	select {
	case <-c:
	case <-time.After(d):
		t.Fatalf("%s: nothing within %v", what, d)
	}
	return time.Since(start)
}

func TestDialRefusesEndpoint(t *testing.T) {
	for _, endpoint := range []string{"", "unix:", "unix:db.sock", "tcp:127.0.0.1:6640", "/run/db.sock"} {
		if s, err := Dial(t.Context(), endpoint, nil); err == nil {
			s.Close()
			t.Errorf("Dial(%q) succeeded", endpoint)
		}
	}
}

func TestDialNothingThere(t *testing.T) {
	if _, err := Dial(t.Context(), "unix:/nonexistent/db.sock", nil); err == nil {
		t.Fatal("Dial succeeded")
	}
}

// A server that accepts and never answers must not hold Dial for longer than
// its deadline.
func TestDialSilentServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	start := time.Now()
	if _, err = Dial(ctx, "unix:"+path, nil); !errors.Is(err, context.DeadlineExceeded) && (err == nil || !strings.Contains(err.Error(), "deadline")) {
		t.Fatalf("Dial: %v, want a deadline error", err)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("Dial took %v with a deadline of 1s", d)
	}
	noMoreThan(t, before)
}

// noMoreThan fails if there are more goroutines than before, after giving
// them a moment to end.
func noMoreThan(t *testing.T, before int) {
	t.Helper()
	var now int
	for range 100 {
		if now = runtime.NumGoroutine(); now <= before {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("%d goroutines, %d before:\n%s", now, before, stacks[:runtime.Stack(stacks, true)])
}

func TestChangedIsPrompt(t *testing.T) {
	o := ovstest.Start(t)
	o.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
	s := dialTo(t, o)
	settle(s)
	for _, args := range [][]string{
		{"set", "bridge", "br0", "external_ids:xdp-offload=on"},
		{"set", "port", "br0", "tag=7"},
		{"set", "interface", "br0", "ingress_policing_kpkts_rate=5"},
		{"add-port", "br0", "p0", "--", "set", "interface", "p0", "type=internal"},
		{"del-port", "br0", "p0"},
		{"set", "open_vswitch", ".", "other_config:hw-offload=true"},
	} {
		// Without waiting for ovs-vswitchd, whose own writes would hide a
		// change that went unseen.
		o.Vsctl(append([]string{"--no-wait"}, args...)...)
		d := within(t, 2*time.Second, s.Changed(), strings.Join(args, " "))
		t.Logf("%-60s seen %v after ovs-vsctl ended", strings.Join(args, " "), d)
		settle(s)
	}
}

// The statistics that ovs-vswitchd writes every 5 seconds are not news.
func TestChangedIgnoresStatistics(t *testing.T) {
	o := ovstest.Start(t)
	o.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "--",
		"add-port", "br0", "p0", "--", "set", "interface", "p0", "type=internal")
	s := dialTo(t, o)
	settle(s)
	select {
	case <-s.Changed():
		t.Error("Changed fired though nobody changed anything")
	case <-time.After(11 * time.Second):
	}
}

func TestLostWhenServerIsKilled(t *testing.T) {
	o := ovstest.StartDatabase(t)
	o.Vsctl("--no-wait", "add-br", "before")
	s := dialTo(t, o)
	if s.Err() != nil {
		t.Errorf("Err before the loss: %v", s.Err())
	}
	o.KillDatabase()
	t.Logf("Lost after %v", within(t, time.Second, s.Lost(), "Lost"))
	if s.Err() == nil || errors.Is(s.Err(), ErrClosed) {
		t.Errorf("Err after the loss: %v", s.Err())
	}
	if _, err := s.Read(); err == nil {
		t.Error("Read succeeded after the loss")
	}

	// The next server has another database: nothing of the old one is seen.
	o.NewDatabase("/usr/share/openvswitch/vswitch.ovsschema")
	o.Vsctl("--no-wait", "add-br", "after")
	snap, err := dialTo(t, o).Read()
	if err != nil {
		t.Fatal(err)
	}
	if len(snap.Bridges) != 1 || snap.Bridges[0].Name != "after" {
		t.Errorf("bridges after the restart: %+v, want only \"after\"", snap.Bridges)
	}
}

func TestLostWhenServerHangs(t *testing.T) {
	o := ovstest.StartDatabase(t)
	s := dialTo(t, o)
	o.FreezeDatabase()
	reading := make(chan error, 1)
	go func() { _, err := s.Read(); reading <- err }()
	limit := probeInterval + probeTimeout + time.Second
	t.Logf("Lost after %v", within(t, limit, s.Lost(), "Lost"))
	if err := <-reading; err == nil {
		t.Error("Read succeeded on a frozen server")
	}
	if !strings.Contains(s.Err().Error(), "probe") {
		t.Errorf("Err: %v, want a failed probe", s.Err())
	}
}

func TestNoGoroutineLeft(t *testing.T) {
	o := ovstest.StartDatabase(t)
	before := runtime.NumGoroutine()
	for range 50 {
		s, err := Dial(t.Context(), "unix:"+o.DBSocket(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if !errors.Is(s.Err(), ErrClosed) {
			t.Fatalf("Err after Close: %v", s.Err())
		}
		s.Close() // twice is harmless
	}
	noMoreThan(t, before)

	s := dialTo(t, o)
	o.KillDatabase()
	<-s.Lost()
	noMoreThan(t, before) // without Close
}
