// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
	"github.com/ovs-xdp/ovs-xdp/sync/host"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
	"github.com/ovs-xdp/ovs-xdp/sync/reconcile"
	"github.com/ovs-xdp/ovs-xdp/sync/report"
)

// run is the daemon: it returns when ctx ends, with every program detached.
func run(ctx context.Context, exit func(), f flags) (err error) {
	level := new(slog.LevelVar)
	l, err := report.ParseLevel(f.LogLevel)
	if err != nil {
		return err
	}
	level.Set(l)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	if f.KeepAlive < 0 || f.KeepAlive > time.Hour {
		return fmt.Errorf("--keepalive=%v: want 0s to 1h", f.KeepAlive)
	}
	if f.AuditInterval < 0 || f.AuditInterval > time.Hour {
		return fmt.Errorf("--audit-interval=%v: want 0s (off) to 1h", f.AuditInterval)
	}
	if err := host.CheckCapabilities(); err != nil {
		return err
	}

	rundir := unixctl.Rundir()
	if err := os.MkdirAll(rundir, 0o755); err != nil {
		return fmt.Errorf("make OVS_RUNDIR: %w", err)
	}
	pidfile, err := unixctl.CreatePidfile(filepath.Join(rundir, "ovs-xdpd.pid"))
	if err != nil {
		var running *unixctl.RunningError
		if errors.As(err, &running) {
			return fmt.Errorf("another ovs-xdpd is running here, pid %d: stop it first (ovs-appctl -t ovs-xdpd exit)", running.PID)
		}
		return err
	}
	defer func() { err = errors.Join(err, pidfile.Remove()) }()

	daemon, err := reconcile.New(reconcile.Config{
		Rundir: rundir,
		Log:    log,
		Policy: plan.Policy{AllowGeneric: f.AllowGeneric, KeepAlive: f.KeepAlive, SetNICOffloads: f.SetNICOffloads,
			Rows: cmp.Or(f.FDBRows, bpf.DefaultRows)},
		Tables: bpf.Config{Rows: f.FDBRows, Ports: f.MaxPorts},

		AuditInterval: f.AuditInterval,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, daemon.Close()) }()

	server := unixctl.NewServer("ovs-xdpd", report.Version)
	report.Reporter{Daemon: daemon, Rundir: rundir}.Register(server, level, exit)
	socket := filepath.Join(rundir, "ovs-xdpd."+strconv.Itoa(os.Getpid())+".ctl")
	if err := server.Listen(socket); err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	// The server goes first: its commands read the tables.
	defer func() { err = errors.Join(err, server.Close(), <-served) }()

	log.Info("ovs-xdpd started", "version", report.Version, "pid", os.Getpid(), "rundir", rundir)
	defer log.Info("ovs-xdpd stopped: every frame goes by OVS")
	return daemon.Run(ctx)
}
