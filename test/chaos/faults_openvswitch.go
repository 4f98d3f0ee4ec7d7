// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// openvswitchFaults are those of Open vSwitch: its daemons die, hang, come back
// with other port numbers, or answer oddly.
var openvswitchFaults = []fault{
	{
		name: "ovs-vswitchd killed, 3 s later back", promise: "no more lost than by OVS alone, nothing astray",
		short: true, closes: closesForAll,
		inject: func(r *run) error {
			return r.restart(3*time.Second, []killer{r.Vswitchd}, nil, r.StartVswitchd)
		},
	},
	{
		name: "ovs-vswitchd upgraded: all OpenFlow port numbers change", promise: "the same",
		short:  true,
		inject: func(r *run) error { return r.restart(0, []killer{r.Vswitchd}, r.renumber, r.StartVswitchd) },
	},
	{
		name: "ovs-vswitchd frozen (SIGSTOP) for 6.5 s", promise: "the same, the lane closes in 5 s",
		closes: closesForAll,
		inject: func(r *run) error {
			r.hit()
			if err := r.Vswitchd.Signal(syscall.SIGSTOP); err != nil {
				return err
			}
			r.later(func() error { return r.Vswitchd.Signal(syscall.SIGCONT) })
			time.Sleep(holds)
			r.over()
			return r.Vswitchd.Signal(syscall.SIGCONT)
		},
	},
	{
		name: "ovsdb-server killed, 2 s later back", promise: "no more lost than by OVS alone, the lane closes",
		closes: closesForAll,
		inject: func(r *run) error { return r.restart(2*time.Second, []killer{r.Ovsdb}, nil, r.StartOvsdb) },
	},
	{
		name: "ovsdb-server back with its file replaced by a compacted copy", promise: "no more lost than by OVS alone",
		inject: func(r *run) error {
			return r.restart(0, []killer{r.Ovsdb}, r.replaceDatabase, r.StartOvsdb)
		},
	},
	{
		name: "ovsdb-server back with an empty file for 3 s, then with the right one", promise: "no more lost than by OVS alone",
		closes: closesForAll,
		inject: emptyDatabase,
	},
	{
		name: "both killed, 2 s later back", promise: "no more lost than by OVS alone, nothing astray",
		closes: closesForAll,
		inject: func(r *run) error {
			return r.restart(2*time.Second, []killer{r.Vswitchd, r.Ovsdb}, nil, r.StartOvsdb, r.StartVswitchd)
		},
	},
	{
		name: "control socket gone for 3 s", promise: "nothing lost, the lane closes",
		daemon: true, detour: true, closes: closesForAll,
		inject: func(r *run) error {
			r.hit()
			r.detour.control.vanish()
			time.Sleep(3 * time.Second)
			r.over()
			return r.detour.control.listen()
		},
	},
	{
		name:    "control socket hangs; meanwhile B is moved to another VLAN",
		promise: "the lane closes in 5 s; nothing goes to B",
		daemon:  true, detour: true, closes: closesForAll, concerns: []string{"A>B", "B>A"}, ownLoss: true,
		inject: func(r *run) error { return r.retagWhile(1500*time.Millisecond, r.spoil(hang), r.spoil(through)) },
	},
	{
		name: "control socket: replies cut off halfway, for 3 s", promise: "nothing lost, the lane closes",
		daemon: true, detour: true, closes: closesForAll,
		inject: func(r *run) error { return r.odd(cut) },
	},
	{
		name: "control socket: replies of 50 MB, for 3 s", promise: "nothing lost, memory stays below 512 MiB",
		daemon: true, detour: true,
		inject: func(r *run) error { return r.odd(huge) },
		also: func(with, _ *result) error {
			if with.peak > 512<<10 {
				return fmt.Errorf("the daemon took %d MiB", with.peak>>10)
			}
			return nil
		},
	},
	{
		name:    "database socket hangs; meanwhile B is moved to another VLAN",
		promise: "the lane closes in 5 s; nothing goes to B",
		daemon:  true, detour: true, closes: closesForAll, concerns: []string{"A>B", "B>A"}, ownLoss: true,
		inject: func(r *run) error {
			return r.retagWhile(0, func() error { r.detour.database.set(hang); return nil }, func() error { r.detour.database.set(through); return nil })
		},
	},
}

// killer is a process.
type killer interface{ Kill() }

// restart kills daemons of OVS, waits, does something to what they left, and
// starts them again.
func (r *run) restart(down time.Duration, which []killer, between func() error, starts ...func() error) error {
	r.hit()
	for _, p := range which {
		p.Kill()
	}
	time.Sleep(down)
	if between != nil {
		if err := between(); err != nil {
			return err
		}
	}
	r.over()
	for _, start := range starts {
		if err := start(); err != nil {
			return err
		}
	}
	return r.openLocals()
}

// renumber asks that each port of br0 gets the OpenFlow number of the next.
func (r *run) renumber() error {
	var ports, numbers []string
	for _, p := range r.order {
		if p.bridge != "br0" || p.port == nil {
			continue
		}
		n, err := r.OVS("--no-wait", "get", "interface", p.name, "ofport")
		if err != nil {
			return err
		}
		ports, numbers = append(ports, p.name), append(numbers, strings.TrimSpace(n))
	}
	args := []string{"--no-wait"}
	for i, p := range ports {
		args = append(args, "--", "set", "interface", p, "ofport_request="+numbers[(i+1)%len(numbers)])
	}
	r.later(func() error {
		for i, p := range ports {
			n, err := r.OVS("get", "interface", p, "ofport")
			if err == nil && strings.TrimSpace(n) != numbers[(i+1)%len(numbers)] {
				err = fmt.Errorf("%s has the OpenFlow number %s, want %s", p, strings.TrimSpace(n), numbers[(i+1)%len(numbers)])
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	return r.ovs(args...)
}

// replaceDatabase puts a compacted copy in the place of the database's file.
func (r *run) replaceDatabase() error {
	db := filepath.Join(r.Dir, "conf.db")
	if _, err := r.Hypervisor.Exec(context.Background(), "ovsdb-tool", "compact", db, db+".new"); err != nil {
		return err
	}
	return errors.Join(os.Remove(filepath.Join(r.Dir, ".conf.db.~lock~")), os.Rename(db+".new", db))
}

// emptyDatabase gives OVS a database in which there is nothing for a while.
func emptyDatabase(r *run) error {
	db := filepath.Join(r.Dir, "conf.db")
	create := func() error {
		if err := os.Rename(db, db+".good"); err != nil {
			return err
		}
		_, err := r.Hypervisor.Exec(context.Background(), "ovsdb-tool", "create", db, "/usr/share/openvswitch/vswitch.ovsschema")
		return err
	}
	r.hit()
	r.Ovsdb.Kill()
	if err := errors.Join(create(), r.StartOvsdb(), r.ovs("--no-wait", "init")); err != nil {
		return err
	}
	time.Sleep(3 * time.Second)
	r.over()
	r.Ovsdb.Kill()
	if err := errors.Join(os.Rename(db+".good", db), r.StartOvsdb()); err != nil {
		return err
	}
	return r.openLocals()
}

// spoil has the control socket behave in a manner.
func (r *run) spoil(m manner) func() error {
	return func() error { r.detour.control.set(m); return nil }
}

// odd has the control socket behave in a manner for 3 s.
func (r *run) odd(m manner) error {
	r.hit()
	r.detour.control.set(m)
	time.Sleep(3 * time.Second)
	r.over()
	r.detour.control.set(through)
	return nil
}
