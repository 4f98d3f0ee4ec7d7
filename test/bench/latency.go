// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/bench/figure"
	"github.com/ovs-xdp/ovs-xdp/test/lab"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// latency measures round trips from one machine to another.
type latency struct {
	figures figure.Set
	// rate returns the frames a second of other machines under load.
	rate func() float64
	// sent are the rates of that load that there really were.
	sent []float64
}

func newLatency() *latency {
	return &latency{figures: figure.Set{
		Name:  "latency",
		Title: "Round trips from VM to VM",
		Unit:  "µs", Ways: ways, Ratios: []figure.Ratio{{Name: "part", Of: onLane, By: alone}},
	}}
}

func (l *latency) set() figure.Set {
	s := l.figures
	s.Note = fmt.Sprintf("UDP datagrams of 18 bytes, one at a time, between two processes; half load is %.0f frames a second between two other machines "+
		"(%.0f were sent), half of what OVS alone can carry, for both ways. The machines share the cores with the switch.", l.rate(), figure.Quantile(l.sent, 0.5))
	return s
}

// trips is how many round trips a round has.
const trips = 3000

func (l *latency) round(n *network, way string) error {
	measure := func(load string) error {
		out, err := n.vms[0].VM.Exec(n.ctx, n.traffic, "rtt", address(2).Addr().String()+":7", fmt.Sprint(trips))
		if err != nil {
			return fmt.Errorf("measure round trips, %s, %s: %w", load, way, err)
		}
		var ns []float64
		if err := json.Unmarshal([]byte(out), &ns); err != nil {
			return fmt.Errorf("read round trips: %w", err)
		}
		for _, q := range []struct {
			name string
			part float64
		}{{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}} {
			l.figures.Add(load+", "+q.name, way, figure.Quantile(ns, q.part)/1000)
		}
		return nil
	}
	if err := measure("no load"); err != nil {
		return err
	}
	stop, err := n.load(n.vms[2], n.vms[3], l.rate())
	if err != nil {
		return err
	}
	err = measure("half load")
	sent, stopErr := stop()
	l.sent = append(l.sent, sent)
	return errors.Join(err, stopErr)
}

// load sends small frames from one machine to another at a rate, until stop is
// called, which returns the rate that there really was.
func (n *network) load(from, to *lab.Port, rate float64) (stop func() (float64, error), err error) {
	e, err := from.VM.OpenPacket("eth0")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(n.ctx)
	ended := make(chan error, 1)
	var got float64 // read after ended
	b := frame.UDP4(to.MAC, from.MAC)
	go func() {
		sent, began := 0, time.Now()
		for ctx.Err() == nil {
			due := int(rate * time.Since(began).Seconds())
			for range min(due-sent, 1000) {
				if err := e.Send(b); err != nil {
					ended <- fmt.Errorf("make load: %w", err)
					return
				}
				sent++
			}
			time.Sleep(200 * time.Microsecond)
		}
		got = float64(sent) / time.Since(began).Seconds()
		ended <- nil
	}()
	return func() (float64, error) {
		cancel()
		err := errors.Join(<-ended, e.Close())
		return got, err
	}, nil
}
