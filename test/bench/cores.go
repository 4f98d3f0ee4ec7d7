// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/ovs-xdp/ovs-xdp/test/bench/figure"
	"github.com/ovs-xdp/ovs-xdp/test/bench/wire"
	"github.com/ovs-xdp/ovs-xdp/test/lab/frame"
)

// cores measures what a second core adds to the lane: two machines send to two
// others, each on a core of its own.
type cores struct{ figures figure.Set }

const oneCore, twoCores = "one core", "two cores"

func newCores() *cores {
	more := figure.Ratio{Name: "times", Of: twoCores, By: oneCore}
	c := &cores{figure.Set{
		Name:  "cores",
		Title: "Small frames on the lane, by cores",
		Note: "As above, from one machine to another, and at the same time from a third to a fourth on a second core. " +
			"Where two cores are threads of one, as they often are in a virtual machine, they share what it can do.",
		Unit: "frames a second", Ways: []string{oneCore, twoCores}, Ratios: []figure.Ratio{more},
	}}
	c.figures.Figure(vmToVM).Targets = []figure.Target{{Of: more.Name, AtLeast: 1.9}}
	return c
}

func (c *cores) set() figure.Set { return c.figures }

func (c *cores) round(n *network, way string) error {
	if way != onLane || runtime.NumCPU() < 2 {
		return nil
	}
	var pairs []*pair
	for i := range 2 {
		p, err := newPair(n, 2*i, i)
		if err != nil {
			return err
		}
		defer p.close()
		pairs = append(pairs, p)
	}
	for _, m := range []struct {
		name  string
		pairs []*pair
	}{{oneCore, pairs[:1]}, {twoCores, pairs}} {
		var all sync.WaitGroup
		rates, errs := make([]float64, len(m.pairs)), make([]error, len(m.pairs))
		for i, p := range m.pairs {
			all.Go(func() { rates[i], errs[i] = p.rate() })
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("measure frames, %s: %w", m.name, err)
		}
		sum := 0.0
		for _, r := range rates {
			sum += r
		}
		c.figures.Add(vmToVM, m.name, sum)
	}
	return nil
}

// pair is two machines of which one sends to the other, on one core.
type pair struct {
	generator *wire.Generator
	sink      *wire.XDPSink
}

func newPair(n *network, first, cpu int) (*pair, error) {
	from, to := n.vms[first], n.vms[first+1]
	g, err := wire.NewGenerator(from.VM, "eth0", frame.UDP4(to.MAC, from.MAC))
	if err != nil {
		return nil, err
	}
	g.OneCPU, g.CPU = true, cpu
	p := &pair{generator: g}
	s, err := wire.NewXDPSink(to.VM, "eth0")
	if err == nil {
		err = s.Open()
	}
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	p.sink = s
	time.Sleep(100 * time.Millisecond)
	return p, nil
}

func (p *pair) close() {
	_ = p.sink.Close()
	_ = p.generator.Close()
}

// rate returns how many frames arrive a second; nearly all must.
func (p *pair) rate() (float64, error) {
	const sent = 1_000_000
	if _, err := p.sink.Taken(0); err != nil {
		return 0, err
	}
	took, err := p.generator.Send(sent)
	if err != nil {
		return 0, err
	}
	got, err := p.sink.Taken(sent * 99 / 100)
	if err == nil && got < sent*99/100 {
		err = fmt.Errorf("of %d frames %d arrived", sent, got)
	}
	return float64(got) / (took * sent).Seconds(), err
}
