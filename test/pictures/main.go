// SPDX-License-Identifier: Apache-2.0

// Command pictures shows what an operator sees: it makes a private Open vSwitch
// with ovs-xdpd and traffic, runs ovs-xdpctl on a terminal there, and writes what
// that terminal shows into files with the escape sequences of its colours, from
// which `make pictures` makes the pictures in deploy. It needs root, and tmux.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: pictures FOLDER")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "pictures:", err)
		os.Exit(1)
	}
}

// screens are the commands, and the lines that their terminals have.
var screens = []struct {
	name, command string
	lines         int
}{
	{"status", "status", 3},
	{"why", "why br0 tap1 20 52:54:00:00:00:99", 5},
	{"stats", "stats", 8},
	{"top", "top", 13},
}

func run(dir string) (err error) {
	bin, err := lab.Binaries()
	if err != nil {
		return err
	}
	l, err := lab.New(lab.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if err := traffic(ctx, l); err != nil {
		return err
	}
	time.Sleep(5 * time.Second) // for rates to show
	for _, s := range screens {
		// The terminal shows the command, as if it had been typed.
		command := fmt.Sprintf("printf '$ ovs-xdpctl %s\\n'; %s/ovs-xdpctl %s; sleep 60", s.command, bin, s.command)
		tmux := []string{"-f", "/dev/null", "-S", filepath.Join(l.Dir, "tmux")}
		if _, err := l.Hypervisor.Exec(ctx, "env", append(append([]string{"-u", "TMUX", "OVS_RUNDIR=" + l.RunDir, "TERM=xterm-256color", "tmux"}, tmux...),
			"new-session", "-d", "-x", "128", "-y", fmt.Sprint(s.lines+2), command)...); err != nil {
			return err
		}
		time.Sleep(4 * time.Second)
		out, err := l.Hypervisor.Exec(ctx, "tmux", append(tmux, "capture-pane", "-e", "-p")...)
		_, killErr := l.Hypervisor.Exec(ctx, "tmux", append(tmux, "kill-server")...)
		if err := errors.Join(err, killErr); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, s.name+".ansi"), []byte(out), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// traffic makes a bridge on the lane and stations that talk, until the context ends.
func traffic(ctx context.Context, l *lab.Lab) error {
	if err := l.AddBridge("br0"); err != nil {
		return err
	}
	if _, err := l.StartDaemon(); err != nil {
		return err
	}
	type station struct {
		port *lab.Port
		mac  ovs.MAC
		tags []frame.Tag
	}
	var all []station
	for _, p := range []struct {
		name, column string
		add          func(*lab.Lab, string, string, lab.PortOptions) (*lab.Port, error)
	}{
		{"tap1", "tag=20", (*lab.Lab).AddTap}, {"tap2", "tag=20", (*lab.Lab).AddTap}, {"veth3", "tag=20", (*lab.Lab).AddVeth}, {"eth0", "vlan_mode=trunk", (*lab.Lab).AddVeth},
	} {
		port, err := p.add(l, "br0", p.name, lab.PortOptions{Columns: []string{p.column}})
		if err != nil {
			return err
		}
		all = append(all, station{port: port, mac: port.MAC})
	}
	all[3].tags = []frame.Tag{{VID: 20}}
	if _, err := l.OVS("set", "bridge", "br0", "external_ids:xdp-offload=on"); err != nil {
		return err
	}
	for i, s := range all {
		pause := []time.Duration{1, 2, 3, 1}[i] * 500 * time.Microsecond
		go func() { // what arrives
			for ctx.Err() == nil {
				_, _ = s.port.Drain(100 * time.Millisecond)
			}
		}()
		go func() {
			for n := 0; ctx.Err() == nil; n++ {
				to, size := all[(i+1+n%3)%len(all)], 64+n%3*600
				b := frame.UDP4(to.mac, s.mac, frame.Tagged(s.tags...), frame.Length(size))
				if n%50 == 0 {
					b = frame.UDP4(frame.Broadcast, s.mac, frame.Tagged(s.tags...))
				}
				_ = s.port.Send(b)
				time.Sleep(pause)
			}
		}()
	}
	return lab.Eventually(20*time.Second, func() error {
		rows, err := l.FDB()
		if err == nil && len(rows) < len(all) {
			err = fmt.Errorf("%d stations of %d", len(rows), len(all))
		}
		return err
	})
}
