// SPDX-License-Identifier: Apache-2.0

// Package lab builds a small, real network for tests and demos: a private
// Open vSwitch in a network namespace of its own (the "hypervisor"), virtual
// machines as further namespaces behind veth pairs or taps or as guests of
// QEMU, an uplink with hosts behind it, and ovs-xdpd next to that Open vSwitch.
//
// The contract: a Lab needs root, uses nothing of the host's own network or
// Open vSwitch, and Close removes everything the Lab made and nothing else.
// Whatever a process started is killed by its process id, also when the
// program that made the Lab dies without Close (but then the namespaces and
// the temporary directory stay).
//
// The package knows the daemon only from outside: its binaries, its control
// socket and the JSON that ovs-xdpctl prints.
package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ovs-xdp/ovs-xdp/ovs"
)

// Config says how to make a Lab. The zero value is usable.
type Config struct {
	// DatapathType is the datapath_type of the bridges: "system" or "netdev".
	// Empty chooses the kernel datapath where the openvswitch module is there
	// or can be loaded, and the userspace datapath otherwise.
	DatapathType string
}

// Lab is one private Open vSwitch with what is attached to it. Its methods
// may be called from several goroutines.
type Lab struct {
	// Dir is the temporary directory of the Lab, short enough for the paths
	// of unix sockets in it. RunDir is its OVS_RUNDIR.
	Dir, RunDir string
	// DatapathType is "system" or "netdev".
	DatapathType string
	// Hypervisor is the namespace where Open vSwitch and ovs-xdpd run.
	Hypervisor *Namespace
	// Ovsdb and Vswitchd are the ovsdb-server and the ovs-vswitchd that were
	// started last.
	Ovsdb, Vswitchd *Process

	nbctl string // the path of ovn-nbctl

	prefix   string // of the names of namespaces
	stations atomic.Uint32

	mu     sync.Mutex
	undo   []func() error // run by Close, last first
	closed bool
}

// New makes a Lab with a running Open vSwitch and no bridge. After an error
// nothing is left behind.
func New(c Config) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("make a lab: network namespaces need root")
	}
	l := &Lab{DatapathType: c.DatapathType}
	if l.DatapathType == "" {
		l.DatapathType = datapathOfHost()
	}
	if err := l.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("make a lab: %w", err), l.Close())
	}
	return l, nil
}

func (l *Lab) open() error {
	var err error
	if l.Dir, err = os.MkdirTemp("/tmp", "ox-"); err != nil {
		return err
	}
	l.onClose(func() error { return os.RemoveAll(l.Dir) })
	l.RunDir = filepath.Join(l.Dir, "run")
	if err := os.Mkdir(l.RunDir, 0o755); err != nil {
		return err
	}
	for try := 0; ; try++ {
		l.prefix = fmt.Sprintf("ox%04x", rand.N(1<<16))
		l.Hypervisor, err = newNamespace(l.prefix + "-hv")
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrExist) || try == 20 {
			return err
		}
	}
	l.onClose(l.Hypervisor.close)
	return l.startOVS()
}

// T is the part of testing.TB that NewT uses.
type T interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Failed() bool
}

// NewT makes a Lab for a test: it fails the test when the Lab cannot be made
// or closed, and logs the end of ovs-vswitchd's log when the test fails.
func NewT(t T) *Lab {
	t.Helper()
	l, err := New(Config{})
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the log of ovs-vswitchd:\n%s", tail(l.vswitchdLog(), 30))
		}
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	return l
}

// Close kills what the Lab started and removes what it made. A second call
// does nothing.
func (l *Lab) Close() error {
	l.mu.Lock()
	undo := l.undo
	l.undo, l.closed = nil, true
	l.mu.Unlock()
	var errs []error
	for i := len(undo) - 1; i >= 0; i-- {
		errs = append(errs, undo[i]())
	}
	return errors.Join(errs...)
}

// onClose has Close run fn. On a Lab that is closed already fn runs at once.
func (l *Lab) onClose(fn func() error) {
	l.mu.Lock()
	if !l.closed {
		l.undo = append(l.undo, fn)
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	_ = fn() // whoever adds to a closed lab gets an error from what it uses
}

// addNamespace makes the namespace of a machine called name.
func (l *Lab) addNamespace(name string) (*Namespace, error) {
	n, err := newNamespace(l.prefix + "-" + name)
	if err != nil {
		return nil, err
	}
	l.onClose(n.close)
	return n, nil
}

// NewMAC returns an address that no other station of this Lab has.
func (l *Lab) NewMAC() ovs.MAC {
	n := l.stations.Add(1)
	return ovs.MAC{0x52, 0x54, 0x00, byte(n >> 16), byte(n >> 8), byte(n)}
}

// tail returns the last lines of a file, "" when it cannot be read.
func tail(path string, lines int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
