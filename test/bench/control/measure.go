// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"time"
)

const (
	// coldTimeout bounds one cold start.
	coldTimeout = 3 * time.Minute
	// stationTimeout bounds the time until a station is on the lane.
	stationTimeout = 10 * time.Second
	// pollEvery is how often the kernel's table is looked at.
	pollEvery = 500 * time.Microsecond
)

// start starts the daemon and waits until the rows of all stations are in force, and
// the lane is open.
// It returns the time since the daemon was ready to ask OVS, and since its
// process was started.
func (n *network) start(ctx context.Context, args ...string) (ready, whole time.Duration, err error) {
	began := time.Now()
	if n.daemon, err = n.StartDaemon(args...); err != nil {
		return 0, 0, err
	}
	var t *table
	defer func() {
		if t != nil {
			err = errors.Join(err, t.close())
		}
	}()
	for {
		if t == nil {
			if t, err = openTable(n.daemon.PID); err != nil && !errors.Is(err, errNoTable) {
				return 0, 0, err
			}
		}
		if t != nil && t.installed() >= len(n.stations) {
			ended := time.Now()
			if opened, err := n.loggedAt("lane open"); err == nil {
				if opened.After(ended) {
					ended = opened
				}
				started, err := n.loggedAt("ovs-xdpd started")
				return ended.Sub(started), ended.Sub(began), err
			}
		}
		switch {
		case ctx.Err() != nil:
			return 0, 0, context.Cause(ctx)
		case time.Since(began) > coldTimeout:
			have := 0
			if t != nil {
				have = t.installed()
			}
			return 0, 0, fmt.Errorf("only %d of %d stations are on the lane after %v:\n%s", have, len(n.stations), coldTimeout, n.daemon.Output(10))
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// loggedAt is the time of the first line of the daemon's log with that message.
func (n *network) loggedAt(msg string) (time.Time, error) {
	log, err := os.ReadFile(n.daemon.Log)
	if err != nil {
		return time.Time{}, err
	}
	line := regexp.MustCompile(`time=(\S+) level=\S+ msg="` + regexp.QuoteMeta(msg) + `"`).FindSubmatch(log)
	if line == nil {
		return time.Time{}, fmt.Errorf("the daemon has not logged %q", msg)
	}
	return time.Parse(time.RFC3339Nano, string(line[1]))
}

// idle is what daemon and ovs-vswitchd do while nothing changes.
type idle struct {
	// Daemon and OVS are parts of a core.
	Daemon, OVS float64
	// Memory is that of the daemon at the end, Grown by how much it has more in
	// memory than at the beginning, in bytes.
	Memory memory
	Grown  int64
}

func (n *network) idle(ctx context.Context, window time.Duration) (idle, error) {
	var pids []int
	if n.daemon != nil {
		pids = []int{n.daemon.PID}
	}
	pids = append(pids, n.Vswitchd.PID)
	var before []time.Duration
	var was memory
	for _, pid := range pids {
		t, err := cpuTime(pid)
		if err != nil {
			return idle{}, err
		}
		before = append(before, t)
	}
	if n.daemon != nil {
		var err error
		if was, err = memoryOf(n.daemon.PID); err != nil {
			return idle{}, err
		}
	}
	began := time.Now()
	select {
	case <-ctx.Done():
		return idle{}, context.Cause(ctx)
	case <-time.After(window):
	}
	took := time.Since(began)
	var out idle
	for i, pid := range pids {
		t, err := cpuTime(pid)
		if err != nil {
			return idle{}, err
		}
		part := float64(t-before[i]) / float64(took)
		if pid == n.Vswitchd.PID {
			out.OVS = part
		} else {
			out.Daemon = part
		}
	}
	if n.daemon != nil {
		var err error
		if out.Memory, err = memoryOf(n.daemon.PID); err != nil {
			return idle{}, err
		}
		out.Grown = out.Memory.resident - was.resident
	}
	return out, nil
}

// newStations has stations speak for the first time, one after the other, and
// returns how long it took each time until its row was in force. written is how
// many rows were changed for them.
func (n *network) newStations(ctx context.Context, count int) (took []time.Duration, written int, err error) {
	t, err := openTable(n.daemon.PID)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	before := t.copy()
	for range count {
		if ctx.Err() != nil {
			return took, 0, context.Cause(ctx)
		}
		time.Sleep(100*time.Millisecond + rand.N(200*time.Millisecond))
		s := n.newStation(rand.N(len(n.crowd.Names)))
		n.stations = append(n.stations, s)
		key, began := keyOf(s), time.Now()
		if err := n.show(s); err != nil {
			return took, 0, err
		}
		for !t.has(key) {
			if time.Since(began) > stationTimeout {
				return took, 0, fmt.Errorf("a new station is not on the lane after %v", stationTimeout)
			}
			time.Sleep(pollEvery)
		}
		took = append(took, time.Since(began))
	}
	return took, changes(before, t.copy()), nil
}

// move has stations speak from another port, spread over a time, and returns how
// long it took each until its row was in force there, sorted, and how long after
// the last one had moved all were.
func (n *network) move(ctx context.Context, count int, over time.Duration) (took []time.Duration, after time.Duration, err error) {
	t, err := openTable(n.daemon.PID)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	type moving struct {
		row  *uint64
		slot uint64
		sent time.Time
	}
	keys := make(map[uint64]bool)
	order := rand.Perm(len(n.stations))[:min(count, len(n.stations))]
	for _, i := range order {
		keys[keyOf(n.stations[i])] = true
	}
	rows := t.find(keys)
	var waiting []moving
	began, last := time.Now(), time.Time{}
	for next := 0; next < len(order) || len(waiting) > 0; {
		if ctx.Err() != nil {
			return nil, 0, context.Cause(ctx)
		}
		now := time.Now()
		for ; next < len(order) && now.Sub(began) >= over*time.Duration(next)/time.Duration(len(order)); next++ {
			s := &n.stations[order[next]]
			row := rows[keyOf(*s)]
			if row == nil {
				return nil, 0, fmt.Errorf("station %s has no row", s.mac)
			}
			// The next port but some of the same VLAN.
			s.port = (s.port + vlans) % len(n.crowd.Names)
			if s.vlan != vlanOf(s.port) {
				return nil, 0, fmt.Errorf("the number of ports is no multiple of %d", vlans)
			}
			waiting = append(waiting, moving{row: row, slot: *row & rowSlot, sent: time.Now()})
			if err := n.show(*s); err != nil {
				return nil, 0, err
			}
			last = time.Now()
		}
		now = time.Now()
		waiting = slices.DeleteFunc(waiting, func(m moving) bool {
			row := *m.row
			there := inForce(row) && row&rowSlot != m.slot
			if there {
				took = append(took, now.Sub(m.sent))
			}
			return there
		})
		if time.Since(began) > over+stationTimeout {
			return nil, 0, fmt.Errorf("%d of %d stations that moved are not on the lane after %v", len(waiting), len(order), time.Since(began))
		}
		time.Sleep(pollEvery)
	}
	slices.Sort(took)
	return took, time.Since(last), nil
}
