// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/lab"
)

// holds is how long a fault lasts that must close the lane: longer than the
// lease.
const holds = lease + 1500*time.Millisecond

// daemonFaults are those of the daemon itself: it is frozen, starved, killed.
var daemonFaults = []fault{
	{
		name:    "frozen (SIGSTOP); meanwhile B is moved to another VLAN",
		promise: "the lane closes in 5 s; nothing goes to B when it wakes",
		short:   true, daemon: true, closes: closesForAll, concerns: []string{"A>B", "B>A"}, ownLoss: true,
		inject: func(r *run) error { return r.retagWhile(0, r.freeze, r.thaw) },
	},
	{
		name:    "starved (1 ms of CPU a second); meanwhile B is moved to another VLAN",
		promise: "nothing goes to B after 5 s, and the lane comes back",
		daemon:  true, groups: []string{"cpu"}, concerns: []string{"A>B", "B>A"}, ownLoss: true,
		inject: func(r *run) error {
			g := r.groups["cpu"]
			if g == nil {
				return errors.New("this machine has no control group for CPU time")
			}
			return r.retagWhile(0, func() error { return g.limitCPU(1000) }, func() error { return g.limitCPU(0) })
		},
	},
	{
		name: "SIGTERM", promise: "nothing is left, nothing is lost after the exit",
		short: true, daemon: true, ends: true,
		inject: func(r *run) error {
			return r.dies(func() error { return r.daemon.Stop(10 * time.Second * lab.Patience()) })
		},
	},
	{
		name: "SIGKILL", promise: "the same",
		short: true, daemon: true, ends: true,
		inject: func(r *run) error { return r.dies(func() error { r.daemon.Kill(); return nil }) },
	},
	{
		name: "crash of the Go runtime (SIGABRT: no deferred function runs)", promise: "the same",
		daemon: true, ends: true,
		inject: func(r *run) error { return r.dies(func() error { return r.crash(syscall.SIGABRT) }) },
	},
	{
		name: "OOM kill", promise: "the same",
		daemon: true, ends: true, detour: true, groups: []string{"memory"},
		inject: func(r *run) error { return r.dies(r.outOfMemory) },
	},
	{
		name: "stopped and started again", promise: "only what is in flight when a device changes its mode is lost",
		daemon: true,
		inject: func(r *run) error {
			r.hit()
			if err := r.daemon.Stop(10 * time.Second * lab.Patience()); err != nil {
				return err
			}
			r.diedAt = 0
			if err := r.start(); err != nil {
				return err
			}
			r.over()
			return nil
		},
	},
	{
		name: "replaced by another (--takeover), five times", promise: "nothing is lost",
		short: true, daemon: true,
		inject: func(r *run) error {
			bpffs, err := r.MountBPFFS()
			if err != nil {
				return err
			}
			r.hit()
			for range 5 {
				if err := r.replace(bpffs); err != nil {
					return err
				}
			}
			r.over()
			return nil
		},
	},
}

// replace has another daemon take the place of the one that runs.
func (r *run) replace(bpffs string) error {
	old := r.daemon
	d, err := r.startDaemon(r.RunDir, nil, "--takeover", "--bpffs="+bpffs)
	if d != nil {
		r.stopLater(d)
	}
	if err != nil {
		return err
	}
	d.devices, r.daemon = old.devices, d // as before there was any
	return old.Wait(10 * time.Second * lab.Patience())
}

func (r *run) freeze() error { return r.daemon.Signal(syscall.SIGSTOP) }
func (r *run) thaw() error   { return r.daemon.Signal(syscall.SIGCONT) }

// retagWhile moves B to another VLAN while the daemon can't act, which only OVS
// knows then, a time after it was bound, lets it act again, and moves B back.
func (r *run) retagWhile(before time.Duration, bind, free func() error) error {
	if err := bind(); err != nil {
		return err
	}
	r.hit()
	time.Sleep(before)
	r.later(free) // once more, should this fail halfway
	r.traffic.mayBeIn("br0", 30, "A>B", "B>A")
	if err := r.ovs("set", "port", "t1", "tag=30"); err != nil {
		return err
	}
	if err := r.bar("A>B", "B>A"); err != nil {
		return err
	}
	time.Sleep(holds)
	r.freed()
	if err := free(); err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	r.over()
	return r.ovs("set", "port", "t1", "tag=10")
}

// dies ends the daemon, and checks what is left of it.
func (r *run) dies(end func() error) error {
	had, err := objectsOf(r.daemon.PID)
	if err != nil {
		return err
	}
	r.hit()
	if err := end(); err != nil {
		return err
	}
	r.diedAt = r.traffic.now()
	if !r.daemon.Ended() {
		return errors.New("the daemon still runs")
	}
	if err := r.daemon.leftovers(had); err != nil {
		return fmt.Errorf("after the daemon's end: %w", err)
	}
	time.Sleep(time.Second)
	r.over()
	return nil
}

// crash sends a signal at which the Go runtime prints its goroutines and exits.
func (r *run) crash(s syscall.Signal) error {
	if err := r.daemon.Signal(s); err != nil {
		return err
	}
	if err := r.daemon.Wait(10 * time.Second * lab.Patience()); err == nil {
		return fmt.Errorf("the daemon exits with code 0 after %v", s)
	}
	return nil
}

// outOfMemory has the kernel kill the daemon when it reads a long reply, or, on
// a machine without such control groups, does as the kernel would.
func (r *run) outOfMemory() error {
	g := r.groups["memory"]
	if g == nil {
		r.note("no control group for memory here: killed by SIGKILL, as the kernel's OOM killer does")
		r.daemon.Kill()
		return nil
	}
	if err := g.limitMemory(8 << 20); err != nil {
		return err
	}
	r.detour.control.set(huge)
	if err := r.daemon.Wait(20 * time.Second * lab.Patience()); err == nil {
		return errors.New("the daemon exits with code 0")
	}
	kills, err := g.kills()
	if err == nil && kills == 0 {
		err = errors.New("the daemon ended, but the kernel's OOM killer did not do it")
	}
	return err
}
