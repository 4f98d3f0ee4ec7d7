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
	if err := f.check(); err != nil {
		return err
	}
	meter, err := newMeter(f.MetricsListen, log)
	if err != nil {
		return err
	}
	if err := host.CheckCapabilities(); err != nil {
		return err
	}

	rundir := unixctl.Rundir()
	if err := os.MkdirAll(rundir, 0o755); err != nil {
		return fmt.Errorf("make OVS_RUNDIR: %w", err)
	}
	pidfile, running, err := claim(filepath.Join(rundir, "ovs-xdpd.pid"), f.Takeover)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pidfile.Remove()) }()

	started := whoStarted()
	inCharge := func() error { return errors.Join(started.tell(), meter.inCharge()) }
	start := func() (*reconcile.Daemon, error) {
		cfg := reconcile.Config{
			Rundir: rundir, Log: log, BPFFS: f.BPFFS, Pidfile: pidfile,
			Policy: plan.Policy{AllowGeneric: f.AllowGeneric, KeepAlive: f.KeepAlive,
				SetNICOffloads: f.SetNICOffloads, FinishChecksums: f.FinishChecksums, Rows: cmp.Or(f.FDBRows, bpf.DefaultRows),
				FlowRows: cmp.Or(f.FlowRows, bpf.DefaultFlows),
				Rules:    cmp.Or(f.RuleRows, bpf.DefaultRules), RulesPerList: f.RulesPerList},
			Tables: bpf.Config{Rows: f.FDBRows, Ports: f.MaxPorts, Rules: f.RuleRows, Flows: f.FlowRows, FinishChecksums: f.FinishChecksums}, InCharge: inCharge,
			AuditInterval: f.AuditInterval,
		}
		if running {
			d, err := reconcile.Succeed(ctx, cfg)
			if !errors.Is(err, unixctl.ErrNotRunning) {
				return d, err
			}
			if err := pidfile.Publish(); err != nil { // it has just ended
				return nil, err
			}
		}
		if f.Takeover {
			log.Info("no ovs-xdpd runs here that could be taken over: this one starts anew")
		}
		return reconcile.New(cfg)
	}
	daemon, err := start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, daemon.Close()) }()

	server := unixctl.NewServer("ovs-xdpd", report.Version)
	reporter := report.Reporter{Daemon: daemon, Rundir: rundir}
	reporter.Register(server, level, exit)
	daemon.Register(server)
	socket := filepath.Join(rundir, "ovs-xdpd."+strconv.Itoa(os.Getpid())+".ctl")
	if err := server.Listen(socket); err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	// The server goes first: its commands read the tables.
	defer func() { err = errors.Join(err, server.Close(), <-served) }()

	if err := meter.start(reporter, running); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, meter.close()) }()

	if f.PublishStatus {
		// It ends before the daemon is closed, whose tables it reads.
		published, publishing := make(chan struct{}), context.WithoutCancel(ctx)
		publishing, unpublish := context.WithCancel(publishing)
		go func() { defer close(published); reporter.Publish(publishing, log) }()
		defer func() { unpublish(); <-published }()
	}

	log.Info("ovs-xdpd started", "version", report.Version, "pid", os.Getpid(), "rundir", rundir)
	err = daemon.Run(ctx)
	if daemon.Left() {
		log.Info("ovs-xdpd stopped: another one has the lane")
	} else if err == nil {
		log.Info("ovs-xdpd stopped: every frame goes by OVS")
	}
	return err
}

// claim makes the pidfile. With takeover it tells whether a daemon runs, and
// then only reserves its place.
func claim(path string, takeover bool) (p *unixctl.Pidfile, running bool, err error) {
	p, err = unixctl.CreatePidfile(path)
	var other *unixctl.RunningError
	switch {
	case !errors.As(err, &other):
		return p, false, err
	case other.PID == 0:
		return nil, false, errors.New("another ovs-xdpd is just starting here: wait for it, then try again")
	case takeover:
		p, err = unixctl.ReservePidfile(path)
		return p, true, err
	}
	return nil, false, fmt.Errorf("another ovs-xdpd is running here, pid %d: stop it first (ovs-appctl -t ovs-xdpd exit), or take its place (--takeover)", other.PID)
}
