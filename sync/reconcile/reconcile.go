// SPDX-License-Identifier: Apache-2.0

// Package reconcile is the loop of the daemon: it watches OVS and the host,
// looks when something may have changed, and brings the kernel's tables to
// what sync/plan wants, in the order of sync/diff.
//
// One goroutine owns the tables. The lane is open only while that goroutine
// gets its answers from OVS: the lease that it renews runs out by itself.
package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ovs-xdp/ovs-xdp/bpf"
	"github.com/ovs-xdp/ovs-xdp/ovs"
	"github.com/ovs-xdp/ovs-xdp/ovs/ovsdb"
	"github.com/ovs-xdp/ovs-xdp/ovs/unixctl"
	"github.com/ovs-xdp/ovs-xdp/sync/host"
	"github.com/ovs-xdp/ovs-xdp/sync/plan"
)

// Config says where OVS is and what the daemon's flags say.
type Config struct {
	// Rundir is OVS_RUNDIR: db.sock and the pidfile and control socket of
	// ovs-vswitchd are there.
	Rundir string
	Log    *slog.Logger
	Policy plan.Policy
	Tables bpf.Config
	// AuditInterval is how often OVS is asked what it would do with a frame; 0
	// means never.
	AuditInterval time.Duration
	// BPFFS is the bpffs through which a lane is taken over.
	BPFFS string
	// Pidfile is that of this process. As long as it is in its place, this
	// daemon is in charge of the lane.
	Pidfile *unixctl.Pidfile
	// InCharge, if not nil, is called once: when Run begins, or for a daemon
	// that takes over, before the other one leaves.
	InCharge func() error
}

const (
	// lease is for how long the lane stays open without a renewal, and
	// interval how often it is renewed and OVS's cheap counters are read.
	lease    = 4 * time.Second
	interval = time.Second
	// lookTimeout bounds one look at OVS.
	lookTimeout = 3 * time.Second
	// relook is how often everything is read again without a reason, but for MAC
	// tables, which the observer keeps while their totals stay the same.
	relook = 10 * time.Second
)

// Daemon is the running loop.
type Daemon struct {
	cfg  Config
	log  *slog.Logger
	lane *bpf.Lane
	host *host.Host
	in   *installer
	compiler

	linksChanged <-chan struct{}
	links        map[string]plan.Link // nil: to be read
	refused      map[int]refusedDevice
	losses       losses
	inbox        inbox
	book         auditBook
	opened       bool // the lane was open in this session
	hand         handover
	prior        *predecessor // nil: this daemon is in charge
	notBefore    time.Time    // of the next look

	mu   sync.Mutex
	view View
}

// refusedDevice is a device that the kernel did not take.
type refusedDevice struct {
	name string
	err  error
	at   time.Time
}

// retryAttach is after how long a refused device is tried again.
const retryAttach = 30 * time.Second

// stands tells whether the kernel would still refuse a device, which looks like l
// now. When somebody else's program was in the way, it is the plan that keeps
// the port out as long as that is there, and no longer.
func (r refusedDevice) stands(ifindex int, l plan.Link, now time.Time) bool {
	if errors.Is(r.err, unix.EBUSY) && l.OtherXDP != "" {
		return false
	}
	return l.IfIndex == ifindex && now.Sub(r.at) <= retryAttach
}

// View is what the loop last saw and did.
type View struct {
	// Open tells whether the lane is open, and Why why it is not.
	Open bool
	Why  string
	// OVSVersion is what the running ovs-vswitchd calls itself, as "3.1.0".
	OVSVersion string
	// Snapshot is the last picture of OVS, nil before the first.
	Snapshot *ovs.Snapshot
	// Result is what was planned from it.
	Result plan.Result
	// Links are the devices of that moment by name.
	Links map[string]plan.Link
	// Full counts stations that found no place in the FDB, in the last look, and
	// FullFlows flows.
	Full, FullFlows int
	// NoFlows says why nothing is known of what OVS does with frames of bridges that
	// use flows, "" when it is.
	NoFlows string
	// Looks counts looks at OVS, Failures those that failed.
	Looks, Failures uint64
}

// New loads the data path, with the lane closed. The caller calls Run, then
// Close.
func New(cfg Config) (*Daemon, error) {
	// Left by a daemon that was killed, with its successor, in a hand-over.
	if was, err := bpf.RemovePins(pinDir(cfg.BPFFS, cfg.Rundir)); err != nil {
		cfg.Log.Warn("something is in the way of takeovers", "error", err)
	} else if was {
		cfg.Log.Warn("removed what a takeover that was cut off had left pinned", "bpffs", cfg.BPFFS)
	}
	lane, err := bpf.New(cfg.Tables)
	if err != nil {
		return nil, err
	}
	h, err := host.Open(lane.Owns)
	if err != nil {
		return nil, errors.Join(err, lane.Close())
	}
	d := newDaemon(cfg, lane, h)
	d.sayLosses()
	return d, nil
}

func newDaemon(cfg Config, lane *bpf.Lane, h *host.Host) *Daemon {
	return &Daemon{
		cfg: cfg, log: cfg.Log, lane: lane, host: h, in: newInstaller(lane, h),
		refused:  make(map[int]refusedDevice),
		losses:   losses{devices: make(map[int]*loss)},
		inbox:    inbox{ready: make(chan struct{}, 1), losses: make(chan struct{}, 1), noFlow: make(chan struct{}, 1)},
		compiler: make(compiler),
		hand:     handover{requests: make(chan handRequest)},
		view:     View{Why: "starting"},
	}
}

// Close takes every program off its device, and then restores what was turned
// off of devices; but what another daemon has taken over, or this one has not,
// stays as it is.
func (d *Daemon) Close() error {
	d.abandon()
	return errors.Join(d.lane.Close(), d.host.Close())
}

// View returns what the loop last saw and did.
func (d *Daemon) View() View {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.view
}

// Lane gives access to the tables for reading.
func (d *Daemon) Lane() *bpf.Lane { return d.lane }

// Run keeps the lane in step with OVS until ctx ends, or another daemon has taken
// over: see Left. It returns an error only when it can't go on at all, or can't
// take over; a lost OVS closes the lane until it is back.
func (d *Daemon) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var err error
	if d.linksChanged, err = d.host.Watch(ctx, d.log); err != nil {
		return err
	}
	defer d.stopEvents()
	if d.prior == nil {
		d.startEvents()
		d.inCharge()
	}

	backoff := minBackoff
	for ctx.Err() == nil {
		started := time.Now()
		d.opened = false
		err := d.session(ctx)
		if d.prior != nil {
			return d.failed(ctx, err)
		}
		if errors.Is(err, errLeft) && d.Left() {
			return nil
		}
		if ctx.Err() != nil {
			break
		}
		d.shut(err)
		if errors.Is(err, errLeft) || errors.Is(err, errBroken) {
			return err
		}
		if d.opened || time.Since(started) > 10*time.Second {
			backoff = minBackoff
		}
		select {
		case <-ctx.Done():
		case <-time.After(backoff):
		case r := <-d.hand.requests:
			if err := d.handOver(ctx, r, nil); errors.Is(err, errLeft) && d.Left() {
				return nil
			} else if err != nil {
				return errors.Join(err, d.lane.Shut())
			}
		}
		backoff = min(2*backoff, maxBackoff)
	}
	return d.lane.Shut()
}

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 2 * time.Second
)

// shut closes the lane: what OVS does now is not known.
func (d *Daemon) shut(why error) {
	if err := d.lane.Shut(); err != nil {
		d.log.Error("closing the lane failed; its lease will run out", "error", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.view.Open || d.view.Why != why.Error() {
		d.log.Warn("lane closed", "reason", why)
	}
	d.view.Open, d.view.Why = false, why.Error()
}

// session runs on one connection to the database until it is lost.
func (d *Daemon) session(ctx context.Context) error {
	db, err := ovsdb.Dial(ctx, "unix:"+d.cfg.Rundir+"/db.sock", d.log)
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithCancel(ctx)
	s := newSession(ctx, d, db)
	defer s.close()
	defer cancel()
	return s.run()
}

// readLinks reads the devices when they may have changed, and adds what is
// known of those that the kernel refused.
func (d *Daemon) readLinks(now time.Time) (map[string]plan.Link, error) {
	if d.links == nil {
		links, err := d.host.Links()
		if err != nil {
			return nil, err
		}
		for ifindex, r := range d.refused {
			l := links[r.name]
			if !r.stands(ifindex, l, now) {
				delete(d.refused, ifindex)
				continue
			}
			if unsupported(r.err) {
				l.NativeXDP = plan.No
			} else {
				l.AttachError = r.err.Error()
			}
			links[r.name] = l
		}
		d.losses.tell(links)
		d.turnOffAgain(links)
		d.links = links
	}
	return d.links, nil
}

// turnOffAgain turns off what somebody has turned on of a device whose offloads
// are kept off.
func (d *Daemon) turnOffAgain(links map[string]plan.Link) {
	for name, l := range links {
		if !l.KeptOff || !l.StripsVLAN && !l.LRO {
			continue
		}
		if err := d.host.TurnOff(l.IfIndex); err != nil {
			l.AttachError = err.Error()
		} else {
			d.log.Warn("offloads were turned on, and are off again while the port is on the lane (see --set-nic-offloads)", "device", name)
			l.StripsVLAN, l.LRO, l.Offloads = false, false, ""
		}
		links[name] = l
	}
}
